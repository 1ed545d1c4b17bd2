"""Gauss-Hermite rules: exact moments, published values, refused orders."""

from __future__ import annotations

import math

import numpy as np
import pytest
from oracles import normal_moment

from refglmm.errors import ArgumentError
from refglmm.likelihood.quadrature import gh_rule

#: Printed by lme4's GHrule(5) (lme4 2.0.2, rechecked with 1.1-31 to the digits below).
GHRULE_5 = {
    "z": [-2.856970014, -1.35562618, 0.0, 1.35562618, 2.856970014],
    "w": [0.01125741133, 0.222075922, 0.5333333333, 0.222075922, 0.01125741133],
    "ldnorm": [-5.000077363, -1.837799703, -0.9189385332, -1.837799703, -5.000077363],
}
#: Upper half of GHrule(12), from the reference page of lme4 (2.1-0 snapshot), rechecked with 1.1-31.
GHRULE_12 = {
    "z": [0.4444030019, 1.340375197, 2.259464451, 3.223709829, 4.271825848, 5.500901704],
    "w": [0.3216643615, 0.146967048, 0.02911668791, 0.002203380688, 4.837184923e-05, 1.499927168e-07],
}


@pytest.mark.parametrize("order", [1, 2, 3, 5, 8, 12, 25])
def test_polynomials_of_degree_2k_minus_1_are_integrated_exactly(order):
    rule = gh_rule(order)
    for power in range(2 * order):
        scale = np.sum(rule.w * np.abs(rule.z) ** power)
        assert np.sum(rule.w * rule.z**power) == pytest.approx(normal_moment(power), abs=1e-12 * max(scale, 1.0))


@pytest.mark.parametrize("order", [1, 2, 5, 12])
def test_the_next_even_power_is_wrong(order):
    """A k-point rule gives E z^2k - k! (5 points: 945 - 120 = 825): the squared Hermite polynomial;
    analytic.
    """
    rule = gh_rule(order)
    moment = normal_moment(2 * order)
    found = np.sum(rule.w * rule.z ** (2 * order))
    assert found == pytest.approx(moment - math.factorial(order), abs=1e-12 * moment)
    assert found != pytest.approx(moment, rel=1e-4)


@pytest.mark.golden
def test_published_rule_of_order_5():
    rule = gh_rule(5).to_frame()
    for column, published in GHRULE_5.items():
        np.testing.assert_allclose(rule[column], published, rtol=5e-10, atol=1e-15)


@pytest.mark.golden
def test_published_rule_of_order_12():
    rule = gh_rule(12)
    np.testing.assert_allclose(rule.z[6:], GHRULE_12["z"], rtol=5e-10)
    np.testing.assert_allclose(rule.w[6:], GHRULE_12["w"], rtol=5e-10)


@pytest.mark.parametrize("order", range(1, 101))
def test_every_order_is_a_symmetric_positive_rule(order):
    rule = gh_rule(order)
    assert rule.z.shape == rule.w.shape == rule.log_density.shape == (order,)
    assert np.all(np.diff(rule.z) > 0)
    np.testing.assert_array_equal(rule.z, -rule.z[::-1])
    np.testing.assert_array_equal(rule.w, rule.w[::-1])
    assert np.all(rule.w > 0)
    assert rule.w.sum() == pytest.approx(1.0, rel=1e-14)
    np.testing.assert_allclose(rule.log_density, -0.5 * rule.z**2 - 0.91893853320467274, rtol=1e-14)


def test_order_one_is_the_mode():
    rule = gh_rule(1)
    assert (rule.z[0], rule.w[0]) == (0.0, 1.0)


@pytest.mark.parametrize("order", [0, -1, 101, 2.5, True, "five", None, float("nan"), float("inf"), [5]])
def test_other_orders_are_refused(order):
    with pytest.raises(ArgumentError, match="whole number from 1 to 100"):
        gh_rule(order)


@pytest.mark.parametrize("order", [np.int64(3), 3.0])
def test_whole_numbers_of_any_type_are_accepted(order):
    np.testing.assert_array_equal(gh_rule(order).z, gh_rule(3).z)
