"""The models that data are drawn from: real designs, and parameters that are known because we set them.

Place in the reading order: after ``theory``. An :class:`Experiment` holds a fit for its rows, its formula and its
machinery; what data are drawn from is that fit with some parameters replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import refglmm as rg
from refglmm.datasets import load
from refglmm.fit.simulate import ResponseSource, fit_source
from refglmm.fitted import FittedModel
from refglmm.inference.parameters import estimates
from validation.calibration import theory

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
SLEEPSTUDY = "Reaction ~ Days + (Days | Subject)"
CROSSED = "count ~ treatment + (1 | plate) + (1 | sample)"
#: Truth of the crossed design: nothing about it is estimated.
CROSSED_SD = {"sd_(Intercept)|plate": 0.5, "sd_(Intercept)|sample": 0.4}
CROSSED_BETA = {"(Intercept)": 1.0, "treatmentb": 0.4}
#: Subjects and rows of sleepstudy.
SUBJECTS, ROWS = 18, 180
#: Levels of a grouping factor and means among them, for each standard deviation of random effects.
GROUPS = {
    ("cbpp", "sd_(Intercept)|herd"): (15, 1),
    ("sleepstudy", "sd_(Intercept)|Subject"): (SUBJECTS, 1),
    ("sleepstudy", "sd_Days|Subject"): (SUBJECTS, 1),
    ("crossed counts", "sd_(Intercept)|plate"): (24, 2),
    ("crossed counts", "sd_(Intercept)|sample"): (6, 1),
}
#: Subjects of the small sleepstudy, of whom the k-th lacks the last k rows.
FEW_SUBJECTS = 8


@dataclass(frozen=True, eq=False)
class Experiment:
    """Where data sets come from, and what is done with them.

    Attributes
    ----------
    name, text : str
        Heading, and what the model is.
    base : FittedModel
        Rows, formula, settings.
    params : dict or None
        Parameters that take the place of the estimates.
    truth : pd.Series
        Every parameter that data are drawn with, by its name.
    replicates : int
        Of the bootstrap of one data set.
    expected : callable or None
        Coverage by (parameter, method, level) from ``theory``; nan where it knows none.
    balanced : int
        Groups of a balanced design for which ``theory`` has rejection rates; 0 for any other.
    """

    name: str
    text: str
    base: FittedModel
    params: dict[str, Any] | None
    truth: pd.Series
    replicates: int = 0
    expected: Callable[[str, str, float], float] | None = None
    balanced: int = 0

    def source(self) -> ResponseSource:
        """What responses are drawn from: the array core of ``fit.simulate(newparams=...)``."""
        return fit_source(self.base, newparams=self.params)


def cbpp_fit() -> FittedModel:
    return rg.glmer(CBPP, load("cbpp"), "binomial")


def binomial_design() -> Experiment:
    """cbpp with its estimates for the truth."""
    fit = cbpp_fit()
    text = f"`{CBPP}`, binomial with logit link; 56 rows, 15 herds; truth: the estimates from the real data"
    return Experiment("cbpp", text, fit, None, estimates(fit), 79)


def slopes_design() -> Experiment:
    """sleepstudy by maximum likelihood, with its estimates for the truth."""
    fit = rg.lmer(SLEEPSTUDY, load("sleepstudy"), reml=False)
    text = (
        f"`{SLEEPSTUDY}`, gaussian, maximum likelihood; 180 rows, 18 subjects, balanced; truth: the estimates from "
        "the real data"
    )
    return Experiment("sleepstudy", text, fit, None, estimates(fit), 79, balanced_expectation)


def balanced_expectation(parameter: str, method: str, level: float) -> float:
    """Coverage in sleepstudy by theory."""
    if parameter in ("(Intercept)", "Days"):
        return theory.coefficient_coverage(method, level, SUBJECTS)
    return theory.sigma_coverage(method, level, ROWS - 2 * SUBJECTS) if parameter == "sigma" else float("nan")


def crossed_design() -> Experiment:
    """Counts on the crossed design of Penicillin: 24 plates by 6 samples."""
    data = load("Penicillin")[["plate", "sample"]]
    data["treatment"] = np.where(data["plate"].cat.codes % 2 == 0, "a", "b")
    params = {"beta": CROSSED_BETA, "theta": list(CROSSED_SD.values())}
    data["count"] = rg.simulate("~ " + CROSSED.partition("~")[2], data, "poisson", newparams=params, seed=1)["sim_1"]
    text = (
        f"`{CROSSED}`, poisson with log link, on the rows of Penicillin: 24 plates crossed with 6 samples, every "
        "second plate treated; truth: set by hand"
    )
    fit = rg.glmer(CROSSED, data, "poisson")
    return Experiment("crossed counts", text, fit, params, pd.Series({**CROSSED_SD, **CROSSED_BETA}), 39)


def null_herds() -> Experiment:
    """cbpp without differences between herds."""
    fit = cbpp_fit()
    params = dict(rg.without_random(fit).parameters or {})
    truth = pd.Series(params["beta"], fit.design.names)
    return Experiment("cbpp, no variance between herds", "", fit, params, truth)


def null_slopes() -> Experiment:
    """sleepstudy whose subjects have the same slope; tested against slopes that vary and correlate."""
    data = load("sleepstudy")
    small, large = rg.lmer("Reaction ~ Days + (1 | Subject)", data), rg.lmer(SLEEPSTUDY, data)
    params = {"beta": small.beta, "theta": [float(small.theta.iloc[0]), 0.0, 0.0], "sigma": small.sigma}
    return Experiment("sleepstudy, no variance of slopes", "", large, params, estimates(small))


def no_days(name: str, data: pd.DataFrame, balanced: int = 0) -> Experiment:
    """Draw without an effect of Days, from the estimates of the whole sleepstudy otherwise."""
    whole = rg.lmer(SLEEPSTUDY, load("sleepstudy"))
    params = {"beta": [float(whole.beta[0]), 0.0], "theta": np.asarray(whole.theta), "sigma": whole.sigma}
    truth = estimates(whole)
    truth["Days"] = 0.0
    return Experiment(name, "", rg.lmer(SLEEPSTUDY, data), params, truth, balanced=balanced)


def no_days_balanced() -> Experiment:
    return no_days("sleepstudy, no effect of Days", load("sleepstudy"), SUBJECTS)


def no_days_unbalanced() -> Experiment:
    """Eight subjects, of whom the k-th lacks the last k rows."""
    data = load("sleepstudy")
    subject = data["Subject"].cat.codes.to_numpy()
    kept = (subject < FEW_SUBJECTS) & (data["Days"].to_numpy() < 10 - subject)
    return no_days(f"sleepstudy, no effect of Days, {FEW_SUBJECTS} subjects, unbalanced", data[kept])


INTERVALS = (binomial_design, slopes_design, crossed_design)
VARIANCE_NULLS = (null_herds, null_slopes)
EFFECT_NULLS = (no_days_balanced, no_days_unbalanced)
