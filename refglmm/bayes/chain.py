r"""Chains of the no-U-turn sampler: warmup, draws, threads, interruption, checkpoints.

Place in the reading order: after ``segment``; ``fits`` calls :func:`sample_chains`.

A chain runs in segments, each one call of a compiled function that releases the interpreter: the phases of the warmup,
between which the metric changes, then blocks of draws. Each chain has its own counter-based random stream, made from
(seed, number of the chain), and nothing else that is random; so the draws are the same whatever the number of threads,
and a chain that goes on from a checkpoint goes on as if it had never stopped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refglmm._jit import pure
from refglmm.bayes import adaptation, whiten
from refglmm.bayes.adaptation import Averaging, Moments, new_averaging, new_moments
from refglmm.bayes.segment import DIVERGENT, FIRST_ACCEPT, STATS, Plan, run_segment
from refglmm.bayes.trees import Space, new_space
from refglmm.bayes.whiten import Whitening, standardise_rows
from refglmm.errors import ArgumentError, InterruptedWarning, SamplingError, SamplingWarning, warn
from refglmm.inference.tasks import progress_bar, seeds

FloatArray = NDArray[np.float64]

METRICS = ("laplace", "diag", "dense", "hybrid")
VARIANTS = ("multinomial", "slice")
#: Statistics that are no float.
_KINDS = {"treedepth": np.int64, "n_leapfrog": np.int64, "divergent": np.bool_}
#: A covariance is learnt from a window with at least this many draws a dimension.
DRAWS_PER_DIMENSION = 3
#: A dense metric of a larger posterior would be slower than any other.
LARGEST_DENSE = 2000
#: Variances are shrunk towards this, in units of the metric before: the Laplace approximation is trusted more.
TOWARDS = {"laplace": 1.0, "diag": 1e-3, "dense": 1e-3, "hybrid": 1e-3}
#: Blocks of draws between two checkpoints.
BLOCKS = 10
#: Seconds between two looks at the counters.
GLANCE = 0.1


# -- one chain ------------------------------------------------------------


class Settings(NamedTuple):
    """What all chains of a run have in common; see :func:`sample_chains`."""

    warmup: int
    draws: int
    thin: int
    delta: float
    max_treedepth: int
    variant: str
    metric: str
    adapt_metric: bool

    def plan(self, **changes: Any) -> Plan:
        """The plan of a block of draws, with changes."""
        plan = Plan(self.thin, self.max_treedepth, self.variant == "slice", False, False, False, self.delta)
        return plan._replace(**changes)


class Density(NamedTuple):
    """A log density with what it is handed: compiled, or a Python function."""

    log_density: Callable[..., float]
    target: Any
    log_likelihood: Any

    @property
    def run(self) -> Callable[..., int]:
        """The segment, compiled if the log density is."""
        return run_segment if hasattr(self.log_density, "py_func") else pure(run_segment)


class Chain:
    """One chain and all it knows; a thread runs it, the caller's thread looks at ``progress`` and sets ``stop``.

    Attributes
    ----------
    number : int
        From 0.
    whitening : Whitening
        The metric now.
    done : int
        Draws so far: rows of ``positions`` and ``stats``.
    progress : int array, shape (1,)
        Transitions so far.
    """

    def __init__(
        self,
        number: int,
        start: FloatArray,
        whitening: Whitening,
        settings: Settings,
        density: Density,
        seed: np.random.SeedSequence,
        positions: FloatArray,
        stop: NDArray[np.int64],
        file: Path | None,
    ) -> None:
        self.number, self.whitening, self.settings, self.density = number, whitening, settings, density
        self.positions, self.stop, self.file = positions, stop, file
        self.stats = np.zeros((settings.draws, len(STATS)))
        self.warmup_stats = np.zeros((settings.warmup, len(STATS)))
        self.rng = np.random.Generator(np.random.Philox(seed))
        self.averaging = new_averaging()
        self.space: Space = new_space(start.size, settings.max_treedepth)
        self.progress = np.zeros(1, dtype=np.int64)
        self.xi = np.empty(start.size)
        self.done, self.is_warm = 0, False
        standardise_rows(whitening, start[None], self.xi[None])

    def run(self) -> None:
        """Warm up and draw, or go on with that."""
        if not self.is_warm:
            self.warm_up()
        block = max(1, -(-self.settings.draws // BLOCKS)) if self.file else self.settings.draws
        while self.is_warm and self.done < self.settings.draws and not self.stop[0]:
            self.draw(min(block, self.settings.draws - self.done))
            self.save()

    def draw(self, n: int) -> None:
        """Add n draws."""
        rows = slice(self.done, self.done + n)
        self.done += self._segment(self.settings.plan(), self.positions[rows], self.stats[rows])

    def warm_up(self) -> None:
        """All segments of the warmup, the metric refined after each window."""
        first, is_fresh, settings = 0, True, self.settings
        for segment in adaptation.schedule(settings.warmup, settings.adapt_metric):
            moments = new_moments(self.xi.size, block_size(self.whitening, settings.metric))
            plan = settings.plan(thin=1, is_fresh=is_fresh, learns_step=True, learns_spread=segment.is_window)
            stats = self.warmup_stats[first : first + segment.length]
            if self._segment(plan, np.empty((0, self.xi.size)), stats, moments) < segment.length:
                return
            if segment.is_window:
                self._refine(moments)
            first, is_fresh = first + segment.length, segment.is_window
        adaptation.settle(self.averaging)
        self.is_warm = True
        self.save()

    def _segment(self, plan: Plan, positions: FloatArray, stats: FloatArray, moments: Moments | None = None) -> int:
        moments = new_moments(self.xi.size, 0) if moments is None else moments
        done = self.density.run(
            self.xi, self.averaging, moments, self.space, self.whitening, positions, stats, plan, self.progress,
            self.stop, self.rng, *self.density,
        )  # fmt: skip
        if done < 0:
            raise SamplingError(
                f"chain {self.number + 1}: no step size gives an acceptance near {FIRST_ACCEPT} from where it stands; "
                "the log density or its gradient is not finite, or not smooth, around there",
                chain=self.number + 1,
            )
        return done

    def _refine(self, moments: Moments) -> None:
        """Another metric from a window's draws; the chain stays where it is."""
        position = np.empty((1, self.xi.size))
        whiten.place_rows(self.whitening, self.xi[None], position)
        self.whitening = refined(self.whitening, moments, self.settings.metric)
        standardise_rows(self.whitening, position, self.xi[None])

    # -- checkpoints --

    def save(self) -> None:
        """Write all that the rest of the chain depends on; a write that breaks off leaves the file before."""
        if self.file is None:
            return
        random = self.rng.bit_generator.state
        part = self.file.with_suffix(".part.npz")
        np.savez(
            part,
            settings=json.dumps(self.settings._asdict()),
            xi=self.xi,
            averaging=np.array(self.averaging),
            positions=self.positions[: self.done],
            stats=self.stats[: self.done],
            warmup_stats=self.warmup_stats,
            **{f"random_{name}": random["state"][name] for name in ("counter", "key")},
            random_buffer=random["buffer"],
            random_rest=np.array([random["buffer_pos"], random["has_uint32"], random["uinteger"]]),
            **{f"whitening_{name}": array for name, array in self.whitening._asdict().items()},
        )
        os.replace(part, self.file)

    def load(self, is_seeded: bool) -> None:
        """Go back to what :meth:`save` wrote, if anything."""
        if self.file is None or not self.file.exists():
            return
        with np.load(self.file, allow_pickle=False) as stored:
            saved = {name: stored[name] for name in stored.files}
        self._check(saved, is_seeded)
        self.whitening = Whitening(*(saved[f"whitening_{name}"] for name in Whitening._fields))
        self.averaging = Averaging(*(row.copy() for row in saved["averaging"]))
        self.done, self.is_warm = min(len(saved["stats"]), self.settings.draws), True
        self.xi[:], self.warmup_stats[:] = saved["xi"], saved["warmup_stats"]
        self.positions[: self.done], self.stats[: self.done] = saved["positions"], saved["stats"]
        counter, key = saved["random_counter"], saved["random_key"]
        buffer_pos, has_uint32, uinteger = (int(number) for number in saved["random_rest"])
        self.rng.bit_generator.state = {
            "bit_generator": "Philox",
            "state": {"counter": counter, "key": key},
            "buffer": saved["random_buffer"],
            "buffer_pos": buffer_pos,
            "has_uint32": has_uint32,
            "uinteger": uinteger,
        }
        self.progress[0] = self.settings.warmup + self.done * self.settings.thin

    def _check(self, saved: dict[str, Any], is_seeded: bool) -> None:
        """The checkpoint must be of this very chain; it may have been meant to be shorter."""
        before, now = json.loads(str(saved["settings"])), self.settings._asdict()
        differing = [name for name in now if name != "draws" and before[name] != now[name]]
        if saved["xi"].size != self.xi.size:
            differing.append(f"number of parameters ({saved['xi'].size}, now {self.xi.size})")
        if is_seeded and not np.array_equal(saved["random_key"], self.rng.bit_generator.state["state"]["key"]):
            differing.append("seed")
        if len(saved["stats"]) > self.settings.draws:
            differing.append(f"draws ({len(saved['stats'])} are there, {self.settings.draws} are asked for)")
        if differing:
            raise ArgumentError(
                f"{self.file} was written by a run with another {', '.join(differing)}; "
                "take the same arguments to go on with it, or another checkpoint",
                file=str(self.file),
                differing=differing,
            )


