"""Small clean HTML tables for notebooks.

Place in the reading order: after ``rformat``. All text is escaped here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = "text-align:right;padding:2px 8px"
HEAD_STYLE = STYLE + ";border-bottom:1px solid #999"


def html_table(header: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """Table with right-justified cells; the first cell of each row is a row header."""
    head = "".join(f'<th style="{HEAD_STYLE}">{escape(str(cell))}</th>' for cell in header)
    body = "".join(_row(list(row)) for row in rows)
    title = f'<caption style="text-align:left"><b>{escape(caption)}</b></caption>' if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _row(cells: list[object]) -> str:
    first = f'<th style="{STYLE}">{escape(str(cells[0]))}</th>'
    return f"<tr>{first}" + "".join(f'<td style="{STYLE}">{escape(str(c))}</td>' for c in cells[1:]) + "</tr>"


def html_lines(lines: Iterable[str], tag: str = "div") -> str:
    """One element a line."""
    return "".join(f"<{tag}>{escape(line)}</{tag}>" for line in lines)


def html_block(parts: Iterable[str]) -> str:
    """Wrap finished pieces into one element."""
    return '<div class="refglmm">' + "".join(parts) + "</div>"
