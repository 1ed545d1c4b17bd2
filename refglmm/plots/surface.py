r"""The way to the optimum: the optimiser's evaluations on contours of the objective.

Place in the reading order: in ``plots``, after ``prediction``. The contours are those of

.. math:: D(\psi) - D(\hat\psi),\qquad D = -2 \log L \text{ (REML criterion, for a REML fit)}

over two elements of psi = (par, beta, log phi), computed from the exact objective whatever path led to the optimum. The
others stand at their optimum, or are optimised out at every point of the grid ("profiled": then the contour at 5.99
encloses the 95 % confidence region of the two). The dots are what ``fit.trace`` recorded, which lie on the surface only
as far as the others were at their optimum by then; the line joins each evaluation that was the lowest so far. Points of
stage 1, which does not move beta, are ticks along the axis of the parameter that it does move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm._threads import blas_threads
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.likelihood.agq import likelihood_objective
from refglmm.likelihood.laplace import ProfiledObjective
from refglmm.likelihood.penalty import penalized
from refglmm.likelihood.pirls import Pirls
from refglmm.likelihood.profiled import ProfiledLinear
from refglmm.plots.style import DARK, GREY, MEDIUM, SMALL, VERMILION, legend_below, panel_grid, tidy, title_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

#: Heights of the contours above the minimum, in units of -2 log L.
HEIGHTS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
#: Height of what cannot be evaluated.
WALL = 1e10
#: A point lower than the optimum by more than this belongs to another minimum.
LOWER = 1e-3
#: The grid reaches at least, and for the sake of the path at most, so many standard errors from the optimum.
NEAREST, FARTHEST = 1.5, 15.0
#: Points of the grid in each direction.
SLICE_POINTS, PROFILE_POINTS = 61, 25


@dataclass(frozen=True, eq=False)
class Surface:
    """The objective over two parameters.

    Attributes
    ----------
    names : pair of str
    x, y : float array, shape (m,)
        Values of the first and of the second parameter.
    height : float array, shape (m, m)
        Objective minus its value at the optimum; rows go with y. NaN where it cannot be evaluated.
    optimum : float array, shape (2,)
    """

    names: tuple[str, str]
    x: FloatArray
    y: FloatArray
    height: FloatArray
    optimum: FloatArray


class _Objective:
    """The exact objective of a fit over its psi, with an optimum to return to after each excursion."""

    def __init__(self, fit: FittedModel) -> None:
        _check(fit)
        problem, control = fit.problem, fit.settings["control"]
        n_par, p, beta = problem.n_par, problem.p, np.array(fit.optimum.beta)
        shape = problem.working_shape(np.array(fit.optimum.phi))
        outer = np.concatenate([np.array(fit.optimum.par), shape])
        self.names = (*problem.names[:n_par], *(() if fit.is_lmm else problem.names[n_par + p :]))
        self.optimum, self.lower = outer, np.append(problem.par_lower, np.full(shape.size, -np.inf))
        self.function: Any
        if fit.is_lmm:
            self.function = ProfiledLinear(problem, fit.reml, control.engine)
        elif fit.n_agq == 0:
            self.function = ProfiledObjective(Pirls(problem, control.engine), beta, control.curvature)
        else:
            self.names, self.optimum = problem.names, np.concatenate([outer[:n_par], beta, shape])
            self.lower = np.concatenate([problem.par_lower, np.full(p + shape.size, -np.inf)])
            likelihood = likelihood_objective(Pirls(problem, control.engine), fit.n_agq, control.curvature)
            self.function = penalized(likelihood, fit.penalty)
        self.least = self.function.value(self.optimum)

    def height(self, psi: FloatArray) -> float:
        """Objective above its value at the optimum; NaN where there is none."""
        value = self.function.value(psi)
        return value - self.least if np.isfinite(value) else np.nan

    def slope(self, psi: FloatArray) -> tuple[float, FloatArray]:
        """Height and gradient; a wall where the objective cannot be evaluated."""
        value, gradient = self.function.value_and_gradient(psi)
        if np.isfinite(value) and np.isfinite(gradient).all():
            return value - self.least, gradient
        return WALL, np.zeros(psi.size)


def _check(fit: FittedModel) -> None:
    """Fits whose recorded evaluations can stand on the exact objective."""
    if fit.model.autoscale:
        raise NotAvailableError("the fit was made on rescaled columns, and so was its path; fit with autoscale=False")
    if fit.is_glmm and fit.problem.n_phi and not fit.optimum.phi.size:
        raise NotAvailableError(
            "mode='lme4' does not optimise the dispersion, so its path does not lie on the exact objective; "
            "fit with mode='exact'"
        )


def objective_surface(
    fit: FittedModel,
    parameters: Sequence[str] | None = None,
    *,
    others: str = "optimum",
    reach: float = NEAREST,
    points: int | None = None,
) -> Surface:
    """Evaluate the objective on a grid over two parameters.

    Parameters
    ----------
    fit : FittedModel
    parameters : pair of str, optional
        Names as in ``fit.trace.evaluations``; by default the first covariance parameter and the first fixed effect,
        or the first two parameters where the fixed effects are profiled out.
    others : {"optimum", "profiled"}
        Where the other parameters stand.
    reach : float
        Standard errors to each side of the optimum; more where the path comes from farther away.
    points : int, optional
        Points in each direction.

    Returns
    -------
    Surface

    Raises
    ------
    ArgumentError
        Unknown or equal parameters, or a model with a single parameter.
    NotAvailableError
        If the path of this fit does not lie on the exact objective.
    """
    objective = _Objective(fit)
    pair = _pair(objective.names, fit, parameters)
    if others not in ("optimum", "profiled"):
        raise ArgumentError(f"others must be 'optimum' or 'profiled', not {others!r}", others=others)
    if not 0.0 < reach < np.inf:
        raise ArgumentError(f"reach must be a positive number of standard errors, not {reach!r}", reach=reach)
    hessian = _hessian(fit, objective)
    m = points or (SLICE_POINTS if others == "optimum" else PROFILE_POINTS)
    x, y = (_range(fit, objective, hessian, i, reach, m) for i in pair)
    rest = [i for i in range(objective.optimum.size) if i not in pair] if others == "profiled" else []
    with blas_threads(fit.settings["control"].threads):
        height = np.array([_row_of_heights(objective, hessian, x, second, pair, rest) for second in y])
    names = (objective.names[pair[0]], objective.names[pair[1]])
    return Surface(names, x, y, height, objective.optimum[pair])


def _row_of_heights(
    objective: _Objective, hessian: FloatArray, x: FloatArray, y: float, pair: list[int], rest: list[int]
) -> list[float]:
    """Heights at all x for one y, the elements ``rest`` optimised out."""
    psi, heights = objective.optimum.copy(), []
    for value in x:
        psi[pair] = value, y
        heights.append(_minimise_others(objective, hessian, psi, pair, rest) if rest else objective.height(psi))
    return heights


def _pair(names: Sequence[str], fit: FittedModel, chosen: Sequence[str] | None) -> list[int]:
    """Positions of the two parameters."""
    if len(names) < 2:
        raise ArgumentError(f"the objective of this model has one parameter only, {names[0]}; a plane takes two")
    if chosen is None:
        second = fit.problem.n_par if len(names) > fit.problem.n_par else 1
        return [0, second]
    if isinstance(chosen, str) or len(chosen) != 2 or chosen[0] == chosen[1]:
        raise ArgumentError(f"parameters must be two different ones of {', '.join(names)}, not {chosen!r}")
    for name in chosen:
        if name not in names:
            raise ArgumentError(f"no parameter {name!r}; there are: {', '.join(names)}", parameter=name)
    return [list(names).index(name) for name in chosen]


def _hessian(fit: FittedModel, objective: _Objective) -> FloatArray:
    """Hessian of the fit; a diagonal one of unit standard errors where there is none."""
    size = objective.optimum.size
    known = fit.optimum.hessian
    if known is None or known.shape != (size, size) or not np.isfinite(known).all():
        return 2.0 * np.eye(size)
    values, vectors = np.linalg.eigh(known)
    return np.asarray((vectors * np.maximum(values, 1e-6 * values.max())) @ vectors.T)


def _range(
    fit: FittedModel, objective: _Objective, hessian: FloatArray, i: int, reach: float, points: int
) -> FloatArray:
    """Grid of one parameter: a few standard errors around its estimate, and the path as far as it is not too far."""
    name, at = objective.names[i], objective.optimum[i]
    se = float(np.sqrt(2.0 * np.linalg.inv(hessian)[i, i]))
    visited = fit.trace.evaluations.get(name, pd.Series(dtype=float)).dropna().to_numpy()
    low, high = (edge(np.append(visited, at)) for edge in (np.min, np.max))
    farthest = max(FARTHEST, reach)
    low = max(min(low - 0.5 * se, at - reach * se), at - farthest * se, objective.lower[i])
    high = min(max(high + 0.5 * se, at + reach * se), at + farthest * se)
    return np.linspace(low, high, points)


def _minimise_others(
    objective: _Objective, hessian: FloatArray, psi: FloatArray, pair: list[int], rest: list[int]
) -> float:
    """Height minimised over the elements ``rest`` of psi, which are moved to where it is lowest.

    The search starts from where they are (their place at the point before), or from where the quadratic around the
    optimum has its ridge, whichever is lower.
    """
    from scipy.optimize import minimize

    inner = hessian[np.ix_(rest, rest)]
    root = np.linalg.inv(np.linalg.cholesky(inner)).T  # makes the quadratic round
    away = psi[pair] - objective.optimum[pair]
    ridge = objective.optimum[rest] - np.linalg.solve(inner, hessian[np.ix_(rest, pair)] @ away)

    def at(values: FloatArray) -> tuple[float, FloatArray]:
        psi[rest] = values
        return objective.slope(psi)

    before = psi[rest].copy()
    start = before if at(before)[0] < at(ridge)[0] else ridge

    def along(w: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = at(start + root @ w)
        return value, root.T @ gradient[rest]

    found = minimize(along, np.zeros(len(rest)), jac=True, method="L-BFGS-B", options={"ftol": 1e-9, "gtol": 1e-4})
    psi[rest] = start + root @ found.x
    return float(found.fun) if found.fun < WALL else np.nan


def plot_path(
    fit: FittedModel,
    parameters: Sequence[str] | None = None,
    *,
    others: str = "optimum",
    reach: float = NEAREST,
    points: int | None = None,
    ax: Any = None,
) -> Axes:
    """Draw the evaluations that led to the optimum on contours of the objective over two parameters.

    Parameters
    ----------
    fit, parameters, others, reach, points
        As in :func:`objective_surface`.
    ax : Axes, optional
        A new figure by default.

    Returns
    -------
    Axes
    """
    surface = objective_surface(fit, parameters, others=others, reach=reach, points=points)
    panels, figure = panel_grid(1, ax, width=6.4, height=5.0)
    panel = panels[0]
    _draw_contours(panel, surface)
    evaluations = fit.trace.evaluations
    handles = [*_draw_ticks(panel, surface, evaluations), *_draw_path(panel, surface, evaluations)]
    panel.set_xlim(surface.x[0], surface.x[-1])
    panel.set_ylim(surface.y[0], surface.y[-1])
    tidy(panel)
    panel.grid(False)
    panel.set_xlabel(surface.names[0], fontsize=MEDIUM)
    panel.set_ylabel(surface.names[1], fontsize=MEDIUM)
    labels = [handle.get_label() for handle in handles]
    if figure is None:
        panel.legend(handles, labels, fontsize=SMALL, frameon=False)
    else:
        what = "REML criterion" if fit.reml else "-2 log L"
        state = "the others at their optimum" if others == "optimum" else "the others optimised out"
        title_figure(figure, f"The way to the optimum: {what} above that of the fit, {state}")
        legend_below(figure, handles, labels, 2)
    return panel


def _draw_contours(ax: Axes, surface: Surface) -> None:
    """Filled contours on a scale of powers of two, with their heights written on them."""
    from matplotlib import colormaps

    height = np.ma.masked_invalid(surface.height)
    top, bottom = (int(np.searchsorted(HEIGHTS, float(extreme))) + 1 for extreme in (height.max(), -height.min()))
    # Below zero only where there is another minimum, lower than that of the fit.
    below = [-depth for depth in HEIGHTS[:bottom][::-1]] if height.min() < -LOWER else []
    levels = [*below, 0.0, *HEIGHTS[: max(top, 2)]]
    shades = [colormaps["Blues_r"](share) for share in np.linspace(0.35, 0.98, len(levels))]
    ax.contourf(surface.x, surface.y, height, levels=levels, colors=shades, extend="max", zorder=0, alpha=0.75)
    lines = ax.contour(surface.x, surface.y, height, levels=levels[1:], colors="white", linewidths=0.8, zorder=1)
    lines.set_linestyle("solid")
    ax.clabel(lines, fmt=lambda value: f"{value:g}", fontsize=SMALL - 1.0, colors=DARK)


def _draw_ticks(ax: Axes, surface: Surface, evaluations: pd.DataFrame) -> list[Any]:
    """Evaluations of a stage that moves one of the two parameters only."""
    from matplotlib.lines import Line2D

    first, second = (evaluations.get(name, pd.Series(np.nan, evaluations.index)) for name in surface.names)
    style: dict[str, Any] = {"color": GREY, "linestyle": "", "markersize": 16, "markeredgewidth": 1.6, "zorder": 4}
    x, y = first[second.isna()].dropna(), second[first.isna()].dropna()
    if x.empty and y.empty:
        return []
    ax.plot(x, np.full(len(x), surface.y[0]), marker="|", **style)
    ax.plot(np.full(len(y), surface.x[0]), y, marker="_", **style)
    stage = ", ".join(dict.fromkeys(evaluations["stage"][first.isna() ^ second.isna()]))
    label = f"stage {stage} (moves one of the two)"
    return [Line2D([], [], marker="|", label=label, **{**style, "markersize": 9})]


def _draw_path(ax: Axes, surface: Surface, evaluations: pd.DataFrame) -> list[Any]:
    """All evaluations as dots, those that were the lowest so far joined; start and optimum."""
    from matplotlib.lines import Line2D

    handles = []
    optimum: dict[str, Any] = {"marker": "*", "color": VERMILION, "markersize": 15, "linestyle": "", "zorder": 6}
    if set(surface.names) <= set(evaluations.columns):
        path = evaluations.dropna(subset=list(surface.names))
        lowest = path[path["value"] <= path["value"].cummin()]
        dots: dict[str, Any] = {"marker": "o", "color": DARK, "linestyle": ""}
        ax.plot(*path[list(surface.names)].to_numpy().T, markersize=3.0, alpha=0.6, zorder=3, **dots)
        ax.plot(*lowest[list(surface.names)].to_numpy().T, color=DARK, linewidth=1.2, zorder=4)
        ax.plot(*path[list(surface.names)].iloc[0], markersize=7, zorder=5, markerfacecolor="white", **dots)
        count = f"{', '.join(dict.fromkeys(path['stage']))}: {len(path)} evaluations"
        handles = [
            Line2D([], [], markersize=7, markerfacecolor="white", label="first evaluation", **dots),
            Line2D([], [], color=DARK, linewidth=1.2, marker="o", markersize=3, label=count),
        ]
    ax.plot(*surface.optimum, markeredgecolor="white", **optimum)
    return [*handles, Line2D([], [], label="optimum", **optimum)]
