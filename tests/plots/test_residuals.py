"""Pictures of residuals: the points drawn, curve, envelope, bins, names of extreme rows."""

from __future__ import annotations

import numpy as np
import pytest
from diagnostic_fits import cbpp, crossed, grouseticks, sleepstudy
from matplotlib import pyplot
from scipy import stats

from refglmm.errors import ArgumentError
from refglmm.plots import residuals as module

SLOPES = "Reaction ~ Days + (Days | Subject)"


def points(ax):
    """Coordinates of all points of an Axes, line after line."""
    return np.concatenate([line.get_xydata() for line in ax.lines if line.get_marker() in ("o", "D")])


def test_local_line_is_exact_for_a_line_and_follows_a_bend():
    x = np.sort(np.random.default_rng(1).uniform(0, 3, 80))
    places, height = module.local_line(x, 2.0 - 3.0 * x)
    np.testing.assert_allclose(height, 2.0 - 3.0 * places, atol=1e-9)
    places, height = module.local_line(x, (x - 1.5) ** 2, span=0.2)
    assert np.max(np.abs(height - (places - 1.5) ** 2)) < 0.1
    _, level = module.local_line(np.repeat([1.0, 2.0], 5), np.repeat([0.0, 4.0], 5))
    assert np.all(np.isfinite(level))


def test_envelope_holds_the_ordered_values_with_its_probability():
    z, low, high = module.normal_envelope(30)
    values = np.sort(np.random.default_rng(2).normal(size=(4000, 30)), axis=1)
    inside = np.mean((values >= low) & (values <= high), axis=0)
    np.testing.assert_allclose(inside, 0.95, atol=4 * np.sqrt(0.95 * 0.05 / 4000))
    np.testing.assert_allclose(z, -z[::-1], atol=1e-12)


def test_binned_means_by_hand():
    x, r = np.arange(10.0), np.array([1.0, 3, 2, 2, 5, 5, 0, 4, 1, 1])
    bins = module.binned_means(x, r, 5)
    np.testing.assert_allclose(bins["x"], [0.5, 2.5, 4.5, 6.5, 8.5])
    np.testing.assert_allclose(bins["mean"], [2, 2, 5, 2, 1])
    np.testing.assert_allclose(bins["two_se"], [2.0, 0, 0, 4.0, 0], atol=1e-14)
    assert len(module.binned_means(np.arange(100.0), np.ones(100))) == 10


def test_names_that_would_lie_on_each_other_are_left_out():
    ax = pyplot.subplots()[1]
    ax.set(xlim=(0, 10), ylim=(0, 10))
    x, y = np.array([1.0, 1.1, 5.0, 9.0]), np.array([5.0, 5.1, 5.0, 4.0])
    module.name_points(ax, x, y, np.array(["a", "b", "c", "d"]), np.array([0, 1, 2]))
    assert [text.get_text() for text in ax.texts] == ["b", "c"]


def test_residuals_against_fitted_means_name_the_extreme_rows():
    fit = sleepstudy(SLOPES)
    ax = module.plot_residuals(fit)
    drawn = points(ax)
    residual = fit.residuals("pearson", scaled=True)
    np.testing.assert_allclose(drawn, np.column_stack([fit.fitted, residual]), rtol=1e-12)
    beyond = set(residual.index[np.abs(residual) > stats.norm.ppf(0.995)].astype(str))
    assert {text.get_text() for text in ax.texts} == beyond
    assert ax.get_xlabel() == "fitted mean"
    assert not module.plot_residuals(fit, id=None).texts


def test_residuals_against_variables_are_points_or_boxes():
    fit = sleepstudy(SLOPES)
    ax = module.plot_residuals(fit, "Days")
    np.testing.assert_array_equal(points(ax)[:, 0], fit.frame.data["Days"])
    boxes = module.plot_residuals(fit, "Subject")
    assert [label.get_text() for label in boxes.get_xticklabels()] == list(fit.design.terms[0].levels)
    many = module.plot_residuals(grouseticks(), "BROOD")
    assert many.get_xlabel() == "BROOD (118 levels, by median)"
    medians = points(many)[:, 1]
    assert np.all(np.diff(medians) >= 0)


def test_rows_without_weight_are_not_drawn():
    fit = crossed("ml")
    assert len(points(module.plot_residuals(fit))) == fit.nobs - 1


def test_scale_location_and_qq_use_standardised_residuals():
    fit = sleepstudy(SLOPES)
    standardised = fit.rstandard("pearson")
    scale = points(module.plot_scale_location(fit))
    np.testing.assert_allclose(scale[:, 1], np.sqrt(np.abs(standardised)), rtol=1e-12)
    ax = module.plot_residual_qq(fit)
    np.testing.assert_allclose(points(ax)[:, 1], np.sort(standardised), rtol=1e-12)
    assert {text.get_text() for text in ax.texts} >= {"56", "59", "7"}


def test_binned_residuals_count_what_lies_inside():
    ax = module.plot_binned_residuals(cbpp())
    assert ax.get_title(loc="left") == "Binned residuals: 7 of 7 bins within two standard errors"
    assert points(ax).shape == (7, 2)


def test_panel_draws_four_pictures_on_the_axes_given():
    panels = module.plot_residual_panel(sleepstudy(SLOPES))
    assert panels.shape == (4,)
    assert "Reaction ~ Days" in panels[0].figure.get_suptitle()
    figure, grid = pyplot.subplots(2, 2)
    given = module.plot_residual_panel(sleepstudy(SLOPES), ax=grid)
    assert all(ax.figure is figure for ax in given)


def test_bad_arguments_say_what_would_be_good():
    fit = sleepstudy()
    with pytest.raises(ArgumentError, match="no factor or variable 'Weather'"):
        module.plot_residuals(fit, "Weather")
    with pytest.raises(ArgumentError, match="between 0 and 1, not 5"):
        module.plot_residuals(fit, id=5)
    with pytest.raises(ArgumentError, match="ax must hold four Axes, not 1"):
        module.plot_residual_panel(fit, ax=pyplot.subplots()[1])
