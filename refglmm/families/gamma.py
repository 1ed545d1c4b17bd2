r"""Gamma responses with mean mu and dispersion phi.

Place in the reading order: after ``poisson``; the first with a shape parameter. Prior weight a gives shape
:math:`k = a/\phi`, so Var y = phi mu^2 / a:

.. math:: l = -\log y + \tfrac12\log\frac{k}{2\pi} - \delta(k) - k\,D,\qquad
          D = \frac y\mu - 1 - \log\frac y\mu \ge 0

with :math:`\delta` of ``special``: k log k - log Gamma(k), cancelled in advance, accurate at any k. 2D is the
unit deviance.

Source: McCullagh and Nelder, chapter 8.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refglmm._jit import inline
from refglmm.families.base import Family, FloatArray, drawing_weight, weighted
from refglmm.families.jet import compose, exp_of, log_of, multiply, reciprocal, shift, subtract, times
from refglmm.families.links import NOTHING, NOTHING_SHAPE, OUTSIDE, OUTSIDE_SHAPE
from refglmm.families.special import expm1_minus, log_minus_digamma, log_stirling_constant, polygammas


@inline
def gamma_log(y, eta, a, base, phi):
    """Observation under the log link: h = k y/mu, w = k."""
    if a == 0.0:
        return NOTHING
    k = a / phi[0]
    r = y * np.exp(-eta)
    l0 = base + log_stirling_constant(k) - k * expm1_minus(np.log(y) - eta, r)
    return l0, k * (r - 1.0), k * r, k, -k * r, 0.0


@inline
def gamma_inverse(y, eta, a, base, phi):
    """Observation under the canonical link, mu = 1/eta, eta > 0."""
    if a == 0.0:
        return NOTHING
    if eta <= 0.0:
        return OUTSIDE
    k = a / phi[0]
    mu = 1.0 / eta
    w = k * mu * mu
    dw = -2.0 * w * mu
    return base + log_stirling_constant(k) - k * expm1_minus(np.log(y * eta), y * eta), k * (mu - y), w, w, dw, dw


@inline
def gamma_identity(y, eta, a, base, phi):
    """Observation under the identity link, eta > 0; not log-concave."""
    if a == 0.0:
        return NOTHING
    if eta <= 0.0:
        return OUTSIDE
    k = a / phi[0]
    r, k2 = y / eta, k / (eta * eta)
    return (
        base + log_stirling_constant(k) - k * expm1_minus(np.log(r), r),
        k / eta * (r - 1.0),
        k2 * (2.0 * r - 1.0),
        k2,
        k2 / eta * (2.0 - 6.0 * r),
        -2.0 * k2 / eta,
    )


@inline
def _shape(observation, log_ratio, ratio, a, phi):
    """d/dphi: l depends on phi through k alone, and s, h, w are proportional to k; ratio = y/mu."""
    k = a / phi
    _, s, h, w, _, _ = observation
    dl_dk = log_minus_digamma(k) - expm1_minus(log_ratio, ratio)
    return -k / phi * dl_dk, -s / phi, -h / phi, -w / phi


@inline
def gamma_log_shape(y, eta, a, phi, j):
    """Derivatives in phi under the log link."""
    if a == 0.0:
        return NOTHING_SHAPE
    return _shape(gamma_log(y, eta, a, 0.0, phi), np.log(y) - eta, y * np.exp(-eta), a, phi[0])


@inline
def gamma_inverse_shape(y, eta, a, phi, j):
    """Derivatives in phi under the inverse link."""
    if a == 0.0:
        return NOTHING_SHAPE
    if eta <= 0.0:
        return OUTSIDE_SHAPE
    return _shape(gamma_inverse(y, eta, a, 0.0, phi), np.log(y * eta), y * eta, a, phi[0])


@inline
def gamma_identity_shape(y, eta, a, phi, j):
    """Derivatives in phi under the identity link."""
    if a == 0.0:
        return NOTHING_SHAPE
    if eta <= 0.0:
        return OUTSIDE_SHAPE
    return _shape(gamma_identity(y, eta, a, 0.0, phi), np.log(y / eta), y / eta, a, phi[0])


@inline
def _in_log_ratio(a, log_ratio, phi):
    """Log density in jets, with k = a/phi and r = y/mu: k log k - k - log Gamma(k) - k (r - 1 - log r)."""
    k = times(a, reciprocal(phi))
    _, trigamma, tetragamma = polygammas(k[0])
    r = 1.0 / k[0]
    constant = compose(k, log_stirling_constant(k[0]), log_minus_digamma(k[0]), r - trigamma, -r * r - tetragamma)
    return subtract(constant, multiply(k, shift(subtract(exp_of(log_ratio), log_ratio), -1.0)))


@inline
def gamma_log_density(y, a, eta, first, second, third):
    """Log density in jets under the log link."""
    return _in_log_ratio(a, shift(times(-1.0, eta), np.log(y)), first)


@inline
def gamma_inverse_density(y, a, eta, first, second, third):
    """Log density in jets under the inverse link."""
    return _in_log_ratio(a, shift(log_of(eta), np.log(y)), first)


@inline
def gamma_identity_density(y, a, eta, first, second, third):
    """Log density in jets under the identity link."""
    return _in_log_ratio(a, shift(times(-1.0, log_of(eta)), np.log(y)), first)


class Gamma(Family):
    """Gamma with dispersion phi, the squared coefficient of variation.

    Links: inverse (default), log, identity.
    """

    name = "gamma"
    r_name = "Gamma"
    default_link = "inverse"
    canonical_link = "inverse"
    concave_links = frozenset({"inverse", "log"})
    has_scale = True
    is_zero_truncated = True
    shape_names = ("phi",)
    domains: ClassVar = {"inverse": "positive", "identity": "positive"}
    points: ClassVar = {"inverse": gamma_inverse, "log": gamma_log, "identity": gamma_identity}
    shape_points: ClassVar = {
        "inverse": gamma_inverse_shape,
        "log": gamma_log_shape,
        "identity": gamma_identity_shape,
    }

    densities: ClassVar = {
        "inverse": gamma_inverse_density,
        "log": gamma_log_density,
        "identity": gamma_identity_density,
    }

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """-log y."""
        return np.where(a == 0.0, 0.0, -np.log(y))

    def variance(self, mu: FloatArray) -> FloatArray:
        """Mu squared."""
        return np.asarray(mu, dtype=np.float64) ** 2

    def _deviance(self, y: FloatArray, mu: FloatArray) -> FloatArray:
        """2 {(y - mu)/mu - log(y/mu)}."""
        return 2.0 * ((y - mu) / mu - np.log(y / mu))

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """The overall mean in every row."""
        return np.full_like(y, y.mean())

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """Y > 0."""
        self._require((y > 0.0) & (y < np.inf), y, "non-positive values are not allowed for the Gamma family")

    def minus_two_log_density(self, y: FloatArray, mu: FloatArray, a: FloatArray, deviance: float) -> float:
        """-2 sum a log Gamma(y; mu, phi = sum d / sum a) + 2: the weight outside the density, as R has it."""
        from scipy.special import gammaln

        k = a.sum() / deviance
        with np.errstate(all="ignore"):
            rows = k * np.log(k * y / mu) - k * y / mu - np.log(y) - gammaln(k)
        return float(-2.0 * np.sum(weighted(a, rows)) + 2.0)

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Gamma with shape a/phi and mean mu."""
        k = drawing_weight(a) / phi[0]
        return rng.gamma(k, mu / k)
