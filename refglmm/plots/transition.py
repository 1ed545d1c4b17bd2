"""One transition of the no-U-turn sampler: its points, its tree, its energy.

Place in the reading order: after ``style``. Takes what ``bayes.stepping.trace_transition`` gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refglmm.errors import ArgumentError
from refglmm.plots.style import DARK, GREY, MEDIUM, SMALL, VERMILION, legend_below, many_colours, tidy, title_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from refglmm.bayes.stepping import Transition

#: Energy errors beyond this are drawn at the edge: the point has no weight left.
LARGEST_ERROR = 8.0


def plot_transition(
    trace: Transition, pair: tuple[int, int] = (0, 1), *, names: tuple[str, str] | None = None, whitened: bool = False
) -> np.ndarray:
    """Draw one transition: the trajectory in two coordinates, its binary tree, and the energy along it.

    Parameters
    ----------
    trace : Transition
    pair : two ints
        Which coordinates.
    names : two strings, optional
        Their labels.
    whitened : bool
        Draw the coordinates in which the sampler moves instead of the position.

    Returns
    -------
    array of Axes, shape (3,)
        Trajectory, tree, energy.
    """
    from matplotlib import pyplot

    points, letter = (trace.xi, "xi") if whitened else (trace.position, "position")
    d = points.shape[1]
    if len(pair) != 2 or not all(0 <= j < d for j in pair):
        raise ArgumentError(f"pair must be two coordinates from 0 to {d - 1}, not {pair!r}")
    figure = pyplot.figure(figsize=(10.0, 5.4), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.1, 1.0), height_ratios=(1.5, 1.0))
    path, tree = figure.add_subplot(grid[:, 0]), figure.add_subplot(grid[0, 1])
    energy = figure.add_subplot(grid[1, 1], sharex=tree)
    panels = np.array([path, tree, energy], dtype=object)
    for panel in panels:
        tidy(panel)
    _draw_path(path, trace, points[:, pair[0]], points[:, pair[1]])
    _draw_tree(tree, trace)
    _draw_energy(energy, trace)
    x_name, y_name = names or (f"{letter}[{pair[0]}]", f"{letter}[{pair[1]}]")
    path.set_xlabel(x_name, fontsize=MEDIUM)
    path.set_ylabel(y_name, fontsize=MEDIUM)
    handles, labels = path.get_legend_handles_labels()
    legend_below(figure, handles, labels, min(len(labels), 7))
    n = len(trace.error) - 1
    part = "the shaded part turned back: " if trace.ended_by.size > 1 else ""
    steps = f"{n} leapfrog step{'s' if n > 1 else ''}"
    title_figure(figure, f"One transition, {steps}. It ended because {part}{trace.reason}")
    return panels


def _colours(trace: Transition) -> list[Any]:
    """Colour of each point: that of its doubling (never vermilion, which marks the turn), the start dark."""
    n = int(trace.doubling.max())
    palette = [DARK, *(colour for colour in many_colours(n + 1) if colour != VERMILION)]
    return [palette[k] for k in trace.doubling]


def _draw_path(ax: Axes, trace: Transition, x: np.ndarray, y: np.ndarray) -> None:
    """Points in the plane, joined in time; the subtree that ended the trajectory is shaded along its path."""
    order, colours = np.argsort(trace.time), _colours(trace)
    ax.plot(x[order], y[order], color=GREY, linewidth=0.9, zorder=1)
    if trace.ended_by.size > 1:
        part = trace.ended_by[np.argsort(trace.time[trace.ended_by])]
        ax.plot(x[part], y[part], color=VERMILION, alpha=0.25, linewidth=9, solid_capstyle="round", zorder=0.5,
                label="part that turned back")  # fmt: skip
    for k in range(1, int(trace.doubling.max()) + 1):
        mine = np.flatnonzero(trace.doubling == k)
        ax.scatter(x[mine], y[mine], s=34, color=colours[mine[0]], zorder=2, label=f"doubling {k}")
    ax.scatter(x[:1], y[:1], s=80, marker="s", color=DARK, zorder=3, label="start")
    chosen = trace.chosen
    ax.scatter(
        x[chosen], y[chosen], s=190, facecolors="none", edgecolors=DARK, linewidths=1.8, zorder=4, label="chosen"
    )
    if trace.ended_by.size == 1:
        at = trace.ended_by
        ax.scatter(x[at], y[at], s=110, marker="x", color=VERMILION, linewidths=2.2, zorder=5, label="diverged")
    ax.set_title("Trajectory", fontsize=MEDIUM, loc="left")


def _subtrees(trace: Transition) -> list[tuple[int, int, int]]:
    """First point made, number of points and level of every complete subtree of two points and more."""
    found = []
    for k in range(1, int(trace.doubling.max()) + 1):
        made = np.flatnonzero(trace.doubling == k)
        level = 1
        while 2**level <= made.size:
            found += [(int(first), 2**level, level) for first in made[:: 2**level] if first + 2**level <= made[-1] + 1]
            level += 1
    return found


def _draw_tree(ax: Axes, trace: Transition) -> None:
    """Brackets over the points of each subtree; whole trajectories after each doubling are drawn stronger."""
    from matplotlib.ticker import MaxNLocator

    colours, ended = _colours(trace), set(trace.ended_by.tolist())
    ax.scatter(trace.time, np.zeros(trace.time.size), s=22, c=colours, zorder=3)
    for first, size, level in _subtrees(trace):
        points = np.arange(first, first + size)
        is_end = set(points.tolist()) == ended
        _bracket(ax, trace.time[points], level, VERMILION if is_end else colours[first], 2.4 if is_end else 1.1)
    for depth in range(1, trace.depth + 1):
        points = np.flatnonzero(trace.doubling <= depth)
        is_end = set(points.tolist()) == ended
        _bracket(ax, trace.time[points], depth, VERMILION if is_end else DARK, 2.4 if is_end else 1.6)
    ax.axvline(trace.time[trace.chosen], color=GREY, linewidth=0.8, linestyle=(0, (2, 2)), zorder=0.5)
    ax.set_title("Tree: a bracket for each subtree, dark for the whole", fontsize=MEDIUM, loc="left")
    ax.set_ylabel("doublings", fontsize=MEDIUM)
    ax.set_ylim(-0.4, max(1, int(trace.doubling.max())) + 0.4)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(labelbottom=False)


def _bracket(ax: Axes, times: np.ndarray, level: int, colour: Any, width: float) -> None:
    low, high = times.min(), times.max()
    ax.plot([low, low, high, high], [level - 0.3, level, level, level - 0.3], color=colour, linewidth=width)


def _draw_energy(ax: Axes, trace: Transition) -> None:
    """Energy above the start's along the trajectory; lost points at the edge."""
    from matplotlib.ticker import MaxNLocator

    order = np.argsort(trace.time)
    error = np.clip(np.nan_to_num(trace.error, nan=LARGEST_ERROR), -LARGEST_ERROR, LARGEST_ERROR)
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    ax.plot(trace.time[order], error[order], color=GREY, linewidth=0.9, zorder=1)
    ax.scatter(trace.time, error, s=22, c=_colours(trace), zorder=2)
    ax.axvline(trace.time[trace.chosen], color=GREY, linewidth=0.8, linestyle=(0, (2, 2)), zorder=0.5)
    ax.set_xlabel("leapfrog steps from the start", fontsize=MEDIUM)
    is_cut = not (np.abs(trace.error) <= LARGEST_ERROR).all()
    ax.set_ylabel(f"energy error (cut at {LARGEST_ERROR:g})" if is_cut else "energy error", fontsize=MEDIUM)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(labelsize=SMALL)
