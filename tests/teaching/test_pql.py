"""PQL: the estimates of other software, its defining equations, its bias, and what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.likelihood.problem import Problem
from refglmm.model import GLMM
from refglmm.teaching import pql
from refglmm.teaching.pql import KnownScaleLinear, working_problem

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
SD = "sd (Intercept) | herd"


@pytest.fixture(scope="module")
def cbpp():
    return rg.datasets.load("cbpp")


@pytest.mark.golden
def test_mass_glmmpql_on_cbpp(cbpp):
    """MASS 7.3-58.2 (nlme 3.1, R 4.2.2), glmmPQL(cbind(incidence, size - incidence) ~ period, ~ 1 | herd, binomial).

    Its loop stops at a squared relative change of eta of 1e-6; for these figures that was 1e-20, and lme's tolerances
    1e-14. Standard errors: sqrt(diag(varFix)).
    """
    fit = pql(CBPP, cbpp, "binomial", dispersion="estimated")
    published = [-1.32735695157, -1.0161360434, -1.14999363033, -1.6052279914, 0.556326876394, 1.184553938903]
    np.testing.assert_allclose(fit.estimates["estimate"], published, rtol=2e-7)
    np.testing.assert_allclose(
        fit.estimates["std_error"].iloc[:4], [0.2303168598, 0.3550071537, 0.3793832469, 0.4990074880], rtol=1e-7
    )
    assert fit.settled


def dense(problem: Problem, D: float) -> np.ndarray:
    """Z D Z' of one random intercept."""
    group = problem.layout.index[:, 0]
    return D * (group[:, None] == group[None, :])


@pytest.mark.parametrize("reml", [False, True])
def test_the_known_scale_criterion_is_the_normal_density(cbpp, reml):
    problem = working_problem(GLMM(CBPP, cbpp, "binomial").problem, np.linspace(-2.0, 0.5, len(cbpp)))
    objective = KnownScaleLinear(problem, reml)
    par = np.array([0.7])
    V = dense(problem, 0.49) + np.diag(1.0 / problem.weights)
    Vi = np.linalg.inv(V)
    beta = np.linalg.solve(problem.X.T @ Vi @ problem.X, problem.X.T @ Vi @ problem.y)
    r = problem.y - problem.X @ beta
    expected = np.linalg.slogdet(V)[1] + r @ Vi @ r + (problem.n - reml * problem.p) * np.log(2.0 * np.pi)
    expected += reml * np.linalg.slogdet(problem.X.T @ Vi @ problem.X)[1]
    value, gradient = objective.value_and_gradient(par)
    assert value == pytest.approx(expected, abs=1e-10)
    np.testing.assert_allclose(objective.beta, beta, rtol=1e-10)
    steps = [objective.value(par + h) for h in (-2e-3, -1e-3, 1e-3, 2e-3)]
    assert gradient[0] == pytest.approx((steps[0] - 8 * steps[1] + 8 * steps[2] - steps[3]) / 12e-3, rel=1e-8)


def test_at_the_end_the_working_response_reproduces_itself(cbpp):
    """(beta, b) solve the penalised score equations at the estimated D: written out densely."""
    fit = pql(CBPP, cbpp, "binomial")
    beta, sd = fit.estimates["estimate"].iloc[:4].to_numpy(), fit.estimates.loc[SD, "estimate"]
    problem = GLMM(CBPP, cbpp, "binomial").problem
    group, trials = problem.layout.index[:, 0], problem.weights
    Z = np.eye(problem.q)[group]
    b = np.zeros(problem.q)
    for _ in range(50):
        mu = 1.0 / (1.0 + np.exp(-(problem.X @ beta + Z @ b)))
        W = trials * mu * (1.0 - mu)
        H = Z.T @ (W[:, None] * Z) + np.eye(problem.q) / sd**2
        b += np.linalg.solve(H, Z.T @ (trials * (problem.y - mu)) - b / sd**2)
    np.testing.assert_allclose(problem.X.T @ (trials * (problem.y - mu)), 0.0, atol=1e-6)


def test_reml_is_larger_and_the_trace_ends_at_the_estimates(cbpp):
    ml, reml = pql(CBPP, cbpp, "binomial"), pql(CBPP, cbpp, "binomial", reml=True)
    assert reml.estimates.loc[SD, "estimate"] > ml.estimates.loc[SD, "estimate"]
    last = ml.trace.iloc[-1]
    assert last["change"] < 1e-10
    assert last[SD] == ml.estimates.loc[SD, "estimate"]
    text = str(ml)
    assert text.startswith("Penalised quasi-likelihood (ML, dispersion 1), ")
    assert "maximises no likelihood of the data" in text
    assert "std_error" in ml._repr_html_()
    mine = ml.trace
    mine.loc[0, "iteration"] = 99
    assert ml.trace.loc[0, "iteration"] == 1


def test_large_counts_leave_no_bias():
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(30), 6)
    x = rng.normal(size=g.size)
    y = rng.poisson(np.exp(4.0 + 0.3 * x + 0.5 * rng.normal(size=30)[g])).astype(float)
    data = pd.DataFrame({"g": g.astype(str), "x": x, "y": y})
    exact = rg.mixed_model("y ~ x", "~ 1 | g", data, "poisson")
    fit = pql("y ~ x + (1 | g)", data, "poisson")
    np.testing.assert_allclose(fit.estimates["estimate"].iloc[:2], exact.beta, atol=0.01)


def test_slopes_and_a_family_with_a_scale():
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(20), 10)
    x = np.tile(np.linspace(-1.0, 1.0, 10), 20)
    mu = np.exp(1.0 + 0.5 * x + 0.4 * rng.normal(size=20)[g] + 0.3 * rng.normal(size=20)[g] * x)
    data = pd.DataFrame({"g": g.astype(str), "x": x, "y": rng.gamma(20.0, mu / 20.0)})
    fit = pql("y ~ x + (1 + x | g)", data, rg.families.Gamma(link="log"), dispersion="estimated")
    names = ["(Intercept)", "x", "sd (Intercept) | g", "sd x | g", "cor (Intercept), x | g", "sigma"]
    assert list(fit.estimates.index) == names
    assert fit.estimates.loc["sigma", "estimate"] == pytest.approx(20.0**-0.5, rel=0.2)


def test_a_limit_that_is_reached_is_said(cbpp):
    fit = pql(CBPP, cbpp, "binomial", max_iterations=2)
    assert not fit.settled
    assert "2 iterations, NOT settled" in str(fit)


def test_what_it_refuses(cbpp):
    with pytest.raises(NotAvailableError, match="PQL has no estimate of the shape parameters of the negative_binomial"):
        pql("incidence ~ period + (1 | herd)", cbpp, "nbinom2")
    with pytest.raises(NotAvailableError, match="call lmer"):
        pql("size ~ period + (1 | herd)", cbpp, "gaussian")
    with pytest.raises(ArgumentError, match="the gamma family has a scale to be estimated"):
        pql("size ~ period + (1 | herd)", cbpp, "gamma")
    with pytest.raises(ArgumentError, match="dispersion must be 'known' or 'estimated', not 3"):
        pql(CBPP, cbpp, "binomial", dispersion=3)
    with pytest.raises(ArgumentError, match="max_iterations must be a positive whole number"):
        pql(CBPP, cbpp, "binomial", max_iterations=0)
