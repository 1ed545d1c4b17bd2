"""What a cross-check found: verdict, tables, text, HTML and JSON.

Place in the reading order: after ``verdict``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from refglmm.crosschecking.errors_match import ErrorsMatch
from refglmm.crosschecking.reported import Reported
from refglmm.crosschecking.verdict import Code, Evidence, Verdict
from refglmm.fit.arrays import plain
from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.rformat import table
from refglmm.fit.serialise import versions

SCHEMA = 1


@dataclass(frozen=True, eq=False, repr=False)
class Crosscheck:
    """The comparison of reported results with ours; printed as text, in notebooks as tables.

    Attributes
    ----------
    verdict : Verdict
        ``code`` (see :class:`.verdict.Code`) and ``sentence``.
    evidence : Evidence
        The numbers behind it: loss, distance, what explains what.
    model : str
        Formula, family, size.
    objective : str
        Which log-likelihood the estimates are held against.
    gradient_norm : float
        Largest absolute derivative of -2 log L at the reported estimates.
    mahalanobis : float
        Distance of all estimates together from our optimum, in standard errors: the root of (x - ours)'H(x - ours)/2.
    notes : tuple of str
        What was filled in, and what our own fit warned of.
    """

    reported: Reported
    verdict: Verdict
    evidence: Evidence
    model: str
    objective: str
    gradient_norm: float
    mahalanobis: float
    notes: tuple[str, ...]
    _estimates: pd.DataFrame
    _logliks: pd.DataFrame

    @property
    def code(self) -> Code:
        """The code of the verdict."""
        return self.verdict.code

    @property
    def sentence(self) -> str:
        """The sentence of the verdict."""
        return self.verdict.sentence

    @property
    def estimates(self) -> pd.DataFrame:
        """By parameter: reported (nan: not), ours, our standard error ``se``, and the distance in units of it."""
        return self._estimates.copy()

    @property
    def logliks(self) -> pd.DataFrame:
        """Exact log-likelihoods by approximation, at the reported estimates and at our optimum."""
        return self._logliks.copy()

    @property
    def criteria(self) -> pd.DataFrame:
        """Reported logLik, AIC, BIC, deviance with ours at the same estimates and the convention that explains them."""
        rows = [(f.reported, f.ours, f.reproduced, f.explained, f.convention) for f in self.evidence.findings]
        columns = ["reported", "ours", "reproduced", "explained", "convention"]
        return pd.DataFrame(rows, index=[f.quantity for f in self.evidence.findings], columns=columns)

    @property
    def standard_errors(self) -> pd.DataFrame | None:
        """Reported standard errors with ours and their ratio; None where none were reported."""
        match = self.evidence.errors
        if match is None:
            return None
        return pd.DataFrame(
            {"reported": match.reported, "ours": match.ours, "ratio": match.ratio}, index=list(match.names)
        )

    # -- text ------------------------------------------------------------------------------------------------

    def _numbers(self) -> list[str]:
        """Lines about loss and gradient."""
        e = self.evidence
        if e.no_estimates:
            return []
        rounding = f"{e.rounding_loss:.2g}" if e.rounding_loss > 1e-7 else "none of it"
        return [
            f"loss of log-likelihood ({self.objective}): {e.loss:.3g}; rounding explains {rounding}",
            f"largest |gradient| of -2 log L: {self.gradient_norm:.3g}; a Newton step promises {e.decrement:.3g}",
            f"largest distance: {e.distance:.3g} standard errors ({e.worst}); all together {self.mahalanobis:.3g}",
        ]

    def _criteria_lines(self) -> list[str]:
        return [f"{finding.quantity}: {finding.text}" for finding in self.evidence.findings]

    def _errors_line(self) -> list[str]:
        match = self.evidence.errors
        if match is None:
            return []
        kind = f"those of {match.kind}" if match.kind else "of no kind known here"
        return [f"standard errors: {kind}; reported / ours from {match.ratio.min():.4g} to {match.ratio.max():.4g}"]

    def _tables(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """Title, header and rows of each table, as text."""
        found = []
        if not self.evidence.no_estimates:
            header = ["Parameter", "Reported", "Ours", "Std.Error", "Distance"]
            rows = [
                [str(name), _digits(row.reported), _digits(row.ours), _digits(row.se), _short(row.distance)]
                for name, row in zip(self._estimates.index, self._estimates.itertuples(), strict=True)
            ]
            found.append(("Estimates", header, rows))
        header = ["Log-likelihood", "At theirs", "At ours", "Difference"]
        rows = [
            [str(name), _fixed(row.theirs), _fixed(row.ours), _short(row.theirs - row.ours)]
            for name, row in zip(self._logliks.index, self._logliks.itertuples(), strict=True)
        ]
        found.append(("Exact log-likelihoods", header, rows))
        errors = self.standard_errors
        if errors is not None:
            rows = [
                [str(name), _digits(row.reported), _digits(row.ours), f"{row.ratio:.4f}"]
                for name, row in zip(errors.index, errors.itertuples(), strict=True)
            ]
            found.append(("Standard errors", ["Coefficient", "Reported", "Ours", "Ratio"], rows))
        return found

    def __str__(self) -> str:
        lines = [f"Cross-check of {self._source()}", self.model, "", f"VERDICT {self.verdict}", ""]
        lines += self._numbers()
        for title, header, rows in self._tables():
            lines += ["", f"{title}:", table(header, rows, [True] + [False] * (len(header) - 1))]
        explained = [*self._criteria_lines(), *self._errors_line()]
        if explained:
            lines += ["", "What explains the reported numbers:", *(f"  {line}" for line in explained)]
        if self.notes:
            lines += ["", "Notes:", *(f"  {note}" for note in self.notes)]
        return "\n".join(lines)

    def _source(self) -> str:
        return self.reported.who if self.reported.program else "reported results"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        colour = "#1a7f37" if self.code in (Code.AGREES, Code.OTHER_CONVENTION) else "#b35900"
        head = html_lines([f"Cross-check of {self._source()}", self.model])
        verdict = (
            f'<p style="border-left:4px solid {colour};padding:4px 10px">'
            f"{html_lines([str(self.code)], 'b')}<br>{html_lines([self.sentence], 'span')}</p>"
        )
        tables = [
            f'<div style="margin:12px 0">{html_table(header, rows, title)}</div>'
            for title, header, rows in self._tables()
        ]
        explained = [*self._criteria_lines(), *self._errors_line()]
        rest = html_lines(["What explains the reported numbers"], "b") + html_lines(explained) if explained else ""
        return html_block([head, verdict, html_lines(self._numbers()), *tables, rest, html_lines(self.notes, "small")])

    # -- JSON ------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; numbers that are not finite are None."""
        e = self.evidence
        errors = self.standard_errors
        return plain(
            {
                "schema": SCHEMA,
                "versions": versions(),
                "program": self.reported.program,
                "program_version": self.reported.version,
                "model": self.model,
                "objective": self.objective,
                "verdict": self.code.value,
                "sentence": self.sentence,
                "loss": e.loss,
                "rounding_loss": e.rounding_loss,
                "predicted_decrease": e.decrement,
                "gradient_norm": self.gradient_norm,
                "largest_distance": e.distance,
                "largest_distance_of": e.worst,
                "mahalanobis": self.mahalanobis,
                "estimates": _records(self._estimates, "parameter"),
                "logliks": _records(self._logliks, "approximation"),
                "criteria": _records(self.criteria, "quantity"),
                "standard_errors": None if errors is None else _records(errors, "coefficient"),
                "standard_errors_kind": _kind(e.errors),
                "reading": e.reading or None,
                "other_objective": e.other_objective or None,
                "notes": list(self.notes),
            }
        )

    def to_json(self, *, indent: int | None = None) -> str:
        """:meth:`to_dict` as strict JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)


def _kind(match: ErrorsMatch | None) -> str | None:
    return None if match is None else match.kind or None


def _records(frame: pd.DataFrame, name: str) -> list[dict[str, Any]]:
    return [{name: str(index), **row} for index, row in zip(frame.index, frame.to_dict(orient="records"), strict=True)]


def _digits(value: float) -> str:
    return "-" if not np.isfinite(value) else f"{value:.6g}"


def _short(value: float) -> str:
    return "-" if not np.isfinite(value) else f"{value:.2g}"


def _fixed(value: float) -> str:
    return "-" if not np.isfinite(value) else f"{value:.6f}"
