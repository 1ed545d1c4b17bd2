r"""Comparisons of means: contrast matrices, their estimates with tests, and joint tests.

Place in the reading order: in ``effects``, after ``tables``; ``means`` comes next. A contrast is a row c of a matrix
C over the means :math:`\ell_1'\beta, \ldots, \ell_k'\beta` of one family; its estimate is :math:`c'L\beta`, its
variance :math:`c'L V L'c` with the full covariance V of the fixed effects, its test
:math:`t = c'L\beta / \mathrm{se}` with degrees of freedom of its own (:mod:`refglmm.inference.denominator_df`).

Under the log and logit links a difference is the log of a ratio, and with ``type="response"`` ratios (odds ratios)
are shown; tests stay on the log scale. Differences of other links have no such meaning and stay as they are, unless
``differences=True`` compares the back-transformed means themselves, with standard errors by the delta method.

Source: Searle, Speed and Milliken (1980); the families of contrasts and their default adjustments are those of R's
emmeans (``help("contrast-methods")``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.effects import adjust as adjusting
from refglmm.effects import tables
from refglmm.effects.grid import Rows, lost_text
from refglmm.effects.scales import (
    check_level,
    check_type,
    df_method,
    drawn,
    draws_of,
    linear_predictor,
    means,
    scale_name,
)
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.fit.population import delta_se, parameter_covariance
from refglmm.inference.denominator_df import coefficient_df, covariance_for, wald_test

if TYPE_CHECKING:
    from refglmm.effects.means import Means
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

#: Families of contrasts, and the adjustment each has unless another is asked for.
METHODS = {
    "pairwise": "tukey",
    "revpairwise": "tukey",
    "consecutive": "mvt",
    "trt.vs.ctrl": "mvt",
    "eff": "fdr",
    "poly": "none",
}
#: Name of a back-transformed difference.
RATIOS = {"log": "ratio", "logit": "odds.ratio"}
POLYNOMIALS = ("linear", "quadratic", "cubic", "quartic")


# --- estimates on the scale of the linear predictor ---------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Estimates:
    """Estimate, standard error and degrees of freedom of each row; NaN where it is not estimable."""

    estimate: FloatArray
    se: FloatArray
    df: FloatArray


def estimate_rows(fit: FittedModel, rows: Rows, ddf: Any) -> Estimates:
    """Linear functions on the scale of the linear predictor.

    Parameters
    ----------
    ddf : str or number
        Method of the degrees of freedom; "kenward-roger" changes the standard errors too.
    """
    estimate = linear_predictor(fit, rows)
    se = delta_se(rows.L, covariance_for(fit, ddf))
    df = np.full(len(estimate), np.inf)
    tested = rows.estimable & rows.L.any(axis=1)
    if tested.any():
        df[tested] = coefficient_df(fit, rows.L[tested], ddf)
    lost = ~rows.estimable
    return Estimates(np.where(lost, np.nan, estimate), np.where(lost, np.nan, se), np.where(lost, np.nan, df))


# --- contrast matrices --------------------------------------------------------------------------------------


def contrast_rows(method: Any, labels: Sequence[str], reference: Any = None, sep: str = "-") -> tuple[FloatArray, list]:
    """Coefficients and names of a family of contrasts.

    Parameters
    ----------
    method : str, mapping or array-like
        A name of :data:`METHODS`; or name -> k coefficients; or a matrix with k columns (a DataFrame's index names
        the rows).
    labels : sequence of str
        The k means.
    reference : label or position, optional
        The control of "trt.vs.ctrl"; the first by default.

    Returns
    -------
    C : float array, shape (r, k)
    names : list of str
    """
    if not isinstance(method, str):
        return _own_contrasts(method, labels)
    k = len(labels)
    eye = np.eye(k)
    pairs = [(i, j) for i in range(k) for j in range(i + 1, k)]
    match method:
        case "pairwise":
            chosen = pairs
        case "revpairwise":
            chosen = [(j, i) for i, j in sorted(pairs, key=lambda p: p[1])]
        case "consecutive":
            chosen = [(i + 1, i) for i in range(k - 1)]
        case "trt.vs.ctrl":
            control = _reference(reference, labels)
            chosen = [(i, control) for i in range(k) if i != control]
        case "eff":
            return eye - 1.0 / k, [f"{label} effect" for label in labels]
        case "poly":
            return _polynomials(k)
        case _:
            raise ArgumentError(
                f"unknown contrasts {method!r}; use one of {', '.join(METHODS)}, a mapping name -> coefficients, "
                "or a matrix",
                method=method,
            )
    C = np.array([eye[i] - eye[j] for i, j in chosen]).reshape(-1, k)
    return C, [f"{labels[i]} {sep} {labels[j]}" for i, j in chosen]


def _reference(reference: Any, labels: Sequence[str]) -> int:
    if reference is None:
        return 0
    if str(reference) in labels:
        return list(labels).index(str(reference))
    if isinstance(reference, int | np.integer) and not isinstance(reference, bool) and 0 <= reference < len(labels):
        return int(reference)
    raise ArgumentError(f"reference {reference!r} is none of the means {', '.join(labels)}", reference=reference)


def _polynomials(k: int) -> tuple[FloatArray, list[str]]:
    """Orthogonal polynomials over 1..k in the smallest whole numbers, degrees 1 to min(k - 1, 6)."""
    basis = [[Fraction(1)] * k]
    for _ in range(min(k - 1, 6)):
        new = [Fraction(i) * v for i, v in enumerate(basis[-1])]
        for old in basis:
            share = sum((a * b for a, b in zip(new, old)), Fraction(0)) / sum((b * b for b in old), Fraction(0))
            new = [a - share * b for a, b in zip(new, old)]
        basis.append(new)
    whole = []
    for row in basis[1:]:
        integers = np.array([int(v * lcm(*(u.denominator for u in row))) for v in row])
        whole.append(integers / np.gcd.reduce(integers))
    names = [POLYNOMIALS[d] if d < len(POLYNOMIALS) else f"degree {d + 1}" for d in range(len(whole))]
    return np.array(whole, dtype=float).reshape(-1, k), names


def _own_contrasts(method: Any, labels: Sequence[str]) -> tuple[FloatArray, list[str]]:
    k = len(labels)
    if isinstance(method, Mapping):
        given = {str(name): np.atleast_1d(np.asarray(c, dtype=object)) for name, c in method.items()}
        for name, c in given.items():
            if c.shape != (k,):
                raise ArgumentError(
                    f"contrast {name!r} has {c.size} coefficients, but there are {k} means: {', '.join(labels)}",
                    contrast=name,
                    means=k,
                )
        values, names = list(given.values()), list(given)
    else:
        values = method
        names = [str(v) for v in method.index] if isinstance(method, pd.DataFrame) else []
    try:
        C = np.atleast_2d(np.array(values, dtype=float))
    except (TypeError, ValueError):
        C = np.full((1, k), np.nan)
    if C.ndim != 2 or C.shape[1] != k or not np.isfinite(C).all() or not C.any(axis=1).all():
        raise ArgumentError(
            f"contrasts must be finite rows, none of them zero, of {k} coefficients for {', '.join(labels)}; got an "
            f"array of shape {C.shape}",
            means=k,
            shape=C.shape,
        )
    return C, names or [f"contrast {i + 1}" for i in range(len(C))]


# --- the result ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Contrasts(tables.Tabled):
    """Comparisons of means with tests and intervals.

    Attributes
    ----------
    fit : FittedModel
    rows : Rows
        The contrasts as linear functions of the fixed effects.
    by : tuple of str
        Columns that tell the families apart; each was adjusted on its own.
    method, adjust : str
    level : float
    ddf : str or number
    notes : tuple of str
        What stands below the table.
    table : DataFrame
        Contrast, by columns, estimate (or ratio), SE, df, lower.CL, upper.CL, t.ratio (or z.ratio), p.value. SE and
        interval are those of the scale shown, the ratio and the p-value those of the test.
    """

    fit: FittedModel
    rows: Rows
    by: tuple[str, ...]
    method: str
    adjust: str
    level: float
    ddf: Any
    notes: tuple[str, ...]
    _table: pd.DataFrame

    @property
    def estimate_name(self) -> str:
        """Column of the estimates: "estimate", "ratio" or "odds.ratio"."""
        return next(name for name in ("estimate", *RATIOS.values()) if name in self._table)

    def joint_test(self) -> pd.DataFrame:
        """Test that all contrasts of each family are zero: by columns, F or Chisq, num_df, den_df, p.value."""
        return joint_tests(self.fit, self.rows, self._table, self.by, self.ddf)

    def __str__(self) -> str:
        return tables.text((), self._table, self.notes, self.by)

    def _repr_html_(self) -> str:
        return tables.html((), self._table, self.notes)


def joint_tests(fit: FittedModel, rows: Rows, frame: pd.DataFrame, by: Sequence[str], ddf: Any) -> pd.DataFrame:
    """Wald test of all rows of each family at once (inestimable rows left out)."""
    if drawn(fit):
        raise NotAvailableError(
            "a posterior has no joint test of contrasts; look at their intervals, or compare models"
        )
    out = []
    for key, index in families(frame, by):
        tested = [i for i in index if rows.estimable[i] and rows.L[i].any()]
        found: dict[str, Any] = dict(zip(by, key, strict=True))
        if tested:
            test = wald_test(fit, rows.L[tested], ddf)
            found |= {test.kind: test.statistic, "num_df": test.num_df, "den_df": test.den_df, "p.value": test.p_value}
        out.append(found)
    return _with_types(pd.DataFrame(out), frame, by)


def _with_types(frame: pd.DataFrame, like: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    return frame.astype({name: like[name].dtype for name in columns})


def families(frame: pd.DataFrame, by: Sequence[str]) -> list[tuple[tuple[Any, ...], list[int]]]:
    """Row positions of each combination of the by columns, in order of appearance."""
    if not by:
        return [((), list(range(len(frame))))]
    keys = list(zip(*(frame[name].astype(object) for name in by), strict=True))
    return [(key, [i for i, other in enumerate(keys) if other == key]) for key in dict.fromkeys(keys)]


# --- computing it -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Family:
    """One family: its contrasts as a matrix over all means, their names, and the columns that tell it apart."""

    C: FloatArray
    names: list[str]
    key: tuple[Any, ...]
    k: int


def contrasts(
    of: Means,
    method: Any = "pairwise",
    *,
    by: Sequence[str] | None = None,
    adjust: str | None = None,
    level: float | None = None,
    type: str | None = None,
    reference: Any = None,
    differences: bool = False,
    protect: bool = False,
) -> Contrasts:
    """Compare means; see :meth:`.means.Means.contrasts`."""
    type, level = type or of.type, check_level(of.level if level is None else level)
    check_type(type)
    by = tuple(of.by if by is None else by)
    adjust = adjusting.check_method(adjust or (METHODS.get(method, "none") if isinstance(method, str) else "none"))
    ratio = RATIOS.get(of.fit.family.link.name) if type == "response" and not differences else None
    parts = _families(of, by, method, reference, "/" if ratio else "-")
    C = np.concatenate([part.C for part in parts])
    if ratio and not np.allclose(C.sum(axis=1), 0.0):
        raise ArgumentError(
            f"contrasts whose coefficients do not sum to zero are no {RATIOS[of.fit.family.link.name]}s; use "
            "type='link', or differences=True",
            type=type,
        )
    if adjust == "tukey" and method not in ("pairwise", "revpairwise"):
        raise ArgumentError("adjust='tukey' is for all pairwise comparisons; use 'mvt', 'sidak' or 'holm'")
    rows = of.rows.combine(C)
    if drawn(of.fit):
        adjust, protect = "none", False
        frame = _drawn_frame(of, parts, by, C, rows, level, ratio, differences)
    else:
        found, covariance = _compared(of, C, rows, differences)
        frame = _contrast_frame(of, parts, by, found, covariance, adjust, level, ratio)
    if protect:
        _protect(of, parts, by, rows, frame, level)
    sizes = {(len(part.names), part.k) for part in parts}
    notes = _notes(of, type, adjust, level, max(sizes), ratio, differences, protect)
    name = method if isinstance(method, str) else "custom"
    return Contrasts(
        of.fit,
        rows,
        by,
        name,
        adjust,
        level,
        of.ddf,
        (*notes, lost_text(of.fit, frame["contrast"][~rows.estimable].tolist())),
        frame,
    )


def _families(of: Means, by: tuple[str, ...], method: Any, reference: Any, sep: str) -> list[_Family]:
    frame = of.labels
    unknown = [name for name in by if name not in frame]
    if unknown:
        raise ArgumentError(f"by: {unknown[0]!r} is not a column of these means ({', '.join(frame.columns)})")
    inside = [name for name in frame.columns if name not in by]
    if not inside:
        raise ArgumentError("every column of these means is in by: nothing is left to compare")
    out = []
    for key, index in families(frame, by):
        part = frame.iloc[index][inside]
        labels = [" ".join(tables.short(v) for v in row) for row in part.astype(object).itertuples(index=False)]
        C, names = contrast_rows(method, labels, reference, sep)
        if not len(C):
            raise ArgumentError(f"a family of one mean ({labels[0]}) has no contrasts", means=len(labels))
        full = np.zeros((len(C), len(frame)))
        full[:, index] = C
        out.append(_Family(full, names, key, len(index)))
    return out


def _compared(of: Means, C: FloatArray, rows: Rows, differences: bool) -> tuple[Estimates, FloatArray]:
    """Estimates of the contrasts and their covariance matrix."""
    if not differences:
        return estimate_rows(of.fit, rows, of.ddf), rows.L @ covariance_for(of.fit, of.ddf) @ rows.L.T
    value, jacobian = means(of.fit, of.rows, of.re)
    joint = parameter_covariance(of.fit).covariance
    J = C @ jacobian
    lost = ~rows.estimable
    estimate, se = C @ value, delta_se(J, joint)
    df = estimate_rows(of.fit, rows, of.ddf).df
    found = Estimates(np.where(lost, np.nan, estimate), np.where(lost, np.nan, se), df)
    return found, J @ joint @ J.T


def _contrast_frame(
    of: Means,
    parts: list[_Family],
    by: tuple[str, ...],
    found: Estimates,
    covariance: FloatArray,
    adjust: str,
    level: float,
    ratio: str | None,
) -> pd.DataFrame:
    """The table, each family adjusted on its own."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = found.estimate / found.se
        sd = np.sqrt(np.diag(covariance))
        R = np.nan_to_num(covariance / np.outer(sd, sd))
    p, critical, first = np.empty_like(t), np.empty_like(t), 0
    for part in parts:
        here = slice(first, first + len(part.names))
        p[here] = adjusting.adjusted_p(t[here], found.df[here], adjust, part.k, R[here, here])
        critical[here] = adjusting.critical(level, found.df[here], adjust, part.k, R[here, here])
        first = here.stop
    lower, upper = found.estimate - critical * found.se, found.estimate + critical * found.se
    shown, se = found.estimate, found.se
    if ratio:
        with np.errstate(over="ignore"):  # separation: a ratio without an upper limit
            shown, lower, upper = np.exp(shown), np.exp(lower), np.exp(upper)
        se = shown * se
    columns: dict[str, Any] = {"contrast": [name for part in parts for name in part.names]}
    columns |= {name: [part.key[j] for part in parts for _ in part.names] for j, name in enumerate(by)}
    columns |= {ratio or "estimate": shown, "SE": se, "df": found.df, "lower.CL": lower, "upper.CL": upper}
    columns |= {statistic_name(of.fit, of.ddf): t, "p.value": p}
    return _with_types(pd.DataFrame(columns), of.labels, by)


