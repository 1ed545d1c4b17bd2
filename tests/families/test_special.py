"""Gamma-function corners against scipy.special and against each other across their switches."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from refglmm.families.special import (
    digamma_growth,
    expm1_minus,
    log1p_minus,
    log_minus_digamma,
    log_rising,
    log_stirling_constant,
    near_excess,
    stirling_rest,
)

K = np.array([1e-8, 0.01, 0.5, 1.0, 3.3, 9.99, 10.0, 10.01, 55.0, 1e4, 1e9])


@pytest.mark.parametrize("k", K)
def test_stirling_rest(k):
    wanted = special.gammaln(k) - (k - 0.5) * np.log(k) + k - 0.5 * np.log(2 * np.pi)
    assert stirling_rest(k) == pytest.approx(wanted, rel=1e-13, abs=4e-16 * max(10.0, k * np.log(k)))


@pytest.mark.parametrize("k", K)
def test_log_minus_digamma(k):
    wanted = np.log(k) - special.digamma(k)
    assert log_minus_digamma(k) == pytest.approx(wanted, rel=1e-13, abs=1e-14)
    assert log_minus_digamma(k) > 1 / (2 * k)


@pytest.mark.parametrize("k", [9.0, 10.0, 1e3])
def test_recurrences_hold_to_the_last_digits(k):
    # log Gamma(k+1) = log Gamma(k) + log k and digamma(k+1) = digamma(k) + 1/k, written for the remainders
    step = (k + 0.5) * np.log1p(1 / k) - 1.0
    # below 10 it is a difference of terms near 20, whose last digit is 4e-15
    noise = 8e-15 if k < 10 else 1e-15 * k / 10
    assert stirling_rest(k) - stirling_rest(k + 1.0) == pytest.approx(step, abs=noise)
    assert log_minus_digamma(k) - log_minus_digamma(k + 1.0) == pytest.approx(1 / k - np.log1p(1 / k), abs=2e-16)


X = [-0.9, -0.200001, -0.1999, -0.1001, -0.0999, -1e-3, 1e-9, 0.0999, 0.1001, 0.1999, 0.200001, 5.0, 1e10]


@pytest.mark.parametrize("x", X)
def test_differences_without_cancellation(x):
    # alternating or not, the series is the definition where the direct difference has no digits
    terms = [(-1) ** (n + 1) * x**n / n for n in range(2, 40)] if abs(x) < 0.21 else [np.log1p(x) - x]
    assert log1p_minus(x) == pytest.approx(sum(reversed(terms)), rel=1e-14)
    if x < 100:
        terms = [x**n / special.factorial(n) for n in range(2, 30)] if abs(x) < 0.21 else [np.expm1(x) - x]
        assert expm1_minus(x, np.exp(x)) == pytest.approx(sum(reversed(terms)), rel=1e-14)


@pytest.mark.parametrize("theta", [1e-6, 0.3, 2.0, 19.0, 1e5, 1e12])
@pytest.mark.parametrize("y", [0, 1, 2, 10, 300])
def test_log_rising_is_a_sum_of_logarithms(theta, y):
    # log of the rising factorial theta (theta+1) ... (theta+y-1), over theta^y
    wanted = np.sum(np.log1p(np.arange(y) / theta))
    assert log_rising(theta, float(y)) == pytest.approx(wanted, rel=1e-13, abs=2e-14)


@pytest.mark.parametrize("theta", [1e-200, 1e-6, 0.3, 2.0, 9.9, 10.1, 1e5])
@pytest.mark.parametrize("y", [0.0, 1.0, 2.0, 9.0, 10.0, 300.0, 2.5])
def test_digamma_growth(theta, y):
    # psi(theta + y) - psi(theta) is a harmonic sum for whole y
    harmonic = np.sum(1.0 / (theta + np.arange(y)[::-1]))
    wanted = harmonic if y == int(y) else special.digamma(theta + y) - special.digamma(theta)
    growth = wanted - np.log1p(y / theta)
    assert digamma_growth(theta, y) == pytest.approx(growth, rel=1e-13, abs=1e-14)


@pytest.mark.parametrize("k", K)
def test_log_stirling_constant(k):
    wanted = k * np.log(k) - k - special.gammaln(k)
    assert log_stirling_constant(k) == pytest.approx(wanted, rel=1e-13, abs=4e-16 * max(10.0, k * np.log(k)))


@pytest.mark.parametrize("x", [-0.2, -1e-5, 0.0, 1e-9, 0.2])
def test_near_excess_scales(x):
    assert near_excess(3e9, 3e9 * x) == pytest.approx(3e9 * log1p_minus(x), rel=1e-14)
    np.testing.assert_array_equal(near_excess(np.full(2, 7.0), np.full(2, 7.0 * x)), near_excess(7.0, 7.0 * x))
