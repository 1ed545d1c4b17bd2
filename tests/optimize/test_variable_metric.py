"""The variable metric method: known minima, and the stops that it is known for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der

from refglmm.optimize.variable_metric import minimize_variable_metric


def test_rosenbrock():
    seen = []
    found = minimize_variable_metric(
        rosen,
        rosen_der,
        np.array([-1.2, 1.0]),
        max_iterations=200,
        relative_tolerance=1e-12,
        watch=lambda x, value: seen.append(value),
    )
    assert found.converged
    np.testing.assert_allclose(found.x, 1.0, atol=1e-5)
    assert np.all(np.diff(seen) <= 0)
    assert seen[-1] == found.value


def test_the_limit_on_iterations_is_no_convergence():
    found = minimize_variable_metric(
        rosen, rosen_der, np.array([-1.2, 1.0]), max_iterations=3, relative_tolerance=1e-12
    )
    assert not found.converged
    assert found.iterations == 3


def test_it_steps_back_from_where_the_function_is_infinite():
    def barrier(x):
        return float(x[0] - np.log(x[0])) if x[0] > 0 else np.inf

    found = minimize_variable_metric(
        barrier, lambda x: 1.0 - 1.0 / x, np.array([0.01]), max_iterations=100, relative_tolerance=1e-14
    )
    assert found.x[0] == pytest.approx(1.0, abs=1e-5)


def test_at_a_minimum_it_says_so_at_once():
    found = minimize_variable_metric(rosen, rosen_der, np.ones(2), max_iterations=5, relative_tolerance=1e-8)
    assert found.converged
    assert found.evaluations <= 2
