"""Small exports of what PyTorch users write and ONNX does not say, with PyTorch's own gradients, one record at a time.

Writes `situations/NAME.onnx` and `situations/NAME.npz`: the inputs, `label`, and in float64 `loss`, `norm` and
`per_sample/PARAMETER`. `situations.json` has the loss of each and what dpc is told about it.
"""
import contextlib
import io
import json
import os
import warnings

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import nn

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "situations")
BATCH = torch.export.Dim("batch", min=1, max=65536)
RECORDS = 5


def every_node(graph):
    """The nodes of a graph, and of the graphs that they hold."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from every_node(attribute.g)


def export(net, args, names, outs, how, file, train=True, dynamic=True, optimize=False,
           opset=None):
    net.train() if train else net.eval()
    quiet = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        warnings.simplefilter("ignore")
        if how == "dyn":
            shapes = tuple({0: BATCH} for _ in args) if dynamic else None
            torch.onnx.export(net, args, file, dynamo=True, optimize=optimize, input_names=names, output_names=outs,
                              external_data=False, dynamic_shapes=shapes, opset_version=opset)
        else:
            mode = torch.onnx.TrainingMode.TRAINING if train else torch.onnx.TrainingMode.EVAL
            torch.onnx.export(net, args, file, dynamo=False, input_names=names, output_names=outs, training=mode,
                              do_constant_folding=False, opset_version=opset or 17,
                              dynamic_axes={n: {0: "batch"} for n in [*names, *outs]} if dynamic else None)
    model = onnx.load(file)
    # Stack traces hold paths of the machine.
    for node in every_node(model.graph):
        kept = [p for p in node.metadata_props if "stack_trace" not in p.key]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(model, file)


class Causal(nn.Module):
    """A causal mask of minus infinity, held as a buffer."""

    def __init__(self):
        super().__init__()
        self.emb, self.qkv, self.out = nn.Embedding(11, 4), nn.Linear(4, 12), nn.Linear(4, 11)
        self.register_buffer("causal", torch.triu(torch.full((6, 6), float("-inf")), 1))

    def forward(self, ids):
        q, k, v = self.qkv(self.emb(ids)).chunk(3, -1)
        return self.out(torch.softmax(q @ k.transpose(1, 2) / 2 + self.causal, -1) @ v).transpose(1, 2)


class Positions(nn.Module):
    """Sines and cosines of positions, held as a buffer that its name does not give away."""

    def __init__(self):
        super().__init__()
        angle = torch.arange(6.0)[:, None] / 100 ** (torch.arange(2.0) / 2)
        self.register_buffer("pe", torch.stack([angle.sin(), angle.cos()], -1).reshape(1, 6, 4))
        self.emb, self.out = nn.Embedding(11, 4), nn.Linear(4, 3)

    def forward(self, ids):
        return self.out(torch.tanh(self.emb(ids) + self.pe).mean(1))


class Temperature(nn.Module):
    """A learnable number."""

    def __init__(self):
        super().__init__()
        self.fc, self.temperature = nn.Linear(4, 3), nn.Parameter(torch.tensor(1.3))

    def forward(self, x):
        return self.fc(x) * self.temperature


class Tied(nn.Module):
    """A head that shares its weight with the embedding."""

    def __init__(self):
        super().__init__()
        self.wte, self.head = nn.Embedding(11, 5), nn.Linear(5, 11, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, ids):
        return self.head(torch.tanh(self.wte(ids))).transpose(1, 2)


class Bag(nn.Module):
    """An embedding whose row of padding gets no gradient."""

    def __init__(self, padding):
        super().__init__()
        self.emb, self.fc = nn.Embedding(11, 5, padding_idx=padding), nn.Linear(5, 3)
        with torch.no_grad():
            self.emb.weight.normal_()

    def forward(self, ids):
        return self.fc(self.emb(ids).mean(1))


class FromEnd(nn.Module):
    """Ids below zero count from the end of each of two tables, of which the longer one is the head's weight too."""

    def __init__(self):
        super().__init__()
        self.long, self.short = nn.Parameter(torch.randn(11, 4)), nn.Parameter(torch.randn(7, 4))
        self.places = nn.Parameter(torch.randn(6, 4))
        self.register_buffer("order", torch.tensor([0, -1, 1, -2, 2, -6]))

    def forward(self, ids):
        h = torch.tanh(self.long[ids] * self.short[ids] + self.places[self.order])
        return h.mean(1) @ self.long.T


