"""Rows: input kinds, responses, weights, offset, subset, missing values."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from refglmm.errors import (
    ArgumentError,
    DataError,
    FormulaError,
    MissingValuesError,
    ResponseError,
    WeightsError,
)
from refglmm.formula import Checks, build_design, build_frame, parse

QUIET = Checks(rank="drop", scale="ignore", levels_vs_rows="ignore", effects_vs_rows="ignore")


@pytest.fixture
def cattle():
    return pd.DataFrame(
        {
            "herd": [1, 1, 2, 2, 3, 3],
            "cases": [2, 3, 0, 1, 0, 4],
            "size": [14, 12, 9, 5, 22, 18],
            "period": pd.Categorical(list("121212"), categories=["1", "2", "3"]),
            "x": [0.5, -1.0, 2.0, 0.0, 1.5, 3.0],
            "note": ["b", "a", "b", "a", "a", "b"],
        },
        index=list("pqrstu"),
    )


def frame_of(text, data, binomial=False, **kwargs):
    return build_frame(text, data, binomial=binomial, **kwargs)


# --- responses ----------------------------------------------------------------------------------------------


def test_all_forms_of_the_same_counts_agree(cattle):
    forms = [
        frame_of("cbind(cases, size - cases) ~ x + (1|herd)", cattle, True),
        frame_of("cases / size ~ x + (1|herd)", cattle, True, weights="size"),
        frame_of("I(cases / size) ~ x + (1|herd)", cattle, True, weights=cattle["size"]),
        frame_of("p ~ x + (1|herd)", cattle.assign(p=cattle.cases / cattle["size"]), True, weights="1 * size"),
    ]
    for frame in forms:
        np.testing.assert_allclose(frame.y, cattle.cases / cattle["size"])
        np.testing.assert_array_equal(frame.weights, cattle["size"])
        np.testing.assert_array_equal(frame.trials, cattle["size"])
    assert [f.response_kind for f in forms] == ["cbind", "proportion", "proportion", "proportion"]
    assert [f.has_weights for f in forms] == [False, True, True, True]


def test_cbind_multiplies_weights_and_survives_empty_rows(cattle):
    cattle.loc["r", ["cases", "size"]] = 0
    frame = frame_of("cbind(cases, size - cases) ~ 1 + (1|herd)", cattle, True, weights=[1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(frame.weights, [14, 24, 0, 20, 110, 108])
    assert frame.y[2] == 0.0


@pytest.mark.parametrize(
    ("values", "kind", "levels"),
    [
        ([0, 1, 1, 0, 1, 0], "binary", ()),
        ([False, True, True, False, True, False], "binary", ()),
        (["no", "yes", "yes", "no", "yes", "no"], "factor", ("no", "yes")),
        (pd.Categorical(list("baabab"), categories=["b", "a", "unused"]), "factor", ("b", "a")),
        (pd.Categorical(list("xyzxyx"), categories=list("xyz")), "factor", ("x", "y", "z")),
    ],
)
def test_binary_responses(cattle, values, kind, levels):
    frame = frame_of("r ~ (1|herd)", cattle.assign(r=values), True)
    np.testing.assert_array_equal(frame.y, [0, 1, 1, 0, 1, 0])
    assert (frame.response_kind, frame.response_levels, frame.trials) == (kind, levels, None)


def test_ordinal_response(cattle):
    grades = pd.Categorical(list("lhmlhm"), categories=["l", "m", "h"], ordered=True)
    frame = frame_of("g ~ (1|herd)", cattle.assign(g=grades), ordinal=True)
    np.testing.assert_array_equal(frame.y, [0, 2, 1, 0, 2, 1])
    assert (frame.response_kind, frame.response_levels) == ("ordinal", ("l", "m", "h"))


@pytest.mark.parametrize(
    ("text", "binomial", "message"),
    [
        ("note ~ (1|herd)", False, "not numeric"),
        ("I(x > 0) ~ (1|herd)", False, "not numeric"),
        ("cbind(cases, size) ~ (1|herd)", False, "two columns"),
        ("cbind(cases, size, x) ~ (1|herd)", True, "has 3 columns"),
        ("poly(x, 2) ~ (1|herd)", False, "is a matrix"),
        ("cases ~ (1|herd)", True, "0 <= y <= 1: response 'cases' is 2 at row 'p'"),
        ("cbind(cases, cases - size) ~ (1|herd)", True, "negative count .* row 'p'"),
        ("absent ~ (1|herd)", False, "'absent' is not in the data"),
        ("log(x) ~ (1|herd)", False, "is -inf at row 's'"),
        ("factor(x > -9) ~ (1|herd)", True, "only one level"),
    ],
)
def test_response_errors_name_row_or_variable(cattle, text, binomial, message):
    with pytest.raises(ResponseError, match=message):
        frame_of(text, cattle, binomial)


def test_formula_without_response(cattle):
    frame = frame_of("~ x + (1|herd)", cattle)
    assert frame.response_kind == "none"
    assert np.isnan(frame.y).all()


def test_family_check_is_called_with_the_final_response(cattle):
    seen = []
    frame = frame_of(
        "cbind(cases, size - cases) ~ (1|herd)",
        cattle,
        True,
        check=lambda y, a: seen.append((y.copy(), a.copy())),
    )
    np.testing.assert_array_equal(seen[0][0], frame.y)
    np.testing.assert_array_equal(seen[0][1], frame.weights)


# --- input kinds --------------------------------------------------------------------------------------------


def numeric_and_text():
    return {
        "y": np.array([1.0, 2.5, 3.0, 4.0, 5.0]),
        "k": np.array([2**60 + 1, 2**60 + 2, 2**60 + 1, 2**60 + 2, 2**60 + 2]),
        "s": ["b", "a", "b", "a", None],
        "flag": [True, False, False, True, True],
    }


@pytest.mark.parametrize(
    "make",
    [
        dict,
        pd.DataFrame,
        lambda d: pd.DataFrame(d).convert_dtypes(),
        lambda d: pd.DataFrame(d).convert_dtypes(dtype_backend="pyarrow"),
        pl.DataFrame,
        lambda d: pl.DataFrame(d).with_columns(pl.col("s").cast(pl.Categorical)),
        lambda d: pl.DataFrame(d).with_columns(pl.col("s").cast(pl.Enum(["b", "a"]))),
        pa.table,
    ],
    ids=["dict", "pandas", "nullable", "arrow-backed", "polars", "polars-cat", "polars-enum", "arrow"],
)
def test_every_kind_of_table(make):
    data = make(numeric_and_text())
    frame = frame_of("y ~ s + flag + (1|k)", data)
    np.testing.assert_array_equal(frame.y, [1.0, 2.5, 3.0, 4.0])
    design = build_design(frame, control=QUIET)
    assert design.names in (("(Intercept)", "sb", "flagTRUE"), ("(Intercept)", "sa", "flagTRUE"))
    assert list(design.terms[0].levels) == [str(2**60 + 1), str(2**60 + 2)]
    assert design.terms[0].codes.tolist() == [0, 1, 0, 1]
    again = design.fixed_matrix(data)
    np.testing.assert_array_equal(again[:4], design.X)
    assert np.isnan(again[4, 1])


def test_structured_array_and_nullable_truth_values():
    records = np.array([(1.0, 2), (2.0, 3), (3.0, 2)], dtype=[("y", "f8"), ("g", "i4")])
    assert list(build_design(frame_of("y ~ (1|g)", records)).terms[0].levels) == ["2", "3"]
    flags = pd.DataFrame({"y": [1.0, 2, 3, 4], "b": pd.array([True, None, False, True], dtype="boolean")})
    assert frame_of("y ~ b", flags).n == 3
    assert str(frame_of("y ~ b", flags, na_action="pass").data["b"].dtype) == "category"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"y": [1.0, 2.0], "x": [1.0]}, "differ in length"),
        ({"y": [1.0, 2.0], "x": 3}, "single value"),
        ({"y": np.ones((2, 2)), "x": [1, 2]}, "2 dimensions"),
        ({"y": [1.0, 2.0], "x": pd.date_range("2020", periods=2)}, "'x' holds datetime"),
        ({"y": [1.0, 2.0], "x": np.array([{}, []], dtype=object)}, "'x' holds mixed"),
        ({"y": [1.0, 2.0], "x": np.array([1j, 2])}, "'x' holds complex"),
        (42, "cannot read data of type int"),
        (pl.LazyFrame({"y": [1.0], "x": [1.0]}), "collect lazy frames"),
        (pd.DataFrame([[1.0, 2, 3]], columns=["y", "x", "x"]), "more than one column 'x'"),
    ],
)
def test_unusable_data(data, message):
    with pytest.raises(DataError, match=message):
        frame_of("y ~ x", data)


def test_unused_columns_may_be_anything(cattle):
    frame = frame_of("x ~ (1|herd)", cattle.assign(odd=[{}] * 6))
    assert list(frame.data.columns) == ["x", "herd"]


def test_unknown_variable_is_named_with_a_suggestion(cattle):
    with pytest.raises(DataError, match="'perod' is not in the data; did you mean 'period'") as caught:
        frame_of("x ~ perod + (1|herd)", cattle)
    assert caught.value.facts["variable"] == "perod"
    with pytest.raises(DataError, match="'perod' is neither in the data nor in env"):
        frame_of("x ~ perod + (1|herd)", cattle, env={"degree": 2})
    with pytest.raises(DataError, match="'zzz'"):
        frame_of("x ~ 1 + (1|herd/zzz)", cattle)


def test_the_callers_data_is_never_changed(cattle):
    cattle.loc["q", "x"] = np.nan
    before, weights = cattle.copy(deep=True), np.arange(1.0, 7.0)
    columns = {name: cattle[name].to_numpy() for name in cattle}
    saved = copy.deepcopy(columns)
    for data in (cattle, columns):
        frame = frame_of(
            "cbind(cases, size - cases) ~ scale(x) * period + note + (x|herd)",
            data,
            True,
            weights=weights,
            offset="x",
        )
        design = build_design(frame, control=QUIET)
        for array in (design.X, design.terms[0].Z, frame.y, frame.weights, frame.offset):
            array[:] = -77.0
        for column in frame.raw.values():
            if isinstance(column, np.ndarray):
                column[:] = 99
    pd.testing.assert_frame_equal(cattle, before)
    np.testing.assert_array_equal(weights, np.arange(1.0, 7.0))
    for name in saved:
        np.testing.assert_array_equal(columns[name], saved[name])


def test_frame_data_is_what_the_model_uses(cattle):
    cattle["flag"] = [True, False] * 3
    data = frame_of("x ~ note + period + (1|herd) + (1|flag)", cattle, subset=[True] * 5 + [False]).data
    assert list(data.columns) == ["x", "note", "period", "herd", "flag"]
    assert list(data.index) == list("pqrst")
    assert [str(t) for t in data.dtypes] == ["float64", "category", "category", "int64", "category"]
    assert list(data["period"].cat.categories) == ["1", "2"]


# --- weights and offset -------------------------------------------------------------------------------------


def test_weights_series_is_matched_by_label(cattle):
    shuffled = pd.Series(range(1, 7), index=list("utsrqp"))
    np.testing.assert_array_equal(frame_of("x ~ (1|herd)", cattle, weights=shuffled).weights, [6, 5, 4, 3, 2, 1])
    by_place = pd.Series(range(1, 7))
    np.testing.assert_array_equal(frame_of("x ~ (1|herd)", cattle, weights=by_place).weights, [1, 2, 3, 4, 5, 6])


def test_offsets_add_up(cattle):
    frame = frame_of("x ~ offset(log(size)) + offset(cases) + (1|herd)", cattle, offset=np.full(6, 0.25))
    np.testing.assert_allclose(frame.offset, np.log(cattle["size"]) + cattle.cases + 0.25)
    assert frame.has_offset
    assert not frame_of("x ~ (1|herd)", cattle).has_offset


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"weights": [1, 2]}, "2 rows, expected 6"),
        ({"weights": [1, 2, -3, 4, 5, 6]}, "row 'r' has -3"),
        ({"weights": [1, 2, np.inf, 4, 5, 6]}, "row 'r' has inf"),
        ({"weights": "nope"}, "'nope' is not in the data"),
        ({"weights": "note"}, "needs numbers"),
        ({"offset": "log(x - 2)"}, "row 'r' has -inf"),
        ({"offset": np.ones((6, 2))}, "2 dimensions"),
    ],
)
def test_weights_and_offset_errors(cattle, kwargs, message):
    with pytest.raises(WeightsError, match=message):
        frame_of("cases ~ (1|herd)", cattle, **kwargs)


# --- subset and missing values ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subset", "labels"),
    [
        ([True, False, True, False, False, True], "pru"),
        (["u", "p"], "up"),
        ([0, 5], "pu"),
        (slice(1, 3), "qr"),
        ("size > 10 & note == 'a'", "qt"),
        ("herd %in% c(1, 3)", "pqtu"),
        ("period != 1", "qsu"),
        (pd.Series([True, False], index=["u", "x"]).reindex(list("utsrqp")).fillna(False).astype(bool), "u"),
    ],
)
def test_subset(cattle, subset, labels):
    assert list(frame_of("x ~ (1|herd)", cattle, subset=subset).index) == list(labels)


def test_subset_of_all_rows_changes_nothing(cattle):
    everything, none = (frame_of("x ~ poly(cases, 2) + (1|herd)", cattle, subset=s) for s in ([True] * 6, None))
    np.testing.assert_array_equal(build_design(everything).X, build_design(none).X)


@pytest.mark.parametrize(
    ("subset", "message"),
    [([True, False], "2 truth values"), (["p", "zz"], "zz"), ([0, 77], "77"), ("size", "true or false"),
     ("size > 99", "0 \\(non-NA\\) cases"), (np.ones((6, 2), bool), "2 dimensions")],
)  # fmt: skip
def test_subset_errors(cattle, subset, message):
    with pytest.raises(DataError, match=message):
        frame_of("x ~ (1|herd)", cattle, subset=subset)


def test_missing_values_omit_and_exclude(cattle):
    cattle.loc["q", "x"] = np.nan
    cattle["herd"] = cattle["herd"].astype(float)
    cattle.loc["t", "herd"] = np.nan
    weights = [1, 2, 3, 4, 5, np.nan]
    for action in ("omit", "exclude"):
        frame = frame_of("cases ~ x + (1|herd)", cattle, na_action=action, weights=weights, offset="size")
        assert (frame.na_action, list(frame.index)) == (action, ["p", "r", "s"])
        assert frame.kept.tolist() == [True, False, True, True, False, False]
        assert list(frame.full_index) == list("pqrstu")
        np.testing.assert_array_equal(frame.weights, [1, 3, 4])
        np.testing.assert_array_equal(frame.offset, [14, 9, 5])
    assert list(build_design(frame, control=QUIET).terms[0].levels) == ["1", "2"]


def test_levels_are_dropped_after_missing_rows(cattle):
    cattle.loc[["q", "s"], "x"] = np.nan
    frame = frame_of("cases ~ x + period + (1|herd)", cattle)
    assert build_design(frame).names == ("(Intercept)", "x", "period2")
    cattle.loc["u", "x"] = np.nan
    with pytest.raises(DataError, match="'period' has only one level \\('1'\\)"):
        build_design(frame_of("cases ~ x + period + (1|herd)", cattle))


def test_values_that_become_missing_drop_rows(cattle):
    assert list(frame_of("cases ~ log(x) + (1|herd)", cattle, subset="x != 0").index) == list("prtu")


def test_na_action_fail_and_pass(cattle):
    cattle.loc["q", "x"] = np.nan
    with pytest.raises(MissingValuesError, match="'x' \\(first at row 'q'\\)"):
        frame_of("cases ~ x + (1|herd)", cattle, na_action="fail")
    assert frame_of("cases ~ x + (1|herd)", cattle, na_action="fail", subset=["p", "r"]).n == 2
    with pytest.raises(ResponseError, match=r"NA/NaN/Inf in 'y'.*row 'q'"):
        frame_of("x ~ (1|herd)", cattle, na_action="pass")
    with pytest.raises(MissingValuesError, match="in X: column x, first at row 'q'"):
        build_design(frame_of("cases ~ x + (1|herd)", cattle, na_action="pass"))
    with pytest.raises(MissingValuesError, match=r"NA in Z: .*\(x \| herd\)"):
        build_design(frame_of("cases ~ (x|herd)", cattle, na_action="pass"))
    cattle["herd"] = [1, 1, np.nan, 2, 2, 2]
    with pytest.raises(MissingValuesError, match="NA in Z: grouping factor herd"):
        build_design(frame_of("cases ~ (1|herd)", cattle, na_action="pass"))
    with pytest.raises(ArgumentError, match="na_action"):
        frame_of("cases ~ (1|herd)", cattle, na_action="drop")


def test_all_rows_missing(cattle):
    with pytest.raises(DataError, match="0 \\(non-NA\\) cases"):
        frame_of("x ~ (1|herd)", cattle.assign(x=np.nan))


def test_infinite_values_are_errors(cattle):
    with pytest.raises(ResponseError, match="NA/NaN/Inf in 'y'"):
        frame_of("x ~ (1|herd)", cattle.assign(x=[1, np.inf, 2, 3, 4, 5]))
    with pytest.raises(DataError, match="in X: column log\\(x\\), first at row 's'"):
        build_design(frame_of("cases ~ log(x) + (1|herd)", cattle.assign(x=cattle.x.abs())))


def test_transforms_learn_from_all_rows_as_in_r(cattle):
    frame = frame_of("cases ~ scale(x) + (1|herd)", cattle, subset="size > 10")
    x = cattle.x
    np.testing.assert_allclose(frame.columns["scale(x)"], ((x - x.mean()) / x.std())[cattle["size"] > 10])


# --- env and further formulas -------------------------------------------------------------------------------


def test_env_supplies_functions_and_arrays(cattle):
    env = {"half": lambda v: v / 2, "extra": np.arange(6), "shift": 3, "basis": lambda v: np.c_[v, v**2]}
    frame = frame_of("cases ~ half(x) + extra + I(x + shift) + basis(x) + (1|herd)", cattle, env=env)
    design = build_design(frame, control=QUIET)
    assert design.all_names == ("(Intercept)", "half(x)", "extra", "I(x + shift)", "basis(x)1", "basis(x)2")
    assert design.dropped == ("I(x + shift)", "basis(x)1")
    np.testing.assert_array_equal(design.X[:, 1], cattle.x / 2)
    with pytest.raises(FormulaError, match=r"bad\(x\) could not be evaluated: boom") as caught:
        frame_of("cases ~ bad(x)", cattle, env={"bad": lambda v: (_ for _ in ()).throw(RuntimeError("boom"))})
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(DataError, match="4 rows, expected 6"):
        frame_of("cases ~ extra", cattle, env={"extra": np.arange(4)})


def test_further_formulas_share_the_rows(cattle):
    cattle.loc["q", "note"] = None
    inflation = parse("~ note + offset(size) + (1|period)")
    frame = frame_of("cases ~ x + (1|herd)", cattle, also=[inflation], offset="x")
    assert list(frame.index) == list("prstu")
    other = frame.with_formula(inflation)
    assert build_design(other, control=replace(QUIET, constant_response="ignore")).names == (
        "(Intercept)",
        "noteb",
    )
    np.testing.assert_array_equal(other.offset, cattle["size"].drop("q"))
    with pytest.raises(FormulaError, match="not evaluated"):
        frame.with_formula(parse("~ sqrt(size)"))


def test_levels_of_a_polars_category_do_not_depend_on_the_order_of_rows():
    text = ["b", "c", "a", "b"]
    column = pl.Series("s", text, dtype=pl.Categorical)
    data = pl.DataFrame({"y": [1.0, 2.0, 3.0, 4.0]}).with_columns(column)
    frame = frame_of("y ~ s", data)
    assert list(frame.columns["s"].levels) == ["a", "b", "c"]
    chosen = data.with_columns(pl.Series("s", text, dtype=pl.Enum(["c", "b", "a"])))
    assert list(frame_of("y ~ s", chosen).columns["s"].levels) == ["c", "b", "a"]
