"""Expected responses that are not the inverse link: sums of probabilities, draws, and their slopes by differences."""

from __future__ import annotations

import numpy as np
import pytest

from refglmm.errors import ResponseError
from refglmm.families.base import Family
from refglmm.families.censored_normal import CensoredNormal
from refglmm.families.coupled import CoupledFamily
from refglmm.families.gamma import Gamma
from refglmm.families.lognormal import LognormalLog
from refglmm.families.ordbeta import OrderedBeta
from refglmm.families.poisson import Poisson
from refglmm.families.truncated import (
    TruncatedConwayMaxwellPoisson,
    TruncatedGeneralizedPoisson,
    TruncatedNegativeBinomial1,
    TruncatedNegativeBinomial2,
    TruncatedPoisson,
)

COUNTS = [
    TruncatedPoisson(),
    TruncatedNegativeBinomial1(phi=0.7),
    TruncatedNegativeBinomial2(size=1.3),
    TruncatedGeneralizedPoisson(phi=1.6),
]
OTHERS = [
    LognormalLog(sd=0.6),
    OrderedBeta(phi=3.0, lower=-1.0, width=2.5),
    CensoredNormal(sd=0.8, lower=-0.5, upper=1.0),
]
SLOW = [pytest.param(TruncatedConwayMaxwellPoisson(phi=0.8), marks=pytest.mark.slow)]  # much to compile
ETA = np.array([-2.0, -0.3, 0.4, 1.7])


def slope_by_differences(f, x, h=1e-2):
    """Order eight."""
    weights = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
    return sum(c * (f(x + k * h) - f(x - k * h)) for k, c in enumerate(weights, 1)) / h


@pytest.mark.parametrize("family", COUNTS + OTHERS + SLOW, ids=lambda family: family.name)
def test_slopes_of_means(family):
    assert not family.mean_is_inverse_link
    np.testing.assert_allclose(family.fitted_slope(ETA), slope_by_differences(family.fitted_mean, ETA), rtol=1e-8)
    assert np.all(family.fitted_slope(ETA) > 0.0)


@pytest.mark.parametrize("family", OTHERS + COUNTS[:1], ids=lambda family: family.name)
def test_means_are_those_of_draws(family):
    draws = 200_000
    for eta in ETA:
        mu = np.full(draws, family.link.inverse(np.array([eta]))[0])
        y = family.simulate(mu, np.ones(draws), np.empty(0), np.random.default_rng(3))
        assert y.mean() == pytest.approx(family.fitted_mean(np.array([eta]))[0], abs=5 * y.std() / np.sqrt(draws))


def test_most_laws_have_their_inverse_link_for_mean():
    for family in (Poisson(), Gamma("log")):
        np.testing.assert_array_equal(family.fitted_mean(ETA), family.link.inverse(ETA))
        np.testing.assert_array_equal(family.fitted_slope(ETA), family.link.mu_eta(ETA))
    assert Family.mean_is_inverse_link


@pytest.mark.parametrize("dispersion", [False, True])
def test_slopes_of_a_hurdle_model_in_each_predictor(dispersion):
    """(1 - pi) m(eta, dispersion), each predictor moved on its own."""
    family = CoupledFamily(TruncatedNegativeBinomial2(), True, dispersion).at(np.array([] if dispersion else [1.3]))
    eta = np.array([[-0.5, 0.2, 1.0], [0.3, -1.0, 0.8], [0.2, 0.2, -0.6]])[: 2 + dispersion]
    for mean, slopes in ((family.law_mean, family.law_slopes), (family.fitted_mean, family.response_slopes)):
        found = slopes(eta)
        for k, unit in enumerate(np.eye(len(eta))):
            wanted = slope_by_differences(lambda t, u=unit, f=mean: f(eta + np.outer(u, t)), np.zeros(3))
            np.testing.assert_allclose(found[k], wanted, rtol=1e-8, atol=1e-12)


def test_new_rows_need_not_hold_zeros_or_anything_else():
    family, ones = CoupledFamily(TruncatedPoisson(), True, False), np.ones(2)
    family.check_new_response(np.zeros(2), ones)
    family.check_new_response(np.array([1.0, 2.0]), ones)
    with pytest.raises(ResponseError, match="must be 1 or more"):
        family.check_new_response(np.array([-1.0, 2.0]), ones)
