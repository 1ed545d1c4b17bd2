r"""The two stages of a generalized linear mixed model fit, and the one stage of a linear one, on exact objectives.

Place in the reading order: last of ``optimize`` but for ``lme4_path``.

Stage 1 (n_agq = 0) optimises (par, log phi) with beta solved jointly with u; stage 2 optimises
psi = (par, beta, log phi) on the Laplace or quadrature deviance from there. "newton" uses the exact gradients;
"bobyqa" and "nelder_mead" use values only. Whatever ran, ``finish`` computes the certificate from the exact gradient
and its differences at the reported point.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import NotAvailableError, OptimizationError
from refglmm.likelihood.agq import AdaptiveQuadratureObjective, likelihood_objective
from refglmm.likelihood.coupled import CoupledLayout
from refglmm.likelihood.laplace import LaplaceObjective, ProfiledObjective
from refglmm.likelihood.penalty import PenalizedObjective, Penalty, penalized
from refglmm.likelihood.pirls import Pirls
from refglmm.likelihood.problem import Problem
from refglmm.likelihood.profiled import ProfiledLinear
from refglmm.likelihood.state import Mode
from refglmm.optimize.control import Control
from refglmm.optimize.finish import Endpoint, finish, judge
from refglmm.optimize.records import Optimum, StageReport
from refglmm.optimize.stage import Stage
from refglmm.optimize.starts import (
    fixed_point_step,
    information_model,
    model_hessian,
    par_scale,
    pulled_in,
    scaled_start,
    start_beta,
    start_par,
    with_cross_blocks,
)

FloatArray = NDArray[np.float64]

#: Predicted decrease at which stage 1 hands over; stage 2 moves on from there by more than this.
HAND_OVER = 0.5
#: PIRLS may stop at this Newton decrement (deviance units) while stage 1 only looks for a start.
ROUGH = 1e-2
#: A start outside the link's domain is pulled in by this factor, at most so many times.
SHRINK, MAX_SHRINKAGES = 0.3, 8
#: Evaluations that stage 1 may take to find a start for stage 2.
PATIENCE = 40
#: Evaluations of a stage of a model with several predictors at most: where the mode of the random effects jumps between
#: two maxima, its approximate deviance has steps on which a search creeps for ever.
COUPLED_EVALUATIONS = 500
#: A linear predictor below this share of the largest lies on the edge of a domain that ends at zero.
AT_EDGE = 1e-6
#: The fixed-point steps of a linear mixed model end when one brings less than this (deviance units), or after so many.
APPROACHED, MAX_APPROACHES = 1.0, 10
#: From so many random effects on, an evaluation of a linear mixed model costs more than a fresh average information:
#: two fixed-point steps then do, and each step of "newton" has a model of its own.
COSTLY, FEW_APPROACHES = 1000, 2


class GlmmStart:
    """Starting values of a GLMM fit: the caller's where given, safe ones elsewhere.

    ``incomplete`` says whether something was left open that stage 1 should find. A start that says everything is
    where stage 2 begins: stage 1 would leave it for the minimum of its own, rougher, surface.
    """

    def __init__(self, problem: Problem, start: dict[str, FloatArray]) -> None:
        wanted = {"par", "beta", "phi"} if problem.n_phi else {"par", "beta"}
        self.incomplete = not wanted <= start.keys()
        self.beta, eta, shape = start_beta(problem, start)
        self.phi = np.asarray(start.get("phi", shape), dtype=float)
        self.default_par = start_par(problem, eta)
        self.par = np.asarray(start.get("par", self.default_par), dtype=float)


def fit_glmm(
    problem: Problem,
    n_agq: int,
    control: Control,
    start: dict[str, FloatArray] | None = None,
    penalty: Penalty | None = None,
) -> tuple[Optimum, Mode]:
    """Fit a GLMM by maximum likelihood (n_agq: 0 joint, 1 Laplace, k quadrature), penalised in stage 2 if asked for.

    Raises
    ------
    DataError, OptimizationError
        If no start is inside the link's domain, or the objective is not finite at the start.
    """
    if problem.n_parts > 1:
        if control.curvature == "expected":
            raise NotAvailableError("models with zi= or dispersion= have curvature='observed' only")
        control = replace(control, max_evaluations=min(control.max_evaluations, COUPLED_EVALUATIONS))
    first = GlmmStart(problem, start or {})
    pirls = Pirls(problem, control.engine)
    profiled = ProfiledObjective(pirls, first.beta, control.curvature)
    shape = problem.working_shape(first.phi)
    scale = np.concatenate([par_scale(problem, first.par, first.default_par), np.ones(problem.n_phi)])
    outer = np.concatenate([first.par, shape])
    stages: list[Stage] = []
    beta, model = first.beta, np.empty(0)
    if n_agq == 0:
        stage = _first_stage(profiled, outer, scale, "par" not in (start or {}), control)
        stage.model = None  # close to the optimum BFGS is faster
        stages.append(stage)
        return conclude(problem, stages, finish(stage, stage.run(control.optimizer[1]), control.optimizer[1]))
    if first.incomplete if control.initial_step is None else control.initial_step:
        exact, pirls.tolerance = pirls.tolerance, ROUGH
        try:
            stage = _first_stage(profiled, outer, scale, "par" not in (start or {}), control)
        except OptimizationError:
            pass  # the joint mode lies on the edge of the link's domain: stage 2 starts without it
        else:
            stage.tolerance, stage.patience = max(HAND_OVER, control.tolerance), PATIENCE
            outer = stage.run(control.optimizer[0])
            stages.append(stage)
            profiled.value(outer)
            beta, model = pulled_in(problem, profiled.beta), stage.hessian
        pirls.tolerance = exact
    objective = penalized(likelihood_objective(pirls, n_agq, control.curvature), penalty)
    psi = np.concatenate([outer[: problem.n_par], beta, outer[problem.n_par :]])
    stage = second_stage(problem, objective, psi, model, scale, first, control)
    stages.append(stage)
    return conclude(problem, stages, finish(stage, stage.run(control.optimizer[1]), control.optimizer[1]))


def _first_stage(
    profiled: ProfiledObjective, outer: FloatArray, scale: FloatArray, shrink: bool, control: Control
) -> Stage:
    """Stage 1 from a start that is pulled inside the link's domain if need be."""
    problem = profiled.problem
    if shrink:
        outer = _reachable(profiled, problem, outer)
    stage = Stage("n_agq=0", profiled, problem, outer, scale, control)
    stage.model = lambda x: model_hessian(problem, profiled.pirls.factor, x[: problem.n_par], scale)
    stage.hessian = stage.model(outer)
    return stage


