"""What the numbers of a run say: medians, ratios, exponents, and the bars.

Place in the reading order: after ``startup``. Functions of ``results.json`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import gt
from statistics import geometric_mean, median
from typing import Any

import numpy as np

from validation.bench.cases import (
    BIG_CROSSED,
    CASES,
    FACTORISATION_BOUND,
    GLMM,
    GLMMTMB,
    LME4,
    ONE_FACTOR,
    OURS,
)

Results = dict[str, Any]
#: glmm is to be beaten where it takes this long, seconds; where it takes less we may be this much slower.
GLMM_LONG, GLMM_SLACK = 0.020, 0.005
#: An objective is "not worse" up to this; a predicted decrease is none below that.
WORSE, DECREASE = 1e-6, 1e-8


def cases_of(results: Results) -> list[dict[str, Any]]:
    """The measured cases in the order of ``cases.CASES``."""
    return [results["cases"][case.name] for case in CASES if case.name in results["cases"]]


def seconds(case: dict[str, Any], peer: str, clock: str = "cpu", key: str = "runs") -> float | None:
    """Median seconds of a program's repeats, or of its first fit if that is all there is."""
    program = case["programs"].get(peer, {})
    runs = program.get(key, [])
    if runs:
        return float(median(run[clock] for run in runs))
    if key == "runs" and "first" in program:
        return float(program["first"][clock])
    return None


def ratio(case: dict[str, Any], peer: str, clock: str = "cpu", key: str = "runs") -> float | None:
    """How many times longer than refglmm a program took."""
    ours, theirs = seconds(case, OURS, clock, key), seconds(case, peer, clock, key)
    return None if ours is None or theirs is None else theirs / ours


def ratios(results: Results, peer: str, clock: str = "cpu") -> dict[str, float]:
    """The ratio of each case that both fitted."""
    found = {case["name"]: ratio(case, peer, clock) for case in cases_of(results)}
    return {name: value for name, value in found.items() if value is not None}


def mean_ratio(results: Results, peer: str, clock: str = "cpu") -> float | None:
    """Geometric mean of the ratios."""
    values = ratios(results, peer, clock)
    return geometric_mean(values.values()) if values else None


def differences(results: Results) -> Iterator[tuple[str, str, float]]:
    """(case, program, our objective minus theirs, both exact)."""
    for case in cases_of(results):
        for peer, program in case["programs"].items():
            if "difference" in program:
                yield case["name"], peer, program["difference"]


def scaling(results: Results, peer: str) -> tuple[list[int], list[float]]:
    """Rows and CPU seconds of the simulated cases with fixed q."""
    rows, times = [], []
    for case in CASES:
        measured = results["cases"].get(case.name)
        taken = seconds(measured, peer) if measured and case.simulated_n else None
        if taken is not None:
            rows.append(case.simulated_n)
            times.append(taken)
    return rows, times


def exponent(rows: Sequence[float], times: Sequence[float]) -> float:
    """Slope of log time on log n, by least squares."""
    return float(np.polyfit(np.log(rows), np.log(times), 1)[0])


# ------------------------------------------------------------------------------------------------ bars
@dataclass(frozen=True)
class Bar:
    """Something the project promised, what was found, and whether that is enough (None: not measured)."""

    promise: str
    found: str
    met: bool | None


def _bar(promise: str, value: float | None, enough: Callable[[float], bool], unit: str = "") -> Bar:
    if value is None:
        return Bar(promise, "not measured", None)
    return Bar(promise, f"{value:.3g}{unit}", enough(value))


def _worst(
    promise: str,
    values: dict[str, float],
    enough: Callable[[float], bool],
    unit: str = "",
    at_most: bool = False,
) -> Bar:
    """A bar that every case must meet; shows those that fail it, or the one closest to failing."""
    if not values:
        return Bar(promise, "not measured", None)
    failing = [name for name, value in values.items() if not enough(value)]
    shown = failing or [(max if at_most else min)(values, key=lambda name: values[name])]
    text = "; ".join(f"{name} {values[name]:.3g}{unit}" for name in shown)
    return Bar(promise, text, not failing)


