"""Pareto smoothing against tails of known shape, a literal version, and the numbers of ArviZ and R's loo."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from refglmm.bayes import psis as module
from refglmm.bayes.psis import khat_threshold, pareto_fit, pareto_quantile, psis, resample, tail_length, weights_ess
from refglmm.errors import ArgumentError

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def log_ratios():
    """Negative log-likelihoods of golden_draws.py, (240, 6) for two models."""
    frame = pd.read_csv(HERE / "golden_draws.csv")
    return {model: -frame[[f"{model}{i}" for i in range(1, 7)]].to_numpy() for model in "ab"}


# -- other software --------------------------------------------------------------------------------------------------


@pytest.mark.golden
@pytest.mark.parametrize("model", ["a", "b"])
def test_agrees_with_arviz_and_loo_numbers(model, log_ratios):
    log_weights, khat = psis(log_ratios[model], 0.7)
    arviz = json.loads((HERE / "golden_arviz.json").read_text(encoding="utf-8"))[f"psis_{model}"]
    loo = json.loads((HERE / "golden_loo.json").read_text(encoding="utf-8"))["models"][model]
    np.testing.assert_allclose(khat, arviz["khat"], rtol=1e-10)
    np.testing.assert_allclose(khat, loo["khat"], rtol=1e-10)
    np.testing.assert_allclose(weights_ess(log_weights), arviz["ess"], rtol=1e-10)
    np.testing.assert_allclose(0.7 * weights_ess(log_weights), loo["psis_ess"], rtol=1e-10)


def test_agrees_with_arviz_itself():
    """Only where ArviZ 0.x is installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arviz = pytest.importorskip("arviz", minversion="0.17")
        psislw = getattr(arviz, "psislw", None) or pytest.skip("a newer ArviZ keeps psislw elsewhere")
    rng = np.random.default_rng(2)
    for S in (10, 30, 101, 500):
        for scale in (0.1, 1.0, 4.0):
            x = scale * rng.standard_normal((S, 3))
            theirs, k = psislw(x.T.copy(), 0.8)
            log_weights, khat = psis(x, 0.8)
            np.testing.assert_allclose(khat, k, rtol=1e-10)
            np.testing.assert_allclose(log_weights, theirs.T, rtol=1e-10, atol=1e-10)


# -- the fit ---------------------------------------------------------------------------------------------------------


def literal_fit(z):
    """Zhang and Stephens' estimate, formula by formula."""
    M, m = len(z), 30 + int(np.sqrt(len(z)))
    quartile = z[int(np.floor(M / 4 + 0.5)) - 1]
    theta = [1 / z[-1] + (1 - np.sqrt(m / (j - 0.5))) / (3 * quartile) for j in range(1, m + 1)]
    k = [sum(np.log(1 - t * value) for value in z) / M for t in theta]
    profile = [M * (np.log(-t / kt) - kt - 1) for t, kt in zip(theta, k)]
    weight = [1 / sum(np.exp(other - own) for other in profile) for own in profile]
    theta_hat = sum(w * t for w, t in zip(weight, theta))
    k_hat = sum(np.log(1 - theta_hat * value) for value in z) / M
    return k_hat, -k_hat / theta_hat


@pytest.mark.parametrize("shape", [-0.3, 0.2, 0.8, 1.5])
def test_fit_is_the_literal_one_and_near_maximum_likelihood(shape):
    z = np.sort(stats.genpareto.rvs(shape, scale=2.0, size=300, random_state=8))
    k, sigma = pareto_fit(z)
    np.testing.assert_allclose((k, sigma), literal_fit(z), rtol=1e-9)
    shape_ml, _, scale_ml = stats.genpareto.fit(z, floc=0.0)
    assert (k, sigma) == pytest.approx((shape_ml, scale_ml), abs=0.1)


def test_quantiles_are_those_of_scipy():
    p = np.array([0.01, 0.5, 0.99])
    for shape in (-0.4, 0.0, 1e-17, 0.7):
        np.testing.assert_allclose(pareto_quantile(p, shape, 2.0), stats.genpareto.ppf(p, shape, scale=2.0), rtol=1e-12)


# -- tails of known shape --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [0.1, 0.5, 0.8, 1.2])
def test_shape_of_pareto_ratios(shape):
    """exp(k E) of a standard exponential E is Pareto with shape k, above any cutoff too.

    The prior draws the estimate towards 1/2 with the weight of 10 among M draws. The mean of 100 estimates.
    """
    S, columns = 4000, 100
    khat = psis(shape * np.random.default_rng(6).standard_exponential((S, columns)))[1]
    M = tail_length(S)
    assert khat.mean() == pytest.approx((M * shape + 5.0) / (M + 10.0), abs=0.03)


