r"""From linear functions of the parameters to means of the response, with the random effects zero or integrated out.

Place in the reading order: in ``effects``, after ``derivatives``. For a row :math:`\eta = \ell'\beta + o` with random
part :math:`z'b`, :math:`b \sim N(0, \Sigma)`:

==============  =====================================================================================
``zero``        :math:`m = g^{-1}(\eta)`
``integrate``   :math:`m = h(\eta, s) = \int g^{-1}(\eta + s z)\,\phi(z)\,dz,\quad s^2 = z'\Sigma z`
==============  =====================================================================================

The integral is a sum over equidistant z, which converges exponentially for analytic integrands. The delta method needs
:math:`\partial h/\partial\eta` and

.. math:: \frac{\partial h}{\partial\,\mathrm{par}_k} = \frac1{2s} \int z\, (g^{-1})'(\eta + s z)\,\phi(z)\,dz\;
          \frac{\partial\, z'\Sigma z}{\partial\,\mathrm{par}_k},

so that standard errors of integrated means count the uncertainty of the covariance parameters, wherever the fit has
a Hessian for them. Intervals are made on the scale of the link, :math:`g(m) \pm c\,\mathrm{se}(m)\,g'(m)`, and carried
back by :math:`g^{-1}`: they never leave the range of the mean.

Source: Zeger, Liang and Albert (1988), "Models for longitudinal data: a generalized estimating equation approach"
(population averages); Trefethen and Weideman (2014), "The exponentially convergent trapezoidal rule"; the delta method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.linalg import LinAlgError
from numpy.typing import NDArray

from refglmm.effects.derivatives import STENCIL, STEP
from refglmm.effects.grid import Rows
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.fit.parts import refuse_several
from refglmm.fit.varcorr import split_par
from refglmm.fit.vcov import free_parameters, invert_scaled

if TYPE_CHECKING:
    from refglmm.families.links import Link
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

#: The integral over the random effects steps by h = min(STEP_Z, SPREAD_STEP / s) and reaches to REACH_Z + s. A logit
#: mean (whose poles are pi / s away) is off by exp(-2 pi^2 / (s h)), 4e-22, a cauchit mean by exp(-2 pi / (s h)), 2e-7.
STEP_Z, SPREAD_STEP, REACH_Z = 0.25, 0.4, 8.5
#: Numbers in one block of an integral (32 MB).
BLOCK = 4_000_000
#: Slopes of the linear predictor below this do not lengthen the step any more.
SMALLEST_SLOPE = 1e-8
#: What a table says of each link's scale.
LINK_SCALES = {"logit": "log-odds", "log": "log", "identity": "response"}


def scale_name(link: Link) -> str:
    """Name of the linear predictor's scale."""
    return LINK_SCALES.get(link.name, link.name)


def check_type(type: str) -> None:
    """Refuse a scale that does not exist."""
    if type not in ("link", "response"):
        raise ArgumentError(f"type must be 'link' or 'response', not {type!r}", type=type)


def check_level(level: Any, argument: str = "level") -> float:
    """Refuse a probability outside (0, 1)."""
    number = isinstance(level, int | float | np.integer | np.floating) and not isinstance(level, bool)
    if not number or not 0.0 < level < 1.0:
        raise ArgumentError(f"{argument} must lie between 0 and 1, not {level!r}", level=level)
    return float(level)


# --- the inverse link and its derivatives, integrated over z ~ N(0, 1) --------------------------------------


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
            "positive probability; use re='zero'",
            link=link.name,
        )


# --- the random part ----------------------------------------------------------------------------------------


def random_variance(fit: FittedModel, rows: Rows) -> FloatArray:
    """Variance z'Sigma z of the random part of each row, on the scale of the linear predictor."""
    total = np.zeros(len(rows.offset))
    for label, Z in zip(fit.varcorr, rows.Z, strict=True):
        total += np.einsum("ij,jk,ik->i", Z, fit.varcorr[label].cov, Z)
    return total


def random_variance_gradient(fit: FittedModel, rows: Rows) -> FloatArray:
    """Derivatives of :func:`random_variance` in the covariance parameters, shape (m, n_par): 2 (T'z)'(dT'z)."""
    parts = []
    for structure, par, Z in zip(fit.structures, split_par(fit), rows.Z, strict=True):
        T, dT = structure.factor(par), structure.d_factor(par)
        parts.append(2.0 * np.einsum("ij,pij->ip", Z @ T, np.einsum("ij,pjk->pik", Z, dT)))
    return np.concatenate(parts, axis=1) if parts else np.empty((len(rows.offset), 0))


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


# --- means of rows ------------------------------------------------------------------------------------------


