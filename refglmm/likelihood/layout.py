r"""From rows to the normal equations of the random effects, and back.

Place in the reading order: after ``state``, before ``pirls``.

Row i of the random-effects model matrix Z has r nonzeros: for each term t the k_t column values of that row,
standing in the columns of its level. Two facts make everything cheap:

* :math:`C = Z' W Z` does not depend on theta, and consists of small dense blocks, one for each *observed* pair
  (level of term t, level of term t'). One pass over the rows fills them.
* :math:`\Lambda` is block diagonal with the same k_t x k_t factor T_t at each level, so the block of
  :math:`H = \Lambda' C \Lambda + I` is :math:`T_t' C_{tt'} T_{t'}`.

The same block numbers serve the way back: with :math:`S = \Lambda H^{-1} \Lambda'` on these blocks,
:math:`v_i = z_i' S z_i` is the variance that the gradient of log|H| needs (DESIGN section 5).

All formulas are in Bates et al. (2015), section 3; the order of u is term, then level, then column.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm._jit import inline, kernel
from refglmm.likelihood.cholesky import Pattern, factor_of

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


# The loops over rows below are written for any number r of nonzeros a row, and called with r = 1, 2, 3 as constants:
# then the compiler unrolls what happens inside a row, which makes them two to three times as fast.
@inline
def _linear_rows(r, fixed, index, z, b, eta):
    for i in range(eta.size):
        value = fixed[i]
        for j in range(r):
            value += z[i, j] * b[index[i, j]]
        eta[i] = value


@kernel
def linear_predictor(fixed, index, z, b, eta):
    """eta_i = fixed_i + z_i' b; ``fixed`` holds offset + X beta. Filled in place."""
    r = z.shape[1]
    if r == 1:
        _linear_rows(1, fixed, index, z, b, eta)
    elif r == 2:
        _linear_rows(2, fixed, index, z, b, eta)
    else:
        _linear_rows(r, fixed, index, z, b, eta)


@kernel
def rows_times(index, z, b, out):
    """Z b, filled in place."""
    n, r = z.shape
    for i in range(n):
        value = 0.0
        for j in range(r):
            value += z[i, j] * b[index[i, j]]
        out[i] = value


@kernel
def transpose_times(index, z, s, out):
    """Z's, filled in place."""
    out[:] = 0.0
    n, r = z.shape
    for i in range(n):
        for j in range(r):
            out[index[i, j]] += z[i, j] * s[i]


@kernel
def cross_columns(index, z, w, X, ZtWX):
    """Z'WX, shape (q, p), filled in place."""
    ZtWX[:] = 0.0
    for i in range(index.shape[0]):
        for j in range(index.shape[1]):
            weight = w[i] * z[i, j]
            row = index[i, j]
            for c in range(X.shape[1]):
                ZtWX[row, c] += weight * X[i, c]


@kernel
def accumulate_blocks(w, z, start, k, C):
    """C = Z'WZ, block by block (lower block triangle). ``start[i, pair]`` says where a row's block begins."""
    C[:] = 0.0
    n = z.shape[0]
    n_terms = k.size
    for i in range(n):
        pair = 0
        row0 = 0
        for t in range(n_terms):
            col0 = 0
            for tt in range(t + 1):
                position = start[i, pair]
                for c in range(k[t]):
                    weight = w[i] * z[i, row0 + c]
                    for d in range(k[tt]):
                        C[position] += weight * z[i, col0 + d]
                        position += 1
                pair += 1
                col0 += k[tt]
            row0 += k[t]


@kernel
def scale_blocks(C, block_start, block_row, block_col, k, T, T_start, where, H):
    """H = Lambda' C Lambda + I on the CSC pattern: block T_t' C_tt' T_t', identity added on the diagonal."""
    k_max = 0
    for t in range(k.size):
        k_max = max(k_max, k[t])
    work = np.empty((k_max, k_max))
    for block in range(block_start.size):
        t, tt = block_row[block], block_col[block]
        m, mm = k[t], k[tt]
        position = block_start[block]
        if m == 1 and mm == 1:
            H[where[position]] = C[position] * T[T_start[t]] * T[T_start[tt]]
            continue
        for c in range(m):
            for d in range(mm):
                value = 0.0
                for e in range(d, mm):
                    value += C[position + c * mm + e] * T[T_start[tt] + e * mm + d]
                work[c, d] = value
        for c in range(m):
            for d in range(mm):
                slot = where[position + c * mm + d]
                if slot >= 0:
                    value = 0.0
                    for e in range(c, m):
                        value += T[T_start[t] + e * m + c] * work[e, d]
                    H[slot] = value


