"""Pictures: each function takes a fit and returns matplotlib Axes.

Reading order: ``style`` (colours, grids of panels), ``integrands`` (what the Laplace approximation leaves
out), ``caterpillar`` (random effects with their intervals), ``profile`` (zeta, densities, pairs), ``intervals``
(methods side by side). No function shows or saves anything:
``axes[0].figure.savefig`` does.
"""

from __future__ import annotations

from refglmm.plots.caterpillar import plot_caterpillar
from refglmm.plots.integrands import (
    IntegrandProfile,
    integrand_profile,
    plot_departures,
    plot_integrands,
    plot_ratio,
)
from refglmm.plots.intervals import plot_intervals
from refglmm.plots.profile import plot_density, plot_pairs, plot_zeta

__all__ = [
    "IntegrandProfile",
    "integrand_profile",
    "plot_caterpillar",
    "plot_density",
    "plot_departures",
    "plot_integrands",
    "plot_intervals",
    "plot_pairs",
    "plot_ratio",
    "plot_zeta",
]
