"""The small models of the test zoo: one function a model, each returning `(net, inputs, label)` for a batch of four.

Sizes are small, odd and mostly different from each other, so that a swapped axis cannot go unnoticed.
"""

import zlib
from dataclasses import dataclass, field
from typing import Callable

import torch
import torch.nn.functional as F
from onnx import helper
from torch import nn
from torch.nn.utils import parametrizations

import oracle
from nets import Bert, Both, Lambda, Residual, Tokens, Unary, gpt, group_norm, unet, vit
from paper_nets import CifarCnn, ImdbEmbedding, ImdbLstm, MnistCnn
from recipes import OPSET, prune

BATCH = 4


@dataclass
class Entry:
    """A zoo model: how to build it, which loss it trains with, and how it is exported."""

    name: str
    build: Callable
    loss: str = "cross-entropy"
    class_axis: int | None = 1
    notes: str = ""
    opset: int = OPSET
    edit: Callable | None = None
    external: bool = False
    in_onnxruntime: bool = True
    torch_inputs: Callable = field(default=lambda inputs: inputs)
    outputs: tuple[str, ...] = ("logits",)
    labels: tuple[str, ...] = ("label",)
    objective: Callable | None = None
    """The loss of one record, a batch of one, from the outputs and the labels; by default that of `loss` and `class_axis`."""
    mean: Callable | None = None
    """PyTorch's loss of a batch by its own mean, from the outputs and the labels; by default `objective` of the batch."""

    def make(self):
        """Builds the net, its inputs by ONNX name and its labels by name, always the same ones."""
        torch.manual_seed(zlib.crc32(self.name.encode()))
        net, inputs, labels = self.build()
        labels = () if labels is None else labels if isinstance(labels, tuple) else (labels,)
        return net, inputs, dict(zip(self.labels, labels))

    def sample_loss(self, outputs, labels):
        """The loss of one record from the lists of its outputs and labels."""
        if self.objective is not None:
            return self.objective(*outputs, *labels)
        return oracle.sample_loss(self.loss, outputs[0], labels[0], self.class_axis)

    def mean_loss(self, outputs, labels):
        """PyTorch's loss of a batch, by its default reduction."""
        of_batch = self.mean or self.objective
        if of_batch is not None:
            return of_batch(*outputs, *labels)
        return oracle.mean_loss(self.loss, outputs[0], labels[0], self.class_axis)


ZOO: dict[str, Entry] = {}


def zoo(**settings):
    def register(build):
        ZOO[build.__name__] = Entry(build.__name__, build, **settings)
        return build

    return register


def floats(*shape):
    return torch.randn(BATCH, *shape)


def ids(limit, *shape):
    return torch.randint(0, limit, (BATCH, *shape))


def image(net, *shape, classes=3):
    return net, {"input": floats(*shape)}, ids(classes)


# The four paper networks, small.


@zoo()
def mnist_small():
    return image(MnistCnn((3, 5), (4, 3), 1, 15, 7, 3), 1, 15, 15)


@zoo()
def mnist_tanh_small():
    return image(MnistCnn((3, 5), (4, 3), 1, 15, 7, 3, torch.tanh), 1, 15, 15)