@kernel
def add_identity(H, diagonal):
    """H += I."""
    for j in range(diagonal.size):
        H[diagonal[j]] += 1.0


@kernel
def add_product(rows, inner, columns, x, x_at, x_row, x_inner, y, y_at, y_inner, y_column, out, out_at):
    """Add the product of two small matrices to a third, by rows; all in flat arrays, with their corners and strides."""
    for c in range(rows):
        for d in range(columns):
            value = 0.0
            for e in range(inner):
                value += x[x_at + c * x_row + e * x_inner] * y[y_at + e * y_inner + d * y_column]
            out[out_at + c * columns + d] += value


@kernel
def unscale_blocks(inverse, block_start, block_row, block_col, k, T, T_start, where, C, S, A):
    r"""From :math:`H^{-1}` on the pattern: S = Lambda H^-1 Lambda' by blocks, and the traces' matrices.

    A (flat, aligned with T) collects for each term :math:`A_t = \sum C_{t t'} T_{t'} (H^{-1})_{t' t}` over all
    blocks in block row t, so that :math:`tr(H^{-1}\,d\Lambda_t' C \Lambda) = \langle dT_t, A_t\rangle`.
    """
    A[:] = 0.0
    S[:] = 0.0
    k_max = 0
    for term in range(k.size):
        k_max = max(k_max, k[term])
    hinv, work = np.empty(k_max * k_max), np.empty(k_max * k_max)
    # Integers of one type, or the compiler makes a version of add_product for each combination of types.
    nil, one = np.int64(0), np.int64(1)
    for block in range(block_start.size):
        t, tt, position = np.int64(block_row[block]), np.int64(block_col[block]), np.int64(block_start[block])
        m, mm, here, there = np.int64(k[t]), np.int64(k[tt]), np.int64(T_start[t]), np.int64(T_start[tt])
        if m == 1 and mm == 1:
            value = inverse[where[position]]
            S[position] = value * T[here] * T[there]
            A[here] += C[position] * T[there] * value
            if t != tt:
                A[there] += C[position] * T[here] * value
            continue
        for c in range(m):
            for d in range(mm):
                slot = where[position + c * mm + d]
                hinv[c * mm + d] = inverse[slot] if slot >= 0 else inverse[where[position + d * mm + c]]
        # A_t += C_tt' T_t' Hinv_t't   and, off the diagonal, A_t' += C_t't T_t Hinv_tt'
        work[:] = 0.0
        add_product(m, mm, mm, C, position, mm, one, T, there, mm, one, work, nil)
        add_product(m, mm, m, work, nil, mm, one, hinv, nil, one, mm, A, here)
        if mm == 1 or where[position + mm - 1] >= 0:
            work[:] = 0.0
            add_product(mm, m, m, C, position, one, mm, T, here, m, one, work, nil)
            add_product(mm, m, mm, work, nil, m, one, hinv, nil, mm, one, A, there)
        # S_tt' = T_t Hinv T_t''
        work[:] = 0.0
        add_product(m, m, mm, T, here, m, one, hinv, nil, mm, one, work, nil)
        add_product(m, mm, mm, work, nil, mm, one, T, there, one, mm, S, position)


@kernel
def row_variances(z, start, k, S, v):
    """v_i = z_i' S z_i, the variance of the random part of eta_i given the weights; filled in place."""
    n = z.shape[0]
    n_terms = k.size
    for i in range(n):
        value = 0.0
        pair = 0
        row0 = 0
        for t in range(n_terms):
            col0 = 0
            for tt in range(t + 1):
                position = start[i, pair]
                part = 0.0
                for c in range(k[t]):
                    for d in range(k[tt]):
                        part += z[i, row0 + c] * S[position] * z[i, col0 + d]
                        position += 1
                value += part if t == tt else 2.0 * part
                pair += 1
                col0 += k[tt]
            row0 += k[t]
        v[i] = value


@kernel
def lambda_times(T, T_start, k, levels, u, out):
    """Lambda u: T_t times each level's piece of u; filled in place."""
    position = 0
    for t in range(k.size):
        m = k[t]
        for _ in range(levels[t]):
            for c in range(m):
                value = 0.0
                for d in range(c + 1):
                    value += T[T_start[t] + c * m + d] * u[position + d]
                out[position + c] = value
            position += m


