"""Trains from an installed wheel, in an environment with nothing but what it depends on: `cargo xtask wheel` runs this."""

import shutil
import sys

import dpc
import numpy as np

model, sources = sys.argv[1:]
assert not dpc.__file__.startswith(sources), f"{dpc.__file__} is not of a wheel"
assert shutil.which("cargo") is None and shutil.which("rustc") is None, "there is Rust on the path"
x = np.random.default_rng(0).normal(size=(200, 1, 28, 28)).astype(np.float32)
private = dpc.make_private(model)
private.fit((x, np.arange(200) % 10), epsilon=3, delta=1e-4, batch_size=32, steps=2, device="cpu", progress=False)
assert private.predict(x).shape == (200, 10) and private.certificate()["epsilon"] <= 3
assert "torch" not in sys.modules
print(f"{dpc.__file__}: {private.certificate()['statement']}")
