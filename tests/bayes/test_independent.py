"""Independent draws: proposal densities, exact conditionals, closed-form marginal likelihood, k-hat, errors."""

import warnings

import numpy as np
import pytest
from scipy import integrate, stats

import refglmm as rg
from refglmm.bayes import independent
from refglmm.bayes.independent import SplitProposal, conditional_effects_draws, independent_draws
from refglmm.bayes.posterior import Posterior
from refglmm.bayes.priors import resolve
from refglmm.datasets import load
from refglmm.errors import ArgumentError, ParetoWarning


@pytest.fixture(scope="module")
def batches():
    """Six groups of five: random intercepts; a posterior whose conditionals are exactly Gaussian."""
    data = load("Dyestuff")
    data["y"] = (data["Yield"] - 1500.0) / 50.0
    model = rg.GLMM("y ~ 1 + (1 | Batch)", data)
    return Posterior(model.problem, resolve(rg.prior_normal(), model)), data


@pytest.fixture(scope="module")
def toenail():
    model = rg.GLMM("outcome ~ treatment * visit + (1 | patientID)", load("toenail"), family="binomial")
    return Posterior(model.problem, resolve(rg.prior_normal(), model))


@pytest.mark.parametrize("df", [np.inf, 5.0])
def test_density_of_the_hyperparameters(df):
    """It integrates to one, and tells where its draws lie."""
    split = SplitProposal(np.array([1.0, -2.0]), np.array([[1.0, 0.3], [0.0, 0.8]]), np.array([1.5, 0.7]),
                          np.array([0.6, 1.2]), df)  # fmt: skip
    n = 20_000
    draws, log_density = split.draw(n, np.random.default_rng(1))
    z = np.linalg.solve(split.axes, (draws - split.center).T)
    np.testing.assert_allclose((z > 0).mean(axis=1), split.up / (split.up + split.down), atol=0.015)
    scaled = np.where(z > 0, z / split.up[:, None], z / split.down[:, None])
    if np.isinf(df):
        expected = stats.multivariate_normal(np.zeros(2)).logpdf(scaled.T)
    else:
        expected = stats.multivariate_t(np.zeros(2), np.eye(2), df).logpdf(scaled.T)
    expected = expected + np.log(4.0 / np.prod(split.up + split.down)) - np.log(0.8)
    np.testing.assert_allclose(log_density, expected, rtol=1e-10)
    inside = np.abs(z).max(axis=0) < 0.5  # mean of 1/g over a set is its area: of a parallelogram of sides 1 and 1
    area = np.mean(inside / np.exp(log_density))
    assert abs(area - 0.8) < 4 * np.std(inside / np.exp(log_density)) / np.sqrt(n)


def test_half_axes_of_a_normal_density():
    assert independent._half_sd(2.0, 0.5 * (2.0 / 1.3) ** 2) == pytest.approx(1.3)
    assert independent._half_sd(1.0, -0.1) == independent.WIDEST
    assert independent._half_sd(1.0, np.inf) == independent.NARROWEST


def test_conditionals_of_a_gaussian_response_are_exact(batches):
    posterior, data = batches
    hyper = posterior.laplace().hyper + np.array([0.1, -0.2, 0.15])
    positions, log_weights = conditional_effects_draws(posterior, np.tile(hyper, (3000, 1)), np.random.default_rng(1))
    np.testing.assert_allclose(log_weights, 0.0, atol=1e-8)
    intercept, tau, sigma = hyper[0], np.exp(hyper[1]), np.exp(hyper[2])
    groups = data.groupby("Batch", observed=True)["y"]
    precision = 1.0 + groups.size().to_numpy() * tau**2 / sigma**2
    mean = tau * (groups.sum() - groups.size() * intercept).to_numpy() / sigma**2 / precision
    u = (positions[:, 3:] - mean) * np.sqrt(precision)
    assert np.abs(u.mean(axis=0)).max() < 4 / np.sqrt(3000)
    assert np.abs(np.cov(u.T) - np.eye(6)).max() < 5 * np.sqrt(2 / 3000)
    np.testing.assert_array_equal(positions[:, :3], np.tile(hyper, (3000, 1)))


