r"""Posterior mode: random effects integrated out by Laplace's method, or jointly with them.

Place in the reading order: after ``laplace``.

The mode is that of the density of the *natural* values (no Jacobian); the search runs on the unbounded scale. Its
covariance is the inverse of minus the Hessian there, carried to what is reported by the delta method. Intervals are
symmetric on the scale on which a number is unbounded: the logarithm for a positive one, the logit for one between two
bounds, Fisher's z for a correlation, and the number itself for coefficients and thresholds.

.. math:: \log p(y) \approx \log p(\hat t, y) + \tfrac{d}{2}\log 2\pi + \tfrac12 \log|\hat\Sigma| + \log|dx/dt|
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refglmm.bayes.laplace import (
    LaplaceFit,
    Marginal,
    difference_columns,
    find_mode,
    laplace_fit,
    log_jacobian,
    marginal_of,
    root_of_effects,
)
from refglmm.bayes.scalars import ABOVE, INTERVAL
from refglmm.errors import ArgumentError, ConvergenceWarning, warn
from refglmm.optimize.newton import minimize_newton

if TYPE_CHECKING:
    from refglmm.bayes.posterior import Posterior

FloatArray = NDArray[np.float64]

#: SD of the unbounded hyperparameters, in natural sizes, from which further starts are drawn.
DISPERSION = 3.0
#: A standard deviation below this share of its starting value is reported as being zero.
AT_ZERO = 1e-4


@dataclass(frozen=True)
class Mode:
    """A posterior mode in numbers; see :class:`.fits.MAPFit` for its public face.

    Attributes
    ----------
    position : float array, shape (d,)
    covariance : float array, shape (n_hyper, n_hyper)
        Of the unbounded hyperparameters; nan for those at a boundary.
    log_posterior : float
        At the mode, on the natural scale; random effects integrated out unless ``joint``.
    log_marginal : float
        Laplace's log marginal likelihood; nan where a parameter is at a boundary.
    effects_sd : float array, shape (q,)
        Posterior standard deviations of b = Lambda u: conditional variance, and what the hyperparameters add.
    at_boundary : tuple of str
    joint, converged : bool
    message : str
    starts : float array, shape (number of starts,)
        Log posterior that each start reached.
    """

    position: FloatArray
    covariance: FloatArray
    log_posterior: float
    log_marginal: float
    effects_sd: FloatArray
    at_boundary: tuple[str, ...]
    joint: bool
    converged: bool
    message: str
    starts: FloatArray


def posterior_mode(posterior: Posterior, *, laplace: bool = True, n_starts: int = 1, seed: int = 1) -> Mode:
    """Find the posterior mode.

    Parameters
    ----------
    laplace : bool
        Integrate the random effects out (else maximise over them too, which shrinks standard deviations to zero).
    n_starts : int
        Starts: the first from the data, the others dispersed around it; the best mode is kept.
    seed : int
        For the dispersed starts.

    Warns
    -----
    ConvergenceWarning
    """
    if n_starts < 1:
        raise ArgumentError(f"there must be at least one start, not {n_starts}")
    if np.any(posterior.exponent):
        posterior = posterior.with_exponent(None)
    return _marginal_mode(posterior, n_starts, seed) if laplace else _joint_mode(posterior, n_starts, seed)


def _starts(marginal: Marginal, n_starts: int, seed: int) -> tuple[list[FloatArray], FloatArray]:
    """Hyperparameters to start from, and their natural sizes."""
    first, sizes = marginal.start()
    rng = np.random.default_rng(seed)
    return [first, *(first + DISPERSION * sizes * rng.standard_normal(first.size) for _ in range(n_starts - 1))], sizes


def _marginal_mode(posterior: Posterior, n_starts: int, seed: int) -> Mode:
    marginal = marginal_of(posterior, jacobian=False)
    starts, sizes = _starts(marginal, n_starts, seed)
    reached, best = [], None
    for start in starts:
        if np.isfinite(marginal.negative(start)[0]):
            minimum, _ = find_mode(marginal, start, sizes)
            reached.append(-minimum.value)
            if best is None or minimum.value < best.value:
                best = minimum
        else:
            reached.append(-np.inf)
    fit = laplace_fit(posterior, jacobian=False, start=starts[0] if best is None else best.x)
    boundary = at_zero(posterior, fit.hyper)
    names = np.array(posterior.hyper_names)
    covariance = fit.covariance.copy()
    covariance[boundary, :], covariance[:, boundary] = np.nan, np.nan
    return Mode(
        position=fit.position,
        covariance=covariance,
        log_posterior=fit.log_density,
        log_marginal=np.nan if boundary.any() else fit.log_marginal,
        effects_sd=effects_sd(posterior, fit),
        at_boundary=tuple(names[boundary]),
        joint=False,
        converged=fit.converged,
        message=fit.message,
        starts=np.array(reached),
    )


def at_zero(posterior: Posterior, hyper: FloatArray) -> NDArray[np.bool_]:
    """Which hyperparameters are standard deviations that have run to zero."""
    first = marginal_of(posterior).start()[0]
    values, start = posterior.natural(np.array([hyper, first]))[0]
    block = posterior.block("sd")
    zero = np.zeros(values.size, dtype=bool)
    zero[block] = values[block] < AT_ZERO * start[block]
    return zero[[scalar.fixed is None for scalar in posterior.scalars]]


def effects_sd(posterior: Posterior, fit: LaplaceFit) -> FloatArray:
    r"""Posterior SDs of b: roots of :math:`diag(S H^{-1} S' + J_b \Sigma J_b')`, S as in ``laplace``.

    Standard deviations at zero, whose logarithms have no finite variance, add nothing.
    """
    S, boundary = root_of_effects(posterior, fit.hyper), at_zero(posterior, fit.hyper)
    covariance = np.where(boundary | boundary[:, None], 0.0, fit.covariance)
    sd = np.where(boundary, 1.0, np.sqrt(np.diag(fit.covariance)))
    moved = difference_columns(lambda t: root_of_effects(posterior, t) @ fit.u, fit.hyper, sd)
    J = S @ fit.slope + moved
    rows = fit.factor.solve_L_rows(np.ascontiguousarray(S.toarray())) if posterior.q else np.empty((0, 0))
    return np.sqrt(np.sum(rows * rows, axis=1) + np.sum((J @ covariance) * J, axis=1))


def _joint_mode(posterior: Posterior, n_starts: int, seed: int) -> Mode:
    """Maximise over hyperparameters and spherical random effects together (b itself has no joint mode but sd = 0)."""
    marginal = marginal_of(posterior, jacobian=False)
    starts, sizes = _starts(marginal, n_starts, seed)
    d, n_hyper = posterior.dimension, posterior.n_hyper
    scale = np.concatenate([sizes, np.ones(posterior.q)])
    unbounded = np.full(d, np.inf)
    best, reached = None, []
    for start in starts:
        minimum, B = minimize_newton(
            lambda x: _negative_joint(posterior, x),
            np.concatenate([start, np.zeros(posterior.q)]),
            -unbounded,
            unbounded,
            hessian=np.diag(1.0 / scale**2),
            tolerance=1e-9,
            max_evaluations=5000,
            largest_step=2.0 * scale,
        )
        reached.append(-minimum.value)
        if best is None or minimum.value < best[0].value:
            best = minimum, B
    assert best is not None
    minimum, B = best
    if not minimum.success:
        warn(ConvergenceWarning(f"the joint mode was not found: {minimum.message}"))
    covariance = np.linalg.inv(B)
    boundary = at_zero(posterior, minimum.x[:n_hyper])
    return Mode(
        position=minimum.x,
        covariance=np.array(covariance[:n_hyper, :n_hyper], dtype=np.float64),
        log_posterior=-minimum.value,
        log_marginal=np.nan,
        effects_sd=np.full(posterior.q, np.nan),
        at_boundary=tuple(np.array(posterior.hyper_names)[boundary]),
        joint=True,
        converged=minimum.success,
        message=minimum.message,
        starts=np.array(reached),
    )


def _negative_joint(posterior: Posterior, position: FloatArray) -> tuple[float, FloatArray]:
    """Minus the log posterior of natural values and spherical random effects, and its gradient."""
    value, gradient = posterior.value_and_gradient(position)
    jacobian, slope = log_jacobian(posterior, position[: posterior.n_hyper])
    gradient[: posterior.n_hyper] -= slope
    return -(value - jacobian), -gradient


# -- the delta method ---------------------------------------------------------------------------------------------


def interval_scales(posterior: Posterior) -> list[tuple[Callable[[float], float], Callable[[float], float]]]:
    """For each reported quantity the scale on which its interval is symmetric, and the way back."""
    kinds = {scalar.name: scalar for scalar in posterior.scalars}
    out: list[tuple[Callable[[float], float], Callable[[float], float]]] = []
    ordinal = posterior.problem.family.is_ordinal
    shapes = {scalar.name for scalar in posterior.scalars[posterior.block("shape")]}
    for name in posterior.names:
        scalar = kinds.get(name)
        if name.startswith(("corr", "rho_resid[")):
            out.append((np.arctanh, np.tanh))
        elif scalar is None or scalar.block == "fixed" or (ordinal and name in shapes) or not np.isfinite(scalar.low):
            out.append((_same, _same))
        elif scalar.scale == ABOVE:
            out.append(_log_above(scalar.low))
        elif scalar.scale == INTERVAL:
            out.append(_logit_between(scalar.low, scalar.high))
        else:
            out.append((_same, _same))
    return out


def _same(x: float) -> float:
    return x


def _log_above(low: float) -> tuple[Callable[[float], float], Callable[[float], float]]:
    return lambda x: np.log(x - low), lambda t: low + np.exp(t)


def _logit_between(low: float, high: float) -> tuple[Callable[[float], float], Callable[[float], float]]:
    return lambda x: np.log((x - low) / (high - x)), lambda t: low + (high - low) / (1.0 + np.exp(-t))


def delta_method(posterior: Posterior, hyper: FloatArray, covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Reported values at ``hyper`` and their covariance, first order."""
    sd = np.sqrt(np.diag(covariance))
    known = np.isfinite(sd)
    steps = np.where(known, sd, 0.1)
    J = difference_columns(lambda t: posterior.reported(t[None])[0], hyper, steps)
    filled = np.where(known[:, None] & known[None, :], covariance, 0.0)
    result = J @ filled @ J.T
    lost = np.any(np.abs(J[:, ~known]) > 0.0, axis=1)
    result[lost, :], result[:, lost] = np.nan, np.nan
    return posterior.reported(hyper[None])[0], result
