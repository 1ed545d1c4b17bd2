r"""-2 log L of a fitted model as a function of all its parameters, x = (par, beta, log phi), with gradient and Hessian.

Place in the reading order: after ``parameters``, before ``wald`` and ``profile``.

For a generalized model this is the objective that was optimised. A linear mixed model's objective has beta and sigma
profiled out; but the Laplace approximation is exact for the Gaussian, so that the same objective with family gaussian
and identity link *is* its -2 log L, of all parameters, Sigma no longer relative to sigma^2. Nothing below has to know
which of the two it looks at. A REML criterion has no beta: such fits are refitted by ML.

``mode="lme4"``: lme4's objective is slightly ragged (PIRLS stops early there) and has no gradient. The same points
are visited, on the exact objective with expected information, and lme4's own one is evaluated there: the minimisers
of both lie so close together (1e-3 standard errors) that this costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm._threads import blas_threads
from refglmm.errors import NotAvailableError
from refglmm.fit.vcov import whole_covariance
from refglmm.inference.parameters import full_vector
from refglmm.likelihood.agq import likelihood_objective
from refglmm.likelihood.lme4_walk import Lme4Walk
from refglmm.likelihood.penalty import Penalty, penalized
from refglmm.likelihood.pirls import Pirls
from refglmm.likelihood.problem import Problem
from refglmm.optimize.newton import objective_hessian
from refglmm.optimize.starts import par_scale

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

#: Steps of the Hessian's differences, in standard errors.
DIFFERENCE = 1e-3
#: Smallest curvature, in deviance units per scale^2, that a model Hessian starts with.
SMALLEST_CURVATURE = 1e-3


@dataclass(frozen=True)
class Criterion:
    """-2 log L around its minimum; everything a profile needs to start in another process.

    Attributes
    ----------
    problem : Problem
    linear : bool
        Whether the fit is a linear mixed model.
    n_agq, curvature, engine, threads
        As the fit had them.
    walk_start : float array or None
        lme4 mode: par at the end of stage 1, where each PIRLS of stage 2 starts.
    estimate : float array, shape (d,)
        x at the minimum.
    hessian : float array, shape (d, d)
    scale : float array, shape (d,)
        Natural size of a change of each coordinate.
    lower, upper : float array, shape (d,)
        The box; a standard deviation whose sign does not matter is free to pass through zero.
    penalty : Penalty or None
        What the fit added to -2 log L; then everything here is about the sum.
    """

    problem: Problem
    linear: bool
    n_agq: int
    curvature: str
    engine: str
    threads: int
    estimate: FloatArray
    hessian: FloatArray
    scale: FloatArray
    lower: FloatArray
    upper: FloatArray
    walk_start: FloatArray | None = None
    penalty: Penalty | None = None

    def objective(self) -> Any:
        """A fresh objective: value, gradient, and the mode that the next search starts from."""
        objective = likelihood_objective(Pirls(self.problem, self.engine), self.n_agq, self.curvature)
        return penalized(objective, self.penalty)

    def walk(self) -> WalkObjective | None:
        """lme4's objective, in lme4 mode."""
        if self.walk_start is None:
            return None
        return WalkObjective(self.problem, self.n_agq, self.engine, self.walk_start)


class WalkObjective:
    """lme4's devfun(theta, beta) as a function of x."""

    def __init__(self, problem: Problem, n_agq: int, engine: str, start: FloatArray) -> None:
        self.problem, self.n_agq, self.walk = problem, n_agq, Lme4Walk(problem, engine)
        self.walk.stage_one(start)
        self.walk.fix_start()

    def value(self, x: FloatArray) -> float:
        """-2 log L; inf where PIRLS fails."""
        par, beta, _ = self.problem.split(x)
        if self.n_agq == 1:
            return self.walk.stage_two(par, beta)
        return self.walk.quadrature(par, beta, self.n_agq)


