r"""The summary of a fit, in the order and layout of lme4's.

Place in the reading order: in ``fit``, after ``vcov`` and ``criteria``. The Wald statistics are
:math:`z_j = \hat\beta_j / SE_j`; for generalized models :math:`p_j = 2\Phi(-|z_j|)`; linear ones show t
values without p-values, because their denominator degrees of freedom are not known without further
approximation.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.fit import criteria
from refglmm.fit.arrays import plain
from refglmm.fit.categories import threshold_table
from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.parts import MAIN, coefficients, part_columns, several
from refglmm.fit.residuals import conditional_family, residual_values
from refglmm.fit.rformat import (
    LINE_WIDTH,
    STARS_LEGEND,
    abbreviate,
    format_coefficients,
    format_numbers,
    format_p,
    named_numbers,
    stars,
    table,
)
from refglmm.fit.varcorr import VarCorr
from refglmm.fit.vcov import whole_covariance

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

#: The correlation of the fixed effects is printed up to this many coefficients.
MAX_CORRELATION = 12
#: Arguments of the call that the header repeats when they were given.
HEADER_ARGUMENTS = (("weights", "Weights"), ("offset", " Offset"), ("subset", " Subset"))


def title(fit: FittedModel) -> str:
    """What was fitted, and how."""
    if fit.is_lmm:
        return "Linear mixed model fit by " + ("REML" if fit.reml else "maximum likelihood")
    method = {
        0: "Adaptive Gauss-Hermite Quadrature, nAGQ = 0",
        1: "Laplace Approximation",
    }.get(fit.n_agq, f"Adaptive Gauss-Hermite Quadrature, nAGQ = {fit.n_agq}")
    penalised = "penalised " if fit.penalty is not None else ""
    return f"Generalized linear mixed model fit by {penalised}maximum likelihood ({method})"


def _wrapped_title(fit: FittedModel) -> list[str]:
    return textwrap.wrap(title(fit), LINE_WIDTH, subsequent_indent="  ")


def header_lines(fit: FittedModel) -> list[str]:
    """Title, family, formula, data, and weights, offset and subset where they were given by name."""
    lines = _wrapped_title(fit)
    if not fit.is_lmm:
        family = conditional_family(fit)
        lines.append(f" Family: {family.r_name}  ( {family.link.name} )")
    if len(fit.agq_steps) > 1:
        change = fit.agq_steps[-1].loglik - fit.agq_steps[-2].loglik
        lines.append(f"    AGQ: {fit.n_agq} points, last change in log-likelihood {change:.1e}")
    formula = textwrap.wrap(
        f"Formula: {fit.formula.expanded}", LINE_WIDTH, subsequent_indent="    ", break_long_words=False
    )
    lines += formula
    for part, label in (("zi", "  Zeros: "), ("dispersion", "  Dispersion: ")):
        if part in fit.call:
            lines.append(f"{label}{fit.call[part]}")
    lines.append(f"   Data: {fit.data_name}")
    for argument, label in HEADER_ARGUMENTS:
        value = fit.call.get(argument)
        if value is not None:
            lines.append(f"{label}: {value if isinstance(value, str) else '(given as an array)'}")
    for note in fit.frame.notes:
        lines += textwrap.wrap(note, LINE_WIDTH, initial_indent="   ", subsequent_indent="    ")
    return lines


def size_line(fit: FittedModel) -> str:
    """Number of obs and of levels."""
    groups = "; ".join(f"{name}, {count}" for name, count in criteria.ngroups(fit).items())
    return f"Number of obs: {fit.frame.n}, groups:  {groups}"


def criteria_table(values: Mapping[str, float], digits: int, decimals: int) -> str:
    """The line of criteria under its heads."""
    names = list(values)
    numbers = format_numbers([round(values[name], decimals) for name in names[:-1]], digits)
    return named_numbers(names, [*numbers, str(int(values[names[-1]]))], gap=1)


def two_sided_p(z: FloatArray) -> FloatArray:
    """2 Phi(-|z|), as erfc(|z| / sqrt 2); loading scipy.special would take longer than a small fit."""
    return np.array([math.erfc(abs(value) / math.sqrt(2.0)) for value in z])


def headings(fit: FittedModel, usual: str) -> dict[str, str]:
    """What the coefficients of each predictor stand under."""
    if not several(fit):
        return {MAIN: usual}
    what = "Zero-inflation" if getattr(fit.family, "inflated", False) else "Hurdle"
    known = {
        MAIN: f"Conditional model ({fit.family.link.name} link):",
        "zi": f"{what} model (logit of the probability of a zero):",
        "dispersion": "Dispersion model (log link):",
    }
    return {part: known[part] for part in fit.family.part_names}


def coefficient_table(fit: FittedModel, part: str = MAIN) -> pd.DataFrame:
    """Estimate, Std. Error, z (or t) value and, for generalized models, Pr(>|z|)."""
    estimate = coefficients(fit, part).to_numpy()
    at, names = part_columns(fit, part)
    se = np.sqrt(np.diag(whole_covariance(fit).matrix[at, at]))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = estimate / se
    frame = pd.DataFrame({"Estimate": estimate, "Std. Error": se}, index=names)
    # lme4 heads the column of a family with an estimated scale "t value", yet takes p from the normal.
    frame["t value" if fit.has_scale else "z value"] = z
    if not fit.is_lmm:
        frame["Pr(>|z|)"] = two_sided_p(z)
    return frame


def zapped(x: pd.Series, digits: int = 5) -> pd.Series:
    """Round to the decimals that ``digits`` significant digits of the largest number have (R's zapsmall)."""
    largest = float(np.max(np.abs(x)))
    return x.round(max(0, math.floor(digits - math.log10(largest) + 0.5))) if largest > 0 else x


def correlation(covariance: pd.DataFrame) -> pd.DataFrame:
    """Correlation matrix of a covariance matrix."""
    sd = np.sqrt(np.diag(covariance))
    with np.errstate(divide="ignore", invalid="ignore"):
        return covariance / np.outer(sd, sd)


def trouble(fit: FittedModel) -> tuple[str, ...]:
    """What the reader must know before using the numbers: certificate messages, singularity, kind of SE."""
    certificate = fit.optimum.certificate
    lines = list(certificate.messages)
    if certificate.singular and not any("singular" in line for line in lines):
        lines.insert(0, f"boundary (singular) fit: {', '.join(certificate.boundary)}")
    if not certificate.converged and not certificate.messages:
        lines.append(
            f"not certified as an optimum: predicted decrease {certificate.newton_decrement:.3g}, "
            f"largest |gradient| {certificate.gradient_norm:.3g}"
        )
    return tuple(lines + ([fit.covariance.note] if fit.covariance.note else []))


def penalty_notes(fit: FittedModel) -> tuple[str, ...]:
    """What a penalised fit maximised, and which of its numbers that touches."""
    if fit.penalty is None:
        return ()
    kept = "logLik, AIC and BIC are without the penalty; standard errors are from the penalised Hessian"
    lines = f"{fit.penalty.describe(fit.problem.beta_names)}; penalised logLik {fit.penalized_loglik:.4f}", kept
    return tuple(part for line in lines for part in textwrap.wrap(line, LINE_WIDTH, subsequent_indent="  "))


@dataclass(frozen=True, eq=False)
class CoefficientTests:
    """Small-sample tests for a summary: table with columns df and p, covariance behind it, and a phrase for the title.

    The first two columns are estimate and standard error.
    """

    coefficients: pd.DataFrame
    covariance: FloatArray
    phrase: str


def coefficient_cells(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table of coefficients as text, stars in the last column."""
    estimate, se = format_coefficients(frame.iloc[:, 0], frame.iloc[:, 1])
    columns, header = [list(map(str, frame.index)), estimate, se], ["", *map(str, frame.columns)]
    for name in frame.columns[2:]:
        if str(name).startswith("Pr("):
            columns += [format_p(frame[name]), stars(frame[name])]
            header.append("")
        else:
            columns.append(format_numbers(frame[name].round(3), 4))
    return header, [list(row) for row in zip(*columns, strict=True)]


def _coefficient_lines(frame: pd.DataFrame) -> list[str]:
    header, rows = coefficient_cells(frame)
    has_stars = header[-1] == ""
    left = [True] + [False] * (len(header) - 1 - has_stars) + [True] * has_stars
    legend = ["---", STARS_LEGEND] if has_stars and any(row[-1] for row in rows) else []
    return [table(header, rows, left), *legend]


@dataclass(frozen=True, eq=False)
class Summary:
    """What ``print(fit.summary())`` shows; every number is an attribute at full precision.

    Attributes
    ----------
    header : tuple of str
    criteria : dict of AIC, BIC, logLik, -2*log(L), df.resid; a REML fit has only "REML criterion"
    residual_quantiles : Series
        Min, 1Q, Median, 3Q, Max of the Pearson residuals divided by sigma.
    varcorr : VarCorr
    size : str
    phi : Series
        Shape parameters other than the scale, which the random-effects table shows as Residual.
    thresholds : DataFrame
        Thresholds of an ordinal model; no rows for others.
    coefficients, correlation : DataFrame
        Of the mean's predictor.
    parts : dict of DataFrame
        Coefficients of the further predictors ("zi", "dispersion") by their headings; empty without such.
    heading : str
        Of ``coefficients``.
    notes : tuple of str
        Convergence messages, singularity, kind of standard errors; empty when there is nothing to say.
    """

    header: tuple[str, ...]
    criteria: dict[str, float]
    residual_quantiles: pd.Series
    varcorr: VarCorr
    size: str
    phi: pd.Series
    coefficients: pd.DataFrame
    correlation: pd.DataFrame
    notes: tuple[str, ...]
    show_correlation: bool
    parts: dict[str, pd.DataFrame] = field(default_factory=dict)
    heading: str = "Fixed effects:"
    thresholds: pd.DataFrame = field(default_factory=pd.DataFrame)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; NaN becomes None."""
        return {
            "header": list(self.header),
            "criteria": plain(self.criteria),
            "residual_quantiles": plain(self.residual_quantiles),
            "varcorr": plain(self.varcorr.as_frame().to_dict(orient="records")),
            "size": self.size,
            "phi": plain(self.phi),
            "thresholds": plain(self.thresholds.to_dict(orient="index")),
            "coefficients": plain(self.coefficients.to_dict(orient="index")),
            "parts": {name: plain(frame.to_dict(orient="index")) for name, frame in self.parts.items()},
            "correlation": plain(self.correlation.to_dict(orient="index")),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        return str(self)

    def _lines(self) -> list[str]:
        quantiles = self.residual_quantiles
        lines = [*self.header, "", self._criteria_text(), "", "Scaled residuals: "]
        lines.append(named_numbers(list(quantiles.index), format_numbers(zapped(quantiles), 4), gap=1))
        lines += [
            "",
            "Random effects:",
            self.varcorr.to_string(("Variance", "Std.Dev."), digits=4),
            self.size,
        ]
        if len(self.phi):
            lines += [f"Shape: {name} = {value}" for name, value in zip(self.phi.index, self._phi_text(), strict=True)]
        if len(self.coefficients):
            lines += ["", self.heading, *_coefficient_lines(self.coefficients), *self._correlation_lines()]
        else:
            lines += ["", "No fixed effects"]
        if len(self.thresholds):
            lines += ["", "Threshold coefficients:", self._threshold_text()]
        for heading, frame in self.parts.items():
            lines += ["", heading, *(_coefficient_lines(frame) if len(frame) else ["No fixed effects"])]
        return lines + list(self.notes)

    def _phi_text(self) -> list[str]:
        return [format_numbers([value], 4)[0] for value in self.phi]

    def _criteria_text(self) -> str:
        if "REML criterion" in self.criteria:
            value = format_numbers([round(self.criteria["REML criterion"], 1)], 7)[0]
            return f"REML criterion at convergence: {value}"
        return criteria_table(self.criteria, 7, 1)

    def threshold_cells(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the table of thresholds as text."""
        frame = self.thresholds
        estimate, se = format_coefficients(frame["Estimate"], frame["Std. Error"])
        columns = [list(map(str, frame.index)), estimate, se, format_numbers(frame["z value"].round(3), 4)]
        return ["", *map(str, frame.columns)], [list(row) for row in zip(*columns, strict=True)]

    def _threshold_text(self) -> str:
        header, rows = self.threshold_cells()
        return table(header, rows, [True] + [False] * (len(header) - 1))

    def _correlation_lines(self) -> list[str]:
        p = len(self.correlation)
        if p < 2 or not self.show_correlation:
            if p > MAX_CORRELATION and not self.show_correlation:
                return [
                    "",
                    f"Correlation of fixed effects not shown (p = {p} > {MAX_CORRELATION}); "
                    "summary(correlation=True) shows it",
                ]
            return []
        names = list(map(str, self.correlation.index))
        rows, columns = abbreviate(names, 11), abbreviate(names, 6)
        values = self.correlation.to_numpy()
        body = [[rows[i], *(f"{values[i, j]:6.3f}" if j < i else "" for j in range(p - 1))] for i in range(1, p)]
        return [
            "",
            "Correlation of Fixed Effects:",
            table(["", *columns[:-1]], body, [True] * p),
        ]

    def _repr_html_(self) -> str:
        fixed = {self.heading: self.coefficients, **self.parts}
        tables = [html_table(*coefficient_cells(frame), heading) for heading, frame in fixed.items() if len(frame)]
        vc_header, vc_rows = self.varcorr.cells(("Variance", "Std.Dev."), 4)
        criteria_rows = [[name, format_numbers([value], 7)[0]] for name, value in self.criteria.items()]
        return html_block(
            [
                html_lines(self.header),
                html_table(["Criterion", "Value"], criteria_rows),
                html_table(vc_header, vc_rows, "Random effects"),
                html_lines([self.size]),
                *tables,
                *([html_table(*self.threshold_cells(), "Threshold coefficients")] if len(self.thresholds) else []),
                html_lines(self.notes),
            ]
        )


def shown_criteria(fit: FittedModel) -> dict[str, float]:
    """The line of criteria, or the one number that a REML fit shows."""
    return {"REML criterion": criteria.reml_criterion(fit)} if fit.reml else criteria.criteria(fit)


def summary(
    fit: FittedModel, *, correlation_shown: bool | None = None, tests: CoefficientTests | None = None
) -> Summary:
    """Collect the numbers; ``correlation_shown`` None: up to 12 coefficients."""
    names, blocks = list(fit.design.names), headings(fit, "Fixed effects:")
    header = header_lines(fit)
    if tests is not None:
        header = [*textwrap.wrap(f"{title(fit)}. {tests.phrase}", LINE_WIDTH), *header[len(_wrapped_title(fit)) :]]
    covariance = fit.vcov() if tests is None else pd.DataFrame(tests.covariance, index=names, columns=names)
    quantiles = np.quantile(residual_values(fit, "pearson") / fit.sigma, [0.0, 0.25, 0.5, 0.75, 1.0])
    ordinal = fit.family.is_ordinal and fit.optimum.phi.size > 0
    show = len(fit.design.names) <= MAX_CORRELATION if correlation_shown is None else correlation_shown
    return Summary(
        header=tuple(header),
        criteria=shown_criteria(fit),
        residual_quantiles=pd.Series(quantiles, index=["Min", "1Q", "Median", "3Q", "Max"]),
        varcorr=fit.varcorr,
        size=size_line(fit),
        phi=pd.Series(dtype=float) if ordinal else fit.phi.drop("phi", errors="ignore"),
        thresholds=threshold_table(fit) if ordinal else pd.DataFrame(),
        coefficients=coefficient_table(fit) if tests is None else tests.coefficients,
        correlation=correlation(covariance),
        notes=(*penalty_notes(fit), *trouble(fit)),
        show_correlation=show and not several(fit),
        parts={heading: coefficient_table(fit, part) for part, heading in blocks.items() if part != MAIN},
        heading=blocks[MAIN],
    )
