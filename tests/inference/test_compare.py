"""Comparisons of fits: lme4's and lmerTest's tables, boundary mixtures, single-term deletions, refusals."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import refglmm as rg
from refglmm.errors import ArgumentError, DataError, NotAvailableError, SingularFitWarning
from refglmm.inference.boundary import Boundary, _one_term, chi2_tail, compare_structure, contribution, spanned
from refglmm.inference.compare import boundary_note
from refglmm.inference.reduced import Reference, without_fixed_term, without_random

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture(scope="module")
def cbpp():
    return rg.datasets.load("cbpp")


@pytest.fixture(scope="module")
def cbpp_fit(cbpp):
    return rg.glmer(CBPP, cbpp, "binomial")


@pytest.fixture(scope="module")
def sleep():
    """Fits to sleepstudy by name."""
    d = rg.datasets.load("sleepstudy")
    random = {"none": "(1 | Subject)", "diag": "(Days || Subject)", "full": "(Days | Subject)"}
    fits = {name: rg.lmer(f"Reaction ~ Days + {term}", d) for name, term in random.items()}
    fits["constant"] = rg.lmer("Reaction ~ 1 + (1 | Subject)", d)
    return fits


# -- likelihood ratios -------------------------------------------------------------------------------------------------


@pytest.mark.golden
def test_cbpp_against_a_glm_and_without_period(cbpp):
    """lme4 2.1-0: against glm (logLik -99.029199) and against (1 | herd) only (-104.831535)."""
    fit = rg.glmer(CBPP, cbpp, "binomial", mode="lme4")
    table = rg.anova(fit, (-99.029199, 4)).frame
    assert table["Chisq"].iloc[1] == pytest.approx(14.00527, rel=1e-5)
    assert table["Pr(>Chisq)"].iloc[1] == pytest.approx(0.0001823, rel=1e-3)
    glm = without_random(fit)
    assert glm.loglik == pytest.approx(-99.029199, rel=1e-8)
    assert (glm.df, glm.nobs) == (4, 56)
    small = rg.glmer("cbind(incidence, size - incidence) ~ 1 + (1 | herd)", cbpp, "binomial", mode="lme4")
    assert small.loglik == pytest.approx(-104.831535, rel=1e-7)
    table = fit.anova(small).frame
    assert table["Chisq"].iloc[1] == pytest.approx(25.60994, rel=1e-6)
    assert table["Df"].iloc[1] == 3
    assert table["Pr(>Chisq)"].iloc[1] == pytest.approx(1.151e-5, rel=1e-3)


@pytest.mark.golden
def test_sleepstudy_as_lme4(sleep):
    """lme4: ML comparison of REML fits (A12), and the columns of the printed table."""
    large, small = sleep["none"], sleep["constant"]
    table = rg.anova(large, small)
    assert list(table.columns) == ["npar", "AIC", "BIC", "logLik", "-2*log(L)", "Chisq", "Df", "Pr(>Chisq)"]
    assert list(table.index) == ["small", "large"]
    np.testing.assert_allclose(table["AIC"], [1916.5411, 1802.0786], rtol=1e-7)
    np.testing.assert_allclose(table["BIC"], [1926.120, 1814.851], rtol=1e-6)
    assert table.loc["large", "Chisq"] == pytest.approx(116.46242, rel=1e-7)
    assert np.isnan(table.loc["small", "Pr(>Chisq)"])
    text = str(table)
    assert text.startswith("refitting model(s) with ML (instead of REML)")
    assert "small: Reaction ~ 1 + (1 | Subject)" in text
    assert "< 2.2e-16 ***" in text
    assert "<table>" in table._repr_html_()


def test_members_may_come_from_elsewhere(cbpp_fit):
    """Pairs, references, and statsmodels' results by what they offer."""
    y = cbpp_fit.frame.y

    def result(family, llf=-99.0292, n=56, params=4):
        glm = SimpleNamespace(family=type(family, (), {})(), endog=y[:n], formula="y ~ period")
        return SimpleNamespace(llf=llf, params=np.zeros(params), nobs=float(n), model=glm)

    for other in (Reference(-99.0292, 4, 56, "glm"), result("Binomial"), SimpleNamespace(loglik=-99.0292, df=4)):
        table = cbpp_fit.anova(other).frame
        assert table["Df"].iloc[1] == 1
        assert table["Chisq"].iloc[1] == pytest.approx(2 * (cbpp_fit.loglik + 99.0292), rel=1e-9)
    assert cbpp_fit.anova(result("Gamma", params=3)).frame["npar"].iloc[0] == 4
    least_squares = SimpleNamespace(llf=-950.1465, params=np.zeros(2), nobs=180, mse_resid=1.0, model=None)
    d = rg.datasets.load("sleepstudy")
    table = rg.lmer("Reaction ~ Days + (1 | Subject)", d, reml=False).anova(least_squares).frame
    assert table["npar"].tolist() == [3, 4]
    with pytest.raises(DataError, match="not all fitted to the same size of dataset"):
        cbpp_fit.anova(result("Binomial", n=50))
    with pytest.raises(ArgumentError, match="cannot compare with a str"):
        cbpp_fit.anova("glm")


