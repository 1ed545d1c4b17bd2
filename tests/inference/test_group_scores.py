"""Scores of groups against brute-force integrals and dense normal densities, and which clusters there may be."""

from __future__ import annotations

import numpy as np
import pytest
from diagnostic_fits import CBPP, crossed, crossed_data
from scipy import stats

import refglmm as rg
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.inference import group_scores as module
from refglmm.inference.group_scores import group_information, group_scores


def central(f, x, h=1e-3):
    """Gradient by differences of order four."""
    steps = h * np.eye(len(x))
    return np.array([(8 * (f(x + e) - f(x - e)) - f(x + 2 * e) + f(x - 2 * e)) / (12 * h) for e in steps])


@pytest.fixture(scope="module")
def herds():
    return rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial", n_agq=25)


@pytest.fixture(scope="module")
def days():
    return rg.lmer("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"), reml=False)


def herd_loglik(fit, rows, psi):
    """log of the integral over one herd's effect, as a sum over equidistant points."""
    sd, beta = psi[0], psi[1:]
    eta = fit.model_matrix().to_numpy()[rows] @ beta
    size, y = np.array(fit.frame.weights)[rows], np.array(fit.frame.y)[rows]

    u = np.linspace(-9, 9, 2001)
    p = 1 / (1 + np.exp(-(eta[:, None] + sd * u)))
    density = stats.binom.pmf(np.round(size * y)[:, None], size[:, None], p).prod(axis=0)
    return np.log(density @ stats.norm.pdf(u) * (u[1] - u[0]))


