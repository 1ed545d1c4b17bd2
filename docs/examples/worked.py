"""What the worked examples share: sections of text, tables of published figures beside ours, pictures in a folder.

The figures to reach stand in ``published.json`` beside this file (and in the demo's table of the same form), each with
its source and the difference that counts as reproduced. An example ends with exit status 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("Agg")  # pictures go to files: no display is needed

import numpy as np
import pandas as pd
from matplotlib import pyplot

from refglmm.demo import Demo, heading, say, small

FOLDER = Path(__file__).parent
REPOSITORY = FOLDER.parents[1]

__all__ = ["REPOSITORY", "Example", "heading", "say", "show"]


def show(result: Any) -> None:
    """Print a result as it prints itself, with an empty line before."""
    print(f"\n{result}")


class Claim(NamedTuple):
    """Something that an example says of its numbers; prints as what is said of a miss."""

    text: str
    good: bool

    def __str__(self) -> str:
        return self.text


class Example(Demo):
    """A worked example: prints, compares, saves pictures, and knows in the end what was not reproduced."""

    def __init__(self, title: str, arguments: list[str] | None = None) -> None:
        super().__init__()
        self.tables |= json.loads((FOLDER / "published.json").read_text(encoding="utf-8"))["tables"]
        parser = argparse.ArgumentParser(description=title)
        parser.add_argument("--out", type=Path, default=Path("example_output"), help="folder for the pictures")
        parser.add_argument("--nsim", type=int, default=200, help="simulations of each bootstrap (default 200)")
        options = parser.parse_args(arguments)
        self.out, self.nsim = options.out, options.nsim
        self.out.mkdir(parents=True, exist_ok=True)
        self.pictures: list[str] = []
        print(title)

    def picture(self, axes: Any, name: str) -> None:
        """Save the figure that one or several Axes belong to."""
        figure = np.ravel(np.array(axes, dtype=object))[0].figure
        self.pictures.append(f"{name}.png")
        figure.savefig(self.out / self.pictures[-1], dpi=150)
        pyplot.close(figure)

    def compare_numbers(self, table: str, ours: dict[str, float]) -> None:
        """Compare one table with numbers by quantity."""
        self.compare(table, ours.__getitem__)

    def check(self, what: str, expected: float, ours: float, allowed: float) -> None:
        """Compare one number with what it must be, worked out in another way by the example itself."""
        found = Claim(
            f"{what}: {expected:.8g} expected, {ours:.8g} here, allowed {small(allowed)}",
            abs(ours - expected) <= allowed,
        )
        self.comparisons.append(found)
        print(f"  {found}  {'ok' if found.good else 'MISSED'}")

    def claim(self, what: str, holds: bool) -> None:
        """Check a property."""
        self.comparisons.append(Claim(what, holds))
        print(f"  {what}: {'yes  ok' if holds else 'no  MISSED'}")

    def compare_intervals(self, source: pd.DataFrame, ours: pd.DataFrame, allowed: float, what: str) -> None:
        """Compare columns lower and upper of frames with the same rows; print the largest difference."""
        for end in ("lower", "upper"):
            known = source[end].notna()
            difference = (ours.loc[source.index, end] - source[end])[known].abs()
            worst = difference.idxmax()
            good = difference <= allowed
            verdict = "ok" if good.all() else "MISSED"
            print(
                f"  {what}, {end} ends: {len(difference)} compared, largest difference {small(difference[worst])} "
                f"at {worst}, allowed {small(allowed)}  {verdict}"
            )
            self.comparisons += [
                Claim(
                    f"{what}, {end} end of {row}: {source.loc[row, end]:.6g} in the source, "
                    f"{ours.loc[row, end]:.6g} here",
                    bool(good[row]),
                )
                for row in difference.index
            ]

    def finish(self) -> int:
        """Say what was reproduced and which pictures were written; 0, or 1 if a figure was missed."""
        heading(f"{self.compared - len(self.missed)} of {self.compared} figures reproduced")
        for line in self.missed:
            print(f"NOT reproduced: {line}")
        print(f"Pictures: {self.out}/{', '.join(self.pictures)}")
        return 1 if self.missed else 0
