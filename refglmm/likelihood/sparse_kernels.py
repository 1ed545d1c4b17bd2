r"""The built-in sparse Cholesky: symbolic analysis, numeric factor, triangular solves, selected inverse.

Place in the reading order: after :mod:`.ordering`; :mod:`.cholesky` wraps these kernels.

C = P H P' is the permuted matrix, held by the columns of its upper triangle; L L' = C.

*Symbolic.* The elimination tree has parent(j) = min{i > j : L_ij != 0}. Row k of L is the set of nodes
met when walking from each i with C_ik != 0 towards the root until k or a node already met
(:func:`elimination_tree`, :func:`factor_pattern`). All this is done once per model.

*Numeric* (:func:`factorize`), row by row ("up-looking"): with L_11 the factor of the leading block and
c the new column of C,

.. math:: \begin{pmatrix} L_{11} & \\ l' & \lambda \end{pmatrix}:\qquad
          L_{11}\, l = c_{1:k-1}, \qquad \lambda = \sqrt{c_k - l'l} .

*Selected inverse* (:func:`selected_inverse`; Takahashi's equations). Z = C^{-1} satisfies Z L = L^{-T},
hence, going from the last column to the first, for i > j in the pattern of L

.. math:: Z_{ij} = -\sum_{k>j} Z_{ik} L_{kj} / L_{jj}, \qquad
          Z_{jj} = \frac{1}{L_{jj}^2} - \sum_{k>j} Z_{kj} L_{kj} / L_{jj} .

Only entries inside the pattern of L appear on the right: two members of column j of L are connected.

Source: Davis (2006), "Direct Methods for Sparse Linear Systems", chapters 3 and 4; Takahashi, Fagan, Chen
(1973); Erisman, Tinney (1975), "On computing certain elements of the inverse of a sparse matrix".
"""

from __future__ import annotations

import numpy as np

from refglmm._jit import inline, kernel


@kernel
def permute_upper(n, indptr, indices, inverse):
    """Upper triangle of P H P' by columns, from the lower triangle of H.

    Returns
    -------
    Cp, Ci : int64, int32 arrays
        Column pointers and row indices (unsorted within a column).
    source : int64 array
        ``C[position] = H[source[position]]``.
    """
    Cp = np.zeros(n + 1, dtype=np.int64)
    for j in range(n):
        for p in range(indptr[j], indptr[j + 1]):
            Cp[max(inverse[j], inverse[indices[p]]) + 1] += 1
    for j in range(n):
        Cp[j + 1] += Cp[j]
    fill = Cp[:n].copy()
    Ci = np.empty(Cp[n], dtype=np.int32)
    source = np.empty(Cp[n], dtype=np.int64)
    for j in range(n):
        for p in range(indptr[j], indptr[j + 1]):
            a, b = inverse[j], inverse[indices[p]]
            column = max(a, b)
            Ci[fill[column]] = min(a, b)
            source[fill[column]] = p
            fill[column] += 1
    return Cp, Ci, source


@kernel
def elimination_tree(n, Cp, Ci):
    """Parent of each column, -1 for a root; paths are compressed while the tree grows."""
    parent = np.full(n, -1, dtype=np.int64)
    ancestor = np.full(n, -1, dtype=np.int64)
    for k in range(n):
        for p in range(Cp[k], Cp[k + 1]):
            i = np.int64(Ci[p])
            while i != -1 and i < k:
                above = ancestor[i]
                ancestor[i] = k
                if above == -1:
                    parent[i] = k
                i = above
    return parent


@kernel
def factor_pattern(n, Cp, Ci, parent):
    """Pattern of L by columns (diagonal first, rows ascending) and, without the diagonal, by rows.

    Returns
    -------
    Lp, Li : int64, int32 arrays
        Columns of L.
    Rp, Rj : int64, int32 arrays
        Rows of L, columns ascending.
    """
    counts = np.ones(n, dtype=np.int64)
    Rp = np.zeros(n + 1, dtype=np.int64)
    mark = np.full(n, -1, dtype=np.int64)
    for k in range(n):
        mark[k] = k
        for p in range(Cp[k], Cp[k + 1]):
            i = np.int64(Ci[p])
            while mark[i] != k:
                mark[i] = k
                counts[i] += 1
                Rp[k + 1] += 1
                i = parent[i]
    Lp = np.zeros(n + 1, dtype=np.int64)
    for k in range(n):
        Rp[k + 1] += Rp[k]
        Lp[k + 1] = Lp[k] + counts[k]
    Li = np.empty(Lp[n], dtype=np.int32)
    fill = Lp[:n].copy()
    mark[:] = -1
    for k in range(n):
        mark[k] = k
        Li[fill[k]] = k
        fill[k] += 1
        for p in range(Cp[k], Cp[k + 1]):
            i = np.int64(Ci[p])
            while mark[i] != k:
                mark[i] = k
                Li[fill[i]] = k
                fill[i] += 1
                i = parent[i]
    Rj = np.empty(Rp[n], dtype=np.int32)
    fill = Rp[:n].copy()
    for j in range(n):
        for p in range(Lp[j] + 1, Lp[j + 1]):
            Rj[fill[Li[p]]] = j
            fill[Li[p]] += 1
    return Lp, Li, Rp, Rj


