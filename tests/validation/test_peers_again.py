"""Other software once more: from records to calls, the comparison, and what happens where R is missing."""

from __future__ import annotations

import json
import math
import shutil
import stat

import pandas as pd
import pytest

from validation import peers_again, peers_compare
from validation.peers_again import Request, data_name, data_of, glmmadaptive_call, glmmtmb_call, main
from validation.peers_compare import Difference, Numbers, compare, difference, lme4_numbers, table, worst_first
from validation.prepare import AbsentError

LME4 = {
    "case": "gamma",
    "versions": {"R": "4.2.2", "lme4": "2.1.0"},
    "call": 'glmer(y ~ x + (1 | g), data = d, family = Gamma(link = "log"))',
    "family": "Gamma",
    "logLik": -10.0,
    "fixef": {"(Intercept)": 1.0, "x": 2.0},
    "se": {"(Intercept)": 0.1, "x": 0.5},
    "sigma": 0.5,
    "VarCorr": [{"grp": "g", "var1": "(Intercept)", "var2": None, "sdcor": 0.6}],
}


# ----------------------------------------------------------------------------------------- records to calls
def test_every_lme4_record_names_its_data():
    requests = list(peers_again.lme4_requests())
    assert len(requests) == 81
    assert {r.data for r in requests} == {
        "cbpp", "cbpp2", "Contraception", "toenail", "grouseticks", "VerbAgg", "Arabidopsis", "sleepstudy", "cake",
        "nbsim", "Penicillin", "Pastes", "InstEval",
    }  # fmt: skip
    cbpp = next(r for r in requests if r.case == "cbpp")
    assert len(cbpp.frame()) == 56


def test_a_call_without_data_is_refused():
    with pytest.raises(ValueError, match=r"no data in the call 'glm\(y ~ x\)'"):
        data_of("glm(y ~ x)")


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("glmmTMB::Owls (cArr = ArrivalTime - mean(ArrivalTime))", "Owls"),
        ("simulated: gad_beta.csv (R set.seed(1234))", "gad_beta"),
    ],
)
def test_data_are_named_after_their_source(label, name):
    assert data_name(label) == name


def test_an_unknown_label_is_refused():
    with pytest.raises(ValueError, match="cannot read the data 'cbpp'"):
        data_name("cbpp")


@pytest.mark.parametrize(
    ("record", "call"),
    [
        (
            {"model": "count ~ mined + (1|site), zi ~ mined + (1|site) [independent], family = nbinom2(log)"},
            "glmmTMB(count ~ mined + (1|site), data = d, ziformula = ~ mined + (1|site), "
            'family = nbinom2(link = "log"))',
        ),
        (
            {"model": "y ~ x + us(x|g), disp ~ x, family = gaussian, REML", "REML": True},
            "glmmTMB(y ~ x + us(x|g), data = d, dispformula = ~ x, family = gaussian(), REML = TRUE)",
        ),
        (
            {"model": "y ~ x + (1|g), family = ordbeta(logit)", "notes": "NaN; start psi = (-1, 1) used"},
            'glmmTMB(y ~ x + (1|g), data = d, family = ordbeta(link = "logit"), start = list(psi = c(-1, 1)))',
        ),
    ],
)
def test_glmmtmb_calls(record, call):
    assert glmmtmb_call(record, "d") == call


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({}, 'family = binomial(link = "probit"), nAGQ = 11)'),
        ({"family": "students.t(df=4, identity)"}, "family = students.t(df=4), nAGQ = 11)"),
        ({"family": "zi.poisson(log)", "zi": {"fixed": "~ sex", "random": "~ 1 | id"}},
         "family = zi.poisson(), zi_fixed = ~ sex, zi_random = ~ 1 | id, nAGQ = 11)"),
        ({"control": {"penalized": True}}, "nAGQ = 11, penalized = TRUE)"),
        ({"control": {"pen_mu": 0, "pen_sigma": 1, "pen_df": 200}},
         "nAGQ = 11, penalized = list(pen_mu = 0, pen_sigma = 1, pen_df = 200))"),
        ({"notes": "max_coef_value raised to 100"}, "nAGQ = 11, max_coef_value = 100)"),
        ({"notes": "cluster weights 1,2,3,1,2,3,... in order of ID levels"},
         "nAGQ = 11, weights = rep_len(c(1, 2, 3), nlevels(a$ID)))"),
    ],
)  # fmt: skip
def test_glmmadaptive_calls(changes, end):
    record = {"id": "a", "fixed": "y ~ x", "random": "~ 1 | id", "family": "binomial(probit)", "nAGQ": 11, **changes}
    call = glmmadaptive_call(record)
    assert call.startswith("mixed_model(fixed = y ~ x, random = ~ 1 | id, data = a, ")
    assert call.endswith(end)


