r"""From where an optimiser stopped to a certified optimum.

Place in the reading order: after ``stage``, before ``two_stage``.

1. The Hessian by differences of the exact gradient (it is needed for standard errors anyway).
2. Lower nearby? A zero variance is always stationary, and may be a saddle or a poor local optimum: look along negative
   curvature and off the edge, and search again from what is lower.
3. Newton steps on that Hessian until they promise nothing more.
4. A variance that is zero for all practical purposes is set to zero.
5. The certificate.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from refglmm.likelihood.problem import Problem
from refglmm.optimize.certificate import FLAT, certify, unit_diagonal
from refglmm.optimize.newton import cholesky_step, objective_hessian
from refglmm.optimize.records import Certificate
from refglmm.optimize.stage import Stage

FloatArray = NDArray[np.float64]

#: Step of the Hessian's differences, in units of the standard error that the model Hessian suggests.
HESSIAN_STEP = 1e-3
MAX_NEWTON_STEPS = 8
#: A step that promised more than this (deviance units) is worth another Hessian.
NEW_HESSIAN = 1e-4
#: Predicted decrease below which no further step is taken.
POLISHED = 1e-15
#: Rounds of Hessian, way out and snapping; each ends at a point that is no worse.
MAX_ROUNDS = 4
#: So many of the lowest evaluations are tried again where the last point cannot be evaluated a second time.
REPEATED = 30
#: A large standard deviation, in units of the default start.
FAR = 3.0
#: Logarithms of ranges are tried over this width about their start.
LOG_REACH = 6.0
#: A rise of the objective that setting a tiny variance to zero may cost.
NEGLIGIBLE = 1e-9


@dataclass
class Endpoint:
    """A point with everything known about it; ``start`` is where PIRLS finds the mode there at once."""

    x: FloatArray
    value: float
    gradient: FloatArray
    start: tuple[FloatArray, ...]
    hessian: FloatArray = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def known_hessian(self) -> FloatArray | None:
        """The Hessian, or None where it was not computed (that of no parameters is empty)."""
        return self.hessian if self.hessian.size or not self.x.size else None


def finish(stage: Stage, x: FloatArray, optimizer: str) -> Endpoint:
    """Polish the point where ``optimizer`` stopped."""
    stage.objective.resume(stage.recorder.mode_at_lowest)
    point = _evaluate(stage, x)
    if not np.isfinite(point.value):
        point = _lowest_again(stage, point)
    if stage.control.derivatives is False:
        return point
    look_around = optimizer == "newton"
    for _ in range(MAX_ROUNDS):
        point.hessian = hessian_at(stage, point.x)
        way_out = _way_out(stage, point, optimizer) if look_around else None
        look_around = way_out is not None
        if way_out is not None:
            point = _evaluate(stage, way_out)
            continue
        point = _newton_steps(stage, point)
        simpler = _snap_to_zero(stage, point)
        if simpler is None:
            break
        point = simpler
    return point


def as_it_is(stage: Stage, x: FloatArray) -> Endpoint:
    """The point with its derivatives, for a certificate of where something else stopped; nothing moves."""
    point = _evaluate(stage, x)
    point.hessian = hessian_at(stage, point.x)
    return point


def _evaluate(stage: Stage, x: FloatArray) -> Endpoint:
    value, gradient = stage.objective.value_and_gradient(x)
    return Endpoint(x, value, gradient, stage.objective.mode_here)


def _lowest_again(stage: Stage, point: Endpoint) -> Endpoint:
    """The lowest evaluation that can be repeated: on the edge of a link's domain a mode may not be found twice."""
    for evaluation in sorted(stage.recorder.evaluations, key=lambda e: e.value)[:REPEATED]:
        again = _evaluate(stage, evaluation.parameters)
        if np.isfinite(again.value):
            return again
    return point


def hessian_at(stage: Stage, x: FloatArray) -> FloatArray:
    """Hessian at the last evaluation, by differences with steps that are a small share of a standard error."""
    with np.errstate(divide="ignore"):
        se = np.sqrt(2.0 / np.maximum(np.diag(stage.basis.T @ stage.hessian @ stage.basis), 0.0))
    steps = stage.basis * (HESSIAN_STEP * np.minimum(se, 1.0))
    return objective_hessian(stage.objective, x, steps, stage.free_lower, stage.upper)


