"""Models behind the records, as :class:`refglmm.GLMM`.

Place in the reading order: after ``truth``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import refglmm as rg
from refglmm.formula.grouped import grouped_formula, read_random, zero_part_formula
from refglmm.model import GLMM
from validation.models import Fit
from validation.prepare import frame
from validation.shelf.cases import Case as ShelfCase


@cache
def of_fit(fit: Fit) -> GLMM:
    """The model of a fit in exact mode."""
    data = frame(fit.data)
    if fit.reml is not None:
        return GLMM(fit.formula, data)
    family = "negative_binomial" if fit.family == "nb" else fit.family
    return GLMM(fit.formula, data, family, link=fit.link, weights=fit.weights)


def of_shelf(case: ShelfCase) -> GLMM:
    """The model of a case of the shelf: :func:`refglmm.mixed_model`'s spelling, or :func:`refglmm.glmer`'s."""
    if case.function is rg.mixed_model:
        return _of_mixed_model(case)
    skip = ("reml",)
    arguments = {name: value for name, value in case.arguments.items() if name not in skip}
    return GLMM(arguments.pop("formula"), case.data, **arguments)


def _of_mixed_model(case: ShelfCase) -> GLMM:
    given = dict(case.arguments)
    part = read_random("random", given["random"])
    arguments: dict[str, Any] = {}
    if "group_weights" in given:
        arguments["group_weights"] = given["group_weights"]
    if "zi_fixed" in given:
        zero = None if "zi_random" not in given else read_random("zi_random", given["zi_random"])
        arguments["zi"] = zero_part_formula(given["zi_fixed"], zero, part)
        if zero is not None and not part.diagonal:
            arguments["tie"] = True
    return GLMM(grouped_formula(given["fixed"], part), case.data, given["family"], **arguments)
