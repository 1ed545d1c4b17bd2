"""Predictions against dense covariance matrices, closed forms and glmmTMB (A6 and A7 stand in test_acceptance)."""

from __future__ import annotations

import functools
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import refglmm as rg
from refglmm.errors import ArgumentError, DataError, MissingValuesError, NotAvailableError, RefglmmError

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture(scope="module")
def sleep():
    data = rg.datasets.load("sleepstudy")
    return rg.lmer("Reaction ~ Days + (Days | Subject)", data)


@pytest.fixture(scope="module")
def cbpp():
    return rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial")


def crossed_data():
    """Two crossed factors that have not all met, a slope, an offset, a factor and weights."""
    rng = np.random.default_rng(8)
    pairs = [(s, i) for s in range(9) for i in range(7) if (s + 2 * i) % 3]
    rows = np.repeat(np.array(pairs), 3, axis=0)
    n = len(rows)
    x = rng.normal(size=n)
    f = np.array(["u", "v", "w"])[rng.integers(0, 3, n)]
    e = rng.uniform(0.5, 2.0, n)
    b = rng.normal(size=(9, 2)) * [0.8, 0.4]
    eta = 0.5 + 0.3 * x + (f == "v") + b[rows[:, 0], 0] + b[rows[:, 0], 1] * x + 0.5 * rng.normal(size=7)[rows[:, 1]]
    return pd.DataFrame(
        {
            "y": eta + rng.normal(size=n) / np.sqrt(e),
            "count": rng.poisson(e * np.exp(eta * 0.5)),
            "x": x,
            "f": f,
            "e": e,
            "s": [f"s{j}" for j in rows[:, 0]],
            "i": [f"i{j}" for j in rows[:, 1]],
        },
        index=[f"row{j}" for j in range(n)],
    )


@pytest.fixture(scope="module")
def crossed():
    return rg.lmer("y ~ x + f + (x | s) + (1 | i)", crossed_data(), weights="e")


@pytest.fixture(scope="module")
def counts():
    return rg.glmer("count ~ x + (1 | s) + (1 | i) + offset(log(e))", crossed_data(), "poisson")


def grid():
    """Every pair of levels, met or not."""
    rows = [(s, i) for s in range(9) for i in range(7)]
    rng = np.random.default_rng(2)
    return pd.DataFrame(
        {
            "s": [f"s{s}" for s, _ in rows],
            "i": [f"i{i}" for _, i in rows],
            "x": rng.normal(size=63),
            "f": rng.choice(["u", "v", "w"], 63),
            "e": rng.uniform(0.5, 2.0, 63),
        }
    )


def dense_rows(fit, data, use=lambda term, column: True):
    """[X Z] of new data, columns in the order of the joint covariance."""
    blocks = [fit.design.fixed_matrix(data)]
    for term in fit.design.terms:
        codes, Z = fit.design.random_matrix(term, data)
        block = np.zeros((len(data), len(term.levels), term.k))
        for row, level in enumerate(codes):
            if level >= 0:
                block[row, level] = [z if use(term, c) else 0.0 for z, c in zip(Z[row], term.columns, strict=True)]
        blocks.append(block.reshape(len(data), -1))
    return np.hstack(blocks)


# --- values ---------------------------------------------------------------------------------------------------


def test_without_new_data_the_predictions_are_the_fitted_values(crossed, counts):
    pd.testing.assert_series_equal(crossed.predict(), crossed.fitted, check_names=False, rtol=1e-12)
    pd.testing.assert_series_equal(counts.predict(type="response"), counts.fitted, check_names=False, rtol=1e-12)
    assert list(crossed.predict().index) == list(crossed_data().index)
    np.testing.assert_allclose(crossed.predict(crossed_data()), crossed.fitted, rtol=1e-12)


def test_subsets_of_terms_in_any_spelling_and_order(crossed):
    new = grid()
    both = crossed.predict(new)
    for text in ("~ (1 | i) + (x | s)", "~ (x || s) + (1 | i)", "~ 0 + cs(1 + x | s) + (1 | i)"):
        np.testing.assert_allclose(crossed.predict(new, re_form=text), both, rtol=1e-14)
    parts = [crossed.predict(new, re_form=f"~ {t}", random_only=True) for t in ("(1|s)", "(0 + x|s)", "(1|i)")]
    np.testing.assert_allclose(sum(parts) + crossed.predict(new, re_form=False), both, rtol=1e-12)
    assert np.all(crossed.predict(new, re_form=False, random_only=True) == 0.0)


