"""The report of a run, in Markdown; ``python -m validation.calibration.report`` makes it from ``results.json``.

Place in the reading order: after ``plot``, before ``run``. Functions of the results alone: no number is typed here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from validation import page
from validation.bench import report as layout
from validation.calibration.counting import DECILES, Coverage, distance, share_error, uniformity
from validation.calibration.gather import SIZE, SIZES
from validation.calibration.plot import PICTURES
from validation.calibration.reasons import LIMIT, limit_coverage, why
from validation.calibration.tasks import (
    CALIBRATED_REPLICATES,
    CALIBRATED_SIMULATIONS,
    LEVELS,
    METHODS,
    SIMULATIONS,
)
from validation.checks import EXPLAINED, FAIL, PASS, Check, Section, save, worst_first

FOLDER = Path(__file__).parent
REPORT, RESULTS = "report.md", "results.json"
Results = dict[str, Any]

HEADING = """# Calibration

Written by `make calibrate`:

    python -m validation.calibration {options}

in {minutes:.1f} minutes; {processor}, {cores} cores, {system}, load {load:.1f} when it began; Python {python};
{versions}. The numbers depend on the seed, not on the workers.

From each model whose parameters are known {datasets} data sets are drawn on the rows of a real design, each
is fitted from scratch, and what an analyst would read from the fit is compared with the truth. ± is one Monte
Carlo standard error. A share *departs* (asterisk) where it lies more than {limit:.0f} standard errors from what
it should be; of shares that are what they should be, one in 370 does."""
COVERAGE = """## Intervals

