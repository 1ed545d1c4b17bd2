"""Cases from the records of lme4, glmmTMB, GLMMadaptive and statsmodels.

Place in the reading order: after ``frames``. Where the truth of each comes from is said at each function.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from validation.crosscheck.frames import of_fit, of_shelf
from validation.crosscheck.reports import adaptive_report, lme4_report, plain, tmb_report
from validation.crosscheck.truth import (
    AGREES,
    CONVENTION,
    DEGENERATE,
    EARLY,
    FAR,
    OBJECTIVE,
    Case,
    LeftOut,
    Truth,
    codes_of,
    with_convention,
    with_errors,
)
from validation.models import Fit
from validation.peers import FOLDER, fit_of, lines
from validation.prepare import AbsentError, factor
from validation.shelf.cases import Case as ShelfCase
from validation.shelf.cases import adaptive_case, tmb_case
from validation.shelf.frames import reference

Record = Mapping[str, Any]

# ------------------------------------------------------------------------------------------------------- lme4
#: A default fit -> the fully converged fit of the same model.
CONVERGED = {
    "cbpp": "cbpp_tight",
    "cbpp_nagq0": "cbpp_tight",
    "cbpp_bobyqa": "cbpp_tight",
    "cm1": "cm1_tight",
    "cm1_nagq0": "cm1_tight",
    "cm1_bobyqa": "cm1_tight",
    "cm2": "cm2_tight",
    "cm3": "cm3_tight",
    "cm4": "cm4_tight",
    "cm4_bobyqa": "cm4_tight",
    "cm3_cs": "cm4_tight",
    "cm5": "cm5_tight",
    "cm6": "cm6_tight",
    "cm3_diag": "cm3_diag_tight",
    "cm3_diag_hom": "cm3_diag_hom_tight",
    "toenail_time_nagq0": "toenail_time_nagq1_tight",
    "toenail_time_nagq1": "toenail_time_nagq1_tight",
    "toenail_visit_nagq1": "toenail_visit_nagq1_tight",
    "grouseticks": "grouseticks_tight",
    "grouseticks_bobyqa": "grouseticks_tight",
    "grouseticks_nagq0": "grouseticks_tight",
    "verbagg": "verbagg_tight",
    "verbagg_bobyqa": "verbagg_tight",
    "verbagg_nagq0": "verbagg_tight",
    "arabidopsis": "arabidopsis_tight",
    "arabidopsis_bobyqa": "arabidopsis_tight",
    "cbpp2_gm1": "cbpp2_gm1_tight",
    "cbpp2_gm1_bobyqa": "cbpp2_gm1_tight",
    "cbpp_ar1": "cbpp_ar1_tight",
    "cbpp_ar1_0": "cbpp_ar1_0_tight",
}
#: Log-likelihood by which a value is that of another convention: the precision of a converged inner iteration.
SAME_LOGLIK = 2e-5
#: A standard error of a standard deviation is at least this share of it with as few groups as these data have.
SD_SHARE = 0.08


def lme4_cases() -> Iterator[Case | LeftOut]:
    """Every case of ``lme4.jsonl``."""
    records = {case["case"]: plain(case) for case in lines("lme4.jsonl")}
    for name, case in records.items():
        fit = fit_of(case)
        options: dict[str, Any] = {}
        truth = lme4_truth(case, records)
        yield Case(name, "lme4", partial(of_fit, fit), lme4_report(case), truth, options)


def lme4_truth(case: Record, records: Mapping[str, Record]) -> Truth:
    """What is known of a case of lme4.

    A fully converged fit is the optimum of the exact likelihood, and so is any linear mixed model. A default fit is
    held against the converged one: coefficients, standard deviations and value. Where there is none, lme4's own
    gradient bounds what is left. Families with a scale: lme4 maximises another function (it puts 1 for phi in the
    balance of penalty and likelihood), whose maximum lies elsewhere, as the maxima over brute-force integrals show.
    """
    if case["call"].startswith("lmer("):
        return Truth((AGREES,), "a converged fit of the exact criterion", 0.0)
    if case["case"].endswith("_tight"):
        why = "a converged fit; its log-determinant is one iterate older than its modes (see tolerance.TIGHT)"
        return Truth((AGREES, CONVENTION), why, 0.0)
    if case["family"] in ("Gamma", "inverse.gaussian"):
        return Truth((OBJECTIVE,), "lme4's criterion for families with a scale is not the likelihood")
    if "nb_theta" in case and not case["singular"]:
        return Truth((OBJECTIVE,), "lme4's Laplace term has the expected curvature; the log link is not canonical")
    if case["nAGQ"] > 1 and "cbind" in case["call"]:
        return Truth((CONVENTION,), "lme4's log-likelihood with nAGQ > 1 is relative to the saturated model", 0.0)
    if case["nAGQ"] > 1:
        return Truth(
            (AGREES, CONVENTION),
            "relative to the saturated model, whose log-likelihood is 0 for zeros and ones; an early inner stop",
            0.0,
        )
    tight = CONVERGED.get(case["case"])
    if tight is None:
        left = _left_by_gradient(case)
        said = f"lme4's gradient leaves {left:.1g} of log-likelihood"
        said = "lme4 reports no gradient" if math.isnan(left) else said
        return Truth((AGREES, CONVENTION), f"{said}; value by its early inner stop")
    return _against_converged(case, records[tight])


def _left_by_gradient(case: Record) -> float:
    """A bound of the decrease that the recorded gradient promises: (g sum SE)^2 / 8 log-likelihood units."""
    return float(case.get("max_abs_gradient", math.nan) * sum(case["se"].values())) ** 2 / 8.0


def _against_converged(case: Record, tight: Record) -> Truth:
    distance = max(abs(case["fixef"][name] - value) / tight["se"][name] for name, value in tight["fixef"].items())
    for row, other in zip(case["VarCorr"], tight["VarCorr"], strict=True):
        if row["var2"] is None and other["sdcor"] > 0:
            distance = max(distance, abs(row["sdcor"] / other["sdcor"] - 1.0) / SD_SHARE)
    loss = 0.5 * distance**2
    if case["nAGQ"] == 0:
        codes = codes_of(loss, distance)
        if AGREES in codes:
            return Truth((CONVENTION, OBJECTIVE), f"nAGQ = 0, {distance:.2g} standard errors from the converged fit")
        return Truth((OBJECTIVE,), f"nAGQ = 0, {distance:.2g} standard errors from the converged fit")
    moved = abs(case["logLik"] - tight["logLik"])
    off = max(abs(case["se"][name] / value - 1.0) for name, value in tight["se"].items())
    stale = abs(case["deviance"] / tight["deviance"] - 1.0) > 1e-5
    codes = codes_of(loss, distance)
    if (
        AGREES in codes
    ):  # the value is lme4's own where it clearly moved; up to that the converged one is not exact either
        codes = (*with_convention(codes, moved > SAME_LOGLIK or stale), CONVENTION)
    if EARLY in codes:  # a tighter inner iteration moved the optimum: that of lme4's default objective is another one
        codes = (OBJECTIVE, *codes)
    return Truth(
        with_errors(codes, off),
        f"beside the converged fit: estimates {distance:.2g} standard errors, standard errors {100 * off:.2g} %, value "
        f"{moved:.1g} (the early stop of the inner iteration)",
    )


# ---------------------------------------------------------------------------------------------------- glmmTMB
#: Records that are no case, and why.
TMB_LEFT = {
    "sleep_cs_ml": "the residual variance is fixed near zero (dispformula = ~0): not a model of ours",
    "sleep_ar1_ml": "the residual variance is fixed near zero (dispformula = ~0): not a model of ours",
    "sleep_toep_ml": "the residual variance is fixed near zero (dispformula = ~0): not a model of ours",
    "sal_zi_mined_nbinom1": "the zero part has no finite maximum: there is no optimum to be near to",
    "sal_zinb2_full": "the zero part has no finite maximum: there is no optimum to be near to",
}


def tmb_cases() -> Iterator[Case | LeftOut]:
    """Every record of glmmTMB that has an optimum.

    Truth: glmmTMB maximises the Laplace likelihood with exact gradients, and records the largest element left (below
    5e-3 in all of these, on an unconstrained scale) and a positive definite Hessian; its constants are all there.
    """
    try:
        records = reference("glmmtmb.jsonl")
    except AbsentError as absent:
        yield LeftOut("all", "glmmTMB", str(absent))
        return
    for record in records:
        name = str(record["id"])
        if name in TMB_LEFT or record.get("logLik") is None:
            yield LeftOut(name, "glmmTMB", TMB_LEFT.get(name, "glmmTMB found no optimum"))
            continue
        try:
            case = with_factors_made(tmb_case(record))
        except AbsentError as absent:
            yield LeftOut(name, "glmmTMB", str(absent))
            continue
        family = str(record["model"]).partition("family = ")[2].partition(",")[0].partition("(")[0]
        link = case.arguments.get("link")
        gradient = record["max_abs_gradient"]
        yield Case(
            name, "glmmTMB", partial(of_shelf, case), tmb_report(record, family, link),
            Truth((AGREES,), f"glmmTMB's exact gradient is {gradient:.1g} there, its Hessian positive definite", 0.0),
            {},
        )  # fmt: skip


def with_factors_made(case: ShelfCase) -> ShelfCase:
    """The case with ``factor(x)`` made beforehand: so glmmTMB's coefficients were recorded (rack2)."""
    formula = str(case.arguments["formula"])
    names = re.findall(r"factor\((\w+)\)", formula)
    data = case.data.assign(**{name: factor(case.data[name].astype(int)) for name in names})
    plain_formula = re.sub(r"factor\((\w+)\)", r"\1", formula)
    return replace(case, data=data, arguments={**case.arguments, "formula": plain_formula})


