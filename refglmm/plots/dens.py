"""Posterior densities, chain by chain.

Place in the reading order: in ``plots``, after ``chains``. Chains that have found the same distribution have the same
density. A chain that never moved is a vertical line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.plots.chains import (
    chain_legend,
    chain_styles,
    chosen_draws,
    density,
    is_constant,
    note_outside,
    shown_range,
)
from refglmm.plots.style import BLUE, CURVE, MEDIUM, panel_grid, tidy, title_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]


def plot_dens(source: Any, pars: Any = None, *, mono: bool = False, pooled: bool = False, ax: Any = None) -> np.ndarray:
    """Draw the posterior density of each quantity, one curve a chain.

    Parameters
    ----------
    source : Draws, or a result that has draws
    pars : str, int or sequence, optional
        Quantities, as in ``draws.select``; all by default.
    mono : bool
        Greys and dashes in place of colours, for print.
    pooled : bool
        One curve for all chains together.
    ax : Axes or array of Axes, optional
        As many as there are quantities; a new figure by default.

    Returns
    -------
    array of Axes

    Raises
    ------
    ArgumentError
        If the source has no draws, or ``pars`` names no quantity.

    Notes
    -----
    Where tails are heavy, the axis leaves out the furthest draws and the panel says how many.
    """
    draws = chosen_draws(source, pars, picture="plot_dens")
    panels, figure = panel_grid(len(draws.names), ax, width=2.8, height=2.2, share_x=False, share_y=False)
    one = [{**CURVE, "color": "0.15" if mono else BLUE}]
    styles = one if pooled else chain_styles(draws.n_chains, mono)
    for k, panel in enumerate(panels):
        values = draws.values[:, :, k]
        _draw(panel, values.reshape(1, -1) if pooled else values, styles)
        panel.set_title(draws.names[k], fontsize=MEDIUM, loc="left", pad=3)
    if not pooled:
        chain_legend(figure, draws.n_chains, mono)
    if figure is not None:
        title_figure(figure, "Posterior densities" if pooled else "Posterior densities by chain")
    return panels


def _draw(ax: Axes, chains: FloatArray, styles: list[dict[str, Any]]) -> None:
    """One quantity; a curve a row of ``chains``."""
    low, high, outside = shown_range(chains.ravel())
    for values, style in zip(chains, styles, strict=True):
        if is_constant(values):
            ax.axvline(float(values[0]), **{"linewidth": 1.5, **style})
        else:
            ax.plot(*density(values, low, high), **{"linewidth": 1.5, **style})
    note_outside(ax, outside, chains.size)
    if high > low:
        margin = 0.03 * (high - low)
        ax.set_xlim(low - margin, high + margin)
    ax.set_ylim(bottom=0.0)
    ax.locator_params(axis="x", nbins=5)
    tidy(ax)
    ax.tick_params(left=False, labelleft=False)
    ax.grid(False, axis="y")
