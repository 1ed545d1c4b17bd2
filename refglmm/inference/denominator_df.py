r"""Wald tests of linear hypotheses L beta = 0, with denominator degrees of freedom where the model is linear.

Place in the reading order: after :mod:`.satterthwaite` and :mod:`.kenward_roger`, before everything that tests fixed
effects (:mod:`.term_tests`, ``effects``). The methods:

==================  ==================================================================================================
"satterthwaite"     :math:`\nu = 2(l'Vl)^2/(g'Ag)`; for several rows as below
"kenward-roger"     adjusted covariance, scaled F; REML
"residual"          n - p
"inf"               chi-square (normal) reference
a number            that number
"auto"              "satterthwaite" for linear mixed models, "inf" for others
==================  ==================================================================================================

**Several rows, Satterthwaite.** With :math:`LVL' = U D U'`, the q independent :math:`t_m^2 = (u_m'L\hat\beta)^2/d_m`
have degrees of freedom :math:`\nu_m` of their own; :math:`F = \sum t_m^2/q`, whose denominator is

.. math:: \nu = \frac{2E}{E - q},\qquad E = \sum_m \frac{\nu_m}{\nu_m - 2},

their mean if all are equal, and 2 if some :math:`\nu_m \le 2`. Rows that depend on others are taken out first.

Source: Fai and Cornelius (1996); Kuznetsova et al. (2017); Kenward and Roger (1997).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.inference.kenward_roger import KenwardRoger, kenward_roger
from refglmm.inference.satterthwaite import Satterthwaite, satterthwaite

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]
Method = str | float

METHODS = ("auto", "satterthwaite", "kenward-roger", "residual", "inf")
#: Degrees of freedom that agree to this relative accuracy count as equal.
EQUAL = 1e-8
#: Singular values of L (rows of length 1) below this are dependent rows.
DEPENDENT = 1e-8


@dataclass(frozen=True)
class WaldTest:
    """A test of L beta = 0.

    Attributes
    ----------
    statistic : float
        F, or the chi-square statistic.
    num_df : int
        Independent rows of L.
    den_df : float
        Infinite for "Chisq".
    p_value : float
    kind : {"F", "Chisq"}
    """

    statistic: float
    num_df: int
    den_df: float
    p_value: float
    kind: str

    def __str__(self) -> str:
        if self.kind == "Chisq":
            return f"Chisq({self.num_df}) = {self.statistic:.5g}, p = {self.p_value:.4g}"
        return f"F({self.num_df}, {self.den_df:.5g}) = {self.statistic:.5g}, p = {self.p_value:.4g}"

    def __repr__(self) -> str:
        return str(self)


def resolve_method(fit: FittedModel, method: Method) -> Method:
    """Resolve "auto" and check the rest.

    Raises
    ------
    ArgumentError
        Unknown name; a number that is not positive.
    NotAvailableError
        A method for linear mixed models asked of another model.
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise ArgumentError(f"unknown method {method!r} for degrees of freedom; use a number or one of {METHODS}")
        if method == "auto":
            return "satterthwaite" if fit.is_lmm else "inf"
        if method != "inf" and not fit.is_lmm:
            raise NotAvailableError(
                f"{method!r} degrees of freedom exist for linear mixed models; a generalized model has none: use "
                "'inf', profile intervals or a parametric bootstrap"
            )
        return method
    if isinstance(method, bool) or not isinstance(method, int | float | np.number) or not method > 0:
        raise ArgumentError(f"degrees of freedom must be a positive number or one of {METHODS}, not {method!r}")
    return "inf" if np.isinf(method) else float(method)


