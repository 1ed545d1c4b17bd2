r"""How the information about the fixed effects of a linear mixed model changes with its covariance parameters.

Place in the reading order: first of the small-sample part of ``inference``; :mod:`.satterthwaite` and
:mod:`.kenward_roger` are built on it. On the scale sigma = 1,

.. math:: \Omega = W^{-1} + Z\Lambda\Lambda'Z',\qquad C = (X'\Omega^{-1}X)^{-1} = (R_X'R_X)^{-1}.

Where the relative covariance matrix of one term changes by :math:`\dot S`, the same in all of its levels l,

.. math:: \frac{d}{dt}\,A'\Omega^{-1}A = -\sum_l G_l'\,\dot S\,G_l,\qquad G = Z'\Omega^{-1}A,

for the columns of any matrix A: X here, with the residuals beside it. No matrix of n rows and n columns is formed:
:math:`\Omega^{-1}A = W(A - Z\Lambda H^{-1}\Lambda'Z'WA)`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refglmm.fit.ranef import term_starts
from refglmm.fit.varcorr import split_par, term_factors

if TYPE_CHECKING:
    from scipy import sparse

    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]


class MarginalAlgebra:
    r"""Products with :math:`\\Omega^{-1}` of one linear mixed model, all of them through its q random effects."""

    def __init__(self, fit: FittedModel) -> None:
        self.fit = fit
        self.X = np.asarray(fit.design.X)
        self.weights = np.asarray(fit.problem.weights)
        self.starts = term_starts(fit)
        self.factors = term_factors(fit)

    @cached_property
    def Zt(self) -> sparse.csc_matrix:
        """Z', shape (q, n)."""
        return self.fit.design.Zt()

    def blocks(self, B: FloatArray, t: int) -> FloatArray:
        """Rows of term t of a matrix with q rows, by level: shape (levels, k, columns)."""
        rows, k = B[self.starts[t] : self.starts[t + 1]], len(self.factors[t])
        return rows.reshape(len(rows) // k, k, B.shape[1])

    def level_products(self, matrices: list[FloatArray], B: FloatArray) -> FloatArray:
        """(I kron M_t) B, one k x k matrix M_t a term."""
        out = np.empty(B.shape)
        for t, M in enumerate(matrices):
            self.blocks(out, t)[...] = np.einsum("ij,ljc->lic", M, self.blocks(B, t))
        return out

    def Lambda_times(self, B: FloatArray) -> FloatArray:
        """Lambda B."""
        return self.level_products(self.factors, B)

    def Lambdat_times(self, B: FloatArray) -> FloatArray:
        """Lambda' B."""
        return self.level_products([T.T for T in self.factors], B)

    def whitened(self, A: FloatArray) -> FloatArray:
        """A - Z Lambda H^-1 Lambda'Z'W A; its rows times the weights are Omega^-1 A."""
        v = self.fit.conditional.factor.solve(self.Lambdat_times(self.Zt @ (self.weights[:, None] * A)))
        return A - self.Zt.T @ self.Lambda_times(v)

    def random_cross(self, A: FloatArray) -> FloatArray:
        """Z' Omega^-1 A, shape (q, columns of A)."""
        return self.Zt @ (self.weights[:, None] * self.whitened(A))

    @cached_property
    def ZtWZ(self) -> sparse.csr_matrix:
        """Z'WZ, shape (q, q)."""
        return (self.Zt.multiply(self.weights) @ self.Zt.T).tocsr()

    def random_products(self, B: FloatArray) -> FloatArray:
        """N B for N = Z' Omega^-1 Z and a matrix of q rows."""
        CB = self.ZtWZ @ B
        return CB - self.ZtWZ @ self.Lambda_times(self.fit.conditional.factor.solve(self.Lambdat_times(CB)))

    def covariance_basis(self) -> FloatArray:
        """C = (RX'RX)^-1, the covariance of the fixed effects over sigma^2."""
        inverse = np.linalg.inv(self.fit.conditional.rx)
        return inverse @ inverse.T

    def level_sum(self, G: FloatArray, t: int, S: FloatArray) -> FloatArray:
        """Sum over the levels l of term t of G_l' S G_l."""
        blocks = self.blocks(G, t)
        return np.einsum("lic,ij,ljd->cd", blocks, S, blocks, optimize=True)


def relative_slopes(fit: FittedModel) -> list[tuple[int, FloatArray]]:
    """For each covariance parameter its term and the derivative dT T' + T dT' of that term's relative covariance."""
    slopes: list[tuple[int, FloatArray]] = []
    for t, (structure, par) in enumerate(zip(fit.structures, split_par(fit), strict=True)):
        T = structure.factor(structure.interior(par))
        for dT in structure.d_factor(par):
            slopes.append((t, dT @ T.T + T @ dT.T))
    return slopes
