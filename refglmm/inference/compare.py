r"""Comparing fits by their likelihoods: analysis of deviance, single-term deletions, information criteria.

Place in the reading order: after :mod:`.term_tests`, :mod:`.boundary` and :mod:`.reduced`. The statistic is
:math:`T = \max(0, 2(\ell_1 - \ell_0))`, with as many degrees of freedom as the larger model has more parameters. Fits
by REML are refitted by maximum likelihood first: restricted likelihoods of different fixed effects are not comparable.
Where a variance is tested, chi-square is conservative; :mod:`.boundary` has the mixture that corrects it.

Members may be fits of ours, :class:`.reduced.Reference` objects, pairs (log-likelihood, df), results of statsmodels, or
anything with ``loglik``, ``df`` and (if it has one) ``nobs``.

Sources: Bates et al. (2015), section 5; Burnham and Anderson (2002) for AICc and weights.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from refglmm.errors import ArgumentError, DataError, NotAvailableError
from refglmm.formula.grammar import expand_terms
from refglmm.inference.boundary import Boundary, chi2_tail, compare_structure, matching_rows
from refglmm.inference.denominator_df import Method, resolve_method, wald_test
from refglmm.inference.reduced import (
    Reference,
    droppable,
    random_reductions,
    with_random_terms,
    without_fixed_term,
    without_random,
)
from refglmm.inference.result_table import ResultTable
from refglmm.inference.term_tests import deletion_hypothesis, metric, sequential_table, term_number, term_table

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel
    from refglmm.model import GLMM

REFITTED = "refitting model(s) with ML (instead of REML)"
CHIBAR = "Pr(>Chibarsq)"
#: Families of statsmodels' GLM whose scale is estimated and counts as a parameter.
STATSMODELS_SCALE = ("Gaussian", "Gamma", "InverseGaussian", "Tweedie")


# -- members ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """One row of a comparison; ``fit`` is None for a model that was fitted elsewhere."""

    name: str
    formula: str
    loglik: float
    df: int
    nobs: int | None
    fit: FittedModel | None = None
    response: np.ndarray | None = None
    reml: bool = False


def is_fit(model: Any) -> bool:
    """Whether this is a fit of ours (by what it holds: ``fitted`` comes after this module)."""
    return hasattr(model, "optimum") and hasattr(model, "frame") and hasattr(model, "refit")


def as_member(model: Any, name: str) -> Member:
    """Read what a comparison needs from any kind of model.

    Raises
    ------
    ArgumentError
        For an object that offers no log-likelihood and number of parameters.
    """
    if is_fit(model):
        return Member(name, _formulas(model), model.loglik, model.df, model.nobs, model, model.frame.y, model.reml)
    if isinstance(model, tuple) and len(model) == 2:
        model = Reference(float(model[0]), int(model[1]))
    if hasattr(model, "loglik") and hasattr(model, "df"):
        nobs = getattr(model, "nobs", None)
        formula = str(getattr(model, "formula", "") or "fitted elsewhere")
        name = getattr(model, "name", "") or name
        size, reml = None if nobs is None else int(nobs), bool(getattr(model, "reml", False))
        return Member(name, formula, float(model.loglik), int(model.df), size, reml=reml)
    if hasattr(model, "llf") and hasattr(model, "params"):
        return _statsmodels_member(model, name)
    raise ArgumentError(
        f"cannot compare with a {type(model).__name__}: give a fit, a Reference(loglik, df, nobs), a pair (loglik, df) "
        "or a result of statsmodels"
    )


def _members(models: Sequence[Any], labels: Sequence[str], names: Sequence[str] | None) -> list[Member]:
    """Every model under its label; a Reference has a name of its own, to which only given ``names`` are preferred."""
    members = [as_member(m, label) for m, label in zip(models, labels, strict=True)]
    if names is None:
        return members
    return [replace(member, name=label) for member, label in zip(members, labels, strict=True)]


def _formulas(fit: FittedModel) -> str:
    """The formula, and those of the zero part and the dispersion where there are any, in glmmTMB's words."""
    parts = (f"{word}={fit.call[part]}" for part, word in (("zi", "zi"), ("dispersion", "disp")) if part in fit.call)
    return ", ".join([fit.formula.expanded, *parts])


