r"""Kenward and Roger's covariance matrix and degrees of freedom for linear mixed models fitted by REML.

Place in the reading order: after :mod:`.marginal_slopes`, before :mod:`.denominator_df`. Var(y) = V is linear in
gamma: :math:`V = \gamma_0 W^{-1} + \sum_i \gamma_i V_i`, with :math:`\gamma_0 = \sigma^2` and one gamma for each
variance and covariance of an unstructured or diagonal term. With :math:`\Phi = (X'V^{-1}X)^{-1}`,

.. math::
    P_i &= -X'V^{-1}V_iV^{-1}X,\qquad Q_{ij} = X'V^{-1}V_iV^{-1}V_jV^{-1}X, \\
    W &= 2\,[\,tr(V^{-1}V_iV^{-1}V_j) - 2\,tr(\Phi Q_{ij}) + tr(\Phi P_i\Phi P_j)\,]^{-1}, \\
    \Phi_A &= \Phi + 2\,\Phi\,\Big\{\sum_{ij} W_{ij}\,(Q_{ij} - P_i\Phi P_j)\Big\}\,\Phi,

W the covariance of the estimate of gamma by its expected information. For q independent rows L, with
:math:`\Theta = L'(L\Phi L')^{-1}L`,

.. math::
    A_1 &= \sum W_{ij}\,tr(\Theta\Phi P_i\Phi)\,tr(\Theta\Phi P_j\Phi),\qquad
    A_2 = \sum W_{ij}\,tr(\Theta\Phi P_i\Phi\,\Theta\Phi P_j\Phi), \\
    B &= \frac{A_1 + 6A_2}{2q},\quad g = \frac{(q+1)A_1 - (q+4)A_2}{(q+2)A_2},\quad d = 3q + 2(1-g), \\
    c_1 &= g/d,\quad c_2 = (q-g)/d,\quad c_3 = (q+2-g)/d,\quad
    \rho = \frac1q\Big(\frac{1 - A_2/q}{1 - c_2B}\Big)^2\frac{1 + c_1B}{1 - c_3B}, \\
    \nu &= 4 + \frac{q+2}{q\rho - 1},\qquad \lambda = \frac{\nu\,(1 - A_2/q)}{\nu - 2},\qquad
    F = \lambda\,\hat\beta'L'(L\Phi_AL')^{-1}L\hat\beta/q \sim F(q, \nu).

**Cost.** Everything is computed on the scale sigma = 1 through the q random effects. P and Q need matrices of n x p
and q x p. The traces need :math:`N = Z'\Omega^{-1}Z`, which couples only random effects that share rows, directly or
through others: it is found by solving for one column of each connected group of random effects at a time, and stored in
q x m numbers, m the size of the largest group: the number of columns where there is one grouping factor, q where
factors are crossed. That and the m solves are the limit, see :data:`LARGEST`: 40,000 random effects of one factor
take 0.2 s, 4,100 of two crossed factors (73,421 rows) a minute.

Source: Kenward and Roger (1997), *Biometrics* 53; the computation is set out in Halekoh and Hojsgaard (2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import NotAvailableError
from refglmm.fit.arrays import freeze_arrays
from refglmm.inference.marginal_slopes import MarginalAlgebra
from refglmm.inference.satterthwaite import pseudo_inverse

if TYPE_CHECKING:
    from refglmm.covariance.base import Structure
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

#: Largest number of elements of N that is formed (400 MB, and a few times that while it is used).
LARGEST = 50_000_000
#: |nu - 2| below this: the scale of F is taken as 1.
NEAR_TWO = 0.01


@dataclass(frozen=True)
class KenwardRoger:
    """Both covariance matrices, and what the degrees of freedom are made of.

    Attributes
    ----------
    covariance, adjusted : float array, shape (p, p)
        Phi and Phi_A.
    P : float array, shape (r, p, p)
        For each gamma, residual variance first; on the scale sigma = 1, like W.
    W : float array, shape (r, r)
    sigma2 : float
    """

    covariance: FloatArray
    adjusted: FloatArray
    P: FloatArray
    W: FloatArray
    sigma2: float

    def scaled_f(self, L: FloatArray) -> tuple[float, float]:
        """Denominator degrees of freedom and scale lambda of F for the hypothesis L beta = 0, rows independent."""
        q, Phi = len(L), self.covariance / self.sigma2
        Theta = L.T @ np.linalg.solve(L @ Phi @ L.T, L)
        M = np.einsum("ab,ibc->iac", Theta @ Phi, self.P @ Phi)
        trace = np.einsum("iaa->i", M)
        A1 = float(trace @ self.W @ trace)
        A2 = float(np.einsum("ij,iab,jba->", self.W, M, M, optimize=True))
        return _scaled_f(A1, A2, q)


def _scaled_f(A1: float, A2: float, q: int) -> tuple[float, float]:
    """Degrees of freedom and scale from the two sums."""
    B = (A1 + 6.0 * A2) / (2.0 * q)
    g = ((q + 1.0) * A1 - (q + 4.0) * A2) / ((q + 2.0) * A2)
    d = 3.0 * q + 2.0 * (1.0 - g)
    c1, c2, c3 = g / d, (q - g) / d, (q + 2.0 - g) / d
    ratio = _ratio(1.0 - A2 / q, 1.0 - c2 * B)
    rho = ratio**2 / q * (1.0 + c1 * B) / (1.0 - c3 * B)
    nu = 4.0 + (q + 2.0) / (q * rho - 1.0)
    scale = 1.0 if abs(nu - 2.0) < NEAR_TWO else nu * (1.0 - A2 / q) / (nu - 2.0)
    return nu, scale


def _ratio(a: float, b: float) -> float:
    """a / b, and 1 where both vanish: there two poles cancel."""
    return 1.0 if abs(a) < 1e-14 and abs(b) < 1e-14 else a / b


def linear_components(structure: Structure) -> FloatArray:
    """The matrices that the covariance matrix of a term is a linear combination of, shape (r, k, k).

    Raises
    ------
    NotAvailableError
        For all others but us and diag, where the covariances are products or powers of parameters.
    """
    k = structure.k
    if structure.name == "diag" or k == 1:
        each = np.zeros((k, k, k))
        each[np.arange(k), np.arange(k), np.arange(k)] = 1.0
        return each.sum(axis=0, keepdims=True) if structure.hom else each
    if structure.name == "us":
        pairs = [(i, j) for j in range(k) for i in range(j, k)]
        out = np.zeros((len(pairs), k, k))
        for m, (i, j) in enumerate(pairs):
            out[m, i, j] = out[m, j, i] = 1.0
        return out
    raise NotAvailableError(
        f"Kenward and Roger's method needs a variance that is linear in its parameters; the {structure.name} structure "
        "is not. Use 'satterthwaite'"
    )


def connected_columns(algebra: MarginalAlgebra) -> NDArray[np.int64]:
    """For each random effect its place within the group of those it is connected with through rows."""
    from scipy.sparse.csgraph import connected_components

    pattern = abs(algebra.Zt)
    _, group = connected_components(pattern @ pattern.T, directed=False)
    order = np.argsort(group, kind="stable")
    first = np.searchsorted(group[order], group[order])
    place = np.empty(group.size, dtype=np.int64)
    place[order] = np.arange(group.size) - first
    return place


class Pieces:
    """P, Q and the traces of one fit, gamma in the order (residual, then term by term), on the scale sigma = 1."""

    def __init__(self, fit: FittedModel) -> None:
        self.algebra = algebra = MarginalAlgebra(fit)
        self.components = [(t, E) for t, s in enumerate(fit.structures) for E in linear_components(s)]
        self.place = connected_columns(algebra)
        width = int(self.place.max(initial=0)) + 1
        if self.place.size * width > LARGEST:
            raise NotAvailableError(
                f"Kenward and Roger's method would need a matrix of {self.place.size} x {width} for these connected "
                "random effects; use 'satterthwaite'",
                rows=self.place.size,
                columns=width,
            )

    def times_component(self, i: int, B: FloatArray) -> FloatArray:
        """E_i B: the levels of one term mixed by its component, zero for the other terms."""
        t, E = self.components[i]
        return self.algebra.level_products([E if s == t else 0.0 * T for s, T in enumerate(self.algebra.factors)], B)

    def fixed_parts(self) -> tuple[FloatArray, FloatArray]:
        """P, shape (r, p, p), and Q, shape (r, r, p, p)."""
        algebra, r = self.algebra, len(self.components) + 1
        E = algebra.whitened(algebra.X)
        w = algebra.weights[:, None]
        twice = algebra.whitened(E)
        G, GW = algebra.random_cross(algebra.X), algebra.random_cross(E)
        EG = [self.times_component(i, G) for i in range(r - 1)]
        NEG = [algebra.random_products(B) for B in EG]
        p = G.shape[1]
        P, Q = np.empty((r, p, p)), np.empty((r, r, p, p))
        P[0], Q[0, 0] = -E.T @ (w * E), E.T @ (w * twice)
        for i in range(1, r):
            P[i] = -G.T @ EG[i - 1]
            Q[i, 0] = EG[i - 1].T @ GW
            Q[0, i] = Q[i, 0].T
            for j in range(1, r):
                Q[i, j] = EG[i - 1].T @ NEG[j - 1]
        return P, Q

    def traces(self) -> FloatArray:
        r"""tr(V^-1 V_i V^-1 V_j), shape (r, r).

        With K = H^-1, and S the matrix that takes one column of every group at a time: for two components the sum of
        the products of :math:`E_iNS` and :math:`NE_jS`; for the residual :math:`n - q + |K|^2` and
        :math:`tr(N^{(2)}E_j)`, :math:`N^{(2)} = Z'\Omega^{-1}W^{-1}\Omega^{-1}Z`.
        """
        algebra, r, q = self.algebra, len(self.components) + 1, self.place.size
        S = np.zeros((q, int(self.place.max(initial=0)) + 1))
        S[np.arange(q), self.place] = 1.0
        K, N = algebra.fit.conditional.factor.solve(S), algebra.random_products(S)
        twice = self._squared(S, K)
        out = np.empty((r, r))
        out[0, 0] = np.sum(algebra.weights > 0) - q + np.sum(K * K)
        right = [self.times_component(j, S) for j in range(r - 1)]
        mixed = [algebra.random_products(B) for B in right]
        left = [self.times_component(i, N) for i in range(r - 1)]
        for i in range(1, r):
            out[i, 0] = out[0, i] = float(np.sum(right[i - 1] * twice))
            for j in range(1, r):
                out[i, j] = float(np.sum(left[i - 1] * mixed[j - 1]))
        return out

    def _squared(self, S: FloatArray, K: FloatArray) -> FloatArray:
        """N2 S for N2 = Z' Omega^-1 W^-1 Omega^-1 Z = N (I - Lambda H^-1 Lambda' Z'WZ)."""
        algebra = self.algebra
        v = algebra.fit.conditional.factor.solve(algebra.Lambdat_times(algebra.ZtWZ @ S))
        return algebra.random_products(S - algebra.Lambda_times(v))


