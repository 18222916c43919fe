"""Step times of single layers, the ones of the Opacus paper's Figure 2 at its sizes: dpc private and not, beside PyTorch and Opacus.

    cargo build --release
    pip install torch opacus onnx onnxscript
    python benches/layers.py [--batch 64] [--layers linear,lstm] [--rounds 3] [--threads 2]

A step is all of one: the loss is the mean square of what the layer yields for a record; then come the gradient, the clipping and
the noise, where it is private, and the update. The table goes to benches/layers.md, and a plot of it to benches/layers.svg.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from turns import ROOT, arguments, bars, busy, compile_model, in_turn, time_steps, write

LAYERS = ["linear", "conv", "layernorm", "instancenorm", "groupnorm", "embedding", "mha", "rnn", "gru", "lstm"]
PEERS = ["torch", "opacus"]


def layer(kind, private):
    """The layer, in Opacus's own form if that is asked for, and the shapes of its inputs without the batch."""
    from torch import nn

    if kind in ("rnn", "gru", "lstm", "mha") and private:
        from opacus import layers

        modules = {"rnn": layers.DPRNN, "gru": layers.DPGRU, "lstm": layers.DPLSTM, "mha": layers.DPMultiheadAttention}
    else:
        modules = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM, "mha": nn.MultiheadAttention}
    sequence = [(128, 100)]
    return {
        "linear": lambda: (nn.Linear(512, 512), [(512,)]),
        "conv": lambda: (nn.Conv2d(64, 64, 8), [(64, 50, 100)]),
        "layernorm": lambda: (nn.LayerNorm(64), [(64,)]),
        "instancenorm": lambda: (nn.InstanceNorm1d(256, affine=True), [(256, 64)]),
        "groupnorm": lambda: (nn.GroupNorm(16, 256), [(256,)]),
        "embedding": lambda: (nn.Embedding(20000, 100), [()]),
        "mha": lambda: (modules["mha"](100, 4, batch_first=True), [(64, 100), (128, 100)]),
        "rnn": lambda: (modules["rnn"](100, 100, batch_first=True), sequence),
        "gru": lambda: (modules["gru"](100, 100, batch_first=True), sequence),
        "lstm": lambda: (modules["lstm"](100, 100, batch_first=True), sequence),
    }[kind]()


def losses(kind, private=False):
    """A module that yields the loss of each record, and the shapes of its inputs."""
    from torch import nn

    inner, shapes = layer(kind, private)

    class Losses(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = inner

        def forward(self, *inputs):
            if kind == "mha":
                query, key = inputs
                made = self.layer(query, key, key, need_weights=False)
            else:
                made = self.layer(*inputs)
            made = made[0] if isinstance(made, tuple) else made
            return (made * made).flatten(1).mean(dim=1)

    return Losses(), shapes


def data(kind, shapes, batch):
    import torch

    if kind == "embedding":
        return [torch.randint(0, 20000, (batch,))]
    return [torch.randn(batch, *shape) for shape in shapes]


def peer(kind, batch, name, threads):
    import torch

    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    net, shapes = losses(kind, name == "opacus")
    inputs = data(kind, shapes, batch)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    if name == "opacus":
        from opacus import PrivacyEngine

        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*inputs), batch_size=batch)
        net, optimizer, _ = PrivacyEngine().make_private(
            module=net, optimizer=optimizer, data_loader=loader, noise_multiplier=1.0, max_grad_norm=1.0, poisson_sampling=False)

    def step():
        optimizer.zero_grad()
        net(*inputs).mean().backward()
        optimizer.step()

    net.train()
    time_steps(step)


def export_layer(kind, path):
    sys.path.insert(0, os.path.join(ROOT, "models"))
    import torch
    from recipes import export

    torch.manual_seed(0)
    net, shapes = losses(kind)
    inputs = {f"x{i}": x for i, x in enumerate(data(kind, shapes, 2))}
    export("ts", net, inputs, Path(path), outputs=("loss",))


def contestants(dpc, kind, batch, threads, folder):
    """The commands by name, dpc's first."""
    artifact = os.path.join(folder, f"{kind}.dpc")
    if not os.path.exists(artifact):
        model = os.path.join(folder, f"{kind}.onnx")
        # In a process of its own: the memory of a child counts from that of the process that starts it.
        subprocess.run([sys.executable, os.path.abspath(__file__), "--export", kind, model], check=True)
        compile_model(dpc, model, artifact, "output:loss")
    step = [dpc, "bench", "step", artifact, "--batch", str(batch), "--device", "cpu", "--json"]
    itself = [sys.executable, os.path.abspath(__file__), "--threads", str(threads), "--peer"]
    peers = {name: [*itself, name, kind, str(batch)] for name in PEERS}
    return {"dpc": step, "dpc non-private": [*step, "--non-private"], **peers}


def ratio(found, a, b):
    return found[a]["median_ms"] / found[b]["median_ms"] if found.get(a) and found.get(b) else None


def table(rows, names):
    """The figures as Markdown: milliseconds a step, MiB, and what privacy costs."""
    ratios = [("dpc: private ÷ not", "dpc", "dpc non-private"), ("Opacus ÷ PyTorch", "opacus", "torch"),
              ("dpc ÷ PyTorch", "dpc", "torch"), ("Opacus ÷ dpc", "opacus", "dpc")]
    heads = [*names, *(head for head, _, _ in ratios)]
    lines = ["| layer | batch | " + " | ".join(heads) + " |", "|---|---|" + "---|" * len(heads)]
    for (kind, batch), found in rows.items():
        cells = [f"{found[name]['median_ms']:.3g} ms, {found[name]['memory']:.0f} MiB" if found.get(name) else "failed" for name in names]
        cells += [f"{value:.2f}" if (value := ratio(found, a, b)) else "" for _, a, b in ratios]
        lines.append(f"| {kind} | {batch} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(rows):
    pairs = [("dpc", "dpc", "dpc non-private"), ("Opacus ÷ PyTorch", "opacus", "torch")]
    groups = [(f"{kind}, batch {batch}", [(name, ratio(found, a, b)) for name, a, b in pairs]) for (kind, batch), found in rows.items()]
    title = "private step ÷ step without privacy (logarithmic, from 1/2)"
    return bars(groups, ["#1b6ca8", "#e07a5f"], title, "what privacy costs", -1, 7)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", default=",".join(LAYERS))
    parser.add_argument("--export", nargs=2, metavar=("LAYER", "PATH"), help=argparse.SUPPRESS)
    arguments(parser, "64", 3)
    options = parser.parse_args()
    if options.export:
        return export_layer(*options.export)
    if options.peer:
        name, kind, batch = options.peer
        return peer(kind, int(batch), name, options.threads)
    was_busy, rows = busy(), {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.layers.split(","):
            for batch in map(int, options.batch.split(",")):
                commands = contestants(options.dpc, kind, batch, options.threads, folder)
                found = rows[kind, batch] = in_turn(commands, options.rounds, options.threads)
                print(kind, batch, {name: one and round(one["median_ms"], 3) for name, one in found.items()}, flush=True)
    names = ["dpc", "dpc non-private", *PEERS]
    write("layers", "The layers of the Opacus paper", "layers.py", options, was_busy, table(rows, names), plot(rows))


if __name__ == "__main__":
    main()
