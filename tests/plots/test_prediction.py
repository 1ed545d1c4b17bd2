"""What prediction plots draw, against predict and against closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.collections import LineCollection

import refglmm as rg
from refglmm.errors import ArgumentError
from refglmm.plots.prediction import POINTS, plot_predictions, prediction_grid


@pytest.fixture(scope="module")
def contraception():
    data = rg.datasets.load("Contraception")
    return rg.glmer("use ~ age + I(age^2) + urban + (1 | district/urban)", data, "binomial")


def curve_of(ax):
    return next(line for line in ax.get_lines() if line.get_linewidth() == 2.2).get_xydata()


def group_paths(ax):
    return [path for c in ax.collections if isinstance(c, LineCollection) for path in c.get_segments()]


def test_the_curve_is_the_inverse_link_of_the_fixed_part(contraception):
    panels = contraception.plot_predictions("age", panels="urban")
    beta = contraception.fixef
    for ax, urban in zip(panels, (0.0, 1.0), strict=True):
        age, p = curve_of(ax).T
        eta = beta["(Intercept)"] + beta["age"] * age + beta["I(age^2)"] * age**2 + beta["urbanY"] * urban
        np.testing.assert_allclose(p, 1.0 / (1.0 + np.exp(-eta)), rtol=1e-12)
        assert len(age) == POINTS
    data = rg.datasets.load("Contraception")
    assert panels[0].get_xlim() == (data["age"].min(), data["age"].max())
    assert [ax.get_title(loc="left") for ax in panels] == ["urban N", "urban Y"]
    assert panels[0].get_ylabel() == "proportion with use = Y"


def test_the_ribbon_is_a_wald_interval_of_the_linear_predictor(contraception):
    (ax,) = plot_predictions(contraception, "age", type="link", level=0.5, at={"urban": "Y"})
    age, eta = curve_of(ax).T
    X = np.column_stack([np.ones(age.size), age, age**2, np.ones(age.size)])
    V = contraception.vcov().to_numpy()  # that of summary
    se = np.sqrt(np.einsum("ij,jk,ik->i", X, V, X))
    ribbon = ax.collections[0].get_paths()[0].vertices
    upper = ribbon[:, 1].max()
    assert upper == pytest.approx((eta + 0.6744897501960817 * se).max(), rel=1e-6)
    assert ax.get_ylabel() == "linear predictor (log-odds)"


def test_group_lines_are_the_levels_that_occur(contraception):
    panels = plot_predictions(contraception, "age", panels="urban", groups=True)
    data = rg.datasets.load("Contraception")
    for ax, urban in zip(panels, "NY", strict=True):
        assert len(group_paths(ax)) == data[data["urban"] == urban]["district"].nunique()
    row = pd.DataFrame({"age": [data["age"].min()], "urban": ["N"], "district": ["1"]})
    wanted = contraception.predict(row, type="response").iloc[0]
    starts = [path[0, 1] for path in group_paths(panels[0])]
    assert np.abs(np.array(starts) - wanted).min() < 1e-12


def test_lines_of_one_factor_leave_the_others_out(contraception):
    (ax,) = plot_predictions(contraception, "age", groups="district", at={"urban": "Y"})
    modes = contraception.ranef()["district"]["(Intercept)"]
    assert len(group_paths(ax)) == len(modes) == 60
    ends = np.sort([path[0, 1] for path in group_paths(ax)])
    centre = curve_of(ax)[0, 1]
    wanted = np.sort(1.0 / (1.0 + np.exp(-(np.log(centre / (1.0 - centre)) + modes))))
    np.testing.assert_allclose(ends, wanted, rtol=1e-10)
    texts = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert texts == ["random effects at 0", "95 % confidence", "levels of district"]


def test_a_factor_on_the_axis_gives_points_with_bars(cbpp):
    (ax,) = plot_predictions(cbpp, "period", groups=True)
    (container,) = ax.containers
    points, _, (bars,) = container
    table = cbpp.predict(
        pd.DataFrame({"period": ["1", "2", "3", "4"]}), re_form=False, type="response", interval="confidence"
    )
    np.testing.assert_allclose(points.get_xydata(), np.column_stack([range(4), table["fit"]]), rtol=1e-12)
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends, table[["lower", "upper"]], rtol=1e-12)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "3", "4"]
    assert sum(len(path) == 4 for path in group_paths(ax)) == 15  # the bars, of two points, are a collection as well


def test_the_grid_puts_the_rest_at_means_and_first_levels(counts, contraception):
    grid = prediction_grid(counts, "x")
    assert grid["exposure"].nunique() == 1
    assert grid["exposure"].iloc[0] == pytest.approx(counts.frame.data["exposure"].mean())
    grid = prediction_grid(contraception, "age")
    assert set(grid["urban"]) == {"N"}
    assert "district" not in grid
    grid = prediction_grid(contraception, "urban", at={"age": 3.0})
    assert grid["urban"].tolist() == ["N", "Y"]
    assert set(grid["age"]) == {3.0}


def test_new_data_may_hold_the_variable_of_the_axis(contraception):
    years = np.arange(15.0, 50.0)
    newdata = pd.DataFrame({"years": years, "age": years - 28.0, "urban": "N"})
    (ax,) = plot_predictions(contraception, "years", newdata=newdata)
    np.testing.assert_array_equal(curve_of(ax)[:, 0], years)
    wanted = contraception.predict(newdata, re_form=False, type="response")
    np.testing.assert_allclose(curve_of(ax)[:, 1], wanted, rtol=1e-12)


def test_given_axes_are_drawn_on_and_the_fit_is_not_changed(cbpp):
    before = cbpp.to_json()
    _, ax = pyplot.subplots()
    assert plot_predictions(cbpp, "period", ax=ax).tolist() == [ax]
    assert ax.get_legend() is not None
    assert cbpp.to_json() == before


def test_wrong_choices_are_named(cbpp, contraception):
    with pytest.raises(ArgumentError, match="the model has no variable 'month'; it has"):
        plot_predictions(cbpp, "month")
    with pytest.raises(ArgumentError, match="newdata has no column 'month'"):
        plot_predictions(cbpp, "month", newdata=pd.DataFrame({"period": ["1"]}))
    with pytest.raises(ArgumentError, match="give at= or newdata=, not both"):
        plot_predictions(cbpp, "period", at={}, newdata=pd.DataFrame({"period": ["1"]}))
    with pytest.raises(ArgumentError, match="no grouping factor 'cow'; there are: herd"):
        plot_predictions(cbpp, "period", groups="cow")
    with pytest.raises(ArgumentError, match="type must be 'response' or 'link', not 'probability'"):
        plot_predictions(cbpp, "period", type="probability")
    with pytest.raises(ArgumentError, match="age has 50 values, too many for a curve each"):
        plot_predictions(contraception, "urban", colour="age")


@pytest.mark.parametrize("offset", ["log(time)", "array"])
def test_an_offset_argument_stands_at_its_mean(offset):
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(10), 6)
    data = pd.DataFrame({"x": rng.normal(size=60), "time": rng.uniform(1.0, 4.0, 60), "g": [f"g{j}" for j in g]})
    data["k"] = rng.poisson(data["time"] * np.exp(0.3 * data["x"] + 0.5 * rng.normal(size=10)[g]))
    given = np.log(data["time"]).to_numpy() if offset == "array" else offset
    fit = rg.glmer("k ~ x + (1 | g)", data, "poisson", offset=given)
    ax = plot_predictions(fit, "x", groups="g")[0]
    x, mean = curve_of(ax).T
    eta = fit.fixef["(Intercept)"] + fit.fixef["x"] * x + np.log(data["time"]).mean()
    np.testing.assert_allclose(mean, np.exp(eta), rtol=1e-12)
    b = fit.ranef()["g"].loc["g0", "(Intercept)"]
    first = next(path for path in group_paths(ax) if np.isclose(path[0, 1], np.exp(eta[0] + b), rtol=1e-10))
    np.testing.assert_allclose(first[:, 1], np.exp(eta + b), rtol=1e-10)
    shown = plot_predictions(fit, "x", newdata=pd.DataFrame({"x": [0.0, 1.0], "time": [1.0, 1.0]}))[0]
    at = fit.fixef["(Intercept)"] + (np.log(data["time"]).mean() if offset == "array" else 0.0)
    assert curve_of(shown)[0, 1] == pytest.approx(np.exp(at), rel=1e-12)
    pyplot.close("all")