def _drawn_frame(
    of: Means,
    parts: list[_Family],
    by: tuple[str, ...],
    C: FloatArray,
    rows: Rows,
    level: float,
    ratio: str | None,
    differences: bool,
) -> pd.DataFrame:
    """The table from draws: the probability of the more probable sign stands where a p-value would."""
    fit = draws_of(of.fit)
    if differences:
        numbers = fit.row_numbers(of.rows, type="response", re=of.re, C=C, prob=level)
    else:
        numbers = fit.row_numbers(rows, ratio=ratio is not None, prob=level)
    numbers = {name: np.where(rows.estimable, values, np.nan) for name, values in numbers.items()}
    columns: dict[str, Any] = {"contrast": [name for part in parts for name in part.names]}
    columns |= {name: [part.key[j] for part in parts for _ in part.names] for j, name in enumerate(by)}
    columns |= {ratio or "estimate": numbers["estimate"], "SE": numbers["se"]}
    columns |= {"lower.CL": numbers["lower"], "upper.CL": numbers["upper"], "pd": numbers["pd"]}
    return _with_types(pd.DataFrame(columns), of.labels, by)


def statistic_name(fit: FittedModel, ddf: Any) -> str:
    """What the ratio of estimate and standard error is called."""
    return "z.ratio" if df_method(fit, ddf) == "inf" else "t.ratio"


