"""The report of a run, in Markdown; ``python -m validation.bench_bayes.report`` makes it from ``results.json``.

Place in the reading order: after ``figures``, before ``run``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from validation.bench.report import table
from validation.bench_bayes.cases import EVERYBODY, OURS, PRIORS, TARGETS
from validation.bench_bayes.figures import MIXED, WITHIN, Results, distances, median_rate, mixed, ratio

FOLDER = Path(__file__).parent
REPORT, RESULTS = "report.md", "results.json"

HEADING = """# Posterior draws beside other programs

Written by `make bench-bayes` (`python -m validation.bench_bayes`). {processor}, {cores} cores, {system}; Python
{python}; {versions}. Load of the machine when the run began: {load:.1f}.

Logistic mixed models with equal priors: normal(0, {intercept:g}) on the intercept at the means of the predictors,
normal(0, {slope:g}) on the coefficients of the columns as they are, exponential with mean {sd:g} on the standard
deviations of the random intercepts. Every program runs {chains} chains of {warmup} + {draws} iterations, {workers} at a
time, in a process of its own; rounds alternate between the programs ({rounds} rounds; one for a program that takes
more than {slow:.0f} s; none that takes more than {budget:.0f} s), each with another seed. Compilation is not counted.
Seconds of refglmm: the whole call of `model.sample(...)`, Laplace fit and diagnostics included. Of nutpie: its
`sample` of a compiled PyMC model. Of blackjax: window adaptation and draws, compiled ahead. Of rstanarm: what Stan says
warmup and sampling took, summed over the chains and divided by the cores.

