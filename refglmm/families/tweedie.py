r"""Tweedie responses with power 1 < p < 2: exact zeros and a continuous positive part.

Place in the reading order: after ``density``. The sum of a Poisson number of gamma variables, with mean mu and
variance :math:`\phi\mu^p`. Write :math:`b = 2 - p`, :math:`c = p - 1`, :math:`\alpha = b/c`. Then

.. math:: P(y = 0) = \exp\Big(-\frac{\mu^b}{b\phi}\Big),\qquad
          l = a\Big\{-\log y - \log 2\pi + \tfrac12\log\alpha - \frac{D(y, \mu)}{\phi} + \log S(m, \alpha)\Big\},\ y > 0

where D is half the unit deviance and S what is left of the series of Dunn and Smyth (2005) after Stirling's parts of
its gamma functions are cancelled against the deviance of the saturated model: with :math:`m = y^b/(b\phi)`, near which
its largest term stands, and Stirling's rest :math:`\delta` (see ``special``),

.. math:: D = \frac{y\mu^{-c} - y^b}{c} - \frac{y^b - \mu^b}{b},\qquad
          S = \sum_{j=1}^\infty \exp\{-(1 + \alpha)(j\log(j/m) - j + m) - \delta(j) - \delta(j\alpha)\} .

Nothing in S is large, so l keeps its digits however many terms it takes. The terms are log-concave in j, with standard
deviation about :math:`\sqrt{m/(1+\alpha)}`. Those below e^-45 of the one at m are left out; where the deviation is more
than 7, every h-th term stands for h of them, h half the deviation: by Poisson's summation formula the error of that is
below e^-40. S moves with the shape parameters alone, not with eta.

Against 40-digit arithmetic (y from 1e-3 to 1e6, phi from 1e-3 to 50, p from 1.02 to 1.98) l is accurate to 2e-14 of
the larger of 1 and abs(l).

Source: Dunn and Smyth (2005), "Series evaluation of Tweedie exponential dispersion model densities".
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from refglmm._jit import inline
from refglmm.families.base import TINY, FloatArray, weighted
from refglmm.families.density import DensityFamily
from refglmm.families.jet import (
    F2,
    F22,
    F222,
    F,
    add,
    compose,
    divide,
    exp_of,
    log_of,
    multiply,
    shift,
    subtract,
    times,
)
from refglmm.families.shape_scales import IntervalScale, LogScale
from refglmm.families.special import NEAR, log_minus_digamma, near_excess, polygammas, stirling_rest

_LOG_2PI = math.log(2.0 * math.pi)
#: Terms below e^-45 of the largest are left out; from this standard deviation on only every h-th is taken.
_CUT, _STRIDE_FROM = 45.0, 7.0


@inline
def _range(m, alpha):
    """First term, number of terms and stride of the series; the deviance of the terms outside exceeds _CUT."""
    c = _CUT / (1.0 + alpha)
    centre, deviation = max(m, 1.0), np.sqrt(m / (1.0 + alpha))
    stride = max(1, int(0.5 * deviation)) if deviation > _STRIDE_FROM else 1
    low = max(1, int(m - np.sqrt(2.0 * c * m)))
    high = int(centre + c / 3.0 + np.sqrt(c * c / 9.0 + 2.0 * c * centre)) + 1
    return low, (high - low) // stride + 1, stride


@inline
def _excess(j, log_m, m):
    """Return j log(j/m) - j + m >= 0, without cancellation where j is near m."""
    return -near_excess(j, m - j) if abs(m - j) <= NEAR * j else j * (np.log(j) - log_m) - j + m


@inline
def _term(j, log_m, m, alpha):
    """Exponent of the j-th term."""
    return -(1.0 + alpha) * _excess(j, log_m, m) - stirling_rest(j) - stirling_rest(j * alpha)


@inline
def _rest_slopes(k):
    """First three derivatives of Stirling's rest delta(k)."""
    _, d1, d2 = polygammas(k)
    r = 1.0 / k
    return 0.5 * r - log_minus_digamma(k), d1 - r - 0.5 * r * r, d2 + r * r + r * r * r


@inline
def _term_slopes(j, log_m, m, x, alpha):
    """First three derivatives of the exponent, in the one variable that log m (jet x) and alpha (a jet) move with."""
    x1, x2, x3 = x[F2], x[F22], x[F222]
    e0 = _excess(j, log_m, m)
    a1, a2, a3 = j * alpha[F2], j * alpha[F22], j * alpha[F222]
    d = m - j
    e1 = d * x1
    e2 = m * x1 * x1 + d * x2
    e3 = m * x1 * x1 * x1 + 3.0 * m * x1 * x2 + d * x3
    g1, g2, g3 = _rest_slopes(j * alpha[F])
    power, per_j = 1.0 + alpha[F], 1.0 / j
    s1 = -power * e1 - per_j * a1 * e0 - a1 * g1
    s2 = -power * e2 - per_j * (2.0 * a1 * e1 + a2 * e0) - (a1 * a1 * g2 + a2 * g1)
    s3 = -power * e3 - per_j * (3.0 * (a1 * e2 + a2 * e1) + a3 * e0)
    return s1, s2, s3 - (a1 * a1 * a1 * g3 + 3.0 * a1 * a2 * g2 + a3 * g1)


