r"""One transition of the sampler, point by point: to be looked at, drawn and stepped through.

Place in the reading order: after ``trees``, whose functions run here as plain Python; ``plots.transition`` draws it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refglmm.bayes.trees import (
    DIVERGED,
    FULL,
    MAX_ERROR,
    TURN_FIRST,
    TURN_SECOND,
    TURN_WHOLE,
    density,
    draw_momentum,
    new_space,
    transition,
)
from refglmm.bayes.whiten import Whitening, place, standardise
from refglmm.errors import ArgumentError, SamplingError
from refglmm.inference.tasks import seeds

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: All leapfrog points of so many doublings can be kept.
DEEPEST = 12
REASONS = {
    TURN_WHOLE: "the momenta at its ends point back along it",
    TURN_FIRST: "its first half and the next point turn back",
    TURN_SECOND: "its second half and the point before turn back",
    DIVERGED: f"the energy rose by more than {MAX_ERROR:g}",
    FULL: "it had doubled as often as it may",
}


@dataclass(frozen=True)
class Transition:
    """What happened in one transition. Points stand in the order in which they were made, the start first.

    Attributes
    ----------
    xi, position, momentum : float array, shape (n + 1, d)
        Whitened coordinates, position, and momentum (of xi).
    error : float array, shape (n + 1,)
        Energy above that of the start.
    time : int array, shape (n + 1,)
        Leapfrog steps from the start, backward ones negative.
    doubling : int array, shape (n + 1,)
        The doubling that made a point, from 1; 0 for the start.
    chosen : int
        The point that is the next state.
    ended_by : int array
        The points of the subtree that ended the trajectory: it turned back, or (one point) diverged.
    reason : str
        Why the trajectory ended.
    accept, depth : float, int
        Acceptance statistic; completed doublings.
    """

    xi: FloatArray
    position: FloatArray
    momentum: FloatArray
    error: FloatArray
    time: IntArray
    doubling: IntArray
    chosen: int
    ended_by: IntArray
    reason: str
    accept: float
    depth: int

    def __repr__(self) -> str:
        """One sentence."""
        steps = len(self.error) - 1
        return (
            f"<Transition: {steps} leapfrog steps in {self.doubling[-1]} doublings, {self.depth} of them completed, "
            f"until {self.reason}; point {self.chosen} chosen>"
        )

    def plot(self, pair: tuple[int, int] = (0, 1), **options: Any) -> np.ndarray:
        """Draw it; see :func:`refglmm.plots.transition.plot_transition`."""
        from refglmm.plots.transition import plot_transition

        return plot_transition(self, pair, **options)


def trace_transition(
    log_density: Callable[..., float],
    target: Any,
    log_likelihood: Any,
    position: ArrayLike,
    whitening: Whitening,
    step_size: float,
    *,
    max_treedepth: int = 10,
    variant: str = "multinomial",
    seed: int | np.random.SeedSequence | np.random.Generator | None = None,
) -> Transition:
    """Run one transition in plain Python and keep every leapfrog point.

    Parameters
    ----------
    log_density, target, log_likelihood, whitening, max_treedepth, variant, seed
        As in :func:`.chain.sample_chains`.
    position : float array, shape (d,)
        Where it starts.
    step_size : float
        Length of a leapfrog step, in units of xi.

    Raises
    ------
    ArgumentError
        Where position or step size cannot be used.
    SamplingError
        Where the log density is not finite at the start.
    """
    start, d = np.array(position, dtype=np.float64), whitening.center.size
    if start.shape != (d,):
        raise ArgumentError(f"position must have shape ({d},), not {start.shape}")
    if not 0.0 < step_size < np.inf:
        raise ArgumentError(f"step_size must be positive, not {step_size!r}")
    if not 1 <= max_treedepth <= DEEPEST:
        raise ArgumentError(
            f"max_treedepth must lie between 1 and {DEEPEST}, not {max_treedepth!r}: all points are kept"
        )
    if variant not in ("multinomial", "slice"):
        raise ArgumentError(f"variant must be one of multinomial, slice, not {variant!r}")
    space, density_of = new_space(d, max_treedepth, keep=True), (log_density, target, log_likelihood)
    xi, slope, momentum = np.empty(d), np.empty(d), np.empty(d)
    standardise(whitening, start, xi)
    value = density(xi, slope, space, whitening, *density_of)
    if not np.isfinite(value):
        raise SamplingError(f"the transition cannot start: the log density there is {value}")
    source = seeds(seed, 1)[0]
    draw_momentum(_stream(source), momentum)  # the first numbers of the transition's own stream
    begin = xi.copy()
    _, _, accept, depth, n, why, span = transition(
        xi, slope, value, step_size, max_treedepth, variant == "slice", _stream(source), space, whitening, *density_of
    )
    trail = space.trail
    points = np.vstack([begin, trail.xi[:n]])
    return Transition(
        xi=points,
        position=_placed(whitening, points),
        momentum=np.vstack([momentum, trail.momentum[:n]]),
        error=np.append(0.0, trail.error[:n]),
        time=_times(trail.side[:n]),
        doubling=np.append(0, trail.doubling[:n] + 1),
        chosen=int(np.flatnonzero((points == xi).all(axis=1))[0]),
        ended_by=np.arange(n + 1 - span, n + 1) if why != FULL else np.arange(0),
        reason=REASONS[why],
        accept=float(accept),
        depth=depth,
    )


def _stream(source: np.random.SeedSequence) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(source))


def _placed(whitening: Whitening, points: FloatArray) -> FloatArray:
    positions = np.empty(points.shape)
    for xi, position in zip(points, positions, strict=True):
        place(whitening, xi, position)
    return positions


def _times(side: IntArray) -> IntArray:
    """Steps from the start of each point, the start included."""
    times, ends = [0], [0, 0]
    for s in side:
        ends[s] += 1 if s == 1 else -1
        times.append(ends[s])
    return np.array(times)
