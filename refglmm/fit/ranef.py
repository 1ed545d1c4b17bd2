r"""Conditional modes of the random effects, their covariances, and the coefficients of each level.

Place in the reading order: in ``fit``, after ``varcorr``. Implements

.. math:: \tilde b = \Lambda \tilde u, \qquad
          \operatorname{Var}(b \mid y, \hat\theta, \hat\beta) = s^2 \Lambda H^{-1} \Lambda'

with s = sigma for linear mixed models (and lme4's bookkeeping of scale families), else 1. Of :math:`H^{-1}`
only the k x k block of each level is needed; it lies on the pattern of H, so the selected inverse gives it
without a dense q x q matrix. Source: Bates et al. (2015), equation 59.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.fit.html import html_block, html_table
from refglmm.fit.parts import all_names
from refglmm.fit.rformat import format_numbers
from refglmm.fit.varcorr import term_factors

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]


class GroupFrames(Mapping[str, pd.DataFrame]):
    """Grouping factor -> DataFrame of levels x columns. Frames are handed out as copies."""

    def __init__(self, frames: Mapping[str, pd.DataFrame], title: str) -> None:
        self._frames = dict(frames)
        self._title = title

    def __getitem__(self, group: str) -> pd.DataFrame:
        if group not in self._frames:
            known = ", ".join(self._frames)
            raise ArgumentError(f"no grouping factor {group!r}; there are: {known}", group=group)
        return self._frames[group].copy()

    def __contains__(self, group: object) -> bool:
        return group in self._frames

    def __iter__(self) -> Iterator[str]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)

    def __str__(self) -> str:
        parts = [f"${group}\n{frame.to_string(max_rows=60)}" for group, frame in self._frames.items()]
        return "\n\n".join([self._title, *parts])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html_block(_frame_html(group, frame) for group, frame in self._frames.items())


def _frame_html(group: str, frame: pd.DataFrame, most: int = 60) -> str:
    shown = frame.iloc[:most]
    cells = [format_numbers(shown.iloc[:, j], 5) for j in range(shown.shape[1])]
    rows = [[level, *(column[i] for column in cells)] for i, level in enumerate(shown.index)]
    more = f" (first {most} of {len(frame)} levels)" if len(frame) > most else ""
    return html_table(["", *map(str, frame.columns)], rows, f"{group}{more}")


class RandomEffects(GroupFrames):
    """Conditional modes by grouping factor, with their conditional covariances.

    Attributes
    ----------
    cond_var : dict of term label -> float array, shape (levels, k, k)
        Empty when not asked for. Conditional on the estimates of theta and beta.
    """

    def __init__(
        self, frames: Mapping[str, pd.DataFrame], long: pd.DataFrame, cond_var: Mapping[str, FloatArray]
    ) -> None:
        super().__init__(frames, "Conditional modes of the random effects")
        self._long = long
        self._cond_var = dict(cond_var)

    @property
    def cond_var(self) -> dict[str, FloatArray]:
        """Conditional covariances, one array of shape (levels, k, k) a term (copies)."""
        return {label: blocks.copy() for label, blocks in self._cond_var.items()}

    def as_frame(self) -> pd.DataFrame:
        """Long form: grp, term, level, condval and, with conditional variances, condsd."""
        return self._long.copy()


def posterior_scale(fit: FittedModel) -> float:
    r"""Factor s^2 between H^-1 and the covariance of u.

    In a linear mixed model, and in lme4's treatment of families with a scale, H is built from weights without
    the residual variance. Elsewhere the working weights hold the dispersion already.
    """
    without_scale = fit.is_lmm or (fit.mode_name == "lme4" and fit.has_scale)
    return fit.sigma**2 if without_scale else 1.0


def term_starts(fit: FittedModel) -> list[int]:
    """First element of each term in u, and q at the end."""
    sizes = [len(term.levels) * len(term.columns) for term in fit.design.terms]
    return [0, *np.cumsum(sizes).tolist()]


def inverse_blocks(indptr: NDArray, values: FloatArray, start: int, levels: int, k: int) -> FloatArray:
    """Level blocks of a symmetric matrix stored as lower-triangle CSC, shape (levels, k, k).

    Rows in a column are sorted and the block of a level is full, so column j of a block begins at its
    diagonal.
    """
    blocks = np.empty((levels, k, k))
    first = start + k * np.arange(levels)
    for j in range(k):
        position = indptr[first + j]
        for i in range(j, k):
            blocks[:, i, j] = blocks[:, j, i] = values[position + (i - j)]
    return blocks


def conditional_covariances(fit: FittedModel) -> dict[str, FloatArray]:
    """s^2 T (H^-1)_level T' of every level of every term."""
    factor = fit.conditional.factor
    values = factor.selected_inverse()
    out = {}
    for term, T, start in zip(fit.design.terms, term_factors(fit), term_starts(fit)[:-1], strict=True):
        blocks = inverse_blocks(np.asarray(factor.indptr), values, start, len(term.levels), len(term.columns))
        out[term.label] = posterior_scale(fit) * (T @ blocks @ T.T)
    return out


