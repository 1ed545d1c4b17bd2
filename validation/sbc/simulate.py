r"""A data set from the prior: parameters, random effects, response, in plain NumPy.

Place in the reading order: after ``pairs``. Nothing of the package computes here but the prior draws (natural values)
and the model matrix, so that an error of the posterior's own reading of a parameter does not cancel.

.. math:: \eta = X_c \beta + Z b,\qquad b_g \sim N(0, \mathrm{diag}(s) R\, \mathrm{diag}(s))

with X centred at its column means, except for the column of ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm.bayes.priors import sample_prior
from validation.sbc.pairs import Pair

FloatArray = NDArray[np.float64]
Draw = Callable[[FloatArray, FloatArray, np.random.Generator], Any]


@dataclass(frozen=True)
class Truth:
    """What a data set was drawn with.

    Attributes
    ----------
    values : float array
        Natural value of each scalar of the priors.
    effects : float array, shape (groups, columns)
        Random effects on the scale of the linear predictor.
    spherical : float array, shape (groups, columns)
        The standard normal numbers that they were made of.
    y : float array, shape (n,)
    """

    values: FloatArray
    effects: FloatArray
    spherical: FloatArray
    y: FloatArray


#: (linear predictor, shape parameters as the priors have them, generator) -> response.
RESPONSES: dict[str, Draw] = {
    "gaussian": lambda eta, shape, rng: rng.normal(eta, shape[0]),
    "bernoulli": lambda eta, _, rng: (rng.random(eta.size) < 1.0 / (1.0 + np.exp(-eta))).astype(float),
    "poisson": lambda eta, _, rng: rng.poisson(np.exp(eta)).astype(float),
    "negative_binomial": lambda eta, shape, rng: rng.poisson(np.exp(eta) * rng.gamma(shape[0], 1 / shape[0], eta.size)),
    "ordered": lambda eta, shape, rng: np.sum((eta + rng.logistic(size=eta.size))[:, None] > shape, axis=1),
    "student_t": lambda eta, shape, rng: eta + shape[0] * rng.standard_t(shape[1], eta.size),
    "gamma": lambda eta, shape, rng: np.exp(eta) * rng.gamma(shape[0], 1.0 / shape[0], eta.size),
}


def simulate(pair: Pair, rng: np.random.Generator) -> Truth:
    """Draw parameters from the prior, random effects and a response."""
    priors, model = pair.priors, pair.model
    values = sample_prior(priors, rng, 1)[0]
    fixed, sd, corr, shape, _ = np.split(values, np.cumsum(priors.counts)[:-1])
    X = np.array(model.problem.X)
    constant = np.ptp(X, axis=0) == 0.0
    if priors.centre:
        X -= np.where(constant, 0.0, X.mean(axis=0))
    (term,) = model.design.terms
    R = np.array([[1.0, corr[0]], [corr[0], 1.0]]) if corr.size else np.eye(sd.size)
    spherical = rng.standard_normal((model.problem.q // sd.size, sd.size))
    effects = spherical @ np.linalg.cholesky(R).T * sd
    columns = np.column_stack([np.ones(len(X)), model.problem.X[:, ~constant]])[:, : sd.size]
    eta = X @ fixed + np.sum(columns * effects[term.codes], axis=1)
    y = np.asarray(RESPONSES[model.family.name](eta, shape, rng), dtype=np.float64)
    return Truth(values, effects, spherical, y)
