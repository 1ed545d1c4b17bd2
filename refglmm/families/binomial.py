r"""Binomial and Bernoulli responses.

Place in the reading order: after ``base``; the first and fullest of the distributions. y is the proportion of
successes among a trials:

.. math:: l = \log\binom{a}{ay} + a\{y\log p(\eta) + (1-y)\log q(\eta)\},\qquad q = 1 - p

Every link is written through :math:`\log p` and :math:`\log q` as functions of eta with three derivatives
each, so that nothing is lost in either tail: at :math:`\eta = 40` under logit, p rounds to 1, yet
:math:`\log q = -40` is exact. Since :math:`p'^2/(pq) = -(\log p)'(\log q)'`, the expected information needs
nothing else.

Sources: McCullagh and Nelder, chapter 4; for the probit tails Laplace's continued fraction for Mills' ratio
(Abramowitz and Stegun, 26.2.14).
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from refglmm._jit import inline
from refglmm.errors import WeightsError
from refglmm.families.base import EPS, Family, FloatArray, y_log_ratio
from refglmm.families.links import NOTHING, OUTSIDE
from refglmm.families.special import HALF_LOG_2PI

_SQRT_HALF = math.sqrt(0.5)
#: Below minus this, Phi comes from the continued fraction.
_MILLS_FROM = 2.0


@inline
def _times(k, x):
    """Return k * x, with 0 * inf = 0: a term that does not occur contributes nothing."""
    return 0.0 if k == 0.0 or x == 0.0 else k * x


@inline
def _join(y, a, base, log_p, log_q):
    """Observation from (log p, and three derivatives) and (log q, and three derivatives)."""
    p0, p1, p2, p3 = log_p
    q0, q1, q2, q3 = log_q
    n = 1.0 - y
    return (
        base + a * (_times(y, p0) + _times(n, q0)),
        a * (_times(y, p1) + _times(n, q1)),
        -a * (_times(y, p2) + _times(n, q2)),
        -a * _times(p1, q1),
        -a * (_times(y, p3) + _times(n, q3)),
        -a * (_times(p2, q1) + _times(p1, q2)),
    )


@inline
def binomial_logit(y, eta, a, base, phi):
    """Observation under the logit link, fused: s = a (yq - (1-y)p), h = w = apq."""
    if a == 0.0:
        return NOTHING
    e = np.exp(-abs(eta))
    small, large, rest = e / (1.0 + e), 1.0 / (1.0 + e), np.log1p(e)
    p, q = (large, small) if eta > 0.0 else (small, large)
    n = 1.0 - y
    l0 = base - a * (y * (max(-eta, 0.0) + rest) + n * (max(eta, 0.0) + rest))
    w = a * p * q
    dw = w * (q - p)
    return l0, a * (y * q - n * p), w, w, dw, dw


@inline
def _log_phi(x):
    """Log of the normal distribution function and its first three derivatives, for any x."""
    if x > -_MILLS_FROM:
        tail = 0.5 * math.erfc(abs(x) * _SQRT_HALF)
        log_cdf = np.log1p(-tail) if x > 0.0 else np.log(tail)
        r = np.exp(-0.5 * x * x - HALF_LOG_2PI - log_cdf)
        d = x + r
        return log_cdf, r, -r * d, r * (d * d - 1.0 + r * d)
    # x = -z. r = phi/Phi = z + 1/(z + 2/(z + 3/(z + ...))); the partial fractions d, e, f give the
    # derivatives without the cancellation in r - z.
    z = -x
    f = 0.0
    for k in range(10 + int(200.0 / (z * z)), 2, -1):
        f = k / (z + f)
    e = 2.0 / (z + f)
    d = 1.0 / (z + e)
    r = z + d
    return -0.5 * z * z - HALF_LOG_2PI - np.log(r), r, -r * d, r * d * d * e * (f - e)


@inline
def binomial_probit(y, eta, a, base, phi):
    """Observation under the probit link, p = Phi(eta)."""
    if a == 0.0:
        return NOTHING
    p0, p1, p2, p3 = _log_phi(eta)
    q0, q1, q2, q3 = _log_phi(-eta)
    return _join(y, a, base, (p0, p1, p2, p3), (q0, -q1, q2, -q3))


@inline
def _mills_cloglog(t):
    """Return r = t/(exp(t) - 1) and c = 1 - t - r, which is about -t/2 at small t."""
    if t > 700.0:
        return 0.0, 1.0 - t
    if t > 0.5:
        r = t / np.expm1(t)
        return r, 1.0 - t - r
    # r = 1 - t g(t), g from the Bernoulli numbers: no cancellation in c
    z = t * t
    tail = z * (1 / 47900160 - z * (691 / 1307674368000 - z / 74724249600))
    g = 0.5 - t * (1 / 12 - z * (1 / 720 - z * (1 / 30240 - z * (1 / 1209600 - tail))))
    return 1.0 - t * g, t * (g - 1.0)


@inline
def _log_cloglog(eta, t):
    """Log of p = 1 - exp(-t), t = exp(eta), and its first three derivatives in eta."""
    if t < 1e-3:
        log_p = eta - 0.5 * t + t * t / 24.0
    elif t < 0.7:
        log_p = np.log(-np.expm1(-t))
    else:
        log_p = np.log1p(-np.exp(-t))
    r, c = _mills_cloglog(t)
    return log_p, r, _times(r, c), _times(r, c * c - t - r * c)


@inline
def binomial_cloglog(y, eta, a, base, phi):
    """Observation under the complementary log-log link, log q = -exp(eta)."""
    if a == 0.0:
        return NOTHING
    t = np.exp(eta)
    return _join(y, a, base, _log_cloglog(eta, t), (-t, -t, -t, -t))


@inline
def _log_cauchy(eta):
    """Log of p = 1/2 + arctan(eta)/pi and its first three derivatives."""
    p = np.arctan2(1.0, -eta) / np.pi
    g = 1.0 / (1.0 + eta * eta)
    x = eta * g
    r1 = g / (np.pi * p)
    r2, r3 = -2.0 * x * r1, (6.0 * x * x - 2.0 * g * g) * r1
    return np.log(p), r1, r2 - r1 * r1, r3 - 3.0 * r1 * r2 + 2.0 * r1**3


@inline
def binomial_cauchit(y, eta, a, base, phi):
    """Observation under the cauchit link; not log-concave."""
    if a == 0.0:
        return NOTHING
    p0, p1, p2, p3 = _log_cauchy(eta)
    q0, q1, q2, q3 = _log_cauchy(-eta)
    return _join(y, a, base, (p0, p1, p2, p3), (q0, -q1, q2, -q3))


@inline
def binomial_log(y, eta, a, base, phi):
    """Observation under the log link, p = exp(eta), eta < 0."""
    if a == 0.0:
        return NOTHING
    if eta >= 0.0:
        return OUTSIDE
    p = np.exp(eta)
    q = -np.expm1(eta)
    r = p / q
    log_q = np.log1p(-p) if p < 0.5 else np.log(q)
    return _join(y, a, base, (eta, 1.0, 0.0, 0.0), (log_q, -r, -r / q, -r * (1.0 + p) / (q * q)))


class Binomial(Family):
    """Binomial: y is a proportion, the prior weight a the number of trials.

    Links: logit (default), probit, cloglog, cauchit, log.
    """

    name = "binomial"
    r_name = "binomial"
    default_link = "logit"
    canonical_link = "logit"
    concave_links = frozenset({"logit", "probit", "cloglog", "log"})
    is_binomial = True
    domains: ClassVar = {"log": "negative"}
    points: ClassVar = {
        "logit": binomial_logit,
        "probit": binomial_probit,
        "cloglog": binomial_cloglog,
        "cauchit": binomial_cauchit,
        "log": binomial_log,
    }

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Log of the binomial coefficient (a over a*y), continued to counts that are not whole."""
        from scipy.special import betaln

        k = a * y
        inside = (k > 0.0) & (k < a)
        kk, aa = np.where(inside, k, 1.0), np.where(inside, a, 2.0)
        return np.where(inside, -np.log1p(aa) - betaln(kk + 1.0, aa - kk + 1.0), 0.0)

    def variance(self, mu: FloatArray) -> FloatArray:
        """mu (1 - mu), at least eps."""
        return np.maximum(mu * (1.0 - mu), EPS)

    def _deviance(self, y: FloatArray, mu: FloatArray) -> FloatArray:
        """2 {y log(y/mu) + (1-y) log((1-y)/(1-mu))}."""
        return 2.0 * (y_log_ratio(y, mu) + y_log_ratio(1.0 - y, 1.0 - mu))

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Shrunken towards one half: (a y + 1/2) / (a + 1)."""
        return (a * y + 0.5) / (a + 1.0)

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """0 <= y <= 1; a*y should be whole."""
        self._require((y >= 0.0) & (y <= 1.0), y, "a binomial response must be 0 <= y <= 1")
        self._warn_not_whole(a * y, "number of successes")

    def minus_two_log_density(self, y: FloatArray, mu: FloatArray, a: FloatArray, deviance: float) -> float:
        """-2 log Bin(round(a y); round(a), mu), skipping rows without trials."""
        m, k = np.round(a), np.round(a * y)
        used = m > 0
        m, k, mu = m[used], k[used], mu[used]
        with np.errstate(all="ignore"):
            rows = np.where(k > 0, k * np.log(mu), 0.0) + np.where(m > k, (m - k) * np.log1p(-mu), 0.0)
        return float(-2.0 * np.sum(self.base_measure(k / m, m) + rows))

    def simulate(
        self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator
    ) -> FloatArray:
        """Proportions of a trials; needs whole a."""
        trials = np.round(a)
        if np.any(np.abs(trials - a) > 1e-8 * np.maximum(1.0, a)):
            row = int(np.argmax(np.abs(trials - a)))
            raise WeightsError(
                f"cannot draw binomial responses: row {row} (counted from 0) has {a[row]:g} trials",
                row=row,
                value=float(a[row]),
            )
        return rng.binomial(trials.astype(np.int64), mu) / np.maximum(trials, 1.0)


class Bernoulli(Binomial):
    """Binomial with one trial a row: y is 0 or 1, and a prior weight repeats the row."""

    name = "bernoulli"

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """Y is 0 or 1."""
        self._require((y == 0.0) | (y == 1.0), y, "a Bernoulli response must be 0 or 1")