class Places(nn.Module):
    """Positions are ids that the file knows, and the first has the row of padding."""

    def __init__(self):
        super().__init__()
        self.places, self.fc = nn.Embedding(6, 4, padding_idx=0), nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(torch.tanh(x + self.places(torch.arange(6))).mean(1))


class Detached(nn.Module):
    """A branch that no gradient passes through, and a weight used without its gradient."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        y = torch.tanh(self.a(x))
        return self.b(y.detach()) + self.c(y) * self.b.weight.detach().mean()


class Statistics(nn.Module):
    """Statistics of the batch beside the logits."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        logits = self.fc(x)
        return logits, logits.mean(0)


class WithLoss(Statistics):
    """A loss beside the logits, as models of libraries return it."""

    def forward(self, x, labels):
        logits = self.fc(x)
        return F.cross_entropy(logits, labels), logits


class OwnLoss(nn.Module):
    """A network that yields one loss for the batch, by `loss` from its scores and the targets."""

    def __init__(self, loss, *layers):
        super().__init__()
        self.layers, self.loss = nn.Sequential(*layers), loss

    def forward(self, x, target):
        return self.loss(self.layers(x), target)


class Attention(nn.Module):
    """Self-attention with heads and a token of its own."""

    def __init__(self):
        super().__init__()
        self.mha, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)
        # The exporter deletes a bias of zeros.
        nn.init.normal_(self.mha.out_proj.bias)

    def forward(self, x):
        return self.head(self.mha(x, x, x, need_weights=False)[0].mean(1))


