"""A few of the cross-check's cases, end to end, and the arithmetic of their truths."""

import math

import pytest

from validation.crosscheck import made, peers
from validation.crosscheck.report import confusion, render
from validation.crosscheck.runner import Outcome, outcomes, run
from validation.crosscheck.truth import Case, LeftOut, Truth, codes_of, with_convention, with_errors


@pytest.fixture(scope="module")
def cases():
    """Cases of cbpp: made, moved, lme4's, statsmodels'."""
    chosen = [*made.moved("cbpp_tight"), *made.told_otherwise(), *peers.statsmodels_cases(), *peers.lme4_cases()]
    return {f"{case.source}: {case.name}": case for case in chosen if isinstance(case, Case)}


@pytest.mark.parametrize(
    "name",
    [
        "lme4: cbpp",
        "lme4: cbpp_nagq0",
        "lme4: sleepstudy_reml",
        "statsmodels: cbpp_map",
        "statsmodels: cbpp_vb",
        "statsmodels: dyestuff_ml",
        "moved: cbpp, moved 0.003 SE, direction 1",
        "moved: cbpp, moved 0.3 SE, direction 1",
        "moved: cbpp, moved 3 SE, direction 2",
        "made: cbpp, logLik without constants",
        "made: cbpp, BIC by the number of groups",
    ],
)
def test_the_verdict_is_true(cases, name):
    outcome = run(cases[name])
    assert outcome.true, f"{outcome.code}: {outcome.sentence} ({outcome.truth.why})"


def test_a_false_verdict_is_seen():
    """The same case with a truth that is not one."""
    (case,) = [case for case in made.moved("cbpp_tight") if case.name == "cbpp, moved 3 SE, direction 1"]
    wrong = Case(case.name, case.source, case.model, case.report, Truth(("agrees",), "a lie"), case.options)
    assert not run(wrong).true


def test_an_exception_is_no_true_verdict():
    """A report without anything that could be checked."""
    (case, *_) = made.moved("cbpp_tight")
    empty = Case("empty", "made", case.model, {"nothing": 1}, Truth(("agrees",), "none"), {})
    outcome = run(empty)
    assert (outcome.code, outcome.true) == ("ArgumentError", False)


def test_codes_near_a_limit_are_both_true():
    assert codes_of(1e-6, 1e-3) == ("agrees",)
    assert codes_of(0.1, 0.3) == ("stopped_early",)
    assert codes_of(0.1, 0.45) == ("stopped_early", "not_the_optimum")
    assert codes_of(30.0, 5.0) == ("not_the_optimum",)


def test_convention_and_errors_change_agreement_alone():
    assert with_convention(("agrees", "stopped_early"), True) == ("agrees_other_convention", "stopped_early")
    assert with_errors(("agrees",), 0.5) == ("wrong_standard_errors",)
    assert with_errors(("stopped_early",), 0.5) == ("stopped_early",)
    assert with_errors(("agrees",), 0.049) == ("agrees", "wrong_standard_errors")


def outcome(code, *true):
    return Outcome("a case", "made", Truth(true, "told"), code, "words", 0.1, 0.2, 0.0)


def test_the_confusion_table_counts():
    lines = confusion([outcome("agrees", "agrees"), outcome("agrees", "stopped_early"), outcome("agrees", "agrees")])
    assert lines[0].startswith("| truth \\ verdict | agrees | stopped_early | all |")
    assert lines[2] == "| agrees | **2** |  | 2 |"
    assert lines[3] == "| stopped_early | 1 |  | 1 |"


def test_the_report_sorts_false_verdicts_worst_first():
    """A wrong result that was called right is graver than a right one that was called wrong."""
    text = render(
        [outcome("stopped_early", "agrees"), outcome("agrees", "not_the_optimum")],
        [LeftOut("x", "lme4", "no data")],
    )
    false = text[text.index("## False") : text.index("## Left out")]
    assert false.index("said *agrees*") < false.index("said *stopped_early*")
    assert "- lme4, x: no data" in text


def test_left_out_records_are_no_outcomes():
    found, left = outcomes([LeftOut("x", "lme4", "no data")])
    assert (found, len(left)) == ([], 1)
    assert math.isnan(Truth(("agrees",), "told").loss)
