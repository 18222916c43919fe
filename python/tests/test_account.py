"""The account functions say what the command line says."""

import json

import dpc
import pytest


def test_the_command_line_says_the_same(command):
    numbers = ["--sample-rate", 0.01, "--steps", 1000, "--delta", 1e-5, "--json"]
    said = json.loads(command("account", "--noise-multiplier", 1.1, *numbers))["epsilon"]
    assert dpc.account.epsilon(0.01, 1.1, 1000, 1e-5) == said
    said = json.loads(command("account", "--epsilon", 2, *numbers))["noise_multiplier"]
    found = dpc.account.noise_multiplier(0.01, 2.0, 1000, 1e-5)
    assert found == pytest.approx(said, rel=1e-4)
    assert dpc.account.epsilon(0.01, found, 1000, 1e-5) <= 2


def test_arrays_are_broadcast():
    found = dpc.account.epsilon([0.01, 0.02], 1.0, [[100], [200]], 1e-5)
    assert found.shape == (2, 2) and found[1, 0] == dpc.account.epsilon(0.01, 1.0, 200, 1e-5)


def test_what_cannot_be_accounted():
    for arguments in [(2.0, 1.0, 10, 1e-5), (0.1, -1.0, 10, 1e-5), (0.1, 1.0, 10, 0.0)]:
        with pytest.raises(dpc.PlanError):
            dpc.account.epsilon(*arguments)
