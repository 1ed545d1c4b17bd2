r"""Steps uphill on the evidence lower bound: the compiled part of variational inference.

Place in the reading order: after ``whiten``; :mod:`.advi` runs it. The approximation q is Gaussian. Its mean moves in
the coordinates of one whitening W, its spread is described in those of another, V, whose centre is zero:

.. math:: x = W(m) + V z, \qquad z = S\epsilon + B\epsilon', \qquad \epsilon, \epsilon' \sim N(0, I)

S is lower triangular in its first ``len(root)`` rows and diagonal in the others; B has r columns (then S is diagonal).
W is the Laplace approximation, so that the mean's way to its optimum is equally short in all directions, whatever q
can describe; mean-field and low-rank q need a diagonal V, the others take V = W.

**Gradients.** Draws come in pairs :math:`\pm z`. With g the gradient of the log density at both,

.. math:: \nabla_m = W'\tfrac12(g_+ + g_-), \qquad h = V'\tfrac12(g_+ - g_-), \qquad a = S'h + \epsilon

Both :math:`\nabla \log q` cancel in the first; in a, which is :math:`S'(h - \nabla_z \log q)`, "sticking the landing"
leaves out the score of q, whose mean is zero: where q is the posterior every single draw says so, a = 0.

**Steps.** Natural-gradient steps: S is multiplied from the right by :math:`I + \rho\Lambda`, where

.. math:: \Lambda_{ij} = \overline{a_i\epsilon_j}\ (i > j), \qquad \Lambda_{ii} = \tfrac12\overline{a_i\epsilon_i}

(the Fisher information of :math:`\Lambda` at 0 is 1 off the diagonal and 2 on it). :math:`\Lambda` is a sum of as many
products as there are pairs, so :math:`S\Lambda` costs a suffix sum each. For B, with :math:`\Sigma = D^2 + BB'` and
:math:`r = h + \Sigma^{-1}z`: :math:`\Delta B = \overline{\Sigma r \epsilon''}`,
:math:`\Delta\log D_i = \tfrac12 \overline{D_i r_i\epsilon_i}`; Woodbury's identity gives :math:`\Sigma^{-1}`.

With K pairs the mean of :math:`\epsilon\epsilon'` over n coordinates has the second moment :math:`1 + (n + 1)/K`:
steps contract fastest, in mean square, at :math:`\rho = K/(K + n + 1)`. We take a third of that, since a posterior that
is not Gaussian adds noise of its own. Steps decay like :math:`(1 + \rho t/10)^{-0.6}`, and the iterates are averaged
(Polyak and Juditsky 1992).

Sources: Kucukelbir et al. (2017) for variational inference by reparameterised draws; Roeder, Wu and Duvenaud (2017)
for the score; Ong, Nott and Smith (2018) for B; Amari (1998) for natural gradients.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from refglmm._jit import inline, signed_kernel
from refglmm.bayes import whiten
from refglmm.bayes.target import HALF_LOG_2PI, LIKELIHOOD, LOG_DENSITY, TARGET
from refglmm.bayes.whiten import place, pull_back

FloatArray = NDArray[np.float64]

#: First step of the mean: one would be a Newton step, were the posterior Gaussian and the gradient without noise. It is
#: divided by half the largest curvature in the coordinates of W where W has missed that.
MEAN_RATE = 0.5
#: Iterations for that curvature, and the length of the differences of gradients, in SDs.
POWER_STEPS, POWER_LENGTH = 20, 1e-3
#: Steps begin to decay after about so many of their time constants.
PATIENCE = 10.0
DECAY = 0.6
#: No gradient of the mean, in posterior SDs, counts for more; nor one of the spread, in root mean squares.
LARGEST_PULL = 3.0
LARGEST_STRETCH = 2.0
#: Share of the step that would contract fastest, were there no noise but that of finitely many draws.
CAUTION = 0.3


class Gaussian(NamedTuple):
    """The parameters of q.

    Attributes
    ----------
    mean : float array, shape (d,)
        In the coordinates of W.
    log_sd : float array, shape (d - n,)
        Logarithms of the diagonal of S, in those of V, after the first n.
    root : float array, shape (n, n)
        S of the first n coordinates, lower triangular.
    factor : float array, shape (d, r)
        B.
    """

    mean: FloatArray
    log_sd: FloatArray
    root: FloatArray
    factor: FloatArray


def copy(q: Gaussian) -> Gaussian:
    """Another q with the same numbers."""
    return Gaussian(*(part.copy() for part in q))


# -- one draw ------------------------------------------------------------


@inline
def spread(q, noise, more_noise, z):
    """Fill z = S noise + B more_noise."""
    n, r = q.root.shape[0], q.factor.shape[1]
    for i in range(n):
        value = 0.0
        for j in range(i + 1):
            value += q.root[i, j] * noise[j]
        z[i] = value
    for i in range(n, z.size):
        z[i] = np.exp(q.log_sd[i - n]) * noise[i]
    for i in range(z.size):
        for c in range(r):
            z[i] += q.factor[i, c] * more_noise[c]


@inline
def stretch(q, h, noise, a):
    """Fill a = S'h + noise, no longer than LARGEST_STRETCH in root mean square."""
    n, length = q.root.shape[0], 0.0
    for i in range(n):
        a[i] = noise[i]
    for i in range(n):
        for j in range(i + 1):
            a[j] += q.root[i, j] * h[i]
    for i in range(n, a.size):
        a[i] = np.exp(q.log_sd[i - n]) * h[i] + noise[i]
    for i in range(a.size):
        length += a[i] * a[i]
    length = np.sqrt(length / a.size)
    if length > LARGEST_STRETCH:
        for i in range(a.size):
            a[i] *= LARGEST_STRETCH / length


