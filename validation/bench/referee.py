"""Everybody's estimates in refglmm's exact objective.

Place in the reading order: after ``worker_python``. A program reports its fixed effects by name and the
covariance matrix of each random-effects term; both become refglmm's psi = (par, beta), whose exact
objective (Laplace, quadrature, or the profiled criterion of a linear mixed model) says how good the
estimates are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refglmm.covariance import Structure
from refglmm.likelihood.agq import AdaptiveQuadratureObjective
from refglmm.likelihood.laplace import LaplaceObjective
from refglmm.likelihood.pirls import Pirls
from refglmm.likelihood.profiled import ProfiledLinear
from refglmm.model import GLMM

FloatArray = NDArray[np.float64]
#: Share of the largest variance below which a pivot counts as zero.
ZERO_PIVOT = 1e-14


def semidefinite_root(covariance: FloatArray) -> FloatArray:
    """Lower triangular T with T T' the covariance matrix, which may be singular."""
    k = covariance.shape[0]
    T = np.zeros((k, k))
    for j in range(k):
        pivot = covariance[j, j] - T[j, :j] @ T[j, :j]
        if pivot > ZERO_PIVOT * np.max(np.diag(covariance)):
            T[j, j] = np.sqrt(pivot)
            T[j + 1 :, j] = (covariance[j + 1 :, j] - T[j + 1 :, :j] @ T[j, :j]) / T[j, j]
    return T


def structure_par(structure: Structure, covariance: FloatArray) -> FloatArray:
    """Parameters of a covariance structure whose covariance matrix is this."""
    if structure.name == "us":
        T = semidefinite_root(covariance)
        columns, rows = np.triu_indices(structure.k)  # by columns of the lower triangle
        return structure.par_from_theta(T[rows, columns])
    sd = np.sqrt(np.diag(covariance))
    if structure.name == "diag" or structure.k == 1:
        return sd[: structure.n_par]
    return np.append(sd[: structure.n_par - 1], covariance[1, 0] / (sd[1] * sd[0]))


def same_parts(name: str) -> tuple[str, ...]:
    """An interaction's parts in alphabetical order: a:b and b:a are one."""
    return tuple(sorted(name.split(":")))


def align(wanted: Sequence[str], given: Sequence[str]) -> list[int]:
    """Where each wanted name stands among the given ones.

    Raises
    ------
    ValueError
        If a name is missing.
    """
    places = {same_parts(name): place for place, name in enumerate(given)}
    missing = [name for name in wanted if same_parts(name) not in places]
    if missing or len(wanted) != len(given):
        raise ValueError(f"the program reports {list(given)}, not {list(wanted)}")
    return [places[same_parts(name)] for name in wanted]


def psi_of(model: GLMM, estimates: Mapping[str, Any]) -> tuple[FloatArray, FloatArray]:
    """(par, beta) from what a program reports."""
    beta = np.asarray(estimates["beta"], dtype=float)
    if estimates["names"] is not None:
        beta = beta[align(model.design.names, estimates["names"])]
    found = estimates["terms"]
    order = align([term.group for term in model.design.terms], [term["group"] for term in found])
    pieces = []
    for term, structure, place in zip(model.design.terms, model.structures, order, strict=True):
        columns = align(term.columns, found[place]["columns"])
        covariance = np.asarray(found[place]["covariance"], dtype=float)[np.ix_(columns, columns)]
        pieces.append(structure_par(structure, covariance / estimates["sigma"] ** 2))
    return np.concatenate(pieces), beta


def exact_objective(model: GLMM, par: FloatArray, beta: FloatArray, n_agq: int, reml: bool | None) -> float:
    """-2 log likelihood (REML criterion) at these parameters; a linear mixed model profiles beta out."""
    if reml is not None:
        return ProfiledLinear(model.problem, reml).value(par)
    pirls = Pirls(model.problem)
    objective = LaplaceObjective(pirls) if n_agq == 1 else AdaptiveQuadratureObjective(pirls, n_agq)
    return objective.value(model.problem.join(par, beta, np.empty(0)))
