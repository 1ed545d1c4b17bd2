"""Diagnostics of chains against closed forms, a literal version, ArviZ's numbers and ArviZ itself."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar
from scipy.signal import lfilter

from refglmm.bayes import diagnostics
from refglmm.bayes.diagnostics import (
    autocorrelation,
    density_mode,
    e_bfmi,
    ess_bulk,
    ess_mean,
    ess_quantile,
    ess_tail,
    mcse_mean,
    mcse_quantile,
    mcse_sd,
    rhat,
    rhat_folded,
    rhat_rank,
    summary_table,
)
from refglmm.errors import ArgumentError

HERE = Path(__file__).parent
QUANTITIES = ["iid", "sticky", "swinging", "heavy", "apart", "wide", "ties"]
FUNCTIONS = {
    "rhat": rhat,
    "rhat_rank": rhat_rank,
    "rhat_folded": rhat_folded,
    "ess_bulk": ess_bulk,
    "ess_tail": ess_tail,
    "ess_tail_95": lambda x: ess_tail(x, quantiles=(0.025, 0.975)),
    "ess_mean": ess_mean,
    "ess_quantile_30": lambda x: ess_quantile(x, 0.3),
    "mcse_mean": mcse_mean,
    "mcse_sd": mcse_sd,
    "mcse_quantile_30": lambda x: mcse_quantile(x, 0.3),
}


def chains(shape, rho=0.0, seed=1):
    """Stationary autoregressions (chains, draws[, k]) with standard normal margins and autocorrelation rho^t."""
    noise = np.random.default_rng(seed).standard_normal(shape) * np.sqrt(1.0 - rho**2)
    noise[:, 0] /= np.sqrt(1.0 - rho**2)
    return lfilter([1.0], [1.0, -rho], noise, axis=1)


@pytest.fixture(scope="module")
def golden_draws():
    """Draws of golden_draws.py, (4, 60, quantities)."""
    return pd.read_csv(HERE / "golden_draws.csv")[QUANTITIES].to_numpy().reshape(4, 60, -1)


@pytest.fixture(scope="module")
def golden():
    """ArviZ's numbers (golden_arviz.py)."""
    return json.loads((HERE / "golden_arviz.json").read_text(encoding="utf-8"))


# -- other software --------------------------------------------------------------------------------------------------


@pytest.mark.golden
@pytest.mark.parametrize("name", FUNCTIONS)
def test_agrees_with_arviz_numbers(name, golden, golden_draws):
    np.testing.assert_allclose(FUNCTIONS[name](golden_draws), [golden[name][q] for q in QUANTITIES], rtol=1e-10)


@pytest.mark.golden
def test_energy_and_autocorrelation_agree_with_arviz_numbers(golden, golden_draws):
    for i, name in enumerate(QUANTITIES):
        np.testing.assert_allclose(e_bfmi(golden_draws[:, :, i]), golden["e_bfmi"][name], rtol=1e-12)
    expected = np.stack([golden["autocorrelation"][name] for name in QUANTITIES], axis=2)
    np.testing.assert_allclose(autocorrelation(golden_draws, max_lag=9), expected, atol=1e-12)


