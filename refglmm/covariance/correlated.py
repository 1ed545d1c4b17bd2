r"""The structures with one correlation parameter: compound symmetry and first-order autoregression.

Place in the reading order: after :mod:`.scaled`. par = (SDs, rho); T = diag(SD) R(rho),
where R is the Cholesky factor of the correlation matrix:

* ``cs``: all correlations equal rho, -1/(k-1) <= rho <= 1. For j >= 2 (counting from 1)

  .. math:: R_{jj}^2 = \frac{(1-\rho)\,(1+(j-1)\rho)}{1+(j-2)\rho},\qquad
            R_{ij} = \rho\,\sqrt{\frac{1-\rho}{(1+(j-2)\rho)\,(1+(j-1)\rho)}}\quad (i > j),

  with first column (1, rho, ..., rho). This closes the usual recursion a_1 = 0,
  a_{j+1} = a_j + (1 - rho a_j)^2 / (1 - rho^2 a_j): the sum is a_j = (j-1)/(1+(j-2) rho), which is
  1' C^{-1} 1 for the first j-1 rows, so nothing cancels and both bounds are ordinary points.
* ``ar1``: correlation rho^{\|i-j\|}, -1 <= rho <= 1; first column rho^{i-1}, then rho^{i-j} sqrt(1 - rho^2).

With one column there is no correlation: par is then the SD alone.

**theta** holds the distinct non-zero entries of T by columns: the whole lower triangle if the SDs
differ. With ``hom`` there are 2k-1: for ``cs`` each column gives its diagonal and the common entry below it,
for ``ar1`` the first column and the second (later columns repeat the second).

**Derivatives at the bounds of rho.** There R has entries like sqrt(1 - rho^2), whose slope is infinite
although T T' is smooth; see :data:`.scaled.EDGE`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refglmm.covariance.base import FloatArray, lower_triangle_by_columns
from refglmm.covariance.scaled import ScaledRoot


class _Correlated(ScaledRoot):
    """T = diag(SD) R(rho)."""

    @property
    @abstractmethod
    def _rho_bounds(self) -> tuple[float, float]:
        """Smallest and largest rho with a positive semidefinite correlation matrix."""

    @property
    def n_phi(self) -> int:
        """One, rho, if there is more than one column."""
        return int(self.k > 1)

    @property
    def phi_start(self) -> FloatArray:
        """No correlation."""
        return np.zeros(self.n_phi)

    @property
    def phi_bounds(self) -> tuple[FloatArray, FloatArray]:
        """Bounds of rho."""
        low, high = self._rho_bounds
        return np.full(self.n_phi, low), np.full(self.n_phi, high)

    @property
    def phi_names(self) -> tuple[str, ...]:
        """The name ``rho``."""
        return ("rho",) * self.n_phi

    # -- theta -> par -----------------------------------------------------------------------------------
    def par_from_theta(self, theta: ArrayLike) -> FloatArray:
        """Row norms of T are the SDs; one row divided by its SD is a row of R and gives rho.

        If only the first SD is not zero, theta says nothing about rho, and 0 is returned.
        """
        T = self._rows_from_theta(self._checked(theta, self.n_theta, "theta"))
        sd = np.sqrt(np.sum(T * T, axis=1))
        return np.append(sd[: self.n_sd], [self._rho_from_rows(T, sd)] if self.n_phi else [])

    def _rows_from_theta(self, theta: FloatArray) -> FloatArray:
        """Rows of T that stand in theta completely: all, or the first two of a homogeneous structure."""
        T = np.zeros((self.k, self.k))
        T[self._theta_rows, self._theta_columns] = theta
        return T[:2] if self.hom else T

    def _rho_from_rows(self, T: FloatArray, sd: FloatArray) -> float:
        """Rho from the second row, or from the one with the largest SD when that is zero."""
        row = 1 if sd[1] > 0.0 else 1 + int(np.argmax(sd[1:]))
        if sd[row] == 0.0:
            return 0.0
        low, high = self._rho_bounds
        return min(max(self._rho_from_row(T[row] / sd[row], row), low), high)

    @abstractmethod
    def _rho_from_row(self, r: FloatArray, row: int) -> float:
        """Rho from one row of R, not the first."""


def _first_entries_by_columns(k: int, n_columns: int, rows_each: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Entries of the lower triangle in the first columns, at most ``rows_each`` of each column."""
    rows, columns = lower_triangle_by_columns(k)
    keep = (columns < n_columns) & (rows < columns + rows_each)
    return rows[keep], columns[keep]


