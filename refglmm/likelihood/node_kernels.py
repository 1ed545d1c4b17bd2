r"""Loops over groups and quadrature nodes.

Place in the reading order: before ``agq``, whose formulas these are.

Nodes come in batches of B. Arrays over rows and nodes, shape (n, B), hold the nodes of a row side by side, so that the
innermost loops run over nodes: contiguous, and without a carried dependency the compiler works on several at once.
Sums over nodes do have one; their kernels are ``summing_kernel``, which may add in any order.
"""

from __future__ import annotations

import numpy as np

from refglmm._jit import fused_kernel, inline, kernel, summing_kernel
from refglmm.families.elementary import exponential


@kernel
def curvature_roots(H, T, S, U, log_det):
    """S_j with S S' = H_j^-1 and U_j = T S_j upper triangular; ``log_det``: log|det S_j|. Filled in place.

    From H = LL': S = L^-T Q with Givens rotations Q that clear the lower triangle of T L^-T, last row first. They
    exist for every T; where there is nothing to clear, nothing turns.
    """
    groups, q = H.shape[0], H.shape[1]
    L = np.zeros((q, q))
    for j in range(groups):
        log_det[j] = 0.0
        for c in range(q):
            for d in range(c + 1):
                value = H[j, c, d]
                for e in range(d):
                    value -= L[c, e] * L[d, e]
                L[c, d] = np.sqrt(value) if c == d else value / L[d, d]
            log_det[j] -= np.log(L[c, c])
        for d in range(q):  # column d of S = L^-T: back substitution
            for c in range(q - 1, -1, -1):
                value = 1.0 if c == d else 0.0
                for e in range(c + 1, q):
                    value -= L[e, c] * S[j, e, d]
                S[j, c, d] = value / L[c, c]
        for c in range(q):
            for d in range(q):
                value = 0.0
                for e in range(c + 1):
                    value += T[c, e] * S[j, e, d]
                U[j, c, d] = value
        for c in range(q - 1, 0, -1):
            for d in range(c):
                if U[j, c, d] != 0.0:
                    size = np.hypot(U[j, c, d], U[j, c, c])
                    cosine, sine = U[j, c, c] / size, U[j, c, d] / size
                    for e in range(q):
                        x, y = U[j, e, d], U[j, e, c]
                        U[j, e, d], U[j, e, c] = cosine * x - sine * y, sine * x + cosine * y
                        x, y = S[j, e, d], S[j, e, c]
                        S[j, e, d], S[j, e, c] = cosine * x - sine * y, sine * x + cosine * y
                    U[j, c, d] = 0.0


@kernel
def row_directions(group, z, U, out):
    """U_j'z_i: how eta_i moves with the standard node; shape (n, q), filled in place."""
    n, q = z.shape
    for i in range(n):
        for d in range(q):
            value = 0.0
            for c in range(d + 1):
                value += U[group[i], c, d] * z[i, c]
            out[i, d] = value


@fused_kernel
def node_predictor(eta_mode, direction, z, eta):
    """eta at the nodes: eta_i + direction_i' z_k, shape (n, B); filled in place."""
    n, q = direction.shape
    for i in range(n):
        for k in range(z.shape[1]):
            eta[i, k] = eta_mode[i]
        for d in range(q):
            slope = direction[i, d]
            for k in range(z.shape[1]):
                eta[i, k] += slope * z[d, k]


@fused_kernel
def node_masses(group, l, z, log_weight, mode, S, g_mode, m):  # noqa: E741  the field's symbol
    """omega exp(|z|^2/2 + g(u) - g(mode)) at each node of each group, shape (groups, B); filled in place."""
    groups, q = mode.shape
    size = z.shape[1]
    u = np.empty(size)
    for j in range(groups):
        for k in range(size):
            m[j, k] = log_weight[k] - g_mode[j]
        for c in range(q):
            for k in range(size):
                u[k] = mode[j, c]
            for d in range(q):
                for k in range(size):
                    u[k] += S[j, c, d] * z[d, k]
            for k in range(size):
                m[j, k] -= 0.5 * u[k] * u[k]
    for i in range(l.shape[0]):
        j = group[i]
        for k in range(size):
            m[j, k] += l[i, k]
    for j in range(groups):
        for k in range(size):
            m[j, k] = exponential(m[j, k])


@inline
def weighted_total(weights, values):
    """Sum of products of two rows."""
    total = 0.0
    for k in range(weights.size):
        total += weights[k] * values[k]
    return total


@inline
def add_moments(m, z, mz, first, second):
    """Add to sum m z and sum m z z' of one group, and leave m z in ``mz``; returns sum m."""
    total = 0.0
    for k in range(m.size):
        total += m[k]
    for c in range(first.size):
        for k in range(m.size):
            mz[c, k] = m[k] * z[c, k]
        first[c] += weighted_total(m, z[c])
        for d in range(c + 1):
            value = weighted_total(mz[c], z[d])
            second[c, d] += value
            if c != d:
                second[d, c] += value
    return total


@inline
def total_inside(m, values):
    """Sum of m times values over the nodes of mass above zero; the others' values become zero where one is not finite.

    (Outside the domain of the link they may be infinite or nan; looking at each node would cost more than the sum.)
    """
    total = weighted_total(m, values)
    if not np.isfinite(total):
        for k in range(m.size):
            values[k] = values[k] if m[k] != 0.0 else 0.0
        total = weighted_total(m, values)
    return total


