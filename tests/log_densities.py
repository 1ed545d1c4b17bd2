"""Log densities with known moments, in the form that the samplers take.

``rows.y`` holds the centre and ``slope_matrix`` the precision.
"""

import numpy as np

from refglmm._jit import signed_kernel
from refglmm.bayes.target import LOG_DENSITY, blank
from refglmm.families.registry import get_family

#: Handed through, never called.
UNUSED = get_family("gaussian").log_likelihood
NU = 5.0


@signed_kernel(LOG_DENSITY)
def normal(position, gradient, target, log_likelihood):
    """Normal, without its constant."""
    value = 0.0
    for i in range(position.size):
        gradient[i] = 0.0
        for j in range(position.size):
            gradient[i] -= target.slope_matrix[i, j] * (position[j] - target.rows.y[j])
        value += 0.5 * gradient[i] * (position[i] - target.rows.y[i])
    return value


@signed_kernel(LOG_DENSITY)
def independent(position, gradient, target, log_likelihood):
    """Normal with the precisions in the first row."""
    value = 0.0
    for i in range(position.size):
        gradient[i] = -target.slope_matrix[0, i] * (position[i] - target.rows.y[i])
        value += 0.5 * gradient[i] * (position[i] - target.rows.y[i])
    return value


@signed_kernel(LOG_DENSITY)
def student(position, gradient, target, log_likelihood):
    """Multivariate t with NU degrees of freedom, location and (unit) scale."""
    square = 0.0
    for i in range(position.size):
        square += (position[i] - target.rows.y[i]) ** 2
    for i in range(position.size):
        gradient[i] = -(NU + position.size) * (position[i] - target.rows.y[i]) / (NU + square)
    return -0.5 * (NU + position.size) * np.log1p(square / NU)


def parameters(center, precision=None):
    """The target with this centre and precision."""
    target = blank(len(center))
    target.rows.y[:] = center
    target.slope_matrix[:] = np.eye(len(center)) if precision is None else precision
    return target
