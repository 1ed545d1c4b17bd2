"""Model frame -> design: X, the random terms with their levels and columns, and all that new data needs.

Place in the reading order: last of ``formula``, after :mod:`refglmm.formula.term_data`; ``covariance`` and
``likelihood`` come next and use only what :class:`Design` holds.

Z is stored by term: row i of term t has its k values ``Z[i]`` in the columns of level ``codes[i]``. The
transposed sparse matrix :meth:`Design.Zt` stacks the terms; within a term all k rows of level 1 come first,
then those of level 2, and so on (Bates et al. 2015, section 2.3).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from refglmm.errors import (
    ArgumentError,
    DataError,
    FormulaError,
    FormulaWarning,
    MissingValuesError,
    RefglmmError,
    warn,
)
from refglmm.formula.checks import (
    Checks,
    check_effects,
    check_levels,
    check_rank,
    check_response,
    check_scale,
    report,
)
from refglmm.formula.convert import Table
from refglmm.formula.evaluate import Scope
from refglmm.formula.expressions import name_text, names_in, parse_expression
from refglmm.formula.frame import ModelFrame, evaluate_new
from refglmm.formula.grammar import RandomTerm, expand_terms, group_atoms
from refglmm.formula.matrix import ModelMatrix, make_matrix
from refglmm.formula.term_data import NOTHING, TermData, term_data
from refglmm.formula.values import Column, as_factor, as_numeric

#: Structures (and ``hom``) for which Sigma + sigma^2 I is a covariance of the same structure.
CLOSED = {("diag", False), ("diag", True), ("cs", True), ("toep", True)}

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["Checks", "Design", "Grouping", "TermDesign", "build_design"]


@dataclass(frozen=True)
class Grouping:
    """A grouping factor: the observed combinations of one or more variables.

    Attributes
    ----------
    name : str
        For people.
    atoms : tuple of str
        R texts of the variables.
    atom_levels : tuple of str arrays
        Their levels in the fit.
    pairs : tuple of int64 arrays
        One per ``:``: the sorted observed values of left code * (levels of the right) + right code.
    level_names : array of str
        Labels ``a1:b1``, the first variable slowest.
    """

    name: str
    atoms: tuple[str, ...]
    atom_levels: tuple[np.ndarray, ...] = field(repr=False)
    pairs: tuple[np.ndarray, ...] = field(repr=False)
    level_names: np.ndarray

    @functools.cached_property
    def levels(self) -> pd.Index:
        """The labels as pandas has them (made when asked for: a fit does without)."""
        return pd.Index(self.level_names, dtype=object)

    def codes(self, columns: Mapping[str, Column]) -> np.ndarray:
        """Level of each row of any data; -1 for a missing or unknown one."""
        out = None
        for i, (atom, levels) in enumerate(zip(self.atoms, self.atom_levels, strict=True)):
            factor = as_factor(columns[atom], atom)
            new = factor.codes if factor.levels is levels else factor.recode(levels)
            if out is None:
                out = new
                continue
            pairs = self.pairs[i - 1]
            value = out.astype(np.int64) * len(levels) + new
            place = np.minimum(np.searchsorted(pairs, value), len(pairs) - 1)
            known = (out >= 0) & (new >= 0) & (pairs[place] == value)
            out = np.where(known, place, -1)
        assert out is not None
        return out.astype(np.int32, copy=False)

    def labels(self, columns: Mapping[str, Column]) -> np.ndarray:
        """Label of each row of any data; None where a variable is missing."""
        out: Any = None
        for atom in self.atoms:
            new = as_factor(columns[atom], atom).labels()
            out = new if out is None else _joined(out, new)
        return out


def _joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    pairs = zip(a.tolist(), b.tolist(), strict=True)
    return np.array([None if x is None or y is None else f"{x}:{y}" for x, y in pairs], dtype=object)


def make_grouping(term: RandomTerm, columns: Mapping[str, Column]) -> tuple[Grouping, np.ndarray]:
    """Find the levels of a grouping factor and the level of each row.

    Parameters
    ----------
    term : RandomTerm
        Its ``group`` is used.
    columns : mapping
        Evaluated variables of the fit, factors without unused levels.

    Returns
    -------
    grouping : Grouping
        Levels that occur only.
    codes : int32 array, shape (n,)
        -1 where missing.
    """
    atoms = group_atoms(term.group)
    factors = [as_factor(columns[atom], atom) for atom in atoms]
    codes: np.ndarray = factors[0].codes
    labels, pairs = factors[0].levels, []
    for factor in factors[1:]:
        width = len(factor.levels)
        value = codes.astype(np.int64) * width + factor.codes
        value[(codes < 0) | (factor.codes < 0)] = -1
        known, codes = _numbered(value)
        left, right = np.divmod(known, width) if width else (known, known)
        labels = labels[left] + ":" + factor.levels[right]
        pairs.append(known)
    return Grouping(term.group_name, atoms, tuple(f.levels for f in factors), tuple(pairs), labels), codes


def _numbered(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values >= 0, ascending, and which of them each row has; -1 stays -1."""
    codes, met = pd.factorize(values)
    order = np.argsort(met)
    missing = int(met.size > 0 and met[order[0]] < 0)
    rank = np.empty(met.size, dtype=np.int32)
    rank[order] = np.arange(-missing, met.size - missing, dtype=np.int32)
    return met[order[missing:]], rank[codes]