def test_columns_that_take_no_part_may_be_missing(crossed):
    new = grid()
    pd.testing.assert_series_equal(
        crossed.predict(new.drop(columns="i"), re_form="~ (x | s)"), crossed.predict(new, re_form="~ (x | s)")
    )
    assert len(crossed.predict(new[["s", "x", "i"]], random_only=True)) == 63
    with pytest.raises(DataError, match="newdata lacks the columns 'i'"):
        crossed.predict(new.drop(columns="i"))


def test_a_group_of_two_variables_matches_in_either_order():
    data = crossed_data()
    fit = rg.lmer("y ~ x + (1 | s:i)", data)
    np.testing.assert_array_equal(fit.predict(data, re_form="~ (1 | i:s)"), fit.predict(data))


@pytest.mark.parametrize(
    ("re_form", "message"),
    [
        (
            "~ (1 | f)",
            r"re_form names \(1 \| f\), which the fit does not have; its terms are \(\(Intercept\) \+ x \| s",
        ),
        ("~ (e | s)", r"which the fit does not have"),
        ("~ (f | s)", r"which the fit does not have"),
        ("~ x + (1 | s)", "random terms only"),
        ("~ 1", "random terms only, or is '~0'"),
        ("y ~ (1 | s)", "random terms only"),
        (True, "re_form must be None, False or a formula"),
        (0, "re_form must be None, False or a formula"),
    ],
)
def test_a_re_form_that_the_fit_does_not_have(crossed, re_form, message):
    with pytest.raises(ArgumentError, match=message):
        crossed.predict(grid(), re_form=re_form)


def test_offsets_come_from_the_new_data(counts):
    new = grid()
    twice = new.assign(e=2 * new.e)
    np.testing.assert_allclose(counts.predict(twice) - counts.predict(new), np.log(2.0), rtol=1e-12)
    np.testing.assert_allclose(counts.predict(new, random_only=True), counts.predict(twice, random_only=True))


def test_an_offset_argument_is_evaluated_again_or_demanded():
    data, new = crossed_data(), grid()
    by_name = rg.glmer("count ~ x + (1 | s)", data, "poisson", offset="log(e)")
    by_array = rg.glmer("count ~ x + (1 | s)", data, "poisson", offset=np.log(data.e))
    np.testing.assert_allclose(by_name.predict(new), by_array.predict(new, offset=np.log(new.e)), rtol=1e-6)
    np.testing.assert_allclose(by_name.predict(new, offset="0 * e"), by_name.predict(new) - np.log(new.e), rtol=1e-12)
    with pytest.raises(DataError, match="fitted with an offset array; pass offset="):
        by_array.predict(new)
    with pytest.raises(DataError, match="offset has shape"):
        by_array.predict(new, offset=np.zeros(5))
    with pytest.raises(DataError, match="offset must be numbers"):
        by_array.predict(new, offset=["a"] * 63)
    with pytest.raises(ArgumentError, match="offset= belongs to newdata"):
        by_array.predict(offset=np.zeros(len(data)))


def test_other_parameters_move_the_modes_with_them(crossed, counts):
    data = crossed_data().assign(positive=lambda d: np.exp(d.y))
    lme4 = rg.glmer("positive ~ x + (1 | s)", data, "gamma", link="log", mode="lme4")
    for fit, reach in ((crossed, 1e-8), (counts, 1e-8), (lme4, 1e-4)):  # lme4's modes stop 1e-7 of a deviance early
        same = fit.predict(newparams={"beta": fit.fixef, "par": fit.par})
        np.testing.assert_allclose(same, fit.predict(), atol=reach)
        no_effects = fit.predict(newparams={"theta": np.zeros(fit.theta.size)})
        np.testing.assert_allclose(no_effects, fit.predict(re_form=False), atol=1e-12)
    # one scalar term: the mode at (beta, theta) is the root of its estimating equation, group by group
    data = crossed_data()
    fit = rg.glmer("count ~ x + (1 | s)", data, "poisson")
    fixed = 0.1 + 0.2 * data.x
    b = fit.predict(newparams={"beta": [0.1, 0.2], "theta": [0.9]}) - fixed
    score = (data["count"] - np.exp(fixed + b)).groupby(data.s).sum() - b.groupby(data.s).first() / 0.9**2
    assert np.abs(score).max() < 1e-8


