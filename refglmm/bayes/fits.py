r"""Posterior fits: draws of a model's posterior with what is read off them.

Place in the reading order: after ``draws`` and ``chain``; ``predictive`` and ``comparison`` take these fits further.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.bayes.after import AfterFit
from refglmm.bayes.diagnostics import e_bfmi, summary_table
from refglmm.bayes.draws import Draws, chosen
from refglmm.bayes.map_fit import effect_frames, level_names
from refglmm.bayes.parameters import check_probability
from refglmm.errors import ArgumentError, SamplingWarning, warn
from refglmm.fit.ranef import GroupFrames

if TYPE_CHECKING:
    from refglmm.bayes.bayes_factor import BayesFactor
    from refglmm.bayes.bridge import BridgeResult
    from refglmm.bayes.information import LooResult, WaicResult
    from refglmm.bayes.parameters import ParameterDraws
    from refglmm.bayes.posterior import Posterior
    from refglmm.model import GLMM

FloatArray = NDArray[np.float64]

#: Above this R-hat chains disagree; below this E-BFMI energies are explored too slowly.
LARGEST_RHAT, SMALLEST_BFMI = 1.01, 0.3
#: Rows of the printed table, as in the article; random effects are never among them.
MOST_ROWS = 40


class PosteriorFit(AfterFit):
    """Draws from the posterior of a model, exact or approximate; immutable.

    Attributes
    ----------
    model, posterior
        What was fitted.
    draws : Draws
        Positions and reported quantities, shape (chains, draws, ...).
    """

    #: What the printed head calls the method.
    method = "posterior draws"

    def __init__(self, model: GLMM, posterior: Posterior, draws: Draws) -> None:
        self.model, self.posterior, self.draws = model, posterior, draws

    # -- numbers -----------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the reported quantities."""
        return self.draws.names

    @cached_property
    def _table(self) -> pd.DataFrame:
        values, names = self.draws.values, self.draws.names
        if "lp" in self.draws.stats:
            values = np.concatenate([np.asarray(self.draws.stats["lp"])[..., None], values], axis=2)
            names = ("lp", *names)
        return summary_table(values, names)

    def summary(self, pars: Any = None) -> pd.DataFrame:
        """Return mean, sd, mode, quantiles (and, of chains, effective sizes and R-hat) of each quantity.

        Parameters
        ----------
        pars : str, int or sequence, optional
            Labels, base names ("b"), "-name" to leave out, positions. All of them by default, with ``lp`` first.
        """
        return self._table.iloc[chosen(tuple(self._table.index), pars)].copy()

    def estimate(self, pars: Any = None, type: str = "mean") -> pd.Series:
        """Point estimates: "mean" or "EAP", "median", "marginal_map" (each by itself), "joint_map" (highest draw)."""
        if type in ("mean", "EAP"):
            return self.draws.mean(pars)
        chosen_draws = self.draws.select(pars)
        if type == "median":
            return chosen_draws.quantile(0.5).iloc[:, 0].rename(None)
        if type == "marginal_map":
            return self.summary(list(chosen_draws.names))["map"].rename(None)
        if type == "joint_map":
            best = np.unravel_index(int(np.argmax(self._lp)), self._lp.shape)
            return pd.Series(chosen_draws.values[best], index=list(chosen_draws.names))
        raise ArgumentError(f"type must be mean, EAP, median, marginal_map or joint_map, not {type!r}")

    def EAP(self, pars: Any = None) -> pd.Series:
        """Posterior means."""
        return self.estimate(pars, "mean")

    def MAP(self, pars: Any = None) -> pd.Series:
        """The values of the draw with the highest log density."""
        return self.estimate(pars, "joint_map")

    @property
    def _lp(self) -> FloatArray:
        if "lp" in self.draws.stats:
            return np.asarray(self.draws.stats["lp"])
        shape = self.draws.values.shape[:2]
        return self.posterior.log_densities(self._flat_positions()).reshape(shape)

    def _flat_positions(self) -> FloatArray:
        return np.asarray(self.draws.positions).reshape(-1, self.posterior.dimension)

    @cached_property
    def parameters(self) -> ParameterDraws:
        """Draws of the parameters as the linear predictor takes them, chains one after the other."""
        from refglmm.bayes.parameters import parameter_draws

        return parameter_draws(self.posterior, self._flat_positions())

    @property
    def reported_draws(self) -> tuple[tuple[str, ...], FloatArray]:
        """Names of the reported quantities and their draws, chains one after the other."""
        return self.draws.names, self.draws.stack()

    @property
    def draws_shape(self) -> tuple[int, int]:
        """Chains and draws of each."""
        return self.draws.n_chains, self.draws.n_draws

    # -- random effects ----------------------------------------------------------------------------------------

    @cached_property
    def random_effects(self) -> FloatArray:
        """Draws of b = Lambda u on the scale of the linear predictor, shape (chains, draws, q)."""
        b = self.posterior.random_effects(self._flat_positions())
        return b.reshape(*self.draws.values.shape[:2], self.posterior.q)

    def ranef(self, prob: float = 0.95) -> GroupFrames:
        """Random effects by grouping factor: mean, sd and interval of each level."""
        flat = self.random_effects.reshape(-1, self.posterior.q)
        tail = 50.0 * (1.0 - check_probability(prob))
        lower, upper = np.percentile(flat, [tail, 100.0 - tail], axis=0)
        columns = {"mean": flat.mean(axis=0), "sd": flat.std(axis=0, ddof=1), "lower": lower, "upper": upper}
        return effect_frames(self.model, columns, "Random effects, posterior")

    @property
    def effect_names(self) -> list[tuple[str, str, str]]:
        """(Grouping factor, level, column) of each random effect."""
        return level_names(self.model)

    # -- likelihood ----------------------------------------------------------------------------------------------

    @cached_property
    def log_lik(self) -> FloatArray:
        """Log likelihood of each row given its random effects, shape (chains, draws, n); computed when asked for."""
        values = self.posterior.log_lik(self._flat_positions())
        return values.reshape(*self.draws.values.shape[:2], -1)

    # -- comparison ----------------------------------------------------------------------------------------------

    def loo(self, *, by: str | None = None, n_agq: int = 7, max_draws: int = 1000) -> LooResult:
        """Leave-one-out accuracy by Pareto-smoothed importance sampling, see :func:`.comparison.fit_loo`."""
        from refglmm.bayes.comparison import fit_loo

        return fit_loo(self, by=by, n_agq=n_agq, max_draws=max_draws)

    def waic(self) -> WaicResult:
        """WAIC of the rows given their random effects, with a standard error and a warning where it is unreliable."""
        from refglmm.bayes.comparison import fit_waic

        return fit_waic(self)

    def bridge_sampling(self, method: str = "normal", **settings: Any) -> BridgeResult:
        """Log marginal likelihood, see :func:`.comparison.log_marginal_likelihood`."""
        from refglmm.bayes.comparison import log_marginal_likelihood

        return log_marginal_likelihood(self, method=method, **settings)

    # -- pictures ------------------------------------------------------------------------------------------------

    def plot_dens(self, pars: Any = None, **settings: Any) -> Any:
        """Posterior densities, see :func:`refglmm.plots.plot_dens`."""
        from refglmm.plots import plot_dens

        return plot_dens(self, pars, **settings)

    def plot_trace(self, pars: Any = None, **settings: Any) -> Any:
        """Draws in their order, see :func:`refglmm.plots.plot_trace`."""
        from refglmm.plots import plot_trace

        return plot_trace(self, pars, **settings)

    def plot_acf(self, pars: Any = None, **settings: Any) -> Any:
        """Autocorrelations, see :func:`refglmm.plots.plot_acf`."""
        from refglmm.plots import plot_acf

        return plot_acf(self, pars, **settings)

    def plot_forest(self, pars: Any = None, **settings: Any) -> Any:
        """Points with intervals, see :func:`refglmm.plots.plot_forest`."""
        from refglmm.plots import plot_forest

        return plot_forest(self, pars, **settings)

    def plot_pairs(self, pars: Any = None, **settings: Any) -> Any:
        """Draws of each pair of quantities, see :func:`refglmm.plots.plot_pairs`."""
        from refglmm.plots import plot_pairs

        return plot_pairs(self, pars, **settings)

    def plot_rank(self, pars: Any = None, **settings: Any) -> Any:
        """Ranks of the draws of each chain, see :func:`refglmm.plots.plot_rank`."""
        from refglmm.plots import plot_rank

        return plot_rank(self, pars, **settings)

    def plot_energy(self, **settings: Any) -> Any:
        """Energies and their changes, see :func:`refglmm.plots.plot_energy`."""
        from refglmm.plots import plot_energy

        return plot_energy(self, **settings)

    def plot_rhat(self, **settings: Any) -> Any:
        """R-hat of all quantities, see :func:`refglmm.plots.plot_rhat`."""
        from refglmm.plots import plot_rhat

        return plot_rhat(self._table, **settings)

    def plot_ppc(self, kind: str | None = None, **settings: Any) -> Any:
        """The response beside its replicates; the same as :meth:`ppc`."""
        return self.ppc(kind, **settings)

    # -- exchange ------------------------------------------------------------------------------------------------

    def to_arviz(self, **groups: Any) -> Any:
        """Give the draws to ArviZ: a DataTree (arviz-base, arviz 1.x) or InferenceData (0.x).

        ``log_lik=True`` adds the pointwise log likelihood; other groups as :meth:`.Draws.to_arviz` takes them.
        """
        if groups.pop("log_lik", False):
            groups["log_lik"] = self.log_lik
        groups.setdefault("observed", {"y": self.model.frame.y})
        return self.draws.to_arviz(**groups)

    # -- printing --------------------------------------------------------------------------------------------------

    def _head(self) -> list[str]:
        return [
            "Call:",
            f"{self.method}: {self.model.frame.formula.text}, family {self.model.family.display}, "
            f"prior {self.posterior.priors.prior!r}",
        ]

    def _cells(self) -> tuple[list[str], list[list[str]], str]:
        frame = self._table
        shown = frame.iloc[:MOST_ROWS]
        rows = [[str(name), *_formatted(row)] for name, row in shown.iterrows()]
        left = len(frame) - len(shown)
        return ["variable", *map(str, frame.columns)], rows, f"... and {left} more rows in .summary()" if left else ""


