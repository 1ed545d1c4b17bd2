r"""Student's t about a location: responses with outliers.

Place in the reading order: after ``density``. With :math:`z = (y - \mu)/\sigma` and :math:`\nu` degrees of freedom,

.. math:: l = a\Big\{\log\frac{\Gamma((\nu + 1)/2)}{\Gamma(\nu/2)\sqrt{\nu/2}} - \tfrac12\log 2\pi - \log\sigma
              - \frac{\nu + 1}{2}\log(1 + z^2/\nu)\Big\}

in which the first term tends to 0 and the whole to the normal as :math:`\nu` grows. The law has the mean mu for
:math:`\nu > 1` and the variance :math:`\sigma^2\nu/(\nu - 2)` for :math:`\nu > 2`; sigma is a scale, no standard
deviation. l is not concave in eta: an outlier pulls less the further away it is.

Source: Lange, Little and Taylor (1989), "Robust statistical modeling using the t distribution".
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refglmm._jit import inline
from refglmm.families.base import TINY, FloatArray, weighted
from refglmm.families.density import DensityFamily
from refglmm.families.jet import (
    add,
    compose,
    divide,
    exp_of,
    log1p_of,
    log_of,
    multiply,
    shift,
    square,
    subtract,
    times,
)
from refglmm.families.shape_scales import LogScale
from refglmm.families.special import HALF_LOG_2PI, log1p_minus, polygammas, stirling_rest

#: 75 per cent points of t lie between 0.67 (normal) and 1 (one degree of freedom) times sigma.
_MEDIAN_TO_SCALE = 1.3


@inline
def _normaliser_of(df):
    """Jet of log Gamma((df + 1)/2) - log Gamma(df/2) - log(df/2)/2, about -1/(4 df): Stirling's parts cancelled."""
    x = 0.5 * df[0]
    u0, u1, u2 = polygammas(x + 0.5)
    v0, v1, v2 = polygammas(x)
    r = 1.0 / x
    value = x * log1p_minus(0.5 * r) + stirling_rest(x + 0.5) - stirling_rest(x)
    return compose(df, value, 0.5 * (u0 - v0 - 0.5 * r), 0.25 * (u1 - v1 + 0.5 * r * r), 0.125 * (u2 - v2 - r * r * r))


@inline
def _in_location(y, a, mu, scale, df):
    """Log density from jets of the location, the scale and the degrees of freedom."""
    z = divide(shift(times(-1.0, mu), y), scale)
    tail = multiply(times(0.5, shift(df, 1.0)), log1p_of(divide(square(z), df)))
    return times(a, subtract(_normaliser_of(df), add(log_of(scale), tail)))


@inline
def student_identity(y, a, eta, first, second, third):
    """Log density under the identity link."""
    return _in_location(y, a, eta, first, second)


@inline
def student_log(y, a, eta, first, second, third):
    """Log density under the log link."""
    return _in_location(y, a, exp_of(eta), first, second)


class StudentT(DensityFamily):
    """Student's t with location mu. Links: identity (default), log.

    Parameters
    ----------
    link : str or Link, optional
    scale : float, optional
        Known scale, > 0 (only together with ``df``).
    df : float, optional
        Known degrees of freedom, > 0. What is left out is estimated.
    """

    name = "student_t"
    default_link = "identity"
    weights_repeat = True
    all_shapes: ClassVar = {"scale": LogScale(), "df": LogScale()}
    densities: ClassVar = {"identity": student_identity, "log": student_log}

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """-a log(2 pi) / 2."""
        return weighted(a, np.full_like(y, -HALF_LOG_2PI))

    def variance(self, mu: FloatArray) -> FloatArray:
        """sigma^2 df / (df - 2); infinite for df <= 2."""
        df = self.shape("df")
        value = self.shape("scale") ** 2 * df / (df - 2.0) if df > 2.0 else np.inf
        return np.full(np.shape(mu), value)

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Y itself; under the log link at least a hundredth of its mean size."""
        return np.array(y) if self.link.name == "identity" else np.maximum(y, 0.01 * np.mean(np.abs(y)) + TINY)

    def initial_shape(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """Scale from the median distance to mu (at least a hundredth of the root mean square); 5 degrees of freedom."""
        distance = np.abs(y - mu)[a > 0.0]
        least = 0.01 * float(np.sqrt(np.mean(distance**2)))
        return np.array([max(_MEDIAN_TO_SCALE * float(np.median(distance)), least, TINY), 5.0])[: self.n_shape]

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """Any finite number."""
        self._require(np.isfinite(y), y, "a response must be finite for the student_t family")

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Location plus scale times a draw of t; the weight plays no part."""
        scale, df = self.complete(phi)
        return mu + scale * rng.standard_t(df, mu.shape)
