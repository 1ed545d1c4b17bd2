r"""A latent variable in an interval: log probabilities as jets, without cancellation in either tail.

Place in the reading order: after ``jet`` and ``binomial`` (for the normal tail); ``ordinal`` builds on it. For each
law F of a latent variable there are three functions of jets, ``below`` log F(x), ``above`` log{1 - F(x)} and
``between``

.. math:: \log\{F(u) - F(l)\},\qquad l < u

which are written so that nothing is lost where both ends lie in one tail. With :math:`d = u - l`,

=========  ============================  ===========================================================================
link       F(x)                          :math:`\log\{F(u) - F(l)\}`
=========  ============================  ===========================================================================
logit      :math:`1/(1 + e^{-x})`        :math:`\log F(u) + \log\{1 - F(l)\} + \log(1 - e^{-d})`
cloglog    :math:`1 - \exp(-e^x)`        :math:`\log F\{u + \log(1 - e^{-d})\} - e^l`
probit     :math:`\Phi(x)`               :math:`\log\Phi(u) + \log\{1 - \Phi(l)/\Phi(u)\}`, reflected if l + u > 0
cauchit    :math:`1/2 + \arctan(x)/\pi`  :math:`\log\{\mathrm{atan2}(d,\, 1 + lu)/\pi\}`
=========  ============================  ===========================================================================

All but the Cauchy law are log-concave, and so is the probability of an interval (Burridge 1981; Pratt 1981): the
observed information of an ordinal response is never negative there.

Sources: the identities follow from the definitions; the cumulative models are McCullagh's (1980).
"""

from __future__ import annotations

import math

import numpy as np

from refglmm._jit import inline
from refglmm.families.binomial import normal_tail
from refglmm.families.jet import F, add, compose, exp_of, softplus_of, subtract, times
from refglmm.families.special import HALF_LOG_2PI

_LOG_2 = math.log(2.0)
#: From this hazard on, log{1 - exp(-e^x)} is zero in double precision, and so are its derivatives.
_CERTAIN = 700.0


@inline
def log1mexp(x):
    """Return log(1 - e^-x) for x > 0 (nan below)."""
    return np.log(-np.expm1(-x)) if x < _LOG_2 else np.log1p(-np.exp(-x))


@inline
def log1mexp_of(f):
    """Return log(1 - e^-f) for f > 0."""
    g1 = 1.0 / np.expm1(f[F])
    g2 = -g1 * (1.0 + g1)
    return compose(f, log1mexp(f[F]), g1, g2, -g2 * (1.0 + 2.0 * g1))


@inline
def log_of_ratios(f, value, r1, r2, r3):
    """Return log g(f) from log g and the ratios g'/g, g''/g, g'''/g at the value of f."""
    return compose(f, value, r1, r2 - r1 * r1, r3 - 3.0 * r1 * r2 + 2.0 * r1 * r1 * r1)


@inline
def log_of_difference(lower, upper, value, low, high):
    """Return log{g(upper) - g(lower)} from its value and, over that difference, (g', g'', g''') at either end."""
    rise = subtract(compose(upper, 1.0, high[0], high[1], high[2]), compose(lower, 0.0, low[0], low[1], low[2]))
    return compose(rise, value, 1.0, -1.0, 2.0)


# -- logistic ------------------------------------------------------------------------------------------------------


@inline
def logit_below(x):
    """Log F of the logistic law."""
    return times(-1.0, softplus_of(times(-1.0, x)))


@inline
def logit_above(x):
    """Log (1 - F) of the logistic law."""
    return times(-1.0, softplus_of(x))


@inline
def logit_between(lower, upper):
    """Log {F(u) - F(l)} of the logistic law: what depends on both ends depends on their distance alone."""
    return add(add(logit_below(upper), logit_above(lower)), log1mexp_of(subtract(upper, lower)))


# -- extreme value (minimum) ---------------------------------------------------------------------------------------


