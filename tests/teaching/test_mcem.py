"""Monte Carlo EM: the maximum within its own Monte Carlo error, that error against repetitions, and its refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.likelihood.posterior import GroupedModel, Values, hermite_rule, student_rule
from refglmm.model import GLMM
from refglmm.optimize.em import FrozenObjective
from refglmm.teaching import mcem
from refglmm.teaching.mcem import in_pairs, loglik_error, score_variance

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture(scope="module")
def fit():
    return mcem(CBPP, rg.datasets.load("cbpp"), "binomial", draws=(100, 400), seed=7)


def test_it_reaches_the_maximum_within_its_error(fit):
    exact = rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial", n_agq=25)
    truth = np.append(exact.beta, exact.theta.iloc[0])
    estimates = fit.estimates
    assert fit.settled
    assert np.all(np.abs(estimates["estimate"] - truth) < 4.0 * estimates["mc_error"] + 0.002)
    np.testing.assert_allclose(estimates["std_error"].iloc[:4], exact.se, rtol=0.1)
    last = fit.trace.iloc[-1]
    assert abs(last["loglik"] - exact.loglik) < 4.0 * last["loglik_mc_error"]


def test_the_same_seed_gives_the_same_numbers(fit):
    again = mcem(CBPP, rg.datasets.load("cbpp"), "binomial", draws=(100, 400), seed=np.random.default_rng(7))
    pd.testing.assert_frame_equal(again.estimates, fit.estimates)
    pd.testing.assert_frame_equal(again.trace, fit.trace)


def test_the_trace_and_the_picture(fit):
    trace = fit.trace
    assert list(trace["draws"].unique()) == [100, 400]
    assert np.all(np.diff(trace["draws"]) >= 0)
    assert trace["least_effective_share"].between(0.0, 1.0).all()
    panels = fit.plot(["period2", "sd (Intercept) | herd"])
    assert [panel.get_title(loc="left") for panel in panels] == ["period2", "sd (Intercept) | herd"]
    np.testing.assert_array_equal(panels[0].lines[0].get_ydata(), trace["period2"])
    with pytest.raises(ArgumentError, match="no parameter 'period9'; known are"):
        fit.plot(["period9"])
    assert "mc_error" in str(fit)
    assert "Monte Carlo error" in str(fit)


def test_monte_carlo_errors_are_those_of_repetitions():
    """Spread of the estimated score and log-likelihood over 200 new sets of draws, at fixed parameters."""
    group = GroupedModel(GLMM(CBPP, rg.datasets.load("cbpp"), "binomial").problem)
    values = Values(np.array([-1.4, -1.0, -1.1, -1.6]), np.eye(1) * 0.42, np.empty(0))
    rng, scores, logliks, said = np.random.default_rng(3), [], [], []
    for _ in range(200):
        nodes = group.place(values, student_rule(60, group.groups, 1, 5.0, rng))
        posterior, frozen = group.posterior(nodes, values), FrozenObjective(group, nodes)
        own = frozen.node_scores(posterior, values)
        scores.append(np.einsum("gk,gkd->d", posterior.p, own))
        logliks.append(posterior.loglik)
        said.append((loglik_error(posterior) ** 2, *np.diag(score_variance(posterior, own))))
    found = np.array([np.var(logliks), *np.var(scores, axis=0)])
    np.testing.assert_allclose(np.mean(said, axis=0), found, rtol=0.35)
    exact = group.posterior(group.place(values, hermite_rule(25, 1)), values)
    assert np.mean(logliks) == pytest.approx(exact.loglik, abs=4.0 * np.std(logliks) / np.sqrt(200) + 0.02)


def test_pairs():
    np.testing.assert_array_equal(in_pairs(np.array([[1.0, 2.0, 10.0, 20.0]])), [[11.0, 22.0]])
    rule = student_rule(6, 2, 3, 5.0, np.random.default_rng(1))
    np.testing.assert_array_equal(rule.z[:, :3], -rule.z[:, 3:])
    np.testing.assert_array_equal(rule.log_weight[:, :3], rule.log_weight[:, 3:])


def test_vector_random_effects_and_the_normal_proposal():
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(30), 8)
    x = np.tile(np.linspace(-1.0, 1.0, 8), 30)
    eta = 1.0 + 0.4 * x + 0.6 * rng.normal(size=30)[g] + 0.5 * rng.normal(size=30)[g] * x
    data = pd.DataFrame({"g": g.astype(str), "x": x, "y": rng.poisson(np.exp(eta)).astype(float)})
    fit = mcem("y ~ x + (1 + x | g)", data, "poisson", draws=(50, 200), df=np.inf, seed=1)
    exact = rg.mixed_model("y ~ x", "~ x | g", data, "poisson")
    estimates = fit.estimates
    assert list(estimates.index[2:]) == ["sd (Intercept) | g", "sd x | g", "cor (Intercept), x | g"]
    assert np.all(np.abs(estimates["estimate"].iloc[:2] - exact.beta) < 4.0 * estimates["mc_error"].iloc[:2] + 0.005)


def test_what_it_refuses():
    data = rg.datasets.load("cbpp")
    for draws in ((51,), (), (0,), "100", (10.0,)):
        with pytest.raises(ArgumentError, match="draws must be even whole numbers"):
            mcem(CBPP, data, "binomial", draws=draws)
    with pytest.raises(ArgumentError, match="df must be positive"):
        mcem(CBPP, data, "binomial", df=0)
    with pytest.raises(NotAvailableError, match="call lmer"):
        mcem("size ~ period + (1 | herd)", data, "gaussian")
    with pytest.raises(NotAvailableError, match=r"mcem\(\) needs one random-effects term"):
        mcem("incidence ~ 1 + (1 | herd) + (1 | period)", data, "poisson")
