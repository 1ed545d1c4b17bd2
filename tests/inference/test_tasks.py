"""Spreading tasks: order, records of what failed, and workers that die."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from refglmm.errors import ArgumentError, ExecutorError
from refglmm.inference.tasks import Outcome, run_tasks, seeds


def square(x):
    return x * x


def moody(x):
    """Warns at every third task, raises at every fourth."""
    if x % 3 == 0:
        warnings.warn(f"three divides {x}", UserWarning, stacklevel=1)
    if x % 4 == 0:
        raise ValueError(f"four divides {x}")
    return x


def draw(seed):
    return np.random.default_rng(seed).normal(size=3)


def kill_worker_once(marker: Path, x):
    """The worker that gets task 5 first dies of it; the file tells the next one that this has happened."""
    if x == 5 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def always_deadly(deadly, x):
    if x in deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


@pytest.fixture(params=["serial", "threads", "processes"])
def executor(request):
    if request.param == "serial":
        yield None
        return
    pool = ThreadPoolExecutor(3) if request.param == "threads" else process_pool(2)
    with pool:
        yield pool


def process_pool(n):
    return ProcessPoolExecutor(n, mp_context=get_context("forkserver"))


def test_values_stand_in_the_order_of_the_tasks(executor):
    assert [o.value for o in run_tasks(square, range(50), executor=executor)] == [x * x for x in range(50)]


def test_errors_and_warnings_stay_with_their_task(executor):
    outcomes = run_tasks(moody, range(1, 13), executor=executor)
    for x, outcome in zip(range(1, 13), outcomes, strict=True):
        assert outcome == Outcome(
            value=None if x % 4 == 0 else x,
            error=f"ValueError: four divides {x}" if x % 4 == 0 else None,
            warnings=(f"three divides {x}",) if x % 3 == 0 else (),
        )


def test_same_seeds_same_numbers_for_any_workers(executor):
    values = np.array([o.value for o in run_tasks(draw, seeds(7, 20), executor=executor)])
    np.testing.assert_array_equal(values, [draw(s) for s in np.random.SeedSequence(7).spawn(20)])


def test_threads_leave_the_warning_filters_as_they_were():
    before, shown = list(warnings.filters), warnings.showwarning
    with ThreadPoolExecutor(4) as pool:
        run_tasks(moody, range(1, 200), executor=pool)
    assert warnings.filters == before
    assert warnings.showwarning is shown


def test_a_warning_of_another_thread_is_not_swallowed():
    def warn_elsewhere(x):
        thread = threading.Thread(target=lambda: warnings.warn("elsewhere", UserWarning, stacklevel=1))
        thread.start()
        thread.join()
        return x

    with pytest.warns(UserWarning, match="elsewhere"):
        (outcome,) = run_tasks(warn_elsewhere, [1])
    assert outcome == Outcome(1, None, ())


def test_no_tasks_no_outcomes():
    assert run_tasks(square, []) == []


def test_a_dying_worker_loses_nothing(tmp_path):
    with process_pool(2) as pool:
        outcomes = run_tasks(partial(kill_worker_once, tmp_path / "died"), range(40), executor=pool)
    assert (tmp_path / "died").exists()
    assert [o.value for o in outcomes] == [x * x for x in range(40)]
    assert all(o.error is None for o in outcomes)


def test_a_deadly_task_is_counted_and_the_others_are_done():
    with process_pool(2) as pool:
        outcomes = run_tasks(partial(always_deadly, {3}), range(6), executor=pool)
    assert [o.value for o in outcomes] == [0, 1, 2, None, 4, 5]
    assert outcomes[3].error.startswith("the worker died: BrokenProcessPool")


@pytest.mark.slow
def test_workers_that_keep_dying_are_an_error():
    with process_pool(1) as pool, pytest.raises(ExecutorError, match=r"keep dying .* 8 of 8 tasks are not done") as e:
        run_tasks(partial(always_deadly, set(range(8))), range(8), executor=pool)
    assert e.value.facts["unfinished"] == 8


def test_an_executor_that_was_shut_down_is_an_error():
    with ThreadPoolExecutor(1) as pool:
        pass
    with pytest.raises(ExecutorError, match=r"takes no tasks .*after shutdown"):
        run_tasks(square, [1], executor=pool)


def test_a_thread_pool_that_broke_is_an_error():
    def fail():
        raise ValueError("no licence")

    with (
        ThreadPoolExecutor(1, initializer=fail) as pool,
        pytest.raises(ExecutorError, match=r"broke .* cannot be replaced"),
    ):
        run_tasks(square, [1], executor=pool)


def test_what_cannot_be_pickled_is_an_error():
    with process_pool(1) as pool, pytest.raises(ArgumentError, match="top level of a module"):
        run_tasks(lambda x: x, [1], executor=pool)


def test_what_is_no_executor_is_an_error():
    with pytest.raises(ArgumentError, match=r"must be a concurrent.futures.Executor .* not int.*get_executor"):
        run_tasks(square, [1], executor=4)


def test_an_interruption_passes_and_cancels_what_waits():
    class Interrupted(Executor):
        def __init__(self):
            self.pool, self.futures = ThreadPoolExecutor(1), []

        def submit(self, *args):
            if len(self.futures) == 5:
                raise KeyboardInterrupt
            self.futures.append(self.pool.submit(threading.Event().wait, 0.05))
            return self.futures[-1]

    executor = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        run_tasks(square, range(100), executor=executor)
    assert executor.futures[-1].cancelled()
    executor.pool.shutdown()


def test_seeds_leave_the_callers_sequence_alone():
    root = np.random.SeedSequence(3)
    first, second = seeds(root, 2), seeds(root, 2)
    assert root.n_children_spawned == 0
    assert [s.spawn_key for s in first] == [s.spawn_key for s in second] == [(0,), (1,)]
    assert first[0].entropy == 3


@pytest.mark.parametrize("bad", ["x", -1, 1.5])
def test_bad_seeds(bad):
    with pytest.raises(ArgumentError, match="seed must be a non-negative integer"):
        seeds(bad, 1)


def test_a_bar_is_shown_when_asked_for(capsys, monkeypatch):
    monkeypatch.setattr("refglmm.inference.tasks.PATIENCE", 0.0)
    run_tasks(square, range(3), progress=True, label="squares")
    assert "squares" in capsys.readouterr().err
    run_tasks(square, range(3))
    assert sys.stderr.isatty() or capsys.readouterr().err == ""


def test_a_bar_in_a_notebook_is_hidden_by_tqdm_disable(capsys, monkeypatch):
    monkeypatch.setattr("refglmm.inference.tasks.PATIENCE", 0.0)
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm's, where notebooks have no widgets
        run_tasks(square, range(3), label="squares")
    shown = capsys.readouterr()
    assert "squares" in shown.err + shown.out
    monkeypatch.setenv("TQDM_DISABLE", "1")
    run_tasks(square, range(3), label="squares")
    assert capsys.readouterr().err == ""
