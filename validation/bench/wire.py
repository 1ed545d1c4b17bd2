"""What passes between the processes: the data once, then a line of JSON for every request.

Place in the reading order: after ``cases``. Imports neither refglmm nor another module of the benchmark: it
runs in the environment of the other programs as well.

A data frame travels as one binary file for each column (float64, or int32 codes of a factor) and a list of
names and levels. Answers start with ``PREFIX``, so that whatever a program prints by itself can be told
apart.
"""

from __future__ import annotations

import gc
import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PREFIX = "@answer "
LISTING = "columns.json"


def write_columns(folder: Path, data: pd.DataFrame, *, keep_order: bool = False) -> None:
    """Write a data frame; numbers become float64, and factors lose their order unless ``keep_order`` (for R only)."""
    columns = []
    for number, name in enumerate(data.columns):
        column, file = data[name], f"column{number}.bin"
        if isinstance(column.dtype, pd.CategoricalDtype):
            levels = [str(level) for level in column.cat.categories]
            np.asarray(column.cat.codes, dtype=np.int32).tofile(folder / file)
            ordered = {"ordered": True} if keep_order and column.dtype.ordered else {}
            columns.append({"name": name, "file": file, "levels": levels, **ordered})
        else:
            np.asarray(column, dtype=np.float64).tofile(folder / file)
            columns.append({"name": name, "file": file})
    listing = {"rows": len(data), "columns": columns}
    (folder / LISTING).write_text(json.dumps(listing), encoding="utf-8")


def read_columns(folder: Path) -> pd.DataFrame:
    """Read what :func:`write_columns` wrote."""
    data: dict[str, Any] = {}
    for column in json.loads((folder / LISTING).read_text(encoding="utf-8"))["columns"]:
        if "levels" in column:
            codes = np.fromfile(folder / column["file"], dtype=np.int32)
            data[column["name"]] = pd.Categorical.from_codes(codes, categories=column["levels"])
        else:
            data[column["name"]] = np.fromfile(folder / column["file"], dtype=np.float64)
    return pd.DataFrame(data)


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Result and the wall and CPU seconds it took, garbage collected beforehand."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def burst(work: Callable[[], Any], repeats: int) -> tuple[Any, dict[str, float]]:
    """Median times of some calls in a row; of several, the first only warms the processor's caches up."""
    runs = [timed(work) for _ in range(repeats)]
    kept = [times for _, times in (runs[1:] or runs)]
    return runs[-1][0], {clock: float(np.median([times[clock] for times in kept])) for clock in ("wall", "cpu")}


def peak_memory() -> int:
    """Largest resident size of this process so far, bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def serve(handlers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]]) -> None:
    """Answer requests from standard input until it ends; an exception becomes an answer too."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = handlers[request["do"]](request)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(PREFIX + json.dumps(answer), flush=True)