def _reachable(
    objective: LaplaceObjective | ProfiledObjective | PenalizedObjective, problem: Problem, start: FloatArray
) -> FloatArray:
    """Shrink the standard deviations of a start until the mode lies inside the link's domain.

    Raises
    ------
    OptimizationError
        If no shrinking helps.
    """
    x, deviations = start.copy(), np.flatnonzero(problem.par_lower == 0.0)
    for _ in range(MAX_SHRINKAGES):
        if np.isfinite(objective.value(x)):
            return x
        x[deviations] *= SHRINK
    raise OptimizationError(
        f"the deviance is not finite at the start ({objective.last_error}); give `start=` or rescale"
    )


def second_stage(
    problem: Problem,
    objective: LaplaceObjective | PenalizedObjective,
    psi: FloatArray,
    model: FloatArray,
    outer_scale: FloatArray,
    first: GlmmStart,
    control: Control,
) -> Stage:
    """Stage 2 with stage 1's model Hessian for par and the curvature of -2g for the rest, as far as it is convex.

    A penalty is not in stage 1, which only looks for a start; RX has its information.
    """
    n_par, p = problem.n_par, problem.p
    psi = _reachable(objective, problem, psi)
    rx = objective.fixed_root(psi)
    information = rx.T @ rx
    if not model.size:
        model = model_hessian(problem, objective.pirls.factor, psi[:n_par], outer_scale)
    hessian = np.zeros((psi.size, psi.size))
    outer = np.r_[0:n_par, n_par + p : psi.size]
    hessian[np.ix_(outer, outer)] = model
    hessian[n_par : n_par + p, n_par : n_par + p] = 2.0 * information
    crossed = np.zeros_like(hessian)
    crossed[:n_par, n_par : n_par + p] = objective.cross_curvature(psi)
    if problem.n_phi:
        _add_shapes(objective.mode_curvature(psi, np.eye(psi.size)), hessian, crossed, n_par, p)
    hessian = with_cross_blocks(hessian, crossed + crossed.T)
    scale = np.concatenate(
        [
            par_scale(problem, psi[:n_par], first.default_par),
            10.0 / np.sqrt(np.diag(information)),
            np.ones(problem.n_phi),
        ]
    )
    stage = Stage(objective.name, objective, problem, psi, scale, control)
    stage.hessian = hessian
    beta = slice(n_par, n_par + p)
    stage.basis[beta, beta] = np.linalg.inv(rx)
    stage.unit = stage.unit.copy()
    stage.unit[beta] = 1.0 / problem.column_extent
    return stage


def _add_shapes(curvature: FloatArray, hessian: FloatArray, crossed: FloatArray, n_par: int, p: int) -> None:
    """Let the curvature of -2g stand for (beta, phi), and for phi with par, where it is convex."""
    rest = slice(n_par, len(hessian))
    if np.all(np.isfinite(curvature)) and np.linalg.eigvalsh(curvature[rest, rest])[0] > 0.0:
        hessian[rest, rest] = curvature[rest, rest]
        crossed[:n_par, n_par + p :] = curvature[:n_par, n_par + p :]


