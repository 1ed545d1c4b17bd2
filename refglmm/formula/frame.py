"""Formula + data -> rows: evaluated variables, subset, missing values, response, weights, offset.

Place in the reading order: after :mod:`refglmm.formula.centring`, before :mod:`refglmm.formula.contrasts`.

The order of events is R's (``help("model.frame")``): every variable, the weights and the offset are evaluated
on all rows (so ``scale(x)`` and ``poly(x, 2)`` learn from all of them), then ``subset`` selects rows, then
rows with a missing value are treated as ``na_action`` says, then unused levels are dropped. Means of ``gmc=`` and
``cwc=`` (:mod:`refglmm.formula.centring`) are those of the rows that are left: these are found first.

Responses of a binomial model are stored as proportions y = s / n with weights a n:

=========== ================================= =============== ==========
kind        text                              y               trials
=========== ================================= =============== ==========
cbind       ``cbind(successes, failures)``    s / (s + f)     s + f
proportion  numbers in [0, 1]                 as given        weights
binary      0/1 or truth values               0 / 1           --
factor      first level = failure             0 / 1           --
=========== ================================= =============== ==========

That of a censored one, ``cbind(value, code)``, is stored as the values, with the codes beside them.
The response of an ordinal model (kind ``"ordinal"``) is a factor, text, truth values or whole numbers; y is the number
of its level, from 0, in the order of the levels (of text: alphabetical, of numbers: ascending).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from refglmm.errors import (
    ArgumentError,
    DataError,
    FormulaError,
    MissingValuesError,
    ResponseError,
    ResponseWarning,
    WeightsError,
    warn,
)
from refglmm.formula.centring import Centring
from refglmm.formula.convert import Table, to_array, to_column, to_table
from refglmm.formula.evaluate import Scope
from refglmm.formula.expressions import Call, parse_expression
from refglmm.formula.grammar import Formula, expand_atoms, group_atoms, parse
from refglmm.formula.values import (
    Column,
    Factor,
    Logical,
    Matrix,
    as_factor,
    as_numeric,
    is_column,
    missing,
    take,
)

NA_ACTIONS = ("omit", "exclude", "fail", "pass")


@dataclass(frozen=True)
class ModelFrame:
    """The rows that a model is fitted to.

    Attributes
    ----------
    formula : Formula
        With ``.`` resolved.
    y, weights, offset : float array, shape (n,)
        Response (NaN-free unless ``na_action="pass"``), prior weights (times trials for ``cbind``) and the
        sum of all offsets.
    response_kind : str
        ``"numeric"``, ``"cbind"``, ``"proportion"``, ``"binary"``, ``"factor"``, ``"ordinal"``, ``"coded"`` or
        ``"none"``.
    response_levels : tuple of str
        Levels of a factor response, else empty.
    trials : float array or None
        Binomial totals.
    codes : float array or None
        Second column of a response ``cbind(value, code)``.
    index, full_index : pandas.Index
        Labels of the kept rows; of all rows after ``subset``.
    kept : bool array
        Which of ``full_index`` are kept.
    columns : mapping
        Every formula variable (R text) evaluated on the kept rows.
    states : mapping
        What stateful functions learned, by call text.
    env : mapping
        The caller's functions and arrays.
    offset_argument : str or None
        Text of the ``offset=`` argument, ``"<array>"`` if it was an array, None if there was none.
    factors : tuple of str
        Columns that are made categorical, in new data too.
    centring : Centring
        What is subtracted from which variables; ``raw`` has those less their grand mean as they were.
    notes : tuple of str
        What became of the data, for people: a wide response, means, rows left out.
    """

    formula: Formula
    y: np.ndarray
    weights: np.ndarray
    offset: np.ndarray
    response_kind: str
    trials: np.ndarray | None
    index: pd.Index
    full_index: pd.Index
    kept: np.ndarray
    na_action: str
    has_weights: bool
    has_offset: bool
    columns: Mapping[str, Column] = field(repr=False)
    raw: Mapping[str, Column] = field(repr=False)
    states: Mapping[str, Any] = field(repr=False)
    env: Mapping[str, Any] = field(repr=False)
    response_levels: tuple[str, ...] = ()
    offset_argument: str | None = None
    codes: np.ndarray | None = None
    factors: tuple[str, ...] = ()
    centring: Centring = field(default=Centring(), repr=False)
    notes: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.y)

    @functools.cached_property
    def data(self) -> pd.DataFrame:
        """The data columns used (kept rows, a copy); text and grouping truth values as Categorical."""
        groups = {a for term in self.formula.random for a in group_atoms(term.group)}
        elsewhere = set(expand_atoms([self.formula.fixed, *(t.expression for t in self.formula.random)]))
        out = {}
        for name, column in self.raw.items():
            if isinstance(column, Logical):
                only_group = name in groups and name not in elsewhere
                out[name] = _truth_values(column, only_group)
            else:
                out[name] = column.categorical() if isinstance(column, Factor) else np.array(column)
        return pd.DataFrame(out, index=self.index)

    def with_formula(self, formula: Formula) -> ModelFrame:
        """Return the same rows seen through another formula (one given as ``also=`` to :func:`build_frame`).

        Its offsets replace the offset; the ``offset=`` argument belongs to the main formula alone.
        """
        formula = formula.resolve_dot(self.raw)
        needed = _variables(formula)
        if lost := [text for text in needed if text not in self.columns]:
            raise FormulaError(f"variables {lost} were not evaluated; name the formula in also=", variables=lost)
        offset = np.zeros(self.n)
        for text in formula.offsets:
            offset = offset + as_numeric(self.columns[text], f"offset({text})")
        return replace(self, formula=formula, offset=offset, has_offset=bool(formula.offsets), offset_argument=None)


def _truth_values(column: Logical, as_category: bool) -> Any:
    if column.missing().any() or as_category:
        labels = np.where(column.values == 1, "TRUE", "FALSE").astype(object)
        labels[column.missing()] = None
        return pd.Categorical(labels, categories=["FALSE", "TRUE"])
    return column.values.astype(bool)


# Overflow and 0/0 in a formula are judged by their results (missing, infinite), not by warnings on the way.
@np.errstate(all="ignore")
def build_frame(
    formula: str | Formula,
    data: Any,
    *,
    binomial: bool,
    weights: Any = None,
    offset: Any = None,
    subset: Any = None,
    na_action: str = "omit",
    env: Mapping[str, Any] | None = None,
    ordinal: bool = False,
    coded: bool = False,
    also: Sequence[Formula] = (),
    check: Callable[[np.ndarray, np.ndarray], None] | None = None,
    factors: Iterable[str] = (),
    centring: Centring | None = None,
    notes: Sequence[str] = (),
) -> ModelFrame:
    """Join a formula to data.

    Parameters
    ----------
    formula : str or Formula
        Parsed if it is text. Without a left-hand side y is NaN and ``response_kind`` is ``"none"``.
    data : table
        pandas, dict of arrays, polars, Arrow; never changed.
    binomial : bool
        Whether the response is read as counts, proportions, truth values or a factor (table above).
    weights, offset : str, array-like or None
        A column name, an R expression or one value per row of ``data``. A Series is matched by label when it
        has all labels of ``data``, by position otherwise.
    subset : optional
        Truth values per row, row labels or positions, or an R expression such as ``"size > 3"``.
    na_action : {"omit", "exclude", "fail", "pass"}
        What happens to rows with missing values.
    env : mapping, optional
        The caller's functions and arrays for use in the formula.
    ordinal : bool
        The response is an ordered factor; y holds 0, 1, ....
    coded : bool
        The response may be ``cbind(value, code)``.
    also : sequence of Formula
        Further formulas (zero inflation, dispersion) whose variables are evaluated and share the
        missing-value rule; see :meth:`ModelFrame.with_formula`.
    check : callable, optional
        Family-specific check of (y, weights).
    factors : iterable of str
        Columns that become categorical before anything else (levels sorted; those of a category stay).
    centring : Centring, optional
        From :func:`refglmm.formula.centring.read_centring`, without means.
    notes : sequence of str
        What has been done to the data before.

    Returns
    -------
    ModelFrame
        Private copies throughout.

    Raises
    ------
    FormulaError, DataError, ResponseError, WeightsError, MissingValuesError
        Each names the variable, row or level.
    """
    if na_action not in NA_ACTIONS:
        raise ArgumentError(f"na_action must be one of {', '.join(NA_ACTIONS)}, not {na_action!r}")
    factors = tuple(factors)
    table = with_factors(to_table(data), factors)
    formula = parse(formula).resolve_dot(table.names)
    also = [extra.resolve_dot(table.names) for extra in also]
    selected = None if subset is None else subset_rows(subset, Scope(table, env or {}))

    def look(centring: Centring) -> tuple[Table, Scope, dict[str, Column], np.ndarray]:
        """The data less some means, the variables, and which of the selected rows stay."""
        seen = centring.table_of_fit(table)
        scope = Scope(seen, env or {}, shift=centring.grand)
        full = _evaluated(formula, also, scope, weights, offset)
        return seen, scope, full, _complete(full, selected, na_action, table.index)

    used, index = None, table.index
    if centring is not None:
        centring, used = centring.learn(table, lambda first: _positions(selected, look(first)[-1]))
    centring = centring or Centring()
    table, scope, full, kept = look(centring)
    if used is not None:
        _refuse_other_rows(used, _positions(selected, kept), index)
    raw = {name: table.column(name) for name in _names_used(formula, also) if name in table}
    final = _final_columns((*full.values(), *raw.values()), selected, kept)
    if ordinal and "\0response0" in full:
        _note_unused(full["\0response0"], final[id(full["\0response0"])], formula.response or "")
    full_index = table.index if selected is None else table.index[selected]
    frame = _assemble(
        formula,
        {text: final[id(column)] for text, column in full.items()},
        binomial=binomial,
        ordinal=ordinal,
        coded=coded,
        index=full_index if kept.all() else full_index[kept],
        full_index=full_index,
        kept=kept,
        na_action=na_action,
        raw={name: final[id(column)] for name, column in raw.items()},
        states=scope.states,
        env=dict(env or {}),
        factors=factors,
        centring=centring,
        notes=(*notes, *centring.notes, *_left_out(kept)),
        offset_argument=None if offset is None else (offset if isinstance(offset, str) else "<array>"),
    )
    if check is not None:
        check(frame.y, frame.weights)
    return frame


def with_factors(table: Table, factors: Iterable[str]) -> Table:
    """Return the table with some columns as factors; those that it does not have are left to whoever needs them."""

    def made(name: str) -> Callable[[], Column]:
        return lambda: as_factor(table.column(name), name)

    return table.with_columns({name: made(name) for name in factors if name in table})


def _evaluated(formula: Formula, also: Sequence[Formula], scope: Scope, weights: Any, offset: Any) -> dict[str, Column]:
    """Every variable of the formulas, the parts of the response, weights and offset, on all rows."""
    texts = dict.fromkeys(text for f in (formula, *also) for text in _variables(f))
    full = {text: scope.column(text) for text in texts}
    full.update({f"\0response{i}": part for i, part in enumerate(_response_parts(formula, scope))})
    if weights is not None:
        full["\0weights"] = _argument(weights, "weights", scope)
    if offset is not None:
        full["\0offset"] = _argument(offset, "offset", scope)
    return full


def _positions(selected: np.ndarray | None, kept: np.ndarray) -> np.ndarray:
    """Positions in the data of the rows that stay."""
    return np.flatnonzero(kept) if selected is None else selected[kept]


def _left_out(kept: np.ndarray) -> tuple[str, ...]:
    """How many rows miss a variable, if any do."""
    absent = int(np.sum(~kept))
    return (f"{absent} of {kept.size} rows left out: a variable is missing",) if absent else ()


def _refuse_other_rows(used: np.ndarray, kept: np.ndarray, index: pd.Index) -> None:
    """Raise where a variable, once centred, is missing in other rows than before (a logarithm, say)."""
    other = np.setxor1d(used, kept)
    if other.size:
        raise DataError(
            f"a variable of the formula is missing in other rows once gmc= or cwc= has centred it ({other.size} rows, "
            f"first {index[other[0]]!r}): transform it before centring, or write center() in the formula",
            row=index[other[0]],
            count=int(other.size),
        )


def _final_columns(columns: Iterable[Column], selected: np.ndarray | None, kept: np.ndarray) -> dict[int, Column]:
    """Kept rows and used levels of each column, by ``id``: a variable is often its own raw column."""
    rows = None
    if selected is not None:
        rows = selected[kept]
    elif not kept.all():
        rows = np.flatnonzero(kept)
    out: dict[int, Column] = {}
    for column in columns:
        if id(column) not in out:
            new = column if rows is None else take(column, rows)
            out[id(column)] = new.drop_unused() if isinstance(new, Factor) else new
    return out


@functools.lru_cache(maxsize=512)
def _variables(formula: Formula) -> tuple[str, ...]:
    """R texts that must be evaluated for a formula, apart from its response."""
    terms = expand_atoms([formula.fixed, *(term.expression for term in formula.random)])
    groups = [atom for term in formula.random for atom in group_atoms(term.group)]
    return tuple(dict.fromkeys([*terms, *groups, *formula.offsets]))


def _names_used(formula: Formula, also: Sequence[Formula]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for f in (formula, *also) for name in f.variables))


# --- weights, offset, subset, missing values ----------------------------------------------------------------


def _argument(value: Any, what: str, scope: Scope) -> np.ndarray:
    """Evaluate ``weights=`` or ``offset=`` on all rows."""
    n = len(scope.table)
    try:
        if isinstance(value, str):
            column = scope.table.column(value) if value in scope.table else scope.value(value)
        elif isinstance(value, int | float | np.number) and not isinstance(value, bool):
            column = np.full(n, float(value))
        else:
            column = to_column(aligned(value, scope.table.index), what, n)
        numbers = as_numeric(column, what)
    except WeightsError:
        raise
    except DataError as error:
        raise WeightsError(f"{what}: {error}", **error.facts) from None
    if not isinstance(numbers, np.ndarray):
        numbers = np.full(n, float(numbers))
    if numbers.shape != (n,):
        raise WeightsError(f"{what} has shape {numbers.shape}, the data has {n} rows; give one value per row")
    return numbers


def aligned(value: Any, index: pd.Index) -> Any:
    """A Series in the order of the data's row labels, where it has them all; anything else as it is."""
    if not isinstance(value, pd.Series) or value.index.equals(index):
        return value
    if value.index.is_unique and len(value) >= len(index) and index.isin(value.index).all():
        return value.reindex(index)
    return value


