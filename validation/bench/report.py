"""The report of a run, in Markdown; ``python -m validation.bench.report`` makes it from ``results.json``.

Place in the reading order: after ``plot``, before ``run``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from validation.bench.cases import DISSECTED, EVERYBODY, GLMM, OURS
from validation.bench.figures import (
    Bar,
    Results,
    bars,
    cases_of,
    exponent,
    mean_ratio,
    ratio,
    scaling,
    seconds,
)
from validation.bench.plot import draw

FOLDER = Path(__file__).parent
PICTURE = "time_against_n.png"
#: Programs in the columns beside ours.
OTHERS = EVERYBODY[1:]


HEADING = """# Benchmarks

Written by `make bench` (`python -m validation.bench.run`), which measures all programs on a model in one run on one
machine (`--only` repeats some models; the settings below are those of the last run). {processor}, {cores} cores,
{system}; Python {python}; {versions}; {standing}. Load of the machine when the run began: {load:.1f}.

Every program fits from the data frame to the fitted object, on one thread, in a process of its own that
has read the data before. Repeats alternate between the programs (a turn of a fast one is up to ten fits
in a row), the first fit of each is thrown away, and medians are shown ({repeats} repeats, {few} for fits
slower than 2 s). A fit slower than {slow:.0f} s is not repeated (*); one that takes more than
{budget:.0f} s is stopped. gpboost gets its model matrix ready-made. "glmm" is asked for the fit alone;
"glmm (defaults)" also makes its likelihood-ratio tables (Poisson) or Satterthwaite degrees of freedom
(linear models), which no other program here does in a fit."""
WORK = """## Work of a refglmm fit

Evaluations of the objective by the optimisers; passes and factorisations of the whole fit, the Hessian
for the standard errors included."""
OBJECTIVES = """## Objectives

refglmm's exact objective (-2 log likelihood, REML criterion) at its own estimates, and minus its value at
the estimates of the others. Negative: refglmm's are better. gpboost fits linear models by maximum
likelihood and is not compared there."""
MEMORY = "## Peak memory, MB (and what the fits added to a process that holds the program and the data)"
REFITS = """## A new response, CPU milliseconds

refglmm fits a prepared model (nothing is parsed, matrices and symbolic analysis stay); glmm has no such
thing and fits anew."""
SCALING = """## Time against n

Simulated binary data, 1000 x 100 crossed groups. The exponent should be 1 where the rows are the cost."""
DISSECTION = """## Where the time goes

One separate fit with a clock around every kernel, every method of the factor and the steps from the
formula to the matrices. What no clock covers is Python and NumPy."""
FLOOR = """The floor: ten passes that form eta, mu, score, weight and all sums of a row in one loop, and ten
factorisations. How many times the floor a fit takes:"""


# ---------------------------------------------------------------------------------------------- pieces
def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: names to the left, everything else to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def milliseconds(value: float | None) -> str:
    """Three digits, in ms."""
    if value is None:
        return ""
    ms = 1e3 * value
    return f"{ms:,.0f}" if ms >= 100 else f"{ms:.3g}"


def times(value: float | None) -> str:
    """A ratio with two or three digits."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 9.95 else f"{value:.2g}"


def measured_programs(results: Results) -> list[str]:
    """The other programs that were there."""
    return [peer for peer in OTHERS if "missing" not in results["programs"].get(peer, {"missing": ""})]


def _in_brackets(value: float | None) -> str:
    return "" if value is None else f"({times(value)})"


def _theirs(case: dict[str, Any], peer: str, clock: str) -> str:
    """Milliseconds and, in brackets, how many times ours."""
    program = case["programs"].get(peer)
    if program is None:
        return ""
    taken = seconds(case, peer, clock)
    if taken is None:
        return f"> {program['budget']:.0f} s" if program.get("over budget") else "failed"
    mark = "" if program.get("runs") else "*"
    return f"{milliseconds(taken)}{mark} ({times(ratio(case, peer, clock))})"


