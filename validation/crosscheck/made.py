"""Cases made by hand: converged estimates that were moved, and converged reports told in another convention.

Place in the reading order: after ``peers``. The numbers start from fully converged fits of lme4 (and glmmTMB); what was
done to them is the truth.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

import refglmm as rg
from refglmm.model import GLMM
from validation.crosscheck.frames import of_fit, of_shelf
from validation.crosscheck.reports import lme4_report, plain, tmb_report
from validation.crosscheck.truth import (
    AGREES,
    CONVENTION,
    CRITERION,
    DATA,
    DEGENERATE,
    ERRORS,
    FAR,
    OBJECTIVE,
    Case,
    LeftOut,
    Truth,
    codes_of,
)
from validation.models import fitted
from validation.peers import fit_of, lines
from validation.prepare import AbsentError, frame
from validation.shelf.cases import tmb_case
from validation.shelf.frames import reference

Report = dict[str, Any]
Change = Callable[[Report], None]

SEED = 20_261_121
#: Largest move of a parameter, in standard errors.
SIZES = (0.003, 0.1, 0.3, 1.0, 3.0, 10.0)
#: Models whose estimates are moved, and in how many directions.
MOVED = ("cbpp_tight", "cm1_tight", "cm4_tight", "cm3_diag_tight", "grouseticks_tight", "toenail_visit_nagq1_tight")
DIRECTIONS = 2


def cases() -> Iterator[Case | LeftOut]:
    """All made cases."""
    for name in MOVED:
        yield from moved(name)
    for make in (rounded, told_otherwise, wrong_errors, wrong_objective, nonsense, other_families):
        yield from make()


@cache
def record(name: str) -> Mapping[str, Any]:
    """A case of lme4."""
    (found,) = [case for case in lines("lme4.jsonl") if case["case"] == name]
    return plain(found)


def base(name: str) -> tuple[partial[GLMM], Report]:
    """The model of a case of lme4 and its report, by nobody in particular, estimates and standard errors only."""
    report = lme4_report(record(name))
    for key in ("program", "version", "theta", "aic", "bic", "deviance", "loglik"):
        report.pop(key, None)
    return partial(of_fit, fit_of(dict(record(name)))), report


def case_of(name: str, title: str, truth: Truth, change: Change, **options: Any) -> Case:
    """A converged fit with something done to its report."""
    model, report = base(name)
    changed = copy.deepcopy(report)
    change(changed)
    kind = "moved" if title.startswith("moved") else "made"
    return Case(f"{name.removesuffix('_tight')}, {title}", kind, model, changed, truth, options)


# -------------------------------------------------------------------------------------------- moved estimates
def moved(name: str) -> Iterator[Case]:
    """The same estimates, moved in random directions by so many standard errors.

    The largest move is that of the size; the loss is then the quadratic form of the Hessian at the optimum (exact for
    small moves), which our fit of the model gives. Only coefficients are moved where terms have correlations.
    """
    fit = fitted(fit_of(dict(record(name))))
    H = 0.5 * fit.optimum.hessian
    n_par, deviations = len(fit.par), base(name)[1]["varcorr"]
    scalar = all(row["name2"] is None for row in deviations) and n_par == len(deviations)
    se = np.sqrt(np.diag(np.linalg.inv(H)))
    rng = np.random.default_rng([SEED, MOVED.index(name)])
    for size in SIZES:
        for direction in range(DIRECTIONS):
            step = rng.standard_normal(se.size)
            if not scalar:
                step[:n_par] = 0.0
            step *= size * se / np.max(np.abs(step))
            # a standard deviation that would fall below zero is moved up instead
            step[:n_par] = np.where(fit.optimum.par + step[:n_par] < 0.0, -step[:n_par], step[:n_par])
            loss = 0.5 * float(step @ H @ step)
            truth = Truth(codes_of(loss, size), f"moved by {size:g} standard errors, a loss of about {loss:.2g}", loss)
            yield case_of(
                name,
                f"moved {size:g} SE, direction {direction + 1}",
                truth,
                partial(_move, beta=step[n_par:], par=step[:n_par] if scalar else None),
            )


def _move(report: Report, beta: np.ndarray, par: np.ndarray | None) -> None:
    report["fixef"] = {name: value + d for (name, value), d in zip(report["fixef"].items(), beta, strict=True)}
    if par is not None:
        for row, d in zip(report["varcorr"], par, strict=True):
            row["value"] += float(d)


# ------------------------------------------------------------------------------------------------- rounding
def rounded() -> Iterator[Case]:
    """Printed to a few digits: what is lost is what was not printed."""
    for name in ("cbpp_tight", "cm1_tight", "cm4_tight", "grouseticks_tight", "sleepstudy_ml", "sleepstudy_reml"):
        for digits in (4, 3, 2):
            yield case_of(
                name, f"printed to {digits} decimals", Truth((AGREES,), "rounded, not moved"),
                partial(_round, digits=digits),
            )  # fmt: skip


def _round(report: Report, digits: int) -> None:
    report["fixef"] = {name: round(value, digits) for name, value in report["fixef"].items()}
    report["se"] = {name: round(value, digits) for name, value in report["se"].items()}
    for row in report["varcorr"]:
        row["value"] = round(row["value"], digits)
    if "sigma" in report:
        report["sigma"] = round(report["sigma"], digits)


# ---------------------------------------------------------------------------------------- other conventions
def constants(name: str) -> tuple[float, float]:
    """Terms of the log-likelihood that hold no parameter, and the log-likelihood of the saturated model (scipy)."""
    data, family = frame(fit_of(dict(record(name))).data), record(name)["family"]
    if family == "poisson":
        y = data["TICKS"].to_numpy()
        return float(-np.sum(np.vectorize(_log_factorial)(y))), float(np.sum(stats.poisson.logpmf(y, y)))
    y, m = data["incidence"].to_numpy(), data["size"].to_numpy()
    free = np.sum(stats.binom.logpmf(y, m, 0.5) - m * np.log(0.5))
    return float(free), float(np.sum(stats.binom.logpmf(y, m, y / m)))


def _log_factorial(y: float) -> float:
    return float(np.sum(np.log(np.arange(1.0, y + 1.0))))


def told_otherwise() -> Iterator[Case]:
    """The same fit in the words of another convention."""
    same = Truth((CONVENTION,), "the same fit; only the convention was changed")
    for name in ("cbpp_tight", "grouseticks_tight"):
        value, n, df = record(name)["logLik"], record(name)["nobs"], record(name)["npar"]
        free, saturated = constants(name)
        told: dict[str, Report] = {
            "logLik without constants": {"loglik": value - free},
            "logLik relative to the saturated model": {"loglik": value - saturated},
            "minus the logLik": {"loglik": -value},
            "-2 logLik called logLik": {"loglik": -2.0 * value},
            "-2 logLik called deviance": {"deviance": -2.0 * value},
            "-2 logLik relative to the saturated model called deviance": {"deviance": -2.0 * (value - saturated)},
            "AIC without constants": {"aic": -2.0 * (value - free) + 2.0 * df},
            "AIC counts one parameter less": {"loglik": value, "aic": -2.0 * value + 2.0 * (df - 1)},
            "AIC counts one parameter more": {"loglik": value, "aic": -2.0 * value + 2.0 * (df + 1)},
            "BIC by the number of groups": {
                "loglik": value,
                "bic": -2.0 * value + df * np.log(min(record(name)["ngrps"].values())),
            },
        }
        for title, values in told.items():
            yield case_of(name, title, same, lambda report, values=values: report.update(values))  # type: ignore[misc]
        # of grouseticks lme4's converged logLik is still 2.3e-5 from the exact one (validation.tolerance)
        codes = (AGREES,) if name == "cbpp_tight" else (AGREES, CONVENTION)
        unchanged = Truth(codes, "nothing was changed")
        straight = {"loglik": value, "aic": -2.0 * value + 2.0 * df, "bic": -2.0 * value + df * np.log(n)}
        yield case_of(
            name, "all criteria as they are", unchanged,
            lambda report, values=straight: report.update(values),  # type: ignore[misc]
        )  # fmt: skip
    for name in ("cbpp_tight", "grouseticks_tight", "cm4_tight"):
        yield case_of(name, "variances called standard deviations", same, _as_variances)
    for name in ("sleepstudy_ml", "sleepstudy_reml", "penicillin_ml"):
        yield case_of(name, "variances called standard deviations", same, _as_variances)
        yield case_of(name, "standard deviations relative to sigma", same, _relative_to_sigma)
    yield case_of(
        "cbpp_tight", "names of patsy", Truth((AGREES,), "the same coefficients under other names"), _as_patsy
    )


def _as_variances(report: Report) -> None:
    sd = {(row["group"], row["name"]): row["value"] for row in report["varcorr"] if row["name2"] is None}
    report["varcorr"] = [
        {**row, "value": row["value"] if row["name2"] else sd[row["group"], row["name"]] ** 2}
        for row in report["varcorr"]
    ]


def _relative_to_sigma(report: Report) -> None:
    for row in report["varcorr"]:
        if row["name2"] is None:
            row["value"] /= report["sigma"]


def _as_patsy(report: Report) -> None:
    for key in ("fixef", "se"):
        report[key] = {
            "Intercept" if name == "(Intercept)" else f"C(period)[T.{name[-1]}]": value
            for name, value in report[key].items()
        }


# ------------------------------------------------------------------------------------------- standard errors
def wrong_errors() -> Iterator[Case]:
    """Standard errors of another kind, and slips by a factor."""
    factors = {"sqrt(2) times": np.sqrt(2.0), "1/sqrt(2) times": np.sqrt(0.5), "half": 0.5, "a third too large": 4 / 3}
    for name in ("cbpp_tight", "cm1_tight", "grouseticks_tight"):
        for title, factor in factors.items():
            yield case_of(
                name, f"standard errors {title}", Truth((ERRORS,), "standard errors were multiplied"),
                partial(_scale_errors, factor=float(factor)),
            )  # fmt: skip
    for name in ("cbpp_tight", "cm1_tight", "toenail_visit_nagq1_tight", "verbagg_tight"):
        rx = _rx(name)
        off = float(np.max(np.abs(rx / np.array(list(record(name)["se"].values())) - 1.0)))
        wrong = off > 0.05
        yield case_of(
            name, "standard errors of RX", Truth((ERRORS,) if wrong else (AGREES,), f"RX is {100 * off:.2g} % off"),
            lambda report, rx=rx: report.update(se=dict(zip(report["se"], rx.tolist(), strict=True))),  # type: ignore[misc]
        )  # fmt: skip


def _rx(name: str) -> np.ndarray:
    """Standard errors that take the covariance parameters as known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rg.errors.VcovWarning)
        return np.sqrt(np.diag(fitted(fit_of(dict(record(name)))).vcov("rx").to_numpy()))


