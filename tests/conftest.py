"""What every test shares: a fresh numba cache, and data that may be read but not committed.

numba does not notice a changed helper in another file, so a test run compiles into an empty cache of its
own and throws it away. ``REFGLMM_TEST_CACHE=<folder>`` keeps the compiled kernels there between runs
(quicker, and yours to empty after touching a kernel).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
#: Scripts that other environments run; `--doctest-modules` would import them.
collect_ignore = ["bayes/golden_arviz.py", "stress/export.py"]
_IS_XDIST_WORKER = "PYTEST_XDIST_WORKER" in os.environ
_KEPT_CACHE = os.environ.get("REFGLMM_TEST_CACHE")

# numba reads the variable when it is imported, which nothing has done yet; xdist's workers inherit it.
if not _IS_XDIST_WORKER:
    os.environ["NUMBA_CACHE_DIR"] = _KEPT_CACHE or tempfile.mkdtemp(prefix="refglmm-numba-")


def pytest_report_header() -> str:
    """Say which numba cache is in use."""
    if _KEPT_CACHE:
        return f"numba cache: {_KEPT_CACHE} (kept)"
    return "numba cache: fresh, thrown away afterwards (REFGLMM_TEST_CACHE=<folder> keeps one)"


def pytest_unconfigure() -> None:
    """Remove the fresh cache, once, from the process that made it."""
    if not _IS_XDIST_WORKER and not _KEPT_CACHE:
        shutil.rmtree(os.environ["NUMBA_CACHE_DIR"], ignore_errors=True)


def _shared_folder() -> Path:
    return Path(os.environ.get("REFGLMM_SHARED", REPOSITORY.parent / "shared"))


@pytest.fixture(scope="session")
def shared_data():
    """Return a function from the name of a data set that lies beside the repository to its data frame.

    Those data may be read by tests but not shipped; where the folder is absent the test is skipped.
    """
    from refglmm.datasets.reading import read_csv

    folder = _shared_folder() / "data"
    listing = folder / "datasets.json"
    described = json.loads(listing.read_text(encoding="utf-8"))["datasets"] if listing.exists() else []
    entries = {entry["name"]: entry for entry in described}
    loaded = {}

    def load(name):
        if name not in entries:
            pytest.skip(f"the data set {name} does not lie in {folder.name}/ beside the repository")
        if name not in loaded:
            loaded[name] = read_csv(folder / entries[name]["file"], entries[name]["columns"])
        return loaded[name].copy()

    return load
