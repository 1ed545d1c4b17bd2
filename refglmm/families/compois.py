r"""Conway-Maxwell-Poisson counts by their mean: equal to mu exactly, variance about phi mu; phi = 1 is the Poisson.

Place in the reading order: after ``density``. With :math:`\nu = 1/\phi` the law is the Poisson's power, tilted so that
its mean is mu:

.. math:: f(y) = e^{sy - \nu D(y) - K(s, \nu)},\quad D(y) = -\log\operatorname{Poisson}(y; \mu_0),\quad
          K = \log\sum_{j \ge 0} e^{sj - \nu D(j)},\quad \frac{\partial K}{\partial s} = \mu,

at :math:`\mu_0 = \mu` held fixed: another :math:`\mu_0`, or a constant added to D, moves s and K but not f, and with
this one s and all terms are small (s = K = 0 for the Poisson). The usual rate is :math:`\lambda = \mu_0^\nu e^s`.

The derivatives of K are the joint cumulants of y and -D(y), up to the fourth order. :math:`s(\log\mu, \nu)` is implicit
in :math:`\log K_s = \log\mu`; three steps of Newton's iteration in the arithmetic of jets give its derivatives.

All sums are over the j that matter (terms above e^-40 of the largest). Where these are many and none lies at the edge,
every h-th is enough: for a smooth f the sum is a trapezoid rule, with error exp(-2 pi^2 sd^2/h^2) (Poisson's summation
formula), and about 40 terms do for any mean. Against sums in 40 digits l and its derivatives keep 1e-10 relative.

Sources: Huang (2017), "Mean-parametrized Conway-Maxwell-Poisson regression models"; Shmueli et al. (2005).
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from refglmm._jit import inline, kernel
from refglmm.families.base import FloatArray
from refglmm.families.density import DensityFamily
from refglmm.families.jet import (
    compose_two,
    constant,
    first_variable,
    log_of,
    reciprocal,
    second_variable,
    shift,
    subtract,
    times,
)
from refglmm.families.positive_means import by_identity, by_sqrt
from refglmm.families.special import HALF_LOG_2PI, near_excess, stirling_rest

#: Log factorials of the counts below 256; from there Stirling's formula, whose terms are then small.
_LOG_FACTORIALS = np.array([math.lgamma(j + 1.0) for j in range(256)])
#: Terms below e^-40 of the largest do not matter.
_DEPTH = 40.0
#: A gaussian falls by e^-40 over 9 standard deviations: so many terms of a sum to a side leave sd/h = 1.8.
_TERMS_A_SIDE = 16
#: More terms than this are not summed: the row is left without a value.
_MOST_TERMS = 100_000
#: Below this log mean l is linear in it, to e^-230.
_SMALLEST = -230.0


@kernel
def _distance(j, log_mu, mu):
    """D(j) = log j! - j log mu + mu; without the last where mu < 1, so that nothing of D(0) = 0 and K is lost."""
    shift = mu if mu > 1.0 else 0.0
    if j < 256.0 and j == math.floor(j):
        return _LOG_FACTORIALS[int(j)] - j * log_mu + shift
    d = mu - j
    excess = near_excess(j, d) if abs(d) <= 0.2 * j else j * (log_mu - np.log(j)) - d
    return 0.5 * np.log(j) + HALF_LOG_2PI + stirling_rest(j) - excess - (mu - shift)


@inline
def _exponent(j, s, nu, log_mu, mu):
    """Exponent of a term, s j - nu D(j)."""
    return s * j - nu * _distance(j, log_mu, mu)


@inline
def _range(s, nu, log_mu, mu):
    """First j, last j and step of the sums, and the largest exponent; the exponent is concave in j."""
    mode = np.floor(np.exp(min(log_mu + s / nu, 37.0)))
    top = max(_exponent(mode, s, nu, log_mu, mu), _exponent(mode + 1.0, s, nu, log_mu, mu))
    width = 1.0 + np.ceil(4.0 * min(np.sqrt((mode + 1.0) / nu), mu + 1.0))
    right = width
    for _ in range(100):
        if not _exponent(mode + right, s, nu, log_mu, mu) > top - _DEPTH:
            break
        right = np.ceil(1.3 * right)
    left = min(width, mode)
    for _ in range(100):
        if left == mode or not _exponent(mode - left, s, nu, log_mu, mu) > top - _DEPTH:
            break
        left = min(np.ceil(1.3 * left), mode)
    edge = left == mode and _exponent(0.0, s, nu, log_mu, mu) > top - _DEPTH
    step = 1.0 if edge else max(np.floor(min(left, right) / _TERMS_A_SIDE), 1.0)
    return mode - left, mode + right, step, top


@inline
def _start(nu, log_mu, mu):
    """First guess of s: two neighbouring counts where the law has hardly more, else near log(1 + 1/mu) / phi - ...

    Exact for the geometric (nu = 0), the Poisson (nu = 1) and the Bernoulli law (nu infinite, mu < 1).
    """
    if nu > 1.0 and nu > 4.0 * mu:
        low = np.floor(mu)
        share = min(max(mu - low, 1e-3 if low > 0.0 else 0.0), 0.999)
        odds = np.log(share / (1.0 - share)) if share > 0.0 else log_mu
        return nu * (_distance(low + 1.0, log_mu, mu) - _distance(low, log_mu, mu)) + odds
    near = 1.0 / (mu * (2.0 - 1.0 / (1.0 + mu))) if nu * mu > 1.0 else 1.0 / mu
    return (nu - 1.0) * np.log1p(near)


@kernel
def _solve(nu, log_mu, mu):
    """s at which the mean is mu: Halley's iteration on its log between brackets; mean less mu, E D, K and the range."""
    s, low, high, sds = _start(nu, log_mu, mu), -np.inf, np.inf, np.inf
    for _ in range(100):
        if sds > 0.03:  # else the terms that matter are the same
            first, last, step, top = _range(s, nu, log_mu, mu)
            n = int((last - first) / step) + 1
            if not n < _MOST_TERMS:
                break
        z = less = m1 = m2 = m3 = d1 = 0.0
        for i in range(n):
            j = first + i * step
            d = _distance(j, log_mu, mu)
            x, w = j - mu, np.exp(s * j - nu * d - top)
            z += w
            less = w - 1.0 if i == 0 else less + w  # z - 1, with all its digits where the first term is nearly all
            m1 += w * x
            m2 += w * x * x
            m3 += w * x * x * x
            d1 += w * d
        m1, m2, m3 = m1 / z, m2 / z, m3 / z
        if sds < 1e-5:  # it moved so many standard deviations of 1/sd: what remains is of the third power
            return s, m1, d1 / z, top + np.log(step) + np.log1p(less), first, step, n
        mean, variance = mu + m1, m2 - m1 * m1
        slope = variance / mean
        bend = (m3 - 3.0 * m1 * m2 + 2.0 * m1**3) / mean - slope * slope
        miss = np.log1p(m1 / mu)
        low, high = (s, high) if miss < 0.0 else (low, s)
        move = -2.0 * miss * slope / (2.0 * slope * slope - miss * bend)
        if not (low <= s + move <= high):
            move = 0.5 * (low + high) - s if high - low < np.inf else (1.0 + abs(s)) * (1.0 if miss < 0.0 else -1.0)
        s, sds = s + move, abs(move) * np.sqrt(variance)
    return np.nan, np.nan, np.nan, np.nan, 0.0, 1.0, 0