def _scale_errors(report: Report, factor: float) -> None:
    report["se"] = {name: value * factor for name, value in report["se"].items()}


# ------------------------------------------------------------------------------------------ another objective
def wrong_objective() -> Iterator[Case]:
    """The optimum of one objective passed off as that of another."""
    for name, claimed in (("sleepstudy_reml", False), ("sleepstudy_ml", True), ("penicillin_reml", False)):
        yield case_of(
            name, f"passed off as {'REML' if claimed else 'ML'}",
            Truth((OBJECTIVE,), "the optimum of the other criterion"),
            lambda report, claimed=claimed: report.update(reml=claimed),  # type: ignore[misc]
        )  # fmt: skip
    for name in ("toenail_time_nagq5", "toenail_time_nagq20", "cbpp_nagq25"):
        yield case_of(
            name, "quadrature passed off as Laplace", Truth((OBJECTIVE,), "the optimum of the quadrature"),
            lambda report: report.update(n_agq=1),
        )  # fmt: skip
    for name, points in (("toenail_time_nagq1_tight", 20), ("cbpp_tight", 25)):
        yield case_of(
            name, f"Laplace passed off as quadrature with {points} points", Truth((OBJECTIVE,), "the Laplace optimum"),
            lambda report, points=points: report.update(n_agq=points),  # type: ignore[misc]
        )  # fmt: skip


