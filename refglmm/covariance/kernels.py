r"""Structures whose correlations are a function of the distance between columns: ``ou``, ``exp``, ``gau``, ``mat``.

Place in the reading order: after :mod:`.stationary`. The columns of the term are the levels of a factor that carry
positions (times, or coordinates in space; :mod:`refglmm.formula.term_data`), d is the Euclidean distance of two of
them, and one SD is common to all. par = (SD, phi), phi logarithms, unbounded:

* ``ou``: :math:`\rho = e^{-\lambda d}`, phi = log rate (times: an Ornstein-Uhlenbeck process);
* ``exp``: :math:`\rho = e^{-d/r}`, phi = log range;
* ``gau``: :math:`\rho = e^{-(d/r)^2}`, phi = log range;
* ``mat``: :math:`\rho = 2^{1-\nu}\,x^\nu K_\nu(x) / \Gamma(\nu),\; x = d/r`, phi = (log range, log smoothness). It is
  ``exp`` for nu = 1/2.

**R and its derivatives.** R is the Cholesky factor of C and, with Phi taking the lower triangle and half of the
diagonal (differentiate R R' = C),

.. math:: dR = R\;\Phi(R^{-1}\,dC\,R^{-T}).

A smooth kernel with a long range has eigenvalues below any rounding error. C is therefore
(1 - ``NUGGET``) rho + ``NUGGET`` I in R; reported correlations are rho.

**The order of K.** :math:`K_\nu(x) = \frac12\int_{-\infty}^{\infty} e^{\nu t - x\cosh t}\,dt` (Abramowitz and Stegun,
9.6.24), so that both derivatives are means under that integrand: d log K / d nu = E t and d log K / dx = -E cosh t.
The trapezoidal rule converges faster than any power of its step for such integrands (Trefethen and Weideman 2014,
"The exponentially convergent trapezoidal rule", SIAM Review 56). With w = sqrt(x^2 + nu^2) the peak is at
asinh(nu/x); the limits are where the integrand has fallen by a factor of ``exp(FALLEN)``. See :func:`log_matern`.

theta is the whole lower triangle of T.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refglmm.covariance.base import FloatArray, lower_triangle_by_columns
from refglmm.covariance.scaled import EDGE, ScaledRoot
from refglmm.errors import ArgumentError, NotPositiveDefiniteError
from refglmm.families.special import log_minus_digamma, stirling_rest

#: Share of each variance that has no correlation, so that C has a Cholesky factor.
NUGGET = 1e-10
#: Logarithms of ranges, rates and smoothness beyond this are taken at it: what they stand for is a limit by then.
LARGEST_LOG = 30.0
#: Smoothness beyond which nothing changes: the correlations are those of ``gau`` up to 1 / nu.
SMOOTHEST = 1e4
#: Nodes of the trapezoidal rule for K: steps of at most 0.15 for any order and argument that occur.
NODES = 257
#: The integrand is cut off where it is exp(-FALLEN) of its peak.
FALLEN = 42.0
#: Search for par given T: most steps, and the largest error of an entry relative to the SD (and last step).
MOST_STEPS, SOLVED = 100, 1e-9


class Kernel(ScaledRoot):
    """Correlations rho(d; phi)."""

    projects: ClassVar[bool] = False
    brief: ClassVar[bool] = True

    # -- the formulas of one structure ------------------------------------------------------------------
    @abstractmethod
    def rho(self, d: FloatArray, natural: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Correlation at positive distances, and its derivatives in phi (n_phi, distances); ``natural`` is exp(phi)."""

    #: Names of exp(phi).
    natural_names: ClassVar[tuple[str, ...]] = ("range",)

    # -- distances --------------------------------------------------------------------------------------
    @cached_property
    def _distances(self) -> tuple[FloatArray, NDArray[np.int64]]:
        """Distinct distances of the columns, and which of them each pair has."""
        x = np.array(self.data.positions, dtype=float).reshape(self.k, -1)
        d = np.sqrt(((x[:, None, :] - x[None, :, :]) ** 2).sum(axis=2))
        values, which = np.unique(d, return_inverse=True)
        return values, which.reshape(d.shape)

    @cached_property
    def _typical(self) -> float:
        """Median distance of two columns."""
        d, which = self._distances
        return float(np.median(d[which[np.triu_indices(self.k, 1)]])) if self.k > 1 else 1.0

    # -- phi --------------------------------------------------------------------------------------------
    @property
    def n_phi(self) -> int:
        """One logarithm, or two; none with one column."""
        return len(self.natural_names) if self.k > 1 else 0

    @property
    def phi_start(self) -> FloatArray:
        """A range of the median distance of two columns."""
        return np.log([self._typical])[: self.n_phi]

    @property
    def phi_bounds(self) -> tuple[FloatArray, FloatArray]:
        """Unbounded."""
        return np.full(self.n_phi, -np.inf), np.full(self.n_phi, np.inf)

    @property
    def phi_names(self) -> tuple[str, ...]:
        """``log_range`` and the like."""
        return tuple(f"log_{name}" for name in self.natural_names[: self.n_phi])

    @property
    def logarithms(self) -> NDArray[np.bool_]:
        """All of phi."""
        return np.append(False, np.ones(self.n_phi, dtype=bool))

    # -- R ----------------------------------------------------------------------------------------------
    def _rho_matrices(self, phi: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Correlations and their derivatives of all pairs of columns."""
        d, which = self._distances
        rho, slopes = np.ones(d.size), np.zeros((self.n_phi, d.size))
        natural = np.exp(np.clip(phi, -LARGEST_LOG, LARGEST_LOG))
        rho[1:], slopes[:, 1:] = self.rho(d[1:], natural)
        return rho[which], slopes[:, which]

    def correlation(self, phi: FloatArray) -> FloatArray:
        """Rho of each pair of columns."""
        return self._rho_matrices(phi)[0]

    def root(self, phi: FloatArray) -> FloatArray:
        """Cholesky factor of (1 - NUGGET) rho + NUGGET I."""
        return self._cholesky(self.correlation(phi))

    def _cholesky(self, rho: FloatArray) -> FloatArray:
        C = (1.0 - NUGGET) * rho
        np.fill_diagonal(C, 1.0)
        try:
            return np.asarray(np.linalg.cholesky(C), dtype=np.float64)
        except np.linalg.LinAlgError:
            raise NotPositiveDefiniteError(
                f"the correlations of a {self.name} structure are not positive definite up to rounding"
            ) from None

    def d_root(self, phi: FloatArray) -> FloatArray:
        """DR = R Phi(R^-1 dC R^-T)."""
        rho, slopes = self._rho_matrices(phi)
        R = self._cholesky(rho)
        half = np.linalg.solve(R, (1.0 - NUGGET) * slopes)
        inside = np.tril(np.linalg.solve(R, half.transpose(0, 2, 1)))
        every = np.arange(self.k)
        inside[:, every, every] *= 0.5
        return R @ inside

    # -- theta ------------------------------------------------------------------------------------------
    def _theta_entries(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return lower_triangle_by_columns(self.k)

    def par_from_theta(self, theta: ArrayLike) -> FloatArray:
        """SD and phi by damped Gauss-Newton steps on the entries of R.

        Raises
        ------
        ArgumentError
            If theta is not the factor of such a structure.
        """
        wanted = self._checked(theta, self.n_theta, "theta")
        par = self.start
        sd = par[0] = abs(wanted[0])
        if not self.n_phi or sd == 0.0:
            return par
        entries, phi = (self._theta_rows, self._theta_columns), par[1:]
        error, damping = self.root(phi)[entries] - wanted / sd, 1e-3
        for _ in range(MOST_STEPS):
            J = self.d_root(phi)[:, *entries]
            normal = J @ J.T
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + NUGGET), -J @ error)
            if np.max(np.abs(step)) < SOLVED:
                break
            trial = phi + np.clip(step, -1.0, 1.0)
            new = self.root(trial)[entries] - wanted / sd
            if new @ new < error @ error:
                phi, error, damping = trial, new, 0.1 * damping
            else:
                damping *= 10.0
        if np.max(np.abs(error)) > SOLVED:
            raise ArgumentError(
                f"theta is not the factor of a {self.name} structure (from the closest, entries differ by "
                f"{sd * np.max(np.abs(error)):.2g}); give par instead",
                structure=self.name,
            )
        return np.append(sd, phi)

    # -- reading the result -----------------------------------------------------------------------------
    def undetermined(self, par: ArrayLike, tol: float) -> NDArray[np.bool_]:
        """Phi where the SD is zero, and what of phi no correlation depends on (a range far below all distances)."""
        mask, (_, phi) = super().undetermined(par, tol), self.split(par)
        if self.n_phi:
            mask[1:] |= np.abs(self._rho_matrices(phi)[1]).max(axis=(1, 2)) < EDGE
        return mask

    def is_singular(self, par: ArrayLike, tol: float = 1e-4) -> bool:
        """Whether the SD is below ``tol``, or the range so long that no correlation is below 1 - ``tol``."""
        sd, phi = self.split(par)
        same = self.k > 1 and 1.0 - float(self.correlation(phi).min()) < tol
        return bool(abs(sd[0]) < tol or same)

    def reported(self, par: ArrayLike) -> dict[str, float]:
        """Range, rate, smoothness."""
        _, phi = self.split(par)
        return dict(zip(self.natural_names, np.exp(phi).tolist(), strict=False))


@dataclass(frozen=True)
class OrnsteinUhlenbeck(Kernel):
    """Exponential decay in time, by its rate."""

    name: ClassVar[str] = "ou"
    natural_names: ClassVar[tuple[str, ...]] = ("rate",)

    @property
    def phi_start(self) -> FloatArray:
        """A rate of one per median distance of two times."""
        return -super().phi_start

    def rho(self, d: FloatArray, natural: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Exp(-rate d)."""
        x = natural[0] * d
        return np.exp(-x), -(x * np.exp(-x))[None]


@dataclass(frozen=True)
class Exponential(Kernel):
    """Exponential decay in space, by its range."""

    name: ClassVar[str] = "exp"

    def rho(self, d: FloatArray, natural: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Exp(-d / range)."""
        x = d / natural[0]
        return np.exp(-x), (x * np.exp(-x))[None]


@dataclass(frozen=True)
class SquaredExponential(Kernel):
    """Gaussian decay, the smoothest of all."""

    name: ClassVar[str] = "gau"

    def rho(self, d: FloatArray, natural: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Exp(-(d / range)^2)."""
        x2 = (d / natural[0]) ** 2
        return np.exp(-x2), (2.0 * x2 * np.exp(-x2))[None]


@dataclass(frozen=True)
class Matern(Kernel):
    """Decay with a smoothness that is estimated."""

    name: ClassVar[str] = "mat"
    natural_names: ClassVar[tuple[str, ...]] = ("range", "smoothness")

    @property
    def phi_start(self) -> FloatArray:
        """A range of half the median distance, smoothness 1."""
        return np.array([np.log(0.5 * self._typical), 0.0])[: self.n_phi]

    def rho(self, d: FloatArray, natural: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Matern correlation; derivatives by the means of t and cosh t (module docstring)."""
        scale, nu = natural[0], min(natural[1], SMOOTHEST)
        log_rho, in_log_range, in_nu = log_matern(d / scale, nu)
        rho = np.exp(log_rho)
        return rho, np.array([rho * in_log_range, rho * in_nu * nu * (nu < SMOOTHEST)])


def log_matern(x: FloatArray, nu: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    r"""Logarithm of the Matern correlation, and its derivatives in log range and in nu.

    With t = asinh(nu/x) + s, log x + asinh(nu/x) = log(nu + w), and Stirling's log Gamma(nu) = (nu - 1/2) log nu - nu
    + log(2 pi)/2 + delta(nu), everything large cancels on paper:

    .. math::
        \log\rho &= \nu\log\frac{\nu+w}{2\nu} - (w-\nu)
            + \log\Big(\sqrt{\nu/2\pi}\int e^{-fall(s)}ds\Big) - \delta(\nu)\\
        \partial_\nu\log\rho &= \log\frac{\nu+w}{2\nu} + \log\nu - \psi(\nu) + E s.

    Parameters
    ----------
    x : float array, shape (m,)
        Distance over range, positive.
    nu : float
        Smoothness, positive.
    """
    w = np.hypot(x, nu)
    excess = x**2 / (w + nu)  # w - nu
    right = np.arccosh(1.0 + FALLEN / w)
    # to the left the fall is (w - nu)/2 e^s + nu s or more, less w: two bounds, of which the nearer one counts
    left = np.minimum(np.log(2.0 * (FALLEN + w) / excess), (FALLEN + w) / nu)
    s = -left[:, None] + (left + right)[:, None] * np.linspace(0.0, 1.0, NODES)
    # the peak less nu t - x cosh t, where x cosh = w and x sinh = nu at the peak
    fall = 0.5 * excess[:, None] * np.exp(-s) + 0.5 * (w + nu)[:, None] * np.exp(s) - nu * s - w[:, None]
    weight = np.exp(-fall)
    total = weight.sum(axis=1)
    integral = (left + right) / (NODES - 1) * total
    mean_x_cosh = (weight * (fall + nu * s + w[:, None])).sum(axis=1) / total
    ratio = np.log1p(0.5 * excess / nu)
    log_rho = nu * ratio - excess + np.log(np.sqrt(nu / (2.0 * np.pi)) * integral) - stirling_rest(nu)
    in_nu = ratio + log_minus_digamma(nu) + (weight * s).sum(axis=1) / total
    return log_rho, mean_x_cosh - nu, in_nu
