r"""Predictions with standard errors and intervals.

Place in the reading order: in ``fit``, after ``simulate``.

.. math:: \hat\eta = o + x'\hat\beta + z'\tilde b, \qquad \hat\mu = g^{-1}(\hat\eta)

Standard errors come from ``variances``: given the covariance parameters, as lme4's, or with their uncertainty
(``se="unconditional"``), as glmmTMB's. Where no random effects take part (``re_form=False``) they are those of
:math:`x'\hat\beta` by the covariance matrix that ``summary`` and ``lsmeans`` use (``fit.covariance``: for GLMMs from
the Hessian, so that the uncertainty of theta is in them already). On the scale of the response they are multiplied by
:math:`|d\mu/d\eta|`. Intervals use whichever standard error was asked for:

``"confidence"``
    :math:`\hat\eta \pm z\,\mathrm{se}`, computed on the scale of the link and transformed back.
``"prediction"``
    for one more observation of the row. Linear mixed model: normal with variance :math:`\mathrm{se}^2 + \sigma^2 / w`.
    Otherwise quantiles of the mixture of f(y | eta) over :math:`\eta \sim N(\hat\eta, \mathrm{se}^2)`, by
    :data:`DRAWS` draws with eta at equally likely normal quantiles (half a second for a thousand rows); the generator
    starts from a fixed seed, so the same question has the same answer. Binomial intervals are for the proportion among
    w trials.

Ordinal models predict the linear predictor, or the probabilities of the categories (see ``categories``).
``marginal=True`` predicts the mean of the population instead, the random effects integrated out (``population``), with
the delta method in (par, beta). On the scale of the link that is g(m), and its standard error that of m over
:math:`|d\mu/d\eta|` there. Intervals are made on the scale of the link; the one of one more observation, of a new
group, is that of the mixture over :math:`\eta \sim N(x'\hat\beta + o,\; x'Cx + z'\Sigma z)`.

Source: lme4's help page ``predict.merMod``; Bates et al. (2015), equations 54 to 60.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, MissingValuesError, NotAvailableError
from refglmm.families.coupled import DISPERSION, MAIN, ZI
from refglmm.fit.categories import category_columns
from refglmm.fit.parameters import conditional_modes, fit_parameters
from refglmm.fit.parts import refuse_several, several
from refglmm.fit.population import delta_se, parameter_covariance, population_mean, population_rows, random_variance
from refglmm.fit.response import padded_frame
from refglmm.fit.rows import (
    Rows,
    chosen_columns,
    is_used,
    new_rows,
    new_weights,
    own_rows,
    refuse_new_levels,
)
from refglmm.fit.simulate import draw_known, drawing_weights
from refglmm.fit.variances import BLOCK, linear_predictor_variance
from refglmm.fit.vcov import whole_covariance

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]
TYPES = ("link", "response")
#: Kinds of prediction that only ordinal models have.
CATEGORY_TYPES = ("prob", "cum", "class")
#: Types of a model with a zero part or a dispersion: which predictors each needs.
COUPLED_TYPES = {
    "link": (MAIN,),
    "response": (MAIN, ZI, DISPERSION),
    "conditional": (MAIN, DISPERSION),
    "zprob": (ZI,),
    "zlink": (ZI,),
    "disp": (DISPERSION,),
}
INTERVALS = (None, "confidence", "prediction")
SES = (False, True, "unconditional")
NA_ACTIONS = ("pass", "exclude", "omit", "fail")
#: Draws behind each prediction interval of a generalized model, and the seed they start from.
DRAWS, SEED = 4000, 20150708
#: Step of the difference that gives the slope of the mean of a law in a predictor.
MEAN_STEP = 1e-5


def predict(
    fit: FittedModel,
    newdata: Any = None,
    *,
    re_form: Any = None,
    random_only: bool = False,
    type: str = "link",
    allow_new_levels: bool = False,
    se: bool | str = False,
    interval: str | None = None,
    level: float = 0.95,
    offset: Any = None,
    weights: Any = None,
    newparams: Mapping[str, Any] | None = None,
    na_action: str = "pass",
    marginal: bool = False,
    covariance: FloatArray | None = None,
) -> pd.Series | pd.DataFrame:
    """Predictions; see :meth:`FittedModel.predict`. ``covariance`` of (par, beta) is a robust one."""
    if several(fit):
        if marginal or covariance is not None:
            refuse_several(fit, "marginal=True and vcov=", "fit.predict(type=...) has the mean of each row")
        return _predict_coupled(
            fit,
            newdata,
            re_form,
            random_only,
            type,
            allow_new_levels,
            se,
            interval,
            level,
            offset,
            newparams,
            na_action,
        )
    if type not in TYPES and not fit.family.is_ordinal:
        known = f"type must be one of {', '.join(map(repr, TYPES))}, not {type!r}"
        raise ArgumentError(f"{known}, which is for models with zi= or dispersion=" if type in COUPLED_TYPES else known)
    _check(fit, newdata, random_only, type, interval, level, offset, weights, na_action, newparams, se)
    if marginal:
        _check_marginal(re_form, random_only, newparams, se)
        rows = population_rows(fit, newdata, offset)
        drawn = _drawing_weights(fit, newdata, weights) if interval == "prediction" else None
        columns = _population_columns(fit, rows, type, bool(se), interval, level, drawn, covariance)
        return _finished(fit, pd.DataFrame(columns, index=rows.index), np.isnan(columns["fit"]), newdata, na_action)
    chosen = chosen_columns(fit, re_form)
    used = is_used(chosen)
    if covariance is not None and (any(used) or se == "unconditional"):
        raise ArgumentError(
            "a robust covariance is that of the parameters; use vcov= with re_form=False or marginal=True"
        )
    if newdata is None:
        rows = own_rows(fit.design)
    else:
        rows = new_rows(fit, newdata, used, offset, fixed=not random_only)
        if not allow_new_levels:
            refuse_new_levels(fit, newdata, rows, used)
    rows = _with_columns(rows, chosen, random_only)
    eta = _linear_predictor(fit, rows, newparams)
    if type in CATEGORY_TYPES:
        table = pd.DataFrame(category_columns(fit, rows, eta, type, bool(se), newparams), index=rows.index)
        return _finished(fit, table, np.isnan(eta), newdata, na_action)
    columns = {"fit": eta}
    if se or interval is not None:
        columns["se"] = np.sqrt(_variance(fit, rows, any(used), se == "unconditional", covariance))
    if interval == "prediction":
        drawn = _drawing_weights(fit, newdata, weights)
        columns["lower"], columns["upper"] = _prediction_interval(fit, eta, columns["se"], drawn, level)
    elif interval == "confidence":
        columns["lower"], columns["upper"] = normal_interval(eta, columns["se"], level)
    if type == "response":
        columns = _on_response_scale(fit, columns, transform_bounds=interval == "confidence")
    if not se:
        columns.pop("se", None)
    return _finished(fit, pd.DataFrame(columns, index=rows.index), np.isnan(eta), newdata, na_action)


def _finished(
    fit: FittedModel, table: pd.DataFrame, absent: NDArray[np.bool_], newdata: Any, na_action: str
) -> pd.Series | pd.DataFrame:
    """Treat the rows without a prediction; a single column called "fit" is a Series."""
    if newdata is not None:
        table = _without_missing(table, absent, na_action)
    elif fit.frame.na_action == "exclude":
        table = padded_frame(fit.frame, table)
    return table["fit"] if list(table.columns) == ["fit"] else table


# --- several predictors --------------------------------------------------------------------------------------


def _predict_coupled(
    fit: FittedModel,
    newdata: Any,
    re_form: Any,
    random_only: bool,
    type: str,
    allow_new_levels: bool,
    se: bool | str,
    interval: str | None,
    level: float,
    offset: Any,
    newparams: Mapping[str, Any] | None,
    na_action: str,
) -> pd.Series | pd.DataFrame:
    """Predictions of a model with a zero part or a dispersion, standard errors by the delta method.

    A linear combination of the predictors of a row is the linear predictor of a row of its own, so the variance of
    f(eta) is that of the row with the gradient of f for weights.
    """
    _check(fit, newdata, random_only, type, interval, level, offset, None, na_action, newparams, se)
    if interval == "prediction":
        raise NotAvailableError(
            "no prediction intervals for models with zi= or dispersion= yet; take quantiles of fit.simulate()"
        )
    family = fit.family.at(fit_parameters(fit, newparams).phi)
    parts = [part for part in COUPLED_TYPES[type] if part in family.part_names]
    if not parts and type != "disp":
        raise ArgumentError(f"type={type!r} needs a zero part (zi=), which this fit has not")
    wanted = np.array([part in parts for part in family.part_names])
    chosen = _columns_of(fit, chosen_columns(fit, re_form), wanted)
    used = is_used(chosen)
    if newdata is None:
        rows = own_rows(fit.design)
    else:
        rows = new_rows(fit, newdata, used, offset, fixed=not random_only, parts=parts)
        if not allow_new_levels:
            refuse_new_levels(fit, newdata, rows, used)
    rows = _with_columns(rows, chosen, random_only)
    eta = np.where(wanted[:, None], _linear_predictor(fit, rows, newparams), 0.0)
    value, slopes, transform = _functional(family, type, eta)
    columns = {"fit": value}
    if se or interval is not None:
        columns["se"] = np.sqrt(_variance(fit, rows.combined(slopes), any(used), se == "unconditional", None))
    if interval == "confidence":
        columns["lower"], columns["upper"] = transform(value, columns["se"], level)
    if not se:
        columns.pop("se", None)
    return _finished(
        fit, pd.DataFrame(columns, index=rows.index), np.atleast_1d(np.isnan(eta).any(axis=0)), newdata, na_action
    )


def _columns_of(fit: FittedModel, chosen: list[NDArray[np.bool_]], wanted: NDArray[np.bool_]) -> list[Any]:
    """Of the chosen columns those that belong to the wanted predictors."""
    return [columns & wanted[list(term.predictors)] for columns, term in zip(chosen, fit.design.terms, strict=True)]


def _functional(family: Any, type: str, eta: FloatArray) -> tuple[FloatArray, FloatArray, Any]:
    """What is predicted, its slope in each predictor, and how an interval is made of its standard error."""
    names, slopes = list(family.part_names), np.zeros_like(eta)
    if type in ("link", "zlink"):
        k = names.index(MAIN if type == "link" else ZI)
        slopes[k] = 1.0
        return eta[k], slopes, normal_interval
    if type == "zprob":
        p = family.share(eta)
        slopes[1] = p * (1.0 - p)
        return p, slopes, _logit_interval
    if type == "disp":
        value = family.first_shape(eta)
        if family.dispersion:
            slopes[-1] = value
        return value, slopes, _log_interval
    p, mean = family.share(eta), family.law_mean(eta)
    for k, name in enumerate(names):
        if name != ZI:
            slopes[k] = _mean_slope(family, eta, k)
    if type == "response" and family.zi:
        slopes *= 1.0 - p
        slopes[1] = -p * (1.0 - p) * mean
        mean = (1.0 - p) * mean
    return mean, slopes, _log_interval if family.zi else normal_interval


def _mean_slope(family: Any, eta: FloatArray, k: int) -> FloatArray:
    """Derivative of the law's mean in predictor k, by a central difference."""
    step = np.zeros_like(eta)
    step[k] = MEAN_STEP
    with np.errstate(all="ignore"):
        return (family.law_mean(eta + step) - family.law_mean(eta - step)) / (2.0 * MEAN_STEP)


