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


def wide_table(*widths):
    """Intervals about 0.5 of these widths, in one model."""
    frame = pd.DataFrame({"parameter": [f"p{i}" for i in range(len(widths))], "method": "wald", "estimate": 0.5})
    return frame.assign(lower=0.5 - np.array(widths) / 2, upper=0.5 + np.array(widths) / 2)


def arrows(panel):
    return [
        (line.get_marker(), x, y) for line in panel.lines if line.get_marker() in "<>" for x, y in line.get_xydata()
    ]


def test_a_runaway_interval_ends_in_an_arrow_at_the_edge():
    table = wide_table(1.0, 0.8, 0.5, 1.2)
    table.loc[4] = ["sd", "wald", 0.01, 0.0, 1400.0]
    panel = plot_intervals(table)[0]
    low, high = panel.get_xlim()
    assert -0.5 < low < -0.1
    assert 1.1 < high < 1.5
    assert arrows(panel) == [(">", high, 4.0)]
    ends = [x for c in panel.collections for s in c.get_segments() for x in s[:, 0]]
    assert max(ends) == high
    panel.figure.canvas.draw()  # a layout that collapses warns, and warnings are errors here
    caps = [x for line in panel.lines if line.get_marker() == "|" for x in line.get_xdata()]
    assert 1400.0 not in caps
    assert 0.0 in caps  # its other end is there


def test_several_runaways_of_different_size_are_cut_off_together():
    table = wide_table(1.0, 0.8, 0.5, 1.2, 900.0, 60.0)
    panel = plot_intervals(table)[0]
    assert np.ptp(panel.get_xlim()) < 3.0
    assert sorted((marker, y) for marker, _, y in arrows(panel)) == [("<", 4.0), ("<", 5.0), (">", 4.0), (">", 5.0)]


def test_intervals_of_different_widths_are_left_alone():
    for widths in ((27.0, 6.0, 23.0, 5.0, 1.2), (1.0, 7.0), (0.01, 3.0)):
        panel = plot_intervals(wide_table(*widths))[0]
        assert arrows(panel) == []
        panel.figure.canvas.draw()
        assert panel.get_xlim()[1] > 0.5 + max(widths) / 2


def test_an_interval_without_an_end_is_drawn_to_the_edge():
    panel = plot_intervals(TABLE.assign(upper=[1.5, np.inf, np.nan, 3.0]))[0]
    assert arrows(panel) == [(">", panel.get_xlim()[1], pytest.approx(0.28))]


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
