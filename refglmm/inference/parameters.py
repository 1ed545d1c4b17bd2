r"""The parameters that intervals are about: standard deviations, correlations, sigma, shape, and coefficients.

Place in the reading order: after ``tasks``, before ``criterion``. The optimiser works on x = (par, beta, log phi);
an analyst reads each term's standard deviations and correlations,

.. math:: \mathrm{sd}_i = |T_i|,\qquad \mathrm{cor}_{ij} = T_i'T_j / (|T_i|\,|T_j|)

with :math:`T_i` the rows of the term's factor. In a linear mixed model T is here that of Sigma itself (sigma times
what the optimiser sees), so that nothing changes its meaning between families.

Rows are named as in lme4's ``confint``: ``sd_(Intercept)|herd``, ``cor_Days.(Intercept)|Subject``, ``sigma``. Terms of
one correlation have ``rho|group``; of one standard deviation ``sd|group``. They stand in lme4's order, too: by columns
of T, then sigma (or the family's shape), then the coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.families.shape_scales import ShapeScale

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel
    from refglmm.formula.design import TermDesign
    from refglmm.likelihood.problem import Problem

FloatArray = NDArray[np.float64]

#: Names that stand for all variance parameters and for all coefficients.
ALL_VARIANCE, ALL_FIXED = "theta_", "beta_"


@dataclass(frozen=True)
class Parameter:
    """One row of an interval table.

    Attributes
    ----------
    name : str
    kind : {"sd", "cor", "sigma", "shape", "beta"}
    index : int or None
        Where it stands in x = (par, beta, log phi), if it is a coordinate of x (shape and sigma: its logarithm).
    term : int or None
        Random-effects term of a standard deviation or correlation.
    rows : tuple of int
        Rows of T: one for a standard deviation, two (smaller first) for a correlation.
    lower, upper : float
        Bounds of its value.
    scale : ShapeScale or None
        Of a shape parameter: where it is estimated.
    """

    name: str
    kind: str
    index: int | None
    term: int | None
    rows: tuple[int, ...]
    lower: float
    upper: float
    scale: ShapeScale | None = None

    def inner(self, value: float) -> float:
        """The scale on which it is profiled: log phi = 2 log sigma, log of a shape, the value itself otherwise."""
        with np.errstate(divide="ignore"):
            if self.kind == "sigma":
                return 2.0 * float(np.log(value))
            return float(self.scale.working(value)) if self.scale is not None else float(value)

    def outer(self, inner: Any) -> Any:
        """Back from :meth:`inner`; arrays too."""
        with np.errstate(over="ignore"):
            if self.kind == "sigma":
                return np.exp(np.asarray(inner) / 2.0)
            return inner if self.scale is None else self.scale.natural(np.asarray(inner))

    @property
    def is_fixed(self) -> bool:
        """Whether it is a coefficient."""
        return self.kind == "beta"


def parameters(fit: FittedModel) -> tuple[Parameter, ...]:
    """All parameters of a fit, in the order of lme4's interval tables."""
    problem = fit.problem
    found: list[Parameter] = []
    for t, (design, part) in enumerate(zip(fit.design.terms, problem.par_slices, strict=True)):
        found += _of_term(t, design, problem.structures[t], part.start)
    first_shape = problem.n_par + problem.p
    found += _shape_parameters(fit, first_shape)
    for j, name in enumerate(problem.beta_names):
        found.append(Parameter(name, "beta", problem.n_par + j, None, (), -np.inf, np.inf))
    return tuple(found)


def _of_term(t: int, design: TermDesign, structure: Any, first: int) -> list[Parameter]:
    """Standard deviations and correlations of one term."""
    label, columns = design.label, list(design.columns)
    if structure.name == "us":
        return _unstructured(t, label, columns, first)
    n_sd = 1 if structure.hom else structure.k
    found = []
    for i in range(n_sd):
        name = f"sd|{label}" if structure.hom and structure.k > 1 else f"sd_{columns[i]}|{label}"
        found.append(Parameter(name, "sd", first + i, t, (i,), 0.0, np.inf))
    if structure.n_par > n_sd:
        low, high = float(structure.lower[-1]), float(structure.upper[-1])
        found.append(Parameter(f"rho|{label}", "cor", first + n_sd, t, (0, 1), low, high))
    return found


def _unstructured(t: int, label: str, columns: Sequence[str], first: int) -> list[Parameter]:
    """By columns of T; only the first standard deviation is a coordinate."""
    found = []
    for j, column in enumerate(columns):
        found.append(Parameter(f"sd_{column}|{label}", "sd", first if j == 0 else None, t, (j,), 0.0, np.inf))
        for i in range(j + 1, len(columns)):
            found.append(Parameter(f"cor_{columns[i]}.{column}|{label}", "cor", None, t, (j, i), -1.0, 1.0))
    return found


