"""Cross-checks whose truth is known: our own fits, perturbed ones, conventions made by hand, other software."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

import refglmm as rg
import refglmm.crosschecking.check  # importing a submodule must leave rg.crosscheck a function
from refglmm.crosschecking.verdict import Code
from refglmm.errors import ArgumentError

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
SLEEP = "Reaction ~ Days + (Days | Subject)"
LME4 = Path(__file__).resolve().parents[2] / "validation" / "peers" / "lme4.jsonl"


@pytest.fixture(scope="module")
def cbpp():
    return rg.datasets.load("cbpp")


@pytest.fixture(scope="module")
def sleepstudy():
    return rg.datasets.load("sleepstudy")


@pytest.fixture(scope="module")
def fit(cbpp):
    return rg.glmer(CBPP, cbpp, "binomial")


@pytest.fixture(scope="module")
def linear(sleepstudy):
    return rg.lmer(SLEEP, sleepstudy, reml=False)


def report_of(fit, **changes):
    """What an honest program would report of a fit of ours."""
    report = {
        "fixef": dict(fit.fixef),
        "se": dict(fit.se),
        "varcorr": fit.varcorr.as_frame().query("grp != 'Residual'"),
        "loglik": fit.loglik,
        "aic": fit.aic,
        "bic": fit.bic,
        "deviance": fit.deviance,
    }
    if fit.has_scale:
        report["sigma"] = fit.sigma
    return {**report, **changes}


def lme4_case(name):
    lines = LME4.read_text(encoding="utf-8").splitlines()
    return next(case for case in map(json.loads, lines) if case["case"] == name)


# --- agreement -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_agq", [1, 9])
def test_our_own_fit_agrees_with_itself(cbpp, n_agq):
    fit = rg.glmer(CBPP, cbpp, "binomial", n_agq=n_agq)
    check = rg.crosscheck(CBPP, cbpp, fit, family="binomial")
    assert check.code == Code.AGREES
    assert abs(check.evidence.loss) < 1e-9
    assert all(finding.plain for finding in check.evidence.findings)
    assert check.evidence.errors.is_ours


@pytest.mark.parametrize("reml", [False, True])
def test_our_own_linear_fit_agrees_with_itself(sleepstudy, reml):
    """Without a word about REML: which of the two it is, the estimates tell."""
    fit = rg.lmer(SLEEP, sleepstudy, reml=reml)
    check = rg.crosscheck(SLEEP, sleepstudy, report_of(fit))
    assert check.code == Code.AGREES
    assert check.objective == ("REML" if reml else "ML")


def test_a_model_with_zeros_and_a_dispersion_agrees_with_itself():
    rng = np.random.default_rng(3)
    group, x = np.repeat(np.arange(30), 8), rng.normal(size=240)
    mean = np.exp(0.8 + 0.4 * x + rng.normal(0, 0.5, 30)[group])
    y = rng.negative_binomial(3, 3 / (3 + mean)) * (rng.uniform(size=240) > 0.25)
    data = {"y": y, "x": x, "g": group}
    fit = rg.glmer("y ~ x + (1 | g)", data, "nbinom2", zi="~ 1")
    report = {
        "betas": dict(fit.fixef),
        "gammas": {"(Intercept)": fit.fixef_zi.iloc[0]},
        "sd": {"g": fit.varcorr["g"].sd[0]},
        "phi": dict(fit.phi),
        "loglik": fit.loglik,
    }
    check = rg.crosscheck("y ~ x + (1 | g)", data, report, family="nbinom2", zi="~ 1")
    assert check.code == Code.AGREES
    assert np.all(np.isfinite(check.estimates["distance"]))


def test_rounded_estimates_agree_within_their_rounding(fit, cbpp):
    report = {"fixef": list(fit.fixef.round(2)), "sd": {"herd": round(float(fit.theta.iloc[0]), 2)}}
    check = rg.crosscheck(CBPP, cbpp, {**report, "loglik": round(fit.loglik, 1)}, family="binomial")
    assert check.code == Code.AGREES
    assert 0.0 < check.evidence.loss < check.evidence.rounding_loss < 0.01


def test_few_digits_are_said_to_be_few(cbpp):
    report = {"fixef": [-1.4, -1.0, -1.1, -1.6], "sd": 0.6}
    check = rg.crosscheck(CBPP, cbpp, report, family="binomial")
    assert check.code == Code.AGREES
    assert check.evidence.loss > 1e-3
    assert "optimum, as far as its few digits tell: its" in check.sentence


def test_keys_that_mean_nothing_are_named(fit, cbpp):
    check = rg.crosscheck(CBPP, cbpp, report_of(fit, icc=0.1, residual=1), family="binomial")
    assert "in the report, but not read: icc, residual" in check.notes


def test_foreign_names_are_understood(fit, cbpp):
    names = ["Intercept", "C(period)[T.2]", "C(period)[T.3]", "C(period)[T.4]"]
    report = report_of(fit, fixef=dict(zip(names, fit.fixef, strict=True)), se=dict(zip(names, fit.se, strict=True)))
    assert rg.crosscheck(CBPP, cbpp, report, family="binomial").code == Code.AGREES


def test_a_model_in_place_of_formula_and_data(fit):
    assert rg.crosscheck(fit, reported=report_of(fit)).code == Code.AGREES
    assert rg.crosscheck(fit.model, reported=report_of(fit)).code == Code.AGREES


def test_formula_and_family_of_the_report(fit, cbpp):
    assert rg.crosscheck(data=cbpp, reported=fit.to_json()).code == Code.AGREES


def test_what_is_not_reported_is_filled_in(fit, cbpp):
    check = rg.crosscheck(CBPP, cbpp, {"fixef": dict(fit.fixef)}, family="binomial")
    assert check.code == Code.AGREES
    assert "optimum, as far as it is reported (sd_(Intercept)|herd is not): its" in check.sentence
    assert "not reported, filled in" in check.notes[0]
    assert np.isnan(check.estimates.loc["sd_(Intercept)|herd", "reported"])


# --- estimates off the optimum ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("errors", "code"),
    [(0.001, Code.AGREES), (0.1, Code.STOPPED_EARLY), (0.8, Code.NOT_THE_OPTIMUM), (4.0, Code.NOT_THE_OPTIMUM)],
)
def test_perturbed_estimates_have_the_distance_and_the_quadratic_loss(fit, cbpp, errors, code):
    """One coefficient moved by c standard errors, the others after it as their regression on it: the loss is c^2/2."""
    cov, estimates = np.linalg.inv(fit.optimum.hessian / 2.0), np.r_[fit.theta, fit.fixef]
    moved = estimates + errors * cov[:, 2] / np.sqrt(cov[2, 2])
    report = {"fixef": list(moved[1:]), "sd": {"herd": moved[0]}}
    check = rg.crosscheck(CBPP, cbpp, report, family="binomial")
    assert check.code == code
    assert check.estimates.loc["period2", "distance"] == pytest.approx(errors, rel=1e-3)
    assert check.evidence.worst == "period2"
    assert check.mahalanobis == pytest.approx(errors, rel=1e-3)
    assert check.evidence.loss == pytest.approx(0.5 * errors**2, rel=0.02 + 0.2 * errors)
    assert check.evidence.decrement == pytest.approx(0.5 * errors**2, rel=0.02 + 0.25 * errors)


def test_a_log_likelihood_of_the_optimum_beside_other_estimates(fit, cbpp):
    report = report_of(fit, fixef=[x + 0.5 for x in fit.fixef])
    check = rg.crosscheck(CBPP, cbpp, report, family="binomial")
    assert check.code == Code.NOT_THE_OPTIMUM
    assert "the value at the optimum, not at the reported estimates" in check.criteria.loc["loglik", "convention"]


@pytest.mark.parametrize(("changes", "word"), [({"sd": {"herd": 1e-7}}, "collapsed"), (None, "starting values")])
def test_degenerate_answers(fit, cbpp, changes, word):
    report = {"fixef": dict(fit.fixef), **changes} if changes else {"fixef": [0, 0, 0, 0], "sd": {"herd": 1}}
    check = rg.crosscheck(CBPP, cbpp, report, family="binomial")
    assert check.code == Code.DEGENERATE
    assert word in check.sentence


def test_other_data_give_themselves_away(cbpp):
    other = cbpp.assign(incidence=cbpp["incidence"].clip(upper=4))
    fit = rg.glmer(CBPP, other, "binomial")
    assert fit.loglik > rg.glmer(CBPP, cbpp, "binomial").loglik
    check = rg.crosscheck(CBPP, cbpp, report_of(fit), family="binomial")
    assert check.code == Code.OTHER_DATA
    assert "cannot come from these data and this model" in check.sentence


# --- other objectives ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"n_agq": 9}, "AGQ with"), ({"n_agq": 0}, "n_agq = 0")],
)
def test_the_optimum_of_another_approximation(cbpp, settings, words):
    fit = rg.glmer(CBPP, cbpp, "binomial", **settings)
    check = rg.crosscheck(CBPP, cbpp, report_of(fit), family="binomial", n_agq=1)
    assert check.code == Code.OTHER_OBJECTIVE
    assert words in check.sentence
    assert check.criteria["explained"].all()


def test_expected_curvature_of_a_link_that_is_not_canonical(cbpp):
    fit = rg.glmer(CBPP, cbpp, "binomial", link="cloglog", control={"curvature": "expected"})
    check = rg.crosscheck(CBPP, cbpp, report_of(fit), family="binomial", link="cloglog")
    assert check.code in (Code.OTHER_OBJECTIVE, Code.OTHER_CONVENTION)
    assert "expected curvature" in check.sentence


def test_ml_estimates_where_reml_is_claimed(linear, sleepstudy):
    check = rg.crosscheck(SLEEP, sleepstudy, report_of(linear, reml=True))
    assert check.code == Code.OTHER_OBJECTIVE
    assert "ML" in check.evidence.other_objective


# --- conventions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shift", "words"),
    [
        (lambda fit: -float(np.sum(fit.problem.base)), "without the binomial coefficients"),
        (lambda fit: -fit.conditional.log_density - 0.5 * fit.deviance, "relative to the saturated model"),
        (lambda fit: -0.5 * fit.problem.q * np.log(2 * np.pi), "the slip in the paper's Laplace formula"),
        (lambda fit: -2 * fit.loglik, "minus the log-likelihood"),
        (lambda fit: -3 * fit.loglik, "-2 log L in place of the log-likelihood"),
    ],
)
def test_constants_of_a_log_likelihood(fit, cbpp, shift, words):
    value = fit.loglik + shift(fit)
    check = rg.crosscheck(CBPP, cbpp, {**report_of(fit), "loglik": value, "aic": None, "bic": None}, family="binomial")
    assert check.code == Code.OTHER_CONVENTION
    assert words in check.sentence
    assert check.criteria.loc["loglik", "reproduced"] == pytest.approx(value, abs=1e-7)


def test_a_log_likelihood_of_no_convention(fit, cbpp):
    check = rg.crosscheck(CBPP, cbpp, report_of(fit, loglik=fit.loglik + 1.7), family="binomial")
    assert check.code == Code.WRONG_CRITERION
    assert not check.criteria.loc["loglik", "explained"]


def test_criteria_that_count_otherwise(fit, cbpp):
    n = len(cbpp)
    changes = {"aic": fit.aic - 2.0, "bic": fit.minus_two_loglik + 5 * np.log(15), "deviance": fit.minus_two_loglik}
    check = rg.crosscheck(CBPP, cbpp, report_of(fit, **changes), family="binomial")
    assert n == 56
    assert check.code == Code.OTHER_CONVENTION
    table = check.criteria["convention"]
    assert table["aic"] == "4 parameters counted where the model has 5"
    assert table["bic"] == "BIC with the 15 levels of herd as its sample size"
    assert table["deviance"] == "-2 log L (the random effects integrated out)"


def test_aic_alone_is_enough(fit, cbpp):
    check = rg.crosscheck(CBPP, cbpp, {"aic": fit.aic}, family="binomial")
    assert check.code == Code.INCOMPLETE
    assert check.evidence.findings[0].plain


@pytest.mark.parametrize(
    ("report", "words"),
    [({"sd": {"herd": 0.6422614**2}}, "are variances"), ({"fixef": "flipped"}, "have the opposite sign")],
)
def test_numbers_that_mean_something_else(fit, cbpp, report, words):
    if report.get("fixef") == "flipped":
        report = {"fixef": [-x for x in fit.fixef]}
    check = rg.crosscheck(CBPP, cbpp, report_of(fit) | {"varcorr": None, "sd": {"herd": 0.6422614}} | report,
                          family="binomial")  # fmt: skip
    assert check.code == Code.OTHER_CONVENTION
    assert words in check.sentence


@pytest.mark.parametrize("delta", [True, False])
def test_ratios_and_their_standard_errors(fit, cbpp, delta):
    """Odds ratios, with standard errors of the ratios (delta method) or of the coefficients."""
    ratios, se = np.exp(fit.fixef), fit.se[fit.fixef.index]
    report = report_of(fit, fixef=dict(ratios), se=dict(ratios * se if delta else se))
    check = rg.crosscheck(CBPP, cbpp, report, family="binomial")
    assert check.code == Code.OTHER_CONVENTION
    assert "the reported coefficients are ratios, exp of ours" in check.sentence
    assert check.evidence.errors.off < 1e-6
    np.testing.assert_allclose(check.estimates.loc[fit.fixef.index, "reported"], fit.fixef, rtol=1e-9)


def test_rounded_ratios_agree_within_their_rounding(fit, cbpp):
    report = {"fixef": dict(np.exp(fit.fixef).round(2)), "sd": round(float(fit.varcorr["herd"].sd[0]), 2)}
    check = rg.crosscheck(CBPP, cbpp, report, family="binomial")
    assert check.code == Code.OTHER_CONVENTION
    assert 1e-4 < check.evidence.loss < check.evidence.rounding_loss < 0.05


def test_a_negative_coefficient_is_no_ratio(fit, cbpp):
    report = report_of(fit, fixef=dict(np.exp(fit.fixef)) | {"period4": float(fit.fixef["period4"])})
    assert rg.crosscheck(CBPP, cbpp, report, family="binomial").code == Code.NOT_THE_OPTIMUM


@pytest.mark.parametrize("sd", [3, 50, 800])
def test_a_flat_tail_is_no_optimum_of_another_objective(fit, cbpp, sd):
    """Far out every approximation is flat, and whole numbers allow much; nor does a wild report warn anybody."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check = rg.crosscheck(CBPP, cbpp, {"fixef": dict(fit.fixef), "sd": sd}, family="binomial")
    assert check.code == Code.NOT_THE_OPTIMUM


