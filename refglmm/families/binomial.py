r"""Binomial and Bernoulli responses.

Place in the reading order: after ``base``; the first and fullest of the distributions. y is the proportion of
successes among a trials:

.. math:: l = \log\binom{a}{ay} + a\{y\log p(\eta) + (1-y)\log q(\eta)\},\qquad q = 1 - p

and for many trials, with :math:`s = yq - (1-y)p = y - p`, the saturated log density, which is the base measure,
minus half the deviance, :math:`l = c + a\{y\,g(-s/y) + (1-y)\,g(s/(1-y))\}`, :math:`g(x) = \log(1 + x) - x`.

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
from refglmm.families.base import EPS, Family, FloatArray, log_ratio_excess
from refglmm.families.elementary import exponential, log1p_unit
from refglmm.families.jet import compose, times
from refglmm.families.links import NOTHING, OUTSIDE
from refglmm.families.special import HALF_LOG_2PI, LARGE, NEAR, near_excess, stirling_rests

_SQRT_HALF = math.sqrt(0.5)
#: Beyond this, the normal tail comes from the continued fraction; nearer, cancellation costs dh three digits.
_MILLS_FROM = 4.0


@inline
def _times(k, x):
    """Return k * x, with 0 * inf = 0: a term that does not occur contributes nothing."""
    return 0.0 if k == 0.0 or x == 0.0 else k * x


@inline
def _log_density(y, a, p, q, log_p, log_q):
    """Return l at weight one without the base measure; log_p may be 0 where y = 0, log_q where y = 1."""
    n = 1.0 - y
    if a < LARGE or y == 0.0 or y == 1.0:
        return _times(y, log_p) + _times(n, log_q)
    return _large_log_density(y, p, q, log_p, log_q)


@inline
def _large_log_density(y, p, q, log_p, log_q):
    """Return minus half the deviance of a row of weight one, for 0 < y < 1."""
    n = 1.0 - y
    s = y * q - n * p
    of_p = near_excess(y, -s) if abs(s) <= NEAR * y else y * (log_p - np.log(y)) + s
    of_q = near_excess(n, s) if abs(s) <= NEAR * n else n * (log_q - np.log(n)) - s
    return of_p + of_q


@inline
def _join(y, a, l0, p1, p2, p3, q1, q2, q3):
    """Observation from l and the three derivatives of log p and of log q."""
    n = 1.0 - y
    return (
        l0,
        a * (_times(y, p1) + _times(n, q1)),
        -a * (_times(y, p2) + _times(n, q2)),
        -a * _times(p1, q1),
        -a * (_times(y, p3) + _times(n, q3)),
        -a * (_times(p2, q1) + _times(p1, q2)),
    )


@inline
def binomial_logit(y, eta, a, base, phi):
    """Observation under the logit link, fused: s = a (yq - (1-y)p), h = w = apq. Not for large a, see below."""
    if a == 0.0:
        return NOTHING
    e = exponential(-abs(eta))
    large, rest = 1.0 / (1.0 + e), log1p_unit(e)
    small = e * large
    p = large if eta > 0.0 else small
    q = small if eta > 0.0 else large
    n, log_p, log_q = 1.0 - y, min(eta, 0.0) - rest, min(-eta, 0.0) - rest
    w = a * p * q
    dw = w * (q - p)
    return base + a * (y * log_p + n * log_q), a * (y * q - n * p), w, w, dw, dw


@inline
def many_trials(y, a):
    """Whether the base measure of a row is its saturated log density."""
    return a >= LARGE and 0.0 < y < 1.0


@inline
def binomial_logit_large(y, eta, a, base, phi):
    """As ``binomial_logit`` for many trials: l from the saturated log density."""
    e = np.exp(-abs(eta))
    small, large, rest = e / (1.0 + e), 1.0 / (1.0 + e), np.log1p(e)
    p, q = (large, small) if eta > 0.0 else (small, large)
    _, s, h, w, dh, dw = binomial_logit(y, eta, a, base, phi)
    l0 = _large_log_density(y, p, q, min(eta, 0.0) - rest, min(-eta, 0.0) - rest)
    return base + a * l0, s, h, w, dh, dw


@inline
def normal_tail(z):
    """Tail t = Phi(-z), r = phi(z)/t with r' = r d, r'' = r c, and log t; z >= 0."""
    if not z > _MILLS_FROM:
        t = 0.5 * math.erfc(z * _SQRT_HALF)
        r = np.exp(-0.5 * z * z - HALF_LOG_2PI) / t
        d = r - z
        return t, r, d, d * d - 1.0 + r * d, np.log(t)
    # r = z + 1/(z + 2/(z + 3/(z + ...))); the partial fractions d, e, f give the derivatives without the
    # cancellation in r - z.
    f = 0.0
    for k in range(10 + int(200.0 / (z * z)), 2, -1):
        f = k / (z + f)
    e = 2.0 / (z + f)
    d = 1.0 / (z + e)
    r = z + d
    log_density = -0.5 * z * z - HALF_LOG_2PI
    return np.exp(log_density) / r, r, d, d * d * e * (f - e), log_density - np.log(r)


