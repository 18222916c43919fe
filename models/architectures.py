"""Holds dpc to PyTorch on the networks of `architecture_nets.py` in every form that the exporters write, and writes the
table of what came of it, `ARCHITECTURES.md`.

`ts` and `dyn` are the recipes of `recipes.py`; `eval` and `train` are the newer exporter's default form, which optimises, of
a network in that mode. Each file goes through `dpc check` and through `dpc grads` on every device with every norm strategy;
losses, norms and per-sample gradients must be PyTorch's, one record at a time in float64, within 1e-4 of each parameter's
largest entry. The default form renames, transposes, merges and folds parameters: an initialiser then stands for those
parameters of the module that have its values, and its gradient is the sum of theirs in its layout.

    python models/architectures.py DPC [--forms eval,…] [--devices cpu] [--norms auto] [--keep DIR [--resume]] [NAME…]

The table is written if everything was run; `--resume` takes what an earlier run has left in DIR.
"""

import argparse
import copy
import json
import re
import subprocess
import tempfile
from dataclasses import asdict, dataclass, field
from itertools import permutations
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

import oracle
from architecture_nets import ARCHITECTURES
from recipes import export

HERE = Path(__file__).parent
FORMS = {
    "ts": ("ts", {}),
    "dyn": ("dyn", {}),
    "eval": ("dyn", {"defaults": True, "training": False}),
    "train": ("dyn", {"defaults": True, "training": True}),
}
DEVICES = ("cpu", "gpu")
NORMS = ("auto", "materialize", "ghost", "tile")
TOLERANCE = 1e-4


@dataclass
class Outcome:
    """What became of a file: `exact`, `refused`, `wrong` or `not exported`; why; and the largest distance of a gradient."""

    verdict: str
    why: str = ""
    worst: float = 0.0
    lost: list[str] = field(default_factory=list)
    """Parameters of the module that no initialiser stands for."""
    ran: str = ""
    """The devices and the norms, where they were not all of them."""


def run(dpc, *arguments):
    done = subprocess.run([dpc, *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def layouts(parameter):
    """Every layout in which an exporter stores a parameter: functions of an array that has its axes and others before them."""
    rank = parameter.ndim
    yield lambda a: a
    if 1 < rank < 4:
        for order in permutations(range(rank)):
            yield lambda a, order=order: a.transpose(*range(a.ndim - rank), *(a.ndim - rank + i for i in order))


def recurrent(net):
    """What exporters make of each recurrent layer's parameters: `(names, layout)`, from the arrays of these names to one of
    ONNX's, with the directions before the gates and both biases in one."""
    for path, module in net.named_modules():
        if not isinstance(module, nn.RNNBase):
            continue
        order = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}.get(module.mode, (0,))
        directions = ("", "_reverse") if module.bidirectional else ("",)
        for layer in range(module.num_layers):
            for kinds in (("weight_ih",), ("weight_hh",), ("bias_ih", "bias_hh")):
                names = [f"{path}.{kind}_l{layer}{of}".lstrip(".") for of in directions for kind in kinds]

                def layout(*arrays, order=order, per=len(kinds), lead=0):
                    gates = [np.concatenate([np.split(a, len(order), lead)[i] for i in order], lead) for a in arrays]
                    stacked = [np.concatenate(gates[i : i + per], lead) for i in range(0, len(gates), per)]
                    return np.stack(stacked, lead)

                yield names, layout


def expected(initialisers, trained, net, gradients, entry, optimised):
    """The gradient of each trained initialiser, and the parameters that none stands for."""
    values = {name: p.detach().numpy() for name, p in net.named_parameters()}
    first = {id(p): name for name, p in net.named_parameters()}
    own = {name: first[id(p)] for name, p in net.named_parameters(remove_duplicate=False)}
    own |= {stored: name for stored, name in entry.renamed.items() if optimised}
    close = lambda a, b: a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=1e-7)
    result = {name: gradients[own[name]] for name in trained if name in own and close(values[own[name]], initialisers[name])}
    left = {name for name in values if name not in {own[name] for name in result}}
    left -= set(entry.dropped) if optimised else set()
    packs = list(recurrent(net))
    for name in trained:
        for parts, layout in packs:
            if name not in result and close(layout(*(values[part] for part in parts)), initialisers[name]):
                result[name] = layout(*(gradients[part] for part in parts), lead=1)
                left -= set(parts)
    # Equal parameters are one initialiser in the default form: of their own shape if there is one, else in another layout.
    for exact in (True, False):
        for name in trained:
            if (exact and name not in result) or (optimised and name in entry.renamed):
                continue
            for parameter in sorted(left):
                value, target = values[parameter], initialisers[name]
                rows = target.reshape(-1, target.shape[-1]) if target.ndim > 1 else target
                if value.ndim == rows.ndim == 2 and len(value) > len(rows) and np.array_equal(value[: len(rows)], rows):
                    # The rows that a constant lookup takes.
                    result[name] = gradients[parameter][:, : len(rows)].reshape(-1, *target.shape)
                    left.remove(parameter)
                    continue
                if value.size != target.size or (exact and value.shape != target.shape):
                    continue
                for layout in layouts(value):
                    if np.allclose(layout(value).reshape(target.shape), target, rtol=1e-5, atol=1e-7):
                        moved = layout(gradients[parameter]).reshape(-1, *target.shape)
                        result[name] = result.get(name, 0) + moved
                        left.remove(parameter)
                        break
    for name in trained:
        if name not in result:
            raise LookupError(f"`{name}` {list(initialisers[name].shape)} stands for no parameter")
    return result, sorted(left)


