"""Banded matrix factorisations by JAX-Privacy, for `src/privacy/correlation/tests.rs`.

    pip install jax-privacy
    python tests/oracles/bandmf.py

writes `tests/golden/bandmf.json`: of each number of steps and of bands the coefficients that JAX-Privacy 2.0.0 finds
(`toeplitz.optimize_banded_toeplitz`), the mean over all prefix sums of their squared error at sensitivity 1, the squared
noise of single steps, the sensitivity under min-sep participation, and ε by its event of DP-BandMF
(`experimental.accounting.amplified_bandmf_event`) with dp_accounting's PLD accountant, connecting the dots at a grid of 1e-4.
"""

import json
import math
import pathlib

import dp_accounting
import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import numpy as np
from jax_privacy.experimental import accounting
from jax_privacy.matrix_factorization import sensitivity, toeplitz

# Steps, bands, parts of a cycle.
FACTORISATIONS = [(400, 100, 100), (400, 10, 10), (100, 4, 4), (64, 16, 16), (60, 5, 12), (2000, 32, 32), (30, 1, 1)]
# Steps, bands, sample rate within a part, noise multiplier, δ.
EVENTS = [
    (400, 100, 1.0, 2.0, 1e-5),
    (400, 100, 1.0, 7.5, 1e-6),
    (2000, 8, 0.04, 1.1, 1e-5),
    (2003, 16, 0.2, 1.5, 1e-5),
    (1000, 1, 0.01, 1.0, 1e-5),
]


def factorisation(steps, bands, parts):
    c = toeplitz.optimize_banded_toeplitz(n=steps, bands=bands, max_optimizer_steps=500)
    noising = toeplitz.inverse_coef(c, steps)
    participations = sensitivity.minsep_true_max_participations(steps, parts)
    return {
        "steps": steps,
        "bands": bands,
        "parts": parts,
        "coefficients": np.asarray(c).tolist(),
        "mean_square": float(toeplitz.loss(c, steps)),
        "last_square": float(toeplitz.loss(c, steps, jnp.max)),
        "step_squares": np.cumsum(np.asarray(noising)[:12] ** 2).tolist(),
        "sensitivity": math.sqrt(float(toeplitz.minsep_sensitivity_squared(c, parts, n=steps, skip_checks=True))),
        "participations": int(participations),
    }


def event(steps, bands, rate, noise_multiplier, delta):
    event = accounting.amplified_bandmf_event(noise_multiplier, steps, num_bands=bands, sampling_prob=rate)
    accountant = dp_accounting.pld.PLDAccountant(value_discretization_interval=1e-4)
    return {
        "steps": steps,
        "bands": bands,
        "rate": rate,
        "noise_multiplier": noise_multiplier,
        "delta": delta,
        "epsilon": accountant.compose(event).get_epsilon(delta),
    }


path = pathlib.Path(__file__).parents[1] / "golden" / "bandmf.json"
goldens = {"factorisations": [factorisation(*f) for f in FACTORISATIONS], "events": [event(*e) for e in EVENTS]}
path.write_text(json.dumps(goldens, indent=1) + "\n")