def _model_lines(members: Sequence[Member]) -> list[str]:
    """Name and formula of each model, and its family where they differ."""
    families = ["" if m.fit is None else m.fit.family.name for m in members]
    several = len({family for family in families if family}) > 1
    labels = [f", {family}" if several and family else "" for family in families]
    return ["Models:", *(f"{m.name}: {m.formula}{label}" for m, label in zip(members, labels, strict=True))]


def _statsmodels_member(result: Any, name: str) -> Member:
    """A fit of statsmodels: llf, its coefficients, and the scale where that is estimated."""
    inner = getattr(result, "model", None)
    family = type(getattr(inner, "family", None)).__name__
    least_squares = family == "NoneType" and hasattr(result, "mse_resid")
    df = len(result.params) + int(least_squares or family in STATSMODELS_SCALE)
    y = np.asarray(getattr(inner, "endog", np.empty(0)), dtype=float)
    formula = str(getattr(inner, "formula", "") or f"statsmodels {type(inner).__name__}")
    return Member(name, formula, float(result.llf), df, int(result.nobs), None, y if y.ndim == 1 and y.size else None)


def caller_names(models: Sequence[Any]) -> list[str]:
    """Names of the caller's variables that hold the models; "model 1", ... where there are none."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("refglmm."):
        frame = frame.f_back
    variables = [] if frame is None else [(k, v) for k, v in frame.f_locals.items() if k.isidentifier() and k[0] != "_"]
    known = {id(value): name for name, value in reversed(variables)}
    names = [known.get(id(model), f"model {i}") for i, model in enumerate(models, start=1)]
    return names if len(set(names)) == len(names) else [f"{n} [{i}]" for i, n in enumerate(names, start=1)]


def check_same_data(members: Sequence[Member]) -> None:
    """Refuse to compare fits to different rows or responses.

    Raises
    ------
    DataError
        Different numbers of rows, other responses, other weights (not in linear models, where they are part of the
        model), or a likelihood on lme4's relative scale.
    """
    sizes = [m.nobs for m in members if m.nobs is not None]
    if len(set(sizes)) > 1:
        listed = ", ".join(f"{m.name}: {m.nobs}" for m in members if m.nobs is not None)
        raise DataError(f"models were not all fitted to the same size of dataset ({listed})", sizes=tuple(sizes))
    fits = [m for m in members if m.fit is not None]
    relative = [m.name for m in fits if m.fit is not None and m.fit.mode_name == "lme4" and m.fit.n_agq > 1]
    if relative and len({(m.fit.mode_name, m.fit.n_agq > 1) if m.fit else None for m in members}) > 1:
        raise DataError(
            f"{', '.join(relative)}: in lme4 mode the likelihood with n_agq > 1 is relative to the saturated model and "
            "cannot be compared with the others; fit with mode='exact'"
        )
    known = [m for m in members if m.response is not None]
    for first, other in itertools.pairwise(known):
        _check_pair(first, other)


def _check_pair(a: Member, b: Member) -> None:
    assert a.response is not None
    assert b.response is not None
    order = _matching_rows(a, b)
    different = ~np.isclose(a.response, b.response[order], rtol=1e-10, atol=0.0)
    if different.any():
        row = int(np.argmax(different))
        label = a.fit.frame.index[row] if a.fit is not None else row
        raise DataError(
            f"{a.name} and {b.name} were not fitted to the same data: {int(different.sum())} responses differ, first "
            f"at row {label!r} ({a.response[row]:g} and {b.response[order][row]:g})",
            row=label,
        )
    if a.fit is None or b.fit is None or (a.fit.is_lmm and b.fit.is_lmm):
        return
    if not np.allclose(a.fit.frame.weights, b.fit.frame.weights[order]):
        raise DataError(f"{a.name} and {b.name} have different weights (numbers of trials), so different data")


def _matching_rows(a: Member, b: Member) -> np.ndarray:
    """Rows of b in the order of a."""
    if a.fit is None or b.fit is None:
        return np.arange(len(a.response if a.response is not None else ()))
    return matching_rows(a.fit.frame.index, b.fit.frame.index)


# -- several models --------------------------------------------------------------------------------------------------


def anova(*models: Any, refit: bool = True, boundary: bool = False, names: Sequence[str] | None = None) -> ResultTable:
    """Likelihood-ratio tests of a sequence of models, each against the one before; one fit alone: its terms.

    Parameters
    ----------
    *models
        Fits to the same data (and models fitted elsewhere, see the module), in any order. None: the first of them
        without its random effects, a (generalized) linear model.
    refit : bool
        Refit REML fits by maximum likelihood first.
    boundary : bool
        Show a column with the p-value of the mixture beside the ordinary one. A note tells of it in any case.
    names : sequence of str, optional
        Row names; by default the names of the caller's variables.

    Returns
    -------
    ResultTable
        Columns npar, AIC, BIC, logLik, -2*log(L), Chisq, Df, Pr(>Chisq); one row a model, by number of parameters.

    Raises
    ------
    ArgumentError, DataError
        Nothing to compare; different data (see :func:`check_same_data`).
    """
    if not models:
        raise ArgumentError("anova() needs at least one model")
    if len(models) == 1:
        if not is_fit(models[0]):
            raise ArgumentError("anova() of one model needs a fit; give a second model to compare with")
        return model_table(models[0])
    if names is not None and len(names) != len(models):
        raise ArgumentError(f"names has {len(names)} entries for {len(models)} models")
    labels = list(names) if names is not None else caller_names(models)
    refitted = refit and any(is_fit(m) and m.reml for m in models)
    models = _with_reference(models, refitted)
    models = tuple(m.refit_ml() if refitted and is_fit(m) else m for m in models)
    members = _members(models, labels, names)
    check_same_data(members)
    members = sorted(members, key=lambda m: m.df)
    frame, notes = likelihood_ratios(members, boundary)
    data = next((m.fit.data_name for m in members if m.fit is not None), None)
    heading = [REFITTED] * refitted + [f"Data: {data}"] * (data is not None)
    heading += _model_lines(members)
    return ResultTable(tuple(heading), frame, (*notes, *_warnings(members)), {"Chisq": 4})


def _with_reference(models: tuple[Any, ...], ml: bool) -> tuple[Any, ...]:
    """None stands for the first fit without its random effects."""
    if not any(model is None for model in models):
        return models
    first = next((model for model in models if is_fit(model)), None)
    if first is None:
        raise ArgumentError("None stands for a fit without its random effects, and no fit is given")
    reference = without_random(first, reml=False if ml else None)
    return tuple(reference if model is None else model for model in models)


def likelihood_ratios(members: Sequence[Member], boundary: bool) -> tuple[pd.DataFrame, list[str]]:
    """The table of ordered members, and notes about boundaries and nesting."""
    rows, notes = [], []
    for i, m in enumerate(members):
        size = m.nobs or next((other.nobs for other in members if other.nobs), None)
        row = {"npar": float(m.df), "AIC": -2 * m.loglik + 2 * m.df}
        row |= {"BIC": -2 * m.loglik + m.df * np.log(size) if size else np.nan, "logLik": m.loglik}
        row |= {"-2*log(L)": -2 * m.loglik, "Chisq": np.nan, "Df": np.nan, "Pr(>Chisq)": np.nan, CHIBAR: np.nan}
        if i:
            note = _test_row(row, members[i - 1], m)
            notes += [note] if note else []
        rows.append(row)
    frame = pd.DataFrame(rows, index=[m.name for m in members])
    return (frame if boundary else frame.drop(columns=CHIBAR)), notes


def _test_row(row: dict[str, float], small: Member, large: Member) -> str:
    """Fill in the test of two members; returns what the reader must know."""
    statistic, df = max(0.0, 2.0 * (large.loglik - small.loglik)), large.df - small.df
    row["Chisq"], row["Df"] = statistic, float(df)
    if df <= 0:
        return ""
    tested = structure_of(small, large)
    if not tested.nested:
        return f"{small.name} is not a special case of {large.name}: a likelihood-ratio test has no p-value"
    row["Pr(>Chisq)"] = chi2_tail(statistic, df)
    row[CHIBAR] = tested.p_value(statistic, df) if tested.kind != "unknown" else np.nan
    return boundary_note(f"{large.name} against {small.name}", tested, statistic, df)


def structure_of(small: Member, large: Member) -> Boundary:
    """What the comparison of two members tests, as far as they show it."""
    if large.fit is None:
        return Boundary(small.fit is None)
    return compare_structure(small.fit, large.fit)


def boundary_note(what: str, tested: Boundary, statistic: float, df: int) -> str:
    """Explain the corrected p-value; empty where there is nothing to correct."""
    if tested.kind == "interior":
        return ""
    listed = ", ".join(tested.variances)
    if tested.kind == "unknown":
        return (
            f"{what}: {listed or 'some covariance'} on the boundary; no mixture is known, chi-square is approximate: "
            "see pb_test"
        )
    value = tested.p_value(statistic, df)
    p = f"{value:.4g}" if value else "2.2e-16"  # zero: below the smallest double
    if tested.kind == "bound":
        return f"{what}: {listed} at the boundary 0; p is at most {p} ({tested.describe(df)})"
    return f"{what}: {listed} at the boundary 0; {tested.describe(df)} gives p {'=' if value else '<'} {p}"


def _warnings(members: Sequence[Member]) -> list[str]:
    """What else speaks against a comparison."""
    fits = [m.fit for m in members if m.fit is not None]
    notes = []
    if len({fit.n_agq for fit in fits if not fit.is_lmm}) > 1:
        notes.append("the members approximate the likelihood with different n_agq")
    if penalised := [m.name for m in members if m.fit is not None and m.fit.penalty is not None]:
        notes.append(
            f"penalised estimates ({', '.join(penalised)}): their likelihoods are no maxima, so that chi-square is no "
            "reference and AIC and BIC favour the members without a penalty"
        )
    restricted = sum(m.reml for m in members)
    if restricted and (len({fit.formula.fixed for fit in fits}) > 1 or restricted < len(members)):
        notes.append(
            "restricted likelihoods (REML) of different fixed effects, or beside ordinary ones, do not compare"
        )
    bad = [m.name for m in members if m.fit is not None and not m.fit.convergence.converged]
    return notes + ([f"not certified as optima: {', '.join(bad)}"] if bad else [])


def model_table(
    fit: FittedModel,
    *,
    type: Any = None,
    ddf: Method | None = None,
    test: str | None = None,
    covariates: str = "zero",
) -> ResultTable:
    """The table of one fit; see :meth:`refglmm.FittedModel.anova`."""
    if fit.is_lmm and type is None and ddf is None and test is None:
        return sequential_table(fit)
    default = 3 if fit.is_lmm else 1
    return term_table(fit, default if type is None else type, "auto" if ddf is None else ddf, test, covariates)


# -- one term less ---------------------------------------------------------------------------------------------------


def drop1(
    fit: FittedModel,
    scope: str | Sequence[str] | None = None,
    test: str | Callable[[FittedModel, FittedModel], Any] = "Chisq",
    *,
    ddf: Method = "auto",
) -> ResultTable:
    """Drop each fixed-effects term that marginality allows to go.

    Parameters
    ----------
    fit : FittedModel
    scope : str or sequence of str, optional
        Terms to try, as ``"~ a:b + x"`` or labels; by default all that no other term contains.
    test : {"Chisq", "none", "F"} or callable
        Likelihood ratio; nothing; Wald F with denominator degrees of freedom (linear mixed models); or a function of
        (larger fit, smaller fit) that returns a number or a mapping of column names to numbers.
    ddf : str or number
        For "F", see :mod:`.denominator_df`.

    Returns
    -------
    ResultTable
        npar and AIC, then LRT and Pr(Chi); NumDF, DenDF, F value and Pr(>F); or what the function returned.

    Raises
    ------
    ArgumentError
        Unknown test; a test that raises or returns no numbers; a term that is not in the model, or that another term
        contains.
    """
    if not callable(test) and test not in ("Chisq", "none", "F"):
        raise ArgumentError(f"test must be 'Chisq', 'none', 'F' or a function of two fits, not {test!r}")
    numbers = _scope(fit, scope)
    if test == "F":
        return _drop_f(fit, numbers, ddf)
    full = fit.refit_ml()
    rows: dict[str, dict[str, float]] = {"<none>": {"npar": np.nan, "AIC": full.aic}}
    for j in numbers:
        smaller = _fit_like(full, without_fixed_term(full.model, j))
        row = {"npar": float(full.df - smaller.df), "AIC": smaller.aic}
        if test == "Chisq":
            statistic = max(0.0, 2.0 * (full.loglik - smaller.loglik))
            row |= {"LRT": statistic, "Pr(Chi)": chi2_tail(statistic, full.df - smaller.df)}
        elif callable(test):
            row |= _tested(test, full, smaller, fit.design.term_labels[j - 1])
        rows[fit.design.term_labels[j - 1]] = row
    heading = [REFITTED] * fit.reml + ["Single term deletions", "", "Model:", fit.formula.expanded]
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return ResultTable(tuple(heading), frame, (), {"LRT": 4})


def _tested(
    test: Callable[[FittedModel, FittedModel], Any], full: FittedModel, smaller: FittedModel, term: str
) -> dict[str, float]:
    """What a user's test gave, as columns."""
    try:
        value = test(full, smaller)
    except Exception as error:
        raise ArgumentError(
            f"test fails where {term!r} is dropped ({type(error).__name__}: {error})", term=term
        ) from error
    try:
        if isinstance(value, Mapping | pd.Series):
            return {str(name): float(x) for name, x in value.items()}
        return {"test": float(value)}
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"the test must return a number or a mapping of numbers, not {value!r}") from error


