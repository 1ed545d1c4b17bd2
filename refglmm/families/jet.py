r"""Third-order Taylor arithmetic in two variables: a log density written once, all its derivatives with it.

Place in the reading order: after ``elementary``, before the distributions.

A *jet* is the tuple of a function's value and its partial derivatives up to order three in two variables,

.. math:: (f,\; f_1,\; f_2,\; f_{11},\; f_{12},\; f_{22},\; f_{111},\; f_{112},\; f_{122},\; f_{222}) .

A family whose log density has no short third derivatives writes it as a function of jets. Whoever calls it says what
the two variables are: the linear predictor and a shape parameter, or the linear predictors of the mean and of the
dispersion. Everything is inlined plain arithmetic, so the compiler drops the derivatives that a caller does not read.

Source: Leibniz's rule for products; Faa di Bruno's formula, third order, for compositions:

.. math::
    h = g(f):\quad h_i = g' f_i,\quad h_{ij} = g'' f_i f_j + g' f_{ij},\quad
    h_{ijk} = g''' f_i f_j f_k + g''(f_{ij} f_k + f_{ik} f_j + f_{jk} f_i) + g' f_{ijk}
"""

from __future__ import annotations

import math

import numpy as np

from refglmm._jit import inline
from refglmm.families.special import (
    HALF_LOG_2PI,
    SERIES_FROM,
    log1p_minus,
    log_rising,
    polygammas,
    stirling_rest,
    stirling_slopes,
)

#: Positions in a jet.
F, F1, F2, F11, F12, F22, F111, F112, F122, F222 = range(10)

#: Coefficients of x^2, x^4, ... in log(sinh(x/2)/(x/2)): B_n / (n n!), n = 2, 4, ...
_LOG_SINHC = np.array(
    [
        1 / 24,
        -1 / 2880,
        1 / 181440,
        -1 / 9676800,
        1 / 479001600,
        -691 / 15692092416000,
        1 / 1046139494400,
        -3617 / 170729965486080000,
        43867 / 91963695909076992000,
    ]
)


