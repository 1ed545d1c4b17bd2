"""Observation kernels against scipy.stats, contour derivatives of literal densities, and their limits."""

from __future__ import annotations

import numpy as np
import pytest
from families.instances import BUILT_IN, INSTANCES, ONE_EACH, WITH_SHAPE, contour

from refglmm import families as fam
from refglmm._jit import pure
from refglmm.families.kernel import (
    ALL,
    DH,
    DW,
    H_PHI,
    L_PHI,
    S_PHI,
    SLOPES,
    VALUE,
    W_PHI,
    H,
    L,
    S,
    W,
    array_kernel,
    shape_kernel,
)

every = pytest.mark.parametrize("instance", INSTANCES, ids=str)
one_each = pytest.mark.parametrize("instance", ONE_EACH, ids=str)
with_shape = pytest.mark.parametrize("instance", WITH_SHAPE, ids=str)


def agree(given, wanted, rtol=1e-9, atol=1e-11):
    np.testing.assert_allclose(given, np.real(wanted), rtol=rtol, atol=atol)


@every
def test_log_density_is_scipys(instance):
    y, eta, a = instance.grid()
    with np.errstate(all="ignore"):
        wanted = instance.scipy_log_density(y, eta, a)
    agree(instance.observe(y, eta, a)[L], wanted, rtol=1e-11, atol=1e-11)


@every
def test_derivatives_in_eta(instance):
    for y, eta, a in zip(*instance.grid(), strict=True):
        given = instance.observe(y, eta, a)[:, 0]
        r = instance.radius(eta)
        l0, l1, l2, l3 = contour(lambda z: instance.log_density(y, z, a, instance.phi), eta, r, 3)  # noqa: B023
        scale = max(1.0, abs(l0))
        agree(given[L], l0, rtol=1e-11, atol=1e-11)
        agree(given[S], l1, atol=1e-13 * scale / r)
        agree(given[H], -l2, atol=1e-13 * scale / r**2)
        agree(given[DH], -l3, atol=1e-12 * scale / r**3)


@every
def test_expected_information_and_its_derivative(instance):
    def information(z):
        """I(mu) mu'^2, mu' by an inner circle, at an array of complex z."""
        r = 0.5 * instance.radius(eta)
        mu_eta = np.array([contour(instance.mean, point, r, 1)[1] for point in z])
        return instance.information(z, mu_eta, a, instance.phi)

    for eta in instance.eta:
        if instance.family.link.name == "cloglog" and eta > 3.0:
            continue  # 1 - mu = exp(-403) leaves a circle no digits; see the test of the upper tail
        a = float(instance.a[-1])
        y = 1.0
        given = instance.observe(y, eta, a)[:, 0]
        r = 0.5 * instance.radius(eta)
        w, dw = contour(information, eta, r, 1)
        agree(given[W], w, rtol=1e-8)
        agree(given[DW], dw, rtol=1e-8, atol=1e-11 * max(1.0, abs(w)) / r)


@with_shape
def test_derivatives_in_the_shape(instance):
    phi_radius = 0.5 * instance.phi
    for y, eta, a in zip(*instance.grid(), strict=True):
        r = instance.radius(eta)

        def of_shape(phi):
            """(l, s, h) at complex shapes, one row each."""
            rows = [contour(lambda z: instance.log_density(y, z, a, p), eta, r, 2) for p in phi]  # noqa: B023
            return np.array(rows) * np.array([1.0, 1.0, -1.0])

        given = instance.observe_shape(y, eta, a)[:, 0]
        value, wanted = contour(of_shape, instance.phi, phi_radius, 1)
        noise = 1e-13 * max(1.0, abs(value[0])) / (phi_radius * np.array([1.0, r, r**2]))
        for row, j in ((L_PHI, 0), (S_PHI, 1), (H_PHI, 2)):
            agree(given[row], wanted[j], atol=10 * noise[j])
        mu_eta = np.real(contour(instance.mean, eta, r, 1)[1])
        dw = contour(lambda p: instance.information(eta, mu_eta, a, p), instance.phi, phi_radius, 1)[1]  # noqa: B023
        agree(given[W_PHI], dw)


