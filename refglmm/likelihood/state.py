"""What a likelihood engine hands back: one consistent state at the conditional mode.

Place in the reading order: first of ``likelihood``. Everything in a :class:`Mode` belongs to the *same* u; lme4's
compat walk, whose factor lags one iterate behind, says so in its own module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Mode:
    r"""Conditional mode of the random effects and what was computed there.

    Attributes
    ----------
    u, b : float array, shape (q,)
        Spherical random effects at the mode, and b = Lambda u.
    eta, mu : float array, shape (n,)
        Linear predictor (offset included) and mean.
    s, w, h : float array, shape (n,)
        Score, expected and observed information of each observation with respect to eta.
    factor : SparseCholesky
        Frozen factor of :math:`H = I + \Lambda' Z' W Z \Lambda` at u (W observed or expected, see
        ``curvature``).
    logdet_L2 : float
        log|H|.
    rx : float array, shape (p, p)
        Upper triangular, R'R = X'WX - RZX'RZX.
    rzx : float array, shape (q, p)
        L^-1 P Lambda'Z'WX.
    log_density, penalty, deviance : float
        Sum of l; |u|^2; sum of unit deviances.
    curvature : {"observed", "expected"}
        Which second derivative stands in H.
    iterations, halvings : int
        What PIRLS spent.
    residual : float
        Largest absolute element of the gradient of the penalised log density in u.
    predictors : float array, shape (K, n), or None
        All linear predictors where there are several; ``eta``, and s, w and h with respect to it, belong to the first.
    """

    u: FloatArray
    b: FloatArray
    eta: FloatArray
    mu: FloatArray
    s: FloatArray
    w: FloatArray
    h: FloatArray
    factor: Any
    logdet_L2: float
    rx: FloatArray
    rzx: FloatArray
    log_density: float
    penalty: float
    deviance: float
    curvature: str
    iterations: int
    halvings: int
    residual: float
    predictors: FloatArray | None = None
