r"""Scores and information of each group: what each independent part of the data says about the parameters.

Place in the reading order: in ``inference``, after ``criterion``, before ``sandwich`` and ``score_influence``. Where
every grouping factor of a model is nested in a factor G ("clusters"), its clusters are independent, and

.. math:: D(\psi) = \sum_g D_g(\psi),\qquad s_g = -\tfrac12\,\frac{dD_g}{d\psi},\qquad
          A_g = \tfrac12\,\frac{d^2 D_g}{d\psi\,d\psi'}

with psi = (par, beta, log phi) and D_g the same objective (Laplace, or adaptive quadrature) on the rows of cluster g:
its gradient is exact, the movement of the modes and of the nodes included. At the maximum the s_g sum to zero, and the
A_g always sum to the observed information A. (A penalty belongs to no cluster: at a penalised maximum the s_g sum to
half of its gradient, and A has its curvature besides.) Where all terms share one grouping factor, the objective of the
whole data has the scores of its groups already, and clusters are sums of those; clusters above several factors are
problems of their own. A linear mixed model takes part as the Gaussian model that it is, psi with
the absolute Sigma and log sigma^2 (see ``criterion``). Its information between beta and the rest has expectation zero,
whatever the distribution of the random effects; the zero is used in place of what the residuals make of it. So the beta
block of A_g is :math:`X_g'V_g^{-1}X_g`, as in generalized least squares. In a generalized model beta and par belong
together, and A_g is the observed information throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm._threads import blas_threads
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.fit.vcov import free_parameters
from refglmm.inference.criterion import Criterion, criterion
from refglmm.inference.influence import units_of
from refglmm.inference.tasks import run_tasks
from refglmm.likelihood.agq import AdaptiveQuadratureObjective
from refglmm.likelihood.pirls import Pirls
from refglmm.optimize.newton import objective_hessian

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel
    from refglmm.likelihood.problem import Problem

FloatArray = NDArray[np.float64]

#: Steps of the differences that an information is made with, in natural units of the parameters.
DIFFERENCE = 1e-3
#: Differences of order four, and the largest share of the way to a bound that a step takes.
STENCIL, WAY = ((1, 8.0 / 12.0), (2, -1.0 / 12.0)), 0.4


@dataclass(frozen=True, eq=False)
class GroupScores:
    """Scores of the clusters of a fit.

    Attributes
    ----------
    cluster : str
    labels : Index
        Of the clusters.
    rows : tuple of int arrays
        Their rows.
    names : tuple of str
        All of psi.
    estimate : float array, shape (d,)
        psi, par on the scale of Sigma.
    free : bool array, shape (d,)
        False for covariance parameters held on their boundary.
    scores : float array, shape (clusters, d)
        Zero where not free.
    criterion : Criterion
    """

    cluster: str
    labels: pd.Index
    rows: tuple[NDArray[np.intp], ...]
    names: tuple[str, ...]
    estimate: FloatArray
    free: NDArray[np.bool_]
    scores: FloatArray
    criterion: Criterion

    @property
    def frame(self) -> pd.DataFrame:
        """The scores, a row for each cluster."""
        return pd.DataFrame(self.scores.copy(), index=self.labels, columns=list(self.names))


def group_scores(fit: FittedModel, cluster: Any = None, *, progress: bool | None = None) -> GroupScores:
    """Score of each cluster at the estimates.

    Parameters
    ----------
    fit : FittedModel
        ML, mode "exact".
    cluster : str or array of shape (n,), optional
        Factor in which every grouping factor is nested; by default the grouping factor that is so.

    Raises
    ------
    NotAvailableError
        REML, lme4 mode, n_agq = 0; crossed factors without a ``cluster`` that holds them.
    ArgumentError, DataError
        A cluster that splits a group (named), an unknown factor.
    """
    _check(fit)
    given = _outermost(fit) if cluster is None else cluster
    if isinstance(given, str):
        return fit.derived(f"group scores {given}", lambda: _scores(fit, given, progress))
    return _scores(fit, given, progress)


def _check(fit: FittedModel) -> None:
    if fit.reml:
        raise NotAvailableError("a REML criterion is no sum over groups; use fit.refit_ml()")
    if fit.mode_name == "lme4" and fit.is_glmm:
        raise NotAvailableError("lme4 mode does not end where the gradient is zero; fit with mode='exact'")


def _scores(fit: FittedModel, cluster: Any, progress: bool | None) -> GroupScores:
    name, labels, rows = units_of(fit, cluster)
    _check_nested(fit, name, rows)
    whole = replace(criterion(fit), penalty=None)
    if _one_factor(fit):
        with blas_threads(whole.threads):
            found = cluster_scores(fit, whole, rows)(whole.estimate)
    else:
        found = _each(whole, fit, rows, _score, progress)
    _check_finite(found, "score", name, labels)
    free = np.ones(whole.estimate.size, dtype=bool)
    free[: fit.problem.n_par] = free_parameters(fit)[: fit.problem.n_par]
    scores = np.where(free, found, 0.0)
    scores.setflags(write=False)
    names = (*fit.problem.names[: free.size],)
    return GroupScores(name, labels, tuple(rows), names, whole.estimate, free, scores, whole)


def cluster_scores(
    fit: FittedModel, whole: Criterion, rows: Sequence[NDArray[np.intp]]
) -> Callable[[FloatArray], FloatArray]:
    """Scores of clusters of whole groups of the one grouping factor as a function of psi: (clusters, d)."""
    objective = AdaptiveQuadratureObjective(Pirls(fit.problem, whole.engine), whole.n_agq, whole.curvature)
    codes = np.asarray(fit.design.terms[0].codes)
    groups = [np.unique(codes[part]) for part in rows]

    def scores(psi: FloatArray) -> FloatArray:
        by_group = objective.group_scores(psi)
        return np.array([by_group[own].sum(axis=0) for own in groups])

    return scores


def _each(
    whole: Criterion,
    fit: FittedModel,
    rows: Sequence[NDArray[np.intp]],
    work: Callable[[Criterion, Problem], FloatArray],
    progress: bool | None,
) -> FloatArray:
    """What ``work`` finds in the model of each cluster alone; nan where it fails."""
    parts = [sub_problem(fit, part) for part in rows]
    with blas_threads(whole.threads):
        found = run_tasks(partial(work, whole), parts, progress=progress, label="groups")
    values = [outcome.value for outcome in found if outcome.error is None]
    if not values:
        raise NotAvailableError(f"no cluster could be evaluated alone: {found[0].error}")
    return np.array([np.full_like(values[0], np.nan) if out.error is not None else out.value for out in found])


def _check_finite(found: FloatArray, what: str, name: str, labels: pd.Index) -> None:
    """Refuse what is not finite, naming the cluster."""
    bad = ~np.isfinite(found.reshape(len(found), -1)).all(axis=1)
    if bad.any():
        label = labels[int(np.argmax(bad))]
        raise NotAvailableError(f"{name} {label} has no finite {what} at the estimates", group=label)


def _score(whole: Criterion, part: Problem) -> FloatArray:
    """Score of one cluster."""
    return -0.5 * replace(whole, problem=part).objective().value_and_gradient(whole.estimate)[1]


def group_information(fit: FittedModel, groups: GroupScores, *, progress: bool | None = None) -> FloatArray:
    """Observed information A_g of each cluster over the free parameters, shape (clusters, free, free).

    By differences of the exact scores.
    """
    whole = groups.criterion
    if _one_factor(fit):
        with blas_threads(whole.threads):
            found = _differences(cluster_scores(fit, whole, groups.rows), groups)
    else:
        found = _each(whole, fit, groups.rows, _information, progress)
    _check_finite(found, "information", groups.cluster, groups.labels)
    return over_free(fit, groups, found)


def _differences(scores: Callable[[FloatArray], FloatArray], groups: GroupScores) -> FloatArray:
    """-ds_g/dpsi, shape (clusters, d, d), zero where psi is not free; symmetrised."""
    whole, x = groups.criterion, groups.estimate
    room = np.minimum(whole.upper - x, x - whole.lower)
    steps = np.minimum(DIFFERENCE * whole.scale, WAY * np.where(groups.free, room, np.inf))
    found = np.zeros((len(groups.labels), x.size, x.size))
    for j in np.flatnonzero(groups.free):
        step = steps[j] * np.eye(x.size)[j]
        for k, c in STENCIL:
            found[:, :, j] -= c * (scores(x + k * step) - scores(x - k * step)) / steps[j]
    return 0.5 * (found + found.transpose(0, 2, 1))


def over_free(fit: FittedModel, groups: GroupScores, information: FloatArray) -> FloatArray:
    """Information, shape (..., d, d), over the free parameters; a linear model's beta apart from the rest."""
    out = information[..., groups.free, :][..., groups.free].copy()
    if fit.is_lmm:
        place = np.flatnonzero(groups.free)
        fixed = (place >= fit.problem.n_par) & (place < fit.problem.n_par + fit.problem.p)
        out[..., fixed[:, None] != fixed] = 0.0
    return out


