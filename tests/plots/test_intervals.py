from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

from refglmm.errors import ArgumentError
from refglmm.inference.confint import interval_table
from refglmm.plots import plot_intervals

TABLE = pd.DataFrame(
    {
        "model": ["A", "A", "A", "B"],
        "parameter": ["x", "x", "sd", "x"],
        "method": ["wald", "boot", "wald", "wald"],
        "estimate": [1.0, 1.1, 0.5, 2.0],
        "lower": [0.5, 0.6, np.nan, 1.0],
        "upper": [1.5, 1.7, np.nan, 3.0],
    }
)


def test_one_panel_a_model_one_row_a_parameter():
    panels = plot_intervals(TABLE)
    assert [panel.get_title(loc="left") for panel in panels] == ["A", "B"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["x", "sd"]
    segments = [s for c in panels[0].collections for s in c.get_segments()]
    assert sorted(tuple(s[:, 0]) for s in segments if len(s)) == [(0.5, 1.5), (0.6, 1.7)]


def test_an_interval_that_does_not_exist_is_a_hollow_point():
    panel = plot_intervals(TABLE)[0]
    hollow = [line for line in panel.lines if line.get_markerfacecolor() == "w" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in hollow] == [[0.5]]


def test_the_legend_names_each_method_once():
    figure = plot_intervals(TABLE)[0].figure
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Wald", "bootstrap"]


def test_a_table_of_a_fit_on_axes_of_the_caller(cbpp):
    _, ax = pyplot.subplots()
    (panel,) = plot_intervals(interval_table(cbpp, methods=("wald", "profile")), ax=ax)
    assert panel is ax
    assert len(panel.get_yticklabels()) == 5
    assert panel.get_legend() is not None


def test_what_is_no_table():
    with pytest.raises(ArgumentError, match="the table has no column 'lower'"):
        plot_intervals(TABLE.drop(columns="lower"))
    with pytest.raises(ArgumentError, match="no rows"):
        plot_intervals(TABLE.iloc[:0])
