r"""Variances and correlations of the random effects, as lme4's ``VarCorr``.

Place in the reading order: in ``fit``, after ``rformat``. Implements

.. math:: \Sigma_t = \sigma^2 T_t T_t' \text{ (linear model)},\quad \Sigma_t = T_t T_t' \text{ (otherwise)}

with :math:`T_t` the factor of term t (``covariance``) and :math:`\sigma` the residual standard deviation.
Source: Bates et al. (2015), section 2.3; lme4's help page ``VarCorr``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.fit.html import html_block, html_table
from refglmm.fit.rformat import format_numbers, table

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

#: Structures whose whole correlation matrix follows from one number.
ONE_CORRELATION = ("cs", "ar1")


@dataclass(frozen=True)
class TermVarCorr:
    """One term: ``cov`` and ``corr`` of shape (k, k), ``sd`` of shape (k,); read-only arrays.

    ``reported`` are the structure's own values by name: a range, a rate, the correlation of each lag. ``brief``: they
    and the first standard deviation say everything.
    """

    label: str
    group: str
    columns: tuple[str, ...]
    structure: str
    cov: NDArray[np.float64]
    sd: NDArray[np.float64]
    corr: NDArray[np.float64]
    reported: tuple[tuple[str, float], ...] = ()
    brief: bool = False

    def frame(self) -> pd.DataFrame:
        """Covariance matrix with names."""
        return pd.DataFrame(self.cov.copy(), index=list(self.columns), columns=list(self.columns))

    def shown_columns(self) -> tuple[str, ...]:
        """Columns to print: all, or the first of those that have the same standard deviation."""
        if not self.brief or len(self.columns) == 1:
            return self.columns
        return (f"{self.columns[0]} ... ({len(self.columns)}, {self.structure})",)

    def shown_correlations(self) -> list[list[float | str]]:
        """Correlations to print beside each column: the lower triangle, one number for cs and ar1, one lag for toep."""
        k = len(self.columns)
        if self.brief:
            return [[f"{name} = {value:.4g}" for name, value in self.reported]]
        if self.structure == "toep":
            return [[float(self.corr[i, 0])] if i else [] for i in range(k)]
        if self.structure == "diag" or k == 1:
            return [[] for _ in range(k)]
        if self.structure in ONE_CORRELATION:
            return [[float(self.corr[1, 0])] if i == 0 else [] for i in range(k)]
        return [[float(r) for r in self.corr[i, :i]] for i in range(k)]

    def shown_sd(self) -> list[float]:
        """Standard deviations of the columns that are printed."""
        return [float(x) for x in self.sd[: len(self.shown_columns())]]


@dataclass(frozen=True, eq=False)
class VarCorr:
    """Variance components of a fit; index by term label, iterate over labels; keys, values and items as of a dict.

    Attributes
    ----------
    terms : tuple of TermVarCorr
    residual_sd : float or None
        Residual standard deviation, None for families without a scale.
    """

    terms: tuple[TermVarCorr, ...]
    residual_sd: float | None

    def __getitem__(self, label: str) -> TermVarCorr:
        for term in self.terms:
            if term.label == label:
                return term
        known = ", ".join(term.label for term in self.terms)
        raise ArgumentError(f"no random-effects term {label!r}; there are: {known}", label=label)

    def __iter__(self) -> Iterator[str]:
        return iter(term.label for term in self.terms)

    def __len__(self) -> int:
        return len(self.terms)

    def keys(self) -> tuple[str, ...]:
        """Labels of the terms."""
        return tuple(self)

    def values(self) -> tuple[TermVarCorr, ...]:
        """The terms."""
        return self.terms

    def items(self) -> tuple[tuple[str, TermVarCorr], ...]:
        """Labels with their terms."""
        return tuple((term.label, term) for term in self.terms)

    def as_frame(self) -> pd.DataFrame:
        """Long form: grp, var1, var2 (None for variances), vcov, sdcor."""
        rows: list[tuple[str, str | None, str | None, float, float]] = []
        for term in self.terms:
            k = len(term.columns)
            rows += [(term.label, term.columns[i], None, term.cov[i, i], term.sd[i]) for i in range(k)]
            if term.structure != "diag":
                rows += [
                    (term.label, term.columns[j], term.columns[i], term.cov[i, j], term.corr[i, j])
                    for j in range(k)
                    for i in range(j + 1, k)
                ]
        if self.residual_sd is not None:
            rows.append(("Residual", None, None, self.residual_sd**2, self.residual_sd))
        return pd.DataFrame(rows, columns=["grp", "var1", "var2", "vcov", "sdcor"])

    def cells(self, components: Sequence[str], digits: int) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the printed table, numbers of a column padded to one width."""
        sd = [x for term in self.terms for x in term.shown_sd()]
        sd += [] if self.residual_sd is None else [self.residual_sd]
        values = {"Variance": np.square(sd), "Std.Dev.": np.array(sd)}
        numbers = [_same_width(format_numbers(values[name], digits)) for name in components]
        correlations = _correlation_texts([row for term in self.terms for row in term.shown_correlations()])
        width = max(map(len, correlations), default=0)
        rows = []
        for i, (group, name) in enumerate(self._row_names()):
            corr = correlations[i] if i < len(correlations) else []
            cells = corr + [""] * (width - len(corr))
            rows.append([group, name, *(column[i] for column in numbers), *cells])
        header = ["Groups", "Name", *components, *(["Corr"] + [""] * (width - 1) if width else [])]
        return header, rows

    def _row_names(self) -> list[tuple[str, str]]:
        shown = [(term.label, term.shown_columns()) for term in self.terms]
        names = [(label if i == 0 else "", column) for label, columns in shown for i, column in enumerate(columns)]
        return names + ([] if self.residual_sd is None else [("Residual", "")])

    def to_string(self, components: Sequence[str] = ("Std.Dev.",), digits: int = 5) -> str:
        """Print form; ``components`` may hold "Variance", "Std.Dev." or both."""
        unknown = [name for name in components if name not in ("Variance", "Std.Dev.")]
        if unknown:
            raise ArgumentError(f"unknown component {unknown[0]!r}; use 'Variance' and/or 'Std.Dev.'")
        header, rows = self.cells(components, digits)
        return table(header, rows, [True] * len(header), indent=" ")

    def __str__(self) -> str:
        return self.to_string()

    def __repr__(self) -> str:
        return self.to_string()

    def _repr_html_(self) -> str:
        header, rows = self.cells(("Variance", "Std.Dev."), 5)
        return html_block([html_table(header, rows)])


