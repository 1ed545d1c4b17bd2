"""The command: data sets in processes, results kept as they come, report.

Place in the reading order: last. Each data set has a random stream of its own, (seed, name of the pair, number), so
the ranks do not depend on the processes, and a run that was interrupted, or asked for more data sets, goes on.
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from refglmm import __version__
from refglmm.bayes.posterior import Posterior
from validation.bench.run import machine
from validation.sbc import report
from validation.sbc.pairs import PAIRS, Pair, chosen
from validation.sbc.ranks import DRAWS, names, one_data_set

FOLDER = Path(__file__).parent
PACKAGES = ("numpy", "scipy", "numba")
SEED = 20261
#: Seconds between two writings of the results.
EVERY = 20.0


def seed_of(seed: int, pair: str, number: int) -> np.random.SeedSequence:
    """Random stream of one data set."""
    return np.random.SeedSequence([seed, zlib.crc32(pair.encode()), number])


def work(name: str, seed: int, number: int) -> tuple[str, int, dict[str, Any]]:
    """What a process does."""
    (pair,) = (pair for pair in PAIRS if pair.name == name)
    return name, number, one_data_set(pair, seed_of(seed, name, number))


def blank(pair: Pair) -> dict[str, Any]:
    """Results of a pair without data sets."""
    posterior = Posterior(pair.model.problem, pair.priors)
    described = {"formula": pair.formula, "prior": repr(pair.prior), "L": DRAWS}
    return {**described, "names": names(posterior), "data sets": {}}


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m validation.sbc", description=__doc__)
    parser.add_argument("--pairs", help="names (or beginnings of names) of pairs, separated by ;")
    parser.add_argument("--datasets", type=int, default=300, help="data sets of each pair (default 300)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--fresh", action="store_true", help="forget the results that are there")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for report, pictures and results")
    options = parser.parse_args(arguments)
    if options.datasets < 1 or options.jobs < 1:
        parser.error("at least one data set and one process are needed")
    return options


def before(file: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Results of an earlier run with the same seed; none where there was none."""
    if file.exists() and not options.fresh:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if found["settings"]["seed"] == options.seed and found["settings"]["draws"] == DRAWS:
            return found
    return {"pairs": {}}


def outcomes(tasks: list[tuple[str, int]], seed: int, jobs: int) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Results in the order in which they come."""
    if jobs == 1:
        yield from (work(name, seed, number) for name, number in tasks)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        pending = [pool.submit(partial(work, name, seed, number)) for name, number in tasks]
        for done in as_completed(pending):
            yield done.result()


def main(arguments: list[str] | None = None) -> int:
    """Draw, sample, rank, report; 1 when something does not pass, else 0."""
    options = parse_arguments(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / report.RESULTS
    results = before(file, options)
    results["machine"] = machine()
    versions = ", ".join([f"refglmm {__version__}", *(f"{name} {version(name)}" for name in PACKAGES)])
    results["settings"] = {"seed": options.seed, "draws": DRAWS, "versions": versions}
    tasks = []
    for pair in chosen(options.pairs):
        known = results["pairs"].setdefault(pair.name, blank(pair))["data sets"]
        tasks += [(pair.name, k) for k in range(options.datasets) if str(k) not in known]
    written = time.monotonic()
    for name, number, found in tqdm(
        outcomes(tasks, options.seed, options.jobs), total=len(tasks), unit=" data sets", disable=None
    ):
        results["pairs"][name]["data sets"][str(number)] = found
        if time.monotonic() - written > EVERY:
            written = time.monotonic()
            file.write_text(json.dumps(results) + "\n", encoding="utf-8")
    file.write_text(json.dumps(results) + "\n", encoding="utf-8")
    failed = report.write(results, options.out)
    print(f"{'not everything passes' if failed else 'everything passes'}; see {options.out / report.REPORT}")
    return failed
