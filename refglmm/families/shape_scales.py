r"""On which scale a shape parameter is estimated.

Place in the reading order: before ``base``. The engines see a shape parameter phi as phi(x) of an unbounded x:

.. math:: \phi = e^x,\qquad \phi = x,\qquad \phi = a + (b - a)/(1 + e^{-x})

for a positive one, a threshold, and one that lives between a and b (the power of a Tweedie law).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

#: A shape parameter that runs away (a negative binomial without overdispersion) stops here instead of overflowing.
LARGEST_LOG = 200.0


@dataclass(frozen=True)
class ShapeScale:
    """A map between a shape parameter and the number that is estimated; scalars or arrays. Here: the same number.

    Attributes
    ----------
    label : str
        How the working parameter is called, e.g. "log({})".
    low, high : float
        Bounds of the shape parameter.
    """

    label: ClassVar[str] = "{}"
    low: float = -np.inf
    high: float = np.inf

    def natural(self, x: Any) -> Any:
        """phi(x)."""
        return x

    def slope(self, phi: Any) -> Any:
        """dphi/dx at phi."""
        return np.ones_like(phi)

    def working(self, phi: Any) -> Any:
        """x(phi)."""
        return phi


@dataclass(frozen=True)
class LogScale(ShapeScale):
    """A positive parameter by its logarithm."""

    label: ClassVar[str] = "log({})"
    low: float = 0.0

    def natural(self, x: Any) -> Any:
        """phi(x)."""
        return np.exp(np.clip(x, -LARGEST_LOG, LARGEST_LOG))

    def slope(self, phi: Any) -> Any:
        """dphi/dx at phi."""
        return phi

    def working(self, phi: Any) -> Any:
        """x(phi)."""
        return np.log(phi)


@dataclass(frozen=True)
class IntervalScale(ShapeScale):
    """A parameter between ``low`` and ``high`` by its logit."""

    label: ClassVar[str] = "logit({})"

    def natural(self, x: Any) -> Any:
        """phi(x)."""
        return self.low + (self.high - self.low) / (1.0 + np.exp(-np.clip(x, -LARGEST_LOG, LARGEST_LOG)))

    def slope(self, phi: Any) -> Any:
        """dphi/dx at phi."""
        return (phi - self.low) * (self.high - phi) / (self.high - self.low)

    def working(self, phi: Any) -> Any:
        """x(phi)."""
        return np.log((phi - self.low) / (self.high - phi))
