r"""Many tests and intervals at once: p-values and critical values that hold for a family of m comparisons.

Place in the reading order: in ``effects``, after ``scales``. With statistics :math:`t_j` on :math:`\nu` degrees of
freedom, raw two-sided p-values :math:`p_j`, and k means compared:

===========  ==============================================================  =====================================
method       adjusted p-value                                                critical value of intervals
===========  ==============================================================  =====================================
none         p                                                               t quantile at 1 - alpha/2
bonferroni   m p                                                             ... at 1 - alpha/(2m)
sidak        1 - (1 - p)^m                                                   ... at the level 1 - (1-alpha)^{1/m}
holm         step-down Bonferroni, from the smallest p                       as bonferroni
fdr          Benjamini-Hochberg, from the largest p                          as bonferroni
tukey        P(Q_{k,nu} > sqrt(2) abs(t)), Q the studentized range           Q quantile / sqrt(2)
mvt          P(max_j abs(T_j) > abs(t)), T multivariate t with the           quantile of max_j abs(T_j)
             correlations R of the comparisons
===========  ==============================================================  =====================================

Holm's and Benjamini and Hochberg's procedures have no simple intervals; theirs are Bonferroni's. For ``mvt``, write
T = A W / S with A A' = R (r columns), W standard normal and S^2 chi-square over nu. The length of W is independent
of its direction D, so

.. math:: P(\max_j |T_j| > c) = E_D\, P\{F_{r,\nu} > c^2 / (r\, m(D)^2)\}, \qquad m(d) = \max_j |a_j'd|

with the F tail exact and the mean over directions a quasi-Monte Carlo sum with a fixed seed.

Sources: Hochberg and Tamhane (1987), *Multiple comparison procedures*; Holm (1979); Benjamini and Hochberg (1995);
Kramer (1956) for unequal variances under ``tukey``; Genz and Bretz (2009) for ``mvt``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import ArgumentError

FloatArray = NDArray[np.float64]

METHODS = ("tukey", "holm", "sidak", "bonferroni", "mvt", "fdr", "none")
#: Method of the intervals, where it is not that of the p-values.
INTERVAL_METHODS = {"holm": "bonferroni", "fdr": "bonferroni"}
#: Directions of the quasi-Monte Carlo sum, as a power of 2: error of a p-value 2e-5 at rank 4, 5e-4 at rank 8.
LOG2_DIRECTIONS = 15
SEED = 20_240_229


def check_method(method: Any) -> str:
    """Refuse an unknown adjustment; None means "none"."""
    method = "none" if method is None else method
    if method not in METHODS:
        raise ArgumentError(f"unknown adjustment {method!r}; use one of {', '.join(METHODS)}", adjust=method)
    return str(method)


def adjusted_p(t: FloatArray, df: FloatArray, method: str, k: int, R: FloatArray) -> FloatArray:
    """Adjusted two-sided p-values.

    Parameters
    ----------
    t, df : float arrays, shape (m,)
        Statistics (NaN: not part of the family) and their degrees of freedom.
    method : str
        One of :data:`METHODS`.
    k : int
        Number of means compared (``tukey``).
    R : float array, shape (m, m)
        Correlations of the comparisons (``mvt``).
    """
    from scipy import stats

    out = np.full(t.shape, np.nan)
    used = np.isfinite(t) & ~np.isnan(df)
    t, df, R = np.abs(t[used]), df[used], R[np.ix_(used, used)]
    m = t.size
    if not m:
        return out
    p = 2.0 * stats.t.sf(t, df)
    if method == "tukey":
        p = stats.studentized_range.sf(np.sqrt(2.0) * t, k, df) if k > 2 else p
    elif method == "mvt" and m > 1:
        p = _largest_sf(t, R, float(df.min()))
    elif method == "bonferroni":
        p = np.minimum(1.0, m * p)
    elif method == "sidak":
        p = -np.expm1(m * np.log1p(-np.minimum(p, 1.0 - 1e-16)))
    elif method == "holm":
        p = _step_down(p, m - np.arange(m, dtype=float))
    elif method == "fdr":
        p = _step_up(p, m / np.arange(m, 0, -1))
    out[used] = np.clip(p, 0.0, 1.0)
    return out


def _step_down(p: FloatArray, factor: FloatArray) -> FloatArray:
    """Running maximum of factor * p from the smallest p on."""
    order = np.argsort(p, kind="stable")
    out = np.empty_like(p)
    out[order] = np.minimum(1.0, np.maximum.accumulate(factor * p[order]))
    return out


def _step_up(p: FloatArray, factor: FloatArray) -> FloatArray:
    """Running minimum of factor * p from the largest p on."""
    order = np.argsort(-p, kind="stable")
    out = np.empty_like(p)
    out[order] = np.minimum(1.0, np.minimum.accumulate(factor * p[order]))
    return out


def critical(level: float, df: FloatArray, method: str, k: int, R: FloatArray) -> FloatArray:
    """Critical value of each interval, so that all hold together with probability ``level`` ("none": each alone).

    Parameters and shapes as in :func:`adjusted_p`; NaN where ``df`` is.
    """
    from scipy import stats

    method = INTERVAL_METHODS.get(method, method)
    out = np.full(df.shape, np.nan)
    used = ~np.isnan(df)
    m = int(used.sum())
    if not m:
        return out
    if method == "mvt" and m > 1:
        out[used] = _largest_quantile(level, R[np.ix_(used, used)], float(df[used].min()))
    elif method == "tukey" and k > 2:
        values, where = np.unique(df[used], return_inverse=True)
        quantiles = [_range_quantile(level, k, float(value)) for value in values]
        out[used] = np.array(quantiles)[where] / np.sqrt(2.0)
    else:
        one = {"bonferroni": 1.0 - (1.0 - level) / m, "sidak": level ** (1.0 / m)}.get(method, level)
        out[used] = stats.t.ppf(0.5 + 0.5 * one, df[used])
    return out


@lru_cache(maxsize=1024)
def _range_quantile(level: float, k: int, df: float) -> float:
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(level, k, df))


def _directions(R: FloatArray) -> tuple[FloatArray, int]:
    """m(d) for a fixed set of directions d, and the rank r of R."""
    from scipy.stats import norm, qmc

    values, vectors = np.linalg.eigh(R)
    keep = values > 1e-10 * values.max()
    A = vectors[:, keep] * np.sqrt(values[keep])
    r = int(keep.sum())
    if r == 1:
        return np.abs(A).max(axis=0), 1
    points = qmc.Sobol(r, seed=SEED).random_base2(LOG2_DIRECTIONS)
    W = norm.ppf(np.clip(points, 1e-12, 1.0 - 1e-12))
    D = W / np.linalg.norm(W, axis=1, keepdims=True)
    return np.abs(D @ A.T).max(axis=1), r


def _tail(c: FloatArray, largest: FloatArray, r: int, df: float) -> FloatArray:
    """P(max |T_j| > c) for each c."""
    from scipy import stats

    x = (np.asarray(c)[:, None] / largest) ** 2
    tail = stats.chi2.sf(x, r) if np.isinf(df) else stats.f.sf(x / r, r, df)
    return np.asarray(tail.mean(axis=1))


def _largest_sf(t: FloatArray, R: FloatArray, df: float) -> FloatArray:
    return _tail(t, *_directions(R), df)


def _largest_quantile(level: float, R: FloatArray, df: float) -> float:
    from scipy import stats
    from scipy.optimize import brentq

    largest, r = _directions(R)
    low = stats.t.ppf(0.5 + 0.5 * level, df)
    high = stats.t.ppf(1.0 - 0.5 * (1.0 - level) / len(R), df)  # Bonferroni's is never smaller

    def excess(c: float) -> float:
        return float(_tail(np.array([c]), largest, r, df)[0]) - (1.0 - level)

    return float(brentq(excess, 0.99 * low, 1.01 * high, xtol=1e-10))


def describe(method: str, m: int, k: int) -> str:
    """What a table says of its p-values; empty for one comparison or none adjusted."""
    if method == "none" or m < 2:
        return ""
    family = f"{k} means" if method == "tukey" else f"{m} comparisons"
    return f"p-values: {method} for a family of {family}"


def describe_intervals(method: str, m: int) -> str:
    """What a table says of its intervals."""
    if method == "none" or m < 2:
        return ""
    used = INTERVAL_METHODS.get(method, method)
    return f"intervals: simultaneous ({used})"
