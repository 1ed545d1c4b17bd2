r"""Robust covariance of the estimates: a sandwich of group scores.

Place in the reading order: in ``inference``, after ``group_scores``. With the scores s_g and the information A_g of
independent clusters g = 1, ..., G, and the observed information :math:`A = \sum_g A_g`,

.. math:: V = A^{-1} \Big(\sum_g \tilde s_g \tilde s_g'\Big) A^{-1}

=======  ===================================================================================================
``CR0``  :math:`\tilde s_g = s_g` (White 1982; "sandwich" is another name)
``CR1``  :math:`\tilde s_g = \sqrt{G/(G-1)}\, s_g`
``CR2``  :math:`\tilde s_g = R'(I - H_g)^{-1/2} R^{-T} s_g`
``CR3``  :math:`\tilde s_g = R'(I - H_g)^{-1} R^{-T} s_g`
=======  ===================================================================================================

with :math:`A = R'R` and the leverage :math:`H_g = R^{-T} A_g R^{-1}` of a cluster. If the model is right, the score at
the estimate has about the covariance :math:`A_g - A_g A^{-1} A_g = R'(H_g - H_g^2)R`, so that the middle of CR2 has
expectation A: no bias in that order. This carries the idea of Bell and McCaffrey (2002) from least squares to a
likelihood, with the information in place of :math:`X_g'W_gX_g`. For the fixed effects of a linear mixed model CR0, CR1
and CR3 are those of generalized least squares at the estimated V; so is CR2, the root taken among the coefficients.
CR3 is the jackknife by one Newton step: :math:`A^{-1}\tilde s_g = (A - A_g)^{-1} s_g`. Covariance parameters on their
boundary are held there.

A sandwich repairs the standard errors of a model whose distributions are not quite right. What the coefficients mean
is still what the model says.

Sources: White (1982), "Maximum likelihood estimation of misspecified models"; Liang and Zeger (1986); Bell and
McCaffrey (2002), "Bias reduction in standard errors for linear regression with multi-stage samples".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.linalg import LinAlgError, cholesky, eigh
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.parts import all_names
from refglmm.fit.rformat import format_numbers, table
from refglmm.fit.summary import two_sided_p
from refglmm.inference.criterion import observed_hessian
from refglmm.inference.denominator_df import WaldTest, hypothesis_matrix, independent_rows
from refglmm.inference.group_scores import GroupScores, group_information, group_scores, over_free
from refglmm.inference.parameters import absolute_scale, percent_names, tail_shares

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

KINDS = ("CR0", "CR1", "CR2", "CR3")
#: 1 minus a leverage below this: a cluster that alone determines some combination of the parameters.
LARGEST_LEVERAGE = 1e-6


@dataclass(frozen=True, eq=False, repr=False)
class Sandwich:
    """A robust covariance matrix of all parameters.

    Attributes
    ----------
    fit : FittedModel
    kind : {"CR0", "CR1", "CR2", "CR3"}
    groups : GroupScores
        The scores it is made of.
    matrix : float array, shape (d, d)
        Of psi = (par, beta, log phi), par on the scale of Sigma; zero for parameters on their boundary.
    """

    fit: FittedModel
    kind: str
    groups: GroupScores
    matrix: FloatArray

    @property
    def note(self) -> str:
        """What a table says of its standard errors."""
        return f"robust standard errors ({self.kind}) of {len(self.groups.labels)} clusters ({self.groups.cluster})"

    @property
    def covariance(self) -> pd.DataFrame:
        """Covariance of all of psi."""
        names = list(self.groups.names)
        return pd.DataFrame(self.matrix.copy(), index=names, columns=names)

    @property
    def fixed(self) -> FloatArray:
        """Covariance of the fixed effects (of all predictors), shape (p, p)."""
        n_par, p = self.fit.problem.n_par, self.fit.problem.p
        return self.matrix[n_par : n_par + p, n_par : n_par + p].copy()

    @property
    def vcov(self) -> pd.DataFrame:
        """Covariance of the fixed effects, of all predictors."""
        names = all_names(self.fit)
        return pd.DataFrame(self.fixed, index=names, columns=names)

    @property
    def se(self) -> pd.Series:
        """Standard errors of the fixed effects."""
        return pd.Series(np.sqrt(np.diag(self.fixed)), index=all_names(self.fit), name="se")

    @property
    def table(self) -> pd.DataFrame:
        """Estimate, Std. Error, z value and Pr(>|z|) of the fixed effects."""
        with np.errstate(divide="ignore", invalid="ignore"):
            z = self._beta / self.se.to_numpy()
        columns = {"Estimate": self._beta, "Std. Error": self.se.to_numpy(), "z value": z}
        return pd.DataFrame(columns | {"Pr(>|z|)": two_sided_p(z)}, index=all_names(self.fit))

    @property
    def _beta(self) -> FloatArray:
        """Fixed effects of all predictors."""
        return np.array(self.fit.optimum.beta, dtype=float)

    def confint(self, level: float = 0.95) -> pd.DataFrame:
        """Wald intervals of the fixed effects."""
        from scipy.special import ndtri

        low, high = (ndtri(share) for share in tail_shares(level))
        first, last = percent_names(level)
        return pd.DataFrame({first: self._beta + low * self.se, last: self._beta + high * self.se})

    def wald_test(self, L: Any) -> WaldTest:
        """Test L beta = 0, all rows at once, by chi-square.

        L has a column for each fixed effect of the first predictor, or of all predictors.
        """
        from scipy.special import chdtrc

        columns, names = np.atleast_2d(np.asarray(L, dtype=object)).shape[1], all_names(self.fit)
        rows = independent_rows(hypothesis_matrix(self.fit, L, names if columns == len(names) else None))
        value, own = rows @ self._beta[: rows.shape[1]], slice(rows.shape[1])
        try:
            statistic = float(value @ np.linalg.solve(rows @ self.fixed[own, own] @ rows.T, value))
        except LinAlgError:
            raise NotAvailableError(
                f"{len(self.groups.labels)} clusters cannot test {len(rows)} hypotheses at once: their sandwich is "
                "singular"
            ) from None
        return WaldTest(statistic, len(rows), np.inf, float(chdtrc(len(rows), statistic)), "Chisq")

    def on_fit_scale(self) -> FloatArray:
        """Covariance of (par, beta, log phi) as the fit has them: a linear mixed model has par relative to sigma."""
        n_par, p = self.fit.problem.n_par, self.fit.problem.p
        if not self.fit.is_lmm:
            return self.matrix.copy()
        scale = absolute_scale(self.fit.problem, self.fit.sigma)
        J = np.eye(n_par + p, n_par + p + 1)
        J[range(n_par), range(n_par)] = 1.0 / scale
        relative = np.isinf(self.fit.problem.par_upper)
        J[:n_par, -1] = np.where(relative, -0.5 * np.array(self.fit.optimum.par), 0.0)
        return J @ self.matrix @ J.T

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        shown = self.table
        columns = [format_numbers(shown[name], 4) for name in shown.columns]
        return ["", *map(str, shown.columns)], [[n, *r] for n, *r in zip(map(str, shown.index), *columns, strict=True)]

    def __str__(self) -> str:
        header, rows = self._cells()
        return "\n".join([self.note[0].upper() + self.note[1:], table(header, rows, [True] + [False] * 4)])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html_block([html_table(*self._cells()), html_lines([self.note])])


def sandwich(fit: FittedModel, kind: str = "CR0", cluster: Any = None, *, progress: bool | None = None) -> Sandwich:
    """Robust covariance of the estimates of an ML fit.

    Parameters
    ----------
    fit : FittedModel
    kind : {"CR0", "CR1", "CR2", "CR3"}
        See the module's docstring; "sandwich" is "CR0".
    cluster : str or array of shape (n,), optional
        Factor in which every grouping factor is nested; needed where they are crossed.
    progress : bool, optional

    Returns
    -------
    Sandwich

    Raises
    ------
    ArgumentError
        Unknown kind; a cluster that splits a group.
    NotAvailableError
        See :func:`.group_scores.group_scores`; an information that is not positive definite; for CR2 and CR3 a cluster
        that alone determines some combination of the parameters (named).
    """
    kind = "CR0" if kind == "sandwich" else kind
    if kind not in KINDS:
        raise ArgumentError(f"unknown kind {kind!r} of sandwich; use one of {', '.join(KINDS)}", kind=kind)
    groups = group_scores(fit, cluster, progress=progress)
    keep = np.flatnonzero(groups.free)
    R = information_root(fit, groups)
    adjusted = _adjusted(fit, groups, R, kind, progress)
    pull = np.linalg.solve(R, np.linalg.solve(R.T, adjusted.T))
    matrix = np.zeros((groups.free.size, groups.free.size))
    matrix[np.ix_(keep, keep)] = pull @ pull.T
    matrix.setflags(write=False)
    return Sandwich(fit, kind, groups, matrix)


def sandwich_for(fit: FittedModel, wanted: bool | str | Sandwich) -> Sandwich:
    """The sandwich that an argument names: True is CR0; one that is there already is used."""
    if isinstance(wanted, Sandwich):
        return wanted
    if not isinstance(wanted, str) and wanted is not True:
        raise ArgumentError(f"sandwich must be True or one of {', '.join(KINDS)}, not {wanted!r}")
    kind = "CR0" if wanted is True else wanted
    return fit.derived(f"sandwich {kind}", lambda: sandwich(fit, kind))


def information_root(fit: FittedModel, groups: GroupScores) -> FloatArray:
    """R with R'R = A over the free parameters, upper triangular."""
    A = over_free(fit, groups, 0.5 * observed_hessian(fit, groups.criterion))
    try:
        return np.ascontiguousarray(cholesky(0.5 * (A + A.T)).T)
    except LinAlgError:
        raise NotAvailableError(
            "the observed information is not positive definite, so there is no sandwich; see fit.convergence"
        ) from None


