"""Predictions beside their data."""

from __future__ import annotations

import pandas as pd
import pytest

from refglmm.effects.effect_data import effect_data
from refglmm.errors import ArgumentError


def test_the_numbers_are_those_of_predict(cbpp):
    new = pd.DataFrame({"period": ["1", "4"], "note": ["a", "b"]}, index=[7, 7])
    before = new.copy()
    shown = cbpp.effect_data(new, type="response", level=0.9)
    expected = cbpp.predict(new, re_form=False, type="response", se=True, interval="confidence", level=0.9)
    pd.testing.assert_frame_equal(shown[["period", "note"]], before)
    pd.testing.assert_frame_equal(shown[["pred", "se", "low", "upp"]].set_axis(expected.columns, axis=1), expected)
    pd.testing.assert_frame_equal(new, before)
    marginal = effect_data(cbpp, {"period": ["1", "4"]}, marginal=True)
    expected = cbpp.predict({"period": ["1", "4"]}, marginal=True)
    pd.testing.assert_series_equal(marginal["pred"], expected, check_names=False)
    assert list(marginal.columns) == ["period", "pred", "se", "low", "upp"]


def test_what_is_refused(cbpp):
    with pytest.raises(ArgumentError, match="newdata has a column 'low' already; rename it"):
        cbpp.effect_data({"period": ["1"], "low": [0.0]})
    with pytest.raises(ArgumentError, match="type must be 'link' or 'response'"):
        cbpp.effect_data({"period": ["1"]}, type="mean")
