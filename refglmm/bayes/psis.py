r"""Pareto smoothed importance sampling: weights whose largest members are replaced by what their tail says.

Place in the reading order: after :mod:`.diagnostics`, before :mod:`.information`; numbers only, no models.

Importance ratios :math:`r_s = p(x_s)/g(x_s)` have a right tail that is close to a generalised Pareto distribution

.. math:: F(z) = 1 - (1 + kz/\sigma)^{-1/k}, \qquad z = r - r_{(S-M)} > 0

above the cutoff :math:`r_{(S-M)}`, with :math:`M = \lceil\min(S/5,\, 3\sqrt{S/r_\mathrm{eff}})\rceil`. The
M largest ratios are replaced by the quantiles of the fitted distribution at :math:`(j - 1/2)/M`, none above the
largest raw ratio. The shape k says how many moments the ratios have: 1/k of them; :math:`\hat k > 0.7` means that no
practical number of draws gives a reliable answer.

The fit of Zhang and Stephens with :math:`\theta = -k/\sigma`: a profile likelihood on a grid of m points

.. math:: \theta_j = \frac{1}{z_{(M)}} + \frac{1 - \sqrt{m/(j - 1/2)}}{3\,z_{(\lfloor M/4 + 1/2\rfloor)}},\qquad
          k(\theta) = \frac1M\sum_i \log(1 - \theta z_i), \qquad
          \ell(\theta) = M\{\log(-\theta/k(\theta)) - k(\theta) - 1\}

weights them by :math:`e^{\ell}`; their mean is :math:`\hat\theta`, and :math:`\hat k = k(\hat\theta)` is drawn towards
1/2 as if by ten more observations. (Zhang and Stephens write -k for this k.)

Sources: Vehtari, Simpson, Gelman, Yao and Gabry (2024), "Pareto smoothed importance sampling", the algorithm and its
appendix on the prior of k; Zhang and Stephens (2009), "A new and efficient estimation method for the generalized Pareto
distribution"; Efraimidis and Spirakis (2006) for weighted sampling without replacement.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from refglmm.errors import ArgumentError

#: With fewer draws in the tail nothing is fitted.
SMALLEST_TAIL = 5
#: Ratios further below the largest are zero in floating point.
LOG_TINY = float(np.log(np.finfo(float).tiny))
#: Log ratios this close are equal: what sets them apart is rounding, which has no tail.
EQUAL = 1e-10
#: Weight of the prior guess k = 1/2, in draws.
PRIOR_DRAWS = 10
#: Columns are worked through so many numbers at a time.
BLOCK = 2**21

Resampling = Literal["systematic", "without_replacement"]


# -- one column ------------------------------------------------------------------------------------------------------


def pareto_fit(z: np.ndarray) -> tuple[float, float]:
    """Shape and scale of the generalised Pareto distribution of z (sorted, positive), before the prior of k."""
    M = z.size
    m = 30 + int(np.sqrt(M))
    quartile = z[int(M / 4.0 + 0.5) - 1]
    theta = 1.0 / z[-1] + (1.0 - np.sqrt(m / (np.arange(m) + 0.5))) / (3.0 * quartile)
    k = np.log1p(-theta[:, None] * z).mean(axis=1)
    log_profile = M * (np.log(-theta / k) - k - 1.0)
    weight = np.exp(log_profile - log_profile.max())
    theta_hat = (theta @ weight) / weight.sum()
    k_hat = np.log1p(-theta_hat * z).mean()
    return float(k_hat), float(-k_hat / theta_hat)


def pareto_quantile(p: np.ndarray, k: float, sigma: float) -> np.ndarray:
    """Quantiles of the generalised Pareto distribution; exponential at k = 0."""
    log_tail = np.log1p(-p)
    return -sigma * log_tail if abs(k) < 1e-15 else sigma * np.expm1(-k * log_tail) / k


def smooth_tail(log_ratio: np.ndarray, M: int) -> float:
    """Smooth the largest M of one column, whose maximum is 0, in place. Returns k."""
    if log_ratio.min() > -EQUAL:
        return -np.inf
    cutoff = max(np.partition(log_ratio, -M - 1)[-M - 1], LOG_TINY)
    tail = np.flatnonzero(log_ratio - cutoff > EQUAL)
    if tail.size < SMALLEST_TAIL:
        return np.inf
    tail = tail[np.argsort(log_ratio[tail], kind="stable")]
    z = np.exp(log_ratio[tail]) - np.exp(cutoff)
    with np.errstate(over="ignore", invalid="ignore"):
        k, sigma = pareto_fit(z)
    # Ratios that span all floating point numbers: a tail heavier than any.
    if not np.isfinite(k):
        return np.inf
    k = (tail.size * k + PRIOR_DRAWS * 0.5) / (tail.size + PRIOR_DRAWS)
    smoothed = pareto_quantile((np.arange(tail.size) + 0.5) / tail.size, k, sigma)
    log_ratio[tail] = np.minimum(np.log(smoothed + np.exp(cutoff)), 0.0)
    return k


def log_sum(x: np.ndarray) -> np.ndarray:
    r"""Logarithm of :math:`\sum_s e^{x_s}` over the first axis, whose largest must be finite.

    ``scipy.special.logsumexp`` takes more than twice as long, and LOO would mostly do that.
    """
    top = x.max(axis=0)
    return top + np.log(np.exp(x - top).sum(axis=0))


# -- what users call -------------------------------------------------------------------------------------------------


def tail_length(S: int, r_eff: float | np.ndarray = 1.0) -> np.ndarray:
    r"""Number of ratios that are smoothed, :math:`\lceil\min(S/5,\, 3\sqrt{S/r_\mathrm{eff}})\rceil`."""
    return np.ceil(np.minimum(S / 5.0, 3.0 * np.sqrt(S / np.asarray(r_eff)))).astype(np.int64)


def khat_threshold(S: int) -> float:
    r"""Shape above which S draws do not suffice, :math:`\min(1 - 1/\log_{10} S,\ 0.7)`."""
    return float(min(1.0 - 1.0 / np.log10(S), 0.7)) if S > 1 else -np.inf


def psis(log_ratios: ArrayLike, r_eff: float | ArrayLike = 1.0) -> tuple[np.ndarray, float | np.ndarray]:
    r"""Pareto smoothed importance weights.

    Parameters
    ----------
    log_ratios : array, shape (S,) or (S, n)
        Logarithms of the importance ratios of S draws, up to a constant for each column. ``-inf`` is a weight of zero.
    r_eff : float or array, shape (n,)
        Relative efficiency of the draws, effective sample size over S: 1 for independent ones. It sets the tail's
        length.

    Returns
    -------
    log_weights : float array, shape of ``log_ratios``
        Normalised: the exponentials of each column sum to 1.
    khat : float, or float array of shape (n,)
        Estimated tail shape. ``inf`` where the tail is too short to fit (fewer than five draws stand out): the raw
        weights come back. ``-inf`` where all ratios are equal, and with them the weights.

    Raises
    ------
    ArgumentError
        Other shapes, NaN or ``+inf`` ratios, a column of zero weights, an efficiency that is not positive.

    Notes
    -----
    Source: Vehtari et al. (2024). Checked against ArviZ and R's loo.
    """
    x = _checked_ratios(log_ratios)
    columns = x.reshape(len(x), -1)
    S, n = columns.shape
    M = np.minimum(tail_length(S, checked_efficiency(r_eff, n)), S - 1)
    weights, khat = np.empty((S, n)), np.empty(n)
    step = max(1, BLOCK // S)
    for start in range(0, n, step):
        part = slice(start, start + step)
        block = np.ascontiguousarray((columns[:, part] - columns[:, part].max(axis=0)).T)
        khat[part] = [smooth_tail(*column) for column in zip(block, M[part])]
        weights[:, part] = block.T - log_sum(block.T)
    return weights.reshape(x.shape), float(khat[0]) if x.ndim == 1 else khat


def _checked_ratios(log_ratios: ArrayLike) -> np.ndarray:
    x = np.asarray(log_ratios, dtype=float)
    if x.ndim not in (1, 2) or x.size == 0:
        raise ArgumentError(f"log_ratios must have shape (S,) or (S, n), not {x.shape}", shape=x.shape)
    bad = np.isnan(x) | (x == np.inf)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ArgumentError(
            f"log_ratios[{', '.join(map(str, where))}] is {x[where]}: ratios must be finite (-inf for zero)",
            index=where,
        )
    empty = np.flatnonzero(np.atleast_1d(x.max(axis=0)) == -np.inf)
    if empty.size:
        raise ArgumentError(f"all ratios of column {empty[0]} of log_ratios are zero", column=int(empty[0]))
    return x


def checked_efficiency(r_eff: float | ArrayLike, n: int) -> np.ndarray:
    """Relative efficiency of each of n columns."""
    efficiency = np.asarray(r_eff, dtype=float)
    if efficiency.shape not in ((), (1,), (n,)):
        raise ArgumentError(f"r_eff must be one number or one for each of {n} columns, not {efficiency.shape}")
    if not np.all((efficiency > 0.0) & np.isfinite(efficiency)):
        raise ArgumentError("r_eff must be positive and finite; 1 stands for independent draws", r_eff=r_eff)
    return np.broadcast_to(efficiency, (n,))


def weights_ess(log_weights: ArrayLike) -> float | np.ndarray:
    r"""Effective sample size of normalised weights, :math:`1/\sum_s w_s^2`.

    Parameters
    ----------
    log_weights : array, shape (S,) or (S, n)
        Of independent draws; for Markov chains multiply by their relative efficiency.

    Returns
    -------
    float, or float array of shape (n,)
        Between 1 and S.
    """
    ess = 1.0 / (np.exp(_normalised(log_weights)) ** 2).sum(axis=0)
    return float(ess) if ess.ndim == 0 else ess


def _normalised(log_weights: ArrayLike) -> np.ndarray:
    lw = _checked_ratios(log_weights)
    return lw - log_sum(lw)


def resample(
    log_weights: ArrayLike,
    size: int,
    rng: int | np.random.Generator,
    *,
    method: Resampling = "systematic",
) -> np.ndarray:
    r"""Indices of draws chosen with probabilities given by their weights.

    Parameters
    ----------
    log_weights : array, shape (S,)
        Need not be normalised.
    size : int
        How many to choose.
    rng : int or numpy.random.Generator
    method : {"systematic", "without_replacement"}
        ``"systematic"``: one uniform number shifts a comb of ``size`` equal steps over the cumulative weights. Draw s
        comes :math:`\lfloor\text{size}\,w_s\rfloor` times or once more, on average :math:`\text{size}\,w_s` times, so
        that means over the result are unbiased for the weighted ones. ``"without_replacement"``: the largest ``size``
        of :math:`\log w_s` + Gumbel noise; each draw at most once, which understates heavy weights but keeps the
        result diverse.

    Returns
    -------
    int array, shape (size,)
        In random order.

    Raises
    ------
    ArgumentError
        A matrix of weights, weights as in :func:`psis`, a size below 1, an unknown method, or more draws without
        replacement than have a positive weight.
    """
    lw = _normalised(log_weights)
    if lw.ndim != 1:
        raise ArgumentError(f"log_weights must have shape (S,), not {lw.shape}", shape=lw.shape)
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
        raise ArgumentError(f"size must be a positive whole number, not {size!r}", size=size)
    generator = np.random.default_rng(rng)
    if method == "systematic":
        comb = (np.arange(size) + generator.uniform()) / size
        cumulative = np.cumsum(np.exp(lw))
        return generator.permutation(np.searchsorted(cumulative / cumulative[-1], comb, side="right"))
    if method == "without_replacement":
        return _without_replacement(lw, size, generator)
    raise ArgumentError(f"method must be 'systematic' or 'without_replacement', not {method!r}", method=method)


def _without_replacement(lw: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    possible = int(np.count_nonzero(lw > -np.inf))
    if size > possible:
        raise ArgumentError(
            f"{size} different draws are wanted, and only {possible} have a positive weight: ask for fewer, or use "
            "method='systematic'",
            size=size,
            possible=possible,
        )
    keys = lw + generator.gumbel(size=lw.size)
    return generator.permutation(np.argpartition(-keys, size - 1)[:size])
