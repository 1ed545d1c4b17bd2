"""The exponential and log(1 + x) against the C library's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refglmm._jit import kernel
from refglmm.families.elementary import exponential, log1p_unit

EPS = np.finfo(float).eps


@kernel
def exponentials(x, out):
    for i in range(x.size):
        out[i] = exponential(x[i])


@kernel
def logarithms(x, out):
    for i in range(x.size):
        out[i] = log1p_unit(x[i])


def test_exponential_over_the_whole_range():
    x = np.concatenate([np.linspace(-708.0, 709.7, 400_001), np.linspace(-1.0, 1.0, 400_001), [0.0, 1e-300, -1e-17]])
    out = np.empty_like(x)
    exponentials(x, out)
    np.testing.assert_allclose(out, np.exp(x), rtol=2 * EPS)


def test_exponential_of_what_has_no_normal_value():
    x = np.array([-np.inf, -1e9, -750.0, -745.0, -720.0, 709.9, 800.0, np.inf, np.nan])
    out = np.empty_like(x)
    exponentials(x, out)
    with np.errstate(over="ignore"):
        expected = np.exp(x)
    np.testing.assert_allclose(out, expected, rtol=1e-15, atol=5e-324)


def test_log1p_on_the_unit_interval():
    x = np.concatenate([np.linspace(0.0, 1.0, 400_001), np.logspace(-300, 0, 100_001)])
    out = np.empty_like(x)
    logarithms(x, out)
    np.testing.assert_allclose(out, np.log1p(x), rtol=2 * EPS)
    assert np.isnan(log1p_unit(np.nan))


@given(st.floats(-700.0, 700.0))
def test_plain_python_agrees(x):
    assert float(exponential(x)) == pytest.approx(float(np.exp(x)), rel=1e-15)
