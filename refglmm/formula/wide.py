"""A model with a wide response: ``cbind(y1, ..., yk) ~ time + (1 | id)``.

Place in the reading order: after :mod:`refglmm.formula.reshape`, before :mod:`refglmm.formula.centring`.

The formula is about the long table (:mod:`refglmm.formula.reshape` says which row holds which measurement), whose
columns are made when they are asked for. A measurement that is missing is a missing response, so that the model leaves
out the row of that measurement alone.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, DataError, ResponseError
from refglmm.formula.convert import Table
from refglmm.formula.evaluate import Scope
from refglmm.formula.expressions import Binary, Call, Name, deparse, names_in, parse_expression
from refglmm.formula.grammar import Formula
from refglmm.formula.reshape import Cells, read_cells
from refglmm.formula.values import Column, Factor, Logical, Matrix, as_numeric, take

#: What the response of a long table is called, the first that no column of the data has.
RESPONSE_NAMES = ("y", "response", "y_long")
_CONSTANTS = ("pi", "T", "F")


@dataclass(frozen=True)
class Wide:
    """A model's wide response, found in its formula.

    Attributes
    ----------
    cells : Cells
    response : str
        Name of the long response.
    identifier : str or None
        Grouping variable that the data lacks: it numbers the wide rows from 1.
    """

    cells: Cells
    response: str
    identifier: str | None

    @property
    def made(self) -> tuple[str, ...]:
        """Variables that the long table has and the wide one has not."""
        return (*self.cells.factors, *([self.identifier] if self.identifier else []), self.response)

    @property
    def notes(self) -> tuple[str, ...]:
        """What became of the data, in words."""
        cells = f"Wide response {self.response}, {self.cells}"
        return (cells, f"{self.identifier} numbers the rows of the wide data") if self.identifier else (cells,)

    def written(self, formula: Formula) -> Formula:
        """Return the formula with its wide response, columns written out; the inverse of :meth:`long_formula`."""
        return replace(formula, response=f"cbind({', '.join(self.cells.columns)})")

    def long_formula(self, formula: Formula) -> Formula:
        """Return the formula of the long table."""
        long = replace(formula, response=self.response)
        return replace(long, text=long.expanded)

    def long_table(self, wide: Table, env: Mapping[str, Any]) -> Table:
        """Return the long table, columns made when they are asked for (see the head of this module)."""
        n, k = len(wide), len(self.cells.columns)
        rows = np.repeat(np.arange(n), k)
        used = {name for text in self.cells.columns for name in names_in(parse_expression(text))}
        others = [name for name in wide.names if name not in used]
        made: dict[str, Callable[[], Column]] = {
            name: functools.partial(self.cells.factor, name, n) for name in self.cells.factors
        }
        made[self.response] = lambda: interleaved(self.cells.columns, [_cell(t, wide, env) for t in self.cells.columns])
        if self.identifier:
            made[self.identifier] = lambda: rows + 1

        def column(name: str) -> Column:
            return made[name]() if name in made else take(wide.column(name), rows)

        return Table((*others, *made), pd.RangeIndex(n * k), column)

    def long_rows(self, value: Any, index: pd.Index) -> Any:
        """Repeat an argument that has one entry for each wide row (by label, if it is a Series); others stay."""
        if value is None or isinstance(value, str | Mapping | slice) or np.ndim(value) != 1 or len(value) != len(index):
            return value
        if isinstance(value, pd.Series) and value.index.is_unique and index.isin(value.index).all():
            value = value.reindex(index)
        return np.repeat(np.asarray(value), len(self.cells.columns))


def _cell(text: str, table: Table, env: Mapping[str, Any]) -> Column:
    try:
        return Scope(table, env).column(text)
    except DataError as error:
        raise ResponseError(f"response: {error}", **error.facts) from None


def find_wide(
    formula: Formula,
    parts: Iterable[Formula],
    table: Table,
    within: Any,
    *,
    pairs: bool,
    made: Callable[[str], bool],
    env: Mapping[str, Any],
) -> Wide | None:
    """See whether the response of a model is wide, and what its columns are.

    Parameters
    ----------
    formula : Formula
    parts : iterable of Formula
        Of the zero part and the dispersion.
    table : Table
        The wide data.
    within : mapping or None
        See :func:`read_cells`. None: a response ``cbind()`` with more columns than the family takes is wide if just one
        variable of the right-hand side is absent from the data, and that is the within factor.
    pairs : bool
        Whether the family takes ``cbind()`` of two columns as one response.
    made : callable
        Whether a variable will be made from the table (by ``cwc=``).
    env : mapping
        The caller's functions and arrays.

    Returns
    -------
    Wide or None

    Raises
    ------
    ArgumentError, DataError, ResponseError
        Naming the columns, levels or variables at fault.
    """
    node = None if formula.response is None else parse_expression(formula.response)
    if not isinstance(node, Call) or node.function != "cbind" or callable(env.get("cbind")):
        if within is not None:
            raise ArgumentError(
                f"within= needs a wide response, as in 'cbind(y1, y2, y3) ~ ...', not {formula.response}",
                response=formula.response,
            )
        return None
    columns = _written_out(node, table)
    whole = (formula, *parts)

    def known(name: str) -> bool:
        return name in table or name in env or name in _CONSTANTS or made(name)

    if within is None:
        absent = [name for name in _predictors(whole) if not known(name)]
        if (pairs and len(columns) == 2) or not absent:
            return None
        if len(absent) > 1:
            raise DataError(
                f"the data has no columns {', '.join(map(repr, absent))}; if one of them is the within factor of "
                f"{formula.response}, name it: within={{{absent[0]!r}: {len(columns)}}}",
                columns=tuple(absent),
            )
        within = {absent[0]: len(columns)}
    cells = read_cells(columns, within)
    _refuse_clashes(cells, whole, table)
    return Wide(cells, _response_name(table, cells, whole), _identifier(whole, cells, table, known))


def _written_out(node: Call, table: Table) -> tuple[str, ...]:
    """Texts of the columns of ``cbind()``, a range ``y1:y4`` by the order of the columns of the data."""
    out: list[str] = []
    for _, part in node.args:
        out += _range(part, table) if isinstance(part, Binary) and part.op == ":" else [deparse(part)]
    return tuple(out)


def _range(node: Binary, table: Table) -> list[str]:
    text = deparse(node)
    if not isinstance(node.left, Name) or not isinstance(node.right, Name):
        raise ResponseError(f"a range of columns is name:name, not {text}", piece=text)
    ends = (node.left.name, node.right.name)
    for name in ends:
        if name not in table:
            raise ResponseError(f"response: the data has no column {name!r} (of {text})", column=name)
    first, last = (table.names.index(name) for name in ends)
    if first > last:
        raise ResponseError(f"{text}: column {ends[1]!r} stands before {ends[0]!r} in the data", piece=text)
    return [deparse(Name(name)) for name in table.names[first : last + 1]]


def _names_of(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for text in texts for name in names_in(parse_expression(text)) if name != "."))


def _predictors(formulas: Iterable[Formula]) -> list[str]:
    """Variables of right-hand sides, those of grouping factors left out."""
    return _names_of(t for f in formulas for t in (f.fixed, *f.offsets, *(term.expression for term in f.random)))


def _groups(formulas: Iterable[Formula]) -> list[str]:
    return _names_of(term.group for f in formulas for term in f.random)


def _refuse_clashes(cells: Cells, formulas: Sequence[Formula], table: Table) -> None:
    """Refuse names that would mean two things in the long table."""
    for name in cells.factors:
        if name in table:
            raise DataError(
                f"the data has a column {name!r} already; give the within factor another name, or drop the column",
                column=name,
            )
    for text in cells.columns:
        for name in names_in(parse_expression(text)):
            if name in (*_predictors(formulas), *_groups(formulas)):
                raise ResponseError(
                    f"{name!r} is a column of the wide response and stands on the right-hand side as well; copy it "
                    "under another name for use as a predictor",
                    column=name,
                )


def _response_name(table: Table, cells: Cells, formulas: Sequence[Formula]) -> str:
    """Name of the long response that nothing else has."""
    used = {name for text in cells.columns for name in names_in(parse_expression(text))}
    taken = {*table.names, *cells.factors, *_predictors(formulas), *_groups(formulas)} - used
    for name in RESPONSE_NAMES:
        if name not in taken:
            return name
    raise DataError(
        f"the long response needs a name, but {', '.join(map(repr, RESPONSE_NAMES))} are columns already; rename one",
        columns=RESPONSE_NAMES,
    )


def _identifier(formulas: Sequence[Formula], cells: Cells, table: Table, known: Callable[[str], bool]) -> str | None:
    """The grouping variable that stands for the wide row, if the data lacks one."""
    absent = [name for name in _groups(formulas) if not known(name) and name not in cells.factors]
    if not absent:
        return None
    if len(absent) > 1:
        raise DataError(
            f"the data lacks the grouping variables {', '.join(map(repr, absent))}; one at most can stand for the row "
            "of the wide data",
            columns=tuple(absent),
        )
    near = difflib.get_close_matches(absent[0], table.names, n=1, cutoff=0.8)
    if near:
        raise DataError(
            f"the grouping variable {absent[0]!r} is not in the data; did you mean {near[0]!r}? To number the rows of "
            "the wide data, choose a name that is no other column's likeness, e.g. (1 | row)",
            column=absent[0],
        )
    return absent[0]


def interleaved(names: Sequence[str], columns: Sequence[Column]) -> Column:
    """One column of the entries of several, row by row: the long response.

    Raises
    ------
    ResponseError
        If they are not all numbers, all truth values or all factors with levels in one order.
    """
    kinds = {type(column) for column in columns}
    if Matrix in kinds or (Factor in kinds and len(kinds) > 1):
        odd = next(n for n, c in zip(names, columns) if isinstance(c, Matrix) or type(c) is not type(columns[0]))
        raise ResponseError(
            f"the columns of a wide response must be of one kind; {odd!r} is of another than {names[0]!r}", column=odd
        )
    if kinds == {Factor}:
        levels, ordered = _common_levels(names, [c for c in columns if isinstance(c, Factor)])
        codes = np.stack([c.recode(levels) for c in columns if isinstance(c, Factor)], axis=1)
        return Factor(codes.ravel(), levels, ordered)
    values = np.stack([as_numeric(c, name) for name, c in zip(names, columns)], axis=1).ravel()
    return Logical(values) if kinds == {Logical} else values


def _common_levels(names: Sequence[str], factors: Sequence[Factor]) -> tuple[NDArray[Any], bool]:
    """Levels of all columns: those of the one that has them all, in its order; else all of them, if sorted."""
    longest = max(factors, key=lambda factor: len(factor.levels))
    if all(_in_order(factor.levels, longest.levels) for factor in factors):
        return longest.levels, longest.ordered
    if all(_in_order(factor.levels, sorted(factor.levels)) and not factor.ordered for factor in factors):
        return np.array(sorted({level for factor in factors for level in factor.levels}), dtype=object), False
    odd = next(i for i, factor in enumerate(factors) if not _in_order(factor.levels, longest.levels))
    raise ResponseError(
        f"the columns of a wide response have different levels: {names[odd]!r} has {', '.join(factors[odd].levels)}, "
        f"another column {', '.join(longest.levels)}; give them the same categories",
        column=names[odd],
    )


def _in_order(some: Iterable[str], levels: Iterable[str]) -> bool:
    """Whether the labels occur among the levels, in their order."""
    rest = iter(levels)
    return all(label in rest for label in some)