@dataclass(frozen=True)
class TermDesign:
    """One random-effects term joined to the data.

    Attributes
    ----------
    label : str
        Unique: ``"Subject"``, ``"Subject.1"``.
    group : str
        Name of the grouping factor, shared by its terms.
    codes : int32 array, shape (n,)
        Level of each row.
    columns : tuple of str
        Names of the k columns.
    Z : float array, shape (n, k), C order
        Their values.
    structure, hom : str, bool
        Covariance structure.
    data : TermData
        What the structure knows of the columns besides their number.
    term : RandomTerm
        What it came from.
    predictors : tuple of int
        The linear predictor that each column belongs to, in a model with several (see ``parts``).
    """

    label: str
    group: str
    codes: np.ndarray = field(repr=False)
    columns: tuple[str, ...]
    Z: np.ndarray = field(repr=False)
    structure: str
    hom: bool
    term: RandomTerm
    grouping: Grouping = field(repr=False)
    matrix: ModelMatrix = field(repr=False)
    data: TermData = field(default=NOTHING, repr=False)
    predictors: tuple[int, ...] = ()

    @property
    def levels(self) -> pd.Index:
        """Levels that occur (text)."""
        return self.grouping.levels

    @property
    def n_levels(self) -> int:
        """Number of levels."""
        return len(self.grouping.level_names)

    @property
    def k(self) -> int:
        """Number of columns."""
        return len(self.columns)

    @property
    def q(self) -> int:
        """Number of random effects."""
        return self.k * self.n_levels


