"""Sandwiches against their definition written out, and what CR2 and CR3 promise."""

from __future__ import annotations

import numpy as np
import pytest
from diagnostic_fits import CBPP
from scipy import stats
from scipy.linalg import sqrtm

import refglmm as rg
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.inference.group_scores import group_information, group_scores
from refglmm.inference.sandwich import information_root, leverages, sandwich, sandwich_for


@pytest.fixture(scope="module")
def herds():
    return rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial")


@pytest.fixture(scope="module")
def days():
    return rg.lmer("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"), reml=False)


def pieces(fit):
    groups = group_scores(fit)
    R = information_root(fit, groups)
    return groups.scores, R, group_information(fit, groups)


@pytest.mark.parametrize("name", ["herds", "days"])
def test_the_definition(name, request):
    fit = request.getfixturevalue(name)
    s, R, A_g = pieces(fit)
    A, G = R.T @ R, len(s)
    inverse = np.linalg.inv(A)
    plain = inverse @ (s.T @ s) @ inverse
    np.testing.assert_allclose(sandwich(fit).matrix, plain, rtol=1e-7, atol=1e-12 * abs(plain).max())
    np.testing.assert_allclose(sandwich(fit, "CR1").matrix, plain * G / (G - 1), rtol=1e-7, atol=1e-12)
    Ri = np.linalg.inv(R)
    two, three = np.zeros_like(A), np.zeros_like(A)
    for score, information in zip(s, A_g, strict=True):
        H = Ri.T @ information @ Ri
        adjusted = R.T @ np.linalg.inv(np.real(sqrtm(np.eye(len(A)) - H))) @ Ri.T @ score
        two += np.outer(adjusted, adjusted)
        step = np.linalg.solve(A - information, score)  # the jackknife by one step
        three += np.outer(step, step)
    scale = np.sqrt(np.outer(np.diag(three), np.diag(three)))
    np.testing.assert_allclose(sandwich(fit, "CR2").matrix / scale, inverse @ two @ inverse / scale, atol=1e-7)
    np.testing.assert_allclose(sandwich(fit, "CR3").matrix / scale, three / scale, atol=1e-7)


@pytest.mark.golden
def test_cbpp_is_the_sandwich_of_glmmadaptive():
    """summary(mixed_model(cbind(incidence, size - incidence) ~ period, ~ 1 | herd, binomial), sandwich = TRUE).

    GLMMadaptive 0.9-7, nAGQ = 11; its optimum is 1e-4 standard errors from the maximum. Its last parameter is log sd.
    """
    fit = rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial", n_agq=11)
    robust = fit.sandwich()
    np.testing.assert_allclose(robust.se, [0.286280684, 0.454601291, 0.513525015, 0.362033738], rtol=1e-4)
    assert np.sqrt(robust.matrix[0, 0]) / fit.par.iloc[0] == pytest.approx(0.1697529285, rel=1e-3)


@pytest.mark.golden
def test_an_unbalanced_linear_model_is_that_of_clubsandwich():
    """vcovCR(lmer(Reaction ~ Days + (Days | Subject), d, REML = FALSE), type = "CR0") and so on.

    clubSandwich with lme4 1.1-31.
    Its CR2 takes the root of a matrix of rows, not of coefficients: in a balanced design there is no difference.
    """
    data = rg.datasets.load("sleepstudy")
    gone = [*range(7), 14, *range(32, 35), *range(59, 64), 100, 101, 109, 149]
    fit = rg.lmer("Reaction ~ Days + (Days | Subject)", data.drop(index=data.index[gone]), reml=False)
    golden = {
        "CR0": ([7.35003312, 1.59672933], 3e-6),
        "CR1": ([7.56312168, 1.64302092], 3e-6),
        "CR2": ([7.57232698, 1.64237031], 3e-4),
        "CR3": ([7.80088405, 1.68995387], 3e-6),
    }
    for kind, (se, rtol) in golden.items():
        np.testing.assert_allclose(fit.sandwich(kind).se, se, rtol=rtol)


def test_the_middle_of_cr2_has_the_information_as_its_expectation(herds):
    _, R, A_g = pieces(herds)
    H = leverages(R, A_g)
    eye = np.eye(len(R))
    middle = sum(
        np.linalg.inv(np.real(sqrtm(eye - h))) @ (h - h @ h) @ np.linalg.inv(np.real(sqrtm(eye - h))) for h in H
    )
    np.testing.assert_allclose(middle, eye, atol=1e-6)


def test_small_sample_kinds_are_larger_one_after_the_other(herds):
    se = [sandwich(herds, kind).se for kind in ("CR0", "CR1", "CR2", "CR3")]
    assert (se[0] < se[1]).all()
    assert (se[1] < se[2]).all()
    assert (se[2] < se[3]).all()


def test_robust_and_model_based_agree_where_the_model_is_right():
    """400 groups drawn from the model itself: ratios of standard errors within sampling error of 1."""
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(400), 6)
    x = rng.normal(size=g.size)
    k = rng.poisson(np.exp(0.4 + 0.3 * x + 0.5 * rng.normal(size=400)[g]))
    fit = rg.glmer("k ~ x + (1 | g)", {"k": k, "x": x, "g": g}, "poisson")
    ratio = fit.sandwich("CR1").se / fit.se
    np.testing.assert_allclose(ratio, 1.0, atol=0.1)
    par = np.sqrt(fit.sandwich("CR1").matrix[0, 0] / (2 * np.linalg.inv(fit.optimum.hessian)[0, 0]))
    assert par == pytest.approx(1.0, abs=0.12)


