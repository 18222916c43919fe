"""Optimizers, with PyTorch's names and defaults."""

from collections import namedtuple


class SGD(namedtuple("SGD", ["lr", "momentum", "nesterov", "weight_decay"], defaults=[0.0, False, 0.0])):
    """Stochastic gradient descent, with `momentum`, Nesterov's or not, and `weight_decay` added to the gradient."""

    __slots__ = ()

    def _text(self):
        nesterov = str(self.nesterov).lower()
        return f"sgd:momentum={self.momentum},nesterov={nesterov},weight_decay={self.weight_decay}"


class Adam(namedtuple("Adam", ["lr", "betas", "eps", "weight_decay"], defaults=[1e-3, (0.9, 0.999), 1e-8, 0.0])):
    """Adam (Kingma and Ba 2015), with `weight_decay` added to the gradient."""

    __slots__ = ()
    _name = "adam"

    def _text(self):
        beta1, beta2 = self.betas
        return f"{self._name}:beta1={beta1},beta2={beta2},eps={self.eps},weight_decay={self.weight_decay}"


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    __slots__ = ()
    _name = "adamw"

    def __new__(cls, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        return super().__new__(cls, lr, betas, eps, weight_decay)
