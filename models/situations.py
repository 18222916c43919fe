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


def export(net, args, names, outs, how, file, train=True, dynamic=True, optimize=False):
    net.train() if train else net.eval()
    quiet = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        warnings.simplefilter("ignore")
        if how == "dyn":
            shapes = tuple({0: BATCH} for _ in args) if dynamic else None
            torch.onnx.export(net, args, file, dynamo=True, optimize=optimize, input_names=names, output_names=outs,
                              external_data=False, dynamic_shapes=shapes)
        else:
            mode = torch.onnx.TrainingMode.TRAINING if train else torch.onnx.TrainingMode.EVAL
            torch.onnx.export(net, args, file, dynamo=False, input_names=names, output_names=outs, training=mode,
                              do_constant_folding=False, opset_version=17,
                              dynamic_axes={n: {0: "batch"} for n in [*names, *outs]} if dynamic else None)
    model = onnx.load(file)
    # Stack traces hold paths of the machine.
    for node in model.graph.node:
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
          optimize=False, extra=(), flags=(), example=2, labels=None, lowest=0):
    x = rng.integers(lowest, ids, (RECORDS, *shape)) if ids else rng.standard_normal((RECORDS, *shape)).astype("f4")
    if ids:
        x[:, -2:] = 0
        x[:, 0] = x[:, 0] if lowest == 0 else lowest
    label = rng.integers(0, 3, (RECORDS, *(labels or ())))
    inputs = ["ids" if ids else "x", *(e for e in extra)]
    args = (torch.from_numpy(x[:example]), *(torch.from_numpy(label[:example]) for _ in extra))
    export(net, args, inputs, list(outs), how, os.path.join(OUT, f"{name}.onnx"), train, dynamic, optimize)
    double = net.double()
    arrays = {inputs[0]: x, "label": label, "loss": [], "norm": []}
    for record in range(RECORDS):
        net.zero_grad()
        one = torch.from_numpy(x[record:record + 1])
        target = torch.from_numpy(label[record:record + 1])
        out = double(one if ids else one.double(), *(target for _ in extra))
        out = out[list(outs).index(flags[flags.index("--output") + 1])] if "--output" in flags else out
        value = F.cross_entropy(out, target)
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
    entries += by_id() + own_losses()
    with open(os.path.join(OUT, "situations.json"), "w") as file:
        json.dump(entries, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
