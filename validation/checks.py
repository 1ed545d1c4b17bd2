"""One line of the validation page, and the sections that they come in.

Place in the reading order: after ``compare``. What takes long (calibration, simulation-based calibration) is run on its
own; so every part leaves its lines in ``checks/<part>.json``, with what made them, and the page gathers the files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from validation.compare import Broken, Comparison, Record
from validation.report import verdict as verdict_of

FOLDER = Path(__file__).parent / "checks"
PASS, EXPLAINED, FAIL = "pass", "explained", "fail"
#: Worst first.
ORDER = (FAIL, EXPLAINED, PASS)


@dataclass(frozen=True)
class Check:
    """Something that was compared.

    Attributes
    ----------
    name : str
        Case, data set, quantity.
    verdict : {"pass", "explained", "fail"}
        ``explained``: it differs, and the reason is known.
    strain : float or None
        Difference in units of what is allowed; above 1 it does not pass. None where there is no such number.
    found, expected : str
        Of the worst number of the case.
    note : str
        Which number that is, how many there are, why it differs.
    """

    name: str
    verdict: str
    strain: float | None
    found: str
    expected: str
    note: str

    @property
    def rank(self) -> tuple[int, float]:
        """Worst first: failures, explained ones, then by strain."""
        return ORDER.index(self.verdict), -(math.inf if self.strain is None else self.strain)


@dataclass(frozen=True)
class Section:
    """What one command compared.

    Attributes
    ----------
    title, about, command : str
    made : str
        Versions, seeds, machine.
    report : str
        The full report, from the folder ``validation``.
    checks : tuple of Check
        Worst first.
    left : int
        Numbers that were not compared; the report says why.
    """

    title: str
    about: str
    command: str
    made: str
    report: str
    checks: tuple[Check, ...]
    left: int = 0

    def count(self, verdict: str) -> int:
        """How many have this verdict."""
        return sum(check.verdict == verdict for check in self.checks)


def worst_first(checks: Iterable[Check]) -> tuple[Check, ...]:
    """Failures, explained differences, then what uses most of its allowance."""
    return tuple(sorted(checks, key=lambda check: check.rank))


def finite(strain: float) -> float | None:
    """A strain as JSON can hold it."""
    return float(strain) if math.isfinite(strain) else None


def case_checks(records: Sequence[Record]) -> tuple[Check, ...]:
    """One check an entry: its worst number, and how many of its numbers pass."""
    entries: dict[str, list[Comparison | Broken]] = {}
    for record in records:
        if isinstance(record, Comparison | Broken):
            entries.setdefault(record.entry, []).append(record)
    return worst_first(_case(name, found) for name, found in entries.items())


def _case(name: str, records: Sequence[Comparison | Broken]) -> Check:
    broken = [record for record in records if isinstance(record, Broken)]
    if broken:
        return Check(name, FAIL, None, "", "", f"{broken[0].at}: {broken[0].message}")
    compared = [record for record in records if isinstance(record, Comparison)]
    words = {"pass": PASS, "explained": EXPLAINED, "**FAIL**": FAIL}
    worst = min(compared, key=lambda c: (ORDER.index(words[verdict_of(c)]), -c.strain))
    note = f"{worst.quantity}; {sum(c.passed for c in compared)} of {len(compared)} numbers pass"
    note += f". {worst.explanation}" if worst.explanation else ""
    return Check(name, words[verdict_of(worst)], finite(worst.strain), f"{worst.ours:.10g}", worst.published, note)


def save(key: str, section: Section) -> None:
    """Write ``checks/<key>.json``."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{key}.json").write_text(json.dumps(asdict(section), indent=1) + "\n", encoding="utf-8")


def load(key: str) -> Section | None:
    """Read ``checks/<key>.json``; None where that part was never run."""
    file = FOLDER / f"{key}.json"
    if not file.exists():
        return None
    stored = json.loads(file.read_text(encoding="utf-8"))
    return Section(**{**stored, "checks": tuple(Check(**check) for check in stored["checks"])})
