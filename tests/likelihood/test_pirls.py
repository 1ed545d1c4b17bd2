"""PIRLS: manufactured modes, one consistent state, step-halving at work, and how it fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import BY_NAME, CASES, DESIGN, build, dense_M, intercepts, known_size, simulated, split_factors

from refglmm.covariance import make_structure
from refglmm.errors import PirlsError
from refglmm.families.kernel import ALL
from refglmm.families.registry import get_family
from refglmm.likelihood.pirls import DECREMENT, Pirls

every_case = pytest.mark.parametrize("case", CASES, ids=str)

#: Where PIRLS stops, the Newton decrement bounds the squared distance to the mode (H >= I).
PROMISED = 1.01 * np.sqrt(DECREMENT)


# -- manufactured modes --------------------------------------------------------------------------------------


def manufactured(family, design, beta, par, weights):
    """Choose residuals r, put u* = M'(a r) and y = mu(u*) + r: the score equation of a canonical link
    holds at u*.
    """
    factors = split_factors(design.structures, par)
    M = oracles.dense_Z(design.terms) @ oracles.dense_Lambda(factors, [t[2] for t in design.terms])
    r = 0.1 * np.cos(1.0 + np.arange(design.n) ** 1.5)
    u = M.T @ (weights * r)
    mu = oracles.INVERSE_LINK[family.link.name](design.X @ beta + M @ u)
    return mu + r, u, mu


@pytest.mark.parametrize("name", ["balanced-us2", "nested", "same-factor-twice", "cs3", "hom-ar13"])
@pytest.mark.parametrize(
    ("family", "beta"), [("binomial", (0.2, 0.4)), ("poisson", (1.0, 0.3)), ("gaussian", (0.5, 1.0))]
)
def test_finds_the_manufactured_mode(family, beta, name):
    design, family = DESIGN[name], get_family(family)
    par, weights = design.par(0.7), 1.0 + np.arange(design.n) % 3
    y, u, mu = manufactured(family, design, np.array(beta), par, weights)
    if family.is_binomial:
        assert np.all((y > 0) & (y < 1))
    problem = build(family, design.X, design.terms, design.structures, y, weights)
    pirls = Pirls(problem)
    pirls.find_mode(par, np.array(beta), np.ones(1))
    assert np.linalg.norm(pirls.u - u) < PROMISED
    assert pirls.decrement < DECREMENT
    np.testing.assert_allclose(family.link.inverse(pirls.eta), mu, rtol=1e-9)


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 3.0))
@settings(max_examples=30, deadline=None)
def test_finds_any_manufactured_mode_of_a_poisson(seed, sd):
    """The response is chosen so that u* is the mode, whatever u*, theta and beta are."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(6), 4)
    X = np.column_stack([np.ones(24), rng.uniform(-1, 1, 24)])
    beta, u = rng.uniform(-0.5, 1.0, 2), rng.uniform(-2, 2, 6)
    eta = X @ beta + sd * u[codes]
    # each group: sum of residuals = u / sd, put on its rows in proportion to the mean
    mu = np.exp(eta)
    total = np.bincount(codes, mu)
    y = mu * (1.0 + (u / sd / total)[codes])
    if np.any(y < 0):  # not a Poisson response: nothing to find
        return
    problem = build(get_family("poisson"), X, [(codes, np.ones((24, 1)), 6)], [make_structure("us", 1)], y, np.ones(24))
    pirls = Pirls(problem)
    pirls.find_mode(np.array([sd]), beta, np.empty(0))
    assert np.linalg.norm(pirls.u - u) < PROMISED


@every_case
def test_score_equation_holds_by_the_oracle(case):
    """At the mode M's = u, s being differenced from scipy.stats."""
    design = DESIGN["crossed-us2+us1"]
    problem, psi = simulated(case, design)
    par, beta, phi = problem.split(psi)
    pirls = Pirls(problem)
    pirls.find_mode(par, beta, phi)
    rows = oracles.Rows(case.family, case.link, problem.y, problem.weights, case.phi)
    M = dense_M(problem, par, design.terms)
    np.testing.assert_allclose(M.T @ rows.s(problem.offset + problem.X @ beta + M @ pirls.u), pirls.u, atol=1e-8)
    assert pirls.residual < 1e-9


