r"""The profiled deviance and REML criterion of a linear mixed model, with exact gradients.

Place in the reading order: after ``profiled_kernels``. beta and sigma are profiled out; the only argument is par.

With W = diag(weights), :math:`H = \Lambda'Z'WZ\Lambda + I = LL'`, R'R the Schur complement of X, and pwrss the
minimum of :math:`|W^{1/2}(y - o - X\beta - Z\Lambda u)|^2 + |u|^2`,

.. math::
    D_{ML} &= \log|H| - \sum\log w + n[1 + \log(2\pi\,pwrss/n)] \\
    D_{REML} &= \log|H| + 2\sum\log R_{ii} - \sum\log w + (n-p)[1 + \log(2\pi\,pwrss/(n-p))]

**An orthogonal basis.** Inside, :math:`W^{1/2}X = Q R_X` stands for X, and the residual r of weighted least squares
for y, so that neither collinear columns nor a large mean cost digits: the Schur complement of Q is between 0 and I.
Outside, :math:`\beta = R_X^{-1}\gamma` and :math:`R R_X` are those of X. Where X has a constant column,
the mean of y is taken out first.

**Gradient**, as dD/dT_t summed over levels (chained to par by the structure). Profiling turns the columns of [Q, r]
into columns a that are orthogonal under :math:`V^{-1}`, :math:`V = I + W^{1/2}Z\Lambda\Lambda'Z'W^{1/2}`. With
:math:`v = H^{-1}\Lambda'Z'W^{1/2}a` and :math:`g = Z'W^{1/2}(a - W^{1/2}Z\Lambda v)`,

.. math::
    d\log|H| = 2\,tr(H^{-1} d\Lambda' C \Lambda),\qquad d\,(a'V^{-1}a) = -2\,g'\,d\Lambda\,v,

which holds for pwrss (the last column; there v = u) and, with the others scaled to length 1, for each
:math:`\log R_{jj}^2`.

Everything is in q-space: Z'WZ and Z'W[Q, r] are formed once, so an evaluation does not touch the rows.

Source: Bates, Maechler, Bolker and Walker (2015), sections 3.4 to 3.7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import NotPositiveDefiniteError
from refglmm.likelihood import layout as rows
from refglmm.likelihood import profiled_kernels as kernels
from refglmm.likelihood.pirls import solve_normal
from refglmm.likelihood.problem import Problem
from refglmm.likelihood.state import Mode

FloatArray = NDArray[np.float64]

#: Share of y'Wy below which pwrss is computed from the residuals.
CANCELLED = 1e-4
#: Share of the size of the data below which pwrss is rounding.
EXACT = 1e-26


def _block_corners(problem: Problem) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First row and first column of each block within the q x q matrix."""
    lay = problem.layout
    column = np.repeat(np.arange(lay.q), np.diff(lay.indptr))
    last_column = lay.block_start + (lay.k[lay.block_row] - 1) * lay.k[lay.block_col]
    position = lay.where[last_column]  # element (m - 1, 0) is always in the lower triangle
    row = lay.indices[position].astype(np.int64) - (lay.k[lay.block_row] - 1)
    return row, column[position].astype(np.int64)


def orthogonal_basis(A: FloatArray) -> tuple[FloatArray, FloatArray, bool]:
    """A = QR with the diagonal of R not negative; also whether the columns of A are collinear."""
    Q, R = np.linalg.qr(A)
    signs = np.where(np.diag(R) < 0.0, -1.0, 1.0)
    Q *= signs
    R *= signs[:, None]
    length = np.sqrt(np.sum(R * R, axis=0))
    rank_deficient = R.shape[0] < R.shape[1] or bool(np.any(np.diag(R) <= np.finfo(float).eps * length))
    return Q, R, rank_deficient


def _constant_column(X: FloatArray) -> int | None:
    """First column whose entries are all the same and not zero."""
    return next((j for j in range(X.shape[1]) if X[0, j] != 0.0 and np.all(X[:, j] == X[0, j])), None)


