r"""Responses drawn from a model: from a fit, or from a formula and parameters alone.

Place in the reading order: in ``fit``, after ``response``. One draw is

.. math:: b_t = T_t u,\ u \sim N(0, I);\qquad \eta = o + X\beta + \sum_t Z_t b_t;\qquad y \sim f(\cdot \mid \mu(\eta))

where terms that keep their modes enter eta as they are. How prior weights w enter f:

================================  ==========================================
gaussian, linear mixed model      Var y = sigma^2 / w
gamma                             shape w / phi
inverse gaussian                  shape w / phi
binomial                          w trials (whole numbers, or an error)
cbind(s, f)                       s + f trials; w repeats a row; said once
poisson, negative binomial        not at all: w repeats a row; said once
================================  ==========================================

Sources: Bates et al. (2015), sections 2 and 5; the weights follow the densities of ``families``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.covariance import term_structures
from refglmm.errors import ArgumentError, SimulationError, SimulationWarning, warn
from refglmm.families.coupled import CoupledFamily
from refglmm.families.registry import get_family, read_zero_part
from refglmm.fit.parameters import (
    Parameters,
    check_given,
    conditional_modes,
    fit_parameters,
    given_beta,
    given_par,
    given_phi,
    join_parameters,
)
from refglmm.fit.parts import part_formulas, with_parts
from refglmm.fit.response import cbind_names, padded_frame, prior_weights, response_frame
from refglmm.fit.rows import (
    Rows,
    new_rows,
    new_weights,
    number_new_levels,
    own_rows,
    refuse_missing_groups,
    refuse_new_levels,
    whole_terms,
)
from refglmm.formula.convert import to_table
from refglmm.formula.design import Checks, build_design
from refglmm.formula.expressions import names_in, parse_expression
from refglmm.formula.frame import build_frame
from refglmm.formula.grammar import parse
from refglmm.formula.parts import CoupledDesign, build_coupled_design

if TYPE_CHECKING:
    from refglmm.families.base import Family
    from refglmm.families.ordinal import OrdinalFamily
    from refglmm.fitted import FittedModel
    from refglmm.formula.design import Design
    from refglmm.formula.frame import ModelFrame
    from refglmm.formula.grammar import Formula

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class RedrawnTerm:
    """A term whose random effects are drawn anew: rows, which term of them, number of levels, T (k, k)."""

    rows: Rows
    term: int
    n_levels: int
    factor: FloatArray

    def draw(self, rng: np.random.Generator) -> FloatArray:
        """Z b of new random effects, shape (m,), or (K, m) for K > 1 predictors."""
        b = rng.standard_normal((self.n_levels, self.factor.shape[0])) @ self.factor.T
        return self.rows.random(self.term, b)


@dataclass(frozen=True)
class ResponseSource:
    """Everything that a response of m rows is drawn from.

    Attributes
    ----------
    family : Family
    phi : float array
        Shape parameters as ``family.simulate`` takes them.
    weights : float array, shape (m,)
    fixed : float array, shape (m,), or (K, m) for K > 1 predictors
        The part of eta that is not drawn: offset, fixed effects and the modes that are kept.
    redrawn : tuple of RedrawnTerm
    """

    family: Family
    phi: FloatArray
    weights: FloatArray
    fixed: FloatArray
    redrawn: tuple[RedrawnTerm, ...]

    def linear_predictor(self, rng: np.random.Generator) -> FloatArray:
        """Draw the random effects and return eta, shape (m,) or (K, m)."""
        eta = self.fixed.copy()
        for term in self.redrawn:
            eta += term.draw(rng)
        return eta

    def mean(self, rng: np.random.Generator) -> FloatArray:
        """Draw the random effects and return mu, shape (m,)."""
        eta = self.linear_predictor(rng)
        checked_mean(self.family, eta)
        return np.asarray(self.family.at(self.phi).fitted_mean(eta))

    def response(self, rng: np.random.Generator) -> FloatArray:
        """Draw random effects and a response, as ``ModelFrame.y`` holds it, shape (m,); NaN where eta is."""
        eta = self.linear_predictor(rng)
        known = ~(np.isnan(np.atleast_2d(eta)).any(axis=0) | np.isnan(self.weights))
        if known.all():
            return draw_known(self.family, eta, self.weights, self.phi, rng)
        y = np.full(known.shape, np.nan)
        y[known] = draw_known(self.family, eta[..., known], self.weights[known], self.phi, rng)
        return y


def checked_mean(family: Family, eta: FloatArray) -> FloatArray:
    """Inverse link of eta (of the first of several predictors); an error outside the link's domain (NaN stays)."""
    eta = eta[0] if eta.ndim == 2 else eta
    outside = ~np.asarray(family.link.valid_eta(eta)) & ~np.isnan(eta)
    if outside.any():
        row = int(np.argmax(outside))
        advice = "A logit link" if family.is_binomial else "A log link"
        raise SimulationError(
            f"{int(outside.sum())} of {eta.size} simulated linear predictors leave the domain of the "
            f"{family.link.name} link (first: row {row} counted from 0, {eta[row]:g}); the model allows means that the "
            f"{family.name} family does not have. {advice} has no such bound",
            row=row,
            value=float(eta[row]),
            count=int(outside.sum()),
        )
    return np.asarray(family.link.inverse(eta))