@dataclass(frozen=True)
class Design:
    """Everything the likelihood needs from formula and data, and the recipes for new data.

    Attributes
    ----------
    X : float array, shape (n, p), C order
        Kept columns of the fixed part.
    names : tuple of str
        Their names as R prints them.
    dropped, all_names : tuple of str
        Columns lost to rank deficiency; all columns in order.
    terms : tuple of TermDesign
        In the order of theta.
    assign : tuple of int
        Term of each kept column: 0 for the intercept, j for ``term_labels[j - 1]``.
    term_labels : tuple of str
        Fixed terms without the intercept.
    """

    X: np.ndarray = field(repr=False)
    names: tuple[str, ...]
    dropped: tuple[str, ...]
    all_names: tuple[str, ...]
    terms: tuple[TermDesign, ...]
    assign: tuple[int, ...]
    term_labels: tuple[str, ...]
    matrix: ModelMatrix = field(repr=False)
    kept_columns: tuple[int, ...] = field(repr=False)
    frame: ModelFrame = field(repr=False)

    @property
    def q(self) -> int:
        """Number of random effects of all terms."""
        return sum(term.q for term in self.terms)

    def Zt(self) -> scipy.sparse.csc_matrix:
        """Return Z' as a (q, n) CSC matrix; entries that happen to be zero stay in the pattern."""
        import scipy.sparse

        n = self.frame.n
        width = sum(term.k for term in self.terms)
        rows, values, first = np.empty((n, width), dtype=np.int32), np.empty((n, width)), 0
        at = 0
        for term in self.terms:
            here = slice(at, at + term.k)
            rows[:, here] = first + term.codes[:, None] * term.k + np.arange(term.k, dtype=np.int32)
            values[:, here] = term.Z
            at, first = at + term.k, first + term.q
        indptr = np.arange(n + 1, dtype=np.int32) * np.int32(width)
        return scipy.sparse.csc_matrix((values.ravel(), rows.ravel(), indptr), shape=(self.q, n))

    @functools.cached_property
    def flist(self) -> dict[str, pd.Categorical]:
        """Return the grouping factors by name, in the order of the terms."""
        out: dict[str, pd.Categorical] = {}
        for term in self.terms:
            if term.group not in out:
                out[term.group] = pd.Categorical.from_codes(term.codes, categories=term.levels)
        return out

    def term(self, term: TermDesign | str | int) -> TermDesign:
        """Find a term by label or position.

        Raises
        ------
        ArgumentError
            If there is none.
        """
        if isinstance(term, TermDesign):
            return term
        for i, candidate in enumerate(self.terms):
            if term in (candidate.label, i):
                return candidate
        labels = ", ".join(t.label for t in self.terms) or "none"
        raise ArgumentError(f"there is no random term {term!r}; terms are {labels}", term=term)

    def fixed_matrix(self, newdata: Any, *, all_columns: bool = False) -> np.ndarray:
        """Build the kept columns of X for new data.

        Parameters
        ----------
        newdata : table
            Any supported kind; never changed.
        all_columns : bool
            Also those lost to rank deficiency, in the order of ``all_names``.

        Returns
        -------
        float array, shape (m, p)
            By the fit's levels, contrasts and stateful transforms; NaN where a variable is missing.

        Raises
        ------
        DataError
            Naming missing columns or unseen levels.
        """
        table, scope = self._open(newdata, self.matrix.terms.used)
        out = self.matrix.build(scope.column, len(table))
        return out if all_columns or len(self.kept_columns) == out.shape[1] else out[:, self.kept_columns]

    def random_matrix(self, term: TermDesign | str | int, newdata: Any) -> tuple[np.ndarray, np.ndarray]:
        """Build levels and columns of a random term for new data.

        Returns
        -------
        codes : int32 array, shape (m,)
            -1 for a new or missing level (:meth:`new_levels` tells which).
        Z : float array, shape (m, k)
            NaN where a variable is missing.
        """
        term = self.term(term)
        table, scope = self._open(newdata, (*term.matrix.used, *term.grouping.atoms))
        columns = {atom: scope.column(atom) for atom in term.grouping.atoms}
        return term.grouping.codes(columns), term.matrix.build(scope.column, len(table))

    def group_labels(self, term: TermDesign | str | int, newdata: Any) -> np.ndarray:
        """Label of a term's grouping factor in each row of new data; None where it is missing."""
        term = self.term(term)
        _, scope = self._open(newdata, term.grouping.atoms)
        return term.grouping.labels({atom: scope.column(atom) for atom in term.grouping.atoms})

    def new_levels(self, term: TermDesign | str | int, newdata: Any) -> tuple[str, ...]:
        """Return the levels of a term's grouping factor in new data that the fit did not have."""
        known = set(self.term(term).grouping.level_names.tolist())
        labels = dict.fromkeys(self.group_labels(term, newdata).tolist())
        return tuple(label for label in labels if label is not None and label not in known)

    @np.errstate(all="ignore")
    def offset_values(self, newdata: Any, offset: Any = None) -> np.ndarray:
        """Evaluate the offset on new data.

        Parameters
        ----------
        newdata : table
            Any supported kind.
        offset : str or array-like, optional
            In place of the ``offset=`` argument of the fit; needed if that was an array.

        Returns
        -------
        float array, shape (m,)
            Sum of the ``offset(...)`` terms and the argument; zeros if there is neither.
        """
        texts = self.frame.formula.offsets
        argument = self.frame.offset_argument if offset is None else offset
        if isinstance(argument, str) and argument == "<array>":
            raise DataError("the model was fitted with an offset array; pass offset= for the new data as well")
        table, scope = self._open(newdata, texts)
        total = np.zeros(len(table))
        for text in texts:
            total = total + as_numeric(scope.column(text), f"offset({text})")
        if isinstance(argument, str):
            try:
                column = scope.table.column(argument) if argument in table else scope.value(argument)
                total = total + as_numeric(column, "offset")
            except DataError as error:
                raise DataError(f"offset of the new data ({argument}): {error}; pass offset= for it") from None
        elif argument is not None:
            try:
                values = np.asarray(argument, dtype=np.float64)
            except (TypeError, ValueError):
                raise DataError("offset must be numbers, one for each row of the new data") from None
            if values.shape not in ((), (len(table),)):
                raise DataError(f"offset has shape {values.shape}, the new data has {len(table)} rows")
            total = total + values
        return total

    def _open(self, newdata: Any, texts: tuple[str, ...]) -> tuple[Table, Scope]:
        table, scope = evaluate_new(self.frame, newdata)
        names = self.frame.raw
        lost = [name for name in _names(texts) if name in names and name not in table]
        if lost:
            raise DataError(f"newdata lacks the columns {', '.join(map(repr, lost))}; add them", columns=tuple(lost))
        return table, scope


