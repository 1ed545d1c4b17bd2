"""The article on rtmb_glmer(), top to bottom: one model, four ways to estimate it, and what each answer is worth.

Run it with ``python docs/examples/rtmb_glmer_article.py [--out DIR]``. A model of satisfaction after debates and its
priors; within factors, centring, ten families, five layouts of random effects, correlated residuals; ``optimize()``,
``sample()``, ``variational()``, ``laplace_draws()`` and ``classic()`` with its tests and means; effects and pictures;
marginal likelihoods and Bayes factors; predictive accuracy. For the model that the article is about everything is set
beside exact numbers: the marginal posterior of a balanced random-intercept model has a closed form, of which this file
makes its own integrals by importance sampling. The other figures are those of R packages.

The article's data may not be shipped. ``debate_like`` and ``training_like`` are simulated data of the same layout, so
no figure of the article itself is compared.

Source: Shimizu, articles of the R package BayesRTMB.
"""

from __future__ import annotations

import sys
import warnings
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import logsumexp
from worked import Example, heading, say, show

import refglmm as rg

DEBATE = "sat ~ talk + perf + (1 | group)"
#: Short chains: enough to see that everything is right, not for a paper.
CHAINS = {"sampling": 500, "warmup": 500, "chains": 4, "seed": 1, "progress": False}
TIMES = {"time": ["t1", "t2", "t3"]}
TRAINING = "cbind(t1, t2, t3) ~ time * cond + (1 | person)"


# ------------------------------------------------------------------------------------------------ the exact posterior
class Exact:
    """y = X beta + b_group + e with m rows a group, under ``prior_normal()``: everything the article asks for, exactly.

    The rows of a group are normal with covariance sigma^2 I + tau^2 11', whose determinant and inverse are known, so
    the posterior of (Intercept_c, slopes, log sigma, log tau) needs no approximation. Integrals of it are importance
    sums over draws from a multivariate t with the curvature at the mode.

    Parameters
    ----------
    data : DataFrame
        Sorted by ``group``, with equally many rows in each.
    slopes : list of str
    """

    def __init__(self, data: pd.DataFrame, slopes: list[str]) -> None:
        groups = data.groupby("group", sort=False)
        self.names = ["Intercept_c", *(f"b[{name}]" for name in slopes), "sigma", "sd[group:Int]"]
        X = data[slopes].to_numpy(float)
        self.X = np.column_stack([np.ones(len(data)), X - X.mean(axis=0)]).reshape(groups.ngroups, -1, 1 + X.shape[1])
        self.y = data["sat"].to_numpy(float).reshape(groups.ngroups, -1)

    def group_loglik(self, theta: np.ndarray) -> np.ndarray:
        """Log density of the rows of each group, shape (draws, groups); theta of shape (draws, p + 2)."""
        sigma2, tau2, m = np.exp(2.0 * theta[:, -2:-1]), np.exp(2.0 * theta[:, -1:]), self.y.shape[1]
        residual = self.y - np.einsum("gmp,dp->dgm", self.X, theta[:, :-2])
        quadratic = np.sum(residual**2, axis=2) - tau2 / (sigma2 + m * tau2) * np.sum(residual, axis=2) ** 2
        log_determinant = (m - 1) * np.log(sigma2) + np.log(sigma2 + m * tau2)
        return -0.5 * (m * np.log(2.0 * np.pi) + log_determinant + quadratic / sigma2)

    def log_prior(self, theta: np.ndarray) -> np.ndarray:
        """N(0, 10) for intercept (at the means) and slopes, exponential with mean 5 for both SDs."""
        sds = np.exp(theta[:, -2:])
        return stats.norm.logpdf(theta[:, :-2], scale=10.0).sum(axis=1) + stats.expon.logpdf(sds, scale=5.0).sum(axis=1)

    def log_posterior(self, theta: np.ndarray) -> np.ndarray:
        """Log of likelihood times prior on the natural scale; theta of shape (draws, p + 2)."""
        return self.group_loglik(theta).sum(axis=1) + self.log_prior(theta)

    @cached_property
    def draws(self) -> tuple[np.ndarray, np.ndarray]:
        """Draws of theta from a multivariate t, and their log importance weights; 8000 of each."""
        start = np.concatenate(
            [[self.y.mean()], np.zeros(self.X.shape[2] - 1), np.log(self.y.std() * np.ones(2) / 2.0)]
        )
        centre = start
        for _ in range(20):  # Newton's method on a smooth function of a few numbers
            gradient, hessian = differences(lambda theta: self.log_posterior(theta) + theta[:, -2:].sum(axis=1), centre)
            centre = centre - np.linalg.solve(hessian - 1e-3 * np.eye(centre.size), gradient)
        _, hessian = differences(lambda theta: self.log_posterior(theta) + theta[:, -2:].sum(axis=1), centre)
        proposal = stats.multivariate_t(centre, np.linalg.inv(-hessian), df=7)
        theta = proposal.rvs(8000, random_state=np.random.default_rng(1))
        return theta, self.log_posterior(theta) + theta[:, -2:].sum(axis=1) - proposal.logpdf(theta)

    @property
    def logml(self) -> tuple[float, float]:
        """Log marginal likelihood and its standard error."""
        w = self.draws[1]
        relative = np.exp(w - w.max())
        return float(logsumexp(w) - np.log(w.size)), float(relative.std() / relative.mean() / np.sqrt(w.size))

    def moments(self) -> pd.DataFrame:
        """Posterior means and standard deviations, natural scale."""
        theta, log_weights = self.draws
        values = np.column_stack([theta[:, :-2], np.exp(theta[:, -2:])])
        w = np.exp(log_weights - logsumexp(log_weights))[:, None]
        mean = (w * values).sum(axis=0)
        return pd.DataFrame({"mean": mean, "sd": np.sqrt((w * (values - mean) ** 2).sum(axis=0))}, index=self.names)

    def elpd_groups(self) -> float:
        """Sum over groups of log p(y_group | the others): minus the log posterior mean of 1 / p(y_group | theta)."""
        theta, w = self.draws
        return float(-np.sum(logsumexp((w - logsumexp(w))[:, None] - self.group_loglik(theta), axis=0)))


