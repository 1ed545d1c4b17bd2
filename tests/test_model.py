"""The public functions: what they accept, what they refuse, where their warnings point, what they leave alone."""

from __future__ import annotations

import contextlib
import json
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import refglmm as rg
from refglmm.errors import (
    ArgumentError,
    FamilyWarning,
    NotAvailableError,
    RefglmmError,
    RefglmmWarning,
    SeparationWarning,
    SingularFitWarning,
)

FORMULA = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture(scope="module")
def cbpp():
    return rg.datasets.load("cbpp")


@pytest.fixture(scope="module")
def fit(cbpp):
    return rg.glmer(FORMULA, cbpp, "binomial")


def test_a_model_prints_what_it_is(cbpp):
    assert repr(rg.GLMM(FORMULA, cbpp, "binomial")).endswith("n=56, p=4, q=15)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_agq": -1}, "whole number from 0 to 100"),
        ({"n_agq": 1.5}, "whole number from 0 to 100"),
        ({"n_agq": True}, "whole number from 0 to 100"),
        ({"se": "sandwich"}, "'hessian' or 'rx'"),
        ({"mode": "glmmTMB"}, "'exact' or 'lme4'"),
        ({"optimizer": "nlminb"}, "unknown optimizer 'nlminb'"),
        ({"optimizer": ("newton", "newton", "newton")}, "a pair"),
        ({"mode": "lme4", "optimizer": "newton"}, "no gradients"),
        ({"control": {"speed": 11}}, "unknown control setting 'speed'"),
        ({"control": {"threads": 0}}, "must be positive"),
        ({"checks": {"vibes": "stop"}}, "unknown check 'vibes'"),
        ({"start": {"sd": [1.0]}}, "unknown start component 'sd'"),
        ({"start": {"beta": [0.0]}}, "must be 4 finite numbers"),
        ({"start": [1.0, 2.0]}, "must be 1 finite numbers"),
        ({"start": {"theta": [1.0, 2.0]}}, "must have length 1"),
        ({"etastart": np.zeros(3)}, "must have length 56"),
        ({"mustart": np.full(56, 2.0)}, "leaves the domain of the logit link"),
        ({"etastart": np.zeros(56), "mustart": np.full(56, 0.5)}, "not both"),
        ({"reml": True}, "belongs to lmer"),
        ({"colour": "blue"}, "no argument 'colour'"),
    ],
)
def test_a_bad_argument_is_named(cbpp, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        rg.glmer(FORMULA, cbpp, "binomial", **arguments)


def test_what_is_not_there_says_so(cbpp):
    data = rg.datasets.load("grouseticks")
    with pytest.raises(NotAvailableError, match=r"one grouping factor \(this model has: BROOD, LOCATION\)"):
        rg.glmer("TICKS ~ YEAR + (1 | BROOD) + (1 | LOCATION)", data, "poisson", n_agq=5)


def test_quadrature_means_nothing_for_a_linear_model():
    data = rg.datasets.load("sleepstudy")
    with pytest.raises(ArgumentError, match="likelihood is exact"):
        rg.GLMM("Reaction ~ Days + (1 | Subject)", data).fit(n_agq=5)


@pytest.mark.parametrize(
    "start",
    [
        [0.5],
        {"par": [2.0]},
        {"theta": [0.1]},
        {"beta": [-1.0, 0.0, 0.0, 0.0]},
        {"theta": [1.0], "beta": [-2.0, 0.0, 0.0, 0.0]},
    ],
)
def test_the_start_does_not_matter(cbpp, fit, start):
    other = rg.glmer(FORMULA, cbpp, "binomial", start=start)
    assert other.loglik == pytest.approx(fit.loglik, abs=1e-10)
    np.testing.assert_allclose(other.beta, fit.beta, atol=1e-6)


@pytest.mark.parametrize("mode", ["exact", "lme4"])
def test_etastart_and_mustart_are_starts(cbpp, mode):
    plain = rg.glmer(FORMULA, cbpp, "binomial", mode=mode)
    eta = np.full(56, -1.0)
    for start in ({"etastart": eta}, {"mustart": 1 / (1 + np.exp(-eta))}):
        other = rg.glmer(FORMULA, cbpp, "binomial", mode=mode, **start)
        assert other.loglik == pytest.approx(plain.loglik, abs=1e-10 if mode == "exact" else 1e-5)


@pytest.mark.parametrize("n_agq", [0, 1, 5])
def test_autoscale_changes_nothing_but_the_path(n_agq):
    data = rg.datasets.load("Contraception")
    formula = "use ~ age + I(age^2) + urban + (1 | district)"
    plain = rg.glmer(formula, data, "binomial", n_agq=n_agq)
    scaled = rg.glmer(formula, data, "binomial", n_agq=n_agq, autoscale=True)
    assert scaled.loglik == pytest.approx(plain.loglik, abs=1e-9)
    np.testing.assert_allclose(scaled.beta, plain.beta, rtol=1e-5)
    information = [fit.conditional.rx.T @ fit.conditional.rx for fit in (scaled, plain)]
    np.testing.assert_allclose(information[0], information[1], rtol=1e-5)
    np.testing.assert_allclose(scaled.se, plain.se, rtol=1e-5)


def test_gaussian_with_identity_link_becomes_a_linear_model():
    data = rg.datasets.load("sleepstudy")
    with pytest.warns(FamilyWarning, match="call lmer"):
        glmer = rg.glmer("Reaction ~ Days + (1 | Subject)", data)
    assert glmer.is_lmm
    assert glmer.loglik == rg.lmer("Reaction ~ Days + (1 | Subject)", data, reml=False).loglik


def test_a_warning_points_at_the_line_that_asked():
    data = rg.datasets.load("Dyestuff2")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rg.lmer("Yield ~ 1 + (1 | Batch)", data)
    (warning,) = caught
    assert warning.category is SingularFitWarning
    assert warning.filename == __file__


def test_separation_withdraws_the_certificate():
    data = pd.DataFrame({"y": [0, 1] * 10 + [0] * 20, "f": ["a"] * 20 + ["b"] * 20, "g": list(range(10)) * 4})
    with pytest.warns(SeparationWarning, match="separation in fb") as caught:
        fit = rg.glmer("y ~ f + (1 | g)", data, "binomial")
    assert any(isinstance(w.message, SeparationWarning) for w in caught)
    assert not fit.convergence.converged
    assert "separation in fb" in str(fit.summary())


def test_the_same_call_gives_the_same_bits(cbpp, fit):
    other = rg.glmer(FORMULA, cbpp, "binomial")
    np.testing.assert_array_equal(other.beta, fit.beta)
    assert other.loglik == fit.loglik


def test_blas_threads_are_restored(cbpp):
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def blas():
        return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]

    before = blas()
    rg.glmer(FORMULA, cbpp, "binomial")
    assert blas() == before


