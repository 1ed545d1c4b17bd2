r"""Expected predictive accuracy: leave-one-out by Pareto smoothed importance sampling (LOO), WAIC, and comparisons.

Place in the reading order: after :mod:`.psis`. Log-likelihood values in, estimates out; nothing here knows a model.

With :math:`\ell_{si} = \log p(y_i \mid \theta_s)` of S posterior draws and n observations (or groups, or whatever is
left out at a time), each point contributes

.. math:: \mathrm{lppd}_i = \log\frac1S\sum_s e^{\ell_{si}}, \qquad
          \mathrm{elpd}^\mathrm{loo}_i = \log\sum_s w_{si}\,e^{\ell_{si}}, \qquad
          \mathrm{elpd}^\mathrm{waic}_i = \mathrm{lppd}_i - \mathrm{var}_s\,\ell_{si}

where :math:`w_{\cdot i}` are the smoothed, normalised weights of the ratios :math:`e^{-\ell_{si}}`. Estimates are sums
over i with standard error :math:`\sqrt{n\,\mathrm{var}_i}`; the effective number of parameters p is
:math:`\sum_i(\mathrm{lppd}_i - \mathrm{elpd}_i)`, and the criterion is :math:`-2\,\mathrm{elpd}`. All variances divide
by one less than the number (as the papers and R's loo do; ArviZ divides by the number).

Sources: Vehtari, Gelman and Gabry (2017), "Practical Bayesian model evaluation"; Vehtari et al. (2024) for
the threshold of k; Watanabe (2010); Yao, Vehtari, Simpson and Gelman (2018), "Using stacking to average Bayesian
predictive distributions", for the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from refglmm.bayes.diagnostics import checked_draws, ess_mean
from refglmm.bayes.psis import BLOCK, checked_efficiency, khat_threshold, log_sum, psis
from refglmm.errors import ArgumentError, ParetoWarning, WaicWarning, warn
from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.rformat import table

#: Variance of a point's log-likelihood above which WAIC's expansion is unreliable (Vehtari, Gelman and Gabry).
WAIC_LIMIT = 0.4
#: How many offending points a warning names.
NAMED = 5
#: Floor of a mixture density relative to the best model's, where that model's weight is zero for a moment.
SMALLEST = 1e-300


# -- results ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class PredictiveAccuracy:
    """What LOO and WAIC have in common: everything follows from the pointwise table.

    Attributes
    ----------
    n_draws : int
        Posterior draws, all chains.
    unit : str
        What a point is: "observation", "group", ...
    """

    _pointwise: pd.DataFrame
    n_draws: int
    unit: str

    #: Name of the criterion in lower case, and how it is introduced in print.
    kind = ""
    title = ""

    @property
    def pointwise(self) -> pd.DataFrame:
        """One row for each point: elpd, lppd, p = lppd - elpd, and what belongs to the criterion; a copy."""
        return self._pointwise.copy()

    @property
    def n(self) -> int:
        """Number of points."""
        return len(self._pointwise)

    @property
    def elpd(self) -> float:
        """Expected log pointwise predictive density, the sum of the points'."""
        return float(self._pointwise["elpd"].sum())

    @property
    def se(self) -> float:
        """Standard error of ``elpd``; NaN for a single point."""
        return self._se("elpd")

    @property
    def p(self) -> float:
        """Effective number of parameters."""
        return float(self._pointwise["p"].sum())

    @property
    def se_p(self) -> float:
        """Standard error of ``p``."""
        return self._se("p")

    @property
    def lppd(self) -> float:
        """Log pointwise predictive density of the data that were fitted."""
        return float(self._pointwise["lppd"].sum())

    @property
    def estimates(self) -> pd.DataFrame:
        """Rows elpd, p and -2 elpd under the criterion's names; columns Estimate and SE."""
        values = [(self.elpd, self.se), (self.p, self.se_p), (-2.0 * self.elpd, 2.0 * self.se)]
        criterion = "looic" if self.kind == "loo" else self.kind
        return pd.DataFrame(
            values, index=[f"elpd_{self.kind}", f"p_{self.kind}", criterion], columns=["Estimate", "SE"]
        )

    def _se(self, column: str) -> float:
        return float(np.sqrt(self.n * self._pointwise[column].var(ddof=1))) if self.n > 1 else np.nan

    def _heading(self) -> str:
        return f"{self.title}: {_count(self.n, self.unit)}, {self.n_draws} draws"

    def _notes(self) -> list[str]:
        return []

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        estimates = self.estimates
        return ["", "Estimate", "SE"], [
            [name, *(f"{value:.1f}" for value in row)] for name, row in zip(estimates.index, estimates.to_numpy())
        ]

    def __str__(self) -> str:
        header, rows = self._cells()
        return "\n".join([self._heading(), "", table(header, rows, [True, False, False]), *self._notes()])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html_block([html_table(*self._cells(), self._heading()), html_lines(self._notes())])


