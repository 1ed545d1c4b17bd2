"""Complete and quasi-complete separation: coefficients without a finite estimate.

Place in the reading order: after ``certificate``.

Where a linear combination of the columns splits successes from failures, the likelihood keeps rising as its
coefficient grows; optimisers stop somewhere on the plateau with a huge estimate and a meaningless standard error
(Hauck and Donner 1977). A column is named when its contribution to eta exceeds 10 over its range and its standard
error exceeds 10 over the same range: a well-determined coefficient of that size has a small error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refglmm.likelihood.problem import Problem
from refglmm.likelihood.state import Mode

FloatArray = NDArray[np.float64]

#: Size, in units of the linear predictor, beyond which a probability or a rate is numerically zero.
LARGE = 10.0


def separated_columns(problem: Problem, mode: Mode, beta: FloatArray) -> tuple[str, ...]:
    """Names of the fixed-effects columns whose coefficients run away.

    Only families whose mean has a bound that no finite eta reaches can separate: binomial and counts.
    """
    if not problem.p or problem.family.has_scale:
        return ()
    X = problem.X
    extent = np.where(np.ptp(X, axis=0) > 0, np.ptp(X, axis=0), np.abs(X).max(axis=0))
    with np.errstate(all="ignore"):
        se = np.sqrt(np.diag(np.linalg.pinv(mode.rx.T @ mode.rx)))
    flagged = (np.abs(beta) * extent > LARGE) & (se * extent > LARGE)
    return tuple(name for name, flag in zip(problem.beta_names, flagged, strict=True) if flag)
