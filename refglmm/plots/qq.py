r"""Normal QQ plots of the conditional modes of the random effects, with their conditional intervals.

Place in the reading order: in ``plots``, after ``groups``. The mode of rank i among q is set against

.. math:: z_i = \Phi^{-1}\{(i - a) / (q + 1 - 2a)\},\qquad a = 3/8 \text{ up to 10 levels, else } 1/2

(R's ``ppoints``). Were the modes a sample of the random-effects distribution, they would lie about the line through
their quartiles; they are shrunken towards zero, so it is the shape that counts, not the slope. The bars are those of
the caterpillar plot: 1.96 conditional standard deviations to each side.

Source: the glmer paper, section on diagnostics of the CBPP model; Wilk and Gnanadesikan (1968).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.plots.caterpillar import HALF_WIDTH, MAX_NAMES, column_parts, sorted_modes
from refglmm.plots.choices import link_scale, the_group
from refglmm.plots.style import BLUE, GREY, MEDIUM, REFERENCE, SMALL, label_axes, panel_grid, tidy, title_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

#: So many levels at each end of a plot are named.
NAMED = 2
#: Of the standard normal distribution.
UPPER_QUARTILE = 0.6744897501960817


def plotting_positions(n: int) -> FloatArray:
    """Probabilities at which n ordered values stand for the quantiles of their distribution; shape (n,)."""
    a = 3.0 / 8.0 if n <= 10 else 0.5
    return np.asarray((np.arange(1, n + 1) - a) / (n + 1 - 2 * a), dtype=np.float64)


def normal_quantiles(values: FloatArray) -> FloatArray:
    """Standard normal quantile that belongs to the rank of each value; shape (n,). Ties in order of appearance."""
    from scipy.special import ndtri

    z = np.empty(values.size)
    z[np.argsort(values, kind="stable")] = ndtri(plotting_positions(values.size))
    return z


def quartile_line(values: FloatArray) -> tuple[float, float]:
    """Intercept and slope of the line through the quartiles of values and normal distribution (R's ``qqline``)."""
    low, high = np.quantile(values, [0.25, 0.75])
    return float(0.5 * (low + high)), float((high - low) / (2.0 * UPPER_QUARTILE))


def _draw(ax: Axes, part: pd.DataFrame) -> None:
    """One column of one factor."""
    modes = part["mode"].to_numpy()
    z = normal_quantiles(modes)
    intercept, slope = quartile_line(modes)
    ends = np.array([z.min() - 0.25, z.max() + 0.25])
    ax.axhline(0.0, color=GREY, linewidth=0.8, linestyle=(0, (4, 2)))
    ax.plot(ends, intercept + slope * ends, **REFERENCE)
    many = len(part) > MAX_NAMES
    ax.errorbar(
        z,
        modes,
        yerr=HALF_WIDTH * part["sd"],
        fmt="o",
        markersize=2.2 if many else 4.5,
        color=BLUE,
        ecolor=BLUE,
        elinewidth=0.5 if many else 1.0,
    )
    order = np.argsort(modes, kind="stable")
    for row in dict.fromkeys([*order[:NAMED], *order[::-1][:NAMED]]):
        ax.annotate(
            str(part["level"].iloc[row]),
            (z[row], modes[row]),
            xytext=(5, -3),
            textcoords="offset points",
            fontsize=SMALL,
            color=GREY,
        )
    ax.set_xlim(ends[0] - 0.1, ends[1] + 0.2)
    tidy(ax)


def plot_ranef_qq(fit: FittedModel, group: str | None = None, *, ax: Any = None) -> np.ndarray:
    """Draw the conditional modes of the random effects against normal quantiles, one panel a column.

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
    """
    group = the_group(fit, group)
    parts = column_parts(sorted_modes(fit, group))
    # Columns have units of their own: no common vertical scale.
    panels, figure = panel_grid(len(parts), ax, width=5.0 if len(parts) == 1 else 3.6, height=3.8, share_y=False)
    for panel, part in zip(panels, parts, strict=True):
        _draw(panel, part)
        panel.set_title(part["column"].iloc[0], fontsize=MEDIUM, loc="left", pad=3)
    label_axes(panels, figure, "standard normal quantile", f"conditional mode ({link_scale(fit)})")
    if figure is not None:
        title_figure(figure, f"Random effects of {group} against normal quantiles, with 95 % intervals")
    return panels
