"""Order, intervals and panels of the caterpillar plot."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot

import refglmm as rg
from refglmm.errors import ArgumentError
from refglmm.plots.caterpillar import MAX_NAMES, plot_caterpillar, sorted_modes


def drawn(ax):
    """Modes, and half-widths of the intervals, in the order drawn."""
    (container,) = ax.containers
    points, _, (bars,) = container
    ends = np.array([segment[:, 0] for segment in bars.get_segments()])
    return points.get_xydata(), ends


def test_herds_are_sorted_and_intervals_are_conditional(cbpp):
    (ax,) = plot_caterpillar(cbpp)
    points, ends = drawn(ax)
    long = cbpp.ranef().as_frame()
    np.testing.assert_array_equal(points[:, 0], long["condval"])
    np.testing.assert_allclose(ends[:, 0], long["condval"] - 1.96 * long["condsd"], rtol=1e-12)
    np.testing.assert_allclose(ends[:, 1], long["condval"] + 1.96 * long["condsd"], rtol=1e-12)
    assert np.all(np.diff(points[np.argsort(points[:, 1]), 0]) > 0)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == long.sort_values("condval")["level"].tolist()
    assert ax.get_xlabel() == "log-odds"
    assert ax.get_ylabel() == "herd"
    assert "herd" in ax.figure.get_suptitle()


def test_one_panel_a_column_in_the_order_of_the_first(sleepstudy):
    panels = plot_caterpillar(sleepstudy)
    assert [ax.get_title(loc="left") for ax in panels] == ["(Intercept)", "Days"]
    modes = sleepstudy.ranef()["Subject"]
    order = modes["(Intercept)"].sort_values().index
    for ax in panels:
        points, _ = drawn(ax)
        by_rank = points[np.argsort(points[:, 1]), 0]
        np.testing.assert_array_equal(by_rank, modes.loc[order, ax.get_title(loc="left")])
    assert panels[0].get_xlim() != panels[1].get_xlim()
    assert panels[0].get_xlabel() == panels[1].get_xlabel() == "units of the response"


def test_two_terms_on_one_factor_are_two_panels(sleepstudy):
    data = rg.datasets.load("sleepstudy")
    fit = rg.lmer("Reaction ~ Days + (Days || Subject)", data)
    panels = plot_caterpillar(fit)
    assert [ax.get_title(loc="left") for ax in panels] == ["(Intercept)", "Days"]
    frame = sorted_modes(fit, "Subject")
    assert frame.groupby("column")["rank"].apply(sorted).map(lambda r: r == list(range(18))).all()


def test_of_several_factors_one_must_be_chosen():
    fit = rg.lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", rg.datasets.load("Penicillin"))
    with pytest.raises(ArgumentError, match="choose group= among plate, sample"):
        plot_caterpillar(fit)
    with pytest.raises(ArgumentError, match="no grouping factor 'dish'; there are: plate, sample"):
        plot_caterpillar(fit, "dish")
    (ax,) = plot_caterpillar(fit, "sample")
    assert drawn(ax)[0].shape == (6, 2)


def test_many_levels_go_without_names(toenail):
    (ax,) = plot_caterpillar(toenail)
    assert toenail.ngroups.iloc[0] > MAX_NAMES
    assert ax.get_yticks().size == 0
    assert ax.get_ylabel() == "patientID: 294 levels"
    assert drawn(ax)[0].shape == (294, 2)


def test_given_axes_are_drawn_on(sleepstudy):
    figure, axes = pyplot.subplots(1, 2)
    panels = plot_caterpillar(sleepstudy, ax=axes)
    assert panels.tolist() == axes.tolist()
    assert pyplot.get_fignums() == [figure.number]
    assert all(ax.get_ylabel() == "Subject" for ax in axes)
    with pytest.raises(ArgumentError, match="ax holds 1 Axes, but there are 2 panels"):
        plot_caterpillar(sleepstudy, ax=axes[0])
