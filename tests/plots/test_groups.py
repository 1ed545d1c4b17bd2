"""Means by group against pandas, what is drawn, and choices that are refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

import refglmm as rg
from refglmm.errors import ArgumentError
from refglmm.plots.groups import CLASSES, group_means, plot_groups
from refglmm.plots.style import DARK, PALETTE


@pytest.fixture(scope="module")
def culcita():
    return rg.glmer("predation ~ ttt + (1 | block)", rg.datasets.load("culcita"), "binomial")


@pytest.fixture(scope="module")
def contraception():
    return rg.glmer("use ~ age + urban + livch + (1 | district)", rg.datasets.load("Contraception"), "binomial")


def lines_of(ax, width):
    return [line for line in ax.get_lines() if line.get_linewidth() == width]


def test_means_are_proportions_of_all_trials():
    data = rg.datasets.load("cbpp")
    twice = pd.concat([data, data.assign(incidence=0)], ignore_index=True)
    fit = rg.glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", twice, "binomial")
    means = group_means(fit, "period").set_index(["group", "x"])
    for (herd, period), rows in twice.groupby(["herd", "period"], observed=True):
        found = means.loc[(herd, float(period) - 1.0)]
        assert found["mean"] == pytest.approx(rows["incidence"].sum() / rows["size"].sum(), abs=1e-12)
        assert found["weight"] == rows["size"].sum()
    assert len(means) == 56


def test_one_line_a_herd_and_a_heavy_one_for_all(cbpp):
    (ax,) = plot_groups(cbpp, "period")
    data = rg.datasets.load("cbpp")
    assert len(lines_of(ax, 1.0)) == 15
    (heavy,) = lines_of(ax, 2.6)
    assert heavy.get_color() == DARK
    sums = data.groupby("period", observed=True)[["incidence", "size"]].sum()
    np.testing.assert_allclose(heavy.get_ydata(), sums["incidence"] / sums["size"], rtol=1e-12)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "3", "4"]
    assert ax.get_ylabel() == "proportion of incidence"
    texts = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert texts[:2] == ["one herd", "all together"]
    assert texts[-1] == "34 trials"
    assert "per herd" in ax.figure.get_suptitle()


def test_markers_grow_with_the_trials(cbpp):
    (ax,) = plot_groups(cbpp, "period")
    (dots,) = ax.collections
    size = group_means(cbpp, "period")["weight"]
    # Areas are a rising straight line of the trials.
    assert np.corrcoef(dots.get_sizes(), size)[0, 1] == pytest.approx(1.0, abs=1e-12)


def test_a_numeric_response_is_drawn_as_it_is(sleepstudy):
    (ax,) = plot_groups(sleepstudy, "Days")
    data = rg.datasets.load("sleepstudy")
    drawn = np.array([line.get_ydata() for line in lines_of(ax, 1.0)])
    np.testing.assert_allclose(drawn, data["Reaction"].to_numpy().reshape(18, 10), rtol=1e-12)
    np.testing.assert_allclose(lines_of(ax, 2.6)[0].get_ydata(), data.groupby("Days")["Reaction"].mean(), rtol=1e-12)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Days", "Reaction")


def test_single_answers_are_scattered_beside_0_and_1(culcita):
    (ax,) = plot_groups(culcita, "ttt")
    answers = ax.collections[0].get_offsets()
    data = rg.datasets.load("culcita")
    assert len(answers) == 80
    assert np.sum(answers[:, 1] > 0.99) == data["predation"].sum()
    assert np.all((answers[:, 1] < 0.01) | (answers[:, 1] > 0.99))
    np.testing.assert_allclose(np.round(answers[:, 0]), data["ttt"].cat.codes)
    assert len(lines_of(ax, 1.0)) == 10
    assert ax.get_ylabel() == "proportion with predation = 1"


def test_classes_of_a_numeric_x_and_no_lines_of_single_answers(contraception):
    panels = plot_groups(contraception, "age", colour="livch", panels="urban")
    assert [ax.get_title(loc="left") for ax in panels] == ["urban N", "urban Y"]
    for ax in panels:
        assert not lines_of(ax, 1.0)
        assert [line.get_color() for line in lines_of(ax, 2.6)] == list(PALETTE[:4])
        assert max(len(line.get_xdata()) for line in lines_of(ax, 2.6)) <= CLASSES
    data = rg.datasets.load("Contraception")
    means = group_means(contraception, "age", colour="livch", panels="urban")
    assert means["weight"].sum() == len(data)
    assert (means["weight"] * means["mean"]).sum() == pytest.approx((data["use"] == "Y").sum())
    texts = [text.get_text() for text in panels[0].figure.legends[0].get_texts()]
    assert texts == ["livch 0", "livch 1", "livch 2", "livch 3+"]


def test_values_may_be_given_by_label_or_by_position(sleepstudy):
    data = rg.datasets.load("sleepstudy")
    half = (data["Days"] >= 5).rename("late").map({True: "yes", False: "no"})
    by_label = group_means(sleepstudy, "Days", colour=half.sample(frac=1.0, random_state=1))
    by_position = group_means(sleepstudy, "Days", colour=half.to_numpy())
    pd.testing.assert_frame_equal(by_label, by_position)
    assert by_label.groupby("colour", observed=True)["x"].agg(["min", "max"]).to_numpy().tolist() == [[0, 4], [5, 9]]


def test_given_axes_are_drawn_on(cbpp):
    figure, ax = pyplot.subplots()
    assert plot_groups(cbpp, "period", ax=ax).tolist() == [ax]
    assert pyplot.get_fignums() == [figure.number]
    assert ax.get_legend() is not None
    with pytest.raises(ArgumentError, match="ax holds 1 Axes, but there are 4 panels"):
        plot_groups(cbpp, "herd", panels="period", ax=ax)


def test_wrong_choices_are_named(cbpp):
    with pytest.raises(ArgumentError, match=r"x: the model has no variable 'month'; it has .*period, herd"):
        plot_groups(cbpp, "month")
    with pytest.raises(ArgumentError, match="no grouping factor 'cow'; there are: herd"):
        plot_groups(cbpp, "period", group="cow")
    with pytest.raises(ArgumentError, match="colour has 3 values, the model has 56 rows"):
        plot_groups(cbpp, "period", colour=[1, 2, 3])
    with pytest.raises(ArgumentError, match="colour=colour has no value in row 55"):
        plot_groups(cbpp, "period", colour=[1.0] * 55 + [np.nan])


def test_method_of_the_fit(cbpp):
    assert cbpp.plot_groups("period")[0].get_xlabel() == "period"


def test_panels_of_single_groups_show_the_mean_of_all_for_comparison(sleepstudy):
    panels = plot_groups(sleepstudy, "Days", panels="Subject")
    assert len(panels) == 18
    data = rg.datasets.load("sleepstudy")
    wanted = data.groupby("Days")["Reaction"].mean()
    for ax, (_, rows) in zip(panels, data.groupby("Subject", observed=True), strict=True):
        np.testing.assert_allclose(lines_of(ax, 2.6)[0].get_ydata(), wanted, rtol=1e-12)
        np.testing.assert_allclose(lines_of(ax, 1.0)[0].get_ydata(), rows["Reaction"], rtol=1e-12)
    assert panels[0].figure.get_figwidth() < 14
