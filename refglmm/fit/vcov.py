r"""Covariance matrix of the fixed effects, and the joint one of fixed and random effects.

Place in the reading order: in ``fit``, after ``ranef``. Two estimates:

``"hessian"``
    :math:`2\,[\mathcal H^{-1}]_{\beta\beta}` with :math:`\mathcal H` the Hessian of -2 log L over (par,
    beta, log phi): accounts for the estimation of the covariance parameters. Generalized models with n_agq
    >= 1.
``"rx"``
    :math:`s^2 (R_X'R_X)^{-1}`, conditional on the covariance parameters. The only one for linear mixed
    models (beta is profiled out of their objective) and for n_agq = 0.

On a singular fit the parameters on their boundary are held fixed: no quadratic describes the likelihood
there. The joint covariance (``full=True``) of (beta, b) given theta comes from the penalised Hessian,

.. math:: \operatorname{Var}(\hat\beta) = s^2 V,\; V = (R_X'R_X)^{-1},\qquad
          \operatorname{Cov}(b, \hat\beta) = -s^2 \Lambda K V, \qquad
          \operatorname{Var}(b) = s^2 \Lambda (H^{-1} + K V K') \Lambda', \qquad K = H^{-1} \Lambda' Z'WX .

Source: Bates et al. (2015), equations 54 to 60; lme4's help page ``vcov.merMod``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.linalg import LinAlgError, cholesky, inv
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, NotAvailableError, VcovWarning, warn
from refglmm.fit.parts import MAIN, all_names, part_columns
from refglmm.fit.ranef import posterior_scale
from refglmm.fit.varcorr import split_par, term_factors

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]
KINDS = ("hessian", "rx")
#: Largest p + q for which the dense joint covariance is formed (200 MB).
FULL_LIMIT = 5000
#: Relative disagreement of the two estimates that is worth a warning (lme4's figure).
DISAGREEMENT = 1e-4


@dataclass(frozen=True)
class FixedCovariance:
    """Covariance of beta, the kind it is of, and what the reader must know about it."""

    matrix: FloatArray
    kind: str
    note: str


def rx_covariance(fit: FittedModel) -> FloatArray:
    """s^2 (RX'RX)^-1."""
    rx = fit.conditional.rx
    inverse = inv(rx)
    return posterior_scale(fit) * (inverse @ inverse.T)


def free_parameters(fit: FittedModel) -> NDArray[np.bool_]:
    """Which rows of the Hessian stay: all but covariance parameters on their boundary, or without any effect."""
    boundary = set(fit.optimum.certificate.boundary)
    free = np.array([name not in boundary for name in fit.optimum.names], dtype=bool)
    unfelt = [s.undetermined(par, 0.0) for s, par in zip(fit.structures, split_par(fit), strict=True)]
    held = np.concatenate([*unfelt, np.empty(0, dtype=bool)])
    free[: held.size] &= ~held
    return free


def invert_scaled(matrix: FloatArray) -> FloatArray:
    """Inverse of a positive definite matrix after scaling to unit diagonal; LinAlgError where it is not."""
    diagonal = np.diag(matrix)
    if not np.all(np.isfinite(matrix)) or np.any(diagonal <= 0.0):
        raise LinAlgError("not positive definite")
    scale = 1.0 / np.sqrt(diagonal)
    inverse_factor = inv(cholesky(matrix * np.outer(scale, scale))) * scale
    return inverse_factor.T @ inverse_factor


def hessian_covariance(fit: FittedModel) -> tuple[FloatArray, str]:
    """Twice the beta block of the inverse Hessian, and a note; LinAlgError if it is not positive definite."""
    n_par, p = len(fit.optimum.par), len(fit.optimum.beta)
    free = free_parameters(fit)
    keep = np.flatnonzero(free)
    block = np.flatnonzero((keep >= n_par) & (keep < n_par + p))
    inverse = invert_scaled(np.asarray(fit.optimum.hessian)[np.ix_(keep, keep)])
    held = [name for name, stays in zip(fit.optimum.names, free, strict=True) if not stays]
    note = f"standard errors hold the boundary parameters fixed: {', '.join(held)}" if held else ""
    return 2.0 * inverse[np.ix_(block, block)], note


def fixed_covariance(fit: FittedModel, kind: str | None = None) -> FixedCovariance:
    """Covariance of beta with its fallbacks; warns (:class:`VcovWarning`) where a Hessian cannot be used."""
    profiled = fit.is_lmm or fit.n_agq == 0
    wanted = kind or ("rx" if profiled else fit.se_type)
    if wanted not in KINDS:
        raise ArgumentError(f"unknown kind {wanted!r} of covariance; use 'hessian' or 'rx'", kind=wanted)
    if wanted == "rx":
        matrix = rx_covariance(fit)
        if kind == "rx" and not profiled:
            _warn_if_different(fit, matrix)
        return FixedCovariance(matrix, "rx", "")
    if profiled:
        raise NotAvailableError(
            "the fixed effects are profiled out of this objective, which has no Hessian for them; use kind='rx'"
        )
    return _from_hessian(fit)


def _from_hessian(fit: FittedModel) -> FixedCovariance:
    if fit.optimum.hessian is None:
        note = "standard errors from RX: no Hessian was computed for this fit"
        return FixedCovariance(rx_covariance(fit), "rx", note)
    try:
        matrix, note = hessian_covariance(fit)
    except LinAlgError:
        eigenvalues = fit.optimum.certificate.eigenvalues
        smallest = f" (smallest scaled eigenvalue {eigenvalues.min():.3g})" if eigenvalues.size else ""
        note = f"standard errors from RX: the Hessian is not positive definite{smallest}"
        warn(
            VcovWarning(
                f"{note}; they ignore the uncertainty of the covariance parameters. Check fit.convergence, "
                "simplify the random effects or rescale the predictors",
                eigenvalues=eigenvalues,
            )
        )
        return FixedCovariance(rx_covariance(fit), "rx", note)
    return FixedCovariance(matrix, "hessian", note)


def _warn_if_different(fit: FittedModel, matrix: FloatArray) -> None:
    """Warn when the Hessian of the same fit gives other standard errors."""
    if fit.optimum.hessian is None:
        return
    try:
        other, _ = hessian_covariance(fit)
    except LinAlgError:
        return
    difference = np.abs(np.sqrt(np.diag(matrix) / np.diag(other)) - 1.0)
    if difference.size and difference.max() > DISAGREEMENT:
        j = int(np.argmax(difference))
        warn(
            VcovWarning(
                f"RX and Hessian standard errors differ by up to {difference[j]:.3g} relative "
                f"(at {all_names(fit)[j]}); the Hessian allows for estimating the covariance parameters",
                coefficient=all_names(fit)[j],
                difference=float(difference[j]),
            )
        )


def joint_covariance(fit: FittedModel) -> FloatArray:
    """Covariance of (beta, b) given the covariance parameters, shape (p + q, p + q), dense."""
    from scipy.linalg import block_diag

    mode, p, q = fit.conditional, len(fit.optimum.beta), len(fit.conditional.u)
    if p + q > FULL_LIMIT:
        raise NotAvailableError(
            f"the joint covariance is a dense matrix of order p + q = {p + q} > {FULL_LIMIT}; "
            "ranef(cond_var=True) gives its level blocks",
            order=p + q,
        )
    Lambda = block_diag(*[np.kron(np.eye(len(t.levels)), T) for t, T in zip(fit.design.terms, term_factors(fit))])
    inverse = inv(mode.rx)
    V = inverse @ inverse.T
    LK = Lambda @ mode.factor.solve_Lt(np.array(mode.rzx))
    b_given_beta = Lambda @ mode.factor.solve(np.ascontiguousarray(Lambda.T))
    cross = -V @ LK.T
    joint = np.block([[V, cross], [cross.T, b_given_beta + LK @ V @ LK.T]])
    return posterior_scale(fit) * 0.5 * (joint + joint.T)


def random_names(fit: FittedModel) -> list[str]:
    """Names of the elements of b: term label, column, level."""
    return [f"{t.label}.{column}.{level}" for t in fit.design.terms for level in t.levels for column in t.columns]


def whole_covariance(fit: FittedModel) -> FixedCovariance:
    """Covariance of the coefficients of all predictors, as ``summary`` uses it; computed once."""

    def compute() -> FixedCovariance:
        result = fixed_covariance(fit)
        result.matrix.setflags(write=False)
        return result

    return fit.derived("covariance of all coefficients", compute)


def vcov(fit: FittedModel, kind: str | None = None, *, full: bool = False, part: str = MAIN) -> pd.DataFrame:
    """Covariance of beta; ``attrs`` say which kind it is ("kind") and what to know ("note")."""
    if full:
        names = [*all_names(fit), *random_names(fit)]
        return pd.DataFrame(joint_covariance(fit), index=names, columns=names)
    result = whole_covariance(fit) if kind is None else fixed_covariance(fit, kind)
    at, names = part_columns(fit, part)
    frame = pd.DataFrame(result.matrix[at, at].copy(), index=names, columns=names)
    frame.attrs.update(kind=result.kind, note=result.note)
    return frame
