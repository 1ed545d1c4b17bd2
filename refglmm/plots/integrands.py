r"""The integrand of the random-effect integral of each group, beside its Laplace approximation.

Place in the reading order: in ``plots``, after ``style``. With one scalar random effect per group the
likelihood is a product of one-dimensional integrals,

.. math:: L = \prod_j \int e^{g_j(u)} \frac{du}{\sqrt{2\pi}},\qquad g_j(u) = \sum_{i \in j} l_i - u^2/2

With mode u~_j, curvature :math:`H_j = -g_j''(\tilde u_j)`, :math:`s_j = H_j^{-1/2}` and u = u~_j + s_j z,

.. math:: L = \prod_j e^{g_j(\tilde u_j)}\, s_j \int t_j(z)\,\phi(z)\,dz,\qquad
          t_j(z) = \exp\{g_j(\tilde u_j + s_j z) - g_j(\tilde u_j) + z^2/2\}

phi being the standard normal density. Laplace takes t_j for 1; adaptive Gauss-Hermite quadrature with k nodes
is exact where t_j is a polynomial of degree 2k - 1. So the pictures show, group by group, what Laplace leaves
out.

Source: the glmer paper, sections on simple scalar models and on adaptive quadrature (its figures 1 to 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.families.kernel import VALUE, L
from refglmm.fit.varcorr import term_factors
from refglmm.likelihood.layout import linear_predictor
from refglmm.likelihood.problem import build_problem
from refglmm.plots.style import (
    BAND,
    BETWEEN,
    CURVE,
    MEDIUM,
    REFERENCE,
    SMALL,
    label_axes,
    legend_below,
    panel_grid,
    tidy,
    title_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

#: Panels beyond this number would be too small to read.
MAX_PANELS = 40
#: Half-width of the plots in units of z: all but 2e-4 of the normal mass.
Z_MAX = 3.75
#: Grid for moments, wide enough for the heavier tail of a skewed integrand.
WIDE = np.linspace(-8.0, 8.0, 321)
X_LABEL = r"$z = (u - \tilde u_j)\,/\,s_j$"
#: The ratio is drawn up to here; the normal density in the tails is too small for larger values to matter.
RATIO_MAX = 5.0


@dataclass(frozen=True)
class IntegrandProfile:
    """log of the integrand of each group, relative to its mode, on a grid of z.

    Attributes
    ----------
    group : str
        Name of the grouping factor.
    levels : tuple of str, length q
    z : float array, shape (m,)
        Distance from the mode in units of s_j.
    log_relative : float array, shape (q, m)
        g_j(u~_j + s_j z) - g_j(u~_j).
    log_height : float array, shape (q,)
        g_j(u~_j), all constants of the log density included.
    mode, scale : float array, shape (q,)
        u~_j and s_j.
    """

    group: str
    levels: tuple[str, ...]
    z: FloatArray
    log_relative: FloatArray
    log_height: FloatArray
    mode: FloatArray
    scale: FloatArray

    @property
    def density(self) -> FloatArray:
        """Integrand scaled to the height of the standard normal density at z = 0, shape (q, m)."""
        return np.exp(self.log_relative) / np.sqrt(2.0 * np.pi)

    @property
    def ratio(self) -> FloatArray:
        """t_j(z): integrand over its normal approximation, shape (q, m)."""
        return np.exp(self.log_relative + 0.5 * self.z**2)

    def rows(self, levels: Sequence[Any]) -> list[int]:
        """Where these levels stand; ArgumentError for one that does not exist."""
        position = {level: row for row, level in enumerate(self.levels)}
        for level in levels:
            if str(level) not in position:
                raise ArgumentError(f"no level {level!r} of {self.group}", group=self.group, level=level)
        return [position[str(level)] for level in levels]


def _check_scalar(fit: FittedModel) -> None:
    """One scalar random effect per group, and a likelihood of which a picture says something."""
    if fit.is_lmm:
        raise NotAvailableError("the integrand of a linear mixed model is normal: there is nothing to compare it with")
    columns = [len(term.columns) for term in fit.design.terms]
    if columns != [1]:
        raise NotAvailableError(
            "the random-effect integral splits into one-dimensional ones only with a single scalar term such "
            f"as (1 | g); this model has {len(columns)} term(s) with {sum(columns)} column(s)",
            columns=columns,
        )
    if fit.family.n_shape and not fit.optimum.phi.size:
        raise NotAvailableError(
            "mode='lme4' takes the dispersion for 1 when it finds the modes and estimates it afterwards, so "
            "the integrand has no dispersion to use; fit with mode='exact'"
        )


def integrand_profile(fit: FittedModel, z: FloatArray) -> IntegrandProfile:
    """Evaluate the integrand of every group at u~_j + s_j z, with the family's own kernel.

    Parameters
    ----------
    fit : FittedModel
        A GLMM with a single scalar random-effects term.
    z : float array, shape (m,)

    Returns
    -------
    IntegrandProfile

    Raises
    ------
    NotAvailableError
        For any other model.
    """
    _check_scalar(fit)
    term, mode = fit.design.terms[0], fit.conditional
    problem = build_problem(fit.design, fit.frame, fit.family, fit.structures)
    index, values = problem.layout.index, problem.layout.z
    fixed = problem.offset + problem.X @ fit.beta
    T = float(term_factors(fit)[0][0, 0])
    phi = np.array(fit.optimum.phi if problem.n_phi else fit.family.fixed_shape, dtype=float)
    eta, out = np.empty(problem.n), np.empty((6, problem.n))

    def group_sums(rows: FloatArray) -> FloatArray:
        return np.bincount(index[:, 0], rows, problem.q).astype(np.float64)

    def log_integrand(u: FloatArray) -> FloatArray:
        linear_predictor(fixed, index, values, T * u, eta)
        fit.family.observe(problem.y, eta, problem.weights, problem.base, phi, VALUE, out)
        return group_sums(out[L]) - 0.5 * u * u

    weight = np.array(mode.h if mode.curvature == "observed" else mode.w)
    precision = 1.0 + group_sums((T * values[:, 0]) ** 2 * weight)
    u_mode, scale = np.array(mode.u), 1.0 / np.sqrt(precision)
    z = np.asarray(z, dtype=float)
    height = log_integrand(u_mode)
    log_relative = np.array([log_integrand(u_mode + scale * point) - height for point in z]).T
    return IntegrandProfile(term.group, tuple(map(str, term.levels)), z, log_relative, height, u_mode, scale)


def skewness(profile: IntegrandProfile) -> FloatArray:
    """Skewness of each group's integrand taken as a density, from moments on the grid; shape (q,)."""
    p = profile.density / profile.density.sum(axis=1, keepdims=True)
    centred = profile.z - (p @ profile.z)[:, None]
    variance = np.sum(p * centred**2, axis=1)
    return np.sum(p * centred**3, axis=1) / variance**1.5


