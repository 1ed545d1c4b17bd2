r"""Complete and quasi-complete separation: coefficients without a finite estimate.

Place in the reading order: after ``certificate``.

A direction d along which the likelihood never falls makes the estimate run away. For links whose mean reaches the
edge of its range only at infinity this is decidable exactly (Albert and Anderson 1984; Konis 2007): with the response
of row i at the lower edge (no success, no count) x_i'd <= 0 is needed, at the upper edge (only successes) x_i'd >= 0,
in between x_i'd = 0. An ordinal response is as many binary ones as it has thresholds, which move, too. A linear
programme finds such a d or shows that there is none. It runs only where an estimate looks suspicious, so that ordinary
fits do not pay for it.

A variance runs away where fixed and random effects together separate every row strictly (each group all successes or
all failures, or split by a covariate): one mixed group would hold it, since its likelihood falls like 1/sd.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refglmm.likelihood.pirls import SCALE_FREE
from refglmm.likelihood.problem import CoupledProblem, Problem
from refglmm.likelihood.state import Mode

FloatArray = NDArray[np.float64]

#: Size, in units of the linear predictor, beyond which a probability or a rate is numerically zero.
LARGE = 10.0
#: Smallest advance along a direction that counts (rows have root-mean-square length one).
ADVANCE = 1e-6
#: More rows than this are not searched for a separating combination of groups.
MOST_ROWS = 100_000


def separated_columns(
    problem: Problem, mode: Mode, beta: FloatArray, free: NDArray[np.bool_] | None = None
) -> tuple[str, ...]:
    """Names of the fixed-effects columns whose coefficients run away; empty where there is no separation.

    ``free``: the columns that no penalty holds, all by default.
    """
    if not can_separate(problem) or not suspicious(mode, beta, problem.column_extent):
        return ()
    columns = np.arange(problem.p) if free is None else np.flatnonzero(free)
    return tuple(problem.beta_names[j] for j in running_columns(problem, columns))


def can_separate(problem: Problem) -> bool:
    """Whether the family and link are such that coefficients can run away."""
    family = problem.family
    return problem.p > 0 and problem.n_parts == 1 and not family.has_scale and family.link.name in SCALE_FREE


def running_columns(problem: Problem, columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of the columns, which nothing but the likelihood holds, along which it never falls; often none."""
    family, extent = problem.family, problem.column_extent
    if not columns.size:
        return columns
    if family.is_ordinal:
        D, above, weights = threshold_decisions(problem)
        thresholds = np.arange(problem.p, D.shape[1])
        direction = separating_direction(D[:, np.append(columns, thresholds)], above, weights, upper_edge=True)
    else:
        upper_edge = family.is_binomial and family.link.name != "log"
        direction = separating_direction(problem.X[:, columns], problem.y, problem.weights, upper_edge)
    if direction is None:
        return columns[:0]
    size = np.abs(direction[: columns.size]) * extent[columns]
    return columns[size > ADVANCE * size.max()]


def threshold_decisions(problem: Problem) -> tuple[FloatArray, FloatArray, FloatArray]:
    """An ordinal response as binary ones, each "above threshold j?": columns [X, -1 at j], 0 or 1, weights."""
    family, y = problem.family, problem.y
    blocks = []
    for j in range(family.n_levels - 1):
        rows = np.flatnonzero(family.decides(y, j))
        column = np.zeros((rows.size, family.n_levels - 1))
        column[:, j] = -1.0
        blocks.append((np.hstack([problem.X[rows], column]), (y[rows] > j).astype(np.float64), problem.weights[rows]))
    X, above, weights = zip(*blocks, strict=True)
    return np.vstack(X), np.concatenate(above), np.concatenate(weights)


def suspicious(mode: Mode, beta: FloatArray, extent: FloatArray) -> bool:
    """Whether a coefficient, or its standard error, is enormous over the range of its column."""
    pivots = np.abs(np.diag(mode.rx))
    if not np.all(pivots > 0):
        return True
    se = np.linalg.norm(np.linalg.inv(mode.rx), axis=1)
    return bool(np.any(np.abs(beta) * extent > LARGE) or np.any(se * extent > LARGE))


