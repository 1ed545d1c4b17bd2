r"""All points x at which one parameter has a given value, as a smooth function of free coordinates z.

Place in the reading order: after ``criterion``, before ``profile``. Profiling a parameter means minimising over the
others; with :math:`x = \phi_c(z)` that is a search without constraints in z, its gradient :math:`J'g`.

* A parameter that is a coordinate of x: the others are z.
* A standard deviation of an unstructured term, the length of row i of T: that row is :math:`c\,v/|v|`,
  :math:`v = e + Bz_i`, with e the direction of the anchor's row and B a basis of what is orthogonal to it.
* A correlation r of rows i < j: with :math:`t = T_i/|T_i|`, row j is :math:`s\,(r\,t + \sqrt{1-r^2}\;o)`, where
  s > 0 is free and the unit vector o, orthogonal to t, moves like the direction above.

Both charts are centred at an *anchor*, a guess of the minimiser, which z = 0 (s and the other entries of x as they
are there) moves to the nearest point that has the value wanted. Their Jacobians come from the complex step, which is
exact for these formulas (they hold no absolute value).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm.inference.criterion import Criterion
from refglmm.inference.parameters import Parameter

FloatArray = NDArray[np.float64]
Array = NDArray[Any]

#: The complex step: no difference is taken, so it may be as small as it likes.
TINY = 1e-30
#: Step of the differences that give the chart's curvature.
CURVATURE_STEP = 1e-5


class HeldCoordinate:
    """x with one coordinate fixed."""

    def __init__(self, criterion: Criterion, parameter: Parameter, value: float, anchor: FloatArray) -> None:
        self.k, self.value = parameter.index, value
        keep = np.arange(anchor.size) != self.k
        self.keep = np.flatnonzero(keep)
        self.start = anchor[keep]
        self.lower, self.upper, self.scale = criterion.lower[keep], criterion.upper[keep], criterion.scale[keep]

    def point(self, z: FloatArray) -> FloatArray:
        """X at z."""
        x = np.empty(z.size + 1)
        x[self.keep], x[self.k] = z, self.value
        return x

    def gradient(self, z: FloatArray, g: FloatArray) -> FloatArray:
        """J'g."""
        return g[self.keep]

    def hessian(self, H: FloatArray, g: FloatArray) -> FloatArray:
        """Hessian in z at the anchor, given that in x."""
        return H[np.ix_(self.keep, self.keep)]


