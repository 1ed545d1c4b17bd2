"""The engine for several linear predictors: dense oracle, exact gradients, curvature, agreement with one predictor.

The test density is a sum of exponentials of linear forms in the predictors, whose derivatives of any order are
products of its coefficients, so that the rows of its kernel are written down at sight; it couples every pair.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations_with_replacement
from types import SimpleNamespace

import numpy as np
import pytest
from problems import assert_gradient
from scipy import optimize

from refglmm.covariance import make_structure
from refglmm.families.kernel import SLOPES, observation_rows, shape_rows
from refglmm.families.shape_scales import LogScale
from refglmm.likelihood.coupled import CoupledLayout, pair, triple
from refglmm.likelihood.laplace import LaplaceObjective, ProfiledObjective
from refglmm.likelihood.layout import build_layout
from refglmm.likelihood.pirls import Pirls
from refglmm.likelihood.problem import CoupledProblem

#: Linear forms of the exponentials, a row each; the shape parameter multiplies the first.
FORMS = {
    2: np.array([[1.0, 0.3], [-0.4, 1.0], [0.2, -0.8]]),
    3: np.array([[1, 0.3, -0.2], [-0.4, 1, 0.3], [0.3, -0.5, -0.9]]),
}
SLOPE = np.array([0.0, 0.2, -0.1])


class Exponentials:
    """l = a {y eta_0 + sum_k slope_k eta_k - sum_m c_m exp(form_m' eta)}, c = (phi, 1, 1)."""

    is_canonical, log_concave, has_scale, is_binomial = False, True, False, False
    name, fixed_shape = "exponentials", np.empty(0)

    def __init__(self, parts, n_shape=1):
        self.n_parts, self.forms = parts, FORMS[parts]
        self.shape_names, self.shape_scales = ("phi",)[:n_shape], (LogScale(),)[:n_shape]
        self.links = (SimpleNamespace(name="log"),) * parts
        self.link = self.links[0]

    def complete(self, phi):
        return phi

    def coefficients(self, phi):
        return np.array([phi[0] if self.shape_names else 1.0, 1.0, 1.0])

    def density(self, y, eta, a, phi):
        linear = y * eta[0] + SLOPE[: self.n_parts] @ eta
        return a * (linear - self.coefficients(phi) @ np.exp(self.forms @ eta))

    def moments(self, eta, order):
        """Each exponential times the products of its coefficients, for each tuple of predictors."""
        e = np.exp(self.forms @ eta)
        tuples = [t[::-1] for t in combinations_with_replacement(range(self.n_parts), order)]
        tuples.sort()
        return [np.prod(self.forms[:, list(t)], axis=1)[:, None] * e for t in tuples]

    def observe(self, y, eta, a, base, phi, order, out):
        at, c = observation_rows(self.n_parts), self.coefficients(phi)
        out[0] = self.density(y, eta, a, phi)
        linear = SLOPE[: self.n_parts, None] + np.eye(self.n_parts)[:, :1] * y
        out[at.s] = a * (linear - np.array([c @ x for x in self.moments(eta, 1)]))
        out[at.h] = out[at.w] = a * np.array([c @ x for x in self.moments(eta, 2)])
        out[at.dh] = a * np.array([c @ x for x in self.moments(eta, 3)])
        return np.nan if order == SLOPES else float(out[0].sum())

    def observe_shape(self, y, eta, a, phi, j, out):
        at = shape_rows(self.n_parts)
        out[0] = -a * np.exp(self.forms @ eta)[0]
        out[at.s] = -a * np.array([x[0] for x in self.moments(eta, 1)])
        out[at.h] = a * np.array([x[0] for x in self.moments(eta, 2)])


def layout_of(terms, n, parts, x_part):
    """``terms``: (codes, Z, levels, the part of each column)."""
    made = build_layout([t[0] for t in terms], [t[1] for t in terms], [t[2] for t in terms], n)
    part = np.array([k for t in terms for k in t[3]], dtype=np.int64)
    return CoupledLayout(**vars(made), part=part, x_part=np.array(x_part, dtype=np.int64))


def build(parts, structure="us", seed=3, n=40):
    """Crossed factors: a term across the predictors and one in the last alone; two columns of X in each part."""
    rng = np.random.default_rng(seed)
    g, h = rng.integers(0, 6, n), rng.integers(0, 5, n)
    x = rng.normal(size=n)
    tied = np.column_stack([np.ones(n), rng.normal(size=n), np.ones(n)])
    terms = [(g, tied, 6, (0, 0, 1)), (h, np.ones((n, 1)), 5, (parts - 1,))]
    structures = (make_structure(structure, 3), make_structure("us", 1))
    X = np.hstack([np.column_stack([np.ones(n), x * (k + 1)]) for k in range(parts)])
    x_part = np.repeat(np.arange(parts), 2)
    problem = CoupledProblem(
        y=rng.poisson(1.5, n).astype(float),
        weights=rng.uniform(0.5, 2.0, n),
        offset=0.1 * rng.normal(size=(parts, n)),
        base=np.zeros(n),
        X=X,
        layout=layout_of(terms, n, parts, x_part),
        structures=structures,
        family=Exponentials(parts),
        beta_names=tuple(f"b{j}" for j in range(X.shape[1])),
        par_names=tuple(f"t{j}" for j in range(sum(s.n_par for s in structures))),
        phi_names=("phi",),
        beta_parts=tuple(slice(2 * k, 2 * k + 2) for k in range(parts)),
    )
    par = np.where(problem.par_lower == 0.0, 0.6, 0.2)
    psi = problem.join(par, 0.1 * rng.normal(size=problem.p), np.array([1.3]))
    return problem, psi, terms


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
@pytest.mark.parametrize("structure", ["us", "cs", "ar1"])
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
