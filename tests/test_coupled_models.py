"""Models with a zero part or a dispersion of their own, from formula to fit and what follows.

Golden numbers: glmmTMB 1.1.5 (R 4.2.2) on its data Salamanders and on lme4's sleepstudy; where an entry names no call,
the call is the formula that is shown.
"""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm.errors import (
    ArgumentError,
    ConvergenceWarning,
    FamilyError,
    FormulaError,
    NotAvailableError,
    ResponseError,
    SeparationWarning,
)

#: log-likelihood of glmmTMB's fit of count ~ spp + mined + (1|site), ziformula = ~spp + mined, nbinom2.
LOCAL_MAXIMUM = -817.149506196142
ZIP = ("count ~ mined + (1 | site)", "~ mined")


@pytest.fixture(scope="module")
def salamanders():
    data = rg.datasets.load("Salamanders")
    data["mined"] = pd.Categorical(data["mined"], ["yes", "no"])
    spp = ["GP", "PR", "DM", "EC-A", "EC-L", "DES-L", "DF"]
    return data.assign(spp=pd.Categorical(data["spp"], spp))


@pytest.fixture(scope="module")
def fit(salamanders):
    return rg.glmer("count ~ spp + mined + (1 | site)", salamanders, "poisson", zi="~ mined")


@pytest.fixture(scope="module")
def both(salamanders):
    """Random effects in both predictors."""
    return rg.glmer("count ~ mined + (1 | site)", salamanders, "poisson", zi="~ mined + (1 | site)")


@pytest.fixture(scope="module")
def sleep():
    data = rg.datasets.load("sleepstudy")
    data = data.assign(Days10=data["Days"] / 10, R100=data["Reaction"] / 100)
    return rg.glmer("R100 ~ Days10 + (Days10 | Subject)", data, "gaussian", dispersion="~ Days10")


# -- estimates -----------------------------------------------------------------------------------------------------


@pytest.mark.golden
def test_zero_inflated_poisson_as_glmmtmb(fit):
    """count ~ spp + mined + (1|site), ziformula = ~mined, family = poisson."""
    assert fit.loglik == pytest.approx(-886.764266247873, abs=1e-6)
    assert fit.fixef["minedno"] == pytest.approx(1.271427520556, abs=3e-5)
    assert fit.se["minedno"] == pytest.approx(0.2696117754327, rel=1e-4)
    np.testing.assert_allclose(fit.fixef_zi, [0.789999536845, -1.844908970612], atol=3e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.vcov(part="zi"))), [0.2728388313279, 0.3140568907939], rtol=1e-4)
    assert fit.varcorr["site"].sd[0] == pytest.approx(0.3336724275338, abs=1e-5)
    assert (fit.df, fit.aic) == (11, pytest.approx(1795.52853249575, abs=1e-5))


@pytest.mark.golden
def test_predictions_of_every_type_as_glmmtmb(fit, salamanders):
    """predict(type = ...) of the same fit; its population predictions set the random effects to zero."""
    first = {
        "link": [-0.3601789715592, 0.1860339594424, -0.692231089461],
        "response": [0.2177537845543, 0.3759957826067, 0.1562274374628],
        "conditional": [0.697551473024, 1.204463162581, 0.5004582554193],
    }
    for kind, wanted in first.items():
        np.testing.assert_allclose(fit.predict(type=kind).iloc[:3], wanted, rtol=2e-4)
    at_zero = fit.predict(salamanders.iloc[:1], type="response", re_form=False)
    assert at_zero.iloc[0] == pytest.approx(0.2176408614375, rel=1e-4)
    logit = 0.789999536845
    assert fit.predict(type="zlink").iloc[0] == pytest.approx(logit, abs=3e-5)
    assert fit.predict(type="zprob").iloc[0] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)
    assert (fit.predict(type="disp") == 1.0).all()
    pd.testing.assert_series_equal(fit.fitted, fit.predict(type="response"), check_names=False)


@pytest.mark.golden
def test_dispersion_of_a_gaussian_as_glmmtmb(sleep):
    """us(Days10|Subject), dispformula = ~Days10, ML; glmmTMB 1.1.5 models the logarithm of the variance."""
    assert sleep.loglik == pytest.approx(-41.069714253636, abs=1e-7)
    np.testing.assert_allclose(sleep.fixef, [2.52855978629, 1.008606428281], atol=1e-6)
    np.testing.assert_allclose(sleep.fixef_dispersion, [-3.586642344917, 1.692678701559], atol=2e-6)
    se = np.sqrt(np.diag(sleep.vcov(part="dispersion")))
    np.testing.assert_allclose(se, [0.2585602914279, 0.4877686905774], rtol=1e-5)
    np.testing.assert_allclose(sleep.predict(type="disp").iloc[:2], np.exp([-3.586642345, -3.417374475]), rtol=1e-5)
    assert not sleep.is_lmm
    assert "Dispersion model" in str(sleep.summary())


