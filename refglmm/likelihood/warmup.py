"""One line before the first compilation, so that nobody wonders what takes so long.

Place in the reading order: after ``layout``.
"""

from __future__ import annotations

import glob
import os
import sys

import numba

from refglmm.likelihood.layout import accumulate_blocks

_announced = False


def kernels_are_cached() -> bool:
    """Whether numba's disk cache holds the kernels of a fit."""
    directory = accumulate_blocks.stats.cache_path
    return bool(glob.glob(os.path.join(glob.escape(directory), "layout.accumulate_blocks*.nbi")))


def announce_compilation() -> None:
    """Say once, on standard error, that kernels are being compiled, if numba's cache does not hold them yet."""
    global _announced
    if _announced or getattr(numba.config, "DISABLE_JIT", False):
        return
    _announced = True
    if not kernels_are_cached():
        print("refglmm: compiling kernels, once per installation (some seconds) ...", file=sys.stderr, flush=True)
