"""The evidence lower bound along the iterations of a variational fit.

Place in the reading order: in ``plots``, after ``energy``. Each value is a noisy estimate; the heavy line is their
running median. Runs that end at different levels have found different approximations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.plots.residuals import finish, one_axes
from refglmm.plots.style import legend_under, many_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]

#: The window of the running median is this share of the iterations.
WINDOW = 0.04
#: The vertical axis shows the second half of the iterations, and so many times its range below it.
BELOW = 1.0


def traces(elbo: Any) -> dict[str, FloatArray]:
    """ELBO traces by name: of one array, of several, or of a mapping."""
    if isinstance(elbo, Mapping):
        named = {str(name): trace for name, trace in elbo.items()}
    else:
        try:
            several = [elbo] if np.ndim(elbo) == 1 else list(elbo)
        except (TypeError, ValueError):  # runs of different length have no common dimension
            several = list(elbo) if isinstance(elbo, list | tuple) else []
        named = {f"run {r}": trace for r, trace in enumerate(several, start=1)}
    try:
        arrays = {name: np.asarray(trace, dtype=float) for name, trace in named.items()}
    except (TypeError, ValueError):
        arrays = {}
    if not arrays or any(a.ndim != 1 or a.size < 2 for a in arrays.values()):
        raise ArgumentError("plot_elbo takes the ELBO of each iteration: one array, or one for each run")
    return arrays


def running_median(trace: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Middle iterations (from 1) and medians of windows of 4 per cent of the trace, at least 5 iterations."""
    width = min(max(5, int(WINDOW * trace.size)), trace.size)
    middle = np.arange(trace.size - width + 1).astype(float) + 0.5 * (width + 1)
    return middle, np.asarray(np.nanmedian(sliding_window_view(trace, width), axis=1))


def plot_elbo(elbo: Any, *, tail: int | None = None, ax: Any = None) -> Axes:
    """Draw ELBO traces with their running medians.

    Parameters
    ----------
    elbo : array, shape (iterations,), sequence of such (one a run), or mapping of name to such
    tail : int, optional
        Show only the last iterations; all by default.
    ax : Axes, optional
        A new figure by default.

    Returns
    -------
    Axes

    Raises
    ------
    ArgumentError
        If there is no trace, or ``tail`` is not a whole number of at least 2.
    """
    runs = traces(elbo)
    if tail is not None and (isinstance(tail, bool) or not isinstance(tail, int | np.integer) or tail < 2):
        raise ArgumentError(f"tail must be a whole number of at least 2, not {tail!r}", tail=tail)
    ax = one_axes(ax, 6.2, 4.0)
    shown: list[FloatArray] = []
    for (name, trace), colour in zip(runs.items(), many_colours(len(runs)), strict=True):
        first = 0 if tail is None else max(0, trace.size - tail)
        part = np.where(np.isfinite(trace), trace, np.nan)[first:]
        if np.isnan(part).all():
            raise ArgumentError(f"the ELBO of {name} is nowhere finite", run=name)
        ax.plot(np.arange(first, trace.size) + 1, part, color=colour, linewidth=0.5, alpha=0.22)
        middle, median = running_median(part)
        ax.plot(middle + first, median, color=colour, linewidth=1.9, label=name, zorder=3)
        shown.append(part)
    _limit(ax, shown)
    finish(ax, "ELBO" + ("" if tail is None else f", last {tail} iterations"), "iteration", "ELBO")
    if len(runs) > 1:
        legend_under(ax, min(len(runs), 5))
    return ax


def _limit(ax: Axes, runs: list[FloatArray]) -> None:
    """A vertical axis on which the first steps do not flatten the rest."""
    late = np.concatenate([run[run.size // 2 :] for run in runs])
    late = late if np.isfinite(late).any() else np.concatenate(runs)
    low, high = float(np.nanmin(late)), float(np.nanmax(np.concatenate(runs)))
    lowest = max(float(np.nanmin(np.concatenate(runs))), low - BELOW * (high - low))
    margin = 0.06 * (high - lowest) or 0.5
    ax.set_ylim(lowest - margin, high + margin)
