"""The quasi-Newton minimiser on functions with known minima, in and out of a box."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refglmm.optimize.newton import (
    difference_hessian,
    free_coordinates,
    minimize_newton,
    newton_direction,
    update_bfgs,
)

INF = np.inf


def run(function, start, lower=None, upper=None, **settings):
    start = np.asarray(start, dtype=float)
    d = start.size
    defaults = {
        "hessian": np.eye(d),
        "tolerance": 1e-14,
        "max_evaluations": 2000,
        "largest_step": np.full(d, 10.0),
    }
    lower = np.full(d, -INF) if lower is None else np.asarray(lower, dtype=float)
    upper = np.full(d, INF) if upper is None else np.asarray(upper, dtype=float)
    return minimize_newton(function, start, lower, upper, **(defaults | settings))


def quadratic(A, centre):
    return lambda x: (0.5 * (x - centre) @ A @ (x - centre), A @ (x - centre))


def rosenbrock(x):
    """Minimum 0 at (1, 1); its valley bends."""
    value = 100.0 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
    return value, np.array([-400.0 * x[0] * (x[1] - x[0] ** 2) - 2 * (1 - x[0]), 200.0 * (x[1] - x[0] ** 2)])


def test_quadratic_with_its_own_hessian_takes_one_step():
    A = np.array([[4.0, 1.0], [1.0, 3.0]])
    found, B = run(quadratic(A, np.array([1.0, -2.0])), [0.0, 0.0], hessian=A)
    np.testing.assert_allclose(found.x, [1.0, -2.0], atol=1e-14)
    assert found.n_evaluations == 2
    assert found.success
    np.testing.assert_allclose(B, A, rtol=1e-12)


def test_rosenbrock():
    found, _ = run(rosenbrock, [-1.2, 1.0])
    assert found.success
    np.testing.assert_allclose(found.x, [1.0, 1.0], atol=1e-6)
    assert "predicted decrease" in found.message
    assert found.n_evaluations == found.n_gradients < 100


def test_bfgs_learns_the_hessian():
    A = np.diag([1.0, 10.0, 100.0]) + 0.5
    found, B = run(quadratic(A, np.ones(3)), np.zeros(3), tolerance=1e-20)
    np.testing.assert_allclose(found.x, 1.0, atol=1e-8)
    np.testing.assert_allclose(B, A, rtol=0.05, atol=1.0)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_steps_do_not_depend_on_the_units_of_a_coordinate(scale):
    """With the model Hessian in the same units the path is the same up to the scale."""
    S = np.array([1.0, scale])

    def scaled(x):
        value, gradient = rosenbrock(x * S)
        return value, gradient * S

    plain, _ = run(rosenbrock, [-1.2, 1.0])
    other, _ = run(scaled, np.array([-1.2, 1.0]) / S, hessian=np.diag(S**2), largest_step=10.0 / S)
    np.testing.assert_allclose(other.x * S, plain.x, rtol=1e-4)
    assert abs(other.n_evaluations - plain.n_evaluations) <= 5


def box_minimum(A, centre, lower, upper):
    """Minimum of a convex quadratic over a box: the best point that satisfies KKT over all active sets."""
    d = centre.size
    best = INF
    for active in itertools.product([0, -1, 1], repeat=d):
        active = np.array(active)
        x = np.where(active < 0, lower, np.where(active > 0, upper, 0.0))
        free = active == 0
        if free.any():
            rest = A[np.ix_(free, ~free)] @ (x - centre)[~free]
            x[free] = centre[free] - np.linalg.solve(A[np.ix_(free, free)], rest)
        if np.all((x >= lower - 1e-12) & (x <= upper + 1e-12)):
            best = min(best, 0.5 * (x - centre) @ A @ (x - centre))
    return best


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_quadratic_in_a_box(seed, d):
    """Any convex quadratic, any box, any start and first model: the minimum over the box is found."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d))
    A = root @ root.T + 0.1 * np.eye(d)
    centre, lower = rng.normal(size=d) * 2, -rng.uniform(0, 2, d)
    upper = lower + rng.uniform(0.1, 3, d)
    model = np.diag(rng.uniform(0.1, 10, d))
    found, _ = run(quadratic(A, centre), rng.uniform(lower, upper), lower, upper, hessian=model, tolerance=1e-12)
    assert np.all((found.x >= lower) & (found.x <= upper))
    assert found.value == pytest.approx(box_minimum(A, centre, lower, upper), abs=1e-7)


def test_a_bound_holds_and_is_reported_on_the_dot():
    found, _ = run(quadratic(np.eye(2), np.array([-3.0, 2.0])), [1.0, 1.0], lower=[0.0, -INF])
    assert found.x[0] == 0.0
    assert found.x[1] == pytest.approx(2.0, abs=1e-6)
    assert found.success


def test_a_start_outside_the_box_is_moved_in():
    seen = []

    def function(x):
        seen.append(x.copy())
        return quadratic(np.eye(1), np.array([5.0]))(x)

    found, _ = run(function, [9.0], lower=[0.0], upper=[2.0])
    np.testing.assert_array_equal(seen[0], [2.0])
    np.testing.assert_array_equal(found.x, [2.0])


def test_never_evaluates_outside_the_box():
    def function(x):
        assert np.all((x >= -0.5) & (x <= 0.75))
        return rosenbrock(x)

    found, _ = run(function, [0.0, 0.0], lower=[-0.5, -0.5], upper=[0.75, 0.75])
    assert found.x[0] == pytest.approx(0.75, abs=1e-6)
    assert found.x[1] == pytest.approx(0.5625, abs=1e-5)