def _information(whole: Criterion, part: Problem) -> FloatArray:
    """A_g of one cluster."""
    objective = replace(whole, problem=part).objective()
    objective.value(whole.estimate)
    steps = np.diag(DIFFERENCE * whole.scale)
    return 0.5 * objective_hessian(objective, whole.estimate, steps, whole.lower, whole.upper)


# -- clusters ----------------------------------------------------------------------------------------------------


def _one_factor(fit: FittedModel) -> bool:
    """Whether all terms share one grouping factor."""
    return len({term.group for term in fit.design.terms}) == 1


def _outermost(fit: FittedModel) -> str:
    """The grouping factor that holds all others."""
    terms = fit.design.terms
    for outer in sorted(terms, key=lambda term: term.n_levels):
        if all(_splits(np.asarray(outer.codes), np.asarray(inner.codes)) is None for inner in terms):
            return outer.group
    listed = ", ".join(dict.fromkeys(term.group for term in terms))
    raise NotAvailableError(
        f"the grouping factors {listed} are crossed, so no group of one is independent of the rest; give cluster=, a "
        "factor in which all of them are nested"
    )


def _splits(outer: NDArray[Any], inner: NDArray[Any]) -> int | None:
    """Level of ``inner`` that several levels of ``outer`` share; None if it is nested."""
    pairs = np.unique(np.stack([inner.astype(np.int64), outer.astype(np.int64)]), axis=1)
    again = np.flatnonzero(np.diff(pairs[0]) == 0)
    return int(pairs[0][again[0]]) if again.size else None


