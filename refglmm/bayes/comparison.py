r"""Marginal likelihoods, Bayes factors and predictive accuracy of fits.

Place in the reading order: after ``fits``, ``bridge`` and ``information``: here models meet the functions that know
arrays only.

The bridge is built on the joint posterior of parameters and random effects, in the coordinates of its Laplace
approximation, or (``marginal=True``) on the posterior of the parameters alone, the random effects integrated out by
Laplace's method: exact, and of low dimension, for a Gaussian response with identity link.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.bayes.bayes_factor import BayesFactor
from refglmm.bayes.bridge import BridgeResult, bridge_sampling
from refglmm.bayes.distributions import Normal
from refglmm.bayes.fits import MCMCFit, sample
from refglmm.bayes.information import LooResult, WaicResult, loo, waic
from refglmm.bayes.laplace import Marginal, laplace_whitening, marginal_of
from refglmm.bayes.posterior import Posterior
from refglmm.bayes.savage_dickey import SavageDickey, shifted_density
from refglmm.bayes.scalar import full_label
from refglmm.bayes.scalars import IDENTITY
from refglmm.bayes.shrinkage import DIRECT
from refglmm.bayes.whiten import log_determinant, place_rows, standardise_rows
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.likelihood.agq import AdaptiveQuadratureObjective
from refglmm.likelihood.pirls import Pirls

if TYPE_CHECKING:
    from refglmm.bayes.fits import PosteriorFit

FloatArray = NDArray[np.float64]


class WhitenedCoordinates:
    """The coordinates xi of a posterior's Laplace approximation, for a bridge."""

    def __init__(self, posterior: Posterior) -> None:
        self.whitening = laplace_whitening(posterior)
        self.log_det = log_determinant(self.whitening)

    def to_xi(self, positions: FloatArray) -> FloatArray:
        """Coordinates of positions, shape (m, d)."""
        xi = np.empty_like(positions, order="C")
        standardise_rows(self.whitening, np.ascontiguousarray(positions), xi)
        return xi

    def to_position(self, xi: FloatArray) -> FloatArray:
        """Positions at coordinates, shape (m, d)."""
        positions = np.empty_like(xi, order="C")
        place_rows(self.whitening, np.ascontiguousarray(xi), positions)
        return positions


def require_proper(posterior: Posterior, shared: Sequence[str] = ()) -> None:
    """Refuse a marginal likelihood under improper priors, but for those of ``shared`` parameters.

    Raises
    ------
    NotAvailableError
    """
    improper = [name for name in posterior.priors.improper if name not in shared]
    if improper:
        raise NotAvailableError(
            f"the prior of {', '.join(improper)} does not integrate to one, so there is no marginal likelihood; give "
            "proper priors, e.g. prior=rg.prior_normal()",
            improper=tuple(improper),
        )


def log_marginal_likelihood(
    fit: PosteriorFit,
    *,
    method: str = "normal",
    seed: int = 0,
    repetitions: int = 1,
    marginal: bool = False,
    shared: Sequence[str] = (),
    **settings: Any,
) -> BridgeResult:
    """Log marginal likelihood of a fit's model by bridge sampling.

    Parameters
    ----------
    fit : MCMCFit
    method : {"normal", "warp3"}
    seed : int
    repetitions : int
        Sets of proposed points.
    marginal : bool
        Bridge the parameters alone, random effects integrated out by Laplace's method.
    shared : sequence of str
        Parameters whose prior may be improper, because the model that this one is compared with shares it.

    Returns
    -------
    BridgeResult

    Raises
    ------
    NotAvailableError
        Improper priors; draws that come from no chain.
    """
    if not isinstance(fit, MCMCFit):
        raise NotAvailableError("bridge sampling needs draws of the posterior itself: use sample()")
    require_proper(fit.posterior, shared)
    posterior, positions = fit.posterior, np.array(fit.draws.positions)
    if marginal or positions.shape[2] == posterior.n_hyper:
        target = marginal_of(posterior)

        def densities(hyper: FloatArray) -> FloatArray:
            return np.array([target.value(t) for t in hyper])

        hyper = np.ascontiguousarray(positions[:, :, : posterior.n_hyper])
        return bridge_sampling(hyper, None, densities, method=method, seed=seed, repetitions=repetitions, **settings)
    return bridge_sampling(
        positions,
        np.array(fit.draws.stats["lp"]),
        posterior.log_densities,
        method=method,
        seed=seed,
        repetitions=repetitions,
        coordinates=WhitenedCoordinates(posterior),
        **settings,
    )


