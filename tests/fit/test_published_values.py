"""Accessors of real fits against lme4's published figures.

The figures stand in lme4's own tests (test-glmer, test-resids, test-ranef, test-NAhandling, test-lmer). Those
called exact are the same quantities with the inner problem solved to rounding error, by an independent dense
emulation. lme4 stops its inner iterations at 1e-7, so its figures hold to about 1e-4, the exact ones to the
digits given.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from refglmm.datasets import load
from refglmm.errors import SingularFitWarning
from refglmm.model import glmer, glmer_nb, lmer

pytestmark = pytest.mark.golden

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture(scope="module")
def cbpp():
    return glmer(CBPP, load("cbpp"), "binomial")


@pytest.fixture(scope="module")
def cbpp_lme4():
    return glmer(CBPP, load("cbpp"), "binomial", mode="lme4")


@pytest.fixture(scope="module")
def sleepstudy():
    return lmer("Reaction ~ Days + (Days | Subject)", load("sleepstudy"))


def test_cbpp_estimates(cbpp, cbpp_lme4):
    """test-glmer: coefficients 5e-4, variance and theta 6e-4, AIC 1e-5; a full set for the exact fit."""
    published = [-1.39854982537216, -0.992335519118859, -1.12867532780426, -1.58030423764517]
    for fit in (cbpp, cbpp_lme4):
        assert list(fit.fixef.index) == ["(Intercept)", "period2", "period3", "period4"]
        np.testing.assert_allclose(fit.fixef, published, rtol=5e-4)
        assert fit.varcorr["herd"].cov[0, 0] == pytest.approx(0.41245527438386, rel=6e-4)
        assert fit.theta.to_dict() == pytest.approx({"herd.(Intercept)": 0.642226809144453}, rel=6e-4)
        assert fit.aic == pytest.approx(194.052674598026, rel=1e-5)
        assert (fit.df, fit.df_resid, fit.nobs, fit.sigma) == (5, 51, 56, 1.0)
        Zt = fit.get_me("Zt")
        assert Zt.shape == (15, 56)
        assert np.all(Zt.data == 1.0)
        assert fit.bic == pytest.approx(204.17989, abs=1e-3)
    assert cbpp_lme4.deviance == pytest.approx(73.47428, rel=1e-5)
    assert cbpp.deviance == pytest.approx(73.4717235, rel=1e-6)
    assert cbpp.loglik == pytest.approx(-92.0262818715, abs=1e-8)


def test_cbpp_standard_errors(cbpp, cbpp_lme4):
    """Exact: from the Hessian of the exact objective, and from RX; lme4's carry its inner stop."""
    exact = [0.2324718619, 0.3066422283, 0.3266375544, 0.4274360647]
    np.testing.assert_allclose(cbpp.se, exact, rtol=1e-5)
    np.testing.assert_allclose(cbpp_lme4.se, [0.2312140, 0.3031506, 0.3228302, 0.4220492], rtol=1e-4)
    rx = [0.2278908832, 0.3053855320, 0.3260492839, 0.4287950062]
    fit = glmer(CBPP, load("cbpp"), "binomial", se="rx")
    np.testing.assert_allclose(fit.se, rx, rtol=1e-6)


@pytest.mark.parametrize(
    ("type", "published", "exact"),
    [
        ("deviance", (-3.1975034, 2.35668826), (-3.197693902, 2.356997809)),
        ("response", (-0.194674747774946, 0.318458889275477), (-0.1946382998, 0.3184869143)),
        ("pearson", (-2.38163599828335, 2.87908806084918), (-2.381792914, 2.879615563)),
        ("working", (-1.24173431447365, 5.41064465283686), (-1.241678118, 5.41355918)),
    ],
)
def test_cbpp_residual_ranges(cbpp, cbpp_lme4, type, published, exact):
    """test-resids; lme4's optimum is only as sharp as its second stage (1e-5 in the residuals)."""
    residuals = cbpp.residuals(type)
    assert (residuals.min(), residuals.max()) == pytest.approx(exact, rel=1e-6)
    residuals = cbpp_lme4.residuals(type)
    assert (residuals.min(), residuals.max()) == pytest.approx(published, rel=2e-5)


def test_conditional_variances(cbpp, sleepstudy):
    """test-ranef: cbpp 1e-3, sleepstudy 2e-4, Dyestuff (ML) 1e-3."""
    published = [
        0.12128867, 0.13363275, 0.08839850, 0.17337928, 0.12277914, 0.14436663, 0.10658333, 0.10309812,
        0.21289738, 0.13740279, 0.09555677, 0.19460241, 0.14808316, 0.12631006, 0.15816769,
    ]  # fmt: skip
    np.testing.assert_allclose(cbpp.ranef().cond_var["herd"].ravel(), published, rtol=1e-5)
    block = [[145.71273, -21.440414], [-21.440414, 5.310927]]
    blocks = sleepstudy.ranef().cond_var["Subject"]
    assert blocks.shape == (18, 2, 2)
    np.testing.assert_allclose(blocks, np.broadcast_to(block, (18, 2, 2)), rtol=3e-4)
    dyestuff = lmer("Yield ~ 1 + (1 | Batch)", load("Dyestuff"), reml=False)
    np.testing.assert_allclose(dyestuff.ranef().cond_var["Batch"].ravel(), 362.3583, rtol=1e-3)


def test_sleepstudy_criteria(sleepstudy):
    """REML criterion, ML deviance at the REML estimates, log-likelihood and df of lme4's help pages."""
    assert sleepstudy.reml_criterion == pytest.approx(1743.628272, abs=1e-6)
    assert sleepstudy.deviance == pytest.approx(1751.985866, abs=2e-5)
    assert sleepstudy.loglik == pytest.approx(-871.814136, abs=1e-6)
    assert sleepstudy.df == 6


