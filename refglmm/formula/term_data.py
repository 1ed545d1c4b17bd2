"""What a covariance structure must know of a term's columns besides their number.

Place in the reading order: after :mod:`refglmm.formula.matrix`, before :mod:`refglmm.formula.design`.

Three structures of the formula need more than the number of columns:

- ``ou exp gau mat`` the *position* of each column. The columns are the levels of one factor (``0 + pos``), and a
  position is read from its level: ``"2.5"``, or ``"(1,2.5)"`` as ``numFactor(x, y)`` writes it;
- ``rr`` its rank d;
- ``propto equalto`` a known covariance matrix V from ``env``, whose rows are matched to the levels by name if it has
  names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from refglmm.errors import DataError, FormulaError

if TYPE_CHECKING:
    from refglmm.formula.grammar import RandomTerm
    from refglmm.formula.matrix import ModelMatrix

#: Structures whose columns have positions, and those whose covariance is known.
POSITIONED, KNOWN = ("ou", "exp", "gau", "mat"), ("propto", "equalto")
#: Rows of V may differ from its columns by this share of its largest entry.
ASYMMETRY = 1e-8

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class TermData:
    """Facts about the k columns of a term; what its structure does not need is empty.

    Attributes
    ----------
    positions : tuple of k tuples of float
        Coordinates of each column, all of one length.
    rank : int
        Rank of the covariance matrix.
    matrix : tuple of k tuples of float
        Rows of the known covariance matrix.
    """

    positions: Rows = ()
    rank: int = 0
    matrix: Rows = ()


#: What most structures need.
NOTHING = TermData()


def term_data(term: RandomTerm, matrix: ModelMatrix, env: Mapping[str, Any]) -> TermData:
    """Find what the structure of a term needs.

    Raises
    ------
    FormulaError
        The columns are not the levels of one factor, d exceeds their number, or V is not in ``env``.
    DataError
        Levels that are no positions; a V of the wrong size, without some level, or not positive definite.
    """
    if term.structure == "rr":
        if not 1 <= term.rank <= len(matrix.names):
            raise FormulaError(
                f"{term}: d = {term.rank}, but the term has {len(matrix.names)} columns; choose a smaller rank",
                piece=str(term),
                d=term.rank,
            )
        return TermData(rank=term.rank)
    if term.structure in POSITIONED:
        name, levels = _factor_levels(term, matrix)
        return TermData(positions=_positions(term, name, levels))
    if term.structure in KNOWN:
        name, levels = _factor_levels(term, matrix)
        return TermData(matrix=_known_matrix(term, name, levels, matrix.names, env))
    return NOTHING


def _factor_levels(term: RandomTerm, matrix: ModelMatrix) -> tuple[str, list[str]]:
    """Name and levels of the factor f of a term ``0 + f``."""
    codings = list(matrix.codings.values())
    one = len(codings) == 1 and not matrix.terms.intercept and len(matrix.terms.masks) == 1
    if not one or codings[0].levels is None:
        hint = "numFactor(x) or numFactor(x, y)" if term.structure in POSITIONED else "factor(x)"
        raise FormulaError(
            f"{term}: left of the bar must stand 0 + one factor, a column for each of its levels; of numbers, {hint} "
            "makes one",
            piece=str(term),
        )
    return codings[0].name, [str(level) for level in codings[0].levels]


def _positions(term: RandomTerm, name: str, levels: list[str]) -> Rows:
    found = [_position(term, name, level) for level in levels]
    dimensions = {len(position) for position in found}
    if len(dimensions) > 1 or (term.structure == "ou" and dimensions != {1}):
        wanted = "one time each" if term.structure == "ou" else "equally many coordinates"
        raise DataError(
            f"{term}: the levels of {name!r} must hold {wanted}, not {', '.join(map(str, sorted(dimensions)))}",
            variable=name,
        )
    seen: dict[tuple[float, ...], str] = {}
    for position, level in zip(found, levels, strict=True):
        if position in seen:
            raise DataError(
                f"{term}: the levels {seen[position]!r} and {level!r} of {name!r} are the same position; give it one "
                "name",
                variable=name,
                levels=(seen[position], level),
            )
        seen[position] = level
    return tuple(found)


def _position(term: RandomTerm, name: str, level: str) -> tuple[float, ...]:
    """``"(1,2.5)"`` or ``"2.5"`` as numbers."""
    try:
        position = tuple(float(part) for part in level.strip().removeprefix("(").removesuffix(")").split(","))
    except ValueError:
        position = (np.nan,)
    if not np.all(np.isfinite(position)):
        what = "a time" if term.structure == "ou" else "coordinates"
        raise DataError(
            f"{term}: level {level!r} of {name!r} does not hold {what} such as '2.5' or '(1,2.5)'; "
            f"make the factor with numFactor()",
            variable=name,
            level=level,
        )
    return position


def _known_matrix(
    term: RandomTerm, name: str, levels: list[str], columns: tuple[str, ...], env: Mapping[str, Any]
) -> Rows:
    if term.matrix not in env:
        raise FormulaError(
            f"{term}: the matrix {term.matrix!r} is not known; pass it in env={{{term.matrix!r}: ...}}",
            piece=term.matrix,
        )
    given = env[term.matrix]
    if isinstance(given, pd.DataFrame):
        given = _matched(term, given, name, levels, columns)
    try:
        V = np.array(given, dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"{term}: {term.matrix} must hold numbers", matrix=term.matrix) from None
    k = len(levels)
    if V.shape != (k, k):
        raise DataError(
            f"{term}: {term.matrix} must have one row and column for each of the {k} levels of {name!r}, not shape "
            f"{V.shape}; a DataFrame with names may have more",
            matrix=term.matrix,
        )
    if not np.all(np.isfinite(V)) or np.max(np.abs(V - V.T)) > ASYMMETRY * np.max(np.abs(V)):
        raise DataError(f"{term}: {term.matrix} must be symmetric and finite", matrix=term.matrix)
    V = 0.5 * (V + V.T)
    smallest, largest = np.linalg.eigvalsh(V)[[0, -1]]
    if not smallest > k * np.finfo(float).eps * largest:
        raise DataError(
            f"{term}: {term.matrix} must be positive definite, but its smallest eigenvalue is {smallest:.3g}",
            matrix=term.matrix,
        )
    return tuple(tuple(row) for row in V.tolist())


def _matched(term: RandomTerm, V: pd.DataFrame, name: str, levels: list[str], columns: tuple[str, ...]) -> pd.DataFrame:
    """Rows and columns of V in the order of the levels, by the names of levels or of columns."""
    rows, across = [str(label) for label in V.index], [str(label) for label in V.columns]
    for axis, labels in (("row", rows), ("column", across)):
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise DataError(f"{term}: {term.matrix} has more than one {axis} {twice[0]!r}", matrix=term.matrix)
    wanted = list(columns) if set(columns) <= set(rows) else levels
    for axis, labels in (("row", rows), ("column", across)):
        lost = [label for label in wanted if label not in labels]
        if lost:
            raise DataError(
                f"{term}: {term.matrix} has no {axis} for {', '.join(map(repr, lost[:10]))} of {name!r}",
                matrix=term.matrix,
                levels=tuple(lost),
            )
    return V.iloc[[rows.index(label) for label in wanted], [across.index(label) for label in wanted]]
