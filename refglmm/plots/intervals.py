"""Intervals side by side: what several methods, or several models, say about each parameter.

Place in the reading order: in ``plots``, after ``profile``. Source: figures 9 and 12 of the lme4 glmer paper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refglmm.errors import ArgumentError
from refglmm.plots.style import BLUE, GREY, MEDIUM, SMALL, VERMILION, legend_below, panel_grid, tidy, title_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

COLUMNS = ("parameter", "method", "estimate", "lower", "upper")
#: One look for each method, in the order of the table: Okabe and Ito's colours, with markers that differ too.
LOOKS = ((BLUE, "o"), (VERMILION, "s"), ("#009E73", "D"), ("#CC79A7", "^"), ("#E69F00", "v"), ("#56B4E9", "P"))
#: Share of the distance between rows that the methods of one parameter take up.
SPREAD = 0.56
#: An interval this many times as wide as all that the others need is cut off at the edge, with the room left there.
RUNAWAY, ROOM = 8.0, 0.15
NAMES = {"wald": "Wald", "Wald": "Wald", "profile": "profile", "boot": "bootstrap"}


def plot_intervals(table: pd.DataFrame, *, ax: Any = None) -> np.ndarray:
    """Draw estimates and intervals, one row a parameter, one colour a method, one panel a model.

    Parameters
    ----------
    table : pd.DataFrame
        Columns parameter, method, estimate, lower, upper, and perhaps model, as
        :func:`refglmm.interval_table` makes it. An interval that does not exist (nan) is left out,
        its estimate is drawn hollow. One that has no end, or that would leave no room for the others, ends in an
        arrow at the edge.
    ax : Axes or array of Axes, optional
        As many as there are models; a new figure by default.

    Returns
    -------
    array of Axes, shape (models,)
    """
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise ArgumentError(f"the table has no column {missing[0]!r}; plot_intervals needs {', '.join(COLUMNS)}")
    if table.empty:
        raise ArgumentError("the table of intervals has no rows")
    if "model" not in table.columns:
        table = table.assign(model="")
    models, parameters, methods = (list(dict.fromkeys(table[name])) for name in ("model", "parameter", "method"))
    height = float(np.clip(0.34 * len(parameters) + 0.16 * len(methods), 2.0, 9.0))
    panels, figure = panel_grid(len(models), ax, width=3.6 if len(models) > 1 else 6.0, height=height)
    estimate, lower, upper = (table[name].to_numpy(dtype=float) for name in COLUMNS[2:])
    limits = common_limits(estimate, lower, upper)
    for panel, model in zip(panels, models, strict=True):
        _draw(panel, table[table["model"] == model], parameters, methods, limits)
        panel.set_title(str(model), fontsize=MEDIUM, loc="left", pad=3)
        panel.set_xlabel("estimate", fontsize=MEDIUM)
    if figure is not None:
        handles, labels = panels[0].get_legend_handles_labels()
        legend_below(figure, handles, labels, len(labels))
        title_figure(figure, "Estimates and their intervals")
    else:
        panels[0].legend(fontsize=SMALL, frameon=False)
    return panels


def common_limits(estimate: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> tuple[float, float] | None:
    """Limits that cut runaway intervals off; None where all fit.

    The k widest are cut off if each is more than ``RUNAWAY`` times as wide as what the others, all estimates and zero
    need together; k is the largest such number up to half of the intervals. Infinite ends are cut off in any case.
    """
    known = np.flatnonzero(~np.isnan(lower + upper))
    widest = known[np.argsort(-(upper - lower)[known], kind="stable")]
    points = np.append(estimate[np.isfinite(estimate)], 0.0)
    for k in range(-(-len(widest) // 2), 0, -1):
        rest = np.concatenate([points, lower[widest[k:]], upper[widest[k:]]])
        low, high = rest.min(), rest.max()
        if np.isfinite(high - low) and (upper - lower)[widest[k - 1]] > RUNAWAY * (high - low) > 0.0:
            return _with_room(low, high)
    if np.all(np.isfinite((upper - lower)[known])):
        return None
    ends = np.concatenate([points, lower[np.isfinite(lower)], upper[np.isfinite(upper)]])
    return _with_room(ends.min(), ends.max())


def _with_room(low: float, high: float) -> tuple[float, float]:
    room = ROOM * (high - low) if high > low else 1.0
    return low - room, high + room


def _draw(
    ax: Axes, table: pd.DataFrame, parameters: list[str], methods: list[str], limits: tuple[float, float] | None
) -> None:
    """One model."""
    if limits is not None:
        ax.set_xlim(limits)
    ax.axvline(0.0, color=GREY, linewidth=1.0, linestyle=(0, (4, 2)))
    offsets = SPREAD * (np.arange(len(methods)) / max(len(methods) - 1, 1) - 0.5) if len(methods) > 1 else [0.0]
    for method, offset, look in zip(methods, offsets, LOOKS * len(methods)):
        part = table[table["method"] == method]
        y = np.array([parameters.index(name) for name in part["parameter"]], dtype=float) + offset
        _draw_method(ax, part, y, NAMES.get(method, method), *look, limits=limits or (-np.inf, np.inf))
    ax.set_yticks(range(len(parameters)), parameters, fontsize=MEDIUM)
    ax.set_ylim(len(parameters) - 0.5, -0.5)
    tidy(ax)
    ax.grid(False, axis="y")
    for border in np.arange(len(parameters) - 1) + 0.5:
        ax.axhline(border, color="#EFEFEF", linewidth=0.8, zorder=0.2)


def _draw_method(
    ax: Axes, part: pd.DataFrame, y: np.ndarray, label: str, colour: str, marker: str, limits: tuple[float, float]
) -> None:
    """One method: bars, caps at ends, arrows where an end lies beyond, hollow points where no interval is."""
    estimate, lower, upper = (part[name].to_numpy(dtype=float) for name in ("estimate", "lower", "upper"))
    known = ~np.isnan(lower + upper)
    ax.hlines(y[known], np.maximum(lower, limits[0])[known], np.minimum(upper, limits[1])[known], color=colour, lw=1.8)
    for ends, beyond, edge, arrow in (
        (lower, lower < limits[0], limits[0], "<"),
        (upper, upper > limits[1], limits[1], ">"),
    ):
        ax.plot(ends[known & ~beyond], y[known & ~beyond], linestyle="none", marker="|", markersize=6, color=colour)
        cut = y[known & beyond]
        if cut.size:
            ax.plot(np.full(cut.size, edge), cut, arrow, markersize=5, color=colour, clip_on=False, zorder=4)
    ax.plot(estimate[known], y[known], linestyle="none", marker=marker, markersize=5, color=colour, label=label)
    ax.plot(estimate[~known], y[~known], marker + "w", markersize=5, markeredgecolor=colour)
