r"""Adaptive Gauss-Hermite quadrature for the random effects of one grouping factor, with its exact gradient.

Place in the reading order: after ``laplace``, ``quadrature``, ``grouping``, ``node_kernels`` and ``coupled_nodes``.

Groups are independent. Let group j have q random effects u (all terms together), their factor T (b = Tu, D = TT'),
:math:`g_j(u) = \sum_{i \in j} l_i - |u|^2/2` with mode m and curvature H = -g'' there, and S a root of its inverse,
SS' = H^-1. The nodes are u_k = m + S z_k with z_k on the tensor grid of the one-dimensional rule, and

.. math:: \log L_j = \log|\det S| + \log \sum_k \omega_k \exp\{\tfrac12 |z_k|^2 + g_j(u_k)\},\quad
    D = -2 \sum_j w_j \log L_j

(w_j: group weights, 1 unless given). One node gives Laplace. Every node contributes l_i with all constants, so D is
comparable between any number of nodes and with a GLM. (lme4 2.1-0 puts unit deviances here for k > 1; ``lme4_walk``.)

For q > 1 the value depends on which root S is. Here U = TS is upper triangular: in the coordinates b the nodes then
spread by the inverse of the upper triangular root of the curvature, as in GLMMadaptive. T L^-T = UQ (with H = LL')
defines it for every T, singular ones too; the signs of its columns do not matter, because the grid is symmetric.

Gradient. With the nodes' posterior probabilities pi_k, :math:`A = \sum_k \pi_k g'(u_k)` and
:math:`B = \sum_k \pi_k g'(u_k) z_k'` say how log L_j feels the nodes move and spread:

.. math:: d\log L_j = \sum_k \pi_k\,\partial g(u_k) + A'dm + tr(B'dS) - \tfrac12\,d\log|H|

Write dS = SY and G = S'B. SS' = H^-1 gives Y + Y' = -S'dH S, and that U^-1 dU = U^-1 dT S + Y is upper triangular
gives what lies below the diagonal of Y. So with P the upper triangle of G, its diagonal halved, and
:math:`J_{cd} = G_{dc} - G_{cd}` for c > d, zero elsewhere,

.. math:: -2\,tr(B'dS) + d\log|H| = tr(\Sigma\,dH) - 2\,tr\{(U^{-\top} J S')'dT\},\quad \Sigma = S(I + P + P')S'

Sigma replaces H^-1 in the gradient of log|H| (see ``laplace``); -2A is added to c, through which the mode moves. The
first row of J is zero, so U_11 = 0 (a singular T) does no harm. All of this is formed group by group; the gradient is
the weighted sum, and the parts themselves are the scores of the groups.

A density may have several linear predictors (see ``coupled``): what runs over rows then meets each column of Z and X
with the rows of its predictor, and that is all that changes.

Source: Pinheiro and Chao (2006); node movement as in Stringer (2024); the root and its derivative are worked out here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.families.kernel import L, shape_rows
from refglmm.likelihood import node_kernels as nodes
from refglmm.likelihood.coupled import CoupledLayout
from refglmm.likelihood.coupled_nodes import CoupledNodes
from refglmm.likelihood.grouping import gathered, group_layout
from refglmm.likelihood.laplace import LaplaceObjective
from refglmm.likelihood.layout import RandomLayout
from refglmm.likelihood.pirls import Pirls
from refglmm.likelihood.quadrature import gh_rule, product_rule
from refglmm.likelihood.state import Mode

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: More nodes a group than this are refused.
MAX_NODES = 1_000_000
#: Nodes that are worked on at a time, and rows times nodes: what fits the processor's cache.
NODES_AT_A_TIME, CELLS_AT_A_TIME = 64, 16384


class Grid(NamedTuple):
    """Nodes of the standard normal density in batches: z (batches, q, B), log(omega exp(|z|^2/2)) (batches, B)."""

    z: FloatArray
    log_weight: FloatArray


def tensor_grid(order: int, q: int, at_a_time: int = NODES_AT_A_TIME) -> Grid:
    """Tensor product of the rule of ``order`` nodes in q dimensions, in batches of at most ``at_a_time`` nodes.

    The last batch is filled up with nodes of weight zero.

    Raises
    ------
    ArgumentError
        If there are more than ``MAX_NODES`` nodes.
    """
    count = gh_rule(order).z.size ** q
    if count > MAX_NODES:
        raise ArgumentError(
            f"n_agq={order} with {q} random effects a group means {order}^{q} = {count} nodes, more than {MAX_NODES}; "
            "use fewer points, or n_agq=1 (Laplace)",
            n_agq=order,
            nodes=count,
        )
    batches = -(-count // at_a_time)
    size = -(-count // batches)
    z, log_weight = np.zeros((batches * size, q)), np.full(batches * size, -np.inf)
    z[:count], log_weight[:count] = product_rule(order, q)
    z = np.ascontiguousarray(z.reshape(batches, size, q).transpose(0, 2, 1))
    return Grid(z, log_weight.reshape(batches, size))


class Block(NamedTuple):
    """A few whole groups: which of the sorted rows are theirs, which groups, and the group of each row in the block."""

    rows: slice
    groups: slice
    codes: IntArray


def blocks_of(codes: IntArray, groups: int, size: int) -> list[Block]:
    """Cut sorted rows into blocks of whole groups, of at most ``size`` rows where the groups are not larger."""
    blocks: list[Block] = []
    begin = first = 0
    while begin < codes.size:
        end, last = codes.size, groups
        if begin + size < codes.size:
            end = int(np.searchsorted(codes, codes[begin + size]))
            end = end if end > begin else int(np.searchsorted(codes, codes[begin], side="right"))
            last = int(codes[end - 1]) + 1 if end < codes.size else groups
        blocks.append(Block(slice(begin, end), slice(first, last), codes[begin:end] - first))
        begin, first = end, last
    return blocks


class NodeSums(NamedTuple):
    """Sums over the nodes of each group, relative to the mode.

    mass (groups,): sum of m; z1 (groups, q), z2 (groups, q, q), F (groups, q, q): sums of m z, m zz' and m (Z's)z';
    score (n,) or (K, n), phi (n_phi, groups): sums of m s_i and m dl/dphi.
    """

    mass: FloatArray
    z1: FloatArray
    z2: FloatArray
    F: FloatArray
    score: FloatArray
    phi: FloatArray


class AdaptiveQuadratureObjective(LaplaceObjective):
    """D(psi) by adaptive Gauss-Hermite quadrature with n_agq nodes a dimension; interface of :class:`LaplaceObjective`.

    With n_agq = 1 it is the Laplace objective of a model with one grouping factor, with its groups' scores and weights.

    Raises
    ------
    NotAvailableError
        If the terms have different grouping factors.
    ArgumentError
        If n_agq ** q nodes are too many.
    """

    name = "AGQ"
    one_sided = True

    def __init__(self, pirls: Pirls, n_agq: int, curvature: str = "observed") -> None:
        problem = pirls.problem
        self.grouping = group_layout(problem, f"n_agq={n_agq}")
        super().__init__(pirls, curvature)
        groups, q, codes = self.grouping.groups, self.grouping.q, self.grouping.codes
        self.weights = np.ones(groups) if problem.group_weights is None else problem.group_weights
        largest = int(np.max(np.bincount(codes), initial=1))
        self.grid = tensor_grid(n_agq, q, max(1, min(NODES_AT_A_TIME, CELLS_AT_A_TIME // largest)))
        batch = self.grid.log_weight.shape[1]
        self._order = np.argsort(codes, kind="stable")
        self._blocks = blocks_of(codes[self._order], groups, CELLS_AT_A_TIME // batch)
        self._sorted = [x[self._order] for x in (problem.y, problem.weights, problem.base)]
        self._z = problem.layout.z[self._order]
        most = max(block.codes.size for block in self._blocks)
        self._cells = np.empty(2 * (1 + problem.n_parts) * most * batch)
        self._T = np.zeros((q, q))
        self._mode, self._log_det = np.zeros((groups, q)), np.zeros(groups)
        self._S, self._U = np.zeros((groups, q, q)), np.zeros((groups, q, q))
        self._g_mode = np.zeros(groups)
        self._of_Z, self._of_X = row_loops(problem.layout)
        self._sums: NodeSums

    def mode(self, psi: FloatArray) -> Mode:
        """The consistent state at psi; RX is NaN where groups are weighted, of which it knows nothing."""
        mode = super().mode(psi)
        return mode if self.problem.group_weights is None else replace(mode, rx=np.full_like(mode.rx, np.nan))

    # -- the value -------------------------------------------------------------------------------------------

    def _integral(self) -> float:
        self._sum_nodes()
        value = -2.0 * float(self.weights @ self._group_log_likelihood())
        return value if np.isfinite(value) else np.inf

    def _group_log_likelihood(self) -> FloatArray:
        """log L_j from the node sums; -inf where no node of a group has mass."""
        with np.errstate(divide="ignore"):
            return self._g_mode + self._log_det + np.log(self._sums.mass)

    def _place_nodes(self) -> None:
        """Mode, root and g at the mode of each group, from the state of PIRLS."""
        pirls, at = self.pirls, self.grouping
        pirls.use_curvature(self.curvature)
        self._T, self._mode = at.dense_factor(pirls.T), pirls.u[at.position]
        nodes.curvature_roots(gathered(pirls.H, at.H_at), self._T, self._S, self._U, self._log_det)
        pirls.observe_log_density()
        self._g_mode = np.bincount(at.codes, pirls.out[L], at.groups) - 0.5 * np.sum(self._mode**2, axis=1)

    def _sum_nodes(self) -> None:
        """Place the nodes and go through them block by block.

        The scores come with the densities: they add little, and most values are followed by a gradient.
        """
        at, shape, n_phi = self.grouping, self.problem.eta_shape, self.problem.n_phi
        self._place_nodes()
        z1, z2 = np.zeros(self._mode.shape), np.zeros(self._S.shape)
        self._sums = NodeSums(np.zeros(at.groups), z1, z2, z2.copy(), np.zeros(shape), np.zeros((n_phi, at.groups)))
        eta_mode, direction = self.pirls.eta[..., self._order], np.empty((*shape, at.q))
        self._of_Z.row_directions(at.codes[self._order], self._z, self._U, direction)
        for block in self._blocks:
            eta, along = eta_mode[..., block.rows], direction[..., block.rows, :]
            self._sum_block(block, np.ascontiguousarray(eta), np.ascontiguousarray(along))
        by_group = self._sums.score.copy()
        self._sums.score[..., self._order] = by_group

    def _sum_block(self, block: Block, eta_mode: FloatArray, direction: FloatArray) -> None:
        """Add the nodes of a few groups to the sums."""
        rows, groups, codes = block
        family, phi, batch = self.problem.family, self.pirls.phi, self.grid.log_weight.shape[1]
        y, weights, base = (x[rows] for x in self._sorted)
        l, eta, s = self._node_buffers(codes.size)  # noqa: E741  the field's symbol
        mode, S_, g_mode, z_rows = self._mode[groups], self._S[groups], self._g_mode[groups], self._z[rows]
        mass, z1, z2, F = (x[groups] for x in self._sums[:4])
        score = self._sums.score[..., rows]
        m = np.empty((mass.size, batch))
        for z, log_weight in zip(*self.grid, strict=True):
            self._of_Z.node_predictor(eta_mode, direction, z, eta)
            family.observe_nodes(y, eta, weights, base, phi, l, s)
            nodes.node_masses(codes, l, z, log_weight, mode, S_, g_mode, m)
            self._of_Z.add_node_sums(codes, z_rows, s, m, z, mass, z1, z2, score, F)
            for j in range(self.problem.n_phi):
                family.observe_shape_nodes(y, eta, weights, phi, j, l)
                nodes.add_weighted(codes, l, m, self._sums.phi[j, groups])

    def _node_buffers(self, rows: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Room for l (rows, B), and for eta and s ([K,] rows, B), contiguous as the kernels want them."""
        batch, K = self.grid.log_weight.shape[1], self.problem.n_parts
        size, by_node = rows * batch, (*self.problem.eta_shape[:-1], rows, batch)
        cells, end = self._cells, (1 + K) * size
        eta, s = cells[size:end].reshape(by_node), cells[end : end + K * size].reshape(by_node)
        return cells[:size].reshape(rows, batch), eta, s

    # -- the gradient ----------------------------------------------------------------------------------------

    def _gradient(self, psi: FloatArray) -> FloatArray:
        """dD/dpsi from the state of PIRLS."""
        return self.weights @ self._group_gradients(psi)

    def _to_difference(self, psi: FloatArray) -> FloatArray:
        """The whole gradient, with new node sums."""
        self._sum_nodes()
        return self._gradient(psi)

    def exact_curvature(self, psi: FloatArray, basis: FloatArray) -> FloatArray:
        """What differences of :meth:`gradient_nearby` leave out of the Hessian: nothing."""
        return np.zeros((psi.size, psi.size))

    def _group_gradients(self, psi: FloatArray) -> FloatArray:
        """Derivatives of -2 log L_j in psi, shape (groups, psi.size), from the state of PIRLS and the node sums."""
        problem, at, pirls, z = self.problem, self.grouping, self.pirls, self.problem.layout.z
        sums, (groups, q), shape = self._sums, self._mode.shape, problem.eta_shape
        mass = sums.mass[:, None, None]
        score, zts = sums.score / sums.mass[at.codes], pirls.zts[at.position]
        mean_zts = np.empty((groups, q))
        self._of_Z.rows_by_group(at.codes, z, score, mean_zts)
        A, sigma, X = np.empty((groups, q)), np.empty((groups, q, q)), np.empty((groups, q, q))
        moments = sums.z1 / mass[:, 0], sums.z2 / mass, sums.F / mass
        nodes.node_cotangents(self._T, self._S, self._U, self._mode, mean_zts, *moments, A, sigma, X)
        weights, t = pirls.use_curvature(self.curvature)
        v, tv, ztv = np.empty(weights.shape), np.empty(shape), np.empty((groups, q))
        self._of_Z.weight_slopes(at.codes, z, self._T, sigma, t, v, tv, ztv)
        a = self._solve_observed(ztv @ self._T - 2.0 * A)
        Ma, r, ztr = np.empty(shape), np.empty(shape), np.empty((groups, q))
        self._of_Z.row_totals(at.codes, z, a @ self._T.T, score, pirls.out[pirls.rows.h], tv, Ma, r, ztr)
        d_T, C = np.empty((groups, q, q)), gathered(pirls.C, at.C_at)
        nodes.factor_gradients(C, self._T, sigma, ztr, self._mode, zts, a, X, self._S, d_T)
        slopes = problem.factor_derivatives(problem.split(psi)[0])
        d_beta = np.empty((groups, problem.p))
        self._of_X.rows_by_group(at.codes, problem.X, r, d_beta)
        return np.hstack([at.flat_factors(d_T) @ slopes.T, d_beta, self._shape_gradients(v, Ma)])

    def _solve_observed(self, c: FloatArray) -> FloatArray:
        """H_obs^-1 c in every group, shape (groups, q)."""
        flat = np.empty(self.problem.q)
        flat[self.grouping.position] = c
        return self._observed_factor().solve_rows(flat[None])[0][self.grouping.position]

    def _shape_gradients(self, v: FloatArray, Ma: FloatArray) -> FloatArray:
        """Derivatives of -2 log L_j in log phi: node averages of dl/dphi, the implicit part as in Laplace."""
        problem, at, pirls = self.problem, self.grouping, self.pirls
        where, gradients = shape_rows(problem.n_parts), np.empty((at.groups, problem.n_phi))
        row = where.h if self.curvature == "observed" else where.w
        scale = problem.shape_slope(pirls.phi)
        for j in range(problem.n_phi):
            shape = self._observe_shape(pirls.phi, j)
            moved = np.sum(np.atleast_2d(v * shape[row]), axis=0) + np.sum(np.atleast_2d(Ma * shape[where.s]), axis=0)
            implicit = np.bincount(at.codes, moved, at.groups)
            gradients[:, j] = scale[j] * (implicit - 2.0 * self._sums.phi[j] / self._sums.mass)
        return gradients

    # -- what it says about the groups -----------------------------------------------------------------------

    def group_log_likelihood(self, psi: FloatArray) -> FloatArray:
        """log L_j of each group at psi, shape (groups,), without the group weights.

        This and the next two raise PirlsError or NotPositiveDefiniteError where the mode cannot be found.
        """
        self._evaluate(psi)
        return self._group_log_likelihood()

    def group_scores(self, psi: FloatArray) -> FloatArray:
        """Derivatives of w_j log L_j in psi, shape (groups, psi.size); they sum to -1/2 of the gradient of D."""
        self._evaluate(psi)
        return -0.5 * self.weights[:, None] * self._group_gradients(psi)

    def posterior_moments(self, psi: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean (groups, q) and covariance (groups, q, q) of u given y at psi, by the same nodes.

        With one node the mean is the mode and the covariance zero: use H^-1 there.
        """
        self._evaluate(psi)
        sums, S = self._sums, self._S
        mean = sums.z1 / sums.mass[:, None]
        spread = sums.z2 / sums.mass[:, None, None] - mean[:, :, None] * mean[:, None, :]
        return self._mode + np.einsum("gcd,gd->gc", S, mean), S @ spread @ S.transpose(0, 2, 1)


def row_loops(layout: RandomLayout) -> tuple[Any, Any]:
    """The loops over rows and nodes for the columns of Z and of X: those of one predictor, or of several."""
    if isinstance(layout, CoupledLayout):
        return CoupledNodes(layout.part), CoupledNodes(layout.x_part)
    return nodes, nodes


def likelihood_objective(pirls: Pirls, n_agq: int, curvature: str = "observed") -> LaplaceObjective:
    """The objective of a fit with n_agq >= 1 points: plain Laplace for one, where nobody weights the groups."""
    if n_agq == 1 and pirls.problem.group_weights is None:
        return LaplaceObjective(pirls, curvature)
    return AdaptiveQuadratureObjective(pirls, n_agq, curvature)
