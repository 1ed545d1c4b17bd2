r"""The two stages of a generalized linear mixed model fit, on exact objectives.

Place in the reading order: after ``certificate``.

Stage 1 (n_agq = 0) optimises (par, log phi) with beta solved jointly with u; stage 2 optimises
psi = (par, beta, log phi) on the Laplace or quadrature deviance from there. "newton" uses the exact gradients;
"bobyqa" and "nelder_mead" use values only. Whatever ran, the certificate is computed from the exact gradient and its
differences at the reported point.

Zero variances need no bounds here: D is even in the columns of each T_t, so "newton" searches unconstrained (only
correlations keep their bounds) and the sign is folded back at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import OptimizationError
from refglmm.likelihood.agq import AdaptiveQuadratureObjective
from refglmm.likelihood.laplace import LaplaceObjective, ProfiledObjective
from refglmm.likelihood.problem import Problem
from refglmm.likelihood.profiled import ProfiledLinear
from refglmm.likelihood.state import Mode
from refglmm.optimize.certificate import certify
from refglmm.optimize.control import Control
from refglmm.optimize.derivative_free import Minimum, minimize_derivative_free
from refglmm.optimize.newton import difference_hessian, minimize_newton
from refglmm.optimize.records import Evaluation, Optimum, StageReport
from refglmm.optimize.starts import par_scale, scaled_start, start_fixed, start_par, start_shape

FloatArray = NDArray[np.float64]
Objective = Any

#: Step of the Hessian's differences, in units of the standard error that the model Hessian suggests.
HESSIAN_STEP = 1e-3
#: Newton steps taken on the true Hessian when the quasi-Newton model was too optimistic.
MAX_POLISH = 4
#: A polish step is worth another Hessian if it promises more than this (deviance units).
NEW_HESSIAN = 1e-4
#: Predicted decrease below which no polish step is taken.
POLISHED = 1e-11


class Recorder:
    """Counts and keeps the evaluations of one stage."""

    def __init__(self, stage: str, objective: Objective) -> None:
        self.stage, self.objective = stage, objective
        self.evaluations: list[Evaluation] = []

    def _keep(self, psi: FloatArray, value: float) -> None:
        pirls = getattr(self.objective, "pirls", None)
        iterations, halvings = (pirls.iterations, pirls.halvings) if pirls is not None else (1, 0)
        self.evaluations.append(
            Evaluation(self.stage, len(self.evaluations) + 1, psi.copy(), value, iterations, halvings)
        )

    def value(self, psi: FloatArray) -> float:
        """Evaluate and keep."""
        value = self.objective.value(psi)
        self._keep(psi, value)
        return value

    def value_and_gradient(self, psi: FloatArray) -> tuple[float, FloatArray]:
        """Evaluate with the gradient and keep."""
        value, gradient = self.objective.value_and_gradient(psi)
        self._keep(psi, value)
        return value, gradient


class Stage:
    """One stage: objective, box, scales; runs whichever optimiser is wanted."""

    def __init__(
        self,
        label: str,
        objective: Objective,
        problem: Problem,
        start: FloatArray,
        hessian: FloatArray,
        scale: FloatArray,
        control: Control,
    ) -> None:
        self.label, self.problem, self.control = label, problem, control
        self.recorder = Recorder(label, objective)
        self.start, self.hessian, self.scale = start, hessian, scale
        n_other = start.size - problem.n_par
        unbounded = np.full(n_other, np.inf)
        self.lower = np.concatenate([problem.par_lower, -unbounded])
        self.upper = np.concatenate([problem.par_upper, unbounded])
        #: where D is even in a parameter its sign is free, and zero is an interior point
        sign_free = np.concatenate([*(s.sign_free for s in problem.structures), np.zeros(n_other, dtype=bool)])
        self.free_lower = np.where(sign_free.astype(bool), -np.inf, self.lower)
        self.reports: list[StageReport] = []

    def run(self, optimizer: str) -> FloatArray:
        """Run the optimiser; "newton" falls back to BOBYQA, and says so, when it stalls."""
        x = self._run_one(optimizer, self.start)
        if optimizer == "newton" and not self.reports[-1].success:
            x = self._run_one("bobyqa", self._fold(x))
            x = self._run_one("newton", x)
        return self._fold(x)

    def _fold(self, x: FloatArray) -> FloatArray:
        folded = x.copy()
        folded[: self.problem.n_par] = self.problem.fold(x[: self.problem.n_par])
        return folded

    def _run_one(self, optimizer: str, start: FloatArray) -> FloatArray:
        if start.size == 0:
            self._report(optimizer, Minimum(start, self.recorder.value(start), 1, 0, "nothing to optimise", True), 0.0)
            return start
        began = time.perf_counter()
        if optimizer == "newton":
            minimum, _, self.hessian = minimize_newton(
                self.recorder.value_and_gradient,
                start,
                self.free_lower,
                self.upper,
                hessian=self.hessian,
                tolerance=self.control.tolerance,
                max_evaluations=self.control.max_evaluations,
                largest_step=3.0 * self.scale,
            )
        else:
            minimum = self._derivative_free(optimizer, start)
        self._report(optimizer, minimum, time.perf_counter() - began)
        return minimum.x

    def _report(self, optimizer: str, minimum: Minimum, seconds: float) -> None:
        self.reports.append(
            StageReport(
                self.label,
                optimizer,
                minimum.n_evaluations,
                minimum.n_gradients,
                minimum.value,
                minimum.message,
                minimum.success,
                seconds,
            )
        )

    def _derivative_free(self, optimizer: str, start: FloatArray) -> Minimum:
        # a first step of 0.2 natural units, never more than half a box
        step = np.minimum(0.2 * self.scale, 0.5 * (self.upper - self.lower))
        minimum = minimize_derivative_free(
            self.recorder.value,
            np.clip(start, self.lower, self.upper),
            self.lower,
            self.upper,
            method=optimizer,
            first_step=step,
            x_tolerance=1e-7 * self.scale,
            f_tolerance=0.0,
            max_evaluations=self.control.max_evaluations,
        )
        return self._try_edges(minimum)

    def _try_edges(self, minimum: Minimum) -> Minimum:
        """Try a parameter that is within ``edge_tolerance`` of a bound exactly on it; keep it if not worse."""
        x, value = minimum.x, minimum.value
        for j in range(x.size):
            for bound in (self.lower[j], self.upper[j]):
                if 0 < abs(x[j] - bound) < self.control.edge_tolerance:
                    trial = x.copy()
                    trial[j] = bound
                    trial_value = self.recorder.value(trial)
                    if trial_value <= value:
                        x, value = trial, trial_value
        return Minimum(x, value, minimum.n_evaluations, 0, minimum.message, minimum.success)


def boundary_names(problem: Problem, par: FloatArray, tolerance: float) -> tuple[str, ...]:
    """Covariance parameters that make the fit singular (spec of lme4, section 6.7)."""
    names: list[str] = []
    for structure, part in zip(problem.structures, problem.par_slices, strict=True):
        values, lower, upper = par[part], problem.par_lower[part], problem.par_upper[part]
        at_edge = (np.abs(values - lower) < tolerance) | (np.abs(upper - values) < tolerance)
        if structure.is_singular(values, tolerance):
            names += [name for name, edge in zip(problem.par_names[part], at_edge, strict=True) if edge]
    return tuple(names)


def polish(
    function: Callable[[FloatArray], tuple[float, FloatArray]],
    x: FloatArray,
    steps: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    wanted: bool,
) -> tuple[FloatArray, FloatArray, FloatArray | None, int]:
    """Newton steps on the differenced Hessian until it promises nothing more.

    Returns the point, its gradient, the Hessian there (None unless ``wanted``), and the number of Hessians.
    """
    value, gradient = function(x)
    if not wanted:
        return x, gradient, None, 0
    hessian, count = difference_hessian(function, x, steps), 1
    for _ in range(MAX_POLISH):
        inside = (x > lower) & (x < upper)
        block = hessian[np.ix_(inside, inside)]
        if not np.all(np.isfinite(block)) or (block.size and np.linalg.eigvalsh(block)[0] <= 0):
            break
        step = np.zeros(x.size)
        step[inside] = -np.linalg.solve(block, gradient[inside])
        decrease = -0.5 * float(step @ gradient)
        if decrease < POLISHED:
            break
        trial = np.clip(x + step, lower, upper)
        trial_value, trial_gradient = function(trial)
        if not trial_value <= value + 1e-12 * abs(value):
            break
        x, value, gradient = trial, trial_value, trial_gradient
        if decrease > NEW_HESSIAN:
            hessian, count = difference_hessian(function, x, steps), count + 1
    function(x)
    return x, gradient, hessian, count


def _first_hessian(problem: Problem, scale: FloatArray, n_other: int) -> FloatArray:
    """Model Hessian of stage 1: a variance parameter of a term with q levels is known to about 1/sqrt(2q)."""
    levels = np.concatenate(
        [np.full(s.n_par, count, dtype=float) for s, count in zip(problem.structures, problem.layout.levels, strict=True)]
        + [np.empty(0)]
    )
    diagonal = np.concatenate([levels / scale[: problem.n_par] ** 2, np.full(n_other, float(problem.n))])
    return np.diag(np.maximum(diagonal, 1e-12))


def _steps(hessian: FloatArray, scale: FloatArray) -> FloatArray:
    """Difference steps: a small share of the standard error that the model Hessian suggests."""
    with np.errstate(divide="ignore"):
        se = np.sqrt(2.0 / np.maximum(np.diag(hessian), 0.0))
    return HESSIAN_STEP * np.minimum(se, scale)


class GlmmStart:
    """Starting values of a GLMM fit: the caller's where given, safe ones elsewhere."""

    def __init__(self, problem: Problem, start: dict[str, FloatArray]) -> None:
        if "beta" in start:
            self.beta = np.asarray(start["beta"], dtype=float)
            eta = problem.offset + problem.X @ self.beta
        else:
            self.beta, eta = start_fixed(problem)
        self.phi = np.asarray(start.get("phi", start_shape(problem, eta)), dtype=float)
        self.default_par = start_par(problem, eta)
        self.par = np.asarray(start.get("par", self.default_par), dtype=float)


