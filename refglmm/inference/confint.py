"""Confidence intervals by any of the three methods.

Place in the reading order: last of the intervals, after ``wald``, ``profile`` and ``bootstrap``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from refglmm.errors import ArgumentError
from refglmm.inference.bootstrap import bootstrap
from refglmm.inference.parameters import estimates, parameters, select, tail_shares
from refglmm.inference.profile import profile
from refglmm.inference.wald import wald

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

#: Methods, and the arguments that each takes besides parm and level.
ARGUMENTS = {
    "profile": ("alpha", "executor", "progress"),
    "wald": (),
    "boot": ("nsim", "seed", "stat", "use_u", "re_form", "type", "boot_type", "executor", "progress"),
}
METHODS = tuple(ARGUMENTS)


def confint(
    fit: FittedModel, parm: Any = None, *, level: float = 0.95, method: str = "profile", **arguments: Any
) -> pd.DataFrame:
    """Intervals of some or all parameters; see :meth:`FittedModel.confint`."""
    method = method.lower() if isinstance(method, str) else method  # lme4 writes "Wald"
    if method not in METHODS:
        raise ArgumentError(f"unknown method {method!r} of intervals; choose from {', '.join(METHODS)}")
    tail_shares(level)
    for name in arguments:
        if name not in ARGUMENTS[method]:
            known = ", ".join(ARGUMENTS[method]) or "none"
            raise ArgumentError(f"method={method!r} takes no argument {name!r}; it takes {known}")
    if method == "wald":
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


def interval_table(
    fits: FittedModel | Mapping[str, FittedModel],
    parm: Any = None,
    *,
    methods: str | Sequence[str] = METHODS,
    level: float = 0.95,
    **boot: Any,
) -> pd.DataFrame:
    """Intervals by several methods, and of several fits, in long form.

    Parameters
    ----------
    fits : FittedModel or mapping of str to FittedModel
    parm : str, int or sequence, optional
        As in :meth:`FittedModel.confint`.
    methods : str or sequence of {"profile", "wald", "boot"}
    **boot
        Arguments of method "boot" (``nsim``, ``seed``, ``boot_type``, ...); ``executor`` and ``progress`` go to
        "profile" too.

    Returns
    -------
    pd.DataFrame
        Columns model, parameter, method, estimate, lower, upper; what :func:`refglmm.plots.plot_intervals` draws.
    """
    named = fits if isinstance(fits, Mapping) else {"": fits}
    strange = [type(fit).__name__ for fit in named.values() if not hasattr(fit, "optimum")]
    if strange:
        raise ArgumentError(f"fits must be a fit or a mapping from names to fits, not {strange[0]}")
    shared: dict[str, Any] = {name: boot[name] for name in ("executor", "progress") if name in boot}
    arguments: dict[str, dict[str, Any]] = {"wald": {}, "profile": shared, "boot": boot}
    frames = []
    for model, fit in named.items():
        values = estimates(fit)
        for method in [methods] if isinstance(methods, str) else methods:
            found = confint(fit, parm, level=level, method=method, **arguments.get(method, {}))
            frame = found.set_axis(["lower", "upper"], axis=1).rename_axis("parameter").reset_index()
            frame.insert(1, "estimate", values[found.index].to_numpy())
            frames.append(frame.assign(model=model, method=method))
    columns = ["model", "parameter", "method", "estimate", "lower", "upper"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)
