r"""Reference grids: which variables the fixed part has, the combinations of their values, and their rows of X.

Place in the reading order: first of ``effects``. A mean or an effect is a linear function :math:`\ell'\beta + o` of
the fixed effects. Its :math:`\ell` is a row of the model matrix for one combination of values, or an average of
such rows,

.. math:: \ell_c = \sum_g \omega_{cg}\, x(c, g), \qquad \sum_g \omega_{cg} = 1

with c a combination of the variables asked for, g one of the other factors. Rows come from
:meth:`.Design.fixed_matrix`, so contrasts, interactions and stateful transforms are those of the fit. Baselines:
numeric variables stand at their mean over the rows used; factors are averaged over, or stand at their most frequent
level, as the caller says; the offset stands at its mean over the rows used (as in emmeans), except for ``offset()``
terms one of whose variables the caller has put somewhere: these are evaluated there.

Where columns of X were dropped for rank deficiency, :math:`\ell'\beta` is estimable only if :math:`\ell` lies in
the row space of X: with :math:`X_d = X_k A`, if :math:`\ell_d = A'\ell_k`.

Source: Searle, Speed and Milliken (1980), "Population marginal means in the linear model"; the weights are those
that R's emmeans describes (``help("emmeans")``).
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.formula.expressions import Call, Name, Node, names_in, parse_expression, walk
from refglmm.formula.frame import evaluate_new
from refglmm.formula.transforms import TO_FACTOR
from refglmm.formula.values import as_numeric, scalar_label

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

WEIGHTS = ("equal", "proportional", "outer", "cells")
#: Functions that make a factor of the variable they are given: it is categorical although its column is not.
#: Rows of a grid beyond which somebody has crossed what cannot be crossed.
LARGEST_GRID = 500_000
#: Relative error up to which a linear function counts as one of the rows of X.
ESTIMABLE = 1e-8


@dataclass(frozen=True, eq=False)
class Variable:
    """A column of the data that the model uses, other than as response or grouping factor.

    Attributes
    ----------
    name : str
    column : Series
        Values in the rows used. Never changed.
    categorical : bool
        A factor, text, truth values, or a number that the formula turns into a factor.
    fixed : bool
        Whether the fixed part uses it (else only random slopes or the offset do).
    offset_only : bool
        Whether nothing but ``offset()`` uses it.
    """

    name: str
    column: pd.Series
    categorical: bool
    fixed: bool
    offset_only: bool

    @cached_property
    def values(self) -> list[Any]:
        """Distinct values: levels in their order, numbers ascending."""
        if isinstance(self.column.dtype, pd.CategoricalDtype):
            return list(self.column.cat.categories)
        return np.unique(self.column.to_numpy()).tolist()

    @property
    def numeric(self) -> bool:
        """Whether it is a quantity."""
        return not self.categorical

    @cached_property
    def mean(self) -> float:
        """Mean over the rows used."""
        return float(self.column.mean())

    @cached_property
    def mode(self) -> Any:
        """Most frequent value; the first of several."""
        counts = np.bincount(self.codes(self.values), minlength=len(self.values))
        return self.values[int(np.argmax(counts))]

    @property
    def baseline(self) -> Any:
        """Where it stands when nobody says otherwise: mean, or most frequent level."""
        return self.mode if self.categorical else self.mean

    def codes(self, values: Sequence[Any]) -> NDArray[np.int64]:
        """Position of each row's value among some of its values; -1 where it is none of them."""
        return np.asarray(pd.Index(values, dtype=object).get_indexer(self.column.astype(object)), dtype=np.int64)

    def typed(self, values: Iterable[Any]) -> Any:
        """Values as a column of the kind that the fit was given."""
        dtype = self.column.dtype
        if isinstance(dtype, pd.CategoricalDtype):
            return pd.Categorical(list(values), dtype=dtype)
        return np.asarray(list(values), dtype=dtype if self.categorical else np.float64)

    def checked(self, given: Any) -> list[Any]:
        """Values that a caller names, as the column holds them.

        Raises
        ------
        ArgumentError
            For an unknown level (naming those there are) or something that is not a finite number.
        """
        listed = list(given) if isinstance(given, list | tuple | np.ndarray | pd.Series | pd.Index) else [given]
        if not listed:
            raise ArgumentError(f"no values given for {self.name!r}; give one at least", variable=self.name)
        return [self._level(v) if self.categorical else self._number(v) for v in listed]

    def _level(self, value: Any) -> Any:
        for level in self.values:
            if scalar_label(level) == scalar_label(value):
                return level
        raise ArgumentError(
            f"{value!r} is not a level of {self.name!r}; its levels are {_listed(self.values)}",
            variable=self.name,
            level=value,
        )

    def _number(self, value: Any) -> float:
        number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool | np.bool_)
        if not number or not np.isfinite(value):
            raise ArgumentError(
                f"{self.name!r} is numeric; {value!r} is not a finite number", variable=self.name, value=value
            )
        return float(value)