class Recurrent(nn.Module):
    """An LSTM with its initial state of zeros."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def frozen_norm():
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(100, 3))
    net[1].running_mean.normal_()
    net[1].running_var.uniform_(0.5, 2)
    with torch.no_grad():
        net[1].weight.normal_()
        net[1].bias.normal_()
    return net


def convolution():
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3))


def write(name, net, rng, how="dyn", ids=None, shape=None, outs=("out",), loss="cross-entropy", train=True, dynamic=True,
          optimize=False, extra=(), flags=(), example=2, labels=None, lowest=0, opset=None, trained=None):
    x = rng.integers(lowest, ids, (RECORDS, *shape)) if ids else rng.standard_normal((RECORDS, *shape)).astype("f4")
    if ids:
        x[:, -2:] = 0
        x[:, 0] = x[:, 0] if lowest == 0 else lowest
    label = rng.integers(0, 3, (RECORDS, *(labels or ())))
    inputs = ["ids" if ids else "x", *(e for e in extra)]
    args = (torch.from_numpy(x[:example]), *(torch.from_numpy(label[:example]) for _ in extra))
    export(net, args, inputs, list(outs), how, os.path.join(OUT, f"{name}.onnx"), train, dynamic, optimize, opset)
    net = trained or net
    double = net.double()
    arrays = {inputs[0]: x, "label": label, "loss": [], "norm": []}
    for record in range(RECORDS):
        net.zero_grad()
        one = torch.from_numpy(x[record:record + 1])
        target = torch.from_numpy(label[record:record + 1])
        out = double(one if ids else one.double(), *(target for _ in extra))
        out = out[list(outs).index(flags[flags.index("--output") + 1])] if "--output" in flags else out
        value = (F.nll_loss if loss == "nll" else F.cross_entropy)(out, target)
        value.backward()
        arrays["loss"].append(value.item())
        arrays["norm"].append(sum(p.grad.square().sum() for p in net.parameters() if p.grad is not None).sqrt().item())
        for parameter, tensor in net.named_parameters(remove_duplicate=False):
            grad = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
            arrays.setdefault(f"per_sample/{parameter}", []).append(grad.numpy().copy())
    np.savez_compressed(os.path.join(OUT, f"{name}.npz"), **{key: np.asarray(value) for key, value in arrays.items()})
    return {"name": name, "loss": loss, "flags": list(flags)}


def by_id():
    """Ids that are below zero, or that the file knows."""
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    # The newer exporter writes GatherND for such an index.
    entries = [write("ids_from_end", FromEnd(), rng, "ts", ids=7, lowest=-7, shape=(6,))]
    entries.append(write("padding_of_places", Places(), rng, shape=(6, 4)))
    return entries


class Norms(nn.Module):
    """A normalisation of images and, without positions, of features."""

    def __init__(self, norm, flat):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 12, 3, bias=False), norm(12)
        self.fc, self.flat = nn.Linear(12 * 9, 6), flat(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        y = F.relu(self.norm(self.conv(x)))
        return self.head(self.flat(self.fc(y.flatten(1))))


def rewritten():
    """BatchNorm in training mode, which dpc rewrites; the gradients are those of what it becomes."""
    torch.manual_seed(2)
    rng = np.random.default_rng(2)
    group = lambda channels: nn.GroupNorm(np.gcd(32, channels), channels)
    forms = {
        "group": lambda: Norms(group, group),
        "instance": lambda: Norms(lambda channels: nn.InstanceNorm2d(channels, affine=True), lambda _: nn.Identity()),
        "frozen": lambda: Norms(nn.BatchNorm2d, nn.BatchNorm1d).eval(),
    }
    entries = []
    for form, make in forms.items():
        # The export runs the network: without momentum its statistics stay.
        flat = nn.Identity if form == "instance" else lambda channels: nn.BatchNorm1d(channels, momentum=0)
        source, becomes = Norms(lambda channels: nn.BatchNorm2d(channels, momentum=0), flat), make()
        for name, value in source.state_dict().items():
            if "norm" in name or "flat" in name:
                value.copy_(torch.from_numpy(rng.uniform(0.5, 1.5, value.shape).astype("f4")).to(value.dtype))
        becomes.load_state_dict(source.state_dict(), strict=form == "frozen")
        for how, opset in [("ts", 17), ("dyn", 20)] + [("dyn", 21)] * (form == "group"):
            name = f"rewritten_{form}.{how}.{opset}"
            flags = ("--fix", f"batch-norm={form}")
            entries.append(write(name, source, rng, how, shape=(2, 5, 5), opset=opset, flags=flags, trained=becomes))
            source, becomes = source.float(), becomes.float()
    return entries


class Sampler(nn.Module):
    """An image read at places that depend on the record."""

    def __init__(self, mode, padding, align):
        super().__init__()
        self.how = {"mode": mode, "padding_mode": padding, "align_corners": align}
        self.conv, self.place, self.head = nn.Conv2d(2, 3, 3, padding=1), nn.Linear(50, 24), nn.Linear(36, 3)

    def forward(self, x):
        grid = 1.4 * torch.tanh(self.place(x.flatten(1))).view(-1, 3, 4, 2)
        return self.head(F.grid_sample(torch.tanh(self.conv(x)), grid, **self.how).flatten(1))


class Bags(nn.Module):
    """Bags of one size, as a loop over the records of the batch in the file; `weighted` by a number for each id."""

    def __init__(self, mode, padding=None, weighted=False):
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(11, 5, mode=mode, padding_idx=padding), nn.Linear(5, 3)
        self.weights = nn.Embedding(11, 1) if weighted else None
        if padding is not None:
            with torch.no_grad():
                self.bag.weight.normal_()

    def forward(self, ids):
        return self.head(self.bag(ids, per_sample_weights=self.weights(ids)[..., 0] if self.weights else None))


class Unpooled(nn.Module):
    """What was pooled, put back where it was."""

    def __init__(self):
        super().__init__()
        self.conv, self.after = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3)
        self.pool, self.unpool, self.head = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2), nn.Linear(32, 3)

    def forward(self, x):
        y, places = self.pool(self.conv(x))
        return self.head(torch.tanh(self.after(self.unpool(torch.tanh(y), places))).flatten(1))


class Numbered(nn.Module):
    """Elements by their number within each channel."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool, self.head = nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, return_indices=True), nn.Linear(8, 3)

    def forward(self, x):
        y, places = self.pool(self.conv(x))
        return self.head((y * places / 16).flatten(1))


