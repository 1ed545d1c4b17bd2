"""Tables of any make -> named columns. Nothing here ever writes to the caller's data.

Place in the reading order: after :mod:`refglmm.formula.values`, before :mod:`refglmm.formula.transforms`.

pandas frames are read directly; dicts (and records) of arrays by NumPy; polars, Arrow and other eager frames
through narwhals. Columns are converted one by one when a formula asks for them, so a wide table is free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from refglmm.errors import DataError
from refglmm.formula.values import Column, Factor, Logical, number_labels


class Table:
    """Named columns over common rows.

    Attributes
    ----------
    names : tuple of str
        Column names (anything else is turned into text).
    index : pandas.Index
        Row labels; 0, 1, ... unless the data is a pandas object.
    """

    def __init__(self, names: tuple[str, ...], index: pd.Index, getter: Callable[[str], Any]) -> None:
        self.names = names
        self.index = index
        self._getter = getter
        self._cache: dict[str, Column] = {}
        self._known = set(names)

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def column(self, name: str) -> Column:
        """Return one column as a private copy; converted once."""
        if name not in self._cache:
            if self.names.count(name) > 1:
                raise DataError(f"the data has more than one column {name!r}; rename them", column=name)
            self._cache[name] = to_column(self._getter(name), name, len(self))
        return self._cache[name]

    def with_columns(self, made: Mapping[str, Callable[[], Column]]) -> Table:
        """Return a table with further columns, or others in their place, made when they are asked for."""
        if not made:
            return self
        names = (*self.names, *(name for name in made if name not in self))
        return Table(names, self.index, lambda name: made[name]() if name in made else self.column(name))

    def used(self) -> Table:
        """Return a table of the columns asked for so far, cut off from the caller's data."""
        table = Table(tuple(self._cache), self.index, self._cache.__getitem__)
        table._cache = dict(self._cache)
        return table


def to_table(data: Any) -> Table:
    """Read any supported table.

    Parameters
    ----------
    data : pandas.DataFrame, mapping or structured array, polars or Arrow table, or any eager narwhals frame
        Never changed.

    Returns
    -------
    Table
        Lazy view; columns are copied when asked for.

    Raises
    ------
    DataError
        For anything else, and for columns of unequal length.
    """
    if isinstance(data, Table):
        return data
    if isinstance(data, pd.DataFrame):
        own = data.columns.to_numpy(dtype=object)
        names = tuple(map(str, own))
        labels = dict(zip(names, own, strict=True))
        return Table(names, data.index, lambda name: data[labels[name]])
    if isinstance(data, np.ndarray) and data.dtype.names:
        return _from_mapping({name: data[name] for name in data.dtype.names})
    if isinstance(data, Mapping):
        return _from_mapping(data)
    return _from_narwhals(data)


def _from_mapping(data: Mapping[Any, Any]) -> Table:
    arrays = {str(name): value for name, value in data.items()}
    lengths = {}
    for name, value in arrays.items():
        try:
            lengths[name] = len(value)
        except TypeError:
            raise DataError(f"column {name!r} is a single value, not a column; repeat it", column=name) from None
    if len(set(lengths.values())) > 1:
        raise DataError(f"columns differ in length: {lengths}; make them equal", lengths=lengths)
    n = next(iter(lengths.values()), 0)
    indexes = [value.index for value in arrays.values() if isinstance(value, pd.Series)]
    return Table(tuple(arrays), indexes[0] if indexes else pd.RangeIndex(n), arrays.__getitem__)


def _from_narwhals(data: Any) -> Table:
    wanted = "pass a pandas, polars or Arrow table, or a dict of arrays"
    try:
        import narwhals.stable.v1 as nw
    except ImportError:
        raise DataError(f"cannot read data of type {type(data).__name__}; {wanted}", type=type(data)) from None
    try:
        frame = nw.from_native(data, eager_only=True)
    except TypeError:
        raise DataError(
            f"cannot read data of type {type(data).__name__}; {wanted} (collect lazy frames first)",
            type=type(data),
        ) from None
    return Table(tuple(frame.columns), pd.RangeIndex(len(frame)), lambda name: _native_column(frame[name], nw))


def _native_column(series: Any, nw: Any) -> Any:
    """Hand over one narwhals column as something :func:`to_column` knows."""
    if series.dtype == nw.Categorical and series.implementation.is_polars():
        # polars numbers all categories of a process as they turn up: an order without meaning, so this is text
        return np.array(series.cast(nw.String).to_list(), dtype=object)
    if series.dtype in (nw.Categorical, nw.Enum):
        levels = series.cat.get_categories().to_list()
        return pd.Categorical(series.cast(nw.String).to_list(), categories=levels)
    if series.dtype.is_numeric() and not series.dtype.is_decimal():
        return series.to_numpy()
    if series.dtype == nw.Boolean and series.null_count() == 0:
        return series.to_numpy()
    return np.array(series.to_list() or [], dtype=object)


