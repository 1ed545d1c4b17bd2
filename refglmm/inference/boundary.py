r"""Which parameters a likelihood-ratio test puts on their boundary, and the distribution that follows.

Place in the reading order: before :mod:`.compare`. A variance cannot be negative, so where the smaller model says that
it is zero, T = 2(l_1 - l_0) is not chi-square but a mixture, :math:`P(T > t) = \sum_j w_j P(\chi^2_j > t)`:

* v variances on the boundary, each with its own covariances or none, and b other parameters:
  :math:`w_{b+j} = \binom{v}{j} 2^{-v}`. For v = 1 this is exact: one variance :math:`\tfrac12\chi^2_0 +
  \tfrac12\chi^2_1`, a slope with its covariance :math:`\tfrac12\chi^2_1 + \tfrac12\chi^2_2`. For v > 1 it holds where
  the estimates of the variances are independent.
* several correlated columns at once: the parameters form a cone of matrices whose weights have no closed form. It lies
  within a half-space, so :math:`\tfrac12\chi^2_{d-1} + \tfrac12\chi^2_d` gives an upper bound of p.

The smaller model itself must be inside its parameter space.

Random effects are compared by the covariances of the rows that they stand for, not by their labels: ``(1 | g:f)`` and
``(1 | f:g)`` are one term, and ``(1 | g/f)`` is the case of ``(1 + f | g)`` with equal variances and covariances.

Sources: Self and Liang (1987); Stram and Lee (1994).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import comb
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refglmm.formula.parts import owners, part_designs

if TYPE_CHECKING:
    import pandas as pd

    from refglmm.fitted import FittedModel
    from refglmm.formula.design import TermDesign

FloatArray = NDArray[np.float64]

#: Relative residual below which one set of columns counts as spanned by another.
SPANNED = 1e-8
#: Pairs of rows that are looked at to find out whether a term with finer groups is a case of another one.
MOST_PAIRS = 2_000_000
#: A statistic up to this is zero: what is left where both log-likelihoods are those of one model.
ROUNDING = 1e-10


@dataclass(frozen=True)
class Boundary:
    """What a comparison tests.

    Attributes
    ----------
    nested : bool
        Whether the smaller model is a case of the larger one.
    variances : tuple of str
        Those that are zero in the smaller model (on the boundary).
    kind : {"interior", "mixture", "bound", "unknown"}
        "interior": ordinary chi-square. "unknown": nested, but no mixture is known.
    """

    nested: bool
    variances: tuple[str, ...] = ()
    kind: str = "interior"

    def weights(self, df: int) -> dict[int, float]:
        """Degrees of freedom -> weight of the mixture for a test with ``df`` more parameters."""
        if self.kind == "mixture":
            v = len(self.variances)
            return {df - v + j: comb(v, j) / 2.0**v for j in range(v + 1)}
        return {df - 1: 0.5, df: 0.5} if self.kind == "bound" else {df: 1.0}

    def p_value(self, statistic: float, df: int) -> float:
        """P(T > statistic) under the mixture."""
        return float(sum(w * chi2_tail(statistic, j) for j, w in self.weights(df).items()))

    def describe(self, df: int) -> str:
        """The mixture in words."""
        return " + ".join(f"{w:g} chisq({j})" for j, w in self.weights(df).items())


def chi2_tail(statistic: float, df: int) -> float:
    """P(chi-square > statistic); with 0 degrees of freedom all mass is at 0."""
    from scipy.stats import chi2

    if df == 0:
        return 1.0 if statistic <= ROUNDING else 0.0
    return float(chi2.sf(statistic, df))


def spanned(A: FloatArray, B: FloatArray) -> bool:
    """Whether every column of A is a combination of those of B."""
    if not A.shape[1]:
        return True
    if not B.shape[1]:
        return not A.any()
    size = np.linalg.norm(B, axis=0)
    B = B / np.where(size > 0.0, size, 1.0)
    left = A - B @ np.linalg.lstsq(B, A, rcond=None)[0]
    return bool(np.all(np.linalg.norm(left, axis=0) <= SPANNED * np.maximum(np.linalg.norm(A, axis=0), 1e-300)))


def same_groups(a: TermDesign, b: TermDesign) -> bool:
    """Whether two terms part the rows alike, whatever the names and the order of their levels."""
    if len(a.codes) != len(b.codes):
        return False
    parts = len(np.unique(np.column_stack([a.codes, b.codes]), axis=0))
    return parts == len(np.unique(a.codes)) == len(np.unique(b.codes))


def contribution(small: TermDesign, large: TermDesign) -> FloatArray | None:
    """A of shape (k, k): what unit variances of one term add to Sigma of another one; None if they fit no Sigma."""
    if same_groups(small, large):
        if not spanned(small.Z, large.Z):
            return None
        B = np.linalg.lstsq(large.Z, small.Z, rcond=None)[0]
        return np.asarray(B @ B.T)
    if small.k > 1 or large.structure != "us":
        return None
    return _of_finer_groups(small, large)


def _owned_contribution(small: TermDesign, large: TermDesign) -> FloatArray | None:
    """The same for terms that may belong to different predictors of a model."""
    if not set(owners(small)) <= set(owners(large)):
        return None
    return _of_columns(small, large) if len(set(owners(large))) > 1 else contribution(small, large)


def _of_columns(small: TermDesign, large: TermDesign) -> FloatArray | None:
    """A for a term that ties several predictors: the smaller one's columns must be among its own."""
    if not same_groups(small, large) or not set(small.columns) <= set(large.columns):
        return None
    A = np.array([[float(name == column) for name in small.columns] for column in large.columns])
    return A @ A.T


