r"""Pictures of residuals: against fitted values or a variable, their spread, their quantiles, binned means.

Place in the reading order: in ``plots``, after ``style``. Residuals are Pearson residuals over sigma, standardised by
:math:`\sqrt{1 - h}` where their spread or distribution is judged (:mod:`refglmm.inference.hat`). The curve through a
cloud is local linear regression with tricube weights on the nearest two thirds of the points.

The envelope of a QQ plot holds each ordered residual with probability 0.95 if they are independent and normal: with
:math:`B(i, n + 1 - i)` the distribution of the i-th of n ordered uniform values, it goes from
:math:`\Phi^{-1}(B^{-1}(0.025))` to :math:`\Phi^{-1}(B^{-1}(0.975))`.

Sources: Cleveland (1979) for the curve; Gelman and Hill (2007), section 5.6, for binned residuals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.inference.hat import rstandard
from refglmm.inference.influence import units_of
from refglmm.plots.style import BAND, BLUE, GREY, MEDIUM, REFERENCE, SMALL, VERMILION, given_axes, tidy, title_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]
#: Share of the points that the curve looks at in each place, and the places.
SPAN, GRID = 2.0 / 3.0, 60
#: More labels than this hide the picture.
MOST_LABELS = 8
#: Size of a letter, as shares of the width and the height of the axes: labels that would overlap are left out.
LETTER = (0.017, 0.035)
#: In a QQ plot names are for the tails; nearer the centre they hide the points.
TAIL = 1.8
#: A variable with up to this many values is drawn as boxes.
MAX_BOXES = 25
TRUE_MEAN: dict[str, Any] = {"color": VERMILION, "linewidth": 1.6}


# -- formulas ------------------------------------------------------------------------------------------------


def tricube_weights(x: FloatArray, places: FloatArray, span: float = SPAN) -> FloatArray:
    """Weights (1 - (d/D)^3)^3 of the points about each place, D the distance that holds the share ``span``."""
    distance = np.abs(x[None, :] - places[:, None])
    k = max(2, min(x.size, int(np.ceil(span * x.size))))
    reach = np.partition(distance, k - 1, axis=1)[:, k - 1 : k]
    reach = np.where(reach > 0, reach, 1.0) * (1.0 + 1e-9)
    return np.maximum(0.0, 1.0 - (distance / reach) ** 3) ** 3


def local_line(x: FloatArray, y: FloatArray, span: float = SPAN) -> tuple[FloatArray, FloatArray]:
    """Places and heights of the local linear regression of y on x."""
    places = np.linspace(x.min(), x.max(), GRID)
    w = tricube_weights(x, places, span)
    total = w.sum(axis=1)
    x_mean, y_mean = w @ x / total, w @ y / total
    dx = x[None, :] - x_mean[:, None]
    sxx, sxy = np.sum(w * dx**2, axis=1), np.sum(w * dx * (y[None, :] - y_mean[:, None]), axis=1)
    slope = np.divide(sxy, sxx, out=np.zeros_like(sxx), where=sxx > 1e-12 * max(float(np.ptp(x)), 1e-300) ** 2)
    return places, y_mean + slope * (places - x_mean)


def normal_envelope(n: int, level: float = 0.95) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Normal quantiles of n ordered values, and the ends of the pointwise envelope."""
    from scipy.stats import beta, norm

    i = np.arange(1, n + 1)
    tails = [(1 - level) / 2, 1 - (1 - level) / 2]
    low, high = (norm.ppf(beta.ppf(tail, i, n + 1 - i)) for tail in tails)
    return norm.ppf((i - 0.5) / n), low, high


