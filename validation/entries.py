"""Which entry of ``published.json`` is which fit.

Place in the reading order: after ``models``. :data:`ENTRIES` has a line for every entry, made of

- :class:`Read`: the numbers below one node of the entry against one fit, read by their keys;
- :class:`Compute`: numbers that take more than reading (differences of fits, rules);
- :class:`Unreached`: numbers that estimation cannot reach, with the reason.

The runner fails on any number of an entry that none of the three claims, so nothing is dropped silently.

Numbers printed by lme4 at its default stop are compared with ``mode="lme4"``; numbers of fully converged
programs with ``mode="exact"``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import erfc, log, sqrt

import numpy as np

import refglmm as rg
from validation.models import Fit, Reader, bic_by_groups, fitted, residual_range, sd
from validation.prepare import frame
from validation.tolerance import (
    GLMMADAPTIVE,
    LINEAR,
    LME4_DEFAULT,
    PRINTED,
    TIGHT,
    Allowance,
    Tolerance,
    absolute,
    everything,
    relative,
)


@dataclass(frozen=True)
class Read:
    """Compare each number below the node ``at`` with a fit; ``readers``, ``kinds`` add to the usual ones."""

    at: str
    fit: Fit
    tolerance: Tolerance
    readers: Mapping[str, Reader] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Compute:
    """Compare the numbers that ``numbers()`` returns by their path below ``at``."""

    at: str
    numbers: Callable[[], Mapping[str, float]]
    tolerance: Tolerance
    mode: str = "exact"
    kind: str = "other"


@dataclass(frozen=True)
class Unreached:
    """Numbers below the node ``at`` that estimation cannot reach, and why."""

    at: str
    reason: str


Part = Read | Compute | Unreached

ILLUSTRATION = (
    "printed for other data than those distributed, on which the program itself finds other numbers: "
    "`validation.posterior` compares with those"
)
VECTOR_AGQ = "adaptive quadrature over vector random effects"
ZERO_INFLATED = "two-part family (zero inflation, hurdle)"
AFTER_FIT = "belongs to what follows the fit (intervals, contrasts, predictions)"
SETTINGS = "settings, not results"
UNVERIFIABLE = "no data are given"
NO_RANDOM = "no random effect: an ordinary regression"

# ---------------------------------------------------------------------------------------------- the fits
CBPP = Fit("cbind(incidence, size - incidence) ~ period + (1 | herd)", "cbpp")
CBPP_LME4 = CBPP.but(mode="lme4")
CBPP_OBS = Fit("cbind(incidence, size - incidence) ~ period + (1 | herd) + (1 | obs)", "cbpp_obs")
CBPP_PROPORTION = Fit("incidence/size ~ 1 + period + (1 | herd)", "cbpp", weights="size")
CBPP_AR1 = Fit("incidence/size ~ ar1(1 + herd | period)", "cbpp", weights="size", mode="lme4")
GM1 = Fit("incidence/size ~ period + treatment + avg_size + (1 | herd)", "cbpp2_obs", weights="size")
GM1_LME4 = GM1.but(mode="lme4")
GM2 = GM1.but(formula="incidence/size ~ period + treatment + avg_size + (1 | herd) + (1 | obs)")
GM3 = GM1.but(formula="incidence/size ~ period + treatment + avg_size + (1 | obs)")

_QUADRATIC = "use ~ age_s + I(age_s^2) + urban"
CM = {
    "cm1": Fit(f"{_QUADRATIC} + livch + (1 | district)", "Contraception"),
    "cm2": Fit(f"{_QUADRATIC} + ch + (1 | district)", "Contraception"),
    "cm3": Fit(f"{_QUADRATIC} + ch + age_s:ch + (1 | district)", "Contraception"),
    "cm4": Fit(f"{_QUADRATIC} + ch + age_s:ch + (1 + urban | district)", "Contraception"),
    "cm5": Fit(f"{_QUADRATIC} + ch + age_s:ch + (1 | district/urban)", "Contraception"),
    "cm6": Fit(f"{_QUADRATIC} + ch + age_s:ch + (1 | district:urban)", "Contraception"),
}
UNSCALED = "use ~ age*ch + I(age^2) + urban + {} "
CONTRA = Fit("use ~ 1 + age + I(age^2) + urban + livch + (1 | urban:district)", "Contraception")
CONTRA_LINEAR = CONTRA.but(formula="use ~ 1 + age + urban + livch + (1 | urban:district)", n_agq=0)

GAD_BINARY = Fit("y ~ sex * time + (1 | id)", "gad_binary", n_agq=11)
GAD_POISSON = Fit("y ~ sex * time + (1 | id)", "gad_poisson", family="poisson", n_agq=11)
GAD_MULTCOMP = Fit("y ~ sex + time + (1 | id)", "gad_multcomp", n_agq=11)
GAD_NEGBIN = Fit("y ~ f1 * f2 + (1 | g)", "gad_negbin", family="nb", n_agq=11)
GAD_ORDINAL = Fit("y_new ~ cohort + sex + time + (1 | id)", "gad_ordinal", n_agq=11)
GAD_ORDINAL_GM = GAD_ORDINAL.but(formula="y_new ~ cohort * sex + time + (1 | id)")

TICKS = Fit("TICKS ~ YEAR + HEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)", "grouseticks", family="poisson")
TICKS_CH = TICKS.but(formula="TICKS ~ 1 + YEAR + ch + (1 | INDEX) + (1 | BROOD) + (1 | LOCATION)")
MMEC = Fit("deaths ~ 1 + uvb + (1 | region) + offset(log(expected))", "mmec", family="poisson", n_agq=11)
VERBAGG = Fit("r2 ~ 1 + Anger + Gender + btype + situ + (1 | id) + (1 | item)", "VerbAgg")
BACTERIA = Fit("y ~ trtdiag + trtencourage + wk2 + (1 | ID)", "bacteria", mode="lme4")
NBSIM = Fit("y ~ f1 * f2 + (1 | g)", "nbsim_lme4", family="nb")
EPIL2 = Fit("y ~ Base*trt + Age + Visit + (Visit | subject)", "epil2", family="nb")
TOENAIL = Fit("outcome ~ time * treatment + (1 | patientID)", "toenail", mode="lme4")
TOENAIL_VISIT = TOENAIL.but(formula="outcome ~ treatment * visit + (1 | patientID)", n_agq=20)
CULCITA = Fit("predation ~ ttt + (1 | block)", "culcita", mode="lme4")
GOPHER = Fit("shells ~ prev + offset(log(Area)) + factor(year) + (1 | Site)", "gopherdat2", "poisson", mode="lme4")
SHRINKAGE = Fit("total.fruits ~ 1 + (1 | gen)", "Arabidopsis_clipped", family="poisson", mode="lme4")

SLEEP_REML = Fit("Reaction ~ Days + (Days | Subject)", "sleepstudy", reml=True)
SLEEP_ML = SLEEP_REML.but(reml=False)
SLEEP_INDEPENDENT_REML = SLEEP_REML.but(formula="Reaction ~ Days + (Days || Subject)")
SLEEP_INDEPENDENT_ML = SLEEP_INDEPENDENT_REML.but(reml=False)
SLEEP_INTERCEPT_ML = SLEEP_ML.but(formula="Reaction ~ Days + (1 | Subject)")
SLEEP_NULL_ML = SLEEP_ML.but(formula="Reaction ~ 1 + (1 | Subject)")
SLEEP_SPLIT_ML = SLEEP_ML.but(formula="Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)")
DYESTUFF = Fit("Yield ~ 1 + (1 | Batch)", "Dyestuff", reml=True)
DYESTUFF2 = DYESTUFF.but(data="Dyestuff2")
PENICILLIN = Fit("diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin", reml=True)
PASTES = Fit("strength ~ 1 + (1 | batch/cask)", "Pastes", reml=True)
INSTEVAL = Fit("y ~ 1 + service + (1 | s) + (1 | d) + (1 | dept)", "InstEval", reml=False)


# --------------------------------------------------------------------------- numbers that take computing
def chi_square_tail_1(statistic: float) -> float:
    """P(chi-square with one degree of freedom > statistic)."""
    return erfc(sqrt(statistic / 2))


def allfit_sd() -> dict[str, float]:
    """Standard deviation of gm1 by the optimizers that exist here; the names on the left are lme4's."""
    ours = {
        "bobyqa": ("bobyqa", "bobyqa"),
        "Nelder_Mead": ("bobyqa", "nelder_mead"),
        "nloptwrap.NLOPT_LN_NELDERMEAD": ("nelder_mead", "nelder_mead"),
        "nloptwrap.NLOPT_LN_BOBYQA": ("bobyqa", "bobyqa"),
    }
    return {
        f"sdcor herd.(Intercept)/{name}": sd(fitted(GM1_LME4.but(optimizer=pair)), ()) for name, pair in ours.items()
    }