@inline
def _cumulants(nu, log_mu, mu):
    """s, and K(s, nu) with its derivatives up to the third order and the four of the fourth that K_s needs."""
    s, x0, d0, K, first, step, n = _solve(nu, log_mu, mu)
    z = m20 = m11 = m02 = m30 = m21 = m12 = m03 = m40 = m31 = m22 = m13 = 0.0
    for i in range(n):
        j = first + i * step
        d = _distance(j, log_mu, mu)
        x, e, w = j - mu - x0, d0 - d, np.exp(s * j - nu * d - K)
        z += w
        wxx, wxe, wee = w * x * x, w * x * e, w * e * e
        m20 += wxx
        m11 += wxe
        m02 += wee
        m30 += wxx * x
        m21 += wxx * e
        m12 += wee * x
        m03 += wee * e
        m40 += wxx * x * x
        m31 += wxx * x * e
        m22 += wxx * e * e
        m13 += wee * x * e
    third = (step * m30, step * m21, step * m12, step * m03)
    m20, m11, m02 = step * m20, step * m11, step * m02
    fourth = (
        step * m40 - 3.0 * m20 * m20,
        step * m31 - 3.0 * m20 * m11,
        step * m22 - m20 * m02 - 2.0 * m11 * m11,
        step * m13 - 3.0 * m02 * m11,
    )
    return s, (K, mu + x0, -d0, m20, m11, m02, *third), fourth


