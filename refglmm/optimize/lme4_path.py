r"""lme4's path through a GLMM fit: BOBYQA on theta, then Nelder-Mead on (theta, beta), then its verdict.

Place in the reading order: beside ``two_stage``; only ``mode="lme4"`` uses it. Start values, first steps, bounds and
stopping rules are those of the spec of lme4, sections 6.2 to 6.6; the optimisers themselves are NLopt's.

Derivatives at the optimum are central differences of the (slightly ragged) objective with absolute step 1e-4, as in
lme4. The verdict follows its rules too, except that it names the parameter.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import OptimizationError
from refglmm.families.kernel import ALL, H, S
from refglmm.likelihood import layout as rows
from refglmm.likelihood.lme4_walk import Lme4Walk
from refglmm.likelihood.problem import Problem
from refglmm.likelihood.state import Mode
from refglmm.optimize.certificate import unit_diagonal
from refglmm.optimize.control import Control
from refglmm.optimize.derivative_free import minimize_derivative_free
from refglmm.optimize.finish import boundary_names
from refglmm.optimize.records import Certificate, Evaluation, Optimum, StageReport
from refglmm.optimize.stage import try_edges

FloatArray = NDArray[np.float64]

DIFFERENCE_STEP = 1e-4
#: lme4's cuts: scaled gradient, negative and near-zero eigenvalues, eigenvalue ratio.
GRADIENT_CUT = 2e-3
EIGENVALUE_CUT = 1e-6
MAX_PARAMETERS = 20


class Lme4Fit:
    """The state of one fit on lme4's path."""

    def __init__(self, problem: Problem, n_agq: int, control: Control) -> None:
        self.problem, self.n_agq, self.control = problem, n_agq, control
        self.walk = Lme4Walk(problem, control.engine)
        self.trace: list[Evaluation] = []
        self.reports: list[StageReport] = []

    def _keep(self, stage: str, psi: FloatArray, value: float) -> float:
        self.trace.append(
            Evaluation(stage, len(self.trace) + 1, psi.copy(), value, self.walk.iterations, self.walk.halvings)
        )
        return value

    def stage_one_value(self, par: FloatArray) -> float:
        """devfun0."""
        return self._keep("n_agq=0", par, self.walk.stage_one(par))

    def stage_two_value(self, psi: FloatArray) -> float:
        """devfun."""
        par, beta = psi[: self.problem.n_par], psi[self.problem.n_par :]
        if self.n_agq == 1:
            return self._keep("Laplace", psi, self.walk.stage_two(par, beta))
        return self._keep("AGQ", psi, self.walk.quadrature(par, beta, self.n_agq))

    def minimize(
        self,
        label: str,
        function: Callable[[FloatArray], float],
        start: FloatArray,
        optimizer: str,
        first_step: FloatArray,
        x_tolerance: FloatArray,
    ) -> FloatArray:
        """Run one optimiser inside the box and report on it."""
        if start.size == 0:
            self.reports.append(StageReport(label, optimizer, 1, 0, function(start), "nothing to optimise", True, 0.0))
            return start
        problem = self.problem
        free = np.full(start.size - problem.n_par, np.inf)
        began = time.perf_counter()
        minimum = minimize_derivative_free(
            function,
            start,
            np.concatenate([problem.par_lower, -free]),
            np.concatenate([problem.par_upper, free]),
            method=optimizer,
            first_step=first_step,
            x_tolerance=x_tolerance,
            f_tolerance=0.0,
            max_evaluations=self.control.max_evaluations,
        )
        edge = np.full(problem.n_par, self.control.edge_tolerance)
        minimum = try_edges(function, minimum, problem.par_lower, problem.par_upper, edge)
        self.reports.append(
            StageReport(
                label,
                optimizer,
                minimum.n_evaluations,
                0,
                minimum.value,
                minimum.message,
                minimum.success,
                time.perf_counter() - began,
            )
        )
        return minimum.x

    def run_stage_one(self, par: FloatArray, optimizer: str) -> FloatArray:
        """Theta alone; first radius min(.95, .2 max|par|), final radius 1e-6 of it."""
        if par.size and np.all(par == 0):
            par = np.full(par.size, 0.001)
        radius = min(0.95, 0.2 * float(np.max(np.abs(par), initial=0.0)))
        if not np.isfinite(self.walk.stage_one(par)):
            raise OptimizationError(f"the deviance is not finite at the start ({self.walk.last_error})")
        self.walk.fix_start()  # every evaluation of stage 1 starts where the first one ended
        size = np.full(par.size, radius)
        par = self.minimize("n_agq=0", self.stage_one_value, par, optimizer, size, 1e-6 * size)
        self.walk.stage_one(par)
        return par

    def run_stage_two(self, par: FloatArray, beta: FloatArray, optimizer: str) -> FloatArray:
        """(theta, beta); Nelder-Mead's first steps are .2 x (.1, min(SE, 10)), BOBYQA's radius 2e-4."""
        psi = np.concatenate([par, beta])
        if optimizer == "nelder_mead":
            se = np.sqrt(np.diag(np.linalg.inv(self.walk.rx.T @ self.walk.rx))) if beta.size else np.empty(0)
            step = 0.2 * np.concatenate([np.full(par.size, 0.1), np.minimum(se, 10.0)])
            tolerance = 5e-4 * step
        else:
            step = np.full(psi.size, 2e-4)
            tolerance = 1e-3 * step
        label = "Laplace" if self.n_agq == 1 else "AGQ"
        return self.minimize(label, self.stage_two_value, psi, optimizer, step, tolerance)


