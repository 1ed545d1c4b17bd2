"""lme4's walk: a literal dense emulation of its steps, and the values that lme4 itself prints."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
from problems import BY_NAME, DESIGN, build, dense_M, intercepts, laplace, simulated
from scipy import stats

import refglmm as rg
from refglmm.covariance import make_structure
from refglmm.errors import NotAvailableError, PirlsError
from refglmm.families.registry import get_family
from refglmm.likelihood.lme4_walk import Lme4Walk


@pytest.fixture(scope="module")
def cbpp():
    """Problem of cbind(incidence, size - incidence) ~ period + (1 | herd)."""
    data = rg.datasets.load("cbpp")
    period, herd = data["period"].cat.codes.to_numpy(), data["herd"].cat.codes.to_numpy()
    X = np.column_stack([np.ones(56), period == 1, period == 2, period == 3])
    size = data["size"].to_numpy(float)
    return build(
        get_family("binomial"), X, [(herd, np.ones((56, 1)), 15)], [make_structure("us", 1)],
        data["incidence"].to_numpy() / size, size,
    )  # fmt: skip


#: Optimum of lme4 2.1-0 (snapshot of August 2026), nAGQ = 0.
THETA_0 = 0.6418385553
BETA_0 = np.array([-1.360475728, -0.976173236, -1.111072784, -1.559675684])
#: ... nAGQ = 1.
THETA_1 = 0.6420699277
BETA_1 = np.array([-1.3983428645, -0.9919249750, -1.1282162159, -1.5797454136])


@pytest.fixture
def after_stage_one(cbpp):
    walk = Lme4Walk(cbpp)
    walk.stage_one(np.array([1.0]))
    walk.fix_start()
    walk.stage_one(np.array([THETA_0]))
    walk.fix_start()
    return walk


# -- a literal emulation -------------------------------------------------------------------------------------

MU_ETA = {
    "logit": lambda eta: np.exp(-eta) / (1 + np.exp(-eta)) ** 2,
    "log": np.exp,
    "cloglog": lambda eta: np.exp(eta - np.exp(eta)),
    "identity": np.ones_like,
    "inverse": lambda eta: -1.0 / eta**2,
}
START = {
    "binomial": lambda y, a: (a * y + 0.5) / (a + 1.0),
    "poisson": lambda y, a: y + 0.1,
    "gamma": lambda y, a: np.full_like(y, y.mean()),
    "inverse_gaussian": lambda y, a: y,
    "gaussian": lambda y, a: y,
}
LINK = {
    "logit": lambda mu: np.log(mu / (1 - mu)),
    "log": np.log,
    "cloglog": lambda mu: np.log(-np.log(1 - mu)),
    "identity": lambda mu: mu,
    "inverse": lambda mu: 1 / mu,
}


def unit_deviances(family, y, mu, a):
    def log_ratio(top, bottom):
        return np.where(top > 0, top * np.log(np.where(top > 0, top, 1.0) / bottom), 0.0)

    return (
        a
        * {
            "binomial": lambda: 2 * (log_ratio(y, mu) + log_ratio(1 - y, 1 - mu)),
            "poisson": lambda: 2 * (log_ratio(y, mu) - (y - mu)),
            "gamma": lambda: -2 * (np.log(y / mu) - (y - mu) / mu),
            "inverse_gaussian": lambda: (y - mu) ** 2 / (mu**2 * y),
            "gaussian": lambda: (y - mu) ** 2,
        }[family]()
    )


def absolute(family, y, mu, a):
    """A(mu) of lme4: minus twice the log density, with its "+ 2" for families with a dispersion."""
    d, n = unit_deviances(family, y, mu, a).sum(), y.size
    if family in ("binomial", "poisson"):
        return -2 * oracles.log_density(family, y, mu, a).sum()
    phi = d / a.sum()
    if family == "gamma":
        return -2 * np.sum(a * stats.gamma.logpdf(y, 1 / phi, scale=mu * phi)) + 2
    if family == "inverse_gaussian":
        return np.sum(a) * (np.log(2 * np.pi * phi) + 1) + 3 * np.sum(a * np.log(y)) + 2
    return n * (np.log(2 * np.pi * d / n) + 1) + 2 - np.sum(np.log(a))


def emulate(case, problem, M, beta, eta):
    """Steps (a) to (e) with dense matrices, beta fixed or (None) solved jointly; returns value, u, beta,
    eta.
    """
    y, a, X, q = problem.y, problem.weights, problem.X, M.shape[1]
    joint = beta is None
    fixed = problem.offset + (0.0 if joint else X @ beta)
    A = np.column_stack([M, X]) if joint else M
    mu, previous, solution = oracles.INVERSE_LINK[case.link](eta), np.inf, np.zeros(A.shape[1])
    for _ in range(100):
        slope = MU_ETA[case.link](eta)
        W = a * slope**2 / oracles.VARIANCE[case.family](mu, 1.0)
        z = eta - fixed + (y - mu) / slope
        system = A.T @ (W[:, None] * A)
        system[:q, :q] += np.eye(q)
        old, solution = solution, np.linalg.solve(system, A.T @ (W * z))

        def put(v):
            eta = fixed + A @ v
            mu = oracles.INVERSE_LINK[case.link](eta)
            return eta, mu, unit_deviances(case.family, y, mu, a).sum() + v[:q] @ v[:q]

        eta, mu, pd = put(solution)
        if abs((previous - pd) / pd) < 1e-7:
            break
        halvings = 0
        while not pd <= previous and halvings < 20:
            solution = old + 0.5 * (solution - old)
            eta, mu, pd = put(solution)
            halvings += 1
        previous = pd
    else:
        raise AssertionError("the emulation did not converge")
    u = solution[:q]
    logdet = np.linalg.slogdet(system[:q, :q])[1]
    return logdet + u @ u + absolute(case.family, y, mu, a), u, solution[q:], eta


EMULATED = [
    "binomial-logit",
    "binomial-cloglog",
    "poisson-log",
    "gamma-log",
    "gamma-inverse",
    "inverse_gaussian-log",
    "gaussian-log",
]


@pytest.mark.parametrize("design", [DESIGN["crossed-us2+us1"], DESIGN["cs3"]], ids=str)
@pytest.mark.parametrize("name", EMULATED)
def test_both_stages_against_the_emulation(name, design):
    """Dense solves, own formulas for every family: the same iterates, so the same early stop."""
    case = BY_NAME[name]
    problem, psi = simulated(case, design)
    if case.family == "gaussian":  # lme4 takes eta0 from g(y): keep it finite
        problem = problem.with_response(np.maximum(problem.y, 0.3))
    par, beta, _ = problem.split(psi)
    M = dense_M(problem, par, design.terms)
    start = problem.offset + LINK[case.link](START[case.family](problem.y, problem.weights))
    walk = Lme4Walk(problem)
    value, u, beta_0, eta = emulate(case, problem, M, None, start)
    assert walk.stage_one(par) == pytest.approx(value, rel=1e-10)
    np.testing.assert_allclose(walk.u, u, atol=1e-9)
    np.testing.assert_allclose(walk.beta, beta_0, rtol=1e-8)
    walk.fix_start()
    value, u, _, _ = emulate(case, problem, M, beta, eta)
    assert walk.stage_two(par, beta) == pytest.approx(value, rel=1e-10)
    np.testing.assert_allclose(walk.u, u, atol=1e-9)
    assert walk.halvings == 0


def test_halving_against_the_emulation():
    """A start far away makes the loop halve, and the emulation with it."""
    case, design = BY_NAME["binomial-logit"], DESIGN["nested"]
    problem, psi = simulated(case, design)
    par, beta, _ = problem.split(psi)
    par = 4.0 * par
    walk = Lme4Walk(problem)
    walk.eta_start = np.full(problem.n, 3.0)
    value = walk.stage_two(par, beta)
    with np.errstate(all="ignore"):  # the first iterates are out at |eta| = 100
        expected, u, _, _ = emulate(case, problem, dense_M(problem, par, design.terms), beta, walk.eta_start)
    assert walk.halvings > 0
    assert value == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(walk.u, u, atol=1e-9)


# -- lme4's own numbers --------------------------------------------------------------------------------------


@pytest.mark.golden
def test_cbpp_stage_one(cbpp):
    """lme4 2.1-0: devfun0(1) at the start of the fit, and its optimum (nAGQ = 0), logLik -92.05434650.

    The first evaluation starts at g(mu0), all others where the first one ended.
    """
    walk = Lme4Walk(cbpp)
    assert walk.stage_one(np.array([1.0])) == pytest.approx(186.7231469483, abs=5e-11)
    walk.fix_start()
    value = walk.stage_one(np.array([THETA_0]))
    assert value == pytest.approx(184.1086930, abs=5e-8)
    assert -0.5 * value == pytest.approx(-92.05434650, abs=5e-9)
    np.testing.assert_allclose(walk.beta, BETA_0, atol=1e-9)


@pytest.mark.golden
def test_cbpp_laplace_pieces(after_stage_one):
    """lme4 2.1-0: ldL2 + |u|^2 + A = 184.053132779 at its optimum."""
    walk = after_stage_one
    value = walk.stage_two(np.array([THETA_1]), BETA_1)
    assert walk.logdet_L2 == pytest.approx(16.896930508, abs=2e-8)
    assert walk.u @ walk.u == pytest.approx(9.725211159, abs=2e-8)
    assert value - walk.logdet_L2 - walk.u @ walk.u == pytest.approx(157.430991112, abs=2e-8)
    assert value == pytest.approx(184.053132779, abs=1e-9)


@pytest.mark.golden
def test_cbpp_devfun_away_from_the_optimum(after_stage_one):
    """lme4 2.1-0: devfun(theta = 1, beta = -1), starting at the eta of stage 1."""
    assert after_stage_one.stage_two(np.ones(1), -np.ones(4)) == pytest.approx(191.9330024445, abs=5e-10)


@pytest.mark.golden
def test_cbpp_quadrature_is_relative_to_the_saturated_model(after_stage_one):
    """lme4 2.1-0: logLik -50.0050153 at k = 25, at theta .6475185 and the betas printed with it."""
    beta = np.array([-1.3992305, -0.9914037, -1.1278195, -1.5794707])
    value = after_stage_one.quadrature(np.array([0.6475185]), beta, 25)
    assert -0.5 * value == pytest.approx(-50.0050153, abs=1e-7)


def test_quadrature_with_one_node_is_laplace_relative(after_stage_one):
    """k = 1 differs from the Laplace value by A - sum of deviances."""
    walk, theta = after_stage_one, np.array([THETA_1])
    relative = walk.quadrature(theta, BETA_1, 1)
    laplace = walk.stage_two(theta, BETA_1)
    problem = walk.problem
    saturated = -2 * stats.binom.logpmf(np.round(problem.y * problem.weights), problem.weights, problem.y).sum()
    assert laplace - relative == pytest.approx(saturated, rel=1e-12)


# -- what the walk promises ----------------------------------------------------------------------------------


def test_the_objective_does_not_remember(after_stage_one):
    """Each call starts from the same eta: the same arguments give the same bits, whatever came before."""
    walk = after_stage_one
    first = walk.stage_two(np.array([0.7]), BETA_1)
    walk.stage_two(np.array([3.0]), -BETA_1)
    assert walk.stage_two(np.array([0.7]), BETA_1) == first


def test_the_early_stop_is_visible(after_stage_one):
    """The lesson of the module: u is not the mode, and log|H| belongs to the iterate before it."""
    walk, theta = after_stage_one, np.array([1.0])
    value = walk.stage_two(theta, -np.ones(4))
    objective = laplace(walk.problem)
    exact, mode = (
        objective.value(np.append(theta, -np.ones(4))),
        objective.mode(np.append(theta, -np.ones(4))),
    )
    assert 1e-10 < np.max(np.abs(walk.u - mode.u)) < 1e-3
    assert 1e-6 < abs(walk.logdet_L2 - mode.logdet_L2) < 1e-2
    assert 1e-6 < abs(value - exact) < 1e-2


def test_failure_is_infinite_with_the_reason(cbpp, monkeypatch):
    monkeypatch.setattr("refglmm.likelihood.lme4_walk.MAX_ITERATIONS", 1)
    walk = Lme4Walk(cbpp)
    assert walk.stage_one(np.array([1.0])) == np.inf
    assert isinstance(walk.last_error, PirlsError)
    assert "did not converge in 1 iterations" in str(walk.last_error)
    assert walk.stage_two(np.array([1.0]), BETA_1) == np.inf
    assert walk.quadrature(np.array([1.0]), BETA_1, 5) == np.inf


def test_quadrature_beyond_one_scalar_term_is_refused():
    problem, psi = simulated(BY_NAME["binomial-logit"], DESIGN["nested"])
    par, beta, _ = problem.split(psi)
    with pytest.raises(NotAvailableError, match="single scalar random-effects term"):
        Lme4Walk(problem).quadrature(par, beta, 5)


def test_sigma_of_a_dispersion_family():
    """sqrt((Pearson sum + |u|^2) / n), by hand."""
    problem, psi, terms = intercepts(BY_NAME["gamma-log"])
    par, beta, _ = problem.split(psi)
    walk = Lme4Walk(problem)
    walk.stage_two(par, beta)
    mu = np.exp(problem.X @ beta + par[0] * walk.u[terms[0][0]])
    pearson = np.sum(problem.weights * (problem.y - mu) ** 2 / mu**2)
    assert walk.sigma() == pytest.approx(np.sqrt((pearson + walk.u @ walk.u) / problem.n), rel=1e-12)
