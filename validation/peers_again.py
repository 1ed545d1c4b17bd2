"""The fits of other software once more, with the versions that are installed here; what changed since the record.

``python -m validation.peers_again`` (``make peers``). Place in the reading order: after ``peers``, ``shelf`` and
``peers_compare``. The R scripts in ``peers/`` fit; this module writes their data and their calls, and compares. A
script stops with one line where its package is missing; records that may not be shipped are left out where they do not
lie beside the repository.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from validation.bench.wire import write_columns
from validation.peers import FRAMES
from validation.peers_compare import (
    Difference,
    Reader,
    Record,
    difference,
    glmmadaptive_numbers,
    glmmtmb_numbers,
    lme4_numbers,
    summary,
    table,
)
from validation.prepare import AbsentError, frame
from validation.shelf.cases import adaptive_data, tmb_data, tmb_model
from validation.shelf.frames import reference

SCRIPTS = Path(__file__).parent / "peers"
NO_R = "R is not installed here: apt-get install r-base-core r-cran-jsonlite r-cran-lme4 r-cran-glmmtmb"


class ScriptError(Exception):
    """R stopped with an error."""


@dataclass(frozen=True)
class Request:
    """One call for R.

    Attributes
    ----------
    case, call : str
        Name of the case; the R call.
    data : str
        Name that the call has for its data frame.
    frame : callable
        Makes the data frame ready; may raise AbsentError.
    record : mapping
        What the call gave when it was recorded.
    """

    case: str
    call: str
    data: str
    frame: Callable[[], pd.DataFrame]
    record: Record


# --------------------------------------------------------------------------------------- from record to call
def lme4_requests() -> Iterator[Request]:
    """Every line of ``lme4.jsonl`` has its call."""
    for line in (SCRIPTS / "lme4.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        data = data_of(record["call"])
        yield Request(record["case"], record["call"], data, partial(frame, FRAMES.get(data, data)), record)


def data_of(call: str) -> str:
    """Return the name of the data frame in an R call."""
    match = re.search(r"\bdata = (\w+)", call)
    if match is None:
        raise ValueError(f"no data in the call {call!r}")
    return match[1]


def glmmtmb_requests() -> Iterator[Request]:
    """Models of ``glmmtmb.jsonl``, beside the repository."""
    for record in reference("glmmtmb.jsonl"):
        data = data_name(str(record["data"]))
        yield Request(str(record["id"]), glmmtmb_call(record, data), data, partial(tmb_data, record), record)


def data_name(label: str) -> str:
    """How a call names the data of a record: "lme4::cbpp" and "simulated: cbpp.csv (..)" are cbpp."""
    match = re.match(r"(?:\w+::|simulated: )(\w+)", label)
    if match is None:
        raise ValueError(f"cannot read the data {label!r}")
    return match[1]


def glmmtmb_call(record: Record, data: str) -> str:
    """The call that a record of glmmTMB describes."""
    model = tmb_model(record)
    parts = [model["formula"], f"data = {data}"]
    formulas = {"ziformula": model["zi"], "dispformula": model["dispersion"]}
    parts += [f"{name} = {formula}" for name, formula in formulas.items() if formula]
    link = f'link = "{model["link"]}"' if model["link"] else ""
    parts.append(f"family = {model['family']}({link})")
    if record.get("REML"):
        parts.append("REML = TRUE")
    if "start psi = (-1, 1)" in record.get("notes", ""):
        parts.append("start = list(psi = c(-1, 1))")
    return f"glmmTMB({', '.join(parts)})"


def glmmadaptive_requests() -> Iterator[Request]:
    """Models of ``glmmadaptive_fits.jsonl``, beside the repository; each has its own data, as some use a part."""
    for record in reference("glmmadaptive_fits.jsonl"):
        name = str(record["id"])
        yield Request(name, glmmadaptive_call(record), name, partial(adaptive_data, record), record)


def glmmadaptive_call(record: Record) -> str:
    """The call that a record of GLMMadaptive describes."""
    name, control = record["id"], record.get("control") or {}
    parts = [f"fixed = {record['fixed']}", f"random = {record['random']}", f"data = {name}"]
    parts.append(f"family = {_family(record['family'])}")
    parts += [f"zi_{part} = {formula}" for part, formula in (record.get("zi") or {}).items()]
    parts.append(f"nAGQ = {record['nAGQ']}")
    if control.get("penalized") is True:
        parts.append("penalized = TRUE")
    elif "pen_df" in control:
        parts.append("penalized = list({})".format(", ".join(f"{key} = {value}" for key, value in control.items())))
    if "max_coef_value" in record.get("notes", ""):
        parts.append("max_coef_value = 100")
    if "cluster weights" in record.get("notes", ""):
        parts.append(f"weights = rep_len(c(1, 2, 3), nlevels({name}$ID))")
    return f"mixed_model({', '.join(parts)})"


def _family(text: str) -> str:
    """``binomial(probit)`` needs its link; GLMMadaptive's own families have one link and no argument for it."""
    match = re.fullmatch(r"([\w.]+)\((?:(df=\d+), )?(\w+)\)", text)
    if match is None:
        raise ValueError(f"cannot read the family {text!r}")
    name, df, link = match.groups()
    if name in ("binomial", "poisson"):
        return f'{name}(link = "{link}")'
    return f"{name}({df or ''})"


