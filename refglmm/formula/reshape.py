r"""Wide tables (one row a person, one column a measurement) to long ones, and back.

Place in the reading order: after :mod:`refglmm.formula.evaluate`, before :mod:`refglmm.formula.wide`.

Columns y_1, ..., y_k of measurements and within factors f_1 (l_1 levels), ..., f_m (l_m levels), where
l_1 ... l_m = k, mean that column j holds the cell whose levels are the digits of j in the mixed base (l_1, ..., l_m):
the **last** factor varies fastest across the columns. Row i of the wide table becomes the rows k i, ..., k i + k - 1 of
the long one, in the order of the columns, and its other columns are repeated:

.. math:: y^{long}_{k i + j} = y_{j,i}, \qquad x^{long}_{k i + j} = x_i
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, DataError
from refglmm.formula.values import Factor

# --- cells --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cells:
    """Which column of a wide table holds which cell of the within factors.

    Attributes
    ----------
    columns : tuple of str
        Columns of the response, from left to right.
    factors : mapping of str to tuple of str
        Levels of each within factor, in their order; the last factor varies fastest across the columns.
    """

    columns: tuple[str, ...]
    factors: Mapping[str, tuple[str, ...]]

    def codes(self, name: str) -> NDArray[np.int32]:
        """Level, from 0, of one factor in each column."""
        sizes = [len(levels) for levels in self.factors.values()]
        digits = np.unravel_index(np.arange(len(self.columns)), sizes)
        return digits[list(self.factors).index(name)].astype(np.int32)

    def factor(self, name: str, n: int) -> Factor:
        """One within factor on all rows of the long table of n wide rows."""
        return Factor(np.tile(self.codes(name), n), np.array(self.factors[name], dtype=object))

    def table(self) -> pd.DataFrame:
        """One row for each column of the response: its name and its levels."""
        cells = {name: pd.Categorical.from_codes(self.codes(name), list(self.factors[name])) for name in self.factors}
        return pd.DataFrame({"column": list(self.columns), **cells})

    def __str__(self) -> str:
        rows = zip(self.columns, *(np.array(self.factors[f], dtype=object)[self.codes(f)] for f in self.factors))
        cells = (f"{column} = {':'.join(levels)}" for column, *levels in rows)
        return f"{' x '.join(self.factors)}: {', '.join(cells)}"


def read_cells(columns: Sequence[str], within: Any) -> Cells:
    """Give each column its cell.

    Parameters
    ----------
    columns : sequence of str
        Columns of the response, from left to right.
    within : mapping
        Name of each within factor to its labels, in order, or to their number k (levels "1", ..., "k").

    Returns
    -------
    Cells

    Raises
    ------
    ArgumentError
        No factor, fewer than two levels, duplicate labels, or another number of cells than of columns.
    """
    if not isinstance(within, Mapping) or not within:
        raise ArgumentError(
            f"within= names the factors of the wide response, as in {{'time': {len(columns)}}} or {{'time': ('t1', "
            f"'t2')}}, not {within!r}"
        )
    factors = {str(name): _labels(str(name), given) for name, given in within.items()}
    sizes = {name: len(levels) for name, levels in factors.items()}
    if math.prod(sizes.values()) != len(columns):
        product = " x ".join(f"{name} {size}" for name, size in sizes.items())
        raise ArgumentError(
            f"within= gives {product} = {math.prod(sizes.values())} cells, but the response has {len(columns)} columns "
            f"({', '.join(columns)})",
            cells=math.prod(sizes.values()),
            columns=tuple(columns),
        )
    if repeated := _first_repeated(columns):
        raise ArgumentError(f"column {repeated!r} stands twice in the wide response", column=repeated)
    return Cells(tuple(columns), factors)


def _labels(name: str, given: Any) -> tuple[str, ...]:
    """Levels of one within factor, from their labels or their number."""
    if isinstance(given, int | np.integer) and not isinstance(given, bool):
        levels = tuple(str(i + 1) for i in range(int(given)))
    elif isinstance(given, str) or not isinstance(given, Iterable) or isinstance(given, Mapping):
        raise ArgumentError(f"within[{name!r}] must be labels or their number, not {given!r}", factor=name)
    else:
        levels = tuple(map(str, given))
    if len(levels) < 2:
        raise ArgumentError(f"within[{name!r}] has {len(levels)} level(s); a factor needs two", factor=name)
    if repeated := _first_repeated(levels):
        raise ArgumentError(f"within[{name!r}] has the label {repeated!r} twice", factor=name, label=repeated)
    return levels


def _first_repeated(items: Sequence[str]) -> str | None:
    return next((item for i, item in enumerate(items) if item in items[:i]), None)


# --- for users ----------------------------------------------------------------------------------------------


def to_long(
    data: Any, columns: Sequence[str], within: Mapping[str, Any], *, response: str = "y", id: str = "id"
) -> pd.DataFrame:
    """Make a long table of a wide one: one row for each measurement.

    Parameters
    ----------
    data : pandas.DataFrame, or what it can be made of
        One row for each person (or other unit). Never changed.
    columns : sequence of str
        The measurements, from left to right.
    within : mapping
        Name of each within factor to its labels, or to their number k (levels "1", ..., "k"). The product of the
        numbers is the number of columns; the last factor varies fastest across them.
    response : str
        Name of the column of the measurements.
    id : str
        Column that tells the wide rows apart; if ``data`` has none of that name it is made: 1, 2, ....

    Returns
    -------
    DataFrame
        The k rows of each wide row one after another, in the order of ``columns``: the id (if made), the other columns
        (repeated), the within factors (Categoricals) and the response. Missing measurements stay, as missing.

    Raises
    ------
    ArgumentError, DataError
        Unknown columns, a wrong number of levels, names that exist already, ids that repeat.

    Examples
    --------
    >>> import pandas as pd
    >>> import refglmm as rg
    >>> wide = pd.DataFrame({"who": ["a", "b"], "before": [1.0, 2.0], "after": [3.0, 5.0]})
    >>> rg.to_long(wide, ["before", "after"], {"time": ("before", "after")}, id="who")
      who    time    y
    0   a  before  1.0
    1   a   after  3.0
    2   b  before  2.0
    3   b   after  5.0
    """
    frame = _pandas(data)
    columns = _known_columns(frame, columns, "columns")
    cells = read_cells(columns, within)
    others = [name for name in frame.columns if name not in columns]
    made = (*cells.factors, response)
    for name in made:
        if name in others or made.count(name) > 1 or name == id:
            raise DataError(f"the long table would have two columns {name!r}; choose another name", column=name)
    if id in others and frame[id].duplicated().any():
        twice = frame.loc[frame[id].duplicated(), id].iloc[0]
        raise DataError(
            f"column {id!r} must differ from row to row; {shown(twice)} occurs twice", column=id, value=twice
        )
    n, k = len(frame), len(columns)
    long = frame[others].iloc[np.repeat(np.arange(n), k)].reset_index(drop=True)
    if id not in others:
        long.insert(0, id, np.repeat(np.arange(1, n + 1), k))
    for name in cells.factors:
        long[name] = cells.factor(name, n).categorical()
    stacked = pd.concat([frame[name] for name in columns], ignore_index=True)
    long[response] = stacked.iloc[np.arange(n * k).reshape(k, n).T.ravel()].reset_index(drop=True)
    return long


def to_wide(
    data: Any,
    within: Mapping[str, Any] | Sequence[str],
    *,
    response: str = "y",
    id: str = "id",
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Make a wide table of a long one: one row for each id; the inverse of :func:`to_long`.

    Parameters
    ----------
    data : pandas.DataFrame, or what it can be made of
        One row for each measurement. Never changed.
    within : mapping or sequence of str
        The within factors; a mapping gives the labels in their order, otherwise they are in the order of the categories
        (of anything else: sorted). The last factor varies fastest across the new columns.
    response : str
        Column of the measurements.
    id : str
        Column that says which rows belong together.
    columns : sequence of str, optional
        Names of the new columns; by default ``response`` and the labels, joined by ``_``.

    Returns
    -------
    DataFrame
        One row for each id, in the order in which they first appear: the id, the other columns and the new ones. A cell
        that an id does not have is missing.

    Raises
    ------
    ArgumentError, DataError
        Unknown columns or labels, two measurements of one cell, or another column that differs within an id.
    """
    frame = _pandas(data)
    names = [within] if isinstance(within, str) else list(map(str, within))
    if _first_repeated(names) or not names:
        raise ArgumentError(f"within= must name factors, each once, not {within!r}")
    _known_columns(frame, [*names, response, id], "within=, response= and id=")
    labels = {name: _found_labels(frame[name], name, within) for name in names}
    made = [f"{response}_{'_'.join(cell)}" for cell in _products([list(labels[name]) for name in names])]
    cells = read_cells(made if columns is None else list(map(str, columns)), labels)
    codes = [_cell_codes(frame[name].astype(str), labels[name], name) for name in names]
    cell = np.ravel_multi_index(codes, [len(levels) for levels in labels.values()])
    person, ids = pd.factorize(frame[id], use_na_sentinel=True)
    if np.any(person < 0):
        raise DataError(f"column {id!r} is missing at row {shown(frame.index[int(np.argmin(person))])}", column=id)
    _refuse_two(frame, person, cell, cells, id)
    others = [name for name in frame.columns if name not in (*names, response, id)]
    _refuse_varying(frame, others, person, id)
    first = np.unique(person, return_index=True)[1]
    wide = frame[[id, *others]].iloc[first].reset_index(drop=True)
    for j, name in enumerate(cells.columns):
        if name in wide:
            raise DataError(
                f"the wide table would have two columns {name!r}; give other names in columns=", column=name
            )
        here = np.flatnonzero(cell == j)
        values = frame[response].iloc[here].set_axis(person[here])
        wide[name] = values.reindex(range(len(ids)))
    return wide


