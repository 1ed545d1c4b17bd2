r"""Shrinkage plots: what each group says for itself, and where the mixed model moves it.

Place in the reading order: in ``plots``, after ``qq``. An arrow leads from the estimate of each level without pooling
to the one of the mixed model (see :mod:`refglmm.inference.pooling`). Levels with few rows, or far from the rest, move
most. Beside them the fixed effects of the mixed model, towards which the arrows lead, and the estimates of complete
pooling. One column is drawn as a list of levels, two as a plane, there with the ellipses that hold 50 and 95 % of the
estimated distribution of the random effects,

.. math:: (c - \hat\beta)'\,\Sigma^{-1} (c - \hat\beta) = \chi^2_2(0.5),\ \chi^2_2(0.95)

Levels without a finite estimate of their own come in from the edge of the picture.

Source: Bates et al. (2015), section 5.2 (sleepstudy); Bolker's lectures on mixed models (Arabidopsis).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.inference.pooling import Pooling, pooling
from refglmm.plots.caterpillar import MAX_NAMES
from refglmm.plots.choices import link_scale, the_group
from refglmm.plots.style import (
    BLUE,
    DARK,
    GREY,
    MEDIUM,
    SMALL,
    VERMILION,
    legend_below,
    panel_grid,
    tidy,
    title_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

#: Share of a bivariate normal distribution inside each ellipse.
ELLIPSES = (0.5, 0.95)
#: Up to so many levels are named in a plane.
NAMED_IN_PLANE = 30
#: Room beyond the finite estimates, as a share of their range, at whose end infinite ones stand.
MARGIN = 0.12
POPULATION: dict[str, Any] = {"marker": "D", "color": VERMILION, "markersize": 10, "linestyle": "", "zorder": 5}
COMPLETE: dict[str, Any] = {"marker": "X", "color": DARK, "markersize": 7, "linestyle": "", "zorder": 5}


def plot_shrinkage(
    fit: FittedModel, group: str | None = None, *, columns: Sequence[str] | None = None, ax: Any = None
) -> Axes:
    """Draw how the mixed model shrinks the estimates of the levels of a factor.

    Parameters
    ----------
    fit : FittedModel
    group : str, optional
        Grouping factor; may be left out where there is only one.
    columns : sequence of one or two names, optional
        Which columns of the factor's terms; by default the only one, or the first two.
    ax : Axes, optional
        A new figure by default.

    Returns
    -------
    Axes

    Raises
    ------
    ArgumentError
        Unknown factor or columns.
    """
    group = the_group(fit, group)
    result = pooling(fit, group)
    chosen = _chosen(result, columns)
    n_levels = len(result.rows)
    size = (6.2, float(np.clip(0.23 * n_levels, 3.0, 8.5))) if len(chosen) == 1 else (6.4, 5.4)
    panels, figure = panel_grid(1, ax, width=size[0], height=size[1])
    panel = panels[0]
    handles = _draw_list(panel, result, chosen[0]) if len(chosen) == 1 else _draw_plane(panel, fit, result, chosen)
    tidy(panel)
    if len(chosen) == 1:
        panel.set_xlabel(f"{result.partial.columns[chosen[0]]} ({link_scale(fit)})", fontsize=MEDIUM)
        panel.set_ylabel(group if n_levels <= MAX_NAMES else f"{group}: {n_levels} levels", fontsize=MEDIUM)
        panel.grid(False, axis="y")
    else:
        panel.set_xlabel(f"{result.partial.columns[chosen[0]]} ({link_scale(fit)})", fontsize=MEDIUM)
        panel.set_ylabel(f"{result.partial.columns[chosen[1]]} ({link_scale(fit)})", fontsize=MEDIUM)
    labels = [handle.get_label() for handle in handles]
    if figure is None:
        panel.legend(handles, labels, fontsize=SMALL, frameon=False)
    else:
        title_figure(figure, f"Shrinkage of the estimates by {group}")
        legend_below(figure, handles, labels, 2)
    return panel


def _chosen(result: Pooling, columns: Sequence[str] | None) -> list[int]:
    """Positions of the columns to draw."""
    known = list(result.partial.columns)
    if columns is None:
        return list(range(min(len(known), 2)))
    if isinstance(columns, str) or not 1 <= len(columns) <= 2:
        raise ArgumentError(f"columns must be a list of one or two of {', '.join(known)}, not {columns!r}")
    for name in columns:
        if name not in known:
            raise ArgumentError(f"{result.group} has no random effect {name!r}; it has {', '.join(known)}", column=name)
    return [known.index(name) for name in columns]


def _limits(values: list[FloatArray]) -> tuple[float, float]:
    """Limits that leave a margin around all finite values."""
    finite = np.concatenate([v[np.isfinite(v)] for v in values])
    margin = MARGIN * max(float(np.ptp(finite)), 1e-8)
    return float(finite.min()) - margin, float(finite.max()) + margin


def _at_edge(values: FloatArray, limits: tuple[float, float]) -> FloatArray:
    """Infinite values brought to just inside the limits."""
    inset = 0.02 * (limits[1] - limits[0])
    return np.clip(values, limits[0] + inset, limits[1] - inset)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], *, thin: bool) -> None:
    ax.annotate(
        "",
        xy=end,
        xytext=start,
        arrowprops={
            "arrowstyle": "-" if thin else "-|>,head_length=0.35,head_width=0.14",
            "color": GREY,
            "linewidth": 0.4 if thin else 0.9,
            "shrinkA": 0,
            "shrinkB": 0,
        },
        zorder=2,
    )


def _areas(result: Pooling) -> FloatArray:
    """Marker areas that grow with the number of rows; all alike where the levels are balanced."""
    rows = result.rows.to_numpy(dtype=float)
    return np.full(rows.size, 30.0) if rows.min() == rows.max() else 12.0 + 78.0 * rows / rows.max()


def _draw_list(ax: Axes, result: Pooling, column: int) -> list[Any]:
    """One column: levels from below in the order of their partial estimates."""
    none, partial = result.none.iloc[:, column].to_numpy(), result.partial.iloc[:, column].to_numpy()
    population, complete = float(result.population.iloc[column]), float(result.complete.iloc[column])
    limits = _limits([none, partial, np.array([population, complete])])
    rank = np.argsort(np.argsort(partial, kind="stable"), kind="stable").astype(float)
    thin = rank.size > MAX_NAMES
    ax.axvline(population, color=VERMILION, linestyle=(0, (5, 2)), linewidth=1.4, zorder=1)
    if np.isfinite(complete):
        ax.axvline(complete, color=DARK, linestyle=":", linewidth=1.6, zorder=1)
    shown = _at_edge(none, limits)
    for at, start, end in zip(rank, shown, partial, strict=True):
        if np.isfinite(start):
            _arrow(ax, (start, at), (end, at), thin=thin)
    _points(ax, none, shown, rank, 0.25 * _areas(result) if thin else _areas(result))
    ax.scatter(partial, rank, s=6 if thin else 26, color=BLUE, linewidths=0, zorder=4)
    ax.set_xlim(limits)
    ax.set_ylim(-1.0, rank.size)
    order = np.argsort(rank)
    ax.set_yticks([] if thin else rank[order], [] if thin else result.rows.index[order], fontsize=SMALL)
    return _list_handles(result, np.isfinite(complete))


def _points(ax: Axes, none: FloatArray, x: FloatArray, y: FloatArray, areas: FloatArray) -> None:
    """Estimates without pooling: open circles, triangles at the edge that infinite ones lie beyond."""
    finite = np.isfinite(none)
    ax.scatter(x[finite], y[finite], s=areas[finite], facecolor="white", edgecolor=BLUE, linewidths=1.1, zorder=3)
    for infinite, marker in ((np.isposinf(none), ">"), (np.isneginf(none), "<")):
        ax.scatter(
            x[infinite],
            y[infinite],
            s=45,
            marker=marker,
            facecolor="white",
            edgecolor=BLUE,
            linewidths=1.1,
            zorder=3,
            clip_on=False,
        )


def _shared_handles(result: Pooling) -> list[Any]:
    from matplotlib.lines import Line2D

    sized = "" if result.rows.nunique() == 1 else " (size: rows)"
    style: dict[str, Any] = {"linestyle": "", "marker": "o", "color": BLUE}
    handles = [
        Line2D([], [], markerfacecolor="white", markersize=6, label=f"no pooling{sized}", **style),
        Line2D([], [], markersize=5, label="partial pooling (mixed model)", **style),
    ]
    if np.isinf(result.none.to_numpy()).any():
        style["marker"] = ">" if np.isposinf(result.none.to_numpy()).any() else "<"
        handles.append(Line2D([], [], markerfacecolor="white", markersize=6, label="no pooling: infinite", **style))
    return handles


def _list_handles(result: Pooling, has_complete: bool) -> list[Any]:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=VERMILION, linestyle=(0, (5, 2)), linewidth=1.4, label="fixed effect")]
    if has_complete:
        lines.append(Line2D([], [], color=DARK, linestyle=":", linewidth=1.6, label="complete pooling"))
    return _shared_handles(result) + lines


def _draw_plane(ax: Axes, fit: FittedModel, result: Pooling, columns: list[int]) -> list[Any]:
    """Two columns: an arrow a level, the ellipses of the random-effects distribution, both common estimates."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    none, partial = result.none.iloc[:, columns].to_numpy(), result.partial.iloc[:, columns].to_numpy()
    population, complete = (part.iloc[columns].to_numpy() for part in (result.population, result.complete))
    curves = [population + ellipse for ellipse in _ellipses(_covariance(fit, result, columns))]
    for curve in curves:
        ax.fill(*curve.T, color=VERMILION, alpha=0.07, linewidth=0, zorder=0.5)
        ax.plot(*curve.T, color=VERMILION, alpha=0.45, linewidth=0.8, zorder=0.6)
    limits = [_limits([none[:, c], partial[:, c], population[[c]], complete[[c]], curves[-1][:, c]]) for c in (0, 1)]
    shown = np.column_stack([_at_edge(none[:, c], limits[c]) for c in (0, 1)])
    thin = len(partial) > MAX_NAMES
    drawable = np.asarray(np.isfinite(shown).all(axis=1))
    for start, end in zip(shown[drawable], partial[drawable], strict=True):
        _arrow(ax, tuple(start), tuple(end), thin=thin)
    worst = np.where(np.isinf(none[:, 0]), none[:, 0], np.where(np.isinf(none[:, 1]), none[:, 1], 0.0))
    _points(
        ax, worst[drawable], shown[drawable, 0], shown[drawable, 1], (0.25 if thin else 1.0) * _areas(result)[drawable]
    )
    ax.scatter(partial[:, 0], partial[:, 1], s=6 if thin else 26, color=BLUE, linewidths=0, zorder=4)
    ax.plot(*population, markeredgecolor="white", **POPULATION)
    handles = [
        Line2D([], [], label="fixed effects", **POPULATION),
        Patch(facecolor=VERMILION, alpha=0.15, label="50 and 95 % of the random effects"),
    ]
    if np.isfinite(complete).all():
        ax.plot(*complete, markeredgecolor="white", **COMPLETE)
        handles.append(Line2D([], [], label="complete pooling", **COMPLETE))
    if len(partial) <= NAMED_IN_PLANE:
        _name_levels(ax, result.rows.index, np.where(drawable[:, None], shown, partial), partial)
    ax.set_xlim(limits[0])
    ax.set_ylim(limits[1])
    return _shared_handles(result) + handles


