"""Rank plots: a histogram and the distribution function of each quantity's ranks, a figure for each pair.

Place in the reading order: after ``uniformity``. Grey is where the curve lies, for all ranks at once, nineteen times in
twenty if the ranks are uniform, and where a bar lies nineteen times in twenty, each for itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refglmm.plots.style import BAND, BLUE, CURVE, GREY, MEDIUM, SMALL, tidy
from validation.calibration.plot import new_figure, save
from validation.sbc.uniformity import BINS, band, counts_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Probability with which correct ranks stay inside the grey.
INSIDE = 0.95


def file_name(pair: str) -> str:
    """Of the picture of a pair."""
    return f"ranks_{pair.replace(',', '').replace(' ', '_')}.png"


def draw(found: dict[str, Any], L: int, file: Path) -> None:
    """Two panels a quantity: histogram above, distribution function minus the diagonal below."""
    ranks = np.array(found["ranks"])
    names = found["names"]
    figure = new_figure(2.1 * len(names) + 0.6, 3.9)
    panels = figure.subplots(2, len(names), squeeze=False, sharex="row", sharey="row")
    for k, name in enumerate(names):
        _histogram(panels[0, k], ranks[:, k], L)
        _difference(panels[1, k], ranks[:, k], L)
        panels[0, k].set_title(name, loc="left", fontsize=MEDIUM, fontweight="bold")
        panels[1, k].set_xlabel(f"rank among {L}", fontsize=SMALL)
    panels[0, 0].set_ylabel("data sets", fontsize=SMALL)
    panels[1, 0].set_ylabel("share below, minus\nexpected share", fontsize=SMALL)
    save(figure, file)


def _histogram(ax: Axes, ranks: Any, L: int) -> None:
    from scipy.stats import binom

    tidy(ax)
    N = len(ranks)
    ax.axhspan(*binom.ppf([0.5 - 0.5 * INSIDE, 0.5 + 0.5 * INSIDE], N, 1.0 / BINS), **BAND)
    ax.axhline(N / BINS, color=GREY, linewidth=1)
    width = (L + 1) // BINS
    counts = np.bincount(ranks // width, minlength=BINS)
    ax.bar(width * (np.arange(BINS) + 0.5), counts, width, color=BLUE, alpha=0.75, edgecolor="white", linewidth=0.4)
    ax.set_xlim(0, L + 1)


def _difference(ax: Axes, ranks: Any, L: int) -> None:
    tidy(ax)
    N, at = len(ranks), np.arange(1, L + 1)
    low, high = band(N, L, 1.0 - INSIDE)
    ax.fill_between(at, low - at / (L + 1), high - at / (L + 1), **BAND)
    ax.axhline(0.0, color=GREY, linewidth=1)
    ax.plot(at, counts_below(ranks, L) / N - at / (L + 1), **CURVE | {"linewidth": 1.4})
    ax.set_xlim(0, L + 1)