def _log_interval(value: FloatArray, se: FloatArray, level: float) -> tuple[FloatArray, FloatArray]:
    """A normal interval for the logarithm, transformed back."""
    with np.errstate(all="ignore"):
        lower, upper = normal_interval(np.log(value), se / value, level)
    return np.exp(lower), np.exp(upper)


def _logit_interval(value: FloatArray, se: FloatArray, level: float) -> tuple[FloatArray, FloatArray]:
    """A normal interval for the logit, transformed back."""
    rest = value * (1.0 - value)
    with np.errstate(all="ignore"):
        lower, upper = normal_interval(np.log(value / (1.0 - value)), se / rest, level)
    return 1.0 / (1.0 + np.exp(-lower)), 1.0 / (1.0 + np.exp(-upper))


def _check(
    fit: FittedModel,
    newdata: Any,
    random_only: bool,
    type: str,
    interval: str | None,
    level: float,
    offset: Any,
    weights: Any,
    na_action: str,
    newparams: Any,
    se: bool | str,
) -> None:
    """Refuse what has no meaning."""
    for name, value, known in (
        ("type", type, ("link", *CATEGORY_TYPES) if fit.family.is_ordinal else COUPLED_TYPES),
        ("interval", interval, INTERVALS),
        ("na_action", na_action, NA_ACTIONS),
        ("se", se, SES),
    ):
        if value not in known:
            raise ArgumentError(f"{name} must be one of {', '.join(map(repr, known))}, not {value!r}")
    if isinstance(level, bool) or not isinstance(level, int | float | np.number) or not 0.0 < level < 1.0:
        raise ArgumentError(f"level must lie between 0 and 1, not {level!r}")
    if type in CATEGORY_TYPES and random_only:
        raise ArgumentError("the random effects alone have no place on the scale of the response; use type='link'")
    if fit.family.is_ordinal and (interval == "prediction" or (interval and type != "link")):
        raise ArgumentError(
            "an ordinal model has intervals of the linear predictor: type='link', interval='confidence'"
        )
    if type == "class" and se:
        raise ArgumentError("a category has no standard error; use type='prob'")
    identity = fit.family.link.name == "identity"
    if random_only and not identity and (type == "response" or interval == "prediction"):
        raise ArgumentError("the random effects alone have no place on the scale of the response; use type='link'")
    if random_only and interval == "prediction":
        raise ArgumentError("a prediction interval is for an observation; random_only leaves the fixed part out")
    if interval == "prediction" and type == "link" and not identity:
        raise ArgumentError("a prediction interval lies on the scale of the response; use type='response'")
    if newdata is None and offset is not None:
        raise ArgumentError("offset= belongs to newdata; the rows of the fit have theirs")
    if weights is not None and (newdata is None or interval != "prediction"):
        raise ArgumentError("weights= belongs to newdata with interval='prediction'")
    if newparams is not None and (se or interval is not None):
        raise ArgumentError("standard errors and intervals belong to the estimates; leave newparams out")


