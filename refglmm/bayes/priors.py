r"""The prior of every parameter of a model: from what a user says to scalars with exact densities.

Place in the reading order: after ``prior_kinds``, ``prior_units``, ``shape_priors`` and ``shrinkage``; before
``posterior``, which makes a target of it. A model's scalars stand in the order

- fixed effects: the centred intercept (that at the means of the columns), then the slopes, or what a shrinkage prior
  makes them of;
- standard deviations of the random effects, term by term;
- partial correlations of the correlated terms, by rows of the lower triangle: independent under LKJ(eta), see
  :class:`.distributions.LKJ`;
- shape parameters of the family, or thresholds;
- scales of a shrinkage prior.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.bayes import scalars as scales
from refglmm.bayes.distributions import (
    LKJ,
    Distribution,
    Exponential,
    Flat,
    HalfCauchy,
    InverseGamma,
    Joint,
    Laplace,
    LogitNormal,
    Normal,
    Reciprocal,
)
from refglmm.bayes.prior_kinds import Prior, check_range, did_you_mean, prior_flat, prior_weak
from refglmm.bayes.prior_units import Units, chosen_range, mean_response, units_of
from refglmm.bayes.scalar import BLOCKS, Scalar, full_label
from refglmm.bayes.shape_priors import LATENT, Shape, known_sigma, shapes_of
from refglmm.bayes.shrinkage import DIRECT, JZS, RHS, SSP, cauchy_log_constant
from refglmm.errors import ArgumentError, NotAvailableError, PriorWarning, warn

if TYPE_CHECKING:
    from refglmm.formula.design import TermDesign
    from refglmm.model import GLMM

FloatArray = NDArray[np.float64]
INTERCEPT = "(Intercept)"
Choice = tuple[Distribution, str]
KIND = {"rhs": RHS, "ssp": SSP, "jzs": JZS}
#: Where the soft weights of prior_ssp live, and the SD of their logit.
SSP_RANGE, SSP_LOGIT_SD, SSP_LAPLACE = (0.001, 0.999), 3.0, 0.5


@dataclass(frozen=True, eq=False)
class ResolvedPriors:
    """The priors of all parameters of one model.

    Attributes
    ----------
    prior : Prior
        What they follow from.
    scalars : tuple of Scalar
        In the order of a target's blocks.
    sources : tuple of str
        Where the prior of each comes from.
    slope_kind : int
        Code of ``shrinkage``.
    slope_columns, slope_scale, slope_matrix, slope_hyper : arrays
        As a target has them.
    centre : bool
        Whether the columns of X (but for the intercept) are centred at their means.
    shape_power : float array
        The kernel's shape parameters are these powers of the scalars.
    ordered : bool
        Whether the shape parameters are ordered thresholds; then their scalars are the first one and the gaps, while
        their priors are of the thresholds themselves.
    """

    prior: Prior
    scalars: tuple[Scalar, ...]
    sources: tuple[str, ...]
    slope_kind: int
    slope_columns: NDArray[np.int64]
    slope_scale: FloatArray
    slope_matrix: FloatArray
    slope_hyper: FloatArray
    centre: bool
    shape_power: FloatArray
    ordered: bool

    def __repr__(self) -> str:
        return f"ResolvedPriors({self.prior!r}, of {', '.join(self.names)})"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the scalars."""
        return tuple(scalar.name for scalar in self.scalars)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of scalars in each block."""
        return np.array([sum(s.block == block for s in self.scalars) for block in BLOCKS], dtype=np.int64)

    @property
    def improper(self) -> tuple[str, ...]:
        """Names of the scalars whose prior does not integrate to one."""
        return tuple(s.name for s in self.scalars if s.fixed is None and not s.prior.is_proper)

    @property
    def is_proper(self) -> bool:
        """Whether the joint prior integrates to one."""
        return not self.improper


def resolve(prior: Prior | None, model: GLMM, *, y_range: Any = None) -> ResolvedPriors:
    """Give every parameter of a model its prior.

    Parameters
    ----------
    prior : Prior or None
        None is :func:`.prior_flat`.
    model : GLMM
        One linear predictor; random effects with unstructured or diagonal covariance.
    y_range : (low, high), optional
        Theoretical range of the response, where the prior does not hold it. A flat prior becomes ``prior_weak``.

    Returns
    -------
    ResolvedPriors

    Raises
    ------
    ArgumentError
        A prior of a parameter that the model does not have; a missing range.
    NotAvailableError
        Models with several linear predictors, other covariance structures, ``prior_jzs`` for other families or
        without an intercept.
    """
    if prior is not None and not isinstance(prior, Prior):
        raise ArgumentError(f"prior must be made by prior_flat, prior_normal, prior_weak, ..., not {prior!r}")
    _refuse_models(model)
    said = _without_flat_range(prior or prior_flat(), y_range)
    return _Resolver(said, model, chosen_range(said, model, y_range)).resolved()


def _refuse_models(model: GLMM) -> None:
    """Raise for what the posterior does not cover."""
    if model.problem.n_parts > 1:
        raise NotAvailableError("priors and posteriors are for models with one linear predictor: no zi=, dispersion=")
    if model.problem.group_weights is not None:
        raise NotAvailableError("priors and posteriors are for models without group_weights=; repeat the rows instead")
    for term in model.design.terms:
        if term.structure not in ("us", "diag") or term.hom:
            kind = f"hom{term.structure}" if term.hom else term.structure
            raise NotAvailableError(
                f"there is no prior for the covariance structure {kind!r} of the term {term.label!r}; use us or diag",
                term=term.label,
            )


def _without_flat_range(prior: Prior, y_range: Any) -> Prior:
    """prior_weak in place of a flat one with a range of the response."""
    if prior.kind != "flat" or y_range is None:
        return prior
    y_range = check_range(y_range)
    warn(PriorWarning(f"y_range={y_range} has no part in a flat prior: prior_weak(y_range=...) is used instead"))
    return replace(prior_weak(y_range), coefficients=prior.coefficients)


# -- names -------------------------------------------------------------------------------------------------------


def _short(column: str) -> str:
    return "Int" if column == INTERCEPT else column


def fixed_names(model: GLMM) -> list[str]:
    """Names of the fixed effects."""
    return ["Intercept_c" if name == INTERCEPT else f"b[{name}]" for name in model.problem.beta_names]


def term_labels(model: GLMM) -> list[str]:
    """What each term is called: its grouping factor, with a number where two terms share a column."""
    terms = model.design.terms
    columns = Counter((term.group, column) for term in terms for column in term.columns)
    shared = {group for (group, _), count in columns.items() if count > 1}
    return [term.label if term.group in shared else term.group for term in terms]


def _is_correlated(term: TermDesign) -> bool:
    return term.structure == "us" and term.k > 1


class _Chooser:
    """The prior of a name: the one given for it, or for all of its kind, or the usual one.

    Attributes
    ----------
    given : the user's priors by name
    """

    def __init__(self, prior: Prior, names: list[str], groups: list[str]) -> None:
        self.given = {_full_name(key, names, groups): value for key, value in prior.coefficients.items()}

    def __call__(self, name: str, group: str, usual: Callable[[], Choice]) -> Choice:
        for key in (name, group):
            if key in self.given:
                chosen: Any = self.given[key]
                return Flat() if chosen is None else chosen, f"given for {key}"
        return usual()  # only now: the usual prior may need a range that was not given

    def has(self, name: str, group: str) -> bool:
        """Whether a prior was given for the name."""
        return name in self.given or group in self.given


def _full_name(key: str, names: list[str], groups: list[str]) -> str:
    """The parameter or group that a user means."""
    known = [*names, *groups]
    if key in known:
        return key
    if key == "Intercept" and "Intercept_c" in known:
        return "Intercept_c"
    if (label := full_label(key, names)) in known:
        return label
    if key.startswith("cutpoints["):
        raise ArgumentError(
            f"{key!r} cannot have a prior of its own: ordered thresholds share one; give it for 'cutpoints'", name=key
        )
    shown = ["Intercept" if name == "Intercept_c" else name for name in known]
    raise ArgumentError(f"the model has no parameter {key!r} to give a prior{did_you_mean(key, shown)}", name=key)


# -- from kinds to scalars ---------------------------------------------------------------------------------------


def make_scalar(
    name: str, block: str, prior: Distribution, low: float = -np.inf, high: float = np.inf, density: Any = None
) -> Scalar:
    """A scalar on the scale that its bounds and its prior's support call for.

    Raises
    ------
    ArgumentError
        Only an upper bound, or no probability between the bounds.
    """
    try:
        inside = prior.truncated(low, high)
    except ArgumentError as error:
        raise ArgumentError(f"the prior of {name}: {error}", name=name) from None
    low, high = inside.support
    if np.isinf(low) and np.isfinite(high):
        raise ArgumentError(
            f"the prior of {name}, {prior.text}, has an upper bound only; truncate it below too, or turn the sign of "
            "the column",
            name=name,
        )
    scale = scales.IDENTITY if np.isinf(low) else scales.ABOVE if np.isinf(high) else scales.INTERVAL
    return Scalar(name, block, scale, inside, low, high)


Entry = tuple[Scalar, str]


class _Resolver:
    """The steps of :func:`resolve` for one model."""

    def __init__(self, prior: Prior, model: GLMM, y_range: tuple[float, float] | None) -> None:
        self.prior, self.model, self.y_range = prior, model, y_range
        self.kind, self.family = prior.kind, model.family
        self.labels = term_labels(model)
        self.shapes = self._shapes()
        self.fixed = fixed_names(model)
        self.choose = _Chooser(prior, *self._names())
        self.slopes = [j for j, name in enumerate(self.fixed) if name != "Intercept_c"]
        self.shrunk = self._shrunk()
        self.has_sigma = any(shape.name == "sigma" for shape in self.shapes)

    @cached_property
    def units(self) -> Units:
        """Units of the model; raises where a range of the response is needed and missing."""
        return units_of(self.prior, self.model, self.y_range)

    @cached_property
    def column_sd(self) -> FloatArray:
        """Sample SD of each column of X; the size of a constant one."""
        X = self.model.problem.X
        sd = np.std(X, axis=0, ddof=1) if len(X) > 1 else np.zeros(X.shape[1])
        return np.where(sd > 0.0, sd, np.abs(X[0]))

    def setting(self, name: str, otherwise: Any = None) -> Any:
        """A number of the prior; ``otherwise`` where it was not given."""
        return self.prior.settings.get(name, otherwise)

    def _shapes(self) -> tuple[Shape, ...]:
        if not self.family.is_ordinal:
            return shapes_of(self.family)
        low = -np.inf
        return tuple(Shape(f"cutpoints[{name}]", low=low) for name in self.family.shape_names)

    def _names(self) -> tuple[list[str], list[str]]:
        """All parameters that can have a prior by name, and all groups of them."""
        terms = list(zip(self.labels, self.model.design.terms, strict=True))
        names = list(self.fixed) + [f"sd[{label}:{_short(c)}]" for label, t in terms for c in t.columns]
        names += [f"corr[{label}]" for label, term in terms if _is_correlated(term)]
        if not self.family.is_ordinal or not self._ordered:
            names += [shape.name for shape in self.shapes]
        groups = [g for g in ("b", "sd", "corr") if any(name.startswith(f"{g}[") for name in names)]
        return names, groups + (["cutpoints"] if self.family.is_ordinal and self.shapes else [])

    @property
    def _ordered(self) -> bool:
        return self.family.name == "ordered" and bool(self.shapes)

    def _shrunk(self) -> list[int]:
        """Slopes that a joint or shrinkage prior concerns: those without a prior of their own."""
        if self.kind not in KIND:
            return []
        return [j for j in self.slopes if not self.choose.has(self.fixed[j], "b")]

    def resolved(self) -> ResolvedPriors:
        """Everything together."""
        if self.kind == "jzs":
            self._refuse_jzs()
        entries = [*self._fixed(), *self._sds(), *self._correlations(), *self._shape_scalars(), *self._others()]
        self._check_intercept(entries)
        kind = KIND[self.kind] if self.shrunk else DIRECT
        return ResolvedPriors(
            prior=self.prior,
            scalars=tuple(scalar for scalar, _ in entries),
            sources=tuple(source for _, source in entries),
            slope_kind=kind,
            slope_columns=np.array(self.shrunk, dtype=np.int64),
            slope_scale=self.column_sd[self.shrunk] if kind == RHS else np.ones(len(self.shrunk)),
            slope_matrix=self._slope_matrix() if kind == JZS else np.empty((0, 0)),
            slope_hyper=self._slope_hyper(kind),
            centre=self.family.is_ordinal or "Intercept_c" in self.fixed,
            shape_power=np.array([shape.power for shape in self.shapes]),
            ordered=self._ordered,
        )

    # -- fixed effects -----------------------------------------------------------------------------------------
    def _fixed(self) -> Iterator[Entry]:
        for j, name in enumerate(self.fixed):
            if name == "Intercept_c":
                yield self._entry(name, "fixed", "", self._usual_intercept)
            elif j in self.shrunk:
                yield self._shrunk_slope(j)
            else:
                yield self._entry(name, "fixed", "b", partial(self._usual_slope, j))

    def _entry(
        self,
        name: str,
        block: str,
        group: str,
        usual: Callable[[], Choice],
        low: float = -np.inf,
        high: float = np.inf,
    ) -> Entry:
        prior, where = self.choose(name, group, usual)
        return make_scalar(name, block, prior, low, high), where

    def _usual_intercept(self) -> Choice:
        if self.kind in ("flat", "jzs") and self.setting("Intercept_sd") is None:
            return Flat(), f"prior_{self.kind}"
        if self.kind == "normal" or (self.kind == "jzs" and self.y_range is None):
            return self._normal("Intercept_sd")
        if "Intercept_sd" in self.prior.settings:
            return self._normal("Intercept_sd", self.units.middle if self.setting("Intercept_sd") else 0.0)
        if self.setting("max_beta", 1.0) is None and self.units.middle == 0.0:
            return Flat(), "max_beta = None"
        return Normal(self.units.middle + 0.0, self.units.half), self.units.source  # + 0.0: no -0

    def _normal(self, name: str, mean: float = 0.0) -> Choice:
        """Normal with the SD of that name."""
        sd = self.setting(name)
        return (Flat() if sd is None else Normal(mean, sd)), f"{name} = {sd if sd is None else format(sd, 'g')}"

    def _usual_slope(self, j: int) -> Choice:
        if self.kind == "normal":
            return self._normal("b_sd")
        size = self.setting("max_beta")
        if self.kind != "weak" or size is None:
            return Flat(), f"prior_{self.kind}" if self.kind != "weak" else "max_beta = None"
        sd = self.column_sd[j]
        return Normal(0.0, size * self.units.s / sd), f"{size:g} s / {sd:.4g}, s = {self.units.s:.4g}"

    def _shrunk_slope(self, j: int) -> Entry:
        column = self.fixed[j][2:-1]
        if self.kind == "rhs":
            return make_scalar(f"z[{column}]", "fixed", Normal(0.0, 1.0)), f"part of b[{column}], regularised horseshoe"
        if self.kind == "ssp":
            prior = Laplace(0.0, SSP_LAPLACE)
            return make_scalar(f"w[{column}]", "fixed", prior), f"part of b[{column}], spike and slab"
        r = self.setting("r")
        size = f"({r:g} sigma)" if self.has_sigma else f"{r * known_sigma(self.family):g}"
        title = f"cauchy_{len(self.shrunk)}(0, {size}^2 (X'X/n)^-1)"
        return make_scalar(self.fixed[j], "fixed", Joint(title=title)), "prior_jzs, all slopes together"

    # -- random effects ----------------------------------------------------------------------------------------
    def _sds(self) -> Iterator[Entry]:
        for label, term in zip(self.labels, self.model.design.terms, strict=True):
            usual = partial(self._rate, "tau_rate" if self.kind == "normal" else "sd_rate", "s")
            for column in term.columns:
                yield self._entry(f"sd[{label}:{_short(column)}]", "sd", "sd", usual, 0.0)

    def _rate(self, name: str, unit: str) -> Choice:
        """Exponential with the rate of that name, or one over a unit."""
        if name in self.prior.settings:
            rate = self.setting(name)
            return (Flat() if rate is None else Exponential(rate)), f"{name} = {rate if rate is None else f'{rate:g}'}"
        if self.kind == "flat":
            return Flat(), "prior_flat"
        value = getattr(self.units, unit)
        return Exponential(1.0 / value), f"mean {'s' if unit == 's' else 'unit of y'} = {value:.4g}"

    def _correlations(self) -> Iterator[Entry]:
        for label, term in zip(self.labels, self.model.design.terms, strict=True):
            if not _is_correlated(term):
                continue
            lkj, source = self._lkj(label)
            for i in range(1, term.k):
                for j in range(i):
                    prior = Flat() if lkj is None else lkj.partial(term.k, j + 1)
                    name = f"partial[{label}:{_short(term.columns[j])},{_short(term.columns[i])}]"
                    yield make_scalar(name, "corr", prior, -1.0, 1.0), source

    def _lkj(self, label: str) -> tuple[LKJ | None, str]:
        for key in (f"corr[{label}]", "corr"):
            if key in self.choose.given:
                lkj: Any = self.choose.given[key]
                return lkj, f"given for {key}" + (f": {lkj.text}" if lkj else "")
        eta = self.setting("lkj_eta", None if self.kind == "flat" else 1.0)
        return (None, "flat") if eta is None else (LKJ(eta), f"{LKJ(eta).text} on corr[{label}]")

    # -- shape parameters --------------------------------------------------------------------------------------
    def _shape_scalars(self) -> Iterator[Entry]:
        if self.family.is_ordinal:
            yield from self._thresholds()
            return
        for shape in self.shapes:
            usual = self._sigma if shape.prior is None else partial(self._usual_shape, shape, shape.prior)
            yield self._entry(shape.name, "shape", "", usual, shape.low, shape.high)

    def _sigma(self) -> Choice:
        if self.kind == "jzs" and "sigma_rate" not in self.prior.settings:
            return Reciprocal(), "prior_jzs"
        return self._rate("sigma_rate", "sigma")

    def _usual_shape(self, shape: Shape, prior: Distribution) -> Choice:
        key = f"{shape.name}_rate"
        if key in self.prior.settings:
            return self._rate(key, "s")
        return (Flat(), "prior_flat") if self.kind == "flat" else (prior, f"usual for the {self.family.name} family")

    def _thresholds(self) -> Iterator[Entry]:
        """Thresholds; in order the K - 1 of them share log (K - 1)!."""
        count = len(self.shapes)
        share = math.lgamma(count + 1.0) / count if self._ordered else 0.0
        for j, shape in enumerate(self.shapes):
            prior, where = self.choose(shape.name, "cutpoints", self._usual_threshold)
            if prior.is_proper:
                prior = replace(prior, log_factor=share)
            if prior.support != (-np.inf, np.inf):
                raise ArgumentError(f"the prior of thresholds must live on the whole line, not {prior.text}")
            scalar = make_scalar(shape.name, "shape", prior)
            gap = self._ordered and j > 0
            yield (replace(scalar, scale=scales.ABOVE, low=0.0) if gap else scalar), where

    def _usual_threshold(self) -> Choice:
        if "cutpoint_sd" in self.prior.settings:
            return self._normal("cutpoint_sd")
        if self.kind == "flat":
            return Flat(), "prior_flat"
        return LATENT[self.family.link.name], (
            "category probabilities uniform at mean predictors" if self._ordered else "latent law of the link"
        )

    # -- shrinkage and joint priors of slopes --------------------------------------------------------------------
    def _refuse_jzs(self) -> None:
        """Sigma must be on the scale of the linear predictor, and an intercept take up what centring takes away."""
        if "Intercept_c" not in self.fixed:
            raise NotAvailableError(
                "prior_jzs is for models with an intercept: its slopes are those of centred columns"
            )
        if not self._sigma_on_eta:
            raise NotAvailableError(
                "prior_jzs measures slopes in units of the residual SD: it is for gaussian, student_t, censored_normal "
                f"and lognormal models on the scale of sigma, not {self.family.display}; use prior_weak or prior_normal"
            )

    @property
    def _sigma_on_eta(self) -> bool:
        """Whether sigma has the unit of the linear predictor."""
        name, link = self.family.name, self.family.link.name
        on_response = name in ("gaussian", "student_t", "censored_normal", "lognormal") and link == "identity"
        return on_response or name == "lognormal_log"

    @property
    def _sigma_at(self) -> int:
        """Index of sigma among the scalars, -1 where there is none that counts."""
        if not (self.has_sigma and self._sigma_on_eta):
            return -1
        terms = self.model.design.terms
        n_corr = sum(term.k * (term.k - 1) // 2 for term in terms if _is_correlated(term))
        return len(self.fixed) + sum(term.k for term in terms) + n_corr

    @property
    def _unit_beside_sigma(self) -> float:
        """What slopes are measured in besides sigma: one, a known sigma, or the unit s."""
        if self._sigma_on_eta:
            return known_sigma(self.family)
        return self.units.s

    def _others(self) -> Iterator[Entry]:
        columns = [self.fixed[j][2:-1] for j in self.shrunk]
        if self.kind == "rhs" and columns:
            for column in columns:
                yield make_scalar(f"lambda[{column}]", "other", HalfCauchy(1.0)), "prior_rhs"
            yield self._global_scale(len(columns))
            df, scale = self.setting("slab_df"), self.setting("slab_scale")
            prior = InverseGamma(0.5 * df, 0.5 * df * scale**2)
            yield make_scalar("c2", "other", prior), f"slab_df = {df:g}, slab_scale = {scale:g}"
        if self.kind == "ssp" and columns:
            yield from self._soft_weights(columns)

    def _global_scale(self, K: int) -> Entry:
        """Tau; tau0 = p0 / (K - p0) / sqrt(n), times the unit where there is no sigma."""
        p0 = max(1.0, min(self.setting("expected_vars"), K - 1.0))
        ratio = p0 / (K - p0) if K > 1 else 1.0
        tau0 = ratio * self._unit_beside_sigma / np.sqrt(self.model.problem.n)
        source = f"p0/(K - p0) = {ratio:.4g}, n = {self.model.problem.n}" + (", times sigma" * (self._sigma_at >= 0))
        return make_scalar("tau", "other", HalfCauchy(tau0)), source

    def _soft_weights(self, columns: list[str]) -> Iterator[Entry]:
        ratio = self.setting("ssp_ratio")
        weight = LogitNormal(np.log(ratio / (1.0 - ratio)), SSP_LOGIT_SD, *SSP_RANGE)
        for column in columns:
            yield make_scalar(f"r[{column}]", "other", weight), f"ssp_ratio = {ratio:g}"
        for column, j in zip(columns, self.shrunk, strict=True):
            sd = self.column_sd[j]
            prior = Exponential(sd / self.units.s)
            yield make_scalar(f"t[{column}]", "other", prior), f"mean s / {sd:.4g}, s = {self.units.s:.4g}"

    def _slope_matrix(self) -> FloatArray:
        """X'X / n of the columns concerned, centred."""
        X = self.model.problem.X[:, self.shrunk]
        centred = X - X.mean(axis=0)
        return np.ascontiguousarray(centred.T @ centred / len(X))

    def _slope_hyper(self, kind: int) -> FloatArray:
        if kind == RHS:
            return np.array([float(self._sigma_at)])
        if kind == JZS:
            scale = self.setting("r") * known_sigma(self.family)
            return np.array([float(self._sigma_at), scale, cauchy_log_constant(self._slope_matrix(), scale)])
        return np.empty(0)

    # -- a last look -------------------------------------------------------------------------------------------
    def _check_intercept(self, entries: list[Entry]) -> None:
        """Warn where the usual prior puts the mean response far out."""
        first = next((scalar.prior for scalar, _ in entries if scalar.name == "Intercept_c"), None)
        if not isinstance(first, Normal) or "Intercept_c" in self.choose.given:
            return
        with np.errstate(all="ignore"):
            level = float(self.family.link.link(np.array([mean_response(self.model)]))[0])
        level -= float(np.mean(self.model.problem.offset))
        if np.isfinite(level) and abs(level - first.mean) > 3.0 * first.sd:
            warn(
                PriorWarning(
                    f"the mean response is {level:.4g} on the scale of the linear predictor, more than three SDs away "
                    f"from the middle of the intercept's prior, {first.text}, which will pull it; give a larger "
                    "Intercept_sd, or prior_weak with the range that the response can take",
                    level=level,
                )
            )


