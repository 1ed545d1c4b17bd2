"""No, partial and complete pooling against closed forms, scipy's optimiser and separately fitted lines."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

import refglmm as rg
from refglmm.errors import ArgumentError
from refglmm.inference.pooling import pooling


@pytest.fixture(scope="module")
def cbpp():
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    return rg.glmer(formula, rg.datasets.load("cbpp"), "binomial")


@pytest.fixture(scope="module")
def arabidopsis():
    data = rg.datasets.load("Arabidopsis")
    chosen = data[(data["amd"] == "clipped") & (data["nutrient"] == 1)]
    return chosen.assign(gen=chosen["gen"].astype(str).astype("category"))


@pytest.fixture(scope="module")
def arabidopsis_fit(arabidopsis):
    return rg.glmer("total.fruits ~ 1 + (1 | gen)", arabidopsis, "poisson")


def test_poisson_intercepts_without_pooling_are_log_means(arabidopsis, arabidopsis_fit):
    result = pooling(arabidopsis_fit, "gen")
    with np.errstate(divide="ignore"):
        wanted = np.log(arabidopsis.groupby("gen", observed=True)["total.fruits"].mean())
    found = result.none["(Intercept)"]
    assert np.isneginf(wanted).sum() == 2  # genotypes whose clipped plants bore no fruit
    np.testing.assert_allclose(found, wanted.loc[found.index], rtol=1e-9, atol=1e-9)
    assert result.complete["(Intercept)"] == pytest.approx(np.log(arabidopsis["total.fruits"].mean()), abs=1e-10)
    assert result.population["(Intercept)"] == arabidopsis_fit.fixef["(Intercept)"]
    assert result.rows.equals(arabidopsis["gen"].value_counts(sort=False).loc[found.index].rename("rows"))


def test_partial_pooling_is_coef_and_lies_between(arabidopsis_fit):
    result = pooling(arabidopsis_fit, "gen")
    np.testing.assert_allclose(result.partial, arabidopsis_fit.coef()["gen"], rtol=1e-14)
    finite = np.isfinite(result.none["(Intercept)"])
    none, partial = result.none["(Intercept)"][finite], result.partial["(Intercept)"][finite]
    centre = result.population["(Intercept)"]
    assert np.all((partial - centre) * (none - partial) >= 0)


def test_lines_without_pooling_are_least_squares_of_each_subject():
    data = rg.datasets.load("sleepstudy")
    result = pooling(rg.lmer("Reaction ~ Days + (Days | Subject)", data), "Subject")
    for subject, rows in data.groupby("Subject", observed=True):
        slope, intercept = np.polyfit(rows["Days"], rows["Reaction"], 1)
        np.testing.assert_allclose(result.none.loc[subject], [intercept, slope], rtol=1e-9)
    slope, intercept = np.polyfit(data["Days"], data["Reaction"], 1)
    np.testing.assert_allclose(result.complete, [intercept, slope], rtol=1e-9)


def test_terms_on_one_factor_are_taken_together():
    data = rg.datasets.load("sleepstudy")
    together = pooling(rg.lmer("Reaction ~ Days + (Days | Subject)", data), "Subject")
    apart = pooling(rg.lmer("Reaction ~ Days + (Days || Subject)", data), "Subject")
    assert list(apart.none.columns) == ["(Intercept)", "Days"]
    np.testing.assert_allclose(apart.none, together.none, rtol=1e-8)


def test_weighted_least_squares_where_rows_have_weights():
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"g": np.repeat(list("abcde"), 6), "w": rng.uniform(0.2, 4.0, 30)})
    data["y"] = rng.standard_normal(30) + np.repeat(rng.standard_normal(5), 6)
    result = pooling(rg.lmer("y ~ 1 + (1 | g)", data, weights="w"), "g")
    means = [np.average(rows["y"], weights=rows["w"]) for _, rows in data.groupby("g")]
    np.testing.assert_allclose(result.none["(Intercept)"], means, rtol=1e-10)


def test_binomial_with_other_fixed_effects_against_scipy(cbpp):
    data = rg.datasets.load("cbpp")
    result = pooling(cbpp, "herd")
    others = cbpp.model_matrix().to_numpy()[:, 1:] @ cbpp.beta[1:]
    for herd, rows in data.groupby("herd", observed=True):
        at = data["herd"] == herd

        def minus_loglik(c, rows=rows, at=at):
            p = 1.0 / (1.0 + np.exp(-(c + others[at])))
            return -stats.binom.logpmf(rows["incidence"], rows["size"], p).sum()

        found = optimize.minimize_scalar(minus_loglik, (-3.0, 0.0), tol=1e-10).x
        assert result.none.loc[herd, "(Intercept)"] == pytest.approx(found, abs=1e-6)


def test_complete_pooling_is_the_glm(cbpp):
    # Of one factor the glm is saturated: its coefficients are differences of the logits of the pooled proportions.
    data = rg.datasets.load("cbpp")
    sums = data.groupby("period", observed=True)[["incidence", "size"]].sum()
    logit = np.log(sums["incidence"] / (sums["size"] - sums["incidence"])).to_numpy()
    assert pooling(cbpp, "herd").complete["(Intercept)"] == pytest.approx(logit[0], abs=1e-10)
    formula = "cbind(incidence, size - incidence) ~ 0 + period + (1 | period) + (1 | herd)"
    with pytest.warns(rg.errors.SingularFitWarning):
        by_period = rg.glmer(formula, data, "binomial", n_agq=0)
    assert np.isnan(pooling(by_period, "herd").complete["(Intercept)"])  # the fixed part has no such column
    assert pooling(by_period, "herd").population["(Intercept)"] == 0.0


def test_a_separated_group_is_infinite_only_in_the_direction_that_runs_away():
    # Group a: y = 1 exactly where x > 0 (slope +inf); b overlaps; c has a single row; d is all ones.
    x = np.tile([-1.0, -0.5, 0.5, 1.0], 2)
    y = [0, 0, 1, 1, 0, 1, 0, 1]
    data = pd.DataFrame({"g": ["a"] * 4 + ["b"] * 4, "x": x, "y": y})
    data = pd.concat([data, pd.DataFrame({"g": ["c"] + ["d"] * 4, "x": [0.3, *x[:4]], "y": [1, 1, 1, 1, 1]})])
    with pytest.warns(rg.errors.RefglmmWarning):
        fit = rg.glmer("y ~ x + (1 + x | g)", data.reset_index(drop=True), "binomial")
    none = pooling(fit, "g").none
    assert none.loc["a", "x"] == np.inf
    assert np.isfinite(none.loc["b"]).all()
    assert none.loc["c"].isna().all()
    assert none.loc["d", "(Intercept)"] == np.inf


def test_a_factor_that_does_not_exist_is_named(cbpp):
    with pytest.raises(ArgumentError, match="no grouping factor 'flock'; there are: herd"):
        pooling(cbpp, "flock")


def test_the_fit_is_not_changed(cbpp):
    before = cbpp.to_json()
    pooling(cbpp, "herd")
    assert cbpp.to_json() == before