def test_agrees_with_arviz_itself():
    """Only where ArviZ 0.x is installed; its newer releases keep these functions elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arviz = pytest.importorskip("arviz", minversion="0.17")
        theirs = pytest.importorskip("arviz.stats.diagnostics")
        arviz.Numba.disable_numba()
    pairs = [
        (rhat, theirs._rhat_rank),
        (rhat_folded, theirs._rhat_folded),
        (ess_bulk, theirs._ess_bulk),
        (ess_tail, theirs._ess_tail),
        (ess_mean, theirs._ess_mean),
        (mcse_mean, theirs._mcse_mean),
        (mcse_sd, theirs._mcse_sd),
        (lambda x: mcse_quantile(x, 0.2), lambda x: theirs._mcse_quantile(x, 0.2)),
    ]
    rng = np.random.default_rng(5)
    for rho in (-0.9, -0.3, 0.0, 0.5, 0.97):
        for draws in (8, 37, 200):
            x = chains((3, draws), rho, seed=draws) + 0.3 * rng.standard_normal((3, 1))
            for ours, other in pairs:
                assert ours(x) == pytest.approx(other(x), rel=1e-10), (rho, draws)


# -- a literal version -----------------------------------------------------------------------------------------------


def literal_ess(x):
    """Geyer's estimate by loops: sums for autocovariances, pairs while positive, none larger than the one before."""
    m, n = x.shape
    centred = [[value - sum(chain) / n for value in chain] for chain in x]
    covariance = [sum(sum(c[s] * c[s + t] for s in range(n - t)) / n for c in centred) / m for t in range(n)]
    within = covariance[0] * n / (n - 1)
    pooled = covariance[0] + np.var([sum(chain) / n for chain in x], ddof=1)
    rho = [1.0] + [1.0 - (within - covariance[t]) / pooled for t in range(1, n)]
    tau, previous, j = -1.0, np.inf, 0
    while 2 * j < n - 3 and rho[2 * j] + rho[2 * j + 1] > 0.0:
        if 2 * (j + 1) > n - 3:
            break
        previous = min(previous, rho[2 * j] + rho[2 * j + 1])
        tau += 2.0 * previous
        j += 1
    last_pair = rho[2 * j] + rho[2 * j + 1]
    tau += rho[2 * j] if last_pair >= 0.0 else max(rho[2 * j], 0.0)
    return m * n / max(tau, 1.0 / np.log10(m * n))


@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.7, 0.95])
@pytest.mark.parametrize("draws", [20, 41, 80])
def test_effective_size_is_the_literal_one(rho, draws):
    x = chains((2, draws), rho, seed=7)
    half = draws // 2
    halves = np.concatenate([x[:, :half], x[:, -half:]])
    assert ess_mean(x) == pytest.approx(literal_ess(halves), rel=1e-10)
    scores = stats.norm.ppf((stats.rankdata(halves) - 0.375) / (halves.size + 0.25)).reshape(halves.shape)
    assert ess_bulk(x) == pytest.approx(literal_ess(scores), rel=1e-10)
    low, high = (literal_ess((halves <= np.quantile(x, p)).astype(float)) for p in (0.05, 0.95))
    assert ess_tail(x) == pytest.approx(min(low, high), rel=1e-10)


def test_rhat_is_the_literal_one():
    x = chains((3, 51), 0.5)
    halves = np.concatenate([x[:, :25], x[:, -25:]])

    def literal(values):
        scores = stats.norm.ppf((stats.rankdata(values) - 0.375) / (values.size + 0.25)).reshape(values.shape)
        within = np.mean([np.var(chain, ddof=1) for chain in scores])
        between = 25 * np.var([np.mean(chain) for chain in scores], ddof=1)
        return np.sqrt((24 / 25 * within + between / 25) / within)

    folded = np.abs(halves - np.median(halves))
    assert rhat_rank(x) == pytest.approx(literal(halves), rel=1e-12)
    assert rhat_folded(x) == pytest.approx(literal(folded), rel=1e-12)
    assert rhat(x) == max(rhat_rank(x), rhat_folded(x))


# -- closed forms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [-0.4, 0.0, 0.5, 0.8])
def test_effective_size_of_an_autoregression(rho):
    """S (1 - rho) / (1 + rho). The mean of 300 estimates, whose own bias at this length is below 4%."""
    x = chains((4, 1000, 300), rho)
    expected = 4000 * (1.0 - rho) / (1.0 + rho)
    assert ess_mean(x).mean() == pytest.approx(expected, rel=0.05)
    assert ess_bulk(x).mean() == pytest.approx(expected, rel=0.05)


