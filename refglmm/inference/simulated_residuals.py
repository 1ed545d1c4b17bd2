r"""Simulated quantile residuals: uniform on (0, 1) if the model is right, whatever the family.

Place in the reading order: in ``inference``, after ``check_result``. m - 1 responses are drawn from the fitted model,
random effects anew each time. Put the data among them as number 0; in each row i the m values are exchangeable if the
model is right, so that

.. math:: r_i = \frac{\#\{j: y_{ij} < y_{i0}\} + U_i\,(1 + \#\{j \ne 0: y_{ij} = y_{i0}\})}{m},\qquad U_i \sim U(0, 1)

is uniform, exactly and for every m; U breaks ties, without which counts would pile up. Every simulation has residuals
among the others in the same way. That gives each test its reference: a statistic of the residuals is ranked among
those of the simulations,

.. math:: p = \frac{1 + \#\{j \ge 1: T_j \ge T_0\}}{m},

which allows for what the textbook distribution of the statistic does not: residuals of one group share a random
effect, so they are uniform but not independent. The smallest p-value is 1 / m. The reference takes the estimates for
the truth; since they have been fitted to the data, the tests seldom reject a right model (for small data hardly
ever). :mod:`refglmm.inference.residual_calibration` repeats the fit on simulated data and removes that.

Sources: Dunn and Smyth (1996), "Randomized quantile residuals"; Hartig, the DHARMa vignette, for the set of tests;
Besag and Clifford (1989) for the p-value; Koenker (2005), section 3.5, for the rank scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, DataError
from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.population import row_mean
from refglmm.fit.residuals import padded
from refglmm.fit.rformat import format_p, table
from refglmm.fit.rows import own_rows
from refglmm.fit.simulate import check_nsim, generator, ignored_weights, simulated_responses, warn_of_weights
from refglmm.inference.check_result import LEVEL, CheckResult
from refglmm.inference.picture import Pictured

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]
ALTERNATIVES = ("two-sided", "greater", "less")
QUANTILES = (0.25, 0.5, 0.75)
#: Moran's I needs a dense matrix of distances.
SPATIAL_LIMIT = 5000


# -- formulas ------------------------------------------------------------------------------------------------


def scaled_ranks(values: FloatArray, jitter: FloatArray) -> FloatArray:
    """r of the module's docstring, for every row of ``values`` (m, n) among the others; ``jitter`` likewise."""
    from scipy.stats import rankdata

    low = rankdata(values, method="min", axis=0)
    high = rankdata(values, method="max", axis=0)
    return (low - 1.0 + jitter * (high - low + 1.0)) / len(values)


def monte_carlo_p(statistics: FloatArray, alternative: str) -> float:
    """p-value of element 0 among all (two-sided: twice the smaller tail)."""
    m = statistics.size
    # Equal statistics may differ by rounding: what is within it counts as a tie.
    slack = 1e-12 * max(1.0, float(np.max(np.abs(statistics))))
    greater = float(np.sum(statistics >= statistics[0] - slack)) / m
    less = float(np.sum(statistics <= statistics[0] + slack)) / m
    return {"greater": greater, "less": less, "two-sided": min(1.0, 2.0 * min(greater, less))}[alternative]


def ks_distances(r: FloatArray) -> FloatArray:
    """Kolmogorov-Smirnov distance of each row of r from the uniform distribution."""
    n = r.shape[1]
    ordered = np.sort(r, axis=1)
    step = np.arange(n + 1) / n
    return np.maximum(np.max(step[1:] - ordered, axis=1), np.max(ordered - step[:-1], axis=1))


def trend_basis(x: FloatArray) -> FloatArray:
    """Orthonormal constant, line and parabola in the ranks of x, shape (n, 3 or less)."""
    from scipy.stats import rankdata

    rank = rankdata(x)
    powers = np.column_stack([np.ones_like(rank), rank - rank.mean(), (rank - rank.mean()) ** 2])
    Q, R = np.linalg.qr(powers)
    return Q[:, np.abs(np.diag(R)) > 1e-9 * np.abs(R).max()]


def rank_scores(r: FloatArray, basis: FloatArray, tau: float) -> FloatArray:
    r"""Score statistic for a constant tau-quantile: :math:`|B'(1[r < \tau] - \tau)|^2 / \tau(1-\tau)`, for each row."""
    scores = ((r < tau) - tau) @ basis
    return np.sum(scores**2, axis=1) / (tau * (1.0 - tau))


