"""A tutorial on adaptive quadrature: the introductory article of GLMMadaptive, with true optima.

Run it with ``python docs/examples/adaptive_quadrature.py [--out DIR] [--nsim N]``. A logistic model with 11, 15 and 21
points, a test of its random intercept, independent and correlated slopes; what a marginal coefficient is, and a
forecast for one subject; the Poisson model whose published fit is 26 log-likelihood units below the maximum, and why;
penalties; and how many points the toenail data need.

The article's data are simulated. They may not be shipped: where they do not lie in ``shared/data`` beside the
repository (or in ``$REFGLMM_SHARED``), the same design is drawn here with a seed, and the article's figures are not
compared.

Source: Rizopoulos, articles of the R package GLMMadaptive; toenail data of De Backer et al. (1998).
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from worked import REPOSITORY, Example, heading, say, show

import refglmm as rg
from refglmm.likelihood.posterior import GroupedModel, Values, hermite_rule
from refglmm.plots.style import BLUE, CURVE, GREY, PALETTE, REFERENCE, VERMILION, tidy

FIXED = "y ~ sex * time"
TOENAIL = "outcome ~ treatment * time"
#: Fixed effects and variances that the two simulated data sets were drawn with.
TRUTH = {
    "gad_binary": ((-2.13, -0.25, 0.24, -0.05), (0.48, 0.1)),
    "gad_poisson": ((2.13, -0.25, 0.24, -0.05), (0.48, 0.0)),
}


# ------------------------------------------------------------------------------------------------- data and numbers
def article_data(name: str) -> tuple[pd.DataFrame, bool]:
    """A data set of the article, and whether it is the article's own draw."""
    path = Path(os.environ.get("REFGLMM_SHARED", REPOSITORY.parent / "shared")) / "data" / f"{name}.csv"
    if path.exists():
        data = pd.read_csv(path)
        return data.assign(sex=pd.Categorical(data["sex"], ["male", "female"])), True
    print(f"\n{name}.csv is not beside the repository: the same design is drawn here, and all figures differ.")
    return drawn(name), False


def drawn(name: str) -> pd.DataFrame:
    """100 subjects, half of each sex, at 0 and seven random times up to 15; random intercepts (and slopes)."""
    rng = np.random.default_rng(1234)
    subject = np.repeat(np.arange(100), 8)
    time = np.sort(np.where(np.arange(8) == 0, 0.0, rng.uniform(0.0, 15.0, (100, 8))), axis=1).ravel()
    female = (subject % 2).astype(float)
    beta, variances = TRUTH[name]
    b = rng.standard_normal((100, 2)) * np.sqrt(variances)
    eta = np.column_stack([np.ones(800), female, time, female * time]) @ beta + b[subject, 0] + b[subject, 1] * time
    y = rng.poisson(np.exp(eta)) if name == "gad_poisson" else rng.binomial(1, 1.0 / (1.0 + np.exp(-eta)))
    sex = pd.Categorical(np.where(female == 1.0, "female", "male"), ["male", "female"])
    return pd.DataFrame({"id": subject + 1, "time": time, "sex": sex, "y": y})


