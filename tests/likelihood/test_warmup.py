"""The line before the first compilation: once, and only where there is nothing in the cache."""

from __future__ import annotations

import os
import subprocess
import sys

CODE = """
from refglmm.likelihood.warmup import announce_compilation
announce_compilation(); announce_compilation()
if {compile}:
    import numpy as np
    from refglmm.likelihood.layout import accumulate_blocks
    z, start, k = np.ones((2, 1)), np.zeros((2, 1), dtype=np.int64), np.ones(1, dtype=np.int64)
    accumulate_blocks(np.ones(2), z, start, k, np.zeros(1))
"""


def said(cache, compiles):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    environment.pop("NUMBA_DISABLE_JIT", None)
    run = subprocess.run(
        [sys.executable, "-c", CODE.format(compile=compiles)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stderr


def test_it_is_said_once_and_not_again_when_the_cache_is_warm(tmp_path):
    assert said(tmp_path, True).count("refglmm: compiling kernels, once per installation") == 1
    assert said(tmp_path, False) == ""
