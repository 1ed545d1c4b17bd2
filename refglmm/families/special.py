r"""Gamma-function corners that kernels need and neither numba nor a naive formula gives accurately.

Place in the reading order: after ``kernel``; the distributions build on it. With
:math:`\log\Gamma(k) = (k - \tfrac12)\log k - k + \tfrac12\log 2\pi + \delta(k)` a gamma or negative binomial
density of large shape is a sum of small terms instead of a difference of huge ones, so that it runs
smoothly into its normal or Poisson limit.

Source: Stirling's series for log Gamma and its derivative (Abramowitz and Stegun, 6.1.40 and 6.3.18).
"""

from __future__ import annotations

import math

import numpy as np

from refglmm._jit import inline

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)

#: From here on the first omitted term of either series is below 1e-16.
SERIES_FROM = 10.0


@inline
def stirling_rest(k):
    """delta(k) = log Gamma(k) - (k - 1/2) log k + k - log(2 pi)/2, for k > 0."""
    if k < SERIES_FROM:
        return math.lgamma(k) - (k - 0.5) * np.log(k) + k - HALF_LOG_2PI
    z = 1.0 / (k * k)
    tail = z * (1 / 1188 - z * (691 / 360360 - z / 156))
    return (1 / 12 - z * (1 / 360 - z * (1 / 1260 - z * (1 / 1680 - tail)))) / k


@inline
def _log_minus_digamma_series(k):
    """Return log k - digamma(k) - 1/(2k) for k >= SERIES_FROM."""
    z = 1.0 / (k * k)
    tail = z * (1 / 240 - z * (1 / 132 - z * (691 / 32760 - z / 12)))
    return z * (1 / 12 - z * (1 / 120 - z * (1 / 252 - tail)))


@inline
def log_minus_digamma(k):
    """Return log k - digamma(k), which is positive and about 1/(2k); for k > 0."""
    harmonic, up = 0.0, k
    while up < SERIES_FROM:
        harmonic += 1.0 / up
        up += 1.0
    return harmonic - np.log(up / k) + 0.5 / up + _log_minus_digamma_series(up)


@inline
def log1p_minus(x):
    """Return log(1 + x) - x without cancellation at small x; for x > -1."""
    if abs(x) > 0.1:
        return np.log1p(x) - x
    # log((1 + r)/(1 - r)) = 2 (r + r^3/3 + r^5/5 + ...), and 2r - x = -r x
    r = x / (2.0 + x)
    z = r * r
    odd = 1 / 3 + z * (1 / 5 + z * (1 / 7 + z * (1 / 9 + z * (1 / 11 + z * (1 / 13 + z / 15)))))
    return r * (2.0 * z * odd - x)


@inline
def expm1_minus(x):
    """Return exp(x) - 1 - x without cancellation at small x."""
    if abs(x) > 0.1:
        return np.expm1(x) - x
    tail = x / 6 * (1 + x / 7 * (1 + x / 8 * (1 + x / 9)))
    return 0.5 * x * x * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + tail))))


@inline
def log1p_exp(x):
    """Return log(1 + exp(x)) for any x."""
    return max(x, 0.0) + np.log1p(np.exp(-abs(x)))


@inline
def log_rising(theta, y):
    r"""Return :math:`\log\{\Gamma(\theta + y) / \Gamma(\theta)\} - y\log\theta`, for any size theta."""
    x = y / theta
    if x < 0.5:
        leading = theta * ((1.0 + x) * log1p_minus(x) + x * x)
    else:
        leading = (theta + y) * np.log1p(x) - y
    return leading - 0.5 * np.log1p(x) + (stirling_rest(theta + y) - stirling_rest(theta))
