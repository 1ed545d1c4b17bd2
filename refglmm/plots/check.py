"""The panel of :meth:`FittedModel.check`: what the model predicts, and whether its assumptions hold.

Place in the reading order: last of the pictures of diagnostics. One panel for each question:

* posterior predictive check: the response and 50 simulated ones; of zeros and ones, which have one density only, the
  proportion of ones among rows of like predicted mean;
* linearity (residuals against fitted means), or for binomial models binned residuals;
* homogeneity of variance (scale and location);
* influence: one-step Cook's distance of each row, with its bound;
* collinearity, where there are two or more terms;
* zeros of counts: those of the data among those of the simulations;
* the distribution: normal QQ plot of the residuals of a linear mixed model, uniform QQ plot of simulated ones else;
* normal QQ plot of the modes of each column of the random effects.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.fit.ranef import mode_blocks
from refglmm.inference.check_report import INFLATED, influence_bound, row_distances
from refglmm.inference.checks import COUNTS
from refglmm.inference.collinearity import COLUMNS, vif
from refglmm.inference.hat import hat_values
from refglmm.plots.influence import stems
from refglmm.plots.residuals import (
    draw_normal_qq,
    finish,
    plot_binned_residuals,
    plot_residual_qq,
    plot_residuals,
    plot_scale_location,
)
from refglmm.plots.simulated import plot_simulated_qq
from refglmm.plots.style import BLUE, REFERENCE, SMALL, VERMILION, given_axes, title_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from refglmm.fitted import FittedModel
    from refglmm.inference.check_report import CheckReport
    from refglmm.inference.simulated_residuals import SimulatedResiduals

FloatArray = NDArray[np.float64]
#: Simulated responses that are drawn.
DRAWN = 50
#: Integer responses with up to this many values are drawn as frequencies.
MAX_VALUES = 25
#: Groups of rows of a binary response.
MAX_GROUPS = 12


def _densities(values: FloatArray, grid: FloatArray) -> FloatArray:
    """Kernel density on the grid."""
    from scipy.stats import gaussian_kde

    if np.ptp(values) == 0.0:
        return np.zeros_like(grid)
    return gaussian_kde(values)(grid)


def _frequencies(ax: Axes, responses: FloatArray, values: FloatArray) -> None:
    """Share of each value in the data, and the 95 % range of the simulated shares."""
    share = np.array([np.mean(responses == value, axis=1) for value in values])
    low, high = np.quantile(share[:, 1:], [0.025, 0.975], axis=1)
    ax.vlines(values, low, high, color=BLUE, linewidth=3.0, alpha=0.35, label="simulated, 95 %")
    ax.plot(values, share[:, 0], "o", color=VERMILION, markersize=4.2, label="data")
    ax.legend(fontsize=SMALL, frameon=False)


def draw_predictive(ax: Axes, result: SimulatedResiduals) -> None:
    """The response among simulated ones: frequencies where it takes few values, else densities."""
    responses = result.responses
    values = np.unique(responses)
    if values.size <= MAX_VALUES:
        _frequencies(ax, responses, values)
        return
    low, high = np.quantile(responses, [0.001, 0.999])
    low, high = min(low, float(responses[0].min())), max(high, float(responses[0].max()))
    if np.any(responses < 0) or low > 0.25 * (high - low):
        low, high = low - 0.1 * (high - low), high + 0.1 * (high - low)
    grid = np.linspace(low, high, 200)
    for j, response in enumerate(responses[1 : DRAWN + 1]):
        label = "simulated" if j == 0 else None
        ax.plot(grid, _densities(response, grid), color=BLUE, linewidth=0.6, alpha=0.25, label=label)
    ax.plot(grid, _densities(responses[0], grid), color=VERMILION, linewidth=2.0, label="data")
    ax.set_ylim(bottom=0.0)
    legend = ax.legend(fontsize=SMALL, frameon=False)
    for line in legend.get_lines():
        line.set_alpha(1.0)


def grouped_shares(responses: FloatArray, predicted: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean prediction, shape (g,), and share of ones of every response, (g, m): equal groups along the prediction.

    Rows of equal prediction are in one group.
    """
    from scipy.stats import rankdata

    share = (rankdata(predicted) - 0.5) / predicted.size
    _, group = np.unique(np.floor(MAX_GROUPS * share), return_inverse=True)
    size = np.bincount(group)
    shares = np.array([np.bincount(group, response) / size for response in responses])
    return np.bincount(group, predicted) / size, shares.T


def _binary(result: SimulatedResiduals, ax: Axes) -> None:
    """Share of ones in the data of each group, and the 95 % range of the simulated shares."""
    place, shares = grouped_shares(result.responses, result.predicted)
    low, high = np.quantile(shares[:, 1:], [0.025, 0.975], axis=1)
    ax.vlines(place, low, high, color=BLUE, linewidth=3.0, alpha=0.35, label="simulated, 95 %")
    ax.plot(place, np.median(shares[:, 1:], axis=1), "_", color=BLUE, markersize=8.0, label="their median")
    ax.plot(place, shares[:, 0], "o", color=VERMILION, markersize=4.2, label="data")
    ax.legend(fontsize=SMALL, frameon=False)
    finish(ax, "Posterior predictive check", "predicted mean, random effects at zero", "proportion of ones")


def _predictive(fit: FittedModel, result: SimulatedResiduals, ax: Axes) -> None:
    if fit.family.is_binomial and bool(np.isin(result.responses[0], (0.0, 1.0)).all()):
        _binary(result, ax)
        return
    draw_predictive(ax, result)
    name = "proportion" if fit.family.is_binomial else "response"
    finish(ax, "Posterior predictive check", name, "share" if ax.collections else "density")


