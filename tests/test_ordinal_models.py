"""Ordinal mixed models, from the formula to what is asked of a fit.

Peer numbers: clmm of the R package ordinal on the wine data of Christensen's tutorial (Laplace and 10-point quadrature,
computed with ordinal 2022.11-16), and independent maxima of the continuation-ratio likelihood at 11 points.
Brute force: the integral over each judge's effect by 400 equidistant points.
"""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import refglmm as rg
from refglmm.errors import (
    ArgumentError,
    FormulaError,
    NotAvailableError,
    RankDeficiencyWarning,
    ResponseError,
    ResponseWarning,
    SeparationWarning,
)
from refglmm.families import Adjacent, Ordered, Sequential

FORMULA = "rating ~ temp + contact + (1 | judge)"

#: Link -> logLik of clmm by 10-point quadrature, its coefficients and its thresholds.
CLMM = {
    "logit": (-81.53246071, (3.06189099, 1.83343337), (-1.62348745, 1.51279604, 4.22705346, 6.08615228)),
    "probit": (-80.93129462, (1.799872197, 1.048114176), (-0.926325441, 0.889351423, 2.467333457, 3.536355954)),
}
#: Laplace: coefficients and their standard errors as printed by summary(clmm), logit.
CLMM_LAPLACE = {
    "estimates": (3.0629966, 1.8348849, -1.6236669, 1.5133652, 4.2285267, 6.0887726),
    "errors": (0.59537618, 0.51252933, 0.68244103, 0.60375333, 0.80896605, 0.97245365),
}
#: Direction -> logLik at 11 points, intercept and cohorts, coefficients, variance of the judges (in the signs of the
#: binary model).
GOLD = {
    "forward": (
        -81.34522211991272,
        (-1.668134466011866, 2.9416304603185797, 5.239694769355301, 6.577112936205769),
        (-2.7933637114089125, -1.6238825185712311),
        1.051817186227046,
    ),
    "backward": (
        -81.42441881401449,
        (-5.612280168056996, 1.371448540916873, 4.07876905050163, 6.866808176794796),
        (2.7767633708414388, 1.641160667820208),
        1.068543801140514,
    ),
}


@pytest.fixture(scope="module")
def wine():
    return rg.datasets.load("wine")


@pytest.fixture(scope="module")
def fit(wine):
    return rg.glmer(FORMULA, wine, "ordered")


# -- estimates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", CLMM)
def test_quadrature_agrees_with_clmm(wine, link):
    loglik, beta, thresholds = CLMM[link]
    found = rg.glmer(FORMULA, wine, Ordered(link), n_agq=10)
    assert found.convergence.converged
    assert found.loglik == pytest.approx(loglik, abs=2e-8)
    np.testing.assert_allclose(found.beta, beta, atol=1e-5)
    np.testing.assert_allclose(found.phi, thresholds, atol=1e-5)
    assert list(found.phi.index) == ["1|2", "2|3", "3|4", "4|5"]


def test_laplace_agrees_with_clmm(fit):
    """clmm's mode is found to 1e-6 only: its logLik, -81.565409, is 3e-6 above that of the exact modes."""
    assert fit.loglik == pytest.approx(-81.56540929, abs=1e-5)
    table = fit.summary().thresholds
    estimates = np.concatenate([fit.beta, table["Estimate"]])
    errors = np.concatenate([fit.se, table["Std. Error"]])
    np.testing.assert_allclose(estimates, CLMM_LAPLACE["estimates"], atol=1e-3)
    np.testing.assert_allclose(errors, CLMM_LAPLACE["errors"], rtol=2e-4)
    np.testing.assert_allclose(table["z value"], estimates[2:] / errors[2:])


