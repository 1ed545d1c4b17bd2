"""Fits every case, sets it beside the peer and the independent maximum, and writes the report.

Place in the reading order: last of ``validation.shelf``. What must hold: log-likelihoods within 1e-6 of the independent
maximum at the same number of points, coefficients and shape parameters within 1e-5 standard errors of it, standard
errors within 1e-4 of theirs; never more than 1e-6 below a peer's own optimum; within 1e-4 and 1e-3 standard errors of
glmmTMB.
"""

from __future__ import annotations

import math
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import refglmm as rg
from validation.checks import EXPLAINED as EXPLAINED_WORD
from validation.checks import FAIL, PASS, Check, Section, finite, save, worst_first
from validation.prepare import AbsentError
from validation.shelf.cases import Case, Record, adaptive_case, tmb_case
from validation.shelf.frames import reference

REPORT = Path(__file__).parent / "report.md"

GOLD_LOGLIK, GOLD_BETA, GOLD_SE, BELOW = 1e-6, 1e-5, 1e-4, 1e-6
TMB_LOGLIK, TMB_BETA = 1e-4, 1e-3

_NO_RESIDUAL = "the peer fixes the residual variance near zero (dispformula = ~0); a profiled sigma cannot"
#: Fits that break a promise, and why.
EXPLAINED = {
    "respiratory": "data of another package",
    "sal_zi_mined_nbinom1": "the zero part has no finite maximum: both run off, and ours says so",
    "sal_zinb2_full": "the peer stops below a likelihood that rises as the zero part runs off; ours says so",
    "sleep_cs_ml": _NO_RESIDUAL,
    "sleep_ar1_ml": _NO_RESIDUAL,
    "sleep_toep_ml": _NO_RESIDUAL,
    "sleep_gau_ml": "an independent dense likelihood gives ours, -45.484523317",
}


@dataclass(frozen=True)
class Row:
    """One line of the table; nan where a source has no such number."""

    name: str
    points: int
    peer: float
    gold: float
    ours: float
    beta: float
    se: float
    cpu_peer: float
    cpu_ours: float
    converged: bool
    failed: str = ""

    @property
    def ratio(self) -> float:
        """How many times faster than the peer."""
        return self.cpu_peer / self.cpu_ours


def fitted(case: Case) -> tuple[Any, float]:
    """The fit, and the CPU seconds of a second one (the first compiles)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rg.errors.RefglmmWarning)
        case.fit()
        began = time.process_time()
        fit = case.fit()
        return fit, time.process_time() - began


def against_gold(case: Case, gold: Record | None) -> Row:
    """One case of GLMMadaptive beside its independent maximum at the same number of points."""
    fit, seconds = fitted(case)
    beta, se = math.nan, math.nan
    if gold is not None and gold["se"] is not None:  # at a singular maximum gold has no standard errors
        theirs = np.array([*gold["betas"], *gold["gammas"], *gold["phis"]])
        their_se = np.array([*gold["se"]["betas"], *gold["se"]["gammas"], *gold["se"]["phis"]], dtype=float)
        ours, our_se = _estimates(fit, case.shape_sign, len(gold["phis"]))
        beta = float(np.max(np.abs(ours - theirs) / their_se))
        se = float(np.max(np.abs(our_se / their_se - 1.0)))
    return Row(
        case.name,
        case.n_agq,
        case.record["logLik"] + case.constant,
        math.nan if gold is None else _gold_loglik(gold) + case.constant,
        _loglik(case, fit),
        beta,
        se,
        float(case.record.get("cpu_seconds") or math.nan),
        seconds,
        fit.convergence.converged,
    )


def _gold_loglik(gold: Record) -> float:
    return float(gold["logLik"])


def _loglik(case: Case, fit: Any) -> float:
    """The log-likelihood, with the penalty where the peer reports it so."""
    return float(fit.penalized_loglik if "penalized" in case.arguments else fit.loglik)


def _estimates(fit: Any, shape_sign: float, n_shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of all parts and log shapes, and their standard errors."""
    problem, optimum = fit.problem, fit.optimum
    first, p = problem.n_par, problem.p
    covariance = 2.0 * np.linalg.inv(optimum.hessian)
    error = np.sqrt(np.diag(covariance))
    shapes = shape_sign * problem.working_shape(optimum.phi)[:n_shape]
    keep = [*range(first, first + p), *range(first + p, first + p + n_shape)]
    return np.concatenate([optimum.beta, shapes]), error[keep]