def _law(instance, eta, a):
    """Support points and their probabilities (trapezoid weights for densities), from scipy."""
    mu = float(instance.mean(eta))
    if instance.law == "binomial":
        y = np.arange(a + 1) / a
        step = 1.0
    elif instance.law in ("poisson", "negative_binomial"):
        y, step = np.arange(0.0, 60_000.0 if mu > 100 else 5_000.0), 1.0
    elif instance.law == "gaussian":
        y = np.linspace(mu - 15.0, mu + 15.0, 4001)
        step = y[1] - y[0]
    else:
        log_y = np.linspace(np.log(mu) - 250.0, np.log(mu) + 9.0, 40_001)
        y, step = np.exp(log_y), np.exp(log_y) * (log_y[1] - log_y[0])
    with np.errstate(all="ignore"):
        return y, step * np.exp(instance.scipy_log_density(y, eta, a))


@every
def test_score_has_mean_zero_and_w_is_the_mean_of_h(instance):
    a = 7.0 if instance.law == "binomial" else 1.0
    etas = instance.eta[np.abs(instance.mean(instance.eta)) < 50.0]
    for eta in etas:
        y, probability = _law(instance, eta, a)
        assert probability.sum() == pytest.approx(1.0, abs=1e-9)
        keep = probability > 0.0
        out = instance.observe(y[keep], eta, a)
        w = out[W, 0]
        scale = max(1.0, w)
        assert np.ptp(out[W]) == 0.0
        assert out[S] @ probability[keep] == pytest.approx(0.0, abs=1e-7 * np.sqrt(scale))
        assert out[H] @ probability[keep] == pytest.approx(w, rel=1e-6, abs=1e-9)


@one_each
def test_weight_zero_contributes_exactly_nothing_anywhere(instance):
    eta = np.array([-1e4, -1.0, 0.0, 1.0, 1e4, np.nan, np.inf])
    assert np.all(instance.observe(1.0, eta, 0.0) == 0.0)
    known = instance.family.at(instance.shape)
    assert np.all(known.unit_deviance(np.ones(3), np.array([0.0, 2.0, np.inf]), np.zeros(3)) == 0.0)
    if instance.family.n_shape:
        assert np.all(instance.observe_shape(1.0, eta, 0.0) == 0.0)


@one_each
def test_each_order_fills_its_rows_and_no_more(instance):
    y, eta, a = instance.grid()
    full = instance.observe(y, eta, a)
    for order, rows in ((VALUE, [L]), (SLOPES, [S, H, W, DH, DW])):
        part = instance.observe(y, eta, a, order=order)
        others = [row for row in range(6) if row not in rows]
        np.testing.assert_allclose(part[rows], full[rows], rtol=1e-14, atol=1e-300)
        assert np.all(part[others] == -99.0)


@one_each
def test_the_sum_is_returned(instance):
    y, eta, a = instance.grid()
    out = np.empty((6, y.size))
    base = instance.family.base_measure(y, a)
    for order in (VALUE, ALL):
        total = instance.family.observe(y, eta, a, base, instance.shape, order, out)
        assert total == pytest.approx(out[L].sum(), rel=1e-13)
    assert instance.family.observe(y, eta, a, base, instance.shape, SLOPES, out) == 0.0


@one_each
def test_plain_python_and_compiled_agree(instance):
    y, eta, a = instance.grid()
    family = instance.family
    point = family._point if isinstance(family, fam.UserFamily) else family.points[family.link.name]
    slow = pure(array_kernel(point, *family.rare_points.get(family.link.name, ())))
    out = np.empty((6, y.size))
    with np.errstate(all="ignore"):
        slow(y, eta, a, family.base_measure(y, a), instance.shape, ALL, out)
    np.testing.assert_allclose(out, instance.observe(y, eta, a), rtol=1e-11, atol=1e-13)
    if family.n_shape:
        slow = pure(shape_kernel(family.shape_points[family.link.name]))
        slow(y, eta, a, instance.shape, 0, out[:4])
        np.testing.assert_allclose(out[:4], instance.observe_shape(y, eta, a), rtol=1e-11, atol=1e-13)


@one_each
def test_kernels_are_made_once(instance):
    link = instance.family.link.name
    if not isinstance(instance.family, fam.UserFamily):
        assert type(instance.family)(link=link).observe is instance.family.observe
    assert instance.family.observe is instance.family.observe


@pytest.mark.parametrize("instance", [i for i in ONE_EACH if i.law in ("poisson", "negative_binomial")], ids=str)
def test_weight_two_is_the_row_twice(instance):
    y, eta, _ = instance.grid()
    np.testing.assert_allclose(instance.observe(y, eta, 2.0), 2.0 * instance.observe(y, eta, 1.0), rtol=1e-14)


