"""Expression tree + columns -> value. No text is ever handed to Python's ``eval``.

Place in the reading order: after :mod:`refglmm.formula.transforms`, before :mod:`refglmm.formula.reshape`.

Names are looked up in the data, then in the caller's ``env``, then among ``pi``, ``T`` and ``F``. Functions
come from ``env`` or from the lists in :mod:`refglmm.formula.transforms`. Truth values have three states as in
R (missing compared with anything is missing); ``missing & FALSE`` is FALSE, ``missing | TRUE`` is TRUE.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np

from refglmm.errors import DataError, FormulaError, RefglmmError
from refglmm.formula.convert import Table, to_column
from refglmm.formula.expressions import (
    Binary,
    Call,
    Constant,
    Name,
    Node,
    Number,
    Paren,
    String,
    Unary,
    deparse,
    parse_expression,
)
from refglmm.formula.grammar import STRUCTURES
from refglmm.formula.transforms import PLAIN, STATEFUL
from refglmm.formula.values import Column, Factor, Logical, Matrix, Value, as_numeric, is_column, scalar_label

_CONSTANTS: dict[str, Value] = {
    "TRUE": True,
    "FALSE": False,
    "NULL": None,
    "NA": float("nan"),
    "NaN": float("nan"),
    "Inf": float("inf"),
}
_FALLBACKS: dict[str, Value] = {"pi": float(np.pi), "T": True, "F": False}
_LONGEST_RANGE = 100_000


class Scope:
    """Where names and functions are found, and what stateful functions remember.

    Parameters
    ----------
    table : Table
        The data.
    env : mapping
        The caller's own functions and arrays.
    states : dict or None
        What stateful functions learned, by call text. None at the fit: it is filled.
    shift : mapping, optional
        Number that is subtracted from a numeric column of the data wherever its name stands (its grand mean).
    """

    def __init__(
        self,
        table: Table,
        env: Mapping[str, Any],
        states: Mapping[str, Any] | None = None,
        shift: Mapping[str, float] | None = None,
    ) -> None:
        self.table = table
        self.shift = shift or {}
        self.env = env
        self.fitting = states is None
        self.states: dict[str, Any] = {} if states is None else dict(states)
        self._values: dict[str, Value] = {}

    def value(self, text: str) -> Value:
        """Evaluate an expression, once per text."""
        if text not in self._values:
            with np.errstate(all="ignore"):
                self._values[text] = self.evaluate(parse_expression(text))
        return self._values[text]

    def column(self, text: str) -> Column:
        """Evaluate an expression that must have one entry per row.

        Raises
        ------
        DataError
            Unknown variable, a constant, or the wrong number of rows.
        """
        value = self.value(text)
        if not is_column(value):
            raise DataError(f"{text!r} is a constant, not a column; use a variable of the data", variable=text)
        if len(value) != len(self.table):
            raise DataError(
                f"{text!r} has {len(value)} rows but the data has {len(self.table)}; make them equal",
                variable=text,
                rows=len(value),
            )
        return value

    def evaluate(self, node: Node) -> Value:
        """Evaluate a tree."""
        match node:
            case Number(value) | String(value):
                return value
            case Constant(text):
                return _CONSTANTS[text]
            case Name(name):
                return self.lookup(name)
            case Paren(inner):
                return self.evaluate(inner)
            case Unary(op, operand):
                return _unary(op, self.evaluate(operand), deparse(node))
            case Binary(op, left, right):
                return _binary(op, self.evaluate(left), self.evaluate(right), node)
            case Call():
                return self.call(node)
        raise FormulaError(f"cannot evaluate {node!r}")

    def lookup(self, name: str) -> Value:
        """Find a variable."""
        if name in self.table:
            column = self.table.column(name)
            return as_numeric(column, name) - self.shift[name] if name in self.shift else column
        if name in self.env and not callable(self.env[name]):
            value = self.env[name]
            if isinstance(value, bool | int | float | str | np.integer | np.floating) or value is None:
                return float(value) if isinstance(value, np.integer | np.floating | int) else value
            return to_column(value, name, len(self.table))
        if name in _FALLBACKS:
            return _FALLBACKS[name]
        near = difflib.get_close_matches(name, self.table.names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"columns are {_listed(self.table.names)}"
        where = "neither in the data nor in env" if self.env else "not in the data"
        raise DataError(f"variable {name!r} is {where}; {hint}", variable=name)

    def call(self, node: Call) -> Value:
        """Call a known function; its failures come back as errors of the formula."""
        name, text = node.function, deparse(node)
        positional = [self.evaluate(value) for key, value in node.args if key is None]
        named = {k.lower().replace(".", "_"): self.evaluate(v) for k, v in node.args if k is not None}
        own = self.env.get(name)
        try:
            if callable(own):
                return _own_result(own(*map(_plain, positional), **named), text, len(self.table))
            if name in STATEFUL:
                known = None if self.fitting else self.states.get(text)
                value, self.states[text] = STATEFUL[name](known, *positional, **named)
                return value
            if name in PLAIN:
                return PLAIN[name](*positional, **named)
        except RefglmmError as error:
            raise type(error)(f"in {text}: {error}", **{"piece": text, **error.facts}) from None
        except Exception as error:  # whatever a foreign or misused function raises is a fault of the formula
            raise FormulaError(f"{text} could not be evaluated: {error}", piece=text) from error
        raise _unknown_function(name, text)


def _unknown_function(name: str, text: str) -> FormulaError:
    near = difflib.get_close_matches(name, [*PLAIN, *STATEFUL, *STRUCTURES], n=1)
    hint = f"did you mean {near[0]}()?" if near else f"pass it in env={{{name!r}: ...}}"
    return FormulaError(f"unknown function {name}() in {text}; {hint}", piece=text, function=name)


def _listed(names: tuple[str, ...], most: int = 12) -> str:
    shown = ", ".join(map(repr, names[:most]))
    return shown + (f", ... ({len(names)} in all)" if len(names) > most else "") if names else "none"


def _plain(value: Value) -> Any:
    """Hand a value to the caller's own function as NumPy or pandas has it (always a copy)."""
    if isinstance(value, Factor):
        return value.categorical()
    if isinstance(value, Logical):
        return value.values.astype(bool) if not value.missing().any() else value.values.copy()
    if isinstance(value, Matrix):
        return value.values.copy()
    return value.copy() if isinstance(value, np.ndarray) else value


