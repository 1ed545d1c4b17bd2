"""Variational inference: optima in closed form, stopping, seeds and threads, k-hat, debate data, errors."""

import warnings

import numpy as np
import pytest
from log_densities import UNUSED, normal, parameters

import refglmm as rg
from refglmm._jit import pure, signed_kernel
from refglmm.bayes import advi, whiten
from refglmm.bayes.advi import Drift, Variational, Window, approximate, conditional_sds, sds, start, variational
from refglmm.bayes.ascent import Gaussian
from refglmm.bayes.posterior import Posterior
from refglmm.bayes.priors import resolve
from refglmm.bayes.target import LOG_DENSITY
from refglmm.errors import ArgumentError, ConvergenceWarning, ParetoWarning, SamplingError

RNG = np.random.default_rng(2)
D = 6
CENTER = np.linspace(-1.0, 2.0, D)
LEVEL = 3.7  # log of the integral of the test densities


@signed_kernel(LOG_DENSITY)
def gaussian(position, gradient, target, log_likelihood):
    """Normal; the last element of ``slope_scale`` is added."""
    value = target.slope_scale[0]
    for i in range(position.size):
        gradient[i] = 0.0
        for j in range(position.size):
            gradient[i] -= target.slope_matrix[i, j] * (position[j] - target.rows.y[j])
        value += 0.5 * gradient[i] * (position[i] - target.rows.y[i])
    return value


@signed_kernel(LOG_DENSITY)
def cauchy(position, gradient, target, log_likelihood):
    """Independent Cauchy coordinates."""
    value = 0.0
    for i in range(position.size):
        value -= np.log1p(position[i] * position[i])
        gradient[i] = -2.0 * position[i] / (1.0 + position[i] * position[i])
    return value


@signed_kernel(LOG_DENSITY)
def nowhere(position, gradient, target, log_likelihood):
    """Not a density."""
    gradient[:] = 0.0
    return -np.inf


def with_level(covariance, level=LEVEL):
    """The target of ``gaussian`` whose integral has the logarithm ``level``."""
    constant = level - 0.5 * len(covariance) * np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(covariance)[1]
    return parameters(CENTER, np.linalg.inv(covariance))._replace(slope_scale=np.array([constant]))


def some_covariance():
    factor = np.tril(0.5 * RNG.normal(size=(D, D))) + 1.5 * np.eye(D)
    return factor @ factor.T


COVARIANCE = some_covariance()
TARGET = with_level(COVARIANCE)
#: Not the truth: shifted, uncorrelated, with wrong SDs.
ROUGH = whiten.diagonal(CENTER + 0.4, np.sqrt(np.diag(COVARIANCE)) * np.linspace(0.6, 1.5, D))
FEW = {"n_runs": 2, "seed": 4, "draws": 500}


def moments(found):
    """Mean and covariance of q."""
    q, A = found.q, matrix(found.V)
    S = np.diag(np.concatenate([np.zeros(len(q.root)), np.exp(q.log_sd)]))
    S[: len(q.root), : len(q.root)] = q.root
    return found.W.center + matrix(found.W) @ q.mean, A @ (S @ S.T + q.factor @ q.factor.T) @ A.T


def matrix(whitening):
    rows = np.empty((D, D))
    whiten.place_rows(whitening, np.eye(D), rows)
    return (rows - whitening.center).T


def assert_exact(found, covariance):
    """Q is the density: its moments, and an ELBO equal to the log of the integral."""
    mean, cov = moments(found)
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((mean - CENTER) / sd, 0.0, atol=0.02)
    np.testing.assert_allclose(cov / np.outer(sd, sd), covariance / np.outer(sd, sd), atol=0.04)
    assert abs(found.elbo - LEVEL) < 0.01
    assert abs(found.log_marginal - LEVEL) < 3 * found.log_marginal_se + 1e-3
    assert found.converged


# -- optima in closed form ------------------------------------------------------------


def test_full_rank_is_exact():
    assert_exact(approximate(gaussian, TARGET, UNUSED, ROUGH, "fullrank", **FEW), COVARIANCE)


@pytest.mark.filterwarnings("ignore::refglmm.errors.ParetoWarning")
def test_mean_field_has_conditional_sds():
    """KL(q, p) of independent normals is least at the inverse roots of the diagonal of the precision."""
    found = approximate(gaussian, TARGET, UNUSED, ROUGH, "meanfield", draws_per_step=64, **FEW)
    precision = np.linalg.inv(COVARIANCE)
    mean, cov = moments(found)
    np.testing.assert_allclose(np.sqrt(np.diag(cov) * np.diag(precision)), 1.0, atol=0.03)
    np.testing.assert_allclose((mean - CENTER) / np.sqrt(np.diag(COVARIANCE)), 0.0, atol=0.05)
    divergence = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    assert abs(found.elbo - (LEVEL - divergence)) < 4 * found.elbo_se + 0.01
    assert divergence > 20 * found.elbo_se  # else the line above says nothing


