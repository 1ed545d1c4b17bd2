"""Bridge sampling: the iteration, and errors that mean what they say, on targets whose constant is known."""

from __future__ import annotations

import numpy as np
import pytest
from oracles_bayes import GaussianIntercept, random_walk
from scipy import optimize, stats
from scipy.special import gammaincinv, gammaln, ndtr, stdtrit

from refglmm.bayes.bridge import (
    BridgeResult,
    Ratio,
    bridge_half,
    bridge_iteration,
    bridge_sampling,
    posterior_terms,
    proposal_terms,
)
from refglmm.bayes.proposal import Identity, NormalProposal, fit_proposal
from refglmm.errors import ArgumentError, DataError, EvidenceWarning

# -- targets with known constants, and draws that are correlated as those of a chain ---------------------------------


def ar1(rng, chains, draws, d, phi):
    """Stationary normal series with correlation phi between neighbours."""
    x = np.empty((chains, draws, d))
    noise = rng.standard_normal((chains, draws, d))
    x[:, 0] = noise[:, 0]
    for t in range(1, draws):
        x[:, t] = phi * x[:, t - 1] + np.sqrt(1.0 - phi**2) * noise[:, t]
    return x


def normal_target(z):
    return z, lambda x: -0.5 * np.sum(x**2, axis=-1), 0.5 * z.shape[2] * np.log(2.0 * np.pi)


def log_gamma_target(z, shape=3.0):
    """Logarithms of gamma variables: skewness -0.6."""
    x = np.log(gammaincinv(shape, ndtr(z)))
    return x, lambda x: np.sum(shape * x - np.exp(x), axis=-1), z.shape[2] * gammaln(shape)


def student_target(z, nu=5.0):
    x = stdtrit(nu, ndtr(z))
    constant = gammaln(nu / 2) - gammaln((nu + 1) / 2) + 0.5 * np.log(nu * np.pi)
    return x, lambda x: np.sum(-0.5 * (nu + 1) * np.log1p(x**2 / nu), axis=-1), z.shape[2] * constant


def errors_over_seeds(target, seeds, d, phi, draws=400, **options):
    """Estimate minus truth, and reported error, for each seed."""
    pairs = []
    for seed in range(seeds):
        x, log_density, truth = target(ar1(np.random.default_rng([seed, 1]), 4, draws, d, phi))
        result = bridge_sampling(x, None, log_density, seed=seed, **options)
        pairs.append((result.logml - truth, result.error))
    return np.array(pairs).T


# -- the iteration ---------------------------------------------------------------------------------------------------


def test_the_fixed_point_is_the_root_of_the_bridge_equation():
    rng = np.random.default_rng(1)
    l1, l2 = rng.normal(-3.0, 1.0, 700), rng.normal(-5.0, 1.5, 300)
    s1, s2 = 0.4, 0.6

    def gap(log_r):
        r = np.exp(log_r)
        return np.mean(np.exp(l2) / (s1 * np.exp(l2) + s2 * r)) - r * np.mean(1.0 / (s1 * np.exp(l1) + s2 * r))

    found = bridge_iteration(l1, l2, 200.0, 300.0, tol=1e-12)
    assert found.converged
    assert found.value == pytest.approx(optimize.brentq(gap, -20, 10, xtol=1e-13), abs=1e-11)


def test_equal_ratios_give_the_constant_itself_whatever_the_sizes():
    found = bridge_iteration(np.full(5, -409.0), np.full(9, -409.0), 2.0, 9.0)
    assert found.value == pytest.approx(-409.0, abs=1e-12)
    assert found.converged


def test_the_iteration_stops_only_within_tol_of_the_limit_even_where_it_creeps():
    rng = np.random.default_rng(2)
    l1, l2 = rng.normal(8.0, 4.0, 500), rng.normal(-8.0, 4.0, 500)  # little overlap: slope near one
    limit = bridge_iteration(l1, l2, 500, 500, max_iter=100_000, tol=1e-12)
    loose = bridge_iteration(l1, l2, 500, 500, max_iter=100_000, tol=1e-4)
    assert loose.iterations < limit.iterations
    assert abs(loose.value - limit.value) < 1e-4
    assert not bridge_iteration(l1, l2, 500, 500, max_iter=3).converged


