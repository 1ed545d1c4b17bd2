"""Pairs of quantities: contours of a likelihood profile, or draws of a posterior.

Place in the reading order: in ``plots``, after ``forest`` and ``profile``, which draws the profiles.

Of draws: below the diagonal the draws themselves with divergent transitions in colour (they gather where the sampler
cannot follow the curvature), on it the densities, above it the correlations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.inference.profile_result import Profile
from refglmm.plots import profile
from refglmm.plots.chains import chosen_draws, density, divergences, is_constant, shown_range
from refglmm.plots.style import BLUE, DARK, GREY, MEDIUM, SMALL, VERMILION, square_grid, tidy, title_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from refglmm.bayes.draws import Draws

FloatArray = NDArray[np.float64]

MOST_VARIABLES = 10
#: Draws of a panel, evenly spaced among all; every divergent one comes in addition.
MOST_POINTS = 1500
SIDE = 1.6
#: Letters that fit into the width of a panel.
NAME_WIDTH = 15


def plot_pairs(
    source: Any, pars: Any = None, *, levels: tuple[float, ...] = profile.LEVELS, ax: Any = None
) -> np.ndarray:
    """Draw every pair of quantities.

    Parameters
    ----------
    source : Profile, Draws, or a result that has draws
        A profile gives contours (:func:`refglmm.plots.profile.plot_pairs`), draws give points.
    pars : str, int or sequence, optional
        Of draws: quantities, as in ``draws.select``, at most 10; all by default.
    levels : sequence of float
        Of a profile: levels of the contours.
    ax : array of Axes, shape (k, k), optional
        A new figure by default.

    Returns
    -------
    array of Axes, shape (k, k)

    Raises
    ------
    ArgumentError
        If the source is none of these, has fewer than 2 quantities or more than 10.
    """
    if isinstance(source, Profile):
        if pars is not None:
            raise ArgumentError("pars chooses among draws; a profile holds the parameters that it was asked for")
        return profile.plot_pairs(source, levels=levels, ax=ax)
    draws = chosen_draws(source, pars, most=MOST_VARIABLES, picture="plot_pairs")
    k = len(draws.names)
    if k < 2:
        raise ArgumentError(f"pairs need at least 2 quantities, not {k}", quantities=k)
    panels, figure = square_grid(k, ax, SIDE)
    _fill(draws, panels)
    if figure is not None:
        bad = draws.n_divergent
        title_figure(figure, "Posterior pairs" + (f"; {bad} divergent transitions in colour" if bad else ""))
    return panels


def _fill(draws: Draws, panels: np.ndarray) -> None:
    """All panels of the square."""
    values, diverged = draws.stack(), divergences(draws).ravel()
    ranges = [shown_range(column)[:2] for column in values.T]
    # Ranks: one far draw would decide an ordinary correlation.
    correlations = rank_correlations(values)
    thinned = np.arange(0, len(values), max(1, -(-len(values) // MOST_POINTS)))
    for i, row in enumerate(draws.names):
        for j in range(len(draws.names)):
            panel = panels[i, j]
            if i == j:
                _diagonal(panel, values[:, i], ranges[i], row)
            elif i > j:
                _cloud(panel, values[:, j], values[:, i], thinned, diverged)
                panel.set_ylim(*_widened(ranges[i]))
            else:
                _correlation(panel, float(correlations[i, j]))
                continue
            panel.set_xlim(*_widened(ranges[j]))
            tidy(panel)
            panel.locator_params(nbins=3)
            panel.tick_params(labelsize=SMALL - 1.0, labelbottom=i == len(panels) - 1, labelleft=j == 0 and i > 0)


def rank_correlations(values: FloatArray) -> FloatArray:
    """Spearman correlations of columns, shape (k, k); nan for columns that are constant."""
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=0)
    centred = ranks - ranks.mean(axis=0)
    norms = np.sqrt(np.sum(centred**2, axis=0))
    norms[norms == 0.0] = np.nan
    return (centred / norms).T @ (centred / norms)


def _widened(ends: tuple[float, float]) -> tuple[float, float]:
    low, high = ends
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _diagonal(ax: Axes, values: FloatArray, ends: tuple[float, float], name: str) -> None:
    """Density, with the name above the curve."""
    if is_constant(values):
        ax.axvline(float(values[0]), color=BLUE, linewidth=1.6)
    else:
        x, height = density(values, *ends)
        ax.plot(x, height, color=BLUE, linewidth=1.6)
        ax.fill_between(x, height, color=BLUE, alpha=0.16, linewidth=0)
        ax.set_ylim(0.0, 1.5 * float(height.max()))
    text = name if len(name) <= NAME_WIDTH else name.replace("[", "\n[", 1)
    size = MEDIUM * min(1.0, NAME_WIDTH / max(map(len, text.split("\n"))))
    ax.text(0.5, 0.96, text, ha="center", va="top", fontsize=size, transform=ax.transAxes)
    ax.set_yticks([])


def _cloud(ax: Axes, x: FloatArray, y: FloatArray, thinned: NDArray[np.intp], diverged: NDArray[np.bool_]) -> None:
    """Draws, the divergent ones on top."""
    usual = thinned[~diverged[thinned]]
    alpha = float(np.clip(120.0 / max(usual.size, 1), 0.15, 0.7))
    ax.plot(x[usual], y[usual], "o", color=BLUE, markersize=2.2, alpha=alpha, mew=0, rasterized=True)
    ax.plot(x[diverged], y[diverged], "o", color=VERMILION, markersize=3.2, mew=0, zorder=3)


def _correlation(ax: Axes, r: float) -> None:
    """The number, the larger and darker the stronger."""
    strength = 0.0 if np.isnan(r) else abs(r)
    text = "–" if np.isnan(r) else f"{round(r, 2) + 0.0:.2f}".replace("-", "−")  # + 0: no negative zero
    colour = DARK if strength >= 0.3 else GREY
    ax.text(0.5, 0.5, text, ha="center", va="center", fontsize=SMALL + 7.0 * strength, color=colour,
            transform=ax.transAxes)  # fmt: skip
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_color("#DDDDDD")
