"""The study of bias: its table on toenail against published quadrature, and its picture."""

from __future__ import annotations

import numpy as np
import pytest

import refglmm as rg
from refglmm.errors import ArgumentError
from refglmm.teaching import bias_study, plot_bias

FORMULA = "outcome ~ treatment * time + (1 | patientID)"
SD = "sd (Intercept) | patientID"


@pytest.fixture(scope="module")
def study():
    data = rg.datasets.load("toenail")
    return bias_study(FORMULA, data, "binomial", n_agq=(1, 3, 11, 61), mcem={"draws": (100,)}, seed=3)


@pytest.mark.golden
def test_toenail(study):
    """Laplace and 61 points by an independent evaluator: sd of var 16.0527; PQL far below, Laplace above."""
    wide = study.wide()
    assert list(wide.columns) == ["Laplace", "AGQ(3)", "AGQ(11)", "AGQ(61)", "PQL", "MCEM"]
    assert wide.loc[SD, "AGQ(61)"] == pytest.approx(np.sqrt(16.0527), abs=2e-5)
    assert np.abs(wide.loc["time", "AGQ(61)"]) == pytest.approx(0.3910, abs=6e-5)
    assert wide.loc[SD, "PQL"] < 2.3 < 4.0 < wide.loc[SD, "Laplace"]
    table = study.table
    reference = table[(table["method"] == "AGQ") & (table["n_agq"] == 61)]
    assert np.all(reference["difference"] == 0.0)
    se = reference.set_index("parameter")["reference_se"]
    np.testing.assert_allclose(se.loc[["(Intercept)", "time"]], [0.4343, 0.0444], atol=6e-5)
    mcem = table[(table["method"] == "MCEM") & (table["parameter"] == SD)].iloc[0]
    assert abs(mcem["difference"]) * mcem["reference_se"] < 4.0 * mcem["mc_error"]


def test_the_picture(study):
    panels = study.plot()
    assert len(panels) == 5
    sd = panels[-1]
    assert sd.get_title(loc="left") == SD
    assert [text.get_text() for text in sd.get_xticklabels()] == ["1", "3", "11", "61"]
    lines = {line.get_label(): line.get_ydata() for line in sd.lines}
    table = study.table.query("parameter == @SD")
    np.testing.assert_array_equal(lines["quadrature (1 point: Laplace)"], table.query("method == 'AGQ'")["difference"])
    np.testing.assert_array_equal(lines["PQL"], np.repeat(table.query("method == 'PQL'")["difference"], 2))
    assert panels[0].figure.get_suptitle() == "Difference from quadrature with 61 points, in its standard errors"
    assert "AGQ(11)" in str(study)
    assert "Laplace" in study._repr_html_()


def test_without_the_others_and_on_given_axes():
    from matplotlib import pyplot

    _, axes = pyplot.subplots(1, 5)
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    panels = plot_bias(formula, rg.datasets.load("cbpp"), "binomial", n_agq=(1, 9), pql=False, mcem=False, ax=axes)
    assert list(panels) == list(axes)
    assert len(axes[0].lines) == 2


@pytest.mark.parametrize("orders", [(5,), (5, 3), (0, 5), (1, 2.5)])
def test_orders_are_checked(orders):
    with pytest.raises(ArgumentError, match="n_agq must be at least two ascending whole numbers"):
        bias_study(FORMULA, rg.datasets.load("toenail"), "binomial", n_agq=orders)
