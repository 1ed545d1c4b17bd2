"""Differences that are understood: which figure, and why it is not ours.

Place in the reading order: before ``runner``. An explanation names a cause that was checked; it does not
turn a failure into a pass, the report lists it apart.
"""

from __future__ import annotations

#: (entry, start of the quantity) -> cause.
EXPLAINED: dict[tuple[str, str], str] = {}


def explanation(entry: str, quantity: str) -> str:
    """Return the known cause of a difference, or nothing."""
    for (known_entry, start), cause in EXPLAINED.items():
        if entry == known_entry and quantity.startswith(start):
            return cause
    return ""