@inline
def log_scale(q):
    """Logarithm of the determinant of S."""
    total = 0.0
    for i in range(q.log_sd.size):
        total += q.log_sd[i]
    for i in range(q.root.shape[0]):
        total += np.log(q.root[i, i])
    return total


@inline
def inverted(q, log_det_V):
    """Inverse of C = I + B'D^-2 B (empty without B), and half the log determinant of the covariance of x."""
    d, r = q.factor.shape
    inverse, log_det = np.eye(r), log_det_V + log_scale(q)
    for i in range(d if r > 0 else 0):  # with B there is no root, and log_sd has an element for each row
        precision = np.exp(-2.0 * q.log_sd[i])
        for b in range(r):
            for c in range(r):
                inverse[b, c] += precision * q.factor[i, b] * q.factor[i, c]
    if r > 0:
        log_det += 0.5 * np.log(np.linalg.det(inverse))
        inverse[:] = np.linalg.inv(inverse)
    return inverse, log_det


@inline
def whitened(q, inverse, z, w):
    """Fill w = (D^2 + BB')^-1 z, given the inverse of C; return z'w."""
    d, r = q.factor.shape
    inner = np.zeros(r)
    for i in range(d):
        w[i] = np.exp(-2.0 * q.log_sd[i]) * z[i]
        for c in range(r):
            inner[c] += q.factor[i, c] * w[i]
    outer = np.zeros(r)
    for b in range(r):
        for c in range(r):
            outer[b] += inverse[b, c] * inner[c]
    square = 0.0
    for i in range(d):
        for c in range(r):
            w[i] -= np.exp(-2.0 * q.log_sd[i]) * q.factor[i, c] * outer[c]
        square += z[i] * w[i]
    return square


# -- one step ------------------------------------------------------------


@inline
def move_mean(q, pull, rate):
    """One step of the mean."""
    for i in range(pull.size):
        q.mean[i] += rate * min(max(pull[i], -LARGEST_PULL), LARGEST_PULL)


@inline
def move_spread(q, A, E, rate):
    """S (I + rate Lambda), Lambda the lower half of the mean of the products a noise'; a row of A and E is a pair."""
    n, pairs = q.root.shape[0], A.shape[0]
    rate = rate / pairs
    for i in range(n):
        sums = np.zeros(pairs)
        for j in range(i, -1, -1):
            old, change = q.root[i, j], 0.0
            for k in range(pairs):
                part = old * A[k, j]
                change += (sums[k] + 0.5 * part) * E[k, j]
                sums[k] += part
            if i == j:  # no step makes it negative
                q.root[i, i] = old * np.exp(min(max(rate * change / old, -1.0), 1.0))
            else:
                q.root[i, j] = old + rate * change
    for i in range(n, A.shape[1]):
        change = 0.0
        for k in range(pairs):
            change += 0.5 * A[k, i] * E[k, i]
        q.log_sd[i - n] += min(max(rate * change, -1.0), 1.0)


