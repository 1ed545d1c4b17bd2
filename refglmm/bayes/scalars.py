r"""Scales and prior densities of single numbers, as kernels that a code chooses.

Place in the reading order: first of ``bayes``. A sampler works on an unbounded t; the model on x(t):

.. math:: x = t,\qquad x = a + e^t,\qquad x = a + (b - a)/(1 + e^{-t})

The density of t is the density of x times dx/dt. A partial correlation lives in (-1, 1), where x = tanh(t/2).

Prior densities of x, with their constants (computed once, in ``hyper[3]``, by ``distributions``).
"""

from __future__ import annotations

import numpy as np

from refglmm._jit import inline

IDENTITY, ABOVE, INTERVAL = range(3)
(
    FLAT,
    NORMAL,
    EXPONENTIAL,
    GAMMA,
    INVERSE_GAMMA,
    INVERSE_ROOT_NORMAL,
    STUDENT_T,
    LAPLACE,
    LOGIT_NORMAL,
    BETA,
    LOGISTIC,
    LOGNORMAL,
    RECIPROCAL,
    PARTIAL_CORRELATION,
    GUMBEL,
    LOG_LOGISTIC,
) = range(16)


@inline
def logistic_parts(t):
    """1 / (1 + e^-t) and 1 / (1 + e^t), neither by subtraction."""
    e = np.exp(-abs(t))
    large = 1.0 / (1.0 + e)
    return (large, e * large) if t > 0.0 else (e * large, large)


@inline
def to_natural(code, t, low, high):
    """Return x(t), dx/dt, log dx/dt, and the derivative of the latter in t."""
    if code == ABOVE:
        e = np.exp(t)
        return low + e, e, t, 1.0
    if code == INTERVAL:
        p, q = logistic_parts(t)
        slope = (high - low) * p * q
        rest = np.log1p(np.exp(-abs(t)))
        return low + (high - low) * p, slope, np.log(high - low) - abs(t) - 2.0 * rest, q - p
    return t, 1.0, 0.0, 0.0


@inline
def to_unbounded(code, x, low, high):
    """Return t(x)."""
    if code == ABOVE:
        return np.log(x - low)
    if code == INTERVAL:
        return np.log((x - low) / (high - x))
    return x


@inline
def log_prior(code, x, hyper):
    r"""Log density and its derivative in x.

    ======================  ==================================  =========================================
    code                    hyper[:3]                           density
    ======================  ==================================  =========================================
    FLAT                                                        1 (improper, or uniform with its constant)
    NORMAL                  mean m, SD s                        :math:`e^{-(x-m)^2/2s^2}`
    EXPONENTIAL             rate r                              :math:`e^{-rx}`
    GAMMA                   shape k, rate r                     :math:`x^{k-1}e^{-rx}`
    INVERSE_GAMMA           shape k, scale c                    :math:`x^{-k-1}e^{-c/x}`
    INVERSE_ROOT_NORMAL     SD s                                :math:`x^{-1/2}` half-normal
    STUDENT_T               df, location m, scale s             :math:`(1 + z^2/df)^{-(df+1)/2}`
    LAPLACE                 location m, scale s                 :math:`e^{-|x-m|/s}`
    LOGIT_NORMAL            m, s of the logit                   of x in (0, 1)
    BETA                    a, b                                of x in (0, 1)
    LOGISTIC                location m, scale s
    LOGNORMAL               m, s of the logarithm
    RECIPROCAL                                                  :math:`1/x` (improper)
    PARTIAL_CORRELATION     a                                   :math:`(1 - x^2)^{a-1}`
    GUMBEL                  location m, scale s (of minima)     :math:`e^{z - e^z}`, :math:`z = (x - m)/s`
    LOG_LOGISTIC            location m, scale s of the log      log x is logistic(m, s)
    ======================  ==================================  =========================================
    """
    a, b, c, constant = hyper[0], hyper[1], hyper[2], hyper[3]
    if code == NORMAL:
        z = (x - a) / b
        return constant - 0.5 * z * z, -z / b
    if code == EXPONENTIAL:
        return constant - a * x, -a
    if code == GAMMA:
        return constant + (a - 1.0) * np.log(x) - b * x, (a - 1.0) / x - b
    if code == INVERSE_GAMMA:
        return constant - (a + 1.0) * np.log(x) - b / x, (b / x - a - 1.0) / x
    if code == INVERSE_ROOT_NORMAL:
        z2 = 1.0 / (a * a * x)
        return constant - 0.5 * z2 - 1.5 * np.log(x), (0.5 * z2 - 1.5) / x
    if code == STUDENT_T:
        z = (x - b) / c
        return constant - 0.5 * (a + 1.0) * np.log1p(z * z / a), -(a + 1.0) * z / (c * (a + z * z))
    if code == LAPLACE:
        return constant - abs(x - a) / b, -np.sign(x - a) / b
    if code == LOGIT_NORMAL:
        z = (np.log(x / (1.0 - x)) - a) / b
        inside = x * (1.0 - x)
        return constant - 0.5 * z * z - np.log(inside), (-z / b - 1.0 + 2.0 * x) / inside
    if code == BETA:
        return constant + (a - 1.0) * np.log(x) + (b - 1.0) * np.log1p(-x), (a - 1.0) / x - (b - 1.0) / (1.0 - x)
    if code == LOGISTIC:
        z = (x - a) / b
        p, q = logistic_parts(z)
        return constant - abs(z) - 2.0 * np.log1p(np.exp(-abs(z))), (q - p) / b
    if code == LOGNORMAL:
        z = (np.log(x) - a) / b
        return constant - 0.5 * z * z - np.log(x), (-z / b - 1.0) / x
    if code == RECIPROCAL:
        return constant - np.log(x), -1.0 / x
    if code == PARTIAL_CORRELATION:
        inside = (1.0 - x) * (1.0 + x)
        return constant + (a - 1.0) * np.log(inside), -2.0 * (a - 1.0) * x / inside
    if code == GUMBEL:
        z = (x - a) / b
        e = np.exp(z)
        return constant + z - e, (1.0 - e) / b
    if code == LOG_LOGISTIC:
        z = (np.log(x) - a) / b
        p, q = logistic_parts(z)
        return constant - abs(z) - 2.0 * np.log1p(np.exp(-abs(z))) - np.log(x), ((q - p) / b - 1.0) / x
    return constant, 0.0
