"""A lecture on shrinkage and on counts: fruits of *Arabidopsis*, and the sleep study.

Run it with ``python docs/examples/lecture_arabidopsis.py [--out DIR] [--nsim N]``. What a random effect does to the
estimates of groups, first with one coefficient for each genotype, then with intercept and slope for each subject; a
singular fit; then the whole Arabidopsis experiment, whose counts vary far more than Poisson's.

Source: Bolker's lectures on mixed models; data of Banta et al. (2010) and Belenky et al. (2003).
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pandas as pd
from worked import Example, heading, say, show

import refglmm as rg

FIXED = "total.fruits ~ nutrient*amd + rack + status"


def load_arabidopsis() -> pd.DataFrame:
    """Fruit counts with the whole numbers that are labels turned into factors."""
    data = rg.datasets.load("Arabidopsis")
    factors = {name: data[name].astype("category") for name in ("gen", "rack", "nutrient")}
    return data.assign(**factors, obs=pd.Categorical(np.arange(1, len(data) + 1)))


def genotypes(example: Example, data: pd.DataFrame) -> None:
    """24 genotypes: log mean counts against the modes of a mixed model."""
    heading("1. Shrinkage of genotypes")
    say("""Clipped plants without fertiliser. Two genotypes bore no fruit at all: on the log scale their own estimate is
        minus infinity, the mixed model's is not.""")
    clipped = data[(data["amd"] == "clipped") & (data["nutrient"] == 1)]
    fit = rg.glmer("total.fruits ~ 1 + (1 | gen)", clipped, "poisson", data_name="clipped")
    show(fit.summary())
    modes = fit.ranef()["gen"]["(Intercept)"]
    ours = {"logLik": fit.loglik, "beta (Intercept)": fit.fixef.iloc[0], "theta gen.(Intercept)": fit.theta.iloc[0]}
    example.compare_numbers("arabidopsis-shrinkage", ours | {f"genotype {level}": b for level, b in modes.items()})
    example.picture(fit.plot_shrinkage(), "shrinkage_genotypes")
    example.picture(fit.plot_caterpillar(), "caterpillar_genotypes")


def subjects(example: Example) -> None:
    """18 subjects: lines fitted one by one against those of the mixed model."""
    heading("2. Shrinkage of lines: the sleep study")
    data = rg.datasets.load("sleepstudy")
    fit = rg.lmer("Reaction ~ Days + (Days | Subject)", data, data_name="sleepstudy")
    show(fit.summary())
    term = fit.varcorr["Subject"]
    ours = {"REML criterion": fit.reml_criterion, "sd Residual": fit.sigma}
    ours |= {f"sd {name}": sd for name, sd in zip(term.columns, term.sd, strict=True)}
    ours |= {f"beta {name}": b for name, b in fit.fixef.items()} | {f"se {name}": b for name, b in fit.se.items()}
    example.compare_numbers("sleepstudy-reml", ours)
    example.picture(fit.plot_groups("Days"), "sleepstudy_data")
    example.picture(fit.plot_groups("Days", panels="Subject"), "sleepstudy_panels")
    example.picture(fit.plot_shrinkage(), "shrinkage_lines")
    example.picture(fit.plot_predictions("Days", groups=True), "sleepstudy_predictions")
    example.picture(fit.plot_path(["Subject.(Intercept)", "Subject.Days"], others="profiled"), "sleepstudy_path")
    show(fit.confint(method="profile"))


def no_variance(example: Example) -> None:
    """Simulated batches that differ less than chance would make them."""
    heading("3. A singular fit: Dyestuff2")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = rg.lmer("Yield ~ 1 + (1 | Batch)", rg.datasets.load("Dyestuff2"), data_name="Dyestuff2")
    for warning in caught:
        print(f"{warning.category.__name__}: {warning.message}")
    show(fit)
    say("""With no variance between batches partial pooling is complete pooling.""")
    example.picture(fit.plot_shrinkage(), "shrinkage_singular")


def experiment(example: Example, data: pd.DataFrame) -> rg.FittedModel:
    """Nutrients and clipping; variation between populations, genotypes and plants."""
    heading("4. The whole experiment")
    poisson = example_fit("Poisson", FIXED + " + (1 | popu) + (1 | gen)", data)
    example.compare_numbers("arabidopsis-poisson", numbers(poisson))
    show(poisson.overdispersion())
    say("""Thirty times the variance of a Poisson count. A random effect of each plant takes it up; the interaction,
        many standard errors from zero before, is no longer.""")
    fit = example_fit("with an effect of each plant", FIXED + " + (1 | popu) + (1 | gen) + (1 | obs)", data)
    example.compare_numbers("arabidopsis-observation", numbers(fit))
    show(rg.anova(poisson, fit, names=["poisson", "plants"]))
    example.picture(poisson.simulated_residuals(seed=1).plot(), "residuals_poisson")
    example.picture(fit.simulated_residuals(seed=1).plot(), "residuals_plants")
    return fit


def example_fit(name: str, formula: str, data: pd.DataFrame) -> rg.FittedModel:
    """A Poisson model with its summary."""
    fit = rg.glmer(formula, data, "poisson", data_name="Arabidopsis")
    print(f"\n{name}\n{fit.summary(correlation=False)}")
    return fit


def numbers(fit: rg.FittedModel) -> dict[str, float]:
    """What the tables name: logLik, sd of each factor, coefficients and their standard errors."""
    ours = {"logLik": fit.loglik} | {f"sd {label}": fit.varcorr[label].sd[0] for label in fit.varcorr}
    return ours | {f"beta {n}": b for n, b in fit.fixef.items()} | {f"se {n}": s for n, s in fit.se.items()}


def selection(example: Example, data: pd.DataFrame, fit: rg.FittedModel) -> None:
    """Which terms are needed, what the means are, how sure the parameters."""
    heading("5. Comparing models")
    additive = fit.update(". ~ . - nutrient:amd")
    table = rg.anova(additive, fit, names=["additive", "interaction"])
    show(table)
    example.compare_numbers("arabidopsis-interaction", {"Chisq": table["Chisq"].iloc[1]})
    show(fit.drop1(test="Chisq"))
    show(fit.ranova())
    show(rg.compare_models(additive, fit, names=["additive", "interaction"]))
    means = fit.lsmeans("nutrient*amd", type="response")
    show(means)
    example.picture(fit.plot_predictions("nutrient", colour="amd"), "reaction_norms")
    example.picture(fit.plot_ranef_qq("popu"), "qq_populations")
    example.picture(fit.plot_caterpillar("gen"), "caterpillar_gen")
    if example.nsim:
        boot = additive.bootstrap(nsim=min(example.nsim, 50), seed=101)
        show(boot)


def main(arguments: list[str] | None = None) -> int:
    """Run the example."""
    example = Example("Lecture: shrinkage, and counts of fruits", arguments)
    data = load_arabidopsis()
    genotypes(example, data)
    subjects(example)
    no_variance(example)
    fit = experiment(example, data)
    selection(example, data, fit)
    return example.finish()


if __name__ == "__main__":
    sys.exit(main())