def test_deviations_relative_to_sigma(linear, sleepstudy):
    table = linear.varcorr["Subject"]
    sd = dict(zip(table.columns, table.sd / linear.sigma, strict=True))
    report = {"fixef": dict(linear.fixef), "sigma": linear.sigma, "sd": {"Subject": sd}}
    check = rg.crosscheck(SLEEP, sleepstudy, report | {"corr": {"Subject": table.corr[1, 0]}}, reml=False)
    assert check.code == Code.OTHER_CONVENTION
    assert "relative to sigma (theta)" in check.sentence


# --- standard errors -------------------------------------------------------------------------------------------


def test_standard_errors_that_are_wrong(fit, cbpp):
    check = rg.crosscheck(CBPP, cbpp, report_of(fit, se=[0.5 * x for x in fit.se]), family="binomial")
    assert check.code == Code.WRONG_ERRORS
    assert "no convention known here gives them" in check.sentence
    assert check.standard_errors["ratio"].to_numpy() == pytest.approx(0.5)


def test_standard_errors_of_the_deviance(fit, cbpp):
    check = rg.crosscheck(CBPP, cbpp, report_of(fit, se=[x / 2**0.5 for x in fit.se]), family="binomial")
    assert check.code == Code.WRONG_ERRORS
    assert "1/sqrt(2) times those of the Hessian" in check.sentence