@functools.lru_cache(maxsize=512)
def _names(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for text in texts for name in names_in(parse_expression(text))))


# --- building -----------------------------------------------------------------------------------------------


def build_design(
    frame: ModelFrame,
    *,
    contrasts: Mapping[str, Any] | None = None,
    mode: str = "exact",
    control: Checks | None = None,
    intercept: bool = True,
) -> Design:
    """Build the design of a model.

    Parameters
    ----------
    frame : ModelFrame
        From :func:`refglmm.formula.frame.build_frame`.
    contrasts : mapping, optional
        Factor (R text of the variable) -> ``"treatment"``, ``"sum"``, ``"helmert"``, ``"poly"`` or a matrix.
        As in lme4 they apply to the fixed part; random terms use the defaults.
    mode : {"exact", "lme4"}
        Order of terms with equally many levels: as written, or as lme4 has it (see :func:`term_order`).
    control : Checks, optional
        What to do about findings; defaults to :class:`Checks`.
    intercept : bool
        False for a family whose thresholds stand in its place: factors are coded beside an intercept, which is then
        left out.

    Returns
    -------
    Design
        With X of full column rank unless ``control.rank`` is ``"ignore"``.

    Raises
    ------
    RefglmmError
        ``DataError``, ``GroupingError``, ``MissingValuesError``, ``RankError``, ``FormulaError``.
    """
    control = control or Checks()
    if mode not in ("exact", "lme4"):
        raise ArgumentError(f"mode must be 'exact' or 'lme4', not {mode!r}")
    check_response(frame.y, frame.response_kind, control)
    if not frame.formula.random:
        report(
            control.no_random_effects,
            FormulaError(
                f"no random effects in {frame.formula.text!r}; add (1 | group), or use a plain "
                "(generalized) linear model such as statsmodels'",
                formula=frame.formula.text,
            ),
        )
    terms = _random_terms(frame, mode, control)
    matrix, X = _fixed(frame, contrasts or {}, intercept)
    kept = matrix.independent(X, lambda columns, names: check_rank(columns, names, control.rank))
    if len(kept) < X.shape[1]:
        X = np.ascontiguousarray(X[:, kept])
    names = tuple(matrix.names[j] for j in kept)
    check_scale(X, names, control.scale, {at for at, j in enumerate(kept) if j in matrix.zero_one})
    return Design(
        X=X,
        names=names,
        dropped=tuple(matrix.names[j] for j in sorted(set(range(len(matrix.names))).difference(kept))),
        all_names=matrix.names,
        terms=terms,
        assign=tuple(matrix.assign[j] for j in kept),
        term_labels=matrix.terms.labels,
        matrix=matrix,
        kept_columns=tuple(kept),
        frame=frame,
    )