def test_scores_of_herds_are_gradients_of_integrals(herds):
    groups = group_scores(herds)
    assert groups.cluster == "herd"
    assert list(groups.frame.columns) == ["herd.(Intercept)", "(Intercept)", "period2", "period3", "period4"]
    for i in (0, 10):
        exact = central(lambda psi, rows=groups.rows[i]: herd_loglik(herds, rows, psi), groups.estimate)
        np.testing.assert_allclose(groups.scores[i], exact, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(groups.scores.sum(axis=0), 0.0, atol=1e-6)


def test_scores_of_subjects_are_gradients_of_normal_densities(days):
    groups = group_scores(days)
    X, y = days.model_matrix().to_numpy(), np.array(days.frame.y)

    def loglik(psi, rows):
        T = np.array([[psi[0], 0.0], [psi[1], psi[2]]])
        cov = X[rows] @ T @ T.T @ X[rows].T + np.exp(psi[5]) * np.eye(len(rows))
        return stats.multivariate_normal.logpdf(y[rows], X[rows] @ psi[3:5], cov)

    for i in (0, 7):
        exact = central(lambda psi, rows=groups.rows[i]: loglik(psi, rows), groups.estimate)
        np.testing.assert_allclose(groups.scores[i], exact, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(groups.scores.sum(axis=0), 0.0, atol=1e-6)


def test_the_information_of_the_groups_adds_up(herds, days):
    information = group_information(herds, group_scores(herds))
    np.testing.assert_allclose(information.sum(axis=0), 0.5 * np.array(herds.optimum.hessian), rtol=1e-4, atol=1e-4)
    groups = group_scores(days)
    X, n = days.model_matrix().to_numpy(), days.nobs
    total = group_information(days, groups).sum(axis=0)
    T = np.array([[groups.estimate[0], 0.0], [groups.estimate[1], groups.estimate[2]]])
    expected = np.zeros((2, 2))
    for rows in groups.rows:
        cov = X[rows] @ T @ T.T @ X[rows].T + np.exp(groups.estimate[5]) * np.eye(len(rows))
        expected += X[rows].T @ np.linalg.solve(cov, X[rows])
    np.testing.assert_allclose(total[3:5, 3:5], expected, rtol=1e-7)
    assert n == sum(rows.size for rows in groups.rows)


def test_the_outermost_of_nested_factors_holds_the_clusters():
    fit = rg.lmer("strength ~ 1 + (1 | batch/cask)", rg.datasets.load("Pastes"), reml=False)
    groups = group_scores(fit)
    assert groups.cluster == "batch"
    assert len(groups.labels) == 10
    np.testing.assert_allclose(groups.scores.sum(axis=0), 0.0, atol=1e-5)


def test_crossed_factors_need_a_cluster_that_holds_them():
    fit = crossed("poisson")
    with pytest.raises(NotAvailableError, match="the grouping factors g, h are crossed"):
        group_scores(fit)
    with pytest.raises(ArgumentError, match="g splits h 'h0': its clusters are not independent"):
        group_scores(fit, "g")


def test_a_cluster_may_be_given_and_must_not_split_a_group(herds):
    region = np.array(herds.frame.data["herd"].astype(int)) // 6
    groups, small = group_scores(herds, region), group_scores(herds)
    assert groups.cluster == "unit"
    first = [i for i, label in enumerate(small.labels) if int(label) // 6 == 1]
    np.testing.assert_allclose(groups.scores[1], small.scores[first].sum(axis=0), rtol=1e-8, atol=1e-10)
    with pytest.raises(ArgumentError, match="period splits herd '1'"):
        group_scores(herds, "period")


def test_what_has_no_scores(cbpp_lme4):
    restricted = rg.lmer("y ~ x + (1 | g)", crossed_data(), reml=True)
    with pytest.raises(NotAvailableError, match=r"use fit.refit_ml\(\)"):
        group_scores(restricted)
    with pytest.raises(NotAvailableError, match="fit with mode='exact'"):
        group_scores(cbpp_lme4)
    nothing = rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial", n_agq=0)
    with pytest.raises(NotAvailableError, match="n_agq=0"):
        group_scores(nothing)


def counts_data():
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(30), 8)
    x = rng.normal(size=240)
    eta = 0.8 + 0.4 * x + 0.6 * rng.normal(size=30)[g] + 0.5 * rng.normal(size=30)[g] * x
    y = rng.poisson(np.exp(eta) * rng.gamma(3.0, 1 / 3.0, size=240))
    return {"y": y, "x": x, "g": g, "half": g // 15}


@pytest.mark.parametrize("n_agq", [1, 5])
def test_the_scores_of_the_whole_are_those_of_each_group_alone(n_agq):
    fit = rg.glmer("y ~ x + (1 | g) + (0 + x | g)", counts_data(), "nbinom2", n_agq=n_agq)
    groups = group_scores(fit)
    alone = module._each(groups.criterion, fit, groups.rows, module._score, None)
    np.testing.assert_allclose(groups.scores, np.where(groups.free, alone, 0.0), rtol=1e-7, atol=1e-9)
    information = module._each(groups.criterion, fit, groups.rows, module._information, None)
    expected = information[:, groups.free][:, :, groups.free]
    np.testing.assert_allclose(group_information(fit, groups), expected, rtol=2e-5, atol=2e-5)


def test_weighted_groups_weigh_their_scores():
    data, weights = counts_data(), np.where(np.arange(30) < 10, 2.0, 1.0)
    fit = rg.glmer("y ~ x + (1 | g)", data, "poisson", n_agq=7, group_weights=dict(enumerate(weights)))
    groups = group_scores(fit)
    np.testing.assert_allclose(groups.scores.sum(axis=0), 0.0, atol=1e-5)
    halves = group_scores(fit, data["half"])
    np.testing.assert_allclose(halves.scores[0], groups.scores[:15].sum(axis=0), rtol=1e-10, atol=1e-12)
    total = group_information(fit, halves).sum(axis=0)
    np.testing.assert_allclose(total, 0.5 * np.array(fit.optimum.hessian), rtol=1e-5, atol=1e-5)


def test_a_penalty_belongs_to_no_group():
    fit = rg.glmer("y ~ x + (1 | g)", counts_data(), "poisson", n_agq=7, penalized=True)
    pull = 0.5 * fit.penalty.gradient(fit.beta)
    total = group_scores(fit).scores.sum(axis=0)
    assert abs(pull[1]) > 0.1
    np.testing.assert_allclose(total, [0.0, *pull], atol=1e-5)


def test_a_zero_part_has_scores_and_a_sandwich_too():
    data = counts_data()
    data["y"] = np.where(np.random.default_rng(1).random(240) < 0.3, 0.0, data["y"])
    fit = rg.glmer("y ~ x + (1 | g)", data, "poisson", zi="~ 1", n_agq=5)
    groups = group_scores(fit)
    assert list(groups.frame.columns) == ["g.(Intercept)", "(Intercept)", "x", "zi~(Intercept)"]
    np.testing.assert_allclose(groups.scores.sum(axis=0), 0.0, atol=1e-5)
    robust = fit.sandwich("CR0")
    bread = np.linalg.inv(0.5 * np.array(fit.optimum.hessian))
    meat = groups.scores.T @ groups.scores
    np.testing.assert_allclose(robust.covariance, bread @ meat @ bread, rtol=1e-5)
    assert list(robust.table.index) == ["(Intercept)", "x", "zi~(Intercept)"]
    for L in ([0.0, 1.0], [0.0, 1.0, 0.0]):  # over the first predictor, over all
        assert robust.wald_test(L).statistic == pytest.approx((fit.beta[1] / robust.se["x"]) ** 2)
    assert robust.wald_test([0.0, 0.0, 1.0]).statistic == pytest.approx(robust.table["z value"].iloc[2] ** 2)
    with pytest.raises(ArgumentError, match=r"has 2 columns"):
        robust.wald_test([1.0])
