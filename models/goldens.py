"""Writes the golden files that dpc's gradients are held against.

For every model: a batch of four under the names of the ONNX inputs and labels; each output, `loss [N]`, `norm [N]` (over all
parameters) and `per_sample/PARAM [N, ...]` by PyTorch in float64, one sample at a time; `ort/OUTPUT` by onnxruntime in
float32; for those of the zoo `mean_loss`, PyTorch's loss of the whole batch. Each sample is independent of the others, so the first row is also the golden of a batch of one.

The full-size models' goldens hold float32 and, for every parameter, `param_norm/PARAM [N]` and `param_max/PARAM [N]`
(largest absolute entry). Of large parameters they hold a part: for embedding tables the rows that the batch touches,
`rows/PARAM [r]` and `per_sample_rows/PARAM [N, r, width]` (all others are zero); for others every k-th entry,
`flat_index/PARAM [m]` and `per_sample_flat/PARAM [N, m]`.

    python models/goldens.py [NAME...]
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

import oracle
from paper_nets import PAPER
from recipes import RECIPES
from zoo_nets import ZOO

HERE = Path(__file__).parent


def run_onnx(path, inputs, outputs):
    """The outputs by onnxruntime, unoptimised and with Dropout in inference mode."""
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "Dropout":
            node.op_type = "Identity"
            del node.input[1:], node.output[1:]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(list(outputs), {name: value.numpy() for name, value in inputs.items()})


def check_names(path, net):
    """The floating-point initializers that carry parameters must be the parameters, by name, shape and value."""
    model = onnx.load(path)
    initializers = {t.name: t for t in model.graph.initializer}
    names = {}
    for name, parameter in net.named_parameters(remove_duplicate=False):
        if name in initializers:
            value = onnx.numpy_helper.to_array(initializers[name])
            assert np.array_equal(value, parameter.detach().numpy()), f"{path.name}: {name} differs"
            names[id(parameter)] = name
    missing = [name for name, p in net.named_parameters() if id(p) not in names]
    assert not missing, f"{path.name}: no initializer for {missing}"
    return {name: names[id(p)] for name, p in net.named_parameters() if names[id(p)] != name}


def check_forward(path, net, torch_inputs, inputs, outputs=("logits",)):
    """onnxruntime and PyTorch agree within 1e-5 on the batch and on its first sample; gives the batch's outputs by name."""
    found = run_onnx(path, inputs, outputs)
    first = run_onnx(path, {name: value[:1] for name, value in inputs.items()}, outputs)
    for name, value, of_one, expected in zip(outputs, found, first, oracle.forward(net, torch_inputs), strict=True):
        expected = expected.numpy()
        scale = max(1.0, np.abs(expected).max())
        assert value.shape == expected.shape, f"{path.name}: {value.shape} instead of {expected.shape}"
        assert np.abs(value - expected).max() <= 1e-5 * scale, f"{path.name}: {name} differs"
        assert np.abs(of_one - expected[:1]).max() <= 1e-5 * scale, f"{path.name}: {name} of one sample differs"
    return {f"ort/{name}": value for name, value in zip(outputs, found)}


def total_norm(gradients):
    return np.sqrt(sum(np.square(g).reshape(len(g), -1).sum(1) for g in gradients.values()))


