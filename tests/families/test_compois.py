"""Conway-Maxwell-Poisson against long sums with a bracketed rate, differences and draws."""

from __future__ import annotations

import numpy as np
import pytest
from families.densities import check_derivatives, check_draws, check_moments, check_orders, observe
from scipy import optimize, special, stats

from refglmm.errors import ArgumentError, ResponseError
from refglmm.families.compois import ConwayMaxwellPoisson
from refglmm.families.kernel import L
from refglmm.families.registry import get_family

LINKS = {"log": (-1.5, 0.3, 2.0), "sqrt": (0.5, 1.7), "identity": (1.4, 6.0)}
COUNTS = np.array([0.0, 1.0, 2.0, 7.0, 40.0, 300.0])

each_link = pytest.mark.parametrize(
    "link", ["log", *(pytest.param(link, marks=pytest.mark.slow) for link in ("sqrt", "identity"))]
)


def literal(y, mu, phi):
    """y log(rate) - nu log y! - log Z, the rate by bisection on the mean; every term of the sums is taken."""
    nu, j = 1.0 / phi, np.arange(60_000.0)
    log_factorials = special.gammaln(j + 1.0)

    def law(log_rate):
        exponents = j * log_rate - nu * log_factorials
        return exponents - special.logsumexp(exponents)

    def miss(log_rate):
        return np.exp(law(log_rate)) @ j - mu

    far = nu * np.log(mu + 1.0) + 20.0 / (1.0 + mu)
    root = optimize.brentq(miss, -800.0, min(far, nu * np.log(50_000.0)), xtol=1e-15, rtol=1e-15)
    return law(root)[y.astype(int)]


@pytest.mark.parametrize(
    ("mu", "phi"),
    [(1e-9, 2.0), (0.3, 100.0), (0.3, 0.02), (2.0, 85.0), (2.5, 0.04), (7.5, 5.0), (40.0, 0.6), (260.0, 1.7)],
)
def test_log_density_is_that_of_the_sums(mu, phi):
    y = np.array([0.0, 1.0, np.round(mu), np.round(mu) + 7.0])
    given = observe(get_family("compois"), y, np.log(mu), 1.0, [phi])[L]
    np.testing.assert_allclose(given, literal(y, mu, phi), rtol=2e-10)


@each_link
@pytest.mark.parametrize("phi", [3.0, 0.4])
def test_derivatives(link, phi):
    check_derivatives(get_family("compois", link), COUNTS[:5], LINKS[link], 1.5, (phi,))


def test_derivatives_of_large_counts_where_not_every_term_is_summed():
    check_derivatives(get_family("compois"), np.array([880.0, 1000.0, 1003.0]), (6.9,), 1.0, (1.8,), rtol=2e-7)


def test_orders_and_weight_zero():
    check_orders(get_family("compois"), COUNTS, 0.3, 2.0, (1.4,))


@pytest.mark.parametrize("phi", [3.0, 0.4])
def test_moments_and_draws(phi):
    check_moments(get_family("compois"), np.arange(400.0), 1.0, 1.2, (phi,))
    check_draws(get_family("compois"), 1.2, (phi,), n=50_000)


def test_phi_one_is_the_poisson():
    for eta in (-30.0, 0.7, 11.0):
        y = np.array([0.0, 1.0, 40.0, 60_000.0])
        wanted = stats.poisson(np.exp(eta)).logpmf(y)
        np.testing.assert_allclose(observe(get_family("compois"), y, eta, 1.0, [1.0])[L], wanted, rtol=1e-10)


def test_large_phi_is_the_geometric_and_small_phi_the_bernoulli():
    wanted = stats.geom(1.0 / 3.0, loc=-1).logpmf(COUNTS[:4])
    given = observe(get_family("compois"), COUNTS[:4], np.log(2.0), 1.0, [1e8])[L]
    np.testing.assert_allclose(given, wanted, rtol=1e-6)
    given = observe(get_family("compois"), np.array([0.0, 1.0]), np.log(0.3), 1.0, [1e-3])[L]
    np.testing.assert_allclose(np.exp(given), [0.7, 0.3], rtol=1e-10)


@pytest.mark.parametrize("eta", [-600.0, -40.0, 14.0])
@pytest.mark.parametrize("phi", [0.3, 4.0])
def test_extreme_linear_predictors(eta, phi):
    assert np.all(np.isfinite(observe(get_family("compois"), COUNTS, eta, 1.0, [phi])))


def test_a_sum_too_long_leaves_the_row_without_value():
    assert np.isnan(observe(get_family("compois"), np.array([3.0]), 13.0, 1.0, [1e9])[L, 0])


def test_zero_probability():
    family = get_family("compois").at((2.0,))
    mu = np.array([0.2, 3.0])
    np.testing.assert_allclose(
        family.zero_probability(mu), [np.exp(literal(np.zeros(1), m, 2.0)[0]) for m in mu], rtol=1e-9
    )


def test_refusals():
    with pytest.raises(ResponseError, match="compois"):
        get_family("compois").check_response(np.array([1.0, -1.0]), np.ones(2))
    with pytest.raises(ArgumentError, match="phi of the compois family must lie between 0 and inf"):
        ConwayMaxwellPoisson(phi=-2.0)
