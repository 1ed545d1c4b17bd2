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
        return ["check", "status", "found"], [
            [c.name, c.status.upper() if c.status == "problem" else c.status, c.found] for c in self.checks
        ]

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


def graded(name: str, value: float, limits: tuple[float, float], found: str, advice: str, above: bool = True) -> Check:
    """A check of a number against (warning, problem); beyond means above them, or below."""
    if not np.isfinite(value):
        return Check(name, "skipped", found)
    beyond = [value > limit if above else value < limit for limit in limits]
    status = "problem" if beyond[1] else "warning" if beyond[0] else "ok"
    return Check(name, status, found, "" if status == "ok" else advice)


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


# -- chains -------------------------------------------------------------------------------------------------------------


def _worst(frame: pd.DataFrame, column: str, largest: bool) -> tuple[str, float]:
    """Name and value of the worst quantity; ("", nan) where there is none."""
    values = frame[column].dropna()
    if values.empty:
        return "", np.nan
    at = values.idxmax() if largest else values.idxmin()
    return str(at), float(values.loc[at])


def _chain_checks(fit: Any) -> list[Check]:
    frame, stats, n = fit.summary(), fit.draws.stats, len(fit.draws)
    name, rhat = _worst(frame, "rhat", True)
    longer = "draw longer: sampling= (and warmup=) twice as large"
    checks = [
        graded(
            "R-hat",
            rhat,
            RHAT,
            f"largest {rhat:.3f} ({name})" if name else "needs more draws",
            f"The chains disagree about {name}: {longer}; if that does not help, look at plot_trace({name!r}) and at the prior.",
        ),
    ]
    for column, words in (("ess_bulk", "Bulk ESS"), ("ess_tail", "Tail ESS")):
        name, ess = _worst(frame, column, False)
        found = f"smallest {ess:.0f} ({name})" if name else "needs more draws"
        checks.append(graded(words, ess, ESS, found, f"Too few effective draws: {longer}.", above=False))
    divergent = float(np.mean(stats["divergent"]))
    checks.append(
        _share(
            "Divergences",
            divergent,
            n,
            "Transitions diverged, so part of the posterior may be missed: raise delta (0.95, 0.99), or use a tighter prior for standard deviations.",
        )
    )
    limit = fit.draws.metadata.get("max_treedepth", np.inf)
    saturated = float(np.mean(np.asarray(stats["treedepth"]) >= limit))
    checks.append(
        _share(
            "Tree depth",
            saturated,
            n,
            f"Trees reached the limit of {limit} doublings: raise max_treedepth, or scale predictors that differ widely.",
        )
    )
    accept = float(np.mean(stats["accept"], axis=1).min())
    checks.append(
        graded(
            "Acceptance",
            accept,
            ACCEPT,
            f"lowest of a chain {accept:.2f}",
            "A chain accepts too rarely, its step size is not adapted: use a longer warmup.",
            above=False,
        )
    )
    low = float(np.min(fit.diagnostics["e_bfmi"]))
    checks.append(
        graded(
            "E-BFMI",
            low,
            BFMI,
            f"lowest of a chain {low:.2f}",
            "Energies are explored slowly: heavy tails, often of standard deviations; use a tighter prior, or another parametrisation=.",
            above=False,
        )
    )
    return [*checks, _metric_check(fit.chains)]


def _share(name: str, share: float, n: int, advice: str) -> Check:
    status = "problem" if share >= SHARE[1] else "warning" if share > SHARE[0] else "ok"
    return Check(name, status, f"{round(share * n)} of {n} transitions", "" if status == "ok" else advice)


def _metric_check(chains: Any) -> Check:
    """Condition of the metric of the hyperparameters, the worst of all chains."""
    if chains is None or not getattr(chains, "whitenings", ()):
        return Check("Metric", "skipped", "not kept with these draws")
    conditions = [float(np.linalg.cond(w.C)) ** 2 for w in chains.whitenings if len(w.C)]
    worst = max(conditions, default=1.0)
    advice = "The metric is nearly singular: predictors are almost collinear, or of very different sizes; centre and scale them."
    return graded("Metric", worst, CONDITION, f"condition {worst:.3g}", advice)


def _finite_check(fit: Any) -> Check:
    lp = fit.draws.stats.get("lp")
    values = np.asarray(fit.draws.values if lp is None else lp)
    lost = int(np.sum(~np.isfinite(values)))
    found = "all finite" if lost == 0 else f"{lost} of {values.size} are not finite"
    advice = (
        ""
        if lost == 0
        else "Some draws are not finite: check the data for extreme values, and the prior for scales far off."
    )
    return Check("Log density" if lp is not None else "Draws", "problem" if lost else "ok", found, advice)


