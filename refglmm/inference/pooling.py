r"""No pooling, partial pooling, complete pooling: the coefficients of the levels of a factor, estimated three times.

Place in the reading order: in ``inference``. For a grouping factor whose random-effects terms have columns z:

- *No pooling*: each level by maximum likelihood from its own rows,
  :math:`\hat c_j = \arg\max_c \sum_{i \in j} l_i(o_i + z_i'c)`, with everything else (other fixed and random effects)
  in the offset o at its estimate.
- *Partial pooling*: :math:`\hat\beta + \tilde b_j`, what the mixed model says.
- *Complete pooling*: the model without any random effects, by maximum likelihood.

The first and the last are found by Fisher scoring for all groups of rows at once,
:math:`c \leftarrow c + (Z'WZ)^{-1} Z's`, halved in each group where its likelihood would fall. A group of successes
alone, or of zero counts, has no finite estimate; a group with too few distinct rows determines none.

Source: Gelman and Hill (2007), section 12.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.families.kernel import SLOPES, VALUE, L, S, W
from refglmm.fit.parts import refuse_several
from refglmm.fit.ranef import mode_blocks

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]
Codes = NDArray[np.integer]

MAX_STEPS, MAX_HALVINGS = 100, 30
#: Newton decrement (squared step in standard errors) at which an estimate counts as found.
CONVERGED = 1e-20
#: A direction in which so little is left of the information has run away to where means cannot go.
VANISHED = 1e-7
#: Smallest eigenvalue of Z'WZ, scaled to unit diagonal, of a group that determines its coefficients.
RANK = 1e-9
#: A fall of the log likelihood within rounding.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Pooling:
    """Coefficients of the levels of one factor under three degrees of pooling.

    Attributes
    ----------
    group : str
        Grouping factor.
    none, partial : DataFrame, levels x columns
        Scale of the linear predictor. ``none`` is +-inf where the likelihood has no maximum, NaN where the rows
        of the level do not determine it.
    complete : Series over columns
        Estimates of the model without random effects; NaN for a column that its fixed part does not have.
    population : Series over columns
        Fixed effects of the mixed model; 0 for a column that its fixed part does not have.
    rows : Series over levels
        Number of rows of each level.
    """

    group: str
    none: pd.DataFrame
    partial: pd.DataFrame
    complete: pd.Series
    population: pd.Series
    rows: pd.Series


def pooling(fit: FittedModel, group: str) -> Pooling:
    """Estimate the coefficients of each level of ``group`` without, with partial and with complete pooling.

    Parameters
    ----------
    fit : FittedModel
    group : str
        A grouping factor; all its terms are taken together.

    Returns
    -------
    Pooling

    Raises
    ------
    ArgumentError
        If there is no such factor.
    """
    refuse_several(fit, "the comparison of no, partial and complete pooling")
    terms = [(term, b) for term, b in zip(fit.design.terms, mode_blocks(fit), strict=True) if term.group == group]
    if not terms:
        known = ", ".join(dict.fromkeys(term.group for term in fit.design.terms))
        raise ArgumentError(f"no grouping factor {group!r}; there are: {known}", group=group)
    codes, levels = terms[0][0].codes, pd.Index(terms[0][0].levels, name=group)
    names = [name for term, _ in terms for name in term.columns]
    Z = np.hstack([term.Z for term, _ in terms])
    population = fit.fixef.reindex(names).fillna(0.0)
    partial = population.to_numpy() + np.hstack([b for _, b in terms])
    others = np.array(fit.conditional.eta) - np.sum(Z * partial[codes], axis=1)
    none = _Scoring(fit, Z, codes, others).estimates(partial)
    return Pooling(
        group,
        pd.DataFrame(none, index=levels, columns=names),
        pd.DataFrame(partial, index=levels, columns=names),
        _complete(fit).reindex(names),
        population,
        pd.Series(np.bincount(codes, minlength=len(levels)), index=levels, name="rows"),
    )


def _complete(fit: FittedModel) -> pd.Series:
    """Fixed effects of the model without its random effects."""
    if not fit.design.names:
        return pd.Series(dtype=float)
    together = np.zeros(fit.nobs, dtype=int)
    scoring = _Scoring(fit, np.array(fit.design.X), together, np.array(fit.problem.offset))
    return pd.Series(scoring.estimates(fit.beta[None, :])[0], index=list(fit.design.names))


class _Scoring:
    """Fisher scoring of the coefficients of ``columns`` (n, k), one set for each group of rows."""

    def __init__(self, fit: FittedModel, columns: FloatArray, codes: Codes, offset: FloatArray) -> None:
        self.problem, self.columns, self.codes, self.offset = fit.problem, columns, codes, offset
        # lme4's bookkeeping, and linear models, keep the dispersion in sigma alone.
        in_sigma = fit.has_scale and not fit.kernel_phi.size
        self.phi = np.array([fit.sigma**2]) if in_sigma else fit.kernel_phi
        self.n_groups = int(codes.max()) + 1

    def estimates(self, start: FloatArray) -> FloatArray:
        """Maximum-likelihood coefficients, shape (groups, k); +-inf and NaN as in :class:`Pooling`."""
        c, found = np.array(start), np.zeros(self.n_groups, dtype=bool)
        _, information = self.slopes(c)
        at_start, determined = information, _full_rank(information)
        for _ in range(MAX_STEPS):
            gradient, information = self.slopes(c)
            step = np.zeros_like(c)
            # A runaway's information ends as a matrix of zeros: the pseudo-inverse leaves it where it is.
            inverse = np.linalg.pinv(information[determined], rcond=1e-14, hermitian=True)
            step[determined] = np.einsum("gij,gj->gi", inverse, gradient[determined])
            found = np.sum(gradient * step, axis=1) < CONVERGED
            if found.all():
                break
            c = self.improve(c, step)
        c[_runaway(at_start, information) & found[:, None]] *= np.inf
        c[~(determined & found)] = np.nan
        return c

    def value(self, c: FloatArray) -> FloatArray:
        """Log likelihood of each group; -inf outside the domain of the link."""
        with np.errstate(all="ignore"):
            values = np.bincount(self.codes, self._observe(c, VALUE)[L], self.n_groups)
        return np.where(np.isnan(values), -np.inf, values)

    def slopes(self, c: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Z's, shape (groups, k), and Z'WZ, shape (groups, k, k)."""
        out, Z = self._observe(c, SLOPES), self.columns
        gradient = np.zeros((self.n_groups, Z.shape[1]))
        information = np.zeros((self.n_groups, Z.shape[1], Z.shape[1]))
        np.add.at(gradient, self.codes, Z * out[S][:, None])
        np.add.at(information, self.codes, Z[:, :, None] * Z[:, None, :] * out[W][:, None, None])
        return gradient, information

    def improve(self, c: FloatArray, step: FloatArray) -> FloatArray:
        """Add the step, halved in the groups where the likelihood would fall."""
        before, step = self.value(c), step.copy()
        for _ in range(MAX_HALVINGS):
            falls = self.value(c + step) < before - ROUNDING * np.abs(before)
            if not falls.any():
                break
            step[falls] *= 0.5
        return c + step

    def _observe(self, c: FloatArray, order: int) -> FloatArray:
        problem, out = self.problem, np.empty((6, self.problem.n))
        eta = self.offset + np.sum(self.columns * c[self.codes], axis=1)
        problem.family.observe(problem.y, eta, problem.weights, problem.base, self.phi, order, out)
        return out


def _full_rank(information: FloatArray) -> NDArray[np.bool_]:
    """Which groups determine all their coefficients."""
    diagonal = np.sqrt(np.einsum("gii->gi", information))
    scale = np.where(diagonal > 0, diagonal, 1.0)
    return np.linalg.eigvalsh(information / (scale[:, :, None] * scale[:, None, :]))[:, 0] > RANK


def _runaway(at_start: FloatArray, information: FloatArray) -> NDArray[np.bool_]:
    """Which coefficients, shape (groups, k), move along a direction whose information has vanished."""
    diagonal = np.sqrt(np.einsum("gii->gi", at_start))
    scale = np.where(diagonal > 0, diagonal, 1.0)
    share, directions = np.linalg.eigh(information / (scale[:, :, None] * scale[:, None, :]))
    gone = np.abs(directions) * (share < VANISHED)[:, None, :]
    return gone.max(axis=2) > 1e-3
