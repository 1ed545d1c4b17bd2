"""Pictures of a bootstrap: the distribution of each statistic, its interval and its estimate.

Place in the reading order: in ``plots``, after ``profile``.

Bars are the replicates, the line is the statistic of the fit, the band the interval. A distribution far from the line
is a bias; one that is skewed, or heaped up at zero, is one for which Wald intervals mislead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refglmm.errors import ArgumentError
from refglmm.plots.style import BAND, BLUE, MEDIUM, REFERENCE, label_axes, panel_grid, tidy, title_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from refglmm.inference.bootstrap import Bootstrap

#: Most bars of a histogram; fewer where there are few replicates.
MOST_BARS = 40


def plot_bootstrap(
    result: Bootstrap, parm: Any = None, *, level: float = 0.95, type: str = "percentile", ax: Any = None
) -> np.ndarray:
    """Draw the replicates of each statistic.

    Parameters
    ----------
    result : Bootstrap
    parm : str, int or sequence, optional
        Statistics by name or number; all by default.
    level : float
    type : {"percentile", "basic", "normal", "bca"}
        Of the interval; see :meth:`Bootstrap.confint`.
    ax : Axes or array of Axes, optional
        As many as there are statistics; a new figure by default.

    Returns
    -------
    array of Axes

    Raises
    ------
    ArgumentError
        If every replicate of all statistics failed, or ``parm`` names no statistic.
    """
    intervals = result.confint(parm, level=level, type=type)
    replicates = result.replicates[list(intervals.index)]
    if not np.isfinite(replicates.to_numpy()).any():
        raise ArgumentError("there are no replicates to draw: all of them failed; see failure_counts")
    panels, figure = panel_grid(len(intervals), ax, width=2.6, height=2.4, share_x=False, share_y=False)
    for panel, name in zip(panels, intervals.index, strict=True):
        low, high = intervals.loc[name]
        values = replicates[name].to_numpy()
        _draw(panel, values[np.isfinite(values)], float(result.original[name]), float(low), float(high))
        panel.set_title(str(name), fontsize=MEDIUM, loc="left", pad=3)
    label_axes(panels, figure, "", "replicates")
    if figure is not None:
        title_figure(figure, f"{result.type.capitalize()} bootstrap: {100 * level:g} % {type} intervals")
    return panels


def _draw(ax: Axes, values: NDArray[np.float64], original: float, low: float, high: float) -> None:
    """One statistic."""
    if np.isfinite(low) and np.isfinite(high):
        ax.axvspan(low, high, **BAND)
    if values.size:
        ax.hist(values, bins=int(np.clip(np.sqrt(values.size), 5, MOST_BARS)), color=BLUE, alpha=0.7, edgecolor="white")
    if np.isfinite(original):
        ax.axvline(original, **REFERENCE)
    ax.locator_params(axis="x", nbins=5)
    tidy(ax)