# -- models with something fixed -----------------------------------------------------------------------------------


def fixed_posterior(posterior: Posterior, fixed: Mapping[str, float]) -> Posterior:
    """Return the posterior with some parameters known: their priors are no longer there.

    Parameters
    ----------
    fixed : mapping
        Parameter to natural value, e.g. ``{"b[talk]": 0}``; a base name such as "b" means all of them.

    Raises
    ------
    ArgumentError
        A name that is no parameter, or a value outside its bounds.
    NotAvailableError
        Slopes under a shrinkage or joint prior, thresholds, the intercept of a model with centred predictors.
    """
    values = _fixed_values(posterior, fixed)
    scalars = tuple(
        replace(scalar, fixed=values[scalar.name]) if scalar.name in values else scalar for scalar in posterior.scalars
    )
    return posterior.with_priors(replace(posterior.priors, scalars=scalars))


def _fixed_values(posterior: Posterior, fixed: Mapping[str, float]) -> dict[str, float]:
    if not fixed:
        raise ArgumentError("fixed= names no parameter; give e.g. fixed={'b[x]': 0}")
    known = {scalar.name: scalar for scalar in posterior.scalars}
    values: dict[str, float] = {}
    for key, value in fixed.items():
        key = full_label(key, tuple(known))
        if key == "Intercept" and key not in known and "Intercept_c" in known:
            key = _centred_intercept(posterior)
        names = [key] if key in known else [name for name in known if name.split("[", 1)[0] == key]
        if not names:
            raise ArgumentError(f"fixed= names {key!r}, which is no parameter; there are: {', '.join(known)}", name=key)
        for name in names:
            values[name] = _checked_value(posterior, known[name], float(value))
    return values


def _centred_intercept(posterior: Posterior) -> str:
    """The parameter that "Intercept" is, where the predictors have means of zero."""
    if np.any(posterior.means):
        raise NotAvailableError(
            "Intercept is no parameter here: the posterior is that of Intercept_c, the linear predictor at the means "
            "of the predictors; fix that one, or subtract the means from the columns (gmc='all')"
        )
    return "Intercept_c"


def _checked_value(posterior: Posterior, scalar: Any, value: float) -> float:
    if scalar.block == "fixed" and posterior.target.slope_kind[0] != DIRECT:
        raise NotAvailableError(
            f"{scalar.name} is made of several numbers, or shares its prior with others, under this prior; compare "
            "with a model whose formula leaves it out"
        )
    if scalar.block in ("corr", "other") or (scalar.block == "shape" and posterior.priors.ordered):
        raise NotAvailableError(f"{scalar.name} cannot be fixed by itself")
    if not scalar.low <= value <= scalar.high or not np.isfinite(value):
        raise ArgumentError(f"{scalar.name} must lie in [{scalar.low:g}, {scalar.high:g}], not be {value!r}")
    return value


