"""Tables of tests and comparisons as R prints them, and as pandas holds them.

Place in the reading order: before everything in ``inference`` that hands out a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.rformat import STARS_LEGEND, format_numbers, format_p, stars, table

#: Significant digits of numbers and of p-values.
DIGITS, P_DIGITS = 5, 4


@dataclass(frozen=True, eq=False, repr=False)
class ResultTable:
    """A table with a heading and notes; indexes like its DataFrame, which ``frame`` copies out.

    Attributes
    ----------
    heading, notes : tuple of str
        Lines above and below.
    values : DataFrame
        At full precision, NaN where a cell has no meaning (printed blank).
    decimals, digits : mapping
        Columns that are rounded to so many decimals before printing; columns that show other than :data:`DIGITS`
        significant digits.
    """

    heading: tuple[str, ...]
    values: pd.DataFrame
    notes: tuple[str, ...] = ()
    decimals: Mapping[str, int] = field(default_factory=dict)
    digits: Mapping[str, int] = field(default_factory=dict)

    @property
    def frame(self) -> pd.DataFrame:
        """The numbers, as a copy."""
        return self.values.copy()

    @property
    def columns(self) -> pd.Index:
        """Column names."""
        return self.values.columns

    @property
    def index(self) -> pd.Index:
        """Row names."""
        return self.values.index

    @property
    def loc(self) -> Any:
        """Rows and cells by name, of a copy."""
        return self.frame.loc

    def __getitem__(self, column: str) -> pd.Series:
        return self.values[column].copy()

    def __len__(self) -> int:
        return len(self.values)

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows as text; stars of the last p-value at the end."""
        header, columns = [""], [[str(name) for name in self.values.index]]
        tests = [str(name) for name in self.values.columns if str(name).startswith("Pr(")]
        for name in map(str, self.values.columns):
            header.append(name)
            columns.append(self._texts(name))
        marks = stars(self.values[tests[-1]]) if tests else []
        if any(marks):
            header.append("")
            columns.append(marks)
        return header, [list(row) for row in zip(*columns, strict=True)]

    def _texts(self, name: str) -> list[str]:
        """One column as text, blank where it is NaN."""
        column = self.values[name]
        if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            return [str(value) for value in column]
        x = column.to_numpy(dtype=float, na_value=np.nan)
        shown = ~np.isnan(x)
        out = np.full(x.shape, "", dtype=object)
        if shown.any():
            out[shown] = _p_texts(x[shown]) if name.startswith("Pr(") else self._number_texts(name, x[shown])
        return list(out)

    def _number_texts(self, name: str, x: np.ndarray) -> list[str]:
        if np.all(x == np.round(x)) and np.all(np.abs(x) < 1e9):
            return [str(int(value)) for value in x]
        x = np.round(x, self.decimals[name]) if name in self.decimals else x
        return format_numbers(x, self.digits.get(name, DIGITS))

    def __str__(self) -> str:
        header, rows = self.cells()
        has_stars = header[-1] == "" and len(header) > len(self.values.columns) + 1
        left = [True] + [False] * len(self.values.columns) + ([True] if has_stars else [])
        legend = ["---", STARS_LEGEND] if has_stars else []
        return "\n".join([*self.heading, table(header, rows, left), *legend, *self.notes])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        header, rows = self.cells()
        return html_block([html_lines(self.heading), html_table(header, rows), html_lines(self.notes)])


def _p_texts(p: np.ndarray) -> list[str]:
    """P-values as R's analysis-of-variance tables have them."""
    return ["< 2.2e-16" if text.replace(" ", "").startswith("<") else text for text in format_p(p, P_DIGITS)]
