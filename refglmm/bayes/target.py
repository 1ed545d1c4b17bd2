r"""The log posterior and its gradient: one jitted function for every family, prior and structure.

Place in the reading order: after ``scalars``; before ``posterior``, which fills a :class:`Target`.

The unconstrained position is (hyper, u). The free numbers ``hyper`` give, each by its own scale, the natural values x:

====================  ============================================================================================
fixed effects         centred intercept and slopes, or what a shrinkage prior makes slopes of
standard deviations   of the random effects
partial correlations  of the correlated terms (Lewandowski, Kurowicka and Joe 2009)
shape parameters      of the family; ordered thresholds as first value and logarithms of the gaps
others                scales of a shrinkage prior
====================  ============================================================================================

.. math:: \log p = \sum_i l_i(\eta_i, \phi) + \log N(u; 0, I) + \sum_j \{\log p(x_j) + \log dx_j/dt_j\},\qquad
    \eta = o + X\beta + Z\Lambda u

X is centred at its column means where the model has an intercept (or thresholds). The random effects may be partly
centred: what stands in the position for column r of a term is :math:`v = sd_r^{c_r} u`, 0 <= c <= 1, with density
:math:`N(v; 0, sd_r^{2c})`. c = 0 leaves u; c = 1 makes v, in a term of one column, b itself (Papaspiliopoulos, Roberts
and Skoeld 2003, 2007; ``posterior`` says which c is good).

Every derivative runs backwards through the same steps: s = dl/deta gives :math:`X's` and :math:`Z's`; with
:math:`g = Z's`, :math:`d/du = T'g - u`, :math:`d/dT = \sum g u'`.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from refglmm._jit import inline, signed_kernel
from refglmm.bayes.scalars import log_prior, to_natural
from refglmm.bayes.shrinkage import joint_prior, slopes, slopes_back
from refglmm.families.fused import LOG_LIKELIHOOD, Rows, plain_rows

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

HALF_LOG_2PI = 0.5 * np.log(2.0 * np.pi)


class Target(NamedTuple):
    """All that a log posterior knows, as arrays.

    Attributes
    ----------
    rows : Rows
        Response, weights and base measure.
    offset : float array, shape (n,)
    Xt : float array, shape (p, n)
        Model matrix by columns, centred.
    z_at, z : shape (n, r)
        Column of Z and value of each nonzero of each row (see ``likelihood.layout``).
    k, levels, T_start : int arrays, one element a term
    exponent : float array, one element a column of each term
        How far it is centred, c.
    sd_at : int array, one element a column of each term
        Which of the standard deviations it has.
    corr_at : int array, one element a term
        Its first partial correlation (by rows of the lower triangle); -1 where the columns are uncorrelated.
    counts : int array
        Numbers of fixed effects, standard deviations, partial correlations, shape parameters, others.
    slot : int array, one element a scalar
        Where in the position it stands; -1 where it is fixed at ``value``.
    value, scale, bounds, prior, hyper
        Fixed value; code and bounds (2 columns) of the scale; code and numbers (4 columns) of the prior.
    shape_power : float array
        The kernel's shape parameter is this power of the scalar.
    shape_known : float array
        Shape parameters that are known; they follow the others.
    ordered : int array, 1 element
        1 where the shape parameters are ordered thresholds: the scalars are then the first and the gaps.
    slope_kind : int array, 1 element
        How fixed effects come about, see ``shrinkage``.
    slope_columns : int array
        Fixed effects that a shrinkage or joint prior concerns.
    slope_scale : float array, one element for each of them
    slope_matrix : float array, shape (columns, columns)
    slope_hyper : float array
    """

    rows: Rows
    offset: FloatArray
    Xt: FloatArray
    z_at: NDArray[np.int32]
    z: FloatArray
    k: IntArray
    levels: IntArray
    T_start: IntArray
    exponent: FloatArray
    sd_at: IntArray
    corr_at: IntArray
    counts: IntArray
    slot: IntArray
    value: FloatArray
    scale: IntArray
    bounds: FloatArray
    prior: IntArray
    hyper: FloatArray
    shape_power: FloatArray
    shape_known: FloatArray
    ordered: IntArray
    slope_kind: IntArray
    slope_columns: IntArray
    slope_scale: FloatArray
    slope_matrix: FloatArray
    slope_hyper: FloatArray


def blank(d: int) -> Target:
    """A target without a model: ``rows.y`` has shape (d,), ``slope_matrix`` (d, d), all else is empty.

    For log densities that are no posterior and need some numbers.
    """
    one, two = np.empty(0), np.empty((0, 0))
    whole = np.empty(0, dtype=np.int64)
    return Target(
        rows=plain_rows(np.zeros(d), one, one),
        offset=one,
        Xt=two,
        z_at=np.empty((0, 0), dtype=np.int32),
        z=two,
        k=whole,
        levels=whole,
        T_start=whole,
        exponent=one,
        sd_at=whole,
        corr_at=whole,
        counts=np.zeros(5, dtype=np.int64),
        slot=whole,
        value=one,
        scale=whole,
        bounds=two,
        prior=whole,
        hyper=two,
        shape_power=one,
        shape_known=one,
        ordered=np.zeros(1, dtype=np.int64),
        slope_kind=np.zeros(1, dtype=np.int64),
        slope_columns=whole,
        slope_scale=one,
        slope_matrix=np.zeros((d, d)),
        slope_hyper=one,
    )


TARGET = numba.typeof(blank(1))
_VECTOR = types.float64[::1]
LIKELIHOOD = types.FunctionType(LOG_LIKELIHOOD)
#: ``log_density(position, gradient, target, log_likelihood) -> value``; the gradient is filled in place.
LOG_DENSITY = types.float64(_VECTOR, _VECTOR, TARGET, LIKELIHOOD)


# -- natural values ------------------------------------------------------------


@inline
def natural_values(position, target, x, dx, d_x, gradient):
    """Fill x, dx/dt, d_x (slope of the log prior in x) and the slope of log dx/dt; return log prior, log dx/dt."""
    prior, jacobian = 0.0, 0.0
    for j in range(x.size):
        at = target.slot[j]
        x[j], dx[j] = target.value[j], 0.0
        if at >= 0:
            low, high = target.bounds[j, 0], target.bounds[j, 1]
            x[j], dx[j], log_slope, gradient[at] = to_natural(target.scale[j], position[at], low, high)
            jacobian += log_slope
    sum_gaps(x, target)
    for j in range(x.size):
        d_x[j] = 0.0
        if target.slot[j] >= 0:
            density, d_x[j] = log_prior(target.prior[j], x[j], target.hyper[j])
            prior += density
    return prior, jacobian


@inline
def sum_gaps(x, target):
    """Turn a first threshold and gaps into thresholds, in place."""
    if target.ordered[0] == 1:
        first = target.counts[0] + target.counts[1] + target.counts[2]
        for j in range(first + 1, first + target.counts[3]):
            x[j] += x[j - 1]


@inline
def sum_gaps_back(target, d_x):
    """Turn slopes in thresholds into slopes in the first and the gaps, in place."""
    if target.ordered[0] == 1:
        first = target.counts[0] + target.counts[1] + target.counts[2]
        for j in range(first + target.counts[3] - 1, first, -1):
            d_x[j - 1] += d_x[j]


# -- covariance: T = diag(sd) L, L from partial correlations ---------------------------------


@inline
def term_factors(x, target, T):
    r"""Fill T of all terms: :math:`T_{rc} = sd_r z_{rc} \prod_{l<c} \sqrt{1 - z_{rl}^2}`, :math:`z_{rr} = 1`."""
    p, n_sd = target.counts[0], target.counts[1]
    column = 0
    for t in range(target.k.size):
        k, start, z = target.k[t], target.T_start[t], p + n_sd + target.corr_at[t]
        for r in range(k):
            rest = x[p + target.sd_at[column]]
            column += 1
            for c in range(k):
                T[start + r * k + c] = 0.0
            if target.corr_at[t] >= 0:
                for c in range(r):
                    T[start + r * k + c] = rest * x[z]
                    rest *= np.sqrt((1.0 - x[z]) * (1.0 + x[z]))
                    z += 1
            T[start + r * k + r] = rest


@inline
def term_factors_back(x, target, T, d_T, d_x):
    r"""Add to d_x: :math:`d/dz_{rl} = d_{rl} T_{rl}/z_{rl} - z_{rl}/(1 - z_{rl}^2) \sum_{c>l} d_{rc} T_{rc}`."""
    p, n_sd = target.counts[0], target.counts[1]
    column = 0
    for t in range(target.k.size):
        k, start, first = target.k[t], target.T_start[t], p + n_sd + target.corr_at[t]
        for r in range(k):
            sd = p + target.sd_at[column]
            column += 1
            row = start + r * k
            after = d_T[row + r] * T[row + r]
            if target.corr_at[t] >= 0:
                rest = x[sd]
                for c in range(r):  # T without z, where z may be zero
                    z = x[first + c]
                    d_x[first + c] += d_T[row + c] * rest
                    rest *= np.sqrt((1.0 - z) * (1.0 + z))
                for c in range(r - 1, -1, -1):
                    z = x[first + c]
                    d_x[first + c] -= z / ((1.0 - z) * (1.0 + z)) * after
                    after += d_T[row + c] * T[row + c]
                first += r
            d_x[sd] += after / x[sd]


# -- random effects ------------------------------------------------------------


@inline
def centring_factors(x, target, f):
    """Fill :math:`f = sd^c` of each column of each term: v = f u."""
    for column in range(f.size):
        c = target.exponent[column]
        f[column] = x[target.counts[0] + target.sd_at[column]] ** c if c != 0.0 else 1.0


@inline
def effects_of(v, target, T, f, u, b):
    """Fill u = v / f and b = Lambda u."""
    at, column = 0, 0
    for t in range(target.k.size):
        k, start = target.k[t], target.T_start[t]
        for _ in range(target.levels[t]):
            for r in range(k):
                u[at + r] = v[at + r] / f[column + r]
                value = 0.0
                for c in range(r + 1):
                    value += T[start + r * k + c] * u[at + c]
                b[at + r] = value
            at += k
        column += k


@inline
def effects_back(x, u, target, T, f, zts, d_T, d_x, d_v):
    r"""Return the log density of the random effects; fill d_v and add to d_T and d_x, given :math:`g = Z's`.

    .. math:: \log p(v) = -|u|^2/2 - \sum \log f,\quad d_u = T'g - u,\quad d_v = d_u / f,\quad d_T = g u',\quad
        d_{sd} = -(c/sd) \sum (1 + u\,d_u)
    """
    total, at, column = 0.0, 0, 0
    for t in range(target.k.size):
        k, start = target.k[t], target.T_start[t]
        for c in range(k):
            total -= target.levels[t] * (np.log(f[column + c]) + HALF_LOG_2PI)
        for _ in range(target.levels[t]):
            for c in range(k):
                value = 0.0
                for r in range(c, k):
                    value += T[start + r * k + c] * zts[at + r]
                    d_T[start + r * k + c] += zts[at + r] * u[at + c]
                d_u = value - u[at + c]
                d_v[at + c] = d_u / f[column + c]
                total -= 0.5 * u[at + c] * u[at + c]
                if target.exponent[column + c] != 0.0:
                    sd = target.counts[0] + target.sd_at[column + c]
                    d_x[sd] -= target.exponent[column + c] / x[sd] * (1.0 + u[at + c] * d_u)
            at += k
        column += k
    return total


# -- rows ------------------------------------------------------------


@inline
def _random_part(r, target, b, eta):
    for i in range(eta.size):
        value = eta[i]
        for j in range(r):
            value += target.z[i, j] * b[target.z_at[i, j]]
        eta[i] = value


@inline
def linear_predictor(target, beta, b, eta):
    """Eta = offset + X beta + Z b, filled in place; loops over the nonzeros of a row are unrolled up to three."""
    for i in range(eta.size):
        eta[i] = target.offset[i]
    for j in range(beta.size):
        for i in range(eta.size):
            eta[i] += beta[j] * target.Xt[j, i]
    r = target.z.shape[1]
    if r == 1:
        _random_part(1, target, b, eta)
    elif r == 2:
        _random_part(2, target, b, eta)
    else:
        _random_part(r, target, b, eta)


@inline
def _gather(r, target, s, zts):
    for i in range(s.size):
        for j in range(r):
            zts[target.z_at[i, j]] += target.z[i, j] * s[i]


@inline
def predictor_back(target, s, d_beta, zts):
    """Add X's to d_beta; fill Z's."""
    for j in range(d_beta.size):
        value = 0.0
        for i in range(s.size):
            value += target.Xt[j, i] * s[i]
        d_beta[j] += value
    zts[:] = 0.0
    r = target.z.shape[1]
    if r == 1:
        _gather(1, target, s, zts)
    elif r == 2:
        _gather(2, target, s, zts)
    else:
        _gather(r, target, s, zts)


# -- shape parameters ------------------------------------------------------------


@inline
def shapes_of(x, target, phi):
    """Fill the kernel's shape parameters."""
    first = target.counts[0] + target.counts[1] + target.counts[2]
    n_shape = target.counts[3]
    for j in range(n_shape):
        phi[j] = x[first + j] if target.shape_power[j] == 1.0 else x[first + j] ** target.shape_power[j]
    for j in range(target.shape_known.size):
        phi[n_shape + j] = target.shape_known[j]