def test_proposed_points_outside_the_support_count_as_zeros():
    """Half normal: a normal proposal wastes half its points, and r = 1 / 2 of the full integral."""
    rng = np.random.default_rng(3)
    l1, l2 = np.zeros(4000), np.where(rng.standard_normal(4000) > 0.0, 0.0, -np.inf)
    inside = np.mean(np.isfinite(l2))
    r = np.exp(bridge_iteration(l1, l2, 4000, 4000).value)
    # inside / (s1 + s2 r) = r / (s1 + s2 r)
    assert r == pytest.approx(inside, rel=1e-9)


def test_both_kinds_of_terms_have_the_overlap_as_mean_at_the_fixed_point():
    rng = np.random.default_rng(4)
    l1, l2 = rng.normal(1.0, 1.0, 900), rng.normal(0.0, 1.0, 500)
    value = bridge_iteration(l1, l2, 900, 500, tol=1e-13).value
    means = posterior_terms(l1, value, 900, 500).mean(), proposal_terms(l2, value, 900, 500).mean()
    assert means[0] == pytest.approx(means[1], rel=1e-10)
    assert posterior_terms(np.zeros(3), 0.0, 5, 7) == pytest.approx(1.0)


# -- calibration -----------------------------------------------------------------------------------------------------

CASES = [
    (normal_target, 2, 0.9, "normal"),
    (normal_target, 10, 0.5, "normal"),
    (normal_target, 100, 0.5, "normal"),
    (log_gamma_target, 2, 0.5, "normal"),
    (log_gamma_target, 10, 0.5, "normal"),
    (log_gamma_target, 10, 0.7, "warp3"),
    (student_target, 10, 0.7, "normal"),
    (student_target, 10, 0.7, "warp3"),
]


def check_calibration(seeds, target, d, phi, method):
    """z = (estimate - truth) / error: its mean and standard deviation within four standard errors of 0 and 1."""
    difference, error = errors_over_seeds(target, seeds, d, phi, method=method)
    z = difference / error
    assert abs(z.mean()) < 4.0 / np.sqrt(seeds)
    assert abs(z.std(ddof=1) - 1.0) < 4.0 / np.sqrt(2.0 * seeds)
    assert np.abs(z).max() < 4.0


@pytest.mark.parametrize("case", [CASES[0], CASES[2], CASES[4], CASES[5]])
def test_errors_are_about_calibrated(case):
    check_calibration(24, *case)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_errors_are_calibrated(case):
    check_calibration(120, *case)


def error_between(fitted, evaluated, target, rng):
    """Estimate minus truth, and error, with a plain sample covariance of some draws, evaluated at others."""
    _, log_density, truth = target
    flat = fitted.reshape(-1, fitted.shape[2])
    L = np.linalg.cholesky(np.cov(flat, rowvar=False))
    ratio = Ratio(log_density, NormalProposal(flat.mean(axis=0), L, 0.0, Identity()), False)
    half = bridge_half(ratio, evaluated, log_density(evaluated), rng)
    return half.logml - truth, np.sqrt(half.posterior_variance + half.proposal_variance)


def test_an_odd_even_split_is_biased_where_halves_are_not():
    """Every evaluated draw has neighbours among the fitted ones: r is too small, by many times its reported error."""
    odd_even, halves = [], []
    for seed in range(12):
        rng = np.random.default_rng([seed, 1])
        target = normal_target(ar1(rng, 4, 1000, 30, 0.9))
        x = target[0]
        odd_even.append(error_between(x[:, 1::2], x[:, ::2], target, rng))
        halves.append(error_between(x[:, :500], x[:, 500:], target, rng))
    (biased, reported), (honest, error) = np.transpose(odd_even), np.transpose(halves)
    assert np.all(biased < -4.0 * reported)
    assert abs(np.mean(honest / error)) < 4.0 / np.sqrt(12)