def _with_columns(rows: Rows, chosen: list[NDArray[np.bool_]], random_only: bool) -> Rows:
    """The same rows with the columns that take no part set to zero, missing values in them included."""
    Z = tuple(np.where(columns, values, 0.0) for values, columns in zip(rows.Z, chosen, strict=True))
    if not random_only:
        return replace(rows, Z=Z)
    return replace(rows, Z=Z, X=np.zeros_like(rows.X), offset=np.zeros_like(rows.offset))


def _linear_predictor(fit: FittedModel, rows: Rows, newparams: Mapping[str, Any] | None) -> FloatArray:
    parameters = fit_parameters(fit, newparams)
    eta = rows.fixed(parameters.beta)
    for t, b in enumerate(conditional_modes(fit, newparams)):
        eta = eta + rows.random(t, b)
    return eta


def _variance(
    fit: FittedModel, rows: Rows, random: bool, unconditional: bool, covariance: FloatArray | None
) -> FloatArray:
    """Variance of each row's linear predictor; without random effects that of x'beta, as ``summary`` shows it."""
    if random or unconditional:
        return linear_predictor_variance(fit, rows, unconditional=unconditional)
    return np.einsum("ip,pr,ir->i", rows.X, _of_beta(fit, covariance), rows.X)


def _of_beta(fit: FittedModel, covariance: FloatArray | None) -> FloatArray:
    """Covariance of beta: that of ``summary``, or a robust one."""
    n_par = len(fit.optimum.par)
    return whole_covariance(fit).matrix if covariance is None else covariance[n_par:, n_par:]