@pytest.mark.golden
def test_crossed_factors_in_both_predictors_as_glmmtmb(salamanders):
    """count ~ mined + (1|site) + (1|spp), ziformula = ~mined + (1|site) + (1|spp), poisson; logLik, sd."""
    formula = "~ mined + (1 | site) + (1 | spp)"
    fit = rg.glmer("count" + formula, salamanders, "poisson", zi="~ .")
    assert fit.loglik == pytest.approx(-886.925975962, abs=1e-7)
    assert fit.call["zi"].replace(" ", "") == formula.replace(" ", "")
    sd = dict(
        zip(fit.varcorr.as_frame()["var1"] + fit.varcorr.as_frame()["grp"].str[:3], fit.varcorr.as_frame()["sdcor"])
    )
    wanted = {"(Intercept)sit": 0.2569763242, "(Intercept)spp": 0.3827416421}
    wanted |= {"zi~(Intercept)sit": 0.8280634041, "zi~(Intercept)spp": 0.8293807804}
    assert sd == pytest.approx(wanted, abs=2e-5)


@pytest.mark.golden
def test_hurdle_whose_moments_point_far_away_as_glmmtmb(salamanders):
    """count ~ spp + mined + (1|site), ziformula = ~spp + mined, truncated_nbinom1: moments say phi = 6.6, it is 1.9."""
    fit = rg.glmer("count ~ spp + mined + (1 | site)", salamanders, "truncated_nbinom1", zi="~ spp + mined")
    assert fit.loglik == pytest.approx(-820.99713485141, abs=1e-7)
    assert fit.optimum.phi[0] == pytest.approx(1.892596784812, rel=1e-4)
    assert fit.optimum.n_evaluations < 40


@pytest.mark.slow
@pytest.mark.golden
def test_three_predictors_as_glmmtmb(salamanders):
    """pos ~ mined + (1|site), ziformula = ~mined, dispformula = ~mined, ziGamma(log), whose shape is 1/phi."""
    rows = np.arange(1, len(salamanders) + 1)
    count = salamanders["count"]
    data = salamanders.assign(pos=np.where(count > 0, count + 0.5 * np.abs(np.sin(rows)), 0.0))
    formula, parts = "pos ~ mined + (1 | site)", {"zi": "~ mined", "dispersion": "~ mined"}
    fit = rg.glmer(formula, data, "gamma", link="log", **parts)
    assert fit.loglik == pytest.approx(-893.198369403, abs=1e-7)
    np.testing.assert_allclose(fit.fixef_zi, [1.66500929105, -2.15051707078], atol=1e-5)
    np.testing.assert_allclose(fit.fixef_dispersion, [-1.396195616828, 0.595714823365], atol=1e-5)
    hurdle = rg.glmer(formula, data, "hurdle.gamma", link="log", **parts)
    assert hurdle.loglik == fit.loglik
    table = fit.anova(fit.update(dispersion="~ 1"))
    assert table["Df"].iloc[1] == 1
    y = fit.simulate(1, seed=4)["sim_1"]
    assert 0.3 < np.mean(y == 0.0) < 0.8
    assert fit.refit(fit.frame.y).loglik == pytest.approx(fit.loglik, abs=1e-8)


@pytest.mark.slow
@pytest.mark.golden
def test_negative_binomials_as_glmmtmb(salamanders):
    """spp + mined + (1|site): ziformula = ~mined; dispformula = ~mined; family = nbinom2."""
    formula = "count ~ spp + mined + (1 | site)"
    zi = rg.glmer(formula, salamanders, "nbinom2", zi="~ mined")
    assert zi.loglik == pytest.approx(-822.418350540812, abs=1e-6)
    assert zi.phi["size"] == pytest.approx(1.157408632024, rel=1e-3)
    dispersion = rg.glmer(formula, salamanders, "nbinom2", dispersion="~ mined")
    assert dispersion.loglik == pytest.approx(-821.966332164025, abs=1e-6)
    with pytest.warns(SeparationWarning, match="zero part runs away in .*zi~minedno"):
        supremum = rg.glmer(formula, salamanders, "nbinom2", zi="~ spp + mined")
    assert supremum.loglik > LOCAL_MAXIMUM + 2.0


