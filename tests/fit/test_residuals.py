from __future__ import annotations

import numpy as np
import pytest

from refglmm.errors import ArgumentError


def test_linear_residuals(linear):
    case = linear(True)
    raw, root = case.y - case.mode.mu, np.sqrt(case.weights)
    for type, expected in {
        "response": raw,
        "working": raw,
        "pearson": root * raw,
        "deviance": root * raw,
    }.items():
        np.testing.assert_allclose(case.fit.residuals(type), expected, rtol=1e-13)
    np.testing.assert_allclose(case.fit.residuals("pearson", scaled=True), root * raw / case.fit.sigma, rtol=1e-13)


def test_generalized_residuals(poisson):
    case = poisson()
    y, mu = case.y, case.mode.mu
    fit = case.fit
    np.testing.assert_allclose(fit.residuals("response"), y - mu)
    np.testing.assert_allclose(fit.residuals("pearson"), (y - mu) / np.sqrt(mu))
    np.testing.assert_allclose(fit.residuals("working"), (y - mu) / mu)
    d = 2 * np.array([(a * np.log(a / m) if a > 0 else 0.0) - (a - m) for a, m in zip(y, mu, strict=True)])
    np.testing.assert_allclose(fit.residuals(), np.sign(y - mu) * np.sqrt(d), atol=1e-12)
    assert fit.residuals().name == "deviance residuals"


def test_a_residual_is_exactly_zero_where_the_fit_is_exact(poisson):
    case = poisson()
    mu = case.fit.conditional.mu
    case.fit.frame.y[0] = mu[0]
    values = case.fit.residuals()
    assert values.iloc[0] == 0.0
    assert np.all(np.isfinite(values))


def test_unknown_types_are_refused(poisson):
    fit = poisson().fit
    with pytest.raises(ArgumentError, match="deviance, pearson, working, response"):
        fit.residuals("partial")
    with pytest.raises(ArgumentError, match="'prior' or 'working'"):
        fit.weights("frequency")


def test_labels_follow_the_rows(linear):
    case = linear(True)
    for series in (case.fit.fitted, case.fit.residuals(), case.fit.weights()):
        assert list(series.index) == list(case.fit.frame.index)
    np.testing.assert_array_equal(case.fit.fitted, case.mode.mu)


def test_excluded_rows_come_back_as_nan(linear):
    case = linear(True, na_action="exclude")
    for series in (case.fit.fitted, case.fit.residuals("pearson"), case.fit.weights()):
        assert len(series) == 62
        assert list(series.index[series.isna()]) == ["row3", "row7"]
    np.testing.assert_array_equal(case.fit.fitted.dropna(), case.mode.mu)


def test_working_weights(linear, poisson):
    case = poisson()
    np.testing.assert_array_equal(case.fit.weights("working"), case.mode.w)
    np.testing.assert_array_equal(case.fit.weights(), np.ones(60))
    linear_case = linear(True)
    np.testing.assert_array_equal(linear_case.fit.weights("working"), linear_case.weights)
