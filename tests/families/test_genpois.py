"""Generalised Poisson against its textbook formula, sums, differences and draws."""

from __future__ import annotations

import numpy as np
import pytest
from families.densities import check_derivatives, check_draws, check_moments, check_orders, observe
from scipy import special, stats

from refglmm.errors import ArgumentError, ResponseError
from refglmm.families.genpois import GeneralizedPoisson
from refglmm.families.kernel import L
from refglmm.families.registry import get_family

LINKS = {"log": (-1.5, 0.3, 2.0), "sqrt": (0.5, 1.7), "identity": (1.4, 6.0)}
COUNTS = np.array([0.0, 1.0, 2.0, 7.0, 40.0, 3000.0])
PHI = (2.3,)

each_link = pytest.mark.parametrize("link", LINKS)


def literal(y, mu, phi):
    """theta (theta + lambda y)^(y - 1) exp(-theta - lambda y) / y!, of Consul."""
    theta, spread = mu / np.sqrt(phi), 1.0 - 1.0 / np.sqrt(phi)
    rate = theta + spread * y
    return np.log(theta) + (y - 1.0) * np.log(rate) - rate - special.gammaln(y + 1.0)


@each_link
@pytest.mark.parametrize("phi", [2.3, 0.99])
def test_log_density_is_the_textbooks(link, phi):
    family = get_family("genpois", link)
    counts = COUNTS[:5]
    for eta in LINKS[link]:
        mu = float(family.link.inverse(np.array([eta]))[0])
        wanted = literal(counts, mu, phi)
        np.testing.assert_allclose(observe(family, counts, eta, 2.0, [phi])[L], 2.0 * wanted, rtol=1e-12)


@each_link
def test_derivatives(link):
    check_derivatives(get_family("genpois", link), COUNTS, LINKS[link], 1.5, PHI)


def test_derivatives_when_underdispersed():
    check_derivatives(get_family("genpois"), COUNTS[:4], (1.6, 2.0), 1.5, (0.6,))


def test_orders_and_weight_zero():
    check_orders(get_family("genpois"), COUNTS, 0.3, 2.0, PHI)


def test_moments_and_draws():
    check_moments(get_family("genpois"), np.arange(400.0), 1.0, 1.2, PHI)
    check_draws(get_family("genpois"), 1.2, PHI)


def test_underdispersed_the_law_ends_and_draws_keep_inside():
    mu, phi = np.full(100_000, 6.0), np.array([0.5])
    family = get_family("genpois")
    end = 6.0 / (1.0 - np.sqrt(0.5))
    support = np.arange(np.ceil(end))
    law = np.exp(observe(family, support, np.log(6.0), 1.0, phi)[L])
    assert law.sum() == pytest.approx(1.0, abs=1e-3)
    assert np.isnan(observe(family, np.array([np.ceil(end)]), np.log(6.0), 1.0, phi)[L, 0])
    y = family.simulate(mu, np.ones(mu.size), phi, np.random.default_rng(2))
    assert y.max() < end
    assert abs(y.mean() - 6.0) < 5.0 * np.sqrt(3.0 / mu.size) + 1e-2
    assert y.var() == pytest.approx(3.0, rel=0.03)


def test_phi_one_is_the_poisson():
    wanted = stats.poisson(np.exp(0.7)).logpmf(COUNTS[:5])
    np.testing.assert_allclose(observe(get_family("genpois"), COUNTS[:5], 0.7, 1.0, [1.0])[L], wanted, rtol=1e-12)


def test_zero_probability():
    family = get_family("genpois").at(PHI)
    mu = np.array([0.2, 3.0])
    zero = np.exp(family.log_density(np.zeros(2), mu, np.ones(2)))
    np.testing.assert_allclose(family.zero_probability(mu), zero, rtol=1e-13)


@pytest.mark.parametrize("eta", [-40.0, 25.0])
def test_extreme_linear_predictors(eta):
    assert np.all(np.isfinite(observe(get_family("genpois"), COUNTS, eta, 1.0, PHI)))


def test_start_has_a_density_for_every_response():
    rng = np.random.default_rng(3)
    y = rng.binomial(20, 0.9, 200).astype(float)
    family, mu = get_family("genpois"), np.full(200, 18.0)
    phi = family.initial_shape(y, mu, np.ones(200))
    assert 0.0 < phi[0] < 1.0
    assert np.all(np.isfinite(observe(family, y, np.log(18.0), 1.0, phi)))


def test_refusals():
    with pytest.raises(ResponseError, match="genpois"):
        get_family("genpois").check_response(np.array([1.0, -1.0]), np.ones(2))
    with pytest.raises(ArgumentError, match="phi of the genpois family must lie between 0 and inf"):
        GeneralizedPoisson(phi=0.0)