@inline
def low_rank_change(q, residual, noise, more_noise, d_log_sd, d_factor):
    """Add what one pair says about D and B."""
    d, r = q.factor.shape
    inner, length = np.zeros(r), 0.0
    for i in range(d):
        length += np.exp(2.0 * q.log_sd[i]) * residual[i] * residual[i]
    shrink = min(1.0, LARGEST_STRETCH / max(np.sqrt(length / d), 1e-300))
    for i in range(d):
        for c in range(r):
            inner[c] += q.factor[i, c] * residual[i]
    for i in range(d):
        sd = np.exp(q.log_sd[i])
        d_log_sd[i] += 0.5 * shrink * sd * residual[i] * noise[i]
        moved = sd * sd * residual[i]
        for c in range(r):
            moved += q.factor[i, c] * inner[c]
        for c in range(r):
            d_factor[i, c] += shrink * moved * more_noise[c]


@inline
def move_low_rank(q, d_log_sd, d_factor, rate):
    """One step of D and B."""
    d, r = q.factor.shape
    for i in range(d):
        q.log_sd[i] += min(max(rate * d_log_sd[i], -1.0), 1.0)
        for c in range(r):
            q.factor[i, c] += rate * d_factor[i, c]


@inline
def blend(average, q, share):
    """Move the average towards q by this share of the way."""
    average.mean[:] += share * (q.mean - average.mean)
    average.log_sd[:] += share * (q.log_sd - average.log_sd)
    average.root[:] += share * (q.root - average.root)
    average.factor[:] += share * (q.factor - average.factor)


@inline
def all_finite(values):
    """Whether none is inf or nan."""
    for value in values:  # noqa: SIM110 (kernels are written as loops)
        if not np.isfinite(value):
            return False
    return True


# -- many steps ------------------------------------------------------------


class Course(NamedTuple):
    """Where a run stands and how it goes on.

    ``first``: steps so far; ``averaged``: of them in the average; ``pairs``: draws a step, halved; ``log_det``: of V;
    ``mean_rate``: first step of the mean.
    """

    first: int
    averaged: int
    pairs: int
    log_det: float
    mean_rate: float


_VECTOR = types.float64[::1]
GAUSSIAN = numba.typeof(Gaussian(np.zeros(1), np.zeros(1), np.zeros((1, 1)), np.zeros((1, 1))))
WHITENING = numba.typeof(whiten.diagonal(np.zeros(1), np.ones(1)))
_ASCEND = types.void(
    GAUSSIAN,  # q
    GAUSSIAN,  # its average
    WHITENING,
    WHITENING,
    _VECTOR,  # estimates of the ELBO
    numba.typeof(Course(1, 1, 1, 1.0, 0.5)),
    types.npy_rng,
    types.FunctionType(LOG_DENSITY),
    TARGET,
    LIKELIHOOD,
)


@inline
def spread_rate(q, pairs):
    """First step of the spread: a share of K / (K + n + 1) for n dependent coordinates."""
    n = q.root.shape[0] if q.factor.shape[1] == 0 else q.mean.size
    return CAUTION * pairs / (pairs + n + 1.0)


