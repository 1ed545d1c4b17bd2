"""Unit-Lindley against its textbook density, differences, integrals, draws."""

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

import refglmm as rg
from refglmm.errors import FamilyError, ResponseError
from refglmm.families.kernel import L
from refglmm.families.registry import get_family

Y = np.array([1e-6, 0.1, 0.5, 0.93])
ETAS = (-3.0, 0.4, 5.0)


def test_log_density():
    for eta in ETAS:
        theta = np.exp(-eta)
        wanted = np.log(theta**2 / (1.0 + theta) * (1.0 - Y) ** -3.0 * np.exp(-theta * Y / (1.0 - Y)))
        np.testing.assert_allclose(observe(get_family("unit_lindley"), Y, eta, 2.0, ())[L], 2.0 * wanted, rtol=1e-12)


def test_derivatives():
    check_derivatives(get_family("unit_lindley"), Y, ETAS, 1.5, ())


def test_orders_and_weight_zero():
    check_orders(get_family("unit_lindley"), Y, 0.3, 2.0, ())


@pytest.mark.parametrize("eta", [-2.0, 0.4])
def test_moments_and_draws(eta):
    check_moments(get_family("unit_lindley"), *line_rule(0.0, 1.0), eta, ())
    check_draws(get_family("unit.lindley"), eta, ())


def test_variance_at_small_means_is_that_of_the_exponential():
    mu = np.array([1e-5])
    np.testing.assert_allclose(get_family("unit_lindley").variance(mu), mu**2, rtol=1e-4)


def test_refusals():
    with pytest.raises(ResponseError, match="unit-Lindley response must be 0 < y < 1: row 1"):
        get_family("unit_lindley").check_response(np.array([0.5, 0.0]), np.ones(2))
    with pytest.raises(FamilyError, match="no link 'probit'"):
        get_family("unit_lindley", "probit")


def test_fit_recovers_what_was_simulated():
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(60), 15)
    x = rng.normal(size=group.size)
    family = get_family("unit_lindley")
    mu = family.link.inverse(-0.5 + 0.8 * x + 0.7 * rng.normal(size=60)[group])
    y = family.simulate(mu, np.ones(x.size), np.empty(0), rng)
    fit = certified(rg.glmer("y ~ x + (1 | g)", {"y": y, "x": x, "g": group}, family))
    np.testing.assert_allclose([*fit.optimum.beta, fit.optimum.par[0]], [-0.5, 0.8, 0.7], atol=0.25)
