r"""The structures whose parameters are entries of T: unstructured and diagonal.

Place in the reading order: after :mod:`.base`. Here ``par`` and ``theta`` are the same vector and T is
linear in it.

* ``us``: T is any lower-triangular matrix; par is its lower triangle, column by column, k(k+1)/2 numbers.
* ``diag``: T = diag(SD_1, ..., SD_k), or SD times the identity (``hom``).

Source: Bates, Maechler, Bolker, Walker (2015), "Fitting linear mixed-effects models using lme4",
section on the relative covariance factor.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refglmm.covariance.base import FloatArray, Structure, lower_triangle_by_columns
from refglmm.errors import ArgumentError


class _FactorEntries(Structure):
    """T is linear in par: T = sum_j par_j E_j with constant zero-one matrices E_j."""

    linear: ClassVar[bool] = True

    @property
    def n_par(self) -> int:
        """Length of ``par``."""
        return self.n_theta

    @property
    def start(self) -> FloatArray:
        """Identity factor."""
        return np.where(self._on_diagonal, 1.0, 0.0)

    @property
    def lower(self) -> FloatArray:
        """Zero for diagonal entries, otherwise unbounded."""
        return np.where(self._on_diagonal, 0.0, -np.inf)

    @property
    def upper(self) -> FloatArray:
        """Unbounded."""
        return np.full(self.n_par, np.inf)

    @property
    def sign_free(self) -> NDArray[np.bool_]:
        """Every diagonal entry: flipping a whole column of T leaves T T' as it is."""
        return self._on_diagonal.copy()

    @property
    def _on_diagonal(self) -> NDArray[np.bool_]:
        return self._theta_rows == self._theta_columns

    @abstractmethod
    def d_factor(self, par: ArrayLike) -> FloatArray:
        """Constant matrices E_j, shape (n_par, k, k)."""

    def theta(self, par: ArrayLike) -> FloatArray:
        """Return a copy of ``par``."""
        return self._checked(par, self.n_par, "par")

    def par_from_theta(self, theta: ArrayLike) -> FloatArray:
        """Return a copy of ``theta``."""
        return self._checked(theta, self.n_theta, "theta")

    def par_names(self, label: str, columns: Sequence[str]) -> tuple[str, ...]:
        """Names of ``par``, the same as those of ``theta``."""
        return self.theta_names(label, columns)

    def is_singular(self, par: ArrayLike, tol: float = 1e-4) -> bool:
        """Whether a diagonal entry of T is below ``tol`` in absolute value."""
        return bool(np.any(np.abs(np.diagonal(self.factor(par))) < tol))


@dataclass(frozen=True)
class Unstructured(_FactorEntries):
    """Any covariance matrix: par is the lower triangle of T by columns."""

    name: ClassVar[str] = "us"

    def __post_init__(self) -> None:
        """Refuse ``hom``, which has no meaning here."""
        super().__post_init__()
        if self.hom:
            raise ArgumentError("us(...) has no homogeneous form; use cs(...) or diag(...) with hom", k=self.k)

    def _theta_entries(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return lower_triangle_by_columns(self.k)

    def factor(self, par: ArrayLike) -> FloatArray:
        """Fill the lower triangle by columns."""
        T = np.zeros((self.k, self.k))
        T[self._theta_rows, self._theta_columns] = self._checked(par, self.n_par, "par")
        return T

    def d_factor(self, par: ArrayLike) -> FloatArray:
        """One unit entry per parameter."""
        dT = np.zeros((self.n_par, self.k, self.k))
        dT[np.arange(self.n_par), self._theta_rows, self._theta_columns] = 1.0
        return dT

    def fold(self, par: ArrayLike) -> FloatArray:
        """Multiply each column of T by the sign of its diagonal entry; with a zero there, echelon form first."""
        T = self.factor(par)
        if (T.diagonal() > 0.0).all():
            return T[self._theta_rows, self._theta_columns]
        if np.any(T.diagonal() == 0.0):
            T = _echelon(T)
        flip = np.where(T.diagonal() < 0.0, -1.0, 1.0)
        return (T * flip)[self._theta_rows, self._theta_columns]

    def sd_corr(self, par: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Row norms of T, and T T' scaled by them."""
        T = self.factor(par)
        sd = np.sqrt(np.sum(T * T, axis=1))
        with np.errstate(divide="ignore", invalid="ignore"):
            rows = T / sd[:, None]
        corr = rows @ rows.T
        np.fill_diagonal(corr, 1.0)
        return sd, corr


def _echelon(T: FloatArray) -> FloatArray:
    """The factor with the same T T' whose rows reach only into as many columns as the rank so far.

    With T_11 = 0 only T_21^2 + T_22^2 matters, a circle along which nothing changes; rotating the row into the
    first free column removes it.
    """
    T, rank = T.copy(), 0
    for i in range(T.shape[0]):
        for j in range(rank + 1, i + 1):
            length = np.hypot(T[i, rank], T[i, j])
            if T[i, j] != 0.0:
                c, s = T[i, rank] / length, T[i, j] / length
                T[i:, rank], T[i:, j] = c * T[i:, rank] + s * T[i:, j], c * T[i:, j] - s * T[i:, rank]
                T[i, rank], T[i, j] = length, 0.0
        rank += bool(rank <= i and T[i, rank] != 0.0)
    return T


@dataclass(frozen=True)
class Diagonal(_FactorEntries):
    """Uncorrelated columns: par holds the standard deviations (one of them if ``hom``)."""

    name: ClassVar[str] = "diag"

    def _theta_entries(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        entries = np.arange(1 if self.hom else self.k)
        return entries, entries

    def factor(self, par: ArrayLike) -> FloatArray:
        """Put the standard deviations on the diagonal."""
        sd = self._checked(par, self.n_par, "par")
        return np.diag(np.broadcast_to(sd, self.k)).copy()

    def d_factor(self, par: ArrayLike) -> FloatArray:
        """Identity (``hom``), or one unit diagonal entry per parameter."""
        if self.hom:
            return np.eye(self.k)[None]
        dT = np.zeros((self.k, self.k, self.k))
        every = np.arange(self.k)
        dT[every, every, every] = 1.0
        return dT

    def par_names(self, label: str, columns: Sequence[str]) -> tuple[str, ...]:
        """``label.sd`` for the common standard deviation, otherwise one name per column."""
        return (f"{label}.sd",) if self.hom else super().par_names(label, columns)

    def fold(self, par: ArrayLike) -> FloatArray:
        """Absolute values."""
        return np.abs(self._checked(par, self.n_par, "par"))

    def sd_corr(self, par: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Standard deviations and the identity."""
        return np.broadcast_to(self.fold(par), self.k).copy(), np.eye(self.k)
