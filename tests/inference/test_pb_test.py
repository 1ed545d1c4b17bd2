"""Parametric-bootstrap comparison: formulas, reproducibility, what is dropped, what fails."""

from __future__ import annotations

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from scipy import stats

import refglmm as rg
from refglmm.errors import ArgumentError, DataError, SingularFitWarning
from refglmm.fit.simulate import fit_source, simulated_responses
from refglmm.inference import pb_test as module
from refglmm.inference.pb_test import reference_table, replicate
from refglmm.inference.reduced import without_random
from refglmm.inference.tasks import seeds


@pytest.fixture(scope="module")
def sleep():
    d = rg.datasets.load("sleepstudy")
    formulas = {
        "days": "Reaction ~ Days + (1 | Subject)",
        "constant": "Reaction ~ 1 + (1 | Subject)",
        "slopes": "Reaction ~ Days + (Days | Subject)",
    }
    return {name: rg.lmer(text, d) for name, text in formulas.items()}


@pytest.fixture(scope="module")
def cbpp():
    d = rg.datasets.load("cbpp")
    text = "cbind(incidence, size - incidence) ~ {} + (1 | herd)"
    return [rg.glmer(text.format(x), d, "binomial") for x in ("period", "1")]


def test_each_replicate_is_a_likelihood_ratio(cbpp):
    large, small = cbpp
    result = large.pb_test(small, nsim=8, seed=11)
    for seed, T in zip(seeds(11, 8), result.samples, strict=True):
        y = simulated_responses(small, np.random.default_rng(seed))
        fits = [model.model.with_response(y).fit() for model in (large, small)]
        assert pytest.approx(2 * (fits[0].loglik - fits[1].loglik), abs=1e-6) == T
    assert result.statistic == pytest.approx(2 * (large.loglik - small.loglik), rel=1e-12)
    assert result.p_value == (1 + np.sum(result.samples > result.statistic)) / 9
    assert (result.df, result.n_failed, result.n_dropped, result.used) == (3, 0, 0, 8)


def test_the_same_numbers_for_any_workers(cbpp):
    large, small = cbpp
    alone = rg.pb_compare(large, small, nsim=6, seed=3)
    with ThreadPoolExecutor(2) as pool:
        spread = rg.pb_compare(large, small, nsim=6, seed=3, executor=pool)
    np.testing.assert_array_equal(alone.samples, spread.samples)
    assert not np.array_equal(rg.pb_compare(large, small, nsim=6, seed=4).samples, alone.samples)
    assert pickle.loads(pickle.dumps(partial(replicate, large, small)))(seeds(3, 6)[0]) == alone.samples[0]


def test_five_p_values_from_their_definitions():
    """Also Bartlett and F of pbkrtest 0.5-2: sleepstudy, T = 23.53654, mean(T*) = 1.12225 over 299 replicates."""
    T, df = 7.0, 2
    reference = np.random.default_rng(0).chisquare(2.4, 500)
    table = reference_table(T, df, reference)
    m, v, E = reference.mean(), reference.var(ddof=1), reference.mean() / df
    assert table.loc["LRT", "p.value"] == pytest.approx(stats.chi2.sf(T, df))
    assert table.loc["PBtest", "p.value"] == pytest.approx((1 + np.sum(reference > T)) / 501)
    assert table.loc["Gamma", "p.value"] == pytest.approx(stats.gamma(a=m**2 / v, scale=v / m).sf(T))
    assert table.loc["Bartlett", "p.value"] == pytest.approx(stats.chi2.sf(T * df / m, df))
    assert table.loc["F", "ddf"] == pytest.approx(2 * E / (E - 1))
    assert table.loc["F", "p.value"] == pytest.approx(stats.f.sf(T / df, df, 2 * E / (E - 1)))
    golden = reference_table(23.53654, 1, np.full(299, 1.12225))
    assert golden.loc["Bartlett", "stat"] == pytest.approx(20.97255, rel=1e-5)
    assert golden.loc["Bartlett", "p.value"] == pytest.approx(4.6591e-06, rel=1e-3)
    assert golden.loc["F", "ddf"] == pytest.approx(18.3593, rel=1e-4)
    assert golden.loc["F", "p.value"] == pytest.approx(0.00012154, rel=1e-3)
    short = reference_table(T, df, np.array([0.5, 0.7]))
    assert np.isnan(short.loc["F", "p.value"])