def _fixed(frame: ModelFrame, contrasts: Mapping[str, Any], intercept: bool) -> tuple[ModelMatrix, np.ndarray]:
    terms = expand_terms(frame.formula.fixed)
    if not intercept and not terms.intercept:
        raise FormulaError(
            f"the thresholds of an ordinal model stand for the intercept, so {frame.formula.fixed!r} cannot do without "
            "it: leave 0 and -1 out of the formula",
            formula=frame.formula.text,
        )
    # A factor whose name needs backticks may be given without them.
    contrasts = {name if name in terms.variables else name_text(name): kind for name, kind in contrasts.items()}
    matrix = make_matrix(terms, frame.columns, contrasts, without_intercept=not intercept)
    factors = {terms.variables[v] for v, coding in matrix.codings.items() if coding.levels is not None}
    unused = [name for name in contrasts if name not in factors]
    if unused:
        raise ArgumentError(
            f"contrasts given for {', '.join(map(repr, unused))}, but the factors of the fixed part are "
            f"{', '.join(map(repr, sorted(factors))) or 'none'}",
            factors=tuple(unused),
        )
    X = matrix.build(frame.columns.__getitem__, frame.n)
    _check_finite(X, matrix.names, frame.index, "X")
    return matrix, X


def _check_finite(values: np.ndarray, names: tuple[str, ...], index: pd.Index, what: str) -> None:
    # One quick pass: the sum is finite unless some entry is not (or the sum overflows: rechecked below).
    with np.errstate(all="ignore"):
        if np.isfinite(values.sum()):
            return
    bad = ~np.isfinite(values)
    if not bad.any():
        return
    columns = tuple(name for name, column in zip(names, bad.T, strict=True) if column.any())
    row = index[int(np.argmax(bad.any(axis=1)))]
    kind: type[RefglmmError] = MissingValuesError if np.isnan(values).any() else DataError
    raise kind(
        f"NA/NaN/Inf in {what}: column {', '.join(columns)}, first at row {row!r}; correct or drop these rows",
        columns=columns,
        row=row,
    )


def _random_terms(frame: ModelFrame, mode: str, control: Checks) -> tuple[TermDesign, ...]:
    groupings: dict[str, tuple[Grouping, np.ndarray]] = {}
    for term in frame.formula.random:
        if term.group not in groupings:
            groupings[term.group] = make_grouping(term, frame.columns)
    absent = [g.name for g, codes in groupings.values() if len(codes) and codes.min() < 0]
    if absent:
        raise MissingValuesError(
            f"NA in Z: grouping factor {', '.join(absent)} has missing values; drop these rows",
            groups=tuple(absent),
        )
    needing = {term.group for term in frame.formula.random if not term.hom}  # others have one SD for many columns
    sizes = {g.name: len(g.level_names) for group, (g, _) in groupings.items() if group in needing}
    check_levels(sizes, frame.n, control)
    built = []
    for term in frame.formula.random:
        grouping, codes = groupings[term.group]
        built.append(_term_design(term, grouping, codes, frame))
    _note_split_factors(built)
    if control.is_lmm and not frame.has_weights and control.effects_vs_rows != "ignore":
        _note_confounded(built)
    if all(term.structure == "us" for term in built):
        check_effects([(str(t.term), t.q) for t in built], frame.n, control)
    ordered = [built[i] for i in term_order([t.n_levels for t in built], mode)]
    return unique_labels(ordered)


