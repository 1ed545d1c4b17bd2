r"""Draws of a model's parameters as its linear predictor takes them, and summaries of what is made of them.

Place in the reading order: after ``posterior``; before ``predictive`` and ``effects``. Of each draw there are

.. math:: \beta,\quad T_t,\quad b_t\ (\text{levels} \times k_t),\quad \phi; \qquad
          \eta = o + X\beta + \sum_t Z_t b_t,\quad b_t \sim N(0, T_t T_t') \text{ for a new level}

A quantity is a function of these. Draws of a posterior give its mean, standard deviation and quantiles: quantiles go
with the quantity through any increasing function, so intervals of means stay in their range. A posterior mode gives the
quantity at the mode, and normal draws around the mode give the rest; those of the hyperparameters have exactly the mean
and the covariance of the approximation, so for functions linear in them standard errors are those of the delta method.
Intervals of a mode are normal on a scale where the quantity is unbounded, and carried back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.fit.rows import Rows, random_part

if TYPE_CHECKING:
    from refglmm.bayes.map import Mode
    from refglmm.bayes.posterior import Posterior

FloatArray = NDArray[np.float64]
Scale = tuple[Callable[[Any], Any], Callable[[Any], Any]]

#: Normal draws around a mode, and the seed they start from: the same question has the same answer.
MODE_DRAWS, MODE_SEED = 2000, 20090214


@dataclass(frozen=True, eq=False)
class ParameterDraws:
    """m draws of the parameters.

    Attributes
    ----------
    beta : float array, shape (m, p)
        Of X as the user wrote it.
    phi : float array, shape (m, n_phi)
        Shape parameters as the family's functions take them (sigma^2 of a gaussian response).
    factors : tuple of float arrays, shape (m, k, k)
        T of each term.
    effects : tuple of float arrays, shape (m, levels, k)
        b of each term.
    """

    beta: FloatArray
    phi: FloatArray
    factors: tuple[FloatArray, ...]
    effects: tuple[FloatArray, ...]

    def __len__(self) -> int:
        return len(self.beta)

    def take(self, index: Any) -> ParameterDraws:
        """Return some of the draws."""
        return ParameterDraws(
            self.beta[index],
            self.phi[index],
            tuple(T[index] for T in self.factors),
            tuple(b[index] for b in self.effects),
        )


def parameter_draws(posterior: Posterior, positions: FloatArray) -> ParameterDraws:
    """Parameters at positions, shape (m, d)."""
    layout, m = posterior.problem.layout, len(positions)
    TT, b = posterior.natural(positions)[2], posterior.random_effects(positions)
    factors, effects, first = [], [], 0
    for k, levels, start in zip(layout.k, layout.levels, layout.T_start, strict=True):
        factors.append(TT[:, start : start + k * k].reshape(m, k, k))
        effects.append(b[:, first : first + k * levels].reshape(m, levels, k))
        first += int(k * levels)
    return ParameterDraws(posterior.beta(positions), posterior.shape(positions), tuple(factors), tuple(effects))


def with_new_levels(draws: ParameterDraws, sizes: list[int], rng: np.random.Generator) -> ParameterDraws:
    """The same draws with effects for further levels of each term, up to ``sizes`` in all, from N(0, T T')."""
    effects = []
    for b, T, size in zip(draws.effects, draws.factors, sizes, strict=True):
        z = rng.standard_normal((len(b), size - b.shape[1], b.shape[2]))
        effects.append(np.concatenate([b, np.einsum("mlj,mkj->mlk", z, T)], axis=1))
    return replace(draws, effects=tuple(effects))


def linear_predictor(draws: ParameterDraws, rows: Rows) -> FloatArray:
    """eta of each row for each draw, shape (m, number of rows)."""
    eta = draws.beta @ rows.X.T + rows.offset
    for Z, codes, b in zip(rows.Z, rows.codes, draws.effects, strict=True):
        if Z.any() or np.isnan(Z).any():
            for i in range(len(eta)):
                eta[i] += random_part(Z, codes, b[i])
    return eta


# -- around a mode ----------------------------------------------------------------------------------------------------


def mode_draws(posterior: Posterior, mode: Mode) -> FloatArray:
    """Positions from the normal approximation around a posterior mode, shape (MODE_DRAWS, d).

    Raises
    ------
    NotAvailableError
        A joint mode (no curvature of the random effects is kept), or one at the boundary.
    """
    from refglmm.bayes import whiten

    if mode.laplace is None:
        raise NotAvailableError("a joint mode has no approximation around it; use optimize(laplace=True) or sample()")
    if mode.at_boundary:
        raise NotAvailableError(
            f"{', '.join(mode.at_boundary)} at the boundary: there is no normal approximation around this mode; use "
            "sample(), or a prior that keeps standard deviations from zero"
        )
    rng = np.random.default_rng(MODE_SEED)
    n = posterior.n_hyper
    fit = mode.laplace
    xi = rng.standard_normal((max(MODE_DRAWS, 2 * n), posterior.dimension))
    xi[:, :n] = _standardised(xi[:, :n])
    L = fit.factor.L()
    metric = whiten.laplace(fit.position, fit.root, fit.slope, L.indptr, L.indices, L.data, fit.factor.perm)
    positions = np.empty_like(xi)
    whiten.place_rows(metric, xi, positions)
    return positions


def _standardised(z: FloatArray) -> FloatArray:
    """Numbers whose columns have mean 0 and covariance I exactly (divisor m - 1)."""
    z = z - z.mean(axis=0)
    root = np.linalg.cholesky(np.atleast_2d(z.T @ z / (len(z) - 1)))
    return np.asarray(np.linalg.solve(root, z.T).T, dtype=np.float64)


# -- summaries --------------------------------------------------------------------------------------------------------


def check_probability(prob: Any) -> float:
    """Refuse what lies outside (0, 1)."""
    number = isinstance(prob, int | float | np.number) and not isinstance(prob, bool)
    if not number or not 0.0 < prob < 1.0:
        raise ArgumentError(f"prob must lie between 0 and 1, not {prob!r}")
    return float(prob)


def summarised(fit: Any, of: Callable[[ParameterDraws], FloatArray], prob: float, scale: Scale | None = None) -> dict:
    """Estimate, se, lower, upper of a quantity.

    Parameters
    ----------
    fit : a fit with ``parameters``, and with ``centre`` where it is a mode
    of : callable
        Draws of the parameters, m of them -> float array, shape (m, ...).
    scale : pair of callables, optional
        To where intervals of a mode are made, and back. None: quantiles of the normal draws.
    """
    values, centre = of(fit.parameters), fit.centre
    se = values.std(axis=0, ddof=1)
    tails = [0.5 - 0.5 * prob, 0.5 + 0.5 * prob]
    if centre is None:
        estimate = values.mean(axis=0)
        lower, upper = np.quantile(values, tails, axis=0)
        return {"estimate": estimate, "se": se, "lower": lower, "upper": upper}
    estimate = of(centre)[0]
    lower, upper = np.quantile(values, tails, axis=0) if scale is None else _carried(values, estimate, tails[1], *scale)
    return {"estimate": estimate, "se": se, "lower": lower, "upper": upper}


def _carried(
    values: FloatArray, estimate: FloatArray, tail: float, there: Callable[[Any], Any], back: Callable[[Any], Any]
) -> FloatArray:
    """Normal interval on another scale, carried back."""
    from scipy.special import ndtri

    with np.errstate(all="ignore"):
        reach = float(ndtri(tail)) * np.std(there(values), axis=0, ddof=1)
        ends = np.array([back(there(estimate) - reach), back(there(estimate) + reach)])
    return np.sort(ends, axis=0)


def same(x: Any) -> Any:
    """The scale of the quantity itself."""
    return x


#: Scales of intervals: the whole line, and probabilities.
LINE: Scale = (same, same)
PROBABILITY: Scale = (lambda p: np.log(p) - np.log1p(-p), lambda z: 1.0 / (1.0 + np.exp(-z)))
