r"""What most structures share: standard deviations times the root of a correlation matrix.

Place in the reading order: after :mod:`.factor_entries`, before :mod:`.correlated`. par = (SDs, phi), one SD per
column or one for all (``hom``), and

.. math:: T = \mathrm{diag}(SD)\,R(\phi),\qquad R R' = C(\phi),

with C a correlation matrix. A structure says what phi is, R, its derivatives and C. With one column there is no
correlation: par is then the SD alone.

**Derivatives at the bounds of a correlation.** There R has entries like sqrt(1 - rho^2), whose slope is infinite
although T T' is smooth. :meth:`ScaledRoot.d_factor` is therefore evaluated no closer than ``EDGE`` to a bound and is
always finite. A gradient that is to be right *at* the bound needs T taken at the same place:
:meth:`ScaledRoot.interior` gives it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refglmm.covariance.base import FloatArray, Structure
from refglmm.errors import ArgumentError

#: Distance from a bound of a correlation at which derivatives are taken: the slope there is about 1e4, so that
#: rounding errors of 1e-16 stay below 1e-12, while T T' moves by 1e-8.
EDGE = 1e-8


class ScaledRoot(Structure):
    """T = diag(SD) R(phi)."""

    # -- the formulas of one structure ------------------------------------------------------------------
    @property
    @abstractmethod
    def n_phi(self) -> int:
        """Number of correlation parameters; 0 with one column."""

    @property
    @abstractmethod
    def phi_start(self) -> FloatArray:
        """Where phi starts."""

    @property
    @abstractmethod
    def phi_bounds(self) -> tuple[FloatArray, FloatArray]:
        """Lower and upper bounds of phi."""

    @property
    @abstractmethod
    def phi_names(self) -> tuple[str, ...]:
        """Names of phi."""

    @abstractmethod
    def root(self, phi: FloatArray) -> FloatArray:
        """Cholesky factor R(phi) of the correlation matrix, more than one column."""

    @abstractmethod
    def d_root(self, phi: FloatArray) -> FloatArray:
        """Derivatives dR/dphi, shape (n_phi, k, k), for phi strictly inside its bounds."""

    @abstractmethod
    def correlation(self, phi: FloatArray) -> FloatArray:
        """Correlation matrix itself, more than one column."""

    # -- sizes and bounds -------------------------------------------------------------------------------
    @property
    def n_sd(self) -> int:
        """Number of standard deviations."""
        return 1 if self.hom else self.k

    @property
    def n_par(self) -> int:
        """Number of standard deviations and correlation parameters."""
        return self.n_sd + self.n_phi

    @property
    def start(self) -> FloatArray:
        """Unit standard deviations, phi where it starts."""
        return np.append(np.ones(self.n_sd), self.phi_start)

    @property
    def lower(self) -> FloatArray:
        """Zero for standard deviations, the bounds of phi."""
        return np.append(np.zeros(self.n_sd), self.phi_bounds[0])

    @property
    def upper(self) -> FloatArray:
        """Unbounded standard deviations, the bounds of phi."""
        return np.append(np.full(self.n_sd, np.inf), self.phi_bounds[1])

    @property
    def sign_free(self) -> NDArray[np.bool_]:
        """A common SD (one SD of several has a sign that matters: it would turn correlations around)."""
        return np.append(np.full(self.n_sd, self.n_sd == 1), np.zeros(self.n_phi, dtype=bool))

    def split(self, par: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """SDs, one per column, and phi."""
        vector = self._checked(par, self.n_par, "par")
        return np.broadcast_to(vector[: self.n_sd], self.k), vector[self.n_sd :]

    def undetermined(self, par: ArrayLike, tol: float) -> NDArray[np.bool_]:
        """The correlation parameters, where fewer than two standard deviations are positive."""
        sd, _ = self.split(par)
        nothing = bool(np.sum(np.abs(sd) > tol) < 2)
        return np.append(np.zeros(self.n_sd, dtype=bool), np.full(self.n_phi, nothing))

    def interior(self, par: ArrayLike) -> FloatArray:
        """Return ``par`` with phi moved, if necessary, to distance ``EDGE`` from its bounds."""
        vector = self._checked(par, self.n_par, "par")
        low, high = self.phi_bounds
        vector[self.n_sd :] = np.clip(vector[self.n_sd :], low + EDGE, high - EDGE)
        return vector

    # -- par -> T ---------------------------------------------------------------------------------------
    def factor(self, par: ArrayLike) -> FloatArray:
        """T = diag(SD) R(phi)."""
        sd, phi = self.split(par)
        return sd[:, None] * self._any_root(phi)

    def _any_root(self, phi: FloatArray) -> FloatArray:
        return self.root(phi) if self.k > 1 else np.ones((1, 1))

    def d_factor(self, par: ArrayLike) -> FloatArray:
        """Rows of R for the SDs, diag(SD) dR/dphi for phi; phi as in :meth:`interior`."""
        sd, phi = self.split(self.interior(par))
        dT, R = np.zeros((self.n_par, self.k, self.k)), self._any_root(phi)
        if self.hom:
            dT[0] = R
        else:
            every = np.arange(self.k)
            dT[every, every] = R
        if self.n_phi:
            dT[self.n_sd :] = sd[:, None] * self.d_root(phi)
        return dT

    # -- names ------------------------------------------------------------------------------------------
    def par_names(self, label: str, columns: Sequence[str]) -> tuple[str, ...]:
        """``label.sd`` (``hom``) or ``label.sd.column``, then ``label.`` and the names of phi."""
        sds = [f"{label}.sd"] if self.hom else [f"{label}.sd.{column}" for column in columns]
        return (*sds, *(f"{label}.{name}" for name in self.phi_names))

    # -- reading the result -----------------------------------------------------------------------------
    def is_singular(self, par: ArrayLike, tol: float = 1e-4) -> bool:
        """Whether an SD is below ``tol`` or a correlation parameter within ``tol`` of a bound."""
        sd, phi = self.split(par)
        low, high = self.phi_bounds
        return bool(np.any(np.abs(sd) < tol) or np.any(phi - low < tol) or np.any(high - phi < tol))

    def fold(self, par: ArrayLike) -> FloatArray:
        """Turn all SDs positive; SDs of different signs have no canonical equivalent and are refused."""
        vector = self._checked(par, self.n_par, "par")
        sd = vector[: self.n_sd]
        if np.any(sd < 0.0) and np.any(sd > 0.0):
            message = f"standard deviations of a {self.name} structure must not differ in sign: {sd.tolist()}"
            raise ArgumentError(message, sd=sd.tolist())
        vector[: self.n_sd] = np.abs(sd)
        return vector

    def sd_corr(self, par: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """SDs and the correlation matrix that phi defines (also where an SD is zero)."""
        sd, phi = self.split(self.fold(par))
        return sd.copy(), self.correlation(phi) if self.k > 1 else np.ones((1, 1))