def block_size(whitening: Whitening, metric: str) -> int:
    """How many of the first parameters have a covariance that is learnt."""
    return len(whitening.C) if metric in ("dense", "hybrid") else 0


def refined(whitening: Whitening, moments: Moments, metric: str) -> Whitening:
    """The metric after a window of draws."""
    variances = adaptation.variances(moments, TOWARDS[metric])
    block = len(moments.cross)
    if block and moments.draws[0] >= DRAWS_PER_DIMENSION * block:
        return whiten.rotated(whitening, adaptation.cross_covariance(moments, TOWARDS[metric]), variances)
    return whiten.rescaled(whitening, variances)


# -- all chains ------------------------------------------------------------


@dataclass(frozen=True)
class Chains:
    """What sampling gave.

    Attributes
    ----------
    positions : float array, shape (chains, draws, d)
    stats : dict of arrays, shape (chains, draws)
        ``lp`` (log density), ``accept``, ``treedepth``, ``n_leapfrog``, ``divergent``, ``energy``, ``step_size``. Of
        thinned transitions: the mean acceptance, the largest tree depth, the sum of the leapfrog steps, and whether any
        diverged.
    warmup_stats : dict of arrays, shape (chains, warmup)
    whitenings : tuple of Whitening
        The metric of each chain after its warmup.
    numbers : tuple of int
        Which chains these are, from 0; an interrupted run may have lost some.
    is_complete : bool
        False where the run was interrupted.
    """

    positions: FloatArray
    stats: dict[str, NDArray[Any]]
    warmup_stats: dict[str, NDArray[Any]]
    whitenings: tuple[Whitening, ...]
    numbers: tuple[int, ...]
    is_complete: bool

    def __repr__(self) -> str:
        chains, draws, d = self.positions.shape
        return f"Chains({chains} chains, {draws} draws, {d} parameters{'' if self.is_complete else ', interrupted'})"


