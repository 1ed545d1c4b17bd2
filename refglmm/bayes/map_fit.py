r"""What ``optimize()`` gives back: the posterior mode as a table, and the random effects there.

Place in the reading order: after ``map``.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.bayes.after import AfterFit
from refglmm.bayes.draws import Draws, chosen
from refglmm.bayes.map import Mode, delta_method, interval_scales, posterior_mode
from refglmm.bayes.parameters import check_probability
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.fit.ranef import GroupFrames
from refglmm.inference.tasks import seeds

if TYPE_CHECKING:
    from refglmm.bayes.parameters import ParameterDraws
    from refglmm.bayes.posterior import Posterior
    from refglmm.model import GLMM

FloatArray = NDArray[np.float64]

#: Rows of the printed table, as in the article.
MOST_ROWS = 10
SE_METHODS = ("wald", "sampling", "none")


def level_names(model: Any) -> list[tuple[str, str, str]]:
    """(grouping factor, level, column) of each random effect, in the order of u."""
    return [
        (term.group, str(level), column)
        for term in model.design.terms
        for level in term.levels
        for column in term.columns
    ]


def effect_frames(model: Any, columns: dict[str, FloatArray], title: str) -> GroupFrames:
    """Random effects by grouping factor: one row a level and column, with the given columns of numbers."""
    index = pd.MultiIndex.from_tuples(level_names(model), names=["group", "level", "term"])
    frame = pd.DataFrame(columns, index=index)
    groups = list(dict.fromkeys(index.get_level_values("group")))
    return GroupFrames({group: frame.loc[group] for group in groups}, title)


class MAPFit(AfterFit):
    """Posterior mode with standard errors and intervals; immutable.

    Attributes
    ----------
    model, posterior
        What was fitted.
    mode : Mode
        Position, covariance, convergence.
    log_posterior, log_marginal : float
        Log posterior density at the mode (natural scale, constants included), and Laplace's log marginal likelihood.
    """

    def __init__(
        self, model: GLMM, posterior: Posterior, mode: Mode, *, se_method: str, prob: float, draws: Draws | None
    ) -> None:
        self.model, self.posterior, self.mode = model, posterior, mode
        self.se_method, self.prob = se_method, prob
        self._draws = draws
        self.log_posterior, self.log_marginal = mode.log_posterior, mode.log_marginal

    @property
    def negative_log_posterior(self) -> float:
        """Minus the log posterior density at the mode."""
        return -self.log_posterior

    @property
    def converged(self) -> bool:
        """Whether the search ended where no increase was predicted and the curvature is that of a maximum."""
        return self.mode.converged

    @property
    def draws(self) -> Draws:
        """Draws from the normal approximation (``se_method="sampling"``)."""
        if self._draws is None:
            raise NotAvailableError("this mode has no draws; ask for optimize(se_method='sampling')")
        return self._draws

    @cached_property
    def mode_positions(self) -> FloatArray:
        """Positions drawn from the normal approximation around the mode, see :mod:`.parameters`; shape (m, d)."""
        from refglmm.bayes.parameters import mode_draws

        return mode_draws(self.posterior.with_exponent(None), self.mode)

    @cached_property
    def parameters(self) -> ParameterDraws:
        """Draws of the parameters from the normal approximation around the mode."""
        from refglmm.bayes.parameters import parameter_draws

        return parameter_draws(self.posterior.with_exponent(None), self.mode_positions)

    @property
    def reported_draws(self) -> tuple[tuple[str, ...], FloatArray]:
        """Names of the reported quantities and draws of them from the normal approximation around the mode."""
        return self.posterior.names, self.posterior.with_exponent(None).reported(self.mode_positions)

    @cached_property
    def centre(self) -> ParameterDraws:
        """The parameters at the mode, as a single draw."""
        from refglmm.bayes.parameters import parameter_draws

        return parameter_draws(self.posterior.with_exponent(None), self.mode.position[None])

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """Estimate, standard error and interval of every reported quantity."""
        posterior, mode = self.posterior, self.mode
        estimate, covariance = delta_method(posterior, mode.position[: posterior.n_hyper], mode.covariance)
        se = np.sqrt(np.diag(covariance)) if self.se_method != "none" else np.full(estimate.size, np.nan)
        lower, upper = self._intervals(estimate, se)
        if self.se_method == "sampling":
            sample = self.draws.stack()
            tail = 50.0 * (1.0 - self.prob)
            se = sample.std(axis=0, ddof=1)
            lower, upper = np.percentile(sample, [tail, 100.0 - tail], axis=0)
        percent = f"{100.0 * self.prob:g}%"
        columns = {"Estimate": estimate, "Std. Error": se, f"Lower {percent}": lower, f"Upper {percent}": upper}
        return pd.DataFrame(columns, index=pd.Index(posterior.names, name="variable"))

    def _intervals(self, estimate: FloatArray, se: FloatArray) -> tuple[FloatArray, FloatArray]:
        from scipy.special import ndtri

        z = float(ndtri(0.5 + 0.5 * self.prob))
        bounds = np.empty((2, estimate.size))
        for j, (scale, back) in enumerate(interval_scales(self.posterior)):
            h = 1e-4 * se[j] if se[j] > 0 else np.nan
            with np.errstate(all="ignore"):
                slope = (scale(estimate[j] + h) - scale(estimate[j] - h)) / (2.0 * h)
                bounds[:, j] = [back(scale(estimate[j]) + side * z * se[j] * slope) for side in (-1.0, 1.0)]
        return bounds[0], bounds[1]

    def vcov(self) -> pd.DataFrame:
        """Covariance matrix of the reported quantities (delta method)."""
        posterior = self.posterior
        _, covariance = delta_method(posterior, self.mode.position[: posterior.n_hyper], self.mode.covariance)
        return pd.DataFrame(covariance, index=posterior.names, columns=posterior.names)

    def summary(self, pars: Any = None) -> pd.DataFrame:
        """Return the table of :attr:`estimates`, all of it or the chosen labels (base names, "-name", positions)."""
        return self.estimates.iloc[chosen(self.posterior.names, pars)].copy()

    def ranef(self) -> GroupFrames:
        """Random effects on the scale of the linear predictor: mode, posterior SD, interval; by grouping factor."""
        from scipy.special import ndtri

        z = float(ndtri(0.5 + 0.5 * self.prob))
        posterior, sd = self.posterior, self.mode.effects_sd
        estimate = posterior.with_exponent(None).random_effects(self.mode.position[None])[0]
        percent = f"{100.0 * self.prob:g}%"
        columns = {
            "Estimate": estimate,
            "Std. Error": sd,
            f"Lower {percent}": estimate - z * sd,
            f"Upper {percent}": estimate + z * sd,
        }
        return effect_frames(self.model, columns, "Random effects at the posterior mode")

    @property
    def random_effects(self) -> GroupFrames:
        """The same as :meth:`ranef`."""
        return self.ranef()

    # -- printing ----------------------------------------------------------------------------------------------

    def _head(self) -> list[str]:
        kind = "joint posterior mode" if self.mode.joint else "marginal posterior mode (random effects integrated out)"
        lines = [
            "Call:",
            f"MAP estimation: {self.model.frame.formula.text}, family {self.model.family.display}, "
            f"prior {self.posterior.priors.prior!r}",
            f"Kind: {kind}",
            "",
            f"Negative Log-Posterior: {self.negative_log_posterior:.2f}",
            "Approx. Log Marginal Likelihood (Laplace): "
            + (f"{self.log_marginal:.2f}" if np.isfinite(self.log_marginal) else "not defined here"),
        ]
        if self.mode.at_boundary:
            lines.append(
                f"At a bound, or the kink of a prior: {', '.join(self.mode.at_boundary)}; no standard errors for these"
            )
        if not self.converged:
            lines.append(f"NOT CONVERGED: {self.mode.message}")
        lines.append("Random effects are stored separately: .ranef()")
        return lines

    def _cells(self) -> tuple[list[str], list[list[str]], str]:
        shown = self.estimates.iloc[:MOST_ROWS]
        numbers = zip(shown.index, shown.to_numpy(), strict=True)
        rows = [[str(name), *(f"{value:.5f}" for value in row)] for name, row in numbers]
        left = len(self.estimates) - len(shown)
        return ["variable", *shown.columns], rows, f"... and {left} more rows in .estimates" if left > 0 else ""


def optimize(
    model: GLMM,
    posterior: Posterior,
    *,
    laplace: bool = True,
    num_estimate: int = 1,
    se_method: str = "wald",
    num_samples: int = 1000,
    prob: float = 0.95,
    seed: int = 1,
) -> MAPFit:
    """Fit by the posterior mode; arguments as :meth:`refglmm.model.GLMM.optimize` describes them."""
    if se_method not in SE_METHODS:
        raise ArgumentError(f"se_method must be one of {', '.join(SE_METHODS)}, not {se_method!r}")
    check_probability(prob)
    seeds(seed, 1)  # refuses what is none
    mode = posterior_mode(posterior, laplace=laplace, n_starts=num_estimate, seed=seed)
    draws = _normal_draws(posterior, mode, num_samples, seed) if se_method == "sampling" else None
    return MAPFit(model, posterior, mode, se_method=se_method, prob=prob, draws=draws)


def _normal_draws(posterior: Posterior, mode: Mode, size: int, seed: int) -> Draws:
    """Draws of the hyperparameters from the normal approximation, pushed through to what is reported."""
    if size < 2:
        raise ArgumentError(f"num_samples must be at least 2, not {size}")
    if not np.all(np.isfinite(mode.covariance)):
        raise NotAvailableError(
            f"{', '.join(mode.at_boundary)} at the boundary: no normal approximation to draw from; use sample()"
        )
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky(mode.covariance)
    hyper = mode.position[: posterior.n_hyper] + rng.standard_normal((size, posterior.n_hyper)) @ root.T
    values = posterior.reported(hyper)
    about = {"method": "normal approximation", "seed": seed}
    return Draws(np.empty((1, size, 0)), values[None], posterior.names, {}, about)
