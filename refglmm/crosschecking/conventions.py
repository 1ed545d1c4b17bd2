r"""Which convention reproduces a reported log-likelihood, AIC, BIC or deviance at the reported estimates.

Place in the reading order: after ``objectives``. A log-likelihood can differ from ours, at the same estimates,
because

* the integral over the random effects was done in another way (other quadrature, n_agq = 0, expected curvature, REML
  or ML, lme4's early stop);
* constants were dropped or added (:func:`constants`);
* it goes by another name (minus the log-likelihood, or minus twice that).

Candidates are tried in that order, the usual before the odd; the first that agrees within the precision of the report
is the explanation. AIC and BIC are then read backwards: how many parameters, how many observations do they count?
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm.crosschecking.objectives import Approximation, Bench
from refglmm.crosschecking.reported import Number, Reported
from refglmm.errors import RefglmmError
from refglmm.fit.parts import several

FloatArray = NDArray[np.float64]

#: Log-likelihoods of the same thing agree to this, and to this share of their size: what inner iterations leave, and
#: the relative tolerance (1.5e-8 in R) with which optimisers and comparisons are content.
EQUAL, EQUAL_RELATIVE = 2e-5, 1e-8
#: lme4 2.x adds 2 to -2 log L of families with a scale.
LME4_SCALE_SHIFT = -1.0
SATURATED = "relative to the saturated model (unit deviances in place of log densities)"
#: Names of the terms free of the parameters that programs leave out.
FREE_TERMS = {
    "binomial": "the binomial coefficients",
    "poisson": "the log y! terms",
    "negative_binomial": "the log y! terms",
    "nbinom2": "the log y! terms",
    "nbinom1": "the log y! terms",
    "lognormal": "the Jacobian, sum of log y",
}


@dataclass(frozen=True)
class Finding:
    """What explains a reported number.

    Attributes
    ----------
    quantity : str
        "loglik", "aic", "bic", "deviance", "minus_two_loglik"
    reported, ours : float
        Ours is the number by our own convention at the same estimates, with the approximation that was asked for.
    explained : bool
    convention : str
        What reproduces it; "" for our own convention, or where nothing does.
    reproduced : float
        What that convention gives (nan where nothing does).
    """

    quantity: str
    reported: float
    ours: float
    explained: bool
    convention: str = ""
    reproduced: float = np.nan

    @property
    def plain(self) -> bool:
        """Whether it is simply our number."""
        return self.explained and not self.convention

    @property
    def text(self) -> str:
        """One line."""
        if self.plain:
            return f"{self.reported:.10g}, reproduced ({self.reproduced:.10g})"
        if self.explained:
            return (
                f"{self.reported:.10g}, reproduced as {self.convention} ({self.reproduced:.10g}); ours {self.ours:.10g}"
            )
        return f"{self.reported:.10g}, reproduced by no convention known here; ours {self.ours:.10g}"


@dataclass(frozen=True)
class Candidate:
    """A log-likelihood at the reported estimates by some convention."""

    value: float
    convention: str


class Ledger:
    """All log-likelihoods at the reported estimates, computed as they are asked for.

    Parameters
    ----------
    bench : Bench
    x : reported estimates, complete
    slack : what rounding of the estimates moves the log-likelihood by
    """

    def __init__(self, bench: Bench, x: FloatArray, reported: Reported, slack: float) -> None:
        self.bench, self.x, self.reported, self.slack = bench, x, reported, slack
        self.mode = self._mode()
        self._values: dict[str, float] = {}

    def _mode(self) -> Any:
        """The conditional mode at x; None where it cannot be found."""
        objective = self.bench.objective(Approximation(linear=self.bench.model.is_lmm))
        try:
            with np.errstate(all="ignore"):
                return objective.mode(self.x)
        except (RefglmmError, np.linalg.LinAlgError):
            return None

    # -- candidates --------------------------------------------------------------------------------------------

    def bases(self) -> Iterator[Candidate]:
        """The log-likelihood in every approximation, with all constants."""
        bench, x, order = self.bench, self.x, self.reported.n_agq
        asked = self._cached("asked", lambda: bench.evaluate(x))
        yield Candidate(asked, "")
        stale = bench.asked.n_agq if order is None else order
        if stale > 1:  # lme4's is then relative to the saturated model, and stops early besides
            yield from (Candidate(asked + shift, name) for name, shift in self.constants() if name == SATURATED)
        if not bench.model.is_lmm and bench.fit.penalty is None and stale != 1:
            yield Candidate(self._cached("joint", lambda: bench.joint_value(x)), "the n_agq = 0 criterion")
        yield Candidate(self._cached("walk", lambda: bench.walk_value(x, stale)), self._stale_name(stale))
        if bench.fit.penalty is not None:
            beta = x[bench.model.problem.n_par :][: bench.model.problem.p]
            charge = bench.fit.penalty.value(beta)
            yield Candidate(
                self._cached("unpenalized", lambda: bench.evaluate(x) - charge),
                "the log-likelihood without its penalty",
            )
        if not bench.model.is_lmm and bench.fit.penalty is None and stale == 1:
            yield Candidate(self._cached("joint", lambda: bench.joint_value(x)), "the n_agq = 0 criterion")
        for other in bench.others(order):
            yield Candidate(self._cached(other.label, partial(bench.evaluate, x, other)), other.label)

    def _stale_name(self, order: int) -> str:
        """lme4's objective in words."""
        name = "lme4's n_agq = 0 criterion" if order == 0 else "lme4's objective"
        saturated = " and which is relative to the saturated model for nAGQ > 1" if order > 1 else ""
        scale = ", with its residual-based dispersion and its +2" if self.bench.model.family.has_scale else ""
        return f"{name}, whose inner iteration (PIRLS) stops early{saturated}{scale}"

    def _cached(self, key: str, minus_two: Any) -> float:
        if key not in self._values:
            self._values[key] = -0.5 * minus_two()
        return self._values[key]

    def candidates(self) -> Iterator[Candidate]:
        """Bases, bases with other constants, and both under other names."""
        for base in self.bases():
            yield base
        for base in self.bases():
            for name, shift in self.constants():
                yield Candidate(base.value + shift, _joined(base.convention, name))
        for base in self.bases():
            yield Candidate(-base.value, _joined(base.convention, "minus the log-likelihood"))
            yield Candidate(-2.0 * base.value, _joined(base.convention, "-2 log L in place of the log-likelihood"))
            yield Candidate(
                2.0 * base.value, _joined(base.convention, "twice the log-likelihood (a deviance not halved)")
            )

    def constants(self) -> list[tuple[str, float]]:
        """What programs leave out of, or add to, a log-likelihood: (name, what to add to ours)."""
        problem, family = self.bench.model.problem, self.bench.model.family
        found: list[tuple[str, float]] = []
        free = float(np.sum(problem.base))
        gaussian_rows = float(np.sum(problem.weights > 0))
        half_log = 0.5 * np.log(2.0 * np.pi)
        if self.mode is not None and not several(self.bench.fit) and not problem.n_phi:
            saturated = float(self.mode.log_density + 0.5 * self.mode.deviance)
            found.append((SATURATED, -saturated))
        if family.name == "gaussian" and self.bench.model.is_lmm:
            rows = gaussian_rows - (problem.p if self.bench.asked.restricted else 0)
            found.append(("without the log(2 pi) terms", rows * half_log))
            _, logdet = np.linalg.slogdet(problem.X.T @ (problem.weights[:, None] * problem.X))
            found += [(f"REML {word} log|X'X|/2", s * 0.5 * logdet) for word, s in (("plus", 1.0), ("minus", -1.0))]
        else:
            what = FREE_TERMS.get(family.name, "the terms free of the parameters")
            found.append((f"without {what}", -free))
        if problem.n_parts > 1 and getattr(family, "base", family).name.startswith("lognormal"):
            positive = problem.y > 0.0
            jacobian = float(np.sum(problem.weights[positive] * np.log(problem.y[positive])))
            found.append((f"without {FREE_TERMS['lognormal']}", jacobian))
        found.append((f"with (q/2) log(2 pi) subtracted, q = {problem.q} (the slip in the paper's Laplace formula)",
                      -problem.q * half_log))  # fmt: skip
        found.append(("with (q/2) log(2 pi) added", problem.q * half_log))
        if family.has_scale and not self.bench.model.is_lmm:
            found.append(("with lme4's +2 in -2 log L of families with a dispersion", LME4_SCALE_SHIFT))
        return [(name, shift) for name, shift in found if np.isfinite(shift) and abs(shift) > EQUAL]

    # -- explanations ------------------------------------------------------------------------------------------

    def tolerance(self, number: Number, factor: float = 1.0) -> float:
        """How far a log-likelihood may lie from what was reported (``factor`` 2: a deviance)."""
        return factor * (EQUAL + self.slack) + number.half + EQUAL_RELATIVE * abs(number.value)

    def explain_loglik(self, number: Number, tolerance: float | None = None) -> Candidate | None:
        """The first candidate that reproduces a log-likelihood."""
        allowed = self.tolerance(number) if tolerance is None else tolerance
        for candidate in self.candidates():
            if np.isfinite(candidate.value) and abs(candidate.value - number.value) <= allowed:
                return candidate
        return None

    def loglik(self, quantity: str, number: Number) -> Finding:
        """Explain "loglik" or "minus_two_loglik"."""
        ours = self._cached("asked", lambda: self.bench.evaluate(self.x))
        factor = 1.0 if quantity == "loglik" else -2.0
        found = self.explain_loglik(Number(number.value / factor, number.half / abs(factor)))
        if found is None:
            return Finding(quantity, number.value, factor * ours, False)
        return Finding(quantity, number.value, factor * ours, True, found.convention, factor * found.value)

    def deviance(self, number: Number) -> Finding:
        """Conditional deviance, ours or lme4's, or -2 log L by some convention."""
        allowed = self.tolerance(number, 2.0)
        ours = self._conditional()
        if np.isfinite(ours) and abs(ours - number.value) <= allowed + 1e-5 * abs(ours):
            return Finding("deviance", number.value, ours, True, "", ours)
        stale = self._stale_deviance()
        if np.isfinite(stale) and abs(stale - number.value) <= allowed + 1e-7 * abs(stale):
            return Finding(
                "deviance", number.value, ours, True, "the conditional deviance where lme4's PIRLS stopped early", stale
            )
        found = self.explain_loglik(Number(-0.5 * number.value, 0.5 * number.half))
        if found is None:
            return Finding("deviance", number.value, ours, False)
        name = "the REML criterion" if self.bench.asked.restricted else "-2 log L (the random effects integrated out)"
        convention = _joined(name, found.convention)
        return Finding("deviance", number.value, ours, True, convention, -2.0 * found.value)

    def _conditional(self) -> float:
        """Sum of unit deviances at the modes; -2 log L of ML for a linear mixed model."""
        if self.bench.model.is_lmm:
            return self.bench.evaluate(self.x, Approximation(linear=True))
        if self.mode is None or several(self.bench.fit):
            return np.nan
        return float(self.mode.deviance)

    def _stale_deviance(self) -> float:
        if self.bench.walk is None or several(self.bench.fit):
            return np.nan
        objective = self.bench.walk(1)
        if not np.isfinite(objective.value(self.x)):
            return np.nan
        problem = self.bench.model.problem
        return float(np.sum(problem.family.unit_deviance(problem.y, objective.walk.mu, problem.weights)))

    # -- criteria that count -----------------------------------------------------------------------------------

    def aic(self, number: Number, loglik: Number | None) -> Finding:
        """-2 log L + 2 k: the k that the report counts, given its log-likelihood; else by candidates."""
        df = self.bench.fit.df
        ours = -2.0 * self._cached("asked", lambda: self.bench.evaluate(self.x)) + 2.0 * df
        if loglik is not None:
            k = 0.5 * (number.value + 2.0 * loglik.value)
            allowed = 0.5 * number.half + loglik.half + EQUAL
            return _counted("aic", number, ours, k, df, allowed, "parameters", "the model has")
        return self._by_candidates("aic", number, ours, 2.0)

    def bic(self, number: Number, loglik: Number | None, aic: Number | None) -> Finding:
        """-2 log L + k log N: the N that the report counts."""
        df, n = self.bench.fit.df, self.bench.fit.nobs
        ours = -2.0 * self._cached("asked", lambda: self.bench.evaluate(self.x)) + df * np.log(n)
        if loglik is None:
            return self._by_candidates("bic", number, ours, float(np.log(n)))
        counts = {round(0.5 * (aic.value + 2.0 * loglik.value)) if aic else df, df}
        allowed = number.half + 2.0 * loglik.half + EQUAL
        for k in sorted(counts, key=lambda k: k != df):
            for N, what in self._sample_sizes():
                value = -2.0 * loglik.value + k * np.log(N)
                if abs(value - number.value) <= allowed:
                    convention = "" if (k, what) == (df, "") else _joined(what, f"{k} parameters" if k != df else "")
                    return Finding("bic", number.value, ours, True, convention, value)
        return Finding("bic", number.value, ours, False)

    def _sample_sizes(self) -> list[tuple[float, str]]:
        """What may stand in the logarithm of BIC."""
        fit, problem = self.bench.fit, self.bench.model.problem
        sizes = [(float(fit.nobs), "")]
        sizes += [
            (float(n), f"BIC with the {n} levels of {name} as its sample size") for name, n in fit.ngroups.items()
        ]
        trials = float(np.sum(problem.weights))
        sizes.append((trials, f"BIC with the {trials:.0f} trials as its sample size"))
        if self.bench.asked.restricted and fit.nobs > problem.p:
            sizes.append((float(fit.nobs - problem.p), "BIC with n - p as its sample size"))
        return sizes

    def _by_candidates(self, quantity: str, number: Number, ours: float, unit: float) -> Finding:
        """Explain a criterion without the log-likelihood behind it."""
        df = self.bench.fit.df
        for k in (df, df - 1, df + 1):
            found = self.explain_loglik(Number(-0.5 * (number.value - unit * k), 0.5 * number.half))
            if found is not None:
                convention = _joined(found.convention, f"{k} parameters counted, the model has {df}" if k != df else "")
                return Finding(quantity, number.value, ours, True, convention, -2.0 * found.value + unit * k)
        return Finding(quantity, number.value, ours, False)