def distance(found, right):
    """By how much an array is off, relative to the largest entry of what it should be."""
    scale = max(np.abs(right).max(), 1e-6)
    return np.abs(found - right).max() / scale


def compare(out, path, net, losses, gradients, entry, optimised):
    """The distances of everything that `dpc grads` wrote, and the parameters that none of it stands for."""
    found = dict(np.load(out))
    model = onnx.load(path)
    initialisers = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    trained = [name.removeprefix("per_sample/") for name in found if name.startswith("per_sample/")]
    right, lost = expected(initialisers, trained, net, gradients, entry, optimised)
    norm = np.sqrt(sum(np.square(g).reshape(len(g), -1).sum(1) for g in right.values()))
    off = {"loss": distance(found["loss"], losses), "norm": distance(found["norm"], norm)}
    off |= {name: distance(found[f"per_sample/{name}"], right[name]) for name in trained}
    return off, lost


def reasons(text):
    """What dpc printed, on one line."""
    return re.sub(r"[│╰─▶├×\s]+", " ", text).strip()


def in_short(outcome):
    """A cell of the table."""
    if outcome.verdict == "not exported":
        return "not exported"
    if outcome.verdict == "exact":
        lost = f", {len(outcome.lost)} lost" if outcome.lost else ""
        return f"exact{lost}" + (f" ({outcome.ran})" if outcome.ran else "")
    if outcome.verdict == "refused":
        mixing = sorted(set(re.findall(r"\((\w+)\): the result for one record would depend on other", outcome.why)))
        lacking = sorted(set(re.findall(r"\((\w+)\) is not supported", outcome.why)))
        parts = [f"{', '.join(mixing)} mixes records"] if mixing else []
        parts += [f"no {', '.join(lacking)}"] if lacking else []
        return "refused: " + ("; ".join(parts) or outcome.why)
    return "WRONG: " + outcome.why


TABLE = """# Architectures, as PyTorch exports them

What dpc makes of {count} networks of torch.nn in four forms, by `python models/architectures.py dpc`; each network is in
`architecture_nets.py`. *Exact* means that losses, norms and per-sample gradients of every trained parameter are PyTorch's, one
record at a time in float64, within 1e-4 of the parameter's largest entry, on {devices}, with every norm strategy
({norms}), unless a cell says with which; the largest distance of all is {worst:.1e}.

`ts` and `dyn` are the recipes of the README (torch {torch}): the older exporter in training mode without folding, and the newer
one with `optimize=False`. `eval` and `train` are the newer exporter's default form of a network in that mode, which merges
parameters that are equal in a fresh network, unties and transposes others, and folds what it can; its initialisers are held
to the gradients of the parameters that they stand for. *n lost* are parameters that the exporter left out, which `dpc check`
says. Networks whose name begins with `loss` end in PyTorch's loss of the batch, and are trained by `--loss output:loss`.

| architecture | `ts` | `dyn` | `eval` | `train` |
|---|---|---|---|---|
{rows}

{notes}"""

NOTES = """- The older exporter has no RMSNorm, no Huber loss and no label smoothing; the newer one leaves label smoothing out of the file
  without a word, so that the gradients are those of the plain loss.
- A BatchNorm in training mode is refused: it makes records meet. The default form folds it into the convolution before it, in
  training mode too, and drops the biases of zeros that come of it.
- EmbeddingBag is exported as a loop over the records, which dpc takes for what it stands for where all bags have one size; the
  older exporter has none with a padding id.
"""


