"""What an optimisation leaves behind: stages, trace, certificate, optimum.

Place in the reading order: first of ``optimize``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class StageReport:
    """One optimiser run: what ran, what it cost, where it ended."""

    name: str
    optimizer: str
    n_evaluations: int
    n_gradients: int
    value: float
    message: str
    success: bool
    seconds: float

    def __str__(self) -> str:
        gradients = f", {self.n_gradients} gradients" if self.n_gradients else ""
        return (
            f"{self.name}: {self.optimizer}, {self.n_evaluations} evaluations{gradients}, "
            f"objective {self.value:.8f} ({self.message})"
        )


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of the objective: stage, parameters, value, and the PIRLS iterations behind it."""

    stage: str
    number: int
    parameters: FloatArray
    value: float
    pirls_iterations: int
    pirls_halvings: int


@dataclass(frozen=True)
class Certificate:
    r"""Evidence that the reported point is an optimum, or what speaks against it.

    Attributes
    ----------
    converged : bool
        The Newton decrement is below tolerance and the Hessian (off the boundary) is positive definite.
    singular : bool
        Some parameter lies on its boundary: a zero variance or a correlation of one in absolute value.
    messages : tuple of str
        What is wrong, if anything; each names the parameter and gives the numbers.
    gradient_norm : float
        Largest absolute derivative of the objective over the free parameters.
    newton_decrement : float
        :math:`\tfrac12 g' H^{-1} g`, the decrease in deviance units that one Newton step promises.
    eigenvalues : float array
        Of the Hessian over the free parameters, scaled to unit diagonal (so invariant to rescaling columns).
    boundary : tuple of str
        Names of the parameters on a boundary.
    pirls_residual : float
        Largest absolute element of the gradient in u at the mode.
    """

    converged: bool
    singular: bool
    messages: tuple[str, ...]
    gradient_norm: float
    newton_decrement: float
    eigenvalues: FloatArray
    boundary: tuple[str, ...]
    pirls_residual: float

    def __str__(self) -> str:
        verdict = "converged" if self.converged else "NOT converged"
        if self.singular:
            verdict += ", singular fit (boundary: " + ", ".join(self.boundary) + ")"
        lines = [
            verdict,
            f"  predicted decrease {self.newton_decrement:.3g}, largest |gradient| {self.gradient_norm:.3g}",
        ]
        if self.eigenvalues.size:
            lines.append(f"  scaled Hessian eigenvalues {self.eigenvalues.min():.3g} to {self.eigenvalues.max():.3g}")
        lines.append(f"  PIRLS residual {self.pirls_residual:.3g}")
        lines += [f"  {message}" for message in self.messages]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Optimum:
    """The end of the road formula -> ... -> objective -> optimum.

    Attributes
    ----------
    names : tuple of str
        Names of (par, beta, log phi), in the order of ``hessian`` and ``gradient``.
    par, beta, phi : float array
        Covariance parameters (``Structure`` order), fixed effects, shape parameters on their natural scale.
    value : float
        -2 log likelihood, or the REML criterion.
    hessian, gradient : float array or None
        Of ``value + penalty`` with respect to (par, beta, log phi); None where they were not computed.
    penalty : float
        What was added to ``value`` in the search (deviance units).
    """

    names: tuple[str, ...]
    par: FloatArray
    beta: FloatArray
    phi: FloatArray
    value: float
    hessian: FloatArray | None
    gradient: FloatArray | None
    certificate: Certificate
    stages: tuple[StageReport, ...]
    trace: tuple[Evaluation, ...] = field(repr=False, default=())
    pirls_trace: tuple[dict[str, Any], ...] = field(repr=False, default=())
    penalty: float = 0.0

    @property
    def n_evaluations(self) -> int:
        """Objective evaluations over all stages."""
        return sum(stage.n_evaluations for stage in self.stages)
