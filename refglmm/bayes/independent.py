r"""Independent draws from the joint Laplace approximation, weighted by the posterior itself.

Place in the reading order: after ``laplace`` and ``psis``. No chain: draws x = (t, u) from a density g, weights
w = p(y, x)/g(x), Pareto smoothing, resampling. :math:`\hat k` of the weights says whether that was good enough.

**Hyperparameters t.** Around the mode t*, along the principal axes of the Laplace approximation (of its correlations,
in units of its SDs), the Laplace-marginal density :math:`\tilde p(t)` is looked at :math:`\pm 1` and :math:`\pm 2` SDs
away. A half axis gets the SD that explains the drop it finds there, :math:`\sigma = z/\sqrt{2 (f(0) - f(z))}`, the
larger of the two: importance sampling wants tails that are too heavy rather than too light. So

.. math:: t = t^* + \sum_j v_j\, \sigma_j^{\pm} |\epsilon_j|, \qquad \Pr(+) = \sigma_j^+/(\sigma_j^+ + \sigma_j^-),

with :math:`\epsilon` normal or multivariate t; the density is :math:`2^n / \prod_j (\sigma_j^+ + \sigma_j^-)` times
that of :math:`\epsilon`, and continuous.

**Random effects u.** Given t, :math:`u = \tilde u(t) + L^{-\prime}\xi`: with mode and precision :math:`LL'` found anew
for each t, or (``linear``) with :math:`\tilde u(t^*) + J(t - t^*)` and the precision at t*. In the first case

.. math:: \frac{p(y, t, u)}{g(t)\, N(u; \tilde u, (LL')^{-1})} = \frac{\tilde p(t)}{g(t)} \cdot
    \frac{p(y, t, u)}{p(y, t, \tilde u)}\, e^{|\xi|^2/2}

and the second factor alone is the weight of draws of t that come from :math:`\tilde p` (a sampler's). For a Gaussian
response with identity link it is one.

Sources: Rue, Martino and Chopin (2009), section 3, and Ferkingstad and Rue (2015) for the split axes; Vehtari et al.
(2024) for smoothing and :math:`\hat k`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refglmm.bayes import whiten
from refglmm.bayes.advi import log_mean_weight
from refglmm.bayes.laplace import Marginal, laplace_whitening, marginal_of
from refglmm.bayes.psis import khat_threshold, psis, resample, weights_ess
from refglmm.bayes.target import HALF_LOG_2PI
from refglmm.errors import ArgumentError, ParetoWarning, SamplingError, warn
from refglmm.inference.tasks import progress_bar, seeds
from refglmm.likelihood.posterior import draw_student

if TYPE_CHECKING:
    from refglmm.bayes.posterior import Posterior

FloatArray = NDArray[np.float64]

#: SDs from the mode at which the shape of the marginal density is looked at.
GRID = (1.0, 2.0)
#: SDs of half axes lie between these, in units of the Laplace approximation.
NARROWEST, WIDEST = 0.3, 3.0
#: Degrees of freedom of the proposal: the density of log sd falls no faster than sd itself towards zero.
HEAVY_DF = 5.0
#: Fewer effective draws than this share of the proposals call for another attempt.
GOOD_SHARE = 0.1
#: Proposals for each draw that is asked for: where they cost nothing, and where each needs a search for a mode.
OVERSAMPLING = {"linear": 5, "mode": 2}
SMALLEST = 100
CONDITIONALS = ("auto", "linear", "mode")


# -- hyperparameters ------------------------------------------------------------


class SplitProposal(NamedTuple):
    """A density of the hyperparameters whose half axes have SDs of their own.

    Attributes
    ----------
    center : float array, shape (n,)
    axes : float array, shape (n, n)
        Columns: one Laplace SD along each axis.
    up, down : float array, shape (n,)
        SDs of the half axes, in those units.
    df : float
        Of the multivariate t; inf: normal.
    """

    center: FloatArray
    axes: FloatArray
    up: FloatArray
    down: FloatArray
    df: float

    def draw(self, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Draws, shape (n, number of hyperparameters), and their log density."""
        d = self.center.size
        z, log_density = draw_student((n,), d, self.df, rng)
        is_up = rng.uniform(size=(n, d)) < self.up / (self.up + self.down)
        z = np.where(is_up, self.up, -self.down) * np.abs(z)
        log_det = np.linalg.slogdet(self.axes)[1]
        return self.center + z @ self.axes.T, log_density + float(np.sum(np.log(2.0 / (self.up + self.down)))) - log_det


