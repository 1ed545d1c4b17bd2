"""One CSV file to one data frame with R's types.

Place in the reading order: first of the data sets. A column's type is the one it has in R: ``factor`` (an
unordered Categorical whose first level is the baseline), ``ordered`` (an ordered Categorical), ``integer``,
``numeric`` (integers when every value is whole and the description says so) or ``string``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refglmm.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_FACTORS = ("factor", "ordered")


def read_csv(path: Path, columns: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Read a file (plain or gzipped) whose header is the names in ``columns``, in that order.

    Parameters
    ----------
    path : Path
        UTF-8, comma separated, one header line; an empty field is a missing value.
    columns : sequence of mappings
        For each column its ``name`` and ``type``; for a factor either ``levels`` or ``levels_rule`` (the
        distinct values in numerical order); ``whole`` marks a numeric column of whole numbers.

    Returns
    -------
    DataFrame
        Numbers read back to the last bit; factors with R's level order, unused levels kept.
    """
    import pandas as pd

    raw = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    expected = [c["name"] for c in columns]
    if list(raw.columns) != expected:
        raise DataError(
            f"{path.name} has the columns {list(raw.columns)}, its description says {expected}",
            found=list(raw.columns),
            expected=expected,
        )
    return pd.DataFrame({c["name"]: _column(raw[c["name"]], c, path.name) for c in columns})


def _column(values: pd.Series, column: Mapping[str, Any], file: str) -> Any:
    """Give one column the type that its description asks for."""
    if column["type"] in _FACTORS:
        return _factor(values, column, file)
    if column["type"] == "string":
        return values
    # Python's float() reads text to the last bit; pandas' own parser depends on its version.
    numbers = np.array([float(text) for text in values], dtype=np.float64)
    whole = column["type"] == "integer" or column.get("whole", False)
    return numbers.astype(np.int64) if whole and not np.isnan(numbers).any() else numbers


def _factor(values: pd.Series, column: Mapping[str, Any], file: str) -> pd.Categorical:
    """Return a Categorical with the described levels; a value that is no level is an error, never NaN."""
    import pandas as pd

    levels = column.get("levels") or sorted(values.dropna().unique(), key=float)
    strange = sorted(set(values.dropna()) - set(levels))
    if strange:
        raise DataError(
            f"{file}, column {column['name']!r}: {strange[0]!r} is not among the levels",
            column=column["name"],
            values=strange,
        )
    return pd.Categorical(values, categories=levels, ordered=column["type"] == "ordered")
