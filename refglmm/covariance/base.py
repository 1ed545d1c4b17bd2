r"""What every covariance structure offers: from the parameters of one random-effects term to its factor T.

Place in the reading order: after :mod:`refglmm.families`, before :mod:`refglmm.likelihood`; the
structures themselves are :mod:`.factor_entries` (``us``, ``diag``, ``rr``, ``propto``, ``equalto``),
:mod:`.correlated` (``cs``, ``ar1``), :mod:`.stationary` (``toep``) and :mod:`.kernels` (``ou``, ``exp``, ``gau``,
``mat``); all but the first are a :class:`.ScaledRoot`.

A term with k columns and many levels has random effects b = T u for each level, u ~ N(0, I_k), so that
Var(b) = Sigma = T T' (relative to sigma^2 in a linear mixed model). T is lower triangular. Two
vectors describe it:

``par``
    what is optimised and what the degrees of freedom count;
``theta``
    the distinct entries of T, column by column, in the order that lme4 uses.

They coincide for ``us`` and ``diag``. :attr:`Structure.lower` and :attr:`Structure.upper` bound ``par``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refglmm.errors import ArgumentError
from refglmm.formula.term_data import NOTHING, TermData

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Structure(ABC):
    """Covariance structure of one random-effects term.

    Parameters
    ----------
    k : int
        Number of columns of the term, at least 1.
    hom : bool
        One standard deviation for all columns. Has no meaning (and must be False) for ``us`` and ``rr``.
    data : TermData
        What else is known of the columns: their positions, the rank of their covariance, or their known covariance.
    """

    k: int
    hom: bool
    data: TermData = NOTHING
    name: ClassVar[str]
    #: Whether T = sum_j par_j E_j with constant matrices E_j.
    linear: ClassVar[bool] = False
    #: Whether :meth:`par_from_theta` finds a sensible ``par`` for the entries of any lower-triangular matrix.
    projects: ClassVar[bool] = True
    #: Whether one SD and the values of :meth:`reported` say everything: then they are all that is printed.
    brief: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse a term without columns."""
        if self.k < 1:
            raise ArgumentError(f"a random-effects term needs at least one column, not {self.k}", k=self.k)

    # -- sizes and bounds -------------------------------------------------------------------------------
    @property
    @abstractmethod
    def n_par(self) -> int:
        """Length of ``par``."""

    @property
    def n_theta(self) -> int:
        """Length of ``theta``."""
        return len(self._theta_rows)

    @property
    @abstractmethod
    def start(self) -> FloatArray:
        """Starting value of ``par``: T has rows of length one (it is the identity unless said otherwise)."""

    @property
    @abstractmethod
    def lower(self) -> FloatArray:
        """Lower bounds of ``par``."""

    @property
    @abstractmethod
    def upper(self) -> FloatArray:
        """Upper bounds of ``par``."""

    @property
    @abstractmethod
    def sign_free(self) -> NDArray[np.bool_]:
        """Where a bound of zero may be crossed during optimisation, because :meth:`fold` can take it back."""

    @property
    def logarithms(self) -> NDArray[np.bool_]:
        """Where ``par`` is the logarithm of a positive number, such as a range; here nowhere."""
        return np.zeros(self.n_par, dtype=bool)

    @property
    def in_sd_units(self) -> NDArray[np.bool_]:
        """Where ``par`` is in units of the standard deviations, so that T is proportional to that part of it."""
        return np.isinf(self.upper) & ~self.logarithms

    # -- par -> T ---------------------------------------------------------------------------------------
    @abstractmethod
    def factor(self, par: ArrayLike) -> FloatArray:
        """Lower-triangular T, shape (k, k), with T T' the covariance matrix."""

    @abstractmethod
    def d_factor(self, par: ArrayLike) -> FloatArray:
        """Derivatives dT/dpar, shape (n_par, k, k)."""

    # -- par <-> theta ----------------------------------------------------------------------------------
    @cached_property
    def _theta_rows(self) -> NDArray[np.int64]:
        return _read_only(self._theta_entries()[0])

    @cached_property
    def _theta_columns(self) -> NDArray[np.int64]:
        return _read_only(self._theta_entries()[1])

    @property
    def theta_entries(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of the entries of T that make up theta."""
        return self._theta_rows, self._theta_columns

    @abstractmethod
    def _theta_entries(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of the entries of T that make up theta."""

    def theta(self, par: ArrayLike) -> FloatArray:
        """Distinct entries of T, by columns."""
        return self.factor(par)[self._theta_rows, self._theta_columns]

    @abstractmethod
    def par_from_theta(self, theta: ArrayLike) -> FloatArray:
        """Canonical ``par`` whose factor has these entries."""

    # -- names ------------------------------------------------------------------------------------------
    @abstractmethod
    def par_names(self, label: str, columns: Sequence[str]) -> tuple[str, ...]:
        """Names of ``par`` for a term called ``label``."""

    def theta_names(self, label: str, columns: Sequence[str]) -> tuple[str, ...]:
        """Names of ``theta``: ``label.row`` on the diagonal of T, ``label.row.column`` below it."""
        entries = zip(self._theta_rows, self._theta_columns, strict=True)
        return tuple(_entry_name(label, columns, i, j) for i, j in entries)

    # -- reading the result -----------------------------------------------------------------------------
    @abstractmethod
    def is_singular(self, par: ArrayLike, tol: float = 1e-4) -> bool:
        """Whether Sigma is singular, or closer to it than ``tol``."""

    def undetermined(self, par: ArrayLike, tol: float) -> NDArray[np.bool_]:
        """Parameters without any effect on Sigma at ``par``, standard deviations below ``tol`` counting as zero."""
        return np.zeros(self._checked(par, self.n_par, "par").size, dtype=bool)

    def interior(self, par: ArrayLike) -> FloatArray:
        """Return ``par`` moved to where T is differentiable; here everywhere."""
        return self._checked(par, self.n_par, "par")

    @abstractmethod
    def fold(self, par: ArrayLike) -> FloatArray:
        """Canonical ``par`` with the same T T': standard deviations and diagonal entries not negative."""

    @abstractmethod
    def sd_corr(self, par: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return SDs (k,) and the correlation matrix (k, k), nan where a zero SD leaves it undefined."""

    def reported(self, par: ArrayLike) -> dict[str, float]:
        """Values to report beside SDs and correlations, by name: a range, a rate; here none."""
        return {}

    def _checked(self, values: ArrayLike, length: int, what: str) -> FloatArray:
        """Copy of a vector as float64, of the right length."""
        vector = np.array(values, dtype=np.float64, ndmin=1)
        if vector.shape != (length,):
            message = f"{self.name} with {self.k} columns has {length} {what} values, not {vector.size}"
            raise ArgumentError(message, expected=length, given=vector.size)
        return vector


def _entry_name(label: str, columns: Sequence[str], row: int, column: int) -> str:
    """Name of T[row, column]."""
    parts = (columns[row],) if row == column else (columns[row], columns[column])
    return ".".join((label, *parts))


def _read_only(values: NDArray[np.int64]) -> NDArray[np.int64]:
    values.setflags(write=False)
    return values


def lower_triangle_by_columns(k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column indices of the lower triangle, diagonal included, column by column."""
    columns, rows = np.triu_indices(k)
    return rows, columns
