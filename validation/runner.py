"""Walks every entry and every peer, and writes the report.

Place in the reading order: last.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from validation import page
from validation.checks import Section, case_checks, save
from validation.compare import Broken, Comparison, Left, Record, compare_entry
from validation.entries import ENTRIES
from validation.explained import explanation
from validation.peers import compare_figures, compare_lme4, compare_scale_families
from validation.posterior import compare_posterior
from validation.report import render, verdict
from validation.shelf import table as shelf

FOLDER = Path(__file__).parent
REPORT = FOLDER / "report.md"


def compare_published() -> Iterator[Record]:
    """Every entry of ``published.json``; one that ``ENTRIES`` does not know is a failure."""
    text = (FOLDER / "published.json").read_text(encoding="utf-8")
    for entry in json.loads(text, parse_float=Decimal)["entries"]:
        name = entry["id"]
        if name in ENTRIES:
            yield from compare_entry(name, entry, ENTRIES[name])
        else:
            yield Broken(name, "", "validation.entries has no line for it")


def compare_peers() -> Iterator[Record]:
    """Everything that other software was run for."""
    yield from compare_figures()
    yield from compare_scale_families()
    yield from compare_lme4()
    yield from compare_posterior()


def with_explanations(records: Iterator[Record], label: str) -> list[Record]:
    """Run the comparisons behind a progress bar, and attach what is known about a difference."""
    out: list[Record] = []
    for record in tqdm(records, desc=label, unit=" figures", disable=None):
        if isinstance(record, Comparison) and not record.passed:
            record = replace(record, explanation=explanation(record.entry, record.quantity))
        out.append(record)
    return out


def left(records: Iterable[Record]) -> int:
    """Numbers that were not compared."""
    return sum(record.count for record in records if isinstance(record, Left))


def save_sections(published: list[Record], peers: list[Record], versions: str) -> None:
    """Leave both parts for the page."""
    command, report = "make validate", REPORT.name
    about = "Figures printed in papers, vignettes and documentation, and ours for the same model."
    checks = case_checks(published)
    save("published", Section("Published figures", about, command, versions, report, checks, left(published)))
    about = "Fits of lme4 run for this comparison, integrals by brute force, figures of intervals, known posteriors."
    checks = case_checks(peers)
    save("other_software", Section("Other software, run by us", about, command, versions, report, checks, left(peers)))


def main() -> int:
    """Compare everything, write the reports and the page; 0 when nothing fails unexplained."""
    published = with_explanations(compare_published(), "published")
    peers = with_explanations(compare_peers(), "other software")
    versions = f"refglmm {version('refglmm')}, numpy {version('numpy')}, scipy {version('scipy')}"
    REPORT.write_text(render(published, peers, versions), encoding="utf-8")
    failures = [
        r
        for r in (*published, *peers)
        if isinstance(r, Broken) or (isinstance(r, Comparison) and verdict(r) == "**FAIL**")
    ]
    compared = sum(isinstance(r, Comparison) for r in (*published, *peers))
    print(f"{compared} figures compared, {len(failures)} failures; see {REPORT.relative_to(FOLDER.parent)}")
    save_sections(published, peers, versions)
    failing = len(failures) + shelf.main()
    return min(failing + page.main(), 1)


if __name__ == "__main__":
    sys.exit(main())
