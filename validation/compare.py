"""One entry against our fits: every number claimed once, compared, and recorded.

Place in the reading order: after ``entries``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from validation.entries import Compute, Part, Read, Unreached
from validation.models import COUNTS, READERS, Fit, Path, fitted, kind_of
from validation.prepare import AbsentError
from validation.tolerance import Tolerance, half_unit


@dataclass(frozen=True)
class Comparison:
    """One published number beside ours."""

    entry: str
    quantity: str
    published: str
    ours: float
    difference: float
    tolerance: float
    mode: str
    reason: str
    explanation: str = ""

    @property
    def passed(self) -> bool:
        """Whether the two agree (a NaN never does)."""
        return abs(self.difference) <= self.tolerance

    @property
    def strain(self) -> float:
        """Difference in units of what is allowed: the order of the report, worst first."""
        if self.difference == 0:
            return 0.0
        return abs(self.difference) / self.tolerance if self.tolerance > 0 else float("inf")


@dataclass(frozen=True)
class Left:
    """Numbers of an entry that were not compared, and why."""

    entry: str
    at: str
    count: int
    reason: str


@dataclass(frozen=True)
class Broken:
    """A fit that did not come about, or a number that nothing claims: always a failure."""

    entry: str
    at: str
    message: str


Record = Comparison | Left | Broken


def leaves(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Walk down to the numbers (and bounds such as "< 1e-04") of a node; other text is no figure."""
    if isinstance(node, dict):
        for key, below in node.items():
            yield from leaves(below, (*path, key))
    elif isinstance(node, list):
        for j, below in enumerate(node):
            yield from leaves(below, (*path, str(j)))
    elif isinstance(node, (int, Decimal)) or (isinstance(node, str) and node.startswith("<")):
        yield path, node


def below(entry: Any, at: str) -> Iterator[tuple[Path, Any]]:
    """Walk the numbers below the node ``at`` (keys joined by "/"), with their full paths."""
    node, path = entry, tuple(at.split("/"))
    for key in path:
        node = node[int(key)] if isinstance(node, list) else node[key]
    yield from leaves(node, path)


def compare_entry(name: str, entry: Any, parts: Sequence[Part]) -> Iterator[Record]:
    """Compare every number of an entry; the first part that can read a number claims it."""
    claimed: set[Path] = set()
    for part in parts:
        numbers = {path: x for path, x in below(entry, part.at) if path not in claimed}
        try:
            for path, record in _records(name, part, numbers):
                claimed.add(path)
                yield record
        except AbsentError as absent:
            claimed |= set(numbers)
            yield Left(name, part.at, len(numbers), str(absent))
        except Exception as error:  # whatever a fit raises belongs into the report
            claimed |= set(numbers)
            yield Broken(name, part.at, f"{type(error).__name__}: {error}")
        if isinstance(part, Unreached):
            claimed |= set(numbers)
            yield Left(name, part.at, len(numbers), part.reason)
    for at in {part.at for part in parts} | {"quantities"}:
        for path, _ in below(entry, at):
            if path not in claimed:
                claimed.add(path)
                yield Broken(name, "/".join(path), "no part of the entry claims this number")


def _records(name: str, part: Part, numbers: dict[Path, Any]) -> Iterator[tuple[Path, Comparison]]:
    if isinstance(part, Read):
        yield from _read(name, part, numbers)
    elif isinstance(part, Compute):
        ours = part.numbers()
        for path, published in numbers.items():
            key = "/".join(path)[len(part.at) + 1 :]
            if key in ours:
                kind = "count" if path[-1].lower() in COUNTS else part.kind
                found = _comparison(name, path, published, ours[key], part.tolerance, kind, 0.0, part.mode)
                yield path, found


def _read(name: str, part: Read, numbers: dict[Path, Any]) -> Iterator[tuple[Path, Comparison]]:
    readers = READERS | dict(part.readers)
    for path, published in numbers.items():
        first = next((j for j, key in enumerate(path) if key in readers), None)
        if first is None:
            continue
        key, rest = path[first], path[first + 1 :]
        model = fitted(part.fit)
        ours = float(readers[key](model, rest))
        kind = part.kinds.get(key) or kind_of(key, rest)
        se = _standard_error(model, rest) if kind == "fixef" else 0.0
        yield path, _comparison(name, path, published, ours, part.tolerance, kind, se, mode_of(part.fit))


def _standard_error(model: Any, path: Path) -> float:
    """Standard error of the coefficient that a path names, or numbers by its row."""
    if path and path[0] in model.se.index:
        return float(model.se[path[0]])
    return float(model.se.iloc[int(path[0])]) if path and path[0].isdigit() else 0.0


def mode_of(fit: Fit) -> str:
    """Word the kind of fit for the report."""
    if fit.reml is not None:
        return "REML" if fit.reml else "ML"
    return f"{fit.mode}, n_agq={fit.n_agq}"


def _comparison(
    name: str, path: Path, published: Any, ours: float, tolerance: Tolerance, kind: str, se: float, mode: str
) -> Comparison:
    quantity = "/".join(key for key in path if key not in ("quantities", "values"))
    if isinstance(published, str):  # "< 1e-04": ours must lie below the bound
        bound = float(published.lstrip("< "))
        difference = max(0.0, ours - bound)
        return Comparison(name, quantity, published, ours, difference, 0.0, mode, "below the bound printed")
    number = Decimal(published)
    allowed = half_unit(number) + tolerance.of(kind, float(number), se)
    difference = ours - float(number)
    return Comparison(name, quantity, str(published), ours, difference, allowed, mode, tolerance.reason)