def sample_chains(
    log_density: Callable[..., float],
    target: Any,
    log_likelihood: Any,
    start_positions: ArrayLike,
    whitening: Whitening,
    *,
    warmup: int = 1000,
    draws: int = 1000,
    thin: int = 1,
    delta: float = 0.8,
    max_treedepth: int = 10,
    variant: str = "multinomial",
    metric: str = "laplace",
    adapt_metric: bool = True,
    seed: int | np.random.SeedSequence | np.random.Generator | None = None,
    threads: int | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Chains:
    """Draw from a log density with the no-U-turn sampler.

    Parameters
    ----------
    log_density : callable
        ``log_density(position, gradient, target, log_likelihood) -> value``, the gradient filled in place: compiled
        with the signature ``target.LOG_DENSITY``, or any Python function (the sampler then runs as Python too).
    target, log_likelihood
        Handed on to it.
    start_positions : float array, shape (chains, d)
    whitening : Whitening
        The metric to begin with.
    warmup, draws : int
        Transitions that are thrown away; draws of each chain that are kept.
    thin : int
        Transitions a draw.
    delta : float
        Acceptance statistic that the step size aims at.
    max_treedepth : int
        Most doublings of a trajectory.
    variant : {"multinomial", "slice"}
    metric : {"laplace", "diag", "dense", "hybrid"}
        ``laplace``: the whitening as it is, its scales adapted. The others begin with the standard deviations
        (``diag``), covariance (``dense``), or covariance of the hyperparameters and standard deviations of the random
        effects (``hybrid``) that the whitening implies, and adapt those.
    adapt_metric : bool
        Whether the metric is adapted at all.
    seed : int, SeedSequence, Generator or None
        Same seed, same draws, whatever the number of threads.
    threads : int, optional
        By default one a chain, but not more than there are cores.
    progress : bool, optional
        Show a bar; by default on terminals and in notebooks, once it takes more than two seconds.
    checkpoint : path, optional
        Folder for the state of each chain after its warmup and after each tenth of its draws. If it holds states
        already the run goes on from there, to the same numbers as an uninterrupted one.

    Returns
    -------
    Chains

    Raises
    ------
    ArgumentError
        For an argument that makes no sense, and where the checkpoint belongs to another run.
    SamplingError
        Where the log density is not finite at a start, no step size works, or every transition of every chain diverges.
    KeyboardInterrupt
        If the run is interrupted before there are draws. Later, those so far are returned, with a warning.
    """
    settings = Settings(warmup, draws, thin, delta, max_treedepth, variant, metric, adapt_metric)
    _check_settings(settings, threads)
    starts = _checked_starts(start_positions, whitening)
    density = Density(log_density, target, log_likelihood)
    _check_density(density, starts)
    metric_start = _starting_metric(whitening, settings)
    stop, folder = np.zeros(1, dtype=np.int64), _folder(checkpoint)
    positions = np.empty((len(starts), draws, starts.shape[1]))
    chains = [
        Chain(c, start, metric_start, settings, density, source, positions[c], stop,
              folder / f"chain-{c + 1}.npz" if folder else None)
        for c, (start, source) in enumerate(zip(starts, seeds(seed, len(starts)), strict=True))
    ]  # fmt: skip
    for chain in chains:
        chain.load(seed is not None)
    is_complete = _run_all(chains, threads or min(len(chains), available_cores()), stop, progress)
    if is_complete:
        return _collected(chains, positions, is_complete)
    kept, n = _kept(chains)
    return _collected(kept, np.array([chain.positions[:n] for chain in kept]), is_complete)


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _run_all(chains: Sequence[Chain], threads: int, stop: NDArray[np.int64], progress: bool | None) -> bool:
    """Run the chains in threads; False if the user interrupted them."""
    each = chains[0].settings.warmup + chains[0].settings.draws * chains[0].settings.thin
    is_complete = True
    with ThreadPoolExecutor(threads) as pool, progress_bar(each * len(chains), "sampling", progress) as bar:
        futures = [pool.submit(chain.run) for chain in chains]
        try:
            _watch(futures, chains, bar)
        except KeyboardInterrupt:
            is_complete = False
        finally:
            stop[0] = 1
    for future in futures:
        future.result()
    return is_complete


def _watch(futures: list[Future[None]], chains: Sequence[Chain], bar: Any) -> None:
    """Show the counters until all is done or a chain fails."""
    waiting: set[Future[None]] = set(futures)
    while waiting:
        done, waiting = wait(waiting, timeout=GLANCE, return_when="FIRST_EXCEPTION")
        bar.update(sum(int(chain.progress[0]) for chain in chains) - bar.n)
        if any(future.exception() for future in done):
            return


def most_draws(done: Sequence[int]) -> tuple[list[int], int]:
    """Of chains with so many draws: those, cut to the same length, that have the most draws together; that length."""
    order = sorted(range(len(done)), key=lambda c: -done[c])
    number = max(range(1, len(done) + 1), key=lambda m: m * done[order[m - 1]])
    return sorted(order[:number]), done[order[number - 1]]


def _kept(chains: Sequence[Chain]) -> tuple[list[Chain], int]:
    """Chains and draws that an interrupted run leaves."""
    numbers, draws = most_draws([chain.done for chain in chains])
    if draws == 0:
        raise KeyboardInterrupt("sampling was interrupted before there were any draws")
    asked = chains[0].settings.draws
    warn(
        InterruptedWarning(
            f"sampling was interrupted: {draws} of {asked} draws are kept, of {len(numbers)} of {len(chains)} chains",
            draws=draws,
            chains=[c + 1 for c in numbers],
        )
    )
    return [chains[c] for c in numbers], draws


def _collected(chains: Sequence[Chain], positions: FloatArray, is_complete: bool) -> Chains:
    stats = np.array([chain.stats[: positions.shape[1]] for chain in chains])
    _check_divergences(stats[..., DIVERGENT], [chain.number + 1 for chain in chains])
    return Chains(
        positions=positions,
        stats=_by_name(stats),
        warmup_stats=_by_name(np.array([chain.warmup_stats for chain in chains])),
        whitenings=tuple(chain.whitening for chain in chains),
        numbers=tuple(chain.number for chain in chains),
        is_complete=is_complete,
    )


def _by_name(stats: FloatArray) -> dict[str, NDArray[Any]]:
    return {name: stats[..., at].astype(_KINDS.get(name, np.float64)) for at, name in enumerate(STATS)}


# -- what can be wrong ------------------------------------------------------------


def _check_settings(settings: Settings, threads: int | None) -> None:
    least = {"warmup": 0, "draws": 1, "thin": 1, "max_treedepth": 1}
    for name, low in least.items():
        check_whole(name, getattr(settings, name), low)
    if threads is not None:
        check_whole("threads", threads, 1)
    if settings.max_treedepth > 30:
        raise ArgumentError(f"max_treedepth must be at most 30, not {settings.max_treedepth}")
    if not 0.0 < settings.delta < 1.0:
        raise ArgumentError(f"delta, the wanted acceptance, must lie between 0 and 1, not {settings.delta!r}")
    for name, known in (("variant", VARIANTS), ("metric", METRICS)):
        if getattr(settings, name) not in known:
            raise ArgumentError(f"{name} must be one of {', '.join(known)}, not {getattr(settings, name)!r}")


def check_whole(name: str, value: Any, least: int) -> None:
    """Refuse what is no whole number, or too small."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ArgumentError(f"{name} must be a whole number of at least {least}, not {value!r}")


def _checked_starts(start_positions: ArrayLike, whitening: Whitening) -> FloatArray:
    starts = np.array(start_positions, dtype=np.float64, order="C")
    d = whitening.center.size
    if starts.ndim != 2 or starts.shape[1] != d or not len(starts):
        raise ArgumentError(f"start_positions must have shape (chains, {d}), not {starts.shape}")
    return starts


def _check_density(density: Density, starts: FloatArray) -> None:
    """Value and gradient must be finite where the chains start."""
    gradient = np.empty(starts.shape[1])
    for c, start in enumerate(starts, start=1):
        value = density.log_density(start.copy(), gradient, density.target, density.log_likelihood)
        if not np.isfinite(value):
            raise SamplingError(f"chain {c} cannot start: the log density there is {value}", chain=c)
        if not np.isfinite(gradient).all():
            at = int(np.argmin(np.isfinite(gradient)))
            raise SamplingError(
                f"chain {c} cannot start: the gradient of the log density there is {gradient[at]} for parameter {at}",
                chain=c,
                parameter=at,
            )


def _starting_metric(whitening: Whitening, settings: Settings) -> Whitening:
    """The metric to begin with; a warning where no window of the warmup suffices to learn its covariance."""
    d, n_h, metric = whitening.center.size, len(whitening.C), settings.metric
    if metric == "dense" and d > LARGEST_DENSE:
        raise ArgumentError(
            f"metric='dense' with {d} parameters would need a matrix of {d} x {d}; "
            f"take metric='laplace' or 'diag' above {LARGEST_DENSE}",
            d=d,
        )
    if metric == "hybrid" and not n_h:
        raise ArgumentError("metric='hybrid' needs a whitening that tells hyperparameters from random effects")
    start = whiten.restricted(whitening, metric)
    block = block_size(start, metric)
    windows = [part.length for part in adaptation.schedule(settings.warmup, settings.adapt_metric) if part.is_window]
    needed = DRAWS_PER_DIMENSION * block
    if windows and max(windows) < needed:
        warn(
            SamplingWarning(
                f"metric={metric!r}: the covariance of {block} parameters needs a warmup window of {needed} draws, the "
                f"longest of warmup={settings.warmup} has {max(windows)}; only the scales are adapted",
                needed=needed,
                window=max(windows),
            )
        )
    return start


def _check_divergences(divergent: FloatArray, numbers: Sequence[int]) -> None:
    """Chains in which every draw diverged explore nothing."""
    lost = [number for number, of_chain in zip(numbers, divergent, strict=True) if of_chain.all()]
    if len(lost) == len(divergent):
        raise SamplingError(
            f"every transition of all {len(lost)} chains diverged: the draws are worthless; "
            "look at the model's scales and priors, or take delta closer to 1",
            chains=lost,
        )
    if lost:
        names = ", ".join(map(str, lost))
        warn(SamplingWarning(f"every transition of chain {names} diverged: its draws are worthless", chains=lost))


def _folder(checkpoint: str | os.PathLike[str] | None) -> Path | None:
    if checkpoint is None:
        return None
    folder = Path(checkpoint)
    if folder.exists() and not folder.is_dir():
        raise ArgumentError(f"checkpoint must name a folder, and {folder} is a file")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
