r"""The variable metric method with backtracking: BFGS on the inverse Hessian, as R's ``optim`` runs it.

Place in the reading order: before ``em``, which shows what comes of it on a likelihood whose nodes are frozen. (Our own
fits use ``newton``.)

With B an approximation of the inverse Hessian, g the gradient, :math:`t = -Bg` and :math:`x' = x + \alpha t`, alpha is
1, and a fifth of it after each failure to reach :math:`f(x') \le f(x) + 10^{-4}\alpha g't`. With y the change of the
gradient and t the step taken,

.. math:: B \leftarrow B + \frac{(1 + y'By/t'y)\,tt' - t(By)' - (By)t'}{t'y}

where t'y > 0, else B starts again from the identity, as it does where t leads uphill or no step is left.

Source: Nash (1990), Compact Numerical Methods for Computers, algorithm 21 (after Fletcher 1970).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: Share of the predicted decrease that is demanded, and the factor of a step that misses it.
ACCEPTABLE, SHORTER = 1e-4, 0.2
#: Coordinates that do not change when this is added to them and to their step stand still.
STANDSTILL = 10.0


class Descent(NamedTuple):
    """Where it ended, the value there, whether it says that it converged, and what it cost."""

    x: FloatArray
    value: float
    converged: bool
    evaluations: int
    iterations: int


def minimize_variable_metric(
    function: Callable[[FloatArray], float],
    gradient: Callable[[FloatArray], FloatArray],
    x: FloatArray,
    *,
    max_iterations: int,
    relative_tolerance: float,
    watch: Callable[[FloatArray, float], None] = lambda x, value: None,
) -> Descent:
    """Minimise until an iteration lowers the value by less than ``relative_tolerance`` of it.

    ``watch`` sees every point that is accepted.
    """
    value, g = function(x), gradient(x)
    B, evaluations, iterations, fresh = np.eye(x.size), 1, 0, True
    while iterations < max_iterations:
        step = -B @ g
        slope = float(g @ step)
        found = _backtrack(function, x, value, step, slope) if slope < 0.0 else None
        iterations += 1
        evaluations += found.evaluations if found is not None else 0
        if found is None or found.x is None:
            if fresh:
                return Descent(x, value, True, evaluations, iterations)
            B, fresh = np.eye(x.size), True
            continue
        enough = abs(found.value - value) > relative_tolerance * (abs(value) + relative_tolerance)
        moved, old, x, value = found.x - x, g, found.x, found.value
        watch(x, value)
        if not enough:
            return Descent(x, value, True, evaluations, iterations)
        g = gradient(x)
        B, fresh = _updated(B, moved, g - old)
    return Descent(x, value, False, evaluations, iterations)


class _Trial(NamedTuple):
    x: FloatArray | None
    value: float
    evaluations: int


def _backtrack(
    function: Callable[[FloatArray], float], x: FloatArray, value: float, step: FloatArray, slope: float
) -> _Trial:
    """The first of the steps 1, 1/5, 1/25, ... that is acceptable; None where x does not move any more."""
    length, evaluations = 1.0, 0
    while True:
        trial = x + length * step
        if np.all(trial + STANDSTILL == x + STANDSTILL):
            return _Trial(None, value, evaluations)
        there = function(trial)
        evaluations += 1
        if np.isfinite(there) and there <= value + slope * length * ACCEPTABLE:
            return _Trial(trial, there, evaluations)
        length *= SHORTER


def _updated(B: FloatArray, t: FloatArray, y: FloatArray) -> tuple[FloatArray, bool]:
    """The inverse Hessian after a step t that changed the gradient by y; whether it starts again."""
    ty = float(t @ y)
    if not ty > 0.0:
        return np.eye(t.size), True
    By = B @ y
    cross = np.outer(t, By)
    return B + ((1.0 + y @ By / ty) * np.outer(t, t) - cross - cross.T) / ty, False
