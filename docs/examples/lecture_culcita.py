"""A lecture on generalized linear mixed models: binary data in small blocks, where everything is hard.

Run it with ``python docs/examples/lecture_culcita.py [--out DIR] [--nsim N]``. Do crabs and shrimp defend corals
against the sea star *Culcita*? 80 corals in 10 blocks, eaten or not: the Laplace approximation against quadrature,
shrinkage of blocks in which all were eaten, tests of four kinds, near-complete separation; and last a singular fit of
the gopher tortoise data.

Source: Bolker's lectures on mixed models; data of McKeon et al. (2012) and Ozgul et al. (2009).
"""

from __future__ import annotations

import sys
import warnings

import pandas as pd
from worked import Example, heading, say, show

import refglmm as rg

FORMULA = "predation ~ ttt + (1 | block)"
GOPHER = "shells ~ prev + offset(log(Area)) + factor(year) + (1 | Site)"


def the_data(example: Example) -> tuple[pd.DataFrame, rg.FittedModel]:
    """Two corals of each treatment in each block."""
    heading("1. The data and the model")
    data = rg.datasets.load("culcita")
    fit = example.fit(FORMULA, data, "culcita")
    example.picture(fit.plot_groups("ttt"), "data")
    show(fit.summary())
    example.compare_fit("culcita-laplace", fit)
    return data, fit


def quadrature(example: Example, data: pd.DataFrame, fit: rg.FittedModel) -> rg.FittedModel:
    """With eight answers a block the normal approximation to its integrand is rough."""
    heading("2. Laplace against adaptive quadrature")
    exact = example.fit(FORMULA, data, "culcita", n_agq=10)
    example.compare_fit("culcita-agq10", exact)
    show(pd.DataFrame({"Laplace": fit.fixef, "n_agq=10": exact.fixef, "SE": exact.se}).round(4))
    print(f"\nSD between blocks: {fit.theta.iloc[0]:.4f} by Laplace, {exact.theta.iloc[0]:.4f} by quadrature")
    example.picture(rg.plots.plot_departures(fit), "integrands")
    return exact


def blocks(example: Example, fit: rg.FittedModel) -> None:
    """Shrinkage: a block in which all corals were eaten has an infinite estimate of its own."""
    heading("3. Blocks: no, partial and complete pooling")
    example.picture(fit.plot_shrinkage(), "shrinkage")
    example.picture(fit.plot_caterpillar(), "caterpillar")
    example.picture(fit.plot_ranef_qq(), "qq")
    example.picture(fit.plot_predictions("ttt", groups=True), "predictions")
    show(fit.simulated_residuals(seed=1))


def tests(example: Example, data: pd.DataFrame, fit: rg.FittedModel) -> None:
    """Wald, likelihood ratio, parametric bootstrap; contrasts between treatments."""
    heading("4. Tests of the treatment")
    null = fit.update(". ~ . - ttt")
    show(rg.anova(null, fit, names=["null", "ttt"]))
    show(fit.drop1(test="Chisq"))
    if example.nsim:
        show(fit.pb_test(null, nsim=example.nsim, seed=101))
    means = fit.lsmeans("ttt")
    show(means)
    show(means.contrasts("pairwise", adjust="tukey"))
    say("""Three questions that were asked before: do symbionts help, are crabs and shrimp alike, are both better than
        one?""")
    planned = {
        "any - none": [-1.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0],
        "crabs - shrimp": [0.0, 1.0, -1.0, 0.0],
        "both - one": [0.0, -0.5, -0.5, 1.0],
    }
    show(means.contrasts(planned, adjust="holm"))
    say("""The variance between blocks is tested on its boundary: half the p-value of chi-square with one df.""")
    show(fit.ranova())


def separation(example: Example, data: pd.DataFrame) -> None:
    """Without one coral, treatments separate eaten from spared almost completely."""
    heading("5. Near-complete separation")
    say("""Row 20 is the one coral without symbionts that survived in an otherwise eaten block. Without it the standard
        deviation between blocks and all coefficients grow together, and the Laplace approximation is no longer good
        enough: its surface has two minima. lme4 and this fit are in the first; the profile comes across the second.""")
    fewer = data.drop(index=19)
    fit = example.fit(FORMULA, fewer, "culcita without row 20")
    example.compare_fit("culcita-x20-laplace", fit)
    example.picture(fit.plot_path(others="profiled", reach=4.5, points=27), "two_minima")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        profile = fit.profile()
    for warning in caught:
        print(f"\n{warning.category.__name__}: {warning.message}")
    second = profile.better_fit
    print(f"Fitted again from there: -2 log L {second.minus_two_loglik:.4f}, SD {second.theta.iloc[0]:.2f}")
    say("""Adaptive quadrature, first with the ten nodes of lme4's figures, then with fifty; the profile of that fit
        comes across no other minimum.""")
    ten = example.fit(FORMULA, fewer, "culcita without row 20", n_agq=10)
    example.compare_fit("culcita-x20-agq10", ten)
    many = example.fit(FORMULA, fewer, "culcita without row 20", n_agq=50)
    show(many.summary())
    say("""Standard errors grow faster than the estimates, so that Wald statistics shrink where the effect is strongest
        (Hauck and Donner). Profile intervals do not depend on the curvature at one point.""")
    intervals = {method: many.confint(method=method) for method in ("wald", "profile")}
    show(pd.concat(intervals, axis=1).round(2))


def singular(example: Example) -> None:
    """A variance estimated as zero: the random effect is there, the data just do not show it."""
    heading("6. A singular fit: gopher tortoises")
    data = rg.datasets.load("gopherdat2")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = rg.glmer(GOPHER, data, "poisson", data_name="gopherdat2")
    for warning in caught:
        print(f"{warning.category.__name__}: {warning.message}")
    show(fit)
    example.compare_fit("gopher", fit)
    show(fit.re_pca())
    example.picture(fit.plot_groups("year", group="Site"), "gopher_data")


def main(arguments: list[str] | None = None) -> int:
    """Run the example."""
    example = Example("Lecture: corals, crabs and shrimp", arguments)
    data, fit = the_data(example)
    quadrature(example, data, fit)
    blocks(example, fit)
    tests(example, data, fit)
    separation(example, data)
    singular(example)
    return example.finish()


if __name__ == "__main__":
    sys.exit(main())
