"""The hybrid of EM and quasi-Newton: where it stops, what its trace says, and what the exact finish gains."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm.errors import ArgumentError, ConvergenceWarning, NotAvailableError
from refglmm.likelihood.posterior import GroupedModel, Values, hermite_rule
from refglmm.optimize.em import Hybrid, as_hybrid, m_step, positive_definite

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture(scope="module")
def informative():
    """Large counts, many rows a group: a narrow posterior."""
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(40), 10)
    x = np.tile(np.linspace(0.0, 20.0, 10), 40)
    y = rng.poisson(np.exp(2.0 + 0.2 * x + 0.8 * rng.normal(size=40)[g]))
    return pd.DataFrame({"g": g.astype(str), "x": x, "y": y.astype(float)})


@pytest.fixture(scope="module")
def model(informative):
    return rg.GLMM("y ~ x + (1 | g)", informative, "poisson")


def test_frozen_nodes_stop_below_the_maximum_and_the_certificate_says_so(model):
    exact = model.fit(n_agq=11)
    with pytest.warns(ConvergenceWarning, match="stops where the objective with frozen nodes stopped"):
        stopped = model.fit(n_agq=11, method=Hybrid(polish=False))
    assert exact.loglik - stopped.loglik > 1.0
    assert not stopped.convergence.converged
    assert stopped.convergence.newton_decrement > 1.0
    assert stopped.trace.stages[-1].message == "says it converged"
    polished = model.fit(n_agq=11, method="hybrid")
    assert polished.convergence.converged
    assert polished.loglik == pytest.approx(exact.loglik, abs=1e-9)
    np.testing.assert_allclose(polished.beta, exact.beta, atol=1e-7)
    gained = f"{exact.loglik - stopped.loglik:.6f} log-likelihood units above where the frozen nodes stopped"
    assert gained in polished.trace.stages[-1].message


def test_the_trace_shows_every_iteration(model):
    fit = model.fit(n_agq=5, method=Hybrid(iter_em=12))
    names = [stage.name for stage in fit.trace.stages]
    assert names[:2] == ["EM", "quasi-Newton 1"]
    assert names[-1] == "AGQ"
    table = fit.trace.evaluations
    assert (table["stage"] == "EM").sum() == 12
    assert np.all(np.isfinite(table[["value", "x"]]))
    frozen = table.loc[table["stage"] == "quasi-Newton 1", "value"]
    assert np.all(np.diff(frozen) <= 0)


def test_an_em_step_with_moving_nodes_raises_the_likelihood(model):
    group = GroupedModel(model.problem)
    values, rule = Values(np.array([2.0, 0.2]), np.eye(1), np.empty(0)), hermite_rule(15, 1)
    logliks = []
    for _ in range(6):
        posterior = group.posterior(group.place(values, rule), values)
        logliks.append(posterior.loglik)
        values = m_step(group, posterior, values)
    assert np.all(np.diff(logliks) > 0)


def test_shape_parameters_take_part(informative):
    model = rg.GLMM("y ~ x + (1 | g)", informative, "nbinom2")
    fit = model.fit(n_agq=7, method="hybrid")
    assert fit.loglik == pytest.approx(model.fit(n_agq=7).loglik, abs=1e-8)
    assert fit.trace.evaluations["stage"].eq("EM").any()


def test_penalised_hybrid_reaches_the_penalised_maximum():
    model = rg.GLMM(CBPP, rg.datasets.load("cbpp"), "binomial")
    fit = model.fit(n_agq=7, method="hybrid", penalized=True)
    assert fit.penalized_loglik == pytest.approx(model.fit(n_agq=7, penalized=True).penalized_loglik, abs=1e-9)
    with pytest.warns(ConvergenceWarning):
        stopped = model.fit(n_agq=7, method=Hybrid(polish=False), penalized=True)
    assert stopped.penalized_loglik == pytest.approx(fit.penalized_loglik, abs=0.01)
    assert stopped.penalized_loglik <= fit.penalized_loglik


@pytest.mark.golden
def test_the_introductory_poisson_example(shared_data):
    """GLMMadaptive 0.9-7 reports -2782.3057 as converged; the maximum (independent evaluator) is -2756.2983598."""
    table = shared_data("gad_poisson")
    table["sex"] = pd.Categorical(table["sex"].astype(str), ["male", "female"])
    with pytest.warns(ConvergenceWarning):
        stopped = rg.mixed_model("y ~ sex * time", "~ 1 | id", table, "poisson", method="hybrid", polish=False)
    assert -2795.0 < stopped.loglik < -2775.0
    assert stopped.convergence.gradient_norm > 100.0
    fit = rg.mixed_model("y ~ sex * time", "~ 1 | id", table, "poisson", method="hybrid")
    assert fit.loglik == pytest.approx(-2756.29835986, abs=1e-6)
    np.testing.assert_allclose(fit.beta, [2.1110, -0.3066, 0.2402, -0.0510], atol=6e-5)


@pytest.mark.golden
def test_where_the_original_converges_the_hybrid_stops_beside_it(shared_data):
    """GLMMadaptive 0.9-7: basics_binary_ri_q11 stops at -374.519721083581, intercept -2.61816556654."""
    table = shared_data("gad_binary")
    table["sex"] = pd.Categorical(table["sex"].astype(str), ["male", "female"])
    with pytest.warns(ConvergenceWarning):
        stopped = rg.mixed_model("y ~ sex * time", "~ 1 | id", table, "binomial", method="hybrid", polish=False)
    assert stopped.loglik == pytest.approx(-374.519721083581, abs=1e-5)
    assert stopped.fixef["(Intercept)"] == pytest.approx(-2.61816556654, abs=2e-4)


def test_settings_are_checked(model):
    with pytest.raises(ArgumentError, match=r"Hybrid\(iter_em=\) must be a whole number, not -1"):
        Hybrid(iter_em=-1)
    with pytest.raises(ArgumentError, match=r"Hybrid\(scale_beta=\) must be positive"):
        Hybrid(scale_beta=0.0)
    with pytest.raises(ArgumentError, match=r"Hybrid\(update_nodes_every=\) must be at least 1"):
        Hybrid(update_nodes_every=0)
    with pytest.raises(ArgumentError, match="method must be 'exact', 'hybrid' or a Hybrid of settings, not 'pql'"):
        as_hybrid("pql")
    with pytest.raises(NotAvailableError, match="method='hybrid' is for generalized models"):
        model.fit(n_agq=0, method="hybrid")


def test_negative_curvature_is_raised():
    A = np.array([[2.0, 0.0], [0.0, -1.0]])
    assert np.linalg.eigvalsh(positive_definite(A))[0] > 0
    np.testing.assert_array_equal(positive_definite(np.eye(2)), np.eye(2))