def test_conditional_standard_errors_are_named(fit, cbpp):
    rx = np.linalg.norm(np.linalg.inv(fit.conditional.rx), axis=1)
    check = rg.crosscheck(CBPP, cbpp, report_of(fit, se=list(rx)), family="binomial")
    assert check.code == Code.AGREES
    assert check.evidence.errors.kind.startswith("RX")
    assert "covariance parameters taken as known" in check.sentence


# --- other software --------------------------------------------------------------------------------------------


@pytest.mark.golden
def test_lme4_on_cbpp_stopped_its_inner_iteration_early(cbpp):
    """lme4 2.1.0, default settings: its logLik and standard errors are those of a stale PIRLS, its estimates fine."""
    check = rg.crosscheck(CBPP, cbpp, lme4_case("cbpp"), family="binomial")
    assert check.code == Code.OTHER_CONVENTION
    assert "lme4's objective, whose inner iteration (PIRLS) stops early" in check.sentence
    assert check.criteria["explained"].all()
    assert check.evidence.errors.kind.startswith("differences on lme4's objective")
    assert check.evidence.loss == pytest.approx(4.34e-6, rel=0.01)


@pytest.mark.golden
def test_lme4_quadrature_is_relative_to_the_saturated_model(cbpp):
    check = rg.crosscheck(CBPP, cbpp, lme4_case("cbpp_nagq9"), family="binomial")
    assert check.code == Code.OTHER_CONVENTION
    assert "relative to the saturated model" in check.criteria.loc["loglik", "convention"]