def fit_glmm_lme4(
    problem: Problem, n_agq: int, control: Control, start: dict[str, FloatArray] | None = None
) -> tuple[Optimum, Mode, float]:
    """Fit a GLMM as lme4 does; returns the optimum, the state where PIRLS stopped, and lme4's sigma."""
    given = start or {}
    fit = Lme4Fit(problem, n_agq, control)
    if "eta" in given:
        fit.walk.eta_start = given["eta"]
    par = np.asarray(given.get("par", problem.par_start), dtype=float)
    beta = np.asarray(given.get("beta", np.zeros(problem.p)), dtype=float)
    if control.initial_step is not False or n_agq == 0:
        par = fit.run_stage_one(par, control.optimizer[0])
        if n_agq:
            beta = beta if "beta" in given else fit.walk.beta
            fit.walk.fix_start()
    else:
        fit.walk.stage_one(par)
        fit.walk.fix_start()
    if n_agq == 0:
        value, psi = fit.walk.stage_one(par), par
        names = problem.par_names
        function: Callable[[FloatArray], float] = fit.stage_one_value
    else:
        psi = fit.run_stage_two(par, beta, control.optimizer[1])
        par, beta = psi[: problem.n_par], psi[problem.n_par :]
        names = problem.par_names + problem.beta_names
        function = fit.stage_two_value
        value = function(psi)
    mode = _mode(fit)
    boundary = boundary_names(problem, par, control.singular_tolerance, np.ones(par.size))
    gradient = hessian = None
    if _wanted(problem, psi.size, bool(boundary), n_agq, control):
        kept = len(fit.trace)
        gradient, hessian = differences(function, psi)
        del fit.trace[kept:]
    beyond = problem.n >= control.derivatives_max_n or psi.size >= MAX_PARAMETERS
    certificate = verdict(
        names, gradient, hessian, boundary, mode.residual, fit.reports[-1:], judge=not beyond and not boundary
    )
    optimum = Optimum(
        names=names,
        par=par,
        beta=fit.walk.beta.copy(),
        phi=np.empty(0),
        value=value,
        hessian=hessian,
        gradient=gradient,
        certificate=certificate,
        stages=tuple(fit.reports),
        trace=tuple(fit.trace),
        pirls_trace=tuple(fit.walk.records),
    )
    return optimum, mode, fit.walk.sigma()


def _wanted(problem: Problem, size: int, singular: bool, n_agq: int, control: Control) -> bool:
    """lme4's gate for computing derivatives; nAGQ = 0 takes none."""
    if n_agq == 0 or control.derivatives is False:
        return False
    if control.derivatives is True:
        return True
    return problem.n < control.derivatives_max_n and size < MAX_PARAMETERS and not singular