# ----------------------------------------------------------------------------------------------- GLMMadaptive
ADAPTIVE_LEFT = {
    "respiratory": "data of another package, which may not be shipped",
}


def adaptive_cases() -> Iterator[Case | LeftOut]:
    """Every record of GLMMadaptive, and where the same fit was restarted, the last of the restarts.

    Truth: ``gold_agq.jsonl``, independent maxima of the same quadrature, with the log-likelihood at GLMMadaptive's
    estimates evaluated there too. Its BIC counts groups.
    """
    try:
        gold = {(g["id"], g["nAGQ"]): g for g in reference("gold_agq.jsonl")}
        records = reference("glmmadaptive_fits.jsonl")
    except AbsentError as absent:
        yield LeftOut("all", "GLMMadaptive", str(absent))
        return
    for record in records:
        name = str(record["id"])
        best = gold.get((name, record["nAGQ"]))
        if name in ADAPTIVE_LEFT or best is None:
            yield LeftOut(name, "GLMMadaptive", ADAPTIVE_LEFT.get(name, "no independent maximum with these points"))
            continue
        try:
            case = adaptive_case(record)
        except AbsentError as absent:
            yield LeftOut(name, "GLMMadaptive", str(absent))
            continue
        options: dict[str, Any] = {}
        if "penalized" in case.arguments:
            options["penalized"] = case.arguments["penalized"]
        yield Case(
            name, "GLMMadaptive", partial(of_shelf, case), adaptive_report(record), gold_truth(record, best), options
        )