@pytest.mark.parametrize(
    ("newparams", "message"),
    [
        ({"gamma": 1}, "unknown parameter 'gamma'; known are par, theta, beta, sigma, phi"),
        ({"beta": [1.0]}, r"beta must have 4 values \(\(Intercept\), x, fv, fw\), not 1"),
        ({"beta": {"x": 1.0}}, "missing: \\(Intercept\\), fv, fw, unknown: none"),
        ({"theta": [1.0]}, "theta must have length 4, not 1"),
        ({"theta": [1.0] * 4, "par": [1.0] * 4}, "give par or theta, not both"),
        ({"par": [-1.0, 0, 1, 1]}, r"covariance parameter s.\(Intercept\) must lie in \[0, inf\], not -1"),
        ({"beta": ["a"] * 4}, "beta must be numbers"),
        ({"beta": [np.nan] * 4}, "beta must be finite"),
        ({"sigma": 0.0}, "must be 1 positive number"),
        ([1, 2], "parameters are a mapping"),
    ],
)
def test_parameters_that_cannot_be(crossed, newparams, message):
    with pytest.raises(ArgumentError, match=message):
        crossed.predict(newparams=newparams)


def test_a_family_without_a_scale_has_no_sigma(cbpp):
    with pytest.raises(ArgumentError, match="the binomial family has no sigma"):
        cbpp.predict(newparams={"sigma": 1.0})
    with pytest.raises(ArgumentError, match="no shape parameter"):
        cbpp.predict(newparams={"phi": 1.0})


# --- standard errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["sleep", "crossed", "cbpp", "counts"])
def test_standard_errors_are_those_of_the_dense_joint_covariance(which, request):
    fit = request.getfixturevalue(which)
    data = {"crossed": grid(), "counts": grid()}.get(which, fit.frame.data)
    V = fit.vcov(full=True).to_numpy()
    A = dense_rows(fit, data)
    p = fit.design.X.shape[1]
    wanted = np.sqrt(np.einsum("ij,jk,ik->i", A, V, A))
    np.testing.assert_allclose(fit.predict(data, se=True)["se"], wanted, rtol=1e-9)
    np.testing.assert_allclose(
        fit.predict(data, se=True, re_form=False)["se"],
        np.sqrt(np.einsum("ij,jk,ik->i", A[:, :p], fit.vcov(), A[:, :p])),
        rtol=1e-9,
    )
    np.testing.assert_allclose(
        fit.predict(data, se=True, random_only=True)["se"],
        np.sqrt(np.einsum("ij,jk,ik->i", A[:, p:], V[p:, p:], A[:, p:])),
        rtol=1e-9,
    )


