r"""lme4's PIRLS and deviance, step by step, so that its published digits can be matched.

Place in the reading order: beside ``pirls`` and ``laplace``, to be read against them. Only ``mode="lme4"`` uses it.
Where the two differ:

==============================  =====================================  ====================================
question                        here (lme4)                            ``pirls`` and ``laplace`` (exact)
==============================  =====================================  ====================================
start of each evaluation        a fixed eta (first evaluation, then    the previous mode
                                end of stage 1)
update                          whole u by weighted least squares      Newton step from u
stop                            relative change of pd below 1e-7       Newton decrement below 1e-24
log|H|                          weights one iterate behind u           weights at u
curvature                       expected                               observed
dispersion families             phi = 1 in the balance, plugged in     phi is a parameter
                                afterwards, "+2" kept
AGQ, k > 1                      unit deviances: relative to the        log densities: absolute
                                saturated model
==============================  =====================================  ====================================

pd is the penalised deviance :math:`\sum d_i + |u|^2`. The early stop makes the objective slightly ragged, which
contaminates finite-difference standard errors (cbpp: .2312 where .2325 is right). That is the lesson of this module.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import NotAvailableError, NotPositiveDefiniteError, PirlsError
from refglmm.likelihood import layout as rows
from refglmm.likelihood.problem import Problem
from refglmm.likelihood.quadrature import gh_rule

FloatArray = NDArray[np.float64]

PD_TOLERANCE = 1e-7
MAX_ITERATIONS = 100
MAX_HALVINGS = 20


class Lme4Walk:
    """devfun0(theta) and devfun(theta, beta) of lme4, for one problem.

    After a call, ``u, beta, eta, mu, factor, logdet_L2, rx, rzx`` describe where it stopped.
    """

    def __init__(self, problem: Problem, engine: str = "auto") -> None:
        self.problem = problem
        self.factor: Any = problem.layout.make_factor(engine)
        self.C, self.H = np.zeros(problem.layout.n_block_values), np.zeros(problem.layout.nnz)
        family = problem.family
        # lme4 puts the offset on top of g(mu0)
        self.eta_start = problem.offset + family.link.link(family.initial_mu(problem.y, problem.weights))
        self.u, self.beta = np.zeros(problem.q), np.zeros(problem.p)
        self.working_weights = np.zeros(problem.n)
        self.iterations = self.halvings = 0
        self.records: list[dict[str, float]] = []
        self.last_error: Exception | None = None

    # -- formulas --------------------------------------------------------------------------------------------

    def _mean(self, eta: FloatArray) -> FloatArray:
        return self.problem.family.link.inverse_clamped(eta)

    def _penalised_deviance(self, u: FloatArray) -> float:
        problem = self.problem
        with np.errstate(all="ignore"):
            deviance = problem.family.unit_deviance(problem.y, self.mu, problem.weights)
        return float(np.sum(deviance)) + float(u @ u)

    def _set_eta(self, fixed: FloatArray, u: FloatArray) -> None:
        lay = self.problem.layout
        b = np.empty(lay.q)
        rows.lambda_times(self.T, lay.T_start, lay.k, lay.levels, u, b)
        self.eta = np.empty(self.problem.n)
        rows.linear_predictor(fixed, lay.index, lay.z, b, self.eta)
        self.mu = self._mean(self.eta)

    def _working(self, offset: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(a) weights W = w mu_eta^2 / V and working response z, from the current eta."""
        problem = self.problem
        mu_eta = problem.family.link.mu_eta_clamped(self.eta)
        weights = problem.weights * mu_eta**2 / problem.family.variance(self.mu)
        return weights, (self.eta - offset) + (problem.y - self.mu) / mu_eta

    def _factorize(self, weights: FloatArray) -> None:
        lay = self.problem.layout
        lay.normal_matrix(weights, self.T, self.C, self.H)
        self.factor.refactor(self.H)

    def _right_hand_side(self, weights: FloatArray, z: FloatArray) -> FloatArray:
        """Lambda'Z'Wz."""
        lay = self.problem.layout
        ztwz, out = np.empty(lay.q), np.empty(lay.q)
        rows.transpose_times(lay.index, lay.z, weights * z, ztwz)
        rows.lambda_transpose_times(self.T, lay.T_start, lay.k, lay.levels, ztwz, out)
        return out

    def factor_fixed(self, weights: FloatArray) -> None:
        """RZX and RX for the given weights."""
        problem, lay = self.problem, self.problem.layout
        ZtWX, LtZtWX = np.empty((2, lay.q, problem.p))
        rows.cross_columns(lay.index, lay.z, weights, problem.X, ZtWX)
        XtWX = problem.X.T @ (weights[:, None] * problem.X)
        rows.lambda_transpose_matrix(self.T, lay.T_start, lay.k, lay.levels, ZtWX, LtZtWX)
        self.rzx = self.factor.solve_L(LtZtWX)
        try:
            self.rx = np.linalg.cholesky(XtWX - self.rzx.T @ self.rzx).T
        except np.linalg.LinAlgError as error:
            raise NotPositiveDefiniteError(
                "the fixed-effects columns are collinear once weighted (separation, or predictors on very "
                "different scales); rescale the predictors or drop one of them"
            ) from error

    # -- the loop of the paper -------------------------------------------------------------------------------

    def _pirls(self, beta: FloatArray | None) -> None:
        """Steps (a) to (e); solves beta jointly with u when ``beta`` is None."""
        problem = self.problem
        joint = beta is None
        self.beta = np.zeros(problem.p) if beta is None else beta
        u, pd_old = np.zeros(problem.q), float(np.finfo(float).max)
        self.halvings, self.records = 0, []
        for iteration in range(1, MAX_ITERATIONS + 1):
            fixed = problem.offset if joint else problem.offset + problem.X @ self.beta
            weights, z = self._working(fixed)
            self._factorize(weights)
            self.working_weights = weights
            u_old, beta_old = u, self.beta
            u = self._solve(weights, z, joint)
            pd = self._move(u, self.beta)
            self.records.append({"iteration": iteration, "penalised_deviance": pd, "halvings": self.halvings})
            if abs(pd_old - pd) < PD_TOLERANCE * abs(pd):
                break
            if not pd <= pd_old:
                u, pd = self._halve(u_old, beta_old, u, pd_old)
            pd_old = pd
        else:
            raise PirlsError(f"lme4's PIRLS did not converge in {MAX_ITERATIONS} iterations", pd=pd_old)
        self.u, self.iterations = u, iteration

    def _solve(self, weights: FloatArray, z: FloatArray, joint: bool) -> FloatArray:
        """(b) the whole u (and beta) by penalised weighted least squares."""
        from scipy.linalg import solve_triangular

        rhs = self._right_hand_side(weights, z)
        if not joint:
            return self.factor.solve(rhs)
        self.factor_fixed(weights)
        c_u = self.factor.solve_L(rhs)
        right = self.problem.X.T @ (weights * z) - self.rzx.T @ c_u
        c_beta = solve_triangular(self.rx, right, trans="T", check_finite=False)
        self.beta = solve_triangular(self.rx, c_beta, check_finite=False)
        return self.factor.solve_Lt(c_u - self.rzx @ self.beta)

    def _move(self, u: FloatArray, beta: FloatArray) -> float:
        self._set_eta(self.problem.offset + self.problem.X @ beta, u)
        return self._penalised_deviance(u)

    def _halve(self, u_old: FloatArray, beta_old: FloatArray, u: FloatArray, pd_old: float) -> tuple[FloatArray, float]:
        """(d) halve the step until pd does not rise."""
        beta, length, pd = self.beta, 1.0, np.nan
        for _ in range(MAX_HALVINGS):
            length *= 0.5
            self.halvings += 1
            trial = u_old + length * (u - u_old)
            self.beta = beta_old + length * (beta - beta_old)
            pd = self._move(trial, self.beta)
            if pd <= pd_old:
                return trial, pd
        if np.isnan(pd) or pd - pd_old > PD_TOLERANCE:
            raise PirlsError("lme4's step-halving failed to reduce the penalised deviance", pd=pd, pd_old=pd_old)
        return trial, pd

    # -- the two objectives ----------------------------------------------------------------------------------

    def _run(self, par: FloatArray, beta: FloatArray | None) -> None:
        self.T = self.problem.term_factors(par)
        self.eta = self.eta_start.copy()
        self.mu = self._mean(self.eta)
        self._pirls(beta)
        self.logdet_L2 = self.factor.logdet()

    def _laplace(self) -> float:
        problem = self.problem
        deviance = float(np.sum(problem.family.unit_deviance(problem.y, self.mu, problem.weights)))
        absolute = problem.family.minus_two_log_density(problem.y, self.mu, problem.weights, deviance)
        return self.logdet_L2 + float(self.u @ self.u) + absolute

    def stage_one(self, par: FloatArray) -> float:
        """devfun0(theta): beta solved jointly with u ("nAGQ = 0")."""
        try:
            self._run(par, None)
        except (PirlsError, NotPositiveDefiniteError) as error:
            self.last_error = error
            return np.inf
        return self._laplace()

    def fix_start(self) -> None:
        """Let every later evaluation start from the eta where the last one ended."""
        self.eta_start = self.eta.copy()

    def stage_two(self, par: FloatArray, beta: FloatArray) -> float:
        """devfun(theta, beta), Laplace."""
        try:
            self._run(par, beta)
        except (PirlsError, NotPositiveDefiniteError) as error:
            self.last_error = error
            return np.inf
        return self._laplace()

    def quadrature(self, par: FloatArray, beta: FloatArray, n_agq: int) -> float:
        """devfun(theta, beta), k > 1 nodes: relative to the saturated model (spec of lme4, section 5.9)."""
        lay = self.problem.layout
        if lay.k.size != 1 or lay.k[0] != 1:
            raise NotAvailableError(
                f"n_agq={n_agq} needs a single scalar random-effects term such as (1 | g)", n_agq=n_agq
            )
        if not np.isfinite(self.stage_two(par, beta)):
            return np.inf
        u, spread = self.u, 1.0 / np.sqrt(self.H[lay.diagonal])
        fixed = self.problem.offset + self.problem.X @ beta
        at_mode = self._group_deviance(fixed, u)
        mass = np.zeros(lay.q)
        rule = gh_rule(n_agq)
        for z, w in zip(rule.z, rule.w, strict=True):
            change = self._group_deviance(fixed, u + z * spread) - at_mode
            mass += w * np.exp(0.5 * z * z - 0.5 * change)
        self._set_eta(fixed, u)
        return float(at_mode.sum()) + self.logdet_L2 - 2.0 * float(np.log(mass).sum())

    def _group_deviance(self, fixed: FloatArray, u: FloatArray) -> FloatArray:
        """D_j(u) = u^2 + sum of the group's unit deviances."""
        problem = self.problem
        self._set_eta(fixed, u)
        unit = problem.family.unit_deviance(problem.y, self.mu, problem.weights)
        return u**2 + np.bincount(problem.layout.index[:, 0], weights=unit, minlength=problem.q)

    def sigma(self) -> float:
        """lme4's sigma of a dispersion family: sqrt((Pearson sum + |u|^2) / n)."""
        problem = self.problem
        pearson = problem.weights * (problem.y - self.mu) ** 2 / problem.family.variance(self.mu)
        return float(np.sqrt((pearson.sum() + float(self.u @ self.u)) / problem.n))
