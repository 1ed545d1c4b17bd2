r"""From where an optimiser stopped to a certified optimum.

Place in the reading order: after ``stage``, before ``two_stage``.

1. The Hessian by differences of the exact gradient (it is needed for standard errors anyway).
2. Negative curvature? The point is a saddle (a zero variance is always stationary): step along it and search again.
3. Newton steps on that Hessian until they promise nothing more.
4. A variance that is zero for all practical purposes is set to zero.
5. The certificate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refglmm.likelihood.problem import Problem
from refglmm.optimize.certificate import FLAT, certify, unit_diagonal
from refglmm.optimize.newton import difference_hessian
from refglmm.optimize.records import Certificate
from refglmm.optimize.stage import Stage

FloatArray = NDArray[np.float64]

#: Step of the Hessian's differences, in units of the standard error that the model Hessian suggests.
HESSIAN_STEP = 1e-3
MAX_NEWTON_STEPS = 4
#: A step that promised more than this (deviance units) is worth another Hessian.
NEW_HESSIAN = 1e-4
#: Predicted decrease below which no further step is taken.
POLISHED = 1e-11
MAX_ESCAPES = 2
#: A rise of the objective that setting a tiny variance to zero may cost.
NEGLIGIBLE = 1e-9


@dataclass
class Endpoint:
    """A point with everything known about it."""

    x: FloatArray
    value: float
    gradient: FloatArray
    hessian: FloatArray | None


def finish(stage: Stage, x: FloatArray, optimizer: str) -> Endpoint:
    """Polish the point where ``optimizer`` stopped."""
    value, gradient = stage.objective.value_and_gradient(x)
    point = Endpoint(x, value, gradient, None)
    if stage.control.derivatives is False:
        return point
    point.hessian = _hessian(stage, point)
    for _ in range(MAX_ESCAPES if optimizer == "newton" else 0):
        way_out = _escape(stage, point)
        if way_out is None:
            break
        x = stage.run(optimizer, way_out)
        value, gradient = stage.objective.value_and_gradient(x)
        point = Endpoint(x, value, gradient, None)
        point.hessian = _hessian(stage, point)
    point = _newton_steps(stage, point)
    return _snap_to_zero(stage, point)


def _hessian(stage: Stage, point: Endpoint) -> FloatArray:
    """Differences with steps that are a small share of a standard error."""
    with np.errstate(divide="ignore"):
        se = np.sqrt(2.0 / np.maximum(np.diag(stage.hessian), 0.0))
    steps = HESSIAN_STEP * np.minimum(se, stage.scale)
    objective = stage.objective
    if hasattr(objective, "mode_slope"):
        objective.predict_modes(point.x)
    hessian = difference_hessian(objective.value_and_gradient, point.x, steps, stage.free_lower, stage.upper)
    if hasattr(objective, "mode_slope"):
        objective.predict_modes(None)
    return hessian


def _inside(stage: Stage, x: FloatArray) -> NDArray[np.bool_]:
    return (x > stage.free_lower) & (x < stage.upper)


def _escape(stage: Stage, point: Endpoint) -> FloatArray | None:
    """A lower point along the direction of most negative curvature, or None where there is none."""
    inside = _inside(stage, point.x)
    block = point.hessian[np.ix_(inside, inside)]
    if not block.size or not np.all(np.isfinite(block)):
        return None
    weights = stage.scale[inside]
    values, vectors = np.linalg.eigh(block * np.outer(weights, weights))
    if values[0] >= -FLAT * max(1.0, values[-1]):
        return None
    direction = np.zeros(point.x.size)
    direction[inside] = weights * vectors[:, 0]
    best, best_value = None, point.value - NEGLIGIBLE
    for length in (1.0, -1.0, 0.3, -0.3, 0.1, -0.1):
        trial = np.clip(point.x + length * direction, stage.free_lower, stage.upper)
        value = stage.objective.value(trial)
        if value < best_value:
            best, best_value = trial, value
    return best


def _newton_steps(stage: Stage, point: Endpoint) -> Endpoint:
    """Newton steps on the differenced Hessian; each must not raise the objective."""
    for _ in range(MAX_NEWTON_STEPS):
        inside = _inside(stage, point.x)
        block = point.hessian[np.ix_(inside, inside)]
        if not block.size or not np.all(np.isfinite(block)):
            break
        scaled, scale = unit_diagonal(block)
        if np.linalg.eigvalsh(scaled)[0] <= FLAT:
            break
        step = np.zeros(point.x.size)
        step[inside] = -scale * np.linalg.solve(scaled, scale * point.gradient[inside])
        decrease = -0.5 * float(step @ point.gradient)
        if decrease < POLISHED:
            break
        x = np.clip(point.x + step, stage.free_lower, stage.upper)
        value, gradient = stage.objective.value_and_gradient(x)
        if not value <= point.value + 1e-12 * abs(point.value):
            break
        point = Endpoint(x, value, gradient, point.hessian)
        if decrease > NEW_HESSIAN:
            point.hessian = _hessian(stage, point)
    return point


def _snap_to_zero(stage: Stage, point: Endpoint) -> Endpoint:
    """Set standard deviations that are zero for all practical purposes to zero."""
    x = point.x.copy()
    tiny = np.isneginf(stage.free_lower) & (stage.lower == 0.0) & (x != 0.0)
    tiny &= np.abs(x) < stage.control.edge_tolerance * stage.scale
    if not tiny.any():
        return point
    x[tiny] = 0.0
    value, gradient = stage.objective.value_and_gradient(x)
    if value > point.value + NEGLIGIBLE:
        return point
    return Endpoint(x, value, gradient, point.hessian)


def boundary_names(problem: Problem, par: FloatArray, tolerance: float) -> tuple[str, ...]:
    """Covariance parameters that make the fit singular (spec of lme4, section 6.7)."""
    names: list[str] = []
    for structure, part in zip(problem.structures, problem.par_slices, strict=True):
        values, lower, upper = par[part], problem.par_lower[part], problem.par_upper[part]
        at_edge = (np.abs(values - lower) < tolerance) | (np.abs(upper - values) < tolerance)
        if structure.is_singular(values, tolerance):
            names += [name for name, edge in zip(problem.par_names[part], at_edge, strict=True) if edge]
    return tuple(names)


def judge(stage: Stage, point: Endpoint, pirls_residual: float) -> Certificate:
    """The certificate of a finished point; an optimiser's own complaint counts only where there is no Hessian."""
    report = stage.reports[-1]
    notes = [] if report.success or point.hessian is not None else [f"{report.optimizer}: {report.message}"]
    problem = stage.problem
    return certify(
        stage.objective.names,
        point.x,
        point.gradient,
        point.hessian,
        stage.free_lower,
        stage.upper,
        boundary=boundary_names(problem, point.x[: problem.n_par], stage.control.singular_tolerance),
        pirls_residual=pirls_residual,
        notes=notes,
    )