@zoo()
def cifar_small():
    net = CifarCnn(3, 3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter *= 2.2  # keeps the signal alive through eight narrow layers
    return image(net, 3, 8, 8)


@zoo(notes="every row holds a repeated id")
def embedding_small():
    tokens = ids(23, 7)
    tokens[:, 3] = tokens[:, 0]
    return ImdbEmbedding(23, 5, 3), {"tokens": tokens}, ids(3)


@zoo()
def lstm_small():
    return ImdbLstm(23, 5, 7, 3), {"tokens": ids(23, 6)}, ids(3)


# Dense layers.


@zoo(notes="Dropout with ratio 0")
def mlp():
    net = nn.Sequential(
        nn.Linear(11, 13), nn.Tanh(), nn.Dropout(0.0), nn.Linear(13, 7), nn.Sigmoid(), nn.Linear(7, 3, bias=False)
    )
    return image(net, 11)


@zoo(notes="Dropout with ratio 0.3; the golden file holds the inference-mode result, where Dropout is the identity")
def mlp_dropout():
    return image(nn.Sequential(nn.Linear(11, 13), nn.ReLU(), nn.Dropout(0.3), nn.Linear(13, 3)), 11)


@zoo(notes="opset 13", opset=13)
def mlp_opset13():
    return image(nn.Sequential(nn.Linear(11, 13), nn.ReLU(), nn.Linear(13, 3)), 11)


@zoo(notes="opset 23", opset=23)
def mlp_opset23():
    return image(nn.Sequential(nn.Linear(11, 13), nn.ReLU(), nn.Linear(13, 3)), 11)


@zoo(notes="tensors in NAME.onnx.data", external=True)
def external_data():
    return image(nn.Sequential(nn.Linear(11, 13), nn.Tanh(), nn.Linear(13, 3)), 11)


@zoo(notes="Linear on a 3-D input: several positions a sample")
def linear3d():
    net = Unary(
        lambda s, x: s.c(torch.sigmoid(s.b(torch.tanh(s.a(x)))).mean(1)),
        a=nn.Linear(7, 11),
        b=nn.Linear(11, 5, bias=False),
        c=nn.Linear(5, 3),
    )
    return image(net, 6, 7)


@zoo(notes="Linear on a 4-D input")
def linear4d():
    net = Unary(lambda s, x: s.b(torch.relu(s.a(x))).mean((1, 2)), a=nn.Linear(5, 7), b=nn.Linear(7, 3))
    return image(net, 2, 3, 5)


@zoo(notes="rows [N·T, D] with the batch as the outer factor")
def merged_rows():
    net = Unary(
        lambda s, x: s.b(torch.tanh(s.a(x.reshape(-1, 7))).reshape(-1, 5, 11).mean(1)),
        a=nn.Linear(7, 11),
        b=nn.Linear(11, 3),
    )
    return image(net, 5, 7)


@zoo(notes="rows [T·N, D] with the batch as the inner factor")
def merged_rows_inner():
    def forward(s, x):
        rows = torch.tanh(s.a(x.transpose(0, 1).reshape(-1, 7)))
        return s.b(rows.reshape(5, -1, 11).sum(0))

    return image(Unary(forward, a=nn.Linear(7, 11), b=nn.Linear(11, 3)), 5, 7)


@zoo(notes="Gemm with alpha and beta, weight not transposed")
def gemm_alpha_beta():
    net = Unary(
        lambda s, x: torch.addmm(s.bias, torch.tanh(x @ s.first), s.second, beta=0.5, alpha=1.5),
        first=torch.randn(7, 11) / 3,
        second=torch.randn(11, 3) / 3,
        bias=torch.randn(3),
    )
    return image(net, 7)


@zoo(notes="a parameter on the left of MatMul, mixing positions, and one on the right")
def mixer():
    net = Unary(
        lambda s, x: s.head((x + s.time @ torch.tanh(x @ s.channel)).mean(1)),
        time=torch.randn(5, 5) / 2,
        channel=torch.randn(7, 7) / 2,
        head=nn.Linear(7, 3),
    )
    return image(net, 5, 7)


@zoo(notes="one Linear used twice: cross terms in its norm")
def shared_linear():
    net = Unary(
        lambda s, x: s.head(torch.tanh(s.layer(torch.tanh(s.layer(x))))), layer=nn.Linear(7, 7), head=nn.Linear(7, 3)
    )
    return image(net, 7)


@zoo(notes="one Linear used at T = 1 and at T = 5")
def shared_linear_mixed():
    def forward(s, x):
        return s.head(torch.tanh(s.layer(x)).mean(1) + torch.tanh(s.layer(x[:, 2])))

    return image(Unary(forward, layer=nn.Linear(7, 11), head=nn.Linear(11, 3)), 5, 7)


@zoo(notes="Concat of two branches along the features, and of two along time")
def branches():
    def forward(s, x):
        wide = torch.cat([torch.tanh(s.left(x)), torch.relu(s.right(x)), x], dim=-1)
        return s.head(torch.cat([wide, torch.sigmoid(wide)], dim=1).mean(1))

    return image(Unary(forward, left=nn.Linear(5, 3), right=nn.Linear(5, 7), head=nn.Linear(15, 3)), 4, 5)


@zoo(notes="product of two values that both depend on the sample")
def gated():
    net = Unary(
        lambda s, x: s.head(torch.sigmoid(s.gate(x)) * s.value(x)),
        gate=nn.Linear(7, 11),
        value=nn.Linear(7, 11),
        head=nn.Linear(11, 3),
    )
    return image(net, 7)


# Convolutions and pools.


@zoo(notes="stride and dilation")
def conv1d():
    net = nn.Sequential(
        nn.Conv1d(3, 5, 4, stride=2, padding=1),
        nn.Tanh(),
        nn.Conv1d(5, 7, 3, dilation=2, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(28, 3),
    )
    return image(net, 3, 17)


@zoo(notes="depthwise, depthwise with a multiplier, grouped, dilated, rectangular")
def conv2d_grouped():
    net = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Tanh(),
        nn.Conv2d(4, 8, 3, groups=4, bias=False),
        nn.Tanh(),
        nn.Conv2d(8, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(6 * 3 * 9, 3),
    )
    return image(net, 4, 8, 9)


def _absorb_pads(auto_pads):
    """An edit that lets each Conv take over the Pad before it, as `auto_pad` or, for None, as explicit `pads`."""

    def edit(model):
        pads = {node.output[0]: node for node in model.graph.node if node.op_type == "Pad"}
        convs = [node for node in model.graph.node if node.op_type == "Conv"]
        assert len(convs) == len(auto_pads) == len(pads)
        for conv, (auto_pad, explicit) in zip(convs, auto_pads, strict=True):
            conv.input[0] = pads[conv.input[0]].input[0]
            kept = [a for a in conv.attribute if a.name not in ("pads", "auto_pad")]
            del conv.attribute[:]
            conv.attribute.extend(kept)
            if auto_pad:
                conv.attribute.append(helper.make_attribute("auto_pad", auto_pad))
            else:
                conv.attribute.append(helper.make_attribute("pads", explicit))
        prune(model)

    return edit


@zoo(
    notes="auto_pad SAME_UPPER and SAME_LOWER with an odd amount to pad, and explicit asymmetric pads",
    edit=_absorb_pads([("SAME_UPPER", None), ("SAME_LOWER", None), (None, [0, 2, 1, 0])]),
)
def conv2d_auto_pad():
    def forward(s, x):
        x = torch.tanh(s.upper(F.pad(x, (0, 1, 0, 1))))
        x = torch.tanh(s.lower(F.pad(x, (1, 0, 1, 0))))
        return s.head(torch.tanh(s.explicit(F.pad(x, (2, 0, 0, 1)))).flatten(1))

    net = Unary(
        forward,
        upper=nn.Conv2d(2, 3, 3, stride=2),
        lower=nn.Conv2d(3, 4, 2),
        explicit=nn.Conv2d(4, 5, 3),
        head=nn.Linear(5 * 3 * 5, 3),
    )
    return image(net, 2, 8, 10)


@zoo(notes="padding='same' of PyTorch, dilated (onnxruntime refuses auto_pad with dilation)", in_onnxruntime=False)
def conv2d_same():
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding="same", dilation=2),
        nn.Tanh(),
        nn.Conv2d(3, 4, 5, padding="same"),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(4 * 42, 3),
    )
    return image(net, 2, 6, 7)


