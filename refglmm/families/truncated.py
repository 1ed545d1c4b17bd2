r"""Counts without zeros: Poisson, negative binomials, generalised and Conway-Maxwell-Poisson, given that y > 0.

Place in the reading order: after the distributions that it truncates. With the untruncated density f,

.. math:: l = \log f(y) - a\log\{1 - f(0)\},\qquad
          E y = \frac{\mu}{1 - f(0)},\qquad E y^2 = \frac{V(\mu) + \mu^2}{1 - f(0)} .

The inverse link gives mu, the mean of the *untruncated* law; :meth:`TruncatedCounts.mean` that of the truncated one.
With :math:`x = -\log f(0)`, :math:`\log\{1 - f(0)\} = \log x + \log\{(1 - e^{-x})/x\}`, and log x is the log mean plus
a term that vanishes with the mean; so a density of small mean, almost certainly a one, keeps its digits.

Source: Cameron and Trivedi, *Regression analysis of count data*, "truncated counts"; parametrised as in glmmTMB.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from refglmm._jit import inline
from refglmm.families.base import FloatArray, minus_log_factorial
from refglmm.families.compois import ConwayMaxwellPoisson, compois
from refglmm.families.density import DensityFamily
from refglmm.families.genpois import GeneralizedPoisson, genpois
from refglmm.families.jet import (
    add,
    constant,
    divide,
    log1p_of,
    log_mean_decay_of,
    log_of,
    multiply,
    reciprocal,
    sqrt_of,
    subtract,
    times,
)
from refglmm.families.nbinom1 import NegativeBinomial1, nbinom1
from refglmm.families.negative_binomial import NegativeBinomial, nbinom2
from refglmm.families.poisson import Poisson
from refglmm.families.positive_means import by_log
from refglmm.families.shape_scales import LogScale

#: Where a search starts at most and at least. Moments about a start without random effects take what groups differ by
#: for dispersion; and towards the logarithmic series, to which truncation brings every law of great dispersion, the
#: intercept and the dispersion say the same, so that a search finds its way back only slowly or not at all.
LARGEST_EXCESS, SMALLEST_SIZE = 2.0, 2.0


@inline
def truncate(y, a, log_f, x, log_x):
    """Log density given y > 0, from that without the condition, x = -log f(0) and log x; -inf at y = 0."""
    if y == 0.0:
        return constant(-np.inf)
    return subtract(log_f, times(a, add(log_x, log_mean_decay_of(x))))


# -- Poisson ---------------------------------------------------------------------------------------------------


@inline
def _poisson(y, a, mu, log_mu):
    """Truncated Poisson: x = mu."""
    return truncate(y, a, times(a, subtract(times(y, log_mu), mu)), mu, log_mu)


@inline
def truncated_poisson_log(y, a, eta, first, second, third):
    """Log density under the log link."""
    mu, log_mu = by_log(eta)
    return _poisson(y, a, mu, log_mu)


# -- NB1 -------------------------------------------------------------------------------------------------------


@inline
def _nbinom1(y, a, mu, log_mu, phi):
    """Truncated NB1: x = mu log(1 + phi)/phi."""
    share = divide(log1p_of(phi), phi)
    return truncate(y, a, nbinom1(y, a, mu, log_mu, phi), multiply(mu, share), add(log_mu, log_of(share)))


@inline
def truncated_nbinom1_log(y, a, eta, first, second, third):
    """Log density under the log link."""
    mu, log_mu = by_log(eta)
    return _nbinom1(y, a, mu, log_mu, first)


# -- NB2 -------------------------------------------------------------------------------------------------------


@inline
def _nbinom2(y, a, log_mu, size):
    """Truncated NB2: x = size v, v = log(1 + mu/size); since mu/size = e^v - 1, log x = log mu - v - log_decay(v)."""
    log_f, v = nbinom2(y, a, log_mu, size)
    return truncate(y, a, log_f, multiply(size, v), subtract(log_mu, add(v, log_mean_decay_of(v))))


@inline
def truncated_nbinom2_log(y, a, eta, first, second, third):
    """Log density under the log link."""
    return _nbinom2(y, a, eta, first)


# -- generalised Poisson ---------------------------------------------------------------------------------------


@inline
def _genpois(y, a, mu, log_mu, phi):
    """Truncated generalised Poisson: x = mu/sqrt(phi)."""
    log_x = subtract(log_mu, times(0.5, log_of(phi)))
    return truncate(y, a, genpois(y, a, mu, log_mu, phi), multiply(mu, reciprocal(sqrt_of(phi))), log_x)


@inline
def truncated_genpois_log(y, a, eta, first, second, third):
    """Log density under the log link."""
    mu, log_mu = by_log(eta)
    return _genpois(y, a, mu, log_mu, first)


# -- Conway-Maxwell-Poisson ------------------------------------------------------------------------------------


@inline
def _compois(y, a, log_mu, phi):
    """Truncated Conway-Maxwell-Poisson: x from the density at zero."""
    x = times(-1.0, compois(0.0, 1.0, log_mu, phi))
    return truncate(y, a, compois(y, a, log_mu, phi), x, log_of(x))


@inline
def truncated_compois_log(y, a, eta, first, second, third):
    """Log density under the log link."""
    return _compois(y, a, eta, first)


# -- the families ----------------------------------------------------------------------------------------------


class TruncatedCounts(DensityFamily):
    """A law of counts given that they are not zero. Link: log, of the mean of the law without that condition.

    Attributes
    ----------
    whole : class of Family
        The law that is truncated; its shape parameters have the same names.
    """

    default_link = "log"
    is_count = True
    weights_repeat = True
    is_zero_truncated = True
    is_count = True
    mean_is_inverse_link = False
    whole: ClassVar[Any]

    def _whole(self, phi: FloatArray | None = None) -> Any:
        """The untruncated law, its shape parameters known."""
        shapes = (self.shape(n) for n in self.all_shapes) if phi is None else self.complete(phi)
        return self.whole(self.link.name, **dict(zip(self.all_shapes, map(float, shapes), strict=True)))

    def _minus_log_zero(self, mu: FloatArray) -> FloatArray:
        """-log f(0) of the untruncated law; here the Poisson's."""
        return mu

    def _minus_log_zero_slope(self, mu: FloatArray) -> FloatArray:
        """Its derivative in mu."""
        return np.ones_like(mu)

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """-a log y!."""
        return minus_log_factorial(y, a)

    def mean(self, mu: FloatArray) -> FloatArray:
        """mu / (1 - f(0))."""
        with np.errstate(all="ignore"):
            positive = -np.expm1(-self._minus_log_zero(mu))
            return np.where(positive > 0.0, mu / positive, 1.0)

    def fitted_slope(self, eta: FloatArray) -> FloatArray:
        """With x = -log f(0) and m the mean: dm/deta = m (1 - m e^-x dx/dmu), the link being the logarithm."""
        mu = self.link.inverse(eta)
        mean = self.mean(mu)
        return mean * (1.0 - mean * np.exp(-self._minus_log_zero(mu)) * self._minus_log_zero_slope(mu))

    def variance(self, mu: FloatArray) -> FloatArray:
        """E y^2 - (E y)^2 of the truncated law; mu is the mean of the untruncated one."""
        mean = self.mean(mu)
        second = (self._whole().variance(mu) + mu * mu) * np.where(mu > 0.0, mean / np.where(mu > 0.0, mu, 1.0), 1.0)
        return np.maximum(second - mean * mean, 0.0)

    def zero_probability(self, mu: FloatArray) -> FloatArray:
        """Zero: these laws have none."""
        return np.zeros_like(mu)

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Mean of the Poisson that, truncated, has the mean y: y (1 - e^(1 - y)) nearly; a one gets 1/4."""
        return np.where(y > 1.0, y * -np.expm1(1.0 - y), 0.25)

    def initial_shape(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """That of the untruncated law."""
        return self.whole().initial_shape(y, mu, a)[: self.n_shape]

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """1 <= y <= 2^53, and should be whole."""
        self._require(y >= 1.0, y, f"a zero-truncated response must be 1 or more (the {self.name} family has no zeros)")
        self._require_counts(y, self.name)

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Counts: drawn until positive where zeros are not too many, by adding up probabilities elsewhere."""
        known, law = self.at(phi), self._whole(phi)
        ones, y = np.ones(mu.size), np.zeros(mu.size)
        positive = -np.expm1(-known._minus_log_zero(mu))
        todo = np.flatnonzero(positive > 0.1)
        while todo.size:
            y[todo] = law.simulate(mu[todo], ones[todo], law.fixed_shape, rng)
            todo = todo[y[todo] == 0.0]
        rare = np.flatnonzero(positive <= 0.1)
        rest = rng.random(rare.size)
        while rare.size:
            y[rare] += 1.0
            rest -= np.exp(known.log_density(y[rare], mu[rare], ones[rare]))
            rare, rest = rare[rest > 0.0], rest[rest > 0.0]
        return y


