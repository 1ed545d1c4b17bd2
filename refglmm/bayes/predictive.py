r"""Predictions from draws of a posterior: linear predictors, expected responses, categories, and replicated responses.

Place in the reading order: after ``parameters``. For each draw of :math:`(\beta, T, b, \phi)`

=============  ====================================================================================================
``link``       :math:`\eta = o + x'\beta + z'b`
``response``   the expected response at eta (of ordinal models the mean of the latent variable, as in a fit by ML)
``prob``       probability of each category
``score``      expected category :math:`\sum_k k\,p_k` (by the numbers that the levels are, else 1, 2, ..., K)
=============  ====================================================================================================

``re_form`` says which random effects take part, as in :meth:`.FittedModel.predict`: None all, False or "~0" none, a
formula those it names; and ``"new"`` none of the levels known, but new ones from :math:`N(0, TT')`, which makes the
prediction one for a group yet unseen. A replicate :math:`y^{rep} \sim f(\cdot \mid \eta, \phi)` is drawn once a draw.

Sources: Gelman et al. (2013), *Bayesian Data Analysis*, chapter 6; Dunn and Smyth (1996) for the quantile residuals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.bayes.parameters import (
    LINE,
    PROBABILITY,
    ParameterDraws,
    Scale,
    check_probability,
    linear_predictor,
    parameter_draws,
    summarised,
    with_new_levels,
)
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.fit.response import padded_frame
from refglmm.fit.rows import (
    Rows,
    chosen_columns,
    is_used,
    new_rows,
    new_weights,
    number_new_levels,
    own_rows,
    refuse_new_levels,
)
from refglmm.fit.simulate import check_nsim, draw_known, drawing_weights, generator

if TYPE_CHECKING:
    from refglmm.families.base import Family
    from refglmm.model import GLMM

FloatArray = NDArray[np.float64]

TYPES = ("link", "response")
ORDINAL_TYPES = ("link", "response", "prob", "score")
RESIDUALS = ("quantile", "response")
#: Numbers of draws times rows that are held at once when summaries are all that is wanted.
BLOCK = 2_000_000
#: Replicates behind quantile residuals and pictures, unless others are asked for.
REPLICATES = 500


# -- functions of the linear predictor ---------------------------------------------------------------------------------


def check_type(family: Family, type: str) -> str:
    """Refuse a type that the family does not have; "category" is another name of "prob"."""
    type = "prob" if type == "category" else type
    known = ORDINAL_TYPES if family.is_ordinal else TYPES
    if type not in known:
        hint = ", which ordinal models have" if type in ORDINAL_TYPES else ""
        raise ArgumentError(f"type must be one of {', '.join(map(repr, known))}, not {type!r}{hint}", type=type)
    return type


def scores(family: Any) -> FloatArray:
    """Numbers of the categories: the levels themselves where they are numbers, else 1, 2, ..., K."""
    try:
        return np.array([float(level) for level in family.levels])
    except ValueError:
        return np.arange(1.0, family.n_levels + 1.0)


def of_predictor(family: Any, type: str, eta: FloatArray, phi: FloatArray) -> FloatArray:
    """What ``type`` means at eta, shape (m, r), with the shape parameters of each draw, (m, n_phi); (m, r[, K])."""
    if type == "link":
        return eta
    if type == "response" and (family.mean_is_inverse_link or family.is_ordinal):
        return np.asarray(family.link.inverse(eta))
    if type == "response":
        return np.array([family.at(phi[i]).fitted_mean(eta[i]) for i in range(len(eta))])
    p = np.array([family.probabilities(eta[i], phi[i]) for i in range(len(eta))])
    return p if type == "prob" else np.asarray(p @ scores(family))


def scale_of(family: Any, type: str) -> Scale | None:
    """Where intervals of a mode are made for a type of prediction."""
    if type == "link" or (type == "response" and family.link.name == "identity"):
        return LINE
    if type == "response":
        return (family.link.link, family.link.inverse) if family.mean_is_inverse_link else None
    if type == "prob":
        return PROBABILITY
    low, high = float(scores(family).min()), float(scores(family).max())
    there, back = PROBABILITY
    return lambda s: there((s - low) / (high - low)), lambda z: low + (high - low) * back(z)


# -- rows --------------------------------------------------------------------------------------------------------------


def placed_rows(fit: Any, newdata: Any, re_form: Any, allow_new_levels: bool, offset: Any) -> tuple[Rows, list[int]]:
    """Rows to predict, unknown levels numbered after the known ones, and the number of levels of each term."""
    terms = fit.design.terms
    anew = isinstance(re_form, str) and re_form == "new"
    chosen = chosen_columns(fit, None if anew else re_form)
    used = is_used(chosen)
    if newdata is None and offset is not None:
        raise ArgumentError("offset= belongs to newdata; the rows of the fit have theirs")
    rows = own_rows(fit.design) if newdata is None else new_rows(fit, newdata, used, offset)
    if newdata is not None and not (allow_new_levels or anew):
        refuse_new_levels(fit, newdata, rows, used)
    codes, sizes = list(rows.codes), [term.n_levels for term in terms]
    for t, term in enumerate(terms):
        if not used[t]:
            continue
        if newdata is not None:
            codes[t], sizes[t] = number_new_levels(fit, term, newdata, rows.codes[t])
        if anew:
            codes[t], sizes[t] = codes[t] + term.n_levels, sizes[t] + term.n_levels
    Z = tuple(np.where(columns, values, 0.0) for values, columns in zip(rows.Z, chosen, strict=True))
    return replace(rows, Z=Z, codes=tuple(codes)), sizes


def _part(rows: Rows, here: slice) -> Rows:
    return Rows(
        rows.index[here],
        rows.X[here],
        rows.offset[here],
        tuple(Z[here] for Z in rows.Z),
        tuple(c[here] for c in rows.codes),
    )


# -- predictions -------------------------------------------------------------------------------------------------------


def predict(
    fit: Any,
    newdata: Any = None,
    *,
    type: str = "response",
    re_form: Any = None,
    allow_new_levels: bool = False,
    offset: Any = None,
    prob: float = 0.95,
    summary: bool = True,
    seed: int = 1,
) -> Any:
    """Predictions; see :meth:`.after.AfterFit.predict`."""
    family, prob = fit.family, check_probability(prob)
    type = check_type(family, type)
    rows, sizes = placed_rows(fit, newdata, re_form, allow_new_levels, offset)
    extend = _extension(sizes, seed)

    def values(draws: ParameterDraws, part: Rows) -> FloatArray:
        draws = extend(draws)
        return of_predictor(family, type, linear_predictor(draws, part), draws.phi)

    if not summary:
        drawn = values(fit.parameters, rows)
        return drawn.reshape(*fit.draws_shape, *drawn.shape[1:])
    step, pieces = max(1, BLOCK // len(fit.parameters)), []
    for first in range(0, len(rows.index), step):
        part = _part(rows, slice(first, first + step))
        pieces.append(summarised(fit, partial(values, part=part), prob, scale_of(family, type)))
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    table = _table(family, columns, rows.index)
    padded = newdata is None and fit.frame.na_action == "exclude"
    return padded_frame(fit.frame, table) if padded else table


def _extension(sizes: list[int], seed: int) -> Callable[[ParameterDraws], ParameterDraws]:
    """Draws with effects of new levels, the same ones whenever it is called; a mode alone has them at zero."""

    def extend(draws: ParameterDraws) -> ParameterDraws:
        if all(size == b.shape[1] for size, b in zip(sizes, draws.effects, strict=True)):
            return draws
        if len(draws) == 1:
            draws = replace(draws, factors=tuple(np.zeros_like(T) for T in draws.factors))
        return with_new_levels(draws, sizes, np.random.default_rng(seed))

    return extend


def _table(family: Any, columns: dict[str, FloatArray], index: pd.Index) -> pd.DataFrame:
    """One line a row; of categories the columns are pairs (estimate, level)."""
    if columns["estimate"].ndim == 1:
        return pd.DataFrame(columns, index=index)
    pairs = {(name, level): values[:, k] for name, values in columns.items() for k, level in enumerate(family.levels)}
    return pd.DataFrame(pairs, index=index)


# -- replicates --------------------------------------------------------------------------------------------------------


def replicated(
    family: Any, eta: FloatArray, phi: FloatArray, weights: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """One response a draw, at eta of shape (m, r), as a frame holds y; NaN where eta is."""
    y = np.full(eta.shape, np.nan)
    known = ~(np.isnan(eta[0]) | np.isnan(weights)) if len(eta) else np.ones(eta.shape[1], dtype=bool)
    for i in range(len(eta)):
        y[i, known] = draw_known(family, eta[i, known], weights[known], phi[i], rng)
    return y


def refuse_residuals(posterior: Any) -> None:
    """Raise where a response of one row is not all that there is to draw."""
    if posterior.residuals is not None:
        raise NotAvailableError(
            "responses of models with resid_corr= or sigma_by= are not drawn; predict() has their means and linear "
            "predictors"
        )


def posterior_predict(
    fit: Any,
    newdata: Any = None,
    draws: int | None = None,
    *,
    seed: Any = None,
    re_form: Any = None,
    allow_new_levels: bool = False,
    offset: Any = None,
    weights: Any = None,
) -> FloatArray:
    """Replicated responses; see :meth:`.after.AfterFit.posterior_predict`."""
    refuse_residuals(fit.posterior)
    rng, _ = generator(seed)
    if newdata is None and weights is not None:
        raise ArgumentError("weights= belongs to newdata; the rows of the fit have theirs")
    rows, sizes = placed_rows(fit, newdata, re_form, allow_new_levels, offset)
    a = drawing_weights(fit.frame) if newdata is None else new_weights(fit, newdata, weights)
    chosen = _some(fit.parameters, draws, rng)
    chosen = with_new_levels(chosen, sizes, rng)
    return replicated(fit.family, linear_predictor(chosen, rows), chosen.phi, np.asarray(a, dtype=np.float64), rng)


def _some(parameters: ParameterDraws, draws: int | None, rng: np.random.Generator) -> ParameterDraws:
    """All draws in their order, or so many of them without repetition."""
    if draws is None:
        return parameters
    if check_nsim(draws) > len(parameters):
        raise ArgumentError(f"there are {len(parameters)} draws; {draws} replicates are asked for", draws=draws)
    return parameters.take(np.sort(rng.choice(len(parameters), draws, replace=False)))


def prior_positions(model: GLMM, size: int, rng: np.random.Generator) -> tuple[Any, FloatArray]:
    """Positions drawn from the prior, shape (size, d), and the posterior they belong to."""
    from refglmm.bayes.priors import sample_prior

    posterior = model.posterior.with_exponent(None)
    natural = sample_prior(posterior.priors, rng, size)
    hyper = np.array([posterior.hyper(row) for row in natural]).reshape(size, posterior.n_hyper)
    return posterior, np.hstack([hyper, rng.standard_normal((size, posterior.q))])


def prior_predict(model: GLMM, draws: int = 100, seed: Any = None) -> FloatArray:
    """Responses of the rows of a model drawn from its prior alone; see :meth:`.GLMM.prior_predict`."""
    refuse_residuals(model.posterior)
    rng, _ = generator(seed)
    parameters = parameter_draws(*prior_positions(model, check_nsim(draws), rng))
    eta = linear_predictor(parameters, own_rows(model.design))
    weights = np.asarray(drawing_weights(model.frame), dtype=np.float64)
    return replicated(model.family, eta, parameters.phi, weights, rng)


# -- residuals ---------------------------------------------------------------------------------------------------------


def residuals(
    fit: Any, type: str = "quantile", *, re_form: Any = None, draws: int | None = None, seed: Any = 1
) -> pd.Series:
    """Residuals of the rows of the fit; see :meth:`.after.AfterFit.residuals`."""
    from refglmm.fit.residuals import padded
    from refglmm.inference.simulated_residuals import scaled_ranks

    if type not in RESIDUALS:
        raise ArgumentError(f"type must be one of {', '.join(map(repr, RESIDUALS))}, not {type!r}", type=type)
    y = fit.frame.y
    if type == "quantile":
        rng, _ = generator(seed)
        rep = posterior_predict(fit, draws=draws or min(REPLICATES, len(fit.parameters)), seed=rng, re_form=re_form)
        values = np.vstack([y, rep])
        return padded(fit, scaled_ranks(values, rng.random(values.shape))[0], "quantile residuals")
    kind = "score" if fit.family.is_ordinal else "response"
    mean = predict(fit, type=kind, re_form=re_form)["estimate"].to_numpy()
    mean = mean[np.asarray(fit.frame.kept, dtype=bool)] if mean.size != len(y) else mean
    observed = scores(fit.family)[y.astype(int)] if fit.family.is_ordinal else y
    return padded(fit, observed - mean, "response residuals")


def ppc(
    fit: Any, kind: str | None = None, *, draws: int | None = None, seed: Any = 1, re_form: Any = None, **how: Any
) -> Any:
    """Picture of the response beside its replicates; see :meth:`.after.AfterFit.ppc`."""
    from refglmm.plots import plot_ppc

    y_rep = posterior_predict(fit, draws=draws or min(REPLICATES, len(fit.parameters)), seed=seed, re_form=re_form)
    y = fit.frame.y
    if fit.family.is_ordinal:
        y, y_rep = (scores(fit.family)[codes.astype(int)] for codes in (y, y_rep))
    return plot_ppc(y, y_rep, kind, **how)