def leverages(R: FloatArray, information: FloatArray) -> FloatArray:
    """H_g = R^-T A_g R^-1 of each cluster."""
    inverse = np.linalg.inv(R)
    H = inverse.T @ information @ inverse
    return 0.5 * (H + H.transpose(0, 2, 1))


def _adjusted(fit: FittedModel, groups: GroupScores, R: FloatArray, kind: str, progress: bool | None) -> FloatArray:
    """The scores s~_g over the free parameters, a row for each cluster."""
    s, G = groups.scores[:, groups.free], len(groups.labels)
    if kind == "CR0":
        return s
    if kind == "CR1":
        return np.sqrt(G / (G - 1.0)) * s
    power = -0.5 if kind == "CR2" else -1.0
    values, vectors = eigh(leverages(R, group_information(fit, groups, progress=progress)))
    left = 1.0 - values
    if left.min() < LARGEST_LEVERAGE:
        label = groups.labels[int(np.argmin(left.min(axis=1)))]
        raise NotAvailableError(
            f"{groups.cluster} {label} alone determines some combination of the parameters (leverage "
            f"{1.0 - left.min():.6g}), which {kind} divides by one minus; use CR1",
            group=label,
        )
    whitened = np.linalg.solve(R.T, s.T).T
    spread = np.einsum("gij,gi->gj", vectors, whitened) * left**power
    return np.einsum("gij,gj->gi", vectors, spread) @ R
