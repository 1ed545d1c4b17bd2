"""The worked examples run as anyone runs them, reach the figures they name, and write their pictures.

Each is run by a Python of its own in a folder of its own. The table of figures to reach is checked against the sources
that it names, so that an example cannot reach figures of its own making.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from scipy import stats

import refglmm as rg

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = REPOSITORY / "docs" / "examples"
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "worked")
TABLES = json.loads((EXAMPLES / "published.json").read_text(encoding="utf-8"))["tables"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_reaches_its_figures_and_writes_its_pictures(name, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "default"}
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--out", "pictures", "--nsim", "10"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    reached, named = map(int, re.search(r"^(\d+) of (\d+) figures reproduced$", run.stdout, re.MULTILINE).groups())
    assert reached == named > 20
    assert "NOT reproduced" not in run.stdout
    listed = re.search(r"^Pictures: pictures/(.*)$", run.stdout, re.MULTILINE).group(1).split(", ")
    written = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert sorted(listed) == written
    assert len(written) >= 6
    for picture in written:
        pixels = matplotlib.image.imread(tmp_path / "pictures" / picture)[..., :3]
        assert min(pixels.shape[:2]) > 300
        assert np.mean(np.any(pixels < 0.9, axis=2)) > 0.01  # something is drawn


@pytest.mark.slow
def test_an_example_fails_where_a_figure_is_missed(tmp_path):
    text = (EXAMPLES / "published.json").read_text(encoding="utf-8")
    for source in ("worked.py", "lecture_arabidopsis.py"):
        (tmp_path / source).write_text((EXAMPLES / source).read_text(encoding="utf-8"), encoding="utf-8")
    assert text.count('"-1433.772948"') == 1
    (tmp_path / "published.json").write_text(text.replace('"-1433.772948"', '"-1433.872948"'), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, str(tmp_path / "lecture_arabidopsis.py"), "--out", "pictures", "--nsim", "0"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert run.returncode == 1
    assert "NOT reproduced: arabidopsis-shrinkage, logLik: -1433.872948 in the source" in run.stdout


# ------------------------------------------------------------------------------- where the figures come from
@pytest.fixture(scope="module")
def published():
    text = (REPOSITORY / "validation" / "published.json").read_text(encoding="utf-8")
    entries = json.loads(text, parse_float=Decimal, parse_int=Decimal)["entries"]
    return {entry["id"]: entry for entry in entries}


def numbers_in(value):
    """All numbers of an entry, whatever they are called."""
    if isinstance(value, dict):
        return {number for part in value.values() for number in numbers_in(part)}
    if isinstance(value, list):
        return {number for part in value for number in numbers_in(part)}
    return {value} if isinstance(value, Decimal) else set()


@pytest.mark.parametrize("table", [name for name, table in TABLES.items() if "entry" in table])
def test_figures_stand_in_the_entry_that_a_table_names(table, published):
    known = numbers_in(published[TABLES[table]["entry"]])
    for row in TABLES[table]["rows"]:
        digits = Decimal(row["published"])
        found = any(digits == number or digits == round(number, -digits.as_tuple().exponent) for number in known)
        assert found, f"{row['quantity']}: {row['published']} does not stand in {TABLES[table]['entry']}"


@pytest.mark.parametrize("table", list(TABLES))
def test_no_difference_is_allowed_that_hides_a_wrong_figure(table):
    for row in TABLES[table]["rows"]:
        value = abs(float(row["published"]))
        assert 0.0 <= row["allowed"] <= max(0.013 * value, 1e-3 if value < 1 else 0.0), row


# -------------------------------------------------------------------------------- what a tutorial works out itself
@pytest.fixture
def tutorial(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("adaptive_quadrature")


def test_the_drawn_data_have_the_design_of_the_article(tutorial):
    for name, largest in (("gad_binary", 1), ("gad_poisson", np.inf)):
        data = tutorial.drawn(name)
        assert data.equals(tutorial.drawn(name))
        subjects = data.groupby("id")
        assert (subjects.size() == 8).all()
        assert (len(subjects), data["time"].max() < 15.0, data["y"].max() <= largest) == (100, True, True)
        assert (subjects["time"].min() == 0.0).all()
        assert (subjects["sex"].nunique() == 1).all()
        assert (data["sex"] == "female").mean() == 0.5
    low, high = data[data["time"] < 5.0]["y"].mean(), data[data["time"] > 10.0]["y"].mean()
    assert np.log(high / low) == pytest.approx(0.22 * 9.0, abs=0.6)


def test_frozen_nodes_are_right_where_they_were_placed_and_nowhere_else(tutorial):
    data = tutorial.drawn("gad_poisson")
    with pytest.warns(rg.errors.ConvergenceWarning, match="frozen nodes stopped"):
        stopped = rg.mixed_model(tutorial.FIXED, "~ 1 | id", data, "poisson", method="hybrid", polish=False)
    intercept = stopped.fixef["(Intercept)"]
    frozen, moving = tutorial.along_the_intercept(stopped, intercept + np.array([-0.5, 0.0, 0.5]))
    assert frozen[1] == pytest.approx(moving[1], abs=1e-8)
    assert moving[1] == pytest.approx(stopped.loglik, abs=1e-6)
    assert moving[0] > moving[1]
    assert np.all(frozen[[0, 2]] < moving[[0, 2]] - 50.0)


@pytest.fixture
def article(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("rtmb_glmer_article")


def test_the_closed_form_of_the_article_is_the_density_of_its_model(article):
    data = rg.datasets.load("debate_like").iloc[:12]
    exact = article.Exact(data, ["talk"])
    theta = np.array([[3.2, 0.3, np.log(0.7), np.log(0.4)]])
    talk, group = data["talk"].to_numpy(float), data["group"].to_numpy()
    covariance = 0.49 * np.eye(12) + 0.16 * (group[:, None] == group)
    mean = 3.2 + 0.3 * (talk - talk.mean())
    density = stats.multivariate_normal(mean, covariance).logpdf(data["sat"].to_numpy(float))
    assert exact.group_loglik(theta).sum() == pytest.approx(density, abs=1e-10)
    normal = -0.5 * (3.2**2 + 0.3**2) / 100.0 - 2.0 * np.log(10.0 * np.sqrt(2.0 * np.pi))
    assert exact.log_prior(theta)[0] == pytest.approx(normal - (0.7 + 0.4) / 5.0 - 2.0 * np.log(5.0), abs=1e-12)


def test_the_integrals_of_the_article_are_those_of_a_grid(article):
    """No slopes: three dimensions, in which the trapezoidal rule on unbounded scales leaves nothing to wish."""
    exact = article.Exact(rg.datasets.load("debate_like").iloc[:60], [])
    axes = np.linspace(2.0, 5.0, 61), np.linspace(-1.2, 0.5, 61), np.linspace(-9.0, 1.0, 201)
    theta = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    density = np.concatenate(
        [exact.log_posterior(part) + part[:, 1:].sum(axis=1) for part in np.array_split(theta, 20)]
    )
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    logml, error = exact.logml
    assert logml == pytest.approx(
        float(np.log(np.sum(np.exp(density - density.max())) * cell) + density.max()), abs=4 * error
    )
    assert error < 0.03
    weights = np.exp(density - density.max())
    mean = (weights @ theta[:, 0]) / weights.sum()
    assert exact.moments().loc["Intercept_c", "mean"] == pytest.approx(mean, abs=0.02)