@dataclass(frozen=True, eq=False, repr=False)
class LooResult(PredictiveAccuracy):
    """Leave-one-out predictive accuracy by Pareto smoothed importance sampling.

    ``pointwise`` also has ``khat`` (tail shape of the weights), ``mcse`` (Monte Carlo standard error of elpd) and
    ``ess`` (effective sample size of the weights times the draws' relative efficiency).
    """

    kind = "loo"
    title = "Leave-one-out by PSIS"

    @property
    def elpd_loo(self) -> float:
        """Same as ``elpd``."""
        return self.elpd

    @property
    def p_loo(self) -> float:
        """Same as ``p``."""
        return self.p

    @property
    def looic(self) -> float:
        """-2 elpd, on the scale of the deviance."""
        return -2.0 * self.elpd

    @property
    def khat(self) -> np.ndarray:
        """Tail shape of each point's weights."""
        return self._pointwise["khat"].to_numpy(copy=True)

    @property
    def threshold(self) -> float:
        """Tail shape above which so many draws do not suffice, min(1 - 1/log10 S, 0.7)."""
        return khat_threshold(self.n_draws)

    @property
    def mcse(self) -> float:
        """Monte Carlo standard error of ``elpd``; NaN if some k is above the threshold."""
        if (self._pointwise["khat"] > self.threshold).any():
            return np.nan
        return float(np.sqrt((self._pointwise["mcse"] ** 2).sum()))

    @property
    def khat_counts(self) -> pd.DataFrame:
        """Points by tail shape: rows good, bad, very bad; columns range, count, percent, least ess."""
        k, ess = self._pointwise["khat"].to_numpy(), self._pointwise["ess"].to_numpy()
        limits = [-np.inf, self.threshold, max(1.0, self.threshold), np.inf]
        ranges = [f"(-Inf, {limits[1]:.2f}]", f"({limits[1]:.2f}, {limits[2]:g}]", f"({limits[2]:g}, Inf)"]
        member = np.digitize(k, limits[1:3], right=True)
        counts = np.bincount(member, minlength=3)
        least = [ess[member == i].min() if counts[i] else np.nan for i in range(3)]
        columns = {"range": ranges, "count": counts, "percent": 100.0 * counts / self.n, "min_ess": least}
        return pd.DataFrame(columns, index=["good", "bad", "very bad"])

    def _khat_cells(self) -> tuple[list[str], list[list[str]]]:
        rows = [
            [row.range, name, str(row.count_), f"{row.percent:.1f}%", f"{row.min_ess:.0f}" if row.count_ else ""]
            for name, row in zip(
                self.khat_counts.index, self.khat_counts.rename(columns={"count": "count_"}).itertuples(index=False)
            )
        ]
        return ["", "", "Count", "Percent", "Min. ESS"], rows

    def _notes(self) -> list[str]:
        good = self.khat_counts["count"].iloc[0] == self.n
        error = [f"Monte Carlo standard error of elpd_loo: {self.mcse:.2g}"] if good else []
        return ["", *error, "Pareto k:", table(*self._khat_cells(), [True, True, False, False, False])]

    def _repr_html_(self) -> str:
        first = html_table(*self._cells(), self._heading())
        return html_block([first, html_table(*self._khat_cells(), "Pareto k")])


@dataclass(frozen=True, eq=False, repr=False)
class WaicResult(PredictiveAccuracy):
    """Widely applicable information criterion; ``p`` of ``pointwise`` is the variance of the log-likelihood."""

    kind = "waic"
    title = "WAIC"

    @property
    def elpd_waic(self) -> float:
        """Same as ``elpd``."""
        return self.elpd

    @property
    def p_waic(self) -> float:
        """Same as ``p``."""
        return self.p

    @property
    def waic(self) -> float:
        """-2 elpd, on the scale of the deviance."""
        return -2.0 * self.elpd

    def _notes(self) -> list[str]:
        high = int((self._pointwise["p"] > WAIC_LIMIT).sum())
        return ["", f"{high} of {self.n} p_waic above {WAIC_LIMIT}: use loo() instead"] if high else []


def _count(n: int, unit: str) -> str:
    return f"{n} {unit}{'' if n == 1 else 's'}"


