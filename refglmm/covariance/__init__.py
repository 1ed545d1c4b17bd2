"""Covariance structures: from the parameters of a random-effects term to its factor T, with derivatives.

Place in the reading order: after :mod:`refglmm.families`. Read :mod:`.base` (what a structure offers), then
:mod:`.factor_entries` (``us``, ``diag``) and :mod:`.correlated` (``cs``, ``ar1``).
"""

from __future__ import annotations

import functools

from refglmm.covariance.base import Structure
from refglmm.covariance.correlated import AR1, CompoundSymmetry
from refglmm.covariance.factor_entries import Diagonal, Unstructured
from refglmm.errors import ArgumentError

_STRUCTURES: dict[str, type[Structure]] = {
    structure.name: structure for structure in (Unstructured, Diagonal, CompoundSymmetry, AR1)
}


@functools.lru_cache(maxsize=128)  # frozen, and what a structure remembers is read-only: models may share it
def make_structure(name: str, k: int, hom: bool = False) -> Structure:
    """Return the structure called ``"us"``, ``"diag"``, ``"cs"`` or ``"ar1"`` for a term with k columns.

    Parameters
    ----------
    name : str
        Name as it is written in a formula.
    k : int
        Number of columns of the term.
    hom : bool
        One standard deviation for all columns.

    Returns
    -------
    Structure
        Frozen object that maps ``par`` to T and back.
    """
    if name not in _STRUCTURES:
        known = ", ".join(_STRUCTURES)
        raise ArgumentError(f"unknown covariance structure {name!r}; known are {known}", name=name)
    return _STRUCTURES[name](k=k, hom=hom)


__all__ = ["Structure", "make_structure"]
