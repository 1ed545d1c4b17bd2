"""One model fitted by every optimiser, to see whether they agree.

Place in the reading order: after :mod:`.tasks`. Each run starts where a first fit starts, not from the estimates of the
fit. Estimates that agree over optimisers are an argument that the optimum is one; where they do not, the certificates
say which ones to believe. In exact mode every run ends with the same polishing steps on exact gradients, so that
runs that reached the same optimum agree to rounding.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from refglmm.errors import ArgumentError
from refglmm.inference.result_table import ResultTable
from refglmm.inference.tasks import run_tasks
from refglmm.optimize.control import OPTIMIZERS

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel
    from refglmm.model import GLMM

Pair = tuple[str, str]


@dataclass(frozen=True, eq=False, repr=False)
class AllFit:
    """Fits of one model by several optimisers.

    Attributes
    ----------
    fits : dict
        Optimiser -> fit, those that ended.
    errors, warnings : dict
        Optimiser -> what it raised; what it warned.
    table : DataFrame
        One row an optimiser: -2 log L (of a penalised fit what it minimises, the penalty included), difference from the
        lowest, seconds, evaluations, certificate.
    estimates : DataFrame
        One row an optimiser: covariance parameters, fixed effects, shape parameters.
    """

    fits: dict[str, FittedModel]
    errors: dict[str, str]
    warnings: dict[str, tuple[str, ...]]
    table: pd.DataFrame
    estimates: pd.DataFrame

    @property
    def spread(self) -> pd.Series:
        """Largest difference between optimisers, by estimate."""
        return (self.estimates.max() - self.estimates.min()).rename("spread")

    def _shown(self) -> tuple[ResultTable, ResultTable]:
        notes = [f"{name}: {text}" for name, text in self.errors.items()]
        notes += [f"{name}: {text}" for name, texts in self.warnings.items() for text in texts]
        objective = str(self.table.columns[0])
        runs = ResultTable(
            ("One model, every optimiser",),
            self.table,
            (),
            {"seconds": 4, objective: 6},
            {objective: 12, "above lowest": 2, "predicted decrease": 2},
        )
        differences = ", ".join(f"{name} {value:.1e}" for name, value in self.spread.items())
        notes.insert(0, f"Largest differences: {differences}")
        return runs, ResultTable(("", "Estimates:"), self.estimates, tuple(notes))

    def __str__(self) -> str:
        return "\n".join(map(str, self._shown()))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return "".join(part._repr_html_() for part in self._shown())


def optimizer_pairs(fit: FittedModel) -> list[Pair]:
    """What may stand in the first and second stage: all pairs; a linear model has one stage, lme4 mode no newton."""
    usable = [name for name in OPTIMIZERS if fit.mode_name == "exact" or name != "newton"]
    if fit.is_lmm or fit.n_agq == 0:
        return [(name, name) for name in usable]
    return [(first, second) for first in usable for second in usable]


def _name(fit: FittedModel, pair: Pair) -> str:
    return pair[1] if fit.is_lmm or fit.n_agq == 0 else " + ".join(pair)


def refit_with(model: GLMM, settings: dict[str, object], pair: Pair) -> FittedModel:
    """Fit with one pair of optimisers."""
    return model.fit(**{**settings, "control": replace(settings["control"], optimizer=pair)})  # type: ignore[type-var,arg-type]


def all_fit(
    fit: FittedModel,
    optimizers: list[Pair | str] | None = None,
    *,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> AllFit:
    """Fit the model anew with each optimiser.

    Parameters
    ----------
    fit : FittedModel
    optimizers : list of (first stage, second stage) or str, optional
        By default every pair of "newton", "bobyqa" and "nelder_mead".
    executor, progress
        See :func:`.tasks.run_tasks`.
    """
    pairs = optimizer_pairs(fit) if optimizers is None else [_as_pair(o) for o in optimizers]
    if not pairs:
        raise ArgumentError("optimizers is empty; name at least one of " + ", ".join(OPTIMIZERS))
    task = partial(refit_with, fit.model, fit.settings)
    outcomes = run_tasks(task, pairs, executor=executor, progress=progress, label="all_fit")
    named = dict(zip([_name(fit, pair) for pair in pairs], outcomes, strict=True))
    fits = {name: o.value for name, o in named.items() if o.error is None}
    return AllFit(
        fits=fits,
        errors={name: o.error for name, o in named.items() if o.error is not None},
        warnings={name: o.warnings for name, o in named.items() if o.warnings},
        table=_table(list(named), fits),
        estimates=_estimates(fits),
    )


def _as_pair(optimizer: Pair | str) -> Pair:
    pair = (optimizer, optimizer) if isinstance(optimizer, str) else tuple(optimizer)
    if len(pair) != 2 or any(name not in OPTIMIZERS for name in pair):
        raise ArgumentError(f"unknown optimizer {optimizer!r}; choose one or a pair of {', '.join(OPTIMIZERS)}")
    return pair[0], pair[1]


def _objective(fit: FittedModel) -> float:
    """What the optimisers minimise."""
    return fit.minus_two_loglik if fit.penalty is None else -2.0 * fit.penalized_loglik


def _table(names: list[str], fits: dict[str, FittedModel]) -> pd.DataFrame:
    """Objective, cost and certificate of each run."""
    lowest = min(map(_objective, fits.values()), default=np.nan)
    rows = []
    for name in names:
        f = fits.get(name)
        if f is None:
            rows.append((np.nan, np.nan, np.nan, np.nan, np.nan, "failed"))
            continue
        certificate, value = f.convergence, _objective(f)
        verdict = "converged" if certificate.converged else "NOT converged"
        seconds = sum(stage.seconds for stage in f.optimum.stages)
        evaluations = float(f.optimum.n_evaluations)
        decrement = certificate.newton_decrement
        verdict += " (singular)" * certificate.singular
        rows.append((value, value - lowest, seconds, evaluations, decrement, verdict))
    first = next(iter(fits.values()), None)
    objective = "-2*log(L)"
    if first is not None and (first.reml or first.penalty is not None):
        objective = "REML criterion" if first.reml else "-2*penalised log(L)"
    columns = [objective, "above lowest", "seconds", "evaluations", "predicted decrease", "certificate"]
    return pd.DataFrame(rows, index=names, columns=columns)


def _estimates(fits: dict[str, FittedModel]) -> pd.DataFrame:
    rows = {name: pd.concat([f.par, f.fixef, f.phi]) for name, f in fits.items()}
    return pd.DataFrame(rows).T