def speed_bars(results: Results) -> Iterator[Bar]:
    """Data frame to fitted object."""
    yield _bar("30 times faster than lme4 (geometric mean)", mean_ratio(results, LME4), lambda r: r >= 30)
    lme4 = ratios(results, LME4)
    bound = {name: value for name, value in lme4.items() if name in FACTORISATION_BOUND}
    others = {name: value for name, value in lme4.items() if name not in bound}
    yield _worst("no model less than 3 times faster than lme4", others, lambda r: r >= 3)
    yield _worst("InstEval at least 2 times faster than lme4", bound, lambda r: r >= 2)
    yield _bar("10 times faster than glmmTMB (geometric mean)", mean_ratio(results, GLMMTMB), lambda r: r >= 10)
    long, behind = {}, {}
    for case in cases_of(results):
        ours, theirs = seconds(case, OURS), seconds(case, GLMM)
        if ours is None or theirs is None:
            continue
        if theirs >= GLMM_LONG:
            long[case["name"]] = theirs / ours
        else:
            behind[case["name"]] = 1e3 * (ours - theirs)
    yield _worst("ahead of glmm where it takes 20 ms or more", long, lambda r: r > 1)
    yield _worst(
        "at most 5 ms behind glmm on the others",
        behind,
        lambda ms: ms <= 1e3 * GLMM_SLACK,
        " ms",
        at_most=True,
    )
    refits = {case["name"]: ratio(case, GLMM, key="refits") for case in cases_of(results)}
    measured = {name: value for name, value in refits.items() if value is not None}
    yield _worst("a refit to a new response ahead of glmm everywhere", measured, lambda r: r > 1)


def quality_bars(results: Results) -> Iterator[Bar]:
    """Optima, memory, fresh processes."""
    worse = {f"{name} ({peer})": value for name, peer, value in differences(results)}
    yield _worst("no objective above a rival's by more than 1e-6", worse, lambda d: d <= WORSE, at_most=True)
    decrements = {
        case["name"]: case["programs"][OURS]["decrement"]
        for case in cases_of(results)
        if "decrement" in case["programs"][OURS]
    }
    yield _worst("predicted decrease below 1e-8 at every optimum", decrements, lambda d: d < DECREASE, at_most=True)
    yield from _large_bars(results)
    fresh = results.get("startup", {})
    for name, what, limit in (
        ("fit", "fresh process, warm cache: import, cbpp fit, summary", 1.5),
        ("import", "import", 0.5),
        ("cold", "first fit after installation", 15.0),
    ):
        wall = fresh[name][0] if name in fresh else None
        yield _bar(f"{what} under {limit:g} s", wall, partial(gt, limit), " s")


def _large_bars(results: Results) -> Iterator[Bar]:
    """The two largest simulated models."""
    one = results["cases"].get(ONE_FACTOR)
    wall = seconds(one, OURS, "wall") if one else None
    yield _bar(f"{ONE_FACTOR}: under 60 s", wall, lambda s: s < 60, " s")
    peak = one["programs"][OURS].get("peak") if one else None
    yield _bar(f"{ONE_FACTOR}: under 4 GB", None if peak is None else peak / 1e9, lambda gb: gb < 4, " GB")
    crossed = results["cases"].get(BIG_CROSSED)
    program = crossed["programs"][OURS] if crossed else {}
    promise = f"{BIG_CROSSED}: finishes"
    if "peak" in program:
        yield Bar(promise, f"{seconds(crossed, OURS, 'wall'):.3g} s, {program['peak'] / 1e9:.2f} GB", True)
    else:
        yield Bar(promise, program.get("failed", "not measured"), False if "failed" in program else None)


def bars(results: Results) -> list[Bar]:
    """All of them."""
    return [*speed_bars(results), *quality_bars(results)]
