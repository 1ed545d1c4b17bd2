r"""Conditional effects (curves and points of the mean for up to three variables) and simple effects (slopes there).

Place in the reading order: in ``effects``, after ``means``. The first variable of ``effect`` is the focal one (the x
axis), the others are moderators; everything else stands at its baseline (:mod:`.grid`): numbers at their mean,
factors at their most frequent level. The random effects are zero, integrated out (:mod:`.scales`), or at a level of a
grouping factor, where the linear predictor is :math:`x'\hat\beta + z'\tilde b`, with the variance given the covariance
parameters of :mod:`refglmm.fit.variances`. Intervals are made on the link scale.

A simple slope is the exact derivative of the linear predictor in the focal variable, :math:`d'\beta`, at a value m of
the moderator. The Johnson-Neyman region is where :math:`(d(m)'\hat\beta)^2 > c^2\, d(m)'V d(m)`.

Source: Aiken and West (1991), *Multiple regression: testing and interpreting interactions* (mean and one standard
deviation to each side); Johnson and Neyman (1936).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.effects import tables
from refglmm.effects.contrasts import estimate_rows, statistic_name
from refglmm.effects.derivatives import row_derivatives
from refglmm.effects.grid import (
    Rows,
    Variable,
    check_at,
    cross,
    find_variable,
    held_text,
    model_variables,
    offset_text,
    parse_names,
    rows_at,
)
from refglmm.effects.scales import (
    category_levels,
    category_types,
    check_level,
    check_type,
    critical_values,
    df_method,
    drawn,
    draws_of,
    linear_predictor,
    mean_interval,
    means,
    on_response,
    scale_name,
    slopes,
)
from refglmm.errors import ArgumentError
from refglmm.fit.parameters import conditional_modes
from refglmm.fit.parts import refuse_several
from refglmm.fit.population import check_integrable, delta_se, linear_mean, parameter_covariance
from refglmm.fit.rows import Rows as PlacedRows
from refglmm.fit.variances import linear_predictor_variance

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

#: A number with at least this many distinct values is sliced at mean - SD, mean, mean + SD as a moderator.
MANY_VALUES = 6
#: Rows of a table that are printed.
MOST_ROWS = 20
#: Places at which the Johnson-Neyman search looks for a change of sign first.
SCAN = 401
#: Column of the categories of an ordinal response.
CATEGORY = "category"


@dataclass(frozen=True, eq=False)
class _Setting:
    """What both functions work on: the grid of an effect and words about it."""

    variables: Mapping[str, Variable]
    focal: str
    values: dict[str, list[Any]]
    moderator_texts: dict[str, str]
    held: dict[str, Any]
    named: frozenset[str]

    @property
    def moderators(self) -> tuple[str, ...]:
        return tuple(name for name in self.values if name != self.focal)


def _setting(
    fit: FittedModel, effect: Any, at: Any, sd_multiplier: float, sd_slice: bool | None, resolution: int, most: int
) -> _Setting:
    variables = model_variables(fit)
    names = [effect] if isinstance(effect, str) and effect in variables else parse_names(effect, "effect")[0]
    if len(names) > most:
        raise ArgumentError(f"effect {effect!r} has {len(names)} variables; there can be {most}", effect=effect)
    for name in names:
        if not find_variable(variables, name, "effect").fixed:
            raise ArgumentError(f"effect: {name!r} has no part in the fixed effects", variable=name)
    if not isinstance(sd_multiplier, int | float) or not np.isfinite(sd_multiplier) or sd_multiplier <= 0:
        raise ArgumentError(f"sd_multiplier must be a positive number, not {sd_multiplier!r}")
    if isinstance(resolution, bool) or not isinstance(resolution, int | np.integer) or resolution < 2:
        raise ArgumentError(f"resolution must be a whole number of points, at least 2, not {resolution!r}")
    given = check_at(variables, at)
    values, texts = {}, {}
    for i, name in enumerate(names):
        if i == 0:
            values[name] = given.get(name) or _focal_values(variables[name], int(resolution))
        else:
            values[name], texts[name] = _moderator_values(variables[name], given, sd_multiplier, sd_slice)
    several = [name for name, listed in given.items() if name not in names and len(listed) > 1]
    if several:
        raise ArgumentError(f"at: {several[0]!r} is not part of the effect and needs one value", variable=several[0])
    held = {n: given[n][0] if n in given else v.baseline for n, v in variables.items() if n not in names}
    return _Setting(variables, names[0], values, texts, held, frozenset([*names, *given]))


def _focal_values(variable: Variable, resolution: int) -> list[Any]:
    """All levels, or points over the observed range."""
    if variable.categorical:
        return variable.values
    return np.linspace(variable.values[0], variable.values[-1], resolution).tolist()


def _moderator_values(
    variable: Variable, given: Mapping[str, list[Any]], multiplier: float, sd_slice: bool | None
) -> tuple[list[Any], str]:
    """Values of a moderator, never rounded, and what they are called."""
    if variable.name in given:
        listed = given[variable.name]
        return listed, ", ".join(tables.short(v) for v in listed)
    sliced = variable.numeric and (len(variable.values) >= MANY_VALUES if sd_slice is None else sd_slice)
    if not sliced:
        return variable.values, ", ".join(tables.short(v) for v in variable.values)
    sd = float(variable.column.std())
    name = f"{multiplier:g} SD"
    return [variable.mean + k * multiplier * sd for k in (-1, 0, 1)], f"mean - {name}, mean, mean + {name}"


def _grid_frame(setting: _Setting) -> pd.DataFrame:
    return cross(setting.variables, {**setting.values, **{name: [value] for name, value in setting.held.items()}})


# --- random effects at a level ------------------------------------------------------------------------------


def _check_re(fit: FittedModel, re: Any) -> dict[str, str]:
    """Levels that ``re`` asks for, by grouping factor; empty for "zero" and "integrate"."""
    if isinstance(re, str) and re in ("zero", "integrate"):
        if re == "integrate":
            check_integrable(fit.family.link)
        return {}
    if not isinstance(re, Mapping) or not re:
        raise ArgumentError(f"re must be 'zero', 'integrate' or a mapping group -> level, not {re!r}", re=re)
    known = {term.group: term.levels for term in fit.design.terms}
    for group, level in re.items():
        if group not in known:
            raise ArgumentError(f"re: no grouping factor {group!r}; there are: {', '.join(known)}", group=group)
        if str(level) not in set(known[group].astype(str)):
            some = ", ".join(map(str, known[group][:8])) + (", ..." if len(known[group]) > 8 else "")
            raise ArgumentError(f"re: {level!r} is not a level of {group!r} ({some})", group=group, level=level)
    return {group: str(level) for group, level in re.items()}


def at_level(fit: FittedModel, rows: Rows, levels: Mapping[str, str]) -> tuple[FloatArray, FloatArray]:
    """Linear predictor at some levels of the grouping factors (others zero), and its standard errors."""
    refuse_several(fit, "an effect at a level of a grouping factor", "fit.predict(type=...) has every part of it")
    m = len(rows.offset)
    Z, codes, eta = [], [], linear_predictor(fit, rows)
    for term, values, modes in zip(fit.design.terms, rows.Z, conditional_modes(fit), strict=True):
        chosen = term.group in levels
        code = list(term.levels.astype(str)).index(levels[term.group]) if chosen else 0
        Z.append(values if chosen else np.zeros_like(values))
        codes.append(np.full(m, code))
        eta = eta + Z[-1] @ modes[code]
    placed = PlacedRows(pd.RangeIndex(m), rows.L, rows.offset, tuple(Z), tuple(codes))
    return eta, np.sqrt(linear_predictor_variance(fit, placed))


# --- conditional effects ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class ConditionalEffects(tables.Tabled):
    """The mean as a function of one to three variables; made by :func:`conditional_effects`.

    Attributes
    ----------
    fit : FittedModel
    effect : str
    focal : str
    moderators : tuple of str
    moderator_values : dict
        Name -> values, unrounded.
    held : dict
        Where the other variables stand.
    type : {"link", "response"}
    prob : float
    re : str or dict
    notes : tuple of str
    table : DataFrame
        Columns of the effect, estimate, se, lower, upper; se on the scale of the estimate.
    """

    fit: FittedModel
    effect: str
    focal: str
    moderators: tuple[str, ...]
    moderator_values: dict[str, list[Any]]
    held: dict[str, Any]
    type: str
    prob: float
    re: Any
    notes: tuple[str, ...]
    focal_categorical: bool
    _header: tuple[str, ...]
    _table: pd.DataFrame

    def _shown(self) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """The rows that are printed, all or every so many, and the notes."""
        step = -(-len(self._table) // MOST_ROWS)
        if step <= 1:
            return self._table, self.notes
        note = f"{len(self._table)} rows, shown is one in {step}; .table has all"
        return self._table.iloc[::step], (note, *self.notes)

    def __str__(self) -> str:
        return tables.text(self._header, *self._shown())

    def _repr_html_(self) -> str:
        return tables.html(self._header, *self._shown())


def conditional_effects(
    fit: FittedModel,
    effect: Any,
    *,
    prob: float = 0.95,
    sd_multiplier: float = 1.0,
    sd_slice: bool | None = None,
    resolution: int = 100,
    at: Mapping[str, Any] | None = None,
    re: Any = "zero",
    type: str = "response",
    ddf: Any = "auto",
    offset: float | None = None,
) -> ConditionalEffects:
    """The mean as one variable changes, at values of up to two others.

    Parameters
    ----------
    fit : FittedModel, or a fit with a posterior
        Of a posterior estimates are means of the draws and intervals quantiles; of its mode, the value at the mode.
    effect : str
        ``"a"``, ``"a:b"`` or ``"a:b:c"``: the focal variable, then the moderators.
    prob : float
        Coverage of the intervals.
    sd_multiplier : float
        A numeric moderator stands at mean - this many SDs, mean, mean + this many SDs ...
    sd_slice : bool, optional
        ... if True; at all of its values if False; by default if it has six or more.
    resolution : int
        Points of a numeric focal variable, over its observed range.
    at : mapping, optional
        Variable -> value or values: of the focal variable or a moderator in place of the above, of others in place
        of their baseline (mean, most frequent level).
    re : {"zero", "integrate"} or mapping
        Random effects: zero; integrated out (population mean); or group -> level (others zero).
    type : {"response", "link"}
        Of an ordinal model with a posterior also "prob", the probability of each category, and "score", the expected
        category.
    ddf : str or number
        As in :func:`lsmeans`; of intervals with random effects zero.
    offset : float, optional
        In place of the model's offset, on the link scale.

    Returns
    -------
    ConditionalEffects
        ``table``; :func:`refglmm.plots.plot_conditional_effects` draws it.

    Raises
    ------
    ArgumentError
        Unknown variable, level or grouping factor; more than three variables.
    """
    type = "prob" if type == "category" else type
    check_type(type, category_types(fit))
    prob, levels = check_level(prob, "prob"), _check_re(fit, re)
    if re == "integrate" and type == "link":
        raise ArgumentError("re='integrate' averages means of the response; use type='response'")
    df_method(fit, ddf)
    setting = _setting(fit, effect, at, sd_multiplier, sd_slice, resolution, 3)
    rows = rows_at(fit, _grid_frame(setting), offset, setting.named)
    numbers = _curve(fit, rows, levels or re, type, prob, ddf)
    table = _effect_table(fit, cross(setting.variables, setting.values), numbers)
    text = ":".join(setting.values)
    held = held_text(setting.variables, setting.held)
    notes = (
        f"held at {held}" if held else "",
        offset_text(fit, offset, setting.named),
        f"random effects: {_re_text(re)}; scale: {_scale_text(fit, type)}; {prob:g} intervals",
    )
    categories = {CATEGORY: category_levels(fit)} if type == "prob" else {}
    return ConditionalEffects(
        fit=fit,
        effect=text,
        focal=setting.focal,
        moderators=(*setting.moderators, *categories),
        moderator_values={name: list(setting.values[name]) for name in setting.moderators} | categories,
        held=dict(setting.held),
        type=type,
        prob=prob,
        re=re if isinstance(re, str) else dict(levels),
        notes=notes,
        focal_categorical=setting.variables[setting.focal].categorical,
        _header=_header(text, setting),
        _table=table,
    )


def _effect_table(fit: FittedModel, grid: pd.DataFrame, numbers: dict[str, FloatArray]) -> pd.DataFrame:
    """The grid with its numbers; those of categories one below the other."""
    if numbers["estimate"].ndim == 1:
        return grid.assign(**numbers)
    levels = category_levels(fit)
    repeated = pd.concat([grid] * len(levels), ignore_index=True)
    columns = {name: values.T.ravel() for name, values in numbers.items()}
    return repeated.assign(**{CATEGORY: np.repeat(levels, len(grid))}, **columns)


def _scale_text(fit: FittedModel, type: str) -> str:
    """What a table says its scale is."""
    if type in ("prob", "score"):
        return {"prob": "probability of each category", "score": "expected category"}[type]
    if fit.family.is_ordinal:
        return "latent"
    return "response" if type == "response" or fit.family.link.name == "identity" else scale_name(fit.family.link)


def _header(text: str, setting: _Setting) -> tuple[str, ...]:
    lines = [f"Conditional effects for: {text}", f"focal variable: {setting.focal}"]
    for name in setting.moderators:
        lines += [f"moderator: {name}", f"moderator values: {setting.moderator_texts[name]}"]
    return tuple(lines)


def _re_text(re: Any) -> str:
    if isinstance(re, str):
        return {"zero": "zero", "integrate": "integrated out"}[re]
    return ", ".join(f"{group} = {level}" for group, level in re.items()) + " (others zero)"


def _curve(fit: FittedModel, rows: Rows, re: Any, type: str, prob: float, ddf: Any) -> dict[str, FloatArray]:
    """Estimate, se, lower, upper of each row."""
    if drawn(fit):
        found_here = draws_of(fit).row_numbers(rows, type=type, re=re, prob=prob)
        return _masked(rows, {name: found_here[name] for name in ("estimate", "se", "lower", "upper")})
    link = fit.family.link
    normal = critical_values(prob, np.full(len(rows.offset), np.inf))
    if re == "integrate" and not linear_mean(fit):
        value, jacobian = means(fit, rows, re)
        se = delta_se(jacobian, parameter_covariance(fit).covariance)
        lower, upper = mean_interval(link, value, se, normal)
        return _masked(rows, {"estimate": value, "se": se, "lower": lower, "upper": upper})
    if isinstance(re, Mapping):
        eta, se = at_level(fit, rows, re)
        critical = normal
    else:
        found = estimate_rows(fit, rows, ddf)
        eta, se, critical = found.estimate, found.se, critical_values(prob, found.df)
    lower, upper = eta - critical * se, eta + critical * se
    if type == "response":
        placed = None if isinstance(re, Mapping) else rows
        eta, se, (lower, upper) = on_response(fit, eta, se, (lower, upper), placed)
    return _masked(rows, {"estimate": eta, "se": se, "lower": lower, "upper": upper})


def _masked(rows: Rows, numbers: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """NaN where a combination is not estimable."""
    return {
        name: np.where(rows.estimable if values.ndim == 1 else rows.estimable[:, None], values, np.nan)
        for name, values in numbers.items()
    }


# --- simple effects -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class SimpleSlopes(tables.Tabled):
    """Slopes (or differences of levels) of the focal variable at values of a moderator.

    Attributes
    ----------
    fit : FittedModel
    effect, focal, moderator : str
    type : {"link", "response"}
    prob : float
    region : JohnsonNeyman or None
        Where the slope differs from zero; for a numeric moderator and a slope (or two levels) on the link scale.
    notes : tuple of str
    table : DataFrame
        Columns moderator, value, term, estimate, se, lower, upper, df, t (or z), p; from draws pd, the probability of
        the more probable sign, in place of the last three.
    """

    fit: FittedModel
    effect: str
    focal: str
    moderator: str
    type: str
    prob: float
    region: JohnsonNeyman | None
    notes: tuple[str, ...]
    _table: pd.DataFrame

    def _lines(self) -> tuple[str, ...]:
        return (*self.notes, "" if self.region is None else str(self.region))

    def __str__(self) -> str:
        return tables.text(("--- Simple Effects Analysis ---",), self._table, self._lines())

    def _repr_html_(self) -> str:
        return tables.html(("Simple Effects Analysis",), self._table, self._lines())


@dataclass(frozen=True)
class JohnsonNeyman:
    """Values of a moderator at which an effect differs from zero.

    Attributes
    ----------
    moderator, term : str
    bounds : tuple of float
        Where significance changes within the observed range, ascending.
    intervals : tuple of pairs of float
        Where the effect differs from zero, within the observed range.
    low, high : float
        The observed range.
    level : float
    """

    moderator: str
    term: str
    bounds: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]
    low: float
    high: float
    level: float

    def __str__(self) -> str:
        where = " and ".join(f"[{a:.4g}, {b:.4g}]" for a, b in self.intervals) or "nowhere"
        return (
            f"Johnson-Neyman: {self.term} differs from 0 (level {1 - self.level:.3g}) for {self.moderator} in {where}; "
            f"observed range [{self.low:.4g}, {self.high:.4g}]"
        )


def simple_effects(
    fit: FittedModel,
    effect: Any,
    *,
    prob: float = 0.95,
    sd_multiplier: float = 1.0,
    sd_slice: bool | None = None,
    at: Mapping[str, Any] | None = None,
    type: str = "link",
    re: str = "zero",
    ddf: Any = "auto",
) -> SimpleSlopes:
    """Slopes or differences of the first variable at values of the second.

    Parameters
    ----------
    fit : FittedModel
    effect : str
        ``"a:b"``: a is the focal variable (a number: its slope at its mean, or where ``at`` puts it; a factor: all
        differences of its levels), b the moderator.
    prob, sd_multiplier, sd_slice, at
        As in :func:`conditional_effects`.
    type : {"link", "response"}
        Slopes of the linear predictor, or of the mean (by the delta method).
    re : {"zero", "integrate"}
        With type "response": the mean of a group whose random effects are zero, or of the population.
    ddf : str or number
        As in :func:`lsmeans`; for type "link".

    Returns
    -------
    SimpleSlopes
        ``table`` and, where it is defined, the Johnson-Neyman ``region``.
    """
    check_type(type)
    prob = check_level(prob, "prob")
    if re not in ("zero", "integrate"):
        raise ArgumentError(f"re must be 'zero' or 'integrate', not {re!r}", re=re)
    df_method(fit, ddf)
    setting = _setting(fit, effect, at, sd_multiplier, sd_slice, 2, 2)
    if len(setting.values) != 2:
        raise ArgumentError(f"simple_effects takes two variables, 'focal:moderator', not {effect!r}", effect=effect)
    focal = setting.variables[setting.focal]
    if focal.numeric:
        setting = _at_one_point(setting, at)
    numbers, terms = _simple(fit, setting, type, re, prob, ddf)
    (name,) = setting.moderators
    values = np.repeat(np.array(setting.values[name], dtype=object), len(terms))
    typed = values.astype(float) if setting.variables[name].numeric else values
    repeated = terms * len(setting.values[name])
    head = {"moderator": [name] * len(values), "value": typed, "term": repeated}
    held = held_text(setting.variables, {**setting.held, **_focal_place(setting)})
    linear = type == "link" or fit.family.link.name == "identity"
    scale = scale_name(fit.family.link) if linear else f"response (random effects {_re_text(re)})"
    region = johnson_neyman(fit, effect, prob=prob, at=at, ddf=ddf) if linear and _has_region(setting) else None
    return SimpleSlopes(
        fit=fit,
        effect=":".join(setting.values),
        focal=setting.focal,
        moderator=name,
        type=type,
        prob=prob,
        region=region,
        notes=(
            f"moderator values: {setting.moderator_texts[name]}",
            f"held at {held}" if held else "",
            "" if fit.family.link.name == "identity" else f"scale: {scale}",
        ),
        _table=pd.DataFrame({**head, **numbers}),
    )


def _at_one_point(setting: _Setting, at: Mapping[str, Any] | None) -> _Setting:
    """Put a numeric focal variable at the place its slope is taken."""
    focal = setting.variables[setting.focal]
    place = setting.values[focal.name] if at is not None and focal.name in at else [focal.mean]
    if len(place) != 1:
        raise ArgumentError(f"at: the slope of {focal.name!r} is taken at one value, not {len(place)}")
    return replace(setting, values={**setting.values, focal.name: place})


def _focal_place(setting: _Setting) -> dict[str, Any]:
    focal = setting.variables[setting.focal]
    return {focal.name: setting.values[focal.name][0]} if focal.numeric else {}


def _has_region(setting: _Setting) -> bool:
    focal, (name,) = setting.variables[setting.focal], setting.moderators
    slope = focal.numeric or len(setting.values[focal.name]) == 2
    return setting.variables[name].numeric and len(setting.variables[name].values) > 2 and slope


def _differences(values: Sequence[Any]) -> tuple[FloatArray, list[str]]:
    """Later minus earlier level, all pairs."""
    k = len(values)
    pairs = [(i, j) for i in range(k) for j in range(i + 1, k)]
    C = np.zeros((len(pairs), k))
    for row, (i, j) in enumerate(pairs):
        C[row, i], C[row, j] = -1.0, 1.0
    return C, [f"{tables.short(values[j])} - {tables.short(values[i])}" for i, j in pairs]


def _effect_rows(fit: FittedModel, setting: _Setting) -> tuple[Rows, list[str]]:
    """The simple effects as linear functions, terms within values of the moderator."""
    frame = _grid_frame(setting)
    focal = setting.variables[setting.focal]
    if focal.numeric:
        return row_derivatives(fit, frame, focal.name), [f"Slope of {focal.name}"]
    C, terms = _differences(setting.values[focal.name])
    places = len(frame) // C.shape[1]
    return rows_at(fit, frame, named=setting.named).combine(np.asarray(np.kron(np.eye(places), C), dtype=float)), terms


def _simple(
    fit: FittedModel, setting: _Setting, type: str, re: str, prob: float, ddf: Any
) -> tuple[dict[str, FloatArray], list[str]]:
    """Estimate, se, lower, upper, df, statistic and p of each simple effect."""
    from scipy.stats import t as t_distribution

    rows, terms = _effect_rows(fit, setting)
    if drawn(fit):
        return _masked(rows, _drawn_effects(fit, setting, rows, type, re, prob)), terms
    if type == "link" or linear_mean(fit):
        found = estimate_rows(fit, rows, ddf)
        estimate, se, df = found.estimate, found.se, found.df
    else:
        estimate, jacobian = _response_effects(fit, setting, rows, re)
        se, df = delta_se(jacobian, parameter_covariance(fit).covariance), np.full(len(estimate), np.inf)
        se[~rows.estimable] = estimate[~rows.estimable] = np.nan
    critical = critical_values(prob, df)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = estimate / se
    numbers = {"estimate": estimate, "se": se, "lower": estimate - critical * se, "upper": estimate + critical * se}
    letter = statistic_name(fit, ddf)[0] if type == "link" or fit.is_lmm else "z"
    return {**numbers, "df": df, letter: statistic, "p": 2.0 * t_distribution.sf(np.abs(statistic), df)}, terms


def _drawn_effects(fit: Any, setting: _Setting, rows: Rows, type: str, re: str, prob: float) -> dict[str, FloatArray]:
    """Estimate, se, lower, upper and probability of direction of each simple effect, from draws."""
    if type == "link" or linear_mean(fit):
        found: dict[str, FloatArray] = draws_of(fit).row_numbers(rows, prob=prob)
        return found
    there = rows_at(fit, _grid_frame(setting), named=setting.named)
    if setting.variables[setting.focal].numeric:
        return dict(draws_of(fit).row_numbers(there, type=type, re=re, prob=prob, along=rows))
    C, _ = _differences(setting.values[setting.focal])
    C = np.asarray(np.kron(np.eye(len(there.offset) // C.shape[1]), C), dtype=float)
    return dict(draws_of(fit).row_numbers(there, type=type, re=re, prob=prob, C=C))


def _response_effects(fit: FittedModel, setting: _Setting, rows: Rows, re: str) -> tuple[FloatArray, FloatArray]:
    """Simple effects on the mean, with their derivatives in (par, beta)."""
    there = rows_at(fit, _grid_frame(setting), named=setting.named)
    if setting.variables[setting.focal].numeric:
        return slopes(fit, there, rows, re)
    C, _ = _differences(setting.values[setting.focal])
    C = np.asarray(np.kron(np.eye(len(there.offset) // C.shape[1]), C), dtype=float)
    value, jacobian = means(fit, there, re)
    return C @ value, C @ jacobian


def johnson_neyman(
    fit: FittedModel, effect: Any, *, prob: float = 0.95, at: Mapping[str, Any] | None = None, ddf: Any = "auto"
) -> JohnsonNeyman:
    """Find the values of a numeric moderator at which a simple slope differs from zero.

    Parameters
    ----------
    fit : FittedModel
    effect : str
        ``"focal:moderator"``; the focal variable is a number or a factor with two levels.
    prob : float
        One minus the level of the tests.
    at, ddf
        As in :func:`simple_effects`.

    Returns
    -------
    JohnsonNeyman
        Within the observed range of the moderator, on the link scale; bounds to 1e-10 of it.
    """
    from scipy.optimize import brentq

    prob = check_level(prob, "prob")
    setting = _setting(fit, effect, None if at is None else dict(at), 1.0, None, 2, 2)
    if len(setting.values) != 2 or not _has_region(setting):
        raise ArgumentError(
            "a Johnson-Neyman region needs 'focal:moderator' with a numeric moderator and a focal number or factor "
            f"with two levels, not {effect!r}",
            effect=effect,
        )
    if setting.variables[setting.focal].numeric:
        setting = _at_one_point(setting, at)
    (name,) = setting.moderators
    low, high = setting.variables[name].values[0], setting.variables[name].values[-1]

    def excess(places: Sequence[float]) -> FloatArray:
        rows, _ = _effect_rows(fit, replace(setting, values={**setting.values, name: list(places)}))
        if drawn(fit):
            ends = draws_of(fit).row_numbers(rows, prob=prob)
            return np.maximum(ends["lower"], -ends["upper"])
        found = estimate_rows(fit, rows, ddf)
        return np.abs(found.estimate) - critical_values(prob, found.df) * found.se

    places = np.linspace(low, high, SCAN)
    found = excess(places.tolist())
    changes = np.flatnonzero(np.sign(found[:-1]) * np.sign(found[1:]) < 0)
    bounds = [
        float(brentq(lambda m: float(excess([m])[0]), places[i], places[i + 1], xtol=1e-10 * (high - low)))
        for i in changes
    ]
    edges = [low, *bounds, high]
    middles = excess([0.5 * (a + b) for a, b in pairwise(edges)])
    intervals = tuple((a, b) for (a, b), e in zip(pairwise(edges), middles) if e > 0.0)
    _, (term, *_) = _effect_rows(fit, setting)
    return JohnsonNeyman(name, term, tuple(bounds), intervals, low, high, prob)
