"""The panel of checks: which rows a model has, what they say, and what the report shows."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from diagnostic_fits import cbpp, crossed, grouseticks, sleepstudy
from scipy import stats

import refglmm as rg
from refglmm.errors import ArgumentError, NonIntegerWarning, NotAvailableError, SingularFitWarning
from refglmm.inference.check_report import influence_bound, row_distances


def test_every_check_that_the_model_has_stands_in_it_once():
    names = [r.name for r in cbpp().check(seed=1)]
    assert names == [
        "Convergence",
        "Singular fit",
        "Uniformity (KS)",
        "Dispersion (simulated)",
        "Outliers",
        "Quantiles",
        "Zeros (simulated)",
        "Overdispersion",
        "Influence",
        "Random effects: herd, (Intercept)",
    ]
    linear = [r.name for r in crossed("linear").check(50, seed=1)]
    assert "Overdispersion" not in linear
    assert "Zeros (simulated)" not in linear
    assert "Collinearity" in [r.name for r in grouseticks().check(50, seed=1)]


def test_a_good_fit_is_ok_and_a_bad_one_says_what_to_do():
    report = cbpp().check(seed=1)
    assert report.ok
    assert set(report.as_frame()["status"]) == {"ok"}
    ticks = grouseticks("TICKS ~ YEAR + scale(HEIGHT) + (1 | BROOD)").check(seed=1)
    assert not ticks.ok
    assert ticks.as_frame().loc["Overdispersion", "status"] == "look"
    assert "Overdispersion: Overdispersed: standard errors are too small." in repr(ticks)


def test_the_rows_are_the_single_checks():
    report = cbpp().check(100, seed=3)
    assert report["Overdispersion"] == cbpp().overdispersion()
    assert report["Uniformity (KS)"] == cbpp().simulated_residuals(100, seed=3).uniformity()
    W, p = stats.shapiro(cbpp().ranef()["herd"]["(Intercept)"])
    assert report["Random effects: herd, (Intercept)"].statistic == pytest.approx(W, rel=1e-12)
    assert report["Random effects: herd, (Intercept)"].p_value == pytest.approx(p, rel=1e-10)


def test_distances_are_those_of_one_step_influence():
    fit = cbpp()
    n, p = 56, 4
    cook = fit.influence(method="one-step").cooks_distance() * n / (n - p)
    np.testing.assert_allclose(row_distances(fit), cook, rtol=1e-9)
    assert influence_bound(fit) == pytest.approx(stats.f.median(4, 52), rel=1e-12)


def test_an_influential_row_is_named():
    data = rg.datasets.load("sleepstudy")
    data.loc[9, ["Days", "Reaction"]] = [60, 2500.0]
    report = rg.lmer("Reaction ~ Days + (1 | Subject)", data).check(20, seed=1)
    assert not report["Influence"].ok
    assert "most of all row 9" in report["Influence"].verdict


def test_collinear_terms_are_named():
    data = rg.datasets.load("sleepstudy")
    data["almost"] = data["Days"] + 0.1 * np.sin(np.arange(180.0))
    report = rg.lmer("Reaction ~ Days + almost + (1 | Subject)", data).check(20, seed=1)
    assert not report["Collinearity"].ok
    assert report["Collinearity"].statistic > 100


def test_a_singular_fit_and_a_failed_one_are_said():
    with pytest.warns(SingularFitWarning):
        fit = rg.lmer("Yield ~ 1 + (1 | Batch)", rg.datasets.load("Dyestuff2"))
    report = fit.check(20, seed=1)
    assert not report["Singular fit"].ok
    assert report["Singular fit"].statistic == 1
    assert "see re_pca()" in repr(report)
    certificate = replace(fit.optimum.certificate, converged=False, messages=("the gradient of x is 3",))
    failed = replace(fit, optimum=replace(fit.optimum, certificate=certificate))
    report = failed.check(20, seed=1)
    assert report.status(report["Convergence"]) == "problem"
    assert "Convergence: the gradient of x is 3" in repr(report)


def test_what_cannot_be_simulated_is_noted():
    data = rg.datasets.load("cbpp").assign(rate=lambda d: d["incidence"] / d["size"], half=lambda d: d["size"] / 2)
    with pytest.warns(NonIntegerWarning):
        fit = rg.glmer("rate ~ period + (1 | herd)", data, "binomial", weights="half")
    report = fit.check(20, seed=1)
    assert report.simulated is None
    assert report.notes[0].startswith("No simulated residuals: cannot draw binomial responses")
    assert report.notes[0] in repr(report)
    assert "Overdispersion" in [r.name for r in report]


def test_results_travel_between_processes():
    fit = cbpp()
    report = pickle.loads(pickle.dumps(fit.check(20, seed=1)))
    assert repr(report) == repr(fit.check(20, seed=1))
    influence = fit.influence("herd", method="one-step")
    assert repr(pickle.loads(pickle.dumps(influence))) == repr(influence)
    assert repr(pickle.loads(pickle.dumps(fit.variance_explained()))) == repr(fit.variance_explained())
    assert repr(pickle.loads(pickle.dumps(fit.re_pca()))) == repr(fit.re_pca())


def test_showing_and_asking():
    report = sleepstudy().check(20, seed=1)
    assert repr(report).startswith("Checks of Reaction ~ Days + (1 | Subject)\ncheck")
    assert "<table" in report._repr_html_()
    assert len(report) == len(report.as_frame())
    with pytest.raises(ArgumentError, match="no check 'Beauty'; there are: Convergence"):
        report["Beauty"]
    with pytest.raises(NotAvailableError, match="this model has none"):
        row_distances(rg.lmer("Yield ~ 0 + (1 | Batch)", rg.datasets.load("Dyestuff")))
