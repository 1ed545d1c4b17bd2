r"""Monte Carlo EM: the E step of EM with random nodes instead of a quadrature rule.

Place in the reading order: in ``teaching``, after ``result``; EM itself is in ``optimize.em``, its nodes in
``likelihood.posterior``.

Given the data, b_i has no density that can be averaged over in closed form. Importance sampling draws K times from the
multivariate t around the mode m_i with the spread of the Laplace approximation, and weighs each draw by what the t got
wrong,

.. math:: b_{ik} = m_i + R_i^{-1} z_{ik},\; z_{ik} \sim t_\nu,\qquad
    p_{ik} \propto \frac{\prod_j f(y_{ij}|b_{ik})\,N(b_{ik}; 0, D)}{t_\nu(z_{ik})},\qquad
    E_i[g(b)] \approx \sum_k p_{ik}\, g(b_{ik})

The M step is that of EM. The mean of the raw weights estimates the likelihood itself.

**Growing samples.** Far from the maximum a rough step does; near it a step is lost in noise. The draws z stay the same
within a stage (so that EM settles) and are renewed and multiplied for the next. A stage ends when an iteration raises
the log-likelihood by less than 0.1 / K.

**Monte Carlo error.** EM settles where the estimated score :math:`\hat S = \sum_i \sum_k p_{ik} S_{ik}` is zero, S_ik
the score of the complete data. Its variance over draws is :math:`V = \sum_{ik} p_{ik}^2 (S_{ik} - \hat S_i)(S_{ik} -
\hat S_i)'` (pairs of antithetic draws summed first), and that of the estimates, with the observed information I,

.. math:: \operatorname{Var}_{MC} = I^{-1} V I^{-1},\qquad \text{beside the sampling variance } I^{-1}.

Source: Wei and Tanner (1990); Booth and Hobert (1999) for importance sampling, the error and the growing samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from refglmm._threads import blas_threads
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.likelihood.posterior import GroupedModel, Nodes, Posterior, Values, student_rule
from refglmm.model import GLMM
from refglmm.optimize.control import Control, make_control
from refglmm.optimize.em import FrozenObjective, hybrid_start, m_step
from refglmm.teaching.result import TeachingFit, random_parameters

FloatArray = NDArray[np.float64]

#: A stage ends when its last iteration raised the log-likelihood by less than this over the number of draws.
GAIN = 0.1
#: Step of the differences that give the observed information and the delta method.
DIFFERENCE = 1e-4


class Precision(NamedTuple):
    """Standard errors and Monte Carlo errors of the reported parameters."""

    std_error: FloatArray
    mc_error: FloatArray


def mcem(
    formula: str,
    data: Any,
    family: Any,
    *,
    draws: Sequence[int] = (100, 400, 1600),
    df: float = 5.0,
    max_iterations: int = 200,
    seed: Any = None,
    progress: bool | None = None,
    control: Control | Mapping[str, Any] | None = None,
    **model_arguments: Any,
) -> TeachingFit:
    """Fit a GLMM with one grouping factor by Monte Carlo EM.

    Parameters
    ----------
    formula, data, family, **model_arguments
        See :class:`refglmm.GLMM`: one random-effects term with a free or diagonal covariance.
    draws : sequence of int
        Draws for each group in each stage; even numbers.
    df : float
        Degrees of freedom of the t that is drawn from; inf is the normal (the Laplace approximation itself).
    max_iterations : int
        EM iterations of a stage at most.
    seed : int, Generator or None
    progress : bool, optional
        Show a bar; by default on a terminal only.

    Returns
    -------
    TeachingFit
        ``estimates`` with columns estimate, std_error, mc_error; ``trace``: iteration, draws, logLik with its Monte
        Carlo error, the effective share of the draws in the worst group, all parameters.

    Raises
    ------
    NotAvailableError
        More than one term, another covariance structure, or a linear mixed model.
    """
    sizes = _checked_draws(draws)
    if not df > 0 or not isinstance(max_iterations, int) or max_iterations < 1:
        raise ArgumentError(
            f"df must be positive and max_iterations a positive whole number, not {df!r}, {max_iterations!r}"
        )
    model = GLMM(formula, data, family, **model_arguments)
    if model.is_lmm:
        raise NotAvailableError("the likelihood of a linear mixed model is exact; call lmer()")
    settings, rng = make_control(control, None, "exact"), np.random.default_rng(seed)
    grouped = GroupedModel(model.problem, settings.engine, "mcem()")
    rows: list[dict[str, float]] = []
    hidden = None if progress is None else not progress
    with blas_threads(settings.threads), tqdm(desc="Monte Carlo EM", disable=hidden, leave=False) as bar:
        values = hybrid_start(grouped, {}, settings)
        for size in sizes:
            values, nodes, settled = _stage(model, grouped, values, size, df, max_iterations, rng, rows, bar)
        precision = _precision(model, grouped, nodes, values)
    names = list(_parameters(model, grouped, values))
    estimates = pd.DataFrame({"estimate": list(_parameters(model, grouped, values).values())}, index=names)
    law = "normal" if np.isinf(df) else f"t with {df:g} df"
    last = rows[-1]
    return TeachingFit(
        method=f"Monte Carlo EM (up to {sizes[-1]} draws a group from a {law})",
        formula=model.frame.formula.expanded,
        family=model.family.display,
        settled=settled,
        notes=(
            f"logLik {last['loglik']:.4f} (Monte Carlo error {last['loglik_mc_error']:.2g})",
            "std_error: sampling of the data; mc_error: sampling of the draws, which more of them reduce",
        ),
        _estimates=estimates.assign(std_error=precision.std_error, mc_error=precision.mc_error),
        _trace=pd.DataFrame(rows),
    )


def _checked_draws(draws: Sequence[int]) -> tuple[int, ...]:
    """Even, positive whole numbers."""
    sizes = tuple(draws) if isinstance(draws, Sequence) and not isinstance(draws, str) else (draws,)
    if not sizes or any(not isinstance(k, int | np.integer) or k < 2 or k % 2 for k in sizes):
        raise ArgumentError(f"draws must be even whole numbers from 2 on (they come in pairs), not {draws!r}")
    return tuple(int(k) for k in sizes)


def _stage(
    model: GLMM,
    grouped: GroupedModel,
    values: Values,
    size: int,
    df: float,
    max_iterations: int,
    rng: np.random.Generator,
    rows: list[dict[str, float]],
    bar: Any,
) -> tuple[Values, Nodes, bool]:
    """EM with ``size`` draws that stay the same; also the last nodes, and whether it settled."""
    rule, last = student_rule(size, grouped.groups, grouped.q, df, rng), -np.inf
    for _ in range(max_iterations):
        nodes = grouped.place(values, rule)
        posterior = grouped.posterior(nodes, values)
        shares = 1.0 / (size * np.sum(posterior.p**2, axis=1))
        rows.append(
            {
                "iteration": len(rows) + 1,
                "draws": size,
                "loglik": posterior.loglik,
                "loglik_mc_error": loglik_error(posterior),
                "least_effective_share": float(shares.min()),
                **_parameters(model, grouped, values),
            }
        )
        bar.update()
        if abs(posterior.loglik - last) < GAIN / size:
            return values, nodes, True
        values, last = m_step(grouped, posterior, values), posterior.loglik
    return values, grouped.place(values, rule), False


def in_pairs(terms: FloatArray) -> FloatArray:
    """Sums over antithetic pairs of draws, the second axis."""
    half = terms.shape[1] // 2
    return terms[:, :half] + terms[:, half:]


def loglik_error(posterior: Posterior) -> float:
    """Monte Carlo error of sum log L_i: the relative variance of each mean of weights, by the delta method."""
    deviations = in_pairs(posterior.p - 1.0 / posterior.p.shape[1])
    return float(np.sqrt(np.sum(deviations**2)))


def score_variance(posterior: Posterior, scores: FloatArray) -> FloatArray:
    """V, the Monte Carlo variance of the estimated score, from the scores (groups, K, d) at the draws."""
    mean = np.einsum("gk,gkd->gd", posterior.p, scores)
    terms = in_pairs(posterior.p[..., None] * (scores - mean[:, None]))
    return np.einsum("gkd,gke->de", terms, terms)


def _precision(model: GLMM, grouped: GroupedModel, nodes: Nodes, values: Values) -> Precision:
    """Standard errors from the observed information on the draws, and Monte Carlo errors, by the delta method."""
    frozen = FrozenObjective(grouped, nodes)
    x = frozen.vector(values)
    information = _jacobian(frozen.gradient, x)
    covariance = np.linalg.inv(0.5 * (information + information.T))
    posterior = grouped.posterior(nodes, values)
    mc = covariance @ score_variance(posterior, frozen.node_scores(posterior, values)) @ covariance
    slope = _jacobian(lambda y: np.array(list(_parameters(model, grouped, frozen.values(y)).values())), x)
    return Precision(*(np.sqrt(np.einsum("id,de,ie->i", slope, matrix, slope)) for matrix in (covariance, mc)))


def _jacobian(function: Any, x: FloatArray) -> FloatArray:
    """Central differences."""
    steps = DIFFERENCE * np.eye(x.size)
    return np.column_stack([(function(x + step) - function(x - step)) / (2.0 * DIFFERENCE) for step in steps])


def _parameters(model: GLMM, grouped: GroupedModel, values: Values) -> dict[str, float]:
    """Everything that is estimated, by name."""
    found = dict(zip(model.problem.beta_names, map(float, values.beta), strict=True))
    found |= random_parameters(model, grouped.par(values.D))
    return found | dict(zip(model.problem.phi_names, map(float, values.phi), strict=False))
