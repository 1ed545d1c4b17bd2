r"""All checks of a fit in one table: what to look at before believing it.

Place in the reading order: in ``inference``, after the single checks. A row says "ok", "look" (a check below its
conventional bound; with this many checks one in twenty is there by chance) or "problem" (the fit itself is in doubt).

=======================  ========================================================================================
row                      bound
=======================  ========================================================================================
Convergence              the certificate of the optimum
Singular fit             no parameter on its boundary
Uniformity, ...          simulated residuals, p >= 0.05 (the quick tests; ``calibrated_tests`` are sharper)
Overdispersion           Pearson's chi-square, p >= 0.05 (families without a scale)
Collinearity             squared GVIF^(1/(2 Df)) below 5
Influence                one-step Cook's distance of each row below the median of F(p, n - p)
Random effects           normal modes of each column by Shapiro and Wilk, p >= 0.05, from 8 levels on
=======================  ========================================================================================

Sources: Luedecke et al. (2021), "performance", for the choice; Cook (1977) for the bound on his distance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from refglmm.errors import ArgumentError, NotAvailableError, SimulationError, WeightsError
from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.ranef import mode_blocks
from refglmm.fit.rformat import format_p, table
from refglmm.inference.check_result import LEVEL, CheckResult
from refglmm.inference.checks import overdispersion
from refglmm.inference.collinearity import COLUMNS, vif
from refglmm.inference.influence import row_changes
from refglmm.inference.picture import Pictured
from refglmm.inference.simulated_residuals import SimulatedResiduals, simulated_residuals

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

#: Squared GVIF^(1/(2 Df)), which is the VIF of a term with one coefficient, from here on.
INFLATED = 5.0
#: With fewer levels a test of normality says nothing.
ENOUGH_LEVELS = 8
#: Shapiro and Wilk's approximation holds to here.
SHAPIRO_LIMIT = 5000


@dataclass(frozen=True, eq=False, repr=False)
class CheckReport(Pictured):
    """Checks by name; iterates over :class:`CheckResult`.

    Attributes
    ----------
    results : tuple of CheckResult
    problems : tuple of str
        Names of checks that put the fit itself in doubt.
    simulated : SimulatedResiduals or None
        What the simulated checks were made of.
    notes : tuple of str
        Checks that could not be made, and why.
    fit : FittedModel
    """

    picture = "check.plot_check"

    results: tuple[CheckResult, ...]
    problems: tuple[str, ...]
    simulated: SimulatedResiduals | None
    notes: tuple[str, ...]
    fit: FittedModel

    def __iter__(self) -> Iterator[CheckResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, name: str) -> CheckResult:
        for result in self.results:
            if result.name == name:
                return result
        raise ArgumentError(f"no check {name!r}; there are: {', '.join(r.name for r in self.results)}", name=name)

    @property
    def ok(self) -> bool:
        """Whether no check calls for a look."""
        return all(result.ok for result in self.results)

    def status(self, result: CheckResult) -> str:
        """One of "ok", "look" and "problem"."""
        return "ok" if result.ok else "problem" if result.name in self.problems else "look"

    def as_frame(self) -> pd.DataFrame:
        """A row for each check: statistic, value, p, status, verdict."""
        rows = [
            (r.name, next(iter(r.numbers)), r.statistic, r.p_value, self.status(r), r.verdict) for r in self.results
        ]
        return pd.DataFrame(rows, columns=["check", "statistic", "value", "p", "status", "verdict"]).set_index("check")

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the printed table."""
        p = ["" if text == "NaN" else text for text in format_p([r.p_value for r in self.results])]
        rows = [[r.name, *r.cells()[0], text, self.status(r)] for r, text in zip(self.results, p, strict=True)]
        return ["check", "statistic", "value", "p", ""], rows

    def _remarks(self) -> list[str]:
        return [f"{r.name}: {r.verdict}" for r in self.results if not r.ok] + list(self.notes)

    def __repr__(self) -> str:
        lines = [f"Checks of {self.fit.formula.expanded}", table(*self.cells(), [True, True, False, False, True])]
        return "\n".join([*lines, *self._remarks()])

    def _repr_html_(self) -> str:
        title = f"Checks of {self.fit.formula.expanded}"
        return html_block([html_table(*self.cells(), title), html_lines(self._remarks())])


