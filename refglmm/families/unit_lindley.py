r"""Unit-Lindley responses, 0 < y < 1: a law of proportions with the mean as its only parameter.

Place in the reading order: after ``unit_means``. With :math:`\theta = (1 - \mu)/\mu`, y/(1 - y) follows Lindley's law
of rate :math:`\theta`:

.. math:: l = a\Big\{2\log\theta - \log(1 + \theta) - 3\log(1 - y) - \theta\,\frac{y}{1 - y}\Big\}

and under the logit link :math:`\theta = e^{-\eta}`.

Source: Mazucheli, Menezes and Chakraborty (2019), "On the one parameter unit-Lindley distribution and its associated
regression model for proportion data".
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refglmm._jit import inline
from refglmm.families.base import EPS, TINY, FloatArray, weighted
from refglmm.families.density import DensityFamily
from refglmm.families.jet import add, exp_of, softplus_of, times
from refglmm.families.shape_scales import ShapeScale


@inline
def unit_lindley_logit(y, a, eta, first, second, third):
    """Log density under the logit link."""
    log_theta = times(-1.0, eta)
    rate = add(softplus_of(log_theta), times(y / (1.0 - y), exp_of(log_theta)))
    return times(a, add(times(2.0, log_theta), times(-1.0, rate)))


class UnitLindley(DensityFamily):
    """Unit-Lindley with mean mu. Link: logit. It has no shape parameter."""

    name = "unit_lindley"
    default_link = "logit"
    weights_repeat = True
    is_zero_truncated = True
    all_shapes: ClassVar[dict[str, ShapeScale]] = {}
    densities: ClassVar = {"logit": unit_lindley_logit}

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """-3 a log(1 - y)."""
        with np.errstate(all="ignore"):
            return weighted(a, -3.0 * np.log1p(-y))

    def variance(self, mu: FloatArray) -> FloatArray:
        r""":math:`2\theta^2 U(3, 3, \theta)/(1 + \theta) - \mu^2`, U Tricomi's function: the integral of y^2."""
        from scipy.special import hyperu

        theta = (1.0 - mu) / mu
        return 2.0 * theta**2 * mu * hyperu(3.0, 3.0, theta) - mu * mu

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Y itself."""
        return np.array(y)

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """0 < y < 1."""
        self._require((y > 0.0) & (y < 1.0), y, "a unit-Lindley response must be 0 < y < 1")

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """x / (1 + x), x gamma of shape 1 with probability theta / (1 + theta) = 1 - mu, else of shape 2."""
        theta = (1.0 - mu) / mu
        x = rng.gamma(1.0 + (rng.random(mu.shape) < mu)) / theta
        return np.clip(x / (1.0 + x), TINY, 1.0 - 0.5 * EPS)
