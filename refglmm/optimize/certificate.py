r"""The certificate of an optimum, and the parameter that speaks against it.

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
#: Scaled eigenvalues below this mean that the data do not determine a direction.
FLAT = 1e-7
#: A unit change of a parameter that moves the objective by less than this moves nothing.
NOTHING = 1e-6


def unit_diagonal(hessian: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Hessian scaled to a unit diagonal, and the scale (one over the root of the diagonal)."""
    diagonal = hessian.diagonal()
    scale = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    return hessian * scale * scale[:, None], scale


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
    held: NDArray[np.bool_] | None = None,
    basis: FloatArray | None = None,
    unit: FloatArray | None = None,
    notes: Sequence[str] = (),
) -> Certificate:
    """Judge a reported optimum.

    Parameters
    ----------
    names, x, gradient, hessian, lower, upper
        Parameters with their labels, the derivatives there (None: not computed), and bounds.
    boundary : names of the covariance parameters that make the fit singular
    tolerance : predicted decrease that is still accepted
    held : parameters that have no effect at x (the correlation of a variance that is zero)
    basis : float array, shape (d, d)
        Columns in whose coordinates eigenvalues are taken (block diagonal: covariance parameters, fixed effects,
        shapes). With the inverse of RX for the fixed effects they do not change under X -> XA.
    unit : float array, shape (d,)
        A change of each parameter that matters. One that moves the objective by less than ``NOTHING`` means that
        the data do not determine the parameter.
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
        free &= ~held if held is not None else True
        gradient_norm = float(np.abs(gradient[free]).max(initial=0.0))
        where = np.ix_(free, free)
        block = None if hessian is None else hessian[where]
        if block is not None and not np.isfinite(block).all():
            messages.append("the Hessian is not finite at the reported optimum")
        elif block is not None:
            base = (np.eye(x.size) if basis is None else basis)[where]
            scaled, scale = unit_diagonal(base.T @ block @ base)
            base = base * scale
            eigenvalues, vectors = np.linalg.eigh(scaled)
            free_names = [name for name, is_free in zip(names, free, strict=True) if is_free]
            curvature = block.diagonal()
            steps = np.ones(curvature.size) if unit is None else unit[free]
            messages += _undetermined(curvature, curvature * steps**2, unit is not None, free_names)
            if not messages and eigenvalues.min(initial=np.inf) < FLAT:
                messages += _judge_eigenvalues(eigenvalues, base @ vectors / steps[:, None], free_names)
            decrement = _decrement(eigenvalues, vectors, base.T @ gradient[free])
            if decrement > tolerance:
                scale = 1.0 / np.sqrt(np.where(curvature > 0, curvature, 1.0))
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


def _undetermined(curvature: FloatArray, per_unit: FloatArray, with_units: bool, names: Sequence[str]) -> list[str]:
    """Messages about parameters in which the objective has no curvature at all."""
    least = NOTHING if with_units else 0.0
    return [
        f"the objective has no curvature in {name} (second derivative {value:.3g}): the data do not determine it"
        for name, value, moved in zip(names, curvature, per_unit, strict=True)
        if moved <= least
    ]


def _judge_eigenvalues(eigenvalues: FloatArray, directions: FloatArray, names: Sequence[str]) -> list[str]:
    """Messages about directions without, or with negative, curvature; each names its largest component."""
    messages = []
    for value, direction in zip(eigenvalues, directions.T, strict=True):
        if value < FLAT:
            name = names[int(np.argmax(np.abs(direction)))]
            kind = "negative" if value < -FLAT else "almost no"
            messages.append(
                f"{kind} curvature in the direction of {name} (scaled eigenvalue {value:.3g}): "
                "the parameters are not uniquely determined"
            )
    return messages
