"""Objectives at any parameters: each against another way to the same number."""

from __future__ import annotations

import numpy as np
import pytest

import refglmm as rg
from refglmm.crosschecking.objectives import Approximation, Bench, RestrictedObjective, first_asked
from refglmm.inference.parameters import full_vector
from refglmm.likelihood.profiled import ProfiledLinear

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
ML, REML = Approximation(linear=True), Approximation(linear=True, restricted=True)


@pytest.fixture(scope="module")
def cbpp():
    return Bench(rg.GLMM(CBPP, rg.datasets.load("cbpp"), "binomial"), Approximation(), {})


@pytest.fixture(scope="module")
def sleep():
    return Bench(rg.GLMM("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy")), REML, {})


def test_the_restricted_criterion_has_its_minimum_at_the_reml_fit(sleep):
    fit = rg.lmer("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"), reml=True)
    assert sleep.evaluate(full_vector(fit)) == pytest.approx(fit.reml_criterion, abs=1e-9)
    gradient = sleep.gradient(full_vector(fit))
    assert sleep.decrement(full_vector(fit), gradient) < 1e-8


def test_the_restricted_criterion_elsewhere_is_the_profiled_one_plus_what_is_not_at_its_best(sleep):
    """D_R(x) = profiled REML + nu (log(s^2/s_hat^2) + s_hat^2/s^2 - 1) + (b - b_hat)'X'V^-1X(b - b_hat)."""
    problem, x = sleep.model.problem, sleep.estimate + 0.3 * sleep.scale * np.array([1, 1, 1, 0.1, 0.1, 1])
    par, beta, phi = problem.split(x)
    sigma = np.sqrt(phi[0])
    profiled = ProfiledLinear(problem, True)
    value = profiled.value(par / sigma)
    ratio = phi[0] / profiled.sigma**2
    root = profiled.R @ profiled.RX / sigma
    expected = value + (problem.n - problem.p) * (np.log(ratio) + 1 / ratio - 1)
    expected += float(np.sum((root @ (beta - profiled.beta)) ** 2))
    assert sleep.evaluate(x) == pytest.approx(expected, abs=1e-8)


def test_the_restricted_gradient_is_that_of_its_values(sleep):
    x = sleep.estimate + 0.2 * sleep.scale
    objective = sleep.objective()
    assert isinstance(objective, RestrictedObjective)
    gradient = objective.value_and_gradient(x)[1]
    for j in range(x.size):
        step = np.zeros(x.size)
        step[j] = 1e-4 * sleep.scale[j]
        slope = (objective.value(x + step) - objective.value(x - step)) / (2 * step[j])
        assert gradient[j] == pytest.approx(slope, rel=1e-5, abs=1e-5)


def test_every_approximation_is_the_log_likelihood_of_a_fit(cbpp):
    for order in (1, 2, 9):
        fit = rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial", n_agq=order)
        assert cbpp.evaluate(full_vector(fit), Approximation(order)) == pytest.approx(fit.minus_two_loglik, abs=1e-9)
    joint = cbpp.joint_fit
    assert cbpp.joint_value(full_vector(joint)) == pytest.approx(joint.minus_two_loglik, abs=1e-8)


def test_brute_force_is_where_quadrature_settles(cbpp):
    value, order = cbpp.integral(cbpp.estimate)
    assert order >= 25
    assert value == pytest.approx(cbpp.evaluate(cbpp.estimate, Approximation(80)), abs=1e-6)
    assert abs(value - cbpp.value) > 0.01  # Laplace is not the integral


def test_no_quadrature_over_crossed_factors():
    data = rg.datasets.load("cbpp")
    bench = Bench(rg.GLMM(CBPP + " + (1 | period)", data, "binomial"), Approximation(), {})
    assert bench.integral(bench.estimate) is None
    assert not bench.others(9)


def test_what_is_missing_is_filled_in_at_its_best(cbpp):
    x = cbpp.estimate.copy()
    x[0], x[2:] = 0.4, np.nan
    full = cbpp.completed(x)
    gradient = cbpp.gradient(full)
    assert full[0] == 0.4
    assert full[1] == x[1]
    np.testing.assert_allclose(gradient[2:], 0.0, atol=1e-4)


def test_lme4s_objective_at_its_own_estimates(cbpp):
    """lme4 2.1.0: logLik -92.0265663895 at these estimates; the exact one is -92.0262862 there."""
    x = np.array([0.642069925381, -1.39834286399, -0.991924975397, -1.12821621635, -1.57974541413])
    assert -0.5 * cbpp.walk_value(x, 1) == pytest.approx(-92.0265663895, abs=1e-6)
    assert -0.5 * cbpp.evaluate(x) == pytest.approx(-92.0262862, abs=1e-7)


def test_what_is_asked():
    model = rg.GLMM(CBPP, rg.datasets.load("cbpp"), "binomial")
    assert first_asked(model, None, None, None, None) == Approximation(1)
    assert first_asked(model, None, None, 0, None) == Approximation(1)
    assert first_asked(model, None, None, 9, None) == Approximation(9)
    assert first_asked(model, 11, None, 9, None) == Approximation(11)


def test_who_reports_quadrature_points_used_as_many(cbpp):
    """Other numbers of points have almost the same optimum; they are tried only for a report that names none."""
    assert [a.n_agq for a in cbpp.others(11)] == [11]
    assert {3, 7, 11, 25} <= {a.n_agq for a in cbpp.others(None)}
    assert {3, 7, 11, 25} <= {a.n_agq for a in cbpp.others(1)}