# --------------------------------------------------------------------------------------------------- nonsense
def nonsense() -> Iterator[Case]:
    """Numbers that cannot be right, each in its own way."""
    for name in ("cbpp_tight", "cm1_tight", "grouseticks_tight"):
        value, n, df = record(name)["logLik"], record(name)["nobs"], record(name)["npar"]
        straight = {"loglik": value, "aic": -2.0 * value + 2.0 * df, "bic": -2.0 * value + df * np.log(n)}
        for key, amount in (("loglik", 0.37), ("aic", 0.71), ("bic", -0.53)):
            wrong = straight | {key: straight[key] + amount}
            yield case_of(
                name, f"a wrong {key}", Truth((CRITERION,), f"{amount:g} was added to it"),
                lambda report, wrong=wrong: report.update(wrong),  # type: ignore[misc]
            )  # fmt: skip
        yield case_of(
            name, "a logLik out of reach, coefficients moved", Truth((DATA,), "no estimates reach it on these data"),
            partial(_out_of_reach, value=value + 40.0),
        )  # fmt: skip
    for name in ("cbpp_tight", "cm1_tight", "grouseticks_tight"):
        # logit P(y = 0) = -logit P(y = 1): with all signs turned the estimates are those of the other outcome
        turned = (CONVENTION,) if record(name)["family"] == "binomial" else (FAR,)
        yield case_of(name, "every sign turned", Truth(turned, "signs of the coefficients turned"), _turn_signs)
        yield case_of(name, "one sign turned", Truth((FAR,), "sign of the last coefficient turned"), _turn_one_sign)
        yield case_of(name, "starting values", Truth((DEGENERATE,), "coefficients 0, standard deviations 1"), _start)
        yield case_of(name, "no variance", Truth((DEGENERATE,), "standard deviations set to zero"), _no_variance)
    _, report = base("cbpp_tight")
    data = frame("cbpp_obs")
    double = pd.concat([data, data.assign(herd=data["herd"].astype(str) + "b")], ignore_index=True)
    other = report | {
        "loglik": record("cbpp_tight")["logLik"],
        "fixef": {name: x + 1.0 for name, x in report["fixef"].items()},
    }
    for key in ("nobs", "ngroups"):
        other.pop(key)
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    yield Case(
        "cbpp, data twice as long, coefficients moved", "made",
        lambda: GLMM(formula, double.assign(herd=pd.Categorical(double["herd"])), "binomial"), other,
        Truth((DATA,), "the logLik is that of half the data: no estimates reach it on these"), {},
    )  # fmt: skip