def test_ratios_of_two_normals():
    """From N(0, 1) to N(0, s^2) the ratio has 1/k moments with k = 1 - 1/s^2, and E(x^2) = s^2 under the target."""
    rng = np.random.default_rng(9)
    for sd, bound in ((1.2, 0.03), (1.35, 0.08)):
        x = rng.standard_normal((4000, 50))
        log_ratio = stats.norm.logpdf(x, scale=sd) - stats.norm.logpdf(x)
        log_weights, khat = psis(log_ratio)
        # The logarithmic factor in the tail of a normal lowers the estimate at finite S.
        assert khat.mean() == pytest.approx(1.0 - 1.0 / sd**2, abs=0.12)
        estimate = np.sum(np.exp(log_weights) * x**2, axis=0).mean()
        assert estimate == pytest.approx(sd**2, rel=bound)


def test_smoothing_makes_estimates_more_certain():
    """Normalising constant 1 / (1 - k) of exp(k E): the smoothed mean has less error than the raw one."""
    shape, rng = 0.7, np.random.default_rng(10)
    log_ratio = shape * rng.standard_exponential((1000, 400))
    log_weights, _ = psis(log_ratio)
    # The smallest ratio is never smoothed, which gives the scale that normalising has taken away.
    low = log_ratio.argmin(axis=0), np.arange(400)
    smoothed = np.exp(log_ratio[low] - log_weights[low]) / 1000
    raw = np.exp(log_ratio).mean(axis=0)
    truth = 1.0 / (1.0 - shape)
    assert np.mean((smoothed - truth) ** 2) < 0.7 * np.mean((raw - truth) ** 2)


# -- structure -------------------------------------------------------------------------------------------------------


def test_only_the_tail_changes_and_keeps_its_order():
    x = 1.5 * np.random.default_rng(11).standard_normal(400)
    log_weights, _ = psis(x)
    M = int(tail_length(400))
    order = np.argsort(x)
    body = order[:-M]
    np.testing.assert_allclose(log_weights[body] - log_weights[body[0]], x[body] - x[body[0]], atol=1e-12)
    assert np.all(np.diff(log_weights[order]) >= 0.0)
    assert np.exp(log_weights).sum() == pytest.approx(1.0, rel=1e-12)
    assert log_weights[order[-1]] - log_weights[body[0]] <= x[order[-1]] - x[body[0]] + 1e-12


def test_a_constant_and_the_order_of_draws_do_not_matter():
    x = np.random.default_rng(12).standard_normal((200, 3))
    log_weights, khat = psis(x)
    shifted, same = psis(x + np.array([1000.0, 0.0, -50.0]))
    np.testing.assert_allclose(same, khat, rtol=1e-9)
    np.testing.assert_allclose(shifted, log_weights, atol=1e-9)
    turned, same = psis(x[::-1])
    np.testing.assert_allclose(same, khat, rtol=1e-12)
    np.testing.assert_allclose(turned[::-1], log_weights, atol=1e-12)


def test_columns_stand_alone_and_are_worked_through_in_blocks(monkeypatch):
    x = np.random.default_rng(13).standard_normal((120, 5))
    efficiency = np.array([0.3, 0.5, 0.8, 1.0, 1.4])
    log_weights, khat = psis(x, efficiency)
    monkeypatch.setattr(module, "BLOCK", 250)
    again, same = psis(x, efficiency)
    np.testing.assert_array_equal(again, log_weights)
    np.testing.assert_array_equal(same, khat)
    for i in range(5):
        alone, k = psis(x[:, i], efficiency[i])
        assert isinstance(k, float)
        assert k == khat[i]
        np.testing.assert_allclose(alone, log_weights[:, i], rtol=1e-13)


def test_ratios_are_left_alone():
    x = np.random.default_rng(14).standard_normal((50, 2))
    x.setflags(write=False)
    psis(x)


def test_equal_ratios_have_no_tail():
    log_weights, khat = psis(np.full((50, 2), -3.0))
    np.testing.assert_allclose(log_weights, -np.log(50))
    np.testing.assert_array_equal(khat, -np.inf)


def test_rounding_is_no_tail():
    x = 0.1 + 1e-16 * np.random.default_rng(16).standard_normal(500)
    assert len(np.unique(x)) > 1
    assert psis(x)[1] == -np.inf


@pytest.mark.parametrize("S", [1, 2, 5, 12])
def test_too_few_draws_for_a_tail(S):
    x = np.linspace(0.0, 1.0, S) if S > 1 else np.array([0.0])
    log_weights, khat = psis(x)
    assert khat == (np.inf if S > 1 else -np.inf)
    np.testing.assert_allclose(np.exp(log_weights), np.exp(x) / np.exp(x).sum())


def test_one_draw_has_all_the_weight():
    """Everything else is zero in floating point: no tail can be fitted, and nothing overflows."""
    x = np.full(300, -1e4)
    x[17] = 0.0
    log_weights, khat = psis(x)
    assert khat == np.inf
    assert log_weights[17] == pytest.approx(0.0, abs=1e-12)


def test_ratios_that_span_all_numbers():
    x = np.linspace(-720.0, -700.0, 400)
    x[-1] = 0.0
    log_weights, khat = psis(x)
    assert khat > 10.0
    assert np.isfinite(log_weights).all()


