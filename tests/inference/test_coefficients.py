"""Tables of coefficients with degrees of freedom, the summary that shows them, and classic()."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy import stats

import refglmm as rg
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.inference.coefficients import coefficient_tests
from refglmm.inference.denominator_df import adjusted_covariance


@pytest.fixture(scope="module")
def sleepstudy():
    return rg.lmer("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"))


@pytest.fixture(scope="module")
def classic():
    return rg.GLMM("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy")).classic()


@pytest.mark.golden
def test_summary_as_lmertest(sleepstudy):
    """lmerTest 3.1-3: Days 10.467, 1.546 on 17 df, t = 6.771481489."""
    summary = sleepstudy.summary(ddf="satterthwaite")
    row = summary.coefficients.loc["Days"]
    assert list(summary.coefficients.columns) == ["Estimate", "Std. Error", "df", "t value", "Pr(>|t|)"]
    assert row["df"] == pytest.approx(16.99998, rel=1e-5)
    assert row["t value"] == pytest.approx(6.771481489, rel=1e-6)
    assert row["Pr(>|t|)"] == pytest.approx(2 * stats.t.sf(6.771481489, 17), rel=1e-4)
    text = str(summary)
    assert text.startswith("Linear mixed model fit by REML. t-tests use Satterthwaite's method\nFormula:")
    assert "Days          10.467      1.546 17   6.771 3.26e-06 ***" in text
    assert "Signif. codes" in text
    assert "<th" in summary._repr_html_()
    assert summary.to_dict()["coefficients"]["Days"]["df"] == pytest.approx(17.0, rel=1e-5)


def test_kenward_roger_uses_its_covariance():
    d = rg.datasets.load("sleepstudy").iloc[:-23]
    fit = rg.lmer("Reaction ~ Days + (Days | Subject)", d)
    table = coefficient_tests(fit, "kenward-roger")
    np.testing.assert_allclose(table["Std. Error"], np.sqrt(np.diag(adjusted_covariance(fit))), rtol=1e-12)
    summary = fit.summary(ddf="kenward-roger")
    V = adjusted_covariance(fit).to_numpy()
    assert summary.correlation.iloc[0, 1] == pytest.approx(V[0, 1] / np.sqrt(V[0, 0] * V[1, 1]), rel=1e-12)


def test_the_plain_summary_is_unchanged(sleepstudy):
    assert list(sleepstudy.summary().coefficients.columns) == ["Estimate", "Std. Error", "t value"]
    assert "t-tests" not in str(sleepstudy.summary())


def test_other_methods(sleepstudy):
    residual = coefficient_tests(sleepstudy, "residual")
    assert residual["df"].tolist() == [178.0, 178.0]
    normal = coefficient_tests(sleepstudy, "inf")
    assert list(normal.columns)[2:] == ["df", "z value", "Pr(>|z|)"]
    np.testing.assert_allclose(normal["Pr(>|z|)"], 2 * stats.norm.sf(abs(normal["z value"])), rtol=1e-10)
    assert "t-tests use 12 degrees of freedom" in str(sleepstudy.summary(ddf=12))


def test_classic_linear(classic, sleepstudy):
    table = classic.coefficients
    assert list(table.columns) == ["Estimate", "Std. Error", "Lower 95%", "Upper 95%", "df", "t value", "Pr(>|t|)"]
    half = stats.t.ppf(0.975, table["df"]) * table["Std. Error"]
    np.testing.assert_allclose(table["Upper 95%"] - table["Estimate"], half, rtol=1e-10)
    np.testing.assert_allclose(classic.confint(), table.iloc[:, 2:4])
    assert classic.is_reml
    assert classic.loglik == pytest.approx(-875.96967223, rel=1e-8)
    assert classic.aic == pytest.approx(2 * 875.96967223 + 12, rel=1e-8)
    assert classic.bic == pytest.approx(2 * 875.96967223 + 6 * np.log(180), rel=1e-8)
    assert classic.vcov().iloc[0, 1] == pytest.approx(sleepstudy.vcov().iloc[0, 1], rel=1e-6)
    assert abs(classic.vcov().iloc[0, 1]) > 1.0
    assert classic.sigma == classic.fit.sigma
    text = str(classic)
    assert "Log-likelihood (ML): -875.97   AIC: 1763.94   BIC: 1783.10" in text
    assert "Lower 95%" in text
    assert "<table>" in classic._repr_html_()
    assert str(pickle.loads(pickle.dumps(classic))) == text
    assert classic.summary() is classic
    with pytest.raises(AttributeError):
        classic.nothing_of_the_kind  # noqa: B018


def test_classic_anova_is_type_three_with_the_whole_covariance():
    """A balanced factor whose contrasts are correlated: F of the textbook."""
    cake = rg.datasets.load("cake")
    model = rg.GLMM("angle ~ recipe + temperature + (1 | recipe:replicate)", cake)
    fit = model.classic(df_method="kenward-roger")
    table = fit.anova()
    assert table.loc["recipe", "DenDF"] == pytest.approx(42.0, rel=1e-6)
    y, n = cake.angle, len(cake)

    def squares(*by):
        return float((y.groupby(list(by), observed=True).transform("mean") ** 2).sum())

    between = (squares(cake.recipe) - n * y.mean() ** 2) / 2
    within = (squares(cake.recipe, cake.replicate) - squares(cake.recipe)) / 42
    assert table.loc["recipe", "F value"] == pytest.approx(between / within, rel=1e-5)
    assert "Chisq" in fit.anova(test="Chisq").columns
    smaller = rg.GLMM("angle ~ temperature + (1 | recipe:replicate)", cake).classic()
    assert fit.anova(smaller).frame["Df"].iloc[1] == 2


def test_classic_generalized():
    cbpp = rg.datasets.load("cbpp")
    fit = rg.GLMM("cbind(incidence, size - incidence) ~ period + (1 | herd)", cbpp, "binomial").classic(level=0.9)
    assert list(fit.coefficients.columns)[2:] == ["Lower 90%", "Upper 90%", "df", "z value", "Pr(>|z|)"]
    assert np.isinf(fit.coefficients["df"]).all()
    half = stats.norm.ppf(0.95) * fit.coefficients["Std. Error"]
    np.testing.assert_allclose(fit.coefficients["Estimate"] - fit.coefficients["Lower 90%"], half, rtol=1e-10)
    assert fit.anova().loc["period", "Df"] == 3
    assert fit.ml is fit.fit
    assert "normal distribution" in str(fit)


def test_refusals(sleepstudy):
    model = sleepstudy.model
    with pytest.raises(ArgumentError, match="level must be between 0 and 1"):
        model.classic(level=95)
    with pytest.raises(ArgumentError, match="unknown method"):
        model.classic(df_method="kr")
    with pytest.raises(NotAvailableError, match="REML"):
        model.classic(df_method="kenward-roger", reml=False)
    with pytest.raises(ArgumentError, match="unknown method"):
        sleepstudy.summary(ddf="between")
