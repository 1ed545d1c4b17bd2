r"""Pictures of influence: Cook's distance of each unit, and the change of each coefficient in standard errors.

Place in the reading order: in ``plots``, after ``residuals``. Lines at +-2 / sqrt(N) of N units mark what is usual for
dfbetas (Belsley, Kuh and Welsch 1980).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from refglmm.errors import ArgumentError
from refglmm.plots.residuals import finish, one_axes
from refglmm.plots.style import BLUE, GREY, MEDIUM, SMALL, label_axes, panel_grid, tidy, title_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from refglmm.inference.influence import Influence

#: Up to this many units are named on the axis.
MAX_NAMES = 30


def stems(ax: Axes, values: pd.Series, named: int) -> None:
    """A stem for each unit, the largest named."""
    place = np.arange(len(values))
    size = 4.0 if len(values) <= 100 else 2.4
    ax.vlines(place, 0.0, values, color=BLUE, linewidth=1.0 if len(values) <= 100 else 0.6)
    ax.plot(place, values, "o", color=BLUE, markersize=size)
    largest = np.argsort(-np.nan_to_num(np.abs(values.to_numpy()), nan=-1.0), kind="stable")[:named]
    for i in largest:
        ax.annotate(
            str(values.index[i]),
            (i, values.iloc[i]),
            xytext=(0, 4 if values.iloc[i] >= 0 else -11),
            textcoords="offset points",
            ha="center",
            fontsize=SMALL,
            color=GREY,
        )
    ax.margins(y=0.12)


def _cook(result: Influence, named: int, ax: Any) -> Axes:
    ax = one_axes(ax, 7.0, 3.8)
    distance = result.cooks_distance()
    few = len(distance) <= MAX_NAMES
    stems(ax, distance, 0 if few else named)
    if few:
        ax.set_xticks(range(len(distance)), [str(label) for label in distance.index], rotation=90, fontsize=SMALL)
    ax.set_ylim(bottom=0.0)
    return finish(ax, f"Influence on the fixed effects, by {result.unit}", result.unit, "Cook's distance")


def _dfbetas(result: Influence, named: int, ax: Any) -> np.ndarray:
    frame = result.dfbetas()
    panels, figure = panel_grid(frame.shape[1], ax, width=3.4, height=2.6)
    usual = 2.0 / np.sqrt(len(frame))
    for panel, name in zip(panels, frame.columns, strict=True):
        for line in (-usual, usual):
            panel.axhline(line, color=GREY, linewidth=0.9, linestyle=(0, (4, 2)))
        stems(panel, frame[name], named)
        tidy(panel)
        panel.set_xticks([])
        panel.set_title(str(name), fontsize=MEDIUM, loc="left", pad=3)
    label_axes(panels, figure, result.unit, "dfbetas")
    if figure is not None:
        title_figure(figure, f"Change of each coefficient without each {result.unit}, in standard errors")
    return panels


def plot_influence(result: Influence, what: str = "cook", *, named: int = 5, ax: Any = None) -> Any:
    """Draw what :meth:`FittedModel.influence` found.

    Parameters
    ----------
    result : Influence
    what : {"cook", "dfbetas"}
        One picture of Cook's distances, or a panel of dfbetas for each coefficient.
    named : int
        How many of the largest are named.
    ax : Axes, or array of as many Axes as there are coefficients, optional

    Returns
    -------
    Axes, or array of Axes
    """
    if what not in ("cook", "dfbetas"):
        raise ArgumentError(f"unknown picture {what!r} of influence; use 'cook' or 'dfbetas'", what=what)
    return _cook(result, named, ax) if what == "cook" else _dfbetas(result, named, ax)
