r"""Log likelihood of rows whose residuals are correlated within blocks, or have standard deviations of their own.

Place in the reading order: after ``fused``, whose signature these kernels have. For the rows of a block, with residuals
e = y - eta, standard deviations s and weights a,

.. math:: z_i = \sqrt{a_i}\,(y_i - \eta_i)/s_{c(i)},\qquad Q = z'R^{-1}z,\qquad
    l = \sum_i\log\frac{\sqrt{a_i}}{s_{c(i)}} - \tfrac12\log|R| + f_m(Q)

with m rows in the block, and

.. math:: f_m(Q) = -\tfrac m2\log 2\pi - \tfrac12 Q\quad\text{(normal)},\qquad
    f_m(Q) = \log\frac{\Gamma((\nu+m)/2)}{\Gamma(\nu/2)\,(\nu\pi)^{m/2}} - \tfrac{\nu+m}2\log(1 + Q/\nu)
    \quad\text{(multivariate t)} .

The multivariate t is a normal whose whole block has one random scale: an outlying row makes the other rows of its block
count less, and R = I does not make the rows independent. Lognormal rows come as log y, with -log y in ``rows.base``,
where the logarithm of sqrt(a) stands too.

The shape parameters are (s of each cell; nu of a t; parameters of R). ``rows.structure`` says which R it is:

===============  ======================================  ===============================================================
code             correlation of rows i and j             parameters
===============  ======================================  ===============================================================
INDEPENDENT      0 (every row is a block)                none
AUTOREGRESSIVE   :math:`\rho^{|t_i - t_j|}`              rho; negative only if all gaps are whole numbers
EXCHANGEABLE     rho                                     rho > -1/(m - 1)
TOEPLITZ         :math:`r_{|t_i - t_j|}`, t = 0, 1, ...  partial autocorrelations, one for each lag
UNSTRUCTURED     :math:`R_{t_i t_j}`, t = 0, 1, ...      partial correlations by rows of the lower triangle
===============  ======================================  ===============================================================

With :math:`\kappa = -2 f'(Q)`, that is 1 or :math:`(\nu+m)/(\nu+Q)`, and :math:`w = R^{-1}z`, the derivatives are

.. math:: \partial l/\partial z = -\kappa w,\qquad \partial l = \tfrac12\,tr\{(\kappa w w' - R^{-1})\,\partial R\} .

The first two structures cost O(n), by conditional densities and in closed form. For the other two the blocks that have
the same times should follow one another: each such pattern of m times is factored once, O(m^3), and a block of it
costs O(m^2).

Sources: Pinheiro and Bates (2000), *Mixed-effects models in S and S-PLUS*, chapter 5; Lange, Little and Taylor (1989)
for the t; Barndorff-Nielsen and Schou (1973) for partial autocorrelations, by the Durbin-Levinson recursion;
Lewandowski, Kurowicka and Joe (2009) for partial correlations.
"""

from __future__ import annotations

import numpy as np

from refglmm._jit import fused_kernel, inline
from refglmm.families.special import HALF_LOG_2PI, log1p_minus, polygammas, stirling_rest

# -- one block ------------------------------------------------------------------------------------


@inline
def end_of_block(block, first):
    """Row after the last one of the block that starts at a row."""
    last = first + 1
    while last < block.size and block[last] == block[first]:
        last += 1
    return last


@fused_kernel
def radial(Q, m, nu):
    r"""f_m(Q), kappa, and df/dnu; nu = inf is the normal.

    :math:`\log\Gamma(x + h) - \log\Gamma(x) - h\log x`, with x = nu/2 and h = m/2, from Stirling's series: what
    cancels for large nu is left out.
    """
    if nu == np.inf:
        return -0.5 * Q - m * HALF_LOG_2PI, 1.0, 0.0
    x, h, t = 0.5 * nu, 0.5 * m, Q / nu
    ratio = x * log1p_minus(h / x) + (h - 0.5) * np.log1p(h / x) + stirling_rest(x + h) - stirling_rest(x)
    value = ratio - m * HALF_LOG_2PI - (x + h) * np.log1p(t)
    slope = polygammas(x + h)[0] - polygammas(x)[0] - h / x
    slope += (m / nu) * t / (1.0 + t) - t * t / (1.0 + t) - log1p_minus(t)
    return value, (nu + m) / (nu + Q), 0.5 * slope