def brute_force(wine, probabilities):
    """Log-likelihood of the wine data by the trapezoidal rule; probabilities: eta -> (n, K)."""
    b, rating = np.linspace(-9.0, 9.0, 401), wine["rating"].cat.codes.to_numpy()
    total = 0.0
    for judge in wine["judge"].unique():
        rows = np.flatnonzero(wine["judge"] == judge)
        with_effect = np.array([np.prod(probabilities(rows, z)[np.arange(rows.size), rating[rows]]) for z in b])
        total += np.log(np.sum(with_effect * stats.norm.pdf(b)) * (b[1] - b[0]))
    return total


@pytest.mark.parametrize(
    "family", [Ordered("cloglog"), Sequential(), Sequential(direction="backward"), Adjacent()], ids=repr
)
def test_quadrature_is_the_integral(wine, family):
    """At the estimates, 25 points give the literal integral of the product of the definitions."""
    found = rg.glmer(FORMULA, wine, family, n_agq=25)
    c, sd = found.phi.to_numpy(), found.theta.iloc[0]
    fixed = 1.0 * (wine["temp"] == "warm") * found.beta[0] + 1.0 * (wine["contact"] == "yes") * found.beta[1]
    law = stats.gumbel_l if family.link.name == "cloglog" else stats.logistic

    def probabilities(rows, z):
        eta = fixed.to_numpy()[rows] + sd * z
        if family.name == "ordered":
            ends = [np.zeros(eta.size), *(law.cdf(t - eta) for t in c), np.ones(eta.size)]
            return np.diff(np.array(ends), axis=0).T
        if family.name == "adjacent":
            odds = np.exp(np.cumsum([np.zeros(eta.size), *(eta - t for t in c)], axis=0))
            return (odds / odds.sum(axis=0)).T
        columns = [t - eta for t in c] if family.direction == "forward" else [eta - t for t in c[::-1]]
        return rg.cr_marginal_probabilities(np.column_stack(columns), family.direction)

    assert found.convergence.converged
    assert found.loglik == pytest.approx(brute_force(wine, probabilities), abs=1e-7)


@pytest.mark.parametrize("direction", GOLD)
def test_sequential_reaches_the_independent_maxima(wine, direction):
    loglik, cohorts, beta, variance = GOLD[direction]
    found = rg.glmer(FORMULA, wine, Sequential(direction=direction), n_agq=11)
    assert found.loglik == pytest.approx(loglik, abs=1e-8)
    sign = -1.0 if direction == "forward" else 1.0
    np.testing.assert_allclose(found.beta, sign * np.array(beta), atol=1e-5)
    ends = cohorts[0] + np.array([0.0, *cohorts[1:]])
    np.testing.assert_allclose(found.phi, ends if direction == "forward" else -ends[::-1], atol=1e-5)
    assert found.theta.iloc[0] ** 2 == pytest.approx(variance, rel=1e-5)


@pytest.mark.parametrize(("direction", "gold"), [("forward", -2712.6075712939614), ("backward", -2715.846731810014)])
def test_simulated_ordinal_data_of_glmmadaptive(shared_data, direction, gold):
    """The peer stops at -2712.60765 and -2715.84678; these are the maxima of the same objective at 11 points."""
    data = shared_data("gad_ordinal").assign(
        y=lambda d: pd.Categorical(
            d["y"], ["none", "mild", "moderate", "severe"], ordered=True
        ).remove_unused_categories()
    )
    found = rg.glmer("y ~ sex + time + (1 | id)", data, Sequential(direction=direction), n_agq=11)
    assert found.loglik == pytest.approx(gold, abs=1e-6)


@pytest.mark.slow
def test_crossed_effects_agree_with_clmm():
    """Soup: SURENESS ~ PROD + (1|RESP) + (1|PROD:RESP), probit; clmm (ordinal 2022.11-16): logLik -2666.850173."""
    soup = rg.datasets.load("soup")
    found = rg.glmer("SURENESS ~ PROD + (1 | RESP) + (1 | PROD:RESP)", soup, Ordered("probit"))
    assert found.convergence.converged
    assert found.loglik == pytest.approx(-2666.850173, abs=1e-5)
    assert found.fixef["PRODTest"] == pytest.approx(0.736416641, abs=1e-4)
    assert found.se["PRODTest"] == pytest.approx(0.068341960, rel=1e-3)
    np.testing.assert_allclose(
        found.phi, [-0.893062062, -0.292988712, -0.085830335, 0.078658966, 0.521512591], atol=1e-4
    )


