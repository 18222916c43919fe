"""The networks of `opacus_modules.py` train from Python as they are, and a step is what PyTorch and Opacus make of it.

By default those that are marked `always`; all with `DPC_OPACUS_MODULES=all` in the environment.
"""

import copy
import os
import re
import sys
from pathlib import Path

import dpc
import numpy as np
import pytest
import torch
from opacus_modules import CASES, RECORDS
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "models"))
import oracle  # noqa: E402

ALL = os.environ.get("DPC_OPACUS_MODULES") == "all"
TESTED = [case for case in CASES.values() if ALL or case.always]
# dpc's loss, PyTorch's, and Opacus's over a batch.
LOSSES = {"cross-entropy": nn.functional.cross_entropy, "bce": nn.functional.binary_cross_entropy_with_logits}


def one_by_one(case, module, inputs, label):
    """Each record's gradient, `[records, ...]` by parameter, by PyTorch in double precision, one record at a time."""
    named = {f"input{k}": value for k, value in enumerate(inputs)}
    objective = lambda outputs, labels: oracle.sample_loss(case.loss, outputs[0], labels[0], 1)
    _, gradients = oracle.per_sample(module, named, [label], objective)
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    return {name: value for name, value in gradients.items() if name in trained}


def norms(gradients):
    return np.sqrt(sum(np.square(value).reshape(RECORDS, -1).sum(1) for value in gradients.values()))


def clipped(gradients, clip):
    factors = np.minimum(1, clip / norms(gradients))
    return {name: np.tensordot(factors, value, 1) for name, value in gradients.items()}


def agree(found, expected, what):
    """Every update to within 0.02 % of the largest of its parameter, and what f32 parameters can show."""
    for name, value in expected.items():
        bound = 2e-4 * np.abs(value).max() + 2e-6
        assert np.abs(found[name] - value).max() <= bound, (what, name, np.abs(found[name] - value).max(), bound)


def moved(module, before):
    """By how much each parameter has gone down."""
    return {name: (before[name] - value).double().numpy() for name, value in module.named_parameters()}


def opacus_step(case, module, inputs, label, clip):
    """The updates of a step of Opacus without noise at the learning rate 1 on the sum of the gradients."""
    from opacus import PrivacyEngine
    from opacus.validators import ModuleValidator
    from torch.utils.data import DataLoader, TensorDataset

    # Its fixes draw new weights for some layers, and load those of the old ones.
    module = ModuleValidator.fix(module) if case.opacus == "fixed" else module
    before = copy.deepcopy(module.state_dict())
    loader = DataLoader(TensorDataset(*inputs, label), batch_size=RECORDS)
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=RECORDS)
    wrapped, optimizer, loader = PrivacyEngine().make_private(
        module=module.train(), optimizer=optimizer, data_loader=loader, noise_multiplier=0.0, max_grad_norm=clip,
        poisson_sampling=False)
    for *batch, target in loader:
        optimizer.zero_grad()
        LOSSES[case.loss](wrapped(*batch), target).backward()
        optimizer.step()
    return {name: (before[name] - value).double().numpy() for name, value in module.state_dict().items()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", [case for case in TESTED if not case.refused], ids=lambda case: case.name)
def test_a_step_is_that_of_pytorch_and_opacus(case):
    module, inputs, label = case.make()
    original, before = copy.deepcopy(module), copy.deepcopy(dict(module.named_parameters()))
    gradients = one_by_one(case, original, inputs, label)
    # Some records are clipped and some are not.
    clip = float(np.median(norms(gradients)))
    expected = clipped(gradients, clip)

    private = dpc.make_private(module, case.loss, example=inputs, clip=clip, optimizer=dpc.SGD(lr=RECORDS))
    x = inputs if len(inputs) > 1 else inputs[0]
    private.fit((x, label), noise_multiplier=0.0, delta=1e-5, batch_size=RECORDS, steps=1, device="cpu", progress=False)
    with torch.no_grad():
        agree(moved(module, before), expected, "PyTorch one record at a time")
    assert all(torch.equal(before[name], value) for name, value in module.named_parameters() if not value.requires_grad)

    if case.opacus in ("as it is", "fixed", "falls back to functorch"):
        theirs = opacus_step(case, original, inputs, label, clip)
        # A layer that it puts in the place of another may have other names for its parameters.
        assert theirs.keys() & expected.keys() if case.opacus == "fixed" else theirs.keys() >= expected.keys()
        agree(theirs, {name: value for name, value in expected.items() if name in theirs}, "Opacus")


@pytest.mark.parametrize("case", [case for case in TESTED if case.refused], ids=lambda case: case.name)
def test_an_exception_says_why_not(case):
    module, inputs, _ = case.make()
    with pytest.raises(dpc.CompileError) as raised:
        dpc.make_private(module, case.loss, example=inputs)
    for layer, reason in case.refused.items():
        assert layer in raised.value.layers, str(raised.value)
        assert f"({reason}) of the layer `{layer}`" in str(raised.value)
    # In words of Python, not of the command line.
    assert "--" not in str(raised.value)


def test_the_page_has_every_network():
    page = (ROOT / "python" / "OPACUS.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(CASES)
