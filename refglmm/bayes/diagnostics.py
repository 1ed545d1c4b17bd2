r"""How far draws of Markov chains can be trusted: R-hat, effective sample sizes, Monte Carlo standard errors.

Place in the reading order: first of the modules that read draws; needs arrays only. Before :mod:`.psis` and
:mod:`.information`.

Draws :math:`x_{cs}` of one quantity: chains c, draws s. Each chain is split into halves, which gives m half-chains of
length n; a chain that drifts then disagrees with itself. With the mean :math:`W` of the m variances and the variance
:math:`B/n` of the m means,

.. math:: \hat R = \sqrt{\frac{(n-1)/n\,W + B/n}{W}}, \qquad
          \hat\rho_t = 1 - \frac{W - \overline{\gamma_t}}{(n-1)/n\,W + B/n}, \qquad
          \mathrm{ESS} = \frac{mn}{\hat\tau},\quad \hat\tau = -1 + 2\sum_{j<J} P_j + \hat\rho_{2J}

where :math:`\overline{\gamma_t}` is the mean autocovariance at lag t (by fast Fourier transform),
:math:`P_j = \hat\rho_{2j} + \hat\rho_{2j+1}`, summed over the initial positive sequence and made monotone (Geyer). What
x stands for gives the variants: *bulk*, normal scores of the ranks
:math:`z = \Phi^{-1}\{(r - 3/8) / (S + 1/4)\}`; *folded*, the same of :math:`|x - \mathrm{median}|`; *tail*,
the indicators :math:`x \le q_p`.

Draws of which nothing can be said give NaN: one that is not finite, all equal, or fewer than :data:`FEWEST_DRAWS` a
chain. (ArviZ calls the effective size of constant draws their number.) Half-chains that each stand still at different
values have an R-hat of infinity. One chain is enough for R-hat, whose halves are compared.

Sources: Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), "Rank-normalization, folding, and localization", for
all but: Geyer (1992), "Practical Markov chain Monte Carlo", on initial sequence estimators; Betancourt (2016),
"Diagnosing suboptimal cotangent disintegrations", on E-BFMI; Silverman (1986), "Density estimation", on the choice of
the bandwidth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from refglmm.errors import ArgumentError
from refglmm.inference.draw_formulas import autocovariance, energy_fraction, silverman_bandwidth

#: A chain with fewer draws has halves without a variance or a lag.
FEWEST_DRAWS = 4
#: Columns are worked through so many numbers at a time, which bounds the memory (about ten copies are alive at once).
BLOCK = 2**21
#: Quantiles whose indicators "tail" means, as in Stan and ArviZ; those that the summary prints.
TAIL, PRINTED = (0.05, 0.95), (0.025, 0.975)
#: Points of the grid on which the kernel density is searched, the draws it must span and the bandwidths added on
#: either side. A far tail would stretch the grid beyond the bandwidth, and holds no mode.
GRID_POINTS, GRID_SPAN, GRID_MARGIN = 2048, (0.005, 0.995), 3.0

Estimate = float | np.ndarray


# -- columns ---------------------------------------------------------------------------------------------------------


def checked_draws(draws: ArrayLike, name: str = "draws") -> np.ndarray:
    """Draws as a float array of shape (chains, draws) or (chains, draws, k).

    Raises
    ------
    ArgumentError
        Other shapes, an empty array, or values that are not real numbers.
    """
    try:
        x = np.asarray(draws)
        x = (
            x
            if x.dtype == np.float64
            else x.astype(np.float64, casting="same_kind" if x.dtype.kind == "c" else "unsafe")
        )
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name}: an array of real numbers is needed ({error})") from error
    if x.ndim not in (2, 3):
        hint = "; draws of one chain are draws[None, :]" if x.ndim == 1 else ""
        raise ArgumentError(
            f"{name} must have shape (chains, draws) or (chains, draws, k), not {x.shape}{hint}", shape=x.shape
        )
    if x.size == 0:
        raise ArgumentError(f"{name} has shape {x.shape}: there is nothing in it", shape=x.shape)
    return x


def _checked_probability(prob: float, name: str = "prob") -> float:
    if not 0.0 < prob < 1.0:
        raise ArgumentError(f"{name} must lie between 0 and 1, not {prob!r}", value=prob)
    return float(prob)


def _is_constant(x: np.ndarray) -> np.ndarray:
    return x.max(axis=(1, 2)) == x.min(axis=(1, 2))


def _by_column(formula: Callable[[np.ndarray], np.ndarray], draws: ArrayLike, rows: int = 1) -> Any:
    """Apply a formula for arrays (k, chains, draws) to the columns that have an answer; NaN for the others.

    The formula may return several answers, as ``rows`` rows.
    """
    x = checked_draws(draws)
    columns = np.atleast_3d(x)
    chains, n, k = columns.shape
    out = np.full((rows, k), np.nan)
    step = max(1, BLOCK // (chains * n))
    for start in range(0, k if n >= FEWEST_DRAWS else 0, step):
        part = np.ascontiguousarray(np.moveaxis(columns[:, :, start : start + step], 2, 0))
        good = np.isfinite(part).all(axis=(1, 2)) & ~_is_constant(part)
        if good.any():
            out[:, start + np.flatnonzero(good)] = formula(part if good.all() else part[good])
    if rows > 1:
        return out
    return float(out[0, 0]) if x.ndim == 2 else out[0]


def _split(x: np.ndarray) -> np.ndarray:
    """Half-chains; the middle draw of an odd number belongs to neither."""
    half = x.shape[2] // 2
    return np.concatenate((x[:, :, :half], x[:, :, -half:]), axis=1)


def _rank_normal(x: np.ndarray) -> np.ndarray:
    r"""Normal scores :math:`\Phi^{-1}\{(r - 3/8)/(S + 1/4)\}` of the ranks over all chains; ties share their mean."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    ranks = rankdata(x.reshape(len(x), -1), axis=1)
    return ndtri((ranks - 0.375) / (ranks.shape[1] + 0.25)).reshape(x.shape)


