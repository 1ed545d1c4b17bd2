"""Variance inflation: the definition, car's numbers, and what has none."""

from __future__ import annotations

import numpy as np
import pytest
from diagnostic_fits import cbpp, grouseticks, linear_data

import refglmm as rg
from refglmm.errors import NotAvailableError, SingularFitWarning


def test_in_a_linear_model_it_is_one_over_one_minus_r_squared():
    data = linear_data()
    with pytest.warns(SingularFitWarning):
        fit = rg.lmer("y ~ x + z + v + (1 | g)", data)
    inflation = fit.vif()
    for name in ("x", "z", "v"):
        others = np.column_stack([np.ones(len(data)), data[[n for n in ("x", "z", "v") if n != name]]])
        rest = data[name] - others @ np.linalg.lstsq(others, data[name], rcond=None)[0]
        r2 = 1.0 - rest.var() / data[name].var()
        assert inflation.loc[name, "GVIF"] == pytest.approx(1.0 / (1.0 - r2), rel=1e-8)
        assert inflation.loc[name, "GVIF^(1/(2*Df))"] == pytest.approx((1.0 - r2) ** -0.5, rel=1e-8)


@pytest.mark.golden
def test_values_of_car():
    """vif() of car 3.1-1 on lme4 1.1-31 fits: grouseticks (Poisson) and cake with its interaction."""
    ticks = grouseticks().vif()
    np.testing.assert_allclose(ticks["GVIF"], 1.00323814196, rtol=1e-4)
    assert list(ticks["Df"]) == [2, 1]
    cake = rg.lmer("angle ~ recipe * temperature + (1 | recipe:replicate)", rg.datasets.load("cake"), reml=True)
    wanted = [[1.0, 2, 1.0], [243.0, 5, 1.73205080757], [243.0, 10, 1.31607401295]]
    np.testing.assert_allclose(cake.vif(), wanted, rtol=1e-8)
    assert list(cake.vif().index) == ["recipe", "temperature", "recipe:temperature"]


def test_one_term_has_nothing_to_be_collinear_with():
    with pytest.raises(NotAvailableError, match="two or more terms"):
        cbpp().vif()
