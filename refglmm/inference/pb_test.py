r"""Parametric-bootstrap comparison of two fits.

Place in the reading order: after :mod:`.compare` and :mod:`.tasks`. Responses are drawn from the smaller model; both
models are fitted to each, and :math:`T^* = 2(\ell_1^* - \ell_0^*)` is the distribution of T under the smaller model.

============  ==========================================================================================
"LRT"         T against chi-square(df)
"PBtest"      :math:`p = (1 + \#\{T^* > T\}) / (1 + m)`, m the number of replicates used
"Gamma"       T against a gamma distribution with the mean m and the variance v of T*: shape m^2/v
"Bartlett"    T df / mean(T*) against chi-square(df)
"F"           T / df against F(df, 2E/(E - 1)), E = mean(T*) / df
============  ==========================================================================================

Replicates with T* <= 0 are dropped as in pbkrtest, unless a variance is tested: then T* = 0 is half of the null
distribution and stays (with it the chi-square based rows are only rough). Replicates in which a fit failed are counted
and listed, never dropped silently.

Source: Halekoh and Hojsgaard (2014), *Journal of Statistical Software* 59(9).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, DataError
from refglmm.fit.arrays import freeze_arrays
from refglmm.fit.simulate import fit_source, simulated_responses
from refglmm.inference.boundary import chi2_tail, compare_structure
from refglmm.inference.compare import as_member, check_same_data, is_fit
from refglmm.inference.reduced import without_fixed_term, without_random
from refglmm.inference.result_table import ResultTable
from refglmm.inference.tasks import run_tasks, seeds
from refglmm.inference.term_tests import term_number

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

#: A T* this far below zero is rounding of a zero.
ROUNDING = 1e-6


@dataclass(frozen=True, eq=False, repr=False)
class PBTest:
    """Result of a parametric-bootstrap comparison.

    Attributes
    ----------
    statistic, df : float, int
        T of the data and the difference in parameters.
    samples : float array, shape (nsim,)
        T* of each replicate, NaN where a fit failed; read-only.
    used : int
        Replicates in the reference distribution.
    failures, warnings : dict
        Message -> number of replicates.
    table : DataFrame
        Rows LRT, PBtest, Gamma, Bartlett, F; columns stat, df, ddf, p.value.
    large, small : str
        Formulas.
    keeps_zeros : bool
        Whether T* = 0 counts (a variance is tested).
    """

    statistic: float
    df: int
    samples: FloatArray
    used: int
    failures: dict[str, int]
    warnings: dict[str, int]
    table: pd.DataFrame
    large: str
    small: str
    keeps_zeros: bool

    @property
    def p_value(self) -> float:
        """The bootstrap p-value."""
        return float(self.table.loc["PBtest", "p.value"])

    @property
    def n_failed(self) -> int:
        """Replicates in which a fit failed."""
        return int(np.isnan(self.samples).sum())

    @property
    def n_dropped(self) -> int:
        """Replicates that were fitted but are not in the reference distribution (T* <= 0)."""
        return len(self.samples) - self.n_failed - self.used

    def _shown(self) -> ResultTable:
        extremes = int(np.sum(self.samples > self.statistic))
        heading = (
            f"Bootstrap test; samples: {len(self.samples)}; used: {self.used}; extremes: {extremes}",
            f"large : {self.large}",
            f"small : {self.small}",
        )
        notes = [f"{self.n_dropped} replicates with T* <= 0 dropped"] if self.n_dropped else []
        if self.keeps_zeros:
            notes.append("a variance is tested: T* = 0 belongs to the null distribution")
        notes += [f"{count} replicates failed: {text}" for text, count in self.failures.items()]
        notes += [f"{count} replicates warned: {text}" for text, count in self.warnings.items()]
        frame = self.table.rename(columns={"p.value": "Pr(>stat)"})
        return ResultTable(heading, frame, tuple(notes), {"stat": 4})

    def __str__(self) -> str:
        return str(self._shown())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self._shown()._repr_html_()


def replicate(large: FittedModel, small: FittedModel, seed: np.random.SeedSequence) -> float:
    """T* of one response drawn from the smaller fit."""
    y = simulated_responses(small, np.random.default_rng(seed))
    return 2.0 * (large.refit(y).loglik - small.refit(y).loglik)


def replicate_fixed(large: FittedModel, parameters: Mapping[str, Any], seed: np.random.SeedSequence) -> float:
    """T* of one response drawn without random effects."""
    y = fit_source(large, newparams=parameters).response(np.random.default_rng(seed))
    fit = large.refit(y)
    return 2.0 * (fit.loglik - without_random(fit).loglik)


def pb_compare(
    large: FittedModel,
    small: FittedModel | None,
    nsim: int = 1000,
    seed: int | np.random.SeedSequence | np.random.Generator | None = None,
    *,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> PBTest:
    """Compare two nested fits by the parametric bootstrap.

    Parameters
    ----------
    large, small : FittedModel
        Fits to the same data; REML fits are refitted by maximum likelihood. ``small`` None is the larger model without
        any random effects.
    nsim : int
        Replicates.
    seed : int, SeedSequence or Generator, optional
        The same seed gives the same numbers for any number of workers.
    executor : concurrent.futures.Executor, optional
        Where the replicates run; this process by default.
    progress : bool, optional
        See :func:`.tasks.run_tasks`.

    Raises
    ------
    ArgumentError, DataError
        Not two fits; different data; the smaller model is not a case of the larger one; no replicate could be used.
    """
    if not (is_fit(large) and (small is None or is_fit(small))):
        raise ArgumentError("a parametric bootstrap needs two fits: it draws from the smaller one and refits both")
    if isinstance(nsim, bool) or not isinstance(nsim, int | np.integer) or nsim < 1:
        raise ArgumentError(f"nsim must be a positive whole number, not {nsim!r}")
    large = large.refit_ml()
    if small is None:
        reference = without_random(large)
        task: Any = partial(replicate_fixed, large, dict(reference.parameters or {}))
        lower = as_member(reference, "small")
    else:
        small = small.refit_ml()
        task, lower = partial(replicate, large, small), as_member(small, "small")
    check_same_data([as_member(large, "large"), lower])
    df = large.df - lower.df
    tested = compare_structure(small, large)
    if df <= 0 or not tested.nested:
        raise ArgumentError(
            f"{lower.formula} ({lower.df} parameters) is not a special case of {large.formula.expanded} "
            f"({large.df} parameters); give the larger model first"
        )
    outcomes = run_tasks(task, seeds(seed, int(nsim)), executor=executor, progress=progress, label="pb_test")
    samples = np.array([np.nan if o.error is not None else float(o.value) for o in outcomes])
    failures = Counter(o.error for o in outcomes if o.error is not None)
    warned = Counter(text for o in outcomes for text in set(o.warnings))
    keeps_zeros = bool(tested.variances)
    kept = _reference(samples, keeps_zeros)
    if not kept.size:
        raise DataError(
            f"none of {nsim} replicates can be used ({dict(failures) or 'all T* are zero'}); the smaller model may "
            "reproduce the larger one exactly"
        )
    statistic = max(0.0, 2.0 * (large.loglik - lower.loglik))
    result = PBTest(
        statistic=statistic,
        df=df,
        samples=samples,
        used=kept.size,
        failures=dict(failures),
        warnings=dict(warned),
        table=reference_table(statistic, df, kept),
        large=large.formula.expanded,
        small=lower.formula,
        keeps_zeros=keeps_zeros,
    )
    freeze_arrays(result)
    return result


def _reference(samples: FloatArray, keeps_zeros: bool) -> FloatArray:
    """The replicates that the p-values come from."""
    known = samples[np.isfinite(samples)]
    if not keeps_zeros:
        return known[known > 0.0]
    return np.maximum(known[known > -ROUNDING], 0.0)


def reference_table(statistic: float, df: int, reference: FloatArray) -> pd.DataFrame:
    """All five p-values from T and its reference distribution."""
    from scipy.stats import f as f_distribution
    from scipy.stats import gamma

    mean, variance = float(reference.mean()), float(reference.var(ddof=1)) if reference.size > 1 else np.nan
    E = mean / df
    rows: dict[str, tuple[float, float, float, float]] = {
        "LRT": (statistic, df, np.nan, chi2_tail(statistic, df)),
        "PBtest": (statistic, np.nan, np.nan, (1.0 + np.sum(reference > statistic)) / (1.0 + reference.size)),
    }
    spread = variance > 0.0 and mean > 0.0
    p_gamma = gamma.sf(statistic, mean**2 / variance, scale=variance / mean) if spread else np.nan
    rows["Gamma"] = (statistic, np.nan, np.nan, p_gamma)
    bartlett = statistic / E if E > 0.0 else np.nan
    rows["Bartlett"] = (bartlett, df, np.nan, chi2_tail(bartlett, df) if E > 0.0 else np.nan)
    ddf = 2.0 * E / (E - 1.0) if E > 1.0 else np.nan
    rows["F"] = (statistic / df, df, ddf, f_distribution.sf(statistic / df, df, ddf) if E > 1.0 else np.nan)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["stat", "df", "ddf", "p.value"]).astype(float)


def pb_test(fit: FittedModel, smaller: FittedModel | str | None, **arguments: Any) -> PBTest:
    """See :func:`pb_compare`; ``smaller`` may also be the label of a fixed-effects term to leave out."""
    if isinstance(smaller, str):
        full = fit.refit_ml()
        smaller = without_fixed_term(full.model, term_number(full, smaller)).fit(**full.settings)
    return pb_compare(fit, smaller, **arguments)
