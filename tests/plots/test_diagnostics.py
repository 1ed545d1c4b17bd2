"""Pictures of simulated residuals, of influence, and the panel of all checks."""

from __future__ import annotations

import numpy as np
import pytest
from diagnostic_fits import cbpp, crossed, grouseticks, sleepstudy
from matplotlib import pyplot

import refglmm as rg
from refglmm.errors import ArgumentError
from refglmm.plots.check import columns_of, grouped_shares
from refglmm.plots.influence import plot_influence
from refglmm.plots.simulated import local_quantiles, plot_simulated_against, plot_simulated_qq, uniform_envelope


def points(ax):
    return np.concatenate([line.get_xydata() for line in ax.lines if line.get_marker() in ("o", "D")])


def test_local_quantiles_of_a_uniform_cloud_are_level():
    rng = np.random.default_rng(1)
    x, y = rng.random((2, 4000))
    _, curves = local_quantiles(x, y, (0.25, 0.5, 0.75))
    np.testing.assert_allclose(curves, np.tile([0.25, 0.5, 0.75], (60, 1)), atol=0.06)


def test_uniform_qq_shows_the_ordered_residuals_and_the_simulated_envelope():
    result = cbpp().simulated_residuals(100, seed=1)
    ax = plot_simulated_qq(result)
    np.testing.assert_allclose(points(ax)[:, 1], np.sort(result.residuals), rtol=1e-14)
    low, high = uniform_envelope(result)
    inside = np.mean((np.sort(result.scaled[1:], axis=1) >= low) & (np.sort(result.scaled[1:], axis=1) <= high))
    assert 0.93 < inside < 0.97
    assert f"{result.uniformity().p_value:.3g}" in ax.texts[0].get_text()


def test_residuals_against_something_are_drawn_by_rank():
    result = sleepstudy().simulated_residuals(60, seed=1)
    days = sleepstudy().frame.data["Days"]
    ax = plot_simulated_against(result, days)
    assert ax.get_xlabel() == "Days, rank"
    assert len(points(ax)) == 180
    assert np.unique(points(ax)[:, 0]).size == 10
    assert f"p = {result.quantiles(days).p_value:.3g}" in ax.get_title(loc="left")


def test_both_pictures_side_by_side():
    result = cbpp().simulated_residuals(40, seed=1)
    panels = result.plot()
    assert panels.shape == (2,)
    assert "40 simulations" in panels[0].figure.get_suptitle()
    with pytest.raises(ArgumentError, match="ax must hold two Axes, not 1"):
        result.plot(ax=pyplot.subplots()[1])


def test_influence_draws_a_stem_for_each_unit():
    result = cbpp().influence("herd", method="one-step")
    ax = result.plot()
    np.testing.assert_allclose(points(ax)[:, 1], result.cooks_distance(), rtol=1e-14)
    assert [label.get_text() for label in ax.get_xticklabels()] == [str(label) for label in result.beta.index]
    rows = cbpp().influence(method="one-step")
    named = {text.get_text() for text in plot_influence(rows, named=3).texts}
    assert named == {str(label) for label in rows.cooks_distance().nlargest(3).index}


def test_dfbetas_have_a_panel_for_each_coefficient():
    result = cbpp().influence("herd", method="one-step")
    panels = result.plot(what="dfbetas")
    assert [ax.get_title(loc="left") for ax in panels] == list(result.beta)
    np.testing.assert_allclose(points(panels[1])[:, 1], result.dfbetas()["period2"], rtol=1e-14)
    with pytest.raises(ArgumentError, match="unknown picture 'hat' of influence"):
        result.plot(what="hat")


def titles(panels):
    return [ax.get_title(loc="left").split(":")[0].split(" (")[0] for ax in panels]


def test_check_panel_of_a_binomial_model():
    report = cbpp().check(60, seed=1)
    assert titles(report.plot()) == [
        "Posterior predictive check",
        "Binned residuals",
        "Scale and location",
        "Influence of rows",
        "Simulated residuals",
        "Random effects",
    ]


def test_check_panel_of_counts_and_of_a_linear_model():
    counts = titles(grouseticks().check(60, seed=1).plot())
    assert counts[3:6] == ["Zeros", "Influence of rows", "Collinearity"]
    linear = sleepstudy("Reaction ~ Days + (Days | Subject)").check(60, seed=1).plot()
    assert titles(linear)[1] == "Residuals against fitted means"
    assert titles(linear)[-3:] == ["Residuals", "Random effects", "Random effects"]


def test_a_binary_response_is_compared_in_groups_of_like_prediction():
    data = rg.datasets.load("culcita")
    report = rg.glmer("predation ~ ttt + (1 | block)", data, "binomial").check(60, seed=1)
    ax = report.plot()[0]
    assert ax.get_ylabel() == "proportion of ones"
    wanted = data.groupby("ttt")["predation"].mean()  # rows of one treatment have one prediction
    drawn = next(line for line in ax.lines if line.get_label() == "data").get_xydata()
    np.testing.assert_allclose(np.sort(drawn[:, 1]), np.sort(wanted), rtol=1e-12)
    np.testing.assert_allclose(drawn[:, 0], np.unique(report.simulated.predicted), rtol=1e-12)


def test_groups_of_a_binary_response_partition_the_rows():
    rng = np.random.default_rng(3)
    responses, predicted = rng.integers(0, 2, (5, 600)).astype(float), rng.uniform(size=600)
    place, shares = grouped_shares(responses, predicted)
    assert shares.shape == (12, 5)
    np.testing.assert_allclose(shares.mean(axis=0), responses.mean(axis=1), rtol=1e-12)  # groups of fifty
    lowest = np.argsort(predicted)[:50]
    assert place[0] == pytest.approx(predicted[lowest].mean())
    np.testing.assert_allclose(shares[0], responses[:, lowest].mean(axis=1))


def test_few_values_are_drawn_as_frequencies():
    report = crossed("poisson").check(60, seed=1)
    ax = report.plot()[0]
    values = np.unique(report.simulated.responses)
    assert values.size <= 25
    np.testing.assert_array_equal(points(ax)[:, 0], values)
    share = [np.mean(report.simulated.responses[0] == value) for value in values]
    np.testing.assert_allclose(points(ax)[:, 1], share, rtol=1e-14)


def test_check_panel_on_given_axes_and_columns():
    report = cbpp().check(20, seed=1)
    figure, grid = pyplot.subplots(2, 3)
    assert all(ax.figure is figure for ax in report.plot(ax=grid))
    with pytest.raises(ArgumentError, match="ax holds 1 Axes, but there are 6 panels"):
        report.plot(ax=pyplot.subplots()[1])
    assert [columns_of(n) for n in (1, 2, 6, 7, 8, 9)] == [1, 2, 3, 4, 4, 3]
