"""Writes tests/golden/pld.json: epsilons and deltas of compositions.

`histories`: Google's dp_accounting. Its discretisation adds an error in proportion to the square of the grid's
interval, so that `epsilon` is extrapolated to interval 0 from two fine grids; `epsilon_at_1e-4` is what it
says by default.
`pairs`: deltas of two different steps with add-remove neighbours, by numerical integration of the loss of the
first over the exact divergence of the second.

    pip install dp-accounting==0.6.0 mpmath
    python tests/oracles/pld.py > tests/golden/pld.json
"""

import json
import math
import random
import sys

import dp_accounting as dp
import mpmath
from dp_accounting import pld

NEIGHBOURS = {"add-remove": dp.NeighboringRelation.ADD_OR_REMOVE_ONE,
              "replace-one": dp.NeighboringRelation.REPLACE_ONE}


def epsilon(steps, neighbours, delta, interval):
    accountant = pld.PLDAccountant(NEIGHBOURS[neighbours], interval)
    for sigma, q, count in steps:
        gaussian = dp.GaussianDpEvent(sigma)
        accountant.compose(gaussian if q == 1 else dp.PoissonSampledDpEvent(q, gaussian), count)
    return accountant.get_epsilon(delta)


def history(rng, kinds):
    while True:
        steps = []
        for _ in range(kinds):
            sigma = round(10 ** rng.uniform(-0.1, 1.2), 4)
            q = 1.0 if rng.random() < 0.05 else round(10 ** rng.uniform(-3.5, -0.1), 6)
            steps.append((sigma, q, round(10 ** rng.uniform(0, 3.2))))
        neighbours = rng.choice(list(NEIGHBOURS))
        delta = float(f"{10 ** rng.uniform(-10, -3):.3g}")
        default = epsilon(steps, neighbours, delta, 1e-4)
        if not 0.02 < default < 8:
            continue
        fine, finer = (epsilon(steps, neighbours, delta, interval) for interval in (4e-5, 2e-5))
        return {"steps": steps, "adjacency": neighbours, "delta": delta,
                "epsilon": finer - (fine - finer) / 3, "epsilon_at_1e-4": default}


def divergence(sigma, q, removed, epsilon):
    """The exact one of a single step, for any sign of epsilon."""
    if not removed:
        return 1 - mpmath.exp(epsilon) + mpmath.exp(epsilon) * divergence(sigma, q, True, -epsilon)
    if mpmath.exp(epsilon) <= 1 - q:
        return 1 - mpmath.exp(epsilon)
    alpha = 1 + (mpmath.exp(epsilon) - 1) / q
    shift = 1 / sigma
    tail = lambda y: mpmath.erfc(y / mpmath.sqrt(2)) / 2
    cut = mpmath.log(alpha) / shift
    return q * (tail(cut - shift / 2) - alpha * tail(cut + shift / 2))


def pair(rng):
    mpmath.mp.dps = 30
    (s1, q1), (s2, q2) = ((round(rng.uniform(0.5, 3), 3), round(10 ** rng.uniform(-3, -0.1), 5)) for _ in range(2))
    epsilon = round(rng.uniform(0.05, 6), 4)
    worst = mpmath.mpf(0)
    for removed in (True, False):
        def integrand(y):
            loss = mpmath.log(1 - q1 + q1 * mpmath.exp((2 * y - 1) / (2 * mpmath.mpf(s1) ** 2)))
            density = mpmath.npdf(y, 0, s1)
            if removed:
                density = (1 - q1) * density + q1 * mpmath.npdf(y, 1, s1)
            else:
                loss = -loss
            return density * divergence(mpmath.mpf(s2), mpmath.mpf(q2), removed, mpmath.mpf(epsilon) - loss)
        points = [k * s1 for k in range(-16, 17, 1)] + [1 + k * s1 for k in range(8, 25, 2)]
        worst = max(worst, mpmath.quad(integrand, sorted(points)))
    return {"steps": [(s1, q1), (s2, q2)], "epsilon": epsilon, "delta": float(worst)}


def main():
    rng = random.Random(2207)
    histories = [history(rng, 1) for _ in range(28)] + [history(rng, rng.randint(2, 4)) for _ in range(12)]
    pairs = [pair(rng) for _ in range(12)]
    pairs = [row for row in pairs if row["delta"] > 1e-40]
    lines = lambda rows: ",\n".join(json.dumps(row) for row in rows)
    sys.stdout.write(f'{{"histories": [\n{lines(histories)}\n],\n"pairs": [\n{lines(pairs)}\n]}}\n')


if __name__ == "__main__":
    main()