def draw_known(
    family: Family, eta: FloatArray, weights: FloatArray, phi: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Draw a response at each eta, none of them missing."""
    mu = checked_mean(family, eta)
    try:
        if isinstance(family, CoupledFamily):
            return family.at(phi).draw(eta, weights, rng)
        return np.asarray(family.simulate(mu, weights, phi, rng), dtype=np.float64)
    except ValueError as error:
        raise SimulationError(
            f"the {family.name} family cannot draw at means from {np.min(mu):g} to {np.max(mu):g}: {error}",
            lowest=float(np.min(mu)),
            highest=float(np.max(mu)),
        ) from error


def make_source(
    family: Family,
    parameters: Parameters,
    rows: Rows,
    weights: FloatArray,
    modes: Sequence[FloatArray | None],
    n_levels: Sequence[int],
) -> ResponseSource:
    """Collect what a response is drawn from.

    Parameters
    ----------
    modes : sequence
        For each term its random effects, shape (levels, k), or None where they are drawn.
    n_levels : sequence of int
        Number of levels in ``rows`` of each term: those from ``len(modes)`` on are not among the modes and are drawn.
    """
    fixed, redrawn = rows.fixed(parameters.beta), []
    for t, (codes, size, T, b) in enumerate(zip(rows.codes, n_levels, parameters.factors, modes, strict=True)):
        if b is None:
            redrawn.append(RedrawnTerm(rows, t, size, T))
            continue
        known = len(b)
        fixed = fixed + _with_codes(rows, t, np.where(codes < known, codes, -1)).random(t, b)
        if size > known:
            redrawn.append(RedrawnTerm(_with_codes(rows, t, np.maximum(codes - known, -1)), t, size - known, T))
    return ResponseSource(family, parameters.phi, weights, fixed, tuple(redrawn))


def _with_codes(rows: Rows, t: int, codes: NDArray[Any]) -> Rows:
    """The same rows with other levels in term t."""
    return replace(rows, codes=(*rows.codes[:t], codes, *rows.codes[t + 1 :]))


def drawing_weights(frame: ModelFrame) -> FloatArray:
    """Weights as the families draw with them: of ``cbind`` the trials of the row, one trial for a factor."""
    if frame.response_kind == "cbind":
        assert frame.trials is not None
        return frame.trials
    return np.ones(frame.n) if frame.response_kind == "factor" else frame.weights


def fit_source(
    fit: FittedModel, *, use_u: bool = False, re_form: Any = False, newparams: Mapping[str, Any] | None = None
) -> ResponseSource:
    """What the rows of a fit are drawn from; see :func:`simulated_responses`."""
    modes = _kept_modes(fit, kept_terms(fit, use_u, re_form), newparams)
    n_levels = [term.n_levels for term in fit.design.terms]
    parameters = fit_parameters(fit, newparams)
    return make_source(fit.family, parameters, own_rows(fit.design), drawing_weights(fit.frame), modes, n_levels)


def new_source(
    fit: FittedModel,
    newdata: Any,
    kept: Sequence[bool],
    newparams: Mapping[str, Any] | None,
    allow_new_levels: bool,
    offset: Any,
    weights: Any,
) -> ResponseSource:
    """What rows of new data are drawn from; levels that the fit did not have are numbered after its own."""
    rows = new_rows(fit, newdata, [True] * len(kept), offset)
    if not allow_new_levels:
        refuse_new_levels(fit, newdata, rows, kept)
        refuse_missing_groups(fit, newdata, rows)
    numbered = [
        number_new_levels(fit, term, newdata, codes) for term, codes in zip(fit.design.terms, rows.codes, strict=True)
    ]
    rows = replace(rows, codes=tuple(codes for codes, _ in numbered))
    modes, n_levels = _kept_modes(fit, kept, newparams), [size for _, size in numbered]
    drawn = new_weights(fit, newdata, weights)
    return make_source(fit.family, fit_parameters(fit, newparams), rows, drawn, modes, n_levels)


def _kept_modes(fit: FittedModel, kept: Sequence[bool], newparams: Mapping[str, Any] | None) -> list[FloatArray | None]:
    """Modes of the terms that keep them, None for the others."""
    if not any(kept):
        return [None for _ in kept]
    return [b if keep else None for keep, b in zip(kept, conditional_modes(fit, newparams), strict=True)]


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


def ignored_weights(fit: FittedModel) -> FloatArray:
    """Prior weights of a fit as :func:`warn_of_weights` judges them: those of ``cbind`` without the trials."""
    return prior_weights(fit.frame) if fit.frame.response_kind == "cbind" else fit.frame.weights


def warn_of_weights(family: Family, weights: FloatArray, kind: str) -> None:
    """Say once that weights of counts (of ``cbind``, too, or of a factor) have no part in drawing."""
    ignored = family.weights_repeat or kind in ("factor", "cbind")
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
    newdata: Any = None,
    newparams: Mapping[str, Any] | None = None,
    cond_sim: bool = True,
    allow_new_levels: bool = False,
    offset: Any = None,
    weights: Any = None,
) -> pd.DataFrame:
    """Responses of the rows of a fit or of new data; see :meth:`FittedModel.simulate`."""
    if newdata is None:
        if offset is not None or weights is not None:
            raise ArgumentError("offset= and weights= belong to newdata; the rows of the fit have theirs")
        source = fit_source(fit, use_u=use_u, re_form=re_form, newparams=newparams)
        index, trials = fit.frame.index, fit.frame.trials
        ignored = ignored_weights(fit)
    else:
        kept = kept_terms(fit, use_u, re_form)
        source = new_source(fit, newdata, kept, newparams, allow_new_levels, offset, weights)
        index, trials = to_table(newdata).index, source.weights
        ignored = np.ones(0) if fit.frame.response_kind == "cbind" else source.weights  # those are trials
    warn_of_weights(fit.family, ignored, fit.frame.response_kind)
    out = draw_frame(source, fit.frame, index, trials, nsim, seed, cond_sim)
    if newdata is None and fit.frame.na_action == "exclude":
        out = padded_frame(fit.frame, out)
    return out


def draw_frame(
    source: ResponseSource,
    frame: ModelFrame,
    index: pd.Index,
    trials: FloatArray | None,
    nsim: int,
    seed: Any,
    cond_sim: bool,
) -> pd.DataFrame:
    """Draw ``nsim`` responses (or means) and lay them out, the seed noted in ``.attrs``."""
    count = check_nsim(nsim)
    rng, noted = generator(seed)
    if cond_sim:
        out = response_frame(frame, [source.response(rng) for _ in range(count)], index, trials)
    else:
        out = pd.DataFrame({f"sim_{i + 1}": source.mean(rng) for i in range(count)}, index=index)
    out.attrs["seed"] = noted
    return out


# --- without a fit -------------------------------------------------------------------------------------------


def simulate(
    formula: str,
    data: Any,
    family: Any = "gaussian",
    *,
    newparams: Mapping[str, Any],
    nsim: int = 1,
    seed: Any = None,
    link: str | None = None,
    weights: Any = None,
    offset: Any = None,
    contrasts: Mapping[str, Any] | None = None,
    env: Mapping[str, Any] | None = None,
    double_bar: str = "split",
    na_action: str = "omit",
    cond_sim: bool = True,
    zi: Any = None,
    dispersion: Any = None,
) -> pd.DataFrame:
    """Draw responses from a formula, predictors and parameters, without a fit.

    Parameters
    ----------
    formula : str
        One-sided, or two-sided with a response that need not exist in ``data``: ``cbind(s, f)`` makes two columns of
        counts.
    data : table
        Predictors, grouping factors, weights and offset; never changed.
    family, link
        As for :func:`refglmm.glmer`.
    newparams : mapping
        ``beta`` (in order, or by name); ``theta`` or ``par``, terms in the order of a fit (relative to sigma in a
        gaussian model with identity link); ``sigma`` or ``phi`` for families that have them (of ordinal families the
        thresholds, which may also be known to the family: ``Ordered(levels=[...], thresholds=[...])``).
    nsim, seed, cond_sim
        As for :meth:`FittedModel.simulate`.
    weights : str or array-like, optional
        Prior weights; numbers of trials for binomial families, where ``cbind`` of two columns of ``data`` gives them
        too.
    offset, contrasts, env, double_bar, na_action, zi, dispersion
        As for :class:`refglmm.GLMM`. ``beta`` then has the coefficients of all predictors: ``zi~x``, ``dispersion~x``.

    Returns
    -------
    DataFrame
        Columns ``sim_1``, ...; rows with missing values are left out.

    Raises
    ------
    ArgumentError
        Missing, superfluous or impossible parameters; the message names what is wanted.

    Examples
    --------
    >>> import refglmm as rg
    >>> data = {"x": [0.0, 1.0] * 10, "g": [*"abcde"] * 4}
    >>> params = {"beta": {"(Intercept)": 1.0, "x": 0.5}, "theta": [0.7]}
    >>> y = rg.simulate("y ~ x + (1 | g)", data, "poisson", newparams=params, seed=1)
    >>> y.shape
    (20, 1)
    """
    family, zi = read_zero_part(family, zi)
    asked = parse(formula, double_bar=double_bar).resolve_dot(to_table(data).names)
    formulas = part_formulas(asked, zi, dispersion, double_bar)
    distribution = with_parts(get_family(family, link), formulas)
    weights = _trials(asked, data, env, weights) if distribution.is_binomial else weights
    frame = build_frame(
        replace(asked, response=None),
        data,
        binomial=distribution.is_binomial,
        weights=weights,
        offset=offset,
        na_action=na_action,
        env=env,
        also=list(formulas.values()),
    )
    if formulas:
        design: Design = build_coupled_design(frame, formulas, contrasts=contrasts, control=_ANYTHING)
    else:
        design = build_design(frame, contrasts=contrasts, control=_ANYTHING, intercept=distribution.has_intercept)
    source = _design_source(design, distribution, newparams)
    warn_of_weights(distribution, frame.weights, "none")
    kind = "numeric" if cbind_names(asked.response) is None else "cbind"
    shown = replace(frame, formula=asked, response_kind=kind)
    if distribution.is_ordinal:
        levels = cast("OrdinalFamily", distribution).levels
        shown = replace(shown, response_kind="ordinal", response_levels=levels)
    return draw_frame(source, shown, frame.index, frame.weights, nsim, seed, cond_sim)


#: A design to draw from may have any size; only dependent columns of X matter, since beta counts those that are left.
_ANYTHING = Checks(
    one_level="ignore",
    levels_vs_rows="ignore",
    effects_vs_rows="ignore",
    scale="ignore",
    constant_response="ignore",
    no_random_effects="ignore",
)


def _trials(formula: Formula, data: Any, env: Mapping[str, Any] | None, weights: Any) -> Any:
    """Numbers of trials of a binomial response: ``weights``, or the two parts of ``cbind`` where the data has them."""
    pair = cbind_names(formula.response)
    if weights is not None or pair is None:
        return weights
    total = f"({pair[0]}) + ({pair[1]})"
    lost = [name for name in names_in(parse_expression(total)) if name not in (*to_table(data).names, *(env or {}))]
    if lost:
        raise ArgumentError(
            f"how many trials has a row of {formula.response}? The data has no {', '.join(map(repr, lost))}; "
            "pass weights= (numbers of trials)",
            columns=tuple(lost),
        )
    return total


def _design_source(design: Design, family: Family, params: Mapping[str, Any]) -> ResponseSource:
    """What a design and parameters draw from: all random effects anew."""
    given = check_given(params)
    structures = term_structures(design.terms)
    pairs = zip(structures, design.terms, strict=True)
    names = [name for structure, term in pairs for name in structure.par_names(term.label, term.columns)]
    par = given_par(given, structures, names, None if names else np.empty(0))
    is_lmm = family.n_parts == 1 and family.name == "gaussian" and family.link.name == "identity"
    columns = design.all_columns if isinstance(design, CoupledDesign) else design.names
    beta, phi = given_beta(given, columns, None), given_phi(given, family, None)
    parameters = join_parameters(structures, par, beta, phi, is_lmm)
    n_levels = [term.n_levels for term in design.terms]
    return make_source(family, parameters, own_rows(design), design.frame.weights, [None] * len(n_levels), n_levels)