def differences(function: Any, at: np.ndarray, h: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and Hessian by central differences of a function of many points at once."""
    steps = h * np.eye(at.size)
    pairs = [at + s * a + t * b for a in steps for b in steps for s in (1, -1) for t in (1, -1)]
    corners = function(np.array(pairs)).reshape(at.size, at.size, 2, 2)
    hessian = (corners[:, :, 0, 0] - corners[:, :, 0, 1] - corners[:, :, 1, 0] + corners[:, :, 1, 1]) / (4.0 * h * h)
    ends = function(np.concatenate([at + steps, at - steps]))
    return (ends[: at.size] - ends[at.size :]) / (2.0 * h), hessian


def quietly(call: Any, *arguments: Any, **settings: Any) -> Any:
    """Call; warnings are printed as lines of text, where they belong."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call(*arguments, **settings)
    for warning in caught:
        print(f"{warning.category.__name__}: {warning.message}")
    return result


# --------------------------------------------------------------------------------------------- a model and its mode
def first_model(example: Example, data: pd.DataFrame, exact: Exact) -> rg.GLMM:
    """The article's model, its code, its priors and its mode."""
    heading("1. A model, its code and its mode")
    say("""300 people in 100 groups of three rate their satisfaction after a debate, from 1 to 5. GLMM() checks formula
        and data and fits nothing; the prior belongs to the model.""")
    model = rg.GLMM(DEBATE, data, family="gaussian", prior=rg.prior_normal())
    show(model)
    model.print_code()
    say("""The same as a program that needs nothing but NumPy: its density and that of the sampler at one position.""")
    scope: dict[str, Any] = {}
    exec(model.code("numpy"), scope)  # the text of a program is what is tried here
    position = np.random.default_rng(1).normal(0.0, 0.3, model.posterior.dimension)
    theirs = float(scope["log_posterior"](position, model.code_data()))
    example.check("log posterior density", theirs, model.posterior.log_density(position), 1e-8)
    show(model.prior_summary().to_string())
    say("""optimize() is the posterior mode with the random effects integrated out.""")
    mode = model.optimize()
    show(mode)
    say("""The same density, worked out in this file from the covariance of the rows of a group: its value at this mode,
        and how far from zero its slopes are there (in standard errors).""")
    at = mode.summary(exact.names)["Estimate"].to_numpy()
    theta = np.concatenate([at[:-2], np.log(at[-2:])])
    example.check("negative log posterior", -exact.log_posterior(theta[None])[0], mode.negative_log_posterior, 1e-8)
    slope, _ = differences(exact.log_posterior, theta, 1e-4)
    se = mode.summary(exact.names)["Std. Error"].to_numpy() / np.where(np.arange(at.size) < at.size - 2, 1.0, at)
    example.check("largest slope at the mode", 0.0, np.max(np.abs(slope * se)), 1e-5)
    logml, error = exact.logml
    say(f"""Laplace's log marginal likelihood is {mode.log_marginal:.3f}; exact is {logml:.3f} (error {error:.3f}).""")
    example.check("log marginal likelihood, Laplace", logml, mode.log_marginal, 0.1)
    say("""Without a prior the mode is the maximum likelihood fit of lme4.""")
    flat = rg.GLMM(DEBATE, data).optimize()
    ours = {"logLik": -flat.negative_log_posterior} | flat.summary()["Estimate"].to_dict()
    example.compare_numbers("article-debate", ours)
    show(pd.concat(mode.ranef().values()).head(3).round(4))
    return model


def priors(example: Example, data: pd.DataFrame) -> None:
    """Five kinds of prior; the range of the scale may be given to either."""
    heading("2. Priors")
    say("""prior_weak() takes its units from the scale of the answers: y_range is its theoretical range, 1 to 5, and s =
        1 half of half of it. A slope may then reach one s for a standard deviation of its predictor.""")
    formula = "sat ~ talk + perf + skill + cond + (1 | group)"
    weak = rg.GLMM(formula, data, prior=rg.prior_weak(y_range=(1, 5)))
    show(weak.prior_summary().to_string())
    for name in ("talk", "perf"):
        scalar = next(s for s in weak.posterior.scalars if s.name == f"b[{name}]")
        example.check(f"prior sd of b[{name}]", 1.0 / data[name].std(), scalar.prior.sd, 1e-12)
    outside = rg.GLMM(formula, data, prior=rg.prior_weak(), y_range=(1, 5)).optimize()
    example.check("y_range within the prior or without", outside.log_posterior, weak.optimize().log_posterior, 1e-9)
    shifted = data.assign(talk=10.0 * data["talk"] + 3.0)
    moved = rg.GLMM(formula, shifted, prior=rg.prior_weak(y_range=(1, 5))).optimize()
    original = weak.optimize()
    say("""Another unit of talk changes no fitted value, as the prior knows the unit.""")
    example.check(
        "b[talk] in other units",
        original.summary("b[talk]").iloc[0, 0],
        10.0 * moved.summary("b[talk]").iloc[0, 0],
        1e-6,
    )
    table = {"flat": rg.GLMM(formula, data).optimize().summary("b")["Estimate"]}
    kinds = {
        "weak": rg.prior_weak(y_range=(1, 5)),
        "rhs": rg.prior_rhs(expected_vars=1, y_range=(1, 5)),
        "ssp": rg.prior_ssp(y_range=(1, 5)),
        "jzs": rg.prior_jzs(),
    }
    for kind, prior in kinds.items():
        narrow = {"delta": 0.95, "warmup": 1000} if kind in ("rhs", "ssp") else {}
        fit = quietly(rg.GLMM(formula, data, prior=prior).sample, **CHAINS | narrow)
        table[kind] = fit.summary("b")["mean"]
    means = pd.DataFrame(table)
    show(means.round(3))
    say("""The regularised horseshoe and the spike and slab pull what is near zero towards zero, and leave the rest.""")
    for kind in ("rhs", "ssp"):
        pulled = means[kind].abs() / means["flat"].abs()
        example.claim(
            f"{kind}: weakest slope pulled more than the strongest",
            pulled[means["flat"].abs().idxmin()] < pulled["b[perf]"],
        )


# -------------------------------------------------------------------------------------------------- data, in and out
def layouts(example: Example, data: pd.DataFrame, wide: pd.DataFrame) -> None:
    """Within factors of a wide table, and what becomes of a predictor within clusters."""
    heading("3. Wide tables, factors, centring")
    say("""One row a person, one column a time: within= names the times, factors= makes cond categorical, and (1 |
        person) numbers the rows if there is no such column.""")
    model = rg.GLMM(TRAINING, wide, within=TIMES, factors=["cond"])
    show(model)
    show(model.cells.to_string(index=False))
    long = rg.to_long(wide, ["t1", "t2", "t3"], TIMES)
    show(long.head(3))
    by_hand = rg.lmer("y ~ time * cond + (1 | person)", long, reml=False)
    example.check("wide and long: logLik", by_hand.loglik, -model.optimize().negative_log_posterior, 1e-6)
    say("""cwc= makes talk_cwc, the deviation of talk from the mean of its group, and talk_cm, that mean, and leaves
        talk itself alone. With talk_cm beside talk_cwc the slopes are those between and within groups; with talk beside
        talk_cwc, as in the article, the second is within minus between.""")
    centred = {"cwc": {"cluster": "group", "pars": ["talk"]}}
    both = rg.GLMM("sat ~ talk_cm + talk_cwc + (1 | group)", data, **centred).optimize().summary("b")["Estimate"]
    raw = rg.GLMM("sat ~ talk + talk_cwc + (1 | group)", data, **centred).optimize().summary("b")["Estimate"]
    show(pd.concat([both, raw]).round(4).to_string())
    example.check("b[talk] is the slope between", both["b[talk_cm]"], raw["b[talk]"], 1e-6)
    example.check(
        "b[talk_cwc] is within minus between", both["b[talk_cwc]"] - both["b[talk_cm]"], raw["b[talk_cwc]"], 1e-6
    )
    say("""gmc= takes the grand means off: the intercept is then the mean where all predictors are at theirs.""")
    plain, gmc = (
        rg.GLMM(DEBATE, data, **how).optimize().summary()["Estimate"] for how in ({}, {"gmc": ["talk", "perf"]})
    )
    means = data[["talk", "perf"]].mean()
    at_means = plain["Intercept"] + means["talk"] * plain["b[talk]"] + means["perf"] * plain["b[perf]"]
    example.check("intercept at the means", at_means, gmc["Intercept"], 1e-6)


# ------------------------------------------------------------------------------------------------------ ten families
#: Family -> formula, data set, other arguments.
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "lognormal_log": ("Reaction ~ Days + (1 | Subject)", "sleepstudy", {}),
    "gamma": ("Reaction ~ Days + (1 | Subject)", "sleepstudy", {"link": "log"}),
    "bernoulli": ("agree ~ talk + perf + (1 | group)", "debate_like", {}),
    "binomial": ("cbind(incidence, size - incidence) ~ period + (1 | herd)", "cbpp", {}),
    "poisson": ("y ~ Base * trt + Age + (1 | subject)", "epil2", {}),
    "neg_binomial": ("y ~ Base * trt + Age + (1 | subject)", "epil2", {}),
    "ordered": ("rating ~ temp + contact + (1 | judge)", "wine", {}),
    "sequential": ("rating ~ temp + contact + (1 | judge)", "wine", {}),
}


