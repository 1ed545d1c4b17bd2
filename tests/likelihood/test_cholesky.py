"""The three Cholesky engines against dense linear algebra, and against each other."""

from __future__ import annotations

import copy
import importlib.util
import pickle
import sys
import types
import warnings

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from refglmm.errors import ArgumentError, EngineWarning, NotAvailableError, NotPositiveDefiniteError
from refglmm.likelihood import cholesky
from refglmm.likelihood.cholesky import make_cholesky

NEEDS_CHOLMOD = pytest.mark.skipif(importlib.util.find_spec("sksparse") is None, reason="no scikit-sparse")
SPARSE = ["builtin", pytest.param("cholmod", marks=NEEDS_CHOLMOD)]
ALL = [*SPARSE, "schur"]
HAVE = ["builtin"] + (["cholmod"] if importlib.util.find_spec("sksparse") else [])


# -- matrices -------------------------------------------------------------------------------------------
class Problem:
    """A symmetric matrix, its lower-triangle pattern, and the block structure of its leading part."""

    def __init__(self, H, pattern=None, block=1, n_leading=0):
        self.H, self.n, self.block, self.n_leading = H, len(H), block, n_leading
        pattern = (H != 0) if pattern is None else pattern
        columns, rows = np.nonzero(np.triu(pattern | np.eye(self.n, dtype=bool)))
        self.rows, self.columns = rows, columns
        self.indices = rows
        self.indptr = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=self.n))]).astype(int)

    def of(self, matrix):
        """Entries of a matrix in the order of the pattern."""
        return matrix[self.rows, self.columns]

    @property
    def values(self):
        return self.of(self.H)

    def make(self, engine):
        return make_cholesky(
            self.indptr, self.indices, self.n, engine=engine, block=self.block, n_leading=self.n_leading
        )

    def factored(self, engine):
        factor = self.make(engine)
        factor.refactor(self.values)
        return factor


def block_problem(rng, n_levels, k, m, density, scale=1.0):
    """I + M'M of a design with one leading term of k columns and m further variables."""
    n = n_levels * k + m
    N = max(4 * n, 1)
    M = np.zeros((N, n))
    levels = rng.integers(0, n_levels, N)
    for c in range(k):
        M[np.arange(N), levels * k + c] = rng.standard_normal(N)
    M[:, n_levels * k :] = rng.standard_normal((N, m)) * (rng.random((N, m)) < density)
    M *= scale / np.sqrt(4)
    return Problem(np.eye(n) + M.T @ M, block=k, n_leading=n_levels * k)


def random_problem(rng, n, density):
    """Diagonally dominant matrix with an arbitrary pattern, some entries of which are zero."""
    pattern = rng.random((n, n)) < density
    pattern = pattern | pattern.T
    A = np.where(pattern, rng.standard_normal((n, n)), 0.0)
    A = np.where(rng.random((n, n)) < 0.1, 0.0, A)
    A = np.tril(A, -1) + np.tril(A, -1).T
    return Problem(A + np.diag(np.abs(A).sum(axis=1) + rng.uniform(0.1, 2.0, n)), pattern)


def default_problem():
    return block_problem(np.random.default_rng(0), 9, 2, 5, 0.3)


def check_against_dense(problem, factor, rng):
    H, n = problem.H, problem.n
    P = np.eye(n)[factor.perm]
    L = factor.L()
    assert sp.issparse(L)
    assert L.format == "csc"
    assert L.has_sorted_indices
    dense = L.toarray()
    np.testing.assert_array_equal(dense, np.tril(dense))
    np.testing.assert_allclose(dense @ dense.T, P @ H @ P.T, rtol=1e-12, atol=1e-12)
    assert factor.logdet() == pytest.approx(np.linalg.slogdet(H)[1], rel=1e-12, abs=1e-12)
    inverse = np.linalg.inv(H) if n else H
    np.testing.assert_allclose(factor.selected_inverse(), problem.of(inverse), rtol=1e-10, atol=1e-12)
    for b in (
        rng.standard_normal(n),
        rng.standard_normal((n, 3)),
        rng.standard_normal((3, n)).T,
        np.zeros((n, 0)),
    ):
        before = b.copy()
        expected_L = scipy.linalg.solve_triangular(dense, P @ b, lower=True) if n else b
        expected_Lt = P.T @ scipy.linalg.solve_triangular(dense, b, lower=True, trans="T") if n else b
        for method, expected in (
            (factor.solve, inverse @ b),
            (factor.solve_L, expected_L),
            (factor.solve_Lt, expected_Lt),
        ):
            x = method(b)
            assert x.shape == b.shape
            assert x.flags.c_contiguous
            np.testing.assert_allclose(x, expected, rtol=1e-11, atol=1e-12)
        np.testing.assert_array_equal(b, before)


