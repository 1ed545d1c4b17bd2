"""Predictions, replicates and residuals from draws of a posterior."""

from __future__ import annotations

from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from posterior_fits import normal_fit

import refglmm as rg
from refglmm.bayes.parameters import _standardised, linear_predictor, with_new_levels
from refglmm.bayes.predictive import refuse_residuals
from refglmm.errors import ArgumentError, DataError, NotAvailableError
from refglmm.fit.rows import own_rows

mpl.use("Agg")


def test_linear_predictor_is_that_of_the_posterior(linear, cbpp, ordinal):
    for fit in (linear, cbpp):
        want = fit.posterior.eta(fit.draws.positions.reshape(-1, fit.posterior.dimension))
        got = fit.predict(type="link", summary=False)
        assert got.shape == (*fit.draws.values.shape[:2], fit.frame.n)
        np.testing.assert_allclose(got.reshape(want.shape), want, atol=1e-10)

    # Thresholds and predictor of an ordinal model share a constant; what counts is the probability of each category.
    p = ordinal.predict(type="prob", summary=False)
    own = np.take_along_axis(p, ordinal.frame.y.astype(int)[None, None, :, None], axis=3)[..., 0]
    np.testing.assert_allclose(np.log(own), ordinal.log_lik, atol=1e-10)


def test_mean_of_a_linear_combination_is_that_of_the_means(linear, made):
    new = made.iloc[[5, 0, 100]].reset_index(drop=True)
    table = linear.predict(new, type="link")
    beta = linear.fixef.to_numpy()
    X = np.column_stack([np.ones(3), new["x"], new["f"] == "b", new["x"] * (new["f"] == "b")])
    b = linear.ranef()["g"]["mean"].to_numpy().reshape(-1, 2)[[0, 0, 12]]
    np.testing.assert_allclose(table["estimate"], X @ beta + b[:, 0] + b[:, 1] * new["x"], atol=1e-12)
    drawn = linear.predict(new, type="link", summary=False).reshape(-1, 3)
    np.testing.assert_allclose(table["se"], drawn.std(axis=0, ddof=1))
    np.testing.assert_allclose(table[["lower", "upper"]].T, np.quantile(drawn, [0.025, 0.975], axis=0))


def test_random_effects_that_take_part(linear, made):
    new = made.head(4)
    none = linear.predict(new, re_form=False, summary=False).reshape(-1, 4)
    X = linear.model.design.X[:4]
    np.testing.assert_allclose(none, linear.parameters.beta @ X.T, atol=1e-12)
    intercepts = linear.predict(new, re_form="~ (1 | g)", summary=False).reshape(-1, 4)
    np.testing.assert_allclose(intercepts - none, linear.parameters.effects[0][:, [0] * 4, 0], atol=1e-10)


def test_new_groups_have_the_variance_of_the_population(linear, made):
    new = made.head(3).assign(g=["new", "new", "other"])
    with pytest.raises(DataError, match="new levels of grouping factor 'g': 'new', 'other'"):
        linear.predict(new)
    drawn = linear.predict(new, allow_new_levels=True, summary=False).reshape(-1, 3)
    fixed = linear.predict(new, re_form=False, summary=False).reshape(-1, 3)
    random = drawn - fixed
    T = linear.parameters.factors[0]
    z = np.column_stack([np.ones(3), new["x"]])
    want = np.einsum("ik,mkj,mlj,il->mi", z, T, T, z, optimize=True).mean(axis=0)
    # 400 draws: the variance is known to 7 per cent
    np.testing.assert_allclose(random.var(axis=0), want, rtol=0.3)
    np.testing.assert_array_equal(drawn, linear.predict(new, allow_new_levels=True, summary=False).reshape(-1, 3))
    # Rows of one new group share their effects, so "new" and "other" differ.
    same = made.head(2).assign(g="new", x=0.3, f="a")
    pair = linear.predict(same, re_form="new", summary=False).reshape(-1, 2)
    np.testing.assert_array_equal(pair[:, 0], pair[:, 1])


def test_new_effects_come_from_each_draws_own_factor(linear):
    draws = with_new_levels(linear.parameters, [4020], np.random.default_rng(1))
    b = draws.effects[0][:, 20:]
    T = linear.parameters.factors[0]
    got = np.einsum("mlj,mlk->mjk", b[:5], b[:5]) / 4000
    np.testing.assert_allclose(got, T[:5] @ T[:5].transpose(0, 2, 1), atol=0.08)
    np.testing.assert_array_equal(draws.effects[0][:, :20], linear.parameters.effects[0])


