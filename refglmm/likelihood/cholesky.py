r"""Sparse Cholesky of H = I + M'WM: analyse the pattern once, refactor often.

Place in the reading order: after :mod:`.ordering`, :mod:`.sparse_kernels` and :mod:`.schur_kernels`;
everything that needs log|H|, a solve with H or its inverse comes later. With P the permutation
matrix of ``perm``,

.. math:: L L' = P H P', \qquad \log|H| = 2 \sum_j \log L_{jj} .

Three engines stand behind one interface:

``"schur"``
    The first term's variables are eliminated block by block, the rest is a dense matrix (LAPACK).
``"builtin"``
    Minimum degree and up-looking Cholesky, compiled with numba.
``"cholmod"``
    CHOLMOD through scikit-sparse, 0.4 or 0.5. Its selected inverse comes from the built-in kernels, run
    with CHOLMOD's permutation, so that there is one implementation of it.

**Which one** ``"auto"`` **takes.** Milliseconds of one thread for a refactorisation with log determinant, and
for the selected inverse after it (AMD EPYC; CHOLMOD over the reference BLAS, LAPACK from OpenBLAS):

======================== ======== ======== ======== ========= ========= ==========
variables of each term   schur    builtin  cholmod  inverse:  inverse:  ``"auto"``
                                                    schur     builtin
======================== ======== ======== ======== ========= ========= ==========
15                       0.003    0.003    0.013    0.003     0.002     schur
100000                   1.6      1.4      2.3      1.4       0.4       schur
316, 24 crossed          0.09     0.09     0.13     0.11      0.14      schur
5000, 50 crossed         0.8      1.2      1.4      0.9       0.9       schur
20000, 200 crossed       2.6      4.3      5.6      2.5       6.3       schur
1000, 1000 crossed       10       35       28       21        120       schur
2972, 1128, 14 crossed   22       277      257      37        973       schur
10000 nested in 1000     10       0.23     0.42     22        0.15      builtin
======================== ======== ======== ======== ========= ========= ==========

Schur wins where eliminating the first term leaves a small or a dense matrix. Its cost is counted as
sum_g k r_g^2 for the levels (r_g: trailing variables that level g touches) plus m^3/3 for the m trailing
variables, where LAPACK is ``DENSE_SPEEDUP`` times faster per operation than the sparse kernels. That is
compared with the sparse count sum_j c_j^2 (c_j: entries in column j of L). Between the sparse engines,
CHOLMOD's cost per call makes it slower until its dense blocks pay, above ``CHOLMOD_FLOPS``.

LAPACK and an optimised BLAS use all cores by themselves. Where many processes share the cores, set
``OPENBLAS_NUM_THREADS=1`` for them: threads that wait for each other can cost a factor of 10 and more.

Source: Bates, Maechler, Bolker, Walker (2015), section on the sparse Cholesky factor; Chen, Davis, Hager,
Rajamanickam (2008), "Algorithm 887: CHOLMOD".
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refglmm.errors import ArgumentError, EngineWarning, NotAvailableError, NotPositiveDefiniteError, warn
from refglmm.likelihood import schur_kernels, sparse_kernels
from refglmm.likelihood.ordering import DENSE_FACTOR, DENSE_MINIMUM, minimum_degree

if TYPE_CHECKING:
    import scipy.sparse

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

ENGINES = ("auto", "cholmod", "builtin", "schur")

#: Operations per second of LAPACK's Cholesky relative to the compiled sparse loops (measured: 8 to 15).
DENSE_SPEEDUP = 8.0
#: With so few trailing variables the dense part is negligible whatever the pattern.
SMALL_TRAILING = 64
#: The dense trailing matrix may not have more rows than this (0.5 GB).
LARGEST_TRAILING = 8192
#: Trailing matrices of at least this order go to LAPACK. Below, its threads and its first import cost more
#: than they bring, most of all when several processes share the cores.
LAPACK_FROM = 256
#: Sparse operation count above which CHOLMOD overtakes the built-in engine.
CHOLMOD_FLOPS = 1e8


# -- patterns -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Symbolic:
    """Pattern of L for one permutation (arrays as in :mod:`.sparse_kernels`)."""

    perm: IntArray
    Cp: IntArray
    Ci: NDArray[np.int32]
    source: IntArray
    Lp: IntArray
    Li: NDArray[np.int32]
    Rp: IntArray
    Rj: NDArray[np.int32]
    position: IntArray

    @property
    def flops(self) -> float:
        """Multiplications of a numeric factorisation, up to a factor of 2."""
        counts = np.diff(self.Lp).astype(np.float64)
        return float(counts @ counts)


@dataclass(frozen=True)
class SchurPattern:
    """Where the entries of H stand in the blocks (arrays as in :mod:`.schur_kernels`)."""

    n_leading: int
    k: int
    ptr: IntArray
    rows: NDArray[np.int32]
    where: IntArray

    @property
    def flops(self) -> float:
        """Cost of eliminating the levels, in sparse operations."""
        counts = np.diff(self.ptr).astype(np.float64)
        return float(self.k * (counts @ counts))


@dataclass(frozen=True)
class Pattern:
    """Lower triangle of H in CSC form: diagonal first in every column, rows ascending."""

    indptr: NDArray[np.int32]
    indices: NDArray[np.int32]
    n: int

    def symbolic(self, perm: IntArray) -> Symbolic:
        """Analyse P H P'."""
        inverse = np.empty(self.n, dtype=np.int64)
        inverse[perm] = np.arange(self.n)
        Cp, Ci, source = sparse_kernels.permute_upper(self.n, self.indptr, self.indices, inverse)
        parent = sparse_kernels.elimination_tree(self.n, Cp, Ci)
        Lp, Li, Rp, Rj = sparse_kernels.factor_pattern(self.n, Cp, Ci, parent)
        position = sparse_kernels.locate_entries(self.n, Cp, Ci, source, Lp, Li)
        return Symbolic(perm, Cp, Ci, source, Lp, Li, Rp, Rj, position)

    @cached_property
    def ordered(self) -> Symbolic:
        """Symbolic analysis with the built-in minimum-degree ordering."""
        dense = max(DENSE_MINIMUM, int(DENSE_FACTOR * np.sqrt(self.n)))
        return self.symbolic(minimum_degree(self.n, self.indptr, self.indices, dense))

    def blocks(self, block: int, n_leading: int) -> SchurPattern | None:
        """Where the entries stand after block elimination; None if the leading part is not block diagonal."""
        if block < 1 or n_leading < 1 or n_leading > self.n or n_leading % block:
            return None
        m, n_levels = self.n - n_leading, n_leading // block
        column = np.repeat(np.arange(self.n), np.diff(self.indptr))
        row = self.indices.astype(np.int64)
        trailing = column >= n_leading
        border = ~trailing & (row >= n_leading)
        inside = ~trailing & ~border
        if np.any(row[inside] // block != column[inside] // block):
            return None
        touched = column[border] // block * m + row[border] - n_leading  # level and trailing variable
        keys, place = (touched, np.arange(touched.size)) if block == 1 else np.unique(touched, return_inverse=True)
        where = np.empty(row.size, dtype=np.int64)
        # row b of the block is the upper triangle, which is the lower one transposed
        where[inside] = column[inside] * block + row[inside] % block
        where[border] = column[border] % block * keys.size + place
        where[trailing] = (row[trailing] - n_leading) * m + column[trailing] - n_leading
        ptr = np.searchsorted(keys, np.arange(n_levels + 1) * m)
        return SchurPattern(n_leading, block, ptr.astype(np.int64), (keys % max(m, 1)).astype(np.int32), where)


def _checked_pattern(indptr: ArrayLike, indices: ArrayLike, n: int) -> Pattern:
    """Pattern with the kernels' index types, after checks that keep the kernels inside their arrays."""
    pointers = np.ascontiguousarray(indptr, dtype=np.int32)
    rows = np.ascontiguousarray(indices, dtype=np.int32)
    if pointers.shape != (n + 1,) or pointers[0] != 0 or pointers[-1] != rows.size:
        message = f"indptr does not describe {n} columns and {rows.size} entries"
        raise ArgumentError(message, n=n, entries=rows.size)
    ascending = np.diff(rows) > 0
    starts = pointers[1:-1]
    ascending[starts[(starts > 0) & (starts < rows.size)] - 1] = True  # from one column to the next
    columns = np.repeat(np.arange(n), np.maximum(np.diff(pointers), 0))
    bad = np.diff(pointers) < 1
    if not bad.any():
        bad = rows[pointers[:-1]] != np.arange(n)
        bad[columns[rows >= n]] = True
        bad[columns[1:][~ascending]] = True
    if bad.any():
        column = int(np.argmax(bad))
        message = f"column {column} is not a sorted lower-triangle column that starts with its diagonal"
        raise ArgumentError(message, column=column)
    return Pattern(pointers, rows, n)


# -- the interface --------------------------------------------------------------------------------------
class SparseCholesky(ABC):
    """Cholesky factor of a symmetric positive definite matrix H whose pattern does not change.

    Made by :func:`make_cholesky`. All methods but :meth:`refactor` need a successful :meth:`refactor`
    before them.

    Attributes
    ----------
    engine : str
        ``"schur"``, ``"builtin"`` or ``"cholmod"``.
    perm : int64 array, shape (n,)
        ``L L' = H[perm][:, perm]``.
    """

    engine: str
    perm: IntArray

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern
        self._values = np.zeros(pattern.indices.size)
        self._inverse: FloatArray | None = None
        self._ready = False

    @property
    def n(self) -> int:
        """Order of H."""
        return self._pattern.n

    @property
    def indptr(self) -> NDArray[np.int32]:
        """Column pointers of the lower triangle of H."""
        return self._pattern.indptr

    @property
    def indices(self) -> NDArray[np.int32]:
        """Row indices of the lower triangle of H."""
        return self._pattern.indices

    # -- numeric phase ----------------------------------------------------------------------------------
    def refactor(self, values: ArrayLike) -> None:
        """Factor the matrix with these values.

        Parameters
        ----------
        values : float array
            Lower triangle of H, in the order of the pattern. Copied.

        Raises
        ------
        NotPositiveDefiniteError
            ``facts["column"]`` is the column of H whose pivot is not positive and finite. The factor cannot
            be used until another ``refactor`` succeeds.
        """
        values = np.asarray(values, dtype=np.float64)
        if values.shape != self._values.shape:
            message = f"the pattern has {self._values.size} entries, not {values.size}"
            raise ArgumentError(message, expected=self._values.size, given=values.size)
        self._values[:] = values
        self.factorize()

    @property
    def values(self) -> FloatArray:
        """Buffer for the lower triangle of H, in the order of the pattern, that :meth:`factorize` reads."""
        return self._values

    def factorize(self) -> None:
        """Factor the matrix that stands in :attr:`values`; raises like :meth:`refactor`."""
        self._ready, self._inverse = False, None
        column = self._factorize()
        if column >= 0:
            diagonal = float(self._values[self._pattern.indptr[column]])
            raise NotPositiveDefiniteError(
                f"matrix of order {self.n} is not positive definite: no positive pivot for column {column} "
                f"(diagonal {diagonal:g})",
                column=column,
                diagonal=diagonal,
                n=self.n,
            )
        self._ready = True

    @abstractmethod
    def _factorize(self) -> int:
        """Factor ``self._values``; the column of H that fails, or -1."""

    # -- what the factor is good for --------------------------------------------------------------------
    def logdet(self) -> float:
        """log|H|."""
        self._need_values()
        return self._logdet()

    def solve(self, b: ArrayLike) -> FloatArray:
        """H^{-1} b for a vector or the columns of a matrix."""
        return self._by_rows(self._solve, b)

    def solve_rows(self, rows: FloatArray) -> FloatArray:
        """H^{-1} b for every row b of a contiguous float64 array, which becomes a row of the result."""
        self._need_values()
        return self._solve(rows)

    def solve_L_rows(self, rows: FloatArray) -> FloatArray:
        """L^{-1} P b likewise."""
        self._need_values()
        return self._solve_L(rows)

    def solve_Lt_rows(self, rows: FloatArray) -> FloatArray:
        """P' L^{-T} b likewise."""
        self._need_values()
        return self._solve_Lt(rows)

    def solve_L(self, b: ArrayLike) -> FloatArray:
        """L^{-1} P b."""
        return self._by_rows(self._solve_L, b)

    def solve_Lt(self, b: ArrayLike) -> FloatArray:
        """P' L^{-T} b."""
        return self._by_rows(self._solve_Lt, b)

    def selected_inverse(self) -> FloatArray:
        """Entries of H^{-1} in the order of the pattern of H; computed once for each set of values."""
        self._need_values()
        if self._inverse is None:
            self._inverse = self._selected_inverse()
        return self._inverse

    @abstractmethod
    def L(self) -> scipy.sparse.csc_array:
        """Lower-triangular factor in CSC form, rows sorted."""

    @abstractmethod
    def _logdet(self) -> float: ...

    @abstractmethod
    def _solve(self, rows: FloatArray) -> FloatArray:
        """H^{-1} b for every row b."""

    @abstractmethod
    def _solve_L(self, rows: FloatArray) -> FloatArray:
        """L^{-1} P b for every row b."""

    @abstractmethod
    def _solve_Lt(self, rows: FloatArray) -> FloatArray:
        """P' L^{-T} b for every row b."""

    @abstractmethod
    def _selected_inverse(self) -> FloatArray: ...

    def _need_values(self) -> None:
        if not self._ready:
            raise NotAvailableError("this factor holds no values: call refactor first")

    def _by_rows(self, solver: Any, b: ArrayLike) -> FloatArray:
        """Hand the columns of b to a solver as contiguous rows, and give them back in the shape of b."""
        self._need_values()
        b = np.asarray(b, dtype=np.float64)
        if b.ndim not in (1, 2) or b.shape[0] != self.n:
            message = f"right-hand side must have {self.n} rows, not shape {b.shape}"
            raise ArgumentError(message, expected=self.n, shape=b.shape)
        if b.ndim == 1:
            return solver(np.ascontiguousarray(b)[None, :])[0]
        return np.ascontiguousarray(solver(np.ascontiguousarray(b.T)).T)

    # -- copies -----------------------------------------------------------------------------------------
    def copy(self) -> Self:
        """Snapshot that later calls of :meth:`refactor` on either object do not touch."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._values = self._values.copy()
        other._copy_numbers()
        return other

    @abstractmethod
    def _copy_numbers(self) -> None:
        """Replace shared numeric arrays by copies of them."""

    def _recipe(self) -> dict[str, Any]:
        """Arguments of :func:`make_cholesky` that build this engine again."""
        return {"engine": self.engine}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the pattern and the values; the factor itself is computed again."""
        values = self._values if self._ready else None
        pattern = self._pattern
        return _rebuild, (pattern.indptr, pattern.indices, pattern.n, self._recipe(), values)

    def __repr__(self) -> str:
        state = f"log|H| = {self.logdet():.6g}" if self._ready else "no values yet"
        return f"<SparseCholesky: {self.engine}, n = {self.n}, {self._values.size} entries, {state}>"


def _rebuild(
    indptr: NDArray[np.int32],
    indices: NDArray[np.int32],
    n: int,
    recipe: dict[str, Any],
    values: FloatArray | None,
) -> SparseCholesky:
    """Undo :meth:`SparseCholesky.__reduce__`."""
    factor = make_cholesky(indptr, indices, n, **recipe)
    if values is not None:
        factor.refactor(values)
    return factor


# -- engine: built in -----------------------------------------------------------------------------------
class BuiltinCholesky(SparseCholesky):
    """Up-looking Cholesky in numba."""

    engine = "builtin"

    def __init__(self, pattern: Pattern, symbolic: Symbolic) -> None:
        super().__init__(pattern)
        self._symbolic = symbolic
        self._Lx = np.empty(symbolic.Li.size)
        self.perm = symbolic.perm

    def _factorize(self) -> int:
        s = self._symbolic
        column = sparse_kernels.factorize(self._values, s.Cp, s.Ci, s.source, s.Lp, s.Li, s.Rp, s.Rj, self._Lx)
        return int(self.perm[column]) if column >= 0 else -1

    def _logdet(self) -> float:
        return sparse_kernels.log_determinant(self._symbolic.Lp, self._Lx)

    def _solve(self, rows: FloatArray) -> FloatArray:
        return sparse_kernels.solve_both(self._symbolic.Lp, self._symbolic.Li, self._Lx, self.perm, rows)

    def _solve_L(self, rows: FloatArray) -> FloatArray:
        return sparse_kernels.solve_forward(self._symbolic.Lp, self._symbolic.Li, self._Lx, self.perm, rows)

    def _solve_Lt(self, rows: FloatArray) -> FloatArray:
        return sparse_kernels.solve_backward(self._symbolic.Lp, self._symbolic.Li, self._Lx, self.perm, rows)

    def _selected_inverse(self) -> FloatArray:
        Z = sparse_kernels.selected_inverse(self._symbolic.Lp, self._symbolic.Li, self._Lx)
        return Z[self._symbolic.position]

    def L(self) -> scipy.sparse.csc_array:
        """Lower-triangular factor in CSC form, rows sorted."""
        from scipy.sparse import csc_array

        self._need_values()
        s = self._symbolic
        return csc_array((self._Lx.copy(), s.Li.copy(), s.Lp.copy()), shape=(self.n, self.n))

    def _copy_numbers(self) -> None:
        self._Lx = self._Lx.copy()


# -- engine: CHOLMOD ------------------------------------------------------------------------------------
class _Cholmod04:
    """scikit-sparse 0.4: a ``Factor`` from ``analyze``, in LDL' form unless CHOLMOD prefers dense blocks."""

    def __init__(self, module: Any, A: Any) -> None:
        self._module = module
        self._factor = module.analyze(A)
        self._logdet = 0.0

    @property
    def perm(self) -> IntArray:
        return self._factor.P().astype(np.int64)

    def factorize(self, A: Any) -> bool:
        """Whether the matrix is positive definite (LDL' runs on with a negative pivot, so D is looked at)."""
        try:
            self._factor.cholesky_inplace(A)
        except self._module.CholmodNotPositiveDefiniteError:
            return False
        D = self._factor.D()
        if not (D > 0.0).all():
            return False
        self._logdet = float(np.log(D).sum())
        return np.isfinite(self._logdet)

    def logdet(self) -> float:
        return self._logdet

    def solve(self, b: FloatArray) -> FloatArray:
        return self._factor.solve_A(b)

    def solve_L(self, b: FloatArray) -> FloatArray:
        return self._factor.solve_L(self._factor.apply_P(b), use_LDLt_decomposition=False)

    def solve_Lt(self, b: FloatArray) -> FloatArray:
        return self._factor.apply_Pt(self._factor.solve_Lt(b, use_LDLt_decomposition=False))

    def copy(self) -> _Cholmod04:
        other = object.__new__(_Cholmod04)
        other.__dict__.update(self.__dict__, _factor=self._factor.copy())
        return other


class _Cholmod05:
    """scikit-sparse 0.5: a ``CholeskyFactor``, in LL' form; only system "A" permutes."""

    def __init__(self, module: Any, A: Any) -> None:
        self._module = module
        self._factor = module.CholeskyFactor(A, lower=True, order="default")
        self._logdet = 0.0

    @property
    def perm(self) -> IntArray:
        return np.array(self._factor.perm, dtype=np.int64)

    def factorize(self, A: Any) -> bool:
        """Whether the matrix is positive definite."""
        try:
            self._factor.factorize(A)
        except self._module.CholmodNotPositiveDefiniteError:
            return False
        self._logdet = float(self._factor.logdet())
        return bool(np.isfinite(self._logdet))

    def logdet(self) -> float:
        return self._logdet

    def solve(self, b: FloatArray) -> FloatArray:
        return self._factor.solve(b)

    def solve_L(self, b: FloatArray) -> FloatArray:
        return self._factor.solve(b[self._factor.perm], system="L")

    def solve_Lt(self, b: FloatArray) -> FloatArray:
        x = np.empty_like(b)
        x[self._factor.perm] = self._factor.solve(b, system="Lt")
        return x

    def copy(self) -> _Cholmod05:
        other = object.__new__(_Cholmod05)
        other.__dict__.update(self.__dict__, _factor=self._factor.copy())
        return other


def _import_cholmod() -> Any:
    """``sksparse.cholmod``, or None if it is not installed."""
    try:
        return importlib.import_module("sksparse.cholmod")
    except ImportError:
        return None


class _OwnFactor:
    """The built-in symbolic analysis with CHOLMOD's permutation, made when the first caller needs it."""

    def __init__(self, pattern: Pattern, perm: IntArray) -> None:
        self._pattern, self._perm = pattern, perm

    @cached_property
    def symbolic(self) -> Symbolic:
        return self._pattern.symbolic(self._perm)


class CholmodCholesky(SparseCholesky):
    """CHOLMOD; the values are written into one SciPy matrix that CHOLMOD reads in place."""

    engine = "cholmod"

    def __init__(self, pattern: Pattern, module: Any) -> None:
        super().__init__(pattern)
        self._A: Any = self._linked_matrix()
        adapter = _Cholmod05 if hasattr(module, "CholeskyFactor") else _Cholmod04
        self._cholmod: Any = adapter(module, self._A)
        self.perm = self._cholmod.perm
        self._analysis = _OwnFactor(pattern, self.perm)
        self._own: BuiltinCholesky | None = None

    def _linked_matrix(self) -> scipy.sparse.csc_array:
        """Lower triangle with int32 indices, sharing its data with ``self._values``."""
        from scipy.sparse import csc_array

        A = csc_array((self._values, self._pattern.indices, self._pattern.indptr), shape=(self.n, self.n))
        A.data = self._values
        return A

    def _factorize(self) -> int:
        self._own = None
        if self._A is None:
            self._A = self._linked_matrix()
        if self._cholmod.factorize(self._A):
            return -1
        column = self._built_in()._factorize()
        return column if column >= 0 else int(self.perm[-1])  # only rounding separates the two

    def _built_in(self) -> BuiltinCholesky:
        """The built-in engine with the same permutation (not factored)."""
        own = BuiltinCholesky(self._pattern, self._analysis.symbolic)
        own._values = self._values
        return own

    def _own_factor(self) -> BuiltinCholesky:
        """The same factor in the built-in engine, computed once for each set of values."""
        if self._own is None:
            own = self._built_in()
            own.refactor(self._values)
            self._own = own
        return self._own

    def _logdet(self) -> float:
        return self._cholmod.logdet()

    def _solve(self, rows: FloatArray) -> FloatArray:
        return self._columns(self._cholmod.solve, rows)

    def _solve_L(self, rows: FloatArray) -> FloatArray:
        return self._columns(self._cholmod.solve_L, rows)

    def _solve_Lt(self, rows: FloatArray) -> FloatArray:
        return self._columns(self._cholmod.solve_Lt, rows)

    @staticmethod
    def _columns(solver: Any, rows: FloatArray) -> FloatArray:
        """CHOLMOD's right-hand sides are columns; a single one is handed over as a vector."""
        return solver(rows[0])[None, :] if len(rows) == 1 else solver(rows.T).T

    def _selected_inverse(self) -> FloatArray:
        return self._own_factor()._selected_inverse()

    def L(self) -> scipy.sparse.csc_array:
        """Lower-triangular factor in CSC form, rows sorted."""
        self._need_values()
        return self._own_factor().L()

    def _copy_numbers(self) -> None:
        self._A = None  # linked again by the next refactor: a snapshot seldom sees one
        self._cholmod = self._cholmod.copy()
        self._own = None


# -- engine: Schur complement ---------------------------------------------------------------------------
class SchurCholesky(SparseCholesky):
    """Block elimination of the leading variables, dense Cholesky of what remains."""

    engine = "schur"

    def __init__(self, pattern: Pattern, blocks: SchurPattern) -> None:
        super().__init__(pattern)
        self._blocks = blocks
        self._m = pattern.n - blocks.n_leading
        self._D = np.zeros((blocks.n_leading // blocks.k, blocks.k, blocks.k))
        self._W = np.zeros((blocks.k, blocks.rows.size))
        self._S = np.zeros((self._m, self._m))
        self.perm = np.arange(pattern.n, dtype=np.int64)

    def _factorize(self) -> int:
        b, pattern = self._blocks, self._pattern
        D, W, S = self._D, self._W, self._S
        flat = D.reshape(-1), W.reshape(-1), S.reshape(-1)
        column = schur_kernels.eliminate(
            self._values, pattern.indptr, pattern.indices, b.where, b.ptr, b.rows, *flat, D, W, S
        )
        if column < 0 and self._m:
            column = self._factor_trailing()
        return column

    def _factor_trailing(self) -> int:
        """S := L_S; the column of H that fails, or -1."""
        if self._m < LAPACK_FROM:
            failed = schur_kernels.dense_factor(self._S)
        else:
            failed = self._lapack_factor()
        return self._blocks.n_leading + failed if failed >= 0 else -1

    def _lapack_factor(self) -> int:
        """LAPACK stores by columns: the lower triangle of our rows is its upper triangle."""
        from scipy.linalg.lapack import dpotrf

        finite = np.isfinite(self._S).all(axis=1)
        if not finite.all():
            return int(np.argmin(finite))
        factor, info = dpotrf(self._S.T, lower=0, clean=0, overwrite_a=1)
        self._S = factor.T
        return info - 1

    def _logdet(self) -> float:
        return schur_kernels.block_log_determinant(self._D, self._S)

    def _substitute(self, rows: FloatArray, forward: bool, backward: bool) -> FloatArray:
        b = self._blocks
        return schur_kernels.block_solve(self._D, self._W, self._S, b.ptr, b.rows, forward, backward, rows)

    def _solve(self, rows: FloatArray) -> FloatArray:
        return self._substitute(rows, True, True)

    def _solve_L(self, rows: FloatArray) -> FloatArray:
        return self._substitute(rows, True, False)

    def _solve_Lt(self, rows: FloatArray) -> FloatArray:
        return self._substitute(rows, False, True)

    def _selected_inverse(self) -> FloatArray:
        b, pattern = self._blocks, self._pattern
        D, V, ZS = self._D, self._W.copy(), self._trailing_inverse()
        ZD, ZB, Z = np.zeros(D.shape), np.zeros(V.shape), np.empty(self._values.size)
        flat = ZD.reshape(-1), ZB.reshape(-1), ZS.reshape(-1)
        schur_kernels.block_selected_inverse(
            D, V, ZS, b.ptr, b.rows, pattern.indptr, pattern.indices, b.where, ZD, ZB, *flat, Z
        )
        return Z

    def _trailing_inverse(self) -> FloatArray:
        """S^{-1}."""
        if not self._m:
            return self._S
        if self._m < LAPACK_FROM:
            return schur_kernels.dense_inverse(self._S)
        from scipy.linalg.lapack import dpotri

        inverse = dpotri(self._S.copy().T, lower=0, overwrite_c=1)[0].T
        schur_kernels.mirror(inverse)
        return inverse

    def L(self) -> scipy.sparse.csc_array:
        """Lower-triangular factor in CSC form, rows sorted."""
        from scipy.sparse import block_array, block_diag, csc_array

        self._need_values()
        b = self._blocks
        LD = block_diag([np.triu(R).T for R in self._D], format="csc")
        levels = np.repeat(np.arange(len(self._D)), np.diff(b.ptr))
        columns = levels * b.k + np.arange(b.k)[:, None]
        rows = np.broadcast_to(b.rows, columns.shape)
        W = csc_array((self._W.ravel(), (rows.ravel(), columns.ravel())), shape=(self._m, b.n_leading))
        if not self._m:
            return csc_array(LD)
        L = csc_array(block_array([[LD, None], [W, csc_array(np.tril(self._S))]], format="csc"))
        L.sort_indices()
        return L

    def _copy_numbers(self) -> None:
        self._D, self._W, self._S = self._D.copy(), self._W.copy(), self._S.copy()

    def _recipe(self) -> dict[str, Any]:
        return {"engine": self.engine, "block": self._blocks.k, "n_leading": self._blocks.n_leading}


# -- choosing -------------------------------------------------------------------------------------------
def schur_pays(pattern: Pattern, blocks: SchurPattern) -> bool:
    """Whether block elimination is expected to be faster than a sparse factorisation.

    Where it fills the trailing matrix, a sparse factorisation does the same work with slower operations, and no
    ordering is needed to know.
    """
    m = pattern.n - blocks.n_leading
    if m <= SMALL_TRAILING:
        return True
    if m > LARGEST_TRAILING:
        return False
    if schur_kernels.trailing_density(pattern.indptr, pattern.indices, blocks.n_leading, blocks.ptr, blocks.rows) > 0.5:
        return True
    return blocks.flops + m**3 / 3.0 / DENSE_SPEEDUP < pattern.ordered.flops


_warned = False


def _warn_once(flops: float) -> None:
    """Say, once in a process, that CHOLMOD would be faster."""
    global _warned
    if not _warned:
        _warned = True
        message = (
            "CHOLMOD (scikit-sparse) is not installed; the built-in sparse Cholesky stands in. "
            f"It takes about {flops:.1e} operations for each factorisation of this model."
        )
        warn(EngineWarning(message, flops=flops))


def _automatic(pattern: Pattern, blocks: SchurPattern | None) -> SparseCholesky:
    """The engine that is expected to be fastest."""
    if blocks is not None and schur_pays(pattern, blocks):
        return SchurCholesky(pattern, blocks)
    symbolic = pattern.ordered
    if symbolic.flops > CHOLMOD_FLOPS:
        module = _import_cholmod()
        if module is not None:
            return CholmodCholesky(pattern, module)
        _warn_once(symbolic.flops)
    return BuiltinCholesky(pattern, symbolic)


def make_cholesky(
    indptr: ArrayLike,
    indices: ArrayLike,
    n: int,
    *,
    engine: str = "auto",
    block: int = 1,
    n_leading: int = 0,
) -> SparseCholesky:
    """Analyse the pattern of H once.

    Parameters
    ----------
    indptr, indices : int arrays
        Lower triangle of H in CSC form; each column starts with its diagonal, rows ascending.
    n : int
        Order of H; 0 is allowed (no random effects: log determinant 0).
    engine : {"auto", "cholmod", "builtin", "schur"}
        See the module's docstring.
    block, n_leading : int
        The first ``n_leading`` variables form a block-diagonal part with blocks of this size (the first
        random-effects term). Needed for ``"schur"``, and by ``"auto"`` to consider it.

    Returns
    -------
    SparseCholesky
        Without values: call ``refactor`` next.

    Raises
    ------
    ArgumentError
        Unknown engine, malformed pattern, or a leading part that is not block diagonal (``"schur"``).
    NotAvailableError
        ``engine="cholmod"`` without scikit-sparse.
    """
    if engine not in ENGINES:
        raise ArgumentError(f"unknown engine {engine!r}; known are {', '.join(ENGINES)}", engine=engine)
    return factor_of(_checked_pattern(indptr, indices, n), engine, block, n_leading)


def factor_of(pattern: Pattern, engine: str, block: int, n_leading: int) -> SparseCholesky:
    """:func:`make_cholesky` for a pattern that is known to be well formed."""
    if engine == "builtin":
        return BuiltinCholesky(pattern, pattern.ordered)
    if engine == "cholmod":
        module = _import_cholmod()
        if module is None:
            raise NotAvailableError("engine 'cholmod' needs scikit-sparse; use engine='builtin' or install it")
        return CholmodCholesky(pattern, module)
    blocks = pattern.blocks(block, n_leading)
    if engine == "auto":
        return _automatic(pattern, blocks)
    if blocks is None:
        message = f"the first {n_leading} variables are not diagonal blocks of size {block}"
        raise ArgumentError(message, n_leading=n_leading, block=block)
    return SchurCholesky(pattern, blocks)