# -- structures ------------------------------------------------------------------------------------------
# Each fills g = kappa R^-1 z and the log density of each block (without the standard deviations), adds to d_rho, and
# returns the slope in nu.


@fused_kernel
def independent(rows, z, nu, g, values):
    """Every row is a block."""
    d_nu = 0.0
    for i in range(z.size):
        values[i], kappa, slope = radial(z[i] * z[i], 1, nu)
        g[i] = kappa * z[i]
        d_nu += slope
    return d_nu


@inline
def power(rho, gap):
    """c = rho^gap, 1 / sqrt(1 - c^2), dc/drho; a negative rho needs a whole gap."""
    if gap == 1.0:
        return rho, 1.0 / np.sqrt((1.0 - rho) * (1.0 + rho)), 1.0
    log_size = gap * np.log(abs(rho))
    c, slope = np.exp(log_size), gap * abs(rho) ** (gap - 1.0)
    if rho < 0.0:
        if gap % 2.0 == 1.0:
            c = -c
        else:
            slope = -slope
    return c, 1.0 / np.sqrt(-np.expm1(2.0 * log_size)), slope


@fused_kernel
def autoregressive(rows, z, nu, rho, g, d_rho, values):
    r"""Row by row given the one before: :math:`v_i = (z_i - c_i z_{i-1}) / \sqrt{1 - c_i^2}`, c = rho^gap."""
    n = z.size
    c, r, slope = np.zeros(n), np.ones(n), np.zeros(n)
    gap, now = 1.0, power(rho[0], 1.0)
    for i in range(1, n):
        if rows.block[i] == rows.block[i - 1]:
            step = rows.time[i] - rows.time[i - 1]
            if step != gap:
                gap, now = step, power(rho[0], step)
            c[i], r[i], slope[i] = now
    d_nu, first, b = 0.0, 0, 0
    while first < n:
        last = end_of_block(rows.block, first)
        g[first] = z[first]
        Q, log_root = z[first] * z[first], 0.0
        for i in range(first + 1, last):
            g[i] = (z[i] - c[i] * z[i - 1]) * r[i]  # v, for now
            Q += g[i] * g[i]
            log_root -= np.log(r[i])
        values[b], kappa, d_block = radial(Q, last - first, nu)
        values[b] -= log_root
        d_nu += d_block
        after = 0.0
        for i in range(last - 1, first - 1, -1):
            v = g[i]
            g[i] = kappa * (v * r[i] - after)
            after = v * c[i] * r[i]
            if i > first:
                d_v = (c[i] * r[i] * v - z[i - 1]) * r[i]
                d_rho[0] += slope[i] * (c[i] * r[i] * r[i] - kappa * v * d_v)
        first = last
        b += 1
    return d_nu


@fused_kernel
def exchangeable(rows, z, nu, rho, g, d_rho, values):
    r"""R = (1 - rho) I + rho 11': :math:`R^{-1}z = \{z - \rho\,1'z / (1 + (m-1)\rho)\} / (1 - \rho)`."""
    d_nu, first, b = 0.0, 0, 0
    rest = 1.0 - rho[0]
    while first < z.size:
        last = end_of_block(rows.block, first)
        m, total = last - first, 0.0
        for i in range(first, last):
            total += z[i]
        whole = 1.0 + (m - 1) * rho[0]
        Q, of_w, of_w2 = 0.0, total / whole, 0.0
        for i in range(first, last):
            g[i] = (z[i] - rho[0] * of_w) / rest
            Q += z[i] * g[i]
            of_w2 += g[i] * g[i]
        values[b], kappa, d_block = radial(Q, m, nu)
        values[b] -= 0.5 * ((m - 1) * np.log(rest) + np.log(whole))
        d_nu += d_block
        d_rho[0] += 0.5 * (kappa * (of_w * of_w - of_w2) + (m - 1) * (1.0 / rest - 1.0 / whole))
        for i in range(first, last):
            g[i] *= kappa
        first = last
        b += 1
    return d_nu