@pytest.mark.parametrize("instance", [i for i in ONE_EACH if i.law == "binomial"], ids=str)
def test_grouped_trials_are_single_ones_up_to_the_coefficient(instance):
    grouped = instance.observe(0.6, instance.eta, 5.0)
    single = 3.0 * instance.observe(1.0, instance.eta, 1.0) + 2.0 * instance.observe(0.0, instance.eta, 1.0)
    np.testing.assert_allclose(grouped[S:], single[S:], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(grouped[L], single[L] + np.log(10.0), rtol=1e-12)


# ------------------------------------------------------------------------------------------- the far ends

FAR = np.array([30.0, 700.0, 1e4])


@pytest.mark.parametrize("instance", [i for i in BUILT_IN if i in ONE_EACH], ids=str)
def test_no_nan_at_extreme_predictors(instance):
    ends = {"real": np.r_[-FAR, FAR], "positive": np.r_[1 / FAR, FAR], "negative": -np.r_[1 / FAR, FAR]}
    ends["nonzero"] = np.r_[ends["positive"], ends["negative"]]
    for y in (0.0, 1.0) if instance.law == "binomial" else instance.y:
        out = instance.observe(y, ends[instance.domain], 1.0)
        assert not np.isnan(out).any()
        assert np.all(out[L] < np.inf)
        assert np.all(out[W] >= 0.0)
        if instance.family.log_concave:
            assert np.all(out[H] >= 0.0)


@pytest.mark.parametrize("instance", [i for i in ONE_EACH if i.domain != "real"], ids=str)
def test_outside_the_domain_the_density_is_zero(instance):
    outside = {"positive": [-1e4, -1.0, 0.0], "negative": [0.0, 1.0, 1e4], "nonzero": [0.0]}[instance.domain]
    out = instance.observe(1.0, outside, 1.0)
    assert np.all(out[L] == -np.inf)
    assert np.isnan(out[S:]).all()
    assert not instance.family.link.valid_eta(np.array(outside)).any()
    assert instance.family.link.valid_eta(instance.eta).all()
    if instance.family.n_shape:
        assert np.isnan(instance.observe_shape(1.0, outside, 1.0)).all()


def _one(family, y, eta, phi=1.0):
    out = np.empty((6, 1))
    row = [np.array([x], dtype=float) for x in (y, eta, 1.0)]
    family.observe(*row, family.base_measure(row[0], row[2]), np.array([phi]), 2, out)
    return out[:, 0]


@pytest.mark.parametrize("z", [30.0, 700.0, 1e4])
def test_probit_tail_is_mills_asymptotic_series(z):
    # log Phi(-z) = -z^2/2 - log(z sqrt(2 pi)) + log(1 - z^-2 + 3 z^-4 - 15 z^-6 + ...), differentiated
    log_phi = -(z**2) / 2 - np.log(z * np.sqrt(2 * np.pi)) + np.log(1 - z**-2 + 3 * z**-4 - 15 * z**-6)
    wanted = [
        log_phi,
        z + 1 / z - 2 / z**3 + 10 / z**5 - 74 / z**7,
        1 - z**-2 + 6 * z**-4 - 50 * z**-6 + 518 * z**-8,
        -(2 / z**3 - 24 / z**5 + 300 / z**7 - 4144 / z**9),
    ]
    for out, sign in ((_one(fam.Binomial("probit"), 1, -z), 1), (_one(fam.Binomial("probit"), 0, z), -1)):
        np.testing.assert_allclose(out[[L, H]], [wanted[0], wanted[2]], rtol=1e-10)
        np.testing.assert_allclose(out[[S, DH]], [sign * wanted[1], sign * wanted[3]], rtol=1e-7)


@pytest.mark.parametrize("eta", [30.0, 700.0, 1e4])
def test_logit_tails(eta):
    e = np.exp(-eta)
    np.testing.assert_allclose(_one(fam.Binomial(), 0, eta), [-eta - e, -1, e, e, -e, -e], rtol=1e-12)
    np.testing.assert_allclose(_one(fam.Binomial(), 1, eta), [-e, e, e, e, -e, -e], rtol=1e-12)
    np.testing.assert_allclose(_one(fam.Binomial(), 1, -eta), [-eta - e, 1, e, e, e, e], rtol=1e-12)


@pytest.mark.parametrize("eta", [-30.0, -300.0, -1e4])
def test_cloglog_and_log_lower_tails(eta):
    t = np.exp(eta)
    np.testing.assert_allclose(_one(fam.Binomial("cloglog"), 0, eta), [-t, -t, t, t, t, t], rtol=1e-12)
    np.testing.assert_allclose(_one(fam.Binomial("cloglog"), 1, eta), [eta, 1, t / 2, t, t / 2, t], rtol=1e-12)
    np.testing.assert_allclose(_one(fam.Binomial("log"), 1, eta), [eta, 1, 0, t, 0, t], rtol=1e-12)


def test_cloglog_upper_tail_dies_and_kills():
    assert np.all(_one(fam.Binomial("cloglog"), 1, 1e4) == 0.0)
    np.testing.assert_array_equal(_one(fam.Binomial("cloglog"), 0, 1e4), [-np.inf, -np.inf, np.inf, 0.0, np.inf, 0.0])


@pytest.mark.parametrize("eta", [1e4, 1e8, 1e100])
def test_cauchit_tail_is_a_power(eta):
    # 1 - p = 1/(pi eta) + O(eta^-3)
    out = _one(fam.Binomial("cauchit"), 0, eta)
    np.testing.assert_allclose(out[[L, S]], [-np.log(np.pi * eta), -1 / eta], rtol=1e-7)
    np.testing.assert_allclose(out[[H, DH]], [-(eta**-2.0), 2 * eta**-3.0], rtol=1e-7, atol=1e-300)


def test_log_link_counts_die_below_and_explode_above():
    for family, phi in ((fam.Poisson(), 1.0), (fam.NegativeBinomial(), 2.0)):
        out = _one(family, 3, -1e4, phi)
        assert out[L] == pytest.approx(-3e4, rel=1e-3)
        np.testing.assert_allclose(out[S:], [3, 0, 0, 0, 0], atol=1e-300)
    np.testing.assert_array_equal(_one(fam.Poisson(), 3, 1e4), [-np.inf, -np.inf, np.inf, np.inf, np.inf, np.inf])
    out = _one(fam.NegativeBinomial(), 3, 1e4, 2.0)
    np.testing.assert_allclose(out[S:], [-2, 0, 2, 0, 0], atol=1e-300)
    assert out[L] == pytest.approx(-2e4, rel=1e-3)


# ------------------------------------------------------------------------------- limits in the shape


@pytest.mark.parametrize("link", ["log", "sqrt", "identity"])
def test_negative_binomial_of_huge_size_is_poisson(link):
    negative_binomial, poisson = fam.NegativeBinomial(link), fam.Poisson(link)
    for y in (0, 1, 5, 12.5, 40):
        for eta in (0.3, 1.0, 3.0):
            wanted = _one(poisson, y, eta)
            for size in (1e6, 1e8, 1e12, 1e300):
                # the true difference is of the order (y + mu)^2 / size
                near = 10.0 * max(y, np.exp(eta)) ** 2 / size + 1e-12
                np.testing.assert_allclose(_one(negative_binomial, y, eta, size), wanted, rtol=near, atol=near)
    given, wanted = _one(negative_binomial, 1, 0.5, 1e8), _one(poisson, 1, 0.5)
    assert given[L] == pytest.approx(wanted[L], abs=1e-8)


def test_gamma_of_tiny_dispersion_is_normal_in_log_y():
    # y = mu exp(x sqrt(phi)): l + log y -> -x^2/2 - log(2 pi phi)/2 to O(sqrt(phi))
    phi, x = 1e-14, 1.3
    out = _one(fam.Gamma("log"), np.exp(x * np.sqrt(phi)), 0.0, phi)
    assert out[L] == pytest.approx(-(x**2) / 2 - np.log(2 * np.pi * phi) / 2, abs=1e-6)


def test_derivative_in_the_size_vanishes_towards_poisson():
    # d l/d theta = {(y - mu)^2 - y} / (2 theta^2) to leading order (the Poisson score test)
    family, theta, y, mu = fam.NegativeBinomial(), 1e6, 7.0, 4.0
    out = np.empty((4, 1))
    family.observe_shape(np.array([y]), np.log([mu]), np.ones(1), np.array([theta]), 0, out)
    assert out[L_PHI, 0] == pytest.approx(-((y - mu) ** 2 - y) / (2 * theta**2), rel=1e-4)