def test_nan_and_infinite_regions_are_stepped_back_from():
    """log x + 1/x: minimum at 1, not defined at or below 0; the first Newton step would go to -8.1."""

    def function(x):
        if x[0] <= 0:
            return INF, np.array([np.nan])
        return np.log(x[0]) + 1 / x[0], np.array([1 / x[0] - 1 / x[0] ** 2])

    for bad in (INF, np.nan):
        found, _ = run(
            lambda x, bad=bad: function(x) if x[0] > 0 else (bad, np.array([np.nan])),
            [10.0], hessian=np.array([[0.005]]), largest_step=np.array([100.0]),
        )  # fmt: skip
        assert found.success
        assert found.x[0] == pytest.approx(1.0, abs=1e-6)


def test_a_bad_start_is_reported_not_raised():
    found, _ = run(lambda x: (INF, np.full(1, np.nan)), [1.0])
    assert not found.success
    assert found.message == "the objective is not finite at the start"
    assert found.n_evaluations == 1


def test_the_limit_on_evaluations():
    found, _ = run(rosenbrock, [-1.2, 1.0], max_evaluations=7)
    assert not found.success
    assert found.message == "maximum number of evaluations reached"
    assert 7 <= found.n_evaluations < 7 + 40


def test_a_wrong_gradient_is_noticed():
    """Uphill directions only: no decrease is found, and the point reached is kept."""
    found, _ = run(lambda x: (x @ x, -2 * x - 1.0), [1.0, 1.0])
    assert not found.success
    assert "no decrease along the search direction" in found.message
    np.testing.assert_array_equal(found.x, [1.0, 1.0])


def test_the_largest_step_is_respected():
    seen = []

    def function(x):
        seen.append(x[0])
        return quadratic(np.eye(1), np.array([100.0]))(x)

    found, _ = run(function, [0.0], largest_step=np.array([3.0]))
    assert np.max(np.abs(np.diff(seen))) <= 3.0 + 1e-12
    assert found.x[0] == pytest.approx(100.0, abs=1e-6)


def test_the_same_run_twice_is_bit_equal():
    one, B1 = run(rosenbrock, [-1.2, 1.0])
    two, B2 = run(rosenbrock, [-1.2, 1.0])
    np.testing.assert_array_equal(one.x, two.x)
    np.testing.assert_array_equal(B1, B2)
    assert one == one.__class__(one.x, two.value, two.n_evaluations, two.n_gradients, two.message, two.success)


# -- the pieces ----------------------------------------------------------------------------------------------


def test_free_coordinates():
    x, lower, upper = np.array([0.0, 0.0, 1.0, 1.0, 0.5]), np.zeros(5), np.ones(5)
    gradient = np.array([1.0, -1.0, -1.0, 1.0, 3.0])
    np.testing.assert_array_equal(free_coordinates(x, gradient, lower, upper), [False, True, False, True, True])


def test_newton_direction_over_the_free_coordinates():
    B, gradient = np.array([[2.0, 1.0], [1.0, 4.0]]), np.array([2.0, 8.0])
    step, decrease = newton_direction(B, gradient, np.array([False, True]))
    np.testing.assert_allclose(step, [0.0, -2.0])
    assert decrease == pytest.approx(8.0)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_bfgs_update_stays_positive_definite(seed):
    """Damping keeps it so even for pairs with negative curvature; undamped pairs satisfy the secant
    equation.
    """
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(3, 3))
    B = root @ root.T + 0.05 * np.eye(3)
    step, change = rng.normal(size=3), rng.normal(size=3)
    updated = update_bfgs(B, step, change)
    assert np.linalg.eigvalsh(updated)[0] > 0
    np.testing.assert_allclose(updated, updated.T)
    if step @ change >= 0.2 * step @ B @ step:
        np.testing.assert_allclose(updated @ step, change, rtol=1e-8, atol=1e-8)
    else:  # Powell: the curvature along the step is exactly a fifth of the model's
        assert step @ updated @ step == pytest.approx(0.2 * step @ B @ step, rel=1e-9)


def test_bfgs_update_ignores_a_step_of_zero():
    B = np.eye(2)
    np.testing.assert_array_equal(update_bfgs(B, np.zeros(2), np.ones(2)), B)


def test_difference_hessian():
    """Of rosenbrock at (1, 1): [[802, -400], [-400, 200]]; analytic."""
    unbounded = np.full(2, INF)
    found = difference_hessian(lambda x: rosenbrock(x)[1], np.ones(2), 1e-4 * np.eye(2), -unbounded, unbounded)
    np.testing.assert_allclose(found, [[802.0, -400.0], [-400.0, 200.0]], rtol=1e-6)


def test_difference_hessian_of_one_side_turns_away_from_a_bound():
    """One gradient more than there are coordinates, the bound respected, an error in proportion to the step."""
    seen = []

    def function(x):
        assert x[0] <= 1.0
        seen.append(x)
        return rosenbrock(x)[1]

    upper = np.array([1.0, INF])
    errors = []
    for step in (1e-4, 1e-6):
        found = difference_hessian(function, np.ones(2), step * np.eye(2), np.full(2, -INF), upper, one_sided=True)
        errors.append(np.max(np.abs(found - [[802.0, -400.0], [-400.0, 200.0]])))
    assert len(seen) == 6
    assert errors[0] < 0.2
    assert errors[1] < 0.02 * errors[0]


def test_difference_hessian_is_one_sided_at_a_bound():
    def function(x):
        assert x[0] <= 1.0
        return rosenbrock(x)[1]

    found = difference_hessian(function, np.ones(2), 1e-5 * np.eye(2), np.full(2, -INF), np.array([1.0, INF]))
    np.testing.assert_allclose(found, [[802.0, -400.0], [-400.0, 200.0]], rtol=1e-4)