@inline
def log_series(x, alpha):
    """Jet of log S from the jets of log m and alpha, neither of which moves with the first variable.

    With weights proportional to the terms, the derivatives of log S are E s', E s'' + Var s' and
    E s''' + 3 Cov(s', s'') + third central moment of s'; s' and s'' are taken from their values at one term.
    """
    log_m, m = x[F], np.exp(x[F])
    low, count, stride = _range(m, alpha[F])
    middle = float(max(1, int(m)))
    peak = _term(middle, log_m, m, alpha[F])
    o1, o2, _ = _term_slopes(middle, log_m, m, x, alpha)
    w = w1 = w2 = w3 = w11 = w12 = w111 = 0.0
    for k in range(count):
        j = float(low + k * stride)
        weight = np.exp(_term(j, log_m, m, alpha[F]) - peak)
        s1, s2, s3 = _term_slopes(j, log_m, m, x, alpha)
        s1, s2 = s1 - o1, s2 - o2
        w += weight
        w1 += weight * s1
        w2 += weight * s2
        w3 += weight * s3
        w11 += weight * s1 * s1
        w12 += weight * s1 * s2
        w111 += weight * s1 * s1 * s1
    e1, e2, e11, e12 = w1 / w, w2 / w, w11 / w, w12 / w
    third = w3 / w + 3.0 * (e12 - e1 * e2) + w111 / w - e1 * (3.0 * e11 - 2.0 * e1 * e1)
    value = peak + np.log(w * stride)
    return (value, 0.0, o1 + e1, 0.0, 0.0, o2 + e2 + e11 - e1 * e1, 0.0, 0.0, 0.0, third)


@inline
def _expm1_of(f):
    """Jet of e^f - 1."""
    e = np.exp(f[0])
    return compose(f, np.expm1(f[0]), e, e, e)


@inline
def tweedie_log(y, a, eta, first, second, third):
    """Log density under the log link; shape parameters phi and p."""
    b, c = shift(times(-1.0, second), 2.0), shift(second, -1.0)
    log_phi = log_of(first)
    if y <= 0.0:
        return times(-a, exp_of(subtract(multiply(b, eta), add(log_phi, log_of(b)))))
    log_y = np.log(y)
    above = shift(times(-1.0, eta), log_y)
    of_y = divide(multiply(exp_of(times(log_y, b)), _expm1_of(multiply(c, above))), c)
    of_mean = divide(multiply(exp_of(multiply(b, eta)), _expm1_of(multiply(b, above))), b)
    deviance = divide(subtract(of_y, of_mean), first)
    series = log_series(subtract(times(log_y, b), add(log_phi, log_of(b))), divide(b, c))
    return times(a, subtract(add(series, times(0.5, subtract(log_of(b), log_of(c)))), deviance))


class Tweedie(DensityFamily):
    """Tweedie, Var y = phi mu^p, 1 < p < 2. Link: log.

    Parameters
    ----------
    link : str or Link, optional
    phi : float, optional
        Known dispersion, > 0 (only together with ``p``).
    p : float, optional
        Known power, between 1 and 2. What is left out is estimated.
    """

    name = "tweedie"
    default_link = "log"
    weights_repeat = True
    all_shapes: ClassVar = {"phi": LogScale(), "p": IntervalScale(low=1.0, high=2.0)}
    densities: ClassVar = {"log": tweedie_log}

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """-a (log y + log 2 pi), 0 for zeros."""
        with np.errstate(all="ignore"):
            return weighted(a, np.where(y > 0.0, -np.log(y) - _LOG_2PI, 0.0))

    def variance(self, mu: FloatArray) -> FloatArray:
        """phi mu^p."""
        return self.shape("phi") * np.asarray(mu, dtype=np.float64) ** self.shape("p")

    def zero_probability(self, mu: FloatArray) -> FloatArray:
        """exp{-mu^(2 - p) / ((2 - p) phi)}."""
        b = 2.0 - self.shape("p")
        return np.exp(-(np.asarray(mu, dtype=np.float64) ** b) / (b * self.shape("phi")))

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Y, a zero replaced by a tenth of the mean."""
        return np.where(y > 0.0, y, 0.1 * y.mean() + TINY)

    def initial_shape(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """Power 1.5, or the known one, and the moment estimate of phi there, kept within [1e-4, 1e4]."""
        power = self.known[-1] if self.known else 1.5
        phi = np.average((y - mu) ** 2 / mu**power, weights=a)
        return np.array([np.clip(phi, 1e-4, 1e4), power])[: self.n_shape]

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """Y >= 0."""
        self._require((y >= 0.0) & (y < np.inf), y, "negative values are not allowed for the tweedie family")

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """A Poisson number of gamma variables, summed; the weight plays no part."""
        dispersion, power = self.complete(phi)
        b, c = 2.0 - power, power - 1.0
        number = rng.poisson(mu**b / (b * dispersion))
        return rng.gamma(number * b / c) * dispersion * c * mu**c
