"""The validation page: sections, their order, and what they say."""

from __future__ import annotations

import json

import pytest

from validation import checks, page
from validation.checks import EXPLAINED, FAIL, PASS, Check, Section, case_checks, worst_first
from validation.compare import Broken, Comparison, Left


def comparison(entry, difference, explanation=""):
    return Comparison(entry, "fixef/x", "1.50", 1.5 + difference, difference, 0.01, "exact", "why", explanation)


@pytest.fixture
def stored(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "FOLDER", tmp_path / "checks")
    made = (
        Check("good", PASS, 0.2, "1", "1", "a note"),
        Check("bad <b>", FAIL, 7.0, "8", "1", "a | bar"),
        Check("known", EXPLAINED, 2.0, "3", "1", "because"),
    )
    section = Section("Figures", "About them.", "make validate", "refglmm 0", "report.md", worst_first(made), left=4)
    checks.save("published", section)
    return tmp_path, section


def test_an_entry_is_judged_by_its_worst_number():
    records = [
        comparison("a", 0.001),
        comparison("a", -0.009),
        comparison("b", 0.0),
        comparison("c", 0.02, "known to differ"),
        comparison("d", 0.02),
        comparison("d", 0.0, ""),
        Broken("e", "fit", "no fit"),
        Left("f", "x", 3, "no data"),
    ]
    found = case_checks(records)
    assert [(c.name, c.verdict) for c in found] == [
        ("e", FAIL), ("d", FAIL), ("c", EXPLAINED), ("a", PASS), ("b", PASS),
    ]  # fmt: skip
    by_name = {c.name: c for c in found}
    assert by_name["a"].strain == pytest.approx(0.9)
    assert by_name["a"].note == "fixef/x; 2 of 2 numbers pass"
    assert by_name["d"].note == "fixef/x; 1 of 2 numbers pass"
    assert by_name["c"].note.endswith("known to differ")
    assert by_name["e"].note == "fit: no fit"


def test_a_failure_without_a_number_comes_before_one_with(stored):
    without = Check("x", FAIL, None, "", "", "")
    assert worst_first([*stored[1].checks, without])[0] == without


def test_sections_come_back_as_they_were_stored(stored):
    folder, section = stored
    assert checks.load("published") == section
    assert checks.load("sbc") is None
    assert json.loads((folder / "checks" / "published.json").read_text())["left"] == 4


def test_the_page_counts_escapes_and_says_what_was_not_run(stored, tmp_path):
    assert page.write(tmp_path) == 1
    html, text = ((tmp_path / name).read_text() for name in (page.HTML, page.MARKDOWN))
    assert "bad &lt;b&gt;" in html
    assert "<b>" not in html
    assert html.index("bad &lt;b&gt;") < html.index(">known<") < html.index(">good<")
    assert "a \\| bar" in text
    assert "| Figures | 3 | 1 | 1 | 1 | 4 | make validate |" in text
    assert "| sbc | not run |" in text


def test_the_stored_sections_hold_together():
    found = page.sections()
    assert found, "the repository carries the results of its last validation"
    for section in found.values():
        assert section.checks == worst_first(section.checks)
        for check in section.checks:
            assert check.verdict in checks.ORDER
            assert check.verdict != EXPLAINED or check.note
