"""Marginal coefficients against closed forms (log and probit links) and GLMMadaptive's model of its articles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from diagnostic_fits import crossed
from scipy import stats

import refglmm as rg
from refglmm.effects.marginal_coefs import marginal_coefs
from refglmm.errors import ArgumentError, NotAvailableError, SingularFitWarning
from refglmm.fit.population import parameter_covariance


def test_a_log_link_moves_the_intercept_by_half_the_variance(counts):
    # g(m) - o = X beta + s^2/2 exactly, offset log(w) included; d/dpar of par^2/2 is par.
    result = counts.marginal_coefs()
    expected = counts.fixef + np.array([counts.varcorr["g"].cov[0, 0] / 2, *[0.0] * (len(counts.fixef) - 1)])
    np.testing.assert_allclose(result.estimates, expected, rtol=1e-11)
    J = np.hstack([np.zeros((len(expected), 1)), np.eye(len(expected))])
    J[0, 0] = counts.par.iloc[0]
    C = J @ parameter_covariance(counts).covariance @ J.T
    np.testing.assert_allclose(result.vcov, C, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(result.table["SE"], np.sqrt(np.diag(C)), rtol=1e-9)
    np.testing.assert_allclose(result.table["p"], 2 * stats.norm.sf(abs(result.table["z"])), rtol=1e-10)


def test_a_probit_link_attenuates_and_variances_of_crossed_terms_add():
    # E Phi(eta + s z) = Phi(eta / sqrt(1 + s^2)): all coefficients shrink by one factor, its derivative known.
    fit = crossed("probit")
    par, beta = np.array(fit.optimum.par), fit.beta
    shrink = 1 / np.sqrt(1 + np.sum(par**2))
    result = marginal_coefs(fit)
    np.testing.assert_allclose(result.estimates, shrink * beta, rtol=1e-10)
    J = np.hstack([-(shrink**3) * np.outer(beta, par), shrink * np.eye(len(beta))])
    np.testing.assert_allclose(result.jacobian, J, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(result.vcov, J @ parameter_covariance(fit).covariance @ J.T, rtol=1e-9)


def test_the_identity_link_leaves_beta_and_another_link_can_be_asked_for(linear, cbpp):
    result = linear.marginal_coefs()
    np.testing.assert_allclose(result.estimates, linear.fixef, rtol=1e-9)
    np.testing.assert_allclose(result.table["SE"], linear.se, rtol=1e-9)
    other = cbpp.marginal_coefs(link="identity")
    X, m = cbpp.model_matrix().to_numpy(), cbpp.predict(type="response", marginal=True).to_numpy()
    np.testing.assert_allclose(other.estimates, np.linalg.lstsq(X, m, rcond=None)[0], rtol=1e-10)
    np.testing.assert_allclose(other.means, m, rtol=1e-13)
    assert other.link == "identity"
    # With one mean for each period both are the same four numbers: period 2 minus period 1, say.
    assert other.estimates["period2"] == pytest.approx(m[1] - m[0], rel=1e-9)


@pytest.mark.golden
def test_the_model_of_the_articles_of_glmmadaptive(shared_data):
    """Estimates of mixed_model(y ~ sex * time, ~ time | id, binomial), GLMMadaptive 0.9-7, nAGQ = 11.

    Its article "Methods" prints marginal_coefs (-1.602, -1.096, 0.177, 0.051) from 3000 draws a group; with 100000
    draws they are -1.6026, -1.0930, 0.1767, 0.0511.
    """
    data = shared_data("gad_binary")
    data["sex"] = pd.Categorical(data["sex"], categories=["male", "female"])
    with pytest.warns(SingularFitWarning):  # at the maximum of Laplace; only its rows are used
        fit = rg.glmer("y ~ sex * time + (time | id)", data, "binomial")
    T = np.linalg.cholesky([[0.454730982514, 0.1131820195638], [0.1131820195638, 0.06280278590502]])
    beta = np.array([-2.056383815531, -1.168387279657, 0.260854542573, 0.002729313678722])
    there = replace(fit, optimum=replace(fit.optimum, par=np.array([T[0, 0], T[1, 0], T[1, 1]]), beta=beta))
    found = there.marginal_coefs(std_errors=False).estimates
    np.testing.assert_allclose(found, [-1.6026, -1.0930, 0.1767, 0.0511], atol=1e-3)
    np.testing.assert_allclose(found, [-1.602, -1.096, 0.177, 0.051], atol=4e-3)


def test_robust_errors_take_the_sandwich_of_par_and_beta(cbpp):
    result, robust = cbpp.marginal_coefs(sandwich="CR1"), cbpp.sandwich("CR1")
    np.testing.assert_allclose(result.vcov, result.jacobian @ robust.matrix @ result.jacobian.T, rtol=1e-10)
    assert result.notes[1] == "robust standard errors (CR1) of 15 clusters (herd)"


def test_what_is_shown(cbpp):
    result = cbpp.marginal_coefs()
    assert str(result).splitlines()[0] == "Marginal coefficients (binomial model, logit scale)"
    assert "random effects integrated out; averaged over 56 rows" in repr(result)
    assert "<table" in result._repr_html_()
    limits = result.confint(0.9)
    assert list(limits.columns) == ["5 %", "95 %"]
    reach = stats.norm.ppf(0.95) * result.table["SE"]
    np.testing.assert_allclose(limits["95 %"] - result.estimates, reach, rtol=1e-12)
    with pytest.raises(NotAvailableError, match="std_errors=True"):
        cbpp.marginal_coefs(std_errors=False).vcov  # noqa: B018


def test_what_is_refused(cbpp, counts):
    with pytest.raises(ArgumentError, match="unknown link 'log-log'; there are identity"):
        cbpp.marginal_coefs(link="log-log")
    with pytest.raises(ArgumentError, match="has no finite value on the logit scale; choose another link="):
        counts.marginal_coefs(link="logit")
    with pytest.raises(ArgumentError, match="std_errors must be True or False, not 1"):
        cbpp.marginal_coefs(std_errors=1)
    with pytest.raises(ArgumentError, match="sandwich must be True or one of CR0, CR1, CR2, CR3, not 3"):
        cbpp.marginal_coefs(sandwich=3)
    assert "the offset is part of the means" in str(counts.marginal_coefs(link="identity"))