def _out_of_reach(report: Report, value: float) -> None:
    report["loglik"] = value
    report["fixef"] = {name: x + 0.5 for name, x in report["fixef"].items()}


def _turn_signs(report: Report) -> None:
    report["fixef"] = {name: -value for name, value in report["fixef"].items()}


def _turn_one_sign(report: Report) -> None:
    *_, last = report["fixef"]
    report["fixef"][last] *= -1.0


def _start(report: Report) -> None:
    report["fixef"] = dict.fromkeys(report["fixef"], 0.0)
    for row in report["varcorr"]:
        row["value"] = 1.0


def _no_variance(report: Report) -> None:
    for row in report["varcorr"]:
        row["value"] = 0.0


# ----------------------------------------------------------------------------- families with a shape parameter
def other_families() -> Iterator[Case | LeftOut]:
    """Conventions of families with a dispersion, from converged fits of glmmTMB."""
    try:
        records = {str(r["id"]): r for r in reference("glmmtmb.jsonl")}
    except AbsentError as absent:
        yield LeftOut("families with a shape parameter", "made", str(absent))
        return
    same = Truth((CONVENTION,), "the same fit; only the convention was changed")
    gamma = ("sleep_gamma_ri", "Gamma")
    told: tuple[tuple[tuple[str, str], str, Truth, Change], ...] = (
        (gamma, "logLik lower by one (+2 in lme4's families with a scale)", same, _add_two),
        (gamma, "phi called by its own name", Truth((AGREES,), "phi = sigma^2"), _phi_of_sigma),
        (gamma, "shape, 1/phi", Truth((AGREES,), "shape = 1/sigma^2"), _shape_of_sigma),
        (("sal_nbinom2", "nbinom2"), "size by name", Truth((AGREES,), "glmmTMB's sigma is the size"), _size_of_sigma),
        (("epil_nbinom2_ri", "nbinom2"), "one over the size", same, _inverse_size),
        (("epil_nbinom2_ri", "nbinom2"), "the logarithm of the size", same, _log_size),
    )
    for (name, family), title, truth, change in told:
        case = tmb_case(records[name])
        report = tmb_report(records[name], family, case.arguments["link"])
        for key in ("program", "version", "aic", "bic"):
            report.pop(key)
        change(report)
        yield Case(f"{name}, {title}", "made", partial(of_shelf, case), report, truth, {})


def _add_two(report: Report) -> None:
    report["loglik"] -= 1.0


def _phi_of_sigma(report: Report) -> None:
    report["phi"] = {"phi": report.pop("sigma") ** 2}


def _shape_of_sigma(report: Report) -> None:
    report["shape"] = report.pop("sigma") ** -2


def _size_of_sigma(report: Report) -> None:
    report["phi"] = {"size": report.pop("sigma")}


def _inverse_size(report: Report) -> None:
    report["phi"] = {"size": 1.0 / report.pop("sigma")}


def _log_size(report: Report) -> None:
    report["phi"] = {"size": float(np.log(report.pop("sigma")))}
