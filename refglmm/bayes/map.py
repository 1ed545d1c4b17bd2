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
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.bayes.laplace import (
    STEP,
    LaplaceFit,
    Marginal,
    difference_columns,
    edges,
    find_mode,
    fit_at,
    log_jacobian,
    marginal_of,
    root_of_effects,
)
from refglmm.bayes.scalars import ABOVE, INTERVAL, LAPLACE
from refglmm.bayes.shrinkage import SSP
from refglmm.errors import (
    ArgumentError,
    ConvergenceWarning,
    NotAvailableError,
    OptimizationError,
    SingularFitWarning,
    warn,
)
from refglmm.optimize.newton import difference_hessian, minimize_newton

if TYPE_CHECKING:
    from refglmm.bayes.posterior import Posterior

FloatArray = NDArray[np.float64]

#: SD of the unbounded hyperparameters, in natural sizes, from which further starts are drawn.
DISPERSION = 3.0
#: Rows of a dense right-hand side at a time.
ROWS_AT_ONCE = 512


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
        Log posterior that was reached from each start where the density is not zero.
    laplace : LaplaceFit or None
        The approximation around a marginal mode.
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
    laplace: LaplaceFit | None = None


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

    Raises
    ------
    ArgumentError
    NotAvailableError
        The slopes have the prior ``prior_ssp``, whose density is highest at the boundary of their scales.
    OptimizationError
        The density is zero at every start.

    Warns
    -----
    ConvergenceWarning, SeparationWarning
    SingularFitWarning
        Standard deviations at zero; there are no standard errors for these.
    """
    if posterior.priors.slope_kind == SSP:
        raise NotAvailableError(
            "the posterior under prior_ssp has no mode to speak of: a slope w r t is zero along whole lines, and the "
            "density is highest at their ends; use sample(), variational() or laplace_draws()"
        )
    if n_starts < 1:
        raise ArgumentError(f"there must be at least one start, not {n_starts}")
    if np.any(posterior.exponent):
        posterior = posterior.with_exponent(None)
    mode = _marginal_mode(posterior, n_starts, seed) if laplace else _joint_mode(posterior, n_starts, seed)
    if singular := [name for name in mode.at_boundary if name.startswith(("sd[", "corr["))]:
        names = ", ".join(singular)
        where = "zero" if all(name.startswith("sd[") for name in singular) else "a boundary"
        advice = "a prior of standard deviations that is zero there, e.g. a gamma one, or sample() avoids it"
        message = f"the posterior mode is singular: {names} at {where}; {advice}"
        warn(SingularFitWarning(message, boundary=mode.at_boundary))
    return mode


def _starts(marginal: Marginal, n_starts: int, seed: int) -> tuple[list[FloatArray], FloatArray]:
    """Hyperparameters to start from, and their natural sizes."""
    first, sizes = marginal.start()
    rng = np.random.default_rng(seed)
    return [first, *(first + DISPERSION * sizes * rng.standard_normal(first.size) for _ in range(n_starts - 1))], sizes


def _marginal_mode(posterior: Posterior, n_starts: int, seed: int) -> Mode:
    marginal = marginal_of(posterior, jacobian=False)
    starts, sizes = _starts(marginal, n_starts, seed)
    found = [find_mode(marginal, start, sizes) for start in starts if np.isfinite(marginal.value(start))]
    if not found:
        raise OptimizationError("the posterior density is zero, or not finite, at every start; give other priors")
    fit = fit_at(marginal, *min(found, key=lambda each: each[0].value), sizes)
    boundary = at_edge(posterior, fit.hyper, starts[0])
    return Mode(
        position=fit.position,
        covariance=np.where(boundary | boundary[:, None], np.nan, fit.covariance),
        log_posterior=fit.log_density,
        log_marginal=np.nan if boundary.any() else fit.log_marginal,
        effects_sd=effects_sd(posterior, fit, boundary),
        at_boundary=_names(posterior, boundary),
        joint=False,
        converged=fit.converged,
        message=fit.message,
        starts=np.array([-minimum.value for minimum, _ in found]),
        laplace=fit,
    )


#: A number so close (in units of the scale) to the kink of a double-exponential prior is there.
AT_KINK = 1e-2


def _names(posterior: Posterior, which: NDArray[np.bool_]) -> tuple[str, ...]:
    """Names as they are reported: a partial correlation at its edge is a correlation there."""
    chosen = [name for name, is_chosen in zip(posterior.hyper_names, which, strict=True) if is_chosen]
    return tuple(name.replace("partial[", "corr[", 1) for name in chosen)


def at_edge(posterior: Posterior, hyper: FloatArray, start: FloatArray) -> NDArray[np.bool_]:
    """Which hyperparameters have run from their start to a bound of their natural values, or to a prior's kink."""
    hyper = hyper[: posterior.n_hyper]
    lower, upper = edges(posterior, start)
    kink = np.zeros(hyper.size, dtype=bool)
    values = posterior.natural(hyper[None])[0][0]
    free = [(scalar, x) for scalar, x in zip(posterior.scalars, values, strict=True) if scalar.fixed is None]
    for j, (scalar, x) in enumerate(free):
        if scalar.prior.code == LAPLACE:
            mean, scale = scalar.prior.hyper[:2]
            kink[j] = abs(x - mean) < AT_KINK * scale
    edge: NDArray[np.bool_] = (hyper < lower) | (hyper > upper) | kink
    return edge