def _scope(fit: FittedModel, scope: str | Sequence[str] | None) -> list[int]:
    """Numbers of the terms to drop."""
    free = [j + 1 for j in droppable(fit.design.matrix.terms)]
    if scope is None:
        return free
    labels = expand_terms(scope.lstrip().removeprefix("~")).labels if isinstance(scope, str) else tuple(scope)
    numbers = [term_number(fit, label) for label in labels]
    for j in numbers:
        if j not in free:
            label = fit.design.term_labels[j - 1]
            raise ArgumentError(f"{label!r} cannot be dropped while a term that contains it stays", term=label)
    return numbers


def _fit_like(fit: FittedModel, model: GLMM) -> FittedModel:
    """Fit another model with the settings of a fit."""
    return model.fit(**fit.settings | {"reml": fit.reml})


def _drop_f(fit: FittedModel, numbers: list[int], ddf: Method) -> ResultTable:
    """Wald F tests that the model without each term holds."""
    if not fit.is_lmm:
        raise NotAvailableError("test='F' is for linear mixed models; use 'Chisq' or a parametric bootstrap (pb_test)")
    measure, method, rows = metric(fit), resolve_method(fit, ddf), {}
    for j in numbers:
        L = deletion_hypothesis(fit, j, measure)
        result = wald_test(fit, L, method) if len(L) else None
        values = (np.nan,) * 4
        if result is not None:
            F = result.statistic / result.num_df if result.kind == "Chisq" else result.statistic
            values = (result.num_df, result.den_df, F, result.p_value)
        rows[fit.design.term_labels[j - 1]] = values
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["NumDF", "DenDF", "F value", "Pr(>F)"])
    heading = (f"Single term deletions, {method} degrees of freedom", "", "Model:", fit.formula.expanded)
    return ResultTable(heading, frame, (), {"F value": 4})


