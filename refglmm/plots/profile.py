r"""Pictures of likelihood profiles: zeta, densities, and pairs.

Place in the reading order: in ``plots``, after ``caterpillar``.

* :func:`plot_zeta`: the signed root of the rise of -2 log L. A straight line means a quadratic likelihood, for which a
  Wald interval would do; where it bends, profile intervals are not symmetric.
* :func:`plot_density`: the density of a parameter that zeta, taken for standard normal, implies.
* :func:`plot_pairs`: contours of the likelihood of each pair of parameters at 50, 80, 90, 95 and 99 per cent, with the
  profile traces that cross them. Above the diagonal on the scale of zeta, where the contours of a quadratic likelihood
  are ellipses; below it on the scale of the parameters.

Source: Bates and Watts (1988), chapter 6; Bates et al. (2015), section 5.1.
"""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.inference.parameters import tail_shares
from refglmm.plots.style import (
    BLUE,
    CURVE,
    GREY,
    LARGE,
    MEDIUM,
    SMALL,
    VERMILION,
    label_axes,
    panel_grid,
    square_grid,
    tidy,
    title_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from refglmm.inference.profile_result import Curve, Profile

FloatArray = NDArray[np.float64]

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
#: Density below this share of its highest value is left out.
LOWEST = 2e-3
#: Side of one panel of the pairs, in inches.
SIDE = 1.75


def _drawable(profile: Profile) -> list[Curve]:
    """The curves with points to draw."""
    curves = [curve for curve in profile.curves if curve.zeta.size > 2]
    if not curves:
        raise ArgumentError("the profile has no parameter with points to draw")
    return curves


def _line(profile: Profile, curve: Curve) -> tuple[FloatArray, FloatArray]:
    """A fine curve on the scale shown: parameter and zeta, finite only."""
    zeta, outer = curve.fine()
    value = np.asarray(profile.shown(curve.parameter, outer), dtype=float)
    keep = np.isfinite(value)
    return value[keep], zeta[keep]


def _intervals(ax: Axes, profile: Profile, curve: Curve, levels: tuple[float, ...], absolute: bool) -> None:
    """Vertical lines at the ends of intervals, joined at their zeta if that is drawn without its sign."""
    from scipy.stats import norm

    for level in levels:
        z = float(norm.ppf(tail_shares(level)[1]))
        ends = [float(profile.shown(curve.parameter, curve.end(s * z))) for s in (-1, 1)]
        reached = [curve.zeta[0] <= -z, curve.zeta[-1] >= z]
        for end, sign, there in zip(ends, (-1, 1), reached, strict=True):
            if there and np.isfinite(end):
                ax.plot([end, end], [0.0, z if absolute else sign * z], color=GREY, linewidth=0.9)
        if absolute and all(reached) and np.all(np.isfinite(ends)):
            ax.plot(ends, [z, z], color=GREY, linewidth=0.9)


def plot_zeta(
    profile: Profile, *, absolute: bool = False, levels: tuple[float, ...] = LEVELS, ax: Any = None
) -> np.ndarray:
    """Draw zeta against each parameter, with the ends of its intervals.

    Parameters
    ----------
    profile : Profile
        On whatever scale it is shown (:meth:`Profile.on_scale`).
    absolute : bool
        Draw abs(zeta): a V, whose horizontal cuts are the intervals.
    levels : sequence of float
        Levels of the intervals.
    ax : Axes or array of Axes, optional
        As many as there are parameters; a new figure by default.

    Returns
    -------
    array of Axes
    """
    curves = _drawable(profile)
    panels, figure = panel_grid(len(curves), ax, width=2.6, height=2.4, share_x=False)
    for panel, curve in zip(panels, curves, strict=True):
        value, zeta = _line(profile, curve)
        _intervals(panel, profile, curve, levels, absolute)
        panel.plot(value, np.abs(zeta) if absolute else zeta, **CURVE)
        panel.axhline(0.0, color=GREY, linewidth=0.8)
        estimate = float(np.interp(0.0, zeta, value))
        panel.plot([estimate], [0.0], "o", color=VERMILION, markersize=4.5, zorder=4)
        panel.set_title(profile.name(curve.parameter), fontsize=MEDIUM, loc="left", pad=3)
        panel.locator_params(axis="x", nbins=5)
        tidy(panel)
    label_axes(panels, figure, "", "|ζ|" if absolute else "ζ")
    if figure is not None:
        shown = ", ".join(f"{100 * level:g}" for level in levels)
        title_figure(figure, f"Profile zeta with {shown} % intervals")
    return panels


def plot_density(profile: Profile, *, level: float = 0.95, ax: Any = None) -> np.ndarray:
    """Draw the density that each profile implies, relative to its highest value; its interval is shaded.

    Parameters
    ----------
    profile : Profile
    level : float
        Of the shaded interval.
    ax : Axes or array of Axes, optional
        As many as there are parameters; a new figure by default.

    Returns
    -------
    array of Axes
    """
    from scipy.stats import norm

    curves = _drawable(profile)
    z = float(norm.ppf(tail_shares(level)[1]))
    panels, figure = panel_grid(len(curves), ax, width=2.6, height=2.2, share_x=False)
    for panel, curve in zip(panels, curves, strict=True):
        frame = profile.density(curve.parameter.name)
        value, density = frame["value"].to_numpy(), frame["density"].to_numpy()
        density = density / np.max(density[np.isfinite(density)], initial=0.0)
        high = density > LOWEST
        zeta = np.interp(value, *_line(profile, curve))
        inside = high & (np.abs(zeta) <= z)
        panel.fill_between(value[inside], density[inside], color=BLUE, alpha=0.16, linewidth=0)
        panel.plot(value[high], density[high], **CURVE)
        panel.set_ylim(bottom=0.0)
        panel.set_title(profile.name(curve.parameter), fontsize=MEDIUM, loc="left", pad=3)
        panel.locator_params(axis="x", nbins=5)
        tidy(panel)
        panel.tick_params(labelleft=False)
        panel.grid(False, axis="y")
    if figure is not None:
        title_figure(figure, f"Profile densities with {100 * level:g} % intervals")
    return panels


def plot_pairs(profile: Profile, *, levels: tuple[float, ...] = LEVELS, ax: Any = None) -> np.ndarray:
    """Draw likelihood contours and profile traces of every pair of parameters.

    Parameters
    ----------
    profile : Profile
    levels : sequence of float
        Levels of the contours, joint for both parameters.
    ax : array of Axes, shape (k, k), optional
        For k parameters; a new figure by default.

    Returns
    -------
    array of Axes, shape (k, k)
        Row i belongs to parameter i on the vertical axis, column j to parameter j on the horizontal one. Above the
        diagonal zeta, below it the parameters themselves.
    """
    curves = _drawable(profile)
    k = len(curves)
    panels, figure = square_grid(k, ax, SIDE)
    reach = float(np.sqrt(-2.0 * np.log(1.0 - max(levels)))) * 1.08
    for i, row in enumerate(curves):
        for j, column in enumerate(curves):
            panel = panels[i, j]
            if i == j:
                _name_panel(panel, profile, row)
                continue
            _draw_pair(panel, profile, column, row, levels, on_zeta=j > i, reach=reach)
            _outer_ticks(panel, i, j, k)
    if figure is not None:
        shown = ", ".join(f"{100 * level:g}" for level in levels)
        title = f"Profile pairs ({shown} % regions): ζ above the diagonal, parameters below"
        figure.suptitle(fill(title, int(9 * figure.get_figwidth())), fontsize=LARGE, x=0.01, ha="left")
    return panels


def _name_panel(panel: Axes, profile: Profile, curve: Curve) -> None:
    """The parameter's name on the diagonal, with its 95 % interval."""
    low, high = (float(profile.shown(curve.parameter, curve.end(z))) for z in (-1.959963984540054, 1.959963984540054))
    name = profile.name(curve.parameter).replace("|", "\n|")
    panel.text(0.5, 0.56, name, ha="center", va="center", fontsize=MEDIUM, transform=panel.transAxes)
    panel.text(
        0.5, 0.16, f"{low:.4g} to {high:.4g}", ha="center", va="center", fontsize=SMALL - 0.5, color=GREY,
        transform=panel.transAxes,
    )  # fmt: skip
    panel.set_facecolor("#F6F6F6")
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_color("#C8C8C8")


def _draw_pair(
    panel: Axes, profile: Profile, x: Curve, y: Curve, levels: tuple[float, ...], *, on_zeta: bool, reach: float
) -> None:
    """Contours of x and y, and the trace of each along the profile of the other."""
    names = x.parameter.name, y.parameter.name
    columns = ("zeta_x", "zeta_y") if on_zeta else ("x", "y")
    drawn = profile.pairs(*names, levels)
    for level, part in drawn.groupby("level"):
        emphasis = 1.5 if level == 0.95 else 0.9
        panel.plot(part[columns[0]], part[columns[1]], color=BLUE, linewidth=emphasis, solid_capstyle="round")
    for held, other, swap in ((x, y, False), (y, x, True)):
        along, across = _trace(profile, held, other, on_zeta, reach)
        horizontal, vertical = (across, along) if swap else (along, across)
        panel.plot(horizontal, vertical, color=VERMILION, linewidth=1.1, linestyle="-" if not swap else (0, (4, 1.5)))
    if on_zeta:
        panel.set_xlim(-reach, reach)
        panel.set_ylim(-reach, reach)
    tidy(panel)
    panel.locator_params(nbins=4)


def _trace(profile: Profile, held: Curve, other: Curve, on_zeta: bool, reach: float) -> tuple[FloatArray, FloatArray]:
    """The trace of ``other`` along the profile of ``held``, no further than the contours go."""
    zeta, across = profile.trace(held.parameter.name, other.parameter.name)
    near = np.abs(zeta) <= reach
    if on_zeta:
        return zeta[near], across[near]
    k, m = profile.parameters.index(held.parameter), profile.parameters.index(other.parameter)
    values = held.values[near]
    return profile.shown(held.parameter, values[:, k]), profile.shown(other.parameter, values[:, m])


def _outer_ticks(panel: Axes, i: int, j: int, k: int) -> None:
    """Tick labels at the foot and the left for the parameters, at the top and the right for zeta."""
    above = j > i
    panel.tick_params(
        labelbottom=not above and i == k - 1,
        labelleft=not above and j == 0,
        labeltop=above and i == 0,
        labelright=above and j == k - 1,
        labelsize=SMALL - 1.0,
    )
