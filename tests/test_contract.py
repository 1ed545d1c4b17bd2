"""The import contract, what an import may cost, and what the package carries."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import refglmm

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]

IMPORT_ALL = """
import importlib, pkgutil, sys
import refglmm
for module in pkgutil.walk_packages(refglmm.__path__, "refglmm."):
    importlib.import_module(module.name)
print(*sorted(sys.modules))
"""

FIRST_FIT = """
import sys
import refglmm as rg
formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
str(rg.glmer(formula, rg.datasets.load("cbpp"), "binomial").summary())
print(*sorted(sys.modules))
"""


def run_python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_modules_import_only_upwards_in_the_reading_order():
    lint = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [lint, "--config", "pyproject.toml", "--no-cache"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_the_package_itself_imports_nothing_heavy():
    loaded = set(run_python("import sys, refglmm; print(*sys.modules)"))
    assert not loaded & {"pandas", "scipy", "numba", "matplotlib", "patsy", "sksparse", "polars"}


def test_no_module_imports_the_slow_or_the_optional_at_its_top():
    # scipy.stats costs half a second; the others are needed by some users only
    loaded = set(run_python(IMPORT_ALL))
    assert "refglmm.datasets.catalogue" in loaded
    assert not loaded & {"scipy.stats", "matplotlib", "polars", "pyarrow.dataset", "sksparse", "IPython"}
    assert not loaded & {"scipy.special", "scipy.optimize", "scipy.sparse", "nlopt", "narwhals"}


def test_a_first_fit_and_its_summary_load_nothing_slow():
    # scipy.linalg is not among them: numba itself loads it with its first kernel
    loaded = set(run_python(FIRST_FIT))
    assert not loaded & {"scipy.special", "scipy.optimize", "scipy.sparse"}


def test_importing_compiles_nothing(tmp_path):
    run_python(IMPORT_ALL, NUMBA_CACHE_DIR=str(tmp_path))
    assert list(tmp_path.rglob("*.nb?")) == []


def test_one_version_everywhere():
    # the metadata take it from the package, the other two are written by hand
    version = refglmm.__version__
    assert PROJECT["dynamic"] == ["version"]
    assert f"\nversion: {version}\n" in (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {version}" in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


def test_cholmod_is_an_extra_and_never_a_requirement():
    assert not any("sparse" in requirement for requirement in PROJECT["dependencies"])
    assert PROJECT["optional-dependencies"]["cholmod"] == ["scikit-sparse>=0.4.16"]


@pytest.mark.slow
def test_the_wheel_carries_the_data_the_type_marker_and_the_licence(tmp_path):
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(REPOSITORY / "refglmm", source / "refglmm", ignore=ignore)
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, source]
    subprocess.run(build, check=True, capture_output=True)

    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    in_tree = {
        str(path.relative_to(REPOSITORY))
        for path in (REPOSITORY / "refglmm").rglob("*")
        if path.is_file() and path.suffix not in {".pyc", ".nbi", ".nbc"}
    }
    assert in_tree <= inside
    records = f"refglmm-{refglmm.__version__}.dist-info/"
    assert {name for name in inside - in_tree if not name.startswith(records)} == set()
    assert any(name.endswith("licenses/LICENSE") for name in inside)

    text = {name: zipfile.ZipFile(wheel).read(name).decode() for name in inside if name.startswith(records)}
    assert "refglmm = refglmm.cli:main" in text[f"{records}entry_points.txt"].splitlines()
    metadata = message_from_string(text[f"{records}METADATA"])
    assert (metadata["Name"], metadata["Version"]) == ("refglmm", refglmm.__version__)
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().lstrip().startswith("# refglmm")
    # nothing of the machine that it was built on
    for name, content in text.items():
        assert not re.search(rf"file://|{re.escape(str(tmp_path))}|{re.escape(str(REPOSITORY))}|/home/", content), name
