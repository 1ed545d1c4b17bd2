r"""Gaussian responses with a link other than the identity (with it the model is a linear mixed model).

Place in the reading order: after ``inverse_gaussian``. phi is the residual variance at weight one:

.. math:: l = \tfrac12\log\frac{a}{2\pi\phi} - \frac{a (y - \mu)^2}{2\phi}
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refglmm._jit import inline
from refglmm.families.base import Family, FloatArray, drawing_weight
from refglmm.families.jet import add, divide, exp_of, log_of, logistic_of, reciprocal, shift, square, times
from refglmm.families.links import (
    NOTHING,
    NOTHING_SHAPE,
    OUTSIDE,
    OUTSIDE_SHAPE,
    identity_mean,
    inverse_mean,
    log_mean,
    logit_mean,
)
from refglmm.families.special import HALF_LOG_2PI


@inline
def _join(y, a, base, phi, mean):
    """Observation from (mu, m1, m2, m3); the third derivative in mu is 0, so nothing is 0 * inf."""
    mu, m1, m2, m3 = mean
    k, r = a / phi, y - mu
    w = k * m1 * m1
    return (
        base - 0.5 * np.log(phi) - 0.5 * k * r * r,
        k * r * m1,
        w - k * r * m2,
        w,
        k * (3.0 * m1 * m2 - r * m3),
        2.0 * k * m1 * m2,
    )


@inline
def gaussian_identity(y, eta, a, base, phi):
    """Observation under the identity link."""
    if a == 0.0:
        return NOTHING
    return _join(y, a, base, phi[0], identity_mean(eta))


@inline
def gaussian_log(y, eta, a, base, phi):
    """Observation under the log link."""
    if a == 0.0:
        return NOTHING
    return _join(y, a, base, phi[0], log_mean(eta))


@inline
def gaussian_inverse(y, eta, a, base, phi):
    """Observation under the inverse link, eta not 0."""
    if a == 0.0:
        return NOTHING
    if eta == 0.0:
        return OUTSIDE
    return _join(y, a, base, phi[0], inverse_mean(eta))


@inline
def gaussian_logit(y, eta, a, base, phi):
    """Observation under the logit link: a mean between 0 and 1."""
    if a == 0.0:
        return NOTHING
    return _join(y, a, base, phi[0], logit_mean(eta))


@inline
def _shape(observation, y, mu, a, phi):
    """d/dphi: s, h, w are proportional to 1/phi."""
    _, s, h, w, _, _ = observation
    r = y - mu
    return 0.5 * (a * r * r / phi - 1.0) / phi, -s / phi, -h / phi, -w / phi


@inline
def gaussian_identity_shape(y, eta, a, phi, j):
    """Derivatives in phi under the identity link."""
    if a == 0.0:
        return NOTHING_SHAPE
    return _shape(gaussian_identity(y, eta, a, 0.0, phi), y, eta, a, phi[0])


@inline
def gaussian_log_shape(y, eta, a, phi, j):
    """Derivatives in phi under the log link."""
    if a == 0.0:
        return NOTHING_SHAPE
    return _shape(gaussian_log(y, eta, a, 0.0, phi), y, np.exp(eta), a, phi[0])


@inline
def gaussian_inverse_shape(y, eta, a, phi, j):
    """Derivatives in phi under the inverse link."""
    if a == 0.0:
        return NOTHING_SHAPE
    if eta == 0.0:
        return OUTSIDE_SHAPE
    return _shape(gaussian_inverse(y, eta, a, 0.0, phi), y, 1.0 / eta, a, phi[0])


@inline
def gaussian_logit_shape(y, eta, a, phi, j):
    """Derivatives in phi under the logit link."""
    if a == 0.0:
        return NOTHING_SHAPE
    return _shape(gaussian_logit(y, eta, a, 0.0, phi), y, logit_mean(eta)[0], a, phi[0])


@inline
def _in_mean(y, a, mu, phi):
    """Log density in jets: -log(phi)/2 - a (y - mu)^2 / (2 phi)."""
    return times(-0.5, add(log_of(phi), divide(times(a, square(shift(mu, -y))), phi)))


@inline
def gaussian_identity_density(y, a, eta, first, second, third):
    """Log density in jets under the identity link."""
    return _in_mean(y, a, eta, first)


@inline
def gaussian_log_density(y, a, eta, first, second, third):
    """Log density in jets under the log link."""
    return _in_mean(y, a, exp_of(eta), first)


@inline
def gaussian_inverse_density(y, a, eta, first, second, third):
    """Log density in jets under the inverse link."""
    return _in_mean(y, a, reciprocal(eta), first)


@inline
def gaussian_logit_density(y, a, eta, first, second, third):
    """Log density in jets under the logit link."""
    return _in_mean(y, a, logistic_of(eta), first)


class Gaussian(Family):
    """Gaussian with variance phi/a. Links: identity (default), log, inverse, logit."""

    name = "gaussian"
    r_name = "gaussian"
    default_link = "identity"
    canonical_link = "identity"
    concave_links = frozenset({"identity"})
    has_scale = True
    shape_names = ("phi",)
    points: ClassVar = {
        "identity": gaussian_identity,
        "log": gaussian_log,
        "inverse": gaussian_inverse,
        "logit": gaussian_logit,
    }
    shape_points: ClassVar = {
        "identity": gaussian_identity_shape,
        "log": gaussian_log_shape,
        "inverse": gaussian_inverse_shape,
        "logit": gaussian_logit_shape,
    }

    densities: ClassVar = {
        "identity": gaussian_identity_density,
        "log": gaussian_log_density,
        "inverse": gaussian_inverse_density,
        "logit": gaussian_logit_density,
    }

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Half of log(a / (2 pi))."""
        return np.where(a == 0.0, 0.0, 0.5 * np.log(drawing_weight(a)) - HALF_LOG_2PI)

    def variance(self, mu: FloatArray) -> FloatArray:
        """One."""
        return np.ones_like(np.asarray(mu, dtype=np.float64))

    def _deviance(self, y: FloatArray, mu: FloatArray) -> FloatArray:
        """(y - mu)^2."""
        return (y - mu) ** 2

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Y itself."""
        return np.array(y, dtype=np.float64)

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """Y is finite."""
        self._require(np.isfinite(y), y, "a gaussian response must be finite")

    def minus_two_log_density(self, y: FloatArray, mu: FloatArray, a: FloatArray, deviance: float) -> float:
        """n (log(2 pi sum d / n) + 1) + 2 - sum log a."""
        n, used = y.size, a > 0
        return float(n * (np.log(2.0 * np.pi * deviance / n) + 1.0) + 2.0 - np.sum(np.log(a[used])))

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Normal with variance phi/a."""
        return rng.normal(mu, np.sqrt(phi[0] / drawing_weight(a)))
