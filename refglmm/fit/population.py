r"""Means of the population: the random effects integrated out of the mean of a row, with its derivatives.

Place in the reading order: in ``fit``, after ``rows``, before ``predict``; ``effects`` builds on it. For a row
:math:`\eta = x'\beta + o` with random part :math:`z'b`, :math:`b \sim N(0, \Sigma)`, only the variance of the linear
form matters, however many random effects, terms and crossed factors stand in it (independent terms add up):

.. math:: m = h(\eta, s) = \int g^{-1}(\eta + s z)\,\phi(z)\,dz,\qquad s^2 = \sum_t z_t'\Sigma_t z_t

The integral is a sum over equidistant z, which converges exponentially for analytic integrands. The delta method needs
:math:`\partial h/\partial\eta` and

.. math:: \frac{\partial h}{\partial\,\mathrm{par}_k} = \frac1{2s} \int z\, (g^{-1})'(\eta + s z)\,\phi(z)\,dz\;
          \frac{\partial\, s^2}{\partial\,\mathrm{par}_k},

so that standard errors of integrated means count the uncertainty of the covariance parameters, wherever the fit has
a Hessian for them.

Source: Zeger, Liang and Albert (1988), "Models for longitudinal data: a generalized estimating equation approach"
(population averages); Trefethen and Weideman (2014), "The exponentially convergent trapezoidal rule".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.linalg import LinAlgError
from numpy.typing import NDArray

from refglmm.errors import NotAvailableError
from refglmm.fit.rows import Rows, own_rows, refuse_infinite
from refglmm.fit.varcorr import split_par
from refglmm.fit.vcov import free_parameters, invert_scaled
from refglmm.formula.frame import evaluate_new

if TYPE_CHECKING:
    from refglmm.families.links import Link
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

#: The integral over the random effects steps by h = min(STEP_Z, SPREAD_STEP / s) and reaches to REACH_Z + s. A logit
#: mean (whose poles are pi / s away) is off by exp(-2 pi^2 / (s h)), 4e-22, a cauchit mean by exp(-2 pi / (s h)), 2e-7.
STEP_Z, SPREAD_STEP, REACH_Z = 0.25, 0.4, 8.5
#: Numbers in one block of an integral (32 MB).
BLOCK = 4_000_000


class RowMean(NamedTuple):
    """The mean of a row as a function of its linear predictor, and its derivative."""

    value: Callable[[FloatArray], FloatArray]
    slope: Callable[[FloatArray], FloatArray]


def row_mean(fit: FittedModel) -> RowMean:
    """How the mean of this fit's response follows from the linear predictor: the inverse link."""
    return RowMean(fit.family.link.inverse, fit.family.link.mu_eta)


# --- functions of the linear predictor, integrated over z ~ N(0, 1) -----------------------------------------