def _prior_check(fit: Any) -> Check:
    improper = fit.posterior.priors.improper
    if not improper:
        return Check("Priors", "ok", "all proper")
    found = f"improper: {_listed(improper)}"
    return Check("Priors", "ok", f"{found} (no Bayes factors; the posterior may still be proper)")


def _listed(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")


# -- approximations -----------------------------------------------------------------------------------------------------


def _weight_checks(fit: Any) -> list[Check]:
    khat, ess = fit.khat, float(fit.result.ess)
    return [
        graded(
            "Pareto k-hat",
            khat,
            KHAT,
            f"{khat:.2f}",
            "The approximation misses part of the posterior: use sample(), or for variational() method='fullrank' or 'lowrank'.",
        ),
        graded(
            "Effective draws",
            ess,
            ESS,
            f"{ess:.0f}",
            "Few draws carry the weight: draw more, or use sample().",
            above=False,
        ),
    ]


def _elbo_checks(fit: Any) -> list[Check]:
    result = fit.result
    finite = bool(np.isfinite(result.elbo))
    advice = "The bound did not settle: raise iter=, or use another method=."
    converged = Check(
        "Convergence", "ok" if result.converged else "warning", str(result.message), "" if result.converged else advice
    )
    elbo = Check(
        "ELBO",
        "ok" if finite else "problem",
        f"{result.elbo:.2f} (SE {result.elbo_se:.2g})",
        "" if finite else "The bound is not finite: check the prior and the data.",
    )
    apart = float(result.disagreement)
    found = "a single run" if np.isnan(apart) else f"{apart:.2f} SDs apart"
    return [
        elbo,
        converged,
        graded(
            "Runs", apart, DISAGREEMENT, found, "Runs from different starts disagree: raise iter=, or use sample()."
        ),
    ]


# -- the mode -------------------------------------------------------------------------------------------------------------


def _mode_checks(fit: Any) -> list[Check]:
    mode = fit.mode
    out = [
        Check(
            "Convergence",
            "ok" if mode.converged else "problem",
            str(mode.message),
            ""
            if mode.converged
            else "The search did not end at a mode: try num_estimate=5, scale predictors, or use a proper prior.",
        ),
        Check(
            "Objective",
            "ok" if np.isfinite(mode.log_posterior) else "problem",
            f"log posterior {mode.log_posterior:.2f}",
        ),
    ]
    out.append(_curvature_check(mode))
    if mode.at_boundary:
        names = _listed(mode.at_boundary)
        out.append(
            Check(
                "Boundary",
                "warning",
                f"zero: {names}",
                f"{names} at zero: no standard errors there; drop the term, use a prior that keeps it from zero, or sample().",
            )
        )
    else:
        out.append(Check("Boundary", "ok", "no standard deviation is zero"))
    if mode.starts.size < 2:
        out.append(Check("Starts", "skipped", "a single start; num_estimate= asks for more"))
    else:
        agree = int(np.sum(mode.starts > np.max(mode.starts) - SAME_MODE))
        fine = agree == mode.starts.size
        out.append(
            Check(
                "Starts",
                "ok" if fine else "warning",
                f"{agree} of {mode.starts.size} reached the best mode",
                ""
                if fine
                else "Starts ended at different modes: the posterior has several; use sample() and look at plot_dens().",
            )
        )
    se = fit.estimates["Std. Error"].to_numpy(dtype=float)
    if fit.se_method == "none":
        out.append(Check("Standard errors", "skipped", "not asked for"))
    else:
        lost = [str(name) for name, value in zip(fit.estimates.index, se, strict=True) if not np.isfinite(value)]
        advice = "" if not lost else f"No standard errors of {_listed(lost)}: use sample() for these."
        out.append(
            Check(
                "Standard errors",
                "warning" if lost else "ok",
                f"missing: {_listed(lost)}" if lost else "all finite",
                advice,
            )
        )
    return out


def _curvature_check(mode: Any) -> Check:
    known = np.isfinite(np.diag(mode.covariance))
    values = np.linalg.eigvalsh(mode.covariance[np.ix_(known, known)]) if known.any() else np.ones(1)
    positive = bool(np.all(values > 0.0))
    advice = "The curvature is not that of a maximum: a parameter is not identified; simplify the model or use a proper prior."
    return Check(
        "Curvature",
        "ok" if positive else "problem",
        "positive definite" if positive else "not positive definite",
        "" if positive else advice,
    )
