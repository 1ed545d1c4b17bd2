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

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, MissingValuesError
from refglmm.families.coupled import DISPERSION, ZI
from refglmm.families.links import get_link
from refglmm.fit.categories import category_columns
from refglmm.fit.parameters import conditional_modes, fit_parameters
from refglmm.fit.parts import several
from refglmm.fit.population import TYPES as ALL_TYPES
from refglmm.fit.population import (
    RowMean,
    delta_se,
    parameter_covariance,
    population_mean,
    population_rows,
    random_covariance,
    row_mean,
    shape_slopes,
)
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
    from refglmm.families.links import Link
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]
#: Of a model with one predictor; ``population`` has those of all.
TYPES = ("link", "response")
#: Kinds of prediction that only ordinal models have.
CATEGORY_TYPES = ("prob", "cum", "class")
INTERVALS = (None, "confidence", "prediction")
SES = (False, True, "unconditional")
NA_ACTIONS = ("pass", "exclude", "omit", "fail")
#: Draws behind each prediction interval of a generalized model, and the seed they start from.
DRAWS, SEED = 4000, 20150708
#: Values of a modelled dispersion among the draws of a row; they divide DRAWS.
LEVELS = 40


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
        _check_coupled(fit, type, interval)
    elif type not in TYPES and not fit.family.is_ordinal:
        known = f"type must be one of {', '.join(map(repr, TYPES))}, not {type!r}"
        raise ArgumentError(f"{known}, which is for models with zi= or dispersion=" if type in ALL_TYPES else known)
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
    if several(fit):
        drawn = _drawing_weights(fit, newdata, weights) if interval == "prediction" else None
        given = (newdata, offset, allow_new_levels, random_only, newparams)
        asked = (type, se, interval, level)
        rows, columns = _coupled_columns(fit, given, chosen, asked, drawn, covariance)
        return _finished(fit, pd.DataFrame(columns, index=rows.index), np.isnan(columns["fit"]), newdata, na_action)
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
        columns["lower"], columns["upper"] = _prediction_interval(
            fit, eta, columns["se"][:, None, None] ** 2, drawn, level
        )
    elif interval == "confidence":
        columns["lower"], columns["upper"] = normal_interval(eta, columns["se"], level)
    if type == "response":
        mean = row_mean(fit, phi=fit_parameters(fit, newparams).phi)
        columns = _on_response_scale(fit, mean, columns, transform_bounds=interval == "confidence")
        if mean.on_shape and "se" in columns:
            columns["se"] = _mean_se(fit, mean, rows, eta, "response", any(used), se == "unconditional", covariance)
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


def _check_coupled(fit: FittedModel, type: str, interval: str | None) -> None:
    """Refuse types that need a predictor which the fit has not, and prediction intervals of anything but y."""
    if type in ("zprob", "zlink") and ZI not in fit.family.part_names:
        raise ArgumentError(f"type={type!r} needs a zero part (zi=), which this fit has not")
    if interval == "prediction" and type != "response":
        raise ArgumentError("a prediction interval is for an observation; use type='response'")


def _coupled_columns(
    fit: FittedModel,
    given: tuple[Any, Any, bool, bool, Mapping[str, Any] | None],
    chosen: list[NDArray[np.bool_]],
    asked: tuple[str, bool | str, str | None, float],
    weights: FloatArray | None,
    covariance: FloatArray | None,
) -> tuple[Rows, dict[str, FloatArray]]:
    """Predictions of a model with a zero part or a dispersion, standard errors by the delta method.

    A linear combination of the predictors of a row is the linear predictor of a row of its own, so the variance of
    f(eta) is that of the row with the gradient of f for weights.
    """
    (newdata, offset, allow_new_levels, random_only, newparams), (type, se, interval, level) = given, asked
    mean = row_mean(fit, type, fit_parameters(fit, newparams).phi)
    names = np.array(fit.family.part_names)
    wanted = np.isin(np.arange(names.size), mean.parts) | (interval == "prediction")
    chosen = _columns_of(fit, chosen, wanted)
    used = is_used(chosen)
    if newdata is None:
        rows = own_rows(fit.design)
    else:
        rows = new_rows(fit, newdata, used, offset, fixed=not random_only, parts=tuple(names[wanted]))
        if not allow_new_levels:
            refuse_new_levels(fit, newdata, rows, used)
    rows = _with_columns(rows, chosen, random_only)
    eta = np.where(wanted[:, None], _linear_predictor(fit, rows, newparams), 0.0)
    how = (any(used), se == "unconditional", covariance)
    columns = {"fit": _where_known(mean.value, eta)}
    if se or interval == "confidence":
        columns["se"] = _mean_se(fit, mean, rows, eta, type, *how)
    if interval == "confidence":
        ends = _interval(_scale_of(fit, type), columns["fit"], columns["se"], level)
        columns["lower"], columns["upper"] = ends
    elif interval == "prediction":
        assert weights is not None
        spread = _predictor_covariance(fit, rows, *how)
        columns["lower"], columns["upper"] = _prediction_interval(fit, eta, spread, weights, level)
    if not se:
        columns.pop("se", None)
    return rows, columns