def mode_blocks(fit: FittedModel) -> list[FloatArray]:
    """Conditional modes b of each term, shape (levels, k)."""
    starts = term_starts(fit)
    return [
        np.array(fit.conditional.b[starts[t] : starts[t + 1]]).reshape(len(term.levels), len(term.columns))
        for t, term in enumerate(fit.design.terms)
    ]


def _merge(fit: FittedModel, modes: list[FloatArray]) -> dict[str, pd.DataFrame]:
    """Terms on one factor side by side."""
    pieces: dict[str, list[pd.DataFrame]] = {}
    for term, b in zip(fit.design.terms, modes, strict=True):
        frame = pd.DataFrame(b, index=pd.Index(term.levels, name=term.group), columns=list(term.columns))
        pieces.setdefault(term.group, []).append(frame)
    return {group: frames[0] if len(frames) == 1 else pd.concat(frames, axis=1) for group, frames in pieces.items()}


def _long(fit: FittedModel, modes: list[FloatArray], cond_var: Mapping[str, FloatArray]) -> pd.DataFrame:
    parts = []
    for term, b in zip(fit.design.terms, modes, strict=True):
        levels = len(term.levels)
        part = {
            "grp": np.repeat(term.group, b.size),
            "term": np.repeat(np.array(term.columns, dtype=object), levels),
            "level": np.tile(np.asarray(term.levels, dtype=object), len(term.columns)),
            "condval": b.T.ravel(),
        }
        if cond_var:
            part["condsd"] = np.sqrt(np.diagonal(cond_var[term.label], axis1=1, axis2=2)).T.ravel()
        parts.append(pd.DataFrame(part))
    no_terms = pd.DataFrame(columns=["grp", "term", "level", "condval"])
    return pd.concat(parts, ignore_index=True) if parts else no_terms


def ranef(fit: FittedModel, *, cond_var: bool = True) -> RandomEffects:
    """Conditional modes; ``cond_var=False`` saves the work for their covariances."""
    modes = mode_blocks(fit)
    covariances = conditional_covariances(fit) if cond_var else {}
    return RandomEffects(_merge(fit, modes), _long(fit, modes, covariances), covariances)


def coef(fit: FittedModel) -> GroupFrames:
    """Fixed plus random effects of each level; a coefficient that one side lacks counts as 0 there."""
    fixed = dict(zip(all_names(fit), np.asarray(fit.optimum.beta, dtype=float), strict=True))
    frames = {}
    for group, modes in _merge(fit, mode_blocks(fit)).items():
        names = [*fixed, *dict.fromkeys(name for name in modes.columns if name not in fixed)]
        frame = pd.DataFrame(
            np.tile([fixed.get(name, 0.0) for name in names], (len(modes), 1)),
            index=modes.index,
            columns=names,
        )
        for position, name in enumerate(modes.columns):  # by position: two terms may share a column name
            frame[name] += modes.iloc[:, position]
        frames[group] = frame
    return GroupFrames(frames, "Coefficients by level (fixed + random)")
