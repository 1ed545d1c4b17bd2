"""Adaptive Gauss-Hermite quadrature: against adaptive integration of each group, and its exact gradient."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import oracles
import pytest
from problems import (
    BY_NAME,
    CASES,
    DESIGN,
    assert_gradient,
    build,
    intercepts,
    laplace,
    quadrature,
    simulated,
)

from refglmm.covariance import make_structure
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.families.registry import get_family
from refglmm.likelihood.agq import tensor_grid

every_case = pytest.mark.parametrize("case", CASES, ids=str)


def brute(problem, psi, case, terms):
    par, beta, _ = problem.split(psi)
    codes, columns, levels = terms[0]
    fixed = problem.offset + problem.X @ beta
    return oracles.integrated_deviance(
        case.family,
        case.link,
        problem.y,
        problem.weights,
        case.phi,
        fixed,
        par[0] * columns[:, 0],
        codes,
        levels,
    )


@every_case
def test_many_nodes_give_the_integral(case):
    """scipy.integrate.quad of scipy.stats densities, group by group."""
    problem, psi, terms = intercepts(case, levels=5)
    value = quadrature(problem, 60).value(psi)
    assert value == pytest.approx(brute(problem, psi, case, terms), rel=1e-9)


@pytest.mark.parametrize("name", ["binomial-logit", "poisson-log", "gamma-log"])
def test_the_error_falls_with_the_number_of_nodes(name):
    case = BY_NAME[name]
    problem, psi, terms = intercepts(case, levels=5, sd=1.5)
    exact = brute(problem, psi, case, terms)
    errors = [abs(quadrature(problem, k).value(psi) - exact) for k in (1, 7, 15, 31)]
    assert errors[0] > 1e-2  # or there would be nothing to see
    assert all(after < 0.02 * before for before, after in itertools.pairwise(errors))
    assert errors[-1] < 1e-8


@every_case
@pytest.mark.parametrize("curvature", ["observed", "expected"])
def test_one_node_is_laplace(case, curvature):
    problem, psi, _ = intercepts(case)
    value, gradient = quadrature(problem, 1, curvature).value_and_gradient(psi)
    value1, gradient1 = laplace(problem, curvature).value_and_gradient(psi)
    assert value == pytest.approx(value1, rel=1e-15)
    np.testing.assert_allclose(gradient, gradient1, rtol=1e-10, atol=1e-10)


@every_case
@pytest.mark.parametrize("k", [2, 5, 11, 25])
def test_gradient(case, k):
    """Nodes move with the mode and spread with its curvature; both are in the gradient. Both curvatures."""
    problem, psi, _ = intercepts(case)
    for curvature in ("observed", "expected"):
        assert_gradient(quadrature(problem, k, curvature), psi)


def test_gradient_with_a_slope_only_term():
    """One scalar term whose column is a covariate, zero in some rows."""
    case = BY_NAME["binomial-probit"]
    problem, psi, terms = intercepts(case)
    codes, _, levels = terms[0]
    z = np.where(np.arange(problem.n) % 3 == 0, 0.0, problem.X[:, 1])[:, None]
    slope = build(case.object, problem.X, [(codes, z, levels)], [make_structure("us", 1)], problem.y, problem.weights)
    assert_gradient(quadrature(slope, 7), psi)
    value = quadrature(slope, 40).value(psi)
    par, beta, _ = slope.split(psi)
    expected = oracles.integrated_deviance(
        case.family, case.link, slope.y, slope.weights, None, slope.X @ beta, par[0] * z[:, 0], codes, levels
    )
    assert value == pytest.approx(expected, rel=1e-9)


def test_gaussian_identity_needs_one_node():
    """The integrand is normal: every order gives the exact marginal; analytic."""
    problem, psi, _ = intercepts(BY_NAME["gaussian-identity"])
    one = laplace(problem).value(psi)
    for k in (2, 3, 10, 40):
        assert quadrature(problem, k).value(psi) == pytest.approx(one, rel=1e-13)


@pytest.mark.parametrize("k", [3, 8])
def test_even_in_the_sign_of_theta(k):
    problem, psi, _ = intercepts(BY_NAME["binomial-cloglog"])
    objective = quadrature(problem, k)
    value, gradient = objective.value_and_gradient(psi)
    psi[0] *= -1.0
    mirrored, slope = objective.value_and_gradient(psi)
    assert mirrored == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(slope, gradient * np.where(np.arange(psi.size) == 0, -1, 1), rtol=1e-8, atol=1e-9)


def test_at_zero_variance_every_order_is_the_glm():
    problem, psi, _ = intercepts(BY_NAME["poisson-log"])
    psi[0] = 0.0
    expected = laplace(problem).value(psi)
    value, gradient = quadrature(problem, 9).value_and_gradient(psi)
    assert value == pytest.approx(expected, rel=1e-14)
    assert gradient[0] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", ["poisson-identity", "gamma-inverse", "inverse_gaussian-identity"])
def test_nodes_outside_the_domain_count_nothing(name):
    """With many nodes and a wide spread some fall where the mean would be negative: density 0, gradient
    finite.
    """
    case = BY_NAME[name]
    problem, psi, _ = intercepts(case, sd=case.intercept / 2.5)
    objective = quadrature(problem, 25)
    value, gradient = objective.value_and_gradient(psi)
    assert np.isfinite(value)
    spread = np.max(objective.grid.z) * psi[0] / np.sqrt(np.min(objective.pirls.H))
    assert spread > np.min(objective.pirls.eta)  # the test data: some node is outside
    assert np.all(np.isfinite(gradient))
    assert_gradient(objective, psi)


def test_groups_of_extreme_data_do_not_overflow():
    """1000 trials a row, all successes or none: log sums stay finite at 100 nodes."""
    codes = np.repeat(np.arange(4), 5)
    y = np.where(codes < 2, 1.0, 0.0)
    problem = build(
        get_family("binomial"), np.ones((20, 1)), [(codes, np.ones((20, 1)), 4)], [make_structure("us", 1)],
y,
        np.full(20, 1000.0),
    )  # fmt: skip
    value, gradient = quadrature(problem, 100).value_and_gradient(np.array([8.0, 0.0]))
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))
    expected = oracles.integrated_deviance(
        "binomial", "logit", y, problem.weights, None, np.zeros(20), np.full(20, 8.0), codes, 4
    )
    assert value == pytest.approx(expected, rel=1e-6)


def test_different_grouping_factors_are_refused_with_advice():
    problem, _ = simulated(BY_NAME["binomial-logit"], DESIGN["nested"])
    with pytest.raises(NotAvailableError, match=r"n_agq=5 needs random effects of one grouping factor.*use n_agq=1"):
        quadrature(problem, 5)
    crossed = replace(problem, factor_names=("herd", "year"))
    with pytest.raises(NotAvailableError, match="this model has: herd, year") as error:
        quadrature(crossed, 5)
    assert error.value.facts["factors"] == ("herd", "year")


def test_too_many_nodes_are_refused():
    problem, _, _ = intercepts(BY_NAME["binomial-logit"])
    with pytest.raises(ArgumentError, match="1 to 100"):
        quadrature(problem, 101)
    with pytest.raises(ArgumentError, match=r"with 4 random effects a group means 32\^4 = 1048576 nodes") as error:
        tensor_grid(32, 4)
    assert error.value.facts == {"n_agq": 32, "nodes": 1048576}


def test_outside_the_domain_the_value_is_infinite():
    problem, psi, _ = intercepts(BY_NAME["gamma-identity"])
    psi[1] = -5.0
    value, gradient = quadrature(problem, 5).value_and_gradient(psi)
    assert value == np.inf
    assert np.all(np.isnan(gradient))


def test_same_call_twice_is_bit_equal():
    problem, psi, _ = intercepts(BY_NAME["negative_binomial-log"])
    value, gradient = quadrature(problem, 7).value_and_gradient(psi)
    value2, gradient2 = quadrature(problem, 7).value_and_gradient(psi)
    assert value == value2
    np.testing.assert_array_equal(gradient, gradient2)


def test_the_mode_is_the_laplace_mode():
    """Quadrature changes the value, not the conditional mode."""
    problem, psi, _ = intercepts(BY_NAME["binomial-logit"])
    one, many = laplace(problem).mode(psi), quadrature(problem, 9).mode(psi)
    np.testing.assert_array_equal(one.u, many.u)
    assert one.logdet_L2 == many.logdet_L2