def _formatted(row: pd.Series) -> list[str]:
    """Cells of one line: effective sizes as whole numbers, R-hat with three decimals, the rest with two or more."""
    cells = []
    for name, value in row.items():
        if name in ("ess_bulk", "ess_tail"):
            cells.append("" if np.isnan(value) else f"{value:.0f}")
        elif name == "rhat":
            cells.append("" if np.isnan(value) else _rhat(value))
        else:
            cells.append(f"{value:.2f}" if abs(value) >= 1.0 else f"{value:.3g}")
    return cells


def _rhat(value: float) -> str:
    """R-hat with three decimals, while they mean anything."""
    return f"{value:.3f}" if value < 100.0 else ">100"


def _refuse_unknown(settings: Mapping[str, Any], function: Callable[..., Any], name: str) -> None:
    """Refuse what is no keyword of the function that does the work."""
    kinds = signature(function).parameters.values()
    known = [parameter.name for parameter in kinds if parameter.kind is parameter.KEYWORD_ONLY]
    if unknown := [setting for setting in settings if setting not in known]:
        raise ArgumentError(f"{name}() has no argument {unknown[0]!r}; known are {', '.join(known)}", name=unknown[0])


class MCMCFit(PosteriorFit):
    """Draws of Markov chains, with what tells whether they can be trusted.

    Attributes
    ----------
    chains : Chains or None
        What the sampler gave: warmup statistics, final metrics; None in a fit that was loaded.
    """

    method = "MCMC (NUTS)"

    def __init__(self, model: GLMM, posterior: Posterior, draws: Draws, chains: Any = None) -> None:
        super().__init__(model, posterior, draws)
        self.chains = chains

    @cached_property
    def diagnostics(self) -> Mapping[str, Any]:
        """Numbers of the printed head: divergences, saturated trees, E-BFMI of each chain, worst R-hat and sizes."""
        stats, frame = self.draws.stats, self._table
        limit = self.draws.metadata.get("max_treedepth", np.inf)
        return {
            "divergent": int(np.sum(stats["divergent"])),
            "saturated": int(np.sum(np.asarray(stats["treedepth"]) >= limit)),
            "e_bfmi": np.asarray(e_bfmi(stats["energy"])),
            "accept": float(np.mean(stats["accept"])),
            "rhat": float(np.nanmax(frame["rhat"])) if frame["rhat"].notna().any() else np.nan,
            "ess_bulk": float(np.nanmin(frame["ess_bulk"])) if frame["ess_bulk"].notna().any() else np.nan,
            "ess_tail": float(np.nanmin(frame["ess_tail"])) if frame["ess_tail"].notna().any() else np.nan,
        }

    def bayes_factor(
        self, fixed: Mapping[str, float] | None = None, comparison: MCMCFit | None = None, **settings: Any
    ) -> BayesFactor:
        """Bayes factor against parameters fixed, or another fit, see :func:`.comparison.bayes_factor`."""
        from refglmm.bayes.comparison import bayes_factor

        return bayes_factor(self, fixed, comparison, **settings)

    def prior_sensitivity(self, name: str, scales: Sequence[float], **settings: Any) -> pd.DataFrame:
        """Log Bayes factor of a coefficient for several prior scales, see :func:`.comparison.prior_sensitivity`."""
        from refglmm.bayes.comparison import prior_sensitivity

        return prior_sensitivity(self, name, scales, **settings)

    @property
    def problems(self) -> list[str]:
        """What is wrong with the chains, in words; empty if nothing is."""
        seen, found = self.diagnostics, []
        n = len(self.draws)
        if np.isnan(seen["rhat"]):
            found.append(f"{self.draws.n_draws} draws of a chain are too few to tell whether the chains have mixed")
        if seen["rhat"] > LARGEST_RHAT:
            worst = self._table["rhat"].idxmax()
            found.append(f"R-hat of {worst} is {_rhat(seen['rhat'])} (> {LARGEST_RHAT}): the chains have not mixed")
        wanted = self.draws.metadata.get("delta", 0.0)
        if seen["accept"] < 0.5 * wanted:
            found.append(
                f"mean acceptance is {seen['accept']:.2f}, where {wanted:g} was wanted: the warmup was too short"
            )
        if seen["divergent"]:
            found.append(f"{seen['divergent']} of {n} transitions diverged: raise delta, or use a tighter prior")
        if seen["saturated"]:
            limit = self.draws.metadata["max_treedepth"]
            found.append(f"{seen['saturated']} of {n} trees reached the depth limit {limit}: raise max_treedepth")
        if np.any(seen["e_bfmi"] < SMALLEST_BFMI):
            found.append(f"E-BFMI is {seen['e_bfmi'].min():.2f} (< {SMALLEST_BFMI}): the tails are explored slowly")
        return found

    def _head(self) -> list[str]:
        about, seen = self.draws.metadata, self.diagnostics
        low = f"{seen['e_bfmi'].min():.2f}"
        lines = [
            *super()._head(),
            f"{self.draws.n_chains} chains of {about.get('warmup', '?')} + {self.draws.n_draws} iterations; "
            f"divergences {seen['divergent']}, trees at the limit {seen['saturated']}, lowest E-BFMI {low}, "
            f"mean acceptance {seen['accept']:.2f}",
        ]
        return lines + [f"WARNING: {problem}" for problem in self.problems]


