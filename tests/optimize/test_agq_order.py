"""n_agq="auto": the ladder of orders, where it ends, and what the fit says of it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from problems import BY_NAME, DESIGN, intercepts, simulated

import refglmm as rg
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.optimize import agq_order
from refglmm.optimize.agq_order import LADDER, affordable_orders
from refglmm.optimize.control import Control

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
EPIL2 = "y ~ Base * trt + Age + Visit + (Visit | subject)"


def test_it_stops_where_the_log_likelihood_settles_and_the_last_fit_is_certified():
    cbpp = rg.datasets.load("cbpp")
    fit = rg.glmer(CBPP, cbpp, "binomial", n_agq="auto")
    path = fit.agq_path
    assert list(path.columns) == ["order", "loglik", "change"]
    assert list(path["order"]) == list(LADDER[: len(path)])
    assert np.all(np.abs(path["change"].to_numpy()[1:-1]) >= agq_order.SETTLED)
    assert abs(path["change"].iloc[-1]) < agq_order.SETTLED
    assert fit.n_agq == path["order"].iloc[-1] == 9
    assert fit.loglik == path["loglik"].iloc[-1]
    direct = rg.glmer(CBPP, cbpp, "binomial", n_agq=9)
    assert fit.loglik == pytest.approx(direct.loglik, abs=1e-9)
    np.testing.assert_allclose(fit.se, direct.se, rtol=1e-6)
    assert fit.optimum.certificate.converged
    first = rg.glmer(CBPP, cbpp, "binomial")
    assert path["loglik"].iloc[0] == pytest.approx(first.loglik, abs=1e-8)  # the first order is Laplace


def test_vector_effects_reach_the_integral():
    """Gold: -655.3502 at 31 points (independent evaluator)."""
    fit = rg.glmer(EPIL2, rg.datasets.load("epil2"), "poisson", n_agq="auto")
    assert fit.loglik == pytest.approx(-655.3502, abs=2e-4)
    assert fit.n_agq < 31


def test_summary_says_what_was_chosen_and_refits_keep_it():
    cbpp = rg.datasets.load("cbpp")
    fit = rg.glmer(CBPP, cbpp, "binomial", n_agq="auto")
    assert f"AGQ: 9 points, last change in log-likelihood {fit.agq_path['change'].iloc[-1]:.1e}" in str(fit.summary())
    assert fit.update(". ~ . - period").n_agq == 9
    plain = rg.glmer(CBPP, cbpp, "binomial", n_agq=9)
    assert "last change" not in str(plain.summary())
    assert plain.agq_path.to_dict("list")["order"] == [9]
    assert np.isnan(plain.agq_path["change"].iloc[0])


def test_different_grouping_factors_have_laplace_alone():
    problem, _ = simulated(BY_NAME["binomial-logit"], DESIGN["nested"])
    assert affordable_orders(problem) == (1,)


def test_the_ladder_ends_where_nodes_become_too_many():
    scalar, _, _ = intercepts(BY_NAME["binomial-logit"])
    assert affordable_orders(scalar) == LADDER
    triple, _ = simulated(BY_NAME["binomial-logit"], DESIGN["cs3"])
    orders = affordable_orders(triple)
    assert max(orders) ** 3 <= agq_order.AFFORDABLE_NODES < LADDER[len(orders)] ** 3


def test_a_ladder_that_runs_out_says_so_by_its_last_change(monkeypatch):
    monkeypatch.setattr(agq_order, "AFFORDABLE_NODES", 5)
    fit = rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial", n_agq="auto")
    assert list(fit.agq_path["order"]) == [1, 5]
    assert fit.agq_path["change"].iloc[-1] == pytest.approx(0.0422, abs=1e-3)


def test_a_bar_appears_when_it_takes_long_and_somebody_watches(monkeypatch, capsys):
    monkeypatch.setattr(agq_order, "PATIENCE", -1.0)
    assert list(agq_order.shown((1, 5, 9))) == [1, 5, 9]
    assert "quadrature" not in capsys.readouterr().err  # no terminal
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert list(agq_order.shown((1, 5, 9))) == [1, 5, 9]
    assert "quadrature orders" in capsys.readouterr().err


def test_what_n_agq_may_be():
    cbpp = rg.datasets.load("cbpp")
    with pytest.raises(ArgumentError, match="from 0 to 100 or 'auto', not 'best'"):
        rg.glmer(CBPP, cbpp, "binomial", n_agq="best")
    with pytest.raises(NotAvailableError, match="use mode='exact'"):
        rg.glmer(CBPP, cbpp, "binomial", mode="lme4", n_agq="auto")
    sleep = rg.datasets.load("sleepstudy")
    assert rg.GLMM("Reaction ~ Days + (1 | Subject)", sleep).fit(n_agq="auto").n_agq == 1


def test_an_order_that_ends_at_the_edge_does_not_hold_the_next_one_there(shared_data):
    """At 9 points the maximum has correlation 1; gold at 15 points: -358.7970259502, inside."""
    data = shared_data("gad_binary")
    fit = rg.mixed_model("y ~ sex * time", "~ time | id", data, "binomial", n_agq="auto")
    path = fit.agq_path.set_index("order")["loglik"]
    assert list(path.index) == [1, 5, 9, 15]
    assert path[15] == pytest.approx(-358.7970259502, abs=1e-6)
    assert fit.theta.iloc[-1] > 0.1


def test_only_standard_deviations_at_zero_are_moved():
    problem, _ = simulated(BY_NAME["binomial-logit"], DESIGN["balanced-us2"])
    optimum = SimpleNamespace(par=np.array([0.7, 0.0, 0.0]), beta=np.zeros(problem.p), phi=np.empty(0))
    start = agq_order.following_start(problem, optimum, Control())
    np.testing.assert_array_equal(start["par"][:2], [0.7, 0.0])  # a covariance of zero is no edge
    assert start["par"][2] > 0.01
    assert optimum.par[2] == 0.0
