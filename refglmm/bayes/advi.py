r"""Variational inference: the Gaussian closest to the posterior, among those of a kind, and how close that is.

Place in the reading order: after ``ascent`` (the steps) and ``psis``. Maximises the evidence lower bound

.. math:: \mathrm{ELBO}(q) = E_q[\log p(y, x) - \log q(x)] = \log p(y) - \mathrm{KL}(q \,\|\, p(\cdot \mid y))

over the unconstrained position x = (hyper, u). The kinds of q:

============  ==========================================================================================================
meanfield     every coordinate independent. SDs are too small wherever the posterior is correlated: for a Gaussian
              posterior with precision P they are :math:`P_{ii}^{-1/2}`, the *conditional* ones.
hybrid        any covariance of the hyperparameters; the random effects depend on them, and on each other, as in the
              Laplace approximation (J and L of ``laplace``), with a scale of their own in each coordinate of that
lowrank       diagonal plus r factors, :math:`D^2 + BB'`; by default as many factors as there are hyperparameters
fullrank      any covariance; memory and time of a step grow with the square of the dimension
============  ==========================================================================================================

Runs start at the Laplace approximation (the first one exactly there, the others a little off), and take steps in
windows that grow by half each. A run has converged when, between its last two windows,

* the mean of the ELBO estimates changed by less than twice the Monte Carlo standard error of that change, or by less
  than ``NEGLIGIBLE``; and
* no mean of the averaged iterates moved by more than ``LARGEST_DRIFT`` posterior SDs, and no SD by more than that
  share of itself.

Neither asks for the size of the ELBO, which constants of the density change. What q is worth is measured afterwards, on
fresh draws: the ELBO with its standard error, and :math:`\hat k` of the importance ratios p/q (Yao, Vehtari, Simpson
and Gelman 2018): above 0.7 neither q nor its correction by the ratios may be trusted.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refglmm._jit import pure
from refglmm.bayes import whiten
from refglmm.bayes.ascent import MEAN_RATE, Course, Gaussian, ascend, copy, draw, largest_curvature
from refglmm.bayes.chain import Density, available_cores
from refglmm.bayes.laplace import laplace_whitening
from refglmm.bayes.psis import khat_threshold, psis, resample, weights_ess
from refglmm.bayes.target import log_densities, log_posterior
from refglmm.bayes.whiten import Whitening, log_determinant
from refglmm.errors import ArgumentError, ConvergenceWarning, ParetoWarning, SamplingError, warn
from refglmm.inference.tasks import progress_bar, seeds

if TYPE_CHECKING:
    from refglmm.bayes.posterior import Posterior

FloatArray = NDArray[np.float64]

METHODS = ("meanfield", "fullrank", "hybrid", "lowrank")
#: Steps of the first window; each later one is longer by half.
FIRST_WINDOW = 100
GROWTH = 1.5
#: A change of the ELBO, in nats, that matters to nobody.
NEGLIGIBLE = 0.01
#: Most that averaged iterates may move between windows, in posterior SDs.
LARGEST_DRIFT = 0.05
#: Starts of all runs but the first lie about so many posterior SDs off, and their SDs so much on a logarithmic scale.
OFFSET, LOG_OFFSET = 0.3, 0.1
#: A full-rank q of more dimensions than this would be slower than any other way.
LARGEST_FULL = 2000
#: Steps between two looks at the progress bar.
BLOCK = 50
#: A factor column that the Laplace approximation says nothing about starts at this size: zero is a saddle point.
SMALL_FACTOR = 0.05
#: Share of the Laplace approximation's factors that a low-rank q starts with; the rest is diagonal.
FACTOR_SHARE = 0.9


# -- where it starts ------------------------------------------------------------


def conditional_sds(whitening: Whitening) -> FloatArray:
    r"""Standard deviation of each coordinate given all others, :math:`P_{ii}^{-1/2}`, for standard normal xi.

    With position = A xi, :math:`P = A^{-\prime}A^{-1}`: squared lengths of the columns of the inverse of A.
    """
    d, step = whitening.center.size, 256
    precision = np.empty(d)
    for first in range(0, d, step):
        rows = whitening.center + np.eye(min(step, d - first), d, first)
        xi = np.empty(rows.shape)
        whiten.standardise_rows(whitening, rows, xi)
        precision[first : first + step] = np.sum(xi * xi, axis=1)
    return 1.0 / np.sqrt(precision)


def _uncentred(whitening: Whitening) -> Whitening:
    return whitening._replace(center=np.zeros(whitening.center.size))


def start(method: str, W: Whitening, rank: int) -> tuple[Gaussian, Whitening]:
    """Where q starts for a posterior that W makes standard normal, and the coordinates V of its spread."""
    d, n_h = W.center.size, len(W.C)
    nothing, mean = np.empty((0, 0)), np.zeros(d)
    if method == "meanfield":
        return Gaussian(mean, np.zeros(d), nothing, np.empty((d, 0))), whiten.diagonal(mean, conditional_sds(W))
    if method == "lowrank":
        sd = whiten.standard_deviations(W)
        factor = _first_factor(W, sd, rank)
        rest = np.maximum(1.0 - np.sum(factor * factor, axis=1), (1.0 - FACTOR_SHARE) ** 2)
        return Gaussian(mean, 0.5 * np.log(rest), nothing, factor), whiten.diagonal(mean, sd)
    n = d if method == "fullrank" else n_h
    return Gaussian(mean, np.zeros(d - n), np.eye(n), np.empty((d, 0))), _uncentred(W)


def _first_factor(W: Whitening, sd: FloatArray, rank: int) -> FloatArray:
    """Strongest directions in which the hyperparameters of W move everything, in units of ``sd``; shape (d, rank)."""
    d, n_h = W.center.size, len(W.C)
    rows = np.empty((n_h, d))
    whiten.place_rows(_uncentred(W), np.eye(n_h, d), rows)
    left, sizes, _ = np.linalg.svd((rows / sd).T, full_matrices=False)
    known = min(rank, n_h)
    signs = np.where(np.arange(d * (rank - known)) * 7 % 11 < 5, 1.0, -1.0).reshape(d, -1)
    return np.ascontiguousarray(np.hstack([FACTOR_SHARE * (left * sizes)[:, :known], SMALL_FACTOR * signs]))


def _dispersed(q: Gaussian, rng: np.random.Generator) -> Gaussian:
    """Another start near this one."""
    mean = q.mean + OFFSET * rng.standard_normal(q.mean.size)
    log_sd = q.log_sd + LOG_OFFSET * rng.standard_normal(q.log_sd.size)
    root = q.root * np.exp(LOG_OFFSET * rng.standard_normal(len(q.root)))
    return Gaussian(mean, log_sd, root, q.factor * np.exp(LOG_OFFSET * rng.standard_normal(q.factor.shape[1])))


def sds(q: Gaussian) -> FloatArray:
    """Standard deviations of z, the coordinates of the spread."""
    own = np.concatenate([np.sum(q.root * q.root, axis=1), np.exp(2.0 * q.log_sd)])
    return np.sqrt(own + np.sum(q.factor * q.factor, axis=1))


# -- one run ------------------------------------------------------------


class Window(NamedTuple):
    """Averages over a stretch of steps: iterates, ELBO with its standard error, and how many steps there were."""

    q: Gaussian
    elbo: float
    se: float
    steps: int


@dataclass(frozen=True)
class Drift:
    """What changed between two windows: ELBO, its standard error, most of any mean and SD (in posterior SDs)."""

    elbo: float
    se: float
    position: float

    @classmethod
    def between(cls, old: Window, new: Window) -> Drift:
        """From one window to the next."""
        means = np.max(np.abs(new.q.mean - old.q.mean), initial=0.0)
        spreads = np.max(np.abs(np.log(sds(new.q) / sds(old.q))), initial=0.0)
        return cls(new.elbo - old.elbo, float(np.hypot(old.se, new.se)), float(max(means, spreads)))

    @property
    def is_small(self) -> bool:
        """Whether a run may stop."""
        return abs(self.elbo) <= max(2.0 * self.se, NEGLIGIBLE) and self.position <= LARGEST_DRIFT

    def __str__(self) -> str:
        return (
            f"between its last two windows the ELBO changed by {self.elbo:.3g} (Monte Carlo SE {self.se:.2g}) and the "
            f"averaged iterates by at most {self.position:.2g} posterior SDs"
        )


def _compiled(kernel: Any, density: Density) -> Any:
    """The kernel, compiled if the log density is."""
    return kernel if hasattr(density.log_density, "py_func") else pure(kernel)


def first_mean_rate(density: Density, W: Whitening) -> float:
    """Step of the mean that is stable in every direction."""
    rng = np.random.Generator(np.random.Philox(0))
    curvature = _compiled(largest_curvature, density)(W, rng, *density)
    return float(MEAN_RATE / max(1.0, 0.5 * curvature)) if np.isfinite(curvature) else MEAN_RATE


class Problem(NamedTuple):
    """What all runs have in common."""

    density: Density
    W: Whitening
    V: Whitening
    max_iter: int
    pairs: int
    draws: int
    mean_rate: float


class Run:
    """One ascent: windows until nothing changes any more, then fresh draws."""

    def __init__(self, problem: Problem, q: Gaussian, seed: np.random.SeedSequence) -> None:
        self.problem, self.q = problem, q
        self.rng = np.random.Generator(np.random.Philox(seed))
        self.trace = np.empty(0)
        self.drift: Drift | None = None
        self.is_stopped = False

    @property
    def converged(self) -> bool:
        """Whether it stopped by itself."""
        return self.drift is not None and self.drift.is_small

    def run(self, bar: Any) -> None:
        """Climb, then look at where that led."""
        old, new = None, self._window(FIRST_WINDOW, bar)
        while self.trace.size < self.problem.max_iter and not self.converged and not self.is_stopped:
            old, new = new, self._window(int(GROWTH * new.steps), bar)
            self.drift = Drift.between(old, new)
        self.q = new.q
        self._evaluate()

    def _window(self, steps: int, bar: Any) -> Window:
        """As many steps as there are left to make, at most ``steps``, a remainder too short for a window included."""
        left = self.problem.max_iter - self.trace.size
        steps = left if left < steps * (1.0 + 0.5 * GROWTH) else steps
        average, first = copy(self.q), self.trace.size
        while self.trace.size < first + steps and not self.is_stopped:
            n = min(BLOCK, first + steps - self.trace.size)
            self._climb(average, first, n)
            bar.update(n)
        part = self.trace[first:]
        with np.errstate(invalid="ignore"):  # -inf among the estimates: nothing is known about their spread
            return Window(average, float(part.mean()), float(part.std() / np.sqrt(max(part.size, 1))), steps)

    def _climb(self, average: Gaussian, first: int, n: int) -> None:
        problem, elbo = self.problem, np.empty(n)
        course = Course(
            self.trace.size, self.trace.size - first, problem.pairs, log_determinant(problem.V), problem.mean_rate
        )
        step = _compiled(ascend, problem.density)
        step(self.q, average, problem.W, problem.V, elbo, course, self.rng, *problem.density)
        self.trace = np.append(self.trace, elbo)

    def _evaluate(self) -> None:
        """Fresh draws from q, and the logarithm of p/q there."""
        problem = self.problem
        self.positions = np.empty((problem.draws, self.q.mean.size))
        log_q, log_p = np.empty(problem.draws), np.empty(problem.draws)
        draw(self.q, problem.W, problem.V, log_determinant(problem.V), self.rng, self.positions, log_q)
        each = _compiled(log_densities, problem.density)
        each(self.positions, log_p, *problem.density)
        self.log_ratios = np.where(np.isfinite(log_p), log_p - log_q, -np.inf)

    @property
    def elbo(self) -> tuple[float, float]:
        """ELBO from the fresh draws, and its standard error."""
        if not np.all(np.isfinite(self.log_ratios)):
            return -np.inf, np.nan
        n = self.log_ratios.size
        return float(self.log_ratios.mean()), float(self.log_ratios.std(ddof=1) / np.sqrt(n))


# -- what comes back ------------------------------------------------------------


@dataclass(frozen=True)
class Variational:
    """A variational approximation, and how good it is.

    Attributes
    ----------
    method : str
    positions : float array, shape (1, draws, d)
        Independent draws from q, or (``is_resampled``) from its Pareto-smoothed correction.
    log_weights : float array, shape (draws,)
        Smoothed log importance weights of the draws, normalised; equal ones where they have been resampled.
    elbo, elbo_se : float
        Evidence lower bound of the best run from fresh draws, nats, with its Monte Carlo standard error.
    log_marginal, log_marginal_se : float
        Log marginal likelihood by importance sampling from q, of no use where ``khat`` is large.
    khat : float
        Pareto shape of the importance ratios.
    ess : float
        Effective number of draws after weighting.
    converged : bool
        Of the best run.
    message : str
        Why it stopped, in words.
    elbo_traces : tuple of float arrays
        Estimates of the ELBO, one a step, of every run.
    elbos : float array, shape (runs,)
    best : int
        Which run, from 0.
    disagreement : float
        Largest distance between a run's mean and the mean of all, in SDs of q; nan for a single run.
    is_resampled : bool
    q, W, V : Gaussian, Whitening, Whitening
        The approximation itself, see :mod:`.ascent`.
    """

    method: str
    positions: FloatArray
    log_weights: FloatArray
    elbo: float
    elbo_se: float
    log_marginal: float
    log_marginal_se: float
    khat: float
    ess: float
    converged: bool
    message: str
    elbo_traces: tuple[FloatArray, ...]
    elbos: FloatArray
    best: int
    disagreement: float
    is_resampled: bool
    q: Gaussian
    W: Whitening
    V: Whitening

    def __repr__(self) -> str:
        n = self.positions.shape[1]
        lines = [
            f"Variational approximation ({self.method}), best of {len(self.elbo_traces)} runs, {n} "
            + ("Pareto-smoothed resampled draws" if self.is_resampled else "draws"),
            f"  ELBO {self.elbo:.3f} (SE {self.elbo_se:.3f})",
            f"  Pareto k-hat {self.khat:.2f}, {self.ess:.0f} effective of {n} draws: {self.verdict}",
        ]
        if self.khat <= khat_threshold(n):
            lines.append(
                f"  log marginal likelihood by importance sampling {self.log_marginal:.3f} "
                f"(SE {self.log_marginal_se:.3f})"
            )
        lines.append(f"  {self.message}")
        if len(self.elbo_traces) > 1:
            lines.append(f"  means of the runs differ by up to {self.disagreement:.2g} SDs")
        return "\n".join(lines)

    @property
    def verdict(self) -> str:
        """What k-hat says about the approximation, in words."""
        return verdict(self.khat, self.log_weights.size)


def verdict(khat: float, draws: int) -> str:
    """What k-hat of importance ratios says about the distribution that was drawn from."""
    if khat <= min(0.5, khat_threshold(draws)):
        return "close to the posterior; weighting corrects what is left"
    if khat <= khat_threshold(draws):
        return "not the posterior, but weighting (resample=True) corrects it"
    return "not to be trusted, weighted or not; sample() draws from the posterior itself"


def log_mean_weight(log_ratios: FloatArray, log_weights: FloatArray) -> tuple[float, float]:
    r"""Logarithm of the mean of smoothed ratios and its standard error, :math:`\sqrt{1/ESS - 1/n}`.

    Smoothing leaves most ratios as they are, so that the median one tells what the weights were divided by.
    """
    n = log_ratios.size
    middle = np.argsort(log_ratios)[n // 2]
    value = log_ratios[middle] - log_weights[middle] - np.log(n)
    return float(value), float(np.sqrt(max(1.0 / float(weights_ess(log_weights)) - 1.0 / n, 0.0)))


# -- what users call ------------------------------------------------------------


def approximate(
    log_density: Any,
    target: Any,
    log_likelihood: Any,
    whitening: Whitening,
    method: str = "meanfield",
    *,
    max_iter: int = 5000,
    draws: int = 2000,
    n_runs: int = 4,
    draws_per_step: int = 8,
    rank: int | None = None,
    resample: bool = False,
    seed: int | np.random.SeedSequence | np.random.Generator | None = None,
    threads: int | None = None,
    progress: bool | None = None,
) -> Variational:
    """Variational approximation of a log density; :func:`variational` does it for the posterior of a model.

    Parameters
    ----------
    log_density, target, log_likelihood
        See :func:`.chain.sample_chains`.
    whitening : Whitening
        Coordinates in which the density is nearly standard normal (a Laplace approximation).

    Other parameters, errors and warnings as in :func:`variational`.
    """
    rank = len(whitening.C) if rank is None and method == "lowrank" else rank
    _check(method, max_iter, draws, n_runs, draws_per_step, rank, threads, whitening.center.size)
    density = Density(log_density, target, log_likelihood)
    _check_start(density, whitening.center)
    q, V = start(method, whitening, rank or 0)
    pairs, mean_rate = draws_per_step // 2, first_mean_rate(density, whitening)
    problem = Problem(density, whitening, V, max_iter, pairs, draws, mean_rate)
    *sources, last = seeds(seed, n_runs + 1)
    runs = [Run(problem, _run_start(q, r, last), source) for r, source in enumerate(sources)]
    _run_all(runs, threads or min(n_runs, available_cores()), progress)
    return _chosen(method, runs, resample, np.random.Generator(np.random.Philox(last)))


def variational(
    posterior: Posterior, method: str = "meanfield", iter: int | None = None, *, max_iter: int = 5000, **settings: Any
) -> Variational:
    """Gaussian approximation of a posterior by maximising the evidence lower bound.

    Parameters
    ----------
    posterior : Posterior
    method : {"meanfield", "fullrank", "hybrid", "lowrank"}
        See :mod:`.advi`.
    iter, max_iter : int
        Most steps of a run (two names of one thing); it ends earlier where nothing changes any more.
    draws : int
        Draws from the result, by default 2000.
    n_runs : int
        Independent runs, by default 4; the one with the highest ELBO is kept.
    draws_per_step : int
        Even; by default 8.
    rank : int
        Factors of a low-rank approximation; by default the number of hyperparameters.
    resample : bool
        Resample the draws by their Pareto-smoothed importance weights.
    seed : int, SeedSequence, Generator or None
        Same seed, same numbers, whatever the number of threads.
    threads : int
        By default one a run, but not more than there are cores.
    progress : bool
        Show a bar; by default on terminals and in notebooks, once it takes more than two seconds.

    Returns
    -------
    Variational

    Raises
    ------
    ArgumentError
        For an argument that makes no sense.
    SamplingError
        If the log density is not finite where the runs start, or no draw of any result has a finite one.

    Warns
    -----
    ConvergenceWarning
        The best run was still moving after its last step.
    ParetoWarning
        k-hat is above 0.7 (or the lower threshold of few draws).
    """
    W = laplace_whitening(posterior)
    most = max_iter if iter is None else iter
    return approximate(log_posterior, posterior.target, posterior.log_likelihood, W, method, max_iter=most, **settings)


def _run_start(q: Gaussian, r: int, seed: np.random.SeedSequence) -> Gaussian:
    """The Laplace approximation for the first run, near it for the others."""
    if r == 0:
        return copy(q)
    return _dispersed(q, np.random.Generator(np.random.Philox(seed).jumped(r)))


def _run_all(runs: list[Run], threads: int, progress: bool | None) -> None:
    """Run them in threads; an interruption ends them all."""
    total = sum(run.problem.max_iter for run in runs)
    with ThreadPoolExecutor(threads) as pool, progress_bar(total, "variational", progress) as bar:
        futures = [pool.submit(run.run, bar) for run in runs]
        try:
            for future in futures:
                future.result()
        finally:
            for run in runs:
                run.is_stopped = True


def _chosen(method: str, runs: list[Run], is_resampled: bool, rng: np.random.Generator) -> Variational:
    """The run with the highest ELBO, weighed."""
    elbos = np.array([run.elbo[0] for run in runs])
    best = int(np.argmax(elbos))
    run = runs[best]
    if not np.any(np.isfinite(run.log_ratios)):
        raise SamplingError("no draw of any approximation has a finite log density: nothing can be said about it")
    log_weights, khat = psis(run.log_ratios)
    ess, positions = float(weights_ess(log_weights)), run.positions
    log_marginal, log_marginal_se = log_mean_weight(run.log_ratios, log_weights)
    if is_resampled:
        positions = positions[resample(log_weights, len(positions), rng)]
        log_weights = np.full(len(positions), -np.log(len(positions)))
    means = np.array([each.q.mean for each in runs])
    result = Variational(
        method=method,
        positions=positions[None],
        log_weights=log_weights,
        elbo=run.elbo[0],
        elbo_se=run.elbo[1],
        log_marginal=log_marginal,
        log_marginal_se=log_marginal_se,
        khat=float(khat),
        ess=ess,
        converged=run.converged,
        message=_message(run),
        elbo_traces=tuple(each.trace for each in runs),
        elbos=elbos,
        best=best,
        disagreement=float(np.max(np.abs(means - means.mean(axis=0)))) if len(runs) > 1 else np.nan,
        is_resampled=is_resampled,
        q=run.q,
        W=run.problem.W,
        V=run.problem.V,
    )
    _warn(result)
    return result


def _message(run: Run) -> str:
    if run.drift is None:
        return f"not converged: {run.trace.size} steps are too few to see whether anything still changes"
    return f"{'converged' if run.converged else 'not converged'} after {run.trace.size} steps: {run.drift}"


def _warn(result: Variational) -> None:
    """Say what is wrong with a result."""
    if not result.converged:
        warn(ConvergenceWarning(f"variational approximation ({result.method}) {result.message}; give it more (iter=)"))
    threshold = khat_threshold(result.log_weights.size)
    if result.khat > threshold:
        warn(
            ParetoWarning(
                f"variational approximation ({result.method}): Pareto k-hat is {result.khat:.2f} (above "
                f"{threshold:.2f}): {result.verdict}",
                khat=result.khat,
            )
        )


# -- what can be wrong ------------------------------------------------------------


def _check(
    method: str, max_iter: int, draws: int, n_runs: int, draws_per_step: int, rank: Any, threads: Any, d: int
) -> None:
    if method not in METHODS:
        raise ArgumentError(f"method must be one of {', '.join(METHODS)}, not {method!r}", method=method)
    least = {"iter": (max_iter, 1), "draws": (draws, 10), "n_runs": (n_runs, 1), "draws_per_step": (draws_per_step, 2)}
    if threads is not None:
        least["threads"] = (threads, 1)
    if rank is not None:
        least["rank"] = (rank, 1)
    for name, (value, low) in least.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
            raise ArgumentError(f"{name} must be a whole number of at least {low}, not {value!r}", name=name)
    if draws_per_step % 2:
        raise ArgumentError(f"draws_per_step must be even (draws come in pairs), not {draws_per_step}")
    if rank is not None and method != "lowrank":
        raise ArgumentError(f"rank belongs to method='lowrank', not to {method!r}")
    if rank is not None and rank > d:
        raise ArgumentError(f"rank must be at most {d}, the dimension, not {rank}")
    if method == "fullrank" and d > LARGEST_FULL:
        raise ArgumentError(
            f"method='fullrank' with {d} dimensions would need a matrix of {d} x {d}; "
            f"take method='hybrid' or 'lowrank' above {LARGEST_FULL}",
            d=d,
        )


def _check_start(density: Density, position: FloatArray) -> None:
    gradient = np.empty(position.size)
    value = density.log_density(position.copy(), gradient, density.target, density.log_likelihood)
    if not (np.isfinite(value) and np.isfinite(gradient).all()):
        raise SamplingError(
            f"the log density ({value}) or its gradient is not finite where the approximation starts", value=value
        )