def _of_finer_groups(small: TermDesign, large: TermDesign) -> FloatArray | None:
    """A for a term of one column whose levels lie within those of the larger one.

    Rows i, j of one level of the larger term have covariance :math:`[g_i = g_j] s_i s_j` from the smaller one, and must
    have z_i' A z_j. Rows of a level with the same z count once, so this needs few different z: factors.
    """
    levels, level = np.unique(large.codes, return_inverse=True)
    different, kind = np.unique(large.Z, axis=0, return_inverse=True)
    m = len(different)
    if len(levels) * m * m > MOST_PAIRS:
        return None
    group, s = np.full((len(levels), m), -1), np.zeros((len(levels), m))
    group[level, kind], s[level, kind] = small.codes, small.Z[:, 0]
    if np.any(group[level, kind] != small.codes) or np.any(s[level, kind] != small.Z[:, 0]):
        return None
    inside = np.unique(np.column_stack([small.codes, level]), axis=0)
    if len(inside) > len(np.unique(small.codes)):
        return None
    together = (group[:, :, None] >= 0) & (group[:, None, :] >= 0)
    covariance = np.where(group[:, :, None] == group[:, None, :], s[:, :, None] * s[:, None, :], 0.0)
    low, high = np.where(together, covariance, np.inf).min(axis=0), np.where(together, covariance, -np.inf).max(axis=0)
    seen = together.any(axis=0)
    if np.any(low[seen] != high[seen]):
        return None
    pairs = np.einsum("ai,bj->abij", different, different)[seen].reshape(-1, large.k**2)
    A = np.linalg.lstsq(pairs, low[seen], rcond=None)[0]
    if not np.allclose(pairs @ A, low[seen], atol=SPANNED):
        return None
    A = A.reshape(large.k, large.k)
    return 0.5 * (A + A.T)


def compare_structure(small: FittedModel | None, large: FittedModel) -> Boundary:
    """Find out what separates two fits to the same rows, in any order; ``small`` None has no random effects."""
    terms: tuple[TermDesign, ...] = ()
    if small is not None:
        order = matching_rows(large.frame.index, small.frame.index)
        if not _fixed_nested(small, large, order):
            return Boundary(False)
        terms = tuple(replace(term, codes=term.codes[order], Z=term.Z[order]) for term in small.design.terms)
    pieces = _random_pieces(terms, large.design.terms)
    if pieces is None:
        return Boundary(False)
    variances, kinds = pieces
    if small is not None:
        extra, further = _family_piece(small, large), _predictor_piece(small, large)
        if extra is None or further is None:
            return Boundary(False)
        variances += extra + further
        kinds += ["unknown"] * len(further)
    if "unknown" in kinds:
        return Boundary(True, tuple(variances), "unknown")
    if not variances:
        return Boundary(True)
    return Boundary(True, tuple(variances), "bound" if "bound" in kinds else "mixture")


def matching_rows(here: pd.Index, there: pd.Index) -> NDArray[np.intp]:
    """Positions of the rows of ``there`` in the order of ``here``: by labels where these are the same set."""
    if here.equals(there) or not (here.is_unique and there.is_unique and len(here) == len(there)):
        return np.arange(len(here))
    order = np.asarray(there.get_indexer(here))
    return np.arange(len(here)) if np.any(order < 0) else order


