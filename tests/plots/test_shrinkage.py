"""Where the points and arrows of a shrinkage plot stand."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot
from scipy import stats

import refglmm as rg
from refglmm.errors import ArgumentError
from refglmm.inference.pooling import pooling
from refglmm.plots.shrinkage import ELLIPSES, _ellipses, plot_shrinkage


@pytest.fixture(scope="module")
def culcita():
    return rg.glmer("predation ~ ttt + (1 | block)", rg.datasets.load("culcita"), "binomial")


def arrows(ax):
    return {(tuple(text.xyann), tuple(text.xy)) for text in ax.texts if text.arrow_patch is not None}


def test_a_list_of_levels_in_the_order_of_their_partial_estimates(cbpp):
    ax = plot_shrinkage(cbpp)
    result = pooling(cbpp, "herd")
    ordered = result.partial["(Intercept)"].sort_values()
    assert [label.get_text() for label in ax.get_yticklabels()] == ordered.index.tolist()
    none = result.none["(Intercept)"].loc[ordered.index]
    wanted = {((x, float(i)), (end, float(i))) for i, (x, end) in enumerate(zip(none, ordered, strict=True))}
    assert arrows(ax) == wanted
    population, complete = (line.get_xdata()[0] for line in ax.get_lines())
    assert population == cbpp.fixef["(Intercept)"]
    assert complete == result.complete["(Intercept)"]
    assert ax.get_xlabel() == "(Intercept) (log-odds)"


def test_infinite_estimates_stand_at_the_edge(culcita):
    ax = plot_shrinkage(culcita)
    none = pooling(culcita, "block").none["(Intercept)"]
    assert np.isposinf(none).sum() == 3
    low, high = ax.get_xlim()
    starts = sorted(start[0] for start, _ in arrows(ax))
    assert len(starts) == 10
    assert all(low < start < high for start in starts)
    assert np.allclose(starts[-3:], high - 0.02 * (high - low))
    assert none[np.isfinite(none)].max() < starts[-3]
    texts = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert "no pooling: infinite" in texts
    assert ax.figure.legends[0].legend_handles[texts.index("no pooling: infinite")].get_marker() == ">"


def test_a_plane_of_two_columns_with_its_ellipses(sleepstudy):
    ax = plot_shrinkage(sleepstudy)
    result = pooling(sleepstudy, "Subject")
    pairs = zip(result.none.to_numpy(), result.partial.to_numpy(), strict=True)
    assert arrows(ax) == {(tuple(start), tuple(end)) for start, end in pairs}
    assert {text.get_text() for text in ax.texts if text.get_text()} == set(result.rows.index)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("(Intercept) (units of the response)", "Days (units of the response)")
    curve = ax.get_lines()[1].get_xydata() - sleepstudy.fixef.to_numpy()
    distance = np.einsum("ij,jk,ik->i", curve, np.linalg.inv(sleepstudy.varcorr["Subject"].cov), curve)
    np.testing.assert_allclose(distance, stats.chi2(2).ppf(0.95), rtol=1e-8)


def test_ellipses_hold_their_share_of_a_normal_distribution():
    cov = np.array([[4.0, -1.2], [-1.2, 0.9]])
    for share, curve in zip(ELLIPSES, _ellipses(cov), strict=True):
        distance = np.einsum("ij,jk,ik->i", curve, np.linalg.inv(cov), curve)
        np.testing.assert_allclose(stats.chi2(2).cdf(distance), share, rtol=1e-10)


def test_one_column_of_two_may_be_chosen(sleepstudy):
    _, ax = pyplot.subplots()
    assert sleepstudy.plot_shrinkage(columns=["Days"], ax=ax) is ax
    assert ax.get_xlabel() == "Days (units of the response)"
    assert len(arrows(ax)) == 18
    assert ax.get_legend() is not None


def test_wrong_columns_are_refused(sleepstudy):
    with pytest.raises(ArgumentError, match="Subject has no random effect 'Hours'; it has \\(Intercept\\), Days"):
        plot_shrinkage(sleepstudy, columns=["Hours"])
    for wrong in ("Days", [], ["Days"] * 3):
        with pytest.raises(ArgumentError, match="columns must be a list of one or two of"):
            plot_shrinkage(sleepstudy, columns=wrong)
