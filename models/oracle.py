"""Per-sample losses and gradients by PyTorch in float64, one sample at a time."""

import copy

import numpy as np
import torch
import torch.nn.functional as F


def sample_loss(loss, logits, label, class_axis):
    """The loss of one sample (batch axis of size 1): the mean over its own elements or non-ignored tokens."""
    if loss in ("cross-entropy", "nll"):
        if class_axis == -1:
            logits = logits.movedim(-1, 1)
        log_probabilities = logits if loss == "nll" else F.log_softmax(logits, dim=1)
        total = F.nll_loss(log_probabilities, label, ignore_index=-100, reduction="sum")
        return total / max(1, int((label != -100).sum()))
    if loss == "mse":
        return (logits - label).square().mean()
    if loss == "bce":
        return F.binary_cross_entropy_with_logits(logits, label)
    raise ValueError(loss)


def per_sample(net, inputs, label, loss, class_axis):
    """Losses `[N]` and per-sample gradients `{parameter: [N, ...]}` of a batch, in float64."""
    net = copy.deepcopy(net).double()
    inputs = {name: _double(value) for name, value in inputs.items()}
    label = _double(label)
    losses, gradients = [], {name: [] for name, _ in net.named_parameters()}
    for n in range(len(label)):
        net.zero_grad(set_to_none=True)
        logits = net(*(value[n : n + 1] for value in inputs.values()))
        value = sample_loss(loss, logits, label[n : n + 1], class_axis)
        value.backward()
        losses.append(value.item())
        for name, parameter in net.named_parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            gradients[name].append(gradient.numpy())
    return np.array(losses), {name: np.stack(rows) for name, rows in gradients.items()}


def forward(net, inputs):
    """The logits of a batch in float64."""
    net = copy.deepcopy(net).double()
    with torch.no_grad():
        return net(*(_double(value) for value in inputs.values())).numpy()


def _double(value):
    return value.double() if value.is_floating_point() else value
