"""Draws in files: one portable archive, or one text file a chain.

Place in the reading order: in ``bayes``, after ``draws``. Both forms keep every bit of every number, and neither can
run code when it is read.

Archive (``.npz``)
    A zip file of numpy arrays: ``positions``, ``values``, ``stats/<name>``, and ``header``, a JSON text with the
    format's name and version, the labels and the metadata.
Text (``<name>_chain1.csv``, ...)
    First line: ``#`` and the same header with the number of the chain. Then a table: ``iteration``, the statistics of
    the sampler, the reported quantities, and the position as ``position[1]``, ....
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.bayes.draws import Draws
from refglmm.errors import ArgumentError

FORMAT = "refglmm draws"
VERSION = 1
STATS = "stats/"


def _header(draws: Draws, **more: Any) -> str:
    facts = {"format": FORMAT, "version": VERSION, "names": draws.names, "metadata": dict(draws.metadata), **more}
    return json.dumps(facts)


def _read_header(text: str, path: Path) -> dict[str, Any]:
    """The header, if this is a file of ours that this version can read."""
    try:
        header = json.loads(text)
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ArgumentError(f"{path} is not a file of refglmm draws", path=str(path))
    if header["version"] > VERSION:
        raise ArgumentError(
            f"{path} was written in version {header['version']} of the format; this refglmm reads up to {VERSION}: "
            "update refglmm",
            path=str(path),
            version=header["version"],
        )
    return header


# -- archive -----------------------------------------------------------------------------------------------------


def save(draws: Draws, path: str | Path) -> Path:
    """Write draws to one compressed file.

    Parameters
    ----------
    draws : Draws
    path : str or Path
        ".npz" is put at its end if it is not there. An existing file is replaced, at once and as a whole.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ArgumentError
        If the folder does not exist.
    """
    path = Path(path)
    path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
    _check_folder(path.parent)
    arrays: dict[str, Any] = {STATS + name: array for name, array in draws.stats.items()}
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as file:
        np.savez_compressed(
            file, header=np.array(_header(draws)), positions=draws.positions, values=draws.values, **arrays
        )
    os.replace(unfinished, path)
    return path


def load(path: str | Path) -> Draws:
    """Draws from a file of :func:`save`, bit for bit.

    Raises
    ------
    ArgumentError
        If there is no such file, it holds something else or is damaged, or a later version wrote it.
    """
    path = Path(path)
    if not path.is_file():
        raise ArgumentError(f"there is no file {path}", path=str(path))
    try:
        with np.load(path, allow_pickle=False) as archive:
            held = {name: archive[name] for name in archive.files}
        text = str(held["header"])
    except (BadZipFile, zlib.error, ValueError, KeyError, EOFError, OSError, AttributeError) as error:
        raise ArgumentError(
            f"{path} is not a file of refglmm draws, or is damaged ({error})", path=str(path)
        ) from error
    header = _read_header(text, path)
    stats = {name.removeprefix(STATS): array for name, array in held.items() if name.startswith(STATS)}
    return Draws(held["positions"], held["values"], tuple(header["names"]), stats, header["metadata"])


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ArgumentError(f"there is no folder {folder}; create it first", path=str(folder))


# -- text --------------------------------------------------------------------------------------------------------


def _chain_path(name: str, directory: Path, chain: int) -> Path:
    return directory / f"{name}_chain{chain}.csv"


def _position_columns(d: int) -> list[str]:
    return [f"position[{k}]" for k in range(1, d + 1)]


def to_csv(draws: Draws, name: str, directory: str | Path = ".") -> list[Path]:
    """Write one text file a chain.

    Parameters
    ----------
    draws : Draws
    name : str
        Files are called ``<name>_chain1.csv`` and so on; existing ones are replaced.
    directory : str or Path
        Must exist.

    Returns
    -------
    list of Path
    """
    directory = Path(directory)
    _check_folder(directory)
    if not draws.n_draws:
        raise ArgumentError("there are no draws to write")
    if not name or Path(name).name != name:
        raise ArgumentError(f"name must be a plain file name, not {name!r}", name=name)
    # A leftover of an earlier run with more chains would be read as part of this one.
    for leftover in directory.glob(f"{name}_chain*.csv"):
        if leftover.stem.removeprefix(f"{name}_chain").isdigit():
            leftover.unlink()
    return [_write_chain(draws, _chain_path(name, directory, c + 1), c) for c in range(draws.n_chains)]


def _write_chain(draws: Draws, path: Path, c: int) -> Path:
    types = {name: array.dtype.str for name, array in draws.stats.items()}
    pieces = [
        pd.DataFrame({"iteration": np.arange(1, draws.n_draws + 1)}),
        pd.DataFrame({name: array[c] * 1 for name, array in draws.stats.items()}),  # true and false as 1 and 0
        pd.DataFrame(draws.values[c], columns=list(draws.names)),
        pd.DataFrame(draws.positions[c], columns=_position_columns(draws.positions.shape[2])),
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# {_header(draws, chain=c + 1, chains=draws.n_chains, stats=types)}\n")
        pd.concat(pieces, axis=1).to_csv(file, index=False, na_rep="nan", lineterminator="\n")
    return path


def from_csv(name: str, directory: str | Path = ".") -> Draws:
    """Draws from the files of :func:`to_csv`, bit for bit.

    Raises
    ------
    ArgumentError
        If a chain is missing, is shorter than the first, or belongs to another run.
    """
    directory = Path(directory)
    header, first = _read_chain(_chain_path(name, directory, 1))
    chains = [first]
    for chain in range(2, header["chains"] + 1):
        path = _chain_path(name, directory, chain)
        other, arrays = _read_chain(path)
        if {**other, "chain": 1} != header or arrays[1].shape != first[1].shape:
            raise ArgumentError(f"{path} does not belong to the same run as chain 1", path=str(path))
        chains.append(arrays)
    positions, values, stats = zip(*chains, strict=True)
    together = {stat: np.stack([chain[stat] for chain in stats]) for stat in header["stats"]}
    return Draws(np.stack(positions), np.stack(values), tuple(header["names"]), together, header["metadata"])


def _read_chain(path: Path) -> tuple[dict[str, Any], tuple[NDArray[Any], NDArray[Any], dict[str, NDArray[Any]]]]:
    """Header; positions, values and statistics of one file."""
    if not path.is_file():
        raise ArgumentError(f"there is no file {path}", path=str(path))
    with path.open(encoding="utf-8") as file:
        header = _read_header(file.readline().removeprefix("#"), path)
        numbers = np.loadtxt(file, delimiter=",", skiprows=1, ndmin=2)
    # By place, not by name: a label may be that of a statistic ("lp").
    n_stats, k = len(header["stats"]), len(header["names"])
    stats = {name: numbers[:, 1 + j].astype(dtype) for j, (name, dtype) in enumerate(header["stats"].items())}
    values, positions = np.split(numbers[:, 1 + n_stats :], [k], axis=1)
    return header, (positions, values, stats)
