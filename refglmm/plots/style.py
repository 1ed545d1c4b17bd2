"""What all pictures share: colours, and grids of small panels.

Place in the reading order: first of ``plots``. The colours are those of Okabe and Ito (2008), which people
with any of the common colour-vision deficiencies can tell apart; lines differ in their dashes as well.
Settings go to the Axes drawn on, never to matplotlib's global ``rcParams``.
"""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from refglmm.errors import ArgumentError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE = "#0072B2"
VERMILION = "#D55E00"
GREY = "#6E6E6E"
DARK = "#222222"
#: Colours, markers and dashes of the levels of a factor, in this order.
PALETTE = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "os^Dv*"
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)), (0, (9, 3)), (0, (3, 1, 1, 1, 1, 1)))
#: The line for "what it would be": drawn over the curve it is compared with.
REFERENCE: dict[str, Any] = {"color": VERMILION, "linestyle": (0, (5, 2)), "linewidth": 1.3}
CURVE: dict[str, Any] = {"color": BLUE, "linewidth": 2.0}
BETWEEN: dict[str, Any] = {"color": VERMILION, "alpha": 0.18, "linewidth": 0, "zorder": 0.6}
BAND: dict[str, Any] = {"color": "#EFEFEF", "linewidth": 0, "zorder": 0.1}
SMALL, MEDIUM, LARGE = 8.5, 10.0, 12.5


def tidy(ax: Axes) -> None:
    """Light grid behind the data, two spines, small tick labels."""
    ax.set_axisbelow(True)
    ax.grid(True, color="#E4E4E4", linewidth=0.6)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color("#9A9A9A")
    ax.tick_params(labelsize=SMALL, color="#9A9A9A", length=3)


def many_colours(n: int) -> list[Any]:
    """n colours that can be told apart: those of the palette, shades of one map where they do not suffice."""
    if n <= len(PALETTE):
        return list(PALETTE[:n])
    from matplotlib import colormaps

    return [colormaps["viridis"](share) for share in np.linspace(0.0, 0.92, n)]


def given_axes(ax: Any) -> np.ndarray:
    """What a caller gave as ``ax``, as an array; an error where that holds anything but Axes."""
    from matplotlib.axes import Axes

    given = np.array(ax, dtype=object)
    for panel in given.ravel():
        if not isinstance(panel, Axes):
            raise ArgumentError(f"ax must be matplotlib Axes (or an array of them), not {panel!r}", ax=ax)
    return given


def columns_for(n: int) -> int:
    """Columns of a grid of n panels: one row up to four, then a little wider than high."""
    return n if n <= 4 else int(np.ceil(np.sqrt(1.5 * n)))


def panel_grid(
    n: int, ax: Any, *, width: float, height: float, share_x: bool = True, share_y: bool = True
) -> tuple[np.ndarray, Figure | None]:
    """Axes for n panels: those given, or a new figure.

    Parameters
    ----------
    n : int
    ax : Axes, array of Axes or None
        Must hold n Axes if given.
    width, height : float
        Size of one panel in inches.
    share_x, share_y : bool
        Whether the panels of a new figure have the horizontal, the vertical scale in common.

    Returns
    -------
    array of Axes, shape (n,), and the new figure (None if ``ax`` was given)
    """
    if ax is not None:
        given = given_axes(ax).ravel()
        if given.size != n:
            raise ArgumentError(f"ax holds {given.size} Axes, but there are {n} panels to draw", panels=n)
        return given, None
    from matplotlib import pyplot

    columns = columns_for(n)
    rows = -(-n // columns)
    # A lone row needs room for the title above and the legend below it.
    size = (max(columns * width, 4.8), rows * height + 1.1)
    figure, grid = pyplot.subplots(
        rows, columns, figsize=size, sharex=share_x, sharey=share_y, squeeze=False, layout="constrained"
    )
    for empty in grid.ravel()[n:]:
        empty.set_visible(False)
    for panel in bottom_panels(grid.ravel()[:n], columns):  # a column that ends early still shows its scale
        panel.tick_params(labelbottom=True)
    return grid.ravel()[:n], figure


def square_grid(k: int, ax: Any, side: float) -> tuple[np.ndarray, Figure | None]:
    """Axes for all pairs of k things, shape (k, k), close together: those given, or a new figure.

    ``side`` is the side of one panel in inches.
    """
    if ax is not None:
        given = given_axes(ax)
        if given.shape != (k, k):
            raise ArgumentError(f"ax must be an array of {k} x {k} Axes, not of shape {given.shape}", panels=k)
        return given, None
    from matplotlib import pyplot
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    size = side * k + 0.6
    close = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    figure, grid = pyplot.subplots(k, k, figsize=(size, size), squeeze=False, layout=close)
    return grid, figure


def bottom_panels(panels: np.ndarray, columns: int) -> list[Axes]:
    """The last panel of each column."""
    return [panels[column::columns][-1] for column in range(columns)]


def label_axes(panels: np.ndarray, figure: Figure | None, x: str, y: str) -> None:
    """Axis labels at the foot and at the left of a figure of our own, on every one of the given Axes."""
    columns = columns_for(panels.size)
    for panel in panels if figure is None else bottom_panels(panels, columns):
        panel.set_xlabel(x, fontsize=MEDIUM)
    for panel in panels if figure is None else panels[::columns]:
        panel.set_ylabel(y, fontsize=MEDIUM)


def title_figure(figure: Figure, text: str) -> None:
    """The title, flush left, in as many lines as the width asks for (about ten letters an inch)."""
    figure.suptitle(fill(text, int(10 * figure.get_figwidth())), fontsize=LARGE, x=0.01, ha="left")


def legend_under(ax: Axes, columns: int) -> None:
    """The legend of one panel, under it, where it covers nothing."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=columns, fontsize=SMALL, frameon=False)


def legend_below(figure: Figure, handles: Any, labels: Any, columns: int) -> None:
    """One legend for all panels, outside them, in as many columns as fit into the figure."""
    how: dict[str, Any] = {"loc": "outside lower center", "fontsize": MEDIUM, "frameon": False}
    legend = figure.legend(handles, labels, ncols=columns, **how)
    while columns > 1 and legend.get_window_extent().width > figure.bbox.width:
        legend.remove()
        columns -= 1
        legend = figure.legend(handles, labels, ncols=columns, **how)
