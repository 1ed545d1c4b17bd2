r"""GLMMadaptive's two formulas, ``fixed`` and ``random``, as one formula in lme4's language.

Place in the reading order: last of ``formula``; only ``mixed_model`` uses it.

``random="~ time | id"`` is the term ``(time | id)``. ``"~ time || id"`` is ``diag(time | id)``: *one* term whose D is
diagonal, also where a factor stands for several columns (lme4's own ``||`` would leave those correlated).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from refglmm.errors import ArgumentError, FormulaError, NotAvailableError
from refglmm.formula.grammar import parse

_RANDOM = re.compile(r"\s*~(?P<terms>[^|()]*(?:\([^|]*\)[^|()]*)*)(?P<bar>\|\|?)(?P<group>[^|]+)")


class RandomPart(NamedTuple):
    """Columns and grouping factor of a one-sided ``random`` formula, and whether D is diagonal."""

    terms: str
    group: str
    diagonal: bool

    def term(self, diagonal: bool) -> str:
        """The term of lme4's language."""
        return f"{'diag' if diagonal else ''}({self.terms} | {self.group})"


def read_random(name: str, text: str) -> RandomPart:
    """Take ``"~ terms | group"`` apart.

    Raises
    ------
    ArgumentError
        If it is no such text.
    NotAvailableError
        If there is more than one grouping factor; the message names them.
    """
    advice = "e.g. '~ time | id', or '~ time || id' for a diagonal covariance"
    if not isinstance(text, str):
        raise ArgumentError(f"{name} must be a formula as text, {advice}, not {text!r}")
    if groups := _several_groups(text):
        raise NotAvailableError(
            f"{name}={text!r} has {len(groups)} grouping factors ({', '.join(groups)}); mixed_model() takes one: use "
            "glmer() for crossed and nested factors",
            groups=groups,
        )
    found = _RANDOM.fullmatch(text)
    if found is None or not found["terms"].strip():
        raise ArgumentError(f"{name} must be one-sided with one bar, {advice}, not {text!r}")
    return RandomPart(found["terms"].strip(), found["group"].strip(), found["bar"] == "||")


def _several_groups(text: str) -> tuple[str, ...]:
    """Grouping factors of a one-sided formula with more than one of them; empty for others."""
    right = text.split("~", 1)[-1]
    for candidate in (right, f"({right})"):
        try:
            groups = tuple(dict.fromkeys(term.group for term in parse(f"y ~ {candidate}").random))
        except FormulaError:
            continue
        if len(groups) > 1:
            return groups
    return ()


def grouped_formula(fixed: str, random: RandomPart) -> str:
    """``"y ~ x + (time | id)"`` from ``fixed`` and ``random``.

    Raises
    ------
    ArgumentError
        If ``fixed`` has no response, or random effects of its own.
    """
    if not isinstance(fixed, str) or "~" not in fixed or not fixed.split("~", 1)[0].strip():
        raise ArgumentError(f"fixed must be a two-sided formula as text, e.g. 'y ~ x', not {fixed!r}")
    if parse(fixed).random:
        raise ArgumentError(f"fixed={fixed!r} holds random effects; they belong into random=, or call glmer()")
    return f"{fixed} + {random.term(random.diagonal)}"


def zero_part_formula(zi_fixed: str, zi_random: RandomPart | None, random: RandomPart) -> str:
    """The one-sided formula of the zero part, its random effects of the same grouping factor.

    Raises
    ------
    ArgumentError
        If ``zi_fixed`` is not one-sided, or the grouping factors differ.
    """
    if not isinstance(zi_fixed, str) or not zi_fixed.strip().startswith("~"):
        raise ArgumentError(f"zi_fixed must be a one-sided formula as text, e.g. '~ x', not {zi_fixed!r}")
    if zi_random is None:
        return zi_fixed
    if zi_random.group != random.group:
        raise ArgumentError(
            f"zi_random groups by {zi_random.group!r} and random by {random.group!r}; mixed_model() takes one grouping "
            "factor: use glmer(..., zi=) for others"
        )
    return f"{zi_fixed} + {zi_random.term(random.diagonal)}"