def ranova(fit: FittedModel) -> ResultTable:
    """Likelihood-ratio test of each random-effects term, or of each variable left of a bar.

    REML fits are compared by their restricted likelihoods: the fixed effects are the same. ``Pr(>Chibarsq)`` allows
    for variances on their boundary.

    Returns
    -------
    ResultTable
        npar, logLik, AIC, LRT, Df, Pr(>Chisq), Pr(>Chibarsq).
    """
    full = as_member(fit, "the model")
    blank = {"LRT": np.nan, "Df": np.nan, "Pr(>Chisq)": np.nan, CHIBAR: np.nan}
    rows, notes = {"<none>": {"npar": full.df, "logLik": fit.loglik, "AIC": fit.aic} | blank}, []
    for reduction in random_reductions(fit.model):
        if reduction.terms:
            model: Any = _fit_like(fit, with_random_terms(fit.model, reduction.terms))
        else:
            model = without_random(fit)
        small = as_member(model, "")
        row = {"npar": float(small.df), "logLik": small.loglik, "AIC": -2 * small.loglik + 2 * small.df}
        statistic, df = max(0.0, 2.0 * (fit.loglik - small.loglik)), full.df - small.df
        tested = structure_of(small, full)
        row |= {"LRT": statistic, "Df": float(df), "Pr(>Chisq)": chi2_tail(statistic, df)}
        row[CHIBAR] = tested.p_value(statistic, df) if tested.kind != "unknown" else np.nan
        note = boundary_note(reduction.label, tested, statistic, df)
        notes += [note] if note else []
        rows[reduction.label] = row
    heading = ("ANOVA-like table for random-effects: Single term deletions", "", "Model:", fit.formula.expanded)
    return ResultTable(heading, pd.DataFrame.from_dict(rows, orient="index"), tuple(notes), {"LRT": 4})


