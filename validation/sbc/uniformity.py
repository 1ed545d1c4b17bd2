r"""Tests that ranks are uniform on 0, ..., L.

Place in the reading order: after ``ranks``; knows no models. Two tests, sensitive to different things:

* chi-square over equal bins of ranks;
* the distribution function of the ranks against its simultaneous band (Saeilynoja, Buerkner and Vehtari 2022,
  "Graphical test for discrete uniformity and its applications in goodness-of-fit evaluation and multiple sample
  comparison"). Let C_k be how many of the N ranks are below k. Alone it is binomial(N, z_k), z_k = k / (L + 1), with
  the two-sided p-value :math:`p_k = \min\{1, 2 P(C \le C_k), 2 P(C \ge C_k)\}`. The statistic is the smallest p_k;
  its distribution follows from a recursion over k: given C_k = c, C_{k+1} - c is
  :math:`\mathrm{binomial}\{N - c, (z_{k+1} - z_k) / (1 - z_k)\}`.

The verdict on a quantity takes the smaller of the two p-values twice, and that on all quantities together the steps of
Holm (1979), so that the chance that anything correct is rejected is at most ``LEVEL``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

#: Chance of rejecting anything if everything is correct.
LEVEL = 0.01
BINS = 20


def chi_square_p(ranks: ArrayLike, L: int, bins: int = BINS) -> float:
    """p-value of the chi-square test over bins of equal numbers of ranks.

    Raises
    ------
    ValueError
        The L + 1 ranks do not divide into the bins.
    """
    from scipy.special import chdtrc

    if (L + 1) % bins:
        raise ValueError(f"{L + 1} ranks do not divide into {bins} bins")
    counts = np.bincount(np.asarray(ranks) * bins // (L + 1), minlength=bins)
    expected = counts.sum() / bins
    return float(chdtrc(bins - 1, np.sum((counts - expected) ** 2) / expected))


def counts_below(ranks: ArrayLike, L: int) -> NDArray[np.int64]:
    """C_k for k = 1, ..., L."""
    return np.cumsum(np.bincount(np.asarray(ranks), minlength=L + 1))[:-1]


@cache
def pointwise_p(N: int, L: int) -> FloatArray:
    """p_k of every possible count, shape (L, N + 1)."""
    from scipy.stats import binom

    z = np.arange(1, L + 1)[:, None] / (L + 1)
    count = np.arange(N + 1)
    return np.minimum(1.0, 2.0 * np.minimum(binom.cdf(count, N, z), binom.sf(count - 1, N, z)))


def chance_within(inside: NDArray[np.bool_]) -> float:
    """Probability that all C_k lie where ``inside``, shape (L, N + 1), is True, for uniform ranks."""
    from scipy.stats import binom

    L, N = inside.shape[0], inside.shape[1] - 1
    at, chance = np.array([0]), np.array([1.0])
    for k in range(L):
        allowed = np.flatnonzero(inside[k])
        share = 1.0 / (L + 1 - k)  # (z_{k+1} - z_k) / (1 - z_k)
        steps = binom.pmf(allowed[None, :] - at[:, None], N - at[:, None], share)
        at, chance = allowed, chance @ steps
    return float(chance.sum())


def ecdf_p(ranks: ArrayLike, L: int) -> float:
    """p-value of the test by the distribution function."""
    counts = counts_below(ranks, L)
    p = pointwise_p(len(np.asarray(ranks)), L)
    least = p[np.arange(L), counts].min()
    return 1.0 - chance_within(p > least * (1.0 + 1e-12))


@cache
def band(N: int, L: int, level: float) -> tuple[FloatArray, FloatArray]:
    """Least and largest shares C_k / N, k = 1, ..., L, that all lie within with probability 1 - level or more."""
    p = pointwise_p(N, L)
    low, high = 0.0, level  # bisection on the pointwise p-value that is still inside
    for _ in range(12):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if chance_within(p > middle) >= 1.0 - level else (low, middle)
    inside = p > low
    return np.argmax(inside, axis=1) / N, (N - np.argmax(inside[:, ::-1], axis=1)) / N


def holm(p: ArrayLike) -> FloatArray:
    """p-values adjusted by Holm's steps."""
    p = np.asarray(p, dtype=float)
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(np.minimum(1.0, p[order] * np.arange(p.size, 0, -1)))
    out = np.empty(p.size)
    out[order] = adjusted
    return out


def judge(ranks: ArrayLike, L: int) -> dict[str, Any]:
    """Both p-values of one quantity, and the one that counts."""
    chi, ecdf = chi_square_p(ranks, L), ecdf_p(ranks, L)
    return {"chi-square": chi, "ecdf": ecdf, "p": min(1.0, 2.0 * min(chi, ecdf))}
