"""Probabilities of categories, their standard errors, and residuals of ordinal fits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from families.densities import difference
from scipy.special import expit

import refglmm as rg
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.families import Ordered

FORMULA = "rating ~ temp + contact + (1 | judge)"
LEVELS = ["1", "2", "3", "4", "5"]


@pytest.fixture(scope="module")
def wine():
    return rg.datasets.load("wine")


@pytest.fixture(scope="module")
def fit(wine):
    return rg.glmer(FORMULA, wine, "ordered")


def by_hand(eta, thresholds):
    """Cumulative probabilities and their differences."""
    below = expit(np.asarray(thresholds)[None, :] - np.asarray(eta)[:, None])
    cumulative = np.column_stack([below, np.ones(len(below))])
    return cumulative, np.diff(cumulative, axis=1, prepend=0.0)


def test_probabilities(fit):
    cumulative, p = by_hand(fit.predict(), fit.phi)
    found = fit.predict(type="prob")
    assert list(found.columns) == LEVELS
    np.testing.assert_allclose(found, p, atol=1e-14)
    np.testing.assert_allclose(fit.predict(type="cum"), cumulative, atol=1e-14)
    likeliest = fit.predict(type="class")
    assert likeliest.cat.ordered
    assert likeliest.astype(str).tolist() == [LEVELS[k] for k in p.argmax(axis=1)]
    own = p[np.arange(72), fit.frame.y.astype(int)]
    np.testing.assert_allclose(fit.fitted, own, atol=1e-14)
    np.testing.assert_allclose(fit.fortify()[".fitted"], own, atol=1e-14)


def test_probabilities_of_new_rows(fit):
    new = pd.DataFrame({"temp": ["cold", None, "warm"], "contact": ["no", "no", "yes"], "judge": ["1", "1", "new"]})
    found = fit.predict(new, type="prob", allow_new_levels=True)
    assert np.all(np.isnan(found.iloc[1]))
    eta = [fit.ranef()["judge"].loc["1"].iloc[0], fit.beta.sum()]
    np.testing.assert_allclose(found.iloc[[0, 2]], by_hand(eta, fit.phi)[1], atol=1e-12)
    assert fit.predict(new, type="class", allow_new_levels=True).isna().tolist() == [False, True, False]
    assert len(fit.predict(new, type="cum", allow_new_levels=True, na_action="omit")) == 2
    moved = {"phi": fit.phi + 1.0}
    np.testing.assert_allclose(
        fit.predict(new.iloc[[0]], type="prob", newparams=moved, re_form=False),
        by_hand([0.0], fit.phi + 1.0)[1],
        atol=1e-12,
    )


def _estimates(fit):
    """psi = (par, beta, thresholds) and twice the inverse of the Hessian of -2 log L."""
    psi = np.concatenate([fit.optimum.par, fit.optimum.beta, fit.optimum.phi])
    return psi, 2.0 * np.linalg.inv(fit.optimum.hessian)


@pytest.mark.parametrize("type", ["prob", "cum"])
def test_standard_errors_without_random_effects_are_the_delta_method(fit, type):
    """Gradient of the probabilities by differences."""
    psi, covariance = _estimates(fit)
    new = {"temp": ["cold", "warm"], "contact": ["yes", "no"]}
    X = np.array([[0.0, 1.0], [1.0, 0.0]])

    def values(x):
        cumulative, p = by_hand(X @ x[1:3], x[3:])
        return (p if type == "prob" else cumulative).ravel()

    G = np.array(
        [difference(lambda v, j=j: values(np.where(np.arange(psi.size) == j, v, psi)), psi[j], 1e-2) for j in range(7)]
    )
    wanted = np.sqrt(np.einsum("jr,jk,kr->r", G, covariance, G)).reshape(2, 5)
    found = fit.predict(new, type=type, se=True, re_form=False)
    np.testing.assert_allclose(found["se"], wanted, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found["fit"], fit.predict(new, type=type, re_form=False))


def test_standard_errors_with_random_effects(wine, fit):
    """They add the variance of the judge about its mode; the modes move with all parameters (refitted by hand)."""
    psi, covariance = _estimates(fit)
    row = wine.iloc[[0]]

    def values(x):
        given = {"par": x[:1], "beta": x[1:3], "phi": x[3:]}
        return fit.predict(row, type="prob", newparams=given).to_numpy()[0]

    G = np.array(
        [difference(lambda v, j=j: values(np.where(np.arange(psi.size) == j, v, psi)), psi[j], 1e-2) for j in range(7)]
    )
    eta = fit.predict(row).to_numpy()
    slope = difference(lambda e: by_hand(np.array([e]), fit.phi)[1][0], eta[0], 1e-2)
    random = slope**2 * float(fit.ranef().cond_var["judge"][0, 0, 0])
    wanted = np.sqrt(np.einsum("jr,jk,kr->r", G, covariance, G) + random)
    np.testing.assert_allclose(fit.predict(row, type="prob", se=True)["se"].to_numpy()[0], wanted, rtol=1e-5)


def test_a_new_judge_has_the_whole_variance(wine, fit):
    new = wine.iloc[[0]].assign(judge="new")
    with_new = fit.predict(new, type="prob", se=True, allow_new_levels=True)["se"].to_numpy()[0]
    without = fit.predict(new, type="prob", se=True, re_form=False)["se"].to_numpy()[0]
    slope = difference(lambda e: by_hand(np.array([e]), fit.phi)[1][0], 0.0, 1e-2)
    np.testing.assert_allclose(with_new**2, without**2 + slope**2 * fit.theta.iloc[0] ** 2, rtol=1e-6)


def test_residuals(fit):
    eta, c, y = fit.predict().to_numpy(), fit.phi.to_numpy(), fit.frame.y.astype(int)
    p = by_hand(eta, c)[1]
    own, codes = p[np.arange(72), y], np.arange(5)
    mean = p @ codes
    np.testing.assert_allclose(fit.residuals("pearson"), (y - mean) / np.sqrt(p @ codes**2 - mean**2), rtol=1e-9)
    score = difference(lambda d: np.log(by_hand(eta + d, c)[1][np.arange(72), y]), 0.0, 1e-2)
    np.testing.assert_allclose(fit.residuals("deviance"), np.sign(score) * np.sqrt(-2.0 * np.log(own)), rtol=1e-9)
    information = -difference(
        lambda d: difference(lambda e: np.log(by_hand(eta + d + e, c)[1][np.arange(72), y]), 0.0, 1e-2), 0.0, 1e-2
    )
    np.testing.assert_allclose(fit.residuals("working"), score / information, rtol=1e-6)
    assert fit.deviance == pytest.approx(-2.0 * np.sum(np.log(own)), rel=1e-12)
    with pytest.raises(NotAvailableError, match="the category less its mean is no number"):
        fit.residuals("response")


def test_excluded_rows_come_back(wine):
    rating = wine["rating"].copy()
    rating.iloc[3] = None
    found = rg.glmer(FORMULA, wine.assign(rating=rating), "ordered", na_action="exclude")
    p = found.predict(type="prob")
    assert len(p) == 72
    assert np.all(np.isnan(p.iloc[3]))
    assert np.isnan(found.fitted.iloc[3])
    assert found.simulate(1, seed=1)["sim_1"].isna().sum() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"type": "prob", "random_only": True}, "the random effects alone have no place"),
        ({"type": "prob", "interval": "confidence"}, "an ordinal model has intervals of the linear predictor"),
        ({"interval": "prediction"}, "an ordinal model has intervals of the linear predictor"),
        ({"type": "class", "se": True}, "a category has no standard error"),
    ],
)
def test_refusals(fit, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        fit.predict(**arguments)


def test_the_mode_needs_a_hessian_for_standard_errors(wine):
    rough = rg.glmer(FORMULA, wine, "ordered", n_agq=0)
    with pytest.raises(NotAvailableError, match="needs their Hessian"):
        rough.predict(type="prob", se=True)
    assert rough.predict(type="prob").shape == (72, 5)
    with pytest.raises(ArgumentError, match="'prob'"):
        rg.glmer(FORMULA, wine, Ordered("probit")).predict(type="probs")
    with pytest.raises(ArgumentError, match="type must be one of 'link', 'response', not 'prob'"):
        rg.lmer("response ~ temp + (1 | judge)", wine).predict(type="prob")
