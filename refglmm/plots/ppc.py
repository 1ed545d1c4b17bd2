"""Posterior predictive checks: the responses beside replicates that the model draws.

Place in the reading order: in ``plots``, after ``elbo``.

=========  ===================================================================================================
``dens``   densities of the responses and of some replicates
``ecdf``   the same as distribution functions
``bars``   for counts, categories, zeros and ones: how often each value occurs, with intervals of the replicates
``stat``   one number of the responses among those of the replicates
=========  ===================================================================================================

Source: Gelman, Meng and Stern (1996); Gabry et al. (2019), section 5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refglmm.errors import ArgumentError
from refglmm.plots.chains import density, is_constant, shown_range
from refglmm.plots.residuals import finish, one_axes
from refglmm.plots.style import BLUE, DARK, legend_under

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]

KINDS = ("dens", "ecdf", "bars", "stat")
#: Replicates whose curves are drawn.
CURVES = 50
#: Most different values of a response that get a bar each.
MOST_BARS = 60
#: Of the intervals of bars.
LEVEL = 0.9
STATISTICS: dict[str, Callable[[FloatArray], Any]] = {
    "mean": np.mean,
    "sd": lambda y: np.std(y, ddof=1),
    "median": np.median,
    "min": np.min,
    "max": np.max,
    "zeros": lambda y: np.mean(y == 0.0),
}
OBSERVED: dict[str, Any] = {"color": DARK, "linewidth": 2.0, "zorder": 3}
REPLICATE: dict[str, Any] = {"color": BLUE, "linewidth": 0.6, "alpha": 0.35}


def plot_ppc(
    y: ArrayLike,
    y_rep: ArrayLike,
    kind: str | None = None,
    *,
    stat: str | Callable[[FloatArray], Any] = "mean",
    ax: Any = None,
) -> Axes:
    """Draw responses beside their replicates.

    Parameters
    ----------
    y : array, shape (n,)
        Responses.
    y_rep : array, shape (draws, n) or (chains, draws, n)
        A replicate of all responses for each posterior draw.
    kind : {"dens", "ecdf", "bars", "stat"}, optional
        "bars" for whole numbers with few different values and "dens" for others by default.
    stat : {"mean", "sd", "median", "min", "max", "zeros"} or function of a vector
        For kind="stat".
    ax : Axes, optional
        A new figure by default.

    Returns
    -------
    Axes

    Raises
    ------
    ArgumentError
        For shapes that do not go together, values that are not finite, an unknown kind or stat, or bars of responses
        that are not whole numbers.
    """
    y, y_rep = _checked(y, y_rep)
    if kind is None:
        kind = "bars" if _countable(y, y_rep) else "dens"
    if kind not in KINDS:
        raise ArgumentError(f"unknown kind {kind!r}; choose from {', '.join(KINDS)}", kind=kind)
    ax = one_axes(ax, 6.0, 4.0)
    if kind == "stat":
        return _stat(ax, y, y_rep, stat)
    {"dens": _densities, "ecdf": _distributions, "bars": _bars}[kind](ax, y, y_rep)
    legend_under(ax, 2)
    return ax


def _checked(y: ArrayLike, y_rep: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Responses, shape (n,), and replicates, shape (draws, n)."""
    try:
        responses, replicates = np.asarray(y, dtype=float), np.asarray(y_rep, dtype=float)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"y and y_rep must hold numbers: {error}") from error
    if responses.ndim != 1 or not responses.size:
        raise ArgumentError(f"y must be of shape (n,), not {responses.shape}", shape=responses.shape)
    if replicates.ndim not in (2, 3) or replicates.shape[-1] != responses.size or not replicates.size:
        raise ArgumentError(
            f"y_rep must be of shape (draws, {responses.size}), a replicate of all responses a row, "
            f"not {replicates.shape}",
            shape=replicates.shape,
        )
    for name, values in (("y", responses), ("y_rep", replicates)):
        if not np.isfinite(values).all():
            raise ArgumentError(f"{name} has {np.sum(~np.isfinite(values))} values that are not finite", argument=name)
    return responses, replicates.reshape(-1, responses.size)


def _countable(y: FloatArray, y_rep: FloatArray) -> bool:
    """Whether all are whole numbers, and few different ones."""
    low, high = _window(y, y_rep)
    return _whole(y) and _whole(y_rep) and high - low < MOST_BARS


def _whole(values: FloatArray) -> bool:
    return bool(np.all(values == np.round(values)))