def test_standard_errors_of_a_subset_of_columns(crossed):
    new = grid()
    A = dense_rows(crossed, new, lambda term, column: (term.group, column) != ("s", "x"))
    wanted = np.sqrt(np.einsum("ij,jk,ik->i", A, crossed.vcov(full=True).to_numpy(), A))
    found = crossed.predict(new, se=True, re_form="~ (1 | s) + (1 | i)")["se"]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_linear_standard_errors_are_the_closed_form_of_best_linear_prediction(crossed):
    """Var(x'b + z'u - prediction) = z'Gz - c'V^-1 c + r'(X'V^-1 X)^-1 r, c = Z G z, r = x - X'V^-1 c."""
    data, new = crossed_data(), grid()
    X, Z = crossed.design.X, crossed.design.Zt().T.toarray()
    A = dense_rows(crossed, new)
    x, z = A[:, : X.shape[1]], A[:, X.shape[1] :]
    blocks = [np.kron(np.eye(len(t.levels)), crossed.varcorr[t.label].cov) for t in crossed.design.terms]
    G = np.zeros((z.shape[1],) * 2)
    at = 0
    for block in blocks:
        G[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    V = Z @ G @ Z.T + np.diag(crossed.sigma**2 / data.e)
    C = np.linalg.solve(V, Z @ G @ z.T)
    R = x.T - X.T @ C
    variance = np.diag(z @ G @ z.T - z @ G @ Z.T @ C + R.T @ np.linalg.solve(X.T @ np.linalg.solve(V, X), R))
    np.testing.assert_allclose(crossed.predict(new, se=True)["se"], np.sqrt(variance), rtol=1e-8)


def test_unconditional_standard_errors_are_those_of_glmmtmb(cbpp, sleep):
    """Golden: glmmTMB 1.1.5 (R 4.2), predict(se.fit = TRUE), which adds the uncertainty of theta likewise."""
    data = rg.datasets.load("cbpp").head(6)
    glmmtmb = [0.378330128527, 0.430200063614, 0.449510770861, 0.532487500590, 0.393482913215, 0.440065354028]
    np.testing.assert_allclose(cbpp.predict(data, se="unconditional")["se"], glmmtmb, rtol=1e-6)
    data = rg.datasets.load("sleepstudy").head(4)
    reml = [13.06764141500, 11.16462591596, 9.53982234871, 8.35710882755]
    np.testing.assert_allclose(sleep.predict(data, se="unconditional")["se"], reml, rtol=2e-6)
    ml = [12.94513469381, 11.06593356568, 9.46648629150, 8.30993040417]
    np.testing.assert_allclose(sleep.refit_ml().predict(data, se="unconditional")["se"], ml, rtol=2e-6)


def test_unconditional_standard_errors_of_the_population_are_those_of_the_hessian(cbpp):
    table = cbpp.predict({"period": ["1"]}, re_form=False, se="unconditional")
    assert table["se"][0] == pytest.approx(cbpp.se["(Intercept)"], rel=1e-9)


def known_parameter_variance(fit, A):
    """Variance that is left when beta is known too: Var(b) - Cov(b, beta) Var(beta)^-1 Cov(beta, b)."""
    p, V = fit.design.X.shape[1], fit.vcov(full=True).to_numpy()
    left = V[p:, p:] - V[p:, :p] @ np.linalg.solve(V[:p, :p], V[:p, p:])
    return np.einsum("ij,jk,ik->i", A[:, p:], left, A[:, p:])


def slopes_by_differences(function, at, h=1e-4):
    units = h * np.eye(len(at))
    return np.column_stack([(function(at + e) - function(at - e)) / (2 * h) for e in units])


def test_unconditional_standard_errors_by_differences_of_predictions(counts):
    new, n_par = grid(), counts.par.size
    at = np.concatenate([counts.par, counts.beta])

    def eta(psi):
        return counts.predict(new, newparams={"par": psi[:n_par], "beta": psi[n_par:]}).to_numpy()

    J = slopes_by_differences(eta, at)
    wanted = known_parameter_variance(counts, dense_rows(counts, new))
    wanted += np.einsum("ij,jk,ik->i", J, 2 * np.linalg.inv(counts.optimum.hessian), J)
    np.testing.assert_allclose(counts.predict(new, se="unconditional")["se"], np.sqrt(wanted), rtol=1e-6)


def test_unconditional_standard_errors_of_a_linear_model_by_differences(crossed):
    """beta-hat and b-tilde as functions of theta by dense generalised least squares."""
    new, X, Z = grid(), crossed.design.X, crossed.design.Zt().T.toarray()
    A, W = dense_rows(crossed, new), np.diag(1.0 / crossed.weights())

    def eta(par):
        T = [s.factor(piece) for s, piece in zip(crossed.structures, (par[:3], par[3:]), strict=True)]
        T = [T[1], T[0]] if crossed.design.terms[0].k == 1 else T
        sizes = [len(t.levels) for t in crossed.design.terms]
        L = np.zeros((Z.shape[1],) * 2)
        at = 0
        for t, size in zip(T, sizes, strict=True):
            block = np.kron(np.eye(size), t)
            L[at : at + len(block), at : at + len(block)] = block
            at += len(block)
        V = Z @ L @ L.T @ Z.T + W
        beta = np.linalg.solve(X.T @ np.linalg.solve(V, X), X.T @ np.linalg.solve(V, crossed.frame.y))
        b = L @ L.T @ Z.T @ np.linalg.solve(V, crossed.frame.y - X @ beta)
        return A @ np.concatenate([beta, b])

    np.testing.assert_allclose(eta(crossed.par.to_numpy()), crossed.predict(new), rtol=1e-8)
    J = slopes_by_differences(eta, crossed.par.to_numpy())
    extra = np.einsum("ij,jk,ik->i", J, 2 * np.linalg.inv(crossed.optimum.hessian), J)
    wanted = np.sqrt(crossed.predict(new, se=True)["se"] ** 2 + extra)
    np.testing.assert_allclose(crossed.predict(new, se="unconditional")["se"], wanted, rtol=1e-6)
    wider = crossed.predict(new, se="unconditional", interval="confidence")
    np.testing.assert_allclose(wider["upper"] - wider["fit"], stats.norm.ppf(0.975) * wanted, rtol=1e-6)


def test_unconditional_standard_errors_need_a_hessian():
    data = rg.datasets.load("cbpp")
    for how in ({"mode": "lme4"}, {"n_agq": 0}, {"control": {"derivatives": False}}):
        fit = rg.glmer(CBPP, data, "binomial", **how)
        with pytest.raises(NotAvailableError, match="needs their Hessian"):
            fit.predict(se="unconditional")


def test_predictions_without_random_effects_agree_with_summary_and_lsmeans(cbpp):
    new = pd.DataFrame({"period": ["1", "2", "3", "4"]})
    found, means = cbpp.predict(new, re_form=False, se=True), cbpp.lsmeans("period").table
    np.testing.assert_allclose(found["se"], means["SE"], rtol=1e-12)
    assert found["se"].iloc[0] == pytest.approx(cbpp.se.iloc[0], rel=1e-13)
    interval = cbpp.predict(new, re_form=False, interval="confidence")
    np.testing.assert_allclose(interval[["lower", "upper"]], means[["lower.CL", "upper.CL"]], rtol=1e-12)
    unconditional = cbpp.predict(new, re_form=False, se="unconditional")
    np.testing.assert_allclose(found["se"], unconditional["se"], rtol=1e-12)
    by_rx = cbpp.update(se="rx").predict(new, re_form=False, se=True)["se"]
    assert by_rx.iloc[0] == pytest.approx(np.sqrt(cbpp.vcov(full=True).iloc[0, 0]), rel=1e-6)
    assert abs(by_rx.iloc[0] / found["se"].iloc[0] - 1) > 1e-3


def test_standard_errors_on_the_scale_of_the_response(cbpp):
    link, response = cbpp.predict(se=True), cbpp.predict(se=True, type="response")
    mu = response["fit"]
    np.testing.assert_allclose(response["se"], link["se"] * mu * (1 - mu), rtol=1e-12)


def test_new_levels_add_their_variance(sleep, crossed):
    new = {"Days": [0.0, 3.0], "Subject": ["x", None]}
    found = sleep.predict(new, allow_new_levels=True, se=True)
    fixed = sleep.predict(new, re_form=False, se=True)
    np.testing.assert_array_equal(found["fit"], fixed["fit"])
    z = np.array([[1.0, 0.0], [1.0, 3.0]])
    extra = np.einsum("ij,jk,ik->i", z, sleep.varcorr["Subject"].cov, z)
    np.testing.assert_allclose(found["se"] ** 2, fixed["se"] ** 2 + extra, rtol=1e-12)
    intercept = sleep.predict(new, allow_new_levels=True, se=True, re_form="~ (1 | Subject)")
    wanted = fixed["se"] ** 2 + sleep.varcorr["Subject"].cov[0, 0]
    np.testing.assert_allclose(intercept["se"] ** 2, wanted, rtol=1e-12)
    # a new level of one term leaves the other as it was
    rows = grid().head(4)
    one = crossed.predict(rows.assign(i="new"), allow_new_levels=True, se=True)
    other = crossed.predict(rows, re_form="~ (x | s)", se=True)
    np.testing.assert_allclose(one["fit"], other["fit"], rtol=1e-13)
    np.testing.assert_allclose(one["se"] ** 2, other["se"] ** 2 + crossed.varcorr["i"].cov[0, 0], rtol=1e-10)


def test_standard_errors_of_a_singular_fit_are_finite():
    with pytest.warns(rg.errors.SingularFitWarning):
        fit = rg.lmer("Yield ~ 1 + (1 | Batch)", rg.datasets.load("Dyestuff2"))
    # without the batches it is the mean of 30 numbers; a variance on its boundary is held fixed
    for kind in (True, "unconditional"):
        np.testing.assert_allclose(fit.predict(se=kind)["se"], fit.sigma / np.sqrt(30.0), rtol=1e-10)


def test_standard_errors_without_fixed_effects():
    """Random intercepts about zero with n rows a group: variance of b given y, sigma^2 / (n + sigma^2 / tau^2)."""
    data = rg.datasets.load("sleepstudy")
    fit = rg.lmer("Reaction ~ 0 + (1 | Subject)", data)
    ratio = fit.sigma**2 / fit.varcorr["Subject"].cov[0, 0]
    np.testing.assert_allclose(fit.predict(se=True)["se"], fit.sigma / np.sqrt(10 + ratio), rtol=1e-10)
    # d b/d theta = b d log(shrinkage)/d theta, shrinkage = 10 / (10 + 1 / theta^2)
    theta = float(fit.theta.iloc[0])
    slope = fit.predict() * 2 / (theta * (10 * theta**2 + 1))
    wanted = np.sqrt(fit.predict(se=True)["se"] ** 2 + slope**2 * 2 / fit.optimum.hessian[0, 0])
    np.testing.assert_allclose(fit.predict(se="unconditional")["se"], wanted, rtol=1e-8)


@pytest.mark.parametrize("term", ["cs(0 + period | herd)", "ar1(0 + period | herd)", "diag(0 + period | herd)"])
@pytest.mark.filterwarnings("ignore::refglmm.errors.SingularFitWarning")
def test_structured_covariances(term):
    data = rg.datasets.load("cbpp")
    fit = rg.glmer(f"cbind(incidence, size - incidence) ~ period + {term}", data, "binomial")
    A = dense_rows(fit, data)
    wanted = np.sqrt(np.einsum("ij,jk,ik->i", A, fit.vcov(full=True).to_numpy(), A))
    np.testing.assert_allclose(fit.predict(se=True)["se"], wanted, rtol=1e-10)
    assert np.all(fit.predict(se="unconditional")["se"] > 0.0)
    np.testing.assert_array_equal(fit.predict(re_form="~ (0 + period | herd)"), fit.predict())


def test_blocks_of_rows_and_of_solves_do_not_matter(crossed, monkeypatch):
    from refglmm.fit import variances

    whole = crossed.predict(grid(), se=True)
    monkeypatch.setattr(variances, "BLOCK", 100)
    np.testing.assert_allclose(crossed.predict(grid(), se=True), whole, rtol=1e-13)


# --- intervals ------------------------------------------------------------------------------------------------


def test_confidence_intervals(cbpp, sleep):
    link = cbpp.predict(se=True, interval="confidence", level=0.9)
    z = stats.norm.ppf(0.95)
    np.testing.assert_allclose(link["lower"], link["fit"] - z * link["se"], rtol=1e-12)
    np.testing.assert_allclose(link["upper"], link["fit"] + z * link["se"], rtol=1e-12)
    response = cbpp.predict(interval="confidence", level=0.9, type="response")
    assert list(response.columns) == ["fit", "lower", "upper"]
    np.testing.assert_allclose(response["upper"], 1 / (1 + np.exp(-link["upper"])), rtol=1e-12)


def test_a_falling_link_swaps_the_bounds_and_leaves_out_what_it_cannot_transform():
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(8), 10)
    data = pd.DataFrame({"y": rng.gamma(5.0, (2 + 0.3 * rng.normal(size=8))[g] / 5.0), "g": g.astype(str)})
    fit = rg.glmer("y ~ 1 + (1 | g)", data, "gamma")
    table = fit.predict(type="response", interval="confidence")
    assert np.all(table["lower"] < table["fit"])
    assert np.all(table["fit"] < table["upper"])
    wide = fit.predict(type="response", interval="confidence", level=1 - 1e-15)
    assert np.all(wide["lower"].notna() | wide["upper"].isna())