@signed_kernel(_ASCEND)
def ascend(q, average, W, V, elbo, course, rng, log_density, target, log_likelihood):
    """As many steps as ``elbo`` has elements; fill it with estimates, move q and its average in place.

    An estimate is ``-inf`` where a density was not finite; such pairs move nothing.
    """
    d, r, pairs = q.mean.size, q.factor.shape[1], course.pairs
    centre, shift, x, z, h, w = np.empty(d), np.empty(d), np.empty(d), np.empty(d), np.empty(d), np.empty(d)
    up, down, total, pull = np.empty(d), np.empty(d), np.empty(d), np.empty(d)
    A, E, more = np.empty((pairs, d)), np.empty((pairs, d)), np.empty(r)
    d_log_sd, d_factor = np.empty(d), np.empty((d, r))
    rate_0 = spread_rate(q, pairs)
    for t in range(elbo.size):
        place(W, q.mean, centre)
        inverse, log_det = inverted(q, course.log_det)
        total[:], d_log_sd[:], d_factor[:], A[:] = 0.0, 0.0, 0.0, 0.0
        bound = 0.0
        for k in range(pairs):
            square = 0.0
            for i in range(d):
                E[k, i] = rng.standard_normal()
                square += E[k, i] * E[k, i]
            for c in range(r):
                more[c] = rng.standard_normal()
            spread(q, E[k], more, z)
            place(V, z, shift)
            for i in range(d):
                x[i] = centre[i] + shift[i]
            value = 0.5 * log_density(x, up, target, log_likelihood)
            for i in range(d):
                x[i] = centre[i] - shift[i]
            value += 0.5 * log_density(x, down, target, log_likelihood)
            if r > 0:
                square = whitened(q, inverse, z, w)
            bound += value + 0.5 * square + d * HALF_LOG_2PI + log_det
            if not (np.isfinite(value) and all_finite(up) and all_finite(down)):
                bound = -np.inf
                continue
            for i in range(d):
                total[i] += 0.5 * (up[i] + down[i]) / pairs
                up[i] = 0.5 * (up[i] - down[i])
            pull_back(V, up, h)
            if r > 0:
                for i in range(d):
                    h[i] += w[i]
                low_rank_change(q, h, E[k], more, d_log_sd, d_factor)
            else:
                stretch(q, h, E[k], A[k])
        elbo[t] = bound / pairs
        decay = (1.0 + rate_0 * (course.first + t) / PATIENCE) ** -DECAY
        pull_back(W, total, pull)
        move_mean(q, pull, course.mean_rate * decay)
        if r > 0:
            move_low_rank(q, d_log_sd, d_factor, rate_0 * decay / pairs)
        else:
            move_spread(q, A, E, rate_0 * decay)
        blend(average, q, 1.0 / (course.averaged + t + 1))


@signed_kernel(types.float64(WHITENING, types.npy_rng, types.FunctionType(LOG_DENSITY), TARGET, LIKELIHOOD))
def largest_curvature(W, rng, log_density, target, log_likelihood):
    """Largest eigenvalue, in size, of the Hessian at the centre in the coordinates of W: power iteration."""
    d = W.center.size
    v, x, up, down, slope = np.empty(d), np.empty(d), np.empty(d), np.empty(d), np.empty(d)
    for i in range(d):
        slope[i] = rng.standard_normal()
    size = np.nan
    for _ in range(POWER_STEPS):
        length = np.sqrt(np.sum(slope * slope))
        if not length > 0.0:
            return size
        v[:] = slope / length * POWER_LENGTH
        place(W, v, x)
        log_density(x, up, target, log_likelihood)
        v[:] *= -1.0
        place(W, v, x)
        log_density(x, down, target, log_likelihood)
        for i in range(d):
            up[i] = 0.5 * (down[i] - up[i]) / POWER_LENGTH
        pull_back(W, up, slope)
        size = np.sqrt(np.sum(slope * slope))
    return size


_MATRIX = types.float64[:, ::1]


@signed_kernel(types.void(GAUSSIAN, WHITENING, WHITENING, types.float64, types.npy_rng, _MATRIX, _VECTOR))
def draw(q, W, V, log_det_V, rng, positions, log_q):
    """Fill ``positions`` with independent draws from q, a row each, and ``log_q`` with its log density there."""
    d, r = q.mean.size, q.factor.shape[1]
    centre, shift, noise, more, z, w = (
        np.empty(d), np.empty(d), np.empty(d), np.empty(r), np.empty(d), np.empty(d),
    )  # fmt: skip
    place(W, q.mean, centre)
    inverse, log_det = inverted(q, log_det_V)
    for m in range(log_q.size):
        square = 0.0
        for i in range(d):
            noise[i] = rng.standard_normal()
            square += noise[i] * noise[i]
        for c in range(r):
            more[c] = rng.standard_normal()
        spread(q, noise, more, z)
        place(V, z, shift)
        for i in range(d):
            positions[m, i] = centre[i] + shift[i]
        if r > 0:
            square = whitened(q, inverse, z, w)
        log_q[m] = -0.5 * square - d * HALF_LOG_2PI - log_det
