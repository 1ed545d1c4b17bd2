"""From what became of many data sets to counts: everything the report says, as plain numbers for ``results.json``.

Place in the reading order: after ``tasks``. A data set that fails is in ``failures`` with its message and in no share.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

import numpy as np

from refglmm.inference.tasks import Outcome, run_tasks, seeds
from validation.calibration import theory
from validation.calibration.counting import DECILES, count_coverage, mean_and_error, uniformity
from validation.calibration.designs import Experiment
from validation.calibration.tasks import LEVELS, METHODS, calibrated_of, effect_p, intervals_of, variance_p

#: Size of the tests of residuals, and sizes at which other tests are counted.
SIZE, SIZES = 0.05, (0.10, 0.05, 0.01)
#: p-values are ratios of whole numbers; rounding must not decide.
ROUNDING = 1e-9
NUMBER = re.compile(r"-?\b\d+\.?\d*(?:e[+-]?\d+)?")
Task = Callable[[Experiment, np.random.SeedSequence], Any]


def run(
    task: Task, experiment: Experiment, n: int, seed: Sequence[int], executor: Executor | None, progress: bool | None
) -> list[Outcome]:
    """Do the same with n data sets, each with a stream of its own."""
    streams = seeds(np.random.SeedSequence(seed), n)
    label = f"{experiment.name}: {task.__name__.partition('_')[0]}"
    return run_tasks(partial(task, experiment), streams, executor=executor, progress=progress, label=label)


def failures(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Message of each data set that failed, by its number."""
    return {str(k): outcome.error for k, outcome in enumerate(outcomes) if outcome.error is not None}


def warned(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many data sets gave each warning, numbers in it replaced by #."""
    counts = Counter(text for o in outcomes for text in {NUMBER.sub("#", w) for w in o.warnings})
    return dict(counts.most_common())


# -- intervals -----------------------------------------------------------------------------------------------


def intervals(
    experiment: Experiment, n: int, seed: Sequence[int], executor: Executor | None = None, progress: bool | None = None
) -> dict[str, Any]:
    """Coverage of every interval, and the residuals, of one experiment."""
    outcomes = run(intervals_of, experiment, n, seed, executor, progress)
    done = [outcome.value for outcome in outcomes if outcome.error is None]
    estimates = np.array([d["estimate"] for d in done])
    by_method = Counter((method, text) for d in done for method, text in d["failed"].items())
    return {
        "name": experiment.name,
        "text": experiment.text,
        "replicates": experiment.replicates,
        "parameters": list(experiment.truth.index),
        "truth": experiment.truth.tolist(),
        "mean": np.nanmean(estimates, axis=0).tolist(),
        "median": np.nanmedian(estimates, axis=0).tolist(),
        "singular": sum(d["singular"] for d in done),
        "lost": sum(d["lost"] for d in done),
        "data sets": n,
        "failures": failures(outcomes),
        "method failures": [[method, text, count] for (method, text), count in by_method.most_common()],
        "warnings": warned(outcomes),
        "coverage": coverage_rows(experiment, np.array([d["ends"] for d in done])),
        "residuals": {kind: residuals([d["residuals"][kind] for d in done]) for kind in ("known", "estimated")},
    }


def coverage_rows(experiment: Experiment, ends: np.ndarray) -> list[dict[str, Any]]:
    """Counts for each parameter, level and method; ``ends`` has shape (data sets, methods, levels, parameters, 2)."""
    rows = []
    for p, (parameter, truth) in enumerate(experiment.truth.items()):
        for k, level in enumerate(LEVELS):
            for m, method in enumerate(METHODS):
                low, high = ends[:, m, k, p].T
                found = count_coverage(level, float(truth), low, high)
                expected = experiment.expected(parameter, method, level) if experiment.expected else float("nan")
                rows.append(
                    {
                        "parameter": parameter,
                        "method": method,
                        "level": level,
                        "inside": found.inside,
                        "below": found.below,
                        "above": found.above,
                        "missing": found.missing,
                        "width": median_width(low, high),
                        "expected": None if np.isnan(expected) else expected,
                    }
                )
    return rows


def median_width(low: np.ndarray, high: np.ndarray) -> float | None:
    """Median width of the intervals there are."""
    width = high - low
    width = width[~np.isnan(width)]
    return float(np.median(width)) if width.size else None


# -- residuals -----------------------------------------------------------------------------------------------


def residuals(done: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How uniform the residuals of many data sets are, and how often their tests reject."""
    mean, error = mean_and_error([d["below"] for d in done])
    ones = [d["one"] for d in done]
    return {
        "deviation": (mean - DECILES).tolist(),
        "error": error.tolist(),
        "one": [round(value, 6) for value in ones],
        "ks": uniformity(ones),
        "rejected": rejections([d["p"] for d in done]),
    }


def rejections(done: Sequence[dict[str, float]]) -> dict[str, list[int]]:
    """Rejections at ``SIZE``, and data sets, of each test."""
    names = list(dict.fromkeys(name for p in done for name in p))
    return {n: [sum(p[n] <= SIZE + ROUNDING for p in done if n in p), sum(n in p for p in done)] for n in names}


def calibrated(
    experiment: Experiment, n: int, seed: Sequence[int], executor: Executor | None = None, progress: bool | None = None
) -> dict[str, Any]:
    """How often the tests of residuals reject, as they are and calibrated."""
    outcomes = run(calibrated_of, experiment, n, seed, executor, progress)
    done = [outcome.value for outcome in outcomes if outcome.error is None]
    return {
        "name": experiment.name,
        "data sets": n,
        "failures": failures(outcomes),
        "rejected": {kind: rejections([d[kind] for d in done]) for kind in ("plain", "calibrated")},
    }


# -- tests ---------------------------------------------------------------------------------------------------


def variance_tests(
    experiment: Experiment, n: int, seed: Sequence[int], executor: Executor | None = None, progress: bool | None = None
) -> dict[str, Any]:
    """p-values where a variance is zero."""
    return tests(variance_p, experiment, n, seed, executor, progress)


def effect_tests(
    experiment: Experiment, n: int, seed: Sequence[int], executor: Executor | None = None, progress: bool | None = None
) -> dict[str, Any]:
    """p-values where a coefficient is zero."""
    return tests(effect_p, experiment, n, seed, executor, progress)


def tests(
    task: Task, experiment: Experiment, n: int, seed: Sequence[int], executor: Executor | None, progress: bool | None
) -> dict[str, Any]:
    """p-values (and the share of statistics that are zero, where they are handed out)."""
    outcomes = run(task, experiment, n, seed, executor, progress)
    done = [outcome.value for outcome in outcomes if outcome.error is None]
    p = {name: [round(d[name], 6) for d in done] for name in done[0] if name != "statistic"}
    zero = sum(d["statistic"] < 1e-6 for d in done) if "statistic" in done[0] else None
    return {
        "name": experiment.name,
        "data sets": n,
        "failures": failures(outcomes),
        "p": p,
        "zero": zero,
        "expected": {name: [theory.rejection_rate(name, size, experiment.balanced) for size in SIZES] for name in p}
        if experiment.balanced
        else {},
    }