def hypothesis_matrix(fit: FittedModel, L: ArrayLike, names: Sequence[str] | None = None) -> FloatArray:
    """L as a matrix with one column a fixed effect: of the first predictor, or those of ``names``.

    Raises
    ------
    ArgumentError
        Not numbers; wrong number of columns; values that are not finite; a row of zeros.
    """
    names = fit.design.names if names is None else names
    p = len(names)
    try:
        matrix = np.atleast_2d(np.array(L, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"a hypothesis is a row (or rows of equal length) of {p} numbers, one for each of "
            f"{', '.join(names)}; not {L!r}"
        ) from error
    if matrix.ndim != 2 or matrix.shape[1] != p:
        raise ArgumentError(
            f"a hypothesis about these fixed effects has {p} columns ({', '.join(names)}), not shape {np.shape(L)}",
            columns=p,
        )
    if not np.all(np.isfinite(matrix)):
        raise ArgumentError("the hypothesis matrix holds values that are not finite")
    zero = np.flatnonzero(~matrix.any(axis=1))
    if zero.size:
        raise ArgumentError(f"row {int(zero[0])} of the hypothesis matrix is zero: it says nothing", row=int(zero[0]))
    return matrix


def independent_rows(L: FloatArray) -> FloatArray:
    """The rows of L as they are if they are independent, else an orthonormal basis of what they span."""
    _, sizes, Vt = np.linalg.svd(L / np.linalg.norm(L, axis=1, keepdims=True), full_matrices=False)
    rank = int(np.sum(sizes > DEPENDENT * sizes[0]))
    return L if rank == len(L) else Vt[:rank]


def satterthwaite_pieces(fit: FittedModel) -> Satterthwaite:
    """See :func:`.satterthwaite.satterthwaite`; computed once a fit."""
    return fit.derived("satterthwaite", lambda: satterthwaite(fit))


def kenward_roger_pieces(fit: FittedModel) -> KenwardRoger:
    """See :func:`.kenward_roger.kenward_roger`; computed once a fit."""
    return fit.derived("kenward-roger", lambda: kenward_roger(fit))


def adjusted_covariance(fit: FittedModel) -> pd.DataFrame:
    """Kenward and Roger's Phi_A: the covariance of the fixed effects, adjusted for small samples.

    Raises
    ------
    NotAvailableError
        See :func:`.kenward_roger.kenward_roger`.
    """
    resolve_method(fit, "kenward-roger")
    names = list(fit.design.names)
    return pd.DataFrame(kenward_roger_pieces(fit).adjusted.copy(), index=names, columns=names)


def covariance_for(fit: FittedModel, method: Method) -> FloatArray:
    """The covariance matrix that a method's t and F statistics divide by, shape (p, p)."""
    method = resolve_method(fit, method)
    return kenward_roger_pieces(fit).adjusted if method == "kenward-roger" else fit.covariance.matrix


def residual_df(fit: FittedModel) -> int:
    """Rows of positive weight minus fixed effects."""
    return int(np.sum(np.asarray(fit.frame.weights) > 0)) - len(fit.design.names)


def coefficient_df(fit: FittedModel, L: ArrayLike, method: Method = "auto") -> FloatArray:
    """Degrees of freedom for a t test of each row of L.

    Parameters
    ----------
    fit : FittedModel
    L : array-like, shape (r, p) or (p,)
    method : str or number
        See the module.

    Returns
    -------
    float array, shape (r,)
        Infinite for "inf".
    """
    matrix, method = hypothesis_matrix(fit, L), resolve_method(fit, method)
    if method == "satterthwaite":
        return satterthwaite_pieces(fit).df(matrix)
    if method == "kenward-roger":
        pieces = kenward_roger_pieces(fit)
        return np.array([pieces.scaled_f(row[None])[0] for row in matrix])
    value = {"residual": residual_df(fit), "inf": np.inf}[method] if isinstance(method, str) else method
    return np.full(len(matrix), float(value))


def wald_test(fit: FittedModel, L: ArrayLike, method: Method = "auto") -> WaldTest:
    """Test L beta = 0, all rows at once.

    Parameters
    ----------
    fit : FittedModel
    L : array-like, shape (r, p) or (p,)
        Rows may depend on each other.
    method : str or number
        See the module.
    """
    from scipy.stats import chi2
    from scipy.stats import f as f_distribution

    method = resolve_method(fit, method)
    matrix = independent_rows(hypothesis_matrix(fit, L))
    q, estimate = len(matrix), matrix @ fit.beta
    variance = matrix @ covariance_for(fit, method) @ matrix.T
    chisq = float(estimate @ np.linalg.solve(variance, estimate))
    if method == "inf":
        return WaldTest(chisq, q, np.inf, float(chi2.sf(chisq, q)), "Chisq")
    F, nu = chisq / q, float(method) if not isinstance(method, str) else np.nan
    if method == "residual":
        nu = float(residual_df(fit))
    elif method == "satterthwaite":
        nu = several_rows_df(satterthwaite_pieces(fit), matrix)
    elif method == "kenward-roger":
        nu, scale = kenward_roger_pieces(fit).scaled_f(matrix)
        F *= scale
    return WaldTest(F, q, nu, float(f_distribution.sf(F, q, nu)), "F")


def several_rows_df(pieces: Satterthwaite, L: FloatArray) -> float:
    """Fai and Cornelius's denominator degrees of freedom of independent rows."""
    _, U = np.linalg.eigh(L @ pieces.covariance @ L.T)
    nu, q = pieces.df(U.T @ L), len(L)
    if np.allclose(nu, nu[0], rtol=EQUAL, atol=0.0):
        return float(np.mean(nu))
    if np.any(nu <= 2.0):
        return 2.0
    E = float(np.sum(nu / (nu - 2.0)))
    return 2.0 * E / (E - q)
