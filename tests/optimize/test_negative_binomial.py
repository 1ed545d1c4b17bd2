"""Negative binomial: size as a parameter (exact), and lme4's outer search."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from problems import BY_NAME, build, intercepts, known_size
from scipy import optimize, stats

import refglmm as rg
from refglmm.covariance import make_structure
from refglmm.families.registry import get_family
from refglmm.optimize.control import Control, make_control
from refglmm.optimize.lme4_path import fit_glmm_lme4
from refglmm.optimize.negative_binomial import fit_nb_lme4, size_given_means
from refglmm.optimize.two_stage import fit_glmm

LME4 = make_control(None, None, "lme4")


@pytest.fixture(scope="module")
def ticks():
    """TICKS ~ 1 + (1 | BROOD)."""
    data = rg.datasets.load("grouseticks")
    codes = data["BROOD"].cat.codes.to_numpy()
    n = len(data)
    return build(
        get_family("negative_binomial"), np.ones((n, 1)), [(codes, np.ones((n, 1)), int(codes.max()) + 1)],
        [make_structure("us", 1)], data["TICKS"].to_numpy(float), np.ones(n),
    )  # fmt: skip


def with_size(problem, size):
    return replace(problem, family=known_size("log", size), phi_names=())


def test_size_given_means_maximises_the_likelihood():
    """scipy.stats, optimised on its own."""
    problem, _, _ = intercepts(BY_NAME["negative_binomial-log"], levels=20)
    mu = np.exp(problem.X @ [1.0, 0.4])
    found = size_given_means(problem, mu)

    def minus(log_size):
        size = np.exp(log_size)
        return -np.sum(problem.weights * stats.nbinom.logpmf(problem.y, size, size / (size + mu)))

    expected = np.exp(optimize.minimize_scalar(minus, bracket=(-1.0, 1.0), tol=1e-12).x)
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.golden
@pytest.mark.parametrize(
    ("curvature", "size", "beta", "sd", "loglik"),
    [
        ("expected", 3.284728, 0.528499, 1.544048, -938.67319),
        ("observed", 3.29169, 0.578406, 1.546162, -938.92973),
    ],
)
def test_grouse_ticks_exact(ticks, curvature, size, beta, sd, loglik):
    """Dense emulation: expected information is lme4's Laplace, observed glmmTMB's."""
    optimum, _ = fit_glmm(ticks, 1, Control(curvature=curvature))
    assert optimum.certificate.converged
    assert optimum.phi[0] == pytest.approx(size, abs=2e-4)
    assert optimum.beta[0] == pytest.approx(beta, abs=5e-5)
    assert optimum.par[0] == pytest.approx(sd, abs=5e-5)
    # the other optimum was found without gradients: it may lie a little lower
    assert loglik - 1e-5 < -0.5 * optimum.value < loglik + 5e-4


@pytest.mark.golden
def test_grouse_ticks_with_a_known_size(ticks):
    """size = 2: logLik -943.06531 (dense emulation, expected information); lme4 2.1-0 -943.06584, beta
    .53777, sd 1.51744.

    lme4's optimum is a hundredth of a standard error away in beta: its second stage stops early.
    """
    problem = with_size(ticks, 2.0)
    exact, _ = fit_glmm(problem, 1, Control(curvature="expected"))
    assert -0.5 * exact.value == pytest.approx(-943.06531, abs=1e-5)
    assert exact.beta[0] == pytest.approx(0.53777, abs=3e-3)
    assert exact.par[0] == pytest.approx(1.51744, abs=3e-3)
    compat, _, _ = fit_glmm_lme4(problem, 1, LME4)
    assert -0.5 * compat.value == pytest.approx(-943.06584, abs=1e-4)
    assert compat.beta[0] == pytest.approx(0.53777, abs=3e-3)
    assert compat.par[0] == pytest.approx(1.51744, abs=3e-3)


@pytest.mark.golden
@pytest.mark.slow
def test_grouse_ticks_as_lme4_searches(ticks):
    """Outer search on log size within 5e-5: size 3.284728 (lme4 2.1-0), sigma 1."""
    optimum, mode, sigma = fit_nb_lme4(ticks, 1, LME4, {})
    assert optimum.phi[0] == pytest.approx(3.284728, rel=2e-3)
    assert -0.5 * optimum.value == pytest.approx(-938.67319, abs=2e-3)
    assert sigma == 1.0
    assert np.isfinite(mode.deviance)


def test_the_outer_search_finds_the_joint_optimum():
    """On a small data set lme4's outer search and the joint fit with expected information agree."""
    problem, _, _ = intercepts(BY_NAME["negative_binomial-log"], levels=15, seed=7)
    problem = problem.with_response(problem.y, np.ones(problem.n))
    joint, _ = fit_glmm(problem, 1, Control(curvature="expected"))
    outer, _, _ = fit_nb_lme4(problem, 1, LME4, {})
    assert outer.value == pytest.approx(joint.value, abs=5e-3)
    assert outer.phi[0] == pytest.approx(joint.phi[0], rel=2e-2)
    assert outer.hessian is None or outer.hessian.shape == (3, 3)


def test_the_size_is_at_its_optimum():
    """Fits with the size fixed a little to either side are worse."""
    problem, _, _ = intercepts(BY_NAME["negative_binomial-log"], levels=15, seed=7)
    joint, _ = fit_glmm(problem, 1, Control())
    for factor in (0.8, 0.97, 1.03, 1.25):
        fixed, _ = fit_glmm(with_size(problem, joint.phi[0] * factor), 1, Control())
        assert fixed.value > joint.value
    same, _ = fit_glmm(with_size(problem, joint.phi[0]), 1, Control())
    assert same.value == pytest.approx(joint.value, abs=1e-8)


def test_counts_without_overdispersion_send_the_size_up():
    """Underdispersed counts: size grows, the value tends to the Poisson's from above."""
    codes = np.repeat(np.arange(8), 6)
    y = np.tile([3.0, 4.0, 4.0, 5.0, 4.0, 4.0], 8)
    terms, one = [(codes, np.ones((48, 1)), 8)], np.ones((48, 1))
    nb, _ = fit_glmm(
        build(get_family("negative_binomial"), one, terms, [make_structure("us", 1)], y, np.ones(48)),
        1,
        Control(),
    )
    poisson, _ = fit_glmm(
        build(get_family("poisson"), one, terms, [make_structure("us", 1)], y, np.ones(48)), 1, Control()
    )
    assert nb.phi[0] > 1e3
    assert nb.value == pytest.approx(poisson.value, abs=0.05)
    assert nb.value >= poisson.value - 1e-8