def convergence_check(fit: FittedModel) -> CheckResult:
    """The certificate as a check."""
    certificate = fit.convergence
    verdict = "The optimum is certified."
    if not certificate.converged:
        verdict = "; ".join(certificate.messages) or "The optimum is not certified."
    numbers = {"predicted decrease": certificate.newton_decrement}
    return CheckResult("Convergence", numbers, np.nan, bool(certificate.converged), verdict)


def singular_check(fit: FittedModel) -> CheckResult:
    """Parameters on their boundary."""
    boundary = fit.convergence.boundary
    ok = not fit.convergence.singular
    verdict = "No parameter on its boundary." if ok else f"{', '.join(boundary)} at the edge; see re_pca()."
    return CheckResult("Singular fit", {"on boundary": len(boundary)}, np.nan, ok, verdict)


def collinearity_check(fit: FittedModel) -> CheckResult:
    """The most inflated term."""
    inflation = vif(fit)[COLUMNS[-1]] ** 2
    worst = inflation.idxmax()
    ok = bool(inflation.max() < INFLATED)
    verdict = "Terms are separable." if ok else f"{worst} is determined by the other terms to a large part; see vif()."
    return CheckResult("Collinearity", {"largest VIF": float(inflation.max())}, np.nan, ok, verdict)


def influence_bound(fit: FittedModel) -> float:
    """Median of F(p, n - p)."""
    from scipy.stats import f

    return float(f.ppf(0.5, fit.problem.p, max(fit.nobs - fit.problem.p, 1)))


def row_distances(fit: FittedModel) -> pd.Series:
    """Cook's distance of each row from the one-step change of beta: Delta' Var(beta)^-1 Delta / p."""
    if not fit.problem.p:
        raise NotAvailableError("Cook's distance is about the fixed effects, and this model has none")
    change = row_changes(fit)
    distance = np.sum(change * np.linalg.solve(fit.covariance.matrix, change.T).T, axis=1) / fit.problem.p
    return pd.Series(distance, index=fit.frame.index, name="Cook's distance")


def influence_check(fit: FittedModel) -> CheckResult:
    """The largest distance by which one row moves the fixed effects."""
    distance = row_distances(fit).to_numpy()
    if not np.any(np.isfinite(distance)):
        raise NotAvailableError("every row is fitted by parameters of its own")
    beyond = int(np.sum(distance > influence_bound(fit)))
    largest = int(np.nanargmax(distance))
    verdict = "No row moves the fixed effects much."
    if beyond:
        label = fit.frame.index[largest]
        verdict = f"{beyond} rows move the fixed effects much, most of all row {label}; see influence()."
    numbers = {"largest Cook": float(distance[largest]), "rows beyond": beyond}
    return CheckResult("Influence", numbers, np.nan, not beyond, verdict)


def normality_checks(fit: FittedModel) -> list[CheckResult]:
    """Shapiro and Wilk's test for the modes of every column of every term with enough levels."""
    from scipy.stats import shapiro

    out = []
    for term, modes in zip(fit.design.terms, mode_blocks(fit), strict=True):
        for column, b in zip(term.columns, modes.T, strict=True):
            if not ENOUGH_LEVELS <= b.size <= SHAPIRO_LIMIT or np.ptp(b) == 0.0:
                continue
            W, p = shapiro(b)
            ok = bool(p >= LEVEL)
            verdict = "Close to normal." if ok else "Not close to normal: look at their QQ plot for outlying levels."
            out.append(CheckResult(f"Random effects: {term.group}, {column}", {"W": float(W)}, float(p), ok, verdict))
    return out


def check(fit: FittedModel, nsim: int = 250, seed: Any = None) -> CheckReport:
    """Make all checks that this model has.

    Parameters
    ----------
    fit : FittedModel
    nsim, seed
        Of the simulated residuals.
    """
    results, notes = [convergence_check(fit), singular_check(fit)], []
    simulated = None
    try:
        simulated = simulated_residuals(fit, nsim, seed)
        results += simulated.tests()
    except (NotAvailableError, SimulationError, WeightsError) as error:
        notes.append(f"No simulated residuals: {error}")
    for single in (overdispersion, collinearity_check, influence_check):
        try:
            results.append(single(fit))
        except NotAvailableError as error:
            if single is influence_check:  # the others have nothing to say of some models
                notes.append(f"No influence: {error}")
    return CheckReport(tuple(results + normality_checks(fit)), ("Convergence",), simulated, tuple(notes), fit)
