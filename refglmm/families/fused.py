r"""Log likelihood of all rows with its slopes in eta and in the shape parameters, in one pass.

Place in the reading order: after ``kernel``, before ``base``. Samplers need l summed over the rows, s = dl/deta of each
row, and the sums of dl/dphi; never a second derivative. A kernel made here leaves the rest out (the compiler drops
what a point function computes in vain), and has one signature for all families, so that one compiled sampler takes
any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numpy.typing import ArrayLike, NDArray

from refglmm._jit import inline, summing_kernel
from refglmm.families.jet import F1, F2, F, first_variable
from refglmm.families.kernel import never, nothing, shape_jets

FloatArray = NDArray[np.float64]


class Rows(NamedTuple):
    """What a log likelihood knows of the rows.

    Attributes
    ----------
    y, weights, base : float array, shape (n,)
        As the observation kernels take them.
    time : float array, shape (n,) or empty
        Position within a block of correlated rows.
    block, cell : int array, shape (n,) or empty
        Block of correlated rows (0, 1, ... in order), and the cell that has its own residual SD.
    structure : int array, shape (1,) or empty
        How the rows of a block are correlated, see ``correlated_rows``.
    """

    y: FloatArray
    weights: FloatArray
    base: FloatArray
    time: FloatArray
    block: NDArray[np.int64]
    cell: NDArray[np.int64]
    structure: NDArray[np.int64]


def plain_rows(y: ArrayLike, weights: ArrayLike, base: ArrayLike) -> Rows:
    """Rows that are independent and alike; copies, C-contiguous."""
    none, nowhere = np.empty(0), np.empty(0, dtype=np.int64)
    y, weights, base = (np.array(v, dtype=np.float64, order="C") for v in (y, weights, base))
    return Rows(y, weights, base, none, nowhere, nowhere, nowhere)


_VECTOR = types.float64[::1]
ROWS = numba.typeof(plain_rows(np.empty(1), np.empty(1), np.empty(1)))
#: ``log_likelihood(rows, eta, phi, s, d_phi) -> l``; s and d_phi (estimated shape parameters) are filled in place.
LOG_LIKELIHOOD = types.float64(ROWS, _VECTOR, _VECTOR, _VECTOR, _VECTOR)


@inline
def no_shape(y, eta, a, phi, j):
    """Stand-in for the shape function of a family without shape parameters."""
    return 0.0, 0.0, 0.0, 0.0


def fused_points(
    point: Callable[..., Any],
    shape_point: Callable[..., Any],
    is_rare: Callable[..., Any] = never,
    rare_point: Callable[..., Any] = nothing,
) -> Any:
    """The pass over the rows for a family written as point functions (see :func:`.kernel.array_kernel`)."""

    def log_likelihood(rows, eta, phi, s, d_phi):
        n = eta.size
        l = np.empty(n)  # noqa: E741  the field's symbol
        for i in range(n):
            l[i], s[i], _, _, _, _ = point(rows.y[i], eta[i], rows.weights[i], rows.base[i], phi)
        for i in range(n):
            if is_rare(rows.y[i], rows.weights[i]):
                l[i], s[i], _, _, _, _ = rare_point(rows.y[i], eta[i], rows.weights[i], rows.base[i], phi)
        for j in range(d_phi.size):
            slope = 0.0
            for i in range(n):
                slope += shape_point(rows.y[i], eta[i], rows.weights[i], phi, j)[0]
            d_phi[j] = slope
        total = 0.0  # a loop of its own: a sum in the first loop would keep that scalar
        for i in range(n):
            total += l[i]
        return total

    return summing_kernel(log_likelihood)


def fused_density(density: Callable[..., Any]) -> Any:
    """The pass over the rows for a family written as a density in jets (see :func:`.kernel.density_kernel`)."""

    def log_likelihood(rows, eta, phi, s, d_phi):
        total = 0.0
        d_phi[:] = 0.0
        first, second, third = shape_jets(phi, 0)
        for i in range(eta.size):
            s[i] = 0.0
            if rows.weights[i] != 0.0:
                l = density(rows.y[i], rows.weights[i], first_variable(eta[i]), first, second, third)  # noqa: E741
                total += rows.base[i] + l[F]
                s[i] = l[F1]
                if d_phi.size > 0:
                    d_phi[0] += l[F2]
        for j in range(1, d_phi.size):
            first, second, third = shape_jets(phi, j)
            for i in range(eta.size):
                if rows.weights[i] != 0.0:
                    d_phi[j] += density(rows.y[i], rows.weights[i], first_variable(eta[i]), first, second, third)[F2]
        return total

    return summing_kernel(log_likelihood)


def fused_thresholds(density: Callable[..., Any], admits: Callable[..., Any]) -> Any:
    """The pass over the rows for a density with thresholds (see :func:`.kernel.threshold_kernel`)."""

    def log_likelihood(rows, eta, phi, s, d_phi):
        d_phi[:] = 0.0
        if not admits(phi):
            s[:] = 0.0
            return -np.inf
        total = 0.0
        for i in range(eta.size):
            s[i] = 0.0
            if rows.weights[i] != 0.0:
                l = density(rows.y[i], first_variable(eta[i]), phi, 0)  # noqa: E741  the field's symbol
                total += rows.base[i] + rows.weights[i] * l[F]
                s[i] = rows.weights[i] * l[F1]
                if d_phi.size > 0:
                    d_phi[0] += rows.weights[i] * l[F2]
        for j in range(1, d_phi.size):
            for i in range(eta.size):
                if rows.weights[i] != 0.0:
                    d_phi[j] += rows.weights[i] * density(rows.y[i], first_variable(eta[i]), phi, j)[F2]
        return total

    return summing_kernel(log_likelihood)
