r"""Negative binomial counts with variance (1 + phi) mu ("NB1").

Place in the reading order: after ``density``. With size :math:`k = \mu/\phi`,

.. math:: l = a\Big\{\log\Gamma(y + k) - \log\Gamma(k) + y\log\frac{\phi}{1 + \phi}
              - k\log(1 + \phi) - \log y!\Big\}

so that the size, not the odds, moves with the mean. phi tends to 0 at the Poisson.

Source: Hardin and Hilbe, *Generalized linear models and extensions*, "NB-1".
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refglmm._jit import inline
from refglmm.families.base import FloatArray, minus_log_factorial
from refglmm.families.density import DensityFamily
from refglmm.families.jet import (
    add,
    compose,
    divide,
    exp_of,
    log1p_of,
    log_gamma_of,
    log_of,
    multiply,
    shift,
    square,
    subtract,
    times,
)


@inline
def _in_mean(y, a, mu, phi):
    """Log density from jets of the mean and of phi."""
    k = divide(mu, phi)
    rising = subtract(log_gamma_of(shift(k, y)), log_gamma_of(k))
    odds = times(y, subtract(log_of(phi), log1p_of(phi)))
    return times(a, subtract(add(rising, odds), multiply(k, log1p_of(phi))))


@inline
def nbinom1_log(y, a, eta, first, second, third):
    """Log density under the log link."""
    return _in_mean(y, a, exp_of(eta), first)


@inline
def nbinom1_sqrt(y, a, eta, first, second, third):
    """Log density under the square-root link, eta > 0."""
    return _in_mean(y, a, square(eta) if eta[0] > 0.0 else compose(eta, np.nan, 0.0, 0.0, 0.0), first)


@inline
def nbinom1_identity(y, a, eta, first, second, third):
    """Log density under the identity link, eta > 0."""
    return _in_mean(y, a, eta, first)


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
    weights_repeat = True
    domains: ClassVar = {"identity": "positive"}
    densities: ClassVar = {"log": nbinom1_log, "sqrt": nbinom1_sqrt, "identity": nbinom1_identity}

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """-a log y!."""
        return minus_log_factorial(y, a)

    def variance(self, mu: FloatArray) -> FloatArray:
        """(1 + phi) mu."""
        return (1.0 + self.shape("phi")) * mu

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