def _where_known(f: Callable[[FloatArray], FloatArray], eta: FloatArray) -> FloatArray:
    """f of the rows whose predictors are known, shape (..., m); NaN in the others."""
    known = ~np.isnan(np.atleast_2d(eta)).any(axis=0)
    found = np.asarray(f(eta[..., known]))
    out = np.full((*found.shape[:-1], known.size), np.nan)
    out[..., known] = found
    return out


def _columns_of(fit: FittedModel, chosen: list[NDArray[np.bool_]], wanted: NDArray[np.bool_]) -> list[Any]:
    """Of the chosen columns those that belong to the wanted predictors."""
    return [columns & wanted[list(term.predictors)] for columns, term in zip(chosen, fit.design.terms, strict=True)]


def _mean_se(
    fit: FittedModel,
    mean: RowMean,
    rows: Rows,
    eta: FloatArray,
    type: str,
    random: bool,
    unconditional: bool,
    covariance: FloatArray | None,
) -> FloatArray:
    """Standard error of a function of the predictors, and of the shape parameters as far as they count as unknown."""
    moved = rows.combined(np.atleast_2d(_where_known(mean.slope, eta)))
    in_shape = None
    if mean.on_shape and (unconditional or not random):
        m = eta.shape[-1]
        in_shape = shape_slopes(fit, lambda phi: _where_known(row_mean(fit, type, phi).value, eta), m, True)
    return np.sqrt(_variance(fit, moved, random, unconditional, covariance, in_shape))


def _predictor_covariance(
    fit: FittedModel, rows: Rows, random: bool, unconditional: bool, covariance: FloatArray | None
) -> FloatArray:
    """Covariance of the predictors of each row, shape (m, K, K): 2 Cov(a, b) = Var(a + b) - Var(a) - Var(b)."""
    K = len(rows.X)
    V, unit = np.empty((len(rows.index), K, K)), np.eye(K)[:, :, None]
    for k in range(K):
        V[:, k, k] = _variance(fit, rows.combined(unit[k]), random, unconditional, covariance)
        for other in range(k):
            both = _variance(fit, rows.combined(unit[k] + unit[other]), random, unconditional, covariance)
            V[:, k, other] = V[:, other, k] = 0.5 * (both - V[:, k, k] - V[:, other, other])
    return V


def _scale_of(fit: FittedModel, type: str) -> Link:
    """The scale that intervals of a prediction are made on, and carried back from."""
    other = {"link": "identity", "zlink": "identity", "zprob": "logit", "disp": "log"}
    return get_link(other[type]) if type in other else fit.family.link


