r"""Rank histograms: how the draws of each chain are placed among those of all chains.

Place in the reading order: in ``plots``, after ``pairs``. Were all chains to draw independently from one
distribution, the count of a chain in each bin of ranks would be hypergeometric: S draws of the chain out of CS, of
which CS / B belong to the bin. The band holds the central 95 per cent of that, bin by bin. Autocorrelation takes counts
out of it as well; what matters is a slope (another mean), a hump or a valley (another spread), or a spike (a chain
that was stuck).

Source: Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), section 4.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.plots.chains import chain_legend, chain_styles, chosen_draws
from refglmm.plots.style import GREY, MEDIUM, label_axes, panel_grid, tidy, title_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]

#: A spike is cut off at so many times the expected count.
TALLEST = 2.5


def rank_counts(values: FloatArray, bins: int) -> FloatArray:
    """Draws of each chain in each bin of ranks, shape (chains, bins); ``values`` of shape (chains, draws)."""
    from scipy.stats import rankdata

    ranks = rankdata(values).reshape(values.shape)  # ties share their mean rank
    edges = np.linspace(0.5, values.size + 0.5, bins + 1)
    return np.array([np.histogram(chain, edges)[0] for chain in ranks], dtype=float)


def uniform_band(chains: int, draws: int, bins: int, level: float = 0.95) -> tuple[float, float]:
    """Ends of the central part of the hypergeometric distribution of one count."""
    from scipy.stats import hypergeom

    count = hypergeom(chains * draws, round(chains * draws / bins), draws)
    return float(count.ppf((1.0 - level) / 2.0)), float(count.ppf((1.0 + level) / 2.0))


def plot_rank(source: Any, pars: Any = None, *, bins: int = 20, ax: Any = None) -> np.ndarray:
    """Draw the rank histogram of each quantity, one outline a chain, over the band of uniform ranks.

    Parameters
    ----------
    source : Draws, or a result that has draws
        Of at least 2 chains.
    pars : str, int or sequence, optional
        Quantities, as in ``draws.select``; all by default.
    bins : int
        At most half as many as a chain has draws.
    ax : Axes or array of Axes, optional
        As many as there are quantities; a new figure by default.

    Returns
    -------
    array of Axes

    Raises
    ------
    ArgumentError
        For a single chain, too many bins, a source without draws or unknown ``pars``.
    """
    draws = chosen_draws(source, pars, picture="plot_rank")
    if draws.n_chains < 2:
        raise ArgumentError("plot_rank compares chains, and these draws are of one chain")
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or not 2 <= bins <= draws.n_draws // 2:
        raise ArgumentError(
            f"bins must be a whole number from 2 to {draws.n_draws // 2} (half the draws), not {bins!r}"
        )
    panels, figure = panel_grid(len(draws.names), ax, width=2.8, height=2.0)
    band = uniform_band(draws.n_chains, draws.n_draws, int(bins))
    expected = draws.n_draws / bins
    counts = [rank_counts(draws.values[:, :, k], int(bins)) for k in range(len(draws.names))]
    top = min(1.1 * max(band[1], np.max(counts)), TALLEST * expected)
    for k, panel in enumerate(panels):
        _draw(panel, counts[k], band, expected)
        panel.set_ylim(0.0, top)
        panel.set_title(draws.names[k], fontsize=MEDIUM, loc="left", pad=3)
    chain_legend(figure, draws.n_chains)
    label_axes(panels, figure, "rank among all draws (share)", "draws")
    if figure is not None:
        title_figure(figure, "Ranks by chain, with the 95 % band of uniform ranks")
    return panels


def _draw(ax: Axes, counts: FloatArray, band: tuple[float, float], expected: float) -> None:
    """One quantity."""
    edges = np.linspace(0.0, 1.0, counts.shape[1] + 1)
    for count, style in zip(counts, chain_styles(len(counts)), strict=True):
        ax.plot(edges, np.append(count, count[-1]), drawstyle="steps-post", linewidth=1.3, **style)
    ax.axhspan(*band, color="#E3E3E3", linewidth=0, zorder=0.1)
    ax.axhline(expected, color=GREY, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0.5)
    ax.set_xlim(0.0, 1.0)
    ax.set_xticks([0.0, 0.5, 1.0], ["0", "0.5", "1"])
    tidy(ax)
