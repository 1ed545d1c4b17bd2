r"""The verdict: one of a few codes, and one sentence with the numbers behind it.

Place in the reading order: after ``errors_match``. Every threshold of the cross-check stands here. With
:math:`\ell` the log-likelihood that was asked for, the *loss* is :math:`\ell(\hat x) - \ell(x)`, x the reported
estimates and :math:`\hat x` our optimum; near the optimum it is half the squared distance in standard errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from refglmm.crosschecking.conventions import Finding
from refglmm.crosschecking.errors_match import ErrorsMatch
from refglmm.crosschecking.reported import Reported

#: Loss below which nothing that is inferred can change: likelihood-ratio statistics move by twice this, P values in the
#: fourth digit. It is what optimisers with default tolerances leave.
SMALL_LOSS = 1e-3
#: Distance of an estimate in standard errors that does not show in two digits of a z value. A loss below half its
#: square leaves no room for a larger one.
SMALL_DISTANCE = 0.01
#: Rounding is allowed to explain this much more than half a unit of each last digit does (the optimum is not ours to
#: the last bit, and a table may have been truncated).
ROUNDING_SLACK = 1.5
#: Beyond this distance (standard errors), or this loss, the estimates are not those of a search that stopped early:
#: conclusions may differ.
EARLY_DISTANCE, EARLY_LOSS = 0.5, 0.5
#: The estimates belong to another objective if a Newton step on it promises less than this log-likelihood, and less
#: than this share of their loss on the objective that was asked for.
OTHER_DECREMENT, OTHER_SHARE = 1e-3, 0.1
#: A fit of that objective must confirm it: its optimum may lie above the estimates by this many times what is allowed.
REAL_LOSS = 2.0
#: A log-likelihood above ours by less than this is rounding of two searches for the same optimum.
BETTER = 1e-4
#: Standard errors within this of ours (relative) lead to the same intervals in print; beyond, they are called wrong.
ERRORS_OFF = 0.05
#: A standard deviation below this share of ours has collapsed, if ours is not itself at zero.
COLLAPSED = 0.02

#: How sentences call the criteria.
NAMES = {"loglik": "logLik", "minus_two_loglik": "-2 logLik", "aic": "AIC", "bic": "BIC", "deviance": "deviance"}

#: Estimates that are no maxima of the likelihood.
KIND_NAMES = {
    "map": "modes of a posterior density, under priors",
    "variational": "means of a variational approximation to the posterior, under priors",
    "posterior": "summaries of posterior draws, under priors",
}


class Code(StrEnum):
    """What a cross-check can find."""

    AGREES = "agrees"
    OTHER_CONVENTION = "agrees_other_convention"
    OTHER_OBJECTIVE = "other_objective"
    STOPPED_EARLY = "stopped_early"
    NOT_THE_OPTIMUM = "not_the_optimum"
    WRONG_ERRORS = "wrong_standard_errors"
    WRONG_CRITERION = "wrong_criterion"
    DEGENERATE = "degenerate"
    OTHER_DATA = "other_data"
    BETTER = "better_than_ours"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True)
class Evidence:
    """Everything the verdict rests on. Log-likelihood units; distances in our standard errors.

    Attributes
    ----------
    loss, rounding_loss, decrement : float
        Real loss; the loss that rounding of the reported digits explains; the gain a Newton step promises.
    distance, worst : float, str
        Largest distance of an estimate from our optimum, and whose it is.
    rounding_distance : float
        The largest distance that rounding explains.
    findings, errors
        What explains the criteria and the standard errors.
    reading : str
        What the numbers mean, if not what they are called.
    other_objective, other_loss : str, float
        Another objective with its optimum here, and the log-likelihood that it lacks there.
    collapsed : tuple of str
        Standard deviations that are zero where ours are not.
    starting_values : bool
        Coefficients are 0 and standard deviations 1.
    better_by, better_checked : float, str
        How much higher than our optimum the estimates are, and what a search from there found.
    no_estimates : bool
        Only criteria or standard errors were reported.
    missing : tuple of str
        What an analyst reads and the report does not say.
    impossible : float
        How far an unexplained log-likelihood lies above our maximum.
    """

    reported: Reported
    objective: str
    loss: float
    rounding_loss: float
    decrement: float
    distance: float
    worst: str
    rounding_distance: float
    findings: tuple[Finding, ...] = ()
    errors: ErrorsMatch | None = None
    reading: str = ""
    other_objective: str = ""
    other_loss: float = np.nan
    collapsed: tuple[str, ...] = ()
    starting_values: bool = False
    better_by: float = 0.0
    better_checked: str = ""
    no_estimates: bool = False
    missing: tuple[str, ...] = ()
    impossible: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether the estimates are the optimum that was asked for, up to rounding and harmless stops."""
        no_distance = max(ROUNDING_SLACK * self.rounding_loss, 0.5 * SMALL_DISTANCE**2)
        near = self.distance < SMALL_DISTANCE + self.rounding_distance
        return self.loss <= no_distance or (self.loss < SMALL_LOSS and near)

    @property
    def unexplained(self) -> list[Finding]:
        """Criteria that no convention reproduces."""
        return [finding for finding in self.findings if not finding.explained]

    @property
    def conventions(self) -> list[str]:
        """Conventions other than ours behind the reported criteria."""
        return list(dict.fromkeys(f.convention for f in self.findings if f.explained and f.convention))