@inline
def shapes_back(x, target, phi, d_phi, d_x):
    """Add to d_x what the slopes in phi mean for the scalars."""
    first = target.counts[0] + target.counts[1] + target.counts[2]
    for j in range(target.counts[3]):
        power = target.shape_power[j]
        d_x[first + j] += d_phi[j] if power == 1.0 else d_phi[j] * power * phi[j] / x[first + j]


# -- all together ---------------------------------------------------------------------------------


@inline
def sizes(target):
    """Numbers of free scalars and of entries of all T."""
    n_hyper, n_factor = 0, 0
    for j in range(target.slot.size):
        if target.slot[j] >= 0:
            n_hyper += 1
    for t in range(target.k.size):
        n_factor += target.k[t] * target.k[t]
    return n_hyper, n_factor


@inline
def scalars_back(target, d_x, dx, gradient):
    """Add the slopes in natural values to the gradient in the position."""
    for j in range(d_x.size):
        if target.slot[j] >= 0:
            gradient[target.slot[j]] += d_x[j] * dx[j]


@signed_kernel(LOG_DENSITY)
def log_posterior(position, gradient, target, log_likelihood):
    """Log posterior density of the unconstrained position, all constants and Jacobians; its gradient, in place.

    Returns ``-inf`` (and a gradient of no use) where the density is zero or not finite.
    """
    n_scalar, p, n_shape = target.slot.size, target.counts[0], target.counts[3]
    n_hyper, n_factor = sizes(target)
    q, n = position.size - n_hyper, target.offset.size
    x, dx, d_x = np.empty(n_scalar), np.empty(n_scalar), np.empty(n_scalar)
    prior, jacobian = natural_values(position, target, x, dx, d_x, gradient)
    beta, d_beta = np.empty(p), np.zeros(p)
    slopes(x, target, beta)
    value = prior + jacobian + joint_prior(x, target, beta, d_beta, d_x)
    T, d_T = np.empty(n_factor), np.zeros(n_factor)
    term_factors(x, target, T)
    phi, d_phi = np.empty(n_shape + target.shape_known.size), np.empty(n_shape)
    shapes_of(x, target, phi)

    f, u, b = np.empty(target.exponent.size), np.empty(q), np.empty(q)
    centring_factors(x, target, f)
    effects_of(position[n_hyper:], target, T, f, u, b)
    eta, s = np.empty(n), np.empty(n)
    linear_predictor(target, beta, b, eta)
    value += log_likelihood(target.rows, eta, phi, s, d_phi)

    predictor_back(target, s, d_beta, b)  # b now holds Z's
    value += effects_back(x, u, target, T, f, b, d_T, d_x, gradient[n_hyper:])
    term_factors_back(x, target, T, d_T, d_x)
    shapes_back(x, target, phi, d_phi, d_x)
    slopes_back(x, target, d_beta, d_x)
    sum_gaps_back(target, d_x)
    scalars_back(target, d_x, dx, gradient)
    return value if np.isfinite(value) else -np.inf