def _correlation_texts(rows: list[list[float | str]]) -> list[list[str]]:
    """Two decimals, no negative zero, one width for all; texts as they are."""

    def text(r: float | str) -> str:
        return r if isinstance(r, str) else {"-0.00": "0.00", "nan": "NaN"}.get(f"{r:.2f}", f"{r:.2f}")

    texts = [[text(r) for r in row] for row in rows]
    width = max((len(text) for row in texts for text in row), default=0)
    return [[text.rjust(width) for text in row] for row in texts]


def _same_width(numbers: list[str]) -> list[str]:
    """Right-justify, so that decimal points meet under a left-justified header."""
    width = max(map(len, numbers), default=0)
    return [text.rjust(width) for text in numbers]


def term_factors(fit: FittedModel) -> list[NDArray[np.float64]]:
    """T_t of each term at the estimate."""
    return [structure.factor(par) for structure, par in zip(fit.structures, split_par(fit), strict=True)]


def split_par(fit: FittedModel) -> list[NDArray[np.float64]]:
    """The part of par that belongs to each term."""
    ends = np.cumsum([structure.n_par for structure in fit.structures])[:-1]
    return list(np.split(np.array(fit.optimum.par, dtype=float), ends)) if fit.structures else []


def varcorr(fit: FittedModel) -> VarCorr:
    """Variance components of a fit (those of a linear mixed model are kept relative to sigma)."""
    scale = fit.sigma if fit.is_lmm else 1.0
    terms = []
    for design, structure, par in zip(fit.design.terms, fit.structures, split_par(fit), strict=True):
        factor = scale * structure.factor(par)
        sd, corr = structure.sd_corr(par)
        entry = TermVarCorr(
            label=design.label,
            group=design.group,
            columns=tuple(design.columns),
            structure=design.structure,
            cov=factor @ factor.T,
            sd=scale * np.asarray(sd, dtype=float),
            corr=np.array(corr, dtype=float),
            reported=tuple(structure.reported(par).items()),
            brief=structure.brief,
        )
        for array in (entry.cov, entry.sd, entry.corr):
            array.setflags(write=False)
        terms.append(entry)
    return VarCorr(tuple(terms), fit.sigma if fit.has_scale else None)
