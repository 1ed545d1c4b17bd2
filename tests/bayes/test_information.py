"""LOO and WAIC of a normal model in closed form, and the numbers of ArviZ and R's loo."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from refglmm.bayes import information
from refglmm.bayes.information import (
    compare_information,
    loo,
    relative_efficiency,
    stacking_weights,
    waic,
)
from refglmm.errors import ArgumentError, ParetoWarning, WaicWarning

HERE = Path(__file__).parent


def golden(name):
    return json.loads((HERE / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def log_lik():
    """Log-likelihoods of golden_draws.py, (4, 60, 6) for two models."""
    frame = pd.read_csv(HERE / "golden_draws.csv")
    return {model: frame[[f"{model}{i}" for i in range(1, 7)]].to_numpy().reshape(4, 60, 6) for model in "ab"}


@pytest.fixture
def both(log_lik):
    return {model: loo(values, r_eff=0.7) for model, values in log_lik.items()}


class NormalMean:
    """Observations N(mu, 1) with mu ~ N(0, 2^2): everything about left-out points is known."""

    tau2 = 4.0

    def __init__(self, n=20, seed=1):
        rng = np.random.default_rng(seed)
        self.y = rng.normal(0.5, 1.0, n)
        mean, variance = self.posterior(self.y)
        self.mu = rng.normal(mean, np.sqrt(variance), (4, 1000))
        self.log_lik = stats.norm.logpdf(self.y, self.mu[:, :, None], 1.0)

    def posterior(self, y):
        """Mean and variance of mu."""
        variance = 1.0 / (1.0 / self.tau2 + len(y))
        return variance * y.sum(), variance

    def left_out(self, points):
        """Log density of the left-out points given the others: mean m, covariance I + v 11'."""
        mean, variance = self.posterior(np.delete(self.y, points))
        size = len(points)
        covariance = np.eye(size) + variance * np.ones((size, size))
        return stats.multivariate_normal.logpdf(self.y[points], np.full(size, mean), covariance)


# -- other software --------------------------------------------------------------------------------------------------


@pytest.mark.golden
@pytest.mark.parametrize("model", ["a", "b"])
def test_agrees_with_loo_numbers(model, log_lik, both):
    theirs = golden("golden_loo.json")["models"][model]
    np.testing.assert_allclose(both[model].estimates.to_numpy(), theirs["loo"], rtol=1e-11)
    np.testing.assert_allclose(both[model].pointwise["elpd"], theirs["loo_elpd"], rtol=1e-11)
    np.testing.assert_allclose(both[model].pointwise["ess"], theirs["psis_ess"], rtol=1e-11)
    # R's loo takes the variance of the logarithm of a normal distribution, not its delta approximation.
    np.testing.assert_allclose(both[model].pointwise["mcse"], theirs["mcse"], rtol=0.03)
    with pytest.warns(WaicWarning):
        ours = waic(log_lik[model])
    np.testing.assert_allclose(ours.estimates.to_numpy(), theirs["waic"], rtol=1e-11)
    np.testing.assert_allclose(ours.pointwise["elpd"], theirs["waic_elpd"], rtol=1e-11)


@pytest.mark.golden
@pytest.mark.parametrize("model", ["a", "b"])
def test_agrees_with_arviz_numbers(model, log_lik, both):
    """ArviZ divides variances by n and by S where we divide by n - 1 and S - 1."""
    theirs = golden("golden_arviz.json")
    ours = both[model]
    np.testing.assert_allclose(ours.pointwise["elpd"], theirs[f"loo_{model}"]["elpd"], rtol=1e-11)
    assert ours.se * np.sqrt(5 / 6) == pytest.approx(theirs[f"loo_{model}"]["se"], rel=1e-11)
    assert ours.p_loo == pytest.approx(theirs[f"loo_{model}"]["p"], rel=1e-11)
    assert ours.threshold == pytest.approx(theirs[f"loo_{model}"]["threshold"], rel=1e-12)
    with pytest.warns(WaicWarning):
        other = waic(log_lik[model])
    assert other.p_waic * 239 / 240 == pytest.approx(theirs[f"waic_{model}"]["p"], rel=1e-11)
    elpd = other.pointwise["lppd"] - other.pointwise["p"] * 239 / 240
    np.testing.assert_allclose(elpd, theirs[f"waic_{model}"]["elpd"], rtol=1e-11)