def _own_result(value: Any, text: str, n: int) -> Value:
    if isinstance(value, bool | int | float | str):
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    array = np.asarray(value)
    if array.ndim == 2 and array.dtype.kind in "iufb" and array.shape[1] > 0:
        names = tuple(map(str, value.columns)) if hasattr(value, "columns") else None
        return Matrix(array.astype(np.float64), names or tuple(str(j + 1) for j in range(array.shape[1])))
    if array.ndim == 0 and array.dtype.kind in "iuf":
        return float(array)
    return to_column(value, text, n)


# --- operators ----------------------------------------------------------------------------------------------


def _unary(op: str, x: Value, text: str) -> Value:
    if op == "!":
        return _logical(1.0 - _truth(x, text))
    return as_numeric(x, text) if op == "+" else -as_numeric(x, text)


def _truth(x: Value, text: str) -> Any:
    values = as_numeric(x, text)
    return np.where(np.isnan(values), np.nan, np.not_equal(values, 0.0))


def _logical(values: Any) -> Value:
    """Wrap truth values; a single one stays a Python bool (NaN for missing)."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim == 0:
        return float("nan") if np.isnan(values) else bool(values)
    return Logical(values)


_ARITHMETIC = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "^": np.power,
    "%%": np.mod,
    "%/%": np.floor_divide,
}
_COMPARISON = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    ">": np.greater,
    "<=": np.less_equal,
    ">=": np.greater_equal,
}


def _binary(op: str, x: Value, y: Value, node: Binary) -> Value:
    if op in _ARITHMETIC:
        text = repr(deparse(node))
        a, b = as_numeric(x, text), as_numeric(y, text)
        out = _ARITHMETIC[op](np.asarray(a), np.asarray(b))
        return out if out.ndim else float(out)
    if op in _COMPARISON:
        return _compare(op, x, y, deparse(node))
    if op in ("&", "|", "&&", "||"):
        a, b = _truth(x, deparse(node)), _truth(y, deparse(node))
        # Min and max of {0, nan, 1} in three-valued logic: FALSE decides '&', TRUE decides '|'.
        decided = 0.0 if op[0] == "&" else 1.0
        out = np.minimum(a, b) if op[0] == "&" else np.maximum(a, b)
        return _logical(np.where((a == decided) | (b == decided), decided, out))
    if op == "%in%":
        return _member(x, y)
    if op == ":":
        return _range(x, y, deparse(node))
    raise FormulaError(f"operator {op!r} has no meaning in {deparse(node)!r}", piece=op)


def _compare(op: str, x: Value, y: Value, text: str) -> Value:
    if not isinstance(x, Factor | str) and not isinstance(y, Factor | str):
        a, b = np.asarray(as_numeric(x, text)), np.asarray(as_numeric(y, text))
        out = _COMPARISON[op](a, b).astype(np.float64)
        return _logical(np.where(np.isnan(a) | np.isnan(b), np.nan, out))
    if isinstance(y, Factor) and not isinstance(x, Factor):
        swapped = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}.get(op, op)
        return _compare(swapped, y, x, text)
    if not isinstance(x, Factor):
        if isinstance(x, str) and isinstance(y, str):
            return bool(_COMPARISON[op](x, y))
        raise DataError(f"cannot compare numbers with text in {text}; use factor() or numbers")
    if op not in ("==", "!=") and not x.ordered:
        raise DataError(f"{text}: '<' and '>' need an ordered factor; use ordered()")
    if isinstance(y, Factor):
        codes = y.recode(x.levels)
        outside = (codes < 0) & (y.codes >= 0)
        absent = x.missing() | y.missing()
    elif is_column(y):
        raise DataError(f"cannot compare a factor with a numeric column in {text}; use as.factor()")
    else:
        label = scalar_label(y)
        codes = np.asarray(next((i for i, v in enumerate(x.levels) if v == label), -1))
        outside, absent = codes < 0, x.missing()
    if op not in ("==", "!=") and np.any(outside):
        raise DataError(f"{text}: the value is not one of the levels {list(x.levels)}")
    out = _COMPARISON[op](x.codes, codes).astype(np.float64)
    return _logical(np.where(absent, np.nan, out))


def _member(x: Value, y: Value) -> Value:
    items = y if isinstance(y, tuple) else (y,)
    if any(is_column(item) for item in items):
        raise FormulaError("the right side of %in% must be a list such as c(1, 2)", piece="%in%")
    if isinstance(x, Factor):
        wanted = {scalar_label(item) for item in items}
        table = np.array([*(level in wanted for level in x.levels), False], dtype=np.float64)
        return Logical(table[x.codes])
    numbers = [float(item) for item in items if isinstance(item, bool | int | float)]
    return _logical(np.isin(as_numeric(x, "%in%"), numbers))


def _range(x: Value, y: Value, text: str) -> Value:
    scalars = all(isinstance(v, int | float) and np.isfinite(v) for v in (x, y))
    if not scalars or abs(y - x) > _LONGEST_RANGE:
        raise FormulaError(f"{text}: ':' inside a function makes a short range of numbers, as in 1:3", piece=text)
    step = 1.0 if y >= x else -1.0
    return tuple(float(v) for v in np.arange(x, y + step * 1e-9, step))
