r"""One transition of the no-U-turn sampler.

Place in the reading order: after ``whiten``, before ``adaptation``, ``segment`` and ``chain``. A state is a point
:math:`\xi` with a momentum p; the energy is :math:`H = |p|^2/2 - \log p(\xi)`. A transition draws a momentum and lets
a trajectory of leapfrog steps grow, forwards or backwards by a coin's toss, to twice its length each time, until it
turns back.

* **Choice of the point.** A point has the weight :math:`\exp(H_0 - H)` (``multinomial``); or, with a slice variable
  :math:`\log s = \log U - H_0`, one if :math:`-H \ge \log s` and else none (``slice``). Within the new half of a
  trajectory the point is drawn by the weights; from the old half to the new one with probability
  :math:`\min(1, w_{new}/w_{old})` (biased progressive sampling).
* **Turn.** With :math:`\rho` the sum of the momenta of a subtree, a trajectory goes on as long as
  :math:`p \cdot \rho > 0` for the momenta p at both of its ends. That is asked of each subtree of the new half and of
  the whole; where two halves meet, also of the first half and the point after it, and of the second half and the
  point before it.
* **Divergence.** An energy more than ``MAX_ERROR`` above the first.

Subtrees of the new half stand on a stack like the digits of a binary counter: as soon as two of equal size lie on top
they become one. So nothing recurses, and the memory is one row for each doubling. Of all functions here only
:func:`advance` and :func:`transition` know what energy is; the others combine weights, momenta and their sums.

Source: Hoffman and Gelman (2014), algorithms 2 and 3; Betancourt (2017), appendix A.3 (multinomial weights, biased
progressive sampling, generalised criterion). The two further checks are Stan's (since 2.21).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refglmm._jit import inline
from refglmm.bayes.whiten import place, pull_back

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: A larger energy error means that the leapfrog has lost the trajectory (Stan's value).
MAX_ERROR = 1000.0
#: Stands for "multinomial" where the logarithm of a slice variable, which is not positive, would stand.
NO_SLICE = 1.0
#: Why a trajectory ended: which of the three criteria failed, a divergence, or that it may not grow any more.
OPEN, TURN_WHOLE, TURN_FIRST, TURN_SECOND, DIVERGED, FULL = range(6)


class Trail(NamedTuple):
    """Every leapfrog point of one transition, in the order in which they were made; no rows: nothing is kept."""

    xi: FloatArray
    momentum: FloatArray
    error: FloatArray
    doubling: IntArray
    side: IntArray


class Space(NamedTuple):
    """Arrays that a transition works in.

    Row 0 of those with one row a subtree is the whole trajectory, the others are the stack; "first" and "last" are
    meant in the direction of growth.

    Attributes
    ----------
    xi, slope : float array, shape (max_treedepth + 1, d)
        Point chosen from each subtree, and the gradient of the log density there.
    first, last, rho : likewise
        Momenta at the ends, and sum of all momenta.
    log_weight, value, energy : float array, shape (max_treedepth + 1,)
        Log sum of the weights; log density and energy of the point chosen.
    end_xi, end_momentum, end_slope : float array, shape (2, d)
        Both ends of the trajectory: backward, forward.
    position, gradient : float array, shape (d,)
    trail : Trail
    """

    xi: FloatArray
    slope: FloatArray
    first: FloatArray
    last: FloatArray
    rho: FloatArray
    log_weight: FloatArray
    value: FloatArray
    energy: FloatArray
    end_xi: FloatArray
    end_momentum: FloatArray
    end_slope: FloatArray
    position: FloatArray
    gradient: FloatArray
    trail: Trail


def new_space(d: int, max_treedepth: int, keep: bool = False) -> Space:
    """Arrays for transitions of at most ``2**max_treedepth - 1`` leapfrog steps, which are kept on request."""
    rows, n = max_treedepth + 1, 2**max_treedepth - 1 if keep else 0
    return Space(
        xi=np.empty((rows, d)),
        slope=np.empty((rows, d)),
        first=np.empty((rows, d)),
        last=np.empty((rows, d)),
        rho=np.empty((rows, d)),
        log_weight=np.empty(rows),
        value=np.empty(rows),
        energy=np.empty(rows),
        end_xi=np.empty((2, d)),
        end_momentum=np.empty((2, d)),
        end_slope=np.empty((2, d)),
        position=np.empty(d),
        gradient=np.empty(d),
        trail=Trail(
            xi=np.empty((n, d)),
            momentum=np.empty((n, d)),
            error=np.empty(n),
            doubling=np.empty(n, dtype=np.int64),
            side=np.empty(n, dtype=np.int64),
        ),
    )


# -- vectors ------------------------------------------------------------


@inline
def copy(source, to):
    """Fill ``to``."""
    for j in range(to.size):
        to[j] = source[j]


@inline
def kinetic(momentum):
    """|p|^2 / 2."""
    total = 0.0
    for j in range(momentum.size):
        total += momentum[j] * momentum[j]
    return 0.5 * total


@inline
def draw_momentum(rng, momentum):
    """Fill with standard normal numbers."""
    for j in range(momentum.size):
        momentum[j] = rng.standard_normal()


# -- subtrees ------------------------------------------------------------


@inline
def chance(log_weight, log_rest):
    """Probability min(1, w / w_rest); zero for a weight of zero."""
    if log_weight == -np.inf:
        return 0.0
    return np.exp(min(0.0, log_weight - log_rest))


@inline
def plant(space, row, xi, momentum, slope, log_weight, value, energy):
    """Make a subtree of one point."""
    copy(xi, space.xi[row])
    copy(slope, space.slope[row])
    copy(momentum, space.first[row])
    copy(momentum, space.last[row])
    copy(momentum, space.rho[row])
    space.log_weight[row], space.value[row], space.energy[row] = log_weight, value, energy


@inline
def choose(space, a, b):
    """Let the point chosen from b be that of a."""
    copy(space.xi[b], space.xi[a])
    copy(space.slope[b], space.slope[a])
    space.value[a], space.energy[a] = space.value[b], space.energy[b]


@inline
def join(space, a, b):
    """Append b to a; return OPEN, or which criterion says that the result turns back."""
    first_a, last_a, rho_a = space.first[a], space.last[a], space.rho[a]
    first_b, last_b, rho_b = space.first[b], space.last[b], space.rho[b]
    whole_first, whole_last, first_first, first_last, second_first, second_last = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(rho_a.size):  # the halves meet at last_a, first_b
        whole_first += first_a[j] * (rho_a[j] + rho_b[j])
        whole_last += last_b[j] * (rho_a[j] + rho_b[j])
        first_first += first_a[j] * (rho_a[j] + first_b[j])
        first_last += first_b[j] * (rho_a[j] + first_b[j])
        second_first += last_a[j] * (rho_b[j] + last_a[j])
        second_last += last_b[j] * (rho_b[j] + last_a[j])
    for j in range(rho_a.size):  # a loop of its own: the sums above are then taken several terms at once
        rho_a[j] += rho_b[j]
        last_a[j] = last_b[j]
    space.log_weight[a] = np.logaddexp(space.log_weight[a], space.log_weight[b])
    if not (whole_first > 0.0 and whole_last > 0.0):
        return TURN_WHOLE
    if not (first_first > 0.0 and first_last > 0.0):
        return TURN_FIRST
    if not (second_first > 0.0 and second_last > 0.0):
        return TURN_SECOND
    return OPEN


# -- the Hamiltonian ------------------------------------------------------------


@inline
def density(xi, slope, space, whitening, log_density, target, log_likelihood):
    """Log density of the position of xi; its gradient in xi is filled in."""
    place(whitening, xi, space.position)
    value = log_density(space.position, space.gradient, target, log_likelihood)
    pull_back(whitening, space.gradient, slope)
    return value


@inline
def leapfrog(xi, momentum, slope, step, space, whitening, log_density, target, log_likelihood):
    """Half a step of the momentum, one of the point, half a step of the momentum; in place. Return log density."""
    for j in range(xi.size):
        momentum[j] += 0.5 * step * slope[j]
        xi[j] += step * momentum[j]
    value = density(xi, slope, space, whitening, log_density, target, log_likelihood)
    for j in range(xi.size):
        momentum[j] += 0.5 * step * slope[j]
    return value


@inline
def advance(space, side, step, whitening, log_density, target, log_likelihood):
    """Move one end of the trajectory a step outwards; return log density and energy there."""
    outwards = step if side == 1 else -step
    xi, momentum, slope = space.end_xi[side], space.end_momentum[side], space.end_slope[side]
    value = leapfrog(xi, momentum, slope, outwards, space, whitening, log_density, target, log_likelihood)
    energy = kinetic(momentum) - value
    return value, energy if energy == energy else np.inf


# -- growth ------------------------------------------------------------


@inline
def note(trail, n, space, side, doubling, error):
    """Keep the n-th point made, where there is room."""
    if n < trail.error.size:
        copy(space.end_xi[side], trail.xi[n])
        copy(space.end_momentum[side], trail.momentum[n])
        trail.error[n], trail.side[n], trail.doubling[n] = error, side, doubling


@inline
def grow(space, side, doubling, n, energy, log_slice, step, rng, whitening, log_density, target, log_likelihood):
    """Make ``2**doubling`` points on one side, as the subtree in row 1.

    Returns
    -------
    why, n, accept, span
        OPEN or why it ended early; points made so far; sum of min(1, exp(-energy error)) of the new ones; points in
        the subtree that ended it.
    """
    top, accept = 0, 0.0
    for i in range(1, 2**doubling + 1):
        value, energy_here = advance(space, side, step, whitening, log_density, target, log_likelihood)
        error = energy_here - energy
        note(space.trail, n, space, side, doubling, error)
        n += 1
        accept += np.exp(-max(0.0, error))
        if error > MAX_ERROR:
            return DIVERGED, n, accept, 1
        log_weight = -error
        if log_slice != NO_SLICE:
            log_weight = 0.0 if -error >= log_slice else -np.inf
        top += 1
        plant(
            space, top, space.end_xi[side], space.end_momentum[side], space.end_slope[side],
            log_weight, value, energy_here,
        )  # fmt: skip
        size = 2
        while i % size == 0:
            share = chance(space.log_weight[top], np.logaddexp(space.log_weight[top], space.log_weight[top - 1]))
            if rng.random() < share:
                choose(space, top - 1, top)
            why = join(space, top - 1, top)
            top -= 1
            if why != OPEN:
                return why, n, accept, size
            size *= 2
    return OPEN, n, accept, 2**doubling


@inline
def transition(
    xi, slope, value, step, max_treedepth, is_slice, rng, space, whitening, log_density, target, log_likelihood
):
    """Replace xi and the slope there by the next state of the chain.

    Parameters
    ----------
    xi, slope : float array, shape (d,)
        Point and gradient of its log density, in place.
    value : float
        Log density of the point.
    step : float
        Length of a leapfrog step.
    max_treedepth : int
        Most doublings.
    is_slice : bool
    rng : numpy Generator
    space : Space
    whitening, log_density, target, log_likelihood
        The log density of the position of xi; see ``target.LOG_DENSITY``.

    Returns
    -------
    value, energy : float
        Of the new point: log density; energy with the momentum that led to it.
    accept : float
        Mean of min(1, exp(-energy error)) over the points made.
    depth, n : int
        Doublings that were completed; leapfrog steps.
    why : int
        Why the trajectory ended.
    span : int
        Points in the subtree that ended it.
    """
    draw_momentum(rng, space.end_momentum[0])
    energy = kinetic(space.end_momentum[0]) - value
    log_slice = np.log(1.0 - rng.random()) if is_slice else NO_SLICE
    plant(space, 0, xi, space.end_momentum[0], slope, 0.0, value, energy)
    copy(space.end_momentum[0], space.end_momentum[1])
    for side in range(2):
        copy(xi, space.end_xi[side])
        copy(slope, space.end_slope[side])
    depth, n, accept, why, span = 0, 0, 0.0, OPEN, 1
    while why == OPEN and depth < max_treedepth:
        side = 1 if rng.random() < 0.5 else 0
        copy(space.end_momentum[1 - side], space.first[0])
        copy(space.end_momentum[side], space.last[0])
        why, n, new_accept, span = grow(
            space, side, depth, n, energy, log_slice, step, rng, whitening, log_density, target, log_likelihood
        )
        accept += new_accept
        if why == OPEN:
            depth += 1
            if rng.random() < chance(space.log_weight[1], space.log_weight[0]):
                choose(space, 0, 1)
            why = join(space, 0, 1)
            span = n + 1
    copy(space.xi[0], xi)
    copy(space.slope[0], slope)
    why = FULL if why == OPEN else why
    return space.value[0], space.energy[0], accept / n, depth, n, why, span