@pytest.mark.slow
@pytest.mark.golden
def test_a_local_maximum_is_kept_where_a_start_says_all(salamanders):
    """ziformula = ~spp + mined: the likelihood keeps rising elsewhere, yet this is where glmmTMB stops."""
    beta = [-0.6103772330885, -0.9637019035081, 0.1706834080161, -0.3870563401603, 0.487948165501, 0.5894868538436]
    beta += [-0.1132663376275, 1.429350382071, 0.9100389402826, 1.161405009849, -0.9393237311821, 1.042429300198]
    beta += [-0.5623148753493, -0.8929958225133, -2.539814268347, -2.563026442506]
    start = {"par": [0.3799269669681], "beta": beta, "phi": [1.51165378784]}
    formula = "count ~ spp + mined + (1 | site)"
    fit = rg.glmer(formula, salamanders, "nbinom2", zi="~ spp + mined", start=start)
    assert fit.loglik == pytest.approx(LOCAL_MAXIMUM, abs=1e-6)
    np.testing.assert_allclose(fit.optimum.beta, beta, atol=1e-4)


def test_a_constant_dispersion_is_the_family_itself():
    """The same likelihood on another scale: a gaussian with dispersion ~ 1 is the linear mixed model by ML."""
    data = rg.datasets.load("sleepstudy")
    linear = rg.lmer("Reaction ~ Days + (1 | Subject)", data, reml=False)
    fit = rg.glmer("Reaction ~ Days + (1 | Subject)", data, "gaussian", dispersion="~ 1")
    assert fit.loglik == pytest.approx(linear.loglik, abs=1e-8)
    assert np.exp(0.5 * fit.fixef_dispersion.iloc[0]) == pytest.approx(linear.sigma, rel=1e-6)
    assert fit.varcorr["Subject"].sd[0] == pytest.approx(linear.varcorr["Subject"].sd[0], rel=1e-5)
    np.testing.assert_allclose(fit.residuals("pearson"), linear.residuals("pearson") / linear.sigma, atol=1e-6)


# -- ties ----------------------------------------------------------------------------------------------------------


def test_tied_random_effects_are_one_correlated_term(both, salamanders):
    """At a correlation of zero the tied model is the untied one, whose likelihood it cannot fall below."""
    tied = both.update(tie=True)
    (term,) = tied.varcorr.terms
    assert term.columns == ("(Intercept)", "zi~(Intercept)")
    assert tied.loglik > both.loglik
    assert tied.df == both.df + 1
    table = both.anova(tied)
    assert table["Df"].iloc[1] == 1
    sd = [both.varcorr[label].sd[0] for label in both.varcorr]
    start = {"par": np.array([sd[0], 0.0, sd[1]]), "beta": np.array(both.optimum.beta)}
    model = rg.GLMM("count ~ mined + (1 | site)", salamanders, "poisson", zi="~ mined + (1 | site)", tie=True)
    from refglmm.likelihood.laplace import LaplaceObjective
    from refglmm.likelihood.pirls import Pirls

    psi = model.problem.join(start["par"], start["beta"], np.empty(0))
    assert LaplaceObjective(Pirls(model.problem)).value(psi) == pytest.approx(-2.0 * both.loglik, abs=1e-9)
    reduced = tied.ranova()
    assert [str(name).split(" ")[0] for name in reduced.index[1:]] == ["main", "zi"]
    assert (reduced["Df"].iloc[1:] == 2).all()


# -- formulas ------------------------------------------------------------------------------------------------------


def test_missing_values_and_offsets_belong_to_all_predictors(salamanders):
    """Rows with a missing value in any predictor go; an offset moves the intercept of its own part alone."""
    data = salamanders.assign(z=np.where(np.arange(len(salamanders)) % 9 == 0, np.nan, 1.0), half=0.5)
    formula, zi = ZIP
    plain = rg.glmer(formula, data.dropna(), "poisson", zi=zi)
    shifted = rg.glmer(formula, data, "poisson", zi=f"{zi} + offset(half * z)")
    assert shifted.nobs == plain.nobs
    assert shifted.loglik == pytest.approx(plain.loglik, abs=1e-8)
    np.testing.assert_allclose(shifted.fixef_zi, plain.fixef_zi - [0.5, 0.0], atol=1e-4)
    np.testing.assert_allclose(shifted.fixef, plain.fixef, atol=1e-4)
    new = data.iloc[1:3]
    np.testing.assert_allclose(shifted.predict(new, type="zlink"), plain.predict(new, type="zlink"), atol=1e-4)


