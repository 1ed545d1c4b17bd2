"""The report: confusion table, false verdicts worst first, every case.

Place in the reading order: before ``runner``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from refglmm.crosschecking.verdict import Code

if TYPE_CHECKING:
    from validation.crosscheck.runner import Outcome
    from validation.crosscheck.truth import LeftOut

#: Verdicts in the order of the table.
ORDER = tuple(code.value for code in Code)


def confusion(outcomes: Sequence[Outcome]) -> list[str]:
    """Rows: the truth; columns: the verdict. A verdict that is true beside the one expected counts in its own row."""
    counts = Counter((o.code if o.true else o.truth.codes[0], o.code) for o in outcomes)
    seen = {code for pair in counts for code in pair}
    codes = [code for code in ORDER if code in seen] + sorted(seen - set(ORDER))
    lines = ["| truth \\ verdict | " + " | ".join(codes) + " | all |", "|---|" + "---:|" * (len(codes) + 1)]
    for truth in codes:
        row = [counts[truth, code] for code in codes]
        if sum(row):
            cells = [f"**{n}**" if n and code == truth else str(n or "") for n, code in zip(row, codes, strict=True)]
            lines.append(f"| {truth} | " + " | ".join(cells) + f" | {sum(row)} |")
    return lines


def by_source(outcomes: Sequence[Outcome], left: Sequence[LeftOut]) -> list[str]:
    """How many of each kind."""
    lines = ["| source | cases | false | left out |", "|---|---:|---:|---:|"]
    for source in dict.fromkeys([*(o.source for o in outcomes), *(item.source for item in left)]):
        mine = [o for o in outcomes if o.source == source]
        false = sum(not o.true for o in mine)
        lines.append(f"| {source} | {len(mine)} | {false} | {sum(item.source == source for item in left)} |")
    return lines


def losses(outcomes: Sequence[Outcome]) -> list[str]:
    """How well the loss that crosscheck computes matches the one known from elsewhere, for peers' estimates."""
    known = [
        o for o in outcomes
        if o.source == "GLMMadaptive" and math.isfinite(o.loss) and o.truth.loss > 1e-5
    ]  # fmt: skip
    if not known:
        return ["No losses known from elsewhere were compared: the records do not lie beside the repository."]
    worst = max(known, key=lambda o: abs(o.loss - o.truth.loss) / max(o.truth.loss, 1e-3))
    difference = abs(worst.loss - worst.truth.loss)
    return [
        "Losses known from independent evaluations (GLMMadaptive's estimates, "
        f"{min(o.truth.loss for o in known):.1e} to {max(o.truth.loss for o in known):.3g} log-likelihood units): "
        f"{len(known)} compared, largest relative difference {difference / max(worst.truth.loss, 1e-3):.1e} "
        f"({worst.name}: {worst.loss:.6g}, known {worst.truth.loss:.6g})."
    ]


def render(outcomes: Sequence[Outcome], left: Sequence[LeftOut]) -> str:
    """The report as Markdown."""
    false = sorted((o for o in outcomes if not o.true), key=lambda o: -o.gravity)
    lines = [
        "# Does crosscheck tell the truth?",
        "",
        "Written by `python -m validation.crosscheck`. Every case is a report whose truth is known without "
        "crosscheck: independent maxima, fully converged fits, log-likelihoods evaluated elsewhere, or what was done "
        "to the numbers. "
        "Rows of the table are what is true, columns what crosscheck said; where two verdicts are true (a value near a "
        "limit, or an estimate about which less is known), either counts as right.",
        "",
        f"{len(outcomes)} verdicts, {len(false)} of them false; in {sum(len(o.truth.codes) == 1 for o in outcomes)} "
        "cases one verdict alone is true. "
        f"numpy {version('numpy')}, scipy {version('scipy')}.",
        "",
        "## Verdicts against truth",
        "",
        *confusion(outcomes),
        "",
        *by_source(outcomes, left),
        "",
        *losses(outcomes),
        "",
        "## False verdicts, worst first",
        "",
        *(_false(o) for o in false),
        *([] if false else ["None."]),
        "",
        "## Left out",
        "",
        *(f"- {item.source}, {item.name}: {item.reason}" for item in left),
        "",
        "## Every case",
        "",
        "| source | case | true | verdict | loss | SE | known loss | s |",
        "|---|---|---|---|---:|---:|---:|---:|",
        *(_row(o) for o in outcomes),
        "",
    ]
    return "\n".join(lines)


def _false(o: Outcome) -> str:
    return (
        f"- **{o.source}, {o.name}**: said *{o.code}*, true is *{' or '.join(o.truth.codes)}* ({o.truth.why}). "
        f"Its words: {o.sentence}"
    )


def _row(o: Outcome) -> str:
    cells = [
        o.source,
        o.name,
        " or ".join(o.truth.codes),
        o.code if o.true else f"**{o.code}**",
        _number(o.loss),
        _number(o.distance),
        _number(o.truth.loss),
        f"{o.seconds:.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    return f"{value:.2g}" if math.isfinite(value) else ""
