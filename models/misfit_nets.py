"""Models whose outputs do not go with some loss, by the loss: `dpc check` says what to do. One function a model, each
returning `(net, inputs, outputs)`; the name of the loss and what must be said are in its decorator."""

from dataclasses import dataclass
from typing import Callable

import torch
from torch import nn

from zoo_nets import Unary, floats


@dataclass
class Misfit:
    """A model, and for each loss a phrase of the warning; `None` where there must be none."""

    name: str
    build: Callable
    said: dict[str, str | None]

    def make(self):
        torch.manual_seed(0)
        return self.build()


MISFITS: dict[str, Misfit] = {}


def misfit(**said):
    losses = {name.replace("_", "-").replace("-last", ":axis=last"): phrase for name, phrase in said.items()}

    def register(build):
        MISFITS[build.__name__] = Misfit(build.__name__, build, losses)
        return build

    return register


@misfit(
    cross_entropy="`out` is a softmax, and cross-entropy takes the scores before it",
    nll="`out` holds probabilities, and nll takes their logarithms",
    bce="`out` is a softmax, and bce takes",
    mse=None,
)
def softmax():
    return Unary(lambda s, x: torch.softmax(s.fc(x), 1), fc=nn.Linear(7, 3)), {"input": floats(7)}, ("out",)


@misfit(
    cross_entropy="`out` is a sigmoid, and cross-entropy takes",
    nll="`out` holds probabilities",
    bce="`out` is a sigmoid, and bce takes the scores before it (logits)",
    l1=None,
)
def sigmoid():
    return Unary(lambda s, x: torch.sigmoid(s.fc(x)), fc=nn.Linear(7, 3)), {"input": floats(7)}, ("out",)


@misfit(cross_entropy=None, bce=None, nll="`out` is not visibly the logarithm of probabilities")
def logits():
    return Unary(lambda s, x: s.fc(x), fc=nn.Linear(7, 3)), {"input": floats(7)}, ("out",)


@misfit(cross_entropy="name the output `scores`, which holds them, or export", nll="`out` holds probabilities")
def softmax_and_scores():
    def forward(s, input):
        scores = s.fc(input)
        return torch.softmax(scores, 1), scores

    return Unary(forward, fc=nn.Linear(7, 3)), {"input": floats(7)}, ("out", "scores")


@misfit(cross_entropy="`out` is a softmax", cross_entropy_last="`out` is a softmax")
def softmax_moved():
    def forward(s, input):
        y = torch.softmax(s.fc(input), -1)
        return torch.cat([y[:, :2], y[:, 2:]], 1).transpose(1, 2).flatten(1).unflatten(1, (3, 5)) * 0.5

    return Unary(forward, fc=nn.Linear(7, 3)), {"input": floats(5, 7)}, ("out",)


@misfit(cross_entropy="`out` is a softmax", nll="`out` holds probabilities")
def softmax_written_out():
    def forward(s, input):
        y = torch.exp(s.fc(input))
        return y / y.sum(1, keepdim=True)

    return Unary(forward, fc=nn.Linear(7, 3)), {"input": floats(7)}, ("out",)


@misfit(cross_entropy="`out` is a sigmoid", nll="`out` holds probabilities")
def two_classes():
    def forward(s, input):
        p = torch.sigmoid(s.fc(input))
        return torch.cat([1 - p, p], 1)

    return Unary(forward, fc=nn.Linear(7, 1)), {"input": floats(7)}, ("out",)


@misfit(nll_last=None, nll="is along axis 2, and nll takes axis 1", cross_entropy_last=None)
def log_softmax():
    return Unary(lambda s, x: torch.log_softmax(s.fc(x), -1), fc=nn.Linear(7, 3)), {"input": floats(5, 7)}, ("out",)


@misfit(nll=None)
def log_softmax_written_out():
    def forward(s, input):
        y = s.fc(input)
        return y - torch.log(torch.exp(y).sum(1, keepdim=True))

    return Unary(forward, fc=nn.Linear(7, 3)), {"input": floats(7)}, ("out",)


@misfit(nll=None)
def log_of_softmax():
    def forward(s, input):
        return torch.log(torch.softmax(s.fc(input), 1) + 1e-6)

    return Unary(forward, fc=nn.Linear(7, 3)), {"input": floats(7)}, ("out",)
