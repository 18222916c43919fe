"""Networks of the kinds that Opacus's test suite, examples and tutorials train, at tiny sizes.

Each is as its author would write it for PyTorch: with nothing of dpc, and with Opacus's own layers only where it is they that
are meant. `OPACUS.md` has a table of them, in the order of this file.
"""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

#: Records of a batch.
RECORDS = 6


@dataclass
class Case:
    """A network, a batch for it, and what is known of it."""

    name: str
    build: Callable
    #: What Opacus makes of it: "as it is", "fixed" by its ModuleValidator, or in words why not.
    opacus: str
    loss: str
    #: The layers that dpc refuses, with a phrase of the reason; none where it trains.
    refused: dict
    #: Whether it is among those that are tested always.
    always: bool

    def make(self):
        """The module, its inputs and its labels: the same ones every time."""
        torch.manual_seed(zlib.crc32(self.name.encode()))
        module, inputs, label = self.build()
        return module, inputs if isinstance(inputs, tuple) else (inputs,), label


CASES: dict[str, Case] = {}


def case(opacus="as it is", loss="cross-entropy", refused=None, always=False):
    def register(build):
        CASES[build.__name__] = Case(build.__name__, build, opacus, loss, refused or {}, always)
        return build

    return register


def floats(*shape):
    return torch.randn(RECORDS, *shape)


def ids(count, *shape):
    return torch.randint(0, count, (RECORDS, *shape))


class Apply(nn.Module):
    """A function of tensors as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


class Last(nn.Module):
    """The last step of what a recurrent layer yields, `[N, T, D]`, through a dense layer."""

    def __init__(self, recurrent, width, classes, embedding=None):
        super().__init__()
        self.embedding, self.recurrent, self.head = embedding, recurrent, nn.Linear(width, classes)

    def forward(self, x):
        if self.embedding is not None:
            x = self.embedding(x)
        return self.head(self.recurrent(x)[0][:, -1])


# Single layers, as the tests of per-sample gradients have them, each before a dense layer.


@case()
def linear_on_sequences():
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Flatten(), nn.Linear(21, 3)), floats(3, 5), ids(3)


@case(always=True)
def conv1d():
    conv = nn.Conv1d(4, 6, 3, stride=2, dilation=2, groups=2)
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)), floats(4, 11), ids(3)


@case()
def conv2d():
    conv = nn.Conv2d(2, 6, (3, 2), padding="same", groups=2)
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(120, 3)), floats(2, 5, 4), ids(3)


@case()
def conv3d():
    conv = nn.Conv3d(2, 3, (2, 3, 2), stride=(1, 2, 1), padding=(0, 1, 1))
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(135, 3)), floats(2, 4, 5, 4), ids(3)


@case()
def embedding():
    mean = Apply(lambda x: x.mean(1))
    return nn.Sequential(nn.Embedding(13, 5), mean, nn.Linear(5, 3)), ids(13, 7), ids(3)


@case(opacus="takes bags only with offsets")
def embedding_bag():
    return nn.Sequential(nn.EmbeddingBag(13, 5, mode="mean"), nn.Linear(5, 3)), ids(13, 7), ids(3)


@case()
def layer_norm():
    return nn.Sequential(nn.Linear(5, 6), nn.LayerNorm((4, 6)), nn.Flatten(), nn.Linear(24, 3)), floats(4, 5), ids(3)


@case()
def group_norm():
    layers = [nn.Conv2d(2, 6, 3), nn.GroupNorm(3, 6), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)]
    return nn.Sequential(*layers), floats(2, 4, 5), ids(3)


@case()
def instance_norms():
    layers = [
        nn.Conv3d(1, 2, 2), nn.InstanceNorm3d(2, affine=True), nn.Flatten(3), nn.Conv2d(2, 3, 2),
        nn.InstanceNorm2d(3, affine=True), nn.Flatten(2), nn.Conv1d(3, 4, 2), nn.InstanceNorm1d(4, affine=True), nn.Flatten(),
        nn.Linear(32, 3)]
    return nn.Sequential(*layers), floats(1, 3, 3, 6), ids(3)


@case()
def rms_norm():
    return nn.Sequential(nn.Linear(5, 6), nn.RMSNorm(6), nn.Flatten(), nn.Linear(24, 3)), floats(4, 5), ids(3)


@case(opacus="falls back to functorch")
def layers_without_a_sampler():
    """What Opacus has no gradient of its own for."""
    layers = [nn.ConvTranspose2d(2, 3, 2), nn.PReLU(3), nn.Flatten(), nn.Linear(60, 3)]
    return nn.Sequential(*layers), floats(2, 3, 4), ids(3)


# Recurrent layers.


@case(opacus="fails in its functorch")
def rnn():
    return Last(nn.RNN(5, 7, batch_first=True), 7, 3), floats(4, 5), ids(3)


@case(opacus="fixed", always=True)
def gru():
    return Last(nn.GRU(5, 6, num_layers=2, batch_first=True), 6, 3), floats(4, 5), ids(3)


@case(opacus="fixed")
def lstm_of_both_directions():
    return Last(nn.LSTM(5, 6, bidirectional=True, batch_first=True), 12, 3), floats(4, 5), ids(3)


@case()
def dp_lstm():
    """Opacus's own LSTM, in a module that was written for it."""
    from opacus.layers import DPLSTM

    return Last(DPLSTM(5, 6, batch_first=True), 6, 3), floats(4, 5), ids(3)