def fitted(random: str, data: pd.DataFrame, family: str, **options: Any) -> rg.FittedModel:
    """``mixed_model`` with the article's fixed effects; the call, the log-likelihood and warnings are printed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = rg.mixed_model(FIXED, random, data, family, data_name="data", **options)
    shown = "".join(f", {option}={value!r}" for option, value in options.items())
    print(f"mixed_model({FIXED!r}, {random!r}, data, {family!r}{shown})\n      logLik {fit.loglik:.7f}")
    for warning in caught:
        print(f"      {warning.category.__name__}: {warning.message}")
    return fit


def estimates(fit: rg.FittedModel) -> dict[str, float]:
    """Log-likelihood and estimates as the tables of this tutorial name them."""
    term = fit.varcorr.terms[0]
    found = {"logLik": fit.loglik, "AIC": fit.aic, "penalised logLik": fit.penalized_loglik, "sd id": term.sd[0]}
    found |= {f"variance {name}": sd**2 for name, sd in zip(term.columns, term.sd, strict=True)}
    return found | {f"beta {name}": b for name, b in fit.fixef.items()}


def numbers(fit: rg.FittedModel) -> dict[str, float]:
    """The same with standard errors."""
    return estimates(fit) | {f"se {name}": se for name, se in fit.se.items()}


# ------------------------------------------------------------------------------------------------ the logistic model
def points(example: Example, data: pd.DataFrame, own: bool) -> rg.FittedModel:
    """One random intercept: the answer hardly depends on the number of points."""
    heading("1. A logistic mixed model with 11, 15 and 21 points")
    say("""n_agq points for each random effect; mixed_model() takes 11 unless told otherwise, like GLMMadaptive. lme4's
        way to say the same is glmer("y ~ sex * time + (1 | id)", data, "binomial", n_agq=11).""")
    fits = {k: fitted("~ 1 | id", data, "binomial", n_agq=k) for k in (11, 15, 21)}
    show(fits[11].summary())
    if own:
        say("""The article's fits stop within 0.003 standard errors of the maximum: a small thing here. (Its BIC counts
            subjects, ours rows, as lme4 does.)""")
        for k, fit in fits.items():
            example.compare_numbers(f"gad-binary-{k}", numbers(fit))
        for k in (11, 21):
            example.compare_numbers(f"gad-binary-{k}-maximum", numbers(fits[k]))
    example.picture(fits[11].plot_caterpillar(), "intercepts")
    return fits[11]


def is_it_needed(fit: rg.FittedModel) -> None:
    """A variance is tested on the boundary of its range."""
    heading("2. Is the random intercept needed?")
    say("""None stands for the model without random effects, a GLM. Under the null hypothesis the variance lies on its
        boundary, where the statistic is 0 half of the time: the note below the table has the p-value of that mixture.
        (The article warns that its own, by chi-square with one df, is too large.)""")
    show(rg.anova(fit, None, names=["intercepts", "no random effects"], boundary=True))


def slopes(example: Example, data: pd.DataFrame, intercepts: rg.FittedModel, own: bool) -> rg.FittedModel:
    """Two random effects: independent (||), then correlated."""
    heading("3. Random slopes: || and |")
    independent = fitted("~ time || id", data, "binomial", n_agq=11)
    correlated = fitted("~ time | id", data, "binomial", n_agq=11)
    names = ["no random effects", "intercepts", "independent", "correlated"]
    table = rg.anova(None, intercepts, independent, correlated, names=names)
    show(table)
    if own:
        ours = {f"{label} {name}": table[column][name] for label, column in COLUMNS.items() for name in names}
        example.compare_numbers("gad-binary-anova", ours)
        example.compare_numbers("gad-binary-diag-maximum", numbers(independent))
        say("""The correlated model is another matter. With 11 points the maximum lies on the boundary, at correlation
            1; the article's -358.82 is a stop on a flat ridge below it. Quadrature with more points moves the maximum
            inside. n_agq="auto" raises the order until the log-likelihood moves by less than 0.001:""")
    settled = fitted("~ time | id", data, "binomial", n_agq="auto")
    show(settled.agq_path)
    show(settled.varcorr)
    if own:
        example.compare_numbers("gad-binary-slope-maximum", numbers(fitted("~ time | id", data, "binomial", n_agq=21)))
    return settled


#: Quantities of the article's comparison and the columns of ours.
COLUMNS = {"logLik": "logLik", "AIC": "AIC", "BIC": "BIC", "Chisq": "Chisq"}


def population(example: Example, data: pd.DataFrame, fit: rg.FittedModel, own: bool) -> None:
    """The mean subject is not the mean of the subjects."""
    heading("4. The mean subject and the mean of the subjects")
    say("""A coefficient of a logistic mixed model compares answers of one subject. Marginal coefficients describe
        means over subjects. They are integrals of one dimension a row, so no simulation is needed, and their standard
        errors are exact too (GLMMadaptive: 3000 draws for each group, and 100 repetitions for standard errors).""")
    marginal = fit.marginal_coefs()
    show(marginal)
    if own:
        example.compare_numbers("gad-binary-marginal", marginal.estimates.to_dict())
    example.picture(draw_population(fit, data), "population")


def draw_population(fit: rg.FittedModel, data: pd.DataFrame) -> Any:
    """Probability over time: ten subjects of each sex, the mean subject, and the mean of the subjects."""
    _, panels = pyplot.subplots(1, 2, figsize=(8.5, 3.6), sharey=True, layout="constrained")
    time = np.linspace(0.0, 15.0, 61)
    for panel, sex in zip(panels, ("male", "female"), strict=True):
        for subject in data.loc[data["sex"] == sex, "id"].unique()[:25]:
            own = pd.DataFrame({"id": subject, "sex": sex, "time": time})
            panel.plot(time, fit.predict(own, type="response"), color=GREY, alpha=0.3, linewidth=0.8)
        rows = pd.DataFrame({"sex": sex, "time": time})
        panel.plot(time, fit.predict(rows, re_form=False, type="response"), **REFERENCE, label="mean subject (b = 0)")
        mean = fit.predict(rows, marginal=True, type="response", se=True, interval="confidence")
        panel.plot(time, mean["fit"], **CURVE, label="mean of the subjects, 95 %")
        panel.fill_between(time, mean["lower"], mean["upper"], color=BLUE, alpha=0.15, linewidth=0)
        panel.set_title(f"{sex}: 25 subjects, grey", loc="left", fontsize=10)
        panel.set_xlabel("time")
        tidy(panel)
    panels[0].set_ylabel("probability of y = 1")
    panels[1].legend(frameon=False, fontsize=8.5, loc="upper left")
    return panels


def forecast(example: Example, data: pd.DataFrame, fit: rg.FittedModel, intercepts: rg.FittedModel) -> None:
    """What a subject's answers so far say about the next ones; whose forecasts are better."""
    heading("5. Forecasts for one subject, and their score")
    say("""A new subject, five answers one after the other. fit.dynamic() integrates over what those answers leave open
        about the subject's line, and its interval counts what is not known of the parameters as well.""")
    example.picture(draw_forecasts(fit), "forecasts")
    past, future = data[data["time"] < 7.5], data[data["time"] >= 7.5]
    say("""Scores of all answers after time 7.5, forecast from those before (larger is better). The subjects are those
        of the fit, so this compares the two models; it is no test of either on new data.""")
    models = {"intercepts": intercepts, "slopes": fit}
    show(pd.DataFrame({name: m.scoring_rules(past, future, integrate=True).mean() for name, m in models.items()}))


