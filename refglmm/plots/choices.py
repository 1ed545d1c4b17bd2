"""What the caller of a picture chose: a grouping factor, a variable of the model's rows, names for the axes.

Place in the reading order: in ``plots``, after ``style``. Nothing is drawn here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from refglmm.errors import ArgumentError
from refglmm.formula.expressions import Call, deparse, parse_expression

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

#: What one unit of the linear predictor is called, by link.
SCALES = {"logit": "log-odds", "log": "log scale", "identity": "units of the response"}


def the_group(fit: FittedModel, group: str | None) -> str:
    """The grouping factor asked for; the only one where there is only one.

    Raises
    ------
    ArgumentError
        Naming those that exist.
    """
    known = list(dict.fromkeys(term.group for term in fit.design.terms))
    if group is None and len(known) == 1:
        return known[0]
    if group is None:
        raise ArgumentError(f"the model has several grouping factors; choose group= among {', '.join(known)}")
    if group not in known:
        raise ArgumentError(f"no grouping factor {group!r}; there are: {', '.join(known)}", group=group)
    return group


def link_scale(fit: FittedModel) -> str:
    """Name of the scale of the linear predictor."""
    link = fit.family.link.name
    return SCALES.get(link, f"{link} scale")


def is_category(values: pd.Series) -> bool:
    """Whether a variable has levels rather than numbers."""
    return not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values)


def variable(fit: FittedModel, chosen: Any, argument: str) -> pd.Series:
    """A variable for the rows of the fit: by name (a variable or grouping factor of the model), or its values.

    Parameters
    ----------
    chosen : str or array-like, shape (n,)
        A Series is matched by its row labels, other values by position.
    argument : str
        Name of the argument, for messages.

    Returns
    -------
    Series, shape (n,)
        Named; categorical unless numeric.

    Raises
    ------
    ArgumentError
        Unknown name, wrong length, or rows without a value.
    """
    if isinstance(chosen, str):
        values = _model_variable(fit, chosen, argument)
    else:
        values = _given_values(fit, chosen, argument)
    if values.isna().any():
        row = values.index[values.isna()][0]
        raise ArgumentError(f"{argument}={values.name} has no value in row {row!r}", row=row)
    return values.astype("category") if is_category(values) else values


def _model_variable(fit: FittedModel, name: str, argument: str) -> pd.Series:
    data, factors = fit.frame.data, fit.design.flist
    if name in data.columns:
        return data[name]
    if name in factors:
        return pd.Series(factors[name], index=fit.frame.index, name=name)
    known = ", ".join(dict.fromkeys([*data.columns, *factors]))
    raise ArgumentError(
        f"{argument}: the model has no variable {name!r}; it has {known} (or give one value per row)", variable=name
    )


def _given_values(fit: FittedModel, chosen: Any, argument: str) -> pd.Series:
    index = fit.frame.index
    if isinstance(chosen, pd.Series) and index.is_unique and index.isin(chosen.index).all():
        return chosen.loc[index].rename(chosen.name or argument)
    values = pd.Series(chosen)
    if values.shape != (len(index),):
        raise ArgumentError(f"{argument} has {len(values)} values, the model has {len(index)} rows", rows=len(values))
    return pd.Series(values.array, index=index, name=values.name or argument)


def is_binary(fit: FittedModel) -> bool:
    """Whether every response is a single 0 or 1."""
    one_trial = fit.frame.trials is None or bool(np.all(fit.frame.trials == 1))
    return fit.family.name == "binomial" and one_trial and bool(np.isin(fit.frame.y, (0.0, 1.0)).all())


def row_weights(fit: FittedModel) -> np.ndarray:
    """Trials of each row of a binomial response, else its prior weight; shape (n,)."""
    return np.array(fit.frame.weights if fit.frame.trials is None else fit.frame.trials, dtype=float)


def response_label(fit: FittedModel) -> str:
    """The response in words: "proportion of incidence", "proportion with use = Y", "Reaction"."""
    text = fit.frame.formula.response or "response"
    node = parse_expression(text)
    if isinstance(node, Call) and node.function == "cbind":
        return f"proportion of {deparse(node.args[0][1])}"
    if fit.family.is_ordinal:
        return f"{text} (0: {fit.frame.response_levels[0]})"
    if fit.frame.response_levels:
        return f"proportion with {text} = {fit.frame.response_levels[-1]}"
    return f"proportion with {text} = 1" if is_binary(fit) else text