def test_chains_that_agree_and_chains_that_do_not():
    same = chains((4, 1000, 100))
    assert rhat(same).max() < 1.015
    assert 0.999 < rhat(same).mean() < 1.003
    elsewhere = same + np.array([0.0, 0.0, 0.0, 1.0])[:, None, None]
    # Of eight half-chains two have the mean 1: the variance of the means is 3/16 times 8/7.
    assert rhat_rank(elsewhere).mean() == pytest.approx(np.sqrt(1.0 + 8 / 7 * 3 / 16), rel=0.01)
    wider = same * np.array([1.0, 1.0, 1.0, 3.0])[:, None, None]
    assert rhat_rank(wider).max() < 1.02
    assert rhat_folded(wider).min() > 1.05
    np.testing.assert_array_equal(rhat(wider), rhat_folded(wider))


def test_a_single_chain_is_compared_with_itself():
    x = chains((1, 1000))
    assert rhat(x) < 1.02
    assert rhat(x + np.linspace(0.0, 3.0, 1000)) > 1.3


@pytest.mark.parametrize("rho", [-0.4, 0.0, 0.6])
def test_monte_carlo_errors_are_the_spread_over_replications(rho):
    """800 replications know a spread to 2.5%; the errors themselves are biased by a few per cent."""
    x = chains((4, 400, 800), rho)
    flat = x.reshape(-1, 800)
    assert mcse_mean(x).mean() == pytest.approx(flat.mean(axis=0).std(), rel=0.1)
    assert mcse_sd(x).mean() == pytest.approx(flat.std(axis=0, ddof=1).std(), rel=0.1)
    assert mcse_quantile(x, 0.9).mean() == pytest.approx(np.quantile(flat, 0.9, axis=0).std(), rel=0.1)


def test_autocorrelation_of_an_autoregression():
    estimate = autocorrelation(chains((4, 4000, 50), 0.7), max_lag=6)
    assert estimate.shape == (4, 7, 50)
    np.testing.assert_allclose(estimate.mean(axis=(0, 2)), 0.7 ** np.arange(7), atol=0.01)


def test_energy_that_moves_little():
    """Differences of an autoregression have the variance 2 (1 - rho)."""
    for rho in (0.0, 0.9):
        np.testing.assert_allclose(e_bfmi(chains((4, 20000), rho)), 2.0 * (1.0 - rho), rtol=0.08)


# -- invariances -----------------------------------------------------------------------------------------------------


def test_ranks_know_no_scale():
    x = chains((4, 101, 5), 0.4)
    for y in (np.exp(3.0 * x), x**3, 1e-200 * x, np.arctan(x)):
        np.testing.assert_array_equal(rhat_rank(y), rhat_rank(x))
        np.testing.assert_array_equal(ess_bulk(y), ess_bulk(x))
        np.testing.assert_allclose(ess_tail(y, quantiles=(0.11, 0.91)), ess_tail(x, quantiles=(0.11, 0.91)))


def test_the_order_of_chains_does_not_matter():
    x = chains((4, 100, 5), 0.4)
    for function in FUNCTIONS.values():
        np.testing.assert_allclose(function(x[[2, 0, 3, 1]]), function(x), rtol=1e-12)


def test_columns_are_worked_through_in_blocks(monkeypatch):
    x = chains((2, 50, 7), 0.3)
    together = summary_table(x, list("abcdefg"))
    monkeypatch.setattr(diagnostics, "BLOCK", 250)
    pd.testing.assert_frame_equal(summary_table(x, list("abcdefg")), together, rtol=1e-13)
    for i in range(7):
        alone = ess_tail(x[:, :, i], quantiles=(0.025, 0.975))
        assert alone == pytest.approx(together["ess_tail"].iloc[i], rel=1e-12)
        assert rhat(x[:, :, i]) == pytest.approx(together["rhat"].iloc[i], rel=1e-13)