def _joined(*pieces: str) -> str:
    return ", ".join(piece for piece in pieces if piece)


def _counted(
    quantity: str, number: Number, ours: float, k: float, df: int, allowed: float, what: str, have: str
) -> Finding:
    """Whether a count that was read backwards is ours, another whole number, or none."""
    if abs(k - df) <= allowed:
        return Finding(quantity, number.value, ours, True, "", number.value)
    if abs(k - round(k)) <= allowed and round(k) > 0:
        return Finding(quantity, number.value, ours, True, f"{round(k)} {what} counted where {have} {df}", number.value)
    return Finding(quantity, number.value, ours, False)


def explain(ledger: Ledger, criteria: Mapping[str, Number]) -> tuple[Finding, ...]:
    """Explain every reported criterion."""
    found: list[Finding] = []
    loglik = criteria.get("loglik")
    if loglik is None and "minus_two_loglik" in criteria:
        number = criteria["minus_two_loglik"]
        loglik = Number(-0.5 * number.value, 0.5 * number.half)
    for key, number in criteria.items():
        if key == "minus_two_loglik" and _says_the_same(number, criteria.get("loglik")):
            continue
        if key in ("loglik", "minus_two_loglik"):
            found.append(ledger.loglik(key, number))
        elif key == "deviance":
            found.append(ledger.deviance(number))
        elif key == "aic":
            found.append(ledger.aic(number, loglik))
        else:
            found.append(ledger.bic(number, loglik, criteria.get("aic")))
    return tuple(found)


def _says_the_same(minus_two: Number, loglik: Number | None) -> bool:
    """Whether -2 log L is just the reported log-likelihood once more."""
    if loglik is None:
        return False
    return abs(minus_two.value + 2.0 * loglik.value) <= 2.0 * loglik.half + minus_two.half + 1e-8 * abs(minus_two.value)
