"""What is done with one data set.

Place in the reading order: after ``designs``. Each function takes an experiment and a seed, and returns plain numbers,
so that it can run in any process. A method that fails leaves its message and does not stop the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import refglmm as rg
from refglmm.fitted import FittedModel
from refglmm.inference.parameters import estimates
from refglmm.inference.simulated_residuals import SimulatedResiduals, scaled_ranks
from refglmm.inference.tasks import seeds
from validation.calibration.counting import shares_below
from validation.calibration.designs import Experiment

FloatArray = NDArray[np.float64]

METHODS = ("Wald", "profile", "percentile", "basic")
LEVELS = (0.95, 0.80)
#: Simulations behind the residuals of one data set: 2.5 % of 120 is a whole number, so that a test can have size 5 %.
SIMULATIONS = 119
#: Simulations, and replicates, of the calibrated tests, likewise.
CALIBRATED_SIMULATIONS, CALIBRATED_REPLICATES = 39, 39


# -- intervals -----------------------------------------------------------------------------------------------


def intervals_of(experiment: Experiment, seed: np.random.SeedSequence) -> dict[str, Any]:
    """Draw, fit from scratch, and compute every interval and the residuals.

    Returns
    -------
    dict
        estimate: parameters; ends: (methods, levels, parameters, 2), nan where there are none; failed: method ->
        message; lost: replicates of the bootstrap that failed; singular: bool; residuals: see :func:`residuals_of`.
    """
    of_data, of_bootstrap, of_residuals = seeds(seed, 3)
    y = experiment.source().response(np.random.default_rng(of_data))
    fit = experiment.base.model.with_response(y).fit()
    names = list(experiment.truth.index)
    ends = np.full((len(METHODS), len(LEVELS), len(names), 2), np.nan)
    failed, lost = {}, 0

    def keep(method: str, table: Callable[[float], pd.DataFrame]) -> None:
        for k, level in enumerate(LEVELS):
            ends[METHODS.index(method), k] = table(level).loc[names]

    try:
        keep("Wald", lambda level: fit.confint(level=level, method="wald"))
    except rg.errors.RefglmmError as error:
        failed["Wald"] = _said(error)
    try:
        profile = fit.profile(progress=False)
        keep("profile", lambda level: profile.confint(level=level))
    except rg.errors.RefglmmError as error:
        failed["profile"] = _said(error)
    try:
        replicates = fit.bootstrap(nsim=experiment.replicates, seed=of_bootstrap, progress=False)
        lost = replicates.n_failed
        for method in ("percentile", "basic"):
            keep(method, lambda level, method=method: replicates.confint(level=level, type=method))  # type: ignore[misc]
    except rg.errors.RefglmmError as error:
        failed["bootstrap"] = _said(error)
    return {
        "estimate": estimates(fit)[names].to_numpy(),
        "ends": ends,
        "failed": failed,
        "lost": lost,
        "singular": bool(fit.is_singular()),
        "residuals": residuals_of(experiment, fit, np.random.default_rng(of_residuals)),
    }


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


# -- residuals -----------------------------------------------------------------------------------------------


def residuals_of(experiment: Experiment, fit: FittedModel, rng: np.random.Generator) -> dict[str, Any]:
    """Simulated residuals of a data set, with the true parameters and with the estimated ones.

    Returns
    -------
    dict
        "known", "estimated" -> below: share of the residuals below each decile; one: a residual of a row drawn at
        random; p: test -> p-value.
    """
    row = int(rng.integers(fit.nobs))
    known = residuals_at_truth(experiment, np.asarray(fit.frame.y), rng)
    found = {"known": known, "estimated": fit.simulated_residuals(SIMULATIONS, rng)}
    return {
        name: {
            "below": shares_below(residuals.scaled[0]),
            "one": float(residuals.scaled[0, row]),
            "p": {test.name: test.p_value for test in residuals.tests()},
        }
        for name, residuals in found.items()
    }


def residuals_at_truth(experiment: Experiment, y: FloatArray, rng: np.random.Generator) -> SimulatedResiduals:
    """Simulated residuals of y if nothing had to be estimated."""
    base, source = experiment.base, experiment.source()
    responses = np.array([y, *(source.response(rng) for _ in range(SIMULATIONS))])
    scaled = scaled_ranks(responses, rng.random(responses.shape))
    predicted = np.asarray(base.family.link.inverse(source.fixed))
    return SimulatedResiduals(responses, scaled, predicted, None, pd.Series(scaled[0]))


def calibrated_of(experiment: Experiment, seed: np.random.SeedSequence) -> dict[str, dict[str, float]]:
    """p-values of the tests of the residuals of one data set: as they are, and calibrated."""
    of_data, of_tests = seeds(seed, 2)
    fit = experiment.base.refit(experiment.source().response(np.random.default_rng(of_data)))
    tests = fit.calibrated_tests(
        CALIBRATED_REPLICATES, CALIBRATED_SIMULATIONS, int(of_tests.generate_state(1)[0]), progress=False
    )
    frame = tests.as_frame()
    return {"plain": frame["p"].to_dict(), "calibrated": frame["p_calibrated"].to_dict()}


# -- tests ---------------------------------------------------------------------------------------------------


def variance_p(experiment: Experiment, seed: np.random.SeedSequence) -> dict[str, float]:
    """p-values of the likelihood ratio test of a variance that is zero."""
    fit = experiment.base.refit(experiment.source().response(np.random.default_rng(seed)))
    row = fit.ranova().frame.iloc[-1]
    return {
        "chi-square": float(row["Pr(>Chisq)"]),
        "corrected for the boundary": float(row["Pr(>Chibarsq)"]),
        "statistic": float(row["LRT"]),
    }


def effect_p(experiment: Experiment, seed: np.random.SeedSequence) -> dict[str, float]:
    """p-values of tests of the second coefficient, which is zero."""
    fit = experiment.base.refit(experiment.source().response(np.random.default_rng(seed)))
    L = [[0.0, 1.0]]
    found = {"z test": fit.wald_test(L, "inf").p_value}
    table = rg.anova(fit.update(". ~ . - Days"), fit, names=["small", "large"]).frame
    found["likelihood ratio"] = float(table["Pr(>Chisq)"].iloc[-1])
    for name, method in (("Satterthwaite", "satterthwaite"), ("Kenward-Roger", "kenward-roger")):
        found[name] = fit.wald_test(L, method).p_value
    return found
