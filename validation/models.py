"""One fit through the public interface, and the numbers that sources print read off it.

Place in the reading order: after ``prepare``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import erfc, log, sqrt
from typing import Any

import numpy as np

import refglmm as rg
from validation.prepare import frame

Path = tuple[str, ...]
Reader = Callable[[Any, Path], float]


@dataclass(frozen=True)
class Fit:
    """Everything that decides a fit. ``reml`` set: a linear mixed model; ``family`` "nb": ``glmer_nb``."""

    formula: str
    data: str
    family: str = "binomial"
    link: str | None = None
    weights: str | None = None
    n_agq: int = 1
    reml: bool | None = None
    mode: str = "exact"
    optimizer: tuple[str, str] | None = None

    def but(self, **changes: Any) -> Fit:
        """Return the same fit with some of it changed."""
        return replace(self, **changes)


@cache
def fitted(fit: Fit) -> Any:
    """Fit once. Warnings (singular fits, scales) are part of many of these examples and not shown."""
    data = frame(fit.data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rg.errors.RefglmmWarning)
        if fit.reml is not None:
            return rg.lmer(fit.formula, data, reml=fit.reml)
        options: dict[str, Any] = {"n_agq": fit.n_agq, "mode": fit.mode, "weights": fit.weights}
        if fit.optimizer is not None:
            options["optimizer"] = fit.optimizer
        if fit.family == "nb":
            return rg.glmer_nb(fit.formula, data, **options)
        return rg.glmer(fit.formula, data, family=fit.family, link=fit.link, **options)


# ------------------------------------------------------------------------------------ reading one number
def _named(series: Any) -> Reader:
    return lambda model, path: float(series(model)[path[0]])


def z_value(model: Any, path: Path) -> float:
    """Estimate over standard error."""
    return float(model.fixef[path[0]] / model.se[path[0]])


def p_value(model: Any, path: Path) -> float:
    """Two-sided normal tail probability."""
    return erfc(abs(z_value(model, path)) / sqrt(2))


_COEFFICIENT: dict[str, Reader] = {
    "estimate": _named(lambda m: m.fixef),
    "se": _named(lambda m: m.se),
    "z": z_value,
    "p": p_value,
}


def coefficient(model: Any, path: Path) -> float:
    """Read ``name/estimate``, ``name/se``, ``name/z`` or ``name/p``."""
    return _COEFFICIENT[path[1]](model, path[:1])


def sd(model: Any, path: Path) -> float:
    """Standard deviation by ``group.column``, ``group``, ``column`` or ``Residual``; no key: the only one."""
    if path == ("Residual",):
        return float(model.sigma)
    rows = model.varcorr.as_frame()
    rows = rows[rows["var2"].isna() & (rows["grp"] != "Residual")]
    names = rows["grp"] + "." + rows["var1"]
    if not path:
        keep = np.ones(len(rows), dtype=bool)
    elif path[0].isdigit():
        keep = np.arange(len(rows)) == int(path[0])
    else:
        # "Subject.Days" may stand in the second of two terms on Subject, labelled Subject.1
        merged = rows["grp"].str.replace(r"\.\d+$", "", regex=True) + "." + rows["var1"]
        found = (names == path[0]) | (rows["grp"] == path[0]) | (rows["var1"] == path[0])
        keep = (found if found.any() else merged == path[0]).to_numpy()
    (value,) = rows.loc[keep, "sdcor"]
    return float(value)


def variance(model: Any, path: Path) -> float:
    """Square of :func:`sd`."""
    return sd(model, path) ** 2


def correlation(model: Any, path: Path) -> float:
    """Correlation of random effects by its position in the printed order, or the first of a group."""
    rows = model.varcorr.as_frame()
    rows = rows[rows["var2"].notna()]
    if path and not path[0].isdigit():
        return float(rows.loc[rows["grp"] == path[0], "sdcor"].iloc[0])
    return float(rows["sdcor"].iloc[int(path[0])])


def fixed_correlation(model: Any, path: Path) -> float:
    """Correlation of two coefficients; without names that of the first two."""
    cov = model.vcov()
    a, b = path or tuple(cov.columns[:2])
    return float(cov.loc[a, b] / np.sqrt(cov.loc[a, a] * cov.loc[b, b]))


#: Position in a row (estimate, se, z, p) of "coefs_rows_estimate_se_z_p".
_COLUMN_KINDS = ("fixef", "se", "z", "p")


def coefficient_row(model: Any, path: Path) -> float:
    """Read by row and column of the printed coefficient table."""
    name = model.fixef.index[int(path[0])]
    return list(_COEFFICIENT.values())[int(path[1])](model, (name,))


def kind_of(key: str, rest: Path) -> str:
    """Which kind of quantity (of ``tolerance``) a key and what follows it hold."""
    if key in COUNTS:
        return "count"
    if key == "coefficients":
        return KIND_OF[rest[1]]
    if key == "coefs_rows_estimate_se_z_p":
        return _COLUMN_KINDS[int(rest[1])]
    return KIND_OF[key]


_QUANTILES = dict(zip(("Min", "1Q", "Median", "3Q", "Max", *"01234"), (0.0, 0.25, 0.5, 0.75, 1.0) * 2))


def scaled_residual_quantile(model: Any, path: Path) -> float:
    """Quantile (R's type 7, NumPy's default) of the Pearson residuals over sigma."""
    return float(np.quantile(model.residuals("pearson", scaled=True), _QUANTILES[path[0]]))


def theta(model: Any, path: Path) -> float:
    """Relative covariance parameter by position, or by name."""
    return float(model.theta.iloc[int(path[0])] if path[0].isdigit() else model.theta[path[0]])


def residual_range(kind: str) -> Reader:
    """Smallest (0) and largest (1) residual of a type."""
    return lambda model, path: float((np.min, np.max)[int(path[0])](model.residuals(kind)))


def bic_by_groups(model: Any, path: Path) -> float:
    """BIC with the number of groups in the logarithm, as GLMMadaptive has it."""
    return float(model.minus_two_loglik + model.df * log(model.ngroups.iloc[0]))


READERS: dict[str, Reader] = {
    "AIC": lambda m, _: m.aic,
    "BIC": lambda m, _: m.bic,
    "logLik": lambda m, _: m.loglik,
    "minus2logLik": lambda m, _: m.minus_two_loglik,
    "minus2ll": lambda m, _: m.minus_two_loglik,
    "REML_criterion": lambda m, _: m.reml_criterion,
    "deviance": lambda m, _: m.deviance,
    "df_resid": lambda m, _: m.df_resid,
    "npar": lambda m, _: m.df,
    "nobs": lambda m, _: m.nobs,
    "n_groups": lambda m, path: m.ngroups[path[0]],
    "fixef": _named(lambda m: m.fixef),
    "cond": _named(lambda m: m.fixef),
    "se": _named(lambda m: m.se),
    "z": z_value,
    "t": z_value,
    "p": p_value,
    "coefficients": coefficient,
    "coefs_rows_estimate_se_z_p": coefficient_row,
    "sd": sd,
    "variance": variance,
    "var": variance,
    "corr": correlation,
    "cs_rho": correlation,
    "ar1_rho": correlation,
    "theta": theta,
    "sigma": lambda m, _: m.sigma,
    "correlation_of_fixed_effects": fixed_correlation,
    "corr_fixed": fixed_correlation,
    "scaled_residual_quantiles": scaled_residual_quantile,
    "sum_u_squared": lambda m, _: m.conditional.penalty,
    "logdet_LL": lambda m, _: m.conditional.logdet_L2,
    "sum_deviance_residuals": lambda m, _: m.conditional.deviance,
    "deviance_without_constant": lambda m, _: m.conditional.penalty + m.conditional.logdet_L2 + m.conditional.deviance,
}

#: Which kind of quantity a key holds (the kinds of ``tolerance``); counts have none.
KIND_OF: Mapping[str, str] = {
    "AIC": "criterion", "BIC": "criterion", "minus2logLik": "criterion", "minus2ll": "criterion",
    "REML_criterion": "criterion", "logLik": "loglik", "deviance": "deviance",
    "fixef": "fixef", "cond": "fixef", "estimate": "fixef", "se": "se", "z": "z", "t": "z", "p": "p",
    "sd": "sd", "sigma": "sd", "variance": "variance", "var": "variance", "theta": "theta",
    "corr": "corr", "cs_rho": "corr", "ar1_rho": "corr",
    "correlation_of_fixed_effects": "corr", "corr_fixed": "corr",
    "scaled_residual_quantiles": "residual", "sum_u_squared": "deviance", "logdet_LL": "deviance",
    "sum_deviance_residuals": "deviance", "deviance_without_constant": "criterion",
}  # fmt: skip

COUNTS = frozenset({"df_resid", "nobs", "n_groups", "npar", "df"})
