"""Forest plots: a point and two intervals a quantity.

Place in the reading order: in ``plots``, after ``acf``. Intervals have equal tails: their ends are quantiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.plots.chains import chosen_draws, density, is_constant
from refglmm.plots.residuals import finish, one_axes
from refglmm.plots.style import BLUE, GREY, SMALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]

POINTS = ("median", "mean", "marginal_mode")
INNER = 0.5
#: Rows that a figure holds.
MOST_ROWS = 150


def plot_forest(source: Any, pars: Any = None, *, prob: float = 0.95, point: str = "median", ax: Any = None) -> Axes:
    """Draw a point, the central 50 per cent (thick) and a wider interval (thin) for each quantity.

    Parameters
    ----------
    source : Draws, or a result that has draws
    pars : str, int or sequence, optional
        Quantities, as in ``draws.select``, from top to bottom; all by default.
    prob : float
        Probability of the thin interval, above 0.5.
    point : {"median", "mean", "marginal_mode"}
        The marginal mode is where the kernel density of the quantity by itself is highest.
    ax : Axes, optional
        A new figure by default.

    Returns
    -------
    Axes

    Raises
    ------
    ArgumentError
        For an unknown ``point``, a ``prob`` outside (0.5, 1), a source without draws or unknown ``pars``.
    """
    if point not in POINTS:
        raise ArgumentError(f"unknown point {point!r}; choose from {', '.join(POINTS)}", point=point)
    if not isinstance(prob, int | float) or not INNER < prob < 1.0:
        raise ArgumentError(f"prob must lie between {INNER} and 1, not {prob!r}", prob=prob)
    draws = chosen_draws(source, pars, most=MOST_ROWS, picture="plot_forest")
    values, count = draws.stack(), len(draws.names)
    rows = np.arange(count)
    ax = one_axes(ax, 6.0, 1.2 + 0.28 * max(count, 3))
    for share, width, alpha in ((prob, 1.4, 1.0), (INNER, 4.5, 0.55)):
        low, high = np.quantile(values, [(1.0 - share) / 2.0, (1.0 + share) / 2.0], axis=0)
        ax.hlines(rows, low, high, color=BLUE, linewidth=width, alpha=alpha)
    ax.plot([point_of(column, point) for column in values.T], rows, "o", color=BLUE, mec="white", markersize=6.5)
    ax.axvline(0.0, color=GREY, linewidth=0.9, linestyle=(0, (4, 2)), zorder=0.9)
    ax.set_ylim(count - 0.4, -0.6)
    name = point.replace("_", " ")
    finish(ax, f"Posterior {name}, {100 * INNER:g} and {100 * prob:g} % intervals", "", "")
    ax.set_yticks(rows, draws.names, fontsize=SMALL + 0.5)
    ax.grid(False, axis="y")
    return ax


def point_of(values: FloatArray, point: str) -> float:
    """Median, mean or marginal mode of draws, shape (m,)."""
    if point == "mean":
        return float(values.mean())
    if point == "median" or is_constant(values):
        return float(np.median(values))
    low, high = np.quantile(values, [0.005, 0.995])  # a heavy tail would leave the middle few places
    x, height = density(values, float(low), float(high)) if high > low else density(values)
    return float(x[np.argmax(height)])
