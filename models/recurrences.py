"""Writes recurrent nodes in forms that PyTorch's exporters do not write or the zoo has not, and what other software makes of them.

`nodes`   a node for each form: directions, layouts, activations, clip, input_forget, peepholes, linear_before_reset, states and
          lengths; `nodes.npz` holds the inputs and the outputs by ONNX Runtime, which takes layout 1 for the same in layout 0
`packed`  a GRU and an LSTM on packed sequences, in both directions; `packed.npz` is a golden file like those of `forms/`

    python models/recurrences.py
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import oracle
from recipes import export

FOLDER = Path(__file__).parent / "recurrences"
BATCH, STEPS, INPUTS, HIDDEN, CLASSES = 3, 5, 4, 3, 3
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
SMOOTH = {"activations": ["HardSigmoid", "Elu", "Softsign"]}
BENT = {"activations": ["HardSigmoid", "LeakyRelu", "ThresholdedRelu"], "activation_alpha": [0.3, 0.2, 0.5], "activation_beta": [0.4]}
LINES = {"activations": ["Affine", "ScaledTanh", "Softplus"], "activation_alpha": [0.5, 1.2], "activation_beta": [0.1, 0.8]}
BOTH = {"direction": "bidirectional"}
# Operator, attributes, and the operands besides the input and the weights.
FORMS = [
    ("RNN", {}, ()),
    ("RNN", {"direction": "reverse", "activations": ["Sigmoid"], "clip": 0.4}, ("B", "h")),
    ("RNN", {**BOTH, "activations": ["Relu", "Softplus"], "layout": 1}, ("B", "lengths", "h")),
    ("GRU", {}, ("B", "h")),
    ("GRU", {"linear_before_reset": 1, "direction": "reverse"}, ("B", "lengths", "h")),
    ("GRU", {**BOTH, "linear_before_reset": 1, "layout": 1, "clip": 0.4}, ("B", "h")),
    ("GRU", {**BOTH, "activations": ["Sigmoid", "Relu", "HardSigmoid", "Tanh"]}, ("lengths",)),
    ("LSTM", {**SMOOTH}, ("B", "lengths")),
    ("LSTM", {**BENT, "layout": 1}, ("B", "h", "c")),
    ("LSTM", {**LINES, "direction": "reverse"}, ("c",)),
    ("LSTM", {"input_forget": 1, "clip": 0.4}, ("B", "h", "c")),
    ("LSTM", {**BOTH}, ("B", "lengths", "h", "c", "P")),
    ("LSTM", {**BOTH, "input_forget": 1, "layout": 1}, ("P",)),
]


def nodes():
    """The model, and the model whose nodes all have layout 0."""
    rng = np.random.default_rng(7)
    inputs = {"x": rng.normal(size=(BATCH, STEPS, INPUTS)).astype(np.float32), "lengths": np.array([STEPS, 2, 1], np.int32)}
    for name in ("h", "c"):
        for count in (1, 2):
            inputs[f"{name}{count}"] = rng.normal(size=(BATCH, count, HIDDEN)).astype(np.float32)
    weights, made, outputs = {}, ([], []), []
    for k, (op, attributes, operands) in enumerate(FORMS):
        count = 2 if attributes.get("direction") == "bidirectional" else 1
        size = GATES[op] * HIDDEN
        shapes = {"W": (count, size, INPUTS), "R": (count, size, HIDDEN), "B": (count, 2 * size), "P": (count, 3 * HIDDEN)}
        for name, shape in shapes.items():
            if name in "WR" or name in operands:
                weights[f"{name}.{k}"] = (0.5 * rng.normal(size=shape)).astype(np.float32)
        results = ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2]
        for variant, layout in enumerate((attributes.get("layout", 0), 0)):
            first = lambda name: name if layout else f"{name}.t{k}"
            names = [first("x"), f"W.{k}", f"R.{k}", f"B.{k}" if "B" in operands else "", "lengths" if "lengths" in operands else ""]
            names += [first(f"{state}{count}") if state in operands else "" for state in ("h", "c")[: len(results) - 1]]
            names += [f"P.{k}"] if "P" in operands else []
            if not layout:
                for name in ("x", f"h{count}", f"c{count}"):
                    if first(name) in names:
                        made[variant].append(helper.make_node("Transpose", [name], [first(name)], perm=[1, 0, 2]))
            given = attributes | ({"layout": layout} if layout else {})
            if not layout:
                given.pop("layout", None)
            inner = [f"{name}.{k}" if layout else f"{name}.{k}.t" for name in results]
            made[variant].append(helper.make_node(op, names, inner, name=f"{op}.{k}", hidden_size=HIDDEN, **given))
            for name in results if not layout else ():
                perm = [2, 0, 1, 3] if name == "Y" else [1, 0, 2]
                made[variant].append(helper.make_node("Transpose", [f"{name}.{k}.t"], [f"{name}.{k}"], perm=perm))
        for name in results:
            dims = ["batch", *([STEPS] if name == "Y" else []), count, HIDDEN]
            outputs.append(helper.make_tensor_value_info(f"{name}.{k}", TensorProto.FLOAT, dims))
    types = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32}
    values = [helper.make_tensor_value_info(n, types[str(v.dtype)], ["batch", *v.shape[1:]]) for n, v in inputs.items()]
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    opset = [helper.make_opsetid("", 14)]
    models = [helper.make_model(helper.make_graph(list(of), "nodes", values, outputs, stored), opset_imports=opset, ir_version=8,
                                producer_name="dpc") for of in made]
    onnx.checker.check_model(models[0])
    onnx.save(models[0], FOLDER / "nodes.onnx")
    names = [output.name for output in outputs]
    found = onnxruntime.InferenceSession(models[1].SerializeToString()).run(names, inputs)
    np.savez_compressed(FOLDER / "nodes.npz", **inputs, **dict(zip(names, found)))


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(INPUTS, HIDDEN, batch_first=True, bidirectional=True)
        self.lstm = nn.LSTM(2 * HIDDEN, HIDDEN, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(6 * HIDDEN, CLASSES)

    def forward(self, x, lengths):
        states, _ = self.gru(pack_padded_sequence(x, lengths, batch_first=True))
        states, (h, c) = self.lstm(states)
        states, _ = pad_packed_sequence(states, batch_first=True, total_length=STEPS)
        return self.fc(torch.cat([states.sum(1), h[0], h[1], c[0], c[1]], -1))


def packed():
    torch.manual_seed(0)
    net, lengths, label = Packed(), torch.tensor([STEPS, 4, 2, 1]), torch.tensor([0, 2, 1, 1])
    inputs = {"input": torch.randn(4, STEPS, INPUTS), "lengths": lengths}
    export("ts", net, inputs, FOLDER / "packed.onnx", opset=17)
    objective = lambda outputs, labels: oracle.sample_loss("cross-entropy", outputs[0], labels[0], 1)
    loss, gradients = oracle.per_sample(net, inputs, [label], objective)
    arrays = {name: value.numpy() for name, value in inputs.items()} | {"label": label.numpy(), "loss": loss}
    np.savez_compressed(FOLDER / "packed.npz", **arrays, **{f"per_sample/{k}": v for k, v in gradients.items()})


if __name__ == "__main__":
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    nodes()
    packed()