def draw_forecasts(fit: rg.FittedModel) -> Any:
    """Panels after 1, 3 and 5 answers."""
    _, panels = pyplot.subplots(1, 3, figsize=(9.5, 3.2), sharey=True, layout="constrained")
    answers = pd.DataFrame({"id": "new", "sex": "male", "time": [0.0, 2.0, 4.0, 5.5, 7.0], "y": [0, 0, 1, 1, 1]})
    for panel, seen in zip(panels, (1, 3, 5), strict=True):
        known = answers.iloc[:seen]
        time = np.linspace(known["time"].iloc[-1], 15.0, 12)
        future = pd.DataFrame({"id": "new", "sex": "male", "time": time})
        ahead = fit.dynamic(known, future, interval="confidence", seed=1, draws=300, progress=False)
        panel.fill_between(time, ahead["lower"], ahead["upper"], color=BLUE, alpha=0.15, linewidth=0, label="95 %")
        panel.plot(time, ahead["fit"], **CURVE, label="forecast")
        panel.plot(known["time"], known["y"], "o", color=VERMILION, label="answers")
        panel.axvline(time[0], color=GREY, linewidth=0.8, linestyle=":")
        panel.set_title(f"after {seen} answer{'s' if seen > 1 else ''}", loc="left", fontsize=10)
        panel.set_xticks([0, 5, 10, 15])
        panel.set_xlabel("time")
        tidy(panel)
    panels[0].set_ylabel("probability of y = 1")
    panels[2].legend(frameon=False, fontsize=8.5, loc="lower right")
    return panels


