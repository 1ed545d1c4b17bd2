"""psi = (par, beta, log phi) and back; derivatives of the term factors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from problems import BY_NAME, DESIGN, simulated

from refglmm.families.negative_binomial import NegativeBinomial


@pytest.fixture(scope="module")
def case():
    return simulated(BY_NAME["gamma-log"], DESIGN["crossed-us2+us1"])


def test_split_and_join_are_inverse(case):
    problem, psi = case
    par, beta, phi = problem.split(psi)
    assert (par.size, beta.size, phi.size) == (problem.n_par, problem.p, problem.n_phi)
    np.testing.assert_allclose(problem.join(par, beta, phi), psi, rtol=1e-15)
    assert len(problem.names) == psi.size
    assert problem.names[-1].startswith("log(")


def test_a_shape_that_runs_away_stays_finite(case):
    problem, _ = case
    assert np.all(np.isfinite(problem.shape_from(np.array([1e6]))))
    assert np.all(problem.shape_from(np.array([-1e6])) > 0)


def test_known_shapes_come_from_the_family():
    problem, _ = simulated(BY_NAME["poisson-log"], DESIGN["crossed-us2+us1"])
    known = replace(problem, family=NegativeBinomial(size=2.5))
    np.testing.assert_array_equal(known.shape_from(np.empty(0)), [2.5])


def test_factor_derivatives_are_those_of_the_factors(case):
    problem, psi = case
    par = problem.split(psi)[0]
    for j, derivative in enumerate(problem.factor_derivatives(par)):
        step = np.zeros(par.size)
        step[j] = 1e-6
        difference = (problem.term_factors(par + step) - problem.term_factors(par - step)) / 2e-6
        np.testing.assert_allclose(derivative, difference, atol=1e-8)


def test_the_chain_to_par_is_the_inner_product_with_them(case):
    problem, psi = case
    par = problem.split(psi)[0]
    d_T = np.random.default_rng(1).normal(size=problem.layout.T_size)
    wanted = [derivative @ d_T for derivative in problem.factor_derivatives(par)]
    np.testing.assert_allclose(problem.chain_to_par(par, d_T), wanted, rtol=1e-12)


def test_another_response_shares_the_index_arrays(case):
    problem, _ = case
    other = problem.with_response(problem.y * 2.0)
    assert other.layout is problem.layout
    np.testing.assert_allclose(other.base, problem.family.base_measure(other.y, other.weights))
