"""Hat values against the dense hat matrix, closed forms and lme4; residuals and distances made of them."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from diagnostic_fits import cbpp, crossed, crossed_data, dense_hat, linear_data, sleepstudy
from hypothesis import given, settings
from hypothesis import strategies as st

import refglmm as rg
from refglmm.errors import ArgumentError, NotAvailableError, SingularFitWarning

ALL = ("linear", "ml", "poisson", "probit", "gamma", "negative binomial")


@pytest.mark.golden
def test_hat_values_and_rstudent_are_those_of_lme4():
    """lme4's tests/testthat/test-methods.R, sleepstudy by REML, first six rows."""
    hat = [0.107483311203734, 0.102096105816528, 0.0980557017761242, 0.0953620990825215, 0.0940152977357202]
    rstudent = [-1.45598270922089, -1.49664543508657, -2.11747425025103]
    rstudent += [-0.0729690066951975, 0.772716397142335, 2.37859409861768]
    fit = sleepstudy()
    np.testing.assert_allclose(fit.hat_values()[:6], [*hat, hat[-1]], rtol=1e-6)
    np.testing.assert_allclose(fit.rstudent()[:6], rstudent, rtol=1e-6)


@pytest.mark.golden
def test_cooks_distance_is_that_of_lme4():
    """cooks.distance of lme4 1.1-31 for the same fit."""
    wanted = [0.127645976, 0.127346547, 0.243724626, 0.000280638902, 0.0309804643, 0.293554225]
    np.testing.assert_allclose(sleepstudy().cooks_distance()[:6], wanted, rtol=1e-6)


@pytest.mark.parametrize("kind", ALL)
def test_hat_values_are_the_diagonal_of_the_dense_hat_matrix(kind):
    fit = crossed(kind)
    np.testing.assert_allclose(fit.hat_values(), np.diag(dense_hat(fit)), rtol=0, atol=2e-12)


@pytest.mark.parametrize("kind", ALL)
def test_hat_values_lie_between_zero_and_one_and_sum_to_the_effective_parameters(kind):
    fit = crossed(kind)
    hat = fit.hat_values()
    assert hat.between(0.0, 1.0).all()
    assert fit.problem.p <= hat.sum() <= fit.problem.p + fit.problem.q
    np.testing.assert_allclose(hat.sum(), np.trace(dense_hat(fit)), rtol=1e-12)


def test_hat_values_of_lme4_mode_belong_to_one_state():
    # lme4's factor lags one step behind its modes; the difference from the exact fit is that of the estimates.
    np.testing.assert_allclose(cbpp("lme4").hat_values(), cbpp().hat_values(), rtol=2e-3)


def test_balanced_one_way_layout_in_closed_form():
    fit = rg.lmer("Yield ~ 1 + (1 | Batch)", rg.datasets.load("Dyestuff"), reml=True)
    n, m = 30, 5
    ratio = m * float(fit.theta.iloc[0]) ** 2
    shrink = ratio / (1.0 + ratio)
    np.testing.assert_allclose(fit.hat_values(), 1 / n + shrink * (1 / m - 1 / n), rtol=1e-12)


def test_without_group_variance_everything_is_that_of_least_squares():
    data = linear_data()
    with pytest.warns(SingularFitWarning):
        fit = rg.lmer("y ~ x + z + (1 | g)", data, reml=True)
    X = np.column_stack([np.ones(len(data)), data["x"], data["z"]])
    hat = np.diag(X @ np.linalg.solve(X.T @ X, X.T))
    r = data["y"] - X @ np.linalg.lstsq(X, data["y"], rcond=None)[0]
    s2 = r @ r / (len(data) - 3)
    np.testing.assert_allclose(fit.hat_values(), hat, rtol=1e-10)
    np.testing.assert_allclose(fit.rstandard("pearson"), r / np.sqrt(s2 * (1 - hat)), rtol=1e-8)
    np.testing.assert_allclose(fit.cooks_distance(), r**2 * hat / (3 * s2 * (1 - hat) ** 2), rtol=1e-8)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), spread=st.floats(0.01, 30.0))
