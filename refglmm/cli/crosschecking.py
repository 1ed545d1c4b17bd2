"""``refglmm crosscheck``: numbers that other software reported, held against exact computation.

Place in the reading order: after ``fitting``. The work is that of :func:`refglmm.crosscheck`; the exit code says
whether the reported results agree.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

import refglmm as rg
from refglmm.cli.arguments import Exit
from refglmm.cli.page import STANDARD_OUTPUT, Report, check_outputs, deliver
from refglmm.cli.reading import read_asked
from refglmm.crosschecking.verdict import Code
from refglmm.errors import ArgumentError, DataError

#: Verdicts by which reported results may be used as they are, and those that leave the estimates unjudged; every other
#: one is a disagreement.
AGREEING = (Code.AGREES, Code.OTHER_CONVENTION)
UNJUDGED = (Code.INCOMPLETE,)
#: Options that say what the report does not say, or says wrongly.
OVERRIDES = ("family", "link", "n_agq", "reml", "weights", "offset", "zi", "dispersion")


def run(options: Namespace) -> int:
    """Print a snippet, or check a report."""
    if options.snippet is not None:
        return _print_snippet(options)
    if options.reported is None or options.data is None:
        raise ArgumentError(
            "crosscheck needs a file with reported results, and the data (see refglmm crosscheck --help)"
        )
    if options.reported == options.data == STANDARD_OUTPUT:
        raise ArgumentError("only one of the report and the data can come from standard input")
    check_outputs(options)
    report = _read_report(options.reported)
    data, name = read_asked(options)
    given = {key: getattr(options, key) for key in OVERRIDES if getattr(options, key) is not None}
    if options.factor:
        given["factors"] = options.factor
    check = rg.crosscheck(options.formula, data, report, data_name=name, **given)
    sections = {"Cross-check": check._repr_html_()}
    deliver(Report("Cross-check of reported results", str(check), sections, check.to_dict()), options)
    return exit_code(check.verdict.code)


def exit_code(code: Code) -> Exit:
    """What a script is told."""
    if code in AGREEING:
        return Exit.FINE
    return Exit.DOUBTFUL if code in UNJUDGED else Exit.DISAGREES


def _print_snippet(options: Namespace) -> int:
    if options.reported is not None:
        raise ArgumentError("--snippet prints code and needs no files")
    print(rg.crosscheck_snippet(options.snippet), end="")
    return Exit.FINE


def _read_report(source: str) -> str:
    """JSON text; what it says is judged by the cross-check."""
    if source == STANDARD_OUTPUT:
        return sys.stdin.read()
    path = Path(source)
    if not path.is_file():
        raise DataError(f"there is no file {source} with reported results", path=source)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{source} is not UTF-8 text (byte {error.start})", path=source) from None
