r"""Models with one grouping factor, seen group by group.

Place in the reading order: after ``layout`` and ``problem``, before ``agq``.

Where all terms share one grouping factor, groups are independent given psi, and everything about group j is small and
dense: u_j of length q (the columns of all terms, one term after the other), :math:`T = diag(T_1, T_2, \ldots)` of shape
(q, q), the same in every group, :math:`C_j = Z_j'WZ_j` and :math:`H_j = I + T'C_jT`. This module says where these
stand in the flat arrays of :class:`.RandomLayout`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import NotAvailableError
from refglmm.likelihood.layout import RandomLayout
from refglmm.likelihood.problem import Problem

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class GroupLayout:
    """Where the pieces of each group stand.

    Attributes
    ----------
    codes : int array, shape (n,)
        Group of each row.
    position : int array, shape (groups, q)
        Where u_j stands in u.
    C_at, H_at : int array, shape (groups, q, q)
        Where C_j stands in the flat blocks of Z'WZ, and H_j in the values of H; the last place stands for zero (two
        terms of a group without rows have no common block).
    T_row, T_column : int array, shape (size of the flat array of factors,)
        Row and column of T that each element of the flat array is.
    """

    codes: IntArray
    position: IntArray
    C_at: IntArray
    H_at: IntArray
    T_row: IntArray
    T_column: IntArray

    @property
    def groups(self) -> int:
        """Number of groups."""
        return self.position.shape[0]

    @property
    def q(self) -> int:
        """Random effects of one group."""
        return self.position.shape[1]

    def dense_factor(self, T: FloatArray) -> FloatArray:
        """T of shape (q, q) from the flat array of factors."""
        dense = np.zeros((self.q, self.q))
        dense[self.T_row, self.T_column] = T
        return dense

    def flat_factors(self, dense: FloatArray) -> FloatArray:
        """Elements of (..., q, q) matrices that stand in T, in the order of the flat array."""
        return dense[..., self.T_row, self.T_column]


def gathered(values: FloatArray, at: IntArray) -> FloatArray:
    """The elements of a flat array at ``at``; its own size as a place means zero."""
    return np.append(values, 0.0)[at]


def group_layout(problem: Problem, purpose: str) -> GroupLayout:
    """The groups of a model with one grouping factor.

    Parameters
    ----------
    problem : Problem
    purpose : str
        What wants it; begins the message of the error.

    Raises
    ------
    NotAvailableError
        If the terms have different grouping factors, or there is none.
    """
    layout = problem.layout
    codes = _common_codes(layout)
    if codes is None:
        factors = list(dict.fromkeys(problem.factor_names)) or ["none"]
        raise NotAvailableError(
            f"{purpose} needs random effects of one grouping factor (this model has: {', '.join(factors)}); "
            "use n_agq=1 (Laplace) for it",
            purpose=purpose,
            factors=tuple(factors),
        )
    k = layout.k
    first = _first_positions(layout)
    groups = np.arange(layout.levels[0])[:, None]
    position = np.hstack([first[t] + groups * k[t] + np.arange(k[t]) for t in range(k.size)])
    C_at, H_at = _block_places(layout, np.unique(codes))
    corner = np.concatenate([[0], np.cumsum(k)])
    pairs = [np.mgrid[corner[t] : corner[t + 1], corner[t] : corner[t + 1]].reshape(2, -1) for t in range(k.size)]
    T_row, T_column = np.hstack(pairs)
    return GroupLayout(codes, position, C_at, H_at, T_row, T_column)


def _first_positions(layout: RandomLayout) -> IntArray:
    """Where the random effects of each term begin in u."""
    return np.concatenate([[0], np.cumsum(layout.k * layout.levels)[:-1]])


def _common_codes(layout: RandomLayout) -> IntArray | None:
    """Group of each row, if it is the same for all terms."""
    if not layout.k.size:
        return None
    columns = layout.index[:, np.concatenate([[0], np.cumsum(layout.k)[:-1]])]
    codes = (columns - _first_positions(layout)) // layout.k
    same = np.all(layout.levels == layout.levels[0]) and np.all(codes == codes[:, :1])
    return np.ascontiguousarray(codes[:, 0], dtype=np.int64) if same else None


def _block_places(layout: RandomLayout, observed: IntArray) -> tuple[IntArray, IntArray]:
    """``C_at`` and ``H_at`` of :class:`GroupLayout`, block by block; ``observed`` are the groups that have rows."""
    k, groups = layout.k, int(layout.levels[0])
    corner, width = np.concatenate([[0], np.cumsum(k)]), int(k.sum())
    C_at = np.full((groups, width, width), layout.n_block_values)
    H_at = np.full((groups, width, width), layout.nnz)
    for t in range(k.size):
        for s in range(t + 1):
            begin = layout.block_start[(layout.block_row == t) & (layout.block_col == s)]
            places = (begin[:, None] + np.arange(k[t] * k[s])).reshape(-1, k[t], k[s])
            who = np.arange(groups) if s == t else observed
            here = np.s_[who, corner[t] : corner[t + 1], corner[s] : corner[s + 1]]
            there = np.s_[who, corner[s] : corner[s + 1], corner[t] : corner[t + 1]]
            C_at[here], H_at[here] = places, layout.level_blocks[t][s]
            if s < t:
                C_at[there], H_at[there] = places.transpose(0, 2, 1), layout.level_blocks[t][s].transpose(0, 2, 1)
    return C_at, H_at