class IndependentFit(PosteriorFit):
    """Independent draws from an approximation, with what tells how good it is.

    Attributes
    ----------
    result : Variational or IndependentDraws
        Pareto k-hat, effective number of draws, log marginal likelihood; ELBO traces of a variational approximation.
    """

    method = "Draws without a chain (Laplace, importance-resampled)"

    def __init__(self, model: GLMM, posterior: Posterior, draws: Draws, result: Any) -> None:
        super().__init__(model, posterior, draws)
        self.result = result

    @property
    def khat(self) -> float:
        """Tail shape of the importance weights of the approximation: below 0.7 it can be relied on."""
        return float(self.result.khat)

    @cached_property
    def _table(self) -> pd.DataFrame:
        return super()._table.drop(columns=["ess_bulk", "ess_tail", "rhat"])  # independent draws

    def _head(self) -> list[str]:
        return [*super()._head(), *str(self.result).splitlines()[1:]]


class VBFit(IndependentFit):
    """Draws of a variational approximation."""

    method = "Variational approximation"

    @property
    def elbo(self) -> float:
        """Evidence lower bound of the best run."""
        return float(self.result.elbo)

    def plot_elbo(self, **settings: Any) -> Any:
        """Draw the ELBO traces of all runs."""
        from refglmm.plots import plot_elbo

        return plot_elbo({f"run {r + 1}": trace for r, trace in enumerate(self.result.elbo_traces)}, **settings)


