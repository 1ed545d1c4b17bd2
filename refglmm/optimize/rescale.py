r"""Centre and scale the fixed-effects columns, fit, and transform back exactly.

Place in the reading order: after ``two_stage``. Exact mode does not need it (its steps and its certificate are
invariant to rescaling); it is offered because lme4 offers it, and for derivative-free optimisers.

With X_s = X A, the coefficients are :math:`\beta = A\beta_s`: :math:`\beta_j = \beta_{s,j}/s_j` and
:math:`\beta_0 = \beta_{s,0} - \sum_j \beta_{s,j} c_j/s_j`. Without an intercept columns are scaled, not centred.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from refglmm.likelihood.problem import Problem
from refglmm.likelihood.state import Mode
from refglmm.optimize.records import Optimum

FloatArray = NDArray[np.float64]


def scaling_matrix(X: FloatArray) -> FloatArray:
    """A of shape (p, p), upper triangular when the intercept comes first; the identity on constant columns."""
    p = X.shape[1]
    A = np.eye(p)
    sd = X.std(axis=0, ddof=1) if X.shape[0] > 1 else np.zeros(p)
    constant = sd == 0
    intercepts = np.flatnonzero(constant & np.all(X == 1.0, axis=0))
    for j in np.flatnonzero(~constant):
        A[j, j] = 1.0 / sd[j]
        if intercepts.size:
            A[intercepts[0], j] = -X[:, j].mean() / sd[j]
    return A


def rescaled(problem: Problem) -> tuple[Problem, FloatArray]:
    """The same problem with X A in place of X, and A."""
    A = scaling_matrix(problem.X)
    return replace(problem, X=np.ascontiguousarray(problem.X @ A)), A


def restore(problem: Problem, A: FloatArray, optimum: Optimum, mode: Mode) -> tuple[Optimum, Mode]:
    """Estimates, derivatives and factors in terms of the original columns."""
    inverse = np.linalg.inv(A)
    hessian, gradient = optimum.hessian, optimum.gradient
    if gradient is not None and gradient.size == len(problem.names):
        B = np.eye(gradient.size)
        beta = slice(problem.n_par, problem.n_par + problem.p)
        B[beta, beta] = inverse
        gradient = B.T @ gradient
        hessian = None if hessian is None else B.T @ hessian @ B
    # R'R is all that rx stands for: a QR step makes it triangular again wherever the intercept stands
    rx = np.linalg.qr(mode.rx @ inverse, mode="r") if problem.p else mode.rx
    signs = np.where(np.diag(rx) < 0, -1.0, 1.0)
    return (
        replace(optimum, beta=A @ optimum.beta, hessian=hessian, gradient=gradient),
        replace(mode, rx=signs[:, None] * rx, rzx=mode.rzx @ inverse),
    )
