"""Posterior densities at a point, against distributions that are known."""

from __future__ import annotations

import numpy as np
import pytest
from oracles_bayes import GaussianIntercept, random_walk
from scipy import stats

from refglmm.bayes.savage_dickey import shifted_density
from refglmm.errors import ArgumentError, DataError


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


def test_two_ways_to_a_bayes_factor():
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
    lp = full.log_posterior(x.reshape(-1, 5)).reshape(4, 1500)
    value, error = shifted_density(x, lp, full.log_posterior, 2, 0.0)
    assert abs(log_prior - value - exact) < 4.0 * error
    assert error < 0.05


@pytest.mark.parametrize(
    ("lp", "error", "message"),
    [
        (np.zeros(10), ArgumentError, r"lp must have shape \(chains, draws\), not \(10,\)"),
        (np.zeros((2, 3)), ArgumentError, r"lp must have shape \(chains, draws\), not \(2, 3\)"),
        (np.full((2, 10), np.nan), DataError, "lp is nan in draw 0 of chain 0"),
        (np.full((2, 10), -np.inf), DataError, "lp is -inf in draw 0 of chain 0"),
    ],
)
def test_log_densities_at_the_draws_are_looked_at(lp, error, message):
    with pytest.raises(error, match=message):
        shifted_density(np.zeros((2, 10, 3)), lp, np.sum, 0, 0.0)


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
