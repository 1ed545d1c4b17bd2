"""The formulas that diagnostics and pictures share, against literal sums."""

from __future__ import annotations

import numpy as np

from refglmm.inference.draw_formulas import autocovariance, energy_fraction, silverman_bandwidth

DRAWS = np.random.default_rng(3).normal(size=(2, 41)).cumsum(axis=1)


def test_autocovariance_is_the_sum_of_lagged_products():
    centred = DRAWS - DRAWS.mean(axis=1, keepdims=True)
    literal = [[np.dot(row[: 41 - t], row[t:]) / 41 for t in range(41)] for row in centred]
    np.testing.assert_allclose(autocovariance(DRAWS), literal, rtol=1e-12, atol=1e-12)


def test_energy_fraction_of_each_chain():
    literal = [np.sum(np.diff(row) ** 2) / np.sum((row - row.mean()) ** 2) for row in DRAWS]
    np.testing.assert_allclose(energy_fraction(DRAWS), literal, rtol=1e-13)
    assert np.isnan(energy_fraction(np.ones(5)))


def test_bandwidth_by_the_smaller_spread():
    row = np.array([0.0, 1.0, 2.0, 3.0, 100.0])
    np.testing.assert_allclose(silverman_bandwidth(row), 0.9 * 2.0 / 1.34 * 5.0**-0.2, rtol=1e-14)
    still = np.array([0.0, 0.0, 0.0, 0.0, 1.0])  # equal quartiles
    np.testing.assert_allclose(silverman_bandwidth(still), 0.9 * still.std(ddof=1) * 5.0**-0.2, rtol=1e-14)
