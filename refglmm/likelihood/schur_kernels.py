r"""Cholesky of a crossed design: eliminate the largest grouping factor, what remains is small and dense.

Place in the reading order: after :mod:`.sparse_kernels`; :mod:`.cholesky` wraps these kernels.

With the first term's coefficients leading,

.. math:: H = \begin{pmatrix} D & B' \\ B & C \end{pmatrix}, \qquad
          L = \begin{pmatrix} L_D & \\ W & L_S \end{pmatrix}, \qquad
          W = B L_D^{-T}, \quad L_S L_S' = S = C - W W',

where D is block diagonal, one k x k block per level, so that L_D and W keep the sparsity of D and B: level g
touches only the trailing variables R_g it was observed with. No permutation is needed. S is treated as
dense (:func:`dense_factor`, or LAPACK if it is large).
The inverse on the pattern of H follows by blocks: with V_g = W_g L_g^{-1} and Z_S = S^{-1},

.. math:: Z_{R_g,g} = -Z_S[R_g,R_g]\,V_g, \qquad Z_{gg} = (L_g L_g')^{-1} - V_g' Z_{R_g,g} .

Arrays: ``D`` (levels, k, k), upper triangles; ``W`` (k, sum |R_g|), transposed, where columns
``ptr[g]:ptr[g+1]`` belong to level g and to the trailing variables ``rows`` of the same range; ``S`` (m, m),
lower triangle. They hold H before the elimination and L after it.

Source: the block elimination of Bates, Alday, Kleinschmidt et al. in MixedModels.jl's documentation
("penalized least squares"); the inverse by blocks is the usual formula for partitioned matrices.
"""

from __future__ import annotations

import numpy as np

from refglmm._jit import inline, kernel


@kernel
def trailing_density(indptr, indices, n_leading, ptr, rows):
    """Share of the entries of S (lower triangle) that are not zero after the elimination."""
    m = len(indptr) - 1 - n_leading
    filled = np.zeros((m, m), dtype=np.bool_)
    for g in range(len(ptr) - 1):
        for r in range(ptr[g], ptr[g + 1]):
            for t in range(ptr[g], r + 1):
                filled[rows[r], rows[t]] = True
    for j in range(n_leading, len(indptr) - 1):
        for p in range(indptr[j], indptr[j + 1]):
            filled[indices[p] - n_leading, j - n_leading] = True
    return filled.sum() / (m * (m + 1) / 2)


@inline
def _scatter(values, indptr, indices, where, n_leading, D, W, S):
    """Write H into its three parts, given flat."""
    D[:] = 0.0
    W[:] = 0.0
    S[:] = 0.0
    for p in range(indptr[n_leading]):
        if indices[p] < n_leading:
            D[where[p]] = values[p]
        else:
            W[where[p]] = values[p]
    for p in range(indptr[n_leading], len(values)):
        S[where[p]] = values[p]


@inline
def _factor_blocks(D):
    """Upper triangle of every D_g := R_g with R_g'R_g = D_g; return the failing column or -1."""
    n_levels, k = D.shape[0], D.shape[1]
    for g in range(n_levels):
        for a in range(k):
            d = D[g, a, a]
            for c in range(a):
                d -= D[g, c, a] * D[g, c, a]
            if not 0.0 < d < np.inf:
                return g * k + a
            D[g, a, a] = np.sqrt(d)
            for b in range(a + 1, k):
                total = D[g, a, b]
                for c in range(a):
                    total -= D[g, c, a] * D[g, c, b]
                D[g, a, b] = total / D[g, a, a]
    return -1


@inline
def _forward_columns(D, ptr, W):
    """Every column w of W := R_g^{-T} w."""
    n_levels, k = D.shape[0], D.shape[1]
    for g in range(n_levels):
        for a in range(k):
            for c in range(a):
                for r in range(ptr[g], ptr[g + 1]):
                    W[a, r] -= D[g, c, a] * W[c, r]
            for r in range(ptr[g], ptr[g + 1]):
                W[a, r] /= D[g, a, a]


@inline
def _backward_columns(D, ptr, W):
    """Every column w of W := R_g^{-1} w."""
    n_levels, k = D.shape[0], D.shape[1]
    for g in range(n_levels):
        for a in range(k - 1, -1, -1):
            for c in range(a + 1, k):
                for r in range(ptr[g], ptr[g + 1]):
                    W[a, r] -= D[g, a, c] * W[c, r]
            for r in range(ptr[g], ptr[g + 1]):
                W[a, r] /= D[g, a, a]


