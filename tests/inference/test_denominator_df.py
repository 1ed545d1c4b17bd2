"""Degrees of freedom: dense oracles, closed forms, lmerTest and pbkrtest, invariances, refusals."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from dense_linear import DenseLinear, random_columns
from scipy import stats

import refglmm as rg
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.inference.denominator_df import (
    WaldTest,
    adjusted_covariance,
    coefficient_df,
    covariance_for,
    residual_df,
    wald_test,
)
from refglmm.inference.kenward_roger import linear_components


def simulated(seed=5):
    """Crossed, unbalanced, with weights."""
    rng = np.random.default_rng(seed)
    n = 70
    d = pd.DataFrame({"g": rng.integers(0, 9, n), "h": rng.integers(0, 5, n), "x": rng.normal(size=n)})
    d["f"] = pd.Categorical(np.where(rng.random(n) < 0.4, "b", np.where(rng.random(n) < 0.5, "c", "a")))
    d["w"] = rng.uniform(0.5, 3.0, n)
    b = rng.multivariate_normal([0, 0], [[1.0, 0.4], [0.4, 0.6]], 9)
    noise = rng.normal(size=n) / np.sqrt(d.w)
    d["y"] = 1 + d.x * (0.5 + b[d.g, 1]) + b[d.g, 0] + rng.normal(0, 0.8, 5)[d.h] + noise
    return d


MODELS = {
    "slopes and crossed": "y ~ f * x + (x | g) + (1 | h)",
    "diagonal": "y ~ f + x + diag(x | g)",
    "two scalar terms of one factor": "y ~ x + (1 | g) + (0 + x | g) + (1 | h)",
}


def dense_of(fit):
    codes = [t.codes for t in fit.design.terms]
    ends = np.cumsum([0, *(s.n_par for s in fit.structures)])
    parts = [slice(a, b) for a, b in itertools.pairwise(ends)]
    terms = [
        (c, t.Z, s.factor, part) for c, t, s, part in zip(codes, fit.design.terms, fit.structures, parts, strict=True)
    ]
    return DenseLinear(fit.frame.y, np.array(fit.design.X), fit.frame.weights, terms, fit.reml)


@pytest.fixture(scope="module", params=list(MODELS))
def fitted(request):
    return rg.lmer(MODELS[request.param], simulated(), weights="w")


@pytest.fixture(scope="module")
def sleepstudy():
    return rg.lmer("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"))


def psi_of(fit):
    return np.append(fit.optimum.par, fit.sigma)


@pytest.mark.parametrize("reml", [True, False])
def test_satterthwaite_against_dense_differences(reml):
    fit = rg.lmer(MODELS["slopes and crossed"], simulated(), weights="w", reml=reml)
    dense, p = dense_of(fit), len(fit.beta)
    L = np.vstack([np.eye(p), np.arange(p) - 1.5])
    wanted = [dense.satterthwaite(psi_of(fit), row) for row in L]
    np.testing.assert_allclose(coefficient_df(fit, L, "satterthwaite"), wanted, rtol=2e-5)


def test_kenward_roger_against_dense_matrices(fitted):
    dense = dense_of(fitted)
    V = dense.V(psi_of(fitted))
    components = [np.diag(1.0 / dense.weights)]
    for (codes, Z, _, _), s in zip(dense.terms, fitted.structures, strict=True):
        components += [random_columns(codes, Z, E) for E in linear_components(s)]
    p = len(fitted.beta)
    for L in (np.eye(p)[1:2], np.eye(p)[1:], np.vstack([np.ones(p), np.arange(p)])):
        Phi_A, nu, scale = dense.kenward_roger(V, components, L)
        np.testing.assert_allclose(adjusted_covariance(fitted), Phi_A, rtol=1e-8, atol=1e-12)
        test = wald_test(fitted, L, "kenward-roger")
        b = L @ fitted.beta
        assert test.den_df == pytest.approx(nu, rel=1e-7)
        assert test.statistic == pytest.approx(scale * b @ np.linalg.solve(L @ Phi_A @ L.T, b) / len(L), rel=1e-7)


def test_one_way_balanced_layout_has_groups_minus_one():
    """The mean of a balanced one-way layout: its variance is a mean square, on groups - 1 df exactly."""
    fit = rg.lmer("Yield ~ 1 + (1 | Batch)", rg.datasets.load("Dyestuff"))
    assert coefficient_df(fit, [1.0], "satterthwaite") == pytest.approx([5.0], abs=1e-5)
    assert coefficient_df(fit, [1.0], "kenward-roger") == pytest.approx([5.0], abs=1e-8)
    # balanced: Phi_A is Phi where the estimate of the variance is unbiased and linear in mean squares
    np.testing.assert_allclose(adjusted_covariance(fit), fit.vcov(), rtol=1e-6)


def test_split_plot_is_the_textbook_analysis():
    """Balanced split plot: F tests with the whole-plot and the sub-plot error of the classical analysis."""
    cake = rg.datasets.load("cake")
    sum_to_zero = {"recipe": "sum", "temperature": "sum"}
    fit = rg.lmer("angle ~ recipe * temperature + (1 | recipe:replicate)", cake, contrasts=sum_to_zero)
    recipe, plot, temperature = cake.recipe, [cake.recipe, cake.replicate], cake.temperature
    y, n = cake.angle, len(cake)

    def squares(*by):
        return float((y.groupby(list(by), observed=True).transform("mean") ** 2).sum())

    total, cells = n * y.mean() ** 2, squares(recipe, temperature)
    whole_plot = (squares(*plot) - squares(recipe)) / 42
    sub_plot = (float((y**2).sum()) - cells - squares(*plot) + squares(recipe)) / 210
    interaction = cells - squares(recipe) - squares(temperature) + total
    wanted = {
        1: ((squares(recipe) - total) / 2 / whole_plot, 2, 42),
        2: ((squares(temperature) - total) / 5 / sub_plot, 5, 210),
        3: (interaction / 10 / sub_plot, 10, 210),
    }
    assign = np.array(fit.design.assign)
    for term, (F, num, den) in wanted.items():
        for method in ("satterthwaite", "kenward-roger"):
            test = wald_test(fit, np.eye(len(assign))[assign == term], method)
            assert test.statistic == pytest.approx(F, rel=1e-5)
            assert (test.num_df, test.kind) == (num, "F")
            assert test.den_df == pytest.approx(den, rel=1e-5)


@pytest.mark.golden
def test_published_values(sleepstudy):
    """lmerTest 3.1-3 and pbkrtest 0.5-2; Penicillin's default optimiser stops early (5.486592), tightened 5.487093."""
    days = [[0.0, 1.0]]
    assert sleepstudy.fixef["Days"] / sleepstudy.se["Days"] == pytest.approx(6.771481489, rel=1e-6)
    assert coefficient_df(sleepstudy, days, "satterthwaite") == pytest.approx([16.99998], rel=1e-5)
    assert wald_test(sleepstudy, days, "kenward-roger").den_df == pytest.approx(17.0, rel=1e-7)
    assert np.sqrt(adjusted_covariance(sleepstudy).loc["Days", "Days"]) == pytest.approx(1.545789644, rel=1e-5)
    penicillin = rg.lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", rg.datasets.load("Penicillin"))
    assert coefficient_df(penicillin, [1.0], "satterthwaite") == pytest.approx([5.487092959], rel=1e-6)
    assert coefficient_df(penicillin, [1.0], "satterthwaite") == pytest.approx([5.486592], rel=1e-4)
    assert coefficient_df(penicillin, [1.0], "kenward-roger") == pytest.approx([5.487062], rel=1e-5)