class TruncatedPoisson(TruncatedCounts):
    """Poisson counts without zeros."""

    name = "truncated_poisson"
    whole = Poisson
    all_shapes: ClassVar = {}
    densities: ClassVar = {"log": truncated_poisson_log}


class TruncatedNegativeBinomial1(TruncatedCounts):
    """NB1 counts without zeros, untruncated variance (1 + phi) mu.

    Parameters
    ----------
    link : str or Link, optional
    phi : float, optional
        Known shape of the untruncated law, > 0. If left out it is estimated.
    """

    name = "truncated_nbinom1"
    whole = NegativeBinomial1
    densities: ClassVar = {"log": truncated_nbinom1_log}

    def initial_shape(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """That of the untruncated law, at most ``LARGEST_EXCESS``."""
        return np.minimum(super().initial_shape(y, mu, a), LARGEST_EXCESS)

    def _minus_log_zero(self, mu: FloatArray) -> FloatArray:
        phi = self.shape("phi")
        return mu * np.log1p(phi) / phi

    def _minus_log_zero_slope(self, mu: FloatArray) -> FloatArray:
        phi = self.shape("phi")
        return np.full_like(mu, np.log1p(phi) / phi)


class TruncatedNegativeBinomial2(TruncatedCounts):
    """NB2 counts without zeros, untruncated variance mu + mu^2/size.

    Parameters
    ----------
    link : str or Link, optional
    size : float, optional
        Known size of the untruncated law, > 0. If left out it is estimated.
    """

    name = "truncated_nbinom2"
    whole = NegativeBinomial
    all_shapes: ClassVar = {"size": LogScale()}
    densities: ClassVar = {"log": truncated_nbinom2_log}

    def initial_shape(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """That of the untruncated law, at least ``SMALLEST_SIZE``."""
        return np.maximum(super().initial_shape(y, mu, a), SMALLEST_SIZE)

    def _minus_log_zero(self, mu: FloatArray) -> FloatArray:
        size = self.shape("size")
        return size * np.log1p(mu / size)

    def _minus_log_zero_slope(self, mu: FloatArray) -> FloatArray:
        size = self.shape("size")
        return size / (size + mu)


class TruncatedGeneralizedPoisson(TruncatedCounts):
    """Generalised Poisson counts without zeros, untruncated variance phi mu.

    Parameters
    ----------
    link : str or Link, optional
    phi : float, optional
        Known shape of the untruncated law, > 0. If left out it is estimated.
    """

    name = "truncated_genpois"
    whole = GeneralizedPoisson
    densities: ClassVar = {"log": truncated_genpois_log}

    def _minus_log_zero(self, mu: FloatArray) -> FloatArray:
        return mu / np.sqrt(self.shape("phi"))

    def _minus_log_zero_slope(self, mu: FloatArray) -> FloatArray:
        return np.full_like(mu, 1.0 / np.sqrt(self.shape("phi")))


class TruncatedConwayMaxwellPoisson(TruncatedCounts):
    """Conway-Maxwell-Poisson counts without zeros; mu is the untruncated mean.

    Parameters
    ----------
    link : str or Link, optional
    phi : float, optional
        Known shape of the untruncated law, > 0. If left out it is estimated.
    """

    name = "truncated_compois"
    whole = ConwayMaxwellPoisson
    densities: ClassVar = {"log": truncated_compois_log}

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """0: log y! has the factor 1/phi."""
        return np.zeros_like(y)

    def _minus_log_zero(self, mu: FloatArray) -> FloatArray:
        return -np.log(self._whole().zero_probability(mu))

    def _minus_log_zero_slope(self, mu: FloatArray) -> FloatArray:
        """x = log Z, and dlog Z/dlog lambda = mu, dmu/dlog lambda = V: dx/dmu = mu/V."""
        return mu / self._whole().variance(mu)