def test_low_rank_is_exact_where_the_covariance_is():
    factor = RNG.normal(size=(D, 2))
    covariance = np.diag(np.linspace(0.4, 1.0, D)) + factor @ factor.T
    found = approximate(gaussian, with_level(covariance), UNUSED, whiten.dense(CENTER + 0.3, 1.3 * covariance),
                        "lowrank", rank=2, **FEW)  # fmt: skip
    assert found.q.factor.shape == (D, 2)
    _, cov = moments(found)
    np.testing.assert_allclose(cov, covariance, atol=0.06 * covariance.max())
    assert abs(found.elbo - LEVEL) < 0.02
    assert found.converged


def test_hybrid_is_exact_where_random_effects_are_linear_in_hyperparameters():
    n, q = 2, D - 2
    C, J = np.array([[1.0, 0.0], [0.6, 0.8]]), RNG.normal(size=(q, n))
    sd = np.linspace(0.5, 1.2, q)
    covariance = np.zeros((D, D))
    covariance[:n, :n], covariance[n:, :n] = C @ C.T, J @ C @ C.T
    covariance[:n, n:], covariance[n:, n:] = covariance[n:, :n].T, J @ C @ C.T @ J.T + np.diag(sd**2)
    at = np.arange(q + 1)
    W = whiten.laplace(CENTER + 0.2, np.diag([1.5, 0.7]), J, at, at[:-1], np.ones(q), at[:-1])
    found = approximate(gaussian, with_level(covariance), UNUSED, W, "hybrid", **FEW)
    assert found.q.root.shape == (n, n)
    assert_exact(found, covariance)


@pytest.mark.parametrize("method", ["meanfield", "fullrank", "hybrid", "lowrank"])
def test_starts_have_the_moments_that_they_should(method):
    n = 2
    root = np.linalg.cholesky(COVARIANCE)
    u = COVARIANCE[n:, n:] - COVARIANCE[n:, :n] @ np.linalg.solve(COVARIANCE[:n, :n], COVARIANCE[:n, n:])
    factor = np.linalg.cholesky(np.linalg.inv(u))
    q = D - n
    starts = np.concatenate([[0], np.cumsum(np.arange(q, 0, -1))])
    rows = np.concatenate([np.arange(j, q) for j in range(q)])
    data = np.concatenate([factor[j:, j] for j in range(q)])
    J = COVARIANCE[n:, :n] @ np.linalg.inv(COVARIANCE[:n, :n])
    W = whiten.laplace(CENTER, root[:n, :n], J, starts, rows, data, np.arange(q))
    np.testing.assert_allclose(whiten.covariance(W), COVARIANCE, rtol=1e-10)
    np.testing.assert_allclose(conditional_sds(W), np.diag(np.linalg.inv(COVARIANCE)) ** -0.5, rtol=1e-10)
    q, V = start(method, W, 2)
    A = matrix(V)
    S = np.diag(np.concatenate([np.zeros(len(q.root)), np.exp(q.log_sd)]))
    S[: len(q.root), : len(q.root)] = q.root
    found = A @ (S @ S.T + q.factor @ q.factor.T) @ A.T
    if method == "meanfield":
        np.testing.assert_allclose(found, np.diag(1.0 / np.diag(np.linalg.inv(COVARIANCE))), rtol=1e-10)
    elif method == "lowrank":
        np.testing.assert_allclose(np.diag(found), np.diag(COVARIANCE), rtol=1e-8)
    else:
        np.testing.assert_allclose(found, COVARIANCE, rtol=1e-10)


def test_sds_are_those_of_the_spread():
    q = Gaussian(np.zeros(3), np.log([2.0]), np.array([[1.0, 0.0], [3.0, 4.0]]), np.array([[0.0], [0.0], [1.5]]))
    np.testing.assert_allclose(sds(q), [1.0, 5.0, 2.5])


# -- stopping ------------------------------------------------------------


def window(mean, elbo, se, log_sd=0.0):
    return Window(Gaussian(np.array([mean]), np.array([log_sd]), np.empty((0, 0)), np.empty((1, 0))), elbo, se, 100)


