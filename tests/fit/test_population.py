"""Means of the population: closed forms of log and probit links, mixtures, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from diagnostic_fits import cbpp, crossed, crossed_data, sleepstudy
from scipy import stats

from refglmm.errors import ArgumentError, DataError, NotAvailableError
from refglmm.fit.population import parameter_covariance

NEW = pd.DataFrame({"x": [-1.0, 0.0, 2.0]}, index=["a", "b", "c"])


def poisson_closed_form(fit):
    """Mean, its derivatives in (par, beta), of two crossed random intercepts under the log link."""
    X, par = np.column_stack([np.ones(3), NEW["x"]]), np.array(fit.optimum.par)
    m = np.exp(X @ fit.beta + 0.5 * np.sum(par**2))
    return m, m[:, None] * np.hstack([np.tile(par, (3, 1)), X])


def test_means_and_standard_errors_on_both_scales():
    fit = crossed("poisson")
    m, J = poisson_closed_form(fit)
    se = np.sqrt(np.diag(J @ parameter_covariance(fit).covariance @ J.T))
    response = fit.predict(NEW, type="response", marginal=True, se=True, interval="confidence", level=0.9)
    np.testing.assert_allclose(response["fit"], m, rtol=1e-12)
    np.testing.assert_allclose(response["se"], se, rtol=1e-9)
    link = fit.predict(NEW, marginal=True, se=True, interval="confidence", level=0.9)
    np.testing.assert_allclose(link["fit"], np.log(m), rtol=1e-11)
    np.testing.assert_allclose(link["se"], se / m, rtol=1e-9)
    np.testing.assert_allclose(link["upper"], np.log(m) + stats.norm.ppf(0.95) * se / m, rtol=1e-9)
    np.testing.assert_allclose(response["lower"], np.exp(link["lower"]), rtol=1e-12)
    assert list(response.index) == ["a", "b", "c"]


def test_the_rows_of_the_fit_and_their_offset():
    fit = crossed("probit")
    shrink = 1 / np.sqrt(1 + np.sum(np.array(fit.optimum.par) ** 2))
    own = fit.predict(marginal=True)
    np.testing.assert_allclose(own, shrink * (fit.model_matrix().to_numpy() @ fit.beta), rtol=1e-9)
    shifted = crossed("poisson").predict(NEW, marginal=True, offset=[0.5, 1.0, 1.5])
    np.testing.assert_allclose(shifted - crossed("poisson").predict(NEW, marginal=True), [0.5, 1.0, 1.5], rtol=1e-10)


def test_a_prediction_interval_is_that_of_a_new_observation_of_a_new_group():
    """Quantiles of the Poisson-lognormal mixture, by summing over a fine grid."""
    fit = crossed("poisson")
    shown = fit.predict(NEW, type="response", marginal=True, interval="prediction", level=0.8)
    X, V = np.column_stack([np.ones(3), NEW["x"]]), fit.vcov().to_numpy()
    sd = np.sqrt(np.einsum("ij,jk,ik->i", X, V, X) + np.sum(np.array(fit.optimum.par) ** 2))
    z = np.linspace(-8, 8, 1601)
    k = np.arange(400)
    for i, (eta, s) in enumerate(zip(X @ fit.beta, sd, strict=True)):
        pmf = stats.norm.pdf(z) @ stats.poisson.pmf(k, np.exp(eta + s * z)[:, None]) * (z[1] - z[0])
        exact = [int(np.searchsorted(np.cumsum(pmf), tail)) for tail in (0.1, 0.9)]
        assert abs(shown["lower"].iloc[i] - exact[0]) <= 1
        assert abs(shown["upper"].iloc[i] - exact[1]) <= max(1, 0.05 * exact[1])


def test_a_linear_model_has_its_fixed_part():
    fit = sleepstudy()
    new = {"Days": [0, 5]}
    pd.testing.assert_frame_equal(fit.predict(new, marginal=True, se=True), fit.predict(new, re_form=False, se=True))


def test_missing_values_stay_missing():
    fit = crossed("poisson")
    new = {"x": [1.0, np.nan]}
    shown = fit.predict(new, marginal=True, se=True, interval="confidence")
    assert shown.iloc[0].notna().all()
    assert shown.iloc[1].isna().all()
    assert len(fit.predict(new, marginal=True, na_action="omit")) == 1
    with pytest.raises(DataError, match="newdata is infinite in x at row 0"):
        fit.predict({"x": [np.inf]}, marginal=True)


def test_what_is_refused():
    fit = cbpp()
    for argument in ({"re_form": False}, {"random_only": True}, {"newparams": {"beta": [0.0] * 4}}):
        with pytest.raises(ArgumentError, match="marginal=True integrates all random effects out; leave"):
            fit.predict(marginal=True, **argument)
    with pytest.raises(ArgumentError, match="always count all parameters"):
        fit.predict(marginal=True, se="unconditional")
    import refglmm as rg

    inverse = rg.glmer("positive ~ 1 + (1 | g)", crossed_data(), "gamma", link="inverse")
    with pytest.raises(NotAvailableError, match="cannot be integrated out under the inverse link"):
        inverse.predict(marginal=True)