@pytest.mark.parametrize("family", [Ordered(), Sequential(), Sequential(direction="backward"), Adjacent()], ids=repr)
def test_two_categories_are_logistic_regression(family):
    """The same likelihood, coefficients and tests; the threshold is the intercept with its sign changed."""
    data = _binary()
    logistic = rg.glmer("y ~ x + f + (1 | g)", data, "binomial")
    ordinal = rg.glmer("grade ~ x + f + (1 | g)", data, family)
    assert ordinal.loglik == pytest.approx(logistic.loglik, abs=1e-9)
    np.testing.assert_allclose(ordinal.beta, logistic.beta[1:], atol=1e-6)
    np.testing.assert_allclose(ordinal.se, logistic.se.iloc[1:], rtol=1e-5)
    assert ordinal.phi.iloc[0] == pytest.approx(-logistic.beta[0], abs=1e-6)
    for kind in (1, 2, 3):
        one, other = ordinal.anova(type=kind).frame, logistic.anova(type=kind).frame
        np.testing.assert_allclose(one.to_numpy(dtype=float), other.to_numpy(dtype=float), rtol=1e-4)
    np.testing.assert_allclose(ordinal.predict(type="prob")["high"], logistic.predict(type="response"), atol=1e-6)
    interval = ordinal.confint("low|high", method="wald").to_numpy()[0]
    np.testing.assert_allclose(interval, -logistic.confint("(Intercept)", method="wald").to_numpy()[0, ::-1], atol=1e-5)


def _binary():
    rng = np.random.default_rng(5)
    x, f, g = rng.normal(size=240), rng.choice(["a", "b", "c"], 240), np.repeat(np.arange(24), 10)
    y = rng.random(240) < 1 / (1 + np.exp(-(0.5 + x - (f == "b") + rng.normal(size=24)[g])))
    grade = pd.Categorical(np.where(y, "high", "low"), ["low", "high"], ordered=True)
    return pd.DataFrame({"x": x, "f": f, "g": g.astype(str), "y": y.astype(float), "grade": grade})


# -- the design ----------------------------------------------------------------------------------------------------


def test_thresholds_take_the_place_of_the_intercept(wine, fit):
    assert fit.design.names == ("tempwarm", "contactyes")
    assert "(Intercept)" not in fit.coefficients(add_dropped=True).index
    assert fit.design.fixed_matrix({"temp": ["warm", "cold"], "contact": ["no", "yes"]}).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(FormulaError, match="the thresholds of an ordinal model stand for the intercept"):
        rg.glmer("rating ~ 0 + temp + (1 | judge)", wine, "ordered")
    with pytest.warns(RankDeficiencyWarning, match="dropping ones"):
        again = rg.glmer("rating ~ temp + contact + ones + (1 | judge)", wine.assign(ones=1.0), "ordered")
    assert again.loglik == pytest.approx(fit.loglik, abs=1e-9)


def test_no_fixed_effects_and_known_thresholds(wine, fit):
    empty = rg.glmer("rating ~ 1 + (1 | judge)", wine, "ordered")
    assert empty.df == 5
    assert "Threshold coefficients:" in str(empty.summary())
    given = rg.glmer(FORMULA, wine, Ordered(thresholds=tuple(fit.phi), levels="12345"))
    assert given.df == 3
    assert given.loglik == pytest.approx(fit.loglik, abs=1e-8)
    np.testing.assert_allclose(given.predict(type="prob"), fit.predict(type="prob"), atol=1e-5)


# -- the response --------------------------------------------------------------------------------------------------


