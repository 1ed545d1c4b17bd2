r"""The pieces of a fit by the names that lme4's ``getME`` knows.

Place in the reading order: in ``fit``, after ``vcov``. Each function answers one name or one family of names;
:data:`PIECES` is the table of names. Indices count from 0. Everything returned is a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.fit import criteria
from refglmm.fit.arrays import detached
from refglmm.fit.residuals import conditional_family, residual_values
from refglmm.fit.varcorr import split_par, term_factors

if TYPE_CHECKING:
    from scipy import sparse

    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]


def term_keys(fit: FittedModel) -> list[str]:
    """Terms as lme4 writes them: "1 + Days | Subject"."""
    return [f"{term.term.expression} | {term.group}" for term in fit.design.terms]


def _by_term(fit: FittedModel, values: list[Any]) -> dict[str, Any]:
    return {term.label: value for term, value in zip(fit.design.terms, values, strict=True)}


def theta(fit: FittedModel) -> pd.Series:
    """Cholesky entries of all terms, named."""
    values: list[FloatArray] = []
    names: list[str] = []
    for term, structure, par in zip(fit.design.terms, fit.structures, split_par(fit), strict=True):
        values.append(np.asarray(structure.theta(par), dtype=float))
        names += structure.theta_names(term.label, term.columns)
    return pd.Series(np.concatenate(values) if values else np.empty(0), index=names, name="theta", dtype=float)


def par(fit: FittedModel) -> pd.Series:
    """Covariance parameters as optimised, named."""
    names = [
        name
        for term, structure in zip(fit.design.terms, fit.structures, strict=True)
        for name in structure.par_names(term.label, term.columns)
    ]
    return pd.Series(np.array(fit.optimum.par, dtype=float), index=names, name="par", dtype=float)


def lower(fit: FittedModel) -> pd.Series:
    """Lower bounds of par."""
    bounds = [np.asarray(structure.lower, dtype=float) for structure in fit.structures]
    return pd.Series(np.concatenate(bounds), index=par(fit).index, name="lower")


def Lambda(fit: FittedModel) -> sparse.csc_array:
    """Relative covariance factor, block diagonal; zeros inside the lower triangles are kept."""
    blocks = []
    for term, T in zip(fit.design.terms, term_factors(fit), strict=True):
        i, j = _stored(T, term.structure)
        blocks.append((len(term.levels), i, j, T[i, j], T.shape[0]))
    rows, cols, values, start = [], [], [], 0
    for levels, i, j, entries, k in blocks:
        first = start + k * np.arange(levels)[:, None]
        rows.append((first + i).ravel())
        cols.append((first + j).ravel())
        values.append(np.tile(entries, levels))
        start += levels * k
    coordinates = (np.concatenate(rows), np.concatenate(cols))
    from scipy import sparse

    return sparse.csc_array((np.concatenate(values), coordinates), shape=(start, start))


def _stored(T: FloatArray, structure: str) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions of T that its structure stores, column by column."""
    k = T.shape[0]
    if structure == "diag":
        return np.arange(k), np.arange(k)
    j, i = np.triu_indices(k)
    return i, j


def Lind(fit: FittedModel) -> NDArray[np.int64]:
    """For each stored entry of Lambda' (by columns), the element of theta that stands there.

    Found by evaluating T and theta at a generic point, where all entries of theta differ.
    """
    pieces, start = [], 0
    for term, structure in zip(fit.design.terms, fit.structures, strict=True):
        generic = _generic_point(structure)
        values, T = np.asarray(structure.theta(generic)), structure.factor(generic)
        i, j = _stored(T, term.structure)
        order = np.lexsort((j, i))  # columns of Lambda' are rows of Lambda
        index = np.abs(T[i, j][order][:, None] - values[None, :]).argmin(axis=1)
        pieces.append(start + np.tile(index, len(term.levels)))
        start += values.size
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int64)


def _generic_point(structure: Any) -> FloatArray:
    """Interior par with distinct entries: distinct positive standard deviations, correlations of 0.3."""
    point = 1.0 + np.sqrt(np.arange(2.0, structure.n_par + 2.0))
    correlation = np.isfinite(np.asarray(structure.upper, dtype=float))
    return np.where(correlation, 0.3, point)


def ST(fit: FittedModel) -> dict[str, FloatArray]:
    """T_t = (unit lower triangle) diag(S): S on the diagonal, the unit triangle below."""
    out = []
    for T in term_factors(fit):
        S = np.diag(T).copy()
        unit = np.divide(T, S, out=np.zeros_like(T), where=S != 0.0)
        np.fill_diagonal(unit, S)
        out.append(np.tril(unit))
    return _by_term(fit, out)


