"""The glmer paper, section 5.1: cattle pneumonia in 15 herds, from the data to the last figure.

Run it with ``python docs/examples/glmer_paper_cbpp.py [--out DIR] [--nsim N]``. The paper analyses a corrected copy of
these data with two covariates more; this follows its steps on the data set ``cbpp`` that every copy of lme4 carries,
whose figures are published as well.
"""

from __future__ import annotations

import sys

import pandas as pd
from worked import Example, heading, say, show

import refglmm as rg
from refglmm.inference.confint import interval_table
from refglmm.inference.reduced import without_random

FORMULA = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


def the_data(example: Example) -> tuple[pd.DataFrame, rg.FittedModel]:
    """Incidence by period and herd, and the model of the paper."""
    data = rg.datasets.load("cbpp")
    heading("1. The data and the model")
    say("""Serological incidence of contagious bovine pleuropneumonia: new cases among the animals of 15 herds in
        four quarters. Figure 4 joins the observations of each herd.""")
    fit = example.fit(FORMULA, data, "cbpp")
    example.picture(fit.plot_groups("period"), "figure04_incidence")
    show(fit.summary())
    say("""Everything above is converged fully. In mode='lme4' the inner iterations stop where lme4 stops, which gives
        the printed digits.""")
    example.compare_fit("cbpp-laplace-lme4", example.fit(FORMULA, data, "cbpp", mode="lme4"))
    example.compare_fit("cbpp-laplace-tight", fit)
    return data, fit


def observation_level(example: Example, data: pd.DataFrame, fit: rg.FittedModel) -> None:
    """A random effect of each row takes up variation beyond the binomial."""
    heading("2. An observation-level random effect")
    with_obs = data.assign(obs=pd.Categorical(range(1, len(data) + 1)))
    both = example.fit(FORMULA + " + (1 | obs)", with_obs, "cbpp")
    show(both)
    table = fit.anova(both)
    show(table)
    ours = {"Chisq": table["Chisq"].iloc[1], "p": table["Pr(>Chisq)"].iloc[1], "df.resid": both.df_resid}
    ours |= {"AIC": both.aic, "BIC": both.bic, "logLik": both.loglik}
    ours |= {f"sd {label}": both.varcorr[label].sd[0] for label in both.varcorr}
    ours |= {f"beta {name}": value for name, value in both.fixef.items()}
    example.compare_numbers("cbpp-obs", ours)


def tests(example: Example, data: pd.DataFrame) -> None:
    """Whether herds vary, and whether periods differ."""
    heading("3. Tests by likelihood ratio")
    fit = rg.glmer(FORMULA, data, "binomial", mode="lme4")
    null = fit.update(". ~ . - period")
    periods = null.anova(fit)
    show(periods)
    show(fit.drop1(test="Chisq"))
    herds = fit.anova(without_random(fit))
    show(herds)
    example.compare_numbers(
        "cbpp-anova",
        {
            "Chisq periods": periods["Chisq"].iloc[1],
            "p periods": periods["Pr(>Chisq)"].iloc[1],
            "Chisq herds": herds["Chisq"].iloc[1],
            "p herds": herds["Pr(>Chisq)"].iloc[1],
        },
    )


def diagnostics(example: Example, data: pd.DataFrame, fit: rg.FittedModel) -> None:
    """Residuals, random effects, simulated residuals, overdispersion."""
    heading("4. Diagnostics")
    example.picture(rg.plots.plot_residual_panel(fit), "figure05_residuals")
    example.picture(fit.plot_caterpillar(), "figure06_caterpillar")
    example.picture(fit.plot_ranef_qq(), "figure06_qq")
    report = fit.check(seed=1)
    show(report)
    example.picture(report.plot(), "figure07_check")
    simulated = fit.simulated_residuals(seed=1)
    show(simulated)
    example.picture(simulated.plot(), "figure08_simulated_residuals")
    walk = rg.glmer(FORMULA, data, "binomial", mode="lme4")
    over = walk.overdispersion()
    show(over)
    ours = dict(over.numbers) | {"p": over.p_value}
    example.compare_numbers("cbpp-overdispersion", ours)


def intervals(example: Example, fit: rg.FittedModel) -> None:
    """Wald, profile and bootstrap intervals of all parameters side by side."""
    heading("5. Intervals")
    profile = fit.profile()
    example.picture(rg.plots.plot_zeta(profile), "profile_zeta")
    example.picture(rg.plots.plot_density(profile), "profile_density")
    example.picture(rg.plots.plot_pairs(profile), "profile_pairs")
    table = profile.confint()
    show(table)
    ours = {f"{row} {end}": table.loc[row].iloc[i] for row in table.index for i, end in enumerate(("lower", "upper"))}
    example.compare_numbers("cbpp-profile", ours)
    show(fit.bootstrap(nsim=example.nsim, seed=101))
    say("""Figure 9: the models with herds, with herds and observations, with observations only.""")
    data = rg.datasets.load("cbpp")
    with_obs = data.assign(obs=pd.Categorical(range(1, len(data) + 1)))
    both = rg.glmer(FORMULA + " + (1 | obs)", with_obs, "binomial")
    models = {"herd": fit, "herd and obs": both, "obs": both.update(". ~ . - (1 | herd)")}
    table = interval_table(models, methods=("wald", "profile", "boot"), nsim=example.nsim, seed=101)
    spread = table["parameter"].str.startswith("sd_")
    example.picture(rg.plots.plot_intervals(table[~spread]), "figure09_fixed_effects")
    panels = rg.plots.plot_intervals(table[spread])
    panels[0].set_xlim(-0.1, 2.5)  # the Wald interval of a standard deviation near zero has no useful upper end
    example.picture(panels, "figure09_standard_deviations")


def optimisers(example: Example, fit: rg.FittedModel) -> None:
    """All optimisers, the path of one of them, and a structured covariance."""
    heading("6. Optimisers and covariance structures")
    show(fit.all_fit())
    example.picture(fit.plot_path(), "path_slice")
    example.picture(fit.plot_path(others="profiled"), "path_profiled")
    data = rg.datasets.load("cbpp")
    formula = "incidence/size ~ ar1(1 + herd | period)"
    ar1 = rg.glmer(formula, data, "binomial", weights="size", data_name="cbpp", mode="lme4")
    show(ar1.varcorr)
    term = ar1.varcorr["period"]
    example.compare_numbers("cbpp-ar1", {"sd period": term.sd[0], "rho": term.corr[1, 0]})


def main(arguments: list[str] | None = None) -> int:
    """Run the example."""
    example = Example("The glmer paper, section 5.1: contagious bovine pleuropneumonia", arguments)
    data, fit = the_data(example)
    observation_level(example, data, fit)
    tests(example, data)
    diagnostics(example, data, fit)
    intervals(example, fit)
    optimisers(example, fit)
    return example.finish()


if __name__ == "__main__":
    sys.exit(main())
