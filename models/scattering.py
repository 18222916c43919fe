"""A wavelet scattering network with a linear layer on top, for images of 28×28 (Fashion-MNIST): `fashion_scattering.onnx` in OUT.

    python models/scattering.py OUT

What a private network can learn is bounded by its noise, so it pays to learn little and to know much before: Tramèr and Boneh
(arXiv 2011.11660) train one linear layer on scattering coefficients (Bruna and Mallat, arXiv 1203.1513; two scales, eight
directions), which are fixed and depend on no data. GroupNorm over 27 groups of channels takes away what all images share, one
record at a time. The filters are buffers of the module, and their initialisers are told to be frozen: 39,700 parameters train.

With Fashion-MNIST (Debian's package `dataset-fashion-mnist` has it as IDX files):

    dpc compile OUT/fashion_scattering.onnx -o fashion.dpc --loss cross-entropy --clip flat:0.1 --optimizer sgd:momentum=0.9
    dpc train fashion.dpc --data TRAIN-IMAGES,TRAIN-LABELS --valid T10K-IMAGES,T10K-LABELS \\
        --epsilon 2.7 --delta 1e-5 --batch 4096 --epochs 40 --lr 8 --ema 0.99
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from recipes import export

DIRECTIONS = 8
SIDE = 28
GROUPS = 27


def _morlet(size, scale, theta):
    """A Morlet wavelet of mean zero: waves of frequency 3π/4 · 2⁻ˢ along `theta`, under a Gaussian 0.8 · 2ˢ wide along it and
    twice that across."""
    sigma, slant, reach = 0.8 * 2**scale, 4 / DIRECTIONS, (size - 1) / 2
    y, x = np.mgrid[-reach:reach + 1, -reach:reach + 1]
    along, across = np.cos(theta) * x + np.sin(theta) * y, np.cos(theta) * y - np.sin(theta) * x
    window = np.exp(-(along**2 + (slant * across) ** 2) / (2 * sigma**2))
    wave = window * np.exp(0.75j * np.pi / 2**scale * along)
    wave -= window * (wave.sum() / window.sum())
    return wave * slant / (2 * np.pi * sigma**2)


def _bank(size, scale):
    """Filters [2 · DIRECTIONS, 1, size, size]: the real and the imaginary part of each direction, one after the other."""
    waves = [_morlet(size, scale, k * np.pi / DIRECTIONS) for k in range(DIRECTIONS)]
    parts = np.stack([part for wave in waves for part in (wave.real, wave.imag)])
    return torch.tensor(parts[:, None], dtype=torch.float32)


class Scattering(nn.Module):
    """Coefficients [N, 81, 7, 7] of images [N, 1, 28, 28], averages over squares of 4×4: of the image, of the strength of eight
    waves of each scale, and of eight coarse waves in the strength of each fine one."""

    def __init__(self):
        super().__init__()
        self.register_buffer("fine", _bank(7, 0))
        self.register_buffer("coarse", _bank(11, 1))

    def _strength(self, x, filters, stride):
        """The absolute values [N, C · DIRECTIONS, H, W] of the waves in each channel of `x` [N, C, H, W]."""
        channels, reach = x.shape[1], filters.shape[-1] // 2
        waves = F.conv2d(x, filters.repeat(channels, 1, 1, 1), stride=stride, padding=reach, groups=channels)
        real, imaginary = waves[:, 0::2], waves[:, 1::2]
        return torch.sqrt(real * real + imaginary * imaginary + 1e-12)

    def forward(self, image):
        fine, coarse = self._strength(image, self.fine, 1), self._strength(image, self.coarse, 2)
        second = self._strength(fine, self.coarse, 2)
        return torch.cat([F.avg_pool2d(x, x.shape[-1] // 7) for x in (image, fine, coarse, second)], 1)


class FashionScattering(nn.Module):
    """39,700 parameters: a linear layer on normalised scattering coefficients."""

    def __init__(self):
        super().__init__()
        self.scattering = Scattering()
        self.fc = nn.Linear(81 * 49, 10)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, input):
        return self.fc(F.group_norm(self.scattering(input), GROUPS).flatten(1))


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    net = FashionScattering()
    export("dyn", net, {"input": torch.zeros(2, 1, SIDE, SIDE)}, out / "fashion_scattering.onnx")


if __name__ == "__main__":
    main()
