"""The data frame of each example: a shipped data set, or one that lies beside the repository, made ready.

Place in the reading order: after ``tolerance``. One short function a preparation; its docstring quotes what
the source does to the data.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from refglmm import datasets
from refglmm.datasets.reading import read_csv

REPOSITORY = Path(__file__).resolve().parents[1]


class AbsentError(Exception):
    """The data set may not be shipped and does not lie beside the repository either."""


def shared_folder() -> Path:
    """Where data and records lie that may not be shipped (``REFGLMM_SHARED`` names another place)."""
    return Path(os.environ.get("REFGLMM_SHARED", REPOSITORY.parent / "shared"))


def beside(name: str) -> pd.DataFrame:
    """Read a data set from ``shared/data`` beside the repository."""
    folder = shared_folder() / "data"
    listing = folder / "datasets.json"
    if listing.exists():
        for entry in json.loads(listing.read_text(encoding="utf-8"))["datasets"]:
            if entry["name"] == name:
                return read_csv(folder / entry["file"], entry["columns"])
    raise AbsentError(f"the data set {name} may not be shipped, and does not lie beside the repository")


def factor(values: pd.Series, levels: list[str] | None = None) -> pd.Categorical:
    """R's ``factor()`` of whole numbers, levels in numerical order, or of text with the levels given."""
    text = values.astype(str)
    return pd.Categorical(text, categories=levels or sorted(text.unique(), key=float))


def cbpp_obs() -> pd.DataFrame:
    """Add one level of ``obs`` per row."""
    data = datasets.load("cbpp")
    return data.assign(obs=factor(pd.Series(range(1, len(data) + 1))))


def cbpp2_obs() -> pd.DataFrame:
    """``obs = factor(1..56)``; ``avg_size_sd`` is ``avg_size`` over its standard deviation."""
    data = beside("cbpp2")
    return data.assign(
        obs=factor(pd.Series(range(1, len(data) + 1))),
        avg_size_sd=data["avg_size"] / data["avg_size"].std(),
    )


def contraception() -> pd.DataFrame:
    """``ch = factor(livch != 0)`` with levels N, Y; ``age_s = age / (2 sd(age))``.

    Also ``urban1``, ``ch1`` and ``livch1`` to ``livch3``: the columns of R's sum-to-zero contrasts.
    """
    data = datasets.load("Contraception")
    ch = pd.Series(np.where(data["livch"].astype(str) == "0", "N", "Y"))
    sums = {f"livch{j}": _sum_contrast(data["livch"], j - 1) for j in (1, 2, 3)}
    return data.assign(
        ch=factor(ch, ["N", "Y"]),
        age_s=data["age"] / (2 * data["age"].std()),
        urban1=_sum_contrast(data["urban"], 0),
        ch1=np.where(ch == "N", 1.0, -1.0),
        **sums,
    )


def _sum_contrast(column: pd.Series, level: int) -> np.ndarray:
    """1 at the level, -1 at the last level, 0 elsewhere."""
    codes = column.cat.codes.to_numpy()
    return (codes == level) * 1.0 - (codes == len(column.cat.categories) - 1) * 1.0


def bacteria() -> pd.DataFrame:
    """``wk2 = week > 2``; ``trtdiag``, ``trtencourage`` are successive-difference contrasts of trt."""
    data = datasets.load("bacteria")
    codes = data["trt"].cat.codes.to_numpy()
    return data.assign(
        wk2=data["week"] > 2,
        trtdiag=np.array([-2.0, 1.0, 1.0])[codes] / 3,
        trtencourage=np.array([-1.0, -1.0, 2.0])[codes] / 3,
    )


def arabidopsis() -> pd.DataFrame:
    """gen, rack and nutrient as factors."""
    data = datasets.load("Arabidopsis")
    return data.assign(**{name: factor(data[name]) for name in ("gen", "rack", "nutrient")})


def arabidopsis_clipped() -> pd.DataFrame:
    """Rows with amd == 'clipped' and nutrient == 1."""
    data = arabidopsis()
    return data[(data["amd"] == "clipped") & (data["nutrient"] == "1")].reset_index(drop=True)


def culcita_x20() -> pd.DataFrame:
    """Row 20 dropped (counting from 1)."""
    return datasets.load("culcita").drop(index=19).reset_index(drop=True)


def sleepstudy() -> pd.DataFrame:
    """``Daysf = ordered(Days)``."""
    data = datasets.load("sleepstudy")
    return data.assign(Daysf=factor(data["Days"]).as_ordered())


def sleepstudy_from_day_2() -> pd.DataFrame:
    """Days >= 2."""
    data = datasets.load("sleepstudy")
    return data[data["Days"] >= 2].reset_index(drop=True)


def grouseticks() -> pd.DataFrame:
    """``ch = HEIGHT - mean(HEIGHT)``, the column cHEIGHT."""
    data = datasets.load("grouseticks")
    return data.assign(ch=data["cHEIGHT"])


def gad_ordinal() -> pd.DataFrame:
    """Forward continuation ratio: one record for each category at which the observation could have stopped.

    ``cohort`` says which question is asked (all: is y the first category?; y>=mild: is it mild, given at
    least mild?; and so on), ``y_new`` is 1 when the observation stops there.
    """
    data = beside("gad_ordinal")
    cohorts = ["all", "y>=mild", "y>=moderate"]
    reached = data["y"].cat.codes.to_numpy()
    pieces = [
        data[reached >= j].assign(cohort=cohort, y_new=(reached[reached >= j] == j) * 1)
        for j, cohort in enumerate(cohorts)
    ]
    long = pd.concat(pieces, ignore_index=True)
    return long.assign(cohort=pd.Categorical(long["cohort"], categories=cohorts))


PREPARED: dict[str, Callable[[], pd.DataFrame]] = {
    "cbpp_obs": cbpp_obs,
    "cbpp2_obs": cbpp2_obs,
    "Contraception": contraception,
    "bacteria": bacteria,
    "Arabidopsis": arabidopsis,
    "Arabidopsis_clipped": arabidopsis_clipped,
    "culcita_x20": culcita_x20,
    "sleepstudy": sleepstudy,
    "sleepstudy_from_day_2": sleepstudy_from_day_2,
    "grouseticks": grouseticks,
    "gad_ordinal": gad_ordinal,
}


@cache
def frame(name: str) -> pd.DataFrame:
    """Return the data frame of a preparation, a shipped data set or one beside the repository."""
    if name in PREPARED:
        return PREPARED[name]()
    if name in datasets.names():
        return datasets.load(name)
    return beside(name)
