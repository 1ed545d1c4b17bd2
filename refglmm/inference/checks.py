r"""Checks of the conditional distribution that need no simulation: overdispersion, surplus zeros, quasi-likelihood.

Place in the reading order: in ``inference``, after ``check_result``.

.. math::
    \hat c = \frac{\sum_i p_i^2}{n - df},\qquad \sum_i p_i^2 \sim \chi^2_{n - df} \text{ approximately},

with Pearson residuals p_i at the modes, n the rows with positive weight and df the estimated parameters (each
random-effects term counts by its covariance parameters). A conservative check: the modes take up part of the
residual variation. Source: the GLMM FAQ (Bolker and others), section on overdispersion, and its ``quasi_table``.

Zeros are compared with what the conditional distributions expect at the modes,

.. math:: E = \sum_i P(y_i = 0 \mid \tilde u),\qquad \operatorname{Var} = \sum_i P_i (1 - P_i).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import NotAvailableError
from refglmm.families.kernel import VALUE, L, observation_rows
from refglmm.fit.residuals import residual_values
from refglmm.inference.check_result import LEVEL, CheckResult

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]
#: Families whose zeros can be counted.
COUNTS = ("poisson", "negative_binomial", "binomial")


def _check_dispersion_is_open(fit: FittedModel) -> None:
    """Overdispersion means something only where the variance follows from the mean."""
    if fit.has_scale:
        raise NotAvailableError(
            f"the dispersion of this {fit.family.name} model is estimated: there is nothing to exceed; "
            "simulated_residuals().dispersion() compares its spread with simulations"
        )
    if fit.family.is_ordinal:
        raise NotAvailableError("categories cannot be overdispersed: their variance follows from their probabilities")
    trials = fit.frame.weights[fit.frame.weights > 0]
    if fit.family.name == "bernoulli" or (fit.family.is_binomial and np.all(trials == 1.0)):
        raise NotAvailableError("binary responses cannot be overdispersed: their variance follows from their mean")


def overdispersion(fit: FittedModel) -> CheckResult:
    """Pearson's chi-square over its degrees of freedom, with the upper tail probability.

    Raises
    ------
    NotAvailableError
        For families with a scale, for binary data, and where no degrees of freedom are left.
    """
    from scipy.stats import chi2

    _check_dispersion_is_open(fit)
    df = int(np.sum(fit.frame.weights > 0)) - fit.df
    if df < 1:
        raise NotAvailableError(f"{fit.nobs} rows and {fit.df} parameters leave nothing to judge the dispersion by")
    pearson = float(np.sum(residual_values(fit, "pearson") ** 2))
    p = float(chi2.sf(pearson, df))
    verdict = "No overdispersion detected."
    if p < LEVEL:
        verdict = (
            "Overdispersed: standard errors are too small. Add a random effect of each row, use a negative binomial "
            "for counts, or scale the standard errors with quasi_table()."
        )
    return CheckResult("Overdispersion", {"ratio": pearson / df, "chisq": pearson, "df": df}, p, p >= LEVEL, verdict)


def quasi_table(fit: FittedModel) -> pd.DataFrame:
    """Coefficients with standard errors multiplied by the root of the dispersion ratio (quasi-likelihood)."""
    from scipy.stats import norm

    ratio = overdispersion(fit).statistic
    table = pd.DataFrame({"Estimate": fit.fixef, "Std. Error": fit.se * np.sqrt(ratio)})
    table["z value"] = table["Estimate"] / table["Std. Error"]
    table["Pr(>|z|)"] = 2.0 * norm.sf(np.abs(table["z value"]))
    table.attrs["dispersion"] = ratio
    return table


def zero_probabilities(fit: FittedModel) -> FloatArray:
    """P(y_i = 0) at the modes, shape (n,): the family's density there."""
    problem, zeros = fit.problem, np.zeros(fit.nobs)
    weights = np.array(problem.weights) if fit.family.is_binomial else np.ones(fit.nobs)
    base = np.ascontiguousarray(fit.family.base_measure(zeros, weights))
    mode, out = fit.conditional, np.empty((observation_rows(problem.n_parts).size, fit.nobs))
    eta = np.array(mode.eta if mode.predictors is None else mode.predictors)
    fit.family.observe(zeros, eta, weights, base, fit.kernel_phi, VALUE, out)
    return np.exp(out[L])


def zero_inflation(fit: FittedModel) -> CheckResult:
    """Zeros observed against zeros expected at the modes.

    Raises
    ------
    NotAvailableError
        For families whose zeros are no counts.
    """
    from scipy.stats import norm

    if fit.model.base_family.name not in COUNTS:
        raise NotAvailableError(f"zeros of a {fit.family.name} response are not counts that could be in surplus")
    used = fit.frame.weights > 0
    probability = zero_probabilities(fit)[used]
    observed, expected = int(np.sum(fit.frame.y[used] == 0.0)), float(probability.sum())
    sd = float(np.sqrt(np.sum(probability * (1.0 - probability))))
    z = (observed - expected) / sd if sd > 0 else 0.0
    p = float(2.0 * norm.sf(abs(z)))
    numbers = {"ratio": observed / expected if expected else np.nan, "observed": observed, "expected": expected, "z": z}
    verdict = "As many zeros as the model expects."
    if p < LEVEL and z > 0:
        verdict = "More zeros than expected: look at the dispersion first, then at a zero-inflated model."
    elif p < LEVEL:
        verdict = "Fewer zeros than expected."
    return CheckResult("Zeros", numbers, p, p >= LEVEL, verdict)
