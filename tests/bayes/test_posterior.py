"""What positions mean: names, natural values, effects, log likelihoods; errors and immutability."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import refglmm as rg
from refglmm.bayes.posterior import Posterior
from refglmm.bayes.target import log_posterior
from refglmm.errors import ArgumentError, NotAvailableError


def make_data(seed=2, n=40):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"g": np.repeat(np.arange(8), n // 8), "h": np.tile(np.arange(5), n // 5)})
    data["x"], data["z"] = rng.normal(2.0, 1.0, n), rng.normal(0.0, 1.0, n)
    data["y"] = 1.0 + 0.4 * data.x + rng.normal(0, 0.6, 8)[data.g] + rng.normal(0, 0.5, n)
    data["count"] = rng.poisson(np.exp(0.3 * data.y))
    data["w"] = rng.uniform(0.5, 2.0, n)
    return data


DATA = make_data()


@pytest.fixture(scope="module")
def posterior():
    """Correlated slopes in g, intercepts in h."""
    return rg.GLMM("y ~ x + (x + z | g) + (1 | h)", DATA, weights="w", prior=rg.prior_normal()).posterior


@pytest.fixture(scope="module")
def positions(posterior):
    return 0.5 * np.random.default_rng(1).standard_normal((3, posterior.dimension))


def test_names(posterior):
    assert posterior.hyper_names == (
        "Intercept_c",
        "b[x]",
        "sd[g:Int]",
        "sd[g:x]",
        "sd[g:z]",
        "sd[h:Int]",
        "partial[g:Int,x]",
        "partial[g:Int,z]",
        "partial[g:x,z]",
        "sigma",
    )
    corr = ("corr[g:Int,x]", "corr[g:Int,z]", "corr[g:x,z]")
    sds = ("sd[g:Int]", "sd[g:x]", "sd[g:z]", "sd[h:Int]")
    assert posterior.names == ("Intercept", "b[x]", "sigma", *sds, *corr, "Intercept_c")
    assert posterior.n_hyper == 10
    assert posterior.q == 8 * 3 + 5
    assert posterior.dimension == 39
    assert repr(posterior) == "Posterior(10 parameters, 29 random effects, 40 distinct rows)"
    assert posterior.is_proper
    assert not rg.GLMM("y ~ x + (1 | g)", DATA).posterior.is_proper


def test_without_anything_to_centre_there_is_one_intercept():
    assert rg.GLMM("y ~ 1 + (1 | g)", DATA).posterior.names == ("Intercept", "sigma", "sd[g:Int]")
    assert rg.GLMM("y ~ 0 + x + (1 | g)", DATA).posterior.names == ("b[x]", "sigma", "sd[g:Int]")


def literal(posterior, position):
    """beta, sds, R of g, sigma and b, from the definitions."""
    natural = np.exp(position[2:6])
    z21, z31, z32 = np.tanh(position[6:9] / 2.0)
    root = np.sqrt
    L = np.array([[1, 0, 0], [z21, root(1 - z21**2), 0],
                  [z31, root(1 - z31**2) * z32, root(1 - z31**2) * root(1 - z32**2)]])  # fmt: skip
    u = position[10:34].reshape(8, 3)
    b = np.concatenate([(u @ (natural[:3, None] * L).T).ravel(), natural[3] * position[34:]])
    beta = np.array([position[0] - position[1] * DATA.x.mean(), position[1]])
    return beta, natural, L @ L.T, np.exp(position[9]), b


def test_what_is_reported(posterior, positions):
    for values, position in zip(posterior.reported(positions), positions, strict=True):
        beta, sds, R, sigma, _ = literal(posterior, position)
        expected = [*beta, sigma, *sds, R[1, 0], R[2, 0], R[2, 1], position[0]]
        np.testing.assert_allclose(values, expected, rtol=1e-12)
    np.testing.assert_array_equal(posterior.reported(positions[:, : posterior.n_hyper]), posterior.reported(positions))


def test_effects_predictors_and_log_likelihood(posterior, positions):
    effects, eta, log_lik = (f(positions) for f in (posterior.random_effects, posterior.eta, posterior.log_lik))
    assert effects.shape == (3, 29)
    assert eta.shape == log_lik.shape == (3, 40)
    for m, position in enumerate(positions):
        beta, _, _, sigma, b = literal(posterior, position)
        np.testing.assert_allclose(effects[m], b, rtol=1e-12)
        of_g, of_h = b[:24].reshape(8, 3)[DATA.g], b[24:][DATA.h]
        wanted = beta[0] + beta[1] * DATA.x + of_g[:, 0] + of_g[:, 1] * DATA.x + of_g[:, 2] * DATA.z + of_h
        np.testing.assert_allclose(eta[m], wanted, rtol=1e-11)
        density = stats.norm.logpdf(DATA.y, wanted, sigma / np.sqrt(DATA.w))
        np.testing.assert_allclose(log_lik[m], density, rtol=1e-10)
        assert posterior.shape(positions)[m, 0] == pytest.approx(sigma**2)


def test_log_likelihood_is_of_all_rows_where_the_density_visits_distinct_ones():
    data = DATA.assign(hit=(DATA.y > 2).astype(int), x=(DATA.x > 2).astype(float))
    posterior = rg.GLMM("hit ~ x + (1 | g)", data, "bernoulli", prior=rg.prior_normal()).posterior
    x = 0.3 * np.ones((1, posterior.dimension))
    assert posterior.target.offset.size < 40
    eta = posterior.eta(x)[0]
    np.testing.assert_allclose(posterior.log_lik(x)[0], stats.bernoulli.logpmf(data.hit, 1 / (1 + np.exp(-eta))))


def test_thresholds_are_reported_for_predictors_as_the_user_wrote_them():
    data = DATA.assign(grade=pd.Categorical(np.digitize(DATA.y, [1.2, 2.2]), ordered=True))
    posterior = rg.GLMM("grade ~ x + (1 | g)", data, "ordered", prior=rg.prior_normal()).posterior
    assert posterior.names == ("b[x]", "cutpoints[0|1]", "cutpoints[1|2]", "sd[g:Int]")
    x = 0.4 * np.ones((1, posterior.dimension))
    values = dict(zip(posterior.names, posterior.reported(x)[0], strict=True))
    first = 0.4 + 0.4 * DATA.x.mean()
    assert values["cutpoints[0|1]"] == pytest.approx(first)
    assert values["cutpoints[1|2]"] == pytest.approx(first + np.exp(0.4))
    # beta and thresholds go together: P(grade <= 0) of a row of the data
    eta = posterior.beta(x)[0, 0] * data.x[0] + posterior.random_effects(x)[0, 0]
    below = stats.logistic.cdf(posterior.shape(x)[0, 0] - eta)
    of_row = np.exp(posterior.log_lik(x)[0, 0])
    assert of_row == pytest.approx(
        [below, None, None][data.grade.cat.codes[0]]
        if data.grade.cat.codes[0] == 0
        else np.diff([below, stats.logistic.cdf(posterior.shape(x)[0, 1] - eta), 1.0])[data.grade.cat.codes[0] - 1]
    )


def test_hyper_is_the_way_back(posterior, positions):
    X = posterior.natural(positions)[0]
    np.testing.assert_allclose(posterior.hyper(X[0]), positions[0, : posterior.n_hyper], rtol=1e-9)
    data = DATA.assign(grade=pd.Categorical(np.digitize(DATA.y, [1.2, 2.2]), ordered=True))
    ordinal = rg.GLMM("grade ~ x + (1 | g)", data, "ordered", prior=rg.prior_normal()).posterior
    x = 0.4 * np.ones((1, ordinal.dimension))
    np.testing.assert_allclose(ordinal.hyper(ordinal.natural(x)[0][0]), x[0, : ordinal.n_hyper], rtol=1e-12)


def test_positions_of_another_size_are_refused(posterior):
    with pytest.raises(ArgumentError, match=r"39 numbers \(10 parameters, 29 random effects\), not .*\(4,\)"):
        posterior.log_density(np.zeros(4))
    with pytest.raises(ArgumentError, match=r"shape \(39,\)"):
        posterior.random_effects(np.zeros(39))


def test_nothing_of_the_callers_is_changed(posterior, positions):
    before = positions.copy()
    for function in (posterior.log_densities, posterior.reported, posterior.eta, posterior.log_lik):
        function(positions)
        np.testing.assert_array_equal(positions, before)
    np.testing.assert_allclose(posterior.log_densities(positions)[1], posterior.log_density(positions[1]))


def test_value_and_gradient_is_the_kernel(posterior, positions):
    gradient = np.empty(posterior.dimension)
    value = log_posterior(positions[0].copy(), gradient, posterior.target, posterior.log_likelihood)
    ours = posterior.value_and_gradient(positions[0])
    assert ours[0] == value
    np.testing.assert_array_equal(ours[1], gradient)


def test_several_predictors_have_no_posterior():
    model = rg.GLMM("count ~ x + (1 | g)", DATA, "poisson", zi="~ 1")
    with pytest.raises(NotAvailableError, match="one linear predictor"):
        _ = model.posterior
    with pytest.raises(NotAvailableError, match="one linear predictor"):
        Posterior(model.problem, rg.GLMM("y ~ x + (1 | g)", DATA).posterior.priors)


def test_good_exponent_follows_the_information_on_the_levels():
    """Balanced data, one intercept: the odds W sd^2 have a closed form at the mode; sd is taken one SD lower."""
    posterior = rg.GLMM("y ~ 1 + (1 | g)", DATA, prior=rg.prior_normal()).posterior
    hyper, spread = posterior.laplace().hyper, np.sqrt(posterior.laplace().covariance[1, 1])
    ratio = 5.0 * np.exp(2.0 * (hyper[1] - spread - hyper[2]))
    np.testing.assert_allclose(posterior.good_exponent, [ratio / (1.0 + ratio)], rtol=1e-9)
    centred = posterior.with_exponent(posterior.good_exponent)
    np.testing.assert_allclose(centred.good_exponent, posterior.good_exponent, rtol=1e-9)
    np.testing.assert_allclose(centred.laplace().hyper, hyper, rtol=1e-12)


def test_the_laplace_fit_in_other_coordinates_is_the_same_approximation():
    """Mode of b, precision of b and log marginal likelihood do not depend on the coordinates."""
    plain = rg.GLMM("y ~ x + (x || g)", DATA, prior=rg.prior_normal()).posterior
    centred = plain.with_exponent([0.4, 1.0])
    one, two = plain.laplace(), centred.laplace()
    assert two.log_marginal == pytest.approx(one.log_marginal, abs=1e-9)
    modes = plain.random_effects(one.position[None]), centred.random_effects(two.position[None])
    np.testing.assert_allclose(modes[0], modes[1], rtol=1e-9, atol=1e-9)
    f = centred.centring(one.hyper)

    def precision(fit):
        L, order = fit.factor.L().toarray(), np.argsort(fit.factor.perm)
        return (L @ L.T)[np.ix_(order, order)]

    np.testing.assert_allclose(f[:, None] * precision(two) * f, precision(one), rtol=1e-7, atol=1e-7)
    step = 1e-3 * np.ones(one.hyper.size)  # the slope of v = f u, by the product rule
    moved = (centred.centring(one.hyper + step) - centred.centring(one.hyper - step)) / 2.0 * one.u
    np.testing.assert_allclose(two.slope @ step, f * (one.slope @ step) + moved, rtol=1e-4, atol=1e-9)