def against_tmb(case: Case) -> Row:
    """One case of glmmTMB: its optimum is the reference, its coefficients of the main and the zero part."""
    fit, seconds = fitted(case)
    theirs = case.record["betas"]
    ours, our_se = (series.rename(plain_name) for series in (fit.fixef, fit.se))
    beta = max(abs(ours[name] - value) / case.record["se_betas"][name] for name, value in theirs.items())
    zero = case.record.get("gammas") or {}
    for name, value in zero.items():
        beta = max(beta, abs(fit.fixef_zi[name] - value) / case.record["se_gammas"][f"zi~{name}"])
    se = max(abs(our_se[name] / value - 1.0) for name, value in case.record["se_betas"].items())
    return Row(
        case.name,
        1,
        float(case.record["logLik"]),
        math.nan,
        float(fit.loglik),
        float(beta),
        float(se),
        float(case.record.get("cpu_seconds") or math.nan),
        seconds,
        fit.convergence.converged,
    )


def plain_name(name: str) -> str:
    """A coefficient's name as if its factor had been made beforehand: factor(rack)2 -> rack2."""
    return re.sub(r"factor\((\w+)\)", r"\1", name)


def adaptive_rows() -> Iterator[Row]:
    """Every record of GLMMadaptive."""
    gold = {(g["id"], g["nAGQ"]): g for g in reference("gold_agq.jsonl")}
    for record in tqdm(reference("glmmadaptive_fits.jsonl"), desc="GLMMadaptive", unit=" fits", disable=None):
        yield _guarded(record, lambda r: against_gold(adaptive_case(r), gold.get((r["id"], r["nAGQ"]))))


def tmb_rows() -> Iterator[Row]:
    """Every record of glmmTMB that has an optimum."""
    for record in tqdm(reference("glmmtmb.jsonl"), desc="glmmTMB", unit=" fits", disable=None):
        if record.get("logLik") is not None:
            yield _guarded(record, lambda r: against_tmb(tmb_case(r)))


def _guarded(record: Record, make: Callable[[Record], Row]) -> Row:
    """The row, or one that says why there is none."""
    try:
        return make(record)
    except (rg.errors.RefglmmError, AbsentError, KeyError, ValueError, AttributeError) as error:
        kind = "not compared" if isinstance(error, AbsentError) else type(error).__name__
        said, none = f"{kind}: {error}", math.nan
        return Row(
            record["id"], record.get("nAGQ", 1), record["logLik"], none, none, none, none, none, none, False, said
        )


def verdict(row: Row, loglik: float, beta: float, se: float) -> str:
    """What of the promises a row breaks; empty if nothing."""
    if row.failed:
        return row.failed.split("\n")[0][:150]
    target = row.peer if math.isnan(row.gold) else row.gold
    broken = []
    if abs(row.ours - target) > loglik:
        broken.append(f"log-likelihood {row.ours - target:+.1e}")
    if row.ours < row.peer - BELOW:
        broken.append("below the peer")
    if row.beta > beta:
        broken.append("estimates")
    if row.se > se:
        broken.append("standard errors")
    return ", ".join(broken + ([] if row.converged else ["not certified"]))


def render(adaptive: Sequence[Row], tmb: Sequence[Row]) -> str:
    """The report as Markdown."""
    lines = [
        "# The shelf of families beside GLMMadaptive and glmmTMB",
        "",
        "Written by `make validate`. `peer` is the log-likelihood that the peer reports, `gold` an independent maximum "
        "of the same quadrature objective, `ours` what `rg.mixed_model` or `rg.glmer` finds. Estimates: largest "
        "difference in standard errors; SE: largest relative difference. CPU seconds of the peer stand in its record "
        "(another machine, the least of its repeats); ours is a second fit in one process, certificate and Hessian "
        "included.",
        "",
        *_summary("GLMMadaptive", adaptive),
        "",
        "## GLMMadaptive",
        "",
        *_table(adaptive, GOLD_LOGLIK, GOLD_BETA, GOLD_SE),
        "",
        *_summary("glmmTMB", tmb),
        "",
        "## glmmTMB (Laplace)",
        "",
        *_table(tmb, TMB_LOGLIK, TMB_BETA, math.inf),
        "",
    ]
    return "\n".join(lines)


