"""The data as the model sees them: the response against a variable, one line for each group.

Place in the reading order: in ``plots``, after ``caterpillar``. Each light line joins the mean responses of one
group at the values of x; the heavy line joins the means of all groups together; both weigh rows by their trials
(or prior weights), so a point is what the group shows, not what the model makes of it. Of single 0s and 1s, which
lines cannot show, the proportions are drawn, and the responses themselves as scattered dots. A numeric x with many
values is cut into classes of about equal numbers of rows for that, anew in each panel and colour; where most groups
have a single answer in a class, their lines would only run between 0 and 1 and are left out. Over a factor the groups
stand a little apart, so that lines which coincide are seen.

Source: the glmer paper, section on the CBPP data (its figure 4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from refglmm.plots.choices import is_binary, is_category, response_label, row_weights, the_group, variable
from refglmm.plots.style import (
    DARK,
    GREY,
    MARKERS,
    MEDIUM,
    PALETTE,
    SMALL,
    label_axes,
    legend_below,
    many_colours,
    panel_grid,
    tidy,
    title_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from refglmm.fitted import FittedModel

#: A numeric x of a 0/1 response with more values than this is cut into classes.
MAX_VALUES, CLASSES = 10, 6
#: Area of the smallest and the largest marker, in square points.
SMALLEST, LARGEST = 8.0, 110.0
#: Share of the distance between neighbouring values of x over which dots are scattered, and their height.
JITTER_X, JITTER_Y = 0.25, 0.035
#: Width over which groups stand apart over a level of a factor.
APART = 0.16


def group_means(
    fit: FittedModel, x: Any, group: str | None = None, colour: Any = None, panels: Any = None
) -> pd.DataFrame:
    """Weighted mean response of each group at each value (or class) of x.

    Returns
    -------
    DataFrame
        Columns panel, colour, group, x (levels of a factor as 0, 1, ...), mean, weight (trials, rows or summed
        prior weights); one row for each combination that occurs.
    """
    rows = _rows(fit, x, the_group(fit, group), colour, panels)
    return _means(rows, ["panel", "colour", "group"])


def _rows(fit: FittedModel, x: Any, group: str, colour: Any, panels: Any) -> pd.DataFrame:
    """The response with everything it is drawn by, one row a row of the fit."""
    at = variable(fit, x, "x")
    rows = pd.DataFrame(
        {
            "panel": "" if panels is None else variable(fit, panels, "panels").astype("category"),
            "colour": "" if colour is None else variable(fit, colour, "colour").astype("category"),
            "group": fit.design.flist[group],
            "position": at.cat.codes.astype(float) if is_category(at) else at.astype(float),
            "y": fit.frame.y,
            "weight": row_weights(fit),
        },
        index=fit.frame.index,
    )
    return rows.assign(x=_classes(rows) if is_binary(fit) and not is_category(at) else rows["position"])


def _classes(rows: pd.DataFrame) -> pd.Series:
    """Values of x; where there are too many the mean x of the class that a row is in, by panel and colour."""
    if rows["position"].nunique() <= MAX_VALUES:
        return rows["position"]
    parts = rows.groupby(["panel", "colour"], observed=True)["position"]
    classes = parts.transform(lambda x: pd.qcut(x, CLASSES, labels=False, duplicates="drop"))
    return rows.groupby(["panel", "colour", classes], observed=True)["position"].transform("mean")


def _means(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    weighted = rows.assign(total=rows["weight"] * rows["y"])
    sums = weighted.groupby([*by, "x"], observed=True)[["total", "weight"]].sum().reset_index()
    sums = sums[sums["weight"] > 0]
    return sums.assign(mean=sums["total"] / sums["weight"]).drop(columns="total")


def plot_groups(
    fit: FittedModel,
    x: Any,
    *,
    group: str | None = None,
    colour: Any = None,
    panels: Any = None,
    ax: Any = None,
) -> np.ndarray:
    """Draw the response against x with a line for each group and a heavy one for all of them.

    Parameters
    ----------
    fit : FittedModel
        Only its data are drawn, not its estimates.
    x : str or array-like, shape (n,)
        Variable of the model, or one value per row.
    group : str, optional
        Grouping factor; may be left out where there is only one.
    colour, panels : str or array-like, shape (n,), optional
        Factor that colours the lines; factor with one panel for each level.
    ax : Axes or array of Axes, optional
        As many as there are panels; a new figure by default.

    Returns
    -------
    array of Axes, shape (panels,)

    Raises
    ------
    ArgumentError
        Naming the variable that the model does not have, or the rows without a value.
    """
    group = the_group(fit, group)
    rows = _rows(fit, x, group, colour, panels)
    means = _means(rows, ["panel", "colour", "group"])
    levels = list(dict.fromkeys(rows["panel"].sort_values()))
    overall = _overall(rows, means, levels)
    size = (2.1, 2.0) if len(levels) > 4 else (6.4 if len(levels) == 1 else 3.3, 3.6)
    shown, figure = panel_grid(len(levels), ax, width=size[0], height=size[1])
    colours = _colours(rows["colour"])
    at = variable(fit, x, "x")
    lines = _lines(means, is_category(at), is_binary(fit))
    for panel, level in zip(shown, levels, strict=True):
        if is_binary(fit):
            _scatter(panel, rows[rows["panel"] == level], colours)
        _draw(panel, lines[lines["panel"] == level], colours)
        _draw_overall(panel, overall[overall["panel"] == level], colours)
        tidy(panel)
        if level != "":
            name = variable(fit, panels, "panels").name
            panel.set_title(f"{name} {level}", fontsize=MEDIUM, loc="left", pad=3)
        if is_category(at):
            panel.set_xticks(range(len(at.cat.categories)), at.cat.categories)
            panel.set_xlim(-0.4, len(at.cat.categories) - 0.6)
    label_axes(shown, figure, str(at.name), response_label(fit))
    _legend(shown, figure, _handles(fit, group, colour, colours, lines))
    if figure is not None:
        response, each = response_label(fit), f", per {group}" if len(lines) else ""
        title_figure(figure, f"{response[0].upper()}{response[1:]} by {at.name}{each}")
    return shown


def _overall(rows: pd.DataFrame, means: pd.DataFrame, levels: list[Any]) -> pd.DataFrame:
    """Means of all groups of a panel together; of all rows, in every panel, where a panel has a single group."""
    if len(levels) == 1 or means.groupby("panel", observed=True)["group"].nunique().max() > 1:
        return _means(rows, ["panel", "colour"])
    together = _means(rows, ["colour"])
    return pd.concat([together.assign(panel=level) for level in levels], ignore_index=True)


def _colours(values: pd.Series) -> dict[Any, str]:
    """A colour for each level of the colouring factor."""
    levels = list(dict.fromkeys(values.sort_values()))
    return dict(zip(levels, many_colours(len(levels)), strict=True))


def _areas(means: pd.DataFrame) -> pd.Series:
    """Marker areas that grow with the weight behind a mean; all alike where the weights are."""
    share = means["weight"] / means["weight"].max()
    if share.min() == share.max():
        return pd.Series(22.0, index=means.index)
    return SMALLEST + (LARGEST - SMALLEST) * share


def _lines(means: pd.DataFrame, over_a_factor: bool, binary: bool) -> pd.DataFrame:
    """What is drawn of the groups: their means, moved apart over a factor; nothing if they are single answers."""
    if binary and means["weight"].median() < 2:
        return means.iloc[:0].assign(area=0.0)
    codes = means["group"].cat.codes
    shift = APART * (codes / max(codes.max(), 1) - 0.5) if over_a_factor else 0.0
    return means.assign(x=means["x"] + shift, area=_areas(means))


def _draw(ax: Axes, means: pd.DataFrame, colours: dict[Any, str]) -> None:
    """Lines and points of the groups."""
    if means.empty:
        return
    n_lines = means.groupby(["colour", "group"], observed=True).ngroups
    alone = n_lines == 1
    faint = 1.0 if alone else float(np.clip(8.0 / n_lines, 0.12, 0.55))
    for (colour, _), line in means.groupby(["colour", "group"], observed=True):
        ax.plot(
            line["x"],
            line["mean"],
            color=colours[colour],
            linewidth=1.0,
            alpha=faint,
            zorder=3.2 if n_lines == 1 else 2,
        )
    for number, (colour, points) in enumerate(means.groupby("colour", observed=True)):
        ax.scatter(
            points["x"],
            points["mean"],
            s=points["area"],
            marker=MARKERS[number % len(MARKERS)],
            color=colours[colour],
            alpha=min(1.3 * faint, 0.6),
            linewidths=0,
            zorder=3.3 if alone else 2.5,
        )


def _draw_overall(ax: Axes, overall: pd.DataFrame, colours: dict[Any, str]) -> None:
    """The mean of all groups, by colour; dark where there is one colour only."""
    for colour, line in overall.groupby("colour", observed=True):
        shade = DARK if len(colours) == 1 else colours[colour]
        ax.plot(line["x"], line["mean"], color="white", linewidth=4.5, zorder=2.9)
        ax.plot(line["x"], line["mean"], color=shade, linewidth=2.6, zorder=3.0)


def _scatter(ax: Axes, rows: pd.DataFrame, colours: dict[Any, str]) -> None:
    """Single responses, shifted a little so that they do not hide each other (always the same way)."""
    shift = np.random.default_rng(0).uniform(-1.0, 1.0, (2, len(rows)))
    gaps = np.diff(np.unique(rows["position"]))
    width = JITTER_X * float(gaps.min()) if gaps.size else JITTER_X
    height = np.where(rows["y"] > 0.5, 1.0 + JITTER_Y, -JITTER_Y)
    ax.scatter(
        rows["position"] + width * shift[0],
        height + JITTER_Y * shift[1],
        s=5,
        color=[colours[colour] for colour in rows["colour"]],
        alpha=float(np.clip(60.0 / len(rows), 0.15, 0.5)),
        linewidths=0,
        zorder=1,
    )


def _handles(fit: FittedModel, group: str, colour: Any, colours: dict[Any, str], lines: pd.DataFrame) -> list[Any]:
    """Legend: the groups' lines, the mean line, the colours, three sizes of marker."""
    from matplotlib.lines import Line2D

    shade = GREY if len(colours) > 1 else PALETTE[0]
    handles = []
    if len(lines) or len(colours) == 1:
        handles = [Line2D([], [], color=DARK if len(colours) == 1 else GREY, linewidth=2.6, label="all together")]
    if len(lines):
        style: dict[str, Any] = {"color": shade, "linewidth": 1.0, "alpha": 0.6, "marker": "o", "markersize": 4}
        handles.insert(0, Line2D([], [], label=f"one {group}", **style))
    if len(colours) > 1:
        name = variable(fit, colour, "colour").name
        handles += [
            Line2D([], [], color=shade, marker=_marker(i, lines), linewidth=2.0, label=f"{name} {level}")
            for i, (level, shade) in enumerate(colours.items())
        ]
    if len(lines) and lines["area"].nunique() > 1:
        handles += _size_handles(fit, lines)
    return handles


