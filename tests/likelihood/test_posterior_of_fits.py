"""Posterior moments against one-dimensional integrals, best linear prediction, and another program's likelihood."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from diagnostic_fits import CBPP
from scipy import integrate, stats

import refglmm as rg
from refglmm.fit.rows import own_rows
from refglmm.inference.dynamic import grouped_rows
from refglmm.inference.parameters import full_vector
from refglmm.likelihood.agq import AdaptiveQuadratureObjective
from refglmm.likelihood.pirls import Pirls
from refglmm.likelihood.posterior import Groups, hermite_rule


def posterior(groups, par, beta, phi, n_points):
    pirls = Pirls(groups.problem)
    pirls.find_mode(par, beta, phi)
    return groups.posterior(groups.place(pirls, hermite_rule(n_points, groups.q)), beta, phi)


def of_fit(fit, n_points, x=None):
    rows = own_rows(fit.design)
    term = fit.design.terms[0]
    grouped = grouped_rows(fit, rows, np.array(fit.frame.y), np.array(fit.frame.weights), term.codes, term.n_levels)
    x = full_vector(fit) if x is None else x
    return posterior(grouped, *fit.problem.split(x), n_points)


@pytest.fixture(scope="module")
def herds():
    return rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial", n_agq=11)


def test_one_effect_a_group(herds):
    known = of_fit(herds, 25)
    sd, X = herds.par.iloc[0], herds.model_matrix().to_numpy()
    for j in (0, 9):
        rows = np.array(herds.design.terms[0].codes) == j
        size, y = np.array(herds.frame.weights)[rows], np.array(herds.frame.y)[rows]

        def integrand(b, power, eta=X[rows] @ herds.beta, size=size, y=y):
            p = 1 / (1 + np.exp(-(eta + b)))
            return b**power * np.exp(
                stats.binom.logpmf(np.round(size * y), size, p).sum() + stats.norm.logpdf(b, 0, sd)
            )

        total, first, second = (integrate.quad(integrand, -6, 6, (k,), epsabs=0, epsrel=1e-11)[0] for k in range(3))
        assert known.log_likelihoods[j] == pytest.approx(np.log(total), abs=1e-9)
        assert known.mean()[j, 0] == pytest.approx(first / total, abs=1e-8)
        assert known.covariance()[j, 0, 0] == pytest.approx(second / total - (first / total) ** 2, abs=1e-8)


def test_the_rule_is_that_of_the_fit(herds):
    assert of_fit(herds, 11).loglik == pytest.approx(herds.loglik, abs=1e-9)


def test_a_linear_model_is_exact():
    fit = rg.lmer("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"), reml=False)
    known = of_fit(fit, 3)
    assert known.loglik == pytest.approx(fit.loglik, abs=1e-8)
    modes = fit.ranef(cond_var=True)["Subject"]
    np.testing.assert_allclose(known.mean(), modes, rtol=1e-8, atol=1e-8)
    X, y, j = fit.model_matrix().to_numpy(), np.array(fit.frame.y), np.array(fit.design.terms[0].codes) == 4
    Sigma = fit.varcorr["Subject"].cov
    V = X[j] @ Sigma @ X[j].T + fit.sigma**2 * np.eye(j.sum())
    gain = Sigma @ X[j].T @ np.linalg.inv(V)
    np.testing.assert_allclose(known.mean()[4], gain @ (y[j] - X[j] @ fit.beta), rtol=1e-8)
    np.testing.assert_allclose(known.covariance()[4], Sigma - gain @ X[j] @ Sigma, rtol=1e-8)


@pytest.mark.golden
def test_two_effects_a_group_with_the_root_that_is_upper_triangular_in_b():
    """log L of toenail slopes at nAGQ = 11: the maximum of GLMMadaptive's rule, found by an independent program.

    There -549.7828690000601; with a lower triangular root the same parameters give another value.
    """
    data = rg.datasets.load("toenail")
    data["treatment"] = pd.Categorical(data["treatment"], categories=["itraconazole", "terbinafine"])
    data["bad"] = (data["outcome"].astype(str) != "none or mild").astype(int)
    slopes = rg.GLMM("bad ~ treatment * time + (time | patientID)", data, "binomial")
    D = np.array([[69.40266476950711, -5.2425197937744885], [-5.2425197937744885, 0.9647151207487172]])
    T = np.linalg.cholesky(D)
    beta = [-2.489922183330275, -0.29310879804059753, -0.8003343863898447, -0.2661997363839504]
    grouped = Groups.of(slopes.problem, "this test")
    known = posterior(grouped, np.array([T[0, 0], T[1, 0], T[1, 1]]), np.array(beta), np.empty(0), 11)
    assert known.loglik == pytest.approx(-549.7828690000601, abs=1e-6)
    S = known.nodes.T @ known.nodes.root
    np.testing.assert_allclose(S[:, 1, 0], 0.0, atol=1e-10)


def test_a_degenerate_covariance_and_a_group_without_rows(herds):
    x = full_vector(herds)
    x[0] = 0.0
    none = of_fit(herds, 11, x)
    np.testing.assert_allclose(none.b, 0.0, atol=1e-15)
    rows, term = own_rows(herds.design), herds.design.terms[0]
    more = grouped_rows(herds, rows, np.array(herds.frame.y), np.array(herds.frame.weights), term.codes, 16)
    known = posterior(more, *herds.problem.split(full_vector(herds)), 11)
    assert known.log_likelihoods[15] == pytest.approx(0.0, abs=1e-12)
    assert known.covariance()[15, 0, 0] == pytest.approx(herds.par.iloc[0] ** 2, rel=1e-12)


@pytest.mark.parametrize("tie", [False, True])
def test_several_predictors_have_the_masses_of_the_objective(tie):
    """The objective adds up the same nodes by other loops, in batches and relative to the modes."""
    data = rg.datasets.load("Salamanders")
    model = rg.GLMM("count ~ mined + (1 | site)", data, "poisson", zi="~ mined + (1 | site)", tie=tie)
    problem = model.problem
    par = np.array([0.6, 0.4, 0.9]) if tie else np.array([0.6, 0.9])
    beta, phi = np.array([-0.2, 0.8, 0.3, -0.7]), np.empty(0)
    known = posterior(Groups.of(problem, "this test"), par, beta, phi, 9)
    objective, psi = AdaptiveQuadratureObjective(Pirls(problem), 9), problem.join(par, beta, phi)
    np.testing.assert_allclose(known.log_likelihoods, objective.group_log_likelihood(psi), rtol=1e-10)
    mean, covariance = objective.posterior_moments(psi)
    T = known.nodes.T
    np.testing.assert_allclose(known.mean(), mean @ T.T, atol=1e-9)
    np.testing.assert_allclose(known.covariance(), T @ covariance @ T.T, atol=1e-9)