def _zeros(result: SimulatedResiduals, ax: Axes) -> None:
    zeros = np.sum(result.responses == 0.0, axis=1)
    width = max(1, int(np.ptp(zeros)) // 25)
    bins = np.arange(zeros.min() - 0.5, zeros.max() + width + 0.5, width)
    ax.hist(zeros[1:], bins=bins.tolist(), color=BLUE, alpha=0.6, edgecolor="white", linewidth=0.5)
    ax.axvline(zeros[0], **(REFERENCE | {"linestyle": "-", "linewidth": 2.0}))
    p = result.zero_inflation().p_value
    finish(ax, f"Zeros: data (line) and simulations, p = {p:.3g}", "number of zeros", "simulations")


def _influence(fit: FittedModel, ax: Axes) -> None:
    distance, bound = row_distances(fit), influence_bound(fit)
    stems(ax, distance, 3)
    beyond = float(np.nanmax(distance)) > 0.6 * bound
    if beyond:
        ax.axhline(bound, **REFERENCE)
    ax.set_ylim(bottom=0.0)
    note = "" if beyond else f" (bound {bound:.2g}, far above)"
    finish(ax, f"Influence of rows{note}", "row", "Cook's distance, one step")


def _collinearity(fit: FittedModel, ax: Axes) -> None:
    inflation = vif(fit)[COLUMNS[-1]] ** 2
    place = np.arange(len(inflation))
    ax.hlines(place, 1.0, inflation, color=BLUE, linewidth=1.6)
    ax.plot(inflation, place, "o", color=BLUE, markersize=5.0)
    ax.axvline(INFLATED, **REFERENCE)
    ax.set_yticks(place, [str(name) for name in inflation.index], fontsize=SMALL)
    ax.set_ylim(-0.7, len(inflation) - 0.3)
    ax.set_xlim(0.8, max(1.15 * INFLATED, 1.1 * float(inflation.max())))
    ax.invert_yaxis()
    finish(ax, "Collinearity", "variance inflation", "")


def _random_qq(name: str, modes: FloatArray, levels: Any, ax: Axes) -> None:
    draw_normal_qq(ax, (modes - modes.mean()) / modes.std(ddof=1), levels)
    finish(ax, f"Random effects: {name}", "normal quantile", "mode, standardised")


def _random_panels(fit: FittedModel) -> list[Callable[[Axes], Any]]:
    """A QQ plot for each column with three or more levels and some variance."""
    panels: list[Callable[[Axes], Any]] = []
    for term, modes in zip(fit.design.terms, mode_blocks(fit), strict=True):
        for column, b in zip(term.columns, modes.T, strict=True):
            if b.size > 2 and np.ptp(b) > 0.0:
                name = f"{term.group}, {column}"
                panels.append(partial(_random_qq, name, b, term.levels))
    return panels


def _has_hat_values(fit: FittedModel) -> bool:
    try:
        hat_values(fit)
    except NotAvailableError:
        return False
    return True


def panels_of(report: CheckReport) -> list[Callable[[Axes], Any]]:
    """What is drawn for this model, in order; each function takes the Axes."""
    fit, result = report.fit, report.simulated
    panels: list[Callable[[Axes], Any]] = []
    if result is not None:
        panels.append(lambda ax: _predictive(fit, result, ax))
    against_means = plot_binned_residuals if fit.family.is_binomial else plot_residuals
    panels.append(lambda ax: against_means(fit, ax=ax))
    if _has_hat_values(fit):
        panels.append(lambda ax: plot_scale_location(fit, ax=ax))
    if fit.family.name in COUNTS and not fit.family.is_binomial and result is not None:
        panels.append(lambda ax: _zeros(result, ax))
    if any(check.name == "Influence" for check in report):
        panels.append(lambda ax: _influence(fit, ax))
    if len(set(fit.design.assign) - {0}) > 1:
        panels.append(lambda ax: _collinearity(fit, ax))
    if fit.is_lmm:
        panels.append(lambda ax: plot_residual_qq(fit, ax=ax))
    elif result is not None:
        panels.append(lambda ax: plot_simulated_qq(result, ax=ax))
    return panels + _random_panels(fit)


def columns_of(n: int) -> int:
    """Three or four columns for n panels, whichever leaves fewer places empty."""
    return min(n, 3 if -n % 3 <= -n % 4 else 4)


def plot_check(report: CheckReport, *, ax: Any = None) -> np.ndarray:
    """Draw the panel.

    Parameters
    ----------
    report : CheckReport
    ax : array of Axes, optional
        As many as there are panels.

    Returns
    -------
    array of Axes
    """
    panels = panels_of(report)
    if ax is None:
        from matplotlib import pyplot

        columns = columns_of(len(panels))
        rows = -(-len(panels) // columns)
        figure, grid = pyplot.subplots(
            rows, columns, figsize=(4.6 * columns, 3.6 * rows + 0.5), squeeze=False, layout="constrained"
        )
        for empty in grid.ravel()[len(panels) :]:
            empty.set_visible(False)
        title_figure(figure, f"Checks of {report.fit.formula.expanded}")
        axes = grid.ravel()[: len(panels)]
    else:
        axes = given_axes(ax).ravel()
        if axes.size != len(panels):
            raise ArgumentError(f"ax holds {axes.size} Axes, but there are {len(panels)} panels to draw")
    for draw, axis in zip(panels, axes, strict=True):
        draw(axis)
    return axes
