"""The Laplace deviance and its n_agq = 0 relative: closed form, dense oracle, exact gradients,
invariances.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import oracles
import pytest
from problems import (
    BY_NAME,
    CASES,
    DESIGN,
    DESIGNS,
    assert_gradient,
    build,
    dense_M,
    intercepts,
    laplace,
    profiled,
    simulated,
)
from scipy import stats

from refglmm.covariance import make_structure
from refglmm.errors import PirlsError
from refglmm.likelihood.laplace import LaplaceObjective

every_case = pytest.mark.parametrize("case", CASES, ids=str)
both_curvatures = pytest.mark.parametrize("curvature", ["observed", "expected"])


# -- the value -----------------------------------------------------------------------------------------------


def test_gaussian_identity_laplace_is_the_exact_marginal():
    """The integrand is a normal density, so Laplace makes no error; analytic."""
    problem, psi = simulated(BY_NAME["gaussian-identity"], DESIGN["crossed-us2+us1"])
    par, beta, phi = problem.split(psi)
    terms = DESIGN["crossed-us2+us1"].terms
    M = dense_M(problem, par, terms)
    V = phi[0] * np.diag(1.0 / problem.weights) + M @ M.T
    exact = -2.0 * stats.multivariate_normal(problem.offset + problem.X @ beta, V).logpdf(problem.y)
    assert laplace(problem).value(psi) == pytest.approx(exact, rel=1e-12)


@every_case
@both_curvatures
@pytest.mark.parametrize("design", [DESIGN["crossed-us2+us1"], DESIGN["cs3"]], ids=str)
def test_value_against_the_dense_oracle(case, design, curvature):
    """scipy.stats densities, sixth-order differences, dense Z, Lambda and H."""
    problem, psi = simulated(case, design)
    par, beta, _ = problem.split(psi)
    rows = oracles.Rows(case.family, case.link, problem.y, problem.weights, case.phi)
    fixed = problem.offset + problem.X @ beta
    expected = oracles.laplace_deviance(rows, fixed, dense_M(problem, par, design.terms), curvature)
    assert laplace(problem, curvature).value(psi) == pytest.approx(expected, rel=1e-9)


@every_case
def test_profiled_value_is_laplace_at_the_joint_mode(case):
    """n_agq = 0 has the same formula, at the beta that maximises g together with u."""
    problem, psi = simulated(case, DESIGN["crossed-us2+us1"])
    n_par, p = problem.n_par, problem.p
    outer = np.concatenate([psi[:n_par], psi[n_par + p :]])
    joint = profiled(problem, psi[n_par : n_par + p].copy())
    value = joint.value(outer)
    psi[n_par : n_par + p] = joint.beta
    objective = laplace(problem)
    assert objective.value(psi) == pytest.approx(value, rel=1e-12)
    mode = objective.mode(psi)
    # beta is stationary for g: X's = 0, to rounding of its summands
    assert np.max(np.abs(problem.X.T @ mode.s)) < 1e-8 * np.max(np.abs(problem.X).T @ np.abs(mode.s))


# -- the gradients -------------------------------------------------------------------------------------------


@every_case
@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_gradient(case, design):
    """Both curvatures, one start: families x links x structures x designs."""
    problem, psi = simulated(case, design)
    for curvature in ("observed", "expected"):
        assert_gradient(laplace(problem, curvature), psi)


@every_case
@pytest.mark.parametrize("design", [DESIGN["crossed-us2+us1"], DESIGN["ar1-3-het"], DESIGN["nested"]], ids=str)
def test_profiled_gradient(case, design):
    problem, psi = simulated(case, design)
    n_par, p = problem.n_par, problem.p
    outer = np.concatenate([psi[:n_par], psi[n_par + p :]])
    for curvature in ("observed", "expected"):
        assert_gradient(profiled(problem, psi[n_par : n_par + p].copy(), curvature), outer)


def test_gradient_without_fixed_effects():
    """p = 0 works: y ~ 0 + (1 | g)."""
    problem, psi, _ = intercepts(BY_NAME["poisson-log"])
    problem = replace(problem, X=np.empty((problem.n, 0)), beta_names=())
    psi = psi[:1]
    assert_gradient(laplace(problem), psi)
    joint = profiled(problem, np.empty(0))
    assert joint.value(psi) == pytest.approx(laplace(problem).value(psi), rel=1e-14)
    assert_gradient(joint, psi)


# -- invariances ---------------------------------------------------------------------------------------------

INVARIANT = [BY_NAME[name] for name in ("binomial-logit", "poisson-sqrt", "gamma-log", "negative_binomial-log")]
some_cases = pytest.mark.parametrize("case", INVARIANT, ids=str)


@some_cases
@pytest.mark.parametrize("design", [DESIGN["balanced-us2"], DESIGN["same-factor-twice"]], ids=str)
def test_even_in_the_sign_of_a_column_of_T(case, design):
    problem, psi = simulated(case, design)
    objective = laplace(problem)
    value, gradient = objective.value_and_gradient(psi)
    flipped = psi.copy()
    last = problem.n_par - 1  # the last column of T has its diagonal only
    flipped[last] = -psi[last]
    mirrored, slope = objective.value_and_gradient(flipped)
    assert mirrored == pytest.approx(value, rel=1e-13)
    assert slope[last] == pytest.approx(-gradient[last], rel=1e-7)


@some_cases
def test_the_order_of_rows_does_not_matter(case):
    design = DESIGN["crossed-us2+us1"]
    problem, psi = simulated(case, design)
    order = np.random.default_rng(8).permutation(problem.n)
    shuffled = build(
        problem.family,
        problem.X[order],
        [(codes[order], Z[order], levels) for codes, Z, levels in design.terms],
        problem.structures,
        problem.y[order],
        problem.weights[order],
        problem.offset[order],
    )
    value, gradient = laplace(problem).value_and_gradient(psi)
    value2, gradient2 = laplace(shuffled).value_and_gradient(psi)
    assert value2 == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(gradient2, gradient, rtol=1e-9, atol=1e-9)


@some_cases
def test_the_labels_of_groups_do_not_matter(case):
    design = DESIGN["crossed-us2+us1"]
    problem, psi = simulated(case, design)
    rng = np.random.default_rng(9)
    renamed, permutations = [], []
    for codes, Z, levels in design.terms:
        permutation = rng.permutation(levels)
        renamed.append((permutation[codes], Z, levels))
        permutations.append(permutation)
    other = build(problem.family, problem.X, renamed, problem.structures, problem.y, problem.weights, problem.offset)
    one, two = laplace(problem), laplace(other)
    assert two.value(psi) == pytest.approx(one.value(psi), rel=1e-13)
    first = design.terms[0][2] * 2
    u = one.mode(psi).u[:first].reshape(-1, 2)
    renamed_u = two.mode(psi).u[:first].reshape(-1, 2)
    np.testing.assert_allclose(renamed_u[permutations[0]], u, atol=1e-10)


@pytest.mark.parametrize("name", ["poisson-log", "poisson-identity", "negative_binomial-log"])
def test_weight_two_is_the_row_twice(name):
    """For counts the weight multiplies the log density, constants included."""
    problem, psi, terms = intercepts(BY_NAME[name])
    codes, Z, levels = terms[0]
    keep = np.concatenate([np.arange(problem.n), np.arange(0, problem.n, 3)])
    weights = np.ones(problem.n)
    weights[::3] = 2.0
    weighted = problem.with_response(problem.y, weights)
    doubled = build(
        problem.family, problem.X[keep], [(codes[keep], Z[keep], levels)], problem.structures,
problem.y[keep],
        np.ones(keep.size),
    )  # fmt: skip
    value, gradient = laplace(weighted).value_and_gradient(psi)
    value2, gradient2 = laplace(doubled).value_and_gradient(psi)
    assert value2 == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(gradient2, gradient, rtol=1e-9, atol=1e-10)


def test_binomial_trials_may_be_split_over_rows():
    """m successes in n trials in one row, or as n rows of 0 and 1, differ by the binomial coefficients
    only.
    """
    problem, psi, terms = intercepts(BY_NAME["binomial-logit"])
    codes, Z, levels = terms[0]
    trials, successes = problem.weights.astype(int), np.round(problem.weights * problem.y).astype(int)
    keep = np.repeat(np.arange(problem.n), trials)
    y = np.concatenate([np.repeat([1.0, 0.0], [s, t - s]) for s, t in zip(successes, trials, strict=True)])
    split = build(
        problem.family,
        problem.X[keep],
        [(codes[keep], Z[keep], levels)],
        problem.structures,
        y,
        np.ones(y.size),
    )
    constant = 2.0 * problem.base.sum()
    assert constant < -1 or constant > 1
    assert laplace(problem).value(psi) + constant == pytest.approx(laplace(split).value(psi), rel=1e-12)


@every_case
def test_weight_zero_is_the_row_dropped(case):
    problem, psi, terms = intercepts(case)
    codes, Z, levels = terms[0]
    drop = np.zeros(problem.n, dtype=bool)
    drop[[1, 5, 11]] = True
    weights = np.where(drop, 0.0, problem.weights)
    zero = problem.with_response(problem.y, weights)
    keep = ~drop
    dropped = build(
        problem.family, problem.X[keep], [(codes[keep], Z[keep], levels)], problem.structures,
problem.y[keep],
        problem.weights[keep],
    )  # fmt: skip
    value, gradient = laplace(zero).value_and_gradient(psi)
    value2, gradient2 = laplace(dropped).value_and_gradient(psi)
    assert value2 == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(gradient2, gradient, rtol=1e-9, atol=1e-9)


@some_cases
def test_a_rescaled_column_rescales_its_slope_and_nothing_else(case):
    problem, psi = simulated(case, DESIGN["balanced-us2"])
    factor = 1e4
    scaled = replace(problem, X=problem.X * [1.0, factor])
    there = psi.copy()
    j = problem.n_par + 1
    there[j] /= factor
    value, gradient = laplace(problem).value_and_gradient(psi)
    value2, gradient2 = laplace(scaled).value_and_gradient(there)
    assert value2 == pytest.approx(value, rel=1e-13)
    gradient2[j] /= factor
    np.testing.assert_allclose(gradient2, gradient, rtol=1e-8, atol=1e-8)


def test_no_random_effects_variance_is_a_glm():
    """At T = 0 the deviance is that of the fixed part alone."""
    problem, psi, _ = intercepts(BY_NAME["poisson-log"])
    psi[0] = 0.0
    mu = np.exp(problem.X @ psi[1:3])
    expected = -2.0 * np.sum(problem.weights * stats.poisson.logpmf(problem.y, mu))
    value, gradient = laplace(problem).value_and_gradient(psi)
    assert value == pytest.approx(expected, rel=1e-13)
    assert gradient[0] == 0.0


# -- the engine as a whole -----------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["builtin", "schur"])
def test_engines_agree(engine):
    problem, psi = simulated(BY_NAME["gamma-log"], DESIGN["crossed-us2+us1"])
    value, gradient = laplace(problem, engine="auto").value_and_gradient(psi)
    value2, gradient2 = laplace(problem, engine=engine).value_and_gradient(psi)
    assert value2 == pytest.approx(value, rel=1e-14)
    np.testing.assert_allclose(gradient2, gradient, rtol=1e-11)


def test_same_call_twice_is_bit_equal():
    problem, psi = simulated(BY_NAME["binomial-cloglog"], DESIGN["diag3+us2"])
    value, gradient = laplace(problem).value_and_gradient(psi)
    value2, gradient2 = laplace(problem).value_and_gradient(psi)
    assert value == value2
    np.testing.assert_array_equal(gradient, gradient2)


def test_the_warm_start_changes_nothing_but_rounding():
    problem, psi = simulated(BY_NAME["poisson-log"], DESIGN["crossed-us2+us1"])
    fresh = laplace(problem).value(psi)
    used = laplace(problem)
    used.value(psi * 1.3)
    used.value(psi * 0.4)
    assert used.value(psi) == pytest.approx(fresh, rel=1e-14)


def test_outside_the_domain_the_value_is_infinite_and_the_reason_is_kept():
    """Identity link: a negative intercept gives no row a mean; the optimiser can step back from inf."""
    problem, psi, _ = intercepts(BY_NAME["poisson-identity"])
    objective = laplace(problem)
    inside = objective.value(psi)
    psi_out = psi.copy()
    psi_out[1] = -5.0
    value, gradient = objective.value_and_gradient(psi_out)
    assert value == np.inf
    assert np.all(np.isnan(gradient))
    assert gradient.size == psi.size
    assert isinstance(objective.last_error, PirlsError)
    assert "domain of the link" in str(objective.last_error)
    # and the excursion leaves no trace
    assert objective.value(psi) == pytest.approx(inside, rel=1e-14)


def test_a_column_of_zeros_changes_nothing():
    """X'WX is singular, the deviance is not: damping leads to the value without the column."""
    problem, psi, _ = intercepts(BY_NAME["poisson-log"])
    X = np.column_stack([problem.X, np.zeros(problem.n)])
    empty = replace(problem, X=X, beta_names=("x0", "x1", "x2"))
    value, gradient = profiled(empty, np.zeros(3)).value_and_gradient(psi[:1])
    value2, gradient2 = profiled(problem, np.zeros(2)).value_and_gradient(psi[:1])
    assert value == pytest.approx(value2, rel=1e-13)
    np.testing.assert_allclose(gradient, gradient2, rtol=1e-8)


