"""Blocks, products and patterns of the layout against dense matrices."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
from problems import DESIGNS, split_factors

from refglmm.likelihood import layout as rows
from refglmm.likelihood.layout import build_layout

every_design = pytest.mark.parametrize("design", DESIGNS, ids=str)


class Dense:
    """A design laid out by the package, and the same as dense matrices."""

    def __init__(self, design, seed=0):
        rng = np.random.default_rng(seed)
        self.design = design
        self.levels = [term[2] for term in design.terms]
        self.lay = build_layout([t[0] for t in design.terms], [t[1] for t in design.terms], self.levels, design.n)
        self.w = rng.uniform(0.2, 2.0, design.n)
        factors = split_factors(design.structures, design.par(0.9))
        self.T = np.concatenate([T.ravel() for T in factors])
        self.Z = oracles.dense_Z(design.terms)
        self.Lambda = oracles.dense_Lambda(factors, self.levels)
        self.rng = rng

    @property
    def C(self):
        C = np.zeros(self.lay.n_block_values)
        rows.accumulate_blocks(self.w, self.lay.z, self.lay.start, self.lay.k, C)
        return C

    def H_values(self):
        lay = self.lay
        H = np.zeros(lay.nnz)
        rows.scale_blocks(
            self.C, lay.block_start, lay.block_row, lay.block_col, lay.k, self.T, lay.T_start, lay.where, H
        )
        rows.add_identity(H, lay.diagonal)
        return H

    def H_dense(self):
        M = self.Z @ self.Lambda
        return np.eye(self.lay.q) + M.T @ (self.w[:, None] * M)

    def lower(self, values):
        """Dense symmetric matrix from values on the pattern."""
        lay = self.lay
        A = np.zeros((lay.q, lay.q))
        A[lay.indices, np.repeat(np.arange(lay.q), np.diff(lay.indptr))] = values
        return A + np.tril(A, -1).T

    def on_pattern(self, A):
        lay = self.lay
        return A[lay.indices, np.repeat(np.arange(lay.q), np.diff(lay.indptr))]

    def from_blocks(self, values):
        """Dense symmetric matrix from the flat blocks (lower block triangle)."""
        lay, A = self.lay, np.full((self.lay.q, self.lay.q), np.nan)
        for i in range(lay.n):
            pair = row0 = 0
            for t in range(lay.k.size):
                col0 = 0
                for tt in range(t + 1):
                    r, c = lay.index[i, row0 : row0 + lay.k[t]], lay.index[i, col0 : col0 + lay.k[tt]]
                    begin = lay.start[i, pair]
                    block = values[begin : begin + r.size * c.size].reshape(r.size, c.size)
                    A[np.ix_(r, c)] = block
                    A[np.ix_(c, r)] = block.T
                    pair, col0 = pair + 1, col0 + lay.k[tt]
                row0 += lay.k[t]
        return A


@every_design
def test_blocks_are_ZtWZ(design):
    dense = Dense(design)
    expected = dense.Z.T @ (dense.w[:, None] * dense.Z)
    found = dense.from_blocks(dense.C)
    seen = ~np.isnan(found)
    np.testing.assert_allclose(found[seen], expected[seen], rtol=1e-13, atol=1e-13)
    # what no row touches is zero in Z'WZ, so nothing is missing
    assert np.all(expected[~seen] == 0.0)


@every_design
def test_scaled_blocks_are_H(design):
    dense = Dense(design)
    np.testing.assert_allclose(dense.lower(dense.H_values()), dense.H_dense(), rtol=1e-13, atol=1e-13)


@every_design
def test_pattern_is_lower_csc_with_the_diagonal_first(design):
    lay = Dense(design).lay
    for j in range(lay.q):
        column = lay.indices[lay.indptr[j] : lay.indptr[j + 1]]
        assert column[0] == j == lay.indices[lay.diagonal[j]]
        assert np.all(np.diff(column) > 0)


@every_design
def test_inverse_on_the_pattern_gives_row_variances(design):
    """v_i = [M H^-1 M']_ii."""
    dense = Dense(design)
    S, _, _ = unscaled(dense)
    v = np.empty(design.n)
    rows.row_variances(dense.lay.z, dense.lay.start, dense.lay.k, S, v)
    M = dense.Z @ dense.Lambda
    np.testing.assert_allclose(v, np.einsum("ij,ij->i", M, M @ np.linalg.inv(dense.H_dense())), rtol=1e-12)


@every_design
def test_unscaled_blocks_are_Lambda_Hinv_Lambdat(design):
    dense = Dense(design)
    S, _, _ = unscaled(dense)
    found = dense.from_blocks(S)
    seen = ~np.isnan(found)
    expected = dense.Lambda @ np.linalg.inv(dense.H_dense()) @ dense.Lambda.T
    np.testing.assert_allclose(found[seen], expected[seen], rtol=1e-11, atol=1e-13)


@every_design
def test_A_is_the_derivative_of_half_logdet(design):
    """tr(H^-1 dLambda' C Lambda) = <dT, A>, so 2 A is the derivative of log|H| in the elements of T."""
    dense = Dense(design)
    _, A, factors = unscaled(dense)
    C = dense.Z.T @ (dense.w[:, None] * dense.Z)

    def logdet(flat):
        pieces, first = [], 0
        for T in factors:
            pieces.append(flat[first : first + T.size].reshape(T.shape))
            first += T.size
        Lambda = oracles.dense_Lambda(pieces, dense.levels)
        return np.linalg.slogdet(np.eye(dense.lay.q) + Lambda.T @ C @ Lambda)[1]

    expected = oracles.gradient_5_point(logdet, dense.T, np.full(dense.T.size, 1e-3))
    lower = np.concatenate([np.tril(np.ones(T.shape)).ravel() for T in factors]) == 1
    np.testing.assert_allclose(2.0 * A[lower], expected[lower], rtol=1e-8, atol=1e-9)


def unscaled(dense):
    lay = dense.lay
    inverse = dense.on_pattern(np.linalg.inv(dense.H_dense()))
    S, A = np.zeros(lay.n_block_values), np.zeros(lay.T_size)
    rows.unscale_blocks(
        inverse,
        lay.block_start,
        lay.block_row,
        lay.block_col,
        lay.k,
        dense.T,
        lay.T_start,
        lay.where,
        dense.C,
        S,
        A,
    )
    return S, A, split_factors(dense.design.structures, dense.design.par(0.9))


@every_design
def test_products_with_Z(design):
    dense, lay = Dense(design), Dense(design).lay
    b, s, fixed = dense.rng.normal(size=lay.q), dense.rng.normal(size=lay.n), dense.rng.normal(size=lay.n)
    out_n, out_q = np.full(lay.n, np.nan), np.full(lay.q, np.nan)
    rows.linear_predictor(fixed, lay.index, lay.z, b, out_n)
    np.testing.assert_allclose(out_n, fixed + dense.Z @ b, rtol=1e-13, atol=1e-14)
    rows.rows_times(lay.index, lay.z, b, out_n)
    np.testing.assert_allclose(out_n, dense.Z @ b, rtol=1e-13, atol=1e-14)
    rows.transpose_times(lay.index, lay.z, s, out_q)
    np.testing.assert_allclose(out_q, dense.Z.T @ s, rtol=1e-12, atol=1e-13)


@every_design
def test_cross_products_with_X(design):
    dense, lay = Dense(design), Dense(design).lay
    X = dense.rng.normal(size=(lay.n, 3))
    wanted = dense.Z.T @ (dense.w[:, None] * X)
    ZtWX = np.full((lay.q, 3), np.nan)
    rows.cross_columns(lay.index, lay.z, dense.w, X, ZtWX)
    np.testing.assert_allclose(ZtWX, wanted, rtol=1e-12, atol=1e-13)
    WX, LtZtWX = np.full_like(X, np.nan), np.full((3, lay.q), np.nan)
    rows.fixed_cross(
        lay.index, lay.z, X, dense.w, dense.T, lay.T_start, lay.k, lay.levels, WX, np.full_like(ZtWX, np.nan), LtZtWX
    )
    np.testing.assert_allclose(WX, dense.w[:, None] * X, rtol=1e-15)
    np.testing.assert_allclose(LtZtWX.T, dense.Lambda.T @ wanted, rtol=1e-12, atol=1e-13)


@every_design
def test_products_with_Lambda(design):
    dense, lay = Dense(design), Dense(design).lay
    u, G = dense.rng.normal(size=lay.q), dense.rng.normal(size=(lay.q, 3))
    out, out_matrix = np.full(lay.q, np.nan), np.full((lay.q, 3), np.nan)
    rows.lambda_times(dense.T, lay.T_start, lay.k, lay.levels, u, out)
    np.testing.assert_allclose(out, dense.Lambda @ u, rtol=1e-13, atol=1e-14)
    rows.lambda_transpose_times(dense.T, lay.T_start, lay.k, lay.levels, u, out)
    np.testing.assert_allclose(out, dense.Lambda.T @ u, rtol=1e-13, atol=1e-14)
    rows.lambda_transpose_matrix(dense.T, lay.T_start, lay.k, lay.levels, G, out_matrix)
    np.testing.assert_allclose(out_matrix, dense.Lambda.T @ G, rtol=1e-13, atol=1e-14)


@every_design
def test_level_outer_sums_over_levels(design):
    dense, lay = Dense(design), Dense(design).lay
    g, u = dense.rng.normal(size=lay.q), dense.rng.normal(size=lay.q)
    out = np.ones(lay.T_size)
    rows.level_outer(lay.k, lay.T_start, lay.levels, g, u, out)
    expected, first = [], 0
    for k, levels in zip(lay.k, lay.levels):
        G, U = (v[first : first + k * levels].reshape(levels, k) for v in (g, u))
        expected.append((1.0 + G.T @ U).ravel())
        first += k * levels
    np.testing.assert_allclose(out, np.concatenate(expected), rtol=1e-13)


@every_design
@pytest.mark.parametrize("engine", ["builtin", "cholmod", "schur"])
def test_factor_of_the_pattern(design, engine):
    """log|H| and H^-1 on the pattern, whatever engine factors it."""
    if engine == "cholmod":
        pytest.importorskip("sksparse")
    dense = Dense(design)
    factor = dense.lay.make_factor(engine)
    factor.refactor(dense.H_values())
    H = dense.H_dense()
    assert factor.logdet() == pytest.approx(np.linalg.slogdet(H)[1], rel=1e-12)
    np.testing.assert_allclose(factor.selected_inverse(), dense.on_pattern(np.linalg.inv(H)), rtol=1e-10, atol=1e-13)


def test_a_level_without_rows_keeps_its_place():
    """Level 1 of 3 has no rows: its diagonal of H is the identity's."""
    lay = build_layout([np.array([0, 2, 2])], [np.ones((3, 1))], [3], 3)
    C, H = np.zeros(lay.n_block_values), np.zeros(lay.nnz)
    rows.accumulate_blocks(np.ones(3), lay.z, lay.start, lay.k, C)
    rows.scale_blocks(
        C, lay.block_start, lay.block_row, lay.block_col, lay.k, np.array([2.0]), lay.T_start, lay.where, H
    )
    rows.add_identity(H, lay.diagonal)
    np.testing.assert_array_equal(H, [1 + 4.0, 1.0, 1 + 8.0])


@pytest.mark.parametrize(("levels", "others"), [(4, 3), (1, 1), (40, 60)], ids=["table", "one pair", "sort"])
def test_observed_pairs_are_numbered_in_order(levels, others):
    """Few cells a row are counted in a table, many are sorted: the answer is that of the definition."""
    rng = np.random.default_rng(5)
    codes, other = rng.integers(0, levels, 50).astype(np.int32), rng.integers(0, others, 50).astype(np.int32)
    keys, number = rows._pair_blocks(codes, other, levels, others)
    pairs = sorted(set(zip(codes.tolist(), other.tolist(), strict=True)))
    assert [divmod(int(key), others) for key in keys] == pairs
    assert [pairs[i] for i in number] == list(zip(codes, other, strict=True))


def test_crossed_design_stores_observed_pairs_only():
    """One block for each pair of levels that occurs: 10 000 rows, each its own pair, make 30 000 numbers."""
    n = 10_000
    lay = build_layout([np.arange(n), np.arange(n)[::-1].copy()], [np.ones((n, 1))] * 2, [n, n], n)
    assert lay.n_block_values == 3 * n == lay.nnz
    assert lay.q == 2 * n