def _check_nested(fit: FittedModel, name: str, rows: Sequence[NDArray[np.intp]]) -> None:
    """Refuse a cluster that splits a group."""
    codes = np.empty(fit.nobs, dtype=np.int64)
    for number, part in enumerate(rows):
        codes[part] = number
    for term in fit.design.terms:
        split = _splits(codes, np.asarray(term.codes))
        if split is not None:
            raise ArgumentError(
                f"{name} splits {term.group} {term.levels[split]!r}: its clusters are not independent; use a factor in "
                f"which {term.group} is nested",
                cluster=name,
                group=term.group,
                level=term.levels[split],
            )


def sub_problem(fit: FittedModel, rows: NDArray[np.intp]) -> Problem:
    """The model of some rows alone, with the random effects of the levels that occur there."""
    problem, codes, levels = fit.problem, [], []
    for term in fit.design.terms:
        present, own = np.unique(np.asarray(term.codes)[rows], return_inverse=True)
        codes.append(own.astype(np.int32))
        levels.append(present.size)
    Z = [np.asarray(term.Z)[rows] for term in fit.design.terms]
    y, weights, offset = problem.y[rows], problem.weights[rows], problem.offset[..., rows]
    return problem.on_rows(y, weights, problem.X[rows], offset, codes, Z, levels)
