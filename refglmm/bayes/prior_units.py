r"""The units that a prior in the scale of the data is written in.

Place in the reading order: after ``prior_kinds``, before ``priors``. The unit s of a linear predictor is

====================================  ================================================================================
link                                  s, and the normal prior of the intercept at the means of the predictors
====================================  ================================================================================
logit, probit, cloglog, cauchit;      SD of the latent law: pi/sqrt(3), 1, pi/sqrt(6) (the Cauchy has none: its scale,
ordinal families                      1); normal(0, s)
log                                   1; normal(log(mean(y) + 0.5), ``sd_ratio``)
identity and the others; log of       (h - l)/2 ``sd_ratio`` where (l, h) is the theoretical range of the response on
lognormal families                    the scale of the link; normal((l + h)/2, (h - l)/2)
====================================  ================================================================================

The mean of an offset is taken off the intercept's location. The residual SD has the unit of what it is the SD of: the
response, or its logarithm in ``lognormal_log``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from refglmm.bayes.prior_kinds import Prior, check_range
from refglmm.errors import ArgumentError, PriorWarning, warn
from refglmm.families.links import get_link

if TYPE_CHECKING:
    from refglmm.model import GLMM

#: SD of the latent variable whose distribution function is the inverse link.
LATENT_SD = {"logit": np.pi / np.sqrt(3.0), "probit": 1.0, "cloglog": np.pi / np.sqrt(6.0), "cauchit": 1.0}
#: Families whose sigma is the SD, or scale, of the response itself.
SIGMA_OF_RESPONSE = ("gaussian", "student_t", "censored_normal", "lognormal")
LOGNORMAL = ("lognormal", "lognormal_log")


@dataclass(frozen=True)
class Units:
    """Units of a model's parameters.

    Attributes
    ----------
    s : float
        Unit of the linear predictor.
    middle, half : float
        Location and SD of the intercept's prior.
    sigma : float
        Unit of the residual SD.
    source : str
        Where s comes from, for tables.
    """

    s: float
    middle: float
    half: float
    sigma: float
    source: str


def units_of(prior: Prior, model: GLMM, y_range: tuple[float, float] | None) -> Units:
    """The units of a model under a prior with or without a range of the response.

    Raises
    ------
    ArgumentError
        The range is needed and missing, or outside the link's domain.
    """
    name, link = model.family.name, model.family.link.name
    ratio = float(prior.settings.get("sd_ratio") or 0.5)
    shift = float(np.mean(model.problem.offset))
    on_link = link != "identity" and not (name in LOGNORMAL and y_range is None)
    sigma = 0.5 * float(np.ptp(y_range)) * ratio if y_range else np.nan
    if name in SIGMA_OF_RESPONSE and on_link and y_range is None:
        sigma = _without_range(prior, model)
    if model.family.is_ordinal or link in LATENT_SD:
        s = LATENT_SD[link]
        source = f"s = {s:.4g}, SD of the latent variable under the link {link}"
        return Units(s, -shift, s * float(prior.settings.get("max_beta") or 1.0), sigma, source)
    if link == "log" and name not in LOGNORMAL:
        location = float(np.log(mean_response(model) + 0.5))
        return Units(1.0, location - shift, ratio, sigma, "s = 1 under the link log")
    if y_range is None:
        s = _without_range(prior, model)
        return Units(s, np.nan, np.nan, s, f"s = {s:.4g}, SD of the response")
    low, high = _on_link(model, y_range)
    s = 0.5 * (high - low) * ratio
    where = "the response" if link == "identity" else f"the link {link}"
    source = f"s = {s:.4g}, {ratio:g} times half the range of {where}"
    return Units(s, 0.5 * (low + high) - shift, 0.5 * (high - low), s if name == "lognormal_log" else sigma, source)


def mean_response(model: GLMM) -> float:
    """Weighted mean of the response."""
    return float(np.average(model.problem.y, weights=model.problem.weights))


def _on_link(model: GLMM, y_range: tuple[float, float]) -> tuple[float, float]:
    """The range on the scale of the link, low before high."""
    with np.errstate(all="ignore"):
        ends = np.sort(get_link(model.family.link.name).link(np.array(y_range)))
    if not np.isfinite(ends).all():
        raise ArgumentError(
            f"y_range={y_range} must lie inside the domain of the link {model.family.link.name}: for the "
            f"{model.family.name} family both ends must have a finite link, such as (0.5, 100) for positive responses",
            y_range=y_range,
        )
    return float(ends[0]), float(ends[1])


def _without_range(prior: Prior, model: GLMM) -> float:
    """SD of the response under jzs, which does without a range; else an error."""
    if prior.kind != "jzs":
        raise ArgumentError(
            f"prior_{prior.kind} needs the theoretical range of the response for the {model.family.name} family: "
            f"prior_{prior.kind}(y_range=(lowest, highest)), e.g. (1, 5) for a rating scale",
            kind=prior.kind,
        )
    y = model.problem.y
    return float(np.std(np.log(y) if model.family.name in LOGNORMAL else y, ddof=1))


def _uses_range(model: GLMM) -> bool:
    """Whether a unit of the model comes from the range of its response."""
    name, link = model.family.name, model.family.link.name
    if name in SIGMA_OF_RESPONSE or name in LOGNORMAL:
        return True
    return not (model.family.is_ordinal or link in LATENT_SD or link == "log")


def chosen_range(prior: Prior, model: GLMM, y_range: Any) -> tuple[float, float] | None:
    """The one range given, in the prior or beside it; warns of responses outside.

    Raises
    ------
    ArgumentError
        Two different ranges.
    """
    beside = check_range(y_range)
    if beside and prior.y_range and beside != prior.y_range:
        raise ArgumentError(f"two ranges of the response: y_range={beside} and {prior!r}", y_range=beside)
    chosen = beside or prior.y_range
    if chosen and _uses_range(model):
        y = model.problem.y
        outside = (y < chosen[0]) | (y > chosen[1])
        if outside.any():
            row = int(np.argmax(outside))
            warn(
                PriorWarning(
                    f"y_range={chosen} is the range that the response can take, but {int(outside.sum())} of {y.size} "
                    f"rows lie outside, first row {row} (counted from 0): {y[row]:g}",
                    row=row,
                    count=int(outside.sum()),
                )
            )
    return chosen
