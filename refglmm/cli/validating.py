"""``refglmm validate``: published models fitted again by this very installation.

Place in the reading order: after ``shelf``. The figures and the fits are those of :mod:`refglmm.demo`.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Iterable
from contextlib import nullcontext, redirect_stdout
from io import StringIO
from itertools import groupby
from typing import Any

from refglmm import demo
from refglmm.cli.arguments import Exit
from refglmm.cli.page import STANDARD_OUTPUT, check_outputs, write
from refglmm.fit.serialise import versions

WHOLE = "These are a sample; the whole comparison is `make validate` in the repository."


def run(options: Namespace) -> int:
    """Fit, compare, print a line for each table of figures."""
    check_outputs(options)
    begin = time.perf_counter()
    shown = demo.Demo()
    with nullcontext() if options.verbose else redirect_stdout(StringIO()):
        demo.show_models(shown)
    seconds = time.perf_counter() - begin
    if options.json is not None:
        write(options.json, json.dumps(content(shown), indent=2, allow_nan=False) + "\n")
    if options.json != STANDARD_OUTPUT:
        print("\n".join([*lines(shown), "", f"{verdict(shown)}, in {seconds:.1f} s", WHOLE]))
    return Exit.DISAGREES if shown.missed else Exit.FINE


def by_table(compared: Iterable[demo.Comparison]) -> dict[str, list[demo.Comparison]]:
    """Comparisons of each table, in their order."""
    return {table: list(rows) for table, rows in groupby(compared, key=lambda row: row.table)}


def lines(shown: demo.Demo) -> list[str]:
    """A line for each table, and one for each figure that was missed."""
    out = []
    for table, rows in by_table(shown.comparisons).items():
        source = shown.tables[table]["source"]
        good = sum(row.good for row in rows)
        out.append(f"{'ok' if good == len(rows) else 'FAILED':<6} {good:>2} of {len(rows):>2}  {table:<24} {source}")
        out += [f"       {row}" for row in rows if not row.good]
    return out


def verdict(shown: demo.Demo) -> str:
    """How many figures were reproduced."""
    return f"{shown.compared - len(shown.missed)} of {shown.compared} figures reproduced"


def content(shown: demo.Demo) -> dict[str, Any]:
    """What JSON holds."""
    return {
        "versions": versions(),
        "compared": shown.compared,
        "reproduced": shown.compared - len(shown.missed),
        "figures": [_plain(row) for row in shown.comparisons],
    }


def _plain(row: demo.Comparison) -> dict[str, Any]:
    from refglmm.fit.arrays import plain

    made: dict[str, Any] = plain(row._asdict())
    return made
