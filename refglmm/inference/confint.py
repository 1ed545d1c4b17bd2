"""Confidence intervals by any of the three methods.

Place in the reading order: last of the intervals, after ``wald``, ``profile`` and ``bootstrap``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from refglmm.errors import ArgumentError
from refglmm.inference.bootstrap import bootstrap
from refglmm.inference.parameters import parameters, select, tail_shares
from refglmm.inference.profile import profile
from refglmm.inference.wald import wald

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

METHODS = ("profile", "wald", "boot")


def confint(
    fit: FittedModel, parm: Any = None, *, level: float = 0.95, method: str = "profile", **arguments: Any
) -> pd.DataFrame:
    """Intervals of some or all parameters; see :meth:`FittedModel.confint`."""
    if method not in METHODS:
        raise ArgumentError(f"unknown method {method!r} of intervals; choose from {', '.join(METHODS)}")
    tail_shares(level)
    if method == "wald":
        if arguments:
            raise ArgumentError(f"method='wald' takes no argument {next(iter(arguments))!r}")
        return wald(fit, parm, level=level)
    if method == "profile":
        # the walk has to reach the level that is asked for
        alpha = min(0.01, 0.5 * (1.0 - level))
        return profile(fit, parm, **{"alpha": alpha, **arguments}).confint(level=level)
    kind = arguments.pop("boot_type", "percentile")
    replicates = bootstrap(fit, **arguments)
    if arguments.get("stat") is None:
        parm = [p.name for p in select(parameters(fit), parm)]
    workers = {name: arguments.get(name) for name in ("executor", "progress")}
    return replicates.confint(parm, level=level, type=kind, **workers)
