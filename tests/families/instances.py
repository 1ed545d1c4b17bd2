"""The one list of families that drives the tests of this folder, with literal densities that share no code.

``log_density`` are textbook formulas in complex arithmetic, so that :func:`contour` can differentiate them:
f^(k)(x) = k!/r^k times the k-th Fourier coefficient of f on a circle of radius r around x, which is as
accurate as f itself for analytic f. ``scipy_log_density`` asks scipy.stats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

from refglmm import families as fam
from refglmm.families.kernel import ALL

NODES = 64


def contour(f, x, radius, order):
    """Derivatives 0 to ``order`` of f at the real scalar x."""
    angle = 2.0 * np.pi * np.arange(NODES) / NODES
    values = f(x + radius * np.exp(1j * angle))
    coefficients = np.fft.fft(values, axis=0) / NODES
    return [coefficients[k] * math.factorial(k) / radius**k for k in range(order + 1)]


# ------------------------------------------------------------------------------------------- means, complex

MEANS = {
    "identity": lambda eta: eta,
    "log": np.exp,
    "inverse": lambda eta: 1.0 / eta,
    "sqrt": lambda eta: eta**2,
    "1/mu^2": lambda eta: eta**-0.5,
    "logit": lambda eta: 1.0 / (1.0 + np.exp(-eta)),
    "probit": special.ndtr,
    "cloglog": lambda eta: -np.expm1(-np.exp(eta)),
    "cauchit": lambda eta: 0.5 + np.arctan(eta) / np.pi,
}
#: log(1 - mean), without cancellation
LOG_COMPLEMENTS = {
    "logit": lambda eta: -np.log(1.0 + np.exp(eta)),
    "probit": lambda eta: np.log(special.ndtr(-eta)),
    "cloglog": lambda eta: -np.exp(eta),
    "cauchit": lambda eta: np.log(0.5 - np.arctan(eta) / np.pi),
    "log": lambda eta: np.log(-np.expm1(eta)),
}

# ------------------------------------------------------------------------ log densities of (y, eta, a, phi)


def _log_binomial(link, y, eta, a, phi):
    k = a * y
    coefficient = special.gammaln(a + 1) - special.gammaln(k + 1) - special.gammaln(a - k + 1)
    return coefficient + k * np.log(MEANS[link](eta)) + (a - k) * LOG_COMPLEMENTS[link](eta)


def _log_poisson(link, y, eta, a, phi):
    mu = MEANS[link](eta)
    return a * (y * np.log(mu) - mu - special.gammaln(y + 1))


def _log_gamma(link, y, eta, a, phi):
    k, mu = a / phi, MEANS[link](eta)
    return k * np.log(k / mu) + (k - 1) * np.log(y) - k * y / mu - special.loggamma(k)


def _log_inverse_gaussian(link, y, eta, a, phi):
    k, mu = a / phi, MEANS[link](eta)
    return 0.5 * np.log(k / (2 * np.pi * y**3)) - k * (y - mu) ** 2 / (2 * mu**2 * y)


def _log_gaussian(link, y, eta, a, phi):
    return -0.5 * np.log(2 * np.pi * phi / a) - a * (y - MEANS[link](eta)) ** 2 / (2 * phi)


def _log_negative_binomial(link, y, eta, a, phi):
    mu = MEANS[link](eta)
    constant = special.loggamma(y + phi) - special.loggamma(phi) - special.gammaln(y + 1)
    return a * (constant + phi * np.log(phi / (phi + mu)) + y * np.log(mu / (phi + mu)))


def _log_user(link, y, eta, a, phi):
    """Exponential distribution, weight multiplying."""
    mu = MEANS[link](eta)
    return a * (-np.log(mu) - y / mu)


# --------------------------------------------------------------------------------- scipy.stats, real

SCIPY = {
    "binomial": lambda y, mu, a, phi: stats.binom.logpmf(np.round(a * y), a, mu),
    "failures": lambda y, q, a, phi: stats.binom.logpmf(np.round(a * (1 - y)), a, q),
    "poisson": lambda y, mu, a, phi: a * stats.poisson.logpmf(y, mu),
    "gamma": lambda y, mu, a, phi: stats.gamma.logpdf(y, a / phi, scale=mu * phi / a),
    "inverse_gaussian": lambda y, mu, a, phi: stats.invgauss.logpdf(y, mu * phi / a, scale=a / phi),
    "gaussian": lambda y, mu, a, phi: stats.norm.logpdf(y, mu, np.sqrt(phi / a)),
    "negative_binomial": lambda y, mu, a, phi: a * stats.nbinom.logpmf(y, phi, phi / (phi + mu)),
    "exponential": lambda y, mu, a, phi: a * stats.expon.logpdf(y, scale=mu),
}
#: Information of one observation in its mean, I(mu): weight over variance.
INFORMATION = {
    "poisson": lambda mu, a, phi: a / mu,
    "gamma": lambda mu, a, phi: a / (phi * mu**2),
    "inverse_gaussian": lambda mu, a, phi: a / (phi * mu**3),
    "gaussian": lambda mu, a, phi: a / phi + 0 * mu,
    "negative_binomial": lambda mu, a, phi: a / (mu + mu**2 / phi),
    "exponential": lambda mu, a, phi: a / mu**2,
}
LOG_DENSITY = {
    "binomial": _log_binomial,
    "poisson": _log_poisson,
    "gamma": _log_gamma,
    "inverse_gaussian": _log_inverse_gaussian,
    "gaussian": _log_gaussian,
    "negative_binomial": _log_negative_binomial,
    "exponential": _log_user,
}


@dataclass(frozen=True)
class Instance:
    """A family, a shape, and where to look at it."""

    family: Any
    phi: float
    eta: np.ndarray
    y: np.ndarray
    a: np.ndarray
    domain: str

    def __str__(self):
        return f"{self.family.name}-{self.family.link.name}-{self.phi:g}"

    @property
    def shape(self):
        """What the kernels get as phi."""
        return np.array([self.phi])

    @property
    def law(self) -> str:
        """Bernoulli is a binomial."""
        return "binomial" if self.family.is_binomial else self.family.name

    def mean(self, eta):
        return MEANS[self.family.link.name](eta)

    def log_density(self, y, eta, a, phi):
        return LOG_DENSITY[self.law](self.family.link.name, y, eta, a, phi)

    def scipy_log_density(self, y, eta, a):
        mu = self.mean(eta)
        value = SCIPY[self.law](y, mu, a, self.phi)
        if self.law != "binomial":
            return value
        # near mu = 1 scipy has to be asked about the failures, as 1 - mu has lost its digits
        failures = SCIPY["failures"](y, np.exp(LOG_COMPLEMENTS[self.family.link.name](eta)), a, self.phi)
        return np.where(mu < 0.5, value, failures)

    def information(self, eta, mu_eta, a, phi):
        """Expected information about eta: I(mu) mu'^2."""
        if self.law == "binomial":
            failure = np.exp(LOG_COMPLEMENTS[self.family.link.name](eta))
            return a * mu_eta**2 / (self.mean(eta) * failure)
        return INFORMATION[self.law](self.mean(eta), a, phi) * mu_eta**2

    def radius(self, eta):
        """Circle around eta that stays inside the domain and away from the poles of the mean."""
        return 0.4 if self.domain == "real" else min(0.4, 0.5 * abs(eta))

    def observe(self, y, eta, a, phi=None, order=ALL):
        """Our kernel on broadcast arrays: (6, n), with the rows that ``order`` leaves alone set to -99."""
        y, eta, a = _columns(y, eta, a)
        out = np.full((6, y.size), -99.0)
        base = self.family.base_measure(y, a)
        self.family.observe(y, eta, a, base, self.shape if phi is None else phi, order, out)
        return out

    def observe_shape(self, y, eta, a):
        """Our shape kernel on broadcast arrays: (4, n)."""
        y, eta, a = _columns(y, eta, a)
        out = np.empty((4, y.size))
        self.family.observe_shape(y, eta, a, self.shape, 0, out)
        return out

    def grid(self):
        """Every combination of y, eta and a, as three columns."""
        if self.law == "binomial":
            pairs = [(k / m, m) for m in self.a for k in np.unique([0, 1, m // 2, m])]
        else:
            pairs = [(y, a) for y in self.y for a in self.a]
        rows = [(y, eta, a) for y, a in pairs for eta in self.eta]
        return (np.array(column, dtype=float) for column in zip(*rows, strict=True))


def _columns(*arrays):
    return [np.ascontiguousarray(x, dtype=float).ravel() for x in np.broadcast_arrays(*np.atleast_1d(*arrays))]


def exponential_point(y, eta, a, base, phi):
    """The family of the tests of ``user``: exponential, log link."""
    if a == 0.0:
        return 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    r = y * np.exp(-eta)
    return base - a * (eta + r), a * (r - 1.0), a * r, a, -a * r, 0.0


def exponential_deviance(y, mu):
    return 2.0 * (y / mu - 1.0 - np.log(y / mu))


def draw_exponential(mu, a, phi, rng):
    return rng.exponential(mu)


def exponential(**changes) -> fam.UserFamily:
    """An exponential response as a user would write it."""
    arguments: dict[str, Any] = {
        "variance": np.square,
        "unit_deviance": exponential_deviance,
        "simulate": draw_exponential,
        "log_concave": True,
    }
    return fam.UserFamily("exponential", exponential_point, "log", **(arguments | changes))


REAL = np.array([-6.0, -2.3, -2.01, -1.99, -0.7, 0.0, 0.4, 1.7, 2.5, 6.0])
POSITIVE = np.array([0.05, 0.3, 1.0, 2.2, 9.0])
COUNTS = np.array([0.0, 1.0, 2.0, 7.0, 40.0])
SIZES = np.array([1.0, 2.0, 3.5])
TRIALS = np.array([1, 2, 7, 30])
REALS = np.array([-1.3, 0.0, 0.2, 2.0])
POSITIVES = np.array([0.03, 0.5, 1.0, 4.0])

# domains of eta: "real", "positive", "negative", "nonzero"
_TABLE: list[tuple[Callable[..., Any], str, str, tuple[float, ...], np.ndarray, np.ndarray]] = [
    *((fam.Binomial, link, "real", (1.0,), COUNTS, TRIALS) for link in ("logit", "probit", "cloglog", "cauchit")),
    (fam.Binomial, "log", "negative", (1.0,), COUNTS, TRIALS),
    (fam.Bernoulli, "probit", "real", (1.0,), COUNTS, TRIALS[:1]),
    (fam.Poisson, "log", "real", (1.0,), COUNTS, SIZES),
    (fam.Poisson, "sqrt", "positive", (1.0,), COUNTS, SIZES),
    (fam.Poisson, "identity", "positive", (1.0,), COUNTS, SIZES),
    (fam.Gamma, "inverse", "positive", (0.1, 2.0), POSITIVES, SIZES),
    (fam.Gamma, "log", "real", (0.1, 2.0), POSITIVES, SIZES),
    (fam.Gamma, "identity", "positive", (0.1, 2.0), POSITIVES, SIZES),
    (fam.InverseGaussian, "1/mu^2", "positive", (0.3, 2.0), POSITIVES, SIZES),
    (fam.InverseGaussian, "inverse", "positive", (0.3, 2.0), POSITIVES, SIZES),
    (fam.InverseGaussian, "log", "real", (0.3, 2.0), POSITIVES, SIZES),
    (fam.InverseGaussian, "identity", "positive", (0.3, 2.0), POSITIVES, SIZES),
    (fam.Gaussian, "identity", "real", (0.3, 2.0), REALS, SIZES),
    (fam.Gaussian, "log", "real", (0.3, 2.0), REALS, SIZES),
    (fam.Gaussian, "inverse", "nonzero", (0.3, 2.0), REALS, SIZES),
    (fam.Gaussian, "logit", "real", (0.3, 2.0), REALS, SIZES),
    (fam.NegativeBinomial, "log", "real", (0.4, 3.0, 60.0), COUNTS, SIZES),
    (fam.NegativeBinomial, "sqrt", "positive", (0.4, 3.0, 60.0), COUNTS, SIZES),
    (fam.NegativeBinomial, "identity", "positive", (0.4, 3.0, 60.0), COUNTS, SIZES),
]
ETA = {"real": REAL, "positive": POSITIVE, "negative": -POSITIVE, "nonzero": np.r_[-POSITIVE, POSITIVE]}

BUILT_IN = [
    Instance(family(link=link), phi, ETA[domain], y, a, domain)
    for family, link, domain, phis, y, a in _TABLE
    for phi in phis
]
INSTANCES = [*BUILT_IN, Instance(exponential(), 1.0, REAL, POSITIVES, SIZES, "real")]
WITH_SHAPE = [instance for instance in INSTANCES if instance.family.n_shape]
ONE_EACH = list({(type(i.family), i.family.link.name): i for i in INSTANCES}.values())
