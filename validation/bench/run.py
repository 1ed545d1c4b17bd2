"""Runs the benchmark: every case, every program, alternating.

Place in the reading order: last. ``results.json`` is written after every case, so that an interrupted run
keeps what it has; ``report`` makes the report from it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from validation.bench import report, startup, wire
from validation.bench.cases import CASES, DISSECTED, EVERYBODY, GLMM, GPBOOST, OURS, Case
from validation.bench.peers import OverBudgetError, PeerError, Worker, installed, start

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
#: First fits up to this many seconds are repeated ``MANY`` times, up to ``SLOW`` seconds ``FEW`` times,
#: others not.
FAST, SLOW = 2.0, 30.0
MANY, FEW = 7, 3
#: A fast program fits that many seconds, but no more than ``MOST`` times, in a row each time it is its turn.
BURST, MOST = 0.5, 10
#: Address space a worker may take.
MEMORY_LIMIT = 12 * 2**30


class CaseRun:
    """All programs on one case."""

    def __init__(self, case: Case, peers: tuple[str, ...], budget: float, repeats: int) -> None:
        self.case, self.budget, self.repeats = case, budget, repeats
        self.result: dict[str, Any] = {"name": case.name, "formula": case.formula, "family": case.family}
        self.result["programs"] = {peer: {"runs": []} for peer in peers}
        self.workers: dict[str, Worker] = {}

    def program(self, peer: str) -> dict[str, Any]:
        """What is known about one program on this case."""
        found: dict[str, Any] = self.result["programs"][peer]
        return found

    def run(self) -> dict[str, Any]:
        """Measure; a program that fails leaves its reason and does not stop the others."""
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="refglmm-bench-") as folder:
            wire.write_columns(Path(folder), self.case.data())
            try:
                for peer in self.result["programs"]:
                    self._attempt(peer, lambda peer=peer: self._first_fit(peer, folder))
                self._rounds("runs", "fit", tuple(self.workers))
                for peer in tuple(self.workers):
                    self._attempt(peer, lambda peer=peer: self._describe(peer))
                if OURS in self.workers:
                    self._attempt(OURS, self._after)
            finally:
                for worker in self.workers.values():
                    worker.stop()
        self.result["seconds"] = time.perf_counter() - began
        return self.result

    def _attempt(self, peer: str, work: Any) -> None:
        """Do something with a program; keep the reason if it fails, and let it go."""
        try:
            work()
        except PeerError as error:
            self.program(peer)["failed"] = str(error)
            self.program(peer)["over budget"] = isinstance(error, OverBudgetError)
            self.program(peer)["budget"] = self.budget
            worker = self.workers.pop(peer, None)
            if worker is not None:
                worker.stop()

    def _first_fit(self, peer: str, folder: str) -> None:
        """Start, load, fit once; a program as slow as this is measured by its first fit and let go."""
        worker, _ = start(peer, MEMORY_LIMIT)
        self.workers[peer] = worker
        loaded = worker.ask("load", **self.case.request(peer), folder=folder)
        self.program(peer)["before"] = loaded["peak"]
        first = worker.ask("fit", timeout=self.budget, times=1)
        if peer == OURS:  # the very first may have compiled kernels, and says nothing about the speed of the others
            first = worker.ask("fit", timeout=self.budget, times=1)
        self.program(peer)["first"] = first
        if peer == OURS:
            self.result["groups"] = worker.ask("prepare")["groups"]
        elif first["wall"] > SLOW:
            self._describe(peer)
            self.workers.pop(peer).stop()

    def _rounds(self, key: str, do: str, peers: tuple[str, ...]) -> None:
        """Fits in turn; a slow program sits out some of the rounds."""
        for round_ in range(self.repeats):
            for peer in peers:
                if peer in self.workers and self._takes_part(peer, round_):
                    self._attempt(peer, lambda peer=peer: self._one(peer, key, do))

    def _takes_part(self, peer: str, round_: int) -> bool:
        first = self.program(peer)["first"]["wall"]
        among_few = round_ % -(-self.repeats // FEW) == 0
        return first <= FAST or (among_few and (first <= SLOW or peer == OURS))

    def _one(self, peer: str, key: str, do: str) -> None:
        first = self.program(peer)["first"]["wall"]
        several = max(2, min(MOST, int(BURST / first))) if first <= FAST else 1
        times = self.workers[peer].ask(do, timeout=2 * (1 + several) * self.budget, times=several)
        self.program(peer).setdefault(key, []).append(times)

    def _describe(self, peer: str) -> None:
        extra = {"groups": self.result["groups"]} if peer == GPBOOST else {}
        self.program(peer).update(self.workers[peer].ask("describe", **extra))

    def _after(self) -> None:
        """What needs our worker but no clock: the verdict on all estimates, refits, where the time goes."""
        ours = self.workers[OURS]
        for peer in self.result["programs"]:
            program = self.program(peer)
            if peer != OURS and "beta" in program and not program.get("maximum_likelihood"):
                try:
                    value = ours.ask("judge", timeout=self.budget, estimates=program)["value"]
                    program["difference"] = self.program(OURS)["value"] - value
                except PeerError as error:
                    program["not judged"] = str(error)
        if GLMM in self.workers:
            self._refits(ours)
        self.result["dissected"] = ours.ask("dissect", timeout=2 * self.budget)
        if self.case.name in DISSECTED:
            self.result["floor"] = ours.ask("floor", timeout=2 * self.budget)

    def _refits(self, ours: Worker) -> None:
        """A new response: our prepared model against glmm, which starts from the data frame every time."""
        ours.ask("new_response", seed=1)
        self._attempt(GLMM, lambda: self.workers[GLMM].ask("new_response"))
        warm_up: tuple[tuple[str, str], ...] = ((OURS, "refit"), (GLMM, "fit"))
        for round_ in range(self.repeats + 1):
            for peer, do in warm_up:
                if peer in self.workers and (round_ == 0 or self._takes_part(peer, round_ - 1)):
                    key = "refit warm-up" if round_ == 0 else "refits"
                    self._attempt(peer, lambda peer=peer, do=do, key=key: self._one(peer, key, do))


def machine() -> dict[str, Any]:
    """Processor, cores, system."""
    model = platform.processor()
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "processor": model or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m validation.bench.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small models, two repeats")
    parser.add_argument("--only", help="names (or beginnings of names) of cases, separated by ;")
    parser.add_argument("--peers", help="programs, separated by commas; refglmm always runs")
    parser.add_argument("--budget", type=float, default=300.0, help="seconds a fit may take (default 300)")
    parser.add_argument("--repeats", type=int, help=f"repeats of a fast fit (default {MANY}; quick: 2)")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder for report, picture and results")
    return parser.parse_args(arguments)


def chosen(options: argparse.Namespace) -> list[Case]:
    """The cases the command line asks for."""
    cases = [case for case in CASES if case.quick or not options.quick]
    if options.only:
        beginnings = tuple(name.strip() for name in options.only.split(";"))
        cases = [case for case in CASES if case.name.startswith(beginnings)]
    return cases


def main(arguments: list[str] | None = None) -> int:
    """Run, report; 1 when a bar that this run could judge is missed, else 0."""
    options = parse_arguments(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / RESULTS.name
    wanted = tuple({OURS, *(options.peers.split(",") if options.peers else EVERYBODY)})
    repeats = options.repeats or (2 if options.quick else MANY)
    results: dict[str, Any] = {"cases": {}}
    if options.only and file.exists():
        results = json.loads(file.read_text(encoding="utf-8"))
    programs = installed(wanted, MEMORY_LIMIT)
    results["programs"] = results.get("programs", {}) | programs
    results["machine"] = machine()
    results["settings"] = {
        "budget": options.budget,
        "repeats": repeats,
        "slow": SLOW,
        "few": min(FEW, repeats),
    }
    if not options.only:
        results["startup"] = startup.measure(2 if options.quick else startup.REPEATS)
    present = [peer for peer, found in programs.items() if "missing" not in found]
    for case in (bar := tqdm(chosen(options), unit=" models", disable=None)):
        bar.set_description(case.name)
        peers = tuple(peer for peer in present if peer in case.peers)
        results["cases"][case.name] = CaseRun(case, peers, options.budget, repeats).run()
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return report.write(results, options.output)


if __name__ == "__main__":
    sys.exit(main())