@kernel
def _by_log_mean(y, log_mu, nu):
    """Log density as a jet in the log mean and nu."""
    beyond, log_mu = min(log_mu - _SMALLEST, 0.0), max(log_mu, _SMALLEST)
    mu = np.exp(log_mu)
    s, K, fourth = _cumulants(nu, log_mu, mu)
    mean = (K[1], K[3], K[4], K[6], K[7], K[8], fourth[0], fourth[1], fourth[2], fourth[3])
    log_mean = log_of(mean)
    miss = shift(log_mean, -log_mean[0])
    tilt, power, log_mean_wanted = constant(s), second_variable(nu), first_variable(0.0)
    for _ in range(3):
        move = subtract(compose_two(tilt, power, miss), log_mean_wanted)
        tilt = subtract(tilt, times(1.0 / miss[1], move))
    l = subtract(times(y, tilt), times(_distance(y, log_mu, mu), power))  # noqa: E741  the field's symbol
    return shift(subtract(l, compose_two(tilt, power, K)), y * beyond)


@kernel
def compois(y, a, log_mu, phi):
    """Log density from jets of the log mean and of phi."""
    nu = reciprocal(phi)
    return times(a, compose_two(log_mu, nu, _by_log_mean(y, log_mu[0], nu[0])))


@inline
def compois_log(y, a, eta, first, second, third):
    """Log density under the log link."""
    return compois(y, a, eta, first)


@inline
def compois_sqrt(y, a, eta, first, second, third):
    """Log density under the square-root link, eta > 0."""
    return compois(y, a, by_sqrt(eta)[1], first)


@inline
def compois_identity(y, a, eta, first, second, third):
    """Log density under the identity link, eta > 0."""
    return compois(y, a, by_identity(eta)[1], first)


@kernel
def _variances(mu, phi, out):
    """Variance at each mean."""
    for i in range(mu.size):
        out[i] = _cumulants(1.0 / phi, np.log(mu[i]), mu[i])[1][3]


@kernel
def _quantiles(p, mu, phi, out):
    """Smallest count whose distribution function reaches p, at each mean: the sum of the probabilities."""
    nu = 1.0 / phi
    for i in range(mu.size):
        log_mu = np.log(mu[i])
        s, _, _, K, j, step, n = _solve(nu, log_mu, mu[i])
        rest, last = p[i], j + n * step
        while j < last:
            rest -= np.exp(_exponent(j, s, nu, log_mu, mu[i]) - K)
            if rest <= 0.0:
                break
            j += 1.0
        out[i] = j


class ConwayMaxwellPoisson(DensityFamily):
    """Conway-Maxwell-Poisson with mean mu, variance about phi mu. Links: log (default), sqrt, identity.

    Parameters
    ----------
    link : str or Link, optional
    phi : float, optional
        Known inverse of the exponent nu of the factorial, > 0; above 1 overdispersion, below 1 underdispersion. If
        left out it is estimated.
    """

    name = "compois"
    default_link = "log"
    is_count = True
    weights_repeat = True
    domains: ClassVar = {"identity": "positive"}
    densities: ClassVar = {"log": compois_log, "sqrt": compois_sqrt, "identity": compois_identity}

    def base_measure(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """0: log y! has the factor nu."""
        return np.zeros_like(y)

    def variance(self, mu: FloatArray) -> FloatArray:
        """The second cumulant, summed: no closed form."""
        mu = np.ascontiguousarray(mu, dtype=np.float64)
        out = np.empty(mu.size)
        _variances(mu.ravel(), self.shape("phi"), out)
        return out.reshape(mu.shape)

    def zero_probability(self, mu: FloatArray) -> FloatArray:
        """f(0), through the normalising sum."""
        return np.exp(self.log_density(np.zeros_like(mu), mu, np.ones_like(mu)))

    def initial_mu(self, y: FloatArray, a: FloatArray) -> FloatArray:
        """Y, a zero replaced by 1/6."""
        return y + (y == 0.0) / 6.0

    def initial_shape(self, y: FloatArray, mu: FloatArray, a: FloatArray) -> FloatArray:
        """Moments: mean of a (y - mu)^2 / mu, kept within [0.05, 20]."""
        used = a > 0
        ratio = np.average((y[used] - mu[used]) ** 2 / mu[used], weights=a[used])
        return np.clip([ratio], 0.05, 20.0)[: self.n_shape]

    def check_response(self, y: FloatArray, a: FloatArray) -> None:
        """0 <= y <= 2^53, and should be whole."""
        self._require_counts(y, "compois")

    def simulate(self, mu: FloatArray, a: FloatArray, phi: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Counts, by inversion; the weight, which repeats a row, plays no part in drawing it."""
        out = np.empty(mu.size)
        _quantiles(rng.random(mu.size), np.ascontiguousarray(mu), float(self.complete(phi)[0]), out)
        return out
