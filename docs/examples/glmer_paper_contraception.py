"""The glmer paper, section 5.2: contraceptive use in 60 districts, from the data to the last figure.

Run it with ``python docs/examples/glmer_paper_contraception.py [--out DIR] [--nsim N]``. Profiles of six models take
some seconds each; ``--nsim 0`` leaves the bootstrap out.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from worked import REPOSITORY, Example, heading, say, show

import refglmm as rg
from refglmm.demo import CONTRACEPTION, comparison_of_models, load_contraception
from refglmm.inference.confint import interval_table

#: Names of the models in the paper's stored intervals.
STORED = {
    "cm1": "ic",
    "cm2": "bc",
    "cm3": "bc_int",
    "cm4": "bc_int_dist_urb_var",
    "cm5": "bc_int_dist_urb_nest",
    "cm6": "bc_int_dist_urb_cross",
}
#: The stored intervals were made with sum-to-zero contrasts, in the random part too (there as a column of its own).
SUMS = {name: {"urban": "sum", "livch" if name == "cm1" else "ch": "sum"} for name in CONTRACEPTION}


def the_data(example: Example) -> pd.DataFrame:
    """Use against age by number of children, in town and country."""
    heading("1. The data")
    say("""1934 women of the Bangladesh Fertility Survey 1989. Use rises with age and falls again; women without
        children use least (figure 10; proportions in classes of age where the paper has smooth curves).""")
    data = load_contraception()
    first = rg.glmer(CONTRACEPTION["cm1"], data, "binomial")
    panels = first.plot_groups(data["age"], colour="livch", panels="urban", group="district")
    example.picture(panels, "figure10_use_by_age")
    return data


def six_models(example: Example, data: pd.DataFrame) -> dict[str, rg.FittedModel]:
    """Table 1, and likelihood-ratio tests along the nested models."""
    heading("2. Six models")
    fits = example.fit_all(CONTRACEPTION, data, "Contraception")
    say("""In mode='lme4' the table has the paper's digits; fully converged one of them moves (5.826).""")
    walked = example.fit_all(CONTRACEPTION, data, "Contraception", mode="lme4")
    example.compare("contraception-table1", comparison_of_models(walked).__getitem__)
    example.compare("contraception-tight", comparison_of_models(fits).__getitem__)
    say("""Of the random-effects structures, (1 | district:urban) lies within (1 | district/urban), which lies within
        (1 + urban | district).""")
    show(rg.anova(fits["cm6"], fits["cm5"], fits["cm4"], names=["cm6", "cm5", "cm4"]))
    show(rg.compare_models(*fits.values(), names=list(fits)))
    return fits


def predictions(example: Example, data: pd.DataFrame, fit: rg.FittedModel) -> None:
    """Figure 11: population curves with ribbons, and a light line for each district."""
    heading("3. Predictions")
    show(fit.summary())
    ages = np.arange(-15.0, 21.0)
    values = {"age": ages, "urban": ["N", "Y"], "ch": ["N", "Y"]}
    grid = pd.MultiIndex.from_product(values.values(), names=values).to_frame(index=False)
    grid["age_s"] = grid["age"] / (2.0 * data["age"].std())
    panels = fit.plot_predictions("age", colour="ch", panels="urban", newdata=grid, groups=True)
    example.picture(panels, "figure11_predictions")
    example.picture(fit.plot_caterpillar("urban:district"), "caterpillar")
    example.picture(fit.plot_ranef_qq("urban:district"), "qq")


def diagnostics(example: Example, fit: rg.FittedModel) -> None:
    """Residuals of binary data say little one by one; bins and simulations do."""
    heading("4. Diagnostics")
    report = fit.check(seed=1)
    show(report)
    example.picture(report.plot(), "check")


def stored_intervals(model: str, method: str) -> pd.DataFrame:
    """The intervals behind the paper's figure 12 by parameter."""
    table = pd.read_csv(REPOSITORY / "validation" / "glmer_paper_ci.csv")
    chosen = table[(table["figure"] == 12) & (table["model"] == model) & (table["method"] == method)]
    names = {"cor_(Intercept).urban1|district": "cor_urban1.(Intercept)|district"}
    return chosen.set_index("parameter")[["lower", "upper"]].rename(index=names)


def intervals(example: Example, data: pd.DataFrame) -> None:
    """Figure 12: Wald, profile and bootstrap intervals of all six models."""
    heading("5. Intervals")
    say("""With sum-to-zero contrasts, as the paper's stored intervals have them: urban1 is minus half of urbanY.""")
    data = data.assign(urban1=data["urban"].map({"N": 1.0, "Y": -1.0}).astype(float))
    texts = CONTRACEPTION | {
        "cm4": CONTRACEPTION["cm4"].replace("(1 + urban |", "(1 + urban1 |"),
        "cm6": CONTRACEPTION["cm6"].replace("district:urban", "urban:district"),
    }
    fits = {name: rg.glmer(text, data, "binomial", contrasts=SUMS[name]) for name, text in texts.items()}
    methods = ("wald", "profile", "boot") if example.nsim else ("wald", "profile")
    table = interval_table(fits, methods=methods, **({"nsim": example.nsim, "seed": 101} if example.nsim else {}))
    for name in fits:
        for method, stored, allowed in (("wald", "Wald", 2e-3), ("profile", "profile", 5e-3)):
            ours = table[(table["model"] == name) & (table["method"] == method)].set_index("parameter")
            source = stored_intervals(STORED[name], stored)
            if method == "wald":  # those of standard deviations rest on differences of lme4's ragged objective
                source = source[~source.index.str.startswith(("sd_", "cor_"))]
            example.compare_intervals(source, ours, allowed, f"{name} {method}")
    spread = table["parameter"].str.startswith(("sd_", "cor_"))
    fixed = table[~spread & (table["parameter"] != "(Intercept)")]
    example.picture(rg.plots.plot_intervals(fixed), "figure12_fixed_effects")
    example.picture(rg.plots.plot_intervals(table[spread]), "figure12_random_effects")


def structures(example: Example, data: pd.DataFrame) -> None:
    """A compound-symmetric covariance of two columns is an unstructured one."""
    heading("6. Structured covariances")
    formula = "use ~ age*ch + I(age^2) + urban + {}(1 + urban | district)"
    fits = {kind: rg.glmer(formula.format(kind), data, "binomial") for kind in ("us", "cs", "diag")}
    term = fits["cs"].varcorr["district"]
    show(fits["cs"].varcorr)
    ours = {"sd (Intercept)": term.sd[0], "sd urbanY": term.sd[1], "rho": term.corr[1, 0]}
    example.compare_numbers("contraception-cs", ours)
    show(rg.anova(fits["diag"], fits["cs"], names=["diag", "cs"]))
    show(fits["cs"].re_pca())


def main(arguments: list[str] | None = None) -> int:
    """Run the example."""
    example = Example("The glmer paper, section 5.2: contraception in Bangladesh", arguments)
    data = the_data(example)
    fits = six_models(example, data)
    predictions(example, data, fits["cm5"])
    diagnostics(example, fits["cm6"])
    intervals(example, data)
    structures(example, data)
    return example.finish()


if __name__ == "__main__":
    sys.exit(main())