def chosen_levels(fit: FittedModel, groups: Sequence[Any] | None) -> tuple[str, ...]:
    """The levels to draw: those asked for, or all where that gives panels one can read."""
    term = fit.design.terms[0]
    if groups is not None:
        if isinstance(groups, str) or not len(groups):
            raise ArgumentError(f"groups must be a non-empty list of levels of {term.group}, not {groups!r}")
        return tuple(map(str, groups))
    if term.n_levels > MAX_PANELS:
        raise ArgumentError(
            f"{term.group} has {term.n_levels} levels, more than the {MAX_PANELS} panels that can be read; "
            "choose some with groups=[...]",
            levels=term.n_levels,
        )
    return tuple(map(str, term.levels))


def _standard_normal(z: FloatArray) -> FloatArray:
    return np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)


def _draw_density(ax: Axes, profile: IntegrandProfile, row: int) -> None:
    """Integrand and normal density; what lies between them is Laplace's error."""
    z, density, normal = profile.z, profile.density[row], _standard_normal(profile.z)
    ax.plot(z, density, label="integrand", **CURVE)
    ax.plot(z, normal, label="standard normal density", **REFERENCE)
    ax.fill_between(z, density, normal, label="what Laplace misses", **BETWEEN)


def _draw_ratio(ax: Axes, profile: IntegrandProfile, row: int) -> None:
    """t(z) against Laplace's 1; the band marks where 95 % of the normal mass lies."""
    ax.plot(profile.z, profile.ratio[row], label="t(z): integrand over normal density", **CURVE)
    ax.axhline(1.0, label="Laplace: t(z) = 1", **REFERENCE)
    ax.axvspan(-1.96, 1.96, label="95 % of the normal mass", **BAND)


