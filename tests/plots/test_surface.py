"""Heights of the objective against refits and direct evaluations, and the path as the trace holds it."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot

import refglmm as rg
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.likelihood.laplace import LaplaceObjective
from refglmm.likelihood.pirls import Pirls
from refglmm.plots.surface import objective_surface, plot_path

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


def test_a_slice_holds_the_others_at_their_optimum(cbpp):
    surface = objective_surface(cbpp, ["herd.(Intercept)", "period3"], points=5)
    assert surface.names == ("herd.(Intercept)", "period3")
    objective = LaplaceObjective(Pirls(cbpp.problem))
    for i, theta in enumerate(surface.x):
        for j, beta in enumerate(surface.y):
            psi = np.array([theta, *cbpp.beta])
            psi[3] = beta
            assert surface.height[j, i] == pytest.approx(objective.value(psi) - cbpp.minus_two_loglik, abs=1e-8)


def test_a_profiled_height_is_what_a_restricted_refit_costs(cbpp):
    # beta of period4 held at a value by an offset: -2 log L of that model, at a theta where it is lowest as well
    surface = objective_surface(cbpp, ["herd.(Intercept)", "period4"], others="profiled", points=9)
    data = rg.datasets.load("cbpp")
    dummies = data.assign(p2=(data["period"] == "2") * 1.0, p3=(data["period"] == "3") * 1.0)
    held = surface.y[2] * (data["period"] == "4")
    formula = "cbind(incidence, size - incidence) ~ p2 + p3 + (1 | herd)"
    fit = rg.glmer(formula, dummies, "binomial", offset=held)
    lowest = fit.minus_two_loglik - cbpp.minus_two_loglik
    assert lowest <= surface.height[2].min() + 1e-6
    # The column of the grid nearest to that theta is a parabola's error away.
    assert surface.height[2].min() == pytest.approx(lowest, abs=0.3)
    slice_ = objective_surface(cbpp, ["herd.(Intercept)", "period4"], points=9)
    assert np.all(surface.height <= slice_.height + 1e-6)


def test_heights_are_never_below_the_optimum(cbpp, sleepstudy, counts):
    for fit in (cbpp, sleepstudy, counts):
        surface = objective_surface(fit, points=15)
        assert np.nanmin(surface.height) > -1e-7
        assert surface.x[0] < surface.optimum[0] < surface.x[-1]
        assert surface.y[0] < surface.optimum[1] < surface.y[-1]
        assert surface.x[0] >= 0.0


def test_a_linear_model_has_its_criterion_over_two_covariance_parameters(sleepstudy):
    surface = objective_surface(sleepstudy, points=3)
    assert surface.names == ("Subject.(Intercept)", "Subject.Days.(Intercept)")
    np.testing.assert_allclose(surface.optimum, sleepstudy.optimum.par[:2])


def test_the_path_is_that_of_the_trace(cbpp):
    ax = cbpp.plot_path(points=7)
    names = ["herd.(Intercept)", "(Intercept)"]
    evaluations = cbpp.trace.evaluations
    path = evaluations.dropna(subset=names)
    ticks, _, dots, best, first, optimum = ax.get_lines()
    np.testing.assert_array_equal(dots.get_xydata(), path[names])
    np.testing.assert_array_equal(first.get_xydata()[0], path[names].iloc[0])
    values = path["value"].to_numpy()
    lowest = [i for i in range(len(values)) if values[i] <= values[: i + 1].min()]
    np.testing.assert_array_equal(best.get_xydata(), path[names].iloc[lowest])
    np.testing.assert_array_equal(optimum.get_xydata()[0], [cbpp.optimum.par[0], cbpp.beta[0]])
    alone = evaluations[evaluations["(Intercept)"].isna()]["herd.(Intercept)"]
    np.testing.assert_array_equal(ticks.get_xdata(), alone)
    assert (ax.get_xlabel(), ax.get_ylabel()) == tuple(names)


def test_paths_of_other_engines():
    data = rg.datasets.load("cbpp")
    for options in ({"mode": "lme4"}, {"n_agq": 7}, {"optimizer": "bobyqa"}):
        ax = plot_path(rg.glmer(CBPP, data, "binomial", **options), points=5)
        assert ax.get_legend() is None
        pyplot.close(ax.figure)


def test_what_has_no_plane_is_refused(cbpp, positive_data):
    with pytest.raises(ArgumentError, match=r"no parameter 'tau'; there are: herd.\(Intercept\), \(Intercept\)"):
        plot_path(cbpp, ["tau", "period2"])
    for wrong in ("period2", ["period2"], ["period2", "period2"]):
        with pytest.raises(ArgumentError, match="parameters must be two different ones of"):
            plot_path(cbpp, wrong)
    with pytest.raises(ArgumentError, match="others must be 'optimum' or 'profiled', not 'ml'"):
        plot_path(cbpp, others="ml")
    with pytest.raises(ArgumentError, match="reach must be a positive number of standard errors, not -1"):
        plot_path(cbpp, reach=-1)
    one = rg.lmer("Yield ~ 1 + (1 | Batch)", rg.datasets.load("Dyestuff"))
    with pytest.raises(ArgumentError, match=r"one parameter only, Batch.\(Intercept\)"):
        plot_path(one)
    options = {"link": "log", "mode": "lme4", "control": {"derivatives": False}}
    gamma = rg.glmer("y ~ 1 + (1 | g)", positive_data, "gamma", **options)
    with pytest.raises(NotAvailableError, match="mode='exact'"):
        plot_path(gamma)


def test_the_grid_reaches_so_many_standard_errors(cbpp):
    surface = objective_surface(cbpp, ["period2", "period4"], reach=4.0, points=3)
    se = np.sqrt(2.0 * np.diag(np.linalg.inv(cbpp.optimum.hessian)))[[2, 4]]
    np.testing.assert_allclose([np.ptp(surface.x), np.ptp(surface.y)], 8.0 * se, rtol=1e-12)
    np.testing.assert_allclose([surface.x[1], surface.y[1]], cbpp.beta[[1, 3]], rtol=1e-12)


def test_a_lower_minimum_elsewhere_is_shown_below_zero():
    # Without row 20 the Laplace surface of culcita has two minima; this fit and lme4's are in the higher one.
    data = rg.datasets.load("culcita").drop(index=19)
    fit = rg.glmer("predation ~ ttt + (1 | block)", data, "binomial")
    surface = objective_surface(fit, others="profiled", reach=4.0, points=9)
    assert -1.0 < surface.height.min() < -0.3
    ax = plot_path(fit, others="profiled", reach=4.0, points=3)
    assert "above that of the fit" in ax.figure.get_suptitle()


def test_the_fit_is_not_changed(cbpp):
    before = cbpp.to_json()
    objective_surface(cbpp, others="profiled", points=3)
    assert cbpp.to_json() == before
