"""A data file, standard input or a shipped data set, as a data frame.

Place in the reading order: after ``arguments``. Numbers are read to the last bit. Columns of text stay text, which the
formula takes for factors.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refglmm import datasets
from refglmm.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

#: Marks the name of a data set that comes with the package.
SHIPPED = "data:"
#: Fields that mean "missing" in every column, as R writes and people type them.
MISSING = ("", "NA", "NaN", "nan")
COMPRESSED = (".gz", ".bz2", ".xz", ".zip", ".zst")
PARQUET = (".parquet", ".pq")
#: What people try, and cannot be read as text.
FOREIGN = {
    ".xlsx": "a spreadsheet",
    ".xls": "a spreadsheet",
    ".ods": "a spreadsheet",
    ".rds": "R's own format",
    ".rda": "R's own format",
    ".rdata": "R's own format",
    ".sav": "SPSS's own format",
    ".dta": "Stata's own format",
    ".sas7bdat": "SAS's own format",
    ".feather": "Arrow's own format",
}


def read_asked(options: Namespace) -> tuple[pd.DataFrame, str]:
    """Read what the options of a command ask for; see :func:`read_data`."""
    return read_data(options.data, sep=options.sep, decimal=options.decimal, missing=options.na or ())


def read_data(
    source: str, *, sep: str | None = None, decimal: str = ".", missing: Sequence[str] = ()
) -> tuple[pd.DataFrame, str]:
    """Read a table.

    Parameters
    ----------
    source : str
        Path, ``-`` for standard input, or ``data:`` with the name of a shipped data set.
    sep : str, optional
        One character; by default a tab for ``.tsv`` and ``.tab``, a comma otherwise.
    decimal : {".", ","}
        Decimal point.
    missing : sequence of str
        Fields that mean "missing", besides ``MISSING``.

    Returns
    -------
    DataFrame, str
        The table, and a name for it.

    Raises
    ------
    DataError
        No such file, no such data set, or not a table; the message says what to do.
    """
    if source.startswith(SHIPPED):
        name = source.removeprefix(SHIPPED)
        return datasets.load(name), name
    if source == "-":
        return _read_text(sys.stdin.buffer, "standard input", sep or ",", decimal, missing), "stdin"
    path = Path(source)
    suffix, name = _suffix_and_name(path)
    if suffix in FOREIGN:
        raise DataError(f"{path.name} is {FOREIGN[suffix]}; save it as CSV (write.csv(..., row.names = FALSE) in R)")
    if not path.exists():
        raise DataError(f"there is no file {source}{_shipped_hint(name)}", path=source)
    if path.is_dir():
        raise DataError(f"{source} is a folder, not a file", path=source)
    if suffix in PARQUET:
        return _read_parquet(path), name
    return _read_text(path, path.name, sep or ("\t" if suffix in (".tsv", ".tab") else ","), decimal, missing), name


def _suffix_and_name(path: Path) -> tuple[str, str]:
    """Suffix below a compression's, in small letters, and what is left of the name."""
    bare = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return bare.suffix.lower(), bare.stem


def _shipped_hint(name: str) -> str:
    known = {shipped.lower(): shipped for shipped in datasets.names()}
    found = known.get(name.lower())
    return f"; did you mean {SHIPPED}{found}, which comes with refglmm?" if found else ""


def _read_text(source: Any, name: str, sep: str, decimal: str, missing: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    if sep == decimal:
        raise DataError(f"{name}: a decimal comma needs another separator; add --sep ';' or --sep tab")
    try:
        frame = pd.read_csv(
            source,
            sep=sep,
            decimal=decimal,
            keep_default_na=False,
            na_values=[*MISSING, *missing],
            encoding="utf-8-sig",
            low_memory=False,
            **_to_the_last_bit(),
        )
    except pd.errors.EmptyDataError:
        raise DataError(f"{name} is empty; a table begins with a line of column names") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text (byte {error.start}); convert it, e.g. with iconv") from None
    except (pd.errors.ParserError, OSError, EOFError) as error:
        raise DataError(f"{name} cannot be read: {error}") from None
    _refuse_wrong_separator(frame, name, sep)
    if frame.empty:
        raise DataError(f"{name} has column names ({', '.join(map(str, frame.columns))}), but no rows")
    return frame


def _to_the_last_bit() -> dict[str, str]:
    """What makes pandas read the double that is nearest to a decimal number; from version 3 on it always does."""
    import pandas as pd

    return {"float_precision": "round_trip"} if int(pd.__version__.split(".")[0]) < 3 else {}


def _refuse_wrong_separator(frame: pd.DataFrame, name: str, sep: str) -> None:
    """One column whose name holds another separator was not meant."""
    if len(frame.columns) != 1:
        return
    for other, spelled in ((";", "';'"), ("\t", "tab"), (",", ","), (" ", "space")):
        if other != sep and other in str(frame.columns[0]):
            raise DataError(f"{name} has a single column {frame.columns[0]!r}; say --sep {spelled}?")


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except ImportError:
        raise DataError(f"reading {path.name} needs pyarrow: pip install pyarrow, or save the data as CSV") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} cannot be read as Parquet: {error}") from None
