"""Where the time of a fit goes: clocks around everything that is called from Python.

Place in the reading order: after ``referee``. The compiled kernels, the methods of the sparse factor and
the steps from formula to matrices are replaced by functions that time them and call the original. Only the
outermost clock runs, so the shares add up; what no clock covers is Python and NumPy between the kernels. A
kernel that ``KERNELS`` does not know is counted under ``OTHER``: the table stays right, only coarser, when
kernels are renamed. Everything must have been compiled before: numba cannot compile a call to a clock.
"""

from __future__ import annotations

import functools
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from numba.core.dispatcher import Dispatcher

from refglmm import model
from refglmm.families import base
from refglmm.likelihood.cholesky import SparseCholesky

FAMILY, ASSEMBLY, PRODUCTS = (
    "family kernels (exp, log)",
    "assembly of Z'WZ and H",
    "products with Z and Lambda",
)
FACTORISATION, SOLVES, INVERSE = "factorisation", "solves", "selected inverse"
FORMULA, OTHER, PYTHON = "formula, frame, matrices", "other kernels", "Python and NumPy"
SHARES = (FAMILY, ASSEMBLY, PRODUCTS, FACTORISATION, SOLVES, INVERSE, OTHER, FORMULA, PYTHON)

KERNELS = {
    "accumulate_blocks": ASSEMBLY,
    "scale_blocks": ASSEMBLY,
    "add_identity": ASSEMBLY,
    "normal_matrix": ASSEMBLY,
    "normal_equations": ASSEMBLY,
    "weighted_fixed_cross": ASSEMBLY,
    "fixed_cross": ASSEMBLY,
    "predict": PRODUCTS,
    "linear_predictor": PRODUCTS,
    "rows_times": PRODUCTS,
    "transpose_times": PRODUCTS,
    "lambda_times": PRODUCTS,
    "lambda_transpose_times": PRODUCTS,
    "lambda_transpose_matrix": PRODUCTS,
    "level_outer": PRODUCTS,
    "total_derivatives": PRODUCTS,
    "logdet_derivatives": INVERSE,
    "unscale_blocks": INVERSE,
    "row_variances": INVERSE,
    "observe": FAMILY,
    "observe_shape": FAMILY,
}
METHODS = {
    "factorize": FACTORISATION,
    "logdet": FACTORISATION,
    "solve": SOLVES,
    "solve_L": SOLVES,
    "solve_Lt": SOLVES,
    "solve_rows": SOLVES,
    "solve_L_rows": SOLVES,
    "solve_Lt_rows": SOLVES,
    "selected_inverse": INVERSE,
}
STEPS = ("parse", "build_frame", "build_design", "build_problem")


class Clocks:
    """Seconds and calls by share, and the clocks that fill them."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self._running = False
        self._undo: list[tuple[Any, str, Any]] = []
        self._wrapped: dict[int, Any] = {}

    def clock(self, function: Callable[..., Any], share: str) -> Callable[..., Any]:
        """``function`` with a clock around it; clocked kernels among its arguments are handed on bare."""

        @functools.wraps(function)
        def clocked(*args: Any, **kwargs: Any) -> Any:
            bare = tuple(getattr(a, "bare", a) for a in args)
            self.calls[getattr(function, "__name__", share)] += 1
            if self._running:
                return function(*bare, **kwargs)
            self._running, began = True, time.process_time()
            try:
                return function(*bare, **kwargs)
            finally:
                self.seconds[share] += time.process_time() - began
                self._running = False

        clocked.bare = function  # type: ignore[attr-defined]
        return clocked

    def put(self, owner: Any, name: str, share: str) -> None:
        """Replace an attribute by its clocked version, the same wherever a function is named."""
        original = getattr(owner, name)
        wrapped = self._wrapped.setdefault(id(original), self.clock(original, share))
        self._undo.append((owner, name, original))
        setattr(owner, name, wrapped)

    def __enter__(self) -> Clocks:
        """Put a clock around everything."""
        for module in [m for name, m in sys.modules.items() if name.startswith("refglmm.")]:
            for name, value in list(vars(module).items()):
                if isinstance(value, Dispatcher):
                    self.put(module, name, KERNELS.get(value.py_func.__name__, OTHER))
        for name, share in METHODS.items():
            self.put(SparseCholesky, name, share)
        for name in STEPS:
            self.put(model, name, FORMULA)
        self._clock_families()
        return self

    def _clock_families(self) -> None:
        """Families make their kernels on first access and keep them; clock what they hand out."""
        make = base.built
        self._undo.append((base, "built", make))
        base.built = functools.cache(lambda *parts: self.clock(make(*parts), FAMILY))

    def __exit__(self, *_: object) -> None:
        """Take the clocks away again."""
        for owner, name, original in reversed(self._undo):
            setattr(owner, name, original)
        self._undo.clear()


def dissect(fit: Callable[[], Any]) -> dict[str, Any]:
    """CPU seconds of one fit by share, their sum, and how often the rows were passed over and H factorised."""
    with Clocks() as clocks:
        began = time.process_time()
        fit()
        total = time.process_time() - began
    seconds = {share: clocks.seconds[share] for share in SHARES}
    seconds[PYTHON] = total - sum(seconds.values())
    return {
        "total": total,
        "seconds": seconds,
        "passes": clocks.calls["observe"],
        "factorisations": clocks.calls["factorize"],
    }