# -- one consistent state ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["binomial-logit", "gamma-log", "poisson-identity", "inverse_gaussian-log"])
def test_everything_in_the_mode_belongs_to_the_same_u(name):
    """Recompute all of it from (par, beta, phi, u) with dense matrices."""
    design = DESIGN["crossed-us2+us1"]
    problem, psi = simulated(BY_NAME[name], design)
    par, beta, phi = problem.split(psi)
    pirls = Pirls(problem)
    pirls.find_mode(par, beta, phi)
    mode = pirls.mode()
    M = dense_M(problem, par, design.terms)
    Lambda = oracles.dense_Lambda(split_factors(problem.structures, par), [t[2] for t in design.terms])
    np.testing.assert_allclose(mode.b, Lambda @ mode.u, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(mode.eta, problem.offset + problem.X @ beta + M @ mode.u, rtol=1e-13)
    np.testing.assert_allclose(mode.mu, problem.family.link.inverse(mode.eta), rtol=1e-15)
    out = np.empty((6, problem.n))
    total = problem.family.observe(problem.y, mode.eta, problem.weights, problem.base, phi, ALL, out)
    np.testing.assert_allclose([mode.s, mode.h, mode.w], out[1:4], rtol=1e-12, atol=1e-13)
    assert mode.log_density == pytest.approx(total, rel=1e-13)
    assert mode.penalty == pytest.approx(mode.u @ mode.u, rel=1e-15)
    weight = mode.h if mode.curvature == "observed" else mode.w
    H = np.eye(problem.q) + M.T @ (weight[:, None] * M)
    assert mode.logdet_L2 == pytest.approx(np.linalg.slogdet(H)[1], rel=1e-12)
    assert mode.factor.logdet() == mode.logdet_L2
    XtWX = problem.X.T @ (weight[:, None] * problem.X)
    cross = M.T @ (weight[:, None] * problem.X)
    schur = XtWX - cross.T @ np.linalg.solve(H, cross)
    np.testing.assert_allclose(mode.rx.T @ mode.rx, schur, rtol=1e-9)
    np.testing.assert_array_equal(np.tril(mode.rx, -1), 0.0)
    np.testing.assert_allclose(mode.rzx.T @ mode.rzx, XtWX - schur, rtol=1e-9)
    deviance = problem.family.unit_deviance(problem.y, mode.mu, problem.weights).sum()
    assert mode.deviance == pytest.approx(deviance, rel=1e-13)
    assert mode.residual == pytest.approx(np.max(np.abs(M.T @ mode.s - mode.u)), abs=1e-12)


def test_a_mode_is_a_snapshot():
    """Later work on the same engine does not reach into it."""
    problem, psi, _ = intercepts(BY_NAME["poisson-log"])
    par, beta, phi = problem.split(psi)
    pirls = Pirls(problem)
    pirls.find_mode(par, beta, phi)
    mode = pirls.mode()
    before = {name: np.copy(getattr(mode, name)) for name in ("u", "b", "eta", "mu", "s", "w", "h", "rx", "rzx")}
    logdet = mode.factor.logdet()
    pirls.find_mode(3.0 * par, beta + 0.3, phi)
    pirls.mode()
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(mode, name), value)
    assert mode.factor.logdet() == logdet == mode.logdet_L2


@pytest.mark.parametrize("size", [None, 2.5])
def test_the_deviance_of_a_negative_binomial_uses_the_size_in_force(size):
    """Estimated or known, a size of 2.5 gives the same conditional deviance."""
    estimated, psi, _ = intercepts(BY_NAME["negative_binomial-log"])
    problem = estimated if size is None else replace(estimated, family=known_size("log", size), phi_names=())
    par, beta, _ = estimated.split(psi)
    pirls = Pirls(problem)
    pirls.find_mode(par, beta, np.array([2.5]))
    mode = pirls.mode()
    y, mu, a = problem.y, mode.mu, problem.weights
    with np.errstate(divide="ignore", invalid="ignore"):
        log_ratio = np.where(y > 0, y * np.log(y / mu), 0.0)
    expected = 2.0 * np.sum(a * (log_ratio - (y + 2.5) * np.log((y + 2.5) / (mu + 2.5))))
    assert mode.deviance == pytest.approx(expected, rel=1e-12)


