"""Reading reports: spellings, precision of printed numbers, and everything that is refused."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm.crosschecking.reported import read_reported
from refglmm.errors import ArgumentError, DataError


def halves(values):
    return [number.half for number in read_reported({"fixef": values}).fixef["main"].numbers]


def test_canonical_and_foreign_spellings_read_alike():
    ours = read_reported({"fixef": {"(Intercept)": 1.5}, "loglik": -3.25, "n_agq": 9, "ngroups": {"g": 4}})
    lme4 = read_reported({"beta": {"(Intercept)": 1.5}, "logLik": -3.25, "nAGQ": 9, "ngrps": {"g": 4}})
    assert ours == lme4


def test_lme4_rows_and_short_form_of_deviations_read_alike():
    rows = [
        {"grp": "Subject", "var1": "(Intercept)", "var2": None, "sdcor": 24.74},
        {"grp": "Subject", "var1": "Days", "var2": None, "sdcor": 5.92},
        {"grp": "Subject", "var1": "(Intercept)", "var2": "Days", "sdcor": 0.07},
    ]
    long = read_reported({"varcorr": rows}).deviations
    short = read_reported(
        {"sd": {"Subject": {"(Intercept)": 24.74, "Days": 5.92}}, "corr": {"Subject": {"(Intercept), Days": 0.07}}}
    ).deviations
    assert [(d.group, d.name, d.other, d.number.value) for d in long] == [
        (d.group, d.name, d.other, d.number.value) for d in short
    ]


def test_data_frames_and_series_are_read():
    frame = pd.DataFrame([{"grp": "g", "var1": "(Intercept)", "var2": None, "vcov": 0.25, "sdcor": 0.5}])
    read = read_reported({"fixef": pd.Series({"(Intercept)": 1.5}), "varcorr": frame})
    assert read.fixef["main"].names == ("(Intercept)",)
    assert read.deviations[0].number.value == 0.5


def test_half_a_unit_of_the_last_digit():
    assert halves([-1.3985, 0.64]) == [5e-5, 5e-5]  # 0.64 was 0.6400
    assert halves([12.3, 0.0123]) == [0.05, 5e-5]  # three significant digits
    assert halves([0.0, 0.1234]) == [5e-5, 5e-5]
    assert halves([0.0, 1]) == [0.0, 0.0]  # exact
    assert halves([-92.0]) == [0.05]
    assert halves([24, 6]) == [0.5, 0.5]
    assert halves([Decimal("0.6400")]) == [5e-5]


def test_variances_are_read_with_their_rounding():
    (root, zero) = (read_reported({"var": v}).deviations[0].number for v in ("0.4125", "0.00"))
    assert root.value == pytest.approx(0.6422616)
    assert root.half == pytest.approx(0.5 * (np.sqrt(0.41255) - np.sqrt(0.41245)), rel=1e-6)
    assert zero == (0.0, 0.0)  # a zero among zeros is exact
    small = read_reported({"var": {"g": {"a": "0.00", "b": "0.25"}}}).deviations[0].number
    assert small == (0.0, pytest.approx(np.sqrt(0.005)))


def test_json_text_keeps_trailing_zeros():
    number = read_reported('{"sd": {"herd": 0.6420}}').deviations[0].number
    assert number == (0.642, 5e-5)


def test_a_file_and_a_list_of_one_are_read(tmp_path):
    path = tmp_path / "reported.json"
    path.write_text(json.dumps([{"loglik": -92.0266, "package": "lme4", "version": "1.1-31"}]), encoding="utf-8")
    read = read_reported(path)
    assert read.who == "lme4 1.1-31"
    assert read_reported(str(path)) == read


def test_the_program_may_stand_in_a_table_of_versions():
    assert read_reported({"versions": {"R": "4.2.2", "lme4": "2.1.0"}, "loglik": -1.5}).who == "lme4 2.1.0"


def test_parts_of_a_model_with_zeros():
    by_part = read_reported({"fixef": [1.5], "zi": {"fixef": {"x": 2.5}, "se": {"x": 0.5}}})
    adaptive = read_reported({"betas": [1.5], "gammas": {"x": 2.5}, "se_gammas": {"x": 0.5}})
    assert by_part == adaptive
    assert by_part.fixef["zi"].numbers[0].value == 2.5


def test_standard_errors_that_a_program_had_none_of():
    assert read_reported({"loglik": -1.5, "se": {"x": None, "z": 0.5}}).se["main"].names == ("z",)
    assert not read_reported({"loglik": -1.5, "se": {"x": None}}).se


def test_a_fit_of_ours_is_a_report():
    fit = rg.lmer("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"))
    read = read_reported(fit)
    assert read.reml is True
    assert read.criteria["loglik"].value == fit.loglik
    assert read == read_reported(fit.to_json())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "nothing that can be checked"),
        ({"coefs": [1.0], "mystery": 2}, r"nothing that can be checked \(it has 'coefs', 'mystery'\)"),
        ({"fixef": {"x": np.nan}}, "fixef of 'x' is nan"),
        ({"fixef": {"x": "big"}}, "fixef of 'x' must be a number, not 'big'"),
        ({"fixef": {"x": True}}, "fixef of 'x' must be a number, not True"),
        ({"loglik": float("inf")}, "loglik is inf"),
        ({"se": {"x": -0.5}}, "se of 'x' is -0.5; a standard error cannot be negative"),
        ({"sd": {"herd": -0.64}}, "standard deviation of herd is -0.64; it cannot be negative"),
        ({"sd": {"g": {"a": 1.5, "b": 2.5}}, "corr": {"g": 1.25}}, "correlation of g is 1.25, beyond 1"),
        ({"sd": {"g": [0.64, -0.5]}}, "standard deviation of g is -0.5; it cannot be negative"),
        ({"var": {"g": -0.64}}, "var of 'g' is -0.64; a variance cannot be negative"),
        ({"corr": 0.5, "fixef": [1.5]}, "corr belongs to standard deviations, of which there are none"),
        ({"D": [[1.0, 0.5], [0.25, 1.0]]}, "D is not symmetric"),
        ({"D": [[-1.0]]}, "D has a negative variance"),
        ({"D": {"names": ["a", "b"], "values": [1.5]}}, "square covariance matrix"),
        ({"varcorr": [{"grp": "g"}]}, "has no 'value' or 'sdcor'"),
        ({"fixef": [1.5], "beta": [1.5]}, "gives 'fixef' twice"),
        ({"nobs": 12.5, "loglik": -1.5}, "nobs must be a whole number"),
        (3.5, "cannot read"),
    ],
)
def test_what_cannot_be_meant_is_refused(source, message):
    with pytest.raises(ArgumentError, match=message):
        read_reported(source)


@pytest.mark.parametrize(
    ("text", "message"), [("{'a': 1}", "is not JSON"), ("nowhere.json", "there is no file nowhere.json")]
)
def test_text_that_is_no_report(text, message):
    with pytest.raises(DataError, match=message):
        read_reported(text)


def test_a_file_with_a_list_of_two(tmp_path):
    path = tmp_path / "two.json"
    path.write_text("[{}, {}]", encoding="utf-8")
    with pytest.raises(DataError, match="must hold one object"):
        read_reported(path)


def test_shape_parameters_under_glmmtmbs_names():
    shape = read_reported({"phi": {"Student-t df": 2.9}, "sigma": 0.1}).shape
    assert {name: number.value for name, number in shape.items()} == {"sigma": 0.1, "df": 2.9}
    assert list(read_reported({"phi": {"Tweedie power": 1.4}}).shape) == ["p"]


def test_cutoffs_of_ordered_beta_are_probabilities():
    shape = read_reported({"phi": {"lower cutoff": 0.04, "upper cutoff": 0.98}}).shape
    assert shape["lower"].value == pytest.approx(np.log(0.04 / 0.96), rel=1e-12)
    assert shape["width"].value == pytest.approx(np.log(0.98 / 0.02) - np.log(0.04 / 0.96), rel=1e-12)
    assert shape["lower"].half == pytest.approx(0.005 / (0.04 * 0.96), rel=1e-12)
    with pytest.raises(ArgumentError, match=r"upper cutoff is 1\.2; it must lie between 0 and 1"):
        read_reported({"phi": {"lower cutoff": 0.04, "upper cutoff": 1.2}})
