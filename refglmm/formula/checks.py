r"""Checks before fitting: rank and scale of X, sizes of the random-effects terms, constant response.

Place in the reading order: after :mod:`refglmm.formula.contrasts`, before :mod:`refglmm.formula.matrix`.

Rank follows R's ``qr()`` (LINPACK's limited column pivoting): Householder reflections from left to right; a
column whose norm, orthogonal to the columns kept before it, is below 1e-7 of its original norm moves to the
end.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np

from refglmm.errors import (
    ArgumentError,
    CheckWarning,
    FormulaError,
    GroupingError,
    PredictorScaleWarning,
    RankDeficiencyWarning,
    RankError,
    RefglmmError,
    ResponseError,
    warn,
)

RANK_TOLERANCE = 1e-7
SCALE_LIMIT = math.log(1e3)
# Cholesky pivots of the scaled cross-product lose half the digits, so they may only certify what is far from
# deficient: a remaining norm of 1% is a hundred thousand times the tolerance.
_CLEARLY_INDEPENDENT = 1e-2
_SAFE_NORM = 1e-140  # squares of such norms neither vanish nor overflow
_FEW_LEVELS = 5
_ACTIONS = ("stop", "warning", "ignore")


@dataclass(frozen=True)
class Checks:
    """What to do about each finding: ``"stop"``, ``"warning"`` or ``"ignore"``.

    Attributes
    ----------
    is_lmm : bool
        A linear mixed model has a residual variance to tell apart, so its size limits are strict.
    one_level, few_levels : str
        A grouping factor with one level; with fewer than five.
    levels_vs_rows, effects_vs_rows : str
        Too many levels of a factor, or too many random effects of a term, for the number of rows.
    rank : str
        Dependent columns of X: ``"warning"`` drops them and warns, ``"drop"`` drops them silently,
        ``"ignore"`` keeps them.
    scale : str
        Predictors on very different scales.
    constant_response : str
        A response that is the same number in every row.
    no_random_effects : str
        A formula without random terms.
    """

    is_lmm: bool = False
    one_level: str = "stop"
    few_levels: str = "ignore"
    levels_vs_rows: str = "stop"
    effects_vs_rows: str = "stop"
    rank: str = "warning"
    scale: str = "warning"
    constant_response: str = "stop"
    no_random_effects: str = "stop"

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            allowed = _ACTIONS if name != "rank" else (*_ACTIONS, "drop")
            if name != "is_lmm" and value not in allowed:
                raise ArgumentError(f"check {name}={value!r} must be one of {', '.join(allowed)}")


def report(action: str, error: RefglmmError) -> None:
    """Raise, warn or stay silent."""
    if action == "stop":
        raise error
    if action == "warning":
        warn(CheckWarning(str(error), **error.facts))


# --- X ------------------------------------------------------------------------------------------------------


def independent_columns(X: np.ndarray, tolerance: float = RANK_TOLERANCE) -> list[int]:
    """Indices of the columns that are kept, ascending.

    Parameters
    ----------
    X : float array, shape (n, p)
        Finite.
    tolerance : float
        Smallest remaining norm, relative to the original one.

    Returns
    -------
    list of int
        As many as the rank.

    Notes
    -----
    The decisions depend on X'X only, so they are taken on the p x p factor R of X = QR; and not even that is
    needed when a Cholesky factorisation shows every column to be far from the span of those before it.
    """
    n, p = X.shape
    if p == 0 or (n >= p and _clearly_full_rank(X)):
        return list(range(p))
    size = np.abs(X).max(axis=0, initial=0.0)
    R = np.linalg.qr(X / np.where(size > 0, size, 1.0), mode="r")  # scaled: no norm can overflow
    return _limited_pivoting(np.asarray(R), tolerance)


def _clearly_full_rank(X: np.ndarray) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        gram = X.T @ X
    norms = np.sqrt(gram.diagonal())
    if not (norms.min() > _SAFE_NORM and norms.max() < 1 / _SAFE_NORM):
        return False
    try:
        pivots = np.linalg.cholesky(gram / (norms[:, None] * norms)).diagonal()
    except np.linalg.LinAlgError:
        return False
    return bool(pivots.min() > _CLEARLY_INDEPENDENT)


def _limited_pivoting(A: np.ndarray, tolerance: float) -> list[int]:
    """Householder QR in which only negligible columns move, to the far end."""
    A = A.copy()
    original = np.linalg.norm(A, axis=0)
    original[original == 0] = 1.0
    waiting, kept, row = list(range(A.shape[1])), [], 0
    for j in waiting:
        rest = A[row:, j]
        norm = np.linalg.norm(rest)
        if row == A.shape[0] or norm < tolerance * original[j]:
            continue
        v = rest.copy()
        v[0] += math.copysign(norm, v[0])
        v /= np.linalg.norm(v)
        A[row:] -= 2.0 * np.outer(v, v @ A[row:])
        kept.append(j)
        row += 1
    return kept


def check_rank(X: np.ndarray, names: Sequence[str], action: str) -> list[int]:
    """Return the columns to keep; report the others by name."""
    if action == "ignore":
        return list(range(X.shape[1]))
    kept = independent_columns(X)
    if len(kept) < X.shape[1]:
        lost = [names[j] for j in sorted(set(range(X.shape[1])).difference(kept))]
        what = f"fixed-effect model matrix is rank deficient: {len(lost)} of {len(names)} columns are redundant"
        if action == "stop":
            raise RankError(f"{what}: {', '.join(lost)}; remove them from the formula", columns=tuple(lost))
        if action == "warning":
            text = f"{what}; dropping {', '.join(lost)}"
            warn(RankDeficiencyWarning(text, columns=tuple(lost)))
    return kept


def _sd(x: np.ndarray) -> float:
    d = x - x.sum() / x.size
    return float(np.sqrt(d @ d / (x.size - 1)))


def _is_zero_one(x: np.ndarray) -> bool:
    return x[0] in (0.0, 1.0) and bool(((x == 0) | (x == 1)).all())


def check_scale(X: np.ndarray, names: Sequence[str], action: str, zero_one: Container[int]) -> None:
    """Report predictors (other than 0/1 columns) whose spread is extreme, alone or relative to another.

    ``zero_one`` names the columns that are known to be 0/1; the others are looked at.
    """
    if action == "ignore" or len(X) < 2:
        return
    columns = [j for j in range(X.shape[1]) if j not in zero_one and not _is_zero_one(X[:, j])]
    if not columns:
        return
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        log_sd = np.log([_sd(X[:, j]) for j in columns])
    if all(abs(v) <= SCALE_LIMIT for v in log_sd.tolist()) and log_sd.max() - log_sd.min() <= SCALE_LIMIT:
        return
    low, high = int(np.argmin(log_sd)), int(np.argmax(log_sd))
    small, large = names[columns[low]], names[columns[high]]
    text = (
        f"predictors are on very different scales: sd {np.exp(log_sd[low]):.3g} ({small}) to "
        f"{np.exp(log_sd[high]):.3g} ({large}); rescale them, for example with scale()"
    )
    facts = {"smallest": small, "largest": large, "sd": np.exp(log_sd)}
    if action == "stop":
        raise FormulaError(text, **facts)
    warn(PredictorScaleWarning(text, **facts))


# --- sizes --------------------------------------------------------------------------------------------------


def check_response(y: np.ndarray, kind: str, control: Checks) -> None:
    """Report a constant response. Equal proportions are no constant data when the totals differ."""
    if kind in ("numeric", "binary", "factor") and len(y) and np.all(y == y[0]):
        report(
            control.constant_response,
            ResponseError(
                f"Response is constant: every row is {y[0]:g}; there is nothing to model, unless a prior says more "
                "(prior=)",
                value=float(y[0]),
            ),
        )


def check_levels(sizes: dict[str, int], n: int, control: Checks) -> None:
    """Check the number of levels of every grouping factor."""
    one = [g for g, levels in sizes.items() if levels < 2]
    if one:
        report(
            control.one_level,
            GroupingError(f"grouping factors must have > 1 sampled level: {', '.join(one)}; remove them", groups=one),
        )
    few = [g for g, levels in sizes.items() if levels < _FEW_LEVELS]
    if few:
        text = f"grouping factors with fewer than {_FEW_LEVELS} sampled levels: {', '.join(few)}; "
        report(
            control.few_levels,
            GroupingError(text + "their variance is hard to estimate, try fixed effects", groups=few),
        )
    many = [g for g, levels in sizes.items() if levels > n or (control.is_lmm and levels == n)]
    if many:
        sign = "<" if control.is_lmm else "<="
        listed = ", ".join(f"{g} ({sizes[g]} levels)" for g in many)
        report(
            control.levels_vs_rows,
            GroupingError(
                f"number of levels of each grouping factor must be {sign} number of observations (={n}): "
                f"{listed}; "
                "remove the term",
                groups=many,
                n=n,
            ),
        )


def check_effects(terms: Sequence[tuple[str, int]], n: int, control: Checks) -> None:
    """Check the number of random effects of every term, given as (text, effects)."""
    for text, effects in terms:
        if effects > n or (control.is_lmm and effects == n):
            sign = "<=" if control.is_lmm else "<"
            report(
                control.effects_vs_rows,
                GroupingError(
                    f"number of observations (={n}) {sign} number of random effects (={effects}) for term "
                    f"{text}; the random-effects parameters and the residual variance (or scale parameter) "
                    "are probably unidentifiable; simplify the term",
                    term=text,
                    n=n,
                    effects=effects,
                ),
            )