@pytest.mark.parametrize(
    ("new", "is_small"),
    [
        (window(0.01, -10.1, 0.1), True),
        (window(0.01, -9.0, 0.1), False),  # the ELBO moved by more than its error
        (window(0.01, -9.995, 0.0), True),  # by more than its error, but by nothing that matters
        (window(0.2, -10.0, 0.1), False),  # a mean moved
        (window(0.01, -10.0, 0.1, log_sd=0.2), False),  # an SD moved
        (window(0.01, -np.inf, np.nan), False),
    ],
)
def test_when_a_run_may_stop(new, is_small):
    assert Drift.between(window(0.0, -10.0, 0.1), new).is_small == is_small


@pytest.mark.filterwarnings("ignore::refglmm.errors.ParetoWarning")
def test_the_level_of_the_density_does_not_matter():
    low = approximate(gaussian, TARGET, UNUSED, ROUGH, "hybrid", **FEW)
    high = approximate(gaussian, with_level(COVARIANCE, 1e5), UNUSED, ROUGH, "hybrid", **FEW)
    assert [len(trace) for trace in low.elbo_traces] == [len(trace) for trace in high.elbo_traces]
    assert high.elbo - low.elbo == pytest.approx(1e5 - LEVEL, abs=1e-3)


@pytest.mark.filterwarnings("ignore::refglmm.errors.ParetoWarning")
def test_too_few_steps_are_reported():
    with pytest.warns(ConvergenceWarning, match=r"\(fullrank\) not converged: 20 steps are too few"):
        found = approximate(gaussian, TARGET, UNUSED, ROUGH, "fullrank", max_iter=20, **FEW)
    assert not found.converged
    assert [trace.shape for trace in found.elbo_traces] == [(20,), (20,)]
    with pytest.warns(ConvergenceWarning, match="not converged after 250 steps: between its last two windows"):
        approximate(gaussian, with_level(COVARIANCE), UNUSED, whiten.diagonal(CENTER + 9.0, 0.05 * np.ones(D)),
                    "fullrank", max_iter=250, **FEW)  # fmt: skip


@pytest.mark.filterwarnings("ignore::refglmm.errors.ParetoWarning")
def test_windows_use_up_the_steps_exactly():
    wide = whiten.diagonal(CENTER + 9.0, 0.05 * np.ones(D))
    with pytest.warns(ConvergenceWarning):
        found = approximate(gaussian, TARGET, UNUSED, wide, "fullrank", max_iter=333, **FEW)
    assert {trace.size for trace in found.elbo_traces} == {333}


# -- seeds, threads, k-hat ------------------------------------------------------------