@kernel
def lambda_transpose_times(T, T_start, k, levels, g, out):
    """Lambda' g, filled in place."""
    position = 0
    for t in range(k.size):
        m = k[t]
        for _ in range(levels[t]):
            for c in range(m):
                value = 0.0
                for d in range(c, m):
                    value += T[T_start[t] + d * m + c] * g[position + d]
                out[position + c] = value
            position += m


@kernel
def lambda_transpose_matrix(T, T_start, k, levels, G, out):
    """Lambda' G for a matrix G of shape (q, p), filled in place."""
    position = 0
    p = G.shape[1]
    for t in range(k.size):
        m = k[t]
        for _ in range(levels[t]):
            for c in range(m):
                for j in range(p):
                    value = 0.0
                    for d in range(c, m):
                        value += T[T_start[t] + d * m + c] * G[position + d, j]
                    out[position + c, j] = value
            position += m


@kernel
def level_outer(k, T_start, levels, g, u, out):
    """Add sum over levels of g_level u_level' to the term matrices ``out`` (flat, aligned with T)."""
    position = 0
    for t in range(k.size):
        m = k[t]
        for _ in range(levels[t]):
            for c in range(m):
                for d in range(m):
                    out[T_start[t] + c * m + d] += g[position + c] * u[position + d]
            position += m


@kernel
def predict(T, T_start, k, levels, u, fixed, index, z, b, eta):
    """b = Lambda u and eta = fixed + Z b, filled in place: one call where a step needs both."""
    lambda_times(T, T_start, k, levels, u, b)
    linear_predictor(fixed, index, z, b, eta)


@kernel
def normal_matrix(w, z, start, k, T, T_start, block_start, block_row, block_col, where, diagonal, C, H):
    """C = Z'WZ and H = Lambda' C Lambda + I, filled in place."""
    accumulate_blocks(w, z, start, k, C)
    scale_blocks(C, block_start, block_row, block_col, k, T, T_start, where, H)
    add_identity(H, diagonal)


@inline
def _score_and_block_rows(r, s, w, index, z, start, zts, C):
    """Z's and C = Z'WZ in one pass, for terms of one column each: every block is a number."""
    zts[:] = 0.0
    C[:] = 0.0
    for i in range(w.size):
        pair = 0
        for t in range(r):
            zts[index[i, t]] += z[i, t] * s[i]
            weight = w[i] * z[i, t]
            for tt in range(t + 1):
                C[start[i, pair]] += weight * z[i, tt]
                pair += 1


@kernel
def normal_equations(
    s,
    w,
    u,
    index,
    z,
    start,
    k,
    levels,
    T,
    T_start,
    block_start,
    block_row,
    block_col,
    where,
    diagonal,
    zts,
    gradient,
    C,
    H,
):
    """Both sides of a Newton step: M's - u (``zts``: Z's on the way) and H, filled in place.

    Returns the sum of the gradient, which is not finite where u is outside the domain of the link.
    """
    r = z.shape[1]
    if r > k.size:
        transpose_times(index, z, s, zts)
        accumulate_blocks(w, z, start, k, C)
    elif r == 1:
        _score_and_block_rows(1, s, w, index, z, start, zts, C)
    elif r == 2:
        _score_and_block_rows(2, s, w, index, z, start, zts, C)
    else:
        _score_and_block_rows(r, s, w, index, z, start, zts, C)
    scale_blocks(C, block_start, block_row, block_col, k, T, T_start, where, H)
    add_identity(H, diagonal)
    lambda_transpose_times(T, T_start, k, levels, zts, gradient)
    total = 0.0
    for j in range(u.size):
        gradient[j] -= u[j]
        total += gradient[j]
    return total


@inline
def _variance_rows(r, t, index, z, start, S, v, tv, ztv):
    """v, t v and Z'(t v) in one pass, for terms of one column each."""
    ztv[:] = 0.0
    for i in range(v.size):
        value = 0.0
        pair = 0
        for a in range(r):
            part = 0.0
            for b in range(a):
                part += S[start[i, pair]] * z[i, b]
                pair += 1
            value += z[i, a] * (2.0 * part + S[start[i, pair]] * z[i, a])
            pair += 1
        v[i] = value
        tv[i] = t[i] * value
        for a in range(r):
            ztv[index[i, a]] += z[i, a] * tv[i]