@pytest.mark.golden
def test_lme4_without_quadrature_is_no_laplace(cbpp):
    check = rg.crosscheck(CBPP, cbpp, lme4_case("cbpp_nagq0"), family="binomial")
    assert check.code == Code.OTHER_OBJECTIVE
    assert "n_agq = 0" in check.evidence.other_objective
    assert check.criteria["explained"].all()


@pytest.mark.golden
def test_lme4_fits_no_dispersion(sleepstudy):
    case = lme4_case("gamma_log_sleep")
    check = rg.crosscheck("Reaction ~ Days + (1 | Subject)", sleepstudy, case, family="gamma", link="log")
    assert check.code == Code.OTHER_OBJECTIVE
    assert "no likelihood of the dispersion" in check.sentence
    assert check.evidence.loss > 20


def test_statsmodels_map_collapses(cbpp):
    """statsmodels 0.15.0, BinomialBayesMixedGLM.fit_map: a joint mode, whose deviation of herds runs to zero."""
    report = {"program": "statsmodels", "kind": "map", "sd": {"herd": 3e-7}}
    check = rg.crosscheck(CBPP, cbpp, report, family="binomial")
    assert check.code == Code.DEGENERATE


# --- bad arguments ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reported": None}, "needs reported="),
        ({"model": None}, "needs a formula"),
        ({"data": None}, "needs data="),
        ({"n_agq": 0}, "n_agq must be a whole number from 1, not 0"),
        ({"reml": True}, "reml=True exists for linear mixed models only"),
        ({"kind": 3}, "has no argument|unexpected"),
    ],
)
def test_arguments_that_cannot_be(cbpp, arguments, message):
    given = {"model": CBPP, "data": cbpp, "reported": {"loglik": -92.5}, "family": "binomial"} | arguments
    with pytest.raises((ArgumentError, TypeError), match=message):
        rg.crosscheck(**given)


