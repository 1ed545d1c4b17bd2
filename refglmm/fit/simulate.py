r"""Responses drawn from a model: from a fit, or from a formula and parameters alone.

Place in the reading order: in ``fit``, after ``response``. One draw is

.. math:: b_t = T_t u,\ u \sim N(0, I);\qquad \eta = o + X\beta + \sum_t Z_t b_t;\qquad y \sim f(\cdot \mid \mu(\eta))

where terms that keep their modes enter eta as they are. How prior weights w enter f:

================================  ==========================================
gaussian, linear mixed model      Var y = sigma^2 / w
gamma                             shape w / phi
inverse gaussian                  shape w / phi
binomial                          w trials (whole numbers, or an error)
poisson, negative binomial        not at all: w repeats a row; said once
================================  ==========================================

Sources: Bates et al. (2015), sections 2 and 5; the weights follow the densities of ``families``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, SimulationError, SimulationWarning, warn
from refglmm.fit.parameters import Parameters, fit_parameters
from refglmm.fit.ranef import mode_blocks
from refglmm.fit.response import response_frame
from refglmm.fit.rows import Rows, own_rows, random_part, whole_terms

if TYPE_CHECKING:
    from refglmm.families.base import Family
    from refglmm.fitted import FittedModel
    from refglmm.formula.frame import ModelFrame

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class RedrawnTerm:
    """A term whose random effects are drawn anew: Z (m, k), level of each row, number of levels, T (k, k)."""

    Z: FloatArray
    codes: NDArray[Any]
    n_levels: int
    factor: FloatArray

    def draw(self, rng: np.random.Generator) -> FloatArray:
        """Z b of new random effects, shape (m,)."""
        b = rng.standard_normal((self.n_levels, self.factor.shape[0])) @ self.factor.T
        return random_part(self.Z, self.codes, b)


@dataclass(frozen=True)
class ResponseSource:
    """Everything that a response of m rows is drawn from.

    Attributes
    ----------
    family : Family
    phi : float array
        Shape parameters as ``family.simulate`` takes them.
    weights : float array, shape (m,)
    fixed : float array, shape (m,)
        The part of eta that is not drawn: offset, fixed effects and the modes that are kept.
    redrawn : tuple of RedrawnTerm
    """

    family: Family
    phi: FloatArray
    weights: FloatArray
    fixed: FloatArray
    redrawn: tuple[RedrawnTerm, ...]

    def mean(self, rng: np.random.Generator) -> FloatArray:
        """Draw the random effects and return mu, shape (m,)."""
        eta = self.fixed.copy()
        for term in self.redrawn:
            eta += term.draw(rng)
        outside = ~np.asarray(self.family.link.valid_eta(eta)) & ~np.isnan(eta)
        if outside.any():
            row = int(np.argmax(outside))
            raise SimulationError(
                f"{int(outside.sum())} of {eta.size} simulated linear predictors leave the domain of the "
                f"{self.family.link.name} link (first: row {row} counted from 0, {eta[row]:g}); the model allows means "
                f"that the {self.family.name} family does not have. A log link has no such bound",
                row=row,
                value=float(eta[row]),
                count=int(outside.sum()),
            )
        return np.asarray(self.family.link.inverse(eta))

    def response(self, rng: np.random.Generator) -> FloatArray:
        """Draw random effects and a response, as ``ModelFrame.y`` holds it, shape (m,); NaN where mu is."""
        mu = self.mean(rng)
        known = ~(np.isnan(mu) | np.isnan(self.weights))
        if known.all():
            return self._draw(mu, self.weights, rng)
        y = np.full(mu.shape, np.nan)
        y[known] = self._draw(mu[known], self.weights[known], rng)
        return y

    def _draw(self, mu: FloatArray, weights: FloatArray, rng: np.random.Generator) -> FloatArray:
        try:
            return np.asarray(self.family.simulate(mu, weights, self.phi, rng), dtype=np.float64)
        except ValueError as error:
            raise SimulationError(
                f"the {self.family.name} family cannot draw at means from {np.min(mu):g} to {np.max(mu):g}: {error}",
                lowest=float(np.min(mu)),
                highest=float(np.max(mu)),
            ) from error


def make_source(
    family: Family,
    parameters: Parameters,
    rows: Rows,
    weights: FloatArray,
    n_levels: list[int],
    modes: list[FloatArray | None],
) -> ResponseSource:
    """Collect what a response is drawn from; ``modes[t]`` is None where term t is redrawn."""
    fixed, redrawn = rows.fixed(parameters.beta), []
    for Z, codes, size, T, b in zip(rows.Z, rows.codes, n_levels, parameters.factors, modes, strict=True):
        if b is None:
            redrawn.append(RedrawnTerm(Z, codes, size, T))
        else:
            fixed = fixed + random_part(Z, codes, b)
    return ResponseSource(family, parameters.phi, weights, fixed, tuple(redrawn))


def drawing_weights(frame: ModelFrame) -> FloatArray:
    """Weights as the families draw with them: one trial for a factor, which has no room for more."""
    return np.ones(frame.n) if frame.response_kind == "factor" else frame.weights


def fit_source(
    fit: FittedModel, *, use_u: bool = False, re_form: Any = False, newparams: Mapping[str, Any] | None = None
) -> ResponseSource:
    """What the rows of a fit are drawn from; see :func:`simulated_responses`."""
    kept = kept_terms(fit, use_u, re_form)
    parameters = fit_parameters(fit, newparams)
    modes = [b if keep else None for keep, b in zip(kept, mode_blocks(fit), strict=True)]
    n_levels = [term.n_levels for term in fit.design.terms]
    return make_source(fit.family, parameters, own_rows(fit.design), drawing_weights(fit.frame), n_levels, modes)


def kept_terms(fit: FittedModel, use_u: bool, re_form: Any) -> list[bool]:
    """Which terms keep their modes."""
    if not use_u:
        return whole_terms(fit, re_form)
    if re_form is not None and re_form is not False:
        raise ArgumentError("use_u=True keeps all random effects; leave re_form out")
    return [True] * len(fit.design.terms)


def simulated_responses(
    fit: FittedModel, rng: np.random.Generator, *, use_u: bool = False, re_form: Any = False
) -> FloatArray:
    """Draw one response for the rows of a fit, ready for :meth:`FittedModel.refit`.

    Parameters
    ----------
    rng : numpy Generator
        Advanced by this call.
    use_u : bool
        Keep the modes of all random effects.
    re_form : None, False or formula
        Terms that keep their modes: all, none, or those named.

    Returns
    -------
    float array, shape (n,)
        As ``fit.frame.y`` holds a response (binomial: proportions).

    Raises
    ------
    SimulationError, WeightsError, NotAvailableError
        A mean outside the family's range; broken numbers of trials; a user's family without ``simulate``.
    """
    return fit_source(fit, use_u=use_u, re_form=re_form).response(rng)


def generator(seed: Any) -> tuple[np.random.Generator, Any]:
    """A generator, and what to note so that the draws can be repeated."""
    if isinstance(seed, np.random.Generator):
        return seed, seed.bit_generator.state
    if seed is None:
        seed = int(np.random.SeedSequence().entropy)  # type: ignore[arg-type]
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ArgumentError(f"seed must be a whole number >= 0, a numpy Generator or None, not {seed!r}")
    return np.random.default_rng(int(seed)), int(seed)


def check_nsim(nsim: Any) -> int:
    """Refuse a number of simulations that is not a whole number >= 1."""
    if isinstance(nsim, bool) or not isinstance(nsim, int | np.integer) or nsim < 1:
        raise ArgumentError(f"nsim must be a whole number >= 1, not {nsim!r}")
    return int(nsim)


def warn_of_weights(family: Family, weights: FloatArray, kind: str) -> None:
    """Say once that weights of counts (or of a factor) have no part in drawing."""
    ignored = family.weights_repeat or kind == "factor"
    if ignored and np.any((weights != 1.0) & (weights != 0.0)):
        warn(
            SimulationWarning(
                f"the prior weights repeat rows of the {family.name} likelihood and say nothing of how one response is "
                "drawn; they are left out of the simulation"
            )
        )


def simulate_fit(
    fit: FittedModel,
    nsim: int = 1,
    seed: Any = None,
    *,
    use_u: bool = False,
    re_form: Any = False,
    newparams: Mapping[str, Any] | None = None,
    cond_sim: bool = True,
) -> pd.DataFrame:
    """Responses of the rows of a fit; see :meth:`FittedModel.simulate`."""
    rng, noted = generator(seed)
    warn_of_weights(fit.family, fit.frame.weights, fit.frame.response_kind)
    source = fit_source(fit, use_u=use_u, re_form=re_form, newparams=newparams)
    draw = source.response if cond_sim else source.mean
    draws = [draw(rng) for _ in range(check_nsim(nsim))]
    if cond_sim:
        out = response_frame(fit.frame, draws, fit.frame.index, fit.frame.trials)
    else:
        out = pd.DataFrame({f"sim_{i + 1}": mu for i, mu in enumerate(draws)}, index=fit.frame.index)
    if fit.frame.na_action == "exclude":
        out = out.reindex(fit.frame.full_index)
    out.attrs["seed"] = noted
    return out
