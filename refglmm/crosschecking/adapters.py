"""Fitted objects of other libraries, and our own files, as a mapping that ``reported`` reads.

Place in the reading order: before ``reported``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refglmm.errors import ArgumentError
from refglmm.fitted import FittedModel


def from_object(obj: Any) -> dict[str, Any]:
    """Return what a fitted object reports, under the keys of :data:`.reported.SPELLINGS`.

    Raises
    ------
    ArgumentError
        For an object of a type that is not known here.
    """
    if isinstance(obj, FittedModel):
        return obj.to_dict()
    raise ArgumentError(
        f"cannot read reported results from an object of type {type(obj).__module__}.{type(obj).__name__}; give a "
        "mapping with keys such as 'fixef', 'sd', 'se' and 'loglik', or a JSON file",
        type=type(obj).__name__,
    )


def is_own(values: Mapping[str, Any]) -> bool:
    """Whether a mapping is what ``fit.to_dict()`` writes."""
    return {"schema", "model", "criteria", "fixed", "random"} <= set(values)


def from_own(values: Mapping[str, Any]) -> dict[str, Any]:
    """What one of our own fits says."""
    model, criteria = values["model"], values["criteria"]
    return {
        "program": "refglmm",
        "version": values["versions"].get("refglmm"),
        "formula": model["formula"],
        "family": model["family"],
        "link": model["link"],
        "n_agq": model["n_agq"],
        "reml": model["reml"],
        "nobs": values["size"]["nobs"],
        "ngroups": values["size"]["ngroups"],
        "fixef": {row["name"]: row["estimate"] for row in values["fixed"]},
        "se": {row["name"]: row["std_error"] for row in values["fixed"]},
        "theta": values["theta"],
        "phi": values["phi"],
        "sigma": values["sigma"],
        "loglik": criteria["loglik"],
        "aic": criteria["aic"],
        "bic": criteria["bic"],
        "deviance": criteria["deviance"],
    }
