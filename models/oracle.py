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


def mean_loss(loss, logits, label, class_axis):
    """PyTorch's loss of a batch by its default reduction: the mean over all elements or non-ignored tokens."""
    if class_axis == -1:
        logits = logits.movedim(-1, 1)
    losses = {
        "cross-entropy": F.cross_entropy,
        "nll": F.nll_loss,
        "mse": F.mse_loss,
        "bce": F.binary_cross_entropy_with_logits,
    }
    return losses[loss](logits, label)


def per_sample(net, inputs, labels, objective):
    """Losses `[N]` and per-sample gradients `{parameter: [N, ...]}` of a batch, in float64.

    `objective` gives the loss of one record, a batch of one, from the lists of the outputs and of the labels.
    """
    net = copy.deepcopy(net).double()
    inputs = {name: _double(value) for name, value in inputs.items()}
    labels = [_double(label) for label in labels]
    losses, gradients = [], {name: [] for name, _ in net.named_parameters()}
    for n in range(len(next(iter(inputs.values())))):
        net.zero_grad(set_to_none=True)
        outputs = _list(net(*(value[n : n + 1] for value in inputs.values())))
        value = objective(outputs, [label[n : n + 1] for label in labels])
        value.backward()
        losses.append(value.item())
        for name, parameter in net.named_parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            gradients[name].append(gradient.numpy())
    return np.array(losses), {name: np.stack(rows) for name, rows in gradients.items()}


def forward(net, inputs):
    """The outputs of a batch in float64."""
    net = copy.deepcopy(net).double()
    with torch.no_grad():
        return _list(net(*(_double(value) for value in inputs.values())))


def of_batch(net, inputs, labels, loss):
    """A loss of a batch in float64, from the lists of the outputs and of the labels."""
    return float(loss(forward(net, inputs), [_double(label) for label in labels]))


def _list(outputs):
    return [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)


def _double(value):
    return value.double() if value.is_floating_point() else value
