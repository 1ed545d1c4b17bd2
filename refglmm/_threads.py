"""BLAS threads inside a fit: one, unless asked otherwise.

Place in the reading order: beside ``_jit``. A fit works on many small matrices; threads that wait for each other cost
more than they bring, most of all where several fits share the cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@cache
def _controller() -> Any:
    """Look for the BLAS libraries once per process (it takes milliseconds)."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def blas_threads(number: int) -> Iterator[None]:
    """Run a block with this many BLAS threads, then restore what was set before."""
    with _controller().limit(limits=number, user_api="blas"):
        yield