@kernel
def logdet_derivatives(
    inverse, t, index, z, start, k, levels, T, T_start, block_start, block_row, block_col, where, C, S, A, v, tv, ztv, c
):
    """From H^-1 on the pattern: v, t v, A (see :func:`unscale_blocks`) and c = M'(t v), filled in place."""
    unscale_blocks(inverse, block_start, block_row, block_col, k, T, T_start, where, C, S, A)
    r = z.shape[1]
    if r > k.size:
        row_variances(z, start, k, S, v)
        for i in range(v.size):
            tv[i] = t[i] * v[i]
        transpose_times(index, z, tv, ztv)
    elif r == 1:
        _variance_rows(1, t, index, z, start, S, v, tv, ztv)
    elif r == 2:
        _variance_rows(2, t, index, z, start, S, v, tv, ztv)
    else:
        _variance_rows(r, t, index, z, start, S, v, tv, ztv)
    lambda_transpose_times(T, T_start, k, levels, ztv, c)


@inline
def _residual_rows(m, fixed, s, h, tv, index, z, b, Ma, r, ztr):
    """M a, r and Z'r in one pass; m nonzeros a row."""
    ztr[:] = 0.0
    for i in range(r.size):
        value = fixed[i]
        for j in range(m):
            value += z[i, j] * b[index[i, j]]
        Ma[i] = value
        r[i] = tv[i] - 2.0 * s[i] - h[i] * value
        for j in range(m):
            ztr[index[i, j]] += z[i, j] * r[i]


@kernel
def total_derivatives(a, fixed, s, h, tv, u, zts, index, z, k, levels, T, T_start, b, ztr, Ma, r, d_T):
    """M a + ``fixed`` and r = t v - 2 s - h (M a); adds sum (Z'r) u' + (Z's) a' over levels to dD/dT, in place."""
    lambda_times(T, T_start, k, levels, a, b)
    m = z.shape[1]
    if m == 1:
        _residual_rows(1, fixed, s, h, tv, index, z, b, Ma, r, ztr)
    elif m == 2:
        _residual_rows(2, fixed, s, h, tv, index, z, b, Ma, r, ztr)
    else:
        _residual_rows(m, fixed, s, h, tv, index, z, b, Ma, r, ztr)
    level_outer(k, T_start, levels, ztr, u, d_T)
    level_outer(k, T_start, levels, zts, a, d_T)


@kernel
def fixed_cross(index, z, X, weights, T, T_start, k, levels, WX, ZtWX, LtZtWX):
    """WX and Lambda'Z'WX by way of Z'WX, filled in place; ``LtZtWX`` is (p, q), a row for each column of X."""
    ZtWX[:] = 0.0
    n, r = z.shape
    p = X.shape[1]
    for i in range(n):
        for c in range(p):
            WX[i, c] = weights[i] * X[i, c]
        for j in range(r):
            for c in range(p):
                ZtWX[index[i, j], c] += z[i, j] * WX[i, c]
    position = 0
    for t in range(k.size):
        m = k[t]
        for _ in range(levels[t]):
            for c in range(m):
                for j in range(p):
                    value = 0.0
                    for d in range(c, m):
                        value += T[T_start[t] + d * m + c] * ZtWX[position + d, j]
                    LtZtWX[j, position + c] = value
            position += m


