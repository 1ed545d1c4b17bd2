r"""Shares, their Monte Carlo errors, and distances from what is expected.

Place in the reading order: first; it knows no models. A share p found in n independent data sets has standard error
:math:`\sqrt{p(1-p)/n}`; to compare it with an expected :math:`p_0` the error is taken at :math:`p_0`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

#: Where empirical distribution functions are compared.
DECILES = np.arange(1, 10) / 10.0


def share_error(share: float, n: int) -> float:
    """Standard error of a share of n; nan for n = 0."""
    return float(np.sqrt(share * (1.0 - share) / n)) if n else float("nan")


def distance(share: float, expected: float, n: int) -> float:
    """How many standard errors a share lies from what is expected."""
    return (share - expected) / share_error(expected, n)


@dataclass(frozen=True)
class Coverage:
    """How often intervals held the truth.

    Attributes
    ----------
    level : float
    inside, below, above : int
        Intervals that hold the truth; with the truth below their lower end; above their upper end.
    missing : int
        Data sets without an interval; no part of the shares.
    """

    level: float
    inside: int
    below: int
    above: int
    missing: int

    @property
    def n(self) -> int:
        """Intervals there were."""
        return self.inside + self.below + self.above

    @property
    def share(self) -> float:
        """Of the intervals that hold the truth."""
        return self.inside / self.n if self.n else float("nan")

    @property
    def error(self) -> float:
        """Standard error of the share."""
        return share_error(self.share, self.n)

    def from_expected(self, expected: float | None = None) -> float:
        """Standard errors between the share and what is expected (the level, unless another is given)."""
        return distance(self.share, self.level if expected is None else expected, self.n)


def count_coverage(level: float, truth: float, lower: ArrayLike, upper: ArrayLike) -> Coverage:
    """Count intervals that hold the truth; one with an end that is nan is none."""
    low, high = np.asarray(lower, dtype=float), np.asarray(upper, dtype=float)
    there = ~(np.isnan(low) | np.isnan(high))
    below, above = int(np.sum(truth < low[there])), int(np.sum(truth > high[there]))
    return Coverage(level, int(there.sum()) - below - above, below, above, int(np.sum(~there)))


def shares_below(values: ArrayLike, at: FloatArray = DECILES) -> FloatArray:
    """Empirical distribution function of one data set's residuals."""
    return np.mean(np.asarray(values)[:, None] <= at, axis=0)


def mean_and_error(rows: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Mean over independent rows, and its standard error, whatever the dependence within a row."""
    values = np.asarray(rows, dtype=float)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def uniformity(values: ArrayLike) -> dict[str, Any]:
    """Kolmogorov-Smirnov test of independent values against the uniform distribution."""
    from scipy.stats import kstest

    found = kstest(np.asarray(values, dtype=float), "uniform")
    return {"D": float(found.statistic), "p": float(found.pvalue)}
