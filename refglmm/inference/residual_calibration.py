r"""Tests of simulated residuals whose p-values allow for the estimation of the parameters.

Place in the reading order: in ``inference``, after ``simulated_residuals`` and ``tasks``. The estimates have been
fitted to the data, but not to the simulations: the data lie closer to the model than a simulation does, and the tests
of ``simulated_residuals`` reject a right model far more seldom than they say (for cbpp at the 5 % level hardly ever).
So the whole procedure is repeated on data from the fitted model: simulate, fit, simulate residuals, test. With
:math:`T_b` the statistic of replicate b,

.. math:: p^* = \frac{1 + \#\{b: T_b \ge T\}}{1 + B},

or twice the smaller tail where both matter (dispersion, outliers, zeros).

Source: Davison and Hinkley (1997), "Bootstrap Methods and their Application", section 4.2.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from refglmm.errors import NotAvailableError
from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.rformat import format_p, table
from refglmm.fit.simulate import check_nsim, simulated_responses
from refglmm.inference.check_result import CheckResult
from refglmm.inference.simulated_residuals import monte_carlo_p, simulated_residuals
from refglmm.inference.tasks import run_tasks, seeds

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from refglmm.fitted import FittedModel

#: Tests of which only large statistics speak against the model.
ONE_SIDED = ("Uniformity (KS)", "Quantiles")


@dataclass(frozen=True, eq=False, repr=False)
class CalibratedTests:
    """Tests of simulated residuals with calibrated p-values.

    Attributes
    ----------
    tests : tuple of CheckResult
        Of the data, uncalibrated.
    p_values : tuple of float
        Calibrated, in the same order.
    n_replicates : int
        Data sets that were simulated and fitted.
    failures : tuple of str
        Why the others were not.
    """

    tests: tuple[CheckResult, ...]
    p_values: tuple[float, ...]
    n_replicates: int
    failures: tuple[str, ...]

    def as_frame(self) -> pd.DataFrame:
        """A row for each test: statistic, p, p_calibrated."""
        rows = [(t.name, t.statistic, t.p_value, p) for t, p in zip(self.tests, self.p_values, strict=True)]
        return pd.DataFrame(rows, columns=["test", "statistic", "p", "p_calibrated"]).set_index("test")

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        plain, calibrated = format_p([t.p_value for t in self.tests]), format_p(self.p_values)
        rows = [[t.name, t.cells()[0][1], p, c] for t, p, c in zip(self.tests, plain, calibrated, strict=True)]
        return ["test", "value", "p", "calibrated"], rows

    def _notes(self) -> list[str]:
        lost = f"; {len(self.failures)} more failed, see .failures" if self.failures else ""
        return [f"calibrated by {self.n_replicates} simulated data sets{lost}"]

    def __repr__(self) -> str:
        return "\n".join([table(*self._cells(), [True, False, False, False]), *self._notes()])

    def _repr_html_(self) -> str:
        return html_block([html_table(*self._cells(), "Simulated residuals"), html_lines(self._notes())])


def replicate_statistics(fit: FittedModel, nsim: int, use_u: bool, seed: np.random.SeedSequence) -> dict[str, float]:
    """Statistics of the tests for one data set drawn from the fit and fitted again."""
    rng = np.random.default_rng(seed)
    other = fit.refit(simulated_responses(fit, rng))
    return {test.name: test.statistic for test in simulated_residuals(other, nsim, rng, use_u=use_u).tests()}


def calibrated_tests(
    fit: FittedModel,
    nboot: int = 199,
    nsim: int = 99,
    seed: int | None = None,
    *,
    use_u: bool = False,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> CalibratedTests:
    """Test simulated residuals with p-values that allow for the estimation of the parameters.

    Parameters
    ----------
    fit : FittedModel
    nboot : int
        Data sets to simulate and fit; the smallest p-value is 1 / (nboot + 1).
    nsim, use_u
        Of the simulated residuals of each.
    seed : int or None
    executor : concurrent.futures.Executor, optional
        The numbers do not depend on it.
    progress : bool, optional

    Raises
    ------
    NotAvailableError
        If every replicate fails; the first reason is given.
    """
    first, *others = seeds(seed, 1 + check_nsim(nboot))
    tests = simulated_residuals(fit, nsim, np.random.default_rng(first), use_u=use_u).tests()
    task: Any = partial(replicate_statistics, fit, nsim, use_u)
    outcomes = run_tasks(task, others, executor=executor, progress=progress, label="residual tests")
    failures = tuple(outcome.error for outcome in outcomes if outcome.error is not None)
    found = [outcome.value for outcome in outcomes if outcome.error is None]
    if not found:
        raise NotAvailableError(f"all {len(failures)} replicates failed; the first: {failures[0]}")
    p = []
    for test in tests:
        # a replicate without zeros has no test of zeros: none observed, none expected
        statistics = np.array([test.statistic, *(replicate.get(test.name, 1.0) for replicate in found)])
        p.append(monte_carlo_p(statistics, "greater" if test.name in ONE_SIDED else "two-sided"))
    return CalibratedTests(tuple(tests), tuple(p), len(found), failures)