def durbin_watson(r: FloatArray, order: NDArray[np.intp], joined: NDArray[np.bool_]) -> FloatArray:
    """Squared successive differences over squares, each row of r; 2 without autocorrelation.

    ``joined[t]`` says whether elements t and t + 1 of ``order`` belong to the same series.
    """
    e = r[:, order] - 0.5
    differences = np.diff(e, axis=1)[:, joined]
    share = e.shape[1] / max(differences.shape[1], 1)
    return share * np.sum(differences**2, axis=1) / np.sum(e**2, axis=1)


def morans_i(r: FloatArray, W: FloatArray) -> FloatArray:
    """Moran's I of each row of r with weights W (n, n)."""
    e = r - r.mean(axis=1, keepdims=True)
    return e.shape[1] / W.sum() * np.einsum("ij,ij->i", e @ W, e) / np.sum(e**2, axis=1)


# -- the result ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class SimulatedResiduals(Pictured):
    """Scaled residuals, and tests made of them.

    Attributes
    ----------
    responses : float array, shape (nsim + 1, n)
        The data, then the simulations, as ``frame.y`` holds a response; read-only.
    scaled : float array, shape (nsim + 1, n)
        Residuals of each of them; row 0 are those of the fit. Read-only.
    predicted : float array, shape (n,)
        Mean without random effects, response scale.
    seed : int or generator state
    """

    picture = "simulated.plot_simulated_residuals"

    responses: FloatArray
    scaled: FloatArray
    predicted: FloatArray
    seed: Any
    _labelled: pd.Series

    @property
    def residuals(self) -> pd.Series:
        """Row 0 of ``scaled`` with row labels."""
        return self._labelled.copy()

    @property
    def nsim(self) -> int:
        """Simulations."""
        return len(self.responses) - 1

    # -- tests of the whole ----------------------------------------------------------------------------------

    def uniformity(self) -> CheckResult:
        """Kolmogorov-Smirnov distance of the residuals from the uniform distribution."""
        verdict = "The residuals do not look uniform: the distribution, or what the mean depends on, is wrong."
        return self._judge("Uniformity (KS)", ks_distances(self.scaled), "greater", "D", verdict)

    def dispersion(self, alternative: str = "two-sided") -> CheckResult:
        """Variance of the data about the simulated means over that of the simulations.

        Each row counts by its simulated standard deviation; rows that never vary are left out.
        """
        simulated = self.responses[1:]
        centre, sd = simulated.mean(axis=0), simulated.std(axis=0)
        varies = sd > 0
        if not varies.any():
            raise DataError("the simulated responses do not vary: there is no dispersion to compare")
        z = (self.responses[:, varies] - centre[varies]) / sd[varies]
        spread = np.mean(z**2, axis=1)
        ratio = spread / spread[1:].mean()
        verdict = "More spread than the model simulates." if ratio[0] > 1 else "Less spread than the model simulates."
        return self._judge("Dispersion (simulated)", ratio, alternative, "ratio", verdict)

    def outliers(self) -> CheckResult:
        """Residuals beyond all simulations, 2 n / (nsim + 1) expected."""
        m = len(self.scaled)
        outside = np.sum((self.scaled < 1.0 / m) | (self.scaled > 1.0 - 1.0 / m), axis=1).astype(float)
        verdict = "The number of responses beyond all simulations is not what the model expects."
        expected = 2.0 * self.scaled.shape[1] / m
        return self._judge("Outliers", outside, "two-sided", "outside", verdict, expected=expected)

    def zero_inflation(self, alternative: str = "two-sided") -> CheckResult:
        """Zeros in the data over the mean number of zeros in the simulations (taken for at least one in all)."""
        zeros = np.sum(self.responses == 0.0, axis=1).astype(float)
        mean = zeros[1:].mean()
        if mean == 0.0 and zeros[0] == 0.0:
            raise DataError("there are zeros neither in the data nor in the simulations")
        ratio = zeros / max(mean, 1.0 / self.nsim)
        verdict = "The number of zeros is not what the model simulates."
        numbers = {"observed": zeros[0], "expected": mean}
        return self._judge("Zeros (simulated)", ratio, alternative, "ratio", verdict, **numbers)

    def statistic(
        self, function: Callable[[FloatArray], float], alternative: str = "two-sided", name: str = "statistic"
    ) -> CheckResult:
        """Any function of a response (n,), for the data among the simulations."""
        try:
            values = np.array([float(function(y.copy())) for y in self.responses])
        except Exception as error:
            raise ArgumentError(f"the statistic raised {type(error).__name__}: {error}") from error
        if not np.all(np.isfinite(values)):
            raise ArgumentError(f"the statistic is not finite for {int(np.sum(~np.isfinite(values)))} of the responses")
        verdict = "The statistic of the data is not what the model simulates."
        return self._judge(name, values, alternative, "observed", verdict, expected=values[1:].mean())

    # -- tests against something -----------------------------------------------------------------------------

    def quantiles(self, x: Any = None) -> CheckResult:
        """Whether the quartiles of the residuals are constant along x (the predicted mean by default).

        Rank scores for a constant, a linear and a quadratic trend in the ranks of x; the largest of the three
        quartiles' statistics is referred to the simulations.
        """
        basis = trend_basis(self.predicted if x is None else self._row_values("x", x))
        each = np.array([rank_scores(self.scaled, basis, tau) for tau in QUANTILES])
        p = {f"p({tau:g})": monte_carlo_p(s, "greater") for tau, s in zip(QUANTILES, each)}
        verdict = "The quartiles of the residuals move with this variable: bend its effect, or model the variance."
        return self._judge("Quantiles", each.max(axis=0), "greater", "largest score", verdict, **p)

    def by_group(self, groups: Any) -> pd.DataFrame:
        """Kolmogorov-Smirnov distance within each group; p-values as such and by Holm."""
        codes, labels = self._groups(groups)
        rows = []
        for code, label in enumerate(labels):
            own = self.scaled[:, codes == code]
            distance = ks_distances(own)
            p = monte_carlo_p(distance, "greater")
            rows.append((label, own.shape[1], own[0].mean(), distance[0], p))
        frame = pd.DataFrame(rows, columns=["group", "n", "mean", "D", "p"]).set_index("group")
        frame["p_holm"] = holm(frame["p"].to_numpy())
        return frame

    def homogeneity(self, groups: Any) -> CheckResult:
        """Whether the residuals spread equally in all groups: Levene's test about medians."""
        from scipy.stats import levene

        codes, labels = self._groups(groups)
        large = [code for code in range(len(labels)) if np.sum(codes == code) > 1]
        if len(large) < 2:
            raise ArgumentError("homogeneity needs two or more groups with two or more rows each")
        parts = [[r[codes == code] for code in large] for r in self.scaled]
        F = np.array([levene(*part).statistic for part in parts])
        return self._judge("Homogeneity of groups", F, "greater", "F", "The groups' residuals differ in spread.")

    def temporal_autocorrelation(self, time: Any, groups: Any = None) -> CheckResult:
        """Durbin-Watson statistic along time, within groups if given; 2 without autocorrelation.

        Random effects of the model make residuals of one group alike; since the simulations have them too, only
        autocorrelation beyond the model's is found.
        """
        moment = self._row_values("time", time)
        codes = np.zeros(moment.size, dtype=int) if groups is None else self._groups(groups)[0]
        order = np.lexsort((moment, codes))
        joined = codes[order][1:] == codes[order][:-1]
        if np.any(joined & (np.diff(moment[order]) == 0.0)):
            raise ArgumentError("several rows share a time; give groups=, or aggregate the data by time")
        if not joined.any():
            raise ArgumentError("no group has two rows: there is no succession in time")
        verdict = "The residuals are autocorrelated in time beyond what the model's random effects bring."
        statistics = durbin_watson(self.scaled, order, joined)
        return self._judge("Temporal autocorrelation (DW)", statistics, "two-sided", "DW", verdict)

    def spatial_autocorrelation(self, x: Any, y: Any) -> CheckResult:
        """Moran's I with the inverse distance between the points (x, y) as weight."""
        points = np.column_stack([self._row_values("x", x), self._row_values("y", y)])
        if len(points) > SPATIAL_LIMIT:
            raise ArgumentError(f"Moran's I needs a matrix of all distances; {len(points)} rows exceed {SPATIAL_LIMIT}")
        difference = points[:, None, :] - points[None, :, :]
        distance = np.sqrt(np.sum(difference**2, axis=2))
        np.fill_diagonal(distance, np.inf)
        if np.any(distance == 0.0):
            raise ArgumentError("several rows share a place; aggregate the data by place")
        verdict = "The residuals are autocorrelated in space beyond what the model's random effects bring."
        statistics = morans_i(self.scaled, 1.0 / distance)
        expected = float(statistics[1:].mean())
        return self._judge("Spatial autocorrelation", statistics, "two-sided", "Moran's I", verdict, expected=expected)

    # -- all of them -----------------------------------------------------------------------------------------

    def tests(self) -> list[CheckResult]:
        """The tests that need nothing but the residuals."""
        results = [self.uniformity(), self.dispersion(), self.outliers(), self.quantiles()]
        return results + ([self.zero_inflation()] if np.any(self.responses == 0.0) else [])

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        results = self.tests()
        rows = [
            [r.name, *r.cells()[0], p, "" if r.ok else "look"]
            for r, p in zip(results, format_p([r.p_value for r in results]), strict=True)
        ]
        return ["test", "statistic", "value", "p", ""], rows

    def _title(self) -> str:
        return f"Simulated residuals: {self.scaled.shape[1]} rows, {self.nsim} simulations"

    def __repr__(self) -> str:
        return "\n".join([self._title(), table(*self._cells(), [True, True, False, False, True])])

    def _repr_html_(self) -> str:
        return html_block([html_table(*self._cells(), self._title()), html_lines([])])

    # -- shared ----------------------------------------------------------------------------------------------

    def _judge(
        self, name: str, statistics: FloatArray, alternative: str, label: str, verdict: str, **numbers: float
    ) -> CheckResult:
        """Rank the statistic of the data among those of the simulations."""
        if alternative not in ALTERNATIVES:
            raise ArgumentError(f"unknown alternative {alternative!r}; use one of {', '.join(ALTERNATIVES)}")
        p = monte_carlo_p(statistics, alternative)
        ok = p >= LEVEL
        good = "As the model expects."
        return CheckResult(name, {label: float(statistics[0]), **numbers}, p, ok, good if ok else verdict)

    def _row_values(self, name: str, values: Any) -> FloatArray:
        """One finite number for each row."""
        try:
            array = np.asarray(values, dtype=float)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"{name} must be numbers, one for each row used") from error
        if array.shape != (self.scaled.shape[1],) or not np.all(np.isfinite(array)):
            raise ArgumentError(
                f"{name} must be {self.scaled.shape[1]} finite numbers, one for each row used, not {array.shape}"
            )
        return array

    def _groups(self, groups: Any) -> tuple[NDArray[np.intp], pd.Index]:
        """Codes and labels of the groups of the rows."""
        values = pd.Series(np.asarray(groups, dtype=object) if not isinstance(groups, pd.Series) else groups.to_numpy())
        if len(values) != self.scaled.shape[1] or values.isna().any():
            raise ArgumentError(
                f"groups must be {self.scaled.shape[1]} values without gaps, one for each row used, not {len(values)}"
            )
        codes, labels = pd.factorize(values, sort=True)
        return codes, pd.Index(labels)


