"""What the pictures of effects show: the numbers of their tables."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot

import refglmm as rg
from refglmm.errors import ArgumentError
from refglmm.plots import plot_conditional_effects, plot_contrasts, plot_lsmeans


@pytest.fixture(scope="module")
def cake():
    return rg.lmer("angle ~ recipe * temperature + (1 | recipe:replicate)", rg.datasets.load("cake"))


def whiskers(ax, axis):
    """Points and interval ends of every group drawn, in order."""
    out = []
    for container in ax.containers:
        points, _, (bars,) = container
        ends = np.array([segment[:, axis] for segment in bars.get_segments()])
        out.append((points.get_xydata()[:, axis], ends))
    return out


def test_lines_and_ribbons_are_the_table(toenail):
    result = toenail.conditional_effects("time:treatment", resolution=20)
    (ax,) = plot_conditional_effects(result)
    lines = [line for line in ax.get_lines() if not line.get_label().startswith("_")]
    table = result.table
    assert [line.get_label() for line in lines] == ["itraconazole", "terbinafine"]
    for line, ribbon, (_, part) in zip(lines, ax.collections, table.groupby("treatment", observed=True), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), part[["time", "estimate"]])
        edges = ribbon.get_paths()[0].vertices[:, 1]
        assert edges.min() == part["lower"].min()
        assert edges.max() == part["upper"].max()
    assert lines[0].get_linestyle() != lines[1].get_linestyle()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time", "probability")
    assert ax.figure.get_suptitle() == "Effect of time by treatment, with 95 % intervals"
    assert [t.get_text() for t in ax.figure.legends[0].get_texts()] == [
        "treatment = itraconazole",
        "treatment = terbinafine",
    ]
    assert len(ax.get_lines()) == 3  # and a rug
    (bare,) = plot_conditional_effects(result, rug=False)
    assert len(bare.get_lines()) == 2


def test_a_legend_keeps_within_the_figure(cake):
    (ax,) = plot_conditional_effects(cake.conditional_effects("recipe:temperature"))
    ax.figure.canvas.draw()
    (legend,) = ax.figure.legends
    shown, whole = legend.get_window_extent(), ax.figure.bbox
    assert len(legend.get_texts()) == 6
    assert whole.x0 <= shown.x0 < shown.x1 <= whole.x1


def test_a_factor_is_points_with_intervals(cbpp):
    result = cbpp.conditional_effects("period", type="link")
    (ax,) = plot_conditional_effects(result)
    ((points, ends),) = whiskers(ax, 1)
    np.testing.assert_array_equal(points, result.table["estimate"])
    np.testing.assert_allclose(ends, result.table[["lower", "upper"]], rtol=1e-12)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "3", "4"]
    assert ax.get_ylabel() == "log-odds"
    assert ax.figure.legends == []


def test_a_third_variable_makes_panels(toenail):
    data = rg.datasets.load("toenail").assign(half=lambda d: (d["visit"] > 4).map({True: "late", False: "early"}))
    fit = rg.glmer("outcome ~ time + treatment + half + (1 | patientID)", data, "binomial")
    panels = plot_conditional_effects(fit.conditional_effects("time:treatment:half", resolution=5))
    assert [ax.get_title(loc="left") for ax in panels] == ["half = early", "half = late"]
    assert panels[0].get_ylim() == panels[1].get_ylim()


def test_marginal_means(cake):
    (ax,) = plot_lsmeans(cake.lsmeans("temperature:recipe"))
    table = cake.lsmeans("temperature:recipe").table
    for (points, ends), (_, part) in zip(whiskers(ax, 0), table.groupby("recipe", observed=True), strict=True):
        np.testing.assert_array_equal(points, part["estimate"])
        np.testing.assert_allclose(ends, part[["lower.CL", "upper.CL"]], rtol=1e-12)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["175", "185", "195", "205", "215", "225"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first on top
    assert ax.get_xlim()[0] > 0  # not from zero
    assert ax.get_xlabel() == "mean angle"
    panels = plot_lsmeans(cake.lsmeans("temperature | recipe"))
    assert [p.get_title(loc="left") for p in panels] == ["recipe = A", "recipe = B", "recipe = C"]


def test_comparisons_stand_around_no_difference(cbpp):
    pairs = cbpp.lsmeans("period", type="response").contrasts()
    (ax,) = plot_contrasts(pairs)
    ((points, ends),) = whiskers(ax, 0)
    np.testing.assert_array_equal(points, pairs.table["odds.ratio"])
    np.testing.assert_allclose(ends, pairs.table[["lower.CL", "upper.CL"]], rtol=1e-12)
    assert ax.get_xscale() == "log"
    assert ax.get_lines()[0].get_xdata() == [1.0, 1.0]
    faces = ax.collections[-1].get_facecolors()
    np.testing.assert_array_equal((faces[:, :3] < 1).any(axis=1), pairs.table["p.value"] <= 0.05)
    assert ax.get_xlabel() == "odds ratio (log scale)"
    (link,) = plot_contrasts(cbpp.lsmeans("period").contrasts(adjust="none"))
    assert link.get_lines()[0].get_xdata() == [0.0, 0.0]
    assert link.get_xlabel() == "difference (log-odds scale)"
    assert "simultaneous" not in link.figure.get_suptitle()
    (risk,) = plot_contrasts(cbpp.lsmeans("period", type="response").contrasts(differences=True))
    assert risk.get_xlabel() == "difference of probabilities"


def test_simple_effects_get_a_panel_each(cake):
    panels = plot_contrasts(cake.lsmeans("recipe:temperature").simple("recipe"))
    assert len(panels) == 6
    assert panels[0].get_title(loc="left") == "temperature = 175"
    assert panels[-1].get_xlabel() == "difference"


def test_given_axes_are_drawn_on(cbpp):
    figure, ax = pyplot.subplots()
    for plot, result in [
        (plot_conditional_effects, cbpp.conditional_effects("period")),
        (plot_lsmeans, cbpp.lsmeans("period")),
        (plot_contrasts, cbpp.lsmeans("period").contrasts()),
    ]:
        assert plot(result, ax=ax).tolist() == [ax]
    assert pyplot.get_fignums() == [figure.number]


def test_families_with_different_contrasts_need_axes_of_their_own():
    data = rg.datasets.load("cake")
    fit = rg.lmer("angle ~ recipe * temp + (1 | recipe:replicate)", data)
    ratio = fit.lsmeans("recipe", by="temp", at={"temp": [180, 200]}).contrasts()
    plot_contrasts(ratio)
    object.__setattr__(ratio, "_table", ratio.table.assign(contrast=[f"{i}" for i in range(6)]))
    with pytest.raises(ArgumentError, match="families with different contrasts cannot share an axis"):
        plot_contrasts(ratio)