The rate is the smallest bulk effective sample size over fixed effects and standard deviations, divided by seconds;
medians over rounds. One formula finds the effective sample size of all. Where R-hat exceeds {mixed:g} the chains
disagree and there are no effective draws."""


def _count(value: float | None) -> str:
    if value is None:
        return ""
    return "none" if value == 0.0 else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _times(value: float | None) -> str:
    if value is None:
        return ""
    return "all" if value == float("inf") else f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def bars(results: Results) -> list[tuple[str, str, bool | None]]:
    """Promise, what was found, whether that is enough (None: not measured)."""
    rows: list[tuple[str, str, bool | None]] = []
    for name, case in results["cases"].items():
        for peer, target in TARGETS.items():
            found = ratio(case, peer)
            promise = f"{name}: {target:g} times the effective draws a second of {peer}"
            rows.append((promise, _times(found) or "not measured", None if found is None else found >= target))
        runs = case["programs"][OURS].get("runs", [])
        worst = max((run["rhat"] for run in runs), default=float("nan"))
        rows.append((f"{name}: every chain of refglmm good", f"R-hat {worst:.3f}", worst <= 1.01 if runs else None))
    for key, promise, limit in SINGLE:
        if "single" in results:
            value = results["single"][key]
            rows.append((f"{promise} under {limit:g}", f"{value:.3g}", value < limit))
    return rows


SINGLE = (
    ("sample", "debate, 4 x (1000 + 1000), seconds", 1.5),
    ("bayes factor", "Bayes factor of one coefficient, seconds", 3.0),
    ("gradient", "gradient of a crossed Bernoulli model with n = 5000, microseconds", 100.0),
)


def _cell(case: dict[str, Any], peer: str) -> str:
    program = case["programs"].get(peer, {})
    if "failed" in program and not program.get("runs"):
        return "over budget" if program.get("over budget") else "failed"
    rate = _count(median_rate(program))
    return rate if peer == OURS or not rate else f"{rate} ({_times(ratio(case, peer))})"


def _details(name: str, case: dict[str, Any]) -> str:
    rows = []
    for peer, program in case["programs"].items():
        for run in program.get("runs", [])[:1]:
            runs = program["runs"]
            seconds = f"{median(r['sampling'] for r in runs):.3g}"
            least = _count(median(r["least"] for r in runs))
            worst = f"{max(r['rhat'] for r in runs):.3f}"
            compiled = program.get("compile", run.get("compile"))
            far = distances(case, peer) if peer != OURS else None
            agreement = "" if far is None else f"{np.max(far):.2f} ({int(np.sum(far > WITHIN))} of {far.size})"
            divergent = str(sum(r["divergent"] for r in runs))
            mixing = f"{sum(mixed(r) for r in runs)} of {len(runs)}"
            leapfrogs = f"{median(r['leapfrogs'] for r in runs):.1f}"
            extra = "" if compiled is None else f"{compiled:.1f}"
            rows.append([peer, mixing, seconds, least, worst, divergent, leapfrogs, extra, agreement])
    head = ["program", "runs mixed", "s", "least ESS", "R-hat", "divergent", "leapfrogs", "compile s", "means apart"]
    text = f"### {name}\n\n`{case['formula']}`; n = {case['n']}, {case['q']} random effects\n\n" + table(head, rows)
    for peer, program in case["programs"].items():
        if "failed" in program:
            text += f"\n\n{peer}: {program['failed']}"
    return text


def render(results: Results) -> str:
    """The whole report."""
    versions = [f"{peer} {found['version']}" for peer, found in results["programs"].items() if "version" in found]
    for found in results["programs"].values():
        versions += [f"{name} {value}" for name, value in found.get("stands on", {}).items()]
    said = results["settings"] | results["machine"] | PRIORS | {"mixed": MIXED, "versions": ", ".join(versions)}
    parts = [HEADING.format(**said)]
    missing = [f"{peer}: {found['missing']}" for peer, found in results["programs"].items() if "missing" in found]
    if missing:
        parts.append("Not there: " + "; ".join(missing) + ".")
    verdict = {True: "met", False: "**missed**", None: "not measured"}
    parts.append("## Promises\n\n" + table(["promise", "found", ""], [[p, f, verdict[m]] for p, f, m in bars(results)]))
    rows = [[name, *(_cell(case, peer) for peer in EVERYBODY)] for name, case in results["cases"].items()]
    title = "## Effective draws a second (in brackets: how many times as many refglmm makes)"
    parts.append(f"{title}\n\n" + table(["model", *EVERYBODY], rows))
    parts.append(
        '## Details\n\n"means apart": largest difference of a posterior mean from ours in combined Monte Carlo errors, '
        f"runs pooled, and how many exceed {WITHIN:g}; of independent programs that agree, one in 370 does."
    )
    parts += [_details(name, case) for name, case in results["cases"].items()]
    if "single" in results:
        parts.append(_single(results["single"]))
    return "\n\n".join(parts) + "\n"


def _single(found: dict[str, Any]) -> str:
    rows = [
        [f"{found['data']}: 4 x (1000 + 1000) draws", f"{found['sample']:.3g} s", f"{found['sample, cpu']:.3g} s"],
        ["log marginal likelihood by bridge sampling", f"{found['bridge']:.3g} s", f"{found['bridge, cpu']:.3g} s"],
        ["Bayes factor of one coefficient", f"{found['bayes factor']:.3g} s", f"{found['bayes factor, cpu']:.3g} s"],
        [f"one gradient, crossed, {found['dimension']} parameters, n = 5000", "", f"{found['gradient']:.3g} us"],
    ]
    return "## refglmm alone\n\nMedians in a warm process.\n\n" + table(["", "wall", "CPU"], rows)


def write(results: Results, folder: Path) -> int:
    """Write the report; returns 0, for a missed bar is news and not a failure of the run."""
    (folder / REPORT).write_text(render(results), encoding="utf-8")
    found = bars(results)
    met, missed = (sum(m is value for *_, m in found) for value in (True, False))
    print(f"{met} promises met, {missed} missed; see {REPORT} in validation/bench_bayes")
    return 0


if __name__ == "__main__":
    sys.exit(write(json.loads((FOLDER / RESULTS).read_text(encoding="utf-8")), FOLDER))