@pytest.mark.golden
def test_unbalanced_cake_as_lmertest_and_pbkrtest():
    """Rows 3, 17, 18, 40, 77, 100-109, 200, 231, 250 left out; lmerTest 3.1-3, pbkrtest 0.5-2, lme4 1.1-31."""
    cake = rg.datasets.load("cake")
    rows = np.array([3, 17, 18, 40, 77, *range(100, 110), 200, 231, 250]) - 1
    fit = rg.lmer("angle ~ recipe * temperature + (1 | recipe:replicate)", cake.drop(index=cake.index[rows]))
    first = np.eye(len(fit.beta))[:4]
    satterthwaite = [40.82320719, 40.80886150, 40.81426876, 193.15507743]
    kenward = [40.99217314, 40.97778073, 40.98320562, 193.32356423]
    np.testing.assert_allclose(coefficient_df(fit, first, "satterthwaite"), satterthwaite, rtol=1e-6)
    np.testing.assert_allclose(coefficient_df(fit, first, "kenward-roger"), kenward, rtol=1e-6)
    adjusted = np.sqrt(np.diag(adjusted_covariance(fit)))[:4]
    np.testing.assert_allclose(adjusted, [1.710599742, 2.419149055, 2.461884320, 1.189084206], rtol=1e-6)


