"""Minimum degree: graphs whose best fill is known, and the two guards (dense rows, growing storage)."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from refglmm._jit import pure
from refglmm.likelihood.ordering import minimum_degree

NO_DENSE = 10**6


def lower(edges, n):
    """CSC lower triangle with unit diagonal of an undirected graph."""
    a, b = np.array(edges, dtype=int).reshape(-1, 2).T
    A = sp.coo_array((np.ones(len(a)), (np.maximum(a, b), np.minimum(a, b))), shape=(n, n))
    A = (A + sp.eye_array(n)).tocsc()
    A.sort_indices()
    return A


def order(A, dense=NO_DENSE):
    n = A.shape[0]
    perm = minimum_degree(n, A.indptr.astype(np.int32), A.indices.astype(np.int32), dense)
    assert sorted(perm.tolist()) == list(range(n))
    return perm


def fill(A, perm):
    """Entries that appear when the graph is eliminated in this order, by literal elimination."""
    G = (A.toarray() + A.toarray().T != 0)[np.ix_(perm, perm)]
    before = np.tril(G).sum()
    for p in range(len(perm)):
        rows = np.flatnonzero(G[p + 1 :, p]) + p + 1
        G[np.ix_(rows, rows)] = True
    return int(np.tril(G).sum() - before)


def random_tree(n, rng):
    return lower([(i, rng.integers(0, i)) for i in range(1, n)], n)


def grid(side):
    index = np.arange(side * side).reshape(side, side)
    right = np.stack([index[:, :-1].ravel(), index[:, 1:].ravel()], 1)
    down = np.stack([index[:-1].ravel(), index[1:].ravel()], 1)
    return lower(np.concatenate([right, down]), side * side)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_tiny(n):
    assert fill(lower([], n), order(lower([], n))) == 0


@pytest.mark.parametrize("seed", range(5))
def test_trees_have_no_fill(seed):
    A = random_tree(60, np.random.default_rng(seed))
    assert fill(A, order(A)) == 0


def test_arrow_puts_its_head_last():
    A = lower([(0, i) for i in range(1, 40)], 40)
    perm = order(A)
    assert fill(A, np.arange(40)) == 38 * 39 // 2
    assert fill(A, perm) == 0
    assert 0 in perm[-2:]


@pytest.mark.parametrize("n", [4, 9, 30])
def test_cycle_has_the_least_possible_fill(n):
    A = lower([(i, (i + 1) % n) for i in range(n)], n)
    assert fill(A, order(A)) == n - 3


def test_grid_fill_is_near_the_literature_and_far_below_natural():
    A = grid(20)
    found = fill(A, order(A))
    assert found < 0.5 * fill(A, np.arange(400))
    assert found < 3200  # minimum degree on a 20 x 20 grid: about 2500 to 3000, depending on ties


def test_crossed_factors_eliminate_the_larger_one_first():
    rng = np.random.default_rng(2)
    edges = {(int(a), 60 + int(b)) for a, b in zip(rng.integers(0, 60, 300), rng.integers(0, 8, 300))}
    A = lower(sorted(edges), 68)
    perm = order(A)
    assert set(perm[:40]) <= set(range(60))
    best = fill(A, np.arange(68))
    assert fill(A, perm) <= best


def test_dense_rows_come_last_in_their_own_order():
    A = lower([(0, i) for i in range(1, 30)] + [(5, i) for i in range(6, 30)], 30)
    assert order(A, dense=20)[-2:].tolist() == [0, 5]


@pytest.mark.parametrize("seed", range(4))
def test_storage_grows_with_the_fill(seed):
    # a sparse random graph fills in almost completely: the elements need far more room than the edges
    rng = np.random.default_rng(seed)
    A = lower([(i, j) for i in range(120) for j in range(i) if rng.random() < 0.06], 120)
    perm = order(A)
    assert fill(A, perm) > A.nnz
    assert fill(A, perm) < fill(A, np.arange(120))


def test_compiled_and_python_agree():
    A = grid(6)
    compiled = order(A)
    python = pure(minimum_degree)(36, A.indptr, A.indices, NO_DENSE)
    np.testing.assert_array_equal(compiled, python)