def test_order_ties_and_names(sleep):
    table = rg.anova(sleep["full"], sleep["constant"], sleep["none"], names=["c", "a", "b"])
    assert list(table.index) == ["a", "b", "c"]
    assert table["npar"].tolist() == [3, 4, 6]
    same = rg.anova(sleep["none"], sleep["none"], names=["m", "m2"])
    assert same["Df"].tolist()[1] == 0
    assert np.isnan(same["Pr(>Chisq)"].iloc[1])
    m = sleep["none"]
    assert rg.anova(m, sleep["constant"]).index.tolist() == ["model 2", "m"]
    assert rg.anova(None, sleep["none"], names=["lm", "lmer"]).index.tolist() == ["lm", "lmer"]
    with pytest.raises(ArgumentError, match="names has 1 entries"):
        rg.anova(sleep["none"], sleep["full"], names=["a"])
    with pytest.raises(ArgumentError, match="at least one model"):
        rg.anova()
    with pytest.raises(ArgumentError, match="second model"):
        rg.anova((-1.0, 2))
    with pytest.raises(ArgumentError, match="belong to the table of one model"):
        sleep["none"].anova(sleep["full"], type=3)


def test_refit_may_be_turned_off(sleep):
    table = rg.anova(sleep["none"], sleep["full"], refit=False)
    assert table["Chisq"].iloc[1] == pytest.approx(2 * (sleep["full"].loglik - sleep["none"].loglik), rel=1e-12)
    assert "refitting" not in str(table)
    assert "REML" not in str(table)
    assert "do not compare" in str(rg.anova(sleep["none"], sleep["constant"], refit=False))
    assert "do not compare" in str(rg.anova(sleep["none"], without_random(sleep["none"])))


def test_different_data_are_refused(sleep, cbpp_fit, cbpp):
    d = rg.datasets.load("sleepstudy")
    with pytest.raises(DataError, match=r"same size of dataset \(.*: 180, .*: 179\)"):
        rg.anova(sleep["none"], rg.lmer("Reaction ~ 1 + (1 | Subject)", d.iloc[1:]))
    other = d.assign(Reaction=d.Reaction.where(d.index != d.index[7], 999.0))
    with pytest.raises(DataError, match=rf"1 responses differ, first at row {d.index[7]}"):
        sleep["none"].anova(rg.lmer("Reaction ~ 1 + (1 | Subject)", other))
    shuffled = d.sample(frac=1.0, random_state=1)
    table = sleep["none"].anova(rg.lmer("Reaction ~ 1 + (1 | Subject)", shuffled))
    assert table["Chisq"].iloc[1] == pytest.approx(116.46242, rel=1e-6)
    assert table["Pr(>Chisq)"].iloc[1] == pytest.approx(stats.chi2.sf(116.46242, 1), rel=1e-4)
    doubled = cbpp.assign(incidence=2 * cbpp.incidence, size=2 * cbpp["size"])
    with pytest.raises(DataError, match="different weights"):
        cbpp_fit.anova(rg.glmer("cbind(incidence, size - incidence) ~ 1 + (1 | herd)", doubled, "binomial"))