def test_units_and_coding_do_not_matter(fitted):
    """X -> XA and L -> LA: the same degrees of freedom."""
    d = simulated()
    d["x"] = 1000.0 * d["x"]
    other = rg.lmer(fitted.formula.text, d, weights="w")
    j = fitted.design.names.index("x")
    L = np.eye(len(fitted.beta))[j : j + 1]
    for method in ("satterthwaite", "kenward-roger"):
        assert wald_test(other, L, method).den_df == pytest.approx(wald_test(fitted, L, method).den_df, rel=1e-4)


def test_zero_variance_leaves_the_residual_degrees_of_freedom():
    """Dyestuff2: the batch variance is zero; what is left is a sample mean."""
    with pytest.warns(rg.errors.SingularFitWarning):
        fit = rg.lmer("Yield ~ 1 + (1 | Batch)", rg.datasets.load("Dyestuff2"))
    assert coefficient_df(fit, [1.0], "satterthwaite") == pytest.approx([29.0], rel=1e-9)
    assert np.isfinite(coefficient_df(fit, [1.0], "kenward-roger")).all()


def test_singular_slopes_give_finite_degrees_of_freedom():
    d = rg.datasets.load("sleepstudy")
    rng = np.random.default_rng(3)
    d["Reaction"] = 250 + 10 * d.Days + rng.normal(0, 30, 18)[d.Subject.cat.codes] + rng.normal(0, 20, len(d))
    with pytest.warns(rg.errors.SingularFitWarning):
        fit = rg.lmer("Reaction ~ Days + (Days | Subject)", d)
    assert fit.convergence.singular
    for method in ("satterthwaite", "kenward-roger"):
        nu = coefficient_df(fit, np.eye(2), method)
        assert np.all((nu > 1) & (nu < 400))


@pytest.mark.golden
def test_singular_fits_as_lmertest_and_pbkrtest():
    """lmerTest 3.1-3, pbkrtest 0.5-2 (bobyqa, rhoend 1e-10): a correlation of 1, a slope variance of 0."""
    d = rg.datasets.load("sleepstudy")
    rng = np.random.default_rng(3)
    d["Reaction"] = 250 + 10 * d.Days + rng.normal(0, 30, 18)[d.Subject.cat.codes] + rng.normal(0, 20, len(d))
    d = d.drop(index=d.index[[3, 5, 44, 45, 46, 90, 91, 133]])
    wanted = {
        "(Days | Subject)": ([16.15382, 130.30491], [16.992222, 16.758902]),
        "(Days || Subject)": ([19.247932, 152.974110], [19.240462, 18.935370]),
    }
    for term, (satterthwaite, kenward) in wanted.items():
        with pytest.warns(rg.errors.SingularFitWarning):
            fit = rg.lmer(f"Reaction ~ Days + {term}", d)
        np.testing.assert_allclose(coefficient_df(fit, np.eye(2), "satterthwaite"), satterthwaite, rtol=1e-6)
        np.testing.assert_allclose(coefficient_df(fit, np.eye(2), "kenward-roger"), kenward, rtol=1e-6)


def test_fewer_than_two_degrees_of_freedom_count_as_two():
    """Three groups: one row has one or two df of its own."""
    d = simulated().query("g < 3").drop(columns="w")
    rng = np.random.default_rng(0)
    d["y"] = np.array([0.0, 4.0, 9.0])[d.g] + np.array([1.0, -2.0, 0.5])[d.g] * d.x + 0.1 * rng.normal(size=len(d))
    fit = rg.lmer("y ~ x + (x || g)", d)
    nu = coefficient_df(fit, np.eye(2), "satterthwaite")
    assert nu.max() < 3
    test = wald_test(fit, np.eye(2), "satterthwaite")
    assert test.den_df >= 2.0
    assert test.num_df == 2


def test_simple_methods(sleepstudy):
    L = [[0.0, 1.0]]
    t = sleepstudy.fixef["Days"] / sleepstudy.se["Days"]
    assert residual_df(sleepstudy) == 178
    for method, den in (("residual", 178.0), (12, 12.0), (3.5, 3.5)):
        test = wald_test(sleepstudy, L, method)
        assert (test.den_df, test.kind) == (den, "F")
        assert test.p_value == pytest.approx(2 * stats.t.sf(abs(t), den), rel=1e-10)
    for method in ("inf", np.inf):
        test = wald_test(sleepstudy, L, method)
        assert test == WaldTest(test.statistic, 1, np.inf, test.p_value, "Chisq")
        assert test.p_value == pytest.approx(2 * stats.norm.sf(abs(t)), rel=1e-10)
    assert coefficient_df(sleepstudy, np.eye(2), "inf").tolist() == [np.inf, np.inf]
    assert "F(1, 178)" in str(wald_test(sleepstudy, L, "residual"))
    assert "Chisq(1)" in str(wald_test(sleepstudy, L, "inf"))