def gold_truth(record: Record, best: Record) -> Truth:
    """Loss and distance of GLMMadaptive's estimates from the independent maximum."""
    loss = float(best["logLik"]) - float(best["agq_logLik_at_peer_estimates"])
    why = f"the independent maximum of the same quadrature is {loss:.2g} higher"
    if best["se"] is None:
        codes = with_convention(tuple(dict.fromkeys((*codes_of(loss, 0.0), FAR, DEGENERATE))), True)
        return Truth(codes, f"{why}; there the covariance matrix is singular", loss)
    distance, off = _gold_distance(record, best), _gold_errors(record, best)
    found = codes_of(loss, distance)
    if np.size(best["D"]) > 1:  # distances of deviations and correlations are not known, but no distance is larger
        found = tuple(dict.fromkeys((*found, *codes_of(loss, max(distance, math.sqrt(2.0 * max(loss, 0.0)))))))
    codes = with_errors(with_convention(found, True), off)
    errors = "cannot be compared" if math.isnan(off) else f"{100 * off:.2g} % off"
    return Truth(codes, f"{why}, {distance:.2g} standard errors away; its standard errors {errors}", loss)


def _gold_distance(record: Record, best: Record) -> float:
    """Largest distance of coefficients, shape parameters (logarithms) and, where there is one, the deviation."""
    pairs = [(record["betas"], best["betas"], best["se"]["betas"])]
    for key in ("gammas", "phis"):
        if record.get(key):
            pairs.append((record[key], best[key], best["se"][key]))
    distance = 0.0
    for theirs, ours, se in pairs:
        values = np.array(list(theirs.values()), dtype=float)
        distance = max(distance, float(np.max(np.abs(values - np.array(ours)) / np.array(se, dtype=float))))
    D, theirs = np.atleast_2d(best["D"]), np.atleast_2d(record["D"]["values"])
    if D.size == 1:
        sd = float(np.sqrt(D[0, 0]))
        distance = max(distance, abs(float(np.sqrt(theirs[0, 0])) - sd) / (sd * best["se"]["theta_logchol"][0]))
    return distance


def _gold_errors(record: Record, best: Record) -> float:
    """Largest relative difference of the standard errors."""
    theirs = np.array(list(record["se_betas"].values()), dtype=float)
    return float(np.max(np.abs(theirs / np.array(best["se"]["betas"], dtype=float) - 1.0)))


# ------------------------------------------------------------------------------------------------ statsmodels
def statsmodels_cases() -> Iterator[Case]:
    """Every fit of ``statsmodels.json``.

    Truth: the variational fits and the joint modes are no maximum likelihood estimates, by their construction; a
    standard deviation below 1e-2 where lme4's and glmmTMB's converged fits have more than 0.4 has collapsed. The
    linear models are those of ``lme4.jsonl`` and of lme4's documentation, to all digits printed.
    """
    made = json.loads((FOLDER / "peers" / "statsmodels.json").read_text(encoding="utf-8"))
    for record in made["fits"]:
        report = record["report"]
        fit = Fit(record["formula"], record["data"], record["family"])
        if record["family"] == "gaussian":
            fit = fit.but(reml=report["reml"])
            truth = Truth((AGREES,), "the same estimates as lme4's converged fits", 0.0)
        elif any(row["value"] < 1e-2 for row in report["varcorr"]):
            truth = Truth((DEGENERATE,), "the joint mode has a standard deviation of zero, where that of ML is not")
        else:
            truth = Truth((OBJECTIVE,), "an approximate posterior under priors, not maximum likelihood")
        yield Case(record["case"], "statsmodels", partial(of_fit, fit), report, truth, {})
