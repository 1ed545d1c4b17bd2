r"""From linear functions of the parameters to means of the response, with the random effects zero or integrated out.

Place in the reading order: in ``effects``, after ``derivatives``. For a row :math:`\eta = \ell'\beta + o` with random
part :math:`z'b`, :math:`b \sim N(0, \Sigma)`:

==============  =====================================================================================
``zero``        :math:`m = g^{-1}(\eta)` (truncated laws and their like: what follows from it)
``integrate``   :math:`m = h(\eta, s) = \int g^{-1}(\eta + s z)\,\phi(z)\,dz,\quad s^2 = z'\Sigma z`
==============  =====================================================================================

The integral and its derivatives in (par, beta) are those of :mod:`refglmm.fit.population`, so that standard errors of
integrated means count the uncertainty of the covariance parameters. Intervals are made on the scale of the link,
:math:`g(m) \pm c\,\mathrm{se}(m)\,g'(m)`, and carried back by :math:`g^{-1}`: they never leave the range of the mean.

Source: Zeger, Liang and Albert (1988), "Models for longitudinal data: a generalized estimating equation approach"
(population averages); the delta method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from refglmm.effects.derivatives import STENCIL, STEP
from refglmm.effects.grid import Rows
from refglmm.errors import ArgumentError
from refglmm.fit.parts import refuse_several
from refglmm.fit.population import (
    conditional_mean,
    delta_se,
    mean_at,
    parameter_covariance,
    population_mean,
    random_variance,
    whole_line,
)
from refglmm.inference.denominator_df import resolve_method

if TYPE_CHECKING:
    from refglmm.families.links import Link
    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]

#: Slopes of the linear predictor below this do not lengthen the step any more.
SMALLEST_SLOPE = 1e-8
#: What a table says of each link's scale.
LINK_SCALES = {"logit": "log-odds", "log": "log", "identity": "response"}


def scale_name(link: Link) -> str:
    """Name of the linear predictor's scale."""
    return LINK_SCALES.get(link.name, link.name)


def drawn(fit: Any) -> bool:
    """Whether a fit has a posterior, and with it numbers of its own for any rows (``row_numbers``)."""
    return hasattr(fit, "posterior")


class HasDraws(Protocol):
    """What a fit with a posterior can do; :meth:`refglmm.bayes.after.AfterFit.row_numbers` describes it."""

    def row_numbers(self, rows: Rows, **how: Any) -> dict[str, FloatArray]:
        """Estimate, se, lower, upper and pd of rows."""
        ...


def draws_of(fit: Any) -> HasDraws:
    """The fit, known to be ``drawn``."""
    assert drawn(fit)
    found: HasDraws = fit
    return found


def category_levels(fit: Any) -> list[str]:
    """Levels of an ordinal response."""
    return list(fit.family.levels)


def check_type(type: str, more: Sequence[str] = ()) -> None:
    """Refuse a scale that does not exist."""
    known = ("link", "response", *more)
    if type not in known:
        raise ArgumentError(f"type must be {' or '.join(map(repr, known))}, not {type!r}", type=type)


def category_types(fit: FittedModel) -> tuple[str, ...]:
    """Scales that ordinal models with a posterior have besides: probabilities of categories, the expected category."""
    return ("prob", "score") if drawn(fit) and fit.family.is_ordinal else ()


def df_method(fit: FittedModel, ddf: Any) -> Any:
    """How degrees of freedom are found, see :func:`.resolve_method`; of draws there are none ("inf").

    Raises
    ------
    ArgumentError, NotAvailableError
        Unknown methods; any method for draws.
    """
    if not drawn(fit):
        return resolve_method(fit, ddf)
    if ddf != "auto":
        raise ArgumentError(f"intervals from a posterior have no degrees of freedom; leave ddf={ddf!r} out", ddf=ddf)
    return "inf"


def check_level(level: Any, argument: str = "level") -> float:
    """Refuse a probability outside (0, 1)."""
    number = isinstance(level, int | float | np.integer | np.floating) and not isinstance(level, bool)
    if not number or not 0.0 < level < 1.0:
        raise ArgumentError(f"{argument} must lie between 0 and 1, not {level!r}", level=level)
    return float(level)


# --- means of rows ------------------------------------------------------------------------------------------


