r"""Rows to predict or to draw: X, the random columns and levels, the offset; of the fit or of new data.

Place in the reading order: in ``fit``, after ``parameters`` and ``response``, before ``variances``.

.. math:: \eta = o + X\beta + \sum_t Z_t b_t[\text{level of the row}]

A row whose level the fit did not have carries the code -1 there. ``re_form`` says which columns of which random terms
take part: None all, ``False`` or ``"~0"`` none, a formula those it names, whatever terms they were fitted in:
``(1 | g)`` names the intercept column of ``(x | g)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, DataError, RefglmmError
from refglmm.fit.response import cbind_names
from refglmm.formula.convert import to_table
from refglmm.formula.frame import evaluate_new
from refglmm.formula.grammar import Formula, expand_terms, group_atoms, parse
from refglmm.formula.matrix import make_matrix
from refglmm.formula.parts import MAIN, CoupledDesign, owners, part_designs
from refglmm.formula.values import as_numeric

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel
    from refglmm.formula.design import Design, TermDesign
    from refglmm.formula.grammar import RandomTerm

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
#: Levels that an error message lists.
MOST_LISTED = 10


@dataclass(frozen=True)
class Rows:
    """m rows of data in the form of the model.

    Attributes
    ----------
    index : pandas.Index
        Their labels.
    X : float array, shape (m, p)
    offset : float array, shape (m,)
    Z : tuple of float arrays, shape (m, k)
        One per term.
    codes : tuple of int arrays, shape (m,)
        Level of each row in each term; -1 where the fit did not have it, or where it is missing.
    owners : tuple of bool arrays, shape (K, k)
        In a model with K > 1 predictors, which columns of each term belong to each of them; otherwise empty. X is then
        (K, m, p), p counting the columns of all, offset and linear predictors are (K, m).
    """

    index: pd.Index
    X: FloatArray
    offset: FloatArray
    Z: tuple[FloatArray, ...]
    codes: tuple[NDArray[Any], ...]
    owners: tuple[BoolArray, ...] = ()

    def random(self, t: int, b: FloatArray) -> FloatArray:
        """Z b of term t, b of shape (levels, k), in each predictor where there are several."""
        if not self.owners:
            return random_part(self.Z[t], self.codes[t], b)
        return np.array([random_part(self.Z[t] * own, self.codes[t], b) for own in self.owners[t]])

    def combined(self, weights: FloatArray) -> Rows:
        """Rows whose linear predictor is the sum of those of the predictors times ``weights``, shape (K, m) or (K, 1).

        A predictor with weight zero takes no part, missing values in it included.
        """
        if not self.owners:
            w = np.broadcast_to(weights[0], len(self.index))
            return Rows(
                self.index, w[:, None] * self.X, w * self.offset, tuple(w[:, None] * Z for Z in self.Z), self.codes
            )
        parts = [(k, np.broadcast_to(weights[k], len(self.index))) for k in range(len(weights)) if np.any(weights[k])]
        shares = [sum((np.outer(w, own[k]) for k, w in parts), np.zeros(Z.shape)) for Z, own in self._columns()]
        return Rows(
            self.index,
            sum((w[:, None] * self.X[k] for k, w in parts), np.zeros(self.X.shape[1:])),
            sum((w * self.offset[k] for k, w in parts), np.zeros(len(self.index))),
            tuple(np.where(share == 0.0, 0.0, share * Z) for Z, share in zip(self.Z, shares, strict=True)),
            self.codes,
        )

    def _columns(self) -> Iterable[tuple[FloatArray, BoolArray]]:
        return zip(self.Z, self.owners, strict=True)

    def fixed(self, beta: FloatArray) -> FloatArray:
        """Linear predictor without random effects: offset + X beta."""
        return self.offset + self.X @ beta


def own_rows(design: Design) -> Rows:
    """Rows that a model was made from."""
    Z, codes = tuple(term.Z for term in design.terms), tuple(term.codes for term in design.terms)
    if not isinstance(design, CoupledDesign):
        return Rows(design.frame.index, design.X, design.frame.offset, Z, codes)
    fixed = {part: (own.X, own.frame.offset) for part, own in design.parts.items()}
    return coupled_rows(design, design.frame.index, fixed, Z, codes)


def coupled_rows(
    design: CoupledDesign,
    index: pd.Index,
    fixed: Mapping[str, tuple[FloatArray, FloatArray]],
    Z: tuple[FloatArray, ...],
    codes: tuple[NDArray[Any], ...],
) -> Rows:
    """Rows of several predictors, from X and offset of those that are wanted."""
    K, m = len(design.parts), len(index)
    X, offset = np.zeros((K, m, len(design.all_columns))), np.zeros((K, m))
    for k, (part, columns) in enumerate(design.slices.items()):
        if part in fixed:
            X[k, :, columns], offset[k] = fixed[part]
    owners = tuple(np.arange(K)[:, None] == np.array(term.predictors) for term in design.terms)
    return Rows(index, X, offset, Z, codes, owners)


def new_rows(
    fit: FittedModel,
    newdata: Any,
    used: Sequence[bool],
    offset: Any = None,
    *,
    fixed: bool = True,
    parts: Sequence[str] | None = None,
) -> Rows:
    """Rows of new data; only the terms that are ``used``, and the fixed part if it is wanted, are looked at.

    In a model with several predictors ``parts`` says whose fixed parts, by default all.

    Raises
    ------
    DataError
        Missing columns, unseen levels of a fixed factor, infinite values, an offset array that was not given again.
    """
    design, table = fit.design, to_table(newdata)
    m = len(table)
    Z, codes = [], []
    for term, wanted in zip(design.terms, used, strict=True):
        level, values = design.random_matrix(term, table) if wanted else (np.full(m, -1), np.empty((m, term.k)))
        Z.append(values)
        codes.append(level)
    wanted_parts = {part: own for part, own in part_designs(design).items() if parts is None or part in parts}
    made = {
        part: (own.fixed_matrix(table), own.offset_values(table, offset if part == MAIN else None))
        for part, own in wanted_parts.items()
        if fixed
    }
    named = [(wanted_parts[part].names, X) for part, (X, _) in made.items()]
    named += [(("the offset",), total[:, None]) for _, total in made.values()]
    named += [(term.columns, values) for term, values, wanted in zip(design.terms, Z, used, strict=True) if wanted]
    for names, values in named:
        refuse_infinite(names, values, table.index)
    if isinstance(design, CoupledDesign):
        return coupled_rows(design, table.index, made, tuple(Z), tuple(codes))
    X, total = made.get(MAIN, (np.zeros((m, len(design.names))), np.zeros(m)))
    return Rows(table.index, X, total, tuple(Z), tuple(codes))


def refuse_infinite(names: Sequence[str], values: FloatArray, index: pd.Index) -> None:
    """An error naming the first infinite value of new data (a missing one is no error: its prediction is missing)."""
    where = np.argwhere(np.isinf(values))
    if len(where):
        row, column = index[where[0, 0]], names[where[0, 1]]
        raise DataError(f"newdata is infinite in {column} at row {row!r}; correct or drop it", row=row, column=column)


def new_weights(fit: FittedModel, newdata: Any, weights: Any = None) -> FloatArray:
    """Weights that responses of new data are drawn with; for binomial families the numbers of trials.

    Parameters
    ----------
    weights : str or array-like, optional
        In place of those of the fit. By default the fit's ``weights=`` expression is evaluated on the new data, and for
        a ``cbind`` response the sum of its two parts; an array cannot be, and must be given again.
    """
    table, scope = evaluate_new(fit.frame, newdata)
    given, pair = weights, cbind_names(fit.frame.formula.response)
    if fit.frame.response_kind == "factor":
        return np.ones(len(table))
    if given is None and fit.frame.response_kind == "cbind" and pair is not None:
        given = f"({pair[0]}) + ({pair[1]})"
    elif given is None:
        given = fit.model.arguments["weights"]
        if given is not None and not isinstance(given, str):
            raise DataError("the model was fitted with an array of weights; pass weights= for the new data as well")
    if given is None:
        return np.ones(len(table))
    try:
        values = scope.value(given) if isinstance(given, str) else given
        values = np.array(as_numeric(values, "weights") if isinstance(given, str) else values, dtype=np.float64)
    except (DataError, TypeError, ValueError) as error:
        raise DataError(f"weights of the new data ({given}): {error}; pass weights= for them") from None
    if values.shape not in ((), (len(table),)) or np.any(values < 0) or np.any(np.isinf(values)):
        raise DataError(f"weights must be {len(table)} finite numbers >= 0, one for each row of the new data")
    return np.broadcast_to(values, (len(table),))


def random_part(Z: FloatArray, codes: NDArray[Any], b: FloatArray) -> FloatArray:
    """Z b of one term, b of shape (levels, k); a row without a level gets 0 (but NaN where Z is)."""
    at_rows = b[codes]
    unknown = codes < 0
    if unknown.any():
        at_rows[unknown] = 0.0
    return np.einsum("ik,ik->i", Z, at_rows)


def number_new_levels(
    fit: FittedModel, term: TermDesign, newdata: Any, codes: NDArray[Any]
) -> tuple[NDArray[np.int64], int]:
    """Number the levels that the fit did not have after its own; a row without a level is one of its own.

    Returns
    -------
    codes : int array, shape (m,)
        None is negative.
    size : int
        Levels in all.
    """
    out, unknown = codes.astype(np.int64), np.flatnonzero(codes < 0)
    if not unknown.size:
        return out, term.n_levels
    number, distinct = pd.factorize(fit.design.group_labels(term, newdata)[unknown])
    absent = np.flatnonzero(number < 0)
    number = number.astype(np.int64)
    number[absent] = distinct.size + np.arange(absent.size)
    out[unknown] = term.n_levels + number
    return out, term.n_levels + distinct.size + absent.size


def refuse_missing_groups(fit: FittedModel, newdata: Any, rows: Rows) -> None:
    """Raise for the first row whose grouping factor is missing."""
    for term, codes in zip(fit.design.terms, rows.codes, strict=True):
        unknown = np.flatnonzero(codes < 0)
        if unknown.size:
            absent = [label is None for label in fit.design.group_labels(term, newdata)[unknown]]
            if any(absent):
                _refuse_missing_group(term, rows, int(unknown[absent.index(True)]))


def _refuse_missing_group(term: TermDesign, rows: Rows, i: int) -> None:
    row = rows.index[i]
    raise DataError(
        f"grouping factor {term.group!r} is missing at row {row!r}; fill it in, use allow_new_levels=True, or "
        "re_form=False",
        group=term.group,
        row=row,
    )


def refuse_new_levels(fit: FittedModel, newdata: Any, rows: Rows, used: Sequence[bool]) -> None:
    """Raise for the first term in use that meets a level the fit did not have, or none at all."""
    for term, codes, wanted in zip(fit.design.terms, rows.codes, used, strict=True):
        if not wanted or not np.any(codes < 0):
            continue
        levels = fit.design.new_levels(term, newdata)
        if levels:
            shown = ", ".join(map(repr, levels[:MOST_LISTED]))
            more = f", ... ({len(levels)} in all)" if len(levels) > MOST_LISTED else ""
            raise DataError(
                f"new levels of grouping factor {term.group!r}: {shown}{more}; use allow_new_levels=True, or "
                "re_form=False",
                group=term.group,
                levels=levels,
            )
        _refuse_missing_group(term, rows, int(np.argmax(codes < 0)))


# --- which random effects ------------------------------------------------------------------------------------


def chosen_columns(fit: FittedModel, re_form: Any) -> list[BoolArray]:
    """Which columns of each term ``re_form`` names, one array of shape (k,) a term.

    Raises
    ------
    ArgumentError
        Something else than None, False, "~0" or a formula of random terms; a term that the fit does not have.
    """
    terms = fit.design.terms
    if re_form is None:
        return [np.ones(term.k, dtype=bool) for term in terms]
    chosen = [np.zeros(term.k, dtype=bool) for term in terms]
    for wanted in _named_terms(re_form):
        _choose(fit, wanted, chosen)
    return chosen


def _named_terms(re_form: Any) -> tuple[RandomTerm, ...]:
    """Random terms of ``re_form``; none for False, a missing value and "~0"."""
    if re_form is False or re_form is pd.NA or (isinstance(re_form, float) and np.isnan(re_form)):
        return ()
    if not isinstance(re_form, str | Formula):
        raise ArgumentError(f"re_form must be None, False or a formula such as '~ (1 | g)', not {re_form!r}")
    formula = parse(re_form)
    only_random = formula.response is None and not formula.offsets
    if not only_random or formula.fixed not in (("0", "1") if formula.random else ("0",)):
        raise ArgumentError(f"re_form holds random terms only, or is '~0'; it is {formula.expanded!r}")
    return formula.random


def _choose(fit: FittedModel, wanted: RandomTerm, chosen: list[BoolArray]) -> None:
    """Mark the columns that one random term of ``re_form`` names."""
    terms = fit.design.terms
    same_group = [t for t, term in enumerate(terms) if set(term.grouping.atoms) == set(group_atoms(wanted.group))]
    try:
        names = make_matrix(expand_terms(wanted.expression), fit.frame.columns, {}).names
    except (KeyError, RefglmmError):
        names = (wanted.expression,)
    for name in names:
        holders = [t for t in same_group if name in _bare_names(terms[t])]
        if not holders:
            shown = ", ".join(map(describe, terms)) or "none"
            raise ArgumentError(f"re_form names {wanted}, which the fit does not have; its terms are {shown}")
        for t in holders:
            chosen[t] |= np.array([column == name for column in _bare_names(terms[t])])


def _bare_names(term: TermDesign) -> list[str]:
    """Names of a term's columns without their predictor: a formula names those of all predictors."""
    owned = zip(owners(term), term.columns, strict=True)
    return [column if owner == MAIN else column.removeprefix(f"{owner}~") for owner, column in owned]


def whole_terms(fit: FittedModel, re_form: Any) -> list[bool]:
    """Which terms ``re_form`` names, each as a whole.

    Raises
    ------
    ArgumentError
        If it names some columns of a term and not the others.
    """
    out = []
    for term, columns in zip(fit.design.terms, chosen_columns(fit, re_form), strict=True):
        if columns.any() and not columns.all():
            raise ArgumentError(
                f"re_form names some columns of {describe(term)} and not the others; they are correlated, so a "
                "simulation keeps or redraws all of them",
                term=term.label,
            )
        out.append(bool(columns.all()))
    return out


def is_used(chosen: Sequence[BoolArray]) -> list[bool]:
    """Whether any column of each term takes part."""
    return [bool(columns.any()) for columns in chosen]


def describe(term: TermDesign) -> str:
    """A term as a formula would write it."""
    return f"({' + '.join(term.columns)} | {term.group})"
