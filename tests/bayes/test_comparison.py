"""Marginal likelihoods, Bayes factors, sensitivity and predictive accuracy of fits, against exact numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from oracles_bayes import GaussianIntercept, hermite_rule
from scipy import stats
from scipy.special import logsumexp

import refglmm as rg
from refglmm.bayes.comparison import fixed_posterior, group_log_lik, log_marginal_likelihood, require_proper
from refglmm.bayes.information import loo
from refglmm.errors import ArgumentError, NotAvailableError, ParetoWarning, WaicWarning

GRID = np.linspace(-2.5, 2.5, 201), np.linspace(-6.0, 3.0, 301)


def make_data(seed=6, groups=20, rows=3):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"g": np.repeat(np.arange(groups), rows)})
    data["x"] = rng.normal(3.0, 1.0, len(data))
    data["y"] = 2.0 + 0.25 * data.x + rng.normal(0.0, 1.0, groups)[data.g] + rng.normal(0.0, 0.6, len(data))
    return data


DATA = make_data()


class WithSlope(GaussianIntercept):
    """The slope's prior has another SD than the intercept's."""

    def __init__(self, slope_sd):
        super().__init__(DATA.y, DATA.x, DATA.g)
        self.A = self.A * np.array([1.0, slope_sd / self.prior_sd])


@pytest.fixture(scope="module")
def exact():
    """Log marginal likelihoods by numerical integration: with the slope, without it."""
    return {
        "full": GaussianIntercept(DATA.y, DATA.x, DATA.g).log_marginal_likelihood(*GRID),
        "null": GaussianIntercept(DATA.y, np.empty((len(DATA), 0)), DATA.g).log_marginal_likelihood(*GRID),
    }


def sampled(formula="y ~ x + (1 | g)", prior=None, seed=1):
    model = rg.GLMM(formula, DATA, prior=rg.prior_normal() if prior is None else prior)
    return model.sample(chains=4, sampling=700, warmup=300, seed=seed, progress=False)


@pytest.fixture(scope="module")
def fit():
    return sampled()


@pytest.fixture(scope="module")
def null():
    return sampled("y ~ 1 + (1 | g)", seed=2)


@pytest.fixture(scope="module")
def jzs():
    return sampled(prior=rg.prior_jzs(), seed=3)


# -- marginal likelihood ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"method": "warp3"}, {"marginal": True}])
def test_bridge_is_the_integral(fit, exact, settings):
    result = fit.bridge_sampling(seed=4, **settings)
    assert result.error < 0.06
    assert abs(result.logml - exact["full"]) < 4 * max(result.error, 0.005)


def test_laplaces_approximation_is_near_it(fit, exact):
    assert fit.posterior.laplace().log_marginal == pytest.approx(exact["full"], abs=0.3)


def test_other_draws_have_no_bridge(fit):
    with pytest.raises(NotAvailableError, match=r"use sample\(\)"):
        fit.model.laplace_draws(draws=200, seed=1).bridge_sampling()


def test_improper_priors_are_refused_by_name(jzs):
    with pytest.raises(NotAvailableError, match="the prior of Intercept_c, sigma does not integrate to one") as caught:
        log_marginal_likelihood(jzs)
    assert caught.value.facts["improper"] == ("Intercept_c", "sigma")
    require_proper(jzs.posterior, shared=("Intercept_c", "sigma"))


# -- Bayes factors ---------------------------------------------------------------------------------------------------


def test_against_a_fixed_slope(fit, exact):
    factor = fit.bayes_factor({"b[x]": 0.0}, seed=3)
    wanted = exact["full"] - exact["null"]
    assert abs(factor.log_bf - wanted) < 4 * factor.error
    assert factor.error < 0.08
    check = factor.savage_dickey
    assert abs(check.log_bf - wanted) < 4 * max(check.error, 0.02)
    assert "Model 2 has b[x] = 0" in str(factor)


def test_against_another_fit(fit, null, exact):
    factor = fit.bayes_factor(comparison=null)
    assert abs(factor.log_bf - (exact["full"] - exact["null"])) < 4 * factor.error
    assert "Model 2 is y ~ 1 + (1 | g)" in str(factor)
    assert null.bayes_factor(comparison=fit).log_bf == pytest.approx(-factor.log_bf, abs=1e-12)


def test_against_no_random_effects(fit):
    """A standard deviation fixed at zero is the model without groups, an integral over sigma alone."""
    own = GaussianIntercept(DATA.y, DATA.x, DATA.g)
    grid = GRID[0]
    values = own.given_scales(grid, np.full(grid.size, -30.0)) + np.log(0.2) - 0.2 * np.exp(grid) + grid
    without = logsumexp(values) + np.log(grid[1] - grid[0])
    factor = fit.bayes_factor({"sd[g:Int]": 0.0}, seed=3)
    assert abs(factor.log_bf - (own.log_marginal_likelihood(*GRID) - without)) < 4 * factor.error


def test_shared_improper_priors_cancel(jzs):
    """jzs against no slope: the one-dimensional integral over g that defines the Cauchy prior, without groups' part."""
    other = sampled("y ~ 1 + (1 | g)", prior=rg.prior_jzs(), seed=5)
    factor = jzs.bayes_factor(comparison=other)
    xc, n = (DATA.x - DATA.x.mean()).to_numpy(), len(DATA)
    unit = np.mean(xc**2)
    Z = np.eye(20)[DATA.g]
    rate = next(s.prior for s in jzs.posterior.scalars if s.name == "sd[g:Int]").rate

    log_sigma, log_tau, log_g = np.linspace(-1.2, 0.3, 21), np.linspace(-3.0, 2.0, 26), np.linspace(-6.0, 16.0, 67)
    prior = stats.invgamma(0.5, scale=0.5 * 0.707**2).logpdf(np.exp(log_g)) + log_g + np.log(log_g[1] - log_g[0])
    with_slope, without = [], []
    for a, b in itertools.product(log_sigma, log_tau):  # intercept and slope in closed form, given these and g
        V = np.exp(2 * a) * np.eye(n) + np.exp(2 * b) * Z @ Z.T
        P = np.linalg.inv(V)
        one = P.sum(axis=1)
        M = P - np.outer(one, one) / one.sum()
        base = -0.5 * ((n - 1) * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + np.log(one.sum()) + DATA.y @ M @ DATA.y)
        base += np.log(rate) - rate * np.exp(b) + b  # d sigma / sigma = d log sigma
        v = np.exp(log_g + 2 * a) / unit  # variance of the slope
        xMx, xMy = xc @ M @ xc, xc @ M @ DATA.y
        without.append(base)
        with_slope.append(base + logsumexp(prior - 0.5 * np.log1p(v * xMx) + 0.5 * v * xMy**2 / (1 + v * xMx)))
    assert abs(factor.log_bf - (logsumexp(with_slope) - logsumexp(without))) < 4 * factor.error + 0.005


