r"""The loops behind the criterion of a linear mixed model: from theta to the factor, and on to the gradient.

Place in the reading order: after ``agq``, before ``profiled``. :math:`C = Z'WZ` stands in the blocks of
:mod:`.layout`; :math:`B = Z'W^{1/2}[Q, r]`, shape (q, p + 1), holds the products with a basis Q of the fixed effects
and with the residual r of least squares. Nothing here runs through the rows of the data.
"""

from __future__ import annotations

import numpy as np

from refglmm._jit import inline, kernel
from refglmm.likelihood.layout import add_identity, lambda_transpose_matrix, level_outer, scale_blocks, unscale_blocks


@kernel
def scaled_system(C, block_start, block_row, block_col, k, T, T_start, levels, where, diagonal, B, H):
    """H = Lambda'C Lambda + I on its pattern, filled in place; returns Lambda'B."""
    scale_blocks(C, block_start, block_row, block_col, k, T, T_start, where, H)
    add_identity(H, diagonal)
    scaled = np.empty_like(B)
    lambda_transpose_matrix(T, T_start, k, levels, B, scaled)
    return scaled


@kernel
def eliminate_fixed(S):
    r"""Profile beta out of the Schur complement S of [Q, r], shape (p + 1, p + 1).

    Returns R, upper triangular with R'R the leading block of S; M, whose columns [R^{-1}, (-gamma, 1)] take [Q, r] to
    columns orthogonal under V^{-1}; pwrss, the square of the last of them; and log|R'R|. A pivot that is not positive
    makes nan of them.
    """
    p = S.shape[0] - 1
    R, M = np.zeros((p, p)), np.zeros((p + 1, p + 1))
    last = np.empty(p)  # R^{-T} times the last column of S: what each basis column explains of r
    pwrss = S[p, p]
    logdet = 0.0
    for j in range(p):
        for i in range(j + 1):
            total = S[i, j]
            for t in range(i):
                total -= R[t, i] * R[t, j]
            R[i, j] = total / R[i, i] if i < j else np.sqrt(total) if total > 0.0 else np.nan
        total = S[j, p]
        for t in range(j):
            total -= R[t, j] * last[t]
        last[j] = total / R[j, j]
        pwrss -= last[j] * last[j]
        logdet += 2.0 * np.log(R[j, j])
    for j in range(p):
        M[j, j] = 1.0 / R[j, j]
        for i in range(j - 1, -1, -1):
            for t in range(i + 1, j + 1):
                M[i, j] -= R[i, t] * M[t, j]
            M[i, j] /= R[i, i]
    M[p, p] = 1.0
    for i in range(p):
        for t in range(i, p):
            M[i, p] -= M[i, t] * last[t]
    return R, M, pwrss, logdet


@inline
def _subtract_blocks(C, block_start, block_row, block_col, k, row_of, col_of, X, out):
    """out := out - C X for the symmetric block matrix C, of which the lower block triangle is stored."""
    for block in range(block_start.size):
        m, mm = k[block_row[block]], k[block_col[block]]
        position = block_start[block]
        row, col = row_of[block], col_of[block]
        for c in range(m):
            for d in range(mm):
                value = C[position + c * mm + d]
                for j in range(X.shape[1]):
                    out[row + c, j] -= value * X[col + d, j]
                    if row != col:
                        out[col + d, j] -= value * X[row + c, j]


@inline
def _lambda_times_matrix(T, T_start, k, levels, U):
    """Lambda U."""
    out = np.empty_like(U)
    position = 0
    for t in range(k.size):
        m = k[t]
        for _ in range(levels[t]):
            for c in range(m):
                for j in range(U.shape[1]):
                    value = 0.0
                    for d in range(c + 1):
                        value += T[T_start[t] + c * m + d] * U[position + d, j]
                    out[position + c, j] = value
            position += m
    return out


@kernel
def blocks_times(C, block_start, block_row, block_col, k, row_of, col_of, X):
    """C X."""
    out = np.zeros_like(X)
    _subtract_blocks(C, block_start, block_row, block_col, k, row_of, col_of, X, out)
    return -out


@kernel
def residual_products(C, block_start, block_row, block_col, k, row_of, col_of, T, T_start, levels, Y, U):
    """Y - C Lambda U: Z'W times the residuals whose modes are the columns of U."""
    G = Y.copy()
    _subtract_blocks(
        C, block_start, block_row, block_col, k, row_of, col_of, _lambda_times_matrix(T, T_start, k, levels, U), G
    )
    return G


@kernel
def stationary_products(T, T_start, k, levels, u, g):
    """Improve g = Z'Wr by Lambda'g = u, which holds at the mode: where T_cc > 1, dividing u loses fewer digits."""
    position = 0
    for t in range(k.size):
        m = k[t]
        for _ in range(levels[t]):
            for c in range(m - 1, -1, -1):
                pivot = T[T_start[t] + c * m + c]
                if abs(pivot) > 1.0:
                    value = u[position + c]
                    for d in range(c + 1, m):
                        value -= T[T_start[t] + d * m + c] * g[position + d]
                    g[position + c] = value / pivot
            position += m


@kernel
def slopes(inverse, C, block_start, block_row, block_col, k, T, T_start, levels, where, G, U, S):
    r"""What the gradient is made of, as two matrices aligned with T and summed over the levels.

    The first is :math:`\sum C\Lambda H^{-1}` less :math:`\sum g\,u'` of every column of G and U but the last, the
    second :math:`\sum g\,u'` of the last. ``S`` is work space.
    """
    trace, fit = np.zeros(T.size), np.zeros(T.size)
    unscale_blocks(inverse, block_start, block_row, block_col, k, T, T_start, where, C, S, trace)
    last = U.shape[1] - 1
    level_outer(k, T_start, levels, G[:, last], U[:, last], fit)
    for j in range(last):
        level_outer(k, T_start, levels, -G[:, j], U[:, j], trace)
    return trace, fit