def test_reml_fits_are_refitted_and_p_is_calibrated(sleep):
    """Days has an enormous effect: the smallest p that 20 replicates allow."""
    result = sleep["days"].pb_test(sleep["constant"], nsim=20, seed=1)
    assert result.statistic == pytest.approx(116.46242, rel=1e-6)
    assert result.p_value == pytest.approx(1 / 21)
    by_label = sleep["days"].pb_test("Days", nsim=20, seed=1)
    np.testing.assert_allclose(by_label.samples, result.samples, atol=1e-6)
    assert abs(result.samples.mean() - 1.0) < 4 * np.sqrt(2 / 20)


def test_zeros_stay_where_a_variance_is_tested(sleep):
    result = sleep["slopes"].pb_test(sleep["days"], nsim=30, seed=2)
    assert result.keeps_zeros
    assert result.used == 30
    assert result.n_dropped == 0
    assert "T* = 0 belongs to the null distribution" in str(result)
    assert "replicates warned: boundary (singular) fit" in str(result)
    assert result.p_value == pytest.approx(1 / 31)


def test_against_no_random_effects(cbpp, sleep):
    """T* of responses without herd effects is zero exactly where the variance is estimated as zero."""
    fit = cbpp[0]
    result = fit.pb_test(None, nsim=24, seed=4)
    assert result.statistic == pytest.approx(14.0058, rel=1e-4)
    assert result.df == 1
    assert result.keeps_zeros
    assert result.small == "cbind(incidence, size - incidence) ~ period"
    assert result.used == 24
    null, singular = without_random(fit).parameters, []
    for seed in seeds(4, 24):
        y = fit_source(fit, newparams=null).response(np.random.default_rng(seed))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SingularFitWarning)
            singular.append(fit.refit(y).convergence.singular)
    np.testing.assert_array_equal(result.samples < 1e-6, singular)
    assert 5 < sum(singular) < 22
    assert result.p_value == pytest.approx(1 / 25)
    linear = sleep["days"].pb_test(None, nsim=5, seed=4)
    assert linear.statistic == pytest.approx(2 * (sleep["days"].refit_ml().loglik + 950.1465), rel=1e-6)
    gamma = rg.glmer("Reaction ~ Days + (1 | Subject)", rg.datasets.load("sleepstudy"), "gamma", link="log")
    assert gamma.pb_test(None, nsim=3, seed=1).samples.max() < 20


def test_zeros_are_dropped_elsewhere(monkeypatch, sleep):
    values = iter([-0.5, 0.0, 1.0, 200.0])
    monkeypatch.setattr(module, "replicate", lambda large, small, seed: next(values))
    result = sleep["days"].pb_test(sleep["constant"], nsim=4, seed=2)
    assert (result.used, result.n_dropped, result.n_failed) == (2, 2, 0)
    assert result.p_value == pytest.approx(2 / 3)
    assert "2 replicates with T* <= 0 dropped" in str(result)


def failing(large, small, seed):
    if seed.spawn_key[-1] % 3 == 0:
        raise ValueError("no fit today")
    return replicate(large, small, seed)


def test_failures_are_counted_and_listed(monkeypatch, cbpp):
    monkeypatch.setattr(module, "replicate", failing)
    result = rg.pb_compare(*cbpp, nsim=7, seed=5)
    assert (result.n_failed, result.used) == (3, 4)
    assert np.isnan(result.samples[[0, 3, 6]]).all()
    assert result.failures == {"ValueError: no fit today": 3}
    assert "3 replicates failed: ValueError: no fit today" in str(result)
    assert "<table>" in result._repr_html_()
    monkeypatch.setattr(module, "replicate", lambda large, small, seed: -1.0)
    with pytest.raises(DataError, match="none of 3 replicates can be used"):
        rg.pb_compare(*cbpp, nsim=3, seed=5)


def test_refusals(sleep, cbpp):
    with pytest.raises(ArgumentError, match="give the larger model first"):
        rg.pb_compare(sleep["constant"], sleep["days"], nsim=2)
    with pytest.raises(ArgumentError, match="needs two fits"):
        rg.pb_compare(sleep["days"], (-1.0, 2))
    with pytest.raises(DataError, match="same size of dataset"):
        rg.pb_compare(sleep["days"], cbpp[1])
    for nsim in (0, 2.5, True):
        with pytest.raises(ArgumentError, match="nsim"):
            rg.pb_compare(*cbpp, nsim=nsim)
    with pytest.raises(ArgumentError, match="no fixed-effects term"):
        sleep["days"].pb_test("day")


def test_results_cannot_be_changed(cbpp):
    result = rg.pb_compare(*cbpp, nsim=2, seed=0)
    with pytest.raises(ValueError, match="read-only"):
        result.samples[0] = 0.0
