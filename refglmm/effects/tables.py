"""How means, contrasts and effects print: a table of R's kind, with notes below it, and the same as HTML.

Place in the reading order: in ``effects``, after ``adjust``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.rformat import LINE_WIDTH, format_numbers, format_p, table

#: Columns in the units of the estimates: they share the decimals that show the smallest standard error.
ESTIMATES = ("estimate", "ratio", "odds.ratio", "SE", "se", "lower.CL", "upper.CL", "lower", "upper")
STATISTICS = ("t.ratio", "z.ratio", "t", "z", "F", "Chisq")
#: Significant digits of the smallest standard error; decimals of test statistics.
SE_DIGITS, DECIMALS = 3, 3
#: Beyond so many decimals numbers are written with exponents.
MOST_DECIMALS = 8


class Tabled:
    """What the results of this package share: a table, handed out as a copy, and a text to be shown by."""

    _table: pd.DataFrame

    @property
    def table(self) -> pd.DataFrame:
        """The numbers, as a copy; the docstring of the class tells the columns."""
        return self._table.copy()

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        return str(self)


def cells(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Header and text cells of a table."""
    header = [str(name) for name in frame.columns]
    return header, [list(row) for row in zip(*(_texts(frame, name) for name in header), strict=True)]


def _texts(frame: pd.DataFrame, name: str) -> list[str]:
    column = frame[name]
    if not pd.api.types.is_float_dtype(column.dtype):
        return ["" if value is None else str(value) for value in column]
    values = column.to_numpy(dtype=float)
    if name in ("p.value", "p"):
        return ["" if t == "NaN" else t for t in format_p(values)]
    if name in ("df", "den_df"):
        return ["" if np.isnan(v) else "Inf" if np.isinf(v) else f"{v:.4g}" for v in values]
    decimals = DECIMALS if name in STATISTICS else _decimals(frame) if name in ESTIMATES else None
    shown = format_numbers(values if decimals is None else np.round(values, decimals), 4)
    if decimals is not None:
        shown = [t if not np.isfinite(v) else _fixed(v, decimals) for t, v in zip(shown, values, strict=True)]
    return ["nonEst" if t == "NaN" else t for t in shown]


def _decimals(frame: pd.DataFrame) -> int | None:
    """Decimals that show ``SE_DIGITS`` digits of the smallest standard error; None: too many for a table."""
    se = next((frame[name].to_numpy(dtype=float) for name in ("SE", "se") if name in frame), np.empty(0))
    se = se[np.isfinite(se) & (se > 0.0)]
    if not se.size:
        return None
    decimals = SE_DIGITS - 1 - int(np.floor(np.log10(se.min())))
    return max(decimals, 0) if decimals <= MOST_DECIMALS else None


def _fixed(value: float, decimals: int) -> str:
    shown = f"{value:.{decimals}f}"
    return shown[1:] if shown.startswith("-") and float(shown) == 0.0 else shown


def text(title: Sequence[str], frame: pd.DataFrame, notes: Iterable[str], blocks: Sequence[str] = ()) -> str:
    """Title lines, the table (one block per combination of the ``blocks`` columns), and notes."""
    lines = list(title)
    for label, part in split(frame, blocks):
        lines += [label] if label else []
        header, rows = cells(part)
        left = [not pd.api.types.is_numeric_dtype(part[name].dtype) for name in part.columns]
        lines.append(table(header, rows, left, indent=" "))
        lines += [""] if blocks else []
    wrapped = [line for note in notes if note for line in textwrap.wrap(note, LINE_WIDTH, subsequent_indent="  ")]
    return "\n".join(lines + ([""] if wrapped and not blocks else []) + wrapped)


def split(frame: pd.DataFrame, blocks: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """One part of a table per combination of some columns, in order of appearance, with its heading."""
    if not blocks:
        return [("", frame)]
    keys = pd.Series(list(zip(*(frame[name].astype(object) for name in blocks), strict=True)), index=frame.index)
    out = []
    for key in dict.fromkeys(keys):
        label = ", ".join(f"{name} = {short(value)}" for name, value in zip(blocks, key, strict=True))
        out.append((f"{label}:", frame[keys == key].drop(columns=list(blocks))))
    return out


def short(value: object) -> str:
    """Value of a column in a label; numbers rounded for the reader only."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def html(title: Sequence[str], frame: pd.DataFrame, notes: Iterable[str]) -> str:
    """The same for a notebook, in one table."""
    header, rows = cells(frame)
    return html_block([html_lines(title), html_table(header, rows), html_lines(note for note in notes if note)])
