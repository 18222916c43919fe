"""Writes the golden files of the accountants, tests/golden/*.json, one to a mode:

    pip install dp-accounting==0.6.0 opacus==1.6.0 mpmath
    python tests/oracles/accounting.py rdp    > tests/golden/rdp.json
    python tests/oracles/accounting.py known  > tests/golden/known.json
    python tests/oracles/accounting.py random > tests/golden/random.json
    python tests/oracles/accounting.py floors > tests/golden/floors.json

rdp: Renyi divergences and epsilons of random mechanisms. The divergences come from numerical integration
(mpmath), under replace-one adjacency too; the epsilons from Google's dp_accounting with its own divergences
at integer orders and the integrated ones at fractional orders, where its own are upper bounds.

known: settings of well-known tutorials, tests and papers by dp_accounting's RDP and PLD accountants and by
Opacus's PRV accountant, and sampling without replacement by dp_accounting's RDP accountant.

random: 500 random mechanisms by dp_accounting's RDP and PLD accountants; also with a finer grid where the
rounding of the default one shows.

floors: what the PLD epsilons of the known and of the random settings, in their order, and of further settings with
low rates, are not below: `optimistic` by dp_accounting's optimistic estimate, where a grid that is fine enough for
it is not too large; `extrapolated` to a grid of interval 0 from two pessimistic estimates, whose rounding grows with
the square of it; for add-remove and replace-one.
"""

import json
import math
import multiprocessing
import pathlib
import random
import sys

import mpmath
import numpy as np
from dp_accounting import dp_event, pld
from dp_accounting.pld import privacy_loss_distribution
from dp_accounting.privacy_accountant import NeighboringRelation
from dp_accounting.rdp import rdp_privacy_accountant as rdp

ADD_REMOVE, REPLACE_ONE = NeighboringRelation.ADD_OR_REMOVE_ONE, NeighboringRelation.REPLACE_ONE

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


def replaced(sigma, q, order):
    """The divergence of (1-q) N(0, s^2) + q N(1, s^2) from (1-q) N(0, s^2) + q N(-1, s^2)."""
    mpmath.mp.dps = 30
    s, q, order = mpmath.mpf(sigma), mpmath.mpf(q), mpmath.mpf(order)

    def integrand(z):
        plus = (1 - q) + q * mpmath.exp((2 * z - 1) / (2 * s**2))
        minus = (1 - q) + q * mpmath.exp((-2 * z - 1) / (2 * s**2))
        return mpmath.npdf(z, 0, s) * plus**order * minus**(1 - order)

    ends = [k * s for k in range(-16, 17, 2)] + [(2 * order - 1) + k * s for k in range(-16, 17, 2)]
    ends += [order + k * s for k in range(-16, 17, 2)]
    return float(mpmath.log(mpmath.quad(integrand, sorted(ends))) / (order - 1))


def composed(accountant, event, steps, delta):
    accountant.compose(event, steps)
    return accountant.get_epsilon(delta)


def poisson(sigma, q):
    return dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(sigma))


def by_google(sigma, q, steps, delta):
    event = poisson(sigma, q)
    return {"noise_multiplier": sigma, "sample_rate": q, "steps": steps, "delta": delta,
            "rdp": composed(rdp.RdpAccountant(), event, steps, delta),
            "pld": composed(pld.PLDAccountant(ADD_REMOVE), event, steps, delta),
            "pld_replace_one": composed(pld.PLDAccountant(REPLACE_ONE), event, steps, delta)}


def refined(row):
    """The row, with the PLD epsilons on a finer grid where the rounding of the customary one shows."""
    row = dict(row)
    for name, adjacency in [("pld", ADD_REMOVE), ("pld_replace_one", REPLACE_ONE)]:
        rounding = row["steps"] * 1e-8 * -math.log(row["delta"]) / (6 * row[name] ** 2)
        if rounding > 2e-3 and row["sample_rate"] < 1:
            interval = 1e-4 * math.sqrt(2e-3 / rounding)
            event = poisson(row["noise_multiplier"], row["sample_rate"])
            accountant = pld.PLDAccountant(adjacency, interval)
            row[name + "_fine"] = composed(accountant, event, row["steps"], row["delta"])
    return row


def by_opacus(sigma, q, steps, delta):
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(sigma, q, steps)]
    return {"noise_multiplier": sigma, "sample_rate": q, "steps": steps, "delta": delta,
            "prv": accountant.get_epsilon(delta)}


def without_replacement(sigma, batch, records, steps, delta):
    """sigma is a multiple of what replacing a record can do to the sum, as in dp_accounting."""
    event = dp_event.SampledWithoutReplacementDpEvent(records, batch, dp_event.GaussianDpEvent(sigma))
    return {"noise_multiplier": sigma, "batch": batch, "records": records, "steps": steps, "delta": delta,
            "rdp": composed(rdp.RdpAccountant(neighboring_relation=REPLACE_ONE), event, steps, delta)}


