"""Scaled residuals by hand, their uniformity under the true model, the tests against literal loops, what they find."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from diagnostic_fits import cbpp, crossed, sleepstudy
from scipy import stats

import refglmm as rg
from refglmm.errors import ArgumentError, DataError, SimulationWarning, WeightsError
from refglmm.fit.simulate import simulated_responses
from refglmm.inference import simulated_residuals as module


def poisson_data(seed=9, n=240, groups=24, dispersion=None, zeros=0.0, bend=0.0):
    """Counts of a known model, with what can be wrong with them."""
    rng = np.random.default_rng(seed)
    group, x = np.arange(n) % groups, rng.uniform(-1, 1, n)
    mean = np.exp(1.2 + 0.5 * x + bend * x**2 + 0.3 * rng.normal(size=groups)[group])
    y = rng.poisson(mean) if dispersion is None else rng.negative_binomial(dispersion, dispersion / (dispersion + mean))
    y = np.where(rng.random(n) < zeros, 0, y)
    return pd.DataFrame({"y": y, "x": x, "g": [f"g{j}" for j in group]})


def fitted_counts(**options):
    return rg.glmer("y ~ x + (1 | g)", poisson_data(**options), "poisson")


# -- formulas ------------------------------------------------------------------------------------------------


def test_scaled_ranks_count_what_lies_below_and_break_ties():
    rng = np.random.default_rng(0)
    values, jitter = rng.integers(0, 4, (7, 5)).astype(float), rng.random((7, 5))
    wanted = np.empty((7, 5))
    for j in range(7):
        for i in range(5):
            below = np.sum(values[:, i] < values[j, i])
            equal = np.sum(values[:, i] == values[j, i]) - 1
            wanted[j, i] = (below + jitter[j, i] * (1 + equal)) / 7
    np.testing.assert_allclose(module.scaled_ranks(values, jitter), wanted, rtol=1e-14)


def test_without_ties_each_column_holds_one_residual_in_each_bin():
    rng = np.random.default_rng(1)
    r = module.scaled_ranks(rng.normal(size=(20, 3)), rng.random((20, 3)))
    np.testing.assert_array_equal(np.sort(np.floor(r * 20), axis=0), np.arange(20)[:, None].repeat(3, axis=1))


def test_monte_carlo_p_by_hand():
    T = np.array([3.0, 1.0, 2.0, 3.0, 5.0])
    assert module.monte_carlo_p(T, "greater") == 3 / 5
    assert module.monte_carlo_p(T, "less") == 4 / 5
    assert module.monte_carlo_p(T, "two-sided") == 1.0
    assert module.monte_carlo_p(np.array([9.0, 1.0, 2.0, 3.0, 5.0]), "two-sided") == 2 / 5


def test_distances_are_those_of_kolmogorov_and_smirnov():
    r = np.random.default_rng(2).random((6, 31))
    wanted = [stats.kstest(row, "uniform").statistic for row in r]
    np.testing.assert_allclose(module.ks_distances(r), wanted, rtol=1e-13)


def test_durbin_watson_and_moran_by_loops():
    r = np.random.default_rng(3).random((2, 6))
    order, joined = np.array([2, 0, 1, 5, 4, 3]), np.array([True, True, False, True, True])
    e = r[0, order] - 0.5
    squares = [(e[t + 1] - e[t]) ** 2 for t in range(5) if joined[t]]
    wanted = 6 / 4 * sum(squares) / np.sum(e**2)
    assert module.durbin_watson(r, order, joined)[0] == pytest.approx(wanted, rel=1e-13)
    W = np.abs(np.subtract.outer(np.arange(6.0), np.arange(6.0)))
    d = r[1] - r[1].mean()
    total = sum(W[i, j] * d[i] * d[j] for i in range(6) for j in range(6))
    assert module.morans_i(r, W)[1] == pytest.approx(6 / W.sum() * total / np.sum(d**2), rel=1e-12)


def test_rank_scores_are_chi_square_under_the_null():
    rng = np.random.default_rng(4)
    basis = module.trend_basis(rng.normal(size=200))
    np.testing.assert_allclose(basis.T @ basis, np.eye(3), atol=1e-12)
    scores = module.rank_scores(rng.random((4000, 200)), basis, 0.25)
    assert scores.mean() == pytest.approx(3.0, abs=4 * np.sqrt(6 / 4000))
    assert module.trend_basis(np.ones(5)).shape == (5, 1)


def test_holm_by_hand():
    np.testing.assert_allclose(module.holm(np.array([0.04, 0.01, 0.03])), [0.06, 0.03, 0.06], rtol=1e-14)


# -- under the true model ------------------------------------------------------------------------------------


def test_residuals_and_p_values_are_uniform_under_the_true_model():
    # data sets drawn from a known fit, each fitted anew; rows far apart, so nearly independent
    truth = fitted_counts()
    rng = np.random.default_rng(6)
    residuals, p = [], []
    for _ in range(60):
        result = truth.refit(simulated_responses(truth, rng)).simulated_residuals(60, seed=rng)
        residuals.append(result.residuals.iloc[[0, 81, 162, 223]])
        p.append(result.uniformity().p_value)
    assert stats.kstest(np.concatenate(residuals), "uniform").pvalue > 0.01
    assert np.mean(np.array(p) < 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)


@pytest.mark.parametrize("kind", ["linear", "probit", "gamma", "negative binomial"])
def test_a_right_model_passes(kind):
    result = crossed(kind).simulated_residuals(seed=4)
    assert ((result.residuals > 0) & (result.residuals < 1)).all()
    assert result.uniformity().p_value > 0.01
    assert result.dispersion().p_value > 0.01


def test_a_prior_weight_scales_the_simulated_spread_of_a_linear_model():
    fit = crossed("ml")
    responses = fit.simulated_residuals(2000, seed=1).responses[1:]
    i, j = int(np.argmax(fit.frame.weights)), int(np.argmin(np.where(fit.frame.weights > 0, fit.frame.weights, 9)))
    random = sum(fit.varcorr[label].cov[0, 0] for label in fit.varcorr)
    for row in (i, j):
        wanted = random + fit.sigma**2 / fit.frame.weights[row]
        assert responses[:, row].var() == pytest.approx(wanted, rel=5 * np.sqrt(2 / 2000))


# -- what they find ------------------------------------------------------------------------------------------


def test_overdispersion_is_found():
    result = fitted_counts(dispersion=1.5).simulated_residuals(seed=1)
    assert result.dispersion("greater").p_value < 0.01
    assert result.dispersion().statistic > 1.5
    assert result.dispersion("less").p_value > 0.9
    assert fitted_counts().simulated_residuals(seed=1).dispersion().ok


def test_surplus_zeros_are_found():
    check = fitted_counts(zeros=0.25).simulated_residuals(seed=1).zero_inflation()
    assert not check.ok
    assert check.numbers["ratio"] > 1.5
    assert check.numbers["observed"] == np.sum(poisson_data(zeros=0.25)["y"] == 0)


def test_a_bend_is_found():
    data = poisson_data(bend=1.2)
    result = fitted_counts(bend=1.2).simulated_residuals(seed=1)
    assert not result.quantiles(data["x"]).ok
    assert set(result.quantiles().numbers) == {"largest score", "p(0.25)", "p(0.5)", "p(0.75)"}


def test_an_outlier_is_found():
    data = poisson_data()
    data.loc[7, "y"] = 400
    fit = rg.glmer("y ~ x + (1 | g)", data, "poisson")
    result = fit.simulated_residuals(seed=1)
    assert result.residuals[7] > 1 - 1 / 251
    assert not result.statistic(np.max, "greater", name="maximum").ok


def test_unequal_groups_are_found():
    rng = np.random.default_rng(12)
    side, group = np.arange(200) % 2, np.arange(200) // 10
    y = rng.normal(size=20)[group] + rng.normal(size=200) * np.where(side, 3.0, 0.5)
    data = pd.DataFrame({"y": y, "g": [f"g{j}" for j in group], "side": np.where(side, "wide", "narrow")})
    result = rg.lmer("y ~ 1 + (1 | g)", data).simulated_residuals(seed=1)
    assert not result.homogeneity(data["side"]).ok
    table = result.by_group(data["side"])
    assert list(table.index) == ["narrow", "wide"]
    assert table.loc["narrow", "p_holm"] < 0.05
    np.testing.assert_allclose(table["mean"], 0.5, atol=0.1)
    assert (table["p_holm"] >= table["p"]).all()


def test_autocorrelation_is_found_in_time_and_space():
    rng = np.random.default_rng(13)
    n = 200
    noise = np.empty(n)
    noise[0] = rng.normal()
    for t in range(1, n):
        noise[t] = 0.8 * noise[t - 1] + rng.normal()
    group = rng.integers(0, 10, n)
    level = 2.0 * rng.normal(size=10)[group]
    data = pd.DataFrame({"y": noise + level, "white": rng.normal(size=n) + level, "t": np.arange(n)})
    data["g"] = [f"g{j}" for j in group]
    wrong = rg.lmer("y ~ t + (1 | g)", data).simulated_residuals(seed=1)
    right = rg.lmer("white ~ t + (1 | g)", data).simulated_residuals(seed=1)
    place = np.zeros(n)
    assert wrong.temporal_autocorrelation(data["t"]).statistic < right.temporal_autocorrelation(data["t"]).statistic
    assert not wrong.temporal_autocorrelation(data["t"]).ok
    assert right.temporal_autocorrelation(data["t"]).ok
    assert not wrong.spatial_autocorrelation(data["t"], place).ok
    assert right.spatial_autocorrelation(data["t"], place).ok


def test_a_random_effect_is_not_taken_for_autocorrelation():
    fit = sleepstudy("Reaction ~ Days + (Days | Subject)")
    days, subject = fit.frame.data["Days"], fit.frame.data["Subject"]
    assert fit.simulated_residuals(seed=3).temporal_autocorrelation(days, subject).statistic < 1.0
    assert fit.simulated_residuals(seed=3).temporal_autocorrelation(days, subject).ok


# -- behaviour -----------------------------------------------------------------------------------------------


def test_one_seed_one_answer_and_a_fit_that_stays():
    fit = cbpp()
    before = fit.to_json()
    a, b, c = (fit.simulated_residuals(50, seed=s) for s in (7, 7, 8))
    pd.testing.assert_series_equal(a.residuals, b.residuals)
    assert not np.array_equal(a.residuals, c.residuals)
    assert a.seed == 7
    assert a.nsim == 50
    assert fit.to_json() == before
    with pytest.raises(ValueError, match="read-only"):
        a.scaled[0, 0] = 0.5


def test_rows_excluded_for_missing_values_come_back_as_nan():
    data = rg.datasets.load("sleepstudy")
    data.loc[3, "Reaction"] = np.nan
    fit = rg.lmer("Reaction ~ Days + (1 | Subject)", data, na_action="exclude")
    residuals = fit.simulated_residuals(20, seed=1).residuals
    assert list(residuals.index[residuals.isna()]) == [3]


def test_conditional_simulations_keep_the_modes():
    fit = crossed("poisson")
    conditional = fit.simulated_residuals(400, seed=1, use_u=True).responses[1:]
    sd = np.sqrt(fit.fitted / 400)
    assert np.all(np.abs(conditional.mean(axis=0) - fit.fitted) < 5 * sd)


def test_weights_that_cannot_be_simulated_are_said():
    data = poisson_data().assign(w=2.0)
    fit = rg.glmer("y ~ x + (1 | g)", data, "poisson", weights="w")
    with pytest.warns(SimulationWarning, match="prior weights repeat rows"):
        fit.simulated_residuals(5, seed=1)
    cattle = rg.datasets.load("cbpp").assign(rate=lambda d: d["incidence"] / d["size"], half=lambda d: d["size"] / 2)
    with pytest.warns(rg.errors.NonIntegerWarning):
        broken = rg.glmer("rate ~ period + (1 | herd)", cattle, "binomial", weights="half")
    with pytest.raises(WeightsError, match="trials"):
        broken.simulated_residuals(5, seed=1)


def test_showing():
    result = cbpp().simulated_residuals(50, seed=1)
    assert repr(result).startswith("Simulated residuals: 56 rows, 50 simulations\ntest")
    assert [r.name for r in result.tests()][-1] == "Zeros (simulated)"
    assert "<table" in result._repr_html_()
    assert [r.name for r in sleepstudy().simulated_residuals(20, seed=1).tests()][-1] == "Quantiles"


def test_bad_arguments_say_what_would_be_good():
    result = cbpp().simulated_residuals(20, seed=1)
    with pytest.raises(ArgumentError, match="nsim must be at least 2"):
        cbpp().simulated_residuals(1)
    with pytest.raises(ArgumentError, match="nsim must be a whole number"):
        cbpp().simulated_residuals(2.5)
    with pytest.raises(ArgumentError, match="seed must be"):
        cbpp().simulated_residuals(5, seed="x")
    with pytest.raises(ArgumentError, match="unknown alternative 'both'"):
        result.dispersion("both")
    with pytest.raises(ArgumentError, match="x must be 56 finite numbers"):
        result.quantiles(np.arange(3))
    with pytest.raises(ArgumentError, match="x must be numbers"):
        result.quantiles(["a"] * 56)
    with pytest.raises(ArgumentError, match="groups must be 56 values without gaps"):
        result.by_group(["a"] * 55)
    with pytest.raises(ArgumentError, match="two or more groups"):
        result.homogeneity(np.ones(56))
    with pytest.raises(ArgumentError, match="several rows share a time"):
        result.temporal_autocorrelation(np.ones(56))
    with pytest.raises(ArgumentError, match="no group has two rows"):
        result.temporal_autocorrelation(np.ones(56), np.arange(56))
    with pytest.raises(ArgumentError, match="several rows share a place"):
        result.spatial_autocorrelation(np.ones(56), np.ones(56))
    with pytest.raises(ArgumentError, match="the statistic raised ZeroDivisionError"):
        result.statistic(lambda y: 1 / 0)
    with pytest.raises(ArgumentError, match="not finite for 21"):
        result.statistic(lambda y: np.nan)
    with pytest.raises(DataError, match="zeros neither in the data"):
        sleepstudy().simulated_residuals(5, seed=1).zero_inflation()
