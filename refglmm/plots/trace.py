"""Traces of the chains.

Place in the reading order: in ``plots``, after ``dens``. Chains that mix look alike and have no trend; divergent
transitions are marked at the foot, in black.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.plots.chains import chain_legend, chain_styles, chosen_draws, divergences, note_outside, shown_range
from refglmm.plots.style import DARK, MEDIUM, label_axes, panel_grid, tidy, title_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]


def plot_trace(source: Any, pars: Any = None, *, ax: Any = None) -> np.ndarray:
    """Draw each quantity against the number of the draw, one line a chain.

    Parameters
    ----------
    source : Draws, or a result that has draws
    pars : str, int or sequence, optional
        Quantities, as in ``draws.select``; all by default.
    ax : Axes or array of Axes, optional
        As many as there are quantities; a new figure by default.

    Returns
    -------
    array of Axes

    Raises
    ------
    ArgumentError
        If the source has no draws, or ``pars`` names no quantity.
    """
    draws = chosen_draws(source, pars, picture="plot_trace")
    panels, figure = panel_grid(len(draws.names), ax, width=3.4, height=2.0, share_y=False)
    diverged = np.flatnonzero(divergences(draws).any(axis=0)) + 1
    for k, panel in enumerate(panels):
        _draw(panel, draws.values[:, :, k], diverged)
        panel.set_title(draws.names[k], fontsize=MEDIUM, loc="left", pad=3)
    chain_legend(figure, draws.n_chains)
    label_axes(panels, figure, "draw", "")
    if figure is not None:
        title_figure(figure, "Traces" + (f"; {draws.n_divergent} divergent (marked below)" if diverged.size else ""))
    return panels


def _draw(ax: Axes, chains: FloatArray, diverged: NDArray[np.intp]) -> None:
    """One quantity; ``diverged`` holds the numbers of draws at which some chain diverged."""
    steps = np.arange(1, chains.shape[1] + 1)
    for values, style in zip(chains, chain_styles(len(chains)), strict=True):
        ax.plot(steps, values, linewidth=0.6, alpha=0.85, **style)
    low, high, outside = shown_range(chains.ravel())
    note_outside(ax, outside, chains.size)
    margin = 0.06 * (high - low) or 0.5
    ax.set_ylim(low - 2.0 * margin, high + margin)
    ax.vlines(diverged, 0.0, 0.06, transform=ax.get_xaxis_transform(), color=DARK, linewidth=1.0)
    ax.set_xlim(1, max(2, chains.shape[1]))
    ax.locator_params(nbins=5)
    tidy(ax)