def _listed(values: Sequence[Any], most: int = 12) -> str:
    more = f", ... ({len(values)} in all)" if len(values) > most else ""
    return ", ".join(repr(v) for v in values[:most]) + more


# --- the variables of a model -------------------------------------------------------------------------------


def model_variables(fit: FittedModel) -> dict[str, Variable]:
    """Variables of the fixed part (in order of appearance), then those of random slopes and offsets only."""
    frame, design = fit.frame, fit.design
    texts = [*design.matrix.terms.used, *(t for term in design.terms for t in term.matrix.used)]
    fixed, used = set(_names(design.matrix.terms.used)), _names(texts)
    out = {}
    for name in dict.fromkeys([*used, *_names(frame.formula.offsets)]):
        if name in frame.raw:
            column = frame.data[name]
            out[name] = Variable(name, column, _is_categorical(column, name, texts), name in fixed, name not in used)
    return out


def _names(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for text in texts for name in names_in(parse_expression(text))))


def _is_categorical(column: pd.Series, name: str, texts: Iterable[str]) -> bool:
    if not pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        return True
    return any(_makes_factor(node, name) for text in texts for node in walk(parse_expression(text)))


def _makes_factor(node: Node, name: str) -> bool:
    return isinstance(node, Call) and node.function in TO_FACTOR and bool(node.args) and node.args[0][1] == Name(name)