def test_family_names_with_a_zero_part(salamanders):
    formula = "count ~ mined + (1 | site)"
    by_name = rg.GLMM(formula, salamanders, "zi.poisson")
    assert by_name.family == rg.GLMM(formula, salamanders, "poisson", zi="~ 1").family
    assert by_name.problem.beta_names == ("(Intercept)", "minedno", "zi~(Intercept)")
    assert rg.GLMM(formula, salamanders, "poisson", zi="~ 0").problem.n_parts == 1
    assert rg.GLMM(formula, salamanders, "zi_negative_binomial", zi="~ mined").family.base.name == "negative_binomial"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"zi": "y ~ 1"}, FormulaError, "without a left-hand side"),
        ({"zi": 3}, FormulaError, "zi= is a formula such as"),
        ({"dispersion": "~ mined"}, FamilyError, "poisson family here has none to estimate"),
        ({"zi": "~ 1", "mode": "lme4"}, NotAvailableError, "lme4 has no such models"),
        ({"zi": "~ 1", "autoscale": True}, NotAvailableError, "autoscale=True is for one predictor"),
        ({"tie": True}, ArgumentError, "give zi= or dispersion="),
        ({"zi": "~ (1 | site) + (0 + DOY | site)", "tie": True}, ArgumentError, "tie=True joins one unstructured term"),
        ({"zi": "~ 1", "etastart": np.zeros(644)}, NotAvailableError, "for one linear predictor"),
        ({"zi": "~ 1", "control": {"curvature": "expected"}}, NotAvailableError, "curvature='observed' only"),
    ],
)
def test_what_cannot_be_is_refused(salamanders, arguments, error, message):
    with pytest.raises(error, match=message):
        rg.glmer("count ~ mined + (1 | site)", salamanders, "poisson", **arguments)


def test_zeros_that_are_not_there(salamanders):
    positive = salamanders[salamanders["count"] > 0]
    with pytest.raises(ResponseError, match="has no zeros"):
        rg.glmer("count ~ mined + (1 | site)", positive, "poisson", zi="~ 1")
    with pytest.raises(FamilyError, match="no mass at zero"):
        rg.glmer("cover ~ mined + (1 | site)", salamanders, "gaussian", zi="~ 1")
    with pytest.raises(ArgumentError, match="zi= belongs to generalized models"):
        rg.lmer("cover ~ mined + (1 | site)", salamanders, zi="~ 1")


# -- what follows a fit --------------------------------------------------------------------------------------------


def test_coefficients_of_each_part(fit):
    assert list(fit.coefficients(part="all").index)[-2:] == ["zi~(Intercept)", "zi~minedno"]
    assert list(fit.vcov(part="all").index) == list(fit.problem.beta_names)
    np.testing.assert_array_equal(fit.vcov(part="all").iloc[-2:, -2:], fit.vcov(part="zi"))
    assert len(fit.beta) == len(fit.se) == 8
    with pytest.raises(ArgumentError, match="has no predictor 'dispersion'; it has 'main', 'zi', 'all'"):
        _ = fit.fixef_dispersion
    assert fit.coef()["site"]["zi~minedno"].nunique() == 1


def test_standard_errors_by_the_delta_method(both, salamanders):
    """For the population the derivative of (1 - pi) mu in all coefficients is taken by differences."""
    row = salamanders.iloc[[5]]
    given = both.predict(row, type="response", re_form=False, se=True).iloc[0]

    def mean(beta):
        return both.predict(row, type="response", re_form=False, newparams={"beta": beta}).iloc[0]

    beta, step = np.array(both.optimum.beta), 1e-5
    slope = np.array([(mean(beta + step * e) - mean(beta - step * e)) / (2 * step) for e in np.eye(beta.size)])
    assert given["se"] == pytest.approx(np.sqrt(slope @ both.vcov(part="all").to_numpy() @ slope), rel=1e-6)
    bounds = both.predict(row, type="zprob", re_form=False, interval="confidence").iloc[0]
    assert 0 < bounds["lower"] < bounds["fit"] < bounds["upper"] < 1


