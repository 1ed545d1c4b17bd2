r"""Fitted values, residuals and working weights.

Place in the reading order: in ``fit``, after ``arrays``. All are conditional on the modes of the random
effects.

==========  ==================================  =============================
type        generalized                         linear mixed model
==========  ==================================  =============================
response    y - mu                              y - mu
working     (y - mu) / (dmu/deta)               y - mu
pearson     sqrt(w) (y - mu) / sqrt(V(mu))      sqrt(w) (y - mu)
deviance    sign(y - mu) sqrt(d_i)              sqrt(w) (y - mu)
==========  ==================================  =============================

with prior weights w (trial counts for the binomial) and unit deviances d_i, which include w. ``scaled``
divides by sigma. Those of ordinal fits are in ``categories``. Models with a zero part or a dispersion of its own have
"response" and "pearson", mu and V being the mean (1 - pi) m and the variance (1 - pi)(V + pi m^2) of the response.

Under ``na_action="exclude"`` rows dropped for missing values come back as NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.fit.categories import category_residuals, own_probabilities
from refglmm.fit.parts import refuse_several, several

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]
TYPES = ("deviance", "pearson", "working", "response")


def padded(fit: FittedModel, values: FloatArray, name: str) -> pd.Series:
    """Series over the rows of the fit, or over all rows of the data when missing ones were excluded."""
    frame = fit.frame
    if frame.na_action != "exclude":
        return pd.Series(np.array(values, dtype=float), index=frame.index, name=name)
    full = np.full(len(frame.full_index), np.nan)
    full[np.asarray(frame.kept, dtype=bool)] = values
    return pd.Series(full, index=frame.full_index, name=name)


def conditional_family(fit: FittedModel) -> Any:
    """The family with its estimated shape parameters put in (the negative binomial's variance needs them)."""
    return fit.family.at(np.array(fit.optimum.phi, dtype=float))


def residual_values(fit: FittedModel, type: str | None = None) -> FloatArray:
    """Residuals of the rows that were used, unscaled."""
    type = type or ("pearson" if several(fit) else "deviance")
    if type not in TYPES:
        raise ArgumentError(f"unknown residual type {type!r}; use one of {', '.join(TYPES)}", type=type)
    if fit.family.is_ordinal:
        return category_residuals(fit, type)
    y, mu, weights = fit.frame.y, fit.conditional.mu, fit.frame.weights
    raw = y - mu
    if several(fit):
        return _coupled_residuals(fit, type, raw)
    if type == "response" or (fit.is_lmm and type == "working"):
        return raw
    if fit.is_lmm:
        return np.sqrt(weights) * raw
    family, eta = conditional_family(fit), np.array(fit.conditional.eta)
    if type == "working":
        return raw / family.fitted_slope(eta)
    if type == "pearson":
        return np.sqrt(weights) * raw / np.sqrt(family.variance(family.link.inverse(eta)))
    # Rounding may leave a unit deviance at -1e-17; its root is zero, not NaN.
    unit = np.asarray(family.unit_deviance(y, np.array(mu), weights))
    return np.sign(raw) * np.sqrt(np.maximum(unit, 0.0))


def _coupled_residuals(fit: FittedModel, type: str, raw: FloatArray) -> FloatArray:
    """Residuals where the mean and the variance are those of a mixture with zeros, or of a modelled dispersion."""
    if type == "response":
        return raw
    if type != "pearson":
        refuse_several(fit, f"the {type} residual", "use 'pearson' or 'response', or fit.simulated_residuals()")
    variance = conditional_family(fit).response_variance(np.array(fit.conditional.predictors))
    return np.sqrt(fit.frame.weights) * raw / np.sqrt(variance)


def residuals(fit: FittedModel, type: str | None = None, *, scaled: bool = False) -> pd.Series:
    """Residuals with row labels."""
    type = type or ("pearson" if several(fit) else "deviance")
    values = residual_values(fit, type)
    return padded(fit, values / fit.sigma if scaled else values, f"{type} residuals")


def fitted_values(fit: FittedModel) -> pd.Series:
    """Conditional means with row labels; of an ordinal fit the probability of the row's own category."""
    return padded(fit, fitted_array(fit), "fitted")


def fitted_array(fit: FittedModel) -> FloatArray:
    """Fitted values of the rows that were used, a copy."""
    return own_probabilities(fit) if fit.family.is_ordinal else np.array(fit.conditional.mu)


def weights(fit: FittedModel, type: str = "prior") -> pd.Series:
    """Prior weights (trial counts for the binomial), or working weights at the conditional mode."""
    if type == "prior":
        return padded(fit, fit.frame.weights, "prior weights")
    if type == "working":
        refuse_several(fit, "a working weight")
        return padded(fit, fit.frame.weights if fit.is_lmm else fit.conditional.w, "working weights")
    raise ArgumentError(f"unknown weights type {type!r}; use 'prior' or 'working'", type=type)
