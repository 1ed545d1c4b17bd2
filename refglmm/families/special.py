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

from refglmm._jit import inline, kernel

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)

#: From here on the first omitted term of either series is below 1e-16.
SERIES_FROM = 10.0


#: Up to here log(1 + x) - x comes from its series.
NEAR = 0.2
#: From this count (or number of trials) on, densities are written as the saturated one minus half the deviance:
#: below, the rounding of y log mu stays under 1e-12, and this costs up to three times as much.
LARGE = 1000.0


@inline
def stirling_series(k):
    """delta(k) = log Gamma(k) - (k - 1/2) log k + k - log(2 pi)/2 for k >= SERIES_FROM; scalar or array."""
    z = 1.0 / (k * k)
    tail = z * (1 / 1188 - z * (691 / 360360 - z / 156))
    return (1 / 12 - z * (1 / 360 - z * (1 / 1260 - z * (1 / 1680 - tail)))) / k


@inline
def _shift(k):
    """Return up = k + steps >= SERIES_FROM, steps, and k (k+1) ... (up-1) / up^steps, for k < SERIES_FROM.

    Then log Gamma(k) = log Gamma(up) - steps log(up) - log(ratio). math.lgamma would do, but the compiler cannot
    drop it where only derivatives are wanted; a counted loop it can.
    """
    steps = math.ceil(SERIES_FROM - k)
    up = k + steps
    product, power = 1.0, 1.0
    for j in range(steps):
        product *= k + j
        power *= up
    return up, steps, product / power


@inline
def stirling_rest(k):
    """delta(k) of :func:`stirling_series`, for any k > 0."""
    if k >= SERIES_FROM:
        return stirling_series(k)
    up, steps, ratio = _shift(k)
    return stirling_series(up) + (k - 0.5) * np.log(up / k) - np.log(ratio) - steps


@kernel
def stirling_rests(k):
    """:func:`stirling_rest` of every element of a vector; nan where k is zero.

    Not from scipy.special, because to load that takes longer than a small fit.
    """
    out = np.empty(k.size)
    for i in range(k.size):
        out[i] = stirling_rest(k[i]) if k[i] > 0.0 else np.nan
    return out


@inline
def log_stirling_constant(k):
    """Return k log k - k - log Gamma(k), for any k > 0."""
    if k >= SERIES_FROM:
        return 0.5 * np.log(k) - HALF_LOG_2PI - stirling_series(k)
    up, steps, ratio = _shift(k)
    return k * np.log(k / up) + np.log(ratio * np.sqrt(up)) - HALF_LOG_2PI - stirling_series(up) + steps


@inline
def _log_minus_digamma_series(k):
    """Return log k - digamma(k) - 1/(2k) for k >= SERIES_FROM."""
    z = 1.0 / (k * k)
    tail = z * (1 / 240 - z * (1 / 132 - z * (691 / 32760 - z / 12)))
    return z * (1 / 12 - z * (1 / 120 - z * (1 / 252 - tail)))


@inline
def log_minus_digamma(k):
    """Return log k - digamma(k), which is positive and about 1/(2k); for k > 0."""
    if k >= SERIES_FROM:
        return 0.5 / k + _log_minus_digamma_series(k)
    steps = math.ceil(SERIES_FROM - k)
    up, harmonic = k + steps, 0.0
    for j in range(steps):
        harmonic += 1.0 / (k + j)
    return harmonic - np.log(up / k) + 0.5 / up + _log_minus_digamma_series(up)


@inline
def near_excess(k, d):
    """Return k log(1 + d/k) - d for abs(d) <= NEAR * k; scalar or array."""
    # log((1 + r)/(1 - r)) = 2 (r + r^3/3 + r^5/5 + ...), and 2r - x = -r x with x = d/k
    r = d / (2.0 * k + d)
    z = r * r
    tail = z * (1 / 13 + z * (1 / 15 + z * (1 / 17 + z / 19)))
    odd = 1 / 3 + z * (1 / 5 + z * (1 / 7 + z * (1 / 9 + z * (1 / 11 + tail))))
    return r * (2.0 * k * z * odd - d)


@inline
def log1p_minus(x):
    """Return log(1 + x) - x without cancellation at small x; for x > -1."""
    return near_excess(1.0, x) if abs(x) <= NEAR else np.log1p(x) - x


@inline
def expm1_minus(x, exp_x):
    """Return exp(x) - 1 - x without cancellation at small x, given exp(x)."""
    if abs(x) > 0.1:
        return exp_x - 1.0 - x
    tail = x / 6 * (1 + x / 7 * (1 + x / 8 * (1 + x / 9)))
    return 0.5 * x * x * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + tail))))


@inline
def log_rising(theta, y):
    r"""Return :math:`\log\{\Gamma(\theta + y) / \Gamma(\theta)\} - y\log\theta`, for any size theta."""
    if y < 2.0 and (y == 0.0 or y == 1.0):
        return 0.0
    if y < SERIES_FROM and y == math.floor(y) and theta > 1e-30:
        product, step = 1.0, 1.0 / theta
        for j in range(1, int(y)):
            product *= 1.0 + j * step
        return np.log(product)
    x = y / theta
    growth = np.log1p(x)
    if x < 0.5:
        leading = theta * ((1.0 + x) * log1p_minus(x) + x * x)
    else:
        leading = (theta + y) * growth - y
    return leading - 0.5 * growth + (stirling_rest(theta + y) - stirling_rest(theta))


@inline
def digamma_growth(theta, y):
    r"""Return :math:`\psi(\theta + y) - \psi(\theta) - \log(1 + y/\theta)`, for any size theta."""
    if theta >= SERIES_FROM or y >= SERIES_FROM or y != math.floor(y):
        return log_minus_digamma(theta) - log_minus_digamma(theta + y)
    harmonic = 0.0
    for j in range(int(y)):
        harmonic += 1.0 / (theta + j)
    return harmonic - np.log1p(y / theta)


@inline
def polygammas(x):
    r"""Return :math:`\psi(x), \psi'(x), \psi''(x)` for x > 0 (nan elsewhere).

    Recurrence up to ``SERIES_FROM``, from there the asymptotic series (Abramowitz and Stegun, 6.3.18 and 6.4.11).
    """
    steps = math.ceil(SERIES_FROM - x) if 0.0 < x < SERIES_FROM else 0
    up, d0, d1, d2 = x + steps, 0.0, 0.0, 0.0
    for j in range(steps):
        r = 1.0 / (x + j)
        d0 -= r
        d1 += r * r
        d2 -= 2.0 * r * r * r
    r = 1.0 / up
    z = r * r
    tail = z * (1 / 132 - z * (691 / 32760 - z * (1 / 12 - z * (3617 / 8160))))
    d0 += np.log(up) - 0.5 * r - z * (1 / 12 - z * (1 / 120 - z * (1 / 252 - z * (1 / 240 - tail))))
    tail = z * (5 / 66 - z * (691 / 2730 - z * (7 / 6 - z * (3617 / 510))))
    d1 += r + 0.5 * z + r * z * (1 / 6 - z * (1 / 30 - z * (1 / 42 - z * (1 / 30 - tail))))
    tail = z * (5 / 6 - z * (691 / 210 - z * (35 / 2 - z * (3617 / 30))))
    d2 -= z * (1.0 + r + z * (1 / 2 - z * (1 / 6 - z * (1 / 6 - z * (3 / 10 - tail)))))
    return (d0, d1, d2) if x > 0.0 else (np.nan, np.nan, np.nan)
