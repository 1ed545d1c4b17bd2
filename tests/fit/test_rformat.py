"""Expected texts are what R 4.2 prints for the same numbers.

Functions: format, format.pval, printCoefmat, abbreviate.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from refglmm.fit.rformat import (
    abbreviate,
    format_coefficients,
    format_numbers,
    format_p,
    named_numbers,
    stars,
    table,
)


@pytest.mark.parametrize(
    ("values", "digits", "expected"),
    [
        ([612.100158, 35.071714, 654.940008], 4, ["612.10", "35.07", "654.94"]),
        ([24.74065799, 5.92213766, 25.59179572], 4, ["24.741", "5.922", "25.592"]),
        ([0.0, 13.81], 4, ["0.00", "13.81"]),
        ([584.2663, 33.6330, 653.1154], 5, ["584.266", "33.633", "653.115"]),
        ([194.0531, 204.1799, -92.0266, 184.0531], 7, ["194.0531", "204.1799", "-92.0266", "184.0531"]),
        ([1688.0], 7, ["1688"]),
        ([1e-10, 1.0], 4, ["1e-10", "1e+00"]),
        ([1.5e-12], 4, ["1.5e-12"]),
        ([123456789.0], 4, ["123456789"]),
        ([2e15], 4, ["2e+15"]),
        ([0.0, 0.0], 4, ["0", "0"]),
        ([-0.00001, 5.0], 3, ["-1e-05", "5e+00"]),
        ([math.nan, math.inf, -math.inf, 1.25], 3, ["NaN", "Inf", "-Inf", "1.25"]),
    ],
)
def test_numbers_share_decimals_as_in_r(values, digits, expected):
    assert format_numbers(values, digits) == expected


def test_a_rounded_negative_zero_loses_its_sign():
    assert format_numbers([-0.0, 1.5], 3) == ["0.0", "1.5"]


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ([1.4712e-09, 0.0010681, 0.00047412, 0.00018212], ["1.47e-09", "0.001068", "0.000474", "0.000182"]),
        (
            [0.5, 0.10681, 0.00018212, 1.2345e-5, 1e-300],
            ["0.500000", "0.106810", "0.000182", "1.23e-05", "< 2e-16"],
        ),
        ([1.4712e-09, 2.2e-12, 3e-5], ["1.47e-09", "2.20e-12", "3.00e-05"]),
        ([0.5, 1e-17, 0.04112], ["0.5000", "<2e-16", "0.0411"]),
        ([1.0, 0.0, math.nan], ["1", "<2e-16", "NaN"]),
        ([], []),
    ],
)
def test_p_values(p, expected):
    assert format_p(p) == expected


def test_stars_mark_the_usual_bounds():
    assert stars([0.0, 0.001, 0.0011, 0.01, 0.05, 0.07, 0.5, math.nan]) == [
        "***",
        "***",
        "**",
        "**",
        "*",
        ".",
        "",
        "",
    ]


@pytest.mark.parametrize(
    ("estimate", "se", "expected"),
    [
        ([251.40510, 10.46729], [6.82460, 1.54579], (["251.405", "10.467"], ["6.825", "1.546"])),
        ([-1.3983, -0.9919, 1e-6], [0.23, 0.3, 2e-7], (["-1.3983000", "-0.9919000", "0.0000010"],
                                                    ["0.2300000", "0.3000000", "0.0000002"])),
        ([5.531748, 0.033809], [0.043862, 0.0025234], (["5.531748", "0.033809"],
                                                                  ["0.043862", "0.002523"])),
        ([-25.0, 80.0], [1.2e7, 3e6], (["-25", "80"], ["12000000", "3000000"])),
    ],
)  # fmt: skip
def test_coefficients_share_the_decimals_of_the_smallest(estimate, se, expected):
    assert format_coefficients(estimate, se) == expected


NAMES = [
    "(Intercept)", "period2", "period3", "recipeB:temperature", "temperature", "factor(Days)1",
    "treatmentComplete", "treatmentUnknown", "avg_size", "btypescold", "situself", "Anger", "genderM",
]  # fmt: skip


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (11, ["(Intercept)", "period2", "period3", "rcpB:tmprtr", "temperature", "factr(Dys)1", "trtmntCmplt",
              "trtmntUnknw", "avg_size", "btypescold", "situself", "Anger", "genderM"]),
        (6, ["(Intr)", "perid2", "perid3", "rcpB:t", "tmprtr", "fc(D)1", "trtmnC", "trtmnU", "avg_sz",
              "btypsc", "sitslf", "Anger", "gendrM"]),
    ],
)  # fmt: skip
def test_abbreviation_drops_what_r_drops(length, expected):
    assert abbreviate(NAMES, length) == expected


def test_abbreviations_of_different_names_differ():
    names = ["temperature_a", "temperature_b", "temperature"]
    assert len(set(abbreviate(names, 4))) == 3


def test_table_aligns_left_and_right():
    text = table(["", "Estimate"], [["a", "1.0"], ["long", "-10.0"]], [True, False])
    assert text == "     Estimate\na         1.0\nlong    -10.0"


def test_named_numbers_wrap_at_the_line_width():
    lines = named_numbers([f"name{i}" for i in range(20)], ["1"] * 20).splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 80
    assert named_numbers([], []) == ""


def test_formatting_keeps_the_digits_it_promises():
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = rng.normal(size=3) * 10.0 ** rng.integers(-3, 4, size=3)
        shown = np.array(list(map(float, format_numbers(values, 4))))
        assert np.max(np.abs(shown / values - 1.0)) <= 0.5e-3 * (1 + 1e-9)