@summing_kernel
def add_node_sums(group, rows, s, m, z, mass, first, second, mean_score, score_node):
    """Add to sum m, sum m z, sum m z z' and sum m (Z's) z' of each group, and to sum m s_i of each row.

    The rows are sorted by group. A node outside the domain of the link has mass zero, and its scores count nothing.
    """
    n, q = rows.shape
    groups, size = m.shape
    mz = np.empty((q, size))
    i = 0
    for j in range(groups):
        mass[j] += add_moments(m[j], z, mz, first[j], second[j])
        while i < n and group[i] == j:
            mean_score[i] += total_inside(m[j], s[i])
            for d in range(q):
                value = weighted_total(mz[d], s[i])
                for c in range(q):
                    score_node[j, c, d] += rows[i, c] * value
            i += 1


@summing_kernel
def add_weighted(group, values, m, out):
    """Add sum_k m times the (n, B) values of the group's rows."""
    for i in range(values.shape[0]):
        out[group[i]] += total_inside(m[group[i]], values[i])


@kernel
def node_cotangents(T, S, U, mode, mean_zts, z1, z2, F, A, sigma, X):
    """What the node sums mean for the derivatives of log L_j (see ``agq``): A, Sigma and F + U^-T J (``X``), in place.

    ``z1``, ``z2``, ``F``: posterior means of z, z z' and (Z's) z'; ``mean_zts`` that of Z's.
    """
    groups, q = mode.shape
    B, G, Y = np.empty((q, q)), np.empty((q, q)), np.empty((q, q))
    for j in range(groups):
        for c in range(q):
            A[j, c] = -mode[j, c]
            for d in range(q):
                A[j, c] += T[d, c] * mean_zts[j, d] - S[j, c, d] * z1[j, d]
                B[c, d] = -mode[j, c] * z1[j, d]
                for e in range(q):
                    B[c, d] += T[e, c] * F[j, e, d] - S[j, c, e] * z2[j, e, d]
        for c in range(q):
            for d in range(q):
                G[c, d] = 0.0
                for e in range(q):
                    G[c, d] += S[j, e, c] * B[e, d]
        for c in range(q):  # S (I + P + P'), P the upper triangle of G with its diagonal halved
            for d in range(q):
                Y[c, d] = S[j, c, d]
                for e in range(q):
                    Y[c, d] += S[j, c, e] * (G[e, d] if e <= d else G[d, e])
        for c in range(q):
            for d in range(q):
                sigma[j, c, d] = 0.0
                for e in range(q):
                    sigma[j, c, d] += Y[c, e] * S[j, d, e]
        for c in range(q):  # U'Y = J by forward substitution, J_cd = G_dc - G_cd below the diagonal
            for d in range(q):
                value = G[d, c] - G[c, d] if d < c else 0.0
                for e in range(c):
                    value -= U[j, e, c] * Y[e, d]
                Y[c, d] = value / U[j, c, c] if value != 0.0 and U[j, c, c] != 0.0 else 0.0
                X[j, c, d] = F[j, c, d] + Y[c, d]


@kernel
def weight_slopes(group, z, T, sigma, t, v, tv, c):
    """v_i = z_i' T Sigma T' z_i, t v, and Z'(t v) of each group; filled in place."""
    n, q = z.shape
    groups = sigma.shape[0]
    W, half = np.empty((groups, q, q)), np.empty((q, q))
    for j in range(groups):
        for a in range(q):
            for b in range(q):
                half[a, b] = 0.0
                for e in range(q):
                    half[a, b] += T[a, e] * sigma[j, e, b]
        for a in range(q):
            for b in range(q):
                W[j, a, b] = 0.0
                for e in range(q):
                    W[j, a, b] += half[a, e] * T[b, e]
    c[:] = 0.0
    for i in range(n):
        j = group[i]
        v[i] = 0.0
        for a in range(q):
            for b in range(q):
                v[i] += z[i, a] * W[j, a, b] * z[i, b]
        tv[i] = t[i] * v[i]
        for a in range(q):
            c[j, a] += z[i, a] * tv[i]


@kernel
def row_totals(group, z, Ta, s, h, tv, Ma, r, ztr):
    """M a, r = t v - 2 s - h (M a), and Z'r of each group; filled in place."""
    n, q = z.shape
    ztr[:] = 0.0
    for i in range(n):
        j = group[i]
        value = 0.0
        for c in range(q):
            value += z[i, c] * Ta[j, c]
        Ma[i] = value
        r[i] = tv[i] - 2.0 * s[i] - h[i] * value
        for c in range(q):
            ztr[j, c] += z[i, c] * r[i]


@kernel
def rows_by_group(group, z, s, out):
    """Z's of each group, shape (groups, columns of z); filled in place."""
    out[:] = 0.0
    for i in range(z.shape[0]):
        j = group[i]
        for c in range(z.shape[1]):
            out[j, c] += z[i, c] * s[i]


@kernel
def factor_gradients(C, T, sigma, ztr, mode, zts, a, X, S, out):
    """Each group's part of dD/dT: 2 C T Sigma + (Z'r) m' + (Z's) a' - 2 X S'; shape (groups, q, q), in place."""
    groups, q = mode.shape
    CT = np.empty((q, q))
    for j in range(groups):
        for c in range(q):
            for d in range(q):
                CT[c, d] = 0.0
                for e in range(q):
                    CT[c, d] += C[j, c, e] * T[e, d]
        for c in range(q):
            for d in range(q):
                value = ztr[j, c] * mode[j, d] + zts[j, c] * a[j, d]
                for e in range(q):
                    value += 2.0 * (CT[c, e] * sigma[j, e, d] - X[j, c, e] * S[j, d, e])
                out[j, c, d] = value
