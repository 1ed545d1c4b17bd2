"""The posterior mode: printed numbers of another implementation, maximum likelihood, intervals by hand, printing."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import refglmm as rg
from refglmm.bayes.map import posterior_mode
from refglmm.errors import ArgumentError, NotAvailableError, OptimizationError


@pytest.fixture(scope="module")
def sleep():
    """Correlated slopes under weak priors."""
    prior = rg.prior_normal(Intercept_sd=500.0, b_sd=50.0, sigma_rate=0.01, tau_rate=0.05)
    return rg.GLMM("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"), prior=prior)


@pytest.fixture(scope="module")
def fit(sleep):
    return sleep.optimize()


@pytest.fixture(scope="module")
def sampled(sleep):
    return sleep.optimize(se_method="sampling", num_samples=4000, seed=3)


# -- against others --------------------------------------------------------------------------------------------------


def test_printed_numbers_of_another_implementation(shared_data):
    """Debate data: what BayesRTMB 0.2.4 prints, to the digits that it prints; its modes are those of TMB."""
    debate = shared_data("debate")
    shared = Path(os.environ.get("REFGLMM_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    golden = shared / "reference" / "peers" / "bayesrtmb.jsonl"
    if not golden.exists():
        pytest.skip("the numbers of other packages do not lie beside the repository")
    lines = [json.loads(line) for line in golden.read_text(encoding="utf-8").splitlines()]
    printed = next(line["printed"] for line in lines if line["case"] == "map")
    prior = rg.prior_normal(Intercept_sd=10.0, b_sd=10.0, sigma_rate=0.2, tau_rate=0.2)
    fit = rg.GLMM("sat ~ talk + perf + (1 | group)", debate, prior=prior).optimize()
    assert f"Negative Log-Posterior: {fit.negative_log_posterior:.2f}" == printed[0]
    assert f"Approx. Log Marginal Likelihood (Laplace): {fit.log_marginal:.2f}" == printed[1]
    for line in printed[2:]:
        name, *numbers = re.split(r"\s+", line)
        np.testing.assert_allclose(fit.estimates.loc[name], [float(v) for v in numbers], rtol=0, atol=1.1e-5)


@pytest.mark.parametrize("case", ["cbpp", "sleepstudy"])
def test_under_flat_priors_it_is_maximum_likelihood(case):
    data = rg.datasets.load(case)
    if case == "cbpp":
        formula, family = "cbind(incidence, size - incidence) ~ period + (1 | herd)", "binomial"
        ml = rg.glmer(formula, data, family)
    else:
        formula, family = "Reaction ~ Days + (Days | Subject)", "gaussian"
        ml = rg.lmer(formula, data, reml=False)
    fit = rg.GLMM(formula, data, family).optimize()
    assert fit.log_posterior == pytest.approx(ml.loglik, abs=1e-6)
    fixed = [name for name in fit.estimates.index if name.startswith("b[") or name == "Intercept"]
    np.testing.assert_allclose(fit.estimates.loc[fixed, "Estimate"], ml.beta, rtol=1e-5)
    np.testing.assert_allclose(fit.estimates.loc[fixed, "Std. Error"], np.sqrt(np.diag(ml.vcov())), rtol=2e-2)


# -- standard errors and intervals -----------------------------------------------------------------------------------


def test_standard_errors_are_those_of_the_curvature(sleep, fit):
    """Delta method by hand: sd = e^t, rho = tanh(t/2), and the intercept from its centred relative."""
    posterior, mode = sleep.posterior, fit.mode
    t, V = mode.position[: posterior.n_hyper], mode.covariance
    mean = 4.5
    se = fit.estimates["Std. Error"]
    assert se["Intercept_c"] == pytest.approx(np.sqrt(V[0, 0]), rel=1e-9)
    a = np.array([1.0, -mean])
    assert se["Intercept"] == pytest.approx(np.sqrt(a @ V[:2, :2] @ a), rel=1e-9)
    assert se["sd[Subject:Int]"] == pytest.approx(np.exp(t[2]) * np.sqrt(V[2, 2]), rel=1e-6)
    assert se["sigma"] == pytest.approx(np.exp(t[5]) * np.sqrt(V[5, 5]), rel=1e-6)
    rho = np.tanh(t[4] / 2.0)
    assert se["corr[Subject:Int,Days]"] == pytest.approx(0.5 * (1 - rho**2) * np.sqrt(V[4, 4]), rel=1e-6)
    vcov = fit.vcov()
    np.testing.assert_allclose(np.sqrt(np.diag(vcov)), se, rtol=1e-12)
    assert list(vcov.columns) == list(fit.estimates.index)


def test_intervals_are_symmetric_where_a_number_is_unbounded(fit):
    z = stats.norm.ppf(0.975)
    table = fit.estimates
    for name, (estimate, se, lower, upper) in zip(table.index, table.to_numpy(), strict=True):
        if name.startswith(("sd", "sigma")):
            wanted = estimate * np.exp(np.array([-1, 1]) * z * se / estimate)
        elif name.startswith("corr"):
            wanted = np.tanh(np.arctanh(estimate) + np.array([-1, 1]) * z * se / (1 - estimate**2))
        else:
            wanted = estimate + np.array([-1, 1]) * z * se
        np.testing.assert_allclose([lower, upper], wanted, rtol=1e-6)


def test_intervals_between_two_bounds_are_symmetric_in_the_logit():
    data = rg.datasets.load("sleepstudy")
    from refglmm.bayes.distributions import Uniform

    prior = rg.prior_normal(Intercept_sd=500.0, sigma_rate=0.01, tau_rate=0.05, b={"Days": Uniform(8.0, 16.0)})
    table = rg.GLMM("Reaction ~ Days + (1 | Subject)", data, prior=prior).optimize().estimates
    estimate, se, lower, upper = table.loc["b[Days]"]
    z = stats.norm.ppf(0.975)  # a coefficient: on its own scale, whatever its prior
    np.testing.assert_allclose([lower, upper], [estimate - z * se, estimate + z * se], rtol=1e-6)


def test_sampling_agrees_with_wald(fit, sampled):
    """The delta method is exact for coefficients: estimates of their SDs from 4000 draws differ by Monte Carlo."""
    one, two = fit.estimates, sampled.estimates
    np.testing.assert_array_equal(one["Estimate"], two["Estimate"])
    ratio = two["Std. Error"] / one["Std. Error"]
    error = 1.0 / np.sqrt(2 * 4000)
    for name in ("Intercept", "b[Days]", "Intercept_c"):
        assert abs(ratio[name] - 1.0) < 4 * error
    assert np.all(np.abs(ratio - 1.0) < 0.25)
    draws = sampled.draws.stack()
    lower = np.percentile(draws, 2.5, axis=0)
    np.testing.assert_allclose(two["Lower 95%"], lower)
    assert two.loc["sigma", "Lower 95%"] == pytest.approx(one.loc["sigma", "Lower 95%"], rel=0.02)


def test_draws_have_seeds(sleep, sampled):
    again = sleep.optimize(se_method="sampling", num_samples=4000, seed=3)
    np.testing.assert_array_equal(again.draws.values, sampled.draws.values)
    other = sleep.optimize(se_method="sampling", num_samples=4000, seed=4)
    assert not np.array_equal(other.draws.values, sampled.draws.values)


def test_no_standard_errors_and_other_probabilities(sleep, fit):
    none = sleep.optimize(se_method="none")
    assert none.estimates.iloc[:, 1:].isna().all(axis=None)
    half = sleep.optimize(prob=0.5).estimates
    assert list(half.columns) == ["Estimate", "Std. Error", "Lower 50%", "Upper 50%"]
    width = (half["Upper 50%"] - half["Estimate"])["b[Days]"]
    assert width == pytest.approx(stats.norm.ppf(0.75) * fit.estimates.loc["b[Days]", "Std. Error"], rel=1e-6)


# -- starts ----------------------------------------------------------------------------------------------------------


def test_several_starts_reach_the_same_mode(sleep, fit):
    several = sleep.optimize(num_estimate=3)
    assert several.mode.starts.size == 3
    np.testing.assert_allclose(several.mode.starts, fit.log_posterior, atol=1e-6)
    assert several.log_posterior == pytest.approx(fit.log_posterior, abs=1e-8)


def test_no_start_inside_is_an_error(sleep, monkeypatch):
    monkeypatch.setattr("refglmm.bayes.laplace.Marginal.value", lambda self, hyper: -np.inf)
    with pytest.raises(OptimizationError, match="at every start"):
        posterior_mode(sleep.posterior)


# -- random effects --------------------------------------------------------------------------------------------------


def test_random_effects_have_the_spread_of_their_posterior():
    """Normal data, one intercept: conditional variance and what the hyperparameters add, by hand."""
    data = rg.datasets.load("Dyestuff")
    prior = rg.prior_normal(Intercept_sd=3000.0, sigma_rate=0.02, tau_rate=0.02)
    fit = rg.GLMM("Yield ~ 1 + (1 | Batch)", data, prior=prior).optimize()
    frame = fit.ranef()["Batch"]
    m, tau, sigma = fit.estimates.loc[["Intercept", "sd[Batch:Int]", "sigma"], "Estimate"]
    sums = data.groupby("Batch", observed=True)["Yield"].sum().to_numpy()

    def effects(t):
        ratio = 5.0 + np.exp(2 * (t[2] - t[1]))
        return (sums - 5.0 * t[0]) / ratio

    t = np.array([m, np.log(tau), np.log(sigma)])
    J = np.column_stack([(effects(t + h) - effects(t - h)) / (2 * h.sum()) for h in np.diag([1e-2, 1e-4, 1e-4])])
    variance = sigma**2 / (5.0 + sigma**2 / tau**2) + np.sum((J @ fit.mode.covariance) * J, axis=1)
    np.testing.assert_allclose(frame["Estimate"], effects(t), rtol=1e-6)
    np.testing.assert_allclose(frame["Std. Error"], np.sqrt(variance), rtol=1e-5)
    z = stats.norm.ppf(0.975)
    np.testing.assert_allclose(frame["Upper 95%"], frame["Estimate"] + z * frame["Std. Error"])
    assert list(frame.index) == [(level, "(Intercept)") for level in "ABCDEF"]
    pd.testing.assert_frame_equal(fit.random_effects["Batch"], frame)


def test_rows_of_the_spread_are_taken_in_pieces(sleep, fit, monkeypatch):
    monkeypatch.setattr("refglmm.bayes.map.ROWS_AT_ONCE", 7)
    np.testing.assert_allclose(sleep.optimize().mode.effects_sd, fit.mode.effects_sd, rtol=1e-12)


# -- jointly with the random effects ---------------------------------------------------------------------------------


def test_the_joint_mode_is_a_stationary_point_of_the_dense_density():
    """Poisson counts: gradient of the literal joint density of (natural values, u), and its curvature."""
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"g": np.repeat(np.arange(5), 12), "x": rng.normal(size=60)})
    data["count"] = rng.poisson(np.exp(1.0 + 0.4 * data.x + rng.normal(0, 1.2, 5)[data.g]))
    fit = rg.GLMM("count ~ x + (1 | g)", data, "poisson", prior=rg.prior_normal()).optimize(laplace=False)
    assert fit.mode.joint
    assert fit.converged
    assert "joint posterior mode" in str(fit)
    assert np.isnan(fit.log_marginal)
    xc = (data.x - data.x.mean()).to_numpy()

    def log_joint(v):
        eta = v[0] + v[1] * xc + v[2] * v[3:][data.g]
        total = stats.poisson.logpmf(data["count"], np.exp(eta)).sum() + stats.norm.logpdf(v[:2], 0, 10).sum()
        return total + stats.expon.logpdf(v[2], scale=5.0) + stats.norm.logpdf(v[3:]).sum()

    at = np.array(fit.mode.position)
    at[2] = np.exp(at[2])
    assert fit.log_posterior == pytest.approx(log_joint(at), rel=1e-10)
    h = 1e-3
    eye = h * np.eye(at.size)
    gradient = [(log_joint(at + e) - log_joint(at - e)) / (2 * h) for e in eye]
    np.testing.assert_allclose(gradient, 0.0, atol=2e-3)
    H = np.array([[(log_joint(at + a + b) - log_joint(at + a - b) - log_joint(at - a + b) + log_joint(at - a - b))
                   / (4 * h * h) for a in eye] for b in eye])  # fmt: skip
    se = np.sqrt(np.diag(np.linalg.inv(-H)))
    np.testing.assert_allclose(fit.estimates.loc[["Intercept_c", "b[x]", "sd[g:Int]"], "Std. Error"], se[:3], rtol=2e-3)


# -- printing and arguments ------------------------------------------------------------------------------------------


def test_print(fit):
    text = str(fit)
    assert "MAP estimation: Reaction ~ Days + (Days | Subject), family gaussian ( identity )" in text
    assert f"Negative Log-Posterior: {-fit.log_posterior:.2f}" in text
    assert "Random effects are stored separately: .ranef()" in text
    assert re.search(r"^b\[Days\] +10\.4\d+ +1\.4\d+", text, re.MULTILINE)
    assert "NOT CONVERGED" not in text
    assert repr(fit) == text
    html = fit._repr_html_()
    assert "<table" in html
    assert "b[Days]" in html
    assert "Negative Log-Posterior" in html


def test_long_tables_are_cut(fit, monkeypatch):
    monkeypatch.setattr("refglmm.bayes.map_fit.MOST_ROWS", 3)
    assert "... and 4 more rows in .estimates" in str(fit)
    assert "... and 4 more rows in .estimates" in fit._repr_html_()


def test_summary_chooses(fit):
    assert list(fit.summary("sd").index) == ["sd[Subject:Int]", "sd[Subject:Days]"]
    assert list(fit.summary(["b", "sigma"]).index) == ["b[Days]", "sigma"]
    own = fit.summary()
    own["Estimate"] = 0.0
    assert fit.estimates["Estimate"].min() > 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"se_method": "bootstrap"}, "se_method must be one of wald, sampling, none, not 'bootstrap'"),
        ({"prob": 1.0}, "prob must lie between 0 and 1"),
        ({"num_estimate": 0}, "at least one start"),
        ({"se_method": "sampling", "num_samples": 1}, "num_samples must be at least 2"),
    ],
)
def test_arguments(sleep, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        sleep.optimize(**arguments)


def test_draws_where_there_are_none(fit):
    with pytest.raises(NotAvailableError, match="se_method='sampling'"):
        _ = fit.draws