def _some(y_rep: FloatArray) -> FloatArray:
    """Evenly spaced replicates."""
    return y_rep[np.unique(np.linspace(0, len(y_rep) - 1, min(CURVES, len(y_rep))).astype(int))]


def _window(y: FloatArray, y_rep: FloatArray) -> tuple[float, float]:
    """The axis shows all responses, and those replicates that do not lie far out."""
    low, high, _ = shown_range(y_rep.ravel())
    return min(low, float(y.min())), max(high, float(y.max()))


def _densities(ax: Axes, y: FloatArray, y_rep: FloatArray) -> None:
    ends = _window(y, _some(y_rep))
    for r, row in enumerate(_some(y_rep)):
        _curve(ax, row, ends, **REPLICATE, label="replicates" if r == 0 else None)
    _curve(ax, y, ends, **OBSERVED, label="responses")
    ax.set_xlim(*ends)
    ax.set_ylim(bottom=0.0)
    finish(ax, "Densities of responses and replicates", "response", "")
    ax.tick_params(left=False, labelleft=False)
    ax.grid(False, axis="y")


def _curve(ax: Axes, values: FloatArray, ends: tuple[float, float], **style: Any) -> None:
    if is_constant(values):
        ax.axvline(float(values[0]), **style)
    else:
        ax.plot(*density(values, *ends), **style)


def _distributions(ax: Axes, y: FloatArray, y_rep: FloatArray) -> None:
    share = np.arange(1, y.size + 1) / y.size
    for r, row in enumerate(_some(y_rep)):
        ax.step(np.sort(row), share, where="post", **REPLICATE, label="replicates" if r == 0 else None)
    ax.step(np.sort(y), share, where="post", **OBSERVED, label="responses")
    ax.set_xlim(*_window(y, _some(y_rep)))
    ax.set_ylim(0.0, 1.02)
    finish(ax, "Distribution functions of responses and replicates", "response", "share at or below")


def _bars(ax: Axes, y: FloatArray, y_rep: FloatArray) -> None:
    if not (_whole(y) and _whole(y_rep)):
        raise ArgumentError("bars are for responses that are whole numbers; use kind='dens' or kind='ecdf'")
    if not _countable(y, y_rep):
        raise ArgumentError(f"more than {MOST_BARS} different values are too many for bars; use kind='ecdf'")
    low, high = _window(y, y_rep)
    values = np.arange(np.ceil(low), np.floor(high) + 1.0)
    counts = np.array([np.sum(y_rep == value, axis=1) for value in values])
    lower, middle, upper = np.quantile(counts, [(1.0 - LEVEL) / 2.0, 0.5, (1.0 + LEVEL) / 2.0], axis=1)
    observed = [np.sum(y == value) for value in values]
    ax.bar(values, observed, width=0.85, color="#C9C9C9", label="responses")
    ax.errorbar(values, middle, yerr=[middle - lower, upper - middle], fmt="o", color=BLUE, markersize=4.5,
                elinewidth=1.6, label=f"replicates: median, {100 * LEVEL:g} % interval")  # fmt: skip
    ax.set_ylim(0.0, 1.06 * max(float(upper.max()), float(np.max(observed))))
    ax.locator_params(axis="x", integer=True)
    finish(ax, "Counts of responses and replicates", "response", "rows")


def _stat(ax: Axes, y: FloatArray, y_rep: FloatArray, stat: str | Callable[[FloatArray], Any]) -> Axes:
    if isinstance(stat, str) and stat not in STATISTICS:
        raise ArgumentError(
            f"unknown stat {stat!r}; choose from {', '.join(STATISTICS)}, or give a function", stat=stat
        )
    function = STATISTICS[stat] if isinstance(stat, str) else stat
    if not callable(function):
        raise ArgumentError(f"stat must be a name or a function of a vector, not {stat!r}", stat=stat)
    name = stat if isinstance(stat, str) else getattr(stat, "__name__", "statistic")
    observed, values = float(function(y)), np.array([float(function(row)) for row in y_rep])
    above = float(np.mean(values > observed) + 0.5 * np.mean(values == observed))
    ax.hist(values, bins=int(np.clip(np.sqrt(values.size), 5, 40)), color=BLUE, alpha=0.7, edgecolor="white",
            label="replicates")  # fmt: skip
    ax.axvline(observed, **OBSERVED, label="responses")
    legend_under(ax, 2)
    return finish(ax, f"{name} of replicates; share above that of the responses: {above:.3g}", name, "replicates")