@zoo(notes="count_include_pad 1 and 0, ceil_mode, rectangular; one-dimensional pool in between")
def avgpool():
    def forward(s, x):
        x = torch.tanh(s.conv(x))
        x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=True)
        x = F.avg_pool2d(x, (3, 2), stride=1, padding=(1, 0), count_include_pad=False)
        x = F.avg_pool2d(x, 2, stride=2, ceil_mode=True)
        x = F.avg_pool1d(x.flatten(2), 3, stride=2)
        return s.head(x.flatten(1))

    return image(Unary(forward, conv=nn.Conv2d(2, 3, 3), head=nn.Linear(6, 3)), 2, 13, 12)


@zoo(notes="padding, dilation, ceil_mode, overlapping windows")
def maxpool():
    def forward(s, x):
        x = F.max_pool2d(torch.tanh(s.conv(x)), 3, stride=1, padding=1)
        x = F.max_pool2d(x, 2, stride=1, dilation=2)
        x = F.max_pool2d(x, (3, 2), stride=2, ceil_mode=True)
        x = F.max_pool1d(x.flatten(2), 3, stride=2)
        return s.head(x.flatten(1))

    return image(Unary(forward, conv=nn.Conv2d(2, 3, 3), head=nn.Linear(21, 3)), 2, 13, 12)


@zoo()
def global_pool():
    net = nn.Sequential(
        nn.Conv2d(2, 5, 3, bias=False), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)
    )
    return image(net, 2, 7, 6)


# Embeddings.


@zoo(notes="ids below zero count from the end of the table", torch_inputs=lambda i: {"tokens": i["tokens"] % 23})
def embedding_negative():
    tokens = ids(23, 7)
    tokens[:, 4] = tokens[:, 1] - 23
    tokens[:, 6] = -1
    return ImdbEmbedding(23, 5, 3), {"tokens": tokens}, ids(3)


@zoo(notes="one table used as embedding and, transposed, as output layer; class axis last", class_axis=-1)
def tied_embedding():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(13, 7)
            self.mid = nn.Linear(7, 7)
            self.head = nn.Linear(7, 13, bias=False)
            self.head.weight = self.emb.weight

        def forward(self, tokens):
            return self.head(torch.tanh(self.mid(self.emb(tokens))))

    return Tied(), {"tokens": ids(13, 5)}, ids(13, 5)


@zoo(notes="two inputs, one table looked up twice, position table added")
def two_inputs():
    def forward(s, tokens, x):
        words = (s.emb(tokens) + s.position).mean(1)
        return s.head(torch.tanh(words + s.emb(tokens[:, 0]) + s.project(x)))

    net = Both(
        forward, emb=nn.Embedding(13, 5), position=torch.randn(6, 5), project=nn.Linear(7, 5), head=nn.Linear(5, 3)
    )
    return net, {"tokens": ids(13, 6), "input": floats(7)}, ids(3)


