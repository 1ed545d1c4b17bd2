r"""Marginal coefficients: what the fixed effects would be if they described the mean of the population.

Place in the reading order: in ``effects``, after ``marginal``. The fixed effects of a model with a curved link compare
rows of the *same* group. Hedeker et al. (2018) find coefficients that compare means of the population in three steps:
the mean of each row with the random effects integrated out (:mod:`refglmm.fit.population`), its link, and a
regression of that on X,

.. math:: m_i = \int g^{-1}(o_i + x_i'\beta + s_i z)\,\phi(z)\,dz,\qquad
          \beta_m = (X'X)^{-1} X' \{g(m) - o\}

over the rows used. m is the expected response also where that is not the inverse link (truncated laws), and
:math:`(1 - \pi)` times the mean of the law with a zero part, an integral over the random effects of both predictors;
the regression is on the X of the first. The covariance matrix is that of the delta method,

.. math:: J C J',\quad J = (X'X)^{-1} X'\,\mathrm{diag}\{g'(m_i)\}\,\frac{\partial m}{\partial(\mathrm{par},\beta,\phi)}

with C the covariance of (par, beta, phi): by the Hessian, or by a sandwich. No simulation takes part. With the identity
link the result is beta; with a log link and a random intercept the intercept moves by half the variance and the other
coefficients stay.

Source: Hedeker, du Toit, Demirtas and Gibbons (2018), "A note on marginalization of regression parameters from mixed
models of binary outcomes".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.effects import tables
from refglmm.effects.scales import check_level
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.families.links import LINKS, Link, get_link
from refglmm.fit.parts import MAIN, part_columns, several
from refglmm.fit.population import parameter_covariance, population_mean, population_rows
from refglmm.inference.parameters import percent_names
from refglmm.inference.sandwich import sandwich_for

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class MarginalCoefficients(tables.Tabled):
    """Marginal coefficients of a fit.

    Attributes
    ----------
    fit : FittedModel
    link : str
        Whose scale they are on.
    jacobian : float array, shape (p, d)
        Their derivatives in (par, beta, phi), beta of all predictors, phi on its working scale.
    means : Series
        Mean of the population at each row used.
    notes : tuple of str
    table : DataFrame
        Estimate and, with standard errors, SE, z, p; a row for each coefficient.
    """

    fit: FittedModel
    link: str
    jacobian: FloatArray
    means: pd.Series
    notes: tuple[str, ...]
    _table: pd.DataFrame
    _covariance: FloatArray | None

    @property
    def estimates(self) -> pd.Series:
        """The coefficients by name."""
        return self._table["Estimate"].rename("marginal").copy()

    @property
    def vcov(self) -> pd.DataFrame:
        """Their covariance matrix."""
        names = list(self._table.index)
        return pd.DataFrame(self._known_covariance().copy(), index=names, columns=names)

    def confint(self, level: float = 0.95) -> pd.DataFrame:
        """Wald intervals, columns "2.5 %" and "97.5 %" (for level 0.95)."""
        from scipy.special import ndtri

        self._known_covariance()
        reach = float(ndtri(0.5 + 0.5 * check_level(level))) * self._table["SE"]
        estimate, (low, high) = self._table["Estimate"], percent_names(float(level))
        return pd.DataFrame({low: estimate - reach, high: estimate + reach})

    def _known_covariance(self) -> FloatArray:
        if self._covariance is None:
            raise NotAvailableError("made without standard errors; use marginal_coefs(std_errors=True)")
        return self._covariance

    def _shown(self) -> pd.DataFrame:
        shown = self._table.rename(columns={"Estimate": "estimate"})
        return shown.rename_axis("coefficient").reset_index()

    def _title(self) -> tuple[str, ...]:
        return (f"Marginal coefficients ({self.fit.family.name} model, {self.link} scale)",)

    def __str__(self) -> str:
        return tables.text(self._title(), self._shown(), self.notes)

    def _repr_html_(self) -> str:
        return tables.html(self._title(), self._shown(), self.notes)


def marginal_coefs(
    fit: FittedModel, *, std_errors: bool = True, link: str | Link | None = None, sandwich: bool | str = False
) -> MarginalCoefficients:
    """Coefficients that describe the mean of the population.

    Parameters
    ----------
    fit : FittedModel
    std_errors : bool
        By the delta method, exact; no simulation takes part.
    link : str or Link, optional
        Scale that the means are carried to; by default that of the fit. The offset is taken off only there: it has no
        meaning on another scale.
    sandwich : bool or str
        True or a kind of :func:`refglmm.inference.sandwich.sandwich` ("CR0" to "CR3"): robust standard errors.

    Returns
    -------
    MarginalCoefficients

    Raises
    ------
    NotAvailableError
        A link whose domain the random effects leave; a fit that has no sandwich.
    ArgumentError
        An unknown link; a mean outside the domain of ``link``.
    """
    if not isinstance(std_errors, bool):
        raise ArgumentError(f"std_errors must be True or False, not {std_errors!r}")
    scale = _scale(fit, link)
    rows = population_rows(fit)
    used = np.asarray(fit.frame.weights) > 0
    everything, offsets, Z = rows.X[..., used, :], rows.offset[..., used], [Z[used] for Z in rows.Z]
    value, jacobian = population_mean(fit, everything, offsets, Z, rows.owners)
    main, names = part_columns(fit, MAIN)
    X, offset = (everything[0][:, main], offsets[0]) if several(fit) else (everything, offsets)
    with np.errstate(all="ignore"):
        eta = np.asarray(scale.link(value))
        slope = 1.0 / np.asarray(scale.mu_eta(eta))
    _refuse_outside(fit, scale, value, eta, slope, used)
    own = scale.name == fit.family.link.name
    Q, R = np.linalg.qr(X)
    estimate = np.linalg.solve(R, Q.T @ (eta - offset if own else eta))
    J = np.linalg.solve(R, Q.T @ (slope[:, None] * jacobian))
    covariance, note = _covariance(fit, J, sandwich) if std_errors else (None, "")
    notes = [f"random effects integrated out; averaged over {int(used.sum())} rows", note]
    if not own and fit.frame.has_offset:
        notes.append(f"the offset is part of the means: it has no place on the {scale.name} scale")
    means = pd.Series(value, index=rows.index[used], name="mean")
    table = _table(names, estimate, covariance)
    J.setflags(write=False)
    return MarginalCoefficients(fit, scale.name, J, means, tuple(n for n in notes if n), table, covariance)


def _scale(fit: FittedModel, link: str | Link | None) -> Link:
    if link is None or isinstance(link, Link):
        return link or fit.family.link
    if link not in LINKS:
        raise ArgumentError(f"unknown link {link!r}; there are {', '.join(LINKS)}", link=link)
    return get_link(link)


def _refuse_outside(
    fit: FittedModel,
    scale: Link,
    value: FloatArray,
    eta: FloatArray,
    slope: FloatArray,
    used: NDArray[np.bool_],
) -> None:
    """An error naming the first row whose mean has no place on the scale."""
    bad = np.flatnonzero(~(np.isfinite(eta) & np.isfinite(slope)))
    if bad.size:
        row, m = fit.frame.index[used][bad[0]], float(value[bad[0]])
        raise ArgumentError(
            f"the mean of row {row!r}, {m:.6g}, has no finite value on the {scale.name} scale; choose another link=",
            row=row,
            link=scale.name,
        )


def _covariance(fit: FittedModel, J: FloatArray, sandwich: bool | str) -> tuple[FloatArray, str]:
    """J C J', and what the reader must know about C."""
    if sandwich is False:
        parameters = parameter_covariance(fit)
        return J @ parameters.covariance @ J.T, parameters.note
    robust = sandwich_for(fit, sandwich)
    C = robust.on_fit_scale()
    return J @ C @ J.T, robust.note


def _table(names: list[str], estimate: FloatArray, covariance: FloatArray | None) -> pd.DataFrame:
    from scipy.special import ndtr

    frame = pd.DataFrame({"Estimate": estimate}, index=names)
    if covariance is None:
        return frame
    covariance.setflags(write=False)
    se = np.sqrt(np.diag(covariance))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = estimate / se
    return frame.assign(SE=se, z=z, p=2.0 * ndtr(-np.abs(z)))
