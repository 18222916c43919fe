"""What batches sampled at random (Poisson) and noise cost, by the bounds that certificates have.

Every argument may be a number or an array; arrays are broadcast against each other, and the result has their shape.
`accountant` is "pld" (privacy loss distributions, the tightest), "rdp", "prv", or "gdp", which is no bound.
"""

from . import _dpc


def epsilon(sample_rate, noise_multiplier, steps, delta, accountant="pld"):
    """ε of `steps` steps at this δ."""
    return _over(_dpc.account_epsilon, sample_rate, noise_multiplier, steps, delta, accountant)


def noise_multiplier(sample_rate, epsilon, steps, delta, accountant="pld"):
    """The least noise multiplier that keeps `steps` steps to (ε, δ)."""
    return _over(_dpc.account_noise_multiplier, sample_rate, epsilon, steps, delta, accountant)


def _over(function, sample_rate, amount, steps, delta, accountant):
    if all(isinstance(value, (int, float)) for value in (sample_rate, amount, steps, delta)):
        return function(sample_rate, amount, int(steps), delta, accountant)
    import numpy as np

    def one(sample_rate, amount, steps, delta):
        return function(float(sample_rate), float(amount), int(steps), float(delta), accountant)

    # The accountant's own arithmetic may overflow on the way, which NumPy would warn of.
    with np.errstate(all="ignore"):
        found = np.vectorize(one, otypes=[float])(sample_rate, amount, steps, delta)
    return found.item() if found.ndim == 0 else found