@dataclass(frozen=True)
class Verdict:
    """Code and sentence."""

    code: Code
    sentence: str

    def __str__(self) -> str:
        return f"{self.code}: {self.sentence}"


def judge(e: Evidence) -> Verdict:
    """The first code that applies, the gravest first."""
    if e.no_estimates:
        return _without_estimates(e)
    if e.better_by > 0.0:
        return Verdict(Code.BETTER, _better(e))
    if e.starting_values or (e.collapsed and e.loss > SMALL_LOSS):
        return Verdict(Code.DEGENERATE, _degenerate(e))
    if e.agrees:
        return _agreeing(e)
    if e.reported.kind in KIND_NAMES:
        return Verdict(Code.OTHER_OBJECTIVE, _no_maximum(e))
    if e.other_objective:
        return Verdict(Code.OTHER_OBJECTIVE, _other_objective(e))
    if e.impossible > 0.0:
        return Verdict(Code.OTHER_DATA, _impossible(e))
    if e.distance < EARLY_DISTANCE and e.loss < EARLY_LOSS:
        return Verdict(Code.STOPPED_EARLY, _early(e))
    return Verdict(Code.NOT_THE_OPTIMUM, _far(e))


def _agreeing(e: Evidence) -> Verdict:
    """The estimates are right. And the rest of the report."""
    right = _right(e)
    if e.errors is not None and e.errors.off > ERRORS_OFF and not e.errors.is_ours:
        return Verdict(Code.WRONG_ERRORS, f"{right}, but {_errors(e.errors)}{_conventions(e)}.")
    if e.unexplained:
        return Verdict(Code.WRONG_CRITERION, f"{right}, but {_unexplained(e)}.")
    if e.conventions or e.reading:
        reading = f" once it is understood that {e.reading}" if e.reading else ""
        return Verdict(Code.OTHER_CONVENTION, f"{right}{reading}{_conventions(e)}{_errors_aside(e)}.")
    return Verdict(Code.AGREES, f"{right}{_errors_aside(e)}.")


# --- sentences -----------------------------------------------------------------------------------------------------


def number(value: float) -> str:
    """A number with the digits that matter."""
    return f"{value:.3g}"


def _rounding(e: Evidence) -> str:
    """What rounding of the report explains, where that is anything to speak of."""
    return f" (rounding explains {number(e.rounding_loss)})" if e.rounding_loss > 1e-7 else ""


def _right(e: Evidence) -> str:
    limits = []
    if e.missing:
        limits.append(f"as far as it is reported ({', '.join(e.missing)} {'is' if len(e.missing) == 1 else 'are'} not)")
    if e.loss >= SMALL_LOSS:
        limits.append("as far as its few digits tell")
    known = f", {' and '.join(limits)}" if limits else ""
    return (
        f"{e.reported.who} has the {e.objective} optimum{known}: its estimates lose {number(max(e.loss, 0.0))} in "
        f"log-likelihood{_rounding(e)} and lie within {number(e.distance)} standard errors of ours ({e.worst})"
    )


def _away(e: Evidence) -> str:
    """Loss and distance."""
    if not np.isfinite(e.loss):
        return f"the {e.objective} log-likelihood cannot be evaluated there"
    return (
        f"they lose {number(e.loss)} in {e.objective} log-likelihood{_rounding(e)} and lie up to {number(e.distance)} "
        f"standard errors from the optimum ({e.worst})"
    )