def families(example: Example) -> None:
    """Every family under a flat prior is a maximum likelihood fit, of which other programs know the answer."""
    heading("4. Families")
    say("""Under a flat prior the mode with random effects integrated out by Laplace's method is the fit of glmmTMB (and
        of clmm, for ordered categories; sequential ones as stages of a logistic model).""")
    for name, (formula, source, settings) in FAMILIES.items():
        fit = rg.GLMM(formula, rg.datasets.load(source), family=name, **settings).optimize()
        shown = "".join(f", {key}={value!r}" for key, value in settings.items())
        print(f"\nGLMM({formula!r}, {source}, family={name!r}{shown})")
        ours = {"logLik": -fit.negative_log_posterior} | fit.summary()["Estimate"].to_dict()
        example.compare_numbers(f"article-{name}", ours)
    robust(example)


def robust(example: Example) -> None:
    """Student's t, where a flat prior has no place for its degrees of freedom."""
    say("""Student's t: heavy tails for the odd reaction time. Its degrees of freedom have a proper prior here, whatever
        the rest: without one they may drift to infinity, where the model is the Gaussian one.""")
    data = rg.datasets.load("sleepstudy")
    t, normal = (
        rg.GLMM("Reaction ~ Days + (1 | Subject)", data, family=family, prior=rg.prior_normal(Intercept_sd=300))
        for family in ("student_t", "gaussian")
    )
    fit = t.optimize()
    show(fit.summary())
    gain = fit.log_marginal - normal.optimize().log_marginal
    say(f"""Log marginal likelihood: {gain:.1f} more than with a normal distribution.""")
    row = t.prior_summary().loc["nu"]
    example.claim("nu has a proper prior", t.posterior.is_proper and "gamma" in str(row["prior"]))
    example.claim(
        "sigma is less than the Gaussian",
        fit.summary("sigma").iloc[0, 0] < normal.optimize().summary("sigma").iloc[0, 0],
    )


