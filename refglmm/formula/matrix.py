"""Terms + evaluated variables -> the columns of a model matrix, at the fit and on new data.

Place in the reading order: after :mod:`refglmm.formula.checks`, before :mod:`refglmm.formula.design`.

Coding (Chambers & Hastie 1992, section 2.3.2; the rule as R applies it). In a term t, factor v is coded by
contrasts if t without v is empty or is contained in a term that stands before t, otherwise by one indicator
per level. Without an intercept the first factor of the first term that has one gets indicators. Columns of a
term are products of its variables' columns; those of the first variable run fastest.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refglmm.errors import DataError
from refglmm.formula.contrasts import contrast_matrix
from refglmm.formula.expressions import deparse, parse_expression, strip_parens
from refglmm.formula.grammar import Terms
from refglmm.formula.values import Column, Factor, Logical, Matrix, as_factor, as_numeric

# A dense model matrix beyond this is a grouping factor that was written as a fixed effect.
_LARGEST_BYTES = 16e9
# So many columns are compared with their level one after the other; with more, scattering the ones is quicker.
_FEW_COLUMNS = 8


@dataclass(frozen=True)
class Coding:
    """How one variable becomes columns.

    ``levels`` is None for numbers. ``contrast`` is None for treatment contrasts, which need no matrix.
    """

    name: str
    suffixes: tuple[str, ...]
    levels: np.ndarray | None = None
    contrast: np.ndarray | None = None

    def width(self, full: bool) -> int:
        """Number of columns."""
        return len(self.levels) if full and self.levels is not None else len(self.suffixes)

    def names(self, full: bool) -> tuple[str, ...]:
        """Column names, with one indicator per level if ``full``."""
        suffixes = tuple(self.levels) if full and self.levels is not None else self.suffixes
        return tuple(self.name + s for s in suffixes)

    def prepare(self, column: Column) -> np.ndarray:
        """Bring a column of any data to the fit's form: level codes, or numbers of shape (m, k).

        Raises
        ------
        DataError
            For a level that the fit did not have, or text where the fit had numbers.
        """
        if self.levels is None:
            if isinstance(column, Matrix):
                return column.values
            return as_numeric(column, f"{self.name!r} (numeric in the fit)")[:, None]
        if isinstance(column, Factor) and column.levels is self.levels:
            return column.codes
        factor = as_factor(column, self.name).drop_unused()
        known = set(self.levels.tolist())
        unseen = [level for level in factor.levels.tolist() if level not in known]
        if unseen:
            raise DataError(
                f"factor {self.name!r} has new level{'s' * (len(unseen) > 1)} {_listed(unseen)}; the fit had "
                f"{_listed(list(self.levels))}",
                variable=self.name,
                levels=tuple(unseen),
            )
        return factor.recode(self.levels)

    def is_indicator(self, full: bool) -> bool:
        """Whether the columns hold nothing but 0 and 1, whatever the data."""
        return self.levels is not None and (full or self.contrast is None)

    def columns(self, prepared: np.ndarray, full: bool) -> np.ndarray:
        """Columns of a prepared variable, shape (m, k)."""
        out = np.empty((len(prepared), self.width(full)))
        self.fill(out, prepared, full)
        return out

    def fill(self, out: np.ndarray, prepared: np.ndarray, full: bool) -> None:
        """Write the columns of a prepared variable into ``out``, shape (m, k); rows without a level are NaN."""
        if self.levels is None:
            out[:] = prepared
            return
        first = 0 if full else 1
        if self.contrast is not None and not full:
            out[:] = self.contrast.take(prepared, axis=0, mode="wrap")
        elif out.shape[1] <= _FEW_COLUMNS:
            for j in range(out.shape[1]):
                out[:, j] = prepared == first + j
        else:
            out[:] = 0.0
            rows = np.flatnonzero(prepared >= first)
            out[rows, prepared[rows] - first] = 1.0
        absent = prepared < 0
        if absent.any():
            out[absent] = np.nan


def _listed(labels: list[str], most: int = 10) -> str:
    more = f", ... ({len(labels)} in all)" if len(labels) > most else ""
    return ", ".join(map(repr, labels[:most])) + more


@functools.lru_cache(maxsize=512)
def _shown(name: str) -> str:
    """R text of a variable without its outer parentheses."""
    return deparse(strip_parens(parse_expression(name)))


def make_coding(name: str, column: Column, contrasts: Mapping[str, Any]) -> Coding:
    """Decide how a variable is coded.

    Parameters
    ----------
    name : str
        R text of the variable.
    column : Column
        Its values in the fit.
    contrasts : mapping
        The user's choices; ordered factors default to ``"poly"``, others to ``"treatment"``.

    Returns
    -------
    Coding
        For :class:`ModelMatrix`.

    Raises
    ------
    DataError
        A factor with a single level.
    """
    shown = _shown(name)
    if isinstance(column, Matrix):
        return Coding(shown, column.suffixes)
    if isinstance(column, np.ndarray):
        return Coding(shown, ("",))
    factor = as_factor(column, name)
    if len(factor.levels) < 2:
        found = f"only one level ({factor.levels[0]!r})" if len(factor.levels) else "no level"
        raise DataError(
            f"factor {name!r} has {found} in the rows used; remove it from the formula",
            variable=name,
            levels=tuple(factor.levels),
        )
    kind = contrasts.get(name, "poly" if factor.ordered else "treatment")
    if isinstance(kind, str) and kind.removeprefix("contr.") == "treatment":
        return Coding(shown, tuple(factor.levels[1:]), factor.levels)
    matrix, suffixes = contrast_matrix(kind, factor.levels, name)
    return Coding(shown, suffixes, factor.levels, matrix)


def full_dummies(terms: Terms, is_factor: tuple[bool, ...]) -> tuple[tuple[bool, ...], ...]:
    """Decide, for each variable of each term, between contrasts (False) and one indicator per level (True).

    Parameters
    ----------
    terms : Terms
        Sorted by degree.
    is_factor : tuple of bool
        One per ``terms.variables``.

    Returns
    -------
    tuple of tuples
        Parallel to ``terms.masks`` and ``terms.members(mask)``.
    """
    out = []
    first_seen = terms.intercept
    for t, mask in enumerate(terms.masks):
        row = []
        for v in terms.members(mask):
            rest = mask & ~(1 << v)
            covered = rest == 0 or any(earlier & rest == rest for earlier in terms.masks[:t])
            full = is_factor[v] and (not covered or not first_seen)
            first_seen = first_seen or is_factor[v]
            row.append(full)
        out.append(tuple(row))
    return tuple(out)


@dataclass(frozen=True)
class ModelMatrix:
    """Recipe for the columns of one set of terms.

    Attributes
    ----------
    terms : Terms
        What to build.
    codings : tuple of Coding
        One per ``terms.variables`` that is used, by index.
    full : tuple
        See :func:`full_dummies`.
    without_intercept : bool
        Leave the column of ones out although the terms are coded beside it: thresholds stand in its place.
    """

    terms: Terms
    codings: Mapping[int, Coding]
    full: tuple[tuple[bool, ...], ...]
    without_intercept: bool = False

    @property
    def intercept(self) -> bool:
        """Whether the first column is the intercept."""
        return self.terms.intercept and not self.without_intercept

    @property
    def used(self) -> tuple[str, ...]:
        """R texts of the variables."""
        return self.terms.used

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Column names, the intercept first."""
        out = ["(Intercept)"] if self.intercept else []
        for mask, full in zip(self.terms.masks, self.full, strict=True):
            parts = [self.codings[v].names(f) for v, f in zip(self.terms.members(mask), full, strict=True)]
            # product() runs its last argument fastest; R runs the first variable fastest.
            out += [":".join(reversed(combination)) for combination in itertools.product(*reversed(parts))]
        return tuple(out)

    @functools.cached_property
    def assign(self) -> tuple[int, ...]:
        """Term of each column: 0 for the intercept, j for ``terms.labels[j - 1]``."""
        out = [0] if self.intercept else []
        for j, width in enumerate(self.widths):
            out += [j + 1] * width
        return tuple(out)

    @functools.cached_property
    def zero_one(self) -> frozenset[int]:
        """Columns that hold nothing but 0 and 1, whatever the data: the intercept and indicators."""
        out = [True] if self.intercept else []
        for mask, full, width in zip(self.terms.masks, self.full, self.widths, strict=True):
            parts = zip(self.terms.members(mask), full, strict=True)
            out += [all(self.codings[v].is_indicator(f) for v, f in parts)] * width
        return frozenset(j for j, known in enumerate(out) if known)

    @functools.cached_property
    def widths(self) -> tuple[int, ...]:
        """Number of columns of each term."""
        return tuple(
            math.prod(self.codings[v].width(f) for v, f in zip(self.terms.members(mask), full, strict=True))
            for mask, full in zip(self.terms.masks, self.full, strict=True)
        )

    def independent(self, X: np.ndarray, judge: Callable[[np.ndarray, Sequence[str]], list[int]]) -> list[int]:
        """Columns of X that ``judge`` keeps of a matrix and its names; thresholds count as a column of ones before."""
        if not self.without_intercept:
            return judge(X, self.names)
        kept = judge(np.column_stack([np.ones(len(X)), X]), ("(Intercept)", *self.names))
        return [j - 1 for j in kept if j > 0]

    @np.errstate(all="ignore")  # what overflows is reported as infinite, with its column and row
    def build(self, column: Callable[[str], Column], n: int) -> np.ndarray:
        """Compute the matrix.

        Parameters
        ----------
        column : callable
            From the R text of a variable to its values.
        n : int
            Rows.

        Returns
        -------
        float array, shape (n, number of columns), C order
            NaN where a variable is missing.
        """
        self.check_size(n)
        prepared = {v: c.prepare(column(self.terms.variables[v])) for v, c in self.codings.items()}
        out = np.empty((n, len(self.names)))
        if self.intercept:
            out[:, 0] = 1.0
        at = int(self.intercept)
        for mask, full, width in zip(self.terms.masks, self.full, self.widths, strict=True):
            self._fill(out[:, at : at + width], mask, full, prepared)
            at += width
        return out

    def _fill(self, out: np.ndarray, mask: int, full: tuple[bool, ...], prepared: Mapping[int, np.ndarray]) -> None:
        """Write the columns of one term: those of its variable, or the products of those of several."""
        members = self.terms.members(mask)
        if len(members) == 1:
            self.codings[members[0]].fill(out, prepared[members[0]], full[0])
            return
        blocks = (self.codings[v].columns(prepared[v], f) for v, f in zip(members, full, strict=True))
        out[:] = functools.reduce(_products, blocks)

    def check_size(self, n: int) -> None:
        """Refuse a matrix that cannot be meant."""
        for mask, width in zip(self.terms.masks, itertools.accumulate(self.widths), strict=True):
            if 8.0 * n * width > _LARGEST_BYTES:
                label = ":".join(self.terms.variables[v] for v in self.terms.members(mask))
                raise DataError(
                    f"term {label!r} brings the model matrix to {width} columns ({8e-9 * n * width:.0f} GB); "
                    f"write it as a random effect, (1 | {label})",
                    term=label,
                    columns=width,
                )


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row-wise products of all column pairs; columns of ``a`` run fastest."""
    return (b[:, :, None] * a[:, None, :]).reshape(len(a), -1)


def make_matrix(
    terms: Terms, columns: Mapping[str, Column], contrasts: Mapping[str, Any], *, without_intercept: bool = False
) -> ModelMatrix:
    """Prepare the recipe for some terms.

    Parameters
    ----------
    terms : Terms
        From :func:`refglmm.formula.grammar.expand_terms`.
    columns : mapping
        Evaluated variables of the fit.
    contrasts : mapping
        The user's choices.
    without_intercept : bool
        See :class:`ModelMatrix`.

    Returns
    -------
    ModelMatrix
        Knows levels and contrasts, not the data.
    """
    used = set(terms.used)
    codings = {v: make_coding(name, columns[name], contrasts) for v, name in enumerate(terms.variables) if name in used}
    is_factor = tuple(isinstance(columns.get(name), Factor | Logical) for name in terms.variables)
    return ModelMatrix(terms, codings, full_dummies(terms, is_factor), without_intercept)
