r"""Links: how the mean follows from the linear predictor.

Place in the reading order: after ``special``, before ``base``. Two views of the same functions:

- :class:`Link`: vectorised numpy functions for everything outside the kernels (starting values, predictions,
  summaries). ``inverse`` and ``mu_eta`` are the mathematical functions; ``inverse_clamped`` and
  ``mu_eta_clamped`` keep the result off the edge of the mean's range exactly as lme4 does (observed on
  version 1.1-31), which only the walk of ``mode="lme4"`` needs.
- ``*_mean`` functions: scalar, for kernels, returning :math:`(\mu, \mu', \mu'', \mu''')`, and :func:`chain`,
  which joins them with the derivatives of a log density in mu:

.. math:: s = l_1\mu',\quad h = -(l_2\mu'^2 + l_1\mu''),\quad
          h' = -(l_3\mu'^3 + 3 l_2\mu'\mu'' + l_1\mu'''),\quad
          w = I\mu'^2,\quad w' = I'\mu'^3 + 2I\mu'\mu''

Source: McCullagh and Nelder, *Generalized linear models*, section 2.5; the chain rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm._jit import inline
from refglmm.errors import FamilyError

FloatArray = NDArray[np.float64]
Vectorised = Callable[[Any], Any]

#: What lme4 keeps means away from the edge by.
EPS = float(np.finfo(np.float64).eps)

# ---------------------------------------------------------------------------------------- scalar, for kernels

#: A row of weight zero: it contributes nothing to anything.
NOTHING = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
#: A linear predictor outside the link's domain: the caller halves its step.
OUTSIDE = (-np.inf, np.nan, np.nan, np.nan, np.nan, np.nan)
#: The same two for the derivatives in a shape parameter.
NOTHING_SHAPE = (0.0, 0.0, 0.0, 0.0)
OUTSIDE_SHAPE = (np.nan, np.nan, np.nan, np.nan)


@inline
def identity_mean(eta):
    """Return mu = eta and its derivatives."""
    return eta, 1.0, 0.0, 0.0


@inline
def log_mean(eta):
    """Return mu = exp(eta) and its derivatives."""
    mu = np.exp(eta)
    return mu, mu, mu, mu


@inline
def inverse_mean(eta):
    """Return mu = 1/eta and its derivatives."""
    mu = 1.0 / eta
    return mu, -mu * mu, 2.0 * mu**3, -6.0 * mu**4


@inline
def sqrt_mean(eta):
    """Return mu = eta^2 and its derivatives."""
    return eta * eta, 2.0 * eta, 2.0, 0.0


@inline
def logit_mean(eta):
    """Return mu = 1/(1 + exp(-eta)) and its derivatives."""
    e = np.exp(-abs(eta))
    small, large = e / (1.0 + e), 1.0 / (1.0 + e)
    p, q = (large, small) if eta > 0.0 else (small, large)
    pq = p * q
    return p, pq, pq * (q - p), pq * (1.0 - 6.0 * pq)


@inline
def chain(base, a, density, mean):
    """Observation (l, s, h, w, dh, dw) from (l, l1, l2, l3, I, I') in mu and (mu, m1, m2, m3)."""
    l0, l1, l2, l3, info, d_info = density
    _, m1, m2, m3 = mean
    return (
        base + a * l0,
        a * l1 * m1,
        -a * (l2 * m1 * m1 + l1 * m2),
        a * info * m1 * m1,
        -a * (l3 * m1**3 + 3.0 * l2 * m1 * m2 + l1 * m3),
        a * (d_info * m1**3 + 2.0 * info * m1 * m2),
    )


# ------------------------------------------------------------------------------------ vectorised, for numpy


@dataclass(frozen=True)
class Link:
    """A link function: vectorised, without side effects, frozen.

    Attributes
    ----------
    name : str
        As R spells it: "logit", "1/mu^2", ...
    link : mu -> eta
    inverse : eta -> mu
    mu_eta : eta -> dmu/deta
    valid_eta : eta -> bool array, True where the inverse gives a mean inside its range
    inverse_clamped, mu_eta_clamped : eta -> float array
        The same with lme4's guards; ``inverse`` and ``mu_eta`` themselves where it has none.
    """

    name: str
    link: Vectorised
    inverse: Vectorised
    mu_eta: Vectorised
    valid_eta: Vectorised
    inverse_clamped: Vectorised = None  # type: ignore[assignment]  # filled below
    mu_eta_clamped: Vectorised = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.inverse_clamped is None:
            object.__setattr__(self, "inverse_clamped", self.inverse)
        if self.mu_eta_clamped is None:
            object.__setattr__(self, "mu_eta_clamped", self.mu_eta)


def _finite(eta: FloatArray) -> NDArray[np.bool_]:
    return np.isfinite(eta)


def _positive(eta: FloatArray) -> NDArray[np.bool_]:
    return np.isfinite(eta) & (np.asarray(eta) > 0.0)


def _negative(eta: FloatArray) -> NDArray[np.bool_]:
    return np.isfinite(eta) & (np.asarray(eta) < 0.0)


def _non_zero(eta: FloatArray) -> NDArray[np.bool_]:
    return np.isfinite(eta) & (np.asarray(eta) != 0.0)


def _identity(x: FloatArray) -> FloatArray:
    return np.array(x, dtype=np.float64)


def _identity_mu_eta(eta: FloatArray) -> FloatArray:
    return np.ones_like(np.asarray(eta, dtype=np.float64))


def _log(mu: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        return np.log(mu)


def _exp(eta: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        return np.exp(eta)


def _exp_clamped(eta: FloatArray) -> FloatArray:
    return np.maximum(_exp(eta), EPS)


def _reciprocal(x: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        return 1.0 / np.asarray(x)


def _reciprocal_mu_eta(eta: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        return -1.0 / np.asarray(eta) ** 2


def _sqrt(mu: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        return np.sqrt(mu)


def _square(eta: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        return np.asarray(eta) ** 2


def _twice(eta: FloatArray) -> FloatArray:
    return 2.0 * np.asarray(eta)


def _inverse_square(mu: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        return 1.0 / np.asarray(mu) ** 2


def _inverse_root(eta: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        return 1.0 / np.sqrt(eta)


def _inverse_root_mu_eta(eta: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        return -0.5 / np.asarray(eta) ** 1.5


def _logit(mu: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        return np.log(mu) - np.log1p(-np.asarray(mu))


def _expit(eta: FloatArray) -> FloatArray:
    e = np.exp(-np.abs(eta))
    return np.where(np.asarray(eta) > 0.0, 1.0, e) / (1.0 + e)


def _logit_mu_eta(eta: FloatArray) -> FloatArray:
    e = np.exp(-np.abs(eta))
    return e / (1.0 + e) ** 2


def _expit_clamped(eta: FloatArray) -> FloatArray:
    return np.clip(_expit(eta), EPS, 1.0 - EPS)


def _logit_mu_eta_clamped(eta: FloatArray) -> FloatArray:
    return np.maximum(_logit_mu_eta(eta), EPS)


def _probit(mu: FloatArray) -> FloatArray:
    from scipy.special import ndtri

    return ndtri(mu)


def _normal_cdf(eta: FloatArray) -> FloatArray:
    from scipy.special import ndtr

    return ndtr(eta)


def _normal_pdf(eta: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        return np.exp(-0.5 * np.asarray(eta) ** 2) / np.sqrt(2.0 * np.pi)


def _normal_cdf_clamped(eta: FloatArray) -> FloatArray:
    return np.minimum(_normal_cdf(eta), 1.0 - EPS)


def _cloglog(mu: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        return np.log(-np.log1p(-np.asarray(mu)))


def _gumbel_cdf(eta: FloatArray) -> FloatArray:
    return -np.expm1(-_exp(eta))


def _gumbel_pdf(eta: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        return np.exp(np.asarray(eta) - _exp(eta))


def _gumbel_clamped(eta: FloatArray) -> FloatArray:
    return np.clip(_gumbel_cdf(eta), EPS, 1.0 - EPS)


def _gumbel_pdf_clamped(eta: FloatArray) -> FloatArray:
    return np.maximum(_gumbel_pdf(eta), EPS)


def _cauchit(mu: FloatArray) -> FloatArray:
    # tan(pi (mu - 1/2)), written from the nearer end so that both tails keep their digits
    mu = np.asarray(mu, dtype=np.float64)
    with np.errstate(all="ignore"):
        tail = 1.0 / np.tan(np.pi * np.minimum(mu, 1.0 - mu))
    return np.where(mu < 0.5, -tail, np.where(mu > 0.5, tail, 0.0))


def _cauchy_cdf(eta: FloatArray) -> FloatArray:
    return np.arctan2(1.0, -np.asarray(eta, dtype=np.float64)) / np.pi


def _cauchy_pdf(eta: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        return 1.0 / (np.pi * (1.0 + np.asarray(eta, dtype=np.float64) ** 2))


def _cauchy_clamped(eta: FloatArray) -> FloatArray:
    return np.minimum(_cauchy_cdf(eta), 1.0 - EPS)


#: Every built-in link by R's name. A family may narrow ``valid_eta``, see ``Family.domains``.
LINKS: dict[str, Link] = {
    link.name: link
    for link in (
        Link("identity", _identity, _identity, _identity_mu_eta, _finite),
        Link("log", _log, _exp, _exp, _finite, _exp_clamped, _exp_clamped),
        Link("inverse", _reciprocal, _reciprocal, _reciprocal_mu_eta, _non_zero),
        Link("sqrt", _sqrt, _square, _twice, _positive),
        Link("1/mu^2", _inverse_square, _inverse_root, _inverse_root_mu_eta, _positive),
        Link("logit", _logit, _expit, _logit_mu_eta, _finite, _expit_clamped, _logit_mu_eta_clamped),
        Link("probit", _probit, _normal_cdf, _normal_pdf, _finite, _normal_cdf_clamped),
        Link("cloglog", _cloglog, _gumbel_cdf, _gumbel_pdf, _finite, _gumbel_clamped, _gumbel_pdf_clamped),
        Link("cauchit", _cauchit, _cauchy_cdf, _cauchy_pdf, _finite, _cauchy_clamped),
    )
}

#: Domains of eta narrower than a link's own: where the mean must be positive, or below one.
DOMAINS: dict[str, Vectorised] = {"positive": _positive, "negative": _negative}


def get_link(name: str) -> Link:
    """Return the built-in link of that name.

    Raises
    ------
    FamilyError
        Unknown name; the message lists the links there are.
    """
    if name not in LINKS:
        raise FamilyError(f"unknown link {name!r}; there are {', '.join(LINKS)}", link=name)
    return LINKS[name]
