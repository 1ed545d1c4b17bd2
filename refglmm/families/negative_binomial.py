r"""Negative binomial counts with variance mu + mu^2/size ("NB2").

Place in the reading order: after ``gaussian``. The prior weight multiplies the whole log density. With size
theta and :math:`P = \mu/(\theta + \mu)`, :math:`Q = 1 - P`:

.. math:: l = a\Big\{\log\frac{\Gamma(\theta + y)}{\Gamma(\theta)\,\theta^y} - \log y! + y\log\mu
              - (\theta + y)\log(1 + \mu/\theta)\Big\},\qquad w = a\,\mu'^2 / (\mu + \mu^2/\theta)

Each piece tends to its Poisson value, so size = 1e8 and the Poisson agree to 1e-8. For large y, with
:math:`n = \theta + y`, :math:`s = yQ - \theta P` and :math:`\delta` of ``special``, the saturated log density
minus half the deviance,

.. math:: l = c(y) + a\Big\{-\tfrac12\log\frac n\theta + \delta(n) - \delta(\theta)
              + y\,g\Big({-\frac sy}\Big) + \theta\,g\Big(\frac s\theta\Big)\Big\},\qquad g(x) = \log(1 + x) - x,

where c is the Poisson's saturated log density and :math:`1 - s/y`, :math:`1 + s/\theta` are P and Q over their
values at :math:`\mu = y`. The size is a shape
parameter, estimated with the rest, or known: ``NegativeBinomial(size=2.0)``. Kernels read it from
``phi[0]`` either way.

Source: Venables and Ripley, section 7.4; Hilbe, *Negative binomial regression*.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refglmm._jit import inline
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.families.base import (
    Family,
    FloatArray,
    count_base,
    log_ratio_excess,
    minus_log_factorial,
    weighted,
)
from refglmm.families.elementary import exponential, log1p_unit
from refglmm.families.jet import add, log_of, log_rising_of, multiply, shift, softplus_of, subtract, times
from refglmm.families.links import (
    NOTHING,
    NOTHING_SHAPE,
    OUTSIDE,
    OUTSIDE_SHAPE,
    Link,
    chain,
    identity_mean,
    sqrt_mean,
)
from refglmm.families.positive_means import by_identity, by_sqrt
from refglmm.families.special import (
    LARGE,
    NEAR,
    digamma_growth,
    log1p_minus,
    log_rising,
    near_excess,
    stirling_rest,
)


@inline
def _log_density(y, theta, s, log_mu, log_odds):
    """Return l at weight one without the base measure; s = yQ - theta P, log_odds = log(1 + mu/theta)."""
    n = theta + y
    if y < LARGE:
        return log_rising(theta, y) + y * log_mu - n * log_odds
    growth = np.log1p(y / theta)
    log_ratio = growth - log_odds
    of_y = near_excess(y, -s) if abs(s) <= NEAR * y else y * (log_mu - np.log(y) + log_ratio) + s
    of_size = near_excess(theta, s) if abs(s) <= NEAR * theta else theta * log_ratio - s
    return stirling_rest(n) - stirling_rest(theta) - 0.5 * growth + of_y + of_size


@inline
def _odds(eta, theta):
    """Return P = mu/(theta + mu) and Q = 1 - P under the log link, without overflow."""
    e = np.exp(-abs(eta))
    if eta > 0.0:
        P = 1.0 / (1.0 + theta * e)
        return P, theta * e * P
    Q = 1.0 / (theta + e)
    return e * Q, theta * Q


@inline
def _log_odds(eta, theta):
    """Return log(1 + mu/theta) under the log link, without overflow."""
    e = np.exp(-abs(eta))
    if eta <= 0.0:
        return np.log1p(e / theta)
    return np.log1p(1.0 / (theta * e)) if theta * e > 1.0 else eta + np.log(e + 1.0 / theta)


@inline
def negative_binomial_log(y, eta, a, base, phi):
    """Observation under the log link, fused: s = a (yQ - theta P), h = a (theta + y) PQ."""
    if a == 0.0:
        return NOTHING
    theta = phi[0]
    P, Q = _odds(eta, theta)
    s = y * Q - theta * P
    h, w = a * (theta + y) * P * Q, a * theta * P
    return (
        base + a * _log_density(y, theta, s, eta, _log_odds(eta, theta)),
        a * s,
        h,
        w,
        h * (Q - P),
        w * Q,
    )


@inline
def large_count(y, a):
    """Whether the base measure of a row is its saturated log density."""
    return y >= LARGE


@inline
def prepare_nodes(y, phi):
    """What l and dl/dtheta of a row have without eta, and theta, log theta, log(1 + y/theta)."""
    theta = phi[0]
    return log_rising(theta, y), digamma_growth(theta, y), theta, np.log(theta), np.log1p(y / theta)


@inline
def _shares(eta, log_theta):
    """P, Q and log(1 + mu/theta) under the log link in plain arithmetic: logit P = eta - log theta."""
    x = eta - log_theta
    e = exponential(-abs(x))
    large = 1.0 / (1.0 + e)
    small = e * large
    return (large if x > 0.0 else small), (small if x > 0.0 else large), max(x, 0.0) + log1p_unit(e)


@inline
def negative_binomial_log_node(y, eta, a, base, phi, prepared):
    """l and s of ``negative_binomial_log``, not for large counts."""
    rising, _, theta, log_theta, _ = prepared
    P, Q, log_odds = _shares(eta, log_theta)
    l0, s = rising + y * eta - (theta + y) * log_odds, y * Q - theta * P
    return (base + a * l0 if a != 0.0 else 0.0), (a * s if a != 0.0 else 0.0)


@inline
def negative_binomial_log_shape_node(y, eta, a, phi, j, prepared):
    """dl/dtheta of ``negative_binomial_log_shape``: log(1 + x) = log(1 + y/theta) - log(1 + mu/theta) for large x."""
    _, growth, theta, log_theta, log_growth = prepared
    P, Q, log_odds = _shares(eta, log_theta)
    x = (y * Q - theta * P) / theta
    excess = near_excess(1.0, x) if abs(x) <= NEAR else log_growth - log_odds - x
    return a * (excess + growth) if a != 0.0 else 0.0


@inline
def _in_mean(y, mu, theta):
    """(l, l1, l2, l3, I, I') in mu, without log y!."""
    v, n = theta + mu, theta + y
    info = theta / (mu * v)
    return (
        _log_density(y, theta, theta * (y - mu) / v, np.log(mu), np.log1p(mu / theta)),
        info * (y - mu),
        n / (v * v) - y / (mu * mu),
        2.0 * (y / mu**3 - n / v**3),
        info,
        -info * (theta + 2.0 * mu) / (mu * v),
    )


@inline
def negative_binomial_sqrt(y, eta, a, base, phi):
    """Observation under the square-root link, eta > 0; not log-concave."""
    if a == 0.0:
        return NOTHING
    if eta <= 0.0:
        return OUTSIDE
    return chain(base, a, _in_mean(y, eta * eta, phi[0]), sqrt_mean(eta))


@inline
def negative_binomial_identity(y, eta, a, base, phi):
    """Observation under the identity link, eta > 0; not log-concave."""
    if a == 0.0:
        return NOTHING
    if eta <= 0.0:
        return OUTSIDE
    return chain(base, a, _in_mean(y, eta, phi[0]), identity_mean(eta))


@inline
def _dl_size(y, theta, relative):
    """dl/dtheta, with relative = (y - mu)/(theta + mu): three terms that vanish in the Poisson limit."""
    return log1p_minus(relative) + digamma_growth(theta, y)


@inline
def negative_binomial_log_shape(y, eta, a, phi, j):
    """Derivatives in the size under the log link."""
    if a == 0.0:
        return NOTHING_SHAPE
    theta = phi[0]
    P, Q = _odds(eta, theta)
    s = y * Q - theta * P
    ds = P * s / theta
    dh = P * Q * (2.0 * P * (theta + y) - y) / theta
    return a * _dl_size(y, theta, s / theta), a * ds, a * dh, a * P * P


@inline
def _shape_in_mean(y, a, theta, mean):
    """Derivatives in the size from (mu, m1, m2, m3)."""
    mu, m1, m2, _ = mean
    v = theta + mu
    d1 = (y - mu) / (v * v)
    d2 = (2.0 * (mu - y) / v - 1.0) / (v * v)
    return (
        a * _dl_size(y, theta, (y - mu) / v),
        a * d1 * m1,
        -a * (d2 * m1 * m1 + d1 * m2),
        a * m1 * m1 / (v * v),
    )


@inline
def negative_binomial_sqrt_shape(y, eta, a, phi, j):
    """Derivatives in the size under the square-root link."""
    if a == 0.0:
        return NOTHING_SHAPE
    if eta <= 0.0:
        return OUTSIDE_SHAPE
    return _shape_in_mean(y, a, phi[0], sqrt_mean(eta))


@inline
def negative_binomial_identity_shape(y, eta, a, phi, j):
    """Derivatives in the size under the identity link."""
    if a == 0.0:
        return NOTHING_SHAPE
    if eta <= 0.0:
        return OUTSIDE_SHAPE
    return _shape_in_mean(y, a, phi[0], identity_mean(eta))


@inline
def nbinom2(y, a, log_mu, size):
    """Log density, and log(1 + mu/size), from jets of the log mean and the size."""
    log_size = log_of(size)
    growth = softplus_of(subtract(log_mu, log_size))
    rest = subtract(times(y, log_mu), multiply(shift(size, y), growth))
    return times(a, add(log_rising_of(log_size, y), rest)), growth


@inline
def negative_binomial_log_density(y, a, eta, first, second, third):
    """Log density in jets under the log link."""
    return nbinom2(y, a, eta, first)[0]


@inline
def negative_binomial_sqrt_density(y, a, eta, first, second, third):
    """Log density in jets under the square-root link."""
    return nbinom2(y, a, by_sqrt(eta)[1], first)[0]


@inline
def negative_binomial_identity_density(y, a, eta, first, second, third):
    """Log density in jets under the identity link."""
    return nbinom2(y, a, by_identity(eta)[1], first)[0]


class NegativeBinomial(Family):
    """Negative binomial, Var y = mu + mu^2/size. Links: log (default), sqrt, identity.

    Parameters
    ----------
    link : str or Link, optional
    size : float, optional
        Known size, > 0. If left out the size is estimated with the other parameters.
    """

    name = "negative_binomial"
    default_link = "log"
    weights_repeat = True
    is_count = True
    concave_links = frozenset({"log"})
    domains: ClassVar = {"identity": "positive"}
    points: ClassVar = {
        "log": negative_binomial_log,
        "sqrt": negative_binomial_sqrt,
        "identity": negative_binomial_identity,
    }
    shape_points: ClassVar = {
        "log": negative_binomial_log_shape,
        "sqrt": negative_binomial_sqrt_shape,
        "identity": negative_binomial_identity_shape,
    }
    node_points: ClassVar = {
        "log": (prepare_nodes, negative_binomial_log_node, large_count, negative_binomial_log),
    }
    shape_node_points: ClassVar = {"log": (prepare_nodes, negative_binomial_log_shape_node)}

    size: float | None

    def __init__(self, link: str | Link | None = None, size: float | None = None) -> None:
        super().__init__(link)
        if size is not None and not 0.0 < float(size) < np.inf:
            raise ArgumentError(f"the size of a negative binomial must be positive and finite, not {size!r}", size=size)
        self._set("size", None if size is None else float(size))
        self._set("shape_names", ("size",) if size is None else ())

    def __repr__(self) -> str:
        size = "" if self.size is None else f", size={self.size:g}"
        return f"NegativeBinomial(link={self.link.name!r}{size})"

    @property
    def r_name(self) -> str:  # type: ignore[override]
        """R's name, with the size if it is known."""
        return "Negative Binomial" if self.size is None else f"Negative Binomial({self.size:.4g})"

    @property
    def fixed_shape(self) -> FloatArray:
        """The known size, or an empty array."""
        return np.empty(0) if self.size is None else np.array([self.size])

    def at(self, phi: FloatArray) -> NegativeBinomial:
        """Return the same family with the size known."""
        return self if self.size is not None else NegativeBinomial(self.link, float(phi[0]))

    @property
    def _theta(self) -> float:
        if self.size is None:
            raise NotAvailableError(
                "variance and deviance of this negative binomial depend on its estimated size; "
                "ask family.at(phi), which knows it"
            )
        return self.size

    densities: ClassVar = {
        "log": negative_binomial_log_density,
        "sqrt": negative_binomial_sqrt_density,
        "identity": negative_binomial_identity_density,
    }

    def density_base(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """-a log y!."""
        return minus_log_factorial(y, a)

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """-a log y!, or for large y the Poisson's saturated log density."""
        return count_base(y, a)

    def variance(self, mu: FloatArray) -> FloatArray:
        """Mu + mu^2/size."""
        return mu + mu * mu / self._theta

    def _deviance(self, y: FloatArray, mu: FloatArray) -> FloatArray:
        """2 {y log(y/mu) - (y + size) log((y + size)/(mu + size))}."""
        theta = self._theta
        share = (y + theta) / (mu + theta)
        return -2.0 * (log_ratio_excess(y, mu * share) + log_ratio_excess(theta, theta * share))

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Y, a zero replaced by 1/6."""
        return y + (y == 0.0) / 6.0

    def initial_shape(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """Moments: sum a mu^2 / sum a {(y - mu)^2 - mu}, kept within [0.05, 1000]."""
        if self.size is not None:
            return self.fixed_shape
        excess = float(np.sum(a * ((y - mu) ** 2 - mu)))
        square = float(np.sum(a * mu**2))
        return np.array([np.clip(square / excess, 0.05, 1e3) if excess > 0.0 else 1e3])

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """0 <= y <= 2^53, and should be whole."""
        self._require_counts(y, "negative binomial")

    def minus_two_log_density(self, y: FloatArray, mu: FloatArray, a: FloatArray, deviance: float) -> float:
        """-2 sum a log NB(y; mu, size), the weight on every term (lme4's compiled family forgets some)."""
        from scipy.special import gammaln

        theta = self._theta
        with np.errstate(all="ignore"):
            rows = np.where(y > 0, y * np.log(mu / (mu + theta)), 0.0) - theta * np.log1p(mu / theta)
        rows += gammaln(y + theta) - gammaln(theta) - gammaln(y + 1.0)
        return float(-2.0 * np.sum(weighted(a, rows)))

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Counts; the weight, which repeats a row, plays no part in drawing it."""
        theta = self.size if self.size is not None else float(phi[0])
        return rng.negative_binomial(theta, theta / (theta + mu)).astype(np.float64)