def test_any_weights_and_any_response_stay_in_range(seed, spread):
    rng = np.random.default_rng(seed)
    fit = crossed("ml")
    weights = rng.gamma(1.0 / spread, spread, fit.nobs) + 1e-3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random responses are singular now and then: that is not the question here
        hat = fit.refit(fit.frame.y + spread * rng.normal(size=fit.nobs), weights).hat_values()
    assert hat.between(0.0, 1.0).all()
    assert fit.problem.p - 1e-9 <= hat.sum() <= fit.problem.p + fit.problem.q


def test_a_row_without_weight_has_no_leverage():
    fit = crossed("linear")
    assert fit.frame.weights[7] == 0.0
    assert fit.hat_values().iloc[7] == 0.0


def test_deletion_residuals_combine_deviance_and_pearson_residuals():
    fit = crossed("poisson")
    h, d, p = np.diag(dense_hat(fit)), fit.residuals("deviance"), fit.residuals("pearson")
    np.testing.assert_allclose(fit.rstudent(), np.sign(d) * np.sqrt(d**2 + h * p**2 / (1 - h)), rtol=1e-10)
    np.testing.assert_allclose(fit.rstandard(), d / np.sqrt(1 - h), rtol=1e-10)
    np.testing.assert_allclose(fit.cooks_distance(), p**2 * h / (2 * (1 - h) ** 2), rtol=1e-10)


def test_a_row_with_a_coefficient_of_its_own_has_no_standardised_residual():
    data = crossed_data().assign(alone=lambda d: (d.index == 5).astype(float))
    fit = rg.lmer("y ~ x + alone + (1 | g)", data)
    assert fit.hat_values()[5] == pytest.approx(1.0, abs=1e-9)
    for values in (fit.rstandard(), fit.rstudent(), fit.cooks_distance()):
        assert np.isnan(values[5])
        assert values.drop(5).notna().all()


def test_excluded_rows_come_back_as_nan():
    data = rg.datasets.load("sleepstudy")
    data.loc[[0, 3], "Reaction"] = np.nan
    fit = rg.lmer("Reaction ~ Days + (1 | Subject)", data, na_action="exclude")
    for values in (fit.hat_values(), fit.rstudent(), fit.rstandard(), fit.cooks_distance()):
        assert values.index.equals(data.index)
        assert list(values.index[values.isna()]) == [0, 3]


def test_nothing_handed_out_leads_back_into_the_fit():
    fit = crossed("poisson")
    before = fit.hat_values()
    handed_out = fit.hat_values()
    handed_out.iloc[:] = -1.0
    pd.testing.assert_series_equal(fit.hat_values(), before)


def test_a_fit_outside_the_domain_of_its_link_has_no_weights():
    # lme4 lets the linear predictor of a square-root link become negative
    fit = rg.glmer("count ~ x + (1 | g)", crossed_data(), "poisson", link="sqrt", mode="lme4")
    with pytest.raises(NotAvailableError, match="outside the domain of the sqrt link"):
        fit.hat_values()
    report = fit.check(10, seed=1)
    assert "Influence" not in [r.name for r in report]
    assert [note for note in report.notes if note.startswith("No influence: some linear predictors")]
    assert "No influence" in repr(report)
    assert not [ax for ax in report.plot() if ax.get_title(loc="left").startswith("Influence")]


def test_unknown_type_and_missing_fixed_effects_are_named():
    with pytest.raises(ArgumentError, match="unknown residual type 'working'; standardised are"):
        crossed("poisson").rstandard("working")
    with pytest.raises(NotAvailableError, match="this model has none"):
        rg.lmer("Yield ~ 0 + (1 | Batch)", rg.datasets.load("Dyestuff")).cooks_distance()
