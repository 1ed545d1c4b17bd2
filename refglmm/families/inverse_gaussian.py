r"""Inverse Gaussian responses with mean mu and dispersion phi.

Place in the reading order: after ``gamma``. With :math:`\lambda = a/\phi`, so that Var y = mu^3 / lambda:

.. math:: l = -\tfrac12\log(2\pi y^3) + \tfrac12\log\lambda - \frac{\lambda (y/\mu - 1)^2}{2y}

so only :math:`z(\eta) = 1/\mu` matters: every link is written through z and its first three derivatives,

.. math:: l_z = \lambda(1 - yz),\qquad l_{zz} = -\lambda y,\qquad E(yz) = 1.

Source: Seshadri, *The inverse Gaussian distribution*; Johnson, Kotz and Balakrishnan, chapter 15.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refglmm._jit import inline
from refglmm.families.base import Family, FloatArray, drawing_weight, weighted
from refglmm.families.jet import add, divide, exp_of, log_of, positive, reciprocal, shift, sqrt_of, square, times
from refglmm.families.links import NOTHING, NOTHING_SHAPE, OUTSIDE, OUTSIDE_SHAPE


@inline
def _join(y, a, base, phi, z, z1, z2, z3):
    """Observation from z = 1/mu and its derivatives: information lambda z1^2 / z."""
    k = a / phi
    r = y * z - 1.0
    return (
        base + 0.5 * np.log(k) - 0.5 * k * (r * r / y),
        -k * r * z1,
        k * (y * z1 * z1 + r * z2),
        k * z1 * (z1 / z),
        k * (3.0 * y * z1 * z2 + r * z3),
        k * (z1 / z) * (2.0 * z2 - z1 * (z1 / z)),
    )


@inline
def inverse_gaussian_canonical(y, eta, a, base, phi):
    """Observation under the canonical link, z = sqrt(eta), eta > 0."""
    if a == 0.0:
        return NOTHING
    if eta <= 0.0:
        return OUTSIDE
    k, z = a / phi[0], np.sqrt(eta)
    r = y * z - 1.0
    w = 0.25 * k / (z * eta)
    dw = -1.5 * w / eta
    return base + 0.5 * np.log(k) - 0.5 * k * (r * r / y), -0.5 * k * r / z, w, w, dw, dw


@inline
def inverse_gaussian_inverse(y, eta, a, base, phi):
    """Observation under the inverse link, z = eta > 0."""
    if a == 0.0:
        return NOTHING
    if eta <= 0.0:
        return OUTSIDE
    return _join(y, a, base, phi[0], eta, 1.0, 0.0, 0.0)


@inline
def inverse_gaussian_log(y, eta, a, base, phi):
    """Observation under the log link, z = exp(-eta), fused; not log-concave."""
    if a == 0.0:
        return NOTHING
    k, z = a / phi[0], np.exp(-eta)
    r, w = y * z - 1.0, k * z
    return (
        base + 0.5 * np.log(k) - 0.5 * k * (r * r / y),
        w * r,
        w * (2.0 * r + 1.0),
        w,
        -w * (4.0 * r + 3.0),
        -w,
    )


@inline
def inverse_gaussian_identity(y, eta, a, base, phi):
    """Observation under the identity link, z = 1/eta, eta > 0; not log-concave."""
    if a == 0.0:
        return NOTHING
    if eta <= 0.0:
        return OUTSIDE
    z = 1.0 / eta
    return _join(y, a, base, phi[0], z, -z * z, 2.0 * z**3, -6.0 * z**4)


@inline
def _shape(observation, y, z, a, phi):
    """d/dphi: s, h, w are proportional to 1/phi."""
    _, s, h, w, _, _ = observation
    r = y * z - 1.0
    return 0.5 * (a / phi * (r * r / y) - 1.0) / phi, -s / phi, -h / phi, -w / phi


@inline
def inverse_gaussian_canonical_shape(y, eta, a, phi, j):
    """Derivatives in phi under the canonical link."""
    if a == 0.0:
        return NOTHING_SHAPE
    if eta <= 0.0:
        return OUTSIDE_SHAPE
    return _shape(inverse_gaussian_canonical(y, eta, a, 0.0, phi), y, np.sqrt(eta), a, phi[0])


@inline
def inverse_gaussian_inverse_shape(y, eta, a, phi, j):
    """Derivatives in phi under the inverse link."""
    if a == 0.0:
        return NOTHING_SHAPE
    if eta <= 0.0:
        return OUTSIDE_SHAPE
    return _shape(inverse_gaussian_inverse(y, eta, a, 0.0, phi), y, eta, a, phi[0])


@inline
def inverse_gaussian_log_shape(y, eta, a, phi, j):
    """Derivatives in phi under the log link."""
    if a == 0.0:
        return NOTHING_SHAPE
    return _shape(inverse_gaussian_log(y, eta, a, 0.0, phi), y, np.exp(-eta), a, phi[0])


@inline
def inverse_gaussian_identity_shape(y, eta, a, phi, j):
    """Derivatives in phi under the identity link."""
    if a == 0.0:
        return NOTHING_SHAPE
    if eta <= 0.0:
        return OUTSIDE_SHAPE
    return _shape(inverse_gaussian_identity(y, eta, a, 0.0, phi), y, 1.0 / eta, a, phi[0])


@inline
def _in_reciprocal(y, a, rate, phi):
    """Log density in jets of rate = 1/mu: log(a/phi)/2 - a (y rate - 1)^2 / (2 phi y)."""
    misfit = divide(times(a / y, square(shift(times(y, rate), -1.0))), phi)
    return shift(times(-0.5, add(log_of(phi), misfit)), 0.5 * np.log(a))


@inline
def inverse_gaussian_square_density(y, a, eta, first, second, third):
    """Log density in jets under the link 1/mu^2."""
    return _in_reciprocal(y, a, sqrt_of(positive(eta)), first)


@inline
def inverse_gaussian_inverse_density(y, a, eta, first, second, third):
    """Log density in jets under the inverse link."""
    return _in_reciprocal(y, a, positive(eta), first)


@inline
def inverse_gaussian_log_density(y, a, eta, first, second, third):
    """Log density in jets under the log link."""
    return _in_reciprocal(y, a, exp_of(times(-1.0, eta)), first)


@inline
def inverse_gaussian_identity_density(y, a, eta, first, second, third):
    """Log density in jets under the identity link."""
    return _in_reciprocal(y, a, reciprocal(positive(eta)), first)


class InverseGaussian(Family):
    """Inverse Gaussian with variance phi mu^3 / a. Links: 1/mu^2 (default), inverse, log, identity."""

    name = "inverse_gaussian"
    r_name = "inverse.gaussian"
    default_link = "1/mu^2"
    canonical_link = "1/mu^2"
    concave_links = frozenset({"1/mu^2", "inverse"})
    has_scale = True
    is_zero_truncated = True
    shape_names = ("phi",)
    domains: ClassVar = {"inverse": "positive", "identity": "positive"}
    points: ClassVar = {
        "1/mu^2": inverse_gaussian_canonical,
        "inverse": inverse_gaussian_inverse,
        "log": inverse_gaussian_log,
        "identity": inverse_gaussian_identity,
    }
    shape_points: ClassVar = {
        "1/mu^2": inverse_gaussian_canonical_shape,
        "inverse": inverse_gaussian_inverse_shape,
        "log": inverse_gaussian_log_shape,
        "identity": inverse_gaussian_identity_shape,
    }

    densities: ClassVar = {
        "1/mu^2": inverse_gaussian_square_density,
        "inverse": inverse_gaussian_inverse_density,
        "log": inverse_gaussian_log_density,
        "identity": inverse_gaussian_identity_density,
    }

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """-log(2 pi y^3) / 2."""
        return np.where(a == 0.0, 0.0, -0.5 * np.log(2.0 * np.pi) - 1.5 * np.log(y))

    def variance(self, mu: FloatArray) -> FloatArray:
        """Mu cubed."""
        return np.asarray(mu, dtype=np.float64) ** 3

    def _deviance(self, y: FloatArray, mu: FloatArray) -> FloatArray:
        """(y - mu)^2 / (y mu^2)."""
        return ((y - mu) / mu) ** 2 / y

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Y itself."""
        return np.array(y, dtype=np.float64)

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """Y > 0."""
        ok = (y > 0.0) & (y < np.inf)
        self._require(ok, y, "only positive values are allowed for the inverse Gaussian family")

    def minus_two_log_density(self, y: FloatArray, mu: FloatArray, a: FloatArray, deviance: float) -> float:
        """Sum of a times (log(2 pi sum d / sum a) + 1), plus 3 sum a log y + 2."""
        total = a.sum()
        constant = total * (np.log(2.0 * np.pi * deviance / total) + 1.0)
        return float(constant + 3.0 * np.sum(weighted(a, np.log(y))) + 2.0)

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Inverse Gaussian (Wald) with mean mu and scale a/phi."""
        return rng.wald(mu, drawing_weight(a) / phi[0])
