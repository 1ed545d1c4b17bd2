"""Random effects integrated out: exact values, gradients, modes from anywhere, singular and separated data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from oracles_bayes import GaussianIntercept, hermite_rule
from scipy.special import logsumexp

import refglmm as rg
from refglmm.bayes import whiten
from refglmm.bayes.laplace import (
    Marginal,
    difference_columns,
    find_mode,
    laplace_fit,
    laplace_whitening,
    log_jacobian,
    root_of_effects,
)
from refglmm.errors import ConvergenceWarning, RankDeficiencyWarning, SeparationWarning, SingularFitWarning


def make_data(seed=5, groups=6, rows=5):
    rng = np.random.default_rng(seed)
    n = groups * rows
    data = pd.DataFrame({"g": np.repeat(np.arange(groups), rows), "h": np.tile(np.arange(rows), groups)})
    data["x"], data["z"] = rng.normal(1.0, 1.0, n), rng.normal(0.0, 1.0, n)
    eta = 0.2 + 0.5 * data.x + rng.normal(0.0, 0.8, groups)[data.g]
    data["y"] = eta + rng.normal(0.0, 0.6, n)
    data["hit"], data["count"] = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(int), rng.poisson(np.exp(0.5 * eta))
    data["grade"] = pd.Categorical(np.digitize(data.y, [0.0, 1.0]), ordered=True)
    return data


DATA = make_data()


def marginal(formula, family="gaussian", prior=None, data=DATA, jacobian=True, **arguments):
    model = rg.GLMM(formula, data, family, prior=rg.prior_normal() if prior is None else prior, **arguments)
    return Marginal(model.posterior, jacobian)


def somewhere(target, seed=3):
    return 0.4 * np.random.default_rng(seed).standard_normal(target.posterior.n_hyper)


# -- value and gradient ----------------------------------------------------------------------------------------------


def test_a_gaussian_response_is_integrated_exactly():
    """Closed form of block compound symmetry; our hyperparameters are (beta, log sd, log sigma)."""
    target, exact = marginal("y ~ x + (1 | g)"), GaussianIntercept(DATA.y, DATA.x, DATA.g)
    for seed in (1, 2, 3):
        t = somewhere(target, seed)
        wanted = exact.log_posterior(t[[0, 1, 3, 2]][None])[0]
        assert target.value(t) == pytest.approx(wanted, rel=1e-11)
        assert target.value_and_gradient(t)[0] == pytest.approx(wanted, rel=1e-11)


def test_a_bernoulli_response_within_the_error_of_laplace():
    """Three groups by quadrature: the error is there, and small."""
    data = make_data(7, 3, 8)
    target = marginal("hit ~ x + (1 | g)", "bernoulli", data=data)
    t = np.array([0.3, 0.5, -0.2])
    nodes, log_weights = hermite_rule(60)
    eta = t[0] + t[1] * (data.x - data.x.mean()).to_numpy()[:, None] + np.exp(t[2]) * nodes
    rows = np.where(data.hit.to_numpy()[:, None] == 1, -np.log1p(np.exp(-eta)), -np.log1p(np.exp(eta)))
    exact = sum(logsumexp(rows[data.g == g].sum(axis=0) + log_weights) for g in range(3))
    prior = -0.5 * np.sum((t[:2] / 10) ** 2 + np.log(2 * np.pi * 100)) + np.log(0.2) - 0.2 * np.exp(t[2]) + t[2]
    error = target.value(t) - exact - prior
    assert 1e-4 < abs(error) < 0.02 * 3


CASES = {
    "slopes": ("y ~ x + (x | g)", "gaussian", None),
    "crossed": ("hit ~ x + (1 | g) + (1 | h)", "bernoulli", None),
    "counts": ("count ~ x + (x || g)", "poisson", None),
    "thresholds": ("grade ~ x + (1 | g)", "ordered", None),
    "horseshoe": ("y ~ x + z + (1 | g)", "gaussian", rg.prior_rhs(y_range=(-3, 3))),
    "spike": ("y ~ x + z + (1 | g)", "gaussian", rg.prior_ssp(y_range=(-3, 3))),
    "jzs": ("y ~ x + z + (1 | g)", "gaussian", rg.prior_jzs()),
}


@pytest.mark.parametrize("jacobian", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_gradient_equals_differences(name, jacobian):
    formula, family, prior = CASES[name]
    target = marginal(formula, family, prior, jacobian=jacobian)
    t = somewhere(target)
    value, gradient = target.value_and_gradient(t)
    assert target.value(t) == pytest.approx(value, rel=1e-12)
    wanted = difference_columns(lambda at: np.array([target.value(at)]), t, np.ones(t.size))[0]
    np.testing.assert_allclose(gradient, wanted, rtol=2e-6, atol=2e-6 * np.abs(wanted).max())


def test_with_and_without_the_jacobian():
    one, two = (marginal("y ~ x + (1 | g)", jacobian=flag) for flag in (True, False))
    t = somewhere(one)
    value, slope = log_jacobian(one.posterior, t)
    assert value == pytest.approx(t[2] + t[3], rel=1e-12)  # both deviations on the log scale
    np.testing.assert_allclose(slope, [0.0, 0.0, 1.0, 1.0], atol=1e-12)
    assert one.value(t) - two.value(t) == pytest.approx(value, rel=1e-10)
    assert one.log_jacobian(t) == pytest.approx(value)


def test_where_nothing_is_finite_the_density_is_zero():
    target = marginal("y ~ x + (1 | g)")
    t = somewhere(target)
    t[2] = 900.0
    assert target.value(t) == -np.inf
    value, gradient = target.value_and_gradient(t)
    assert value == -np.inf
    assert np.all(np.isnan(gradient))


# -- mode and curvature ----------------------------------------------------------------------------------------------


def test_mode_and_curvature_of_a_gaussian_model():
    posterior = marginal("y ~ x + (1 | g)").posterior
    fit, exact = posterior.laplace(), GaussianIntercept(DATA.y, DATA.x, DATA.g)
    order = [0, 1, 3, 2]
    mode, covariance = exact.mode_and_covariance()
    np.testing.assert_allclose(fit.hyper[order], mode, atol=2e-4)
    np.testing.assert_allclose(fit.covariance[np.ix_(order, order)], covariance, rtol=2e-2, atol=1e-4)
    np.testing.assert_allclose(fit.root @ fit.root.T, fit.covariance, rtol=1e-10)
    assert fit.converged
    assert posterior.laplace() is fit
    log_marginal = fit.log_density + 2.0 * np.log(2.0 * np.pi) + 0.5 * np.linalg.slogdet(fit.covariance)[1]
    assert fit.log_marginal == pytest.approx(log_marginal, rel=1e-12)


def test_random_effects_at_the_mode():
    """Mode, slope and precision of u in closed form for normal data."""
    posterior = marginal("y ~ x + (1 | g)").posterior
    fit = posterior.laplace()
    counts = np.bincount(DATA.g)

    def mode(t):
        residual = DATA.y - t[0] - t[1] * (DATA.x - DATA.x.mean())
        sd, s2 = np.exp(t[2]), np.exp(2 * t[3])
        return sd / s2 * np.bincount(DATA.g, residual) / (1.0 + counts * sd**2 / s2)

    np.testing.assert_allclose(fit.u, mode(fit.hyper), rtol=1e-9)
    np.testing.assert_allclose(fit.slope, difference_columns(mode, fit.hyper, np.full(4, 0.1)), rtol=1e-6, atol=1e-8)
    precision = 1.0 + counts * np.exp(2 * (fit.hyper[2] - fit.hyper[3]))
    np.testing.assert_allclose(fit.factor.logdet(), np.log(precision).sum(), rtol=1e-10)
    Lambda = root_of_effects(posterior, fit.hyper).toarray()
    np.testing.assert_allclose(Lambda, np.exp(fit.hyper[2]) * np.eye(6), rtol=1e-12)
    np.testing.assert_array_equal(fit.position, np.concatenate([fit.hyper, fit.u]))


@pytest.mark.parametrize("away", [[8.0, -6.0, 4.0, 5.0], [-9.0, 3.0, -7.0, -3.0], [0.0, 0.0, 6.0, -6.0]])
def test_the_mode_is_found_from_awkward_starts(away):
    target = marginal("y ~ x + (1 | g)")
    wanted = target.posterior.laplace()
    _, sizes = target.start()
    minimum, H = find_mode(target, np.array(away), sizes)
    assert minimum.success
    np.testing.assert_allclose(minimum.x, wanted.hyper, atol=1e-4)
    np.testing.assert_allclose(np.linalg.inv(H), wanted.covariance, rtol=1e-3, atol=1e-6)


def test_bounded_priors_start_inside_their_bounds():
    from refglmm.bayes.distributions import Normal, Uniform

    coefficients = {"b[x]": Normal(0.0, 1.0).truncated(2.0), "b[z]": Uniform(-1.0, 1.0)}
    prior = rg.prior_normal(coefficients=coefficients)
    fit = laplace_fit(marginal("y ~ x + z + (1 | g)", prior=prior).posterior)
    assert fit.converged
    x = marginal("y ~ x + z + (1 | g)", prior=prior).posterior.natural(fit.hyper[None])[0][0]
    assert x[1] > 2.0
    assert -1.0 < x[2] < 1.0


def test_its_coordinates_have_the_covariance_of_the_joint_approximation():
    """Cov h = C C', and for effects that follow h by the slope J: Cov(h, u) = C C' J', Cov u = J C C' J' + H^-1."""
    posterior = marginal("count ~ x + (1 | g) + (1 | h)", "poisson").posterior
    fit, n = posterior.laplace(), posterior.n_hyper
    W = laplace_whitening(posterior)
    np.testing.assert_array_equal(W.center, fit.position)
    covariance, across = whiten.covariance(W), fit.covariance @ fit.slope.T
    np.testing.assert_allclose(covariance[:n, :n], fit.covariance, rtol=1e-10)
    np.testing.assert_allclose(covariance[:n, n:], across, atol=1e-10)
    given = np.linalg.inv(fit.precision.toarray())
    np.testing.assert_allclose(covariance[n:, n:], fit.slope @ across + given, atol=1e-10)


