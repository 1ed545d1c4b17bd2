"""Profiled ML deviance and REML criterion: dense oracle, exact gradients, published values, invariances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import oracles
import pytest
from problems import DESIGN, DESIGNS, build, dense_M, split_factors

import refglmm as rg
from refglmm.covariance import make_structure
from refglmm.errors import NotPositiveDefiniteError
from refglmm.families.registry import get_family
from refglmm.likelihood.profiled import ProfiledLinear, orthogonal_basis

every_design = pytest.mark.parametrize("design", DESIGNS, ids=str)
ml_and_reml = pytest.mark.parametrize("reml", [False, True], ids=["ML", "REML"])


def linear(design, seed=4, weights=True):
    """(problem, par): y drawn from the linear mixed model on the design."""
    rng = np.random.default_rng(seed)
    par = design.par(0.9)
    M = oracles.dense_Z(design.terms) @ oracles.dense_Lambda(
        split_factors(design.structures, par), [t[2] for t in design.terms]
    )
    w = rng.uniform(0.4, 2.5, design.n) if weights else np.ones(design.n)
    offset = rng.uniform(-1, 1, design.n)
    y = (
        offset
        + design.X @ [2.0, -1.0]
        + 1.5 * (M @ rng.standard_normal(M.shape[1]) + rng.normal(size=design.n) / np.sqrt(w))
    )
    return build(get_family("gaussian"), design.X, design.terms, design.structures, y, w, offset), par


def dense(problem, design, par, reml):
    Lambda = oracles.dense_Lambda(split_factors(problem.structures, par), [t[2] for t in design.terms])
    Z = oracles.dense_Z(design.terms)
    return oracles.profiled_deviance(problem.y, problem.X, Z, Lambda, problem.offset, problem.weights, reml)


@every_design
@ml_and_reml
def test_value_against_the_dense_oracle(design, reml):
    """n x n covariance matrix, generalised least squares, no profiling formula shared."""
    problem, par = linear(design)
    assert ProfiledLinear(problem, reml).value(par) == pytest.approx(dense(problem, design, par, reml), rel=1e-11)


@every_design
@ml_and_reml
def test_gradient(design, reml):
    problem, par = linear(design)
    objective = ProfiledLinear(problem, reml)
    _, gradient = objective.value_and_gradient(par)
    expected = oracles.gradient_5_point(objective.value, par, 1e-3 * np.abs(par))
    np.testing.assert_allclose(gradient * par, expected * par, rtol=1e-7, atol=1e-7 * np.max(np.abs(expected * par)))


@every_design
def test_beta_sigma_and_modes_are_those_of_generalised_least_squares(design):
    problem, par = linear(design)
    objective = ProfiledLinear(problem, False)
    objective.value(par)
    Lambda = oracles.dense_Lambda(split_factors(problem.structures, par), [t[2] for t in design.terms])
    Z = oracles.dense_Z(design.terms)
    beta, V0, r = oracles.generalised_least_squares(problem.y, problem.X, Z, Lambda, problem.offset, problem.weights)
    np.testing.assert_allclose(objective.beta, beta, rtol=1e-10)
    assert objective.sigma == pytest.approx(np.sqrt(r @ np.linalg.solve(V0, r) / problem.n), rel=1e-10)
    np.testing.assert_allclose(objective.u, (Z @ Lambda).T @ np.linalg.solve(V0, r), rtol=1e-8, atol=1e-10)


@every_design
def test_the_mode_is_one_consistent_state(design):
    problem, par = linear(design)
    mode = ProfiledLinear(problem, True).mode(par)
    M = dense_M(problem, par, design.terms)
    w = problem.weights
    H = np.eye(problem.q) + M.T @ (w[:, None] * M)
    assert mode.logdet_L2 == pytest.approx(np.linalg.slogdet(H)[1], rel=1e-12)
    cross = M.T @ (w[:, None] * problem.X)
    schur = problem.X.T @ (w[:, None] * problem.X) - cross.T @ np.linalg.solve(H, cross)
    np.testing.assert_allclose(mode.rx.T @ mode.rx, schur, rtol=1e-9)
    residual = problem.y - mode.mu
    np.testing.assert_allclose(mode.s, w * residual, rtol=1e-12)
    assert mode.deviance == pytest.approx(np.sum(w * residual**2), rel=1e-12)
    assert mode.penalty == pytest.approx(mode.u @ mode.u, rel=1e-14)
    assert mode.residual < 1e-10
    np.testing.assert_allclose(M.T @ (w * residual), mode.u, atol=1e-9)
    np.testing.assert_allclose(problem.X.T @ (w * residual), 0.0, atol=1e-9)


@ml_and_reml
def test_sigma_divides_by_n_or_n_minus_p(reml):
    problem, par = linear(DESIGN["nested"])
    objective = ProfiledLinear(problem, reml)
    objective.value(par)
    assert objective.sigma**2 * (problem.n - 2 * reml) == pytest.approx(objective.pwrss, rel=1e-14)


@every_design
@ml_and_reml
def test_average_information_against_dense_algebra(design, reml):
    """P and V are n x n here, and dV/dpar a central difference (V is quadratic in most parameters)."""
    problem, par = linear(design)
    objective, Z = ProfiledLinear(problem, reml), oracles.dense_Z(design.terms)

    def V(par):
        Lambda = oracles.dense_Lambda(split_factors(problem.structures, par), [t[2] for t in design.terms])
        return np.diag(1.0 / problem.weights) + Z @ Lambda @ Lambda.T @ Z.T

    inverse, X = np.linalg.inv(V(par)), problem.X
    P = inverse - inverse @ X @ np.linalg.solve(X.T @ inverse @ X, X.T @ inverse)
    Py = P @ (problem.y - problem.offset)
    steps = 1e-4 * np.eye(par.size)
    F = np.column_stack([(V(par + h) - V(par - h)) @ Py / 2e-4 for h in steps])
    pwrss, slope = (problem.y - problem.offset) @ Py, F.T @ Py
    expected = objective.degrees / pwrss * (F.T @ P @ F - np.outer(slope, slope) / pwrss)
    np.testing.assert_allclose(
        objective.average_information(par), expected, rtol=1e-6, atol=1e-7 * np.max(np.abs(expected))
    )


def test_an_orthogonal_basis_of_collinear_columns():
    rng = np.random.default_rng(3)
    x = rng.normal(size=50)
    Q, R, collinear = orthogonal_basis(np.column_stack([np.ones(50), x, x + 1e-9 * rng.normal(size=50)]))
    np.testing.assert_allclose(Q.T @ Q, np.eye(3), atol=1e-14)
    assert np.all(np.diag(R) > 0)
    assert not collinear
    assert orthogonal_basis(np.column_stack([x, 2.0 * x]))[2]
    assert orthogonal_basis(np.ones((1, 2)))[2]


def test_an_evaluation_is_not_repeated_but_never_stale():
    problem, par = linear(DESIGN["crossed-us2+us1"])
    objective = ProfiledLinear(problem, True)
    first = objective.value_and_gradient(par)
    other = objective.value_and_gradient(1.1 * par)
    assert objective.value(np.full(par.size, np.nan)) == np.inf
    for again in (par, 1.1 * par, par.copy()):
        expected = first if np.array_equal(again, par) else other
        value, gradient = objective.value_and_gradient(again)
        assert value == expected[0]
        np.testing.assert_array_equal(gradient, expected[1])


def test_the_other_criterion_at_the_same_parameters():
    problem, par = linear(DESIGN["crossed-us2+us1"])
    ml, reml = ProfiledLinear(problem, False), ProfiledLinear(problem, True)
    value, value_reml = ml.value(par), reml.value(par)
    assert ml.criterion(True) == pytest.approx(value_reml, rel=1e-14)
    assert reml.criterion(False) == pytest.approx(value, rel=1e-14)


# -- published values ----------------------------------------------------------------------------------------


def dyestuff(column="Yield", name="Dyestuff"):
    data = rg.datasets.load(name)
    codes = data["Batch"].cat.codes.to_numpy()
    y = data[column].to_numpy(float)
    terms = [(codes, np.ones((y.size, 1)), 6)]
    return build(get_family("gaussian"), np.ones((y.size, 1)), terms, [make_structure("us", 1)], y, np.ones(y.size))


@pytest.mark.golden
@pytest.mark.parametrize(("theta", "value"), [(1.0, 319.792389042002), (0.0, 326.023232155879)])
def test_dyestuff_reml_criterion(theta, value):
    """lme4's tests/testthat/test-lmer.R: the deviance function at theta = 1 and 0."""
    assert ProfiledLinear(dyestuff(), True).value(np.array([theta])) == pytest.approx(value, rel=1e-12)


