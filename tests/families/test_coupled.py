"""Zero parts and dispersions: literal densities, every derivative by differences, moments and draws, refusals."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pytest
from families.densities import difference
from scipy import stats
from scipy.special import expit

from refglmm._jit import pure
from refglmm.errors import FamilyError, NotAvailableError, ResponseError
from refglmm.families.coupled import CoupledFamily
from refglmm.families.kernel import ALL, density_kernel, density_shape_kernel, observation_rows, shape_rows
from refglmm.families.registry import get_family

Y = np.array([0.0, 1.0, 2.0, 5.0, 0.0, 30.0, 3.0, 0.0])
A = np.array([1.0, 0.5, 2.0, 1.0, 3.0, 1.0, 1.5, 1.0])
TRIALS = np.array([4.0, 3.0, 8.0, 5.0, 10.0, 40.0, 6.0, 2.0])

LAWS = {
    "poisson": lambda y, mu, a, phi: a * stats.poisson.logpmf(y, mu),
    "negative_binomial": lambda y, mu, a, phi: a * stats.nbinom.logpmf(y, phi, phi / (phi + mu)),
    "binomial": lambda y, mu, a, phi: stats.binom.logpmf(np.round(a * y), a, mu),
    "gamma": lambda y, mu, a, phi: stats.gamma.logpdf(y, a / phi, scale=mu * phi / a),
    "gaussian": lambda y, mu, a, phi: stats.norm.logpdf(y, mu, np.sqrt(phi / a)),
    "inverse_gaussian": lambda y, mu, a, phi: stats.invgauss.logpdf(y, mu * phi / a, scale=a / phi),
}
#: family, link, zero part, dispersion
KINDS = [
    ("poisson", "log", True, False),
    ("poisson", "sqrt", True, False),
    ("negative_binomial", "log", True, False),
    ("negative_binomial", "log", False, True),
    ("negative_binomial", "log", True, True),
    ("binomial", "logit", True, False),
    ("binomial", "cloglog", True, False),
    ("gamma", "log", True, False),
    ("gamma", "log", True, True),
    ("gaussian", "identity", False, True),
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda k: "-".join(map(str, k)))


def made(kind):
    name, link, zi, dispersion = kind
    return CoupledFamily(get_family(name, link), zi, dispersion)


def data(family):
    if family.is_binomial:
        return np.array([0, 1, 3, 5, 0, 20, 6, 0]) / TRIALS, TRIALS
    return Y, A


def predictors(family, n, seed=2):
    eta = np.random.default_rng(seed).normal(0.0, 0.7, (family.n_parts, n))
    eta[0] += 3.0 * (family.link.name in ("sqrt", "identity"))
    return eta


def literal(family, y, eta, a, phi):
    """The definition, row by row, with densities of scipy.stats."""
    mu = family.link.inverse(eta[0])
    phi = np.exp(eta[-1]) if family.dispersion else (phi[0] if len(phi) else 1.0)
    law = LAWS[family.base.name]
    if not family.zi:
        return law(y, mu, a, phi)
    p, out = expit(eta[1]), np.empty(y.size)
    inside, outside = (np.ones_like(a), a) if family.weights_repeat else (a, np.ones_like(a))
    with np.errstate(all="ignore"):
        f = np.exp(law(y, mu, inside, phi))
    zero = p + (1 - p) * f if family.inflated else p
    out = np.where(y == 0, np.log(zero), np.log1p(-p) + np.log(np.where(y == 0, 1.0, f)))
    return outside * out


def observed(family, y, eta, a, phi, plain=True):
    """Rows of the kernel, as plain Python unless the compiled one is asked for: the source is the same."""
    out = np.full((observation_rows(family.n_parts).size, y.size), np.nan)
    observe = pure(family.observe) if plain else family.observe
    total = observe(y, np.ascontiguousarray(eta), a, family.base_measure(y, a), np.asarray(phi), ALL, out)
    assert total == pytest.approx(out[0].sum(), rel=1e-12, abs=1e-12)
    return out


@every_kind
def test_the_density_is_the_definition(kind):
    family = made(kind)
    y, a = data(family)
    eta, phi = predictors(family, y.size), np.array([0.8])[: family.n_shape]
    np.testing.assert_allclose(observed(family, y, eta, a, phi)[0], literal(family, y, eta, a, phi), rtol=1e-11)


@every_kind
def test_every_derivative_by_differences(kind):
    family = made(kind)
    y, a = data(family)
    K, at, phi = family.n_parts, observation_rows(family.n_parts), np.array([0.8])[: family.n_shape]
    pairs = sorted(t[::-1] for t in combinations_with_replacement(range(K), 2))
    triples = sorted(t[::-1] for t in combinations_with_replacement(range(K), 3))
    eta = predictors(family, y.size)
    out = observed(family, y, eta, a, phi)
    slopes = [
        difference(lambda x, k=k: observed(family, y, eta + x * np.eye(K)[:, [k]], a, phi), 0.0, 2e-2) for k in range(K)
    ]
    close = {"rtol": 1e-6, "atol": 1e-7}
    for k in range(K):
        np.testing.assert_allclose(out[at.s][k], slopes[k][0], **close)
    for j, (k, m) in enumerate(pairs):
        np.testing.assert_allclose(out[at.h][j], -slopes[m][at.s][k], **close)
    for j, (k, m, i) in enumerate(triples):
        np.testing.assert_allclose(out[at.dh][j], slopes[i][at.h][pairs.index((k, m))], **close)
    if family.n_shape:
        shape = np.full((shape_rows(K).size, y.size), np.nan)
        pure(family.observe_shape)(y, eta, a, phi, 0, shape)
        wanted = difference(lambda x: observed(family, y, eta, a, np.array([x])), phi[0], 1e-2)
        np.testing.assert_allclose(shape, wanted[np.r_[0, at.s, at.h]], **close)


@pytest.mark.parametrize("kind", [KINDS[2], KINDS[4]], ids=str)
def test_the_compiled_kernel_does_the_same(kind):
    family = made(kind)
    eta, phi = predictors(family, Y.size), np.array([0.8])[: family.n_shape]
    given, plain = (observed(family, Y, eta, A, phi, plain) for plain in (False, True))
    np.testing.assert_allclose(given, plain, rtol=1e-12, atol=1e-13)


@every_kind
def test_the_stand_in_for_the_information_is_larger_in_every_direction(kind):
    family = made(kind)
    y, a = data(family)
    K, at = family.n_parts, observation_rows(family.n_parts)
    out = observed(family, y, predictors(family, y.size), a, np.array([0.8])[: family.n_shape])
    lower = np.tril_indices(K)
    for i in range(y.size):
        w, h = np.zeros((K, K)), np.zeros((K, K))
        for matrix, rows in ((w, at.w), (h, at.h)):
            matrix[lower] = matrix.T[lower] = out[rows, i]
        assert np.linalg.eigvalsh(w - h)[0] > -1e-9 * (1 + np.abs(h).max())
        assert np.linalg.eigvalsh(w)[0] >= 0.0


@pytest.mark.parametrize("name", ["student_t", "tweedie", "betabinomial"])
def test_a_second_shape_parameter_beside_a_dispersion(name):
    """l in (eta, delta, psi): the mixed derivative comes by polarisation."""
    try:
        base = get_family(name)
    except FamilyError:
        pytest.skip(f"no {name} family")
    if base.n_shape < 2:
        pytest.skip(f"the {name} family has one shape parameter")
    family, y, a = CoupledFamily(base, False, True), np.array([0.5, 1.0, 2.0]), np.ones(3)
    eta, psi = np.array([[0.3, 0.2, 0.1], [0.2, -0.1, 0.3]]), np.array([scale_value(base)])
    shape = np.full((shape_rows(2).size, 3), np.nan)
    pure(family.observe_shape)(y, eta, a, psi, 0, shape)
    at = observation_rows(2)
    wanted = difference(lambda x: observed(family, y, eta, a, np.array([x])), psi[0], 1e-2)
    np.testing.assert_allclose(shape, wanted[np.r_[0, at.s, at.h]], rtol=1e-5, atol=1e-6)


def scale_value(base):
    """A value inside the second shape parameter's range."""
    return float(base.shape_scales[1].natural(0.7))