def test_two_values_with_rounding():
    rng = np.random.default_rng(17)
    x = np.where(rng.uniform(size=400) < 0.5, 0.0, -1.0) + 1e-16 * rng.standard_normal(400)
    log_weights, khat = psis(x)
    assert khat == np.inf
    np.testing.assert_allclose(np.exp(log_weights), np.exp(x) / np.exp(x).sum(), rtol=1e-12)


def test_zero_ratios():
    x = np.random.default_rng(15).standard_normal(300)
    x[:40] = -np.inf
    log_weights, khat = psis(x)
    assert np.all(np.exp(log_weights[:40]) == 0.0)
    assert np.exp(log_weights).sum() == pytest.approx(1.0)
    assert np.isfinite(khat)


def test_tail_length_and_threshold():
    assert tail_length(100) == 20
    assert tail_length(4000) == np.ceil(3 * np.sqrt(4000))
    np.testing.assert_array_equal(tail_length(4000, np.array([0.25, 4.0])), [380, 95])
    assert khat_threshold(100) == pytest.approx(0.5)
    assert khat_threshold(10_000) == 0.7
    assert khat_threshold(1) == -np.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: psis(np.zeros((2, 2, 2))), r"shape \(S,\) or \(S, n\), not \(2, 2, 2\)"),
        (lambda: psis(np.array([])), r"not \(0,\)"),
        (lambda: psis([0.0, np.nan]), r"log_ratios\[1\] is nan"),
        (lambda: psis([[0.0, 1.0], [np.inf, 0.0]]), r"log_ratios\[1, 0\] is inf"),
        (lambda: psis([[0.0, -np.inf], [0.0, -np.inf]]), "all ratios of column 1"),
        (lambda: psis([0.0, 1.0], r_eff=0.0), "r_eff must be positive and finite"),
        (lambda: psis(np.zeros((9, 2)), r_eff=[1.0, np.nan]), "r_eff must be positive and finite"),
        (lambda: psis(np.zeros((9, 2)), r_eff=[1.0, 1.0, 1.0]), r"one for each of 2 columns, not \(3,\)"),
    ],
)
def test_ratios_that_cannot_be(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


# -- weights and resampling ------------------------------------------------------------------------------------------


def test_effective_size_of_weights():
    assert weights_ess(np.zeros(40)) == pytest.approx(40.0)
    assert weights_ess(np.array([0.0, -np.inf, -np.inf])) == pytest.approx(1.0)
    np.testing.assert_allclose(weights_ess(np.log([[0.5, 0.9], [0.5, 0.1]])), [2.0, 1.0 / 0.82])


def test_systematic_resampling_counts():
    """Each draw comes floor(size w) times or once more, on average size w times."""
    weight = np.array([0.01, 0.2, 0.0, 0.44, 0.35])
    with np.errstate(divide="ignore"):
        log_weights = np.log(weight)
    rng = np.random.default_rng(3)
    counts = np.array([np.bincount(resample(log_weights, 10, rng), minlength=5) for _ in range(1000)])
    assert np.all((counts >= np.floor(10 * weight)) & (counts <= np.floor(10 * weight) + 1))
    # Standard errors of the means are below 0.5 / sqrt(1000) = 0.016.
    np.testing.assert_allclose(counts.mean(axis=0), 10 * weight, atol=0.06)


def test_resampling_without_replacement():
    """The first of a pair is drawn by weight: P(1 and 2) = w1 w2 / (1 - w1) + w2 w1 / (1 - w2)."""
    weight = np.array([0.5, 0.3, 0.2])
    rng = np.random.default_rng(3)
    pairs = [tuple(sorted(resample(np.log(weight), 2, rng, method="without_replacement"))) for _ in range(1500)]
    assert all(first < second for first, second in pairs)
    expected = 0.15 / 0.5 + 0.15 / 0.7
    assert pairs.count((0, 1)) / 1500 == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("method", ["systematic", "without_replacement"])
def test_same_seed_same_draws(method):
    log_weights = np.random.default_rng(1).standard_normal(100)
    first = resample(log_weights, 30, 5, method=method)
    np.testing.assert_array_equal(resample(log_weights, 30, np.random.default_rng(5), method=method), first)
    assert not np.array_equal(resample(log_weights, 30, 6, method=method), first)
    assert first.shape == (30,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((3, 2)), 2, 1), r"shape \(S,\), not \(3, 2\)"),
        ((np.zeros(3), 0, 1), "positive whole number, not 0"),
        ((np.zeros(3), 2.5, 1), "positive whole number, not 2.5"),
    ],
)
def test_resampling_that_cannot_be(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        resample(*arguments)


def test_resampling_methods_that_cannot_be():
    with pytest.raises(ArgumentError, match="'systematic' or 'without_replacement', not 'bootstrap'"):
        resample(np.zeros(3), 2, 1, method="bootstrap")
    with pytest.raises(
        ArgumentError, match="3 different draws are wanted, and only 2 have a positive weight"
    ) as caught:
        resample(np.array([0.0, -np.inf, 0.0]), 3, 1, method="without_replacement")
    assert caught.value.facts == {"size": 3, "possible": 2}
