"""Writes small models whose weights or axes are in a form that the zoo's exporters do not use, and their golden files.

`constants`  every weight is a Constant node, one behind Transpose, beside a scale and a mask that are none
`literal`    the weights are initialisers; a fixed projection and a shift are Constant nodes
`equal`      PyTorch's older exporter in evaluation mode: weights that were equal come from Identity nodes; one is tied
`axes`       two inputs with symbolic axes besides the batch, of one name and of none
`ids`        inputs that all records share: ids, some below zero, into a table and into a longer one; only run forward

A golden file holds a batch of four under the ONNX input names and `label`, and by PyTorch in float64, one sample at a
time: `logits`, `loss` and `per_sample/PARAM`, by the names in the ONNX file. That of `ids` holds the inputs and what
ONNX Runtime makes of them.

    python models/forms.py
"""

import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import oracle
from recipes import export

FOLDER = Path(__file__).parent / "forms"
BATCH, CLASSES = 4, 3


class Function(nn.Module):
    """Parameters by ONNX names, and a function of them and of the inputs."""

    def __init__(self, function, **shapes):
        super().__init__()
        self.function = function
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape) * 0.7))

    def forward(self, *inputs):
        return self.function(self, *inputs)

    def arrays(self):
        return {name: value.detach().numpy() for name, value in self.named_parameters()}


def constant(name, value):
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value, np.float32)))


def initializers(arrays):
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()]