# -- estimates -------------------------------------------------------------------------------------------------------


def loo(
    log_lik: ArrayLike,
    *,
    labels: Sequence[object] | None = None,
    r_eff: float | ArrayLike | None = None,
    unit: str = "observation",
) -> LooResult:
    r"""Leave-one-out predictive accuracy from the log-likelihood of each point under each draw.

    Leaving out one group at a time is the same formula: give a column for each group, the log-likelihood of its
    observations together with its random effects integrated out (not conditional on them), and ``unit="group"``.

    Parameters
    ----------
    log_lik : array, shape (chains, draws, n)
    labels : sequence of length n, optional
        Index of the pointwise table; 1, ..., n by default.
    r_eff : float or array of shape (n,), optional
        Relative efficiency of the draws for the likelihood. By default :func:`.diagnostics.ess_mean` of
        :math:`e^{\ell}` over the number of draws (1 where that is unknown).
    unit : str
        What a point is, for the words of the printed table and the warning.

    Returns
    -------
    LooResult

    Raises
    ------
    ArgumentError
        Another shape, a log-likelihood that is not finite (the message says where), labels of another length, or an
        efficiency that is not positive.

    Warns
    -----
    ParetoWarning
        Points whose k is above the threshold.

    Notes
    -----
    The Monte Carlo variance of a point's elpd is, by the delta method,
    :math:`\sum_s w_s^2 (e^{\ell_s} - E)^2 / (E^2 r_\mathrm{eff})` with :math:`E = \sum_s w_s e^{\ell_s}`.
    Source: Vehtari, Gelman and Gabry (2017); Vehtari et al. (2024). Checked against ArviZ and R's loo.
    """
    ll, index = _checked_log_lik(log_lik, labels, unit)
    efficiency = None if r_eff is None else checked_efficiency(r_eff, ll.shape[2])
    parts = [_loo_columns(ll[:, :, part], None if efficiency is None else efficiency[part]) for part in _blocks(ll)]
    result = LooResult(pd.concat(parts).set_index(index), ll.shape[0] * ll.shape[1], unit)
    _warn_khat(result)
    return result


def _loo_columns(ll: np.ndarray, r_eff: np.ndarray | None) -> pd.DataFrame:
    """Pointwise table of :func:`loo`."""
    efficiency = relative_efficiency(ll) if r_eff is None else r_eff
    flat = ll.reshape(-1, ll.shape[2])
    log_weights, khat = psis(-flat, efficiency)
    elpd, lppd = log_sum(log_weights + flat), _lppd(flat)
    weights = np.exp(log_weights)
    # w (e^l - E) / E, without the overflow of its factors.
    relative_error = np.exp(log_weights + flat - elpd) - weights
    columns = {
        "elpd": elpd,
        "lppd": lppd,
        "p": lppd - elpd,
        "khat": khat,
        "mcse": np.sqrt((relative_error**2).sum(axis=0) / efficiency),
        "ess": efficiency / (weights**2).sum(axis=0),
    }
    return pd.DataFrame(columns)


def waic(log_lik: ArrayLike, *, labels: Sequence[object] | None = None, unit: str = "observation") -> WaicResult:
    """Widely applicable information criterion from the log-likelihood of each point under each draw.

    Parameters
    ----------
    log_lik : array, shape (chains, draws, n)
        At least two draws.
    labels, unit
        As in :func:`loo`, which is the better choice where the two differ.

    Returns
    -------
    WaicResult

    Raises
    ------
    ArgumentError
        As in :func:`loo`.

    Warns
    -----
    WaicWarning
        Points whose log-likelihood varies by more than 0.4.

    Notes
    -----
    Source: Vehtari, Gelman and Gabry (2017), on WAIC. Checked against ArviZ and R's loo.
    """
    ll, index = _checked_log_lik(log_lik, labels, unit)
    draws = ll.shape[0] * ll.shape[1]
    if draws < 2:
        raise ArgumentError("waic() needs at least two draws: there is no variance of one")
    pointwise = pd.concat([_waic_columns(ll[:, :, part]) for part in _blocks(ll)]).set_index(index)
    result = WaicResult(pointwise, draws, unit)
    _warn_waic(result)
    return result


def _waic_columns(ll: np.ndarray) -> pd.DataFrame:
    """Pointwise table of :func:`waic`."""
    flat = ll.reshape(-1, ll.shape[2])
    lppd, p = _lppd(flat), flat.var(axis=0, ddof=1)
    return pd.DataFrame({"elpd": lppd - p, "lppd": lppd, "p": p})


