"""Optimizers, with PyTorch's names and defaults."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SGD:
    lr: float
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def _text(self):
        nesterov = str(self.nesterov).lower()
        return f"sgd:momentum={self.momentum},nesterov={nesterov},weight_decay={self.weight_decay}"


@dataclass(frozen=True)
class Adam:
    lr: float = 1e-3
    betas: tuple = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    _name = "adam"

    def _text(self):
        beta1, beta2 = self.betas
        return f"{self._name}:beta1={beta1},beta2={beta2},eps={self.eps},weight_decay={self.weight_decay}"


@dataclass(frozen=True)
class AdamW(Adam):
    weight_decay: float = 0.01
    _name = "adamw"