@dataclass(frozen=True)
class RandomLayout:
    """Index arrays that tie rows, blocks and the CSC pattern of H together; built once per model.

    Attributes
    ----------
    index : int array, shape (n, r); z : float array, shape (n, r)
        Column of Z and value of each nonzero of each row.
    start : int array, shape (n, number of term pairs)
        Where the row's block of each term pair (t, t' <= t) begins in the flat array of blocks.
    k, levels : int array, shape (terms,)
        Columns and levels of each term; q = sum(k * levels).
    T_start : int array
        Where each term's k x k factor begins in the flat array of factors.
    block_start, block_row, block_col : int array, shape (blocks,)
        Beginning, row term and column term of each block.
    where : int array, shape (size of the flat array of blocks,)
        Position in the CSC values of H; -1 above the diagonal.
    """

    n: int
    q: int
    index: NDArray[np.int32]
    z: FloatArray
    start: IntArray
    k: IntArray
    levels: IntArray
    T_start: IntArray
    T_size: int
    block_start: IntArray
    block_row: IntArray
    block_col: IntArray
    where: IntArray
    n_block_values: int
    indptr: NDArray[np.int32]
    indices: NDArray[np.int32]
    diagonal: IntArray

    @property
    def nnz(self) -> int:
        """Nonzeros of the lower triangle of H."""
        return int(self.indices.size)

    @cached_property
    def level_blocks(self) -> list[list[IntArray]]:
        """[t][s], s <= t, shape (observed pairs of levels, k_t, k_s): where their blocks stand in the values of H."""
        blocks: list[list[IntArray]] = []
        for t in range(self.k.size):
            blocks.append([])
            for s in range(t + 1):
                first = self.block_start[(self.block_row == t) & (self.block_col == s)]
                slots = self.where[first[:, None] + np.arange(self.k[t] * self.k[s])]
                slots = slots.reshape(first.size, self.k[t], self.k[s])
                blocks[t].append(np.maximum(slots, slots.transpose(0, 2, 1)) if s == t else slots)
        return blocks

    # What follows calls the loops above; a model with several predictors has the same methods (see ``coupled``).

    def predict(self, T: FloatArray, u: FloatArray, fixed: FloatArray, b: FloatArray, eta: FloatArray) -> None:
        """b = Lambda u and eta = fixed + Z b, filled in place."""
        predict(T, self.T_start, self.k, self.levels, u, fixed, self.index, self.z, b, eta)

    def linear_predictor(self, fixed: FloatArray, b: FloatArray, eta: FloatArray) -> None:
        """Eta = fixed + Z b, filled in place."""
        linear_predictor(fixed, self.index, self.z, b, eta)

    def rows_times(self, b: FloatArray, out: FloatArray) -> None:
        """Z b, filled in place."""
        rows_times(self.index, self.z, b, out)

    def transpose_times(self, s: FloatArray, out: FloatArray) -> None:
        """Z's, filled in place."""
        transpose_times(self.index, self.z, s, out)

    def weigh(self, w: FloatArray, values: FloatArray) -> FloatArray:
        """W times each row of values, shape (m, n)."""
        return values * w

    def normal_matrix(self, weights: FloatArray, T: FloatArray, C: FloatArray, H: FloatArray) -> None:
        """C = Z'WZ and H = Lambda' C Lambda + I, filled in place."""
        normal_matrix(
            weights,
            self.z,
            self.start,
            self.k,
            T,
            self.T_start,
            self.block_start,
            self.block_row,
            self.block_col,
            self.where,
            self.diagonal,
            C,
            H,
        )

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
        return normal_equations(
            s,
            w,
            u,
            self.index,
            self.z,
            self.start,
            self.k,
            self.levels,
            T,
            self.T_start,
            self.block_start,
            self.block_row,
            self.block_col,
            self.where,
            self.diagonal,
            zts,
            gradient,
            C,
            H,
        )

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
        """Lambda'Z'WX (as rows) and X'WX, filled in place by way of Z'WX and WX."""
        fixed_cross(self.index, self.z, X, weights, T, self.T_start, self.k, self.levels, WX, ZtWX, LtZtWX)
        np.dot(WX.T, X, out=XtWX)

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
        """A (see :func:`unscale_blocks`), v, t v and c = M'(t v), filled in place."""
        logdet_derivatives(
            inverse,
            t,
            self.index,
            self.z,
            self.start,
            self.k,
            self.levels,
            T,
            self.T_start,
            self.block_start,
            self.block_row,
            self.block_col,
            self.where,
            C,
            np.zeros(self.n_block_values),
            A,
            v,
            tv,
            np.empty(self.q),
            c,
        )

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
        total_derivatives(
            a,
            fixed,
            s,
            h,
            tv,
            u,
            zts,
            self.index,
            self.z,
            self.k,
            self.levels,
            T,
            self.T_start,
            np.empty(self.q),
            np.empty(self.q),
            Ma,
            r,
            d_T,
        )

    def make_factor(self, engine: str = "auto") -> Any:
        """Analyse the pattern of H once; the values come later."""
        first = int(self.k[0] * self.levels[0]) if self.k.size else 0
        return factor_of(self.pattern, engine, int(self.k[0]) if self.k.size else 1, first)

    @cached_property
    def pattern(self) -> Pattern:
        """Pattern of H, with whatever its factors find out about it."""
        return Pattern(self.indptr, self.indices, self.q)


# Up to so many cells a row a table over all pairs of levels costs less than sorting the rows.
_CELLS_PER_ROW = 16


def _pair_blocks(codes: NDArray[Any], other: NDArray[Any], levels: int, other_levels: int) -> tuple[IntArray, Any]:
    """Observed pairs of levels: key of each distinct pair, ascending, and which of them each row has."""
    keys = np.multiply(codes, other_levels, dtype=np.int64)
    keys += other
    cells = levels * other_levels
    if cells > _CELLS_PER_ROW * keys.size:
        return np.unique(keys, return_inverse=True)
    observed = np.zeros(cells, dtype=np.bool_)
    observed[keys] = True
    distinct = np.flatnonzero(observed)
    number = np.empty(cells, dtype=np.int32)  # read at observed pairs only
    number[distinct] = np.arange(distinct.size, dtype=np.int32)
    return distinct, number[keys]