# ---------------------------------------------------------------------------------------- random effects, correlations
#: Layout -> formula and data set.
LAYOUTS = {
    "slopes": ("Reaction ~ Days + (Days | Subject)", "sleepstudy"),
    "independent slopes": ("Reaction ~ Days + (Days || Subject)", "sleepstudy"),
    "crossed": ("diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin"),
    "nested": ("strength ~ 1 + (1 | batch/cask)", "Pastes"),
}
#: Structure -> arguments of the residuals, and the volume that the uniform prior of the correlations is spread over.
RESIDUALS: dict[str, tuple[dict[str, Any], float]] = {
    "cs": ({"resid_corr": "cs"}, 1.5),
    "ar1": ({"resid_corr": "ar1", "resid_time": "time"}, 2.0),
    "toep": ({"resid_corr": "toep", "resid_time": "time"}, 4.0),
    "un": ({"resid_corr": "un", "resid_time": "time"}, 8.0),
    "sigma_by": ({"sigma_by": "time"}, 1.0),
    "ar1, sigma_by": ({"resid_corr": "ar1", "resid_time": "time", "sigma_by": "time"}, 2.0),
}


def structures(example: Example, wide: pd.DataFrame) -> None:
    """Slopes, crossed and nested effects; residuals that hang together."""
    heading("5. Random effects and residuals")
    ours = {}
    for name, (formula, source) in LAYOUTS.items():
        fit = rg.GLMM(formula, rg.datasets.load(source)).optimize()
        ours[f"logLik {name}"] = -fit.negative_log_posterior
        print(f"\n{name}: GLMM({formula!r}, {source})")
        print(fit.summary(["sd", "corr"] if name == "slopes" else "sd").round(4))
    example.compare_numbers("article-layouts", ours)
    say("""Residuals of one person: equal correlations, an autoregression, a correlation for each distance, any
        correlations; a standard deviation for each time. Correlations are uniform even under a flat prior (of partial
        correlations, where they come one after another), so that the density of that prior, a constant, is taken off
        for the log-likelihood of gls() and lme() in nlme.""")
    ours = {}
    for name, (settings, volume) in RESIDUALS.items():
        group = {} if name == "sigma_by" else {"resid_group": "person"}
        formula = TRAINING if name == "sigma_by" else "cbind(t1, t2, t3) ~ time * cond"
        fit = rg.GLMM(formula, wide, within=TIMES, factors=["cond"], **settings, **group).optimize()
        print(f"\n{name}:\n{fit.summary(['-b', '-Intercept', '-Intercept_c']).round(4)}")
        ours |= {f"{name}: {label}": value for label, value in fit.summary()["Estimate"].items()}
        ours[f"{name}: logLik"] = -fit.negative_log_posterior + np.log(volume)
    example.compare_numbers("article-residuals", ours)


