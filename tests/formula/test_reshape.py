"""Wide tables to long ones and back."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import refglmm as rg
from refglmm.errors import ArgumentError, DataError
from refglmm.formula.reshape import read_cells

WIDE = pd.DataFrame({"who": ["b", "a"], "age": [30, 40], "y1": [1.0, 2.0], "y2": [3.0, np.nan], "y3": [5.0, 6.0]})


@st.composite
def designs(draw):
    """A wide table: 1 to 3 within factors of 2 or 3 levels, 1 to 5 rows, holes, a column of each other kind."""
    sizes = draw(st.lists(st.integers(2, 3), min_size=1, max_size=3))
    labels = [draw(st.lists(st.text("abcxyz", min_size=1), min_size=k, max_size=k, unique=True)) for k in sizes]
    within = {f"f{i}": tuple(own) for i, own in enumerate(labels)}
    n, k = draw(st.integers(1, 5)), math.prod(sizes)
    numbers = st.one_of(st.just(np.nan), st.floats(-1e6, 1e6))
    values = [draw(st.lists(numbers, min_size=n, max_size=n)) for _ in range(k)]
    wide = pd.DataFrame({f"m{j}": np.array(column, dtype=float) for j, column in enumerate(values)})
    wide.insert(0, "id", draw(st.permutations(range(n))))
    wide["sex"] = pd.Categorical(draw(st.lists(st.sampled_from("fm"), min_size=n, max_size=n)), ["m", "f"])
    wide["when"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(n), unit="D")
    return wide, [f"m{j}" for j in range(k)], within


@settings(deadline=None, max_examples=30)
@given(designs())
def test_wide_to_long_and_back_is_the_same_table(design):
    wide, columns, within = design
    long = rg.to_long(wide, columns, within)
    again = rg.to_wide(long, within, columns=columns)
    pd.testing.assert_frame_equal(again[list(wide.columns)], wide)
    also = rg.to_wide(long.sample(frac=1, random_state=3), list(within), columns=columns).sort_values("id")
    ordered = wide.sort_values("id").reset_index(drop=True)
    pd.testing.assert_frame_equal(also.reset_index(drop=True)[list(wide.columns)], ordered)


@settings(deadline=None, max_examples=30)
@given(designs())
def test_each_measurement_stands_in_the_row_of_its_cell(design):
    # brute force: the cells of the columns are the product of the labels, the last factor fastest
    wide, columns, within = design
    long = rg.to_long(wide, columns, within)
    expected = [
        (row["id"], *cell, row[column], row["sex"])
        for _, row in wide.iterrows()
        for column, cell in zip(columns, itertools.product(*within.values()), strict=True)
    ]
    found = long[["id", *within, "y", "sex"]]
    pd.testing.assert_frame_equal(
        found.astype(object), pd.DataFrame(expected, columns=found.columns).astype(object), check_dtype=False
    )


def test_an_id_is_made_where_there_is_none_and_missing_measurements_stay():
    long = rg.to_long(WIDE, ["y1", "y2", "y3"], {"time": 3}, response="score")
    assert list(long.columns) == ["id", "who", "age", "time", "score"]
    assert long["id"].tolist() == [1, 1, 1, 2, 2, 2]
    assert list(long["time"].cat.categories) == ["1", "2", "3"]
    assert long["score"].tolist()[:4] == [1.0, 3.0, 5.0, 2.0]
    assert np.isnan(long["score"][4])
    assert WIDE.columns.tolist() == ["who", "age", "y1", "y2", "y3"]  # the caller's table is as it was


def test_labels_keep_the_order_given_and_categories_of_measurements_stay():
    data = pd.DataFrame({"a": pd.Categorical(["lo"], ["hi", "lo"]), "b": pd.Categorical(["hi"], ["hi", "lo"])})
    long = rg.to_long(data, ["a", "b"], {"when": ("post", "pre")})
    assert list(long["when"].cat.categories) == ["post", "pre"]
    assert list(long["y"].cat.categories) == ["hi", "lo"]


def test_dicts_are_tables_too():
    assert rg.to_long({"a": [1, 2], "b": [3, 4]}, ["a", "b"], {"t": 2})["y"].tolist() == [1, 3, 2, 4]


def test_default_names_of_wide_columns_and_absent_cells():
    long = pd.DataFrame({"id": [7, 7, 3], "t": ["a", "b", "b"], "y": [1.0, 2.0, 3.0]})
    wide = rg.to_wide(long, "t")
    assert list(wide.columns) == ["id", "y_a", "y_b"]
    assert wide["id"].tolist() == [7, 3]
    assert wide["y_b"].tolist() == [2.0, 3.0]
    assert np.isnan(wide["y_a"][1])


def test_cells_say_which_column_is_which():
    cells = read_cells(["a1", "a2", "b1", "b2"], {"half": ("a", "b"), "part": 2})
    assert cells.table().astype(str).to_numpy().tolist() == [
        ["a1", "a", "1"], ["a2", "a", "2"], ["b1", "b", "1"], ["b2", "b", "2"],
    ]  # fmt: skip
    assert str(cells) == "half x part: a1 = a:1, a2 = a:2, b1 = b:1, b2 = b:2"


@pytest.mark.parametrize(
    ("within", "message"),
    [
        ({"time": 4}, r"time 4 = 4 cells, but the response has 3 columns \(y1, y2, y3\)"),
        ({"a": 2, "b": 2}, "a 2 x b 2 = 4 cells, but the response has 3 columns"),
        ({"time": ("u", "v", "u")}, "within\\['time'\\] has the label 'u' twice"),
        ({"time": 1}, r"within\['time'\] has 1 level\(s\); a factor needs two"),
        ({"time": "abc"}, r"within\['time'\] must be labels or their number, not 'abc'"),
        ({"time": True}, r"within\['time'\] must be labels or their number, not True"),
        ({}, r"as in \{'time': 3\}"),
        ("time", "not 'time'"),
    ],
)
def test_wrong_levels(within, message):
    with pytest.raises(ArgumentError, match=message):
        rg.to_long(WIDE, ["y1", "y2", "y3"], within)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": ["y1", "yy3", "y3"]}, "has no column 'yy3'; did you mean 'y3'"),
        ({"columns": ["y1", "y1", "y3"]}, "'y1' stands twice"),
        ({"columns": "y1"}, "must be names of columns, not 'y1'"),
        ({"within": {"age": 3}}, "two columns 'age'"),
        ({"response": "who"}, "two columns 'who'"),
        ({"response": "id"}, "two columns 'id'"),
    ],
)
def test_wrong_columns(arguments, message):
    arguments = {"columns": ["y1", "y2", "y3"], "within": {"time": 3}, **arguments}
    with pytest.raises((DataError, ArgumentError), match=message):
        rg.to_long(WIDE, **arguments)


def test_an_id_that_repeats_is_named():
    with pytest.raises(DataError, match="'who' must differ from row to row; 'b' occurs twice") as caught:
        rg.to_long(WIDE.assign(who="b"), ["y1", "y2", "y3"], {"time": 3}, id="who")
    assert caught.value.facts["value"] == "b"


LONG = pd.DataFrame({"id": [1, 1, 2, 2], "t": ["a", "b", "a", "b"], "age": [5, 5, 6, 6], "y": [1, 2, 3, 4]})


@pytest.mark.parametrize(
    ("data", "arguments", "message"),
    [
        (LONG.assign(t=["a", "a", "a", "b"]), {}, "id 1 has two rows in the cell 'y_a' .the second is row 1"),
        (LONG.assign(age=[5, 9, 6, 6]), {}, r"column 'age' is not constant within id 1 \(row 1"),
        (LONG, {"within": {"t": ("a", "c")}}, "'t' is 'b' at row 1, which is none of a, c"),
        (LONG, {"within": "u"}, "has no column 'u'"),
        (LONG, {"within": ["t", "t"]}, "each once"),
        (LONG, {"columns": ["age", "z"]}, "two columns 'age'"),
        (LONG, {"columns": ["z"]}, "t 2 = 2 cells, but the response has 1 columns"),
        (LONG.assign(id=[1.0, np.nan, 2, 2]), {}, "'id' is missing at row 1"),
    ],
)
def test_wrong_long_tables(data, arguments, message):
    with pytest.raises((DataError, ArgumentError), match=message):
        rg.to_wide(data, **{"within": "t", **arguments})


def test_what_is_no_table():
    with pytest.raises(DataError, match="cannot read data of type int"):
        rg.to_long(3, ["a"], {"t": 2})
