r"""Pictures of simulated residuals: their quantiles against the uniform ones, and the residuals against something.

Place in the reading order: in ``plots``, after ``residuals``. The envelope of the QQ plot comes from the residuals of
the simulations, so it allows for residuals of one group being alike; the quartiles are those of a tricube window on
the nearest half of the points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.inference.simulated_residuals import QUANTILES
from refglmm.plots.residuals import GRID, cloud, finish, one_axes, tricube_weights
from refglmm.plots.style import BAND, GREY, REFERENCE, SMALL, VERMILION, given_axes, title_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from refglmm.inference.simulated_residuals import SimulatedResiduals

FloatArray = NDArray[np.float64]
#: Share of the points that a local quantile looks at.
WINDOW = 0.5


def local_quantiles(x: FloatArray, y: FloatArray, taus: tuple[float, ...]) -> tuple[FloatArray, FloatArray]:
    """Places, and weighted quantiles of y about each, shape (places, taus)."""
    places = np.linspace(x.min(), x.max(), GRID)
    order = np.argsort(y, kind="stable")
    w = tricube_weights(x, places, WINDOW)[:, order]
    cumulative = (np.cumsum(w, axis=1) - 0.5 * w) / w.sum(axis=1, keepdims=True)
    return places, np.array([np.interp(taus, row, y[order]) for row in cumulative])


def uniform_envelope(result: SimulatedResiduals, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Pointwise envelope of the ordered residuals, from those of the simulations; each of shape (n,)."""
    ordered = np.sort(result.scaled[1:], axis=1)
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(ordered, [tail, 1.0 - tail], axis=0)
    return low, high


def plot_simulated_qq(result: SimulatedResiduals, *, ax: Any = None) -> Axes:
    """Draw the ordered residuals against uniform quantiles, with the envelope of the simulations."""
    ax = one_axes(ax, 4.6, 4.4)
    n = result.scaled.shape[1]
    expected = (np.arange(1, n + 1) - 0.5) / n
    ax.fill_between(expected, *uniform_envelope(result), **BAND)
    ax.plot([0, 1], [0, 1], **REFERENCE)
    cloud(ax, expected, np.sort(result.scaled[0]))
    lines = [f"{r.name}: p = {r.p_value:.3g}" for r in (result.uniformity(), result.dispersion(), result.outliers())]
    ax.text(0.03, 0.97, "\n".join(lines), transform=ax.transAxes, va="top", fontsize=SMALL, color=GREY)
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    return finish(ax, "Simulated residuals: uniform QQ plot", "expected", "observed")


def plot_simulated_against(
    result: SimulatedResiduals, x: Any = None, *, name: str | None = None, ax: Any = None
) -> Axes:
    """Draw the residuals against the ranks of x, with their quartiles, which should be level.

    Parameters
    ----------
    result : SimulatedResiduals
    x : array-like, shape (n,), optional
        The predicted mean (random effects at zero) by default.
    name : str, optional
        Of x, for the axis.
    ax : Axes, optional
    """
    from scipy.stats import rankdata

    ax = one_axes(ax)
    values = result.predicted if x is None else result._row_values("x", x)
    label = name or ("predicted mean" if x is None else str(getattr(x, "name", None) or "x"))
    n = values.size
    rank = (rankdata(values) - 0.5) / n
    outside = (result.scaled[0] < 1.0 / len(result.scaled)) | (result.scaled[0] > 1.0 - 1.0 / len(result.scaled))
    cloud(ax, rank[~outside], result.scaled[0][~outside])
    ax.plot(rank[outside], result.scaled[0][outside], "D", color=VERMILION, markersize=4.5)
    for tau in QUANTILES:
        ax.axhline(tau, color=GREY, linewidth=0.9, linestyle=(0, (4, 2)))
    if np.ptp(rank) > 0:
        places, curves = local_quantiles(rank, np.array(result.scaled[0]), QUANTILES)
        ax.plot(places, curves, color=VERMILION, linewidth=1.5)
    p = result.quantiles(None if x is None else values).p_value
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    title = f"Residuals against {label}; level quartiles: p = {p:.3g}"
    return finish(ax, title, f"{label}, rank", "simulated residual")


def plot_simulated_residuals(result: SimulatedResiduals, *, ax: Any = None) -> np.ndarray:
    """Draw both pictures side by side; array of two Axes."""
    if ax is None:
        from matplotlib import pyplot

        figure, grid = pyplot.subplots(1, 2, figsize=(10.0, 4.4), layout="constrained")
        title_figure(figure, f"Simulated residuals ({result.nsim} simulations)")
        panels = grid.ravel()
    else:
        panels = given_axes(ax).ravel()
        if panels.size != 2:
            raise ArgumentError(f"ax must hold two Axes, not {panels.size}")
    plot_simulated_qq(result, ax=panels[0])
    plot_simulated_against(result, ax=panels[1])
    return panels
