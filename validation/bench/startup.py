"""How long a fresh process takes: import, and import + fit + summary, with numba's cache warm and empty.

Place in the reading order: after ``peers``. Python's bytecode is cached in every run, as it is for an installed
package.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

from validation.bench.peers import ONE_THREAD, REPOSITORY

IMPORT = "import refglmm"
ENGINE = "import refglmm as rg; rg.glmer"
FIT = (
    "import refglmm as rg; cbpp = rg.datasets.load('cbpp'); "
    "fit = rg.glmer('cbind(incidence, size - incidence) ~ period + (1 | herd)', cbpp, 'binomial'); "
    "str(fit.summary())"
)
REPEATS = 7


def seconds(code: str, cache: str) -> tuple[float, float]:
    """Wall and CPU seconds of ``python -c code`` with this numba cache (children's CPU included)."""
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(REPOSITORY), "NUMBA_CACHE_DIR": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["PYTHONPYCACHEPREFIX"] = os.path.join(tempfile.gettempdir(), "refglmm-bench-bytecode")
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, cwd=REPOSITORY)
    wall, after = time.perf_counter() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu


def measure(repeats: int = REPEATS) -> dict[str, list[float]]:
    """Median (wall, CPU) seconds: "import", "engine", "fit" (warm cache), "cold" (first fit ever, measured once).

    "import" is ``import refglmm``, which loads next to nothing; "engine" adds what the first fit needs.
    """
    with tempfile.TemporaryDirectory(prefix="refglmm-bench-") as cache:
        seconds(ENGINE, cache)  # bytecode
        cold = seconds(FIT, cache)
        code = {"import": IMPORT, "engine": ENGINE, "fit": FIT}
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in code}
        for _ in range(repeats):
            for name in code:
                runs[name].append(seconds(code[name], cache))
    medians = {name: [statistics.median(side) for side in zip(*pairs, strict=True)] for name, pairs in runs.items()}
    return {**medians, "cold": list(cold)}
