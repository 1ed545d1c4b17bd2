r"""Fixed effects that are not parameters themselves but made of others, and priors of several at once.

Place in the reading order: after ``scalars``, before ``target``. The kind of a target's slopes is a code:

======  ================================================================================================================
DIRECT  the scalars are the fixed effects
RHS     regularised horseshoe: the scalars are z; others are lambda (one a slope), tau and c2
SSP     soft spike and slab: the scalars are w; others are r and t (one a slope each)
JZS     the scalars are the fixed effects, and those concerned have a joint density
======  ================================================================================================================

RHS, with v = tau sigma lambda and the SD of the column (``slope_scale``); ``slope_hyper`` = (index of sigma or -1):

.. math:: b = \frac{z\,v\,w}{sd},\quad w = \sqrt{\frac{c^2}{c^2 + v^2}},\qquad
    \frac{\partial b}{\partial v} = \frac{z\,w^3}{sd},\quad
    \frac{\partial b}{\partial c^2} = \frac{z\,v^3 w}{2\,sd\,c^2 (c^2 + v^2)}

SSP: b = w r t. JZS, with M = X'X/n of the K centred columns (``slope_matrix``) and Q = b'Mb / (r sigma)^2;
``slope_hyper`` = (index of sigma or -1, r, constant):

.. math:: \log p = \log\frac{\Gamma((1 + K)/2)\,|M|^{1/2}}{\Gamma(1/2)\,\pi^{K/2}\,(r\sigma)^K}
    - \frac{1 + K}{2}\log(1 + Q)

Sources: Piironen and Vehtari (2017), "Sparsity information and regularization in the horseshoe and other shrinkage
priors"; Rouder and Morey (2012), "Default Bayes factors for model selection in regression".
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from refglmm._jit import inline

DIRECT, RHS, SSP, JZS = range(4)


def cauchy_log_constant(M: Any, r: float) -> float:
    """Log constant of the joint density of JZS but for sigma."""
    K = len(M)
    gammas = math.lgamma(0.5 * (1 + K)) - math.lgamma(0.5)
    return gammas - 0.5 * K * math.log(math.pi) - K * math.log(r) + 0.5 * float(np.linalg.slogdet(M)[1])


@inline
def first_other(target):
    """Index of the first scalar after the shape parameters."""
    return target.counts[0] + target.counts[1] + target.counts[2] + target.counts[3]


@inline
def sigma_of(x, target):
    """Value of sigma; one where the slopes know none."""
    at = int(target.slope_hyper[0])
    return x[at] if at >= 0 else 1.0


@inline
def slopes(x, target, beta):
    """Fill the fixed effects from the natural values x of all scalars."""
    for j in range(beta.size):
        beta[j] = x[j]
    kind, K, first = target.slope_kind[0], target.slope_columns.size, first_other(target)
    if kind == RHS:
        tau, c2 = x[first + K] * sigma_of(x, target), x[first + K + 1]
        for i in range(K):
            v = tau * x[first + i]
            beta[target.slope_columns[i]] *= v * np.sqrt(c2 / (c2 + v * v)) / target.slope_scale[i]
    elif kind == SSP:
        for i in range(K):
            beta[target.slope_columns[i]] *= x[first + i] * x[first + K + i]


@inline
def joint_prior(x, target, beta, d_beta, d_x):
    """Return the log density of priors that concern several scalars; add its slopes to d_beta and d_x."""
    if target.slope_kind[0] != JZS:
        return 0.0
    K, sigma = target.slope_columns.size, sigma_of(x, target)
    unit = 1.0 / (target.slope_hyper[1] * sigma) ** 2
    Q = 0.0
    for i in range(K):
        for j in range(K):
            Q += beta[target.slope_columns[i]] * target.slope_matrix[i, j] * beta[target.slope_columns[j]] * unit
    weight = (1.0 + K) / (1.0 + Q)
    for i in range(K):
        for j in range(K):
            slope = target.slope_matrix[i, j] * beta[target.slope_columns[j]]
            d_beta[target.slope_columns[i]] -= weight * unit * slope
    if target.slope_hyper[0] >= 0.0:
        d_x[int(target.slope_hyper[0])] += (weight * Q - K) / sigma
    return target.slope_hyper[2] - K * np.log(sigma) - 0.5 * (1.0 + K) * np.log1p(Q)


@inline
def slopes_back(x, target, d_beta, d_x):
    """Add to d_x what the slopes in the fixed effects mean for the scalars."""
    kind, K, first = target.slope_kind[0], target.slope_columns.size, first_other(target)
    if kind == RHS:
        horseshoe_back(x, target, d_beta, d_x, K, first)
    elif kind == SSP:
        for i in range(K):
            at = target.slope_columns[i]
            d, w, r, t = d_beta[at], x[at], x[first + i], x[first + K + i]
            d_x[first + i] += d * w * t
            d_x[first + K + i] += d * w * r
            d_beta[at] = d * r * t
    for j in range(d_beta.size):
        d_x[j] += d_beta[j]


@inline
def horseshoe_back(x, target, d_beta, d_x, K, first):
    """Add the slopes in lambda, tau, sigma and c2; turn those in b into those in z."""
    sigma, tau, c2 = sigma_of(x, target), x[first + K], x[first + K + 1]
    sigma_at = int(target.slope_hyper[0])
    for i in range(K):
        at, lam = target.slope_columns[i], x[first + i]
        v = tau * sigma * lam
        both = c2 + v * v
        w = np.sqrt(c2 / both)
        d = d_beta[at] / target.slope_scale[i]
        d_v = d * x[at] * w * w * w
        d_x[first + i] += d_v * tau * sigma
        d_x[first + K] += d_v * sigma * lam
        if sigma_at >= 0:
            d_x[sigma_at] += d_v * tau * lam
        d_x[first + K + 1] += d * x[at] * v * v * v * w / (2.0 * c2 * both)
        d_beta[at] = d * v * w