# Attention. A bias of the keys cancels in the softmax: its gradient is zero but for rounding, so the keys have none.


@zoo(notes="one head, written out with MatMul, Transpose and Softmax")
def attention():
    def forward(s, x):
        scores = s.q(x) @ s.k(x).transpose(1, 2) / 5**0.5
        return s.head((x + s.out(torch.softmax(scores, -1) @ s.v(x))).mean(1))

    net = Unary(
        forward,
        q=nn.Linear(7, 5),
        k=nn.Linear(7, 5, bias=False),
        v=nn.Linear(7, 5),
        out=nn.Linear(5, 7),
        head=nn.Linear(7, 3),
    )
    return image(net, 6, 7)


@zoo(notes="three heads, on [N, H, T, D]")
def attention_heads():
    def forward(s, x):
        q, k, v = (layer(x).view(-1, 5, 3, 2).transpose(1, 2) for layer in (s.q, s.k, s.v))
        mixed = torch.softmax(q @ k.transpose(-2, -1) / 2**0.5, -1) @ v
        return s.head(s.out(mixed.transpose(1, 2).reshape(-1, 5, 6)).mean(1))

    net = Unary(
        forward,
        q=nn.Linear(7, 6),
        k=nn.Linear(7, 6, bias=False),
        v=nn.Linear(7, 6),
        out=nn.Linear(6, 7),
        head=nn.Linear(7, 3),
    )
    return image(net, 5, 7)


@zoo(notes="three heads, on the merged axis [N·H, T, D]")
def attention_merged():
    def forward(s, x):
        q, k, v = (layer(x).view(-1, 5, 3, 2).transpose(1, 2).reshape(-1, 5, 2) for layer in (s.q, s.k, s.v))
        mixed = torch.bmm(torch.softmax(torch.bmm(q, k.transpose(1, 2)), -1), v)
        return s.head(s.out(mixed.reshape(-1, 3, 5, 2).transpose(1, 2).reshape(-1, 5, 6)).mean(1))

    net = Unary(
        forward,
        q=nn.Linear(7, 6),
        k=nn.Linear(7, 6, bias=False),
        v=nn.Linear(7, 6),
        out=nn.Linear(6, 7),
        head=nn.Linear(7, 3),
    )
    return image(net, 5, 7)


@zoo(notes="q, k and v from one Linear, cut by chunk")
def attention_chunk():
    def forward(s, x):
        q, k, v = s.qkv(x).chunk(3, dim=-1)
        return s.head((torch.softmax(q @ k.transpose(1, 2), -1) @ v).mean(1))

    return image(Unary(forward, qkv=nn.Linear(7, 15), head=nn.Linear(5, 3)), 6, 7)


@zoo(notes="nn.MultiheadAttention with its weights asked for")
def multihead():
    def forward(s, x):
        return s.head(s.attention(x, x, x, need_weights=True)[0].mean(1))

    return image(Unary(forward, attention=nn.MultiheadAttention(6, 2, batch_first=True), head=nn.Linear(6, 3)), 5, 6)


@zoo(notes="nn.MultiheadAttention through scaled_dot_product_attention; out-projection on [T·N, E]")
def multihead_sdpa():
    def forward(s, x):
        return s.head(s.attention(x, x, x, need_weights=False)[0].mean(1))

    return image(Unary(forward, attention=nn.MultiheadAttention(6, 2, batch_first=True), head=nn.Linear(6, 3)), 5, 6)


# Broadcasts, reductions and shapes.


@zoo(notes="residual with a learnable scale [C, 1, 1], a scalar scale and a class token")
def scale_and_token():
    def forward(s, x):
        x = x + s.scale * torch.tanh(s.conv(x))
        rows = x.flatten(2).transpose(1, 2)
        rows = torch.cat([s.token.expand(rows.shape[0], -1, -1), rows], dim=1) + s.position
        return s.head(torch.tanh(s.mix(rows) * s.gain)[:, 0] + rows.mean(1))

    net = Unary(
        forward,
        scale=torch.randn(3, 1, 1),
        gain=torch.randn(1),
        token=torch.randn(1, 1, 3),
        position=torch.randn(1, 13, 3),
        conv=nn.Conv2d(3, 3, 3, padding=1),
        mix=nn.Linear(3, 3),
        head=nn.Linear(3, 3),
    )
    return image(net, 3, 3, 4)


@zoo(notes="Squeeze, Unsqueeze and Transpose of several ranks")
def shapes():
    def forward(s, x):
        y = s.a(x).unsqueeze(1).transpose(1, 3)
        y = torch.tanh(y.squeeze(-1) + x.mean(-1, keepdim=True).transpose(1, 2))
        return s.b(y.permute(0, 2, 1).unsqueeze(-1).squeeze(3).flatten(start_dim=1))

    return image(Unary(forward, a=nn.Linear(5, 7), b=nn.Linear(28, 3)), 4, 5)