def _marker(number: int, lines: pd.DataFrame) -> str:
    return MARKERS[number % len(MARKERS)] if len(lines) else ""


def _size_handles(fit: FittedModel, lines: pd.DataFrame) -> list[Any]:
    """A small, a middling and the largest marker with what they stand for."""
    from matplotlib.lines import Line2D

    what = "trials" if fit.frame.trials is not None else ("weight" if fit.frame.has_weights else "rows")
    style: dict[str, Any] = {"linestyle": "", "marker": "o", "color": GREY, "alpha": 0.6, "markeredgewidth": 0}
    order = lines.sort_values("weight")
    chosen = order.iloc[np.unique(np.round(np.array([0.05, 0.5, 1.0]) * (len(order) - 1)).astype(int))]
    return [
        Line2D([], [], markersize=np.sqrt(area), label=f"{weight:g} {what}", **style)
        for weight, area in chosen[["weight", "area"]].drop_duplicates().itertuples(index=False)
    ]


def _legend(panels: np.ndarray, figure: Any, handles: list[Any]) -> None:
    labels = [handle.get_label() for handle in handles]
    if figure is None:
        panels[0].legend(handles, labels, fontsize=SMALL, frameon=False)
    else:
        legend_below(figure, handles, labels, min(len(handles), max(2, int(figure.get_figwidth() / 1.3))))