def test_draws_are_left_alone():
    x = chains((2, 50, 3))
    before = x.copy()
    x.setflags(write=False)
    summary_table(x, list("abc"), mcse=True)
    autocorrelation(x)
    np.testing.assert_array_equal(x, before)


# -- where nothing can be said ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_where_nothing_can_be_said_and_only_there(name):
    x = chains((2, 30, 5))
    x[:, :, 1] = 3.25
    x[1, 7, 2] = np.nan
    x[0, 2, 3] = np.inf
    answer = FUNCTIONS[name](x)
    np.testing.assert_array_equal(np.isnan(answer), [False, True, True, True, False])
    assert answer[4] == pytest.approx(FUNCTIONS[name](x[:, :, 4]), rel=1e-12)
    assert np.isnan(FUNCTIONS[name](x[:, :3, 0]))
    assert isinstance(FUNCTIONS[name](x[:, :, 0]), float)


def test_chains_that_stand_still_at_different_places():
    x = np.repeat([[1.0], [2.0]], 40, axis=1)
    assert rhat(x) == np.inf
    assert ess_bulk(x) < 5


def test_an_indicator_that_is_constant():
    x = np.repeat([[0.0, 1.0, 1.0, 1.0, 1.0]], 10, axis=0).reshape(1, 50)
    assert np.isnan(ess_quantile(x, 0.9))
    assert np.isnan(mcse_quantile(x, 0.9))
    assert np.isnan(ess_tail(x))
    assert np.isfinite(ess_quantile(x, 0.1))


