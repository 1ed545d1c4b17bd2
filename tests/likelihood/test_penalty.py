"""Penalties on the fixed effects: derivatives, what is free, fits against published maxima, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import refglmm as rg
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.likelihood.penalty import make_penalty

NAMES = ("(Intercept)", "x", "z", "zi~(Intercept)", "zi~x")
BETA = np.array([0.3, -1.7, 2.4, 0.9, -0.2])
ASKED = {
    "default": True,
    "settings": {"mu": 0.5, "scale": 2.0, "df": 7, "intercept": True},
    "by name": {"mu": {"x": -1.0}, "scale": {"z": 0.3, "x": np.inf}, "zi": {"scale": 3.0}},
    "mvt": {"kind": "mvt", "mu": -0.2, "scale": 1.5, "df": 4},
}
CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


def central(function, x, step=1e-3):
    """Fourth-order central differences."""
    slopes = []
    for h in step * np.eye(x.size):
        near, far = function(x + h) - function(x - h), function(x + 2 * h) - function(x - 2 * h)
        slopes.append((8.0 * near - far) / (12.0 * step))
    return np.array(slopes)


@pytest.mark.parametrize("given", ASKED.values(), ids=ASKED)
def test_gradient_and_hessian(given):
    penalty = make_penalty(given, NAMES)
    np.testing.assert_allclose(penalty.gradient(BETA), central(penalty.value, BETA), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(penalty.hessian(BETA), central(penalty.gradient, BETA), rtol=1e-8, atol=1e-9)


def test_independent_penalties_are_student_densities():
    penalty = make_penalty({"mu": 0.5, "scale": 2.0, "df": 7, "intercept": True}, NAMES[:3])
    log_density = stats.t(7, 0.5, 2.0).logpdf
    expected = -2.0 * np.sum(log_density(BETA[:3]) - log_density(0.5))
    assert penalty.value(BETA[:3]) == pytest.approx(expected, rel=1e-13)


def test_many_degrees_of_freedom_are_a_ridge():
    penalty = make_penalty({"df": 1e9, "scale": 2.0}, NAMES[:3])
    assert penalty.value(BETA[:3]) == pytest.approx(np.sum(BETA[1:3] ** 2) / 4.0, rel=1e-7)


def test_mvt_is_one_multivariate_density():
    penalty = make_penalty("mvt", NAMES[:3])
    log_density = stats.multivariate_t(np.zeros(3), np.eye(3), df=3).logpdf
    assert penalty.value(BETA[:3]) == pytest.approx(
        -2.0 * (log_density(BETA[:3]) - log_density(np.zeros(3))), rel=1e-13
    )


def test_intercepts_and_other_parts_are_free_unless_asked_for():
    assert list(make_penalty(True, NAMES).free) == [True, False, False, True, True]
    assert list(make_penalty({"zi": True}, NAMES).free) == [True, False, False, True, False]
    assert list(make_penalty({"intercept": True}, NAMES).free) == [False, False, False, True, True]
    assert make_penalty({"scale": np.inf}, NAMES) is None
    assert make_penalty(False, NAMES) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "penalized must be True, False, 'mvt' or a mapping"),
        ({"sd": 1}, "penalized has no setting 'sd'; known are mu, scale, df"),
        ({"mu": {"w": 1}}, r"penalized\['mu'\] names 'w', which is no coefficient"),
        ({"scale": -1}, r"penalized\['scale'\] must be positive; for \(Intercept\) it is -1"),
        ({"df": np.inf}, r"penalized\['df'\] must be positive and finite"),
        ({"mu": "a"}, "must hold numbers"),
        ({"kind": "lasso"}, "kind must be 'independent' or 'mvt'"),
        ({"kind": "mvt", "mu": {"x": 1}}, "takes one number for each of mu, scale, df; 'mu' is not one"),
        ({"dispersion": True}, "the model has no dispersion part"),
        ({"zi": 3}, r"penalized\['zi'\] must be True or a mapping"),
    ],
)
def test_what_means_nothing_is_refused(given, message):
    with pytest.raises(ArgumentError, match=message):
        make_penalty(given, NAMES)


@pytest.fixture(scope="module")
def penalised():
    return rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial", penalized={"scale": 0.5}, n_agq=9)


def test_a_penalised_fit_is_a_maximum_of_the_sum(penalised):
    """Against the plain likelihood at the same points, penalty added by hand."""
    assert penalised.convergence.converged
    assert penalised.penalty.describe(penalised.design.names).startswith(
        "Student t penalty (mu = 0, scale = 0.5, df = 3)"
    )
    problem = penalised.problem

    def total(psi):
        start = dict(zip(("par", "beta"), problem.split(psi)[:2], strict=True))
        here = penalised.model.fit(n_agq=9, method=rg.Hybrid(iter_em=0, iter_outer=0, polish=False), start=start)
        r = here.beta[1:] / 0.5
        return here.minus_two_loglik + np.sum(4.0 * np.log1p(r**2 / 3.0))

    best = problem.join(penalised.optimum.par, penalised.beta, penalised.optimum.phi)
    with pytest.warns(rg.errors.ConvergenceWarning):
        values = [total(best), *(total(best + step) for step in 1e-2 * np.vstack([np.eye(5), -np.eye(5)]))]
    assert values[0] == pytest.approx(-2.0 * penalised.penalized_loglik, abs=1e-9)
    assert min(values[1:]) > values[0]
    assert penalised.loglik == pytest.approx(penalised.penalized_loglik + 0.5 * penalised.optimum.penalty, abs=1e-12)


def test_standard_errors_are_those_of_the_penalised_hessian(penalised):
    plain = rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial", n_agq=9)
    assert np.all(np.abs(penalised.fixef.iloc[1:]) < np.abs(plain.fixef.iloc[1:]))
    assert np.all(penalised.se.iloc[1:] < plain.se.iloc[1:])
    assert penalised.loglik < plain.loglik
    notes = " ".join(penalised.summary().notes)
    assert "logLik, AIC and BIC are without the penalty" in notes
    assert "fit by penalised maximum likelihood" in " ".join(str(penalised).split())
    assert any("penalised estimates (" in note for note in rg.anova(penalised, plain).notes)
    assert penalised.to_dict()["criteria"]["penalized_loglik"] == penalised.penalized_loglik


def test_refits_profiles_and_updates_keep_the_penalty(penalised):
    again = penalised.refit(penalised.frame.y)
    np.testing.assert_allclose(again.beta, penalised.beta, atol=1e-6)
    assert penalised.update(penalized=False).penalty is None
    limits = penalised.profile(which=["period4"]).confint()
    wald = penalised.fixef["period4"] + np.array([-1.96, 1.96]) * penalised.se["period4"]
    np.testing.assert_allclose(np.ravel(limits.to_numpy(dtype=float)), wald, atol=0.12)


def test_a_penalty_holds_what_separates():
    """x separates the response: no finite maximum, a finite penalised one."""
    rng = np.random.default_rng(3)
    x, g = np.tile([0.0, 1.0], 60), np.repeat(np.arange(10), 12)
    chance = 1.0 / (1.0 + np.exp(-2.0 * rng.normal(size=10)[g]))
    y = np.where(x == 1.0, 1.0, (rng.random(120) < chance).astype(float))
    data = pd.DataFrame({"x": x, "g": g.astype(str), "y": y})
    with pytest.warns(rg.errors.SeparationWarning):
        rg.glmer("y ~ x + (1 | g)", data, "binomial")
    fit = rg.glmer("y ~ x + (1 | g)", data, "binomial", penalized={"scale": 2.5})
    assert fit.convergence.converged
    assert 2.0 < fit.fixef["x"] < 15.0


KNOWN = {
    "poisson t": ("gad_poisson", "poisson", "mvt", -2759.5274890704663),
    "binary t": ("gad_binary", "binomial", {"pen_df": 3, "kind": "mvt"}, -379.12623379543123),
    "binary ridge": ("gad_binary", "binomial", {"pen_df": 200, "kind": "mvt"}, -378.4952852207342),
}
KNOWN_SE = {
    "poisson t": [0.10791217276625362, 0.15267385630392327, 0.0015886079060704783, 0.002774398589066365],
    "binary t": [0.3985232148274876, 0.5498991446772592, 0.03762909989522719, 0.050286177690057755],
    "binary ridge": [0.3710936070507323, 0.5156183975390193, 0.0364659586733593, 0.048778504627058274],
}


@pytest.mark.golden
@pytest.mark.parametrize("name", KNOWN)
def test_the_multivariate_penalty_reaches_the_known_maxima(shared_data, name):
    """Independent maxima of GLMMadaptive's penalised objective, 11 points, by an evaluator that shares no code."""
    data, family, penalized, value = KNOWN[name]
    table = shared_data(data)
    table["sex"] = pd.Categorical(table["sex"].astype(str), ["male", "female"])
    fit = rg.mixed_model("y ~ sex * time", "~ 1 | id", table, family, penalized=penalized)
    assert fit.penalized_loglik == pytest.approx(value, abs=1e-6)
    np.testing.assert_allclose(fit.se, KNOWN_SE[name], rtol=1e-4)


@pytest.mark.parametrize("arguments", [{"n_agq": 0}, {"mode": "lme4"}, {"autoscale": True}])
def test_where_the_fixed_effects_are_no_parameters_there_is_no_penalty(arguments):
    with pytest.raises(NotAvailableError, match="penalized= is for generalized models"):
        rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial", penalized=True, **arguments)


def test_a_linear_mixed_model_has_no_penalty():
    with pytest.raises(NotAvailableError, match="penalized= is for generalized models"):
        rg.mixed_model("size ~ period", "~ 1 | herd", rg.datasets.load("cbpp"), "gaussian", penalized=True)