def relative_efficiency(log_lik: ArrayLike) -> np.ndarray:
    """Effective sample size of each point's likelihood over the number of draws; 1 where it is unknown.

    Parameters
    ----------
    log_lik : array, shape (chains, draws, n)

    Returns
    -------
    float array, shape (n,)
    """
    ll = checked_draws(log_lik, "log_lik")
    ess = np.asarray(ess_mean(np.exp(ll - ll.max(axis=(0, 1)))))
    return np.where(np.isfinite(ess), ess / (ll.shape[0] * ll.shape[1]), 1.0)


def _blocks(ll: np.ndarray) -> list[slice]:
    """Columns to work on at a time, which bounds the memory."""
    step = max(1, BLOCK // (ll.shape[0] * ll.shape[1]))
    return [slice(start, start + step) for start in range(0, ll.shape[2], step)]


def _lppd(flat: np.ndarray) -> np.ndarray:
    return log_sum(flat) - np.log(len(flat))


def _checked_log_lik(log_lik: ArrayLike, labels: Sequence[object] | None, unit: str) -> tuple[np.ndarray, pd.Index]:
    """Log-likelihoods (chains, draws, n) and the names of the points."""
    ll = checked_draws(log_lik, "log_lik")
    if ll.ndim != 3:
        raise ArgumentError(f"log_lik must have shape (chains, draws, n), not {ll.shape}", shape=ll.shape)
    n = ll.shape[2]
    index = pd.RangeIndex(1, n + 1, name=unit) if labels is None else pd.Index(list(labels), name=unit)
    if len(index) != n:
        raise ArgumentError(f"{len(index)} labels for {n} columns of log_lik", labels=len(index), n=n)
    if not np.isfinite(ll).all():
        chain, draw, point = (int(i) for i in np.argwhere(~np.isfinite(ll))[0])
        raise ArgumentError(
            f"log_lik of {unit} {index[point]!r} is {ll[chain, draw, point]} in draw {draw} of chain {chain}: leave "
            f"out draws under which the data are impossible, or {unit}s whose likelihood is unknown",
            chain=chain,
            draw=draw,
            label=index[point],
        )
    return ll, index


def _named(index: pd.Index, worst_first: np.ndarray) -> str:
    """The first labels, and that there are more."""
    names = ", ".join(str(index[i]) for i in worst_first[:NAMED])
    return names + (", ..." if len(worst_first) > NAMED else "")


def _warn_khat(result: LooResult) -> None:
    k, limit = result.khat, result.threshold
    bad = np.flatnonzero(k > limit)
    if not bad.size:
        return
    bad, index = bad[np.argsort(-k[bad])], result._pointwise.index
    warn(
        ParetoWarning(
            f"{bad.size} of {_count(result.n, result.unit)} have a Pareto k above {limit:.2f} (largest "
            f"{k[bad[0]]:.2f}; {_named(index, bad)}): the posterior without them is too far away for importance "
            f"sampling, and their elpd and the total are unreliable. Refit without these {result.unit}s, use K-fold "
            "cross-validation, or a model in which they are less influential",
            count=int(bad.size),
            threshold=limit,
            labels=list(index[bad]),
            khat=k[bad],
        )
    )


def _warn_waic(result: WaicResult) -> None:
    p = result._pointwise["p"].to_numpy()
    bad = np.flatnonzero(p > WAIC_LIMIT)
    if not bad.size:
        return
    bad, index = bad[np.argsort(-p[bad])], result._pointwise.index
    warn(
        WaicWarning(
            f"{bad.size} of {_count(result.n, result.unit)} have a p_waic above {WAIC_LIMIT} (largest {p[bad[0]]:.2f}; "
            f"{_named(index, bad)}), where WAIC is unreliable: use loo() instead, which says how far it can be trusted",
            count=int(bad.size),
            labels=list(index[bad]),
            p=p[bad],
        )
    )


# -- comparison ------------------------------------------------------------------------------------------------------


def compare_information(results: Mapping[str, PredictiveAccuracy]) -> pd.DataFrame:
    r"""Models ordered by predictive accuracy, with paired differences and weights.

    Parameters
    ----------
    results : mapping from names to LooResult, or to WaicResult
        All of one kind and of the same points.

    Returns
    -------
    DataFrame
        Best model first; index ``model``. Columns: elpd, se, p; elpd_diff (to the best model, at most 0) and se_diff
        :math:`= \sqrt{n\,\mathrm{var}_i(\mathrm{elpd}_{ik} - \mathrm{elpd}_{i1})}`; weight (stacking, see
        :func:`stacking_weights`); pseudo_bma :math:`\propto e^{\mathrm{elpd}_k}`; unreliable (how many points have a
        Pareto k above the threshold, or a p_waic above 0.4).

    Raises
    ------
    ArgumentError
        Fewer than two models, values that are no results, LOO mixed with WAIC, or other points.

    Notes
    -----
    Differences below 4 say little, and se_diff is too small for few points or very similar models. Source: Vehtari,
    Gelman and Gabry (2017), on comparing models; Yao et al. (2018), on pseudo-BMA.
    """
    _check_comparable(results)
    order = sorted(results, key=lambda name: -results[name].elpd)
    pointwise = np.column_stack([results[name]._pointwise["elpd"] for name in order])
    n = len(pointwise)
    difference = pointwise - pointwise[:, :1]
    elpd = pointwise.sum(axis=0)
    columns = {
        "elpd": elpd,
        "se": [results[name].se for name in order],
        "p": [results[name].p for name in order],
        "elpd_diff": difference.sum(axis=0),
        "se_diff": np.sqrt(n * difference.var(axis=0, ddof=1)) if n > 1 else np.full(len(order), np.nan),
        "weight": stacking_weights(pointwise),
        "pseudo_bma": np.exp(elpd - log_sum(elpd)),
        "unreliable": [_unreliable(results[name]) for name in order],
    }
    return pd.DataFrame(columns, index=pd.Index(order, name="model"))


def _unreliable(result: PredictiveAccuracy) -> int:
    bad = result.khat > result.threshold if isinstance(result, LooResult) else result._pointwise["p"] > WAIC_LIMIT
    return int(bad.sum())


def _check_comparable(results: Mapping[str, PredictiveAccuracy]) -> None:
    if not isinstance(results, Mapping) or len(results) < 2:
        raise ArgumentError("give a mapping from names to at least two results of loo() or waic()")
    for name, result in results.items():
        if not isinstance(result, PredictiveAccuracy):
            raise ArgumentError(f"{name!r} is a {type(result).__name__}, not a result of loo() or waic()", name=name)
    first, *others = results
    reference = results[first]
    for name in others:
        result = results[name]
        if result.kind != reference.kind:
            raise ArgumentError(
                f"{first!r} is a result of {reference.kind}() and {name!r} of {result.kind}(): use one for all",
                name=name,
            )
        if not result._pointwise.index.equals(reference._pointwise.index):
            raise ArgumentError(
                f"{first!r} ({_count(reference.n, reference.unit)}) and {name!r} ({_count(result.n, result.unit)}) are "
                "about different points: fit both models to the same data and give the same labels",
                name=name,
            )


def stacking_weights(elpd: ArrayLike) -> np.ndarray:
    r"""Weights of the mixture of predictive distributions that leaves one point out best.

    .. math:: \hat w = \arg\max_{w \ge 0,\ \sum_k w_k = 1}\ \frac1n\sum_i \log\sum_k w_k\,e^{\mathrm{elpd}_{ik}}

    Parameters
    ----------
    elpd : array, shape (n, models)
        Pointwise log predictive densities.

    Returns
    -------
    float array, shape (models,)
        Non-negative, adding up to 1.

    Raises
    ------
    ArgumentError
        Another shape, or values that are not finite.

    Notes
    -----
    The objective is concave; sequential quadratic programming with the exact gradient finds its maximum. Source: Yao
    et al. (2018), on stacking.
    """
    from scipy.optimize import minimize

    lpd = np.asarray(elpd, dtype=float)
    if lpd.ndim != 2 or lpd.size == 0 or not np.isfinite(lpd).all():
        raise ArgumentError(f"elpd must be a finite array of shape (n, models), not {lpd.shape}", shape=lpd.shape)
    models = lpd.shape[1]
    # A factor for each point changes the objective by a constant, and keeps it clear of underflow.
    density = np.exp(lpd - lpd.max(axis=1, keepdims=True))

    def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
        mixture = np.maximum(density @ w, SMALLEST)
        return -np.log(mixture).mean(), -(density / mixture[:, None]).mean(axis=0)

    simplex = {"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": np.ones_like}
    start, options = np.full(models, 1.0 / models), {"ftol": 1e-14, "maxiter": 1000}
    found = minimize(
        objective, start, jac=True, bounds=[(0.0, 1.0)] * models, constraints=[simplex], method="SLSQP", options=options
    )
    weights = np.clip(found.x, 0.0, None)
    return weights / weights.sum()