def test_autocorrelation_and_energy_where_nothing_can_be_said():
    x = chains((3, 30))
    x[0], x[1, 4] = 2.0, np.nan
    assert np.isnan(autocorrelation(x)[:2]).all()
    assert autocorrelation(x)[2, 0] == 1.0
    np.testing.assert_array_equal(np.isnan(e_bfmi(x)), [True, True, False])
    assert np.isnan(e_bfmi(x[:, :3])).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rhat(np.zeros(10)), r"not \(10,\); draws of one chain are draws\[None, :\]"),
        (lambda: ess_bulk(np.zeros((2, 2, 2, 2))), r"\(chains, draws, k\), not \(2, 2, 2, 2\)"),
        (lambda: ess_mean(np.zeros((2, 0))), "there is nothing in it"),
        (lambda: ess_mean([["a", "b"]]), "an array of real numbers is needed"),
        (lambda: ess_mean(np.ones((2, 9)) * 1j), "an array of real numbers is needed"),
        (lambda: ess_quantile(np.zeros((2, 9)), 1.0), "prob must lie between 0 and 1, not 1.0"),
        (lambda: mcse_quantile(np.zeros((2, 9)), np.nan), "prob must lie between 0 and 1"),
        (lambda: ess_tail(np.zeros((2, 9)), quantiles=(0.9, 0.1)), "two increasing probabilities"),
        (lambda: autocorrelation(np.zeros((2, 9)), max_lag=9), "from 0 to draws - 1 = 8, not 9"),
        (lambda: e_bfmi(np.zeros((2, 9, 1))), r"energy must have shape \(chains, draws\), not \(2, 9, 1\)"),
        (lambda: summary_table(np.zeros((2, 9)), ["a"]), r"values must have shape \(chains, draws, k\)"),
        (lambda: summary_table(np.zeros((2, 9, 2)), ["a"]), "1 names for 2 columns"),
    ],
)
def test_arguments_that_cannot_be(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


# -- mode and summary ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["normal", "gamma", "two humps", "half-normal"])
def test_mode_is_that_of_the_kernel_density(shape):
    rng = np.random.default_rng(3)
    draws = {
        "normal": rng.standard_normal(1500),
        "gamma": rng.gamma(2.0, size=1500),
        "two humps": np.concatenate([rng.normal(-3.0, 1.0, 600), rng.normal(2.0, 0.7, 900)]),
        "half-normal": np.abs(rng.standard_normal(1500)),
    }[shape]
    spread = min(draws.std(ddof=1), stats.iqr(draws) / 1.34)
    density = stats.gaussian_kde(draws, bw_method=0.9 * spread * 1500**-0.2 / draws.std(ddof=1))
    grid = np.linspace(draws.min(), draws.max(), 400)
    top = grid[density(grid).argmax()]
    step = grid[1] - grid[0]
    found = minimize_scalar(lambda x: -density(x)[0], bounds=(top - step, top + step), options={"xatol": 1e-9})
    assert density_mode(draws.reshape(3, 500)) == pytest.approx(found.x, abs=2e-3)


@pytest.mark.golden
def test_mode_agrees_with_the_density_of_r(golden_draws):
    """R's density() bins its data as well; on its grid of 2^15 points, see golden_loo.R."""
    theirs = json.loads((HERE / "golden_loo.json").read_text(encoding="utf-8"))["density_map"]
    for name, value in theirs.items():
        assert density_mode(golden_draws[:, :, QUANTITIES.index(name)]) == pytest.approx(value, abs=1e-3)


def test_mode_of_a_far_tail():
    draws = np.random.default_rng(4).standard_cauchy((4, 2000, 20))
    np.testing.assert_allclose(density_mode(draws), 0.0, atol=0.35)


def test_mode_without_quartiles():
    """More than half of the draws tie: the bandwidth falls back on the standard deviation."""
    x = np.zeros((1, 100))
    x[0, :20] = np.arange(20)
    assert density_mode(x) == pytest.approx(0.0, abs=0.5)


def test_summary():
    x = chains((4, 500, 3), 0.3)
    x[:, :, 1] = 7.5
    table = summary_table(x, ["Intercept", "fixed", "b[talk]"])
    assert list(table.columns) == ["mean", "sd", "map", "q2.5", "q97.5", "ess_bulk", "ess_tail", "rhat"]
    assert list(table.index) == ["Intercept", "fixed", "b[talk]"]
    assert table.index.name == "variable"
    row, flat = table.loc["b[talk]"], x[:, :, 2].ravel()
    assert row["mean"] == pytest.approx(flat.mean())
    assert row["sd"] == pytest.approx(flat.std(ddof=1))
    assert row["map"] == density_mode(x[:, :, 2])
    np.testing.assert_allclose(row[["q2.5", "q97.5"]].to_numpy(float), np.quantile(flat, [0.025, 0.975]))
    assert row["ess_bulk"] == pytest.approx(ess_bulk(x[:, :, 2]))
    assert row["ess_tail"] == pytest.approx(ess_tail(x[:, :, 2], quantiles=(0.025, 0.975)))
    assert row["rhat"] == pytest.approx(rhat(x[:, :, 2]))
    np.testing.assert_array_equal(table.loc["fixed"].to_numpy()[:5], [7.5, 0.0, 7.5, 7.5, 7.5])
    assert table.loc["fixed"].iloc[5:].isna().all()


def test_summary_options():
    x = chains((2, 100, 2))
    table = summary_table(x, ["a", "b"], tail=(0.05, 0.95), mcse=True)
    assert list(table.columns)[:4] == ["mean", "mcse_mean", "sd", "mcse_sd"]
    np.testing.assert_allclose(table["mcse_sd"], mcse_sd(x))
    np.testing.assert_allclose(table["ess_tail"], ess_tail(x))
    rounded = summary_table(x, ["a", "b"], digits=2)
    np.testing.assert_array_equal(rounded["mean"], table["mean"].round(2))


def test_summary_of_values_that_are_not_finite():
    x = chains((2, 20, 3))
    x[0, 0, 0], x[0, 0, 1] = np.nan, np.inf
    table = summary_table(x, ["nan", "inf", "good"])
    assert table.loc["nan"].isna().all()
    assert table.loc["inf", "mean"] == np.inf
    assert table.loc["inf", ["sd", "map", "rhat"]].isna().all()
    assert table.loc["good"].notna().all()
