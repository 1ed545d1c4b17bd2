"""Fitted values, predictions and means of the population of laws whose mean is not the inverse link.

Lognormal responses by the moments of log y have closed forms: E y = exp(eta + sd^2/2), and over a normal random
intercept exp(eta + (s^2 + sd^2)/2).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import refglmm as rg
from refglmm.fit.population import parameter_covariance


@pytest.fixture(scope="module")
def logs():
    rng = np.random.default_rng(11)
    g, x = np.repeat(np.arange(20), 8), rng.normal(size=160)
    y = np.exp(0.4 + 0.5 * x + 0.6 * rng.normal(size=20)[g] + 0.7 * rng.normal(size=160))
    return rg.glmer("y ~ x + (1 | g)", pd.DataFrame({"y": y, "x": x, "g": g}), "lognormal_log")


@pytest.fixture(scope="module")
def truncated():
    rng = np.random.default_rng(12)
    g, x = np.repeat(np.arange(15), 8), rng.normal(size=120)
    mu = np.exp(0.3 + 0.4 * x + 0.4 * rng.normal(size=15)[g])
    y = stats.poisson.ppf(np.exp(-mu) + rng.random(120) * -np.expm1(-mu), mu)
    return rg.glmer("y ~ x + (1 | g)", pd.DataFrame({"y": y, "x": x, "g": g}), "truncated_poisson")


def test_conditional_means(logs, truncated):
    sd, eta = logs.phi.iloc[0], logs.predict()
    np.testing.assert_allclose(logs.fitted, np.exp(eta + sd**2 / 2), rtol=1e-12)
    np.testing.assert_allclose(logs.predict(type="response"), logs.fitted, rtol=1e-12)
    mu = np.exp(truncated.predict())
    mean = mu / -np.expm1(-mu)
    np.testing.assert_allclose(truncated.fitted, mean, rtol=1e-12)
    np.testing.assert_allclose(truncated.residuals("response"), truncated.frame.y - mean, rtol=1e-10)
    variance = mean * (1 + mu - mean)
    np.testing.assert_allclose(
        truncated.residuals("pearson"), (truncated.frame.y - mean) / np.sqrt(variance), rtol=1e-9
    )
    shown = truncated.predict(type="response", interval="confidence").iloc[:3]
    link = np.exp(truncated.predict(interval="confidence")["upper"].iloc[:3])
    np.testing.assert_allclose(shown["upper"], link / -np.expm1(-link), rtol=1e-12)


def test_standard_errors_count_the_shape(logs):
    """At random effects zero m = exp(x'beta + sd^2/2): dm/dlog sd = m sd^2."""
    new = pd.DataFrame({"x": [-1.0, 0.5]})
    sd, n_par = logs.phi.iloc[0], len(logs.optimum.par)
    shown = logs.predict(new, type="response", re_form=False, se=True)
    m = np.exp(logs.predict(new, re_form=False).to_numpy() + sd**2 / 2)
    J = m[:, None] * np.array([[1.0, x, sd**2] for x in new["x"]])
    C = parameter_covariance(logs).covariance[n_par:, n_par:]
    np.testing.assert_allclose(shown["fit"], m, rtol=1e-12)
    np.testing.assert_allclose(shown["se"], np.sqrt(np.diag(J @ C @ J.T)), rtol=1e-8)
    means = logs.lsmeans("x", at={"x": [-1.0, 0.5]}, type="response").table
    np.testing.assert_allclose(means["estimate"], m, rtol=1e-12)
    np.testing.assert_allclose(means["SE"], shown["se"], rtol=1e-8)


def test_means_of_the_population(logs):
    new = pd.DataFrame({"x": [-1.0, 0.5]})
    sd, s = logs.phi.iloc[0], logs.par.iloc[0]
    shown = logs.predict(new, type="response", marginal=True, se=True)
    m = np.exp(logs.predict(new, re_form=False).to_numpy() + (s**2 + sd**2) / 2)
    J = m[:, None] * np.array([[s, 1.0, x, sd**2] for x in new["x"]])
    np.testing.assert_allclose(shown["fit"], m, rtol=1e-11)
    se = np.sqrt(np.diag(J @ parameter_covariance(logs).covariance @ J.T))
    np.testing.assert_allclose(shown["se"], se, rtol=1e-8)
    coefs = logs.marginal_coefs().estimates
    np.testing.assert_allclose(coefs - logs.fixef, [(s**2 + sd**2) / 2, 0.0], atol=1e-10)


def test_average_effects_and_dynamic_predictions(logs):
    """The slope of exp(x'beta + sd^2/2) is beta times itself; a group that is new has the mean of the population."""
    found = logs.marginal_effects("x").table
    m = logs.predict(type="response", re_form=False)
    assert found["estimate"].iloc[0] == pytest.approx(logs.fixef["x"] * m.mean(), rel=1e-10)
    ahead = pd.DataFrame({"x": [0.5], "g": [99]})
    seen = pd.DataFrame({"y": [1.0], "x": [0.0], "g": [98]})
    expected = logs.predict(ahead, type="response", marginal=True).iloc[0]
    assert logs.dynamic(seen, ahead, n_points=31).iloc[0] == pytest.approx(expected, rel=1e-8)
