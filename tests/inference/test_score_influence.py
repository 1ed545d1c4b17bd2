"""One Newton step without each group: the step written out, and the fits without the groups."""

from __future__ import annotations

import numpy as np
import pytest
from diagnostic_fits import CBPP, crossed

import refglmm as rg
from refglmm.errors import InfluenceWarning
from refglmm.inference.criterion import criterion
from refglmm.inference.group_scores import group_scores, sub_problem
from refglmm.inference.score_influence import score_influence
from refglmm.likelihood.laplace import LaplaceObjective
from refglmm.likelihood.pirls import Pirls


@pytest.fixture(scope="module")
def herds():
    return rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial")


def test_the_step_is_newtons_for_the_other_groups(herds):
    """Gradient and Hessian of the objective of all rows but one herd's, by itself."""
    found, groups, psi = score_influence(herds), group_scores(herds), criterion(herds).estimate
    for i in (0, 6):
        others = np.setdiff1d(np.arange(herds.nobs), groups.rows[i])
        objective = LaplaceObjective(Pirls(sub_problem(herds, others)))
        steps = 1e-4 * np.eye(psi.size)
        hessian = [
            (objective.value_and_gradient(psi + e)[1] - objective.value_and_gradient(psi - e)[1]) / 2e-4 for e in steps
        ]
        there = psi - np.linalg.solve(hessian, objective.value_and_gradient(psi)[1])
        np.testing.assert_allclose(found.beta.iloc[i], there[1:], rtol=1e-5)
        assert found.components.iloc[i, 0] == pytest.approx(there[0], rel=1e-4)
        np.testing.assert_allclose(found.covariances[i], 2 * np.linalg.inv(hessian)[1:, 1:], rtol=1e-4)


def test_it_comes_close_to_fits_without_the_groups(herds):
    step, exact = herds.score_influence(), herds.influence("herd")
    assert list(step.labels) == list(exact.labels)
    a, b = step.cooks_distance(), exact.cooks_distance()
    assert np.corrcoef(a, b)[0, 1] > 0.99
    error = (step.dfbeta() - exact.dfbeta()).abs().max() / exact.dfbeta().abs().max()
    assert (error < 0.15).all()
    sd = step.component_change()["sd_(Intercept)|herd"], exact.component_change()["sd_(Intercept)|herd"]
    assert np.corrcoef(*sd)[0, 1] > 0.98
    held = herds.influence("herd", method="one-step").dfbeta()
    assert ((held - exact.dfbeta()) ** 2).sum().sum() > ((step.dfbeta() - exact.dfbeta()) ** 2).sum().sum()


def test_a_linear_model_with_its_components():
    fit = rg.lmer("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"), reml=False)
    step, exact = fit.score_influence(), fit.influence("Subject")
    for name in ("sigma", "sd_Days|Subject"):
        assert np.corrcoef(step.components[name], exact.components[name])[0, 1] > 0.95
    assert np.corrcoef(step.par.iloc[:, 0], exact.par.iloc[:, 0])[0, 1] > 0.95
    np.testing.assert_allclose(step.full.par, fit.par, rtol=1e-9)
    np.testing.assert_allclose(step.sigma, step.components["sigma"], rtol=1e-12)


def test_shape_parameters_move_too():
    fit = crossed("negative binomial")
    step, exact = fit.score_influence(), fit.influence("g")
    assert np.corrcoef(step.components.iloc[:, -1], exact.components.iloc[:, -1])[0, 1] > 0.9


def test_what_is_shown_and_refused(herds):
    shown = str(herds.score_influence())
    assert shown.startswith("Influence of 15 units (herd), one Newton step of all parameters; the largest:")
    data = rg.datasets.load("cbpp").assign(own=lambda d: (d["herd"].astype(str) == "3").astype(float))
    own = rg.glmer("cbind(incidence, size - incidence) ~ own + (1 | herd)", data, "binomial")
    with pytest.warns(
        InfluenceWarning, match="no fit without 1 of 15 units of herd; the first is 3: the other groups do"
    ):
        result = own.score_influence()
    assert list(result.failures) == ["3"]
    assert result.beta.loc["3"].isna().all()
    assert result.beta.drop("3").notna().all(axis=None)