def integrated(
    f: Callable[[FloatArray], FloatArray], eta: FloatArray, s: FloatArray, powers: Sequence[int] = (0,)
) -> list[FloatArray]:
    """Integrals of z^k f(eta + s z) phi(z) for each power k by the trapezoidal rule, each of the shape of ``eta``.

    Rows that agree in eta and s are computed once.
    """
    (eta, s), inverse = np.unique(np.stack([eta, s]), axis=1, return_inverse=True)
    widest = float(s.max(initial=0.0))
    h = min(STEP_Z, SPREAD_STEP / max(widest, 1e-300))
    z = h * np.arange(-np.ceil((REACH_Z + widest) / h), np.ceil((REACH_Z + widest) / h) + 1.0)
    weights = h / np.sqrt(2.0 * np.pi) * np.exp(-0.5 * z**2)[:, None] * z[:, None] ** np.asarray(powers)
    out, rows = np.empty((eta.size, len(powers))), max(1, BLOCK // z.size)
    for first in range(0, eta.size, rows):
        part = slice(first, first + rows)
        out[part] = f(eta[part, None] + s[part, None] * z) @ weights
    return list(out[inverse.ravel()].T)


def whole_line(link: Link) -> bool:
    """Whether every linear predictor gives a mean (a straight line does, even where the family wants it positive)."""
    return link.name == "identity" or bool(np.all(link.valid_eta(np.linspace(-50.0, 50.0, 5))))


def check_integrable(link: Link) -> None:
    """Refuse a link that does not give a mean for every linear predictor."""
    if not whole_line(link):
        raise NotAvailableError(
            f"random effects cannot be integrated out under the {link.name} link: eta + z'b leaves its domain with "
            "positive probability; take them at zero (re='zero', in predict re_form=False)",
            link=link.name,
        )


# --- the random part ----------------------------------------------------------------------------------------


def random_variance(fit: FittedModel, Z: Sequence[FloatArray]) -> FloatArray:
    """Variance z'Sigma z of the random part of each row, on the scale of the linear predictor."""
    total = np.zeros(len(Z[0]) if Z else 1)
    for label, values in zip(fit.varcorr, Z, strict=True):
        total += np.einsum("ij,jk,ik->i", values, fit.varcorr[label].cov, values)
    return total


def random_variance_gradient(fit: FittedModel, Z: Sequence[FloatArray]) -> FloatArray:
    """Derivatives of :func:`random_variance` in the covariance parameters, shape (m, n_par): 2 (T'z)'(dT'z)."""
    parts = []
    for structure, par, values in zip(fit.structures, split_par(fit), Z, strict=True):
        T, dT = structure.factor(par), structure.d_factor(par)
        parts.append(2.0 * np.einsum("ij,pij->ip", values @ T, np.einsum("ij,pjk->pik", values, dT)))
    return np.concatenate(parts, axis=1) if parts else np.empty((1, 0))


def spread_gradient(fit: FittedModel, Z: Sequence[FloatArray], s: FloatArray) -> FloatArray:
    """Derivatives of s = sqrt(z'Sigma z) in the covariance parameters; 0 where s is 0."""
    twice = np.where(s > 0.0, 2.0 * s, np.inf)
    return random_variance_gradient(fit, Z) / twice[:, None]


# --- uncertainty --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Parameters:
    """Covariance of (par, beta) for the delta method.

    Attributes
    ----------
    covariance : float array, shape (n_par + p, n_par + p)
        Zero for parameters held fixed.
    note : str
        What is held fixed, if anything.
    """

    covariance: FloatArray
    note: str


def parameter_covariance(fit: FittedModel) -> Parameters:
    """2 H^-1 over (par, beta) where the fit has a usable Hessian; else that of beta alone, par held fixed."""
    n_par, p = len(fit.optimum.par), len(fit.optimum.beta)
    joint = np.zeros((n_par + p, n_par + p))
    if fit.covariance.kind == "hessian":
        keep = np.flatnonzero(free_parameters(fit))
        try:
            inverse = 2.0 * invert_scaled(np.asarray(fit.optimum.hessian)[np.ix_(keep, keep)])
        except LinAlgError:  # fit.covariance has used it: it cannot fail here
            raise AssertionError("the Hessian was positive definite before") from None
        inside = keep < n_par + p
        joint[np.ix_(keep[inside], keep[inside])] = inverse[np.ix_(inside, inside)]
        return Parameters(joint, fit.covariance.note)
    joint[n_par:, n_par:] = fit.covariance.matrix
    # The mean of a linear mixed model does not depend on the covariance parameters.
    held = "" if fit.is_lmm else "standard errors hold the covariance parameters at their estimates"
    return Parameters(joint, held)


def delta_se(jacobian: FloatArray, covariance: FloatArray) -> FloatArray:
    """Standard errors sqrt(diag(J C J'))."""
    return np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", jacobian, covariance, jacobian), 0.0))


def in_parameters(fit: FittedModel, factor: FloatArray, L: FloatArray, in_par: FloatArray | None = None) -> FloatArray:
    """Derivatives in (par, beta) of rows that depend on beta through ``factor`` times L beta."""
    in_par = np.zeros((len(L), len(fit.optimum.par))) if in_par is None else in_par
    return np.concatenate([in_par, factor[:, None] * L], axis=1)


# --- the mean of the population -----------------------------------------------------------------------------


def population_mean(
    fit: FittedModel, L: FloatArray, offset: FloatArray, Z: Sequence[FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Mean of the response of each row over the random effects, and its derivatives in (par, beta).

    Parameters
    ----------
    L : float array, shape (m, p)
        Coefficients of beta.
    offset : float array, shape (m,)
    Z : sequence of float arrays, shape (m, k_t)
        Coefficients of the random effects of each term.

    Returns
    -------
    float arrays, shapes (m,) and (m, n_par + p)

    Raises
    ------
    NotAvailableError
        A link whose domain the random effects leave.
    """
    mean, eta = row_mean(fit), L @ fit.beta + offset
    if fit.family.link.name == "identity":
        return mean.value(eta), in_parameters(fit, mean.slope(eta), L)
    check_integrable(fit.family.link)
    s = np.broadcast_to(np.sqrt(random_variance(fit, Z)), eta.shape)
    (value,) = integrated(mean.value, eta, s)
    slope, spread_slope = integrated(mean.slope, eta, s, (0, 1))
    return value, in_parameters(fit, slope, L, spread_gradient(fit, Z, s) * spread_slope[:, None])


def population_rows(fit: FittedModel, newdata: Any = None, offset: Any = None) -> Rows:
    """Rows of the fit, or of new data whose groups do not matter (and need not be there)."""
    if newdata is None:
        return own_rows(fit.design)
    table, scope = evaluate_new(fit.frame, newdata)
    X, total = fit.design.fixed_matrix(newdata), fit.design.offset_values(newdata, offset)
    Z = tuple(term.matrix.build(scope.column, len(table)) for term in fit.design.terms)
    names = [(fit.design.names, X), (("the offset",), total[:, None])]
    for columns, values in [*names, *((term.columns, z) for term, z in zip(fit.design.terms, Z, strict=True))]:
        refuse_infinite(columns, values, table.index)
    nobody = tuple(np.full(len(table), -1) for _ in Z)
    return Rows(table.index, X, total, Z, nobody)