def _independent_fit(kind: type[IndependentFit], model: GLMM, posterior: Posterior, result: Any) -> Any:
    positions = np.asarray(result.positions)
    values = posterior.reported(positions[0])[None]
    about = {"method": result.method, "model": model.frame.formula.text, "khat": float(result.khat)}
    return kind(model, posterior, Draws(positions, values, posterior.names, {}, about), result)


def variational_fit(
    model: GLMM,
    posterior: Posterior,
    method: str = "meanfield",
    iter: int | None = None,
    *,
    parametrisation: Any = "auto",
    **settings: Any,
) -> VBFit:
    """Fit by ADVI; arguments as :func:`.advi.variational` takes them."""
    from refglmm.bayes.advi import approximate, variational

    _refuse_unknown(settings, approximate, "variational")
    posterior = parametrised(model, posterior, parametrisation)
    fit: VBFit = _independent_fit(VBFit, model, posterior, variational(posterior, method, iter, **settings))
    return fit


def independent_fit(
    model: GLMM, posterior: Posterior, draws: int = 1000, *, parametrisation: Any = "auto", **settings: Any
) -> IndependentFit:
    """Draw without a chain; arguments as :func:`.independent.independent_draws` takes them."""
    from refglmm.bayes.independent import independent_draws

    _refuse_unknown(settings, independent_draws, "laplace_draws")
    posterior = parametrised(model, posterior, parametrisation)
    result = independent_draws(posterior, draws, **settings)
    fit: IndependentFit = _independent_fit(IndependentFit, model, posterior, result)
    return fit