def _conventions(e: Evidence) -> str:
    """Up to two criteria by another convention, with our number."""
    told = [f for f in e.findings if f.explained and f.convention][:2]
    pieces = [
        f"its {NAMES[f.quantity]} {f.reported:.8g} is {f.convention}"
        + (f" (ours {f.ours:.8g})" if np.isfinite(f.ours) else "")
        for f in told
    ]
    return "; " + " and ".join(pieces) if pieces else ""


def _errors(m: ErrorsMatch) -> str:
    j = m.extreme
    kind = f"they are {m.kind}" if m.kind else "no convention known here gives them"
    return (
        f"its standard errors are off by up to a factor of {number(m.ratio[j])} ({m.names[j]}: {number(m.reported[j])} "
        f"in place of {number(m.ours[j])}); {kind}"
    )


def _errors_aside(e: Evidence) -> str:
    """Standard errors that are not ours, but close or absent from the verdict."""
    if e.errors is None or e.errors.is_ours:
        return ""
    m = e.errors
    return f"; its standard errors, up to {100 * m.off:.2g} % off, are {m.kind or 'of no kind known here'}"


def _unexplained(e: Evidence) -> str:
    f, where = e.unexplained[0], "our optimum" if e.no_estimates else "these estimates"
    return (
        f"its {NAMES[f.quantity]} {f.reported:.10g} follows from no convention known here (ours at {where}: "
        f"{f.ours:.10g})"
    )


def _unexplained_aside(e: Evidence) -> str:
    return f"; {_unexplained(e)}" if e.unexplained else ""


def _better(e: Evidence) -> str:
    return (
        f"{e.reported.who} found a better optimum than our fit: the {e.objective} log-likelihood of its estimates is "
        f"higher by {number(e.better_by)}, {e.better_checked}"
    )


def _degenerate(e: Evidence) -> str:
    if e.starting_values:
        return (
            f"{e.reported.who} returned its starting values (all coefficients 0, all standard deviations 1); they lose "
            f"{number(e.loss)} in {e.objective} log-likelihood."
        )
    return (
        f"{e.reported.who} collapsed ({'; '.join(e.collapsed)}): {_away(e).replace('they lose', 'its estimates lose')}."
    )


def _other_objective(e: Evidence) -> str:
    return (
        f"{e.reported.who}'s estimates are the optimum of another objective, {e.other_objective} (within "
        f"{number(e.other_loss)} of it); {_away(e)}{_conventions(e)}."
    )


def _impossible(e: Evidence) -> str:
    f = next(f for f in e.unexplained if f.quantity in ("loglik", "minus_two_loglik"))
    return (
        f"{e.reported.who}'s numbers cannot come from these data and this model: its {NAMES[f.quantity]} "
        f"{f.reported:.8g} exceeds the largest possible log-likelihood by {number(e.impossible)} by every convention "
        f"known here, and of its estimates, {_away(e)}."
    )


def _no_maximum(e: Evidence) -> str:
    """Estimates that are no maximum of any likelihood, and what their standard errors are worth."""
    errors = ""
    if e.errors is not None and e.errors.off > ERRORS_OFF:
        errors = f"; {_errors(e.errors)}"
    return (
        f"{e.reported.who}'s estimates are {KIND_NAMES[e.reported.kind or '']}, not a maximum of the likelihood; "
        f"{_away(e)}{errors}{_conventions(e)}{_unexplained_aside(e)}."
    )


def _early(e: Evidence) -> str:
    return (
        f"{e.reported.who} stopped early: its estimates are close, but {_away(e)}; a Newton step from there promises "
        f"{number(e.decrement)}{_conventions(e)}{_unexplained_aside(e)}."
    )


def _far(e: Evidence) -> str:
    return (
        f"{e.reported.who}'s estimates are not the {e.objective} optimum: {_away(e)}"
        f"{_conventions(e)}{_unexplained_aside(e)}."
    )


def _without_estimates(e: Evidence) -> Verdict:
    """Only criteria or standard errors: held against our optimum."""
    if e.unexplained:
        return Verdict(Code.INCOMPLETE, f"{e.reported.who} gives no estimates, and {_unexplained(e)}.")
    pieces = "; ".join(f"{NAMES[f.quantity]} {f.text}" for f in e.findings)
    return Verdict(
        Code.INCOMPLETE,
        f"{e.reported.who} gives no estimates to check; at our own optimum: {pieces or 'no criterion to compare'}"
        f"{_errors_aside(e)}.",
    )