# ------------------------------------------------------------------------------------------------- the classical answer
def classical(example: Example, wide: pd.DataFrame, data: pd.DataFrame) -> None:
    """classic(): REML, Satterthwaite, the chi-square table, marginal means."""
    heading("6. classic(), anova() and lsmeans()")
    fit = rg.GLMM(TRAINING, wide, within=TIMES, factors=["cond"]).classic()
    show(fit)
    table, tests = fit.anova(test="Chisq"), fit.anova()
    show(table)
    show(tests)
    ours = {f"Chisq {name}": value for name, value in table["Chisq"].items()}
    ours |= {f"F {name}": value for name, value in tests["F value"].items()}
    means = fit.lsmeans("time")
    show(means)
    pairs = means.contrasts("pairwise", adjust="holm")
    show(pairs)
    show(fit.lsmeans("time:cond", simple="time").comparisons)
    show(fit.simple_effects("cond:time"))
    ours |= {f"mean {row.time}": row.estimate for row in means.table.itertuples()}
    ours |= {"SE of a mean": float(means.table["SE"].iloc[0]), "df of a mean": float(means.table["df"].iloc[0])}
    ours |= {f"t of {row.contrast}": row.estimate / row.SE for row in pairs.table.itertuples()}
    example.compare_numbers("article-classic", ours)
    example.picture(rg.plots.plot_lsmeans(means), "lsmeans")
    moderated = rg.GLMM("sat ~ talk * perf + (1 | group)", data).classic()
    effects = moderated.conditional_effects("talk:perf")
    show(effects)
    example.picture(rg.plots.plot_conditional_effects(effects), "conditional_effects")
    show(moderated.simple_effects("talk:perf"))