def test_halves_err_alike_for_a_normal_posterior_and_apart_for_a_skewed_one():
    """Independent sampling errors of 2 * 40 moments: the measured correlation scatters about 1 by 1 / sqrt(80)."""
    rng = np.random.default_rng(5)
    x, log_density, _ = normal_target(ar1(rng, 4, 400, 40, 0.0))
    assert bridge_sampling(x, None, log_density).correlation > 0.55
    x, log_density, _ = log_gamma_target(ar1(rng, 4, 400, 4, 0.0))
    assert bridge_sampling(x, None, log_density).correlation < 0.3


# -- warp-III --------------------------------------------------------------------------------------------------------


def test_warp3_halves_the_error_of_a_skewed_posterior():
    plain = errors_over_seeds(log_gamma_target, 5, 5, 0.0)[1].mean()
    warped = errors_over_seeds(log_gamma_target, 5, 5, 0.0, method="warp3")[1].mean()
    assert warped < 0.5 * plain


def test_warp3_ratios_are_those_of_the_standardised_and_symmetrised_density():
    """Literally: z = L^-1 (x - mu), density |L| (q(mu + L z) + q(mu - L z)) / 2, proposal N(0, I)."""
    x, log_density, _ = log_gamma_target(ar1(np.random.default_rng(6), 2, 100, 3, 0.3))
    proposal = fit_proposal(x)
    flat = x.reshape(-1, 3)
    z = np.linalg.solve(proposal.L, (flat - proposal.mean).T).T
    both = np.exp(log_density(proposal.mean + z @ proposal.L.T)) + np.exp(log_density(proposal.mean - z @ proposal.L.T))
    literal = np.log(0.5 * np.linalg.det(proposal.L) * both) - stats.norm.logpdf(z).sum(axis=1)
    ours = Ratio(log_density, proposal, True).at(x, log_density(x))
    assert ours.ravel() == pytest.approx(literal, rel=1e-10)


def test_the_spread_of_repeats_is_the_proposal_part_of_the_error():
    x, log_density, _ = log_gamma_target(ar1(np.random.default_rng(7), 4, 400, 5, 0.5))
    result = bridge_sampling(x, None, log_density, method="warp3", repetitions=40)
    assert result.repeat_error == pytest.approx(result.proposal_error, rel=0.5)  # SD of 40 numbers: within 4 * 11%
    assert result.repeats.mean() == pytest.approx(result.logml)
    assert np.isnan(bridge_sampling(x, None, log_density).repeat_error)


# -- invariances and size --------------------------------------------------------------------------------------------


def test_a_constant_in_the_density_comes_out_again():
    x, log_density, _ = student_target(ar1(np.random.default_rng(8), 2, 200, 3, 0.5))
    one = bridge_sampling(x, None, log_density, seed=3)
    other = bridge_sampling(x, log_density(x) - 5000.0, lambda x: log_density(x) - 5000.0, seed=3)
    assert other.logml == pytest.approx(one.logml - 5000.0, abs=1e-7)
    assert other.error == pytest.approx(one.error, rel=1e-6)


def test_equal_seeds_give_equal_numbers_and_the_seed_of_the_draws_may_be_used_again():
    """The proposed points must not be the very numbers of which draws of that seed were made."""
    z = []
    for seed in range(20):
        x, log_density, truth = normal_target(np.random.default_rng(seed).standard_normal((2, 200, 20)))
        result = bridge_sampling(x, None, log_density, seed=seed)
        z.append((result.logml - truth) / result.error)
    assert abs(np.mean(z)) < 4.0 / np.sqrt(20)
    assert bridge_sampling(x, None, log_density, seed=seed).logml == result.logml
    assert bridge_sampling(x, None, log_density, seed=seed + 1).logml != result.logml


class Scaled:
    """Coordinates xi with position = L xi."""

    def __init__(self, L):
        self.L, self.log_det = L, float(np.log(np.diag(L)).sum())

    def to_xi(self, positions):
        return np.linalg.solve(self.L, positions.T).T

    def to_position(self, xi):
        return xi @ self.L.T