def binned_means(x: FloatArray, r: FloatArray, n_bins: int | None = None) -> pd.DataFrame:
    """Mean of x and r in bins of equal size along x, and twice the standard error of the latter.

    The number of bins is the root of n, at most 40, as usual.
    """
    n_bins = n_bins or max(2, min(40, int(np.sqrt(x.size))))
    parts = np.array_split(np.argsort(x, kind="stable"), n_bins)
    rows = [
        (x[p].mean(), r[p].mean(), 2.0 * r[p].std(ddof=1) / np.sqrt(p.size) if p.size > 1 else np.nan, p.size)
        for p in parts
        if p.size
    ]
    return pd.DataFrame(rows, columns=["x", "mean", "two_se", "n"])


# -- pieces --------------------------------------------------------------------------------------------------


def one_axes(ax: Any, width: float = 5.6, height: float = 4.0) -> Axes:
    """The Axes given, or those of a new figure."""
    if ax is not None:
        given = given_axes(ax).ravel()
        if given.size != 1:
            raise ArgumentError(f"ax must be one Axes, not {given.size}")
        return given[0]
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def finish(ax: Axes, title: str, x: str, y: str) -> Axes:
    """Grid, title and labels."""
    tidy(ax)
    ax.set_title(title, fontsize=MEDIUM, loc="left", pad=5)
    ax.set_xlabel(x, fontsize=MEDIUM)
    ax.set_ylabel(y, fontsize=MEDIUM)
    return ax


def cloud(ax: Axes, x: Any, y: Any) -> None:
    """Points, the lighter the more there are."""
    n = len(y)
    ax.plot(x, y, "o", color=BLUE, markersize=4.2 if n < 300 else 2.6, alpha=0.75 if n < 300 else 0.45, mew=0)


def name_points(ax: Axes, x: FloatArray, y: FloatArray, labels: Any, chosen: NDArray[np.intp]) -> None:
    """Write the labels of the chosen points beside them, the largest ``MOST_LABELS`` that have room."""
    width, height = (share * np.ptp(limits) for share, limits in zip(LETTER, (ax.get_xlim(), ax.get_ylim())))
    named: list[np.intp] = []
    for i in chosen[np.argsort(-np.abs(y[chosen]), kind="stable")]:
        if len(named) == MOST_LABELS:
            break
        if any(_overlap(x[[i, j]], y[[i, j]], [labels[i], labels[j]], width, height) for j in named):
            continue
        named.append(i)
        ax.annotate(str(labels[i]), (x[i], y[i]), xytext=(4, 3), textcoords="offset points", fontsize=SMALL, color=GREY)


def _overlap(x: FloatArray, y: FloatArray, labels: Sequence[Any], width: float, height: float) -> bool:
    """Whether the labels of two points would lie on each other, with letters of this size."""
    left = int(x[1] < x[0])
    return bool(abs(x[1] - x[0]) < width * len(str(labels[left])) and abs(y[1] - y[0]) < height)


def _standardised(fit: FittedModel) -> tuple[FloatArray, NDArray[np.intp]]:
    """Standardised Pearson residuals of the rows used that have one, and where they are.

    Models with a zero part or a dispersion have no leverage: there they are the Pearson residuals themselves.
    """
    residual = rstandard(fit, "pearson") if fit.problem.n_parts == 1 else fit.residuals("pearson", scaled=True)
    values = residual.reindex(fit.frame.index).to_numpy()
    kept = np.flatnonzero(np.isfinite(values) & (fit.frame.weights > 0))
    return values, kept


def extreme_rows(values: FloatArray, id: float | None) -> NDArray[np.intp]:
    """Rows with |value| above the normal quantile of probability 1 - id/2."""
    from scipy.stats import norm

    if id is None:
        return np.empty(0, dtype=np.intp)
    if not 0.0 < id < 1.0:
        raise ArgumentError(f"id is the probability of a label under the model, between 0 and 1, not {id!r}", id=id)
    with np.errstate(invalid="ignore"):
        return np.flatnonzero(np.abs(values) > norm.ppf(1.0 - id / 2.0))


