r"""A safeguarded quasi-Newton method on the exact gradient, finished by Newton steps.

Place in the reading order: after ``derivative_free``. Takes functions and numbers, no models.

BFGS keeps a model B of the Hessian. It starts from what the caller knows (twice the information of the fixed
effects), so that the first steps already have the right scale. Each step solves B d = -g over the coordinates that
do not press against a bound, is cut back to the box and halved until the objective falls enough (Armijo). Curvature
pairs are damped (Powell 1978) so that B stays positive definite.

What counts is the Newton decrement :math:`\tfrac12 d'Bd`, the decrease that the model still promises, in deviance
units: it does not change when a column is rescaled, which a gradient does.

Source: Nocedal and Wright (2006), algorithms 6.1, 18.2 (damping).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm._jit import kernel
from refglmm.optimize.derivative_free import Minimum

FloatArray = NDArray[np.float64]
ValueAndGradient = Callable[[FloatArray], tuple[float, FloatArray]]

ARMIJO = 1e-4
MAX_HALVINGS = 40
#: Share of the steepest admissible curvature that a damped pair keeps (Powell's constant).
DAMPING = 0.2
#: Smallest eigenvalue of the model Hessian (unit diagonal), and its smallest diagonal element.
WORN_OUT, TINY = 1e-12, 1e-300
#: Smallest pivot of the scaled model with which a system is solved without a look at its eigenvalues.
WELL_POSED = 1e-8
#: Longer steps (where the model Hessian has all but vanished) are cut to this before they are measured.
ENORMOUS = 1e100
#: A step covers at most this share of the way to a bound, unless the bound is closer than ``AT_BOUND``.
TOWARDS_BOUND = 0.9
AT_BOUND = 1e-6
#: What one-sided differences make of a step of 1e-3 standard errors: their error, in proportion to it, is then about
#: 3e-7 of the Hessian, that of rounding as much.
ONE_SIDED = 3e-3
#: So many steps that together lower the objective by less than this (in its units) lead nowhere.
CREEPING, PROGRESS = 20, 1e-8


@kernel
def free_coordinates(x: FloatArray, gradient: FloatArray, lower: FloatArray, upper: FloatArray) -> NDArray[np.bool_]:
    """Coordinates that are not held by a bound they press against."""
    free = np.empty(x.size, dtype=np.bool_)
    for j in range(x.size):
        free[j] = not ((x[j] <= lower[j] and gradient[j] > 0.0) or (x[j] >= upper[j] and gradient[j] < 0.0))
    return free


@kernel
def cholesky_step(B: FloatArray, gradient: FloatArray, free: NDArray[np.bool_]) -> tuple[FloatArray, bool]:
    """Step d with B_ff d_f = -g_f by Cholesky in unit-diagonal scaling, and whether its pivots were well posed."""
    d = gradient.size
    scale, step, L = np.empty(d), np.empty(d), np.empty((d, d))
    for i in range(d):
        scale[i] = 1.0 / np.sqrt(max(B[i, i], TINY)) if free[i] else 0.0
        step[i] = -gradient[i] * scale[i]
        pivot = B[i, i] * scale[i] * scale[i] if free[i] else 1.0
        for j in range(i):
            value = B[i, j] * scale[i] * scale[j]
            for m in range(j):
                value -= L[i, m] * L[j, m]
            L[i, j] = value / L[j, j]
            pivot -= L[i, j] * L[i, j]
            step[i] -= L[i, j] * step[j]
        if not pivot > WELL_POSED:
            return step, False
        L[i, i] = np.sqrt(pivot)
        step[i] /= L[i, i]
    for i in range(d - 1, -1, -1):
        for j in range(i + 1, d):
            step[i] -= L[j, i] * step[j]
        step[i] /= L[i, i]
    for i in range(d):
        step[i] *= scale[i]
    return step, True


def newton_direction(B: FloatArray, gradient: FloatArray, free: NDArray[np.bool_]) -> tuple[FloatArray, float]:
    """Step d with B_ff d_f = -g_f and the predicted decrease 1/2 g'B^-1 g.

    B is positive definite up to rounding; in unit-diagonal scaling its eigenvalues are kept above ``WORN_OUT``.
    """
    step, well_posed = cholesky_step(B, gradient, free)
    if not well_posed:
        with np.errstate(over="ignore", invalid="ignore"):
            step = _eigenvalue_step(B, gradient, free)
        if not np.all(np.isfinite(step)):  # the model has run away: steepest descent, the caller cuts it
            return np.where(free, -gradient, 0.0), np.inf
    return step, -0.5 * float(step @ gradient)


def _eigenvalue_step(B: FloatArray, gradient: FloatArray, free: NDArray[np.bool_]) -> FloatArray:
    """The same step with small and negative eigenvalues of the scaled model raised; not finite where it is not."""
    block, step = B[np.ix_(free, free)], np.zeros(gradient.size)
    scale = 1.0 / np.sqrt(np.maximum(block.diagonal(), TINY))
    scaled = block * np.outer(scale, scale)
    if not np.all(np.isfinite(scaled)):
        return np.full(gradient.size, np.nan)
    values, vectors = np.linalg.eigh(scaled)
    step[free] = -scale * (vectors @ (((scale * gradient[free]) @ vectors) / np.maximum(values, WORN_OUT)))
    return step


@kernel
def shorten(
    x: FloatArray, step: FloatArray, lower: FloatArray, upper: FloatArray, largest_step: FloatArray
) -> FloatArray:
    """Cut a step to the largest one allowed, and to a share of the way to any finite bound.

    The share keeps one bold step from landing on a bound, where a correlation of one may be a poor stationary point.
    """
    size = 0.0
    for j in range(x.size):
        size = max(size, abs(step[j]))
    cut, excess, short = max(1.0, size / ENORMOUS), 1.0, np.empty(x.size)
    for j in range(x.size):
        short[j] = step[j] / cut
        allowed, room = largest_step[j], upper[j] - x[j] if step[j] > 0.0 else x[j] - lower[j]
        if AT_BOUND < room < np.inf:
            allowed = min(allowed, TOWARDS_BOUND * room)
        excess = max(excess, abs(short[j]) / allowed)
    for j in range(x.size):
        short[j] /= excess
    return short


@kernel
def update_bfgs(B: FloatArray, step: FloatArray, change: FloatArray) -> FloatArray:
    """BFGS update of the Hessian model with a damped curvature pair."""
    d = step.size
    Bs, sBs, sy = np.empty(d), 0.0, 0.0
    for i in range(d):
        Bs[i] = 0.0
        for j in range(d):
            Bs[i] += B[i, j] * step[j]
        sBs += step[i] * Bs[i]
        sy += step[i] * change[i]
    new = B.copy()
    if sBs <= 0.0:
        return new
    share = 1.0
    if sy < DAMPING * sBs:
        share = (1.0 - DAMPING) * sBs / (sBs - sy)
        sy = share * sy + (1.0 - share) * sBs
    for i in range(d):
        for j in range(d):
            pair = (share * change[i] + (1.0 - share) * Bs[i]) * (share * change[j] + (1.0 - share) * Bs[j])
            new[i, j] += pair / sy - Bs[i] * Bs[j] / sBs
    return new


def minimize_newton(
    function: ValueAndGradient,
    start: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    *,
    hessian: FloatArray,
    tolerance: float,
    max_evaluations: int,
    largest_step: FloatArray,
    model: Callable[[FloatArray], FloatArray] | None = None,
) -> tuple[Minimum, FloatArray]:
    """Minimise ``function`` inside a box with its exact gradient.

    Parameters
    ----------
    function : callable, x -> (value, gradient)
        May return (inf, nan) outside its domain.
    hessian : float array, shape (d, d)
        First model of the Hessian, positive definite.
    tolerance : float
        Stop when the predicted decrease is below this, in units of the objective.
    largest_step : float array, shape (d,)
        No coordinate moves further than this in one step.
    model : callable, x -> float array of shape (d, d), optional
        A fresh model of the Hessian at the point of the last evaluation, to be used instead of BFGS's: far from the
        optimum a secant over a long way says less.

    Returns
    -------
    minimum : Minimum
    B : float array, the model of the Hessian at the end
    """
    x = np.clip(start, lower, upper)
    value, gradient = function(x)
    evaluations, B, first = 1, hessian.copy(), True
    if not np.isfinite(value):
        return Minimum(x, value, 1, 1, "the objective is not finite at the start", False), B
    message, success = "maximum number of evaluations reached", False
    recent = deque([np.inf], maxlen=CREEPING)
    while evaluations < max_evaluations:
        free = free_coordinates(x, gradient, lower, upper)
        step, decrease = newton_direction(B, gradient, free)
        if decrease < tolerance:
            message, success = f"predicted decrease {decrease:.2e}", True
            break
        step = shorten(x, step, lower, upper, largest_step)
        new_x, new_value, new_gradient, used = _halve(function, x, value, gradient, step, lower, upper)
        evaluations += used
        if new_x is None:
            message = f"no decrease along the search direction (predicted {decrease:.2e})"
            break
        moved, change = new_x - x, new_gradient - gradient
        if model is not None:
            B = model(new_x)
        else:
            B = update_bfgs(_rescale(B, moved, change) if first else B, moved, change)
        first = False
        x, value, gradient = new_x, new_value, new_gradient
        if recent[0] - value < PROGRESS and len(recent) == CREEPING:
            message = f"{CREEPING} steps brought less than {PROGRESS:g} (predicted {decrease:.2e})"
            break
        recent.append(value)
    return Minimum(x, value, evaluations, evaluations, message, success), B


def _halve(
    function: ValueAndGradient,
    x: FloatArray,
    value: float,
    gradient: FloatArray,
    step: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
) -> tuple[FloatArray | None, float, FloatArray, int]:
    """Halve the step until the objective falls by a share of what the slope promises."""
    slack = 1e-13 * abs(value)
    for halving in range(MAX_HALVINGS):
        new_x = np.clip(x + step, lower, upper)
        new_value, new_gradient = function(new_x)
        slope = float(gradient @ (new_x - x))
        usable = np.isfinite(new_value) and bool(np.all(np.isfinite(new_gradient)))
        if usable and new_value <= value + ARMIJO * min(slope, 0.0) + slack:
            return new_x, new_value, new_gradient, halving + 1
        step = 0.5 * step if usable else 0.1 * step
    return None, value, gradient, MAX_HALVINGS


def _rescale(B: FloatArray, step: FloatArray, change: FloatArray) -> FloatArray:
    """Scale the first model down or up only if the first pair says it is off by more than a factor of ten."""
    sBs, sy = float(step @ B @ step), float(step @ change)
    if sy <= 0 or sBs <= 0:
        return B
    ratio = sy / sBs
    return B * ratio if not 0.1 < ratio < 10.0 else B


def difference_hessian(
    gradient: Callable[[FloatArray], FloatArray],
    x: FloatArray,
    basis: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    known: FloatArray | float = 0.0,
    one_sided: bool = False,
) -> FloatArray:
    """Hessian by central differences of the exact gradient (one-sided at a bound), symmetrised in ``basis``.

    Parameters
    ----------
    gradient : callable, x -> gradient
    x, lower, upper : float array, shape (d,)
    basis : float array, shape (d, d)
        Its columns are the steps; about 1e-3 standard errors keeps both errors near 1e-7 relative. Steps along the
        columns of the inverse of RX make the result independent of how the fixed effects are parametrised.
    known : float array, shape (d, d)
        Part of basis' H basis that ``gradient`` leaves out, because it needs no differences.
    one_sided : bool
        Differences to the side away from a bound: half the evaluations, with an error in proportion to the step.
    """
    d = x.size
    product = np.empty((d, d))  # H basis
    ahead = np.clip(x + basis.T, lower, upper)
    behind = np.clip(x - basis.T, lower, upper)
    if one_sided:
        bounded = np.any(ahead != x + basis.T, axis=1, keepdims=True)
        ahead, behind = np.where(bounded, behind, ahead), np.broadcast_to(x, basis.shape)
        at_x = gradient(x)
    moved = np.sum((ahead - behind) * basis.T, axis=1) / np.sum(basis * basis, axis=0)
    if np.any(moved == 0.0):  # a step below the spacing of floating-point numbers
        return np.full((d, d), np.nan)
    for j in range(d):
        product[:, j] = (gradient(ahead[j]) - (at_x if one_sided else gradient(behind[j]))) / moved[j]
    if not np.all(np.isfinite(product)):
        return np.full((d, d), np.nan)
    middle = basis.T @ product
    back = np.linalg.inv(basis)
    return back.T @ (known + 0.5 * (middle + middle.T)) @ back


def objective_hessian(
    objective: Any, x: FloatArray, basis: FloatArray, lower: FloatArray, upper: FloatArray
) -> FloatArray:
    """Hessian of an objective at the point of its last evaluation: what it knows exactly, and differences of the rest.

    ``basis`` as in :func:`difference_hessian`; shortened where the objective asks for one-sided differences.
    """
    basis = basis * ONE_SIDED if objective.one_sided else basis
    gradient, known = objective.gradient_nearby(x), objective.exact_curvature(x, basis)
    return difference_hessian(gradient, x, basis, lower, upper, known, objective.one_sided)
