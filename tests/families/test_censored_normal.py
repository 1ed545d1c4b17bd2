"""Censored normal against scipy, differences, integrals, draws, a regression by hand and the true maximum."""

from __future__ import annotations

import numpy as np
import pytest
from families.densities import (
    certified,
    check_derivatives,
    check_draws,
    check_moments,
    check_orders,
    line_rule,
    observe,
)
from scipy import stats

import refglmm as rg
from refglmm.errors import ArgumentError, ResponseError
from refglmm.families.censored_normal import CensoredNormal
from refglmm.families.kernel import L
from refglmm.families.registry import get_family

LOWER, UPPER = -1.0, 2.0
FAMILY = CensoredNormal(lower=LOWER, upper=UPPER)
Y = np.array([LOWER, -0.5, 1.2, UPPER])
PHI = (1.3, LOWER, UPPER)
ETAS = (-3.0, 0.4, 5.0)


def test_log_density_row_by_row():
    for eta in (-60.0, *ETAS, 60.0):
        law = stats.norm(eta, 1.3)
        wanted = np.r_[law.logcdf(LOWER), law.logpdf(Y[1:3]), law.logsf(UPPER)]
        np.testing.assert_allclose(observe(FAMILY, Y, eta, 2.0, PHI)[L], 2.0 * wanted, rtol=1e-12)


def test_values_beyond_the_limits_are_censored_there():
    given, wanted = observe(FAMILY, [-7.0, 9.0], 0.4, 1.0, PHI), observe(FAMILY, [LOWER, UPPER], 0.4, 1.0, PHI)
    assert np.array_equal(given, wanted)


def test_derivatives():
    check_derivatives(FAMILY, Y, ETAS, 1.5, PHI)


def test_orders_and_weight_zero():
    check_orders(FAMILY, Y, 0.3, 2.0, PHI)


@pytest.mark.parametrize("eta", [-2.0, 0.4])
def test_moments_and_draws(eta):
    y, w = line_rule(LOWER, UPPER)
    check_moments(FAMILY, np.r_[LOWER, UPPER, y], np.r_[1.0, 1.0, w], eta, PHI)
    check_draws(FAMILY, eta, PHI)


def test_without_limits_it_is_the_normal():
    family = get_family("censored.normal")
    given = observe(family, Y, 0.4, 1.0, (1.3, -np.inf, np.inf))[L]
    np.testing.assert_allclose(given, stats.norm(0.4, 1.3).logpdf(Y), rtol=1e-14)
    known, mu = family.at(np.array([1.3])), np.array([-2.0, 0.4])
    assert np.array_equal(known.mean(mu), mu)
    np.testing.assert_allclose(known.variance(mu), 1.69, rtol=1e-15)


def test_far_tails_are_finite():
    for eta in (-1e6, 1e6):
        assert np.all(np.isfinite(observe(FAMILY, Y, eta, 1.0, PHI)))


def sleep():
    data = rg.datasets.load("sleepstudy")
    data["yc"] = np.clip(data["Reaction"] / 100.0, 2.2, 3.5)
    data["code"] = np.where(data["yc"] <= 2.2, 1, np.where(data["yc"] >= 3.5, 2, 0))
    data["Days10"] = data["Days"] / 10.0
    return data


def test_true_maximum():
    """The maximum of the 61-point likelihood, from an independent evaluator with exact derivatives."""
    fit = certified(rg.GLMM("cbind(yc, code) ~ Days10 + (1 | Subject)", sleep(), "censored_normal").fit(n_agq=61))
    assert fit.loglik == pytest.approx(-72.6432904345053, abs=1e-7)
    np.testing.assert_allclose(fit.optimum.beta, [2.505515947866515, 0.9971601329281558], atol=1e-5)
    assert fit.optimum.par[0] ** 2 == pytest.approx(0.13309799826569255, rel=1e-4)
    assert np.log(fit.optimum.phi[0]) == pytest.approx(-1.2645767768014908, abs=1e-5)


def test_codes_and_limits_say_the_same():
    coded = rg.glmer("cbind(yc, code) ~ Days10 + (1 | Subject)", sleep(), "censored_normal")
    given = rg.glmer("yc ~ Days10 + (1 | Subject)", sleep(), CensoredNormal(lower=2.2, upper=3.5))
    assert coded.model.family == given.model.family
    assert coded.loglik == given.loglik
    assert "2.2, 3.5)" in str(coded)


def test_simulations_can_be_fitted_again():
    fit = rg.glmer("cbind(yc, code) ~ Days10 + (1 | Subject)", sleep(), "censored_normal")
    draws = fit.simulate(2, seed=1)
    assert draws["sim_1"].between(2.2, 3.5).all()
    again = certified(fit.refit(draws["sim_1"]))
    np.testing.assert_allclose(again.optimum.beta, fit.optimum.beta, atol=0.3)


def test_without_censoring_it_is_the_linear_mixed_model():
    fit = certified(rg.glmer("Reaction ~ Days + (1 | Subject)", rg.datasets.load("sleepstudy"), "censored_normal"))
    linear = rg.lmer("Reaction ~ Days + (1 | Subject)", rg.datasets.load("sleepstudy"), reml=False)
    assert fit.loglik == pytest.approx(linear.loglik, abs=1e-7)
    np.testing.assert_allclose(fit.optimum.beta, linear.optimum.beta, rtol=1e-5)


def test_refused_limits():
    with pytest.raises(ArgumentError, match="must lie below the upper one, not 2 and 1"):
        CensoredNormal(lower=2.0, upper=1.0)
    with pytest.raises(ArgumentError, match="sd of the censored_normal family"):
        CensoredNormal(sd=-1.0)


def test_refused_codes():
    family, y = get_family("tobit"), np.array([1.0, 1.0, 2.0, 3.0])
    with pytest.raises(ResponseError, match=r"0, 1 \(left\) or 2 \(right\): row 1 .* is 3"):
        family.with_codes(y, np.array([0.0, 3.0, 0.0, 0.0]))
    with pytest.raises(ResponseError, match="left-censored rows have 2 limits, among them 1 and 3"):
        family.with_codes(y, np.array([1.0, 1.0, 0.0, 1.0]))
    with pytest.raises(ResponseError, match=r"between the limits 1 and inf: row 1 .* is 1"):
        family.with_codes(y, np.array([1.0, 0.0, 0.0, 0.0]))
    with pytest.raises(ResponseError, match="right-censored rows have 2 limits, among them 3 and 5"):
        CensoredNormal(upper=5.0).with_codes(y, np.array([0.0, 0.0, 0.0, 2.0]))


def test_refused_responses():
    with pytest.raises(ResponseError, match="every row of the response is censored"):
        FAMILY.check_response(np.array([LOWER, UPPER]), np.ones(2))
    with pytest.raises(ResponseError, match="two columns; only binomial families and censored_normal take cbind"):
        rg.glmer("cbind(yc, code) ~ Days10 + (1 | Subject)", sleep(), "gamma")
