r"""Beta-binomial: y is the proportion of successes among a trials whose probability varies as Beta(p phi, q phi).

Place in the reading order: after ``binomial`` and ``density``. With k = a y successes, m = a - k, q = 1 - p,

.. math:: l = \log\binom ak + \log\frac{B(k + p\phi,\; m + q\phi)}{B(p\phi,\; q\phi)}
            = \log\binom ak + k\log p + m\log q + R(p\phi, k) + R(q\phi, m) - R(\phi, a),
          \qquad R(x, k) = \log\frac{\Gamma(x + k)}{\Gamma(x)\,x^k}

(the powers of phi cancel). R vanishes as phi grows: the binomial. Under every link log p and log q are functions of
eta that lose nothing in either tail.

Source: Skellam (1948); Morris and Lock (2009); parametrised as in glmmTMB, variance pq(1 + (a - 1)/(phi + 1))/a.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refglmm._jit import inline
from refglmm.errors import ResponseError
from refglmm.families.base import EPS, FloatArray
from refglmm.families.binomial import Binomial, binomial_probit, log_coefficient
from refglmm.families.density import DensityFamily
from refglmm.families.jet import (
    add,
    compose,
    exp_of,
    log_mean_decay_of,
    log_of,
    log_rising_of,
    softplus_of,
    subtract,
    times,
)


@inline
def _side(k, log_p, log_phi):
    """k log p + R(p phi, k): one of the two outcomes, seen k times."""
    return add(times(k, log_p), log_rising_of(add(log_p, log_phi), k))


@inline
def _from_logs(y, a, log_p, log_q, phi):
    """Log density from jets of log p, log q and phi."""
    k = a * y
    k = np.round(k) if abs(k - np.round(k)) < 1e-9 * a else k  # a y is rounded; R is quicker for whole k
    log_phi = log_of(phi)
    both = add(_side(k, log_p, log_phi), _side(a - k, log_q, log_phi))
    return subtract(both, log_rising_of(log_phi, a))


@inline
def betabinomial_logit(y, a, eta, first, second, third):
    """Log density under the logit link."""
    return _from_logs(y, a, times(-1.0, softplus_of(times(-1.0, eta))), times(-1.0, softplus_of(eta)), first)


@inline
def betabinomial_probit(y, a, eta, first, second, third):
    """Log density under the probit link: log p and log q are the log densities of a single one and of a zero."""
    l1, s1, h1, _, d1, _ = binomial_probit(1.0, eta[0], 1.0, 0.0, 0.0)
    l0, s0, h0, _, d0, _ = binomial_probit(0.0, eta[0], 1.0, 0.0, 0.0)
    return _from_logs(y, a, compose(eta, l1, s1, -h1, -d1), compose(eta, l0, s0, -h0, -d0), first)


@inline
def betabinomial_cloglog(y, a, eta, first, second, third):
    """Log density under the complementary log-log link: log q = -e^eta."""
    rate = exp_of(eta)
    return _from_logs(y, a, add(eta, log_mean_decay_of(rate)), times(-1.0, rate), first)


class BetaBinomial(DensityFamily):
    """Beta-binomial: y is a proportion, the prior weight a the number of trials. Links: logit, probit, cloglog.

    Parameters
    ----------
    link : str or Link, optional
    phi : float, optional
        Known precision of the probabilities, > 0; infinite for the binomial. If left out it is estimated.
    """

    name = "betabinomial"
    default_link = "logit"
    is_binomial = True
    densities: ClassVar = {
        "logit": betabinomial_logit,
        "probit": betabinomial_probit,
        "cloglog": betabinomial_cloglog,
    }

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Log of the binomial coefficient (a over a*y)."""
        return log_coefficient(a * y, a * (1.0 - y), a, saturated_from=np.inf)

    def variance(self, mu: FloatArray) -> FloatArray:
        """mu (1 - mu), at least eps: of a proportion of one trial. Of a trials it is (phi + a)/(phi + 1) of it by a."""
        return np.maximum(mu * (1.0 - mu), EPS)

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Shrunken towards one half: (a y + 1/2) / (a + 1)."""
        return (a * y + 0.5) / (a + 1.0)

    def initial_shape(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """Moments: the mean of a (y - mu)^2 / mu(1 - mu) is that of (phi + a)/(phi + 1); kept within [0.5, 100]."""
        used = a > 1
        ratio = np.mean(a[used] * (y[used] - mu[used]) ** 2 / self.variance(mu[used])) if used.any() else 1.0
        excess, trials = max(float(ratio) - 1.0, 0.0), np.mean(a[used]) if used.any() else 1.0
        return np.clip([(trials - ratio) / excess if excess > 0.0 else 100.0], 0.5, 100.0)[: self.n_shape]

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """0 <= y <= 1; a*y should be whole; some row has more than one trial, or phi could not be estimated."""
        Binomial(self.link.name).check_response(y, a)
        if self.n_shape and a.size and np.max(a) <= 1.0:
            raise ResponseError(
                "with one trial a row the beta-binomial is a Bernoulli, whatever its phi: take family='bernoulli', or "
                "give the numbers of trials, cbind(successes, failures) or weights="
            )

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Proportions of a trials; needs whole a."""
        precision = self.complete(phi)[0]
        tiny = np.finfo(np.float64).tiny
        p = rng.beta(np.maximum(mu * precision, tiny), np.maximum((1.0 - mu) * precision, tiny))
        return Binomial(self.link.name).simulate(p, a, phi, rng)
