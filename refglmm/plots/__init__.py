"""Pictures: each function takes a fit and returns matplotlib Axes.

Reading order: ``style`` (colours, grids of panels), ``integrands`` (what the Laplace approximation leaves
out), ``caterpillar`` (random effects with their intervals), ``effects`` (means, comparisons, conditional
effects). No function shows or saves anything: ``axes[0].figure.savefig`` does.
"""

from __future__ import annotations

from refglmm.plots.caterpillar import plot_caterpillar
from refglmm.plots.effects import plot_conditional_effects, plot_contrasts, plot_lsmeans
from refglmm.plots.integrands import (
    IntegrandProfile,
    integrand_profile,
    plot_departures,
    plot_integrands,
    plot_ratio,
)

__all__ = [
    "IntegrandProfile",
    "integrand_profile",
    "plot_caterpillar",
    "plot_conditional_effects",
    "plot_contrasts",
    "plot_departures",
    "plot_integrands",
    "plot_lsmeans",
    "plot_ratio",
]
