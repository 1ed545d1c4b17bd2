"""The links of the laws of counts: the mean, and its logarithm, as jets.

Place in the reading order: after ``jet``; the distributions of counts build on it. Both, because under the log link
the logarithm is the linear predictor itself, exactly, however small the mean.
"""

from __future__ import annotations

from refglmm._jit import inline
from refglmm.families.jet import exp_of, log_of, positive, square, times


@inline
def by_log(eta):
    """Mean e^eta and its logarithm."""
    return exp_of(eta), eta


@inline
def by_sqrt(eta):
    """Mean eta^2 and its logarithm; not finite unless eta > 0."""
    root = positive(eta)
    return square(root), times(2.0, log_of(root))


@inline
def by_identity(eta):
    """Mean eta and its logarithm; not finite unless eta > 0."""
    mean = positive(eta)
    return mean, log_of(mean)
