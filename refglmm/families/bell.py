r"""Bell counts: overdispersed, without a shape parameter.

Place in the reading order: after ``truncated``. With Bell numbers :math:`B_y` and :math:`\theta = W(\mu)` (Lambert's
function, :math:`\theta e^\theta = \mu`, so :math:`\log\theta = \log\mu - \theta`),

.. math:: l = a\{y(\log\mu - \theta) + 1 - e^\theta + \log B_y - \log y!\},\qquad
          \operatorname{Var} y = \mu(1 + \theta),\qquad
          \frac{d\theta}{d\log\mu} = \frac{\theta}{1 + \theta} .

Source: Castellares, Ferrari and Lemonte (2018), "On the Bell distribution and its associated regression model".
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refglmm._jit import inline
from refglmm.families.base import FloatArray, minus_log_factorial, weighted
from refglmm.families.density import DensityFamily
from refglmm.families.jet import compose, exp_of, shift, subtract, times
from refglmm.families.positive_means import by_identity, by_sqrt
from refglmm.families.truncated import TruncatedPoisson

#: Largest count: a Bell number is a sum of as many terms.
LARGEST = 100_000.0


@inline
def theta_at(log_mu):
    """Root of theta + log theta = log mu, by Halley's iteration on the logarithm; a number."""
    t = np.log1p(np.exp(log_mu)) if log_mu < 1.0 else log_mu - np.log(log_mu) + np.log(log_mu) / log_mu
    x = log_mu if log_mu < -30.0 else np.log(t)
    for _ in range(6):
        t = np.exp(x)
        miss = t + x - log_mu
        x -= 2.0 * miss * (1.0 + t) / (2.0 * (1.0 + t) ** 2 - miss * t)
    return np.exp(x)


@inline
def bell(y, a, log_mu):
    """Log density from a jet of the log mean."""
    t = theta_at(log_mu[0])
    r = 1.0 / (1.0 + t)
    theta = compose(log_mu, t, t * r, t * r**3, t * (1.0 - 2.0 * t) * r**5)
    return times(a, subtract(times(y, subtract(log_mu, theta)), shift(exp_of(theta), -1.0)))


@inline
def bell_log(y, a, eta, first, second, third):
    """Log density under the log link."""
    return bell(y, a, eta)


@inline
def bell_sqrt(y, a, eta, first, second, third):
    """Log density under the square-root link, eta > 0."""
    return bell(y, a, by_sqrt(eta)[1])


@inline
def bell_identity(y, a, eta, first, second, third):
    """Log density under the identity link, eta > 0."""
    return bell(y, a, by_identity(eta)[1])


def log_bell_number(y: float) -> float:
    """Log of the Bell number of y: Dobinski's sum of k^y / (e k!), around its largest term."""
    if y == 0.0:
        return 0.0
    k = np.arange(1.0, 60.0 + y)
    log_terms = y * np.log(k) + minus_log_factorial(k, np.ones(k.size)) - 1.0
    return float(log_terms.max() + np.log(np.exp(log_terms - log_terms.max()).sum()))


class Bell(DensityFamily):
    """Bell counts, Var y = mu (1 + W(mu)). Links: log (default), sqrt, identity."""

    name = "bell"
    default_link = "log"
    is_count = True
    weights_repeat = True
    all_shapes: ClassVar = {}
    domains: ClassVar = {"identity": "positive"}
    densities: ClassVar = {"log": bell_log, "sqrt": bell_sqrt, "identity": bell_identity}

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """a (log B_y - log y!)."""
        values, where = np.unique(y, return_inverse=True)
        bells = np.array([log_bell_number(float(v)) for v in values])[where]
        return weighted(a, bells) + minus_log_factorial(y, a)

    def _theta(self, mu: FloatArray) -> FloatArray:
        """Lambert's W."""
        from scipy.special import lambertw

        return lambertw(mu).real

    def variance(self, mu: FloatArray) -> FloatArray:
        """mu (1 + theta)."""
        return mu * (1.0 + self._theta(mu))

    def zero_probability(self, mu: FloatArray) -> FloatArray:
        """exp(1 - e^theta)."""
        return np.exp(-np.expm1(self._theta(mu)))

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Y, a zero replaced by 1/6."""
        return y + (y == 0.0) / 6.0

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """0 <= y <= 100000 (a Bell number takes a sum of as many terms), and should be whole."""
        self._require_counts(y, "bell")
        self._require(y <= LARGEST, y, f"the bell family takes counts up to {LARGEST:g}")

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Counts: a Poisson number, mean e^theta - 1, of zero-truncated Poisson counts of mean parameter theta."""
        theta = self._theta(mu)
        parts = rng.poisson(np.expm1(theta))
        of_row = np.repeat(np.arange(mu.size), parts)
        each = TruncatedPoisson("log").simulate(theta[of_row], np.ones(of_row.size), phi, rng)
        return np.bincount(of_row, each, minlength=mu.size).astype(np.float64)