def test_dependent_rows_count_once(sleepstudy):
    once, twice = wald_test(sleepstudy, np.eye(2)), wald_test(sleepstudy, np.vstack([np.eye(2), [[1.0, 1.0]]]))
    assert twice.num_df == 2
    assert twice.statistic == pytest.approx(once.statistic, rel=1e-9)


def test_generalized_models_use_the_normal():
    cbpp = rg.datasets.load("cbpp")
    fit = rg.glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", cbpp, "binomial")
    test = wald_test(fit, np.eye(4)[1:])
    V, b = fit.vcov().to_numpy()[1:, 1:], fit.beta[1:]
    assert (test.kind, test.num_df) == ("Chisq", 3)
    assert test.statistic == pytest.approx(b @ np.linalg.inv(V) @ b, rel=1e-10)
    for method in ("satterthwaite", "kenward-roger", "residual"):
        with pytest.raises(NotAvailableError, match="linear mixed models"):
            coefficient_df(fit, np.eye(4), method)


def test_refusals(sleepstudy):
    with pytest.raises(ArgumentError, match="has 2 columns"):
        wald_test(sleepstudy, np.eye(3))
    with pytest.raises(ArgumentError, match="row 1 of the hypothesis matrix is zero"):
        wald_test(sleepstudy, [[1.0, 0.0], [0.0, 0.0]])
    with pytest.raises(ArgumentError, match="not finite"):
        wald_test(sleepstudy, [[1.0, np.nan]])
    for bad in ("kr", -1, 0, True, None):
        with pytest.raises(ArgumentError, match="degrees of freedom"):
            coefficient_df(sleepstudy, np.eye(2), bad)
    ml = rg.lmer("Reaction ~ Days + (1 | Subject)", rg.datasets.load("sleepstudy"), reml=False)
    with pytest.raises(NotAvailableError, match="REML"):
        adjusted_covariance(ml)
    ar = rg.lmer("Reaction ~ Days + cs(Days | Subject)", rg.datasets.load("sleepstudy"))
    with pytest.raises(NotAvailableError, match="the cs structure is not"):
        adjusted_covariance(ar)
    assert coefficient_df(ar, [0.0, 1.0])[0] == pytest.approx(17.0, rel=1e-3)
    plain = rg.lmer("Reaction ~ Days + (1 | Subject)", rg.datasets.load("sleepstudy"), control={"derivatives": False})
    with pytest.raises(NotAvailableError, match="Hessian"):
        coefficient_df(plain, np.eye(2))


def test_the_fit_stays_as_it_is(sleepstudy):
    before = sleepstudy.to_json()
    adjusted = adjusted_covariance(sleepstudy)
    adjusted.iloc[0, 0] = -1.0
    coefficient_df(sleepstudy, np.eye(2), "satterthwaite")
    assert adjusted_covariance(sleepstudy).iloc[0, 0] > 0
    for method in ("satterthwaite", "kenward-roger", "inf"):
        with pytest.raises(ValueError, match="read-only"):
            covariance_for(sleepstudy, method)[0, 0] = -1.0
    assert sleepstudy.to_json() == before


@pytest.mark.parametrize("L", ["Days", {"Days": 1.0}, [[1.0, 0.0], [1.0]]])
def test_a_hypothesis_of_anything_but_numbers_is_refused_by_name(L):
    fit = rg.lmer("Reaction ~ Days + (1 | Subject)", rg.datasets.load("sleepstudy"))
    with pytest.raises(ArgumentError, match=r"2 numbers, one for each of \(Intercept\), Days"):
        fit.wald_test(L)


def test_without_fixed_effects_there_is_nothing_to_adjust():
    fit = rg.lmer("Reaction ~ 0 + (1 | Subject)", rg.datasets.load("sleepstudy"))
    for ddf in ("kenward-roger", "satterthwaite"):
        assert "No fixed effects" in str(fit.summary(ddf=ddf))
        assert fit.anova(type=3, ddf=ddf).frame.empty


def test_a_test_prints_as_one_line():
    fit = rg.lmer("Reaction ~ Days + (1 | Subject)", rg.datasets.load("sleepstudy"))
    assert repr(fit.wald_test([0.0, 1.0])) == str(fit.wald_test([0.0, 1.0]))
    assert repr(fit.wald_test([0.0, 1.0])).startswith("F(1, 161) = 169.4")
    assert repr(fit.convergence).startswith("converged\n  predicted decrease")
