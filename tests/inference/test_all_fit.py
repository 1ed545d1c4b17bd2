"""Every optimiser on one model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import refglmm as rg
from refglmm.errors import ArgumentError
from refglmm.inference import all_fit as module

FORMULA = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture(scope="module")
def fit():
    return rg.glmer(FORMULA, rg.datasets.load("cbpp"), "binomial")


def test_all_pairs_agree(fit):
    result = fit.all_fit()
    assert len(result.fits) == 9
    assert (result.table["certificate"] == "converged").all()
    assert result.table["above lowest"].max() < 1e-9
    assert result.spread.max() < 1e-6
    np.testing.assert_allclose(result.estimates.to_numpy()[0], np.append(fit.par, fit.beta), atol=1e-6)
    for name, other in result.fits.items():
        first, second = name.split(" + ")
        used = [stage.optimizer for stage in other.optimum.stages]
        assert used[0] == first
        assert second in used[1:]
    text = str(result)
    assert "newton + bobyqa" in text
    assert "184.052564" in text
    assert "Largest differences: herd.(Intercept)" in text
    assert "<table>" in result._repr_html_()


def test_linear_models_have_one_stage_and_lme4_mode_no_newton():
    sleepstudy = rg.lmer("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"))
    result = sleepstudy.all_fit()
    assert list(result.fits) == ["newton", "bobyqa", "nelder_mead"]
    assert result.table.columns[0] == "REML criterion"
    assert result.spread.max() < 1e-4
    lme4 = rg.glmer(FORMULA, rg.datasets.load("cbpp"), "binomial", mode="lme4")
    assert list(lme4.all_fit([("bobyqa", "nelder_mead")]).fits) == ["bobyqa + nelder_mead"]
    assert len(module.optimizer_pairs(lme4)) == 4


def test_a_choice_on_threads_is_the_same(fit):
    chosen = fit.all_fit(["newton", ("bobyqa", "newton")])
    with ThreadPoolExecutor(2) as pool:
        spread = fit.all_fit(["newton", ("bobyqa", "newton")], executor=pool)
    assert list(chosen.fits) == ["newton + newton", "bobyqa + newton"]
    np.testing.assert_array_equal(chosen.estimates, spread.estimates)


def test_a_failing_optimiser_is_listed(fit, monkeypatch):
    honest = module.refit_with

    def failing(model, settings, pair):
        if pair[1] == "bobyqa":
            raise RuntimeError("bobyqa is on holiday")
        return honest(model, settings, pair)

    monkeypatch.setattr(module, "refit_with", failing)
    result = fit.all_fit(["newton", "bobyqa"])
    assert list(result.fits) == ["newton + newton"]
    assert result.table.loc["bobyqa + bobyqa", "certificate"] == "failed"
    assert result.errors == {"bobyqa + bobyqa": "RuntimeError: bobyqa is on holiday"}
    assert "bobyqa + bobyqa: RuntimeError: bobyqa is on holiday" in str(result)


def test_refusals(fit):
    with pytest.raises(ArgumentError, match="unknown optimizer 'lbfgs'"):
        fit.all_fit(["lbfgs"])
    with pytest.raises(ArgumentError, match="empty"):
        fit.all_fit([])


def test_a_penalised_fit_compares_what_was_minimised():
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    penalised = rg.glmer(formula, rg.datasets.load("cbpp"), "binomial", penalized=True)
    found = penalised.all_fit(["newton", "bobyqa"])
    assert found.table.columns[0] == "-2*penalised log(L)"
    np.testing.assert_allclose(found.table.iloc[:, 0], -2.0 * penalised.penalized_loglik, atol=1e-6)
    assert penalised.penalized_loglik < penalised.loglik - 0.1