def test_numbers_and_factors_are_one_response(wine, fit):
    numbers = wine.assign(rating=2 * wine["rating"].astype(int))  # 2, 4, ...: the gaps mean nothing
    found = rg.glmer(FORMULA, numbers, "ordered")
    assert found.loglik == pytest.approx(fit.loglik, abs=1e-9)
    assert list(found.phi.index) == ["2|4", "4|6", "6|8", "8|10"]
    draws = found.simulate(1, seed=2)["sim_1"]
    assert set(draws) <= {2, 4, 6, 8, 10}
    assert draws.astype(int).equals(2 * fit.simulate(1, seed=2)["sim_1"].astype(int))
    assert found.refit(draws).loglik == pytest.approx(fit.refit(fit.simulate(1, seed=2)).loglik, abs=1e-8)


def test_categories_without_rows_are_named(wine):
    more = wine.assign(rating=wine["rating"].cat.add_categories(["6"]))
    with pytest.warns(ResponseWarning, match=r"'rating' has no row in '6': the model is for the categories '1', '2'"):
        found = rg.glmer(FORMULA, more, "ordered")
    assert len(found.phi) == 4


def test_the_alphabet_is_no_secret(wine):
    words = wine.assign(
        rating=wine["rating"].map(dict(zip("12345", ["bad", "awful", "fair", "good", "best"], strict=True)))
    )
    words["rating"] = words["rating"].astype(str)
    with pytest.warns(
        ResponseWarning, match="alphabetical order, awful < bad < best < fair < good; make it an ordered"
    ):
        rg.GLMM(FORMULA, words, "ordered")


@pytest.mark.parametrize(
    ("rating", "message"),
    [
        (lambda d: 1, "has only one level; an ordinal model needs two"),
        (
            lambda d: d["response"] / 3.0,
            r"an ordinal response is a factor, text or whole numbers: response 'rating' is",
        ),
    ],
)
def test_responses_that_are_not_ordinal(wine, rating, message):
    with pytest.raises(ResponseError, match=message):
        rg.glmer(FORMULA, wine.assign(rating=rating), "ordered")


def test_other_refusals(wine, fit):
    with pytest.raises(ResponseError, match="an ordinal response is one column"):
        rg.glmer("cbind(response, response) ~ temp + (1 | judge)", wine, "ordered")
    with pytest.raises(NotAvailableError, match="lme4 has no ordinal models"):
        rg.glmer(FORMULA, wine, "ordered", mode="lme4")
    with pytest.raises(ResponseError, match="no row is in category '5': its threshold has no estimate"):
        fit.refit(np.minimum(fit.frame.y, 3.0))
    with pytest.raises(ResponseError, match="y has levels '7'; the response of the fit has"):
        fit.refit(pd.Series(["7"] * 72))
    with pytest.raises(NotAvailableError, match="categories cannot be overdispersed"):
        fit.overdispersion()
    with pytest.raises(NotAvailableError, match="categories have no residuals to resample"):
        fit.bootstrap(nsim=2, type="semiparametric", use_u=True)
    with pytest.raises(NotAvailableError, match="of ordinal models, cumulative ones"):
        rg.glmer(FORMULA, wine, "adjacent").r2()
    with pytest.raises(ArgumentError, match="type must be one of 'link', 'prob', 'cum', 'class', not 'response'"):
        fit.predict(type="response")


@pytest.mark.parametrize("family", [Ordered(), Sequential("probit"), Sequential(direction="backward")], ids=repr)
def test_separation_is_found(family):
    """x = 1 occurs in the highest category only: its coefficient has no finite estimate. z is innocent."""
    rng = np.random.default_rng(3)
    g, z = np.repeat(np.arange(12), 10), rng.normal(size=120)
    y = np.digitize(z + rng.normal(size=12)[g] + rng.logistic(size=120), [-1.0, 1.0]) + 1
    x = np.where((y == 3) & (rng.random(120) < 0.5), 1.0, 0.0)
    data = pd.DataFrame({"y": y, "x": x, "z": z, "g": g.astype(str)})
    with pytest.warns(SeparationWarning, match="complete or quasi-complete separation in x:"):
        found = rg.glmer("y ~ x + z + (1 | g)", data, family)
    assert not found.convergence.converged
    sound = rg.glmer("y ~ z + (1 | g)", data, family)
    assert sound.convergence.converged


