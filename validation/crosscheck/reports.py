"""Records of other software as reports with the keys that ``rg.crosscheck`` reads.

Place in the reading order: first of ``validation.crosscheck``. The keys are those of
:mod:`refglmm.crosschecking.adapters`; numbers are taken over as they stand, in the program's own convention.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Record = Mapping[str, Any]
Report = dict[str, Any]


def lme4_report(case: Record) -> Report:
    """One line of ``lme4.jsonl``: what the snippet for lme4 writes of such a fit."""
    linear = case["call"].startswith("lmer(")
    report: Report = {
        "program": "lme4",
        "version": case["versions"]["lme4"],
        "formula": case["call"],
        "family": "gaussian" if linear else case["family"],
        "link": "identity" if linear else case["link"],
        "n_agq": None if linear else case["nAGQ"],
        "reml": case["REML"],
        "nobs": case["nobs"],
        "ngroups": case["ngrps"],
        "fixef": case["fixef"],
        "se": case["se"],
        "varcorr": lme4_rows(case),
        "theta": case["theta"],
        "loglik": case["logLik"],
        "aic": case["AIC"],
        "bic": case["BIC"],
    }
    if not case["REML"]:
        report["deviance"] = case["deviance"]
    if linear or case["family"] in ("Gamma", "inverse.gaussian"):
        report["sigma"] = case["sigma"]
    if "nb_theta" in case:
        report |= {"family": "negative.binomial", "link": "log", "phi": {"size": case["nb_theta"]}}
    return plain(report)


def lme4_rows(case: Record) -> list[dict[str, Any]]:
    """Rows of ``varcorr``; the records leave out most correlations of ar1, which its parameter gives."""
    rows = [row for row in case["VarCorr"] if row["grp"] != "Residual"]
    deviations = [row for row in rows if row["var2"] is None]
    (rho,) = [value for name, value in case["par"].items() if name.endswith(".rho")] or [None]
    if rho is not None and "ar1(" in case["call"]:
        steps = np.arange(len(deviations))
        corr = float(rho) ** np.abs(steps[:, None] - steps)
        names, sd = [row["var1"] for row in deviations], np.array([float(row["sdcor"]) for row in deviations])
        return covariance_rows(deviations[0]["grp"], names, sd, corr)
    return [{"group": r["grp"], "name": r["var1"], "name2": r["var2"], "value": r["sdcor"]} for r in rows]


def tmb_report(record: Record, family: str, link: str | None) -> Report:
    """One line of ``glmmtmb.jsonl``."""
    report: Report = {
        "program": "glmmTMB",
        "version": record["version"],
        "formula": record["model"],
        "family": family,
        "link": link,
        "n_agq": 1,
        "reml": record["REML"],
        "nobs": record["n_obs"],
        "ngroups": record["n_groups"],
        "fixef": record["betas"],
        "se": record["se_betas"],
        "varcorr": tmb_rows(record["varcorr_cond"]),
        "loglik": record["logLik"],
        "aic": record["AIC"],
        "bic": record["BIC"],
    }
    dispersion = record.get("se_dispersion")
    if dispersion:
        report["dispersion"] = {"fixef": record["dispersion_coefs"], "se": without_prefix(dispersion, "d~")}
    elif family not in ("binomial", "poisson", "truncated_poisson"):
        report["sigma"] = record["sigma"]
    if record.get("family_params"):
        report["phi"] = record["family_params"]
    if record.get("gammas"):
        report["zi"] = {
            "fixef": record["gammas"],
            "se": without_prefix(record["se_gammas"], "zi~"),
            "varcorr": tmb_rows(record.get("varcorr_zi") or {}),
        }
    return plain(report)


def tmb_rows(matrices: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of ``varcorr`` of glmmTMB's covariance matrices by group."""
    rows: list[dict[str, Any]] = []
    for group, matrix in matrices.items():
        names = [matrix["names"]] if isinstance(matrix["names"], str) else matrix["names"]
        names = [re.sub(r"^pos\(", "numFactor(Days)(", name) for name in names]  # it was made beforehand there
        sd = np.atleast_1d(matrix["sd"])
        corr = np.atleast_2d(matrix["cor"])
        rows += covariance_rows(group, names, sd, corr)
    return rows


def covariance_rows(group: str, names: Sequence[str], sd: np.ndarray, corr: np.ndarray) -> list[dict[str, Any]]:
    """Standard deviations, then correlations."""
    rows: list[dict[str, Any]] = [
        {"group": group, "name": name, "name2": None, "value": float(value)}
        for name, value in zip(names, sd, strict=True)
    ]
    rows += [
        {"group": group, "name": names[i], "name2": names[j], "value": float(corr[i, j])}
        for j in range(len(names))
        for i in range(j)
    ]
    return rows


def adaptive_report(record: Record, stop: Record | None = None) -> Report:
    """One line of ``glmmadaptive_fits.jsonl``; ``stop`` is its restarted fit instead of the first."""
    fit = record if stop is None else stop
    family, _, link = record["family"].rstrip(")").partition("(")
    group = record["random"].split("|")[-1].strip()
    report: Report = {
        "program": "GLMMadaptive",
        "version": record["version"],
        "formula": f"{record['fixed']}, random = {record['random']}",
        "family": family,
        "link": link.split(", ")[-1],
        "n_agq": record["nAGQ"],
        "reml": False,
        "nobs": record["n_obs"],
        "ngroups": {group: record["n_groups"]},
        "fixef": fit["betas"],
        "se": fit["se_betas"],
        "varcorr": adaptive_rows(group, fit["D"]),
        "loglik": fit["logLik"],
        "aic": fit["AIC"],
        "bic": fit["BIC"],
    }
    if fit.get("phis"):
        report["phis"] = fit["phis"]
    if fit.get("gammas"):
        report["zi"] = {"fixef": fit["gammas"], "se": without_prefix(fit["se_gammas"], "zi_")}
    return plain(report)


def adaptive_rows(group: str, D: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of ``varcorr`` of GLMMadaptive's D (a list of variances where it is diagonal)."""
    names = [D["names"]] if isinstance(D["names"], str) else D["names"]
    matrix = np.asarray(D["values"], dtype=float)
    matrix = np.diag(matrix) if matrix.ndim == 1 else matrix
    sd = np.sqrt(matrix.diagonal())
    return covariance_rows(group, names, sd, matrix / np.outer(sd, sd))


def without_prefix(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Names without what the program puts before them."""
    return {name.removeprefix(prefix): value for name, value in values.items()}


def plain(value: Any) -> Any:
    """Numbers as floats (the records are read as decimals), the rest as it is."""
    if isinstance(value, Mapping):
        return {key: plain(below) for key, below in value.items()}
    if isinstance(value, list):
        return [plain(below) for below in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    return float(value)
