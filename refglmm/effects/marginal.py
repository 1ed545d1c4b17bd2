r"""Average marginal effects and average means: what a change of one variable does to the mean, averaged over the data.

Place in the reading order: last of ``effects``. With :math:`m_i` the mean of row i (random effects zero or
integrated out, :mod:`.scales`),

.. math:: \text{number } x:\ \frac1n \sum_i \frac{\partial m_i}{\partial x}, \qquad
          \text{factor } f:\ \frac1n \sum_i \{m_i(f = b) - m_i(f = a)\}, \qquad
          \text{mean: } \frac1n \sum_i m_i(f = b)

over the rows used, each with its own values of the other variables. Standard errors are those of the delta method,
:math:`\sqrt{J C J'}` with J the average of the rows' derivatives and C the covariance of (par, beta). The covariates
are taken as given. Intervals of means are made on the link scale, those of effects are symmetric.

Source: Lane and Nelder (1982), "Analysis of covariance and standardization as instances of prediction"; Zeger, Liang
and Albert (1988).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.effects import tables
from refglmm.effects.contrasts import families
from refglmm.effects.derivatives import row_derivatives
from refglmm.effects.grid import (
    Rows,
    Variable,
    check_at,
    find_variable,
    model_variables,
    offset_at,
    parse_names,
    rows_at,
)
from refglmm.effects.scales import (
    check_level,
    check_type,
    critical_values,
    drawn,
    linear_predictor,
    mean_interval,
    means,
    slopes,
)
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.fit.parts import refuse_several
from refglmm.fit.population import check_integrable, delta_se, in_parameters, parameter_covariance
from refglmm.inference.denominator_df import coefficient_df, covariance_for, resolve_method

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class AverageEffects(tables.Tabled):
    """Average marginal effects (:func:`marginal_effects`) or average means (:func:`marginal_means`).

    Attributes
    ----------
    fit : FittedModel
    title : str
    type : {"response", "link"}
    re : {"zero", "integrate"}
    level : float
    jacobian : float array, shape (rows, n_par + p)
        Derivatives of the estimates in (par, beta).
    covariance : DataFrame
        Covariance matrix of the estimates.
    notes : tuple of str
    table : DataFrame
        Variable and contrast (or level), estimate, SE, df, lower.CL, upper.CL, and for effects z.ratio, p.value.
    """

    fit: FittedModel
    title: str
    type: str
    re: str
    level: float
    jacobian: FloatArray
    covariance: pd.DataFrame
    notes: tuple[str, ...]
    _table: pd.DataFrame

    def __str__(self) -> str:
        return tables.text((self.title,), self._table, self.notes)

    def _repr_html_(self) -> str:
        return tables.html((self.title,), self._table, self.notes)


# --- the rows averaged over ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Sample:
    """Data to average over: the rows of a fit that have positive weight."""

    fit: FittedModel
    variables: Mapping[str, Variable]
    used: NDArray[np.int64]
    frame: pd.DataFrame
    offset: float | None

    def with_values(self, values: Mapping[str, Any]) -> pd.DataFrame:
        """The rows with one value for all in some columns."""
        n = len(self.frame)
        return self.frame.assign(**{name: self.variables[name].typed([v] * n) for name, v in values.items()})

    def rows(self, values: Mapping[str, Any]) -> Rows:
        """The rows of the model with one value for all in some variables; offsets stay those of the data."""
        frame = self.with_values(values)
        offset = offset_at(self.fit, frame, list(values), self.used) if self.offset is None else self.offset
        return rows_at(self.fit, frame, offset)


def _sample(fit: FittedModel, offset: float | None) -> _Sample:
    refuse_several(fit, "average marginal effects", "fit.predict(type=...) has every part of it")
    used = np.flatnonzero(np.asarray(fit.frame.weights) > 0)
    return _Sample(fit, model_variables(fit), used, fit.frame.data.iloc[used].reset_index(drop=True), offset)


def _scenarios(sample: _Sample, at: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """One mapping of values per combination that ``at`` gives."""
    given = check_at(sample.variables, at)
    return [dict(zip(given, combination)) for combination in product(*given.values())]


def _groups(sample: _Sample, by: Any) -> tuple[tuple[str, ...], list[tuple[tuple[Any, ...], NDArray[np.int64]]]]:
    """Names that separate the averages, and the rows of each of their combinations."""
    names = () if by is None else tuple(parse_names(by, "by")[0])
    for name in names:
        find_variable(sample.variables, name, "by")
    found = families(sample.frame, names) if len(names) != 1 else _by_one(sample, names[0])
    return names, [(key, np.asarray(index)) for key, index in found]


def _by_one(sample: _Sample, name: str) -> list[tuple[tuple[Any, ...], Any]]:
    variable = sample.variables[name]
    codes = variable.codes(variable.values)[sample.used]
    return [((v,), np.flatnonzero(codes == i)) for i, v in enumerate(variable.values) if np.any(codes == i)]


def _per_row(fit: FittedModel, rows: Rows, type: str, re: str) -> tuple[FloatArray, FloatArray]:
    """Mean (or linear predictor) of each row with its derivatives in (par, beta)."""
    if not rows.estimable.all():
        raise NotAvailableError(
            f"not estimable: some rows need {', '.join(fit.design.dropped)}, dropped from the model; restrict "
            "them with at=, or leave the term out"
        )
    if type == "response":
        return means(fit, rows, re)
    return linear_predictor(fit, rows), in_parameters(fit, np.ones(len(rows.L)), rows.L)


def _per_row_slope(fit: FittedModel, rows: Rows, along: Rows, type: str, re: str) -> tuple[FloatArray, FloatArray]:
    if type == "response":
        return slopes(fit, rows, along, re)
    return linear_predictor(fit, along), in_parameters(fit, np.ones(len(along.L)), along.L)


# --- effects and means --------------------------------------------------------------------------------------


def marginal_effects(
    fit: FittedModel,
    variables: Any = None,
    *,
    at: Mapping[str, Any] | None = None,
    by: Any = None,
    type: str = "response",
    re: str = "zero",
    level: float = 0.95,
    ddf: Any = "auto",
    offset: float | None = None,
) -> AverageEffects:
    """Average marginal effects: derivatives for numbers, differences from the first level for factors.

    Parameters
    ----------
    fit : FittedModel
    variables : str or list of str, optional
        All variables of the fixed part by default.
    at : mapping, optional
        Variable -> value or values that all rows are given; one set of effects per combination.
    by : str or list of str, optional
        Average within groups of rows.
    type : {"response", "link"}
    re : {"zero", "integrate"}
        Means of groups whose random effects are zero, or of the population (random effects integrated out).
    level : float
    ddf : str or number
        Degrees of freedom of linear mixed models (see :func:`lsmeans`); infinite for others.
    offset : float, optional
        In place of the rows' own offsets, on the link scale.

    Returns
    -------
    AverageEffects

    Raises
    ------
    ArgumentError
        Unknown variable or level.
    NotAvailableError
        Effects that the rank-deficient model does not determine; a link that cannot be integrated; a posterior.
    """
    _check(fit, type, re, level, ddf)
    sample = _sample(fit, offset)
    fixed = [name for name, variable in sample.variables.items() if variable.fixed]
    names = fixed if variables is None else parse_names(variables, "variables")[0]
    for name in names:
        if not find_variable(sample.variables, name, "variables").fixed:
            raise ArgumentError(f"variables: {name!r} has no part in the fixed effects", variable=name)
    by_names, groups = _groups(sample, by)
    pieces = []
    for values in _scenarios(sample, at):
        for name in (name for name in names if name not in values):
            for contrast, value, jacobian in _effects_of(sample, sample.variables[name], values, type, re):
                head = {"variable": name, "contrast": contrast, **values}
                pieces += _averages(head, by_names, groups, value, jacobian)
    if not names:
        raise NotAvailableError(
            "no variable has a part in the fixed effects, so there is no effect; marginal_means gives the average mean"
        )
    if not pieces:
        raise ArgumentError("variables: every one of them is held by at=; nothing is left to change")
    return _result(fit, "Average marginal effects", pieces, type, re, level, ddf, tested=True)


def _effects_of(
    sample: _Sample, variable: Variable, values: Mapping[str, Any], type: str, re: str
) -> list[tuple[str, FloatArray, FloatArray]]:
    """Effects of one variable on every row: name, values (n,), derivatives (n, n_par + p)."""
    fit = sample.fit
    if variable.numeric:
        along = row_derivatives(fit, sample.with_values(values), variable.name)
        value, jacobian = _per_row_slope(fit, sample.rows(values), along, type, re)
        return [("dY/dx", value, jacobian)]
    first, *others = variable.values

    def at(level: Any) -> tuple[FloatArray, FloatArray]:
        return _per_row(fit, sample.rows({**values, variable.name: level}), type, re)

    base, base_jacobian = at(first)
    out = []
    for other in others:
        value, jacobian = at(other)
        out.append((f"{other} - {first}", value - base, jacobian - base_jacobian))
    return out


def marginal_means(
    fit: FittedModel,
    specs: Any = None,
    *,
    at: Mapping[str, Any] | None = None,
    by: Any = None,
    type: str = "response",
    re: str = "integrate",
    level: float = 0.95,
    ddf: Any = "auto",
    offset: float | None = None,
) -> AverageEffects:
    """Average means: every row of the data is given each value of ``specs`` in turn, and the means are averaged.

    Unlike :func:`lsmeans`, which takes the mean at the average of the rows of X, this takes the average of the
    means; with ``re="integrate"`` (the default) it is the mean of the population.

    Parameters
    ----------
    fit : FittedModel
    specs : str or list of str, optional
        Factors, or numbers whose values ``at`` gives. None: the mean of the rows as they are.
    at, by, type, re, level, ddf, offset
        As in :func:`marginal_effects`.

    Returns
    -------
    AverageEffects
    """
    _check(fit, type, re, level, ddf)
    sample = _sample(fit, offset)
    wanted = dict(check_at(sample.variables, at))
    for name in [] if specs is None else parse_names(specs, "specs")[0]:
        variable = find_variable(sample.variables, name, "specs")
        if variable.numeric and name not in wanted and len(variable.values) != 2:
            raise ArgumentError(
                f"specs: {name!r} is numeric; name the values to take means at, as in at={{{name!r}: [...]}}",
                variable=name,
            )
        wanted[name] = wanted.get(name, variable.values)
    by_names, groups = _groups(sample, by)
    pieces = []
    for values in _scenarios(sample, wanted):
        value, jacobian = _per_row(fit, sample.rows(values), type, re)
        pieces += _averages(dict(values), by_names, groups, value, jacobian)
    return _result(fit, "Average means", pieces, type, re, level, ddf, tested=False)


def _check(fit: FittedModel, type: str, re: str, level: float, ddf: Any) -> None:
    if drawn(fit):
        raise NotAvailableError(
            "average effects and means over the rows are there for fit() and classic(), not for a posterior; "
            "conditional_effects(), simple_effects() and lsmeans() are"
        )
    check_type(type)
    check_level(level)
    resolve_method(fit, ddf)
    if re not in ("zero", "integrate"):
        raise ArgumentError(f"re must be 'zero' or 'integrate', not {re!r}", re=re)
    if re == "integrate" and type == "response":
        check_integrable(fit.family.link)


def _averages(
    head: dict[str, Any], by: Sequence[str], groups: Sequence[tuple[Any, Any]], value: FloatArray, jacobian: FloatArray
) -> list[tuple[dict[str, Any], float, FloatArray]]:
    """Averages of an effect over each group of rows."""
    return [
        ({**head, **dict(zip(by, key))}, float(value[index].mean()), jacobian[index].mean(axis=0))
        for key, index in groups
    ]


def _result(
    fit: FittedModel,
    title: str,
    pieces: list[tuple[dict[str, Any], float, FloatArray]],
    type: str,
    re: str,
    level: float,
    ddf: Any,
    *,
    tested: bool,
) -> AverageEffects:
    """Standard errors, intervals and tests of averages."""
    from scipy.stats import t as t_distribution

    estimate = np.array([value for _, value, _ in pieces])
    jacobian = np.array([gradient for _, _, gradient in pieces])
    parameters = parameter_covariance(fit)
    joint = parameters.covariance
    df, n_par = np.full(len(estimate), np.inf), len(fit.optimum.par)
    if fit.is_lmm:  # the averages are linear in beta
        joint[n_par:, n_par:] = covariance_for(fit, ddf)
        moved = jacobian.any(axis=1)
        df[moved] = coefficient_df(fit, jacobian[moved, n_par:], ddf)
    covariance = jacobian @ joint @ jacobian.T
    se, critical = delta_se(jacobian, joint), critical_values(level, df)
    if tested or type == "link":
        lower, upper = estimate - critical * se, estimate + critical * se
    else:
        lower, upper = mean_interval(fit.family.link, estimate, se, critical)
    table = pd.DataFrame([head for head, _, _ in pieces])
    table = table.assign(**{"estimate": estimate, "SE": se, "df": df, "lower.CL": lower, "upper.CL": upper})
    if tested:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = estimate / se
        letter = "z.ratio" if np.isinf(df).all() else "t.ratio"
        table = table.assign(**{letter: ratio, "p.value": 2.0 * t_distribution.sf(np.abs(ratio), df)})
    who = "integrated out" if re == "integrate" else "zero"
    scale = "latent" if type == "response" and fit.family.is_ordinal else type
    notes = (
        f"scale: {scale}; random effects {who}; averaged over {_rows_text(fit)}; confidence level {level:g}",
        parameters.note if re == "integrate" and type == "response" else fit.covariance.note,
    )
    frame = pd.DataFrame(covariance)
    return AverageEffects(fit, title, type, re, level, jacobian, frame, tuple(n for n in notes if n), table)


def _rows_text(fit: FittedModel) -> str:
    return f"{int(np.sum(np.asarray(fit.frame.weights) > 0))} rows"
