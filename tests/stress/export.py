"""Write data and models of the stress problems for ``peers.R``: ``python tests/stress/export.py FOLDER``."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from problems import PROBLEMS, Stress

DEFAULT_LINK = {"binomial": "logit", "poisson": "log", "negative_binomial": "log", "lmm": "identity"}


def model_row(problem: Stress) -> dict[str, object]:
    """What peers.R needs to know of a model."""
    return {
        "name": problem.name,
        "formula": problem.formula,
        "family": problem.family,
        "link": problem.options.get("link", DEFAULT_LINK.get(problem.family, "")),
        "n_agq": problem.fit_options.get("n_agq", 1),
        "reml": problem.fit_options.get("reml", False),
        "weights": problem.options.get("weights", "NA"),
    }


def write_table(path: Path, columns: dict[str, list[object]]) -> None:
    """One CSV; ``repr`` of a float loses nothing."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def main(folder: Path) -> None:
    """Export every problem that is not too big and is meant to be fitted."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for problem in PROBLEMS.values():
        if problem.big or all(end.endswith("Error") for end in problem.ends):
            continue
        rows.append(model_row(problem))
        columns = {name: values.tolist() for name, values in problem.data().items()}
        write_table(folder / f"{problem.name}.csv", columns)
    write_table(folder / "problems.csv", {key: [row[key] for row in rows] for key in rows[0]})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
