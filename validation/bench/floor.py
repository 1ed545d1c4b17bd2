r"""The least a fit could take: ten fused passes over the rows and ten factorisations.

Place in the reading order: after ``instrument``. A fit of a canonical binary model with crossed random
intercepts needs, at every step, eta, mu, the score and the weight of each row, their sums :math:`X's`,
:math:`Z's` and the entries of :math:`Z'WZ`, and the factor of H. :func:`fused_pass` does the first part in
one loop with one exponential a row and nothing stored by row. Ten such steps are about what a good start
and Newton's method would need.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm._jit import kernel
from refglmm.likelihood.pirls import Pirls

FloatArray = NDArray[np.float64]
STEPS = 10
REPEATS = 7


@kernel
def fused_pass(
    y: Any, X: Any, beta: Any, codes: Any, b: Any, pairs: Any, Xts: Any, Zts: Any, diagonal: Any, cross: Any
) -> None:
    """X's, Z's, the diagonal of Z'WZ and its crossed entries for a Bernoulli response; filled in place."""
    Xts[:] = 0.0
    Zts[:] = 0.0
    diagonal[:] = 0.0
    cross[:] = 0.0
    for i in range(y.size):
        eta = 0.0
        for j in range(beta.size):
            eta += X[i, j] * beta[j]
        for t in range(codes.shape[1]):
            eta += b[codes[i, t]]
        e = np.exp(-abs(eta))
        mu = 1.0 / (1.0 + e) if eta >= 0.0 else e / (1.0 + e)
        s = y[i] - mu
        w = mu * (1.0 - mu)
        for j in range(beta.size):
            Xts[j] += X[i, j] * s
        for t in range(codes.shape[1]):
            Zts[codes[i, t]] += s
            diagonal[codes[i, t]] += w
        for t in range(pairs.shape[1]):
            cross[pairs[i, t]] += w


def global_codes(terms: Any) -> NDArray[np.int64]:
    """Column of Z of each row and term, shape (n, terms)."""
    first = np.cumsum([0] + [term.n_levels for term in terms[:-1]])
    return np.column_stack([term.codes.astype(np.int64) + start for term, start in zip(terms, first, strict=True)])


def pair_codes(codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Number of the observed pair of levels of each row, for each pair of terms, and how many there are."""
    columns, count = [], 0
    for s, t in combinations(range(codes.shape[1]), 2):
        seen, number = np.unique(codes[:, s] * (codes.max() + 1) + codes[:, t], return_inverse=True)
        columns.append(number.reshape(-1) + count)
        count += seen.size
    empty = np.empty((codes.shape[0], 0), dtype=np.int64)
    return (np.ascontiguousarray(np.column_stack(columns)) if columns else empty), count


def median_seconds(work: Callable[[], object]) -> float:
    """Median CPU seconds of a few calls, the first thrown away."""
    work()
    seconds = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return float(np.median(seconds))


def floor_of(model: Any, fit: Any) -> dict[str, float]:
    """Seconds of one pass, of one factorisation, and of ten of both, for a fitted binary model."""
    codes = global_codes(model.design.terms)
    pairs, n_pairs = pair_codes(codes)
    problem, optimum = model.problem, fit.optimum
    work = [np.empty(problem.p), np.empty(problem.q), np.empty(problem.q), np.empty(n_pairs)]
    # the rows in the order of the frame: problem may hold them in an order of its own
    y, X, b = model.frame.y, model.design.X, fit.conditional.b
    one_pass = median_seconds(lambda: fused_pass(y, X, optimum.beta, codes, b, pairs, *work))
    pirls = Pirls(problem)
    pirls.find_mode(optimum.par, optimum.beta, optimum.phi)
    factorisation = median_seconds(lambda: pirls.factor.refactor(pirls.H))
    return {"pass": one_pass, "factorisation": factorisation, "floor": STEPS * (one_pass + factorisation)}