@fused_kernel
def toeplitz(rows, z, nu, rho, g, d_rho, values):
    """R of the autocorrelations that belong to the partial ones."""
    T = positions(rows.time)
    F, v, r = np.zeros((T, T)), np.ones(T), np.ones(T)
    autocorrelations(rho, F, v, r)
    R, G = np.empty((T, T)), np.zeros((T, T))
    for i in range(T):
        for j in range(T):
            R[i, j] = r[abs(i - j)]
    d_nu = dense(rows, z, nu, R, G, g, values)
    d_r = np.zeros(T)
    for i in range(T):
        for j in range(i):
            d_r[i - j] += G[i, j]
    autocorrelations_back(rho, F, v, r, d_r, d_rho)
    return d_nu


@fused_kernel
def unstructured(rows, z, nu, rho, g, d_rho, values):
    """R = L L' of the partial correlations."""
    T = positions(rows.time)
    L, R, G, d_L = np.zeros((T, T)), np.ones((T, T)), np.zeros((T, T)), np.zeros((T, T))
    correlation_root(rho, L)
    for i in range(T):
        for j in range(i):
            value = 0.0
            for k in range(j + 1):
                value += L[i, k] * L[j, k]
            R[i, j] = R[j, i] = value
    d_nu = dense(rows, z, nu, R, G, g, values)
    for i in range(T):
        for j in range(i):
            for k in range(j + 1):
                d_L[i, k] += G[i, j] * L[j, k]
                d_L[j, k] += G[i, j] * L[i, k]
    correlation_root_back(rho, L, d_L, d_rho)
    return d_nu


# -- blocks of any correlation matrix ---------------------------------------------------------------


@inline
def positions(time):
    """Number of times, which count from 0."""
    return int(time.max()) + 1


@fused_kernel
def dense(rows, z, nu, R, G, g, values):
    """For blocks whose R is part of a whole one; G (lower triangle) takes the slopes in its elements."""
    T, n = R.shape[0], z.size
    at = np.zeros(T, dtype=np.int64)
    C, S = np.zeros((T, T)), np.zeros((T, T))
    d_nu, first, b, m, count, log_root = 0.0, 0, 0, 0, 0, 0.0
    while first < n:
        last = end_of_block(rows.block, first)
        if not same_times(rows.time, first, last, at, m):
            leave_pattern(C, S, at, m, count, G)
            m, count = last - first, 0
            for i in range(m):
                at[i] = int(rows.time[first + i])
            log_root = factor_pattern(R, at, m, C)
        Q = solve_pattern(C, m, z, first, g)
        values[b], kappa, d_block = radial(Q, m, nu)
        values[b] -= log_root
        d_nu += d_block
        count += 1
        for i in range(m):
            for j in range(i):
                S[i, j] += kappa * g[first + i] * g[first + j]
        for i in range(first, last):
            g[i] *= kappa
        first = last
        b += 1
    leave_pattern(C, S, at, m, count, G)
    return d_nu


@inline
def same_times(time, first, last, at, m):
    """Whether the block has the m times ``at``."""
    if last - first != m:
        return False
    same = True
    for i in range(m):
        same &= int(time[first + i]) == at[i]
    return same


@inline
def factor_pattern(R, at, m, C):
    """Fill the lower Cholesky factor of R[at, at]; return the sum of the logarithms of its diagonal."""
    log_root = 0.0
    for i in range(m):
        for j in range(i + 1):
            value = R[at[i], at[j]]
            for k in range(j):
                value -= C[i, k] * C[j, k]
            if j < i:
                C[i, j] = value / C[j, j]
            else:
                C[i, i] = np.sqrt(value)
        log_root += np.log(C[i, i])
    return log_root


