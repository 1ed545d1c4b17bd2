r"""Estimated marginal means ("least-squares means"): adjusted means of factor levels, and what is made of them.

Place in the reading order: in ``effects``, after ``contrasts``. A mean is :math:`\ell_c'\hat\beta + o` with
:math:`\ell_c` from :mod:`.grid`: covariates at their means (or where ``at`` puts them), the other factors averaged
over. Its standard error is :math:`\sqrt{\ell_c' V \ell_c}` with the full covariance V of the fixed effects.
``type="response"`` carries estimate and interval ends back by :math:`g^{-1}`: that is the mean of a group whose
random effects are zero. ``bias_correct=True`` integrates them out instead (:mod:`.scales`): the mean of the
population.

Source: Searle, Speed and Milliken (1980), "Population marginal means in the linear model: an alternative to least
squares means"; Lenth's emmeans for R shows what users expect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.effects import adjust as adjusting
from refglmm.effects import contrasts as contrasting
from refglmm.effects import tables
from refglmm.effects.contrasts import Contrasts, estimate_rows
from refglmm.effects.grid import (
    WEIGHTS,
    Rows,
    Variable,
    average_weights,
    check_at,
    cross,
    find_variable,
    held_text,
    lost_text,
    model_variables,
    offset_text,
    parse_names,
    rows_at,
)
from refglmm.effects.scales import (
    check_level,
    check_type,
    df_method,
    drawn,
    draws_of,
    mean_interval,
    means,
    on_response,
    scale_name,
)
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.fit.parts import several
from refglmm.fit.population import check_integrable, delta_se, linear_mean, parameter_covariance
from refglmm.inference.denominator_df import covariance_for

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]


# --- results ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Means(tables.Tabled):
    """Estimated marginal means; made by :func:`lsmeans`.

    Attributes
    ----------
    fit : FittedModel
    rows : Rows
        The means as linear functions of the fixed effects.
    labels : DataFrame
        The combinations they belong to.
    specs, by : tuple of str
        Columns asked for; those of them that separate families of comparisons.
    type : {"link", "response"}
    re : {"zero", "integrate"}
        What the random effects are on the response scale ("integrate": ``bias_correct``).
    level : float
    ddf : str or number
    averaging : tuple of str
        What was averaged over and held where.
    comparisons : Contrasts or SimpleEffects or None
        What ``pairwise=True`` or ``simple=`` asked for.
    table : DataFrame
        Columns of the specs, estimate, SE, df, lower.CL, upper.CL; NaN where not estimable.
    """

    fit: FittedModel
    rows: Rows
    labels: pd.DataFrame
    specs: tuple[str, ...]
    by: tuple[str, ...]
    type: str
    re: str
    level: float
    ddf: Any
    averaging: tuple[str, ...]
    comparisons: Contrasts | SimpleEffects | None
    _table: pd.DataFrame

    def confint(self, level: float | None = None, adjust: str = "none") -> pd.DataFrame:
        """Return the table with other intervals.

        Parameters
        ----------
        level : float, optional
        adjust : {"none", "sidak", "bonferroni", "mvt"}
            Whether each interval holds alone, or all of a family (see ``by``) together.
        """
        if adjusting.check_method(adjust) not in ("none", "sidak", "bonferroni", "mvt"):
            raise ArgumentError(f"intervals of means are adjusted by 'sidak', 'bonferroni' or 'mvt', not {adjust!r}")
        if adjust != "none" and drawn(self.fit):
            raise ArgumentError(f"intervals from a posterior are not adjusted; leave adjust={adjust!r} out")
        chosen = check_level(self.level if level is None else level)
        return _means_table(self.fit, self.rows, self.labels, self.by, self.type, self.re, chosen, self.ddf, adjust)

    def contrasts(
        self,
        method: Any = "pairwise",
        *,
        adjust: str | None = None,
        by: Sequence[str] | None = None,
        level: float | None = None,
        type: str | None = None,
        reference: Any = None,
        differences: bool = False,
        protect: bool = False,
    ) -> Contrasts:
        """Compare the means within each family.

        Parameters
        ----------
        method : str, mapping or matrix
            "pairwise", "revpairwise", "consecutive", "trt.vs.ctrl" (see ``reference``), "eff" (from their average),
            "poly" (orthogonal polynomials), a mapping name -> coefficients, or a matrix with one column a mean.
        adjust : {"tukey", "holm", "sidak", "bonferroni", "mvt", "fdr", "none"}, optional
            For p-values and intervals (:mod:`refglmm.effects.adjust`). By default tukey for pairs, mvt for
            consecutive and trt.vs.ctrl, fdr for eff, none for others.
        by : sequence of str, optional
            Columns that separate the families; those of :func:`lsmeans` by default.
        level, type : optional
            As for the means; with type "response" log and logit differences become (odds) ratios.
        reference : label or position, optional
            The control; the first by default.
        differences : bool
            Compare the means on the response scale (risk differences), by the delta method.
        protect : bool
            Set p-values of families whose joint test is not significant to 1.

        Raises
        ------
        ArgumentError
            Unknown method, adjustment or column; wrong number of coefficients.
        """
        return contrasting.contrasts(
            self,
            method,
            by=by,
            adjust=adjust,
            level=level,
            type=type,
            reference=reference,
            differences=differences,
            protect=protect,
        )

    def simple(
        self, variable: str, method: Any = "pairwise", *, adjust: str | None = "holm", protect: bool = False, **how: Any
    ) -> SimpleEffects:
        """Simple main effects of one variable at each combination of the others.

        Parameters
        ----------
        variable : str
            Whose levels are compared.
        method, adjust, protect, how
            As for :meth:`contrasts`.

        Returns
        -------
        SimpleEffects
            Joint test and comparisons at each combination of the other variables.
        """
        if drawn(self.fit):
            raise NotAvailableError(
                "simple main effects are tests, which a posterior has not; compare the means at each combination of "
                "the others by contrasts(by=[...])"
            )
        if variable not in self.labels:
            raise ArgumentError(
                f"simple: {variable!r} is not among the variables of these means ({', '.join(self.labels.columns)})",
                variable=variable,
            )
        others = tuple(name for name in self.labels.columns if name != variable)
        if not others:
            raise ArgumentError(
                f"simple effects of {variable!r} need another variable to hold; these means have none",
                variable=variable,
            )
        pairs = self.contrasts(method, by=others, adjust=adjust, protect=protect, **how)
        return SimpleEffects(variable, others, pairs.joint_test(), pairs)

    def joint_test(self) -> pd.DataFrame:
        """Test that all means of each family are equal: by columns, F or Chisq, num_df, den_df, p.value."""
        return self.contrasts("consecutive", adjust="none", type="link").joint_test()

    def _notes(self) -> tuple[str, ...]:
        method = df_method(self.fit, self.ddf)
        lost = [
            " ".join(tables.short(v) for v in row) for row in self.labels[~self.rows.estimable].astype(object).values
        ]
        return (
            *self.averaging,
            _scale_note(self.fit, self.type, self.re),
            "" if method == "inf" else f"degrees of freedom: {method}",
            f"confidence level: {self.level:g}",
            lost_text(self.fit, lost),
        )

    def __str__(self) -> str:
        shown = tables.text((), self._table, self._notes(), self.by)
        return shown if self.comparisons is None else f"{shown}\n\n{self.comparisons}"

    def _repr_html_(self) -> str:
        shown = tables.html((), self._table, self._notes())
        return shown if self.comparisons is None else shown + self.comparisons._repr_html_()


@dataclass(frozen=True, eq=False, repr=False)
class SimpleEffects:
    """Simple main effects of one variable.

    Attributes
    ----------
    variable : str
        Whose levels are compared.
    at : tuple of str
        The variables held.
    contrasts : Contrasts
        Comparisons at each combination of their levels.
    """

    variable: str
    at: tuple[str, ...]
    _tests: pd.DataFrame
    contrasts: Contrasts

    @property
    def tests(self) -> pd.DataFrame:
        """Columns held, F or Chisq, num_df, den_df, p.value of the joint test there (a copy)."""
        return self._tests.copy()

    @property
    def table(self) -> pd.DataFrame:
        """The comparisons (a copy)."""
        return self.contrasts.table

    def __str__(self) -> str:
        head = f"Simple main effects of {self.variable} at each {' x '.join(self.at)}"
        return f"{tables.text((head,), self._tests, ())}\n\n{self.contrasts}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        head = f"Simple main effects of {self.variable} at each {' x '.join(self.at)}"
        return tables.html((head,), self._tests, ()) + self.contrasts._repr_html_()


# --- making them --------------------------------------------------------------------------------------------


def lsmeans(
    fit: FittedModel,
    specs: Any,
    *,
    at: Mapping[str, Any] | None = None,
    by: Any = None,
    type: str = "link",
    weights: str = "equal",
    level: float = 0.95,
    ddf: Any = "auto",
    offset: float | None = None,
    bias_correct: bool = False,
    pairwise: bool = False,
    simple: str | None = None,
    adjust: str = "holm",
    protect: bool = False,
) -> Means:
    """Estimated marginal means of the levels of one or more variables.

    Parameters
    ----------
    fit : FittedModel, or a fit with a posterior
        Of a posterior the table has no degrees of freedom, comparisons no p-values and no adjustment.
    specs : str or list of str
        Variables, as in ``"a"``, ``"a:b"``, ``"a | b"`` (b separates families) or ``["a", "b"]``: factors, numbers
        with two distinct values, or numbers whose values ``at`` gives.
    at : mapping, optional
        Variable -> value or values, in place of all levels of a factor or the mean of a number. Variables not in
        ``specs`` are averaged over their values.
    by : str or list of str, optional
        Further variables; comparisons are made within each combination of their levels.
    type : {"link", "response"}
        Scale of estimates and intervals; intervals are made on the link scale.
    weights : {"equal", "proportional", "outer", "cells"}
        Of the factors averaged over: all combinations alike, by how often they occur, by the product of how often
        their levels occur, by how often they occur in each combination asked for. Rows are counted with the
        ``weights=`` of the fit.
    level : float
    ddf : {"auto", "satterthwaite", "kenward-roger", "residual", "inf"} or number
        Degrees of freedom; "auto" is Satterthwaite for linear mixed models and infinite otherwise.
    offset : float, optional
        In place of the model's offset, on the link scale; 0 gives rates. By default the offset stands at its mean
        over the rows used; an ``offset()`` term one of whose variables is in ``at`` is evaluated there.
    bias_correct : bool
        With ``type="response"``: integrate the random effects out instead of setting them to zero.
    pairwise : bool
        Add all pairwise comparisons, as ``comparisons`` of the result.
    simple : str, optional
        Add the simple main effects of this variable at each combination of the others.
    adjust, protect
        Of those comparisons (see :meth:`Means.contrasts`).

    Returns
    -------
    Means
        ``table``, ``contrasts()``, ``simple()``, ``joint_test()``, ``confint()``.

    Raises
    ------
    ArgumentError
        Naming an unknown variable or level, or a number without values.

    Examples
    --------
    ``lsmeans(fit, "period", type="response").contrasts()`` compares all periods by odds ratios with Tukey's
    adjustment.
    """
    check_type(type)
    if weights not in WEIGHTS:
        raise ArgumentError(f"weights must be one of {', '.join(WEIGHTS)}, not {weights!r}", weights=weights)
    if bias_correct and type != "response":
        raise ArgumentError(
            "bias_correct=True averages over the random effects on the response scale; add type='response'"
        )
    if bias_correct:
        check_integrable(fit.family.link)
    level = check_level(level)
    re = "integrate" if bias_correct and not linear_mean(fit) else "zero"
    df_method(fit, ddf)
    variables = model_variables(fit)
    asked, families = _names_asked(variables, specs, by)
    grid = _grid(variables, (*asked, *families), check_at(variables, at))
    rows, labels = _mean_rows(fit, grid, weights, offset), cross(variables, grid.asked)
    averaging = _averaging(fit, grid, weights, offset)
    frame = _means_table(fit, rows, labels, families, type, re, level, ddf, "none")
    plain = Means(fit, rows, labels, asked, families, type, re, level, ddf, averaging, None, frame)
    if simple is not None:
        return replace(plain, comparisons=plain.simple(simple, adjust=adjust, protect=protect))
    if pairwise:
        return replace(plain, comparisons=plain.contrasts(adjust=adjust, protect=protect))
    return plain


def _names_asked(variables: Mapping[str, Variable], specs: Any, by: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of specs and by, all of them variables of the fixed part."""
    if isinstance(specs, str) and specs in variables:
        asked, behind = [specs], list[str]()
    else:
        asked, behind = parse_names(specs, "specs")
    families = [*behind, *(parse_names(by, "by")[0] if by is not None else [])]
    for argument, names in (("specs", asked), ("by", families)):
        for name in names:
            if not find_variable(variables, name, argument).fixed:
                raise ArgumentError(f"{argument}: {name!r} has no part in the fixed effects", variable=name)
    asked = [name for name in asked if name not in families]
    if not asked:
        raise ArgumentError("every variable of specs is in by: name one to take means of")
    return tuple(asked), tuple(families)


