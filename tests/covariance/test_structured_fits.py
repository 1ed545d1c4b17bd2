"""Whole fits with structured terms against glmmTMB, and what a fit with such a term can do.

The linear models are those of the reference collection of glmmTMB 1.1.5 fits (sleepstudy: R100 = Reaction / 100, Days10
= Days / 10, ML); the generalized ones come from ``golden_structures.R`` beside this file.
"""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import refglmm as rg
from refglmm.covariance import TermData, make_structure
from refglmm.errors import DataError, FormulaWarning


@pytest.fixture(scope="module")
def sleep():
    data = rg.datasets.load("sleepstudy")
    return data.assign(R100=data.Reaction / 100.0, Days10=data.Days / 10.0, fDays=data.Days.astype(int).astype(str))


@pytest.fixture(scope="module")
def epil():
    data = rg.datasets.load("epil")
    return data.assign(time=data.period + (data.period > 2))


@pytest.fixture(scope="module")
def lattice():
    """Counts on a 7 x 7 lattice, three to a place, without random numbers (as in golden_structures.R)."""
    a, b, z = (v.ravel() for v in np.meshgrid(np.arange(7), np.arange(7), np.arange(3), indexing="ij"))
    eta = 1.0 + np.sin(1.7 * a) * np.cos(1.1 * b) + 0.3 * z
    noise = (7 * a + 11 * b * b + 5 * z * (a + 1)) % 13
    return pd.DataFrame({"z": z, "a": a, "b": b, "all": "one", "count": np.floor(np.exp(eta) * (0.5 + noise / 12))})


# --- linear mixed models ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "loglik", "sigma", "beta"),
    [
        ("(1 | Subject) + ar1(0 + fDays | Subject)", -42.475910887084, 0.1423580783122, 1.045207967618),
        ("ou(0 + numFactor(Days) | Subject)", -42.600299309365, 0.152287713594, 1.04488530624),
        ("exp(0 + numFactor(Days) | Subject)", -42.600299309365, 0.152287713594, 1.04488530624),
        ("gau(0 + numFactor(Days) | Subject)", -45.484517490415, 0.2210605916142, 1.039013516341),
        ("mat(0 + numFactor(Days) | Subject)", -42.533747594538, 0.08586260859333, 1.045330558725),
    ],
)
def test_linear_models_against_glmmtmb(sleep, text, loglik, sigma, beta):
    fit = rg.lmer(f"R100 ~ Days10 + {text}", sleep, reml=False)
    assert fit.optimum.certificate.converged
    assert fit.loglik == pytest.approx(loglik, abs=1e-5)  # gau: 6e-6 below, and exact by the dense likelihood
    assert fit.sigma == pytest.approx(sigma, rel=1e-3)
    assert fit.fixef["Days10"] == pytest.approx(beta, rel=1e-5)


def dense_deviance(structure, Y, X):
    """-2 log L of rows of Y with mean X beta and covariance T T', beta profiled out, as a function of par."""

    def value(par):
        root = structure.factor(structure.interior(par))
        x, y = np.linalg.solve(root, X), np.linalg.solve(root, Y.T)
        beta = np.linalg.solve(len(Y) * x.T @ x, (x.T @ y).sum(axis=1))
        r = y - (x @ beta)[:, None]
        return 2.0 * len(Y) * np.log(np.diag(root)).sum() + np.sum(r * r) + Y.size * np.log(2.0 * np.pi)

    return value


@pytest.mark.parametrize(
    ("name", "hom", "by_day", "loglik"),
    [
        ("cs", False, True, -46.00050709855),
        ("ar1", True, False, -45.126272301787),
        ("toep", False, False, -22.345812773995),
    ],
)
def test_structures_without_a_residual_reach_the_likelihood_of_glmmtmb(sleep, name, hom, by_day, loglik):
    """dispformula = ~0: the ten days of a subject have covariance T T' alone, in a dense likelihood of our own."""
    structure = make_structure(name, 10, hom)
    Y = sleep.sort_values(["Subject", "Days"]).R100.to_numpy().reshape(18, 10)
    X = np.eye(10) if by_day else np.column_stack([np.ones(10), np.arange(10) / 10.0])
    start = np.where(structure.in_sd_units, 0.45, 0.5 if name != "toep" else 0.0)
    if name == "toep":
        start[10] = 0.6
    bounds = [(1e-3, None) if free else (-0.999, 0.999) for free in structure.in_sd_units]
    found = minimize(
        dense_deviance(structure, Y, X), start, method="L-BFGS-B", bounds=bounds, options={"maxfun": 20000}
    )
    assert -0.5 * found.fun == pytest.approx(loglik, abs=2e-4)


