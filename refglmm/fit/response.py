r"""The response in the form the user gave it, and back: proportions in a fit, two columns of counts in a data frame.

Place in the reading order: in ``fit``, after ``rows``, before ``simulate``.

=========== =============================== ==========================
kind        y in a fit                      what the user sees
=========== =============================== ==========================
cbind       successes / trials              two columns of counts
proportion  proportion                      the same
binary      0 or 1                          the same, or truth values
factor      0 (first level) or 1 (others)   a Categorical
numeric     a number                        the same
=========== =============================== ==========================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.formula.expressions import Call, deparse, parse_expression
from refglmm.formula.frame import ModelFrame
from refglmm.formula.values import Logical

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


def _whole(counts: FloatArray) -> FloatArray:
    """Counts with the rounding of y times trials taken off."""
    nearest = np.round(counts)
    return np.where(np.abs(counts - nearest) < 1e-8 * np.maximum(1.0, nearest), nearest, counts)


def _one_column(frame: ModelFrame, y: FloatArray) -> Any:
    """One response of any kind but ``cbind``."""
    if frame.response_kind == "factor":
        codes = np.where(np.isnan(y), -1, y > 0).astype(np.int8)
        return pd.Categorical.from_codes(codes, categories=list(frame.response_levels))
    if frame.response_kind == "binary" and not np.isnan(y).any():
        column = frame.raw.get(frame.formula.response or "")
        return y.astype(bool) if isinstance(column, Logical) else y.copy()
    return y.copy()
