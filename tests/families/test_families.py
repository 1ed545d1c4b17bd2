"""What families offer outside the kernels: numpy methods, checks, lme4's bookkeeping, simulation."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from families.instances import BUILT_IN, INFORMATION, INSTANCES, ONE_EACH
from scipy import stats

from refglmm import families as fam
from refglmm.errors import (
    ArgumentError,
    FamilyError,
    NonIntegerWarning,
    NotAvailableError,
    ResponseError,
    WeightsError,
)

one_each = pytest.mark.parametrize("instance", ONE_EACH, ids=str)


def known(instance):
    """The family with any estimated size known."""
    return instance.family.at(instance.shape)


def means(instance):
    mu = np.array([0.1, 0.35, 0.8])
    return mu if instance.law in ("binomial", "gaussian") else mu * 4


# --------------------------------------------------------------------------- variance and deviance


@one_each
def test_variance_is_the_inverse_information(instance):
    mu = means(instance)
    phi = instance.phi
    if instance.law == "binomial":
        wanted = mu * (1 - mu)
    else:
        scale = phi if instance.family.has_scale else 1.0
        wanted = 1.0 / (INFORMATION[instance.law](mu, 1.0, phi) * scale)
    np.testing.assert_allclose(known(instance).variance(mu), wanted, rtol=1e-14)


def test_binomial_variance_has_a_floor():
    assert fam.Binomial().variance(np.array([0.0, 1.0])).tolist() == [np.finfo(float).eps] * 2


def responses(instance):
    return np.array([0.25, 0.5, 1.0]) if instance.law == "binomial" else instance.y[1:4]


@one_each
def test_unit_deviance_is_twice_the_distance_to_the_saturated_density(instance):
    mu, y, a = means(instance), responses(instance), np.array([4.0, 2.0, 1.0])
    phi = instance.phi if instance.family.has_scale else 1.0
    # with the shape kept, 2 phi (l(y; mu = y) - l(y; mu)); a mean of exactly y = 0 or 1 by its limit 0
    from families.instances import SCIPY

    with np.errstate(all="ignore"):
        at_y = SCIPY[instance.law](y, y, a, instance.phi)
        wanted = 2.0 * phi * (at_y - SCIPY[instance.law](y, mu, a, instance.phi))
    np.testing.assert_allclose(known(instance).unit_deviance(y, mu, a), wanted, rtol=1e-9, atol=1e-12)


@one_each
def test_unit_deviance_is_exactly_zero_at_the_mean(instance):
    y = responses(instance)
    assert np.all(known(instance).unit_deviance(y, y.copy(), np.array([1.0, 2.0, 3.0])) == 0.0)


def test_unit_deviance_at_the_ends_of_the_support():
    ones, ends = np.ones(2), np.array([0.0, 1.0])
    binomial = fam.Binomial().unit_deviance(ends, np.array([0.3, 0.3]), ones)
    np.testing.assert_allclose(binomial, [-2 * np.log(0.7), -2 * np.log(0.3)])
    assert np.all(fam.Binomial().unit_deviance(ends, ends, ones) == 0.0)
    assert np.all(np.isinf(fam.Binomial().unit_deviance(ends, 1 - ends, ones)))
    zero = np.zeros(1)
    assert fam.Poisson().unit_deviance(zero, np.array([1.5]), np.ones(1))[0] == 3.0
    size = fam.NegativeBinomial(size=2.0).unit_deviance(zero, np.array([1.5]), np.ones(1))[0]
    assert size == pytest.approx(4.0 * np.log(1.75))


# ----------------------------------------------------------------------------------------- starts


@one_each
def test_initial_means_are_inside_the_domain_of_the_link(instance):
    if instance.law == "gaussian":
        pytest.skip("starts at y itself, whatever the link can make of it")
    y = np.array([0.0, 0.4, 1.0]) if instance.law == "binomial" else instance.y[:3]
    mu = instance.family.initial_mu(y, np.array([1.0, 5.0, 2.0]))
    assert mu.dtype == float
    assert instance.family.link.valid_eta(instance.family.link.link(mu)).all()


def test_initial_means_are_lme4s():
    y, a = np.array([0.0, 0.5, 3.0]), np.array([1.0, 4.0, 2.0])
    np.testing.assert_allclose(fam.Binomial().initial_mu(y[:2], a[:2]), [0.25, 0.5])
    np.testing.assert_allclose(fam.Poisson().initial_mu(y, a), [0.1, 0.6, 3.1])
    np.testing.assert_allclose(fam.NegativeBinomial().initial_mu(y, a), [1 / 6, 0.5, 3.0])
    np.testing.assert_allclose(fam.Gamma().initial_mu(y[1:], a[1:]), [1.75, 1.75])
    for family in (fam.Gaussian(), fam.InverseGaussian()):
        np.testing.assert_array_equal(family.initial_mu(y, a), y)
        assert family.initial_mu(y, a) is not y


@pytest.mark.parametrize("instance", BUILT_IN, ids=str)
def test_initial_shape_finds_the_truth(instance):
    family = instance.family
    n = 40_000
    mu, a = np.full(n, 0.6), np.full(n, 1.0)
    if family.n_shape == 0:
        assert family.initial_shape(mu, mu, a).size == 0
        return
    rng = np.random.default_rng(5)
    if instance.law == "negative_binomial":
        mu = np.full(n, 6.0)
    y = family.simulate(mu, a, instance.shape, rng)
    given = family.initial_shape(y, mu, a)
    assert given.shape == (1,)
    assert given[0] == pytest.approx(instance.phi, rel=0.35 if instance.phi > 50 else 0.12)


def test_initial_size_of_underdispersed_counts_is_large_but_finite():
    y = np.array([2.0, 2.0, 3.0])
    assert fam.NegativeBinomial().initial_shape(y, np.full(3, 2.3), np.ones(3))[0] == 1000.0
    assert fam.NegativeBinomial(size=4.0).initial_shape(y, y, np.ones(3)).tolist() == [4.0]


def test_initial_dispersion_of_a_perfect_fit_is_positive():
    y = np.array([1.0, 2.0])
    assert fam.Gamma().initial_shape(y, y, np.ones(2))[0] > 0.0


# ------------------------------------------------------------------------------- checking the response

BAD = [
    (fam.Binomial(), [0.5, 1.0, 1.2], 2, "0 <= y <= 1"),
    (fam.Binomial(), [0.5, np.nan, 1.0], 1, "0 <= y <= 1"),
    (fam.Bernoulli(), [0.0, 1.0, 0.5], 2, "0 or 1"),
    (fam.Poisson(), [3.0, -1.0, -2.0], 1, "negative values are not allowed for the Poisson"),
    (fam.Poisson(), [3.0, np.inf, 2.0], 1, "Poisson"),
    (fam.NegativeBinomial(), [3.0, -1.0, 2.0], 1, "negative binomial"),
    (fam.Gamma(), [3.0, 1.0, 0.0], 2, "non-positive values are not allowed for the Gamma"),
    (fam.InverseGaussian(), [0.0, 1.0, 1.0], 0, "only positive values"),
    (fam.Gaussian(), [0.0, 1.0, np.nan], 2, "finite"),
]


@pytest.mark.parametrize(("family", "y", "row", "text"), BAD)
def test_bad_response_names_its_first_row(family, y, row, text):
    y = np.array(y)
    with pytest.raises(ResponseError, match=text) as caught:
        family.check_response(y, np.ones(3))
    assert caught.value.facts["row"] == row
    assert f"row {row} (counted from 0)" in str(caught.value)
    np.testing.assert_equal(caught.value.facts["value"], y[row])


def test_bad_response_counts_the_others():
    with pytest.raises(ResponseError, match="and 1 more") as caught:
        fam.Poisson().check_response(np.array([3.0, -1.0, -2.0]), np.ones(3))
    assert caught.value.facts["count"] == 2


@one_each
def test_good_response_passes_without_a_word(instance):
    y = np.array([0.0, 0.5, 1.0]) if instance.law == "binomial" else instance.y[1:4]
    if instance.family.name == "bernoulli":
        y = np.round(y)
    instance.family.check_response(y, np.full(3, 2.0))


@pytest.mark.parametrize("family", [fam.Poisson(), fam.NegativeBinomial(), fam.Binomial()])
def test_counts_that_are_not_whole_are_reported_once(family):
    y = np.array([1.0, 0.5, 0.25])
    with pytest.warns(NonIntegerWarning, match="non-integer .* in 2 of 3 rows; first in row 1") as caught:
        family.check_response(y, np.ones(3))
    assert len(caught) == 1
    assert caught[0].message.facts == {"row": 1, "value": 0.5, "count": 2}


# ----------------------------------------------------------------------------- lme4's bookkeeping


def test_minus_two_log_density_of_count_families():
    y, mu, a = np.array([0.0, 2.0, 7.0]), np.array([0.4, 2.5, 5.0]), np.array([1.0, 2.0, 3.0])
    wanted = -2.0 * np.sum(a * stats.poisson.logpmf(y, mu))
    assert fam.Poisson().minus_two_log_density(y, mu, a, 0.0) == pytest.approx(wanted, rel=1e-12)
    wanted = -2.0 * np.sum(a * stats.nbinom.logpmf(y, 1.7, 1.7 / (1.7 + mu)))
    given = fam.NegativeBinomial(size=1.7).minus_two_log_density(y, mu, a, 0.0)
    assert given == pytest.approx(wanted, rel=1e-12)


def test_minus_two_log_density_of_binomials_skips_empty_rows():
    y, mu, m = np.array([0.0, 0.25, 1.0, 0.0]), np.array([0.1, 0.4, 0.8, 0.2]), np.array([3.0, 4.0, 1.0, 0.0])
    wanted = -2.0 * np.sum(stats.binom.logpmf(m * y, m, mu)[:3])
    assert fam.Binomial().minus_two_log_density(y, mu, m, 0.0) == pytest.approx(wanted, rel=1e-12)


def test_minus_two_log_density_of_scale_families():
    y, mu, a = np.array([0.5, 2.0, 7.0]), np.array([0.4, 2.5, 5.0]), np.array([1.0, 2.0, 3.0])
    for family in (fam.Gamma(), fam.InverseGaussian(), fam.Gaussian()):
        deviance = family.unit_deviance(y, mu, a).sum()
        given = family.minus_two_log_density(y, mu, a, deviance)
        phi = deviance / a.sum()
        if family.name == "gamma":
            wanted = -2.0 * np.sum(a * stats.gamma.logpdf(y, 1 / phi, scale=mu * phi))
        elif family.name == "gaussian":
            wanted = -2.0 * np.sum(stats.norm.logpdf(y, mu, np.sqrt(deviance / 3 / a)))
        else:
            # each row at its own maximum of the likelihood in phi: the deviance replaced by its mean
            wanted = np.sum(a * (np.log(2 * np.pi * phi * y**3) + 1.0))
        assert given == pytest.approx(wanted + 2.0, rel=1e-12)


# ------------------------------------------------------------------------------------- simulation


@pytest.mark.parametrize("instance", INSTANCES, ids=str)
def test_simulated_mean_and_variance(instance):
    family, n = known(instance), 60_000
    rng = np.random.default_rng(11)
    weight = 3.0
    # elsewhere the weight repeats a row and has no part in drawing it
    drawn = weight if (family.has_scale or family.is_binomial) and not family.weights_repeat else 1.0
    for mean in (0.3, 0.8):
        y = instance.family.simulate(np.full(n, mean), np.full(n, weight), instance.shape, rng)
        scale = instance.phi if family.has_scale else 1.0
        variance = scale * float(family.variance(np.array([mean]))[0]) / drawn
        assert y.dtype == float
        assert y.mean() == pytest.approx(mean, abs=5.0 * np.sqrt(variance / n))
        # standard error of a variance from the fourth moment
        spread = np.std((y - mean) ** 2) / np.sqrt(n)
        assert y.var() == pytest.approx(variance, abs=6.0 * spread)
        if family.is_binomial:
            assert set(np.round(y * drawn, 12)) <= set(range(int(drawn) + 1))


@one_each
def test_simulation_is_reproducible_and_takes_weight_zero(instance):
    mu, a = np.array([0.3, 0.6]), np.array([0.0, 1.0])
    draws = [instance.family.simulate(mu, a, instance.shape, np.random.default_rng(seed)).tolist() for seed in (1, 1)]
    assert draws[0] == draws[1]
    assert np.isfinite(draws[0]).all()


def test_binomial_draws_need_whole_trials():
    with pytest.raises(WeightsError, match=r"row 1 \(counted from 0\) has 2.5 trials"):
        fam.Binomial().simulate(np.full(2, 0.3), np.array([1.0, 2.5]), np.empty(0), np.random.default_rng(1))


# ------------------------------------------------------------------------------- the object itself


@pytest.mark.parametrize("instance", BUILT_IN, ids=str)
def test_families_are_frozen_equal_by_value_and_picklable(instance):
    family = instance.family
    twin = pickle.loads(pickle.dumps(family))
    assert twin == family
    assert hash(twin) == hash(family)
    assert twin.observe is family.observe
    assert repr(twin) == repr(family)
    assert eval(repr(family), vars(fam)) == family
    with pytest.raises(AttributeError, match="frozen"):
        family.link = None


def test_families_with_different_links_or_sizes_differ():
    assert fam.Binomial() != fam.Binomial("probit")
    assert fam.Binomial() != fam.Bernoulli()
    assert fam.NegativeBinomial(size=2.0) != fam.NegativeBinomial()
    assert fam.Binomial() != "binomial"


@pytest.mark.parametrize(
    ("family", "text"),
    [
        (fam.Binomial("cloglog"), "binomial ( cloglog )"),
        (fam.Gamma(), "Gamma ( inverse )"),
        (fam.InverseGaussian(), "inverse.gaussian ( 1/mu^2 )"),
        (fam.NegativeBinomial(size=2.5), "Negative Binomial(2.5) ( log )"),
        (fam.NegativeBinomial(), "Negative Binomial ( log )"),
    ],
)
def test_display_is_as_r_prints(family, text):
    assert family.display == text


@one_each
def test_canonical_means_observed_equals_expected(instance):
    y, eta, a = instance.grid()
    out = instance.observe(y, eta, a)
    same = np.allclose(out[2], out[3], rtol=1e-12) and np.allclose(out[4], out[5], rtol=1e-12)
    assert instance.family.is_canonical == same


@one_each
def test_log_concave_is_what_the_grid_shows(instance):
    y, eta, a = instance.grid()
    assert instance.family.log_concave == bool(np.all(instance.observe(y, eta, a)[2] >= 0.0))


def test_link_that_the_family_does_not_have():
    with pytest.raises(FamilyError, match="the poisson family has no link 'logit'; it has log, sqrt, identity"):
        fam.Poisson("logit")


def test_families_without_shape_have_no_shape_kernel():
    with pytest.raises(NotAvailableError, match="binomial family has no shape parameter"):
        _ = fam.Binomial().observe_shape


def test_size_known_or_estimated():
    estimated, fixed = fam.NegativeBinomial(), fam.NegativeBinomial(size=2.0)
    assert (estimated.shape_names, estimated.fixed_shape.size) == (("size",), 0)
    assert (fixed.shape_names, fixed.fixed_shape.tolist(), fixed.n_shape) == ((), [2.0], 0)
    assert estimated.at(np.array([2.0])) == fixed
    assert fixed.at(np.empty(0)) is fixed
    assert fam.Poisson().at(np.empty(0)) == fam.Poisson()
    mu = np.ones(1)
    for call in (lambda: estimated.variance(mu), lambda: estimated.unit_deviance(mu, mu, mu)):
        with pytest.raises(NotAvailableError, match=r"ask family\.at\(phi\)"):
            call()
    for size in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ArgumentError, match="positive and finite"):
            fam.NegativeBinomial(size=size)
