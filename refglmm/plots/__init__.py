"""Pictures: each function takes a fit and returns matplotlib Axes.

Reading order: ``style`` (colours, grids of panels), ``integrands`` (what the Laplace approximation leaves
out), ``caterpillar`` (random effects with their intervals), ``residuals``, ``simulated`` (quantile residuals),
``influence``, ``check`` (all of them in one panel). No function shows or saves anything:
``axes[0].figure.savefig`` does.
"""

from __future__ import annotations

from refglmm.plots.caterpillar import plot_caterpillar
from refglmm.plots.check import plot_check
from refglmm.plots.influence import plot_influence
from refglmm.plots.integrands import (
    IntegrandProfile,
    integrand_profile,
    plot_departures,
    plot_integrands,
    plot_ratio,
)
from refglmm.plots.residuals import (
    plot_binned_residuals,
    plot_residual_panel,
    plot_residual_qq,
    plot_residuals,
    plot_scale_location,
)
from refglmm.plots.simulated import plot_simulated_against, plot_simulated_qq, plot_simulated_residuals

__all__ = [
    "IntegrandProfile",
    "integrand_profile",
    "plot_binned_residuals",
    "plot_caterpillar",
    "plot_check",
    "plot_departures",
    "plot_influence",
    "plot_integrands",
    "plot_ratio",
    "plot_residual_panel",
    "plot_residual_qq",
    "plot_residuals",
    "plot_scale_location",
    "plot_simulated_against",
    "plot_simulated_qq",
    "plot_simulated_residuals",
]