def test_ml_deviance_is_the_objective_of_an_ml_fit():
    data = load("sleepstudy").assign(w=lambda d: np.linspace(0.5, 2.0, len(d)))
    data.loc[5, "w"] = 0.0
    fit = lmer("Reaction ~ Days + (Days | Subject)", data, weights="w", reml=False)
    from refglmm.fit.criteria import ml_deviance

    assert ml_deviance(fit) == pytest.approx(fit.minus_two_loglik, abs=1e-8)


def test_zero_residual():
    """test-resids: five proportions, no variance between them; the third residual is exactly zero."""
    data = pd.DataFrame({"id": np.arange(1, 6), "x": np.arange(1, 6)})
    with pytest.warns(SingularFitWarning):
        fit = glmer("cbind(x, 100 - x) ~ 1 + (1 | id)", data, "binomial")
    assert fit.is_singular()
    assert fit.fixef.iloc[0] == pytest.approx(-3.47609869, abs=1e-7)
    assert fit.loglik == pytest.approx(-8.946533398, abs=1e-8)
    residuals = fit.residuals()
    np.testing.assert_allclose(residuals, [-1.35784, -0.62323, 0.0, 0.55839, 1.07228], atol=6e-6)
    assert fit.vcov().attrs["note"].startswith("standard errors hold the boundary parameters fixed")


def test_missing_values_come_back_as_nan_under_exclude():
    """test-resids: first Reaction missing; REML, ~ 1 + (1 | Subject)."""
    data = load("sleepstudy")
    data.loc[data.index[0], "Reaction"] = np.nan
    fit = lmer("Reaction ~ 1 + (1 | Subject)", data, na_action="exclude")
    residuals = fit.residuals()
    assert len(residuals) == 180
    assert np.isnan(residuals.iloc[0])
    np.testing.assert_allclose(residuals.iloc[1:3], [-86.402032753822, -94.306132753822], rtol=1e-5)
    omitted = lmer("Reaction ~ 1 + (1 | Subject)", data, na_action="omit")
    assert len(omitted.fitted) == 179
    assert list(omitted.fitted.index) == list(data.index[1:])
    assert fit.fitted.dropna().equals(omitted.fitted)


def test_structured_covariance_has_a_summary():
    """lme4 2.1 crashes in vcov for this model (spec, case A15); its estimates: par 1.157292, .022686."""
    fit = glmer("incidence / size ~ 1 + ar1(0 + period | herd)", load("cbpp"), "binomial", weights="size")
    np.testing.assert_allclose(fit.par, [1.157292, 0.022686], rtol=2e-3)
    assert fit.fixef.iloc[0] == pytest.approx(-2.520501, rel=1e-4)
    assert fit.df == 3
    assert fit.vcov().attrs["kind"] == "hessian"
    assert len(fit.theta) == 7
    assert str(fit.summary()).count(" 0.02") == 1


def test_a_model_without_fixed_effects():
    """Poisson, round(Reaction) ~ 0 + (1 | Subject): logLik -1289.370578, theta 5.691861, df 1 (spec, A15)."""
    fit = glmer("round(Reaction) ~ 0 + (1 | Subject)", load("sleepstudy"), "poisson")
    assert fit.loglik == pytest.approx(-1289.370578, abs=1e-4)
    assert fit.theta.iloc[0] == pytest.approx(5.691861, rel=1e-3)
    assert fit.df == 1
    assert "No fixed effects" in str(fit.summary())


def test_estimated_shape_is_named_counted_and_shown():
    fit = glmer_nb("TICKS ~ YEAR + (1 | BROOD)", load("grouseticks"))
    assert list(fit.phi.index) == ["size"]
    assert fit.get_me("glmer.nb.theta") == fit.phi["size"]
    assert fit.df == 3 + 1 + 1
    assert "Shape: size = " in str(fit.summary())
    np.testing.assert_allclose(np.exp(fit.trace.evaluations["log(size)"].iloc[-1]), fit.phi["size"], rtol=1e-3)
    assert fit.trace.evaluations["YEAR96"].isna().any()
    size, mu, y = fit.phi["size"], fit.get_me("mu"), fit.get_me("y")
    np.testing.assert_allclose(fit.residuals("pearson"), (y - mu) / np.sqrt(mu + mu**2 / size), rtol=1e-12)


def test_level_blocks_agree_with_the_joint_covariance():
    """The selected inverse of a crossed model against dense inversion: Var(b) less the part due to beta."""
    fit = lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", load("Penicillin"))
    pieces = fit.get_me("A", "Lambda", "sigma")
    A, Lambda = pieces["A"].toarray(), pieces["Lambda"].toarray()
    dense = pieces["sigma"] ** 2 * Lambda @ np.linalg.inv(A @ A.T + np.eye(30)) @ Lambda.T
    cond_var = fit.ranef().cond_var
    np.testing.assert_allclose(cond_var["plate"].ravel(), np.diag(dense)[:24], rtol=1e-9)
    np.testing.assert_allclose(cond_var["sample"].ravel(), np.diag(dense)[24:], rtol=1e-9)


def test_reading_a_real_fit_leaves_no_trace(cbpp):
    before = cbpp.to_json()
    cbpp.get_me("ALL")
    cbpp.vcov(full=True)
    cbpp.ranef(), cbpp.coef(), cbpp.trace, str(cbpp), str(cbpp.summary()), cbpp._repr_html_()
    assert cbpp.to_json() == before
