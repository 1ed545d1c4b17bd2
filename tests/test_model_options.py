"""factors=, within=, cwc=, gmc= and missing= of a model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import refglmm as rg
from refglmm.errors import (
    ArgumentError,
    DataError,
    FormulaWarning,
    MissingValuesError,
    NotAvailableError,
    ResponseError,
)


@pytest.fixture(scope="module")
def debate():
    return rg.datasets.load("debate_like")


@pytest.fixture(scope="module")
def training():
    return rg.datasets.load("training_like")


def holed(data, seed, share=0.1):
    """Some values of every variable but the group missing."""
    random = np.random.default_rng(seed)
    out = data.astype(float)
    for name in ("sat", "talk", "perf"):
        out.loc[random.random(len(out)) < share, name] = np.nan
    return out


# --- factors ------------------------------------------------------------------------------------------------


def test_a_column_of_numbers_becomes_a_factor(debate):
    model = rg.GLMM("sat ~ skill + (1 | group)", debate, factors=["skill"])
    assert model.design.names == ("(Intercept)", "skill2", "skill3")
    written = rg.GLMM("sat ~ factor(skill) + (1 | group)", debate)
    np.testing.assert_array_equal(model.design.X, written.design.X)


def test_declared_levels_stay_and_text_is_sorted(debate):
    data = debate.assign(
        kind=pd.Categorical(np.where(debate["cond"], "new", "old"), ["old", "new"]),
        text=np.where(debate["cond"], "b", "a"),
    )
    model = rg.GLMM("sat ~ kind + text:talk + (1 | group)", data, factors=["kind", "text"])
    assert model.design.names[1:] == ("kindnew", "texta:talk", "textb:talk")


def test_new_data_need_no_factor_of_their_own(debate):
    fit = rg.lmer("sat ~ skill + (1 | group)", debate, factors=["skill"])
    np.testing.assert_array_equal(fit.predict(debate), fit.predict())


def test_an_unknown_factor_is_named(debate):
    with pytest.raises(DataError, match="factors=: the data has no column 'skil'"):
        rg.GLMM("sat ~ talk + (1 | group)", debate, factors=["skil"])
    with pytest.raises(ArgumentError, match="factors= takes names"):
        rg.GLMM("sat ~ talk + (1 | group)", debate, factors={"skill": 3})


# --- gmc ----------------------------------------------------------------------------------------------------


def test_gmc_is_the_model_of_a_column_centred_by_hand(debate):
    by_hand = debate.assign(perf=debate["perf"] - debate["perf"].mean())
    fit = rg.lmer("sat ~ talk * perf + (1 + perf | group)", debate, gmc=["perf"])
    np.testing.assert_allclose(
        fit.design.X, rg.GLMM("sat ~ talk * perf + (1 | group)", by_hand).design.X, rtol=0, atol=1e-12
    )
    assert list(fit.fixef.index) == ["(Intercept)", "talk", "perf", "talk:perf"]


def test_gmc_of_all_leaves_factors_groups_and_offsets_alone(debate):
    model = rg.GLMM(
        "sat ~ talk + factor(skill) + cond + offset(perf) + (1 | group)", debate, gmc="all", factors=["cond"]
    )
    assert list(model.frame.centring.grand) == ["talk"]


def test_new_data_are_in_the_unit_of_the_variable(debate):
    fit = rg.lmer("sat ~ talk + poly(perf, 2) + (1 | group)", debate, gmc="all")
    np.testing.assert_allclose(fit.predict(debate), fit.predict(), rtol=1e-13)
    one = pd.DataFrame({"talk": [debate["talk"].mean()], "perf": [debate["perf"].mean()]})
    raw = rg.lmer("sat ~ talk + poly(perf, 2) + (1 | group)", debate)
    assert fit.predict(one, re_form=False).item() == pytest.approx(raw.predict(one, re_form=False).item(), rel=1e-6)
    assert fit.frame.data["talk"].tolist() == debate["talk"].tolist()


def test_effects_of_a_centred_variable_are_in_its_own_unit(debate):
    plain = rg.lmer("sat ~ talk * perf + (1 | group)", debate)
    centred = rg.lmer("sat ~ talk * perf + (1 | group)", debate, gmc=["talk", "perf"])
    means = [rg.lsmeans(fit, "talk", at={"talk": [2.0, 4.0], "perf": [3.0]}).table for fit in (plain, centred)]
    slopes = [rg.marginal_effects(fit, "talk").table for fit in (plain, centred)]
    for expected, found in (means, slopes):
        numbers = expected.select_dtypes("number").columns
        assert numbers.size >= 3
        np.testing.assert_allclose(found[numbers], expected[numbers], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("formula", "arguments", "error", "message"),
    [
        ("sat ~ talk + (1 | group)", {"gmc": ["tolk"]}, DataError, "data has no column 'tolk'; did you mean 'talk'"),
        ("sat ~ word + (1 | group)", {"gmc": ["word"]}, DataError, "'word' is a factor or text; only numbers"),
        ("sat ~ skill + (1 | group)", {"gmc": ["skill"], "factors": ["skill"]}, DataError, "'skill' is a factor"),
        ("sat ~ flag + (1 | group)", {"gmc": ["flag"]}, DataError, "'flag' is truth values"),
        ("sat ~ talk + (1 | group)", {"gmc": ["sat"]}, ArgumentError, "'sat' where it stands as the response"),
        ("sat ~ talk + (1 | group)", {"gmc": ["group"]}, ArgumentError, "as a grouping factor"),
        ("sat ~ talk + offset(perf) + (1 | group)", {"gmc": ["perf"]}, ArgumentError, "as an offset"),
        ("sat ~ talk + (1 | group)", {"gmc": ["talk"], "weights": "talk"}, ArgumentError, "as weights="),
        ("sat ~ talk + (1 | group)", {"gmc": 3}, ArgumentError, "gmc= takes names of variables or 'all', not 3"),
        ("sat ~ log(talk) + (1 | group)", {"gmc": ["talk"]}, DataError, "missing in other rows once gmc= or cwc="),
    ],
)  # fmt: skip
def test_what_cannot_be_centred(debate, formula, arguments, error, message):
    data = debate.assign(word=np.where(debate["cond"], "a", "b"), flag=debate["cond"] == 1)
    with pytest.raises(error, match=message):
        rg.GLMM(formula, data, **arguments)


# --- cwc ----------------------------------------------------------------------------------------------------


def test_within_and_between_effects_are_those_of_columns_made_by_hand(debate):
    between = debate.groupby("group")["talk"].transform("mean")
    by_hand = debate.assign(m=between, d=debate["talk"] - between)
    fit = rg.lmer("sat ~ talk_cm + talk_cwc + perf + (1 | group)", debate, cwc={"cluster": "group", "pars": ["talk"]})
    expected = rg.lmer("sat ~ m + d + perf + (1 | group)", by_hand)
    np.testing.assert_allclose(fit.fixef, expected.fixef, rtol=1e-10)
    np.testing.assert_allclose(fit.se, expected.se, rtol=1e-8)
    assert fit.loglik == pytest.approx(expected.loglik, rel=1e-12)
    # the same model in the article's columns: b[talk] is the between effect, b[talk_cwc] within minus between
    other = rg.lmer("sat ~ talk + talk_cwc + perf + (1 | group)", debate, cwc=("group", ["talk"]))
    assert other.fixef["talk"] == pytest.approx(fit.fixef["talk_cm"], rel=1e-7)
    assert other.fixef["talk_cwc"] == pytest.approx(fit.fixef["talk_cwc"] - fit.fixef["talk_cm"], rel=1e-7)
    assert debate.columns.tolist() == ["group", "sat", "talk", "perf", "skill", "cond", "agree"]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.sampled_from([None, "perf > 3"]), st.sampled_from(["skill", "sqrt(talk)"]))
def test_deviations_sum_to_zero_in_every_cluster_of_the_rows_used(seed, subset, other):
    data = holed(rg.datasets.load("debate_like"), seed)
    model = rg.GLMM(
        f"sat ~ talk_cwc + talk_cm + {other} + perf + (1 | group)",
        data,
        cwc=("group", "talk"),
        gmc=["perf"],
        subset=subset,
    )
    frame, columns = model.frame, model.frame.columns
    rows = data[["sat", "talk", "perf"]].notna().all(axis=1)
    rows &= (data["perf"] > 3) if subset else True
    assert frame.index.tolist() == data.index[rows].tolist()
    sums = pd.Series(columns["talk_cwc"]).groupby(data["group"][rows].to_numpy()).sum()
    assert np.abs(sums).max() < 1e-12
    np.testing.assert_allclose(columns["talk_cm"] + columns["talk_cwc"], data["talk"][rows], rtol=0, atol=1e-12)
    assert abs(np.sum(columns["perf"])) < 1e-10
    means = data[rows].groupby("group")["talk"].transform("mean")
    np.testing.assert_allclose(columns["talk_cm"], means, rtol=0, atol=1e-12)


def test_grand_means_come_first(debate):
    model = rg.GLMM("sat ~ talk_cm + talk_cwc + (1 | group)", debate, cwc=("group", ["talk"]), gmc=["talk"])
    assert abs(np.mean(model.frame.columns["talk_cm"])) < 1e-12
    plain = rg.GLMM("sat ~ talk_cm + talk_cwc + (1 | group)", debate, cwc=("group", ["talk"]))
    np.testing.assert_allclose(model.frame.columns["talk_cwc"], plain.frame.columns["talk_cwc"], atol=1e-12)


def test_replace_puts_the_deviation_in_place_of_the_variable(debate):
    replaced = rg.lmer(
        "sat ~ talk * cond + perf + (1 | group)", debate, cwc={"cluster": "group", "pars": "all", "replace": True}
    )
    written = rg.lmer("sat ~ talk_cwc * cond + perf + (1 | group)", debate, cwc=("group", ["talk"]))
    assert replaced.formula.expanded == "sat ~ talk_cwc * cond + perf + (1 | group)"  # perf is constant in a group
    np.testing.assert_array_equal(replaced.beta, written.beta)
    less = replaced.update(". ~ . - talk:cond")
    assert list(less.fixef.index) == ["(Intercept)", "talk_cwc", "cond", "perf"]


def test_a_slope_and_a_zero_part_may_be_centred(debate):
    data = debate.assign(count=debate["perf"] - 1)
    model = rg.GLMM(
        "count ~ talk + (0 + talk | group)", data, "poisson", zi="~ talk",
        cwc={"cluster": "group", "pars": ["talk"], "replace": True},
    )  # fmt: skip
    assert [str(t) for t in model.frame.formula.random] == ["(0 + talk_cwc | group)"]
    assert model.part_formulas["zi"].fixed == "talk_cwc"


def test_a_cluster_may_be_values(debate):
    named = rg.GLMM("sat ~ talk_cwc + (1 | group)", debate, cwc=("group", ["talk"]))
    labels = pd.Series(debate["group"].to_numpy(), index=debate.index[::1]).sample(frac=1, random_state=1)
    valued = rg.GLMM("sat ~ talk_cwc + (1 | group)", debate, cwc={"cluster": labels, "pars": ["talk"]})
    np.testing.assert_array_equal(named.design.X, valued.design.X)
    with pytest.raises(DataError, match="given as an array: give talk_cwc, talk_cm in newdata"):
        valued.fit().predict(debate)


def test_a_cluster_may_be_a_product_of_columns(debate):
    data = debate.assign(school=debate["group"] // 10, room=debate["group"] % 10)
    fit = rg.lmer("sat ~ talk_cm + talk_cwc + (1 | group)", data, cwc=("school:room", ["talk"]))
    plain = rg.GLMM("sat ~ talk_cm + talk_cwc + (1 | group)", data, cwc=("group", ["talk"]))
    np.testing.assert_allclose(fit.design.X, plain.design.X, rtol=1e-14)
    np.testing.assert_allclose(fit.predict(data), fit.predict(), rtol=1e-13)
    with pytest.raises(DataError, match="school:room '0:99'"):
        fit.predict(pd.DataFrame({"school": [0], "room": [99], "talk": [2]}), re_form=False)


def test_effects_and_copies_of_a_model_with_deviations(debate):
    import pickle

    fit = rg.lmer("sat ~ talk_cm + talk_cwc * cond + (1 | group)", debate, cwc=("group", ["talk"]), gmc=["cond"])
    slope = rg.marginal_effects(fit, "talk_cwc").table["estimate"].iloc[0]
    at_mean = fit.fixef["talk_cwc"]  # the mean of centred cond is 0
    assert slope == pytest.approx(at_mean, rel=1e-9)
    again = pickle.loads(pickle.dumps(fit))
    np.testing.assert_array_equal(again.predict(debate), fit.predict(debate))


def test_new_rows_of_known_clusters_take_the_means_of_the_fit(debate):
    fit = rg.lmer("sat ~ talk_cm + talk_cwc + (1 | group)", debate, cwc=("group", ["talk"]))
    np.testing.assert_allclose(fit.predict(debate), fit.predict(), rtol=1e-13)
    mean = debate.loc[debate["group"] == 4, "talk"].mean()
    new = pd.DataFrame({"group": [4], "talk": [5]})
    b = fit.fixef
    expected = b["(Intercept)"] + b["talk_cm"] * mean + b["talk_cwc"] * (5 - mean)
    assert fit.predict(new, re_form=False).item() == pytest.approx(expected, rel=1e-12)
    given = pd.DataFrame({"talk_cm": [mean], "talk_cwc": [5 - mean]})
    assert fit.predict(given, re_form=False).item() == pytest.approx(expected, rel=1e-12)
    from_mean = pd.DataFrame({"talk": [5], "talk_cm": [mean], "group": ["nobody"]})
    assert fit.predict(from_mean, re_form=False).item() == pytest.approx(expected, rel=1e-12)
    assert np.isnan(fit.predict(pd.DataFrame({"group": [4, None], "talk": [np.nan, 2]}), re_form=False)).all()


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ({"group": [4, 777], "talk": [3, 3]}, r"group '777' \(row 1 of newdata\) was not in the fit"),
        ({"talk": [3]}, "newdata lacks the cluster 'group' of cwc=: add it, or give talk_cwc, talk_cm"),
        ({"group": [4]}, "neither 'talk_cwc' nor 'talk' to make it from"),
    ],
)
def test_new_rows_whose_deviation_is_unknown(debate, new, message):
    fit = rg.lmer("sat ~ talk_cm + talk_cwc + (1 | group)", debate, cwc=("group", ["talk"]))
    with pytest.raises(DataError, match=message):
        fit.predict(pd.DataFrame(new), re_form=False)


def test_a_cluster_without_rows_in_the_fit_is_unknown(debate):
    data = debate.assign(sat=np.where(debate["group"] == 4, np.nan, debate["sat"]))
    fit = rg.lmer("sat ~ talk_cwc + (1 | group)", data, cwc=("group", ["talk"]))
    with pytest.raises(DataError, match="group '4'"):
        fit.predict(pd.DataFrame({"group": [4], "talk": [3]}), re_form=False)


@pytest.mark.parametrize(
    ("cwc", "error", "message"),
    [
        (("grup", ["talk"]), DataError, "cluster of cwc=: variable 'grup' .* did you mean 'group'"),
        (("group", ["tolk"]), DataError, "cwc=: the data has no column 'tolk'"),
        (("group", ["word"]), DataError, "'word' is a factor or text"),
        (("group", ["perf", "talk"]), DataError, "'perf' does not vary within any cluster"),
        (("group", ["old"]), DataError, "cwc= makes 'old_cwc', but the data has such a column"),
        (("hole", ["talk"]), MissingValuesError, r"'hole' is missing in 2 of the rows used \(first at row 5\)"),
        (([1, 2], ["talk"]), DataError, "has 2 rows, expected 300"),
        ({"pars": ["talk"]}, ArgumentError, "cwc= is {'cluster': 'g'"),
        ({"cluster": "group", "par": ["talk"]}, ArgumentError, "cwc= is {'cluster': 'g'"),
        ({"cluster": "group", "replace": 1}, ArgumentError, "cwc= is {'cluster': 'g'"),
        ("group", ArgumentError, "not 'group'"),
    ],
)
def test_wrong_cwc(debate, cwc, error, message):
    hole = debate["group"].astype(float).where(~debate.index.isin([5, 9]))
    data = debate.assign(word="a", old=debate["talk"], old_cwc=0.0, hole=hole)
    with pytest.raises(error, match=message):
        rg.GLMM("sat ~ talk_cwc + (1 | group)", data, cwc=cwc)


def test_a_formula_that_uses_nothing_centred_is_noticed(debate):
    with pytest.warns(FormulaWarning, match="cwc= makes talk_cwc and talk_cm, but the formula has only talk"):
        rg.GLMM("sat ~ talk + (1 | group)", debate, cwc=("group", ["talk"]))


# --- within -------------------------------------------------------------------------------------------------


def test_a_wide_response_is_the_model_of_the_long_table(training):
    wide = rg.lmer("cbind(t1, t2, t3) ~ time * cond + (1 | person)", training, within={"time": ("pre", "mid", "post")})
    long = rg.to_long(training, ["t1", "t2", "t3"], {"time": ("pre", "mid", "post")}, id="person")
    expected = rg.lmer("y ~ time * cond + (1 | person)", long)
    np.testing.assert_array_equal(wide.beta, expected.beta)
    assert list(wide.fixef.index) == list(expected.fixef.index)
    np.testing.assert_array_equal(wide.predict(long), wide.predict())
    assert wide.model.cells["time"].tolist() == ["pre", "mid", "post"]
    assert wide.model.cells["column"].tolist() == ["t1", "t2", "t3"]
    assert "Wide response y, time: t1 = pre, t2 = mid, t3 = post" in str(wide.summary())
    assert "t1 = pre" in repr(wide.model)
    assert expected.model.cells is None


def test_the_factor_is_found_and_the_id_is_made(training):
    model = rg.GLMM("cbind(t1:t3) ~ time * cond + (1 | row)", training)
    assert model.design.names[1:3] == ("time2", "time3")
    assert model.frame.columns["row"].tolist() == np.repeat(np.arange(1, 41), 3).tolist()
    assert "row numbers the rows of the wide data" in repr(model)
    again = model.updated(". ~ . - time:cond")
    assert again.frame.formula.expanded == "y ~ time + cond + (1 | row)"
    assert again.frame.n == 120
    with pytest.raises(DataError, match="'school'"):
        model.updated(". ~ . + (1 | school)")


def test_the_last_factor_varies_fastest(training):
    data = training.assign(t4=training["t1"])
    model = rg.GLMM("cbind(t1:t4) ~ a * b + (1 | person)", data, within={"a": 2, "b": ("x", "y")})
    first = model.frame.data.iloc[:4]
    assert first["a"].tolist() == ["1", "1", "2", "2"]
    assert first["b"].tolist() == ["x", "y", "x", "y"]
    assert first["y"].tolist() == data.loc[0, ["t1", "t2", "t3", "t4"]].tolist()


def test_a_missing_measurement_leaves_out_its_row_alone(training):
    data = training.copy()
    data.loc[[0, 3], "t2"] = np.nan
    model = rg.GLMM("cbind(t1, t2, t3) ~ time + (1 | person)", data)
    assert model.frame.n == 118
    assert "2 of 120 rows left out: a variable is missing" in repr(model)


def test_within_with_centring_factors_and_arguments_by_row(training):
    weights = np.arange(1.0, 41.0)
    model = rg.GLMM(
        "cbind(t1, t2, t3) ~ time * person + hour + (1 | person)", training.assign(hour=np.arange(40) % 3 + 7),
        within={"time": 3}, gmc=["hour"], factors=["cond"], weights=weights, subset=[0, 1, 2, 10],
    )  # fmt: skip
    assert model.frame.weights.tolist() == np.repeat([1.0, 2.0, 3.0, 11.0], 3).tolist()
    np.testing.assert_allclose(model.frame.columns["hour"], np.repeat([7, 8, 9, 8], 3) - 8.0)
    late = rg.GLMM(
        "cbind(t1, t2, t3) ~ time + (1 | person)", training, subset="time != '3'", weights=pd.Series(weights)
    )
    assert late.frame.n == 80
    assert late.frame.weights[:4].tolist() == [1.0, 1.0, 2.0, 2.0]
    assert late.updated(subset=None).frame.n == 120


def test_every_family_takes_a_wide_response(training):
    columns = ["t1", "t2", "t3"]
    passed = training.assign(**{name: np.where(training[name] > 11, "yes", "no") for name in columns})
    model = rg.GLMM("cbind(t1, t2, t3) ~ time + (1 | person)", passed, "binomial", within={"time": 3})
    assert model.frame.y.tolist() == (training[columns] > 11).to_numpy().ravel().astype(float).tolist()
    counts = training.assign(**{name: training[name].round().astype(int) for name in columns})
    assert rg.GLMM("cbind(t1, t2, t3) ~ time + (1 | person)", counts, "poisson").frame.n == 120
    grades = training.assign(**{name: pd.cut(training[name], [0, 8, 12, 99], labels=list("cab")) for name in columns})
    ordinal = rg.GLMM("cbind(t1, t2, t3) ~ time + (1 | person)", grades, "ordered")
    assert ordinal.frame.response_levels == ("c", "a", "b")


def test_two_columns_of_a_binomial_response_stay_counts_unless_within_says_otherwise():
    cbpp = rg.datasets.load("cbpp").assign(free=lambda d: d["size"] - d["incidence"])
    assert rg.GLMM("cbind(incidence, free) ~ period + (1 | herd)", cbpp, "binomial").frame.response_kind == "cbind"
    data = pd.DataFrame({"a": [0, 1, 1, 0, 1], "b": [1, 1, 0, 0, 1]})
    model = rg.GLMM("cbind(a, b) ~ time + (1 | id)", data, "binomial", within={"time": 2})
    assert model.frame.y.tolist() == [0, 1, 1, 1, 1, 0, 0, 0, 1, 1]


def test_refits_and_simulations_keep_the_long_rows(training):
    fit = rg.lmer("cbind(t1, t2, t3) ~ time + (1 | person)", training)
    drawn = fit.simulate(1, seed=1)
    assert len(drawn) == 120
    assert fit.refit(drawn.iloc[:, 0]).nobs == 120


@pytest.mark.parametrize(
    ("formula", "arguments", "error", "message"),
    [
        (
            "cbind(t1, t2, t3) ~ time + (1 | person)",
            {"within": {"time": 4}},
            ArgumentError,
            "4 cells, but .* 3 columns",
        ),
        ("cbind(t1, t2, t3) ~ cond + (1 | person)", {"within": {"cond": 3}}, DataError, "has a column 'cond' already"),
        ("cbind(t1, t2, t9) ~ time + (1 | person)", {}, ResponseError, "response: variable 't9'"),
        ("cbind(t1:t9) ~ time + (1 | person)", {}, ResponseError, "no column 't9'"),
        ("cbind(t3:t1) ~ time + (1 | person)", {}, ResponseError, "'t1' stands before 't3'"),
        ("cbind(t1:3) ~ time + (1 | person)", {}, ResponseError, "a range of columns is name:name"),
        ("cbind(t1, t2, t3) ~ time + hour + (1 | person)", {}, DataError, "no columns 'time', 'hour'"),
        ("cbind(t1, t2, t3) ~ cond + (1 | person)", {}, ResponseError, "3 columns; a response is one column"),
        ("cbind(t1, t2, t3) ~ time + (1 | a) + (1 | b)", {}, DataError, "lacks the grouping variables 'a', 'b'"),
        ("cbind(t1, t2, t3) ~ time + (1 | persn)", {}, DataError, "did you mean 'person'"),
        ("cbind(t1, t2) ~ time * t1 + (1 | person)", {}, ResponseError, "'t1' is a column of the wide response"),
        ("cbind(t1, t1) ~ time + (1 | person)", {}, ArgumentError, "'t1' stands twice"),
        ("cbind(t1, cond) ~ time + (1 | person)", {}, ResponseError, "must be of one kind; 'cond'"),
        ("t1 ~ time + (1 | person)", {"within": {"time": 2}}, ArgumentError, "needs a wide response"),
        ("cbind(t1, t2) ~ time + (1 | person)", {"within": ["time"]}, ArgumentError, "within= names the factors"),
    ],
)
def test_wrong_wide_responses(training, formula, arguments, error, message):
    with pytest.raises(error, match=message):
        rg.GLMM(formula, training, **arguments)


def test_columns_whose_levels_disagree_are_named(training):
    one = pd.Categorical(["lo", "hi"] * 20, ["lo", "hi"])
    other = pd.Categorical(["lo", "hi"] * 20, ["hi", "lo"])
    with pytest.raises(ResponseError, match="different levels: 'b' has hi, lo, another column lo, hi"):
        rg.GLMM("cbind(a, b) ~ time + (1 | person)", training.assign(a=one, b=other), "bernoulli", within={"time": 2})


# --- all of them --------------------------------------------------------------------------------------------


def test_updated_keeps_and_changes_the_arguments(debate):
    model = rg.GLMM(
        "sat ~ talk_cm + talk_cwc + cond + perf + (1 | group)", debate, cwc=("group", ["talk"]), gmc=["perf"],
        factors=["cond"],
    )  # fmt: skip
    assert model.updated(". ~ . - cond").design.names == ("(Intercept)", "talk_cm", "talk_cwc", "perf")
    np.testing.assert_array_equal(model.updated().design.X, model.design.X)
    raw = model.updated(gmc=None)
    assert raw.frame.columns["perf"].tolist() == debate["perf"].tolist()
    part = model.updated(subset="perf > 3")
    assert abs(np.sum(part.frame.columns["perf"])) < 1e-9
    with pytest.raises(DataError, match="'skill'"):
        model.updated(". ~ . + skill")


def test_lmer_glmer_and_mixed_model_pass_them_on(debate, training):
    a = rg.glmer("agree ~ talk_cwc + (1 | group)", debate, "binomial", cwc=("group", ["talk"]))
    b = rg.mixed_model("agree ~ talk_cwc", "~ 1 | group", debate, "binomial", n_agq=1, cwc=("group", ["talk"]))
    assert a.loglik == pytest.approx(b.loglik, abs=1e-8)
    fit = rg.mixed_model("cbind(t1:t3) ~ time", "~ 1 | person", training, "gaussian", within={"time": 3})
    assert fit.nobs == 120


def test_listwise_is_the_one_rule_for_missing_values(debate):
    assert rg.GLMM("sat ~ talk + (1 | group)", debate, missing="listwise").frame.n == 300
    with pytest.raises(NotAvailableError, match="missing='fiml' is not there"):
        rg.GLMM("sat ~ talk + (1 | group)", debate, missing="fiml")
    model = rg.GLMM("sat ~ talk + perf + (1 | group)", holed(debate, 1))
    left_out = int(np.sum(~model.frame.kept))
    assert f"{left_out} of 300 rows left out" in repr(model)
    assert left_out == holed(debate, 1)[["sat", "talk", "perf"]].isna().any(axis=1).sum()


def test_contrasts_are_given_for_each_factor():
    with pytest.raises(ArgumentError, match=r"contrasts gives the coding of each factor: .* not 'sum'"):
        rg.GLMM("sat ~ talk + (1 | group)", rg.datasets.load("debate_like"), contrasts="sum")
