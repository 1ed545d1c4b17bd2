"""Settings of the optimisation: checked once, merged from control= and optimizer=."""

from __future__ import annotations

import pytest

from refglmm.errors import ArgumentError
from refglmm.optimize.control import Control, make_control


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer": ("newton", "simplex")}, "unknown optimizer 'simplex'; choose from newton, bobyqa"),
        ({"curvature": "both"}, "curvature must be"),
        ({"derivatives": "maybe"}, "derivatives must be"),
        ({"tolerance": 0.0}, "must be positive"),
        ({"max_evaluations": 0}, "must be positive"),
        ({"engine": "cuda"}, "unknown engine 'cuda'"),
    ],
)
def test_values_that_mean_nothing_are_refused(settings, words):
    with pytest.raises(ArgumentError, match=words):
        Control(**settings)


def test_unknown_settings_are_named():
    with pytest.raises(ArgumentError, match=r"unknown control setting 'tol'; known are .*tolerance"):
        make_control({"tol": 1e-3}, None, "exact")


def test_one_optimizer_serves_both_stages():
    assert make_control(None, "bobyqa", "exact").optimizer == ("bobyqa", "bobyqa")
    assert make_control({"optimizer": ("newton", "bobyqa")}, None, "exact").optimizer == ("newton", "bobyqa")
    assert make_control(Control(tolerance=1e-7), "bobyqa", "exact").tolerance == 1e-7


def test_defaults_depend_on_the_mode():
    assert make_control(None, None, "exact").optimizer == ("newton", "newton")
    assert make_control(None, None, "lme4").optimizer == ("bobyqa", "nelder_mead")


def test_lme4_mode_has_no_newton():
    with pytest.raises(ArgumentError, match="no gradients"):
        make_control(None, "newton", "lme4")


def test_three_optimizers_are_one_too_many():
    with pytest.raises(ArgumentError, match="one name or a pair"):
        make_control(None, ("bobyqa", "bobyqa", "bobyqa"), "exact")