def holm(p: FloatArray) -> FloatArray:
    """p-values adjusted by Holm's step-down method."""
    order = np.argsort(p, kind="stable")
    steps = (p.size - np.arange(p.size)) * p[order]
    out = np.empty_like(p)
    out[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return out


def population_mean(fit: FittedModel) -> FloatArray:
    """Mean of the response of each row with the random effects at zero."""
    rows, beta = own_rows(fit.design), np.array(fit.optimum.beta)
    eta = rows.fixed(beta)
    return np.asarray(row_mean(fit).value(eta))


def simulated_residuals(
    fit: FittedModel, nsim: int = 250, seed: Any = None, *, use_u: bool = False
) -> SimulatedResiduals:
    """Simulate ``nsim`` responses and find the place of the data among them.

    Parameters
    ----------
    fit : FittedModel
    nsim : int
        At least 2. Memory: two arrays of (nsim + 1) n numbers.
    seed : int, Generator or None
    use_u : bool
        Keep the modes of the random effects in the simulations. That shows what is wrong with the conditional
        distribution (overdispersion, say) even where the random effects vary much. But the modes have been fitted to
        these data, whose spread about them is smaller than the simulated one in a right model too: judge by
        :meth:`FittedModel.calibrated_tests`.

    Warns
    -----
    SimulationWarning
        Once, where prior weights have no part in the drawing: the residuals then judge another experiment.
    """
    if check_nsim(nsim) < 2:
        raise ArgumentError(f"nsim must be at least 2, not {nsim}", nsim=nsim)
    rng, noted = generator(seed)
    warn_of_weights(fit.family, ignored_weights(fit), fit.frame.response_kind)
    responses = np.empty((nsim + 1, fit.nobs))
    responses[0] = fit.frame.y
    for j in range(1, nsim + 1):
        responses[j] = simulated_responses(fit, rng, use_u=use_u)
    scaled = scaled_ranks(responses, rng.random(responses.shape))
    predicted = population_mean(fit)
    for array in (responses, scaled, predicted):
        array.setflags(write=False)
    return SimulatedResiduals(responses, scaled, predicted, noted, padded(fit, scaled[0], "simulated residuals"))
