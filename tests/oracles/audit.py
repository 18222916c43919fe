"""Numbers that the tests of src/audit/statistics hold, by scipy alone.

    python tests/oracles/audit.py

prints: upper Clopper-Pearson bounds as quantiles of the beta distribution; root mean squares of normals as quantiles of
the chi-square distribution; how likely a correlation of independent normals is, by the beta distribution; (epsilon, delta) of unit normals mu apart, by
numerical integration of the hockey-stick divergence; the two-sided 1e-9 quantile of the normal; and lower bounds on
epsilon of the one-run audit, by the theorem of Steinke, Nasr and Jagielski (arXiv 2305.08846, Theorem 5.2).
"""

import numpy as np
from scipy import integrate, optimize, stats


def hockey_stick(mu, epsilon):
    density = stats.norm.pdf
    start = epsilon / mu + mu / 2  # where the densities have the ratio e^epsilon
    gap = lambda x: density(x, loc=mu) - np.exp(epsilon) * density(x)
    return integrate.quad(gap, start, start + 12, epsabs=1e-18, epsrel=1e-13, limit=500)[0]


def one_run_p_value(canaries, made, right, epsilon, delta):
    answers = stats.binom(made, 1 / (1 + np.exp(-epsilon)))
    at_least = answers.sf(right - 1)
    between = np.array([answers.cdf(right - 1) - answers.cdf(right - i - 1) for i in range(1, right + 1)])
    steepest = np.max(between / np.arange(1, right + 1), initial=0)
    return at_least + 2 * canaries * delta * steepest


print("upper bounds")
for count, trials, risk in [(0, 1000, 0.025), (309, 1000, 0.025), (617, 1000, 0.05), (617, 2000, 0.001), (999, 1000, 0.025)]:
    print(count, trials, risk, repr(float(stats.beta.ppf(1 - risk, count + 1, trials - count))))
print("root mean squares of normals")
for count, risk in [(10, 1e-9), (480, 1e-10), (480, 0.05), (1_000_000, 1e-9)]:
    tails = [stats.chi2.ppf(risk / 2, count), stats.chi2.isf(risk / 2, count)]
    print(count, risk, *(repr(float(np.sqrt(tail / count))) for tail in tails))
print("correlations")
for count, r in [(2, 0.999999), (8, 0.99), (48, 0.5), (1000, 0.2), (1_000_000, 0.006), (100, 0.1)]:
    print(count, r, repr(float(stats.beta.sf(r * r, 0.5, (count - 1) / 2))))
print("delta of mu-GDP")
for mu, epsilon in [(1.0, 1.0), (0.5, 0.3), (2.0, 5.0)]:
    print(mu, epsilon, repr(float(hockey_stick(mu, epsilon))))
print("quantile", repr(float(stats.norm.isf(0.5e-9))))
print("Massart", repr(float(np.sqrt(np.log(2 / 0.05) / 200))))
print("one run, delta 1e-5, 95 %")
for canaries, made, right in [
    (1000, 100, 100), (1000, 100, 95), (1000, 100, 80), (1000, 100, 70), (10_000, 1000, 1000), (10_000, 1000, 950), (100, 20, 20),
]:
    refuted = lambda epsilon: one_run_p_value(canaries, made, right, epsilon, 1e-5) - 0.05
    print(canaries, made, right, round(optimize.brentq(refuted, 0, 30, xtol=1e-10), 6))