# Attention.


class Attention(nn.Module):
    """Self-attention over embedded tokens, as the tests of Opacus's engine have it."""

    def __init__(self, attention, words, width, classes):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.positions = nn.Parameter(0.1 * torch.randn(5, width))
        self.attention = attention
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, ids):
        x = (self.embedding(ids) + self.positions).transpose(0, 1)
        y, _ = self.attention(x, x, x)
        return self.head(self.norm(x + y).mean(0))


@case(opacus="fixed", always=True)
def multi_head_attention():
    return Attention(nn.MultiheadAttention(8, 2), 11, 8, 3), ids(11, 5), ids(3)


@case(opacus="fixed")
def sequence_bias():
    """Attention with biases that lengthen the sequence."""
    return Attention(nn.MultiheadAttention(8, 2, add_bias_kv=True, add_zero_attn=True), 11, 8, 3), ids(11, 5), ids(3)


@case()
def dp_multi_head_attention():
    from opacus.layers import DPMultiheadAttention

    return Attention(DPMultiheadAttention(8, 2), 11, 8, 3), ids(11, 5), ids(3)


# Examples.


@case(always=True)
def mnist_example():
    layers = [
        nn.Conv2d(1, 4, 8, 2, padding=3), nn.ReLU(), nn.MaxPool2d(2, 1), nn.Conv2d(4, 5, 4, 2), nn.ReLU(), nn.MaxPool2d(2, 1),
        nn.Flatten(), nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 10)]
    return nn.Sequential(*layers), floats(1, 21, 21), ids(10)


@case()
def cifar_example():
    def block(inputs, outputs):
        return [nn.Conv2d(inputs, outputs, 3, 1, padding=1), nn.ReLU(), nn.AvgPool2d(2, stride=2)]

    layers = [*block(3, 4), *block(4, 6), nn.Conv2d(6, 8, 3, 1, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 1))]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 10)), floats(3, 8, 8), ids(10)


class Reviews(nn.Module):
    """Mean embeddings of a text through two dense layers, as for IMDb."""

    def __init__(self, words, width):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, 2)

    def forward(self, ids):
        x = self.pool(self.embedding(ids).transpose(1, 2)).squeeze(2)
        return self.second(self.first(x))


@case(always=True)
def imdb_example():
    return Reviews(23, 6), ids(23, 9), ids(2)


@case(opacus="fixed", always=True)
def char_lstm():
    """Names by the letters that they are made of, to languages."""
    return Last(nn.LSTM(6, 8, num_layers=2, batch_first=True), 8, 4, nn.Embedding(29, 6)), ids(29, 7), ids(4)


