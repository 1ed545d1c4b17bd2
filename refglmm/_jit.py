"""The one numba decorator, and the conventions that every kernel follows.

Place in the reading order: second, after :mod:`refglmm.errors`.

Kernels are written as plain scalar loops over C-contiguous ``float64``/``int32``/``int64`` arrays. They are
compiled on first use and found in numba's disk cache by the next process. ``pure(f)`` gives back the Python
function, so that the same source can be read, stepped through and tested without the compiler
(``NUMBA_DISABLE_JIT=1`` does this for all kernels at once).

No ``fastmath`` as a whole: it would make ``isnan`` false. Two of its parts leave nan and inf alone and are used where
most of the time goes: ``fused_kernel`` may round a product and a sum once instead of twice (fused multiply-add);
``summing_kernel`` may add up in another order as well. ``error_model="numpy"``: a division by zero gives inf or nan,
which the callers test for, instead of an exception out of the middle of a loop.

A trap: numba does not notice a changed helper in *another* file, so a cached caller silently keeps the old
answer. Kernels that call each other live in one file where that is reasonable, and the tests use a fresh
``NUMBA_CACHE_DIR``.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable
from functools import update_wrapper
from threading import Lock
from typing import Any

import numba
from numba.extending import register_jitable

#: Functions marked ``inline`` are plain Python functions that kernels may call; numba compiles them into
#: their caller. Forced, because the compiler drops what a caller does not need, and unrolls loops over a
#: constant, only in code that it has before it, and by its own judgement it leaves long functions as calls.
inline = register_jitable(forceinline=True)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` on first use, releasing the GIL, and cache the result on disk."""
    return numba.njit(cache=True, error_model="numpy", nogil=True)(function)


def fused_kernel(function: Callable[..., Any]) -> Any:
    """As :func:`kernel`; products and sums may be fused."""
    return numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"})(function)


def summing_kernel(function: Callable[..., Any]) -> Any:
    """As :func:`fused_kernel`; sums may be added up in any order, several terms at once."""
    return numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract", "reassoc"})(function)


class SignedKernel:
    """A kernel for one signature, so that functions may be among its arguments; compiled when it is first called.

    A function handed to a kernel without a signature makes numba compile the kernel anew for that function, in every
    process. With one it is a plain pointer, and the kernel is found in the disk cache.

    Parameters
    ----------
    function : callable
    signature : numba signature
        ``types.FunctionType(...)`` stands for arguments that are kernels, signed or not.
    """

    def __init__(self, function: Callable[..., Any], signature: Any) -> None:
        self.py_func, self.signature = function, signature
        self._dispatcher: Any = None
        self._lock = Lock()
        update_wrapper(self, function)

    @property
    def dispatcher(self) -> Any:
        """The compiled function."""
        with self._lock:
            if self._dispatcher is None:
                self._dispatcher = self._compiled()
            return self._dispatcher

    def _compiled(self) -> Any:
        if getattr(numba.config, "DISABLE_JIT", False):
            return self.py_func
        made: Any = numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract", "reassoc"})(
            self.py_func
        )
        _announce(made)
        made.compile(self.signature)
        made.disable_compile()
        return made

    def __call__(self, *arguments: Any) -> Any:
        return self.dispatcher(*(a.dispatcher if isinstance(a, SignedKernel) else a for a in arguments))

    def __reduce__(self) -> str:
        return self.py_func.__qualname__


_announced = False


def _announce(made: Any) -> None:
    """Say once, on standard error, that samplers are being compiled, if numba's cache does not hold the kernel yet."""
    global _announced
    source = os.path.splitext(os.path.basename(made.py_func.__code__.co_filename))[0]  # as numba names its files
    stem = f"{source}.{made.py_func.__qualname__}"
    found = glob.glob(os.path.join(glob.escape(made.stats.cache_path), f"{stem}-*.nbi"))
    if not _announced and not found:
        _announced = True
        text = "refglmm: compiling the kernels of posteriors, once per installation (up to a minute) ..."
        print(text, file=sys.stderr, flush=True)


def signed_kernel(signature: Any) -> Callable[[Callable[..., Any]], SignedKernel]:
    """Decorate a kernel that takes functions, see :class:`SignedKernel`."""
    return lambda function: SignedKernel(function, signature)


def pure(function: Any) -> Callable[..., Any]:
    """Return the Python function behind a kernel (the function itself when numba is disabled)."""
    return getattr(function, "py_func", function)