def differences(function: Callable[[FloatArray], float], x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gradient and Hessian by central differences with lme4's absolute step."""
    d, step = x.size, DIFFERENCE_STEP
    unit = step * np.eye(d)
    centre = function(x)
    ahead = np.array([function(x + unit[j]) for j in range(d)])
    behind = np.array([function(x - unit[j]) for j in range(d)])
    hessian = np.diag((ahead - 2.0 * centre + behind) / step**2)
    for i in range(d):
        for j in range(i):
            corners = (
                function(x + unit[i] + unit[j])
                - function(x + unit[i] - unit[j])
                - function(x - unit[i] + unit[j])
                + function(x - unit[i] - unit[j])
            )
            hessian[i, j] = hessian[j, i] = corners / (4.0 * step**2)
    function(x)
    return (ahead - behind) / (2.0 * step), hessian


def verdict(
    names: tuple[str, ...],
    gradient: FloatArray | None,
    hessian: FloatArray | None,
    boundary: tuple[str, ...],
    residual: float,
    reports: list[StageReport],
    *,
    judge: bool,
) -> Certificate:
    """lme4's convergence verdict (spec, section 6.6), naming the parameter."""
    messages = [f"{report.optimizer}: {report.message}" for report in reports if not report.success]
    scaled: FloatArray = np.empty(0)  # for the record; lme4 judges the Hessian as it is
    norm = decrement = np.nan
    if gradient is not None and hessian is not None and np.all(np.isfinite(hessian)):
        scaled = np.asarray(np.linalg.eigvalsh(unit_diagonal(hessian)[0]), dtype=np.float64)
        eigenvalues, vectors = np.linalg.eigh(hessian)
        norm = float(np.max(np.abs(gradient), initial=0.0))
        if eigenvalues.size and eigenvalues[0] > 0:
            decrement = 0.5 * float(gradient @ np.linalg.solve(hessian, gradient))
        if judge:
            messages += _judge_gradient(names, gradient, hessian, eigenvalues)
            messages += _judge_hessian(names, eigenvalues, vectors)
    return Certificate(
        converged=not messages,
        singular=bool(boundary),
        messages=tuple(messages),
        gradient_norm=norm,
        newton_decrement=decrement,
        eigenvalues=scaled,
        boundary=boundary,
        pirls_residual=residual,
    )


def _judge_gradient(
    names: tuple[str, ...], gradient: FloatArray, hessian: FloatArray, eigenvalues: FloatArray
) -> list[str]:
    if eigenvalues.size and eigenvalues[0] <= 0:
        return ["unable to evaluate the scaled gradient: the Hessian is not positive definite"]
    scaled = np.linalg.solve(np.linalg.cholesky(hessian), gradient)
    size = np.minimum(np.abs(scaled), np.abs(gradient))
    worst = int(np.argmax(size))
    if size[worst] > GRADIENT_CUT:
        return [f"failed to converge: scaled gradient {size[worst]:.3g} of {names[worst]} exceeds {GRADIENT_CUT}"]
    return []


def _judge_hessian(names: tuple[str, ...], eigenvalues: FloatArray, vectors: FloatArray) -> list[str]:
    if not eigenvalues.size:
        return []
    negative = int(np.sum(eigenvalues < -EIGENVALUE_CUT))
    worst = names[int(np.argmax(np.abs(vectors[:, 0])))]
    if negative:
        return [f"degenerate Hessian with {negative} negative eigenvalue(s), the smallest in the direction of {worst}"]
    if eigenvalues[0] < EIGENVALUE_CUT:
        return [f"Hessian is numerically singular in the direction of {worst}: parameters are not uniquely determined"]
    if eigenvalues[-1] * EIGENVALUE_CUT > 1.0:
        return ["very large Hessian eigenvalue: rescale the variables"]
    if eigenvalues[0] / eigenvalues[-1] < EIGENVALUE_CUT:
        return ["large ratio of Hessian eigenvalues: rescale the variables"]
    return []


def _mode(fit: Lme4Fit) -> Mode:
    """The state where lme4's PIRLS stopped: the factor is one iterate behind u."""
    walk, problem = fit.walk, fit.problem
    lay = problem.layout
    weights = walk.working_weights
    walk.factor_fixed(weights)
    out = np.empty((6, problem.n))
    phi = problem.family.fixed_shape
    if problem.n_phi:  # lme4 has no such parameter: the moment estimate stands in
        phi = np.asarray(problem.family.initial_shape(problem.y, walk.mu, problem.weights), dtype=float)
    problem.family.observe(problem.y, walk.eta, problem.weights, problem.base, phi, ALL, out)
    b = np.empty(lay.q)
    rows.lambda_times(walk.T, lay.T_start, lay.k, lay.levels, walk.u, b)
    score, gradient = np.empty(lay.q), np.empty(lay.q)
    rows.transpose_times(lay.index, lay.z, out[S], score)
    rows.lambda_transpose_times(walk.T, lay.T_start, lay.k, lay.levels, score, gradient)
    return Mode(
        u=walk.u.copy(),
        b=b,
        eta=walk.eta.copy(),
        mu=walk.mu.copy(),
        s=out[S].copy(),
        w=weights.copy(),
        h=out[H].copy(),
        factor=walk.factor.copy(),
        logdet_L2=walk.logdet_L2,
        rx=walk.rx.copy(),
        rzx=walk.rzx.copy(),
        log_density=float(out[0].sum()),
        penalty=float(walk.u @ walk.u),
        deviance=float(np.sum(problem.family.unit_deviance(problem.y, walk.mu, problem.weights))),
        curvature="expected",
        iterations=walk.iterations,
        halvings=walk.halvings,
        residual=float(np.max(np.abs(gradient - walk.u), initial=0.0)),
    )
