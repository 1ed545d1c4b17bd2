r"""What ordinal fits have besides: thresholds with standard errors, probabilities of categories, residuals.

Place in the reading order: in ``fit``, after ``variances``, before ``predict`` and ``summary``.

Probabilities are functions of the linear predictor and of the thresholds. By the delta method, with J the slopes of the
linear predictor in all parameters :math:`\psi` (see ``variances``), :math:`e_c` the rows of the thresholds in
:math:`\psi` and v the variance of the random part about its mode,

.. math:: \operatorname{Var}(\hat p_k) = g'\operatorname{Cov}(\hat\psi)\,g + (\partial p_k/\partial\eta)^2\,v,
          \qquad g = \frac{\partial p_k}{\partial\eta} J + \sum_c \frac{\partial p_k}{\partial c}\, e_c

Residuals of an ordinal response (s and h are its score and its information in the linear predictor, p the probability
of the row's category, m and v the mean and variance of its code 0, ..., K - 1):

==========  ================================================
working     s / h
deviance    sign(s) sqrt(-2 a log p)
pearson     sqrt(a) (code - m) / sqrt(v)
==========  ================================================
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from numpy.linalg import LinAlgError
from numpy.typing import NDArray

from refglmm.errors import NotAvailableError
from refglmm.fit.parameters import fit_parameters
from refglmm.fit.variances import all_parameters, known_levels, predictor_slopes, random_variance
from refglmm.fit.vcov import free_parameters, invert_scaled

if TYPE_CHECKING:
    from refglmm.families.ordinal import OrdinalFamily
    from refglmm.fit.rows import Rows
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]


def threshold_table(fit: FittedModel) -> pd.DataFrame:
    """Estimate, Std. Error and z value of each threshold; NaN errors where the fit has no usable Hessian."""
    estimate = np.array(fit.optimum.phi, dtype=float)
    se = np.full(estimate.size, np.nan)
    hessian = fit.optimum.hessian
    if hessian is not None and estimate.size:
        keep = np.flatnonzero(free_parameters(fit))
        with suppress(LinAlgError):  # the thresholds are the last parameters, and never on a boundary
            se = np.sqrt(2.0 * np.diag(invert_scaled(np.asarray(hessian)[np.ix_(keep, keep)]))[-estimate.size :])
    return pd.DataFrame(
        {"Estimate": estimate, "Std. Error": se, "z value": estimate / se}, index=list(fit.problem.phi_names)
    )


def _family(fit: FittedModel) -> OrdinalFamily:
    """The family, which is an ordinal one."""
    return cast("OrdinalFamily", fit.family)


def own_probabilities(fit: FittedModel) -> FloatArray:
    """Probability of the category that each row of the fit has, at the modes of the random effects."""
    return np.exp(_family(fit).log_density(fit.frame.y, fit.conditional.eta, 1.0, fit.kernel_phi))


def category_residuals(fit: FittedModel, type: str) -> FloatArray:
    """Residuals of the rows that were used."""
    if type == "response":
        raise NotAvailableError(
            "the category less its mean is no number on any scale of the response; use 'deviance', 'pearson' (of the "
            "category's code) or 'working', or simulated_residuals()"
        )
    score, weights = np.array(fit.conditional.s), fit.frame.weights
    if type == "working":
        return np.divide(score, fit.conditional.h, out=np.zeros_like(score), where=np.array(fit.conditional.h) != 0.0)
    if type == "deviance":
        return np.sign(score) * np.sqrt(-2.0 * weights * np.log(own_probabilities(fit)))
    known, eta = fit.family.at(fit.kernel_phi), np.array(fit.conditional.eta)
    return np.sqrt(weights) * (fit.frame.y - known.mean(eta)) / np.sqrt(known.variance(eta))


# -- predictions ---------------------------------------------------------------------------------------------------


def category_columns(
    fit: FittedModel, rows: Rows, eta: FloatArray, type: str, se: bool, newparams: Any
) -> dict[Any, Any]:
    """Columns of a prediction: probabilities (``"prob"``), cumulative ones (``"cum"``), the likeliest (``"class"``)."""
    family, known = _family(fit), ~np.isnan(eta)
    p = np.full((eta.size, family.n_levels), np.nan)
    p[known] = family.probabilities(eta[known], fit_parameters(fit, newparams).phi)
    if type == "class":
        codes = np.where(known, np.argmax(np.where(known[:, None], p, 0.0), axis=1), -1)
        return {"fit": pd.Categorical.from_codes(codes, categories=list(family.levels), ordered=True)}
    value = np.cumsum(p, axis=1) if type == "cum" else p
    if not se:
        return dict(zip(family.levels, value.T, strict=True))
    error = _standard_errors(fit, rows, eta, p, type)
    columns = {("fit", level): column for level, column in zip(family.levels, value.T, strict=True)}
    return columns | {("se", level): column for level, column in zip(family.levels, error.T, strict=True)}


def _standard_errors(fit: FittedModel, rows: Rows, eta: FloatArray, p: FloatArray, type: str) -> FloatArray:
    """Standard errors of the probabilities, or of their sums, shape (m, K)."""
    estimated, (z, codes) = all_parameters(fit), known_levels(rows)
    J = predictor_slopes(fit, rows.X, z, codes, estimated)
    by_eta, by_threshold = probability_slopes(fit, eta, p)
    if type == "cum":
        by_eta, by_threshold = np.cumsum(by_eta, axis=1), np.cumsum(by_threshold, axis=1)
    g = by_eta[:, :, None] * J[:, None, :]
    g[:, :, J.shape[1] - by_threshold.shape[2] :] += by_threshold
    variance = np.einsum("ikp,pr,ikr->ik", g, estimated.covariance, g, optimize=True)
    return np.sqrt(np.maximum(variance + by_eta**2 * random_variance(fit, rows)[:, None], 0.0))


def probability_slopes(fit: FittedModel, eta: FloatArray, p: FloatArray) -> tuple[FloatArray, FloatArray]:
    """dp/deta, shape (m, K), and dp/dthreshold, shape (m, K, estimated thresholds)."""
    from refglmm.families.kernel import L_PHI, SLOPES, S

    family, m = fit.family, eta.size
    phi, ones, out, shape = fit.kernel_phi, np.ones(m), np.empty((6, m)), np.empty((4, m))
    by_eta, by_threshold = np.empty(p.shape), np.empty((*p.shape, family.n_shape))
    for k in range(p.shape[1]):
        y = np.full(m, float(k))
        with np.errstate(all="ignore"):
            family.observe(y, eta, ones, np.zeros(m), phi, SLOPES, out)
            by_eta[:, k] = p[:, k] * out[S]
            for j in range(family.n_shape):
                family.observe_shape(y, eta, ones, phi, j, shape)
                by_threshold[:, k, j] = p[:, k] * shape[L_PHI]
    return by_eta, by_threshold