def subset_rows(subset: Any, scope: Scope) -> np.ndarray:
    """Positions of the rows that ``subset`` selects, in order."""
    n, index = len(scope.table), scope.table.index
    if isinstance(subset, str):
        subset = scope.column(subset)
        if not isinstance(subset, Logical):
            raise DataError("a subset expression must be true or false for every row, as in 'size > 3'")
        return np.flatnonzero(subset.values == 1)
    if isinstance(subset, slice):
        return np.arange(n)[subset]
    chosen = to_array(aligned(subset, index), "subset")
    if chosen.ndim != 1:
        raise DataError(f"subset has {chosen.ndim} dimensions; give one truth value or label per row")
    if chosen.dtype.kind == "b":
        if len(chosen) != n:
            raise DataError(f"subset has {len(chosen)} truth values, the data has {n} rows", rows=len(chosen))
        return np.flatnonzero(chosen)
    labels = pd.Index(chosen)
    if index.is_unique and labels.isin(index).all():
        return np.asarray(index.get_indexer(labels))
    if chosen.dtype.kind in "iu" and np.all((chosen >= 0) & (chosen < n)):
        return chosen.astype(np.intp)
    unknown = [label for label in chosen.tolist() if label not in index][:5]
    raise DataError(f"subset names rows that the data does not have: {unknown}", rows=unknown)


