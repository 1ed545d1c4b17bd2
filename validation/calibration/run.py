"""The command: simulate, count, report.

Place in the reading order: last.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from refglmm import __version__
from validation.bench.run import machine
from validation.calibration import designs, gather, report
from validation.calibration.designs import Experiment

FOLDER = Path(__file__).parent
PACKAGES = ("numpy", "scipy", "pandas", "numba")
#: Seed of the committed report, and data sets on which tests of residuals are calibrated (each takes 39 more).
SEED, CALIBRATED = 20260, 100

Work = Callable[..., dict[str, Any]]


def steps(replicates: int | None) -> list[tuple[str, Work, Callable[[], Experiment]]]:
    """(section of the results, what is done, where the data come from), in the order of the seeds."""

    def with_replicates(make: Callable[[], Experiment]) -> Callable[[], Experiment]:
        return make if replicates is None else lambda: replace(make(), replicates=replicates)

    return [
        *(("intervals", gather.intervals, with_replicates(make)) for make in designs.INTERVALS),
        ("calibrated", gather.calibrated, designs.binomial_design),
        *(("variances", gather.variance_tests, make) for make in designs.VARIANCE_NULLS),
        *(("effects", gather.effect_tests, make) for make in designs.EFFECT_NULLS),
    ]


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m validation.calibration", description=__doc__)
    parser.add_argument("--datasets", type=int, default=500, help="data sets drawn from each model (default 500)")
    parser.add_argument("--calibrated", type=int, default=CALIBRATED, help="of these, for calibrated tests")
    parser.add_argument("--replicates", type=int, help="bootstrap replicates of each data set (default: by model)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for report, pictures and results")
    options = parser.parse_args(arguments)
    if min(options.datasets, options.calibrated) < 2 or options.workers < 1:
        parser.error("at least two data sets and one worker are needed")
    return options


def simulate(options: argparse.Namespace, progress: bool | None = None) -> dict[str, Any]:
    """Everything that the report says."""
    results: dict[str, Any] = {"intervals": [], "calibrated": [], "variances": [], "effects": []}
    surroundings, began = machine(), time.perf_counter()
    pool = ProcessPoolExecutor(options.workers) if options.workers > 1 else nullcontext()
    with pool as executor:
        for k, (section, work, make) in enumerate(steps(options.replicates)):
            start = time.perf_counter()
            n = options.calibrated if section == "calibrated" else options.datasets
            found = work(make(), n, (options.seed, k), executor, progress)
            results[section].append({**found, "seconds": time.perf_counter() - start})
    results["settings"] = {
        "data sets": options.datasets,
        "calibrated": options.calibrated,
        "replicates": options.replicates,
        "workers": options.workers,
        "seed": options.seed,
        "seconds": time.perf_counter() - began,
        "machine": surroundings,
        "versions": {"refglmm": __version__, **{name: version(name) for name in PACKAGES}},
    }
    return results


def main(arguments: list[str] | None = None) -> int:
    """Simulate, write results, report and pictures; 1 when an interval departs and nothing explains it, else 0."""
    options = parse_arguments(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    results = simulate(options)
    (options.out / report.RESULTS).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    unexplained = report.write(results, options.out)
    print(f"{unexplained} departures without a reason; see {options.out / report.REPORT}")
    return min(unexplained, 1)
