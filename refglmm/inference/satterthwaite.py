r"""Satterthwaite's degrees of freedom for linear functions of the fixed effects of a linear mixed model.

Place in the reading order: after :mod:`.marginal_slopes`, before :mod:`.denominator_df`. With V(psi) the covariance of
the fixed effects as a function of psi = (par, sigma), F(psi) the criterion (-2 log L or REML, fixed effects profiled
out, sigma not), :math:`A = 2\,\nabla^2F^{-1}` and :math:`g = \nabla\,l'Vl`,

.. math:: \nu = 2\,(l'Vl)^2 / (g'Ag).

**The Hessian.** sigma enters by :math:`F = L(par) + \nu_0\log(2\pi\sigma^2) + P(par)/\sigma^2`, P the penalised
residual sum of squares and :math:`\nu_0 = n` (ML) or n - p (REML). Where :math:`\sigma^2 = P/\nu_0`,

.. math:: F_{\sigma\sigma} = 4\nu_0/\sigma^2,\quad F_{\theta\sigma} = -2\dot P/\sigma^3,\quad
          F_{\theta\theta} = D_{\theta\theta} + \dot P\dot P'/(\nu_0\sigma^4),

with :math:`D_{\theta\theta}` the Hessian of the profiled criterion that the fit holds.

**A boundary.** A parameter on its boundary (a variance of zero) is held there, as for the standard errors; directions
in which the criterion does not curve are left out: along them V does not change either.

Source: Satterthwaite (1946); Fai and Cornelius (1996) for several rows; Kuznetsova, Brockhoff and Christensen (2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import NotAvailableError
from refglmm.fit.arrays import freeze_arrays
from refglmm.fit.vcov import free_parameters
from refglmm.inference.marginal_slopes import MarginalAlgebra, relative_slopes

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

#: Eigenvalues of a unit-diagonal Hessian below this share of the largest carry no information.
NO_CURVATURE = 1e-8


@dataclass(frozen=True)
class Satterthwaite:
    """V, its slopes in psi = (free covariance parameters, sigma) and the covariance A of the estimate of psi.

    Attributes
    ----------
    covariance : float array, shape (p, p)
    slopes : float array, shape (m, p, p)
    A : float array, shape (m, m)
    """

    covariance: FloatArray
    slopes: FloatArray
    A: FloatArray

    def df(self, L: FloatArray) -> FloatArray:
        """Degrees of freedom of each row of L; infinite where the variance does not depend on psi."""
        variance = np.einsum("ri,ij,rj->r", L, self.covariance, L)
        g = np.einsum("ri,mij,rj->rm", L, self.slopes, L)
        with np.errstate(divide="ignore", invalid="ignore"):
            return 2.0 * variance**2 / np.einsum("rm,mk,rk->r", g, self.A, g)


def pseudo_inverse(matrix: FloatArray, tolerance: float = NO_CURVATURE) -> FloatArray:
    """Inverse of a positive definite matrix over the directions that are not flat; free of the parameters' units.

    The matrix is scaled to a unit diagonal; eigenvalues up to ``tolerance`` times the largest are left out.
    """
    diagonal = np.diag(matrix)
    scale = np.where(diagonal > 0.0, 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0)), 0.0)
    values, vectors = np.linalg.eigh(matrix * np.outer(scale, scale))
    kept = values > tolerance * max(values.max(initial=0.0), 0.0)
    basis = scale[:, None] * vectors[:, kept]
    return (basis / values[kept]) @ basis.T


def unprofiled_hessian(D: FloatArray, P_slope: FloatArray, sigma: float, degrees: int) -> FloatArray:
    """Hessian of F in (par, sigma) from that of the profiled criterion."""
    cross = -2.0 * P_slope / sigma**3
    F = np.empty((len(D) + 1, len(D) + 1))
    F[:-1, :-1] = D + np.outer(P_slope, P_slope) / (degrees * sigma**4)
    F[:-1, -1] = F[-1, :-1] = cross
    F[-1, -1] = 4.0 * degrees / sigma**2
    return F


def satterthwaite(fit: FittedModel) -> Satterthwaite:
    """Collect V, its slopes and A at the estimate.

    Raises
    ------
    NotAvailableError
        For a fit whose Hessian was not computed.
    """
    if fit.optimum.hessian is None:
        raise NotAvailableError(
            "Satterthwaite's degrees of freedom need the Hessian of the criterion; fit with control={'derivatives': "
            "'auto'}"
        )
    algebra = MarginalAlgebra(fit)
    residual = np.asarray(fit.problem.y - fit.conditional.mu)  # Omega^-1 (y - o - X beta) = W residual
    ZtWr = algebra.Zt @ (algebra.weights * residual)
    G = np.column_stack([algebra.random_cross(algebra.X), ZtWr])
    C, p = algebra.covariance_basis(), algebra.X.shape[1]
    free = np.flatnonzero(free_parameters(fit))
    slopes, P_slope = np.empty((free.size + 1, p, p)), np.empty(free.size)
    every = relative_slopes(fit)
    for m, k in enumerate(free):
        S = algebra.level_sum(G, *every[k])
        slopes[m] = fit.sigma**2 * C @ S[:-1, :-1] @ C
        P_slope[m] = -S[-1, -1]
    slopes[-1] = 2.0 * fit.sigma * C
    degrees = int(np.sum(algebra.weights > 0)) - (p if fit.reml else 0)
    D = np.asarray(fit.optimum.hessian)[np.ix_(free, free)]
    A = 2.0 * pseudo_inverse(unprofiled_hessian(D, P_slope, fit.sigma, degrees))
    result = Satterthwaite(fit.sigma**2 * C, slopes, A)
    freeze_arrays(result)
    return result
