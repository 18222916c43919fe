"""The four networks of the Opacus paper (arXiv:2109.12298, as benchmarked in TheSalon/fast-dpsgd) and two for digits.

The defaults are the paper's sizes; the zoo makes small ones by passing others.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


class MnistCnn(nn.Module):
    """26,010 parameters at the defaults, for `[N, 1, 28, 28]`."""

    def __init__(self, channels=(16, 32), kernels=(8, 4), padding=3, size=28, hidden=32, classes=10, activation=F.relu):
        super().__init__()
        self.activation = activation
        self.conv1 = nn.Conv2d(1, channels[0], kernels[0], stride=2, padding=padding)
        self.conv2 = nn.Conv2d(channels[0], channels[1], kernels[1], stride=2)
        size = (size + 2 * padding - kernels[0]) // 2  # the convolution's size less one for the stride-1 pool
        size = (size - kernels[1]) // 2
        self.fc1 = nn.Linear(channels[1] * size * size, hidden)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, input):
        x = F.max_pool2d(self.activation(self.conv1(input)), 2, 1)
        x = F.max_pool2d(self.activation(self.conv2(x)), 2, 1)
        x = self.activation(self.fc1(x.flatten(1)))
        return self.fc2(x)


class CifarCnn(nn.Module):
    """605,226 parameters at the defaults, for `[N, 3, 32, 32]`."""

    def __init__(self, width=32, classes=10):
        super().__init__()
        w = width
        layers, before = [], 3
        for channels in (w, w, None, 2 * w, 2 * w, None, 4 * w, 4 * w, None, 8 * w):
            if channels is None:
                layers.append(nn.AvgPool2d(2, 2))
            else:
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
                before = channels
        self.features = nn.Sequential(*layers, nn.Conv2d(before, classes, 3, padding=1))

    def forward(self, input):
        return self.features(input).mean(dim=(2, 3))


class ImdbEmbedding(nn.Module):
    """160,098 parameters at the defaults, for token ids `[N, 256]`."""

    def __init__(self, words=10004, width=16, classes=2):
        super().__init__()
        self.emb = nn.Embedding(words, width)
        self.fc = nn.Linear(width, classes)

    def forward(self, tokens):
        return self.fc(self.emb(tokens).mean(dim=1))


class ImdbLstm(nn.Module):
    """1,081,402 parameters at the defaults, for token ids `[N, 256]`."""

    def __init__(self, words=10004, width=100, hidden=100, classes=2):
        super().__init__()
        self.emb = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, hidden)
        self.fc = nn.Linear(hidden, classes)

    def forward(self, tokens):
        x = self.emb(tokens).transpose(0, 1)
        x, _ = self.lstm(x)
        return self.fc(x.mean(dim=0))


class DigitsCnn(nn.Module):
    """7,690 parameters, for scikit-learn's digits, `[N, 1, 8, 8]` in [0, 1].

    The filters start with mean zero, so that they answer to edges and not to the brightness that all images share: the
    samples' gradients then differ from each other, and clipping and noise cost less.
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3)
        self.fc = nn.Linear(32 * 9, 10)
        with torch.no_grad():
            for conv, norm in ((self.conv1, 2.0), (self.conv2, 1.0)):
                filters = torch.randn(conv.weight.shape)
                filters -= filters.mean((1, 2, 3), keepdim=True)
                conv.weight.copy_(norm * F.normalize(filters.flatten(1)).view_as(filters))
                conv.bias.zero_()

    def forward(self, input):
        x = torch.tanh(self.conv1(input))
        x = F.max_pool2d(torch.tanh(self.conv2(x)), 2)
        return self.fc(x.flatten(1))


class DigitsEdges(nn.Module):
    """3,274 parameters, for the same digits: how strongly each of 32 filters answers, whatever its sign, and a linear layer.

    What a private network can learn is bounded by its noise, so it starts close to what it shall become. Filters of
    mean zero and length one, of which the absolute value is taken, tell where edges run before anything is learned, as
    the scattering networks do of Tramèr and Boneh (arXiv 2011.11660). GroupNorm takes away what all images share.
    """

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 32, 3)
        self.norm = nn.GroupNorm(1, 32)
        self.fc = nn.Linear(32 * 9, 10)
        with torch.no_grad():
            filters = torch.randn(self.conv.weight.shape)
            filters -= filters.mean((1, 2, 3), keepdim=True)
            self.conv.weight.copy_(F.normalize(filters.flatten(1)).view_as(filters))
            self.conv.bias.zero_()

    def forward(self, input):
        x = F.max_pool2d(torch.abs(self.conv(input)), 2)
        return self.fc(self.norm(x).flatten(1))


BATCH = 4


@dataclass
class Model:
    """A full-size model: how it is built, its number of parameters, and a batch of four."""

    name: str
    build: Callable
    parameters: int
    input: str
    batch: Callable
    classes: int

    def make(self):
        """Builds the net, its inputs by ONNX name and its label, always the same ones."""
        torch.manual_seed(zlib.crc32(self.name.encode()))
        net = self.build()
        assert sum(p.numel() for p in net.parameters()) == self.parameters
        return net, {self.input: self.batch()}, torch.randint(0, self.classes, (BATCH,))


def _words():
    """Random token ids; each row ends in padding, the second one repeats an id."""
    tokens = torch.randint(1, 10004, (BATCH, 256))
    for row, length in enumerate((256, 200, 97, 31)):
        tokens[row, length:] = 0
    tokens[1, :50] = tokens[1, 60]
    return tokens


def _images(*shape):
    return lambda: torch.rand(BATCH, *shape)


PAPER = {
    model.name: model
    for model in (
        Model("mnist_cnn", MnistCnn, 26_010, "input", _images(1, 28, 28), 10),
        Model("mnist_cnn_tanh", lambda: MnistCnn(activation=torch.tanh), 26_010, "input", _images(1, 28, 28), 10),
        Model("cifar_cnn", CifarCnn, 605_226, "input", _images(3, 32, 32), 10),
        Model("imdb_embedding", ImdbEmbedding, 160_098, "tokens", _words, 2),
        Model("imdb_lstm", ImdbLstm, 1_081_402, "tokens", _words, 2),
        Model("digits_cnn", DigitsCnn, 7_690, "input", _images(1, 8, 8), 10),
        Model("digits_edges", DigitsEdges, 3_274, "input", _images(1, 8, 8), 10),
    )
}