def _complete(full: Mapping[str, Column], selected: np.ndarray | None, na_action: str, index: pd.Index) -> np.ndarray:
    """Mark the selected rows (None: all rows) that stay after the missing-value rule."""
    keep = np.ones(len(index), dtype=bool)
    for text, column in full.items():
        absent = missing(column)
        if not absent.any():
            continue
        if na_action == "fail":
            _refuse_missing(text, np.flatnonzero(absent) if selected is None else selected[absent[selected]], index)
        keep &= ~absent
    if na_action == "pass":
        keep[:] = True
    kept = keep if selected is None else keep[selected]
    if not kept.any():
        raise DataError(
            f"0 (non-NA) cases: none of the {len(kept)} selected rows is complete; check subset and missing values",
            rows=len(kept),
        )
    return kept


def _refuse_missing(text: str, found: np.ndarray, index: pd.Index) -> None:
    if found.size:
        row = index[found[0]]
        raise MissingValuesError(
            f"missing values in {_display(text)!r} (first at row {row!r}); drop them or use na_action='omit'",
            variable=_display(text),
            row=row,
        )


def _display(text: str) -> str:
    if text.startswith("\0response"):
        return "response"
    return text.lstrip("\0")


# --- response -----------------------------------------------------------------------------------------------


def _response_parts(formula: Formula, scope: Scope) -> list[Column]:
    """Evaluate the left-hand side on all rows: one column, or the two of ``cbind``."""
    if formula.response is None:
        return []
    node = parse_expression(formula.response)
    try:
        if isinstance(node, Call) and node.function == "cbind" and not callable(scope.env.get("cbind")):
            if len(node.args) != 2:
                raise ResponseError(
                    f"{formula.response} has {len(node.args)} columns; a response is one column or "
                    "cbind(successes, failures), or repeated measures with within=",
                    response=formula.response,
                )
            parts = [scope.evaluate(value) for _, value in node.args]
        else:
            parts = [scope.column(formula.response)]
    except ResponseError:
        raise
    except DataError as error:
        raise ResponseError(f"response: {error}", **error.facts) from None
    n = len(scope.table)
    for part in parts:
        if isinstance(part, Matrix):
            raise ResponseError(
                f"the response {formula.response!r} is a matrix; use one column or cbind(successes, failures)",
                response=formula.response,
            )
    return [p if is_column(p) else np.full(n, as_numeric(p, formula.response)) for p in parts]