@zoo(notes="sums and means over one and several axes, with and without keepdims")
def reductions():
    def forward(s, x):
        y = torch.tanh(s.conv(x))
        y = y - y.mean((2, 3), keepdim=True) + y.sum(1, keepdim=True) * 0.1
        return s.head(y.sum((2, 3)) + y.mean(-1).sum(-1)) + y.mean((1, 2, 3), keepdim=False).unsqueeze(1)

    return image(Unary(forward, conv=nn.Conv2d(2, 5, 2), head=nn.Linear(5, 3)), 2, 4, 6)


@zoo(notes="Add, Sub, Mul, Div and Neg, each broadcasting in both directions")
def arithmetic():
    def forward(s, x):
        y = s.shift - s.layer(x)
        y = y / (2.0 + torch.sigmoid(s.divisor)) * s.row.unsqueeze(1)
        y = s.column / (1.5 + torch.tanh(-y))
        return s.head((y * x.mean(2, keepdim=True) - y).sum(1))

    net = Unary(
        forward,
        layer=nn.Linear(7, 5),
        shift=torch.randn(4, 1),
        divisor=torch.randn(5),
        row=torch.randn(4),
        column=torch.randn(4, 1),
        head=nn.Linear(5, 3),
    )
    return image(net, 4, 7)


@zoo(notes="Softmax over a middle axis")
def softmax_middle():
    net = Unary(
        lambda s, x: s.b((torch.softmax(s.a(x), 1) * x[:, :, :5]).sum(1)),
        a=nn.Linear(7, 5, bias=False),
        b=nn.Linear(5, 3),
    )
    return image(net, 4, 7)


@zoo(notes="sizes read from the input: Shape, Gather, Concat, Reshape")
def shape_chain():
    def forward(s, x):
        n, t, d = x.shape
        y = torch.tanh(s.a(x.view(n * t, d))).view(n, t, 2, -1)
        return s.b(y.transpose(1, 2).reshape(n, -1)) / d

    return image(Unary(forward, a=nn.Linear(7, 6), b=nn.Linear(30, 3)), 5, 7)


@zoo(notes="slices to the end, which exporters write as the largest integer, and from the end")
def slices():
    def forward(s, x):
        y = s.a(x)
        return s.b(torch.tanh(y[:, 2:]).flatten(1)) + y[:, -2:, 4:].sum(1)

    return image(Unary(forward, a=nn.Linear(7, 7), b=nn.Linear(21, 3)), 5, 7)


# Recurrence.


@zoo(notes="last step, batch_first")
def lstm_last():
    net = Unary(lambda s, x: s.fc(s.lstm(x)[0][:, -1]), lstm=nn.LSTM(5, 7, batch_first=True), fc=nn.Linear(7, 3))
    return image(net, 6, 5)


@zoo(notes="final hidden and cell states as outputs")
def lstm_state():
    def forward(s, x):
        _, (h, c) = s.lstm(x)
        return s.fc(torch.cat([h.squeeze(0), c.squeeze(0)], -1))

    return image(Unary(forward, lstm=nn.LSTM(5, 7, batch_first=True), fc=nn.Linear(14, 3)), 6, 5)


@zoo(notes="initial states given as zeros of the batch's size, no biases, opset 13", opset=13)
def lstm_zero_state():
    def forward(s, x):
        zeros = x.new_zeros(1, x.shape[0], 7)
        return s.fc(s.lstm(x, (zeros, zeros))[0].mean(1))

    return image(Unary(forward, lstm=nn.LSTM(5, 7, batch_first=True, bias=False), fc=nn.Linear(7, 3)), 6, 5)


@zoo(notes="two layers, opset 23", opset=23)
def lstm_two_layers():
    net = Unary(
        lambda s, x: s.fc(s.lstm(x)[0].sum(1)), lstm=nn.LSTM(5, 4, num_layers=2, batch_first=True), fc=nn.Linear(4, 3)
    )
    return image(net, 6, 5)


@zoo(notes="both directions: the mean of all states, and the final hidden and cell states")
def lstm_bidirectional():
    def forward(s, x):
        y, (h, c) = s.lstm(x)
        return s.fc(torch.cat([y.mean(1), h[0], h[1], c[0] - c[1]], -1))

    lstm = nn.LSTM(5, 4, batch_first=True, bidirectional=True)
    return image(Unary(forward, lstm=lstm, fc=nn.Linear(20, 3)), 6, 5)


