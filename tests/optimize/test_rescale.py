"""Columns centred and scaled, and everything mapped back."""

from __future__ import annotations

import numpy as np
import pytest
from problems import BY_NAME, DESIGN, simulated

from refglmm.optimize.control import Control
from refglmm.optimize.rescale import rescaled, restore, scaling_matrix
from refglmm.optimize.two_stage import fit_glmm


@pytest.mark.parametrize("intercept", [True, False])
def test_scaled_columns_have_unit_spread(intercept):
    rng = np.random.default_rng(3)
    X = rng.normal(5.0, 1e3, size=(50, 3))
    if intercept:
        X[:, 1] = 1.0
    scaled = X @ scaling_matrix(X)
    free = [0, 2] if intercept else [0, 1, 2]
    np.testing.assert_allclose(scaled[:, free].std(axis=0, ddof=1), 1.0)
    if intercept:
        np.testing.assert_allclose(scaled[:, free].mean(axis=0), 0.0, atol=1e-12)
        np.testing.assert_array_equal(scaled[:, 1], 1.0)


def test_the_way_back_is_exact():
    problem, _ = simulated(BY_NAME["gamma-log"], DESIGN["crossed-us2+us1"])
    plain, plain_mode = fit_glmm(problem, 1, Control())
    inner, A = rescaled(problem)
    optimum, mode = restore(problem, A, *fit_glmm(inner, 1, Control()))
    assert optimum.value == pytest.approx(plain.value, abs=1e-9)
    np.testing.assert_allclose(optimum.beta, plain.beta, atol=1e-6)
    np.testing.assert_allclose(optimum.hessian, plain.hessian, rtol=1e-4, atol=1e-4 * np.abs(plain.hessian).max())
    np.testing.assert_allclose(mode.rx.T @ mode.rx, plain_mode.rx.T @ plain_mode.rx, rtol=1e-5)
    np.testing.assert_allclose(mode.rzx, plain_mode.rzx, atol=1e-4)
    assert np.all(np.diag(mode.rx) > 0)
    assert np.all(np.tril(mode.rx, -1) == 0)