def test_linear_prediction_intervals_are_normal(crossed):
    data = crossed_data()
    table = crossed.predict(interval="prediction", se=True)
    sd = np.sqrt(table["se"] ** 2 + crossed.sigma**2 / data.e)
    np.testing.assert_allclose(table["upper"] - table["fit"], stats.norm.ppf(0.975) * sd, rtol=1e-10)
    new = grid()
    by_name = crossed.predict(new, interval="prediction")
    np.testing.assert_array_equal(by_name, crossed.predict(new, interval="prediction", weights=new.e))
    double = crossed.predict(new, interval="prediction", weights="2 * e")
    assert np.all(double["upper"] < by_name["upper"])
    with pytest.raises(DataError, match="weights of the new data"):
        crossed.predict(new.drop(columns="e"), interval="prediction")


def test_poisson_prediction_intervals_are_quantiles_of_the_mixture(counts):
    """The distribution function of the mixture by quadrature at the bounds: what is asked for, and no less."""
    new = grid().head(6)
    link = counts.predict(new, se=True)
    table = counts.predict(new, type="response", interval="prediction", level=0.8)
    nodes, w = np.polynomial.hermite_e.hermegauss(60)
    mu = np.exp(link["fit"].to_numpy()[:, None] + link["se"].to_numpy()[:, None] * nodes)

    def below(y):
        return stats.poisson.cdf(y.to_numpy()[:, None], mu) @ (w / w.sum())

    error = 4 * np.sqrt(0.1 * 0.9 / 4000)
    assert np.all(below(table["lower"]) >= 0.1 - error)
    assert np.all(below(table["lower"] - 1) <= 0.1 + error)
    assert np.all(below(table["upper"]) >= 0.9 - error)
    assert np.all(below(table["upper"] - 1) <= 0.9 + error)
    pd.testing.assert_frame_equal(table, counts.predict(new, type="response", interval="prediction", level=0.8))