# -- hard data -------------------------------------------------------------------------------------------------------


def flat_groups():
    """Group means that agree exactly: the likelihood of the random effects' SD is highest at zero."""
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"g": np.repeat(np.arange(6), 6)})
    e = rng.normal(0.0, 1.0, (6, 6))
    data["y"] = (e - e.mean(axis=1, keepdims=True)).ravel() + 3.0
    return data


def test_a_singular_fit_under_flat_priors_is_said_to_be_one():
    with pytest.warns(SingularFitWarning, match=r"singular: sd\[g:Int\] at zero"):
        fit = rg.GLMM("y ~ 1 + (1 | g)", flat_groups()).optimize()
    assert fit.mode.at_boundary == ("sd[g:Int]",)
    assert np.isnan(fit.log_marginal)
    row = fit.estimates.loc["sd[g:Int]"]
    assert row["Estimate"] < 1e-3
    assert np.isnan(row["Std. Error"])
    assert "sd[g:Int]; no standard errors" in str(fit)
    others = fit.estimates.drop(index="sd[g:Int]")
    data = flat_groups()
    assert others.loc["sigma", "Estimate"] == pytest.approx(data.y.std(ddof=0), rel=1e-4)  # as without the groups
    assert np.all(np.isfinite(others.to_numpy()))
    assert np.all(fit.ranef()["g"]["Std. Error"] < 1e-2)


