"""Many transitions in one compiled call, and the search for a first step size.

Place in the reading order: after ``adaptation``, before ``chain``, which says when the metric changes. A module of its
own, so that what is compiled does not change with what is not.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numba import types

from refglmm._jit import inline, signed_kernel
from refglmm.bayes import whiten
from refglmm.bayes.adaptation import learn_spread, learn_step, new_averaging, new_moments, restart
from refglmm.bayes.target import LIKELIHOOD, LOG_DENSITY, TARGET
from refglmm.bayes.trees import DIVERGED, density, draw_momentum, kinetic, leapfrog, new_space, transition
from refglmm.bayes.whiten import place

#: Columns of the statistics of a transition, and which of them count.
STATS = ("lp", "accept", "treedepth", "n_leapfrog", "divergent", "energy", "step_size")
LP, ACCEPT, TREEDEPTH, N_LEAPFROG, DIVERGENT, ENERGY, STEP_SIZE = range(len(STATS))
#: A first step size is doubled or halved until the acceptance of one leapfrog step crosses this.
FIRST_ACCEPT = 0.8
#: Powers of two that the search for a first step size may go through.
MOST_DOUBLINGS = 50


@inline
def first_step(step, xi, slope, value, rng, space, whitening, log_density, target, log_likelihood):
    """Double or halve a step size until one leapfrog step crosses the acceptance FIRST_ACCEPT; nan if none does."""
    point, momentum, gradient = space.end_xi[0], space.end_momentum[0], space.end_slope[0]
    direction = 0
    for _ in range(MOST_DOUBLINGS):
        for j in range(xi.size):
            point[j], gradient[j] = xi[j], slope[j]
        draw_momentum(rng, momentum)
        energy = kinetic(momentum) - value
        there = leapfrog(point, momentum, gradient, step, space, whitening, log_density, target, log_likelihood)
        change = energy - (kinetic(momentum) - there)
        is_long = not change > np.log(FIRST_ACCEPT)  # also where it is nan
        if direction == 0:
            direction = -1 if is_long else 1
        if is_long == (direction == 1):
            return step
        step = step * 2.0 if direction == 1 else step / 2.0
    return np.nan


@inline
def record(stats, row, is_first, value, energy, accept, depth, n, why, step, thin):
    """Statistics of one transition; of thinned ones: mean acceptance, all leapfrog steps, any divergence."""
    if is_first:
        stats[row] = 0.0
    stats[row, LP], stats[row, ENERGY], stats[row, STEP_SIZE] = value, energy, step
    stats[row, ACCEPT] += accept / thin
    stats[row, TREEDEPTH] = max(stats[row, TREEDEPTH], float(depth))
    stats[row, N_LEAPFROG] += float(n)
    if why == DIVERGED:
        stats[row, DIVERGENT] = 1.0


class Plan(NamedTuple):
    """What a segment does: transitions a row of statistics, and whether to look for a first step size and to learn."""

    thin: int
    max_treedepth: int
    is_slice: bool
    is_fresh: bool
    learns_step: bool
    learns_spread: bool
    delta: float


_VECTOR, _MATRIX = types.float64[::1], types.float64[:, ::1]
_SEGMENT = types.int64(
    _VECTOR,  # xi
    numba.typeof(new_averaging()),
    numba.typeof(new_moments(1, 1)),
    numba.typeof(new_space(1, 1)),
    numba.typeof(whiten.diagonal(np.zeros(1), np.ones(1))),
    _MATRIX,  # positions
    _MATRIX,  # stats
    numba.typeof(Plan(1, 1, False, False, False, False, 0.8)),
    types.int64[::1],  # progress
    types.int64[::1],  # stop
    types.npy_rng,
    types.FunctionType(LOG_DENSITY),
    TARGET,
    LIKELIHOOD,
)


@signed_kernel(_SEGMENT)
def run_segment(
    xi,
    averaging,
    moments,
    space,
    whitening,
    positions,
    stats,
    plan,
    progress,
    stop,
    rng,
    log_density,
    target,
    log_likelihood,
):
    """Run transitions; return how many rows of ``stats`` were filled.

    Ends early when ``stop`` is set, and returns -1 when there is no step size. ``positions`` has as many rows as
    ``stats``, or none.
    """
    slope = np.empty(xi.size)
    value = density(xi, slope, space, whitening, log_density, target, log_likelihood)
    if plan.is_fresh:
        step = np.exp(averaging.log_step[0])
        step = first_step(step, xi, slope, value, rng, space, whitening, log_density, target, log_likelihood)
        if not step > 0.0:
            return -1
        restart(averaging, step)
    for row in range(stats.shape[0]):
        for t in range(plan.thin):
            step = np.exp(averaging.log_step[0] if plan.learns_step else averaging.log_step_bar[0])
            value, energy, accept, depth, n, why, _ = transition(
                xi, slope, value, step, plan.max_treedepth, plan.is_slice, rng, space, whitening, log_density,
                target, log_likelihood,
            )  # fmt: skip
            record(stats, row, t == 0, value, energy, accept, depth, n, why, step, plan.thin)
            if plan.learns_step:
                learn_step(averaging, accept, plan.delta)
            if plan.learns_spread:
                learn_spread(moments, xi)
            progress[0] += 1
            if stop[0] == 1:
                return row
        if positions.shape[0] > 0:
            place(whitening, xi, positions[row])
    return stats.shape[0]