def fit_glmm(
    problem: Problem, n_agq: int, control: Control, start: dict[str, FloatArray] | None = None
) -> tuple[Optimum, Mode]:
    """Fit a GLMM by maximum likelihood (n_agq: 0 joint, 1 Laplace, k quadrature).

    Raises
    ------
    DataError, OptimizationError
        If no start is inside the link's domain, or the objective is not finite at the start.
    """
    first = GlmmStart(problem, start or {})
    n_phi = problem.n_phi
    profiled = ProfiledObjective(problem, first.beta, control.curvature, control.engine)
    if control.record_pirls:
        profiled.pirls.records = []
    log_phi = np.log(first.phi[:n_phi])
    par, beta = first.par, first.beta
    stages: list[Stage] = []
    if control.initial_step or n_agq == 0:
        scale = np.concatenate([par_scale(problem, par, first.default_par), np.ones(n_phi)])
        stage = Stage(
            "n_agq=0",
            profiled,
            problem,
            np.concatenate([par, log_phi]),
            _first_hessian(problem, scale, n_phi),
            scale,
            control,
        )
        _require_finite(profiled, stage.start)
        x = stage.run(control.optimizer[0] if n_agq else control.optimizer[1])
        stages.append(stage)
        par, log_phi = x[: problem.n_par], x[problem.n_par :]
        profiled.value(x)
        beta = profiled.beta
    if n_agq == 0:
        return _conclude(problem, stages, profiled, x, beta, control, n_agq)
    objective: LaplaceObjective
    if n_agq == 1:
        objective = LaplaceObjective(problem, control.curvature, control.engine)
    else:
        objective = AdaptiveQuadratureObjective(problem, n_agq, control.curvature, control.engine)
    if control.record_pirls:
        objective.pirls.records = []
    objective.u = profiled.pirls.u if stages else None
    psi = np.concatenate([par, beta, log_phi])
    stage = _second_stage(problem, objective, psi, stages, first, control)
    x = stage.run(control.optimizer[1])
    stages.append(stage)
    return _conclude(problem, stages, objective, x, problem.split(x)[1], control, n_agq)