def test_the_same_data_under_a_prior_are_no_trouble():
    posterior = rg.GLMM("y ~ 1 + (1 | g)", flat_groups(), prior=rg.prior_normal()).posterior
    assert posterior.laplace().converged


def separated():
    data = pd.DataFrame({"g": np.tile(np.arange(5), 8), "x": np.repeat([0.0, 1.0], 20)})
    rng = np.random.default_rng(2)
    data["hit"] = np.where(data.x == 1.0, 1, rng.integers(0, 2, 40))
    return data


def test_separation_runs_away_under_a_flat_prior_only():
    model = rg.GLMM("hit ~ x + (1 | g)", separated(), "bernoulli", prior=rg.prior_normal(None, None))
    with pytest.warns(SeparationWarning, match=r"improper, by separation: nothing holds Intercept_c, b\[x\]"):
        flat = model.posterior.laplace()
    assert not flat.converged
    assert flat.hyper[1] > 8.0
    centred = rg.GLMM("hit ~ x + (1 | g)", separated(), "bernoulli", prior=rg.prior_normal(10.0, None)).posterior
    assert centred.laplace().converged  # the intercept's prior holds both: the slope turns about the means
    held = rg.GLMM("hit ~ x + (1 | g)", separated(), "bernoulli", prior=rg.prior_normal(b_sd=2.5)).posterior.laplace()
    assert held.converged
    assert 0.5 < held.hyper[1] < 6.0


def test_collinear_columns_are_dropped_before():
    data = DATA.assign(twice=2.0 * DATA.x)
    with pytest.warns(RankDeficiencyWarning):
        model = rg.GLMM("y ~ x + twice + (1 | g)", data, prior=rg.prior_normal())
    assert model.posterior.hyper_names == ("Intercept_c", "b[x]", "sd[g:Int]", "sigma")
    assert model.posterior.laplace().converged


def test_without_convergence_there_is_a_warning(monkeypatch):
    monkeypatch.setattr("refglmm.bayes.laplace.MAX_EVALUATIONS", 2)
    with pytest.warns(ConvergenceWarning, match="the mode of the posterior was not found: maximum number of eval"):
        fit = laplace_fit(marginal("y ~ x + (1 | g)").posterior)
    assert not fit.converged


def test_ordered_thresholds_below_zero_are_no_gaps_out_of_bounds():
    """The upper thresholds are negative, where the bounds of the gaps between them say nothing."""
    rng = np.random.default_rng(3)
    codes = np.repeat([0, 1, 2, 3], [15, 20, 8, 57])[rng.permutation(100)]
    data = pd.DataFrame({"x": rng.standard_normal(100), "g": pd.Categorical(np.repeat(np.arange(20), 5))})
    data["y"] = pd.Categorical.from_codes(codes, list("abcd"), ordered=True)
    posterior = rg.GLMM("y ~ x + (1 | g)", data, "ordered", prior=rg.prior_weak()).posterior
    fit = posterior.laplace()
    start = Marginal(posterior).start()[0]
    assert np.all(np.isfinite(start))
    _, gradient = Marginal(posterior).value_and_gradient(fit.hyper)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-4)