def _variable(fit: FittedModel, name: str) -> FloatArray | pd.Categorical:
    """A variable of the model as numbers, or as a factor (grouping factors are)."""
    data = fit.frame.data
    if name in data and pd.api.types.is_numeric_dtype(data[name]) and not pd.api.types.is_bool_dtype(data[name]):
        return np.asarray(data[name], dtype=np.float64)
    _, labels, parts = units_of(fit, name)
    codes = np.empty(fit.nobs, dtype=int)
    for code, part in enumerate(parts):
        codes[part] = code
    return pd.Categorical.from_codes(codes, [str(label) for label in labels])


def _boxes(ax: Axes, values: FloatArray, groups: pd.Categorical) -> None:
    """A box for each level, or a point and a line where there are many."""
    levels = list(groups.categories)
    parts = [values[groups.codes == code] for code in range(len(levels))]
    if len(levels) <= MAX_BOXES:
        ax.boxplot(
            parts,
            widths=0.6,
            patch_artist=True,
            boxprops={"facecolor": "#D6E6F2", "edgecolor": BLUE},
            medianprops={"color": VERMILION, "linewidth": 1.6},
            whiskerprops={"color": BLUE},
            capprops={"color": BLUE},
            flierprops={"marker": "o", "markersize": 3.2, "markerfacecolor": BLUE, "markeredgewidth": 0, "alpha": 0.7},
        )
        tilt = 0 if max(map(len, levels)) * len(levels) < 60 else 60
        ax.set_xticks(range(1, len(levels) + 1), levels, rotation=tilt, ha="right" if tilt else "center")
    else:
        order = np.argsort([np.median(part) for part in parts], kind="stable")
        quartiles = np.array([np.quantile(parts[i], [0.25, 0.5, 0.75]) for i in order])
        ax.vlines(np.arange(1, len(levels) + 1), quartiles[:, 0], quartiles[:, 2], color=BLUE, linewidth=0.8)
        ax.plot(np.arange(1, len(levels) + 1), quartiles[:, 1], "o", color=VERMILION, markersize=2.4)
        ax.set_xticks([])


# -- pictures ------------------------------------------------------------------------------------------------


def plot_residuals(fit: FittedModel, x: str | None = None, *, id: float | None = 0.01, ax: Any = None) -> Axes:
    """Draw scaled Pearson residuals against the fitted mean, or against a variable of the model.

    Parameters
    ----------
    fit : FittedModel
    x : str, optional
        A variable or a grouping factor; factors give a box for each level (median and quartiles, sorted, where
        there are more than 25).
    id : float or None
        Rows with |residual| beyond the normal quantile of 1 - id/2 are named, at most 8; None names nobody.
    ax : Axes, optional
    """
    ax = one_axes(ax)
    residual = fit.residuals("pearson", scaled=True).reindex(fit.frame.index).to_numpy()
    used = np.flatnonzero(fit.frame.weights > 0)
    variable = np.array(fit.conditional.mu) if x is None else _variable(fit, x)
    ax.axhline(0.0, color=GREY, linewidth=1.0, linestyle=(0, (4, 2)))
    name = "fitted mean" if x is None else x
    if isinstance(variable, pd.Categorical):
        _boxes(ax, residual[used], variable[used])
        n_levels = len(variable.categories)
        name = f"{x} ({n_levels} levels, by median)" if n_levels > MAX_BOXES else name
    else:
        cloud(ax, variable[used], residual[used])
        if np.ptp(variable[used]) > 0:
            ax.plot(*local_line(variable[used], residual[used]), **TRUE_MEAN)
        chosen = np.intersect1d(extreme_rows(residual, id), used)
        name_points(ax, variable, residual, fit.frame.index, chosen)
    return finish(ax, f"Residuals against {'fitted means' if x is None else x}", name, "scaled Pearson residual")


