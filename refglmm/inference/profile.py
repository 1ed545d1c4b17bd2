r"""Profile likelihood: how much -2 log L rises when one parameter is held and the others follow.

Place in the reading order: after ``held``. For each parameter psi,

.. math:: \zeta(\psi) = \operatorname{sign}(\psi - \hat\psi)\,
          \sqrt{\min_{\text{others}} (-2\log L) - \min(-2\log L)}

which is linear where the likelihood is quadratic. -2 log L is that of the ML problem: REML fits are refitted by ML.

**A walk** leaves the estimate to each side until |zeta| passes the cutoff :math:`\sqrt{\chi^2_{.99}(\text{number of
parameters})}`, a bound, or ``MAX_POINTS``. Steps aim at equal distances in zeta (a twelfth of the cutoff). At each
point the others are found by Newton-type steps on the exact gradient (``optimize.newton``), from where the last three
points extrapolate to, with a model of the Hessian that begins as the fit's and learns along the walk: two or three
evaluations a point. A value below the fit's minimum ends it: there is a better optimum. The model is fitted from
there, and the profiles start over at the better fit, which the result holds and a warning tells of.

**Interpolation.** At a constrained minimum the gradient is :math:`\lambda\,\nabla\psi`, so that the slope
:math:`\zeta' = \lambda / 2\zeta` is known exactly, as is that at the estimate (one over the standard error). Between
the points runs the cubic with these slopes (:class:`.profile_result.Curve`).

Source: Bates and Watts (1988), chapter 6 and appendix 6; Bates et al. (2015), section 5.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm._threads import blas_threads
from refglmm.errors import ArgumentError, OptimizationError, ProfileWarning, RefglmmError, warn
from refglmm.inference.criterion import Criterion, criterion, positive
from refglmm.inference.held import Held, hold, slope_in_x
from refglmm.inference.parameters import Parameter, absolute_scale, parameters, select, values_at
from refglmm.inference.profile_result import Curve, Profile
from refglmm.inference.tasks import run_tasks
from refglmm.optimize.newton import minimize_newton, update_bfgs

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

REFITTED = "profile of the likelihood: the REML fit was refitted by maximum likelihood"
MAX_POINTS = 100
#: Better fits that may be profiled in place of the one handed in, each found by the profiles of the one before.
RESTARTS = 5
#: Steps to the cutoff, largest growth of a step, and the multiple of the aim that zeta may gain in one.
STEPS, GROWTH, TOO_FAR = 12, 10.0, 2.5
#: First step where there is no standard error (on a boundary), in units of the criterion's scale.
FIRST_STEP = 0.02
#: So many points in a row that gain less than this share of the cutoff end a walk.
FLAT_POINTS, FLAT = 4, 1e-4
#: How often a step that went too far or out of the domain is taken shorter, and the least share of it that stays. Under
#: separation the first steps are a standard error long that means nothing.
MAX_SHORTER, SHORTEST = 24, 0.01
#: Predicted decrease at which a search over the others stops, and the evaluations that it may take.
TOLERANCE, MAX_EVALUATIONS = 1e-10, 200
#: Distance from a bound that is rounding.
AT_BOUND = 1e-9
#: How far -2 log L may lie below the fit's (rounding); lme4's objective is ragged.
LOWER, LOWER_WALK = 1e-9, 1e-4
#: A standard deviation below this share of its scale is lifted to the other before a search: zero is stationary.
ZERO, LIFT = 1e-5, 0.02


@dataclass(frozen=True)
class Point:
    """One constrained minimum: the parameter's inner value, zeta and its slope, x and the gradient there."""

    inner: float
    zeta: float
    slope: float
    x: FloatArray
    gradient: FloatArray


