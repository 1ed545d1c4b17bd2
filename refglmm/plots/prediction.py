r"""Prediction curves: the model's mean against a variable, with a ribbon, and a light line for each group.

Place in the reading order: in ``plots``, after ``shrinkage``. The heavy lines are predictions with all random effects
at zero; their ribbons are Wald intervals by the covariance of ``summary``, made on the scale of the linear predictor
and carried over by the inverse link,

.. math:: g^{-1}(x'\hat\beta \pm z\,\mathrm{se}(x'\hat\beta))

The light lines are predictions with the conditional modes of the levels that occur in the data. On the scale of the
response the heavy line is the mean of a group whose random effects are zero, not the mean over groups.

An ordinal model has a curve for the probability of each category, its ribbon made on the logit scale of that
probability.

Source: the glmer paper, section on the Contraception data (its figure 11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from refglmm.errors import ArgumentError
from refglmm.formula.expressions import names_in, parse_expression
from refglmm.formula.values import as_numeric
from refglmm.plots.choices import is_category, link_scale, response_label
from refglmm.plots.style import (
    DASHES,
    GREY,
    MARKERS,
    MEDIUM,
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

#: Points at which a curve over a numeric variable is computed.
POINTS = 61
#: A number with more values than this cannot have a curve or a panel for each.
MAX_CURVES = 12
#: Half the distance between the outermost of several points with bars over one level of a factor.
DODGE = 0.12


def prediction_grid(
    fit: FittedModel,
    x: str,
    colour: str | None = None,
    panels: str | None = None,
    at: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """New data for curves over x: every combination of x with the levels of ``colour`` and ``panels``.

    A numeric x runs over its range. Variables not mentioned stand at their mean (numbers) or at their first level,
    unless ``at`` says otherwise; grouping factors are left out unless the fixed part uses them.

    Returns
    -------
    DataFrame

    Raises
    ------
    ArgumentError
        Naming the variable that the model does not have.
    """
    data, values = fit.frame.data, dict(at or {})
    needed = _fixed_variables(fit)
    axes = [name for name in (x, colour, panels) if name is not None]
    for name in [*axes, *values]:
        if name not in data.columns:
            raise ArgumentError(f"the model has no variable {name!r}; it has {', '.join(data.columns)}", variable=name)
    grid = {name: _along(data[name]) if name == x else _levels(data[name], name) for name in dict.fromkeys(axes)}
    combined = pd.MultiIndex.from_product(list(grid.values()), names=list(grid)).to_frame(index=False)
    for name in data.columns:
        if name in values:
            combined[name] = values[name]
        elif name in needed and name not in combined:
            combined[name] = _levels(data[name], name)[0] if is_category(data[name]) else data[name].mean()
    for name in combined.columns:
        if isinstance(data[name].dtype, pd.CategoricalDtype):
            combined[name] = pd.Categorical(combined[name], dtype=data[name].dtype)
    return combined


def _fixed_variables(fit: FittedModel) -> set[str]:
    """Variables of the model other than grouping factors and the response."""
    formula = fit.frame.formula
    texts = [formula.fixed, *formula.offsets, *(term.expression for term in formula.random)]
    return {name for text in texts for name in names_in(parse_expression(text))} & set(fit.frame.data.columns)


def _along(values: pd.Series) -> list[Any]:
    """The levels of a factor, or evenly spaced numbers over the range."""
    if is_category(values):
        return _levels(values, str(values.name))
    return list(np.linspace(float(values.min()), float(values.max()), POINTS))


def _levels(values: pd.Series, name: str) -> list[Any]:
    """The levels of a factor, or the values of a number that has few of them."""
    levels = list(values.astype("category").cat.categories)
    if not is_category(values) and len(levels) > MAX_CURVES:
        raise ArgumentError(
            f"{name} has {len(levels)} values, too many for a curve each; give newdata= with those wanted",
            variable=name,
        )
    return levels


def plot_predictions(
    fit: FittedModel,
    x: str,
    *,
    colour: str | None = None,
    panels: str | None = None,
    at: Mapping[str, Any] | None = None,
    newdata: pd.DataFrame | None = None,
    groups: bool | str | Sequence[str] = False,
    type: str = "response",
    level: float = 0.95,
    ax: Any = None,
) -> np.ndarray:
    """Draw predictions against x with confidence ribbons, and a light line for each group if wanted.

    Parameters
    ----------
    fit : FittedModel
    x : str
        Variable of the horizontal axis. A numeric one gives curves with ribbons, a factor points with bars.
    colour, panels : str, optional
        Variables with a curve, a panel for each of their levels.
    at : mapping, optional
        Values of other variables; by default their mean or first level. An ``offset=`` argument of the fit stands at
        its mean.
    newdata : DataFrame, optional
        Rows to predict instead of that grid; may hold further columns, which x, colour and panels may name (an age
        in years beside the scaled one that the model uses).
    groups : bool, str or sequence of str
        Grouping factors whose levels get a line of their own; True takes all of them together.
    type : {"response", "link"}
    level : float
        Coverage of the ribbons, in (0, 1).
    ax : Axes or array of Axes, optional
        As many as there are panels; a new figure by default.

    Returns
    -------
    array of Axes, shape (panels,)

    Raises
    ------
    ArgumentError, DataError
        Unknown variables, factors or levels; see also :meth:`FittedModel.predict`.
    """
    if type not in ("response", "link"):
        raise ArgumentError(f"type must be 'response' or 'link', not {type!r}", type=type)
    grid = _grid(fit, x, colour, panels, at, newdata)
    if fit.family.is_ordinal and type == "response":
        if colour is not None or groups:
            raise ArgumentError(
                "the curves of an ordinal model are the probabilities of its categories; leave colour= and groups= out "
                "(panels= is free), or use type='link'"
            )
        colour = str(fit.formula.response)
        drawn = _category_curves(fit, grid, x, colour, panels, level)
    else:
        drawn = _predicted(fit, grid, x, colour, panels, type, level)
    factors = _group_factors(fit, groups)
    levels = list(dict.fromkeys(drawn["panel"].sort_values()))
    shown, figure = panel_grid(len(levels), ax, width=6.0 if len(levels) == 1 else 3.6, height=3.7)
    colours = _colours(drawn["colour"])
    lines = _group_lines(fit, grid, factors, x, colour, panels, type) if factors else None
    for panel, value in zip(shown, levels, strict=True):
        if lines is not None:
            _draw_groups(panel, lines[lines["panel"] == value], colours)
        draw = _draw_points if is_category(grid[x]) else _draw_curves
        draw(panel, drawn[drawn["panel"] == value], colours)
        _finish(panel, grid[x], f"{panels} {value}" if panels else "")
    what = response_label(fit) if type == "response" else f"linear predictor ({link_scale(fit)})"
    if fit.family.is_ordinal and type == "response":
        what = f"probability of {colour}"
    label_axes(shown, figure, x, what)
    handles = _handles(colour, colours, factors, level, curves=not is_category(grid[x]))
    labels = [handle.get_label() for handle in handles]
    if figure is None:
        shown[0].legend(handles, labels, fontsize=SMALL, frameon=False)
    else:
        title_figure(figure, f"Predicted {what} by {x}")
        legend_below(figure, handles, labels, min(len(handles), max(2, int(figure.get_figwidth() / 1.6))))
    return shown


def _grid(
    fit: FittedModel, x: str, colour: str | None, panels: str | None, at: Mapping[str, Any] | None, newdata: Any
) -> pd.DataFrame:
    """The rows to predict."""
    if newdata is None:
        return prediction_grid(fit, x, colour, panels, at)
    if at is not None:
        raise ArgumentError("give at= or newdata=, not both: newdata says all values itself")
    for name in (x, colour, panels):
        if name is not None and name not in newdata.columns:
            raise ArgumentError(f"newdata has no column {name!r}", variable=name)
    return pd.DataFrame(newdata).reset_index(drop=True)


def _placed(rows: pd.DataFrame, grid: pd.DataFrame, x: str, colour: str | None, panels: str | None) -> pd.DataFrame:
    """Where each row of a grid is drawn: position on the axis, colour, panel."""
    at = grid[x].astype("category").cat if is_category(grid[x]) else None
    return rows.assign(
        position=grid[x].astype(float) if at is None else at.codes.astype(float),
        colour="" if colour is None else grid[colour].astype("category"),
        panel="" if panels is None else grid[panels].astype("category"),
    )


def _predicted(
    fit: FittedModel, grid: pd.DataFrame, x: str, colour: str | None, panels: str | None, type: str, level: float
) -> pd.DataFrame:
    """Population curves with their limits: fit, lower, upper, position, colour, panel."""
    table = fit.predict(grid, re_form=False, type=type, interval="confidence", level=level, offset=_offset(fit, grid))
    return _placed(table[["fit", "lower", "upper"]].reset_index(drop=True), grid, x, colour, panels)


def _category_curves(
    fit: FittedModel, grid: pd.DataFrame, x: str, response: str, panels: str | None, level: float
) -> pd.DataFrame:
    """Probabilities of the categories with their limits, one category after the other."""
    from scipy.special import expit, logit, ndtri

    table = fit.predict(grid, re_form=False, type="prob", se=True, offset=_offset(fit, grid))
    names, parts = list(table["fit"].columns), []
    for name in names:
        p, se = table["fit", name].to_numpy(), table["se", name].to_numpy()
        reach = float(ndtri(0.5 + 0.5 * level)) * se / (p * (1.0 - p))
        rows = pd.DataFrame({"fit": p, "lower": expit(logit(p) - reach), "upper": expit(logit(p) + reach)})
        category = pd.Categorical([name] * len(grid), categories=names, ordered=True)
        parts.append(_placed(rows, grid.assign(**{response: category}), x, response, panels))
    return pd.concat(parts, ignore_index=True)


def _offset(fit: FittedModel, rows: pd.DataFrame) -> float | None:
    """Mean of the ``offset=`` argument of the fit, where the rows do not hold its columns; else None."""
    argument = fit.frame.offset_argument
    if argument is None or (argument != "<array>" and set(names_in(parse_expression(argument))) <= set(rows.columns)):
        return None
    known = [np.asarray(as_numeric(fit.frame.columns[text]), dtype=float) for text in fit.frame.formula.offsets]
    return float(np.mean(fit.frame.offset - np.sum(known, axis=0)))


def _group_factors(fit: FittedModel, groups: bool | str | Sequence[str]) -> list[str]:
    """Names of the grouping factors that get lines."""
    known = list(dict.fromkeys(term.group for term in fit.design.terms))
    if isinstance(groups, bool):
        return known if groups else []
    chosen = [groups] if isinstance(groups, str) else list(groups)
    for name in chosen:
        if name not in known:
            raise ArgumentError(f"no grouping factor {name!r}; there are: {', '.join(known)}", group=name)
    return chosen


def _group_lines(
    fit: FittedModel,
    grid: pd.DataFrame,
    factors: list[str],
    x: str,
    colour: str | None,
    panels: str | None,
    type: str,
) -> pd.DataFrame:
    """Predictions for the combinations of levels that occur: fit, position, colour, panel, line."""
    terms = [term for term in fit.design.terms if term.group in factors]
    atoms = dict.fromkeys(name for term in terms for name in names_in(parse_expression(term.term.group)))
    occurring = fit.frame.data[list(atoms)].drop_duplicates().assign(line=lambda rows: np.arange(len(rows)))
    shared = [name for name in atoms if name in grid.columns]
    crossed = grid.merge(occurring, on=shared) if shared else grid.merge(occurring, how="cross")
    re_form = "~ " + " + ".join(str(term.term) for term in terms)
    values = np.asarray(fit.predict(crossed, re_form=re_form, type=type, offset=_offset(fit, crossed)), dtype=float)
    return _placed(pd.DataFrame({"fit": values, "line": crossed["line"]}), crossed, x, colour, panels)


def _colours(values: pd.Series) -> dict[Any, Any]:
    levels = list(dict.fromkeys(values.sort_values()))
    return dict(zip(levels, many_colours(len(levels)), strict=True))


def _draw_groups(ax: Axes, lines: pd.DataFrame, colours: dict[Any, Any]) -> None:
    """One light line a group and colour, all of a colour as one collection."""
    from matplotlib.collections import LineCollection

    faint = float(np.clip(12.0 / max(lines["line"].nunique(), 1), 0.10, 0.5))
    for colour, part in lines.groupby("colour", observed=True):
        ordered = part.sort_values("position")
        paths = [line[["position", "fit"]].to_numpy() for _, line in ordered.groupby("line")]
        ax.add_collection(LineCollection(paths, colors=[colours[colour]], linewidths=0.7, alpha=faint, zorder=1))
    ax.autoscale_view()


def _draw_curves(ax: Axes, rows: pd.DataFrame, colours: dict[Any, Any]) -> None:
    """A ribbon and a heavy line for each colour."""
    for number, (colour, part) in enumerate(rows.groupby("colour", observed=True)):
        curve = part.sort_values("position")
        ax.fill_between(
            curve["position"], curve["lower"], curve["upper"], color=colours[colour], alpha=0.22, linewidth=0, zorder=2
        )
        dashes = DASHES[number % len(DASHES)]
        ax.plot(curve["position"], curve["fit"], color=colours[colour], linewidth=2.2, linestyle=dashes, zorder=3)


def _draw_points(ax: Axes, rows: pd.DataFrame, colours: dict[Any, Any]) -> None:
    """A point with a bar for each level and colour, side by side."""
    shifts = np.linspace(-DODGE, DODGE, len(colours)) if len(colours) > 1 else [0.0]
    for number, (shift, (colour, part)) in enumerate(zip(shifts, rows.groupby("colour", observed=True), strict=True)):
        ax.errorbar(
            part["position"] + shift,
            part["fit"],
            yerr=[part["fit"] - part["lower"], part["upper"] - part["fit"]],
            fmt=MARKERS[number % len(MARKERS)],
            color=colours[colour],
            markersize=6.5,
            elinewidth=2.0,
            zorder=3,
        )


def _finish(ax: Axes, values: pd.Series, title: str) -> None:
    """Grid, title and the ticks of a factor."""
    tidy(ax)
    ax.set_title(title, fontsize=MEDIUM, loc="left", pad=3)
    if is_category(values):
        names = values.astype("category").cat.categories
        ax.set_xticks(range(len(names)), names)
        ax.set_xlim(-0.5, len(names) - 0.5)
    else:
        ax.margins(x=0.0)


def _handles(
    colour: str | None, colours: dict[Any, Any], factors: list[str], level: float, *, curves: bool
) -> list[Any]:
    """Legend: the colours, what ribbons or bars are, and the light lines."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for number, (value, shade) in enumerate(colours.items()):
        name = f"{colour} {value}" if colour else "random effects at 0"
        dashes, marker = DASHES[number % len(DASHES)], MARKERS[number % len(MARKERS)]
        style = {"linestyle": dashes, "linewidth": 2.2} if curves else {"linestyle": "", "marker": marker}
        handles.append(Line2D([], [], color=shade, label=name, **style))
    text = f"{100 * level:g} % confidence"
    handles.append(Patch(color=GREY, alpha=0.3, label=text) if curves else Line2D([], [], color=GREY, lw=2, label=text))
    if factors:
        handles.append(Line2D([], [], color=GREY, linewidth=0.7, label=f"levels of {', '.join(factors)}"))
    return handles
