r"""Which standard errors were reported.

Place in the reading order: after ``conventions``. Candidates: the inverse Hessian of -2 log L (times 2) at our optimum
or at the reported estimates, all parameters estimated; (R_X'R_X)^-1, covariance parameters taken as known (lme4 calls
it RX; the only ones of a linear mixed model in most programs); lme4's differences on its slightly ragged objective; and
slips by a constant factor (sqrt 2: the Hessian of the deviance taken for that of the log-likelihood).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.linalg import LinAlgError
from numpy.typing import NDArray

from refglmm.crosschecking.objectives import Approximation, Bench
from refglmm.errors import RefglmmError
from refglmm.fit.vcov import invert_scaled
from refglmm.optimize.lme4_path import differences

FloatArray = NDArray[np.float64]

#: Standard errors within this of a candidate (relative) are that candidate.
SAME = 2e-3
#: A common factor is looked for when the ratios to the Hessian's scatter by less than this (relative).
COMMON = 5e-3
HESSIAN = "the Hessian (all parameters estimated)"
RX = "RX: covariance parameters taken as known"


@dataclass(frozen=True)
class ErrorsMatch:
    """How the reported standard errors compare.

    Attributes
    ----------
    names, reported, ours : of the coefficients that have one
        Ours are those of the Hessian (of RX in linear mixed models, where that is the rule).
    ratio : float array
        reported / ours
    kind : str
        What they are; "" if nothing known.
    difference : float
        Largest relative difference from that kind; from ours if there is none.
    standard : str
        What ours are.
    """

    names: tuple[str, ...]
    reported: FloatArray
    ours: FloatArray
    ratio: FloatArray
    kind: str
    difference: float
    standard: str

    @property
    def extreme(self) -> int:
        """Where the ratio is furthest from one."""
        return int(np.argmax(np.abs(np.log(np.maximum(self.ratio, 1e-300)))))

    @property
    def off(self) -> float:
        """Largest relative difference from ours."""
        return float(np.max(np.abs(self.ratio - 1.0), initial=0.0))

    @property
    def is_ours(self) -> bool:
        """Whether they are what we take for right."""
        return self.kind.startswith(self.standard)


def match_errors(
    bench: Bench, x: FloatArray, reported: dict[int, float], halves: dict[int, float]
) -> ErrorsMatch | None:
    """Compare reported standard errors, by position in beta, with every candidate."""
    at = np.array(sorted(i for i, value in reported.items() if value > 0.0), dtype=int)
    if not at.size:
        return None
    given, half = np.array([reported[i] for i in at]), np.array([halves[i] for i in at])
    candidates = [(kind, values[at]) for kind, values in errors_at(bench, x) if np.all(np.isfinite(values[at]))]
    if not candidates:
        return None
    standard, ours = candidates[0]
    kind, difference = "", np.inf
    for name, values in candidates:
        own = float(np.max(np.maximum(np.abs(given - values) - half, 0.0) / values))
        if own < SAME and own < 0.3 * difference:
            kind, difference = name, own
    if not kind:
        kind, difference = _by_a_factor(candidates, given, half)
    names = tuple(bench.model.problem.beta_names[i] for i in at)
    found = difference if kind else float(np.max(np.abs(given / ours - 1.0)))
    return ErrorsMatch(names, given, ours, given / ours, kind, found, HESSIAN if standard.startswith(HESSIAN) else RX)


def _by_a_factor(candidates: list[tuple[str, FloatArray]], given: FloatArray, half: FloatArray) -> tuple[str, float]:
    """Slips by a constant factor."""
    for name, values in candidates[:2]:
        for factor, what in ((np.sqrt(2.0), "sqrt(2) times"), (np.sqrt(0.5), "1/sqrt(2) times")):
            own = float(np.max(np.maximum(np.abs(given - factor * values) - half, 0.0) / values))
            if own < COMMON and given.size > 1:
                return f"{what} those of {name}", own
    return "", np.inf


def errors_at(bench: Bench, x: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    """Standard errors of all coefficients by kind; the first kind is what we take for right."""
    linear = bench.model.is_lmm
    if linear:
        yield f"{RX}, at our optimum", rx_errors(bench, bench.estimate)
        yield f"{RX}, at the reported estimates", rx_errors(bench, x)
    else:
        yield f"{HESSIAN}, at our optimum", np.asarray(_own_errors(bench))
        yield f"{HESSIAN}, at the reported estimates", hessian_errors(bench, x)
        yield f"{RX}, at the reported estimates", rx_errors(bench, x)
        yield f"{RX}, at our optimum", rx_errors(bench, bench.estimate)
        yield "differences on lme4's objective, ragged where its inner iteration stops early", ragged_errors(bench, x)
    if not linear and not bench.model.family.is_canonical and bench.model.problem.n_parts == 1:
        expected = Approximation(bench.asked.n_agq, "expected")
        yield "the Hessian with expected curvature, at the reported estimates", hessian_errors(bench, x, expected)
    if linear:
        yield f"{HESSIAN}, at our optimum", hessian_errors(bench, bench.estimate)


def _own_errors(bench: Bench) -> FloatArray:
    """Those of our fit, all parts."""
    return np.sqrt(np.diag(bench.fit.vcov(part="all").to_numpy()))


def _beta(bench: Bench) -> slice:
    problem = bench.model.problem
    return slice(problem.n_par, problem.n_par + problem.p)


def hessian_errors(bench: Bench, x: FloatArray, which: Approximation | None = None) -> FloatArray:
    """From the inverse Hessian at x; parameters without curvature (on their boundary) held fixed."""
    H = bench.hessian(x, which)
    keep = np.isfinite(np.diag(H)) & (np.diag(H) > 0.0)
    n_par = bench.model.problem.n_par
    on_edge = np.abs(x[:n_par]) < 1e-6 * bench.scale[:n_par]
    keep[:n_par] &= ~on_edge
    return _invert(H, keep)[_beta(bench)]


def _invert(H: FloatArray, keep: NDArray[np.bool_]) -> FloatArray:
    se = np.full(len(H), np.nan)
    with suppress(LinAlgError):
        se[keep] = np.sqrt(np.diag(2.0 * invert_scaled(H[np.ix_(keep, keep)])))
    return se


def rx_errors(bench: Bench, x: FloatArray) -> FloatArray:
    """From RX at x."""
    objective = bench.objective(Approximation(linear=bench.model.is_lmm))
    try:
        rx = objective.fixed_root(x)
    except (RefglmmError, LinAlgError):
        return np.full(bench.model.problem.p, np.nan)
    return np.linalg.norm(np.linalg.inv(rx), axis=1)


def ragged_errors(bench: Bench, x: FloatArray) -> FloatArray:
    """lme4's own: central differences of its objective with an absolute step."""
    p, n_par = bench.model.problem.p, bench.model.problem.n_par
    if bench.walk is None or bench.model.problem.n_phi:
        return np.full(p, np.nan)
    try:
        with np.errstate(all="ignore"):
            _, H = differences(bench.walk(bench.asked.n_agq).value, x)
    except (RefglmmError, LinAlgError):
        return np.full(p, np.nan)
    return _invert(H, np.ones(x.size, dtype=bool))[n_par : n_par + p]
