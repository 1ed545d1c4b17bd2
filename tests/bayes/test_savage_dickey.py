"""Posterior densities at a point, against distributions that are known."""

from __future__ import annotations

import numpy as np
import pytest
from oracles_bayes import GaussianIntercept, random_walk
from scipy import stats

from refglmm.bayes.savage_dickey import kernel_density, savage_dickey, shifted_density
from refglmm.errors import ArgumentError, DataError


def normal_draws(seed, phi=0.5, draws=500):
    rng = np.random.default_rng(seed)
    x = np.empty((4, draws))
    noise = rng.standard_normal(x.shape)
    x[:, 0] = noise[:, 0]
    for t in range(1, draws):
        x[:, t] = phi * x[:, t - 1] + np.sqrt(1 - phi**2) * noise[:, t]
    return x


@pytest.mark.parametrize("point", [0.0, 1.0, 2.0])
def test_kernel_density_of_a_normal(point):
    z = []
    for seed in range(40):
        value, error = kernel_density(3.0 + 0.1 * normal_draws(seed), 3.0 + 0.1 * point)
        z.append((value - stats.norm.logpdf(point, scale=1.0) + np.log(0.1)) / error)
    assert abs(np.mean(z)) < 4.0 / np.sqrt(40)
    assert 0.5 < np.std(z) < 1.5


def test_kernel_density_of_a_skewed_posterior_keeps_to_its_error():
    for seed in range(20):
        x = np.exp(0.3 * normal_draws(seed, phi=0.3))
        value, error = kernel_density(x, 1.0)
        assert abs(value - stats.lognorm.logpdf(1.0, 0.3)) < 4.0 * error
        assert error < 0.15


def test_a_point_beyond_the_draws_has_an_error_that_says_so():
    assert savage_dickey(normal_draws(1), 6.0, 0.0).error == np.inf
    assert savage_dickey(normal_draws(1), 60.0, 0.0).error == np.inf


def test_conditional_densities_are_averaged():
    """theta | psi ~ N(psi, 1), psi ~ N(0, 1): theta ~ N(0, 2)."""
    psi = normal_draws(2, phi=0.0)
    theta = psi + np.random.default_rng(3).standard_normal(psi.shape)
    found = savage_dickey(theta, 1.0, -1.5, log_conditional=stats.norm.logpdf(1.0, loc=psi))
    assert found.method == "conditional density"
    assert abs(found.log_bf - (-1.5 - stats.norm.logpdf(1.0, scale=np.sqrt(2.0)))) < 4.0 * found.error
    assert found.error < 0.02


def test_shifted_density_is_exact_for_a_normal_posterior_at_any_distance():
    """Up to the sampling errors of the slopes and the variance, which are weights only: no bias."""
    cov = np.array([[1.0, 0.6, -0.3], [0.6, 2.0, 0.5], [-0.3, 0.5, 1.5]])
    precision, rng = np.linalg.inv(cov), np.random.default_rng(4)

    def log_density(x):
        return -0.5 * np.einsum("...i,ij,...j", x, precision, x)

    x = rng.standard_normal((4, 1000, 3)) @ np.linalg.cholesky(cov).T
    value, error = shifted_density(x, log_density(x), log_density, 1, 5.0)
    assert abs(value - stats.norm.logpdf(5.0, scale=np.sqrt(2.0))) < 4.0 * error
    assert error < 0.05


def test_three_ways_to_a_bayes_factor():
    """log BF against a zero slope: by two exact marginal likelihoods and from the draws of the full model."""
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(20), 3)
    X = rng.standard_normal((60, 2))
    y = 1.0 + X @ [0.5, 0.2] + 0.6 * rng.standard_normal(20)[group] + 0.8 * rng.standard_normal(60)
    full, without = GaussianIntercept(y, X, group), GaussianIntercept(y, X[:, :1], group)
    grids = np.arange(-1.0, 0.8, 0.05), np.arange(-12.0, 2.0, 0.1)
    exact = full.log_marginal_likelihood(*grids) - without.log_marginal_likelihood(*grids)
    x = random_walk(full.log_posterior, *full.mode_and_covariance(), 4, 1500, rng)
    log_prior = stats.norm.logpdf(0.0, scale=10.0)
    kernel = savage_dickey(x[:, :, 2], 0.0, log_prior)
    lp = full.log_posterior(x.reshape(-1, 5)).reshape(4, 1500)
    value, error = shifted_density(x, lp, full.log_posterior, 2, 0.0)
    assert abs(kernel.log_bf - exact) < 4.0 * kernel.error
    assert abs(log_prior - value - exact) < 4.0 * error
    assert error < 0.05


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.zeros(5), 0.0, 0.0), ArgumentError, r"draws must have shape \(chains, draws\), not \(5,\)"),
        ((np.zeros((2, 50)), 0.0, 0.0), DataError, "draws are all equal"),
        ((np.full((2, 50), np.nan), 0.0, 0.0), DataError, "draws is nan in draw 0 of chain 0"),
        ((normal_draws(1), np.inf, 0.0), ArgumentError, "point must be a finite number, not inf"),
        ((normal_draws(1), 0.0, -np.inf), ArgumentError, "log_prior must be a finite number"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        savage_dickey(*arguments)


def test_densities_that_are_nan_are_refused():
    x = np.random.default_rng(6).standard_normal((2, 10, 3))
    with pytest.raises(DataError, match="the log density is nan at position"):
        shifted_density(x, np.zeros((2, 10)), lambda x: np.full(len(x), np.nan), 0, 0.0)


def test_shifted_density_refuses_other_shapes():
    x = np.zeros((2, 10, 3))
    with pytest.raises(ArgumentError, match="a coordinate among them"):
        shifted_density(x, np.zeros((2, 10)), np.sum, 3, 0.0)
    with pytest.raises(DataError, match="all equal"):
        shifted_density(x, np.zeros((2, 10)), np.sum, 0, 0.0)