def test_names():
    problem, _ = simulated(BY_NAME["gamma-log"], DESIGN["nested"])
    assert laplace(problem).names == ("g0.c0", "g1.c0", "x0", "x1", "log(phi)")
    assert profiled(problem, np.zeros(2)).names == ("g0.c0", "g1.c0", "log(phi)")


def test_a_term_whose_column_is_never_hit_by_weight():
    """A level with total weight zero adds nothing: its mode is 0 and its part of log|H| is 0."""
    problem, psi, terms = intercepts(BY_NAME["binomial-logit"])
    codes = terms[0][0]
    weights = np.where(codes == 0, 0.0, problem.weights)
    zero = problem.with_response(problem.y, weights)
    mode = laplace(zero).mode(psi)
    assert mode.u[0] == 0.0
    keep = codes != 0
    rest = build(
        problem.family, problem.X[keep], [(codes[keep] - 1, terms[0][1][keep], terms[0][2] - 1)],
        [make_structure("us", 1)], problem.y[keep], problem.weights[keep],
    )  # fmt: skip
    assert laplace(zero).value(psi) == pytest.approx(laplace(rest).value(psi), rel=1e-13)


@every_case
def test_mode_slope(case):
    """du/dpsi by the implicit function theorem, against differences of the mode."""
    problem, psi = simulated(case, DESIGN["diag3+us2"])
    objective = laplace(problem)
    objective.value_and_gradient(psi)
    slope = objective.mode_slope(psi)
    other = laplace(problem)
    for j in range(psi.size):
        h = 1e-3 * max(abs(psi[j]), 0.05)

        def u(x, j=j):
            there = psi.copy()
            there[j] = x
            other.value(there)
            return other.u

        expected = oracles.first_difference(u, psi[j], h)
        np.testing.assert_allclose(slope[:, j], expected, rtol=1e-6, atol=1e-6 * np.max(np.abs(expected)))


