r"""The profiled deviance and REML criterion of a linear mixed model, with exact gradients.

Place in the reading order: after ``agq``. beta and sigma are profiled out; the only argument is par.

With W = diag(weights), :math:`H = \Lambda'Z'WZ\Lambda + I = LL'`, R'R the Schur complement of X, and pwrss the
minimum of :math:`|W^{1/2}(y - o - X\beta - Z\Lambda u)|^2 + |u|^2`,

.. math::
    D_{ML} &= \log|H| - \sum\log w + n[1 + \log(2\pi\,pwrss/n)] \\
    D_{REML} &= \log|H| + 2\sum\log R_{ii} - \sum\log w + (n-p)[1 + \log(2\pi\,pwrss/(n-p))]

Gradient, as dD/dT_t summed over levels (chained to par by the structure):

.. math::
    d\log|H| &= 2\,tr(H^{-1} d\Lambda' C \Lambda) \\
    d\,pwrss &= -2 (Z'Wr)' d\Lambda\,u \quad\text{(u, beta are stationary)} \\
    d\log|R'R| &= -2\,tr(Q^{-1} G' d\Lambda K),\quad K = H^{-1}\Lambda'Z'WX,\; G = Z'WX - C\Lambda K,\; Q = R'R

Everything is in q-space: Z'WZ, Z'WX, Z'Wy are formed once, so an evaluation does not touch the rows.

Source: Bates, Maechler, Bolker and Walker (2015), sections 3.4 to 3.7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from refglmm._jit import kernel
from refglmm.errors import NotPositiveDefiniteError
from refglmm.likelihood import layout as rows
from refglmm.likelihood.pirls import solve_normal
from refglmm.likelihood.problem import Problem
from refglmm.likelihood.state import Mode

FloatArray = NDArray[np.float64]

#: Share of y'Wy below which pwrss is computed from the residuals.
CANCELLED = 1e-4
#: Share of the size of the data below which pwrss is rounding.
EXACT = 1e-26


@kernel
def blocks_times(C, block_start, block_row, block_col, k, row_of, col_of, x, out):
    """C x for the symmetric block matrix C = Z'WZ, of which the lower block triangle is stored."""
    out[:] = 0.0
    for block in range(block_start.size):
        m, mm = k[block_row[block]], k[block_col[block]]
        position = block_start[block]
        row, col = row_of[block], col_of[block]
        for c in range(m):
            for d in range(mm):
                value = C[position + c * mm + d]
                out[row + c] += value * x[col + d]
                if row != col:
                    out[col + d] += value * x[row + c]


