r"""The Toeplitz structure: columns are equally spaced times, and each lag has a correlation of its own.

Place in the reading order: after :mod:`.correlated`. par = (SDs, pi_1, ..., pi_{k-1}) with pi_m the *partial*
autocorrelation of lag m, the correlation of two columns m steps apart given those between them. Any pi in (-1, 1)
gives a positive definite matrix, and every positive definite Toeplitz correlation matrix has exactly one pi
(Barndorff-Nielsen and Schou 1973, "On the parametrization of autoregressive models by partial autocorrelations",
J. Multivariate Analysis 3, 408-419). The correlations rho_1, ..., rho_{k-1} of the lags themselves, which are what is
reported, would have to be kept inside a curved region.

**R from pi.** Let f^m_t be what the m columns before t leave unexplained of column t, and b^m_t what the m columns
after t - m leave unexplained of column t - m, both scaled to variance one. The normalised lattice (Durbin 1960; Gray
and Markel 1975) is a rotation with s = pi_m and c = sqrt(1 - pi_m^2):

.. math:: f^{m-1}_t = c f^m_t + s b^{m-1}_{t-1},\qquad b^m_t = c b^{m-1}_{t-1} - s f^m_t .

Start from independent f^t_t = e_t and go down to f^0_t = b^0_t = x_t: the coefficients of x_t in (e_0, ..., e_t) are
row t of R. Only rotations occur, so nothing is lost at pi = -1 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refglmm.covariance.base import FloatArray, lower_triangle_by_columns
from refglmm.covariance.scaled import ScaledRoot


@dataclass(frozen=True)
class Toeplitz(ScaledRoot):
    """One correlation per lag, by partial autocorrelations."""

    name: ClassVar[str] = "toep"

    @property
    def n_phi(self) -> int:
        """One partial autocorrelation per lag."""
        return self.k - 1

    @property
    def phi_start(self) -> FloatArray:
        """No correlation."""
        return np.zeros(self.n_phi)

    @property
    def phi_bounds(self) -> tuple[FloatArray, FloatArray]:
        """Minus one and one."""
        return np.full(self.n_phi, -1.0), np.ones(self.n_phi)

    @property
    def phi_names(self) -> tuple[str, ...]:
        """``pacf1``, ``pacf2``, ..."""
        return tuple(f"pacf{m}" for m in range(1, self.k))

    def root(self, phi: FloatArray) -> FloatArray:
        """Row t of R by the lattice."""
        return _lattice(phi, np.zeros((0, phi.size)))[:, 0]

    def d_root(self, phi: FloatArray) -> FloatArray:
        """Derivatives of the lattice's rotations, carried along."""
        return _lattice(phi, np.eye(phi.size))[:, 1:].transpose(1, 0, 2)

    def correlation(self, phi: FloatArray) -> FloatArray:
        """Rho of the lag, the first column of R."""
        every = np.arange(self.k)
        rho = self.root(phi)[:, 0]
        C = rho[np.abs(every[:, None] - every)]
        np.fill_diagonal(C, 1.0)
        return C

    def _theta_entries(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return lower_triangle_by_columns(self.k)

    def par_from_theta(self, theta: ArrayLike) -> FloatArray:
        """Row norms of T are the SDs; pi by the Durbin-Levinson recursion from rho_m = R_m0."""
        T = np.zeros((self.k, self.k))
        T[self._theta_rows, self._theta_columns] = self._checked(theta, self.n_theta, "theta")
        sd = np.sqrt(np.sum(T * T, axis=1))
        rho = np.divide(T[:, 0], sd, out=np.zeros(self.k), where=sd > 0.0)
        if self.hom:
            sd = sd[:1]
        return np.append(sd, partial_autocorrelations(rho[1:]))

    def reported(self, par: ArrayLike) -> dict[str, float]:
        """The correlation of each lag."""
        _, corr = self.sd_corr(par)
        return {f"lag {m}": float(corr[m, 0]) for m in range(1, self.k)}


def _lattice(pi: FloatArray, directions: FloatArray) -> FloatArray:
    """Rows of R and their derivatives along some directions of pi, shape (k, 1 + directions, k)."""
    k, n = pi.size + 1, 1 + len(directions)
    cosine = np.sqrt((1.0 - pi) * (1.0 + pi))
    rows, backward = np.zeros((k, n, k)), np.zeros((k, n, k))
    for t in range(k):
        forward, before = np.zeros((n, k)), backward.copy()  # before[m] is b^m at t - 1
        forward[0, t] = 1.0
        for m in range(t, 0, -1):
            s, c, b = pi[m - 1], cosine[m - 1], before[m - 1]
            down, up = c * forward + s * b, c * b - s * forward
            if n > 1:
                ds = directions[:, m - 1 : m]
                dc = -s / c * ds
                down[1:] += dc * forward[0] + ds * b[0]
                up[1:] += dc * b[0] - ds * forward[0]
            forward, backward[m] = down, up
        backward[0] = rows[t] = forward
    return rows


def partial_autocorrelations(rho: FloatArray) -> FloatArray:
    """pi_1, pi_2, ... of the correlations of the lags, by the Durbin-Levinson recursion; 0 after one of +-1."""
    pi, weights, variance = np.zeros(rho.size), np.empty(0), 1.0
    for m in range(rho.size):
        if not variance > 0.0:
            break
        pi[m] = np.clip((rho[m] - weights @ rho[:m][::-1]) / variance, -1.0, 1.0)
        weights = np.append(weights - pi[m] * weights[::-1], pi[m])
        variance *= (1.0 - pi[m]) * (1.0 + pi[m])
    return pi