def bayes_factor(
    fit: MCMCFit,
    fixed: Mapping[str, float] | None = None,
    comparison: MCMCFit | None = None,
    *,
    method: str = "normal",
    error_threshold: float = 0.2,
    seed: int = 0,
    marginal: bool = False,
    **sampling: Any,
) -> BayesFactor:
    """Bayes factor of a fit's model (1) against one with parameters fixed, or against that of another fit (2).

    Parameters
    ----------
    fit : MCMCFit
    fixed : mapping, optional
        ``{"b[talk]": 0}``: Model 2 is sampled with as many chains and draws. One fixed parameter is checked by the
        Savage-Dickey ratio.
    comparison : MCMCFit, optional
        Of the same rows and response.
    method, marginal
        As :func:`log_marginal_likelihood` takes them.
    error_threshold : float
        Error of the log Bayes factor above which there is a warning.
    seed : int
    **sampling
        For the chains of Model 2, see ``sample``.

    Returns
    -------
    BayesFactor
    """
    if (fixed is None) == (comparison is None):
        raise ArgumentError("give just one of fixed= and comparison=")
    if fixed is not None:
        posterior = fixed_posterior(fit.posterior, fixed)
        shape = {"chains": fit.draws.n_chains, "sampling": fit.draws.n_draws}
        shape |= {"warmup": int(fit.draws.metadata.get("warmup", 1000)), "seed": seed + 1}
        other = sample(fit.model, posterior, **(shape | sampling))
        description = "Model 2 has " + ", ".join(f"{name} = {value:g}" for name, value in fixed.items())
    else:
        assert comparison is not None
        _check_same_data(fit, comparison)
        other, description = comparison, f"Model 2 is {comparison.model.frame.formula.text}"
    shared = _shared_improper(fit.posterior, other.posterior)
    bridge = {"method": method, "seed": seed, "marginal": marginal, "shared": shared}
    result, other_result = (log_marginal_likelihood(each, **bridge) for each in (fit, other))  # type: ignore[arg-type]
    check = _savage_dickey(fit, fixed) if fixed is not None and len(fixed) == 1 else None
    return BayesFactor.from_results(
        result, other_result, description, savage_dickey=check, error_threshold=error_threshold
    )


def _shared_improper(one: Posterior, two: Posterior) -> list[str]:
    """Parameters with the same improper prior in both models: their constants cancel."""
    priors = {scalar.name: scalar.prior for scalar in two.scalars if scalar.fixed is None}
    same = {scalar.name for scalar in one.scalars if priors.get(scalar.name) == scalar.prior}
    return [name for name in one.priors.improper if name in same]


def _check_same_data(fit: MCMCFit, other: MCMCFit) -> None:
    ours, theirs = fit.model.frame, other.model.frame
    same = ours.n == theirs.n and np.array_equal(ours.y, theirs.y) and np.array_equal(ours.weights, theirs.weights)
    if not same:
        raise ArgumentError("a Bayes factor compares models of the same response and rows; these differ")


def _savage_dickey(fit: MCMCFit, fixed: Mapping[str, float]) -> SavageDickey | None:
    """The ratio for one unbounded coefficient with a proper prior of its own."""
    (name, value), posterior = next(iter(fixed.items())), fit.posterior
    scalar = next((s for s in posterior.scalars if s.name == name), None)
    if scalar is None or scalar.block != "fixed" or scalar.scale != IDENTITY or not scalar.prior.is_proper:
        return None
    at = posterior.hyper_names.index(name)
    log_prior = float(scalar.prior.log_density(np.array([value]))[0])
    positions, lp = np.array(fit.draws.positions), np.array(fit.draws.stats["lp"])
    density = shifted_density(positions, lp, posterior.log_densities, at, float(value))
    return SavageDickey(log_prior - density.value, density.error, "shifted draws")


