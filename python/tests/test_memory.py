"""What `fit` on an array of NumPy keeps in memory: the array once, and what `dpc inspect` says."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT

SCRIPT = """
import sys
import numpy as np
import dpc

def kept(what):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(what))

private = dpc.make_private(sys.argv[1])
x = np.random.default_rng(0).standard_normal((40000, 1, 28, 28), np.float32)
y = np.arange(len(x)) % 10
plan = dict(noise_multiplier=1.0, delta=1e-6, steps=2, device="cpu", physical_batch=64, progress=False)
private.fit((x[:64], y[:64]), batch_size=32, **plan)
before = kept("VmRSS")
private.fit((x, y), batch_size=64, **plan)
print(x.nbytes, before, kept("VmHWM"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_fit_copies_no_array(command, tmp_path):
    model = ROOT / "models" / "mnist_cnn.onnx"
    command("compile", model, "-o", tmp_path / "net.dpc", "--loss", "cross-entropy")
    predicted = re.search(r"physical batch +64 +([\d.]+) MiB", command("inspect", tmp_path / "net.dpc"))
    done = subprocess.run([sys.executable, "-c", SCRIPT, model], capture_output=True, text=True, check=True)
    array, before, peak = map(int, done.stdout.split())
    assert peak - before <= 0.2 * array + float(predicted[1]) * 2**20, (array, before, peak, predicted[1])