def kenward_roger(fit: FittedModel) -> KenwardRoger:
    """Compute both covariance matrices and the pieces of the degrees of freedom.

    Raises
    ------
    NotAvailableError
        Not fitted by REML; a structure whose covariances are not linear in its parameters; too many connected
        random effects.
    """
    if not fit.reml:
        raise NotAvailableError("Kenward and Roger's method is for REML fits; fit with lmer(..., reml=True)")
    pieces = Pieces(fit)
    P, Q = pieces.fixed_parts()
    traces = pieces.traces()
    Phi, r = pieces.algebra.covariance_basis(), len(P)
    PPhi = P @ Phi
    information = np.empty((r, r))
    for i in range(r):
        for j in range(r):
            information[i, j] = traces[i, j] - 2.0 * np.sum(Phi * Q[i, j].T) + np.sum(PPhi[i] * PPhi[j].T)
    W = 2.0 * pseudo_inverse(0.5 * (information + information.T))
    excess = np.einsum("ij,ijab->ab", W, Q) - np.einsum("ij,iab,jbc->ac", W, PPhi, P, optimize=True)
    adjusted = Phi + 2.0 * Phi @ (0.5 * (excess + excess.T)) @ Phi
    sigma2 = fit.sigma**2
    result = KenwardRoger(sigma2 * Phi, sigma2 * adjusted, P, W, sigma2)
    freeze_arrays(result)
    return result
