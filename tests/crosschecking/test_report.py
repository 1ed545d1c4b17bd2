"""What a cross-check shows: text, HTML, JSON."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import pytest

import refglmm as rg

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture(scope="module")
def check():
    report = {
        "program": "some <program>",
        "fixef": [-1.40, -0.99, -1.13, -1.58],
        "se": [0.23, 0.31, 0.33, 0.43],
        "sd": {"herd": 0.64},
        "loglik": -92.03,
    }
    return rg.crosscheck(CBPP, rg.datasets.load("cbpp"), report, family="binomial")


def test_text_has_verdict_tables_and_explanations(check):
    text = str(check)
    assert f"VERDICT {check.code}: {check.sentence}" in text
    for title in ("Estimates:", "Exact log-likelihoods:", "Standard errors:", "What explains the reported numbers:"):
        assert title in text
    assert repr(check) == text


def test_html_is_escaped(check):
    html = check._repr_html_()
    assert "some &lt;program&gt;" in html
    assert "<program>" not in html
    assert html.count("<table>") == 3


def test_json_is_strict_and_holds_the_tables(check):
    values = json.loads(check.to_json())
    assert values["verdict"] == check.code.value
    assert [row["parameter"] for row in values["estimates"]] == list(check.estimates.index)
    assert values["criteria"][0]["quantity"] == "loglik"
    assert values["loss"] == pytest.approx(check.evidence.loss)


def test_a_cross_check_is_frozen_and_hands_out_copies(check):
    with pytest.raises(FrozenInstanceError):
        check.verdict = None
    estimates = check.estimates
    estimates.loc[:, "reported"] = 0.0
    assert check.estimates["reported"].iloc[0] != 0.0
