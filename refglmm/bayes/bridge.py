r"""Marginal likelihood by bridge sampling, from draws and a function that gives the log density.

Place in the reading order: after ``proposal`` and ``diagnostics``; knows no models. ``bayes_factor`` compares what
comes out.

With the unnormalised posterior q, its constant r (the marginal likelihood), p = q / r, a normalised proposal g and any
function a, :math:`r = E_g[a q] / E_p[a g]`. The choice of a with the smallest error, 1 / (s1 p + s2 g), needs r itself
and leads to the fixed point (:func:`bridge_iteration`)

.. math:: r = \frac{n_2^{-1} \sum_j e^{l_{2j}} / (s_1 e^{l_{2j}} + s_2 r)}
    {n_1^{-1} \sum_i 1 / (s_1 e^{l_{1i}} + s_2 r)},

where l = log q - log g at posterior draws (1) and at draws of the proposal (2), and s1, s2 are the shares of the two
samples. Three decisions make the reported error mean what it says:

* **The proposal never sees the draws at which it is evaluated.** It is fitted on the first half of each chain and
  evaluated on the second, then the roles change (what neighbours at the one cut share is a few percent of the error).
  A split into odd and even draws, as some programs make it, hands every evaluated point a neighbour among the fitted
  ones: the proposal is then too high there and r too low (by 1.0 in log r for a posterior in 105 dimensions, at a
  reported error of 0.04).
* **The two halves are averaged on the log scale**, log r = (log r_1 + log r_2) / 2. The error of a bridge estimate is
  relative and about symmetric in log r, so this mean is unbiased to the order to which each half is; a mean of r
  itself would follow the larger of two discordant halves.
* **The halves are not taken for independent.** Where the posterior is close to normal, what is wrong with proposal 1
  is the sampling error of the covariance of half 1, and the error of the estimate is its product with the sampling
  error of half 2, a product in which the halves can be exchanged: both estimates err alike and averaging gains
  nothing. Where the shape of the posterior is what the proposal lacks, the errors are independent.
  :func:`correlation_of_errors` measures where between the two a problem lies.

Warp-III: with the symmetrised density q~(x) = (q(x) + q(2 mu - x)) / 2, which has the same constant r, skewness no
longer parts q from the normal proposal. Standardising z = L^-1 (x - mu) and symmetrising in z is the same, as the
Jacobian cancels in the ratio to the proposal, and posterior draws need no random sign, as q~ and g are even about mu.
Each point costs two densities.

Sources: Meng and Wong (1996) for the optimal bridge and its iteration; Meng and Schilling (2002) for warp-III;
Fruehwirth-Schnatter (2004) for the relative error under autocorrelation; Gronau, Singmann and Wagenmakers (2020) on
their use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refglmm.bayes.diagnostics import ess_mean
from refglmm.bayes.proposal import Coordinates, NormalProposal, fit_proposal
from refglmm.errors import ArgumentError, DataError, EvidenceWarning, warn
from refglmm.fit.arrays import freeze_arrays

FloatArray = NDArray[np.float64]
LogDensities = Callable[[FloatArray], FloatArray]

METHODS = ("normal", "warp3")
#: Draws that each half of each chain must have at least: below, there is no effective sample size to speak of.
FEWEST = 10
#: Largest difference between given and recomputed log densities, relative to their size: they are the same formula.
AGREEMENT = 1e-6
#: Marks the random stream of the proposed points.
STREAM = 0x6272
#: Terms whose relative spread is below this are equal.
EQUAL = 1e-12
#: The estimated slope of the iteration stays this far below one.
SMALLEST_SLOPE = 1e-9
#: Beyond this error a dozen draws carry the estimate, and the first-order formula of the error no longer holds.
LARGEST_ERROR = 0.3


# -- the iteration on log ratios -------------------------------------------------------------------------------------


class BridgeIteration(NamedTuple):
    """Fixed point of the bridge iteration: log r, number of iterations, whether it was reached."""

    value: float
    iterations: int
    converged: bool


def bridge_iteration(
    l1: FloatArray, l2: FloatArray, n1_eff: float, n2: float, *, max_iter: int = 1000, tol: float = 1e-8
) -> BridgeIteration:
    """Logarithm of the normalising constant by the optimal bridge.

    Parameters
    ----------
    l1, l2 : float array, shape (n1,) and (n2,)
        log q - log g at posterior draws and at draws of the proposal. ``l1`` is finite; ``l2`` may be minus infinity
        (a proposed point outside the support).
    n1_eff, n2 : float
        (Effective) sizes that weight the two samples; they change the error, not the limit.
    max_iter : int
    tol : float
        Largest remaining distance to the fixed point, log scale.

    Returns
    -------
    BridgeIteration

    Notes
    -----
    The map has a slope between -1 and 1 in log r, so it converges from anywhere, but slowly where q and g hardly
    overlap: the remaining distance is at most the last step / (1 - slope), with the slope taken from two steps.
    Errors: none raised (the caller has looked at the ratios). Source: Meng and Wong (1996).
    """
    log_s1, log_s2 = log_shares(n1_eff, n2)
    middle = float(np.median(l1))  # steps are then small numbers, whatever the size of log r
    l1, l2 = l1 - middle, l2 - middle
    value, last_step = 0.0, np.inf
    for iteration in range(1, max_iter + 1):
        numerator = _log_mean(l2 - np.logaddexp(log_s1 + l2, log_s2 + value))
        denominator = _log_mean(-np.logaddexp(log_s1 + l1, log_s2 + value))
        step = numerator - denominator - value
        value += step
        slope = min(abs(step / last_step), 1.0 - SMALLEST_SLOPE)
        if abs(step) <= tol * (1.0 - slope):
            return BridgeIteration(middle + value, iteration, True)
        last_step = step
    return BridgeIteration(middle + value, max_iter, False)


def log_shares(n1_eff: float, n2: float) -> tuple[float, float]:
    """log s1 and log s2, the logarithms of the shares of the two samples."""
    return float(np.log(n1_eff / (n1_eff + n2))), float(np.log(n2 / (n1_eff + n2)))


def _log_mean(log_values: FloatArray) -> float:
    from scipy.special import logsumexp

    return float(logsumexp(log_values)) - np.log(len(log_values))


def posterior_terms(l1: FloatArray, value: float, n1_eff: float, n2: float) -> FloatArray:
    """g / (s1 p + s2 g) at posterior draws: what the denominator of the bridge averages, between 0 and 1 / s2."""
    log_s1, log_s2 = log_shares(n1_eff, n2)
    return np.exp(-np.logaddexp(log_s1 + l1 - value, log_s2))


def proposal_terms(l2: FloatArray, value: float, n1_eff: float, n2: float) -> FloatArray:
    """p / (s1 p + s2 g) at draws of the proposal: what the numerator averages, between 0 and 1 / s1."""
    log_s1, log_s2 = log_shares(n1_eff, n2)
    return np.exp(l2 - value - np.logaddexp(log_s1 + l2 - value, log_s2))


def relative_variance(terms: FloatArray, size: float) -> float:
    """Squared relative error of a mean: V / (size E^2); infinite where the mean is zero."""
    mean = float(terms.mean())
    return float(terms.var(ddof=1)) / (size * mean**2) if mean > 0.0 else np.inf


# -- one half --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ratio:
    """log q - log g for one proposal g, with q symmetrised about its centre for warp-III."""

    density: LogDensities
    proposal: NormalProposal
    symmetric: bool

    def at(self, points: FloatArray, lp: FloatArray) -> FloatArray:
        """Log ratios at points (..., d) whose log densities are known, shape (...)."""
        flat = points.reshape(-1, points.shape[-1])
        log_q = lp.ravel()
        if self.symmetric:
            mirrored = self.density(2.0 * self.proposal.center - flat)
            log_q = np.logaddexp(log_q, mirrored) - np.log(2.0)
        return (log_q - self.proposal.log_densities(flat)).reshape(lp.shape)

    def proposed(self, rng: np.random.Generator, size: int) -> FloatArray:
        """Log ratios at fresh draws of the proposal, shape (size,)."""
        points = self.proposal.draw(rng, size)
        return self.at(points, self.density(points))


@dataclass(frozen=True)
class Half:
    """The bridge between a proposal and draws that it has not seen.

    Attributes
    ----------
    ratio : Ratio
    repeats : float array, shape (repetitions,)
        log r with each set of proposed points.
    posterior_variance, proposal_variance : float
        Parts of the squared error of the mean of ``repeats``.
    n1_eff, n2 : float
        Sizes that weighted the two samples.
    terms : float array, shape (chains, draws)
        Terms of the denominator.
    ess : float
        Effective number of posterior draws, of those terms.
    iterations : int
    converged : bool
    """

    ratio: Ratio
    repeats: FloatArray
    posterior_variance: float
    proposal_variance: float
    n1_eff: float
    n2: int
    terms: FloatArray
    ess: float
    iterations: int
    converged: bool

    @property
    def logml(self) -> float:
        """Mean of the repeats."""
        return float(self.repeats.mean())

    def terms_at(self, points: FloatArray, lp: FloatArray) -> FloatArray:
        """The function of which the denominator is the mean, at points (..., d)."""
        return posterior_terms(self.ratio.at(points, lp), self.logml, self.n1_eff, self.n2)


def bridge_half(
    ratio: Ratio,
    positions: FloatArray,
    lp: FloatArray,
    rng: np.random.Generator,
    *,
    repetitions: int = 1,
    max_iter: int = 1000,
    tol: float = 1e-8,
) -> Half:
    """Bridge between one proposal and draws (chains, draws, d) with log densities ``lp`` (chains, draws).

    The effective size that the weights s1 and s2 ask for is that of the terms themselves; a first pass with the number
    of draws in its place gives them.
    """
    l1, n2 = ratio.at(positions, lp), lp.size
    l2 = [ratio.proposed(rng, n2) for _ in range(repetitions)]
    first = bridge_iteration(l1.ravel(), l2[0], l1.size, n2, max_iter=max_iter, tol=tol)
    n1_eff = effective_size(posterior_terms(l1, first.value, l1.size, n2))
    runs = [bridge_iteration(l1.ravel(), ratios, n1_eff, n2, max_iter=max_iter, tol=tol) for ratios in l2]
    repeats = np.array([run.value for run in runs])
    terms = posterior_terms(l1, repeats.mean(), n1_eff, n2)
    ess = effective_size(terms)
    proposal_variances = [relative_variance(proposal_terms(r, v, n1_eff, n2), n2) for r, v in zip(l2, repeats)]
    return Half(
        ratio=ratio,
        repeats=repeats,
        posterior_variance=relative_variance(terms, ess),
        proposal_variance=float(np.mean(proposal_variances)) / repetitions,
        n1_eff=n1_eff,
        n2=n2,
        terms=terms,
        ess=ess,
        iterations=max(run.iterations for run in (first, *runs)),
        converged=all(run.converged for run in (first, *runs)),
    )


def effective_size(terms: FloatArray) -> float:
    """Effective sample size of the mean of (chains, draws); the number of draws where the terms are equal."""
    if np.ptp(terms) <= EQUAL * np.abs(terms).max():
        return float(terms.size)
    return float(ess_mean(terms))


def correlation_of_errors(own: Half, other: Half, positions: FloatArray, lp: FloatArray) -> float:
    """How far the posterior parts of the errors of two halves agree, between 0 and 1.

    The function whose mean is taken over draws of the first half is h + d1, with the proposal fitted on the second,
    and h + d2 the other way round: h is what any normal density lacks, d1 and d2 are due to the sampling errors of the
    two fits. Averages of h over different draws are independent, while those of d1 and d2 are about equal. The share
    of h in the variance is the correlation of the two functions over the same draws, as d1 and d2 have nothing in
    common.

    Parameters
    ----------
    own, other : Half
        ``own`` has been evaluated at the draws, ``other`` has its proposal fitted on them.
    positions, lp : float array
        The draws.
    """
    there = other.terms_at(positions, lp)
    if min(np.ptp(own.terms), np.ptp(there)) <= EQUAL:
        return 1.0
    return 1.0 - max(0.0, float(np.corrcoef(own.terms.ravel(), there.ravel())[0, 1]))


# -- all of it -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BridgeResult:
    """Logarithm of a marginal likelihood, with its error.

    Attributes
    ----------
    logml : float
        Natural logarithm of the marginal likelihood.
    error : float
        Standard error of ``logml`` (the relative error of the marginal likelihood).
    method : str
        "normal" or "warp3".
    converged : bool
        Whether every iteration reached its fixed point.
    iterations : int
        Largest number of iterations.
    ess : float
        Effective number of posterior draws behind the estimate, both halves together.
    halves : float array, shape (2,)
        The estimates with the proposal fitted on the first and on the second halves.
    half_errors : float array, shape (2,)
        Their standard errors.
    correlation : float
        Of the posterior parts of their errors: 0 means that averaging them halves the variance, 1 that it gains
        nothing.
    posterior_error, proposal_error : float
        Parts of ``error`` (root of the sum of their squares) due to the posterior draws and to the proposed points.
    repeats : float array, shape (repetitions,)
        Estimates with separate sets of proposed points; their spread shows ``proposal_error`` alone.
    repeat_error : float
        Standard error of their mean by that spread; NaN for fewer than two.
    overlap : float
        Between 0 and 1: the smaller of the overlaps of posterior and proposal in the two halves.
    shrinkage : float array, shape (2,)
        Weight of the identity in the correlations of the two proposals.
    draws, dimension : int
        Number of posterior draws and of unconstrained parameters.
    """

    logml: float
    error: float
    method: str
    converged: bool
    iterations: int
    ess: float
    halves: FloatArray
    half_errors: FloatArray
    correlation: float
    posterior_error: float
    proposal_error: float
    repeats: FloatArray
    repeat_error: float
    overlap: float
    shrinkage: FloatArray
    draws: int
    dimension: int

    def __post_init__(self) -> None:
        freeze_arrays(self)

    def __repr__(self) -> str:
        state = "Converged" if self.converged else f"NOT Converged in {self.iterations} Iterations"
        return f"Bridge Sampling {state}: LogML = {self.logml:.3f} (Error = {self.error:.2g}, ESS = {self.ess:.0f})"


def bridge_sampling(
    positions: FloatArray,
    lp: FloatArray | None,
    log_densities: LogDensities,
    *,
    method: str = "normal",
    seed: int | np.random.Generator = 0,
    max_iter: int = 1000,
    tol: float = 1e-8,
    repetitions: int = 1,
    coordinates: Coordinates | None = None,
) -> BridgeResult:
    """Log marginal likelihood from draws of the unconstrained posterior.

    Parameters
    ----------
    positions : float array, shape (chains, draws, d)
        Draws, unconstrained scale, in the order in which the chains made them.
    lp : float array, shape (chains, draws), or None
        Unnormalised log posterior density at the draws, with all constants and the Jacobian; None: computed.
    log_densities : callable
        From positions (m, d) to their unnormalised log posterior densities (m,); minus infinity outside the support.
    method : {"normal", "warp3"}
        Proposal as it is, or with the posterior symmetrised about the proposal's mean (for skewed posteriors; two
        densities a point instead of one).
    seed : int or Generator
        For the proposed points.
    max_iter : int
    tol : float
        Of the iteration, log scale.
    repetitions : int
        Sets of proposed points, each as large as half the draws; their estimates are averaged.
    coordinates : Coordinates, optional
        Affine coordinates in which the proposal is fitted: for hundreds of parameters (see ``proposal``).

    Returns
    -------
    BridgeResult

    Raises
    ------
    ArgumentError
        Arrays of other shapes, an unknown method, too few draws, numbers out of range.
    DataError
        Draws that are not finite, a coordinate that never changes, ``lp`` that is not what ``log_densities`` gives,
        log densities that are NaN or plus infinity.

    Warns
    -----
    EvidenceWarning
        The iteration limit was reached, or the error is so large that the number says nothing.
    """
    positions = _checked_positions(positions)
    _check_settings(method, max_iter, tol, repetitions)
    rng = _generator(seed)
    density = checked_density(log_densities)
    lp = _checked_lp(lp, positions, density)
    middle = positions.shape[1] // 2
    first, second = (positions[:, :middle], lp[:, :middle]), (positions[:, middle:], lp[:, middle:])
    halves = []
    for fitted, evaluated in ((first, second), (second, first)):
        ratio = Ratio(density, fit_proposal(fitted[0], coordinates), method == "warp3")
        halves.append(bridge_half(ratio, *evaluated, rng, repetitions=repetitions, max_iter=max_iter, tol=tol))
    correlation = 0.5 * (
        correlation_of_errors(halves[0], halves[1], *second) + correlation_of_errors(halves[1], halves[0], *first)
    )
    result = _average(halves, correlation, method, lp.size)
    _warn_about(result)
    return result


def _average(halves: list[Half], correlation: float, method: str, draws: int) -> BridgeResult:
    """Both halves as one estimate; the variance of a mean of two numbers whose posterior parts are correlated."""
    posterior = np.sqrt([half.posterior_variance for half in halves])
    posterior_variance = (posterior @ posterior + 2.0 * correlation * posterior.prod()) / 4.0
    proposal_variance = sum(half.proposal_variance for half in halves) / 4.0
    repeats = np.mean([half.repeats for half in halves], axis=0)
    return BridgeResult(
        logml=float(repeats.mean()),
        error=float(np.sqrt(posterior_variance + proposal_variance)),
        method=method,
        converged=all(half.converged for half in halves),
        iterations=max(half.iterations for half in halves),
        ess=sum(half.ess for half in halves),
        halves=np.array([half.logml for half in halves]),
        half_errors=np.sqrt([half.posterior_variance + half.proposal_variance for half in halves]),
        correlation=correlation,
        posterior_error=float(np.sqrt(posterior_variance)),
        proposal_error=float(np.sqrt(proposal_variance)),
        repeats=repeats,
        repeat_error=float(repeats.std(ddof=1) / np.sqrt(len(repeats))) if len(repeats) > 1 else np.nan,
        overlap=min(float(half.terms.mean()) for half in halves),
        shrinkage=np.array([half.ratio.proposal.shrinkage for half in halves]),
        draws=draws,
        dimension=len(halves[0].ratio.proposal.mean),
    )


def _warn_about(result: BridgeResult) -> None:
    overlap = f"posterior and proposal overlap by {result.overlap:.2g} of 1"
    remedy = "use more draws, fit the proposal in whitened coordinates, or integrate the random effects out"
    if not result.converged:
        message = f"the bridge iteration did not reach its fixed point in {result.iterations} iterations: {overlap}"
    elif not result.error <= LARGEST_ERROR:
        message = f"LogML = {result.logml:.6g} has an error of {result.error:.2g}, or more: {overlap}"
    else:
        return
    warn(EvidenceWarning(f"{message}; {remedy}", error=result.error, overlap=result.overlap, ess=result.ess))


def _generator(seed: int | np.random.Generator) -> np.random.Generator:
    """The generator itself, or one of our own stream: proposed points must not be the numbers behind the draws."""
    if isinstance(seed, np.random.Generator):
        return seed
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ArgumentError(f"seed must be a whole number of at least 0 or a numpy Generator, not {seed!r}", seed=seed)
    return np.random.default_rng([int(seed), STREAM])


# -- what comes in ---------------------------------------------------------------------------------------------------


def _checked_positions(positions: FloatArray) -> FloatArray:
    positions = np.asarray(positions, dtype=float)
    if positions.ndim != 3 or positions.shape[2] == 0:
        raise ArgumentError(
            f"positions must have shape (chains, draws, parameters), not {positions.shape}", shape=positions.shape
        )
    if positions.shape[1] < 2 * FEWEST:
        raise ArgumentError(
            f"bridge sampling needs at least {2 * FEWEST} draws a chain, there are {positions.shape[1]}",
            draws=positions.shape[1],
        )
    finite = np.isfinite(positions)
    if not finite.all():
        chain, draw, coordinate = (int(i) for i in np.argwhere(~finite)[0])
        raise DataError(
            f"draw {draw} of chain {chain} is not finite in coordinate {coordinate}",
            chain=chain,
            draw=draw,
            coordinate=coordinate,
        )
    return positions


def _check_settings(method: str, max_iter: int, tol: float, repetitions: int) -> None:
    if method not in METHODS:
        raise ArgumentError(f"method must be one of {', '.join(METHODS)}, not {method!r}", method=method)
    for name, value in (("max_iter", max_iter), ("repetitions", repetitions)):
        if int(value) != value or value < 1:
            raise ArgumentError(f"{name} must be a whole number of at least 1, not {value!r}", **{name: value})
    if not 0.0 < tol < np.inf:
        raise ArgumentError(f"tol must be a positive number, not {tol!r}", tol=tol)


def checked_density(log_densities: LogDensities) -> LogDensities:
    """The same function, whose answers are looked at: shape (m,), no NaN, not plus infinity."""

    def density(points: FloatArray) -> FloatArray:
        values = np.asarray(log_densities(points), dtype=float)
        if values.shape != (len(points),):
            raise ArgumentError(
                f"log_densities must return shape ({len(points)},) for {len(points)} positions, not {values.shape}",
                shape=values.shape,
            )
        wrong = np.isnan(values) | (values == np.inf)
        if wrong.any():
            first = int(np.argmax(wrong))
            where = np.array2string(points[first], precision=4, threshold=6)
            raise DataError(f"the log density is {values[first]} at position {where}", position=points[first].copy())
        return values

    return density


def _checked_lp(lp: FloatArray | None, positions: FloatArray, density: LogDensities) -> FloatArray:
    """Log densities at the draws; given ones are compared with those of ``density`` at one draw of each chain."""
    shape = positions.shape[:2]
    if lp is None:
        lp = density(positions.reshape(-1, positions.shape[2])).reshape(shape)
    lp = np.asarray(lp, dtype=float)
    if lp.shape != shape:
        raise ArgumentError(f"lp must have shape {shape}, one number a draw, not {lp.shape}", shape=lp.shape)
    if not np.isfinite(lp).all():
        chain, draw = (int(i) for i in np.argwhere(~np.isfinite(lp))[0])
        raise DataError(f"draw {draw} of chain {chain} has log density {lp[chain, draw]}", chain=chain, draw=draw)
    again = density(positions[:, 0])
    if not np.allclose(again, lp[:, 0], rtol=AGREEMENT, atol=AGREEMENT):
        chain = int(np.argmax(np.abs(again - lp[:, 0])))
        raise DataError(
            f"lp is another density than log_densities: {lp[chain, 0]:.8g} and {again[chain]:.8g} at the first draw of "
            f"chain {chain}",
            chain=chain,
            lp=float(lp[chain, 0]),
            log_density=float(again[chain]),
        )
    return lp
