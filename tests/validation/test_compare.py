"""The carrier that compares published figures with ours: what it claims, allows and refuses to drop."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from validation import compare, explained, peers, report, runner
from validation.compare import Broken, Comparison, Left, compare_entry
from validation.entries import ENTRIES, Compute, Read, Unreached
from validation.models import Fit
from validation.prepare import AbsentError
from validation.tolerance import Allowance, Tolerance, absolute, everything, half_unit

DYESTUFF = Fit("Yield ~ 1 + (1 | Batch)", "Dyestuff", reml=False)


def published():
    text = (runner.FOLDER / "published.json").read_text(encoding="utf-8")
    return {entry["id"]: entry for entry in json.loads(text, parse_float=Decimal)["entries"]}


@pytest.mark.parametrize(
    ("text", "half"), [("0.6421", 5e-5), ("-92.0", 0.05), ("1.5e-07", 5e-9), ("51", 0.0), ("0.10", 0.005)]
)
def test_half_a_unit_in_the_last_printed_place(text, half):
    assert half_unit(Decimal(text)) == pytest.approx(half)


def test_the_largest_allowance_counts():
    allowance = Allowance(absolute=0.1, relative=0.5, standard_errors=2.0)
    assert allowance.at(published=0.1, se=0.01) == 0.1
    assert allowance.at(published=-4.0, se=0.01) == 2.0
    assert allowance.at(published=0.1, se=3.0) == 6.0


def test_a_kind_without_allowance_must_agree_exactly():
    assert Tolerance("none", {"se": absolute(1.0)}).of("fixef", 5.0, 1.0) == 0.0


def test_every_published_entry_has_its_line_and_no_line_lacks_an_entry():
    assert set(ENTRIES) == set(published())


def test_numbers_keep_their_printed_digits_and_text_is_no_figure():
    node = {"a": [Decimal("1.50"), {"b": 2}], "p": "< 1e-04", "note": "text", "none": None}
    assert list(compare.leaves(node)) == [
        (("a", "0"), Decimal("1.50")),
        (("a", "1", "b"), 2),
        (("p",), "< 1e-04"),
    ]


def test_a_number_that_nothing_claims_is_a_failure():
    (record,) = compare_entry("e", {"quantities": {"strange": 1}}, [])
    assert record == Broken("e", "quantities/strange", "no part of the entry claims this number")


def test_a_number_is_claimed_once_by_the_first_part_that_can_read_it():
    entry = {"quantities": {"x": Decimal("1.0"), "y": 2}}
    first = Compute("quantities", lambda: {"x": 1.04}, everything("test", absolute(0.0)))
    records = list(compare_entry("e", entry, [first, Unreached("quantities", "later")]))
    assert [type(r) for r in records] == [Comparison, Left]
    assert records[0].passed  # 1.04 prints as 1.0
    assert records[0].quantity == "x"
    assert records[1] == Left("e", "quantities", 1, "later")


def test_a_difference_beyond_the_tolerance_does_not_pass_and_nan_never_does():
    entry = {"quantities": {"x": Decimal("1.0"), "y": Decimal("1.0")}}
    part = Compute("quantities", lambda: {"x": 1.06, "y": float("nan")}, everything("test", absolute(0.0)))
    assert [r.passed for r in compare_entry("e", entry, [part])] == [False, False]


def test_a_printed_bound_is_compared_as_a_bound():
    entry = {"quantities": {"a": "< 1e-04", "b": "<0.0001"}}
    part = Compute("quantities", lambda: {"a": 5e-5, "b": 2e-4}, everything("test", absolute(1.0)))
    assert [r.passed for r in compare_entry("e", entry, [part])] == [True, False]


def test_absent_data_are_left_out_and_other_errors_reported():
    def absent():
        raise AbsentError("not here")

    def broken():
        raise ValueError("no fit")

    entry = {"quantities": {"x": 1, "y": 2}}
    assert list(compare_entry("e", entry, [Compute("quantities", absent, everything("", absolute(0)))])) == [
        Left("e", "quantities", 2, "not here")
    ]
    assert list(compare_entry("e", entry, [Compute("quantities", broken, everything("", absolute(0)))])) == [
        Broken("e", "quantities", "ValueError: no fit")
    ]


def test_a_fit_is_read_by_key_and_a_count_has_no_tolerance():
    # Bates et al. (2015): Dyestuff by maximum likelihood, sd 37.260 and 49.510, -2 log L 327.3271
    quantities = {
        "minus2logLik": Decimal("327.3271"),
        "sd": {"Batch.(Intercept)": Decimal("37.260"), "Residual": Decimal("49.510")},
        "nobs": 31,
    }
    part = Read("quantities", DYESTUFF, everything("test", absolute(1e-3)))
    records = {r.quantity: r for r in compare_entry("dyestuff", {"quantities": quantities}, [part])}
    assert records["minus2logLik"].passed
    assert records["sd/Batch.(Intercept)"].passed
    assert records["sd/Residual"].passed
    assert not records["nobs"].passed  # 30 rows


@pytest.mark.parametrize(
    ("call", "fit"),
    [
        (
            "glmer(incidence/size ~ ar1(0 + herd | period), data = cbpp, family = binomial, weights = size, "
            "control = tight)",
            Fit("incidence/size ~ ar1(0 + herd | period)", "cbpp", link="logit", weights="size"),
        ),
        (
            "glmer(y ~ x + (1 | g), data = toenail, family = binomial, nAGQ = 5L, control = bob)",
            Fit("y ~ x + (1 | g)", "toenail", link="logit", n_agq=5, mode="lme4").but(optimizer=("bobyqa", "bobyqa")),
        ),
        ("lmer(y ~ x + (1 | g), data = cake)", Fit("y ~ x + (1 | g)", "cake", reml=True)),
        ("lmer(y ~ x + (1 | g), data = cake, REML = FALSE)", Fit("y ~ x + (1 | g)", "cake", reml=False)),
        (
            "glmer.nb(y ~ f + (1 | g), data = nbsim)",
            Fit("y ~ f + (1 | g)", "nbsim_lme4", family="nb", mode="lme4"),
        ),
    ],
)
def test_an_r_call_becomes_a_fit(call, fit):
    case = {"call": call, "family": "binomial", "link": "logit", "nAGQ": 5 if "5L" in call else 1}
    assert peers.fit_of(case) == fit


def test_every_explanation_belongs_to_an_entry():
    known = set(ENTRIES) | {f"lme4: {case['case']}" for case in peers.lines("lme4.jsonl")}
    known |= {f"figures 9 and 12: {model}" for model in peers.figure_rows()}
    assert {entry for entry, _ in explained.EXPLAINED} <= known


def test_the_report_puts_the_worst_first_and_lists_what_was_left_out():
    def item(name, difference, explanation=""):
        return Comparison(name, "x", "1.0", 1.0 + difference, difference, 0.1, "exact", "test", explanation)

    records = [item("good", 0.01), item("bad", 0.3), item("known", 0.9, "a cause"), item("close", 0.09)]
    assert [c.entry for c in report.worst_first(records)] == ["bad", "known", "close", "good"]
    left = Left("later", "quantities", 4, "not yet")
    text = report.render([*records, left], [Broken("b", "at", "oops")], "v")
    assert "| published figures | 4 | 2 | 1 | 1 | 4 |" in text
    assert "| later | quantities | 4 | not yet |" in text
    assert "| b | `at` | oops |" in text
    assert "a cause" in text


@pytest.mark.golden
@pytest.mark.parametrize(
    "name",
    [
        "paper-cbpp-m1",
        "lme4-cbpp-nagq0",
        "lme4-cbpp-nagq9",
        "lme4-cbpp-nagq25",
        "lme4-test-cbpp",
        "lme4-cbpp-other-packages",
        "lme4-cbpp-condvar",
        "lme4-cbpp-residual-ranges",
        "lme4-sleepstudy-reml",
        "lme4-dyestuff-ml",
        "lme4-dyestuff2",
        "mm-penicillin-ml",
        "mm-cbpp",
        "glmmtmb-cbpp",
        "glmmtmb-sleepstudy-ml",
    ],
)
def test_the_quick_entries_agree_with_what_is_published(name):
    records = list(compare_entry(name, published()[name], ENTRIES[name]))
    assert any(isinstance(r, Comparison) for r in records)
    assert [r for r in records if isinstance(r, Broken) or (isinstance(r, Comparison) and not r.passed)] == []
