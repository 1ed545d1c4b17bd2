"""Beta against scipy, differences, integrals, draws, glmmTMB and the true maximum."""

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
from refglmm.errors import ResponseError
from refglmm.families.kernel import L
from refglmm.families.registry import get_family

LINKS = {"logit": (-3.0, 0.4, 5.0), "probit": (-3.0, 0.4), "cloglog": (-3.0, 0.4), "cauchit": (-3.0, 2.0)}
LINKS["log"] = (-3.0, -0.4)
Y = np.array([1e-6, 0.1, 0.5, 0.93])
PHI = (3.2,)

each_link = pytest.mark.parametrize("link", LINKS)


@each_link
def test_log_density_is_scipys(link):
    family = get_family("beta", link)
    for eta in LINKS[link]:
        mu = float(family.link.inverse(np.array([eta]))[0])
        wanted = stats.beta(mu * PHI[0], (1.0 - mu) * PHI[0]).logpdf(Y)
        np.testing.assert_allclose(observe(family, Y, eta, 2.0, PHI)[L], 2.0 * wanted, rtol=1e-12)


@each_link
def test_derivatives(link):
    check_derivatives(get_family("beta", link), Y, LINKS[link], 1.5, PHI)


def test_orders_and_weight_zero():
    check_orders(get_family("beta"), Y, 0.3, 2.0, PHI)


def test_moments_and_draws():
    check_moments(get_family("beta"), *line_rule(0.0, 1.0), 0.4, (8.0,))
    check_draws(get_family("beta"), 0.4, PHI)


def test_draws_stay_off_the_ends():
    family = get_family("beta")
    y = family.simulate(np.full(1000, 1e-4), np.ones(1000), np.array([0.1]), np.random.default_rng(1))
    family.check_response(y, np.ones(1000))


@pytest.mark.parametrize(("link", "size"), [("logit", 700.0), ("probit", 600.0), ("cauchit", 1e6)])
def test_far_tails_are_finite(link, size):
    for eta in (-size, size):
        assert np.all(np.isfinite(observe(get_family("beta", link), Y, eta, 1.0, PHI)))


def test_outside_the_log_link_nothing_is_likely():
    assert not np.any(np.isfinite(observe(get_family("beta", "log"), Y, 0.1, 1.0, PHI)[L]))


def test_known_precision():
    family = type(get_family("beta"))(phi=3.2)
    assert family.n_shape == 0
    assert repr(family) == "Beta(link='logit', phi=3.2)"
    assert np.array_equal(observe(family, Y, 0.3, 1.0, PHI), observe(get_family("beta"), Y, 0.3, 1.0, PHI))


def test_refusals():
    with pytest.raises(ResponseError, match=r"0 < y < 1 \(the ordbeta family takes 0 and 1 as well\): row 1 .* is 1"):
        get_family("beta").check_response(np.array([0.5, 1.0]), np.ones(2))
    with pytest.raises(ResponseError, match="row 0"):
        get_family("beta").check_response(np.array([0.0, 0.5]), np.ones(2))


# glmmTMB 1.1.5 (TMB 1.9.2, R 4.2.2): glmmTMB(b ~ Days + (1 | Subject), family = beta_family(link)) on sleepstudy with
# b = (Reaction - 190) / 280: logLik, intercept, slope, standard deviation, sigma
GLMMTMB = {
    "logit": (122.0612047, -1.316096, 0.180086, 0.655362, 15.827364),
    "probit": (121.1776238, -0.790002, 0.108368, 0.390207, 15.630886),
    "cloglog": (127.5152789, -1.429683, 0.140953, 0.528129, 17.088996),
}


@pytest.mark.parametrize("link", GLMMTMB)
def test_glmmtmb(link):
    data = rg.datasets.load("sleepstudy")
    data["b"] = (data["Reaction"] - 190.0) / 280.0
    fit = certified(rg.glmer("b ~ Days + (1 | Subject)", data, get_family("beta", link)))
    loglik, *wanted = GLMMTMB[link]
    assert fit.loglik == pytest.approx(loglik, abs=1e-6)
    optimum = fit.optimum
    np.testing.assert_allclose([*optimum.beta, optimum.par[0], optimum.phi[0]], wanted, rtol=1e-3)


def test_true_maximum(shared_data):
    """The maximum of the 11-point likelihood, from an independent evaluator with exact derivatives."""
    data = shared_data("gad_beta")
    fit = certified(rg.GLMM("y ~ sex * time + (1 | id)", data, "beta").fit(n_agq=11))
    assert fit.loglik == pytest.approx(581.2972064993724, abs=1e-6)
    wanted = [-2.0438525699954306, -0.29652343255450603, 0.21845287248512654, -0.05949150468593784]
    np.testing.assert_allclose(fit.optimum.beta, wanted, atol=1e-5)
    assert np.log(fit.optimum.phi[0]) == pytest.approx(1.6903920747183891, abs=1e-5)