class HeldRow:
    """x with one standard deviation or correlation of an unstructured term fixed: one row of T is a function of z."""

    def __init__(self, criterion: Criterion, parameter: Parameter, value: float, anchor: FloatArray) -> None:
        self.parameter, self.value = parameter, value
        self.row, self.other = row_entries(criterion, parameter)
        self.rest = np.setdiff1d(np.arange(anchor.size), self.row)
        self.n_rest, d = self.rest.size, anchor.size
        self.lower, self.upper = np.full(d - 1, -np.inf), np.full(d - 1, np.inf)
        self.lower[: self.n_rest], self.upper[: self.n_rest] = criterion.lower[self.rest], criterion.upper[self.rest]
        self.scale = np.ones(d - 1)
        self.scale[: self.n_rest] = criterion.scale[self.rest]
        self._centre(anchor, float(np.max(criterion.scale[self.row])))

    def _centre(self, anchor: FloatArray, unit: float) -> None:
        """Where z starts, and the frame of the moving direction."""
        row, length = anchor[self.row], float(np.linalg.norm(anchor[self.row]))
        last = np.eye(self.row.size)[-1]
        if self.parameter.kind == "sd":
            self.direction = row / length if length > 0.0 else last
            self.frame, moving = _complement(self.direction[:, None]), np.empty(0)
        else:
            t = self._unit_other(anchor[self.other])
            self.direction = _orthogonal(row, t) if length > 0.0 else last
            if not np.linalg.norm(self.direction) > 1e-8 * length:
                self.direction = _orthogonal(last, t)
            self.direction = self.direction / np.linalg.norm(self.direction)
            self.frame, moving = _complement(np.column_stack([t, self.direction])), np.array([length])
            self.lower[self.n_rest], self.scale[self.n_rest] = 0.0, unit
            if self.other.size == 1:  # the sign of t is that of a standard deviation
                self.lower[np.searchsorted(self.rest, self.other)] = 0.0
        self.start = np.concatenate([anchor[self.rest], moving, np.zeros(self.frame.shape[1])])

    def _unit_other(self, T_i: Array) -> Array:
        """The direction t of row i, as long as row j."""
        t = np.zeros(self.row.size, dtype=T_i.dtype)
        if T_i.size == 1:
            t[0] = 1.0
        else:
            t[: T_i.size] = T_i / np.sqrt(T_i @ T_i)
        return t

    def _row(self, T_i: Array, moving: Array) -> Array:
        """The row that z stands for."""
        if self.parameter.kind == "sd":
            v = self.direction + self.frame @ moving
            return self.value * v / np.sqrt(v @ v)
        t, r = self._unit_other(T_i), self.value
        o = _orthogonal(self.direction + self.frame @ moving[1:], t)
        return moving[0] * (r * t + np.sqrt(max(1.0 - r * r, 0.0)) * o / np.sqrt(o @ o))

    def point(self, z: FloatArray) -> FloatArray:
        """X at z."""
        x = np.empty(z.size + 1)
        x[self.rest] = z[: self.n_rest]
        x[self.row] = self._row(x[self.other], z[self.n_rest :])
        return x

    def _moving(self) -> NDArray[np.int64]:
        """The coordinates of z that the row depends on."""
        own = np.arange(self.n_rest, self.rest.size + self.row.size - 1)
        return np.concatenate([np.searchsorted(self.rest, self.other), own])

    def gradient(self, z: FloatArray, g: FloatArray) -> FloatArray:
        """J'g."""
        full = np.zeros(z.size)
        full[: self.n_rest] = g[self.rest]
        where = np.searchsorted(self.rest, self.other)
        for k in self._moving():
            shifted = z.astype(complex)
            shifted[k] += 1j * TINY
            row = self._row(shifted[where], shifted[self.n_rest :])
            full[k] += row.imag @ g[self.row] / TINY
        return full

    def hessian(self, H: FloatArray, g: FloatArray) -> FloatArray:
        """J'HJ, plus what the curvature of the chart adds: differences of J'g for the same g."""
        d = self.start.size
        J = np.array([self.gradient(self.start, e) for e in np.eye(d + 1)])
        bend = np.zeros((d, d))
        for k in self._moving():
            step = np.zeros(d)
            step[k] = CURVATURE_STEP * self.scale[k]
            change = self.gradient(self.start + step, g) - self.gradient(self.start - step, g)
            bend[k] = change / (2.0 * step[k])
        return J.T @ H @ J + 0.5 * (bend + bend.T)


Held = HeldCoordinate | HeldRow


def hold(criterion: Criterion, parameter: Parameter, value: float, anchor: FloatArray) -> Held:
    """The points at which ``parameter`` (on its inner scale) has ``value``, centred at ``anchor``."""
    kind = HeldRow if parameter.index is None else HeldCoordinate
    return kind(criterion, parameter, value, anchor)


def row_entries(criterion: Criterion, parameter: Parameter) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where in x the row stands that a parameter of an unstructured term moves, and the other row of a correlation."""
    assert parameter.term is not None
    structure, part = criterion.problem.structures[parameter.term], criterion.problem.par_slices[parameter.term]
    of_row = [part.start + np.flatnonzero(structure.theta_entries[0] == i) for i in parameter.rows]
    return of_row[-1], of_row[0] if parameter.kind == "cor" else np.empty(0, dtype=np.int64)


def slope_in_x(criterion: Criterion, parameter: Parameter, x: FloatArray) -> FloatArray:
    """Gradient of the parameter (on its inner scale) as a function of x; nan where it has none."""
    a = np.zeros(x.size)
    if parameter.index is not None:
        a[parameter.index] = 1.0
        return a
    row, other = row_entries(criterion, parameter)
    T_j = x[row]
    length = np.linalg.norm(T_j)
    with np.errstate(divide="ignore", invalid="ignore"):
        if parameter.kind == "sd":
            a[row] = T_j / length
            return a
        T_i = np.zeros(row.size)
        T_i[: other.size] = x[other]
        t_i, t_j = T_i / np.linalg.norm(T_i), T_j / length
        a[row] = _orthogonal(t_i, t_j) / length
        a[other] = (_orthogonal(t_j, t_i) / np.linalg.norm(T_i))[: other.size]
    return a


def _orthogonal(v: Array, t: Array) -> Array:
    """What of v is orthogonal to the unit vector t."""
    return v - (t @ v) * t


def _complement(A: FloatArray) -> FloatArray:
    """Orthonormal basis of what is orthogonal to the columns of A."""
    Q, _ = np.linalg.qr(A, mode="complete")
    return Q[:, A.shape[1] :]