def find_variable(variables: Mapping[str, Variable], name: str, argument: str) -> Variable:
    """Variable by name.

    Raises
    ------
    ArgumentError
        Naming the variables there are.
    """
    if name in variables:
        return variables[name]
    near = difflib.get_close_matches(str(name), list(variables), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ArgumentError(
        f"{argument}: the model has no variable {name!r}; {hint}variables are {_listed(list(variables)) or 'none'}",
        variable=name,
    )


#: A name in backticks, which may hold anything, or one that ends at a separator.
_NAME = re.compile(r"`([^`]+)`|([^\s:*+,`]+)")


def parse_names(text: Any, argument: str) -> tuple[list[str], list[str]]:
    """Read ``"a"``, ``"a:b"``, ``"~ a * b | c"`` or a list of names: those asked for, and those behind the bar."""
    if not isinstance(text, str):
        if not isinstance(text, Iterable) or not all(isinstance(t, str) for t in text):
            raise ArgumentError(f"{argument} must be a name, 'a:b' or a list of names, not {text!r}")
        return list(dict.fromkeys(text)), []
    asked, _, behind = text.strip().removeprefix("~").partition("|")
    parts = [[quoted or bare for quoted, bare in _NAME.findall(side)] for side in (asked, behind)]
    if not parts[0]:
        raise ArgumentError(f"{argument} names no variable: {text!r}")
    return list(dict.fromkeys(parts[0])), list(dict.fromkeys(parts[1]))


def check_at(variables: Mapping[str, Variable], at: Mapping[str, Any] | None) -> dict[str, list[Any]]:
    """Values that ``at`` gives, checked and as lists."""
    if at is None:
        return {}
    if not isinstance(at, Mapping):
        raise ArgumentError(f"at must map variables to values, as in at={{'x': [0, 1]}}, not {at!r}")
    return {name: find_variable(variables, name, "at").checked(given) for name, given in at.items()}


# --- combinations and their rows ----------------------------------------------------------------------------


def cross(variables: Mapping[str, Variable], values: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """All combinations of the values given; the first variable runs fastest, as in R's ``expand.grid``."""
    sizes = [len(v) for v in values.values()]
    total = int(np.prod(sizes, dtype=float)) if sizes else 1
    if total > LARGEST_GRID:
        shape = " x ".join(f"{len(v)} ({name})" for name, v in values.items() if len(v) > 1)
        raise ArgumentError(
            f"the reference grid would have {total} rows: {shape}; hold some variables with at=", rows=total
        )
    columns, inner = {}, 1
    for name, listed in values.items():
        place = (np.arange(total) // inner) % len(listed)
        columns[name] = variables[name].typed(listed[i] for i in place.tolist())
        inner *= len(listed)
    return pd.DataFrame(columns, index=pd.RangeIndex(total))


@dataclass(frozen=True, eq=False)
class Rows:
    """Linear functions of the parameters: what the linear predictor is made of.

    Attributes
    ----------
    L : float array, shape (m, p)
        Coefficients of beta (kept columns).
    offset : float array, shape (m,)
    Z : tuple of float arrays, shape (m, k_t)
        Coefficients of the random effects of each term, in the order of ``design.terms``.
    defect : float array, shape (m, dropped columns)
        What is left of the coefficients of the dropped columns outside the row space of X: zero if estimable.
    empty : bool array, shape (m,)
        An average over no data ("cells" weights); its coefficients are zero.
    """

    L: FloatArray
    offset: FloatArray
    Z: tuple[FloatArray, ...]
    defect: FloatArray
    empty: NDArray[np.bool_]

    @cached_property
    def estimable(self) -> NDArray[np.bool_]:
        """Which rows are estimable."""
        scale = np.maximum(np.abs(self.L).max(axis=1, initial=0.0), 1.0)
        inside = np.abs(self.defect) <= ESTIMABLE * scale[:, None]
        return np.asarray(inside.all(axis=1) & ~self.empty)

    def average(self, weights: FloatArray) -> Rows:
        """Weighted averages: row i + c j is the j-th of the rows that mean i averages, with weight ``weights[i, j]``.

        A row of weights without data is NaN.
        """
        c, g = weights.shape
        empty = np.asarray(~np.isfinite(weights).all(axis=1))
        weights = np.where(empty[:, None], 0.0, weights)

        def mean(values: FloatArray) -> FloatArray:
            return np.einsum("cg,gc...->c...", weights, values.reshape(g, c, *values.shape[1:]))

        return Rows(mean(self.L), mean(self.offset), tuple(mean(Z) for Z in self.Z), mean(self.defect), empty)

    def combine(self, C: FloatArray) -> Rows:
        """Linear combinations ``C``, shape (r, m), of the rows."""
        empty = ((C != 0.0) & self.empty).any(axis=1)
        return Rows(C @ self.L, C @ self.offset, tuple(C @ Z for Z in self.Z), C @ self.defect, empty)

    def moved(self, along: Rows, by: FloatArray) -> Rows:
        """Return the rows after a step of length ``by`` (shape (m,)) along a direction."""
        Z = tuple(Z + by[:, None] * d for Z, d in zip(self.Z, along.Z, strict=True))
        L = self.L + by[:, None] * along.L
        return Rows(L, self.offset + by * along.offset, Z, self.defect, self.empty)

    def take(self, index: Any) -> Rows:
        """Select rows."""
        Z = tuple(Z[index] for Z in self.Z)
        return Rows(self.L[index], self.offset[index], Z, self.defect[index], self.empty[index])


def rows_at(
    fit: FittedModel, newdata: pd.DataFrame, offset: float | FloatArray | None = None, named: Collection[str] = ()
) -> Rows:
    """Rows of X, Z and the offset for data that hold all variables of the model.

    Parameters
    ----------
    offset : float or array, optional
        In place of the model's offset.
    named : collection of str
        Variables that the caller has put somewhere, see :func:`offset_at`.
    """
    if fit.design.X.shape[1] == 0:
        raise NotAvailableError("the model has no fixed effects: there is nothing to average or to compare")
    full = fit.design.fixed_matrix(newdata, all_columns=True)
    _, scope = evaluate_new(fit.frame, newdata)
    Z = tuple(term.matrix.build(scope.column, len(newdata)) for term in fit.design.terms)
    offsets = offset_at(fit, newdata, named) if offset is None else np.full(len(newdata), offset, dtype=float)
    L = np.ascontiguousarray(full[:, list(fit.design.kept_columns)])
    return Rows(L, offsets, Z, _defect(fit, full), np.zeros(len(newdata), dtype=bool))


def _defect(fit: FittedModel, L: FloatArray) -> FloatArray:
    """l_d - A'l_k of rows over all columns of X, with X_d = X_k A."""
    kept = list(fit.design.kept_columns)
    dropped = sorted(set(range(L.shape[1])).difference(kept))
    if not dropped:
        return np.zeros((len(L), 0))
    full = fit.design.matrix.build(fit.frame.columns.__getitem__, fit.frame.n)
    A = np.linalg.lstsq(full[:, kept], full[:, dropped], rcond=None)[0]
    return L[:, dropped] - L[:, kept] @ A


def offset_at(
    fit: FittedModel, newdata: pd.DataFrame, named: Collection[str], rows: NDArray[np.int64] | None = None
) -> FloatArray:
    """Offset of new rows: that of the fit, except for the ``offset()`` terms whose variables are named.

    Parameters
    ----------
    named : collection of str
        Variables that the caller has put somewhere; terms that hold one of them are evaluated on ``newdata``.
    rows : int array, shape (m,), optional
        Rows of the fit that the new ones were made of, for the rest of the offset. None: its mean over all rows.
    """
    frame = fit.frame

    def known(values: Any) -> Any:
        return np.mean(values) if rows is None else np.asarray(values)[rows]

    total = np.full(len(newdata), known(frame.offset))
    _, scope = evaluate_new(frame, newdata)
    for text in touched_offsets(fit, named):
        total = total + as_numeric(scope.column(text)) - known(as_numeric(frame.columns[text]))
    return total


def touched_offsets(fit: FittedModel, named: Collection[str]) -> list[str]:
    """``offset()`` terms that hold one of the variables."""
    return [text for text in fit.frame.formula.offsets if set(_names([text])) & set(named)]


def row_weights(fit: FittedModel) -> FloatArray:
    """Weight of each row in a frequency: the ``weights=`` of the call (1 without), never the trials of ``cbind``."""
    weights = np.array(fit.frame.weights, dtype=float)
    if fit.frame.response_kind != "cbind" or fit.frame.trials is None:
        return weights
    trials = np.asarray(fit.frame.trials, dtype=float)
    return np.divide(weights, trials, out=np.zeros_like(weights), where=trials > 0)


def lost_text(fit: FittedModel, labels: Sequence[str]) -> str:
    """What a table says about rows that are not estimable; empty if there are none."""
    why = f"dropped from the model: {', '.join(fit.design.dropped)}" if fit.design.dropped else "no data"
    return f"not estimable ({why}): {'; '.join(labels)}" if labels else ""


# --- weights of the factors averaged over -------------------------------------------------------------------


def average_weights(
    fit: FittedModel,
    counted: Mapping[str, Variable],
    asked: Mapping[str, list[Any]],
    over: Mapping[str, list[Any]],
    how: str,
) -> FloatArray:
    """Weights of the combinations averaged over, for each combination asked for.

    Only rows of the data that lie in the grid are counted.

    Parameters
    ----------
    counted : mapping
        Variables whose values are counted in the data; others count alike.
    asked, over : mapping
        Values of the variables asked for and of those averaged over; the first runs fastest.
    how : str
        "equal"; "proportional": by how often the combination occurs in the data; "outer": by the product of how
        often each level occurs; "cells": by how often it occurs together with the combination asked for.

    Returns
    -------
    float array, shape (combinations asked for, combinations averaged over)
        Rows sum to 1; NaN where "cells" finds no data.
    """
    c, shape = int(np.prod([len(v) for v in asked.values()])), [len(v) for v in over.values()]
    g = int(np.prod(shape))
    if how == "equal" or not over:
        return np.full((c, g), 1.0 / g)
    weights = _counts(fit, counted, {**asked, **over}).reshape(g, c).T
    if how != "cells":
        table = weights.sum(axis=0).reshape(shape, order="F")
        if how == "outer":
            axes = range(table.ndim)
            margins = [table.sum(axis=tuple(a for a in axes if a != axis)) for axis in axes]
            table = functools.reduce(np.multiply.outer, margins)
        weights = np.broadcast_to(table.ravel(order="F"), (c, g))
    with np.errstate(invalid="ignore"):
        return weights / weights.sum(axis=1, keepdims=True)


def _counts(fit: FittedModel, cells: Mapping[str, Variable], values: Mapping[str, list[Any]]) -> FloatArray:
    """How often each combination occurs; variables that are not counted repeat the counts of the others."""
    counted = [n for n in values if n in cells]
    shape = tuple(len(values[n]) for n in counted)
    codes = [cells[n].codes(values[n]) for n in counted]
    inside = np.all([c >= 0 for c in codes], axis=0) if codes else np.ones(fit.frame.n, dtype=bool)
    weights = row_weights(fit)[inside]
    place = np.ravel_multi_index([c[inside] for c in codes], shape, order="F") if codes else np.zeros(inside.sum(), int)
    table = np.bincount(place, weights, minlength=int(np.prod(shape))).reshape(shape, order="F")
    full = table.reshape([len(values[n]) if n in counted else 1 for n in values], order="F")
    return np.broadcast_to(full, [len(v) for v in values.values()]).astype(float).ravel(order="F")


# --- what stands still --------------------------------------------------------------------------------------


def held_text(variables: Mapping[str, Variable], held: Mapping[str, Any]) -> str:
    """``x = 4.69, sex = F``: values of what was held, rounded for the reader only."""
    shown = {n: v for n, v in held.items() if not variables[n].offset_only}  # of offsets their own note speaks
    return ", ".join(f"{n} = {v:.4g}" if variables[n].numeric else f"{n} = {v}" for n, v in shown.items())


def offset_text(fit: FittedModel, offset: float | None, named: Collection[str]) -> str:
    """What a table says about the offset; empty if the model has none."""
    if not fit.frame.has_offset:
        return ""
    if offset is not None:
        return f"offset: {offset:.4g}"
    touched = touched_offsets(fit, named)
    rest = len(touched) < len(fit.frame.formula.offsets) or fit.frame.offset_argument is not None
    parts = ([f"its mean {np.mean(fit.frame.offset):.4g}"] if rest else []) + [f"{t} as asked for" for t in touched]
    return f"offset: {', '.join(parts)}"