@pytest.mark.parametrize("whitened", [False, True])
def test_300_dimensions_from_500_draws_a_half(whitened):
    """A plain sample covariance would hardly overlap with the posterior (or have no inverse)."""
    d, rng = 300, np.random.default_rng(9)
    precision = np.eye(d)
    precision[0, 0] = 200.0
    precision[0, 1:] = precision[1:, 0] = 0.7  # one parameter correlated with all others
    L = np.linalg.cholesky(np.linalg.inv(precision))
    truth = 0.5 * d * np.log(2.0 * np.pi) + np.log(np.diag(L)).sum()

    def log_density(x):
        return -0.5 * np.sum((x @ precision) * x, axis=-1)

    x = ar1(rng, 4, 250, d, 0.3) @ L.T
    result = bridge_sampling(x, None, log_density, coordinates=Scaled(L) if whitened else None)
    assert result.shrinkage.min() > 0.5
    assert abs(result.logml - truth) < 4.0 * result.error
    assert result.error < 0.15


def test_strong_correlations_survive_shrinkage_where_draws_are_many():
    d, rng = 10, np.random.default_rng(10)
    cov = np.full((d, d), 0.95) + 0.05 * np.eye(d)
    x = rng.standard_normal((4, 300, d)) @ np.linalg.cholesky(cov).T
    fitted = fit_proposal(x)
    assert fitted.shrinkage < 0.01
    assert (fitted.L @ fitted.L.T)[0, 1] == pytest.approx(np.cov(x.reshape(-1, d), rowvar=False)[0, 1], rel=0.02)
    points = rng.standard_normal((3, d))
    expected = stats.multivariate_normal(fitted.mean, fitted.L @ fitted.L.T).logpdf(points)
    assert fitted.log_densities(points) == pytest.approx(expected)


# -- a mixed model whose marginal likelihood is a closed form --------------------------------------------------------


@pytest.fixture(scope="module")
def intercept_model():
    rng = np.random.default_rng(11)
    group = np.repeat(np.arange(20), 3)
    X = rng.standard_normal((60, 2))
    y = 1.0 + X @ [0.5, 0.0] + 0.6 * rng.standard_normal(20)[group] + 0.8 * rng.standard_normal(60)
    return GaussianIntercept(y, X, group)


def exact(model, sigma):
    return model.log_marginal_likelihood(np.arange(*sigma, 0.05), np.arange(-12.0, 2.0, 0.1))


