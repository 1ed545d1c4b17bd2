r"""Cross-check reported results: the whole story in one screen.

Place in the reading order: last of ``crosschecking``. Read what is reported -> find it among our parameters -> fit the
model ourselves -> evaluate the exact objectives at the reported estimates -> look for conventions that explain the
differences -> verdict.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm._threads import blas_threads
from refglmm.crosschecking.conventions import Finding, Ledger, explain
from refglmm.crosschecking.errors_match import match_errors
from refglmm.crosschecking.objectives import SLOPE, Approximation, Bench, first_asked
from refglmm.crosschecking.place import (
    AS_REPORTED,
    READINGS,
    Placer,
    Reading,
    coefficient_places,
    place,
    without_estimates,
)
from refglmm.crosschecking.report import Crosscheck
from refglmm.crosschecking.reported import Number, Reported, read_reported
from refglmm.crosschecking.verdict import (
    BETTER,
    COLLAPSED,
    OTHER_DECREMENT,
    OTHER_SHARE,
    REAL_LOSS,
    ROUNDING_SLACK,
    SMALL_LOSS,
    Evidence,
    judge,
)
from refglmm.errors import ArgumentError, RefglmmError, RefglmmWarning
from refglmm.fitted import FITTING, FittedModel
from refglmm.inference.parameters import Parameter, absolute_scale, parameters, values_at
from refglmm.model import GLMM
from refglmm.optimize.control import make_control

FloatArray = NDArray[np.float64]

AT_THE_OPTIMUM = "the value at the optimum, not at the reported estimates"


def crosscheck(
    model: Any = None,
    data: Any = None,
    reported: Any = None,
    *,
    n_agq: int | None = None,
    reml: bool | None = None,
    **arguments: Any,
) -> Crosscheck:
    """Hold what another program, or a paper, reports against exact computation.

    Parameters
    ----------
    model : str, GLMM or FittedModel, optional
        Formula, or a model (then ``data`` and the model's arguments stay away). By default the formula of the report.
    data : table, optional
        As for :func:`refglmm.glmer`.
    reported : mapping, str, path or fitted object
        Estimates ``fixef`` (by name, or in the order of the columns), ``sd`` (or ``var``) and ``corr`` by grouping
        factor and name, or in lme4's order (or ``varcorr`` rows, covariance matrix ``D``, or ``theta``), ``sigma`` or
        ``phi``; standard errors ``se``; ``loglik``, ``aic``, ``bic``, ``deviance``; ``program``, ``version``, ``nobs``,
        ``ngroups``, ``n_agq``, ``reml``. Also under the names that lme4, glmmTMB, GLMMadaptive and statsmodels use; as
        JSON text or the path of a JSON file; or a fitted object of a known library. What is not reported is filled in
        by our best values given the rest.
    n_agq, reml : int, bool, optional
        Which log-likelihood to hold the estimates against; by default what the report says, else Laplace, and for
        linear mixed models whichever of ML and REML fits better.
    **arguments
        Of :class:`refglmm.GLMM` (``family``, ``link``, ``weights``, ``offset``, ``zi``, ``dispersion``,
        ``contrasts``, ...) and of :meth:`.GLMM.fit` (``control``, ``penalized``, ...). The family is by default that of
        the report.

    Returns
    -------
    Crosscheck
        With a verdict in one sentence.

    Raises
    ------
    ArgumentError, DataError
        Nothing to check, names or sizes that do not fit the model, values that cannot be.

    Examples
    --------
    >>> import refglmm as rg
    >>> cbpp = rg.datasets.load("cbpp")
    >>> check = rg.crosscheck(
    ...     "cbind(incidence, size - incidence) ~ period + (1 | herd)",
    ...     cbpp,
    ...     {"fixef": [-1.3985, -0.9923, -1.1287, -1.5803], "sd": {"herd": 0.6423}, "loglik": -92.0263},
    ...     family="binomial",
    ... )
    >>> print(check.code)
    agrees
    """
    if reported is None:
        raise ArgumentError("crosscheck needs reported=: a mapping such as {'fixef': ..., 'sd': ..., 'loglik': ...}")
    report = read_reported(reported)
    made, settings = _model(model, data, report, arguments)
    placer = place(made, report)
    with blas_threads(make_control(settings.get("control"), settings.get("optimizer"), "exact").threads):
        bench = Bench(made, _asked(made, report, placer, n_agq, reml, settings), settings)
        return _Check(bench, report, placer).result()


def _model(model: Any, data: Any, report: Reported, arguments: Mapping[str, Any]) -> tuple[GLMM, dict[str, Any]]:
    """The model in exact mode, and the arguments that belong to fitting it."""
    settings = {name: value for name, value in arguments.items() if name in FITTING}
    others = {name: value for name, value in arguments.items() if name not in FITTING and name != "mode"}
    if isinstance(model, FittedModel):
        settings = {"penalized": model.settings["penalized"], **settings}
        model = model.model
    if isinstance(model, GLMM):
        if data is not None or others:
            unwanted = "data" if data is not None else next(iter(others))
            raise ArgumentError(
                f"{unwanted}= has no place beside a model that is already made; give a formula, or drop it"
            )
        return (model if model.mode_name == "exact" else model.updated(mode="exact")), settings
    formula = report.formula if model is None else model
    if formula is None:
        raise ArgumentError("crosscheck needs a formula (the report has none)")
    if data is None:
        raise ArgumentError("crosscheck needs data= with the columns of the formula")
    if "family" not in others and report.family is not None:
        others["family"] = report.family
        if report.link is not None and "(" not in report.family:
            others.setdefault("link", report.link)
    return GLMM(formula, data, **others), settings


def _asked(
    model: GLMM, report: Reported, placer: Placer, n_agq: Any, reml: Any, settings: Mapping[str, Any]
) -> Approximation:
    """What the estimates are held against; ML or REML by which is nearer where nobody says."""
    if n_agq is not None:
        if isinstance(n_agq, bool) or not isinstance(n_agq, int | np.integer) or n_agq < 1:
            raise ArgumentError(
                f"n_agq must be a whole number from 1, not {n_agq!r}; n_agq=0 has no likelihood of beta"
            )
        if model.is_lmm and n_agq != 1:
            raise ArgumentError("n_agq has no meaning for a linear mixed model: its likelihood is exact")
    if reml and not model.is_lmm:
        raise ArgumentError("reml=True exists for linear mixed models only (gaussian family, identity link)")
    asked = first_asked(model, n_agq, reml, report.n_agq, report.reml)
    if not model.is_lmm or reml is not None or report.reml is not None or without_estimates(report):
        return asked
    benches = [Bench(model, replace(asked, restricted=restricted), dict(settings)) for restricted in (False, True)]
    losses = [bench.evaluate(bench.completed(placer.x())) - bench.value for bench in benches]
    return benches[int(np.argmin(losses))].asked


@dataclass(frozen=True)
class Others:
    """Another objective that has the reported estimates as its optimum."""

    label: str = ""
    loss: float = np.nan


class _Check:
    """One cross-check: from a bench and the reported numbers to a :class:`Crosscheck`."""

    def __init__(self, bench: Bench, report: Reported, placer: Placer) -> None:
        self.bench, self.report, self.placer = bench, report, placer
        self.no_estimates = without_estimates(report)
        self.notes: list[str] = []
        self.raw = placer.x()
        self.x = bench.completed(self.raw)
        self.reading = AS_REPORTED
        self.better_by, self.better_checked = 0.0, ""

    def result(self) -> Crosscheck:
        """Everything, in order."""
        self._look_for_better()
        if not self.no_estimates and self._loss(self.x) > SMALL_LOSS:
            self._read_otherwise()
        rounding, gradient = self._rounding(self.reading), self.bench.gradient(self.x)
        estimates = self._estimates(rounding)
        evidence = self._weighed(rounding, gradient, estimates)
        self._note_the_rest()
        difference, H = self.x - self.bench.estimate, self.bench.criterion.hessian
        return Crosscheck(
            reported=self.report,
            verdict=judge(evidence),
            evidence=evidence,
            model=self._description(),
            objective=self.bench.asked.label,
            gradient_norm=float(np.max(np.abs(gradient), initial=0.0)),
            mahalanobis=float(np.sqrt(max(0.5 * float(difference @ H @ difference), 0.0))),
            notes=tuple(self.notes),
            _estimates=estimates.drop(columns=["rounding", "filled"]),
            _logliks=self._logliks(),
        )

    def _weighed(self, rounding: FloatArray, gradient: FloatArray, estimates: pd.DataFrame) -> Evidence:
        """All evidence: where the estimates lie, then what explains the rest."""
        distances = estimates["distance"].abs().dropna()
        worst = str(distances.idxmax()) if len(distances) else ""
        rounding_loss = self._rounding_loss(rounding)
        evidence = Evidence(
            reported=self.report,
            objective=self.bench.asked.label,
            loss=self._loss(self.x),
            rounding_loss=rounding_loss,
            decrement=0.5 * self.bench.decrement(self.x, gradient, self._hessian()),
            distance=float(distances.max()) if worst else 0.0,
            worst=worst,
            rounding_distance=float(estimates["rounding"].max(skipna=True)) if len(estimates) else 0.0,
            reading="" if self.reading is AS_REPORTED else self.reading.name,
            better_by=self.better_by,
            better_checked=self.better_checked,
            no_estimates=self.no_estimates,
            missing=tuple(estimates.index[estimates["filled"]]),
            collapsed=self._collapsed(estimates),
            starting_values=self._starting_values(),
        )
        slack = rounding_loss + 0.5 * float(np.abs(rounding @ gradient).sum())
        evidence = replace(evidence, findings=self._findings(slack, evidence), errors=self._errors())
        if evidence.agrees or self.no_estimates:
            return evidence
        other = self._other_objective(evidence)
        return replace(
            evidence, other_objective=other.label, other_loss=other.loss, impossible=self._impossible(evidence)
        )

    # -- where the estimates lie -------------------------------------------------------------------------------

    def _loss(self, x: FloatArray) -> float:
        """Log-likelihood lost against our optimum; inf where it cannot be evaluated."""
        value = self.bench.evaluate(x)
        return 0.5 * (value - self.bench.value) if np.isfinite(value) else np.inf

    def _hessian(self) -> FloatArray:
        H = self.bench.hessian(self.x)
        return H if np.all(np.isfinite(H)) else self.bench.criterion.hessian

    def _rounding(self, reading: Reading) -> FloatArray:
        """Moves of x by half a unit of each reported digit; nothing for what was not reported."""
        if self.no_estimates:
            return np.empty((0, self.x.size))
        moves = self.placer.rounding(reading)
        return np.where(np.isfinite(moves), moves, 0.0)

    def _look_for_better(self) -> None:
        """If the reported estimates are better than our optimum, search again from there, and say what came of it."""
        gain = -self._loss(self.x)
        if self.no_estimates or not gain > BETTER:
            return
        problem, first = self.bench.model.problem, self.bench.value
        par, beta, phi = problem.split(self.x)
        start = {"par": par, "beta": beta, "phi": phi[: problem.n_phi]}
        if self.bench.model.is_lmm:
            start = {"par": par / absolute_scale(problem, float(np.sqrt(phi[0])))}
        elif not problem.n_phi:
            del start["phi"]
        try:
            again = Bench(self.bench.model, self.bench.asked, {**self.bench.settings, "start": start})
        except RefglmmError as error:
            self.better_by, self.better_checked = gain, f"but a search from there fails ({error})."
            return
        if again.value < first - 2.0 * BETTER:
            self.better_by = 0.5 * (first - self.bench.evaluate(self.x))
            self.better_checked = (
                f"and a search from there ends {0.5 * (first - again.value):.3g} above our first fit; below, ours is "
                "where that search ended."
            )
            self.bench = again
        self.x = self.bench.completed(self.raw)

    def _read_otherwise(self) -> None:
        """Take the estimates to mean something else, if that makes them the optimum."""
        before = self._loss(self.x)
        for reading in READINGS:
            if not reading.suits(self.bench.model):
                continue
            try:
                raw = self.placer.x(reading=reading)
            except (ArgumentError, ZeroDivisionError, OverflowError):
                continue
            if np.array_equal(raw, self.raw, equal_nan=True) or np.any(~np.isfinite(raw) & np.isfinite(self.raw)):
                continue
            x = self.bench.completed(raw)
            loss = self._loss(x)
            if loss >= 0.01 * before:
                continue
            if loss < max(SMALL_LOSS, ROUNDING_SLACK * self._rounding_loss(self._rounding(reading))):
                self.raw, self.x, self.reading = raw, x, reading
                self.notes.append(f"{reading.name}; as they stand, they lose {before:.3g} in log-likelihood")
                return

    def _rounding_loss(self, moves: FloatArray) -> float:
        """Most that rounding of an exact optimum can lose."""
        return 0.25 * float(np.abs(moves @ self.bench.criterion.hessian @ moves.T).sum())

    # -- tables ------------------------------------------------------------------------------------------------

    def _estimates(self, rounding: FloatArray) -> pd.DataFrame:
        """Reported and our estimates of everything that an analyst reads, with our standard errors."""
        bench = self.bench
        known = parameters(bench.fit)
        ours, se = values_at(bench.model.problem, known, bench.estimate), self._deviations(known)
        with np.errstate(all="ignore"):
            theirs = values_at(bench.model.problem, known, self.x)
            missing = ~np.isfinite(self.raw)  # filled in, not reported: what moves with it is not theirs
            filled = np.any(self._slopes(known)[:, missing] != 0.0, axis=1)
            theirs[filled] = np.nan
            distance = np.where(se > 0.0, (theirs - ours) / se, np.nan)
            slack = np.where(se > 0.0, np.abs(self._slopes(known) @ rounding.T).sum(axis=1) / se, 0.0)
        return pd.DataFrame(
            {"reported": theirs, "ours": ours, "se": se, "distance": distance, "rounding": slack, "filled": filled},
            index=[parameter.name for parameter in known],
        )

    def _slopes(self, known: tuple[Parameter, ...]) -> FloatArray:
        """How what an analyst reads moves with x at our optimum; one-sided, so that a zero deviation has a slope."""
        bench = self.bench
        problem, x = bench.model.problem, bench.estimate
        with np.errstate(all="ignore"):
            at = values_at(problem, known, x)
            columns = []
            for j in range(x.size):
                step = SLOPE * bench.scale[j]
                up = x[j] + step <= bench.criterion.upper[j]
                moved = x.copy()
                moved[j] += step if up else -step
                columns.append((values_at(problem, known, moved) - at) / (step if up else -step))
        return np.array(columns).T.reshape(len(known), x.size)

    def _deviations(self, known: tuple[Parameter, ...]) -> FloatArray:
        """Our standard errors: the delta method on twice the inverse Hessian."""
        slopes = self._slopes(known)
        covariance = 2.0 * np.linalg.inv(self.bench.criterion.hessian)
        with np.errstate(all="ignore"):
            return np.sqrt(np.einsum("ki,ij,kj->k", slopes, covariance, slopes))

    def _logliks(self) -> pd.DataFrame:
        """Exact log-likelihoods at the reported estimates and at our optimum."""
        bench, x = self.bench, self.x
        rows: dict[str, tuple[float, float]] = {
            bench.asked.label: (bench.evaluate(x), bench.evaluate(bench.estimate)),
        }
        usual = [a for a in bench.others(self.report.n_agq) if a.n_agq in (1, self.report.n_agq)]
        for other in usual:
            rows[other.label] = (bench.evaluate(x, other), bench.evaluate(bench.estimate, other))
        if (here := bench.integral(x)) is not None and (there := bench.integral(bench.estimate)) is not None:
            rows[f"integral ({max(here[1], there[1])} points)"] = (here[0], there[0])
        if (stale := bench.walk_value(x, 1)) and np.isfinite(stale):
            rows["lme4's early stop (Laplace)"] = (stale, bench.walk_value(bench.estimate, 1))
        table = -0.5 * np.array(list(rows.values()))
        if self.no_estimates:
            table[:, 0] = np.nan
        return pd.DataFrame(table, index=list(rows), columns=["theirs", "ours"])

    # -- what explains the rest ---------------------------------------------------------------------------------

    def _findings(self, slack: float, evidence: Evidence) -> tuple[Finding, ...]:
        """Explanations of the criteria at their estimates; where there is none, at our optimum."""
        found = explain(Ledger(self.bench, self.x, self.report, slack), self.report.criteria)
        if all(finding.explained for finding in found) or self.no_estimates or evidence.agrees:
            return found
        ours = explain(Ledger(self.bench, self.bench.estimate, self.report, slack), self.report.criteria)
        return tuple(_at_the_optimum(one, other) for one, other in zip(found, ours, strict=True))

    def _errors(self) -> Any:
        """Which standard errors they are."""
        if not self.report.se:
            return None
        numbers: dict[int, Number] = coefficient_places(self.bench.model, self.report.se, "se")
        found = []
        for ratios in {self.reading.ratios, False}:  # of the ratios, or beside them of the coefficients
            factor = self.placer.ratios(self.reading if ratios else AS_REPORTED)
            values = {i: number.value / factor[i] for i, number in numbers.items()}
            halves = {i: number.half / factor[i] for i, number in numbers.items()}
            found.append(match_errors(self.bench, self.x, values, halves))
        return min((match for match in found if match is not None), key=lambda match: match.off, default=None)

    def _other_objective(self, evidence: Evidence) -> Others:
        """Another objective with its optimum at the reported estimates; of several, the nearest by a clear margin."""
        bench, x = self.bench, self.x
        allowed = max(OTHER_DECREMENT, ROUNDING_SLACK * evidence.rounding_loss)
        allowed = min(allowed, OTHER_SHARE * evidence.loss)
        nearest, least = None, np.inf
        for other in bench.others(self.report.n_agq):
            promised = 0.5 * bench.decrement(x, bench.gradient(x, other))
            if promised < allowed and promised < 0.5 * least:
                nearest, least = other, promised
        best = Others("", np.inf)
        if nearest is not None and (lost := self._real_loss(nearest)) < REAL_LOSS * allowed:  # else flat, no optimum
            best = Others(nearest.label, lost)
        joint = self._distance_to_joint()
        if joint < allowed and joint < best.loss:
            best = Others("n_agq = 0 (coefficients from the joint penalised problem)", joint)
        return best if best.label else self._lme4_mode(allowed)

    def _real_loss(self, other: Approximation) -> float:
        """Log-likelihood that the estimates lack against the optimum of another approximation."""
        try:
            own = Bench(self.bench.model, other, self.bench.settings)
        except RefglmmError:
            return np.inf
        return max(0.5 * (own.evaluate(self.x) - own.value), 0.0)

    def _distance_to_joint(self) -> float:
        """Half the squared distance, in our standard errors, to the n_agq = 0 estimates."""
        joint = self.bench.joint_fit
        if joint is None:
            return np.inf
        problem = self.bench.model.problem
        return self._half_square(problem.join(joint.optimum.par, joint.optimum.beta, joint.optimum.phi))

    def _half_square(self, other: FloatArray) -> float:
        """Half the squared distance between the reported estimates and others, in our standard errors."""
        difference = self.x - other
        value = 0.25 * float(difference @ self.bench.criterion.hessian @ difference)
        return value if np.isfinite(value) else np.inf

    def _lme4_mode(self, allowed: float) -> Others:
        """lme4's own estimates where its objective differs: families with a dispersion, or a late early stop."""
        bench = self.bench
        if bench.walk is None or self.report.n_agq == 0 or self.report.program not in (None, "lme4"):
            return Others()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RefglmmWarning)
                fit = bench.model.updated(mode="lme4").fit(n_agq=bench.asked.n_agq)
        except RefglmmError:
            return Others()
        if fit.problem.names != bench.model.problem.names:
            return Others()
        name = "lme4's, whose inner iteration stops early"
        if bench.model.family.has_scale:
            name += " and which has no likelihood of the dispersion"
        for factor, note in ((1.0, ""), (fit.sigma, "; its standard deviations were multiplied by sigma (before 2.0)")):
            distance = self._half_square(self._with_main(factor * fit.optimum.par, fit.optimum.beta))
            if distance < allowed:
                return Others(name + note, distance)
        return Others()

    def _with_main(self, par: FloatArray, beta: FloatArray) -> FloatArray:
        """The reported estimates with other covariance parameters and coefficients."""
        return np.concatenate([par, beta, self.x[par.size + beta.size :]])

    def _impossible(self, evidence: Evidence) -> float:
        """By how much an unexplained log-likelihood exceeds our maximum."""
        for finding in evidence.findings:
            if finding.quantity in ("loglik", "minus_two_loglik") and not finding.explained:
                loglik = finding.reported if finding.quantity == "loglik" else -0.5 * finding.reported
                half = self.report.criteria[finding.quantity].half
                return max(loglik + 0.5 * self.bench.value - SMALL_LOSS - half, 0.0)
        return 0.0

    # -- degenerate reports ------------------------------------------------------------------------------------

    def _collapsed(self, estimates: pd.DataFrame) -> tuple[str, ...]:
        """Standard deviations that are nearly zero where ours are not."""
        texts = []
        for name, row in estimates.iterrows():
            if str(name).startswith("sd") and row["reported"] < COLLAPSED * row["ours"]:
                texts.append(f"{name} is {row['reported']:.3g} where ours is {row['ours']:.3g}")
        return tuple(texts)

    def _starting_values(self) -> bool:
        """Whether all coefficients are 0 and all standard deviations 1."""
        problem = self.bench.model.problem
        par, beta = self.raw[: problem.n_par], self.raw[problem.n_par : problem.n_par + problem.p]
        if not np.all(np.isfinite(self.raw[: problem.n_par + problem.p])) or not beta.size or not par.size:
            return False
        return bool(np.all(beta == 0.0) and np.array_equal(par, problem.par_start))

    # -- words -------------------------------------------------------------------------------------------------

    def _note_the_rest(self) -> None:
        """What was filled in, and what our own fit had to say."""
        names = np.array(self.bench.criterion.problem.names)
        missing = names[~np.isfinite(self.raw)]
        if missing.size and not self.no_estimates:
            self.notes.append(f"not reported, filled in by our best values given the rest: {', '.join(missing)}")
        if self.report.unread:
            self.notes.append(f"in the report, but not read: {', '.join(self.report.unread)}")
        self.notes += [f"our own fit: {text}" for text in self.bench.warnings]

    def _description(self) -> str:
        model = self.bench.model
        groups = ", ".join(f"{name} {count}" for name, count in self.bench.fit.ngroups.items())
        return f"{model.frame.formula.expanded}; {model.family.display}; {model.frame.n} rows; {groups} levels"


def _at_the_optimum(finding: Finding, ours: Finding) -> Finding:
    """The explanation at our optimum, for a criterion that has none at the reported estimates."""
    if finding.explained or not ours.explained:
        return finding
    convention = ", ".join(filter(None, (AT_THE_OPTIMUM, ours.convention)))
    return replace(finding, explained=True, convention=convention, reproduced=ours.reproduced)