# -- the joint mode ------------------------------------------------------------------------------------------


@every_case
def test_joint_mode_is_stationary_in_u_and_beta(case):
    problem, psi = simulated(case, DESIGN["balanced-us2"])
    par, beta, phi = problem.split(psi)
    pirls = Pirls(problem)
    pirls.find_joint_mode(par, phi, np.zeros(problem.q), beta.copy())
    M = dense_M(problem, par, DESIGN["balanced-us2"].terms)
    s = pirls.out[1]
    scale = np.abs(problem.X).T @ np.abs(s)
    assert np.max(np.abs(problem.X.T @ s) / scale) < 1e-8
    np.testing.assert_allclose(M.T @ s, pirls.u, atol=1e-8)


def test_joint_mode_of_a_gaussian_is_penalised_least_squares():
    """One linear system; analytic."""
    design = DESIGN["crossed-us2+us1"]
    problem, psi = simulated(BY_NAME["gaussian-identity"], design)
    par, _, phi = problem.split(psi)
    pirls = Pirls(problem)
    pirls.find_joint_mode(par, phi, np.zeros(problem.q), np.zeros(2))
    M, W = dense_M(problem, par, design.terms), np.diag(problem.weights / phi[0])
    A = np.column_stack([M, problem.X])
    system = A.T @ W @ A
    system[: problem.q, : problem.q] += np.eye(problem.q)
    solution = np.linalg.solve(system, A.T @ W @ (problem.y - problem.offset))
    np.testing.assert_allclose(np.concatenate([pirls.u, pirls.beta]), solution, rtol=1e-10, atol=1e-11)
    assert pirls.iterations == 2  # one step, and the look that it was enough


# -- step control --------------------------------------------------------------------------------------------


def test_halving_is_needed_and_used_from_a_bad_start():
    """Poisson-log started far below the data: the means are nearly 0 there, and the first step overshoots."""
    problem, psi, _ = intercepts(BY_NAME["poisson-log"])
    par, beta, phi = problem.split(psi)
    good = Pirls(problem)
    good.find_mode(par, beta, phi)
    assert good.halvings == 0
    bad = Pirls(problem)
    bad.records = []
    bad.find_mode(par, beta, phi, np.full(problem.q, -40.0))
    assert bad.halvings > 0
    assert sum(record.halvings for record in bad.records) == bad.halvings
    np.testing.assert_allclose(bad.u, good.u, atol=1e-10)
    # g never falls, beyond rounding
    objective = np.array([record.objective for record in bad.records])
    assert np.all(np.diff(objective) >= -1e-9 * np.abs(objective[1:]))


@pytest.mark.parametrize("name", ["binomial-cauchit", "inverse_gaussian-log", "gaussian-logit"])
def test_a_start_without_positive_curvature_uses_fisher_scoring_there(name):
    """Where the observed information is not positive definite the expected one takes over, and u is the
    same.
    """
    problem, psi, _ = intercepts(BY_NAME[name])
    par, beta, phi = problem.split(psi)
    par = 3.0 * par
    good = Pirls(problem)
    good.find_mode(par, beta, phi)
    found = []
    for start in (np.full(problem.q, 2.0), np.full(problem.q, -2.0), np.full(problem.q, 6.0)):
        pirls = Pirls(problem)
        pirls.records = []
        pirls.find_mode(par, beta, phi, start)
        found += [record.curvature for record in pirls.records]
        np.testing.assert_allclose(pirls.u, good.u, atol=1e-9)
    assert "expected" in found
    assert good.curvature == "observed"


