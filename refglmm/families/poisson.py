r"""Poisson counts.

Place in the reading order: after ``binomial``. The prior weight multiplies the log density:

.. math:: l = a\{y\log\mu - \mu - \log y!\}

and for large y, with :math:`x = (\mu - y)/y`, the saturated log density, which is the base measure, minus half
the deviance, :math:`l = c + a y\{\log(1 + x) - x\}`.

Source: McCullagh and Nelder, chapter 6. y need not be whole: y! is Gamma(y + 1).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refglmm._jit import inline
from refglmm.families.base import (
    Family,
    FloatArray,
    count_base,
    log_ratio_excess,
    minus_log_factorial,
    weighted,
)
from refglmm.families.elementary import exponential
from refglmm.families.jet import exp_of, log_of, positive, square, subtract, times
from refglmm.families.links import NOTHING, OUTSIDE
from refglmm.families.special import LARGE, NEAR, near_excess


@inline
def _log_density(y, mu, log_mu):
    """Return l at weight one without the base measure of ``count_base``."""
    if y < LARGE:
        return y * log_mu - mu
    d = mu - y
    if abs(d) <= NEAR * y:
        return near_excess(y, d)
    return y * (log_mu - np.log(y)) - d


@inline
def poisson_log(y, eta, a, base, phi):
    """Observation under the log link, fused: s = a (y - mu), h = w = a mu. Not for large y, see below."""
    if a == 0.0:
        return NOTHING
    mu = exponential(eta)
    w = a * mu
    return base + a * (y * eta - mu), a * (y - mu), w, w, w, w


@inline
def large_count(y, a):
    """Whether the base measure of a row is its saturated log density."""
    return y >= LARGE and a != 0.0


@inline
def poisson_log_large(y, eta, a, base, phi):
    """As ``poisson_log`` for a large count: l from the saturated log density."""
    _, s, h, w, dh, dw = poisson_log(y, eta, a, base, phi)
    return base + a * _log_density(y, exponential(eta), eta), s, h, w, dh, dw


@inline
def poisson_sqrt(y, eta, a, base, phi):
    """Observation under the square-root link, mu = eta^2, eta > 0."""
    if a == 0.0:
        return NOTHING
    if eta <= 0.0:
        return OUTSIDE
    r = 2.0 * y / eta
    h, dh = a * (r / eta + 2.0), -2.0 * a * r / (eta * eta)
    l0 = base + a * _log_density(y, eta * eta, 2.0 * np.log(eta))
    return l0, a * (r - 2.0 * eta), h, 4.0 * a, dh, 0.0


@inline
def poisson_identity(y, eta, a, base, phi):
    """Observation under the identity link, eta > 0."""
    if a == 0.0:
        return NOTHING
    if eta <= 0.0:
        return OUTSIDE
    r = y / eta
    w = a / eta
    l0 = base + a * _log_density(y, eta, np.log(eta))
    return l0, a * (r - 1.0), w * r, w, -2.0 * w * r / eta, -w / eta


@inline
def poisson_log_density(y, a, eta, first, second, third):
    """Log density in jets under the log link."""
    return times(a, subtract(times(y, eta), exp_of(eta)))


@inline
def poisson_sqrt_density(y, a, eta, first, second, third):
    """Log density in jets under the square-root link."""
    return times(a, subtract(times(2.0 * y, log_of(eta)), square(positive(eta))))


@inline
def poisson_identity_density(y, a, eta, first, second, third):
    """Log density in jets under the identity link."""
    return times(a, subtract(times(y, log_of(eta)), positive(eta)))


class Poisson(Family):
    """Poisson counts. Links: log (default), sqrt, identity."""

    name = "poisson"
    r_name = "poisson"
    default_link = "log"
    weights_repeat = True
    is_count = True
    canonical_link = "log"
    concave_links = frozenset({"log", "sqrt", "identity"})
    domains: ClassVar = {"identity": "positive"}
    points: ClassVar = {"log": poisson_log, "sqrt": poisson_sqrt, "identity": poisson_identity}
    densities: ClassVar = {
        "log": poisson_log_density,
        "sqrt": poisson_sqrt_density,
        "identity": poisson_identity_density,
    }
    rare_points: ClassVar = {"log": (large_count, poisson_log_large)}

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """-a log y!, or for large y the saturated log density."""
        return count_base(y, a)

    def density_base(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """-a log y!."""
        return minus_log_factorial(y, a)

    def variance(self, mu: FloatArray) -> FloatArray:
        """Mu itself."""
        return np.array(mu, dtype=np.float64)

    def _deviance(self, y: FloatArray, mu: FloatArray) -> FloatArray:
        """2 {y log(y/mu) - (y - mu)}."""
        return -2.0 * log_ratio_excess(y, mu)

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Y + 0.1, so that a zero has a logarithm."""
        return y + 0.1

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """0 <= y <= 2^53, and should be whole."""
        self._require_counts(y, "Poisson")

    def minus_two_log_density(self, y: FloatArray, mu: FloatArray, a: FloatArray, deviance: float) -> float:
        """-2 sum a log Pois(y; mu)."""
        with np.errstate(all="ignore"):
            direct = np.where(y > 0, y * np.log(mu), 0.0) - mu
        rows = np.where(y < LARGE, direct, log_ratio_excess(y, mu))
        return float(-2.0 * np.sum(self.base_measure(y, a) + weighted(a, rows)))

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Counts; the weight, which repeats a row, plays no part in drawing it."""
        return rng.poisson(mu).astype(np.float64)
