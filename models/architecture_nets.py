"""Networks as people build them from `torch.nn`: one function an architecture, each giving `(net, inputs, labels)`.

`architectures.py` exports them in every form and compares what dpc makes of them with PyTorch. Small enough that all of it
runs on a laptop; the layers, their order and their options are those of the real networks.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval, parametrizations, parametrize

import oracle
from nets import Bert, Lambda, Tokens, Unary, gpt, group_norm, resnet, unet, vit
from paper_nets import CifarCnn, ImdbEmbedding, ImdbLstm, MnistCnn

BATCH = 5
SEQUENCE = 8


@dataclass
class Architecture:
    """How a network is built, and what it is trained with."""

    name: str
    build: Callable
    loss: str = "cross-entropy"
    folded: Callable | None = None
    """The network that the newer exporter's default form makes of this one, where it is another."""
    written: Callable | None = None
    """The network that every exporter makes of this one, where it is another."""
    renamed: dict[str, str] = field(default_factory=dict)
    """Initialisers of the default form that stand for a parameter of another name."""
    dropped: tuple[str, ...] = ()
    """Parameters that the default form has not, as they are zero in a fresh network."""
    padding: dict[str, int] = field(default_factory=dict)
    """The row of each embedding that gets no gradient, which only the newer exporter's files say."""
    own_loss: Callable | None = None
    """The loss that the network itself ends with, of a batch; the file then takes the labels as an input."""

    def make(self):
        """The network, its inputs and its labels by name, always the same ones."""
        torch.manual_seed(zlib.crc32(self.name.encode()))
        net, inputs, label = self.build()
        return net, inputs, label

    def sample_loss(self, outputs, labels):
        if self.own_loss:
            return outputs[0]
        name, _, options = self.loss.partition(":")
        return oracle.sample_loss(name, outputs[0], labels[0], -1 if options == "axis=last" else 1)


ARCHITECTURES: dict[str, Architecture] = {}


def architecture(**settings):
    def register(build):
        ARCHITECTURES[build.__name__] = Architecture(build.__name__, build, **settings)
        return build

    return register


def floats(*shape):
    return torch.randn(BATCH, *shape)


def ids(limit, *shape):
    return torch.randint(0, limit, (BATCH, *shape))


def images(net, *shape, classes=10):
    return net, {"input": floats(*shape)}, ids(classes)


def words(net, classes=2, length=12):
    return net, {"tokens": ids(100, length)}, ids(classes)


# The networks of the Opacus paper and of its examples.


@architecture()
def opacus_mnist_cnn():
    return images(MnistCnn(), 1, 28, 28)


@architecture()
def opacus_cifar_cnn():
    return images(CifarCnn(8), 3, 32, 32)


@architecture()
def cifar_cnn_adaptive():
    features = CifarCnn(8, classes=16).features
    return images(nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)), 3, 32, 32)


@architecture()
def opacus_imdb_embedding():
    net = ImdbEmbedding(100, 16)
    net.fc = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
    return words(net)


@architecture()
def opacus_imdb_lstm():
    return words(ImdbLstm(100, 20, 20))


# Recurrences: the last state, of embedded words or of measurements.


def _last_state(layer, features, classes, embedding=None):
    def forward(s, x):
        return s.fc(s.rnn(x if embedding is None else s.emb(x))[0][:, -1])

    parts = {"rnn": layer, "fc": nn.Linear(features, classes)}
    if embedding is None:
        return Unary(forward, **parts)
    return Tokens(forward, emb=embedding, **parts)


@architecture()
def lstm_bidirectional():
    return words(_last_state(nn.LSTM(20, 20, batch_first=True, bidirectional=True), 40, 2, nn.Embedding(100, 20)))


@architecture()
def lstm_two_layers():
    return words(_last_state(nn.LSTM(20, 20, num_layers=2, batch_first=True), 20, 2, nn.Embedding(100, 20)))


@architecture()
def gru():
    return images(_last_state(nn.GRU(8, 12, batch_first=True), 12, 3), 5, 8, classes=3)


@architecture()
def gru_bidirectional():
    return images(_last_state(nn.GRU(8, 12, batch_first=True, bidirectional=True), 24, 3), 5, 8, classes=3)