def _shape_parameters(fit: FittedModel, first: int) -> list[Parameter]:
    """Sigma where the family has a scale, every other estimated shape by its name."""
    found = []
    for k, name in enumerate(fit.problem.phi_names):
        if k == 0 and fit.has_scale:
            found.append(Parameter("sigma", "sigma", first + k, None, (), 0.0, np.inf))
        else:
            scale = fit.family.shape_scales[k]
            found.append(Parameter(name, "shape", first + k, None, (), scale.low, scale.high, scale))
    return found


def select(known: Sequence[Parameter], wanted: Any) -> list[Parameter]:
    """Parameters by name, number (from 0), ``"theta_"`` (all variances), ``"beta_"``, or a list of these; None is all.

    Raises
    ------
    ArgumentError
        If there is no such parameter; the message lists those there are.
    """
    if wanted is None:
        return list(known)
    if isinstance(wanted, str | int | np.integer):
        wanted = [wanted]
    chosen: list[Parameter] = []
    for item in wanted:
        chosen += [p for p in _matching(known, item) if p not in chosen]
    return chosen


def _matching(known: Sequence[Parameter], item: Any) -> list[Parameter]:
    if isinstance(item, int | np.integer) and not isinstance(item, bool) and 0 <= item < len(known):
        return [known[int(item)]]
    if item in (ALL_VARIANCE, ALL_FIXED):
        return [p for p in known if p.is_fixed == (item == ALL_FIXED)]
    found = [p for p in known if p.name == item]
    if not found:
        names = ", ".join(p.name for p in known)
        raise ArgumentError(
            f"no parameter {item!r}; use a number from 0 to {len(known) - 1}, '{ALL_VARIANCE}', '{ALL_FIXED}' or one "
            f"of: {names}",
            parameter=item,
        )
    return found


def absolute_scale(problem: Problem, sigma: float) -> FloatArray:
    """What turns par of a linear mixed model, relative to sigma, into that of Sigma itself: sigma, or 1 for a rho."""
    return np.where(np.isinf(problem.par_upper), sigma, 1.0)


def full_vector(fit: FittedModel) -> FloatArray:
    """x = (par, beta, log phi) of a fit, par on the scale of Sigma.

    lme4 mode finds a dispersion by moments, after the optimum: sigma^2 then stands for phi.
    """
    par = np.array(fit.optimum.par, dtype=float)
    if fit.is_lmm:
        par *= absolute_scale(fit.problem, fit.sigma)
        return np.concatenate([par, fit.beta, [2.0 * np.log(fit.sigma)]])
    phi = [fit.sigma**2] if by_moments(fit) else np.array(fit.optimum.phi, dtype=float)
    return np.concatenate([par, fit.beta, fit.problem.working_shape(np.asarray(phi))])


def by_moments(fit: FittedModel) -> bool:
    """Whether the dispersion is no parameter of the objective (lme4 mode)."""
    return fit.is_glmm and fit.has_scale and fit.optimum.phi.size < len(fit.problem.phi_names)


def values_at(problem: Problem, known: Sequence[Parameter], x: FloatArray) -> FloatArray:
    """Every parameter's value at x; a correlation with a zero standard deviation is nan."""
    read = [s.sd_corr(_signless(s, x[part])) for s, part in zip(problem.structures, problem.par_slices, strict=True)]
    values = np.empty(len(known))
    for k, parameter in enumerate(known):
        if parameter.term is None:
            values[k] = parameter.outer(x[parameter.index])
        else:
            sd, corr = read[parameter.term]
            values[k] = sd[parameter.rows[0]] if parameter.kind == "sd" else corr[parameter.rows]
    return values


def _signless(structure: Any, par: FloatArray) -> FloatArray:
    """``par`` as ``sd_corr`` takes it: only an unstructured term may hold negative entries."""
    return par if structure.name == "us" else np.where(np.isinf(structure.upper), np.abs(par), par)


def estimates(fit: FittedModel) -> pd.Series:
    """Every parameter of a fit by name, in the order of :func:`parameters`."""
    known = parameters(fit)
    values = values_at(fit.problem, known, full_vector(fit)) if known else np.empty(0)
    return pd.Series(values, index=[p.name for p in known], name="estimate")


def percent_names(level: float) -> list[str]:
    """Column names of an interval: "2.5 %", "97.5 %"."""
    return [f"{100.0 * share:.3g} %" for share in tail_shares(level)]


def tail_shares(level: float) -> tuple[float, float]:
    """Both tail probabilities of a central interval."""
    if not isinstance(level, float | np.floating) or not 0.0 < level < 1.0:
        raise ArgumentError(f"level must lie between 0 and 1, such as 0.95, not {level!r}")
    return 0.5 * (1.0 - level), 0.5 * (1.0 + level)