def conclude(problem: Problem, stages: list[Stage], point: Endpoint) -> tuple[Optimum, Mode]:
    """Freeze a finished point."""
    objective = stages[-1].objective
    objective.resume(point.start)
    mode = objective.mode(point.x)
    par, beta, phi = objective.parameters(point.x)
    charge = objective.penalty.value(beta) if isinstance(objective, PenalizedObjective) else 0.0
    certificate = judge(stages[-1], point, mode.residual)
    if not certificate.converged and (note := _two_modes(problem, stages)):
        certificate = replace(certificate, messages=(note, *certificate.messages))
    if not certificate.converged and (note := at_the_edge(problem, mode)):
        certificate = replace(certificate, messages=(note, *certificate.messages))
    optimum = Optimum(
        names=objective.names,
        par=par,
        beta=beta,
        phi=phi[: problem.n_phi],
        value=point.value - charge,
        penalty=charge,
        hessian=point.known_hessian,
        gradient=point.gradient,
        certificate=certificate,
        stages=tuple(report for stage in stages for report in stage.reports),
        trace=tuple(evaluation for stage in stages for evaluation in stage.recorder.evaluations),
    )
    return optimum, mode


def _two_modes(problem: Problem, stages: list[Stage]) -> str:
    """What to say where searches of a model with random effects in its zero part gave up on steps of the deviance."""
    layout = problem.layout
    if not isinstance(layout, CoupledLayout) or not problem.family.zi or 1 not in layout.part:
        return ""
    gave_up = [report for stage in stages for report in stage.reports if not report.success]
    if len(gave_up) < 2:
        return ""
    if stages[-1].label == AdaptiveQuadratureObjective.name:
        advice = "so few points do not see both; take more (n_agq=), or leave random effects out of zi="
    else:
        advice = (
            "the Laplace approximation does not hold; use quadrature (n_agq=11), or leave random effects out of zi="
        )
    return (
        "the deviance is not smooth: with random effects in the zero part the integrand of a group can have two "
        f"maxima, and {advice}"
    )


def at_the_edge(problem: Problem, mode: Mode) -> str:
    """What to say where the mode lies on the wall of the link's domain (rows without events have no barrier there)."""
    link, used = problem.family.link, problem.weights > 0
    inside = np.abs(mode.eta) > AT_EDGE * np.max(np.abs(mode.eta), initial=0.0)
    if not np.any(used & ~inside) or np.all(link.valid_eta(np.zeros(1))):
        return ""
    row = int(np.argmax(used & ~inside))
    return (
        f"the mode of the random effects lies on the edge of the {link.name} link's domain (row {row} counted from 0: "
        f"linear predictor {mode.eta[row]:.2g}), where the Laplace approximation does not hold; use a log link"
    )


def approach(objective: ProfiledLinear, stage: Stage, at_most: int) -> FloatArray:
    """Where fixed-point steps lead from the start of the stage, as long as they bring much."""
    began, par, trial, value, decrease = time.perf_counter(), stage.start, stage.start, np.inf, np.inf
    for _ in range(at_most):
        new_value, _ = stage.recorder.value_and_gradient(trial)
        if not (np.isfinite(new_value) and new_value < value):
            break
        par, value, decrease = trial, new_value, value - new_value
        following = fixed_point_step(objective) if decrease > APPROACHED else None
        if following is None:
            break
        trial = following
    steps, message = len(stage.recorder.evaluations), f"last decrease {decrease:.2e}"
    seconds = time.perf_counter() - began
    stage.reports.append(StageReport(stage.label, "fixed_point", steps, steps, value, message, True, seconds))
    return par


def fit_linear(
    problem: Problem, reml: bool, control: Control, start: dict[str, FloatArray] | None = None
) -> tuple[Optimum, Mode, float]:
    """Fit a linear mixed model by ML or REML; returns sigma too."""
    objective = ProfiledLinear(problem, reml, control.engine)
    default, costly = scaled_start(problem, 1.0), problem.q >= COSTLY
    par = np.asarray((start or {}).get("par", default), dtype=float)
    stages: list[Stage] = []
    if control.optimizer[1] == "newton" and "par" not in (start or {}) and problem.n_par:
        stages.append(Stage("start", objective, problem, par, np.ones(par.size), control))
        par = approach(objective, stages[0], FEW_APPROACHES if costly else MAX_APPROACHES)
    scale = par_scale(problem, par, default)
    stage = Stage(objective.name, objective, problem, par, scale, control)
    stage.hessian = information_model(objective, par, scale)
    if costly:
        stage.model = lambda x: information_model(objective, x, scale)
    stages.append(stage)
    point = finish(stage, stage.run(control.optimizer[1]), control.optimizer[1])
    optimum, mode = conclude(problem, stages, point)
    if objective.fits_exactly:
        note = "the model fits the data exactly (no residual is left), so the likelihood has no maximum"
        certificate = replace(optimum.certificate, converged=False, messages=(note,))
        optimum = replace(optimum, certificate=certificate)
    return optimum, mode, objective.sigma
