"""The comparison as a Markdown file, worst first.

Place in the reading order: after ``peers``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from validation.compare import Broken, Comparison, Left, Record


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lay out a Markdown table; a bar inside a cell is escaped."""
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return ["| " + " | ".join(header) + " |", "|" + "---|" * len(header), *body, ""]


def comparison_row(item: Comparison) -> list[str]:
    """Entry, quantity, published, ours, difference, tolerance, verdict, mode."""
    digits = max(6, len(item.published.lstrip("-<0. ").replace(".", "")) + 1)
    return [
        item.entry,
        f"`{item.quantity}`",
        item.published,
        f"{item.ours:.{min(digits, 15)}g}",
        f"{item.difference:.2g}",
        f"{item.tolerance:.2g}",
        verdict(item),
        item.mode,
    ]


def verdict(item: Comparison) -> str:
    """Word the outcome: pass, explained or FAIL."""
    if item.passed:
        return "pass"
    return "explained" if item.explanation else "**FAIL**"


HEADER = ("entry", "quantity", "published", "ours", "difference", "tolerance", "", "mode")


def worst_first(records: Iterable[Record]) -> list[Comparison]:
    """Order comparisons by how much of their tolerance they use; explained ones after plain failures."""
    items = [r for r in records if isinstance(r, Comparison)]
    return sorted(items, key=lambda c: (verdict(c) != "**FAIL**", verdict(c) == "pass", -c.strain))


def count_line(name: str, records: Sequence[Record]) -> list[str]:
    """Name, compared, pass, explained, fail, not compared."""
    items = [r for r in records if isinstance(r, Comparison)]
    verdicts = [verdict(c) for c in items]
    broken = sum(isinstance(r, Broken) for r in records)
    left = sum(r.count for r in records if isinstance(r, Left))
    return [
        name,
        str(len(items)),
        str(verdicts.count("pass")),
        str(verdicts.count("explained")),
        str(verdicts.count("**FAIL**") + broken),
        str(left),
    ]


def by_entry(records: Sequence[Record]) -> list[list[str]]:
    """One row an entry: its worst number, ordered by that."""
    groups: dict[str, list[Comparison]] = {}
    for item in worst_first(records):
        groups.setdefault(item.entry, []).append(item)
    return [
        [entry, f"{sum(c.passed for c in items)} of {len(items)}", *comparison_row(items[0])[1:]]
        for entry, items in groups.items()
    ]


def render(published: Sequence[Record], peers: Sequence[Record], versions: str) -> str:
    """Write the whole report."""
    every = [*published, *peers]
    out = [
        "# Validation report",
        "",
        f"Written by `make validate` ({versions}). A figure passes when ours differs by at most half a "
        "unit in its last printed place plus a tolerance whose reason stands in `validation/entries.py` and "
        "`validation/tolerance.py`. Worst first: ordered by difference over tolerance.",
        "",
        *table(
            ("", "compared", "pass", "explained", "fail", "not compared"),
            [count_line("published figures", published), count_line("other software, run by us", peers)],
        ),
    ]
    broken = [r for r in every if isinstance(r, Broken)]
    if broken:
        out += ["## Did not come about", ""]
        rows = ([b.entry, f"`{b.at}`", b.message] for b in broken)
        out += table(("entry", "where", "what happened"), rows)
    explained = [c for c in worst_first(every) if verdict(c) == "explained"]
    if explained:
        out += ["## Differences with an explanation", ""]
        out += table((*HEADER, "why"), ([*comparison_row(c), c.explanation] for c in explained))
    out += ["## Published figures", "", *table(HEADER, map(comparison_row, worst_first(published)))]
    out += ["## Other software, run by us", "", "One line a case: its worst number.", ""]
    out += table(("entry", "pass", *HEADER[1:]), by_entry(peers))
    failing = [c for c in worst_first(peers) if verdict(c) == "**FAIL**"]
    if failing:
        out += ["### Every failing number of these", "", *table(HEADER, map(comparison_row, failing))]
    left = [r for r in every if isinstance(r, Left) and r.count]
    out += ["## Not compared", ""]
    out += table(("entry", "where", "numbers", "why"), ([r.entry, r.at, str(r.count), r.reason] for r in left))
    return "\n".join(out)
