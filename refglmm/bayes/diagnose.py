"""Whether a Bayesian fit can be relied on, in plain words: checks, and what to do first.

Place in the reading order: after ``fits``. Thresholds of chains (warning, problem):

==========================  =================================  =====================================================
R-hat                       > 1.01, > 1.05                     Vehtari et al. (2021)
effective sizes             < 400, < 100                       bulk and tail, of all chains together
divergent transitions       any, >= 1 per cent                 Betancourt (2017)
acceptance of a chain       < 0.6, < 0.4
trees at the depth limit    any, >= 1 per cent
E-BFMI of a chain           < 0.3, < 0.2                       Betancourt (2016)
condition of the metric     > 1e8, > 1e12
==========================  =================================  =====================================================

Of importance-resampled draws: Pareto k-hat > 0.5, > 0.7 (Vehtari et al. 2024). Of an optimum: whether the search
converged, the curvature is that of a maximum, and starts agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.rformat import table

STATUSES = ("problem", "warning", "skipped", "ok")
#: (warning, problem) thresholds, see the docstring of the module.
RHAT, ESS, SHARE, ACCEPT, BFMI = (1.01, 1.05), (400.0, 100.0), (0.0, 0.01), (0.6, 0.4), (0.3, 0.2)
CONDITION, KHAT, DISAGREEMENT = (1e8, 1e12), (0.5, 0.7), (0.2, 0.5)
#: Log densities of starts further apart than this have reached different modes.
SAME_MODE = 1e-3


ADVICE = {
    "R-hat": "The chains disagree: draw longer (sampling= and warmup= twice as large); if that does not help, look at "
    "plot_trace() and plot_rank() of the quantity, and at the prior.",
    "Bulk ESS": "Too few effective draws: draw longer (sampling= twice as large).",
    "Tail ESS": "Too few effective draws for the ends of intervals: draw longer (sampling= twice as large).",
    "Divergences": "Transitions diverged, so part of the posterior may be missed: raise delta (0.95, 0.99), or use a "
    "tighter prior for standard deviations.",
    "Tree depth": "Trees reached the depth limit: raise max_treedepth, or scale predictors that differ widely.",
    "Acceptance": "A chain accepts too rarely, its step size is not adapted: use a longer warmup.",
    "E-BFMI": "Energies are explored slowly, often for heavy tails of standard deviations: use a tighter prior, or "
    "another parametrisation=.",
    "Metric": "The metric is nearly singular: predictors are almost collinear, or of very different sizes; centre and "
    "scale them.",
    "Log density": "Some draws are not finite: look for extreme values in the data, and for priors far off.",
    "Pareto k-hat": "The approximation misses part of the posterior: use sample(), or for variational() "
    "method='fullrank' or 'lowrank'.",
    "Effective draws": "Few draws carry the weight: draw more, or use sample().",
    "ELBO": "The bound is not finite: check the prior and the data.",
    "Settling": "The bound did not settle: raise iter=, or use another method=.",
    "Runs": "Runs from different starts disagree: raise iter=, or use sample().",
    "Convergence": "The search did not end at a mode: try num_estimate=5, scale predictors, or use a proper prior.",
    "Objective": "The posterior density is not finite: check the data and the prior.",
    "Curvature": "The curvature is not that of a maximum, a parameter is not identified: simplify the model, or use a "
    "proper prior.",
    "Boundary": "A standard deviation is zero and has no standard error: drop the term, use a prior that keeps it from "
    "zero, or sample().",
    "Starts": "Starts ended at different modes, the posterior has several: use sample() and look at plot_dens().",
    "Standard errors": "Some standard errors are missing: use sample().",
}


@dataclass(frozen=True)
class Check:
    """One check: its name, status ("ok", "warning", "problem", "skipped"), what was found, and what to do about it."""

    name: str
    status: str
    found: str
    advice: str = ""


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """Checks of a fit, the worst first in :attr:`recommendations`.

    Attributes
    ----------
    title : str
    checks : tuple of Check
    """

    title: str
    checks: tuple[Check, ...]

    @property
    def status(self) -> str:
        """The worst status there is: "problem", "warning" or "ok"."""
        found = [check.status for check in self.checks if check.status != "skipped"]
        return min(found, key=STATUSES.index, default="ok")

    @property
    def table(self) -> pd.DataFrame:
        """Columns check, status, found."""
        return pd.DataFrame([(c.name, c.status, c.found) for c in self.checks], columns=["check", "status", "found"])

    @property
    def recommendations(self) -> tuple[str, ...]:
        """What to do, problems before warnings, each piece of advice once."""
        ordered = sorted((c for c in self.checks if c.advice), key=lambda c: STATUSES.index(c.status))
        return tuple(dict.fromkeys(c.advice for c in ordered))

    def _verdict(self) -> str:
        return {
            "ok": "No problem was found.",
            "warning": "Usable with care: see the warnings.",
            "problem": "Do not rely on this fit before the problems are solved.",
        }[self.status]

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        shown = {"warning": "WARNING", "problem": "PROBLEM"}
        rows = [[check.name, shown.get(check.status, check.status), check.found] for check in self.checks]
        return ["check", "status", "found"], rows

    def _advice(self) -> list[str]:
        return [f"{i}. {advice}" for i, advice in enumerate(self.recommendations, 1)]

    def __str__(self) -> str:
        header, rows = self._cells()
        lines = [self.title, "", table(header, rows, [True] * 3), "", self._verdict()]
        return "\n".join([*lines, *(["", "What to do, most urgent first:", *self._advice()] if self._advice() else [])])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        lines = [self._verdict(), *self._advice()]
        return html_block([html_table(*self._cells(), self.title), html_lines(lines)])


def judged(name: str, found: str, *, warning: bool = False, problem: bool = False, skipped: bool = False) -> Check:
    """A check with its status, and with advice where it has not passed."""
    if skipped:
        return Check(name, "skipped", found)
    status = "problem" if problem else "warning" if warning else "ok"
    return Check(name, status, found, "" if status == "ok" else ADVICE[name])


def graded(name: str, value: float, limits: tuple[float, float], found: str, above: bool = True) -> Check:
    """A check of a number against (warning, problem): beyond means above them, or below."""
    warning, problem = (value > limit if above else value < limit for limit in limits)
    return judged(name, found, warning=warning, problem=problem, skipped=not np.isfinite(value))


def diagnose(fit: Any) -> Diagnosis:
    """Check a fit; see :meth:`.after.AfterFit.diagnose`."""
    from refglmm.bayes.fits import IndependentFit, MCMCFit, VBFit
    from refglmm.bayes.map_fit import MAPFit

    if isinstance(fit, MAPFit):
        return Diagnosis("Diagnosis of the posterior mode", (*_mode_checks(fit), _prior_check(fit)))
    if isinstance(fit, MCMCFit):
        return Diagnosis("Diagnosis of the chains", (*_chain_checks(fit), _finite_check(fit), _prior_check(fit)))
    checks: list[Check] = []
    if isinstance(fit, VBFit):
        checks += _elbo_checks(fit)
    if isinstance(fit, IndependentFit):
        checks += _weight_checks(fit)
    return Diagnosis("Diagnosis of the draws", (*checks, _finite_check(fit), _prior_check(fit)))


# -- chains ------------------------------------------------------------------------------------------------------------


def _chain_checks(fit: Any) -> list[Check]:
    stats, n = fit.draws.stats, len(fit.draws)
    limit = fit.draws.metadata.get("max_treedepth", np.inf)
    accept = float(np.mean(stats["accept"], axis=1).min())
    low = float(np.min(fit.diagnostics["e_bfmi"]))
    return [
        *_mixing_checks(fit.summary()),
        _share("Divergences", float(np.mean(stats["divergent"])), n),
        _share("Tree depth", float(np.mean(np.asarray(stats["treedepth"]) >= limit)), n),
        graded("Acceptance", accept, ACCEPT, f"lowest of a chain {accept:.2f}", above=False),
        graded("E-BFMI", low, BFMI, f"lowest of a chain {low:.2f}", above=False),
        _metric_check(fit.chains),
    ]


def _mixing_checks(frame: pd.DataFrame) -> list[Check]:
    """R-hat and effective sizes, the worst of all quantities."""
    columns = (
        ("R-hat", "rhat", RHAT, True),
        ("Bulk ESS", "ess_bulk", ESS, False),
        ("Tail ESS", "ess_tail", ESS, False),
    )
    out = []
    for name, column, limits, largest in columns:
        values = frame[column].dropna()
        if values.empty:
            out.append(judged(name, "needs more draws", skipped=True))
            continue
        at = values.idxmax() if largest else values.idxmin()
        value = float(values.loc[at])
        found = f"largest {value:.3f} ({at})" if largest else f"smallest {value:.0f} ({at})"
        out.append(graded(name, value, limits, found, above=largest))
    return out


def _share(name: str, share: float, n: int) -> Check:
    """A share of the transitions: any is a warning."""
    return judged(name, f"{round(share * n)} of {n} transitions", warning=share > SHARE[0], problem=share >= SHARE[1])


def _metric_check(chains: Any) -> Check:
    """Condition of the metric of the hyperparameters, the worst of all chains."""
    if chains is None or not chains.whitenings:
        return judged("Metric", "not kept with these draws", skipped=True)
    worst = max((float(np.linalg.cond(w.C)) ** 2 for w in chains.whitenings if len(w.C)), default=1.0)
    return graded("Metric", worst, CONDITION, f"condition {worst:.3g}")


def _finite_check(fit: Any) -> Check:
    values = np.asarray(fit.draws.stats.get("lp", fit.draws.values))
    lost = int(np.sum(~np.isfinite(values)))
    return judged("Log density", f"{lost} of {values.size} not finite" if lost else "all finite", problem=lost > 0)


def _prior_check(fit: Any) -> Check:
    improper = fit.posterior.priors.improper
    found = f"improper (no Bayes factors): {_listed(improper)}" if improper else "all proper"
    return judged("Priors", found)


def _listed(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")


# -- approximations ----------------------------------------------------------------------------------------------------


def _weight_checks(fit: Any) -> list[Check]:
    ess = float(fit.result.ess)
    return [
        graded("Pareto k-hat", fit.khat, KHAT, f"{fit.khat:.2f}"),
        graded("Effective draws", ess, ESS, f"{ess:.0f}", above=False),
    ]


def _elbo_checks(fit: Any) -> list[Check]:
    result, apart = fit.result, float(fit.result.disagreement)
    found = "a single run" if np.isnan(apart) else f"{apart:.2f} SDs apart"
    return [
        judged("ELBO", f"{result.elbo:.2f} (SE {result.elbo_se:.2g})", problem=not np.isfinite(result.elbo)),
        judged("Settling", str(result.message), warning=not result.converged),
        graded("Runs", apart, DISAGREEMENT, found),
    ]


# -- the mode ----------------------------------------------------------------------------------------------------------


def _mode_checks(fit: Any) -> list[Check]:
    mode = fit.mode
    zero = f"zero: {_listed(mode.at_boundary)}" if mode.at_boundary else "no standard deviation is zero"
    finite = bool(np.isfinite(mode.log_posterior))
    return [
        judged("Convergence", str(mode.message), problem=not mode.converged),
        judged("Objective", f"log posterior {mode.log_posterior:.2f}", problem=not finite),
        _curvature_check(mode),
        judged("Boundary", zero, warning=bool(mode.at_boundary)),
        _starts_check(mode),
        _errors_check(fit),
    ]


def _curvature_check(mode: Any) -> Check:
    known = np.isfinite(np.diag(mode.covariance))
    values = np.linalg.eigvalsh(mode.covariance[np.ix_(known, known)]) if known.any() else np.ones(1)
    positive = bool(np.all(values > 0.0))
    return judged("Curvature", "positive definite" if positive else "not positive definite", problem=not positive)


def _starts_check(mode: Any) -> Check:
    n = mode.starts.size
    if n < 2:
        return judged("Starts", "a single start; num_estimate= asks for more", skipped=True)
    agree = int(np.sum(mode.starts > np.max(mode.starts) - SAME_MODE))
    return judged("Starts", f"{agree} of {n} reached the best mode", warning=agree < n)


def _errors_check(fit: Any) -> Check:
    if fit.se_method == "none":
        return judged("Standard errors", "not asked for", skipped=True)
    se = fit.estimates["Std. Error"]
    lost = [str(name) for name, value in se.items() if not np.isfinite(value)]
    return judged("Standard errors", f"missing: {_listed(lost)}" if lost else "all finite", warning=bool(lost))
