"""One optimisation stage: objective, box, scales, and whichever optimiser is wanted.

Place in the reading order: after ``newton`` and ``certificate``, before ``finish`` and ``two_stage``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import OptimizationError
from refglmm.likelihood.problem import Problem
from refglmm.optimize.control import Control
from refglmm.optimize.derivative_free import Minimum, minimize_derivative_free
from refglmm.optimize.newton import minimize_newton
from refglmm.optimize.records import Evaluation, StageReport

FloatArray = NDArray[np.float64]
Objective = Any

#: Largest change of a correlation in one step of "newton".
LARGEST_CORRELATION_STEP = 0.4


class Recorder:
    """Evaluates an objective and keeps what it saw, with the mode at the lowest point."""

    def __init__(self, stage: str, objective: Objective) -> None:
        self.stage, self.objective = stage, objective
        self.evaluations: list[Evaluation] = []
        self.lowest, self.mode_at_lowest = np.inf, objective.mode_here

    def _keep(self, psi: FloatArray, value: float) -> None:
        if value <= self.lowest:
            self.lowest, self.mode_at_lowest = value, self.objective.mode_here
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
    """One stage over (par, others).

    Attributes
    ----------
    lower, upper : float array
        The box for derivative-free optimisers: standard deviations are not negative.
    free_lower : float array
        The box for "newton": where D is even in a parameter its sign is free, and zero is an interior point.
    model : callable or None
        Model of the Hessian at the point of the last evaluation, for a search that is far from the optimum.
    patience : int
        Evaluations after which "newton" is content with the best point (a stage that only looks for a start).
    hessian : float array
        Model of the Hessian; whoever knows a better one than the scales give sets it, and "newton" updates it.
    scale : float array
        Natural size of a change of each parameter.
    basis : float array, shape (d, d)
        Coordinates in which the parameters are on a par: ``scale`` for (par, log phi), the inverse of RX for beta.
    unit : float array
        A change of each parameter that matters: ``scale``, and for beta what moves eta by one over a column's range.
    """

    def __init__(
        self,
        label: str,
        objective: Objective,
        problem: Problem,
        start: FloatArray,
        scale: FloatArray,
        control: Control,
    ) -> None:
        if not np.isfinite(objective.value(start)):
            raise OptimizationError(
                f"the deviance is not finite at the start ({objective.last_error}); give `start=` or rescale"
            )
        self.problem, self.control = problem, control
        self.recorder = Recorder(label, objective)
        self.start, self.scale = start, scale
        self.hessian = np.diag(1.0 / scale**2)
        self.basis, self.unit = np.diag(scale), scale
        self.tolerance = control.tolerance
        n_other = start.size - problem.n_par
        unbounded = np.full(n_other, np.inf)
        self.lower = np.concatenate([problem.par_lower, -unbounded])
        self.upper = np.concatenate([problem.par_upper, unbounded])
        sign_free = np.concatenate([*(s.sign_free for s in problem.structures), np.zeros(n_other, dtype=bool)])
        self.free_lower = np.where(sign_free.astype(bool), -np.inf, self.lower)
        self.model: Callable[[FloatArray], FloatArray] | None = None
        self.patience = control.max_evaluations
        self.reports: list[StageReport] = []

    @property
    def label(self) -> str:
        """Name of the stage in reports."""
        return self.recorder.stage

    @property
    def objective(self) -> Objective:
        """The objective, unrecorded."""
        return self.recorder.objective

    def run(self, optimizer: str, start: FloatArray | None = None) -> FloatArray:
        """Run the optimiser; "newton" falls back to BOBYQA, and says so, when it stalls."""
        x = self._run_one(optimizer, self.start if start is None else start)
        if optimizer == "newton" and not self.reports[-1].success:
            try:
                x = self._run_one("bobyqa", self.fold(x))
            except OptimizationError:
                return self.fold(x)  # the certificate will say what is wrong with it
            x = self._run_one("newton", x)
        return self.fold(x)

    def fold(self, x: FloatArray) -> FloatArray:
        """The same Sigma with the canonical signs."""
        folded = x.copy()
        folded[: self.problem.n_par] = self.problem.fold(x[: self.problem.n_par])
        return folded

    def _run_one(self, optimizer: str, start: FloatArray) -> FloatArray:
        began = time.perf_counter()
        if start.size == 0:
            minimum = Minimum(start, self.recorder.value(start), 1, 0, "nothing to optimise", True)
        elif optimizer == "newton":
            minimum = self._newton(start)
        else:
            minimum = self._derivative_free(optimizer, start)
        self.reports.append(
            StageReport(
                self.label,
                optimizer,
                minimum.n_evaluations,
                minimum.n_gradients,
                minimum.value,
                minimum.message,
                minimum.success,
                time.perf_counter() - began,
            )
        )
        return minimum.x

    def _newton(self, start: FloatArray) -> Minimum:
        minimum, self.hessian = minimize_newton(
            self.recorder.value_and_gradient,
            start,
            self.free_lower,
            self.upper,
            hessian=self.hessian,
            tolerance=self.tolerance,
            max_evaluations=min(self.patience, self.control.max_evaluations),
            largest_step=np.where(np.isfinite(self.upper), LARGEST_CORRELATION_STEP, 3.0 * self.scale),
            model=self.model,
        )
        content = minimum.n_evaluations >= self.patience < self.control.max_evaluations
        return replace(minimum, success=True) if content else minimum

    def _derivative_free(self, optimizer: str, start: FloatArray) -> Minimum:
        minimum = minimize_derivative_free(
            self.recorder.value,
            np.clip(start, self.lower, self.upper),
            self.lower,
            self.upper,
            method=optimizer,
            first_step=np.minimum(0.2 * self.scale, 0.5 * (self.upper - self.lower)),
            x_tolerance=1e-7 * self.scale,
            f_tolerance=0.0,
            max_evaluations=self.control.max_evaluations,
        )
        return try_edges(self.recorder.value, minimum, self.lower, self.upper, self.control.edge_tolerance * self.scale)


def try_edges(function: Any, minimum: Minimum, lower: FloatArray, upper: FloatArray, tolerance: FloatArray) -> Minimum:
    """Try each parameter that is close to, but not on, a bound exactly on it; keep it there if that is not worse."""
    x, value = minimum.x, minimum.value
    for j in range(lower.size):
        for bound in (lower[j], upper[j]):
            if 0 < abs(x[j] - bound) < tolerance[j]:
                trial = x.copy()
                trial[j] = bound
                trial_value = function(trial)
                if trial_value <= value:
                    x, value = trial, trial_value
    return Minimum(x, value, minimum.n_evaluations, minimum.n_gradients, minimum.message, minimum.success)