def test_a_term_that_cannot_be_told_from_the_residuals_is_named(sleep):
    with pytest.warns(
        FormulaWarning, match=r"cs\(0 \+ fDays \| Subject, hom = TRUE\) has one row for each of its effects"
    ):
        rg.GLMM("R100 ~ Days10 + homcs(0 + fDays | Subject)", sleep)
    rg.GLMM("R100 ~ Days10 + ar1(0 + fDays | Subject)", sleep)  # no warning: it decays
    rg.GLMM("R100 ~ Days10 + homcs(0 + fDays | Subject)", pd.concat([sleep, sleep]))  # two rows each


# --- generalized linear mixed models ------------------------------------------------------------------------


def test_poisson_ou_against_glmmtmb(epil):
    fit = rg.glmer("y ~ trt + ou(0 + numFactor(time) | subject)", epil, family="poisson")
    assert fit.loglik == pytest.approx(-661.5403323508, abs=1e-6)
    np.testing.assert_allclose(fit.fixef, [1.72831287415, -0.3033792335381], rtol=1e-4)
    np.testing.assert_allclose(np.log(fit.optimum.par[0]), -0.02078674610883, atol=1e-5)
    np.testing.assert_allclose(fit.optimum.par[1], -2.536308380268, atol=1e-4)
    np.testing.assert_allclose(fit.se, [0.1786971538959, 0.2480351632704], rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "loglik", "beta", "theta", "se"),
    [
        (
            "exp",
            -298.609295111,
            [0.8460295175088, 0.3281600730105],
            [-0.7730774970993, -0.9989742345188],
            [0.1109644201259, 0.05368018263609],
        ),
        (
            "gau",
            -296.6144982128,
            [0.8162371118065, 0.3281594485658],
            [-0.6196008867819, 0.1340708436619],
            [0.1637270896433, 0.05368017285442],
        ),
    ],
)
def test_poisson_in_space_against_glmmtmb(lattice, name, loglik, beta, theta, se):
    fit = rg.glmer(f"count ~ z + {name}(0 + numFactor(a, b) | all)", lattice, family="poisson")
    assert fit.loglik == pytest.approx(loglik, abs=1e-6)
    np.testing.assert_allclose(fit.fixef, beta, rtol=1e-4)
    np.testing.assert_allclose(np.append(np.log(fit.optimum.par[0]), fit.optimum.par[1]), theta, atol=1e-4)
    np.testing.assert_allclose(fit.se, se, rtol=1e-4)


RR2 = [
    2.473166059279, 1.311299089768, 1.349552318564, 1.44679765652, 1.717184882766, 1.584041154776, 0.6496759463261,
    0.4457992641324, -0.04135939195882, 0.4651353005712, 1.061178764345, -0.2490286363147, 0.7347065126786,
]  # fmt: skip


def test_reduced_rank_against_glmmtmb():
    """glmmTMB holds the diagonal first; here loadings go by columns. The deviance does not see the idle effects."""
    data = rg.datasets.load("Salamanders")
    one, two = (rg.glmer(f"count ~ spp + rr(0 + spp | site, d = {d})", data, family="poisson") for d in (1, 2))
    assert one.loglik == pytest.approx(-968.9674135357, abs=1e-6)
    assert two.loglik == pytest.approx(-910.7574260142, abs=1e-6)
    np.testing.assert_allclose(two.optimum.par, RR2, atol=2e-3)
    assert np.linalg.matrix_rank(two.varcorr["site"].cov, tol=1e-8) == 2
    intervals = two.confint("loading_sppPR.1|site", method="wald")
    assert intervals.iloc[0, 0] < RR2[1] < intervals.iloc[0, 1]


def test_toeplitz_against_glmmtmb():
    fit = rg.glmer("count ~ mined + toep(0 + spp | site)", rg.datasets.load("Salamanders"), family="poisson")
    assert fit.loglik == pytest.approx(-880.9438509181, abs=1e-6)
    np.testing.assert_allclose(fit.fixef, [-2.149326629245, 2.516801182971], rtol=1e-4)
    log_sd = [-0.4993735933201, 0.718798222657, 0.1248530698021, -0.6326994299975, 0.22951647065, 0.3917900953294]
    np.testing.assert_allclose(np.log(fit.optimum.par[:6]), log_sd, atol=1e-3)
    t = np.array(
        [0.04344484640196, 0.4712064500431, 0.05767444702208, 0.05140291723166, 0.42539998651, -0.6583994691696]
    )
    lags = fit.varcorr["site"].corr[1:, 0]
    np.testing.assert_allclose(lags, t / np.sqrt(1.0 + t**2), atol=1e-3)  # glmmTMB's parameters of the correlations
    printed = [line.split()[-1] for line in str(fit.varcorr).splitlines()[2:]]
    assert printed == [f"{lag:.2f}" for lag in lags]