# -- numbers --------------------------------------------------------------------------------------------
# no deadline: the first example may have to compile the kernels
@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 14),
    st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0]),
    st.sampled_from(HAVE),
)
def test_sparse_engines_on_random_patterns(seed, n, density, engine):
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, n, density)
    check_against_dense(problem, problem.factored(engine), rng)


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(0, 5),
    st.sampled_from([0.05, 0.3, 1.0]),
    st.sampled_from([1, 256]),
)
def test_schur_on_random_designs(seed, n_levels, k, m, density, lapack_from):
    rng = np.random.default_rng(seed)
    problem = block_problem(rng, n_levels, k, m, density)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cholesky, "LAPACK_FROM", lapack_from)
        check_against_dense(problem, problem.factored("schur"), rng)


@pytest.mark.parametrize("engine", ALL)
@pytest.mark.parametrize("shape", [(40, 1, 30, 0.1), (25, 3, 12, 0.5), (60, 2, 0, 0.0), (3, 1, 80, 0.9)], ids=str)
def test_larger_designs(engine, shape):
    rng = np.random.default_rng(5)
    problem = block_problem(rng, *shape)
    check_against_dense(problem, problem.factored(engine), rng)


@pytest.mark.parametrize("engine", ALL)
def test_engines_agree_closely(engine):
    problem = block_problem(np.random.default_rng(8), 50, 2, 20, 0.2, scale=3.0)
    reference, factor = problem.factored("builtin"), problem.factored(engine)
    b = np.random.default_rng(9).standard_normal((problem.n, 4))
    assert factor.logdet() == pytest.approx(reference.logdet(), rel=1e-12)
    np.testing.assert_allclose(factor.solve(b), reference.solve(b), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(factor.selected_inverse(), reference.selected_inverse(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("engine", ALL)
def test_lengths_of_triangular_solves_give_the_quadratic_form(engine):
    problem = default_problem()
    factor = problem.factored(engine)
    b = np.linspace(-1, 2, problem.n)
    assert factor.solve_L(b) @ factor.solve_L(b) == pytest.approx(b @ np.linalg.solve(problem.H, b), rel=1e-12)
    np.testing.assert_allclose(factor.solve_Lt(factor.solve_L(b)), factor.solve(b), rtol=1e-12)


@pytest.mark.parametrize("engine", ALL)
def test_refactor_with_many_values(engine):
    problem = default_problem()
    factor = problem.make(engine)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        weights = rng.uniform(0.1, 10.0, problem.n)
        H = weights[:, None] * problem.H * weights
        factor.refactor(problem.of(H))
        assert factor.logdet() == pytest.approx(np.linalg.slogdet(H)[1], rel=1e-11)
        inverse = np.linalg.inv(H)
        np.testing.assert_allclose(factor.selected_inverse(), problem.of(inverse), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("engine", ALL)
def test_zeros_inside_the_pattern_do_not_change_it(engine):
    # theta = 0 makes H the identity; the next theta needs the full pattern again
    problem = default_problem()
    factor = problem.make(engine)
    for H in (np.eye(problem.n), problem.H, np.eye(problem.n)):
        factor.refactor(problem.of(H))
        check_against_dense(Problem(H, problem.H != 0), factor, np.random.default_rng(1))


@pytest.mark.parametrize("engine", ALL)
def test_one_by_one(engine):
    problem = Problem(np.array([[4.0]]), n_leading=1)
    factor = problem.factored(engine)
    assert factor.logdet() == pytest.approx(np.log(4.0))
    np.testing.assert_allclose(factor.solve([2.0]), [0.5])
    np.testing.assert_allclose(factor.solve_L([2.0]), [1.0])
    np.testing.assert_allclose(factor.selected_inverse(), [0.25])


@pytest.mark.parametrize("engine", ["auto", *SPARSE])
def test_empty_model(engine):
    factor = make_cholesky([0], [], 0, engine=engine, block=1, n_leading=0)
    factor.refactor([])
    assert factor.logdet() == 0.0
    assert factor.solve(np.zeros(0)).shape == (0,)
    assert factor.solve_L(np.zeros((0, 3))).shape == (0, 3)
    assert factor.selected_inverse().shape == (0,)
    assert factor.L().shape == (0, 0)
    assert factor.copy().logdet() == 0.0


@pytest.mark.parametrize("engine", ALL)
def test_diagonal(engine):
    d = np.linspace(0.5, 3.0, 200)
    problem = Problem(np.diag(d), n_leading=200)
    factor = problem.factored(engine)
    assert factor.logdet() == pytest.approx(np.log(d).sum(), rel=1e-13)
    np.testing.assert_allclose(factor.selected_inverse(), 1 / d, rtol=1e-15)
    np.testing.assert_allclose(factor.solve(np.ones(200)), 1 / d, rtol=1e-15)


def test_a_large_trailing_matrix_takes_the_lapack_route():
    problem = block_problem(np.random.default_rng(3), 20, 1, cholesky.LAPACK_FROM + 5, 0.3)
    check_against_dense(problem, problem.factored("schur"), np.random.default_rng(4))


# -- failures -------------------------------------------------------------------------------------------
def first_bad_column(H, perm):
    """Column of H at which the leading minors of H[perm][:, perm] stop being positive."""
    C = H[np.ix_(perm, perm)]
    for j in range(len(H)):
        if np.linalg.eigvalsh(C[: j + 1, : j + 1]).min() <= 0:
            return int(perm[j])
    raise AssertionError("the test matrix is positive definite")


@pytest.mark.parametrize("lapack_from", [1, 256])
@pytest.mark.parametrize("bad", [0, 7, 17, 18, 22])
@pytest.mark.parametrize("engine", ALL)
def test_indefinite_matrix_names_the_column(engine, bad, lapack_from, monkeypatch):
    monkeypatch.setattr(cholesky, "LAPACK_FROM", lapack_from)
    problem = default_problem()
    factor = problem.make(engine)
    H = problem.H.copy()
    H[bad, bad] = -3.5
    with pytest.raises(NotPositiveDefiniteError, match="matrix of order 23 is not positive definite") as caught:
        factor.refactor(problem.of(H))
    column = first_bad_column(H, factor.perm)
    assert caught.value.facts == {"column": column, "diagonal": H[column, column], "n": 23}
    factor.refactor(problem.values)  # the factor recovers
    check_against_dense(problem, factor, np.random.default_rng(0))


@pytest.mark.parametrize("engine", ALL)
def test_singular_by_a_combination_of_columns(engine):
    problem = Problem(np.array([[1.0, 2.0], [2.0, 1.0]]), n_leading=1)
    with pytest.raises(NotPositiveDefiniteError, match=r"no positive pivot for column \d \(diagonal 1\)"):
        problem.factored(engine)


@pytest.mark.parametrize("lapack_from", [1, 256])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("bad", [3, 20])
@pytest.mark.parametrize("engine", ALL)
def test_values_that_are_not_finite(engine, bad, value, lapack_from, monkeypatch):
    monkeypatch.setattr(cholesky, "LAPACK_FROM", lapack_from)
    problem = default_problem()
    H = problem.H.copy()
    H[bad, bad] = value
    factor = problem.make(engine)
    with pytest.raises(NotPositiveDefiniteError) as caught, np.errstate(all="ignore"):
        factor.refactor(problem.of(H))
    assert caught.value.facts["column"] == bad


@pytest.mark.parametrize("engine", ALL)
def test_nothing_works_without_values(engine):
    problem = default_problem()
    factor = problem.make(engine)
    b = np.ones(problem.n)

    def refuse(snapshot):
        for use in (snapshot.logdet, snapshot.selected_inverse, snapshot.L, lambda: snapshot.solve(b)):
            with pytest.raises(NotAvailableError, match="call refactor first"):
                use()

    refuse(factor)
    assert "no values yet" in repr(factor)
    factor.refactor(problem.values)
    with pytest.raises(NotPositiveDefiniteError):
        factor.refactor(-problem.values)
    refuse(factor)
    refuse(factor.copy())


@pytest.mark.parametrize("engine", ALL)
def test_wrong_shapes_are_named(engine):
    factor = default_problem().factored(engine)
    with pytest.raises(ArgumentError, match=f"the pattern has {factor.indices.size} entries, not 3"):
        factor.refactor([1.0, 2.0, 3.0])
    with pytest.raises(ArgumentError, match=r"must have 23 rows, not shape \(22,\)"):
        factor.solve(np.ones(22))
    with pytest.raises(ArgumentError, match=r"not shape \(23, 1, 1\)"):
        factor.solve_L(np.ones((23, 1, 1)))


@pytest.mark.parametrize(
    ("indptr", "indices", "n", "column"),
    [
        ([0, 2, 3], [0, 1, 0], 2, 1),  # upper triangle
        ([0, 2, 3], [1, 0, 1], 2, 0),  # unsorted
        ([0, 1, 1], [0], 2, 1),  # no diagonal
        ([0, 3, 4], [0, 1, 1, 1], 2, 0),  # twice
        ([0, 2, 3], [0, 2, 1], 2, 0),  # outside
        ([0, 3, 2], [0, 1], 2, 1),  # pointers go backwards
    ],
)
def test_malformed_patterns_name_the_column(indptr, indices, n, column):
    with pytest.raises(ArgumentError, match=f"column {column} is not a sorted lower-triangle column") as caught:
        make_cholesky(indptr, indices, n, engine="builtin")
    assert caught.value.facts["column"] == column


def test_pattern_of_wrong_length():
    with pytest.raises(ArgumentError, match="does not describe 3 columns and 2 entries"):
        make_cholesky([0, 1, 2], [0, 1], 3)


def test_engine_arguments():
    problem = default_problem()
    with pytest.raises(ArgumentError, match="unknown engine 'lapack'; known are auto, cholmod, builtin, schur"):
        problem.make("lapack")
    for block, n_leading in [(1, 18), (2, 17), (2, 20), (0, 18), (2, 0), (2, 40)]:
        with pytest.raises(ArgumentError, match=f"first {n_leading} variables are not diagonal blocks of size {block}"):
            make_cholesky(problem.indptr, problem.indices, problem.n, engine="schur", block=block, n_leading=n_leading)


# -- copies ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("engine", ALL)
def test_copies_are_independent(engine):
    problem = default_problem()
    factor = problem.factored(engine)
    snapshot = factor.copy()
    logdet, inverse, b = factor.logdet(), factor.selected_inverse(), np.ones(problem.n)
    solution, root = factor.solve(b), factor.solve_L(b)
    factor.refactor(4.0 * problem.values)
    assert factor.logdet() == pytest.approx(logdet + problem.n * np.log(4.0), rel=1e-12)
    assert snapshot.logdet() == logdet
    np.testing.assert_array_equal(snapshot.selected_inverse(), inverse)
    np.testing.assert_array_equal(snapshot.solve(b), solution)
    np.testing.assert_array_equal(snapshot.solve_L(b), root)
    snapshot.refactor(9.0 * problem.values)
    assert factor.logdet() == pytest.approx(logdet + problem.n * np.log(4.0), rel=1e-12)
    np.testing.assert_allclose(factor.selected_inverse(), inverse / 4.0, rtol=1e-12)


@pytest.mark.parametrize("engine", ALL)
def test_values_are_copied(engine):
    problem = default_problem()
    values = problem.values.copy()
    factor = problem.make(engine)
    factor.refactor(values)
    expected = factor.selected_inverse()
    values[:] = np.nan
    np.testing.assert_array_equal(factor.selected_inverse(), expected)
    for out in (factor.selected_inverse(), factor.L().data):
        out[:] = np.nan
    np.testing.assert_array_equal(factor.selected_inverse(), expected)


@pytest.mark.parametrize("engine", ALL)
@pytest.mark.parametrize("how", [copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))], ids=["deepcopy", "pickle"])
def test_pickling(engine, how):
    problem = default_problem()
    factor = problem.factored(engine)
    again = how(factor)
    assert again.engine == engine
    np.testing.assert_array_equal(again.perm, factor.perm)
    assert again.logdet() == factor.logdet()
    with pytest.raises(NotAvailableError):
        how(problem.make(engine)).logdet()


def test_repr_says_the_state():
    text = repr(Problem(np.eye(3), n_leading=3).factored("schur"))
    assert text == "<SparseCholesky: schur, n = 3, 3 entries, log|H| = 0>"


# -- choosing an engine ---------------------------------------------------------------------------------
def nested_problem():
    """Two nested factors: the trailing part is diagonal after the elimination, but large."""
    fine, coarse = 400, 100
    H = np.eye(fine + coarse) * 5.0
    for i in range(fine):
        H[i, fine + i // 4] = H[fine + i // 4, i] = 1.0
    return Problem(H, block=1, n_leading=fine)


def crossed_problem():
    """Two crossed factors of equal size: the trailing part fills in completely."""
    rng = np.random.default_rng(6)
    q = 100
    B = (rng.random((q, q)) < 0.1) * 0.1
    H = np.block([[5.0 * np.eye(q), B], [B.T, 5.0 * np.eye(q)]])
    return Problem(H, block=1, n_leading=q)


def without_cholmod(monkeypatch):
    monkeypatch.setitem(sys.modules, "sksparse", None)
    monkeypatch.setitem(sys.modules, "sksparse.cholmod", None)


def test_automatic_choice():
    assert default_problem().make("auto").engine == "schur"  # few trailing variables
    assert crossed_problem().make("auto").engine == "schur"  # dense trailing matrix
    assert nested_problem().make("auto").engine == "builtin"  # large and sparse
    unstructured = nested_problem()
    unstructured.n_leading = 0
    assert unstructured.make("auto").engine == "builtin"
    no_blocks = crossed_problem()
    no_blocks.n_leading = no_blocks.n
    assert no_blocks.make("auto").engine == "builtin"  # the claim about the leading part is wrong


def test_automatic_choice_avoids_huge_dense_matrices(monkeypatch):
    monkeypatch.setattr(cholesky, "LARGEST_TRAILING", 99)
    assert crossed_problem().make("auto").engine == "builtin"


@NEEDS_CHOLMOD
def test_cholmod_takes_over_for_expensive_factors(monkeypatch):
    monkeypatch.setattr(cholesky, "CHOLMOD_FLOPS", 10.0)
    problem = nested_problem()
    factor = problem.factored("auto")
    assert factor.engine == "cholmod"
    check_against_dense(problem, factor, np.random.default_rng(0))


def test_the_builtin_engine_says_once_that_it_stands_in(monkeypatch):
    without_cholmod(monkeypatch)
    monkeypatch.setattr(cholesky, "CHOLMOD_FLOPS", 10.0)
    monkeypatch.setattr(cholesky, "_warned", False)
    with pytest.warns(EngineWarning, match="CHOLMOD .scikit-sparse. is not installed") as caught:
        assert nested_problem().make("auto").engine == "builtin"
    assert caught[0].message.facts["flops"] == nested_problem().make("builtin")._symbolic.flops
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert nested_problem().make("auto").engine == "builtin"


def test_no_warning_where_cholmod_would_not_be_used(monkeypatch):
    without_cholmod(monkeypatch)
    monkeypatch.setattr(cholesky, "_warned", False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert nested_problem().make("auto").engine == "builtin"
        assert default_problem().make("auto").engine == "schur"


def test_cholmod_asked_for_but_missing(monkeypatch):
    without_cholmod(monkeypatch)
    with pytest.raises(NotAvailableError, match="needs scikit-sparse"):
        default_problem().make("cholmod")


# -- scikit-sparse 0.5 ----------------------------------------------------------------------------------
class CholmodNotPositiveDefiniteError(Exception):
    """Name of the exception in scikit-sparse."""


class CholeskyFactor:
    """The part of scikit-sparse 0.5's class that is used, in dense arithmetic with a reversing permutation.

    Only system "A" permutes; arrays must be float64 ndarrays; the matrix is read from one triangle.
    """

    def __init__(self, A, *, lower=True, order="default", sym_kind=None, supernodal_mode=None):
        assert isinstance(A, sp.csc_array)
        assert A.indices.dtype == A.indptr.dtype == np.int32
        assert lower
        assert order in ("default", "amd")
        self.shape = A.shape
        self.perm = np.arange(A.shape[0])[::-1].astype(np.int32)
        self.perm.flags.writeable = False
        self._root = None

    def factorize(self, A, ldl=None, beta=0.0):
        assert A.shape == self.shape
        low = np.tril(A.toarray())
        full = low + np.tril(low, -1).T
        self._root = None
        try:
            self._root = np.linalg.cholesky(full[np.ix_(self.perm, self.perm)])
        except np.linalg.LinAlgError:
            raise CholmodNotPositiveDefiniteError("not positive definite") from None
        return self

    def logdet(self):
        return 2.0 * np.sum(np.log(np.diagonal(self._root)))

    def solve(self, b, system="A"):
        assert isinstance(b, np.ndarray)
        assert b.ndim in (1, 2)
        if system == "L":
            return scipy.linalg.solve_triangular(self._root, b, lower=True)
        if system == "Lt":
            return scipy.linalg.solve_triangular(self._root, b, lower=True, trans="T")
        assert system == "A"
        x = np.empty_like(b)
        x[self.perm] = scipy.linalg.cho_solve((self._root, True), b[self.perm])
        return x

    def copy(self):
        other = object.__new__(CholeskyFactor)
        other.__dict__.update(self.__dict__)
        other._root = None if self._root is None else self._root.copy()
        return other


@pytest.fixture
def scikit_sparse_05(monkeypatch):
    module = types.ModuleType("sksparse.cholmod")
    module.CholeskyFactor = CholeskyFactor
    module.CholmodNotPositiveDefiniteError = CholmodNotPositiveDefiniteError
    monkeypatch.setitem(sys.modules, "sksparse", types.ModuleType("sksparse"))
    monkeypatch.setitem(sys.modules, "sksparse.cholmod", module)


def test_scikit_sparse_05(scikit_sparse_05):
    problem = default_problem()
    factor = problem.factored("cholmod")
    assert isinstance(factor._cholmod, cholesky._Cholmod05)
    np.testing.assert_array_equal(factor.perm, np.arange(23)[::-1])
    check_against_dense(problem, factor, np.random.default_rng(0))
    snapshot = factor.copy()
    factor.refactor(4.0 * problem.values)
    check_against_dense(problem, snapshot, np.random.default_rng(0))
    assert factor.logdet() == pytest.approx(snapshot.logdet() + 23 * np.log(4.0))


@pytest.mark.parametrize("bad", [0, 22])
def test_scikit_sparse_05_failures(scikit_sparse_05, bad):
    problem = default_problem()
    factor = problem.make("cholmod")
    H = problem.H.copy()
    H[bad, bad] = -1.0
    with pytest.raises(NotPositiveDefiniteError) as caught:
        factor.refactor(problem.of(H))
    assert caught.value.facts["column"] == first_bad_column(H, factor.perm)
    factor.refactor(problem.values)
    assert factor.logdet() == pytest.approx(np.linalg.slogdet(problem.H)[1])
