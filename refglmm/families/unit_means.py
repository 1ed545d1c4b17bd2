r"""Means between 0 and 1 as jets: p, q = 1 - p and their logarithms, each accurate in both tails.

Place in the reading order: after ``binomial`` and ``density``; laws on the unit interval build on it. The derivatives
are those of ``binomial``, where every link is written through :math:`\log p` and :math:`\log q`.
"""

from __future__ import annotations

import numpy as np

from refglmm._jit import inline
from refglmm.families.binomial import cauchy_derivatives, log_cloglog, mills_cloglog, normal_tail
from refglmm.families.jet import compose, exp_of, times


@inline
def logit_mean_of(eta):
    """Return (p, q, log p, log q) under the logit link."""
    e = np.exp(-abs(eta[0]))
    large, rest = 1.0 / (1.0 + e), np.log1p(e)
    small = e * large
    p, q = (large, small) if eta[0] > 0.0 else (small, large)
    v, d = p * q, q - p
    of_p = compose(eta, p, v, v * d, v * (1.0 - 6.0 * v))
    of_q = compose(eta, q, -v, -v * d, -v * (1.0 - 6.0 * v))
    log_p = compose(eta, min(eta[0], 0.0) - rest, q, -v, -v * d)
    log_q = compose(eta, min(-eta[0], 0.0) - rest, -p, -v, -v * d)
    return of_p, of_q, log_p, log_q


@inline
def probit_mean_of(eta):
    """Return (p, q, log p, log q) under the probit link."""
    z = abs(eta[0])
    t, r, d, c, log_t = normal_tail(z)
    m = r * t / (1.0 - t)
    g = z + m
    m2, m3 = -m * g, m * (g * g - 1.0 + m * g)
    if eta[0] > 0.0:
        log_p, log_q = compose(eta, np.log1p(-t), m, m2, m3), compose(eta, log_t, -r, -r * d, -r * c)
    else:
        log_p, log_q = compose(eta, log_t, r, -r * d, r * c), compose(eta, np.log1p(-t), -m, m2, -m3)
    return exp_of(log_p), exp_of(log_q), log_p, log_q


@inline
def cloglog_mean_of(eta):
    """Return (p, q, log p, log q) under the complementary log-log link, log q = -exp(eta)."""
    t = np.exp(eta[0])
    r, c = mills_cloglog(t)
    log_p = compose(eta, log_cloglog(eta[0], t), r, r * c, r * (c * c - t - r * c))
    log_q = times(-1.0, exp_of(eta))
    return exp_of(log_p), exp_of(log_q), log_p, log_q


@inline
def cauchit_mean_of(eta):
    """Return (p, q, log p, log q) under the cauchit link."""
    tail = np.arctan2(1.0, abs(eta[0])) / np.pi
    log_tail, log_rest = np.log(tail), np.log1p(-tail)
    upper = eta[0] > 0.0
    p, q = (1.0 - tail, tail) if upper else (tail, 1.0 - tail)
    g = 1.0 / (1.0 + eta[0] * eta[0])
    p1, p2, p3 = cauchy_derivatives(p, g, eta[0] * g)
    q1, q2, q3 = cauchy_derivatives(q, g, -eta[0] * g)
    log_p = compose(eta, log_rest if upper else log_tail, p1, p2, p3)
    log_q = compose(eta, log_tail if upper else log_rest, -q1, q2, -q3)
    return exp_of(log_p), exp_of(log_q), log_p, log_q


@inline
def log_mean_of(eta):
    """Return (p, q, log p, log q) under the log link, p = exp(eta); nan unless eta < 0."""
    p, q = np.exp(eta[0]), -np.expm1(eta[0])
    r = p / q
    value = (np.log1p(-p) if p < 0.5 else np.log(q)) if eta[0] < 0.0 else np.nan
    return exp_of(eta), compose(eta, q, -p, -p, -p), eta, compose(eta, value, -r, -r / q, -r * (1.0 + p) / (q * q))
