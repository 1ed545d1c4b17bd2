r"""Negative binomial counts with variance (1 + phi) mu ("NB1").

Place in the reading order: after ``density``. With size :math:`k = \mu/\phi`,

.. math:: l = a\Big\{\log\frac{\Gamma(y + k)}{\Gamma(k)\,k^y} + y\log\frac{\mu}{1 + \phi}
              - k\log(1 + \phi) - \log y!\Big\}

so that the size, not the odds, moves with the mean. phi tends to 0 at the Poisson, where every term tends to its own.

Source: Hardin and Hilbe, *Generalized linear models and extensions*, "NB-1".
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refglmm._jit import inline
from refglmm.families.base import FloatArray, minus_log_factorial
from refglmm.families.density import DensityFamily
from refglmm.families.jet import add, divide, log1p_of, log_of, log_rising_of, multiply, subtract, times
from refglmm.families.positive_means import by_identity, by_log, by_sqrt


@inline
def nbinom1(y, a, mu, log_mu, phi):
    """Log density from jets of the mean, its logarithm and phi."""
    k, growth = divide(mu, phi), log1p_of(phi)
    rest = subtract(times(y, subtract(log_mu, growth)), multiply(k, growth))
    return times(a, add(log_rising_of(subtract(log_mu, log_of(phi)), y), rest))


@inline
def nbinom1_log(y, a, eta, first, second, third):
    """Log density under the log link."""
    mu, log_mu = by_log(eta)
    return nbinom1(y, a, mu, log_mu, first)


@inline
def nbinom1_sqrt(y, a, eta, first, second, third):
    """Log density under the square-root link, eta > 0."""
    mu, log_mu = by_sqrt(eta)
    return nbinom1(y, a, mu, log_mu, first)


@inline
def nbinom1_identity(y, a, eta, first, second, third):
    """Log density under the identity link, eta > 0."""
    mu, log_mu = by_identity(eta)
    return nbinom1(y, a, mu, log_mu, first)


class NegativeBinomial1(DensityFamily):
    """Negative binomial, Var y = (1 + phi) mu. Links: log (default), sqrt, identity.

    Parameters
    ----------
    link : str or Link, optional
    phi : float, optional
        Known excess of the variance over the Poisson's, > 0. If left out it is estimated.
    """

    name = "nbinom1"
    default_link = "log"
    is_count = True
    weights_repeat = True
    domains: ClassVar = {"identity": "positive"}
    densities: ClassVar = {"log": nbinom1_log, "sqrt": nbinom1_sqrt, "identity": nbinom1_identity}

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """-a log y!."""
        return minus_log_factorial(y, a)

    def variance(self, mu: FloatArray) -> FloatArray:
        """(1 + phi) mu."""
        return (1.0 + self.shape("phi")) * mu

    def zero_probability(self, mu: FloatArray) -> FloatArray:
        """(1 + phi)^(-mu/phi)."""
        phi = self.shape("phi")
        return np.exp(-mu * np.log1p(phi) / phi)

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Y, a zero replaced by 1/6."""
        return y + (y == 0.0) / 6.0

    def initial_shape(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """Moments: mean of a {(y - mu)^2 / mu} less one, kept within [0.01, 100]."""
        used = a > 0
        ratio = np.average((y[used] - mu[used]) ** 2 / mu[used], weights=a[used])
        return np.clip([ratio - 1.0], 0.01, 100.0)[: self.n_shape]

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """0 <= y <= 2^53, and should be whole."""
        self._require_counts(y, "nbinom1")

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Counts; the weight, which repeats a row, plays no part in drawing it."""
        excess = self.complete(phi)[0]
        return rng.negative_binomial(mu / excess, 1.0 / (1.0 + excess)).astype(np.float64)
