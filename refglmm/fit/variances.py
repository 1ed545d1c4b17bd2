r"""Variance of a linear predictor, without the joint covariance matrix of all effects.

Place in the reading order: in ``fit``, after ``rows``, before ``predict``. With the covariance of (beta, b) given theta
of ``vcov``, a row (x, z) and a = Lambda'z,

.. math:: \operatorname{Var}(x'\hat\beta + z'\tilde b - z'b) =
          s^2 \{ (x - K'a)'\, V\, (x - K'a) + a' H^{-1} a \}, \qquad K = H^{-1}\Lambda'Z'WX,\; V = (R_X'R_X)^{-1}

The first part is what the estimation of beta adds: :math:`x - K'a = d\hat\eta/d\beta` at the moving mode. Estimation of
all of :math:`\psi` = (theta, beta, log phi) adds, by the delta method,

.. math:: J\,\operatorname{Cov}(\hat\psi)\,J', \qquad J = d\hat\eta/d\psi = (0, x', 0) + z'\,db/d\psi

in its place. The second part needs only the blocks of H^-1 that belong to the levels of the row: those within a term,
and those of pairs of levels that met in the data, come from the selected inverse, other pairs from solves. A level that
the fit did not have adds :math:`z'\Sigma z`: its effect is a new draw, independent of all the rest.

Sources: Bates et al. (2015), equations 54 to 60; Kackar and Harville (1984) for the uncertainty of theta in a linear
mixed model; Kass and Steffey (1989) in general.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.linalg import LinAlgError
from numpy.typing import NDArray

from refglmm.errors import NotAvailableError
from refglmm.fit.parameters import fit_parameters
from refglmm.fit.ranef import inverse_blocks, posterior_scale, term_starts
from refglmm.fit.varcorr import term_factors
from refglmm.fit.vcov import free_parameters, invert_scaled, rx_covariance

if TYPE_CHECKING:
    from refglmm.fit.rows import Rows
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]
#: Numbers in one block of rows of intermediate results (32 MB).
BLOCK = 4_000_000


@dataclass(frozen=True)
class Estimated:
    """What estimated parameters move and how uncertain they are.

    Attributes
    ----------
    slopes : float array, shape (q, number of parameters)
        db/dpsi, the random effects following their mode.
    covariance : float array, shape (number of parameters, number of parameters)
    beta : slice
        Where beta stands among the parameters.
    """

    slopes: FloatArray
    covariance: FloatArray
    beta: slice


def linear_predictor_variance(
    fit: FittedModel, rows: Rows, *, unconditional: bool = False, in_shape: FloatArray | None = None
) -> FloatArray:
    """Variance of the linear predictor of each row, shape (m,).

    Parameters
    ----------
    rows : Rows
        Columns of Z that take no part are zero; a code of -1 is a level that the fit did not have. Zero X leaves the
        random part alone.
    unconditional : bool
        Add the uncertainty of the covariance (and shape) parameters; without it they are taken as known.
    in_shape : float array, shape (m, n_phi), optional
        What the row has of the shape parameters besides, on their working scale; for ``unconditional``.
    """
    z, codes = known_levels(rows)
    estimated = all_parameters(fit) if unconditional else fixed_effects(fit)
    in_shape = np.zeros((len(rows.X), 0)) if in_shape is None else in_shape
    return _estimation_share(fit, rows.X, z, codes, estimated, in_shape) + random_variance(fit, rows)


def known_levels(rows: Rows) -> tuple[list[FloatArray], list[NDArray[Any]]]:
    """Columns of Z and levels, those that the fit did not have with zeros in Z (NaN stays NaN)."""
    z = [np.where(codes[:, None] < 0, 0.0 * Z, Z) for Z, codes in zip(rows.Z, rows.codes, strict=True)]
    return z, [np.maximum(level, 0) for level in rows.codes]


def random_variance(fit: FittedModel, rows: Rows) -> FloatArray:
    """Variance of each row's random part about its mode if all parameters were known."""
    z, codes = known_levels(rows)
    a = [values @ T for values, T in zip(z, term_factors(fit), strict=True)]
    return posterior_scale(fit) * _random_share(fit, len(rows.X), a, codes) + _new_level_variance(fit, rows)


# --- what estimation adds ------------------------------------------------------------------------------------


def fixed_effects(fit: FittedModel) -> Estimated:
    """beta alone, the covariance parameters taken as known: db/dbeta = -Lambda K, covariance s^2 V."""
    mode = fit.conditional
    slopes = -_lambda_times(fit, mode.factor.solve_Lt(np.array(mode.rzx)))
    return Estimated(slopes, rx_covariance(fit), slice(0, slopes.shape[1]))