@zoo(notes="initial hidden and cell states that are parameters")
def lstm_learned_state():
    def forward(s, x):
        h, c = (state.expand(1, x.shape[0], 7).contiguous() for state in (s.hidden, s.cell))
        return s.fc(s.lstm(x, (h, c))[0][:, -1])

    net = Unary(
        forward,
        lstm=nn.LSTM(5, 7, batch_first=True),
        fc=nn.Linear(7, 3),
        hidden=torch.randn(1, 1, 7),
        cell=torch.randn(1, 1, 7),
    )
    return image(net, 6, 5)


@zoo(notes="last step")
def gru():
    net = Unary(lambda s, x: s.fc(s.gru(x)[0][:, -1]), gru=nn.GRU(5, 7, batch_first=True), fc=nn.Linear(7, 3))
    return image(net, 6, 5)


@zoo(notes="two layers in both directions, without biases; the final states")
def gru_bidirectional():
    def forward(s, x):
        y, h = s.gru(x)
        return s.fc(torch.cat([y.sum(1), h[0], h[3]], -1))

    gru = nn.GRU(5, 4, num_layers=2, batch_first=True, bidirectional=True, bias=False)
    return image(Unary(forward, gru=gru, fc=nn.Linear(16, 3)), 6, 5)


@zoo(notes="an initial state that the record gives")
def gru_given_state():
    def forward(s, x):
        h = torch.tanh(s.start(x[:, 0])).unsqueeze(0)
        return s.fc(s.gru(x, h)[0].mean(1))

    net = Unary(forward, start=nn.Linear(5, 7), gru=nn.GRU(5, 7, batch_first=True), fc=nn.Linear(7, 3))
    return image(net, 6, 5)


@zoo(notes="relu after tanh, in both directions")
def rnn():
    def forward(s, x):
        y, h = s.second(s.first(x)[0])
        return s.fc(torch.cat([y.mean(1), h[0]], -1))

    net = Unary(
        forward,
        first=nn.RNN(5, 7, batch_first=True),
        second=nn.RNN(7, 4, batch_first=True, bidirectional=True, nonlinearity="relu"),
        fc=nn.Linear(12, 3),
    )
    return image(net, 6, 5)


# Losses.


@zoo(loss="nll")
def nll_head():
    net = nn.Sequential(nn.Linear(7, 11), nn.Tanh(), nn.Linear(11, 3), nn.LogSoftmax(-1))
    return image(net, 7)


def _tokens_with_ignored():
    label = ids(3, 5)
    label[0, 1:3] = -100
    label[1, :4] = -100
    label[2] = -100
    return label


@zoo(class_axis=-1, notes="logits [N, T, C]; ignored tokens, one sample with none left")
def tokens_class_last():
    net = Tokens(lambda s, t: s.head(torch.tanh(s.emb(t))), emb=nn.Embedding(13, 7), head=nn.Linear(7, 3))
    return net, {"tokens": ids(13, 5)}, _tokens_with_ignored()


@zoo(class_axis=1, notes="logits [N, C, T]; ignored tokens, one sample with none left")
def tokens_class_first():
    net = Unary(lambda s, x: s.b(torch.tanh(s.a(x))), a=nn.Conv1d(4, 7, 3, padding=1), b=nn.Conv1d(7, 3, 1))
    return net, {"input": floats(4, 5)}, _tokens_with_ignored()


@zoo(loss="mse", class_axis=None)
def regression():
    return nn.Sequential(nn.Linear(7, 11), nn.Tanh(), nn.Linear(11, 2)), {"input": floats(7)}, floats(2)


@zoo(loss="mse", class_axis=None, notes="output [N, T, 2]")
def regression_sequence():
    return nn.Sequential(nn.Linear(7, 11), nn.Tanh(), nn.Linear(11, 2)), {"input": floats(5, 7)}, floats(5, 2)


@zoo(loss="bce", class_axis=None, notes="hard and soft targets; one logit far from zero")
def multilabel():
    net = nn.Sequential(nn.Linear(7, 11), nn.ReLU(), nn.Linear(11, 5))
    label = torch.rand(BATCH, 5).round()
    label[1] = torch.rand(5)
    inputs = floats(7)
    inputs[3] *= 200
    return net, {"input": inputs}, label


@zoo(loss="l1", class_axis=None, objective=lambda y, label: F.l1_loss(y, label))
def regression_l1():
    net, inputs, label = regression()
    return net, inputs, label


@zoo(
    loss="huber:delta=0.7",
    class_axis=None,
    objective=lambda y, label: F.huber_loss(y, label, delta=0.7),
    notes="errors on both sides of delta, some far",
)
def regression_huber():
    net, inputs, label = regression()
    return net, inputs, label * torch.tensor([0.3, 30.0])