# -------------------------------------------------------------------------------------------- sections
def heading(results: Results) -> str:
    """What was run where, and how."""
    machine, settings = results["machine"], results["settings"]
    versions = [f"{peer} {found['version']}" for peer, found in results["programs"].items() if "version" in found]
    missing = [f"{peer}: {found['missing']}" for peer, found in results["programs"].items() if "missing" in found]
    standing = results["programs"][OURS].get("stands on", {})
    stands_on = (f"{name} {version}" for name, version in standing.items())
    text = HEADING.format(
        **machine,
        **settings,
        versions=", ".join(versions),
        standing=", ".join(stands_on),
    )
    return text + ("\n\nNot there: " + "; ".join(missing) + "." if missing else "")


def bars_section(results: Results) -> str:
    """What was promised and what was found."""
    words = {True: "met", False: "**missed**", None: "-"}
    found: list[Bar] = bars(results)
    rows = [(bar.promise, bar.found, words[bar.met]) for bar in found]
    return "## Against the bars\n\n" + table(("promise", "found (the failing, or the closest)", ""), rows)


def times_section(results: Results, clock: str) -> str:
    """One row a model, milliseconds and how many times ours."""
    peers = measured_programs(results)
    rows = [
        [
            case["name"],
            str(case["programs"][OURS].get("n", "")),
            str(case["programs"][OURS].get("q", "")),
            milliseconds(seconds(case, OURS, clock)),
            *(_theirs(case, peer, clock) for peer in peers),
        ]
        for case in cases_of(results)
    ]
    means = [
        "geometric mean",
        "",
        "",
        "",
        *(_in_brackets(mean_ratio(results, peer, clock)) for peer in peers),
    ]
    name = "CPU" if clock == "cpu" else "wall"
    return f"## A fit, {name} milliseconds (and how many times refglmm's)\n\n" + table(
        ("model", "n", "q", OURS, *peers), [*rows, means]
    )


def work_section(results: Results) -> str:
    """Evaluations, passes over the rows, factorisations, and the certificate."""
    rows = []
    for case in cases_of(results):
        ours, dissected = case["programs"][OURS], case.get("dissected", {})
        if "value" in ours:
            rows.append(
                [
                    case["name"],
                    str(ours["evaluations"]),
                    str(dissected.get("passes", "")),
                    str(dissected.get("factorisations", "")),
                    f"{ours['decrement']:.1e}",
                    "yes" if ours["converged"] else "**no**",
                ]
            )
    head = (
        "model",
        "evaluations",
        "passes over the rows",
        "factorisations",
        "predicted decrease",
        "converged",
    )
    return WORK + "\n\n" + table(head, rows)


def objective_section(results: Results) -> str:
    """Our exact objective at our estimates minus that at theirs."""
    peers = measured_programs(results)
    rows = []
    for case in cases_of(results):
        cells = []
        for peer in peers:
            program = case["programs"].get(peer, {})
            if "difference" in program:
                cells.append(f"{program['difference']:.1e}")
            else:
                cells.append("ML" if program.get("maximum_likelihood") else program.get("not judged", ""))
        value = case["programs"][OURS].get("value")
        rows.append([case["name"], "" if value is None else f"{value:.6f}", *cells])
    return OBJECTIVES + "\n\n" + table(("model", OURS, *peers), rows)


def memory_section(results: Results) -> str:
    """Peak resident size, and how much of it was there before the first fit."""
    peers = measured_programs(results)
    rows = []
    for case in cases_of(results):
        cells = []
        for peer in (OURS, *peers):
            program = case["programs"].get(peer, {})
            peak, before = program.get("peak"), program.get("before")
            cells.append(f"{peak / 1e6:,.0f} ({(peak - before) / 1e6:,.0f})" if peak and before else "")
        rows.append([case["name"], *cells])
    return MEMORY + "\n\n" + table(("model", OURS, *peers), rows)


def refit_section(results: Results) -> str:
    """A new response on a prepared model, against glmm from the data frame."""
    rows = []
    for case in cases_of(results):
        ours, theirs = (seconds(case, peer, key="refits") for peer in (OURS, GLMM))
        if ours is not None and theirs is not None:
            rows.append([case["name"], milliseconds(ours), milliseconds(theirs), times(theirs / ours)])
    if not rows:
        return ""
    return REFITS + "\n\n" + table(("model", OURS, GLMM, "ratio"), rows)