def contraception_table() -> dict[str, float]:
    """Table 1: parameters, and differences of -log L and AIC to the best of the six models."""
    fits = {name: fitted(fit.but(mode="lme4")) for name, fit in CM.items()}
    best_loglik = max(fit.loglik for fit in fits.values())
    best_aic = min(fit.aic for fit in fits.values())
    table: dict[str, float] = {}
    for name, fit in fits.items():
        table[f"{name}/df"] = fit.df
        table[f"{name}/delta_negloglik"] = best_loglik - fit.loglik
        table[f"{name}/delta_AIC"] = fit.aic - best_aic
    return table


def related_structures() -> dict[str, float]:
    """The same model with diagonal and compound-symmetric blocks."""
    terms = {
        "diag(1+urban|district)": "diag(1 + urban | district)",
        "diag(1+urban|district, hom=TRUE)": "diag(1 + urban | district, hom = TRUE)",
        "cs(1+urban|district, hom=TRUE)": "cs(1 + urban | district, hom = TRUE)",
    }
    out: dict[str, float] = {}
    for name, term in terms.items():
        fit = fitted(Fit(UNSCALED.format(term), "Contraception", mode="lme4"))
        rows = fit.varcorr.as_frame()
        sds = rows.loc[rows["var2"].isna(), "sdcor"].tolist()
        out[f"{name}/logLik"] = fit.loglik
        if "hom" in name:
            out[f"{name}/sd"] = sds[0]
        else:
            out |= {f"{name}/sd/{j}": value for j, value in enumerate(sds)}
        if name.startswith("cs"):
            out[f"{name}/rho"] = rows.loc[rows["var2"].notna(), "sdcor"].iloc[0]
    return out


def hermite_rule(order: int) -> Callable[[], dict[str, float]]:
    """Nodes, weights and log normal density of ``gh_rule``."""

    def numbers() -> dict[str, float]:
        rule = rg.gh_rule(order)
        columns = {"z": rule.z, "w": rule.w, "ldnorm": rule.log_density}
        return {f"{name}/{j}": float(x) for name, column in columns.items() for j, x in enumerate(column)}

    return numbers


