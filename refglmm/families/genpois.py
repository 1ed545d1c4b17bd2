r"""Generalised Poisson counts with variance phi mu; phi below one is underdispersion.

Place in the reading order: after ``density``. With :math:`r = \phi^{-1/2}`, :math:`\theta = r\mu` and
:math:`\lambda = 1 - r`, and :math:`t = \theta + \lambda y = y + r(\mu - y)`,

.. math:: l = a\{\log\theta + (y - 1)\log t - t - \log y!\} .

For phi < 1 lambda is negative, and the law ends where t does, at :math:`y < \mu/(1 - \sqrt\phi)`; a little of its mass
is then missing (its sum is not one). A step that leaves a response without density is refused, so the fit keeps inside.

Sources: Consul and Famoye, *Lagrangian probability distributions*, "generalized Poisson"; this parametrisation is
glmmTMB's.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refglmm._jit import inline
from refglmm.families.base import FloatArray, minus_log_factorial
from refglmm.families.density import DensityFamily
from refglmm.families.jet import add, constant, log_of, multiply, reciprocal, shift, sqrt_of, subtract, times
from refglmm.families.positive_means import by_identity, by_log, by_sqrt


@inline
def genpois(y, a, mu, log_mu, phi):
    """Log density from jets of the mean, its logarithm and phi."""
    r = reciprocal(sqrt_of(phi))
    t = shift(multiply(r, shift(mu, -y)), y)
    if y == 0.0:
        return times(-a, t)
    if not t[0] > 0.0:
        return constant(np.nan)
    log_theta = subtract(log_mu, times(0.5, log_of(phi)))
    return times(a, subtract(add(log_theta, times(y - 1.0, log_of(t))), t))


@inline
def genpois_log(y, a, eta, first, second, third):
    """Log density under the log link."""
    mu, log_mu = by_log(eta)
    return genpois(y, a, mu, log_mu, first)


@inline
def genpois_sqrt(y, a, eta, first, second, third):
    """Log density under the square-root link, eta > 0."""
    mu, log_mu = by_sqrt(eta)
    return genpois(y, a, mu, log_mu, first)


@inline
def genpois_identity(y, a, eta, first, second, third):
    """Log density under the identity link, eta > 0."""
    mu, log_mu = by_identity(eta)
    return genpois(y, a, mu, log_mu, first)


class GeneralizedPoisson(DensityFamily):
    """Generalised Poisson, Var y = phi mu. Links: log (default), sqrt, identity.

    Parameters
    ----------
    link : str or Link, optional
    phi : float, optional
        Known ratio of variance to mean, > 0. If left out it is estimated.
    """

    name = "genpois"
    default_link = "log"
    is_count = True
    weights_repeat = True
    domains: ClassVar = {"identity": "positive"}
    densities: ClassVar = {"log": genpois_log, "sqrt": genpois_sqrt, "identity": genpois_identity}

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """-a log y!."""
        return minus_log_factorial(y, a)

    def variance(self, mu: FloatArray) -> FloatArray:
        """Phi mu."""
        return self.shape("phi") * mu

    def zero_probability(self, mu: FloatArray) -> FloatArray:
        """exp(-mu/sqrt(phi))."""
        return np.exp(-mu / np.sqrt(self.shape("phi")))

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Y, a zero replaced by 1/6."""
        return y + (y == 0.0) / 6.0

    def initial_shape(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """Moments: mean of a (y - mu)^2 / mu, within [0.01, 100] and where every response has a density."""
        used = a > 0
        ratio = np.average((y[used] - mu[used]) ** 2 / mu[used], weights=a[used])
        largest = np.max((y[used] / mu[used]), initial=1.0)
        return np.clip([ratio], max(0.01, (1.0 - 0.5 / largest) ** 2 if ratio < 1.0 else 0.01), 100.0)[: self.n_shape]

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """0 <= y <= 2^53, and should be whole."""
        self._require_counts(y, "genpois")

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Counts; the weight, which repeats a row, plays no part in drawing it."""
        r = 1.0 / np.sqrt(self.complete(phi)[0])
        return _progeny(r * mu, 1.0 - r, rng) if r <= 1.0 else _by_inversion(r * mu, 1.0 - r, rng)


def _progeny(theta: FloatArray, spread: float, rng: np.random.Generator) -> FloatArray:
    """All descendants of Poisson(theta) founders, each with Poisson(spread) children: a generalised Poisson count."""
    generation = rng.poisson(theta).astype(np.float64)
    total = generation.copy()
    while generation.any():
        generation = rng.poisson(spread * generation).astype(np.float64)
        total += generation
    return total


def _by_inversion(theta: FloatArray, spread: float, rng: np.random.Generator) -> FloatArray:
    """Counts of a law that ends (spread < 0), by the sum of its probabilities; what is missing goes to the last."""
    rest, y = rng.random(theta.size), np.zeros(theta.size)
    probability = np.exp(-theta)
    log_factorial = k = 0.0
    going = rest > probability
    while going.any():
        rest[going] -= probability[going]
        k += 1.0
        log_factorial += np.log(k)
        t = theta + spread * k
        going &= t > 0.0
        y[going] = k
        log_t = np.log(np.where(going, t, 1.0))
        probability = np.where(going, np.exp(np.log(theta) + (k - 1.0) * log_t - t - log_factorial), 0.0)
        going &= rest > probability
    return y
