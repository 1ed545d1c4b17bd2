"""Runs the benchmark: every case, every program, alternating.

Place in the reading order: last. ``results.json`` is written after every case.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from tqdm import tqdm

from validation.bench import wire
from validation.bench.peers import REPOSITORY, OverBudgetError, PeerError, Worker, start
from validation.bench.run import machine
from validation.bench_bayes import report
from validation.bench_bayes.cases import CASES, EVERYBODY, OURS, RSTANARM, Case
from validation.bench_bayes.figures import read_draws, summary

FOLDER = Path(__file__).parent
#: Python of the environment that ``setup.sh`` makes; the variable names another one.
PEER_PYTHON = os.environ.get("REFGLMM_BENCH_BAYES_PYTHON", str(REPOSITORY / ".venv-bench-bayes" / "bin" / "python"))
#: A program slower than this is measured once, seconds.
SLOW = 120.0
CHAINS, WARMUP, DRAWS = 4, 1000, 1000
#: Iterations of a first call that compiles and loads what there is to compile and load.
FIRST = 60
#: Address space a worker may take: JAX reserves much more than it uses.
MEMORY_LIMIT = 64 * 2**30


def command(peer: str) -> list[str]:
    """Command line of a program's worker.

    Raises
    ------
    PeerError
        If what it needs is not installed.
    """
    if peer == OURS:
        return [sys.executable, "-m", "validation.bench_bayes.worker_refglmm"]
    if peer == RSTANARM:
        rscript = shutil.which("Rscript")
        if rscript is None:
            raise PeerError("Rscript is not installed")
        return [rscript, "--vanilla", str(FOLDER / "r_worker.R")]
    if not Path(PEER_PYTHON).exists():
        raise PeerError("the benchmark environment is missing (validation/bench_bayes/setup.sh makes it)")
    return [PEER_PYTHON, "-m", "validation.bench_bayes.worker_python", peer]


class CaseRun:
    """All programs on one case."""

    def __init__(self, case: Case, peers: list[str], options: argparse.Namespace) -> None:
        self.case, self.options = case, options
        self.result: dict[str, Any] = {"formula": case.formula, "programs": {peer: {} for peer in peers}}
        self.workers: dict[str, Worker] = {}

    def run(self) -> dict[str, Any]:
        """Measure; a program that fails leaves its reason and does not stop the others."""
        with tempfile.TemporaryDirectory(prefix="refglmm-bench-") as folder:
            wire.write_columns(Path(folder), self.case.data())
            try:
                for peer in self.result["programs"]:
                    self._attempt(peer, lambda peer=peer: self._prepare(peer, folder))
                for round_ in range(self.options.rounds):
                    for peer in tuple(self.workers):
                        if round_ == 0 or not self._is_slow(peer):
                            self._attempt(peer, lambda peer=peer, r=round_: self._sample(peer, folder, r))
            finally:
                for worker in self.workers.values():
                    worker.stop()
        return self.result

    def _attempt(self, peer: str, work: Any) -> None:
        try:
            work()
        except PeerError as error:
            known = self.result["programs"][peer]
            known["failed"], known["over budget"] = str(error), isinstance(error, OverBudgetError)
            worker = self.workers.pop(peer, None)
            if worker is not None:
                worker.stop()

    def _is_slow(self, peer: str) -> bool:
        return bool(self.result["programs"][peer]["runs"][0]["wall"] > SLOW)

    def _prepare(self, peer: str, folder: str) -> None:
        """Start and load; what compiles samples a few iterations. Ours is the first and describes the model."""
        worker, _ = start(peer, MEMORY_LIMIT, command(peer))
        self.workers[peer] = worker
        described = {key: self.result[key] for key in ("n", "p", "q", "groups") if key in self.result}
        loaded = worker.ask("load", self.options.budget, **self.case.request(), **described, folder=folder)
        if peer == OURS:
            self.result |= loaded
        if "compile" in loaded:
            self.result["programs"][peer]["compile"] = loaded["compile"]
        if peer != RSTANARM:  # compiled with its package; untuned, it takes minutes for a few iterations of VerbAgg
            self._ask(peer, folder, FIRST, FIRST, 0)

    def _ask(self, peer: str, folder: str, draws: int, warmup: int, seed: int) -> dict[str, Any]:
        size = {"draws": draws, "warmup": warmup, "chains": CHAINS, "cores": self.options.cores, "seed": seed}
        file = str(Path(folder) / f"draws-{peer}.bin")
        return self.workers[peer].ask("sample", self.options.budget, **size, file=file) | {"file": file}

    def _sample(self, peer: str, folder: str, round_: int) -> None:
        found = self._ask(peer, folder, DRAWS, WARMUP, 1000 + round_)
        draws = read_draws(Path(found.pop("file")), CHAINS, DRAWS)
        self.result["programs"][peer].setdefault("runs", []).append(found | summary(draws))


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m validation.bench_bayes", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="cbpp alone, one round")
    parser.add_argument("--only", help="names (or beginnings of names) of models, separated by ;")
    parser.add_argument("--peers", help="programs, separated by commas; refglmm always runs")
    parser.add_argument("--rounds", type=int, help="rounds (default 3; quick: 1)")
    parser.add_argument("--budget", type=float, default=1800.0, help="seconds a program may take (default 1800)")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="chains at a time (default: all cores)")
    parser.add_argument("--no-single", action="store_true", help="leave out the numbers of refglmm alone")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder for report and results")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


def chosen(options: argparse.Namespace) -> list[Case]:
    """The cases the command line asks for."""
    if options.only:
        names = [name.strip() for name in options.only.split(";")]
        return [case for case in CASES if case.name in names or any(case.name.startswith(n) for n in names)]
    return [case for case in CASES if case.quick or not options.quick]


def installed(wanted: set[str]) -> dict[str, dict[str, Any]]:
    """Version of each wanted program, or {"missing": why}."""
    found: dict[str, dict[str, Any]] = {}
    for peer in EVERYBODY:
        if peer in wanted:
            try:
                worker, found[peer] = start(peer, MEMORY_LIMIT, command(peer))
                worker.stop()
            except PeerError as error:
                found[peer] = {"missing": str(error)}
    return found


def single(options: argparse.Namespace) -> dict[str, Any]:
    """Numbers of refglmm alone, in a process of their own."""
    worker, _ = start(OURS, MEMORY_LIMIT, command(OURS))
    try:
        return worker.ask("single", options.budget, repeats=options.rounds)
    finally:
        worker.stop()


def main(arguments: list[str] | None = None) -> int:
    """Run, report; 0."""
    options = parse_arguments(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / report.RESULTS
    results: dict[str, Any] = {"cases": {}}
    if options.only and file.exists():
        results = json.loads(file.read_text(encoding="utf-8"))
    results["programs"] = installed({OURS, *(options.peers.split(",") if options.peers else EVERYBODY)})
    results["machine"] = machine()
    size = {"chains": CHAINS, "warmup": WARMUP, "draws": DRAWS, "workers": options.cores}
    results["settings"] = size | {"rounds": options.rounds, "slow": SLOW, "budget": options.budget}
    present = [peer for peer, found in results["programs"].items() if "missing" not in found]
    for case in (bar := tqdm(chosen(options), unit=" models", disable=None)):
        bar.set_description(case.name)
        results["cases"][case.name] = CaseRun(case, present, options).run()
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if not options.no_single:
        results["single"] = single(options)
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return report.write(results, options.output)


if __name__ == "__main__":
    sys.exit(main())