@inline
def solve_pattern(C, m, z, first, g):
    """Fill g = (CC')^-1 z for the m rows from ``first``; return z'(CC')^-1 z."""
    Q = 0.0
    for i in range(m):
        value = z[first + i]
        for k in range(i):
            value -= C[i, k] * g[first + k]
        g[first + i] = value / C[i, i]
        Q += g[first + i] ** 2
    for i in range(m - 1, -1, -1):
        value = g[first + i]
        for k in range(i + 1, m):
            value -= C[k, i] * g[first + k]
        g[first + i] = value / C[i, i]
    return Q


@inline
def leave_pattern(C, S, at, m, count, G):
    """Add S - count R^-1 to G, lower triangles; S becomes zero."""
    inverse = np.zeros((m, m))  # of C
    for j in range(m):
        inverse[j, j] = 1.0 / C[j, j]
        for i in range(j + 1, m):
            value = 0.0
            for k in range(j, i):
                value -= C[i, k] * inverse[k, j]
            inverse[i, j] = value / C[i, i]
    for i in range(m):
        for j in range(i):
            value = 0.0
            for k in range(i, m):
                value += inverse[k, i] * inverse[k, j]
            G[at[i], at[j]] += S[i, j] - count * value
            S[i, j] = 0.0


# -- correlations from partial ones ---------------------------------------------------------------


@inline
def autocorrelations(alpha, F, v, r):
    r"""Durbin-Levinson: fill the coefficients F[j, i] of lag i in the prediction from j rows, its variance, and r.

    .. math:: r_j = \alpha_j v_{j-1} + \sum_{i<j} F_{j-1,i}\,r_{j-i},\quad F_{jj} = \alpha_j,\quad
        F_{ji} = F_{j-1,i} - \alpha_j F_{j-1,j-i},\quad v_j = v_{j-1}(1 - \alpha_j^2)
    """
    for j in range(1, r.size):
        a = alpha[j - 1]
        r[j] = a * v[j - 1]
        for i in range(1, j):
            r[j] += F[j - 1, i] * r[j - i]
            F[j, i] = F[j - 1, i] - a * F[j - 1, j - i]
        F[j, j] = a
        v[j] = v[j - 1] * (1.0 - a) * (1.0 + a)


@inline
def autocorrelations_back(alpha, F, v, r, d_r, d_alpha):
    """Add to d_alpha what the slopes d_r mean (overwritten): :func:`autocorrelations` backwards."""
    T = r.size
    d_F, d_v = np.zeros((T, T)), np.zeros(T)
    for j in range(T - 1, 0, -1):
        a = alpha[j - 1]
        d_v[j - 1] += d_v[j] * (1.0 - a) * (1.0 + a) + d_r[j] * a
        slope = d_F[j, j] + d_r[j] * v[j - 1] - 2.0 * a * v[j - 1] * d_v[j]
        for i in range(1, j):
            slope -= d_F[j, i] * F[j - 1, j - i]
            d_F[j - 1, i] += d_F[j, i] + d_r[j] * r[j - i]
            d_F[j - 1, j - i] -= d_F[j, i] * a
            d_r[j - i] += d_r[j] * F[j - 1, i]
        d_alpha[j - 1] += slope


@inline
def correlation_root(partial, L):
    r"""Fill :math:`L_{rc} = p_{rc}\prod_{l<c}\sqrt{1 - p_{rl}^2}`, :math:`p_{rr} = 1`: rows of length one."""
    k = 0
    for i in range(L.shape[0]):
        rest = 1.0
        for j in range(i):
            L[i, j] = rest * partial[k]
            rest *= np.sqrt((1.0 - partial[k]) * (1.0 + partial[k]))
            k += 1
        L[i, i] = rest


