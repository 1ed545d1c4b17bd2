"""The command line: what it prints, writes and returns, and how it fails."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tomllib
import warnings
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm import _jit, cli, demo
from refglmm.cli import arguments, crosschecking, doctor, fitting, page, reading, shelf, validating
from refglmm.errors import InterruptedWarning, SingularFitWarning, warn
from refglmm.likelihood import warmup

REPOSITORY = Path(__file__).resolve().parents[1]
CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
COUNTS = "incidence ~ period + (1 | herd)"


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command in this process; returns its exit code, standard output and standard error."""
    for module in (_jit, warmup):  # the line before the first compilation belongs to no command
        monkeypatch.setattr(module, "_announced", True)

    def run(*words):
        capsys.readouterr()
        code = cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    return run


@pytest.fixture
def cbpp_file(tmp_path):
    path = tmp_path / "cattle.csv"
    rg.datasets.load("cbpp").to_csv(path, index=False)
    return path


def refglmm(*words, standard_input=None, **environment):
    """Run a command as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "refglmm", *map(str, words)],
        cwd=REPOSITORY,
        env=os.environ | environment,
        input=standard_input,
        capture_output=True,
        text=True,
    )


def error_of(done):
    """The one line of a failed command."""
    assert done.code == arguments.Exit.USAGE
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("refglmm: error: ")
    return line.removeprefix("refglmm: error: ")


# ------------------------------------------------------------------------------------------------ help, version
def test_version_and_help_end_well_and_load_nothing_heavy():
    code = "import sys; from refglmm.cli import main; main(['fit', '--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"numpy", "pandas", "numba", "scipy", "matplotlib"}
    done = refglmm("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"refglmm {rg.__version__}\n", "")


@pytest.mark.parametrize("command", ["fit", "crosscheck", "datasets", "validate", "doctor"])
def test_every_command_has_help_with_exit_codes(run, command):
    done = run(command, "--help")
    assert done.code == 0
    assert f"usage: refglmm {command}" in done.out
    for meaning in arguments.EXIT_CODES.values():
        assert meaning in done.out
    assert command in run("--help").out


@pytest.mark.parametrize(
    "text", [arguments._FIT_EXAMPLES, arguments._CROSSCHECK_EXAMPLES, arguments._DATASETS_EXAMPLES]
)
def test_examples_of_help_are_commands_that_can_be_read(text):
    import shlex

    parser = arguments.make_parser()
    lines = [line for line in text.splitlines() if "refglmm " in line]
    assert len(lines) >= 3
    for line in lines:
        words = shlex.split(re.split(r" {3}| \| jq| > ", line.strip().removeprefix("zcat trial.csv.gz | "))[0])
        assert parser.parse_args(words[1:]).command == words[1]


def test_no_command_shows_the_help(run):
    done = run()
    assert done.code == 2
    assert "usage: refglmm" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nope"], "invalid choice: 'nope'"),
        (["fit"], "the following arguments are required: formula, data (see refglmm fit --help)"),
        (["fit", "y ~ x", "a.csv", "--nope"], "unrecognized arguments: --nope (see refglmm --help)"),
        (["fit", "y ~ x", "a.csv", "--n-agq", "many"], "argument --n-agq: must be a whole number or auto, not 'many'"),
        (["fit", "y ~ x", "a.csv", "--sep", "ab"], "argument --sep: must be one character, tab or space, not 'ab'"),
        (["fit", "y ~ x", "a.csv", "--y-range", "1"], "argument --y-range: expected 2 arguments"),
        (["fit", "y ~ x", "a.csv", "--method", "em"], "argument --method: invalid choice: 'em'"),
    ],
)
def test_wrong_usage_is_one_line(run, words, message):
    assert message in error_of(run(*words))


# -------------------------------------------------------------------------------------------------- reading data
def read(source, **options):
    return reading.read_data(str(source), **options)[0]


def test_csv_tsv_and_compressed_files_are_the_same_table(tmp_path, cbpp_file):
    frame = pd.read_csv(cbpp_file)
    frame.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    frame.to_csv(tmp_path / "a.csv.gz", index=False)
    frame.to_csv(tmp_path / "a.dat", sep=";", decimal=",", index=False)
    for file, options in (("a.tsv", {}), ("a.csv.gz", {}), ("a.dat", {"sep": ";", "decimal": ","})):
        table, name = reading.read_data(str(tmp_path / file), **options)
        pd.testing.assert_frame_equal(table, frame)
        assert name == "a"


def test_numbers_are_read_to_the_last_bit(tmp_path):
    values = np.random.default_rng(1).standard_normal(2000) * 10.0 ** np.arange(2000).clip(max=300)
    (tmp_path / "x.csv").write_text("x\n" + "\n".join(map(repr, values.tolist())) + "\n")
    np.testing.assert_array_equal(read(tmp_path / "x.csv")["x"], values)


def test_missing_values_are_those_of_r_and_those_that_are_named(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text("\ufeffx,s,t\n0.25,None,1\nNA,NA,.\n1e-3,,3\n", encoding="utf-8")
    frame = read(file)
    assert frame["x"].isna().tolist() == [False, True, False]
    assert frame["s"].tolist()[0] == "None"
    assert frame["s"].isna().tolist() == [False, True, True]
    assert frame["t"].dtype == object or pd.api.types.is_string_dtype(frame["t"])
    assert read(file, missing=["."])["t"].tolist()[::2] == [1.0, 3.0]


def test_parquet_keeps_categories(tmp_path):
    pytest.importorskip("pyarrow")
    rg.datasets.load("cbpp").to_parquet(tmp_path / "cbpp.parquet")
    assert list(read(tmp_path / "cbpp.parquet")["period"].cat.categories) == ["1", "2", "3", "4"]


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(pd, "read_parquet", lambda path: (_ for _ in ()).throw(ImportError("no engine")))
    with pytest.raises(rg.errors.DataError, match="pip install pyarrow"):
        read(tmp_path / "a.parquet")


def test_standard_input_and_shipped_data(monkeypatch):
    for mark in (b"", b"\xef\xbb\xbf"):  # a byte order mark is no part of the first name
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(mark + b"x,y\n1,2\n"), encoding="utf-8"))
        table, name = reading.read_data("-")
        assert (list(table.columns), table["y"].tolist(), name) == (["x", "y"], [2], "stdin")
    table, name = reading.read_data("data:cbpp")
    assert (len(table), name) == (56, "cbpp")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("a.xlsx", b"PK", "a.xlsx is a spreadsheet; save it as CSV"),
        ("a.rds", b"", "a.rds is R's own format"),
        ("a.csv", b"", "a.csv is empty; a table begins with a line of column names"),
        ("a.csv", b"x,y\n", "a.csv has column names (x, y), but no rows"),
        ("a.csv", b"x;y\n1;2\n", "a.csv has a single column 'x;y'; say --sep ';'?"),
        ("a.csv", b"x\ty\n1\t2\n", "say --sep tab?"),
        ("a.tsv", b"x,y\n1,2\n", "say --sep ,?"),
        ("a.csv", b"x,y\n1,\xe9\n", "a.csv is not UTF-8 text"),
        ("a.csv", b"x,y\n1,2\n1,2,3\n", "a.csv cannot be read: Error tokenizing data"),
        ("a.csv.gz", b"no gzip", "a.csv.gz cannot be read: Not a gzipped file"),
        ("a.parquet", b"no parquet", "a.parquet cannot be read as Parquet"),
    ],
)
def test_what_is_no_table_is_said(tmp_path, run, file, content, message):
    path = tmp_path / file
    path.write_bytes(content)
    assert message in error_of(run("fit", "y ~ x + (1 | g)", path))


def test_missing_files_and_data_sets_are_named(tmp_path, run):
    assert error_of(run("fit", COUNTS, "cbpp.csv")) == (
        "there is no file cbpp.csv; did you mean data:cbpp, which comes with refglmm?"
    )
    assert error_of(run("fit", COUNTS, "nothing.csv")) == "there is no file nothing.csv"
    assert "did you mean 'cbpp'?" in error_of(run("fit", COUNTS, "data:cbbp"))
    assert error_of(run("fit", COUNTS, tmp_path)) == f"{tmp_path} is a folder, not a file"
    assert "needs another separator" in error_of(run("fit", COUNTS, REPOSITORY / "README.md", "--decimal", ","))


# ------------------------------------------------------------------------------------------------------------ fit
def test_fit_prints_summary_and_certificate(run):
    done = run("fit", CBPP, "data:cbpp", "--family", "binomial")
    assert (done.code, done.err) == (0, "")
    fit = rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial", data_name="cbpp")
    assert done.out == f"{fit.summary()}\n\n{fit.convergence}\n"


def test_fit_reads_a_file_and_makes_factors_of_numbers(run, cbpp_file):
    done = run("fit", CBPP, cbpp_file, "--family", "binomial", "--factor", "period", "--quiet", "--json", "-")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert [row["name"] for row in found["fixed"]] == ["(Intercept)", "period2", "period3", "period4"]
    assert found["criteria"]["loglik"] == pytest.approx(-92.02628, abs=1e-5)
    assert found["model"]["data"] == "cattle"
    assert "no column 'nope'" in error_of(run("fit", CBPP, cbpp_file, "--factor", "nope")).replace(
        "There is", "there is"
    )


def test_options_reach_the_model(run, tmp_path):
    file = tmp_path / "out.json"
    words = ["--family", "poisson", "--offset", "log(size)", "--link", "log", "--subset", "size > 5", "--n-agq", "5"]
    assert run("fit", COUNTS, "data:cbpp", *words, "--quiet", "--json", file).code == 0
    found = json.loads(file.read_text())
    data = rg.datasets.load("cbpp")
    fit = rg.glmer(COUNTS, data, "poisson", offset="log(size)", link="log", subset="size > 5", n_agq=5)
    assert found["criteria"]["loglik"] == fit.loglik
    assert found["model"]["n_agq"] == 5


def test_reml_is_asked_for(run):
    done = run("fit", "Reaction ~ Days + (Days | Subject)", "data:sleepstudy", "--reml")
    assert done.code == 0
    assert "Linear mixed model fit by REML" in done.out
    assert "REML criterion at convergence: 1743.6" in done.out


def test_agq_takes_as_many_points_as_it_needs(run):
    found = json.loads(run("fit", CBPP, "data:cbpp", "--family", "binomial", "--method", "agq", "--json", "-").out)
    assert found["model"]["n_agq"] > 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--draws", "10"], "--draws belongs to --method nuts or advi, not laplace"),
        (["--prior", "weak", "--n-agq", "5"], "--prior belongs to --method map or nuts or advi, not agq"),
        (["--method", "nuts", "--reml"], "--reml belongs to --method laplace or agq, not nuts"),
        (["--method", "map", "--chains", "2"], "--chains belongs to --method nuts, not map"),
        (["--method", "laplace", "--n-agq", "7"], "--n-agq 7 is quadrature: leave --method laplace out"),
        (["--json", "-", "--html", "-"], "both ask for standard output"),
        (["--json", "nowhere/out.json"], "cannot write nowhere/out.json: there is no folder nowhere"),
        (["--html", "."], "cannot write .: it is a folder"),
        (["--family", "nope"], "unknown family 'nope'"),
        (["--family", "poisson", "--reml"], "reml=True exists for linear mixed models only"),
        (["--family", "poisson", "--n-agq", "1000"], "n_agq must be a whole number from 0 to 100"),
        (["--weights", "nope"], "nope"),
        (["--method", "nuts", "--draws", "0"], "sampling must be"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(run, words, message):
    assert message in error_of(run("fit", COUNTS, "data:cbpp", *words))


def test_a_formula_that_cannot_be_is_refused_in_one_line(run):
    assert "something is missing at the end of 'y ~'" in error_of(run("fit", "y ~", "data:cbpp"))
    assert "'nope'" in error_of(run("fit", "incidence ~ nope + (1 | herd)", "data:cbpp"))


def test_an_uncertified_fit_has_its_own_exit_code(run, tmp_path):
    file = tmp_path / "separated.csv"
    file.write_text("y,x,g\n" + "".join(f"{int(i >= 20)},{int(i >= 20)},{i % 5}\n" for i in range(40)))
    done = run("fit", "y ~ x + (1 | g)", file, "--family", "binomial")
    assert done.code == arguments.Exit.DOUBTFUL
    assert "NOT converged" in done.out
    assert all(line.startswith("refglmm: warning: ") for line in done.err.splitlines())
    assert "quasi-complete separation in (Intercept), x" in done.err


def test_a_singular_fit_is_an_optimum_with_a_warning(run):
    done = run("fit", "Yield ~ 1 + (1 | Batch)", "data:Dyestuff2")
    assert done.code == 0
    assert "refglmm: warning: boundary (singular) fit" in done.err
    assert "singular fit (boundary:" in done.out


def test_the_page_is_whole_and_needs_no_other_file(run, tmp_path):
    file = tmp_path / "fit.html"
    done = run("fit", CBPP, "data:cbpp", "--family", "binomial", "--html", file, "--quiet")
    assert (done.code, done.out) == (0, "")
    text = file.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert text.rstrip().endswith("</html>")
    assert not re.search(r"(?:src|href)=|https?:|@import|url\(", text)
    for piece in ("period4", "Certificate of the optimum", "predicted decrease", "Random effects", "0.6423"):
        assert piece in text
    assert run("fit", CBPP, "data:cbpp", "--family", "binomial", "--html", "-").out == text


def test_texts_are_escaped_on_a_page():
    assert "a &lt; b &amp; c" in page.page("a < b & c", {})
    assert page.preformatted(["<b>"]) == "<pre>&lt;b&gt;</pre>"


# ----------------------------------------------------------------------------------------------- fit, posterior
def test_the_posterior_mode_with_its_diagnosis(run, tmp_path):
    words = ["fit", "sat ~ talk + (1 | group)", "data:debate_like", "--method", "map", "--prior", "weak"]
    file = tmp_path / "map.html"
    done = run(*words, "--y-range", "1", "5", "--html", file)
    assert (done.code, done.err) == (0, "")
    assert "MAP estimation: sat ~ talk + (1 | group)" in done.out
    assert "No problem was found." in done.out
    assert "Diagnosis of the posterior mode" in file.read_text(encoding="utf-8")
    found = json.loads(run(*words, "--y-range", "1", "5", "--json", "-").out)
    model = rg.GLMM("sat ~ talk + (1 | group)", rg.datasets.load("debate_like"), prior=rg.prior_weak(y_range=(1, 5)))
    expected = model.optimize(seed=1)
    assert found["evidence"]["log_marginal"] == expected.log_marginal
    assert found["method"] == "map"
    assert {row["name"]: row["Estimate"] for row in found["summary"]} == expected.summary()["Estimate"].to_dict()
    assert len(found["ranef"]) == 100
    assert "y_range" in error_of(run(*words))  # the weak prior of a gaussian needs it


@pytest.mark.slow
def test_chains_and_variational_fits(run):
    words = ["fit", "sat ~ talk + (1 | group)", "data:debate_like", "--prior", "normal", "--json", "-", "--method"]
    done = run(*words, "nuts", "--draws", "150", "--warmup", "150", "--chains", "2", "--seed", "3")
    found = json.loads(done.out)
    assert found["settings"]["seed"] == 3
    assert (found["settings"]["chains"], found["settings"]["draws"]) == (2, 150)
    assert [row["name"] for row in found["summary"]][:3] == ["lp", "Intercept", "b[talk]"]
    assert done.code == (3 if found["diagnosis"]["status"] == "problem" else 0)
    done = run(*words, "advi", "--draws", "300")
    found = json.loads(done.out)
    assert found["settings"]["draws"] == 300
    assert found["evidence"]["elbo"] < 0
    assert done.code == (3 if found["diagnosis"]["status"] == "problem" else 0)


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warning", 0), ("problem", 3)])
def test_a_diagnosis_decides_the_exit_code(run, monkeypatch, status, code):
    fake = SimpleNamespace(diagnose=lambda: SimpleNamespace(status=status))
    monkeypatch.setattr(fitting, "posterior_fit", lambda *_: fake)
    monkeypatch.setattr(fitting, "posterior_report", lambda *_: page.Report("t", "text", {}, {}))
    assert run("fit", COUNTS, "data:cbpp", "--method", "map").code == code


# ------------------------------------------------------------------------------------------------ what goes wrong
def failing(monkeypatch, error):
    def fail(options):
        raise error

    monkeypatch.setattr(shelf, "run", fail)


def test_an_interruption_is_one_line_and_130(run, monkeypatch):
    failing(monkeypatch, KeyboardInterrupt())
    done = run("datasets")
    assert (done.code, done.err) == (130, "refglmm: error: interrupted\n")


def test_an_interrupted_sampler_prints_and_ends_with_130(run, monkeypatch):
    monkeypatch.setattr(shelf, "run", lambda options: warn(InterruptedWarning("kept 10 draws")) or 0)
    done = run("datasets")
    assert (done.code, done.err) == (130, "refglmm: warning: kept 10 draws\n")


def test_an_unexpected_error_is_one_line_and_its_place_is_shown_on_demand(run, monkeypatch):
    failing(monkeypatch, ZeroDivisionError("two\nlines"))
    expected = "refglmm: error: unexpected ZeroDivisionError: two lines (REFGLMM_TRACEBACK=1 shows where)\n"
    done = run("datasets")
    assert (done.code, done.err) == (2, expected)
    monkeypatch.setenv("REFGLMM_TRACEBACK", "1")
    done = run("datasets")
    assert done.err.startswith("Traceback (most recent call last):")
    assert done.err.endswith(expected)


def test_lack_of_memory_is_one_line(run, monkeypatch):
    failing(monkeypatch, MemoryError())
    assert error_of(run("datasets")) == "not enough memory for this"


def test_warnings_are_one_line_each_and_technical_ones_are_left_out(run, monkeypatch):
    def warns(options):
        warn(SingularFitWarning("two\nlines"))
        warnings.warn("a number", RuntimeWarning, stacklevel=2)
        warnings.warn("old", DeprecationWarning, stacklevel=2)
        return 0

    monkeypatch.setattr(shelf, "run", warns)
    assert run("datasets").err == "refglmm: warning: two lines\nrefglmm: warning: a number\n"


def test_a_reader_that_leaves_early_is_no_error():
    command = f"{sys.executable} -m refglmm datasets | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.split() == ["141"]
    assert done.stderr == ""


def test_a_table_through_a_pipe(cbpp_file):
    done = refglmm("fit", COUNTS, "-", "--quiet", "--json", "-", standard_input=cbpp_file.read_text(encoding="utf-8"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"]["data"] == "stdin"


def test_errors_and_codes_as_a_script_sees_them():
    done = refglmm("fit", COUNTS, "nowhere.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "refglmm: error: there is no file nowhere.csv\n"


# ------------------------------------------------------------------------------------------------------- datasets
def test_datasets_are_listed_described_and_written(run, tmp_path):
    lines = run("datasets").out.splitlines()
    assert lines[0].split() == ["name", "rows", "columns", "from", "about"]
    assert len(lines) == 1 + len(rg.datasets.names())
    assert any(line.split()[:4] == ["cbpp", "56", "4", "lme4"] for line in lines)

    shown = run("datasets", "cbpp").out
    assert str(rg.datasets.describe("cbpp")) in shown
    assert shown.splitlines()[-1].split() == ["5", "2", "1", "18", "2"]

    for name in ("cbpp.csv", "cbpp.tsv"):
        done = run("datasets", "data:cbpp", "--out", tmp_path / name)
        assert done.out.splitlines() == [
            f"{tmp_path / name}: 56 rows, 4 columns",
            "Factors whose levels are numbers, for --factor: herd period",
        ]
        pd.testing.assert_frame_equal(read(tmp_path / name).astype(str), rg.datasets.load("cbpp").astype(str))
    assert run("datasets", "cbpp", "--out", "-").out == (tmp_path / "cbpp.csv").read_text()


def test_datasets_that_are_not_there_or_cannot_be_written(run, tmp_path):
    assert "did you mean 'cbpp'?" in error_of(run("datasets", "cbppp"))
    assert "--out writes one data set; name it" in error_of(run("datasets", "--out", "a.csv"))
    assert "No such file or directory" in error_of(run("datasets", "cbpp", "--out", tmp_path / "no" / "a.csv"))


# ------------------------------------------------------------------------------------------------------- validate
@pytest.fixture
def one_model(monkeypatch):
    """A demo that fits nothing and reaches one table, all of it or not."""

    def show(good):
        def models(shown):
            print("the whole output of the demo")
            shown.compare("verbagg-laplace", lambda q: next(
                float(row["published"]) + (not good) for row in shown.tables["verbagg-laplace"]["rows"]
                if row["quantity"] == q
            ))  # fmt: skip

        monkeypatch.setattr(demo, "show_models", models)

    return show


def test_validation_counts_what_was_reproduced(run, one_model):
    one_model(good=True)
    done = run("validate")
    assert done.code == 0
    assert re.match(r"ok      2 of  2  verbagg-laplace +tests of MixedModels.jl", done.out)
    assert "2 of 2 figures reproduced, in" in done.out
    assert validating.WHOLE in done.out
    assert "demo" not in done.out
    assert "the whole output of the demo" in run("validate", "--verbose").out


def test_a_missed_figure_fails_the_validation(run, one_model):
    one_model(good=False)
    done = run("validate", "--json", "-")
    assert done.code == 1
    found = json.loads(done.out)
    assert (found["compared"], found["reproduced"]) == (2, 0)
    assert [row["good"] for row in found["figures"]] == [False, False]
    text = run("validate").out
    assert text.startswith("FAILED  0 of  2  verbagg-laplace")
    assert "in the source" in text


# --------------------------------------------------------------------------------------------------------- doctor
def test_the_doctor_finds_nothing_broken_here(run):
    done = run("doctor")
    topics = [line.split("  ")[0] for line in done.out.splitlines() if "  " in line]
    assert {"refglmm", "Python", "numba", "CHOLMOD", "numba cache", "BLAS", "a fit"} <= set(topics)
    assert "BROKEN" not in done.out
    assert done.out.endswith("Nothing is broken.\n")
    assert done.code == 0


def test_the_doctor_asks_for_what_the_project_asks_for():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [f"{name}>={oldest}" for name, oldest in doctor.NEEDED.items()] == project["dependencies"]


def test_the_doctor_says_what_is_missing_old_or_wrong(run, monkeypatch):
    monkeypatch.setattr(doctor, "NEEDED", {"no_such_package": "1.0", "numpy": "99.0"})
    monkeypatch.setattr(doctor, "OPTIONAL", {"no-such": ("no_such", "nothing")})
    monkeypatch.setattr(doctor, "LOGLIK", -1.0)
    monkeypatch.setattr(doctor, "_solve_with_cholmod", lambda: (_ for _ in ()).throw(ArithmeticError("wrong")))
    monkeypatch.setitem(sys.modules, "sksparse.cholmod", SimpleNamespace(__file__="none"))
    done = run("doctor")
    assert done.code == 1
    assert "no_such_package BROKEN: ModuleNotFoundError: No module named 'no_such_package'; python -m pip" in done.out
    assert re.search(r"^numpy +BROKEN: [\d.]+, older than 99.0$", done.out, re.M)
    assert re.search(r"^no-such +not installed \(nothing\)$", done.out, re.M)
    assert re.search(r"^cholmod +BROKEN: ", done.out, re.M)
    assert re.search(r"^a fit +BROKEN: cbpp in .*expected -1.0", done.out, re.M)
    assert done.out.endswith("4 of these broken\n")


def test_the_doctor_does_without_cholmod(monkeypatch):
    monkeypatch.setitem(sys.modules, "sksparse.cholmod", None)
    monkeypatch.setattr(doctor, "import_module", lambda name: (_ for _ in ()).throw(ModuleNotFoundError(name)))
    (finding,) = doctor.cholmod()
    assert finding.fine
    assert "the built-in Cholesky stands in" in finding.text


def test_a_cache_that_cannot_be_written_is_found(tmp_path):
    assert doctor._fault_of(tmp_path / "made" / "later") == ""
    assert "NUMBA_CACHE_DIR moves the cache" in doctor._fault_of(Path("/proc"))


# ----------------------------------------------------------------------------------------------------- crosscheck
REPORT = {
    "program": "lme4",
    "formula": CBPP,
    "family": "binomial",
    "fixef": {"(Intercept)": -1.3985, "period2": -0.9923, "period3": -1.1287, "period4": -1.5803},
    "sd": {"herd": 0.6423},
    "loglik": -92.0263,
}


@pytest.fixture
def report(tmp_path):
    def write(**changed):
        file = tmp_path / "reported.json"
        file.write_text(json.dumps(REPORT | changed), encoding="utf-8")
        return file

    return write


def test_a_report_that_agrees(run, report, tmp_path):
    file = tmp_path / "check.html"
    done = run("crosscheck", report(), "data:cbpp", "--html", file)
    assert done.code == 0
    assert "VERDICT agrees" in done.out
    assert "VERDICT" not in done.err
    assert "Cross-check of lme4" in file.read_text(encoding="utf-8")


def test_a_report_that_disagrees_has_exit_code_one(run, report):
    done = run("crosscheck", report(sd={"herd": 1.5}), "data:cbpp", "--json", "-")
    assert done.code == 1
    assert json.loads(done.out)["verdict"] == "not_the_optimum"


def test_options_override_the_report_and_it_may_come_from_standard_input(run, monkeypatch, cbpp_file):
    wrong = REPORT | {"formula": "incidence ~ 1 + (1 | herd)", "family": "poisson"}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(wrong)))
    words = ["--formula", CBPP, "--family", "binomial", "--factor", "period", "herd"]
    assert run("crosscheck", "-", cbpp_file, *words).code == 0


def test_snippets_are_printed(run):
    assert run("crosscheck", "--snippet", "lme4").out == rg.crosscheck_snippet("lme4")
    message = error_of(run("crosscheck", "--snippet", "nope"))
    assert message.startswith("there is no snippet for 'nope'; there are those for 'lme4', 'glmmTMB'")


def test_exit_codes_of_verdicts():
    from refglmm.crosschecking.verdict import Code

    codes = {code: crosschecking.exit_code(code) for code in Code}
    assert {code for code, value in codes.items() if value == 0} == {Code.AGREES, Code.OTHER_CONVENTION}
    assert [code for code, value in codes.items() if value == 3] == [Code.INCOMPLETE]
    assert set(codes.values()) == {0, 1, 3}


def test_reports_that_cannot_be_checked(run, report, tmp_path):
    assert "crosscheck needs a file with reported results" in error_of(run("crosscheck"))
    assert "there is no file nothing.json" in error_of(run("crosscheck", "nothing.json", "data:cbpp"))
    assert "only one of the report and the data" in error_of(run("crosscheck", "-", "-"))
    assert "period9" in error_of(run("crosscheck", report(fixef={"period9": 1.0}), "data:cbpp"))
    broken = tmp_path / "broken.json"
    broken.write_bytes(b"\xff\xfe")
    assert "is not UTF-8 text" in error_of(run("crosscheck", broken, "data:cbpp"))
    broken.write_text("{")
    assert "JSON" in error_of(run("crosscheck", broken, "data:cbpp"))
    assert "--snippet prints code" in error_of(run("crosscheck", "a.json", "--snippet", "lme4"))


def test_outputs_are_checked_before_anything_is_read():
    with pytest.raises(rg.errors.ArgumentError, match="no folder"):
        page.check_outputs(Namespace(json="no/such.json"))