def test_the_places_it_is_used_in(herds):
    robust = herds.sandwich("CR2")
    assert herds.vcov("CR2").equals(robust.vcov)
    assert herds.vcov("sandwich").equals(herds.sandwich().vcov)
    shown = herds.summary(vcov="CR2")
    np.testing.assert_array_equal(shown.coefficients["Std. Error"], robust.se)
    np.testing.assert_allclose(
        shown.coefficients["Pr(>|z|)"], 2 * stats.norm.sf(abs(herds.fixef / robust.se)), rtol=1e-9
    )
    assert "Robust standard errors (CR2) of 15 clusters (herd)" in " ".join(str(shown).split("\n"))
    L = np.eye(4)[1:]
    test = herds.wald_test(L, vcov=robust)
    value = L @ herds.beta
    assert test.statistic == pytest.approx(value @ np.linalg.solve(L @ robust.fixed @ L.T, value), rel=1e-10)
    assert test.p_value == pytest.approx(stats.chi2.sf(test.statistic, 3), rel=1e-9)
    assert test.kind == "Chisq"
    new = {"period": ["1", "2"]}
    x = np.array([[1.0, 0, 0, 0], [1, 1, 0, 0]])
    expected = np.sqrt(np.einsum("ij,jk,ik->i", x, robust.fixed, x))
    np.testing.assert_allclose(herds.predict(new, re_form=False, se=True, vcov="CR2")["se"], expected, rtol=1e-9)
    marginal = herds.effect_data(new, marginal=True, vcov=robust)
    coefficients = herds.marginal_coefs(sandwich="CR2").vcov.to_numpy()  # one mean a period: the same model
    np.testing.assert_allclose(marginal["se"], np.sqrt(np.einsum("ij,jk,ik->i", x, coefficients, x)), rtol=1e-8)
    with pytest.raises(ArgumentError, match="use vcov= with re_form=False or marginal=True"):
        herds.predict(se=True, vcov="CR2")
    limits = robust.confint(0.9)
    np.testing.assert_allclose(limits["95 %"], herds.fixef + stats.norm.ppf(0.95) * robust.se, rtol=1e-12)
    assert str(robust).startswith("Robust standard errors (CR2) of 15 clusters (herd)")
    assert "<table" in robust._repr_html_()
    assert list(robust.covariance.index) == list(herds.problem.names)
    assert sandwich_for(herds, robust) is robust


def test_par_of_a_linear_model_is_relative_to_sigma(days):
    """The delta method by differences: par_relative = par / sigma."""
    robust = days.sandwich()
    x, n_par = robust.groups.estimate, 3

    def on_fit(x):
        return np.concatenate([x[:n_par] / np.exp(0.5 * x[5]), x[n_par:5]])

    h = 1e-6
    J = np.array([(on_fit(x + h * e) - on_fit(x - h * e)) / (2 * h) for e in np.eye(6)]).T
    np.testing.assert_allclose(robust.on_fit_scale(), J @ robust.matrix @ J.T, rtol=1e-6, atol=1e-8)


def test_parameters_on_their_boundary_are_held(dyestuff2):
    robust = dyestuff2.sandwich("CR1")
    assert not robust.groups.free[0]
    assert np.all(robust.matrix[0] == 0.0)
    # With the variance at zero: the mean of 6 batches of 5, whose score is sum of residuals over sigma^2.
    y, codes = np.array(dyestuff2.frame.y), np.array(dyestuff2.design.terms[0].codes)
    sums = np.bincount(codes, y - y.mean())
    assert robust.se.iloc[0] == pytest.approx(np.sqrt(np.sum(sums**2) * 6 / 5) / len(y), rel=1e-6)


def test_what_is_refused(herds, days):
    with pytest.raises(ArgumentError, match="unknown kind 'HC3' of sandwich; use one of CR0, CR1, CR2, CR3"):
        sandwich(herds, "HC3")
    with pytest.raises(ArgumentError, match="unknown kind 'CR4' of sandwich"):
        herds.vcov("CR4")
    with pytest.raises(ArgumentError, match="leave kind out"):
        herds.vcov("CR1", full=True)
    with pytest.raises(ArgumentError, match="give one of ddf and vcov"):
        days.summary(ddf="satterthwaite", vcov="CR1")
    half = np.array(herds.frame.data["herd"].astype(int)) > 7
    with pytest.raises(NotAvailableError, match="2 clusters cannot test 4 hypotheses at once"):
        sandwich(herds, "CR0", half).wald_test(np.eye(4))
    data = rg.datasets.load("cbpp").assign(own=lambda d: (d["herd"].astype(str) == "3").astype(float))
    own = rg.glmer("cbind(incidence, size - incidence) ~ own + (1 | herd)", data, "binomial")
    with pytest.raises(
        NotAvailableError, match=r"herd 3 alone determines some combination of the parameters .* use CR1"
    ):
        sandwich(own, "CR2")