class Determinant(nn.Module):
    """Determinants of matrices of two sizes."""

    def __init__(self):
        super().__init__()
        self.matrix, self.head = nn.Linear(4, 16), nn.Linear(2, 3)

    def forward(self, x):
        y = self.matrix(x).reshape(-1, 4, 4)
        return self.head(torch.stack([torch.linalg.det(y), torch.linalg.det(y[:, :2, :2])], 1))


class Folded(nn.Module):
    """Blocks that overlap, added up in an image."""

    def __init__(self):
        super().__init__()
        self.blocks, self.head = nn.Linear(4, 12 * 4), nn.Linear(3 * 25, 3)

    def forward(self, x):
        blocks = torch.tanh(self.blocks(x)).view(-1, 12, 4)
        return self.head(F.fold(blocks, (5, 5), (2, 2), stride=3).flatten(1))


def quantized(file, layer, steps):
    """Stores a weight of a file as small integers."""
    model = onnx.load(file)
    graph = model.graph
    for tensor in list(graph.initializer):
        if tensor.name == layer:
            whole = np.round(onnx.numpy_helper.to_array(tensor) / steps[:, None]).astype(np.int8)
            graph.initializer.remove(tensor)
            graph.initializer.append(onnx.numpy_helper.from_array(whole, "whole"))
            graph.initializer.append(onnx.numpy_helper.from_array(steps, "steps"))
            graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", ["whole", "steps"], [layer], axis=0))
    onnx.checker.check_model(model)
    onnx.save(model, file)


class Logistic(nn.Module):
    """What scikit-learn's exporter writes as LinearClassifier and Normalizer."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        p = self.linear(x).softmax(1)
        return p / p.abs().sum(1, keepdim=True)


def classifier(file, net):
    """Writes the form that scikit-learn's exporter gives the model."""
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    weights = {"coefficients": net.linear.weight.flatten().tolist(), "intercepts": net.linear.bias.tolist()}
    nodes = [
        make("LinearClassifier", ["x"], ["label", "scores"], "linear", domain="ai.onnx.ml", multi_class=1,
             classlabels_ints=[0, 1, 2], post_transform="SOFTMAX", **weights),
        make("Normalizer", ["scores"], ["out"], "normal", domain="ai.onnx.ml", norm="L1"),
    ]
    graph = onnx.helper.make_graph(nodes, "logistic", [value("x", 1, [None, 4])],
                                   [value("label", 7, [None]), value("out", 1, [None, 3])])
    imports = [onnx.helper.make_opsetid("ai.onnx.ml", 1), onnx.helper.make_opsetid("", 15)]
    model = onnx.helper.make_model(graph, opset_imports=imports, ir_version=8, producer_name="skl2onnx")
    onnx.checker.check_model(model)
    onnx.save(model, file)


