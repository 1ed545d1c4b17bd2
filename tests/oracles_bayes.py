"""Marginal likelihoods by brute force, sharing no code with the package.

* Gaussian response, one random intercept, ``prior_normal``: given the two standard deviations everything is normal, so
  the marginal likelihood is a two-dimensional integral of a closed form, and the log posterior of the hyperparameters
  is another closed form (block compound symmetry).
* Probit model with a random intercept (the turtles): Gauss-Hermite quadrature within groups and over the coefficients,
  and the trapezoidal rule over the log variance.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy.optimize import minimize
from scipy.special import log_ndtr, logsumexp

LOG_2PI = np.log(2.0 * np.pi)


def hermite_rule(k):
    """Nodes and log weights for integrals against the standard normal density."""
    nodes, weights = hermegauss(k)
    return nodes, np.log(weights) - 0.5 * LOG_2PI


def numeric_hessian(f, x, step=1e-3):
    H = np.empty((len(x), len(x)))
    for i, a in enumerate(step * np.eye(len(x))):
        for j, b in enumerate(step * np.eye(len(x))):
            H[i, j] = (f(x + a + b) - f(x + a - b) - f(x - a + b) + f(x - a - b)) / (4 * step**2)
    return H


class GaussianIntercept:
    """y = (1, X - mean) beta + b_group + e with beta ~ N(0, 10^2), sigma and sd ~ Exp(rate 1/5).

    Positions are (beta, log sigma, log sd), and (beta, log sigma, log sd, u) with b = sd u in `log_joint`.
    """

    prior_sd, rate = 10.0, 0.2

    def __init__(self, y, X, group):
        X = np.asarray(X, dtype=float).reshape(len(y), -1)
        self.y = np.asarray(y, dtype=float)
        self.A = np.column_stack([np.ones(len(y)), X - X.mean(axis=0)])
        _, self.group = np.unique(group, return_inverse=True)
        self.Z = np.eye(self.group.max() + 1)[self.group]
        self.counts = self.Z.sum(axis=0)
        self.p = self.A.shape[1]

    def log_prior_scales(self, log_scales):
        """Both exponential priors, on the log scale."""
        return np.sum(np.log(self.rate) - self.rate * np.exp(log_scales) + log_scales, axis=-1)

    def given_scales(self, log_sigma, log_sd):
        """log p(y | sigma, sd), beta integrated out, of arrays (m,).

        V is compound symmetric in each group, so A'V^-1 A etc. need sums within groups only.
        """
        s2, t2 = np.exp(2 * log_sigma), np.exp(2 * log_sd)
        full = np.column_stack([self.A, self.y])
        sums = self.Z.T @ full
        marginal = s2[:, None] + t2[:, None] * self.counts
        between = np.einsum("mg,gi,gj->mij", 1.0 / marginal, sums, sums, optimize=True)
        products = (full.T @ full - t2[:, None, None] * between) / s2[:, None, None]
        precision = products[:, :-1, :-1] + np.eye(self.p) / self.prior_sd**2
        cross = products[:, :-1, -1:]
        quadratic = products[:, -1, -1] - np.sum(cross * np.linalg.solve(precision, cross), axis=(1, 2))
        log_det = (len(self.y) - len(self.counts)) * np.log(s2) + np.log(marginal).sum(axis=1)
        log_det += np.linalg.slogdet(precision)[1] + 2 * self.p * np.log(self.prior_sd)
        return -0.5 * (len(self.y) * LOG_2PI + log_det + quadratic)

    def given_scales_densely(self, log_sigma, log_sd):
        """The same from the covariance matrix of y."""
        V = self.prior_sd**2 * self.A @ self.A.T + np.exp(2 * log_sd) * self.Z @ self.Z.T
        V[np.diag_indices(len(self.y))] += np.exp(2 * log_sigma)
        L = np.linalg.cholesky(V)
        half = np.linalg.solve(L, self.y)
        return -0.5 * (len(self.y) * LOG_2PI + half @ half) - np.log(np.diag(L)).sum()

    def log_marginal_likelihood(self, sigma, sd):
        """Trapezoidal rule over grids of log sigma and log sd that reach into both tails."""
        grid = np.array(np.meshgrid(sigma, sd)).reshape(2, -1)
        values = self.given_scales(*grid) + self.log_prior_scales(grid.T)
        return float(logsumexp(values) + np.log((sigma[1] - sigma[0]) * (sd[1] - sd[0])))

    def log_posterior(self, positions):
        """Unnormalised, of (m, p + 2) positions: inverse and determinant of compound symmetry in closed form."""
        beta, log_scales = positions[:, : self.p], positions[:, self.p :]
        s2, t2 = np.exp(2 * log_scales).T
        residual = self.y - beta @ self.A.T
        sums = residual @ self.Z
        marginal = s2[:, None] + self.counts * t2[:, None]
        quadratic = np.sum(residual**2, axis=1) / s2 - t2 / s2 * np.sum(sums**2 / marginal, axis=1)
        log_det = (len(self.y) - len(self.counts)) * np.log(s2) + np.log(marginal).sum(axis=1)
        likelihood = -0.5 * (len(self.y) * LOG_2PI + log_det + quadratic)
        return likelihood + self.log_prior_beta(beta) + self.log_prior_scales(log_scales)

    def log_prior_beta(self, beta):
        return -0.5 * np.sum(LOG_2PI + 2 * np.log(self.prior_sd) + (beta / self.prior_sd) ** 2, axis=-1)

    def log_joint(self, positions):
        """Unnormalised, of (m, p + 2 + groups) positions."""
        beta, log_scales, u = np.split(positions, [self.p, self.p + 2], axis=1)
        residual = self.y - beta @ self.A.T - (np.exp(log_scales[:, 1:]) * u)[:, self.group]
        sigma2 = np.exp(2 * log_scales[:, :1])
        likelihood = -0.5 * np.sum(LOG_2PI + np.log(sigma2) + residual**2 / sigma2, axis=1)
        effects = -0.5 * np.sum(LOG_2PI + u**2, axis=1)
        return likelihood + effects + self.log_prior_beta(beta) + self.log_prior_scales(log_scales)

    def draw_effects(self, positions, rng):
        """Exact draws of u given (m, p + 2) positions."""
        beta, log_scales = positions[:, : self.p], positions[:, self.p :]
        s2, t = np.exp(2 * log_scales[:, :1]), np.exp(log_scales[:, 1:])
        precision = 1.0 + self.counts * t**2 / s2
        mean = t / s2 * ((self.y - beta @ self.A.T) @ self.Z) / precision
        return mean + rng.standard_normal(mean.shape) / np.sqrt(precision)

    def mode_and_covariance(self):
        start = np.concatenate([[self.y.mean()], np.zeros(self.p - 1), [np.log(self.y.std()), -0.5]])

        def objective(x):
            return -self.log_posterior(x[None])[0]

        mode = minimize(objective, start, method="BFGS").x
        return mode, np.linalg.inv(numeric_hessian(objective, mode))


def random_walk(log_posterior, mode, covariance, chains, draws, rng, warmup=200, scale=1.0):
    """Random-walk Metropolis, all chains at once: (chains, draws, d)."""
    d = len(mode)
    L = np.linalg.cholesky(covariance)
    x = mode + rng.standard_normal((chains, d)) @ L.T
    lp, kept = log_posterior(x), np.empty((chains, draws, d))
    for t in range(-warmup, draws):
        proposed = x + scale * rng.standard_normal((chains, d)) @ L.T
        lp_proposed = log_posterior(proposed)
        accept = np.log(rng.uniform(size=chains)) < lp_proposed - lp
        x, lp = np.where(accept[:, None], proposed, x), np.where(accept, lp_proposed, lp)
        if t >= 0:
            kept[:, t] = x
    return kept


class ProbitIntercept:
    """y ~ Bernoulli(Phi(a0 + a1 x + sigma z_group)), a0, a1 ~ N(0, 10), p(sigma^2) = (1 + sigma^2)^-2, z ~ N(0, 1)."""

    prior_variance = 10.0

    def __init__(self, y, x, group):
        order = np.argsort(group, kind="stable")
        self.sign = np.where(np.asarray(y)[order] > 0, 1.0, -1.0)
        self.x = np.asarray(x, dtype=float)[order]
        self.last_mode = np.zeros(2)  # where the next search starts
        self.starts = np.flatnonzero(np.r_[True, np.diff(np.asarray(group)[order]) != 0])

    def log_prior(self, a):
        return -np.sum(0.5 * (LOG_2PI + np.log(self.prior_variance) + a**2 / self.prior_variance), axis=-1)

    def log_likelihood(self, a, log_variance, k):
        """Of coefficients (m, 2), shape (m,), with a k-point rule in each group."""
        nodes, log_weights = hermite_rule(k)
        eta = (a[:, :1] + a[:, 1:] * self.x)[:, None, :] + np.exp(log_variance / 2) * nodes[:, None]
        groups = np.add.reduceat(log_ndtr(self.sign * eta), self.starts, axis=2)
        return logsumexp(groups + log_weights[:, None], axis=1).sum(axis=1)

    def integral_over_coefficients(self, log_variance, k, coefficient_nodes):
        """Adaptive Gauss-Hermite product rule over a0 and a1."""

        def objective(a):
            return -(self.log_likelihood(a[None], log_variance, min(k, 20)) + self.log_prior(a[None]))[0]

        mode = self.last_mode = minimize(objective, self.last_mode, method="BFGS", options={"gtol": 1e-3}).x
        L = np.linalg.cholesky(np.linalg.inv(numeric_hessian(objective, mode)))
        nodes, log_weights = hermite_rule(coefficient_nodes)
        z = np.array(np.meshgrid(nodes, nodes)).reshape(2, -1).T
        log_w = np.add.outer(log_weights, log_weights).ravel() + LOG_2PI + 0.5 * np.sum(z**2, axis=1)
        a = mode + z @ L.T
        values = self.log_likelihood(a, log_variance, k) + self.log_prior(a) + log_w
        return float(logsumexp(values) + np.log(np.diag(L)).sum())

    def without_intercepts(self, coefficient_nodes=15):
        return self.integral_over_coefficients(-np.inf, 1, coefficient_nodes)

    def log_marginal_likelihood(self, k=30, coefficient_nodes=9, step=0.5, low=-16.0, high=6.0):
        """Trapezoidal rule over t = log sigma^2, whose prior density is e^t / (1 + e^t)^2."""
        grid = np.arange(low, high + step / 2, step)
        values = [self.integral_over_coefficients(t, k, coefficient_nodes) + t - 2 * np.log1p(np.exp(t)) for t in grid]
        return float(logsumexp(values) + np.log(step))
