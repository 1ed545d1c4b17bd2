"""Coefficient names of other programs find ours."""

from __future__ import annotations

import pytest

from refglmm.crosschecking.names import find_name, match_names
from refglmm.errors import ArgumentError

OURS = ("(Intercept)", "period2", "period3", "I(age^2)", "treatmentB:time", "log(x)")


@pytest.mark.parametrize(
    ("theirs", "place"),
    [
        ("Intercept", 0),
        ("const", 0),
        ("C(period)[T.2]", 1),
        ("C(period, Treatment(1))[T.3]", 2),
        ("period[T.3]", 2),
        ("period[2]", 1),
        ("period: 2", 1),
        ("I(age ** 2)", 3),
        ("time:treatment[T.B]", 4),
        ("treatment: B & time", 4),
        ("np.log(x)", 5),
        ("period4", None),
    ],
)
def test_dialects(theirs, place):
    assert find_name(theirs, OURS) == place


def test_an_ambiguous_name_is_not_guessed():
    assert find_name("a b", ("ab", "a  b")) is None


def test_missing_and_unknown_names_are_told_with_the_nearest():
    with pytest.raises(
        ArgumentError, match=r"lacks 'period3', which the model has; .*'perod3'.*did you mean 'period3'"
    ):
        match_names(["Intercept", "perod3"], ["(Intercept)", "period3"], "fixef")


def test_one_column_under_two_names():
    with pytest.raises(ArgumentError, match="gives 'period2' twice"):
        match_names(["period2", "C(period)[T.2]"], ["period2"], "fixef")
