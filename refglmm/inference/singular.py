r"""Principal components of the random effects: how many dimensions the data support.

Place in the reading order: in ``inference``. For each grouping factor the relative Cholesky factors of its terms are
put side by side and decomposed,

.. math:: T = U D V',\qquad TT' = U D^2 U',

so D holds the standard deviations along the principal axes (relative to sigma in a linear mixed model) and the columns
of U the axes. A standard deviation near zero says that the random effects live in fewer dimensions than the formula
gives them. Source: Bates, Kliegl, Vasishth and Baayen (2015), "Parsimonious mixed models".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.rformat import format_numbers, table
from refglmm.fit.varcorr import term_factors

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]
#: An axis with less than this share of the largest standard deviation carries nothing.
NEGLIGIBLE = 1e-4


@dataclass(frozen=True, eq=False, repr=False)
class PrincipalComponents:
    """Axes of one grouping factor.

    Attributes
    ----------
    group : str
    columns : tuple of str, length k
    sd : float array, shape (k,)
        Descending; relative to sigma in a linear mixed model.
    loadings : float array, shape (k, k)
        An axis in each column; the largest entry of each is positive.
    """

    group: str
    columns: tuple[str, ...]
    sd: FloatArray
    loadings: FloatArray

    @property
    def proportion(self) -> FloatArray:
        """Share of the variance along each axis (nan if there is none)."""
        with np.errstate(invalid="ignore"):
            return self.sd**2 / np.sum(self.sd**2)

    @property
    def n_effective(self) -> int:
        """Axes with a standard deviation that counts."""
        return int(np.sum(self.sd > NEGLIGIBLE * max(float(self.sd.max(initial=0.0)), NEGLIGIBLE)))

    @property
    def advice(self) -> str:
        """What a reader should conclude; "" if all axes count."""
        k = len(self.columns)
        if self.n_effective == k:
            return ""
        return (
            f"{self.group}: the random effects use {self.n_effective} of {k} dimensions; drop a term, or "
            "correlations by ||"
        )

    def as_frame(self) -> pd.DataFrame:
        """Standard deviation, proportion, cumulative proportion and loadings, an axis in each column."""
        axes = [f"PC{i + 1}" for i in range(self.sd.size)]
        top = np.vstack([self.sd, self.proportion, np.cumsum(self.proportion)])
        names = ["Standard deviation", "Proportion of Variance", "Cumulative Proportion", *self.columns]
        return pd.DataFrame(np.vstack([top, self.loadings]), index=names, columns=axes)

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the printed table."""
        frame = self.as_frame()
        rows = [[str(name), *format_numbers(values, 4)] for name, values in zip(frame.index, frame.to_numpy())]
        return [self.group, *frame.columns], rows

    def __repr__(self) -> str:
        return repr(RandomEffectsPCA({self.group: self}))

    def _repr_html_(self) -> str:
        return RandomEffectsPCA({self.group: self})._repr_html_()


class RandomEffectsPCA(Mapping[str, PrincipalComponents]):
    """Grouping factor -> :class:`PrincipalComponents`."""

    def __init__(self, parts: Mapping[str, PrincipalComponents]) -> None:
        self._parts = dict(parts)

    def __getitem__(self, group: str) -> PrincipalComponents:
        if group not in self._parts:
            raise ArgumentError(f"no grouping factor {group!r}; there are: {', '.join(self._parts)}", group=group)
        return self._parts[group]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def _advice(self) -> list[str]:
        return [part.advice for part in self._parts.values() if part.advice]

    def __repr__(self) -> str:
        blocks = []
        for part in self._parts.values():
            header, rows = part.cells()
            blocks.append(table(header, rows, [True] + [False] * (len(header) - 1)))
        return "\n".join(["Principal components of the random effects", *blocks, *self._advice()])

    def _repr_html_(self) -> str:
        tables = [html_table(*part.cells()) for part in self._parts.values()]
        return html_block([*tables, html_lines(self._advice())])


def principal_components(group: str, columns: tuple[str, ...], T: FloatArray) -> PrincipalComponents:
    """Singular value decomposition of one factor's T."""
    U, sd, _ = np.linalg.svd(T)
    largest = U[np.argmax(np.abs(U), axis=0), np.arange(len(U))]
    loadings = U * np.where(largest < 0, -1.0, 1.0)
    for array in (sd, loadings):
        array.setflags(write=False)
    return PrincipalComponents(group, columns, sd, loadings)


def re_pca(fit: FittedModel) -> RandomEffectsPCA:
    """Principal components of each grouping factor of a fit."""
    pieces: dict[str, list[tuple[tuple[str, ...], FloatArray]]] = {}
    for term, T in zip(fit.design.terms, term_factors(fit), strict=True):
        pieces.setdefault(term.group, []).append((tuple(term.columns), T))
    return RandomEffectsPCA({group: _joined(group, parts) for group, parts in pieces.items()})


def _joined(group: str, parts: list[tuple[tuple[str, ...], FloatArray]]) -> PrincipalComponents:
    """All terms of one factor: their T along the diagonal of one matrix."""
    from scipy.linalg import block_diag

    columns = tuple(name for names, _ in parts for name in names)
    return principal_components(group, columns, block_diag(*(T for _, T in parts)))
