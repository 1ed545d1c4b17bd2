r"""The table of coefficients with small-sample t tests, and ``model.classic()``.

Place in the reading order: last of the tests in ``inference``. For each coefficient
:math:`t_j = \hat\beta_j / SE_j` on :math:`\nu_j` degrees of freedom, and :math:`\hat\beta_j \pm t_{\nu_j}\,SE_j`;
:math:`SE_j` from the whole covariance matrix (Kenward and Roger's adjusted one with their method). With infinite
degrees of freedom t is z.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from refglmm.errors import ArgumentError
from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.rformat import (
    STARS_LEGEND,
    format_coefficients,
    format_numbers,
    format_p,
    stars,
    table,
)
from refglmm.fit.summary import header_lines, size_line
from refglmm.inference.compare import model_table
from refglmm.inference.denominator_df import Method, coefficient_df, covariance_for, resolve_method
from refglmm.inference.result_table import ResultTable

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel


def method_sentence(method: Method) -> str:
    """How the tests got their degrees of freedom, for a heading."""
    names = {"satterthwaite": "Satterthwaite's method", "kenward-roger": "Kenward-Roger's method"}
    if isinstance(method, str):
        return names.get(method, "residual degrees of freedom" if method == "residual" else "the normal distribution")
    return f"{method:g} degrees of freedom"


def coefficient_tests(fit: FittedModel, method: Method = "auto") -> pd.DataFrame:
    """Estimate, Std. Error, df, t value and Pr(>|t|) of each fixed effect (z value and Pr(>|z|) for "inf").

    Parameters
    ----------
    fit : FittedModel
    method : str or number
        See :mod:`.denominator_df`.
    """
    from scipy.stats import norm, t

    method = resolve_method(fit, method)
    names = list(fit.design.names)
    se = np.sqrt(np.diag(covariance_for(fit, method)))
    df = coefficient_df(fit, np.eye(len(names)), method) if names else np.empty(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = fit.beta / se
    frame = pd.DataFrame({"Estimate": fit.beta, "Std. Error": se, "df": df}, index=names)
    letter = "z" if method == "inf" else "t"
    frame[f"{letter} value"] = statistic
    frame[f"Pr(>|{letter}|)"] = 2.0 * (norm.sf(abs(statistic)) if letter == "z" else t.sf(abs(statistic), df))
    return frame


def with_limits(frame: pd.DataFrame, level: float) -> pd.DataFrame:
    """The table of :func:`coefficient_tests` with confidence limits after the standard errors.

    Raises
    ------
    ArgumentError
        If ``level`` is not between 0 and 1.
    """
    from scipy.stats import norm, t

    if isinstance(level, bool) or not isinstance(level, int | float) or not 0.0 < level < 1.0:
        raise ArgumentError(f"level must be between 0 and 1, not {level!r}")
    df = frame["df"].to_numpy()
    tail = 0.5 + 0.5 * level
    half = np.where(np.isinf(df), norm.ppf(tail), t.ppf(tail, df)) * frame["Std. Error"]
    out = frame.copy()
    out.insert(2, f"Lower {100 * level:g}%", frame["Estimate"] - half)
    out.insert(3, f"Upper {100 * level:g}%", frame["Estimate"] + half)
    return out


@dataclass(frozen=True, eq=False, repr=False)
class ClassicFit:
    """A frequentist fit with denominator degrees of freedom: what ``model.classic()`` returns.

    Linear mixed models are fitted by REML, and their log-likelihood, AIC and BIC come from a fit by maximum
    likelihood. Whatever is not here is asked of ``fit``.

    Attributes
    ----------
    fit, ml : FittedModel
        The fit shown; the maximum-likelihood fit behind the criteria (the same for generalized models).
    df_method : str or number
    level : float
    coefficients : DataFrame
        Estimate, Std. Error, Lower, Upper, df, t value, Pr(>|t|); z for infinite degrees of freedom.
    """

    fit: FittedModel
    ml: FittedModel
    df_method: Method
    level: float
    coefficients: pd.DataFrame

    @property
    def loglik(self) -> float:
        """Log-likelihood (ML)."""
        return self.ml.loglik

    @property
    def aic(self) -> float:
        """AIC (ML)."""
        return self.ml.aic

    @property
    def bic(self) -> float:
        """BIC (ML); rows used are counted."""
        return self.ml.bic

    def vcov(self) -> pd.DataFrame:
        """Whole covariance matrix of the fixed effects that the tests use."""
        names = list(self.fit.design.names)
        return pd.DataFrame(covariance_for(self.fit, self.df_method).copy(), index=names, columns=names)

    def confint(self) -> pd.DataFrame:
        """The confidence limits of the table."""
        return self.coefficients.iloc[:, 2:4].copy()

    def anova(self, *others: Any, type: Any = 3, test: str | None = None, covariates: str = "zero") -> ResultTable:
        """Wald tests of the terms, type III by default; with other fits (classic or not), likelihood-ratio tests."""
        if others:
            return self.fit.anova(*(o.fit if isinstance(o, ClassicFit) else o for o in others))
        ddf = self.df_method if self.fit.is_lmm else "auto"
        return model_table(self.fit, type=type, ddf=ddf, test=test, covariates=covariates)

    def summary(self) -> ClassicFit:
        """Return itself: it prints as its summary."""
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "fit":
            raise AttributeError(name)
        return getattr(self.fit, name)

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the coefficients as text."""
        frame = self.coefficients
        estimate, se = format_coefficients(frame.iloc[:, 0], frame.iloc[:, 1])
        limits = format_numbers(frame.iloc[:, 2:4].to_numpy().T, 4)
        columns = [list(map(str, frame.index)), estimate, se, limits[: len(frame)], limits[len(frame) :]]
        columns += [format_numbers(frame["df"].round(2), 5), format_numbers(frame.iloc[:, 5].round(3), 4)]
        columns += [format_p(frame.iloc[:, 6]), stars(frame.iloc[:, 6])]
        return ["", *map(str, frame.columns), ""], [list(row) for row in zip(*columns, strict=True)]

    def _lines(self) -> list[str]:
        criteria = format_numbers([round(v, 2) for v in (self.loglik, self.aic, self.bic)], 7)
        return [
            *header_lines(self.fit),
            f"Log-likelihood (ML): {criteria[0]}   AIC: {criteria[1]}   BIC: {criteria[2]}",
            f"Tests use {method_sentence(self.df_method)}",
        ]

    def __str__(self) -> str:
        lines = [*self._lines(), "", "Random effects:", self.fit.varcorr.to_string(("Variance", "Std.Dev."), digits=4)]
        lines += [size_line(self.fit), "", "Fixed effects:"]
        if not len(self.coefficients):
            return "\n".join([*lines[:-1], "No fixed effects"])
        header, rows = self.cells()
        lines.append(table(header, rows, [True, *[False] * 7, True]))
        return "\n".join(lines + (["---", STARS_LEGEND] if any(row[-1] for row in rows) else []))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        vc_header, vc_rows = self.fit.varcorr.cells(("Variance", "Std.Dev."), 4)
        header, rows = self.cells() if len(self.coefficients) else ([""], [])
        parts = [html_lines(self._lines()), html_table(vc_header, vc_rows, "Random effects")]
        return html_block([*parts, html_lines([size_line(self.fit)]), html_table(header, rows, "Fixed effects")])


def classic(fit: FittedModel, df_method: Method = "auto", level: float = 0.95) -> ClassicFit:
    """Read a fit as a classical analysis.

    Parameters
    ----------
    fit : FittedModel
        A linear mixed model by REML (or ML, if that is wanted); a generalized one.
    df_method : str or number
        See :mod:`.denominator_df`.
    level : float
        Of the confidence limits.
    """
    method = resolve_method(fit, df_method)
    frame = with_limits(coefficient_tests(fit, method), level)
    return ClassicFit(fit, fit.refit_ml(), method, level, frame)