def test_probabilities_of_categories(ordinal, made):
    p = ordinal.predict(made.head(6), type="prob", summary=False).reshape(-1, 6, 4)
    np.testing.assert_allclose(p.sum(axis=2), 1.0, atol=1e-12)
    eta = ordinal.predict(made.head(6), type="link", summary=False).reshape(-1, 6)
    cuts = ordinal.draws.select("cutpoints").values.reshape(-1, 3)
    cumulative = 1.0 / (1.0 + np.exp(-(cuts[:, None, :] - eta[:, :, None])))
    np.testing.assert_allclose(p[..., :3].cumsum(axis=2), cumulative, atol=1e-12)
    score = ordinal.predict(made.head(6), type="score", summary=False).reshape(-1, 6)
    np.testing.assert_allclose(score, p @ [1.0, 2.0, 3.0, 4.0], atol=1e-12)
    table = ordinal.predict(made.head(6), type="category")
    assert table["estimate"].to_numpy().sum(axis=1) == pytest.approx(np.ones(6))
    assert np.all((table["lower"].to_numpy() >= 0) & (table["upper"].to_numpy() <= 1))


def test_a_flat_prior_gives_the_predictions_of_maximum_likelihood(cbpp_mode, ordinal_mode, made):
    cbpp = rg.datasets.load("cbpp")
    ml = rg.glmer(cbpp_mode.frame.formula.text, cbpp, "binomial")
    new = cbpp.head(8)
    ours, theirs = cbpp_mode.predict(new, type="link"), ml.predict(new, se="unconditional")
    np.testing.assert_allclose(ours["estimate"], theirs["fit"], atol=1e-4)
    # b = sd u with a normal log sd has more spread than its first-order part, which the delta method has.
    np.testing.assert_allclose(ours["se"], theirs["se"], rtol=0.15)
    fixed, want = cbpp_mode.predict(new, re_form=False, type="link"), ml.predict(new, re_form=False, se=True)
    np.testing.assert_allclose(fixed["se"], want["se"], rtol=1e-3)
    np.testing.assert_allclose(cbpp_mode.predict(new)["estimate"], ml.predict(new, type="response"), atol=1e-5)
    ordered = rg.glmer("score ~ x + f + (1 | g)", made, "ordered")
    p, want = ordinal_mode.predict(made.head(5), type="prob"), ordered.predict(made.head(5), type="prob")
    np.testing.assert_allclose(p["estimate"], want, atol=2e-5)
    latent = ordinal_mode.predict(made.head(5), type="link", re_form=False)
    np.testing.assert_allclose(latent["se"], ordered.predict(made.head(5), re_form=False, se=True)["se"], rtol=1e-3)


def test_replicates(cbpp, linear, ordinal):
    y = cbpp.posterior_predict(seed=1)
    trials = cbpp.frame.trials
    assert y.shape == (800, 56)
    np.testing.assert_allclose(y * trials, np.round(y * trials), atol=1e-9)
    mean = cbpp.predict(summary=False).reshape(800, 56)
    error = np.sqrt(np.mean(mean * (1.0 - mean) / trials, axis=0) / 800)
    assert np.max(np.abs(y.mean(axis=0) - mean.mean(axis=0)) / error) < 4.5
    np.testing.assert_array_equal(y, cbpp.posterior_predict(seed=1))
    assert not np.array_equal(y, cbpp.posterior_predict(seed=2))
    noise = linear.posterior_predict(seed=1) - linear.predict(summary=False).reshape(400, -1)
    np.testing.assert_allclose(noise.std(axis=1).mean(), linear.draws["sigma"].mean(), rtol=0.02)
    assert set(np.unique(ordinal.posterior_predict(draws=50, seed=1))) == {0.0, 1.0, 2.0, 3.0}


def test_some_of_the_draws(linear):
    assert linear.posterior_predict(draws=7, seed=1).shape == (7, 160)
    with pytest.raises(ArgumentError, match="there are 400 draws; 401 replicates are asked for"):
        linear.posterior_predict(draws=401)
    with pytest.raises(ArgumentError, match="whole number"):
        linear.posterior_predict(draws=0)


def test_replicates_of_new_data(cbpp):
    new = rg.datasets.load("cbpp").head(2)
    y = cbpp.posterior_predict(new, seed=3)
    np.testing.assert_allclose(y * new["size"].to_numpy() % 1.0, 0.0, atol=1e-9)
    unseen = pd.DataFrame({"period": new["period"], "herd": "other"})
    assert cbpp.predict(unseen, re_form="new")["estimate"].between(0, 1).all()


def test_prior_predictions_know_the_prior_only(made):
    prior = rg.prior_normal(Intercept_sd=2.0, b_sd=0.5, sigma_rate=1.0, tau_rate=2.0)
    model = rg.GLMM("y ~ x + (1 | g)", made, prior=prior)
    y = model.prior_predict(4000, seed=1)
    # Var = Intercept_sd^2 + b_sd^2 (x - mean x)^2 + 2 / tau_rate^2 + 2 / sigma_rate^2
    x = made["x"].to_numpy()
    want = 4.0 + 0.25 * (x - x.mean()) ** 2 + 0.5 + 2.0
    np.testing.assert_allclose(y.var(axis=0), want, rtol=0.2)
    np.testing.assert_array_equal(y[:5], model.prior_predict(4000, seed=1)[:5])
    with pytest.raises(NotAvailableError, match="improper prior"):
        rg.GLMM("y ~ x + (1 | g)", made).prior_predict(5)