TUNED = [
    (name, link)
    for name in ("binomial", "poisson", "gamma", "inverse_gaussian", "gaussian", "negative_binomial")
    for link in get_family(name).densities
]


@pytest.mark.parametrize(("name", "link"), TUNED)
def test_the_densities_in_jets_agree_with_the_tuned_functions(name, link):
    family = get_family(name, link)
    y = np.array([0.25, 0.5, 0.75]) if family.is_binomial else np.array([1.0, 2.0, 7.0])
    a, phi = np.array([4.0, 8.0, 4.0]), np.array([0.7])[: family.n_shape]
    eta = {"log": -0.4, "inverse": 0.6, "1/mu^2": 0.5}.get(link, 0.8) + np.array([0.0, 0.1, 0.2])
    given, jets = np.zeros((2, 6, 3))
    pure(family.observe)(y, eta, a, family.base_measure(y, a), phi, ALL, given)
    pure(density_kernel(family.densities[link]))(y, eta, a, family.density_base(y, a), phi, ALL, jets)
    np.testing.assert_allclose(jets[[0, 1, 2, 4]], given[[0, 1, 2, 4]], rtol=1e-9, atol=1e-10)
    if family.n_shape:
        given, jets = np.zeros((2, 4, 3))
        pure(family.observe_shape)(y, eta, a, phi, 0, given)
        pure(density_shape_kernel(family.densities[link]))(y, eta, a, phi, 0, jets)
        np.testing.assert_allclose(jets[:3], given[:3], rtol=1e-9, atol=1e-10)