def effects_sd(posterior: Posterior, fit: LaplaceFit, boundary: NDArray[np.bool_]) -> FloatArray:
    r"""Posterior SDs of b: roots of :math:`diag(S H^{-1} S' + J_b \Sigma J_b')`, S as in ``laplace``.

    Parameters at the edge, which have no finite variance on the unbounded scale, add nothing.
    """
    S = root_of_effects(posterior, fit.hyper)
    covariance = np.where(boundary | boundary[:, None], 0.0, fit.covariance)
    sizes = np.minimum(np.sqrt(np.diag(fit.covariance)), 1.0)  # only logarithms and logits move Lambda
    moved = difference_columns(lambda t: root_of_effects(posterior, t) @ fit.u, fit.hyper, sizes)
    J = S @ fit.slope + moved
    given = np.empty(posterior.q)
    for first in range(0, posterior.q, ROWS_AT_ONCE):
        rows = S[first : first + ROWS_AT_ONCE].toarray(order="C")
        given[first : first + ROWS_AT_ONCE] = np.sum(fit.factor.solve_L_rows(rows) ** 2, axis=1)
    return np.sqrt(given + np.sum((J @ covariance) * J, axis=1))


def _joint_mode(posterior: Posterior, n_starts: int, seed: int) -> Mode:
    """Maximise over hyperparameters and spherical random effects together (b itself has no joint mode but sd = 0)."""
    starts, sizes = _starts(marginal_of(posterior, jacobian=False), n_starts, seed)
    scale = np.concatenate([sizes, np.ones(posterior.q)])
    found = [_climb(posterior, np.concatenate([start, np.zeros(posterior.q)]), scale) for start in starts]
    best = min(found, key=lambda each: each.value)
    boundary = at_edge(posterior, best.x, starts[0])
    covariance = _joint_covariance(posterior, best.x, scale, boundary)
    converged, message = best.success, best.message
    if converged and covariance is None:
        converged, message = False, "the curvature at the mode is not positive definite"
    if not converged:
        warn(ConvergenceWarning(f"the joint mode was not found: {message}"))
    n_hyper = posterior.n_hyper
    return Mode(
        position=best.x,
        covariance=np.full((n_hyper, n_hyper), np.nan) if covariance is None else covariance,
        log_posterior=-best.value,
        log_marginal=np.nan,
        effects_sd=np.full(posterior.q, np.nan),
        at_boundary=_names(posterior, boundary),
        joint=True,
        converged=converged,
        message=message,
        starts=np.array([-minimum.value for minimum in found]),
    )


def _climb(posterior: Posterior, start: FloatArray, scale: FloatArray) -> Any:
    """The joint mode that a start leads to."""
    unbounded = np.full(start.size, np.inf)
    minimum, _ = minimize_newton(
        lambda x: _negative_joint(posterior, x),
        start,
        -unbounded,
        unbounded,
        hessian=np.diag(1.0 / scale**2),
        tolerance=1e-9,
        max_evaluations=5000,
        largest_step=2.0 * scale,
    )
    return minimum


def _joint_covariance(
    posterior: Posterior, x: FloatArray, scale: FloatArray, boundary: NDArray[np.bool_]
) -> FloatArray | None:
    """Covariance of the hyperparameters from the joint curvature; nan at a boundary, None if there is no maximum."""
    unbounded = np.full(x.size, np.inf)
    steps = np.diag(STEP * scale)
    H = difference_hessian(lambda at: _negative_joint(posterior, at)[1], x, steps, -unbounded, unbounded)
    free = np.concatenate([~boundary, np.ones(posterior.q, dtype=bool)])
    inner = H[np.ix_(free, free)]
    if not np.all(np.isfinite(inner)) or np.linalg.eigvalsh(inner).min(initial=1.0) <= 0.0:
        return None
    covariance = np.full(H.shape, np.nan)
    covariance[np.ix_(free, free)] = np.linalg.inv(inner)
    return covariance[: posterior.n_hyper, : posterior.n_hyper]


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