@inline
def binomial_probit(y, eta, a, base, phi):
    """Observation under the probit link, p = Phi(eta): the smaller of p and q from the tail, the other by it."""
    if a == 0.0:
        return NOTHING
    z = abs(eta)
    t, r, d, c, log_t = normal_tail(z)
    rest = 1.0 - t
    m = r * t / rest
    g = z + m
    m2, m3 = -m * g, m * (g * g - 1.0 + m * g)
    if eta > 0.0:
        l0 = base + a * _log_density(y, a, rest, t, np.log1p(-t), log_t)
        return _join(y, a, l0, m, m2, m3, -r, -r * d, -r * c)
    l0 = base + a * _log_density(y, a, t, rest, log_t, np.log1p(-t))
    return _join(y, a, l0, r, -r * d, r * c, -m, m2, -m3)


@inline
def mills_cloglog(t):
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
def log_cloglog(eta, t):
    """Log of p = 1 - exp(-t), t = exp(eta)."""
    if t < 1e-3:
        return eta - 0.5 * t + t * t / 24.0
    return np.log(-np.expm1(-t)) if t < 0.7 else np.log1p(-np.exp(-t))


@inline
def binomial_cloglog(y, eta, a, base, phi):
    """Observation under the complementary log-log link, log q = -exp(eta)."""
    if a == 0.0:
        return NOTHING
    t = np.exp(eta)
    log_p = 0.0 if y == 0.0 else log_cloglog(eta, t)
    l0 = base + a * _log_density(y, a, -np.expm1(-t), np.exp(-t), log_p, -t)
    r, c = mills_cloglog(t)
    return _join(y, a, l0, r, _times(r, c), _times(r, c * c - t - r * c), -t, -t, -t)


@inline
def cauchy_derivatives(p, g, x):
    """First three derivatives of log p, p = 1/2 + arctan(eta)/pi, g = 1/(1 + eta^2), x = eta g."""
    r1 = g / (np.pi * p)
    r2, r3 = -2.0 * x * r1, (6.0 * x * x - 2.0 * g * g) * r1
    return r1, r2 - r1 * r1, r3 - 3.0 * r1 * r2 + 2.0 * r1**3


@inline
def binomial_cauchit(y, eta, a, base, phi):
    """Observation under the cauchit link; not log-concave."""
    if a == 0.0:
        return NOTHING
    tail = np.arctan2(1.0, abs(eta)) / np.pi
    p, q = (1.0 - tail, tail) if eta > 0.0 else (tail, 1.0 - tail)
    log_p = 0.0 if y == 0.0 else np.log(p)
    log_q = 0.0 if y == 1.0 else np.log(q)
    g = 1.0 / (1.0 + eta * eta)
    p1, p2, p3 = cauchy_derivatives(p, g, eta * g)
    q1, q2, q3 = cauchy_derivatives(q, g, -eta * g)
    return _join(y, a, base + a * _log_density(y, a, p, q, log_p, log_q), p1, p2, p3, -q1, q2, -q3)


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
    log_q = 0.0 if y == 1.0 else (np.log1p(-p) if p < 0.5 else np.log(q))
    l0 = base + a * _log_density(y, a, p, q, eta, log_q)
    return _join(y, a, l0, 1.0, 0.0, 0.0, -r, -r / q, -r * (1.0 + p) / (q * q))