def _pandas(data: Any) -> pd.DataFrame:
    if isinstance(data, pd.DataFrame):
        return data.rename(columns=str)
    try:
        return data.to_pandas() if hasattr(data, "to_pandas") else pd.DataFrame(data)
    except (ValueError, TypeError, ImportError) as error:
        raise DataError(f"cannot read data of type {type(data).__name__}: {error}", type=type(data)) from None


def _known_columns(frame: pd.DataFrame, columns: Any, what: str) -> list[str]:
    if isinstance(columns, str) or not isinstance(columns, Iterable):
        raise ArgumentError(f"{what} must be names of columns, not {columns!r}")
    names = list(map(str, columns))
    for name in names:
        if name not in frame.columns:
            near = difflib.get_close_matches(name, list(frame.columns), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(frame.columns)}"
            raise DataError(f"{what}: the data has no column {name!r}; {hint}", column=name)
        if not isinstance(frame[name], pd.Series):
            raise DataError(f"the data has more than one column {name!r}; rename them", column=name)
    return names


def _found_labels(values: pd.Series, name: str, within: Any) -> tuple[str, ...]:
    """Levels of one within factor of a long table."""
    if isinstance(within, Mapping):
        return _labels(name, within[name])
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _labels(name, values.cat.categories)
    return _labels(name, sorted(values.dropna().unique()))