def normal_interval(centre: FloatArray, sd: FloatArray, level: float) -> tuple[FloatArray, FloatArray]:
    """centre -+ z sd."""
    from scipy.special import ndtri

    reach = float(ndtri(0.5 + 0.5 * level)) * sd
    return centre - reach, centre + reach


def _on_response_scale(
    fit: FittedModel, columns: dict[str, FloatArray], transform_bounds: bool
) -> dict[str, FloatArray]:
    """mu, se |dmu/deta|, and the bounds of the link scale transformed (a falling link swaps them)."""
    link, out = fit.family.link, dict(columns)
    with np.errstate(all="ignore"):  # missing rows, and bounds outside the link's domain, are NaN
        out["fit"] = np.asarray(link.inverse(columns["fit"]))
        if "se" in columns:
            out["se"] = columns["se"] * np.abs(link.mu_eta(columns["fit"]))
        if transform_bounds:
            bounds = [
                np.where(link.valid_eta(columns[b]), link.inverse(columns[b]), np.nan) for b in ("lower", "upper")
            ]
            out["lower"], out["upper"] = np.minimum(*bounds), np.maximum(*bounds)
    return out


# --- the population ------------------------------------------------------------------------------------------


def _check_marginal(re_form: Any, random_only: bool, newparams: Any, se: bool | str) -> None:
    """Refuse what has no meaning once the random effects are integrated out."""
    for name, given in (("re_form", re_form is not None), ("random_only", random_only), ("newparams", newparams)):
        if given:
            raise ArgumentError(f"marginal=True integrates all random effects out; leave {name} out", argument=name)
    if se == "unconditional":
        raise ArgumentError("standard errors of marginal means always count all parameters; use se=True")