# -- sampling ------------------------------------------------------------------------------------------------------

#: Starts are drawn this many posterior standard deviations (of the Laplace approximation) wide.
DISPERSION = 2.0
MAX_TRIES = 50


def dispersed_starts(
    whitening: Any, n_hyper: int, chains: int, seed: Any, log_density: Callable[[FloatArray], float]
) -> FloatArray:
    """Starts around the Laplace fit, wider than the posterior in the hyperparameters; shape (chains, d)."""
    from refglmm.bayes.whiten import place_rows

    d = whitening.center.size
    starts = np.empty((chains, d))
    for c, source in enumerate(np.random.SeedSequence(seed).spawn(chains)):
        rng = np.random.Generator(np.random.Philox(source))
        for attempt in range(MAX_TRIES):
            xi = rng.standard_normal((1, d))
            xi[:, :n_hyper] *= DISPERSION * 0.8**attempt
            place_rows(whitening, xi, starts[c : c + 1])
            if np.isfinite(log_density(starts[c])):
                break
    return starts


def sample(
    model: GLMM,
    posterior: Posterior,
    *,
    sampling: int = 1000,
    warmup: int = 1000,
    chains: int = 4,
    thin: int = 1,
    seed: int | None = None,
    init: Any = None,
    parallel: bool | int = True,
    parametrisation: Any = "auto",
    laplace: bool = False,
    **options: Any,
) -> MCMCFit:
    """Draw by NUTS; arguments as :meth:`refglmm.model.GLMM.sample` describes them."""
    from refglmm.bayes.chain import check_whole, sample_chains
    from refglmm.bayes.laplace import laplace_whitening
    from refglmm.bayes.target import log_posterior

    check_whole("sampling", sampling, 1)
    check_whole("chains", chains, 1)
    check_whole("parallel", int(parallel) if isinstance(parallel, bool) else parallel, 0)
    entropy = _entropy(seed)
    if laplace:
        if init is not None or parametrisation != "auto":
            raise ArgumentError("laplace=True integrates the random effects out: no init= or parametrisation= then")
        shape = {"sampling": sampling, "warmup": warmup, "chains": chains, "thin": thin}
        return sample_marginal(model, posterior, **shape, entropy=entropy, **options)
    posterior = parametrised(model, posterior, parametrisation)
    whitening = laplace_whitening(posterior)
    starts = (
        dispersed_starts(whitening, posterior.n_hyper, chains, [entropy, 1], posterior.log_density)
        if init is None
        else _given_starts(posterior, init, chains)
    )
    run = sample_chains(
        log_posterior,
        posterior.target,
        posterior.log_likelihood,
        starts,
        whitening,
        warmup=warmup,
        draws=sampling,
        thin=thin,
        seed=None if seed is None and options.get("checkpoint") is not None else entropy,  # goes on with any seed
        threads=None if parallel is True else max(1, int(parallel)),
        **options,
    )
    about = {"method": "nuts", "seed": entropy, "warmup": warmup, "thin": thin}
    about |= {"max_treedepth": options.get("max_treedepth", 10), "delta": options.get("delta", 0.8)}
    return _chain_fit(model, posterior, run.positions, run, about)