Wald (standard deviations and sigma on the log scale, correlations on Fisher's z), profile likelihood, and
parametric bootstrap (percentile and basic, from the same replicates; bootstrap replicates of a data set:
{replicates}).

![Coverage](coverage.png)

Bars are two standard errors, the grey band is two standard errors about the level, black ticks are closed forms."""
DEPARTURES = """## What departs from its level, and why

"Low": the interval holds the truth too seldom. The two counts are the data sets in which the truth lay below
the lower end and above the upper end. The limit, for a standard deviation of random effects, is what its interval
would cover if the effects of the groups could be seen (rows without noise), so that nothing but their number
counts. Closed forms and limits come from theory alone; the reasons were written after the departures had been seen,
and where no number stands beside one it is an argument that this page does not test."""
AGREES = "it agrees with the closed form, see the next section"
THEORY = """## Against closed forms

In a balanced linear mixed model coverage has a closed form (`validation/calibration/theory.py`) for the
coefficients and sigma, as long as the estimates lie inside the parameter space. It is not the level: normal and
chi-square quantiles are asymptotic, and maximum likelihood divides by the number of subjects where one less would
be right. These rows judge the computation, whatever one thinks of its level."""
RESIDUALS = """## Simulated residuals

{n} simulations a data set. With the true parameters the residuals are uniform exactly, and each test has size
{size:.0f} % (less where ties make its statistic coarse: zeros, outliers). With estimated parameters the model has
been fitted to the data and not to the simulations: the residuals are only nearly uniform, they vary less from data
set to data set (smaller errors below), and the tests reject less often than they say; `calibrated_tests` exists
for that.

![Residuals](residuals.png)

Distribution function of the pooled residuals minus the uniform one, in %; errors are those of independent data
sets, since residuals within one depend on each other. KS: one residual, of a row drawn at random, from each
data set, against the uniform distribution."""
REJECTED = """Share of the data sets in which a test rejects at {size:.0f} %, in %:"""
CALIBRATED = """### Calibrated tests

On {n} data sets of {name}, {replicates} replicates of {simulations} simulations each. Share that rejects at
{size:.0f} %, in %:"""
P_VALUES = """## Tests where nothing is there

Share of data sets in which p is at most the size, in %.

![p-values](p_values.png)

Grey: two standard errors about the size."""
VARIANCES = """### A variance that is zero, likelihood ratio (`ranova`)

The chi-square reference ignores that a variance cannot be negative; the mixture allows for it. The mixture is
asymptotic: with few groups a variance is estimated at zero in more than half of the data sets, and the test
rejects too seldom still; a parametric bootstrap (`pb_test`) has no such reference."""
EFFECTS = """### A coefficient that is zero

Linear mixed models by REML (the likelihood ratio by maximum likelihood). In brackets: closed form, for the
balanced design. z test and likelihood ratio take the estimated variances for known, or the number of subjects for
large; Satterthwaite's and Kenward and Roger's degrees of freedom are there to mend that. KS: p-values against the
uniform distribution."""
FAILED = """## What failed, and what was warned of

The profile of a correlation has several humps where one of its standard deviations can go to zero: there the
correlation means nothing, and zeta falls back from what it would be to that of the smaller model."""


# -- numbers -------------------------------------------------------------------------------------------------


def percent(share: float, n: int, *, starred: bool = False) -> str:
    """A share and its error, in %."""
    return f"{100 * share:.1f} ± {100 * share_error(share, n):.1f}{' *' if starred else ''}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    return layout.table(head, [[cell.replace("|", "\\|") for cell in row] for row in rows])


def coverage_of(row: Results) -> Coverage:
    return Coverage(row["level"], row["inside"], row["below"], row["above"], row["missing"])


@dataclass(frozen=True)
class Departure:
    """An interval that departs from its level: where, which way, and why ("" if nothing explains it)."""

    experiment: str
    row: Results
    direction: str
    reason: str


def departures(results: Results) -> Iterator[Departure]:
    """Every interval that departs from its level, or from the closed form where there is one."""
    for experiment in results["intervals"]:
        for row in experiment["coverage"]:
            found, expected = coverage_of(row), row["expected"]
            if not found.n:
                continue
            from_level = found.from_expected()
            from_theory = 0.0 if expected is None else found.from_expected(expected)
            if max(abs(from_level), abs(from_theory)) > LIMIT:
                direction = "low" if found.share < found.level else "high"
                if expected is None:
                    reason = why(row, direction)
                else:
                    reason = AGREES if abs(from_theory) <= LIMIT else ""
                yield Departure(experiment["name"], row, direction, reason)


# -- sections ------------------------------------------------------------------------------------------------


def heading(results: Results) -> str:
    """What was run where."""
    settings = results["settings"]
    given = {
        "datasets": settings["data sets"],
        "calibrated": settings["calibrated"],
        "replicates": settings["replicates"],
        "workers": settings["workers"],
        "seed": settings["seed"],
    }
    return HEADING.format(
        datasets=settings["data sets"],
        options=" ".join(f"--{name} {value}" for name, value in given.items() if value is not None),
        minutes=settings["seconds"] / 60,
        versions=", ".join(f"{name} {found}" for name, found in settings["versions"].items()),
        limit=LIMIT,
        **settings["machine"],
    )


def short_section(results: Results) -> str:
    """One row a method: how many of its intervals have their level."""
    unexplained = [d for d in departures(results) if not d.reason]
    rows = []
    for method in METHODS:
        own = [(e["name"], row) for e in results["intervals"] for row in e["coverage"] if row["method"] == method]
        away = [coverage_of(row).from_expected() for _, row in own]
        name, worst = min(
            ((name, row) for name, row in own if row["level"] == LEVELS[0]), key=lambda x: coverage_of(x[1]).share
        )
        found = coverage_of(worst)
        rows.append(
            [
                method,
                str(len(own)),
                str(sum(abs(z) <= LIMIT for z in away)),
                str(sum(z < -LIMIT for z in away)),
                str(sum(z > LIMIT for z in away)),
                f"{percent(found.share, found.n)} ({name}, `{worst['parameter']}`)",
            ]
        )
    head = ("intervals", "parameters x levels", "at their level", "too low", "too high", "lowest at 95 %, %")
    verdict = (
        f"{len(unexplained)} departures are not explained: see below."
        if unexplained
        else "Every departure has a reason, or agrees with a closed form: see below."
    )
    return "## In short\n\n" + table(head, rows) + f"\n\n{verdict}"


def coverage_section(results: Results) -> str:
    """Tables of every experiment."""
    replicates = ", ".join(f"{e['replicates']} for {e['name']}" for e in results["intervals"])
    parts = [COVERAGE.format(replicates=replicates)]
    for experiment in results["intervals"]:
        parts.append(f"### {experiment['name']}\n\n{experiment['text']}.")
        singular = f"{experiment['singular']} of {experiment['data sets']} fits are singular."
        parts.append(f"{singular} {estimates_text(experiment)}")
        for level in LEVELS:
            title = f"Coverage of {100 * level:.0f} % intervals, % (data sets with the truth below / above)"
            parts.append(f"{title}:\n\n" + coverage_table(experiment, level))
        parts.append(f"Median width of {100 * LEVELS[0]:.0f} % intervals:\n\n" + width_table(experiment))
    return "\n\n".join(parts)


def estimates_text(experiment: Results) -> str:
    """How far the estimates of the variance parameters are off on average."""
    off = [
        f"{name} {mean:.3g} ({truth:.3g})"
        for name, mean, truth in zip(experiment["parameters"], experiment["mean"], experiment["truth"])
    ]
    return "Mean of the estimates (truth): " + "; ".join(off) + "."


def coverage_table(experiment: Results, level: float) -> str:
    """A row for each parameter, a column for each method."""
    rows = []
    for parameter in experiment["parameters"]:
        own = {r["method"]: r for r in experiment["coverage"] if (r["parameter"], r["level"]) == (parameter, level)}
        rows.append([f"`{parameter}`", *(coverage_cell(own[method]) for method in METHODS)])
    return table(("parameter", *METHODS), rows)


def coverage_cell(row: Results) -> str:
    """Coverage, its error, misses to each side, data sets without an interval; an asterisk where it departs."""
    found = coverage_of(row)
    if not found.n:
        return "no intervals"
    without = f", {found.missing} without" if found.missing else ""
    departs = abs(found.from_expected()) > LIMIT
    return f"{percent(found.share, found.n, starred=departs)} ({found.below} / {found.above}{without})"


def width_table(experiment: Results) -> str:
    """Median widths."""
    rows = []
    for parameter in experiment["parameters"]:
        own = {r["method"]: r for r in experiment["coverage"] if (r["parameter"], r["level"]) == (parameter, LEVELS[0])}
        widths = [own[method]["width"] for method in METHODS]
        rows.append([f"`{parameter}`", *("" if width is None else f"{width:.3g}" for width in widths)])
    return table(("parameter", *METHODS), rows)


def departures_section(results: Results) -> str:
    """Each departure and its reason."""
    found = list(departures(results))
    if not found:
        return DEPARTURES + "\n\nNothing departs."
    reasons = list(dict.fromkeys(d.reason for d in found if d.reason))
    rows = []
    for d in found:
        coverage = coverage_of(d.row)
        reference = limit_coverage(d.experiment, d.row) if d.row["expected"] is None else d.row["expected"]
        rows.append(
            [
                f"{d.experiment}, `{d.row['parameter']}`",
                d.row["method"],
                f"{100 * coverage.level:.0f}",
                percent(coverage.share, coverage.n),
                f"{d.direction}, {coverage.below} / {coverage.above}",
                "" if reference is None else f"{100 * reference:.1f}",
                f"{reasons.index(d.reason) + 1}" if d.reason else "**not explained**",
            ]
        )
    head = ("", "interval", "level, %", "coverage, %", "below / above", "closed form or limit, %", "why")
    listed = "\n".join(f"{k}. {reason[0].upper()}{reason[1:]}." for k, reason in enumerate(reasons, 1))
    return "\n\n".join([DEPARTURES, table(head, rows), listed])


def theory_section(results: Results) -> str:
    """Found and closed form, side by side."""
    rows = []
    for experiment in results["intervals"]:
        for row in experiment["coverage"]:
            if row["expected"] is not None:
                found = coverage_of(row)
                z = found.from_expected(row["expected"])
                cells = [f"{experiment['name']}, `{row['parameter']}`", row["method"], f"{100 * row['level']:.0f}"]
                cells += [f"{100 * row['expected']:.1f}", percent(found.share, found.n), f"{z:+.1f}"]
                rows.append(cells)
    head = ("", "interval", "level, %", "closed form, %", "found, %", "standard errors apart")
    return THEORY + "\n\n" + table(head, rows)


def residuals_section(results: Results) -> str:
    """Deviations at the deciles, KS, rejection rates."""
    parts = [RESIDUALS.format(n=SIMULATIONS, size=100 * SIZE)]
    rows, tests = [], []
    for experiment in results["intervals"]:
        for kind, own in experiment["residuals"].items():
            name = f"{experiment['name']}, {kind} parameters"
            cells = [f"{100 * d:+.2f} ± {100 * e:.2f}" for d, e in zip(own["deviation"], own["error"])]
            rows.append([name, *cells, f"{own['ks']['p']:.2g}"])
            tests.append((name, own["rejected"]))
    parts.append(table(("", *(f"{d:.1f}" for d in DECILES), "KS p"), rows))
    parts.append(REJECTED.format(size=100 * SIZE) + "\n\n" + rejection_table(tests))
    for experiment in results["calibrated"]:
        how = {"replicates": CALIBRATED_REPLICATES, "simulations": CALIBRATED_SIMULATIONS, "size": 100 * SIZE}
        text = CALIBRATED.format(n=experiment["data sets"], name=experiment["name"], **how)
        parts.append(text + "\n\n" + rejection_table(list(experiment["rejected"].items())))
    return "\n\n".join(parts)


def rejection_table(rows: list[tuple[str, dict[str, list[int]]]]) -> str:
    """A row for each kind of residuals, a column for each test; an asterisk where the size is exceeded."""
    names = list(dict.fromkeys(name for _, found in rows for name in found))
    body = []
    for label, found in rows:
        cells = []
        for name in names:
            rejected, n = found.get(name, (0, 0))
            departs = n > 0 and distance(rejected / n, SIZE, n) > LIMIT
            cells.append(percent(rejected / n, n, starred=departs) if n else "")
        body.append([label, *cells])
    return table(("", *names), body)


def p_section(results: Results) -> str:
    """Rejection rates of the tests of zero variances and zero coefficients."""
    variances, effects = [], []
    for experiment in results["variances"]:
        n = experiment["data sets"] - len(experiment["failures"])
        for name, p in experiment["p"].items():
            zero = percent(experiment["zero"] / n, n)
            variances.append([f"{experiment['name']}, {name}", *size_cells(p, None), zero])
    for experiment in results["effects"]:
        for name, p in experiment["p"].items():
            cells = size_cells(p, experiment["expected"].get(name))
            effects.append([f"{experiment['name']}, {name}", *cells, f"{uniformity(p)['p']:.2g}"])
    sizes = tuple(f"size {100 * size:.0f} %" for size in SIZES)
    parts = [P_VALUES, VARIANCES, table(("", *sizes, "statistic is zero"), variances)]
    return "\n\n".join([*parts, EFFECTS, table(("", *sizes, "KS p"), effects)])


def size_cells(p: list[float], expected: list[float] | None) -> list[str]:
    """Rejection rates at every size."""
    cells = []
    for k, size in enumerate(SIZES):
        share = float(np.mean(np.array(p) <= size))
        starred = abs(distance(share, size, len(p))) > LIMIT
        theory = f" ({100 * expected[k]:.1f})" if expected else ""
        cells.append(percent(share, len(p), starred=starred) + theory)
    return cells


def failures_section(results: Results) -> str:
    """Everything that went wrong, by experiment."""
    lines = []
    for section in ("intervals", "calibrated", "variances", "effects"):
        for experiment in results[section]:
            lines += failure_lines(experiment)
    return FAILED + "\n\n" + "\n".join(lines)


def failure_lines(experiment: Results) -> list[str]:
    """Failed data sets, methods, replicates, and warnings of one experiment."""
    name, failed = experiment["name"], experiment["failures"]
    lines = [f"- {name}: {len(failed)} of {experiment['data sets']} data sets failed ({experiment['seconds']:.0f} s)."]
    lines += [f"  - data set {number}: {message}" for number, message in failed.items()]
    if "lost" in experiment:
        replicates = experiment["replicates"] * experiment["data sets"]
        lines.append(f"  - {experiment['lost']} of {replicates} bootstrap replicates failed.")
        lines += [f"  - {method}, {count} data sets: {text}" for method, text, count in experiment["method failures"]]
        lines += [f"  - warned, {count} data sets: {text}" for text, count in experiment["warnings"].items()]
    return lines


def render(results: Results) -> str:
    """The whole report."""
    sections = [
        heading(results),
        short_section(results),
        coverage_section(results),
        departures_section(results),
        theory_section(results),
        residuals_section(results),
        p_section(results),
        failures_section(results),
    ]
    return "\n\n".join(sections) + "\n"


def checks(results: Results) -> Iterator[Check]:
    """Coverage of every interval as lines of the validation page; strain: distance from its level over the limit."""
    reasons = {(d.experiment, id(d.row)): d.reason for d in departures(results)}
    for experiment in results["intervals"]:
        for row in experiment["coverage"]:
            found = coverage_of(row)
            if found.n:
                reason = reasons.get((experiment["name"], id(row)))
                yield Check(
                    f"{experiment['name']}: {row['method']} of {row['parameter']}",
                    PASS if reason is None else EXPLAINED if reason else FAIL,
                    abs(found.from_expected()) / LIMIT,
                    f"{percent(found.share, found.n)} %",
                    f"{100 * found.level:.0f} %",
                    f"coverage in {found.n} data sets" + (f": {reason}" if reason else ""),
                )


def section(results: Results) -> Section:
    """The run as a part of the validation page."""
    settings = results["settings"]
    about = "Data simulated from known models, fitted from scratch: how often intervals hold the truth."
    made = f"refglmm {settings['versions']['refglmm']}, {settings['data sets']} data sets, seed {settings['seed']}"
    return Section(
        "Calibration of intervals", about, "make calibrate", made, "calibration/report.md", worst_first(checks(results))
    )


def write(results: Results, folder: Path) -> int:
    """Write report, pictures and, in its own folder, the page; the number of departures that nothing explains."""
    (folder / REPORT).write_text(render(results), encoding="utf-8")
    if folder == FOLDER:
        save("calibration", section(results))
        page.write()
    for name, draw in PICTURES.items():
        draw(results, folder / name)
    return sum(not d.reason for d in departures(results))


if __name__ == "__main__":
    write(json.loads((FOLDER / RESULTS).read_text(encoding="utf-8")), FOLDER)
    sys.exit(0)