# ------------------------------------------------------------------------------------------------- running
@dataclass(frozen=True)
class Peer:
    """A program: its R package, the calls, and how to read a record. ``peers/<key>.R`` fits."""

    key: str
    package: str
    requests: Callable[[], Iterable[Request]]
    read: Reader


PEERS = {
    peer.key: peer
    for peer in (
        Peer("lme4", "lme4", lme4_requests, lme4_numbers),
        Peer("glmmtmb", "glmmTMB", glmmtmb_requests, glmmtmb_numbers),
        Peer("glmmadaptive", "GLMMadaptive", glmmadaptive_requests, glmmadaptive_numbers),
    )
}


def write_requests(folder: Path, requests: Iterable[Request]) -> tuple[list[Request], list[str]]:
    """Write ``cases.json`` and each data frame once; what could be written, and why the rest could not."""
    ready: list[Request] = []
    left: list[str] = []
    for request in requests:
        place = folder / request.data
        try:
            if not place.exists():
                data = request.frame()
                place.mkdir()
                write_columns(place, data, keep_order=True)
        except AbsentError as absent:
            left.append(f"{request.case}: {absent}")
            continue
        ready.append(request)
    cases = [{"case": r.case, "call": r.call, "data": r.data} for r in ready]
    (folder / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    return ready, left


def run_script(rscript: str, peer: Peer, folder: Path, show: Callable[[str], None]) -> list[Record]:
    """Fit every case of a folder; none where the script says that its package is missing.

    Raises
    ------
    ScriptError
        If R fails.
    """
    found = folder / "found.jsonl"
    command = [rscript, "--vanilla", str(SCRIPTS / f"{peer.key}.R"), str(folder), str(found)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        for line in process.stdout:
            show(line.strip())
    if process.returncode != 0:
        raise ScriptError(f"peers/{peer.key}.R stopped with status {process.returncode}")
    if not found.exists():
        return []
    return [json.loads(line) for line in found.read_text(encoding="utf-8").splitlines()]


def recorded_version(peer: Peer, record: Record) -> str:
    """The version of the program in a record."""
    return str(record["versions"][peer.package] if "versions" in record else record["version"])


def regenerate(rscript: str, peer: Peer, pattern: str, out: Path) -> list[Difference]:
    """Fit the cases whose name matches; write ``<peer>-<version>.jsonl``, and print the comparison."""
    requests = [request for request in peer.requests() if re.search(pattern, request.case)]
    with tempfile.TemporaryDirectory(prefix="refglmm-peers-") as name:
        ready, left = write_requests(Path(name), requests)
        print(*left, sep="\n", end="\n" * bool(left))
        if not ready:
            print(f"{peer.key}: no case to fit")
            return []
        found = run_script(rscript, peer, Path(name), progress(peer, len(ready)))
    if not found:
        return []
    versions = found[0]["versions"]
    file = out / f"{peer.key}-{versions[peer.package]}.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in found), encoding="utf-8")
    records = {request.case: request.record for request in ready}
    differences = [difference(new, records[new["case"]], peer.read) for new in found]
    here = ", ".join(f"{package} {version}" for package, version in versions.items())
    print(f"\n{here}; the record: {peer.package} {recorded_version(peer, ready[0].record)}")
    print(f"{table(differences)}\n{summary(differences)}\n{file}\n")
    return differences


def progress(peer: Peer, total: int) -> Callable[[str], None]:
    """Show how far a script is, on a terminal; a line that is no case (a missing package) is always shown."""
    done = 0

    def show(line: str) -> None:
        nonlocal done
        if not line.startswith("@done "):
            print(line)
            return
        done += 1
        if sys.stderr.isatty():
            print(f"\r{peer.key} {done}/{total} {line.removeprefix('@done '):<40}", end="", file=sys.stderr, flush=True)

    return show


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scripts; 0 also where R or a package is missing, 1 where R fails, 2 for a bad argument."""
    parser = argparse.ArgumentParser(
        prog="python -m validation.peers_again", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("peers", nargs="*", metavar="peer", help=f"which of {', '.join(PEERS)}; all by default")
    parser.add_argument("--cases", type=_pattern, default="", metavar="REGEX", help="only cases whose name matches")
    parser.add_argument("--out", type=Path, help="folder for <peer>-<version>.jsonl; a temporary one by default")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.peers if name not in PEERS]
    if unknown:
        parser.error(f"no peer {unknown[0]!r}; there are {', '.join(PEERS)}")
    rscript = shutil.which("Rscript")
    if rscript is None:
        print(NO_R)
        return 0
    out = options.out or Path(tempfile.mkdtemp(prefix="refglmm-peers-"))
    out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in options.peers or PEERS:
        try:
            regenerate(rscript, PEERS[name], options.cases, out)
        except AbsentError as absent:
            print(f"{name}: {absent}; left out")
        except ScriptError as error:
            print(error)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
