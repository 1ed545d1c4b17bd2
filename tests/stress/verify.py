"""Brute force against the claims of a fit: separation by linear programming, optima and flatness by value.

Nothing here looks at gradients, and every value is computed from u = 0.
"""

from __future__ import annotations

import contextlib

import nlopt
import numpy as np
from scipy.optimize import linprog

from refglmm.likelihood.agq import AdaptiveQuadratureObjective
from refglmm.likelihood.laplace import LaplaceObjective, ProfiledObjective
from refglmm.likelihood.pirls import Pirls
from refglmm.likelihood.profiled import ProfiledLinear


def separating_direction(X, y, used, two_sided):
    """A d along which the log likelihood never falls and somewhere rises for ever; None if there is none.

    x'd >= 0 where y = 1 (binomial), x'd <= 0 where y = 0, x'd = 0 elsewhere: a linear programme (Konis 2007).
    """
    side = np.where(y == 0, -1.0, np.where((y == 1) & two_sided, 1.0, 0.0))[used]
    scale = np.abs(X[used]).max(axis=0)
    Q, R = np.linalg.qr(X[used] / scale)
    Q *= np.sqrt(len(Q))
    A, equal = side[side != 0, None] * Q[side != 0], Q[side == 0]
    if not len(A):
        return None
    result = linprog(
        -A.sum(axis=0),
        A_ub=-A,
        b_ub=np.zeros(len(A)),
        A_eq=equal if len(equal) else None,
        b_eq=np.zeros(len(equal)) if len(equal) else None,
        bounds=(-1, 1),
        method="highs",
    )
    assert result.status == 0, result.message
    return None if -result.fun < 1e-6 else np.linalg.solve(R, result.x) / scale


def is_separated(model):
    """Whether some fixed effects have no finite estimate, whatever the variances."""
    problem = model.problem
    if problem.p == 0 or model.family.name not in ("binomial", "bernoulli", "poisson", "negative_binomial"):
        return False
    used = problem.weights > 0
    return separating_direction(problem.X, problem.y, used, model.family.is_binomial) is not None


def is_separated_given_groups(model):
    """Whether the fixed effects and one indicator for each level together separate the response."""
    problem = model.problem
    codes = np.concatenate([np.eye(t.n_levels)[t.codes] for t in model.design.terms], axis=1)
    full = np.column_stack([problem.X, codes])
    kept = np.flatnonzero(np.abs(np.diag(np.linalg.qr(full, mode="r"))) > 1e-8)
    direction = separating_direction(full[:, kept], problem.y, problem.weights > 0, model.family.is_binomial)
    return direction is not None


def fits_exactly(model):
    """Whether the fixed effects and one indicator for each level leave no residual: then sigma can be zero."""
    codes = [np.eye(t.n_levels)[t.codes] for t in model.design.terms]
    full = np.concatenate([model.problem.X, *codes], axis=1)
    y = model.problem.y - model.problem.offset
    residual = y - full @ np.linalg.lstsq(full, y, rcond=None)[0]
    return np.linalg.norm(residual) < 1e-10 * np.linalg.norm(y - y.mean())