def _entropy(seed: Any) -> int:
    """A whole number that stands for a seed; fresh for None."""
    try:
        return int(np.random.SeedSequence(seed).entropy)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ArgumentError(f"seed must be a whole number that is not negative, or None, not {seed!r}") from None


def _chain_fit(model: GLMM, posterior: Posterior, positions: FloatArray, run: Any, about: dict[str, Any]) -> MCMCFit:
    values = posterior.reported(positions.reshape(-1, posterior.dimension))
    values = values.reshape(*positions.shape[:2], -1)
    about["model"] = model.frame.formula.text
    fit = MCMCFit(model, posterior, Draws(positions, values, posterior.names, run.stats, about), run)
    if problems := fit.problems:
        warn(SamplingWarning("; ".join(problems)))
    return fit


def sample_marginal(
    model: GLMM,
    posterior: Posterior,
    *,
    sampling: int,
    warmup: int,
    chains: int,
    thin: int,
    entropy: int,
    **options: Any,
) -> MCMCFit:
    """Sample the hyperparameters with the random effects integrated out, then draw those given each of them.

    The positions are of the joint posterior's kind; ``log_weights`` among the statistics makes them draws from it where
    Laplace's method is not exact.
    """
    from refglmm.bayes import whiten
    from refglmm.bayes.chain import sample_chains
    from refglmm.bayes.independent import conditional_effects_draws
    from refglmm.bayes.laplace import marginal_of

    fit, marginal = posterior.laplace(), marginal_of(posterior)
    whitening = whiten.dense(fit.hyper, fit.covariance)

    def log_density(hyper: FloatArray, gradient: FloatArray, target: Any, log_likelihood: Any) -> float:
        value, gradient[:] = marginal.value_and_gradient(hyper)
        return value

    starts = dispersed_starts(whitening, posterior.n_hyper, chains, [entropy, 2], marginal.value)
    run = sample_chains(
        log_density,
        None,
        None,
        starts,
        whitening,
        warmup=warmup,
        draws=sampling,
        thin=thin,
        seed=entropy,
        threads=1,  # all chains share one search for modes
        **options,
    )
    hyper = run.positions.reshape(-1, posterior.n_hyper)
    positions, log_weights = conditional_effects_draws(posterior, hyper, np.random.default_rng([entropy, 3]))
    shape = run.positions.shape[:2]
    stats = dict(run.stats) | {"log_weights": log_weights.reshape(shape)}
    about = {"method": "nuts, random effects integrated out by Laplace", "seed": entropy, "warmup": warmup}
    about |= {"thin": thin, "max_treedepth": options.get("max_treedepth", 10), "delta": options.get("delta", 0.8)}
    run = replace(run, stats=stats)
    return _chain_fit(model, posterior, positions.reshape(*shape, -1), run, about)


