r"""Loops over groups and quadrature nodes for a density with several linear predictors.

Place in the reading order: after ``coupled`` and ``node_kernels``, before ``agq``, which chooses between this module's
:class:`CoupledNodes` and ``node_kernels``.

Each column of Z (and of X) belongs to one predictor, its part; rows of eta, s, h, ... are arranged as in ``coupled``.
What only concerns the nodes of a group and their masses is the same for any number of predictors and stays in
``node_kernels``. Of the rest, with :math:`\Sigma` of ``agq`` in the place of :math:`H^{-1}`:

.. math:: \eta_{ki} = \tilde\eta_{ki} + \sum_{c \in k} z_{ic} (U z)_c,\qquad (Z's)_c = \sum_i z_{ic} s_{k(c),i},\qquad
    v_{kl} = (2 - [k = l]) \sum_{c \in k, d \in l} (T \Sigma T')_{cd} z_c z_d
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refglmm._jit import kernel, summing_kernel
from refglmm.likelihood import node_kernels
from refglmm.likelihood.coupled import contract, pair
from refglmm.likelihood.node_kernels import add_moments, total_inside, weighted_total

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@kernel
def row_directions(part, group, z, U, out):
    """How each eta_ki moves with the standard node; shape (K, n, q), filled in place."""
    n, q = z.shape
    out[:] = 0.0
    for i in range(n):
        for c in range(q):
            for d in range(c, q):
                out[part[c], i, d] += U[group[i], c, d] * z[i, c]


@summing_kernel
def add_node_sums(part, group, rows, s, m, z, mass, first, second, mean_score, score_node):
    """As in ``node_kernels``, with s of shape (K, n, B) and ``mean_score`` (K, n): a column meets its part's scores."""
    n, q = rows.shape
    groups, size = m.shape
    mz, values = np.empty((q, size)), np.empty(s.shape[0])
    i = 0
    for j in range(groups):
        mass[j] += add_moments(m[j], z, mz, first[j], second[j])
        while i < n and group[i] == j:
            for k in range(s.shape[0]):
                mean_score[k, i] += total_inside(m[j], s[k, i])
            for d in range(q):
                for k in range(s.shape[0]):
                    values[k] = weighted_total(mz[d], s[k, i])
                for c in range(q):
                    score_node[j, c, d] += rows[i, c] * values[part[c]]
            i += 1


@kernel
def rows_by_group(part, group, z, s, out):
    """Z's of each group, shape (groups, columns of z); filled in place."""
    out[:] = 0.0
    for i in range(z.shape[0]):
        j = group[i]
        for c in range(z.shape[1]):
            out[j, c] += z[i, c] * s[part[c], i]


@kernel
def pair_slopes(part, group, z, T, sigma, v):
    """v_kl of each row, shape (pairs, n): both orders of a pair of columns are added. Filled in place."""
    groups, q = sigma.shape[0], z.shape[1]
    W = np.empty((groups, q, q))
    for j in range(groups):
        W[j] = T @ sigma[j] @ T.T
    v[:] = 0.0
    for i in range(z.shape[0]):
        for c in range(q):
            for d in range(q):
                v[pair(part[c], part[d]), i] += z[i, c] * W[group[i], c, d] * z[i, d]


@kernel
def row_totals(part, group, z, Ta, s, h, tv, Ma, r):
    """M a and r = t v - 2 s - h (M a), shape (K, n); filled in place."""
    K, n = Ma.shape
    Ma[:] = 0.0
    for i in range(n):
        for c in range(z.shape[1]):
            Ma[part[c], i] += z[i, c] * Ta[group[i], c]
        for k in range(K):
            total = tv[k, i] - 2.0 * s[k, i]
            for other in range(K):
                total -= h[pair(k, other), i] * Ma[other, i]
            r[k, i] = total


@dataclass(frozen=True)
class CoupledNodes:
    """The row loops of ``node_kernels`` under the same names, for columns that belong to several predictors.

    Attributes
    ----------
    part : int array, one for each column
        Predictor of the column.
    """

    part: IntArray

    def row_directions(self, group: IntArray, z: FloatArray, U: FloatArray, out: FloatArray) -> None:
        """How each eta_ki moves with the standard node; shape (K, n, q), filled in place."""
        row_directions(self.part, group, z, U, out)

    def node_predictor(self, eta_mode: FloatArray, direction: FloatArray, z: FloatArray, eta: FloatArray) -> None:
        """Eta at the nodes, shape (K, n, B), filled in place: the rows of all predictors are rows like any other."""
        node_kernels.node_predictor(
            eta_mode.ravel(), direction.reshape(-1, direction.shape[-1]), z, eta.reshape(-1, eta.shape[-1])
        )

    def add_node_sums(
        self,
        group: IntArray,
        z_rows: FloatArray,
        s: FloatArray,
        m: FloatArray,
        z: FloatArray,
        mass: FloatArray,
        first: FloatArray,
        second: FloatArray,
        mean_score: FloatArray,
        score_node: FloatArray,
    ) -> None:
        """Add to sum m, sum m z, sum m z z', sum m (Z's) z' of each group, and to sum m s_ki of each row."""
        add_node_sums(self.part, group, z_rows, s, m, z, mass, first, second, mean_score, score_node)

    def rows_by_group(self, group: IntArray, z: FloatArray, s: FloatArray, out: FloatArray) -> None:
        """Z's of each group, shape (groups, columns of z); filled in place."""
        rows_by_group(self.part, group, z, s, out)

    def weight_slopes(
        self,
        group: IntArray,
        z: FloatArray,
        T: FloatArray,
        sigma: FloatArray,
        t: FloatArray,
        v: FloatArray,
        tv: FloatArray,
        c: FloatArray,
    ) -> None:
        """v of each pair of predictors, t v, and Z'(t v) of each group; filled in place."""
        pair_slopes(self.part, group, z, T, sigma, v)
        contract(t, v, tv)
        rows_by_group(self.part, group, z, tv, c)

    def row_totals(
        self,
        group: IntArray,
        z: FloatArray,
        Ta: FloatArray,
        s: FloatArray,
        h: FloatArray,
        tv: FloatArray,
        Ma: FloatArray,
        r: FloatArray,
        ztr: FloatArray,
    ) -> None:
        """M a, r = t v - 2 s - h (M a), and Z'r of each group; filled in place."""
        row_totals(self.part, group, z, Ta, s, h, tv, Ma, r)
        rows_by_group(self.part, group, z, r, ztr)