@inline
def correlation_root_back(partial, L, d_L, d_partial):
    r"""Add :math:`d/dp_{rc} = d_{rc} L_{rc}/p_{rc} - p_{rc}/(1 - p_{rc}^2)\sum_{l>c} d_{rl} L_{rl}` to d_partial."""
    first = 0
    for i in range(L.shape[0]):
        after, rest = d_L[i, i] * L[i, i], 1.0
        for j in range(i):  # L without p, where p may be zero
            p = partial[first + j]
            d_partial[first + j] += d_L[i, j] * rest
            rest *= np.sqrt((1.0 - p) * (1.0 + p))
        for j in range(i - 1, -1, -1):
            p = partial[first + j]
            d_partial[first + j] -= p / ((1.0 - p) * (1.0 + p)) * after
            after += d_L[i, j] * L[i, j]
        first += i


# -- all blocks ----------------------------------------------------------------------------------

INDEPENDENT, AUTOREGRESSIVE, EXCHANGEABLE, TOEPLITZ, UNSTRUCTURED = range(5)


@inline
def n_parameters(kind, rows):
    """Parameters of R."""
    if kind == TOEPLITZ:
        return positions(rows.time) - 1
    if kind == UNSTRUCTURED:
        return positions(rows.time) * (positions(rows.time) - 1) // 2
    return 0 if kind == INDEPENDENT else 1


@fused_kernel
def block_densities(rows, eta, phi, s, d_phi, values):
    """Fill the log density of each block, s = dl/deta of each row, and d_phi; ``values`` has an element a block."""
    kind, n_sd = rows.structure[0], int(rows.cell.max()) + 1
    first = phi.size - n_parameters(kind, rows)
    nu = phi[n_sd] if first > n_sd else np.inf
    z = np.empty(eta.size)
    for i in range(eta.size):
        z[i] = np.sqrt(rows.weights[i]) * (rows.y[i] - eta[i]) / phi[rows.cell[i]]
    d_phi[:] = 0.0
    rho, d_rho = phi[first:], d_phi[first:]
    if kind == INDEPENDENT:
        d_nu = independent(rows, z, nu, s, values)
    elif kind == AUTOREGRESSIVE:
        d_nu = autoregressive(rows, z, nu, rho, s, d_rho, values)
    elif kind == EXCHANGEABLE:
        d_nu = exchangeable(rows, z, nu, rho, s, d_rho, values)
    elif kind == TOEPLITZ:
        d_nu = toeplitz(rows, z, nu, rho, s, d_rho, values)
    else:
        d_nu = unstructured(rows, z, nu, rho, s, d_rho, values)
    if first > n_sd:
        d_phi[n_sd] = d_nu
    for i in range(eta.size):  # s is g = -dl/dz until here
        c = rows.cell[i]
        values[rows.block[i]] += rows.base[i] - np.log(phi[c])
        d_phi[c] += (s[i] * z[i] - 1.0) / phi[c]
        s[i] *= np.sqrt(rows.weights[i]) / phi[c]


@fused_kernel
def log_likelihood(rows, eta, phi, s, d_phi):
    """Log likelihood of all rows; s and d_phi are filled in place."""
    values = np.empty(rows.block[-1] + 1)
    block_densities(rows, eta, phi, s, d_phi, values)
    return values.sum()


# -- correlations of many parameter vectors ------------------------------------------------------------------


@fused_kernel
def autocorrelations_of(partial):
    """Autocorrelations at lags 1, 2, ... of each row of partial ones; new array of the same shape."""
    T = partial.shape[1] + 1
    out = np.empty_like(partial)
    for m in range(partial.shape[0]):
        r = np.ones(T)
        autocorrelations(partial[m], np.zeros((T, T)), np.ones(T), r)
        out[m] = r[1:]
    return out


@fused_kernel
def correlations_of(partial, T):
    """Correlations (by rows of the lower triangle) of each row of partial ones; new array of the same shape."""
    out = np.empty_like(partial)
    for m in range(partial.shape[0]):
        L = np.zeros((T, T))
        correlation_root(partial[m], L)
        k = 0
        for i in range(T):
            for j in range(i):
                out[m, k] = np.sum(L[i, : j + 1] * L[j, : j + 1])
                k += 1
    return out
