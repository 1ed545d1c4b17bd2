"""The bootstrap: same numbers anywhere, failures on record, intervals against literal formulas."""

from __future__ import annotations

import os
import signal
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import refglmm as rg
from refglmm.errors import ArgumentError, DataError, IntervalWarning, NotAvailableError
from refglmm.fit.simulate import simulated_responses
from refglmm.inference.bootstrap import Bootstrap, acceleration, bca_shares, order_statistic
from refglmm.inference.parameters import estimates

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


def moody(fit):
    """The intercept, but fails where it is above its estimate, and warns below -1.5."""
    value = fit.beta[0]
    if value > -1.3985:
        raise ValueError(f"{value} is too large")
    if value < -1.5:
        warnings.warn(f"small: {value}", UserWarning, stacklevel=1)
    return value


def kill_worker_once(marker, fit):
    """The intercept; the worker that gets here first dies of it."""
    if os.getpid() != int(marker.with_suffix(".parent").read_text()) and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return fit.beta[0]


@pytest.fixture(scope="module")
def replicates(cbpp):
    return cbpp.bootstrap(nsim=60, seed=11)


def test_a_replicate_is_a_refit_of_a_simulated_response(cbpp, replicates):
    seed = np.random.SeedSequence(11).spawn(60)[7]
    y = simulated_responses(cbpp, np.random.default_rng(seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = estimates(cbpp.refit(y))
    np.testing.assert_allclose(replicates.replicates.iloc[7], again, rtol=1e-10)
    assert list(replicates.original.index) == ["sd_(Intercept)|herd", *cbpp.fixef.index]
    pd.testing.assert_series_equal(replicates.original, estimates(cbpp), check_names=False)


@pytest.fixture(params=["threads", "processes"])
def executor(request):
    if request.param == "processes":
        return request.getfixturevalue("processes")
    return request.getfixturevalue("threads")


def test_same_seed_same_numbers_for_any_workers(cbpp, replicates, executor):
    spread = cbpp.bootstrap(nsim=60, seed=11, executor=executor)
    assert spread.replicates.equals(replicates.replicates)
    assert spread.warning_counts == replicates.warning_counts
    assert not cbpp.bootstrap(nsim=5, seed=12).replicates.equals(replicates.replicates.head(5))


@pytest.mark.slow
def test_a_worker_that_dies_loses_no_replicate(cbpp, tmp_path):
    (tmp_path / "died.parent").write_text(str(os.getpid()))
    stat = partial(kill_worker_once, tmp_path / "died")
    with ProcessPoolExecutor(2, get_context("forkserver")) as pool:
        spread = cbpp.bootstrap(stat, nsim=24, seed=3, executor=pool)
    assert (tmp_path / "died").exists()
    assert spread.n_failed == 0
    assert spread.replicates.equals(cbpp.bootstrap(stat, nsim=24, seed=3).replicates)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dask_recovers_from_a_worker_that_dies(cbpp, tmp_path):
    distributed = pytest.importorskip("distributed")
    (tmp_path / "died.parent").write_text(str(os.getpid()))
    stat = partial(kill_worker_once, tmp_path / "died")
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        spread = cbpp.bootstrap(stat, nsim=40, seed=3, executor=client.get_executor())
        profile = cbpp.profile([0, 1], executor=client.get_executor())
    assert (tmp_path / "died").exists()
    assert spread.n_failed == 0
    assert spread.replicates.equals(cbpp.bootstrap(stat, nsim=40, seed=3).replicates)
    assert profile.points.equals(cbpp.profile([0, 1]).points)


def test_failures_are_counted_and_listed(cbpp):
    result = cbpp.bootstrap(moody, nsim=40, seed=1)
    values = result.replicates["stat"]
    assert 5 < result.n_failed < 35
    assert list(result.failures) == list(np.flatnonzero(values.isna()))
    assert all(message.startswith("ValueError: -") for message in result.failures.values())
    assert dict(result.failure_counts) == {"ValueError: # is too large": result.n_failed}
    assert result.warning_counts["small: #"] == (values < -1.5).sum()
    assert f"{40 - result.n_failed} of 40 replicates" in str(result)
    assert f"failed {result.n_failed}: ValueError: # is too large" in repr(result)
    assert result.summary().loc["stat", "replicates"] == 40 - result.n_failed
    assert "too large" in result._repr_html_()


def test_a_statistic_that_fails_on_the_fit_itself_is_an_error(cbpp):
    with pytest.raises(ArgumentError, match=r"stat fails on the fit itself \(ZeroDivisionError"):
        cbpp.bootstrap(lambda fit: 1 / 0, nsim=2)
    with pytest.raises(ArgumentError, match="stat must return numbers"):
        cbpp.bootstrap(lambda fit: "period", nsim=2)
    with pytest.raises(ArgumentError, match="stat must be a function"):
        cbpp.bootstrap(3, nsim=2)


def test_a_statistic_that_changes_its_length_is_a_failure(cbpp):
    result = cbpp.bootstrap(lambda fit: fit.beta if fit is cbpp else fit.beta[:2], nsim=2, seed=1)
    assert set(result.failures.values()) == {"stat returned 2 numbers, not 4"}


@pytest.mark.parametrize(
    ("stat", "names"),
    [
        (lambda fit: fit.loglik, ["stat"]),
        (lambda fit: fit.beta, ["stat1", "stat2", "stat3", "stat4"]),
        (lambda fit: fit.fixef, ["(Intercept)", "period2", "period3", "period4"]),
        (lambda fit: {"a": fit.sigma, "b": fit.loglik}, ["a", "b"]),
    ],
)
def test_names_of_statistics(cbpp, stat, names):
    assert list(cbpp.bootstrap(stat, nsim=2, seed=1).replicates.columns) == names


def test_kept_random_effects_vary_less(cbpp):
    def spread(**how):
        result = cbpp.bootstrap(lambda fit: np.var(fit.conditional.b), nsim=30, seed=5, **how)
        return result.replicates["stat"].std()

    assert spread(use_u=True) < spread()
    everything = cbpp.bootstrap(nsim=3, seed=5, use_u=True).replicates
    assert everything.equals(cbpp.bootstrap(nsim=3, seed=5, re_form=None).replicates)


def test_semiparametric_replicates_are_resampled_residuals(sleepstudy):
    result = sleepstudy.bootstrap(nsim=3, seed=4, type="semiparametric", use_u=True)
    rng = np.random.default_rng(np.random.SeedSequence(4).spawn(3)[1])
    residuals = sleepstudy.residuals("response").to_numpy()
    y = sleepstudy.fitted.to_numpy() + rng.choice(residuals, size=residuals.size)
    np.testing.assert_allclose(result.replicates.iloc[1], estimates(sleepstudy.refit(y)), rtol=1e-10)
    with pytest.raises(ArgumentError, match="needs use_u=True"):
        sleepstudy.bootstrap(nsim=3, type="semiparametric")


def test_semiparametric_generalized_models_are_questionable_and_their_failures_counted(cbpp):
    with pytest.warns(IntervalWarning, match="questionable"):
        result = cbpp.bootstrap(nsim=4, seed=1, type="semiparametric", use_u=True)
    assert result.n_failed == 4  # a proportion beyond [0, 1] in every one
    assert result.replicates.isna().all(axis=None)
    assert result.confint().isna().all(axis=None)


def test_arguments_are_checked(cbpp, replicates):
    for nsim in (0, 2.5, True):
        with pytest.raises(ArgumentError, match="nsim must be a whole number of at least 1"):
            cbpp.bootstrap(nsim=nsim)
    with pytest.raises(ArgumentError, match="unknown type 'both' of bootstrap; choose from parametric"):
        cbpp.bootstrap(nsim=2, type="both")
    with pytest.raises(ArgumentError, match="unknown type 'student' of bootstrap interval"):
        replicates.confint(type="student")
    with pytest.raises(ArgumentError, match="no statistic 'x'; there are: sd_"):
        replicates.confint("x")


def test_the_fit_is_the_same_afterwards(cbpp):
    before = (cbpp.to_json(), str(cbpp.summary()), cbpp.ranef().as_frame().to_json(double_precision=15))
    cbpp.bootstrap(nsim=2, seed=1).confint(type="normal")
    assert (cbpp.to_json(), str(cbpp.summary()), cbpp.ranef().as_frame().to_json(double_precision=15)) == before


def test_replicates_are_a_copy(replicates):
    frame = replicates.replicates
    frame.iloc[:, :] = 0.0
    assert not replicates.replicates.equals(frame)


# -- intervals -----------------------------------------------------------------------------------------------


def test_order_statistics():
    values = np.arange(1.0, 100.0)[::-1]  # R = 99
    assert order_statistic(values, 0.05) == (5.0, False)
    assert order_statistic(values, 0.99) == (99.0, False)
    assert order_statistic(values, 0.999) == (99.0, True)
    assert order_statistic(values, 0.004) == (1.0, True)
    q, low, high = norm.ppf([0.025, 0.02, 0.03])
    assert order_statistic(values, 0.025)[0] == pytest.approx(2.0 + (q - low) / (high - low))


def boot_of(values, original):
    index = pd.Index(["a"])
    return Bootstrap(pd.Series([original], index=index), "parametric", len(values), {}, {}, values[:, None], None, None)


def test_percentile_basic_and_normal():
    values, t = np.random.default_rng(0).gamma(3.0, size=199), 2.5
    boot = boot_of(values, t)
    ordered = np.sort(values)
    low, high = ordered[[4, 194]]  # (R + 1) .025 = 5
    np.testing.assert_allclose(boot.confint().to_numpy(), [[low, high]])
    np.testing.assert_allclose(boot.confint(type="basic").to_numpy(), [[2 * t - high, 2 * t - low]])
    centre, half = 2 * t - values.mean(), norm.ppf(0.975) * values.std(ddof=1)
    np.testing.assert_allclose(boot.confint(type="normal").to_numpy(), [[centre - half, centre + half]])
    assert list(boot.confint(level=0.9).columns) == ["5 %", "95 %"]


def test_too_few_replicates_for_a_level_are_said():
    with pytest.warns(IntervalWarning, match="extreme ones of 19 replicates"):
        boot_of(np.arange(19.0), 9.0).confint()


def test_bca_without_bias_and_acceleration_is_percentile():
    shares = np.array([0.025, 0.975])
    values = np.array([-2.0, -1.0, 1.0, 2.0])
    np.testing.assert_allclose(bca_shares(values, 0.0, shares, 0.0), shares)
    z0, a = norm.ppf(0.75), 0.1
    expected = norm.cdf(z0 + (z0 + norm.ppf(shares)) / (1.0 - a * (z0 + norm.ppf(shares))))
    np.testing.assert_allclose(bca_shares(values, 1.5, shares, a), expected)


def test_the_jackknife_leaves_out_herds(cbpp):
    data = rg.datasets.load("cbpp")
    t = []
    for herd in data["herd"].unique():
        part = data[data["herd"] != herd].assign(herd=lambda d: d["herd"].astype(str))
        t.append(estimates(rg.glmer(CBPP, part, "binomial")).to_numpy())
    d = np.mean(t, axis=0) - t
    expected = np.sum(d**3, axis=0) / (6.0 * np.sum(d**2, axis=0) ** 1.5)
    np.testing.assert_allclose(acceleration(cbpp, estimates), expected, rtol=1e-4, atol=1e-6)


def test_bca_intervals_use_it(cbpp, replicates):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IntervalWarning)
        frame = replicates.confint("period2", type="bca", level=0.8)
    values = replicates.replicates["period2"].to_numpy()
    a = acceleration(cbpp, estimates)[2]
    shares = bca_shares(values, cbpp.fixef["period2"], np.array([0.1, 0.9]), a)
    np.testing.assert_allclose(frame.to_numpy()[0], [order_statistic(values, s)[0] for s in shares])


def test_a_jackknife_that_cannot_be(three_columns):
    data = three_columns.assign(h=np.arange(len(three_columns)) % 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        few = rg.lmer("y ~ x + (1 | h)", data)
    with pytest.raises(NotAvailableError, match=r"leaves out the levels of h, of which there are 3 \(at least 4"):
        acceleration(few, estimates)

    def fails(fit):
        raise ValueError("no")

    with pytest.raises(DataError, match="40 refits of the jackknife failed, for instance without g g00: ValueError"):
        acceleration(rg.lmer("y ~ x + (1 | g)", three_columns), fails)


def test_a_statistic_that_returns_nothing_is_refused(cbpp):
    with pytest.raises(ArgumentError, match=r"stat must return numbers .* not None"):
        cbpp.bootstrap(lambda fit: None, nsim=2, seed=1)


def test_a_generator_is_a_seed(cbpp):
    runs = [cbpp.bootstrap(nsim=2, seed=np.random.default_rng(5)).replicates for _ in range(2)]
    assert runs[0].equals(runs[1])
    rng = np.random.default_rng(5)
    assert not cbpp.bootstrap(nsim=2, seed=rng).replicates.equals(cbpp.bootstrap(nsim=2, seed=rng).replicates)
