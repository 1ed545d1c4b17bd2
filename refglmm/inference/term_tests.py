r"""Tests of the fixed-effects terms: hypotheses of type I, II and III that do not depend on how factors are coded.

Place in the reading order: after :mod:`.denominator_df`. Each hypothesis L beta = 0 is built from what the columns of
the design span, never from which contrasts stand in it.

**Types I and II.** Let :math:`X_0` be the columns of the terms to adjust for and :math:`X_1` those of the term.
Comparing the models with and without it, after :math:`X_0`, is testing :math:`X_1'M_0X\beta = 0`, :math:`M_0` taking
:math:`X_0` out. Type I adjusts for the terms before; type II for all that do not contain the term (a:b contains a).
Lengths are measured by X'X with the prior weights, so that in a linear model these are the F tests of model comparison,
and in generalized models by the inverse covariance of the estimates.

**Type III.** Means over the grid of all factor levels, each level with the same weight: the term's part of the model in
which every contrast is centred (its columns sum to zero over the levels), numeric covariates at 0 or at their mean.
Where cells are empty, such a mean may not be estimable; only what is estimable is tested, and a term of which nothing
is left has no test. Main-effect rows compare each level with the first.

Sources: Goodnight (1980), "Tests of hypotheses in fixed effects linear models"; Nelder (1977) on marginality; Searle
(1987), *Linear Models for Unbalanced Data*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.formula.matrix import Coding, ModelMatrix
from refglmm.formula.values import Column, Matrix
from refglmm.inference.denominator_df import Method, WaldTest, resolve_method, wald_test
from refglmm.inference.result_table import ResultTable

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

TYPES = {1: 1, 2: 2, 3: 3, "I": 1, "II": 2, "III": 3, "1": 1, "2": 2, "3": 3}
ROMAN = {1: "I", 2: "II", 3: "III"}
#: A column of length 1 of which less is left after projection depends on the others.
DEPENDENT = 1e-9
METHOD_NAMES = {"satterthwaite": "Satterthwaite's", "kenward-roger": "Kenward-Roger's", "residual": "the residual"}


# -- the design, coded in another way --------------------------------------------------------------------------


def _first_level_coding(coding: Coding) -> Coding:
    """Levels against the first, whatever the user chose; a reduced set of contrasts stays."""
    if coding.contrast is None or coding.levels is None or coding.contrast.shape[1] < len(coding.levels) - 1:
        return coding
    return replace(coding, contrast=None, suffixes=tuple(map(str, coding.levels[1:])))


def _centred_coding(coding: Coding) -> Coding:
    """The same contrasts with columns that sum to zero over the levels."""
    if coding.levels is None:
        return coding
    contrast = np.eye(len(coding.levels))[:, 1:] if coding.contrast is None else coding.contrast
    return replace(coding, contrast=contrast - contrast.mean(axis=0))


def _centred_column(column: Column) -> Column:
    """A numeric variable less its mean; factors as they are."""
    if isinstance(column, Matrix):
        return replace(column, values=column.values - column.values.mean(axis=0))
    return column - column.mean() if isinstance(column, np.ndarray) else column


def recoded_matrix(fit: FittedModel, coding: Any, covariates: str = "zero") -> tuple[ModelMatrix, FloatArray]:
    """Build the fixed-effects matrix of a fit, rank-deficient columns included, with its codings replaced."""
    matrix, columns = fit.design.matrix, fit.frame.columns
    codings = {v: coding(c) for v, c in matrix.codings.items()}
    other = ModelMatrix(matrix.terms, codings, matrix.full, matrix.without_intercept)
    if covariates == "mean":
        columns = {name: _centred_column(column) for name, column in columns.items()}
    return other, _beside_thresholds(fit, other.build(columns.__getitem__, fit.frame.n))


def _beside_thresholds(fit: FittedModel, X: FloatArray) -> FloatArray:
    """Columns less their means where thresholds stand for the intercept: a shift of them changes no effect."""
    return X - X.mean(axis=0) if fit.design.matrix.without_intercept else X


def contained_in(fit: FittedModel, j: int) -> list[int]:
    """Terms (numbered from 1) that contain term j: all of its variables, and more."""
    masks = fit.design.matrix.terms.masks
    own = masks[j - 1]
    return [k for k, mask in enumerate(masks, start=1) if k != j and mask & own == own]


def term_number(fit: FittedModel, term: str) -> int:
    """Number of a fixed-effects term, from 1, by its label; variables of an interaction in any order."""
    wanted = sorted(term.replace(" ", "").split(":"))
    for j, label in enumerate(fit.design.term_labels, start=1):
        if sorted(label.replace(" ", "").split(":")) == wanted:
            return j
    raise ArgumentError(
        f"there is no fixed-effects term {term!r}; terms are {', '.join(fit.design.term_labels) or 'none'}", term=term
    )


# -- types I and II ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Metric:
    """The design as few rows: ``root`` R with R'R the matrix that lengths are measured by, ``columns`` R B.

    B expresses the recoded columns by those of the fit, ``assign`` says which term each belongs to.
    """

    root: FloatArray
    columns: FloatArray
    assign: NDArray[np.int64]


def metric(fit: FittedModel) -> Metric:
    """Measure by X'WX (linear models) or by the inverse covariance of the estimates."""
    X = _beside_thresholds(fit, np.asarray(fit.design.X))
    matrix, recoded = recoded_matrix(fit, _first_level_coding)
    if fit.is_lmm:
        root = np.linalg.qr(np.sqrt(np.asarray(fit.frame.weights))[:, None] * X)[1]
    else:
        root = np.linalg.cholesky(np.linalg.inv(fit.covariance.matrix)).T
    B = _solve_columns(X, recoded)
    return Metric(root, root @ B, np.array(matrix.assign))


