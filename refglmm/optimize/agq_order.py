"""How many quadrature points: more, until the log-likelihood does not move any more (``n_agq="auto"``).

Place in the reading order: after ``two_stage``.

The maximised log-likelihood at each order of a fixed ladder, each search started at the optimum before, until it
changes by less than a tolerance. The last change is the estimate of what quadrature still leaves out; it errs on the
safe side, since every order of the ladder is far more exact than the one before. Only the last fit is certified and
gets its Hessian.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import NotAvailableError
from refglmm.likelihood.grouping import group_layout
from refglmm.likelihood.problem import Problem
from refglmm.likelihood.state import Mode
from refglmm.optimize.control import Control
from refglmm.optimize.records import Optimum
from refglmm.optimize.two_stage import GlmmStart

FloatArray = NDArray[np.float64]
Start = dict[str, FloatArray]
#: Fit with so many points from a start: the optimum, the mode there, and sigma.
Fitter = Callable[[int, Control, Start], tuple[Optimum, Mode, float]]

#: Orders tried; the first is Laplace.
LADDER = (1, 5, 9, 15, 21, 31, 45, 61, 81, 100)
#: The ladder ends where a group would need more nodes than this.
AFFORDABLE_NODES = 20_000
#: Change of the log-likelihood that is small enough.
SETTLED = 1e-3
#: A standard deviation of zero starts the next search at this share of where it would start by default.
OFF_THE_EDGE = 0.3
#: Seconds after which a progress bar appears.
PATIENCE = 2.0


class OrderStep(NamedTuple):
    """One order that was tried and its maximised log-likelihood."""

    order: int
    loglik: float


def affordable_orders(problem: Problem) -> tuple[int, ...]:
    """The orders of the ladder that a model can have: Laplace alone where the grouping factors differ."""
    try:
        q = group_layout(problem, "n_agq='auto'").q
    except NotAvailableError:
        return LADDER[:1]
    return tuple(order for order in LADDER if order == 1 or order**q <= AFFORDABLE_NODES)


def shown(orders: tuple[int, ...]) -> Iterator[int]:
    """The orders one by one, behind a progress bar once they have taken some time and somebody watches."""
    began, bar = time.perf_counter(), None
    try:
        for number, order in enumerate(orders):
            if bar is not None:
                bar.update()
            elif time.perf_counter() - began > PATIENCE and sys.stderr is not None and sys.stderr.isatty():
                from tqdm import tqdm  # here: importing it takes longer than most fits

                bar = tqdm(total=len(orders), initial=number, desc="quadrature orders", leave=False)
            yield order
    finally:
        if bar is not None:
            bar.close()


def following_start(problem: Problem, optimum: Optimum, control: Control) -> Start:
    """Where the search of the next order begins: at this optimum, but off the edge.

    The objective is even in a standard deviation, so zero is stationary at every order: a search that begins there ends
    there, also where the next order's maximum lies inside.
    """
    start = {"par": np.array(optimum.par), "beta": np.array(optimum.beta)}
    if problem.n_phi:
        start["phi"] = np.array(optimum.phi)
    usual = GlmmStart(problem, start).default_par
    edge = (problem.par_lower == 0.0) & (np.abs(start["par"]) < control.edge_tolerance * usual)
    start["par"] = np.where(edge, OFF_THE_EDGE * usual, start["par"])
    return start


def climb(
    problem: Problem, fitter: Fitter, control: Control, start: Start
) -> tuple[tuple[Optimum, Mode, float], tuple[OrderStep, ...]]:
    """Fit with more and more points; returns the certified last fit and the orders on the way."""
    orders, steps = affordable_orders(problem), []
    for order in shown(orders):
        optimum, _, _ = fitter(order, replace(control, derivatives=False), start)
        start = following_start(problem, optimum, control)
        steps.append(OrderStep(order, -0.5 * optimum.value))
        if len(steps) > 1 and abs(steps[-1].loglik - steps[-2].loglik) < SETTLED:
            break
    last = fitter(steps[-1].order, control, start)
    steps[-1] = OrderStep(steps[-1].order, -0.5 * last[0].value)
    return last, tuple(steps)