def hermite_moments() -> dict[str, float]:
    """Moments of the standard normal by the rules of order 5 and 12."""
    out: dict[str, float] = {}
    for name, order, powers in (
        ("GHrule5", 5, (2, 4, 6, 8, 10)),
        ("GHrule12_even", 12, (2, 4, 6, 8, 10, 12, 14)),
    ):
        rule = rg.gh_rule(order)
        out |= {f"{name}/{p}": float(np.sum(rule.w * rule.z**p)) for p in powers}
    return out


def observation_level() -> dict[str, float]:
    """gm2 against gm3: herd variance, and what it adds to the log-likelihood."""
    return {
        "gm2_herd_variance": sd(fitted(GM2), ("herd",)) ** 2,
        "gm2_logLik_minus_gm3_logLik": fitted(GM2).loglik - fitted(GM3).loglik,
    }


def text_numbers() -> dict[str, float]:
    """Counts and claims in the running text of the paper."""
    cbpp, toenail, table = frame("cbpp"), frame("toenail"), contraception_table()
    p = cbpp["incidence"].sum() / cbpp["size"].sum()
    interaction = rg.GLMM("incidence/size ~ period * treatment + avg_size + (1 | herd)", frame("cbpp2_obs"),
                          "binomial", weights="size")  # fmt: skip
    orders = [k for k in range(-1, 103) if _accepts(k)]
    return {
        "cbpp_effective_information p*(1-p)*sum(size)": p * (1 - p) * cbpp["size"].sum(),
        "cbpp_nobs": fitted(CBPP).nobs,
        "parameters gm1-like model without herd variance": len(fitted(GM1).fixef),
        "parameters with period x treatment interaction": interaction.problem.p,
        "toenail_mean_obs_per_patient (about)": len(toenail) / toenail["patientID"].nunique(),
        "ghrule_orders/min": orders[0],
        "ghrule_orders/max": orders[-1],
        "contraception_models": len(CM),
        "contraception (1|district/urban) vs (1|district:urban) gain": (
            table["cm6/delta_negloglik"] - table["cm5/delta_negloglik"]
        ),
        "contraception (1+urban|district) gain (about)": table["cm6/delta_negloglik"],
    }


def _accepts(order: int) -> bool:
    try:
        rg.gh_rule(order)
    except rg.errors.ArgumentError:
        return False
    return True


def observation_anova() -> dict[str, float]:
    """Likelihood ratio of the model with an effect per row against the one without."""
    larger, smaller = fitted(CBPP_OBS.but(mode="lme4")), fitted(CBPP_LME4)
    statistic = 2 * (larger.loglik - smaller.loglik)
    return {"Chisq": statistic, "Df": larger.df - smaller.df, "p": chi_square_tail_1(statistic)}


def talk_mode() -> dict[str, float]:
    """Posterior mode of the debate data, exponential priors of rate 5 for both standard deviations."""
    prior = rg.prior_normal(sigma_rate=5.0, tau_rate=5.0)
    fit = rg.GLMM("sat ~ talk + (1 | group)", frame("debate"), "gaussian", prior=prior).optimize()
    columns = {"estimate": "Estimate", "se": "Std. Error", "lower95": "Lower 95%", "upper95": "Upper 95%"}
    table = fit.estimates.rename(index={"sd[group:Int]": "sd[Int]"})
    out = {f"{key}/{name}": x for key, column in columns.items() for name, x in table[column].items()}
    out["negative_log_posterior"] = fit.negative_log_posterior
    return out | {"log_marginal_likelihood_laplace": fit.log_marginal}


def other_packages() -> dict[str, float]:
    """The exact coefficients, against three other programs."""
    fixef = fitted(CBPP).fixef
    return {f"{p}/{name}": x for p in ("lme4.0", "glmmADMB", "glmmML") for name, x in fixef.items()}


def cbpp_modes(kind: str, path: str) -> Callable[[], dict[str, float]]:
    """Conditional modes ("modes") or variances ("variances") of the 15 herds in lme4 mode."""

    def numbers() -> dict[str, float]:
        effects = fitted(CBPP_LME4).ranef(cond_var=True)
        values = effects["herd"].iloc[:, 0] if kind == "modes" else effects.cond_var["herd"][:, 0, 0]
        return {f"{path}/{j}": float(x) for j, x in enumerate(values)}

    return numbers


def modes_by_level(fit: Fit, group: str, columns: int = 1) -> Callable[[], dict[str, float]]:
    """Conditional modes by level (and by column, where there are several)."""

    def numbers() -> dict[str, float]:
        effects = fitted(fit).ranef(cond_var=False)[group]
        if columns == 1:
            return {str(level): float(row.iloc[0]) for level, row in effects.iterrows()}
        return {f"{level}/{j}": float(row.iloc[j]) for level, row in effects.iterrows() for j in range(columns)}

    return numbers


def subject_covariance(fit: Fit) -> Callable[[], dict[str, float]]:
    """Conditional covariance of a subject's two effects (balanced data: the same for all)."""

    def numbers() -> dict[str, float]:
        block = fitted(fit).ranef(cond_var=True).cond_var["Subject"][0]
        return {"11": block[0, 0], "12": block[1, 0], "22": block[1, 1]}

    return numbers