def graph(nodes, inputs, stored=()):
    """A model of these nodes; `inputs` gives the axes of each float input."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name, axes in inputs.items()]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])
    made = helper.make_graph(nodes, "forms", values, [logits], list(stored))
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="dpc")


def constants():
    mask = np.array([1, 0, 1, 1, 0], np.float32)
    net = Function(lambda n, x: (((x @ n.w1 + n.b1) * 0.5).tanh() * torch.from_numpy(mask).to(x) @ n.w2.T) + n.b2,
                   w1=(7, 5), b1=(5,), w2=(CLASSES, 5), b2=(CLASSES,))
    node = helper.make_node
    nodes = [constant(name, value) for name, value in net.arrays().items()] + [
        constant("half", 0.5),
        constant("mask", mask),
        constant("zero", 0),
        node("Greater", ["mask", "zero"], ["kept"]),
        node("Cast", ["kept"], ["kept_float"], to=TensorProto.FLOAT),
        node("Gemm", ["input", "w1", "b1"], ["a"]),
        node("Mul", ["a", "half"], ["a_half"]),
        node("Tanh", ["a_half"], ["h"]),
        node("Mul", ["h", "kept_float"], ["h_kept"]),
        node("Transpose", ["w2"], ["w2_t"], perm=[1, 0]),
        node("MatMul", ["h_kept", "w2_t"], ["b"]),
        node("Add", ["b", "b2"], ["logits"]),
    ]
    return net, graph(nodes, {"input": ["batch", 7]}), {"input": torch.randn(BATCH, 7)}


def literal():
    fixed, shift = torch.randn(7, 5), torch.randn(5)
    net = Function(lambda n, x: (x @ fixed.to(x) + shift.to(x)).tanh() @ n.w + n.b, w=(5, CLASSES), b=(CLASSES,))
    node = helper.make_node
    nodes = [
        constant("fixed", fixed),
        constant("shift", shift),
        node("MatMul", ["input", "fixed"], ["a"]),
        node("Add", ["a", "shift"], ["s"]),
        node("Tanh", ["s"], ["h"]),
        node("Gemm", ["h", "w", "b"], ["logits"]),
    ]
    made = graph(nodes, {"input": ["batch", 7]}, initializers(net.arrays()))
    return net, made, {"input": torch.randn(BATCH, 7)}


class Equal(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(5, 5)
        nn.init.zeros_(self.first.bias)
        self.second = copy.deepcopy(self.first)
        self.tied = nn.Linear(5, 5)
        self.tied.weight = self.first.weight
        nn.init.zeros_(self.tied.bias)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x):
        return self.head(self.tied(self.second(self.first(x).tanh()).tanh()).tanh())


def equal():
    net, inputs = Equal(), {"input": torch.randn(BATCH, 5)}
    path = FOLDER / "equal.onnx"
    export("ts", net, inputs, path, defaults=True)
    made = onnx.load(path)
    copies = {node.output[0] for node in made.graph.node if node.op_type == "Identity"}
    assert copies == {"second.weight", "second.bias", "tied.bias"}, copies
    return net, made, inputs


def axes():
    net = Function(lambda n, x, y: (x @ n.w).tanh().mean(1) + n.s * y.mean((1, 2)).unsqueeze(1),
                   w=(5, CLASSES), s=(CLASSES,))
    node = helper.make_node
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("Tanh", ["a"], ["t"]),
        node("ReduceMean", ["t"], ["m"], axes=[1], keepdims=0),
        node("ReduceMean", ["y"], ["n"], axes=[1, 2], keepdims=0),
        node("Unsqueeze", ["n", "one"], ["n1"]),
        node("Mul", ["s", "n1"], ["sn"]),
        node("Add", ["m", "sn"], ["logits"]),
    ]
    stored = initializers(net.arrays() | {"one": np.array([1])})
    made = graph(nodes, {"x": ["batch", "time", 5], "y": ["batch", "time", None]}, stored)
    return net, made, {"x": torch.randn(BATCH, 6, 5), "y": torch.randn(BATCH, 6, 2)}


def ids():
    """`indices` addresses `data` of 10 elements and `table` of 4 columns."""
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Gather", ["data", "indices"], ["from_data"]),
             helper.make_node("Gather", ["table", "indices"], ["from_table"], axis=1)]
    inputs = [value("data", TensorProto.FLOAT, [10]), value("table", TensorProto.FLOAT, [2, 4]),
              value("indices", TensorProto.INT64, [2, 3])]
    outputs = [value("from_data", TensorProto.FLOAT, [2, 3]), value("from_table", TensorProto.FLOAT, [2, 2, 3])]
    made = helper.make_model(helper.make_graph(nodes, "forms", inputs, outputs),
                             opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="dpc")
    onnx.checker.check_model(made)
    onnx.save(made, FOLDER / "ids.onnx")
    arrays = {"data": np.arange(10, dtype=np.float32), "table": np.arange(8, dtype=np.float32).reshape(2, 4),
              "indices": np.array([[0, -1, -4], [3, -3, 1]])}
    session = onnxruntime.InferenceSession(made.SerializeToString())
    found = session.run(["from_data", "from_table"], arrays)
    np.savez_compressed(FOLDER / "ids.npz", **arrays, from_data=found[0], from_table=found[1])


def main():
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    for seed, build in enumerate((constants, literal, equal, axes)):
        torch.manual_seed(seed)
        net, made, inputs = build()
        onnx.checker.check_model(made)
        onnx.save(made, FOLDER / f"{build.__name__}.onnx")
        label = torch.randint(0, CLASSES, (BATCH,))
        logits = oracle.forward(net, inputs)
        session = onnxruntime.InferenceSession(made.SerializeToString())
        [found] = session.run(["logits"], {name: value.numpy() for name, value in inputs.items()})
        assert np.abs(found - logits).max() < 1e-5, build.__name__
        losses, gradients = oracle.per_sample(net, inputs, label, "cross-entropy", 1)
        arrays = {name: value.numpy() for name, value in inputs.items()} | {"label": label.numpy()}
        arrays |= {"logits": logits, "loss": losses} | {f"per_sample/{k}": v for k, v in gradients.items()}
        np.savez_compressed(FOLDER / f"{build.__name__}.npz", **arrays)
    ids()


if __name__ == "__main__":
    main()
