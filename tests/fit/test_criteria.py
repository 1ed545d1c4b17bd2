from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from refglmm.errors import NotAvailableError
from refglmm.fit import criteria


def normal_minus_two_loglik(case):
    """-2 log density of y ~ N(X beta, sigma^2 V) with sigma at its ML value, written out densely."""
    n = case.fit.nobs
    sigma2 = float(case.r @ case.Vinv @ case.r) / n
    return np.linalg.slogdet(2 * np.pi * sigma2 * case.V)[1] + case.r @ case.Vinv @ case.r / sigma2


def test_ml_deviance_is_the_normal_density_at_the_estimates(linear):
    for reml in (True, False):
        case = linear(reml)
        assert criteria.ml_deviance(case.fit) == pytest.approx(normal_minus_two_loglik(case), abs=1e-9)
        assert case.fit.deviance == pytest.approx(normal_minus_two_loglik(case), abs=1e-9)


def test_a_reml_fit_has_a_criterion_and_others_have_none(linear, poisson):
    case = linear(True)
    assert case.fit.reml_criterion == case.value
    assert case.fit.minus_two_loglik == case.value
    assert case.fit.loglik == -0.5 * case.value
    assert case.fit.deviance != case.value
    for fit in (linear(False).fit, poisson().fit):
        with pytest.raises(NotAvailableError, match="no REML criterion"):
            _ = fit.reml_criterion


def test_rows_of_weight_zero_do_not_count_in_the_density(linear):
    case = linear(False)
    weights = case.fit.frame.weights.copy()
    weights[0] = 0.0
    fit = SimpleNamespace(frame=SimpleNamespace(y=case.fit.frame.y, weights=weights), conditional=case.fit.conditional)
    kept = np.arange(60) > 0
    pwrss = np.sum((weights * (fit.frame.y - fit.conditional.mu) ** 2)[kept]) + fit.conditional.penalty
    expected = fit.conditional.logdet_L2 - np.log(weights[kept]).sum() + 59 * (1 + np.log(2 * np.pi * pwrss / 59))
    assert criteria.ml_deviance(fit) == pytest.approx(expected)


def test_degrees_of_freedom_count_sigma_and_shapes(linear, poisson):
    assert linear(True).fit.df == 2 + 4 + 1
    fit = poisson().fit
    assert fit.df == 2 + 1
    assert fit.df_resid == 60 - 3
    assert fit.nobs == 60

    def df(shape_names, has_scale):
        family = SimpleNamespace(shape_names=shape_names, has_scale=has_scale)
        stand_in = SimpleNamespace(
            is_lmm=False, has_scale=has_scale, family=family, design=fit.design, optimum=fit.optimum
        )
        return criteria.n_parameters(stand_in)

    assert df(("phi",), True) == 4
    assert df((), True) == 4  # lme4 mode: the scale is estimated outside phi and counts all the same
    assert df(("size",), False) == 4


def test_information_criteria(poisson):
    fit = poisson().fit
    assert fit.aic == pytest.approx(200 + 6)
    assert fit.bic == pytest.approx(200 + 3 * np.log(60))
    assert list(criteria.criteria(fit)) == ["AIC", "BIC", "logLik", "-2*log(L)", "df.resid"]


def test_groups_are_counted_once_each(linear):
    groups = linear(True).fit.ngroups
    assert groups.to_dict() == {"subject": 6, "item": 4}
    assert list(groups.index) == ["subject", "item"]


def test_a_generalized_fit_shows_its_conditional_deviance(poisson):
    case = poisson()
    assert case.fit.deviance == case.mode.deviance