@every_case
@pytest.mark.parametrize("curvature", ["observed", "expected"])
def test_gradient_nearby_has_the_derivatives_of_the_gradient(case, curvature):
    """The Hessian along the tangent of the modes, against differences of the gradient at true modes."""
    problem, psi = simulated(case, DESIGN["diag3+us2"])
    objective, other = laplace(problem, curvature), laplace(problem, curvature)
    objective.value_and_gradient(psi)
    nearby, known = objective.gradient_nearby(psi), objective.exact_curvature(psi, np.eye(psi.size))
    for j in range(psi.size):
        h = 1e-4 * max(abs(psi[j]), 0.05)
        step = h * np.eye(psi.size)[j]
        found = known[:, j] + (nearby(psi + step) - nearby(psi - step)) / (2 * h)

        def gradient(x, j=j):
            there = psi.copy()
            there[j] = x
            return other.value_and_gradient(there)[1]

        expected = oracles.first_difference(gradient, psi[j], 1e-3 * max(abs(psi[j]), 0.05))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.max(np.abs(expected)))


def test_an_objective_does_not_search_where_it_already_is():
    problem, psi = simulated(BY_NAME["poisson-log"], DESIGN["crossed-us2+us1"])
    objective = laplace(problem)
    value, gradient = objective.value_and_gradient(psi)
    searches = objective.pirls.searches
    mode = objective.mode(psi)
    assert objective.pirls.searches == searches
    other = LaplaceObjective(objective.pirls)
    other.value(psi * 1.01)  # the same PIRLS, somewhere else
    again, gradient_again = objective.value_and_gradient(psi)
    assert objective.pirls.searches > searches + 1
    assert again == pytest.approx(value, rel=1e-14)
    np.testing.assert_allclose(gradient_again, gradient, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(objective.mode(psi).u, mode.u, rtol=1e-9, atol=1e-12)
