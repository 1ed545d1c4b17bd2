"""What a single check hands back: its numbers, a p-value where there is one, and a sentence.

Place in the reading order: in ``inference``, before ``checks`` and ``simulated_residuals``, which return it, and
``check_report``, which puts several in a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.rformat import format_numbers, format_p

#: p-values below this call for a look. A convention, no law.
LEVEL = 0.05


@dataclass(frozen=True, repr=False)
class CheckResult:
    """One check of a fit.

    Attributes
    ----------
    name : str
    numbers : mapping of str -> float
        Statistic first.
    p_value : float
        NaN where the check has none.
    ok : bool
        False where the fit deserves a look.
    verdict : str
        One sentence; what to do about it if not ``ok``.
    """

    name: str
    numbers: Mapping[str, float]
    p_value: float
    ok: bool
    verdict: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", MappingProxyType(dict(self.numbers)))

    def __reduce__(self) -> tuple[object, ...]:
        return CheckResult, (self.name, dict(self.numbers), self.p_value, self.ok, self.verdict)

    @property
    def statistic(self) -> float:
        """The first of the numbers."""
        return next(iter(self.numbers.values()))

    def cells(self) -> list[tuple[str, str]]:
        """Names and formatted numbers, the p-value last."""
        shown = [(name, format_numbers([value], 5)[0]) for name, value in self.numbers.items()]
        return shown + ([("p-value", format_p([self.p_value])[0])] if np.isfinite(self.p_value) else [])

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name} {text if text.startswith('<') else '= ' + text}" for name, text in self.cells())
        return f"{self.name}: {numbers}\n{self.verdict}"

    def _repr_html_(self) -> str:
        names, texts = zip(*self.cells())
        return html_block([html_table(["", *names], [[self.name, *texts]]), html_lines([self.verdict])])