def _interval(link: Link, value: FloatArray, se: FloatArray, level: float) -> tuple[FloatArray, FloatArray]:
    """A normal interval for g(value), carried back by the inverse of g (a falling link swaps its ends)."""
    with np.errstate(all="ignore"):
        eta = np.asarray(link.link(value))
        ends = normal_interval(eta, se / np.abs(link.mu_eta(eta)), level)
        lower, upper = (np.where(link.valid_eta(end), link.inverse(end), np.nan) for end in ends)
    return np.minimum(lower, upper), np.maximum(lower, upper)


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
        ("type", type, ("link", *CATEGORY_TYPES) if fit.family.is_ordinal else ALL_TYPES),
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
    fit: FittedModel,
    rows: Rows,
    random: bool,
    unconditional: bool,
    covariance: FloatArray | None,
    in_shape: FloatArray | None = None,
) -> FloatArray:
    """Variance of each row's linear predictor; without random effects that of x'beta, as ``summary`` shows it.

    ``in_shape``, shape (m, n_phi): what the shape parameters, where they count as unknown, add to it.
    """
    if random or unconditional:
        return linear_predictor_variance(fit, rows, unconditional=unconditional, in_shape=in_shape)
    if in_shape is None:
        return np.einsum("ip,pr,ir->i", rows.X, _of_beta(fit, covariance), rows.X)
    joint = parameter_covariance(fit).covariance if covariance is None else covariance
    n_par, J = len(fit.optimum.par), np.hstack([rows.X, in_shape])
    return np.einsum("ip,pr,ir->i", J, joint[n_par:, n_par:], J)


def _of_beta(fit: FittedModel, covariance: FloatArray | None) -> FloatArray:
    """Covariance of beta: that of ``summary``, or a robust one."""
    of_beta = slice(len(fit.optimum.par), len(fit.optimum.par) + len(fit.optimum.beta))
    return whole_covariance(fit).matrix if covariance is None else covariance[of_beta, of_beta]


def normal_interval(centre: FloatArray, sd: FloatArray, level: float) -> tuple[FloatArray, FloatArray]:
    """centre -+ z sd."""
    from scipy.special import ndtri

    reach = float(ndtri(0.5 + 0.5 * level)) * sd
    return centre - reach, centre + reach


def _on_response_scale(
    fit: FittedModel, mean: RowMean, columns: dict[str, FloatArray], transform_bounds: bool
) -> dict[str, FloatArray]:
    """The mean m, se |dm/deta|, and the bounds of the link scale transformed (a falling link swaps them)."""
    link, out = fit.family.link, dict(columns)
    with np.errstate(all="ignore"):  # missing rows, and bounds outside the link's domain, are NaN
        out["fit"] = np.asarray(mean.value(columns["fit"]))
        if "se" in columns:
            out["se"] = columns["se"] * np.abs(mean.slope(columns["fit"]))
        if transform_bounds:
            bounds = [np.where(link.valid_eta(columns[b]), mean.value(columns[b]), np.nan) for b in ("lower", "upper")]
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
    m, missing = len(rows.index), np.isnan(rows.X).any(axis=-1) | np.isnan(rows.offset)
    known = ~(np.atleast_2d(missing).any(axis=0) | np.isnan(np.column_stack([np.zeros(m), *rows.Z])).any(axis=1))
    X, offset, Z = rows.X[..., known, :], rows.offset[..., known], [values[known] for values in rows.Z]
    target = {"link": "response", "zlink": "zprob"}.get(type, type)
    value, jacobian = population_mean(fit, X, offset, Z, rows.owners, target)
    joint = parameter_covariance(fit).covariance if covariance is None else covariance
    error, link = delta_se(jacobian, joint), _scale_of(fit, target)
    if type == target:
        columns = {"fit": value, "se": error}
        ends = _interval(link, value, error, level) if interval == "confidence" else ()
    else:
        with np.errstate(all="ignore"):
            eta = np.asarray(link.link(value))
            columns = {"fit": eta, "se": error / np.abs(link.mu_eta(eta))}
        ends = normal_interval(eta, columns["se"], level) if interval == "confidence" else ()
    if interval == "prediction" and weights is not None:
        spread = _population_spread(fit, X, Z, rows.owners, covariance)
        fixed = X @ np.asarray(fit.optimum.beta) + offset
        ends = _prediction_interval(fit, fixed, spread, np.asarray(weights)[known], level)
    columns |= dict(zip(("lower", "upper"), ends))
    if not se:
        del columns["se"]
    out = {name: np.full(m, np.nan) for name in columns}
    for name, values in columns.items():
        out[name][known] = values
    return out


