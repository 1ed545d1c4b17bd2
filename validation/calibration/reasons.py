"""Why some intervals do not cover as often as they say.

Place in the reading order: after ``gather``. A reason names the parameters and the methods it holds for, whether it
makes intervals cover too seldom or too often, and at which end the truth is missed then; a departure that does not
look like that is not explained by it. Where ``theory`` has a closed form, agreement with that is the only reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from validation.calibration import theory
from validation.calibration.designs import GROUPS

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


REASONS = (
    Reason(
        ("sd", "cor"),
        ("Wald",),
        "high",
        "either",
        "on the log (Fisher's z) scale the standard error is largest where the estimate is near its bound: the "
        "intervals that could miss are the widest, and estimates on the bound have none",
    ),
    Reason(
        ("sd",),
        ("Wald", "profile"),
        "low",
        "above",
        "few groups: maximum likelihood estimates the standard deviation too small, and normal and chi-square "
        "quantiles do not know",
    ),
    Reason(
        ("sd",),
        ("percentile",),
        "low",
        "above",
        "few groups: the estimate is too small on average, the replicates drawn with it are smaller again, and the "
        "interval carries the bias twice",
    ),
    Reason(
        ("sd",),
        ("basic",),
        "low",
        "above",
        "few groups: the interval takes the estimate to spread as much at every true value, but the spread grows "
        "with the standard deviation, so that a small estimate has too short an upper arm",
    ),
    Reason(
        ("cor",),
        ("basic",),
        "low",
        "below",
        "near its bound an estimate has replicates to one side only; reflected about it they lie beyond the bound, "
        "and the interval leaves out what the replicates showed",
    ),
    Reason(
        ("coefficient",),
        ("Wald", "percentile", "basic"),
        "low",
        "either",
        "few groups: normal quantiles, and a standard error that takes variances estimated too small for known, as in "
        "the closed forms",
    ),
)


def why(row: dict[str, Any], direction: str) -> str:
    """The reason of a departure that no closed form covers; "" if there is none."""
    return next((reason.text for reason in REASONS if reason.fits(row, direction)), "")


def limit_coverage(experiment: str, row: dict[str, Any]) -> float | None:
    """Coverage of a standard deviation of random effects in the limit of rows without noise."""
    groups, means = GROUPS.get((experiment, row["parameter"]), (0, 0))
    return theory.sigma_coverage(row["method"], row["level"], groups - means, groups) if groups else None
