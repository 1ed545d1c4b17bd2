"""The engine for several linear predictors: dense oracle, exact gradients, curvature, agreement with one predictor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from exponentials import Exponentials, build
from problems import assert_gradient
from scipy import optimize

from refglmm.families.kernel import observation_rows
from refglmm.likelihood.coupled import pair, triple
from refglmm.likelihood.laplace import LaplaceObjective, ProfiledObjective
from refglmm.likelihood.pirls import Pirls


def dense_deviance(problem, psi, terms):
    """-2 g(u~) + log|H| with dense Z of each predictor, the mode by a general optimiser, H from differences."""
    par, beta, phi = problem.split(psi)
    blocks, at = [], 0
    T = problem.term_factors(par)
    for (codes, Z, levels, columns), begin in zip(terms, problem.layout.T_start, strict=True):
        k = len(columns)
        Lambda = np.kron(np.eye(levels), T[begin : begin + k * k].reshape(k, k))
        own = np.zeros((problem.n_parts, problem.n, k * levels))
        for c, part in enumerate(columns):
            own[part, np.arange(problem.n), codes * k + c] = Z[:, c]
        blocks.append(own @ Lambda)
        at += k * levels
    M = np.concatenate(blocks, axis=2)
    fixed = np.array([problem.X[:, s] @ beta[s] for s in problem.beta_parts]) + problem.offset

    def minus_g(u):
        return 0.5 * u @ u - problem.family.density(problem.y, fixed + M @ u, problem.weights, phi).sum()

    def score(u):
        out = np.zeros((observation_rows(problem.n_parts).size, problem.n))
        problem.family.observe(problem.y, fixed + M @ u, problem.weights, problem.base, phi, 2, out)
        return u - np.einsum("knq,kn->q", M, out[observation_rows(problem.n_parts).s])

    u = optimize.minimize(minus_g, np.zeros(problem.q), jac=score, method="BFGS", options={"gtol": 1e-9}).x
    steps = 1e-3 * np.eye(problem.q)
    weights = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
    H = np.array([sum(w * (score(u + k * e) - score(u - k * e)) for k, w in weights.items()) for e in steps]) / 1e-3
    return 2.0 * minus_g(u) + np.linalg.slogdet(H)[1]


both = pytest.mark.parametrize("parts", [2, 3])


@both
def test_pairs_and_triples_are_numbered_like_a_lower_triangle(parts):
    pairs = [(k, i) for k in range(parts) for i in range(k + 1)]
    triples = [(k, i, m) for k in range(parts) for i in range(k + 1) for m in range(i + 1)]
    assert [pair(*p) for p in pairs] == list(range(len(pairs)))
    assert [pair(i, k) for k, i in pairs] == list(range(len(pairs)))
    assert [triple(*t) for t in triples] == list(range(len(triples)))
    assert all(triple(k, m, i) == triple(k, i, m) == at for at, (k, i, m) in enumerate(triples))
    assert all(triple(i, m, k) == at for at, (k, i, m) in enumerate(triples) if i >= m)


@both
def test_value_against_the_dense_oracle(parts):
    problem, psi, terms = build(parts)
    assert LaplaceObjective(Pirls(problem)).value(psi) == pytest.approx(dense_deviance(problem, psi, terms), rel=1e-9)


@both
@pytest.mark.parametrize("structure", ["us", "cs"])
def test_gradient_of_the_laplace_deviance(parts, structure):
    problem, psi, _ = build(parts, structure)
    assert_gradient(LaplaceObjective(Pirls(problem)), psi)


@both
def test_gradient_of_the_joint_deviance(parts):
    problem, psi, _ = build(parts)
    n_par, p = problem.n_par, problem.p
    objective = ProfiledObjective(Pirls(problem), psi[n_par : n_par + p])
    assert_gradient(objective, np.delete(psi, slice(n_par, n_par + p)))


@both
@pytest.mark.parametrize("structure", ["us", "cs"])
def test_curvature_and_slope_of_the_mode_by_differences(parts, structure):
    """-2g at the moving mode is differenced twice; du/dpsi once."""
    problem, psi, _ = build(parts, structure)
    objective = LaplaceObjective(Pirls(problem))
    objective.value(psi)
    basis = np.random.default_rng(1).normal(size=(psi.size, psi.size))
    curvature, slope = objective.exact_curvature(psi, basis), objective.mode_slope(psi)
    n_par, p = problem.n_par, problem.p
    cross = objective.cross_curvature(psi)

    def gradient(x):
        """The gradient of -2g alone."""
        whole = objective.value_and_gradient(x)[1]
        return whole - objective._gradient_of(x, whole=False)

    def mode(x):
        objective.value(x)
        return objective.u.copy()

    step, weights = 1e-3, {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}

    def jacobian(f):
        steps = step * np.eye(psi.size)
        return np.array([sum(w * (f(psi + k * e) - f(psi - k * e)) for k, w in weights.items()) for e in steps]) / step

    whole = jacobian(gradient)
    np.testing.assert_allclose(curvature, basis.T @ whole @ basis, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(cross, whole[:n_par, n_par : n_par + p], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(slope, jacobian(mode).T, rtol=1e-6, atol=1e-8)


def test_predictors_that_do_not_meet_are_models_of_their_own():
    """Diagonal forms and no common term: the deviance is the sum of two, each with one predictor."""
    problem, psi, _ = build(2, "diag")
    family = Exponentials(2, n_shape=0)
    family.forms = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -0.5]])
    apart = replace(problem, family=family, phi_names=())
    psi = psi[:-1]

    def value(beta, par):
        return LaplaceObjective(Pirls(apart)).value(np.concatenate([par, beta]))

    par, beta = psi[: problem.n_par], psi[problem.n_par :]
    other_beta, other_par = beta.copy(), par.copy()
    other_beta[:2] += 0.3
    other_par[:2] *= 1.4
    change = value(other_beta, other_par) - value(beta, par)
    beta_1, par_1 = beta.copy(), par.copy()
    beta_1[2:] -= 0.2
    par_1[2:] *= 0.7
    other_beta[2:], other_par[2:] = beta_1[2:], par_1[2:]
    assert value(other_beta, other_par) - value(beta_1, par_1) == pytest.approx(change, abs=1e-9)
