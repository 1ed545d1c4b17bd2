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

import numpy as np

from refglmm._jit import inline
from refglmm.families.special import HALF_LOG_2PI, polygammas, stirling_rest

#: Positions in a jet.
F, F1, F2, F11, F12, F22, F111, F112, F122, F222 = range(10)


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
def log_gamma(x):
    """Return log Gamma(x) for x > 0; plain arithmetic, so that the compiler can drop it (math.lgamma it cannot)."""
    return (x - 0.5) * np.log(x) - x + HALF_LOG_2PI + stirling_rest(x)


@inline
def log_gamma_of(f):
    """Return log Gamma(f) for f > 0."""
    d1, d2, d3 = polygammas(f[0])
    return compose(f, log_gamma(f[0]), d1, d2, d3)