def _summary(peer: str, rows: Sequence[Row]) -> list[str]:
    done = [row for row in rows if not row.failed]
    ratios = [row.ratio for row in done if math.isfinite(row.ratio)]
    if not ratios:
        return [f"{peer}: nothing compared."]
    higher = sum(row.ours > row.peer + 0.05 for row in done)
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    return [
        f"{peer}: {len(done)} of {len(rows)} fits compared; {higher} of ours end more than 0.05 above the peer's; "
        f"geometric mean of the ratios of CPU seconds {mean:.0f} (least {min(ratios):.1f})."
    ]


def _table(rows: Sequence[Row], loglik: float, beta: float, se: float) -> list[str]:
    head = ["fit", "points", "peer", "gold", "ours", "estimates", "SE", "CPU s peer", "CPU s ours", "ratio", "remark"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [
            row.name,
            str(row.points),
            *(f"{value:.6f}" for value in (row.peer, row.gold, row.ours)),
            f"{row.beta:.1e}",
            f"{row.se:.1e}",
            f"{row.cpu_peer:.3f}",
            f"{row.cpu_ours:.4f}",
            f"{row.ratio:.0f}",
            "; ".join(filter(None, (verdict(row, loglik, beta, se), EXPLAINED.get(row.name, "")))),
        ]
        lines.append("| " + " | ".join("" if cell == "nan" else cell for cell in cells) + " |")
    return lines


def check(row: Row, loglik: float, beta: float, se: float) -> Check:
    """A row as a line of the validation page; its strain is that of the log-likelihood."""
    said = verdict(row, loglik, beta, se)
    word = PASS if not said else EXPLAINED_WORD if row.name in EXPLAINED else FAIL
    target = row.peer if math.isnan(row.gold) else row.gold
    rule = "Laplace" if row.points == 1 else f"{row.points} points"
    note = "; ".join(filter(None, (f"log-likelihood, {rule}", said, EXPLAINED.get(row.name, ""))))
    found = "" if math.isnan(row.ours) else f"{row.ours:.9f}"
    return Check(row.name, word, finite(abs(row.ours - target) / loglik), found, f"{target:.9f}", note)


def save_sections(adaptive: Sequence[Row], tmb: Sequence[Row]) -> None:
    """Leave both tables for the validation page."""
    made, report = f"refglmm {rg.__version__}", f"{REPORT.parent.name}/{REPORT.name}"
    about = (
        "GLMMadaptive 0.9.7's models, against independent maxima of the same quadrature objectives where there is one. "
        f"Log-likelihoods within {GOLD_LOGLIK:g}, estimates within {GOLD_BETA:g} standard errors."
    )
    checks = worst_first(check(row, GOLD_LOGLIK, GOLD_BETA, GOLD_SE) for row in adaptive)
    save("glmmadaptive", Section("GLMMadaptive and gold optima", about, "make validate", made, report, checks))
    about = (
        "glmmTMB 1.1.5's optima by Laplace's method. "
        f"Log-likelihoods within {TMB_LOGLIK:g}, estimates within {TMB_BETA:g} standard errors."
    )
    checks = worst_first(check(row, TMB_LOGLIK, TMB_BETA, math.inf) for row in tmb)
    save("glmmtmb", Section("glmmTMB", about, "make validate", made, report, checks))


def main() -> int:
    """Fit everything and write the report; 0 when every fit keeps its promises."""
    try:
        adaptive, tmb = list(adaptive_rows()), list(tmb_rows())
    except AbsentError as error:
        print(f"the shelf was not compared: {error}")
        return 0
    REPORT.write_text(render(adaptive, tmb), encoding="utf-8")
    save_sections(adaptive, tmb)
    broken = [row for row in adaptive if verdict(row, GOLD_LOGLIK, GOLD_BETA, GOLD_SE)]
    broken += [row for row in tmb if verdict(row, TMB_LOGLIK, TMB_BETA, math.inf)]
    unexplained = [row for row in broken if row.name not in EXPLAINED]
    print(
        f"{len(adaptive) + len(tmb)} fits of the shelf, {len(broken)} with a remark, {len(unexplained)} of them "
        f"unexplained; see {REPORT.name}"
    )
    return min(len(unexplained), 1)