def _protect(
    of: Means, parts: list[_Family], by: tuple[str, ...], rows: Rows, frame: pd.DataFrame, level: float
) -> None:
    """Set the p-values of a family to 1 if its joint test is not significant (Fisher's protection)."""
    joint = joint_tests(of.fit, rows, frame, by, of.ddf)["p.value"].to_numpy()
    family = np.repeat(np.arange(len(parts)), [len(part.names) for part in parts])
    closed = (joint > 1.0 - level)[family] & frame["p.value"].notna().to_numpy()
    frame.loc[closed, "p.value"] = 1.0


def _notes(
    of: Means,
    type: str,
    adjust: str,
    level: float,
    size: tuple[int, int],
    ratio: str | None,
    differences: bool,
    protect: bool,
) -> list[str]:
    link = of.fit.family.link
    if differences:
        scale = "differences of means on the response scale" + ("" if drawn(of.fit) else " (delta method)")
    elif ratio:
        scale = f"{ratio}s" + ("" if drawn(of.fit) else f"; tests on the {scale_name(link)} scale")
    elif link.name == "identity":
        scale = ""
    else:
        scale = f"differences on the {scale_name(link)} scale" + (", not the response" if type == "response" else "")
    df = "" if df_method(of.fit, of.ddf) == "inf" else f"degrees of freedom: {df_method(of.fit, of.ddf)}"
    return [
        *of.averaging,
        scale,
        df,
        f"confidence level: {level:g}",
        "intervals from the posterior, each for itself" if drawn(of.fit) else adjusting.describe(adjust, *size),
        adjusting.describe_intervals(adjust, size[0]),
        f"p-values are 1 in families whose joint test has p > {1.0 - level:.3g}" if protect else "",
    ]