@case(loss="bce")
def dcgan_discriminator():
    def block(inputs, outputs):
        return [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.GroupNorm(2, outputs), nn.LeakyReLU(0.2)]

    layers = [nn.Conv2d(1, 4, 4, 2, 1, bias=False), nn.LeakyReLU(0.2), *block(4, 6), nn.Conv2d(6, 1, 4, 1, 0, bias=False)]
    return nn.Sequential(*layers, nn.Flatten()), floats(1, 16, 16), ids(2, 1).float()


class Residual(nn.Module):
    """The basic block of ResNet-18."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def resnet18(width, classes):
    """ResNet-18 with `width` channels in place of 64."""
    layers = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs = width
    for stage in range(4):
        outputs = width << stage
        layers += [Residual(inputs, outputs, 1 if stage == 0 else 2), Residual(outputs, outputs, 1)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


@case()
def resnet18_converted():
    """ResNet-18 after Opacus's own conversion of BatchNorm to GroupNorm."""
    from opacus.validators import ModuleValidator

    return ModuleValidator.fix(resnet18(4, 5)), floats(3, 64, 64), ids(5)


@case(opacus="refuses it too", refused={layer: "BatchNormalization" for layer in ("1", "4.bn1", "10.bn2")}, always=True)
def resnet18_as_it_is():
    return resnet18(4, 5), floats(3, 32, 32), ids(5)


# Tutorials.


def _bert():
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=31, hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20, max_position_embeddings=9,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=3, attn_implementation="eager")
    return BertForSequenceClassification(config)


class Logits(nn.Module):
    """The logits of a transformer that returns more."""

    def __init__(self, transformer):
        super().__init__()
        self.transformer = transformer

    def forward(self, input_ids, attention_mask):
        return self.transformer(input_ids=input_ids, attention_mask=attention_mask).logits


def _text():
    mask = torch.ones(RECORDS, 7, dtype=torch.int64)
    for row in range(RECORDS):
        mask[row, 3 + row % 5:] = 0
    return ids(31, 7), mask


@case(always=True)
def bert_with_frozen_body():
    """A classifier of texts of which the last layer, the pooler and the head are trained."""
    net = _bert()
    net.requires_grad_(False)
    for part in (net.bert.encoder.layer[-1], net.bert.pooler, net.classifier):
        part.requires_grad_(True)
    return Logits(net), _text(), ids(3)


class LowRank(nn.Module):
    """A frozen dense layer with trained factors beside it."""

    def __init__(self, dense, rank):
        super().__init__()
        self.dense = dense
        self.down = nn.Linear(dense.in_features, rank, bias=False)
        self.up = nn.Linear(rank, dense.out_features, bias=False)

    def forward(self, x):
        return self.dense(x) + self.up(self.down(x)) / math.sqrt(self.down.out_features)


@case()
def bert_with_low_rank_factors():
    net = _bert()
    net.requires_grad_(False)
    net.classifier.requires_grad_(True)
    for layer in net.bert.encoder.layer:
        attention = layer.attention.self
        attention.query, attention.value = LowRank(attention.query, 2), LowRank(attention.value, 2)
    return Logits(net), _text(), ids(3)


# What its engine is tested with besides.


class Tied(nn.Module):
    """One table of words at both ends."""

    def __init__(self, words, width):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids):
        return self.head(torch.tanh(self.embedding(ids).mean(1)))


@case()
def tied_weights():
    return Tied(11, 5), ids(11, 4), ids(11)


class Scaled(nn.Module):
    """A layer with bare parameters."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.scale * F.linear(x, self.weight)


@case(opacus="falls back to functorch")
def custom_layer():
    return nn.Sequential(Scaled(5, 7), nn.Tanh(), nn.Linear(7, 3)), floats(5), ids(3)


@case()
def frozen_layers():
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 3))
    net[2].requires_grad_(False)
    return net, floats(5), ids(3)
