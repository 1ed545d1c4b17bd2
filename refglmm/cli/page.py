"""Where results go: text, JSON, or a self-contained HTML page.

Place in the reading order: after ``reading``.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from refglmm.errors import ArgumentError

STANDARD_OUTPUT = "-"

_STYLE = """\
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
pre { background: #f6f6f4; padding: 0.8rem 1rem; overflow-x: auto; font-size: 0.85rem; line-height: 1.35; }
table { border-collapse: collapse; margin: 0.8rem 0; font-variant-numeric: tabular-nums; }
caption { padding-bottom: 0.3rem; } svg { max-width: 100%; height: auto; }
footer { margin-top: 2rem; border-top: 1px solid #ccc; color: #666; font-size: 0.85rem; }
"""


@dataclass(frozen=True)
class Report:
    """The result of a command in all its forms.

    Attributes
    ----------
    title, text : str
    sections : mapping of str to str
        Headings of the page, and the HTML below each.
    content : mapping
        What JSON holds; plain types.
    """

    title: str
    text: str
    sections: Mapping[str, str]
    content: Mapping[str, Any]


def check_outputs(options: Namespace) -> None:
    """Refuse files that cannot be written before any work is done.

    Raises
    ------
    ArgumentError
        A folder that is not there, a folder in place of a file, or both forms on standard output.
    """
    files = [file for file in (options.json, getattr(options, "html", None)) if file is not None]
    if files.count(STANDARD_OUTPUT) > 1:
        raise ArgumentError("--json - and --html - both ask for standard output; give one of them a file")
    for file in files:
        _check_output(file)


def _check_output(file: str) -> None:
    path = Path(file)
    if file == STANDARD_OUTPUT:
        return
    if path.is_dir():
        raise ArgumentError(f"cannot write {file}: it is a folder")
    if not path.parent.is_dir():
        raise ArgumentError(f"cannot write {file}: there is no folder {path.parent}")


def deliver(report: Report, options: Namespace) -> None:
    """Write what was asked for: files, and text unless it would stand between something else's lines."""
    if options.json is not None:
        write(options.json, json.dumps(report.content, indent=2, allow_nan=False) + "\n")
    if options.html is not None:
        write(options.html, page(report.title, report.sections))
    if not options.quiet and STANDARD_OUTPUT not in (options.json, options.html):
        print(report.text)


def write(file: str, text: str) -> None:
    """Write text to a file, or to standard output.

    Raises
    ------
    ArgumentError
        The file cannot be written.
    """
    if file == STANDARD_OUTPUT:
        sys.stdout.write(text)
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ArgumentError(f"cannot write {file}: {error.strerror}") from None


def page(title: str, sections: Mapping[str, str]) -> str:
    """Return a whole HTML page that needs no other file."""
    from refglmm.fit.serialise import versions

    known = ", ".join(f"{name} {version}" for name, version in versions().items() if version)
    body = "\n".join(f"<section><h2>{escape(heading)}</h2>\n{block}</section>" for heading, block in sections.items())
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>\n{_STYLE}</style>\n</head>\n'
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n<footer>{escape(known)}</footer>\n</body>\n</html>\n"
    )


def preformatted(lines: str | Iterable[str]) -> str:
    """Text as it would be printed."""
    text = lines if isinstance(lines, str) else "\n".join(lines)
    return f"<pre>{escape(text)}</pre>"
