"""Covariance structures: from the parameters of a random-effects term to its factor T, with derivatives.

Place in the reading order: after :mod:`refglmm.families`. Read :mod:`.base` (what a structure offers), then
:mod:`.factor_entries` (``us``, ``diag``, ``rr``, ``propto``, ``equalto``), :mod:`.scaled` and :mod:`.correlated`
(``cs``, ``ar1``), :mod:`.stationary` (``toep``) and :mod:`.kernels` (``ou``, ``exp``, ``gau``, ``mat``).

**Linear mixed models.** T is relative to sigma there, and sigma is always estimated. A term with a column for each row
of a group competes with the residuals. For ``diag``, ``cs`` and ``toep`` with one SD, and ``us``, Sigma + sigma^2 I has
the structure of Sigma, and nothing tells them apart; with SDs of their own ``cs`` and ``toep`` hardly do better. The
others decay from a correlation of one at distance zero, so that a residual (a nugget) is seen. glmmTMB's way out,
``dispformula = ~0``, has no counterpart here: its likelihood is the limit sigma -> 0 of ours, which is higher or equal.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from refglmm.covariance.base import Structure
from refglmm.covariance.correlated import AR1, CompoundSymmetry
from refglmm.covariance.factor_entries import Diagonal, Known, Proportional, ReducedRank, Unstructured
from refglmm.covariance.kernels import Exponential, Matern, OrnsteinUhlenbeck, SquaredExponential
from refglmm.covariance.stationary import Toeplitz
from refglmm.errors import ArgumentError
from refglmm.formula.term_data import NOTHING, TermData

if TYPE_CHECKING:
    from refglmm.formula.design import TermDesign

_STRUCTURES: dict[str, type[Structure]] = {
    structure.name: structure
    for structure in (
        Unstructured,
        Diagonal,
        CompoundSymmetry,
        AR1,
        Toeplitz,
        OrnsteinUhlenbeck,
        Exponential,
        SquaredExponential,
        Matern,
        ReducedRank,
        Proportional,
        Known,
    )
}


@functools.lru_cache(maxsize=128)  # frozen, and what a structure remembers is read-only: models may share it
def make_structure(name: str, k: int, hom: bool = False, data: TermData = NOTHING) -> Structure:
    """Return the structure of this name (``"us"``, ``"toep"``, ...) for a term with k columns.

    Parameters
    ----------
    name : str
        Name as it is written in a formula.
    k : int
        Number of columns of the term.
    hom : bool
        One standard deviation for all columns.
    data : TermData
        Positions of the columns, rank or known covariance, for the structures that need them.

    Returns
    -------
    Structure
        Frozen object that maps ``par`` to T and back.
    """
    if name not in _STRUCTURES:
        known = ", ".join(_STRUCTURES)
        raise ArgumentError(f"unknown covariance structure {name!r}; known are {known}", name=name)
    return _STRUCTURES[name](k, hom, data)


def term_structures(terms: Iterable[TermDesign]) -> tuple[Structure, ...]:
    """The structure of each term of a design."""
    return tuple(make_structure(term.structure, term.k, term.hom, term.data) for term in terms)


__all__ = ["Structure", "TermData", "make_structure", "term_structures"]