@kernel
def locate_entries(n, Cp, Ci, source, Lp, Li):
    """Position in L of every entry of the lower triangle of H, in the order of H."""
    position = np.empty(len(source), dtype=np.int64)
    for k in range(n):
        for p in range(Cp[k], Cp[k + 1]):
            low, high = Lp[Ci[p]], Lp[Ci[p] + 1] - 1
            while low < high:
                middle = (low + high) // 2
                if Li[middle] < k:
                    low = middle + 1
                else:
                    high = middle
            position[source[p]] = low
    return position


@kernel
def factorize(values, Cp, Ci, source, Lp, Li, Rp, Rj, Lx):
    """Write the values of L; return the column that is not positive, or -1."""
    n = len(Lp) - 1
    x = np.zeros(n)
    end = Lp[:n].copy()
    for k in range(n):
        for p in range(Cp[k], Cp[k + 1]):
            x[Ci[p]] = values[source[p]]
        d = x[k]
        x[k] = 0.0
        for r in range(Rp[k], Rp[k + 1]):
            j = Rj[r]
            first, stop = Lp[j], end[j]
            l_kj = x[j] / Lx[first]
            x[j] = 0.0
            if Lp[j + 1] - first == n - j:  # a full column: rows follow each other
                shift = j - first
                for p in range(first + 1, stop):
                    x[p + shift] -= Lx[p] * l_kj
            else:
                for p in range(first + 1, stop):
                    x[Li[p]] -= Lx[p] * l_kj
            d -= l_kj * l_kj
            Lx[stop] = l_kj
            end[j] = stop + 1
        if not 0.0 < d < np.inf:  # also true for nan
            return k
        Lx[Lp[k]] = np.sqrt(d)
        end[k] = Lp[k] + 1
    return -1


@kernel
def log_determinant(Lp, Lx):
    """log|L L'|."""
    total = 0.0
    for j in range(len(Lp) - 1):
        total += np.log(Lx[Lp[j]])
    return 2.0 * total


@inline
def _forward(Lp, Li, Lx, x):
    """x := L^{-1} x."""
    for j in range(len(x)):
        x[j] /= Lx[Lp[j]]
        for p in range(Lp[j] + 1, Lp[j + 1]):
            x[Li[p]] -= Lx[p] * x[j]


@inline
def _backward(Lp, Li, Lx, x):
    """x := L^{-T} x."""
    for j in range(len(x) - 1, -1, -1):
        total = x[j]
        for p in range(Lp[j] + 1, Lp[j + 1]):
            total -= Lx[p] * x[Li[p]]
        x[j] = total / Lx[Lp[j]]


@kernel
def solve_forward(Lp, Li, Lx, perm, B):
    """L^{-1} P b for every row b of B."""
    X = np.empty_like(B)
    for r in range(len(B)):
        for j in range(len(perm)):
            X[r, j] = B[r, perm[j]]
        _forward(Lp, Li, Lx, X[r])
    return X


@kernel
def solve_backward(Lp, Li, Lx, perm, B):
    """P' L^{-T} b for every row b of B."""
    X = np.empty_like(B)
    x = np.empty(len(perm))
    for r in range(len(B)):
        for j in range(len(perm)):
            x[j] = B[r, j]
        _backward(Lp, Li, Lx, x)
        for j in range(len(perm)):
            X[r, perm[j]] = x[j]
    return X


@kernel
def solve_both(Lp, Li, Lx, perm, B):
    """H^{-1} b = P' L^{-T} L^{-1} P b for every row b of B."""
    X = np.empty_like(B)
    x = np.empty(len(perm))
    for r in range(len(B)):
        for j in range(len(perm)):
            x[j] = B[r, perm[j]]
        _forward(Lp, Li, Lx, x)
        _backward(Lp, Li, Lx, x)
        for j in range(len(perm)):
            X[r, perm[j]] = x[j]
    return X


@kernel
def selected_inverse(Lp, Li, Lx):
    """Entries of (L L')^{-1} on the pattern of L."""
    n = len(Lp) - 1
    Z = np.empty(len(Lx))
    total = np.empty(n)
    for j in range(n - 1, -1, -1):
        first, stop = Lp[j], Lp[j + 1]
        m = stop - first - 1
        total[:m] = 0.0  # sum_k Z_ik L_kj, for the m rows i below the diagonal
        for a in range(m):
            k, l_kj = Li[first + 1 + a], Lx[first + 1 + a]
            p = Lp[k]
            total[a] += Z[p] * l_kj
            if Lp[k + 1] - p == n - k:  # a full column: Z_ik is found without searching
                shift = p - k
                for b in range(a + 1, m):
                    z = Z[Li[first + 1 + b] + shift]
                    total[a] += z * Lx[first + 1 + b]
                    total[b] += z * l_kj
            else:
                for b in range(a + 1, m):
                    i = Li[first + 1 + b]
                    while Li[p] != i:
                        p += 1
                    total[a] += Z[p] * Lx[first + 1 + b]
                    total[b] += Z[p] * l_kj
        l_jj = Lx[first]
        z_jj = 1.0 / l_jj
        for a in range(m):
            z = -total[a] / l_jj
            Z[first + 1 + a] = z
            z_jj -= z * Lx[first + 1 + a]
        Z[first] = z_jj / l_jj
    return Z