def ticks_at_the_optimum() -> dict[str, float]:
    """The old fit's parameters, found again: its deviance function's value is the minimum."""
    fit = fitted(TICKS)
    state = fit.conditional
    out = {f"theta_INDEX_BROOD_LOCATION/{j}": float(x) for j, x in enumerate(fit.theta)}
    out |= {f"beta/{name}": float(x) for name, x in fit.fixef.items()}
    out |= {f"old_lme4_variances/{g}": sd(fit, (g,)) ** 2 for g in ("INDEX", "BROOD", "LOCATION")}
    out["laplace_minus2logLik_at_these_parameters"] = fit.minus_two_loglik
    out["old_lme4_logLik_without_constant"] = -0.5 * (state.deviance + state.penalty + state.logdet_L2)
    return out


def sleepstudy_anova() -> dict[str, float]:
    """Correlated against independent intercepts and slopes."""
    statistic = 2 * (fitted(SLEEP_ML).loglik - fitted(SLEEP_INDEPENDENT_ML).loglik)
    return {"Chisq": statistic, "p": chi_square_tail_1(statistic)}


def sleepstudy_ml_extras() -> dict[str, float]:
    """The first subject's effects on both scales, and the degrees of freedom of the fit."""
    fit = fitted(SLEEP_ML)
    return {
        "first_conditional_mode": float(fit.ranef(cond_var=False)["Subject"].iloc[0, 0]),
        "first_conditional_mode_u_scale": float(fit.conditional.u[0]),
    }


def insteval_first_row() -> dict[str, float]:
    """Fitted value and residual of the first rating."""
    fit = fitted(INSTEVAL)
    return {
        "first_fitted": float(fit.fitted.iloc[0]),
        "first_residual": float(fit.residuals("response").iloc[0]),
    }


def contraception_ratios() -> dict[str, float]:
    """Likelihood ratios of nested models at n_agq = 0, the smallest without random effects."""
    linear, quadratic = fitted(CONTRA_LINEAR), fitted(CONTRA.but(n_agq=0))
    X, y = linear.model_matrix().to_numpy(), linear.frame.y
    return {
        "LRT glm gm1": 2 * (quadratic.loglik - logistic_loglik(X, y)),
        "LRT gm0 gm1": 2 * (quadratic.loglik - linear.loglik),
    }


def logistic_loglik(X: np.ndarray, y: np.ndarray) -> float:
    """Maximum log-likelihood of a logistic regression of 0/1 data, by Newton's method."""
    beta = np.zeros(X.shape[1])
    for _ in range(50):
        mu = 1 / (1 + np.exp(-X @ beta))
        beta = beta + np.linalg.solve(X.T @ (X * (mu * (1 - mu))[:, None]), X.T @ (y - mu))
    eta = X @ beta
    return float(np.sum(y * eta - np.logaddexp(0, eta)))


def sleepstudy_glmmtmb() -> dict[str, float]:
    """Three nested models by maximum likelihood; the intervals are estimate +- 1.96 standard errors."""
    null, line, split = fitted(SLEEP_NULL_ML), fitted(SLEEP_INTERCEPT_ML), fitted(SLEEP_SPLIT_ML)
    out = {"fm0_fixef": float(null.fixef.iloc[0])}
    out |= {f"fm0_ranef_first3/{j}": float(null.ranef()["Subject"].iloc[j, 0]) for j in range(3)}
    wald = "fm1_confint_wald95 (2.5 %, 97.5 %, estimate)"
    for name in ("(Intercept)", "Days"):
        estimate, half = line.fixef[name], 1.959963984540054 * line.se[name]
        out[f"fm1_fixef/{name}"] = estimate
        out |= {f"{wald}/{name}/{j}": x for j, x in enumerate((estimate - half, estimate + half, estimate))}
    out[f"{wald}/sd Subject/2"] = sd(line, ("Subject",))
    rows = split.varcorr.as_frame()
    for group in ("Subject", "Subject.1"):
        out[f"fm3_variances/{group}"] = float(rows.loc[rows["grp"] == group, "vcov"].iloc[0])
    return out


def ordinal_ratio() -> dict[str, float]:
    """Likelihood ratio of the two continuation-ratio models (chi-square with 2 degrees of freedom)."""
    larger, smaller = fitted(GAD_ORDINAL_GM), fitted(GAD_ORDINAL)
    statistic = 2 * (larger.loglik - smaller.loglik)
    return {"statistic": statistic, "df": larger.df - smaller.df, "p": float(np.exp(-statistic / 2))}


def log_size(fit: Fit) -> Callable[[], dict[str, float]]:
    """GLMMadaptive's phi: the logarithm of the negative binomial size."""
    return lambda: {"0": log(float(fitted(fit).phi.iloc[0]))}


# -------------------------------------------------------------------------------------- entry by entry
_BY_GROUPS: dict[str, Reader] = {"BIC": bic_by_groups}
_EXACT_NOTE = LME4_DEFAULT.but(
    "a tight fit against lme4's default one (entry's note)",
    fixef=absolute(5e-4), theta=absolute(5e-4), sd=absolute(5e-4), variance=absolute(1e-3),
    loglik=absolute(3e-4), criterion=absolute(1e-3),
)  # fmt: skip
_TOENAIL_NOTE = TIGHT.but(
    "values depend on lme4's optimizer in the fifth digit (entry's note)",
    loglik=absolute(2e-4), fixef=relative(1e-3), sd=relative(1e-3), theta=relative(1e-3), se=relative(2e-3),
)  # fmt: skip