@inline
def _jet_of(observation, a, eta):
    """The log density of a trials as a jet, from the observation of one: its derivatives in eta are all there are."""
    l, s, h, _, dh, _ = observation  # noqa: E741  the field's symbol
    return times(a, compose(eta, l, s, -h, -dh))


@inline
def binomial_logit_density(y, a, eta, first, second, third):
    """Log density in jets under the logit link."""
    return _jet_of(binomial_logit(y, eta[0], 1.0, 0.0, 0.0), a, eta)


@inline
def binomial_probit_density(y, a, eta, first, second, third):
    """Log density in jets under the probit link."""
    return _jet_of(binomial_probit(y, eta[0], 1.0, 0.0, 0.0), a, eta)


@inline
def binomial_cloglog_density(y, a, eta, first, second, third):
    """Log density in jets under the complementary log-log link."""
    return _jet_of(binomial_cloglog(y, eta[0], 1.0, 0.0, 0.0), a, eta)


@inline
def binomial_cauchit_density(y, a, eta, first, second, third):
    """Log density in jets under the cauchit link."""
    return _jet_of(binomial_cauchit(y, eta[0], 1.0, 0.0, 0.0), a, eta)


@inline
def binomial_log_density(y, a, eta, first, second, third):
    """Log density in jets under the log link."""
    return _jet_of(binomial_log(y, eta[0], 1.0, 0.0, 0.0), a, eta)


def log_coefficient(k: FloatArray, r: FloatArray, a: FloatArray, saturated_from: float) -> FloatArray:
    """Log of (a over k), r = a - k, not only for whole counts; from so many trials on times (k/a)^k (r/a)^r."""
    out = np.zeros_like(k)
    mixed = (k > 0.0) & (r > 0.0)
    k, r, a = k[mixed], r[mixed], a[mixed]
    rest = stirling_rests(a) - stirling_rests(k) - stirling_rests(r)
    log_powers = np.where(a < saturated_from, k * np.log(k / a) + r * np.log(r / a), 0.0)
    out[mixed] = rest - 0.5 * np.log(k / a * r) - HALF_LOG_2PI - log_powers
    return out


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
    rare_points: ClassVar = {"logit": (many_trials, binomial_logit_large)}

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Log of the binomial coefficient (a over a*y), or for large a the saturated log density."""
        return log_coefficient(a * y, a * (1.0 - y), a, saturated_from=LARGE)

    densities: ClassVar = {
        "logit": binomial_logit_density,
        "probit": binomial_probit_density,
        "cloglog": binomial_cloglog_density,
        "cauchit": binomial_cauchit_density,
        "log": binomial_log_density,
    }

    def density_base(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Log of the binomial coefficient (a over a*y)."""
        return log_coefficient(a * y, a * (1.0 - y), a, saturated_from=np.inf)

    def variance(self, mu: FloatArray) -> FloatArray:
        """mu (1 - mu), at least eps."""
        return np.maximum(mu * (1.0 - mu), EPS)

    def _deviance(self, y: FloatArray, mu: FloatArray) -> FloatArray:
        """2 {y log(y/mu) + (1-y) log((1-y)/(1-mu))}."""
        return -2.0 * (log_ratio_excess(y, mu) + log_ratio_excess(1.0 - y, 1.0 - mu))

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
        return float(-2.0 * np.sum(log_coefficient(k, m - k, m, saturated_from=np.inf) + rows))

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
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
    weights_repeat = True

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """Y is 0 or 1."""
        self._require((y == 0.0) | (y == 1.0), y, "a Bernoulli response must be 0 or 1")

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """0 or 1; the weight, which repeats a row, plays no part in drawing it."""
        return rng.binomial(1, mu).astype(np.float64)
