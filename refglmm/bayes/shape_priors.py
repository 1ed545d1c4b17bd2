r"""Shape parameters of the families as a posterior has them, and their priors where nothing else is said.

Place in the reading order: after ``distributions``, before ``priors``. People know other numbers than the kernels: the
residual SD and not its square, a gamma's shape and not its inverse. So a scalar x stands for the kernel's shape
:math:`x^{power}`:

==============================================  ==========  =====  ====================================================
family (its name of the shape)                  here        power  prior
==============================================  ==========  =====  ====================================================
gaussian (phi)                                  sigma       2      by the kind of prior
lognormal (phi), lognormal_log (sd),            sigma       1      by the kind of prior
student_t (scale), censored_normal (sd)
student_t (df)                                  nu          1      gamma(2, 0.1) above 1
gamma, inverse_gaussian (phi)                   shape       -1     x^(-1/2) half-normal(1): the gamma's CV
negative_binomial, truncated_nbinom2 (size)     phi         1      x^(-1/2) half-normal(1)
beta, betabinomial, ordbeta (phi)               phi         1      x^(-1/2) half-normal(1)
nbinom1, truncated_nbinom1 (phi)                phi         1      half-student_t(3, 2.5): variance (1 + phi) mu
genpois, compois and truncated ones (phi)       phi         1      lognormal(0, 1): variance ratio, 1 is the Poisson
tweedie (phi, p)                                phi, p      1      half-student_t(3, 2.5), uniform(1, 2)
ordbeta (lower, width)                          same        1      logistic(0, 1), exponential(1/2): mean distance of
                                                                   two logistic numbers
user families, on the log scale                 same        1      half-student_t(3, 2.5)
user families, unbounded                        same        1      normal(0, 10)
user families, on an interval                   same        1      uniform
==============================================  ==========  =====  ====================================================

x^(-1/2) half-normal puts the model without overdispersion where its density is highest and falls off on the scale of
standard deviations (Simpson et al. 2017, "Penalising model component complexity", in spirit).

Ordered thresholds are independent, given their order, with the density of the latent law. Then the category
probabilities at the means of the predictors are uniform on the simplex (an "induced Dirichlet").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from refglmm.bayes.distributions import (
    Cauchy,
    Distribution,
    Exponential,
    Gamma,
    Gumbel,
    HalfStudentT,
    InverseRootNormal,
    Logistic,
    LogNormal,
    Normal,
    Uniform,
)
from refglmm.families.registry import FAMILIES

SIZE, EXTRA_SPREAD, SPREAD_RATIO = InverseRootNormal(1.0), HalfStudentT(3.0, 2.5), LogNormal(0.0, 1.0)

#: Density of the latent variable of each link.
LATENT: dict[str, Distribution] = {
    "logit": Logistic(0.0, 1.0),
    "probit": Normal(0.0, 1.0),
    "cloglog": Gumbel(0.0, 1.0),
    "cauchit": Cauchy(0.0, 1.0),
}


@dataclass(frozen=True)
class Shape:
    """One shape parameter.

    Attributes
    ----------
    name : str
        Here.
    power : float
        The kernel's is this power of it.
    low, high : float
        Bounds.
    prior : Distribution or None
        Where nothing else is said; None for sigma, which has one by the kind of prior.
    """

    name: str
    power: float = 1.0
    prior: Distribution | None = None
    low: float = 0.0
    high: float = np.inf


_SIGMA = Shape("sigma")
_KNOWN: dict[str, dict[str, Shape]] = {
    "gaussian": {"phi": Shape("sigma", 2.0)},
    "lognormal": {"phi": _SIGMA},
    "lognormal_log": {"sd": _SIGMA},
    "censored_normal": {"sd": _SIGMA},
    "student_t": {"scale": _SIGMA, "df": Shape("nu", prior=Gamma(2.0, 0.1), low=1.0)},
    "gamma": {"phi": Shape("shape", -1.0, SIZE)},
    "inverse_gaussian": {"phi": Shape("shape", -1.0, SIZE)},
    "negative_binomial": {"size": Shape("phi", prior=SIZE)},
    "truncated_nbinom2": {"size": Shape("phi", prior=SIZE)},
    "beta": {"phi": Shape("phi", prior=SIZE)},
    "betabinomial": {"phi": Shape("phi", prior=SIZE)},
    "ordbeta": {
        "phi": Shape("phi", prior=SIZE),
        "lower": Shape("lower", prior=Logistic(0.0, 1.0), low=-np.inf),
        "width": Shape("width", prior=Exponential(0.5)),
    },
    "nbinom1": {"phi": Shape("phi", prior=EXTRA_SPREAD)},
    "truncated_nbinom1": {"phi": Shape("phi", prior=EXTRA_SPREAD)},
    "genpois": {"phi": Shape("phi", prior=SPREAD_RATIO)},
    "compois": {"phi": Shape("phi", prior=SPREAD_RATIO)},
    "truncated_genpois": {"phi": Shape("phi", prior=SPREAD_RATIO)},
    "truncated_compois": {"phi": Shape("phi", prior=SPREAD_RATIO)},
    "tweedie": {
        "phi": Shape("phi", prior=EXTRA_SPREAD),
        "p": Shape("p", prior=Uniform(1.0, 2.0), low=1.0, high=2.0),
    },
}


def shapes_of(family: Any) -> tuple[Shape, ...]:
    """The estimated shape parameters of a family that is not ordinal, in its order."""
    known = _KNOWN.get(family.name, {}) if FAMILIES.get(family.name) is type(family) else {}
    scales = zip(family.shape_names, family.shape_scales, strict=False)
    return tuple(known.get(name) or _by_scale(name, scale) for name, scale in scales)


def _by_scale(name: str, scale: Any) -> Shape:
    """A shape parameter of a user's family, by its bounds."""
    if np.isfinite(scale.high):
        return Shape(name, 1.0, Uniform(scale.low, scale.high), scale.low, scale.high)
    return Shape(name, 1.0, Normal(0.0, 10.0) if np.isinf(scale.low) else EXTRA_SPREAD, scale.low)


def known_sigma(family: Any) -> float:
    """Value of a sigma that is known rather than estimated; one for families without."""
    if "sigma" in {shape.name for shape in shapes_of(family)} or not family.fixed_shape.size:
        return 1.0
    names = list(_KNOWN.get(family.name, {}))
    if not names or _KNOWN[family.name][names[0]].name != "sigma":
        return 1.0
    return float(family.fixed_shape[0])
