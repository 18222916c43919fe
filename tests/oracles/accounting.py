"""Writes tests/golden/rdp.json: Renyi divergences and epsilons of random mechanisms.

The divergences come from numerical integration (mpmath), the epsilons from Google's dp_accounting with
its own divergences at integer orders and the integrated ones at fractional orders, where its own are
upper bounds.

    pip install dp-accounting==0.6.0 mpmath
    python tests/oracles/accounting.py > tests/golden/rdp.json
"""

import json
import math
import random
import sys

import mpmath
import numpy as np
from dp_accounting.rdp import rdp_privacy_accountant as rdp

FRACTIONAL = [1.01, 1.02, 1.05] + [x / 20 for x in range(22, 200) if x % 20]
INTEGER = (list(range(2, 513)) + list(range(520, 1024, 8))
           + [round(1024 * 2 ** (k / 16)) for k in range(49)])


def divergence(sigma, q, order):
    """E[((1-q) + q e^((2z-1)/2s^2))^order] over z ~ N(0, s^2), as a log over order-1."""
    z = np.linspace(-40 * sigma, 40 * sigma + order + 1, 40_001)
    log_ratio = np.logaddexp(math.log1p(-q), math.log(q) + (2 * z - 1) / (2 * sigma**2))
    log_density = -z**2 / (2 * sigma**2) - math.log(sigma * math.sqrt(2 * math.pi))
    excess = np.exp(log_density + order * log_ratio) - np.exp(log_density + log_ratio)
    # The mean of the ratio is 1, so the excess integrates to A - 1 without cancellation.
    return math.log1p(float(np.trapezoid(excess, z))) / (order - 1)


def exact_divergence(sigma, q, order):
    """The same to many digits."""
    mpmath.mp.dps = 30
    s, q, order = mpmath.mpf(sigma), mpmath.mpf(q), mpmath.mpf(order)

    def integrand(z):
        ratio = (1 - q) + q * mpmath.exp((2 * z - 1) / (2 * s**2))
        return mpmath.npdf(z, 0, s) * ratio**order

    ends = [k * s for k in range(-16, 17, 2)] + [order + k * s for k in range(-16, 17, 2)]
    return float(mpmath.log(mpmath.quad(integrand, sorted(ends))) / (order - 1))


def epsilon(sigma, q, steps, delta):
    orders = FRACTIONAL + INTEGER
    if q == 1:
        step = [order / (2 * sigma**2) for order in orders]
    else:
        step = [divergence(sigma, q, order) for order in FRACTIONAL]
        step += list(rdp._compute_rdp_poisson_subsampled_gaussian(q, sigma, INTEGER))
    return rdp.compute_epsilon(orders, [steps * value for value in step], delta)[0]


def mechanism(rng):
    """One with an epsilon that somebody might accept."""
    while True:
        sigma = round(10 ** rng.uniform(-0.4, 1.5), 4)
        q = 1.0 if rng.random() < 0.05 else round(10 ** rng.uniform(-4, -0.05), 6)
        steps = round(10 ** rng.uniform(0, 5))
        delta = float(f"{10 ** rng.uniform(-9, -3):.3g}")
        found = epsilon(sigma, q, steps, delta)
        if 0.01 < found < 50:
            return {"noise_multiplier": sigma, "sample_rate": q, "steps": steps,
                    "delta": delta, "epsilon": found}


def step(rng):
    sigma = round(10 ** rng.uniform(-0.4, 1.3), 4)
    q = round(10 ** rng.uniform(-3, -0.05), 6)
    order = round(rng.uniform(1.01, 16), 2)
    return {"noise_multiplier": sigma, "sample_rate": q, "order": order,
            "rdp": exact_divergence(sigma, q, order)}


def main():
    rng = random.Random(20260)
    lines = lambda rows: ",\n".join(json.dumps(row) for row in rows)
    steps = lines(step(rng) for _ in range(30))
    mechanisms = lines(mechanism(rng) for _ in range(60))
    sys.stdout.write(f'{{"steps": [\n{steps}\n],\n"mechanisms": [\n{mechanisms}\n]}}\n')


if __name__ == "__main__":
    main()