def test_a_runaway_size_is_a_zero_inflated_poisson():
    """Size 1e8: relative differences of the order of mu^2/size."""
    y, a = Y, A
    eta = predictors(made(KINDS[0]), y.size)
    poisson = observed(made(KINDS[0]), y, eta, a, np.empty(0))
    nb = observed(made(KINDS[2]), y, eta, a, np.array([1e8]))
    np.testing.assert_allclose(nb, poisson, rtol=1e-5, atol=1e-6)


@every_kind
def test_draws_have_the_mean_and_the_variance(kind):
    family = made(kind)
    known = family.at(np.array([0.8])[: family.n_shape])
    n, eta = 100_000, predictors(family, 1)
    a = np.full(n, 5.0 if family.is_binomial else 1.0)
    y = known.draw(np.repeat(eta, n, axis=1), a, np.random.default_rng(4))
    variance = known.response_variance(eta)[0] / (a[0] if not family.weights_repeat else 1.0)
    assert y.mean() == pytest.approx(known.fitted_mean(eta)[0], abs=5 * np.sqrt(variance / n))
    square = (y - known.fitted_mean(eta)[0]) ** 2
    if not family.is_binomial:  # a zero part shares its draw among the trials
        assert square.mean() == pytest.approx(variance, abs=5 * square.std() / np.sqrt(n))


def test_refusals_say_why():
    poisson, gamma, gaussian = get_family("poisson"), get_family("gamma"), get_family("gaussian")
    with pytest.raises(FamilyError, match=r"a gaussian response has no mass at zero.*hurdle"):
        CoupledFamily(gaussian, True, False)
    with pytest.raises(FamilyError, match="the poisson family here has none to estimate"):
        CoupledFamily(poisson, False, True)
    with pytest.raises(FamilyError, match="negative_binomial family here has none"):
        CoupledFamily(get_family("negative_binomial(2)"), False, True)
    with pytest.raises(ResponseError, match=r"has no zeros .*leave zi= out"):
        CoupledFamily(poisson, True, False).check_response(Y + 1.0, A)
    with pytest.raises(ResponseError, match="zero in every row"):
        CoupledFamily(poisson, True, False).check_response(0.0 * Y, A)
    with pytest.raises(ResponseError, match=r"non-positive values.*row 2 "):
        CoupledFamily(gamma, True, False).check_response(np.where(np.arange(Y.size) == 2, -1.0, Y), A)
    with pytest.raises(NotAvailableError, match=r"ask family.at\(phi\)"):
        CoupledFamily(gamma, True, False).response_variance(np.zeros((2, 3)))