def criterion(fit: FittedModel) -> Criterion:
    """-2 log L of an ML fit in exact mode.

    Raises
    ------
    NotAvailableError
        For n_agq = 0, whose objective is no likelihood of (par, beta).
    """
    if fit.n_agq == 0:
        raise NotAvailableError(
            "n_agq=0 solves for beta inside the penalised problem, so there is no likelihood to profile; "
            "refit with n_agq=1"
        )
    problem, control = fit.problem, fit.settings["control"]
    x = full_vector(fit)
    scale = _scale(fit, x)
    free = np.full(x.size - problem.n_par, np.inf)
    sign_free = np.concatenate([*(s.sign_free for s in problem.structures), np.empty(0, dtype=bool)])
    lower = np.concatenate([np.where(sign_free, -np.inf, problem.par_lower), -free])
    upper = np.concatenate([problem.par_upper, free])
    walks = fit.is_glmm and fit.mode_name == "lme4"
    found = Criterion(
        problem,
        fit.is_lmm,
        fit.n_agq,
        "expected" if walks else control.curvature,
        control.engine,
        control.threads,
        x,
        np.diag(1.0 / scale**2),
        scale,
        lower,
        upper,
        _walk_start(fit) if walks else None,
        fit.penalty,
    )
    return replace(found, hessian=positive(observed_hessian(fit, found), scale))


def observed_hessian(fit: FittedModel, found: Criterion) -> FloatArray:
    """That of the fit; a linear mixed model has one of par only, lme4's is ragged: they get one by differences."""
    if fit.is_glmm and found.walk_start is None and fit.optimum.hessian is not None:
        return np.array(fit.optimum.hessian, dtype=float)
    with blas_threads(found.threads):
        objective = found.objective()
        objective.value(found.estimate)
        steps = np.diag(DIFFERENCE * found.scale)
        return objective_hessian(objective, found.estimate, steps, found.lower, found.upper)


def _walk_start(fit: FittedModel) -> FloatArray:
    """Par at the end of lme4's stage 1, where each PIRLS of its stage 2 starts."""
    n_par = fit.problem.n_par
    if fit.problem.n_phi:
        raise NotAvailableError(
            f"mode='lme4' has no likelihood of the parameters of the {fit.family.name} family; fit in mode='exact'"
        )
    stage_one = [e for e in fit.optimum.trace if e.stage == "n_agq=0"]
    return min(stage_one, key=lambda e: e.value).parameters if stage_one else np.array(fit.optimum.par[:n_par])


def _scale(fit: FittedModel, x: FloatArray) -> FloatArray:
    """Standard deviations as large as they are, coefficients by their standard errors, logarithms of shapes by one."""
    problem = fit.problem
    unit = problem.natural_unit * (fit.sigma if fit.is_lmm else 1.0)
    # a correlation's start is 0; at 1 the factor's derivative has no bound
    unit = np.where(problem.par_in_sd_units, unit, problem.par_start)
    par = problem.fold(x[: problem.n_par])
    return np.concatenate(
        [par_scale(problem, par, unit), np.sqrt(np.diag(whole_covariance(fit).matrix)), np.ones(problem.n_phi)]
    )


def positive(hessian: FloatArray, scale: FloatArray) -> FloatArray:
    """The Hessian where it is well positive definite in units of ``scale``; raised to that elsewhere.

    On the boundary some directions are flat: a search must not go to infinity along them.
    """
    scaled = hessian * np.outer(scale, scale)
    if not np.all(np.isfinite(scaled)):
        return np.diag(1.0 / scale**2)
    values, vectors = np.linalg.eigh(0.5 * (scaled + scaled.T))
    if values[0] >= SMALLEST_CURVATURE:
        return 0.5 * (hessian + hessian.T)
    return (vectors * np.maximum(values, SMALLEST_CURVATURE)) @ vectors.T / np.outer(scale, scale)
