r"""Variance components, coefficients of levels and intraclass correlations from draws.

Place in the reading order: after ``parameters``. For each draw :math:`\Sigma_t = T_t T_t'` gives standard deviations,
variances and correlations; their summaries are taken after that, so that the variance shown is the mean of variances,
not the square of a mean. The intraclass correlations are those of :mod:`refglmm.inference.variance_explained`,

.. math:: ICC_{adj} = \frac{\sigma^2_\alpha}{\sigma^2_\alpha + \sigma^2_\varepsilon},\qquad
          ICC = \frac{\sigma^2_\alpha}{\sigma^2_f + \sigma^2_\alpha + \sigma^2_\varepsilon},

for each draw, where :math:`\sigma^2_\varepsilon` does not depend on the mean: sigma^2 of a gaussian response, pi^2/3,
1, pi^2/6 of binomial and ordinal ones under the logit, probit and cloglog links.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.bayes.parameters import PROBABILITY, ParameterDraws, Scale, check_probability, summarised
from refglmm.errors import NotAvailableError
from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.ranef import GroupFrames
from refglmm.fit.rformat import format_numbers, table
from refglmm.inference.variance_explained import LATENT

FloatArray = NDArray[np.float64]
LOG: Scale = (np.log, np.exp)
FISHER: Scale = (np.arctanh, np.tanh)


@dataclass(frozen=True, eq=False, repr=False)
class PosteriorVarCorr:
    """Variance components with intervals.

    Attributes
    ----------
    prob : float
        Of the intervals.
    table : DataFrame
        Columns grp, var1, var2 (None but for correlations), kind ("sd", "var", "corr"), estimate, se, lower, upper. The
        residual standard deviation of a gaussian response has grp "Residual".
    """

    prob: float
    _table: pd.DataFrame

    @property
    def table(self) -> pd.DataFrame:
        """The numbers in long form (a copy)."""
        return self._table.copy()

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        tail = 50.0 * (1.0 - self.prob)
        header = ["Groups", "Name", "Variance", "Std.Dev.", f"{tail:g}%", f"{100.0 - tail:g}%", "Corr"]
        frame, rows, last = self._table, [], None
        sds = frame[frame["kind"] == "sd"]
        variances = frame.loc[frame["kind"] == "var", "estimate"].to_numpy()
        numbers = [
            format_numbers(np.asarray(v, dtype=float), 4)
            for v in (variances, *sds[["estimate", "lower", "upper"]].T.to_numpy())
        ]
        for i, (group, name) in enumerate(zip(sds["grp"], sds["var1"], strict=True)):
            own = frame[(frame["kind"] == "corr") & (frame["grp"] == group) & (frame["var1"] == name)]
            shown = [
                f"{r:.2f} ({low:.2f}, {high:.2f})" for r, low, high in own[["estimate", "lower", "upper"]].to_numpy()
            ]
            label = group if group != last else ""
            rows.append([label, "" if pd.isna(name) else name, *(column[i] for column in numbers), "  ".join(shown)])
            last = group
        if not any(row[-1] for row in rows):
            return header[:-1], [row[:-1] for row in rows]
        return header, rows

    def __str__(self) -> str:
        header, rows = self._cells()
        note = f"posterior estimates; intervals of {100 * self.prob:g} % are those of the standard deviations"
        return "\n".join([table(header, rows, [True, True] + [False] * (len(header) - 2), indent=" "), "", note])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html_block([html_table(*self._cells()), html_lines([f"intervals of {100 * self.prob:g} %"])])


def posterior_varcorr(fit: Any, prob: float = 0.95) -> PosteriorVarCorr:
    """Variance components of all terms, and the residual standard deviation; see :meth:`.after.AfterFit.varcorr`."""
    prob, rows = check_probability(prob), []

    def add(head: tuple[Any, ...], of: Any, scale: Scale) -> None:
        numbers = summarised(fit, of, prob, scale)
        rows.append((*head, *(float(numbers[name]) for name in ("estimate", "se", "lower", "upper"))))

    for t, term in enumerate(fit.design.terms):
        for i, name in enumerate(term.columns):
            add((term.label, name, None, "sd"), lambda draws, t=t, i=i: np.sqrt(_covariance(draws, t)[:, i, i]), LOG)
            add((term.label, name, None, "var"), lambda draws, t=t, i=i: _covariance(draws, t)[:, i, i], LOG)
        if term.structure == "us":
            for i, name in enumerate(term.columns):
                for j, other in enumerate(term.columns[:i]):
                    head = (term.label, name, other, "corr")
                    add(head, lambda draws, t=t, i=i, j=j: _correlation(draws, t, i, j), FISHER)
    if _is_gaussian(fit):
        add(("Residual", None, None, "sd"), lambda draws: np.sqrt(draws.phi[:, 0]), LOG)
        add(("Residual", None, None, "var"), lambda draws: draws.phi[:, 0], LOG)
    columns = ["grp", "var1", "var2", "kind", "estimate", "se", "lower", "upper"]
    return PosteriorVarCorr(prob, pd.DataFrame(rows, columns=columns))


def _is_gaussian(fit: Any) -> bool:
    """Whether there is one residual standard deviation on the scale of the linear predictor."""
    return fit.family.name == "gaussian" and fit.family.link.name == "identity" and fit.posterior.residuals is None


def _covariance(draws: ParameterDraws, t: int) -> FloatArray:
    T = draws.factors[t]
    return np.asarray(T @ T.transpose(0, 2, 1))


def _correlation(draws: ParameterDraws, t: int, i: int, j: int) -> FloatArray:
    S = _covariance(draws, t)
    return np.asarray(S[:, i, j] / np.sqrt(S[:, i, i] * S[:, j, j]))


def coefficients(fit: Any) -> GroupFrames:
    """Fixed plus random effects of each level; see :meth:`.after.AfterFit.coef`."""
    draws = fit.parameters if fit.centre is None else fit.centre
    fixef, frames = fit.fixef, {}
    for term, b in zip(fit.design.terms, draws.effects, strict=True):
        if term.group not in frames:
            columns = list(
                dict.fromkeys(
                    [*fixef.index, *(c for u in fit.design.terms if u.group == term.group for c in u.columns)]
                )
            )
            start = pd.DataFrame(0.0, index=pd.Index(map(str, term.levels)), columns=columns)
            start[list(fixef.index)] = fixef.to_numpy()
            frames[term.group] = start
        frames[term.group][list(term.columns)] += b.mean(axis=0)
    return GroupFrames(frames, "Coefficients of each level, posterior")


def icc(fit: Any, prob: float = 0.95) -> pd.DataFrame:
    """Intraclass correlations; see :meth:`.after.AfterFit.icc`."""
    check_probability(prob)
    if not fit.design.terms:
        raise NotAvailableError("the model has no random effects: there is no intraclass correlation")
    latent = (fit.family.is_binomial or fit.family.is_ordinal) and fit.family.link.name in LATENT
    if not latent and not _is_gaussian(fit):
        raise NotAvailableError(
            f"the residual variance of the {fit.family.name} family with link {fit.family.link.name} depends on the "
            "mean; see icc() of a fit by maximum likelihood for approximations"
        )

    def ratio(draws: ParameterDraws, adjusted: bool) -> FloatArray:
        between = sum(
            (_mean_variance(draws, t, term.Z) for t, term in enumerate(fit.design.terms)), np.zeros(len(draws))
        )
        residual = LATENT[fit.family.link.name] if latent else draws.phi[:, 0]
        fixed = 0.0 if adjusted else np.var(draws.beta @ fit.design.X.T, axis=1, ddof=1)
        return np.asarray(between / (between + residual + fixed))

    rows = {
        "adjusted": summarised(fit, lambda draws: ratio(draws, True), prob, PROBABILITY),
        "unadjusted": summarised(fit, lambda draws: ratio(draws, False), prob, PROBABILITY),
    }
    return pd.DataFrame(rows).T.astype(float)


def _mean_variance(draws: ParameterDraws, t: int, Z: FloatArray) -> FloatArray:
    """Mean over the rows of z'Sigma z, for each draw."""
    return np.asarray(np.einsum("mkj,kj->m", _covariance(draws, t), Z.T @ Z / len(Z)))