def test_steps_out_of_the_domain_are_cut_back():
    """Poisson-identity: from near the edge the full Newton step leaves eta > 0."""
    problem, psi, _ = intercepts(BY_NAME["poisson-identity"])
    par, beta, phi = problem.split(psi)
    low = -(beta[0] - beta[1] - 0.02) / par[0]
    pirls = Pirls(problem)
    pirls.find_mode(par, beta, phi, np.full(problem.q, low))
    good = Pirls(problem)
    good.find_mode(par, beta, phi)
    np.testing.assert_allclose(pirls.u, good.u, atol=1e-9)
    assert np.all(pirls.eta > 0)


# -- failure -------------------------------------------------------------------------------------------------


def test_an_impossible_start_says_so_with_the_number():
    problem, psi, _ = intercepts(BY_NAME["gamma-inverse"])
    par, beta, phi = problem.split(psi)
    with pytest.raises(PirlsError, match="leaves the domain of the link at the start") as error:
        Pirls(problem).find_mode(par, -beta, phi)
    assert error.value.facts == {"value": -np.inf}


def test_a_start_outside_falls_back_to_zero():
    """The previous mode may be unusable at the next parameters; u = 0 is tried before giving up."""
    problem, psi, _ = intercepts(BY_NAME["gamma-inverse"])
    par, beta, phi = problem.split(psi)
    outside = np.full(problem.q, -100.0)
    pirls = Pirls(problem)
    pirls.find_mode(par, beta, phi, outside)
    fresh = Pirls(problem)
    fresh.find_mode(par, beta, phi)
    np.testing.assert_array_equal(pirls.u, fresh.u)


def test_too_few_iterations_are_an_error_with_the_decrement(monkeypatch):
    problem, psi, _ = intercepts(BY_NAME["poisson-log"])
    par, beta, phi = problem.split(psi)
    monkeypatch.setattr("refglmm.likelihood.pirls.MAX_ITERATIONS", 2)
    with pytest.raises(PirlsError, match=r"did not converge in 2 iterations \(Newton decrement") as error:
        Pirls(problem).find_mode(par, beta, phi)
    assert error.value.facts["iterations"] == 2
    assert error.value.facts["decrement"] > 1e-20


def test_halving_that_finds_nothing_is_an_error(monkeypatch):
    """A kernel whose score points the wrong way: no step length raises g."""
    problem, psi, _ = intercepts(BY_NAME["poisson-log"])
    par, beta, phi = problem.split(psi)
    pirls = Pirls(problem)
    truth = pirls.linearize

    def backwards(u):
        inside = truth(u)
        pirls.gradient *= -1.0
        return inside

    monkeypatch.setattr(pirls, "linearize", backwards)
    with pytest.raises(PirlsError, match="step-halving failed to raise the penalised log density") as error:
        pirls.find_mode(par, beta, phi)
    assert set(error.value.facts) == {"value", "decrement"}


def test_collinear_columns_leave_a_damped_metric():
    """RX is only a metric for the next step there: finite, and right on what the columns determine."""
    problem, psi, _ = intercepts(BY_NAME["poisson-log"])
    empty = replace(problem, X=np.column_stack([problem.X, np.zeros(problem.n)]))
    pirls, plain = Pirls(empty), Pirls(problem)
    pirls.find_mode(psi[:1], np.append(psi[1:3], 0.0), np.empty(0))
    plain.find_mode(psi[:1], psi[1:3], np.empty(0))
    rx, expected = pirls.mode().rx, plain.mode().rx
    np.testing.assert_allclose((rx.T @ rx)[:2, :2], expected.T @ expected, rtol=1e-8)
    assert 0 < abs(rx[2, 2]) < 1e-4


def test_a_model_without_random_rows_of_any_weight_stays_at_zero():
    """All weights zero: g = -|u|^2/2, mode 0."""
    problem, psi, _ = intercepts(BY_NAME["binomial-logit"])
    nothing = problem.with_response(problem.y, np.zeros(problem.n))
    pirls = Pirls(nothing)
    pirls.find_mode(psi[:1], psi[1:3], np.empty(0), np.ones(problem.q))
    np.testing.assert_array_equal(pirls.u, 0.0)
    assert pirls.value == 0.0
    assert pirls.factor.logdet() == 0.0