@dataclass(frozen=True)
class _Response:
    y: np.ndarray
    kind: str
    trials: np.ndarray | None = None
    levels: tuple[str, ...] = ()
    codes: np.ndarray | None = None


def _assemble(
    formula: Formula,
    columns: dict[str, Column],
    *,
    binomial: bool,
    ordinal: bool,
    coded: bool,
    index: pd.Index,
    **rest: Any,
) -> ModelFrame:
    n = len(index)
    has_weights = "\0weights" in columns
    given = columns.pop("\0weights", None)
    if given is None:
        weights = np.ones(n)
    else:
        weights = np.array(as_numeric(given), dtype=np.float64)
        _check_weights(weights, index)
    parts = [columns.pop(f"\0response{i}") for i in range(2) if f"\0response{i}" in columns]
    if coded and len(parts) == 2:
        response = _coded(parts, formula.response or "", index)
    else:
        response = _response(parts, formula.response or "", weights, has_weights, binomial, ordinal, index)
    if response.kind == "cbind":
        assert response.trials is not None
        weights = weights * response.trials
    argument = columns.pop("\0offset", None)
    offset = _total_offset(formula, columns, argument, n, index)
    return ModelFrame(
        formula=formula,
        y=response.y,
        weights=weights,
        offset=offset,
        response_kind=response.kind,
        trials=response.trials,
        response_levels=response.levels,
        codes=response.codes,
        index=index,
        has_weights=has_weights,
        has_offset=argument is not None or bool(formula.offsets),
        columns=columns,
        **rest,
    )


