r"""Caterpillar plots: conditional modes of the random effects with their conditional intervals, in order.

Place in the reading order: in ``plots``, after ``integrands``. Each interval is

.. math:: \tilde b_{jc} \pm 1.96\,\mathrm{sd}(b_{jc} \mid y, \hat\theta, \hat\beta)

so it holds the estimates of theta and beta for known: it shows how well the data place this level, not how
uncertain the model is. Source: Bates et al. (2015), section 5.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refglmm.plots.choices import link_scale, the_group
from refglmm.plots.style import BLUE, GREY, MEDIUM, SMALL, label_axes, panel_grid, tidy, title_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from refglmm.fitted import FittedModel

#: Standard deviations to each side: 95 % of a normal distribution.
HALF_WIDTH = 1.96
#: With more levels than this their names would overlap and are left out.
MAX_NAMES = 70


def sorted_modes(fit: FittedModel, group: str) -> pd.DataFrame:
    """Modes and conditional SDs of one factor in long form, levels in the order of the first column's mode.

    Columns: column, level, rank (0 for the smallest), mode, sd.
    """
    long = fit.ranef().as_frame()
    long = long[long["grp"] == group]
    first = long[long["term"] == long["term"].iloc[0]].drop_duplicates("level")
    rank = {level: r for r, level in enumerate(first.sort_values("condval", kind="stable")["level"])}
    frame = long.rename(columns={"term": "column", "condval": "mode", "condsd": "sd"})
    return frame.assign(rank=frame["level"].map(rank))[["column", "level", "rank", "mode", "sd"]]


def column_parts(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of :func:`sorted_modes` by column. By position: two terms on one factor may share a column name."""
    n_levels = frame["level"].nunique()
    return [frame.iloc[first : first + n_levels] for first in range(0, len(frame), n_levels)]


def _draw(ax: Axes, frame: pd.DataFrame) -> None:
    """One column of one factor."""
    many = len(frame) > MAX_NAMES
    ax.axvline(0.0, color=GREY, linewidth=1.0, linestyle=(0, (4, 2)))
    ax.errorbar(
        frame["mode"],
        frame["rank"],
        xerr=HALF_WIDTH * frame["sd"],
        fmt="o",
        markersize=2.2 if many else 5.0,
        color=BLUE,
        ecolor=BLUE,
        elinewidth=0.6 if many else 1.4,
        alpha=1.0,
    )
    tidy(ax)
    if many:
        ax.grid(False, axis="y")
        ax.set_yticks([])
    else:
        ordered = frame.sort_values("rank")
        ax.set_yticks(ordered["rank"], ordered["level"], fontsize=SMALL)
    ax.set_ylim(-1.0, len(frame))


def plot_caterpillar(fit: FittedModel, group: str | None = None, *, ax: Any = None) -> np.ndarray:
    """Draw the conditional modes of the random effects with 95 % intervals, sorted, one panel a column.

    Parameters
    ----------
    fit : FittedModel
    group : str, optional
        Grouping factor; may be left out where there is only one.
    ax : Axes or array of Axes, optional
        As many as the factor has columns; a new figure by default.

    Returns
    -------
    array of Axes, shape (columns,)
        All panels list the levels in the order of the first column's modes.
    """
    group = the_group(fit, group)
    frame = sorted_modes(fit, group)
    parts, n_levels = column_parts(frame), frame["level"].nunique()
    height = float(np.clip(0.24 * n_levels, 2.2, 8.0))
    width = 5.4 if len(parts) == 1 else 3.4
    # Columns have units of their own: no common horizontal scale.
    panels, figure = panel_grid(len(parts), ax, width=width, height=height, share_x=False)
    for panel, part in zip(panels, parts, strict=True):
        _draw(panel, part)
        panel.set_title(part["column"].iloc[0], fontsize=MEDIUM, loc="left", pad=3)
    names = group if n_levels <= MAX_NAMES else f"{group}: {n_levels} levels"
    label_axes(panels, figure, link_scale(fit), names)
    if figure is not None:
        title_figure(figure, f"Random effects of {group}, with 95 % intervals")
    return panels
