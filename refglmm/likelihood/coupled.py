r"""The loops over rows for a density with several linear predictors (zero inflation, dispersion).

Place in the reading order: after ``layout``, before ``problem``. Row i has the linear predictors

.. math:: \eta_{ki} = o_{ki} + x_{ki}'\beta_k + \sum_{j \in k} z_{ij} b_{index(i, j)},\qquad k = 0 \ldots K - 1

where j runs over the row's nonzeros of Z and each of them belongs to one predictor, ``part[j]``. So Z, the pattern of H
and Lambda stay what they are with one predictor, and a term whose columns belong to different predictors is a term like
any other. What changes is the weight between two columns c and d of a row: with :math:`h_{kl} = -\partial^2
l/\partial\eta_k\partial\eta_l` the blocks of C = Z'WZ are sums of :math:`z_c z_d\,h_{part(c),part(d)}`.

Arrays have a row for each predictor (s, eta), each pair k >= l (h, v) or each triple k >= l >= m (dh) in the order
(0, 0), (1, 0), (1, 1), (2, 0), ... The derivative of log|H| in the stored :math:`h_{kl}` is

.. math:: v_{kl} = (2 - [k = l]) \sum_{c \in k, d \in l} S_{cd} z_c z_d,\qquad S = \Lambda H^{-1} \Lambda'

so that :math:`\partial \log|H| / \partial\eta_m = \sum_{kl} v_{kl}\,\partial h_{kl}/\partial\eta_m`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refglmm._jit import inline, kernel
from refglmm.likelihood import layout as rows
from refglmm.likelihood.layout import RandomLayout

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@inline
def pair(k, l):  # noqa: E741  the mathematics' symbol
    """Where the pair (k, l) stands, in either order."""
    return k * (k + 1) // 2 + l if k >= l else l * (l + 1) // 2 + k


@inline
def triple(k, l, m):  # noqa: E741
    """Where the triple (k, l, m) stands, k >= l, m anywhere."""
    if m > k:
        k, l, m = m, k, l  # noqa: E741
    elif m > l:
        l, m = m, l  # noqa: E741
    return k * (k + 1) * (k + 2) // 6 + l * (l + 1) // 2 + m


@kernel
def linear_predictors(part, fixed, index, z, b, eta):
    """eta_k = fixed_k + the columns of predictor k times b, filled in place."""
    eta[:] = fixed
    n, r = z.shape
    for i in range(n):
        for j in range(r):
            eta[part[j], i] += z[i, j] * b[index[i, j]]


@kernel
def transpose_times(part, index, z, s, out):
    """Z's: each column meets the row of s of its predictor. Filled in place."""
    out[:] = 0.0
    n, r = z.shape
    for i in range(n):
        for j in range(r):
            out[index[i, j]] += z[i, j] * s[part[j], i]


@kernel
def weigh(w, values, out):
    """(W x)_k = sum_l w_kl x_l for each x of ``values``, shape (m, K, n); filled in place."""
    m, K, n = values.shape
    for a in range(m):
        for k in range(K):
            for i in range(n):
                total = 0.0
                for other in range(K):
                    total += w[pair(k, other), i] * values[a, other, i]
                out[a, k, i] = total


@kernel
def accumulate_blocks(w, part, z, start, k, C):
    """C = Z'WZ, block by block (lower block triangle), as for one predictor."""
    C[:] = 0.0
    for i in range(z.shape[0]):
        block = 0
        row0 = 0
        for t in range(k.size):
            col0 = 0
            for tt in range(t + 1):
                position = start[i, block]
                for c in range(row0, row0 + k[t]):
                    for d in range(col0, col0 + k[tt]):
                        C[position] += w[pair(part[c], part[d]), i] * z[i, c] * z[i, d]
                        position += 1
                block += 1
                col0 += k[tt]
            row0 += k[t]


@kernel
def pair_variances(part, z, start, k, S, v):
    """v_kl: how log|H| moves with the stored weight of each pair of predictors in each row; filled in place."""
    v[:] = 0.0
    for i in range(z.shape[0]):
        block = 0
        row0 = 0
        for t in range(k.size):
            col0 = 0
            for tt in range(t + 1):
                position = start[i, block]
                twice = 1.0 if t == tt else 2.0
                for c in range(row0, row0 + k[t]):
                    for d in range(col0, col0 + k[tt]):
                        v[pair(part[c], part[d]), i] += twice * z[i, c] * S[position] * z[i, d]
                        position += 1
                block += 1
                col0 += k[tt]
            row0 += k[t]


@kernel
def contract(dh, v, tv):
    """tv_m = sum over pairs of v_kl dh_klm, filled in place."""
    tv[:] = 0.0
    K, n = tv.shape
    for k in range(K):
        for other in range(k + 1):
            for m in range(K):
                here, there = pair(k, other), triple(k, other, m)
                for i in range(n):
                    tv[m, i] += v[here, i] * dh[there, i]


@kernel
def residual_rows(part, fixed, s, h, tv, index, z, b, Ma, r, ztr):
    """M a + fixed, r = tv - 2 s - h (M a), and Z'r; filled in place."""
    linear_predictors(part, fixed, index, z, b, Ma)
    K, n = Ma.shape
    for k in range(K):
        for i in range(n):
            total = tv[k, i] - 2.0 * s[k, i]
            for other in range(K):
                total -= h[pair(k, other), i] * Ma[other, i]
            r[k, i] = total
    transpose_times(part, index, z, r, ztr)