@pytest.mark.golden
def test_dyestuff_optimum():
    """lme4's test-lmer.R: theta .84832031 (REML), criterion 319.654276842342, sigma 49.5101272946856."""
    objective = ProfiledLinear(dyestuff(), True)
    value, gradient = objective.value_and_gradient(np.array([0.84832031]))
    assert value == pytest.approx(319.654276842342, rel=1e-12)
    assert objective.sigma == pytest.approx(49.5101272946856, rel=1e-6)
    assert abs(gradient[0]) < 1e-4  # lme4 stops within 1e-5 of its optimum


# -- invariances ---------------------------------------------------------------------------------------------


@ml_and_reml
def test_weight_zero_is_the_row_dropped(reml):
    design = DESIGN["crossed-us2+us1"]
    problem, par = linear(design)
    keep = np.arange(problem.n) % 7 != 0
    zero = replace(problem, weights=np.where(keep, problem.weights, 0.0))
    dropped = build(
        problem.family, problem.X[keep], [(c[keep], Z[keep], levels) for c, Z, levels in design.terms],
        problem.structures, problem.y[keep], problem.weights[keep], problem.offset[keep],
    )  # fmt: skip
    value, gradient = ProfiledLinear(zero, reml).value_and_gradient(par)
    value2, gradient2 = ProfiledLinear(dropped, reml).value_and_gradient(par)
    assert value == pytest.approx(value2, rel=1e-12)
    np.testing.assert_allclose(gradient, gradient2, rtol=1e-9)


