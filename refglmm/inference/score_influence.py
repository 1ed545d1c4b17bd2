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

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.inference.group_scores import GroupScores, group_information, group_scores
from refglmm.inference.influence import Estimates, Influence, collected, components
from refglmm.inference.parameters import absolute_scale
from refglmm.inference.sandwich import LARGEST_LEVERAGE, information_root, leverages

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
        ``method`` is "score". Covariance and shape parameters stand in ``par`` and ``components``.

    Raises
    ------
    NotAvailableError
        See :func:`.group_scores.group_scores`.

    Warns
    -----
    InfluenceWarning
        Once, if some groups alone determine some combination of the parameters; they are listed in ``failures``.
    """
    groups = group_scores(fit, cluster, progress=progress)
    R = information_root(fit, groups)
    information = group_information(fit, groups, progress=progress)
    room = 1.0 - np.linalg.eigvalsh(leverages(R, information))[:, -1]
    why = "the other groups do not determine some combination of the parameters at the estimates"
    results: list[tuple[Estimates | None, str, tuple[str, ...]]] = [
        (None, why, ()) if room[i] < LARGEST_LEVERAGE else (_without(fit, groups, R, information[i], i), "", ())
        for i in range(len(groups.labels))
    ]
    return collected(fit, groups.cluster, "score", groups.labels, groups.rows, results)


def _without(fit: FittedModel, groups: GroupScores, R: FloatArray, information: FloatArray, i: int) -> Estimates:
    """Estimates without cluster i."""
    covariance = np.linalg.inv(R.T @ R - information)
    x = groups.estimate.copy()
    x[groups.free] -= covariance @ groups.scores[i, groups.free]
    joint = np.zeros((groups.free.size, groups.free.size))
    joint[np.ix_(groups.free, groups.free)] = covariance
    n_par, p = fit.problem.n_par, fit.problem.p
    there = _moved(fit, x)
    beta = slice(n_par, n_par + p)
    return Estimates(
        there.optimum.beta, joint[beta, beta], np.array(there.optimum.par), components(there), float(there.sigma)
    )


def _moved(fit: FittedModel, x: FloatArray) -> FittedModel:
    """The fit with other estimates, to read its standard deviations and correlations from."""
    problem = fit.problem
    par, beta, phi = problem.split(x)
    sigma = float(np.sqrt(phi[0])) if fit.has_scale else 1.0
    par = problem.fold(par) / (absolute_scale(problem, sigma) if fit.is_lmm else 1.0)
    phi = np.array(phi[: fit.problem.n_phi] if fit.optimum.phi.size else fit.optimum.phi)
    return replace(fit, sigma=sigma, optimum=replace(fit.optimum, par=par, beta=np.array(beta), phi=phi))