def test_binomial_prediction_intervals_need_the_trials(cbpp):
    data = rg.datasets.load("cbpp").head(4)
    table = cbpp.predict(data, type="response", interval="prediction")
    scaled = table[["lower", "upper"]].mul(data["size"], axis=0)
    np.testing.assert_allclose(scaled, np.round(scaled), atol=1e-9)
    large = cbpp.predict(data, type="response", interval="prediction", weights=[1000] * 4)
    assert np.all(large["upper"] - large["lower"] < table["upper"] - table["lower"])
    with pytest.raises(DataError, match="pass weights= for them"):
        cbpp.predict(data[["period", "herd"]], type="response", interval="prediction")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"type": "terms"}, "type must be one of 'link', 'response', not 'terms'"),
        ({"interval": "credible"}, "interval must be one of None, 'confidence', 'prediction'"),
        ({"na_action": "drop"}, "na_action must be one of"),
        ({"se": "both"}, "se must be one of False, True, 'unconditional', not 'both'"),
        ({"level": 95}, "level must lie between 0 and 1, not 95"),
        ({"interval": "prediction"}, "scale of the response; use type='response'"),
        ({"random_only": True, "type": "response"}, "use type='link'"),
        ({"newparams": {}, "se": True}, "standard errors and intervals belong to the estimates"),
        ({"weights": [1]}, "weights= belongs to newdata"),
    ],
)
def test_arguments_that_have_no_meaning(cbpp, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        cbpp.predict(**arguments)


def test_the_random_effects_alone_have_no_prediction_interval(sleep):
    with pytest.raises(ArgumentError, match="random_only leaves the fixed part out"):
        sleep.predict(random_only=True, interval="prediction")


# --- missing values and bad input -----------------------------------------------------------------------------


def test_missing_values_of_new_data(crossed):
    new = grid()
    new.loc[[1, 5], "x"] = np.nan
    new.loc[7, "f"] = None
    found = crossed.predict(new, se=True, interval="prediction")
    assert list(found.index[found["fit"].isna()]) == [1, 5, 7]
    assert found.loc[[1, 5, 7]].isna().all(axis=None)
    complete = crossed.predict(grid(), se=True, interval="prediction")
    pd.testing.assert_frame_equal(found.dropna(), complete.drop(index=[1, 5, 7]))
    assert len(crossed.predict(new, na_action="omit")) == 60
    with pytest.raises(MissingValuesError, match="first at row 1"):
        crossed.predict(new, na_action="fail")
    np.testing.assert_array_equal(crossed.predict(new, re_form="~ (1 | i)", random_only=True).isna().sum(), 0)


def test_a_missing_group_is_an_error_unless_new_levels_are_allowed(crossed):
    new = grid()
    new.loc[3, "s"] = None
    with pytest.raises(DataError, match="grouping factor 's' is missing at row 3"):
        crossed.predict(new)
    found = crossed.predict(new, allow_new_levels=True)
    assert found[3] == pytest.approx(crossed.predict(grid(), re_form="~ (1 | i)")[3])


def test_excluded_rows_come_back_as_nan():
    data = rg.datasets.load("sleepstudy")
    data.loc[[2, 7], "Reaction"] = np.nan
    fit = rg.lmer("Reaction ~ Days + (1 | Subject)", data, na_action="exclude")
    table = fit.predict(se=True, interval="confidence")
    assert list(table.index) == list(data.index)
    assert list(table.index[table["fit"].isna()]) == [2, 7]
    assert table.loc[[2, 7]].isna().all(axis=None)
    assert len(rg.lmer("Reaction ~ Days + (1 | Subject)", data).predict()) == 178


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"f": "zzz"}, "factor 'f' has new level 'zzz'; the fit had 'u', 'v', 'w'"),
        ({"x": "text"}, "'x' \\(numeric in the fit\\) needs numbers, got a factor"),
        ({"s": "new"}, "new levels of grouping factor 's': 'new'"),
        ({"x": pd.Timestamp("2020-01-01")}, "holds datetime64"),
    ],
)
def test_new_data_of_the_wrong_kind(crossed, change, message):
    with pytest.raises(DataError, match=message):
        crossed.predict(grid().assign(**change))