def _check_weights(weights: np.ndarray, index: pd.Index) -> None:
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        i = int(np.argmax(bad))
        raise WeightsError(
            f"weights must be finite and >= 0; row {index[i]!r} has {weights[i]:g}; correct or drop it",
            row=index[i],
            value=float(weights[i]),
        )


def _total_offset(
    formula: Formula, columns: Mapping[str, Column], argument: Column | None, n: int, index: pd.Index
) -> np.ndarray:
    total = np.zeros(n)
    if not formula.offsets and argument is None:
        return total
    for text in formula.offsets:
        total = total + as_numeric(columns[text], f"offset({text})")
    if argument is not None:
        total = total + as_numeric(argument, "offset")
    bad = ~np.isfinite(total)
    if bad.any():
        i = int(np.argmax(bad))
        raise WeightsError(
            f"the offset must be finite; row {index[i]!r} has {total[i]:g}; correct or drop it",
            row=index[i],
            value=float(total[i]),
        )
    return total


def _response(
    parts: list[Column],
    text: str,
    weights: np.ndarray,
    has_weights: bool,
    binomial: bool,
    ordinal: bool,
    index: pd.Index,
) -> _Response:
    if not parts:
        return _Response(np.full(len(index), np.nan), "none")
    if ordinal:
        return _ordinal(parts, text, index)
    if not binomial:
        return _numeric(parts, text, index)
    if len(parts) == 2:
        return _counts(parts, text, index)
    return _single_binomial(parts[0], text, weights, has_weights, index)


