"""One step of variational inference against a dense transcription of its formulas; densities of the draws."""

import numpy as np
import pytest
from log_densities import UNUSED, normal, parameters
from scipy import stats

from refglmm.bayes import ascent, whiten
from refglmm.bayes.ascent import Course, Gaussian, ascend, draw
from refglmm.bayes.whiten import log_determinant

RNG = np.random.default_rng(5)
D, PAIRS = 4, 3
CENTER = RNG.normal(size=D)
ROOT = np.tril(RNG.normal(size=(D, D))) + 2.0 * np.eye(D)
PRECISION = np.linalg.inv(ROOT @ ROOT.T)
W = whiten.dense(CENTER + 0.1, ROOT @ ROOT.T + 0.2 * np.eye(D))
LINEAR = whiten.dense(np.zeros(D), ROOT @ ROOT.T + 0.2 * np.eye(D))
DIAGONAL = whiten.diagonal(np.zeros(D), np.linspace(0.8, 1.4, D))
SEED, RATE = 3, 0.4


def matrix(whitening):
    """A of position = centre + A xi."""
    rows = np.empty((D, D))
    whiten.place_rows(whitening, np.eye(D), rows)
    return (rows - whitening.center).T


def approximation(n, r=0):
    """Some q with n dependent coordinates and r factors."""
    rng = np.random.default_rng(n + 10 * r)
    root = np.tril(0.1 * rng.normal(size=(n, n))) + np.eye(n)
    return Gaussian(0.1 * rng.normal(size=D), 0.1 * rng.normal(size=D - n), root, 0.3 * rng.normal(size=(D, r)))


def scale(q):
    """S as a dense matrix."""
    S, n = np.diag(np.concatenate([np.zeros(len(q.root)), np.exp(q.log_sd)])), len(q.root)
    S[:n, :n] = q.root
    return S


def stepped(q, V, steps=1):
    """What ``ascend`` makes of q, its average and the ELBO."""
    q, average, elbo = ascent.copy(q), ascent.copy(q), np.empty(steps)
    rng = np.random.Generator(np.random.Philox(SEED))
    course = Course(0, 0, PAIRS, log_determinant(V), RATE)
    ascend(q, average, W, V, elbo, course, rng, normal, parameters(CENTER, PRECISION), UNUSED)
    return q, average, elbo


def noises(r):
    """The numbers that the step draws: for each pair those of S, then those of B."""
    rng = np.random.Generator(np.random.Philox(SEED))
    both = [(rng.standard_normal(D), rng.standard_normal(r)) for _ in range(PAIRS)]
    return np.array([e for e, _ in both]), np.array([more for _, more in both])


def log_density(x):
    return -0.5 * (x - CENTER) @ PRECISION @ (x - CENTER)


def gradient(x):
    return -PRECISION @ (x - CENTER)