def test_a_long_list_of_new_levels_is_cut(crossed):
    new = grid().assign(s=[f"new{j}" for j in range(63)])
    with pytest.raises(DataError, match=r"'new9', ... \(63 in all\)"):
        crossed.predict(new)


@pytest.mark.parametrize("newdata", [3, "text", [1, 2], {"x": 3.0}])
def test_new_data_that_is_no_table(crossed, newdata):
    with pytest.raises(RefglmmError):
        crossed.predict(newdata)


def test_no_row_at_all(crossed):
    empty = grid().head(0)
    assert crossed.predict(empty).shape == (0,)
    assert crossed.predict(empty, se=True, interval="prediction").shape == (0, 4)


def test_transforms_and_contrasts_are_those_of_the_fit():
    data = crossed_data()
    fit = rg.lmer("y ~ poly(x, 2) + f + (scale(x) | s)", data, contrasts={"f": "sum"})
    np.testing.assert_allclose(fit.predict(data.iloc[5:9]), fit.fitted.iloc[5:9], rtol=1e-10)
    np.testing.assert_allclose(fit.predict(data[data.f == "v"]), fit.fitted[data.f == "v"], rtol=1e-10)


# --- invariances ----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(63)))
def test_the_order_of_the_rows_does_not_matter(order):
    fit, new = _shared_fit(), grid()
    whole = fit.predict(new, se=True)
    moved = fit.predict(new.iloc[order], se=True)
    pd.testing.assert_frame_equal(moved, whole.iloc[order], rtol=1e-11)