@dataclass(frozen=True, eq=False)
class _Grid:
    """Values of all variables of a model: of those asked for, of those averaged over, of those held at one value."""

    variables: Mapping[str, Variable]
    asked: dict[str, list[Any]]
    over: dict[str, list[Any]]
    held: dict[str, list[Any]]
    counted: dict[str, Variable]
    named: frozenset[str]


def _grid(variables: Mapping[str, Variable], names: Sequence[str], at: Mapping[str, list[Any]]) -> _Grid:
    asked: dict[str, list[Any]] = {}
    over: dict[str, list[Any]] = {}
    held: dict[str, list[Any]] = {}
    for name in names:
        variable = variables[name]
        if variable.numeric and name not in at and len(variable.values) != 2:
            raise ArgumentError(
                f"specs: {name!r} is numeric; name the values to take means at, as in at={{{name!r}: [...]}}, or use "
                "marginal_effects or simple_effects for its slope",
                variable=name,
            )
        asked[name] = at.get(name, variable.values)
    for name in (name for name in variables if name not in asked):
        variable = variables[name]
        levels = variable.values if variable.categorical and variable.fixed else [variable.baseline]
        chosen = at.get(name, levels)
        (over if len(chosen) > 1 else held)[name] = chosen
    # A number whose values come from the caller does not occur in the data.
    counted = {n: v for n, v in variables.items() if v.fixed and (v.categorical or (n in asked and n not in at))}
    return _Grid(variables, asked, over, held, counted, frozenset([*names, *at]))