@zoo(
    loss="bce:pos_weight=3,0.5,1,0,2.5",
    class_axis=None,
    objective=lambda y, label: F.binary_cross_entropy_with_logits(
        y, label, pos_weight=torch.tensor([3, 0.5, 1, 0, 2.5], dtype=y.dtype)
    ),
    notes="hard and soft targets",
)
def multilabel_weighted():
    return multilabel()


WEIGHTS = [1.0, 0.25, 4.0]


def _weights(y):
    return torch.tensor(WEIGHTS, dtype=y.dtype)


def _per_label(y, label, **settings):
    """Of one record: the sum over its labels that are not ignored, divided by their number."""
    losses = F.cross_entropy(y, label, reduction="none", **settings)
    return losses.sum() / max(1, int((label != -100).sum()))


@zoo(
    loss="cross-entropy:weights=1,0.25,4,smoothing=0.1",
    class_axis=None,
    objective=lambda y, label: _per_label(y, label, weight=_weights(y), label_smoothing=0.1),
    mean=lambda y, label: F.cross_entropy(y, label, weight=_weights(y), label_smoothing=0.1),
    notes="logits [N, C, T], class weights, label smoothing, ignored tokens",
)
def tokens_weighted():
    return tokens_class_first()


@zoo(
    loss="cross-entropy:axis=last,smoothing=0.25",
    class_axis=None,
    objective=lambda y, label: _per_label(y.movedim(-1, 1), label, label_smoothing=0.25),
    mean=lambda y, label: F.cross_entropy(y.movedim(-1, 1), label, label_smoothing=0.25),
    notes="label smoothing without weights, ignored tokens",
)
def tokens_smoothed():
    return tokens_class_last()


@zoo(
    loss="nll:weights=1,0.25,4",
    class_axis=None,
    objective=lambda y, label: F.nll_loss(y, label, weight=_weights(y), reduction="sum"),
    mean=lambda y, label: F.nll_loss(y, label, weight=_weights(y)),
    notes="class weights do not cancel in the loss of one record",
)
def nll_weighted():
    return nll_head()


@zoo(
    loss="cross-entropy:weights=1,0.25,4,smoothing=0.1,probabilities",
    class_axis=None,
    objective=lambda y, label: F.cross_entropy(y, label, weight=_weights(y), label_smoothing=0.1),
    notes="soft labels [N, C, T], some of which do not sum to 1",
)
def soft_tokens():
    net, inputs, label = tokens_class_first()
    label = torch.softmax(3 * torch.randn(BATCH, 3, 5), 1)
    label[0, :, 1] = torch.tensor([0.5, 2.0, 0.0])
    label[1, :, 0] = 0
    return net, inputs, label


@zoo(
    loss="cross-entropy:probabilities",
    class_axis=None,
    objective=lambda y, label: F.cross_entropy(y, label),
    notes="one-hot labels",
)
def one_hot():
    net = nn.Sequential(nn.Linear(7, 11), nn.Tanh(), nn.Linear(11, 3))
    return net, {"input": floats(7)}, F.one_hot(ids(3), 3).float()


class Several(Lambda):
    """A function of the inputs `input` and `noise` that gives several outputs."""

    def forward(self, input, noise):
        return self.function(self, input, noise)


@zoo(
    loss="output:per_record",
    class_axis=None,
    outputs=("per_record", "codes"),
    objective=lambda per_record, codes: per_record.sum(),
    mean=lambda per_record, codes: per_record.mean(),
    notes="a variational autoencoder whose output is the loss of each record; no label",
)
def own_loss():
    def forward(s, input, noise):
        hidden = torch.tanh(s.hidden(input))
        mean, log = s.mean(hidden), s.log(hidden)
        code = mean + torch.exp(0.5 * log) * noise
        off = s.decode(code) - input
        divergence = 0.5 * (torch.exp(log) + mean * mean - 1.0 - log)
        return (off * off).sum(1) + divergence.sum(1), code

    net = Several(forward, hidden=nn.Linear(7, 5), mean=nn.Linear(5, 3), log=nn.Linear(5, 3), decode=nn.Linear(3, 7))
    return net, {"input": floats(7), "noise": floats(3)}, None


@zoo(
    loss="-0.5*output:scores,reduction=sum",
    class_axis=None,
    outputs=("scores",),
    objective=lambda scores: -0.5 * scores.sum(),
    mean=lambda scores: -0.5 * scores.sum((1, 2)).mean(),
    notes="an output [N, 2, 3] whose sum is maximised",
)
def own_loss_summed():
    def forward(s, input):
        return torch.tanh(s.second(torch.tanh(s.first(input)))).unflatten(1, (2, 3))

    return Unary(forward, first=nn.Linear(7, 5), second=nn.Linear(5, 6)), {"input": floats(7)}, None


def _heads(classes, boxes, extra, label, boxes_label):
    return F.cross_entropy(classes, label, label_smoothing=0.1) + 0.3 * F.huber_loss(boxes, boxes_label) + 2 * extra.mean()