def _term_design(term: RandomTerm, grouping: Grouping, codes: np.ndarray, frame: ModelFrame) -> TermDesign:
    matrix = make_matrix(expand_terms(term.expression), frame.columns, {})
    Z = matrix.build(frame.columns.__getitem__, frame.n)
    try:
        _check_finite(Z, matrix.names, frame.index, f"Z (term {term})")
    except MissingValuesError as error:
        raise MissingValuesError(f"NA in Z: {error}", term=str(term), **error.facts) from None
    return TermDesign(
        label=grouping.name,
        group=grouping.name,
        codes=codes,
        columns=matrix.names,
        Z=Z,
        structure=term.structure,
        hom=term.hom,
        term=term,
        grouping=grouping,
        matrix=matrix,
        data=term_data(term, matrix, frame.env),
    )


def _note_split_factors(terms: list[TermDesign]) -> None:
    """Say what ``||`` does to a factor: its indicator columns stay fully correlated."""
    met = [
        t.term.expression.removeprefix("0 + ")
        for t in terms
        if t.term.split and any(c.levels is not None for c in t.matrix.codings.values())
    ]
    if met:
        warn(
            FormulaWarning(
                "'||' splits by formula term, so the columns of factor "
                f"{', '.join(dict.fromkeys(met))} keep a full "
                "covariance matrix; use diag(... | group) for uncorrelated columns",
                factors=tuple(met),
            )
        )


def _note_confounded(terms: list[TermDesign]) -> None:
    """Say which terms of a linear model have nothing to tell their variances from that of the residuals."""
    for term in terms:
        indicators = np.all(np.isin(term.Z, (0.0, 1.0))) and np.all(term.Z.sum(axis=1) == 1.0)
        if term.k == 1 or not indicators or (term.structure, term.hom) not in CLOSED:
            continue
        effects = term.codes.astype(np.int64) * term.k + term.Z.argmax(axis=1)
        if np.unique(effects).size == effects.size:
            warn(
                FormulaWarning(
                    f"{term.term} has one row for each of its effects, and Sigma + sigma^2 I is a covariance of the "
                    "same structure: only their sum is determined; use one that decays (ar1, ou, exp)",
                    term=str(term.term),
                )
            )


def term_order(n_levels: list[int], mode: str) -> list[int]:
    """Order of the terms in theta: most levels first.

    Parameters
    ----------
    n_levels : list of int
        Levels of each term, formula order.
    mode : {"exact", "lme4"}
        Stable descending sort; or lme4's rule: unchanged if the counts do not increase, otherwise the exact
        reverse of the stable ascending sort, so that ties come out reversed.

    Returns
    -------
    list of int
        Positions in formula order.
    """
    positions = range(len(n_levels))
    if mode == "exact":
        return sorted(positions, key=lambda i: -n_levels[i])
    if all(a >= b for a, b in itertools.pairwise(n_levels)):
        return list(positions)
    return sorted(positions, key=lambda i: n_levels[i])[::-1]


def unique_labels(terms: list[TermDesign]) -> tuple[TermDesign, ...]:
    """Make the labels unique: Subject, Subject.1, ..."""
    taken = {t.group for t in terms}
    seen: dict[str, int] = {}
    out = []
    for term in terms:
        label = term.group
        if seen.setdefault(term.group, 0):
            label = f"{term.group}.{seen[term.group]}"
            while label in taken:
                seen[term.group] += 1
                label = f"{term.group}.{seen[term.group]}"
            taken.add(label)
        seen[term.group] += 1
        out.append(term if label == term.label else replace(term, label=label))
    return tuple(out)