def _cell_codes(values: pd.Series, levels: tuple[str, ...], name: str) -> NDArray[np.int64]:
    codes = pd.Index(levels).get_indexer(pd.Index(values))
    if np.any(codes < 0):
        row = int(np.argmin(codes))
        raise DataError(
            f"{name!r} is {values.iloc[row]!r} at row {shown(values.index[row])}, which is none of {', '.join(levels)}",
            column=name,
            row=values.index[row],
        )
    return codes.astype(np.int64)


def _products(labels: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """All combinations, the last factor varying fastest."""
    out: list[tuple[str, ...]] = [()]
    for levels in labels:
        out = [(*cell, level) for cell in out for level in levels]
    return out


def shown(value: Any) -> str:
    """A value as people write it: a NumPy number as a number."""
    return repr(value.item() if isinstance(value, np.generic) else value)


def _refuse_two(frame: pd.DataFrame, person: NDArray[Any], cell: NDArray[Any], cells: Cells, id: str) -> None:
    twice = pd.Series(person.astype(np.int64) * len(cells.columns) + cell).duplicated().to_numpy()
    if twice.any():
        row = int(np.argmax(twice))
        raise DataError(
            f"{id} {shown(frame[id].iloc[row])} has two rows in the cell {cells.columns[cell[row]]!r} (the second is "
            f"row {shown(frame.index[row])})",
            id=frame[id].iloc[row],
            row=frame.index[row],
        )


def _refuse_varying(frame: pd.DataFrame, others: Sequence[str], person: NDArray[Any], id: str) -> None:
    """Columns that are not the response must be constant within an id."""
    first = np.unique(person, return_index=True)[1][person]
    for name in others:
        values = frame[name].reset_index(drop=True)
        expected = values.iloc[first].reset_index(drop=True)
        differs = ~((values == expected) | (values.isna() & expected.isna())).to_numpy(dtype=bool)
        if differs.any():
            row = int(np.argmax(differs))
            raise DataError(
                f"column {name!r} is not constant within {id} {shown(frame[id].iloc[row])} (row "
                f"{shown(frame.index[row])} differs from its first); drop it, or make it a within factor",
                column=name,
                row=frame.index[row],
            )
