r"""Contrast matrices: how a factor with L levels becomes columns.

Place in the reading order: after :mod:`refglmm.formula.prepare`, before :mod:`refglmm.formula.checks`; the
orthogonal polynomials are those of :mod:`refglmm.formula.transforms`.

========== ================================================ ==================
name       column j compares                                column names
========== ================================================ ==================
treatment  level j+1 with level 1                           the level
sum        level j with the mean (last level: -1)           1, 2, ...
helmert    level j+1 with the mean of the levels before it  1, 2, ...
poly       orthogonal polynomial of degree j of 1..L        .L .Q .C ^4 ...
========== ================================================ ==================

Definitions: R's ``help("contrast")`` and Chambers & Hastie (1992), *Statistical Models in S*, section 2.3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from refglmm.errors import ArgumentError
from refglmm.formula.transforms import orthogonal_polynomials

CONTRASTS = ("treatment", "sum", "helmert", "poly")


def contrast_matrix(kind: Any, levels: np.ndarray, factor: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Build the contrast matrix of one factor.

    Parameters
    ----------
    kind : str or array-like
        One of :data:`CONTRASTS` (R's ``contr.sum`` is understood too), or a matrix with one row per level.
    levels : array of str
        The L >= 2 levels.
    factor : str
        Name for the messages.

    Returns
    -------
    matrix : float array, shape (L, k)
        Row i holds the columns of a row with level i.
    names : tuple of str
        Suffixes of the column names.

    Raises
    ------
    ArgumentError
        Unknown name, or a matrix of the wrong shape.
    """
    n = len(levels)
    if not isinstance(kind, str):
        return _own_matrix(kind, n, factor)
    match kind.removeprefix("contr."):
        case "treatment":
            return np.eye(n)[:, 1:], tuple(levels[1:])
        case "sum":
            return np.vstack([np.eye(n - 1), -np.ones(n - 1)]), _numbered(n - 1)
        case "helmert":
            return _helmert(n), _numbered(n - 1)
        case "poly":
            values, _ = orthogonal_polynomials(np.arange(1.0, n + 1), n - 1)
            return values, (".L", ".Q", ".C", *(f"^{d}" for d in range(4, n)))[: n - 1]
    raise ArgumentError(
        f"unknown contrast {kind!r} for factor {factor!r}; use one of {', '.join(CONTRASTS)} or a matrix",
        factor=factor,
        contrast=kind,
    )


def _numbered(k: int) -> tuple[str, ...]:
    return tuple(str(j + 1) for j in range(k))


def _helmert(n: int) -> np.ndarray:
    """Column j: -1 for levels 1..j, j for level j+1, 0 below (j = 1, ..., n-1)."""
    row, column = np.indices((n, n - 1))
    return np.where(row <= column, -1.0, np.where(row == column + 1, column + 1.0, 0.0))


def _own_matrix(kind: Any, n: int, factor: str) -> tuple[np.ndarray, tuple[str, ...]]:
    try:
        matrix = np.array(kind, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.ndim != 2 or matrix.shape[0] != n or not 1 <= matrix.shape[1] <= n or not np.isfinite(matrix).all():
        raise ArgumentError(
            f"contrasts of factor {factor!r} need a finite matrix with {n} rows and at most {n - 1} columns, "
            f"got shape {matrix.shape}",
            factor=factor,
            shape=matrix.shape,
        )
    names = tuple(map(str, kind.columns)) if isinstance(kind, pd.DataFrame) else _numbered(matrix.shape[1])
    return matrix, names
