r"""The structures whose parameters are entries of T: unstructured, diagonal, reduced rank, and known up to a factor.

Place in the reading order: after :mod:`.base`. Here T is linear in ``par`` (or fixed); ``par`` and ``theta`` are the
same vector but for the last two.

* ``us``: T is any lower-triangular matrix; par is its lower triangle, column by column, k(k+1)/2 numbers.
* ``diag``: T = diag(SD_1, ..., SD_k), or SD times the identity (``hom``).
* ``rr``: T has zeros beyond its first d columns, the loadings of d latent variables (d is the ``rank``); par is what of
  them is on and below the diagonal, kd - d(d-1)/2 numbers. Sigma = T T' leaves a rotation of the d columns open; the
  zeros above the diagonal and a diagonal that is not negative fix it. The other k - d elements of u have no effect:
  they integrate out exactly.
* ``propto``: T = SD chol(V), V a known covariance (of species, say, from a phylogeny); par = SD.
* ``equalto``: T = chol(V); par is empty.

Source: Bates, Maechler, Bolker, Walker (2015), "Fitting linear mixed-effects models using lme4",
section on the relative covariance factor.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
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


class _Triangle(_FactorEntries):
    """T has free entries on and below the diagonal of its first columns."""

    @property
    def rank(self) -> int:
        """Number of columns of T that are not zero."""
        return self.k

    def __post_init__(self) -> None:
        """Refuse ``hom``, which has no meaning here."""
        super().__post_init__()
        if self.hom:
            raise ArgumentError(
                f"{self.name}(...) has no homogeneous form; use cs(...) or diag(...) with hom", k=self.k
            )

    def _theta_entries(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows, columns = lower_triangle_by_columns(self.k)
        return rows[columns < self.rank], columns[columns < self.rank]

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
        T = self.factor(par)[:, : self.rank]
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
        for j in range(rank + 1, min(i + 1, T.shape[1])):
            length = np.hypot(T[i, rank], T[i, j])
            if T[i, j] != 0.0:
                c, s = T[i, rank] / length, T[i, j] / length
                T[i:, rank], T[i:, j] = c * T[i:, rank] + s * T[i:, j], c * T[i:, j] - s * T[i:, rank]
                T[i, rank], T[i, j] = length, 0.0
        rank += bool(rank <= i and rank < T.shape[1] and T[i, rank] != 0.0)
    return T


@dataclass(frozen=True)
class Unstructured(_Triangle):
    """Any covariance matrix: par is the lower triangle of T by columns."""

    name: ClassVar[str] = "us"


@dataclass(frozen=True)
class ReducedRank(_Triangle):
    """Covariance of rank d: par holds the loadings on d latent variables."""

    name: ClassVar[str] = "rr"

    def __post_init__(self) -> None:
        """Refuse a rank that the columns cannot have."""
        super().__post_init__()
        if not 1 <= self.rank <= self.k:
            raise ArgumentError(
                f"rr(...) with {self.k} columns needs a rank d from 1 to {self.k}, not {self.rank}",
                k=self.k,
                d=self.rank,
            )

    @property
    def rank(self) -> int:
        """Number of latent variables."""
        return self.data.rank

    @property
    def start(self) -> FloatArray:
        """Identity for the first d columns of the term, equal loadings on all latent variables for the others."""
        loadings = np.eye(self.k)
        loadings[self.rank :, : self.rank] = 1.0 / np.sqrt(self.rank)
        return loadings[self._theta_rows, self._theta_columns]

    def is_singular(self, par: ArrayLike, tol: float = 1e-4) -> bool:
        """Whether the covariance has a rank below d, or is closer to it than ``tol``."""
        return bool(np.linalg.svd(self.factor(par), compute_uv=False)[self.rank - 1] < tol)


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


class _KnownMatrix(Structure):
    """T is chol(V), V a known matrix, times the standard deviation if there is one."""

    projects: ClassVar[bool] = False
    brief: ClassVar[bool] = True

    @cached_property
    def known_root(self) -> FloatArray:
        """chol(V)."""
        return np.linalg.cholesky(np.array(self.data.matrix, dtype=float).reshape(self.k, self.k))

    @property
    def start(self) -> FloatArray:
        """One: T is chol(V)."""
        return np.ones(self.n_par)

    @property
    def lower(self) -> FloatArray:
        """Zero."""
        return np.zeros(self.n_par)

    @property
    def upper(self) -> FloatArray:
        """Unbounded."""
        return np.full(self.n_par, np.inf)

    @property
    def sign_free(self) -> NDArray[np.bool_]:
        """The standard deviation."""
        return np.ones(self.n_par, dtype=bool)

    def factor(self, par: ArrayLike) -> FloatArray:
        """SD chol(V)."""
        return self.known_root * np.prod(self._checked(par, self.n_par, "par"))

    def d_factor(self, par: ArrayLike) -> FloatArray:
        """chol(V), if there is a standard deviation."""
        return np.broadcast_to(self.known_root, (self.n_par, self.k, self.k)).copy()

    def _theta_entries(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return lower_triangle_by_columns(self.k)

    def par_from_theta(self, theta: ArrayLike) -> FloatArray:
        """The size of theta relative to chol(V), which it must be proportional to."""
        wanted = self._checked(theta, self.n_theta, "theta")
        known = self.known_root[self._theta_rows, self._theta_columns]
        par = np.full(self.n_par, abs(known @ wanted) / (known @ known))
        if np.max(np.abs(self.theta(par) - wanted)) > 1e-9 * np.max(np.abs(wanted)):
            raise ArgumentError(f"theta is not the factor of this {self.name} structure; give par instead")
        return par

    def par_names(self, label: str, columns: Sequence[str]) -> tuple[str, ...]:
        """``label.sd``, if it is estimated."""
        return (f"{label}.sd",) * self.n_par

    def is_singular(self, par: ArrayLike, tol: float = 1e-4) -> bool:
        """Whether the standard deviation is below ``tol``."""
        return bool(np.any(np.abs(self._checked(par, self.n_par, "par")) < tol))

    def fold(self, par: ArrayLike) -> FloatArray:
        """Absolute value."""
        return np.abs(self._checked(par, self.n_par, "par"))

    def sd_corr(self, par: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Row norms of T and the correlations of V."""
        norms = np.sqrt(np.sum(self.known_root**2, axis=1))
        rows = self.known_root / norms[:, None]
        corr = rows @ rows.T
        np.fill_diagonal(corr, 1.0)
        return norms * np.prod(self.fold(par)), corr


@dataclass(frozen=True)
class Proportional(_KnownMatrix):
    """Sigma = SD^2 V."""

    name: ClassVar[str] = "propto"
    linear: ClassVar[bool] = True

    @property
    def n_par(self) -> int:
        """One standard deviation."""
        return 1


@dataclass(frozen=True)
class Known(_KnownMatrix):
    """Sigma = V; nothing is estimated."""

    name: ClassVar[str] = "equalto"

    @property
    def n_par(self) -> int:
        """None."""
        return 0