def test_prior_predictions_of_thresholds(made):
    model = rg.GLMM("score ~ x + (1 | g)", made, family="ordered", prior=rg.prior_normal())
    assert set(np.unique(model.prior_predict(40, seed=2))) == {0.0, 1.0, 2.0, 3.0}


def test_residuals(linear, cbpp, made):
    r = linear.residuals(seed=1)
    assert r.between(0, 1).all()
    assert abs(r.mean() - 0.5) < 0.06
    np.testing.assert_array_equal(r, linear.residuals(seed=1))
    wrong = linear.model.frame.y + 10.0  # far beyond every replicate: all residuals would be at the upper end
    assert (wrong > linear.posterior_predict(seed=1).max(axis=0)).all()
    plain = linear.residuals("response")
    np.testing.assert_allclose(plain, made["y"] - linear.predict()["estimate"].to_numpy())
    assert cbpp.residuals(draws=100).size == 56
    with pytest.raises(ArgumentError, match="type must be one of 'quantile', 'response', not 'raw'"):
        linear.residuals("raw")


def test_residuals_keep_excluded_rows_missing(made):
    holes = made.assign(x=made["x"].where(made.index != 3))
    mode = rg.GLMM("y ~ x + (1 | g)", holes, prior=rg.prior_normal(), na_action="exclude").optimize()
    fit = normal_fit(mode, draws=10)
    for values in (fit.predict()["estimate"], fit.residuals("response"), fit.residuals(draws=10)):
        assert len(values) == 160
        assert np.flatnonzero(values.isna()).tolist() == [3]


def test_pictures(linear, cbpp, ordinal):
    ticks = [tick.get_text() for tick in ordinal.ppc("bars", draws=30).get_xticklabels()]
    assert [t for t in ticks if t in "1234" and t] == ["1", "2", "3", "4"]  # the levels, not their codes
    assert linear.ppc("stat", stat="sd").get_figure() is not None
    assert cbpp.plot_ppc("dens", draws=20).get_figure() is not None
    for name in ("dens", "trace", "acf", "forest", "rank"):
        getattr(cbpp, f"plot_{name}")("b")
    cbpp.plot_pairs(["Intercept", "sd"])
    cbpp.plot_energy()
    cbpp.plot_rhat()
    mpl.pyplot.close("all")


def test_what_cannot_be_asked_for(linear, ordinal, made):
    with pytest.raises(ArgumentError, match="'prob', which ordinal models have"):
        linear.predict(type="prob")
    with pytest.raises(ArgumentError, match="type must be one of 'link', 'response', 'prob', 'score', not 'class'"):
        ordinal.predict(type="class")
    with pytest.raises(ArgumentError, match="prob must lie between 0 and 1"):
        linear.predict(prob=95)
    with pytest.raises(DataError, match="x"):
        linear.predict(made[["g", "f"]])
    with pytest.raises(ArgumentError, match="offset= belongs to newdata"):
        linear.predict(offset=1.0)
    with pytest.raises(ArgumentError, match="re_form names"):
        linear.predict(re_form="~ (1 | h)")
    with pytest.raises(ArgumentError, match="weights= belongs to newdata"):
        linear.posterior_predict(weights=np.ones(3))


def test_correlated_residuals_are_not_replicated():
    with pytest.raises(NotAvailableError, match="resid_corr= or sigma_by= are not drawn"):
        refuse_residuals(SimpleNamespace(residuals="ar1"))


def test_normal_draws_have_the_covariance_of_the_mode(linear_mode):
    z = _standardised(np.random.default_rng(1).standard_normal((50, 3)))
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=1e-14)
    np.testing.assert_allclose(np.cov(z.T), np.eye(3), atol=1e-13)
    se = linear_mode.parameters.beta.std(axis=0, ddof=1)
    np.testing.assert_allclose(se, linear_mode.estimates["Std. Error"].to_numpy()[:4], rtol=1e-5)
    assert linear_mode.centre.beta.shape == (1, 4)
    eta = linear_predictor(linear_mode.centre, own_rows(linear_mode.design))[0]
    np.testing.assert_allclose(linear_mode.predict(type="link")["estimate"], eta)


def test_joint_modes_have_no_approximation(made):
    mode = rg.GLMM("y ~ x + (1 | g)", made, prior=rg.prior_normal()).optimize(laplace=False)
    with pytest.raises(NotAvailableError, match="optimize\\(laplace=True\\)"):
        mode.predict()