def separating_direction(X: FloatArray, y: FloatArray, weights: FloatArray, upper_edge: bool) -> FloatArray | None:
    """A direction along which no row's likelihood falls and some row's rises for ever, or None.

    ``upper_edge``: y = 1 is an edge that the mean reaches at eta = infinity (a binomial under any link but log).
    """
    from scipy.optimize import linprog

    used = weights > 0
    side = np.where(y == 0, -1.0, np.where((y == 1) & upper_edge, 1.0, 0.0))[used]
    size = np.abs(X[used]).max(axis=0)
    Q, R = np.linalg.qr(X[used] / np.where(size > 0, size, 1.0))
    rows = np.unique(np.column_stack([side, Q * np.sqrt(len(Q))]), axis=0)
    side, Q = rows[:, 0], rows[:, 1:]
    forward = side[side != 0, None] * Q[side != 0]
    fixed = Q[side == 0]
    found = linprog(
        -forward.sum(axis=0),
        A_ub=-forward,
        b_ub=np.zeros(len(forward)),
        A_eq=fixed if len(fixed) else None,
        b_eq=np.zeros(len(fixed)) if len(fixed) else None,
        bounds=(-1, 1),
        method="highs",
    )
    if found.status != 0 or not np.any(forward @ found.x > ADVANCE):
        return None
    return np.linalg.solve(R, found.x) / np.where(size > 0, size, 1.0)


def certain_zeros(problem: Problem, mode: Mode, beta: FloatArray) -> tuple[str, ...]:
    """Names of the coefficients of a zero part that run away: its probability tends to 0 or 1 in some rows.

    Called where the optimum is not certified; the likelihood is flat there, so that nothing else betrays it.
    """
    if not isinstance(problem, CoupledProblem) or not problem.family.zi or mode.predictors is None:
        return ()
    part = problem.beta_parts[1]
    if np.max(np.abs(mode.predictors[1]), initial=0.0) <= LARGE:
        return ()
    size = np.abs(beta[part]) * problem.column_extent[part]
    return tuple(name for name, s in zip(problem.beta_names[part], size, strict=True) if s > LARGE)


def runaway_deviations(problem: Problem, par: FloatArray) -> tuple[str, ...]:
    """Names of the standard deviations that run away because the random effects separate the response."""
    family = problem.family
    if not family.is_binomial or problem.n_parts > 1 or family.link.name not in SCALE_FREE or family.link.name == "log":
        return ()
    large = (problem.par_lower == 0.0) & (np.abs(par) > LARGE * problem.natural_unit)
    if not large.any() or problem.n > MOST_ROWS:
        return ()
    used = problem.weights > 0
    mixed = used & (problem.y > 0) & (problem.y < 1)
    if mixed.any() or not _strictly_separated(problem, used):
        return ()
    return tuple(name for name, is_large in zip(problem.par_names, large, strict=True) if is_large)


def _strictly_separated(problem: Problem, used: NDArray[np.bool_]) -> bool:
    """Whether some coefficients of X and Z give every success a positive and every failure a negative predictor."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, hstack

    layout = problem.layout
    indptr = np.arange(0, layout.index.size + 1, layout.index.shape[1])
    Z = csr_array((layout.z.ravel(), layout.index.ravel(), indptr), shape=(problem.n, problem.q))
    side = np.where(problem.y[used] == 1, 1.0, -1.0)[:, None]
    size = np.concatenate([np.abs(problem.X).max(axis=0), np.ravel(abs(Z).max(axis=0).todense())])
    columns = hstack([csr_array(problem.X), Z]).tocsr()[used] / np.where(size > 0, size, 1.0)
    margin = np.ones((len(side), 1))
    found = linprog(
        np.append(np.zeros(columns.shape[1]), -1.0),
        A_ub=hstack([csr_array(columns).multiply(-side), csr_array(margin)]),
        b_ub=np.zeros(len(side)),
        bounds=(-1, 1),
        method="highs",
    )
    return bool(found.status == 0 and -found.fun > ADVANCE)