def test_an_unreadable_family_is_refused():
    with pytest.raises(ValueError, match=r"cannot read the family 'odd\(a, b, c\)'"):
        glmmadaptive_call({"id": "a", "fixed": "y ~ x", "random": "~ 1 | g", "family": "odd(a, b, c)", "nAGQ": 11})


# ----------------------------------------------------------------------------------------------- comparison
def test_differences_have_their_units():
    old = Numbers(-10.0, {"a": 1.0, "d~": 2.0}, {"a": 0.1}, {"g": 0.5})
    new = Numbers(-10.5, {"a": 1.2, "d~": 2.2}, {"a": 0.11}, {"g": 0.4})
    found = compare("case", new, old)
    assert found.values == pytest.approx((0.5, 2.0, 0.1, 0.2))  # "d~" has no standard error: a tenth of itself
    assert found.largest == pytest.approx(2.0)
    assert found.note == ""


def test_other_names_are_told_and_compared_in_order():
    old = Numbers(-10.0, {"a": 1.0}, {"a": 0.1}, {})
    found = compare("renamed", Numbers(-10.0, {"b": 1.2}, {"b": 0.1}, {}), old)
    assert found.coefficients == pytest.approx(2.0)
    assert math.isnan(found.spread)
    assert found.note == "other names of coefficients and errors"


def test_more_numbers_than_in_the_record_come_first():
    old = Numbers(-10.0, {"a": 1.0}, {"a": 0.1}, {})
    found = compare("longer", Numbers(-10.0, {"a": 1.0, "b": 1.0}, {"a": 0.1}, {}), old)
    assert math.isinf(found.coefficients)
    assert worst_first([Difference("far", 9.0), found])[0] is found


def test_a_boundary_may_be_approached():
    found = compare("zero", Numbers(-1.0, {}, {}, {"g": 3e-7}), Numbers(-1.0, {}, {}, {"g": 0.0}))
    assert found.spread == pytest.approx(3e-3)


def test_lme4_before_2_scales_random_effects():
    earlier = LME4 | {
        "versions": {"R": "4.2.2", "lme4": "1.1.31"},
        "VarCorr": [
            {"grp": "g", "var1": "(Intercept)", "var2": None, "sdcor": 0.3},
            {"grp": "Residual", "var1": None, "var2": None, "sdcor": 0.5},
        ],
    }
    found = difference(earlier, LME4, lme4_numbers)
    assert found.values == pytest.approx((0.0, 0.0, 0.0, 0.0))
    assert found.note == "standard deviations divided by sigma, by which lme4 before 2 multiplies them"
    poisson = difference(earlier | {"family": "poisson"}, LME4, lme4_numbers)
    assert poisson.spread == pytest.approx(0.5)


def test_what_was_not_fitted_says_why():
    def read(record):
        raise AssertionError("nothing to read")

    assert difference({"case": "a", "refused": "too old"}, {}, read).note == "too old"
    assert difference({"case": "a", "error": "no\n such"}, {}, read).note == "fails: no such"
    assert difference({"case": "a", "error": "no"}, {"error": "no"}, read).note == "fails, as in the record: no"
    assert difference({"case": "a"}, {"error": "no"}, read).note == "fitted; the record says that it failed"


def test_the_table_is_worst_first():
    lines = table([Difference("small", 1e-9, 1e-8), Difference("not fitted", note="why"), Difference("large", 1e-2)])
    assert [line.split()[0] for line in lines.splitlines()] == ["case", "large", "small", "not"]
    assert lines.splitlines()[-1].endswith("  why")
    assert peers_compare.summary([Difference("x", note="why")]) == "none of 1 compared"


def test_glmmtmb_and_glmmadaptive_records_are_read():
    tmb = {
        "logLik": -1.0, "betas": {"a": 1.0}, "se_betas": {"a": 0.1},
        "gammas": {"a": 2.0}, "se_gammas": {"zi~a": 0.2}, "dispersion_coefs": [],
        "varcorr_cond": {"g": {"names": "a", "sd": 0.5}}, "varcorr_zi": {"g": {"names": ["a", "b"], "sd": [1.0, 2.0]}},
    }  # fmt: skip
    found = peers_compare.glmmtmb_numbers(tmb)
    assert found.coefficients == {"a": 1.0, "zi~a": 2.0}
    assert found.errors == {"a": 0.1, "zi~a": 0.2}
    assert found.spread == {"varcorr_cond|g|a": 0.5, "varcorr_zi|g|a": 1.0, "varcorr_zi|g|b": 2.0}
    adaptive = {
        "logLik": -1.0, "betas": {"a": 1.0}, "se_betas": {"a": 0.1}, "phis": {"phi_1": 0.3}, "se_phis": {"phi_1": 0.4},
        "D": {"names": ["a", "b"], "values": [[4.0, 1.0], [1.0, 9.0]]},
    }  # fmt: skip
    assert peers_compare.glmmadaptive_numbers(adaptive).spread == {"a": 2.0, "b": 3.0}
    single = adaptive | {"D": {"names": "a", "values": [4.0]}}
    assert peers_compare.glmmadaptive_numbers(single).spread == {"a": 2.0}


