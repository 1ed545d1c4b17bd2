"""Predictions beside the data that they are for, ready to be drawn.

Place in the reading order: in ``effects``, after ``marginal_coefs``. The numbers are those of
:meth:`.FittedModel.predict`: of a group whose random effects are zero (``re_form=False``), or of the population
(``marginal=True``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from refglmm.effects.scales import check_level, check_type
from refglmm.errors import ArgumentError
from refglmm.fit.parts import several
from refglmm.formula.convert import to_table

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

ADDED = ("pred", "se", "low", "upp")


def effect_data(
    fit: FittedModel,
    newdata: Any,
    *,
    type: str = "link",
    marginal: bool = False,
    level: float = 0.95,
    offset: Any = None,
    vcov: Any = None,
) -> pd.DataFrame:
    """New data with predictions and confidence limits.

    Parameters
    ----------
    fit : FittedModel
    newdata : table
        As for :meth:`.FittedModel.predict`; the grouping factors need not be there. Never changed.
    type : {"link", "response"}
        Models with a zero part or a dispersion have those of :meth:`.FittedModel.predict`.
    marginal : bool
        Means of the population; by default means of a group whose random effects are zero.
    level : float
    offset : str or array-like, optional
        In place of the ``offset=`` argument of the fit.
    vcov : str or Sandwich, optional
        Robust standard errors, as for :meth:`.FittedModel.predict`.

    Returns
    -------
    DataFrame
        The columns of ``newdata``, then pred, se, low, upp.

    Raises
    ------
    ArgumentError
        ``newdata`` has a column of one of these names already.
    """
    if not several(fit):
        check_type(type)
    check_level(level)
    table = to_table(newdata)
    taken = [name for name in ADDED if name in table]
    if taken:
        raise ArgumentError(f"newdata has a column {taken[0]!r} already; rename it", column=taken[0])
    how: dict[str, Any] = {"vcov": vcov, **({"marginal": True} if marginal else {"re_form": False})}
    shown = fit.predict(newdata, type=type, se=True, interval="confidence", level=level, offset=offset, **how)
    shown = shown.rename(columns={"fit": "pred", "lower": "low", "upper": "upp"})[list(ADDED)]
    return _as_pandas(newdata, table.index).assign(**{name: shown[name].to_numpy() for name in ADDED})


def _as_pandas(data: Any, index: pd.Index) -> pd.DataFrame:
    """A pandas copy of any supported table."""
    if isinstance(data, pd.DataFrame):
        return data.copy()
    return data.to_pandas() if hasattr(data, "to_pandas") else pd.DataFrame(dict(data), index=index)
