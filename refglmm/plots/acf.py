"""Autocorrelations of the chains.

Place in the reading order: in ``plots``, after ``trace``. The band is where 95 per cent of the autocorrelations of
independent draws would lie, 1.96 / sqrt(draws) to each side of zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.plots.chains import autocorrelation, chain_legend, chain_styles, chosen_draws
from refglmm.plots.style import (
    BAND,
    BLUE,
    GREY,
    MEDIUM,
    SMALL,
    label_axes,
    panel_grid,
    tidy,
    title_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from refglmm.bayes.draws import Draws

FloatArray = NDArray[np.float64]
#: Of the standard normal distribution.
HALF_WIDTH = 1.959963984540054


def plot_acf(source: Any, pars: Any = None, *, lags: int = 30, ax: Any = None) -> np.ndarray:
    """Draw autocorrelations: of one quantity a panel a chain, of several a panel a quantity with a line a chain.

    Parameters
    ----------
    source : Draws, or a result that has draws
    pars : str, int or sequence, optional
        Quantities, as in ``draws.select``; all by default.
    lags : int
        Largest lag; fewer where the chains are shorter.
    ax : Axes or array of Axes, optional
        As many as there are panels; a new figure by default.

    Returns
    -------
    array of Axes

    Raises
    ------
    ArgumentError
        If the source has no draws, ``pars`` names no quantity, or lags is not a positive whole number.
    """
    draws = chosen_draws(source, pars, picture="plot_acf")
    if isinstance(lags, bool) or not isinstance(lags, int | np.integer) or lags < 1:
        raise ArgumentError(f"lags must be a whole number of at least 1, not {lags!r}")
    if draws.n_draws < 3:
        raise ArgumentError(f"plot_acf needs at least 3 draws a chain; there are {draws.n_draws}")
    lags = min(int(lags), draws.n_draws - 1)
    return _one(draws, lags, ax) if len(draws.names) == 1 else _several(draws, lags, ax)


def _one(draws: Draws, lags: int, ax: Any) -> np.ndarray:
    """A panel a chain, with stems."""
    panels, figure = panel_grid(draws.n_chains, ax, width=2.6, height=2.3)
    rho = np.array([autocorrelation(chain, lags) for chain in draws.values[:, :, 0]])
    for c, panel in enumerate(panels):
        if np.isnan(rho[c, 0]):
            panel.text(0.5, 0.6, "constant", transform=panel.transAxes, ha="center", color=GREY, fontsize=SMALL)
        else:
            panel.vlines(np.arange(lags + 1), 0.0, rho[c], color=BLUE, linewidth=1.8)
        panel.set_title(f"chain {c + 1}", fontsize=MEDIUM, loc="left", pad=3)
        _frame(panel, draws.n_draws, rho)
    _finish(panels, figure, f"Autocorrelation of {draws.names[0]}")
    return panels


def _several(draws: Draws, lags: int, ax: Any) -> np.ndarray:
    """A panel a quantity, with a line a chain."""
    panels, figure = panel_grid(len(draws.names), ax, width=2.6, height=2.1)
    rho = np.array([[autocorrelation(chain, lags) for chain in of_one] for of_one in np.moveaxis(draws.values, 2, 0)])
    for k, panel in enumerate(panels):
        for line, style in zip(rho[k], chain_styles(draws.n_chains), strict=True):
            panel.plot(np.arange(lags + 1), line, linewidth=1.3, **style)
        still = np.flatnonzero(np.isnan(rho[k, :, 0])) + 1
        if still.size:
            text = f"constant: chain {', '.join(map(str, still))}"
            panel.text(0.97, 0.9, text, transform=panel.transAxes, ha="right", color=GREY, fontsize=SMALL)
        panel.set_title(draws.names[k], fontsize=MEDIUM, loc="left", pad=3)
        _frame(panel, draws.n_draws, rho)
    _finish(panels, figure, "Autocorrelations by chain")
    chain_legend(figure, draws.n_chains)
    return panels


def _frame(ax: Axes, n: int, rho: FloatArray) -> None:
    """Band, zero line, and a scale that all panels have in common."""
    lags = rho.shape[-1] - 1
    lowest = np.nanmin(rho) if np.isfinite(rho).any() else 0.0
    half = HALF_WIDTH / np.sqrt(n)
    ax.axhspan(-half, half, **BAND)
    ax.axhline(0.0, color=GREY, linewidth=0.8, zorder=0.5)
    ax.set_xlim(-0.5, lags + 0.5)
    ax.set_ylim(min(-0.2, lowest) - 0.05, 1.05)
    ax.locator_params(axis="x", nbins=5, integer=True)
    tidy(ax)


def _finish(panels: np.ndarray, figure: Any, title: str) -> None:
    label_axes(panels, figure, "lag", "autocorrelation")
    if figure is not None:
        title_figure(figure, title)
