r"""The response in the form the user gave it, and back: proportions in a fit, two columns of counts in a data frame.

Place in the reading order: in ``fit``, after ``parameters``, before ``rows``.

=========== =============================== ==========================
kind        y in a fit                      what the user sees
=========== =============================== ==========================
cbind       successes / trials              two columns of counts
proportion  proportion                      the same
binary      0 or 1                          the same, or truth values
factor      0 (first level) or 1 (others)   a Categorical
ordinal     number of the level, from 0     an ordered Categorical, or whole numbers
numeric     a number                        the same
=========== =============================== ==========================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, DataError, ResponseError
from refglmm.formula.convert import to_column
from refglmm.formula.expressions import Call, Name, deparse, parse_expression
from refglmm.formula.frame import ModelFrame
from refglmm.formula.values import Column, Factor, Logical, as_factor, as_numeric

FloatArray = NDArray[np.float64]


def cbind_names(response: str | None) -> tuple[str, str] | None:
    """Names of the two columns of a ``cbind`` response, None for any other."""
    node = None if response is None else parse_expression(response)
    if not isinstance(node, Call) or node.function != "cbind" or len(node.args) != 2:
        return None
    (_, success), (_, failure) = node.args
    return deparse(success), deparse(failure)


def response_frame(
    frame: ModelFrame, draws: Sequence[FloatArray], index: pd.Index, trials: FloatArray | None
) -> pd.DataFrame:
    """Responses side by side in the form the user gave, columns ``sim_1``, ``sim_2``, ...

    Parameters
    ----------
    draws : sequence of float arrays, shape (m,)
        As ``frame.y`` holds a response; NaN where there is none.
    trials : float array or None
        Number of trials of each row, for a ``cbind`` response.

    Returns
    -------
    DataFrame
        One column a response; for ``cbind`` two, with a MultiIndex, so that ``frame["sim_1"]`` has both.
    """
    names = [f"sim_{i + 1}" for i in range(len(draws))]
    pair = cbind_names(frame.formula.response)
    if frame.response_kind == "cbind" and pair is not None and trials is not None:
        columns = {}
        for name, y in zip(names, draws, strict=True):
            success = _whole(y * trials)
            columns[name, pair[0]], columns[name, pair[1]] = success, trials - success
        return pd.DataFrame(columns, index=index)
    return pd.DataFrame({name: _one_column(frame, y) for name, y in zip(names, draws, strict=True)}, index=index)


def _column_name(text: str | None) -> str:
    """Name of the column that a response text stands for; the text itself where it is more than a name."""
    node = None if text is None else parse_expression(text)
    return node.name if isinstance(node, Name) else str(text)


def raw_with_response(frame: ModelFrame, y: FloatArray, trials: FloatArray | None) -> dict[str, Column]:
    """Return the raw columns of a frame with another response in those that hold one."""
    raw, response = dict(frame.raw), _column_name(frame.formula.response)
    pair = cbind_names(frame.formula.response)
    if pair is not None and trials is not None:
        success = _whole(y * trials)
        columns: dict[str, Column] = {_column_name(pair[0]): success, _column_name(pair[1]): trials - success}
    elif frame.response_kind == "ordinal":
        columns = {response: _ordinal_column(frame, y)}
    elif frame.response_kind == "factor":
        columns = {response: Factor((y > 0).astype(np.int32), np.array(frame.response_levels, dtype=object))}
    else:
        columns = {response: Logical(y) if isinstance(raw.get(response), Logical) else y}
    return raw | {name: column for name, column in columns.items() if name in raw}


def _ordinal_column(frame: ModelFrame, y: FloatArray) -> Column:
    """Codes of an ordinal response as the column of data that they came from: numbers, or a factor."""
    levels = np.array(frame.response_levels, dtype=object)
    before = frame.raw.get(_column_name(frame.formula.response))
    if isinstance(before, np.ndarray):
        return levels.astype(np.float64)[y.astype(np.intp)].astype(before.dtype)
    return Factor(y.astype(np.int32), levels, before.ordered if isinstance(before, Factor) else True)


def padded_frame(frame: ModelFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Rows that a fit excluded for missing values come back as missing."""
    place = np.where(frame.kept, np.cumsum(frame.kept) - 1, -1)
    return table.set_axis(pd.RangeIndex(len(table))).reindex(place).set_axis(frame.full_index)


def _whole(counts: FloatArray) -> FloatArray:
    """Counts with the rounding of y times trials taken off."""
    nearest = np.round(counts)
    return np.where(np.abs(counts - nearest) < 1e-8 * np.maximum(1.0, nearest), nearest, counts)


def _one_column(frame: ModelFrame, y: FloatArray) -> Any:
    """One response of any kind but ``cbind``."""
    if frame.response_kind == "factor":
        codes = np.where(np.isnan(y), -1, y > 0).astype(np.int8)
        return pd.Categorical.from_codes(codes, categories=list(frame.response_levels))
    if frame.response_kind == "ordinal":
        if isinstance(frame.raw.get(_column_name(frame.formula.response)), np.ndarray):
            labels = np.array([*map(float, frame.response_levels), np.nan])
            return labels[np.where(np.isnan(y), -1, y).astype(np.intp)]
        codes = np.where(np.isnan(y), -1, y).astype(np.intp)
        return pd.Categorical.from_codes(codes, categories=list(frame.response_levels), ordered=True)
    if frame.response_kind == "binary" and not np.isnan(y).any():
        column = frame.raw.get(_column_name(frame.formula.response))
        return y.astype(bool) if isinstance(column, Logical) else y.copy()
    return y.copy()