@kernel
def fixed_cross(part, x_part, index, z, X, w, ZtWX, XtWX):
    """Z'WX, shape (q, p), and X'WX, filled in place; ``x_part``: the predictor of each column of X."""
    ZtWX[:] = 0.0
    XtWX[:] = 0.0
    n, r = z.shape
    p = X.shape[1]
    for i in range(n):
        for c in range(p):
            for j in range(r):
                ZtWX[index[i, j], c] += z[i, j] * w[pair(part[j], x_part[c]), i] * X[i, c]
            for d in range(c + 1):
                XtWX[c, d] += X[i, c] * w[pair(x_part[c], x_part[d]), i] * X[i, d]
    for c in range(p):
        for d in range(c):
            XtWX[d, c] = XtWX[c, d]


@dataclass(frozen=True)
class CoupledLayout(RandomLayout):
    """A :class:`RandomLayout` whose columns belong to one of several predictors.

    Attributes
    ----------
    part : int array, shape (r,)
        Predictor of each nonzero of a row.
    x_part : int array, shape (p,)
        Predictor of each column of X.
    """

    part: IntArray
    x_part: IntArray

    def predict(self, T: FloatArray, u: FloatArray, fixed: FloatArray, b: FloatArray, eta: FloatArray) -> None:
        """b = Lambda u and eta = fixed + Z b, filled in place."""
        rows.lambda_times(T, self.T_start, self.k, self.levels, u, b)
        linear_predictors(self.part, fixed, self.index, self.z, b, eta)

    def linear_predictor(self, fixed: FloatArray, b: FloatArray, eta: FloatArray) -> None:
        """Eta = fixed + Z b, filled in place."""
        linear_predictors(self.part, fixed, self.index, self.z, b, eta)

    def rows_times(self, b: FloatArray, out: FloatArray) -> None:
        """Z b, filled in place."""
        linear_predictors(self.part, np.zeros_like(out), self.index, self.z, b, out)

    def transpose_times(self, s: FloatArray, out: FloatArray) -> None:
        """Z's, filled in place."""
        transpose_times(self.part, self.index, self.z, s, out)

    def weigh(self, w: FloatArray, values: FloatArray) -> FloatArray:
        """W times each of ``values``, shape (m, K, n) or (K, n)."""
        out = np.empty(values.shape)
        shape = (len(values) if values.ndim == 3 else 1, *values.shape[-2:])
        weigh(w, np.ascontiguousarray(values).reshape(shape), out.reshape(shape))
        return out

    def normal_matrix(self, weights: FloatArray, T: FloatArray, C: FloatArray, H: FloatArray) -> None:
        """C = Z'WZ and H = Lambda' C Lambda + I, filled in place."""
        accumulate_blocks(weights, self.part, self.z, self.start, self.k, C)
        rows.scale_blocks(C, self.block_start, self.block_row, self.block_col, self.k, T, self.T_start, self.where, H)
        rows.add_identity(H, self.diagonal)

    def normal_equations(
        self,
        s: FloatArray,
        w: FloatArray,
        u: FloatArray,
        T: FloatArray,
        zts: FloatArray,
        gradient: FloatArray,
        C: FloatArray,
        H: FloatArray,
    ) -> float:
        """Z's, M's - u, C and H, filled in place; the sum of the gradient."""
        transpose_times(self.part, self.index, self.z, s, zts)
        self.normal_matrix(w, T, C, H)
        rows.lambda_transpose_times(T, self.T_start, self.k, self.levels, zts, gradient)
        gradient -= u
        return float(gradient.sum())

    def fixed_cross(
        self,
        X: FloatArray,
        weights: FloatArray,
        T: FloatArray,
        WX: FloatArray,
        ZtWX: FloatArray,
        LtZtWX: FloatArray,
        XtWX: FloatArray,
    ) -> None:
        """Lambda'Z'WX (as rows) and X'WX, filled in place by way of Z'WX; ``WX`` is not needed."""
        fixed_cross(self.part, self.x_part, self.index, self.z, X, weights, ZtWX, XtWX)
        turned = np.empty_like(ZtWX)
        rows.lambda_transpose_matrix(T, self.T_start, self.k, self.levels, ZtWX, turned)
        LtZtWX[:] = turned.T

    def logdet_derivatives(
        self,
        inverse: FloatArray,
        t: FloatArray,
        T: FloatArray,
        C: FloatArray,
        A: FloatArray,
        v: FloatArray,
        tv: FloatArray,
        c: FloatArray,
    ) -> None:
        """A (see :func:`.layout.unscale_blocks`), v, t v and c = M'(t v), filled in place."""
        S, ztv = np.empty(self.n_block_values), np.empty(self.q)
        blocks = self.block_start, self.block_row, self.block_col
        rows.unscale_blocks(inverse, *blocks, self.k, T, self.T_start, self.where, C, S, A)
        pair_variances(self.part, self.z, self.start, self.k, S, v)
        contract(t, v, tv)
        transpose_times(self.part, self.index, self.z, tv, ztv)
        rows.lambda_transpose_times(T, self.T_start, self.k, self.levels, ztv, c)

    def total_derivatives(
        self,
        a: FloatArray,
        fixed: FloatArray,
        s: FloatArray,
        h: FloatArray,
        tv: FloatArray,
        u: FloatArray,
        zts: FloatArray,
        T: FloatArray,
        Ma: FloatArray,
        r: FloatArray,
        d_T: FloatArray,
    ) -> None:
        """M a + ``fixed`` and r = t v - 2 s - h (M a), filled in place; dD/dT added to ``d_T``."""
        b, ztr = np.empty(self.q), np.empty(self.q)
        rows.lambda_times(T, self.T_start, self.k, self.levels, a, b)
        residual_rows(self.part, fixed, s, h, tv, self.index, self.z, b, Ma, r, ztr)
        rows.level_outer(self.k, self.T_start, self.levels, ztr, u, d_T)
        rows.level_outer(self.k, self.T_start, self.levels, zts, a, d_T)
