"""Grids of panels."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot

from refglmm.errors import ArgumentError
from refglmm.plots.residuals import one_axes
from refglmm.plots.style import bottom_panels, columns_for, given_axes, panel_grid, title_figure


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (4, 4), (5, 3), (15, 5), (24, 6), (40, 8)])
def test_grids_are_wider_than_high(n, columns):
    assert columns_for(n) == columns
    rows = -(-n // columns)
    assert rows <= columns


def test_places_without_a_panel_are_hidden_and_short_columns_keep_their_scale():
    panels, figure = panel_grid(5, None, width=2.0, height=2.0)
    assert panels.shape == (5,)
    assert [ax.get_visible() for ax in figure.axes] == [True] * 5 + [False]
    assert bottom_panels(panels, 3) == [panels[3], panels[4], panels[2]]
    figure.canvas.draw()
    labelled = [any(t.label1.get_visible() for t in ax.xaxis.get_major_ticks()) for ax in panels]
    assert labelled == [False, False, True, True, True]


def test_an_array_of_any_shape_may_be_given():
    grid = panel_grid(4, None, width=2.0, height=2.0)[0].reshape(2, 2)
    panels, figure = panel_grid(4, grid, width=1.0, height=1.0)
    assert figure is None
    assert np.array_equal(panels, grid.ravel())


def test_long_titles_are_broken_to_fit():
    _, figure = panel_grid(1, None, width=5.0, height=2.0)
    title_figure(figure, "Random effects of " + "a_factor_with_a_long_name:" * 2 + "x, with 95 % intervals")
    figure.canvas.draw()
    box = figure._suptitle.get_window_extent()
    assert box.x1 <= figure.bbox.width


def test_what_is_no_axes_is_refused():
    with pytest.raises(ArgumentError, match=r"ax must be matplotlib Axes .* not 3"):
        panel_grid(1, 3, width=3.0, height=3.0)
    figure, axes = pyplot.subplots(1, 2)
    assert given_axes(axes).shape == (2,)
    with pytest.raises(ArgumentError, match="one Axes, not 2"):
        one_axes(axes)
    pyplot.close(figure)
