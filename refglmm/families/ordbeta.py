r"""Ordered beta responses, 0 <= y <= 1: zeros and ones by two cutpoints on the scale of eta, beta between.

Place in the reading order: after ``beta``. With cutpoints :math:`c_1 < c_2`, :math:`g` the logistic function and
:math:`\mu = g(\eta)`,

.. math:: P(y = 0) = 1 - g(\eta - c_1),\quad P(y = 1) = g(\eta - c_2),\quad
          f(y) = \{g(\eta - c_1) - g(\eta - c_2)\}\,\mathrm{Beta}(y; \mu\phi, (1-\mu)\phi),\ 0 < y < 1

and, without cancellation,

.. math:: \log\{g(\eta - c_1) - g(\eta - c_2)\} = \log(1 - e^{-(c_2 - c_1)})
          - \log(1 + e^{c_1 - \eta}) - \log(1 + e^{\eta - c_2}) .

Estimated are :math:`c_1` ("lower") and :math:`\log(c_2 - c_1)` ("width"), as glmmTMB does;
:meth:`OrderedBeta.cutpoints` gives :math:`c_1` and :math:`c_2`.

Source: Kubinec (2023), "Ordered beta regression: a parsimonious, well-fitting model for continuous data with lower
and upper bounds".
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refglmm._jit import inline
from refglmm.families.base import FloatArray
from refglmm.families.beta import beta_base, beta_in_mean, beta_precision
from refglmm.families.density import DensityFamily
from refglmm.families.jet import add, compose, softplus_of, subtract, times
from refglmm.families.shape_scales import LogScale, ShapeScale
from refglmm.families.unit_means import logit_mean_of


@inline
def _log_one_minus_exp(f):
    """Jet of log(1 - e^-f), f > 0."""
    e, q = np.exp(-f[0]), -np.expm1(-f[0])
    r = e / q
    return compose(f, np.log(q) if f[0] < 0.7 else np.log1p(-e), r, -r / q, r * (1.0 + e) / (q * q))


@inline
def ordbeta_logit(y, a, eta, first, second, third):
    """Log density under the logit link; shape parameters phi, c1 and c2 - c1."""
    above_lower, above_upper = subtract(eta, second), subtract(eta, add(second, third))
    if y <= 0.0:
        return times(-a, softplus_of(above_lower))
    if y >= 1.0:
        return times(-a, softplus_of(times(-1.0, above_upper)))
    outside = add(softplus_of(times(-1.0, above_lower)), softplus_of(above_upper))
    between = subtract(_log_one_minus_exp(third), outside)
    return add(times(a, between), beta_in_mean(y, a, logit_mean_of(eta), first))


def _logistic(x: FloatArray | float) -> FloatArray:
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(x)))


def _logistic_and_slope(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    g = _logistic(x)
    return g, g * _logistic(-x)


class OrderedBeta(DensityFamily):
    """Ordered beta on the closed unit interval. Link: logit.

    Parameters
    ----------
    link : str or Link, optional
    phi : float, optional
        Known precision of the beta part, > 0.
    lower, width : float, optional
        Known first cutpoint, and distance of the second from it, > 0. All are estimated if left out.
    """

    name = "ordbeta"
    mean_is_inverse_link = False
    default_link = "logit"
    weights_repeat = True
    all_shapes: ClassVar = {"phi": LogScale(), "lower": ShapeScale(), "width": LogScale()}
    densities: ClassVar = {"logit": ordbeta_logit}

    def cutpoints(self, phi: FloatArray | None = None) -> tuple[float, float]:
        """(c1, c2) on the scale of the linear predictor.

        Parameters
        ----------
        phi : float array, optional
            Estimated shape parameters, e.g. ``fit.phi``; not needed where all are known.
        """
        known = self if phi is None else self.at(phi)
        return known.shape("lower"), known.shape("lower") + known.shape("width")

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """-a log{y (1 - y)} between 0 and 1, 0 at the ends."""
        return np.where((y > 0.0) & (y < 1.0), beta_base(y, a), 0.0)

    def _parts(self, mu: FloatArray) -> tuple[FloatArray, FloatArray]:
        """P(0 < y < 1) and P(y = 1)."""
        lower, upper = self.cutpoints()
        eta = self.link.link(mu)
        one = _logistic(eta - upper)
        return _logistic(eta - lower) - one, one

    def zero_probability(self, mu: FloatArray) -> FloatArray:
        """1 - g(eta - c1)."""
        return _logistic(self.shape("lower") - self.link.link(mu))

    def mean(self, mu: FloatArray) -> FloatArray:
        """P(0 < y < 1) mu + P(y = 1)."""
        between, one = self._parts(mu)
        return between * mu + one

    def fitted_slope(self, eta: FloatArray) -> FloatArray:
        """With g' = g (1 - g): {g'(eta - c1) - g'(eta - c2)} mu + P(0 < y < 1) g'(eta) + g'(eta - c2)."""
        lower, upper = self.cutpoints()
        (mu, d_mu), (above, d_above), (one, d_one) = (_logistic_and_slope(eta - c) for c in (0.0, lower, upper))
        return (d_above - d_one) * mu + (above - one) * d_mu + d_one

    def variance(self, mu: FloatArray) -> FloatArray:
        """Second moment, of the beta part and of the ones, less the squared mean."""
        between, one = self._parts(mu)
        square = mu * mu + mu * (1.0 - mu) / (1.0 + self.shape("phi"))
        return between * square + one - self.mean(mu) ** 2

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Y, drawn a little towards one half."""
        return 0.02 + 0.96 * y

    def initial_shape(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """Moments of the values between; cutpoints that give the mean eta the observed shares of zeros and ones."""
        inside = (y > 0.0) & (y < 1.0)
        phi = beta_precision(y[inside], mu[inside], a[inside]) if a[inside].sum() > 0.0 else 1.0
        zeros, ones = ((a[y == end].sum() + 0.5) / (a.sum() + 1.0) for end in (0.0, 1.0))
        eta = np.average(self.link.link(np.clip(mu, 1e-6, 1.0 - 1e-6)), weights=a)
        lower, upper = eta + np.log(zeros / (1.0 - zeros)), eta - np.log(ones / (1.0 - ones))
        return np.array([phi, lower, max(upper - lower, 0.1)])[: self.n_shape]

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """0 <= y <= 1."""
        self._require((y >= 0.0) & (y <= 1.0), y, "an ordered beta response must be 0 <= y <= 1")

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Zeros, ones, and beta values between; the weight plays no part."""
        known = self.at(phi)
        between, one = known._parts(mu)
        u, precision = rng.random(mu.shape), known.shape("phi")
        inner = rng.beta(mu * precision, (1.0 - mu) * precision)
        return np.where(u < one, 1.0, np.where(u < one + between, inner, 0.0))