KNOWN = [
    (1.1, 256 / 60000, 14062, 1e-5), (1.3, 250 / 60000, 3600, 1e-5), (1.3, 0.0025, 6000, 1e-5),
    (1.3, 256 / 60000, 3510, 1e-5), (1.5, 0.04, 2250, 1e-5), (1.54, 0.02048, 1470, 1e-5),
    (1.23, 512 / 60000, 4720, 1e-5), (4.05, 8192 / 60000, 320, 1e-5), (0.8, 0.05, 100, 1e-6),
    (1.5, 0.001, 1000, 1e-6), (3.0, 0.1, 512, 1e-6), (1.0, 0.01, 1000, 1e-5), (1.0, 1.0, 1, 1e-5),
    (10.0, 1.0, 100, 1e-5), (1.0, 1e-4, 100000, 1e-6), (0.5, 0.01, 1000, 1e-5), (20.0, 0.5, 2000, 1e-5),
    (2.0, 64 / 1437, 660, 1e-4), (10.0, 4096 / 50000, 875, 1e-5),
]
OPACUS = [(sigma, q, steps, 1e-6)
          for q, steps in [(0.001, 100), (0.05, 100), (0.2, 100), (0.001, 1000), (0.05, 1000), (0.001, 20000),
                           (0.05, 20000), (0.001, 50000), (0.05, 50000)]
          for sigma in [0.8, 1.5, 2.0, 3.0] if (q, steps, sigma) not in [(0.05, 20000, 0.8), (0.05, 50000, 0.8)]]
FIXED_SIZE = [
    (1.1, 256, 60000, 14062, 1e-5), (2.2, 256, 60000, 14062, 1e-5), (1.0, 64, 1437, 660, 1e-4),
    (5.0, 512, 50000, 5000, 1e-5), (0.6, 10, 10000, 2000, 1e-6), (2.0, 1000, 1000, 50, 1e-5),
]


def random_google(rng):
    """One with an epsilon that somebody might accept."""
    while True:
        sigma = round(10 ** rng.uniform(-0.3, 1.5), 4)
        q = 1.0 if rng.random() < 0.03 else round(10 ** rng.uniform(-4, -0.05), 6)
        steps = round(10 ** rng.uniform(0, 5))
        delta = float(f"{10 ** rng.uniform(-9, -3):.3g}")
        if 0.1 < composed(rdp.RdpAccountant(orders=[2, 4, 8, 16, 32, 64, 128]), poisson(sigma, q), steps, delta) < 30:
            row = by_google(sigma, q, steps, delta)
            if row["pld"] > 0.1:
                return refined(row)


GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
LOW_RATES = [(1.0, 1e-5, 1_000_000, 1e-6), (0.6, 1e-5, 1_000_000, 1e-9)]


def by_grid(row, adjacency, interval, pessimistic):
    distribution = privacy_loss_distribution.from_gaussian_mechanism(
        row["noise_multiplier"], sampling_prob=row["sample_rate"], value_discretization_interval=interval,
        pessimistic_estimate=pessimistic, use_connect_dots=pessimistic, neighboring_relation=adjacency)
    return distribution.self_compose(row["steps"]).get_epsilon_for_delta(row["delta"])


def floor(row, adjacency, about):
    """About is the epsilon, roughly."""
    steps = row["steps"]
    interval = min(math.sqrt(2e-3 * 6 * about**2 / (steps * -math.log(row["delta"]))), 0.02)
    coarse, fine = (by_grid(row, adjacency, interval / halved, True) for halved in (1, 2))
    found = {"extrapolated": fine - (coarse - fine) / 3}
    interval = 2e-3 * about / steps
    if (2 * about + 20) / interval < 3e5:
        found["optimistic"] = by_grid(row, adjacency, interval, False)
    return found


def floors(row):
    named = [("add_remove", "pld", ADD_REMOVE), ("replace_one", "pld_replace_one", REPLACE_ONE)]
    return {name: floor(row, adjacency, row.get(field + "_fine", row[field])) for name, field, adjacency in named}


def low_rate(setting):
    row = dict(zip(["noise_multiplier", "sample_rate", "steps", "delta"], setting))
    for field, adjacency in [("pld", ADD_REMOVE), ("pld_replace_one", REPLACE_ONE)]:
        row[field] = by_grid(row, adjacency, 1e-5, True)
    return {**row, **floors(row)}


def rows(name, found):
    text = ",\n".join(json.dumps(row) for row in found)
    return f'"{name}": [\n{text}\n]'


def main(mode):
    rng = random.Random(20260)
    if mode == "rdp":
        steps = [step(rng) for _ in range(30)]
        mechanisms = [mechanism(rng) for _ in range(60)]
        exchanged = [{**drawn, "rdp": replaced(drawn["noise_multiplier"], drawn["sample_rate"], drawn["order"])}
                     for drawn in (step(rng) for _ in range(30))]
        parts = [rows("steps", steps), rows("mechanisms", mechanisms), rows("replace_one_steps", exchanged)]
    elif mode == "known":
        parts = [rows("google", (by_google(*row) for row in KNOWN)), rows("opacus", (by_opacus(*row) for row in OPACUS)),
                 rows("fixed_size", (without_replacement(*row) for row in FIXED_SIZE))]
    elif mode == "random":
        parts = [rows("google", (random_google(rng) for _ in range(500)))]
    elif mode == "floors":
        known, drawn = (json.loads((GOLDEN / f"{name}.json").read_text())["google"] for name in ("known", "random"))
        with multiprocessing.Pool() as pool:
            parts = [rows("known", pool.imap(floors, known)), rows("random", pool.imap(floors, drawn)),
                     rows("low_rates", pool.imap(low_rate, LOW_RATES))]
    else:
        raise SystemExit(__doc__)
    sys.stdout.write("{" + ",\n".join(parts) + "}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