class ProfiledLinear:
    """D(par) of a linear mixed model; REML if ``reml``.

    ``sigma``, ``beta`` and ``u`` hold the profiled values of the last evaluation, ``trace`` and ``fit`` (flat, like T)
    what its gradient was made of.
    """

    one_sided = False

    def __init__(self, problem: Problem, reml: bool, engine: str = "auto") -> None:
        self.problem, self.reml = problem, reml
        self.name = "REML" if reml else "ML"
        self.factor: Any = problem.layout.make_factor(engine)
        lay, w = problem.layout, problem.weights
        self.C = np.zeros(lay.n_block_values)
        rows.accumulate_blocks(w, lay.z, lay.start, lay.k, self.C)
        self.root_w = np.sqrt(w)
        Q, self.RX, self.collinear = orthogonal_basis(self.root_w[:, None] * problem.X)
        with np.errstate(divide="ignore"):
            self.logdet_basis2 = 2.0 * float(np.log(np.diag(self.RX)).sum())
        response = problem.y - problem.offset
        self.beta_level = np.zeros(problem.p)
        constant = _constant_column(problem.X)
        if constant is not None:  # levels cancel here without rounding, in a projection they would not
            level, level_offset = float(problem.y.mean()), float(problem.offset.mean())
            self.beta_level[constant] = (level - level_offset) / problem.X[0, constant]
            response = (problem.y - level) - (problem.offset - level_offset)
        response *= self.root_w
        self.gamma_ls = Q.T @ response
        residual = response - Q @ self.gamma_ls
        again = Q.T @ residual  # what rounding left of the basis in the residual
        self.gamma_ls += again
        residual -= Q @ again
        self.A = np.column_stack([Q, residual])
        self.AtA = self.A.T @ self.A
        self.B = np.empty((lay.q, problem.p + 1))
        rows.cross_columns(lay.index, lay.z, self.root_w, self.A, self.B)
        used = w > 0
        self.n = int(used.sum())
        self.sum_log_w = float(np.log(w[used]).sum())
        self.H = np.zeros(lay.nnz)
        self.S = np.empty(lay.n_block_values)
        self.blocks = (lay.block_start, lay.block_row, lay.block_col, lay.k)
        self.corners = _block_corners(problem)
        self.last_error: Exception | None = None
        self.evaluated: bytes | None = None
        self.differentiated = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of par."""
        return self.problem.par_names

    def parameters(self, par: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(par, beta, no phi) at par, where the objective was evaluated last."""
        return par, self.beta, np.empty(0)

    @property
    def degrees(self) -> int:
        """n for ML, n - p for REML: what pwrss is divided by."""
        return self.n - self.problem.p if self.reml else self.n

    def value(self, par: FloatArray) -> float:
        """D(par); inf where the factorisation fails."""
        try:
            self._evaluate(par)
        except NotPositiveDefiniteError as error:
            self.last_error = error
            return np.inf
        return self.criterion(self.reml)

    def _evaluate(self, par: FloatArray) -> None:
        """Factor, profile and modes at par, unless par is where the last evaluation was."""
        here = par.tobytes()
        if here == self.evaluated:
            return
        self.evaluated, self.differentiated = None, False
        if self.collinear:
            raise NotPositiveDefiniteError("the fixed-effects columns are collinear; drop one of them")
        problem, lay = self.problem, self.problem.layout
        self.T = problem.term_factors(par)
        scaled = kernels.scaled_system(
            self.C, *self.blocks, self.T, lay.T_start, lay.levels, lay.where, lay.diagonal, self.B, self.H
        )
        self.factor.refactor(self.H)
        self.c = self.factor.solve_L(scaled)
        self.R, M, self.pwrss, logdet_R2 = kernels.eliminate_fixed(self.AtA - self.c.T @ self.c)
        if np.isnan(self.pwrss):
            raise NotPositiveDefiniteError("the random effects leave nothing of a fixed-effects column")
        self.R_inverse, self.gamma = M[:-1, :-1], -M[:-1, -1]
        self.M = M if self.reml else M[:, -1:]
        self.modes = self.factor.solve_Lt(self.c @ self.M)
        self.ZtWr: FloatArray | None = None
        if self.pwrss < CANCELLED * self.AtA[-1, -1]:
            self._refine()
        self.logdet_L2 = self.factor.logdet()
        self.logdet_RX2 = logdet_R2 + self.logdet_basis2
        self.evaluated = here

    def _refine(self) -> None:
        """One step of iterative refinement of (u, gamma), and pwrss from the residuals themselves.

        Where the random effects take up almost all of the variance, r'r minus what is explained cancels.
        """
        lay, g_u = self.problem.layout, np.empty(self.problem.q)
        Q, c = self.A[:, :-1], self.c[:, :-1]
        residual = self._residual()
        rows.lambda_transpose_times(self.T, lay.T_start, lay.k, lay.levels, self._transpose_times(residual), g_u)
        c_u = self.factor.solve_L(g_u - self.u)
        d_gamma = solve_normal(self.R, Q.T @ residual - c.T @ c_u)
        self.modes[:, -1] += self.factor.solve_Lt(c_u - c @ d_gamma)
        self.gamma = self.gamma + d_gamma
        residual = self._residual()
        self.ZtWr = self._transpose_times(residual)
        kernels.stationary_products(self.T, lay.T_start, lay.k, lay.levels, self.u, self.ZtWr)
        self.pwrss = float(residual @ residual) + float(self.u @ self.u)

    def _residual(self) -> FloatArray:
        """W^1/2 (y - o - X beta - Z Lambda u) at the current (gamma, u)."""
        problem, lay = self.problem, self.problem.layout
        Zb = np.empty(problem.n)
        rows.rows_times(lay.index, lay.z, self._b(), Zb)
        return self.A[:, -1] - self.A[:, :-1] @ self.gamma - self.root_w * Zb

    def _transpose_times(self, s: FloatArray) -> FloatArray:
        """Z'W^1/2 s."""
        out = np.empty(self.problem.q)
        rows.transpose_times(self.problem.layout.index, self.problem.layout.z, self.root_w * s, out)
        return out

    def _b(self) -> FloatArray:
        """Lambda u."""
        lay = self.problem.layout
        b = np.empty(lay.q)
        rows.lambda_times(self.T, lay.T_start, lay.k, lay.levels, self.u, b)
        return b

    @property
    def u(self) -> FloatArray:
        """Modes of the spherical random effects at the last evaluation."""
        return np.ascontiguousarray(self.modes[:, -1])

    @property
    def fits_exactly(self) -> bool:
        """Whether nothing but rounding is left over at the last evaluation: the likelihood is then unbounded."""
        size = float(np.sum(self.problem.weights * self.problem.y**2))
        return self.pwrss <= EXACT * max(size, self.AtA[-1, -1])

    def criterion(self, reml: bool) -> float:
        """ML deviance or REML criterion at the last evaluation (whichever of the two was optimised)."""
        nu = self.n - self.problem.p if reml else self.n
        value = self.logdet_L2 - self.sum_log_w + nu * (1.0 + np.log(2.0 * np.pi * self.pwrss / nu))
        return value + self.logdet_RX2 if reml else value

    @property
    def sigma(self) -> float:
        """Residual standard deviation of the last evaluation."""
        return float(np.sqrt(self.pwrss / self.degrees))

    @property
    def beta(self) -> FloatArray:
        """Fixed effects of the last evaluation."""
        return self.beta_level + np.linalg.solve(self.RX, self.gamma_ls + self.gamma)

    @property
    def mode_here(self) -> tuple[FloatArray, ...]:
        """Nothing has to be kept to come back to a point: the modes follow from theta."""
        return ()

    def resume(self, start: tuple[FloatArray, ...]) -> None:
        """See :attr:`mode_here`."""

    def gradient_nearby(self, psi: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """The gradient as a function that may be differenced at ``psi``: here simply the gradient."""
        return lambda x: self.value_and_gradient(x)[1]

    def exact_curvature(self, psi: FloatArray, basis: FloatArray) -> FloatArray:
        """What differences of :meth:`gradient_nearby` leave out of the Hessian: nothing."""
        return np.zeros((psi.size, psi.size))

    def value_and_gradient(self, par: FloatArray) -> tuple[float, FloatArray]:
        """D(par) and dD/dpar."""
        value = self.value(par)
        if not np.isfinite(value):
            return value, np.full(par.size, np.nan)
        self._differentiate()
        d_T = 2.0 * (self.trace - self.degrees / self.pwrss * self.fit)
        return value, self.problem.chain_to_par(par, d_T)

    def _differentiate(self) -> None:
        r"""``trace`` and ``fit``: :math:`dD = 2\langle dT, trace - \nu/pwrss\,fit\rangle`, at the last evaluation."""
        if self.differentiated:
            return
        lay = self.problem.layout
        G = self.G = kernels.residual_products(
            self.C, *self.blocks, *self.corners, self.T, lay.T_start, lay.levels, self.B @ self.M, self.modes
        )
        if self.ZtWr is not None:
            G[:, -1] = self.ZtWr
        self.trace, self.fit = kernels.slopes(
            self.factor.selected_inverse(),
            self.C,
            *self.blocks,
            self.T,
            lay.T_start,
            lay.levels,
            lay.where,
            G,
            self.modes,
            self.S,
        )
        self.differentiated = True

    def average_information(self, par: FloatArray) -> FloatArray:
        r"""The average of the observed and the expected information about par, sigma profiled out.

        With :math:`f_i = \dot V_i V^{-1}(y - X\beta)/\sqrt{pwrss}` for each parameter, P what takes out X,
        and :math:`s_i` the derivative of -log pwrss,

        .. math:: \nu\,(f_i'Pf_j - s_i s_j).

        It approximates the Hessian of D near an optimum, and needs no traces: the :math:`f_i` are projected like
        further responses.

        Source: Gilmour, Thompson and Cullis (1995).
        """
        self._evaluate(par)
        self._differentiate()
        lay, derivatives = self.problem.layout, self.problem.factor_derivatives(par)
        F = np.empty((lay.q, par.size))  # f_i = W^1/2 Z F_i
        for i, dT in enumerate(derivatives):
            F[:, i] = self._working_response(dT) / np.sqrt(self.pwrss)
        ZtWF = kernels.blocks_times(self.C, *self.blocks, *self.corners, F)
        scaled = np.empty_like(F)
        rows.lambda_transpose_matrix(self.T, lay.T_start, lay.k, lay.levels, ZtWF, scaled)
        c = self.factor.solve_L(scaled)
        fixed = self.B[:, :-1].T @ F - self.c[:, :-1].T @ c
        explained = self.R_inverse.T @ fixed
        slope = 2.0 * derivatives @ (self.fit / self.pwrss)
        inner = F.T @ ZtWF - c.T @ c - explained.T @ explained
        return self.degrees * (inner - np.outer(slope, slope))

    def _working_response(self, dT: FloatArray) -> FloatArray:
        r"""F with :math:`W^{1/2}ZF = \dot V V^{-1}(y - X\beta)`: :math:`\dot\Lambda u + \Lambda\dot\Lambda'Z'Wr`."""
        lay, forward, back, out = self.problem.layout, *np.empty((3, self.problem.q))
        rows.lambda_times(dT, lay.T_start, lay.k, lay.levels, self.u, forward)
        rows.lambda_transpose_times(dT, lay.T_start, lay.k, lay.levels, self.G[:, -1].copy(), back)
        rows.lambda_times(self.T, lay.T_start, lay.k, lay.levels, back, out)
        return forward + out

    def mode(self, par: FloatArray) -> Mode:
        """The consistent state at par; s, w, h are on the scale sigma = 1."""
        self._evaluate(par)
        problem, lay, u, b = self.problem, self.problem.layout, self.u, self._b()
        eta = np.empty(problem.n)
        rows.linear_predictor(problem.offset + problem.X @ self.beta, lay.index, lay.z, b, eta)
        residual = problem.y - eta
        wrss = float(residual @ (problem.weights * residual))
        gradient, ZtWr = np.empty(lay.q), np.empty(lay.q)
        rows.transpose_times(lay.index, lay.z, problem.weights * residual, ZtWr)
        rows.lambda_transpose_times(self.T, lay.T_start, lay.k, lay.levels, ZtWr, gradient)
        return Mode(
            u=u,
            b=b,
            eta=eta,
            mu=eta.copy(),
            s=problem.weights * residual,
            w=problem.weights.copy(),
            h=problem.weights.copy(),
            factor=self.factor.copy(),
            logdet_L2=self.logdet_L2,
            rx=self.R @ self.RX,
            rzx=self.c[:, :-1] @ self.RX,
            log_density=-0.5 * wrss,
            penalty=float(u @ u),
            deviance=wrss,
            curvature="expected",
            iterations=1,
            halvings=0,
            residual=float(np.max(np.abs(gradient - u), initial=0.0)),
        )
