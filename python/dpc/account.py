"""What batches sampled at random (Poisson) and noise cost, by the bounds that certificates have.

Every argument may be a number or an array; arrays are broadcast against each other, and the result has their shape.
"""

from . import _dpc


def epsilon(sample_rate, noise_multiplier, steps, delta):
    """ε of `steps` steps at this δ."""
    return _over(_dpc.account_epsilon, sample_rate, noise_multiplier, steps, delta)


def noise_multiplier(sample_rate, epsilon, steps, delta):
    """The least noise multiplier that keeps `steps` steps to (ε, δ)."""
    return _over(_dpc.account_noise_multiplier, sample_rate, epsilon, steps, delta)


def _over(function, sample_rate, amount, steps, delta):
    if all(isinstance(value, (int, float)) for value in (sample_rate, amount, steps, delta)):
        return function(sample_rate, amount, int(steps), delta)
    import numpy as np

    def one(sample_rate, amount, steps, delta):
        return function(float(sample_rate), float(amount), int(steps), float(delta))

    # The accountant's own arithmetic may overflow on the way, which NumPy would warn of.
    with np.errstate(all="ignore"):
        found = np.vectorize(one, otypes=[float])(sample_rate, amount, steps, delta)
    return found.item() if found.ndim == 0 else found
