"""NB1 against scipy, differences, sums and draws."""

from __future__ import annotations

import numpy as np
import pytest
from families.densities import check_derivatives, check_draws, check_moments, check_orders, observe
from scipy import stats

from refglmm.errors import ArgumentError, FamilyError, ResponseError
from refglmm.families.kernel import L
from refglmm.families.registry import get_family

LINKS = {"log": (-1.5, 0.3, 2.0), "sqrt": (0.5, 1.7), "identity": (1.4, 6.0)}
COUNTS = np.array([0.0, 1.0, 2.0, 7.0, 40.0, 3000.0])
PHI = (0.8,)

each_link = pytest.mark.parametrize("link", LINKS)


@each_link
def test_log_density_is_scipys(link):
    family = get_family("nbinom1", link)
    for eta in LINKS[link]:
        mu = float(family.link.inverse(np.array([eta]))[0])
        wanted = stats.nbinom(mu / PHI[0], 1.0 / (1.0 + PHI[0])).logpmf(COUNTS)
        np.testing.assert_allclose(observe(family, COUNTS, eta, 2.0, PHI)[L], 2.0 * wanted, rtol=1e-12)


@each_link
def test_derivatives(link):
    check_derivatives(get_family("nbinom1", link), COUNTS, LINKS[link], 1.5, PHI)


def test_orders_and_weight_zero():
    check_orders(get_family("nbinom1"), COUNTS, 0.3, 2.0, PHI)


def test_moments_and_draws():
    check_moments(get_family("nbinom1"), np.arange(400.0), 1.0, 1.2, PHI)
    check_draws(get_family("nbinom1"), 1.2, PHI)


def test_small_phi_is_the_poisson():
    family = get_family("nbinom1")
    wanted = stats.poisson(np.exp(0.7)).logpmf(COUNTS[:5])
    np.testing.assert_allclose(observe(family, COUNTS[:5], 0.7, 1.0, [1e-7])[L], wanted, rtol=1e-5)


def test_refusals():
    with pytest.raises(ResponseError, match="nbinom1"):
        get_family("nbinom1").check_response(np.array([1.0, -1.0]), np.ones(2))
    with pytest.raises(ArgumentError, match="phi of the nbinom1 family must lie between 0 and inf"):
        type(get_family("nbinom1"))(phi=-1.0)
    with pytest.raises(FamilyError, match="no parameter 'size'"):
        type(get_family("nbinom1"))(size=1.0)
