r"""Adaptive Gauss-Hermite quadrature for one scalar random effect per group, with its exact gradient.

Place in the reading order: after ``laplace``.

Groups are independent. With mode u~_j, curvature H_j and s_j = H_j^{-1/2}, nodes u_jk = u~_j + s_j z_k and
:math:`g_j(u) = \sum_{i \in j} l_i - u^2/2`,

.. math:: D = -2 \sum_j \Big[\log s_j + \log \sum_k \omega_k \exp\{\tfrac12 z_k^2 + g_j(u_{jk})\}\Big]

One node gives Laplace. Since every node contributes l_i with all constants, D is comparable between any number of
nodes and with a GLM. (lme4 2.1-0 puts unit deviances here for k > 1; see ``lme4_walk``.)

Gradient. With node probabilities pi_jk, :math:`A_j = \sum_k \pi_{jk} g_j'(u_{jk})` and
:math:`B_j = \sum_k \pi_{jk} g_j'(u_{jk}) s_j z_k` (how the sum feels the nodes move and spread),

.. math:: dD = -2\sum_{jk} \pi_{jk}\,\partial g_j(u_{jk}) - 2\sum_j A_j\,d\tilde u_j + \sum_j (1 + B_j)\,d\log H_j

so the implicit part is the Laplace gradient with log H_j weighted by 1 + B_j and -2 A_j added to c.

Source: Pinheiro and Chao (2006); node movement as in Stringer (2024).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refglmm._jit import kernel
from refglmm.errors import NotAvailableError
from refglmm.families.kernel import ALL, H_PHI, L_PHI, S_PHI, W_PHI, H, L, S
from refglmm.likelihood.laplace import LaplaceObjective
from refglmm.likelihood.pirls import Pirls
from refglmm.likelihood.quadrature import gh_rule

FloatArray = NDArray[np.float64]


@kernel
def node_predictor(fixed, group, z, b, eta):
    """eta at one node of every group: fixed_i + z_i b_j(i); filled in place."""
    for i in range(eta.size):
        eta[i] = fixed[i] + z[i, 0] * b[group[i, 0]]


@kernel
def group_sums(group, rows, out):
    """Sum ``rows`` over the observations of each group; filled in place."""
    out[:] = 0.0
    for i in range(rows.size):
        out[group[i, 0]] += rows[i]


@kernel
def group_scores(group, z, s, out):
    """Z's: sum of z_i s_i over the observations of each group; filled in place."""
    out[:] = 0.0
    for i in range(s.size):
        out[group[i, 0]] += z[i, 0] * s[i]


@kernel
def add_node(group, z, l, s, T, mode, spread, z_k, w_k, g_mode, m, scores, mass, A, B, direct_T, mean_score):  # noqa: E741
    """Add one node of every group to the sums (see ``_sum_nodes``); ``m`` receives its mass in each group.

    A node outside the domain of the link has mass zero, and its scores count nothing.
    """
    group_sums(group, l, m)
    group_scores(group, z, s, scores)
    for j in range(m.size):
        u = mode[j] + spread[j] * z_k
        m[j] = w_k * np.exp(0.5 * z_k * z_k + m[j] - 0.5 * u * u - g_mode[j])
        if m[j] != 0.0:
            slope = T * scores[j] - u
            mass[j] += m[j]
            A[j] += m[j] * slope
            B[j] += m[j] * slope * spread[j] * z_k
            direct_T[j] += m[j] * scores[j] * u
    for i in range(s.size):
        if m[group[i, 0]] != 0.0:
            mean_score[i] += m[group[i, 0]] * s[i]