# ------------------------------------------------------------------------------------------------- the Poisson model
def frozen_nodes(example: Example, data: pd.DataFrame, own: bool) -> rg.FittedModel:
    """Where frozen nodes stop, and why."""
    heading("6. A Poisson model, and where frozen nodes stop")
    fit = fitted("~ 1 | id", data, "poisson")
    show(fit.summary())
    print(f"\n{fit.convergence}")
    if own:
        example.compare_numbers("gad-poisson-maximum", numbers(fit))
    say("""For its data the article prints logLik -2782.306, intercept 2.945 (SE 0.308), standard deviation 0.978, and
        says that the fit converged. GLMMadaptive places the nodes, holds them where they are while a quasi-Newton
        method runs, places them again, and ends as soon as a run says that it converged. Counts this large say nearly
        all about their subject: each posterior is narrow, and so is the range of its nodes. A step of the intercept
        moves all posteriors out of their nodes. With frozen nodes the sums fall although the integrals rise, and the
        run ends where it began. method="hybrid" goes this way, step by step in its trace, and then on to the optimum;
        polish=False leaves it where it stopped, and the certificate says what that is worth. (It stops elsewhere than
        the article's fit, since the quasi-Newton methods differ in detail: there is no optimum to agree on.)""")
    stopped = fitted("~ 1 | id", data, "poisson", method="hybrid", polish=False)
    polished = fitted("~ 1 | id", data, "poisson", method="hybrid")
    for stage in polished.trace.stages:
        print(f"  {stage}")
    print(f"\n{stopped.convergence}")
    example.picture(draw_frozen(stopped, fit, polished), "frozen_nodes")
    show(stops(own, stopped, fit))
    return fit


def stops(own: bool, stopped: rg.FittedModel, fit: rg.FittedModel) -> pd.DataFrame:
    """The article's fit, the hybrid's, and the maximum."""
    rows = ["logLik", "beta (Intercept)", "beta sexfemale", "sd id"]
    table = pd.DataFrame({"frozen nodes": estimates(stopped), "maximum": estimates(fit)}).loc[rows]
    if own:
        table.insert(0, "article", [-2782.306, 2.94471506, -0.86111218, 0.9781394])
    return table.round(4)


def draw_frozen(stopped: rg.FittedModel, fit: rg.FittedModel, polished: rg.FittedModel) -> Any:
    """Log-likelihood along the intercept, nodes frozen and nodes that move; and the hybrid's way."""
    _, panels = pyplot.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
    start = stopped.fixef["(Intercept)"]
    at = np.linspace(fit.fixef["(Intercept)"] - 0.3, start + 0.4, 90)
    frozen, moving = along_the_intercept(stopped, at)
    panels[0].plot(at, moving, **CURVE, label="nodes that move: the log-likelihood")
    panels[0].plot(at, frozen, **REFERENCE, label="nodes frozen at the stop")
    panels[0].plot([start], [stopped.loglik], "o", color=VERMILION)
    panels[0].annotate("stop", (start, stopped.loglik), xytext=(8, 6), textcoords="offset points", fontsize=8.5)
    panels[0].set_ylim(moving.max() - 250.0, moving.max() + 70.0)
    panels[0].set_xlabel("intercept (all else as at the stop)")
    panels[0].set_ylabel("log-likelihood")
    panels[0].legend(frameon=False, fontsize=8.5, loc="upper left")
    way = polished.trace.evaluations
    colours = dict(zip(way["stage"].unique(), PALETTE, strict=False))
    for stage, rows in way.groupby("stage", sort=False):
        panels[1].plot(rows.index + 1, -0.5 * rows["value"], "o", markersize=4, color=colours[stage], label=stage)
    panels[1].axhline(fit.loglik, color=GREY, linewidth=0.9, linestyle="--", label="maximum")
    panels[1].set_ylim(fit.loglik - 80.0, fit.loglik + 8.0)
    panels[1].set_xlabel("evaluation")
    panels[1].legend(frameon=False, fontsize=8.5, loc="lower right")
    for panel, title in zip(panels, ("Why it stops", "Where it stops, and the way on"), strict=True):
        panel.set_title(title, loc="left", fontsize=11)
        tidy(panel)
    return panels


