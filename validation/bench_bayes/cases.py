"""Models, priors, programs.

Place in the reading order: first. The priors are those that rstanarm can express as well: normal on the intercept at
the means of the predictors and on the coefficients of the columns as they are, exponential on the standard deviations
of random intercepts (``decov(shape = 1, scale)``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from refglmm.datasets import load

OURS, RSTANARM, NUTPIE, BLACKJAX = "refglmm", "rstanarm", "nutpie", "blackjax"
EVERYBODY = (OURS, RSTANARM, NUTPIE, BLACKJAX)
#: How many times faster than each program we mean to be.
TARGETS = {RSTANARM: 10.0, NUTPIE: 3.0, BLACKJAX: 3.0}
#: SD of the normal priors; mean of the exponential prior.
PRIORS = {"intercept": 10.0, "slope": 10.0, "sd": 1.0}


@dataclass(frozen=True)
class Case:
    """One logistic mixed model with random intercepts.

    Attributes
    ----------
    name, formula : str
    data : callable
    quick : bool
        Part of a quick run.
    """

    name: str
    formula: str
    data: Callable[[], pd.DataFrame]
    quick: bool = False

    def request(self) -> dict[str, Any]:
        """What the workers are told."""
        return {"name": self.name, "formula": self.formula, "priors": PRIORS}


def _contraception_scaled() -> pd.DataFrame:
    data = load("Contraception")
    return data.assign(age_s=data["age"] / (2.0 * data["age"].std()))


CASES = (
    Case("cbpp", "cbind(incidence, size - incidence) ~ period + (1 | herd)", lambda: load("cbpp"), quick=True),
    Case("Contraception", "use ~ age + I(age^2) + urban + livch + (1 | district)", lambda: load("Contraception")),
    Case(
        "Contraception, age scaled",
        "use ~ age_s + I(age_s^2) + urban + livch + (1 | district)",
        _contraception_scaled,
    ),
    Case("VerbAgg", "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)", lambda: load("VerbAgg")),
)