def held(stage: Stage, par: FloatArray) -> NDArray[np.bool_]:
    """Coordinates that have no effect at par: the correlation of standard deviations that are zero."""
    problem, tolerance = stage.problem, stage.control.edge_tolerance
    mask = np.zeros(stage.scale.size, dtype=bool)
    for structure, part in zip(problem.structures, problem.par_slices, strict=True):
        mask[part] = structure.undetermined(par[part], tolerance * float(np.max(stage.scale[part], initial=0.0)))
    return mask


def _inside(stage: Stage, x: FloatArray) -> NDArray[np.bool_]:
    return (x > stage.free_lower) & (x < stage.upper) & ~held(stage, x[: stage.problem.n_par])


def _way_out(stage: Stage, point: Endpoint, optimizer: str) -> FloatArray | None:
    """Where a search ends that starts from the best of the trial points around; None unless that is lower."""
    trials = [
        *_along_negative_curvature(stage, point),
        *_off_the_edge(stage, point),
        *_from_afar(stage, point),
    ]
    values = [stage.objective.value(trial) for trial in trials]
    if not trials or not np.isfinite(min(values)):
        return None
    hessian = stage.hessian
    x = stage.run(optimizer, trials[int(np.argmin(values))])
    if stage.objective.value(x) < point.value - NEGLIGIBLE:
        return x
    stage.hessian = hessian
    return None


def _along_negative_curvature(stage: Stage, point: Endpoint) -> list[FloatArray]:
    """Both ways along the direction of most negative curvature; nothing where there is none."""
    inside = _inside(stage, point.x)
    block = point.hessian[np.ix_(inside, inside)]
    if not np.all(np.isfinite(block)) or cholesky_step(point.hessian, point.gradient, inside)[1]:
        return []
    weights = stage.scale[inside]
    values, vectors = np.linalg.eigh(block * np.outer(weights, weights))
    if values[0] >= -FLAT * max(1.0, values[-1]):
        return []
    direction = np.zeros(point.x.size)
    direction[inside] = weights * vectors[:, 0]
    lengths = (1.0, -1.0, 0.3, -0.3, 0.1, -0.1)
    return [np.clip(point.x + length * direction, stage.free_lower, stage.upper) for length in lengths]


def _off_the_edge(stage: Stage, point: Endpoint) -> list[FloatArray]:
    """Where a standard deviation of a correlated structure is zero: the same with it raised, for several correlations.

    Such a zero can be a poor local optimum, because which way is up depends on the correlation (or its range).
    """
    problem, trials = stage.problem, []
    for part in problem.par_slices:
        shapes = np.flatnonzero(~problem.par_in_sd_units[part]) + part.start
        at_zero = np.flatnonzero(np.abs(point.x[part]) < stage.control.edge_tolerance * stage.scale[part])
        for zero in set(at_zero + part.start) - set(shapes) if shapes.size else ():
            for size in (0.3, 1.0):
                for share in (0.25, 0.5, 0.75):
                    trial = point.x.copy()
                    trial[zero] = size * stage.scale[zero]
                    trial[shapes] = _along_its_range(stage, share)[shapes]
                    trials.append(trial)
    return trials


def _along_its_range(stage: Stage, share: float) -> FloatArray:
    """Par with each correlation this share of the way between its bounds, each logarithm as far from its start."""
    problem = stage.problem
    with np.errstate(invalid="ignore"):
        between = problem.par_lower + share * (problem.par_upper - problem.par_lower)
    return np.where(problem.par_logarithms, problem.par_start + LOG_REACH * (share - 0.5), between)


def _from_afar(stage: Stage, point: Endpoint) -> list[FloatArray]:
    """A large standard deviation where one of a GLMM is zero: sparse data can have a second optimum there."""
    zero = np.flatnonzero(np.abs(point.x) < stage.control.edge_tolerance * stage.scale)
    zero = zero[stage.lower[zero] == 0.0]
    if not zero.size or not hasattr(stage.objective, "pirls"):
        return []
    trial = point.x.copy()
    trial[zero] = FAR * stage.scale[zero]
    return [trial]