def test_relative_likelihoods_of_lme4_mode_are_refused(cbpp):
    agq = rg.glmer(CBPP, cbpp, "binomial", mode="lme4", n_agq=5)
    with pytest.raises(DataError, match="relative to the saturated model"):
        agq.anova((-99.029199, 4))
    exact = [rg.glmer(CBPP, cbpp, "binomial", n_agq=k) for k in (1, 5)]
    assert "different n_agq" in str(rg.anova(*exact))


def test_not_nested_has_no_p_value():
    d = rg.datasets.load("sleepstudy")
    d["x"] = np.random.default_rng(1).normal(size=len(d))
    d["week"] = d.Days // 5
    a = rg.lmer("Reaction ~ x + (1 | Subject)", d)
    b = rg.lmer("Reaction ~ Days + factor(week) + (1 | Subject)", d)
    table = rg.anova(a, b)
    assert np.isnan(table.loc["b", "Pr(>Chisq)"])
    assert "a is not a special case of b" in str(table)


# -- boundaries --------------------------------------------------------------------------------------------------------


def test_mixtures_are_what_they_say():
    one = Boundary(True, ("v",), "mixture")
    assert one.p_value(3.84, 1) == pytest.approx(0.5 * stats.chi2.sf(3.84, 1))
    assert one.p_value(0.0, 1) == 1.0
    slope = Boundary(True, ("v",), "mixture")
    expected = 0.5 * stats.chi2.sf(5.0, 1) + 0.5 * stats.chi2.sf(5.0, 2)
    assert slope.p_value(5.0, 2) == pytest.approx(expected)
    two = Boundary(True, ("v", "w"), "mixture")
    assert two.weights(2) == {0: 0.25, 1: 0.5, 2: 0.25}
    assert two.p_value(4.0, 2) == pytest.approx(0.5 * stats.chi2.sf(4, 1) + 0.25 * stats.chi2.sf(4, 2))
    assert two.describe(3) == "0.25 chisq(1) + 0.5 chisq(2) + 0.25 chisq(3)"
    assert Boundary(True).p_value(4.0, 2) == pytest.approx(stats.chi2.sf(4, 2))
    assert (chi2_tail(0.0, 0), chi2_tail(1e-9, 0)) == (1.0, 0.0)
    # a variance estimated at zero leaves a statistic of rounding, whose p is that of zero and not one half
    assert Boundary(True, ("v",), "mixture").p_value(5.7e-14, 1) == pytest.approx(1.0, abs=1e-6)


def test_the_mixture_of_two_independent_variances_by_simulation():
    """T of two normal means with known variance 1, each constrained to be >= 0: z+^2 + w+^2."""
    z = np.random.default_rng(8).normal(size=(200_000, 2))
    T = (np.maximum(z, 0.0) ** 2).sum(axis=1)
    two = Boundary(True, ("v", "w"), "mixture")
    for t in (0.5, 2.0, 5.0):
        share, p = np.mean(t < T), two.p_value(t, 2)
        assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / len(T))


def test_the_bound_for_a_block_is_one():
    """Projection of a normal matrix on the cone of 2 x 2 covariance matrices: p is below the bound, above zero."""
    rng = np.random.default_rng(2)
    a, b, c = rng.normal(size=(3, 100_000))
    M = np.stack([np.stack([a, c / np.sqrt(2)], -1), np.stack([c / np.sqrt(2), b], -1)], -2)
    T = (np.maximum(np.linalg.eigvalsh(M), 0.0) ** 2).sum(axis=1)
    bound = Boundary(True, ("v", "w"), "bound")
    for t in (1.0, 4.0, 8.0):
        assert np.mean(t < T) < bound.p_value(t, 3) < stats.chi2.sf(t, 3)


def kind(small, large):
    found = compare_structure(small, large)
    return found.nested, found.kind, found.variances


