"""The snippets for other programs: they are there, they parse, and what lme4's writes is read."""

import json
import shutil
import subprocess

import pytest

import refglmm as rg
from refglmm.crosschecking.snippets import SNIPPETS
from refglmm.errors import ArgumentError

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
RSCRIPT = shutil.which("Rscript")


@pytest.mark.parametrize("program", SNIPPETS)
def test_each_defines_the_function_and_names_its_program(program):
    code = rg.crosscheck_snippet(program)
    assert "refglmm_report" in code
    assert f'"{program}"' in code


def test_an_unknown_program_is_refused():
    with pytest.raises(ArgumentError, match="no snippet for 'SAS'; there are those for 'lme4'"):
        rg.crosscheck_snippet("SAS")


def run_r(code, folder):
    script = folder / "script.R"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run([RSCRIPT, str(script)], capture_output=True, text=True, timeout=120, check=False)
    return done


@pytest.mark.skipif(RSCRIPT is None, reason="R is not installed")
def test_the_writer_makes_strict_json(tmp_path):
    writer = rg.crosscheck_snippet("GLMMadaptive")
    value = r"""list(text = "a \"quoted\" \\ word", number = 1/3, tiny = 1e-300, whole = 5L, none = NULL, missing = NA,
        infinite = Inf, named = c(a = 1, b = NaN), list = list(list(x = 1), list(x = TRUE)), empty = list())"""
    done = run_r(f"{writer}\ncat(refglmm_json({value}))", tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "text": 'a "quoted" \\ word',
        "number": 1 / 3,
        "tiny": 1e-300,
        "whole": 5,
        "none": None,
        "missing": None,
        "infinite": None,
        "named": {"a": 1, "b": None},
        "list": [{"x": 1}, {"x": True}],
        "empty": [],
    }


@pytest.mark.slow
@pytest.mark.skipif(RSCRIPT is None, reason="R is not installed")
@pytest.mark.parametrize("program", ["lme4", "glmmTMB"])
def test_a_fit_in_r_goes_through(program, tmp_path):
    """glmer and glmmTMB on cbpp: the report is written in R and its estimates are those of the optimum."""
    function = {"lme4": "lme4::glmer", "glmmTMB": "glmmTMB::glmmTMB"}[program]
    out = tmp_path / "reported.json"
    call = f'fit <- {function}({CBPP}, data = lme4::cbpp, family = binomial)\nrefglmm_report(fit, "{out}")'
    done = run_r(f"if (!requireNamespace('{program}', quietly = TRUE)) quit(status = 9)\n"
                 f"{rg.crosscheck_snippet(program)}\n{call}", tmp_path)  # fmt: skip
    if done.returncode == 9:
        pytest.skip(f"{program} is not installed")
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["ngroups"] == {"herd": 15}
    check = rg.crosscheck(CBPP, rg.datasets.load("cbpp"), out)
    assert check.code in ("agrees", "agrees_other_convention")