def other_operators():
    """Operators of less common models."""
    torch.manual_seed(3)
    rng = np.random.default_rng(3)
    entries = []
    for mode, padding, align in [("bilinear", "zeros", False), ("bilinear", "reflection", True),
                                 ("bicubic", "border", False), ("bicubic", "reflection", False),
                                 ("nearest", "zeros", True)]:
        name = f"grid_sample.{mode}_{padding}"
        entries.append(write(name, Sampler(mode, padding, align), rng, shape=(2, 5, 5)))
    for mode in ("sum", "mean", "max"):
        entries.append(write(f"embedding_bag.{mode}", Bags(mode), rng, ids=11, shape=(6,)))
    entries.append(write("folded", Folded(), rng, opset=18, shape=(4,)))
    steps = np.array([0.02, 0.03, 0.01, 0.04], np.float32)
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    with torch.no_grad():
        net[0].weight.copy_(torch.from_numpy(rng.integers(-60, 60, (4, 4)) * steps[:, None]))
    net[0].weight.requires_grad = False
    entries.append(write("quantized", net, rng, "ts", shape=(4,)))
    quantized(os.path.join(OUT, "quantized.onnx"), "0.weight", steps)
    net = Logistic()
    entry = write("logistic", net, rng, shape=(4,), loss="nll")
    entry["flags"] = ["--output", "out"]
    path = os.path.join(OUT, "logistic.npz")
    arrays = dict(np.load(path))
    rename = {"per_sample/linear.weight": "per_sample/linear.coefficients",
              "per_sample/linear.bias": "per_sample/linear.intercepts"}
    np.savez_compressed(path, **{rename.get(key, key): value for key, value in arrays.items()})
    classifier(os.path.join(OUT, "logistic.onnx"), net.float())
    return entries + [entry]


def in_blocks(file, name, steps, block):
    """Stores a weight as whole numbers, and a step for each block of its second axis."""
    model = onnx.load(file)
    weight = next(t for t in model.graph.initializer if t.name == name)
    values = onnx.numpy_helper.to_array(weight)
    whole = (values / steps.repeat(block, 1)).round().astype(np.int8)
    model.graph.initializer.remove(weight)
    model.graph.initializer.extend([onnx.numpy_helper.from_array(whole, "whole"), onnx.numpy_helper.from_array(steps, "steps")])
    model.graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", ["whole", "steps"], [name], axis=1, block_size=block,
                                                     name="blocks"))
    onnx.checker.check_model(model)
    onnx.save(model, file)


def bags():
    """EmbeddingBag in the forms of both exporters, with padding and with weights; pooled elements put back; determinants; and
    weights that are stored in blocks."""
    torch.manual_seed(4)
    rng = np.random.default_rng(4)
    entries = [write(f"embedding_bag.{mode}.ts", Bags(mode), rng, "ts", ids=11, shape=(6,)) for mode in ("sum", "mean", "max")]
    for mode in ("sum", "mean", "max"):
        entries.append(write(f"embedding_bag.{mode}_padding", Bags(mode, padding=0), rng, ids=11, shape=(6,)))
    entries.append(write("embedding_bag.weighted.ts", Bags("sum", weighted=True), rng, "ts", ids=11, shape=(6,), opset=12))
    entries.append(write("embedding_bag.weighted", Bags("sum", padding=0, weighted=True), rng, ids=11, shape=(6,)))
    entries.append(write("unpooled", Unpooled(), rng, shape=(1, 6, 6)))
    for how in ("ts", "dyn"):
        entries.append(write(f"places.{how}", Numbered(), rng, how, shape=(1, 6, 6)))
        entries.append(write(f"determinant.{how}", Determinant(), rng, how, shape=(4,)))
    steps = (0.01 * rng.integers(1, 5, (4, 2))).astype("f4")
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    with torch.no_grad():
        net[0].weight.copy_(torch.from_numpy(rng.integers(-60, 60, (4, 4)) * steps.repeat(2, 1)))
    net[0].weight.requires_grad = False
    entries.append(write("quantized_blocks", net, rng, shape=(4,), opset=21))
    in_blocks(os.path.join(OUT, "quantized_blocks.onnx"), "0.weight", steps, 2)
    return entries + [few_bits()]


FEW_BITS = ("int4", "uint4", "int2", "uint2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float4_e2m1fn")