#: Exponents of the parametrisations that have a name.
NAMED = {"noncentred": 0.0, "centred": 1.0}


def parametrised(model: GLMM, posterior: Posterior, parametrisation: Any) -> Posterior:
    """Return the posterior with the random effects of each term centred as asked, see :meth:`.GLMM.sample`."""
    terms = model.design.terms
    given = parametrisation
    if not isinstance(given, Mapping):
        given = {term.label: parametrisation for term in terms}
    labels = {name for term in terms for name in (term.label, term.group)}
    if unknown := [key for key in given if key not in labels]:
        raise ArgumentError(f"parametrisation names {unknown[0]!r}; the terms are {', '.join(sorted(labels))}")
    own = [_exponent(given.get(term.label, given.get(term.group, "auto"))) for term in terms]
    k = [len(term.columns) for term in terms]
    exponent = np.repeat([np.nan if c is None else c for c in own], k)
    if np.any(np.isnan(exponent)):
        exponent = np.where(np.isnan(exponent), posterior.good_exponent, exponent)
    return posterior.with_exponent(exponent)


def _exponent(value: Any) -> float | None:
    """What a user calls a parametrisation, as a number from 0 to 1; None for "auto"."""
    if isinstance(value, str) and value == "auto":
        return None
    number = NAMED.get(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float | np.number) or not 0.0 <= number <= 1.0:
        raise ArgumentError(
            "parametrisation must be 'auto', 'noncentred', 'centred' or a number from 0 to 1, for all terms or, in a "
            f"mapping, for each; not {value!r}"
        )
    return float(number)


def _given_starts(posterior: Posterior, init: Any, chains: int) -> FloatArray:
    try:
        starts = np.array(init, dtype=np.float64, ndmin=2)
    except (TypeError, ValueError):
        raise ArgumentError(f"init must hold numbers, not {init!r}") from None
    if not np.all(np.isfinite(starts)):
        row, at = (int(i) for i in np.argwhere(~np.isfinite(starts))[0])
        raise ArgumentError(f"init is not finite: number {at} of position {row} is {starts[row, at]}", row=row, at=at)
    starts = np.repeat(starts, chains, axis=0) if len(starts) == 1 else starts
    if starts.shape != (chains, posterior.dimension):
        raise ArgumentError(
            f"init must hold a position of {posterior.dimension} numbers for each of {chains} chains, not an array of "
            f"shape {np.shape(init)}"
        )
    return starts