# -------------------------------------------------------------------------------------------------- running
def requests():
    data = pd.DataFrame({"y": [1.0, 2.0], "g": pd.Categorical(["u", "v"], ordered=True)})

    def absent():
        raise AbsentError("the data set far may not be shipped")

    yield Request("gamma", LME4["call"], "d", lambda: data, LME4)
    yield Request("lost", "f(data = far)", "far", absent, LME4)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Put an Rscript on the path that is a Python script with the arguments (script, folder, out)."""

    def put(program):
        folder = tmp_path / "bin"
        folder.mkdir()
        file = folder / "Rscript"
        file.write_text(f"#!/usr/bin/env python3\nimport json, sys\nscript, folder, out = sys.argv[2:]\n{program}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(peers_again.shutil, "which", lambda name: str(file))
        peer = peers_again.Peer("lme4", "lme4", requests, lme4_numbers)
        monkeypatch.setattr(peers_again, "PEERS", {"lme4": peer})
        return ["--out", str(tmp_path / "out")]

    return put


ANSWER = f"""
case, = json.load(open(folder + "/cases.json"))
columns = json.load(open(folder + "/" + case["data"] + "/columns.json"))["columns"]
record = json.loads({json.dumps(json.dumps(LME4))})
record |= {{"logLik": -10.25, "ordered": columns[1]["ordered"], "versions": {{"R": "4.9", "lme4": "2.2.0"}}}}
open(out, "w").write(json.dumps(record) + "\\n")
print("@done gamma")
"""


def test_a_script_runs_and_its_fits_are_compared(fake, tmp_path, capsys):
    assert main(fake(ANSWER)) == 0
    said = capsys.readouterr().out
    assert "lost: the data set far may not be shipped" in said
    assert "R 4.9, lme4 2.2.0; the record: lme4 2.1.0" in said
    assert "1 of 1 compared; largest difference: log-likelihood 2.5e-01" in said
    (written,) = (tmp_path / "out").iterdir()
    assert written.name == "lme4-2.2.0.jsonl"
    assert json.loads(written.read_text())["ordered"] is True


def test_only_matching_cases_are_fitted(fake, capsys):
    assert main([*fake("raise SystemExit(3)"), "--cases", "nothing"]) == 0
    assert capsys.readouterr().out == "lme4: no case to fit\n"


def test_a_missing_package_is_said_and_no_failure(fake, capsys):
    assert main(fake('print("lme4 is not installed here: apt-get install r-cran-lme4")')) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "lme4 is not installed here: apt-get install r-cran-lme4"


def test_a_script_that_fails_is_a_failure(fake, capsys):
    assert main(fake("raise SystemExit(3)")) == 1
    assert "peers/lme4.R stopped with status 3" in capsys.readouterr().out


def test_records_that_lie_nowhere_are_left_out(fake, monkeypatch, capsys):
    arguments = fake(ANSWER)

    def nowhere():
        raise AbsentError("glmmtmb.jsonl does not lie beside the repository")

    monkeypatch.setitem(peers_again.PEERS, "lme4", peers_again.Peer("lme4", "lme4", nowhere, lme4_numbers))
    assert main(arguments) == 0
    assert capsys.readouterr().out == "lme4: glmmtmb.jsonl does not lie beside the repository; left out\n"


def test_without_r_there_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(peers_again.shutil, "which", lambda name: None)
    assert main([]) == 0
    assert capsys.readouterr().out == peers_again.NO_R + "\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stan"], "no peer 'stan'; there are lme4, glmmtmb, glmmadaptive"),
        (["--cases", "("], "is no regular expression"),
    ],
)
def test_bad_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("Rscript") is None, reason="needs R")
def test_one_case_with_the_installed_lme4(tmp_path, capsys):
    assert main(["lme4", "--cases", "^(cbpp|cm_diag)$", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    if "is not installed" in said:
        pytest.skip("needs lme4")
    (written,) = tmp_path.iterdir()
    by_case = {record["case"]: record for record in map(json.loads, written.read_text().splitlines())}
    assert by_case["cbpp"]["logLik"] == pytest.approx(-92.0265663895, abs=1e-6)
    before_2 = written.name.startswith("lme4-1")
    assert ("refused" in by_case["cm_diag"]) == before_2