@pytest.mark.parametrize(("n", "V"), [(0, DIAGONAL), (2, LINEAR), (D, LINEAR)], ids=["meanfield", "hybrid", "fullrank"])
def test_one_step(n, V):
    q, (E, _) = approximation(n), noises(0)
    new, average, elbo = stepped(q, V)
    S, A, B = scale(q), matrix(V), matrix(W)
    centre = W.center + B @ q.mean
    pull, products, bound = np.zeros(D), np.zeros((D, D)), 0.0
    covariance = A @ S @ S.T @ A.T
    for e in E:
        shift = A @ S @ e
        up, down = gradient(centre + shift), gradient(centre - shift)
        pull += B.T @ (up + down) / 2.0 / PAIRS
        products += np.outer(S.T @ A.T @ (up - down) / 2.0 + e, e) / PAIRS
        for x in (centre + shift, centre - shift):
            bound += (log_density(x) - stats.multivariate_normal(centre, covariance).logpdf(x)) / (2 * PAIRS)
    rate = ascent.CAUTION * PAIRS / (PAIRS + n + 1.0)
    Lambda = np.tril(products, -1) + 0.5 * np.diag(np.diag(products))
    expected = S[:n, :n] @ (np.eye(n) + rate * Lambda[:n, :n])
    np.fill_diagonal(expected, np.diag(q.root) * np.exp(rate * np.diag(Lambda)[:n]))
    np.testing.assert_allclose(new.mean, q.mean + RATE * pull, rtol=1e-10)
    np.testing.assert_allclose(new.root, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(new.log_sd, q.log_sd + rate * np.diag(Lambda)[n:], rtol=1e-10)
    np.testing.assert_allclose(elbo, bound, rtol=1e-10)
    np.testing.assert_allclose(average.mean, new.mean, rtol=1e-12)  # the only iterate so far


def test_one_low_rank_step():
    q, (E, more) = approximation(0, 2), noises(2)
    new, _, elbo = stepped(q, DIAGONAL)
    S, A, B = scale(q), matrix(DIAGONAL), matrix(W)
    sigma = S @ S + q.factor @ q.factor.T
    centre, d_factor, d_log_sd, bound = W.center + B @ q.mean, np.zeros((D, 2)), np.zeros(D), 0.0
    for e, m in zip(E, more, strict=True):
        z = S @ e + q.factor @ m
        up, down = gradient(centre + A @ z), gradient(centre - A @ z)
        residual = A.T @ (up - down) / 2.0 + np.linalg.solve(sigma, z)
        d_factor += np.outer(sigma @ residual, m) / PAIRS
        d_log_sd += 0.5 * np.diag(S) * residual * e / PAIRS
        for x in (centre + A @ z, centre - A @ z):
            bound += (log_density(x) - stats.multivariate_normal(centre, A @ sigma @ A.T).logpdf(x)) / (2 * PAIRS)
    rate = ascent.CAUTION * PAIRS / (PAIRS + D + 1.0)
    np.testing.assert_allclose(new.factor, q.factor + rate * d_factor, rtol=1e-10)
    np.testing.assert_allclose(new.log_sd, q.log_sd + rate * d_log_sd, rtol=1e-10)
    np.testing.assert_allclose(elbo, bound, rtol=1e-10)


def test_nothing_moves_the_spread_of_the_posterior_itself():
    """Sticking the landing: a = 0 for every draw, not only on average."""
    there = Gaussian(np.zeros(D), np.empty(0), np.eye(D), np.empty((D, 0)))
    exact = whiten.dense(CENTER, ROOT @ ROOT.T)
    elbo, average = np.empty(20), ascent.copy(there)
    q, rng = ascent.copy(there), np.random.Generator(np.random.Philox(1))
    course = Course(0, 0, PAIRS, log_determinant(exact), RATE)
    V = exact._replace(center=np.zeros(D))
    ascend(q, average, exact, V, elbo, course, rng, normal, parameters(CENTER, PRECISION), UNUSED)
    np.testing.assert_allclose(q.root, np.eye(D), atol=1e-12)
    np.testing.assert_allclose(q.mean, 0.0, atol=1e-12)
    constant = 0.5 * D * np.log(2 * np.pi) + np.log(np.diag(ROOT)).sum()
    np.testing.assert_allclose(elbo, constant, rtol=1e-12)


def test_the_largest_curvature():
    rng = np.random.Generator(np.random.Philox(0))
    found = ascent.largest_curvature(W, rng, normal, parameters(CENTER, PRECISION), UNUSED)
    expected = np.linalg.eigvalsh(matrix(W).T @ PRECISION @ matrix(W))[-1]
    assert 0.9 * expected < found < 1.0001 * expected


@pytest.mark.parametrize(("n", "r", "V"), [(0, 0, DIAGONAL), (2, 0, LINEAR), (D, 0, LINEAR), (0, 2, DIAGONAL)])
def test_draws_and_their_density(n, r, V):
    q, positions, log_q = approximation(n, r), np.empty((4000, D)), np.empty(4000)
    draw(q, W, V, log_determinant(V), np.random.Generator(np.random.Philox(2)), positions, log_q)
    A, S = matrix(V), scale(q)
    covariance = A @ (S @ S.T + q.factor @ q.factor.T) @ A.T
    law = stats.multivariate_normal(W.center + matrix(W) @ q.mean, covariance)
    np.testing.assert_allclose(log_q, law.logpdf(positions), rtol=1e-9)
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), (positions - law.mean).T)
    assert np.abs(whitened.mean(axis=1)).max() < 4.0 / np.sqrt(4000)
    assert np.abs(whitened @ whitened.T / 4000 - np.eye(D)).max() < 5.0 * np.sqrt(2.0 / 4000)