def build_layout(codes: Sequence[NDArray[Any]], Z: Sequence[FloatArray], levels: Sequence[int], n: int) -> RandomLayout:
    """Tie rows, blocks and the pattern of H together.

    Parameters
    ----------
    codes : one int array of shape (n,) a term
        Level of each row, 0-based.
    Z : one float array of shape (n, k_t) a term
        Values of the term's columns.
    levels : number of levels of each term
    n : rows
    """
    k = [values.shape[1] for values in Z]
    n_terms, width = len(k), sum(k)
    offset = [0, *itertools.accumulate(m * size for m, size in zip(k, levels, strict=True))]
    z = np.ascontiguousarray(Z[0] if n_terms == 1 else np.hstack([*Z, np.empty((n, 0))]))
    index = np.empty((n, width), dtype=np.int32)
    position = 0
    for t in range(n_terms):
        for c in range(k[t]):
            np.multiply(codes[t], k[t], out=index[:, position], casting="same_kind")
            index[:, position] += offset[t] + c
            position += 1
    start = np.empty((n, n_terms * (n_terms + 1) // 2), dtype=np.int64)
    pieces: list[tuple[int, int, IntArray, IntArray, int]] = []
    n_values = 0
    pair = 0
    for t in range(n_terms):
        for tt in range(t + 1):
            size = k[t] * k[tt]
            if tt == t:
                row_level = col_level = np.arange(levels[t], dtype=np.int64)
                number = codes[t]
            else:
                keys, number = _pair_blocks(codes[t], codes[tt], levels[t], levels[tt])
                row_level, col_level = np.divmod(keys, levels[tt])
            np.multiply(number, size, out=start[:, pair], dtype=np.int64)
            start[:, pair] += n_values
            pieces.append((t, tt, offset[t] + row_level * k[t], offset[tt] + col_level * k[tt], n_values))
            n_values += row_level.size * size
            pair += 1
    return _attach_pattern(n, offset[-1], index, z, start, k, levels, pieces, n_values)


def _attach_pattern(
    n: int,
    q: int,
    index: NDArray[np.int32],
    z: FloatArray,
    start: IntArray,
    k: list[int],
    levels: Sequence[int],
    pieces: list[tuple[int, int, IntArray, IntArray, int]],
    n_values: int,
) -> RandomLayout:
    """Number the lower-triangle elements of all blocks in CSC order."""
    none = np.empty(0, dtype=np.int64)
    rows, cols, slots, block_start = [none], [none], [none], [none]
    for t, tt, row0, col0, begin in pieces:
        m, mm = k[t], k[tt]
        first = np.arange(begin, begin + row0.size * m * mm, m * mm, dtype=np.int64)
        block_start.append(first)
        for c in range(m):
            for d in range(mm if tt != t else c + 1):
                rows.append(row0 + c)
                cols.append(col0 + d)
                slots.append(first + (c * mm + d))
    row, col, slot = np.concatenate(rows), np.concatenate(cols), np.concatenate(slots)
    del rows, cols, slots
    order = np.argsort(col * np.int64(q) + row)  # no two are equal
    where = np.full(n_values, -1, dtype=np.int64)
    where[slot[order]] = np.arange(slot.size)
    indptr = np.searchsorted(col[order], np.arange(q + 1)).astype(np.int32)
    sizes = [row0.size for _, _, row0, _, _ in pieces]
    T_start = [0, *itertools.accumulate(m * m for m in k)]
    return RandomLayout(
        n=n,
        q=q,
        index=index,
        z=z,
        start=start,
        k=np.array(k, dtype=np.int64),
        levels=np.array(levels, dtype=np.int64),
        T_start=np.array(T_start[:-1], dtype=np.int64),
        T_size=T_start[-1],
        block_start=np.concatenate(block_start),
        block_row=np.repeat(np.array([t for t, *_ in pieces], dtype=np.int64), sizes),
        block_col=np.repeat(np.array([tt for _, tt, *_ in pieces], dtype=np.int64), sizes),
        where=where,
        n_block_values=n_values,
        indptr=indptr,
        indices=row[order].astype(np.int32),
        diagonal=indptr[:-1].astype(np.int64),
    )
