r"""Bayes factor against a point null from the draws of the full model alone.

Place in the reading order: after ``bridge``; knows no models. It is the cross-check of two bridges: other numbers,
other errors.

Where the restricted model is the full one at theta = theta0, with the prior of everything else the same given theta0
(independent priors will do), the ratio of the marginal likelihoods is a ratio of two densities at one point,

.. math:: BF_{12} = p(\theta_0) / p(\theta_0 \mid y),

prior over posterior, on any scale as long as it is the same for both. The posterior density at the point comes from
the log density of the model at *shifted* draws, :func:`shifted_density`. That is exact in the limit, and sees beyond
the draws, where a kernel density is blind.

Sources: Dickey (1971); Verdinelli and Wasserman (1995); Chen (1994) for importance-weighted marginal densities, here
with a shift along the regression of the other parameters on theta.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refglmm.bayes.bridge import LogDensities, checked_density, effective_size, relative_variance
from refglmm.errors import ArgumentError, DataError

FloatArray = NDArray[np.float64]

LOG_2PI = float(np.log(2.0 * np.pi))


class LogDensity(NamedTuple):
    """Logarithm of a posterior density at a point, and its standard error."""

    value: float
    error: float


class SavageDickey(NamedTuple):
    """Logarithm of the Bayes factor for the full model (1) against the point null (2), its error and its method."""

    log_bf: float
    error: float
    method: str


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
    wrong = ~np.isfinite(values)
    if wrong.any():
        chain, draw = (int(i) for i in np.argwhere(wrong)[0])
        raise DataError(f"{name} is {values[chain, draw]} in draw {draw} of chain {chain}", chain=chain, draw=draw)
    return values
