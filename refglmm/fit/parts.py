"""The predictors of a fit: "main", and in models with a zero part or a dispersion also "zi", "dispersion".

Place in the reading order: first of ``fit``, before ``arrays``. Everything that a fit reports of its coefficients is of
the first predictor unless another is asked for by name; "all" is the whole vector, with names such as ``zi~x``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.families.coupled import DISPERSION, ZI, CoupledFamily
from refglmm.formula.parts import MAIN, CoupledDesign, part_designs, part_formula, part_slices

if TYPE_CHECKING:
    from refglmm.families.base import Family
    from refglmm.fitted import FittedModel
    from refglmm.formula.grammar import Formula

ALL = "all"


def part_formulas(main: Formula, zi: Any, dispersion: Any, double_bar: str) -> dict[str, Formula]:
    """Formulas of the further predictors, those that there are."""
    given = {
        ZI: part_formula(main, zi, ZI, double_bar),
        DISPERSION: part_formula(main, dispersion, DISPERSION, double_bar),
    }
    return {part: formula for part, formula in given.items() if formula is not None}


def with_parts(family: Family, formulas: Mapping[str, Formula]) -> Family:
    """The family, with a zero part and a predictor of its dispersion where there are formulas for them."""
    return CoupledFamily(family, ZI in formulas, DISPERSION in formulas) if formulas else family


def several(fit: FittedModel) -> bool:
    """Whether the model has more predictors than one."""
    return isinstance(fit.design, CoupledDesign)


def all_names(fit: FittedModel) -> list[str]:
    """Names of the coefficients of all predictors."""
    return list(fit.design.all_columns if isinstance(fit.design, CoupledDesign) else fit.design.names)


def part_columns(fit: FittedModel, part: str) -> tuple[slice, list[str]]:
    """Where the coefficients of a predictor (or of "all") stand in beta, and their names.

    Raises
    ------
    ArgumentError
        If the fit has no such predictor.
    """
    slices = part_slices(fit.design)
    if part == ALL:
        return slice(0, len(fit.optimum.beta)), all_names(fit)
    if part not in slices:
        known = ", ".join(repr(name) for name in (*slices, ALL))
        raise ArgumentError(f"this fit has no predictor {part!r}; it has {known}", part=part)
    return slices[part], list(part_designs(fit.design)[part].names)


def coefficients(fit: FittedModel, part: str = MAIN, name: str = "fixef") -> pd.Series:
    """Fixed effects of a predictor by name."""
    at, names = part_columns(fit, part)
    return pd.Series(np.array(fit.optimum.beta[at], dtype=float), index=names, name=name)


def refuse_several(fit: FittedModel, what: str, instead: str = "") -> None:
    """An error where something is defined for one linear predictor only."""
    if several(fit):
        raise NotAvailableError(
            f"{what} is not available for a model with {' and '.join(fit.family.part_names[1:])}"
            + (f"; {instead}" if instead else "")
        )
