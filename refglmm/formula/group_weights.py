"""Weights of whole groups: how often each group counts in the likelihood.

Place in the reading order: last of ``formula``.

A group weight multiplies the group's log-likelihood (its random effects integrated out): weight 2 is the group twice
with the same data, each copy with random effects of its own; weight 0 is the group left out. That needs one grouping
factor. A weight of rows is something else: it multiplies log densities inside the integral.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import DataError, NotAvailableError, WeightsError
from refglmm.formula.convert import Table, to_column
from refglmm.formula.design import Design
from refglmm.formula.frame import aligned
from refglmm.formula.values import as_numeric

FloatArray = NDArray[np.float64]
TITLE = "group_weights"


def use_column(given: Any, table: Table) -> None:
    """See to it that a column of weights exists, and is kept with the columns that the model uses."""
    if isinstance(given, str):
        if given not in table:
            raise WeightsError(f"{TITLE}: the data has no column {given!r}", column=given)
        table.column(given)


def weights_of_groups(given: Any, design: Design, table: Table) -> FloatArray:
    """One weight for each level of the grouping factor.

    Parameters
    ----------
    given : str, mapping or array-like
        A column, or an array with an entry for each row of the data: constant within each group. A mapping: label of
        the level to its weight.
    design : Design
    table : Table
        The data, all rows.

    Returns
    -------
    float array, shape (levels,)

    Raises
    ------
    NotAvailableError
        If the model has more than one grouping factor.
    WeightsError
        Wrong length, missing, negative or not finite, different within a group, or all zero; names the level.
    """
    factors = list(dict.fromkeys(term.group for term in design.terms))
    if len(factors) > 1:
        raise NotAvailableError(
            f"{TITLE} needs one grouping factor; this model has {', '.join(factors)}", factors=tuple(factors)
        )
    levels = design.terms[0].grouping.level_names.tolist()
    by_level = _from_mapping(given) if isinstance(given, Mapping) else _from_rows(given, design, table, set(levels))
    absent = [level for level in levels if level not in by_level]
    if absent:
        raise WeightsError(f"{TITLE} has no weight for level {absent[0]!r} of {factors[0]}", level=absent[0])
    weights = np.array([by_level[level] for level in levels], dtype=np.float64)
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size:
        level = levels[bad[0]]
        raise WeightsError(
            f"{TITLE} must be finite and >= 0; level {level!r} of {factors[0]} has {weights[bad[0]]:g}", level=level
        )
    if not np.any(weights > 0):
        raise WeightsError(f"{TITLE} are all zero: no group is left")
    return weights


def _from_mapping(given: Mapping[Any, Any]) -> dict[str, float]:
    """Weights by label of the level, as text."""
    try:
        return {str(level): float(weight) for level, weight in given.items()}
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{TITLE} must give each level a number, not {given!r}") from error


def _from_rows(given: Any, design: Design, table: Table, levels: set[str]) -> dict[str, float]:
    """Weights by label of the level, from a value for each row of the data."""
    try:
        named = isinstance(given, str)
        column = table.column(given) if named else to_column(aligned(given, table.index), TITLE, len(table))
        values = np.asarray(as_numeric(column, TITLE), dtype=np.float64)
    except WeightsError:
        raise
    except DataError as error:
        raise WeightsError(f"{TITLE}: {error}", **error.facts) from None
    by_level: dict[str, float] = {}
    labels = design.group_labels(design.terms[0], table).tolist()
    for row, (label, value) in enumerate(zip(labels, values.tolist(), strict=True)):
        if label in levels and by_level.setdefault(label, value) != value and value == value:
            raise WeightsError(
                f"{TITLE} must be constant within a group: level {label!r} has {by_level[label]:g} and, in row "
                f"{table.index[row]!r}, {value:g}",
                level=label,
                row=table.index[row],
            )
    return by_level