# ------------------------------------------------------------------------------------------------------------ draws
def chains(example: Example, model: rg.GLMM, exact: Exact) -> Any:
    """sample(), its table, and pictures of it."""
    heading("7. sample()")
    fit = quietly(model.sample, **CHAINS | {"sampling": 1000})
    show(fit)
    moments, table = exact.moments(), fit.summary(exact.names)
    say("""Means beside the exact ones (four Monte Carlo standard errors are allowed), and standard deviations.""")
    for name in exact.names:
        row = table.loc[name]
        example.check(
            f"mean of {name}", moments.loc[name, "mean"], row["mean"], 4.0 * row["sd"] / np.sqrt(row["ess_bulk"])
        )
        example.check(f"sd of {name}", moments.loc[name, "sd"], row["sd"], 4.0 * row["sd"] / np.sqrt(row["ess_tail"]))
    show(fit.diagnose())
    show(pd.concat(fit.ranef().values()).head(3).round(3))
    show(fit.hypothesis("b[talk] - b[perf] > 0"))
    pars = ["b", "sigma", "sd"]
    example.picture(fit.plot_dens(pars), "dens")
    example.picture(fit.plot_trace(pars), "trace")
    example.picture(fit.plot_acf(pars), "acf")
    example.picture(fit.plot_forest(pars), "forest")
    example.picture(fit.plot_pairs(pars), "pairs")
    example.picture(fit.plot_rank(pars), "rank")
    example.picture(fit.ppc("ecdf"), "replicates")
    return fit


def approximations(example: Example, model: rg.GLMM, exact: Exact, fit: Any) -> None:
    """variational() and laplace_draws(): quick, and honest about it."""
    heading("8. variational() and laplace_draws()")
    mean_field = quietly(model.variational, method="meanfield", iter=5000, seed=1, progress=False)
    show(mean_field)
    example.picture(mean_field.plot_elbo(), "elbo")
    logml, _ = exact.logml
    say(f"""The bound lies below the log marginal likelihood ({logml:.3f}), and independent normals are too narrow: the
        standard deviation of the intercept is {mean_field.summary("Intercept")["sd"].iloc[0]:.3f} instead of
        {fit.summary("Intercept")["sd"].iloc[0]:.3f}. k-hat measures it.""")
    example.claim("the bound lies below", mean_field.elbo < logml)
    narrow = mean_field.summary("Intercept")["sd"].iloc[0] < 0.9 * fit.summary("Intercept")["sd"].iloc[0]
    example.claim("mean field is too narrow", narrow)
    quick = quietly(model.laplace_draws, 2000, seed=1)
    show(quick)
    moments = exact.moments()
    for name in exact.names:
        row = quick.summary(name).iloc[0]
        example.check(
            f"mean of {name}, no chain", moments.loc[name, "mean"], row["mean"], 4.0 * row["sd"] / np.sqrt(1000.0)
        )


