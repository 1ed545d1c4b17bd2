"""Starts a worker process for each program and asks it one thing at a time.

Place in the reading order: after the workers.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from validation.bench.cases import EVERYBODY, GLMMTMB, LME4, OURS
from validation.bench.wire import PREFIX

REPOSITORY = Path(__file__).resolve().parents[2]
#: Python of the environment that ``validation/bench/setup.sh`` makes; the variable names another one.
BENCH_PYTHON = os.environ.get("REFGLMM_BENCH_PYTHON", str(REPOSITORY / ".venv-bench" / "bin" / "python"))
R_PROGRAMS = (LME4, GLMMTMB)
#: One thread for everything: two busy cores made some programs 20 times slower when they started more.
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ),
    "1",
)
START_TIMEOUT = 120.0


class PeerError(Exception):
    """A program is not there, gave up, or said that it failed."""


class OverBudgetError(PeerError):
    """A program did not answer within its budget, and was stopped."""


def command(peer: str) -> list[str]:
    """Command line of a program's worker.

    Raises
    ------
    PeerError
        If what it needs is not installed.
    """
    if peer == OURS:
        return [sys.executable, "-m", "validation.bench.worker_refglmm"]
    if peer in R_PROGRAMS:
        rscript = shutil.which("Rscript")
        if rscript is None:
            raise PeerError("Rscript is not installed")
        return [rscript, "--vanilla", str(Path(__file__).with_name("r_worker.R")), peer]
    if not Path(BENCH_PYTHON).exists():
        raise PeerError("the benchmark environment is missing (validation/bench/setup.sh makes it)")
    return [BENCH_PYTHON, "-m", "validation.bench.worker_python", peer]


class Worker:
    """One process of one program.

    Parameters
    ----------
    memory_limit : int
        Address space in bytes that the process may use.
    arguments : list of str, optional
        Command line; by default that of :func:`command`.
    """

    def __init__(self, peer: str, memory_limit: int, arguments: list[str] | None = None) -> None:
        self.peer = peer
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed by stop()
        environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(REPOSITORY)}
        self.process = subprocess.Popen(
            limited(arguments or command(peer), memory_limit),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            cwd=REPOSITORY,
        )
        self._pending = b""
        self._selector = selectors.DefaultSelector()
        assert self.process.stdout is not None
        self._selector.register(self.process.stdout, selectors.EVENT_READ)

    def ask(self, do: str, timeout: float = START_TIMEOUT, **details: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises
        ------
        OverBudgetError
            If there is none after ``timeout`` seconds; the process is stopped.
        PeerError
            If the process ended or answers with an error.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write((json.dumps({"do": do, **details}) + "\n").encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            raise PeerError(self._last_words()) from None
        answer: dict[str, Any] = json.loads(self._answer(do, time.monotonic() + timeout, timeout))
        if "error" in answer:
            raise PeerError(f"{do}: {answer['error']}")
        return answer

    def _answer(self, do: str, deadline: float, timeout: float) -> str:
        while True:
            line, newline, rest = self._pending.partition(b"\n")
            if newline:
                self._pending = rest
                text = line.decode(errors="replace")
                if text.startswith(PREFIX):
                    return text[len(PREFIX) :]
                continue
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                self.stop()
                raise OverBudgetError(f"{do}: no answer within {timeout:.0f} s")
            assert self.process.stdout is not None
            block = os.read(self.process.stdout.fileno(), 1 << 16)
            if not block:
                raise PeerError(self._last_words())
            self._pending += block

    def _last_words(self) -> str:
        """Why the process ended, as far as it said."""
        code = self.process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f"ended with status {code}: {lines[-1][:200] if lines else 'no message'}"

    def stop(self) -> None:
        """End the process."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        self._selector.close()
        self._log.close()


def limited(arguments: list[str], memory_limit: int) -> list[str]:
    """The command under a limit of its address space, where the shell can set one."""
    if not sys.platform.startswith("linux"):
        return arguments
    return ["/bin/sh", "-c", f'ulimit -v {memory_limit // 1024} && exec "$@"', "sh", *arguments]


def start(peer: str, memory_limit: int, arguments: list[str] | None = None) -> tuple[Worker, dict[str, Any]]:
    """A worker that is ready, and its program's version."""
    worker = Worker(peer, memory_limit, arguments)
    try:
        return worker, worker.ask("version")
    except PeerError:
        worker.stop()
        raise


def installed(wanted: tuple[str, ...], memory_limit: int) -> dict[str, dict[str, Any]]:
    """Version of each wanted program, or {"missing": why}, in the order of the columns."""
    found: dict[str, dict[str, Any]] = {}
    for peer in EVERYBODY:
        if peer in wanted:
            try:
                worker, found[peer] = start(peer, memory_limit)
                worker.stop()
            except PeerError as error:
                found[peer] = {"missing": str(error)}
    return found