# -- tables and draws --------------------------------------------------------------------------------------------


def prior_summary(model: GLMM | ResolvedPriors) -> pd.DataFrame:
    """What the prior of every parameter is.

    Parameters
    ----------
    model : GLMM or ResolvedPriors
        A model, or what :func:`resolve` made of a prior.

    Returns
    -------
    DataFrame
        A row for each parameter; columns ``prior`` (exact distribution; rates of exponentials), ``support``,
        ``proper`` and ``source``.
    """
    resolved = model if isinstance(model, ResolvedPriors) else model.posterior.priors
    rows = {
        scalar.name: {
            "prior": scalar.prior.text if scalar.fixed is None else f"fixed at {scalar.fixed:g}",
            "support": _support(scalar, resolved.ordered and scalar.block == "shape"),
            "proper": scalar.fixed is not None or scalar.prior.is_proper,
            "source": source,
        }
        for scalar, source in zip(resolved.scalars, resolved.sources, strict=True)
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "parameter"
    return table


def _support(scalar: Scalar, is_ordered: bool) -> str:
    if is_ordered:
        return "increasing"
    return f"({scalar.low:g}, {scalar.high:g})"


def sample_prior(resolved: ResolvedPriors, rng: np.random.Generator, size: int) -> FloatArray:
    """Independent draws from the prior.

    Parameters
    ----------
    resolved : ResolvedPriors
    rng : Generator
    size : int

    Returns
    -------
    float array, shape (size, number of scalars)
        Natural values; thresholds themselves, not their gaps; sd, not log sd.

    Raises
    ------
    NotAvailableError
        The prior is improper; the message names the parameters.
    """
    if not resolved.is_proper:
        raise NotAvailableError(
            f"there is nothing to draw from an improper prior: {', '.join(resolved.improper)} have none that "
            "integrates to one; give them one, e.g. prior_normal() or prior_weak(y_range=...)",
            improper=resolved.improper,
        )
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise ArgumentError(f"size must be a positive whole number, not {size!r}", size=size)
    out = np.empty((size, len(resolved.scalars)))
    for j, scalar in enumerate(resolved.scalars):
        if scalar.fixed is not None:
            out[:, j] = scalar.fixed
        elif not isinstance(scalar.prior, Joint):
            out[:, j] = scalar.prior.sample(rng, size)
    if resolved.ordered:
        first = int(resolved.counts[:3].sum())
        out[:, first : first + int(resolved.counts[3])].sort(axis=1)
    if resolved.slope_kind == JZS:
        out[:, resolved.slope_columns] = _cauchy_draws(resolved, out, rng)
    return out


def _cauchy_draws(resolved: ResolvedPriors, values: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Slopes under jzs: normal with covariance (r sigma)^2 M^-1, over an independent absolute normal."""
    at, scale = int(resolved.slope_hyper[0]), resolved.slope_hyper[1]
    normal = rng.standard_normal((len(values), resolved.slope_columns.size))
    correlated = np.linalg.solve(np.linalg.cholesky(resolved.slope_matrix).T, normal.T).T
    size = scale * (values[:, at] if at >= 0 else 1.0) / np.abs(rng.standard_normal(len(values)))
    return correlated * np.reshape(size, (-1, 1))