def test_a_made_model_takes_no_further_arguments(fit, cbpp):
    with pytest.raises(ArgumentError, match="family= has no place beside a model"):
        rg.crosscheck(fit, reported={"loglik": -92.5}, family="binomial")


def test_nothing_the_caller_owns_is_changed(fit, cbpp):
    report, before = report_of(fit), cbpp.copy(deep=True)
    kept = json.dumps(report, default=str)
    rg.crosscheck(CBPP, cbpp, report, family="binomial")
    assert json.dumps(report, default=str) == kept
    assert cbpp.equals(before)


def test_a_variational_fit_is_the_optimum_of_no_likelihood():
    """statsmodels 0.15.0, cbpp by fit_vb, one row a trial."""
    report = {
        "program": "statsmodels",
        "kind": "variational",
        "fixef": [-1.4093, -0.9832, -1.1199, -1.5644],
        "se": [0.112, 0.2529, 0.2759, 0.3745],
        "sd": {"herd": 0.69028},
    }
    data = rg.datasets.load("cbpp")
    check = rg.crosscheck("cbind(incidence, size - incidence) ~ period + (1 | herd)", data, report, family="binomial")
    assert check.code == "other_objective"
    assert "means of a variational approximation" in check.sentence
    assert "off by up to a factor of 0.482" in check.sentence


def test_what_cannot_be_read_from_deviations_is_filled_in():
    """The range of an exponential correlation does not follow from a standard deviation alone."""
    data = rg.datasets.load("sleepstudy")
    formula = "Reaction ~ Days + exp(0 + numFactor(Days) | Subject)"
    fit = rg.lmer(formula, data, reml=False)
    report = {"fixef": dict(fit.fixef), "sigma": fit.sigma, "loglik": fit.loglik, "reml": False}
    check = rg.crosscheck(formula, data, report)
    assert check.code == "agrees"
    assert check.estimates["reported"].isna().sum() == 2
    assert check.estimates.loc["(Intercept)", "reported"] == fit.fixef["(Intercept)"]
