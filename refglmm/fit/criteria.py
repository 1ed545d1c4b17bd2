r"""Log-likelihood, information criteria and the deviances of a fit.

Place in the reading order: in ``fit``, before ``summary``. Three quantities go by the name deviance:

=====================  =====================================================  =====================
here                   definition                                             cbpp (Laplace)
=====================  =====================================================  =====================
``minus_two_loglik``   unconditional (random effects integrated out),         184.0526
                       absolute; the REML criterion of a REML fit
``deviance``           conditional on the modes, relative to the saturated    73.4717
                       model: sum of unit deviances. LMM: -2 log L of ML
``reml_criterion``     only of a REML fit
=====================  =====================================================  =====================

For a linear mixed model with penalised residual sum of squares r^2 = pwrss and D = log|H|,

.. math:: -2\ell_{ML} = D - \sum\log w_i + n\left[1 + \log(2\pi r^2/n)\right]

so that the ML deviance *at the REML estimates* follows from what the fit holds. Source: Bates et al. (2015),
equation 35 (there without prior weights).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from refglmm.errors import NotAvailableError
from refglmm.fit.parts import several

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel


def n_parameters(fit: FittedModel) -> int:
    """Count what was estimated: kept fixed columns, par, and shape parameters (or sigma)."""
    if fit.is_lmm:
        shape = 1
    else:
        # The scale counts in lme4 mode too, where it is estimated from the residuals and not part of phi.
        shape = max(len(fit.family.shape_names), int(fit.has_scale))
    return len(fit.optimum.beta) + len(fit.optimum.par) + shape


def pwrss(fit: FittedModel) -> float:
    """Penalised weighted residual sum of squares of a linear mixed model."""
    residual = fit.frame.y - fit.conditional.mu
    return float(np.sum(fit.frame.weights * residual**2)) + fit.conditional.penalty


def ml_deviance(fit: FittedModel) -> float:
    """-2 log L (ML) of a linear mixed model at its estimates of par, whatever criterion they minimise."""
    weights = fit.frame.weights[fit.frame.weights > 0]  # a row of weight zero is no observation
    n = weights.size
    return float(fit.conditional.logdet_L2 - np.sum(np.log(weights)) + n * (1.0 + np.log(2.0 * np.pi * pwrss(fit) / n)))


def deviance(fit: FittedModel) -> float:
    """Conditional deviance of a GLMM; -2 log L (ML) of an LMM, for REML at the REML estimates."""
    if several(fit):
        raise NotAvailableError(
            f"a {fit.family.name} model has no saturated model to measure a deviance from; minus_two_loglik is -2 log L"
        )
    if not fit.is_lmm:
        return float(fit.conditional.deviance)
    return ml_deviance(fit) if fit.reml else float(fit.optimum.value)


def reml_criterion(fit: FittedModel) -> float:
    """REML criterion at the estimates."""
    if not fit.reml:
        raise NotAvailableError(
            "this model was not fitted by REML and has no REML criterion; use minus_two_loglik, or lmer(..., reml=True)"
        )
    return float(fit.optimum.value)


def aic(fit: FittedModel) -> float:
    """-2 log L + 2 df."""
    return float(fit.optimum.value) + 2.0 * n_parameters(fit)


def bic(fit: FittedModel) -> float:
    """-2 log L + df log(n), n counting rows."""
    return float(fit.optimum.value) + n_parameters(fit) * float(np.log(fit.frame.n))


def ngroups(fit: FittedModel) -> pd.Series:
    """Levels of each grouping factor, in the order of the terms."""
    counts = {term.group: len(term.levels) for term in fit.design.terms}
    return pd.Series(counts, dtype=int, name="ngroups")


def criteria(fit: FittedModel) -> dict[str, float]:
    """What the summary prints in one line."""
    return {
        "AIC": aic(fit),
        "BIC": bic(fit),
        "logLik": -0.5 * float(fit.optimum.value),
        "-2*log(L)": float(fit.optimum.value),
        "df.resid": fit.frame.n - n_parameters(fit),
    }