def _require_finite(objective: Objective, start: FloatArray) -> None:
    if not np.isfinite(objective.value(start)):
        raise OptimizationError(
            f"the deviance is not finite at the start ({objective.last_error}); give `start=` or rescale"
        )


def _second_stage(
    problem: Problem,
    objective: LaplaceObjective,
    psi: FloatArray,
    stages: list[Stage],
    first: GlmmStart,
    control: Control,
) -> Stage:
    """Model Hessian of stage 2: stage 1's for (par, log phi), twice the information RX'RX for beta."""
    n_par, p, n_phi = problem.n_par, problem.p, problem.n_phi
    _require_finite(objective, psi)
    rx = objective.mode(psi).rx
    scale_par = par_scale(problem, psi[:n_par], first.default_par)
    hessian = np.zeros((psi.size, psi.size))
    shape = np.r_[0:n_par, n_par + p : psi.size]
    outer = stages[-1].hessian if stages else _first_hessian(problem, np.concatenate([scale_par, np.ones(n_phi)]), n_phi)
    hessian[np.ix_(shape, shape)] = outer
    hessian[n_par : n_par + p, n_par : n_par + p] = 2.0 * rx.T @ rx
    se_beta = 1.0 / np.sqrt(np.maximum(np.diag(rx.T @ rx), 1e-300))
    scale = np.concatenate([scale_par, 10.0 * se_beta, np.ones(n_phi)])
    return Stage(objective.name, objective, problem, psi, hessian, scale, control)


