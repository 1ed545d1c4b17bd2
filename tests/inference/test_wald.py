"""Wald intervals against lme4, glmmTMB and a dense REML criterion."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

import refglmm as rg
from refglmm.errors import ArgumentError, IntervalWarning, SingularFitWarning
from refglmm.inference.wald import linear_hessian, unprofiled_gradient, variance_covariance
from refglmm.likelihood.profiled import ProfiledLinear

Z = float(norm.ppf(0.975))


def test_acceptance_case_a12():
    fit = rg.lmer("Reaction ~ Days + (1 | Subject)", rg.datasets.load("sleepstudy"))
    frame = fit.confint("beta_", method="wald")
    assert list(frame.index) == ["(Intercept)", "Days"]
    assert list(frame.columns) == ["2.5 %", "97.5 %"]
    np.testing.assert_allclose(frame.to_numpy(), [[232.301892, 270.508318], [8.891041, 12.043531]], atol=1e-5)


# confint(fit, full = TRUE) of glmmTMB 1.1.5; it has intervals of SDs and sigma on the log scale, too
GLMMTMB_ML = {
    "sd_(Intercept)|Subject": (15.01708855, 37.6581390),
    "sd_Days|Subject": (3.80545913, 8.5882023),
    "sigma": (22.80046472, 28.7249187),
    "(Intercept)": (238.40610823, 264.4041622),
    "Days": (7.52294761, 13.4115975),
}
GLMMTMB_REML = {
    "sd_(Intercept)|Subject": (15.58154302, 39.28308931),
    "sd_Days|Subject": (3.91827241, 8.95077223),
    "sigma": (22.80046837, 28.72492289),
    "(Intercept)": (238.02920836, 264.78100134),
    "Days": (7.43759851, 13.49697341),
}


@pytest.mark.parametrize(("reml", "golden"), [(False, GLMMTMB_ML), (True, GLMMTMB_REML)], ids=["ML", "REML"])
def test_linear_model_against_glmmtmb(sleepstudy, reml, golden):
    fit = sleepstudy if reml else sleepstudy.refit_ml()
    frame = fit.confint(list(golden), method="wald")
    np.testing.assert_allclose(frame.to_numpy(), list(golden.values()), rtol=5e-6)


def test_correlation_on_fishers_scale(sleepstudy):
    # glmmTMB's correlation interval is of t / sqrt(1 + t^2); its standard error of t gives that of atanh(cor)
    fit = sleepstudy.refit_ml()
    low, high = fit.confint("cor_Days.(Intercept)|Subject", method="wald").to_numpy()[0]
    cor = fit.varcorr["Subject"].corr[1, 0]
    t = cor / np.sqrt(1.0 - cor**2)
    half_t = 0.5853685 / np.sqrt(1.0 - 0.5853685**2) - t
    half = half_t * (1.0 - cor**2) ** 1.5 / (1.0 - cor**2)
    assert np.arctanh(high) - np.arctanh(cor) == pytest.approx(half, rel=1e-4)
    assert np.arctanh(low) + np.arctanh(high) == pytest.approx(2.0 * np.arctanh(cor), rel=1e-10)


def test_generalized_models_against_glmmtmb(cbpp, ticks):
    frame = cbpp.confint(["sd_(Intercept)|herd", "period4"], method="wald")
    np.testing.assert_allclose(frame.to_numpy(), [[0.37244322, 1.10755154], [-2.41807402, -0.74255335]], rtol=5e-5)
    frame = ticks.confint(["size", "sd_(Intercept)|BROOD"], method="wald")
    np.testing.assert_allclose(frame.to_numpy(), [[2.34199107, 4.62651232], [1.30133467, 1.83705037]], rtol=2e-5)


def test_sigma_of_a_family_with_a_scale(three_columns):
    data = three_columns.assign(t=np.exp(0.3 * three_columns["y"]))
    fit = rg.glmer("t ~ x + (1 | g)", data, "gamma", link="log")
    low, high = fit.confint("sigma", method="wald").to_numpy()[0]
    covariance = 2.0 * np.linalg.inv(fit.optimum.hessian)
    assert np.sqrt(low * high) == pytest.approx(fit.sigma, rel=1e-12)
    assert np.log(high / low) == pytest.approx(Z * np.sqrt(covariance[-1, -1]), rel=1e-10)


def test_the_gradient_of_the_unprofiled_criterion(three_columns):
    """REML criterion in (par, log sigma) from the dense marginal covariance."""
    data = three_columns.iloc[:48]
    fit = rg.lmer("y ~ x + (z | g)", data)
    Z_dense = fit.design.Zt().T.toarray()
    X, y = np.asarray(fit.design.X), np.asarray(fit.frame.y)

    def criterion(x):
        a, b, c = x[:3]
        T = np.kron(np.eye(6), np.array([[a, 0.0], [b, c]]))
        V = np.exp(2.0 * x[3]) * (np.eye(48) + Z_dense @ T @ T.T @ Z_dense.T)
        W = np.linalg.inv(V)
        XtWX = X.T @ W @ X
        r = y - X @ np.linalg.solve(XtWX, X.T @ W @ y)
        logdets = np.linalg.slogdet(V)[1] + np.linalg.slogdet(XtWX)[1]
        return (48 - 2) * np.log(2.0 * np.pi) + logdets + r @ W @ r

    gradient = unprofiled_gradient(ProfiledLinear(fit.problem, True))
    at = np.array([0.9, 0.2, 0.6, 0.1])
    steps = 1e-5 * np.eye(4)
    expected = [(criterion(at + e) - criterion(at - e)) / 2e-5 for e in steps]
    np.testing.assert_allclose(gradient(at), expected, rtol=1e-6, atol=1e-6)
    estimate = np.append(fit.optimum.par, np.log(fit.sigma))
    assert criterion(estimate) == pytest.approx(fit.reml_criterion, abs=1e-8)
    rows = [(gradient(estimate + 10 * e) - gradient(estimate - 10 * e)) / 2e-4 for e in steps]
    np.testing.assert_allclose(linear_hessian(fit), rows, rtol=1e-4, atol=1e-3)


def test_every_structure_agrees_with_the_same_model_written_otherwise(three_columns):
    """Two columns: cs with its own SDs is the unstructured covariance."""
    us = rg.lmer("y ~ x + (x | g)", three_columns).confint("theta_", method="wald")
    cs = rg.lmer("y ~ x + cs(x | g)", three_columns).confint("theta_", method="wald")
    order = ["sd_(Intercept)|g", "sd_x|g", "cor_x.(Intercept)|g", "sigma"]
    np.testing.assert_allclose(us.loc[order].to_numpy(), cs.to_numpy(), rtol=2e-5, atol=2e-6)


def test_a_boundary_parameter_has_no_wald_interval_and_a_note(dyestuff2):
    with pytest.warns(IntervalWarning, match=r"no Wald interval for sd_\(Intercept\)\|Batch \(held on their boundary"):
        frame = dyestuff2.confint(method="wald")
    assert frame.loc["sd_(Intercept)|Batch"].isna().all()
    assert frame.loc[["sigma", "(Intercept)"]].notna().all(axis=None)
    assert "method='profile'" in frame.attrs["notes"][0]
    # sigma alone: an ordinary normal sample
    log_half = np.log(frame.loc["sigma", "97.5 %"] / dyestuff2.sigma)
    assert log_half == pytest.approx(Z / np.sqrt(2.0 * dyestuff2.nobs), rel=1e-6)


def test_a_correlation_of_one_has_no_wald_interval(three_columns):
    rng = np.random.default_rng(1)
    b = rng.normal(size=40)[three_columns["g"].str[1:].astype(int)]
    noise = rng.normal(size=len(b))
    data = three_columns.assign(y=three_columns["x"] + b * (1.0 + 0.5 * three_columns["x"]) + noise)
    with pytest.warns(SingularFitWarning):
        fit = rg.lmer("y ~ x + (x | g)", data)
    with pytest.warns(IntervalWarning, match=r"cor_x\.\(Intercept\)\|g"):
        frame = fit.confint("theta_", method="wald")
    assert frame.loc["cor_x.(Intercept)|g"].isna().all()
    assert frame.loc["sd_(Intercept)|g"].notna().all()


def test_without_a_hessian_only_coefficients_have_intervals():
    data = rg.datasets.load("cbpp")
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    fit = rg.glmer(formula, data, "binomial", control={"derivatives": False})
    with pytest.warns(IntervalWarning, match="the fit has no Hessian"):
        frame = fit.confint(method="wald")
    assert frame.notna().all(axis=1).sum() == 4
    assert variance_covariance(fit)[0] is None


def test_n_agq_zero_has_a_hessian_of_its_covariance_parameters():
    data = rg.datasets.load("cbpp")
    fit = rg.glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", data, "binomial", n_agq=0)
    low, high = fit.confint(0, method="wald").to_numpy()[0]
    half = Z * np.sqrt(2.0 / fit.optimum.hessian[0, 0]) / fit.par.iloc[0]
    assert np.log(high / low) == pytest.approx(2.0 * half, rel=1e-10)


def test_levels_and_their_names(cbpp):
    frame = cbpp.confint("period2", method="wald", level=0.9)
    assert list(frame.columns) == ["5 %", "95 %"]
    width = frame.to_numpy()[0] @ [-1.0, 1.0]
    assert width == pytest.approx(2.0 * norm.ppf(0.95) * cbpp.se["period2"])
    for level in (0.0, 1.0, 95, "x"):
        with pytest.raises(ArgumentError, match="level must lie between 0 and 1"):
            cbpp.confint(method="wald", level=level)


def test_a_dispersion_found_by_moments_has_an_estimate_and_no_interval():
    """lme4 mode: the objective is a function of (par, beta) only."""
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(12), 8)
    y = rng.gamma(3.0, np.exp(0.5 * rng.normal(size=12)[g]) / 3.0)
    fit = rg.glmer("y ~ 1 + (1 | g)", {"y": y, "g": g.astype(str)}, "gamma", link="log", mode="lme4")
    with pytest.warns(IntervalWarning, match=r"sigma .* by moments, outside the likelihood"):
        frame = fit.confint(method="wald")
    assert list(frame.index) == ["sd_(Intercept)|g", "sigma", "(Intercept)"]
    assert frame.loc["sigma"].isna().all()
    sd = float(fit.varcorr["g"].sd[0])
    half = Z * np.sqrt(2.0 * np.linalg.inv(fit.optimum.hessian)[0, 0]) / sd
    np.testing.assert_allclose(frame.loc["sd_(Intercept)|g"], sd * np.exp([-half, half]), rtol=1e-8)
    assert fit.bootstrap(nsim=2, seed=1).original["sigma"] == pytest.approx(fit.sigma, rel=1e-12)


def test_a_correlation_stays_above_the_bound_of_its_structure():
    """Compound symmetry of three columns: rho > -1/2."""
    rng = np.random.default_rng(10)
    g, f = np.repeat(np.arange(8), 6), np.tile(["a", "b", "c"], 16)
    y = rng.normal(size=48) + 0.5 * rng.normal(size=8)[g] + 0.5 * rng.normal(size=(8, 3))[g, np.tile([0, 1, 2], 16)]
    fit = rg.lmer("y ~ 1 + cs(0 + f | g, hom=TRUE)", {"y": y, "f": f, "g": g.astype(str)})
    low, high = fit.confint("rho|g", method="wald").to_numpy()[0]
    assert low == -0.5
    assert low < float(fit.varcorr["g"].corr[0, 1]) < high <= 1.0