@dataclass(frozen=True)
class CompoundSymmetry(_Correlated):
    """All pairs of columns have the same correlation."""

    name: ClassVar[str] = "cs"

    @property
    def _rho_bounds(self) -> tuple[float, float]:
        return (-1.0 / (self.k - 1) if self.k > 1 else 0.0), 1.0

    def _theta_entries(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return _first_entries_by_columns(self.k, self.k, 2 if self.hom else self.k)

    def root(self, phi: FloatArray) -> FloatArray:
        """R(rho)."""
        (rho,) = phi
        R = np.eye(self.k)
        R[1:, 0] = rho
        for j in range(1, self.k):
            diagonal2, below2 = _cs_squares(rho, j)
            R[j, j] = np.sqrt(max(diagonal2, 0.0))  # 1 - (k-1)/(k-1) may round below zero
            if j + 1 < self.k:
                R[j + 1 :, j] = rho * np.sqrt(below2)
        return R

    def d_root(self, phi: FloatArray) -> FloatArray:
        """Derivative dR/drho, for rho strictly inside its bounds."""
        (rho,) = phi
        dR = np.zeros((self.k, self.k))
        dR[1:, 0] = 1.0
        for j in range(1, self.k):
            diagonal2, below2 = _cs_squares(rho, j)
            d_diagonal2, d_below2 = _d_cs_squares(rho, j)
            dR[j, j] = d_diagonal2 / (2.0 * np.sqrt(diagonal2))
            dR[j + 1 :, j] = np.sqrt(below2) + rho * d_below2 / (2.0 * np.sqrt(below2))
        return dR[None]

    def correlation(self, phi: FloatArray) -> FloatArray:
        """Correlation matrix itself."""
        (rho,) = phi
        return np.where(np.eye(self.k, dtype=bool), 1.0, rho)

    def _rho_from_row(self, r: FloatArray, row: int) -> float:
        return float(r[0])


def _cs_squares(rho: float, j: int) -> tuple[float, float]:
    """Square of R_jj, and of R_ij / rho for i > j; j counts from 0 and is at least 1."""
    before, here = 1.0 + (j - 1) * rho, 1.0 + j * rho
    below2 = (1.0 - rho) / (before * here) if here > 0.0 else np.inf
    return (1.0 - rho) * here / before, below2


def _d_cs_squares(rho: float, j: int) -> tuple[float, float]:
    """Derivatives of :func:`_cs_squares` with respect to rho (logarithmic differentiation)."""
    before, here = 1.0 + (j - 1) * rho, 1.0 + j * rho
    diagonal2, below2 = _cs_squares(rho, j)
    common = -1.0 / (1.0 - rho) - (j - 1) / before
    return diagonal2 * (common + j / here), below2 * (common - j / here)


@dataclass(frozen=True)
class AR1(_Correlated):
    """Columns are equally spaced times; correlation rho to the power of their distance."""

    name: ClassVar[str] = "ar1"

    @property
    def _rho_bounds(self) -> tuple[float, float]:
        return -1.0, 1.0

    @property
    def _lag(self) -> NDArray[np.int64]:
        every = np.arange(self.k)
        return every[:, None] - every[None, :]

    def _theta_entries(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return _first_entries_by_columns(self.k, 2 if self.hom else self.k, self.k)

    def root(self, phi: FloatArray) -> FloatArray:
        """R(rho)."""
        (rho,) = phi
        R = np.where(self._lag >= 0, rho ** np.maximum(self._lag, 0), 0.0)
        R[:, 1:] *= np.sqrt((1.0 - rho) * (1.0 + rho))
        return R

    def d_root(self, phi: FloatArray) -> FloatArray:
        """Derivative dR/drho, for rho strictly inside its bounds."""
        (rho,) = phi
        lag = np.maximum(self._lag, 0)
        power = np.where(self._lag >= 0, rho**lag, 0.0)
        slope = lag * rho ** np.maximum(lag - 1, 0)
        root = np.sqrt((1.0 - rho) * (1.0 + rho))
        dR = slope.copy()
        dR[:, 1:] = slope[:, 1:] * root - power[:, 1:] * (rho / root)
        return dR[None]

    def correlation(self, phi: FloatArray) -> FloatArray:
        """Correlation matrix itself."""
        (rho,) = phi
        return rho ** np.abs(self._lag)

    def _rho_from_row(self, r: FloatArray, row: int) -> float:
        # r = (rho^row, s rho^(row-1), ..., s rho, s) with s = sqrt(1 - rho^2); s = 0 leaves the
        # sign of an even power unknown, and T is then the same for both
        if row > 1 and r[row] > 0.0:
            return float(r[row - 1] / r[row])
        return float(r[0])
