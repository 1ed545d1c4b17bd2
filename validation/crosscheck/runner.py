"""Runs every case, compares the verdict with the truth, and writes the report.

Place in the reading order: last. ``python -m validation.crosscheck [part of a name]``; the report is written when all
cases are run.
"""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

import refglmm as rg
from validation import page
from validation.checks import FAIL, PASS, Check, Section, save, worst_first
from validation.crosscheck import made, peers
from validation.crosscheck.report import render
from validation.crosscheck.truth import Case, LeftOut, Truth
from validation.prepare import AbsentError

REPORT = Path(__file__).parent / "report.md"


@dataclass(frozen=True)
class Outcome:
    """What crosscheck said of a case."""

    name: str
    source: str
    truth: Truth
    code: str
    sentence: str
    loss: float
    distance: float
    seconds: float

    @property
    def true(self) -> bool:
        """Whether the verdict is true."""
        return self.code in self.truth.codes

    @property
    def gravity(self) -> float:
        """Order of false verdicts, worst first: a wrong result called right, then a right one called wrong."""
        agree = {"agrees", "agrees_other_convention"}
        called, is_right = self.code in agree, self.truth.codes[0] in agree
        return {(True, False): 3.0, (False, True): 2.0, (False, False): 1.0, (True, True): 0.0}[called, is_right]


def run(case: Case) -> Outcome:
    """The verdict on one case; an exception is a verdict of its own, and never a true one."""
    began = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rg.errors.RefglmmWarning)
            check = rg.crosscheck(case.model(), reported=dict(case.report), **case.options)
        code, sentence = str(check.code), check.sentence
        loss, distance = check.evidence.loss, check.evidence.distance
    except AbsentError:
        raise
    except Exception as error:  # whatever it raises belongs into the report
        code, sentence, loss, distance = type(error).__name__, str(error), math.nan, math.nan
    return Outcome(case.name, case.source, case.truth, code, sentence, loss, distance, time.process_time() - began)


def cases() -> Iterator[Case | LeftOut]:
    """All of them."""
    yield from peers.lme4_cases()
    yield from peers.tmb_cases()
    yield from peers.adaptive_cases()
    yield from peers.statsmodels_cases()
    yield from made.cases()


def outcomes(chosen: Sequence[Case | LeftOut]) -> tuple[list[Outcome], list[LeftOut]]:
    """Run what can be run."""
    found: list[Outcome] = []
    left = [case for case in chosen if isinstance(case, LeftOut)]
    for case in tqdm([c for c in chosen if isinstance(c, Case)], unit=" cases", disable=None):
        try:
            found.append(run(case))
        except AbsentError as absent:
            left.append(LeftOut(case.name, case.source, str(absent)))
    return found, left


def section(found: Sequence[Outcome], left: Sequence[LeftOut]) -> Section:
    """The run as a part of the validation page."""
    checks = worst_first(
        Check(
            f"{outcome.source}: {outcome.name}",
            PASS if outcome.true else FAIL,
            None,
            outcome.code,
            " or ".join(outcome.truth.codes),
            outcome.truth.why,
        )
        for outcome in found
    )
    about = "Verdicts of rg.crosscheck on reports whose truth is known without it."
    command, made_with = "python -m validation.crosscheck", f"refglmm {rg.__version__}"
    return Section("Verdicts on other programs", about, command, made_with, "crosscheck/report.md", checks, len(left))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print what is false, write the report; 1 if a verdict is false."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    chosen = [case for case in cases() if not words or any(f"{case.source}: {case.name}".find(w) >= 0 for w in words)]
    found, left = outcomes(chosen)
    false = [outcome for outcome in found if not outcome.true]
    for outcome in sorted(false, key=lambda o: -o.gravity):
        print(f"FALSE {outcome.source}: {outcome.name}: {outcome.code}, true is {' or '.join(outcome.truth.codes)}")
        print(f"      {outcome.sentence}\n      {outcome.truth.why}")
    if not words:
        REPORT.write_text(render(found, left), encoding="utf-8")
        save("crosscheck", section(found, left))
        page.write()
    print(f"{len(found)} verdicts, {len(false)} of them false; {len(left)} records left out")
    return min(len(false), 1)