def test_a_wrong_family_of_counts_leaves_nothing_behind(cbpp):
    before = cbpp.copy(deep=True)
    with pytest.raises(RefglmmError):
        rg.glmer("incidence ~ period + (1 | nobody)", cbpp, "poisson")
    pd.testing.assert_frame_equal(cbpp, before)


values = st.one_of(st.none(), st.integers(-3, 3), st.floats(allow_nan=True), st.text(max_size=5), st.lists(st.floats()))


@given(
    st.dictionaries(
        st.sampled_from(
            ["n_agq", "mode", "optimizer", "start", "control", "se", "weights", "offset", "subset", "na_action", "link"]
        ),
        values,
        max_size=2,
    )
)
@settings(max_examples=80, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_but_our_own_errors_escapes(arguments):
    data = rg.datasets.load("cbpp")
    before = data.copy(deep=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RefglmmWarning)
        with contextlib.suppress(RefglmmError):
            rg.glmer(FORMULA, data, "binomial", **arguments)
    pd.testing.assert_frame_equal(data, before)


# -- no random effects -------------------------------------------------------------------------------------------------

BARE = {"no_random_effects": "ignore"}


@pytest.mark.parametrize("mode", ["exact", "lme4"])
@pytest.mark.parametrize("reml", [True, False])
def test_a_linear_model_without_random_effects_is_least_squares(mode, reml):
    """Closed form; logLik of R's lm: -950.1465282, with REML=TRUE -946.8318317."""
    data = rg.datasets.load("sleepstudy")
    fit = rg.lmer("Reaction ~ Days", data, reml=reml, mode=mode, checks=BARE)
    X, y = np.column_stack([np.ones(180), data["Days"]]), data["Reaction"].to_numpy()
    beta, (rss,) = np.linalg.lstsq(X, y, rcond=None)[:2]
    np.testing.assert_allclose(fit.beta, beta, rtol=1e-10)
    assert fit.sigma == pytest.approx(np.sqrt(rss / (178 if reml else 180)), rel=1e-10)
    np.testing.assert_allclose(fit.vcov(), fit.sigma**2 * np.linalg.inv(X.T @ X), rtol=1e-9)
    assert fit.loglik == pytest.approx(-946.8318317 if reml else -950.1465282, abs=1e-7)
    assert fit.convergence.converged
    assert not fit.convergence.singular


def test_what_follows_a_fit_without_random_effects():
    fit = rg.lmer("Reaction ~ Days", rg.datasets.load("sleepstudy"), checks=BARE)
    assert fit.df == 3
    assert list(fit.ranef().as_frame().columns) == ["grp", "term", "level", "condval"]
    assert fit.ranef().as_frame().empty
    assert fit.refit(fit.frame.y + 1.0).beta[0] == pytest.approx(fit.beta[0] + 1.0)
    np.testing.assert_allclose(fit.summary(ddf="satterthwaite").coefficients["df"], 178.0)
    assert json.loads(fit.to_json())
    assert np.all(np.isfinite(fit.confint()))
    assert fit.predict(se=True)["se"].min() > 0.0


def test_a_linear_model_without_random_effects_is_refused_unless_asked_for():
    with pytest.raises(rg.errors.FormulaError, match="random"):
        rg.lmer("Reaction ~ Days", rg.datasets.load("sleepstudy"))