@inline
def _neighbours(ptr, rows, g, count):
    """Whether ``count`` levels from g on touch the same trailing variables, and these follow each other."""
    if g + count > len(ptr) - 1:
        return False
    first, size = ptr[g], ptr[g + 1] - ptr[g]
    for other in range(g, g + count):
        start = ptr[other]
        if ptr[other + 1] - start != size or size == 0:
            return False
        if rows[start] != rows[first] or rows[start + size - 1] != rows[first] + size - 1:
            return False
    return True


@inline
def _subtract_four(W, ptr, rows, g, S):
    """S := S - W'W for four levels of the same neighbouring variables: no indirect addresses, S read once."""
    a, b, c, d = ptr[g], ptr[g + 1], ptr[g + 2], ptr[g + 3]
    i0 = rows[a]
    for e in range(len(W)):
        for r in range(b - a):
            wa, wb, wc, wd = W[e, a + r], W[e, b + r], W[e, c + r], W[e, d + r]
            for t in range(r + 1):
                S[i0 + r, i0 + t] -= wa * W[e, a + t] + wb * W[e, b + t] + wc * W[e, c + t] + wd * W[e, d + t]


@inline
def _subtract_products(W, ptr, rows, S):
    """S := S - W'W, level by level, lower triangle."""
    g = 0
    while g < len(ptr) - 1:
        if _neighbours(ptr, rows, g, 4):
            _subtract_four(W, ptr, rows, g, S)
            g += 4
            continue
        first = ptr[g]
        for r in range(first, ptr[g + 1]):
            i = rows[r]
            for c in range(len(W)):
                w = W[c, r]
                for t in range(first, r + 1):
                    S[i, rows[t]] -= w * W[c, t]
        g += 1


@kernel
def eliminate(values, indptr, indices, where, ptr, rows, flat_D, flat_W, flat_S, D, W, S):
    """D := L_D', W := (B L_D^{-T})', S := C - W'W (lower triangle); return the failing column or -1.

    ``flat_D, flat_W, flat_S`` are views of the same memory.
    """
    _scatter(values, indptr, indices, where, D.shape[0] * D.shape[1], flat_D, flat_W, flat_S)
    failed = _factor_blocks(D)
    if failed < 0:
        _forward_columns(D, ptr, W)
        _subtract_products(W, ptr, rows, S)
    return failed


@kernel
def dense_factor(S):
    """Lower triangle of S := its Cholesky factor, column by column; return the failing column or -1."""
    m = len(S)
    column = np.empty(m)
    for j in range(m):
        if not 0.0 < S[j, j] < np.inf:
            return j
        S[j, j] = np.sqrt(S[j, j])
        for i in range(j + 1, m):
            S[i, j] /= S[j, j]
            column[i] = S[i, j]
        for i in range(j + 1, m):
            l_ij = column[i]
            for t in range(j + 1, i + 1):
                S[i, t] -= l_ij * column[t]
    return -1


@kernel
def mirror(Z):
    """Upper triangle := lower triangle."""
    for i in range(len(Z)):
        for j in range(i):
            Z[j, i] = Z[i, j]


@kernel
def dense_inverse(L):
    """(L L')^{-1}, from the rows y_i of L^{-1}: the sum of y_i y_i'."""
    m = len(L)
    Y, Z = np.zeros((m, m)), np.zeros((m, m))
    for i in range(m):
        for j in range(i):
            for t in range(j + 1):
                Y[i, t] -= L[i, j] * Y[j, t]
        Y[i, i] = 1.0
        for t in range(i + 1):
            Y[i, t] /= L[i, i]
        for a in range(i + 1):
            for b in range(a + 1):
                Z[a, b] += Y[i, a] * Y[i, b]
    mirror(Z)
    return Z


@kernel
def block_log_determinant(D, S):
    """log|L L'| from the diagonals of L_D and L_S."""
    total = 0.0
    for g in range(D.shape[0]):
        for a in range(D.shape[1]):
            total += np.log(D[g, a, a])
    for i in range(len(S)):
        total += np.log(S[i, i])
    return 2.0 * total


@inline
def _forward(D, W, S, ptr, rows, x, z):
    """(x, z) := L^{-1} (x, z), leading and trailing part."""
    n_levels, k = D.shape[0], D.shape[1]
    for g in range(n_levels):
        for a in range(k):
            total = x[g * k + a]
            for c in range(a):
                total -= D[g, c, a] * x[g * k + c]
            total /= D[g, a, a]
            x[g * k + a] = total
            for r in range(ptr[g], ptr[g + 1]):
                z[rows[r]] -= W[a, r] * total
    for i in range(len(z)):
        total = z[i]
        for j in range(i):
            total -= S[i, j] * z[j]
        z[i] = total / S[i, i]


