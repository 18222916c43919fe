"""Writes tests/golden/selection.json: what the best of a random number of trials costs, by Google's dp_accounting.

    pip install dp-accounting==0.6.0
    python tests/oracles/selection.py > tests/golden/selection.json

Each row has a trial (Poisson-subsampled Gaussian steps), the distribution of the number of trials, delta, and epsilon by what
RepeatAndSelectDpEvent is accounted by, at the orders that dpc uses: with dp_accounting's own divergences at whole orders, and with
integrated ones at fractional orders, where its own are upper bounds. `event` is epsilon by the event itself, at whole orders alone.
"""

import json
import math

import numpy as np
from dp_accounting import dp_event
from dp_accounting.rdp import rdp_privacy_accountant as rdp

FRACTIONAL = ([x / 100 for x in range(101, 120)] + [x / 20 for x in range(24, 80) if x % 20]
              + [x / 10 for x in range(40, 110) if x % 10] + [x / 2 for x in range(23, 32, 2)])
WHOLE = (list(range(2, 256)) + list(range(256, 512, 4)) + list(range(512, 1024, 16))
         + [round(1024 * 2 ** (k / 8)) for k in range(25)])
SHAPES = [("geometric", 1), ("logarithmic", 0), ("negative-binomial", 0.5), ("negative-binomial", 4), ("poisson", math.inf)]
TRIALS = [
    (1.1, 256 / 60000, 14062, 1e-5),
    (1.0, 0.01, 500, 1e-5),
    (4.0, 0.05, 400, 1e-5),
    (10.0, 0.05, 200, 1e-6),
    (2.0, 1.0, 1, 1e-5),
    (30.0, 1.0, 20, 1e-6),
]


def divergence(sigma, q, order):
    """E[((1-q) + q e^((2z-1)/2s^2))^order] over z ~ N(0, s^2), as a log over order-1."""
    if q == 1:
        return order / (2 * sigma**2)
    z = np.linspace(-40 * sigma, 40 * sigma + order + 1, 100_001)
    log_ratio = np.logaddexp(math.log1p(-q), math.log(q) + (2 * z - 1) / (2 * sigma**2))
    log_density = -z**2 / (2 * sigma**2) - math.log(sigma * math.sqrt(2 * math.pi))
    excess = np.exp(log_density + order * log_ratio) - np.exp(log_density + log_ratio)
    # The mean of the ratio is 1, so the excess integrates to A - 1 without cancellation.
    return math.log1p(float(np.trapezoid(excess, z))) / (order - 1)


def event(sigma, rate, steps, delta, mean, shape):
    accountant = rdp.RdpAccountant(WHOLE)
    step = dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(sigma))
    trial = dp_event.SelfComposedDpEvent(step, steps)
    accountant.compose(dp_event.RepeatAndSelectDpEvent(trial, mean=mean, shape=shape))
    return accountant.get_epsilon(delta)


def epsilon(trial, steps, delta, mean, shape):
    orders = np.array(FRACTIONAL + WHOLE, float)
    chosen = rdp._compute_rdp_repeat_and_select(orders, steps * trial, mean, shape)
    return rdp.compute_epsilon(orders, chosen, delta)[0]


rows = []
for sigma, rate, steps, delta in TRIALS:
    whole = rdp._compute_rdp_poisson_subsampled_gaussian(rate, sigma, np.array(WHOLE, float))
    trial = np.concatenate([[divergence(sigma, rate, order) for order in FRACTIONAL], whole])
    for name, shape in SHAPES:
        for mean in [1.5, 20, 100]:
            text = f"{name}:{mean}" + (f",shape={shape}" if name == "negative-binomial" else "")
            rows.append({"trials": text, "noise_multiplier": sigma, "sample_rate": rate, "steps": steps, "delta": delta,
                         "epsilon": epsilon(trial, steps, delta, mean, shape),
                         "event": event(sigma, rate, steps, delta, mean, shape)})
print(json.dumps(rows, indent=1))
