"""Beta-binomial against scipy, differences, sums and draws."""

from __future__ import annotations

import numpy as np
import pytest
from families.densities import check_derivatives, check_orders, observe
from scipy import stats

from refglmm.errors import ArgumentError, FamilyError, ResponseError, WeightsError
from refglmm.families.kernel import L
from refglmm.families.registry import get_family

LINKS = {"logit": (-2.5, 0.3, 3.0), "probit": (-1.6, 0.2, 1.9), "cloglog": (-3.0, -0.3, 0.7)}
TRIALS = np.array([1.0, 3.0, 12.0, 12.0, 12.0, 400.0, 2000.0])
SUCCESSES = np.array([1.0, 2.0, 0.0, 7.0, 12.0, 33.0, 1990.0])
PHI = (3.4,)

each_link = pytest.mark.parametrize(
    "link", ["logit", *(pytest.param(link, marks=pytest.mark.slow) for link in ("probit", "cloglog"))]
)


@each_link
@pytest.mark.parametrize("phi", [0.2, 3.4, 60.0])
def test_log_density_is_scipys(link, phi):
    family = get_family("betabinomial", link)
    for eta in LINKS[link]:
        p = float(family.link.inverse(np.array([eta]))[0])
        wanted = stats.betabinom(TRIALS, p * phi, (1.0 - p) * phi).logpmf(SUCCESSES)
        given = observe(family, SUCCESSES / TRIALS, eta, TRIALS, [phi])[L]
        np.testing.assert_allclose(given, wanted, rtol=1e-10, atol=1e-11)


@each_link
@pytest.mark.parametrize("phi", [0.2, 3.4, 60.0])
def test_derivatives(link, phi):
    check_derivatives(get_family("betabinomial", link), SUCCESSES / TRIALS, LINKS[link], TRIALS, [phi])


def test_orders_and_weight_zero():
    check_orders(get_family("betabinomial"), SUCCESSES / TRIALS, 0.3, TRIALS, PHI)


@each_link
def test_law_and_its_moments(link):
    family, n, eta = get_family("betabinomial", link), 9.0, LINKS[link][1]
    k = np.arange(n + 1.0)
    law = np.exp(observe(family, k / n, eta, n, PHI)[L])
    p = float(family.link.inverse(np.array([eta]))[0])
    assert law.sum() == pytest.approx(1.0, rel=1e-12)
    assert law @ k / n == pytest.approx(p, rel=1e-12)
    inflation = (PHI[0] + n) / (PHI[0] + 1.0)
    assert law @ (k / n - p) ** 2 == pytest.approx(p * (1.0 - p) / n * inflation, rel=1e-12)


def test_draws():
    family, mu, a = get_family("betabinomial"), np.full(100_000, 0.3), np.full(100_000, 6.0)
    y = family.simulate(mu, a, np.array(PHI), np.random.default_rng(4))
    family.check_response(y, a)
    variance = 0.21 / 6.0 * (PHI[0] + 6.0) / (PHI[0] + 1.0)
    assert abs(y.mean() - 0.3) < 5.0 * np.sqrt(variance / y.size)
    assert y.var() == pytest.approx(variance, rel=0.02)
    assert np.array_equal(family.simulate(np.array([0.0, 1.0]), a[:2], np.array(PHI), np.random.default_rng(1)), [0, 1])


@pytest.mark.parametrize("phi", [1e6, 1e12])
def test_large_phi_is_the_binomial_with_all_digits(phi):
    y, binomial = SUCCESSES / TRIALS, get_family("binomial")
    given = observe(get_family("betabinomial"), y, 0.3, TRIALS, [phi])
    wanted = observe(binomial, y, 0.3, TRIALS, [])
    np.testing.assert_allclose(given, wanted, rtol=5e6 / phi + 1e-11, atol=5e6 / phi + 1e-10)


@pytest.mark.parametrize(
    ("link", "eta"),
    [
        ("logit", 40.0),
        ("logit", -600.0),
        pytest.param("probit", -30.0, marks=pytest.mark.slow),
        pytest.param("cloglog", -300.0, marks=pytest.mark.slow),
    ],
)
def test_extreme_linear_predictors(link, eta):
    assert np.all(np.isfinite(observe(get_family("betabinomial", link), SUCCESSES / TRIALS, eta, TRIALS, PHI)))


def test_start_is_the_moment_estimate():
    family, n = get_family("betabinomial"), 20_000
    mu, a = np.full(n, 0.4), np.full(n, 10.0)
    y = family.simulate(mu, a, np.array(PHI), np.random.default_rng(5))
    assert family.initial_shape(y, mu, a)[0] == pytest.approx(PHI[0], rel=0.05)


def test_refusals():
    family = get_family("beta.binomial")
    with pytest.raises(ResponseError, match="0 <= y <= 1"):
        family.check_response(np.array([0.5, 2.0]), np.full(2, 2.0))
    with pytest.raises(ResponseError, match="one trial a row the beta-binomial is a Bernoulli"):
        family.check_response(np.array([0.0, 1.0]), np.ones(2))
    family.at(PHI).check_response(np.array([0.0, 1.0]), np.ones(2))
    with pytest.raises(FamilyError, match="no link 'log'"):
        get_family("betabinomial", "log")
    with pytest.raises(ArgumentError, match="phi of the betabinomial family"):
        type(family)(phi=-1.0)
    with pytest.raises(WeightsError, match=r"has 1\.5 trials"):
        family.simulate(np.array([0.5]), np.array([1.5]), np.array(PHI), np.random.default_rng(0))