# -- information criteria --------------------------------------------------------------------------------------------


def compare_models(
    *models: Any, criterion: str = "AIC", refit: bool = True, names: Sequence[str] | None = None
) -> ResultTable:
    r"""Information criteria of several models, best first, with Akaike weights.

    :math:`AICc = AIC + 2k(k+1)/(n-k-1)`, :math:`w_i \propto \exp(-\Delta_i/2)` with :math:`\Delta` by ``criterion``.

    Parameters
    ----------
    *models
        As for :func:`anova`; they need not be nested.
    criterion : {"AIC", "AICc", "BIC"}
    refit, names
        As for :func:`anova`.
    """
    if criterion not in ("AIC", "AICc", "BIC"):
        raise ArgumentError(f"criterion must be 'AIC', 'AICc' or 'BIC', not {criterion!r}")
    if len(models) < 2:
        raise ArgumentError("compare_models() needs at least two models")
    if names is not None and len(names) != len(models):
        raise ArgumentError(f"names has {len(names)} entries for {len(models)} models")
    labels = list(names) if names is not None else caller_names(models)
    refitted = refit and any(is_fit(m) and m.reml for m in models)
    members = _members([m.refit_ml() if refitted and is_fit(m) else m for m in models], labels, names)
    check_same_data(members)
    n = next((m.nobs for m in members if m.nobs), None)
    if n is None:
        raise ArgumentError("no model says how many observations it has; give Reference(loglik, df, nobs)")
    frame = pd.DataFrame({"npar": [m.df for m in members], "logLik": [m.loglik for m in members]}, index=labels)
    k, deviance = frame["npar"], -2.0 * frame["logLik"]
    frame["AIC"] = deviance + 2 * k
    frame["AICc"] = (frame["AIC"] + 2.0 * k * (k + 1) / (n - k - 1)).where(n - k - 1 > 0)
    frame["BIC"] = deviance + k * np.log(n)
    frame["delta"] = frame[criterion] - frame[criterion].min()
    likelihood = np.exp(-0.5 * frame["delta"])
    frame["weight"] = likelihood / likelihood.sum()
    heading = tuple([REFITTED] * refitted + _model_lines(members))
    notes = (f"delta and weight by {criterion}", *_warnings(members))
    order = frame["delta"].sort_values(kind="stable").index
    return ResultTable(heading, frame.loc[order], notes, {"weight": 4, "delta": 3})