def _folded(x: np.ndarray) -> np.ndarray:
    return np.abs(x - np.median(x, axis=(1, 2), keepdims=True))


# -- formulas for (k, chains, draws) ---------------------------------------------------------------------------------


def _rhat(x: np.ndarray) -> np.ndarray:
    """Square root of the pooled over the within-chain variance."""
    n = x.shape[2]
    within = x.var(axis=2, ddof=1).mean(axis=1)
    between = x.mean(axis=2).var(axis=1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((n - 1) / n + between / within)


def _correlations(x: np.ndarray) -> np.ndarray:
    r"""Combined autocorrelations :math:`\hat\rho_t`, shape (k, draws)."""
    n = x.shape[2]
    covariance = autocovariance(x).mean(axis=1)
    within = covariance[:, :1] * n / (n - 1)
    pooled = covariance[:, :1] + (x.mean(axis=2).var(axis=1, ddof=1)[:, None] if x.shape[1] > 1 else 0.0)
    rho = 1.0 - (within - covariance) / pooled
    rho[:, 0] = 1.0
    return rho


def _integrated_time(rho: np.ndarray) -> np.ndarray:
    r"""Autocorrelation time :math:`\hat\tau` by Geyer's initial monotone sequence; rho has shape (k, n).

    J is the first pair that is not positive, or the last before the final lags, which are noise. Its even half still
    counts once (where it is positive, or the whole pair is): this is what keeps antithetic chains, of which tau < 1, in
    the formula.
    """
    k, n = rho.shape
    last = max(0, (n - 3) // 2)
    even, odd = rho[:, 0 : 2 * last + 1 : 2], rho[:, 1 : 2 * last + 2 : 2]
    pairs = even + odd
    ends = pairs <= 0.0
    J = np.where(ends.any(axis=1), ends.argmax(axis=1), last)
    monotone = np.minimum.accumulate(pairs, axis=1)
    summed = np.where(np.arange(last + 1) < J[:, None], monotone, 0.0).sum(axis=1)
    rows = np.arange(k)
    half = even[rows, J]
    return -1.0 + 2.0 * summed + np.where(pairs[rows, J] >= 0.0, half, np.maximum(half, 0.0))


def _ess(x: np.ndarray) -> np.ndarray:
    r"""Effective sample size :math:`mn / \hat\tau`, at most :math:`mn \log_{10}(mn)`; NaN where x is constant."""
    size = x.shape[1] * x.shape[2]
    with np.errstate(invalid="ignore", divide="ignore"):
        tau = np.maximum(_integrated_time(_correlations(x)), 1.0 / np.log10(size))
    return np.where(_is_constant(x), np.nan, size / tau)


def _ess_mean(x: np.ndarray) -> np.ndarray:
    return _ess(_split(x))


def _ess_quantile(x: np.ndarray, prob: float) -> np.ndarray:
    """Effective sample size of the indicator that x is at most its quantile."""
    threshold = np.quantile(x, prob, axis=(1, 2), keepdims=True)
    return _ess(_split((x <= threshold).astype(float)))


def _ess_tail(x: np.ndarray, quantiles: tuple[float, float]) -> np.ndarray:
    return np.minimum(_ess_quantile(x, quantiles[0]), _ess_quantile(x, quantiles[1]))


def _rhat_folded(x: np.ndarray) -> np.ndarray:
    """R-hat of the distance from the median; NaN where all are equally far from it."""
    folded = _folded(_split(x))
    return np.where(_is_constant(folded), np.nan, _rhat(_rank_normal(folded)))


def _convergence(x: np.ndarray, tail: tuple[float, float]) -> np.ndarray:
    """Bulk and tail effective size and R-hat, as rows; the first and the last share the normal scores."""
    scores = _rank_normal(_split(x))
    return np.stack((_ess(scores), _ess_tail(x, tail), np.fmax(_rhat(scores), _rhat_folded(x))))


def _mcse_sd(x: np.ndarray) -> np.ndarray:
    """Delta method through the variance: the standard error of mean (x - mean)^2, over 2 sd."""
    square = (x - x.mean(axis=(1, 2), keepdims=True)) ** 2
    variance = square.mean(axis=(1, 2))
    return np.sqrt(square.var(axis=(1, 2)) / _ess_mean(square) / variance) / 2.0


def _mcse_quantile(x: np.ndarray, prob: float) -> np.ndarray:
    """Half the distance between the order statistics at the beta distribution's plus and minus one standard error."""
    from scipy.special import betaincinv, ndtr

    ess = _ess_quantile(x, prob)
    ordered = np.sort(x.reshape(len(x), -1), axis=1)
    size, rows = ordered.shape[1], np.arange(len(x))
    a, b = ess * prob + 1.0, ess * (1.0 - prob) + 1.0
    known = np.isfinite(ess)
    low, high = (np.where(known, betaincinv(a, b, ndtr(side)) * size - 1.0, 0.0) for side in (-1.0, 1.0))
    below = np.floor(np.maximum(low, 0.0)).astype(np.intp)
    above = np.ceil(np.minimum(high, size - 1.0)).astype(np.intp)
    return np.where(known, (ordered[rows, above] - ordered[rows, below]) / 2.0, np.nan)


# -- what users call -------------------------------------------------------------------------------------------------


def rhat(draws: ArrayLike) -> Estimate:
    r"""Rank-normalised split R-hat: the larger of the one of the ranks and the one of the folded draws.

    The first sees chains of different location, the second chains of different scale. Values above 1.01 call for more
    draws or a better sampler. Unchanged by strictly increasing transformations but for the folding.

    Parameters
    ----------
    draws : array, shape (chains, draws) or (chains, draws, k)

    Returns
    -------
    float, or float array of shape (k,)
        NaN and infinity as the module's docstring says.

    Raises
    ------
    ArgumentError
        Another shape, or values that are not real numbers.

    Notes
    -----
    Source: Vehtari et al. (2021), on rank normalisation and folding.
    """
    return _by_column(lambda x: np.fmax(_rhat(_rank_normal(_split(x))), _rhat_folded(x)), draws)


def rhat_rank(draws: ArrayLike) -> Estimate:
    """Rank-normalised split R-hat without folding; arguments, result and errors as in :func:`rhat`."""
    return _by_column(lambda x: _rhat(_rank_normal(_split(x))), draws)


def rhat_folded(draws: ArrayLike) -> Estimate:
    """Rank-normalised split R-hat of the distance from the median; otherwise as :func:`rhat`."""
    return _by_column(_rhat_folded, draws)


def ess_bulk(draws: ArrayLike) -> Estimate:
    """Effective sample size of the normal scores: how well the centre of the distribution is known.

    Unchanged by strictly increasing transformations, and defined for distributions without a mean. At least 100 a chain
    are advised. Arguments, result and errors as in :func:`rhat`. Source: Vehtari et al. (2021).
    """
    return _by_column(lambda x: _ess(_rank_normal(_split(x))), draws)


def ess_mean(draws: ArrayLike) -> Estimate:
    """Effective sample size of the split chains as they are, which the standard error of the mean needs.

    Arguments, result and errors as in :func:`rhat`.
    """
    return _by_column(_ess_mean, draws)


def ess_quantile(draws: ArrayLike, prob: float) -> Estimate:
    """Effective sample size for the quantile at ``prob``: that of the indicator of not exceeding it.

    Parameters
    ----------
    draws : array, shape (chains, draws) or (chains, draws, k)
    prob : float
        Between 0 and 1, exclusive.

    Returns
    -------
    float, or float array of shape (k,)
        NaN also where the indicator is constant (more than 1 - prob of the draws tie at the largest value).

    Raises
    ------
    ArgumentError
        As in :func:`rhat`; a probability outside (0, 1).
    """
    prob = _checked_probability(prob)
    return _by_column(lambda x: _ess_quantile(x, prob), draws)


def ess_tail(draws: ArrayLike, *, quantiles: tuple[float, float] = TAIL) -> Estimate:
    """Smaller of the effective sample sizes for two quantiles, by default 5% and 95% as in Stan and ArviZ.

    Parameters
    ----------
    draws : array, shape (chains, draws) or (chains, draws, k)
    quantiles : pair of float
        ``(0.025, 0.975)`` for the ends of a 95% interval.

    Returns
    -------
    float, or float array of shape (k,)
        NaN where either is.

    Raises
    ------
    ArgumentError
        As in :func:`ess_quantile`.
    """
    low, high = _checked_pair(quantiles)
    return _by_column(lambda x: _ess_tail(x, (low, high)), draws)


def _checked_pair(quantiles: Sequence[float]) -> tuple[float, float]:
    if len(quantiles) != 2 or not 0.0 < quantiles[0] < quantiles[1] < 1.0:
        raise ArgumentError(f"quantiles must be two increasing probabilities between 0 and 1, not {quantiles!r}")
    return float(quantiles[0]), float(quantiles[1])


def mcse_mean(draws: ArrayLike) -> Estimate:
    """Monte Carlo standard error of the mean, sd / sqrt(:func:`ess_mean`); otherwise as :func:`rhat`."""
    return _by_column(lambda x: x.std(axis=(1, 2), ddof=1) / np.sqrt(_ess_mean(x)), draws)


def mcse_sd(draws: ArrayLike) -> Estimate:
    """Monte Carlo standard error of the standard deviation, by the delta method; otherwise as :func:`rhat`."""
    return _by_column(_mcse_sd, draws)


def mcse_quantile(draws: ArrayLike, prob: float) -> Estimate:
    """Monte Carlo standard error of the quantile at ``prob``; otherwise as :func:`ess_quantile`.

    The rank of the quantile has a beta distribution with the effective sample size; half the distance between the order
    statistics at its 16% and 84% points. Source: Vehtari et al. (2021), on quantiles.
    """
    prob = _checked_probability(prob)
    return _by_column(lambda x: _mcse_quantile(x, prob), draws)


def autocorrelation(draws: ArrayLike, *, max_lag: int | None = None) -> np.ndarray:
    r"""Autocorrelation of each chain at lags 0, 1, ..., ``max_lag``.

    .. math:: \hat\rho_t = \sum_s (x_s - \bar x)(x_{s+t} - \bar x) \Big/ \sum_s (x_s - \bar x)^2

    Parameters
    ----------
    draws : array, shape (chains, draws) or (chains, draws, k)
    max_lag : int, optional
        At most draws - 1, which is the default.

    Returns
    -------
    float array, shape (chains, max_lag + 1) or (chains, max_lag + 1, k)
        NaN for a chain that stands still or holds a value that is not finite.

    Raises
    ------
    ArgumentError
        As in :func:`rhat`; a negative lag or one beyond the chain.
    """
    x = checked_draws(draws)
    n = x.shape[1]
    lag = n - 1 if max_lag is None else max_lag
    if isinstance(lag, bool) or not isinstance(lag, (int, np.integer)) or not 0 <= lag < n:
        raise ArgumentError(f"max_lag must be a whole number from 0 to draws - 1 = {n - 1}, not {max_lag!r}")
    known = np.isfinite(x).all(axis=1, keepdims=True) & (x.max(axis=1, keepdims=True) > x.min(axis=1, keepdims=True))
    chains = np.moveaxis(np.where(known, x, 0.0), 1, -1)
    covariance = np.moveaxis(autocovariance(chains)[..., : lag + 1], -1, 1)
    return np.where(known, covariance / np.where(known, covariance[:, :1], 1.0), np.nan)


def e_bfmi(energy: ArrayLike) -> np.ndarray:
    r"""Energy Bayesian fraction of missing information of each chain.

    .. math:: \frac{\frac{1}{n-1}\sum_s (E_s - E_{s-1})^2}{\mathrm{var}(E)}

    Small values (below 0.3) say that new momenta change the energy by little of what the target has in store, so that
    the chain travels slowly along it: heavy tails, or a scale parameter that rules many others.

    Parameters
    ----------
    energy : array, shape (chains, draws)
        Total energy (potential plus kinetic) of each transition.

    Returns
    -------
    float array, shape (chains,)
        NaN for a chain of fewer than four draws, of constant energy, or with one that is not finite.

    Raises
    ------
    ArgumentError
        Another shape.

    Notes
    -----
    Source: Betancourt (2016), on the energy diagnostic.
    """
    E = checked_draws(energy, "energy")
    if E.ndim != 2:
        raise ArgumentError(f"energy must have shape (chains, draws), not {E.shape}", shape=E.shape)
    known = np.isfinite(E).all(axis=1) & (E.max(axis=1) > E.min(axis=1)) & (E.shape[1] >= FEWEST_DRAWS)
    out = np.full(len(E), np.nan)
    if known.any():
        out[known] = energy_fraction(E[known])
    return out


# -- summary ---------------------------------------------------------------------------------------------------------


def _binned(x: np.ndarray, start: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Counts on the grid, each draw shared by its two neighbours in proportion; draws beyond it are left out."""
    place = (x - start[:, None]) / step[:, None]
    inside = (place >= 0.0) & (place < GRID_POINTS - 1)
    column = np.nonzero(inside)[0] * GRID_POINTS
    left = place[inside].astype(np.intp)
    share = place[inside] - left
    cells = np.concatenate((column + left, column + left + 1))
    counts = np.bincount(cells, np.concatenate((1.0 - share, share)), minlength=len(x) * GRID_POINTS)
    return counts.reshape(len(x), GRID_POINTS)


def _mode(x: np.ndarray) -> np.ndarray:
    r"""Where the Gaussian-kernel density of draws (k, chains, draws) is highest.

    The density on a grid is the counts convolved with the kernel, whose Fourier transform is
    :math:`\exp(-h^2\omega^2/2)`; a parabola through the logarithms at the top and its neighbours places the mode
    between them.
    """
    from scipy.fft import irfft, rfft

    x = x.reshape(len(x), -1)
    h = silverman_bandwidth(x)
    low, high = np.quantile(x, GRID_SPAN, axis=1)
    start = low - GRID_MARGIN * h
    step = (high - low + 2.0 * GRID_MARGIN * h) / (GRID_POINTS - 1)
    omega = 2.0 * np.pi * np.arange(GRID_POINTS + 1) / (2 * GRID_POINTS)
    kernel = np.exp(-0.5 * ((h / step)[:, None] * omega) ** 2)
    counts = rfft(_binned(x, start, step), n=2 * GRID_POINTS, axis=1)
    density = irfft(counts * kernel, n=2 * GRID_POINTS, axis=1)[:, :GRID_POINTS]
    top = np.clip(density.argmax(axis=1), 1, GRID_POINTS - 2)
    rows = np.arange(len(x))
    before, here, after = (np.log(density[rows, top + shift]) for shift in (-1, 0, 1))
    return start + step * (top + 0.5 * (before - after) / (before - 2.0 * here + after))


def density_mode(draws: ArrayLike) -> Estimate:
    """Mode of the Gaussian-kernel density of the draws (Silverman's bandwidth), one quantity at a time.

    This is the "map" of a summary: the top of a marginal density, not the joint mode. A density that is highest at a
    bound (a standard deviation near 0) gets a mode somewhat inside of it, since the kernel knows no bounds.
    Arguments, result and errors as in :func:`rhat`.
    """
    return _by_column(_mode, draws)


def summary_table(
    values: ArrayLike,
    names: Sequence[str],
    *,
    digits: int | None = None,
    tail: tuple[float, float] = PRINTED,
    mcse: bool = False,
) -> pd.DataFrame:
    """Mean, spread, mode, quantiles and convergence of each quantity.

    Parameters
    ----------
    values : array, shape (chains, draws, k)
    names : sequence of str, length k
    digits : int, optional
        Decimals to round to; full precision by default.
    tail : pair of float
        Quantiles that ``ess_tail`` is about: by default those printed. ``(0.05, 0.95)`` for what Stan and ArviZ show.
    mcse : bool
        Add ``mcse_mean`` and ``mcse_sd``, the Monte Carlo standard errors of mean and sd.

    Returns
    -------
    DataFrame
        Index ``variable``; columns mean, sd, map (see :func:`density_mode`), q2.5, q97.5, ess_bulk, ess_tail, rhat. A
        constant has its value as mean, map and quantiles, and no effective size or R-hat.

    Raises
    ------
    ArgumentError
        Another shape, as many names as there are not columns, or quantiles outside (0, 1).
    """
    x = checked_draws(values, "values")
    if x.ndim != 3:
        raise ArgumentError(f"values must have shape (chains, draws, k), not {x.shape}", shape=x.shape)
    if len(names) != x.shape[2]:
        raise ArgumentError(f"{len(names)} names for {x.shape[2]} columns of values", names=len(names))
    tail = _checked_pair(tail)
    convergence = _by_column(lambda block: _convergence(block, tail), x, rows=3)
    columns = _location(x) | dict(zip(("ess_bulk", "ess_tail", "rhat"), convergence, strict=True))
    table = pd.DataFrame(columns, index=pd.Index(list(names), name="variable"))
    if mcse:
        table.insert(1, "mcse_mean", mcse_mean(x))
        table.insert(3, "mcse_sd", mcse_sd(x))
    return table if digits is None else table.round(digits)


def _location(x: np.ndarray) -> dict[str, Any]:
    """Columns that describe the distribution; a value that is not finite spoils its column only."""
    flat = x.reshape(-1, x.shape[2])
    with np.errstate(invalid="ignore"):
        mean = flat.mean(axis=0)
        low, high = np.quantile(flat, PRINTED, axis=0)
        sd = flat.std(axis=0, ddof=1) if len(flat) > 1 else np.full(x.shape[2], np.nan)
    constant = (flat == flat[0]).all(axis=0)
    mode = np.where(constant, flat[0], density_mode(x))
    return {"mean": np.where(constant, flat[0], mean), "sd": sd, "map": mode, "q2.5": low, "q97.5": high}
