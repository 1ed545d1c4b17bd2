"""What a formula variable can be once it has been evaluated, and how anything becomes a factor.

Place in the reading order: after :mod:`refglmm.formula.grammar`, before :mod:`refglmm.formula.convert`.

Five kinds of value exist: a numeric column (float64 or int64 array), a :class:`Matrix` (several numeric
columns that belong together, as from ``poly``), a :class:`Logical`, a :class:`Factor`, and scalars (float,
str, bool, None, tuple). Missing is NaN, or code -1 in a factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from refglmm.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """A categorical column: ``levels[codes[i]]`` is the label of row i, code -1 is missing."""

    codes: np.ndarray
    levels: np.ndarray
    ordered: bool = False

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: np.ndarray) -> Factor:
        """Select rows."""
        return Factor(self.codes[rows], self.levels, self.ordered)

    def missing(self) -> np.ndarray:
        """Mark the rows without a level."""
        return self.codes < 0

    def drop_unused(self) -> Factor:
        """Drop the levels that no row has."""
        present = np.bincount(self.codes + 1, minlength=len(self.levels) + 1)[1:] > 0  # the first bin: missing
        if present.all():
            return self
        new = np.cumsum(present, dtype=np.int32) - np.int32(1)
        codes = np.where(self.codes >= 0, new[self.codes], np.int32(-1)).astype(np.int32)
        return Factor(codes, self.levels[present], self.ordered)

    def labels(self) -> np.ndarray:
        """Return the label of each row (object array, None where missing)."""
        return np.array([*self.levels, None], dtype=object)[self.codes]

    def recode(self, levels: np.ndarray) -> np.ndarray:
        """Codes of the rows in another list of levels; -1 for labels that it does not have."""
        position = {label: i for i, label in enumerate(levels)}
        table = np.array([*(position.get(label, -1) for label in self.levels), -1], dtype=np.int32)
        return table[self.codes]

    def categorical(self) -> pd.Categorical:
        """Return the column as pandas has it."""
        return pd.Categorical.from_codes(self.codes, categories=pd.Index(self.levels), ordered=self.ordered)


@dataclass(frozen=True, slots=True, eq=False)
class Logical:
    """A truth value per row, stored as 1.0, 0.0 or NaN (missing)."""

    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> Logical:
        """Select rows."""
        return Logical(self.values[rows])

    def missing(self) -> np.ndarray:
        """Mark the missing rows."""
        return np.isnan(self.values)


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """Numeric columns that form one variable; ``suffixes`` finish their names (``poly(x, 2)1``)."""

    values: np.ndarray
    suffixes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> Matrix:
        """Select rows."""
        return Matrix(self.values[rows], self.suffixes)

    def missing(self) -> np.ndarray:
        """Mark the rows with any missing entry."""
        return np.isnan(self.values).any(axis=1)


Column = np.ndarray | Factor | Logical | Matrix
Value = Any  # a Column, or a scalar: float, str, bool, None, tuple of scalars


def is_column(value: Value) -> bool:
    """Whether the value has one entry per row."""
    return isinstance(value, Column)


def take(column: Column, rows: np.ndarray) -> Column:
    """Select rows of any column."""
    return column[rows] if isinstance(column, np.ndarray) else column.take(rows)


def missing(column: Column) -> np.ndarray:
    """Mark the missing rows of any column."""
    if not isinstance(column, np.ndarray):
        return column.missing()
    return np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), dtype=bool)


def number_labels(values: np.ndarray) -> np.ndarray:
    """Labels of distinct numbers: 3.0 becomes "3", fractions keep 15 significant digits as in R."""
    if values.dtype.kind in "iu":
        return values.astype(str).astype(object)
    if np.all(np.isfinite(values)) and np.all(values == np.trunc(values)) and np.all(np.abs(values) < 1e15):
        return values.astype(np.int64).astype(str).astype(object)
    labels = [f"{v:.15g}" for v in values.tolist()]
    if len(set(labels)) < len(labels):  # two levels that agree in 15 digits stay two levels
        labels = [repr(v) for v in values.tolist()]
    return np.array(labels, dtype=object)


def scalar_label(value: Any) -> str:
    """Label of one scalar, as it would be among the levels of a factor."""
    if isinstance(value, bool | np.bool_):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float | np.integer | np.floating):
        return str(number_labels(np.array([value]))[0])
    return str(value)


def as_factor(value: Value, what: str = "") -> Factor:
    """Turn a column into a factor with sorted levels.

    Parameters
    ----------
    value : column
        A factor comes back unchanged (its level order is kept); logical gives FALSE, TRUE.
    what : str
        Name for the error message.

    Returns
    -------
    Factor
        Every level occurs, unless the value was a factor already.
    """
    match value:
        case Factor():
            return value
        case Logical(values):
            codes = np.where(np.isnan(values), -1, values).astype(np.int32)
            return Factor(codes, np.array(["FALSE", "TRUE"], dtype=object)).drop_unused()
        case np.ndarray():
            codes, uniques = pd.factorize(value, sort=True)
            return Factor(codes.astype(np.int32), number_labels(uniques))
        case Matrix():
            raise DataError(f"{what or 'a matrix'} has several columns and cannot be a factor; use one column")
    raise DataError(f"{what or 'a constant'} is not a column and cannot be a factor", variable=what)


def as_numeric(value: Value, what: str = "") -> Any:
    """Turn a value into float64 numbers (an array, or a float for a scalar).

    Raises
    ------
    DataError
        For factors and text, which have no numeric value, and for several columns at once.
    """
    match value:
        case np.ndarray():
            return value if value.dtype == np.float64 else value.astype(np.float64)
        case Logical(values):
            return values
        case bool() | int() | float():
            return float(value)
    kind = {Factor: "a factor", Matrix: "several columns"}.get(type(value), repr(value))
    raise DataError(f"{what or 'an expression'} needs numbers, got {kind}; convert it first", variable=what)