def test_what_is_tested_is_recognised(sleep):
    intercept, slope = "Subject.(Intercept)", "Subject.Days"
    d = rg.datasets.load("sleepstudy")
    assert kind(sleep["none"], sleep["full"]) == (True, "mixture", (slope,))
    assert kind(sleep["none"], sleep["diag"]) == (True, "mixture", ("Subject.1.Days",))
    assert kind(sleep["diag"], sleep["full"]) == (True, "interior", ())
    assert kind(sleep["constant"], sleep["none"]) == (True, "interior", ())
    assert kind(sleep["constant"], sleep["full"]) == (True, "mixture", (slope,))
    assert kind(None, sleep["none"]) == (True, "mixture", (intercept,))
    assert kind(None, sleep["full"]) == (True, "bound", (intercept, slope))
    assert kind(None, sleep["diag"]) == (True, "mixture", (intercept, "Subject.1.Days"))
    assert not compare_structure(sleep["full"], sleep["none"]).nested
    structured = rg.lmer("Reaction ~ Days + cs(Days | Subject)", d)
    assert kind(sleep["none"], structured)[1] == "unknown"
    diagonal = rg.lmer("Reaction ~ Days + diag(Days | Subject)", d)
    assert kind(sleep["none"], diagonal) == (True, "mixture", (slope,))
    assert kind(diagonal, sleep["full"]) == (True, "interior", ())
    common = rg.lmer("Reaction ~ Days + diag(Days | Subject, hom = TRUE)", d)
    assert kind(None, common)[1] == "mixture"
    assert len(kind(None, common)[2]) == 1
    halves = d.assign(half=pd.Categorical(np.where(d.Days < 5, "early", "late")))
    wide = rg.lmer("Reaction ~ Days + (0 + half | Subject)", halves)
    assert kind(rg.lmer("Reaction ~ Days + (1 | Subject)", halves), wide) == (True, "unknown", ())


