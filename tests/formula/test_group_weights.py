"""group_weights=: the ways of giving them, what they mean (a group repeated), and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm.errors import NotAvailableError, WeightsError

FORMULA = "y ~ trt + (1 | ID)"


@pytest.fixture(scope="module")
def bacteria():
    data = rg.datasets.load("bacteria")
    return data.assign(w=1.0 + data["ID"].astype(str).str[1:].astype(int) % 3)


def repeated(data):
    """Each group as often as its weight says, the copies under labels of their own."""
    copies = [data[data["w"] > times].assign(ID=lambda d, t=times: d["ID"].astype(str) + f"#{t}") for times in range(3)]
    return pd.concat(copies, ignore_index=True)


@pytest.mark.parametrize("n_agq", [1, 7])
def test_a_weight_is_the_group_repeated(bacteria, n_agq):
    fit = rg.glmer(FORMULA, bacteria, "binomial", n_agq=n_agq, group_weights="w")
    longer = rg.glmer(FORMULA, repeated(bacteria), "binomial", n_agq=n_agq)
    assert fit.loglik == pytest.approx(longer.loglik, abs=1e-9)
    np.testing.assert_allclose(fit.beta, longer.beta, rtol=1e-6)
    np.testing.assert_allclose(fit.se, longer.se, rtol=1e-6)
    np.testing.assert_allclose(fit.theta, longer.theta, rtol=1e-6)
    unweighted = rg.glmer(FORMULA, bacteria, "binomial", n_agq=n_agq)
    assert abs(fit.loglik - unweighted.loglik) > 1.0  # the test data: weights matter


def test_column_array_series_and_mapping_are_the_same(bacteria):
    by_level = dict(zip(bacteria["ID"].astype(str), bacteria["w"], strict=True))
    shuffled = bacteria["w"].sample(frac=1.0, random_state=1)  # a Series is matched by its labels
    forms = ["w", bacteria["w"].to_numpy(), shuffled, by_level]
    weights = [rg.GLMM(FORMULA, bacteria, "binomial", group_weights=form).problem.group_weights for form in forms]
    for other in weights[1:]:
        np.testing.assert_array_equal(other, weights[0])


def test_updates_and_subsets_keep_them(bacteria):
    fit = rg.glmer(FORMULA, bacteria, "binomial", group_weights="w")
    smaller = fit.update(". ~ . - trt")
    np.testing.assert_array_equal(smaller.problem.group_weights, fit.problem.group_weights)
    model = rg.GLMM(FORMULA, bacteria, "binomial", group_weights="w", subset="week > 2")
    labels = model.design.terms[0].grouping.level_names
    expected = bacteria.assign(ID=bacteria["ID"].astype(str)).groupby("ID")["w"].first()
    np.testing.assert_array_equal(model.problem.group_weights, expected[labels])


def test_zero_leaves_a_group_out(bacteria):
    gone = sorted(bacteria["ID"].astype(str).unique())[:5]
    weights = {level: float(level not in gone) for level in bacteria["ID"].astype(str)}
    fit = rg.glmer(FORMULA, bacteria, "binomial", n_agq=5, group_weights=weights)
    fewer = rg.glmer(FORMULA, bacteria[~bacteria["ID"].astype(str).isin(gone)], "binomial", n_agq=5)
    assert fit.loglik == pytest.approx(fewer.loglik, abs=1e-9)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("nothing", "the data has no column 'nothing'"),
        ("y", "group_weights"),
        (np.ones(3), "has 3 rows, expected 220"),
        (np.arange(220.0), "constant within a group: level 'X01' has 0 and, in row .*, 1"),
        ({"X01": 1.0}, "no weight for level 'X02' of ID"),
        ({"X01": "many"}, "must give each level a number"),
    ],
)
def test_what_is_wrong_is_named(bacteria, weights, message):
    with pytest.raises(WeightsError, match=message):
        rg.GLMM(FORMULA, bacteria, "binomial", group_weights=weights)


def test_negative_missing_and_all_zero(bacteria):
    levels = bacteria["ID"].astype(str)
    for value, message in ((-1.0, ">= 0; level 'X01' of ID has -1"), (np.nan, "X01"), (0.0, "all zero")):
        with pytest.raises(WeightsError, match=message):
            rg.GLMM(FORMULA, bacteria, "binomial", group_weights=dict.fromkeys(levels, value))


def test_where_there_are_no_group_weights():
    sleep, cbpp = rg.datasets.load("sleepstudy"), rg.datasets.load("cbpp")
    with pytest.raises(NotAvailableError, match="generalized models in mode='exact'"):
        rg.GLMM("Reaction ~ Days + (1 | Subject)", sleep, group_weights="Subject")
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    weights = dict.fromkeys(cbpp["herd"].astype(str), 1.0)
    with pytest.raises(NotAvailableError, match="mode='exact'"):
        rg.GLMM(formula, cbpp, "binomial", mode="lme4", group_weights=weights)
    with pytest.raises(NotAvailableError, match="one grouping factor; this model has herd, period"):
        rg.GLMM("cbind(incidence, size - incidence) ~ 1 + (1 | herd) + (1 | period)", cbpp, "binomial",
                group_weights=weights)  # fmt: skip
    model = rg.GLMM(formula, cbpp, "binomial", group_weights=weights)
    for arguments in ({"n_agq": 0}, {"se": "rx"}):
        with pytest.raises(NotAvailableError, match="need n_agq >= 1 and se='hessian'"):
            model.fit(**arguments)
    assert model.fit().vcov("rx").isna().all(axis=None)
    unfinished = model.fit(control={"derivatives": False})
    assert unfinished.se.isna().all()
    assert "no Hessian was computed" in unfinished.covariance.note
