"""R2 and ICC: numbers of performance, formulas of the paper by hand, random slopes, overdispersion terms."""

from __future__ import annotations

import numpy as np
import pytest
from diagnostic_fits import cbpp, crossed, crossed_data, grouseticks, sleepstudy
from scipy.special import polygamma

import refglmm as rg
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.inference.variance_explained import null_fit, null_mean


@pytest.mark.golden
def test_binomial_values_of_performance():
    """r2_nakagawa and icc of performance 0.10.2 (insight 0.19.0) on lme4's cbpp fit."""
    fit = cbpp("lme4")
    np.testing.assert_allclose(fit.r2(), [0.0853631687143, 0.1872135425390], rtol=1e-4)
    np.testing.assert_allclose(fit.icc(), [0.111356081825, 0.101850373825], rtol=1e-4)


@pytest.mark.golden
def test_linear_values_of_performance():
    """The same for sleepstudy with random slopes, without, and for cake."""
    slopes = sleepstudy("Reaction ~ Days + (Days | Subject)")
    np.testing.assert_allclose(slopes.r2(), [0.278651058162, 0.799219922783], rtol=1e-5)
    np.testing.assert_allclose(slopes.icc(), [0.721660259589, 0.520568864621], rtol=1e-5)
    np.testing.assert_allclose(sleepstudy().r2(), [0.279885636749, 0.704255452355], rtol=1e-5)
    cake = rg.lmer("angle ~ recipe + temperature + (1 | recipe:replicate)", rg.datasets.load("cake"), reml=True)
    np.testing.assert_allclose(cake.r2(), [0.117667426180, 0.710055612561], rtol=1e-5)


@pytest.mark.golden
def test_poisson_components_of_insight():
    """get_variance of insight 0.19.0 on lme4's grouseticks fit; its lambda, exp(beta_0), is not that of the paper."""
    fit = grouseticks()
    explained = fit.variance_explained()
    assert explained.fixed == pytest.approx(1.730026794343, rel=1e-3)
    np.testing.assert_allclose(explained.random, [0.592362796743, 0.329633150758], rtol=1e-3)
    beta = null_fit(fit).beta[0]
    assert np.log1p(np.exp(-beta)) == pytest.approx(0.464309845061, rel=1e-3)
    null = null_fit(fit).varcorr.as_frame()["vcov"].sum()
    assert explained.mean == pytest.approx(np.exp(beta + 0.5 * null), rel=1e-12)
    assert explained.distribution == pytest.approx(np.log1p(1.0 / explained.mean), rel=1e-12)


def test_null_fit_is_the_fit_without_predictors():
    data = crossed_data()
    by_hand = rg.glmer("count ~ 1 + (1 | g) + (1 | h)", data, "poisson")
    null = null_fit(crossed("poisson"))
    assert null.minus_two_loglik == pytest.approx(by_hand.minus_two_loglik, abs=1e-8)
    np.testing.assert_allclose(null.theta, by_hand.theta, rtol=1e-5)
    assert null_fit(by_hand) is by_hand
    assert crossed("poisson").design.names == ("(Intercept)", "x")


def test_each_approximation_by_hand():
    fit = crossed("negative binomial")
    mean, size = null_mean(fit), float(fit.phi["size"])
    c = 1.0 / mean + 1.0 / size
    assert fit.variance_explained("lognormal").distribution == pytest.approx(np.log1p(c), rel=1e-12)
    assert fit.variance_explained("trigamma").distribution == pytest.approx(polygamma(1, 1.0 / c), rel=1e-12)
    assert fit.variance_explained("delta").distribution == pytest.approx(c, rel=1e-12)
    gamma = crossed("gamma")
    shape = 1.0 / float(gamma.phi["phi"])
    assert gamma.variance_explained("trigamma").distribution == pytest.approx(polygamma(1, shape), rel=1e-10)
    assert gamma.variance_explained().distribution == pytest.approx(np.log1p(1.0 / shape), rel=1e-10)
    probit = crossed("probit")
    assert probit.variance_explained().distribution == 1.0
    logit = cbpp()
    p = null_mean(logit)
    assert logit.variance_explained("delta").distribution == pytest.approx(1.0 / (p * (1.0 - p)), rel=1e-10)


def test_a_random_slope_counts_by_its_mean_over_the_rows():
    fit = crossed("linear")
    cov, x = fit.varcorr["g"].cov, fit.frame.data["x"].to_numpy()
    wanted = cov[0, 0] + 2 * cov[0, 1] * x.mean() + cov[1, 1] * np.mean(x**2)
    assert fit.variance_explained().random["g"] == pytest.approx(wanted, rel=1e-12)


def test_a_term_with_a_level_for_each_row_is_residual():
    data = crossed_data().assign(row=lambda d: [f"r{i}" for i in range(len(d))])
    fit = rg.glmer("over ~ x + (1 | g) + (1 | row)", data, "poisson")
    explained = fit.variance_explained()
    assert explained.overdispersion == pytest.approx(fit.varcorr["row"].cov[0, 0], rel=1e-12)
    assert list(explained.random.index) == ["g"]
    assert explained.residual == explained.distribution + explained.overdispersion
    assert "overdispersion" in repr(explained)


def test_parts_add_up():
    explained = crossed("poisson").variance_explained()
    r2, icc = explained.r2, explained.icc
    assert 0 < r2["marginal"] < r2["conditional"] < 1
    assert icc["unadjusted"] == pytest.approx(r2["conditional"] - r2["marginal"], rel=1e-12)
    assert explained.icc_by_term.sum() == pytest.approx(icc["adjusted"], rel=1e-12)
    assert "R2: marginal" in repr(explained)
    assert "<table" in explained._repr_html_()


def test_approximations_that_mean_nothing_are_refused():
    with pytest.raises(ArgumentError, match="unknown approximation 'exact'"):
        cbpp().r2("exact")
    with pytest.raises(NotAvailableError, match="for the log link, not logit; use 'delta'"):
        cbpp().icc("trigamma")
    with pytest.raises(NotAvailableError, match="binomial models with logit, probit or cloglog"):
        crossed("poisson").r2("theoretical")


def test_an_unknown_approximation_is_refused_in_linear_models_too():
    with pytest.raises(ArgumentError, match="unknown approximation 'theory'"):
        sleepstudy().r2("theory")
