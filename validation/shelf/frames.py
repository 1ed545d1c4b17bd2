"""The data frame behind each fit of a peer, made ready as its record says.

Place in the reading order: first of ``validation.shelf``.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

import refglmm as rg
from refglmm.datasets.reading import read_csv
from validation.prepare import AbsentError, factor, shared_folder

#: R's package names in the records -> how we call the data set.
_SHIPPED: tuple[str, ...] = (
    "toenail",
    "epil",
    "epil2",
    "bacteria",
    "cbpp",
    "Salamanders",
    "Owls",
    "wine",
    "Contraception",
    "ohio",
)
_SHIPPED += ("sleepstudy", "grouseticks", "respiratory", "VerbAgg", "Arabidopsis", "Penicillin")


def simulated(name: str) -> pd.DataFrame:
    """Read a simulated data set of the articles: sex male/female, group and f1 as factors."""
    folder = shared_folder() / "data"
    for listing in ("datasets.json", "gad_extra.json"):
        entries = json.loads((folder / listing).read_text(encoding="utf-8"))
        for entry in entries["datasets"] if isinstance(entries, dict) else entries:
            if entry["name"] == name:
                columns = entry["columns"]
                known = isinstance(columns[0], dict)
                data = read_csv(folder / entry["file"], columns) if known else pd.read_csv(folder / entry["file"])
                return _with_factors(data)
    raise AbsentError(f"the data set {name} does not lie beside the repository")


def _with_factors(data: pd.DataFrame) -> pd.DataFrame:
    levels = {"sex": ["male", "female"], "f1": ["1", "2", "3"], "f2": ["A", "B"], "period": ["1", "2", "3", "4"]}
    present = {name: pd.Categorical(data[name].astype(str), known) for name, known in levels.items() if name in data}
    return data.assign(**present)


@cache
def frame(label: str) -> pd.DataFrame:
    """Return the data of a record, from how the record names them."""
    if label.startswith("simulated: "):
        return simulated(label.removeprefix("simulated: ").split(".csv")[0])
    name = label.split("::")[1].split()[0]
    if name not in _SHIPPED:
        raise AbsentError(f"no data set {name}")
    data = rg.datasets.load(name)
    return _PREPARED[name](data) if name in _PREPARED else data


def _sleepstudy(data: pd.DataFrame) -> pd.DataFrame:
    scaled = data["Reaction"] / 100
    return data.assign(
        fDays=factor(data["Days"].astype(int)),
        Days10=data["Days"] / 10,
        R100=scaled,
        yc=scaled.clip(2.2, 3.5),
        cens=np.where(scaled < 2.2, 1, np.where(scaled > 3.5, 2, 0)),
    )


def _respiratory(data: pd.DataFrame) -> pd.DataFrame:
    return data.assign(
        status=data["outcome"],
        centre=factor(data["center"].astype(int)),
        treatment=pd.Categorical(data["treat"].map({"P": "placebo", "A": "treatment"}), ["placebo", "treatment"]),
        gender=pd.Categorical(data["sex"].map({"F": "female", "M": "male"}), ["female", "male"]),
        baseline=pd.Categorical(data["baseline"].map({0: "poor", 1: "good"}), ["poor", "good"]),
        subject=data["center"].astype(str) + ":" + data["id"].astype(str),
    )


_PREPARED = {
    "sleepstudy": _sleepstudy,
    "respiratory": _respiratory,
    "Owls": lambda data: data.assign(cArr=data["ArrivalTime"] - data["ArrivalTime"].mean()),
    "Contraception": lambda data: data.assign(age10=data["age"] / 10),
}


def training(data: pd.DataFrame) -> pd.DataFrame:
    """Rows of the dynamic-prediction article that its models are fitted to."""
    return data[data["train"] == 1]


def expanded(data: pd.DataFrame, response: str, direction: str) -> pd.DataFrame:
    """Continuation-ratio expansion of an ordinal response."""
    return rg.cr_setup(data[response], direction=direction).expand(data)


def reference(name: str) -> list[dict[str, object]]:
    """One file of the peers' records."""
    path: Path = shared_folder() / "reference" / "peers" / name
    if not path.exists():
        raise AbsentError(f"{name} does not lie beside the repository")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
