"""Pictures: each function takes a fit (or a result of one) and returns matplotlib Axes.

Reading order: ``style`` (colours, grids of panels), ``choices`` (factors, variables and labels), ``integrands`` (what
the Laplace approximation leaves out), ``caterpillar`` (random effects with their intervals), ``groups`` (the data,
group by group), ``qq`` (random effects against normal quantiles), ``shrinkage`` (no, partial and complete pooling),
``prediction`` (curves with ribbons), ``surface`` (the optimiser's path on contours of the objective), ``profile``
(zeta, densities, pairs), ``bootstrap`` (replicates), ``intervals`` (methods side by side), ``effects`` (means,
comparisons, conditional effects), ``residuals``, ``simulated`` (quantile residuals), ``influence``, ``check`` (all of
them in one panel). Of posterior draws: ``chains`` (what these pictures share), ``dens``, ``trace``, ``acf``,
``forest``, ``pairs``, ``rank``, ``energy``, ``elbo``, ``ppc`` (replicates), ``rhat``, ``khat``, ``transition`` (one
step of the no-U-turn sampler). No function shows or saves anything: ``axes[0].figure.savefig`` does.
"""

from __future__ import annotations

from refglmm.plots.acf import plot_acf
from refglmm.plots.bootstrap import plot_bootstrap
from refglmm.plots.caterpillar import plot_caterpillar
from refglmm.plots.check import plot_check
from refglmm.plots.dens import plot_dens
from refglmm.plots.effects import plot_conditional_effects, plot_contrasts, plot_lsmeans
from refglmm.plots.elbo import plot_elbo
from refglmm.plots.energy import plot_energy
from refglmm.plots.forest import plot_forest
from refglmm.plots.groups import plot_groups
from refglmm.plots.influence import plot_influence
from refglmm.plots.integrands import (
    IntegrandProfile,
    integrand_profile,
    plot_departures,
    plot_integrands,
    plot_ratio,
)
from refglmm.plots.intervals import plot_intervals
from refglmm.plots.khat import plot_khat
from refglmm.plots.pairs import plot_pairs
from refglmm.plots.ppc import plot_ppc
from refglmm.plots.prediction import plot_predictions, prediction_grid
from refglmm.plots.profile import plot_density, plot_zeta
from refglmm.plots.qq import plot_ranef_qq
from refglmm.plots.rank import plot_rank
from refglmm.plots.residuals import (
    plot_binned_residuals,
    plot_residual_panel,
    plot_residual_qq,
    plot_residuals,
    plot_scale_location,
)
from refglmm.plots.rhat import plot_rhat
from refglmm.plots.shrinkage import plot_shrinkage
from refglmm.plots.simulated import plot_simulated_against, plot_simulated_qq, plot_simulated_residuals
from refglmm.plots.surface import objective_surface, plot_path
from refglmm.plots.trace import plot_trace
from refglmm.plots.transition import plot_transition

__all__ = [
    "IntegrandProfile",
    "integrand_profile",
    "objective_surface",
    "plot_acf",
    "plot_binned_residuals",
    "plot_bootstrap",
    "plot_caterpillar",
    "plot_check",
    "plot_conditional_effects",
    "plot_contrasts",
    "plot_dens",
    "plot_density",
    "plot_departures",
    "plot_elbo",
    "plot_energy",
    "plot_forest",
    "plot_groups",
    "plot_influence",
    "plot_integrands",
    "plot_intervals",
    "plot_khat",
    "plot_lsmeans",
    "plot_pairs",
    "plot_path",
    "plot_ppc",
    "plot_predictions",
    "plot_ranef_qq",
    "plot_rank",
    "plot_ratio",
    "plot_residual_panel",
    "plot_residual_qq",
    "plot_residuals",
    "plot_rhat",
    "plot_scale_location",
    "plot_shrinkage",
    "plot_simulated_against",
    "plot_simulated_qq",
    "plot_simulated_residuals",
    "plot_trace",
    "plot_transition",
    "plot_zeta",
    "prediction_grid",
]
