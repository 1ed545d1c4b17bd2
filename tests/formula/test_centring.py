"""Means that predictors are taken from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refglmm.formula.centring import _means, read_centring, varies_within
from refglmm.formula.convert import to_table
from refglmm.formula.frame import build_frame
from refglmm.formula.grammar import parse

DATA = pd.DataFrame(
    {
        "y": [1.0, 2.0, 3.0, 4.0, 5.0],
        "x": [1.0, 3.0, np.nan, 10.0, 11.0],
        "level": [0.1, 0.1, 0.1, 0.3, 0.3],
        "g": ["a", "a", "a", "b", "b"],
    }
)


def frame(formula, na_action="omit", **arguments):
    table = to_table(DATA)
    centring, _ = read_centring(
        arguments.get("gmc"), arguments.get("cwc"), (parse(formula),), table, {}, {"the response": ["y"]}
    )
    return build_frame(formula, table, binomial=False, na_action=na_action, centring=centring)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(0, 3)), min_size=1, max_size=30))
def test_means_of_clusters(pairs):
    values, codes = np.array([v for v, _ in pairs]), np.array([c for _, c in pairs])
    for c, mean in enumerate(_means(values, codes, 4)):
        own = values[codes == c]
        assert np.isnan(mean) if own.size == 0 else mean == pytest.approx(np.mean(own), rel=1e-9, abs=1e-6)


def test_the_mean_of_equal_values_is_that_value_to_the_last_bit():
    # 0.1 + 0.1 + 0.1 is not 3 * 0.1: a deviation of 1e-17 would pass for a column of a model matrix
    assert _means(np.full(3, 0.1), np.zeros(3, dtype=int), 1)[0] == 0.1


def test_missing_values_have_no_part_in_a_mean_whatever_happens_to_their_rows():
    for na_action, rows in (("omit", 4), ("exclude", 4), ("pass", 5)):
        columns = frame("y ~ x_cwc + x_cm", na_action, cwc=("g", ["x"])).columns
        deviations = columns["x_cwc"]
        assert len(deviations) == rows
        assert deviations[~np.isnan(deviations)].tolist() == [-1.0, 1.0, -0.5, 0.5]
        assert columns["x_cm"][0] == 2.0


def test_all_is_what_varies_within_a_cluster():
    centring, replaced = read_centring(
        None, {"cluster": "g", "replace": True}, (parse("y ~ x + level"),), to_table(DATA), {}, {}
    )
    assert (centring.cwc, replaced) == (("x",), ("x",))
    assert not varies_within(DATA["level"].to_numpy(), np.array([0, 0, 0, 1, 1]))


def test_neither_argument_is_no_centring():
    assert read_centring(None, None, (), to_table(DATA), {}, {}) == (None, ())


def test_raw_values_and_centred_ones_stand_side_by_side():
    made = frame("y ~ x + I(x^2)", gmc="all")
    mean = np.mean([1.0, 3.0, 10.0, 11.0])
    assert made.data["x"].tolist() == [1.0, 3.0, 10.0, 11.0]
    np.testing.assert_allclose(made.columns["I(x^2)"], (made.data["x"] - mean) ** 2)
    assert made.notes == ("Less its mean: x (6.25)", "1 of 5 rows left out: a variable is missing")