@zoo(
    loss="classes=cross-entropy:smoothing=0.1 + 0.3*boxes=huber + 2*output:extra",
    class_axis=None,
    outputs=("classes", "boxes", "extra"),
    labels=("label", "label.boxes"),
    objective=_heads,
    notes="two heads with labels of their own, and a third that is a loss",
)
def heads():
    def forward(s, input):
        y = torch.tanh(s.body(input))
        extra = y * y
        return s.classes(y), s.boxes(y), extra

    net = Unary(forward, body=nn.Linear(7, 6), classes=nn.Linear(6, 3), boxes=nn.Linear(6, 4))
    return net, {"input": floats(7)}, (ids(3), 2 * floats(4))


@zoo(
    loss="out=mse + 0.5*out=l1 + 0.1*log=nll",
    class_axis=None,
    outputs=("out", "log"),
    labels=("label", "label.log"),
    objective=lambda out, log, label, of_log: F.mse_loss(out, label) + 0.5 * F.l1_loss(out, label) + 0.1 * F.nll_loss(log, of_log),
    notes="two losses on one output share its labels",
)
def shared_labels():
    def forward(s, input):
        y = torch.tanh(s.body(input))
        return s.out(y), torch.log_softmax(s.log(y), 1)

    net = Unary(forward, body=nn.Linear(7, 6), out=nn.Linear(6, 2), log=nn.Linear(6, 3))
    return net, {"input": floats(7)}, (floats(2), ids(3))


# Whole networks.


@zoo(notes="a residual block with a projection; group norms")
def residual():
    layers = [nn.Conv2d(3, 4, 3, bias=False), group_norm(4), nn.ReLU(inplace=True), Residual(4, 6, 2, lambda c: nn.GroupNorm(2, c))]
    return image(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)), 3, 9, 8)


@zoo(notes="a head tied to the embedding, causal attention, positions looked up", class_axis=-1)
def gpt_tied():
    return gpt(words=13, width=6, layers=1, length=7), {"tokens": ids(13, 5)}, ids(13, 5)


class Encoder(Bert):
    def forward(self, tokens, mask):
        return super().forward(tokens, torch.ones_like(tokens), mask)


@zoo(notes="an additive mask made of one of zeros and ones; three tables")
def bert():
    tokens, mask = ids(13, 5), torch.ones(BATCH, 5, dtype=torch.int64)
    mask[1, 3:] = 0
    return Encoder(words=13, width=6, layers=1, length=7, classes=3, padding=None), {"tokens": tokens, "mask": mask}, ids(3)


@zoo(notes="patches, a class token, attention over them")
def vision_transformer():
    net = vit(width=6, patch=2, size=4, layers=1, classes=3)
    nn.init.normal_(net.token)
    nn.init.normal_(net.position)
    return image(net, 3, 4, 4)


@zoo(loss="mse", class_axis=None, notes="a transposed convolution, nearest interpolation, Concat of channels")
def u_net():
    return unet(), {"input": floats(1, 6, 4)}, floats(1, 6, 4)


@zoo(notes="every activation of torch.nn that an exporter writes as more than one op, or as one of its own")
def activations():
    kinds = [nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.ELU(), nn.LeakyReLU(), nn.Softplus(), nn.Hardswish(), nn.Mish(), nn.SELU()]
    layers = nn.ModuleList(nn.Linear(5, 4) for _ in range(len(kinds) + 2))

    def forward(s, x):
        parts = [kind(layer(x)) for kind, layer in zip(kinds, s.layers)]
        parts += [s.slope(s.layers[-2](x)), F.glu(s.layers[-1](x)).repeat(1, 2)]
        return s.head(torch.cat(parts, 1))

    return image(Unary(forward, layers=layers, slope=nn.PReLU(), head=nn.Linear(44, 3)), 5)


@zoo(notes="norms over channels, instances and features, with parameters of ones and zeros as they are at first")
def norms():
    def forward(s, x):
        x = torch.tanh(s.instance(s.conv(x)))
        return s.head(s.features(s.group(x).flatten(1)))

    net = Unary(
        forward,
        conv=nn.Conv1d(2, 4, 2, bias=False),
        instance=nn.InstanceNorm1d(4, affine=True),
        group=nn.GroupNorm(2, 4),
        features=nn.LayerNorm(20),
        head=nn.Linear(20, 3),
    )
    return image(net, 2, 6)


@zoo(notes="the weight is a direction times a length; padding by reflection")
def weight_norm():
    conv = nn.Conv1d(3, 4, 3, padding=1, padding_mode="reflect")
    net = Unary(
        lambda s, x: s.head(torch.tanh(s.conv(x)).flatten(1)),
        conv=parametrizations.weight_norm(conv),
        head=nn.Linear(20, 3),
    )
    return image(net, 3, 5)
