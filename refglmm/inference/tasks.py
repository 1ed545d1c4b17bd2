"""Many independent tasks on any executor, with nothing lost: what a bootstrap or a profile is spread over.

Place in the reading order: first of ``inference``; it knows no models.

``executor`` is any :class:`concurrent.futures.Executor`: processes, threads, ``Client.get_executor()`` of dask; None
means this process. Tasks travel in chunks, so that the function (which may carry a fit) is not sent a thousand times.

* What a task raises and warns is recorded in its :class:`Outcome`; the others go on.
* The numbers do not depend on the workers: a task gets its own seed (:func:`seeds`), and outcomes stand in the order
  of the tasks.
* **A worker that dies** takes its unfinished tasks with it; they are submitted again. A process pool cannot be used
  after that, so a pool of the same kind takes its place (the caller's stays broken); dask replaces its workers itself.
  Tasks that are lost ``ROUNDS`` times are run one at a time: those during which a worker dies again are counted
  as failures. When that happens ``DEATHS`` times in a row, or the executor takes no tasks at all, an
  :class:`~refglmm.errors.ExecutorError` says so: nothing is run in the caller's process, which a task that kills its
  worker would take along.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from refglmm.errors import ArgumentError, ExecutorError

#: Chunks for each worker: enough that the last ones to finish do not leave the others idle for long.
CHUNKS_PER_WORKER = 8
#: How often lost tasks are submitted again together before they are run one at a time, and deaths in a row then.
ROUNDS, DEATHS = 3, 5
#: Seconds before a progress bar shows.
PATIENCE = 2.0

#: What a future raises when its worker is gone (dask's by name: it need not be installed).
_LOST = (BrokenExecutor, CancelledError, asyncio.CancelledError, OSError)
_LOST_NAMES = ("KilledWorker", "FutureCancelledError", "CommClosedError")


@dataclass(frozen=True)
class Outcome:
    """What became of one task.

    Attributes
    ----------
    value : object
        What the function returned; None if it raised.
    error : str or None
        "Type: message" of what it raised.
    warnings : tuple of str
        Messages of the warnings given meanwhile, in order.
    """

    value: Any
    error: str | None
    warnings: tuple[str, ...]


def run_tasks(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    *,
    executor: Executor | None = None,
    progress: bool | None = None,
    label: str = "",
) -> list[Outcome]:
    """Call ``function`` on each task; outcomes stand in the order of the tasks.

    Parameters
    ----------
    function : callable
        Of one argument. For executors in other processes it (and tasks and values) must be picklable: defined at the
        top level of a module, or a :func:`functools.partial` of such a function.
    tasks : sequence
    executor : concurrent.futures.Executor, optional
        Where the tasks run; in this process, one after the other, by default.
    progress : bool, optional
        Show a bar; by default on terminals and in notebooks, once it takes more than two seconds.
    label : str
        Beside the bar.

    Raises
    ------
    ArgumentError
        If the executor is none, or function, tasks or values cannot be sent to it.
    ExecutorError
        If the executor takes no tasks, or its workers keep dying.
    """
    tasks = list(tasks)
    if executor is not None and not (hasattr(executor, "submit") and hasattr(executor, "shutdown")):
        raise ArgumentError(
            f"executor must be a concurrent.futures.Executor (or None), not {type(executor).__name__}; "
            "with dask use Client.get_executor()"
        )
    if not tasks:
        return []
    with progress_bar(len(tasks), label, progress) as bar, recorded_warnings():
        if executor is not None:
            return _Spread(function, tasks, executor, bar).run()
        outcomes = []
        for task in tasks:
            outcomes.append(_attempt(function, task))
            bar.update()
        return outcomes


def seeds(seed: int | np.random.SeedSequence | np.random.Generator | None, n: int) -> list[np.random.SeedSequence]:
    """Give each of n tasks a seed of its own, the same whoever runs it.

    Parameters
    ----------
    seed : int, sequence of int, SeedSequence, Generator or None
        None takes fresh entropy from the operating system. A SeedSequence is left as it is; a Generator gives four of
        its numbers.
    n : int
    """
    if isinstance(seed, np.random.SeedSequence):
        root = np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key, pool_size=seed.pool_size)
        return root.spawn(n)
    if isinstance(seed, np.random.Generator):
        return np.random.SeedSequence(seed.integers(2**32, size=4).tolist()).spawn(n)
    try:
        return np.random.SeedSequence(seed).spawn(n)
    except (TypeError, ValueError) as error:
        text = f"seed must be a non-negative integer, a SeedSequence, a numpy Generator or None, not {seed!r}"
        raise ArgumentError(text) from error


# -- one task ------------------------------------------------------------------------------------------------


_local = threading.local()
_recording = threading.Lock()
_recorders = 0
_previous: Any = None


@contextmanager
def recorded_warnings() -> Iterator[None]:
    """Send the warnings of each thread to the task that it runs.

    ``warnings.catch_warnings`` is one for the whole process: threads that enter and leave it in turns restore each
    other's state. So it is entered once, by the first to come, and left by the last to go.
    """
    global _recorders, _previous
    with _recording:
        if _recorders == 0:
            _previous = warnings.catch_warnings()
            _previous.__enter__()
            usual = warnings.showwarning

            def show(message: Warning | str, *where: Any, **more: Any) -> None:
                heard = getattr(_local, "heard", None)
                if heard is None:
                    usual(message, *where, **more)
                else:
                    heard.append(str(message))

            warnings.simplefilter("always")
            warnings.showwarning = show
        _recorders += 1
    try:
        yield
    finally:
        with _recording:
            _recorders -= 1
            if _recorders == 0:
                _previous.__exit__(None, None, None)


def _attempt(function: Callable[[Any], Any], task: Any) -> Outcome:
    """One task, whatever happens in it."""
    outer = getattr(_local, "heard", None)
    heard: list[str] = []
    _local.heard = heard
    try:
        value, error = function(task), None
    except Exception as raised:
        value, error = None, f"{type(raised).__name__}: {raised}"
    finally:
        _local.heard = outer
    return Outcome(value, error, tuple(heard))


def _run_chunk(function: Callable[[Any], Any], tasks: list[Any]) -> list[Outcome]:
    """Run several tasks, where the executor put them."""
    with recorded_warnings():
        return [_attempt(function, task) for task in tasks]


# -- many tasks ----------------------------------------------------------------------------------------------


class _Spread:
    """The tasks of one call on one executor (or on the pools that replace it)."""

    def __init__(self, function: Callable[[Any], Any], tasks: list[Any], executor: Executor, bar: Any) -> None:
        self.function, self.tasks, self.bar = function, tasks, bar
        self.executor, self.borrowed = executor, executor
        self.outcomes: dict[int, Outcome] = {}
        self.last_loss = ""

    def run(self) -> list[Outcome]:
        """All outcomes, in order."""
        missing = list(range(len(self.tasks)))
        try:
            for attempt in range(ROUNDS):
                missing = self._round(_chunks(missing, 1 if attempt else self._chunk_size()))
                if not missing:
                    break
            self._one_at_a_time(missing)
        finally:
            self._drop_replacement()
        return [self.outcomes[i] for i in range(len(self.tasks))]

    def _chunk_size(self) -> int:
        workers = getattr(self.executor, "_max_workers", None) or os.cpu_count() or 1
        return max(1, len(self.tasks) // (CHUNKS_PER_WORKER * workers))

    def _round(self, chunks: list[list[int]]) -> list[int]:
        """Submit the chunks and collect what comes back; the tasks that did not."""
        futures: dict[Future[list[Outcome]], list[int]] = {}
        lost: list[int] = []
        try:
            for chunk in chunks:
                future = self._submit(chunk)
                if future is None:
                    lost += chunk
                else:
                    futures[future] = chunk
            for future in as_completed(futures):
                lost += self._collect(future, futures[future])
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        if lost:
            self._replace_broken_pool()
        return sorted(lost)

    def _one_at_a_time(self, indices: list[int]) -> None:
        """Find out which tasks a worker does not survive."""
        dead: dict[int, Outcome] = {}
        in_a_row = 0
        for i in indices:
            if not self._round([[i]]):
                in_a_row = 0
                continue
            dead[i] = Outcome(None, f"the worker died: {self.last_loss}", ())
            in_a_row += 1
            if in_a_row == DEATHS:
                unfinished = len(self.tasks) - len(self.outcomes)
                raise ExecutorError(
                    f"the workers of the executor keep dying ({self.last_loss}); {unfinished} of {len(self.tasks)} "
                    "tasks are not done. Run them without an executor to see what fails; a function that was defined "
                    "in an interactive session must go into a module",
                    unfinished=unfinished,
                )
        self.outcomes.update(dead)
        self.bar.update(len(dead))

    def _submit(self, chunk: list[int]) -> Future[list[Outcome]] | None:
        """The future of a chunk; None if the executor broke meanwhile."""
        try:
            return self.executor.submit(_run_chunk, self.function, [self.tasks[i] for i in chunk])
        except BrokenExecutor as error:
            self.last_loss = _worded(error)
            return None
        except RuntimeError as error:
            raise ExecutorError(f"the executor takes no tasks ({error}); hand in one that is running") from error
        except Exception as error:
            raise _unsendable(error) from error

    def _collect(self, future: Future[list[Outcome]], chunk: list[int]) -> list[int]:
        """Keep the outcomes of a chunk; the tasks themselves if they are lost."""
        try:
            outcomes = future.result()
        except (Exception, asyncio.CancelledError) as error:
            if not isinstance(error, _LOST) and type(error).__name__ not in _LOST_NAMES:
                raise _unsendable(error) from error
            self.last_loss = _worded(error)
            return chunk
        self.outcomes.update(zip(chunk, outcomes, strict=True))
        self.bar.update(len(chunk))
        return []

    def _replace_broken_pool(self) -> None:
        """Another process pool like the one that broke; an error where we would not know how to build it."""
        broken = getattr(self.executor, "_broken", False)
        if not broken:
            return
        if not isinstance(self.executor, ProcessPoolExecutor):
            raise ExecutorError(f"the executor broke ({self.last_loss}) and cannot be replaced; hand in another one")
        old: Any = self.executor
        self._drop_replacement()
        self.executor = ProcessPoolExecutor(
            old._max_workers, mp_context=old._mp_context, initializer=old._initializer, initargs=old._initargs
        )

    def _drop_replacement(self) -> None:
        if self.executor is not self.borrowed:
            self.executor.shutdown(wait=False, cancel_futures=True)


def _chunks(indices: list[int], size: int) -> list[list[int]]:
    return [indices[first : first + size] for first in range(0, len(indices), size)]


def _worded(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _unsendable(error: BaseException) -> ArgumentError:
    return ArgumentError(
        f"the function, a task or its value cannot be sent to the executor ({_worded(error)}); use functions defined "
        "at the top level of a module (no lambda, no local function), or a ThreadPoolExecutor"
    )


@contextmanager
def progress_bar(total: int, label: str, progress: bool | None) -> Iterator[Any]:
    """A tqdm bar, silent where nobody would see it or ``TQDM_DISABLE`` is set."""
    seen = sys.stderr is not None and (sys.stderr.isatty() or "ipykernel" in sys.modules)
    shown = seen and not os.environ.get("TQDM_DISABLE") if progress is None else progress
    if shown:  # the bar that suits a notebook warns where notebooks have no widgets: nothing for a hidden one
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm
    with tqdm(total=total, desc=label or None, disable=not shown, delay=PATIENCE, leave=False) as bar:
        yield bar
