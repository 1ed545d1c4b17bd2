"""NLopt's BOBYQA and Nelder-Mead behind one function: boxes, limits, exceptions."""

from __future__ import annotations

import numpy as np
import pytest

from refglmm.errors import OptimizationError
from refglmm.optimize.derivative_free import minimize_derivative_free

both = pytest.mark.parametrize("method", ["bobyqa", "nelder_mead"])
INF = np.inf


def run(function, start, method, lower=None, upper=None, **settings):
    start = np.asarray(start, dtype=float)
    d = start.size
    defaults = {
        "first_step": np.full(d, 0.3),
        "x_tolerance": np.full(d, 1e-9),
        "f_tolerance": 0.0,
        "max_evaluations": 5000,
    }
    lower = np.full(d, -INF) if lower is None else np.asarray(lower, dtype=float)
    upper = np.full(d, INF) if upper is None else np.asarray(upper, dtype=float)
    return minimize_derivative_free(function, start, lower, upper, method=method, **(defaults | settings))


def bowl(x):
    """Minimum 0 at (1, 2, ...), coordinates coupled."""
    r = x - np.arange(1, x.size + 1)
    return r @ r + 0.5 * r.sum() ** 2


@both
@pytest.mark.parametrize("d", [1, 2, 4])
def test_finds_the_minimum(method, d):
    found = run(bowl, np.zeros(d), method)
    assert found.success
    np.testing.assert_allclose(found.x, np.arange(1, d + 1), atol=1e-5)
    assert found.value == pytest.approx(0.0, abs=1e-9)
    assert found.n_gradients == 0


@both
def test_bounds_hold_for_every_evaluation(method):
    seen = []

    def function(x):
        seen.append(x.copy())
        return bowl(x)

    found = run(function, [0.2, 0.2], method, lower=[0.0, 0.0], upper=[0.5, INF])
    assert np.all(np.array(seen) >= 0.0)
    assert np.all(np.array(seen)[:, 0] <= 0.5)
    # d/dx1 of r1^2 + r2^2 + (r1 + r2)^2/2 at r1 = -1/2 gives r2 = 1/6; analytic
    np.testing.assert_allclose(found.x, [0.5, 2.0 + 1.0 / 6.0], atol=1e-4)
    assert found.n_evaluations == len(seen)


@both
def test_a_start_outside_is_moved_into_the_box(method):
    seen = []

    def function(x):
        seen.append(x.copy())
        return bowl(x)

    run(function, [-4.0, 7.0], method, lower=[0.0, 0.0], upper=[3.0, 3.0])
    np.testing.assert_array_equal(seen[0], [0.0, 3.0])


@both
def test_the_limit_on_evaluations_is_no_success(method):
    found = run(bowl, np.zeros(3), method, max_evaluations=12)
    assert not found.success
    assert found.message == "maximum number of evaluations reached"
    assert found.n_evaluations == 12
    assert found.value < bowl(np.zeros(3))


@both
def test_the_best_point_seen_is_returned(method):
    values = []

    def function(x):
        values.append(bowl(x))
        return values[-1]

    found = run(function, np.zeros(2), method, max_evaluations=15)
    assert found.value == min(values)
    assert bowl(found.x) == found.value


@both
@pytest.mark.parametrize("bad", [INF, np.nan, -INF])
def test_values_that_are_not_finite_count_as_very_large(method, bad):
    """Half of the space is bad; -inf is no minimum either."""
    found = run(lambda x: bowl(x) if x[0] < 1.5 else bad, np.zeros(2), method)
    assert np.isfinite(found.value)
    np.testing.assert_allclose(found.x, [1.0, 2.0], atol=1e-3)


@both
def test_an_objective_that_is_nowhere_finite_is_an_error(method):
    with pytest.raises(OptimizationError, match=f"not finite at the start of {method}") as error:
        run(lambda x: np.nan, [1.0, 1.0], method, max_evaluations=50)
    np.testing.assert_array_equal(error.value.facts["start"], [1.0, 1.0])


@both
def test_an_impossible_box_is_an_error_in_words(method):
    with pytest.raises(OptimizationError, match=f"{method} could not run"):
        run(bowl, [0.5, 0.5], method, lower=[1.0, 1.0], upper=[0.0, 0.0])


@both
def test_exceptions_of_the_objective_come_through(method):
    """A programming error inside the objective is not an optimizer's failure."""

    def function(x):
        raise ZeroDivisionError("inside")

    with pytest.raises(ZeroDivisionError, match="inside"):
        run(function, [0.0, 0.0], method)


@both
def test_keyboard_interrupt_comes_through(method):
    calls = []

    def function(x):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return bowl(x)

    with pytest.raises(KeyboardInterrupt):
        run(function, [0.0, 0.0], method)
    assert len(calls) == 5


@both
def test_value_tolerance_stops_early(method):
    fine = run(bowl, np.zeros(2), method)
    coarse = run(bowl, np.zeros(2), method, f_tolerance=1e-2)
    assert coarse.success
    assert "objective below tolerance" in coarse.message
    assert coarse.n_evaluations < fine.n_evaluations


@both
def test_the_caller_s_array_is_not_touched(method):
    """NLopt reuses its array; the objective gets a copy that it may keep and change."""
    start = np.array([0.0, 0.0])

    def function(x):
        value = bowl(x)
        x[:] = 99.0
        return value

    found = run(function, start, method)
    np.testing.assert_array_equal(start, 0.0)
    np.testing.assert_allclose(found.x, [1.0, 2.0], atol=1e-5)


@both
def test_the_same_run_twice_is_bit_equal(method):
    one, two = run(bowl, np.zeros(3), method), run(bowl, np.zeros(3), method)
    np.testing.assert_array_equal(one.x, two.x)
    assert one.n_evaluations == two.n_evaluations