@pytest.fixture(scope="module")
def halves():
    """Fits to sleepstudy with each subject's days in two parts, by their random effects."""
    d = rg.datasets.load("sleepstudy")
    d["half"] = pd.Categorical(np.where(d.Days < 5, "early", "late"))
    d["third"] = pd.Categorical(np.array(["a", "b", "c"])[d.Days // 4])

    def fit(random):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SingularFitWarning)
            return rg.lmer(f"Reaction ~ Days + {random}", d, reml=False)

    return fit


def test_groups_are_known_by_their_rows_not_by_their_names(halves):
    one, other = halves("(1 | Subject:half)"), halves("(1 | half:Subject)")
    assert one.design.terms[0].label != other.design.terms[0].label
    assert kind(one, other) == (True, "interior", ())
    nested = halves("(1 | Subject/half)")
    assert kind(one, nested) == (True, "mixture", ("Subject.(Intercept)",))
    assert kind(other, nested) == (True, "mixture", ("Subject.(Intercept)",))
    assert not compare_structure(halves("(1 | Subject)"), one).nested


@pytest.mark.parametrize("wide", ["(half | Subject)", "(0 + half | Subject)"])
def test_finer_groups_are_a_case_of_correlated_columns(halves, wide):
    large = halves(wide)
    assert kind(halves("(1 | half:Subject)"), large) == (True, "interior", ())
    assert kind(halves("(1 | Subject/half)"), large) == (True, "interior", ())
    for other in (
        "(1 | Subject:third)",
        "(1 | Subject/third)",
        "(Days | Subject:half)",
        "(1 | half:Subject) + (1|half)",
    ):
        assert not compare_structure(halves(other), large).nested
    assert not compare_structure(halves("(1 | Subject:half)"), halves("(Days | Subject)")).nested
    assert not compare_structure(halves("(1 | Subject:half)"), halves("diag(half | Subject)")).nested


def test_what_finer_groups_contribute_is_their_covariance():
    rng = np.random.default_rng(4)
    group, level = rng.integers(0, 6, 40), rng.integers(0, 3, 40)
    z = np.array([1.0, -2.0, 0.5])[level]
    large = SimpleNamespace(codes=group, Z=np.eye(3)[level] @ rng.normal(size=(3, 3)), k=3, structure="us")
    small = SimpleNamespace(codes=rng.permutation(18)[3 * group + level], Z=z[:, None], k=1, structure="us")
    A = contribution(small, large)
    covariance = np.where(small.codes[:, None] == small.codes, np.outer(z, z), 0.0)
    np.testing.assert_allclose(np.where(group[:, None] == group, large.Z @ A @ large.Z.T, 0.0), covariance, atol=1e-9)
    one_row = SimpleNamespace(codes=small.codes, Z=small.Z + np.eye(1, 40).T, k=1, structure="us")
    assert contribution(one_row, large) is None
    across = SimpleNamespace(codes=level, Z=small.Z, k=1, structure="us")
    assert contribution(across, large) is None


def test_finer_groups_alone_may_leave_a_variance_on_its_boundary():
    """(0 + dummy | g:f) is a case of (0 + f | g) whose Sigma has one entry that is not zero."""
    g, f = np.divmod(np.arange(40), 2)
    large = SimpleNamespace(codes=g, Z=np.eye(2)[f], k=2, structure="us", columns=("a", "b"), label="g")
    small = SimpleNamespace(codes=np.arange(40), Z=(f == 0.0)[:, None] * 1.0, k=1, structure="us", columns=("d",))
    assert _one_term([small], large) == (["a", "b"], "unknown")


def test_poisson_in_negative_binomial():
    d = rg.datasets.load("grouseticks")
    poisson, nb = rg.glmer("TICKS ~ 1 + (1 | BROOD)", d, "poisson"), rg.glmer_nb("TICKS ~ 1 + (1 | BROOD)", d)
    assert kind(poisson, nb) == (True, "mixture", ("1/size of the negative binomial",))
    assert not compare_structure(nb, poisson).nested


def test_corrected_p_is_shown_or_told(sleep):
    table = sleep["full"].anova(sleep["none"], boundary=True)
    T = table["Chisq"].iloc[1]
    assert table["Pr(>Chisq)"].iloc[1] == pytest.approx(stats.chi2.sf(T, 2))
    wanted = 0.5 * stats.chi2.sf(T, 1) + 0.5 * stats.chi2.sf(T, 2)
    assert table["Pr(>Chibarsq)"].iloc[1] == pytest.approx(wanted)
    note = "Subject.Days at the boundary 0; 0.5 chisq(1) + 0.5 chisq(2) gives p ="
    assert note in str(table)
    assert note in str(sleep["full"].anova(sleep["none"]))
    assert "boundary" not in str(sleep["none"].anova(sleep["constant"]))


def test_p_values_too_small_for_a_double_are_not_called_zero():
    tested = Boundary(True, ("g.(Intercept)",), "mixture")
    assert boundary_note("b", tested, 2000.0, 1).endswith("gives p < 2.2e-16")
    assert boundary_note("b", tested, 20.0, 1).endswith("gives p = 3.872e-06")


def test_columns_spanned():
    rng = np.random.default_rng(0)
    B = rng.normal(size=(20, 3)) * [1.0, 1e6, 1e-6]
    assert spanned(B @ rng.normal(size=(3, 2)), B)
    assert not spanned(rng.normal(size=(20, 1)), B)
    assert spanned(np.empty((20, 0)), B)
    assert not spanned(B, np.empty((20, 0)))


# -- deletions ---------------------------------------------------------------------------------------------------------


@pytest.mark.golden
def test_drop1_as_lme4(cbpp_fit):
    """lme4 1.1-31: AIC, LRT and p of drop1."""
    cake = rg.datasets.load("cake")
    cake["temp"] = cake["temperature"].astype(str).astype(float)
    crossed = rg.lmer("angle ~ recipe * temp + (1 | recipe:replicate)", cake, reml=False).drop1()
    assert list(crossed.columns) == ["npar", "AIC", "LRT", "Pr(Chi)"]
    assert list(crossed.index) == ["<none>", "recipe:temp"]
    np.testing.assert_allclose(crossed["AIC"], [1712.073, 1708.158], rtol=1e-6)
    assert crossed.loc["recipe:temp", "LRT"] == pytest.approx(0.08449584, rel=1e-4)
    additive = rg.lmer("angle ~ recipe + temp + (1 | recipe:replicate)", cake).drop1()
    np.testing.assert_allclose(additive["AIC"], [1708.158, 1704.688, 1785.688], rtol=1e-6)
    np.testing.assert_allclose(additive["LRT"].iloc[1:], [0.52999, 79.53062], rtol=1e-5)
    assert str(additive).startswith("refitting model(s) with ML")
    table = cbpp_fit.drop1(test="none")
    assert list(table.columns) == ["npar", "AIC"]
    np.testing.assert_allclose(table["AIC"], [194.0531, 213.6631], rtol=1e-5)


@pytest.mark.parametrize(
    "formula", ["y ~ a * b + x", "y ~ 0 + a + x", "y ~ 0 + a + b", "y ~ a / b", "y ~ x + offset(x)"]
)
def test_deletions_are_the_fits_of_the_shorter_formulas(formula):
    """Also where the columns of other terms have to be coded anew."""
    rng = np.random.default_rng(4)
    n = 120
    d = pd.DataFrame({"g": rng.integers(0, 15, n), "x": rng.normal(size=n)})
    d["a"], d["b"] = pd.Categorical(rng.choice(list("pqr"), n)), pd.Categorical(rng.choice(list("uv"), n))
    d["y"] = d.x + (d.a == "q") * (d.b == "v") + rng.normal(size=15)[d.g] + rng.normal(size=n)
    fit = rg.lmer(f"{formula} + (1 | g)", d, reml=False)
    table = fit.drop1()
    for term in table.index[1:]:
        shorter = fit.update(f". ~ . - {term}")
        assert table.loc[term, "AIC"] == pytest.approx(shorter.aic, rel=1e-8)
        assert table.loc[term, "npar"] == fit.df - shorter.df


def test_scope_and_other_tests(sleep):
    fit = sleep["full"]
    assert fit.drop1("~ Days").index.tolist() == ["<none>", "Days"]
    assert fit.drop1(["Days"]).index.tolist() == ["<none>", "Days"]
    table = fit.drop1(test="F", ddf="kenward-roger")
    assert table.loc["Days", "F value"] == pytest.approx(45.853, rel=1e-4)
    assert table.loc["Days", "DenDF"] == pytest.approx(17.0, rel=1e-6)
    difference = fit.drop1(test=lambda large, small: large.loglik - small.loglik)
    assert difference.loc["Days", "test"] == pytest.approx(0.5 * fit.drop1().loc["Days", "LRT"], rel=1e-9)
    named = fit.drop1(test=lambda large, small: {"gain": 1.0})
    assert named.loc["Days", "gain"] == 1.0
    with pytest.raises(ArgumentError, match="must return a number"):
        fit.drop1(test=lambda large, small: "better")
    with pytest.raises(ArgumentError, match="test must be"):
        fit.drop1(test="LR")
    with pytest.raises(ArgumentError, match="no fixed-effects term 'z'"):
        fit.drop1(["z"])
    cake = rg.lmer("angle ~ recipe * temperature + (1 | recipe:replicate)", rg.datasets.load("cake"))
    with pytest.raises(ArgumentError, match="'recipe' cannot be dropped while a term that contains it stays"):
        cake.drop1("~ recipe")


def test_f_tests_are_for_linear_models(cbpp_fit):
    with pytest.raises(NotAvailableError, match="linear mixed models"):
        cbpp_fit.drop1(test="F")


@pytest.mark.golden
def test_ranova_as_lmertest(sleep):
    """lmerTest 3.1-3."""
    table = sleep["full"].ranova()
    row = "Days in (Days | Subject)"
    assert table.loc["<none>", "logLik"] == pytest.approx(-871.8141, rel=1e-7)
    assert table.loc[row, "logLik"] == pytest.approx(-893.2325, rel=1e-7)
    assert table.loc[row, "LRT"] == pytest.approx(42.83681, rel=1e-5)
    assert table.loc[row, "Pr(>Chisq)"] == pytest.approx(4.99e-10, rel=1e-3)
    wanted = 0.5 * stats.chi2.sf(42.83681, 1) + 0.5 * stats.chi2.sf(42.83681, 2)
    assert table.loc[row, "Pr(>Chibarsq)"] == pytest.approx(wanted, rel=1e-3)
    pastes = rg.lmer("strength ~ 1 + (1 | batch/cask)", rg.datasets.load("Pastes")).ranova()
    np.testing.assert_allclose(pastes["logLik"], [-123.4954, -150.7977, -123.8242], rtol=1e-6)
    np.testing.assert_allclose(pastes["LRT"].iloc[1:], [54.60466, 0.65766], rtol=1e-4)
    np.testing.assert_allclose(pastes["Pr(>Chibarsq)"].iloc[1:], pastes["Pr(>Chisq)"].iloc[1:] / 2, rtol=1e-9)


def test_random_terms_are_made_simpler_by_marginality(sleep):
    d = rg.datasets.load("sleepstudy")
    d["half"] = pd.Categorical(np.where(d.Days < 5, "early", "late"))
    assert len(sleep["diag"].ranova()) == 3
    fit = rg.lmer("Reaction ~ Days + (0 + half | Subject)", d)
    table = fit.ranova()
    simpler = rg.lmer("Reaction ~ Days + (1 | Subject)", d)
    assert table["logLik"].iloc[1] == pytest.approx(simpler.loglik, rel=1e-8)
    assert np.isnan(table["Pr(>Chibarsq)"].iloc[1])
    assert "no mixture is known" in str(table)
    alone = sleep["none"].ranova()
    assert alone["logLik"].iloc[1] == pytest.approx(without_random(sleep["none"]).loglik, rel=1e-12)


def test_none_stands_for_the_model_without_random_effects(cbpp_fit, sleep):
    for fit in (cbpp_fit, sleep["none"]):
        short, long = rg.anova(fit, None), rg.anova(fit, without_random(fit, reml=False))
        pd.testing.assert_frame_equal(short.frame, long.frame)
    assert "0.5 chisq(0) + 0.5 chisq(1)" in str(rg.anova(None, cbpp_fit))
    with pytest.raises(ArgumentError, match="no fit is given"):
        rg.anova(None, (1.0, 2))


def test_without_random_effects_is_the_linear_model(sleep):
    """R: logLik(lm(Reaction ~ Days)), and its REML; MASS::glm.nb(TICKS ~ YEAR)."""
    assert without_random(sleep["full"]).loglik == pytest.approx(-946.8318, rel=1e-7)
    assert without_random(sleep["full"], reml=False).loglik == pytest.approx(-950.1465, rel=1e-7)
    nb = rg.glmer_nb("TICKS ~ YEAR + (1 | BROOD)", rg.datasets.load("grouseticks"))
    assert without_random(nb).loglik == pytest.approx(-1031.828, rel=1e-6)
    assert without_random(nb).df == 4
    gamma = rg.glmer(
        "Reaction ~ Days + (1 | Subject)", rg.datasets.load("sleepstudy"), "gamma", link="log", mode="lme4"
    )
    with pytest.raises(NotAvailableError, match="lme4 mode"):
        without_random(gamma)


def test_nothing_changes_the_fit(sleep):
    fit = sleep["full"]
    before, formula = fit.to_json(), fit.model.frame.formula
    fit.drop1()
    fit.ranova()
    fit.anova(sleep["none"])
    fit.anova(type=2)
    assert fit.to_json() == before
    assert fit.model.frame.formula is formula
    smaller = without_fixed_term(fit.model, 1)
    assert smaller.design.names == ("(Intercept)",)
    assert smaller.frame.formula.expanded == "Reaction ~ 1 + (Days | Subject)"
    table = fit.anova(sleep["none"])
    frame, column = table.frame, table["AIC"]
    frame.iloc[0, 0] = column.iloc[0] = -1.0
    assert table["npar"].iloc[0] == 4
    assert table["AIC"].iloc[0] > 0


# -- criteria ----------------------------------------------------------------------------------------------------------


def test_information_criteria(sleep):
    a, b, c = sleep["none"], sleep["diag"], sleep["full"]
    table = rg.compare_models(a, b, c, criterion="AICc")
    assert list(table.index) == ["b", "c", "a"]
    ml, k, n = b.refit_ml(), 5, 180
    assert table.loc["b", "AICc"] == pytest.approx(ml.aic + 2 * k * (k + 1) / (n - k - 1), rel=1e-12)
    assert table.loc["b", "BIC"] == pytest.approx(ml.bic, rel=1e-12)
    assert table["weight"].sum() == pytest.approx(1.0)
    ratio = np.exp(-0.5 * (table.loc["c", "AICc"] - table.loc["b", "AICc"]))
    assert table.loc["c", "weight"] / table.loc["b", "weight"] == pytest.approx(ratio)
    assert rg.compare_models(a, b, criterion="BIC")["delta"].iloc[0] == 0.0
    renamed = rg.compare_models(a, Reference(-1e4, 2, a.nobs, name="elsewhere"), names=["one", "two"])
    assert "two: fitted elsewhere" in str(renamed)
    with pytest.raises(ArgumentError, match="at least two models"):
        rg.compare_models(a)
    with pytest.raises(ArgumentError, match="criterion must be"):
        rg.compare_models(a, b, criterion="DIC")
    with pytest.raises(ArgumentError, match="how many observations"):
        rg.compare_models((-1.0, 2), (-2.0, 1))


def test_singular_members_are_fine():
    d = rg.datasets.load("Dyestuff2")
    with pytest.warns(SingularFitWarning):
        fit = rg.lmer("Yield ~ 1 + (1 | Batch)", d)
    table = fit.ranova()
    assert table["LRT"].iloc[1] == pytest.approx(0.0, abs=1e-9)
    assert table["Pr(>Chisq)"].iloc[1] == pytest.approx(1.0, abs=1e-4)


def test_a_test_of_the_users_that_raises_names_the_term(sleep):
    def broken(large, small):
        raise ZeroDivisionError("no")

    with pytest.raises(ArgumentError, match=r"test fails where 'Days' is dropped \(ZeroDivisionError: no\)"):
        sleep["none"].drop1(test=broken)
    with pytest.raises(ArgumentError, match="must return a number or a mapping of numbers"):
        sleep["none"].drop1(test=lambda large, small: {"a": "b"})


def test_linear_models_of_other_weights_are_not_nested():
    data = rg.datasets.load("sleepstudy")
    large = rg.lmer("Reaction ~ Days + (1 | Subject)", data, reml=False)
    small = rg.lmer("Reaction ~ 1 + (1 | Subject)", data, reml=False, weights=np.linspace(1.0, 2.0, 180))
    table = rg.anova(large, small)
    assert table.frame["Pr(>Chisq)"].isna().all()
    assert "a likelihood-ratio test has no p-value" in str(table)


def test_models_that_differ_in_other_parts_or_in_their_family_can_be_told_apart():
    data = rg.datasets.load("Salamanders")
    plain = rg.glmer("count ~ mined + (1 | site)", data, "poisson")
    zeros = rg.glmer("count ~ mined + (1 | site)", data, "poisson", zi="~ mined")
    spread = rg.glmer("count ~ mined + (1 | site)", data, "nbinom2", dispersion="~ mined")
    text = str(rg.anova(plain, zeros))
    assert "plain: count ~ mined + (1 | site), poisson" in text
    assert "zeros: count ~ mined + (1 | site), zi=~ mined, zero-inflated poisson" in text
    text = str(rg.compare_models(plain, spread))
    assert "spread: count ~ mined + (1 | site), disp=~ mined, negative_binomial" in text
    again = str(rg.anova(plain, plain.update(". ~ . - mined"), names=["large", "small"]))
    assert "small: count ~ (1 | site)\n" in again or "small: count ~ 1 + (1 | site)\n" in again