def _block_corners(problem: Problem) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First row and first column of each block within the q x q matrix."""
    lay = problem.layout
    column = np.repeat(np.arange(lay.q), np.diff(lay.indptr))
    last_column = lay.block_start + (lay.k[lay.block_row] - 1) * lay.k[lay.block_col]
    position = lay.where[last_column]  # element (m - 1, 0) is always in the lower triangle
    row = lay.indices[position].astype(np.int64) - (lay.k[lay.block_row] - 1)
    return row, column[position].astype(np.int64)


class ProfiledLinear:
    """D(par) of a linear mixed model; REML if ``reml``.

    ``sigma``, ``beta`` and ``u`` hold the profiled values of the last evaluation.
    """

    def __init__(self, problem: Problem, reml: bool, engine: str = "auto") -> None:
        self.problem, self.reml = problem, reml
        self.name = "REML" if reml else "ML"
        self.factor: Any = problem.layout.make_factor(engine)
        lay, q, p = problem.layout, problem.q, problem.p
        w = problem.weights
        self.C = np.zeros(lay.n_block_values)
        rows.accumulate_blocks(w, lay.z, lay.start, lay.k, self.C)
        self.ZtWX, self.XtWX = np.zeros((q, p)), np.zeros((p, p))
        rows.weighted_fixed_cross(lay.index, lay.z, w, problem.X, self.ZtWX, self.XtWX)
        # work with the residual of the weighted least-squares fit, so that pwrss loses no digits
        root_w = np.sqrt(w)
        response = problem.y - problem.offset
        self.beta_ls = np.linalg.lstsq(root_w[:, None] * problem.X, root_w * response, rcond=None)[0]
        self.residual_ls = residual = response - problem.X @ self.beta_ls
        self.ytWy = float(residual @ (w * residual))
        self.XtWy = problem.X.T @ (w * residual)
        self.ZtWy = np.zeros(q)
        rows.transpose_times(lay.index, lay.z, w * residual, self.ZtWy)
        used = w > 0
        self.n = int(used.sum())
        self.sum_log_w = float(np.log(w[used]).sum())
        self.H = np.zeros(lay.nnz)
        self.corners = _block_corners(problem)
        self.last_error: Exception | None = None

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
            return self._evaluate(par)
        except NotPositiveDefiniteError as error:
            self.last_error = error
            return np.inf

    def _evaluate(self, par: FloatArray) -> float:
        problem, lay = self.problem, self.problem.layout
        self.T = problem.term_factors(par)
        rows.scale_blocks(
            self.C, lay.block_start, lay.block_row, lay.block_col, lay.k, self.T, lay.T_start, lay.where, self.H
        )
        rows.add_identity(self.H, lay.diagonal)
        self.factor.refactor(self.H)
        LtZtWX, LtZtWy = np.empty_like(self.ZtWX), np.empty_like(self.ZtWy)
        rows.lambda_transpose_matrix(self.T, lay.T_start, lay.k, lay.levels, self.ZtWX, LtZtWX)
        rows.lambda_transpose_times(self.T, lay.T_start, lay.k, lay.levels, self.ZtWy, LtZtWy)
        self.rzx, c_u = self.factor.solve_L(LtZtWX), self.factor.solve_L(LtZtWy)
        try:
            self.rx = np.ascontiguousarray(np.linalg.cholesky(self.XtWX - self.rzx.T @ self.rzx).T)
        except np.linalg.LinAlgError as error:
            raise NotPositiveDefiniteError("the fixed-effects columns are collinear; drop one of them") from error
        self.beta_shift = solve_normal(self.rx, self.XtWy - self.rzx.T @ c_u)
        c_beta = self.rx @ self.beta_shift
        self.pwrss = self.ytWy - float(c_u @ c_u) - float(c_beta @ c_beta)
        self.u = self.factor.solve_Lt(c_u - self.rzx @ self.beta_shift)
        self.ZtWr: FloatArray | None = None
        if self.pwrss < CANCELLED * self.ytWy:
            self._refine()
        self.logdet_L2 = self.factor.logdet()
        self.logdet_RX2 = 2.0 * float(np.log(np.diag(self.rx)).sum())
        return self.criterion(self.reml)

    def _refine(self) -> None:
        """One step of iterative refinement of (u, beta), and pwrss from the residuals themselves.

        Where the random effects take up almost all of the variance, y'Wy minus what is explained cancels.
        """
        problem, weights = self.problem, self.problem.weights
        residual = self._residual()
        self.ZtWr = self._transpose_times(weights * residual)
        lay, g_u = problem.layout, np.empty(problem.q)
        rows.lambda_transpose_times(self.T, lay.T_start, lay.k, lay.levels, self.ZtWr, g_u)
        c_u = self.factor.solve_L(g_u - self.u)
        d_beta = solve_normal(self.rx, problem.X.T @ (weights * residual) - self.rzx.T @ c_u)
        self.u = self.u + self.factor.solve_Lt(c_u - self.rzx @ d_beta)
        self.beta_shift = self.beta_shift + d_beta
        residual = self._residual()
        self.ZtWr = self._transpose_times(weights * residual)
        self.pwrss = float(residual @ (weights * residual)) + float(self.u @ self.u)

    def _residual(self) -> FloatArray:
        """y - o - X beta - Z Lambda u at the current (beta, u)."""
        problem, lay = self.problem, self.problem.layout
        b, fitted = np.empty(lay.q), np.empty(problem.n)
        rows.lambda_times(self.T, lay.T_start, lay.k, lay.levels, self.u, b)
        rows.linear_predictor(problem.X @ self.beta_shift, lay.index, lay.z, b, fitted)
        return self.residual_ls - fitted

    def _transpose_times(self, s: FloatArray) -> FloatArray:
        """Z's."""
        out = np.empty(self.problem.q)
        rows.transpose_times(self.problem.layout.index, self.problem.layout.z, s, out)
        return out

    @property
    def fits_exactly(self) -> bool:
        """Whether nothing but rounding is left over at the last evaluation: the likelihood is then unbounded."""
        size = float(np.sum(self.problem.weights * self.problem.y**2))
        return self.pwrss <= EXACT * max(size, self.ytWy)

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
        return self.beta_ls + self.beta_shift

    def _blocks_times(self, x: FloatArray) -> FloatArray:
        lay = self.problem.layout
        out = np.empty(lay.q)
        blocks_times(self.C, lay.block_start, lay.block_row, lay.block_col, lay.k, *self.corners, x, out)
        return out

    def gradient_nearby(self, psi: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """The gradient as a function that may be differenced at ``psi``: here simply the gradient."""
        return lambda x: self.value_and_gradient(x)[1]

    def value_and_gradient(self, par: FloatArray) -> tuple[float, FloatArray]:
        """D(par) and dD/dpar."""
        value = self.value(par)
        if not np.isfinite(value):
            return value, np.full(par.size, np.nan)
        lay = self.problem.layout
        S_blocks, A = np.zeros(lay.n_block_values), np.zeros(lay.T_size)
        rows.unscale_blocks(
            self.factor.selected_inverse(),
            lay.block_start,
            lay.block_row,
            lay.block_col,
            lay.k,
            self.T,
            lay.T_start,
            lay.where,
            self.C,
            S_blocks,
            A,
        )
        d_T = 2.0 * A
        b = np.empty(lay.q)
        rows.lambda_times(self.T, lay.T_start, lay.k, lay.levels, self.u, b)
        ZtWr = self.ZtWr
        if ZtWr is None:
            ZtWr = self.ZtWy - self.ZtWX @ self.beta_shift - self._blocks_times(b)
        scaled = -2.0 * self.degrees / self.pwrss * ZtWr
        rows.level_outer(lay.k, lay.T_start, lay.levels, scaled, self.u, d_T)
        if self.reml:
            self._add_fixed_logdet(d_T)
        return value, self.problem.chain_to_par(par, d_T)

    def _add_fixed_logdet(self, d_T: FloatArray) -> None:
        """Add d log|R'R| / dT: -2 G Q^-1 K' summed over levels, one column of G R^-1 and K R^-1 at a time."""
        lay = self.problem.layout
        K = self.factor.solve_Lt(self.rzx)
        K_R = solve_triangular(self.rx, K.T, trans="T", check_finite=False).T
        ZtWX_R = solve_triangular(self.rx, self.ZtWX.T, trans="T", check_finite=False).T
        b = np.empty(lay.q)
        for j in range(self.problem.p):
            column = np.ascontiguousarray(K_R[:, j])
            rows.lambda_times(self.T, lay.T_start, lay.k, lay.levels, column, b)
            G = -2.0 * (ZtWX_R[:, j] - self._blocks_times(b))
            rows.level_outer(lay.k, lay.T_start, lay.levels, G, column, d_T)

    def mode(self, par: FloatArray) -> Mode:
        """The consistent state at par; s, w, h are on the scale sigma = 1."""
        self._evaluate(par)
        problem, lay = self.problem, self.problem.layout
        b = np.empty(lay.q)
        rows.lambda_times(self.T, lay.T_start, lay.k, lay.levels, self.u, b)
        eta = np.empty(problem.n)
        rows.linear_predictor(problem.offset + problem.X @ self.beta, lay.index, lay.z, b, eta)
        residual = problem.y - eta
        wrss = float(residual @ (problem.weights * residual))
        gradient = np.empty(lay.q)
        ZtWr = np.empty(lay.q)
        rows.transpose_times(lay.index, lay.z, problem.weights * residual, ZtWr)
        rows.lambda_transpose_times(self.T, lay.T_start, lay.k, lay.levels, ZtWr, gradient)
        return Mode(
            u=self.u.copy(),
            b=b,
            eta=eta,
            mu=eta.copy(),
            s=problem.weights * residual,
            w=problem.weights.copy(),
            h=problem.weights.copy(),
            factor=self.factor.copy(),
            logdet_L2=self.logdet_L2,
            rx=self.rx.copy(),
            rzx=self.rzx.copy(),
            log_density=-0.5 * wrss,
            penalty=float(self.u @ self.u),
            deviance=wrss,
            curvature="expected",
            iterations=1,
            halvings=0,
            residual=float(np.max(np.abs(gradient - self.u), initial=0.0)),
        )
