"""Which data sets there are, what they are, and their values.

Place in the reading order: after :mod:`refglmm.datasets.reading`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from refglmm.datasets.reading import read_csv
from refglmm.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Description:
    """What a data set holds and where it comes from; prints as a short text.

    ``columns`` are the entries of ``datasets.json``: name, type in R, levels in R's order.
    """

    name: str
    file: str
    rows: int
    md5: str
    description: str
    citation: str
    source: str
    licence: str
    columns: tuple[dict[str, Any], ...]
    notes: str = ""

    def __str__(self) -> str:
        text = f"{self.description} {self.notes}".strip()
        width = max(len(c["name"]) for c in self.columns)
        return "\n".join(
            [
                f"{self.name}: {self.rows} rows, {len(self.columns)} columns",
                fill(text, 90),
                "",
                *(f"  {c['name']:<{width}}  {_type_text(c)}" for c in self.columns),
                "",
                fill(f"Citation: {self.citation}", 90),
                f"Source: {self.source}; licence there: {self.licence}",
            ]
        )


def _type_text(column: dict[str, Any]) -> str:
    """Word a column's type: ``factor with 4 levels: 1, 2, 3, 4``."""
    if "levels" in column:
        shown = ", ".join(column["levels"][:6]) + (", ..." if len(column["levels"]) > 6 else "")
        return f"{column['type']} with {len(column['levels'])} levels: {shown}"
    if "levels_rule" in column:
        return f"{column['type']}, levels {column['levels_rule']}"
    return str(column["type"])


@cache
def _catalogue() -> dict[str, Description]:
    entries = json.loads((_FOLDER / "datasets.json").read_text(encoding="utf-8"))
    return {e["name"]: Description(**(e | {"columns": tuple(e["columns"])})) for e in entries}


def names() -> list[str]:
    """Return the names that :func:`load` knows, in alphabetical order.

    Returns
    -------
    list of str
        A new list.
    """
    return sorted(_catalogue(), key=str.lower)


def describe(name: str) -> Description:
    """Say what a data set holds and where it comes from.

    Parameters
    ----------
    name : str
        One of :func:`names`.

    Returns
    -------
    Description
        Frozen; ``print`` it to read it.

    Raises
    ------
    DataError
        There is no such data set; the message names the nearest ones.
    """
    entry = _catalogue().get(name)
    if entry is None:
        raise _unknown(name)
    return entry


def load(name: str) -> pd.DataFrame:
    """Load a data set with the column types it has in R.

    Parameters
    ----------
    name : str
        One of :func:`names`.

    Returns
    -------
    DataFrame
        A fresh one each time: changing it changes nothing else. R's factors are Categoricals with R's level
        order, ordered factors ordered ones.

    Raises
    ------
    DataError
        There is no such data set; the message names the nearest ones.
    """
    return _parsed(describe(name).name).copy()


@cache
def _parsed(name: str) -> pd.DataFrame:
    entry = _catalogue()[name]
    return read_csv(_FOLDER / entry.file, entry.columns)


def _unknown(name: object) -> DataError:
    lowered = {known.lower(): known for known in _catalogue()}
    near = [lowered[m] for m in get_close_matches(str(name).lower(), lowered, n=3)]
    hint = "refglmm.datasets.names() lists them all."
    if near:
        hint = f"did you mean {' or '.join(map(repr, near))}?"
    return DataError(f"there is no data set {name!r}; {hint}", name=name, near=near)
