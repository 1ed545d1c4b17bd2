r"""The bootstrap: simulate from the fit, fit again, compute a statistic; many times, anywhere.

Place in the reading order: after ``profile``.

parametric
    New random effects (``use_u``: the modes as they are; ``re_form``: those of some terms) and new responses from the
    estimated distribution.
semiparametric
    Fitted values plus response residuals drawn with replacement, not centred; only with ``use_u=True``. For a
    generalized model the result need not be a possible response: such replicates fail and are counted.

Each replicate has a random stream of its own, so that the numbers do not depend on who computes it. A replicate that
fails is a row of nan with its message on record; warnings are tabulated by their text.

Intervals of level :math:`1-\alpha` from R replicates t*, t the statistic of the fit:

============  ================================================================================================
percentile    order statistics number (R+1)a/2 and (R+1)(1-a/2), interpolated on the scale of normal quantiles
basic         2t minus those, in exchange
normal        t - bias -/+ z se
bca           percentile at :math:`\Phi\{z_0 + (z_0 + z)/(1 - a(z_0 + z))\}`
============  ================================================================================================

with :math:`z_0 = \Phi^{-1}(\text{share of } t^* < t)`, and the acceleration a from the jackknife over the levels of the
coarsest grouping factor (fewest levels), which are the independent units where factors are nested: with
:math:`d_j = \bar t - t_{(j)}`, :math:`a = \sum d_j^3 / 6(\sum d_j^2)^{3/2}`.

Source: Davison and Hinkley (1997), chapters 2 and 5; Efron and Tibshirani (1993), chapter 14.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, DataError, IntervalWarning, NotAvailableError, warn
from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.rformat import format_numbers, table
from refglmm.fit.simulate import simulated_responses
from refglmm.inference.parameters import estimates, percent_names, tail_shares
from refglmm.inference.picture import Pictured
from refglmm.inference.tasks import Outcome, run_tasks, seeds

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]
Statistic = Callable[["FittedModel"], Any]

TYPES = ("parametric", "semiparametric")
INTERVALS = ("percentile", "basic", "normal", "bca")
#: Fewest levels of a grouping factor that a jackknife can use.
FEWEST_LEVELS = 4
#: Numbers in a message, which would keep equal messages apart.
_NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")


@dataclass(frozen=True, eq=False, repr=False)
class Bootstrap(Pictured):
    """Replicates of a statistic, and what went wrong with some of them.

    Attributes
    ----------
    original : pd.Series
        The statistic of the fit.
    type : {"parametric", "semiparametric"}
    nsim : int
    failures : dict of int to str
        Message of each replicate that failed, by its number.
    warning_counts : dict of str to int
        How many replicates gave each warning (numbers in it replaced by #).
    """

    picture = "bootstrap.plot_bootstrap"

    original: pd.Series
    type: str
    nsim: int
    failures: dict[int, str]
    warning_counts: dict[str, int]
    _values: FloatArray
    _fit: FittedModel
    _stat: Statistic
    _cache: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._values.setflags(write=False)

    @property
    def replicates(self) -> pd.DataFrame:
        """Shape (nsim, statistics); a row of nan for each replicate that failed."""
        return pd.DataFrame(self._values.copy(), columns=list(self.original.index))

    @property
    def n_failed(self) -> int:
        """Replicates that failed."""
        return len(self.failures)

    @property
    def failure_counts(self) -> pd.Series:
        """How often each message ended a replicate (numbers in it replaced by #)."""
        counts = Counter(_without_numbers(message) for message in self.failures.values())
        return pd.Series(dict(counts.most_common()), name="replicates", dtype=int)

    def summary(self) -> pd.DataFrame:
        """Statistic of the fit, bias, standard error and median of the replicates, how many there are of each."""
        values = self.replicates
        return pd.DataFrame(
            {
                "original": self.original,
                "bias": values.mean() - self.original,
                "std. error": values.std(),
                "median": values.median(),
                "replicates": values.notna().sum(),
            }
        )

    def confint(
        self,
        parm: Any = None,
        *,
        level: float = 0.95,
        type: str = "percentile",
        executor: Executor | None = None,
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Intervals by statistic: columns "2.5 %" and "97.5 %" (for level 0.95).

        Parameters
        ----------
        parm : str, int or sequence, optional
            Statistics by name or number; all by default.
        type : {"percentile", "basic", "normal", "bca"}
        executor, progress
            For the jackknife of "bca", which refits the model once without each level of a grouping factor.
        """
        if type not in INTERVALS:
            raise ArgumentError(f"unknown type {type!r} of bootstrap interval; choose from {', '.join(INTERVALS)}")
        columns = self._columns(parm)
        shares = np.array(tail_shares(level))
        acceleration = self._acceleration(executor, progress) if type == "bca" else np.zeros(self.original.size)
        rows, extreme = [], []
        for k in columns:
            values = self._values[np.isfinite(self._values[:, k]), k]
            ends, at_end = _interval(values, float(self.original.iloc[k]), shares, type, acceleration[k])
            rows.append(ends)
            extreme += [str(self.original.index[k])] if at_end else []
        _warn_of_few(extreme, self.nsim)
        names = [self.original.index[k] for k in columns]
        return pd.DataFrame(np.array(rows).reshape(-1, 2), index=names, columns=percent_names(level))

    def _columns(self, parm: Any) -> list[int]:
        known = list(self.original.index)
        if parm is None:
            return list(range(len(known)))
        found = []
        for item in [parm] if isinstance(parm, str | int | np.integer) else parm:
            if item in known:
                found.append(known.index(item))
            elif isinstance(item, int | np.integer) and 0 <= item < len(known):
                found.append(int(item))
            else:
                raise ArgumentError(f"no statistic {item!r}; there are: {', '.join(map(str, known))}", statistic=item)
        return found

    def _acceleration(self, executor: Executor | None, progress: bool | None) -> FloatArray:
        """One number for each statistic, computed once."""
        if "acceleration" not in self._cache:
            self._cache["acceleration"] = acceleration(self._fit, self._stat, executor, progress)
        return self._cache["acceleration"]

    # -- print -----------------------------------------------------------------------------------------------

    def _notes(self) -> list[str]:
        done = f"{self.nsim - self.n_failed} of {self.nsim} replicates" if self.failures else f"{self.nsim} replicates"
        notes = [f"{self.type.capitalize()} bootstrap, {done}"]
        notes += [f"  failed {count}: {text}" for text, count in self.failure_counts.items()]
        return notes + [f"  warned {count}: {text}" for text, count in self.warning_counts.items()]

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        frame = self.summary()
        columns = [format_numbers(list(frame[name]), 4) for name in ("original", "bias", "std. error", "median")]
        rows = [[str(name), *cells] for name, *cells in zip(frame.index, *columns, strict=True)]
        return ["", "original", "bias", "std. error", "median"], rows

    def __str__(self) -> str:
        header, rows = self._cells()
        return "\n".join([*self._notes(), table(header, rows, [True] + [False] * 4)])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        header, rows = self._cells()
        return html_block([html_table(header, rows, "Bootstrap"), html_lines(self._notes())])


# -- replicates ----------------------------------------------------------------------------------------------


def bootstrap(
    fit: FittedModel,
    stat: Statistic | None = None,
    *,
    nsim: int = 500,
    seed: int | np.random.SeedSequence | np.random.Generator | None = None,
    use_u: bool = False,
    re_form: Any = False,
    type: str = "parametric",
    executor: Executor | None = None,
    progress: bool | None = None,
) -> Bootstrap:
    """Refit ``nsim`` simulated responses and compute a statistic of each; see :meth:`FittedModel.bootstrap`."""
    if type not in TYPES:
        raise ArgumentError(f"unknown type {type!r} of bootstrap; choose from {', '.join(TYPES)}")
    if isinstance(nsim, bool) or not isinstance(nsim, int | np.integer) or nsim < 1:
        raise ArgumentError(f"nsim must be a whole number of at least 1, not {nsim!r}")
    if type == "semiparametric":
        _check_semiparametric(fit, use_u)
    stat = estimates if stat is None else stat
    if not callable(stat):
        raise ArgumentError(f"stat must be a function of a fit, not {stat!r}")
    original = _original(fit, stat)
    draw: Any = resampled_response if type == "semiparametric" else partial(_drawn, use_u=use_u, re_form=re_form)
    run = partial(_replicate, fit, draw, stat)
    outcomes = run_tasks(run, seeds(seed, int(nsim)), executor=executor, progress=progress, label="bootstrap")
    values, failures = _collected(outcomes, original.size)
    counts = Counter(text for o in outcomes for text in {_without_numbers(message) for message in o.warnings})
    return Bootstrap(original, type, int(nsim), failures, dict(counts.most_common()), values, fit, stat)


def _check_semiparametric(fit: FittedModel, use_u: bool) -> None:
    if fit.family.is_ordinal:
        raise NotAvailableError("categories have no residuals to resample; use type='parametric'")
    if not use_u:
        raise ArgumentError(
            "the semiparametric bootstrap resamples residuals around the conditional means; it needs use_u=True"
        )
    if fit.is_glmm:
        warn(
            IntervalWarning(
                "the semiparametric bootstrap of a generalized linear mixed model is questionable: its residuals are "
                "not exchangeable, and fitted values plus residuals need not be possible responses"
            )
        )


def _original(fit: FittedModel, stat: Statistic) -> pd.Series:
    """The statistic of the fit itself, with names."""
    try:
        value = stat(fit)
    except Exception as error:
        raise ArgumentError(f"stat fails on the fit itself ({type(error).__name__}: {error})") from error
    named = value if isinstance(value, pd.Series) else None
    if isinstance(value, dict):
        named = pd.Series(value)
    try:
        numbers = _numbers(value)
    except (TypeError, ValueError) as error:
        text = f"stat must return numbers (one, an array, a Series or a mapping), not {value!r}"
        raise ArgumentError(text) from error
    names = ["stat"] if numbers.size == 1 else [f"stat{k}" for k in range(1, numbers.size + 1)]
    return pd.Series(numbers, index=names if named is None else list(named.index), name="original")


def _numbers(value: Any) -> FloatArray:
    if value is None:  # which numpy reads as nan
        raise TypeError("stat returned None")
    values = list(value.values()) if isinstance(value, dict) else value
    return np.array(values, dtype=float).ravel()


def _drawn(fit: FittedModel, rng: np.random.Generator, *, use_u: bool, re_form: Any) -> FloatArray:
    """A response from the estimated distribution."""
    return simulated_responses(fit, rng, use_u=use_u, re_form=re_form)


def resampled_response(fit: FittedModel, rng: np.random.Generator) -> FloatArray:
    """Conditional means plus response residuals drawn with replacement, not centred."""
    mu = np.array(fit.conditional.mu)
    return mu + rng.choice(fit.frame.y - mu, size=mu.size)


def _replicate(fit: FittedModel, draw: Callable[..., FloatArray], stat: Statistic, seed: Any) -> FloatArray:
    """The statistic of one simulated response."""
    y = draw(fit, np.random.default_rng(seed))
    return _numbers(stat(fit.model.with_response(y).fit(**fit.warm_settings())))


def _collected(outcomes: Sequence[Outcome], size: int) -> tuple[FloatArray, dict[int, str]]:
    """Replicates with rows of nan for those that failed, and their messages."""
    values, failures = np.full((len(outcomes), size), np.nan), {}
    for k, outcome in enumerate(outcomes):
        if outcome.error is not None:
            failures[k] = outcome.error
        elif outcome.value.size != size:
            failures[k] = f"stat returned {outcome.value.size} numbers, not {size}"
        else:
            values[k] = outcome.value
    return values, failures


def _without_numbers(message: str) -> str:
    return _NUMBER.sub("#", message)


# -- intervals -----------------------------------------------------------------------------------------------


def order_statistic(values: FloatArray, share: float) -> tuple[float, bool]:
    """Quantile number (R+1) share, interpolated on the scale of normal quantiles; whether it is beyond the extremes."""
    from scipy.stats import norm

    ordered, R = np.sort(values), values.size
    position = (R + 1) * share
    k = int(np.floor(position + 1e-10))
    if k < 1 or k >= R:
        return float(ordered[0 if k < 1 else -1]), not (k == R and abs(position - R) < 1e-10)
    q, low, high = norm.ppf([share, k / (R + 1), (k + 1) / (R + 1)])
    return float(ordered[k - 1] + (q - low) / (high - low) * (ordered[k] - ordered[k - 1])), False


def _interval(
    values: FloatArray, original: float, shares: FloatArray, type: str, acceleration: float
) -> tuple[tuple[float, float], bool]:
    """Both ends, and whether one of them rests on an extreme replicate."""
    from scipy.stats import norm

    if values.size < 2 or not np.isfinite(original):
        return (np.nan, np.nan), False
    if type == "normal":
        centre, half = 2.0 * original - float(values.mean()), norm.ppf(shares[1]) * float(values.std(ddof=1))
        return (centre - half, centre + half), False
    if type == "bca":
        shares = bca_shares(values, original, shares, acceleration)
        if not np.all(np.isfinite(shares)):
            return (np.nan, np.nan), False
    (low, low_end), (high, high_end) = (order_statistic(values, float(share)) for share in shares)
    if type == "basic":
        low, high = 2.0 * original - high, 2.0 * original - low
    return (low, high), low_end or high_end


def bca_shares(values: FloatArray, original: float, shares: FloatArray, acceleration: float) -> FloatArray:
    """The tail probabilities that bias correction and acceleration turn ``shares`` into; nan if all lie to one side."""
    from scipy.stats import norm

    below = np.mean(values < original) + 0.5 * np.mean(values == original)
    z0 = norm.ppf(below)
    shifted = z0 + norm.ppf(shares)
    return norm.cdf(z0 + shifted / (1.0 - acceleration * shifted))


def _warn_of_few(names: list[str], nsim: int) -> None:
    if names:
        warn(
            IntervalWarning(
                f"ends of the interval of {', '.join(names)} are the extreme ones of {nsim} replicates; "
                "more replicates are needed for this level",
                parameters=tuple(names),
            )
        )


# -- jackknife -----------------------------------------------------------------------------------------------


def acceleration(
    fit: FittedModel, stat: Statistic, executor: Executor | None = None, progress: bool | None = None
) -> FloatArray:
    """Acceleration of each statistic, by the jackknife over the levels of the coarsest grouping factor."""
    if not fit.design.terms:
        raise NotAvailableError("the jackknife of type='bca' needs a grouping factor; choose another type")
    term = min(fit.design.terms, key=lambda t: t.n_levels)
    if term.n_levels < FEWEST_LEVELS:
        raise NotAvailableError(
            f"the jackknife of type='bca' leaves out the levels of {term.group}, of which there are {term.n_levels} "
            f"(at least {FEWEST_LEVELS} are needed); choose another type"
        )
    run = partial(_without_level, fit, np.asarray(term.codes), stat)
    outcomes = run_tasks(run, range(term.n_levels), executor=executor, progress=progress, label="jackknife")
    failed = {term.levels[k]: o.error for k, o in enumerate(outcomes) if o.error is not None}
    if failed:
        level, message = next(iter(failed.items()))
        raise DataError(
            f"{len(failed)} refits of the jackknife failed, for instance without {term.group} {level}: {message}; "
            "choose another type than 'bca'",
            failures=failed,
        )
    t = np.array([o.value for o in outcomes])
    d = t.mean(axis=0) - t
    with np.errstate(invalid="ignore", divide="ignore"):
        a = np.sum(d**3, axis=0) / (6.0 * np.sum(d**2, axis=0) ** 1.5)
    return np.where(np.isfinite(a), a, 0.0)


def _without_level(fit: FittedModel, codes: NDArray[np.int64], stat: Statistic, level: int) -> FloatArray:
    """The statistic of the fit to all rows but those of one level (prior weight zero)."""
    weights = np.where(codes == level, 0.0, fit.frame.weights)
    return _numbers(stat(fit.model.with_response(fit.frame.y, weights).fit(**fit.warm_settings())))