@pytest.mark.golden
@pytest.mark.parametrize("name", ["golden_arviz.json", "golden_loo.json"])
def test_numbers_of_other_software_are_about_these_draws(name):
    assert golden(name)["data"]["md5"] == hashlib.md5((HERE / "golden_draws.csv").read_bytes()).hexdigest()


@pytest.mark.golden
def test_comparison_agrees_with_loo_numbers(both):
    theirs = golden("golden_loo.json")
    table = compare_information(both)
    assert list(table.index) == theirs["compare"]["order"] == ["b", "a"]
    np.testing.assert_allclose(table["elpd_diff"], theirs["compare"]["elpd_diff"], rtol=1e-11)
    np.testing.assert_allclose(table["se_diff"], theirs["compare"]["se_diff"], rtol=1e-11)
    np.testing.assert_allclose(table["pseudo_bma"][["a", "b"]], theirs["pseudo_bma"], rtol=1e-11)
    np.testing.assert_allclose(table["weight"][["a", "b"]], theirs["stacking"], atol=1e-6)


# -- closed forms ----------------------------------------------------------------------------------------------------


def test_leave_one_out_of_a_normal_mean():
    model = NormalMean()
    result = loo(model.log_lik)
    exact = np.array([model.left_out([i]) for i in range(20)])
    error = (result.pointwise["elpd"] - exact) / result.pointwise["mcse"]
    assert np.abs(error).max() < 4.0
    assert result.elpd == pytest.approx(exact.sum(), abs=0.05)
    mean, variance = model.posterior(model.y)
    lppd = stats.norm.logpdf(model.y, mean, np.sqrt(1.0 + variance))
    np.testing.assert_allclose(result.pointwise["lppd"], lppd, atol=0.01)
    assert result.p_loo == pytest.approx((lppd - exact).sum(), abs=0.05)
    assert result.looic == -2.0 * result.elpd
    assert result.elpd_loo == result.elpd


def test_waic_of_a_normal_mean():
    """The log-likelihood -(y - mu)^2 / 2 with mu ~ N(m, v) has the variance (y - m)^2 v + v^2 / 2."""
    model = NormalMean()
    result = waic(model.log_lik)
    mean, variance = model.posterior(model.y)
    p = (model.y - mean) ** 2 * variance + variance**2 / 2.0
    np.testing.assert_allclose(result.pointwise["p"], p, rtol=0.15, atol=1e-3)
    lppd = stats.norm.logpdf(model.y, mean, np.sqrt(1.0 + variance))
    assert result.p_waic == pytest.approx(p.sum(), rel=0.05)
    assert result.lppd == pytest.approx(lppd.sum(), abs=0.02)
    assert result.elpd_waic == pytest.approx((lppd - p).sum(), abs=0.05)
    assert result.waic == -2.0 * result.elpd


def test_leave_one_group_out():
    """A group's log-likelihood is the sum of its members' where nothing but mu links them."""
    model = NormalMean()
    groups = np.arange(20).reshape(10, 2)
    values = model.log_lik[:, :, groups].sum(axis=3)
    names = [f"g{i}" for i in range(10)]
    result = loo(values, labels=names, unit="group")
    exact = np.array([model.left_out(list(members)) for members in groups])
    assert np.abs((result.pointwise["elpd"] - exact) / result.pointwise["mcse"]).max() < 4.0
    assert list(result.pointwise.index) == names
    assert "10 groups, 4000 draws" in str(result)