# -- what is asked of a fit ----------------------------------------------------------------------------------------


def test_the_usual_verbs(wine, fit):
    assert fit.df == 7
    smaller = fit.update(". ~ . - contact")
    table = fit.anova(smaller)
    assert table["Chisq"].iloc[1] == pytest.approx(2.0 * (fit.loglik - smaller.loglik), abs=1e-8)
    assert fit.update(link="probit").loglik == pytest.approx(-80.930605, abs=1e-5)
    backward = rg.glmer(FORMULA, wine, Sequential(direction="backward"))
    assert backward.update(link="probit").family.direction == "backward"
    assert pickle.loads(pickle.dumps(fit)).phi.equals(fit.phi)
    boot = fit.bootstrap(nsim=3, seed=1)
    assert list(boot.replicates.columns[1:5]) == list(fit.phi.index)
    np.testing.assert_allclose(fit.refit(wine["rating"]).phi, fit.phi, atol=1e-6)
    r2 = fit.variance_explained()
    assert r2.approximation == "theoretical"
    assert r2.distribution == pytest.approx(np.pi**2 / 3)


def test_profile_of_a_threshold(fit):
    """Close to the Wald interval, which is the normal one by the standard error of the summary."""
    low, high = fit.confint("2|3").to_numpy()[0]
    se = fit.summary().thresholds.loc["2|3", "Std. Error"]
    wald = fit.confint("2|3", method="wald").to_numpy()[0]
    np.testing.assert_allclose([low, high], wald, atol=0.3 * se)
    np.testing.assert_allclose(wald, fit.phi["2|3"] + stats.norm.ppf([0.025, 0.975]) * se, rtol=1e-10)


def test_printing(fit):
    text, html = str(fit.summary()), fit.summary()._repr_html_()
    assert "Family: ordered  ( logit )" in text
    block = text[text.index("Threshold coefficients:") :].splitlines()
    assert block[1].split() == ["Estimate", "Std.", "Error", "z", "value"]
    assert block[2].split() == ["1|2", "-1.6237", "0.6824", "-2.379"]
    assert "Threshold coefficients" in html
    assert "Thresholds:" in str(fit)
    assert "Thresholds" in fit._repr_html_()
    assert "Shape:" not in text
    assert fit.summary().to_dict()["thresholds"]["1|2"]["Estimate"] == pytest.approx(fit.phi["1|2"])


def test_simulate_without_a_fit():
    data = {"x": np.linspace(-1, 1, 60), "g": np.repeat(np.arange(6), 10).astype(str)}
    family = Ordered(levels=["low", "mid", "high"])
    params = {"beta": [1.0], "theta": [0.5], "phi": {"low|mid": -0.5, "mid|high": 0.8}}
    y = rg.simulate("y ~ x + (1 | g)", data, family, newparams=params, seed=1)["sim_1"]
    assert list(y.cat.categories) == ["low", "mid", "high"]
    assert y.cat.ordered
    known = Ordered(levels=["low", "mid", "high"], thresholds=(-0.5, 0.8))
    again = rg.simulate("y ~ x + (1 | g)", data, known, newparams={"beta": [1.0], "theta": [0.5]}, seed=1)["sim_1"]
    assert again.equals(y)
    with pytest.raises(ArgumentError, match=r"the ordered family needs phi \(low\|mid, mid\|high\)"):
        rg.simulate("y ~ x + (1 | g)", data, family, newparams={"beta": [1.0], "theta": [0.5]})
