"""R-hat and effective sample sizes of many quantities at a glance.

Place in the reading order: in ``plots``, after ``ppc``. Nothing is computed here: the numbers are those of a summary
table. Dashed lines are the thresholds of the diagnostics: 1.01 and 1.05 for R-hat, 400 and 100 for sizes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.plots.style import BLUE, DARK, MEDIUM, REFERENCE, SMALL, panel_grid, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]

RHAT_LIMITS = (1.01, 1.05)
ESS_LIMITS = (400.0, 100.0)
#: So many of the worst quantities are named.
NAMED = 3


def plot_rhat(rhat: Any, ess: Any = None, *, ax: Any = None) -> np.ndarray:
    """Draw histograms of R-hat and, if there are any, of effective sample sizes.

    Parameters
    ----------
    rhat : DataFrame or array-like, shape (k,)
        A summary table with the columns ``rhat`` and, if it has them, ``ess_bulk`` and ``ess_tail``; or R-hat alone
        (a Series gives the quantities their names).
    ess : array-like, shape (k,), optional
        Effective sample sizes, where ``rhat`` is no table.
    ax : Axes or array of Axes, optional
        As many as there are histograms; a new figure by default.

    Returns
    -------
    array of Axes

    Raises
    ------
    ArgumentError
        For a table without ``rhat``, lengths that differ, or no finite R-hat.
    """
    columns = _columns(rhat, ess)
    panels, _ = panel_grid(len(columns), ax, width=4.2, height=3.2, share_x=False, share_y=False)
    for panel, (name, values) in zip(panels, columns.items(), strict=True):
        if name == "rhat":
            _histogram(panel, values, RHAT_LIMITS, "R-hat", worst_is_high=True)
        else:
            _histogram(panel, values, ESS_LIMITS, f"effective sample size ({name})", worst_is_high=False)
    panels[0].set_ylabel("quantities", fontsize=MEDIUM)
    return panels


def _columns(rhat: Any, ess: Any) -> dict[str, pd.Series]:
    """The numbers of each histogram, labelled."""
    if isinstance(rhat, pd.DataFrame):
        if ess is not None:
            raise ArgumentError("ess is for R-hat as an array; a table has its own columns ess_bulk and ess_tail")
        if "rhat" not in rhat:
            raise ArgumentError(f"the table has no column 'rhat'; it has {', '.join(map(str, rhat.columns))}")
        given = {name: rhat[name] for name in ("rhat", "ess_bulk", "ess_tail") if name in rhat}
    else:
        given = {"rhat": rhat} | ({} if ess is None else {"ess": ess})
    try:
        columns = {name.removeprefix("ess_"): pd.Series(values, dtype=float) for name, values in given.items()}
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"plot_rhat takes a summary table or R-hat as numbers: {error}") from error
    if len({len(column) for column in columns.values()}) > 1:
        raise ArgumentError(f"there are {len(columns['rhat'])} values of R-hat and {len(columns['ess'])} of ess")
    empty = [name for name, column in columns.items() if not np.isfinite(column).any()]
    if empty:
        raise ArgumentError(f"{empty[0]} holds no finite number", column=empty[0])
    return columns


def _histogram(ax: Axes, values: pd.Series, limits: tuple[float, float], label: str, *, worst_is_high: bool) -> None:
    """One histogram with thresholds, how many lie beyond the first, and the names of the worst."""
    finite = values[np.isfinite(values)]
    worst = _beyond(finite.sort_values(ascending=not worst_is_high), limits[0], worst_is_high)
    ax.hist(finite, bins=int(np.clip(np.sqrt(len(finite)) * 2, 8, 40)), color=BLUE, alpha=0.75, edgecolor="white")
    for limit in limits[: 2 if worst.size else 1]:
        ax.axvline(limit, **REFERENCE)
    low, high = ax.get_xlim()
    ax.set_xlim((min(low, 0.998), high) if worst_is_high else (0.0, high))
    title = f"{len(worst)} of {len(values)} {'above' if worst_is_high else 'below'} {limits[0]:g}"
    if len(finite) < len(values):
        title += f", {len(values) - len(finite)} not finite"
    ax.set_title(title, fontsize=MEDIUM, loc="left", pad=4)
    lines = [f"{name}: {value:.4g}" for name, value in worst.iloc[:NAMED].items()]
    ax.text(0.98, 0.97, "\n".join(lines), transform=ax.transAxes, ha="right", va="top", fontsize=SMALL, color=DARK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2.0})  # fmt: skip
    ax.set_xlabel(label, fontsize=MEDIUM)
    ax.locator_params(nbins=5)
    ax.set_ylim(top=1.15 * ax.get_ylim()[1])
    tidy(ax)


def _beyond(values: pd.Series, limit: float, worst_is_high: bool) -> pd.Series:
    return values[values > limit] if worst_is_high else values[values < limit]
