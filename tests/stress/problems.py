"""Nasty problems: each builds its data from a seed and says how a fit of them may end.

An ``ends`` entry is one of the words below or the name of a refglmm exception. What a word claims is checked
by ``test_stress``, never taken from the fit alone. ``also`` lists warnings that have nothing to do with the
verdict (a redundant column dropped, predictors on different scales).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: Certified, interior, no warning.
OPTIMUM = "optimum"
#: Certified, on the boundary, SingularFitWarning.
SINGULAR = "singular"
#: SeparationWarning: some fixed effect has no finite estimate.
SEPARATED = "separated"
#: ConvergenceWarning: some direction is not determined (the objective is flat or falls for ever along it).
UNDETERMINED = "undetermined"


@dataclass(frozen=True)
class Stress:
    """One problem: data, model, and how it may end."""

    name: str
    build: Callable[[np.random.Generator], dict[str, np.ndarray]] = field(repr=False)
    formula: str
    family: str
    ends: tuple[str, ...]
    options: dict[str, Any]
    fit_options: dict[str, Any]
    also: tuple[str, ...]
    slow: bool
    big: bool

    def data(self) -> dict[str, np.ndarray]:
        """Columns; the seed is the name, so that adding a problem moves no other."""
        return self.build(np.random.default_rng(zlib.crc32(self.name.encode())))

    @property
    def is_lmm(self) -> bool:
        """Whether ``lmer`` is called."""
        return self.family == "lmm"


PROBLEMS: dict[str, Stress] = {}

#: Options of ``fit``; the rest goes to the model.
FIT_OPTIONS = ("n_agq", "reml", "control", "optimizer", "start")


def nasty(
    formula: str,
    family: str,
    *ends: str,
    also: tuple[str, ...] = (),
    slow: bool = False,
    big: bool = False,
    name: str | None = None,
    **options: Any,
) -> Callable[..., Any]:
    """Register a data builder; several registrations of one builder each take a name."""

    def register(build: Callable[[np.random.Generator], dict[str, np.ndarray]]) -> Any:
        label = name or build.__name__
        assert label not in PROBLEMS, label
        fit_options = {key: options[key] for key in FIT_OPTIONS if key in options}
        model_options = {key: value for key, value in options.items() if key not in FIT_OPTIONS}
        PROBLEMS[label] = Stress(
            label, build, formula, family, ends or (OPTIMUM,), model_options, fit_options, also, slow, big
        )
        return build

    return register


# ------------------------------------------------------------------------------------------------- helpers


def labels(codes: np.ndarray, prefix: str = "g") -> np.ndarray:
    """Level names of a grouping factor."""
    return np.array([f"{prefix}{code:06d}" for code in codes])


def grouped(rng, groups: int, rows: int, sd: float):
    """Codes, a covariate in (-1, 1), and the group effects of each row."""
    codes = np.repeat(np.arange(groups), rows)
    return codes, rng.uniform(-1.0, 1.0, codes.size), rng.normal(0.0, sd, groups)[codes]


def expit(eta):
    """Inverse logit without overflow."""
    return np.exp(-np.logaddexp(0.0, -eta))


def bernoulli(rng, p):
    """0/1 draws."""
    return (rng.uniform(size=np.size(p)) < p).astype(float)


def gamma_draw(rng, mu, shape):
    """Gamma with mean mu; never exactly zero."""
    return np.maximum(rng.gamma(shape, mu / shape), 1e-300)


# ---------------------------------------------------------------------------------------------- separation

UNCHECKED = {"constant_response": "ignore"}


@nasty("y ~ x + (1 | g)", "binomial", SEPARATED)
def complete_separation(rng):
    """The sign of x decides y."""
    g, x, _ = grouped(rng, 20, 6, 0.0)
    return {"y": (x > 0).astype(float), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "binomial", SEPARATED)
def quasi_separation_continuous(rng):
    """x < 0 gives 0; x = 0 gives either."""
    g, x, _ = grouped(rng, 20, 6, 0.0)
    x = np.where(np.abs(x) < 0.3, 0.0, x)
    return {"y": np.where(x == 0, bernoulli(rng, 0.5 + 0 * x), x > 0).astype(float), "x": x, "g": labels(g)}


@nasty("y ~ f + (1 | g)", "binomial", SEPARATED)
def factor_level_without_events(rng):
    """Level c never has a success."""
    g, _, b = grouped(rng, 20, 9, 0.7)
    f = np.tile(["a", "b", "c"], 60)
    return {"y": np.where(f == "c", 0.0, bernoulli(rng, expit(b))), "f": f, "g": labels(g)}


@nasty("y ~ 0 + f + (1 | g)", "binomial", SEPARATED)
def reference_free_level_without_events(rng):
    """The same with one column a level."""
    g, _, b = grouped(rng, 20, 9, 0.7)
    f = np.tile(["a", "b", "c"], 60)
    return {"y": np.where(f == "c", 0.0, bernoulli(rng, expit(b))), "f": f, "g": labels(g)}


@nasty("y ~ f + (1 | g)", "binomial", SEPARATED)
def reference_level_without_events(rng):
    """The reference level is the empty one: intercept and all contrasts run away together."""
    g, _, b = grouped(rng, 20, 9, 0.7)
    f = np.tile(["a", "b", "c"], 60)
    return {"y": np.where(f == "a", 0.0, bernoulli(rng, expit(b))), "f": f, "g": labels(g)}


@nasty("y ~ a * b + (1 | g)", "binomial", SEPARATED)
def interaction_cell_without_events(rng):
    """Only one cell of a 2 x 2 table is empty."""
    g, _, b = grouped(rng, 20, 8, 0.5)
    u, v = np.tile([0, 0, 1, 1, 0, 1, 0, 1], 20), np.tile([0, 1, 0, 1, 0, 0, 1, 1], 20)
    y = np.where((u == 1) & (v == 1), 0.0, bernoulli(rng, expit(b)))
    return {"y": y, "a": labels(u, "a"), "b": labels(v, "b"), "g": labels(g)}


@nasty("y ~ f + (1 | g)", "poisson", SEPARATED)
def poisson_level_without_events(rng):
    """A treatment with zero counts only."""
    g, _, b = grouped(rng, 20, 6, 0.5)
    f = np.tile(["a", "b", "c"], 40)
    return {"y": np.where(f == "c", 0, rng.poisson(np.exp(1 + b))).astype(float), "f": f, "g": labels(g)}


@nasty("cbind(s, m - s) ~ f + (1 | g)", "binomial", SEPARATED)
def counts_level_all_successes(rng):
    """Binomial counts, one level with successes only."""
    g, _, b = grouped(rng, 12, 6, 0.5)
    f, m = np.tile(["a", "b", "c"], 24), rng.integers(1, 30, 72)
    return {"s": np.where(f == "b", m, rng.binomial(m, expit(b))), "m": m, "f": f, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "binomial", SEPARATED, link="probit", name="complete_separation_probit")
@nasty("y ~ x + (1 | g)", "binomial", SEPARATED, link="cloglog", name="complete_separation_cloglog")
def complete_separation_links(rng):
    """The sign of x decides y."""
    g, x, _ = grouped(rng, 20, 6, 0.0)
    return {"y": (x > 0).astype(float), "x": x, "g": labels(g)}


@nasty("y ~ 1 + (1 | g)", "binomial", OPTIMUM, SEPARATED, UNDETERMINED)
def constant_within_groups(rng):
    """Every group is all zeros or all ones: the likelihood rises with the variance towards 2^-30."""
    g = np.repeat(np.arange(30), 8)
    return {"y": (g % 2).astype(float), "g": labels(g)}


@nasty("y ~ x + (1 | g)", "binomial", SEPARATED)
def separation_within_groups(rng):
    """In each group x splits y at its own threshold."""
    g, x, _ = grouped(rng, 20, 10, 0.0)
    cut = rng.uniform(-0.6, 0.6, 20)[g]
    return {"y": (x > cut).astype(float), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "binomial", "ResponseError")
def all_zeros(rng):
    """No success at all."""
    g, x, _ = grouped(rng, 10, 5, 0.0)
    return {"y": np.zeros(50), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "binomial", "ResponseError")
def all_ones(rng):
    """No failure at all."""
    g, x, _ = grouped(rng, 10, 5, 0.0)
    return {"y": np.ones(50), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "binomial", SEPARATED, checks=UNCHECKED)
def all_zeros_unchecked(rng):
    """No success at all and the check switched off."""
    return all_zeros(rng)


@nasty("cbind(s, m) ~ x + (1 | g)", "binomial", SEPARATED)
def all_counts_zero(rng):
    """cbind with no success: equal proportions pass the check."""
    g, x, _ = grouped(rng, 10, 5, 0.0)
    return {"s": np.zeros(50), "m": rng.integers(1, 9, 50), "x": x, "g": labels(g)}


@nasty("y ~ 1 + (1 | g)", "poisson", SEPARATED, checks=UNCHECKED)
def poisson_all_zeros_unchecked(rng):
    """The rate is zero."""
    return {"y": np.zeros(60), "g": labels(np.repeat(np.arange(12), 5))}


@nasty("y ~ 1 + (1 | g)", "poisson", OPTIMUM, SINGULAR)
def poisson_all_zeros_but_one(rng):
    """A single event in 200 rows."""
    y = np.zeros(200)
    y[77] = 1.0
    return {"y": y, "g": labels(np.repeat(np.arange(40), 5))}


@nasty("y ~ x + (1 | g)", "poisson", OPTIMUM, SINGULAR)
def poisson_one_event_with_slope(rng):
    """A single event and a covariate inside whose range it lies."""
    g, x, _ = grouped(rng, 40, 5, 0.0)
    y = np.zeros(200)
    y[int(np.argsort(x)[100])] = 1.0
    return {"y": y, "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "binomial", OPTIMUM)
def response_constant_in_one_group(rng):
    """One large group of zeros among ordinary ones: a large but finite mode."""
    g, x, b = grouped(rng, 15, 8, 1.0)
    y = np.where(g == 3, 0.0, bernoulli(rng, expit(0.5 + x + b)))
    return {"y": y, "x": x, "g": labels(g)}


# -------------------------------------------------------------------------------------------------- offsets


@nasty("y ~ x + offset(o) + (1 | g)", "poisson", name="poisson_offset_50")
@nasty("y ~ x + offset(-o) + (1 | g)", "poisson", name="poisson_offset_minus_50")
@nasty("y ~ x + offset(14 * o) + (1 | g)", "poisson", name="poisson_offset_700")
@nasty("y ~ x + offset(-14 * o) + (1 | g)", "poisson", name="poisson_offset_minus_700")
def poisson_offsets(rng):
    """The intercept must undo a huge constant offset."""
    g, x, b = grouped(rng, 20, 6, 0.5)
    return {"y": rng.poisson(np.exp(1 + 0.5 * x + b)), "x": x, "o": np.full(120, 50.0), "g": labels(g)}


@nasty("y ~ x + offset(o) + (1 | g)", "binomial", name="binomial_offset_50")
@nasty("y ~ x + offset(-14 * o) + (1 | g)", "binomial", name="binomial_offset_minus_700")
@nasty("y ~ x + offset(o) + (1 | g)", "binomial", link="cloglog", name="cloglog_offset_50")
@nasty("y ~ x + offset(o) + (1 | g)", "binomial", link="probit", name="probit_offset_50")
def binomial_offsets(rng):
    """The intercept must undo a huge constant offset."""
    g, x, b = grouped(rng, 30, 8, 0.8)
    return {"y": bernoulli(rng, expit(0.3 + x + b)), "x": x, "o": np.full(240, 50.0), "g": labels(g)}


@nasty("y ~ x + offset(o) + (1 | g)", "poisson")
def exposures_over_twenty_decades(rng):
    """Offsets from -23 to 23 around a rate that makes half the counts zero."""
    g, x, b = grouped(rng, 25, 8, 0.5)
    o = rng.uniform(-23.0, 23.0, 200)
    return {"y": rng.poisson(np.exp(-2 + 0.5 * x + b + o)).astype(float), "x": x, "o": o, "g": labels(g)}


@nasty("y ~ x + offset(o) + (1 | g)", "binomial")
def saturating_offsets(rng):
    """Some rows are decided by offsets of +-700 (in agreement with y), the others are ordinary."""
    g, x, b = grouped(rng, 25, 8, 0.7)
    o = rng.choice([-700.0, 0.0, 0.0, 700.0], 200)
    return {"y": bernoulli(rng, expit(0.2 + x + b + o)), "x": x, "o": o, "g": labels(g)}


@nasty("y ~ x + offset(o) + (1 | g)", "binomial", "DataError", "PirlsError", OPTIMUM, UNDETERMINED)
def offsets_against_the_response(rng):
    """Offsets of +-700 that contradict y: every log density is about -700."""
    g, x, b = grouped(rng, 25, 8, 0.7)
    y = bernoulli(rng, expit(0.2 + x + b))
    return {"y": y, "x": x, "o": np.where(y > 0, -700.0, 700.0), "g": labels(g)}


@nasty("y ~ x + offset(o) + (1 | g)", "lmm", name="lmm_offset_1e8")
def lmm_offset(rng):
    """Offset of 1e8 on a response of order one: eight digits are left."""
    g, x, b = grouped(rng, 20, 6, 0.5)
    return {"y": 1e8 + x + b + rng.normal(size=120), "x": x, "o": np.full(120, 1e8), "g": labels(g)}


# --------------------------------------------------------------------------------------- scales of covariates

SCALE = ("PredictorScaleWarning",)


def _scaled(rng, factor, shift=0.0):
    g, x, b = grouped(rng, 20, 10, 0.6)
    y = rng.poisson(np.exp(1.0 + 0.5 * x + b)).astype(float)
    return {"y": y, "x": factor * x + shift, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "poisson", also=SCALE)
def covariate_in_millions(rng):
    """sd 1e6."""
    return _scaled(rng, 2e6)


@nasty("y ~ x + (1 | g)", "poisson", also=SCALE)
def covariate_1e_minus_9(rng):
    """sd 1e-9."""
    return _scaled(rng, 1e-9)


@nasty("y ~ x + (1 | g)", "poisson", also=SCALE)
def covariate_1e15(rng):
    """sd 1e15."""
    return _scaled(rng, 1e15)


@nasty("y ~ x + (1 | g)", "poisson", also=("RankDeficiencyWarning",))
def covariate_far_from_zero(rng):
    """Mean 1e6, sd 0.6: almost the intercept."""
    return _scaled(rng, 1.0, 1e6)


@nasty("y ~ x + (x | g)", "poisson", OPTIMUM, SINGULAR, also=SCALE)
def random_slope_in_millions(rng):
    """A random slope of order 1e-7."""
    return _scaled(rng, 2e6)


@nasty("y ~ x + (x | g)", "lmm", OPTIMUM, SINGULAR, also=SCALE)
def lmm_random_slope_1e_minus_9(rng):
    """A random slope of order 1e9."""
    g, x, b = grouped(rng, 20, 10, 0.6)
    slopes = rng.normal(1.0, 0.5, 20)[g]
    return {"y": b + slopes * x + rng.normal(0, 0.5, 200), "x": 1e-9 * x, "g": labels(g)}


def _years(rng):
    g = np.repeat(np.arange(25), 31)
    year = np.tile(np.arange(1990, 2021), 25).astype(float)
    slope = rng.normal(0.03, 0.02, 25)[g]
    return g, year, 0.5 + rng.normal(0, 0.5, 25)[g] + slope * (year - 2005)


@nasty("y ~ year + (year | g)", "lmm", OPTIMUM, SINGULAR)
def lmm_slopes_on_years(rng):
    """Year 1990..2020 as it stands: intercept and slope are almost perfectly correlated."""
    g, year, eta = _years(rng)
    return {"y": eta + rng.normal(0, 0.5, g.size), "year": year, "g": labels(g)}


@nasty("y ~ year + (year | g)", "poisson", OPTIMUM, SINGULAR)
def poisson_slopes_on_years(rng):
    """The same for counts."""
    g, year, eta = _years(rng)
    return {"y": rng.poisson(np.exp(eta)).astype(float), "year": year, "g": labels(g)}


@nasty("y ~ year + (year | g)", "binomial", OPTIMUM, SINGULAR)
def binomial_slopes_on_years(rng):
    """The same for 0/1."""
    g, year, eta = _years(rng)
    return {"y": bernoulli(rng, expit(eta)), "year": year, "g": labels(g)}


@nasty("y ~ x1 + x2 + (1 | g)", "binomial", OPTIMUM, SINGULAR, also=("RankDeficiencyWarning",))
def collinear_1e10(rng):
    """x2 = x1 + 1e-10 noise: below the rank tolerance, dropped with a warning."""
    g, x, b = grouped(rng, 30, 8, 0.7)
    y = bernoulli(rng, expit(0.3 + x + b))
    return {"y": y, "x1": x, "x2": x + 1e-10 * rng.normal(size=240), "g": labels(g)}


@nasty("y ~ x1 + x2 + (1 | g)", "binomial", OPTIMUM)
def collinear_1e5(rng):
    """x2 = x1 + 1e-5 noise: kept."""
    g, x, b = grouped(rng, 30, 8, 0.7)
    y = bernoulli(rng, expit(0.3 + x + b))
    return {"y": y, "x1": x, "x2": x + 1e-5 * rng.normal(size=240), "g": labels(g)}


@nasty("y ~ x1 + x2 + (1 | g)", "lmm", OPTIMUM, name="lmm_collinear_1e6")
@nasty("y ~ x1 + x2 + (1 | g)", "lmm", OPTIMUM, name="lmm_collinear_1e6_reml", reml=True)
def lmm_collinear(rng):
    """x2 = x1 + 1e-6 noise in a linear model."""
    g, x, b = grouped(rng, 30, 8, 0.7)
    x2 = x + 1e-6 * rng.normal(size=240)
    return {"y": x + b + rng.normal(size=240), "x1": x, "x2": x2, "g": labels(g)}


# ------------------------------------------------------------------------------------------- sizes of counts


def _poisson(rng, level, sd=0.3):
    g, x, b = grouped(rng, 20, 6, sd)
    return {"y": rng.poisson(np.exp(level + 0.3 * x + b)).astype(float), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "poisson", OPTIMUM)
def counts_in_millions(rng):
    """About 1e6 events a row."""
    return _poisson(rng, 14.0)


@nasty("y ~ x + (1 | g)", "poisson", OPTIMUM)
def counts_1e12(rng):
    """About 1e12 events a row: the rows say everything, rounding of l is 1e-2."""
    return _poisson(rng, 27.6)


@nasty("y ~ x + (1 | g)", "poisson", "ResponseError")
def counts_1e18(rng):
    """Beyond the integers that a double holds."""
    g, x, b = grouped(rng, 20, 6, 0.3)
    return {"y": np.round(np.exp(41.4 + 0.3 * x + b)), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "poisson", "ResponseError")
def int64_counts(rng):
    """Counts near the largest int64, as integers."""
    g, x, b = grouped(rng, 20, 6, 0.3)
    y = np.minimum(np.exp(42.5 + 0.3 * x + b), 9.2e18).astype(np.int64)
    return {"y": y, "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g) + (1 | row)", "poisson", OPTIMUM)
def counts_in_millions_overdispersed(rng):
    """Counts of 1e6 with an observation-level effect."""
    g, x, b = grouped(rng, 20, 6, 0.3)
    y = rng.poisson(np.exp(14 + 0.3 * x + b + rng.normal(0, 0.2, 120))).astype(float)
    return {"y": y, "x": x, "g": labels(g), "row": labels(np.arange(120), "r")}


@nasty("cbind(s, m - s) ~ x + (1 | g)", "binomial", OPTIMUM)
def trials_from_one_to_a_million(rng):
    """Sizes from 1 to 1e6 in one data set."""
    g, x, b = grouped(rng, 20, 7, 0.4)
    m = np.tile([1, 10, 100, 1000, 10_000, 100_000, 1_000_000], 20)
    return {"s": rng.binomial(m, expit(-1 + x + b)), "m": m, "x": x, "g": labels(g)}


@nasty("cbind(s, m - s) ~ x + (1 | g)", "binomial", OPTIMUM)
def trials_2e9(rng):
    """Sizes beyond 32 bits when summed."""
    g, x, b = grouped(rng, 20, 6, 0.4)
    m = np.full(120, 2_000_000_000)
    return {"s": rng.binomial(m, expit(-1 + x + b)), "m": m, "x": x, "g": labels(g)}


# ----------------------------------------------------------------------------------- few or many rows a group


@nasty("y ~ x + (1 | row)", "poisson", OPTIMUM)
def poisson_observation_level(rng):
    """One observation per group."""
    x = rng.uniform(-1, 1, 200)
    y = rng.poisson(np.exp(1 + x + rng.normal(0, 0.7, 200))).astype(float)
    return {"y": y, "x": x, "row": labels(np.arange(200), "r")}


@nasty("y ~ x + (1 | row)", "binomial", OPTIMUM, SINGULAR, UNDETERMINED)
def binomial_observation_level_size_one(rng):
    """One Bernoulli observation per group: the variance is not identified apart from the slope."""
    x = rng.uniform(-1, 1, 200)
    y = bernoulli(rng, expit(x + rng.normal(0, 0.7, 200)))
    return {"y": y, "x": x, "row": labels(np.arange(200), "r")}


@nasty("cbind(s, m - s) ~ x + (1 | row)", "binomial", OPTIMUM)
def binomial_observation_level_size_ten(rng):
    """One binomial observation per group."""
    x = rng.uniform(-1, 1, 150)
    m = np.full(150, 10)
    s = rng.binomial(m, expit(x + rng.normal(0, 0.7, 150)))
    return {"s": s, "m": m, "x": x, "row": labels(np.arange(150), "r")}


@nasty("y ~ x + (1 | row)", "gamma", OPTIMUM, SINGULAR, UNDETERMINED, "GroupingError", link="log")
def gamma_observation_level(rng):
    """Dispersion and variance of the effects compete for the same spread."""
    x = rng.uniform(-1, 1, 150)
    y = gamma_draw(rng, np.exp(1 + x + rng.normal(0, 0.5, 150)), 4.0)
    return {"y": y, "x": x, "row": labels(np.arange(150), "r")}


@nasty("y ~ x + (1 | row)", "negative_binomial", OPTIMUM, SINGULAR, UNDETERMINED)
def negative_binomial_observation_level(rng):
    """Size and variance of the effects compete."""
    x = rng.uniform(-1, 1, 150)
    y = rng.poisson(gamma_draw(rng, np.exp(1 + x), 2.0)).astype(float)
    return {"y": y, "x": x, "row": labels(np.arange(150), "r")}


@nasty("y ~ x + (1 | row)", "lmm", "GroupingError")
def lmm_observation_level(rng):
    """Residual and effect are the same thing."""
    return {"y": rng.normal(size=30), "x": rng.normal(size=30), "row": labels(np.arange(30), "r")}


@nasty("y ~ x + (1 | g)", "binomial", OPTIMUM, slow=True, big=True)
def hundred_thousand_groups(rng):
    """1e5 groups of two."""
    g, x, b = grouped(rng, 100_000, 2, 1.0)
    return {"y": bernoulli(rng, expit(0.2 + x + b)), "x": x, "g": g}


@nasty("y ~ x + (1 | g)", "lmm", OPTIMUM, big=True)
def lmm_hundred_thousand_groups(rng):
    """1e5 groups of two, linear."""
    g, x, b = grouped(rng, 100_000, 2, 1.0)
    return {"y": x + b + rng.normal(size=g.size), "x": x, "g": g}


@nasty("y ~ 1 + (1 | g)", "binomial", OPTIMUM, SINGULAR)
def two_groups(rng):
    """A variance from two levels."""
    g = np.repeat([0, 1], 40)
    return {"y": bernoulli(rng, np.where(g == 1, 0.7, 0.3)), "g": labels(g)}


@nasty("y ~ 1 + (1 | g)", "binomial", "GroupingError")
def one_group(rng):
    """A variance from one level."""
    return {"y": bernoulli(rng, np.full(40, 0.4)), "g": labels(np.zeros(40, int))}


@nasty("y ~ x + (1 | g)", "lmm", OPTIMUM, SINGULAR)
def lmm_barely_more_rows_than_columns(rng):
    """n = p + 3."""
    return {"y": rng.normal(size=5), "x": np.arange(5.0), "g": labels(np.array([0, 0, 1, 1, 2]))}


@nasty("y ~ x + f + (1 | g)", "lmm", UNDETERMINED, reml=True)
def lmm_one_residual_degree(rng):
    """n = p + 1 and REML."""
    f = np.array(["a", "b", "c", "d", "a", "b"])
    g = labels(np.array([0, 0, 0, 1, 1, 1]))
    return {"y": rng.normal(size=6), "x": rng.normal(size=6), "f": f, "g": g}


# ------------------------------------------------------------------------------------------------- outliers


@nasty("y ~ x + (1 | g)", "lmm", OPTIMUM)
def lmm_group_with_huge_outlier(rng):
    """One group at 1e6."""
    g, x, b = grouped(rng, 20, 6, 0.5)
    return {"y": x + b + rng.normal(size=120) + np.where(g == 4, 1e6, 0.0), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "lmm", OPTIMUM, SINGULAR)
def lmm_row_with_huge_outlier(rng):
    """One row at 1e6."""
    g, x, b = grouped(rng, 20, 6, 0.5)
    y = x + b + rng.normal(size=120)
    y[50] = 1e6
    return {"y": y, "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "poisson", OPTIMUM)
def poisson_group_with_huge_outlier(rng):
    """One group with counts near 1e7 among counts near 3."""
    g, x, b = grouped(rng, 20, 6, 0.5)
    b = b + np.where(g == 4, 15.0, 0.0)
    return {"y": rng.poisson(np.exp(1 + x + b)).astype(float), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "poisson", OPTIMUM)
def poisson_row_with_huge_outlier(rng):
    """One count of 1e7."""
    g, x, b = grouped(rng, 20, 6, 0.5)
    y = rng.poisson(np.exp(1 + x + b)).astype(float)
    y[50] = 1e7
    return {"y": y, "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "gamma", OPTIMUM, SINGULAR, link="log")
def gamma_outliers_both_ways(rng):
    """One response of 1e12 and one of 1e-12."""
    g, x, b = grouped(rng, 20, 6, 0.5)
    y = gamma_draw(rng, np.exp(1 + x + b), 3.0)
    y[10], y[90] = 1e12, 1e-12
    return {"y": y, "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "binomial", OPTIMUM, SINGULAR, link="cauchit")
def cauchit_with_outliers(rng):
    """Cauchit exists for such rows: x = +-300 against the response."""
    g, x, b = grouped(rng, 30, 8, 0.7)
    x = 3 * x
    y = bernoulli(rng, 0.5 + np.arctan(0.5 + x + b) / np.pi)
    x[[5, 100]], y[5], y[100] = [300.0, -300.0], 0.0, 1.0
    return {"y": y, "x": x, "g": labels(g)}


# ------------------------------------------------------------------------------- zero and huge variances


def _null(rng, family):
    """No group effect at all; residuals balanced within groups so that the estimate is 0."""
    g, x, _ = grouped(rng, 15, 12, 0.0)
    mu = np.exp(0.7 + 0.4 * x)
    draws = {
        "binomial": lambda: bernoulli(rng, expit(0.2 + x)),
        "poisson": lambda: rng.poisson(mu).astype(float),
        "negative_binomial": lambda: rng.poisson(gamma_draw(rng, mu, 2.0)).astype(float),
        "gamma": lambda: gamma_draw(rng, mu, 5.0),
        "inverse_gaussian": lambda: rng.wald(mu, 5.0),
        "gaussian": lambda: mu + rng.normal(0, 0.2, g.size),
        "lmm": lambda: mu + rng.normal(0, 0.2, g.size),
    }
    y = draws[family]()
    # deal the rows of similar residual out to the groups in turn
    order = np.argsort(y / mu, kind="stable")
    codes = np.empty(g.size, dtype=int)
    codes[order] = np.arange(g.size) % 15
    return {"y": y, "x": x, "g": labels(codes)}


for _family, _link in (
    ("binomial", "logit"),
    ("poisson", "log"),
    ("negative_binomial", "log"),
    ("gamma", "log"),
    ("inverse_gaussian", "log"),
    ("gaussian", "log"),
):
    nasty("y ~ x + (1 | g)", _family, SINGULAR, link=_link, name=f"zero_variance_{_family}")(
        lambda rng, family=_family: _null(rng, family)
    )


@nasty("y ~ x + (1 | g)", "lmm", SINGULAR, name="zero_variance_lmm_ml")
@nasty("y ~ x + (1 | g)", "lmm", SINGULAR, reml=True, name="zero_variance_lmm_reml")
def zero_variance_lmm(rng):
    """Linear model without group effect."""
    return _null(rng, "lmm")


@nasty("y ~ x + (x | g)", "lmm", SINGULAR, reml=True)
def zero_covariance_matrix_reml(rng):
    """Intercepts and slopes both without variance."""
    return _null(rng, "lmm")


@nasty("y ~ x + (1 | g)", "binomial", OPTIMUM)
def binomial_modes_at_20(rng):
    """Standard deviation 12: most groups are constant, modes beyond +-20."""
    g, x, b = grouped(rng, 100, 12, 12.0)
    return {"y": bernoulli(rng, expit(4 * x + b)), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "poisson", OPTIMUM)
def poisson_modes_at_20(rng):
    """Standard deviation 8: counts from 0 to 1e9."""
    g, x, b = grouped(rng, 60, 5, 8.0)
    b = np.clip(b, -20, 20)
    return {"y": rng.poisson(np.exp(x + b)).astype(float), "x": x, "g": labels(g)}


def _toenail(rng):
    g = np.repeat(np.arange(120), 7)
    t = np.tile([0.0, 1, 2, 3, 6, 9, 12], 120)
    treated = (g % 2).astype(float)
    eta = -1.6 - 0.4 * t - 0.15 * treated * t + rng.normal(0, 4.0, 120)[g]
    return {"y": bernoulli(rng, expit(eta)), "t": t, "trt": treated, "g": labels(g)}


@nasty("y ~ trt * t + (1 | g)", "binomial", OPTIMUM, n_agq=25, name="toenail_like_25_points")
@nasty("y ~ trt * t + (1 | g)", "binomial", OPTIMUM, name="toenail_like_laplace")
@nasty("y ~ trt * t + (1 | g)", "binomial", OPTIMUM, n_agq=0, name="toenail_like_joint")
def toenail_like(rng):
    """Standard deviation 4, seven rows a group, most groups constant."""
    return _toenail(rng)


@nasty("y ~ x + (1 | g)", "poisson", OPTIMUM, n_agq=25, name="poisson_row_with_huge_outlier_25_points")
def poisson_outlier_quadrature(rng):
    """One count of 1e7 and 25 nodes: l differs by thousands between nodes."""
    return poisson_row_with_huge_outlier(rng)


@nasty("y ~ x + (1 | row)", "poisson", OPTIMUM, n_agq=25, name="poisson_observation_level_25_points")
def observation_level_quadrature(rng):
    """Skewed posteriors: one row each."""
    x = rng.uniform(-1, 1, 150)
    y = rng.poisson(np.exp(-1 + x + rng.normal(0, 1.5, 150))).astype(float)
    return {"y": y, "x": x, "row": labels(np.arange(150), "r")}


@nasty("y ~ x + (1 | g)", "gamma", OPTIMUM, SINGULAR, link="identity", n_agq=25, name="gamma_identity_agq")
def gamma_identity_quadrature(rng):
    """Outer nodes leave the domain mu > 0."""
    g, x, b = grouped(rng, 20, 6, 0.4)
    return {"y": gamma_draw(rng, np.maximum(1.5 + 0.2 * x + b, 0.2), 4.0), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "binomial", SEPARATED, n_agq=25, name="complete_separation_25_points")
@nasty("y ~ x + (1 | g)", "binomial", SEPARATED, n_agq=0, name="complete_separation_joint")
def separation_other_integrals(rng):
    """The sign of x decides y."""
    g, x, _ = grouped(rng, 20, 6, 0.0)
    return {"y": (x > 0).astype(float), "x": x, "g": labels(g)}


@nasty("y ~ 1 + (1 | g)", "binomial", SEPARATED, n_agq=25, name="constant_within_groups_agq")
def constant_within_groups_quadrature(rng):
    """Every group is all zeros or all ones."""
    return constant_within_groups(rng)


# ------------------------------------------------------------------------------------- shapes of the model


@nasty("y ~ 1 + (1 | g)", "binomial", OPTIMUM)
def intercept_only(rng):
    """p = 1."""
    g, _, b = grouped(rng, 20, 8, 0.8)
    return {"y": bernoulli(rng, expit(b)), "g": labels(g)}


@nasty("y ~ 0 + (1 | g)", "binomial", OPTIMUM, name="no_fixed_effects_binomial")
@nasty("y ~ 0 + (1 | g)", "lmm", OPTIMUM, name="no_fixed_effects_lmm")
@nasty("y ~ 0 + (1 | g)", "binomial", OPTIMUM, n_agq=0, name="no_fixed_effects_joint")
@nasty("y ~ 0 + (1 | g)", "binomial", OPTIMUM, n_agq=9, name="no_fixed_effects_quadrature")
def no_fixed_effects(rng):
    """p = 0."""
    g, _, b = grouped(rng, 20, 8, 0.8)
    return {"y": bernoulli(rng, expit(b)), "g": labels(g)}


@nasty("y ~ x + (x | g)", "lmm", OPTIMUM, SINGULAR, name="perfect_correlation_lmm")
@nasty("y ~ x + (x | g)", "lmm", SINGULAR, reml=True, name="perfect_correlation_reml")
def perfect_correlation(rng):
    """Slope = intercept in every group; groups too noisy to say otherwise."""
    g, x, b = grouped(rng, 12, 6, 1.0)
    return {"y": b * (1 + x) + rng.normal(size=72), "x": x, "g": labels(g)}


@nasty("y ~ x + (x | g)", "binomial", SINGULAR)
def perfect_correlation_binomial(rng):
    """Slope = intercept in every group."""
    g, x, b = grouped(rng, 40, 8, 1.0)
    return {"y": bernoulli(rng, expit(b * (1 + x))), "x": x, "g": labels(g)}


@nasty("y ~ x + (x + I(x^2) + I(x^3) | g)", "binomial", SINGULAR, OPTIMUM)
def overfitted_random_part(rng):
    """Ten covariance parameters for a plain random intercept."""
    g, x, b = grouped(rng, 30, 10, 0.8)
    return {"y": bernoulli(rng, expit(x + b)), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | a) + (1 | b) + (1 | c)", "binomial", OPTIMUM, SINGULAR)
def three_crossed_factors(rng):
    """Crossed 40 x 30 x 4."""
    a, b, c = (rng.integers(0, size, 900) for size in (40, 30, 4))
    x = rng.normal(size=900)
    effects = rng.normal(0, 1, 40)[a] + rng.normal(0, 0.7, 30)[b] + rng.normal(0, 0.4, 4)[c]
    y = bernoulli(rng, expit(0.5 * x + effects))
    return {"y": y, "x": x, "a": labels(a, "a"), "b": labels(b, "b"), "c": labels(c, "c")}


@nasty("y ~ x + (1 | outer / inner)", "poisson", OPTIMUM, SINGULAR, name="nested_levels_of_one_row")
@nasty("y ~ x + (1 | outer / inner)", "negative_binomial", OPTIMUM, SINGULAR, name="nested_negative_binomial")
def nested_levels(rng):
    """Inner levels have 1 to 9 rows, a third of them a single one."""
    sizes = rng.choice([1, 1, 1, 2, 3, 9], 60)
    inner = np.repeat(np.arange(60), sizes)
    outer = inner // 6
    x = rng.uniform(-1, 1, inner.size)
    eta = 1 + 0.5 * x + rng.normal(0, 0.5, 60)[inner] + rng.normal(0, 0.5, 10)[outer]
    return {
        "y": rng.poisson(np.exp(eta)).astype(float),
        "x": x,
        "inner": labels(inner, "i"),
        "outer": labels(outer, "o"),
    }


@nasty("y ~ x + (1 | g) + (0 + x | g)", "binomial", OPTIMUM, SINGULAR)
def same_factor_twice(rng):
    """Independent intercepts and slopes."""
    g, x, b = grouped(rng, 30, 10, 0.8)
    return {"y": bernoulli(rng, expit(b + (0.5 + rng.normal(0, 0.8, 30)[g]) * x)), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g) + (1 | h)", "lmm", UNDETERMINED)
def same_factor_under_two_names(rng):
    """g and h have the same levels: only the sum of the variances is determined."""
    g, x, b = grouped(rng, 20, 6, 1.0)
    return {"y": x + b + rng.normal(size=120), "x": x, "g": labels(g), "h": labels(g, "h")}


def _repeated(rng, k, rho, groups=40, sd=1.0):
    """k occasions a group, correlation rho^|i-j|; occasion factor t and its 3 replicates."""
    distance = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
    root = np.linalg.cholesky(rho**distance + 1e-12 * np.eye(k)) if rho else np.eye(k)
    effects = sd * rng.normal(size=(groups, k)) @ root.T
    g, t = np.repeat(np.arange(groups), 3 * k), np.tile(np.repeat(np.arange(k), 3), groups)
    return {
        "y": rng.poisson(np.exp(0.7 + effects[g, t])).astype(float),
        "t": labels(t, "t"),
        "g": labels(g),
        "z": effects[g, t] + rng.normal(0, 0.7, g.size),
    }


@nasty("y ~ 1 + ar1(0 + t | g)", "poisson", OPTIMUM, SINGULAR, name="ar1_6_rho_near_one")
@nasty("z ~ 1 + ar1(0 + t | g)", "lmm", OPTIMUM, SINGULAR, name="lmm_ar1_6_rho_near_one")
@nasty("y ~ 1 + cs(0 + t | g, hom = TRUE)", "poisson", OPTIMUM, SINGULAR, name="cs_6_rho_near_one")
def rho_near_one(rng):
    """Correlation 0.999."""
    return _repeated(rng, 6, 0.999)


@nasty("y ~ 1 + ar1(0 + t | g)", "poisson", SINGULAR, name="ar1_4_rho_exactly_one")
@nasty("y ~ 1 + cs(0 + t | g)", "poisson", OPTIMUM, SINGULAR, name="cs_4_rho_exactly_one")
@nasty("z ~ 1 + cs(0 + t | g)", "lmm", OPTIMUM, SINGULAR, name="lmm_cs_4_rho_exactly_one")
def rho_one(rng):
    """A random intercept in disguise."""
    return _repeated(rng, 4, 1.0)


@nasty("y ~ 1 + ar1(0 + t | g, hom = FALSE)", "poisson", OPTIMUM, SINGULAR, name="ar1_5_het")
@nasty("y ~ 1 + cs(0 + t | g)", "poisson", OPTIMUM, SINGULAR, name="cs_5_het")
@nasty("y ~ 1 + diag(0 + t | g)", "poisson", OPTIMUM, name="diag_5")
@nasty("y ~ 1 + (0 + t | g)", "poisson", OPTIMUM, SINGULAR, name="us_5")
def moderate_rho(rng):
    """Correlation 0.5 and five occasions."""
    return _repeated(rng, 5, 0.5)


@nasty("y ~ 1 + cs(0 + t | g, hom = TRUE)", "poisson", OPTIMUM, SINGULAR, name="cs_3_rho_at_lower_bound")
@nasty("z ~ 1 + cs(0 + t | g, hom = TRUE)", "lmm", SINGULAR, reml=True, name="lmm_cs_3_rho_at_lower_bound")
def cs_lower(rng):
    """Effects that sum to zero within a group: rho = -1/2."""
    g, t = np.repeat(np.arange(40), 9), np.tile(np.repeat(np.arange(3), 3), 40)
    effects = rng.normal(size=(40, 3))
    effects -= effects.mean(axis=1, keepdims=True)
    mean = effects[g, t]
    return {
        "y": rng.poisson(np.exp(1.5 + mean)).astype(float),
        "z": mean + rng.normal(0, 0.5, g.size),
        "t": labels(t, "t"),
        "g": labels(g),
    }


@nasty("y ~ 1 + ar1(0 + t | g)", "poisson", OPTIMUM, SINGULAR, name="ar1_2_rho_negative")
@nasty("y ~ 1 + cs(0 + t | g)", "poisson", OPTIMUM, SINGULAR, name="cs_2_rho_negative")
def two_occasions(rng):
    """k = 2, strongly negative."""
    return _repeated(rng, 2, -0.95)


@nasty("y ~ 1 + diag(0 + t | g)", "poisson", SINGULAR, name="diag_6_one_sd_zero")
def one_sd_zero(rng):
    """Six standard deviations, the last of which is zero."""
    data = _repeated(rng, 6, 0.0)
    last = data["t"] == "t000005"
    data["y"] = np.where(last, np.tile([2.0, 2.0, 2.0], data["y"].size // 3), data["y"])
    return data


@nasty("y ~ 1 + ar1(0 + t | g)", "poisson", OPTIMUM, SINGULAR, UNDETERMINED)
def ar1_without_effects(rng):
    """Variance zero: rho means nothing."""
    data = _repeated(rng, 4, 0.5)
    data["y"] = np.tile([1.0, 2.0, 3.0], data["y"].size // 3)
    return data


@nasty("y ~ x + (1 | g)", "binomial", OPTIMUM)
def duplicated_rows(rng):
    """Each row a hundred times."""
    g, x, b = grouped(rng, 15, 6, 1.0)
    y = bernoulli(rng, expit(0.5 + x + b))
    return {"y": np.repeat(y, 100), "x": np.repeat(x, 100), "g": np.repeat(labels(g), 100)}


# -------------------------------------------------------------------------- links at the edge of their domain


@nasty("y ~ x + (1 | g)", "poisson", OPTIMUM, SINGULAR, UNDETERMINED, link="identity")
def poisson_identity_at_the_edge(rng):
    """Means down to 0.02 with a linear predictor that must stay positive."""
    g, x, b = grouped(rng, 25, 8, 0.15)
    return {"y": rng.poisson(np.maximum(0.5 + 0.48 * x + b, 0.02)).astype(float), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "poisson", OPTIMUM, SINGULAR, UNDETERMINED, link="sqrt")
def poisson_sqrt_at_zero(rng):
    """eta crosses zero, where the mean turns round: rows without events have no barrier there, the mode is a corner."""
    g, x, b = grouped(rng, 25, 8, 0.2)
    return {"y": rng.poisson((0.6 + 0.6 * x + b) ** 2).astype(float), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "gamma", OPTIMUM, SINGULAR, UNDETERMINED, link="inverse")
def gamma_inverse_at_the_edge(rng):
    """Means up to 50: eta down to 0.02."""
    g, x, b = grouped(rng, 25, 8, 0.1)
    eta = np.maximum(0.5 + 0.45 * x + b, 0.02)
    return {"y": gamma_draw(rng, 1 / eta, 3.0), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "gamma", OPTIMUM, SINGULAR, UNDETERMINED, link="identity")
def gamma_identity_at_the_edge(rng):
    """Means down to 0.02."""
    g, x, b = grouped(rng, 25, 8, 0.1)
    return {"y": gamma_draw(rng, np.maximum(0.5 + 0.45 * x + b, 0.02), 3.0), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "inverse_gaussian", OPTIMUM, SINGULAR, UNDETERMINED, link="1/mu^2")
def inverse_gaussian_canonical_at_the_edge(rng):
    """eta down to 0.02."""
    g, x, b = grouped(rng, 25, 8, 0.1)
    mu = 1 / np.sqrt(np.maximum(0.6 + 0.5 * x + b, 0.02))
    return {"y": rng.wald(mu, 5.0), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "inverse_gaussian", OPTIMUM, SINGULAR, UNDETERMINED, link="inverse")
def inverse_gaussian_inverse_at_the_edge(rng):
    """eta down to 0.02."""
    g, x, b = grouped(rng, 25, 8, 0.1)
    return {"y": rng.wald(1 / np.maximum(0.6 + 0.5 * x + b, 0.02), 5.0), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "binomial", OPTIMUM, SINGULAR, UNDETERMINED, "DataError", link="log")
def binomial_log_near_one(rng):
    """Probabilities up to 0.98 under a log link."""
    g, x, b = grouped(rng, 25, 12, 0.02)
    return {"y": bernoulli(rng, np.exp(np.minimum(-0.3 + 0.25 * x + b, -0.02))), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "binomial", OPTIMUM, SINGULAR, link="cloglog", name="cloglog_extreme")
@nasty("y ~ x + (1 | g)", "binomial", OPTIMUM, SINGULAR, link="probit", name="probit_extreme")
def extreme_predictors(rng):
    """eta from -30 to 30 on most rows, yet neither separated nor flat."""
    g, x, b = grouped(rng, 30, 20, 1.0)
    x = 30 * x
    return {"y": bernoulli(rng, expit(2 * (x + b))), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "gaussian", link="log", start={"beta": [0.0, 0.0]}, name="gaussian_log_started")
@nasty("y ~ x + (1 | g)", "gaussian", link="log", name="gaussian_log_negative_y")
def gaussian_log(rng):
    """Some responses are negative, where log y does not exist."""
    g, x, b = grouped(rng, 25, 8, 0.3)
    return {"y": np.exp(x + b) + rng.normal(0, 0.7, 200), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "gaussian", OPTIMUM, SINGULAR, UNDETERMINED, "DataError", link="inverse")
def gaussian_inverse_both_signs(rng):
    """Responses of both signs: eta may cross the pole."""
    g, x, b = grouped(rng, 20, 6, 0.1)
    return {"y": 1 / (1.0 + 0.3 * x + b) + rng.normal(0, 0.5, 120), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "gaussian", OPTIMUM, SINGULAR, UNDETERMINED, link="logit")
def gaussian_logit_outside_the_unit_interval(rng):
    """Responses from -0.5 to 1.5 under a logit link."""
    g, x, b = grouped(rng, 25, 8, 0.5)
    return {"y": expit(3 * x + b) + rng.normal(0, 0.3, 200), "x": x, "g": labels(g)}


# --------------------------------------------------------------------------------------- extreme dispersions


@nasty("y ~ x + (1 | g)", "gamma", OPTIMUM, SINGULAR, link="log")
def gamma_shape_tenth(rng):
    """Shape 0.1: responses over twenty decades."""
    g, x, b = grouped(rng, 30, 10, 1.0)
    return {"y": gamma_draw(rng, np.exp(x + b), 0.1), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "gamma", OPTIMUM, link="log", name="gamma_shape_1e4")
@nasty("y ~ x + (1 | g)", "gamma", OPTIMUM, link="inverse", name="gamma_inverse_shape_1e4")
@nasty("y ~ x + (1 | g)", "gamma", OPTIMUM, link="identity", name="gamma_identity_shape_1e4")
def gamma_precise(rng):
    """Shape 1e4: noise of one per cent."""
    g, x, b = grouped(rng, 30, 6, 0.1)
    return {"y": gamma_draw(rng, np.exp(0.5 + 0.2 * x + b), 1e4), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "gamma", OPTIMUM, link="log")
def gamma_tiny_units(rng):
    """Responses near 1e-9."""
    g, x, b = grouped(rng, 30, 6, 0.3)
    return {"y": 1e-9 * gamma_draw(rng, np.exp(0.5 + 0.2 * x + b), 5.0), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "inverse_gaussian", OPTIMUM, SINGULAR, link="log", name="ig_dispersed")
def inverse_gaussian_wide(rng):
    """Dispersion 50."""
    g, x, b = grouped(rng, 30, 10, 0.5)
    return {"y": np.maximum(rng.wald(np.exp(x + b), 0.02), 1e-12), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "gaussian", OPTIMUM, link="log")
def gaussian_log_precise(rng):
    """Noise of 1e-5: the integrand is a needle."""
    g, x, b = grouped(rng, 20, 6, 0.3)
    return {"y": np.exp(0.5 + 0.2 * x + b) + 1e-5 * rng.normal(size=120), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "negative_binomial", UNDETERMINED)
def negative_binomial_without_overdispersion(rng):
    """Binomial counts, less dispersed than Poisson: the size has no finite estimate."""
    g, x, b = grouped(rng, 25, 8, 0.5)
    return {"y": rng.binomial(20, expit(-1 + 0.5 * x + b)).astype(float), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "negative_binomial", OPTIMUM, SINGULAR)
def negative_binomial_size_twentieth(rng):
    """Size 0.05: nine zeros in ten, the rest up to thousands."""
    g, x, b = grouped(rng, 40, 15, 0.5)
    return {"y": rng.poisson(gamma_draw(rng, np.exp(2 + x + b), 0.05)).astype(float), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "negative_binomial", OPTIMUM, SINGULAR, UNDETERMINED, link="identity")
def negative_binomial_identity(rng):
    """Means down to 0.3: rows without events draw the mode to a mean of zero, into a corner."""
    g, x, b = grouped(rng, 25, 8, 0.2)
    mu = np.maximum(1.5 + x + b, 0.3)
    return {"y": rng.poisson(gamma_draw(rng, mu, 3.0)).astype(float), "x": x, "g": labels(g)}


# --------------------------------------------------------------------------------------------------- weights


@nasty("y ~ x + (1 | g)", "poisson", OPTIMUM, SINGULAR, weights="w")
def weights_zero_and_a_million(rng):
    """Prior weights 0, 1 and 1e6."""
    g, x, b = grouped(rng, 20, 9, 0.4)
    w = np.tile([0.0, 1.0, 1e6], 60)
    return {"y": rng.poisson(np.exp(1 + x + b)).astype(float), "x": x, "w": w, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "poisson", OPTIMUM, SINGULAR, weights="w")
def weights_fractional(rng):
    """Prior weights between 0.001 and 1."""
    g, x, b = grouped(rng, 20, 9, 0.6)
    w = rng.uniform(0.001, 1.0, 180)
    return {"y": rng.poisson(np.exp(1 + x + b)).astype(float), "x": x, "w": w, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "lmm", OPTIMUM, SINGULAR, weights="w", name="lmm_weights_extreme")
@nasty("y ~ x + (1 | g)", "gamma", OPTIMUM, SINGULAR, weights="w", link="log", name="gamma_weights_extreme")
def scale_family_weights(rng):
    """Prior weights 0, 1 and 1e6 of a model with a dispersion."""
    g, x, b = grouped(rng, 20, 9, 0.4)
    w = np.tile([0.0, 1.0, 1e6], 60)
    mu = np.exp(1 + 0.3 * x + b)
    return {"y": gamma_draw(rng, mu, 3.0 * np.maximum(w, 1.0)), "x": x, "w": w, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "binomial", OPTIMUM, weights="w")
def one_group_without_weight(rng):
    """All rows of a group have weight 0: its effect is prior only."""
    g, x, b = grouped(rng, 20, 9, 0.8)
    return {"y": bernoulli(rng, expit(x + b)), "x": x, "w": np.where(g == 7, 0.0, 1.0), "g": labels(g)}


@nasty("y ~ x + (1 | g)", "binomial", OPTIMUM, SINGULAR, weights="w", also=("NonIntegerWarning",))
def fractional_trials(rng):
    """Numbers of trials that are no integers."""
    g, x, b = grouped(rng, 20, 8, 0.8)
    w = rng.uniform(0.5, 7.0, 160)
    return {"y": rng.uniform(0.05, 0.95, 160) * expit(b) / expit(np.abs(b)), "x": x, "w": w, "g": labels(g)}


# -------------------------------------------------------------------------------------------- linear models


@nasty("y ~ x + (1 | g)", "lmm", OPTIMUM)
def lmm_zero_residual_in_one_group(rng):
    """One group lies exactly on its line."""
    g, x, b = grouped(rng, 15, 6, 1.0)
    return {"y": x + b + np.where(g == 2, 0.0, rng.normal(size=90)), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "lmm", UNDETERMINED, "DataError")
def lmm_without_residuals(rng):
    """All groups lie exactly on their lines: the likelihood has no maximum."""
    g, x, b = grouped(rng, 15, 6, 1.0)
    return {"y": x + b, "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "lmm", UNDETERMINED, "DataError")
def lmm_exact_fit(rng):
    """y = 1 + 2 x exactly."""
    g, x, _ = grouped(rng, 15, 6, 1.0)
    return {"y": 1 + 2 * x, "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "lmm", OPTIMUM)
def lmm_almost_no_residual(rng):
    """Residuals of 1e-6: theta is 1e6."""
    g, x, b = grouped(rng, 15, 6, 1.0)
    return {"y": x + b + 1e-6 * rng.normal(size=90), "x": x, "g": labels(g)}


def _linear(rng, scale, shift=0.0):
    g, x, b = grouped(rng, 20, 6, 0.7)
    return {"y": shift + scale * (x + b + rng.normal(size=120)), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | g)", "lmm", OPTIMUM, name="lmm_scale_1e9")
@nasty("y ~ x + (x | g)", "lmm", OPTIMUM, SINGULAR, reml=True, name="lmm_slopes_scale_1e9_reml")
def lmm_large(rng):
    """Responses near 1e9."""
    return _linear(rng, 1e9)


@nasty("y ~ x + (1 | g)", "lmm", OPTIMUM)
def lmm_scale_1e_minus_9(rng):
    """Responses near 1e-9."""
    return _linear(rng, 1e-9)


@nasty("y ~ x + (1 | g)", "lmm", OPTIMUM, "DataError")
def lmm_scale_1e150(rng):
    """Responses whose squares are near overflow."""
    return _linear(rng, 1e150)


@nasty("y ~ x + (1 | g)", "lmm", OPTIMUM)
def lmm_far_from_zero(rng):
    """Mean 1e10, standard deviation 1."""
    return _linear(rng, 1.0, 1e10)


@nasty("y ~ x + (1 | g)", "lmm", SINGULAR, reml=True)
def lmm_negative_intraclass_correlation(rng):
    """Rows of a group repel each other."""
    g, x, _ = grouped(rng, 20, 6, 0.0)
    e = rng.normal(size=120).reshape(20, 6)
    return {"y": x + (e - e.mean(axis=1, keepdims=True)).ravel(), "x": x, "g": labels(g)}


@nasty("y ~ x + (1 | a) + (1 | b) + (1 | a:b)", "lmm", OPTIMUM, SINGULAR, reml=True)
def lmm_saturated_crossing(rng):
    """Two rows a cell of a 12 x 10 table."""
    a, b = np.repeat(np.arange(12), 20), np.tile(np.repeat(np.arange(10), 2), 12)
    y = rng.normal(size=12)[a] + rng.normal(0, 0.1, 10)[b] + rng.normal(size=240)
    return {"y": y, "x": rng.normal(size=240), "a": labels(a, "a"), "b": labels(b, "b")}


# ----------------------------------------------------------------------------------------- unusable input


@nasty("y ~ x + (1 | g)", "poisson", "ResponseError")
def infinite_response(rng):
    """One infinite count."""
    data = _poisson(rng, 1.0)
    data["y"][3] = np.inf
    return data


@nasty("y ~ x + (1 | g)", "poisson", "ResponseError")
def negative_counts(rng):
    """One negative count."""
    data = _poisson(rng, 1.0)
    data["y"][3] = -1.0
    return data


@nasty("y ~ x + (1 | g)", "poisson", "DataError")
def infinite_covariate(rng):
    """One infinite value of x."""
    data = _poisson(rng, 1.0)
    data["x"][3] = np.inf
    return data


@nasty("y ~ x + offset(o) + (1 | g)", "poisson", "DataError")
def infinite_offset(rng):
    """log(0) as an offset."""
    data = _poisson(rng, 1.0)
    data["o"] = np.where(np.arange(120) == 5, -np.inf, 0.0)
    return data
