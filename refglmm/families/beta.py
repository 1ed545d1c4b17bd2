r"""Beta responses, 0 < y < 1, with mean mu and precision phi.

Place in the reading order: after ``unit_means``. Beta(mu phi, (1 - mu) phi), so that Var y = mu (1 - mu) / (1 + phi):

.. math:: l = a\{\log\Gamma(\phi) - \log\Gamma(\mu\phi) - \log\Gamma((1-\mu)\phi)
              + (\mu\phi - 1)\log y + ((1-\mu)\phi - 1)\log(1 - y)\}

where :math:`\log\Gamma(x) = \log\Gamma(1 + x) - \log x`, which stays finite where :math:`\mu\phi` underflows.

Source: Ferrari and Cribari-Neto (2004), "Beta regression for modelling rates and proportions".
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refglmm._jit import inline
from refglmm.families.base import EPS, TINY, FloatArray, weighted
from refglmm.families.density import DensityFamily
from refglmm.families.jet import add, log_gamma_of, log_of, multiply, shift, subtract, times
from refglmm.families.unit_means import (
    cauchit_mean_of,
    cloglog_mean_of,
    log_mean_of,
    logit_mean_of,
    probit_mean_of,
)


@inline
def beta_in_mean(y, a, mean, phi):
    """Log density from the jets (p, q, log p, log q) of the mean and that of phi."""
    p, q, log_p, log_q = mean
    first, second = multiply(p, phi), multiply(q, phi)
    constants = subtract(log_gamma_of(phi), add(log_gamma_of(shift(first, 1.0)), log_gamma_of(shift(second, 1.0))))
    logs = add(add(log_p, log_q), times(2.0, log_of(phi)))
    powers = add(times(np.log(y), first), times(np.log1p(-y), second))
    return times(a, add(add(constants, logs), powers))


@inline
def beta_logit(y, a, eta, first, second, third):
    """Log density under the logit link."""
    return beta_in_mean(y, a, logit_mean_of(eta), first)


@inline
def beta_probit(y, a, eta, first, second, third):
    """Log density under the probit link."""
    return beta_in_mean(y, a, probit_mean_of(eta), first)


@inline
def beta_cloglog(y, a, eta, first, second, third):
    """Log density under the complementary log-log link."""
    return beta_in_mean(y, a, cloglog_mean_of(eta), first)


@inline
def beta_cauchit(y, a, eta, first, second, third):
    """Log density under the cauchit link."""
    return beta_in_mean(y, a, cauchit_mean_of(eta), first)


@inline
def beta_log(y, a, eta, first, second, third):
    """Log density under the log link, eta < 0."""
    return beta_in_mean(y, a, log_mean_of(eta), first)


def beta_base(y: FloatArray, a: FloatArray) -> FloatArray:
    """-a log{y (1 - y)}."""
    with np.errstate(all="ignore"):
        return weighted(a, -np.log(y) - np.log1p(-y))


def beta_precision(y: FloatArray, mu: FloatArray, a: FloatArray) -> float:
    """Moment estimate of phi, 1 / (1 + phi) = mean of (y - mu)^2 / {mu (1 - mu)}, kept within [0.1, 1e4]."""
    spread = (y - mu) ** 2 / np.maximum(mu * (1.0 - mu), EPS)
    return float(np.clip(1.0 / max(np.average(spread, weights=a), TINY) - 1.0, 0.1, 1e4))


class Beta(DensityFamily):
    """Beta, Var y = mu (1 - mu) / (1 + phi). Links: logit (default), probit, cloglog, cauchit, log.

    Parameters
    ----------
    link : str or Link, optional
    phi : float, optional
        Known precision, > 0. If left out it is estimated.
    """

    name = "beta"
    default_link = "logit"
    weights_repeat = True
    is_zero_truncated = True
    domains: ClassVar = {"log": "negative"}
    densities: ClassVar = {
        "logit": beta_logit,
        "probit": beta_probit,
        "cloglog": beta_cloglog,
        "cauchit": beta_cauchit,
        "log": beta_log,
    }

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """-a log{y (1 - y)}."""
        return beta_base(y, a)

    def variance(self, mu: FloatArray) -> FloatArray:
        """Mu (1 - mu) / (1 + phi)."""
        return mu * (1.0 - mu) / (1.0 + self.shape("phi"))

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Y itself."""
        return np.array(y)

    def initial_shape(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """Moments, see :func:`beta_precision`."""
        return np.array([beta_precision(y, mu, a)])[: self.n_shape]

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """0 < y < 1."""
        rule = "a beta response must be 0 < y < 1 (the ordbeta family takes 0 and 1 as well)"
        self._require((y > 0.0) & (y < 1.0), y, rule)

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Proportions, kept off 0 and 1 by the smallest number that can be; the weight plays no part."""
        precision = self.complete(phi)[0]
        return np.clip(rng.beta(mu * precision, (1.0 - mu) * precision), TINY, 1.0 - 0.5 * EPS)