@architecture()
def rnn_tanh():
    return images(_last_state(nn.RNN(8, 12, batch_first=True), 12, 3), 5, 8, classes=3)


# A multilayer perceptron with every activation.


def _mlp():
    return nn.Sequential(
        nn.Linear(20, 32), nn.ReLU(), nn.Dropout(0.0), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 3)
    )


@architecture()
def mlp():
    return images(_mlp(), 20, classes=3)


ACTIVATIONS = {
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU("tanh"),
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "hardswish": nn.Hardswish,
    "mish": nn.Mish,
    "prelu": nn.PReLU,
    "selu": nn.SELU,
    "relu6": nn.ReLU6,
    "glu": lambda: nn.Sequential(nn.Linear(16, 32), nn.GLU()),
}


def _activated(activation):
    return lambda: images(nn.Sequential(nn.Linear(20, 16), activation(), nn.Linear(16, 3)), 20, classes=3)


for _name, _activation in ACTIVATIONS.items():
    ARCHITECTURES[f"mlp_{_name}"] = Architecture(f"mlp_{_name}", _activated(_activation))


# ResNet-18.


@architecture()
def resnet18_group_norm():
    return images(resnet(group_norm), 3, 32, 32)


def _fuse(net):
    """Every convolution takes in the BatchNorm after it, which is gone."""
    for module in list(net.modules()):
        if isinstance(module, nn.Sequential):
            for i in range(len(module) - 1):
                if isinstance(module[i], nn.Conv2d) and isinstance(module[i + 1], nn.BatchNorm2d):
                    module[i], module[i + 1] = fuse_conv_bn_eval(module[i].eval(), module[i + 1].eval()), nn.Identity()
    return net


@architecture(folded=_fuse)
def resnet18_batch_norm():
    return images(resnet(nn.BatchNorm2d), 3, 32, 32)


# Transformers.


def _language(**settings):
    return gpt(**settings), {"tokens": ids(50, SEQUENCE)}, ids(50, SEQUENCE)


def _untie(net):
    """The default form holds a copy of the table for the head, transposed."""
    net.head.weight = nn.Parameter(net.emb.weight.detach().clone())
    return net


@architecture(loss="cross-entropy:axis=last", folded=_untie, renamed={"head.weight": "emb.weight"})
def gpt_tied():
    return _language()


@architecture(loss="cross-entropy:axis=last")
def gpt_masked():
    return _language(tied=False, mask=True)


@architecture(loss="cross-entropy:axis=last", folded=_untie, renamed={"head.weight": "emb.weight"})
def gpt_rms_norm():
    return _language(norm=nn.RMSNorm)


@architecture(padding={"word.weight": 0})
def bert():
    tokens, mask = ids(50, SEQUENCE), torch.ones(BATCH, SEQUENCE, dtype=torch.int64)
    tokens[1, 5:] = 0
    mask[1, 5:] = 0
    return Bert(), {"tokens": tokens, "kinds": ids(2, SEQUENCE), "mask": mask}, ids(2)


@architecture()
def vision_transformer():
    return images(vit(), 3, 16, 16)


@architecture(dropped=("attention.out_proj.bias",))
def multihead_attention():
    def forward(s, x):
        return s.fc(s.attention(x, x, x, need_weights=False)[0].mean(1))

    return images(Unary(forward, attention=nn.MultiheadAttention(16, 2, batch_first=True), fc=nn.Linear(16, 3)), 5, 16, classes=3)


@architecture(dropped=("layer.self_attn.out_proj.bias",))
def transformer_encoder_layer():
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    return images(Unary(lambda s, x: s.fc(s.layer(x)[:, 0]), layer=layer, fc=nn.Linear(16, 3)), 5, 16, classes=3)


# Convolutions and norms, one of each.


def _convolution(layer, classes, *shape, after=None):
    def forward(s, x):
        x = F.relu(s.conv(x))
        return (x if after is None else s.after(x)).flatten(1)

    parts = {"conv": layer} | ({} if after is None else {"after": after})
    return images(Unary(forward, **parts), *shape, classes=classes)


@architecture()
def conv1d():
    return _convolution(nn.Conv1d(4, 6, 3, padding=1), 60, 4, 10)


