"""The demo: its figures come from the sources it names, it notices a miss, and it runs to the end."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm import demo

REPOSITORY = Path(__file__).resolve().parents[1]
TABLES = json.loads(demo.PUBLISHED.read_text(encoding="utf-8"))["tables"]
PICTURES = ("figure1_integrands.png", "figure2_ratio.png", "figure3_toenail.png", "caterpillar.png")


# ------------------------------------------------------------------------------- where the figures come from
@pytest.fixture(scope="module")
def published():
    text = (REPOSITORY / "validation" / "published.json").read_text(encoding="utf-8")
    entries = json.loads(text, parse_float=Decimal, parse_int=Decimal)["entries"]
    return {entry["id"]: entry["quantities"] for entry in entries}


@pytest.fixture(scope="module")
def computed():
    lines = (REPOSITORY / "validation" / "peers" / "lme4.jsonl").read_text(encoding="utf-8").splitlines()
    return {entry["case"]: entry for entry in map(json.loads, lines)}


SCALARS = {
    "AIC": ("AIC",),
    "BIC": ("BIC",),
    "logLik": ("logLik",),
    "-2 log L": ("minus2logLik",),
    "-2 log L, relative": ("minus2logLik",),
    "deviance": ("deviance", "sum_deviance_residuals"),
    "df.resid": ("df_resid",),
}
MODEL_QUANTITIES = {"df": "df", "delta -logLik": "delta_negloglik", "delta AIC": "delta_AIC"}


def published_number(quantities, quantity):
    """The figure of an entry of published.json that a row of the demo names."""
    if quantity in SCALARS:
        return next(quantities[key] for key in SCALARS[quantity] if key in quantities)
    kind, name = quantity.rsplit(" ", 1)
    if kind in MODEL_QUANTITIES:
        return quantities[name][MODEL_QUANTITIES[kind]]
    if kind == "sd":
        return quantities["sd"].get(name) or quantities["sd"][f"{name}.(Intercept)"]
    return quantities["fixef" if "fixef" in quantities else "cond"][name]


def computed_number(cases, entry, quantity):
    """The figure of a line of lme4.jsonl; "cm*_tight" stands for one line a model."""
    kind, _, name = quantity.partition(" ")
    if "*" in entry:
        return cases[entry.replace("cm*", name)][kind]
    if kind == "logLik":
        return cases[entry]["logLik"]
    if kind == "sd":
        return cases[entry]["theta"][f"{name}.(Intercept)"]
    return cases[entry][{"beta": "fixef"}.get(kind, kind)][name]


@pytest.mark.parametrize("table", [name for name, t in TABLES.items() if t["kind"] == "published"])
def test_published_figures_stand_in_the_source(table, published):
    quantities = published[TABLES[table]["entry"]]
    if table.startswith("verbagg"):
        quantities = quantities[table.removeprefix("verbagg-")]
    for row in TABLES[table]["rows"]:
        text = Decimal(row["published"])
        source = published_number(quantities, row["quantity"])
        assert round(source, -text.as_tuple().exponent) == text, row


@pytest.mark.parametrize("table", [name for name, t in TABLES.items() if t["kind"] == "computed"])
def test_computed_figures_stand_in_the_source(table, computed):
    entry = TABLES[table]["entry"]
    for row in TABLES[table]["rows"]:
        digits = demo.decimals_of(row["published"])
        source = computed_number(computed, entry, row["quantity"])
        assert f"{source:.{digits}f}" == row["published"], row


def test_every_table_says_what_it_is():
    for table in TABLES.values():
        assert table["kind"] in ("published", "computed")
        assert table["source"]
        assert table["allowed"]
        assert table["rows"]


# -------------------------------------------------------------------------------------- reading and comparing
def small_fit():
    return SimpleNamespace(
        aic=210.0,
        loglik=-100.0,
        minus_two_loglik=200.0,
        deviance=70.0,
        df=5,
        conditional=SimpleNamespace(log_density=-80.0),
        fixef=pd.Series({"(Intercept)": 1.5, "x z": -2.0}),
        varcorr={"g": SimpleNamespace(sd=np.array([0.7, 0.1]))},
    )


def test_quantities_are_read_by_name():
    fit = small_fit()
    assert demo.quantity_of(fit, "AIC") == 210.0
    assert demo.quantity_of(fit, "beta x z") == -2.0
    assert demo.quantity_of(fit, "sd g") == 0.7
    # -2 log f at the modes 160, of which 70 is deviance: the saturated model has 90
    assert demo.quantity_of(fit, "-2 log L, relative") == 110.0


def test_models_are_compared_with_the_best_by_each_criterion():
    better, smaller = small_fit(), small_fit()
    smaller.df, smaller.loglik, smaller.aic = 3, -101.25, 208.5
    numbers = demo.comparison_of_models({"a": better, "b": smaller})
    assert numbers == {
        "df a": 5, "logLik a": -100.0, "delta -logLik a": 0.0, "delta AIC a": 1.5,
        "df b": 3, "logLik b": -101.25, "delta -logLik b": 1.25, "delta AIC b": 0.0,
    }  # fmt: skip


@pytest.fixture
def one_table(tmp_path):
    rows = [
        {"quantity": "AIC", "published": "209.95", "allowed": 0.05},
        {"quantity": "df", "published": "5", "allowed": 0.0},
        {"quantity": "logLik", "published": "-100.1", "allowed": 0.05},
    ]
    table = {"kind": "published", "source": "a paper", "allowed": "half a unit", "rows": rows}
    path = tmp_path / "published.json"
    path.write_text(json.dumps({"tables": {"one": table}}), encoding="utf-8")
    return path


def test_a_figure_out_of_reach_is_marked_and_remembered(one_table, capsys):
    shown = demo.Demo(one_table)
    shown.compare("one", {"AIC": 210.0, "df": 5, "logLik": -100.0}.__getitem__)
    lines = capsys.readouterr().out.splitlines()
    assert "Published: a paper" in lines
    verdicts = {line.split()[0]: line.split()[-1] for line in lines if line.endswith(("ok", "MISSED"))}
    assert verdicts == {"AIC": "ok", "df": "ok", "logLik": "MISSED"}  # 210.0 - 209.95 is just allowed
    assert shown.compared == 3
    assert shown.missed == ["one, logLik: -100.1 in the source, -100.000 here, allowed 5.0e-02"]


def test_a_nan_is_a_miss(one_table):
    shown = demo.Demo(one_table)
    shown.compare("one", lambda quantity: float("nan"))
    assert len(shown.missed) == 3


def test_a_miss_makes_the_exit_status_one_and_is_said(monkeypatch, capsys, tmp_path, one_table):
    def misses(shown):
        shown.compare("contraception-tight", lambda quantity: 0.0)

    for name in ("show_cbpp", "show_verbagg", "show_toenail"):
        monkeypatch.setattr(demo, name, lambda shown: None)
    monkeypatch.setattr(demo, "write_pictures", lambda folder, *fits: [folder / "one.png"])
    monkeypatch.setattr(demo, "show_contraception", lambda shown: None)
    assert demo.main(["--out", str(tmp_path)]) == 0
    assert "0 of 0 figures reproduced" in capsys.readouterr().out
    monkeypatch.setattr(demo, "show_contraception", misses)
    assert demo.main(["--out", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "0 of 6 figures reproduced" in out
    assert re.search(r"^NOT reproduced: contraception-tight, logLik cm4: -1176\.\d+ in the source", out, re.M)


def test_a_folder_that_cannot_be_made_stops_before_fitting(tmp_path, capsys):
    taken = tmp_path / "file"
    taken.write_text("", encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        demo.main(["--out", str(taken)])
    assert stopped.value.code == 2
    assert "cannot make the folder for the pictures" in capsys.readouterr().err


def test_contraception_is_prepared_as_in_the_paper():
    data = demo.load_contraception()
    assert data["age_s"].std() == pytest.approx(0.5, rel=1e-12)
    assert list(data["ch"].cat.categories) == ["N", "Y"]
    assert (data["ch"] == "N").sum() == (data["livch"] == "0").sum() == 530
    assert "ch" not in rg.datasets.load("Contraception")


# ----------------------------------------------------------------------------------------------- the real run
@pytest.mark.slow
def test_the_demo_reproduces_every_figure_and_writes_the_pictures(tmp_path, capsys):
    folder = tmp_path / "new" / "pictures"
    assert demo.main(["--out", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= demo.WIDTH
    assert lines[-1] == f"Pictures: {folder}/{', '.join(PICTURES)}"
    rows = sum(len(table["rows"]) for table in TABLES.values())
    assert f"{rows} of {rows} figures reproduced" in lines
    assert sum(line.startswith("Generalized linear mixed model") for line in lines) == 4
    for name in PICTURES:
        image = matplotlib.image.imread(folder / name)
        assert image.shape[0] > 600
        assert image.std() > 0.05