_MATRIX = types.float64[:, ::1]


@signed_kernel(types.void(_MATRIX, _VECTOR, types.FunctionType(LOG_DENSITY), TARGET, LIKELIHOOD))
def log_densities(positions, values, log_density, target, log_likelihood):
    """Log density of each row of ``positions``, filled in place."""
    gradient = np.empty(positions.shape[1])
    for m in range(values.size):
        values[m] = log_density(positions[m], gradient, target, log_likelihood)


@signed_kernel(types.void(_MATRIX, TARGET, _MATRIX, _MATRIX, _MATRIX, _MATRIX))
def unpack(positions, target, X, B, TT, PHI):
    """Natural values, fixed effects, T of all terms and kernel's shape parameters of each row, filled in place.

    Of ``positions`` only the hyperparameters are read.
    """
    n_scalar = target.slot.size
    dx, d_x, gradient = np.empty(n_scalar), np.empty(n_scalar), np.empty(n_scalar)
    for m in range(positions.shape[0]):
        natural_values(positions[m], target, X[m], dx, d_x, gradient)
        slopes(X[m], target, B[m])
        term_factors(X[m], target, TT[m])
        shapes_of(X[m], target, PHI[m])


@signed_kernel(types.void(_MATRIX, _MATRIX, TARGET, _MATRIX, _MATRIX))
def unpack_effects(V, X, target, TT, B):
    """b = Lambda u of each row, filled in place."""
    f, u = np.empty(target.exponent.size), np.empty(V.shape[1])
    for m in range(V.shape[0]):
        centring_factors(X[m], target, f)
        effects_of(V[m], target, TT[m], f, u, B[m])


