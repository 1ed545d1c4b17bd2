"""Why some intervals do not cover as often as they say.

Place in the reading order: after ``gather``. A reason names the parameters and the methods it holds for, whether it
makes intervals cover too seldom or too often, and at which end the truth is missed then; a departure that does not
look like that is not explained by it. Where ``theory`` has a closed form, agreement with that is the only reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: Standard errors from the level (or from theory) at which a share departs.
LIMIT = 3.0


@dataclass(frozen=True)
class Reason:
    """What makes intervals of some parameters by some methods depart from their level.

    Attributes
    ----------
    kinds, methods : tuple of str
    direction : {"low", "high"}
        Coverage below, above the level.
    side : {"below", "above", "either"}
        Where the truth mostly lies when it is missed: below the lower end, above the upper end.
    text : str
    """

    kinds: tuple[str, ...]
    methods: tuple[str, ...]
    direction: str
    side: str
    text: str

    def fits(self, row: dict[str, Any], direction: str) -> bool:
        """Whether a departure looks as this reason says."""
        if kind(row["parameter"]) not in self.kinds or row["method"] not in self.methods:
            return False
        side = "below" if row["below"] > row["above"] else "above"
        return self.direction == direction and self.side in (side, "either")


def kind(parameter: str) -> str:
    """What a parameter is, by its name."""
    for beginning in ("sd", "cor", "sigma"):
        if parameter.startswith(beginning):
            return beginning
    return "coefficient"


REASONS: tuple[Reason, ...] = ()


def why(row: dict[str, Any], direction: str) -> str:
    """The reason of a departure that no closed form covers; "" if there is none."""
    return next((reason.text for reason in REASONS if reason.fits(row, direction)), "")