class Criterion:
    """The objective of a fit as a function of its own parameter vector, evaluated from u = 0."""

    def __init__(self, model, fit):
        problem = model.problem
        optimum = fit.optimum
        shape = np.log(optimum.phi)
        if model.is_lmm:
            self.objective = ProfiledLinear(problem, fit.reml)
            self.x = optimum.par
        elif fit.n_agq == 0:
            self.objective = ProfiledObjective(Pirls(problem), optimum.beta)
            self.x = np.concatenate([optimum.par, shape])
        else:
            pirls = Pirls(problem)
            self.objective = (
                LaplaceObjective(pirls) if fit.n_agq == 1 else AdaptiveQuadratureObjective(pirls, fit.n_agq)
            )
            self.x = np.concatenate([optimum.par, optimum.beta, shape])
        self.problem = problem
        beyond = np.full(self.x.size - problem.n_par, np.inf)
        self.lower = np.concatenate([problem.par_lower, -beyond])
        self.upper = np.concatenate([problem.par_upper, beyond])
        self.unit = self._units(optimum.hessian)

    def _units(self, hessian):
        """About one standard error of each coordinate; where there is no curvature, a tenth of its size."""
        size = np.maximum(0.1 * np.abs(self.x), 0.1)
        if hessian is None:
            return size
        diagonal = np.diag(hessian)
        usable = np.isfinite(diagonal) & (diagonal > 1e-8)
        return np.where(usable, np.sqrt(2.0 / np.where(usable, diagonal, 1.0)), size)

    def __call__(self, x):
        if hasattr(self.objective, "u") and not isinstance(self.objective, ProfiledLinear):
            self.objective.u = np.zeros(self.problem.q)
        return self.objective.value(np.clip(x, self.lower, self.upper))


def lowest_nearby(criterion, rng, directions=6):
    """Lowest value at random moves of 0.01 to 3 standard errors."""
    values = [np.inf]
    for _ in range(directions):
        direction = rng.normal(size=criterion.x.size)
        direction *= criterion.unit / np.linalg.norm(direction)
        values += [criterion(criterion.x + length * direction) for length in (-3, -0.3, -0.01, 0.01, 0.3, 3)]
    return min(values)


def search_from(criterion, start, evaluations=600):
    """Lowest value that BOBYQA finds from ``start``."""
    best = np.inf

    def value(x, _):
        nonlocal best
        found = criterion(x)
        best = min(best, found)
        return found if np.isfinite(found) else 1e300

    run = nlopt.opt(nlopt.LN_BOBYQA, start.size)
    run.set_min_objective(value)
    run.set_lower_bounds(criterion.lower)
    run.set_upper_bounds(criterion.upper)
    run.set_initial_step(np.minimum(criterion.unit, 0.4 * (criterion.upper - criterion.lower)))
    run.set_maxeval(evaluations)
    with contextlib.suppress(nlopt.RoundoffLimited):
        run.optimize(np.clip(start, criterion.lower, criterion.upper))
    return best


def other_starts(criterion, rng):
    """Starts a few standard errors away, with larger and with smaller variances."""
    n_par = criterion.problem.n_par
    for factor in (0.4, 2.5):
        start = criterion.x + 3.0 * criterion.unit * rng.uniform(-1, 1, criterion.x.size)
        deviations = criterion.lower[:n_par] == 0
        start[:n_par][deviations] = (factor * criterion.x[:n_par] + 0.1 * criterion.unit[:n_par])[deviations]
        yield start


def least_change(criterion, hessian):
    """Smallest change of the criterion over moves along candidate directions.

    Candidates are the coordinates (standard deviations by 5% of their size, correlations by 0.02, the others by 0.1
    on the scale of eta or of log phi) and the flattest eigenvectors of the Hessian in those units. The moves are
    short because a flat valley may be curved.
    """
    x, n_par = criterion.x, criterion.problem.n_par
    unit = np.ones(x.size)
    is_correlation = np.isfinite(criterion.upper[:n_par])
    unit[:n_par] = np.where(is_correlation, 0.2, 0.5 * np.maximum(np.abs(x[:n_par]), 1e-2))
    if not isinstance(criterion.objective, ProfiledLinear | ProfiledObjective):
        X = criterion.problem.X
        extent = np.where(np.ptp(X, axis=0) > 0, np.ptp(X, axis=0), np.abs(X).max(axis=0))
        unit[n_par : n_par + X.shape[1]] = 1.0 / extent
    directions = list(np.diag(unit))
    if hessian is not None and np.all(np.isfinite(hessian)):
        vectors = np.linalg.eigh(hessian * np.outer(unit, unit))[1]
        directions += [unit * vector for vector in vectors.T[:2]]
    here = criterion(x)
    return min(min(abs(criterion(x + s * d) - here) for s in (-0.1, 0.1)) for d in directions)
