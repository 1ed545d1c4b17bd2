r"""Pictures of means and effects: conditional effects, marginal means, comparisons.

Place in the reading order: in ``plots``, after ``caterpillar``. Each takes a result of :mod:`refglmm.effects` and
shows its numbers as they are: estimates with the intervals of the table. Means are points with their intervals,
never bars from zero; ratios stand on a logarithmic axis, where intervals are symmetric.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from refglmm.effects.contrasts import families
from refglmm.effects.scales import scale_name
from refglmm.effects.tables import short
from refglmm.errors import ArgumentError
from refglmm.plots.style import (
    BLUE,
    GREY,
    MEDIUM,
    SMALL,
    VERMILION,
    label_axes,
    legend_below,
    panel_grid,
    tidy,
    title_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from refglmm.effects.conditional import ConditionalEffects
    from refglmm.effects.contrasts import Contrasts
    from refglmm.effects.means import Means, SimpleEffects
    from refglmm.fitted import FittedModel

#: Colours of Okabe and Ito in an order in which neighbours differ in lightness, and dashes that go with them.
PALETTE = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
#: Width of a group of points that stand side by side, in units of the distance between groups.
DODGE = 0.45
#: Lines of a rug beyond which they would merge.
MAX_RUG = 300
NULL: dict[str, Any] = {"color": GREY, "linewidth": 1.0, "linestyle": (0, (4, 2)), "zorder": 1.0}


def _style(i: int) -> dict[str, Any]:
    return {"color": PALETTE[i % len(PALETTE)], "linestyle": DASHES[i % len(DASHES)]}


def _text(value: Any) -> str:
    return short(float(value)) if isinstance(value, float | np.floating) else str(value)


def _heading(names: Sequence[str], key: Sequence[Any]) -> str:
    return ", ".join(f"{name} = {_text(value)}" for name, value in zip(names, key, strict=True))


def _mean_label(fit: FittedModel, type: str) -> str:
    """What the axis of a mean is called."""
    if type in ("prob", "score"):
        return {"prob": "probability", "score": "expected category"}[type]
    link, response = fit.family.link, fit.formula.response or "response"
    if type == "link" and link.name != "identity":
        return "log-odds" if link.name == "logit" else f"linear predictor ({scale_name(link)} scale)"
    if fit.family.is_binomial:
        return "probability"
    return f"mean {response}" if len(response) <= 24 else "mean response"


def _dodged(n: int) -> np.ndarray:
    """Shifts of n points that stand side by side."""
    return np.linspace(-0.5, 0.5, n) * DODGE * (n - 1) / n if n > 1 else np.zeros(1)


def _whiskers(ax: Axes, at: Any, frame: pd.DataFrame, names: Sequence[str], i: int, label: str, along: str) -> Any:
    """Points with intervals; ``names`` are the columns of estimate, lower and upper."""
    estimate, lower, upper = (frame[name].to_numpy(dtype=float) for name in names)
    ends = np.abs(np.stack([estimate - lower, upper - estimate]))
    style: dict[str, Any] = {
        "fmt": "o",
        "markersize": 5.5,
        "elinewidth": 1.6,
        "capsize": 0,
        "color": PALETTE[i % len(PALETTE)],
    }
    if along == "x":
        return ax.errorbar(estimate, at, xerr=ends, label=label, **style)
    return ax.errorbar(at, estimate, yerr=ends, label=label, **style)


def _legend(panels: np.ndarray, figure: Figure | None, title: str) -> None:
    handles, labels = panels[0].get_legend_handles_labels()
    if len(labels) < 2:
        return
    if figure is None:
        panels[0].legend(title=title, fontsize=SMALL, title_fontsize=SMALL, frameon=False)
    else:
        legend_below(figure, handles, [f"{title} = {label}" for label in labels], min(len(labels), 4))


# --- conditional effects ------------------------------------------------------------------------------------


def plot_conditional_effects(result: ConditionalEffects, *, rug: bool = True, ax: Any = None) -> np.ndarray:
    """Draw conditional effects: lines with ribbons, or points with intervals for a factor.

    Parameters
    ----------
    result : ConditionalEffects
        One moderator is told apart by colour, a second one by panels.
    rug : bool
        Mark where the data are, below a numeric focal variable.
    ax : Axes or array of Axes, optional
        As many as the second moderator has values; a new figure by default.

    Returns
    -------
    array of Axes
    """
    first, second = (*result.moderators, "", "")[:2]
    parts = families(result.table, (second,) if second else ())
    panels, figure = panel_grid(len(parts), ax, width=3.6 if second else 5.6, height=3.6)
    for panel, (key, index) in zip(panels, parts, strict=True):
        part = result.table.iloc[index]
        for i, (value, inner) in enumerate(families(part, (first,) if first else ())):
            _draw_effect(panel, result, part.iloc[inner], i, _text(value[0]) if first else "", len(part) // len(inner))
        tidy(panel)
        if second:
            panel.set_title(_heading((second,), key), fontsize=MEDIUM, loc="left", pad=3)
        if rug and not result.focal_categorical:
            _rug(panel, result)
    label_axes(panels, figure, result.focal, _mean_label(result.fit, result.type))
    _legend(panels, figure, first)
    if figure is not None:
        by = f" by {' and '.join(result.moderators)}" if result.moderators else ""
        title_figure(figure, f"Effect of {result.focal}{by}, with {100 * result.prob:.3g} % intervals")
    return panels


def _draw_effect(ax: Axes, result: ConditionalEffects, part: pd.DataFrame, i: int, label: str, n_lines: int) -> None:
    """One line with its ribbon, or the points of one value of the moderator."""
    columns = ("estimate", "lower", "upper")
    if result.focal_categorical:
        place = np.arange(len(part)) + _dodged(n_lines)[i]
        _whiskers(ax, place, part, columns, i, label, "y")
        ax.set_xticks(np.arange(len(part)), [_text(v) for v in part[result.focal]])
        ax.set_xlim(-0.6, len(part) - 0.4)
        ax.grid(False, axis="x")
        return
    x = part[result.focal].to_numpy(dtype=float)
    estimate, lower, upper = (part[name].to_numpy(dtype=float) for name in columns)
    ax.fill_between(x, lower, upper, color=_style(i)["color"], alpha=0.16, linewidth=0)
    ax.plot(x, estimate, linewidth=2.0, label=label, **_style(i))
    ax.set_xlim(x.min(), x.max())


def _rug(ax: Axes, result: ConditionalEffects) -> None:
    """Ticks at the foot, one per distinct value of the focal variable in the data."""
    values = np.unique(result.fit.frame.data[result.focal].to_numpy(dtype=float))
    if len(values) > MAX_RUG:
        values = np.quantile(values, np.linspace(0.0, 1.0, MAX_RUG))
    ends = ax.get_xlim()
    ax.plot(values, np.full(len(values), 0.012), "|", transform=ax.get_xaxis_transform(), color=GREY, markersize=5)
    ax.set_xlim(ends)


# --- marginal means -----------------------------------------------------------------------------------------


def plot_lsmeans(result: Means, *, ax: Any = None) -> np.ndarray:
    """Draw marginal means as points with their intervals.

    Parameters
    ----------
    result : Means
        The first of its specs stands on the vertical axis, the second is told apart by colour, further ones and
        those in ``by`` by panels.
    ax : Axes or array of Axes, optional
        As many as there are panels; a new figure by default.

    Returns
    -------
    array of Axes
    """
    first, second, *rest = (*result.specs, "")[: max(2, len(result.specs))]
    separate = (*rest, *result.by)
    table = result.table
    parts = families(table, separate)
    names = [_text(v) for v in dict.fromkeys(table[first])]
    height = float(np.clip(0.42 * len(names) + 0.6, 1.8, 7.0))
    panels, figure = panel_grid(len(parts), ax, width=3.4 if separate else 5.6, height=height)
    for panel, (key, index) in zip(panels, parts, strict=True):
        part = table.iloc[index]
        groups = families(part, (second,) if second else ())
        for i, (value, inner) in enumerate(groups):
            rows = part.iloc[inner]
            place = np.array([names.index(_text(v)) for v in rows[first]]) + _dodged(len(groups))[i]
            label = _text(value[0]) if second else ""
            _whiskers(panel, place, rows, ("estimate", "lower.CL", "upper.CL"), i, label, "x")
        _categories(panel, names)
        if separate:
            panel.set_title(_heading(separate, key), fontsize=MEDIUM, loc="left", pad=3)
    label_axes(panels, figure, _mean_label(result.fit, result.type), first)
    _legend(panels, figure, second)
    if figure is not None:
        title_figure(figure, f"Marginal means of {' x '.join(result.specs)}, with {100 * result.level:.3g} % intervals")
    return panels


def _categories(ax: Axes, names: Sequence[str]) -> None:
    """Categories on the vertical axis, the first on top."""
    tidy(ax)
    ax.set_yticks(np.arange(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(False, axis="y")


# --- comparisons --------------------------------------------------------------------------------------------


def plot_contrasts(result: Contrasts | SimpleEffects, *, ax: Any = None) -> np.ndarray:
    """Draw comparisons with their intervals and the value that means no difference.

    Parameters
    ----------
    result : Contrasts or SimpleEffects
        One panel per family. Comparisons whose adjusted p-value is above 1 - level (from draws:
        whose interval holds no difference) are drawn hollow.
    ax : Axes or array of Axes, optional

    Returns
    -------
    array of Axes
    """
    comparisons = result.contrasts if hasattr(result, "contrasts") else result
    table, name = comparisons.table, comparisons.estimate_name
    parts = families(table, comparisons.by)
    most = max(len(index) for _, index in parts)
    height = float(np.clip(0.36 * most + 0.6, 1.8, 8.0))
    panels, figure = panel_grid(len(parts), ax, width=3.6 if len(parts) > 1 else 5.6, height=height)
    shared = [table["contrast"].iloc[index].tolist() for _, index in parts]
    if figure is not None and any(names != shared[0] for names in shared):
        raise ArgumentError("families with different contrasts cannot share an axis; give one Axes a family with ax=")
    for panel, (key, index), names in zip(panels, parts, shared, strict=True):
        part = table.iloc[index]
        panel.axvline(0.0 if name == "estimate" else 1.0, **NULL)
        drawn = _whiskers(panel, np.arange(len(part)), part, (name, "lower.CL", "upper.CL"), 0, "", "x")
        drawn[0].set_visible(False)
        clear = _differs(part, comparisons.level, 0.0 if name == "estimate" else 1.0)
        faces = np.where(clear, BLUE, "white")
        panel.scatter(part[name], np.arange(len(part)), s=34, color=faces, edgecolors=BLUE, linewidths=1.4, zorder=3)
        _categories(panel, names)
        if name != "estimate":
            panel.set_xscale("log")
            _plain_ticks(panel)
        if comparisons.by:
            panel.set_title(_heading(comparisons.by, key), fontsize=MEDIUM, loc="left", pad=3)
    label_axes(panels, figure, _difference_label(comparisons), "")
    if figure is not None:
        kind = "intervals" if comparisons.adjust == "none" else "simultaneous intervals"
        title_figure(figure, f"Comparisons, with {100 * comparisons.level:.3g} % {kind}")
    return panels


def _differs(part: pd.DataFrame, level: float, null: float) -> np.ndarray:
    """Which comparisons are clear: by their p-values, from draws by their intervals."""
    if "p.value" in part:
        return part["p.value"].to_numpy(dtype=float) <= 1.0 - level
    return ((part["lower.CL"] > null) | (part["upper.CL"] < null)).to_numpy()


def _plain_ticks(ax: Axes) -> None:
    """Numbers such as 0.5, 1, 2, 5 on a logarithmic axis."""
    from matplotlib.ticker import LogLocator, NullFormatter

    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())


def _difference_label(result: Contrasts) -> str:
    """What the axis of comparisons is called."""
    if result.estimate_name != "estimate":
        return f"{result.estimate_name.replace('.', ' ')} (log scale)"
    link = result.fit.family.link
    on_response = link.name == "identity" or any(
        "on the response scale" in note and "not the response" not in note for note in result.notes
    )
    if not on_response:
        return f"difference ({scale_name(link)} scale)"
    return "difference of probabilities" if result.fit.family.is_binomial else "difference"