@inline
def _backward(D, W, S, ptr, rows, x, z):
    """(x, z) := L^{-T} (x, z), leading and trailing part."""
    n_levels, k = D.shape[0], D.shape[1]
    for i in range(len(z) - 1, -1, -1):
        z[i] /= S[i, i]
        for j in range(i):
            z[j] -= S[i, j] * z[i]
    for g in range(n_levels):
        for a in range(k - 1, -1, -1):
            total = x[g * k + a]
            for r in range(ptr[g], ptr[g + 1]):
                total -= W[a, r] * z[rows[r]]
            for c in range(a + 1, k):
                total -= D[g, a, c] * x[g * k + c]
            x[g * k + a] = total / D[g, a, a]


@kernel
def block_solve(D, W, S, ptr, rows, forward, backward, B):
    """Apply L^{-1} (``forward``), then L^{-T} (``backward``) to every row of B."""
    X = B.copy()
    n_leading = D.shape[0] * D.shape[1]
    for b in range(len(X)):
        x, z = X[b, :n_leading], X[b, n_leading:]
        if forward:
            _forward(D, W, S, ptr, rows, x, z)
        if backward:
            _backward(D, W, S, ptr, rows, x, z)
    return X


@inline
def _block_inverses(D, Z):
    """Z_g := (R_g'R_g)^{-1} for every level, both triangles, from zero: solve for the unit vectors."""
    n_levels, k = D.shape[0], D.shape[1]
    for g in range(n_levels):
        for e in range(k):
            for a in range(e, k):
                total = 1.0 if a == e else 0.0
                for c in range(e, a):
                    total -= D[g, c, a] * Z[g, e, c]
                Z[g, e, a] = total / D[g, a, a]
            for a in range(k - 1, -1, -1):
                total = Z[g, e, a]
                for c in range(a + 1, k):
                    total -= D[g, a, c] * Z[g, e, c]
                Z[g, e, a] = total / D[g, a, a]


@inline
def _border_of_neighbours(ZS, i0, first, size, V, ZB):
    """Columns of one level whose trailing variables follow each other, four rows of Z_S at a time."""
    for c in range(len(V)):
        r = 0
        while r + 4 <= size:
            va, vb, vc, vd = V[c, first + r], V[c, first + r + 1], V[c, first + r + 2], V[c, first + r + 3]
            i = i0 + r
            for t in range(size):
                j = i0 + t
                ZB[c, first + t] -= va * ZS[i, j] + vb * ZS[i + 1, j] + vc * ZS[i + 2, j] + vd * ZS[i + 3, j]
            r += 4
        while r < size:
            v = V[c, first + r]
            for t in range(size):
                ZB[c, first + t] -= v * ZS[i0 + r, i0 + t]
            r += 1


@inline
def _border(ZS, ptr, rows, V, ZB):
    """Columns of every level: -Z_S[R_g, R_g] V_g, transposed like V, added to ZB."""
    for g in range(len(ptr) - 1):
        first = ptr[g]
        if _neighbours(ptr, rows, g, 1):
            _border_of_neighbours(ZS, rows[first], first, ptr[g + 1] - first, V, ZB)
            continue
        for r in range(first, ptr[g + 1]):
            i = rows[r]
            for c in range(len(V)):
                v = V[c, r]
                total = ZS[i, i] * v
                for t in range(first, r):
                    z = ZS[i, rows[t]]
                    total += z * V[c, t]
                    ZB[c, t] -= z * v
                ZB[c, r] -= total


@inline
def _correct_blocks(Z, ptr, V, ZB):
    """Z_gg := Z_gg - V_g' Z_{R_g,g}."""
    k = len(V)
    for g in range(len(ptr) - 1):
        for a in range(k):
            for b in range(a, k):
                for r in range(ptr[g], ptr[g + 1]):
                    Z[g, a, b] -= V[a, r] * ZB[b, r]


@kernel
def block_selected_inverse(D, V, ZS, ptr, rows, indptr, indices, where, ZD, ZB, flat_ZD, flat_ZB, flat_ZS, Z):
    """Z: H^{-1} on the pattern of H, from ZS = S^{-1}; filled in place.

    ``V`` holds W on entry and V on exit; ``ZD`` and ``ZB`` are zero on entry and hold the diagonal blocks and the
    border of the inverse on exit. ``flat_ZD, flat_ZB, flat_ZS`` are views of the same memory.
    """
    n_leading = D.shape[0] * D.shape[1]
    _backward_columns(D, ptr, V)
    _border(ZS, ptr, rows, V, ZB)
    _block_inverses(D, ZD)
    _correct_blocks(ZD, ptr, V, ZB)
    for p in range(indptr[n_leading]):
        Z[p] = flat_ZD[where[p]] if indices[p] < n_leading else flat_ZB[where[p]]
    for p in range(indptr[n_leading], len(Z)):
        Z[p] = flat_ZS[where[p]]
