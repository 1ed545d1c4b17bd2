"""Plotting positions as R's ppoints, the line through the quartiles, and what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import refglmm as rg
from refglmm.errors import ArgumentError
from refglmm.plots.qq import normal_quantiles, plot_ranef_qq, plotting_positions, quartile_line


def test_positions_are_those_of_ppoints():
    # R 4.2.2: ppoints(4); ppoints(12)[c(1, 12)]
    np.testing.assert_allclose(plotting_positions(4), [0.1470588235, 0.3823529412, 0.6176470588, 0.8529411765])
    np.testing.assert_allclose(plotting_positions(12)[[0, -1]], [0.5 / 12, 11.5 / 12])


def test_quantiles_follow_ranks_and_the_line_is_that_of_a_normal_sample():
    rng = np.random.default_rng(1)
    values = rng.permutation(3.0 + 2.0 * stats.norm.ppf((np.arange(401) + 0.5) / 401))
    z = normal_quantiles(values)
    np.testing.assert_array_equal(np.argsort(z), np.argsort(values))
    np.testing.assert_allclose(values, 3.0 + 2.0 * z, atol=1e-12)
    intercept, slope = quartile_line(values)
    assert intercept == pytest.approx(3.0, abs=1e-12)
    assert slope == pytest.approx(2.0, rel=1e-2)


def drawn(ax):
    (container,) = ax.containers
    points, _, (bars,) = container
    return points.get_xydata(), np.array([segment[:, 1] for segment in bars.get_segments()])


def test_each_column_has_its_panel_with_intervals(sleepstudy):
    panels = plot_ranef_qq(sleepstudy)
    assert [ax.get_title(loc="left") for ax in panels] == ["(Intercept)", "Days"]
    long = sleepstudy.ranef().as_frame()
    for ax in panels:
        part = long[long["term"] == ax.get_title(loc="left")]
        points, bars = drawn(ax)
        np.testing.assert_array_equal(points[:, 1], part["condval"])
        np.testing.assert_allclose(bars[:, 1] - bars[:, 0], 2 * 1.96 * part["condsd"], rtol=1e-12)
        wanted = stats.norm.ppf((stats.rankdata(part["condval"]) - 0.5) / 18)
        np.testing.assert_allclose(points[:, 0], wanted, rtol=1e-12)
        named = {text.get_text() for text in ax.texts}
        order = part.sort_values("condval")["level"].tolist()
        assert named == {*order[:2], *order[-2:]}
    assert panels[0].get_ylim() != panels[1].get_ylim()


def test_labels_and_choice_of_a_factor(cbpp):
    (ax,) = cbpp.plot_ranef_qq()
    assert ax.get_xlabel() == "standard normal quantile"
    assert ax.get_ylabel() == "conditional mode (log-odds)"
    fit = rg.lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", rg.datasets.load("Penicillin"))
    with pytest.raises(ArgumentError, match="choose group= among plate, sample"):
        plot_ranef_qq(fit)
    (ax,) = plot_ranef_qq(fit, "sample")
    assert len(drawn(ax)[0]) == 6
