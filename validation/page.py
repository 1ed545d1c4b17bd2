"""Everything that was validated on one page, worst first: ``index.md`` and ``index.html``.

Place in the reading order: after ``checks``; ``python -m validation.page`` makes the page from the stored sections.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

from validation.checks import EXPLAINED, FAIL, ORDER, PASS, Check, Section, load
from validation.report import table

FOLDER = Path(__file__).parent
MARKDOWN, HTML = "index.md", "index.html"
#: Parts of the page in the order of its overview.
PARTS = ("published", "other_software", "glmmadaptive", "glmmtmb", "crosscheck", "calibration", "sbc")
HEAD = ("case", "verdict", "strain", "found", "expected", "note")
INTRODUCTION = (
    "What the library computes beside what papers print, what other software finds, what independent maximisations "
    "and simulations with known truth give. Strain: difference in units of what is allowed (above 1 it does not "
    "pass). Explained: it differs, and the reason stands beside it. Worst first."
)
STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem; }
th, td { border-bottom: 1px solid #8885; padding: .25rem .6rem; text-align: left; vertical-align: top; }
td { overflow-wrap: break-word; font-variant-numeric: tabular-nums; }
td.note { width: 38%; }
.fail { color: #d22; font-weight: 600; } .explained { color: #b60; } .pass { color: #2a7d3a; }
@media (prefers-color-scheme: dark) { .fail { color: #f77; } .explained { color: #e93; } .pass { color: #5b6; } }
@media (max-width: 60rem) { body { font-size: 13px; } th, td { padding: .2rem .3rem; } }
summary { cursor: pointer; }
p.made { color: #777; font-size: .87em; }
"""


def sections() -> dict[str, Section]:
    """Stored sections by key."""
    found = {key: load(key) for key in PARTS}
    return {key: section for key, section in found.items() if section is not None}


def cells(check: Check) -> list[str]:
    """One row."""
    strain = "" if check.strain is None else f"{check.strain:.2g}"
    return [check.name, check.verdict, strain, check.found, check.expected, check.note]


def overview(found: dict[str, Section]) -> list[list[str]]:
    """A row for each part, with a row for what was never run."""
    rows = []
    for key in PARTS:
        section = found.get(key)
        if section is None:
            rows.append([key, "not run", "", "", "", "", ""])
            continue
        counts = [str(section.count(verdict)) for verdict in (PASS, EXPLAINED, FAIL)]
        rows.append([section.title, str(len(section.checks)), *counts, str(section.left), section.command])
    return rows


OVERVIEW_HEAD = ("", "cases", "pass", "explained", "fail", "numbers not compared", "command")


def markdown(found: dict[str, Section]) -> str:
    """The page as Markdown: every case that does not simply pass, and the twenty of a part with the most strain."""
    out = ["# Validation", "", INTRODUCTION, "", *table(OVERVIEW_HEAD, overview(found))]
    for section in found.values():
        out += [f"## {section.title}", "", section.about, "", f"`{section.command}`; {section.made}. "]
        out[-1] += f"Every number: [{section.report}]({section.report})."
        shown = [check for check in section.checks if check.verdict != PASS]
        passing = [check for check in section.checks if check.verdict == PASS]
        out += ["", *table(HEAD, map(cells, [*shown, *passing[:20]]))]
        if len(passing) > 20:
            out += [f"{len(passing) - 20} more pass with less strain.", ""]
    return "\n".join(out)


def html(found: dict[str, Section]) -> str:
    """The page as one HTML file with every case; what passes is folded."""
    body = ["<h1>Validation of refglmm</h1>", f"<p>{escape(INTRODUCTION)}</p>"]
    body.append(html_table(OVERVIEW_HEAD, overview(found)))
    for section in found.values():
        body += [f"<h2>{escape(section.title)}</h2>", f"<p>{escape(section.about)}</p>"]
        made = f"<code>{escape(section.command)}</code>; {escape(section.made)}."
        body.append(f'<p class="made">{made} Every number: <a href="{section.report}">{section.report}</a>.</p>')
        for verdict in ORDER:
            own = [check for check in section.checks if check.verdict == verdict]
            if own:
                rows = html_table(HEAD, [cells(check) for check in own])
                opened = "" if verdict == PASS else " open"
                label = f'<span class="{verdict}">{len(own)} {verdict}</span>'
                body.append(f"<details{opened}><summary>{label}</summary>{rows}</details>")
    head = f'<meta charset="utf-8"><title>Validation of refglmm</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>\n' + "\n".join(body) + "\n</body></html>\n"


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells that are verdicts have their colour."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = []
    for row in rows:
        classes = [f' class="{cell}"' if cell in ORDER else "" for cell in row]
        if head is HEAD:
            classes[-1] = ' class="note"'
        lines.append("<tr>" + "".join(f"<td{c}>{escape(cell)}</td>" for c, cell in zip(classes, row)) + "</tr>")
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def write(folder: Path = FOLDER) -> int:
    """Write the page; the number of failing cases."""
    found = sections()
    (folder / MARKDOWN).write_text(markdown(found), encoding="utf-8")
    (folder / HTML).write_text(html(found), encoding="utf-8")
    return sum(section.count(FAIL) for section in found.values())


def main() -> int:
    """Write the page; 1 when anything fails."""
    failing = write()
    print(f"{failing} cases fail; see {FOLDER.name}/{HTML}")
    return min(failing, 1)


if __name__ == "__main__":
    sys.exit(main())