def test_other_data_are_refused(fit):
    model = rg.GLMM("y ~ x + (1 | g)", DATA.assign(y=DATA.y + 1.0), prior=rg.prior_normal())
    other = model.sample(chains=4, sampling=700, warmup=300, seed=1, progress=False)
    with pytest.raises(ArgumentError, match="same response and rows; these differ"):
        fit.bayes_factor(comparison=other)
    with pytest.raises(ArgumentError, match="just one of fixed= and comparison="):
        fit.bayes_factor()
    with pytest.raises(ArgumentError, match="just one of fixed= and comparison="):
        fit.bayes_factor({"b[x]": 0}, other)


# -- fixed parameters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fixed", "error", "message"),
    [
        ({}, ArgumentError, "names no parameter"),
        ({"b[z]": 0}, ArgumentError, r"names 'b\[z\]', which is no parameter; there are: Intercept_c, b\[x\], sd"),
        ({"sigma": -1.0}, ArgumentError, r"sigma must lie in \[0, inf\], not be -1"),
        ({"b[x]": np.nan}, ArgumentError, r"b\[x\] must lie in \[-inf, inf\], not be nan"),
        ({"Intercept": 0}, NotAvailableError, "Intercept is no parameter here: the posterior is that of Intercept_c"),
    ],
)
def test_what_cannot_be_fixed(fit, fixed, error, message):
    with pytest.raises(error, match=message):
        fixed_posterior(fit.posterior, fixed)


def test_what_cannot_be_fixed_by_itself(jzs):
    with pytest.raises(NotAvailableError, match="shares its prior with others"):
        fixed_posterior(jzs.posterior, {"b[x]": 0.0})
    slopes = rg.GLMM("y ~ x + (x | g)", DATA, prior=rg.prior_normal()).posterior
    with pytest.raises(NotAvailableError, match=r"partial\[g:Int,x\] cannot be fixed by itself"):
        fixed_posterior(slopes, {"partial[g:Int,x]": 0.0})
    graded = DATA.assign(grade=pd.Categorical(np.digitize(DATA.y, [2.0, 3.0]), ordered=True))
    ordinal = rg.GLMM("grade ~ x + (1 | g)", graded, "ordered", prior=rg.prior_normal()).posterior
    with pytest.raises(NotAvailableError, match=r"cutpoints\[0\|1\] cannot be fixed by itself"):
        fixed_posterior(ordinal, {"cutpoints[0|1]": 0.0})


def test_a_base_name_fixes_all_and_an_intercept_without_predictors_is_one(null):
    posterior = rg.GLMM("y ~ x + I(x**2) + (1 | g)", DATA, prior=rg.prior_normal()).posterior
    fixed = fixed_posterior(posterior, {"b": 0.0})
    assert fixed.hyper_names == ("Intercept_c", "sd[g:Int]", "sigma")
    assert fixed_posterior(null.posterior, {"Intercept": 2.0}).hyper_names == ("sd[g:Int]", "sigma")
    values = fixed.reported(np.zeros((1, fixed.dimension)))[0]
    assert dict(zip(fixed.names, values, strict=True))["b[x]"] == 0.0


