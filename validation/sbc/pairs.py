"""Which families are calibrated under which priors.

Place in the reading order: first. Every design has 20 groups of 5 rows and predictors whose means are not zero, so that
the centred intercept and the reported one differ. A prior in the units of the response (``prior_weak``) is resolved
once, on the design's template response; all data sets of the pair are drawn from it and analysed with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

import refglmm as rg
from refglmm.bayes.priors import ResolvedPriors, resolve

GROUPS, ROWS = 20, 5
TEMPLATE_SEED = 4


@dataclass(frozen=True)
class Pair:
    """A family with a prior.

    Attributes
    ----------
    name : str
    formula : str
    family : str
    prior : Prior
    template : callable
        (rng, size) -> a response in the family's support; only ``prior_weak`` looks at it.
    link : str, optional
    y_range : pair of float, optional
    options : mapping
        Of :meth:`refglmm.GLMM.sample`, where the defaults are not meant.
    """

    name: str
    formula: str
    family: str
    prior: Any
    template: Any
    link: str | None = None
    y_range: tuple[float, float] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def model(self) -> rg.GLMM:
        """The model of the template response."""
        rng = np.random.default_rng(TEMPLATE_SEED)
        data = pd.DataFrame({"g": pd.Categorical(np.repeat(np.arange(GROUPS), ROWS))})
        for number in range(1, 5):
            data[f"x{number}"] = 0.5 + rng.standard_normal(len(data))
        data["y"] = self.template(rng, len(data))
        return rg.GLMM(self.formula, data, self.family, link=self.link, prior=self.prior, y_range=self.y_range)

    @cached_property
    def priors(self) -> ResolvedPriors:
        """The prior of every parameter, the same for all data sets."""
        return resolve(self.prior, self.model, y_range=self.y_range)


def _normal(rng: np.random.Generator, size: int) -> Any:
    return rng.standard_normal(size)


def _binary(rng: np.random.Generator, size: int) -> Any:
    return rng.integers(0, 2, size).astype(float)


def _counts(rng: np.random.Generator, size: int) -> Any:
    return rng.poisson(2.0, size).astype(float)


def _ratings(rng: np.random.Generator, size: int) -> Any:
    codes = rng.permutation(np.arange(size) % 4)
    return pd.Categorical.from_codes(codes, list("abcd"), ordered=True)


def _positive(rng: np.random.Generator, size: int) -> Any:
    return rng.gamma(2.0, 1.0, size)


INTERCEPTS, SLOPES, FOUR = "y ~ x1 + (1 | g)", "y ~ x1 + (1 + x1 | g)", "y ~ x1 + x2 + x3 + x4 + (1 | g)"
#: For a logit or a log: most linear predictors are then within a few units of zero.
UNIT = rg.prior_normal(Intercept_sd=1.5, b_sd=1.0, tau_rate=1.0)

PAIRS = (
    Pair("gaussian, normal", INTERCEPTS, "gaussian", rg.prior_normal(), _normal),
    Pair("bernoulli, normal", INTERCEPTS, "bernoulli", UNIT, _binary),
    Pair("poisson, weak", INTERCEPTS, "poisson", rg.prior_weak(), _counts),
    Pair("negative binomial, normal", INTERCEPTS, "nb", UNIT, _counts),
    Pair("ordered, weak", INTERCEPTS, "ordered", rg.prior_weak(), _ratings),
    Pair("gaussian with slopes, normal", SLOPES, "gaussian", rg.prior_normal(), _normal),
    Pair("student_t, weak", INTERCEPTS, "student_t", rg.prior_weak(y_range=(-4.0, 4.0)), _normal),
    Pair("gamma, normal", INTERCEPTS, "gamma", UNIT, _positive, link="log"),
)


def chosen(names: str | None) -> tuple[Pair, ...]:
    """Pairs whose names begin with one of those given, separated by ";"; all by default.

    Raises
    ------
    SystemExit
        A beginning that no name has.
    """
    if names is None:
        return PAIRS
    found: list[Pair] = []
    for beginning in (name.strip() for name in names.split(";")):
        matching = [pair for pair in PAIRS if pair.name.startswith(beginning)]
        if not matching:
            raise SystemExit(f"no pair is called {beginning!r}; there are: {'; '.join(p.name for p in PAIRS)}")
        found += [pair for pair in matching if pair not in found]
    return tuple(found)