def _newton_steps(stage: Stage, point: Endpoint) -> Endpoint:
    """Newton steps on the differenced Hessian; each must not raise the objective."""
    for _ in range(MAX_NEWTON_STEPS):
        step = _newton_step(stage, point)
        decrease = -0.5 * float(step @ point.gradient)
        if decrease < POLISHED:
            break
        following = _not_higher(stage, point, step)
        if following is None:
            break
        point = following
        if decrease > NEW_HESSIAN or not point.hessian.size:
            point.hessian = hessian_at(stage, point.x)
    return point


def _newton_step(stage: Stage, point: Endpoint) -> FloatArray:
    """Newton step on the differenced Hessian along the directions that have curvature; zero if some is negative."""
    inside = _inside(stage, point.x)
    step, well_posed = cholesky_step(point.hessian, point.gradient, inside)
    if well_posed:
        return step
    step, block = np.zeros(point.x.size), point.hessian[np.ix_(inside, inside)]
    if not block.size or not np.all(np.isfinite(block)):
        return step
    basis = stage.basis[np.ix_(inside, inside)]
    scaled, scale = unit_diagonal(basis.T @ block @ basis)
    values, vectors = np.linalg.eigh(scaled)
    if values[0] >= -FLAT:
        curved = values > FLAT  # nothing is to be gained along the others
        basis = basis * scale @ vectors[:, curved]
        step[inside] = -basis @ (basis.T @ point.gradient[inside] / values[curved])
    return step


def _not_higher(stage: Stage, point: Endpoint, step: FloatArray) -> Endpoint | None:
    """The end of a step, or of a part of it, that does not raise the objective; None if all do.

    A part of a step means that the Hessian changes along it: it has to be computed again.
    """
    for length in (1.0, 0.5, 0.25):
        following = _evaluate(stage, np.clip(point.x + length * step, stage.free_lower, stage.upper))
        if following.value <= point.value + 1e-12 * abs(point.value):
            if length == 1.0:
                following.hessian = point.hessian
            return following
    return None


def _snap_to_zero(stage: Stage, point: Endpoint) -> Endpoint | None:
    """The point with standard deviations that are zero for all practical purposes at zero; None if there are none."""
    x = point.x.copy()
    tiny = (stage.lower == 0.0) & (x != 0.0) & (np.abs(x) < stage.control.edge_tolerance * stage.scale)
    x[tiny] = 0.0
    x = stage.fold(x)
    if np.array_equal(x, point.x):
        return None
    simpler = _evaluate(stage, x)
    return simpler if simpler.value <= point.value + NEGLIGIBLE else None


def boundary_names(problem: Problem, par: FloatArray, tolerance: float, unit: FloatArray) -> tuple[str, ...]:
    """Covariance parameters that make the fit singular (spec of lme4, section 6.7).

    ``unit``: what counts as one for each parameter; with :attr:`.Problem.natural_unit` the verdict does not depend
    on the units of a column.
    """
    names: list[str] = []
    scaled = par / unit
    for structure, part in zip(problem.structures, problem.par_slices, strict=True):
        values, lower, upper = scaled[part], problem.par_lower[part], problem.par_upper[part]
        at_edge = (np.abs(values - lower) < tolerance) | (np.abs(upper - values) < tolerance)
        if structure.is_singular(values, tolerance):
            names += [name for name, edge in zip(problem.par_names[part], at_edge, strict=True) if edge]
    return tuple(names)


def judge(stage: Stage, point: Endpoint, pirls_residual: float) -> Certificate:
    """The certificate of a finished point; an optimiser's own complaint counts only where there is no Hessian."""
    report = stage.reports[-1]
    notes = [] if report.success or point.hessian.size else [f"{report.optimizer}: {report.message}"]
    problem = stage.problem
    par = point.x[: problem.n_par]
    return certify(
        stage.objective.names,
        point.x,
        point.gradient,
        point.known_hessian,
        stage.free_lower,
        stage.upper,
        boundary=boundary_names(problem, par, stage.control.singular_tolerance, problem.natural_unit),
        pirls_residual=pirls_residual,
        held=held(stage, par),
        basis=stage.basis,
        unit=stage.unit,
        notes=notes,
    )