def _name_levels(ax: Axes, names: pd.Index, start: FloatArray, end: FloatArray) -> None:
    """Write the name of each level beside its own estimate, on the side away from the arrow."""
    for name, (x, y), (to_x, _) in zip(names, start, end, strict=True):
        side = 1 if x >= to_x else -1
        ax.annotate(
            str(name),
            (x, y),
            xytext=(6 * side, 0),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=SMALL - 1.0,
            color=GREY,
        )


def _covariance(fit: FittedModel, result: Pooling, columns: list[int]) -> FloatArray:
    """Estimated covariance of two columns of the factor's random effects; 0 between terms."""
    from scipy.linalg import block_diag

    blocks = [fit.varcorr[label].cov for label in fit.varcorr if fit.varcorr[label].group == result.group]
    return np.asarray(block_diag(*blocks)[np.ix_(columns, columns)])


def _ellipses(covariance: FloatArray) -> list[FloatArray]:
    """Curves around 0, shape (points, 2), that hold the given shares of a bivariate normal distribution."""
    angle = np.linspace(0.0, 2.0 * np.pi, 181)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    # The chi-square distribution with two degrees of freedom is exponential.
    return [np.sqrt(-2.0 * np.log1p(-share)) * circle @ root.T for share in ELLIPSES]