def _mean_rows(fit: FittedModel, grid: _Grid, weights: str, offset: float | None) -> Rows:
    asked = grid.asked | grid.held
    matrix = average_weights(fit, grid.counted, asked, grid.over, weights)
    return rows_at(fit, cross(grid.variables, asked | grid.over), offset, grid.named).average(matrix)


def _averaging(fit: FittedModel, grid: _Grid, weights: str, offset: float | None) -> tuple[str, ...]:
    """Words for what was averaged over and what was held."""
    averaged = f"averaged over {', '.join(grid.over)} ({weights} weights)" if grid.over else ""
    held = held_text(grid.variables, {name: values[0] for name, values in grid.held.items()})
    return tuple(t for t in (averaged, f"held at {held}" if held else "", offset_text(fit, offset, grid.named)) if t)


def _means_table(
    fit: FittedModel,
    rows: Rows,
    labels: pd.DataFrame,
    by: Sequence[str],
    type: str,
    re: str,
    level: float,
    ddf: Any,
    adjust: str,
) -> pd.DataFrame:
    """Estimates with intervals, made on the link scale and carried back (from draws their quantiles)."""
    if drawn(fit):
        numbers = draws_of(fit).row_numbers(rows, type=type, re=re, prob=level)
        shown = {"estimate": "estimate", "se": "SE", "lower": "lower.CL", "upper": "upper.CL"}
        columns = {shown[name]: np.where(rows.estimable, numbers[name], np.nan) for name in shown}
        return labels.reset_index(drop=True).assign(**columns)
    found = estimate_rows(fit, rows, ddf)
    covariance = rows.L @ covariance_for(fit, ddf) @ rows.L.T
    sd = np.sqrt(np.diag(covariance))
    with np.errstate(divide="ignore", invalid="ignore"):
        R = np.nan_to_num(covariance / np.outer(sd, sd))
    critical = np.empty_like(sd)
    for _, index in contrasting.families(labels, by):
        critical[index] = adjusting.critical(level, found.df[index], adjust, len(index), R[np.ix_(index, index)])
    estimate, se = found.estimate, found.se
    lower, upper = estimate - critical * se, estimate + critical * se
    link = fit.family.link
    if type == "response" and re == "integrate":
        value, jacobian = means(fit, rows, re)
        estimate = np.where(rows.estimable, value, np.nan)
        se = np.where(rows.estimable, delta_se(jacobian, parameter_covariance(fit).covariance), np.nan)
        lower, upper = mean_interval(link, estimate, se, critical)
    elif type == "response":
        estimate, se, (lower, upper) = on_response(fit, estimate, se, (lower, upper), rows)
        se = np.where(rows.estimable, se, np.nan)
    numbers = {"estimate": estimate, "SE": se, "df": found.df, "lower.CL": lower, "upper.CL": upper}
    return labels.reset_index(drop=True).assign(**numbers)


def _scale_note(fit: FittedModel, type: str, re: str) -> str:
    link = fit.family.link
    response = fit.frame.formula.response or ""
    if linear_mean(fit):
        return "" if response.isidentifier() else f"estimates are of {response}, as the model has it"
    if type == "link":
        return f"estimates are on the {scale_name(link)} scale"
    note = parameter_covariance(fit).note if re == "integrate" and not drawn(fit) else ""
    who = "the population, random effects integrated out" if re == "integrate" else "a group with random effects zero"
    if several(fit):
        who += " (the conditional model, beside the zero part)"
    back = f"means of {who}; intervals " + (
        "from the posterior" if drawn(fit) else f"made on the {scale_name(link)} scale"
    )
    return f"{back}; {note}" if note else back