# ------------------------------------------------------------------------------------------------------- comparisons
def evidence(example: Example, model: rg.GLMM, fit: Any, exact: Exact, data: pd.DataFrame) -> None:
    """Bridge sampling, Bayes factors, predictive accuracy."""
    heading("9. Marginal likelihoods and Bayes factors")
    logml, error = exact.logml
    for method in ("normal", "warp3"):
        bridge = fit.bridge_sampling(method=method)
        show(bridge)
        example.check(f"log marginal likelihood, {method}", logml, bridge.logml, 4.0 * np.hypot(bridge.error, error))
    say("""The random effects of a Gaussian model can be integrated out first: six numbers instead of 105.""")
    marginal = fit.bridge_sampling(marginal=True)
    show(marginal)
    example.check("log marginal likelihood, marginal", logml, marginal.logml, 4.0 * np.hypot(marginal.error, error))
    say("""Is talk of any use? Model 2 holds b[talk] at 0; its marginal likelihood needs chains of its own.""")
    factor = quietly(fit.bayes_factor, fixed={"b[talk]": 0})
    show(factor)
    logml2, error2 = Exact(data, ["perf"]).logml
    allowed = 4.0 * np.sqrt(factor.error**2 + error**2 + error2**2)
    example.check("log Bayes factor of talk", logml - logml2, factor.log_bf, allowed)
    without = rg.GLMM("sat ~ perf + (1 | group)", data, prior=rg.prior_normal())
    modes = rg.posterior_model_probabilities(
        {"with talk": model.optimize().log_marginal, "without": without.optimize().log_marginal}
    )
    show(modes)
    heading("10. Predictive accuracy")
    loo = quietly(fit.loo)
    show(loo)
    groups = quietly(fit.loo, by="group", max_draws=500)
    show(groups)
    example.check("leave a group out", exact.elpd_groups(), groups.elpd, 0.5)
    show(quietly(fit.waic))


def effects_of_draws(example: Example, data: pd.DataFrame) -> None:
    """One rule for the effects of all kinds of fits."""
    heading("11. Conditional effects of a posterior")
    model = rg.GLMM("sat ~ talk * perf + (1 | group)", data, prior=rg.prior_normal())
    fits = {
        "classic": rg.GLMM("sat ~ talk * perf + (1 | group)", data).classic(),
        "optimize": model.optimize(),
        "sample": quietly(model.sample, **CHAINS),
    }
    tables = {name: fit.simple_effects("talk:perf").table for name, fit in fits.items()}
    show(pd.DataFrame({name: table["estimate"] for name, table in tables.items()}).round(4))
    for name, allowed in (("optimize", 0.002), ("sample", 0.01)):
        for moderator, ours, known in zip(
            tables[name]["value"], tables[name]["estimate"], tables["classic"]["estimate"]
        ):
            example.check(f"slope of talk at perf = {moderator:.3f}, {name}", known, ours, allowed)
    effects = fits["sample"].conditional_effects("talk:perf")
    show(effects)
    example.picture(rg.plots.plot_conditional_effects(effects), "conditional_effects_posterior")
    say("""Ratings as ordered categories: each has its probability, and the bands stay within 0 and 1.""")
    wine = rg.GLMM(
        "rating ~ temp + contact + (1 | judge)", rg.datasets.load("wine"), family="ordered", prior=rg.prior_normal()
    )
    ratings = quietly(wine.sample, **CHAINS)
    show(ratings)
    of_temp = ratings.conditional_effects("temp", type="prob")
    show(of_temp)
    example.claim("bands within 0 and 1", of_temp.table["lower"].min() >= 0 and of_temp.table["upper"].max() <= 1)
    example.picture(rg.plots.plot_conditional_effects(of_temp), "ratings")


def main(arguments: list[str] | None = None) -> int:
    """Run the example."""
    example = Example("The article on rtmb_glmer()", arguments)
    data, wide = rg.datasets.load("debate_like"), rg.datasets.load("training_like")
    exact = Exact(data, ["talk", "perf"])
    model = first_model(example, data, exact)
    priors(example, data)
    layouts(example, data, wide)
    families(example)
    structures(example, wide)
    classical(example, wide, data)
    fit = chains(example, model, exact)
    approximations(example, model, exact, fit)
    evidence(example, model, fit, exact, data)
    effects_of_draws(example, data)
    return example.finish()


if __name__ == "__main__":
    sys.exit(main())
