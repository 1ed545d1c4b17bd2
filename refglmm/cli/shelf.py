"""``refglmm datasets``: what comes with the package, described, shown and written.

Place in the reading order: after ``fitting``.
"""

from __future__ import annotations

from argparse import Namespace
from textwrap import shorten
from typing import TYPE_CHECKING

from refglmm import datasets
from refglmm.cli.arguments import Exit
from refglmm.cli.page import STANDARD_OUTPUT, write
from refglmm.cli.reading import SHIPPED
from refglmm.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

#: Rows that are shown of a data set.
HEAD = 6
#: Characters of a description in the list.
ABOUT = 56


def run(options: Namespace) -> int:
    """List all data sets, or show or write one."""
    if options.name is None:
        if options.out is not None:
            raise ArgumentError("--out writes one data set; name it: refglmm datasets NAME --out FILE")
        print(listing())
        return Exit.FINE
    name = options.name.removeprefix(SHIPPED)
    if options.out is None:
        print(f"{datasets.describe(name)}\n\n{datasets.load(name).head(HEAD).to_string()}")
    else:
        _write(name, options.out)
    return Exit.FINE


def listing() -> str:
    """A line for each data set: name, rows, columns, the package that it comes from, what it is about."""
    rows = [("name", "rows", "columns", "from", "about")]
    for name in datasets.names():
        entry = datasets.describe(name)
        package = entry.source.split()[0].rstrip(",")
        about = shorten(entry.description, ABOUT, placeholder=" ...")
        rows.append((name, str(entry.rows), str(len(entry.columns)), package, about))
    n, r, c, p, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    return "\n".join(f"{a:<{n}}  {b:>{r}}  {d:>{c}}  {e:<{p}}  {about}" for a, b, d, e, about in rows)


def _write(name: str, file: str) -> None:
    frame = datasets.load(name)
    write(file, frame.to_csv(index=False, sep="\t" if file.endswith(".tsv") else ",", lineterminator="\n"))
    if file == STANDARD_OUTPUT:
        return
    print(f"{file}: {len(frame)} rows, {len(frame.columns)} columns")
    if numbered := numbered_factors(frame):
        print(f"Factors whose levels are numbers, for --factor: {' '.join(numbered)}")


def numbered_factors(frame: pd.DataFrame) -> list[str]:
    """Factors that would be read back as numbers."""
    import pandas as pd

    factors = frame.select_dtypes("category")
    return [n for n in factors if pd.to_numeric(factors[n].cat.categories, errors="coerce").notna().all()]
