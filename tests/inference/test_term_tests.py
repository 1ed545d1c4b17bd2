"""Tests of terms: coding does not matter, linear-model limits, marginal means, lmerTest, empty cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm.errors import ArgumentError, NotAvailableError, SingularFitWarning
from refglmm.inference.denominator_df import wald_test
from refglmm.inference.term_tests import hypotheses, term_number, term_table

CODINGS = ("treatment", "sum", "helmert", "poly")


def two_way(seed=1, n=90, empty=False):
    """Unbalanced a x b with a covariate and groups."""
    rng = np.random.default_rng(seed)
    d = pd.DataFrame({"g": rng.integers(0, 12, n), "x": rng.normal(3.0, 1.0, n), "w": rng.uniform(0.5, 2, n)})
    a, b = rng.choice(3, n, p=[0.5, 0.3, 0.2]), rng.choice(2, n, p=[0.65, 0.35])
    if empty:
        b[a == 2] = 0
    d["a"], d["b"] = pd.Categorical.from_codes(a, ["p", "q", "r"]), pd.Categorical.from_codes(b, ["u", "v"])
    d["y"] = 0.6 * a + 0.4 * b * (a - 1) + 0.3 * d.x + rng.normal(0, 0.7, 12)[d.g] + rng.normal(size=n)
    return d


def flat(d, seed=0):
    """The same rows with a response whose groups are more alike than chance: the variance is estimated as zero."""
    rng = np.random.default_rng(seed)
    e = rng.normal(size=len(d))
    e = e - pd.Series(e).groupby(d.g.to_numpy()).transform("mean").to_numpy()
    return d.assign(y=0.5 * d.a.cat.codes + 0.3 * d.b.cat.codes + 0.2 * d.x + e)


def rss(y, X, w):
    root = np.sqrt(w)
    residual = root * y - root[:, None] * X @ np.linalg.lstsq(root[:, None] * X, root * y, rcond=None)[0]
    return residual @ residual, np.linalg.matrix_rank(X)


def columns(d, *terms):
    """Dummy columns of terms such as ("a", "b"), each with all its levels: what the term spans with its margins."""
    out = [np.ones((len(d), 1))]
    for term in terms:
        block = np.ones((len(d), 1))
        for name in term.split(":"):
            values = pd.get_dummies(d[name]).to_numpy(float) if name in "ab" else d[[name]].to_numpy()
            block = (block[:, :, None] * values[:, None, :]).reshape(len(d), -1)
        out.append(block)
    return np.hstack(out)


@pytest.mark.parametrize("type", [1, 2, 3])
def test_coding_does_not_matter(type):
    d, tables = two_way(), []
    for code in CODINGS:
        fit = rg.lmer("y ~ a * b + a * x + (1 | g)", d, contrasts={"a": code, "b": code})
        tables.append(term_table(fit, type).frame)
    own = {"a": [[1.0, 5.0], [2.0, -1.0], [0.5, 3.0]], "b": "sum"}
    tables.append(term_table(rg.lmer("y ~ a * b + a * x + (1 | g)", d, contrasts=own), type).frame)
    for other in tables[1:]:
        pd.testing.assert_frame_equal(other, tables[0], rtol=1e-5)


@pytest.mark.parametrize("weights", [None, "w"])
def test_linear_model_limit_is_model_comparison(weights):
    """With a variance of zero: F = (RSS_0 - RSS_1) / df / s^2 of least squares, type I and II."""
    d = flat(two_way())
    with pytest.warns(SingularFitWarning):
        fit = rg.lmer("y ~ a * b + x + (1 | g)", d, weights=weights)
    w = np.ones(len(d)) if weights is None else d.w.to_numpy()
    full, rank = rss(d.y.to_numpy(), columns(d, "a", "b", "x", "a:b"), w)
    s2 = full / (len(d) - rank)
    pairs = {
        1: {"a": ((), "a"), "b": (("a",), "b"), "x": (("a", "b"), "x"), "a:b": (("a", "b", "x"), "a:b")},
        2: {
            "a": (("b", "x"), "a"),
            "b": (("a", "x"), "b"),
            "x": (("a:b", "a", "b"), "x"),
            "a:b": (("a", "b", "x"), "a:b"),
        },
    }
    for type, wanted in pairs.items():
        table = term_table(fit, type).frame
        for term, (before, own) in wanted.items():
            small, r0 = rss(d.y.to_numpy(), columns(d, *before), w)
            large, r1 = rss(d.y.to_numpy(), columns(d, *before, own), w)
            assert table.loc[term, "F value"] == pytest.approx((small - large) / (r1 - r0) / s2, rel=1e-6)
            assert table.loc[term, "NumDF"] == r1 - r0
            assert table.loc[term, "DenDF"] == pytest.approx(len(d) - rank, rel=1e-6)


def test_type_three_compares_unweighted_means_of_cells():
    d = two_way()
    fit = rg.lmer("y ~ a * b + x + (1 | g)", d)
    cells = pd.DataFrame([(i, j, 0.0) for i in "pqr" for j in "uv"], columns=["a", "b", "x"])
    M = fit.design.fixed_matrix(cells).reshape(3, 2, -1)
    over_b, over_a = M.mean(axis=1), M.mean(axis=0)
    wanted = {"a": over_b[1:] - over_b[0], "b": over_a[1:] - over_a[0]}
    wanted["a:b"] = (M[1:, 1] - M[1:, 0]) - (M[0, 1] - M[0, 0])
    found = hypotheses(fit, 3)
    for term, L in wanted.items():
        np.testing.assert_allclose(found[term], L, atol=1e-10)
        assert wald_test(fit, found[term]).statistic == pytest.approx(wald_test(fit, L).statistic, rel=1e-9)


@pytest.mark.golden
def test_unbalanced_cake_as_lmertest():
    """anova(fit, type, ddf) of lmerTest 3.1-3 and pbkrtest 0.5-2; the same rows are left out as in denominator_df."""
    cake = rg.datasets.load("cake")
    rows = np.array([3, 17, 18, 40, 77, *range(100, 110), 200, 231, 250]) - 1
    fit = rg.lmer("angle ~ recipe * temperature + (1 | recipe:replicate)", cake.drop(index=cake.index[rows]))
    wanted = {
        (1, "satterthwaite"): ([0.29154, 19.04676, 0.87962], [40.795964, 193.217524, 193.219965]),
        (2, "satterthwaite"): ([0.25323, 19.04676, 0.87962], [40.799637, 193.217524, 193.220180]),
        (3, "satterthwaite"): ([0.25755, 18.94177, 0.87962], [40.807861, 193.223404, 193.220392]),
        (1, "kenward-roger"): ([0.29153, 19.04219, 0.87955], [40.964841, 193.385890, 193.388809]),
        (2, "kenward-roger"): ([0.25322, 19.04219, 0.87955], [40.968526, 193.385890, 193.388809]),
        (3, "kenward-roger"): ([0.25755, 18.93721, 0.87955], [40.976777, 193.391621, 193.388809]),
    }
    for (type, method), (F, ddf) in wanted.items():
        table = term_table(fit, type, method).frame
        np.testing.assert_allclose(table["F value"], F, atol=1e-5)
        np.testing.assert_allclose(table["DenDF"], ddf, rtol=1e-5)
    sequential = fit.anova().frame
    np.testing.assert_allclose(sequential["Sum Sq"], [12.36681, 1914.21796, 176.88111], rtol=1e-5)
    np.testing.assert_allclose(sequential["F value"], [0.30750, 19.03868, 0.87962], atol=1e-5)
    assert list(sequential.columns) == ["npar", "Sum Sq", "Mean Sq", "F value"]
    assert list(table.columns) == ["Sum Sq", "Mean Sq", "NumDF", "DenDF", "F value", "Pr(>F)"]


@pytest.mark.golden
def test_factor_by_covariate_as_lmertest(shared_data):
    """sat ~ cond * talk + (1 | group), cond a factor; lmerTest 3.1-3, type III, covariate at 0 and centred."""
    d = shared_data("debate")
    d["cond"] = pd.Categorical(np.where(d["cond"] == 1, "T", "C"))
    fit = rg.lmer("sat ~ cond * talk + (1 | group)", d)
    table = fit.anova(type=3).frame
    np.testing.assert_allclose(table["F value"], [1.4859, 19.3845, 0.6387], atol=5e-5)
    np.testing.assert_allclose(table["DenDF"], [295.02, 291.91, 291.91], atol=6e-3)
    centred = fit.anova(type=3, covariates="mean").frame
    np.testing.assert_allclose(centred["F value"], [1.4664, 19.3845, 0.6387], atol=5e-5)
    assert centred.loc["cond", "DenDF"] == pytest.approx(110.89, abs=6e-3)


def test_covariates_at_their_mean_do_not_depend_on_their_origin():
    d = two_way()
    tables = [
        term_table(rg.lmer("y ~ a * x + (1 | g)", d.assign(x=d.x + shift)), 3, covariates="mean").frame
        for shift in (0.0, 50.0)
    ]
    pd.testing.assert_frame_equal(*tables, rtol=1e-4)
    zero = term_table(rg.lmer("y ~ a * x + (1 | g)", d), 3).frame
    assert abs(zero.loc["a", "F value"] / tables[0].loc["a", "F value"] - 1) > 0.1


def test_empty_cell_leaves_what_is_estimable():
    d = two_way(empty=True)
    with pytest.warns(rg.errors.RankDeficiencyWarning):
        fit = rg.lmer("y ~ a * b + (1 | g)", d)
    table = term_table(fit, 3)
    assert table.loc["a:b", "NumDF"] == 1
    second = term_table(fit, 2)
    assert table.loc["a:b", "F value"] == pytest.approx(second.loc["a:b", "F value"], rel=1e-8)
    assert np.isnan(table.loc["b", "F value"])
    assert table.loc["b", "NumDF"] == 0
    assert "b: nothing of it is estimable in a type III test" in str(table)
    assert second.frame["NumDF"].tolist() == [2, 1, 1]
    # what is left of a compares the levels p and q, whose cells are all there
    L = hypotheses(fit, 3)["a"]
    cells = pd.DataFrame([(i, j) for i in "pq" for j in "uv"], columns=["a", "b"])
    M = fit.design.fixed_matrix(cells).reshape(2, 2, -1).mean(axis=1)
    assert len(L) == 1
    assert wald_test(fit, L).statistic == pytest.approx(wald_test(fit, M[1] - M[0]).statistic, rel=1e-8)


def test_no_intercept_tests_all_means_and_nested_terms_work():
    d = two_way()
    fit = rg.lmer("y ~ 0 + a + (1 | g)", d)
    np.testing.assert_allclose(hypotheses(fit, 3)["a"], np.eye(3), atol=1e-12)
    crossed = rg.lmer("y ~ a * b + (1 | g)", d)
    nested = rg.lmer("y ~ a / b + (1 | g)", d)
    cells = pd.DataFrame([(i, j) for i in "pqr" for j in "uv"], columns=["a", "b"])
    M = crossed.design.fixed_matrix(cells).reshape(3, 2, -1)
    within = wald_test(crossed, M[:, 1] - M[:, 0])
    table = term_table(nested, 3).frame
    assert table.loc["a:b", "F value"] == pytest.approx(within.statistic, rel=1e-6)
    assert table.loc["a", "F value"] == pytest.approx(term_table(crossed, 3).loc["a", "F value"], rel=1e-6)


def test_generalized_models_have_wald_chi_square():
    cbpp = rg.datasets.load("cbpp")
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    fits = [rg.glmer(formula, cbpp, "binomial", contrasts={"period": c}) for c in ("treatment", "sum")]
    V, b = fits[0].vcov().to_numpy()[1:, 1:], fits[0].beta[1:]
    for fit in fits:
        for type in (1, 2, 3):
            table = fit.anova(type=type).frame
            assert list(table.columns) == ["Chisq", "Df", "Pr(>Chisq)"]
            if type > 1:
                assert table.loc["period", "Chisq"] == pytest.approx(b @ np.linalg.solve(V, b), rel=1e-4)
    np.testing.assert_allclose(fits[0].anova().frame, fits[1].anova().frame, rtol=1e-4)
    with pytest.raises(NotAvailableError, match="F tests exist for linear mixed models"):
        fits[0].anova(test="F")
    with pytest.raises(NotAvailableError, match="linear mixed models"):
        fits[0].anova(ddf="kenward-roger", test="F")


def test_statistics_and_arguments():
    fit = rg.lmer("y ~ a + x + (1 | g)", two_way())
    chisq, F = fit.anova(type=2, test="Chisq").frame, fit.anova(type=2, ddf="residual").frame
    np.testing.assert_allclose(chisq["Chisq"], F["F value"] * F["NumDF"], rtol=1e-9)
    assert "Type II Analysis of Variance Table with the residual degrees of freedom" in str(
        fit.anova(type=2, ddf="residual")
    )
    assert "12 degrees of freedom" in str(fit.anova(ddf=12))
    infinite = fit.anova(type="II", ddf="inf").frame
    np.testing.assert_allclose(infinite["F value"], F["F value"], rtol=1e-9)
    np.testing.assert_allclose(infinite["Pr(>F)"], chisq["Pr(>Chisq)"], rtol=1e-9)
    for bad in ({"type": 4}, {"type": "IV"}, {"type": True}, {"test": "LR"}, {"type": 3, "covariates": "median"}):
        with pytest.raises(ArgumentError):
            fit.anova(**bad)
    assert term_number(fit, "x") == 2
    with pytest.raises(ArgumentError, match="no fixed-effects term 'z'; terms are a, x"):
        term_number(fit, "z")
    assert len(rg.lmer("y ~ 1 + (1 | g)", two_way()).anova(type=3)) == 0
