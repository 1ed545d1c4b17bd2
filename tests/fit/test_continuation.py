"""Continuation ratios by expansion, against rows written out by hand and the native family."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm.errors import ArgumentError, DataError, ResponseError
from refglmm.families import Sequential


def test_forward_rows_by_hand():
    y = pd.Categorical(["mild", "severe", None, "moderate"], ["mild", "moderate", "severe"], ordered=True)
    out = rg.cr_setup(y)
    assert out.subs.tolist() == [0, 1, 1, 3, 3]
    assert out.reps.tolist() == [1, 2, 0, 2]
    assert out.y.tolist() == [1, 0, 0, 0, 1]
    assert out.cohort.tolist() == ["all", "all", "y>=moderate", "all", "y>=moderate"]
    assert list(out.cohort.categories) == ["all", "y>=moderate"]
    assert repr(out) == "ContinuationRatio(4 rows of 3 categories -> 5 binary rows, direction='forward')"


def test_backward_rows_by_hand():
    out = rg.cr_setup(np.array([1, 4, 2, 3]), "backward")
    assert out.subs.tolist() == [0, 0, 0, 1, 2, 2, 2, 3, 3]
    assert out.y.tolist() == [0, 0, 0, 1, 0, 0, 1, 0, 1]
    assert list(out.cohort.categories) == ["all", "y<=3", "y<=2"]
    assert out.cohort.tolist() == ["all", "y<=3", "y<=2", "all", "all", "y<=3", "y<=2", "all", "y<=3"]


def test_expand_keeps_the_data():
    data = pd.DataFrame({"x": [0.5, 1.5], "y": [1, 2]})
    before = data.copy()
    out = rg.cr_setup([1, 3]).expand(data, response="stop", cohort="who")
    assert data.equals(before)
    assert out["x"].tolist() == [0.5, 1.5]
    assert out["stop"].tolist() == [1, 0]
    with pytest.raises(DataError, match="data has 3 rows, the response had 2"):
        rg.cr_setup([1, 3]).expand({"x": [1, 2, 3]})
    with pytest.raises(ArgumentError, match="data has a column 'y' already"):
        rg.cr_setup([1, 3]).expand(data, response="y")


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("link", ["logit", "cloglog"])
def test_the_expansion_is_the_sequential_family(direction, link):
    wine = rg.datasets.load("wine")
    long = rg.cr_setup(wine["rating"], direction).expand(wine)
    assert len(long) == {"forward": 203, "backward": 217}[direction]
    binary = rg.glmer("y_new ~ cohort + temp + contact + (1 | judge)", long, "binomial", link=link)
    native = rg.glmer("rating ~ temp + contact + (1 | judge)", wine, Sequential(link, direction=direction))
    assert native.loglik == pytest.approx(binary.loglik, abs=1e-10)
    sign = -1.0 if direction == "forward" else 1.0
    np.testing.assert_allclose(native.beta, sign * binary.beta[4:], atol=1e-6)
    ends = -sign * (binary.beta[0] + np.array([0.0, *binary.beta[1:4]]))
    np.testing.assert_allclose(native.phi, ends if direction == "forward" else ends[::-1], atol=1e-6)


def test_effects_of_their_own_and_their_probabilities():
    """cohort:temp adds three parameters; the probabilities of an expanded fit sum to one."""
    wine = rg.datasets.load("wine")
    setup = rg.cr_setup(wine["rating"].astype(int).clip(2, 4))
    long = setup.expand(wine)
    common = rg.glmer("y_new ~ cohort + temp + contact + (1 | judge)", long, "binomial")
    specific = rg.glmer("y_new ~ cohort * temp + contact + (1 | judge)", long, "binomial")
    assert specific.df == common.df + 1
    assert specific.loglik > common.loglik
    who = list(setup.cohort.categories)
    rows = pd.DataFrame([(c, t, "yes") for t in ("cold", "warm") for c in who], columns=["cohort", "temp", "contact"])
    eta = specific.predict(rows, re_form=False).to_numpy().reshape(2, len(who))
    p = rg.cr_marginal_probabilities(eta)
    stop = 1.0 / (1.0 + np.exp(-eta))
    np.testing.assert_allclose(p[:, 0], stop[:, 0], rtol=1e-12)
    np.testing.assert_allclose(p[:, 1], (1.0 - stop[:, 0]) * stop[:, 1], rtol=1e-12)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-14)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_marginal_probabilities_are_those_of_the_family(direction):
    c, eta = np.array([-1.0, 0.2, 1.5]), np.array([-0.4, 2.0])
    family = Sequential("cloglog", direction=direction, levels="abcd", thresholds=tuple(c))
    columns = c[None, :] - eta[:, None] if direction == "forward" else eta[:, None] - c[None, ::-1]
    found = rg.cr_marginal_probabilities(pd.DataFrame(columns), direction, link="cloglog")
    np.testing.assert_allclose(found, family.probabilities(eta), rtol=1e-12)


def test_refusals():
    with pytest.raises(ArgumentError, match="direction must be 'forward' or 'backward', not 'both'"):
        rg.cr_setup([1, 2], "both")
    with pytest.raises(ResponseError, match="y has 1 category"):
        rg.cr_setup([2, 2])
    with pytest.raises(ResponseError, match="the categories are text, whose order is unknown"):
        rg.cr_setup(["low", "high"])
    with pytest.raises(ResponseError, match=r"y must be categories or whole numbers; it is 1.5 in row 1"):
        rg.cr_setup([1.0, 1.5])
    with pytest.raises(ArgumentError, match="eta must have a row for each observation and a column for each cohort"):
        rg.cr_marginal_probabilities([0.0, 1.0])
    with pytest.raises(ArgumentError, match="link must be one of logit, probit, cloglog, cauchit, not 'log'"):
        rg.cr_marginal_probabilities([[0.0, 1.0]], link="log")