def test_monte_carlo_error_is_the_spread_over_replications():
    """80 replications know a spread to 8%; the mean over the points hardly better, since they share the draws."""
    model = NormalMean(30)
    mean, variance = model.posterior(model.y)
    rng = np.random.default_rng(3)
    results = []
    for _ in range(80):
        mu = rng.normal(mean, np.sqrt(variance), (2, 250, 1))
        results.append(loo(stats.norm.logpdf(model.y, mu, 1.0), r_eff=1.0).pointwise)
    mcse = np.mean([result["mcse"] for result in results], axis=0)
    spread = np.std([result["elpd"] for result in results], axis=0)
    assert np.mean(mcse / spread) == pytest.approx(1.0, abs=0.25)


def test_relative_efficiency_of_dependent_draws():
    """Each draw comes twice: half of the draws are worth as much."""
    model = NormalMean()
    twice = np.repeat(model.log_lik[:, :500], 2, axis=1)
    assert relative_efficiency(model.log_lik).mean() == pytest.approx(1.0, abs=0.15)
    assert relative_efficiency(twice).mean() == pytest.approx(0.5, abs=0.1)
    np.testing.assert_allclose(loo(twice).elpd, loo(twice, r_eff=relative_efficiency(twice)).elpd)


def test_points_that_say_nothing_about_the_parameters():
    """Constant log-likelihood (a weight of zero): no efficiency to be had, nothing to correct, no warning."""
    model = NormalMean()
    values = np.concatenate([model.log_lik, np.zeros((4, 1000, 1))], axis=2)
    result = loo(values)
    last = result.pointwise.iloc[-1]
    assert last["khat"] == -np.inf
    np.testing.assert_allclose(last[["elpd", "lppd", "p", "mcse"]], 0.0, atol=1e-12)
    assert last["ess"] == pytest.approx(4000)
    assert result.khat_counts.loc["good", "count"] == 21


def test_a_point_beyond_all_numbers():
    """Likelihoods that span more than floating point does: no overflow, and a k that says what it is worth."""
    values = np.linspace(-3000.0, -10.0, 400).reshape(2, 200, 1)
    with pytest.warns(ParetoWarning):
        result = loo(values, r_eff=1.0)
    assert result.khat[0] > 10.0
    assert -3000.0 < result.elpd < -2500.0
    assert np.isfinite(result.pointwise["mcse"]).all()


# -- warnings --------------------------------------------------------------------------------------------------------


@pytest.fixture
def outlier():
    """Row 4 is so far away that the posterior without it is another one."""
    model = NormalMean(8)
    model.y[3] = 14.0
    mean, variance = model.posterior(model.y)
    mu = np.random.default_rng(2).normal(mean, np.sqrt(variance), (4, 500, 1))
    return stats.norm.logpdf(model.y, mu, 1.0)


def test_an_influential_point_is_named(outlier):
    with pytest.warns(
        ParetoWarning, match=r"of 8 observations have a Pareto k above 0.70 \(largest \d.\d\d; 4\)"
    ) as caught:
        result = loo(outlier)
    facts = caught[0].message.facts
    assert facts["count"] == 1
    assert facts["labels"] == [4]
    assert (
        facts["khat"][0] == result.khat.max() > facts["threshold"] == result.threshold == pytest.approx(0.697, abs=1e-3)
    )
    assert caught[0].filename == __file__
    assert np.isnan(result.mcse)
    assert result.khat_counts["count"].sum() == 8
    assert result.khat_counts.loc["good", "count"] == 7
    assert "Monte Carlo" not in str(result)


def test_waic_names_points_beyond_its_expansion(outlier):
    with pytest.warns(
        WaicWarning, match=r"of 8 observations have a p_waic above 0.4 \(largest .* use loo\(\)"
    ) as caught:
        result = waic(outlier)
    facts = caught[0].message.facts
    assert facts["labels"][0] == 4
    assert facts["count"] == (result.pointwise["p"] > 0.4).sum()
    assert f"{facts['count']} of 8 p_waic above 0.4" in str(result)


