"""BOBYQA and box-constrained Nelder-Mead, both from NLopt.

Place in the reading order: after ``records``. Takes functions and numbers, no models.

Sources: Powell (2009) for BOBYQA; Nelder and Mead (1965) with bounds by pinning, as in Box (1965).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import OptimizationError

FloatArray = NDArray[np.float64]

#: NLopt needs finite values; anything that is not finite counts as this much worse than everything else.
HUGE = 1e300


@dataclass(frozen=True)
class Minimum:
    """Where a minimiser stopped: point, value, evaluations, its words, and whether it meant to stop there."""

    x: FloatArray
    value: float
    n_evaluations: int
    n_gradients: int
    message: str
    success: bool


_MESSAGES = {
    1: (True, "success"),
    2: (True, "stop value reached"),
    3: (True, "relative or absolute change of the objective below tolerance"),
    4: (True, "change of the parameters below tolerance"),
    5: (False, "maximum number of evaluations reached"),
    6: (False, "maximum time reached"),
}


def minimize_derivative_free(
    function: Callable[[FloatArray], float],
    start: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    *,
    method: str,
    first_step: FloatArray,
    x_tolerance: FloatArray,
    f_tolerance: float,
    max_evaluations: int,
) -> Minimum:
    """Minimise ``function`` inside a box.

    Parameters
    ----------
    function : callable, float array of shape (d,) -> float
        Non-finite values count as very large.
    start, lower, upper, first_step, x_tolerance : float array, shape (d,)
        ``start`` is moved into the box; ``first_step`` > 0; ``x_tolerance`` absolute, one for each coordinate.
    method : {"bobyqa", "nelder_mead"}
        BOBYQA needs two or more coordinates only in theory: NLopt runs it from d = 1.
    f_tolerance : float
        Absolute change of the objective at which to stop; 0 switches the test off.
    max_evaluations : int

    Raises
    ------
    OptimizationError
        If the objective is not finite at the start, or NLopt fails.
    """
    import nlopt

    best_x, best_value, count = np.clip(start, lower, upper), np.inf, 0

    def objective(x: FloatArray, _gradient: FloatArray) -> float:
        nonlocal best_x, best_value, count
        count += 1
        value = function(x.copy())
        if np.isfinite(value) and value < best_value:
            best_x, best_value = x.copy(), value
        return value if np.isfinite(value) else HUGE

    algorithm = {"bobyqa": nlopt.LN_BOBYQA, "nelder_mead": nlopt.LN_NELDERMEAD}[method]
    optimizer = nlopt.opt(algorithm, start.size)
    optimizer.set_min_objective(objective)
    optimizer.set_lower_bounds(lower)
    optimizer.set_upper_bounds(upper)
    optimizer.set_initial_step(np.minimum(first_step, 0.5 * (upper - lower)))  # BOBYQA insists
    optimizer.set_xtol_abs(x_tolerance)
    optimizer.set_ftol_abs(f_tolerance)
    optimizer.set_maxeval(max_evaluations)
    start = best_x
    try:
        optimizer.optimize(start)
        success, message = _MESSAGES.get(optimizer.last_optimize_result(), (False, "unknown NLopt code"))
    except nlopt.RoundoffLimited:
        success, message = True, "stopped at the limit of rounding"
    except (RuntimeError, ValueError, nlopt.invalid_argument) as error:
        raise OptimizationError(f"{method} could not run: {error}") from error
    if not np.isfinite(best_value):
        raise OptimizationError(
            f"the objective is not finite at the start of {method}; give other start values (`start=`)",
            start=start,
        )
    return Minimum(best_x, best_value, count, 0, message, success)
