"""Marginal means and contrasts: closed forms, linear functions by hand, printing, failures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import refglmm as rg
from refglmm.effects.contrasts import contrast_rows
from refglmm.errors import ArgumentError, NotAvailableError, SeparationWarning


def by_hand(fit, L, level=0.95, df=np.inf):
    """Estimate, SE and interval of L beta from vcov()."""
    L = np.atleast_2d(L)
    estimate = L @ fit.fixef.to_numpy()
    se = np.sqrt(np.diag(L @ fit.vcov().to_numpy() @ L.T))
    half = stats.t.ppf(0.5 + level / 2, df) * se
    return estimate, se, estimate - half, estimate + half


# --- means --------------------------------------------------------------------------------------------------


def test_means_of_a_balanced_design_are_cell_means(cake):
    data = rg.datasets.load("cake")
    for name in ("recipe", "temperature"):
        table = cake.lsmeans(name).table
        expected = data.groupby(name, observed=True)["angle"].mean()
        assert table[name].tolist() == expected.index.tolist()
        np.testing.assert_allclose(table["estimate"], expected, rtol=1e-10)
    both = cake.lsmeans("recipe:temperature").table.set_index(["recipe", "temperature"])["estimate"]
    expected = data.groupby(["recipe", "temperature"], observed=True)["angle"].mean()
    np.testing.assert_allclose(both.sort_index(), expected.sort_index(), rtol=1e-10)


def test_standard_errors_of_a_balanced_design(cake):
    # Var(mean of a recipe) = sigma_r^2 / 15 + sigma^2 / 90; Var(difference in a temperature) = 2 (both) / 15.
    var_r, var_e = cake.varcorr["recipe:replicate"].cov[0, 0], cake.sigma**2
    np.testing.assert_allclose(cake.lsmeans("recipe").table["SE"], np.sqrt(var_r / 15 + var_e / 90), rtol=1e-8)
    pairs = cake.lsmeans("recipe | temperature").contrasts().table
    np.testing.assert_allclose(pairs["SE"], np.sqrt(2 * (var_r + var_e) / 15), rtol=1e-8)
    # Main plots: 3 recipes x 15 replicates, so 42 degrees of freedom.
    np.testing.assert_allclose(cake.lsmeans("recipe").contrasts().table["df"], 42.0, rtol=1e-5)


def test_means_are_linear_functions_of_the_coefficients(cbpp):
    L = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]])
    table = cbpp.lsmeans("period", level=0.9).table
    for column, value in zip(["estimate", "SE", "lower.CL", "upper.CL"], by_hand(cbpp, L, 0.9), strict=True):
        np.testing.assert_allclose(table[column], value, rtol=1e-12)
    assert np.isinf(table["df"]).all()
    assert isinstance(table["period"].dtype, pd.CategoricalDtype)


def test_response_scale_is_the_link_scale_carried_back(cbpp):
    link, response = cbpp.lsmeans("period").table, cbpp.lsmeans("period", type="response").table
    expit = 1 / (1 + np.exp(-link[["estimate", "lower.CL", "upper.CL"]]))
    np.testing.assert_allclose(response[["estimate", "lower.CL", "upper.CL"]], expit, rtol=1e-12)
    p = response["estimate"]
    np.testing.assert_allclose(response["SE"], link["SE"] * p * (1 - p), rtol=1e-12)


def test_coding_of_the_factors_does_not_matter(made):
    fits = [
        rg.lmer("y ~ a + b * x + c + (1 | g)", made, reml=True, contrasts={"a": a, "b": b})
        for a, b in [("treatment", "treatment"), ("sum", "helmert"), ("poly", "sum")]
    ]
    tables = [fit.lsmeans("a:b", ddf="inf").table.drop(columns=["a", "b"]) for fit in fits]
    for other in tables[1:]:
        np.testing.assert_allclose(other.astype(float), tables[0].astype(float), rtol=1e-6)


def test_numbers_in_specs_and_truth_values(made):
    data = made.assign(two=np.where(made.c == "u", 1.0, 3.0), flag=made.c == "v")
    fit = rg.lmer("y ~ two + flag:x + (1 | g)", data)
    table = fit.lsmeans("two", ddf="inf").table
    assert table["two"].tolist() == [1.0, 3.0]
    b = fit.fixef
    middle = b["(Intercept)"] + made.x.mean() * (b["flagFALSE:x"] + b["flagTRUE:x"]) / 2
    np.testing.assert_allclose(table["estimate"], [middle + b["two"], middle + 3 * b["two"]], rtol=1e-12)
    assert fit.lsmeans("flag").table["flag"].tolist() == [False, True]
    five = fit.lsmeans("x", at={"x": [0, 2.5]}, ddf="inf").table
    assert five["x"].tolist() == [0.0, 2.5]


def test_a_number_that_the_formula_makes_a_factor(made):
    data = made.assign(n=np.where(made.a == "p", 10, np.where(made.a == "q", 20, 30)))
    fit, plain = (rg.lmer(f"y ~ {v} * x + (1 | g)", data) for v in ("factor(n)", "a"))
    ours, theirs = fit.lsmeans("n", ddf="inf").table, plain.lsmeans("a", ddf="inf").table
    assert ours["n"].tolist() == [10, 20, 30]
    np.testing.assert_allclose(ours["estimate"], theirs["estimate"], rtol=1e-9)


def test_weights_count_rows_with_the_weights_of_the_fit(made):
    twice = pd.concat([made, made[made.c == "v"]], ignore_index=True)
    weighted = rg.lmer("y ~ a + c + (1 | g)", made, weights=np.where(made.c == "v", 2.0, 1.0))
    doubled = rg.lmer("y ~ a + c + (1 | g)", twice)
    for how in ("cells", "proportional"):
        L = [fit.lsmeans("a", weights=how, ddf="inf").rows.L for fit in (weighted, doubled)]
        np.testing.assert_allclose(L[0], L[1], rtol=1e-12)
    share = (twice.c == "v").mean()
    np.testing.assert_allclose(doubled.lsmeans("a", weights="proportional").rows.L[:, -1], share, rtol=1e-12)
    cells = twice.assign(v=twice.c == "v").groupby("a")["v"].mean()
    np.testing.assert_allclose(doubled.lsmeans("a", weights="cells").rows.L[:, -1], cells, rtol=1e-12)


def test_trials_of_cbind_are_not_frequencies():
    data = rg.datasets.load("cbpp")
    data["half"] = pd.Categorical(np.where(np.arange(len(data)) % 3 == 0, "one", "two"))
    fit = rg.glmer("cbind(incidence, size - incidence) ~ period + half + (1 | herd)", data, "binomial")
    expected = (data["half"] == "two").mean()
    np.testing.assert_allclose(fit.lsmeans("period", weights="proportional").rows.L[:, -1], expected, rtol=1e-12)


def test_cells_without_data_have_no_mean(made):
    fit = rg.lmer("y ~ a + b + (1 | g)", made)
    means = fit.lsmeans("a", by="b", weights="cells", at={"b": ["z"]})
    assert means.rows.estimable.tolist() == [True, True, True]  # a:b has cells of its own: nothing is averaged
    over = rg.lmer("y ~ a + b + c + (1 | g)", made).lsmeans("a:b", weights="cells")
    lost = over.table["estimate"].isna()
    assert over.table[lost][["a", "b"]].astype(str).to_numpy().tolist() == [["r", "x"], ["r", "z"]]
    assert "not estimable (no data): r x; r z" in str(over)
    assert over.contrasts(adjust="holm").table["p.value"].isna().sum() == 8 + 7


def test_means_that_a_dropped_column_takes_away_are_named(curved):
    means = curved.lsmeans("a:b")
    assert means.table["estimate"].isna().tolist() == [False, False, True, False, False, False, False, False, True]
    assert "not estimable (dropped from the model: ar:by, ar:bz): r x; r z" in str(means)
    assert " r x   nonEst nonEst" in str(means)
    pairs = means.contrasts(adjust="none")
    assert len(pairs) == 36
    assert pairs.table["estimate"].isna().sum() == 8 + 7
    # An average over the empty cell is lost, one with weight zero there is not.
    assert curved.lsmeans("a").table["estimate"].isna().tolist() == [False, False, True]
    with pytest.raises(NotAvailableError, match="not estimable: some rows need ar:by, ar:bz, dropped from the model"):
        curved.marginal_effects("a")


def test_a_difference_of_inestimable_means_can_be_estimable(made):
    # c enters beside a * b: the empty cell has no mean, yet its difference in c has an estimate.
    with pytest.warns(rg.errors.RankDeficiencyWarning):
        fit = rg.lmer("y ~ a * b + c + (1 | g)", made)
    table = fit.lsmeans("c | a * b", ddf="inf").contrasts().table
    np.testing.assert_allclose(table["estimate"], -fit.fixef["cv"], rtol=1e-9)


# --- the population -----------------------------------------------------------------------------------------


def test_bias_correction_integrates_the_random_effects(cbpp):
    sd = cbpp.varcorr["herd"].sd[0]
    table = cbpp.lsmeans("period", type="response", bias_correct=True).table
    for eta, mean in zip(cbpp.lsmeans("period").table["estimate"], table["estimate"], strict=True):
        exact, _ = integrate.quad(
            lambda b, e=eta: stats.norm.pdf(b, scale=sd) / (1 + np.exp(-e - b)), -9, 9, epsabs=1e-13
        )
        assert mean == pytest.approx(exact, rel=1e-10)
    assert ((table["lower.CL"] > 0) & (table["lower.CL"] < table["estimate"])).all()
    assert (table["upper.CL"] > table["estimate"]).all()


def test_bias_correction_of_a_log_link_has_a_closed_form(counts):
    v = counts.varcorr["g"].cov[0, 0]
    plain = counts.lsmeans("a", type="response").table["estimate"]
    corrected = counts.lsmeans("a", type="response", bias_correct=True).table["estimate"]
    np.testing.assert_allclose(corrected, plain * np.exp(v / 2), rtol=1e-12)


def test_bias_correction_changes_nothing_under_the_identity(linear):
    plain, corrected = (linear.lsmeans("b", type="response", bias_correct=c).table for c in (False, True))
    pd.testing.assert_frame_equal(plain, corrected)


# --- offsets ------------------------------------------------------------------------------------------------


def test_offsets_stand_at_their_mean_at_a_number_or_where_at_says(counts, made):
    b = counts.fixef
    eta = b["(Intercept)"] + b["x"] * made.x.mean() + np.array([0, b["aq"], b["ar"]])
    for how, offset in [
        ({}, np.log(made.w).mean()),
        ({"offset": 0}, 0.0),
        ({"offset": 1.5}, 1.5),
        ({"at": {"w": 2.0}}, np.log(2.0)),
    ]:
        means = counts.lsmeans("a", **how)
        np.testing.assert_allclose(means.table["estimate"], eta + offset, rtol=1e-12)
    assert "offset: log(w) as asked for" in str(counts.lsmeans("a", at={"w": 2.0}))
    assert f"offset: its mean {np.log(made.w).mean():.4g}" in str(counts.lsmeans("a"))


def test_an_offset_argument_stands_at_its_mean(counts, made):
    text = rg.glmer("k ~ a + x + (1 | g)", made, "poisson", offset="log(w)")
    array = rg.glmer("k ~ a + x + (1 | g)", made, "poisson", offset=np.log(made.w))
    expected = counts.lsmeans("a").table["estimate"]
    for fit in (text, array):
        np.testing.assert_allclose(fit.lsmeans("a").table["estimate"], expected, rtol=1e-6)


# --- contrasts ----------------------------------------------------------------------------------------------


def test_pairs_by_hand(cbpp):
    L = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [0, 0, 0, -1], [0, 1, -1, 0], [0, 1, 0, -1], [0, 0, 1, -1]])
    table = cbpp.lsmeans("period").contrasts(adjust="none").table
    assert table["contrast"].tolist() == ["1 - 2", "1 - 3", "1 - 4", "2 - 3", "2 - 4", "3 - 4"]
    estimate, se, lower, upper = by_hand(cbpp, L)
    for column, value in zip(["estimate", "SE", "lower.CL", "upper.CL"], (estimate, se, lower, upper), strict=True):
        np.testing.assert_allclose(table[column], value, rtol=1e-12)
    np.testing.assert_allclose(table["p.value"], 2 * stats.norm.sf(np.abs(estimate / se)), rtol=1e-10)


def test_families_of_contrasts():
    labels = ["a", "b", "c", "d"]
    for method, first, names in [
        ("pairwise", [1, -1, 0, 0], ["a - b", "a - c", "a - d", "b - c", "b - d", "c - d"]),
        ("revpairwise", [-1, 1, 0, 0], ["b - a", "c - a", "c - b", "d - a", "d - b", "d - c"]),
        ("consecutive", [-1, 1, 0, 0], ["b - a", "c - b", "d - c"]),
        ("trt.vs.ctrl", [-1, 1, 0, 0], ["b - a", "c - a", "d - a"]),
        ("eff", [0.75, -0.25, -0.25, -0.25], ["a effect", "b effect", "c effect", "d effect"]),
        ("poly", [-3, -1, 1, 3], ["linear", "quadratic", "cubic"]),
    ]:
        C, given = contrast_rows(method, labels)
        assert C[0].tolist() == first
        assert given == names
    C, _ = contrast_rows("poly", labels)
    assert C[1:].tolist() == [[1, -1, -1, 1], [-1, 3, -3, 1]]  # the tables of orthogonal polynomials
    assert contrast_rows("poly", list("abcdef"))[0][4].tolist() == [-1, 5, -10, 10, -5, 1]
    assert contrast_rows("trt.vs.ctrl", labels, "c")[1] == ["a - c", "b - c", "d - c"]
    assert contrast_rows("trt.vs.ctrl", labels, 3)[1] == ["a - d", "b - d", "c - d"]


def test_contrasts_of_ones_own(cbpp):
    means = cbpp.lsmeans("period")
    first = {"first against rest": [1, -1 / 3, -1 / 3, -1 / 3], "3 against 4": [0, 0, 1, -1]}
    table = means.contrasts(first).table
    assert table["contrast"].tolist() == list(first)
    L = np.array([[0, -1 / 3, -1 / 3, -1 / 3], [0, 0, 1, -1]])
    np.testing.assert_allclose(table["estimate"], by_hand(cbpp, L)[0], rtol=1e-12)
    np.testing.assert_allclose(table["SE"], by_hand(cbpp, L)[1], rtol=1e-12)
    matrix = means.contrasts(np.array(list(first.values()))).table
    assert matrix["contrast"].tolist() == ["contrast 1", "contrast 2"]
    np.testing.assert_array_equal(matrix["estimate"], table["estimate"])
    named = means.contrasts(pd.DataFrame(list(first.values()), index=list(first))).table
    assert named["contrast"].tolist() == list(first)


@pytest.mark.parametrize(("fixture", "name"), [("cbpp", "odds.ratio"), ("counts", "ratio")])
def test_differences_of_logs_are_shown_as_ratios(request, fixture, name):
    fit = request.getfixturevalue(fixture)
    specs = "period" if fixture == "cbpp" else "a"
    link, response = (fit.lsmeans(specs, type=type).contrasts().table for type in ("link", "response"))
    np.testing.assert_allclose(response[name], np.exp(link["estimate"]), rtol=1e-13)
    np.testing.assert_allclose(response["SE"], np.exp(link["estimate"]) * link["SE"], rtol=1e-13)
    np.testing.assert_allclose(response["upper.CL"], np.exp(link["upper.CL"]), rtol=1e-13)
    np.testing.assert_array_equal(response["p.value"], link["p.value"])
    assert " / " in response["contrast"].iloc[0]


def test_other_links_keep_their_differences():
    data = rg.datasets.load("cbpp")
    fit = rg.glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", data, "binomial", link="probit")
    means = fit.lsmeans("period", type="response")
    assert means.contrasts().estimate_name == "estimate"
    assert "differences on the probit scale, not the response" in str(means.contrasts())
    sd = fit.varcorr["herd"].sd[0]
    eta = fit.lsmeans("period").table["estimate"]
    exact = stats.norm.cdf(eta / np.sqrt(1 + sd**2))
    corrected = fit.lsmeans("period", type="response", bias_correct=True)
    np.testing.assert_allclose(corrected.table["estimate"], exact, rtol=1e-10)
    differences = corrected.contrasts(differences=True).table["estimate"]
    np.testing.assert_allclose(differences.iloc[0], exact[0] - exact[1], rtol=1e-9)


def test_simple_main_effects_and_protection(cake):
    both = cake.lsmeans("recipe:temperature", simple="recipe", protect=True)
    simple = both.comparisons
    assert simple.at == ("temperature",)
    assert simple.tests.columns.tolist() == ["temperature", "F", "num_df", "den_df", "p.value"]
    assert (simple.tests["num_df"] == 2).all()
    # Two equal rows of three pairs make the F test of a level: F = sum of squared contrasts over 3 Var.
    table = cake.lsmeans("recipe:temperature").simple("recipe", adjust="none").table
    F = (table["estimate"] ** 2).groupby(table["temperature"], observed=True).sum() / (3 * table["SE"].iloc[0] ** 2)
    np.testing.assert_allclose(simple.tests["F"], F, rtol=1e-8)
    assert (simple.tests["p.value"] > 0.05).all()
    assert (simple.table["p.value"] == 1.0).all()
    assert "p-values are 1 in families whose joint test has p > 0.05" in str(both)
    open_ = cake.lsmeans("temperature", pairwise=True, protect=True).comparisons.table
    assert open_["p.value"].min() < 0.001


def test_the_signature_of_the_article(cbpp):
    means = rg.lsmeans(cbpp, "period", pairwise=True, adjust="holm", protect=False)
    assert means.table.columns.tolist() == ["period", "estimate", "SE", "df", "lower.CL", "upper.CL"]
    assert means.comparisons.adjust == "holm"
    assert "p-values: holm for a family of 6 comparisons" in str(means)
    assert "intervals: simultaneous (bonferroni)" in str(means)


def test_joint_tests(cbpp, cake):
    L = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    b, V = L @ cbpp.fixef.to_numpy(), L @ cbpp.vcov().to_numpy() @ L.T
    test = cbpp.lsmeans("period").joint_test().iloc[0]
    assert test["Chisq"] == pytest.approx(b @ np.linalg.solve(V, b), rel=1e-10)
    assert (test["num_df"], test["den_df"]) == (3, np.inf)
    assert test["p.value"] == pytest.approx(stats.chi2.sf(test["Chisq"], 3), rel=1e-10)
    # All pairs say no more than their three independent ones.
    assert cbpp.lsmeans("period").contrasts().joint_test()["Chisq"].iloc[0] == pytest.approx(test["Chisq"], rel=1e-9)
    F = cake.lsmeans("recipe").joint_test().iloc[0]
    assert F["den_df"] == pytest.approx(42, rel=1e-4)


def test_simultaneous_intervals_of_means(cbpp):
    means = cbpp.lsmeans("period")
    sidak, plain = means.confint(adjust="sidak"), means.confint(level=0.9)
    z = stats.norm.ppf(0.5 + 0.95**0.25 / 2)
    np.testing.assert_allclose(sidak["upper.CL"], means.table["estimate"] + z * means.table["SE"], rtol=1e-12)
    np.testing.assert_allclose(plain["upper.CL"], means.table["estimate"] + 1.6448536 * means.table["SE"], rtol=1e-7)
    with pytest.raises(ArgumentError, match="intervals of means are adjusted by 'sidak', 'bonferroni' or 'mvt'"):
        means.confint(adjust="tukey")


# --- forms, printing, nothing changed -----------------------------------------------------------------------


def test_ways_to_name_the_specs(linear):
    expected = linear.lsmeans(["a", "b"], ddf="inf").table
    for specs in ("a:b", "a * b", "~ a + b", ("a", "b"), "a,b"):
        pd.testing.assert_frame_equal(linear.lsmeans(specs, ddf="inf").table, expected)
    assert expected[["a", "b"]].astype(str).agg("".join, axis=1).tolist()[:4] == ["px", "qx", "rx", "py"]
    by = linear.lsmeans("a | b", ddf="inf")
    pd.testing.assert_frame_equal(by.table, expected)
    assert by.by == linear.lsmeans("a", by="b").by == ("b",)
    assert by.contrasts().table["contrast"].tolist() == ["p - q", "p - r", "q - r"] * 3


def test_how_it_prints(cbpp, linear):
    shown = str(cbpp.lsmeans("period", type="response"))
    assert shown.splitlines()[:2] == [
        " period estimate     SE  df lower.CL upper.CL",
        " 1        0.1980 0.0369 Inf   0.1354   0.2803",
    ]
    assert "a group with random effects zero; intervals made on the" in shown
    shown = str(linear.lsmeans("b", weights="cells"))
    assert "averaged over a, c (cells weights)" in shown
    assert "held at x = " in shown
    assert "degrees of freedom: satterthwaite" in shown
    html = linear.lsmeans("a | b", pairwise=True)._repr_html_()
    assert html.count("<table>") == 2
    assert "t.ratio" in html
    assert repr(linear.lsmeans("a")) == str(linear.lsmeans("a"))


def test_results_are_copies_and_the_fit_is_untouched(cbpp):
    before = cbpp.to_json()
    at = {"period": ["1", "2"]}
    means = cbpp.lsmeans("period", at=at, type="response", bias_correct=True)
    pairs = means.contrasts()
    for table, name in ((means.table, "estimate"), (pairs.table, "odds.ratio")):
        table.loc[0, name] = 99.0
    assert means.table["estimate"].max() < 1
    assert pairs.table["odds.ratio"].max() < 99
    assert at == {"period": ["1", "2"]}
    assert cbpp.to_json() == before
    with pytest.raises(AttributeError):
        means.level = 0.5


# --- failures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"specs": "d"}, r"specs: the model has no variable 'd'; .*variables are 'a', 'b', 'x', 'c'"),
        ({"specs": "x"}, r"specs: 'x' is numeric; name the values to take means at, as in at=\{'x': \[...\]\}"),
        ({"specs": "g"}, r"specs: the model has no variable 'g'"),
        ({"specs": 3}, r"specs must be a name, 'a:b' or a list of names, not 3"),
        ({"specs": "~"}, "specs names no variable"),
        ({"specs": "a", "by": "a"}, "every variable of specs is in by"),
        ({"specs": "a", "at": {"b": "w"}}, r"'w' is not a level of 'b'; its levels are 'x', 'y', 'z'"),
        ({"specs": "a", "at": {"z": 1}}, "at: the model has no variable 'z'"),
        ({"specs": "a", "at": {"x": "high"}}, "'x' is numeric; 'high' is not a finite number"),
        ({"specs": "a", "at": {"x": [1.0, np.nan]}}, "nan is not a finite number"),
        ({"specs": "a", "at": {"x": []}}, "no values given for 'x'"),
        ({"specs": "a", "at": [1]}, r"at must map variables to values"),
        ({"specs": "a", "type": "mean"}, "type must be 'link' or 'response', not 'mean'"),
        ({"specs": "a", "weights": "flat"}, "weights must be one of equal, proportional, outer, cells, not 'flat'"),
        ({"specs": "a", "level": 95}, "level must lie between 0 and 1, not 95"),
        (
            {"specs": "a", "bias_correct": True},
            "bias_correct=True averages over the random effects on the response scale",
        ),
        ({"specs": "a", "simple": "b"}, r"simple: 'b' is not among the variables of these means \(a\)"),
        ({"specs": "a", "simple": "a"}, "simple effects of 'a' need another variable to hold"),
        ({"specs": "a", "ddf": "welch"}, "unknown method 'welch' for degrees of freedom"),
    ],
)
def test_what_cannot_be_meant_is_named(linear, how, message):
    with pytest.raises(ArgumentError, match=message):
        linear.lsmeans(**how)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"method": "all"}, "unknown contrasts 'all'; use one of pairwise, revpairwise"),
        ({"method": {"odd": [1, -1]}}, "contrast 'odd' has 2 coefficients, but there are 4 means: 1, 2, 3, 4"),
        ({"method": [[1, -1, 0]]}, r"of 4 coefficients for 1, 2, 3, 4; got an array of shape \(1, 3\)"),
        ({"method": [[0, 0, 0, 0]]}, "none of them zero"),
        ({"method": [["a", "b", "c", "d"]]}, "contrasts must be finite rows"),
        ({"method": "trt.vs.ctrl", "reference": "9"}, "reference '9' is none of the means 1, 2, 3, 4"),
        ({"adjust": "lsd"}, "unknown adjustment 'lsd'"),
        ({"method": "eff", "adjust": "tukey"}, "adjust='tukey' is for all pairwise comparisons"),
        ({"method": {"sum": [1, 1, 0, 0]}, "type": "response"}, "do not sum to zero are no odds.ratios"),
        ({"by": ["herd"]}, r"by: 'herd' is not a column of these means \(period\)"),
        ({"by": ["period"]}, "nothing is left to compare"),
    ],
)
def test_contrasts_that_make_no_sense(cbpp, how, message):
    with pytest.raises(ArgumentError, match=message):
        cbpp.lsmeans("period").contrasts(**how)


def test_a_single_mean_has_no_contrasts(cbpp):
    with pytest.raises(ArgumentError, match=r"a family of one mean \(2\) has no contrasts"):
        cbpp.lsmeans("period", at={"period": "2"}).contrasts()


def test_a_model_without_fixed_effects():
    fit = rg.lmer("Yield ~ 0 + (1 | Batch)", rg.datasets.load("Dyestuff"))
    with pytest.raises(ArgumentError, match="variables are none"):
        fit.lsmeans("Batch")
    with pytest.raises(NotAvailableError, match="the model has no fixed effects"):
        fit.marginal_means()


def test_a_grid_that_nobody_can_mean(made):
    fit = rg.lmer("y ~ a + b + x + (1 | g)", made)
    with pytest.raises(ArgumentError, match=r"reference grid would have 900000 rows: 100000 \(x\) x 3 \(a\) x 3 \(b\)"):
        fit.lsmeans("x", at={"x": np.linspace(0, 1, 100_000)})


def test_a_separated_level_has_a_ratio_without_an_upper_limit(made):
    data = made.assign(hit=np.where(made["a"] == made["a"].iloc[0], 1.0, (made["y"] > made["y"].median()) * 1.0))
    with pytest.warns(SeparationWarning):
        fit = rg.glmer("hit ~ a + (1 | g)", data, "binomial")
    table = rg.lsmeans(fit, "a", type="response").contrasts("pairwise").table
    assert np.isinf(table["upper.CL"]).any()


def test_names_in_backticks_may_hold_spaces():
    data = rg.datasets.load("cbpp").rename(columns={"period": "silly period"})
    fit = rg.glmer("cbind(incidence, size - incidence) ~ `silly period` + (1 | herd)", data, "binomial")
    plain = rg.lsmeans(fit, "silly period").table
    for specs in ("`silly period`", "~ `silly period`", ["silly period"]):
        assert rg.lsmeans(fit, specs).table.equals(plain)


def test_means_of_a_transformed_response_say_so():
    fit = rg.lmer("log(Reaction) ~ factor(Days) + (1 | Subject)", rg.datasets.load("sleepstudy"))
    assert "estimates are of log(Reaction)" in str(rg.lsmeans(fit, "Days"))
