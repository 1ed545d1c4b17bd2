r"""The metric of a sampler as a change of coordinates.

Place in the reading order: before ``laplace`` and ``trees``; after nothing of this package. A sampler moves in
:math:`\xi` with unit metric; the position it stands for has the hyperparameters h first, then the random effects u:

.. math:: h = c_h + C\,(s_h * \xi_h), \qquad u = c_u + J\,(h - c_h) + P'L^{-\prime}(s_u * \xi_u)

(* is elementwise). C is lower triangular, dense; L is the sparse Cholesky factor of a precision, :math:`LL' = PHP'`.
With standard normal :math:`\xi` the position has covariance

.. math:: \mathrm{Cov}\,h = C\,\mathrm{diag}(s_h^2)\,C', \qquad \mathrm{Cov}(u \mid h) = H^{-1} \text{ for } s_u = 1 ,

so C, J and L of a Laplace approximation make the posterior nearly standard normal at a cost of one sparse triangular
solve a gradient. Other metrics are special cases: a diagonal one has no h and L = I; a dense one has no u; one that is
dense in h and diagonal in u has no J and a diagonal L.

Source: a linear change of coordinates with unit metric is the same sampler as a metric :math:`A^{-\prime}A^{-1}` in
the original ones (Neal 2011, "MCMC using Hamiltonian dynamics", section on linear transformations).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refglmm._jit import inline, kernel
from refglmm.errors import ArgumentError, NotPositiveDefiniteError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Whitening(NamedTuple):
    """Coordinates in which a posterior is meant to look standard normal.

    Attributes
    ----------
    center : float array, shape (d,)
        Position of xi = 0.
    scale : float array, shape (d,)
        Standard deviations of a unit of xi; those of u in the order of the rows of L.
    C : float array, shape (n_h, n_h)
        Lower triangular.
    J : float array, shape (q, n_h), or (0, n_h)
        Change of the centre of u with h; no rows: none.
    indptr, indices, data : arrays
        L in CSC form, the diagonal first in each column.
    order : int array, shape (q,)
        Row i of L belongs to random effect ``order[i]``.
    """

    center: FloatArray
    scale: FloatArray
    C: FloatArray
    J: FloatArray
    indptr: IntArray
    indices: IntArray
    data: FloatArray
    order: IntArray


# -- there, back, and gradients ------------------------------------------------------------


@inline
def place(whitening, xi, position):
    """Fill the position that xi stands for."""
    center, scale, C, J, indptr, indices, data, order = whitening
    n_h, q = C.shape[0], order.size
    for r in range(n_h):
        value = center[r]
        for c in range(r + 1):
            value += C[r, c] * (scale[c] * xi[c])
        position[r] = value
    y = np.empty(q)  # L^{-T} (s * xi), backwards
    for j in range(q - 1, -1, -1):
        value = scale[n_h + j] * xi[n_h + j]
        for e in range(indptr[j] + 1, indptr[j + 1]):
            value -= data[e] * y[indices[e]]
        y[j] = value / data[indptr[j]]
        position[n_h + order[j]] = center[n_h + order[j]] + y[j]
    for k in range(J.shape[0]):
        shift = 0.0
        for c in range(n_h):
            shift += J[k, c] * (position[c] - center[c])
        position[n_h + k] += shift


@inline
def pull_back(whitening, gradient, xi_gradient):
    r"""Fill the gradient in xi, given the one in the position: the transposed steps of :func:`place`.

    .. math:: g_{\xi_h} = s_h * C'(g_h + J'g_u), \qquad g_{\xi_u} = s_u * L^{-1}P g_u
    """
    _, scale, C, J, indptr, indices, data, order = whitening
    n_h, q = C.shape[0], order.size
    total = np.empty(n_h)
    for c in range(n_h):
        total[c] = gradient[c]
    for k in range(J.shape[0]):
        for c in range(n_h):
            total[c] += J[k, c] * gradient[n_h + k]
    for c in range(n_h):
        value = 0.0
        for r in range(c, n_h):
            value += C[r, c] * total[r]
        xi_gradient[c] = scale[c] * value
    for j in range(q):
        xi_gradient[n_h + j] = gradient[n_h + order[j]]
    for j in range(q):
        value = xi_gradient[n_h + j] / data[indptr[j]]
        for e in range(indptr[j] + 1, indptr[j + 1]):
            xi_gradient[n_h + indices[e]] -= data[e] * value
        xi_gradient[n_h + j] = scale[n_h + j] * value


@inline
def standardise(whitening, position, xi):
    """Fill the xi of a position: the inverse of :func:`place`."""
    center, scale, C, J, indptr, indices, data, order = whitening
    n_h, q = C.shape[0], order.size
    for r in range(n_h):
        value = position[r] - center[r]
        for c in range(r):
            value -= C[r, c] * (scale[c] * xi[c])
        xi[r] = value / (C[r, r] * scale[r])
    rest = np.empty(q)  # P (u - its centre)
    for j in range(q):
        k = order[j]
        rest[j] = position[n_h + k] - center[n_h + k]
        for c in range(n_h if J.shape[0] > 0 else 0):
            rest[j] -= J[k, c] * (position[c] - center[c])
    for j in range(q):  # row j of L' is column j of L
        value = 0.0
        for e in range(indptr[j], indptr[j + 1]):
            value += data[e] * rest[indices[e]]
        xi[n_h + j] = value / scale[n_h + j]


@kernel
def place_rows(whitening, xi, positions):
    """Fill the position of each row of ``xi``."""
    for m in range(len(xi)):
        place(whitening, xi[m], positions[m])


@kernel
def standardise_rows(whitening, positions, xi):
    """Fill the xi of each row of ``positions``."""
    for m in range(len(xi)):
        standardise(whitening, positions[m], xi[m])


def log_determinant(whitening: Whitening) -> float:
    """Logarithm of the determinant of d position / d xi."""
    w = whitening
    parts = (w.scale, np.diagonal(w.C), 1.0 / w.data[w.indptr[:-1]])
    return float(sum(np.log(part).sum() for part in parts))


# -- how they come about ------------------------------------------------------------


def _floats(name: str, values: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    """A contiguous copy, finite, of this shape."""
    array = np.array(values, dtype=np.float64, order="C")
    if array.shape != shape:
        raise ArgumentError(f"{name} must have shape {shape}, not {array.shape}", name=name, shape=array.shape)
    if not np.isfinite(array).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ArgumentError(f"{name} is not finite at {at}: {array[at]}", name=name, at=at)
    return array


def _positive(name: str, values: FloatArray) -> FloatArray:
    if not (values > 0.0).all():
        at = int(np.argmin(values))
        raise ArgumentError(f"{name} must be positive, not {values[at]:g} at {at}", name=name, at=at)
    return values


def factor(name: str, covariance: FloatArray) -> FloatArray:
    """Lower Cholesky factor; an error that names the matrix where there is none."""
    try:
        return np.ascontiguousarray(np.linalg.cholesky(covariance))
    except np.linalg.LinAlgError:
        least = float(np.linalg.eigvalsh(covariance)[0])
        raise NotPositiveDefiniteError(
            f"{name} is not positive definite: its smallest eigenvalue is {least:g}", eigenvalue=least
        ) from None


def _is_lower(indptr: IntArray, indices: IntArray, q: int) -> bool:
    """Whether these are the columns of a lower triangle of order q, the diagonal first in each."""
    if indptr.shape != (q + 1,) or indptr[0] != 0 or indptr[-1] != indices.size or (np.diff(indptr) < 1).any():
        return False
    column = np.repeat(np.arange(q), np.diff(indptr))
    is_first = np.zeros(indices.size, dtype=bool)
    is_first[indptr[:-1]] = True
    inside = (indices > column) & (indices < q)
    return bool(np.where(is_first, indices == column, inside).all())


def _diagonal_factor(entries: FloatArray) -> tuple[IntArray, IntArray, FloatArray, IntArray]:
    """A diagonal L, in the natural order."""
    at = np.arange(entries.size + 1)
    return at, at[:-1].copy(), entries, at[:-1].copy()


def diagonal(center: ArrayLike, sd: ArrayLike) -> Whitening:
    """Independent coordinates with these standard deviations."""
    d = np.size(center)
    scale = _positive("sd", _floats("sd", sd, (d,)))
    return Whitening(_floats("center", center, (d,)), scale, np.empty((0, 0)), np.empty((0, 0)),
                     *_diagonal_factor(np.ones(d)))  # fmt: skip


def dense(center: ArrayLike, covariance: ArrayLike) -> Whitening:
    """Coordinates with this covariance, shape (d, d)."""
    return hybrid(center, covariance, np.empty(0))


def hybrid(center: ArrayLike, covariance_h: ArrayLike, sd_u: ArrayLike) -> Whitening:
    """Hyperparameters with this covariance, random effects independent of them and of each other."""
    n_h, q = len(np.asarray(covariance_h)), np.size(sd_u)
    scale = np.append(np.ones(n_h), _positive("sd_u", _floats("sd_u", sd_u, (q,))) if q else [])
    C = factor("covariance", _floats("covariance", covariance_h, (n_h, n_h)))
    return Whitening(_floats("center", center, (n_h + q,)), scale, C, np.empty((0, n_h)), *_diagonal_factor(np.ones(q)))


def laplace(
    center: ArrayLike,
    C: ArrayLike,
    J: ArrayLike,
    indptr: ArrayLike,
    indices: ArrayLike,
    data: ArrayLike,
    order: ArrayLike,
) -> Whitening:
    """Coordinates of a Laplace approximation.

    Parameters
    ----------
    center : float array, shape (n_h + q,)
        Mode of h, and of u given that h.
    C : float array, shape (n_h, n_h)
        Lower Cholesky factor of the covariance of h.
    J : float array, shape (q, n_h)
        Derivative of the mode of u in h.
    indptr, indices, data : arrays
        Lower-triangular L in CSC form, the diagonal first in each column: ``L L' = H[order][:, order]``.
    order : int array, shape (q,)

    Raises
    ------
    ArgumentError
        Where a shape does not fit, a number is not finite, or a diagonal is not positive.
    """
    n_h, q = len(np.asarray(C)), np.size(order)
    ends = np.array(indptr, dtype=np.int64)
    rows, permutation = np.array(indices, dtype=np.int64), np.array(order, dtype=np.int64)
    if not np.array_equal(np.sort(permutation), np.arange(q)):
        raise ArgumentError(f"order must hold each of the numbers 0 to {q - 1} once")
    if ends.shape != (q + 1,) or ends[-1] != rows.size or not np.array_equal(rows[ends[:-1]], np.arange(q)):
        raise ArgumentError(
            "indptr and indices do not describe a lower triangle with the diagonal first in each column"
        )
    entries, factor_h = _floats("data", data, (rows.size,)), np.tril(_floats("C", C, (n_h, n_h)))
    _positive("the diagonal of L", entries[ends[:-1]])
    _positive("the diagonal of C", np.diagonal(factor_h))
    middle = _floats("center", center, (n_h + q,))
    return Whitening(middle, np.ones(n_h + q), factor_h, _floats("J", J, (q, n_h)), ends, rows, entries, permutation)


# -- covariance, and what windows of draws make of it ------------------------------------------


def covariance(whitening: Whitening) -> FloatArray:
    """Covariance of the position for standard normal xi, shape (d, d)."""
    d = whitening.center.size
    rows = np.empty((d, d))
    place_rows(whitening, np.eye(d), rows)
    rows -= whitening.center
    return rows.T @ rows


def standard_deviations(whitening: Whitening) -> FloatArray:
    """Square roots of the diagonal of :func:`covariance`, in slices so that no large matrix is needed."""
    d, step = whitening.center.size, 256
    total = np.zeros(d)
    for first in range(0, d, step):
        part = np.eye(min(step, d - first), d, first)
        rows = np.empty(part.shape)
        place_rows(whitening, part, rows)
        total += np.sum((rows - whitening.center) ** 2, axis=0)
    return np.sqrt(total)


def rescaled(whitening: Whitening, variances: FloatArray) -> Whitening:
    """Coordinates in which draws of xi with these variances have unit variance."""
    return whitening._replace(scale=whitening.scale * np.sqrt(variances))


def rotated(whitening: Whitening, covariance_h: FloatArray, variances: FloatArray) -> Whitening:
    """Likewise, with the covariance of the xi of the hyperparameters in place of their variances."""
    n_h = len(whitening.C)
    C = whitening.C @ (whitening.scale[:n_h, None] * factor("covariance", covariance_h))
    scale = np.append(np.ones(n_h), whitening.scale[n_h:] * np.sqrt(variances[n_h:]))
    return whitening._replace(C=np.ascontiguousarray(C), scale=scale)


def restricted(whitening: Whitening, metric: str) -> Whitening:
    """The same centre and spread in coordinates of the kind "diag", "dense" or "hybrid"; "laplace": no change."""
    n_h = len(whitening.C)
    if metric == "diag":
        return diagonal(whitening.center, standard_deviations(whitening))
    if metric == "dense":
        return dense(whitening.center, covariance(whitening))
    if metric == "hybrid":
        spread = whitening.C * whitening.scale[:n_h]
        return hybrid(whitening.center, spread @ spread.T, standard_deviations(whitening)[n_h:])
    return whitening
