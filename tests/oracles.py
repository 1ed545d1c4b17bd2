"""Slow, literal versions of what the engines compute. They share no code with the kernels.

Densities come from scipy.stats, derivatives from sixth-order differences, Z and Lambda are dense, integrals
are
scipy.integrate's. A term is a triple (codes, Z columns, number of levels); y of a binomial row is a
proportion and
its weight the number of trials; for counts the weight multiplies the log density; for the families with a
dispersion the variance is phi V(mu) / weight.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy import integrate, special, stats

#: eta -> mu, written from the definitions.
INVERSE_LINK = {
    "logit": lambda eta: 1.0 / (1.0 + np.exp(-eta)),
    "probit": stats.norm.cdf,
    "cloglog": lambda eta: 1.0 - np.exp(-np.exp(eta)),
    "cauchit": stats.cauchy.cdf,
    "log": np.exp,
    "sqrt": lambda eta: eta**2,
    "identity": lambda eta: eta,
    "inverse": lambda eta: 1.0 / eta,
    "1/mu^2": lambda eta: 1.0 / np.sqrt(eta),
}

VARIANCE = {
    "binomial": lambda mu, phi: mu * (1.0 - mu),
    "poisson": lambda mu, phi: mu,
    "gamma": lambda mu, phi: phi * mu**2,
    "inverse_gaussian": lambda mu, phi: phi * mu**3,
    "gaussian": lambda mu, phi: phi + 0.0 * mu,
    "negative_binomial": lambda mu, phi: mu + mu**2 / phi,
}


def log_density(family, y, mu, a, phi=None):
    """Log density of each row, with all constants."""
    if family == "binomial":
        return stats.binom.logpmf(np.round(a * y), np.round(a), mu)
    if family == "poisson":
        return a * stats.poisson.logpmf(y, mu)
    if family == "gamma":
        return stats.gamma.logpdf(y, a / phi, scale=mu * phi / a)
    if family == "inverse_gaussian":
        shape = a / phi
        return stats.invgauss.logpdf(y, mu / shape, scale=shape)
    if family == "gaussian":
        return stats.norm.logpdf(y, mu, np.sqrt(phi / a))
    if family == "negative_binomial":
        return a * stats.nbinom.logpmf(y, phi, phi / (phi + mu))
    raise KeyError(family)


class Rows:
    """Rows of one response: log density as a function of eta, and its derivatives by differences."""

    def __init__(self, family, link, y, a, phi=None):
        self.family, self.link, self.y, self.a, self.phi = family, link, y, a, phi
        self.inverse = INVERSE_LINK[link]
        #: sign that eta must have, 0 for either
        self.sign = 0
        if family == "binomial" and link == "log":
            self.sign = -1
        elif family != "gaussian" and link in ("sqrt", "identity", "inverse", "1/mu^2"):
            self.sign = 1

    def l(self, eta):  # noqa: E743  the field's symbol
        return log_density(self.family, self.y, self.inverse(eta), self.a, self.phi)

    def total(self, eta):
        """Sum of l, -inf outside the domain of the link."""
        if np.any(self.sign * eta < 0):
            return -np.inf
        value = self.l(eta).sum()
        return value if np.isfinite(value) else -np.inf

    def _step(self, eta):
        curved = self.sign != 0 or self.link == "inverse"
        return 0.006 * np.abs(eta) if curved else np.full_like(eta, 0.02)

    def s(self, eta):
        """dl/deta."""
        return first_difference(self.l, eta, self._step(eta))

    def h(self, eta):
        """-d2l/deta2."""
        h = self._step(eta)
        f = [self.l(eta + m * h) for m in range(-3, 4)]
        second = (2 * (f[0] + f[6]) - 27 * (f[1] + f[5]) + 270 * (f[2] + f[4]) - 490 * f[3]) / (180 * h**2)
        return -second

    def w(self, eta):
        """Expected information: (dmu/deta)^2 over the variance."""
        slope = first_difference(self.inverse, eta, 0.1 * self._step(eta))
        return self.a * slope**2 / VARIANCE[self.family](self.inverse(eta), self.phi)


def first_difference(f, x, h):
    """Sixth-order central difference, elementwise."""
    return (45 * (f(x + h) - f(x - h)) - 9 * (f(x + 2 * h) - f(x - 2 * h)) + (f(x + 3 * h) - f(x - 3 * h))) / (60 * h)


def gradient_5_point(f, x, steps):
    """Gradient of a scalar function by the 5-point formula."""
    gradient = np.empty(x.size)
    for j in range(x.size):
        e = np.zeros(x.size)
        e[j] = steps[j]
        gradient[j] = (8 * (f(x + e) - f(x - e)) - (f(x + 2 * e) - f(x - 2 * e))) / (12 * steps[j])
    return gradient


def dense_Z(terms):
    """Z column by column, term, level, column of the term."""
    blocks = []
    for codes, columns, levels in terms:
        block = np.zeros((len(codes), levels * columns.shape[1]))
        for i, level in enumerate(codes):
            for c in range(columns.shape[1]):
                block[i, level * columns.shape[1] + c] = columns[i, c]
        blocks.append(block)
    return np.hstack(blocks)


def dense_Lambda(factors, levels):
    """Block-diagonal Lambda: each T repeated once a level."""
    sizes = [T.shape[0] * count for T, count in zip(factors, levels, strict=True)]
    Lambda = np.zeros((sum(sizes), sum(sizes)))
    position = 0
    for T, count in zip(factors, levels, strict=True):
        k = T.shape[0]
        for _ in range(count):
            Lambda[position : position + k, position : position + k] = T
            position += k
    return Lambda


def dense_mode(rows, fixed, M):
    """Maximise sum l(fixed + M u) - |u|^2/2 by Newton with halving, everything dense and differenced."""
    u = np.zeros(M.shape[1])

    def g(u):
        return rows.total(fixed + M @ u) - 0.5 * u @ u

    for _ in range(100):
        eta = fixed + M @ u
        gradient = M.T @ rows.s(eta) - u
        H = np.eye(u.size) + M.T @ (rows.h(eta)[:, None] * M)
        if np.linalg.eigvalsh(H)[0] <= 0:
            H = np.eye(u.size) + M.T @ (rows.w(eta)[:, None] * M)
        step, length = np.linalg.solve(H, gradient), 1.0
        while g(u + length * step) < g(u) - 1e-9:
            length *= 0.5
        u = u + length * step
        if np.max(np.abs(length * step)) < 1e-11:
            break
    return u


def laplace_deviance(rows, fixed, M, curvature):
    """-2 g(u~) + log|H|, dense."""
    u = dense_mode(rows, fixed, M)
    eta = fixed + M @ u
    weight = rows.h(eta) if curvature == "observed" else rows.w(eta)
    H = np.eye(u.size) + M.T @ (weight[:, None] * M)
    return -2.0 * rows.l(eta).sum() + u @ u + np.linalg.slogdet(H)[1]


def integrated_deviance(family, link, y, a, phi, fixed, column, codes, levels):
    """-2 log likelihood of a scalar random effect, one adaptive integral a group.

    ``column`` holds z_i times the standard deviation.
    """
    total = 0.0
    for level in range(levels):
        keep = codes == level
        rows = Rows(family, link, y[keep], a[keep], phi)
        M = column[keep][:, None]
        centre = dense_mode(rows, fixed[keep], M)[0]
        spread = 1.0 / np.sqrt(1.0 + np.sum(rows.w(fixed[keep] + M[:, 0] * centre) * M[:, 0] ** 2))

        def log_integrand(u, rows=rows, keep=keep, M=M):
            return rows.total(fixed[keep] + M[:, 0] * u) + stats.norm.logpdf(u)

        peak = log_integrand(centre)
        edges = centre + spread * np.array([-14.0, -6.0, -3.0, 0.0, 3.0, 6.0, 14.0])
        area = sum(
            integrate.quad(
                lambda u, f=log_integrand, peak=peak: np.exp(f(u) - peak),
                lo,
                hi,
                epsabs=0,
                epsrel=1e-12,
                limit=200,
            )[0]
            for lo, hi in itertools.pairwise(edges)
        )
        total += peak + np.log(area)
    return -2.0 * total


def marginal_gaussian(y, X, Z, Lambda, offset, weights, sigma, beta):
    """-2 log density of y ~ N(o + X beta, sigma^2 (W^-1 + Z Lambda Lambda' Z'))."""
    V = sigma**2 * (np.diag(1.0 / weights) + Z @ Lambda @ Lambda.T @ Z.T)
    r = y - offset - X @ beta
    return y.size * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + r @ np.linalg.solve(V, r)


def generalised_least_squares(y, X, Z, Lambda, offset, weights):
    """beta, relative covariance V0, and residual of generalised least squares."""
    V0 = np.diag(1.0 / weights) + Z @ Lambda @ Lambda.T @ Z.T
    inverse = np.linalg.inv(V0)
    beta = np.linalg.solve(X.T @ inverse @ X, X.T @ inverse @ (y - offset))
    return beta, V0, y - offset - X @ beta


def profiled_deviance(y, X, Z, Lambda, offset, weights, reml):
    """ML deviance or REML criterion of a linear mixed model with beta and sigma profiled out, dense n x n."""
    _, V0, r = generalised_least_squares(y, X, Z, Lambda, offset, weights)
    n, p = X.shape
    nu = n - p if reml else n
    sigma2 = r @ np.linalg.solve(V0, r) / nu
    value = nu * np.log(2 * np.pi * sigma2) + np.linalg.slogdet(V0)[1] + nu
    if reml:
        value += np.linalg.slogdet(X.T @ np.linalg.solve(V0, X))[1]
    return value


def normal_moment(power):
    """E z^power for a standard normal z."""
    return 0.0 if power % 2 else float(special.factorial2(power - 1, exact=True)) if power else 1.0