def test_units_of_the_response_shift_the_deviance_by_a_constant():
    """y -> c y with offset: n log c^2 more, the same gradient; analytic."""
    problem, par = linear(DESIGN["balanced-us2"])
    scaled = replace(problem, y=problem.y * 1e3, offset=problem.offset * 1e3)
    value, gradient = ProfiledLinear(problem, False).value_and_gradient(par)
    value2, gradient2 = ProfiledLinear(scaled, False).value_and_gradient(par)
    assert value2 - problem.n * np.log(1e6) == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(gradient2, gradient, rtol=1e-9)


def test_a_rescaled_column_shifts_the_reml_criterion_only():
    problem, par = linear(DESIGN["balanced-us2"])
    scaled = replace(problem, X=problem.X * [1.0, 1e5])
    for reml, shift in ((False, 0.0), (True, 2.0 * np.log(1e5))):
        value, gradient = ProfiledLinear(problem, reml).value_and_gradient(par)
        value2, gradient2 = ProfiledLinear(scaled, reml).value_and_gradient(par)
        assert value2 - shift == pytest.approx(value, rel=1e-11)
        np.testing.assert_allclose(gradient2, gradient, rtol=1e-7)


@pytest.mark.parametrize("name", ["balanced-us2", "same-factor-twice"])
def test_even_in_the_sign_of_a_column(name):
    problem, par = linear(DESIGN[name])
    objective = ProfiledLinear(problem, True)
    flipped = par.copy()
    flipped[-1] *= -1.0
    assert objective.value(flipped) == pytest.approx(objective.value(par), rel=1e-14)


def test_a_huge_variance_costs_the_gradient_no_digits():
    """Balanced one-way by ML: theta^2 = ((1 - 1/groups) MSB/MSE - 1)/m is the optimum, here near (1e6)^2."""
    rng = np.random.default_rng(5)
    groups, m = 20, 6
    codes = np.repeat(np.arange(groups), m)
    y = 1e6 * rng.normal(size=groups)[codes] + rng.normal(size=groups * m)
    table = y.reshape(groups, m)
    between = m * np.var(table.mean(axis=1), ddof=1)
    within = np.mean(np.var(table, axis=1, ddof=1))
    theta = np.sqrt(((1.0 - 1.0 / groups) * between / within - 1.0) / m)
    terms = [(codes, np.ones((y.size, 1)), groups)]
    problem = build(get_family("gaussian"), np.ones((y.size, 1)), terms, [make_structure("us", 1)], y, np.ones(y.size))
    _, gradient = ProfiledLinear(problem, False).value_and_gradient(np.array([theta]))
    assert abs(theta * gradient[0]) < 1e-7  # 2 groups times the relative error of theta


def test_a_huge_mean_costs_no_digits():
    """y shifted by 1e8: the residual of least squares is what enters, so pwrss keeps what y itself has
    left.
    """
    problem, par = linear(DESIGN["nested"])
    shifted = replace(problem, y=problem.y + 1e8)
    rounded = replace(problem, y=shifted.y - 1e8)  # the same rounding of y, without the shift
    assert ProfiledLinear(shifted, False).value(par) == pytest.approx(
        ProfiledLinear(rounded, False).value(par), rel=1e-13
    )


def test_collinear_columns_are_an_infinite_deviance():
    problem, par = linear(DESIGN["nested"])
    empty = replace(problem, X=np.column_stack([problem.X, np.zeros(problem.n)]), beta_names=("a", "b", "c"))
    objective = ProfiledLinear(empty, False)
    value, gradient = objective.value_and_gradient(par)
    assert value == np.inf
    assert np.all(np.isnan(gradient))
    assert isinstance(objective.last_error, NotPositiveDefiniteError)


def test_without_fixed_effects():
    problem, par = linear(DESIGN["nested"])
    bare = replace(problem, X=np.empty((problem.n, 0)), beta_names=())
    ml, reml = ProfiledLinear(bare, False), ProfiledLinear(bare, True)
    value, gradient = ml.value_and_gradient(par)
    value_reml, gradient_reml = reml.value_and_gradient(par)
    assert value == value_reml
    np.testing.assert_array_equal(gradient, gradient_reml)
    np.testing.assert_allclose(gradient, oracles.gradient_5_point(ml.value, par, 1e-3 * par), rtol=1e-7, atol=1e-8)
