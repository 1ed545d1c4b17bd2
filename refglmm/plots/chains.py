r"""What the pictures of draws share: whose draws and which quantities, colours of chains, densities, autocorrelations.

Place in the reading order: in ``plots``, after ``choices``. Pictures of draws take ``Draws`` of the Bayesian layer or
any result that has them as ``.draws``; that layer comes later in the reading order.

The density of draws is a Gaussian kernel estimate with Silverman's bandwidth

.. math:: h = 0.9 \min(s, \mathrm{IQR}/1.34)\, n^{-1/5},

reflected at the least and the largest draw, so that none of it lies where there are no draws (below a standard
deviation of zero). Source: Silverman (1986), sections 2.10 and 3.4.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.inference.draw_formulas import autocovariance, silverman_bandwidth
from refglmm.plots.style import DASHES, GREY, MEDIUM, legend_below, many_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from refglmm.bayes.draws import Draws

FloatArray = NDArray[np.float64]

#: Points of a density curve.
GRID = 256
#: Axes reach beyond this central share of the draws ...
SHOWN = 0.95
#: ... by at most so many times its width: 5 standard deviations from the middle of a normal distribution.
REACH = 0.75
#: Panels beyond which a figure cannot be read.
MOST_PANELS = 60


def chosen_draws(source: Any, pars: Any = None, *, most: int = MOST_PANELS, picture: str = "this picture") -> Draws:
    """The draws of a source, of the quantities asked for.

    Raises
    ------
    ArgumentError
        If the source has no draws, there are more than ``most`` quantities, or a draw is not finite.
    """
    draws = getattr(source, "draws", source)
    if not (hasattr(draws, "select") and hasattr(draws, "names") and np.ndim(getattr(draws, "values", 0)) == 3):
        raise ArgumentError(
            f"{picture} takes Draws or a result that has draws (a sampled fit), not {type(source).__name__}"
        )
    draws = draws.select(pars)
    if len(draws.names) > most:
        raise ArgumentError(
            f"{picture} has room for {most} quantities, but {len(draws.names)} are asked for; choose with pars=",
            quantities=len(draws.names),
        )
    for k, name in enumerate(draws.names):
        bad = np.argwhere(~np.isfinite(draws.values[:, :, k]))
        if bad.size:
            chain, draw = bad[0] + 1
            raise ArgumentError(f"{name} is not finite in chain {chain}, draw {draw}", name=name)
    if not len(draws):
        raise ArgumentError(f"{picture} needs draws; there are none")
    return draws


def statistic(draws: Draws, name: str) -> NDArray[Any]:
    """A statistic of the sampler, shape (chains, draws); an error that names those there are."""
    if name not in draws.stats:
        known = ", ".join(draws.stats) or "none"
        raise ArgumentError(f"these draws have no statistic {name!r}, which a sampler reports (there are: {known})")
    return draws.stats[name]


def divergences(draws: Draws) -> NDArray[np.bool_]:
    """Which transitions diverged, shape (chains, draws); none where the draws do not come from a sampler."""
    if "divergent" not in draws.stats:
        return np.zeros(draws.values.shape[:2], dtype=bool)
    return draws.stats["divergent"].astype(bool)


def chain_styles(n: int, mono: bool = False) -> list[dict[str, Any]]:
    """Colour and dashes of n chains: colours and full lines, or greys with dashes."""
    if mono:
        shades = np.linspace(0.0, 0.6, n)
        return [{"color": str(shade), "linestyle": DASHES[c % len(DASHES)]} for c, shade in enumerate(shades)]
    return [{"color": colour, "linestyle": "-"} for colour in many_colours(n)]


def chain_legend(figure: Figure | None, n: int, mono: bool = False) -> None:
    """Name the chains, counted from 1, below the panels of a figure of our own; nothing to name for a single one."""
    if figure is None or n < 2:
        return
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], linewidth=2.0, **style) for style in chain_styles(n, mono)]
    legend_below(figure, handles, [f"chain {c}" for c in range(1, n + 1)], min(n, 6))


def shown_range(values: FloatArray) -> tuple[float, float, int]:
    """Ends of an axis for draws, and how many draws lie outside.

    The central 95 per cent and what lies within three quarters of their width of them: that is all draws, unless the
    tails are heavy.
    """
    low, high = float(values.min()), float(values.max())
    inner_low, inner_high = (float(q) for q in np.quantile(values, [(1.0 - SHOWN) / 2.0, (1.0 + SHOWN) / 2.0]))
    reach = REACH * (inner_high - inner_low)
    if reach > 0.0:
        low, high = max(low, inner_low - reach), min(high, inner_high + reach)
    outside = int(np.sum((values < low) | (values > high)))
    return low, high, outside


def note_outside(ax: Axes, outside: int, total: int) -> None:
    """Say in the corner of a panel that it does not show all draws."""
    if outside:
        ax.set_title(f"{outside} of {total} outside", fontsize=MEDIUM - 2.5, loc="right", pad=3, color=GREY)


def bandwidth(values: FloatArray) -> float:
    """Silverman's bandwidth; 0 for draws that are all the same."""
    return float(silverman_bandwidth(values)) if values.size > 1 else 0.0


def density(values: FloatArray, low: float | None = None, high: float | None = None) -> tuple[FloatArray, FloatArray]:
    """Places and kernel density of draws, each of shape (256,).

    Parameters
    ----------
    values : float array, shape (m,)
        Not all equal.
    low, high : float, optional
        Where the places begin and end; by default, and at most, the least and the largest draw.
    """
    least, largest = float(values.min()), float(values.max())
    x = np.linspace(least if low is None else max(low, least), largest if high is None else min(high, largest), GRID)
    h = bandwidth(values)
    places = np.concatenate([x, 2.0 * least - x, 2.0 * largest - x])
    # Place by place: all pairs of places and draws at once would fill the memory of a long run.
    heights = np.array([np.sum(np.exp(-0.5 * ((place - values) / h) ** 2)) for place in places])
    return x, heights.reshape(3, -1).sum(axis=0) / (values.size * h * np.sqrt(2.0 * np.pi))


def is_constant(values: FloatArray) -> bool:
    """Whether draws do not move at all, up to rounding."""
    return bool(np.ptp(values) <= 1e-12 * np.max(np.abs(values), initial=0.0))


def autocorrelation(values: FloatArray, lags: int) -> FloatArray:
    r"""Autocorrelations :math:`\hat\rho_0, \ldots, \hat\rho_{lags}` of one chain, by FFT; nan if it is constant.

    .. math:: \hat\rho_t = \sum_{s} (x_s - \bar x)(x_{s+t} - \bar x) \Big/ \sum_s (x_s - \bar x)^2
    """
    if is_constant(values):
        return np.full(lags + 1, np.nan)
    covariance = autocovariance(values)[: lags + 1]
    return covariance / covariance[0]