def _population_columns(
    fit: FittedModel,
    rows: Rows,
    type: str,
    se: bool,
    interval: str | None,
    level: float,
    weights: FloatArray | None,
    covariance: FloatArray | None,
) -> dict[str, FloatArray]:
    """Mean of the population, its standard error and interval, of the rows without missing values."""
    m, known = len(rows.X), ~np.isnan(np.column_stack([rows.X, rows.offset, *rows.Z])).any(axis=1)
    X, offset, Z = rows.X[known], rows.offset[known], [values[known] for values in rows.Z]
    value, jacobian = population_mean(fit, X, offset, Z)
    link, columns = fit.family.link, {}
    joint = parameter_covariance(fit).covariance if covariance is None else covariance
    with np.errstate(all="ignore"):
        eta = np.asarray(link.link(value))
        error = delta_se(jacobian, joint) / np.abs(link.mu_eta(eta))
    columns["fit"] = eta
    columns["se"] = error
    if interval == "confidence":
        columns["lower"], columns["upper"] = normal_interval(eta, error, level)
    if type == "response":
        columns = _on_response_scale(fit, columns, transform_bounds=interval == "confidence")
        columns["fit"] = value
    if interval == "prediction" and weights is not None:
        spread = np.einsum("ip,pr,ir->i", X, _of_beta(fit, covariance), X) + random_variance(fit, Z)
        columns["lower"], columns["upper"] = _prediction_interval(
            fit, X @ fit.beta + offset, np.sqrt(spread), np.asarray(weights)[known], level
        )
    if not se:
        del columns["se"]
    out = {name: np.full(m, np.nan) for name in columns}
    for name, values in columns.items():
        out[name][known] = values
    return out


# --- one more observation ------------------------------------------------------------------------------------


def _drawing_weights(fit: FittedModel, newdata: Any, weights: Any) -> FloatArray:
    return drawing_weights(fit.frame) if newdata is None else new_weights(fit, newdata, weights)


def _prediction_interval(
    fit: FittedModel, eta: FloatArray, se: FloatArray, weights: FloatArray, level: float
) -> tuple[FloatArray, FloatArray]:
    if fit.is_lmm:
        noise = fit.sigma**2 / np.where(weights > 0, weights, 1.0)
        return normal_interval(eta, np.sqrt(se**2 + noise), level)
    lower, upper = np.full(eta.size, np.nan), np.full(eta.size, np.nan)
    rng, step = np.random.default_rng(SEED), max(1, BLOCK // DRAWS)
    known = np.flatnonzero(~np.isnan(eta + se + weights))
    for first in range(0, known.size, step):
        here = known[first : first + step]
        lower[here], upper[here] = _mixture_quantiles(fit, eta[here], se[here], weights[here], level, rng)
    return lower, upper


def _mixture_quantiles(
    fit: FittedModel, eta: FloatArray, se: FloatArray, weights: FloatArray, level: float, rng: np.random.Generator
) -> FloatArray:
    """Quantiles of f(y | eta) mixed over the normal distribution of eta, shape (2, m)."""
    from scipy.special import ndtri

    at = ndtri((np.arange(DRAWS) + 0.5) / DRAWS)
    y = draw_known(
        fit.family,
        (eta[:, None] + se[:, None] * at).ravel(),
        np.repeat(weights, DRAWS),
        fit_parameters(fit).phi,
        rng,
    )
    tails = (0.5 - 0.5 * level, 0.5 + 0.5 * level)
    return np.quantile(y.reshape(eta.size, DRAWS), tails, axis=1, method="inverted_cdf")


# --- missing values ------------------------------------------------------------------------------------------


def _without_missing(table: pd.DataFrame, absent: NDArray[np.bool_], na_action: str) -> pd.DataFrame:
    """Rows of new data without a prediction stay as NaN, are dropped, or are an error."""
    if not absent.any() or na_action in ("pass", "exclude"):
        return table
    if na_action == "fail":
        row = table.index[int(np.argmax(absent))]
        raise MissingValuesError(
            f"missing values in newdata (first at row {row!r}); fill them in or use na_action='pass'", row=row
        )
    return table[~absent]
