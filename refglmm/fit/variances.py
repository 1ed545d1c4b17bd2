r"""Variance of a linear predictor, without the joint covariance matrix of all effects.

Place in the reading order: in ``fit``, after ``rows``, before ``predict``. With the covariance of (beta, b) given theta
of ``vcov``, a row (x, z) and a = Lambda'z,

.. math:: \operatorname{Var}(x'\hat\beta + z'\tilde b - z'b) =
          s^2 \{ (x - K'a)'\, V\, (x - K'a) + a' H^{-1} a \}, \qquad K = H^{-1}\Lambda'Z'WX,\; V = (R_X'R_X)^{-1}

The first part needs K (q x p); the second only the blocks of H^-1 that belong to the levels of the row: those within
a term, and those of pairs of levels that met in the data, come from the selected inverse, other pairs from solves. A
level that the fit did not have adds :math:`z'\Sigma z`: its effect is a new draw, independent of all the rest.

Source: Bates et al. (2015), equations 54 to 60; Searle, Casella and McCulloch, *Variance components*, chapter 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.linalg import inv
from numpy.typing import NDArray

from refglmm.fit.parameters import fit_parameters
from refglmm.fit.ranef import inverse_blocks, posterior_scale, term_starts
from refglmm.fit.varcorr import term_factors

if TYPE_CHECKING:
    from refglmm.fit.rows import Rows
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]
#: Numbers in one block of rows of intermediate results (32 MB).
BLOCK = 4_000_000


def linear_predictor_variance(fit: FittedModel, rows: Rows) -> FloatArray:
    """Variance of the linear predictor of each row, given the covariance parameters, shape (m,).

    Parameters
    ----------
    rows : Rows
        Columns of Z that take no part are zero; a code of -1 is a level that the fit did not have. Zero X leaves the
        random part alone.
    """
    factors = term_factors(fit)
    a = [_known(Z @ T, codes) for Z, T, codes in zip(rows.Z, factors, rows.codes, strict=True)]
    codes = [np.maximum(level, 0) for level in rows.codes]
    within = _fixed_share(fit, rows.X, a, codes) + _random_share(fit, len(rows.X), a, codes)
    return posterior_scale(fit) * within + _new_level_variance(fit, rows)


def _known(a: FloatArray, codes: NDArray[Any]) -> FloatArray:
    """Rows of a, zero (or NaN, where they are) at levels that the fit did not have."""
    return np.where(codes[:, None] < 0, 0.0 * a, a)


def _fixed_share(fit: FittedModel, X: FloatArray, a: list[FloatArray], codes: list[NDArray[Any]]) -> FloatArray:
    """(x - K'a)' V (x - K'a) of each row."""
    mode, p = fit.conditional, X.shape[1]
    if not p:
        return np.zeros(len(X))
    K = mode.factor.solve_Lt(np.array(mode.rzx))
    starts = term_starts(fit)
    by_level = [K[i:j].reshape(-1, term.k, p) for term, i, j in zip(fit.design.terms, starts, starts[1:], strict=False)]
    root, out = inv(mode.rx), np.empty(len(X))
    step = max(1, BLOCK // (p * max([1, *(term.k for term in fit.design.terms)])))
    for first in range(0, len(X), step):
        here = slice(first, first + step)
        r = X[here].copy()
        for at, level, K_t in zip(a, codes, by_level, strict=True):
            r -= np.einsum("ik,ikp->ip", at[here], K_t[level[here]])
        out[here] = np.sum((r @ root) ** 2, axis=1)
    return out


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