def _solve_columns(A: FloatArray, B: FloatArray) -> FloatArray:
    """Least-squares C with A C = B, for columns of any size."""
    size = np.linalg.norm(A, axis=0)
    size[size == 0.0] = 1.0
    return np.linalg.lstsq(A / size, B, rcond=None)[0] / size[:, None]


def _orthonormal(columns: FloatArray, against: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gram-Schmidt of columns against a basis and each other: the basis of what is left, and the lengths."""
    basis, kept, lengths = against, [], []
    for column in columns.T:
        left = column
        for _ in range(2):  # the second pass removes what rounding left
            left = left - basis @ (basis.T @ left)
        length = float(np.linalg.norm(left))
        if length > DEPENDENT * np.linalg.norm(column):
            kept.append(left / length)
            lengths.append(length)
            basis = np.column_stack([basis, kept[-1]])
    return np.array(kept).T.reshape(len(columns), -1), np.array(lengths)


def adjusted_hypothesis(measure: Metric, own: NDArray[np.bool_], before: NDArray[np.bool_]) -> FloatArray:
    """L for columns ``own`` after columns ``before``; no rows if nothing is left of them.

    Rows are those of the sequential (Doolittle) factorisation, each with 1 for its own column.
    """
    nothing = np.empty((len(measure.columns), 0))
    against, _ = _orthonormal(measure.columns[:, before], nothing)
    basis, lengths = _orthonormal(measure.columns[:, own], against)
    return (basis / lengths).T @ measure.root if lengths.size else np.empty((0, measure.root.shape[1]))


def sequential_or_marginal(fit: FittedModel, j: int, measure: Metric, type_number: int) -> FloatArray:
    """Hypothesis of type I or II for term j."""
    if type_number == 1:
        before = measure.assign < j
    else:
        before = ~np.isin(measure.assign, [j, *contained_in(fit, j)])
    return adjusted_hypothesis(measure, measure.assign == j, before)


def deletion_hypothesis(fit: FittedModel, j: int, measure: Metric) -> FloatArray:
    """Hypothesis that the model without term j holds."""
    return adjusted_hypothesis(measure, measure.assign == j, measure.assign != j)


# -- type III ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Centred:
    """The design with centred contrasts: its matrix, and the coefficients gamma = map beta of the fit's model.

    ``free`` spans the directions of gamma that the data do not determine.
    """

    matrix: ModelMatrix
    map: FloatArray
    free: FloatArray


def centred(fit: FittedModel, covariates: str) -> Centred:
    """Recode a fit by centred contrasts."""
    matrix, Xc = recoded_matrix(fit, _centred_coding, covariates)
    size = np.linalg.norm(Xc, axis=0)
    size[size == 0.0] = 1.0
    _, values, Vt = np.linalg.svd(np.linalg.qr(Xc / size)[1], full_matrices=True)
    rank = int(np.sum(values > DEPENDENT * values[0])) if values.size else 0
    X = _beside_thresholds(fit, np.asarray(fit.design.X))
    return Centred(matrix, _solve_columns(Xc, X), (Vt[rank:] / size).T)


def _level_rows(coding: Coding, full: bool) -> FloatArray:
    """What is read off the coefficients of one variable: each level less the first; the coefficients otherwise."""
    if full or coding.levels is None or coding.contrast is None or coding.contrast.shape[1] < len(coding.levels) - 1:
        return np.eye(coding.width(full))
    return np.asarray(coding.contrast[1:] - coding.contrast[0])


def grid_hypothesis(j: int, coded: Centred) -> FloatArray:
    """Hypothesis of type III for term j; fewer rows, or none, where cells are empty."""
    matrix = coded.matrix
    members = matrix.terms.members(matrix.terms.masks[j - 1])
    parts = [_level_rows(matrix.codings[v], full) for v, full in zip(members, matrix.full[j - 1], strict=True)]
    rows: FloatArray = np.ones((1, 1))
    for part in parts:
        rows = np.asarray(np.kron(part, rows))  # the columns of the first variable run fastest
    own = np.array(matrix.assign) == j
    undetermined = rows @ coded.free[own]
    if undetermined.size:
        scale = np.linalg.norm(rows, axis=1)[:, None] * np.linalg.norm(coded.free, axis=0).max(initial=1.0)
        U, values, _ = np.linalg.svd(undetermined / scale)
        rank = int(np.sum(values > DEPENDENT))
        rows = rows if rank == 0 else U[:, rank:].T @ rows
    return rows @ coded.map[own]


# -- the table -----------------------------------------------------------------------------------------------------


def check_type(type: Any) -> int:
    """1, 2 or 3."""
    if isinstance(type, bool) or type not in TYPES:
        raise ArgumentError(f"type must be 1, 2 or 3 (or 'I', 'II', 'III'), not {type!r}", type=type)
    return TYPES[type]


def hypotheses(fit: FittedModel, type: Any = 3, *, covariates: str = "zero") -> dict[str, FloatArray]:
    """Hypothesis matrix of each fixed-effects term.

    Parameters
    ----------
    fit : FittedModel
    type : {1, 2, 3, "I", "II", "III"}
    covariates : {"zero", "mean"}
        Where numeric covariates stand in a type III test of something they interact with: at 0, as in SAS and lmerTest,
        or at their mean.

    Returns
    -------
    dict
        Term label -> L, shape (rows, p); no rows where nothing of the term can be tested.
    """
    number = check_type(type)
    if covariates not in ("zero", "mean"):
        raise ArgumentError(f"covariates must be 'zero' or 'mean', not {covariates!r}")
    labels = fit.design.term_labels
    if number == 3:
        coded = centred(fit, covariates)
        return {label: grid_hypothesis(j, coded) for j, label in enumerate(labels, start=1)}
    measure = metric(fit)
    return {label: sequential_or_marginal(fit, j, measure, number) for j, label in enumerate(labels, start=1)}


def check_statistic(fit: FittedModel, test: str | None) -> str:
    """Resolve ``test``: "F" for linear mixed models and "Chisq" for others by default."""
    if test is None:
        return "F" if fit.is_lmm else "Chisq"
    if test not in ("F", "Chisq"):
        raise ArgumentError(f"test must be 'F' or 'Chisq', not {test!r}")
    if test == "F" and not fit.is_lmm:
        raise NotAvailableError(
            "F tests exist for linear mixed models; for a generalized model use test='Chisq', a likelihood-ratio test "
            "(drop1) or a parametric bootstrap (pb_test)"
        )
    return test


def term_table(
    fit: FittedModel, type: Any = 3, ddf: Method = "auto", test: str | None = None, covariates: str = "zero"
) -> ResultTable:
    """Table of Wald tests of all fixed-effects terms.

    Parameters
    ----------
    fit : FittedModel
    type, covariates
        See :func:`hypotheses`.
    ddf : str or number
        Denominator degrees of freedom, see :mod:`.denominator_df`.
    test : {"F", "Chisq"}, optional
        F with denominator degrees of freedom (linear mixed models), or Wald chi-square.
    """
    statistic = check_statistic(fit, test)
    method = resolve_method(fit, ddf) if statistic == "F" else "inf"
    tests = {
        label: wald_test(fit, L, method) if len(L) else None
        for label, L in hypotheses(fit, type, covariates=covariates).items()
    }
    roman = ROMAN[check_type(type)]
    notes = tuple(
        f"{label}: nothing of it is estimable in a type {roman} test (empty cells, or it depends on other terms)"
        for label, result in tests.items()
        if result is None
    )
    if statistic == "Chisq":
        heading: tuple[str, ...] = (
            f"Analysis of Deviance Table (Type {roman} Wald chisquare tests)",
            "",
            f"Response: {_response(fit)}",
        )
        return ResultTable(heading, _chisq_frame(tests), notes, {"Chisq": 4})
    name = METHOD_NAMES.get(method, "") if isinstance(method, str) else f"{method:g}"
    how = f"{name} method" if method in ("satterthwaite", "kenward-roger") else f"{name} degrees of freedom"
    if method == "inf":
        how = "infinite degrees of freedom"
    heading = (f"Type {roman} Analysis of Variance Table with {how}",)
    return ResultTable(heading, _f_frame(tests, fit.sigma), notes, {"F value": 4})


def _response(fit: FittedModel) -> str:
    return str(fit.formula.response)


def _chisq_frame(tests: dict[str, WaldTest | None]) -> pd.DataFrame:
    rows = [(np.nan, 0, np.nan) if t is None else (t.statistic, t.num_df, t.p_value) for t in tests.values()]
    return pd.DataFrame(rows, index=list(tests), columns=["Chisq", "Df", "Pr(>Chisq)"])


def _f_frame(tests: dict[str, WaldTest | None], sigma: float) -> pd.DataFrame:
    """Mean squares are F sigma^2."""
    rows = []
    for t in tests.values():
        if t is None:
            rows.append((np.nan, np.nan, 0, np.nan, np.nan, np.nan))
            continue
        F = t.statistic / t.num_df if t.kind == "Chisq" else t.statistic
        rows.append((F * sigma**2 * t.num_df, F * sigma**2, t.num_df, t.den_df, F, t.p_value))
    names = ["Sum Sq", "Mean Sq", "NumDF", "DenDF", "F value", "Pr(>F)"]
    return pd.DataFrame(rows, index=list(tests), columns=names)


def sequential_table(fit: FittedModel) -> ResultTable:
    r"""lme4's table of one linear mixed model: sequential sums of squares :math:`(R_X\hat\beta)^2`, without p-values.

    :math:`F = SS / df / \sigma^2`, :math:`\sigma = 1` for families without a scale.
    """
    squares = (np.asarray(fit.conditional.rx) @ fit.beta) ** 2
    assign = np.array(fit.design.assign)
    rows = []
    for j in range(1, len(fit.design.term_labels) + 1):
        SS, df = float(squares[assign == j].sum()), int(np.sum(assign == j))
        MS = SS / df if df else np.nan
        rows.append((df, SS, MS, MS / fit.sigma**2))
    frame = pd.DataFrame(rows, index=list(fit.design.term_labels), columns=["npar", "Sum Sq", "Mean Sq", "F value"])
    return ResultTable(("Analysis of Variance Table",), frame, (), {"F value": 4})