def split_proposal(posterior: Posterior, marginal: Marginal) -> SplitProposal:
    """The half axes that the marginal density shows, normal."""
    fit = posterior.laplace()
    sd = np.sqrt(np.diag(fit.covariance))
    values, vectors = np.linalg.eigh(fit.covariance / np.outer(sd, sd))
    axes = sd[:, None] * vectors * np.sqrt(values)
    top = marginal.value(fit.hyper)
    scales = np.empty((2, sd.size))
    for side, sign in enumerate((1.0, -1.0)):
        for j in range(sd.size):
            drops = [(z, top - marginal.value(fit.hyper + sign * z * axes[:, j])) for z in GRID]
            scales[side, j] = max(_half_sd(z, drop) for z, drop in drops)
    return SplitProposal(fit.hyper, axes, scales[0], scales[1], np.inf)


def _half_sd(z: float, drop: float) -> float:
    """SD of a normal density that drops so far z away from its mode, within reason."""
    if not np.isfinite(drop):
        return NARROWEST
    return float(np.clip(z / np.sqrt(2.0 * drop), NARROWEST, WIDEST)) if drop > 0.0 else WIDEST


# -- random effects ------------------------------------------------------------


def conditional_effects_draws(
    posterior: Posterior, hyper_draws: ArrayLike, rng: np.random.Generator, progress: bool | None = None
) -> tuple[FloatArray, FloatArray]:
    r"""Draw the random effects given each draw of the hyperparameters, from their Gaussian approximation.

    Parameters
    ----------
    posterior : Posterior
    hyper_draws : float array, shape (m, n_hyper)
        Unconstrained hyperparameters, from the Laplace-marginal posterior.
    rng : numpy.random.Generator
    progress : bool, optional
        Show a bar; by default on terminals and in notebooks, once it takes more than two seconds.

    Returns
    -------
    positions : float array, shape (m, d)
    log_weights : float array, shape (m,)
        Logarithms of importance weights that make these draws from the Laplace marginal draws from the joint
        posterior, not normalised: :math:`\log p(y,t,u) - \log p(y,t,\tilde u) + |\xi|^2/2`. -inf where no mode of the
        random effects was found.

    Raises
    ------
    ArgumentError
        If the draws have another shape or are not finite.
    """
    draws = np.array(hyper_draws, dtype=np.float64, order="C")
    if draws.ndim != 2 or draws.shape[1] != posterior.n_hyper or not len(draws):
        raise ArgumentError(f"hyper_draws must have shape (draws, {posterior.n_hyper}), not {draws.shape}")
    if not np.all(np.isfinite(draws)):
        row = int(np.argmin(np.isfinite(draws).all(axis=1)))
        raise ArgumentError(f"hyper_draws[{row}] is not finite", row=row)
    if not isinstance(rng, np.random.Generator):
        raise ArgumentError(f"rng must be a numpy Generator, not {rng!r}")
    return _effects(posterior, marginal_of(posterior), draws, rng, progress)[:2]