def write_table(results):
    rows = []
    for name in ARCHITECTURES:
        rows.append(f"| {name} | " + " | ".join(in_short(results[name, form]) for form in FORMS) + " |")
    worst = max(outcome.worst for outcome in results.values() if outcome.verdict == "exact")
    text = TABLE.format(count=len(ARCHITECTURES), devices=" and ".join(DEVICES), norms=", ".join(NORMS), worst=worst,
                        torch=torch.__version__.split("+")[0], rows="\n".join(rows), notes=NOTES)
    (HERE / "ARCHITECTURES.md").write_text(text)


def examine(dpc, entry, form, folder, devices, norms):
    net, inputs, label = entry.make()
    recipe, settings = FORMS[form]
    path = folder / f"{entry.name}.{form}.onnx"
    outputs = ("loss",) if entry.own_loss else ("logits",)
    example = {name: value[:2] for name, value in inputs.items()}
    try:
        export(recipe, copy.deepcopy(net), example, path, outputs=outputs, forget=False, **settings)
    except Exception as error:
        return Outcome("not exported", str(error).strip().splitlines()[0][:200])
    data, out = (folder / f"{entry.name}.{form}.{kind}.npz" for kind in ("data", "out"))
    labels = {} if label is None else {"label": label}
    np.savez(data, **{name: value.numpy() for name, value in (inputs | labels).items()})
    told = [] if form in ("dyn", "train") else [f"--padding-idx={name}={id}" for name, id in entry.padding.items()]
    code, text = run(dpc, "check", path, "--loss", entry.loss, *told)
    if code:
        return Outcome("refused", reasons(text))
    if entry.written:
        net = entry.written(copy.deepcopy(net))
    if settings and entry.folded:
        net = entry.folded(copy.deepcopy(net).eval())
    net.eval()  # dropout is off by its ratio; a BatchNorm that is trained is one of its running statistics
    objective = entry.sample_loss
    losses, gradients = oracle.per_sample(net, inputs, list(labels.values()), objective)
    everything = (devices, norms) == ([*DEVICES], [*NORMS])
    outcome = Outcome("exact", text, ran="" if everything else f"{', '.join(devices)}: {', '.join(norms)}")
    for device in devices:
        for norm in norms:
            flags = ["--clip", "flat:0.5", "--device", device, "--norm", norm, "--per-sample"]
            code, text = run(dpc, "grads", path, "--data", data, "--loss", entry.loss, "--out", out, *flags, *told)
            if code:
                return Outcome("wrong", f"{device} {norm}: {reasons(text)}")
            try:
                off, outcome.lost = compare(out, path, net, losses, gradients, entry, bool(settings))
            except LookupError as error:
                return Outcome("wrong", f"{device} {norm}: {error}")
            worst = max(off, key=off.get)
            outcome.worst = max(outcome.worst, float(off[worst]))
            if not off[worst] <= TOLERANCE:
                return Outcome("wrong", f"{device} {norm}: {worst} is off by {off[worst]:.1e}", float(off[worst]))
    return outcome


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("dpc")
    arguments.add_argument("names", nargs="*")
    arguments.add_argument("--forms", default=",".join(FORMS))
    arguments.add_argument("--devices", default=",".join(DEVICES))
    arguments.add_argument("--norms", default=",".join(NORMS))
    arguments.add_argument("--keep")
    arguments.add_argument("--resume", action="store_true")
    given = arguments.parse_intermixed_args()
    torch.set_num_threads(1)
    forms, devices, norms = (text.split(",") for text in (given.forms, given.devices, given.norms))
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given.keep or temporary)
        folder.mkdir(exist_ok=True)
        for entry in ARCHITECTURES.values():
            if given.names and entry.name not in given.names:
                continue
            for form in forms:
                stored = folder / f"{entry.name}.{form}.json"
                if given.resume and stored.exists():
                    outcome = Outcome(**json.loads(stored.read_text()))
                else:
                    outcome = examine(given.dpc, entry, form, folder, devices, norms)
                    stored.write_text(json.dumps(asdict(outcome)))
                results[entry.name, form] = outcome
                why = outcome.why if outcome.verdict != "exact" else ""
                print(f"@ {entry.name:24} {form:6} {outcome.verdict:8} {outcome.worst:.1e} {outcome.lost or ''} {why[:600]}", flush=True)
    if len(results) == len(ARCHITECTURES) * len(FORMS):
        write_table(results)
    if any(outcome.verdict == "wrong" for outcome in results.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
