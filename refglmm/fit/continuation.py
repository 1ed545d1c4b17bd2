r"""Continuation ratios by a binary model: one row for every decision "does it end here?".

Place in the reading order: in ``fit``, beside ``categories``; it stands on pandas and the links alone.

An ordinal response with categories 1, ..., K is passed category by category, forward from the lowest or backward from
the highest. Each step is a binary response among those who got there, the *cohort*:

.. math:: P(y = k \mid y \ge k) = F(\eta_k)\ \text{(forward)},\qquad
          P(y = k \mid y \le k) = F(\eta_k)\ \text{(backward)}

so the likelihood of the sequential model is that of a binomial model on the expanded rows. There the effect of a
variable may differ between categories (``cohort:x``), which :class:`refglmm.families.Sequential` does not offer. With
the thresholds :math:`c_k` and coefficients of that family, :math:`\eta_k = c_k - x'\beta` forward and
:math:`x'\beta - c_{k-1}` backward.

Source: Harrell, *Regression modeling strategies*, chapter on continuation-ratio models; Agresti, section 4.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, DataError, ResponseError
from refglmm.families.links import get_link
from refglmm.families.ordinal import DIRECTIONS

FloatArray = NDArray[np.float64]
#: Links of a binary model; all but cloglog are symmetric.
BINARY_LINKS = ("logit", "probit", "cloglog", "cauchit")


@dataclass(frozen=True, eq=False)
class ContinuationRatio:
    """An ordinal response as a binary one.

    Attributes
    ----------
    y : int array, shape (m,)
        1 where the category is the one at which the row ends, 0 where it is passed.
    cohort : Categorical, shape (m,)
        Who is asked: "all", "y>=2", "y>=3", ... (backward: "all", "y<=4", ...).
    subs : int array, shape (m,)
        Row of the original response, from 0.
    reps : int array, shape (n,)
        How many rows each original row has become; 0 where the response is missing.
    levels : tuple of str
    direction : {"forward", "backward"}
    """

    y: NDArray[np.int64]
    cohort: pd.Categorical
    subs: NDArray[np.int64]
    reps: NDArray[np.int64]
    levels: tuple[str, ...]
    direction: str

    def __repr__(self) -> str:
        return (
            f"ContinuationRatio({len(self.reps)} rows of {len(self.levels)} categories -> {len(self.y)} binary rows, "
            f"direction={self.direction!r})"
        )

    def expand(self, data: Any, *, response: str = "y_new", cohort: str = "cohort") -> pd.DataFrame:
        """The rows of ``data`` once for each of their decisions, with columns for the binary response and the cohort.

        Parameters
        ----------
        data : DataFrame or what makes one
            One row for each value of the original response; not changed.
        response, cohort : str
            Names of the new columns.

        Raises
        ------
        DataError
            Another number of rows.
        ArgumentError
            ``data`` has a column of that name already.
        """
        table = pd.DataFrame(data)
        if len(table) != len(self.reps):
            raise DataError(f"data has {len(table)} rows, the response had {len(self.reps)}", rows=len(table))
        if taken := [name for name in (response, cohort) if name in table.columns]:
            raise ArgumentError(f"data has a column {taken[0]!r} already; give response= or cohort= another name")
        out = table.iloc[self.subs].reset_index(drop=True)
        out[response], out[cohort] = self.y, self.cohort
        return out


def cr_setup(y: Any, direction: str = "forward") -> ContinuationRatio:
    """Expand an ordinal response for a continuation-ratio model.

    Parameters
    ----------
    y : Categorical, Series or array of whole numbers
        Two or more categories, in their order; unused categories are left out, missing values have no rows.
    direction : {"forward", "backward"}
        Whether the categories are passed from the lowest or from the highest.

    Returns
    -------
    ContinuationRatio

    Raises
    ------
    ResponseError
        Fewer than two categories; text, whose order is unknown; broken numbers.

    Examples
    --------
    >>> import refglmm as rg
    >>> wine = rg.datasets.load("wine")
    >>> long = rg.cr_setup(wine["rating"]).expand(wine)
    >>> fit = rg.glmer("y_new ~ cohort + temp + contact + (1 | judge)", long, "binomial", n_agq=11)
    >>> round(fit.loglik, 4)
    -81.3452
    """
    _check_direction(direction)
    codes, levels = _codes(y)
    K = len(levels)
    passed = codes if direction == "forward" else K - 1 - codes  # decisions before the one where the row ends
    reps = np.where(codes < 0, 0, np.minimum(passed + 1, K - 1))
    subs = np.repeat(np.arange(codes.size), reps)
    step = np.arange(subs.size) - np.repeat(np.cumsum(reps) - reps, reps)
    inner = levels[1:-1] if direction == "forward" else levels[-2:0:-1]
    names = ["all", *(f"y{'>=' if direction == 'forward' else '<='}{level}" for level in inner)]
    return ContinuationRatio(
        y=(step == passed[subs]).astype(np.int64),
        cohort=pd.Categorical.from_codes(step, categories=names),
        subs=subs,
        reps=reps,
        levels=levels,
        direction=direction,
    )


def _check_direction(direction: str) -> None:
    if direction not in DIRECTIONS:
        raise ArgumentError(f"direction must be 'forward' or 'backward', not {direction!r}", direction=direction)


def _codes(y: Any) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Codes (-1 where missing) and names of the categories that occur."""
    values = pd.Series(y)
    if isinstance(values.dtype, pd.CategoricalDtype):
        factor = values.cat.remove_unused_categories().cat
        codes, levels = factor.codes.to_numpy(), tuple(map(str, factor.categories))
    else:
        try:
            numbers = values.to_numpy(dtype=float, na_value=np.nan)
        except (TypeError, ValueError):
            raise ResponseError(
                "the categories are text, whose order is unknown; make y an ordered Categorical"
            ) from None
        if np.any(broken := np.isfinite(numbers) & (numbers != np.floor(numbers))) or np.any(np.isinf(numbers)):
            row = int(np.argmax(broken | np.isinf(numbers)))
            raise ResponseError(f"y must be categories or whole numbers; it is {numbers[row]:g} in row {row}", row=row)
        codes, distinct = pd.factorize(numbers, sort=True)
        levels = tuple(f"{value:.0f}" for value in distinct)
    if len(levels) < 2:
        raise ResponseError(f"y has {len(levels)} category; a continuation-ratio model needs two or more")
    return codes.astype(np.int64), levels