def scaling_section(results: Results, has_picture: bool) -> str:
    """Exponents of time against n."""
    rows = []
    for peer in (OURS, *measured_programs(results)):
        n, taken = scaling(results, peer)
        if len(n) > 1:
            last = exponent(n[-2:], taken[-2:])
            rows.append([peer, f"{exponent(n, taken):.2f}", f"{last:.2f} ({n[-2]:,} to {n[-1]:,})"])
    if not rows:
        return ""
    picture = f"\n\n![CPU seconds against n]({PICTURE})" if has_picture else ""
    return SCALING + "\n\n" + table(("program", "exponent", "last step"), rows) + picture


def dissection_section(results: Results) -> str:
    """Shares of the time, and the floor."""
    cases = [results["cases"][name] for name in DISSECTED if "dissected" in results["cases"].get(name, {})]
    if not cases:
        return ""
    shares = list(cases[0]["dissected"]["seconds"])
    rows = []
    for share in shares:
        row = [share]
        for case in cases:
            taken, total = case["dissected"]["seconds"][share], case["dissected"]["total"]
            row += [milliseconds(taken), f"{100 * taken / total:.0f} %"]
        rows.append(row)
    rows.append(["all", *(cell for case in cases for cell in (milliseconds(case["dissected"]["total"]), ""))])
    head = ["", *(cell for case in cases for cell in (f"{case['name']}, ms", "share"))]
    text = DISSECTION + "\n\n" + table(head, rows)
    return text + "\n\n" + floor_text(cases)


def floor_text(cases: Iterable[dict[str, Any]]) -> str:
    """How far a fit is from ten fused passes and ten factorisations."""
    rows = []
    for case in cases:
        if "floor" in case:
            floor = case["floor"]
            fit = seconds(case, OURS)
            rows.append(
                [
                    case["name"],
                    milliseconds(floor["pass"]),
                    milliseconds(floor["factorisation"]),
                    milliseconds(floor["floor"]),
                    times(floor["prepared"] / floor["floor"]),
                    times(None if fit is None else fit / floor["floor"]),
                ]
            )
    head = (
        "model",
        "one pass, ms",
        "one factorisation, ms",
        "ten of both, ms",
        "prepared model",
        "from data frame",
    )
    return FLOOR + "\n\n" + table(head, rows)


def startup_section(results: Results) -> str:
    """Fresh processes."""
    if "startup" not in results:
        return ""
    names = {
        "import": "import",
        "engine": "import and everything a fit needs (numpy, pandas and numba first of all)",
        "fit": "import, cbpp fit and summary, numba's cache warm",
        "cold": "the same with an empty cache (once)",
    }
    measured = results["startup"]
    rows = [[text, *(f"{s:.2f}" for s in measured[name])] for name, text in names.items() if name in measured]
    return "## A fresh process, seconds\n\n" + table(("", "wall", "CPU"), rows)


def notes(results: Results) -> Iterator[str]:
    """What programs said, and why figures are missing."""
    for case in cases_of(results):
        for peer, program in case["programs"].items():
            if "failed" in program:
                yield f"- {case['name']}, {peer}: {program['failed']}"
            for message in program.get("messages", []):
                yield f"- {case['name']}, {peer} says: {' '.join(message.split())}"


def render(results: Results, has_picture: bool = False) -> str:
    """The whole report."""
    sections = [
        heading(results),
        bars_section(results),
        times_section(results, "cpu"),
        times_section(results, "wall"),
        work_section(results),
        objective_section(results),
        memory_section(results),
        refit_section(results),
        scaling_section(results, has_picture),
        dissection_section(results),
        startup_section(results),
    ]
    said = list(notes(results))
    if said:
        sections.append("## Notes\n\n" + "\n".join(said))
    return "\n\n".join(section for section in sections if section) + "\n"


def write(results: Results, folder: Path) -> int:
    """Write report and picture; returns 0, for a missed bar is news and not a failure of the run."""
    has_picture = draw(results, folder / PICTURE)
    (folder / "report.md").write_text(render(results, has_picture), encoding="utf-8")
    found = bars(results)
    missed = sum(bar.met is False for bar in found)
    print(f"{sum(bar.met is True for bar in found)} bars met, {missed} missed; see report.md in validation/bench")
    return 0


if __name__ == "__main__":
    sys.exit(write(json.loads((FOLDER / "results.json").read_text(encoding="utf-8")), FOLDER))