def to_array(values: Any, what: str) -> np.ndarray:
    """Return ``np.asarray(values)``, or say what cannot be an array."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError, OverflowError):  # ragged lists, undecodable bytes, odd __array__ methods
        raise DataError(f"{what} cannot be read as an array; give one value per row", what=what) from None


def to_column(raw: Any, name: str, n: int) -> Column:
    """Convert one raw column.

    Parameters
    ----------
    raw : Series, Categorical, array-like or Column
        The caller's column; not changed and not kept. A factor or truth values of ours come back as they are.
    name : str
        For messages.
    n : int
        Number of rows it must have.

    Returns
    -------
    Column
        Text becomes a factor with sorted levels, a category keeps its level order.
    """
    if isinstance(raw, Factor | Logical):
        return raw
    values = raw.array if isinstance(raw, pd.Series | pd.Index) else raw
    if isinstance(values, pd.arrays.NumpyExtensionArray):
        values = values.to_numpy()
    if not isinstance(values, np.ndarray | pd.api.extensions.ExtensionArray):
        values = to_array(values, f"column {name!r}")
    if values.ndim != 1:
        raise DataError(
            f"column {name!r} has {values.ndim} dimensions; a column has one, use cbind(a, b) for two counts",
            column=name,
        )
    if len(values) != n:
        raise DataError(f"column {name!r} has {len(values)} rows, expected {n}", column=name, rows=len(values))
    if isinstance(values, pd.Categorical):
        return _from_categorical(values, name)
    match getattr(values.dtype, "kind", "O"):
        case "b":
            return Logical(_to_float(values))
        case "i" | "u" if values.dtype != np.uint64 and (isinstance(values, np.ndarray) or not pd.isna(values).any()):
            return np.array(values, dtype=np.int64)  # exact: identifiers may exceed 2^53
        case "i" | "u" | "f":
            return _to_float(values)
        case "O" | "U" | "T" | "S":
            return _from_objects(values, name)
    raise _unusable(name, str(values.dtype))


def _unusable(name: str, kind: str) -> DataError:
    return DataError(f"column {name!r} holds {kind} values; convert it to numbers or text", column=name, type=kind)


def _to_float(values: Any) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return np.array(values, dtype=np.float64)
    return np.array(values.to_numpy(dtype=np.float64, na_value=np.nan))


def _from_categorical(values: pd.Categorical, name: str) -> Factor:
    codes, ordered = np.array(values.codes, dtype=np.int32), bool(values.ordered)
    if isinstance(values.categories.dtype, pd.StringDtype):  # text, and pandas keeps categories distinct
        return Factor(codes, np.array(values.categories.array.to_numpy(dtype=object)), ordered)
    categories = np.asarray(values.categories)
    if categories.dtype.kind in "iuf":
        levels = number_labels(categories)
    elif categories.dtype.kind == "b":
        levels = np.where(categories, "TRUE", "FALSE").astype(object)
    else:
        levels = np.array([str(c) for c in categories.tolist()], dtype=object)
    if len(set(levels.tolist())) < len(levels):
        raise DataError(f"two categories of column {name!r} read the same as text; rename them", column=name)
    return Factor(codes, levels, ordered)


def _from_objects(values: Any, name: str) -> Column:
    """Text, or Python objects that are all numbers or all truth values."""
    kind = "string"
    if isinstance(values, np.ndarray) and values.dtype.kind == "O":
        kind = pd.api.types.infer_dtype(values, skipna=True)
    match kind:
        case "string" | "mixed-integer" | "bytes":
            return _from_text(values, kind == "mixed-integer")
        case "integer" | "floating" | "mixed-integer-float" | "decimal" | "boolean" | "empty":
            numbers = np.array([np.nan if pd.isna(v) else float(v) for v in values.tolist()])
            return Logical(numbers) if kind == "boolean" else numbers
    raise _unusable(name, kind)


def _from_text(values: Any, mixed: bool) -> Factor:
    codes, uniques = pd.factorize(pd.Series(values, copy=False).map(str, na_action="ignore") if mixed else values)
    labels = np.array([v.decode("latin-1") if isinstance(v, bytes) else str(v) for v in uniques], dtype=object)
    order = sorted(range(len(labels)), key=labels.__getitem__)  # by code point: the same on every machine
    rank = np.empty(len(labels) + 1, dtype=np.int32)
    rank[order] = np.arange(len(labels), dtype=np.int32)
    rank[-1] = -1
    return Factor(rank[codes], labels[order])
