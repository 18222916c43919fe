"""What the tests share: small networks with known parameters, and data that can be learnt."""

import faulthandler
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def timeout():
    """A deadlock ends all tests, and shows where every thread is."""
    faulthandler.dump_traceback_later(600, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def interrupts():
    """SIGINT is heeded, though a shell has what it runs in the background ignore it, and Python leaves that so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def mlp():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))


@pytest.fixture(scope="session")
def data():
    """400 records of three classes, by which of the first three numbers is the largest."""
    x = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)
    return x, x[:, :3].argmax(axis=1).astype(np.int64)


@pytest.fixture(scope="session")
def digits():
    def arrays(name):
        file = np.load(ROOT / "models" / name)
        return file["input"], file["label"]

    return arrays("digits_train.npz"), arrays("digits_test.npz")


@pytest.fixture(scope="session")
def command():
    """Runs the command line, which the tests of the crate built."""
    program = os.environ.get("DPC_PROGRAM", ROOT / "target" / "debug" / "dpc")

    def run(*arguments):
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