def _effects(
    posterior: Posterior, marginal: Marginal, draws: FloatArray, rng: np.random.Generator, progress: bool | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Positions, conditional log weights, and log marginal density of the hyperparameters."""
    m, q, n_hyper = len(draws), posterior.q, posterior.n_hyper
    noise = rng.standard_normal((m, q))
    modes, positions = np.hstack([draws, np.zeros((m, q))]), np.hstack([draws, np.zeros((m, q))])
    log_marginal = np.empty(m)
    with progress_bar(m, "random effects", progress) as bar:
        for i, hyper in enumerate(draws):
            _predict_mode(posterior, marginal, hyper)
            log_marginal[i] = marginal.value(hyper)
            if np.isfinite(log_marginal[i]):
                u, factor = _mode_and_factor(posterior, marginal, hyper)
                drawn = u + factor.solve_Lt_rows(noise[i : i + 1])[0]
                f = posterior.centring(hyper)
                modes[i, n_hyper:], positions[i, n_hyper:] = f * u, f * drawn
            bar.update()
    with np.errstate(invalid="ignore"):
        log_weights = posterior.log_densities(positions) - posterior.log_densities(modes)
    log_weights += 0.5 * np.sum(noise * noise, axis=1)
    log_weights[~(np.isfinite(log_weights) & np.isfinite(log_marginal))] = -np.inf
    return positions, log_weights, log_marginal


def _predict_mode(posterior: Posterior, marginal: Marginal, hyper: FloatArray) -> None:
    """Let the search for the mode start where the Laplace approximation expects it."""
    if posterior.residuals is None and not np.any(posterior.exponent):
        fit = posterior.laplace()
        marginal.objective.resume((fit.u + fit.slope @ (hyper - fit.hyper),))


def _mode_and_factor(posterior: Posterior, marginal: Any, hyper: FloatArray) -> tuple[FloatArray, Any]:
    """Mode of the spherical random effects where ``marginal`` was evaluated last, and the factor of their precision."""
    if posterior.residuals is None:
        return marginal.objective.pirls.u, marginal.objective.pirls.factor
    u = marginal.mode(hyper)[0]
    return u, marginal.factor(hyper, u)


def _linear_effects(posterior: Posterior, draws: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Positions whose random effects are linear in the hyperparameters, and their log density given these."""
    fit = posterior.laplace()
    W = laplace_whitening(posterior)
    noise = rng.standard_normal((len(draws), posterior.q))
    xi = np.hstack([np.linalg.solve(fit.root, (draws - fit.hyper).T).T, noise])
    positions = np.empty(xi.shape)
    whiten.place_rows(W, np.ascontiguousarray(xi), positions)
    log_det = float(np.log(W.data[W.indptr[:-1]]).sum())
    return positions, log_det - posterior.q * HALF_LOG_2PI - 0.5 * np.sum(noise * noise, axis=1)


# -- all together ------------------------------------------------------------


class Attempt(NamedTuple):
    """Proposals of one kind: positions, log ratios p/g, smoothed log weights, their tail, and what they are called."""

    positions: FloatArray
    log_ratios: FloatArray
    log_weights: FloatArray
    khat: float
    name: str

    @property
    def ess(self) -> float:
        """Effective number of proposals."""
        return float(weights_ess(self.log_weights))

    @property
    def is_good(self) -> bool:
        """Whether its weighted draws can be relied on."""
        n = self.log_weights.size
        return self.khat <= khat_threshold(n) and self.ess >= GOOD_SHARE * n


@dataclass(frozen=True)
class IndependentDraws:
    """Independent, importance-resampled draws from a posterior, and how far to trust them.

    Attributes
    ----------
    positions : float array, shape (1, draws, d)
        Resampled by the smoothed weights; some proposals come more than once.
    proposals : float array, shape (proposals, d)
    log_weights : float array, shape (proposals,)
        Pareto-smoothed, normalised.
    khat, ess : float
        Tail shape of the weights; effective number of proposals.
    log_marginal, log_marginal_se : float
        Log marginal likelihood (priors with their constants) by importance sampling, and its standard error.
    method : str
        What was drawn from.
    tried : tuple of (str, float)
        Everything that was drawn from, with its k-hat.
    """

    positions: FloatArray
    proposals: FloatArray
    log_weights: FloatArray
    khat: float
    ess: float
    log_marginal: float
    log_marginal_se: float
    method: str
    tried: tuple[tuple[str, float], ...]

    @property
    def is_reliable(self) -> bool:
        """Whether k-hat is below its threshold (0.7, less for few proposals)."""
        return self.khat <= khat_threshold(self.log_weights.size)

    def __repr__(self) -> str:
        says = (
            "averages of these draws can be relied on"
            if self.is_reliable
            else "NOT to be trusted: the approximation misses part of the posterior; sample() draws from it"
        )
        text = (
            f"{self.positions.shape[1]} independent draws, resampled from {self.log_weights.size} proposals "
            f"({self.method})\n"
            f"  Pareto k-hat {self.khat:.2f}, {self.ess:.0f} effective of {self.log_weights.size} proposals: {says}"
        )
        if self.is_reliable:
            text += f"\n  log marginal likelihood {self.log_marginal:.3f} (SE {self.log_marginal_se:.3f})"
        return text


def independent_draws(
    posterior: Posterior,
    draws: int = 1000,
    *,
    conditional: str = "auto",
    df: float | None = None,
    proposals: int | None = None,
    seed: int | np.random.SeedSequence | np.random.Generator | None = None,
    progress: bool | None = None,
) -> IndependentDraws:
    """Draw from a posterior without a chain: joint Laplace approximation, importance weights, resampling.

    Parameters
    ----------
    posterior : Posterior
    draws : int
    conditional : {"auto", "linear", "mode"}
        Where random effects given hyperparameters come from: the Laplace approximation at its mode (microseconds a
        draw), or a mode and precision of their own (one search for a mode a draw). By default the first, and the other
        where those weights cannot be relied on.
    df : float, optional
        Degrees of freedom of the hyperparameters' proposal; by default 5. inf is a normal one, which misses the long
        lower tail of the logarithm of a standard deviation without k-hat showing it.
    proposals : int, optional
        By default five times ``draws`` from the Laplace approximation, twice where each has a mode of its own.
    seed : int, SeedSequence, Generator or None
    progress : bool, optional
        Show a bar; by default on terminals and in notebooks, once it takes more than two seconds.

    Returns
    -------
    IndependentDraws

    Raises
    ------
    ArgumentError
        For an argument that makes no sense.
    SamplingError
        If no proposal has a finite log density.

    Warns
    -----
    ParetoWarning
        k-hat is above 0.7 (less for few proposals): the draws are not to be trusted.
    """
    _check(draws, proposals, conditional, df)
    marginal = marginal_of(posterior)
    split = split_proposal(posterior, marginal)
    *sources, last = (np.random.Generator(np.random.Philox(source)) for source in seeds(seed, 4))
    attempts: list[Attempt] = []
    for (kind, tails), rng in zip(_plan(conditional, df), sources, strict=False):
        n = max(SMALLEST, OVERSAMPLING[kind] * draws) if proposals is None else proposals
        attempts.append(_attempt(posterior, marginal, split._replace(df=tails), kind, n, rng, progress))
        if attempts[-1].is_good:
            break
    best = min(attempts, key=lambda attempt: attempt.khat)
    chosen = resample(best.log_weights, draws, last)
    value, se = log_mean_weight(best.log_ratios, best.log_weights)
    result = IndependentDraws(
        positions=best.positions[chosen][None],
        proposals=best.positions,
        log_weights=best.log_weights,
        khat=best.khat,
        ess=best.ess,
        log_marginal=value,
        log_marginal_se=se,
        method=best.name,
        tried=tuple((attempt.name, attempt.khat) for attempt in attempts),
    )
    if not result.is_reliable:
        warn(ParetoWarning(f"independent draws: {result!r}", khat=result.khat))
    return result


def _plan(conditional: str, df: float | None) -> list[tuple[str, float]]:
    """Kinds of proposals in the order of their cost."""
    kinds = ["linear", "mode"] if conditional == "auto" else [conditional]
    return [(kind, HEAVY_DF if df is None else df) for kind in kinds]


def _attempt(
    posterior: Posterior, marginal: Marginal, split: SplitProposal, kind: str, n: int, rng: Any, progress: bool | None
) -> Attempt:
    """Draw proposals of one kind and weigh them."""
    hyper, log_g = split.draw(n, rng)
    if kind == "linear":
        positions, log_given = _linear_effects(posterior, hyper, rng)
        log_ratios = posterior.log_densities(positions) - log_g - log_given
    else:
        positions, log_ratios, log_marginal = _effects(posterior, marginal, hyper, rng, progress)
        log_ratios = log_ratios + log_marginal - log_g
    log_ratios = np.where(np.isfinite(log_ratios), log_ratios, -np.inf)
    if not np.any(np.isfinite(log_ratios)):
        raise SamplingError("no proposal has a finite log density: the Laplace approximation is far from the posterior")
    log_weights, khat = psis(log_ratios)
    tails = "normal" if np.isinf(split.df) else f"t with {split.df:g} degrees of freedom"
    where = "linear in them" if kind == "linear" else "around their own modes"
    name = f"split {tails} hyperparameters, random effects {where}"
    return Attempt(positions, log_ratios, log_weights, float(khat), name)


def _check(draws: Any, proposals: Any, conditional: str, df: Any) -> None:
    for name, value, least in (("draws", draws, 1), ("proposals", proposals, 20)):
        if name == "proposals" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise ArgumentError(f"{name} must be a whole number of at least {least}, not {value!r}", name=name)
    if conditional not in CONDITIONALS:
        raise ArgumentError(f"conditional must be one of {', '.join(CONDITIONALS)}, not {conditional!r}")
    if df is not None and not (isinstance(df, (int, float)) and df > 0.0):
        raise ArgumentError(f"df must be a positive number or inf, not {df!r}")