def profile(
    fit: FittedModel,
    which: Any = None,
    *,
    alpha: float = 0.01,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> Profile:
    r"""Profile -2 log L over each parameter.

    Parameters
    ----------
    fit : FittedModel
        Not changed. REML fits are refitted by ML; the result says so.
    which : str, int or sequence, optional
        Parameters by name or number, "theta_" or "beta_"; all by default.
    alpha : float
        The walks end at :math:`\sqrt{\chi^2_{1-\alpha}}` with one degree of freedom for each parameter of the model.
    executor : concurrent.futures.Executor, optional
        Runs the parameters side by side.
    progress : bool, optional
        See :func:`.tasks.run_tasks`.

    Returns
    -------
    Profile

    Raises
    ------
    OptimizationError
        If a lower -2 log L than the fit's is found that a fit from there does not reach, or once more after
        ``RESTARTS`` better fits; ``facts["start"]`` leads there.
    NotAvailableError
        For n_agq = 0, and for families with a scale in lme4 mode.

    Warns
    -----
    ProfileWarning
        If a lower -2 log L was found: the profiles are those of another fit, ``Profile.better_fit``.
    """
    if not isinstance(alpha, float) or not 0.0 < alpha < 1.0:
        raise ArgumentError(f"alpha must lie between 0 and 1, not {alpha!r}")
    notes: tuple[str, ...] = (REFITTED,) if fit.reml else ()
    fit, better = fit.refit_ml(), None
    for _ in range(RESTARTS):
        try:
            return _profiles(fit, which, alpha, executor, progress, notes, better)
        except OptimizationError as lower:
            fit = better = _fit_from(fit, lower)
            value = f"-2 log L = {fit.minus_two_loglik:.8f}"
            note = f"{lower.facts['found']}; these are profiles of the fit from there, {value} (better_fit)"
        notes = (*notes, note)
        warn(ProfileWarning(note, better_fit=fit))
    return _profiles(fit, which, alpha, executor, progress, notes, better)


def _fit_from(fit: FittedModel, lower: OptimizationError) -> FittedModel:
    """The fit that starts where a walk came below this one; the error itself if it gets no lower, or is another."""
    if "start" not in lower.facts:
        raise lower
    control = replace(fit.settings["control"], initial_step=False)
    other = fit.model.fit(**{**fit.settings, "control": control, "start": lower.facts["start"]})
    if not -2.0 * other.penalized_loglik <= lower.facts["value"] + LOWER_WALK:
        raise lower
    return replace(other, settings=dict(fit.settings))


def _profiles(
    fit: FittedModel,
    which: Any,
    alpha: float,
    executor: Executor | None,
    progress: bool | None,
    notes: tuple[str, ...],
    better: FittedModel | None,
) -> Profile:
    """The profiles of an ML fit; of several values below its minimum the lowest is raised."""
    from scipy.stats import chi2

    known = parameters(fit)
    chosen = select(known, which)
    found = criterion(fit)
    cutoff = float(np.sqrt(chi2.ppf(1.0 - alpha, max(len(known), 1))))
    run = partial(_profile_one, found, known, cutoff)
    outcomes = run_tasks(run, chosen, executor=executor, progress=progress, label="profile")
    for parameter, outcome in zip(chosen, outcomes, strict=True):
        if outcome.error is not None:
            raise OptimizationError(f"profile of {parameter.name}: {outcome.error}", parameter=parameter.name)
    curves = [outcome.value for outcome in outcomes]
    errors = [curve for curve in curves if isinstance(curve, RefglmmError)]
    if errors:
        raise min(errors, key=lambda error: error.facts.get("value", -np.inf))
    estimate = values_at(fit.problem, known, found.estimate)
    return Profile(tuple(curves), known, estimate, cutoff, notes, better_fit=better)


def _profile_one(
    found: Criterion, known: Sequence[Parameter], cutoff: float, parameter: Parameter
) -> Curve | RefglmmError:
    """The curve of one parameter; our own exceptions are handed back whole, they carry facts."""
    with blas_threads(found.threads):
        try:
            return _Walk(found, known, cutoff, parameter).curve()
        except RefglmmError as error:
            return error


class _Walk:
    """Both walks of one parameter."""

    def __init__(self, found: Criterion, known: Sequence[Parameter], cutoff: float, parameter: Parameter) -> None:
        self.found, self.known, self.cutoff, self.parameter = found, known, cutoff, parameter
        self.objective, self.walk = found.objective(), found.walk()
        self.evaluations = 0
        self.low, self.high = parameter.inner(parameter.lower), parameter.inner(parameter.upper)
        self.start = self._start()
        self.hessian = found.hessian

    def curve(self) -> Curve:
        """Points of both sides in order; none where the parameter is not defined."""
        if np.isnan(self.start.inner):
            none = np.empty(0)
            return Curve(self.parameter, none, none, none, np.empty((0, len(self.known))), self.evaluations)
        below, above = self._side(-1.0), self._side(1.0)
        points = [*below[::-1], self.start, *above]
        values = np.array([values_at(self.found.problem, self.known, p.x) for p in points])
        inner, zeta, slope = np.array([(p.inner, p.zeta, p.slope) for p in points]).T
        return Curve(self.parameter, inner, zeta, slope, values, self.evaluations)

    def _start(self) -> Point:
        """The estimate, with the slope that the standard error gives."""
        found, x = self.found, self.found.estimate
        self.minimum, gradient = self.objective.value_and_gradient(x)
        self.evaluations += 1
        if self.walk is not None:
            self.minimum = self.walk.value(x)
        value = values_at(found.problem, [self.parameter], x)[0]
        a = slope_in_x(found, self.parameter, x)
        follows = np.linalg.solve(found.hessian, a)
        variance = 2.0 * float(a @ follows)
        has_slope = variance > 0.0  # not at a standard deviation of zero, or a correlation of one
        self.tangent = 2.0 / variance * follows if has_slope else np.zeros(x.size)
        inner = self.parameter.inner(value)
        for bound in (self.low, self.high):
            inner = bound if abs(inner - bound) < AT_BOUND else inner
        inside = self.low < inner < self.high
        slope = 1.0 / np.sqrt(variance) if inside and has_slope else np.nan
        return Point(inner, 0.0, slope, x, gradient)

    def _first_step(self) -> float:
        aim = self.cutoff / STEPS
        if np.isfinite(self.start.slope):
            return aim / self.start.slope
        if self.parameter.kind in ("cor", "pacf"):
            return FIRST_STEP
        k = self.parameter.index
        scale = self.found.scale
        return FIRST_STEP * float(scale[k] if k is not None else np.max(scale[: self.found.problem.n_par]))

    def _side(self, sign: float) -> list[Point]:
        """Points to one side of the estimate, outwards."""
        self.hessian = self.found.hessian
        points, step = [self.start], self._first_step()
        while len(points) <= MAX_POINTS:
            last = points[-1]
            if last.inner == (self.low if sign < 0 else self.high):
                break
            new = self._next(points, sign * step)
            if new is None:
                break
            points.append(new)
            if self._levels_off(points):
                # nothing but rounding, unless it is the way to a bound
                points = points if new.inner in (self.low, self.high) else points[:-FLAT_POINTS]
                break
            if abs(new.zeta) > self.cutoff:
                break
            step = self._step_after(abs(new.inner - last.inner), abs(new.zeta) - abs(last.zeta), new)
        return points[1:]

    def _levels_off(self, points: list[Point]) -> bool:
        """Whether zeta no longer rises, however long the steps: there is no end of an interval to be found."""
        gains = np.diff(np.abs([p.zeta for p in points[-FLAT_POINTS - 1 :]]))
        return gains.size == FLAT_POINTS and bool(np.all(np.abs(gains) < FLAT * self.cutoff))

    def _step_after(self, step: float, gained: float, new: Point) -> float:
        """The step that the slope (without one, the last secant) says leads a twelfth of the cutoff further."""
        aim, slope = self.cutoff / STEPS, abs(new.slope) if np.isfinite(new.slope) else gained / step
        wanted = aim / slope if slope > 0.0 else np.inf
        return float(np.clip(wanted, step / GROWTH, step * (GROWTH if gained < 0.5 * aim else 2.0)))

    def _next(self, points: list[Point], step: float) -> Point | None:
        """The next point, nearer where the step leads too far; None where the objective cannot be evaluated."""
        new, most = None, TOO_FAR * self.cutoff / STEPS
        for _ in range(MAX_SHORTER):
            value = float(np.clip(points[-1].inner + step, self.low, self.high))
            new = self._minimise(points, value)
            gained = np.inf if new is None else abs(new.zeta) - abs(points[-1].zeta)
            if gained < most:
                break
            step *= float(np.clip(10.0 * most / gained, SHORTEST, 0.5)) if np.isfinite(gained) else 0.5
        return new

    def _minimise(self, points: list[Point], value: float) -> Point | None:
        """The minimum over the others with the parameter at ``value``; None where it is not finite."""
        last = points[-1]
        for anchor in (self._predicted(points, value), last.x):
            held = hold(self.found, self.parameter, value, self._lifted(anchor))
            reached = self._search(held, last.gradient)
            if reached is not None:
                return self._judged(points, value, *reached)
        return None

    def _predicted(self, points: list[Point], value: float) -> FloatArray:
        """Where the minimiser should be: along the tangent at first, then along the parabola of three points."""
        if len(points) == 1:
            x = points[0].x + (value - points[0].inner) * self.tangent
        else:
            x = extrapolated([p.inner for p in points[-3:]], [p.x for p in points[-3:]], value)
        return np.clip(x, self.found.lower, self.found.upper)

    def _lifted(self, x: FloatArray) -> FloatArray:
        """A standard deviation at zero is raised a little: a search could not leave it, whatever the slope beyond."""
        problem = self.found.problem
        par, unit = x[: problem.n_par], self.found.scale[: problem.n_par]
        tiny = (problem.par_lower == 0.0) & (np.abs(par) < ZERO * unit)
        lifted = x.copy()
        lifted[: problem.n_par] = problem.fold(np.where(tiny, LIFT * unit, par))
        return lifted

    def _search(self, held: Held, gradient: FloatArray) -> tuple[FloatArray, float, FloatArray] | None:
        """x, value and gradient at the end of a search by Newton-type steps."""
        best: list[Any] = [None, np.inf, None]

        def function(z: FloatArray) -> tuple[float, FloatArray]:
            x = held.point(z)
            value, g = self.objective.value_and_gradient(x)
            if value < best[1] and np.all(np.isfinite(g)):
                best[:] = x, value, g
            return value, held.gradient(z, g)

        if held.start.size == 0:
            function(held.start)
            self.evaluations += 1
        else:
            minimum, _ = minimize_newton(
                function,
                held.start,
                held.lower,
                held.upper,
                hessian=positive(held.hessian(self.hessian, gradient), held.scale),
                tolerance=TOLERANCE,
                max_evaluations=MAX_EVALUATIONS,
                largest_step=3.0 * held.scale,
            )
            self.evaluations += minimum.n_evaluations
        return None if best[0] is None else (best[0], best[1], best[2])

    def _judged(self, points: list[Point], value: float, x: FloatArray, objective: float, g: FloatArray) -> Point:
        """The point with its zeta; an error if it lies below the fit's minimum."""
        if self.walk is not None:
            objective = self.walk.value(x)
        rise, last = objective - self.minimum, points[-1]
        if rise < -(LOWER if self.walk is None else LOWER_WALK) - 1e-13 * abs(self.minimum):
            raise self._new_minimum(x, objective)
        zeta = float(np.copysign(np.sqrt(max(rise, 0.0)), value - self.start.inner))
        self.hessian = update_bfgs(self.hessian, x - last.x, g - last.gradient)
        return Point(value, zeta, self._slope(x, g, zeta), x, g)

    def _slope(self, x: FloatArray, g: FloatArray, zeta: float) -> float:
        """Lambda / (2 zeta), lambda read off the coordinates that no bound holds."""
        a = slope_in_x(self.found, self.parameter, x)
        free = (x > self.found.lower) & (x < self.found.upper)
        if self.parameter.index is not None:
            free[self.parameter.index] = True
        size = float(a[free] @ a[free])
        return float(a[free] @ g[free]) / size / (2.0 * zeta) if size > 0.0 and zeta != 0.0 else np.nan

    def _new_minimum(self, x: FloatArray, value: float) -> OptimizationError:
        par, beta, phi = self.found.problem.split(x)
        problem = self.found.problem
        start = {"par": par.copy(), "beta": beta.copy(), "phi": phi[: problem.n_phi].copy()}
        if self.found.linear:  # the optimiser of a linear mixed model sees Sigma relative to sigma^2
            start["par"] /= absolute_scale(problem, float(np.sqrt(phi[0])))
        said = (
            f"the profile of {self.parameter.name} found -2 log L = {value:.8f}, which is {self.minimum - value:.3g} "
            "lower than at the fit: the fit is not at the minimum"
        )
        stay = "" if self.walk is None else ", control={'initial_step': False}"
        return OptimizationError(
            f"{said}. Fit again from there: fit.update(start=error.facts['start']{stay})",
            parameter=self.parameter.name,
            found=said,
            start=start,
            value=value,
        )


def extrapolated(t: Sequence[float], x: Sequence[FloatArray], at: float) -> FloatArray:
    """The polynomial through the points (t, x), by Neville's scheme."""
    values = [np.array(v) for v in x]
    for order in range(1, len(t)):
        for i in range(len(t) - order):
            share = (at - t[i]) / (t[i + order] - t[i])
            values[i] = (1.0 - share) * values[i] + share * values[i + 1]
    return values[0]