def zoo_golden(entry):
    """Writes one zoo model's golden file; gives its line of the manifest."""
    folder = HERE / "zoo"
    net, inputs, labels = entry.make()
    torch_inputs = entry.torch_inputs(inputs)
    net.eval()
    arrays = {name: value.numpy() for name, value in (inputs | labels).items()}
    labels = list(labels.values())
    files, opsets, renamed = {}, {}, {}
    for recipe in RECIPES:
        path = folder / f"{entry.name}.{recipe}.onnx"
        files[recipe] = path.name
        opsets[recipe] = onnx.load(path, load_external_data=False).opset_import[0].version
        names = check_names(path, net)
        if names:
            renamed[recipe] = names
        if entry.in_onnxruntime:
            arrays |= check_forward(path, net, torch_inputs, inputs, entry.outputs)
    arrays |= {name: value.numpy() for name, value in zip(entry.outputs, oracle.forward(net, torch_inputs))}
    loss, gradients = oracle.per_sample(net, torch_inputs, labels, entry.sample_loss)
    mean = oracle.of_batch(net, torch_inputs, labels, entry.mean_loss)
    arrays |= {"loss": loss, "mean_loss": np.array(mean), "norm": total_norm(gradients)}
    arrays |= {f"per_sample/{name}": value for name, value in gradients.items()}
    (folder / "goldens").mkdir(exist_ok=True)
    np.savez_compressed(folder / "goldens" / f"{entry.name}.npz", **arrays)
    line = {
        "name": entry.name,
        "files": files,
        "golden": f"goldens/{entry.name}.npz",
        "loss": entry.loss,
        "class_axis": entry.class_axis,
        "opsets": opsets,
        "parameters": {name: list(p.shape) for name, p in net.named_parameters()},
        "notes": entry.notes,
    }
    return line | ({"renamed": renamed} if renamed else {})


WHOLE = 20_000  # entries of a parameter above which only a part is kept
KEPT = 5_000  # about so many entries are kept of such a parameter, by a prime stride, which meets no axis


def paper_golden(model):
    """Writes one full-size model's golden file."""
    net, inputs, label = model.make()
    path = HERE / f"{model.name}.onnx"
    assert not check_names(path, net)
    arrays = {name: value.numpy() for name, value in inputs.items()} | {"label": label.numpy()}
    arrays |= check_forward(path, net, inputs, inputs)
    arrays["logits"] = oracle.forward(net, inputs)[0].numpy()
    objective = lambda outputs, labels: oracle.sample_loss("cross-entropy", outputs[0], labels[0], 1)
    loss, gradients = oracle.per_sample(net, inputs, [label], objective)
    arrays |= {"loss": loss, "norm": total_norm(gradients)}
    tables = {f"{name}.weight" for name, layer in net.named_modules() if isinstance(layer, torch.nn.Embedding)}
    for name, gradient in gradients.items():
        flat = gradient.reshape(len(gradient), -1)
        arrays[f"param_norm/{name}"] = np.linalg.norm(flat, axis=1)
        arrays[f"param_max/{name}"] = np.abs(flat).max(1)
        if name in tables:
            rows = np.unique(inputs["tokens"])
            assert not np.delete(gradient, rows, axis=1).any()
            arrays[f"rows/{name}"] = rows
            arrays[f"per_sample_rows/{name}"] = gradient[:, rows].astype(np.float32)
        elif flat.shape[1] > WHOLE:
            index = np.arange(0, flat.shape[1], next_prime(flat.shape[1] // KEPT))
            arrays[f"flat_index/{name}"] = index
            arrays[f"per_sample_flat/{name}"] = flat[:, index].astype(np.float32)
        else:
            arrays[f"per_sample/{name}"] = gradient.astype(np.float32)
    (HERE / "goldens").mkdir(exist_ok=True)
    np.savez_compressed(HERE / "goldens" / f"{model.name}.npz", **arrays)


def next_prime(n):
    """The smallest prime of at least `n` and at least 2."""
    n = max(n, 2)
    while any(n % d == 0 for d in range(2, int(n**0.5) + 1)):
        n += 1
    return n


def main():
    torch.set_num_threads(1)
    only = sys.argv[1:]
    for model in PAPER.values():
        if not only or model.name in only:
            paper_golden(model)
            print(model.name)
    path = HERE / "zoo" / "manifest.json"
    lines = {line["name"]: line for line in json.loads(path.read_text())} if path.exists() and only else {}
    for entry in ZOO.values():
        if not only or entry.name in only:
            lines[entry.name] = zoo_golden(entry)
            print(entry.name)
    rows = ",\n".join(json.dumps(lines[name], ensure_ascii=False) for name in ZOO if name in lines)
    path.write_text(f"[\n{rows}\n]\n")


if __name__ == "__main__":
    main()