def linear_predictor(fit: FittedModel, rows: Rows) -> FloatArray:
    """L beta + offset."""
    return rows.L @ fit.beta + rows.offset


def means(fit: FittedModel, rows: Rows, re: str) -> tuple[FloatArray, FloatArray]:
    """Mean of the response at each row, and its derivatives in (par, beta).

    Returns
    -------
    float arrays, shapes (m,) and (m, n_par + p)
    """
    link = fit.family.link
    eta = linear_predictor(fit, rows)
    if re == "zero" or link.name == "identity":
        return link.inverse(eta), _jacobian(fit, link.mu_eta(eta), rows.L)
    refuse_several(fit, "the mean over the random effects", "fit.predict(type=...) has the mean of each row")
    check_integrable(link)
    s = np.sqrt(random_variance(fit, rows))
    (value,) = integrated(link.inverse, eta, s)
    slope, spread_slope = integrated(link.mu_eta, eta, s, (0, 1))
    in_par = spread_gradient(fit, rows, s) * spread_slope[:, None]
    return value, _jacobian(fit, slope, rows.L, in_par)


def slopes(fit: FittedModel, rows: Rows, along: Rows, re: str) -> tuple[FloatArray, FloatArray]:
    """Derivative of the mean of each row along a direction, and its derivatives in (par, beta).

    The direction is exact; what the link makes of it is taken by a difference of order eight, whose step moves the
    linear predictor by a hundredth (less near an edge of the link's domain): relative error near 1e-13.

    Parameters
    ----------
    along : Rows
        Derivatives of L, offset and Z in a variable. With random slopes an integrated mean changes with z too.

    Returns
    -------
    float arrays, shapes (m,) and (m, n_par + p)
    """
    link = fit.family.link
    eta, d_eta = linear_predictor(fit, rows), along.L @ fit.beta + along.offset
    reach = STEP * (1.0 if whole_line(link) else np.minimum(1.0, np.abs(eta)))
    step = reach / np.maximum(np.abs(d_eta) + np.sqrt(random_variance(fit, along)), SMALLEST_SLOPE)
    total: Any = 0.0
    jacobian: Any = 0.0
    for k, c in enumerate(STENCIL, 1):
        after, after_gradient = means(fit, rows.moved(along, k * step), re)
        before, before_gradient = means(fit, rows.moved(along, -k * step), re)
        total = total + c * (after - before) / step
        jacobian = jacobian + c * (after_gradient - before_gradient) / step[:, None]
    return total, jacobian


def spread_gradient(fit: FittedModel, rows: Rows, s: FloatArray) -> FloatArray:
    """Derivatives of s = sqrt(z'Sigma z) in the covariance parameters; 0 where s is 0."""
    twice = np.where(s > 0.0, 2.0 * s, np.inf)
    return random_variance_gradient(fit, rows) / twice[:, None]


def _jacobian(fit: FittedModel, factor: FloatArray, L: FloatArray, in_par: FloatArray | None = None) -> FloatArray:
    in_par = np.zeros((len(L), len(fit.optimum.par))) if in_par is None else in_par
    return np.concatenate([in_par, factor[:, None] * L], axis=1)


# --- intervals ----------------------------------------------------------------------------------------------


def delta_se(jacobian: FloatArray, covariance: FloatArray) -> FloatArray:
    """Standard errors sqrt(diag(J C J'))."""
    return np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", jacobian, covariance, jacobian), 0.0))


def back_transformed(
    link: Link, eta: FloatArray, lower: FloatArray, upper: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Interval for the mean from one for the linear predictor.

    Where the link is defined on one side of zero only, the interval ends there: at mean 0 (sqrt) or infinity
    (inverse, 1/mu^2).
    """
    if link.name in ("inverse", "sqrt", "1/mu^2"):
        positive = eta > 0.0
        lower = np.where(positive, np.maximum(lower, 0.0), lower)
        upper = np.where(positive, upper, np.minimum(upper, -0.0))
    ends = np.stack([link.inverse(lower), link.inverse(upper)])
    return ends.min(axis=0), ends.max(axis=0)


def mean_interval(link: Link, m: FloatArray, se: FloatArray, critical: Any) -> tuple[FloatArray, FloatArray]:
    """Interval for a mean, made on the scale of the link: g(m) +- c se / mu'(g(m)), carried back."""
    with np.errstate(all="ignore"):
        eta = link.link(m)
        half = critical * se / np.abs(link.mu_eta(eta))
    return back_transformed(link, eta, eta - half, eta + half)


def critical_values(level: float, df: FloatArray) -> FloatArray:
    """Two-sided quantile of t (normal for infinite df) of each row."""
    from scipy.stats import t

    return np.asarray(t.ppf(0.5 + 0.5 * level, df), dtype=float)
