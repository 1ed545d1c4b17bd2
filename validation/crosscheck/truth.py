"""What is true of a report, known without crosscheck, in the words of its verdicts.

Place in the reading order: after ``reports``. The codes are those of :class:`refglmm.crosschecking.verdict.Code`, and
where a code is defined by a loss of log-likelihood and a distance in standard errors, the same limits decide here,
applied to a loss and a distance that come from elsewhere. A value within :data:`MARGIN` of a limit makes both codes
true.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from refglmm.crosschecking.verdict import EARLY_DISTANCE, EARLY_LOSS, ERRORS_OFF, SMALL_DISTANCE, SMALL_LOSS, Code
from refglmm.model import GLMM

AGREES, CONVENTION = Code.AGREES.value, Code.OTHER_CONVENTION.value
OBJECTIVE, EARLY, FAR = Code.OTHER_OBJECTIVE.value, Code.STOPPED_EARLY.value, Code.NOT_THE_OPTIMUM.value
ERRORS, CRITERION = Code.WRONG_ERRORS.value, Code.WRONG_CRITERION.value
DEGENERATE, DATA = Code.DEGENERATE.value, Code.OTHER_DATA.value

#: Relative distance from a limit within which either side of it is true.
MARGIN = 0.2


@dataclass(frozen=True)
class Truth:
    """Codes that are true (the first is the one expected), and how that is known.

    ``loss`` is the loss of log-likelihood where it is known from elsewhere (nan where not).
    """

    codes: tuple[str, ...]
    why: str
    loss: float = math.nan

    def __post_init__(self) -> None:
        object.__setattr__(self, "codes", tuple(dict.fromkeys(self.codes)))


@dataclass(frozen=True)
class Case:
    """One report, the model it is about, and the truth.

    ``model`` is made when the case is run; ``options`` are further arguments of crosscheck.
    """

    name: str
    source: str
    model: Callable[[], GLMM]
    report: Mapping[str, Any]
    truth: Truth
    options: Mapping[str, Any]


@dataclass(frozen=True)
class LeftOut:
    """A record that is no case, and why."""

    name: str
    source: str
    reason: str


def codes_of(loss: float, distance: float) -> tuple[str, ...]:
    """Codes of estimates that lose this much and lie this far from the optimum that was asked for."""
    found = [
        _code(loss * a, distance * b)
        for a in (1.0, 1.0 - MARGIN, 1.0 + MARGIN)
        for b in (1.0, 1.0 - MARGIN, 1.0 + MARGIN)
    ]
    return tuple(dict.fromkeys(found))


def _code(loss: float, distance: float) -> str:
    if loss < SMALL_LOSS and distance < SMALL_DISTANCE:
        return AGREES
    return EARLY if loss < EARLY_LOSS and distance < EARLY_DISTANCE else FAR


def with_convention(codes: tuple[str, ...], other: bool) -> tuple[str, ...]:
    """The codes where a reported criterion follows another convention: agreement is agreement but for that."""
    return tuple(CONVENTION if other and code == AGREES else code for code in codes)


def with_errors(codes: tuple[str, ...], off: float) -> tuple[str, ...]:
    """The codes where standard errors are ``off`` (relative): beyond a limit agreement becomes a complaint."""
    wrong = {CONVENTION, AGREES}
    if off > ERRORS_OFF * (1.0 + MARGIN):
        return tuple(dict.fromkeys(ERRORS if code in wrong else code for code in codes))
    if off > ERRORS_OFF * (1.0 - MARGIN) and wrong & set(codes):
        return (*codes, ERRORS)
    return codes