def test_a_known_covariance_is_a_transformed_random_intercept():
    """propto(0 + f | g, V): with u = chol(V)'s columns as covariates the same model has independent effects."""
    rng = np.random.default_rng(5)
    species, V = [f"s{i}" for i in range(5)], 0.6 * np.ones((5, 5)) + 0.4 * np.eye(5)
    at = rng.integers(0, 5, 200)
    group = rng.integers(0, 15, 200)
    effect = 0.8 * (np.linalg.cholesky(V) @ rng.normal(size=(5, 15)))
    data = pd.DataFrame({"y": rng.poisson(np.exp(1.0 + effect[at, group])), "sp": np.array(species)[at], "g": group})
    known = rg.glmer("y ~ 1 + propto(0 + sp | g, V)", data, family="poisson", env={"V": V})
    columns = {f"z{j}": np.linalg.cholesky(V)[at, j] for j in range(5)}
    plain = rg.glmer("y ~ 1 + homdiag(0 + z0 + z1 + z2 + z3 + z4 | g)", data.assign(**columns), family="poisson")
    assert known.loglik == pytest.approx(plain.loglik, abs=1e-9)
    assert known.optimum.par[0] == pytest.approx(plain.optimum.par[0], rel=1e-5)
    fixed = rg.glmer("y ~ 1 + equalto(0 + sp | g, W)", data, "poisson", env={"W": known.optimum.par[0] ** 2 * V})
    assert fixed.loglik == pytest.approx(known.loglik, abs=1e-9)
    assert fixed.df == known.df - 1


# --- what a fit can do --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def times(epil):
    return rg.glmer("y ~ trt + ou(0 + numFactor(time) | subject)", epil, family="poisson")


def test_range_and_rate_are_printed_and_have_intervals(times):
    assert f"ou) {times.varcorr['subject'].sd[0]:.5f}  rate = {np.exp(times.optimum.par[1]):.4g}" in str(times.varcorr)
    wald = times.confint(method="wald")
    assert list(wald.index[:2]) == ["sd|subject", "rate|subject"]
    assert wald.loc["rate|subject"].iloc[0] < np.exp(times.optimum.par[1]) < wald.loc["rate|subject"].iloc[1]
    profile = times.confint("rate|subject", method="profile")
    np.testing.assert_allclose(profile.iloc[0], wald.loc["rate|subject"], rtol=0.2)


def test_predictions_know_new_subjects_but_no_new_times(times, epil):
    rows = epil.iloc[:2]
    np.testing.assert_allclose(times.predict(rows, type="response"), times.fitted.iloc[:2])
    with pytest.raises(DataError, match=r"factor 'numFactor\(time\)' has new level '\(3\)'"):
        times.predict(rows.assign(time=3))


def test_simulations_have_the_covariance_of_the_structure():
    """Var(b) from draws of the linear predictor of a nearly noiseless linear model."""
    frame = pd.DataFrame({"y": 0.0, "t": np.tile([0.0, 1.0, 3.0], 2000), "g": np.repeat(np.arange(2000), 3)})
    drawn = rg.simulate(
        "y ~ 0 + t + exp(0 + numFactor(t) | g)",
        frame,
        newparams={"beta": [0.0], "par": [1e3, np.log(2.0)], "sigma": 1e-3},
        seed=1,
    )
    b = np.asarray(drawn).reshape(2000, 3)
    expected = np.exp(-np.abs(np.subtract.outer([0.0, 1.0, 3.0], [0.0, 1.0, 3.0])) / 2.0)
    np.testing.assert_allclose(np.cov(b.T), expected, atol=4.5 * np.sqrt(2.0 / 2000))


def test_fits_survive_pickling_and_updating(times):
    again = pickle.loads(pickle.dumps(times))
    assert again.loglik == times.loglik
    assert again.structures[0].data == TermData(positions=((1.0,), (2.0,), (4.0,), (5.0,)))
    smaller = times.update(". ~ . - trt")
    assert smaller.loglik < times.loglik
    assert "ou(0 + numFactor(time) | subject)" in smaller.formula.expanded


def test_columns_without_any_effect_make_a_singular_fit(lattice):
    """Counts that repeat a pattern over the places, with less than Poisson's variation: nothing is left for exp."""
    calm = lattice.assign(count=4 + lattice.z + (lattice.a + lattice.b) % 2)
    with pytest.warns(rg.errors.SingularFitWarning, match="all.sd at the edge"):
        fit = rg.glmer("count ~ z + exp(0 + numFactor(a, b) | all)", calm, family="poisson")
    assert fit.is_singular()
    assert fit.optimum.certificate.converged
    assert fit.optimum.par[0] == 0.0
    assert fit.loglik == pytest.approx(rg.without_random(fit).loglik, abs=1e-8)
    assert np.all(np.isfinite(fit.se))


@pytest.mark.slow
def test_a_smoothness_beyond_all_bounds_is_held_not_judged(lattice):
    """These counts prefer gau, the limit of mat: standard errors hold the smoothness there."""
    fit = rg.glmer("count ~ z + mat(0 + numFactor(a, b) | all)", lattice, family="poisson")
    assert fit.loglik == pytest.approx(-296.6144982128, abs=2e-3)
    assert "log_smoothness" in fit.covariance.note
    np.testing.assert_allclose(fit.se, [0.1637270896433, 0.05368017285442], rtol=1e-3)