@inline
def constant(c):
    """Return a jet that does not move."""
    return (c, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@inline
def first_variable(x):
    """Return the jet of the first variable at x."""
    return (x, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@inline
def second_variable(x):
    """Return the jet of the second variable at x."""
    return (x, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@inline
def add(f, g):
    """Return f + g."""
    return (
        f[0] + g[0],
        f[1] + g[1],
        f[2] + g[2],
        f[3] + g[3],
        f[4] + g[4],
        f[5] + g[5],
        f[6] + g[6],
        f[7] + g[7],
        f[8] + g[8],
        f[9] + g[9],
    )


@inline
def subtract(f, g):
    """Return f - g."""
    return add(f, times(-1.0, g))


@inline
def times(c, f):
    """Return c f for a number c."""
    return (c * f[0], c * f[1], c * f[2], c * f[3], c * f[4], c * f[5], c * f[6], c * f[7], c * f[8], c * f[9])


@inline
def shift(f, c):
    """Return f + c for a number c."""
    return (f[0] + c, f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8], f[9])


@inline
def multiply(f, g):
    """Return f g."""
    return (
        f[0] * g[0],
        f[1] * g[0] + f[0] * g[1],
        f[2] * g[0] + f[0] * g[2],
        f[3] * g[0] + 2.0 * f[1] * g[1] + f[0] * g[3],
        f[4] * g[0] + f[1] * g[2] + f[2] * g[1] + f[0] * g[4],
        f[5] * g[0] + 2.0 * f[2] * g[2] + f[0] * g[5],
        f[6] * g[0] + 3.0 * (f[3] * g[1] + f[1] * g[3]) + f[0] * g[6],
        f[7] * g[0] + f[3] * g[2] + 2.0 * (f[4] * g[1] + f[1] * g[4]) + f[2] * g[3] + f[0] * g[7],
        f[8] * g[0] + f[5] * g[1] + 2.0 * (f[4] * g[2] + f[2] * g[4]) + f[1] * g[5] + f[0] * g[8],
        f[9] * g[0] + 3.0 * (f[5] * g[2] + f[2] * g[5]) + f[0] * g[9],
    )


@inline
def compose(f, g0, g1, g2, g3):
    """Return g(f), from the value and three derivatives of g at the value of f."""
    return (
        g0,
        g1 * f[1],
        g1 * f[2],
        g2 * f[1] * f[1] + g1 * f[3],
        g2 * f[1] * f[2] + g1 * f[4],
        g2 * f[2] * f[2] + g1 * f[5],
        g3 * f[1] * f[1] * f[1] + 3.0 * g2 * f[1] * f[3] + g1 * f[6],
        g3 * f[1] * f[1] * f[2] + g2 * (f[3] * f[2] + 2.0 * f[4] * f[1]) + g1 * f[7],
        g3 * f[1] * f[2] * f[2] + g2 * (f[5] * f[1] + 2.0 * f[4] * f[2]) + g1 * f[8],
        g3 * f[2] * f[2] * f[2] + 3.0 * g2 * f[2] * f[5] + g1 * f[9],
    )


@inline
def exp_of(f):
    """Return e^f."""
    e = np.exp(f[0])
    return compose(f, e, e, e, e)


@inline
def log_of(f):
    """Return log f for f > 0 (nan elsewhere)."""
    r = 1.0 / f[0]
    return compose(f, np.log(f[0]), r, -r * r, 2.0 * r * r * r)


@inline
def log1p_of(f):
    """Return log(1 + f) for f > -1, accurate where f is small."""
    r = 1.0 / (1.0 + f[0])
    return compose(f, np.log1p(f[0]), r, -r * r, 2.0 * r * r * r)


@inline
def reciprocal(f):
    """Return 1/f."""
    r = 1.0 / f[0]
    return compose(f, r, -r * r, 2.0 * r * r * r, -6.0 * r * r * r * r)


@inline
def divide(f, g):
    """Return f/g."""
    return multiply(f, reciprocal(g))


@inline
def square(f):
    """Return f^2."""
    return compose(f, f[0] * f[0], 2.0 * f[0], 2.0, 0.0)


@inline
def sqrt_of(f):
    """Return the square root of f > 0."""
    root = np.sqrt(f[0])
    g1 = 0.5 / root
    return compose(f, root, g1, -0.5 * g1 / f[0], 0.75 * g1 / (f[0] * f[0]))


@inline
def logistic_of(f):
    """Return 1/(1 + e^-f)."""
    e = np.exp(-abs(f[0]))
    small, large = e / (1.0 + e), 1.0 / (1.0 + e)
    p, q = (large, small) if f[0] > 0.0 else (small, large)
    pq = p * q
    return compose(f, p, pq, pq * (q - p), pq * (1.0 - 6.0 * pq))


@inline
def softplus_of(f):
    """Return log(1 + e^f), without overflow; its derivative is the logistic function."""
    e = np.exp(-abs(f[0]))
    small, large = e / (1.0 + e), 1.0 / (1.0 + e)
    p, q = (large, small) if f[0] > 0.0 else (small, large)
    pq = p * q
    value = np.log1p(e) + (f[0] if f[0] > 0.0 else 0.0)
    return compose(f, value, p, pq, pq * (q - p))


@inline
def positive(f):
    """Return f where it is positive, else a jet that is not finite."""
    return f if f[0] > 0.0 else constant(np.nan)


@inline
def log_gamma(x):
    """Return log Gamma(x) for x > 0; plain arithmetic, so that the compiler can drop it (math.lgamma it cannot)."""
    return (x - 0.5) * np.log(x) - x + HALF_LOG_2PI + stirling_rest(x)


@inline
def log_gamma_of(f):
    """Return log Gamma(f) for f > 0."""
    d1, d2, d3 = polygammas(f[0])
    return compose(f, log_gamma(f[0]), d1, d2, d3)


@inline
def compose_two(f, g, h):
    """Return h(f, g), from the jet h whose variables are the values of f and g (Taylor's polynomial, Horner)."""
    df, dg = shift(f, -f[0]), shift(g, -g[0])
    second_f = shift(add(times(h[6] / 6.0, df), times(0.5 * h[7], dg)), 0.5 * h[3])
    second_g = shift(add(times(h[9] / 6.0, dg), times(0.5 * h[8], df)), 0.5 * h[5])
    of_f = shift(add(multiply(df, second_f), times(h[4], dg)), h[1])
    of_g = shift(multiply(dg, second_g), h[2])
    return shift(add(multiply(df, of_f), multiply(dg, of_g)), h[0])


@inline
def log_rising_of(log_f, k):
    r"""Return :math:`R = \log\{\Gamma(f + k)/\Gamma(f)\} - k\log f` from a jet of log f, for a number k >= 0.

    It vanishes as f grows, and so do its derivatives, with all their digits: no difference of large log gammas. From
    log f, because the derivatives in f itself overflow where f is tiny.
    """
    x = np.exp(log_f[0])
    if k < SERIES_FROM and k == math.floor(k):
        d1, d2, d3 = _rising_by_factors(x, k)
    else:
        d1, d2, d3 = _rising_by_series(x, k) if x >= SERIES_FROM else _rising_by_polygammas(x, k)
    return compose(log_f, log_rising(x, k), d1, d2, d3)


@inline
def _rising_by_factors(x, k):
    """Derivatives in log x of the sum of log(1 + j/x) over 0 < j < k."""
    d1, d2, d3 = 0.0, 0.0, 0.0
    for j in range(1, int(k)):
        t, rest = j / (x + j), x / (x + j)
        d1 -= t
        d2 += t * rest
        d3 += t * rest * (t - rest)
    return d1, d2, d3


@inline
def _by_logarithm(x, d1, d2, d3):
    """Derivatives in log x from those in x."""
    first, second, third = x * d1, x * x * d2, x * x * x * d3
    return first, first + second, first + 3.0 * second + third


@inline
def _rising_by_polygammas(x, k):
    """Derivatives in log x of log Gamma(x + k) - log Gamma(x + 1) - (k - 1) log x for small x."""
    up, low = polygammas(x + k), polygammas(x + 1.0)
    d1, d2, d3 = _by_logarithm(x, up[0] - low[0], up[1] - low[1], up[2] - low[2])
    return d1 - (k - 1.0), d2, d3


@inline
def _rising_by_series(x, k):
    """Derivatives in log x of (x + k - 1/2) log(1 + k/x) - k + delta(x + k) - delta(x) (Stirling) for large x."""
    n, r = x + k, 1.0 / x
    q = 1.0 / n
    up, low = stirling_slopes(n), stirling_slopes(x)
    d1 = log1p_minus(k * r) + 0.5 * k * r * q + up[0] - low[0]
    d2 = k * r * r * q * (k - 0.5 * (x + n) * q) + up[1] - low[1]
    d3 = k * (r * q) ** 2 * (x * x + x * n + n * n) * r * q - k * k * (3.0 * x + 2.0 * k) * r * (r * q) ** 2
    return _by_logarithm(x, d1, d2, d3 + up[2] - low[2])


@inline
def log_mean_decay_of(f):
    r"""Return log{(1 - e^-f)/f}, f >= 0: the log of the mean of e^-t over 0 < t < f; nothing is lost at small f.

    Who knows log f has log(1 - e^-f) from it. Below 1 the series in Bernoulli numbers of log(sinh(f/2)/(f/2)) - f/2.
    """
    x = f[0]
    if x >= 1.0:
        r, q = 1.0 / x, np.exp(-x) / -np.expm1(-x)
        value = np.log(-np.expm1(-x)) - np.log(x)
        return compose(f, value, q - r, r * r - q * (1.0 + q), q * (1.0 + q) * (1.0 + 2.0 * q) - 2.0 * r * r * r)
    z, before, power, g0, g1, g2, g3 = x * x, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0
    for n in range(2, 2 * len(_LOG_SINHC) + 1, 2):
        c = _LOG_SINHC[n // 2 - 1] * power
        g0 += c * z
        g1 += n * c * x
        g2 += n * (n - 1) * c
        g3 += n * (n - 1) * (n - 2) * _LOG_SINHC[n // 2 - 1] * before * x
        before, power = power, power * z
    return compose(f, g0 - 0.5 * x, g1 - 0.5, g2, g3)
