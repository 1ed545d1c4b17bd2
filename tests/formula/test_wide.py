"""The wide response of a model: its columns, its name, its id."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from refglmm.errors import DataError, ResponseError
from refglmm.formula.convert import to_table
from refglmm.formula.grammar import parse
from refglmm.formula.values import Factor, Logical
from refglmm.formula.wide import find_wide, interleaved

DATA = pd.DataFrame({"a": [1, 2], "b": [3.0, 4.0], "c": [5, 6], "x": [7, 8]})


def wide(formula, data=DATA, within=None, pairs=False, env=None):
    return find_wide(
        parse(formula), (), to_table(data), within, pairs=pairs, made=lambda name: name.endswith("_cm"), env=env or {}
    )


@pytest.mark.parametrize(
    ("formula", "pairs", "env"),
    [
        ("a ~ x", False, {}),
        ("cbind(a, b) ~ x", True, {}),
        ("cbind(a, b) ~ time", True, {}),  # counts of a binomial family; time is an unknown variable
        ("cbind(a, b) ~ x", False, {}),
        ("cbind(a, b, c) ~ x_cm + k + pi", False, {"k": 3}),
        ("cbind(a, b) ~ time", False, {"cbind": lambda a, b: a + b}),
    ],
)
def test_what_is_not_wide(formula, pairs, env):
    assert wide(formula, pairs=pairs, env=env) is None


def test_a_long_table_is_made_of_columns_as_they_are_asked_for():
    found = wide("cbind(a:c) ~ time + (1 | id)")
    table = found.long_table(to_table(DATA), {})
    assert table.names == ("x", "time", "y", "id")
    assert table.column("y").tolist() == [1, 3, 5, 2, 4, 6]
    assert table.column("x").tolist() == [7, 7, 7, 8, 8, 8]
    assert table.column("id").tolist() == [1, 1, 1, 2, 2, 2]
    assert table.column("time").labels().tolist() == ["1", "2", "3"] * 2
    assert found.made == ("time", "id", "y")
    assert found.written(parse("y ~ time")).response == "cbind(a, b, c)"


def test_columns_may_be_expressions():
    found = wide("cbind(log(a), sqrt(b)) ~ time", within={"time": ("p", "q")})
    values = found.long_table(to_table(DATA), {}).column("y")
    np.testing.assert_allclose(values, [0.0, np.sqrt(3.0), np.log(2.0), 2.0])


def test_the_response_takes_a_name_that_is_free():
    assert wide("cbind(a, b) ~ time", DATA.assign(y=1)).response == "response"
    assert wide("cbind(y, b) ~ time", DATA.assign(y=1)).response == "y"
    with pytest.raises(DataError, match="'y', 'response', 'y_long' are columns already"):
        wide("cbind(a, b) ~ time", DATA.assign(y=1, response=2, y_long=3))


def test_text_of_different_columns_has_the_levels_of_all():
    some = Factor(np.array([0, 0], dtype=np.int32), np.array(["no"], dtype=object))
    other = Factor(np.array([0, -1], dtype=np.int32), np.array(["yes"], dtype=object))
    joint = interleaved(("a", "b"), (some, other))
    assert joint.levels.tolist() == ["no", "yes"]
    assert joint.labels().tolist() == ["no", "yes", "no", None]


def test_a_column_that_lacks_a_level_has_those_of_the_others():
    some = Factor(np.array([1, 0], dtype=np.int32), np.array(["lo", "hi"], dtype=object), ordered=True)
    all_of_them = Factor(np.array([1, 2], dtype=np.int32), np.array(["lo", "mid", "hi"], dtype=object), ordered=True)
    joint = interleaved(("a", "b"), (some, all_of_them))
    assert joint.ordered
    assert joint.labels().tolist() == ["hi", "mid", "lo", "hi"]


def test_truth_values_stay_and_join_numbers():
    truth = Logical(np.array([1.0, np.nan]))
    assert isinstance(interleaved(("a", "b"), (truth, truth)), Logical)
    np.testing.assert_array_equal(interleaved(("a", "b"), (truth, np.array([2, 3]))), [1.0, 2.0, np.nan, 3.0])
    with pytest.raises(ResponseError, match="'b' is of another than 'a'"):
        interleaved(("a", "b"), (truth, Factor(np.array([0, 0]), np.array(["u"], dtype=object))))