@inline
def cloglog_below(x):
    """Log {1 - exp(-e^x)}: with q = e^x / expm1(e^x), the first derivative is q and the second q (1 - e^x - q)."""
    hazard = np.exp(x[F])
    if hazard > _CERTAIN:
        return compose(x, 0.0, 0.0, 0.0, 0.0)
    q = hazard / np.expm1(hazard) if hazard > 0.0 else 1.0
    slope = 1.0 - hazard - q
    value = log1mexp(hazard) if hazard > 1e-300 else x[F]
    return compose(x, value, q, q * slope, q * (slope * slope - hazard - q * slope))


@inline
def cloglog_above(x):
    """Return -e^x, the log survival of the extreme value law."""
    return times(-1.0, exp_of(x))


@inline
def cloglog_between(lower, upper):
    """Log {exp(-e^l) - exp(-e^u)}."""
    return add(cloglog_below(add(upper, log1mexp_of(subtract(upper, lower)))), cloglog_above(lower))


# -- normal --------------------------------------------------------------------------------------------------------


@inline
def probit_below(x):
    """Log Phi(x): for x > 0 from its complement."""
    t, r, d, c, log_t = normal_tail(abs(x[F]))
    if x[F] <= 0.0:
        return compose(x, log_t, r, -r * d, r * c)
    m = r * t / (1.0 - t)
    g = x[F] + m
    return compose(x, np.log1p(-t), m, -m * g, m * (g * g - 1.0 + m * g))


@inline
def probit_above(x):
    """Log {1 - Phi(x)}."""
    return probit_below(times(-1.0, x))


@inline
def probit_between(lower, upper):
    """Log {Phi(u) - Phi(l)}, reflected into the lower tail."""
    if lower[F] + upper[F] > 0.0:
        return _probit_below_mean(times(-1.0, upper), times(-1.0, lower))
    return _probit_below_mean(lower, upper)


@inline
def _probit_below_mean(lower, upper):
    """Log {Phi(u) - Phi(l)} for l + u <= 0, so that l < 0."""
    l, u = lower[F], upper[F]  # noqa: E741  the symbol of the formula
    log_low = normal_tail(-l)[4] if l < u else np.nan
    tail = normal_tail(abs(u))
    log_high = tail[4] if u <= 0.0 else np.log1p(-tail[0])
    value = log_high + log1mexp(log_high - log_low)
    at_low, at_high = np.exp(-0.5 * l * l - HALF_LOG_2PI - value), np.exp(-0.5 * u * u - HALF_LOG_2PI - value)
    low = (at_low, -l * at_low, (l * l - 1.0) * at_low)
    return log_of_difference(lower, upper, value, low, (at_high, -u * at_high, (u * u - 1.0) * at_high))


# -- Cauchy --------------------------------------------------------------------------------------------------------


@inline
def _cauchy_ratios(x, probability):
    """F', F'', F''' of the Cauchy law over a probability."""
    v = 1.0 / (1.0 + x * x)
    f = v / (np.pi * probability)
    return f, -2.0 * x * v * f, (6.0 * x * x - 2.0) * v * v * f


@inline
def cauchit_below(x):
    """Log F of the Cauchy law."""
    p = np.arctan2(1.0, -x[F]) / np.pi
    r1, r2, r3 = _cauchy_ratios(x[F], p)
    return log_of_ratios(x, np.log(p), r1, r2, r3)


@inline
def cauchit_above(x):
    """Log (1 - F) of the Cauchy law."""
    return cauchit_below(times(-1.0, x))


@inline
def cauchit_between(lower, upper):
    """Log {F(u) - F(l)} of the Cauchy law by the addition theorem of the arcus tangens."""
    l, u = lower[F], upper[F]  # noqa: E741
    p = np.arctan2(u - l, 1.0 + l * u) / np.pi if l < u else np.nan
    return log_of_difference(lower, upper, np.log(p), _cauchy_ratios(l, p), _cauchy_ratios(u, p))
