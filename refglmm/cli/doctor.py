"""``refglmm doctor``: what this installation is made of, and whether it works.

Place in the reading order: last of the commands. What is absent but not needed is said and is no fault; what is needed
and does not work is marked ``BROKEN`` and makes the exit code 1.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import refglmm as rg
from refglmm.cli.arguments import Exit

#: What every installation needs, and from which version on (as pyproject.toml asks for).
NEEDED = {
    "numpy": "2.0",
    "scipy": "1.13",
    "pandas": "2.2",
    "numba": "0.61",
    "matplotlib": "3.9",
    "nlopt": "2.9",
    "tqdm": "4.66",
    "narwhals": "2.0",
    "threadpoolctl": "3.5",
}
#: Distributions that are used where they are there: module, and for what.
OPTIONAL = {
    "distributed": ("distributed", "bootstraps over a cluster"),
    "arviz-base": ("arviz_base", "draws to ArviZ"),
    "polars": ("polars", "data frames"),
    "pyarrow": ("pyarrow", "Parquet files and Arrow tables"),
}
#: A fit that everybody can do: the glmer paper's first example, its log-likelihood by Laplace's method.
FORMULA = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
LOGLIK = -92.02628
#: Variables that decide how many threads a BLAS takes by itself.
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class Finding(NamedTuple):
    """What was looked at, what was found, and whether it will do."""

    topic: str
    text: str
    fine: bool = True


def run(options: Namespace) -> int:
    """Look at everything, a line each."""
    broken = 0
    for look in (about, needed, cholmod, kernels, threads, optional, first_fit):
        for finding in _findings(look):
            broken += not finding.fine
            print(f"{finding.topic:<15} {'' if finding.fine else 'BROKEN: '}{finding.text}", flush=True)
    print(f"\n{broken} of these broken" if broken else "\nNothing is broken.")
    return Exit.DISAGREES if broken else Exit.FINE


def _findings(look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What one look finds; an exception is a finding too."""
    try:
        yield from look()
    except Exception as error:
        yield Finding(look.__name__.replace("_", " "), _worded(error), fine=False)


