"""Kernels with one signature: they take functions, compile when first called, and can be pickled."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import pytest
from numba import types

import refglmm
from refglmm import _jit
from refglmm._jit import SignedKernel, signed_kernel

#: Where this package lies.
SOURCE = str(Path(refglmm.__file__).resolve().parents[1])
UNARY = types.float64(types.float64)


@signed_kernel(UNARY)
def double(x):
    """Twice x."""
    return 2.0 * x


@signed_kernel(UNARY)
def negate(x):
    """Minus x."""
    return -x


@signed_kernel(types.float64(types.FunctionType(UNARY), types.float64))
def twice(function, x):
    """Apply a function two times."""
    return function(function(x))


def test_functions_are_arguments_and_cost_no_compilation():
    assert twice(double, 3.0) == 12.0
    compiled = twice.dispatcher
    assert twice(negate, 3.0) == 3.0
    assert twice.dispatcher is compiled
    assert len(compiled.signatures) == 1


def test_nothing_is_compiled_before_the_first_call():
    fresh = SignedKernel(double.py_func, UNARY)
    assert fresh._dispatcher is None
    assert fresh(1.0) == 2.0
    assert fresh._dispatcher is not None


def test_other_types_are_refused():
    with pytest.raises(TypeError, match="No matching definition"):
        double("text")


def test_threads_compile_once(monkeypatch):
    compilations = []
    compiled = SignedKernel._compiled
    monkeypatch.setattr(SignedKernel, "_compiled", lambda self: compilations.append(1) or compiled(self))
    fresh = SignedKernel(double.py_func, UNARY)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(fresh, [1.0] * 8)) == [2.0] * 8
    assert len(compilations) == 1


def test_keeps_name_text_and_python_function():
    assert double.__name__ == "double"
    assert double.__doc__ == "Twice x."
    assert _jit.pure(double)(4.0) == 8.0


def test_pickles_by_name():
    assert pickle.loads(pickle.dumps(double)) is double


def test_runs_as_python_where_numba_is_disabled(monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
    assert SignedKernel(double.py_func, UNARY).dispatcher is double.py_func


def test_says_once_that_it_compiles_and_finds_the_cache_next_time(tmp_path):
    """Two processes: the first tells about compilation on standard error, once; the second is silent."""
    script = tmp_path / "kernels.py"
    script.write_text(
        textwrap.dedent("""
            from numba import types
            from refglmm._jit import signed_kernel

            @signed_kernel(types.float64(types.float64))
            def one(x):
                return x + 1.0

            @signed_kernel(types.float64(types.float64))
            def two(x):
                return x + 2.0

            print(one(1.0) + two(1.0))
        """)
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": SOURCE}
    runs = [
        subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert [run.stdout.strip() for run in runs] == ["5.0", "5.0"]
    assert runs[0].stderr.count("compiling") == 1
    assert runs[1].stderr == ""
