"""Writes one model at every operator set from 6 to 28, and its golden files.

The model has every operator that dpc reads at least once, each in the form of its operator set: axes as attributes or
as operands, Slice and Split likewise, Dropout with its ratio as attribute, Softmax over one axis or over all from one
on. What the forms mean is the same in all files but for Softmax and LogSoftmax, so there are two golden files: `before_13`
and `from_13`. They hold a batch of four, its logits, and PyTorch's losses and per-sample gradients in float64, one
sample at a time. Every file is held against its golden file by onnxruntime, that of 6 as one of 7, and from 13 on by
onnx's reference evaluator.

    python models/opsets.py
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import oracle

FOLDER = Path(__file__).parent / "opsets"
OPSETS = range(6, 29)
BROADCAST = {"Add", "Sub", "Mul", "Div", "Gemm"}
BATCH, WORDS, WIDTH, HIDDEN, CLASSES = 4, 11, 5, 3, 3


class Net(torch.nn.Module):
    """The model in PyTorch; `old` is what Softmax meant before operator set 13."""

    def __init__(self, old):
        super().__init__()
        self.old = old
        generator = torch.Generator().manual_seed(9)
        for name, shape in SHAPES.items():
            value = torch.randn(shape, generator=generator) * 0.6
            self.register_parameter(name.replace(".", "_"), torch.nn.Parameter(value))

    def softmax(self, x, axis):
        return x.flatten(axis).softmax(axis).reshape(x.shape) if self.old else x.softmax(axis)

    def forward(self, image, tokens):
        x = F.conv2d(image, self.conv_weight, self.conv_bias, stride=2, padding=1).relu()
        x = F.max_pool2d(x, 3, 2, 1)
        x = F.avg_pool2d(F.pad(x, (1, 0, 1, 0)), 2, 1)
        pooled = x.mean((2, 3))
        x = x[:, 1:4]
        soft = self.softmax(x, 1 if self.old else -1).transpose(1, 2)
        first, second = soft.split([1, 2], 1)
        logs = self.softmax(x, 2).log()
        logs = (logs[..., 0] - logs[..., 2]).flatten(1)
        state = self.lstm(F.embedding(tokens, self.table))
        ratio = -(pooled.exp() + 1.5).sqrt() / (pooled.sigmoid() + 1.5).log()
        parts = [second.sum((1, 3)), first.mean(3).flatten(1), logs, 2 * state * 0.25, ratio]
        hidden = (torch.cat(parts, 1) @ self.mix).tanh()
        return hidden @ self.head_weight.T + self.head_bias

    def lstm(self, x):
        h = c = torch.zeros(len(x), HIDDEN, dtype=x.dtype)
        bias = (self.lstm_B[0, : 4 * HIDDEN] + self.lstm_B[0, 4 * HIDDEN :])
        for t in range(x.shape[1]):
            i, o, f, g = (x[:, t] @ self.lstm_W[0].T + h @ self.lstm_R[0].T + bias).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return h


SHAPES = {
    "conv.weight": (4, 2, 3, 3),
    "conv.bias": (4,),
    "table": (WORDS, WIDTH),
    "lstm.W": (1, 4 * HIDDEN, WIDTH),
    "lstm.R": (1, 4 * HIDDEN, HIDDEN),
    "lstm.B": (1, 8 * HIDDEN),
    "mix": (22, 7),
    "head.weight": (CLASSES, 7),
    "head.bias": (CLASSES,),
}


class Graph:
    """Nodes and initialisers in the form of one operator set."""

    def __init__(self, opset):
        self.opset, self.nodes, self.initializers, self.outputs = opset, [], [], {}

    def add(self, op, inputs, outputs=1, **attributes):
        """A node; gives the name of its result, or the names of its results."""
        if self.opset < 7 and op in BROADCAST:
            attributes["broadcast"] = 1
        number = len(self.nodes)
        names = [f"{op}_{number}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=f"{op}_{number}", **attributes))
        return names[0] if outputs == 1 else names

    def ints(self, *values, scalar=False):
        """The name of an integer initialiser."""
        name = f"ints_{len(self.initializers)}"
        value = np.array(values[0] if scalar else values, np.int64)
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def number(self, value):
        """The name of a float constant."""
        if self.opset >= 12:
            return self.add("Constant", [], value_float=value)
        return self.add("Constant", [], value=helper.make_tensor("value", TensorProto.FLOAT, [], [value]))

    def over_axes(self, op, x, axes, since, **attributes):
        """An operator whose axes are an operand since a version, and an attribute before."""
        if self.opset >= since:
            return self.add(op, [x, self.ints(*axes)], **attributes)
        return self.add(op, [x], axes=axes, **attributes)

    def slice(self, x, start, end, axis):
        if self.opset >= 10:
            return self.add("Slice", [x, self.ints(start), self.ints(end), self.ints(axis)])
        return self.add("Slice", [x], starts=[start], ends=[end], axes=[axis])

    def split(self, x, axis, sizes):
        if self.opset >= 13:
            return self.add("Split", [x, self.ints(*sizes)], len(sizes), axis=axis)
        return self.add("Split", [x], len(sizes), axis=axis, split=sizes)

    def dropout(self, x):
        if self.opset >= 12:
            return self.add("Dropout", [x, self.number(0.5)])
        test = {"is_test": 1} if self.opset < 7 else {}
        return self.add("Dropout", [x], ratio=0.5, **test)


def model(opset, parameters):
    """The model at an operator set."""
    g = Graph(opset)
    x = g.add("Conv", ["image", "conv.weight", "conv.bias"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    x = g.add("Relu", [x])
    since_10 = {"ceil_mode": 0} if opset >= 10 else {}
    dilated = {"dilations": [1, 1]}
    pool = since_10 | (dilated if opset >= 10 else {})
    x = g.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, **pool)
    pool = since_10 | (dilated if opset >= 19 else {})
    if opset < 7:
        x = g.add("AveragePool", [g.add("Pad", [x], pads=[0, 0, 1, 1, 0, 0, 0, 0])], kernel_shape=[2, 2])
    else:
        x = g.add("AveragePool", [x], kernel_shape=[2, 2], pads=[1, 1, 0, 0], count_include_pad=1, **pool)
    pooled = g.over_axes("Squeeze", g.add("GlobalAveragePool", [x]), [2, 3], 13)
    x = g.slice(x, 1, 4, 1)
    soft = g.add("Transpose", [g.add("Softmax", [x])], perm=[0, 2, 1, 3])
    first, second = g.split(soft, 1, [1, 2])
    summed = g.dropout(g.over_axes("ReduceSum", second, [1, 3], 13, keepdims=0))
    mean = g.add("Flatten", [g.over_axes("ReduceMean", first, [3], 18, keepdims=1)])
    logs = g.add("LogSoftmax", [x], axis=2)
    even = {"num_outputs": 3} if opset >= 18 else {}
    left, _, right = g.add("Split", [logs], 3, axis=3, **even)
    logs = g.add("Reshape", [g.add("Sub", [left, right]), g.ints(0, -1)])

    x = g.add("Cast", [g.add("Gather", ["table", "tokens"])], to=TensorProto.FLOAT)
    if opset >= 15:
        x = g.add("CastLike", [x, "table"])
    x = g.add("Transpose", [x], perm=[1, 0, 2])
    state = g.add("LSTM", [x, "lstm.W", "lstm.R", "lstm.B"], 2, hidden_size=HIDDEN)[1]
    x = g.over_axes("Unsqueeze", g.over_axes("Squeeze", state, [0], 13), [1], 13)
    x = g.add("Expand", [x, g.ints(1, 2, 1)]) if opset >= 8 else g.add("Concat", [x, x], axis=1)
    if opset >= 11:
        parts = g.add("SplitToSequence", [x, g.ints(1, scalar=True)], axis=1)
        one = g.add("SequenceAt", [parts, g.ints(0, scalar=True)])
    else:
        one = g.slice(x, 0, 1, 1)
    twice = g.add("Flatten", [g.add("Add", [one, g.add("Gather", [x, g.ints(1)], axis=1)])])
    if opset >= 9:
        quarter = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.25])
        quarter = g.add("ConstantOfShape", [g.ints(HIDDEN)], value=quarter)
    else:
        quarter = g.number(0.25)
    state = g.add("Mul", [twice, quarter])

    above = g.add("Sqrt", [g.add("Add", [g.add("Exp", [pooled]), g.number(1.5)])])
    below = g.add("Log", [g.add("Add", [g.add("Sigmoid", [pooled]), g.number(1.5)])])
    ratio = g.add("Div", [g.add("Neg", [above]), below])
    x = g.add("Concat", [summed, mean, logs, state, g.add("Identity", [ratio])], axis=1)
    x = g.add("Tanh", [g.add("MatMul", [x, "mix"])])
    x = g.add("Gemm", [x, "head.weight", "head.bias"], transB=1)
    g.nodes[-1].output[0] = "logits"

    stored = [numpy_helper.from_array(value, name) for name, value in parameters.items()] + g.initializers
    float_value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    inputs = [
        float_value("image", ["batch", 2, 9, 9]),
        helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", 5]),
    ]
    imports = [helper.make_opsetid("", opset)]
    ir_version = helper.find_min_ir_version_for(imports)
    if ir_version < 4:  # initialisers are inputs as well
        inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in stored]
    graph = helper.make_graph(g.nodes, "opsets", inputs, [float_value("logits", ["batch", CLASSES])], stored)
    made = helper.make_model(graph, opset_imports=imports, ir_version=ir_version, producer_name="dpc")
    onnx.checker.check_model(made)
    return made


def converted(made):
    """A model of operator set 6 in that which onnxruntime reads, where operands broadcast as these do without a word."""
    newer = onnx.ModelProto()
    newer.CopyFrom(made)
    newer.opset_import[0].version = 7
    for node in newer.graph.node:
        kept = [attribute for attribute in node.attribute if attribute.name not in ("broadcast", "is_test")]
        del node.attribute[:]
        node.attribute.extend(kept)
    return newer


def check(made, opset, inputs, expected):
    """Holds a file's results against the golden ones."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it warns of operator sets that are newer than its tests
    runnable = converted(made) if opset < 7 else made
    session = onnxruntime.InferenceSession(runnable.SerializeToString(), options)
    results = [session.run(["logits"], inputs)[0]]
    if opset >= 13:  # before, the reference evaluator normalises over one axis all the same
        results.append(ReferenceEvaluator(made).run(["logits"], inputs)[0])
    for result in results:
        assert np.abs(result - expected).max() < 1e-5, opset


def main():
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(5)
    image = torch.randn(BATCH, 2, 9, 9, generator=generator)
    tokens = torch.randint(0, WORDS, (BATCH, 5), generator=generator)
    label = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    inputs = {"image": image, "tokens": tokens}
    arrays = {name: value.numpy() for name, value in inputs.items()}
    for name, old in (("before_13", True), ("from_13", False)):
        net = Net(old)
        parameters = {key: net.get_parameter(key.replace(".", "_")).detach().numpy() for key in SHAPES}
        [logits] = oracle.forward(net, inputs)
        logits = logits.numpy()
        objective = lambda outputs, labels: oracle.sample_loss("cross-entropy", outputs[0], labels[0], 1)
        losses, gradients = oracle.per_sample(net, inputs, [label], objective)
        named = {f"per_sample/{key}": gradients[key.replace(".", "_")] for key in SHAPES}
        np.savez_compressed(
            FOLDER / f"{name}.npz", **arrays, label=label.numpy(), logits=logits, loss=losses, **named
        )
        for opset in (version for version in OPSETS if (version < 13) == old):
            made = model(opset, parameters)
            check(made, opset, arrays, logits)
            onnx.save(made, FOLDER / f"op{opset:02}.onnx")


if __name__ == "__main__":
    main()
