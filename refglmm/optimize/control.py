"""What a caller may set about the optimisation, checked once.

Place in the reading order: beside ``records``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from refglmm.errors import ArgumentError

OPTIMIZERS = ("newton", "bobyqa", "nelder_mead")


@dataclass(frozen=True)
class Control:
    """Settings of the two-stage optimisation.

    Attributes
    ----------
    optimizer : pair of {"newton", "bobyqa", "nelder_mead"}
        First stage (n_agq = 0) and second stage. A linear mixed model has one stage and uses the second.
    tolerance : float
        Predicted decrease in deviance units at which "newton" stops.
    max_evaluations : int
        Per stage.
    initial_step : bool, optional
        Run the n_agq = 0 stage first; off: beta starts where ``start`` says, else at zero. By default it runs unless
        ``start`` gives covariance parameters, beta and all shapes, and so leaves nothing to be found; in lme4 mode it
        always runs, as lme4's does.
    derivatives : {"auto", True, False}
        Hessian (and, in lme4 mode, gradient) at the optimum. "auto" in lme4 mode follows lme4's gate: n below
        ``derivatives_max_n``, fewer than 20 parameters (linear: 10), not singular. In exact mode "auto" is True.
    derivatives_max_n : int
        lme4's limit on the number of rows for that gate.
    curvature : {"observed", "expected"}
        Which second derivative stands in the Laplace term (exact mode; lme4 mode is always expected).
    singular_tolerance : float
        A standard deviation (or Cholesky diagonal) below this, or a correlation this close to its bound, makes the
        fit singular.
    edge_tolerance : float
        A parameter within this distance of a bound is tried exactly on it (derivative-free optimisers).
    engine : {"auto", "cholmod", "builtin", "schur"}
        Sparse Cholesky engine.
    threads : int
        BLAS threads during the fit.
    """

    optimizer: tuple[str, str] = ("newton", "newton")
    tolerance: float = 1e-12
    max_evaluations: int = 10_000
    initial_step: bool | None = None
    derivatives: bool | str = "auto"
    derivatives_max_n: int = 10_000
    curvature: str = "observed"
    singular_tolerance: float = 1e-4
    edge_tolerance: float = 1e-5
    engine: str = "auto"
    threads: int = 1

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        for name in self.optimizer:
            if name not in OPTIMIZERS:
                raise ArgumentError(f"unknown optimizer {name!r}; choose from {', '.join(OPTIMIZERS)}")
        if self.curvature not in ("observed", "expected"):
            raise ArgumentError(f"curvature must be 'observed' or 'expected', not {self.curvature!r}")
        if self.initial_step not in (True, False, None):
            raise ArgumentError(f"initial_step must be True, False or None, not {self.initial_step!r}")
        if self.derivatives not in (True, False, "auto"):
            raise ArgumentError(f"derivatives must be True, False or 'auto', not {self.derivatives!r}")
        if not self.tolerance > 0 or not self.max_evaluations > 0 or not self.threads > 0:
            raise ArgumentError("tolerance, max_evaluations and threads must be positive")
        if self.engine not in ("auto", "cholmod", "builtin", "schur"):
            raise ArgumentError(f"unknown engine {self.engine!r}; choose auto, cholmod, builtin or schur")


def make_control(
    control: Control | Mapping[str, Any] | None,
    optimizer: str | tuple[str, str] | None,
    mode: str,
) -> Control:
    """Merge ``control=`` and ``optimizer=`` of a public function; lme4 mode walks lme4's optimisers by default."""
    if control is not None and not isinstance(control, Control | Mapping):
        raise ArgumentError(f"control must be a Control or a mapping of settings, not {control!r}")
    if optimizer is not None and not isinstance(optimizer, str | tuple | list):
        raise ArgumentError(f"optimizer must be one name or a pair (first stage, second stage), not {optimizer!r}")
    if isinstance(control, Control):
        settings: dict[str, Any] = {field.name: getattr(control, field.name) for field in fields(Control)}
    else:
        settings = dict(control or {})
    known = {field.name for field in fields(Control)}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise ArgumentError(f"unknown control setting {unknown[0]!r}; known are {', '.join(sorted(known))}")
    if optimizer is not None:
        settings["optimizer"] = (optimizer, optimizer) if isinstance(optimizer, str) else tuple(optimizer)
    if len(settings.setdefault("optimizer", Control.optimizer if mode == "exact" else ("bobyqa", "nelder_mead"))) != 2:
        raise ArgumentError("optimizer must be one name or a pair (first stage, second stage)")
    if mode == "lme4" and "newton" in settings["optimizer"]:
        raise ArgumentError('mode="lme4" has no gradients; use "bobyqa" or "nelder_mead"')
    return Control(**settings)