def _lambda_times(fit: FittedModel, u: FloatArray) -> FloatArray:
    """Lambda times the columns of u."""
    starts, out = term_starts(fit), np.empty_like(u)
    for T, i, j in zip(term_factors(fit), starts, starts[1:], strict=False):
        by_level = u[i:j].reshape((j - i) // len(T), len(T), u.shape[1])
        out[i:j] = (T @ by_level).reshape(j - i, u.shape[1])
    return out


def all_parameters(fit: FittedModel) -> Estimated:
    """psi = (theta, beta, log phi), those on their boundary held fixed.

    Raises
    ------
    NotAvailableError
        The fit has no Hessian, or none that is positive definite.
    """
    if fit.optimum.hessian is None or fit.n_agq == 0 or fit.mode_name == "lme4":
        raise NotAvailableError(
            "the uncertainty of the covariance parameters needs their Hessian (exact mode, n_agq >= 1); use se=True"
        )
    keep = np.flatnonzero(free_parameters(fit))
    covariance = np.zeros_like(fit.optimum.hessian)
    try:
        covariance[np.ix_(keep, keep)] = 2.0 * invert_scaled(fit.optimum.hessian[np.ix_(keep, keep)])
    except LinAlgError:
        raise NotAvailableError("the Hessian of this fit is not positive definite; use se=True") from None
    n_par, slopes = len(fit.optimum.par), _mode_slopes(fit)
    if not fit.is_lmm:
        return Estimated(slopes, covariance, slice(n_par, n_par + len(fit.optimum.beta)))
    return _with_profiled_beta(fit, slopes[:, :n_par], covariance)


def _mode_slopes(fit: FittedModel) -> FloatArray:
    """db/dpsi = Lambda du/dpsi + (dLambda/dpsi) u at the estimates, shape (q, number of parameters)."""
    from refglmm.likelihood import layout as kernels
    from refglmm.likelihood.laplace import LaplaceObjective
    from refglmm.likelihood.pirls import Pirls

    problem, layout = fit.problem, fit.problem.layout
    phi = np.ones(problem.n_phi) if fit.is_lmm else np.array(fit.optimum.phi)  # u is relative to sigma in the former
    psi = problem.join(np.array(fit.optimum.par), np.array(fit.optimum.beta), phi)
    objective = LaplaceObjective(Pirls(problem, fit.settings["control"].engine))
    objective.resume((np.array(fit.conditional.u),))
    objective.value(psi)
    slopes, moved = _lambda_times(fit, objective.mode_slope(psi)), np.empty(problem.q)
    for k, d_T in enumerate(problem.factor_derivatives(np.array(fit.optimum.par))):
        kernels.lambda_times(d_T, layout.T_start, layout.k, layout.levels, objective.u, moved)
        slopes[:, k] += moved
    return slopes


def _with_profiled_beta(fit: FittedModel, theta_slopes: FloatArray, theta_covariance: FloatArray) -> Estimated:
    r"""(theta, beta) of a linear mixed model, whose beta is a function of theta plus an independent error.

    .. math:: B = d\hat\beta/d\theta = -V X'W\, Z\, db/d\theta, \qquad \operatorname{Cov}(\hat\beta) = s^2 V + B
              \operatorname{Cov}(\hat\theta) B'
    """
    beta, design = fixed_effects(fit), fit.design
    Zb = design.Zt().T @ theta_slopes
    V = beta.covariance / posterior_scale(fit)
    B = -V @ (design.X.T @ (fit.frame.weights[:, None] * Zb))
    cross = B @ theta_covariance
    covariance = np.block([[theta_covariance, cross.T], [cross, beta.covariance + cross @ B.T]])
    n_par = theta_slopes.shape[1]
    return Estimated(np.hstack([theta_slopes, beta.slopes]), covariance, slice(n_par, n_par + len(V)))


def _estimation_share(
    fit: FittedModel,
    X: FloatArray,
    z: list[FloatArray],
    codes: list[NDArray[Any]],
    estimated: Estimated,
    in_shape: FloatArray,
) -> FloatArray:
    """J Cov J' of each row."""
    n, out = estimated.covariance.shape[0], np.empty(len(X))
    step = max(1, BLOCK // (max(n, 1) * max([1, *(values.shape[1] for values in z)])))
    for first in range(0, len(X), step):
        here = slice(first, first + step)
        J = predictor_slopes(fit, X[here], [v[here] for v in z], [level[here] for level in codes], estimated)
        J[:, n - in_shape.shape[1] :] += in_shape[here]
        out[here] = np.einsum("ip,pr,ir->i", J, estimated.covariance, J, optimize=True)
    return out


def predictor_slopes(
    fit: FittedModel, X: FloatArray, z: list[FloatArray], codes: list[NDArray[Any]], estimated: Estimated
) -> FloatArray:
    """J = (0, x', 0) + z' db/dpsi of each row, shape (m, number of parameters)."""
    starts, J = term_starts(fit), np.zeros((len(X), estimated.covariance.shape[0]))
    J[:, estimated.beta] = X
    for values, level, i, j in zip(z, codes, starts, starts[1:], strict=False):
        k = values.shape[1]
        J += np.einsum("ik,ikp->ip", values, estimated.slopes[i:j].reshape((j - i) // k, k, -1)[level])
    return J


# --- what would be left if all parameters were known ---------------------------------------------------------


def _random_share(fit: FittedModel, m: int, a: list[FloatArray], codes: list[NDArray[Any]]) -> FloatArray:
    """a' H^-1 a of each row, from the blocks of H^-1 at its levels."""
    out = np.zeros(m)
    active = [t for t, values in enumerate(a) if np.any(values != 0.0)]  # missing values are not zero
    if not active:
        return out
    starts, factor = term_starts(fit), fit.conditional.factor
    inverse = factor.selected_inverse()
    for position, t in enumerate(active):
        term = fit.design.terms[t]
        blocks = inverse_blocks(np.asarray(factor.indptr), inverse, starts[t], term.n_levels, term.k)
        out += np.einsum("ic,icd,id->i", a[t], blocks[codes[t]], a[t])
        for s in active[:position]:
            blocks, number = cross_blocks(fit, t, s, codes[t], codes[s])
            out += 2.0 * np.einsum("ic,icd,id->i", a[t], blocks[number], a[s])
    return out


def cross_blocks(
    fit: FittedModel, t: int, s: int, codes_t: NDArray[Any], codes_s: NDArray[Any]
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Blocks of H^-1 between the levels of two terms, t after s.

    Returns
    -------
    blocks : float array, shape (distinct pairs of levels, k_t, k_s)
    number : int array, shape (m,)
        Which of them each row needs.
    """
    terms, layout = fit.design.terms, fit.problem.layout
    size = terms[s].n_levels
    keys, number = np.unique(codes_t.astype(np.int64) * size + codes_s, return_inverse=True)
    met = np.unique(terms[t].codes.astype(np.int64) * size + terms[s].codes)
    place = np.minimum(np.searchsorted(met, keys), met.size - 1)
    known = met[place] == keys
    blocks = np.empty((keys.size, terms[t].k, terms[s].k))
    blocks[known] = fit.conditional.factor.selected_inverse()[layout.level_blocks[t][s][place[known]]]
    if not known.all():
        levels_t, levels_s = np.divmod(keys[~known], size)
        blocks[~known] = _solved_blocks(fit, t, s, levels_t, levels_s)
    return blocks, number


def _solved_blocks(
    fit: FittedModel, t: int, s: int, levels_t: NDArray[np.int64], levels_s: NDArray[np.int64]
) -> FloatArray:
    """Blocks of H^-1 that lie outside its pattern, by solving for the unit vectors of whichever side has fewer."""
    if np.unique(levels_s).size < np.unique(levels_t).size:
        return _solved_blocks(fit, s, t, levels_s, levels_t).transpose(0, 2, 1)
    starts, terms, factor = term_starts(fit), fit.design.terms, fit.conditional.factor
    k, q = terms[t].k, starts[-1]
    distinct, which = np.unique(levels_t, return_inverse=True)
    columns = starts[s] + levels_s[:, None] * terms[s].k + np.arange(terms[s].k)
    out = np.empty((levels_t.size, k, terms[s].k))
    step = max(1, BLOCK // (q * k))
    for first in range(0, distinct.size, step):
        chosen = distinct[first : first + step]
        units = np.zeros((chosen.size * k, q))
        units[np.arange(units.shape[0]), (starts[t] + chosen[:, None] * k + np.arange(k)).ravel()] = 1.0
        solved = factor.solve_rows(units).reshape(chosen.size, k, q)
        here = np.flatnonzero((which >= first) & (which < first + step))
        out[here] = solved[(which[here] - first)[:, None, None], np.arange(k)[None, :, None], columns[here][:, None, :]]
    return out


def _new_level_variance(fit: FittedModel, rows: Rows) -> FloatArray:
    """z' Sigma z of the terms whose level the fit did not have."""
    out = np.zeros(len(rows.X))
    for Z, codes, T in zip(rows.Z, rows.codes, fit_parameters(fit).factors, strict=True):
        out += np.where(codes < 0, np.sum((Z @ T) ** 2, axis=1), 0.0)
    return out
