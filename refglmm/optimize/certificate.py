r"""The certificate: is the reported point an optimum, and if not, which parameter says so?

Place in the reading order: after ``newton``.

With the exact gradient g and the Hessian H over the coordinates that no bound holds, one Newton step promises a
decrease of :math:`\tfrac12 g'H^{-1}g` deviance units. ``converged`` means that this is below 1e-8 and H positive
definite. Both are invariant to rescaling columns; a raw gradient is not. (lme4 compares a partly scaled gradient
with a fixed cut and always names "component 1".)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from refglmm.optimize.newton import free_coordinates
from refglmm.optimize.records import Certificate

FloatArray = NDArray[np.float64]

#: Predicted decrease, in deviance units, below which a point counts as the optimum.
TOLERANCE = 1e-8
#: The same for fits that were optimised without gradients; spec of lme4, section 6.7: g'H^-1 g < 1e-6.
DERIVATIVE_FREE_TOLERANCE = 5e-7
#: Scaled eigenvalues below this mean that the data do not determine a direction.
FLAT = 1e-9


def unit_diagonal(hessian: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Hessian scaled to a unit diagonal, and the scale (one over the root of the diagonal)."""
    diagonal = np.diag(hessian)
    scale = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    return hessian * np.outer(scale, scale), scale


def certify(
    names: Sequence[str],
    x: FloatArray,
    gradient: FloatArray | None,
    hessian: FloatArray | None,
    lower: FloatArray,
    upper: FloatArray,
    *,
    boundary: Sequence[str],
    pirls_residual: float,
    tolerance: float = TOLERANCE,
    notes: Sequence[str] = (),
) -> Certificate:
    """Judge a reported optimum.

    Parameters
    ----------
    names, x, gradient, hessian, lower, upper
        Parameters with their labels, the derivatives there (None: not computed), and bounds.
    boundary : names of the covariance parameters that make the fit singular
    tolerance : predicted decrease that is still accepted
    notes : what the optimizer has to say (a limit reached, a fallback taken)
    """
    messages = list(notes)
    eigenvalues = np.empty(0)
    decrement = gradient_norm = np.nan
    if gradient is not None and not np.all(np.isfinite(gradient)):
        messages.append("the gradient is not finite at the reported optimum")
        gradient = None
    if gradient is not None:
        free = free_coordinates(x, gradient, lower, upper)
        gradient_norm = float(np.max(np.abs(gradient[free]), initial=0.0))
        if hessian is not None:
            scaled, scale = unit_diagonal(hessian[np.ix_(free, free)])
            eigenvalues, vectors = np.linalg.eigh(scaled)
            free_names = [name for name, is_free in zip(names, free, strict=True) if is_free]
            messages += _judge_eigenvalues(eigenvalues, vectors, np.diag(hessian)[free], free_names)
            decrement = _decrement(eigenvalues, vectors, scale * gradient[free])
            if decrement > tolerance:
                worst = int(np.argmax(np.abs(scale * gradient[free])))
                messages.append(
                    f"predicted decrease {decrement:.3g} deviance units exceeds {tolerance:.0e}; the largest scaled "
                    f"gradient is that of {free_names[worst]} ({gradient[free][worst]:.3g})"
                )
    converged = not messages and bool(np.isfinite(decrement)) and decrement <= tolerance
    return Certificate(
        converged=converged,
        singular=bool(boundary),
        messages=tuple(messages),
        gradient_norm=gradient_norm,
        newton_decrement=decrement,
        eigenvalues=eigenvalues,
        boundary=tuple(boundary),
        pirls_residual=pirls_residual,
    )


def _decrement(eigenvalues: FloatArray, vectors: FloatArray, gradient: FloatArray) -> float:
    """1/2 g'H^-1 g over the directions that have curvature."""
    component = vectors.T @ gradient
    curved = eigenvalues > FLAT
    return 0.5 * float(np.sum(component[curved] ** 2 / eigenvalues[curved]))


def _judge_eigenvalues(
    eigenvalues: FloatArray, vectors: FloatArray, diagonal: FloatArray, names: Sequence[str]
) -> list[str]:
    """Messages about directions without, or with negative, curvature; each names its largest component."""
    messages = [
        f"the objective has no curvature in {name} (second derivative {value:.3g}): the data do not determine it"
        for name, value in zip(names, diagonal, strict=True)
        if value <= 0
    ]
    if messages:
        return messages
    for value, vector in zip(eigenvalues, vectors.T, strict=True):
        if value < FLAT:
            name = names[int(np.argmax(np.abs(vector)))]
            kind = "negative" if value < -FLAT else "almost no"
            messages.append(
                f"{kind} curvature in the direction of {name} (scaled eigenvalue {value:.3g}): "
                "the parameters are not uniquely determined"
            )
    return messages
