"""Ordinal families against their definitions, differences, sums to one, draws and each other."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest
from families.densities import check_derivatives, check_draws, check_orders, observe
from scipy import stats
from scipy.special import logsumexp

from refglmm.errors import ArgumentError, FamilyError, NotAvailableError, ResponseError
from refglmm.families.kernel import H, L, S
from refglmm.families.ordinal import Adjacent, Ordered, Sequential
from refglmm.families.registry import get_family

LEVELS = ("none", "mild", "moderate", "severe", "worst")
THRESHOLDS = (-1.0, 0.3, 0.9, 2.1)
CODES = np.arange(5.0)

#: The latent laws.
LAWS = {"logit": stats.logistic, "probit": stats.norm, "cloglog": stats.gumbel_l, "cauchit": stats.cauchy}

MODELS = {
    **{f"ordered {link}": Ordered(link, levels=LEVELS) for link in LAWS},
    **{f"forward {link}": Sequential(link, levels=LEVELS) for link in ("logit", "probit", "cloglog")},
    **{
        f"backward {link}": Sequential(link, direction="backward", levels=LEVELS)
        for link in ("logit", "probit", "cloglog")
    },
    "adjacent logit": Adjacent(levels=LEVELS),
}

each_model = pytest.mark.parametrize("model", MODELS)


def log_interval(law, low: float, high: float) -> float:
    """Log probability between two points: the integral of the density, scaled by its largest value."""
    x, w = np.polynomial.legendre.leggauss(80)
    at = law.logpdf(low + 0.5 * (high - low) * (x + 1.0))
    return float(at.max() + np.log(0.5 * (high - low) * (w @ np.exp(at - at.max()))))


def definition(model: str, eta: float) -> list[float]:
    """Log probabilities of the five categories from the defining equations."""
    kind, link = model.split()
    law, c = LAWS[link], np.array(THRESHOLDS)
    if kind == "ordered":
        inner = [log_interval(law, a - eta, b - eta) for a, b in pairwise(c)]
        return [law.logcdf(c[0] - eta), *inner, law.logsf(c[-1] - eta)]
    if kind == "adjacent":
        scores = np.concatenate([[0.0], np.cumsum(eta - c)])
        return list(scores - logsumexp(scores))
    at = c - eta if kind == "forward" else eta - c[::-1]
    passed = np.concatenate([[0.0], np.cumsum(law.logsf(at))])
    out = passed + np.append(law.logcdf(at), 0.0)
    return list(out if kind == "forward" else out[::-1])


@each_model
@pytest.mark.parametrize("eta", [-30.0, -2.5, 0.4, 3.0, 30.0])
def test_log_probabilities_are_those_of_the_definition(model, eta):
    found, wanted = MODELS[model].log_density(CODES, np.full(5, eta), 1.0, THRESHOLDS), np.array(definition(model, eta))
    usable = wanted > -1e6  # beyond, exp(-e^30) and the like, the oracle itself has lost its digits
    np.testing.assert_allclose(found[usable], wanted[usable], rtol=1e-11, atol=1e-13)
    assert np.all(found[~usable] < -1e6)


@each_model
def test_derivatives(model):
    check_derivatives(MODELS[model], CODES, (-4.0, -0.7, 0.2, 3.0), 1.5, THRESHOLDS)
    check_orders(MODELS[model], CODES, 0.3, 2.0, THRESHOLDS)


@each_model
def test_nothing_overflows_or_cancels_in_the_tails(model):
    family = MODELS[model]
    for eta in (-500.0, -60.0, 60.0, 500.0):
        out = observe(family, CODES, eta, 1.0, THRESHOLDS)
        assert np.all(np.isfinite(out)), eta
        assert np.all(out[L] <= 0.0)
        assert np.max(out[L]) > -1e-2, "some category has all the mass"
        if family.log_concave:
            assert np.all(out[H] >= 0.0), eta


@each_model
def test_sums_to_one_and_draws(model):
    family = MODELS[model]
    p = family.probabilities(np.linspace(-8.0, 8.0, 9), THRESHOLDS)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-13)
    check_draws(family, 0.6, THRESHOLDS, n=50_000)


def test_mean_and_variance_of_the_code():
    family = Ordered(levels=LEVELS, thresholds=THRESHOLDS)
    p = np.diff(np.concatenate([[0.0], stats.logistic.cdf(np.array(THRESHOLDS) - 0.6), [1.0]]))
    assert family.mean(np.array([0.6]))[0] == pytest.approx(p @ CODES, rel=1e-13)
    assert family.variance(np.array([0.6]))[0] == pytest.approx(p @ CODES**2 - (p @ CODES) ** 2, rel=1e-12)
    assert family.unit_deviance(CODES, np.full(5, 0.6), np.full(5, 2.0)) == pytest.approx(-4.0 * np.log(p), rel=1e-12)


@pytest.mark.parametrize("link", ["logit", "probit", "cauchit"])
def test_reversed_categories_reverse_the_signs(link):
    """Under a symmetric law, counting from the other end changes the signs of eta and of the thresholds."""
    phi, turned = np.array(THRESHOLDS), -np.array(THRESHOLDS)[::-1]
    pairs = [(Ordered(link, levels=LEVELS), Ordered(link, levels=LEVELS))]
    if link != "cauchit":
        pairs.append((Sequential(link, levels=LEVELS), Sequential(link, direction="backward", levels=LEVELS)))
    if link == "logit":
        pairs.append((Adjacent(levels=LEVELS), Adjacent(levels=LEVELS)))
    for one, other in pairs:
        np.testing.assert_allclose(
            one.probabilities(np.array([0.7, -2.0]), phi),
            other.probabilities(np.array([-0.7, 2.0]), turned)[:, ::-1],
            rtol=1e-12,
        )


@pytest.mark.parametrize("link", ["logit", "probit", "cauchit"])
def test_two_categories_are_the_binomial(link):
    """P(y = 1) = F(eta - c) for all three models under a symmetric law."""
    binomial, eta, c = get_family("binomial", link), np.array([-3.0, 0.2, 2.5]), (0.4,)
    wanted = observe(binomial, [0.0, 1.0, 1.0], eta - c[0], 1.0, [])
    families = [Ordered(link, levels="ab")]
    if link != "cauchit":
        families += [Sequential(link, levels="ab"), Sequential(link, direction="backward", levels="ab")]
    if link == "logit":
        families.append(Adjacent(levels="ab"))
    for family in families:
        found = observe(family, [0.0, 1.0, 1.0], eta, 1.0, c)
        for row in (L, S, H):
            np.testing.assert_allclose(found[row], wanted[row], rtol=1e-10, atol=1e-14)


def test_thresholds_out_of_order_have_no_density():
    family = Ordered(levels="abc")
    assert np.all(np.isnan(observe(family, [0.0, 1.0, 2.0], 0.0, 1.0, (1.0, 0.5))))
    assert np.all(np.isnan(observe(family, [0.0, 2.0], 0.0, 1.0, (1.0, 1.0)))), "also where no row is between them"
    assert np.all(np.isfinite(observe(Sequential(levels="abc"), [0.0, 1.0, 2.0], 0.0, 1.0, (1.0, 0.5))))


@each_model
def test_thresholds_start_at_the_shares(model):
    """Where every linear predictor is the same, the start has the shares of the data."""
    y = np.repeat(CODES, [5, 9, 14, 7, 3])
    start = MODELS[model].initial_shape(y, np.full(y.size, 0.8), np.ones(y.size))
    p = MODELS[model].probabilities(np.array([0.8]), start)[0]
    np.testing.assert_allclose(p, np.array([5, 9, 14, 7, 3]) / 38, rtol=1e-10)
    scores = MODELS[model].initial_mu(y, np.ones(y.size))
    assert np.all(np.diff(scores) >= 0)
    assert np.all(np.isfinite(scores))


def test_levels_and_known_thresholds():
    family = Sequential("probit", direction="backward")
    assert family.shape_names == ()
    assert family.levels == ()
    full = family.for_levels(["low", "mid", "high"])
    assert full.shape_names == ("low|mid", "mid|high")
    assert full.with_link("cloglog") == Sequential("cloglog", direction="backward", levels=("low", "mid", "high"))
    known = full.at(np.array([0.1, 0.9]))
    assert (known.n_shape, known.thresholds, known.direction) == (0, (0.1, 0.9), "backward")
    assert known != full
    assert hash(known) != hash(full)
    assert pickle.loads(pickle.dumps(known)) == known
    assert repr(known) == "Sequential(link='probit', thresholds=(0.1, 0.9), direction='backward')"
    assert repr(Ordered()) == "Ordered(link='logit')"
    assert get_family("cumulative", "probit") == Ordered("probit")
    assert full.r_name == "sequential (backward)"


def test_refusals():
    with pytest.raises(FamilyError, match=r"the ordered family has no link 'log'; it has logit, probit"):
        Ordered("log")
    with pytest.raises(ArgumentError, match="direction must be 'forward' or 'backward', not 'up'"):
        Sequential(direction="up")
    with pytest.raises(ArgumentError, match="two or more different names"):
        Ordered(levels=["a"])
    with pytest.raises(ArgumentError, match="2 thresholds separate 3 categories; give that many levels, not 2"):
        Ordered(levels="ab", thresholds=(0.0, 1.0))
    with pytest.raises(ArgumentError, match="thresholds must be finite and increasing"):
        Ordered(levels="abc", thresholds=(1.0, 0.0))
    with pytest.raises(ArgumentError, match="thresholds must be finite, not"):
        Adjacent(levels="abc", thresholds=(1.0, np.nan))
    with pytest.raises(FamilyError, match="does not know its categories yet"):
        Ordered().check_response(np.zeros(2), np.ones(2))
    family = Ordered(levels=LEVELS)
    with pytest.raises(
        ResponseError, match=r"a category code from 0 to 4: row 1 .counted from 0. of the response is 5"
    ):
        family.check_response(np.array([0.0, 5.0]), np.ones(2))
    with pytest.raises(ResponseError, match="no row is in category 'mild', 'worst': its threshold has no estimate"):
        family.check_response(np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 0.0, 1.0, 1.0]))
    family.at(np.array(THRESHOLDS)).check_response(np.zeros(3), np.ones(3))
    with pytest.raises(NotAvailableError, match="no ordered family"):
        family.minus_two_log_density(CODES, CODES, CODES, 0.0)


def test_sequential_and_cumulative_cloglog_are_one_model():
    """exp(c_k) of the cumulative model is the sum of exp(c_j), j <= k, of the sequential one (Laara and Matthews)."""
    sequential = np.array(THRESHOLDS)
    cumulative = np.log(np.cumsum(np.exp(sequential)))
    eta = np.array([-1.0, 0.4, 2.0])
    np.testing.assert_allclose(
        Ordered("cloglog", levels=LEVELS).probabilities(eta, cumulative),
        Sequential("cloglog", levels=LEVELS).probabilities(eta, sequential),
        rtol=1e-12,
    )