def _numeric(parts: list[Column], text: str, index: pd.Index) -> _Response:
    if len(parts) == 2:
        raise ResponseError(
            f"the response {text} has two columns; only binomial families and censored_normal take cbind() "
            "without within=",
            response=text,
        )
    if not isinstance(parts[0], np.ndarray):
        kind = "truth values" if isinstance(parts[0], Logical) else "a factor or text"
        raise ResponseError(
            f"the response {text!r} is not numeric ({kind}); use as.numeric() or a binomial family",
            response=text,
        )
    y = np.array(parts[0], dtype=np.float64)
    _check_finite(y, text, index)
    return _Response(y, "numeric")


def _coded(parts: list[Column], text: str, index: pd.Index) -> _Response:
    y, codes = (np.array(as_numeric(p, text), dtype=np.float64) for p in parts)
    _check_finite(y + codes, text, index)
    return _Response(y, "coded", codes=codes)


def _check_finite(y: np.ndarray, text: str, index: pd.Index) -> None:
    finite = np.isfinite(y)
    if not finite.all():
        i = int(np.argmin(finite))
        raise ResponseError(
            f"NA/NaN/Inf in 'y': response {text!r} is {y[i]:g} at row {index[i]!r}; correct or drop the row",
            response=text,
            row=index[i],
            count=int(y.size - finite.sum()),
        )


def _counts(parts: list[Column], text: str, index: pd.Index) -> _Response:
    success, failure = (np.array(as_numeric(p, text), dtype=np.float64) for p in parts)
    _check_finite(success + failure, text, index)
    bad = (success < 0) | (failure < 0)
    if bad.any():
        i = int(np.argmax(bad))
        raise ResponseError(
            f"negative count in {text}: row {index[i]!r} has ({success[i]:g}, {failure[i]:g}); "
            "the second column "
            "is failures, not totals",
            response=text,
            row=index[i],
        )
    trials = success + failure
    return _Response(np.divide(success, trials, out=np.zeros_like(trials), where=trials > 0), "cbind", trials)


def _single_binomial(column: Column, text: str, weights: np.ndarray, has_weights: bool, index: pd.Index) -> _Response:
    if isinstance(column, Factor):
        return _two_level(column, text, index)
    y = np.array(as_numeric(column, text), dtype=np.float64)
    _check_finite(y, text, index)
    bad = (y < 0) | (y > 1)
    if bad.any():
        i = int(np.argmax(bad))
        raise ResponseError(
            f"y values must be 0 <= y <= 1: response {text!r} is {y[i]:g} at row {index[i]!r}; "
            "use cbind(successes, failures) for counts",
            response=text,
            row=index[i],
            value=float(y[i]),
        )
    whole = bool(np.all((y == 0) | (y == 1)))
    if whole and not (has_weights and np.any(weights != 1)):
        return _Response(y, "binary")
    return _Response(y, "proportion", weights.copy() if has_weights else None)


def _two_level(column: Factor, text: str, index: pd.Index) -> _Response:
    if len(column.levels) < 2:
        raise ResponseError(
            f"the response {text!r} has only one level ({', '.join(column.levels)}); a binomial model needs two",
            response=text,
        )
    y = (column.codes > 0).astype(np.float64)
    y[column.codes < 0] = np.nan
    _check_finite(y, text, index)
    return _Response(y, "factor", None, tuple(column.levels))