@signed_kernel(types.void(_MATRIX, _MATRIX, TARGET, _MATRIX))
def linear_predictors(B, effects, target, eta):
    """Linear predictor of each row, filled in place."""
    for m in range(B.shape[0]):
        linear_predictor(target, B[m], effects[m], eta[m])


@signed_kernel(types.UniTuple(types.float64, 2)(_VECTOR, _VECTOR, TARGET, _VECTOR, _VECTOR, _VECTOR, types.boolean))
def prior_and_chain(hyper, gradient, target, d_beta, d_T, d_phi, with_jacobian):
    """Return log prior and log Jacobian; turn slopes in (beta, T, phi), and those of the priors, into ``gradient``.

    Without the Jacobian: on the scale of the natural values. ``d_beta``, ``d_T`` and ``d_phi`` are overwritten.
    """
    n_scalar, p = target.slot.size, target.counts[0]
    x, dx, d_x = np.empty(n_scalar), np.empty(n_scalar), np.empty(n_scalar)
    prior, jacobian = natural_values(hyper, target, x, dx, d_x, gradient)
    if not with_jacobian:
        gradient[:] = 0.0
    beta, T = np.empty(p), np.empty(d_T.size)
    phi = np.empty(d_phi.size + target.shape_known.size)
    slopes(x, target, beta)
    term_factors(x, target, T)
    shapes_of(x, target, phi)
    prior += joint_prior(x, target, beta, d_beta, d_x)
    term_factors_back(x, target, T, d_T, d_x)
    shapes_back(x, target, phi, d_phi, d_x)
    slopes_back(x, target, d_beta, d_x)
    sum_gaps_back(target, d_x)
    scalars_back(target, d_x, dx, gradient)
    return prior, jacobian
