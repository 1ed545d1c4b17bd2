"""Names of coefficients in other programs' dialects -> ours.

Place in the reading order: after ``reported``. ``Intercept``, ``C(period)[T.2]``, ``period[2]``, ``period: 2`` and
``I(x ** 2)`` are ``(Intercept)``, ``period2`` and ``I(x^2)``; the factors of an interaction may stand in another order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

from refglmm.errors import ArgumentError

INTERCEPTS = ("(intercept)", "intercept", "const", "_cons", "cons", "1")
_CATEGORY = re.compile(r"C\(\s*(?P<name>[^,()]+)\s*(?:,[^()]*(?:\([^()]*\))?)?\)")
_LEVEL = re.compile(r"\[(?:[TS]\.)?(?P<level>[^\[\]]*)\]")


def key_of(name: str) -> tuple[str, ...]:
    """What two names of the same column have in common: the factors of an interaction, in alphabetic order."""
    text = _CATEGORY.sub(r"\g<name>", name.strip())
    text = re.sub(r"(?<=\w): (?=\S)", "", text)  # MixedModels.jl: "period: 2"
    text = text.replace(" & ", ":").replace("**", "^").replace("np.", "")
    text = _LEVEL.sub(r"\g<level>", text).replace(" ", "")
    if text.lower() in INTERCEPTS:
        return ("(Intercept)",)
    return tuple(sorted(_factors(text)))


def _factors(text: str) -> list[str]:
    """Split an interaction at colons outside of brackets."""
    depth, pieces = 0, [""]
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == ":" and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += letter
    return pieces


def match_names(given: Sequence[str], wanted: Sequence[str], what: str, *, all_of_them: bool = True) -> list[int]:
    """Return where each given name stands among the wanted ones, each of which must be given (just) once.

    Raises
    ------
    ArgumentError
        Names that are missing, unknown (with the nearest known one), or given twice.
    """
    places = [find_name(name, wanted) for name in given]
    extra = [name for name, place in zip(given, places, strict=True) if place is None]
    missing = [name for i, name in enumerate(wanted) if i not in places] if all_of_them else []
    if extra or missing:
        raise ArgumentError(_complaint(what, missing, extra, wanted), missing=tuple(missing), unknown=tuple(extra))
    found = [place for place in places if place is not None]
    if len(set(found)) < len(found):
        twice = next(name for i, name in enumerate(wanted) if found.count(i) > 1)
        raise ArgumentError(f"reported {what} gives {twice!r} twice, under two names")
    return found


def find_name(name: str, wanted: Sequence[str]) -> int | None:
    """Where a name stands: as it is, or in another dialect if that is unambiguous."""
    if name in wanted:
        return list(wanted).index(name)
    same = [i for i, other in enumerate(wanted) if key_of(other) == key_of(name)]
    return same[0] if len(same) == 1 else None


def _complaint(what: str, missing: Sequence[str], extra: Sequence[str], wanted: Sequence[str]) -> str:
    """Which names do not fit, and the nearest ones that would."""
    pieces = []
    if missing:
        pieces.append(f"reported {what} lacks {', '.join(map(repr, missing))}, which the model has")
    for name in extra:
        near = get_close_matches(name, wanted, n=1, cutoff=0.5)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        pieces.append(f"reported {what} has {name!r}, which is no column of the model{hint}")
    columns = ", ".join(wanted)
    return "; ".join(pieces) + f". The model has the columns {columns}; formula, reference levels or contrasts differ"
