"""The posterior of one data set, and the rank of the truth in it.

Place in the reading order: after ``simulate``. Ranked are the reported parameters, the first random effect, and the log
likelihood of the data: a posterior that ignores part of the data can have uniform ranks of every parameter, but not of
that (Modrak et al. 2023, "Simulation-based calibration checking for Bayesian computation").
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm.bayes.diagnostics import ess_bulk
from refglmm.bayes.fits import sample
from refglmm.bayes.posterior import Posterior
from refglmm.errors import RefglmmError, RefglmmWarning, ResponseError
from validation.sbc.pairs import Pair
from validation.sbc.simulate import Truth, simulate

FloatArray = NDArray[np.float64]

#: Draws that the truth is ranked among: 100 ranks.
DRAWS = 99
#: Draws of the chain between two of these, and the transitions before the first.
SPACING, WARMUP = 10, 500
#: Effective draws that the chain must have for each draw that is ranked among; transitions a draw, tried in turn.
ENOUGH, THIN = 2.0, (1, 4, 16)


def quantities(posterior: Posterior, positions: FloatArray) -> FloatArray:
    """Everything that is ranked, a row a position; names: :func:`names`."""
    effect = posterior.random_effects(positions)[:, :1]
    log_lik = posterior.log_lik(positions).sum(axis=1)[:, None]
    return np.hstack([posterior.reported(positions), effect, log_lik])


def names(posterior: Posterior) -> list[str]:
    """Of the columns of :func:`quantities`."""
    return [*posterior.names, "random effect 1", "log likelihood"]


def rank(truth: FloatArray, draws: FloatArray) -> NDArray[np.int64]:
    """Number of draws, shape (L, k), below the truth, shape (k,)."""
    return np.sum(draws < truth, axis=0)


def true_position(posterior: Posterior, truth: Truth) -> FloatArray:
    """The truth as a position of a posterior, whose random effects are spherical."""
    return np.concatenate([posterior.hyper(truth.values), truth.spherical.ravel()])


def acceptable(pair: Pair, rng: np.random.Generator) -> Truth:
    """The first data set that the model takes: one with an empty category, for example, is drawn again.

    Ranks stay uniform: they are so given any response, hence given a property of the response.
    """
    while True:
        truth = simulate(pair, rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RefglmmWarning)
            try:
                pair.model.with_response(truth.y)
            except ResponseError:
                continue
        return truth


def one_data_set(pair: Pair, seed: np.random.SeedSequence) -> dict[str, Any]:
    """Draw a data set, sample its posterior, rank the truth.

    Returns
    -------
    dict
        ranks, true values, minimum effective sample size, divergent transitions, thinning, seconds; or "failed" with
        the message.
    """
    began, (of_data, of_chain) = time.perf_counter(), seed.spawn(2)
    truth = acceptable(pair, np.random.default_rng(of_data))
    posterior = Posterior(pair.model.problem.with_response(truth.y, pair.model.problem.weights), pair.priors)
    true = quantities(posterior, true_position(posterior, truth)[None])[0]
    try:
        found = _thinned(pair, posterior, int(of_chain.generate_state(1)[0]))
    except RefglmmError as error:
        return {"failed": f"{type(error).__name__}: {error}", "values": true.tolist()}
    draws = found.pop("draws")
    return {
        "ranks": rank(true, draws).tolist(),
        "values": true.tolist(),
        **found,
        "seconds": time.perf_counter() - began,
    }


def _thinned(pair: Pair, posterior: Posterior, seed: int) -> dict[str, Any]:
    """Nearly independent draws: from longer chains, where the effective sample size asks for it."""
    for thin in THIN:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RefglmmWarning)
            fit = sample(
                pair.model,
                posterior,
                sampling=DRAWS * SPACING,
                warmup=WARMUP,
                chains=1,
                thin=thin,
                seed=seed,
                parallel=False,
                progress=False,
                **pair.options,
            )
        values = quantities(fit.posterior, fit.draws.positions[0])
        least = float(np.min(ess_bulk(values[None])))
        if least >= ENOUGH * DRAWS:
            break
    return {
        "draws": values[SPACING - 1 :: SPACING],
        "ess": least,
        "divergent": fit.draws.n_divergent,
        "thin": thin,
    }