def _fixed_nested(small: FittedModel, large: FittedModel, order: NDArray[np.intp]) -> bool:
    """Same link, offset and weights, and the columns of the smaller model (rows in ``order``) spanned by the larger.

    Of each predictor, where there are several.
    """
    if small.family.link.name != large.family.link.name:
        return False
    if not np.allclose(small.problem.weights[order], large.problem.weights):
        return False
    inner, outer = part_designs(small.design), part_designs(large.design)
    return set(inner) <= set(outer) and all(
        np.allclose(own.frame.offset[order], outer[part].frame.offset)
        and spanned(np.asarray(own.X)[order], np.asarray(outer[part].X))
        for part, own in inner.items()
    )


def _predictor_piece(small: FittedModel, large: FittedModel) -> list[str] | None:
    """What is on its boundary in the smaller model because it lacks a predictor; None if it is no case of the larger.

    No zero part: the probability of an additional zero is zero (a hurdle has no such case). No dispersion: it is the
    same for all rows, which a dispersion with an intercept can say.
    """
    inner, outer, pieces = part_designs(small.design), part_designs(large.design), []
    if "zi" in outer and "zi" not in inner:
        if not getattr(large.family, "inflated", False):
            return None
        pieces.append("the probability of an additional zero")
    if "dispersion" in outer and "dispersion" not in inner:
        own = outer["dispersion"]
        if not small.model.base_family.n_shape or np.any(own.frame.offset != 0.0):
            return None
        if not spanned(np.ones((large.nobs, 1)), np.asarray(own.X)):
            return None
    return pieces


def _family_piece(small: FittedModel, large: FittedModel) -> list[str] | None:
    """Poisson within negative binomial: 1 / size is zero. Other families do not nest."""
    names = small.model.base_family.name, large.model.base_family.name
    if names[0] == names[1]:
        return []
    if "dispersion" in part_designs(large.design):
        return None
    if names == ("poisson", "negative_binomial"):
        return ["1/size of the negative binomial"]
    return None


def _random_pieces(small: tuple[TermDesign, ...], large: tuple[TermDesign, ...]) -> tuple[list[str], list[str]] | None:
    """Variances tested, and the kind of each difference; None if the smaller terms are not a case of the larger."""
    unused, rest, variances, kinds = list(small), [], [], []
    for term in large:
        twin = next((s for s in unused if _same_term(s, term)), None)
        if twin is None:
            rest.append(term)
        else:
            unused.remove(twin)
    for term in rest:
        inside = [s for s in unused if _owned_contribution(s, term) is not None]
        for s in inside:
            unused.remove(s)
        new, kind = _one_term(inside, term)
        variances += [f"{term.label}.{column}" for column in new]
        kinds.append(kind)
    return None if unused or "not nested" in kinds else (variances, kinds)


def _same_term(a: TermDesign, b: TermDesign) -> bool:
    same_structure = (
        owners(a) == owners(b) and a.k == b.k and (a.k == 1 or (a.structure == b.structure and a.hom == b.hom))
    )
    return same_structure and same_groups(a, b) and np.allclose(a.Z, b.Z)


def _one_term(inside: list[TermDesign], term: TermDesign) -> tuple[list[str], str]:
    """New variances of one term over those of the smaller model within it, and what kind of difference that is."""
    if not all(same_groups(s, term) for s in inside):
        return _over_finer_groups(inside, term)
    if term.k > 1 and term.structure not in ("us", "diag"):
        return list(term.columns), "unknown"
    if term.structure == "diag" and term.hom and not inside:
        return [term.columns[0]], "mixture"
    known = [column for s in inside for column in s.columns]
    if any(column not in term.columns for column in known) or len(set(known)) < len(known):
        return [], "unknown" if term.structure == "us" else "not nested"
    new = [column for column in term.columns if column not in known]
    if any(s.k > 1 and s.structure not in ("us", "diag") for s in inside):
        return new, "unknown"
    if term.structure == "diag" and term.k > 1:
        correlated = any(s.k > 1 and s.structure == "us" for s in inside)
        return new, "not nested" if correlated else "unknown" if term.hom else "mixture"
    return new, "bound" if len(new) > 1 else "mixture"


def _over_finer_groups(inside: list[TermDesign], term: TermDesign) -> tuple[list[str], str]:
    """The same where some of the smaller model's terms have finer groups: a boundary if Sigma is singular."""
    Sigma = np.zeros((term.k, term.k))
    for s in inside:
        part = contribution(s, term)
        assert part is not None
        Sigma += part
    smallest = np.linalg.eigvalsh(Sigma)[0]
    if smallest < -SPANNED:
        return [], "not nested"
    return ([], "mixture") if smallest > SPANNED else (list(term.columns), "unknown")