def cr_marginal_probabilities(eta: Any, direction: str = "forward", *, link: str = "logit") -> FloatArray:
    """Probabilities of the categories from the linear predictors of the decisions.

    Parameters
    ----------
    eta : array or DataFrame, shape (n, K - 1)
        Linear predictor of each decision, a column for each cohort in the order of :func:`cr_setup`.
    direction : {"forward", "backward"}
    link : {"logit", "probit", "cloglog", "cauchit"}
        Of the binary model.

    Returns
    -------
    float array, shape (n, K)
        Columns in the order of the categories; rows sum to one.
    """
    _check_direction(direction)
    values = np.asarray(eta, dtype=np.float64)
    if values.ndim != 2 or not values.shape[1]:
        raise ArgumentError(
            f"eta must have a row for each observation and a column for each cohort, not {values.shape}"
        )
    if link not in BINARY_LINKS:
        raise ArgumentError(f"link must be one of {', '.join(BINARY_LINKS)}, not {link!r}", link=link)
    F = get_link(link).inverse
    goes_on = np.exp(-np.exp(values)) if link == "cloglog" else np.asarray(F(-values))
    ends = np.asarray(F(values))
    ones = np.ones((len(values), 1))
    p = np.hstack([ones, np.cumprod(goes_on, axis=1)]) * np.hstack([ends, ones])
    return p if direction == "forward" else p[:, ::-1]
