r"""Lognormal responses, parametrised twice: by mean and standard deviation, or by the moments of log y.

Place in the reading order: after ``density``.

- ``lognormal`` (that of glmmTMB): mu is the mean of y and phi its standard deviation, so that with
  :math:`v = \log(1 + \phi^2/\mu^2)`

  .. math:: l = a\Big\{-\log y - \tfrac12\log(2\pi v) - \frac{(\log y - \log\mu + v/2)^2}{2v}\Big\} .

- ``lognormal_log`` (that of GLMMadaptive and brms): eta is the mean of log y and sd its standard deviation,

  .. math:: l = a\Big\{-\log y - \tfrac12\log(2\pi) - \log s - \frac{(\log y - \eta)^2}{2s^2}\Big\} .

  In terms of the link log, mu = exp(eta) is the median of y, and its mean is mu exp(s^2/2).

Both include the Jacobian -log y, so that their likelihoods compare with those of other laws of y. GLMMadaptive leaves
it out: its log likelihood is larger than this one by the sum of a log y.

Source: Johnson, Kotz and Balakrishnan, *Continuous univariate distributions*, volume 1, chapter 14.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refglmm._jit import inline
from refglmm.families.base import TINY, FloatArray, weighted
from refglmm.families.density import DensityFamily
from refglmm.families.jet import add, compose, divide, log_of, shift, softplus_of, square, subtract, times
from refglmm.families.shape_scales import LogScale
from refglmm.families.special import HALF_LOG_2PI


@inline
def _normal_log_density(residual, log_sd, variance):
    """Jet of the log density of a normal residual, without -log(2 pi)/2."""
    return times(-1.0, add(log_sd, times(0.5, divide(square(residual), variance))))


@inline
def _in_log_mean(y, a, log_mean, sd):
    """Log density from jets of the logarithm of the mean and of the standard deviation of y."""
    v = softplus_of(times(2.0, subtract(log_of(sd), log_mean)))
    residual = add(shift(times(-1.0, log_mean), np.log(y)), times(0.5, v))
    return times(a, _normal_log_density(residual, times(0.5, log_of(v)), v))


@inline
def lognormal_log(y, a, eta, first, second, third):
    """Log density under the log link."""
    return _in_log_mean(y, a, eta, first)


@inline
def lognormal_identity(y, a, eta, first, second, third):
    """Log density under the identity link, eta > 0."""
    return _in_log_mean(y, a, log_of(eta) if eta[0] > 0.0 else compose(eta, np.nan, 0.0, 0.0, 0.0), first)


@inline
def lognormal_median(y, a, eta, first, second, third):
    """Log density of which eta is the mean of log y."""
    residual = shift(times(-1.0, eta), np.log(y))
    return times(a, _normal_log_density(residual, log_of(first), square(first)))


class _Lognormal(DensityFamily):
    """What the two parametrisations share."""

    default_link = "log"
    weights_repeat = True
    is_zero_truncated = True

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """-a {log y + log(2 pi) / 2}."""
        with np.errstate(all="ignore"):
            return weighted(a, -np.log(y) - HALF_LOG_2PI)

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Y itself."""
        return np.array(y)

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """Y > 0."""
        self._require((y > 0.0) & (y < np.inf), y, f"non-positive values are not allowed for the {self.name} family")


class Lognormal(_Lognormal):
    """Lognormal with mean mu and standard deviation phi of y itself. Links: log (default), identity.

    Parameters
    ----------
    link : str or Link, optional
    phi : float, optional
        Known standard deviation of y, > 0. If left out it is estimated.
    """

    name = "lognormal"
    domains: ClassVar = {"identity": "positive"}
    densities: ClassVar = {"log": lognormal_log, "identity": lognormal_identity}

    def variance(self, mu: FloatArray) -> FloatArray:
        """phi^2."""
        return np.full(np.shape(mu), self.shape("phi") ** 2)

    def initial_shape(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """Root mean square of y - mu."""
        return np.array([max(float(np.sqrt(np.average((y - mu) ** 2, weights=a))), TINY)])[: self.n_shape]

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Exponential of normal draws; the weight plays no part."""
        v = np.log1p((self.complete(phi)[0] / mu) ** 2)
        return rng.lognormal(np.log(mu) - 0.5 * v, np.sqrt(v))


class LognormalLog(_Lognormal):
    """Lognormal with mean eta and standard deviation sd of log y. Link: log, of the median of y.

    Parameters
    ----------
    link : str or Link, optional
    sd : float, optional
        Known standard deviation of log y, > 0. If left out it is estimated.
    """

    name = "lognormal_log"
    mean_is_inverse_link = False
    all_shapes: ClassVar = {"sd": LogScale()}
    densities: ClassVar = {"log": lognormal_median}

    def mean(self, mu: FloatArray) -> FloatArray:
        """Mu exp(sd^2 / 2)."""
        return mu * np.exp(0.5 * self.shape("sd") ** 2)

    def fitted_slope(self, eta: FloatArray) -> FloatArray:
        """That of a multiple of exp(eta): the mean itself."""
        return self.fitted_mean(eta)

    def variance(self, mu: FloatArray) -> FloatArray:
        """mean^2 (exp(sd^2) - 1)."""
        return self.mean(mu) ** 2 * np.expm1(self.shape("sd") ** 2)

    def initial_shape(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """Root mean square of log(y / mu)."""
        return np.array([max(float(np.sqrt(np.average(np.log(y / mu) ** 2, weights=a))), TINY)])[: self.n_shape]

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Exponential of normal draws; the weight plays no part."""
        return rng.lognormal(np.log(mu), self.complete(phi)[0])