# -- sensitivity -----------------------------------------------------------------------------------------------------


def test_prior_sensitivity(fit, exact):
    scales = [0.3, 10.0]
    table = fit.prior_sensitivity("b[x]", scales, seed=2)
    assert table.index.tolist() == scales
    assert list(table.columns) == ["log_bf", "error", "logml", "evidence"]
    wanted = np.array([WithSlope(s).log_marginal_likelihood(*GRID) for s in scales]) - exact["null"]
    assert np.all(np.abs(table["log_bf"] - wanted) < 4 * np.maximum(table["error"], 0.01))
    assert np.all(np.diff(table["log_bf"]) < 0)  # a wider prior says less about a slope near zero
    for wrong in ([], [-1.0], [np.inf]):
        with pytest.raises(ArgumentError, match="scales must be positive numbers"):
            fit.prior_sensitivity("b[x]", wrong)


# -- predictive accuracy ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def binary():
    rng = np.random.default_rng(9)
    data = pd.DataFrame({"g": np.repeat([f"s{j:02d}" for j in range(12)], 6)})
    data["hit"] = rng.binomial(1, 1 / (1 + np.exp(-np.repeat(rng.normal(0.3, 1.0, 12), 6))))
    model = rg.GLMM("hit ~ 1 + (1 | g)", data, "bernoulli", prior=rg.prior_normal())
    return model.sample(chains=4, sampling=1000, warmup=300, seed=1, progress=False)


def log_odds(k, eta):
    """Log probability of k successes in six rows."""
    return -k * np.logaddexp(0.0, -eta) - (6 - k) * np.logaddexp(0.0, eta)


def test_group_likelihoods_by_quadrature(binary):
    values, labels = group_log_lik(binary, "g", n_agq=25, max_draws=20)
    assert values.shape == (4, 5, 12)
    assert labels == [f"s{j:02d}" for j in range(12)]
    at = np.unique(np.linspace(0, 999, 5).astype(int))[4]
    intercept, sd = binary.draws.positions[1, at, 0], np.exp(binary.draws.positions[1, at, 1])
    nodes, log_weights = hermite_rule(80)
    eta = intercept + sd * nodes
    hits = binary.model.frame.y.reshape(12, 6).sum(axis=1)
    wanted = [logsumexp(log_odds(k, eta) + log_weights) for k in hits]
    np.testing.assert_allclose(values[1, 4], wanted, rtol=1e-8)


def test_leaving_out_groups(binary):
    """Against p(y) / p(y without the group), integrals over intercept and log sd on a grid."""
    result = binary.loo(by="g", n_agq=15, max_draws=2000)
    nodes, log_weights = hermite_rule(60)
    intercept, log_sd = np.meshgrid(np.linspace(-5.0, 6.0, 89), np.linspace(-8.0, 2.5, 85))
    log_prior = stats.norm.logpdf(intercept, 0, 10) + stats.expon.logpdf(np.exp(log_sd), scale=5.0) + log_sd
    eta = intercept[..., None] + np.exp(log_sd)[..., None] * nodes
    of_count = np.array([logsumexp(log_odds(k, eta) + log_weights, axis=2) for k in range(7)])
    hits = binary.model.frame.y.reshape(12, 6).sum(axis=1).astype(int)
    whole = log_prior + of_count[hits].sum(axis=0)
    exact = np.array([logsumexp(whole) - logsumexp(whole - of_count[k]) for k in hits])
    table = result.pointwise
    assert np.all(np.abs(table["elpd"] - exact) < 4 * table["mcse"] + 0.005)
    # the groups share their draws, so their errors add up
    assert result.elpd == pytest.approx(exact.sum(), abs=2 * table["mcse"].sum())


def test_rows_given_their_random_effects(fit):
    with pytest.warns(ParetoWarning, match="Pareto k above"):  # a row is a third of what is known of its group
        one = fit.loo()
    with pytest.warns(ParetoWarning):
        rows = loo(fit.log_lik).pointwise
    with pytest.warns(WaicWarning):
        two = fit.waic()
    assert len(one.pointwise) == len(DATA)
    log_lik = fit.log_lik.reshape(-1, len(DATA))
    lppd = (logsumexp(log_lik, axis=0) - np.log(len(log_lik))).sum()
    assert two.elpd == pytest.approx(lppd - log_lik.var(axis=0, ddof=1).sum(), rel=1e-6)
    np.testing.assert_array_equal(one.pointwise["elpd"], rows["elpd"])


def test_groups_that_cannot_be_left_out(fit):
    with pytest.raises(NotAvailableError, match=r"groups of 'h' cannot be left out .* effects are grouped by g"):
        fit.loo(by="h")
