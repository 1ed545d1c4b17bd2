"""The report of a run; ``python -m validation.sbc.report`` makes it from ``results.json``.

Place in the reading order: after ``plot``, before ``run``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from validation import page
from validation.bench.report import table
from validation.checks import FAIL, PASS, Check, Section, save, worst_first
from validation.sbc.plot import draw, file_name
from validation.sbc.uniformity import BINS, LEVEL, holm, judge

Results = dict[str, Any]
FOLDER = Path(__file__).parent
REPORT, RESULTS = "report.md", "results.json"

HEADING = """# Simulation-based calibration

Written by `make sbc` (`python -m validation.sbc`). {processor}, {cores} cores; Python {python}; {versions}. Load of
the machine when the run began: {load:.1f}.

For each pair of a family and a prior: parameters are drawn from the prior, random effects and a response (20 groups of
5 rows) from the parameters by plain NumPy, and the posterior is sampled as `model.sample` does by default (one chain).
The rank of the truth among {draws} nearly independent draws is uniform if the log density, its Jacobians, the prior
draws and the sampler are right (Talts et al. 2018). "log likelihood" is that of the data given everything: it shows
what ranks of parameters cannot (Modrak et al. 2023).

Two tests a quantity: chi-square over {bins} bins, and the distribution function of the ranks against its simultaneous
band (Saeilynoja, Buerkner and Vehtari 2022, exact). p is twice the smaller of both; "Holm" adjusts it for all {count}
quantities of the report. A quantity fails where that is below {level:g}."""


def series(found: dict[str, Any]) -> dict[str, Any]:
    """Ranks and counts of one pair from what each data set left."""
    done = [one for one in found["data sets"].values() if "ranks" in one]
    failed = [one for one in found["data sets"].values() if "failed" in one]
    return {
        "names": found["names"],
        "ranks": np.array([one["ranks"] for one in done]).reshape(len(done), len(found["names"])),
        "failed": [one["failed"] for one in failed],
        "seconds": float(np.median([one["seconds"] for one in done])) if done else float("nan"),
        "divergent": sum(one["divergent"] > 0 for one in done),
        "thinned": sum(one["thin"] > 1 for one in done),
        "short": sum(one["ess"] < 2 * found["L"] for one in done),
        "L": found["L"],
    }


def verdicts(results: Results) -> list[dict[str, Any]]:
    """Each quantity of each pair: p-values, adjusted over all of them."""
    rows = []
    for pair, found in results["pairs"].items():
        here = series(found)
        if len(here["ranks"]):
            for name, ranks in zip(here["names"], here["ranks"].T, strict=True):
                rows.append({"pair": pair, "quantity": name, **judge(ranks, here["L"])})
    for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row |= {"holm": float(adjusted), "passed": bool(adjusted >= LEVEL)}
    return rows


def passed(results: Results, rows: list[dict[str, Any]]) -> bool:
    """Whether every quantity passes, and no data set was lost."""
    return all(row["passed"] for row in rows) and not any(series(f)["failed"] for f in results["pairs"].values())


def render(results: Results, rows: list[dict[str, Any]]) -> str:
    """The whole report."""
    machine, settings = results["machine"], results["settings"]
    said = {"draws": settings["draws"], "bins": BINS, "count": len(rows), "level": LEVEL}
    parts = [HEADING.format(**machine, **said, versions=settings["versions"])]
    verdict = "Every quantity passes." if passed(results, rows) else "**Not everything passes.**"
    parts += [f"## Verdict\n\n{verdict}", _overview(results, rows)]
    parts += [_pair(pair, found, rows) for pair, found in results["pairs"].items()]
    return "\n\n".join(parts) + "\n"


def _overview(results: Results, rows: list[dict[str, Any]]) -> str:
    head = ["pair", "data sets", "lost", "divergent", "longer chains", "s / data set", "smallest Holm p", "verdict"]
    lines = []
    for pair, found in results["pairs"].items():
        here, own = series(found), [row for row in rows if row["pair"] == pair]
        fine = own and all(row["passed"] for row in own) and not here["failed"]
        counts = [len(here["ranks"]), len(here["failed"]), here["divergent"], here["thinned"]]
        least = f"{min((row['holm'] for row in own), default=float('nan')):.2g}"
        lines.append([pair, *map(str, counts), f"{here['seconds']:.2f}", least, "pass" if fine else "**FAIL**"])
    note = (
        '"divergent": data sets whose chain had divergent transitions; "longer chains": those with fewer than two\n'
        "effective draws for each ranked one at first, sampled again with 4 or 16 transitions a draw."
    )
    return table(head, lines) + "\n\n" + note


def _pair(pair: str, found: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    here = series(found)
    own = [row for row in rows if row["pair"] == pair]
    body = [
        [r["quantity"], f"{r['chi-square']:.3f}", f"{r['ecdf']:.3f}", f"{r['holm']:.2g}", "" if r["passed"] else "FAIL"]
        for r in own
    ]
    text = f"## {pair}\n\n`{found['formula']}`; {found['prior']}\n\n"
    text += table(["quantity", "chi-square p", "ECDF p", "Holm", ""], body)
    text += f"\n\n![ranks]({file_name(pair)})"
    if here["short"]:
        text += f"\n\n{here['short']} chains stayed below two effective draws for each ranked one."
    for message in sorted(set(here["failed"])):
        text += f"\n\n{here['failed'].count(message)} data sets lost: {message}"
    return text


def section(results: Results, rows: list[dict[str, Any]]) -> Section:
    """The run as a part of the validation page; strain: level over adjusted p-value."""
    checks = [
        Check(
            f"{row['pair']}: {row['quantity']}",
            PASS if row["passed"] else FAIL,
            LEVEL / row["holm"] if row["holm"] > 0.0 else None,
            f"p {row['holm']:.2g}",
            f"at least {LEVEL:g}",
            f"uniform ranks over {len(results['pairs'][row['pair']]['data sets'])} data sets, Holm's adjustment",
        )
        for row in rows
    ]
    lost = {pair: series(found)["failed"] for pair, found in results["pairs"].items()}
    checks += [Check(pair, FAIL, None, f"{len(f)} lost", "none", f[0]) for pair, f in lost.items() if f]
    about = "Truth drawn from the prior, data from the truth: its rank among posterior draws is uniform."
    made = f"{results['settings']['versions']}, seed {results['settings']['seed']}"
    checks_in_order = worst_first(checks)
    return Section(
        "Simulation-based calibration of posteriors", about, "make sbc", made, "sbc/report.md", checks_in_order
    )


def write(results: Results, folder: Path) -> int:
    """Write report, pictures and, in its own folder, the validation page; 0 when everything passes.

    Pairs that no data set was drawn for (an interrupted run) are left out.
    """
    results = {**results, "pairs": {pair: found for pair, found in results["pairs"].items() if found["data sets"]}}
    rows = verdicts(results)
    for pair, found in results["pairs"].items():
        here = series(found)
        if len(here["ranks"]):
            draw(here, here["L"], folder / file_name(pair))
    (folder / REPORT).write_text(render(results, rows), encoding="utf-8")
    if folder == FOLDER:
        save("sbc", section(results, rows))
        page.write()
    return int(not passed(results, rows))


if __name__ == "__main__":
    sys.exit(write(json.loads((FOLDER / RESULTS).read_text(encoding="utf-8")), FOLDER))