def _note_unused(before: Column, after: Column, text: str) -> None:
    """Say which categories of an ordinal response no row has."""
    if not isinstance(before, Factor) or not isinstance(after, Factor) or len(before.levels) == len(after.levels):
        return
    unused = [level for level in before.levels.tolist() if level not in after.levels]
    warn(
        ResponseWarning(
            f"the response {text!r} has no row in {', '.join(map(repr, unused))}: the model is for the categories "
            f"{', '.join(map(repr, after.levels))}",
            levels=tuple(unused),
        )
    )


def _note_alphabet(column: Column, text: str) -> None:
    """Say that words are ordered by the alphabet, where nobody has said otherwise."""
    if not isinstance(column, Factor) or column.ordered or len(column.levels) < 3:
        return
    labels = column.levels.tolist()
    if labels == sorted(labels) and not all(label.lstrip("-").isdigit() for label in labels):
        warn(
            ResponseWarning(
                f"the categories of {text!r} stand in alphabetical order, {' < '.join(labels)}; make it an ordered "
                "Categorical to give them another, or to confirm this one",
                levels=tuple(labels),
            )
        )


def _ordinal(parts: list[Column], text: str, index: pd.Index) -> _Response:
    if len(parts) == 2:
        raise ResponseError(f"an ordinal response is one column, not {text}", response=text)
    if isinstance(parts[0], np.ndarray):
        y = np.array(parts[0], dtype=np.float64)
        _check_finite(y, text, index)
        whole = y == np.floor(y)
        if not whole.all():
            i = int(np.argmin(whole))
            raise ResponseError(
                f"an ordinal response is a factor, text or whole numbers: response {text!r} is {y[i]:g} at row "
                f"{index[i]!r}; cut it into categories",
                response=text,
                row=index[i],
            )
    factor = as_factor(parts[0], text)
    if factor.missing().any():
        raise ResponseError(f"NA/NaN/Inf in 'y': response {text!r} has missing levels; drop them", response=text)
    _note_alphabet(parts[0], text)
    if len(factor.levels) < 2:
        raise ResponseError(f"the response {text!r} has only one level; an ordinal model needs two", response=text)
    return _Response(factor.codes.astype(np.float64), "ordinal", None, tuple(factor.levels))


def evaluate_new(frame: ModelFrame, newdata: Any) -> tuple[Table, Scope]:
    """Open new data with what the fit remembers.

    Parameters
    ----------
    frame : ModelFrame
        The frame of the fit.
    newdata : table
        As for :func:`build_frame`.

    Returns
    -------
    table, scope
        The scope uses the fit's factors, means, stateful transforms and ``env``.
    """
    table = frame.centring.table_of_new(with_factors(to_table(newdata), frame.factors))
    return table, Scope(table, frame.env, frame.states, frame.centring.grand)


def new_response(frame: ModelFrame, newdata: Any, weights: np.ndarray) -> np.ndarray:
    """Response of new data, coded as the frame holds its own (binomial: proportions).

    Parameters
    ----------
    weights : float array, shape (m,)
        Numbers of trials of a binomial response, else ones.

    Returns
    -------
    float array, shape (m,)

    Raises
    ------
    ResponseError
        Missing variables, missing or impossible values, levels that the response of the fit does not have.
    """
    table, scope = evaluate_new(frame, newdata)
    parts, text = _response_parts(frame.formula, scope), frame.formula.response or ""
    if frame.response_kind == "factor":
        column = as_factor(parts[0], text)
        codes = column.recode(np.array(frame.response_levels, dtype=object))
        if np.any(codes < 0):
            row = table.index[int(np.argmax(codes < 0))]
            raise ResponseError(
                f"the response {text!r} is missing or has an unknown level at row {row!r}; the fit knows "
                f"{', '.join(frame.response_levels)}",
                row=row,
            )
        return (codes > 0).astype(np.float64)
    binomial = frame.response_kind in ("cbind", "proportion", "binary")
    ordinal = frame.response_kind == "ordinal"
    return _response(parts, text, weights, True, binomial, ordinal, table.index).y