def test_same_seed_same_numbers_for_any_number_of_threads():
    found = [
        approximate(gaussian, TARGET, UNUSED, ROUGH, "fullrank", n_runs=3, seed=seed, threads=threads, draws=100)
        for seed, threads in ((1, 1), (1, 3), (2, 3))
    ]
    np.testing.assert_array_equal(found[0].positions, found[1].positions)
    for one, other in zip(found[0].elbo_traces, found[1].elbo_traces, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(found[0].positions, found[2].positions)
    assert not np.array_equal(found[0].elbo_traces[0][:9], found[0].elbo_traces[1][:9])


@pytest.mark.filterwarnings("ignore::refglmm.errors.ConvergenceWarning", "ignore::refglmm.errors.ParetoWarning")
@pytest.mark.parametrize("method", advi.METHODS)
def test_a_python_function_climbs_as_a_compiled_one(method):
    """Plain Python also looks at the bounds of arrays."""
    settings = {"rank": 2} if method == "lowrank" else {}
    compiled, python = (
        approximate(function, TARGET, UNUSED, ROUGH, method, n_runs=1, seed=4, max_iter=20, draws=20, **settings)
        for function in (gaussian, pure(gaussian))
    )
    np.testing.assert_allclose(python.elbo_traces[0], compiled.elbo_traces[0], rtol=1e-9)
    np.testing.assert_allclose(python.positions, compiled.positions, rtol=1e-9)


def test_heavy_tails_are_seen():
    unit = whiten.diagonal(np.zeros(3), np.ones(3))
    with pytest.warns(ParetoWarning, match=r"Pareto k-hat is \d\.\d\d \(above 0\.70\): not to be trusted"):
        found = approximate(cauchy, parameters(np.zeros(3)), UNUSED, unit, "fullrank", n_runs=1, seed=1, draws=4000)
    assert found.khat > 0.7
    assert "not to be trusted" in repr(found)
    assert "log marginal" not in repr(found)  # no number where there is none


def test_a_good_fit_says_so():
    found = approximate(gaussian, TARGET, UNUSED, ROUGH, "fullrank", **FEW)
    assert found.khat < 0.7
    assert found.ess > 0.98 * 500
    assert "Pareto k-hat" in repr(found)
    assert "log marginal likelihood by importance sampling" in repr(found)
    assert found.disagreement < 0.05


@pytest.mark.filterwarnings("ignore::refglmm.errors.ParetoWarning")
def test_resampling_corrects_the_sds_of_mean_field():
    target = with_level(0.5 * np.eye(D) + 0.5)
    settings = {"n_runs": 1, "seed": 4, "draws": 20_000}
    raw = approximate(gaussian, target, UNUSED, ROUGH, "meanfield", **settings)
    right = approximate(gaussian, target, UNUSED, ROUGH, "meanfield", resample=True, **settings)
    assert right.is_resampled
    assert right.positions.shape == raw.positions.shape
    np.testing.assert_allclose(raw.positions[0].std(axis=0), np.sqrt(7 / 12), rtol=0.05)  # precision 2 - 2/7 = 12/7
    assert (right.positions[0].std(axis=0) > 0.85).all()  # most of the way to 1
    np.testing.assert_allclose(right.log_weights, -np.log(20_000))


# -- a model ------------------------------------------------------------


def test_debate_data(shared_data):
    """Log marginal likelihood -409.967 (importance sampling); mean-field SDs are too small, and by how much."""
    model = rg.GLMM("sat ~ talk + perf + (1 | group)", shared_data("debate"))
    posterior = Posterior(model.problem, resolve(rg.prior_normal(), model))
    intercept = posterior.names.index("Intercept")
    found, sd = {}, {}
    for method in ("hybrid", "meanfield", "lowrank"):
        found[method] = quietly(posterior, method, seed=1, n_runs=1)
        sd[method] = posterior.reported(found[method].positions[0])[:, intercept].std()
        assert found[method].elbo < -409.967 + 3 * found[method].elbo_se
    assert found["hybrid"].elbo > -410.6
    assert found["lowrank"].elbo > -410.6
    assert -411.6 < found["meanfield"].elbo < -411.2
    assert 0.22 < sd["hybrid"] < 0.27
    assert 0.17 < sd["meanfield"] < 0.21
    assert abs(found["hybrid"].log_marginal + 409.967) < 4 * found["hybrid"].log_marginal_se


def quietly(posterior, method, **settings):
    """Without the warning about k-hat, which sits near its threshold here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParetoWarning)
        return variational(posterior, method, iter=5000, **settings)


# -- errors ------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "mean-field"}, "method must be one of meanfield, fullrank, hybrid, lowrank, not 'mean-field'"),
        ({"max_iter": 0}, "iter must be a whole number of at least 1, not 0"),
        ({"draws": 2.5}, "draws must be a whole number of at least 10, not 2.5"),
        ({"n_runs": True}, "n_runs must be a whole number of at least 1, not True"),
        ({"draws_per_step": 5}, r"draws_per_step must be even \(draws come in pairs\), not 5"),
        ({"rank": 2}, "rank belongs to method='lowrank', not to 'meanfield'"),
        ({"method": "lowrank", "rank": 7}, "rank must be at most 6, the dimension, not 7"),
        ({"method": "lowrank", "rank": 0}, "rank must be a whole number of at least 1, not 0"),
        ({"threads": 0}, "threads must be a whole number of at least 1, not 0"),
        ({"seed": -1}, "seed must be a non-negative integer"),
    ],
)
def test_arguments_that_make_no_sense(settings, message):
    with pytest.raises(ArgumentError, match=message):
        approximate(gaussian, TARGET, UNUSED, ROUGH, **settings)


def test_full_rank_has_its_limits():
    d = advi.LARGEST_FULL + 1
    with pytest.raises(ArgumentError, match=f"would need a matrix of {d} x {d}; take method='hybrid' or 'lowrank'"):
        approximate(normal, None, UNUSED, whiten.diagonal(np.zeros(d), np.ones(d)), "fullrank")


def test_a_density_that_is_nowhere():
    with pytest.raises(SamplingError, match=r"the log density \(-inf\) or its gradient is not finite"):
        approximate(nowhere, TARGET, UNUSED, ROUGH)


def test_results_cannot_be_changed():
    with pytest.raises(AttributeError):
        Variational.__setattr__(approximate(gaussian, TARGET, UNUSED, ROUGH, "fullrank", **FEW), "khat", 0.0)
