r"""Bayes factor against a point null from the draws of the full model alone.

Place in the reading order: after ``bridge``; knows no models. It is the cross-check of two bridges: other numbers,
other errors.

Where the restricted model is the full one at theta = theta0, with the prior of everything else the same given theta0
(independent priors will do), the ratio of the marginal likelihoods is a ratio of two densities at one point,

.. math:: BF_{12} = p(\theta_0) / p(\theta_0 \mid y),

prior over posterior, on any scale as long as it is the same for both. The posterior density at the point comes from

* the mean over draws of the conditional density given everything else, where that is known (Rao-Blackwell);
* the log density of the model at *shifted* draws, :func:`shifted_density`: exact in the limit, and the one to use far
  from the bulk of the posterior;
* a kernel density, multiplied by what the same kernel gets wrong for a normal density with the moments of the draws:
  right for a normal posterior at any bandwidth, good in the bulk otherwise, and blind beyond the draws (its error is
  infinite there).

Sources: Dickey (1971); Verdinelli and Wasserman (1995); Chen (1994) for importance-weighted marginal densities, here
with a shift along the regression of the other parameters on theta; Silverman (1986) for the bandwidth.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refglmm.bayes.bridge import LARGEST_ERROR, LogDensities, checked_density, effective_size, relative_variance
from refglmm.errors import ArgumentError, DataError

FloatArray = NDArray[np.float64]

LOG_2PI = float(np.log(2.0 * np.pi))
#: The bias of a kernel estimate grows with the square of the bandwidth: at twice the bandwidth it is 4 times, 3 more.
BIAS_SHARE = 3.0


class LogDensity(NamedTuple):
    """Logarithm of a posterior density at a point, and its standard error."""

    value: float
    error: float


class SavageDickey(NamedTuple):
    """Logarithm of the Bayes factor for the full model (1) against the point null (2), its error and its method."""

    log_bf: float
    error: float
    method: str


def savage_dickey(
    draws: FloatArray, point: float, log_prior: float, *, log_conditional: FloatArray | None = None
) -> SavageDickey:
    """Log Bayes factor of a full model against theta = ``point``.

    Parameters
    ----------
    draws : float array, shape (chains, draws)
        Posterior draws of theta, best on a scale on which they are about normal.
    point : float
        The null value, same scale.
    log_prior : float
        Log density of theta's prior at the point, same scale.
    log_conditional : float array, shape (chains, draws), optional
        log p(point | everything else in that draw, y), normalised: then the draws of theta themselves are not needed.

    Returns
    -------
    SavageDickey
        The error of a kernel density is infinite where it sees hardly any draw; see :func:`shifted_density`.

    Raises
    ------
    ArgumentError, DataError
        Other shapes, numbers that are not finite, draws that are all equal.
    """
    draws = _checked(draws, "draws")
    for name, value in (("point", point), ("log_prior", log_prior)):
        if not np.isfinite(value):
            raise ArgumentError(f"{name} must be a finite number, not {value!r}", **{name: value})
    if log_conditional is not None:
        log_conditional = _checked(log_conditional, "log_conditional")
        density, method = _log_mean_with_error(log_conditional), "conditional density"
    else:
        density, method = kernel_density(draws, point), "kernel density"
    return SavageDickey(float(log_prior) - density.value, density.error, method)


def kernel_density(draws: FloatArray, point: float) -> LogDensity:
    """Log density at a point by a corrected normal kernel.

    The error holds the sampling error and the bias; it is infinite where a dozen draws or fewer carry the estimate, as
    there the first-order formula would promise too much.
    """
    spread = np.subtract(*np.quantile(draws, (0.75, 0.25)))
    sd = float(draws.std(ddof=1))
    if not sd > 0.0:
        raise DataError("the draws are all equal: they have no density", value=float(draws.flat[0]))
    width = 0.9 * min(sd, spread / 1.34 or sd) * effective_size(draws) ** -0.2
    value, error = _corrected_kernel(draws, point, width)
    bias = (_corrected_kernel(draws, point, 2.0 * width).value - value) / BIAS_SHARE
    total = float(np.hypot(error, bias))
    return LogDensity(value, total if total <= LARGEST_ERROR else np.inf)


def _corrected_kernel(draws: FloatArray, point: float, width: float) -> LogDensity:
    """Kernel estimate times N(point; m, s^2) / N(point; m, s^2 + width^2)."""
    value, error = _log_mean_with_error(_log_normal(point - draws, width))
    distance, sd = point - draws.mean(), draws.std(ddof=1)
    correction = _log_normal(distance, sd) - _log_normal(distance, np.hypot(sd, width))
    return LogDensity(value + float(correction), error)


def shifted_density(
    positions: FloatArray, lp: FloatArray, log_densities: LogDensities, coordinate: int, point: float
) -> LogDensity:
    r"""Log marginal posterior density of one coordinate at a point, from the log density at shifted draws.

    With x = (theta, psi), slopes b of the regression of psi on theta, and any density w of theta,

    .. math:: p(\theta_0 \mid y) = E\left[ w(\theta) \,
        \frac{q(\theta_0, \psi + b (\theta_0 - \theta))}{q(\theta, \psi)} \right],

    as the shift has unit Jacobian in psi and w integrates to one. With w normal, of the moments of theta, all terms
    are equal for a normal posterior. Slopes and moments come from the other half of each chain: from the same draws
    they would bias the density (by half its error in 105 dimensions).

    Parameters
    ----------
    positions : float array, shape (chains, draws, d)
    lp : float array, shape (chains, draws)
        log q at the draws.
    log_densities : callable
        From (m, d) to log q, shape (m,).
    coordinate : int
        Which one is theta.
    point : float
        theta0.

    Returns
    -------
    LogDensity

    Raises
    ------
    ArgumentError, DataError
        Other shapes, draws that are all equal.
    """
    positions, lp = np.asarray(positions, dtype=float), _checked(lp, "lp")
    if positions.ndim != 3 or positions.shape[:2] != lp.shape or not 0 <= coordinate < positions.shape[2]:
        raise ArgumentError(
            f"positions must be (chains, draws, parameters) with lp (chains, draws) and a coordinate among them, not "
            f"{positions.shape}, {lp.shape} and {coordinate}"
        )
    density, middle = checked_density(log_densities), positions.shape[1] // 2
    first, second = (slice(None), slice(None, middle)), (slice(None), slice(middle, None))
    terms = [
        _shifted_terms(positions[fitted], positions[used], lp[used], density, coordinate, point)
        for fitted, used in ((second, first), (first, second))
    ]
    return _log_mean_with_error(np.concatenate(terms, axis=1))


def _shifted_terms(
    fitted: FloatArray, positions: FloatArray, lp: FloatArray, density: LogDensities, coordinate: int, point: float
) -> FloatArray:
    """Log terms of :func:`shifted_density` at draws (chains, draws, d), slopes and weights from other draws."""
    flat = fitted.reshape(-1, fitted.shape[2])
    centred = flat - flat.mean(axis=0)
    variance = float(np.mean(centred[:, coordinate] ** 2))
    if not variance > 0.0:
        raise DataError("the draws are all equal: they have no density", value=float(flat[0, coordinate]))
    slopes = centred[:, coordinate] @ centred / (variance * len(flat))
    theta = positions[:, :, coordinate]
    shifted = positions + (point - theta)[:, :, None] * slopes
    shifted[:, :, coordinate] = point
    log_q = density(shifted.reshape(theta.size, -1)).reshape(theta.shape)
    return _log_normal(theta - flat[:, coordinate].mean(), np.sqrt(variance)) + log_q - lp


def _log_mean_with_error(log_terms: FloatArray) -> LogDensity:
    """Log of the mean of exp(log_terms) (chains, draws), with its relative error under autocorrelation."""
    largest = float(log_terms.max())
    if largest == -np.inf:
        return LogDensity(-np.inf, np.inf)
    terms = np.exp(log_terms - largest)
    from scipy.special import logsumexp

    value = float(logsumexp(log_terms) - np.log(log_terms.size))
    return LogDensity(value, float(np.sqrt(relative_variance(terms, effective_size(terms)))))


def _log_normal(distance: FloatArray | float, sd: float) -> FloatArray:
    """Log density of N(0, sd^2)."""
    return np.asarray(-0.5 * (LOG_2PI + (distance / sd) ** 2) - np.log(sd))


def _checked(values: FloatArray, name: str) -> FloatArray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or values.shape[1] < 4:
        raise ArgumentError(f"{name} must have shape (chains, draws), not {values.shape}", shape=values.shape)
    wrong = ~np.isfinite(values) if name != "log_conditional" else np.isnan(values) | (values == np.inf)
    if wrong.any():
        chain, draw = (int(i) for i in np.argwhere(wrong)[0])
        raise DataError(f"{name} is {values[chain, draw]} in draw {draw} of chain {chain}", chain=chain, draw=draw)
    return values