class FewBits(nn.Module):
    """A layer for each of the types of few bits, frozen, and a head."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(5, 5, bias=False) for _ in FEW_BITS)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return self.head(x)


def few_bits():
    """Weights stored in types that nothing computes with, by steps for each row or, every other, for blocks of two columns; the
    package ml_dtypes says what they are."""
    import ml_dtypes

    torch.manual_seed(5)
    rng = np.random.default_rng(5)
    net, stored = FewBits(), {}
    for k, (layer, kind) in enumerate(zip(net.layers, FEW_BITS)):
        values = rng.uniform(-3, 3, (5, 5)).astype("f4")
        codes = (values + 3 * kind.startswith("uint")).round().astype("i1") if "int" in kind else values
        codes = np.clip(codes, -2, 1) if kind == "int2" else np.clip(codes, 0, 3) if kind == "uint2" else codes
        codes = codes.astype(getattr(ml_dtypes, kind))
        zero = np.full(5, 3, "i1").astype(codes.dtype) if kind.startswith("uint") and k % 2 else None
        in_blocks = k % 2 == 0
        steps = rng.uniform(0.1, 0.3, (5, 3) if in_blocks else 5).astype("f4")
        whole = codes.astype("f4") - (0 if zero is None else zero.astype("f4")[:, None])
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(whole * (steps.repeat(2, 1)[:, :5] if in_blocks else steps[:, None])))
        layer.weight.requires_grad = False
        stored[f"layers.{k}.weight"] = codes, steps, zero, {"axis": 1, "block_size": 2} if in_blocks else {"axis": 0}
    entry = write("quantized_few_bits", net, rng, shape=(5,), opset=21)
    path = os.path.join(OUT, "quantized_few_bits.onnx")
    model = onnx.load(path)
    for tensor in list(model.graph.initializer):
        if tensor.name in stored:
            codes, steps, zero, attributes = stored[tensor.name]
            arrays = {"codes": codes, "steps": steps} | ({} if zero is None else {"zero": zero})
            names = [f"{tensor.name}.{part}" for part in arrays]
            model.graph.initializer.remove(tensor)
            model.graph.initializer.extend(map(onnx.numpy_helper.from_array, arrays.values(), names))
            model.graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", names, [tensor.name], tensor.name, **attributes))
    # Types of two bits are those of operator set 25; nothing else here has changed.
    next(imported for imported in model.opset_import if not imported.domain).version = 25
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return entry


def own_losses():
    """Losses of the batch, which a record takes its own of: over its labels that are not ignored, or its elements."""
    torch.manual_seed(2)
    rng = np.random.default_rng(2)
    entries = []

    def add(name, how, net, shape, target, own, optimize=False):
        x = torch.from_numpy(rng.standard_normal((RECORDS, *shape)).astype("f4"))
        export(net, (x[:2], target[:2]), ["x", "target"], ["total"], how, os.path.join(OUT, f"{name}.onnx"), optimize=optimize)
        net.double()
        arrays = {"x": x.numpy(), "target": target.numpy(), "loss": [], "norm": []}
        for record in range(RECORDS):
            net.zero_grad()
            one = target[record:record + 1]
            value = own(net.layers(x[record:record + 1].double()), one.double() if one.is_floating_point() else one)
            value.backward()
            arrays["loss"].append(value.item())
            arrays["norm"].append(sum(p.grad.square().sum() for p in net.parameters()).sqrt().item())
            for parameter, tensor in net.named_parameters():
                arrays.setdefault(f"per_sample/{parameter}", []).append(tensor.grad.numpy().copy())
        np.savez_compressed(os.path.join(OUT, f"{name}.npz"), **{key: np.asarray(value) for key, value in arrays.items()})
        entries.append({"name": name, "loss": "output:total", "flags": []})

    def per_label(scores, labels, **options):
        return F.cross_entropy(scores, labels, reduction="sum", **options) / max(1, int((labels != -100).sum()))

    labels = torch.from_numpy(rng.integers(0, 3, (RECORDS, 6)))
    labels[0, 1:4] = -100
    labels[1] = -100
    rows = OwnLoss(lambda y, t: F.cross_entropy(y.reshape(-1, 3), t.reshape(-1)), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    add("loss_of_rows", "dyn", rows, (6, 4), labels, lambda y, t: per_label(y[0], t[0]))
    add("loss_of_rows.ts", "ts", rows.float(), (6, 4), labels, lambda y, t: per_label(y[0], t[0]))
    weight = torch.tensor([1.0, 0.25, 4.0])
    places = OwnLoss(lambda y, t: F.cross_entropy(y, t, weight=weight), nn.Conv1d(4, 3, 3, padding=1))
    add("loss_of_places", "ts", places, (4, 6), labels, lambda y, t: per_label(y, t, weight=weight.double()))

    def several(y, t):
        return 0.5 * F.mse_loss(y, t) - (y - t).abs().sum() / 7 + 0.1 * (y * y).sum(1).mean()

    real = torch.from_numpy(rng.standard_normal((RECORDS, 2)).astype("f4"))
    add("loss_of_several", "dyn", OwnLoss(several, nn.Linear(4, 2)), (4,), real, several)
    add("loss_of_several.ts", "ts", OwnLoss(several, nn.Linear(4, 2)), (4,), real, several)
    folded = OwnLoss(F.binary_cross_entropy_with_logits, nn.Linear(4, 2))
    add("loss_folded", "dyn", folded, (4,), torch.sigmoid(real), F.binary_cross_entropy_with_logits, optimize=True)
    return entries


def main():
    os.makedirs(OUT, exist_ok=True)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    token = {"ids": 11, "shape": (6,), "labels": (6,)}
    entries = []
    for how in ("ts", "dyn"):
        entries.append(write(f"mask_buffer.{how}", Causal(), rng, how, **token))
        entries.append(write(f"position_buffer.{how}", Positions(), rng, how, ids=11, shape=(6,)))
        entries.append(write(f"temperature.{how}", Temperature(), rng, how, shape=(4,)))
        entries.append(write(f"frozen_norm.{how}", frozen_norm(), rng, how, shape=(2, 5, 5), train=False))
        entries.append(write(f"statistics.{how}", Statistics(), rng, how, shape=(4,), outs=("logits", "mean"),
                             flags=("--output", "logits")))
    entries.append(write("mask_folded", Causal(), rng, optimize=True, **token))
    entries.append(write("tied", Tied(), rng, **token))
    entries.append(write("padding", Bag(0), rng, ids=11, shape=(6,)))
    entries.append(write("padding_from_end", Bag(-11), rng, ids=11, shape=(6,)))
    entries.append(write("padding_unsaid", Bag(0), rng, "ts", ids=11, shape=(6,), flags=("--padding-idx", "emb.*=0")))
    entries.append(write("detached", Detached(), rng, shape=(4,)))
    entries.append(write("with_loss", WithLoss(), rng, shape=(4,), outs=("total", "logits"), extra=("labels",),
                         flags=("--output", "logits")))
    for example in (1, 2):
        fixed = {"train": False, "dynamic": False, "optimize": True, "example": example}
        entries.append(write(f"fixed_conv.{example}", convolution(), rng, shape=(2, 5, 5), **fixed))
        entries.append(write(f"fixed_attention.{example}", Attention(), rng, shape=(5, 8), **fixed))
        entries.append(write(f"fixed_lstm.{example}", Recurrent(), rng, shape=(5, 4), **fixed))
        entries.append(write(f"fixed_tokens.{example}", Bag(0), rng, ids=11, shape=(6,), **fixed))
        entries.append(write(f"fixed_conv.ts.{example}", convolution(), rng, "ts", shape=(2, 5, 5), train=False,
                             dynamic=False, example=example))
    entries += by_id() + rewritten() + other_operators() + own_losses() + bags()
    with open(os.path.join(OUT, "situations.json"), "w") as file:
        json.dump(entries, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
