"""Prior distributions: constants, truncation, quantiles and draws against scipy.stats and quadrature."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
from scipy import special, stats
from scipy.integrate import quad

from refglmm.bayes import distributions as d
from refglmm.bayes.priors import make_scalar
from refglmm.bayes.scalars import log_prior, to_natural
from refglmm.errors import ArgumentError, NotAvailableError

#: ours, scipy's, text
CASES = [
    (d.Normal(1, 2), stats.norm(1, 2), "normal(1, 2)"),
    (d.HalfNormal(2), stats.halfnorm(scale=2), "half-normal(2)"),
    (d.StudentT(3, 1, 2), stats.t(3, 1, 2), "student_t(3, 1, 2)"),
    (d.Cauchy(1, 2), stats.cauchy(1, 2), "cauchy(1, 2)"),
    (d.HalfCauchy(0.5), stats.halfcauchy(scale=0.5), "half-cauchy(0.5)"),
    (d.Laplace(0, 0.5), stats.laplace(0, 0.5), "laplace(0, 0.5)"),
    (d.Logistic(0, 1), stats.logistic(0, 1), "logistic(0, 1)"),
    (d.Gumbel(0.5, 2), stats.gumbel_l(0.5, 2), "gumbel(0.5, 2)"),
    (d.Exponential(0.2), stats.expon(scale=5), "exponential(0.2)"),
    (d.Gamma(2, 0.1), stats.gamma(2, scale=10), "gamma(2, 0.1)"),
    (d.InverseGamma(2, 8), stats.invgamma(2, scale=8), "inverse_gamma(2, 8)"),
    (d.LogNormal(0.3, 1.2), stats.lognorm(1.2, scale=np.exp(0.3)), "lognormal(0.3, 1.2)"),
    (d.LogLogistic(0.3, 0.5), stats.fisk(2, scale=np.exp(0.3)), "log_logistic(0.3, 0.5)"),
    (d.InverseRootNormal(0.7), stats.invgamma(0.5, scale=0.5 / 0.49), "inverse_root_normal(0.7)"),
    (d.Uniform(1, 4), stats.uniform(1, 3), "uniform(1, 4)"),
    (d.Beta(2, 3.5), stats.beta(2, 3.5), "beta(2, 3.5)"),
    (d.PartialCorrelation(1.5), stats.beta(1.5, 1.5, -1, 2), "partial_correlation(1.5)"),
]
#: with no counterpart in scipy
OTHERS = [
    d.HalfStudentT(3, 2.5),
    d.LogitNormal(-1.1, 3, 0.001, 0.999),
    d.LogitNormal(0, 1),
    d.Gamma(2, 0.1).truncated(1),
    d.Normal(0, 1).truncated(0.5, 2),
    d.Normal(0, 1).truncated(9, 10),
    d.Cauchy(0, 1).truncated(-np.inf, 3),
    d.Uniform(0, 10).truncated(4),
    d.InverseRootNormal(1).truncated(0.2, 40),
    d.Logistic(0, 1).truncated(-1, 1),
    d.Laplace(0, 1).truncated(2, 5),
    d.Gumbel(0, 1).truncated(0.5),
    d.LogNormal(0, 1).truncated(2, 3),
    d.LogLogistic(0, 0.5).truncated(2, 3),
    d.Beta(2, 2).truncated(0.9),
]
EVERY = [case[0] for case in CASES] + OTHERS
P = np.array([1e-6, 0.01, 0.3, 0.5, 0.9, 0.999])


@pytest.mark.parametrize(("ours", "law", "text"), CASES, ids=[c[2] for c in CASES])
def test_log_density_quantiles_and_text(ours, law, text):
    x = law.ppf(P)
    np.testing.assert_allclose(ours.log_density(x), law.logpdf(x), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.quantile(P), x, rtol=1e-7)
    assert ours.text == text
    assert ours.is_proper


def test_a_log_logistic_sd_has_a_variance_with_density_one_over_one_plus_v_squared():
    sd = np.array([0.01, 0.5, 1.0, 30.0])
    expected = np.log(2 * sd / (1 + sd**2) ** 2)
    np.testing.assert_allclose(d.LogLogistic(0, 0.5).log_density(sd), expected, rtol=1e-12)


@pytest.mark.parametrize("ours", EVERY, ids=repr)
def test_density_integrates_to_one_on_its_support(ours):
    """Piece by piece between quantiles, where it must have the mass that the quantiles say."""
    p = np.array([1e-4, 0.05, 0.5, 0.95, 0.9999])
    ends = ours.quantile(p)
    for (low, high), mass in zip(itertools.pairwise(ends), np.diff(p), strict=True):
        area = quad(lambda x: float(np.exp(ours.log_density(x))), low, high, epsabs=0, epsrel=1e-9, limit=200)[0]
        assert area == pytest.approx(mass, rel=1e-7)


@pytest.mark.parametrize("ours", [x for x in EVERY if np.isfinite(x.support[0]) or np.isinf(x.support[1])], ids=repr)
def test_density_integrates_to_one_on_the_unbounded_scale(ours):
    """With the kernels themselves: exp(log p(x(t)) + log dx/dt) over the whole line."""
    scalar = make_scalar("x", "other", ours)
    hyper = np.array(ours.hyper)

    def density(t):
        with np.errstate(all="ignore"):
            x, dx, log_dx, _ = to_natural(scalar.scale, t, scalar.low, scalar.high)
            return float(np.exp(log_prior(ours.code, x, hyper)[0] + log_dx)) if dx > 0 else 0.0

    middle, tail = ours.quantile([0.001, 0.25, 0.75, 0.999]), np.inf
    if np.isfinite(scalar.low):
        is_above = np.isinf(scalar.high)
        part = (middle - scalar.low) / (scalar.high - scalar.low)
        middle = np.log(middle - scalar.low) if is_above else special.logit(part)
        tail = 200.0 if is_above else 12.0  # beyond, x is the bound itself to rounding
    edges = [middle[0] - tail, *middle, middle[-1] + tail]
    total = sum(quad(density, a, b, epsabs=1e-12, limit=500)[0] for a, b in itertools.pairwise(edges))
    assert total == pytest.approx(1.0, abs=2e-8)


@pytest.mark.parametrize("ours", EVERY, ids=repr)
def test_draws_follow_the_quantiles(ours):
    x = ours.sample(np.random.default_rng(5), 4000)
    assert np.all((x >= ours.support[0]) & (x <= ours.support[1]))
    levels = np.linspace(0.1, 0.9, 9)
    share = np.mean(x[:, None] < ours.quantile(levels), axis=0)
    assert np.all(np.abs(share - levels) < 4.5 * np.sqrt(levels * (1 - levels) / x.size))
    assert ours.sample(np.random.default_rng(5), (3, 2)).shape == (3, 2)


def test_truncation_has_the_constant_of_scipys_and_intersects():
    ours, law = d.Normal(0, 1).truncated(0.5, 2).truncated(-3, 1.5), stats.truncnorm(0.5, 1.5)
    x = np.array([0.6, 1.0, 1.4])
    np.testing.assert_allclose(ours.log_density(x), law.logpdf(x), rtol=1e-12)
    assert list(ours.log_density([0.4, 1.6])) == [-np.inf, -np.inf]
    assert ours.text == "normal(0, 1) on (0.5, 1.5)"
    assert repr(ours) == "Normal(0, 1).truncated(0.5, 1.5)"
    assert d.Normal(0, 3).truncated(0).hyper == pytest.approx(d.HalfNormal(3).hyper, abs=1e-15)


def test_truncation_far_out_keeps_its_digits():
    """log P(9 < Z < 10) by the complementary error function; a difference of distribution functions would be zero."""
    mass = 0.5 * (special.erfc(9 / np.sqrt(2)) - special.erfc(10 / np.sqrt(2)))
    expected = -0.5 * np.log(2 * np.pi) - np.log(mass)
    assert d.Normal(0, 1).truncated(9, 10).hyper[3] == pytest.approx(expected, rel=1e-13)
    assert d.Normal(0, 1).truncated(-10, -9).hyper[3] == pytest.approx(expected, rel=1e-13)


def test_an_inverse_root_normal_is_the_square_of_a_reciprocal_half_normal():
    x = d.InverseRootNormal(0.7).sample(np.random.default_rng(2), 5000)
    assert stats.kstest(x**-0.5, stats.halfnorm(scale=0.7).cdf).pvalue > 0.01


def test_improper_distributions_say_so():
    assert d.Flat().text == "flat"
    assert d.Flat().hyper == (0.0, 0.0, 0.0, 0.0)
    assert not d.Flat().is_proper
    assert not d.Reciprocal().is_proper
    with pytest.raises(NotAvailableError, match="flat does not integrate to one"):
        d.Flat().sample(np.random.default_rng(1), 2)
    with pytest.raises(NotAvailableError, match="1/x does not integrate to one"):
        d.Reciprocal().quantile(0.5)
    with pytest.raises(NotAvailableError, match="several numbers at once"):
        d.Joint(title="cauchy_2").quantile(0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: d.Normal(0, -1), "sd of Normal must be a positive number, not -1"),
        (lambda: d.Normal(np.nan, 1), "mean of Normal must be a finite number, not nan"),
        (lambda: d.Exponential(0), "rate of Exponential must be a positive number, not 0"),
        (lambda: d.Gamma("a", 1), "shape of Gamma must be a positive number, not 'a'"),
        (lambda: d.HalfCauchy(True), "scale of HalfCauchy must be a positive number, not True"),
        (lambda: d.Uniform(2, 2), "low of Uniform must be below high, not 2 and 2"),
        (lambda: d.LogitNormal(0, 1, 0.5, 1.5), "LogitNormal needs 0 <= low < high <= 1"),
        (lambda: d.LKJ(0), "eta of LKJ must be a positive number, not 0"),
        (lambda: d.Normal(0, 1).truncated(50, 60), r"normal\(0, 1\) has no probability between 50 and 60"),
        (lambda: d.Exponential(1).truncated(-2, 0), r"exponential\(1\) has no probability between -2 and 0"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_distributions_are_values():
    prior = d.Normal(0, 1).truncated(0)
    assert pickle.loads(pickle.dumps(prior)) == prior == copy.deepcopy(prior)
    assert hash(d.Normal(0, 1)) == hash(d.Normal(0.0, 1.0))
    with pytest.raises(AttributeError):
        prior.sd = 3.0


# -- correlation matrices --------------------------------------------------------------------------------------


def correlation(z, k):
    """R of partial correlations by rows of the lower triangle, by the recursion for partial correlations."""
    partial = np.zeros((k, k))
    partial[np.tril_indices(k, -1)] = z
    R = np.eye(k)
    for i in range(k):
        for j in range(i):
            value = partial[i, j]
            for m in range(j - 1, -1, -1):  # undo the conditioning on column m
                value = value * np.sqrt((1 - partial[i, m] ** 2) * (1 - partial[j, m] ** 2))
                value += partial[i, m] * partial[j, m]
            R[i, j] = R[j, i] = value
    return R


def test_volumes_of_the_sets_of_correlation_matrices():
    """Rousseeuw and Molenberghs (1994): 2, pi^2/2, 32 pi^2/27."""
    volumes = [np.exp(d.LKJ(1).log_constant(k)) for k in (2, 3, 4)]
    np.testing.assert_allclose(volumes, [2.0, np.pi**2 / 2, 32 * np.pi**2 / 27], rtol=1e-13)


@pytest.mark.parametrize("eta", [1.0, 2.0, 3.5])
def test_lkj_constant_of_three_columns_by_quadrature(eta):
    """With r12 = sin a, r13 = sin b: |R| = cos^2 a cos^2 b - (r23 - r12 r13)^2, so r23 = r12 r13 + cos a cos b t."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    a, w = 0.5 * np.pi * nodes, 0.5 * np.pi * weights
    outer = np.sum(w * np.cos(a) ** (2 * eta))  # dr12 sqrt-power, and once more for r13
    inner = quad(lambda t: (1 - t * t) ** (eta - 1), -1, 1)[0]
    assert d.LKJ(eta).log_constant(3) == pytest.approx(np.log(outer**2 * inner), rel=1e-10)


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("eta", [1.0, 2.5])
def test_independent_partial_correlations_make_lkj_exactly(k, eta):
    """log p(z) - log |dR/dz| = (eta - 1) log |R| - log c, at random places, the Jacobian by differences."""
    rng, lkj = np.random.default_rng(8), d.LKJ(eta)
    below = np.tril_indices(k, -1)
    for _ in range(5):
        z = rng.uniform(-0.8, 0.8, k * (k - 1) // 2)
        log_p = sum(lkj.partial(k, j + 1).log_density(z[i]) for i, j in enumerate(below[1]))
        J = np.empty((z.size, z.size))
        for i in range(z.size):
            e = np.zeros_like(z)
            e[i] = 1e-4
            J[:, i] = (correlation(z + e, k)[below] - correlation(z - e, k)[below]) / 2e-4
        R = correlation(z, k)
        expected = (eta - 1) * np.linalg.slogdet(R)[1] - lkj.log_constant(k)
        assert log_p - np.linalg.slogdet(J)[1] == pytest.approx(expected, abs=1e-7)


def test_lkj_draws_have_the_same_marginal_for_every_pair():
    """(1 + r)/2 is beta(eta + (k - 2)/2) twice, whichever pair."""
    eta, k = 1.5, 4
    R = d.LKJ(eta).sample(np.random.default_rng(4), 2000, k)
    np.testing.assert_allclose(np.diagonal(R, axis1=1, axis2=2), 1.0, atol=1e-12)
    a = eta + 0.5 * (k - 2)
    for i, j in zip(*np.tril_indices(k, -1), strict=True):
        assert stats.kstest(R[:, i, j], stats.beta(a, a, -1, 2).cdf).pvalue > 1e-3
