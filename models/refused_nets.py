"""Models that dpc must refuse or warn about.

`REFUSED` mix samples (or use ops that dpc lacks), so no per-sample gradient of theirs means anything. `HAZARDS` are
exports with an exporter's default settings, which lose parameters: trainable, but not the model that was written.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from recipes import RECIPES
from zoo_nets import Tokens, Unary, floats, ids


@dataclass
class Faulty:
    """A faulty model: how it is built, and how many of its nodes are at fault, by op type: the first ones of each."""

    name: str
    build: Callable
    why: str
    ops: dict[str, int]
    recipes: tuple[str, ...] = RECIPES

    def make(self):
        torch.manual_seed(zlib.crc32(self.name.encode()))
        return self.build()


REFUSED: dict[str, Faulty] = {}
HAZARDS: dict[str, Faulty] = {}


def _register(table, why, ops, recipes=RECIPES):
    def register(build):
        table[build.__name__] = Faulty(build.__name__, build, why, ops, recipes)
        return build

    return register


def refused(why, recipes=RECIPES, **ops):
    return _register(REFUSED, why, ops, recipes)


def hazard(why, **ops):
    return _register(HAZARDS, why, ops)


def _dense(forward, width=7):
    """`forward(net, hidden)` between two Linear layers, on `[N, width]`."""
    net = Unary(
        lambda s, x: s.b(forward(s, torch.tanh(s.a(x)))),
        a=nn.Linear(width, 6),
        b=nn.Linear(6, 3),
    )
    return net, {"input": floats(width)}


# The `dyn` recipe exports BatchNormalization with its running statistics, which mixes nothing.
@refused("statistics over the batch", recipes=("ts",), BatchNormalization=2)
def batch_norm():
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(48, 5),
        nn.BatchNorm1d(5),
        nn.Linear(5, 3),
    )
    return net, {"input": floats(2, 6, 6)}


@refused("mean over the batch axis", ReduceMean=1)
def batch_mean():
    return _dense(lambda s, x: x - x.mean(0))


@refused("mean over all axes, the batch axis among them", ReduceMean=1)
def whole_mean():
    return _dense(lambda s, x: x - x.mean())


@refused("reverses the batch; the shape stays the same", Slice=1)
def batch_flip():
    return _dense(lambda s, x: x + x.flip(0))


@refused("Gram matrix of the samples", MatMul=1)
def batch_attention():
    return _dense(lambda s, x: torch.softmax(x @ x.T, -1) @ x)


@refused("normalises across the batch axis", Softmax=1)
def batch_softmax():
    return _dense(lambda s, x: torch.softmax(x, 0))


@refused("two places where samples meet, both to be named", ReduceSum=1, Softmax=1)
def batch_twice():
    return _dense(lambda s, x: torch.softmax(x, 0) + x.sum(0, keepdim=True))


@refused("cuts the batch axis in two and adds the halves", Reshape=1)
def batch_reshape():
    return _dense(lambda s, x: (x.reshape(2, -1, 6) + x.reshape(2, -1, 6).flip(0)).reshape(-1, 6))


@refused("the samples are the time steps of the LSTM", LSTM=1)
def batch_lstm():
    net = Unary(lambda s, x: s.fc(s.lstm(x)[0].mean(1)), lstm=nn.LSTM(5, 4), fc=nn.Linear(4, 3))
    return net, {"input": floats(6, 5)}


@refused("the convolution slides over the samples", Conv=1)
def batch_conv():
    net = Unary(
        lambda s, x: s.fc(s.conv(x.T.unsqueeze(0)).squeeze(0).T),
        conv=nn.Conv1d(7, 5, 3, padding=1),
        fc=nn.Linear(5, 3),
    )
    return net, {"input": floats(7)}


@refused("depends on how many samples there are", Mul=1)
def batch_size():
    return _dense(lambda s, x: x * x.shape[0])


@refused("ops without a rule, all to be named", Multinomial=2)
def unsupported_ops():
    def forward(s, x):
        x = x + torch.multinomial(torch.softmax(x, 1), 1)
        return x + torch.multinomial(torch.softmax(x[:, 2:6], 1), 1)

    return _dense(forward)


class _TiedHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(13, 7)
        self.mid = nn.Linear(7, 7)
        self.head = nn.Linear(7, 13, bias=False)
        self.head.weight = self.emb.weight

    def forward(self, tokens):
        return self.head(torch.tanh(self.mid(self.emb(tokens))))


@hazard("the tied output layer became a transposed copy of the table")
def untied_head():
    return _TiedHead(), {"tokens": ids(13, 5)}


@hazard("weights of Linear layers on 3-D inputs became nameless transposed copies")
def folded_weights():
    net = Tokens(
        lambda s, t: s.b(F.relu(s.a(s.emb(t)))).mean(1),
        emb=nn.Embedding(13, 7),
        a=nn.Linear(7, 5),
        b=nn.Linear(5, 3),
    )
    return net, {"tokens": ids(13, 5)}


@hazard("two biases with equal initial values became one initializer")
def merged_biases():
    net = nn.Sequential(nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
    for layer in (net[0], net[2]):
        nn.init.constant_(layer.bias, 0.5)
    return net, {"input": floats(7)}


@hazard("a lookup of known rows became a table of its own; a group norm is an instance norm with parameters that are none")
def folded_layers():
    def forward(s, tokens):
        x = s.emb(tokens) + s.position(torch.arange(5))
        return s.head(s.slope(s.norm(x.transpose(1, 2))).flatten(1))

    net = Tokens(
        forward,
        emb=nn.Embedding(13, 4),
        position=nn.Embedding(7, 4),
        norm=nn.GroupNorm(2, 4),
        slope=nn.PReLU(),
        head=nn.Linear(20, 3),
    )
    return net, {"tokens": ids(13, 5)}