def plot_scale_location(fit: FittedModel, *, id: float | None = 0.01, ax: Any = None) -> Axes:
    """Draw the root of the absolute standardised residuals against the fitted mean: level where the spread is right."""
    ax = one_axes(ax)
    values, kept = _standardised(fit)
    root, mu = np.sqrt(np.abs(values)), np.array(fit.conditional.mu)
    cloud(ax, mu[kept], root[kept])
    if np.ptp(mu[kept]) > 0:
        ax.plot(*local_line(mu[kept], root[kept]), **TRUE_MEAN)
    ax.set_ylim(bottom=0.0)
    name_points(ax, mu, root, fit.frame.index, np.intersect1d(extreme_rows(values, id), kept))
    return finish(ax, "Scale and location", "fitted mean", r"$\sqrt{|\mathrm{standardised\ residual}|}$")


def draw_normal_qq(ax: Axes, values: FloatArray, labels: Any = None) -> None:
    """Ordered values against normal quantiles, with line and envelope; labels outside it, if given."""
    order = np.argsort(values, kind="stable")
    z, low, high = normal_envelope(values.size)
    ordered = values[order]
    ax.fill_between(z, low, high, **BAND)
    ax.plot(z, z, **REFERENCE)
    cloud(ax, z, ordered)
    if labels is not None:
        outside = np.flatnonzero(((ordered < low) | (ordered > high)) & (np.abs(ordered) > TAIL))
        name_points(ax, z, ordered, np.asarray(labels, dtype=object)[order], outside)


def plot_residual_qq(fit: FittedModel, *, ax: Any = None) -> Axes:
    """Draw the quantiles of the standardised residuals against the normal ones, with a 95 % envelope.

    For linear mixed models; other families have no normal residuals: see ``plot_simulated_qq``.
    """
    ax = one_axes(ax, 4.6, 4.4)
    values, kept = _standardised(fit)
    draw_normal_qq(ax, values[kept], fit.frame.index[kept])
    return finish(ax, "Residuals: normal QQ plot", "normal quantile", "standardised residual")


def plot_binned_residuals(fit: FittedModel, n_bins: int | None = None, *, ax: Any = None) -> Axes:
    """Draw mean residuals in bins of the fitted mean, with two standard errors to each side of zero."""
    ax = one_axes(ax)
    used = np.flatnonzero(fit.frame.weights > 0)
    mu = np.array(fit.conditional.mu)[used]
    bins = binned_means(mu, (fit.frame.y[used] - mu), n_bins)
    ax.fill_between(bins["x"], -bins["two_se"], bins["two_se"], **BAND)
    ax.axhline(0.0, color=GREY, linewidth=1.0, linestyle=(0, (4, 2)))
    outside = np.abs(bins["mean"]) > bins["two_se"]
    ax.plot(bins["x"][~outside], bins["mean"][~outside], "o", color=BLUE, markersize=4.5)
    ax.plot(bins["x"][outside], bins["mean"][outside], "D", color=VERMILION, markersize=4.5)
    inside = f"{int(np.sum(~outside))} of {len(bins)} bins within two standard errors"
    return finish(ax, f"Binned residuals: {inside}", "fitted mean", "mean residual")


def plot_residual_panel(fit: FittedModel, *, id: float | None = 0.01, ax: Any = None) -> np.ndarray:
    """Draw residuals against fitted means, scale and location, the QQ plot, and residuals by the first group.

    Parameters
    ----------
    fit : FittedModel
    id
        See :func:`plot_residuals`.
    ax : array of four Axes, optional

    Returns
    -------
    array of Axes, shape (4,)
    """
    if ax is None:
        from matplotlib import pyplot

        figure, grid = pyplot.subplots(2, 2, figsize=(9.6, 7.2), layout="constrained")
        title_figure(figure, f"Residuals of {fit.formula.expanded}")
        panels = grid.ravel()
    else:
        panels = given_axes(ax).ravel()
        if panels.size != 4:
            raise ArgumentError(f"ax must hold four Axes, not {panels.size}")
    plot_residuals(fit, id=id, ax=panels[0])
    plot_scale_location(fit, id=id, ax=panels[1])
    plot_residual_qq(fit, ax=panels[2])
    plot_residuals(fit, fit.design.terms[0].group, id=id, ax=panels[3])
    return panels