def devcomp(fit: FittedModel) -> dict[str, dict[str, Any]]:
    """Components of the deviance ("cmp") and dimensions ("dims")."""
    n, p = fit.design.X.shape
    wrss = float(np.sum(residual_values(fit, "pearson") ** 2))
    ussq = float(fit.conditional.penalty)
    total = wrss + ussq
    value = float(fit.optimum.value)
    cmp = {
        "ldL2": float(fit.conditional.logdet_L2),
        "ldRX2": 2.0 * float(np.sum(np.log(np.abs(np.diag(fit.conditional.rx))))),
        "wrss": wrss,
        "ussq": ussq,
        "pwrss": total,
        "drsum": np.nan if fit.is_lmm else float(fit.conditional.deviance),
        "REML": value if fit.reml else np.nan,
        "dev": np.nan if fit.reml else value,
        "sigmaML": float(np.sqrt(total / n)) if fit.has_scale else np.nan,
        "sigmaREML": float(np.sqrt(total / (n - p))) if fit.is_lmm else np.nan,
    }
    dims = {
        "N": n,
        "n": n,
        "p": p,
        "nmp": n - p,
        "q": len(fit.conditional.u),
        "nth": len(theta(fit)),
        "npar": len(fit.optimum.par),
        "nAGQ": fit.n_agq,
        "useSc": int(fit.has_scale),
        "reTrms": len(fit.design.terms),
        "REML": p if fit.reml else 0,
        "GLMM": int(not fit.is_lmm),
    }
    return {"cmp": cmp, "dims": dims}


def _negative_binomial_size(fit: FittedModel) -> float:
    size = getattr(conditional_family(fit), "size", None)
    if size is None:
        raise NotAvailableError(f"family {fit.family.name} has no size (that is the negative binomial's)")
    return float(size)


def _flist(fit: FittedModel) -> pd.DataFrame:
    factors = {
        term.group: pd.Categorical.from_codes(np.asarray(term.codes), categories=list(term.levels))
        for term in fit.design.terms
    }
    return pd.DataFrame(factors, index=fit.frame.index)


def _counts(function: Callable[[Any], int]) -> Callable[[FittedModel], pd.Series]:
    """One number for each term, named "expression | group"."""
    return lambda fit: pd.Series([function(t) for t in fit.design.terms], index=term_keys(fit), dtype=int)


def _Gp(fit: FittedModel) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum([len(t.levels) * len(t.columns) for t in fit.design.terms])]).astype(int)


PIECES: dict[str, Callable[[FittedModel], Any]] = {
    "X": lambda fit: fit.model_matrix(),
    "Z": lambda fit: fit.design.Zt().T.tocsc(),
    "Zt": lambda fit: fit.design.Zt(),
    "mmList": lambda fit: _by_term(fit, [term.Z for term in fit.design.terms]),
    "y": lambda fit: fit.frame.y,
    "mu": lambda fit: fit.conditional.mu,
    "eta": lambda fit: fit.conditional.eta,
    "u": lambda fit: fit.conditional.u,
    "b": lambda fit: fit.conditional.b,
    "Gp": _Gp,
    "Lambda": Lambda,
    "Lambdat": lambda fit: Lambda(fit).T.tocsc(),
    "Lind": Lind,
    "Tlist": lambda fit: _by_term(fit, term_factors(fit)),
    "ST": ST,
    "theta": theta,
    "par": par,
    "lower": lower,
    "beta": lambda fit: fit.beta,
    "fixef": lambda fit: fit.fixef,
    "A": lambda fit: (Lambda(fit).T @ fit.design.Zt()).tocsc(),
    "L": lambda fit: fit.conditional.factor.L(),
    "perm": lambda fit: np.asarray(fit.conditional.factor.perm),
    "RX": lambda fit: fit.conditional.rx,
    "RZX": lambda fit: fit.conditional.rzx,
    "sigma": lambda fit: fit.sigma,
    "phi": lambda fit: fit.phi,
    "flist": _flist,
    "cnms": lambda fit: _by_term(fit, [list(term.columns) for term in fit.design.terms]),
    "devcomp": devcomp,
    "offset": lambda fit: fit.frame.offset,
    "weights": lambda fit: fit.frame.weights,
    "REML": lambda fit: fit.design.X.shape[1] if fit.reml else 0,
    "is_REML": lambda fit: fit.is_reml,
    "n_rtrms": lambda fit: len(fit.design.terms),
    "n_rfacs": lambda fit: len(criteria.ngroups(fit)),
    "N": lambda fit: fit.frame.n,
    "n": lambda fit: fit.frame.n,
    "p": lambda fit: fit.design.X.shape[1],
    "q": lambda fit: len(fit.conditional.u),
    "npar": lambda fit: len(fit.optimum.par),
    "p_i": _counts(lambda term: len(term.columns)),
    "l_i": lambda fit: criteria.ngroups(fit),
    "q_i": _counts(lambda term: len(term.columns) * len(term.levels)),
    "k": lambda fit: len(fit.design.terms),
    "m_i": lambda fit: pd.Series([s.n_par for s in fit.structures], index=term_keys(fit), dtype=int),
    "m": lambda fit: len(fit.optimum.par),
    "glmer.nb.theta": _negative_binomial_size,
}


def get_me(fit: FittedModel, *names: str) -> Any:
    """One piece, or a dict of several ("ALL" for every one that this fit has)."""
    if names == ("ALL",):
        names = tuple(name for name in PIECES if name != "glmer.nb.theta")
    for name in names:
        if name not in PIECES:
            raise ArgumentError(f"unknown piece {name!r}; there are: {', '.join(PIECES)}", name=name)
    if not names:
        raise ArgumentError(f"name at least one piece; there are: {', '.join(PIECES)}")
    pieces = {name: detached(PIECES[name](fit)) for name in names}
    return pieces if len(names) > 1 else pieces[names[0]]