def _population_spread(
    fit: FittedModel, X: FloatArray, Z: list[FloatArray], owners: Any, covariance: FloatArray | None
) -> FloatArray:
    """Covariance of the predictors of a row of a new group, shape (m, K, K): x_k'Cx_l + S_kl."""
    X = X if X.ndim == 3 else X[None]
    of_beta = np.einsum("kip,pr,lir->ikl", X, _of_beta(fit, covariance), X, optimize=True)
    return of_beta + random_covariance(fit, Z, owners)


# --- one more observation ------------------------------------------------------------------------------------


def _drawing_weights(fit: FittedModel, newdata: Any, weights: Any) -> FloatArray:
    return drawing_weights(fit.frame) if newdata is None else new_weights(fit, newdata, weights)


def _prediction_interval(
    fit: FittedModel, eta: FloatArray, spread: FloatArray, weights: FloatArray, level: float
) -> tuple[FloatArray, FloatArray]:
    """Interval for an observation at predictors eta, shape (m,) or (K, m), of covariance ``spread``, (m, K, K)."""
    if fit.is_lmm:
        noise = fit.sigma**2 / np.where(weights > 0, weights, 1.0)
        return normal_interval(eta, np.sqrt(spread[:, 0, 0] + noise), level)
    eta = np.atleast_2d(eta)
    lower, upper = np.full(eta.shape[1], np.nan), np.full(eta.shape[1], np.nan)
    rng, step = np.random.default_rng(SEED), max(1, BLOCK // DRAWS)
    known = np.flatnonzero(~np.isnan(eta.sum(axis=0) + spread.sum(axis=(1, 2)) + weights))
    root = _lower_root(spread[known])
    z = _standard_draws(fit, len(eta), rng)
    for first in range(0, known.size, step):
        here = known[first : first + step]
        at = eta[:, here, None] + np.einsum("mkd,dn->kmn", root[first : first + step], z)
        lower[here], upper[here] = _mixture_quantiles(fit, at, weights[here], level, rng)
    return lower, upper


def _standard_draws(fit: FittedModel, K: int, rng: np.random.Generator) -> FloatArray:
    """Equally likely normal quantiles, shape (K, DRAWS), their orders shuffled against each other.

    A modelled dispersion, the last predictor, takes :data:`LEVELS` values a row only: a law is set up for each.
    """
    from scipy.special import ndtri

    z = np.tile(ndtri((np.arange(DRAWS) + 0.5) / DRAWS), (K, 1))
    if DISPERSION in fit.family.part_names:
        z[-1] = np.repeat(ndtri((np.arange(LEVELS) + 0.5) / LEVELS), DRAWS // LEVELS)
    for k in range(1, K):
        rng.shuffle(z[k])
    return z


def _lower_root(V: FloatArray) -> FloatArray:
    """R with RR' = V for each row's covariance, also a singular one; the last predictor follows one direction alone."""
    V, R = V[:, ::-1, ::-1], np.zeros_like(V)
    for j in range(V.shape[1]):
        rest = V[:, j:, j] - np.einsum("mik,mk->mi", R[:, j:, :j], R[:, j, :j])
        pivot = np.sqrt(np.maximum(rest[:, 0], 0.0))
        R[:, j:, j] = np.where(pivot[:, None] > 0.0, rest / np.where(pivot > 0.0, pivot, 1.0)[:, None], 0.0)
    return R[:, ::-1, ::-1]


def _mixture_quantiles(
    fit: FittedModel, eta: FloatArray, weights: FloatArray, level: float, rng: np.random.Generator
) -> FloatArray:
    """Quantiles of a response drawn at each of eta, shape (K, m, DRAWS), for each of m rows, shape (2, m)."""
    at = eta.reshape(len(eta), -1)
    phi = fit_parameters(fit).phi
    y = draw_known(fit.family, at if len(at) > 1 else at[0], np.repeat(weights, DRAWS), phi, rng)
    tails = (0.5 - 0.5 * level, 0.5 + 0.5 * level)
    return np.quantile(y.reshape(weights.size, DRAWS), tails, axis=1, method="inverted_cdf")


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
