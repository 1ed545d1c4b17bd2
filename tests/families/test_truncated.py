"""Zero-truncated counts against the untruncated laws of scipy (or our own), differences, sums and draws."""

from __future__ import annotations

import numpy as np
import pytest
from families.densities import check_derivatives, check_draws, check_moments, check_orders, observe
from scipy import stats

from refglmm.errors import NotAvailableError, ResponseError
from refglmm.families.kernel import DH, H, L, S
from refglmm.families.registry import get_family

ETAS = (-1.5, 0.3, 2.0)
COUNTS = np.array([1.0, 2.0, 7.0, 40.0, 300.0])
#: family -> shape parameters
SHAPES = {
    "truncated_poisson": (),
    "truncated_nbinom1": (0.8,),
    "truncated_nbinom2": (1.7,),
    "truncated_genpois": (2.3,),
    "truncated_compois": (2.0,),
}

each_law = pytest.mark.parametrize("name", SHAPES)


def whole(name, mu):
    """The untruncated law of scipy, where it has one."""
    shape = SHAPES[name]
    if name == "truncated_poisson":
        return stats.poisson(mu)
    if name == "truncated_nbinom1":
        return stats.nbinom(mu / shape[0], 1.0 / (1.0 + shape[0]))
    return stats.nbinom(shape[0], shape[0] / (shape[0] + mu))


@pytest.mark.parametrize("name", list(SHAPES)[:3])
def test_log_density_is_that_of_scipys_law_given_that_it_is_positive(name):
    family = get_family(name)
    for eta in ETAS:
        law = whole(name, np.exp(eta))
        wanted = law.logpmf(COUNTS) - np.log(law.sf(0))
        np.testing.assert_allclose(observe(family, COUNTS, eta, 2.0, SHAPES[name])[L], 2.0 * wanted, rtol=1e-11)


@pytest.mark.parametrize("name", list(SHAPES)[3:])
def test_log_density_is_that_of_our_law_given_that_it_is_positive(name):
    family, law = get_family(name), get_family(name.removeprefix("truncated_"))
    for eta in ETAS:
        zero = observe(law, np.zeros(1), eta, 1.0, SHAPES[name])[L]
        wanted = observe(law, COUNTS, eta, 1.0, SHAPES[name])[L] - np.log1p(-np.exp(zero))
        np.testing.assert_allclose(observe(family, COUNTS, eta, 1.0, SHAPES[name])[L], wanted, rtol=1e-11)


@each_law
def test_derivatives(name):
    check_derivatives(get_family(name), COUNTS[:4], ETAS, 1.5, SHAPES[name])


@each_law
def test_orders_and_weight_zero(name):
    check_orders(get_family(name), COUNTS, 0.3, 2.0, SHAPES[name])


@each_law
def test_moments_and_draws(name):
    check_moments(get_family(name), np.arange(1.0, 500.0), 1.0, 0.6, SHAPES[name])
    check_draws(get_family(name), 0.6, SHAPES[name], n=50_000)
    check_draws(get_family(name), -3.5, SHAPES[name], n=50_000)  # hardly any draw is positive


@each_law
def test_there_is_no_zero(name):
    family = get_family(name)
    assert family.is_zero_truncated
    out = observe(family, np.zeros(1), 0.3, 1.0, SHAPES[name])
    assert out[L, 0] == -np.inf
    assert np.array_equal(out[[S, H, DH], 0], np.zeros(3))
    assert family.at(SHAPES[name]).zero_probability(np.array([2.0])) == 0.0
    with pytest.raises(ResponseError, match=f"zero-truncated response must be 1 or more .the {name} family.*row 1"):
        family.check_response(np.array([1.0, 0.0, 2.0]), np.ones(3))


@pytest.mark.parametrize(("name", "half"), [("truncated_poisson", 0.5), ("truncated_nbinom2", 0.5 * (1.0 + 1.0 / 1.7))])
def test_a_small_mean_keeps_its_digits(name, half):
    """A one is almost certain: -l = half mu + O(mu^2), so all derivatives in eta are of that size."""
    for eta in (-20.0, -35.0):
        out, mu = observe(get_family(name), np.ones(1), eta, 1.0, SHAPES[name]), np.exp(eta)
        assert out[[H, DH], 0] == pytest.approx(half * mu, rel=1e-7)
        assert out[S, 0] == pytest.approx(-half * mu, rel=1e-7)


@each_law
@pytest.mark.parametrize("eta", [-40.0, 13.0])
def test_extreme_linear_predictors(name, eta):
    assert np.all(np.isfinite(observe(get_family(name), COUNTS, eta, 1.0, SHAPES[name])))


def test_mean_of_a_small_mean_is_one():
    family = get_family("truncated_poisson")
    np.testing.assert_allclose(family.mean(np.array([0.0, 1e-12, 50.0])), [1.0, 1.0, 50.0], rtol=1e-11)


def test_an_unknown_shape_must_be_asked_for_at_its_value():
    with pytest.raises(NotAvailableError, match=r"depends on its estimated size; ask family.at\(phi\)"):
        get_family("truncated_nbinom2").mean(np.ones(1))


@pytest.mark.parametrize(("name", "edge", "inward"), [("truncated_nbinom1", 2.0, 0.4), ("truncated_nbinom2", 2.0, 9.0)])
def test_initial_shape_keeps_away_from_the_logarithmic_series(name, edge, inward):
    family, a = get_family(name), np.ones(4)
    wild, tame = np.array([1.0, 1.0, 2.0, 90.0]), np.array([4.0, 8.0, 10.0, 18.0])
    assert family.initial_shape(wild, np.full(4, 3.0), a).tolist() == [edge]
    given = family.initial_shape(tame, np.full(4, 10.0), a)
    assert given.tolist() == family.whole().initial_shape(tame, np.full(4, 10.0), a).tolist() != [edge]
    assert family.at(np.array([inward])).initial_shape(wild, wild, a).size == 0