@architecture()
def conv3d():
    return _convolution(nn.Conv3d(2, 3, 3), 81, 2, 5, 5, 5)


@architecture()
def conv_transpose():
    return _convolution(nn.ConvTranspose2d(4, 3, 3, 2, 1, output_padding=1), 300, 4, 5, 5)


@architecture()
def conv_depthwise():
    return _convolution(nn.Conv2d(4, 4, 3, groups=4), 64, 4, 6, 6)


@architecture()
def conv_dilated():
    return _convolution(nn.Conv2d(4, 3, 3, dilation=2, padding="same"), 192, 4, 8, 8)


@architecture()
def conv_reflect():
    return _convolution(nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect"), 192, 4, 8, 8)


@architecture()
def instance_norm():
    return _convolution(nn.Conv2d(3, 4, 3), 64, 3, 6, 6, after=nn.InstanceNorm2d(4, affine=True))


@architecture()
def group_norm_layer():
    return _convolution(nn.Conv2d(3, 4, 3), 64, 3, 6, 6, after=nn.GroupNorm(2, 4))


@architecture()
def layer_norm():
    return images(nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)), 8, classes=8)


@architecture()
def rms_norm():
    return images(nn.Sequential(nn.Linear(8, 8), nn.RMSNorm(8)), 8, classes=8)


# Others.


def _bag(mode, padding=None):
    bag = nn.EmbeddingBag(50, 8, mode=mode, padding_idx=padding)
    net = Tokens(lambda s, x: s.fc(s.bag(x)), bag=bag, fc=nn.Linear(8, 2))
    return net, {"tokens": ids(50, 6)}, ids(2)


@architecture()
def embedding_bag_mean():
    return _bag("mean")


@architecture()
def embedding_bag_sum():
    return _bag("sum")


@architecture()
def embedding_bag_max():
    return _bag("max")


@architecture()
def embedding_bag_padding():
    net, inputs, label = _bag("mean", padding=3)
    inputs["tokens"][:, 0] = 3
    return net, inputs, label


@architecture()
def embedding_bag_weights():
    weigh, bag = nn.Embedding(50, 1), nn.EmbeddingBag(50, 8, mode="sum")
    net = Tokens(lambda s, x: s.fc(s.bag(x, per_sample_weights=s.weigh(x)[..., 0])), weigh=weigh, bag=bag, fc=nn.Linear(8, 2))
    return net, {"tokens": ids(50, 6)}, ids(2)


def _plain(net):
    parametrize.remove_parametrizations(net.layer, "weight")
    return net


@architecture(folded=_plain)
def weight_norm():
    net = Unary(lambda s, x: s.layer(x), layer=parametrizations.weight_norm(nn.Linear(8, 4)))
    return images(net, 8, classes=4)


@architecture(loss="mse")
def u_net():
    return unet(), {"input": floats(1, 8, 8)}, floats(1, 8, 8)


# Networks that end with the mean loss of the batch.


class WithLoss(Lambda):
    def forward(self, input, target):
        return self.function(self.net(input), target)


OWN_LOSSES = {
    "cross_entropy": (nn.CrossEntropyLoss(), lambda: ids(3), None),
    "label_smoothing": (nn.CrossEntropyLoss(label_smoothing=0.1), lambda: ids(3), None),
    "mse": (nn.MSELoss(), lambda: floats(3), None),
    "bce": (nn.BCEWithLogitsLoss(), lambda: torch.rand(BATCH, 3), None),
    "nll": (nn.NLLLoss(), lambda: ids(3), lambda: nn.Sequential(_mlp(), nn.LogSoftmax(-1))),
    "huber": (nn.HuberLoss(), lambda: floats(3), None),
}


def _own_loss(loss, label, net):
    return lambda: (WithLoss(loss, net=net() if net else _mlp()), {"input": floats(20), "target": label()}, None)


def _without_smoothing(net):
    net.function = nn.CrossEntropyLoss()
    return net


for _name, (_loss, _label, _net) in OWN_LOSSES.items():
    ARCHITECTURES[f"loss_{_name}"] = Architecture(
        f"loss_{_name}", _own_loss(_loss, _label, _net), loss="output:loss", own_loss=_loss, written=_without_smoothing if _name == "label_smoothing" else None
    )