def _toenail_runs() -> list[Part]:
    """Eight orders of quadrature by lme4, and the Laplace fit of glmmTMB, which is fully converged."""
    parts: list[Part] = [
        Read(f"verification/runs/{j}/values", TOENAIL.but(n_agq=k), _TOENAIL_NOTE)
        for j, k in enumerate((0, 1, 5, 7, 11, 20, 25, 50))
    ]
    return [*parts, Read("verification/runs/8/values", TOENAIL.but(mode="exact"), TIGHT)]


def _glmmadaptive(fit: Fit) -> list[Part]:
    return [Read("quantities", fit, GLMMADAPTIVE, _BY_GROUPS)]


def _fully_adaptive() -> list[Part]:
    orders = {"k=1 (Laplace)": 1, "k=11": 11, "k=15": 15, "k=21": 21, "k=51": 51}
    at = "recomputed_fully_adaptive"
    return [Read(f"{at}/{name}", GAD_BINARY.but(n_agq=k), TIGHT) for name, k in orders.items()]


def _recomputed(fit: Fit, tolerance: Tolerance = TIGHT) -> Read:
    return Read("recomputed_tight/values", fit, tolerance)


ENTRIES: dict[str, list[Part]] = {
    "paper-cbpp-m1": [
        Read("quantities", CBPP_LME4, LME4_DEFAULT),
        _recomputed(CBPP),
        Read("recomputed_tight/se", CBPP, TIGHT),
    ],
    "paper-cbpp2-gm1": [
        Read("quantities", GM1_LME4, LME4_DEFAULT),
        _recomputed(GM1),
    ],
    "paper-cbpp2-allfit-sdcor": [
        Compute(
            "quantities", allfit_sd,
            everything("seven optimizers agree to 2e-4 (entry's note: 5e-4)", absolute(5e-4)), "lme4",
        ),
        Unreached("quantities", "optimizers of other packages (nlminb, nmk, L-BFGS-B)"),
    ],
    "paper-cbpp-ar1": [
        Read(
            "quantities", CBPP_AR1, LME4_DEFAULT.but("entry's note", sd=absolute(2e-4), corr=absolute(1e-3))
        ),
    ],
    "paper-contraception-table1": [
        Compute(
            "quantities", contraception_table,
            everything("differences of two default fits, each within 2e-5 in log L", absolute(1e-4)), "lme4",
        ),
        *(Unreached(f"recomputed_tight/values/{name}/varcorr", "the same as theta") for name in CM),
        *(Read(f"recomputed_tight/values/{name}", fit, TIGHT) for name, fit in CM.items()),
    ],
    "paper-contraception-cs": [
        Read(
            "quantities", Fit(UNSCALED.format("cs(1 + urban | district)"), "Contraception", mode="lme4"),
            LME4_DEFAULT.but("entry's note", sd=absolute(1e-3), corr=absolute(5e-3)),
        ),
        Compute(
            "related_recomputed_not_printed", related_structures,
            everything("the entry's note for the same models", absolute(1e-3)), "lme4",
        ),
    ],
    "paper-ghrule5": [Compute("quantities", hermite_rule(5), everything("the same rule", absolute(1e-8)))],
    "paper-cbpp2-obs-level-statements": [
        Compute("quantities", observation_level, everything("entry's note: zero to 1e-5", absolute(1e-5))),
    ],
    "paper-text-numbers": [
        Compute(
            "quantities", text_numbers,
            Tolerance(
                "counts exactly; 'about' as the authors round it: 6.5 for 6.49, 0.5 for 0.47",
                {"other": absolute(0.03)},
            ),
        ),
        *(
            Unreached(f"quantities/{name}", reason)
            for name, reason in {
                "rule_of_thumb_parameters": "advice, not a result",
                "information_rule_parameters": "advice, not a result",
                "figure2_t(z)_max (about)": "read off a drawn figure",
                "figure3_density_ratio_range": "read off a drawn figure",
                "contraception top three delta negloglik below": "a bound on the table compared above",
                "models without interaction delta AIC above": "a bound on the table compared above",
                "age_scaling_in_sd": SETTINGS,
                "correlation_matrix_suppressed_above_fixed_effects": SETTINGS,
                "compiled_with": SETTINGS,
            }.items()
        ),
    ],
    "paper-figures-9-12-confidence-intervals": [],  # a CSV of its own: validation.peers
    "brtmb-intro-debate-map": [Unreached("quantities", ILLUSTRATION)],
    "brtmb-intro-debate-mcmc": [Unreached("quantities", ILLUSTRATION)],
    "brtmb-intro-debate-simple-effects": [Unreached("quantities", ILLUSTRATION)],
    "brtmb-intro-anova-table": [Unreached("quantities", UNVERIFIABLE)],
    "brtmb-intro-lsmeans": [Unreached("quantities", UNVERIFIABLE)],
    "brtmb-intro-bridge": [Unreached("quantities", ILLUSTRATION)],
    "brtmb-intro-bayes-factor": [Unreached("quantities", ILLUSTRATION)],
    "brtmb-intro-defaults": [Unreached("quantities", SETTINGS)],
    "brtmb-debate-talk-map": [
        Compute("quantities", talk_mode, everything("the published optimum is not tight", absolute(1e-3)), "MAP")
    ],
    "brtmb-debate-lm-classic": [Unreached("quantities", NO_RANDOM)],
    "gad-intro-defaults": [Unreached("quantities", SETTINGS)],
    "gad-binary-fm1": [*_glmmadaptive(GAD_BINARY), *_fully_adaptive()],
    "gad-binary-fm1-nagq11": _glmmadaptive(GAD_BINARY),
    "gad-binary-fm1-nagq15": _glmmadaptive(GAD_BINARY.but(n_agq=15)),
    "gad-binary-fm1-nagq21": _glmmadaptive(GAD_BINARY.but(n_agq=21)),
    "gad-binary-anova": [
        Read("quantities/fm1", GAD_BINARY, GLMMADAPTIVE, _BY_GROUPS),
        Unreached("quantities/km", NO_RANDOM),
        Unreached("quantities/fm2", VECTOR_AGQ),
        Unreached("quantities/fm3", VECTOR_AGQ),
    ],
    "gad-binary-fm-slopes": [Unreached("quantities", VECTOR_AGQ)],
    "gad-poisson-gm1": _glmmadaptive(GAD_POISSON),
    "gad-poisson-penalized": [Unreached("quantities", "a penalty is a prior: posterior mode")],
    "gad-multcomp": [
        Unreached("quantities/tukey", AFTER_FIT),
        *_glmmadaptive(GAD_MULTCOMP),
    ],
    "gad-multcomp-emmeans": [Unreached("quantities", AFTER_FIT)],
    **{
        name: [Unreached("quantities", ZERO_INFLATED)]
        for name in (
            "gad-zip-fm1", "gad-zip-fm2", "gad-zinb-gm1", "gad-zi-anova", "gad-twopart-km1",
            "gad-twopart-km2", "gad-twopart-marginal", "gad-hurdle-poisson-dm1", "gad-hurdle-poisson-dm2",
            "gad-hurdle-negbin-hm1", "gad-hurdle-negbin-hm2", "gad-hurdle-anova",
            "glmmtmb-salamanders-zip", "glmmtmb-salamanders-zinb2", "glmmtmb-salamanders-hurdle",
            "glmmtmb-owls-zinb1", "glmmtmb-owls-zinb1-constant",
        )
    },
    "gad-negbin-custom": [
        Compute("quantities/phi", log_size(GAD_NEGBIN), everything(GLMMADAPTIVE.reason, absolute(2e-3))),
        *_glmmadaptive(GAD_NEGBIN),
    ],
    "gad-beta-custom": [Unreached("quantities", "beta family")],
    "gad-ordinal-fm": _glmmadaptive(GAD_ORDINAL),
    "gad-ordinal-gm": [
        Compute(
            "quantities/LRT_vs_fm", ordinal_ratio,
            everything("two log-likelihoods, each within 2e-4", absolute(4e-4)),
        ),
        *_glmmadaptive(GAD_ORDINAL_GM),
    ],
    "lme4-cbpp-nagq0": [Read("quantities", CBPP_LME4.but(n_agq=0), LME4_DEFAULT)],
    "lme4-cbpp-nagq9": [
        Read("quantities", CBPP_LME4.but(n_agq=9), LME4_DEFAULT),
        _recomputed(CBPP_LME4.but(n_agq=9), LME4_DEFAULT),
    ],
    "lme4-cbpp-nagq25": [
        Read(
            "quantities", CBPP_LME4.but(n_agq=25),
            LME4_DEFAULT.but(
                "lme4's own test: coefficients 5e-4, -2 log L 1e-9, deviance 1e-5, all relative",
                fixef=relative(5e-4), criterion=relative(1e-9), deviance=relative(1e-5),
            ),
        ),
    ],
    "lme4-cbpp-obs": [
        Compute(
            "quantities/anova_vs_m1", observation_anova,
            everything("two default fits, each within 2e-5 in log L", absolute(1e-4)), "lme4",
        ),
        Read("quantities", CBPP_OBS.but(mode="lme4"), LME4_DEFAULT),
        _recomputed(CBPP_OBS),
    ],
    "lme4-test-cbpp": [
        Read(
            "quantities", CBPP_LME4,
            LME4_DEFAULT.but(
                "lme4's own test, relative: coefficients 5e-4, variance and theta 6e-4, deviance, AIC 1e-5",
                fixef=relative(5e-4), variance=relative(6e-4), theta=relative(6e-4),
                deviance=relative(1e-5), criterion=relative(1e-5),
            ),
        ),
    ],
    "lme4-cbpp-other-packages": [
        Compute(
            "quantities", other_packages, everything("entry's note, to a tight fit", absolute(1e-4)),
        ),
    ],
    "lme4-cbpp-condvar": [
        Compute(
            "quantities", cbpp_modes("variances", "conditional_variances_herd_1_to_15"),
            everything("entry's note", relative(1e-3)), "lme4", "condvar",
        ),
        Compute(
            "recomputed_conditional_modes", cbpp_modes("modes", "herd_1_to_15"),
            everything("entry's note", relative(1e-3)), "lme4", "ranef",
        ),
    ],
    "lme4-cbpp-residual-ranges": [
        Read(
            "quantities", CBPP_PROPORTION.but(mode="lme4"), everything("entry's note", relative(1e-3)),
            {kind: residual_range(kind) for kind in ("deviance", "response", "pearson", "working")},
            dict.fromkeys(("deviance", "response", "pearson", "working"), "residual"),
        ),
    ],
    "lme4-bacteria": [
        Read(
            "quantities", BACTERIA,
            LME4_DEFAULT.but(
                "lme4's own test, relative", loglik=relative(5e-4), fixef=relative(1e-4),
            ),
        ),
        Read(
            "recomputed_treatment_contrasts/values",
            BACTERIA.but(formula="y ~ trt + wk2 + (1 | ID)", mode="exact"), TIGHT,
        ),
    ],
    "lme4-radinger": [
        Read(
            "quantities", Fit("presabs ~ predictor + (1 | species)", "radinger", mode="lme4"),
            everything("entry's note", relative(1e-4)),
        ),
    ],
    "lme4-grouseticks-devfun": [
        Compute(
            "quantities", ticks_at_the_optimum,
            everything(
                "relative 1e-7 in the value of -2 log L (entry's note) is its square root in the parameters",
                relative(3e-4),
            ),
        ),
    ],
    "lme4-glmernb-sim": [Read("quantities", NBSIM, everything("entry's note", relative(1e-5)))],
    "lme4-epil2-nb": [
        Read(
            "quantities/glmmADMB (diagonal random effects, df 9)",
            EPIL2.but(formula="y ~ Base*trt + Age + Visit + (Visit || subject)"),
            LME4_DEFAULT.but(
                "lme4's own test: 3 % on the size, 4 % on coefficients, 5e-4 on log L",
                theta=relative(0.03), fixef=relative(0.04), loglik=relative(5e-4),
            ),
            {"theta": lambda model, _: model.phi.iloc[0]},
        ),
        Read(
            "quantities/glmer.nb (df 10)", EPIL2,
            LME4_DEFAULT.but("lme4's own test", loglik=relative(5e-4)),
        ),
    ],
    "lme4-ghrule12": [
        Compute("quantities", hermite_rule(12), everything("exact to the digits printed", relative(1e-6))),
    ],
    "lme4-ghrule-moments": [
        Compute("quantities", hermite_moments, everything("entry's note", relative(1e-12))),
    ],
    "lme4-sleepstudy-reml": [
        Read("quantities", SLEEP_REML, LINEAR),
        Compute(
            "published_exact_fixef", lambda: dict(fitted(SLEEP_REML).fixef),
            everything("balanced data: the coefficients do not depend on theta", relative(1e-11)),
        ),
    ],
    "lme4-sleepstudy-ranef": [
        Compute(
            "quantities/ranef (Intercept, Days)", modes_by_level(SLEEP_REML, "Subject", 2),
            everything("entry's note", absolute(1e-3)),
        ),
        Compute(
            "quantities/conditional_covariance_each_subject", subject_covariance(SLEEP_REML),
            everything("of lme4's REML stop, 1e-4 relative in a standard deviation", relative(3e-4)),
        ),
    ],
    "lme4-sleepstudy-indep-reml": [Read("quantities", SLEEP_INDEPENDENT_REML, LINEAR)],
    "lme4-sleepstudy-subset": [
        Read(
            "quantities", SLEEP_REML.but(data="sleepstudy_from_day_2"),
            LINEAR.but("entry's note", sd=absolute(2e-3)),
        ),
    ],
    "lme4-sleepstudy-ml-anova": [
        Read("quantities/fm1", SLEEP_ML, LINEAR.but("entry's note", criterion=absolute(0.01))),
        Read("quantities/fm2", SLEEP_INDEPENDENT_ML, LINEAR.but("entry's note", criterion=absolute(0.01))),
        Compute("quantities", sleepstudy_anova, everything(LINEAR.reason, absolute(2e-4))),
    ],
    "lme4-dyestuff-reml": [
        Read(
            "quantities", DYESTUFF, LINEAR.but("lme4's own test", theta=absolute(1e-5), sd=relative(1e-5)),
            {"variance_batch": lambda model, _: sd(model, ("Batch",)) ** 2}, {"variance_batch": "variance"},
        ),
    ],
    "lme4-dyestuff-ml": [
        Read(
            "quantities", DYESTUFF.but(reml=False),
            LINEAR.but(
                "MixedModels.jl's own test: 1e-5 on theta, 1e-4 on standard deviations and errors",
                theta=absolute(1e-5), sd=absolute(1e-3), se=absolute(1e-4),
            ),
        ),
    ],
    "lme4-dyestuff2": [
        Read("quantities/reml", DYESTUFF2, LINEAR),
        Read("quantities/ml", DYESTUFF2.but(reml=False), LINEAR),
    ],
    "lme4-penicillin-reml": [
        Compute(
            "quantities/ranef_sample", modes_by_level(PENICILLIN, "sample"),
            everything("entry's note", absolute(1e-3)),
        ),
        Read("quantities", PENICILLIN, LINEAR),
    ],
    "mm-penicillin-ml": [Read("quantities", PENICILLIN.but(reml=False), LINEAR)],
    "lme4-pastes-reml": [Read("quantities", PASTES, LINEAR)],
    "mm-pastes-ml": [Read("quantities", PASTES.but(reml=False), LINEAR)],
    "lme4-pastes-crossed": [
        Read("quantities", PASTES.but(formula="strength ~ (1 | batch) + (1 | cask)"), LINEAR),
    ],
    "mm-sleepstudy-ml": [
        Compute(
            "quantities/conditional_covariance", subject_covariance(SLEEP_ML),
            everything("MixedModels.jl's own test", Allowance(absolute=1e-3, relative=1e-4)),
        ),
        Compute("quantities", sleepstudy_ml_extras, everything("MixedModels.jl's own test", absolute(1e-3))),
        Unreached("quantities/sum_leverage", "leverages belong to what follows the fit"),
        Read("quantities", SLEEP_ML, LINEAR),
    ],
    "mm-sleepstudy-zerocorr-ml": [Read("quantities", SLEEP_INDEPENDENT_ML, LINEAR)],
    "mm-sleepstudy-slope-only-ml": [
        Read(
            "quantities", SLEEP_ML.but(formula="Reaction ~ Days + (0 + Days | Subject)"),
            everything("MixedModels.jl's own test", relative(1e-5)),
        ),
    ],
    "mm-insteval-ml-3terms": [
        Compute("quantities", insteval_first_row, everything("MixedModels.jl's own test", absolute(1e-3))),
        Read("quantities", INSTEVAL, LINEAR.but("entry's note", criterion=absolute(1e-3))),
    ],
    "mm-insteval-ml-crossed": [
        Read(
            "quantities", INSTEVAL.but(formula="y ~ 1 + service * dept + (1 | s) + (1 | d)"),
            LINEAR.but("entry's note", criterion=absolute(1e-3)),
        ),
    ],
    "mm-contra-fast": [
        Compute(
            "quantities/ranef_by_urban:district", modes_by_level(CONTRA.but(n_agq=0), "urban:district"),
            everything("MixedModels.jl's own test", absolute(1e-4)),
        ),
        Read("quantities", CONTRA.but(n_agq=0), everything("MixedModels.jl's own test", absolute(1e-3))),
    ],
    "mm-contra-laplace": [
        Read("quantities", CONTRA, everything("MixedModels.jl's own test", relative(1e-5))),
    ],
    "mm-contra-agq7": [
        Read("quantities", CONTRA.but(n_agq=7), everything("MixedModels.jl's own test", absolute(1e-3))),
    ],
    "mm-contra-lrt": [
        Compute("quantities", contraception_ratios, everything("entry's note", absolute(2e-3))),
    ],
    "mm-cbpp": [
        Read("quantities", CBPP_PROPORTION, everything("MixedModels.jl's own test", relative(1e-4))),
    ],
    "mm-verbagg": [
        Read(
            "quantities/laplace", VERBAGG,
            Tolerance(
                "MixedModels.jl's own test: 1e-5 on the deviance, 1e-3 on its parts (flat at the optimum)",
                {"criterion": relative(1e-5), "deviance": relative(1e-3)},
            ),
            {"minus2logLik_docs": lambda model, _: model.minus_two_loglik},
            {"minus2logLik_docs": "criterion"},
        ),
        Read(
            "quantities/nagq0", VERBAGG.but(n_agq=0), everything("MixedModels.jl's own test", relative(1e-5))
        ),
    ],
    "mm-grouseticks": [
        Read("quantities", TICKS_CH.but(n_agq=0), everything("MixedModels.jl's own test", absolute(1e-3))),
        Read("recomputed_laplace/values", TICKS_CH, _EXACT_NOTE.but("lme4's bobyqa, default stop")),
    ],
    "mm-mmec": [
        Read(
            "quantities", MMEC.but(mode="lme4"),
            LME4_DEFAULT.but(
                "MixedModels.jl's own test: 5e-3 on the deviance, 1e-3 on the rest",
                criterion=absolute(5e-3), theta=absolute(1e-3), fixef=absolute(1e-3),
            ),
            # lme4's value for n_agq > 1 is already relative to the saturated model
            {"deviance_without_constant": lambda model, _: model.minus_two_loglik},
        ),
        Read("recomputed_laplace/values", MMEC.but(n_agq=1), _EXACT_NOTE),
    ],
    "glmmtmb-cbpp": [Read("quantities", CBPP, PRINTED)],
    "glmmtmb-cbpp-intercept": [
        Read(
            "quantities", CBPP_LME4.but(formula="cbind(incidence, size - incidence) ~ 1 + (1 | herd)"),
            everything("glmmTMB's own test", absolute(1e-3)),
        ),
    ],
    "glmmtmb-sleepstudy-ml": [
        Compute(
            "quantities", sleepstudy_glmmtmb,
            everything("glmmTMB's own test: 1e-4 and 1e-5, relative", relative(1e-4)),
        ),
        Unreached("quantities", "intervals of variance parameters and profiles"),
    ],
    "toenail-vignette-model": _toenail_runs(),
    "toenail-glmer-help-page": [Read("verification/runs/0/values", TOENAIL_VISIT, _TOENAIL_NOTE)],
    "culcita-laplace": [
        Read("verification/runs/0/values", CULCITA, everything("entry's note", relative(1e-3))),
    ],
    "culcita-agq10": [
        Read("verification/runs/0/values", CULCITA.but(n_agq=10), everything("entry's note", relative(1e-3))),
    ],
    "culcita-x20-laplace": [
        Read(
            "verification/runs/0/values", CULCITA.but(data="culcita_x20"),
            everything("entry's note: near-complete separation", relative(1e-2)),
        ),
    ],
    "culcita-x20-agq10": [
        Read(
            "verification/runs/0/values", CULCITA.but(data="culcita_x20", n_agq=10),
            everything("entry's note: near-complete separation", relative(1e-2)),
        ),
    ],
    "gopher-laplace": [Read("verification/runs/0/values", GOPHER, LME4_DEFAULT)],
    "lecture-arabidopsis-shrinkage": [
        Compute(
            "verification/runs/0/values/ranef_gen", modes_by_level(SHRINKAGE, "gen"),
            everything("entry's note", absolute(1e-3)), "lme4", "ranef",
        ),
        Read("verification/runs/0/values", SHRINKAGE, LME4_DEFAULT.but("entry's note", sd=absolute(1e-3))),
    ],
}  # fmt: skip
