r"""Pareto k of each observation: where importance sampling can stand for leaving the observation out.

Place in the reading order: in ``plots``, last of the pictures of draws. The importance ratios of an observation have
about 1/k moments. From S draws, estimates are good up to :math:`k = \min(1 - 1/\log_{10} S,\, 0.7)`, and have no mean
from 1 on. Source: Vehtari, Simpson, Gelman, Yao and Gabry (2024), section 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.plots.residuals import finish, name_points, one_axes
from refglmm.plots.style import BLUE, GREY, REFERENCE, SMALL, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]

BAD, VERY_BAD = 0.7, 1.0


def threshold(n_draws: int | None) -> float:
    """Largest k at which estimates from so many draws are good; 0.7 where the number is not known."""
    return BAD if n_draws is None else min(1.0 - 1.0 / np.log10(n_draws), BAD)


def plot_khat(khat: Any, *, n_draws: int | None = None, ax: Any = None) -> Axes:
    """Draw the Pareto k of each observation, with the bad ones in colour and by name.

    Parameters
    ----------
    khat : LooResult, Series or array-like, shape (n,)
        The index of a Series names the observations; those of an array are counted from 0.
    n_draws : int, optional
        Draws of all chains together, which decide the threshold: that of the result, or 0.7 for bare numbers (right
        from 2200 draws on).
    ax : Axes, optional
        A new figure by default.

    Returns
    -------
    Axes

    Raises
    ------
    ArgumentError
        If there is no k, one is nan, or there are fewer than 11 draws.
    """
    if hasattr(khat, "khat") and hasattr(khat, "pointwise"):
        n_draws = khat.n_draws if n_draws is None else n_draws
        khat = khat.pointwise["khat"]
    try:
        series = pd.Series(khat, dtype=float)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"plot_khat takes one Pareto k an observation: {error}") from error
    if series.empty or series.isna().any():
        raise ArgumentError(
            f"plot_khat takes one Pareto k an observation; {series.isna().sum()} of {len(series)} are nan"
        )
    if n_draws is not None and n_draws < 11:
        raise ArgumentError(f"n_draws must be at least 11, not {n_draws!r}: fewer allow no threshold", n_draws=n_draws)
    limit = threshold(n_draws)
    k, row = series.to_numpy(), np.arange(len(series))
    # An infinite k (no tail could be fitted) is drawn at the top, where it belongs.
    finite = k[np.isfinite(k)]
    height = np.where(np.isfinite(k), k, 1.15 * max(finite.max(initial=0.0), VERY_BAD) * np.sign(k))
    ax = one_axes(ax, 6.4, 4.0)
    good = k <= limit
    size = 4.0 if len(k) < 500 else 2.5
    ax.plot(row[good], height[good], "o", color=BLUE, markersize=size, alpha=0.7, mew=0)
    ax.plot(row[~good], height[~good], "D", color=VERMILION, markersize=size + 0.8, mew=0)
    ax.axhline(0.0, color=GREY, linewidth=0.8, zorder=0.9)
    for line in (limit, VERY_BAD) if (~good).any() else (limit,):
        ax.axhline(line, **REFERENCE)
        ax.annotate(f"{line:.2g}", (1.0, line), xycoords=("axes fraction", "data"), xytext=(3, 0),
                    textcoords="offset points", va="center", fontsize=SMALL, color=VERMILION)  # fmt: skip
    labels = [str(name) if np.isfinite(value) else f"{name} (infinite)" for name, value in series.items()]
    name_points(ax, row.astype(float), height, labels, np.flatnonzero(~good))
    return finish(ax, f"Pareto k: {np.sum(~good)} of {len(k)} above {limit:.2g}", "observation", "Pareto k")