def _draw_panels(
    fit: FittedModel, groups: Sequence[Any] | None, ax: Any, draw: Callable[..., None], *, title: str, y: str
) -> np.ndarray:
    """One panel a group with its name; labels, title and legend once for a figure of our own."""
    _check_scalar(fit)
    levels = chosen_levels(fit, groups)
    profile = integrand_profile(fit, np.linspace(-Z_MAX, Z_MAX, 301))
    rows = profile.rows(levels)
    panels, figure = panel_grid(len(rows), ax, width=2.1, height=1.7)
    for panel, row in zip(panels, rows, strict=True):
        draw(panel, profile, row)
        tidy(panel)
        panel.set_xlim(-Z_MAX, Z_MAX)
        panel.set_title(f"{profile.group} {profile.levels[row]}", fontsize=MEDIUM, loc="left", pad=3)
    shown = profile.ratio if draw is _draw_ratio else profile.density
    for panel in panels:
        panel.set_ylim(0.0, min(RATIO_MAX, 1.05 * float(shown[rows].max())))
    label_axes(panels, figure, X_LABEL, y)
    handles, labels = panels[0].get_legend_handles_labels()
    if figure is None:
        panels[0].legend(handles, labels, fontsize=SMALL, frameon=False)
    else:
        title_figure(figure, title.format(group=profile.group))
        legend_below(figure, handles, labels, len(labels))
    return panels


def plot_integrands(fit: FittedModel, groups: Sequence[Any] | None = None, *, ax: Any = None) -> np.ndarray:
    """Draw the integrand of each group's random-effect integral against the standard normal density.

    Both have the same height at the mode, and z is scaled by the curvature that the Laplace approximation
    uses there; where they differ, it errs.

    Parameters
    ----------
    fit : FittedModel
        A GLMM with a single scalar random-effects term.
    groups : sequence of levels, optional
        Which groups, in this order; all by default, up to 40.
    ax : Axes or array of Axes, optional
        As many as groups; a new figure by default.

    Returns
    -------
    array of Axes, shape (groups,)
    """
    title = "Integrand of the random effect of each {group} against its normal approximation"
    return _draw_panels(fit, groups, ax, _draw_density, title=title, y="density")


def plot_ratio(fit: FittedModel, groups: Sequence[Any] | None = None, *, ax: Any = None) -> np.ndarray:
    """Draw t(z), the integrand over its normal approximation, for each group.

    A flat line at 1 would make the Laplace approximation exact; a low-order polynomial is what few quadrature
    nodes suffice for.

    Parameters
    ----------
    fit, groups, ax
        As in :func:`plot_integrands`.

    Returns
    -------
    array of Axes, shape (groups,)
    """
    title = "Integrand over its normal approximation, by {group}: flat where Laplace is exact"
    return _draw_panels(fit, groups, ax, _draw_ratio, title=title, y="t(z)")


def spread_groups(profile: IntegrandProfile, n: int) -> tuple[str, ...]:
    """Levels whose integrands lie nearest to n evenly spaced skewnesses, the most left-skewed first."""
    skew = skewness(profile)
    nearest = [int(np.argmin(np.abs(skew - wanted))) for wanted in np.linspace(skew.min(), skew.max(), n)]
    return tuple(profile.levels[row] for row in dict.fromkeys(nearest))


def plot_departures(fit: FittedModel, groups: Sequence[Any] | None = None) -> np.ndarray:
    """Draw both pictures for a few groups: integrands in the upper row, their ratios to the normal below.

    Parameters
    ----------
    fit : FittedModel
        A GLMM with a single scalar random-effects term.
    groups : sequence of levels, optional
        By default five, from the most left-skewed integrand to the most right-skewed.

    Returns
    -------
    array of Axes, shape (2, groups)
    """
    from matplotlib import pyplot

    _check_scalar(fit)
    name = fit.design.terms[0].group
    title = f"Integrands of some levels of {name}, and their ratio to the normal density"
    if groups is None:
        groups = spread_groups(integrand_profile(fit, WIDE), 5)
        title = f"Integrands by {name}, from left-skewed to right-skewed, and their ratio to the normal density"
    levels = chosen_levels(fit, groups)
    size = (2.2 * len(levels) + 0.6, 5.2)
    figure, grid = pyplot.subplots(
        2, len(levels), figsize=size, sharex=True, sharey="row", squeeze=False, layout="constrained"
    )
    plot_integrands(fit, levels, ax=grid[0])
    plot_ratio(fit, levels, ax=grid[1])
    for panel in grid[:, 0]:
        panel.get_legend().remove()
    for panel in grid[1]:
        panel.set_title("", loc="left")
    for panel in grid.ravel():
        panel.label_outer()
    title_figure(figure, title)
    # Legends fill column by column: one row of it for each row of panels.
    upper, lower = (zip(*panel.get_legend_handles_labels(), strict=True) for panel in grid[:, 0])
    handles, labels = zip(*(entry for pair in zip(upper, lower, strict=True) for entry in pair), strict=True)
    legend_below(figure, handles, labels, len(labels) // 2)
    return grid
