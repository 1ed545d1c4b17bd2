from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest

from refglmm.fit.arrays import detached, plain
from refglmm.fit.serialise import SCHEMA

KEYS = {
    "schema", "versions", "model", "size", "criteria", "fixed", "dropped", "vcov", "random", "ranef", "theta",
    "par", "phi", "sigma", "certificate", "stages",
}  # fmt: skip


def test_schema(linear, poisson):
    for fit in (linear(True).fit, poisson().fit):
        out = json.loads(fit.to_json(indent=1))
        assert set(out) == KEYS
        assert out["schema"] == SCHEMA
        assert out == fit.to_dict()
        assert out["criteria"]["aic"] == fit.aic
        assert [row["name"] for row in out["fixed"]] == list(fit.fixef.index)
        np.testing.assert_array_equal(out["vcov"]["matrix"], fit.vcov())
        assert len(out["ranef"]) == len(fit.conditional.b)


def test_what_does_not_exist_is_null(linear, poisson):
    out = linear(True).fit.to_dict()
    assert out["fixed"][0]["p_value"] is None
    assert out["criteria"]["reml_criterion"] == out["criteria"]["minus_two_loglik"]
    assert out["random"][0]["var2"] is None
    assert out["dropped"] == ["x2"]
    out = poisson().fit.to_dict()
    assert out["sigma"] is None
    assert out["criteria"]["reml_criterion"] is None


def test_certificate_and_stages_travel_along(poisson):
    out = poisson(certificate_changes={"gradient_norm": np.nan, "messages": ("look here",)}).fit.to_dict()
    assert out["certificate"]["gradient_norm"] is None
    assert out["certificate"]["messages"] == ["look here"]
    assert out["certificate"]["eigenvalues"] == [0.5, 1.5]
    assert out["stages"][0]["optimizer"] == "bobyqa"


@dataclass
class Record:
    shown: int
    hidden: int = field(repr=False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64("nan"), None),
        (float("inf"), None),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([[1.0, np.nan]]), [[1.0, None]]),
        ((1, {"a": {2}}), [1, {"a": [2]}]),
        (pd.Series({"a": 1.0}), {"a": 1.0}),
        (Record(1, 2), {"shown": 1}),
        (None, None),
        (1j, "1j"),
    ],
)
def test_plain_types(value, expected):
    result = plain(value)
    assert result == expected
    json.dumps(result, allow_nan=False)


def test_detached_values_share_nothing():
    original = {"a": [np.zeros(2)], "t": (np.zeros(1),), "n": 3}
    copy = detached(original)
    copy["a"][0][0] = 1.0
    copy["t"][0][0] = 1.0
    assert original["a"][0][0] == 0.0
    assert original["t"][0][0] == 0.0
    assert copy["n"] == 3