# --- and back ------------------------------------------------------------------------------------------------


def read_response(frame: ModelFrame, y: Any, weights: Any = None) -> tuple[FloatArray, Any]:
    """Read one response in any form that a fit knows.

    Parameters
    ----------
    y : array-like, shape (n,), Series, one-column DataFrame, Categorical; for ``cbind`` also shape (n, 2)
        For the rows of the fit, or for all rows of its data (those left out are skipped). A Series or DataFrame that
        has the labels of the rows is matched by label.
    weights : array-like, shape (n,), optional

    Returns
    -------
    y : float array, shape (n,)
        As ``frame.y`` holds it.
    weights : float array or None
        None where those of the fit stay. Two columns of counts bring their own numbers of trials; ``weights`` are then
        prior weights on top.

    Raises
    ------
    ArgumentError
        Several responses at once, or the wrong number of rows.
    ResponseError
        Missing or infinite values, unknown levels, negative counts.
    """
    if isinstance(y, np.ndarray) and y.shape == (frame.n,) and y.dtype == np.float64:
        return _finite(frame, y), weights
    columns = [_fit_rows(frame, column) for column in _columns_of(frame, y)]
    if len(columns) == 1:
        return _finite(frame, _one_response(frame, columns[0])), weights
    success, failure = (_finite(frame, as_numeric(column, "y")) for column in columns)
    if np.any(success < 0) or np.any(failure < 0):
        row = frame.index[int(np.argmax((success < 0) | (failure < 0)))]
        raise ResponseError(f"negative count in y at row {row!r}; the second column is failures, not totals", row=row)
    trials = success + failure
    prior = prior_weights(frame) if weights is None else np.asarray(weights, dtype=np.float64)
    return np.divide(success, trials, out=np.zeros_like(trials), where=trials > 0), prior * trials


def prior_weights(frame: ModelFrame) -> FloatArray:
    """Weights of a ``cbind`` fit without the numbers of trials in them."""
    assert frame.trials is not None
    return np.divide(frame.weights, frame.trials, out=np.ones(frame.n), where=frame.trials > 0)


def _columns_of(frame: ModelFrame, y: Any) -> list[Any]:
    """The one column of a response, or the two of ``cbind``."""
    several = "y holds several responses; refit takes one at a time, as in [fit.refit(sims[name]) for name in ...]"
    if isinstance(y, pd.DataFrame):
        names = y.columns.get_level_values(0).unique() if isinstance(y.columns, pd.MultiIndex) else None
        if names is not None and len(names) > 1:
            raise ArgumentError(several, columns=tuple(names))
        columns = [y.iloc[:, j] for j in range(y.shape[1])]
    elif isinstance(y, pd.Series | pd.Categorical | pd.Index):
        columns = [y]
    elif isinstance(y, list | tuple) and any(isinstance(part, np.ndarray | pd.Series | list | tuple) for part in y):
        raise ArgumentError(several)
    else:
        array = np.asarray(y)
        if array.ndim not in (1, 2):
            raise ArgumentError(f"y must be one response, not an array of shape {array.shape}")
        columns = [array] if array.ndim == 1 else list(array.T)
    wanted = (1, 2) if frame.response_kind == "cbind" else (1,)
    if len(columns) not in wanted:
        raise ArgumentError(several if len(columns) else "y has no column", columns=len(columns))
    return columns


def _fit_rows(frame: ModelFrame, column: Any) -> Any:
    """The rows of the fit, by label where there are labels, otherwise by position."""
    if isinstance(column, pd.Series) and column.index.is_unique and frame.index.isin(column.index).all():
        column = column.reindex(frame.index)
    if len(column) != frame.n and len(column) == len(frame.full_index):
        column = column[np.asarray(frame.kept, dtype=bool)]
    try:
        return to_column(column, "y", frame.n)
    except DataError as error:
        raise ArgumentError(f"y must have one value for each of the {frame.n} rows of the fit: {error}") from None


def _one_response(frame: ModelFrame, column: Any) -> FloatArray:
    """One column as ``frame.y`` holds it."""
    if frame.response_kind == "ordinal":
        return _level_codes(frame, as_factor(column, "y"))
    if not isinstance(column, Factor):
        return np.array(as_numeric(column, "y"), dtype=np.float64)
    if frame.response_kind != "factor":
        raise ResponseError(f"y is a factor or text, but the response {frame.formula.response!r} of the fit is numeric")
    codes = _level_codes(frame, column)
    return np.where(np.isnan(codes), np.nan, codes > 0)


def _level_codes(frame: ModelFrame, column: Factor) -> FloatArray:
    """Number of each row's level in the response of the fit, NaN where it is missing."""
    known = np.array(frame.response_levels, dtype=object)
    codes = column.recode(known)
    unknown = sorted({label for label in column.labels()[codes < 0].tolist() if label is not None})
    if unknown:
        raise ResponseError(
            f"y has levels {', '.join(map(repr, unknown))}; the response of the fit has {', '.join(map(repr, known))}",
            levels=tuple(unknown),
        )
    return np.where(codes < 0, np.nan, codes).astype(np.float64)


def _finite(frame: ModelFrame, y: FloatArray) -> FloatArray:
    """Refuse missing and infinite values, naming the first row."""
    finite = np.isfinite(y)
    if not finite.all():
        row = frame.index[int(np.argmin(finite))]
        raise ResponseError(f"y is missing or not finite at row {row!r}", row=row, count=int((~finite).sum()))
    return y
