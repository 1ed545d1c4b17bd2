r"""What the draws of a run say: effective draws a second, and whether the programs drew from the same posterior.

Place in the reading order: after the workers.

Two posterior means with Monte Carlo standard errors e1, e2 are within three when
:math:`|m_1 - m_2| \le 3\sqrt{e_1^2 + e_2^2}`. A program whose R-hat exceeds ``MIXED`` has not drawn from the posterior,
and its effective draws count as none.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm.bayes.diagnostics import ess_bulk, mcse_mean, rhat
from validation.bench_bayes.cases import OURS

FloatArray = NDArray[np.float64]
Results = dict[str, Any]

MIXED = 1.05
WITHIN = 3.0


def read_draws(file: Path, chains: int, draws: int) -> FloatArray:
    """(chains, draws, parameters) of what a worker wrote."""
    return np.fromfile(file).reshape(chains, draws, -1)


def summary(draws: FloatArray) -> dict[str, Any]:
    """Per parameter: mean, its error, and the smallest effective sample size and largest R-hat."""
    ess, scale_reduction = np.atleast_1d(ess_bulk(draws)), np.atleast_1d(rhat(draws))
    return {
        "mean": draws.mean(axis=(0, 1)).tolist(),
        "mcse": np.atleast_1d(mcse_mean(draws)).tolist(),
        "ess": ess.tolist(),
        "least": float(np.min(ess)),
        "rhat": float(np.max(scale_reduction)),
    }


def mixed(run: dict[str, Any]) -> bool:
    """Whether a run drew from the posterior, as far as R-hat can tell."""
    return bool(run["rhat"] <= MIXED)


def rate(run: dict[str, Any]) -> float:
    """Least effective draws a second of sampling; 0 where the chains disagree."""
    return float(run["least"] / run["sampling"]) if mixed(run) else 0.0


def median_rate(program: dict[str, Any]) -> float | None:
    """Median over the rounds; None without a run."""
    runs = program.get("runs", [])
    return median(rate(run) for run in runs) if runs else None


def ratio(case: dict[str, Any], peer: str) -> float | None:
    """How many times as many effective draws a second refglmm makes; None without both, inf where theirs are none."""
    ours, theirs = (median_rate(case["programs"].get(name, {})) for name in (OURS, peer))
    if ours is None or theirs is None:
        return None
    return ours / theirs if theirs > 0.0 else float("inf")


def pooled(program: dict[str, Any]) -> tuple[FloatArray, FloatArray]:
    """Mean over the mixed runs, and its error."""
    runs = [run for run in program["runs"] if mixed(run)]
    means, errors = (np.array([run[key] for run in runs]) for key in ("mean", "mcse"))
    return means.mean(axis=0), np.sqrt(np.sum(errors**2, axis=0)) / len(runs)


def distances(case: dict[str, Any], peer: str) -> FloatArray | None:
    """Differences of posterior means in their combined errors; None where one did not mix."""
    programs = [case["programs"].get(name, {}) for name in (OURS, peer)]
    if not all(any(mixed(run) for run in program.get("runs", [])) for program in programs):
        return None
    (m1, e1), (m2, e2) = map(pooled, programs)
    return np.asarray(np.abs(m1 - m2) / np.hypot(e1, e2))
