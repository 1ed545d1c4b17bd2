"""Smaller models made from a model: without a fixed-effects term, with fewer random effects, or with none.

Place in the reading order: before :mod:`.compare`. The rows stay: frame, weights, offset and the evaluated variables
are those of the larger model, so that likelihoods are comparable. The fixed columns are coded anew for the terms that
are left, as R's formula rules would.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.covariance import make_structure
from refglmm.errors import NotAvailableError
from refglmm.formula.checks import independent_columns
from refglmm.formula.design import Design, TermDesign
from refglmm.formula.grammar import Formula, Terms, expand_terms
from refglmm.formula.matrix import ModelMatrix, full_dummies, make_matrix
from refglmm.likelihood.laplace import ProfiledObjective
from refglmm.likelihood.pirls import Pirls
from refglmm.likelihood.problem import build_problem
from refglmm.likelihood.profiled import ProfiledLinear
from refglmm.optimize.starts import start_fixed, start_shape

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel
    from refglmm.model import GLMM

FloatArray = NDArray[np.float64]


def droppable(terms: Terms) -> list[int]:
    """Positions of the terms that no other term contains."""
    masks = terms.masks
    return [j for j, mask in enumerate(masks) if not any(other != mask and other & mask == mask for other in masks)]


def terms_text(terms: Terms) -> str:
    """Terms as the text of a formula."""
    labels = list(terms.labels)
    if not terms.intercept:
        return " + ".join(["0", *labels])
    return " + ".join(labels) or "1"


def _without(terms: Terms, position: int) -> Terms:
    return Terms(terms.variables, terms.masks[:position] + terms.masks[position + 1 :], terms.intercept)


# -- fixed effects -------------------------------------------------------------------------------------------------


def without_fixed_term(model: GLMM, j: int) -> GLMM:
    """The same model without fixed-effects term j (numbered from 1)."""
    design, frame = model.design, model.frame
    terms = _without(design.matrix.terms, j - 1)
    codings = design.matrix.codings
    is_factor = tuple(v in codings and codings[v].levels is not None for v in range(len(terms.variables)))
    used = {v for mask in terms.masks for v in terms.members(mask)}
    matrix = ModelMatrix(terms, {v: c for v, c in codings.items() if v in used}, full_dummies(terms, is_factor))
    X = matrix.build(frame.columns.__getitem__, frame.n)
    kept = independent_columns(X)
    smaller = replace(
        design,
        X=np.ascontiguousarray(X[:, kept]),
        names=tuple(matrix.names[k] for k in kept),
        dropped=tuple(name for k, name in enumerate(matrix.names) if k not in set(kept)),
        all_names=matrix.names,
        assign=tuple(matrix.assign[k] for k in kept),
        term_labels=terms.labels,
        matrix=matrix,
        kept_columns=tuple(kept),
    )
    return _with_design(model, smaller, replace(frame.formula, fixed=terms_text(terms)))


# -- random effects ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reduction:
    """One way to make the random effects simpler: what it tests, and the terms that are left."""

    label: str
    terms: tuple[TermDesign, ...]


def random_reductions(model: GLMM) -> list[Reduction]:
    """Drop each variable that is left of a bar and may go by marginality, else the term itself.

    ``(x | g)`` becomes ``(1 | g)``; ``(1 | g)`` and ``(0 + x | g)`` go; ``(0 + f | g)`` with a factor f becomes
    ``(1 | g)``.
    """
    out = []
    for t, term in enumerate(model.design.terms):
        inside = expand_terms(term.term.expression)
        if not inside.masks:
            out.append(Reduction(str(term.term), _replaced(model.design.terms, t, None)))
        for j in droppable(inside):
            left = _simpler(model, term, inside, j)
            out.append(Reduction(f"{inside.labels[j]} in {term.term}", _replaced(model.design.terms, t, left)))
    return out


def _replaced(terms: tuple[TermDesign, ...], t: int, left: TermDesign | None) -> tuple[TermDesign, ...]:
    return terms[:t] + (() if left is None else (left,)) + terms[t + 1 :]


def _simpler(model: GLMM, term: TermDesign, inside: Terms, j: int) -> TermDesign | None:
    """A random term without the j-th of the terms left of its bar; None if nothing is left."""
    left = _without(inside, j)
    if not left.masks and not left.intercept:
        if not any(coding.levels is not None for coding in term.matrix.codings.values()):
            return None
        left = Terms(left.variables, (), True)
    matrix = make_matrix(left, model.frame.columns, {})
    Z = matrix.build(model.frame.columns.__getitem__, model.frame.n)
    return replace(term, columns=matrix.names, Z=Z, matrix=matrix, term=replace(term.term, expression=terms_text(left)))


def with_random_terms(model: GLMM, terms: tuple[TermDesign, ...]) -> GLMM:
    """The same model with other random-effects terms (at least one)."""
    formula = replace(model.frame.formula, random=tuple(term.term for term in terms))
    return _with_design(model, replace(model.design, terms=terms), formula)


def _with_design(model: GLMM, design: Design, formula: Formula) -> GLMM:
    """A copy of the model with another design; frame and data are shared."""
    frame = replace(model.frame, formula=formula)
    frame = replace(frame, formula=replace(frame.formula, text=frame.formula.expanded))
    other = copy(model)
    other.frame, other.design = frame, replace(design, frame=frame)
    other.structures = tuple(make_structure(t.structure, t.k, t.hom) for t in design.terms)
    weights = model.problem.group_weights
    other.problem = build_problem(other.design, frame, model.family, other.structures, weights)
    other.call = {**model.call, "formula": frame.formula.text}
    return other


# -- no random effects ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """A model that was fitted elsewhere: what a likelihood-ratio test needs to know of it.

    Attributes
    ----------
    loglik : float
        With all constants.
    df : int
        Estimated parameters, scale included.
    nobs : int or None
    name, formula : str
        For the table.
    reml : bool
        Whether ``loglik`` is restricted.
    parameters : dict, optional
        Estimates as ``newparams`` of the larger fit, so that responses can be drawn from this model.
    """

    loglik: float
    df: int
    nobs: int | None = None
    name: str = ""
    formula: str = ""
    reml: bool = False
    parameters: Mapping[str, Any] | None = field(default=None, repr=False)


def without_random(fit: FittedModel, *, reml: bool | None = None) -> Reference:
    """The (generalized) linear model that is left when all variances of a fit are zero, at its maximum likelihood.

    Parameters
    ----------
    fit : FittedModel
    reml : bool, optional
        Restricted likelihood (linear models); that of the fit by default.

    Raises
    ------
    NotAvailableError
        In lme4 mode for families whose scale lme4 does not estimate by maximum likelihood.
    """
    problem, engine = fit.problem, fit.settings["control"].engine
    zero = np.zeros(problem.n_par)
    restricted = fit.reml if reml is None else reml
    if fit.is_lmm:
        linear = ProfiledLinear(problem, restricted, engine)
        value, shape = linear.value(zero), 1
        parameters: dict[str, Any] = {"beta": linear.beta, "sigma": linear.sigma}
    else:
        if fit.mode_name == "lme4" and fit.has_scale:
            raise NotAvailableError(
                "in lme4 mode the scale is not a maximum-likelihood estimate, so a model without random effects has no "
                "comparable likelihood; fit with mode='exact'"
            )
        objective = ProfiledObjective(Pirls(problem, engine), start_fixed(problem)[0])
        (value, phi), shape = _over_shapes(objective, zero), problem.n_phi
        parameters = {"beta": np.array(objective.beta)} | ({"phi": phi} if shape else {})
    formula = replace(fit.formula, random=()).expanded
    parameters["par"] = zero
    loglik, df = -0.5 * float(value), problem.p + shape
    return Reference(loglik, df, problem.n, "no random effects", formula, restricted, parameters)


def _over_shapes(objective: ProfiledObjective, zero: FloatArray) -> tuple[float, FloatArray]:
    """Smallest -2 log L over the shape parameters, variances zero, and where it is."""
    from scipy.optimize import minimize

    problem = objective.problem
    if not problem.n_phi:
        return float(objective.value(zero)), np.empty(0)
    start = problem.working_shape(start_shape(problem, problem.offset + problem.X @ objective.beta))

    def value_and_gradient(shape: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = objective.value_and_gradient(np.concatenate([zero, shape]))
        return value, gradient[zero.size :]

    found = minimize(value_and_gradient, start, jac=True, method="BFGS", options={"gtol": 1e-7})
    return float(objective.value(np.concatenate([zero, found.x]))), problem.shape_from(found.x)