class AdaptiveQuadratureObjective(LaplaceObjective):
    """D(psi) by k-node adaptive Gauss-Hermite quadrature; same interface as :class:`LaplaceObjective`.

    Raises
    ------
    NotAvailableError
        If the model has more than one random-effects column or term.
    """

    name = "AGQ"

    def __init__(self, pirls: Pirls, n_agq: int, curvature: str = "observed") -> None:
        problem = pirls.problem
        if problem.layout.k.size != 1 or problem.layout.k[0] != 1:
            raise NotAvailableError(
                f"n_agq={n_agq} needs a single scalar random-effects term such as (1 | g); "
                "use n_agq=1 (Laplace) for this model",
                n_agq=n_agq,
            )
        super().__init__(pirls, curvature)
        self.rule = gh_rule(n_agq)
        self._eta = np.empty(problem.n)
        self._out = np.empty((6, problem.n))

    def _integral(self) -> float:
        laplace = super()._integral()
        self._sum_nodes()
        return laplace - 2.0 * float(np.log(self._mass).sum())

    def _spread(self) -> FloatArray:
        """s_j = H_j^{-1/2}."""
        lay, pirls = self.problem.layout, self.pirls
        return 1.0 / np.sqrt(pirls.H[lay.diagonal])

    def _sum_nodes(self) -> None:
        """Node sums relative to the mode: mass_j = sum_k m_jk, and the m-weighted sums of the gradient."""
        problem, pirls, family = self.problem, self.pirls, self.problem.family
        index, z = problem.layout.index, problem.layout.z
        n, q = problem.n, problem.q
        s, scores, m, g_mode = self._spread(), np.empty(q), np.empty(q), np.empty(q)
        pirls.observe_log_density()
        group_sums(index, pirls.out[L], g_mode)
        g_mode -= 0.5 * pirls.u**2
        self._mass, self._A, self._B, self._direct_T = np.zeros((4, q))
        self._mean_score, self._mean_phi = np.zeros(n), np.zeros((problem.n_phi, q))
        shape = np.empty((4, n))
        for z_k, w_k in zip(self.rule.z, self.rule.w, strict=True):
            node_predictor(pirls.fixed, index, z, pirls.T[0] * (pirls.u + s * z_k), self._eta)
            family.observe(problem.y, self._eta, problem.weights, problem.base, pirls.phi, ALL, self._out)
            add_node(
                index,
                z,
                self._out[L],
                self._out[S],
                pirls.T[0],
                pirls.u,
                s,
                z_k,
                w_k,
                g_mode,
                m,
                scores,
                self._mass,
                self._A,
                self._B,
                self._direct_T,
                self._mean_score,
            )
            for j in range(problem.n_phi):
                family.observe_shape(problem.y, self._eta, problem.weights, pirls.phi, j, shape)
                shape[L_PHI, (m == 0.0)[index[:, 0]]] = 0.0
                group_sums(index, shape[L_PHI], scores)
                self._mean_phi[j] += m * scores

    def _to_difference(self, psi: FloatArray) -> FloatArray:
        """The whole gradient, with new node sums."""
        self._sum_nodes()
        return self._gradient(psi)

    def exact_curvature(self, psi: FloatArray, basis: FloatArray) -> FloatArray:
        """What differences of :meth:`gradient_nearby` leave out of the Hessian: nothing."""
        return np.zeros((psi.size, psi.size))

    def _gradient(self, psi: FloatArray) -> FloatArray:
        """dD/dpsi from the state of PIRLS and the node sums."""
        problem, pirls = self.problem, self.pirls
        group = problem.layout.index[:, 0]
        z = problem.layout.z[:, 0]
        T = pirls.T[0]
        weight = 1.0 + self._B / self._mass
        _, t = pirls.use_curvature(self.curvature)
        C, H_group = pirls.C[: problem.q], pirls.H[problem.layout.diagonal]
        v = (weight / H_group)[group] * (z * T) ** 2
        tv = t * v
        c, zts = np.empty(problem.q), np.empty(problem.q)
        group_scores(problem.layout.index, problem.layout.z, tv, c)
        a = self._observed_factor().solve(T * c - 2.0 * self._A / self._mass)
        implicit = tv - pirls.out[H] * (z * T * a[group])
        group_scores(problem.layout.index, problem.layout.z, implicit, c)
        group_scores(problem.layout.index, problem.layout.z, pirls.out[S], zts)
        d_T = np.array(
            [
                -2.0 * np.sum(self._direct_T / self._mass)
                + np.sum(c * pirls.u)
                + 2.0 * T * np.sum(weight * C / H_group)
                + np.sum(zts * a)
            ]
        )
        r = -2.0 * self._mean_score / self._mass[group] + implicit
        gradient_phi = self._phi_gradient(v, z * T * a[group])
        par = problem.split(psi)[0]
        return np.concatenate([problem.chain_to_par(par, d_T), problem.X.T @ r, gradient_phi])

    def _phi_gradient(self, v: FloatArray, Ma: FloatArray) -> FloatArray:
        """dD/dlog phi: node averages of dl/dphi, the implicit part as in Laplace."""
        problem, pirls = self.problem, self.pirls
        row = H_PHI if self.curvature == "observed" else W_PHI
        shape = np.empty((4, problem.n))
        gradient, scale = np.empty(problem.n_phi), problem.shape_slope(pirls.phi)
        for j in range(problem.n_phi):
            problem.family.observe_shape(problem.y, pirls.eta, problem.weights, pirls.phi, j, shape)
            slope = -2.0 * np.sum(self._mean_phi[j] / self._mass) + v @ shape[row] + Ma @ shape[S_PHI]
            gradient[j] = scale[j] * slope
        return gradient
