"""Tweedie against 40-digit series, differences, integrals, draws, glmmTMB."""

from __future__ import annotations

import math

import numpy as np
import pytest
from families.densities import (
    STENCIL,
    certified,
    check_derivatives,
    check_draws,
    check_moments,
    check_orders,
    observe,
    positive_rule,
)

import refglmm as rg
from refglmm.errors import ArgumentError, ResponseError
from refglmm.families.jet import F2, F22, F222, F
from refglmm.families.kernel import L
from refglmm.families.registry import get_family
from refglmm.families.tweedie import log_series

Y = np.array([0.0, 0.01, 1.0, 30.0])
ETAS = (-2.0, 0.4, 2.0)
SHAPES = [(1.3, 1.4), (4.0, 1.9), (0.3, 1.1)]


def literal_series(y, mu, phi, p):
    """Compound Poisson: the sum over the number of gamma variables, in double precision."""
    rate, shape, scale = mu ** (2 - p) / (phi * (2 - p)), (2 - p) / (p - 1), phi * (p - 1) * mu ** (p - 1)
    if y == 0.0:
        return -rate
    j = np.arange(1.0, 2000.0)
    log_gamma = np.array([math.lgamma(k) for k in j * shape])
    log_factorial = np.array([math.lgamma(k + 1.0) for k in j])
    terms = (j * shape - 1) * np.log(y / scale) - np.log(scale) - y / scale - log_gamma
    return float(np.logaddexp.reduce(terms - rate + j * np.log(rate) - log_factorial))


@pytest.mark.parametrize("shapes", SHAPES)
def test_log_density_is_the_compound_poissons(shapes):
    for eta in ETAS:
        wanted = [literal_series(y, math.exp(eta), *shapes) for y in Y]
        np.testing.assert_allclose(
            observe(get_family("tweedie"), Y, eta, 2.0, shapes)[L], 2.0 * np.array(wanted), rtol=1e-10
        )


# y, eta, phi, p -> log density; mpmath 1.4.1, 40 digits, terms summed until they fall below 1e-40 of the largest
EXACT = {
    (0.001, -1.0, 0.001, 1.5): -1082.1548764303652,
    (0.2, -1.0, 0.05, 1.1): 0.4090804851238509,
    (7.0, 2.25, 1.0, 1.02): -2.1849317290013777,
    (7.0, 2.25, 0.05, 1.02): -7.293797050820527,
    (300.0, 6.0, 50.0, 1.9): -9.38395006885223,
    (300.0, 6.0, 0.05, 1.98): -5.968219052772631,
    (7.0, 2.25, 0.001, 1.98): -43.11298321571833,
    (1000000.0, 14.1, 50.0, 1.5): -14.05200808058349,
    (1000000.0, 14.1, 1.0, 1.1): -10997.264839864136,
    (40.0, 3.0, 0.02, 1.6): -56.79030544088691,
}


@pytest.mark.parametrize("case", EXACT)
def test_accuracy(case):
    y, eta, *shapes = case
    given = observe(get_family("tweedie"), y, eta, 1.0, shapes)[L, 0]
    assert abs(given - EXACT[case]) < 5e-14 * max(1.0, abs(EXACT[case]))


@pytest.mark.parametrize("shapes", SHAPES)
def test_derivatives(shapes):
    check_derivatives(get_family("tweedie"), Y, ETAS, 1.5, shapes, step=2e-3)


@pytest.mark.parametrize("log_m", [-3.0, 1.0, 9.0])
def test_second_and_third_derivatives_of_the_series(log_m):
    """For models of the dispersion, where both log m and alpha move with the second variable."""

    def series(t):
        x = (log_m + t + 0.3 * t * t, 0.0, 1.0 + 0.6 * t, 0.0, 0.0, 0.6, 0.0, 0.0, 0.0, 0.0)
        alpha = (1.2 + 0.5 * t + t**3, 0.0, 0.5 + 3.0 * t * t, 0.0, 0.0, 6.0 * t, 0.0, 0.0, 0.0, 6.0)
        return np.array(log_series(x, alpha))

    step = 4e-3
    slope = STENCIL @ np.array([series(0.1 + k * step) for k in range(-4, 5)]) / step
    given = series(0.1)
    for order, below in ((F2, F), (F22, F2), (F222, F22)):
        assert given[order] == pytest.approx(slope[below], rel=1e-8, abs=1e-8)


def test_orders_and_weight_zero():
    check_orders(get_family("tweedie"), Y, 0.3, 2.0, SHAPES[0])


def test_moments_and_draws():
    y, w = positive_rule(-60.0, 6.0, 1500)
    check_moments(get_family("tweedie"), np.r_[0.0, y], np.r_[1.0, w], 0.4, SHAPES[0])
    check_draws(get_family("tweedie"), 0.4, SHAPES[0])


def test_zero_probability():
    known = get_family("tweedie").at(np.array(SHAPES[0]))
    wanted = np.exp(observe(known, 0.0, 0.4, 1.0, SHAPES[0])[L])
    np.testing.assert_allclose(known.zero_probability(np.exp([0.4])), wanted, rtol=1e-14)


def test_far_tails_are_finite():
    for eta in (-300.0, 300.0):
        assert np.all(np.isfinite(observe(get_family("tweedie"), Y, eta, 1.0, (1.0, 1.5))))


def test_refusals():
    with pytest.raises(ResponseError, match="negative values are not allowed for the tweedie family: row 1"):
        get_family("tweedie").check_response(np.array([0.0, -1.0]), np.ones(2))
    with pytest.raises(ArgumentError, match="p of the tweedie family must lie between 1 and 2"):
        get_family("tweedie(p=2.5)")


def tweedie_data():
    data = rg.datasets.load("sleepstudy")
    data["z"] = np.maximum(data["Reaction"] - 250.0, 0.0) / 50.0
    return data


def test_glmmtmb():
    """glmmTMB 1.1.5: glmmTMB(z ~ Days + (1 | Subject), family = tweedie)."""
    fit = certified(rg.glmer("z ~ Days + (1 | Subject)", tweedie_data(), "tweedie"))
    assert fit.loglik == pytest.approx(-199.9123917, abs=1e-6)
    given = [*fit.optimum.beta, fit.optimum.par[0], *fit.optimum.phi]
    np.testing.assert_allclose(given, [-1.396226, 0.200737, 1.181454, 0.415202, 1.295696], rtol=1e-4)


def test_known_power_is_the_section_of_the_likelihood():
    free = rg.glmer("z ~ Days + (1 | Subject)", tweedie_data(), "tweedie")
    family = type(free.model.family)(p=float(free.optimum.phi[1]))
    held = certified(rg.glmer("z ~ Days + (1 | Subject)", tweedie_data(), family))
    assert held.loglik == pytest.approx(free.loglik, abs=1e-7)
