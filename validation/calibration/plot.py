"""Pictures: coverage, residuals, p-values.

Place in the reading order: after ``reasons``. Bars are two Monte Carlo standard errors to each side; grey bands are
where a share would lie, nineteen times in twenty, if it were what it should be.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from refglmm.plots.style import BAND, BLUE, DARK, GREY, MARKERS, MEDIUM, PALETTE, SMALL, VERMILION, tidy
from validation.calibration.counting import DECILES, share_error
from validation.calibration.tasks import LEVELS, METHODS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Results = dict[str, Any]
KINDS = {"known": (BLUE, "o", "true parameters"), "estimated": (VERMILION, "s", "estimated parameters")}
#: Sizes shown of the tests.
LARGEST_SIZE = 0.2


def new_figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, file: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).print_png(str(file))


def legend_below(figure: Figure, ax: Axes) -> None:
    """The legend of one panel for all; closed forms, which matplotlib puts before bars, come last."""
    handles, labels = ax.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda k: labels[k] == "closed form")
    handles, labels = [handles[k] for k in order], [labels[k] for k in order]
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=SMALL, frameon=False)


# -- coverage ------------------------------------------------------------------------------------------------


def coverage(results: Results, file: Path) -> None:
    """A row of panels for each experiment, a column for each level."""
    found = results["intervals"]
    figure = new_figure(9.0, 1.4 + 0.52 * sum(len(e["parameters"]) for e in found))
    heights = [len(e["parameters"]) + 0.6 for e in found]
    grid = figure.subplots(len(found), len(LEVELS), squeeze=False, sharex="col", sharey="row", height_ratios=heights)
    for row, experiment in zip(grid, found):
        for ax, level in zip(row, LEVELS):
            coverage_panel(ax, experiment, level)
        row[0].set_title(experiment["name"], loc="left", fontsize=MEDIUM, fontweight="bold")
    for ax, level in zip(grid[-1], LEVELS):
        ax.set_xlabel(f"coverage of {100 * level:.0f} % intervals, %", fontsize=MEDIUM)
    legend_below(figure, grid[1 if len(found) > 1 else 0][0])
    save(figure, file)


def coverage_panel(ax: Axes, experiment: Results, level: float) -> None:
    """Coverage by parameter, the methods beside each other."""
    tidy(ax)
    names = experiment["parameters"]
    rows = [row for row in experiment["coverage"] if row["level"] == level]
    error = share_error(level, experiment["data sets"])
    ax.axvspan(100 * (level - 2 * error), 100 * (level + 2 * error), **BAND)
    ax.axvline(100 * level, color=GREY, linewidth=1)
    for m, method in enumerate(METHODS):
        own = [row for row in rows if row["method"] == method]
        n = np.array([row["inside"] + row["below"] + row["above"] for row in own])
        share = np.array([row["inside"] for row in own]) / n
        y = np.arange(len(names)) + 0.17 * (m - 1.5)
        bar = 200 * np.sqrt(share * (1 - share) / n)
        look: dict[str, Any] = {"color": PALETTE[m], "fmt": MARKERS[m], "markersize": 4, "linewidth": 1.2}
        ax.errorbar(100 * share, y, xerr=bar, label=method, **look)
        theory = [np.nan if row["expected"] is None else 100 * row["expected"] for row in own]
        last = m == len(METHODS) - 1 and np.any(np.isfinite(theory))
        tick: dict[str, Any] = {
            "color": DARK,
            "markersize": 9,
            "markeredgewidth": 1.5,
            "linestyle": "none",
            "zorder": 3,
        }
        ax.plot(theory, y, marker="|", label="closed form" if last else None, **tick)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)


# -- residuals -----------------------------------------------------------------------------------------------


def residuals(results: Results, file: Path) -> None:
    """Distribution function of the pooled residuals minus the uniform one."""
    found = results["intervals"]
    figure = new_figure(3.1 * len(found) + 0.4, 3.3)
    panels = figure.subplots(1, len(found), squeeze=False, sharey=True)[0]
    for ax, experiment in zip(panels, found):
        tidy(ax)
        ax.axhline(0.0, color=GREY, linewidth=1)
        for shift, (kind, (color, marker, label)) in zip((-0.008, 0.008), KINDS.items()):
            own = experiment["residuals"][kind]
            bar = 200 * np.array(own["error"])
            look: dict[str, Any] = {"color": color, "fmt": marker, "markersize": 4, "linewidth": 1.2, "label": label}
            ax.errorbar(DECILES + shift, 100 * np.array(own["deviation"]), yerr=bar, **look)
        ax.set_title(experiment["name"], loc="left", fontsize=MEDIUM, fontweight="bold")
        ax.set_xlabel("scaled residual r", fontsize=MEDIUM)
    panels[0].set_ylabel("share at or below r, minus r, in %", fontsize=MEDIUM)
    legend_below(figure, panels[0])
    save(figure, file)


# -- p-values ------------------------------------------------------------------------------------------------


def p_values(results: Results, file: Path) -> None:
    """How often p-values are at most as small as the size, by size."""
    found = [*results["variances"], *results["effects"]]
    figure = new_figure(8.0, 3.3 * -(-len(found) // 2))
    panels = figure.subplots(-(-len(found) // 2), 2, squeeze=False, sharex=True, sharey=True).ravel()
    for ax, experiment in zip(panels, found):
        p_panel(ax, experiment["p"], experiment["name"])
    for ax in panels[len(found) :]:
        ax.set_visible(False)
    for ax in panels[-2:]:
        ax.set_xlabel("nominal size", fontsize=MEDIUM)
    for ax in panels[::2]:
        ax.set_ylabel("share of data sets rejected", fontsize=MEDIUM)
    save(figure, file)


def p_panel(ax: Axes, found: dict[str, list[float]], title: str) -> None:
    """Empirical distribution functions of several tests' p-values."""
    from matplotlib.ticker import MultipleLocator

    tidy(ax)
    size = np.linspace(0.0, LARGEST_SIZE, 201)
    error = np.sqrt(size * (1 - size) / len(next(iter(found.values()))))
    ax.fill_between(size, size - 2 * error, size + 2 * error, **BAND)
    ax.plot(size, size, color=GREY, linewidth=1)
    dashes: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)))
    for k, (name, p) in enumerate(found.items()):
        ordered = np.sort(p)
        share = np.searchsorted(ordered, size, side="right") / ordered.size
        ax.step(size, share, where="post", color=PALETTE[k], linestyle=dashes[k], linewidth=1.6, label=name)
    ax.set_xlim(0.0, LARGEST_SIZE)
    ax.set_ylim(0.0, 1.5 * LARGEST_SIZE)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MultipleLocator(0.05))
    ax.set_title(fill(title, 44), loc="left", fontsize=MEDIUM, fontweight="bold")
    ax.legend(fontsize=SMALL, frameon=False, loc="upper left")


PICTURES: dict[str, Callable[[Results, Path], None]] = {
    "coverage.png": coverage,
    "residuals.png": residuals,
    "p_values.png": p_values,
}