def test_many_points_are_not_all_named():
    rng = np.random.default_rng(1)
    with pytest.warns(WaicWarning, match=r"^9 of 9 observations .*; \d, \d, \d, \d, \d, \.\.\.\)"):
        waic(rng.standard_normal((2, 200, 9)) - 1.0)


# -- what is shown ---------------------------------------------------------------------------------------------------


def test_print(both):
    text = str(both["a"])
    assert text == repr(both["a"])
    lines = text.splitlines()
    assert lines[0] == "Leave-one-out by PSIS: 6 observations, 240 draws"
    assert lines[2:6] == [
        "         Estimate   SE",
        "elpd_loo    -15.2  5.7",
        "p_loo         2.7  1.6",
        "looic        30.4 11.4",
    ]
    assert "Monte Carlo standard error of elpd_loo: 0.19" in lines
    assert "(-Inf, 0.58] good         6  100.0%       33" in lines
    html = both["a"]._repr_html_()
    assert html.count("<table>") == 2
    assert "Min. ESS" in html


def test_print_waic(log_lik):
    with pytest.warns(WaicWarning):
        result = waic(log_lik["a"])
    assert "elpd_waic    -15.3  5.7" in str(result)
    assert "2 of 6 p_waic above 0.4: use loo() instead" in str(result)
    assert "p_waic above 0.4" in result._repr_html_()


def test_columns_are_worked_through_in_blocks(monkeypatch, log_lik):
    together = loo(log_lik["b"], labels=list("uvwxyz"))
    monkeypatch.setattr(information, "BLOCK", 500)
    pd.testing.assert_frame_equal(loo(log_lik["b"], labels=list("uvwxyz")).pointwise, together.pointwise, rtol=1e-12)
    with pytest.warns(WaicWarning):
        assert list(waic(log_lik["b"]).pointwise.index) == [1, 2, 3, 4, 5, 6]


def test_results_are_copies(both):
    pointwise = both["a"].pointwise
    pointwise["elpd"] = 0.0
    both["a"].khat[:] = 9.0
    assert both["a"].elpd < -15.0
    assert both["a"].khat.max() < 1.0


def test_log_likelihood_is_left_alone(log_lik):
    values = log_lik["b"].copy()
    values.setflags(write=False)
    loo(values)
    with pytest.warns(WaicWarning):
        waic(values)


def test_a_single_point_has_no_standard_error():
    result = loo(np.random.default_rng(1).normal(-1.0, 0.1, (2, 100, 1)))
    assert np.isnan(result.se)
    assert np.isfinite(result.elpd)
    assert "1 observation, 200 draws" in str(result)


@pytest.mark.parametrize("function", [loo, waic])
def test_log_likelihoods_that_cannot_be(function):
    good = np.random.default_rng(1).normal(-1.0, 0.1, (2, 50, 3))
    with pytest.raises(ArgumentError, match=r"log_lik must have shape \(chains, draws, n\), not \(2, 50\)"):
        function(good[:, :, 0])
    with pytest.raises(ArgumentError, match="2 labels for 3 columns of log_lik"):
        function(good, labels=["a", "b"])
    with pytest.raises(ArgumentError, match=r"r_eff must be one number or one for each of 3 columns"):
        loo(good, r_eff=[0.5, 0.5])
    bad = good.copy()
    bad[1, 7, 2] = -np.inf
    with pytest.raises(ArgumentError, match="log_lik of observation 'c' is -inf in draw 7 of chain 1") as caught:
        function(bad, labels=["a", "b", "c"])
    assert caught.value.facts == {"chain": 1, "draw": 7, "label": "c"}


def test_waic_of_one_draw():
    with pytest.raises(ArgumentError, match="at least two draws"):
        waic(np.zeros((1, 1, 3)))


# -- comparison ------------------------------------------------------------------------------------------------------