def along_the_intercept(stopped: rg.FittedModel, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood for each intercept, all else as in the fit: on the nodes of the fit, and on nodes of its own."""
    model, rule = GroupedModel(stopped.problem), hermite_rule(stopped.n_agq, 1)
    D, shape = np.atleast_2d(stopped.theta.iloc[0] ** 2), np.empty(0)
    here = Values(stopped.beta, D, shape)
    nodes = model.place(here, rule)
    frozen, moving = np.empty(at.size), np.empty(at.size)
    for i, intercept in enumerate(at):
        values = here._replace(beta=np.concatenate([[intercept], stopped.beta[1:]]))
        frozen[i] = model.posterior(nodes, values).loglik
        moving[i] = model.posterior(model.place(values, rule), values).loglik
    return frozen, moving


def penalties(example: Example, poisson: pd.DataFrame, binary: pd.DataFrame, own: bool) -> None:
    """Student t and ridge penalties; the log-likelihood stays one."""
    heading("7. Penalties")
    say("""penalized=True: an independent Student t kernel (scale 1, 3 df) for each coefficient but the intercept, as
        GLMMadaptive's manual describes it. df = 200 is as good as a ridge penalty; mu, scale and df can differ between
        coefficients. loglik is the likelihood at the estimates; penalized_loglik is what they maximise.""")
    fits = {"none": fitted("~ 1 | id", poisson, "poisson")}
    fits["t"] = fitted("~ 1 | id", poisson, "poisson", penalized=True)
    fits["ridge"] = fitted("~ 1 | id", poisson, "poisson", penalized={"df": 200})
    fits["mvt"] = fitted("~ 1 | id", poisson, "poisson", penalized="mvt")
    show(pd.DataFrame({name: fit.fixef for name, fit in fits.items()}).round(4))
    say("""What GLMMadaptive computes is the last column: one multivariate t kernel over all coefficients,
        intercept included. It is offered to check numbers. (The article's penalised intercept, 2.943, is the
        early stop again.)""")
    if own:
        example.compare_numbers("gad-poisson-mvt-maximum", numbers(fits["mvt"]))
        ridge = fitted("~ 1 | id", binary, "binomial", penalized={"kind": "mvt", "df": 200.0})
        example.compare_numbers("gad-binary-ridge-maximum", numbers(ridge))


# ------------------------------------------------------------------------------------------------- how many points?
def toenail(example: Example) -> None:
    """Data on which the number of points matters."""
    heading("8. How many points? Random slopes for the toenail data")
    data = rg.datasets.load("toenail")
    say("""294 patients, about 6.5 answers each, and a standard deviation between patients above 8 on the logit
        scale: many patients answered alike throughout, and their integrands are anything but normal. One point
        is Laplace.""")
    fits = {k: example.fit(f"{TOENAIL} + (time | patientID)", data, "toenail", n_agq=k) for k in (1, 11, 15, 21, 31)}
    example.compare_numbers("toenail-slope-laplace", numbers(fits[1]))
    for k in (11, 15, 21, 31):
        example.compare_numbers(f"toenail-slope-{k}", numbers(fits[k]))
    say("""Laplace is 58 log-likelihood units off and its coefficients are nonsense; from 15 points on estimates
        settle. With 51 points the maximum is -549.148. GLMMadaptive stops at -551.637 with 11 points and at -549.370
        with 15.""")
    show(pd.DataFrame({("Laplace" if k == 1 else k): {**fit.fixef, **sds(fit)} for k, fit in fits.items()}).round(3))


def sds(fit: rg.FittedModel) -> dict[str, float]:
    """Standard deviations of the random effects."""
    term = fit.varcorr.terms[0]
    return {f"sd {name}": sd for name, sd in zip(term.columns, term.sd, strict=True)}


def bias(example: Example) -> None:
    """Four ways to estimate one model."""
    heading("9. PQL, Laplace, quadrature and Monte Carlo EM")
    say("""The same data with a random intercept only. PQL replaces the likelihood by a linear model's and is off by
        several standard errors; Laplace by two; quadrature settles; Monte Carlo EM is right up to the noise of its
        draws, which it states.""")
    laplace = example.fit(f"{TOENAIL} + (1 | patientID)", rg.datasets.load("toenail"), "toenail")
    example.picture(rg.plots.plot_departures(laplace), "departures")
    study = rg.teaching.bias_study(
        f"{TOENAIL} + (1 | patientID)",
        rg.datasets.load("toenail"),
        "binomial",
        n_agq=(1, 3, 5, 7, 9, 11, 15, 25, 50),
        mcem={"draws": (100, 400), "progress": False},
        seed=1,
    )
    show(study)
    example.picture(study.plot(), "bias")


def main(arguments: list[str] | None = None) -> int:
    """Run the example."""
    example = Example("Tutorial: adaptive quadrature", arguments)
    binary, own = article_data("gad_binary")
    intercepts = points(example, binary, own)
    is_it_needed(intercepts)
    settled = slopes(example, binary, intercepts, own)
    population(example, binary, settled, own)
    forecast(example, binary, settled, intercepts)
    poisson, own = article_data("gad_poisson")
    frozen_nodes(example, poisson, own)
    penalties(example, poisson, binary, own)
    toenail(example)
    bias(example)
    return example.finish()


if __name__ == "__main__":
    sys.exit(main())