def test_the_closed_forms_agree_with_dense_matrices(intercept_model):
    model = intercept_model
    at = (-0.3, -0.8)
    assert model.given_scales(*np.reshape(at, (2, 1)))[0] == pytest.approx(model.given_scales_densely(*at), abs=1e-9)
    beta = np.array([0.9, 0.4, 0.1])
    V = np.exp(2 * at[1]) * model.Z @ model.Z.T + np.exp(2 * at[0]) * np.eye(60)
    expected = stats.multivariate_normal(model.A @ beta, V).logpdf(model.y)
    expected += stats.norm(0, 10).logpdf(beta).sum() + stats.expon(scale=5).logpdf(np.exp(at)).sum() + sum(at)
    assert model.log_posterior(np.r_[beta, at][None])[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("with_effects", [False, True])
def test_a_gaussian_mixed_model(intercept_model, with_effects):
    """Five dimensions by Metropolis chains; 25 with the random effects drawn given them."""
    model = intercept_model
    rng = np.random.default_rng(12)
    x = random_walk(model.log_posterior, *model.mode_and_covariance(), 4, 1500, rng)
    density = model.log_posterior
    if with_effects:
        u = model.draw_effects(x.reshape(-1, 5), rng).reshape(4, 1500, 20)
        x, density = np.concatenate([x, u], axis=2), model.log_joint
    result = bridge_sampling(x, None, density)
    assert result.error < 0.1
    assert abs(result.logml - exact(model, (-1.0, 0.8))) < 3.0 * result.error


def test_the_debate_data(shared_data):
    """By quadrature -409.96460 and log BF(talk) 6.28692; importance sampling in R had given -409.967 +- 0.003."""
    data = shared_data("debate")
    full = GaussianIntercept(data["sat"], data[["talk", "perf"]], data["group"])
    without = GaussianIntercept(data["sat"], data[["perf"]], data["group"])
    logml = [exact(model, (-0.8, 0.4)) for model in (full, without)]
    assert logml[0] == pytest.approx(-409.96460, abs=1e-4)
    assert logml[0] - logml[1] == pytest.approx(6.28692, abs=1e-4)
    for seed in range(3):
        x = random_walk(full.log_posterior, *full.mode_and_covariance(), 4, 500, np.random.default_rng(seed))
        result = bridge_sampling(x, None, full.log_posterior, seed=seed)
        assert abs(result.logml - logml[0]) < 3.0 * result.error
        assert result.error < 0.1


# -- what it says, and what it refuses -------------------------------------------------------------------------------


@pytest.fixture
def draws():
    return ar1(np.random.default_rng(13), 2, 40, 2, 0.0)


def log_normal(x):
    return -0.5 * np.sum(x**2, axis=-1)


def test_print():
    fields = dict.fromkeys(BridgeResult.__dataclass_fields__)
    fields |= {"logml": -409.9668, "error": 0.0123, "ess": 1480.3, "converged": True, "iterations": 7}
    shown = repr(BridgeResult(**fields))
    assert shown == "Bridge Sampling Converged: LogML = -409.967 (Error = 0.012, ESS = 1480)"
    assert "NOT Converged in 7 Iterations" in repr(BridgeResult(**fields | {"converged": False}))


def test_result_is_read_only(draws):
    result = bridge_sampling(draws, log_normal(draws), log_normal)
    assert result.draws == 80
    assert result.dimension == 2
    with pytest.raises(ValueError, match="read-only"):
        result.halves[0] = 0.0


def test_an_iteration_that_stops_early_is_no_success(draws):
    with pytest.warns(EvidenceWarning, match="did not reach its fixed point in 1 iterations"):
        assert not bridge_sampling(draws, None, log_normal, max_iter=1, tol=1e-300).converged


def test_a_useless_estimate_is_warned_about():
    x = ar1(np.random.default_rng(14), 1, 20, 1, 0.0)
    with pytest.warns(EvidenceWarning, match=r"error of .*overlap by .* of 1; use more draws"):
        bridge_sampling(x, None, lambda x: log_normal(x - 8.0))  # these are not its draws


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"positions": np.zeros((40, 2))}, ArgumentError, r"shape \(chains, draws, parameters\), not \(40, 2\)"),
        ({"positions": np.zeros((2, 19, 2))}, ArgumentError, "at least 20 draws a chain, there are 19"),
        ({"positions": np.full((2, 40, 2), np.nan)}, DataError, "draw 0 of chain 0 is not finite in coordinate 0"),
        ({"positions": np.ones((2, 40, 2))}, DataError, "coordinate 0 of the draws never changes"),
        ({"lp": np.zeros((2, 41))}, ArgumentError, r"lp must have shape \(2, 40\)"),
        ({"lp": np.zeros((2, 40))}, DataError, "lp is another density than log_densities"),
        ({"lp": np.full((2, 40), -np.inf)}, DataError, "draw 0 of chain 0 has log density -inf"),
        ({"log_densities": lambda x: x}, ArgumentError, r"must return shape \(80,\) for 80 positions"),
        ({"log_densities": lambda x: np.full(len(x), np.nan)}, DataError, "the log density is nan at position"),
        ({"method": "warp2"}, ArgumentError, "one of normal, warp3, not 'warp2'"),
        ({"max_iter": 0}, ArgumentError, "max_iter must be a whole number"),
        ({"repetitions": 1.5}, ArgumentError, "repetitions must be a whole number"),
        ({"tol": 0.0}, ArgumentError, "tol must be a positive number"),
        ({"seed": -1}, ArgumentError, "seed must be a whole number"),
    ],
)
def test_bad_input(draws, change, error, message):
    arguments = {"positions": draws, "lp": None, "log_densities": log_normal} | change
    with pytest.raises(error, match=message):
        bridge_sampling(**arguments)
