"""Means of rows and of the population in models with a zero part, and laws whose mean is not the inverse link.

Golden numbers: glmmTMB 1.1.5 (R 4.2.2) on its data Salamanders, predict(type = ...) with se.fit, rows 1, 4, 40, 300 and
644, ``mined`` with the levels yes, no. Its ``re.form = NA`` leaves the random effects of the zero part where they are,
so the population's zeros are not compared where the zero part has any.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats
from scipy.special import expit

import refglmm as rg
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.fit.population import _roots, parameter_covariance, population_mean, population_rows, random_covariance
from refglmm.inference.group_scores import group_scores, sub_problem

ROWS = np.array([1, 4, 40, 300, 644]) - 1


@pytest.fixture(scope="module")
def salamanders():
    data = rg.datasets.load("Salamanders")
    data["mined"] = pd.Categorical(data["mined"], ["yes", "no"])
    spp = ["GP", "PR", "DM", "EC-A", "EC-L", "DES-L", "DF"]
    return data.assign(spp=pd.Categorical(data["spp"], spp))


@pytest.fixture(scope="module")
def tied(salamanders):
    """Correlated random effects in both predictors."""
    return rg.glmer("count ~ mined + (1 | site)", salamanders, "poisson", zi="~ mined + (1 | site)", tie=True)


@pytest.fixture(scope="module")
def plain(salamanders):
    """Random effects in the main predictor alone."""
    return rg.glmer("count ~ mined + (1 | site)", salamanders, "poisson", zi="~ mined")


def moved(fit, x):
    """The fit at other (par, beta, phi)."""
    n_par, p = len(fit.optimum.par), len(fit.optimum.beta)
    phi = np.exp(x[n_par + p :])
    return replace(fit, optimum=replace(fit.optimum, par=x[:n_par], beta=x[n_par : n_par + p], phi=phi))


def estimates(fit):
    return np.concatenate([fit.optimum.par, fit.optimum.beta, np.log(fit.optimum.phi)])


def by_differences(f, x, h=1e-3):
    """Jacobian by differences of order four."""
    step = h * np.eye(x.size)
    one = [(f(x + e) - f(x - e)) / (2 * h) for e in step]
    two = [(f(x + 2 * e) - f(x - 2 * e)) / (4 * h) for e in step]
    return np.array([(4 * a - b) / 3 for a, b in zip(one, two, strict=True)]).T


def poisson_mean(beta, S, x):
    """E (1 - pi) e^eta: the factor e^eta tilts the normal law of the effects, which leaves one dimension for quad."""
    logit = beta[2] + beta[3] * x + S[0, 1]
    zero = integrate.quad(lambda z: expit(logit + np.sqrt(S[1, 1]) * z) * stats.norm.pdf(z), -10, 10, epsabs=1e-13)[0]
    return np.exp(beta[0] + beta[1] * x + 0.5 * S[0, 0]) * (1 - zero)


@pytest.mark.parametrize("kind", ["tied", "plain"])
def test_means_of_the_population_are_integrals(kind, request):
    fit = request.getfixturevalue(kind)
    new = pd.DataFrame({"mined": ["yes", "no"]})
    rows = population_rows(fit, new)
    S = random_covariance(fit, rows.Z, rows.owners)[0]
    assert (S[0, 1] != 0.0) == (kind == "tied")
    wanted = [poisson_mean(np.array(fit.optimum.beta), S, x) for x in (0, 1)]
    found = fit.predict(new, type="response", marginal=True)
    np.testing.assert_allclose(found, wanted, rtol=1e-11)
    np.testing.assert_allclose(fit.predict(new, marginal=True), np.log(wanted), atol=1e-11)
    conditional = fit.predict(new, type="conditional", marginal=True)
    np.testing.assert_allclose(conditional, np.exp(np.array(fit.optimum.beta)[:2].cumsum() + S[0, 0] / 2), rtol=1e-12)
    zero = fit.predict(new, type="zprob", marginal=True)
    logit, sd = np.array(fit.optimum.beta)[2:].cumsum(), np.sqrt(S[1, 1])
    exact = [
        integrate.quad(lambda z, e=e: expit(e + sd * z) * stats.norm.pdf(z), -10, 10, epsabs=1e-13)[0] for e in logit
    ]
    np.testing.assert_allclose(zero, exact, rtol=1e-11)
    np.testing.assert_allclose(expit(fit.predict(new, type="zlink", marginal=True)), zero, rtol=1e-12)


def test_means_of_the_population_are_those_of_draws(tied):
    """200000 draws of the random effects of one row of each kind; their error is stated by their spread."""
    rng, fit = np.random.default_rng(5), tied
    beta, S = np.array(fit.optimum.beta), fit.varcorr["site"].cov
    b = rng.multivariate_normal(np.zeros(2), S, size=200_000)
    for x, kind in ((0, "yes"), (1, "no")):
        mean = (1 - expit(beta[2] + beta[3] * x + b[:, 1])) * np.exp(beta[0] + beta[1] * x + b[:, 0])
        found = fit.predict(pd.DataFrame({"mined": [kind]}), type="response", marginal=True).item()
        assert found == pytest.approx(mean.mean(), abs=4 * mean.std() / np.sqrt(mean.size))


@pytest.mark.parametrize("type", ["response", "conditional", "zprob"])
def test_their_derivatives(tied, type):
    rows = population_rows(tied, pd.DataFrame({"mined": ["yes", "no"]}))

    def value(x):
        return population_mean(moved(tied, x), rows.X, rows.offset, rows.Z, rows.owners, type)[0]

    _, J = population_mean(tied, rows.X, rows.offset, rows.Z, rows.owners, type)
    np.testing.assert_allclose(J, by_differences(value, estimates(tied)), rtol=1e-7, atol=1e-9)
    se = tied.predict(pd.DataFrame({"mined": ["yes", "no"]}), type=type, marginal=True, se=True)["se"]
    np.testing.assert_allclose(se, np.sqrt(np.diag(J @ parameter_covariance(tied).covariance @ J.T)), rtol=1e-10)


def test_marginal_coefficients_of_a_zero_inflated_model(tied):
    """The regression of log E y on the main X: with one mean for each kind of site the two numbers themselves."""
    result = tied.marginal_coefs()
    m = tied.predict(pd.DataFrame({"mined": ["yes", "no"]}), marginal=True, se=True)
    np.testing.assert_allclose(result.estimates, [m["fit"][0], m["fit"][1] - m["fit"][0]], rtol=1e-10)
    assert list(result.estimates.index) == ["(Intercept)", "minedno"]
    assert result.table["SE"].iloc[0] == pytest.approx(m["se"][0], rel=1e-9)
    robust = tied.marginal_coefs(sandwich="CR0")
    matrix = tied.sandwich("CR0").matrix
    np.testing.assert_allclose(robust.vcov, result.jacobian @ matrix @ result.jacobian.T, rtol=1e-10)


def test_effect_data_has_every_type(tied):
    new = pd.DataFrame({"mined": ["yes", "no"]})
    shown = tied.effect_data(new, type="zprob", marginal=True)
    np.testing.assert_allclose(shown["pred"], tied.predict(new, type="zprob", marginal=True), rtol=1e-13)
    assert ((shown["low"] > 0) & (shown["low"] < shown["pred"]) & (shown["upp"] < 1)).all()
    robust = tied.effect_data(new, type="response", vcov="CR0")
    x = tied.predict(new, type="response", re_form=False, se=True)
    np.testing.assert_allclose(robust["pred"], x["fit"], rtol=1e-13)
    assert (abs(robust["se"] / x["se"] - 1) > 1e-4).all()


def test_prediction_intervals_are_quantiles_of_the_mixture(plain):
    """A row of a new group: zeros by pi, counts by a Poisson mixed over its normal predictor (pi's own hardly vary)."""
    new = pd.DataFrame({"mined": ["no"]})
    known = plain
    shown = known.predict(new, type="response", marginal=True, interval="prediction", level=0.8)
    V = known.vcov(part="all").to_numpy()
    x = np.array([1.0, 1.0])
    spread = np.sqrt(x @ V[:2, :2] @ x + known.varcorr["site"].cov[0, 0])
    z, k = np.linspace(-8, 8, 1601), np.arange(200)
    eta, logit = np.array(known.optimum.beta)[:2].sum(), np.array(known.optimum.beta)[2:].sum()
    pmf = stats.norm.pdf(z) @ stats.poisson.pmf(k, np.exp(eta + spread * z)[:, None]) * (z[1] - z[0])
    pmf = (1 - expit(logit)) * pmf + np.where(k == 0, expit(logit), 0.0)
    ends = [int(np.searchsorted(np.cumsum(pmf), tail)) for tail in (0.1, 0.9)]
    assert shown["lower"].item() == ends[0]
    assert abs(shown["upper"].item() - ends[1]) <= 1
    given = known.predict(type="response", interval="prediction", level=0.8)
    y, weak = np.asarray(known.frame.y), 0.75
    assert np.mean((y >= given["lower"]) & (y <= given["upper"])) > weak
    pd.testing.assert_frame_equal(given, known.predict(type="response", interval="prediction", level=0.8))
    with pytest.raises(ArgumentError, match="a prediction interval is for an observation; use type='response'"):
        known.predict(type="zprob", interval="prediction")


def test_scores_and_influence_of_two_predictors(tied, salamanders):
    groups = group_scores(tied)
    assert np.abs(groups.scores.sum(axis=0)).max() < 1e-3
    robust = tied.sandwich()
    assert list(robust.se.index) == list(tied.problem.beta_names)
    # One group's score is the derivative of its own log-likelihood: the model of the other sites loses it.
    x, site = groups.estimate, groups.labels[0]
    others = np.flatnonzero((salamanders["site"] != site).to_numpy())
    rest = replace(groups.criterion, problem=sub_problem(tied, others)).objective()
    whole = groups.criterion.objective()
    gradient = -0.5 * (whole.value_and_gradient(x)[1] - rest.value_and_gradient(x)[1])
    np.testing.assert_allclose(groups.scores[0], gradient, atol=1e-6)
    assert robust.wald_test(np.eye(4)[1]).statistic > 10.0


# -- the negative binomial hurdle, whose mean depends on its shape ----------------------------------------------------

HURDLE = {
    "response": (
        [0.266589662200, 2.137274825869, 0.167747697027, 0.257522774729, 0.237669741083],
        [0.0964780139439, 0.3339913292651, 0.0739063141269, 0.0938931168728, 0.0904639206053],
    ),
    "conditional": (
        [1.64745958817, 2.99107068324, 1.64745958817, 1.59142841811, 1.68924821637],
        [0.178420015216, 0.351602110353, 0.178420015216, 0.186227565558, 0.169670192903],
    ),
    "zprob": (
        [0.838181364742, 0.285448238370, 0.898177959428, 0.838181364742, 0.859304429758],
        [0.0558779618566, 0.0735748375063, 0.0434843306452, 0.0558779618566, 0.0516545829509],
    ),
}
ZINB = {
    "response": (
        [0.215229509938, 2.232783539830, 0.153317994348, 0.102080884240, 0.298096626796],
        [0.0820674573985, 0.5637472451859, 0.0722522890219, 0.0401256365136, 0.1060808912734],
    ),
    "conditional": (
        [0.414570813313, 2.296314641493, 0.295318079899, 0.196626174613, 0.574187810269],
        [0.1951809371423, 0.5810077061797, 0.1756736698408, 0.0945955957137, 0.2381980611808],
    ),
    "zprob": (
        [0.4808377651619, 0.0276665490498, 0.4808377651619, 0.4808377651619, 0.4808377651619],
        [0.1331644716391, 0.0862892208066, 0.1331644716391, 0.1331644716391, 0.1331644716391],
    ),
}


@pytest.fixture(scope="module")
def hurdle(salamanders):
    return rg.glmer("count ~ mined + (1 | spp)", salamanders, "truncated_nbinom2", zi="~ mined + (1 | site)")


@pytest.mark.slow
@pytest.mark.golden
def test_predictions_of_a_hurdle_model_as_glmmtmb(hurdle):
    """count ~ mined + (1|spp), ziformula = ~mined + (1|site), truncated_nbinom2."""
    assert hurdle.loglik == pytest.approx(-853.87048942408, abs=1e-6)
    for type, (fit, se) in HURDLE.items():
        shown = hurdle.predict(type=type, se="unconditional").iloc[ROWS]
        np.testing.assert_allclose(shown["fit"], fit, rtol=1e-6)
        np.testing.assert_allclose(shown["se"], se, rtol=1e-6)
    at_zero = hurdle.predict(type="conditional", se=True, re_form=False).iloc[ROWS[:2]]
    np.testing.assert_allclose(at_zero["fit"], [1.76234365394, 3.34799198540], rtol=1e-6)
    np.testing.assert_allclose(at_zero["se"], [0.188985719044, 0.363938454857], rtol=1e-6)
    means = hurdle.lsmeans("mined", type="response").table
    np.testing.assert_allclose(means["estimate"], at_zero["fit"], rtol=1e-12)
    np.testing.assert_allclose(means["SE"], at_zero["se"], rtol=1e-9)
    np.testing.assert_allclose(hurdle.fitted.iloc[ROWS], HURDLE["response"][0], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.golden
def test_predictions_of_a_zero_inflated_model_as_glmmtmb(salamanders):
    """count ~ spp + mined + (1|site), ziformula = ~mined, nbinom2; glmmTMB stops at a gradient of 6e-5."""
    fit = rg.glmer("count ~ spp + mined + (1 | site)", salamanders, "nbinom2", zi="~ mined")
    for type, (value, se) in ZINB.items():
        shown = fit.predict(type=type, se="unconditional").iloc[ROWS]
        np.testing.assert_allclose(shown["fit"], value, atol=1e-5)
        np.testing.assert_allclose(shown["se"], se, atol=1e-5)
    at_zero = fit.predict(type="response", se=True, re_form=False).iloc[ROWS[:2]]
    np.testing.assert_allclose(
        at_zero, [[0.212653514288, 0.0576054152452], [1.888265121741, 0.3835318217728]], atol=1e-5
    )


@pytest.mark.slow
def test_the_population_of_a_hurdle_model(hurdle):
    """Uncorrelated parts: E(1 - pi) times E m, each by quad; derivatives in the size too."""
    new = pd.DataFrame({"mined": ["yes", "no"]})
    beta, size = np.array(hurdle.optimum.beta), hurdle.phi.iloc[0]
    s, t = (np.sqrt(hurdle.varcorr[g].cov[0, 0]) for g in ("spp", "site"))

    def mean(eta):
        mu = np.exp(eta)
        return mu / (1 - stats.nbinom.pmf(0, size, size / (size + mu)))

    def over(f, eta, sd):
        return integrate.quad(lambda z: f(eta + sd * z) * stats.norm.pdf(z), -10, 10, epsabs=1e-13)[0]

    wanted = [over(mean, beta[:2] @ x, s) * over(lambda e: expit(-e), beta[2:] @ x, t) for x in ([1, 0], [1, 1])]
    found = hurdle.predict(new, type="response", marginal=True, se=True)
    np.testing.assert_allclose(found["fit"], wanted, rtol=1e-10)
    rows = population_rows(hurdle, new)

    def value(x):
        return population_mean(moved(hurdle, x), rows.X, rows.offset, rows.Z, rows.owners)[0]

    _, J = population_mean(hurdle, rows.X, rows.offset, rows.Z, rows.owners)
    np.testing.assert_allclose(J, by_differences(value, estimates(hurdle)), rtol=1e-6, atol=1e-8)
    assert np.all(np.abs(J[:, -1]) > 1e-4)


def test_three_predictors_with_random_effects_are_too_many():
    with pytest.raises(NotAvailableError, match="integral of three dimensions"):
        _roots(np.eye(3)[None])
    root, inverse = _roots(np.array([[[1.0, 1.0], [1.0, 1.0]], [[2.0, 0.0], [0.0, 0.0]]]))
    np.testing.assert_allclose(root @ root.transpose(0, 2, 1), [[[1, 1], [1, 1]], [[2, 0], [0, 0]]], atol=1e-14)
    np.testing.assert_allclose(inverse @ root, np.ones((2, 1, 1)), atol=1e-14)