def _worded(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


# ------------------------------------------------------------------------------------------------- the pieces
def about() -> Iterator[Finding]:
    """The package itself, Python, the machine."""
    yield Finding("refglmm", f"{rg.__version__}, in {Path(str(rg.__file__)).parent}")
    yield Finding("Python", f"{platform.python_version()} ({platform.python_implementation()}), {sys.executable}")
    yield Finding("machine", f"{platform.system()} {platform.machine()}, {_cores()} cores")


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def needed() -> Iterator[Finding]:
    """Packages without which nothing works: they must load, and be new enough."""
    for name, oldest in NEEDED.items():
        try:
            import_module(name)
            found = version(name)
        except Exception as error:  # a broken binary raises anything
            yield Finding(name, f"{_worded(error)}; python -m pip install '{name}>={oldest}'", fine=False)
            continue
        old = _numbers(found) < _numbers(oldest)
        yield Finding(name, f"{found}, older than {oldest}" if old else found, fine=not old)


def _numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version."""
    parts = []
    for part in text.split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)


def cholmod() -> Iterator[Finding]:
    """The sparse Cholesky of large models, which the built-in one can replace."""
    try:
        module = import_module("sksparse.cholmod")
    except ModuleNotFoundError:
        yield Finding("CHOLMOD", "not installed, the built-in Cholesky stands in; pip install 'refglmm[cholmod]'")
        return
    library = suitesparse_version(module)
    shown = f"SuiteSparse {library}" if library else "SuiteSparse of unknown version"
    yield Finding("CHOLMOD", f"scikit-sparse {version('scikit-sparse')}, {shown}, {_solve_with_cholmod()}")


def suitesparse_version(module: Any) -> str | None:
    """Version of the SuiteSparse that scikit-sparse runs on, asked of the library itself."""
    for holder in (module, *(import_module(name) for name in sys.modules if name.startswith("sksparse."))):
        file = getattr(holder, "__file__", None) or ""
        if file.endswith((".so", ".pyd", ".dylib")):
            library = ctypes.CDLL(file)
            ask = getattr(library, "SuiteSparse_version", None)
            if ask is not None:
                numbers = (ctypes.c_int * 3)()
                ask(numbers)
                return ".".join(map(str, numbers))
    return None


def _solve_with_cholmod() -> str:
    """Factor a small matrix; its log determinant is known."""
    import numpy as np

    from refglmm.likelihood.cholesky import make_cholesky

    factor = make_cholesky(np.array([0, 2, 3]), np.array([0, 1, 1]), 2, engine="cholmod")
    factor.refactor(np.array([4.0, 2.0, 3.0]))  # determinant 4 * 3 - 2 * 2
    if abs(factor.logdet() - np.log(8.0)) > 1e-12:
        raise ArithmeticError(f"log determinant {factor.logdet()} instead of log 8")
    return "factors a matrix correctly"


def kernels() -> Iterator[Finding]:
    """Where numba keeps what it compiled, whether it may, and whether a first fit will find it there."""
    import numba

    from refglmm.likelihood.layout import accumulate_blocks
    from refglmm.likelihood.warmup import kernels_are_cached

    if getattr(numba.config, "DISABLE_JIT", False):
        yield Finding("numba cache", "NUMBA_DISABLE_JIT is set: everything runs as plain Python, slowly")
        return
    folder = Path(accumulate_blocks.stats.cache_path)
    state = "warm" if kernels_are_cached() else "cold: a first fit compiles for some seconds"
    fault = _fault_of(folder)
    yield Finding("numba cache", fault or f"{folder.parent}, writable, {state}", fine=not fault)


def _fault_of(folder: Path) -> str:
    """Why nothing can be written to a folder (or where it would be made); empty if it can."""
    there = next(place for place in (folder, *folder.parents) if place.is_dir())
    try:
        with tempfile.TemporaryFile(dir=there):
            return ""
    except OSError as error:
        reason = error.strerror or "cannot be written to"
        return f"{there}: {reason}; every process will compile anew (NUMBA_CACHE_DIR moves the cache)"


def threads() -> Iterator[Finding]:
    """The BLAS libraries and their threads; fits take one, chains of a sampler run beside each other."""
    from threadpoolctl import threadpool_info

    import_module("scipy.linalg")
    for pool in threadpool_info():
        if pool["user_api"] == "blas":
            text = f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads (a fit uses 1)"
            yield Finding("BLAS", text)
    given = [f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ]
    yield Finding("threads set by", ", ".join(given) or "no environment variable")


def optional() -> Iterator[Finding]:
    """Packages that are used where they are there; one that is there must load."""
    for name, (module, purpose) in OPTIONAL.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Finding(name, f"not installed ({purpose})")
            continue
        try:
            import_module(module)
        except Exception as error:
            yield Finding(name, f"{found}, {_worded(error)} ({purpose})", fine=False)
            continue
        yield Finding(name, f"{found} ({purpose})")


def first_fit() -> Iterator[Finding]:
    """Fit cbpp twice: with everything that a first fit loads or compiles, and without."""
    data = rg.datasets.load("cbpp")
    seconds = []
    for _ in range(2):
        begin = time.perf_counter()
        fit = rg.glmer(FORMULA, data, "binomial")
        seconds.append(time.perf_counter() - begin)
    good = fit.convergence.converged and abs(fit.loglik - LOGLIK) < 1e-4
    text = (
        f"cbpp in {seconds[0]:.2f} s, again in {1e3 * seconds[1]:.1f} ms, logLik {fit.loglik:.5f} "
        f"(expected {LOGLIK}), {str(fit.convergence).splitlines()[0]}"
    )
    yield Finding("a fit", text, fine=good)