def linear_predictor(fit: FittedModel, rows: Rows) -> FloatArray:
    """L beta + offset."""
    return rows.L @ fit.beta + rows.offset


def means(fit: FittedModel, rows: Rows, re: str) -> tuple[FloatArray, FloatArray]:
    """Mean of the response at each row, and its derivatives in (par, beta, phi).

    Returns
    -------
    float arrays, shapes (m,) and (m, n_par + p)
    """
    if re == "integrate":
        refuse_several(
            fit,
            "the mean of a combination of values over the random effects",
            "use fit.predict(newdata, marginal=True)",
        )
        return population_mean(fit, rows.L, rows.offset, rows.Z)
    return mean_at(fit, rows.L, rows.offset)


def slopes(fit: FittedModel, rows: Rows, along: Rows, re: str) -> tuple[FloatArray, FloatArray]:
    """Derivative of the mean of each row along a direction, and its derivatives in (par, beta).

    The direction is exact; what the link makes of it is taken by a difference of order eight, whose step moves the
    linear predictor by a hundredth (less near an edge of the link's domain): relative error near 1e-13.

    Parameters
    ----------
    along : Rows
        Derivatives of L, offset and Z in a variable. With random slopes an integrated mean changes with z too.

    Returns
    -------
    float arrays, shapes (m,) and (m, n_par + p)
    """
    link = fit.family.link
    eta, d_eta = linear_predictor(fit, rows), along.L @ fit.beta + along.offset
    reach = STEP * (1.0 if whole_line(link) else np.minimum(1.0, np.abs(eta)))
    step = reach / np.maximum(np.abs(d_eta) + np.sqrt(random_variance(fit, along.Z)), SMALLEST_SLOPE)
    total: Any = 0.0
    jacobian: Any = 0.0
    for k, c in enumerate(STENCIL, 1):
        after, after_gradient = means(fit, rows.moved(along, k * step), re)
        before, before_gradient = means(fit, rows.moved(along, -k * step), re)
        total = total + c * (after - before) / step
        jacobian = jacobian + c * (after_gradient - before_gradient) / step[:, None]
    return total, jacobian


# --- intervals ----------------------------------------------------------------------------------------------


def back_transformed(
    link: Link,
    eta: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    mean: Callable[[FloatArray], FloatArray] | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Interval for the mean (the inverse link, unless ``mean`` is given) from one for the linear predictor.

    Where the link is defined on one side of zero only, the interval ends there: at mean 0 (sqrt) or infinity
    (inverse, 1/mu^2).
    """
    if link.name in ("inverse", "sqrt", "1/mu^2"):
        positive = eta > 0.0
        lower = np.where(positive, np.maximum(lower, 0.0), lower)
        upper = np.where(positive, upper, np.minimum(upper, -0.0))
    mean = mean or link.inverse
    ends = np.stack([mean(lower), mean(upper)])
    return ends.min(axis=0), ends.max(axis=0)


def on_response(
    fit: FittedModel, eta: FloatArray, se: FloatArray, ends: tuple[FloatArray, FloatArray], rows: Rows | None = None
) -> tuple[FloatArray, FloatArray, tuple[FloatArray, FloatArray]]:
    """Mean, standard error and interval from those of the linear predictor.

    ``rows`` (random effects zero) let the standard error count the shape parameters where the mean depends on them.
    """
    mean = conditional_mean(fit)
    ends = back_transformed(fit.family.link, eta, *ends, mean.value)
    if rows is None or not mean.on_shape:
        return mean.value(eta), se * np.abs(mean.slope(eta)), ends
    value, jacobian = mean_at(fit, rows.L, rows.offset)
    return value, delta_se(jacobian, parameter_covariance(fit).covariance), ends


def mean_interval(link: Link, m: FloatArray, se: FloatArray, critical: Any) -> tuple[FloatArray, FloatArray]:
    """Interval for a mean, made on the scale of the link: g(m) +- c se / mu'(g(m)), carried back."""
    with np.errstate(all="ignore"):
        eta = link.link(m)
        half = critical * se / np.abs(link.mu_eta(eta))
    return back_transformed(link, eta, eta - half, eta + half)


def critical_values(level: float, df: FloatArray) -> FloatArray:
    """Two-sided quantile of t (normal for infinite df) of each row."""
    from scipy.stats import t

    return np.asarray(t.ppf(0.5 + 0.5 * level, df), dtype=float)
