"""The Bell law against the Bell numbers, differences, sums and draws."""

from __future__ import annotations

import numpy as np
import pytest
from families.densities import check_derivatives, check_draws, check_moments, check_orders, observe
from scipy import special

from refglmm.errors import ResponseError
from refglmm.families.bell import log_bell_number, theta_at
from refglmm.families.kernel import L
from refglmm.families.registry import get_family

LINKS = {"log": (-1.5, 0.3, 2.0), "sqrt": (0.5, 1.7), "identity": (1.4, 6.0)}
#: B_0, B_1, ... (sequence A000110)
BELL = [1, 1, 2, 5, 15, 52, 203, 877, 4140, 21147, 115975]
COUNTS = np.array([0.0, 1.0, 2.0, 7.0, 40.0, 3000.0])

each_link = pytest.mark.parametrize("link", LINKS)


def test_bell_numbers():
    assert [np.exp(log_bell_number(float(n))) for n in range(11)] == pytest.approx(BELL, rel=1e-12)


def test_lamberts_function():
    for log_mu in (-600.0, -20.0, 0.0, 0.99, 1.01, 5.0, 300.0):
        assert np.log(theta_at(log_mu)) + theta_at(log_mu) == pytest.approx(log_mu, rel=1e-14, abs=1e-14)


@each_link
def test_log_density_is_the_textbooks(link):
    family, y = get_family("bell", link), np.arange(11.0)
    for eta in LINKS[link]:
        theta = special.lambertw(float(family.link.inverse(np.array([eta]))[0])).real
        wanted = y * np.log(theta) + 1.0 - np.exp(theta) + np.log(BELL) - special.gammaln(y + 1.0)
        np.testing.assert_allclose(observe(family, y, eta, 2.0, ())[L], 2.0 * wanted, rtol=1e-11)


@each_link
def test_derivatives(link):
    check_derivatives(get_family("bell", link), COUNTS, LINKS[link], 1.5, ())


def test_orders_and_weight_zero():
    check_orders(get_family("bell"), COUNTS, 0.3, 2.0, ())


def test_moments_and_draws():
    check_moments(get_family("bell"), np.arange(200.0), 1.0, 1.2, ())
    check_draws(get_family("bell"), 1.2, (), n=50_000)


def test_zero_probability():
    family, mu = get_family("bell"), np.array([0.2, 3.0])
    zero = np.exp(family.log_density(np.zeros(2), mu, np.ones(2)))
    np.testing.assert_allclose(family.zero_probability(mu), zero, rtol=1e-13)


@pytest.mark.parametrize("eta", [-40.0, 25.0])
def test_extreme_linear_predictors(eta):
    assert np.all(np.isfinite(observe(get_family("bell"), COUNTS, eta, 1.0, ())))


def test_refusals():
    family = get_family("bell")
    with pytest.raises(ResponseError, match="negative values are not allowed for the bell family"):
        family.check_response(np.array([1.0, -1.0]), np.ones(2))
    with pytest.raises(ResponseError, match="the bell family takes counts up to 100000"):
        family.check_response(np.array([1.0, 1e6]), np.ones(2))
