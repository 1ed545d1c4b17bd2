r"""Influence of each group from its score: what the estimates would be without it, in one Newton step.

Place in the reading order: in ``inference``, after ``sandwich`` and ``influence``. The log-likelihood without cluster g
has at the estimate the gradient :math:`-s_g` and the information :math:`A - A_g`, so that one step of Newton's method
leads to

.. math:: \hat\psi_{(g)} \approx \hat\psi - (A - A_g)^{-1} s_g

for *all* parameters, the covariance and shape parameters among them, without a single refit. (With :math:`A^{-1}` in
place of :math:`(A - A_g)^{-1}` this is the empirical influence function.) The covariance without the cluster is
:math:`(A - A_g)^{-1}`.

Source: Cain and Lange (1984), "Approximate case influence for the proportional hazards regression model with censored
data"; Pregibon (1981), "Logistic regression diagnostics" (the step).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.linalg import LinAlgError
from numpy.typing import NDArray

from refglmm.errors import NotAvailableError
from refglmm.fit.arrays import freeze_arrays
from refglmm.inference.group_scores import GroupScores, group_information, group_scores
from refglmm.inference.influence import Estimates, Influence
from refglmm.inference.parameters import absolute_scale, parameters, values_at
from refglmm.inference.sandwich import information_root

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]


def score_influence(fit: FittedModel, cluster: Any = None, *, progress: bool | None = None) -> Influence:
    """Estimates without each group, one Newton step from all of them.

    Parameters
    ----------
    fit : FittedModel
        By maximum likelihood.
    cluster : str or array of shape (n,), optional
        Factor in which every grouping factor is nested; by default the grouping factor.
    progress : bool, optional

    Returns
    -------
    Influence
        ``method`` is "score". Shape parameters and correlations stand in ``components``.

    Raises
    ------
    NotAvailableError
        See :func:`.group_scores.group_scores`; a group without which the step has no direction (named).
    """
    groups = group_scores(fit, cluster, progress=progress)
    R = information_root(fit, groups)
    information = group_information(fit, groups, progress=progress)
    full = _estimates(fit, groups, groups.estimate, np.asarray(np.linalg.inv(R.T @ R), dtype=np.float64))
    without = tuple(_without(fit, groups, R, information[i], i) for i in range(len(groups.labels)))
    for record in (full, *without):
        freeze_arrays(record)
    return Influence(
        unit=groups.cluster,
        method="score",
        labels=groups.labels,
        sizes=tuple(rows.size for rows in groups.rows),
        full=full,
        without=without,
        names=tuple(fit.design.names),
        par_names=tuple(fit.problem.par_names),
        component_names=tuple(parameter.name for parameter in _components(fit)),
        _failures={},
        _messages={},
    )


def _without(fit: FittedModel, groups: GroupScores, R: FloatArray, information: FloatArray, i: int) -> Estimates:
    """Estimates without cluster i."""
    rest = R.T @ R - information
    try:
        half = np.linalg.inv(np.linalg.cholesky(0.5 * (rest + rest.T)))
    except LinAlgError:
        raise NotAvailableError(
            f"without {groups.cluster} {groups.labels[i]} the information of the other groups is not positive definite "
            "at the estimates; use influence()",
            group=groups.labels[i],
        ) from None
    covariance = half.T @ half
    x = groups.estimate.copy()
    x[groups.free] -= covariance @ groups.scores[i, groups.free]
    return _estimates(fit, groups, x, covariance)


def _components(fit: FittedModel) -> list[Any]:
    """Standard deviations, correlations, sigma and shape parameters."""
    return [parameter for parameter in parameters(fit) if not parameter.is_fixed]


def _estimates(fit: FittedModel, groups: GroupScores, x: FloatArray, covariance: FloatArray) -> Estimates:
    """What is kept of a parameter vector and its covariance over the free parameters."""
    problem, d = fit.problem, groups.free.size
    joint = np.zeros((d, d))
    keep = np.flatnonzero(groups.free)
    joint[np.ix_(keep, keep)] = covariance
    n_par, p = problem.n_par, problem.p
    sigma = float(np.sqrt(problem.split(x)[2][0])) if fit.has_scale else 1.0
    relative = absolute_scale(problem, sigma) if fit.is_lmm else 1.0
    par, beta = problem.fold(x[:n_par]) / relative, x[n_par : n_par + p]
    folded = np.concatenate([problem.fold(x[:n_par]), x[n_par:]])
    components = values_at(problem, _components(fit), folded)
    return Estimates(beta.copy(), joint[n_par : n_par + p, n_par : n_par + p], par, components, sigma)