def prior_sensitivity(
    fit: MCMCFit, name: str, scales: Sequence[float], *, value: float = 0.0, seed: int = 0, **settings: Any
) -> pd.DataFrame:
    """Log Bayes factor of a coefficient against a value, for normal priors of several standard deviations.

    Parameters
    ----------
    name : str
        Coefficient, e.g. "b[talk]".
    scales : sequence of float
        Standard deviations of its normal prior, mean ``value``.
    value : float
        Of Model 2; the same for all scales, so its marginal likelihood is found once.
    **settings
        For :func:`log_marginal_likelihood`.

    Returns
    -------
    DataFrame
        Index scale; columns log_bf, error, logml, evidence.
    """
    from refglmm.bayes.bayes_factor import evidence_label

    if not len(scales) or not all(np.isfinite(s) and s > 0 for s in scales):
        raise ArgumentError("scales must be positive numbers")
    posterior = fit.posterior
    restricted = fixed_posterior(posterior, {name: value})
    shape: dict[str, Any] = {"chains": fit.draws.n_chains, "sampling": fit.draws.n_draws, "seed": seed + 1}
    shape["warmup"] = int(fit.draws.metadata.get("warmup", 1000))
    base = log_marginal_likelihood(sample(fit.model, restricted, **shape), seed=seed, **settings)
    rows = []
    for scale in scales:
        scalars = tuple(
            replace(s, prior=Normal(value, float(scale))) if s.name == name else s for s in posterior.scalars
        )
        wider = posterior.with_priors(replace(posterior.priors, scalars=scalars))
        result = log_marginal_likelihood(sample(fit.model, wider, **shape), seed=seed, **settings)
        log_bf = result.logml - base.logml
        rows.append((log_bf, float(np.hypot(result.error, base.error)), result.logml, evidence_label(log_bf)))
    columns = ["log_bf", "error", "logml", "evidence"]
    return pd.DataFrame(rows, columns=columns, index=pd.Index([float(s) for s in scales], name="scale"))


# -- predictive accuracy ---------------------------------------------------------------------------------------------


def fit_loo(fit: PosteriorFit, *, by: str | None = None, n_agq: int = 7, max_draws: int = 1000) -> LooResult:
    """Leave-one-out predictive accuracy.

    Parameters
    ----------
    by : str, optional
        Grouping factor: leave out whole groups, their random effects integrated out by adaptive quadrature. By default
        single rows are left out, given the random effects; whole blocks where residuals are correlated.
    n_agq : int
        Quadrature points for each random effect of a group.
    max_draws : int
        Most draws for which group likelihoods are computed (evenly spaced ones of each chain).

    Raises
    ------
    NotAvailableError
        Groups of a model with several grouping factors.
    """
    residuals = fit.posterior.residuals
    if by is None and residuals is not None and residuals.kind is not None:
        return loo(fit.log_lik, labels=residuals.blocks, unit="block")
    if by is None:
        return loo(fit.log_lik)
    values, labels = group_log_lik(fit, by, n_agq=n_agq, max_draws=max_draws)
    return loo(values, labels=labels, unit="group")


def group_log_lik(fit: PosteriorFit, by: str, *, n_agq: int = 7, max_draws: int = 1000) -> tuple[FloatArray, list[str]]:
    """Log likelihood of each group at draws of the parameters, random effects integrated out; and the groups' names.

    Shape (chains, draws, groups). See :func:`fit_loo`.
    """
    terms, posterior = fit.model.design.terms, fit.posterior
    if posterior.residuals is not None:
        raise NotAvailableError(
            "groups cannot be left out by integration beside resid_corr= or sigma_by=; without by= whole blocks of "
            "correlated rows are left out"
        )
    if {term.group for term in terms} != {by}:
        groups = ", ".join(dict.fromkeys(term.group for term in terms))
        raise NotAvailableError(
            f"groups of {by!r} cannot be left out by integration: the random effects are grouped by {groups}; this "
            "needs a model with that grouping factor alone",
            group=by,
        )
    objective = AdaptiveQuadratureObjective(Pirls(posterior.problem), n_agq)
    marginal = Marginal(posterior)
    hyper = np.asarray(fit.draws.positions)[:, :, : posterior.n_hyper]
    keep = np.unique(np.linspace(0, hyper.shape[1] - 1, max(1, max_draws // hyper.shape[0])).astype(int))
    values = [[objective.group_log_likelihood(marginal.psi(t)) for t in chain[keep]] for chain in hyper]
    return np.array(values), [str(level) for level in terms[0].levels]


def fit_waic(fit: PosteriorFit) -> WaicResult:
    """WAIC of rows given their random effects."""
    return waic(fit.log_lik)
