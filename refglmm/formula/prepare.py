"""The arguments ``factors=``, ``within=``, ``cwc=`` and ``gmc=`` of a model: which table its formula is about.

Place in the reading order: after :mod:`refglmm.formula.frame`, before :mod:`refglmm.formula.contrasts`.

In this order: a wide table becomes a long one (:mod:`refglmm.formula.wide`), columns become factors, grand means are
subtracted, cluster means are taken (:mod:`refglmm.formula.centring`). What comes out is a formula and a table that
:func:`refglmm.formula.frame.build_frame` joins; the data itself is never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from refglmm.errors import ArgumentError, DataError
from refglmm.formula.centring import DEVIATION, MEAN, Centring, in_place, read_centring
from refglmm.formula.convert import Table
from refglmm.formula.evaluate import Scope
from refglmm.formula.expressions import names_in, parse_expression
from refglmm.formula.frame import subset_rows, with_factors
from refglmm.formula.grammar import Formula
from refglmm.formula.wide import Wide, find_wide


@dataclass(frozen=True)
class Prepared:
    """Formulas and table of a model, and the arguments that have an entry for each row of it.

    Attributes
    ----------
    formula : Formula
        About the long table, with deviations in place of the variables that ``cwc=`` replaces.
    parts : mapping of str to Formula
        The same of the zero part and the dispersion.
    written : Formula
        About the data as they were given: what :meth:`refglmm.GLMM.updated` changes.
    table : Table
        In long form.
    factors : tuple of str
        Columns that become categorical.
    centring : Centring or None
        Without means yet.
    wide : Wide or None
    rowwise : mapping
        ``weights``, ``offset``, ``group_weights`` and ``subset`` for the rows of the long table.
    """

    formula: Formula
    parts: Mapping[str, Formula]
    written: Formula
    table: Table
    factors: tuple[str, ...]
    centring: Centring | None
    wide: Wide | None
    rowwise: Mapping[str, Any]


def prepare(
    formula: Formula,
    parts: Mapping[str, Formula],
    data: Table,
    *,
    factors: Any,
    within: Any,
    cwc: Any,
    gmc: Any,
    pairs: bool,
    env: Mapping[str, Any],
    rowwise: Mapping[str, Any],
) -> Prepared:
    """Read the arguments; see :class:`refglmm.GLMM` for them and :class:`Prepared` for what comes out.

    Raises
    ------
    ArgumentError, DataError, ResponseError
        Naming the column, the level or the numbers at fault.
    """

    def made(name: str) -> bool:
        return cwc is not None and name.endswith((DEVIATION, MEAN))

    wide = find_wide(formula, parts.values(), data, within, pairs=pairs, made=made, env=env)
    table, asked = data, formula
    if wide is not None:
        asked, table, rowwise = wide.long_formula(formula), wide.long_table(data, env), _long(wide, rowwise, data, env)
    asked = asked.resolve_dot(table.names)
    parts = {part: own.resolve_dot(table.names) for part, own in parts.items()}
    names = (*_read_factors(factors, table), *(wide.cells.factors if wide is not None else ()))
    centring, replaced = read_centring(
        gmc, cwc, (asked, *parts.values()), with_factors(table, names), env, _elsewhere(asked, parts.values(), rowwise)
    )
    return Prepared(
        formula=in_place(asked, replaced) if replaced else asked,
        parts={part: in_place(own, replaced) if replaced else own for part, own in parts.items()},
        written=asked if wide is None else wide.written(asked),
        table=table,
        factors=tuple(dict.fromkeys(names)),
        centring=centring,
        wide=wide,
        rowwise=rowwise,
    )


def _read_factors(factors: Any, table: Table) -> tuple[str, ...]:
    """Names of the columns that become categorical."""
    if factors is None:
        return ()
    if isinstance(factors, str):
        factors = [factors]
    if not isinstance(factors, Iterable) or isinstance(factors, Mapping):
        raise ArgumentError(f"factors= takes names of columns, not {factors!r}")
    names = tuple(map(str, factors))
    for name in names:
        if name not in table:
            raise DataError(
                f"factors=: the data has no column {name!r}; columns are {', '.join(table.names)}", column=name
            )
    return names


def _long(wide: Wide, rowwise: Mapping[str, Any], data: Table, env: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with an entry for each wide row, for the long ones; of a subset, the positions of its long rows."""
    k, n = len(wide.cells.columns), len(data)
    out = {name: wide.long_rows(value, data.index) for name, value in rowwise.items() if name != "subset"}
    subset = rowwise["subset"]
    if subset is not None and not isinstance(subset, str) and (isinstance(subset, slice) or np.size(subset) != k * n):
        rows = subset_rows(subset, Scope(data, env))
        subset = (rows[:, None] * k + np.arange(k)).ravel()
    return {**out, "subset": subset}


def _elsewhere(formula: Formula, parts: Iterable[Formula], rowwise: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names of the variables that are more than predictors, by what they are."""
    whole = (formula, *parts)
    texts = {
        "the response": [formula.response] if formula.response else [],
        "an offset": [text for f in whole for text in f.offsets],
        "a grouping factor": [term.group for f in whole for term in f.random],
    }
    out = {what: [n for text in own for n in names_in(parse_expression(text))] for what, own in texts.items()}
    for what in ("weights", "offset", "group_weights"):
        if isinstance(rowwise.get(what), str):
            out[f"{what}="] = [rowwise[what], *_names(rowwise[what])]
    return out


def _names(text: str) -> tuple[str, ...]:
    return names_in(parse_expression(text)) if text.isidentifier() or "(" in text else ()