def test_modes_move_standard_errors_too(both):
    """The variance of each predictor against the dense joint covariance of all coefficients and random effects."""
    joint = both.vcov(full=True).to_numpy()
    p, row = both.problem.p, 7
    Z = both.model_matrix("random").toarray()[row]
    design = both.design
    x = np.zeros((2, p))
    for k, (part, columns) in enumerate(design.slices.items()):
        x[k, columns] = design.parts[part].X[row]
    q = [term.q for term in design.terms]
    z = np.array([np.r_[Z[: q[0]], 0 * Z[q[0] :]], np.r_[0 * Z[: q[0]], Z[q[0] :]]])
    for k, kind in enumerate(("link", "zlink")):
        g = np.concatenate([x[k], z[k]])
        se = both.predict(type=kind, se=True)["se"].iloc[row]
        assert se == pytest.approx(np.sqrt(g @ joint @ g), rel=1e-8)


def test_draws_and_residuals_follow_the_mixture(both):
    y = both.simulate(400, seed=3, use_u=True).to_numpy()
    mean = both.fitted.to_numpy()
    variance = (both.frame.y - mean) ** 2 / both.residuals("pearson").to_numpy() ** 2
    z = (y.mean(axis=1) - mean) / np.sqrt(variance / 400)
    assert np.abs(z).max() < 6.0
    assert z.std() == pytest.approx(1.0, abs=0.15)
    zeros = (y == 0).mean()
    expected = both.zero_inflation().numbers["expected"] / both.nobs
    assert zeros == pytest.approx(expected, abs=0.01)
    pd.testing.assert_series_equal(both.residuals(), both.residuals("pearson"))
    with pytest.raises(NotAvailableError, match="deviance residual is not available for a model with zi"):
        both.residuals("deviance")
    again = both.simulate(2, seed=9)
    assert again.equals(both.simulate(2, seed=9))
    assert both.refit(again["sim_1"]).convergence.converged


def test_simulated_rows_of_new_data(both, salamanders):
    new = salamanders.iloc[:6].assign(site="elsewhere")
    drawn = both.simulate(200, seed=1, newdata=new)
    assert drawn.shape == (6, 200)
    assert 0 < (drawn == 0).to_numpy().mean() < 1


def test_intervals_tests_and_reports(both, salamanders):
    wald = both.confint(method="wald")
    assert {"sd_(Intercept)|site", "sd_zi~(Intercept)|site.1", "minedno", "zi~minedno"} <= set(wald.index)
    profile = both.confint("zi~minedno")
    np.testing.assert_allclose(profile, wald.loc[["zi~minedno"]], atol=0.25)
    text = str(both.summary())
    for piece in ("Zeros: ~ mined + (1 | site)", "Conditional model (log link):", "Zero-inflation model"):
        assert piece in text
    assert "zi~(Intercept)" in str(both)
    assert len(both.to_dict()["fixed"]) == 4
    assert pickle.loads(pickle.dumps(both)).loglik == both.loglik
    dropped = both.drop1()
    smaller = both.update(". ~ . - mined")
    assert np.isclose(np.asarray(dropped["AIC"], dtype=float), smaller.aic, atol=1e-6).any()
    table = both.anova(rg.glmer("count ~ mined + (1 | site)", salamanders, "poisson"))
    assert table["Df"].iloc[1] == 3


@pytest.mark.parametrize(
    "ask",
    [
        lambda fit: fit.hat_values(),
        lambda fit: fit.r2(),
        lambda fit: fit.deviance,
        lambda fit: fit.marginal_effects("mined"),
        lambda fit: fit.weights("working"),
        lambda fit: fit.plot_shrinkage(),
    ],
)
def test_what_has_no_meaning_for_several_predictors_says_so(both, ask):
    with pytest.raises(NotAvailableError):
        ask(both)


def test_types_of_prediction_belong_to_their_models(fit, sleep):
    plain = rg.lmer("Reaction ~ Days + (1 | Subject)", rg.datasets.load("sleepstudy"))
    with pytest.raises(ArgumentError, match="for models with zi= or dispersion="):
        plain.predict(type="zprob")
    with pytest.raises(ArgumentError, match="needs a zero part"):
        sleep.predict(type="zprob")
    with pytest.raises(ArgumentError, match="type must be one of"):
        fit.predict(type="odds")


@pytest.mark.slow
def test_a_laplace_deviance_with_steps_is_owned_up_to(shared_data):
    """gad_zi_negbin as a Poisson with random effects in both parts: glmmTMB 1.1.5 stops with an error here."""
    data = shared_data("gad_zi_negbin")
    with pytest.warns(ConvergenceWarning, match="the integrand of a group can have two maxima"):
        rg.glmer("y ~ sex * time + (1 | id)", data, "poisson", zi="~ sex + (1 | id)")