def _conclude(
    problem: Problem,
    stages: list[Stage],
    objective: Objective,
    x: FloatArray,
    beta: FloatArray,
    control: Control,
    n_agq: int,
) -> tuple[Optimum, Mode]:
    """Polish, certify, freeze."""
    last = stages[-1]
    steps = _steps(last.hessian, last.scale)
    x, gradient, hessian, _ = polish(
        objective.value_and_gradient,
        x,
        steps,
        last.free_lower,
        last.upper,
        wanted=control.derivatives is not False,
    )
    x = last._fold(x)
    mode = objective.mode(x)
    value = objective.value(x)
    if n_agq == 0:
        par, beta, log_phi = x[: problem.n_par], objective.beta, x[problem.n_par :]
        phi = problem.shape_from(log_phi)
        names = objective.names
    else:
        par, beta, phi = problem.split(x)
        names = problem.names
    certificate = certify(
        names,
        x,
        gradient,
        hessian,
        last.free_lower,
        last.upper,
        boundary=boundary_names(problem, par, control.singular_tolerance),
        pirls_residual=mode.residual,
        notes=_notes(stages, hessian is not None),
    )
    return _optimum(names, par, beta, phi, value, hessian, gradient, certificate, stages, objective), mode


def _notes(stages: list[Stage], certified: bool) -> list[str]:
    """What an optimiser has to say; with a certificate at hand its own complaints do not matter."""
    report = stages[-1].reports[-1]
    return [] if report.success or certified else [f"{report.optimizer}: {report.message}"]


def _optimum(
    names: tuple[str, ...],
    par: FloatArray,
    beta: FloatArray,
    phi: FloatArray,
    value: float,
    hessian: FloatArray | None,
    gradient: FloatArray | None,
    certificate: Any,
    stages: list[Stage],
    objective: Objective,
) -> Optimum:
    records = getattr(getattr(objective, "pirls", None), "records", None) or []
    return Optimum(
        names=names,
        par=par,
        beta=beta,
        phi=phi,
        value=value,
        hessian=hessian,
        gradient=gradient,
        certificate=certificate,
        stages=tuple(report for stage in stages for report in stage.reports),
        trace=tuple(evaluation for stage in stages for evaluation in stage.recorder.evaluations),
        pirls_trace=tuple(vars(record) for record in records),
    )


def fit_linear(
    problem: Problem, reml: bool, control: Control, start: dict[str, FloatArray] | None = None
) -> tuple[Optimum, Mode, ProfiledLinear]:
    """Fit a linear mixed model by ML or REML; returns the objective too, for sigma and the criteria."""
    objective = ProfiledLinear(problem, reml, control.engine)
    default = scaled_start(problem, 1.0)
    par = np.asarray((start or {}).get("par", default), dtype=float)
    scale = par_scale(problem, par, default)
    stage = Stage(objective.name, objective, problem, par, _first_hessian(problem, scale, 0), scale, control)
    _require_finite(objective, par)
    x = stage.run(control.optimizer[1])
    x, gradient, hessian, _ = polish(
        objective.value_and_gradient,
        x,
        _steps(stage.hessian, stage.scale),
        stage.free_lower,
        stage.upper,
        wanted=control.derivatives is not False,
    )
    x = stage._fold(x)
    mode = objective.mode(x)
    certificate = certify(
        objective.names,
        x,
        gradient,
        hessian,
        stage.free_lower,
        stage.upper,
        boundary=boundary_names(problem, x, control.singular_tolerance),
        pirls_residual=mode.residual,
        notes=_notes([stage], hessian is not None),
    )
    value = objective.value(x)
    return (
        _optimum(objective.names, x, objective.beta, np.empty(0), value, hessian, gradient, certificate, [stage], objective),
        mode,
        objective,
    )