@pytest.fixture(scope="module")
def log_integral(batches):
    """Given the SDs y is normal: what is left of the marginal likelihood is an integral in two dimensions."""
    data, level = batches[1], 50.0
    y, names = data["y"].to_numpy(), data["Batch"].astype(str).to_numpy()
    same, prior = np.equal.outer(names, names).astype(float), stats.expon(scale=5.0)

    def density(log_sigma, log_tau):
        tau, sigma = np.exp(log_tau), np.exp(log_sigma)
        V = 100.0 + tau**2 * same + sigma**2 * np.eye(y.size)
        value = stats.multivariate_normal(np.zeros(y.size), V).logpdf(y) + prior.logpdf(tau) + prior.logpdf(sigma)
        return np.exp(value + level + log_sigma + log_tau)

    x, t = np.linspace(-1.2, 1.2, 41), np.linspace(-7.0, 3.0, 81)
    grid = np.array([[density(a, b) for a in x] for b in t])
    return np.log(integrate.simpson(integrate.simpson(grid, x=x), x=t)) - level


@pytest.mark.parametrize("df", [None, 5.0])
@pytest.mark.parametrize("conditional", ["auto", "linear", "mode"])
def test_marginal_likelihood(batches, log_integral, conditional, df):
    found = quietly(batches[0], 1000, conditional=conditional, df=df, seed=2)
    assert abs(found.log_marginal - log_integral) < 4 * found.log_marginal_se + 0.01
    assert found.log_marginal_se < 0.2


def quietly(posterior, draws, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParetoWarning)
        return independent_draws(posterior, draws, **settings)


def test_centred_positions_hold_the_same_draws():
    model = rg.GLMM("cbind(incidence, size - incidence) ~ period + (1 | herd)", load("cbpp"), family="binomial")
    posterior = Posterior(model.problem, resolve(rg.prior_normal(), model))
    centred = posterior.with_exponent(np.ones(1))
    hyper = posterior.laplace().hyper + 0.1 * np.random.default_rng(1).normal(size=(5, posterior.n_hyper))
    one, log_one = conditional_effects_draws(posterior, hyper, np.random.default_rng(2))
    other, log_other = conditional_effects_draws(centred, hyper, np.random.default_rng(2))
    np.testing.assert_allclose(posterior.random_effects(one), other[:, posterior.n_hyper :], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(log_one, log_other, atol=1e-6)
    assert np.abs(log_one).max() > 1e-3  # binomial: not exact


def test_debate_data(shared_data):
    """Published log marginal likelihood -409.967; draws in milliseconds that k-hat allows."""
    model = rg.GLMM("sat ~ talk + perf + (1 | group)", shared_data("debate"))
    posterior = Posterior(model.problem, resolve(rg.prior_normal(), model))
    found = independent_draws(posterior, 1000, conditional="mode", seed=1)
    assert found.is_reliable
    assert abs(found.log_marginal + 409.967) < 3 * found.log_marginal_se
    assert found.log_marginal_se < 0.02
    values = dict(zip(posterior.names, posterior.reported(found.positions[0]).T, strict=True))
    assert values["sd[group:Int]"].mean() == pytest.approx(0.4711, abs=0.01)  # NUTS of the peers
    assert values["sd[group:Int]"].std() == pytest.approx(0.0741, abs=0.01)


def test_what_laplace_misses_is_said_plainly(toenail):
    with pytest.warns(ParetoWarning, match="NOT to be trusted: the approximation misses part of the posterior"):
        found = independent_draws(toenail, 40, conditional="linear", df=np.inf, seed=1)
    assert found.khat > 0.7
    assert not found.is_reliable
    assert "log marginal" not in repr(found)


def test_same_seed_same_draws(batches):
    one, same, other = (quietly(batches[0], 50, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.positions, same.positions)
    assert not np.array_equal(one.positions, other.positions)
    assert one.positions.shape == (1, 50, batches[0].dimension)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draws": 0}, "draws must be a whole number of at least 1, not 0"),
        ({"proposals": 5}, "proposals must be a whole number of at least 20, not 5"),
        ({"conditional": "exact"}, "conditional must be one of auto, linear, mode, not 'exact'"),
        ({"df": -1.0}, "df must be a positive number or inf, not -1.0"),
    ],
)
def test_arguments_that_make_no_sense(batches, settings, message):
    with pytest.raises(ArgumentError, match=message):
        independent_draws(batches[0], **settings)


@pytest.mark.parametrize(
    ("draws", "message"),
    [
        (np.zeros((2, 4)), r"hyper_draws must have shape \(draws, 3\), not \(2, 4\)"),
        (np.array([[0.0, 0.0, 0.0], [0.0, np.nan, 0.0]]), r"hyper_draws\[1\] is not finite"),
    ],
)
def test_hyper_draws_that_make_no_sense(batches, draws, message):
    with pytest.raises(ArgumentError, match=message):
        conditional_effects_draws(batches[0], draws, np.random.default_rng(1))
