r"""What a chain learns while it warms up: the length of a step, and the spread of the posterior.

Place in the reading order: after ``trees``, before ``segment`` and ``chain``.

**Step size** by dual averaging: with :math:`a_t` the acceptance statistic of transition t and :math:`\delta` the
wanted one,

.. math:: \bar h_t = (1 - w)\,\bar h_{t-1} + w\,(\delta - a_t), \; w = \frac{1}{t + t_0}; \qquad
    \log\epsilon_t = \mu - \frac{\sqrt t}{\gamma}\,\bar h_t; \qquad
    \log\bar\epsilon_t = t^{-\kappa}\log\epsilon_t + (1 - t^{-\kappa})\log\bar\epsilon_{t-1}

with :math:`\mu = \log 10\epsilon_1`; :math:`\bar\epsilon` is what stays after the warmup.

**Spread** by running means and products of :math:`\xi` (Welford 1962) over windows that double in length, shrunk by
n/(n + 5) towards a small or a unit variance.

Source: Hoffman and Gelman (2014), section 3.2 and algorithm 5; the windows and the shrinkage are those of Stan's
reference manual, "HMC algorithm parameters".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refglmm._jit import inline

FloatArray = NDArray[np.float64]

#: Constants of dual averaging, as Hoffman and Gelman (2014) set them.
GAMMA, T0, KAPPA = 0.05, 10.0, 0.75
#: So many updates, and the average is more than the first trials, which are too long by intention.
TRUSTED = 10
#: First and last fast phases of a warmup, and its first window; a short warmup has shares of 15 and 10 percent.
FIRST, LAST, WINDOW = 75, 50, 25
SHARE_FIRST, SHARE_LAST = 0.15, 0.10
#: Below this many transitions nothing but the step size is learnt.
SHORTEST = 20
#: A window's variances weigh like n draws against this many.
PRIOR_DRAWS = 5.0


class Averaging(NamedTuple):
    """State of dual averaging: one element each."""

    t: FloatArray
    mu: FloatArray
    h_bar: FloatArray
    log_step: FloatArray
    log_step_bar: FloatArray


def new_averaging() -> Averaging:
    """A state that :func:`restart` has still to fill."""
    return Averaging(*(np.zeros(1) for _ in Averaging._fields))


@inline
def restart(averaging, step):
    """Forget all; start from this step size."""
    averaging.t[0], averaging.h_bar[0] = 0.0, 0.0
    averaging.mu[0] = np.log(10.0 * step)
    averaging.log_step[0] = np.log(step)
    averaging.log_step_bar[0] = np.log(step)


@inline
def learn_step(averaging, accept, delta):
    """One update with the acceptance statistic of a transition."""
    averaging.t[0] += 1.0
    t = averaging.t[0]
    share = 1.0 / (t + T0)
    averaging.h_bar[0] = (1.0 - share) * averaging.h_bar[0] + share * (delta - accept)
    averaging.log_step[0] = averaging.mu[0] - np.sqrt(t) / GAMMA * averaging.h_bar[0]
    share = t**-KAPPA
    averaging.log_step_bar[0] = share * averaging.log_step[0] + (1.0 - share) * averaging.log_step_bar[0]


def settle(averaging: Averaging) -> None:
    """End of the warmup: the averaged step size stays; after very few updates, the one that they started from."""
    if averaging.t[0] < TRUSTED:
        averaging.log_step_bar[0] = averaging.mu[0] - np.log(10.0)


class Moments(NamedTuple):
    """Running number of draws (1,), mean (d,), sums of squares (d,) and of products (k, k) of the first k numbers."""

    draws: FloatArray
    mean: FloatArray
    square: FloatArray
    cross: FloatArray


def new_moments(d: int, k: int) -> Moments:
    """No draws yet."""
    return Moments(np.zeros(1), np.zeros(d), np.zeros(d), np.zeros((k, k)))


@inline
def learn_spread(moments, xi):
    """Add one draw: sums of (x - old mean)(x - new mean)."""
    moments.draws[0] += 1.0
    n, k = moments.draws[0], moments.cross.shape[0]
    for i in range(k):
        for j in range(i + 1):  # (x - old mean)(x - new mean)' is symmetric
            product = (n - 1.0) / n * (xi[i] - moments.mean[i]) * (xi[j] - moments.mean[j])
            moments.cross[i, j] += product
            if i != j:
                moments.cross[j, i] += product
    for j in range(xi.size):
        before = xi[j] - moments.mean[j]
        moments.mean[j] += before / n
        moments.square[j] += before * (xi[j] - moments.mean[j])


def variances(moments: Moments, towards: float) -> FloatArray:
    """Variances of the draws, shrunk towards a number."""
    n = float(moments.draws[0])
    share = n / (n + PRIOR_DRAWS)
    return share * moments.square / (n - 1.0) + (1.0 - share) * towards


def cross_covariance(moments: Moments, towards: float) -> FloatArray:
    """Covariance matrix of the first numbers, shrunk towards a multiple of the identity."""
    n = float(moments.draws[0])
    share = n / (n + PRIOR_DRAWS)
    return share * moments.cross / (n - 1.0) + (1.0 - share) * towards * np.eye(len(moments.cross))


class Segment(NamedTuple):
    """Part of a warmup: its transitions, and whether the spread is learnt from them."""

    length: int
    is_window: bool


def schedule(warmup: int, adapt_metric: bool = True) -> list[Segment]:
    """Fast phase, windows that double in length, fast phase.

    The last window takes what the next one could not double.

    Examples
    --------
    >>> [segment.length for segment in schedule(1000)]
    [75, 25, 50, 100, 200, 500, 50]
    """
    if warmup < SHORTEST or not adapt_metric:
        return [Segment(warmup, False)]
    first, last, window = FIRST, LAST, WINDOW
    if warmup < FIRST + WINDOW + LAST:
        first, last = int(SHARE_FIRST * warmup), int(SHARE_LAST * warmup)
        window = warmup - first - last
    windows, rest = [], warmup - first - last
    while rest:
        length = window if rest >= 3 * window else rest
        windows.append(Segment(length, True))
        rest -= length
        window *= 2
    return [Segment(first, False), *windows, Segment(last, False)]
