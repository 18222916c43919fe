"""Networks that the zoo has in small and `architecture_nets.py` in the usual size."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Lambda(nn.Module):
    """Named layers and parameters, and a function of them and of the inputs."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, torch.Tensor) else part)


class Unary(Lambda):
    def forward(self, input):
        return self.function(self, input)


class Tokens(Lambda):
    def forward(self, tokens):
        return self.function(self, tokens)


class Both(Lambda):
    def forward(self, tokens, input):
        return self.function(self, tokens, input)


class Residual(nn.Module):
    def __init__(self, before, after, stride, norm):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            norm(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            norm(after),
        )
        same = stride == 1 and before == after
        self.skip = nn.Identity() if same else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), norm(after))

    def forward(self, x):
        return F.relu(self.body(x) + self.skip(x))


def resnet(norm, width=8, stages=4, classes=10):
    """ResNet-18 at four stages."""
    layers = [nn.Conv2d(3, width, 7, 2, 3, bias=False), norm(width), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    before = width
    for stage in range(stages):
        after = width << stage
        layers += [Residual(before, after, 1 if stage == 0 else 2, norm), Residual(after, after, 1, norm)]
        before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


def group_norm(channels):
    return nn.GroupNorm(min(4, channels), channels)


class Block(nn.Module):
    """Attention and a perceptron, each after its norm, with residuals. `mask` writes the causal mask out."""

    def __init__(self, width, heads, causal, norm=nn.LayerNorm, mask=False):
        super().__init__()
        self.norm1, self.norm2 = norm(width), norm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(0.0)
        self.heads, self.causal, self.mask = heads, causal, mask

    def attend(self, x, added=None):
        n, t, width = x.shape
        q, k, v = (y.view(n, t, self.heads, -1).transpose(1, 2) for y in self.qkv(x).split(width, dim=2))
        if added is None and not self.mask:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        else:
            scores = q @ k.transpose(-2, -1) / math.sqrt(width // self.heads)
            if self.mask:
                below = torch.tril(torch.ones(t, t, device=x.device)).view(1, 1, t, t)
                scores = scores.masked_fill(below == 0, float("-inf"))
            y = F.softmax(scores if added is None else scores + added, dim=-1) @ v
        return self.drop(self.out(y.transpose(1, 2).reshape(n, t, width)))

    def forward(self, x):
        x = x + self.attend(self.norm1(x))
        return x + self.drop(self.mlp(self.norm2(x)))


def gpt(words=50, width=16, heads=2, layers=2, length=32, tied=True, norm=nn.LayerNorm, mask=False):
    def forward(s, tokens):
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        return s.head(s.norm(s.blocks(s.emb(tokens) + s.position(positions))))

    net = Tokens(
        forward,
        emb=nn.Embedding(words, width),
        position=nn.Embedding(length, width),
        blocks=nn.Sequential(*(Block(width, heads, True, norm, mask) for _ in range(layers))),
        norm=norm(width),
        head=nn.Linear(width, words, bias=False),
    )
    if tied:
        net.head.weight = net.emb.weight
    return net


class Bert(nn.Module):
    """Three tables, norms after the residuals, an additive mask, the first token through a tanh."""

    def __init__(self, words=50, width=16, heads=2, layers=2, length=32, classes=2, padding=0):
        super().__init__()
        self.word, self.position = nn.Embedding(words, width, padding_idx=padding), nn.Embedding(length, width)
        self.kind = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, heads, False) for _ in range(layers))
        self.pool, self.fc = nn.Linear(width, width), nn.Linear(width, classes)

    def forward(self, tokens, kinds, mask):
        positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
        x = self.norm(self.word(tokens) + self.position(positions) + self.kind(kinds))
        added = (1.0 - mask[:, None, None, :].to(x.dtype)) * -10000.0
        for block in self.blocks:
            x = block.norm1(x + block.attend(x, added))
            x = block.norm2(x + block.drop(block.mlp(x)))
        return self.fc(torch.tanh(self.pool(x[:, 0])))


def vit(width=16, patch=4, size=16, layers=2, classes=10):
    """A vision transformer: patches, a class token, learned positions."""

    def forward(s, x):
        x = s.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([s.token.expand(x.shape[0], -1, -1), x], 1) + s.position
        return s.fc(s.norm(s.blocks(x))[:, 0])

    return Unary(
        forward,
        patches=nn.Conv2d(3, width, patch, patch),
        token=torch.zeros(1, 1, width),
        position=torch.zeros(1, (size // patch) ** 2 + 1, width),
        blocks=nn.Sequential(*(Block(width, 2, False) for _ in range(layers))),
        norm=nn.LayerNorm(width),
        fc=nn.Linear(width, classes),
    )


def unet():
    """One level down and up again, by a transposed convolution and by interpolation."""

    def forward(s, x):
        high = F.silu(s.first(x))
        low = F.silu(s.down(high))
        return s.out(torch.cat([high, s.up(low)], 1)) + F.interpolate(low, scale_factor=2.0, mode="nearest")[:, :1]

    return Unary(
        forward,
        first=nn.Conv2d(1, 4, 3, padding=1),
        down=nn.Conv2d(4, 8, 3, 2, 1),
        up=nn.ConvTranspose2d(8, 4, 2, 2),
        out=nn.Conv2d(8, 1, 1),
    )
