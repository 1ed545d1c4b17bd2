from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot

import refglmm as rg
from refglmm.errors import ArgumentError
from refglmm.plots import plot_density, plot_pairs, plot_zeta
from refglmm.plots.profile import LEVELS


@pytest.fixture(scope="module")
def profile(cbpp):
    return cbpp.profile([0, 1, 2])


@pytest.fixture(scope="module")
def dyestuff():
    return rg.lmer("Yield ~ 1 + (1 | Batch)", rg.datasets.load("Dyestuff")).profile()


def longest_line(ax):
    return max(ax.lines, key=lambda line: len(line.get_xdata())).get_xydata()


def test_zeta_curves_pass_through_the_ends_of_the_intervals(profile):
    panels = plot_zeta(profile)
    assert [panel.get_title(loc="left") for panel in panels] == ["sd_(Intercept)|herd", "(Intercept)", "period2"]
    frame = profile.confint()
    for panel, (low, high) in zip(panels, frame.to_numpy(), strict=True):
        x, y = longest_line(panel).T
        np.testing.assert_allclose(np.interp([low, high], x, y), [-1.96, 1.96], atol=2e-3)
    # two ends of each interval
    assert sum(len(line.get_xdata()) == 2 for line in panels[1].lines) >= 2 * len(LEVELS)


def test_absolute_zeta_on_another_scale(profile):
    panels = plot_zeta(profile.on_scale("log"), absolute=True)
    assert panels[0].get_title(loc="left") == "log(sd_(Intercept)|herd)"
    x, y = longest_line(panels[0]).T
    assert y.min() >= 0.0
    assert np.all(np.isfinite(x))


def test_densities_have_their_mode_at_one_and_their_interval_shaded(profile):
    for panel, name in zip(plot_density(profile, level=0.9), profile.names, strict=True):
        assert longest_line(panel)[:, 1].max() == pytest.approx(1.0)
        (shade,) = panel.collections
        shaded = shade.get_paths()[0].vertices[:, 0]
        expected = profile.confint(name, level=0.9).to_numpy()[0]
        width = expected[1] - expected[0]
        np.testing.assert_allclose([shaded.min(), shaded.max()], expected, atol=0.02 * width)


def test_pairs_show_parameters_below_and_zeta_above(profile):
    panels = plot_pairs(profile)
    assert panels.shape == (3, 3)
    assert [panels[k, k].texts[0].get_text() for k in range(3)] == ["sd_(Intercept)\n|herd", "(Intercept)", "period2"]
    outer = np.concatenate([line.get_xydata() for line in panels[2, 1].lines if len(line.get_xdata()) > 100])
    assert -2.7 < outer[:, 0].min() < outer[:, 0].max() < -0.5  # the intercept lies along the horizontal axis
    assert panels[0, 2].get_xlim() == panels[0, 2].get_ylim()
    assert len([line for line in panels[0, 2].lines if len(line.get_xdata()) > 100]) == len(LEVELS)


def test_pairs_of_a_profile_that_ends_at_zero(dyestuff):
    panels = plot_pairs(dyestuff.on_scale("variance"))
    assert panels.shape == (3, 3)
    plot_pairs(dyestuff.on_scale("log"))


def test_axes_of_the_callers(profile):
    figure, axes = pyplot.subplots(1, 3)
    assert list(plot_zeta(profile, ax=axes)) == list(axes)
    assert list(plot_density(profile, ax=axes)) == list(axes)
    assert figure.texts == []
    with pytest.raises(ArgumentError, match="ax holds 3 Axes, but there are 1 panels"):
        plot_zeta(dyestuff_of_one(profile), ax=axes)
    with pytest.raises(ArgumentError, match="ax must be an array of 3 x 3 Axes"):
        plot_pairs(profile, ax=axes)


def test_a_profile_has_no_draws_to_choose_among(profile):
    with pytest.raises(ArgumentError, match="pars chooses among draws"):
        plot_pairs(profile, "b")


def dyestuff_of_one(profile):
    from dataclasses import replace

    return replace(profile, curves=profile.curves[:1])


def test_nothing_to_draw_is_said(profile):
    from dataclasses import replace

    with pytest.raises(ArgumentError, match="no parameter with points to draw"):
        plot_zeta(replace(profile, curves=()))
