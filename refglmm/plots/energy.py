r"""The energy of a Hamiltonian sampler: its distribution, and how far one transition changes it.

Place in the reading order: in ``plots``, after ``rank``. A fresh momentum can change the energy only so much; where
the energies E of the draws spread much wider than their steps, the sampler moves through the tails slowly. In numbers,

.. math:: \text{E-BFMI} = \sum_s (E_s - E_{s-1})^2 \Big/ \sum_s (E_s - \bar E)^2

for each chain; below 0.3 is a warning. Source: Betancourt (2016), "Diagnosing suboptimal cotangent disintegrations".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.inference.draw_formulas import energy_fraction
from refglmm.plots.chains import chosen_draws, density, is_constant, shown_range, statistic
from refglmm.plots.residuals import finish, one_axes
from refglmm.plots.style import BLUE, DARK, SMALL, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]

#: E-BFMI below which the tails are explored too slowly.
LOW = 0.3


def plot_energy(source: Any, *, ax: Any = None) -> Axes:
    """Draw the densities of the energy (centred chain by chain) and of its changes from draw to draw.

    Parameters
    ----------
    source : Draws, or a result that has draws
        With the statistic ``energy``.
    ax : Axes, optional
        A new figure by default.

    Returns
    -------
    Axes

    Raises
    ------
    ArgumentError
        If the source has no draws, or no energies (only Hamiltonian samplers report them).
    """
    energy = np.asarray(statistic(chosen_draws(source, picture="plot_energy"), "energy"), dtype=float)
    if energy.shape[1] < 3 or not np.isfinite(energy).all():
        raise ArgumentError("plot_energy needs finite energies of at least 3 draws a chain")
    ax = one_axes(ax, 6.0, 4.0)
    centred = (energy - energy.mean(axis=1, keepdims=True)).ravel()
    steps = np.diff(energy, axis=1).ravel()
    for values, colour, label in ((centred, BLUE, "energy, centred"), (steps, VERMILION, "change of energy")):
        _curve(ax, values, colour, label)
    fractions = [np.nan if is_constant(chain) else float(energy_fraction(chain)) for chain in energy]
    lines = [f"chain {c}: {value:.2f}{'  low' if value < LOW else ''}" for c, value in enumerate(fractions, start=1)]
    ax.text(0.98, 0.97, "\n".join(["E-BFMI", *lines]), transform=ax.transAxes, ha="right", va="top", fontsize=SMALL,
            color=DARK, linespacing=1.35)  # fmt: skip
    ax.set_ylim(bottom=0.0)
    finish(ax, "Energy and its changes from draw to draw", "", "")
    ax.tick_params(left=False, labelleft=False)
    ax.grid(False, axis="y")
    ax.legend(loc="upper left", fontsize=SMALL, frameon=False)
    return ax


def _curve(ax: Axes, values: FloatArray, colour: str, label: str) -> None:
    if is_constant(values):
        ax.axvline(float(values[0]), color=colour, label=label)
        return
    low, high, _ = shown_range(values)
    x, height = density(values, low, high)
    ax.plot(x, height, color=colour, linewidth=1.8, label=label)
    ax.fill_between(x, height, color=colour, alpha=0.14, linewidth=0)