def test_comparison_of_models():
    """A model with the wrong scale is worse by what the densities say."""
    model = NormalMean(40)
    wrong = stats.norm.logpdf(model.y, model.mu[:, :, None], 2.0)
    results = {"wrong": loo(wrong), "right": loo(model.log_lik), "again": loo(model.log_lik)}
    table = compare_information(results)
    assert table.index.name == "model"
    assert list(table.index)[2] == "wrong"
    assert table["elpd_diff"].iloc[0] == 0.0
    assert table["se_diff"].iloc[0] == 0.0
    pair = results["wrong"].pointwise["elpd"] - results["right"].pointwise["elpd"]
    assert table.loc["wrong", "elpd_diff"] == pytest.approx(pair.sum())
    assert table.loc["wrong", "se_diff"] == pytest.approx(np.sqrt(40) * pair.std(ddof=1))
    assert table["weight"].sum() == pytest.approx(1.0)
    np.testing.assert_allclose(table["pseudo_bma"], np.exp(table["elpd_diff"]) / np.exp(table["elpd_diff"]).sum())
    np.testing.assert_array_equal(table["unreliable"], 0)


def test_comparison_counts_unreliable_points(outlier):
    with pytest.warns(ParetoWarning):
        first = loo(outlier)
    assert compare_information({"a": first, "b": first})["unreliable"].tolist() == [1, 1]
    with pytest.warns(WaicWarning):
        other = waic(outlier)
    assert (
        compare_information({"a": other, "b": other})["unreliable"].tolist() == [other.pointwise["p"].gt(0.4).sum()] * 2
    )


def test_comparisons_that_cannot_be(log_lik, both):
    with pytest.warns(WaicWarning):
        other = waic(log_lik["a"])
    fewer = loo(log_lik["a"][:, :, :5])
    named = loo(log_lik["a"], labels=list("uvwxyz"))
    for results, message in [
        ({"a": both["a"]}, "at least two results"),
        ([both["a"], both["b"]], "mapping from names"),
        ({"a": both["a"], "b": 3.0}, "'b' is a float, not a result"),
        ({"a": both["a"], "b": other}, r"'a' is a result of loo\(\) and 'b' of waic\(\)"),
        ({"a": both["a"], "b": fewer}, r"'a' \(6 observations\) and 'b' \(5 observations\) are about different points"),
        ({"a": both["a"], "b": named}, "give the same labels"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            compare_information(results)


def test_stacking_of_models_that_share_the_points():
    """Where each point has one possible model, the weights are the shares of points."""
    elpd = np.full((10, 3), -2000.0)
    elpd[:5, 0] = elpd[5:8, 1] = elpd[8:, 2] = -1.0
    np.testing.assert_allclose(stacking_weights(elpd), [0.5, 0.3, 0.2], atol=1e-7)


@pytest.mark.parametrize("spread", [0.02, 0.5, 3.0, 300.0])
def test_stacking_is_optimal(spread):
    """The mean density ratio of each model to the mixture is 1 where its weight is positive, and at most 1."""
    elpd = spread * np.random.default_rng(4).standard_normal((60, 4))
    w = stacking_weights(elpd)
    assert w.min() >= 0.0
    assert w.sum() == pytest.approx(1.0, abs=1e-14)
    density = np.exp(elpd - elpd.max(axis=1, keepdims=True))
    slope = (density / (density @ w)[:, None]).mean(axis=0) - 1.0
    assert slope.max() < 1e-6
    assert np.abs(slope * w).max() < 1e-6


def test_stacking_prefers_nothing_among_equals():
    np.testing.assert_allclose(stacking_weights(np.zeros((5, 4))), 0.25)


def test_stacking_that_cannot_be():
    for elpd in (np.zeros(3), np.zeros((0, 2)), np.array([[0.0, np.nan]])):
        with pytest.raises(ArgumentError, match=r"finite array of shape \(n, models\)"):
            stacking_weights(elpd)
