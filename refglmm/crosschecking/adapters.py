"""Fitted objects of other Python packages as a report with the keys that :func:`refglmm.crosscheck` reads.

Place in the reading order: before ``reported``. Nothing is imported from the other packages: an object is known by the
attributes that are read from it.

==============  ===============================================================================================
key             value
==============  ===============================================================================================
program         "lme4", "glmmTMB", "GLMMadaptive", "MixedModels", "statsmodels", "bambi", "refglmm"
version         of the program, where it says so
kind            "maximum" (the default), "variational", "map" or "posterior": what the estimates are
formula         as the program keeps it; for information
family, link    names as the program has them
n_agq           quadrature points; 0 as in lme4
reml            whether the criterion is that of REML
nobs, ngroups   rows, and {grouping factor: levels} or just the number of levels
fixef, se       {coefficient: value}
varcorr         list of {group, name, name2, value}: a standard deviation where name2 is None, else a correlation;
                group None is the only grouping factor
theta           {name: value} or list: relative covariance factor
sigma, phi      residual standard deviation or what the program calls sigma; {shape parameter: value}
phis            {name: logarithm of a shape parameter}
loglik          log-likelihood (or REML log-likelihood); likewise aic, bic, deviance
zi, dispersion  {fixef, se, varcorr} of these parts
==============  ===============================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from refglmm.errors import ArgumentError
from refglmm.fitted import FittedModel

Report = dict[str, Any]
INTERCEPT = "(Intercept)"


def from_object(fit: Any) -> Report:
    """Report of a fitted object: statsmodels' mixed models, a pair of bambi, or a fit of this library.

    Parameters
    ----------
    fit : object
        Results of statsmodels' ``BinomialBayesMixedGLM`` or ``PoissonBayesMixedGLM`` (``fit_vb``, ``fit_map``) or of
        its ``MixedLM``; a tuple (bambi's ``Model``, its draws); a :class:`refglmm.FittedModel`.

    Returns
    -------
    dict
        Keys of this module's docstring. Coefficients have the names that R gives them.

    Raises
    ------
    ArgumentError
        An object of another kind.
    """
    if isinstance(fit, FittedModel):
        return fit.to_dict()
    if isinstance(fit, tuple) and len(fit) == 2:
        return from_bambi(*fit)
    if _has(fit, "fe_mean", "fe_sd", "vcp_mean", "model"):
        return from_statsmodels_bayes(fit)
    if _has(fit, "fe_params", "bse_fe", "cov_re", "scale"):
        return from_statsmodels_linear(fit)
    raise ArgumentError(
        f"cannot read estimates from an object of type {type(fit).__module__}.{type(fit).__qualname__}; give a dict, a "
        "JSON file written by a snippet (rg.crosscheck_snippet), the results of statsmodels' BinomialBayesMixedGLM, "
        "PoissonBayesMixedGLM or MixedLM, a pair (bambi model, its draws), or a fit of refglmm"
    )


def _has(thing: Any, *attributes: str) -> bool:
    return all(hasattr(thing, name) for name in attributes)


def version_of(package: str) -> str | None:
    """Version of an installed package, None without it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# ----------------------------------------------------------------------------------------------------- names
_LEVEL = re.compile(r"(?:C\((?P<inner>[^,()]+)[^)]*\)|(?P<plain>[^\[\]]+))\[(?:[TS]\.)?(?P<level>[^\]]*)\]")


def r_name(name: str) -> str:
    """R's name of a coefficient from that of patsy, formulaic or formulae: ``C(period)[T.2]`` is ``period2``."""
    if name == "Intercept":
        return INTERCEPT
    return ":".join(_r_factor(piece) for piece in re.split(r":(?![^\[]*\])", name))


def _r_factor(piece: str) -> str:
    match = _LEVEL.fullmatch(piece.strip())
    if match is None:
        return piece.strip()
    level = {"True": "TRUE", "False": "FALSE"}.get(match["level"], match["level"])
    return (match["inner"] or match["plain"]).strip() + level


def _series(names: Iterable[str], values: Any) -> dict[str, float]:
    return {r_name(str(name)): float(value) for name, value in zip(names, np.asarray(values), strict=True)}


def deviation(group: str | None, name: str, value: float) -> dict[str, Any]:
    """Row of ``varcorr`` with a standard deviation."""
    return {"group": group, "name": r_name(name), "name2": None, "value": float(value)}


def rows_of_covariance(group: str | None, names: Iterable[str], covariance: Any) -> list[dict[str, Any]]:
    """Rows of ``varcorr`` of one covariance matrix: standard deviations, then correlations."""
    names, matrix = [r_name(str(name)) for name in names], np.asarray(covariance, dtype=float)
    sd = np.sqrt(matrix.diagonal())
    rows = [deviation(group, name, value) for name, value in zip(names, sd, strict=True)]
    for j in range(len(names)):
        for i in range(j):
            with np.errstate(divide="ignore", invalid="ignore"):
                value = float(matrix[i, j] / (sd[i] * sd[j]))
            rows.append({"group": group, "name": names[i], "name2": names[j], "value": value})
    return rows


# ----------------------------------------------------------------------------------------------- statsmodels
def from_statsmodels_bayes(result: Any) -> Report:
    """Report of statsmodels' Bayesian GLMMs: means and standard deviations of the approximate posterior.

    ``fit_vb`` gives the means and standard deviations of independent normals, ``fit_map`` the joint mode of
    everything (random effects included) and the inverse of the Hessian there. Standard deviations of random effects are
    kept as logarithms.
    """
    model = result.model
    family, link = _statsmodels_family(model.family)
    variational = np.ndim(result.cov_params() if callable(result.cov_params) else result.cov_params) == 1
    return {
        "program": "statsmodels",
        "version": version_of("statsmodels"),
        "kind": "variational" if variational else "map",
        "family": family,
        "link": link,
        "nobs": len(model.endog),
        "fixef": _series(model.fep_names, result.fe_mean),
        "se": _series(model.fep_names, result.fe_sd),
        "varcorr": [
            deviation(str(name), INTERCEPT, np.exp(value))
            for name, value in zip(model.vcp_names, np.asarray(result.vcp_mean), strict=True)
        ],
    }


def _statsmodels_family(family: Any) -> tuple[str, str]:
    return type(family).__name__.lower(), type(family.link).__name__.lower()


def from_statsmodels_linear(result: Any) -> Report:
    """Report of statsmodels' ``MixedLM``: ML or REML."""
    model, group = result.model, group_name(result)
    covariance = np.asarray(result.cov_re, dtype=float)
    # statsmodels calls the random intercept after the factor, or "Group" where the factor has no name
    index = getattr(result.cov_re, "index", ())
    names = ["Intercept" if name in ("Group", group) else name for name in index]
    rows = rows_of_covariance(group, names or [str(k) for k in range(len(covariance))], covariance)
    components = np.atleast_1d(np.asarray(result.vcomp, dtype=float))
    rows += [
        deviation(str(name), INTERCEPT, np.sqrt(value))
        for name, value in zip(model.exog_vc.names, components, strict=True)
    ]
    reml = bool(model.reml)
    return {
        "program": "statsmodels",
        "version": version_of("statsmodels"),
        "kind": "maximum",
        "family": "gaussian",
        "link": "identity",
        "reml": reml,
        "nobs": int(result.nobs),
        "ngroups": int(model.n_groups) if group is None else {group: int(model.n_groups)},
        "fixef": _series(model.exog_names, result.fe_params),
        "se": _series(model.exog_names, result.bse_fe),
        "varcorr": rows,
        "sigma": float(np.sqrt(result.scale)),
        "loglik": float(result.llf),
    } | ({} if reml else {"aic": float(result.aic), "bic": float(result.bic)})


def group_name(result: Any) -> str | None:
    """Name of the grouping variable of ``MixedLM``; None where it was given as an array of its own."""
    frame, groups = getattr(result.model.data, "frame", None), np.asarray(result.model.groups)
    if frame is None:
        return None
    for name in frame.columns:
        column = frame[name].to_numpy()
        if len(column) == len(groups) and np.array_equal(column.astype(str), groups.astype(str)):
            return str(name)
    return None


# ------------------------------------------------------------------------------------------------------ bambi
def from_bambi(model: Any, draws: Any) -> Report:
    """Report of a model of bambi and its draws: posterior means and standard deviations.

    Parameters
    ----------
    model : bambi.Model
    draws : InferenceData or DataTree
        With a group ``posterior``.

    Raises
    ------
    ArgumentError
        Not such a pair.
    """
    if not (_has(model, "family", "response_component") and _has(draws, "posterior")):
        raise ArgumentError(
            "a pair of objects must be a bambi model and its draws (with the group posterior), not "
            f"({type(model).__name__}, {type(draws).__name__})"
        )
    posterior = draws.posterior
    terms = _common_terms(model)
    common: dict[str, Any] = {}
    rows, sigma = [], None
    for name in posterior.data_vars:
        cells = _cells(str(name), posterior[name])
        if str(name).endswith("_sigma") and "|" in str(name):
            term, group = str(name).removesuffix("_sigma").split("|")
            rows += [deviation(group, _slope(term, cell), mean) for cell, (mean, _) in cells.items()]
        elif str(name) == "sigma":
            sigma = next(iter(cells.values()))[0]
        elif str(name) in terms:
            common |= cells
    return {
        "program": "bambi",
        "version": version_of("bambi"),
        "kind": "posterior",
        "family": str(model.family.name),
        "link": str(_bambi_link(model.family)),
        "formula": str(getattr(model.formula, "main", model.formula)),
        "fixef": {r_name(name): mean for name, (mean, _) in common.items()},
        "se": {r_name(name): sd for name, (_, sd) in common.items()},
        "varcorr": rows,
    } | ({} if sigma is None else {"sigma": sigma})


def _common_terms(model: Any) -> set[str]:
    """Names of terms without a group in the predictor of the mean (older versions keep them with the response)."""
    components = getattr(model, "components", {})
    parent = getattr(getattr(model.family, "likelihood", None), "parent", None)
    holder = components.get(parent, model.response_component)
    return {"Intercept", *map(str, holder.common_terms)}


def _bambi_link(family: Any) -> Any:
    """Link of the mean; bambi keeps one for each parameter of the response."""
    link = family.link
    chosen = link[family.likelihood.parent] if isinstance(link, Mapping) else link
    return getattr(chosen, "name", chosen)


def _slope(term: str, cell: str) -> str:
    """Column of a group-specific term: ``1`` is the intercept, a factor adds its level."""
    return INTERCEPT if term == "1" else cell.split("|")[0] + cell.partition("_sigma")[2]


def _cells(name: str, array: Any) -> dict[str, tuple[float, float]]:
    """Posterior mean and standard deviation of each element, by name and level (``period[2]``)."""
    mean = array.mean(("chain", "draw"))
    sd = array.std(("chain", "draw"), ddof=1)
    if mean.ndim == 0:
        return {name: (float(mean), float(sd))}
    (dimension,) = mean.dims
    levels = [str(level) for level in mean[dimension].to_numpy()]
    pieces = name.split(":")
    labels = [":".join(_with_levels(pieces, level.split(", "))) for level in levels]
    return {label: (float(m), float(s)) for label, m, s in zip(labels, mean.to_numpy(), sd.to_numpy(), strict=True)}


def _with_levels(pieces: list[str], levels: list[str]) -> list[str]:
    if len(pieces) == 1 or len(levels) != len(pieces):
        return [*pieces[:-1], f"{pieces[-1]}[{levels[-1]}]"]
    return [f"{piece}[{level}]" for piece, level in zip(pieces, levels, strict=True)]


# ---------------------------------------------------------------------------------------------------- refglmm
def is_own(values: Mapping[str, Any]) -> bool:
    """Whether a mapping is what ``fit.to_dict()`` writes."""
    return {"schema", "model", "criteria", "fixed", "random"} <= set(values)


def from_own(values: Mapping[str, Any]) -> dict[str, Any]:
    """What one of our own fits says."""
    model, criteria = values["model"], values["criteria"]
    return {
        "program": "refglmm",
        "version": values["versions"].get("refglmm"),
        "formula": model["formula"],
        "family": model["family"],
        "link": model["link"],
        "n_agq": model["n_agq"],
        "reml": model["reml"],
        "nobs": values["size"]["nobs"],
        "ngroups": values["size"]["ngroups"],
        "fixef": {row["name"]: row["estimate"] for row in values["fixed"]},
        "se": {row["name"]: row["std_error"] for row in values["fixed"]},
        "theta": values["theta"],
        "phi": values["phi"],
        "sigma": values["sigma"],
        "loglik": criteria["loglik"],
        "aic": criteria["aic"],
        "bic": criteria["bic"],
        "deviance": criteria["deviance"],
    }