@functools.cache
def _shared_fit():
    return rg.lmer("y ~ x + f + (x | s) + (1 | i)", crossed_data(), weights="e")


def test_any_kind_of_table_will_do(crossed):
    polars = pytest.importorskip("polars")
    new = grid()
    wanted = crossed.predict(new).to_numpy()
    np.testing.assert_array_equal(crossed.predict(new.to_dict("list")), wanted)
    np.testing.assert_array_equal(crossed.predict(polars.DataFrame(new.to_dict("list"))), wanted)
    as_category = new.astype({"s": "category", "f": "category"})
    np.testing.assert_array_equal(crossed.predict(as_category), wanted)


def test_nothing_changes(crossed, cbpp):
    new, before = grid(), grid()
    for fit in (crossed, cbpp):
        data = new if fit is crossed else rg.datasets.load("cbpp")
        modes, factor = fit.conditional.b.copy(), fit.conditional.factor.values.copy()
        first = fit.predict(data, se=True)
        fit.predict(newparams={"theta": np.zeros(fit.theta.size)})
        fit.predict(data, interval="prediction", type="response")
        np.testing.assert_array_equal(fit.conditional.b, modes)
        np.testing.assert_array_equal(fit.conditional.factor.values, factor)
        pd.testing.assert_frame_equal(fit.predict(data, se=True), first, check_exact=True)
        first.iloc[:, :] = 0.0
        assert fit.predict(data, se=True)["se"].min() > 0.0
    pd.testing.assert_frame_equal(new, before, check_exact=True)


def test_fifty_thousand_levels_take_less_than_a_second():
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(50_000), 2)
    data = pd.DataFrame({"x": rng.normal(size=100_000), "g": g.astype(str)})
    data["y"] = data.x + rng.normal(size=50_000)[g] + rng.normal(size=100_000)
    fit = rg.lmer("y ~ x + (1 | g)", data)
    began = time.process_time()
    found = fit.predict(data)
    assert time.process_time() - began < 1.0
    np.testing.assert_allclose(found, fit.fitted, rtol=1e-10, atol=1e-10)
    assert fit.predict(data, se=True)["se"].between(0.1, 1.0).all()


def test_infinite_values_of_new_data_are_named(sleep):
    new = pd.DataFrame({"Days": [1.0, np.inf], "Subject": ["308", "308"]}, index=["a", "b"])
    with pytest.raises(DataError, match="newdata is infinite in Days at row 'b'"):
        sleep.predict(new, se=True)
    with pytest.raises(DataError, match="newdata is infinite in Days at row 'b'"):
        sleep.simulate(1, seed=1, newdata=new)


def test_a_missing_column_of_the_offset_argument_says_what_it_is_for():
    data = crossed_data()
    fit = rg.glmer("count ~ x + (1 | s)", data, "poisson", offset="log(e)")
    new = data[["x", "s"]].head(2)
    with pytest.raises(DataError, match=r"offset of the new data \(log\(e\)\): .*'e'.*; pass offset= for it"):
        fit.predict(new)
    assert fit.predict(new, offset=0.0).notna().all()
