"""The log posterior against a dense one from scipy.stats, its gradient against differences, and its invariances."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats
from scipy.special import gammaln

import refglmm as rg
from refglmm.bayes.distributions import LKJ, Exponential, Normal
from refglmm.bayes.posterior import Posterior

LKJ_ETA = 1.7
PRIOR = rg.prior_normal(Intercept_sd=2.0, b_sd=1.5, sigma_rate=0.6, tau_rate=0.8, coefficients={"corr": LKJ(LKJ_ETA)})
FREE_OF_CORR = rg.prior_normal(Intercept_sd=2.0, b_sd=1.5, sigma_rate=0.6, tau_rate=0.8)


def make_data(seed=11, n=30):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"g": np.repeat(np.arange(6), n // 6), "h": np.tile(np.arange(5), n // 5)})
    data["x"], data["z"] = rng.normal(1.0, 1.0, n), rng.normal(-0.5, 0.7, n)
    data["o"] = rng.normal(0.0, 0.3, n)
    eta = 0.3 + 0.5 * data.x + rng.normal(0.0, 0.5, 6)[data.g]
    data["y"] = eta + rng.normal(0.0, 0.7, n)
    data["count"], data["hit"] = rng.poisson(np.exp(0.5 * eta)), (rng.random(n) < 0.5).astype(int)
    data["trials"] = rng.integers(1, 6, n)
    data["successes"] = rng.binomial(data.trials, 1.0 / (1.0 + np.exp(-eta)))
    data["grade"] = pd.Categorical(np.digitize(data.y, [-0.2, 0.6, 1.5]), ordered=True)
    data["w"] = np.where(np.arange(n) % 7 == 2, 0.0, rng.uniform(0.5, 2.0, n))
    return data


DATA = make_data()
ONE = np.ones(len(DATA))
X1 = np.column_stack([ONE, DATA.x])


def _column(*names):
    return np.column_stack([ONE if name == "1" else DATA[name] for name in names])


@dataclass
class Dense:
    """A model written out: X as it is, columns and codes of each term, log likelihood of eta and the shape values."""

    formula: str
    family: str
    X: np.ndarray
    terms: list
    log_likelihood: object
    n_shape: int = 0
    has_intercept: bool = True
    arguments: dict = field(default_factory=dict)

    @property
    def columns(self):
        return sum(Z.shape[1] for Z, _, _ in self.terms)

    def posterior(self, exponent=None):
        correlated = any(flag for _, _, flag in self.terms)
        prior = PRIOR if correlated else FREE_OF_CORR
        model = rg.GLMM(self.formula, DATA, self.family, prior=prior, **self.arguments)
        return model.posterior.with_exponent(exponent)

    def split(self, position):
        """beta, list of (sd, R, t of R), shape, remaining u; what is positive is exponentiated."""
        rest = list(position)

        def take(count):
            return np.array([rest.pop(0) for _ in range(count)])

        beta, sds = take(self.X.shape[1]), np.exp(take(self.columns))
        corr = [take(Z.shape[1] * (Z.shape[1] - 1) // 2) if flag else None for Z, _, flag in self.terms]
        return beta, sds, corr, np.exp(take(self.n_shape)), np.array(rest)

    def log_density(self, position, exponent):
        beta, sds, corr, shape, v = self.split(position)
        centred = self.X - (self.X.mean(axis=0) * np.r_[0.0, np.ones(self.X.shape[1] - 1)] if self.has_intercept else 0)
        eta = centred @ beta + (DATA.o.to_numpy() if "offset" in self.formula else 0.0)
        sd_beta = np.where((np.arange(beta.size) == 0) & self.has_intercept, 2.0, 1.5)
        total = stats.norm.logpdf(beta, 0.0, sd_beta).sum()
        total += stats.expon.logpdf(sds, scale=1 / 0.8).sum() + np.log(sds).sum()
        total += stats.expon.logpdf(shape, scale=1 / 0.6).sum() + np.log(shape).sum()
        at, column = 0, 0
        for (Z, codes, _), t in zip(self.terms, corr, strict=True):
            k, levels = Z.shape[1], codes.max() + 1
            sd, c = sds[column : column + k], np.broadcast_to(exponent, self.columns)[column : column + k]
            block = v[at : at + k * levels].reshape(levels, k)
            total += stats.norm.logpdf(block, 0.0, sd**c).sum()
            L = np.eye(k)
            if t is not None:
                R = correlation(t, k)
                L = np.linalg.cholesky(R)
                total += log_lkj(t, k, LKJ_ETA)
            b = (block / sd**c) @ (sd[:, None] * L).T
            eta = eta + np.sum(Z * b[codes], axis=1)
            at, column = at + k * levels, column + k
        return total + self.log_likelihood(eta, *shape)


def correlation(t, k):
    """R from the unbounded partial correlations: rows of the triangle given to stick-breaking."""
    L, z = np.zeros((k, k)), iter(np.tanh(np.asarray(t) / 2.0))
    L[0, 0] = 1.0
    for i in range(1, k):
        for j in range(i):
            L[i, j] = next(z) * np.sqrt(1.0 - np.sum(L[i, :j] ** 2))
        L[i, i] = np.sqrt(1.0 - np.sum(L[i, :i] ** 2))
    return L @ L.T


def log_lkj(t, k, eta):
    """Density of t where that of R is |R|^(eta - 1) / c: the Jacobian of the off-diagonal elements by differences."""
    rows, columns = np.tril_indices(k, -1)
    J = np.empty((rows.size, rows.size))
    for j, e in enumerate(1e-2 * np.eye(rows.size)):
        d = [(correlation(t + s * e, k) - correlation(t - s * e, k))[rows, columns] for s in (1, 2, 3)]
        J[:, j] = (45.0 * d[0] - 9.0 * d[1] + d[2]) / 0.6
    j = np.arange(1, k)  # Lewandowski, Kurowicka and Joe (2009), theorem 5, in the form of Joe (2006)
    constant = np.sum(0.5 * j * np.log(np.pi) + gammaln(eta + 0.5 * (k - 1 - j)) - gammaln(eta + 0.5 * (k - 1)))
    R = correlation(t, k)
    return (eta - 1.0) * np.linalg.slogdet(R)[1] + np.log(abs(np.linalg.det(J))) - constant


def _gaussian(eta, sigma):
    return stats.norm.logpdf(DATA.y, eta, sigma).sum()


def _weighted_poisson(eta):
    return np.sum(DATA.w * stats.poisson.logpmf(DATA["count"], np.exp(eta)))


def _binomial(eta):
    return stats.binom.logpmf(DATA.successes, DATA.trials, 1.0 / (1.0 + np.exp(-eta))).sum()


def _negative_binomial(eta, phi):
    """InverseRootNormal is tested with the distributions; here phi has an exponential prior."""
    return stats.nbinom.logpmf(DATA["count"], phi, phi / (phi + np.exp(eta))).sum()


G, H = DATA.g.to_numpy(), DATA.h.to_numpy()
MODELS = {
    "intercept": Dense("y ~ x + (1 | g)", "gaussian", X1, [(_column("1"), G, False)], _gaussian, 1),
    "slopes-2": Dense(
        "count ~ x + (x | g)",
        "poisson",
        X1,
        [(_column("1", "x"), G, True)],
        _weighted_poisson,
        arguments={"weights": "w"},
    ),
    "slopes-3": Dense("y ~ x + (x + z | g)", "gaussian", X1, [(_column("1", "x", "z"), G, True)], _gaussian, 1),
    "crossed-offset": Dense(
        "cbind(successes, trials - successes) ~ x + offset(o) + (1 | g) + (1 | h)",
        "binomial",
        X1,
        [(_column("1"), G, False), (_column("1"), H, False)],
        _binomial,
    ),
    "double-bar": Dense(
        "y ~ x + (x || g)", "gaussian", X1, [(_column("1"), G, False), (_column("x"), G, False)], _gaussian, 1
    ),
    "no-intercept": Dense(
        "y ~ 0 + x + z + (1 | g)", "gaussian", _column("x", "z"), [(_column("1"), G, False)], _gaussian, 1, False
    ),
    "shape": Dense(
        "count ~ x + (1 | g)",
        "negative_binomial",
        X1,
        [(_column("1"), G, False)],
        _negative_binomial,
        1,
        arguments={"prior": rg.prior_normal(2.0, 1.5, 0.6, 0.8, phi_rate=0.6)},
    ),
}


def posterior_of(name, exponent=None):
    dense = MODELS[name]
    if "prior" in dense.arguments:
        return rg.GLMM(dense.formula, DATA, dense.family, **dense.arguments).posterior.with_exponent(exponent)
    return dense.posterior(exponent)


def somewhere(posterior, seed=3, size=0.5):
    return size * np.random.default_rng(seed).standard_normal(posterior.dimension)


def differences(function, x, step=2e-2):
    """Gradient by central differences of order eight."""
    weights = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
    slopes = np.empty(x.size)
    for j, e in enumerate(step * np.eye(x.size)):
        slopes[j] = sum(w * (function(x + k * e) - function(x - k * e)) for k, w in weights.items()) / step
    return slopes


def assert_gradient(posterior, x, rtol=1e-8):
    gradient, wanted = posterior.value_and_gradient(x)[1], differences(posterior.log_density, x)
    np.testing.assert_allclose(gradient, wanted, rtol=rtol, atol=rtol * np.abs(wanted).max())


# -- value and gradient ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("name", MODELS)
def test_value_is_that_of_the_dense_model(name, exponent):
    dense = MODELS[name]
    posterior = posterior_of(name, np.full(dense.columns, exponent))
    for seed in (1, 2):
        x = somewhere(posterior, seed)
        assert posterior.log_density(x) == pytest.approx(dense.log_density(x, exponent), rel=1e-9)


@pytest.mark.parametrize("exponent", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("name", MODELS)
def test_gradient_equals_differences(name, exponent):
    posterior = posterior_of(name, np.full(MODELS[name].columns, exponent))
    assert_gradient(posterior, somewhere(posterior))


def test_columns_are_centred_each_by_its_own_exponent():
    exponent = np.array([0.3, 0.0, 1.0])
    posterior = posterior_of("slopes-3", exponent)
    x = somewhere(posterior)
    assert posterior.log_density(x) == pytest.approx(MODELS["slopes-3"].log_density(x, exponent), rel=1e-9)
    assert_gradient(posterior, x)


def test_a_partial_correlation_of_zero_has_a_gradient():
    posterior = posterior_of("slopes-3")
    x = somewhere(posterior)
    x[5:8] = 0.0
    assert_gradient(posterior, x)


@pytest.mark.parametrize("name", ["slopes-2", "double-bar"])
def test_centring_the_random_effects_moves_no_probability(name):
    """With v = sd^c u the densities differ by the log Jacobian alone."""
    plain = posterior_of(name)
    c = np.array([0.25, 0.9])
    centred = plain.with_exponent(c)
    x = somewhere(plain)
    f = centred.centring(x[: plain.n_hyper])
    moved = np.concatenate([x[: plain.n_hyper], f * x[plain.n_hyper :]])
    assert centred.log_density(moved) + np.log(f).sum() == pytest.approx(plain.log_density(x), rel=1e-12)
    np.testing.assert_allclose(centred.random_effects(moved[None]), plain.random_effects(x[None]), rtol=1e-12)
    np.testing.assert_allclose(centred.eta(moved[None]), plain.eta(x[None]), rtol=1e-12)


def test_outside_the_likelihoods_domain_the_density_is_zero():
    data = DATA.assign(positive=np.exp(DATA.y))
    posterior = rg.GLMM("positive ~ x + (1 | g)", data, "gamma", link="identity", prior=rg.prior_normal()).posterior
    x = np.zeros(posterior.dimension)
    x[0] = -5.0
    assert posterior.log_density(x) == -np.inf
    assert posterior.log_densities(np.array([x, x])).tolist() == [-np.inf, -np.inf]


# -- equal rows ------------------------------------------------------------------------------------------------------


def repeated():
    """Rows that agree in x and g, four each, some with weight zero, one cell with no weight at all."""
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"g": np.repeat(np.arange(4), 8), "x": np.tile(np.repeat([-1.0, 1.0], 4), 4)})
    data["hit"], data["count"] = rng.integers(0, 2, 32), rng.poisson(2.0, 32)
    data["trials"] = rng.integers(1, 5, 32)
    data["successes"] = rng.binomial(data.trials, 0.4)
    data["w"] = rng.uniform(0.5, 2.0, 32)
    data.loc[[0, 9, *range(16, 20)], "w"] = 0.0
    return data


@pytest.mark.parametrize(
    ("formula", "family", "weights"),
    [
        ("hit ~ x + (1 | g)", "bernoulli", None),
        ("cbind(successes, trials - successes) ~ x + (1 | g)", "binomial", None),
        ("count ~ x + (1 | g)", "poisson", None),
        ("count ~ x + (1 | g)", "poisson", "w"),
    ],
)
def test_equal_rows_are_one_row(formula, family, weights):
    posterior = rg.GLMM(formula, repeated(), family, weights=weights, prior=rg.prior_normal()).posterior
    assert posterior.target.offset.size == 8
    assert "8 distinct rows" in repr(posterior)
    full = Posterior(posterior.original, posterior.priors)
    full.target = posterior.full_target
    x = somewhere(posterior)
    one, all_rows = posterior.value_and_gradient(x), full.value_and_gradient(x)
    assert one[0] == pytest.approx(all_rows[0], rel=1e-13)
    np.testing.assert_allclose(one[1], all_rows[1], rtol=1e-12, atol=1e-12)
    if weights is None:
        expected = posterior.log_lik(x[None]).sum()
        prior = full.value_and_gradient(x)[0] - expected
        assert np.isfinite(prior)


def test_rows_are_kept_where_nothing_repeats_or_nothing_is_sufficient():
    assert posterior_of("slopes-2").target.offset.size == len(DATA)
    gaussian = rg.GLMM("w ~ x + (1 | g)", repeated(), prior=rg.prior_normal()).posterior
    assert gaussian.target.offset.size == 32


# -- fixed scalars ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["b[x]", "sd[g:Int]", "sigma"])
def test_a_fixed_scalar_leaves_the_position_with_its_prior(key):
    from refglmm.bayes.comparison import fixed_posterior

    posterior = posterior_of("intercept")
    fixed = fixed_posterior(posterior, {key: 0.7})
    x = somewhere(fixed)
    at = posterior.hyper_names.index(key)
    t = 0.7 if key == "b[x]" else np.log(0.7)
    prior = Normal(0.0, 1.5) if key == "b[x]" else Exponential(0.6 if key == "sigma" else 0.8)
    lost = prior.log_density(np.array([0.7]))[0] + (0.0 if key == "b[x]" else t)
    whole = posterior.log_density(np.insert(x, at, t))
    assert fixed.dimension == posterior.dimension - 1
    assert key not in fixed.hyper_names
    assert fixed.log_density(x) == pytest.approx(whole - lost, rel=1e-12)
    assert_gradient(fixed, x)


# -- correlations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.7, 1.0, 2.5])
def test_lkj_of_two_columns(eta):
    partial = LKJ(eta).partial(2, 1)
    assert integrate.quad(lambda r: np.exp(partial.log_density(np.array([r]))[0]), -1.0, 1.0)[0] == pytest.approx(1.0)
    z = np.tanh(0.35)
    ours = partial.log_density(np.array([z]))[0] + np.log((1 - z * z) / 2)
    assert ours == pytest.approx(log_lkj(np.array([0.7]), 2, eta), rel=1e-9)


def test_lkj_of_three_columns_integrates_to_one():
    """Product of trapezoids over the unbounded partial correlations, which the target multiplies."""
    t = np.linspace(-24.0, 24.0, 97)
    z, jacobian = np.tanh(t / 2), np.log(0.5) - 2.0 * np.log(np.cosh(t / 2))
    logs = {j: LKJ(LKJ_ETA).partial(3, j).log_density(z) + jacobian for j in (1, 2)}
    totals = {j: np.exp(values).sum() * (t[1] - t[0]) for j, values in logs.items()}
    assert totals[1] == pytest.approx(1.0, abs=1e-9)
    assert totals[2] == pytest.approx(1.0, abs=1e-9)
    at = np.array([54, 44, 52])  # and together they are the density of R
    assert logs[1][at[0]] + logs[1][at[1]] + logs[2][at[2]] == pytest.approx(log_lkj(t[at], 3, LKJ_ETA), rel=1e-7)


def test_the_constant_of_lkj_is_the_integral_over_correlation_matrices():
    def inside(r23, r13, r12):
        return 1.0 + 2.0 * r12 * r13 * r23 - r12**2 - r13**2 - r23**2  # |R|, eta = 2

    def edge(sign):
        return lambda r12, r13: r12 * r13 + sign * np.sqrt((1.0 - r12**2) * (1.0 - r13**2))

    volume = integrate.tplquad(inside, -1.0, 1.0, -1.0, 1.0, edge(-1.0), edge(1.0), epsabs=1e-6, epsrel=1e-6)[0]
    assert np.log(volume) == pytest.approx(LKJ(2.0).log_constant(3), abs=1e-5)


# -- thresholds ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ordered():
    return rg.GLMM("grade ~ x + (1 | g)", DATA, "ordered", prior=rg.prior_normal()).posterior


def test_ordered_thresholds(ordered):
    """First threshold and log gaps; density of three ordered logistic numbers; category probabilities by the law."""
    x = somewhere(ordered)
    names = ordered.hyper_names
    slope, sd = x[names.index("b[x]")], np.exp(x[names.index("sd[g:Int]")])
    first, *gaps = x[[j for j, name in enumerate(names) if name.startswith("cutpoints")]]
    cuts = np.cumsum([first, *np.exp(gaps)])
    eta = slope * (DATA.x - DATA.x.mean()) + sd * x[len(names) :][DATA.g]
    below = stats.logistic.cdf(np.r_[-np.inf, cuts, np.inf][None, :] - eta.to_numpy()[:, None])
    likelihood = np.log(np.diff(below, axis=1)[np.arange(len(DATA)), DATA.grade.cat.codes]).sum()
    prior = stats.norm.logpdf(slope, 0.0, 10.0) + stats.expon.logpdf(sd, scale=5.0) + np.log(sd)
    prior += stats.logistic.logpdf(cuts).sum() + np.log(6.0) + np.sum(gaps)
    effects = stats.norm.logpdf(x[len(names) :]).sum()
    assert ordered.log_density(x) == pytest.approx(likelihood + prior + effects, rel=1e-11)
    assert_gradient(ordered, x)


def test_equal_thresholds_have_no_density(ordered):
    x = somewhere(ordered)
    x[ordered.n_hyper - 1] = -800.0
    assert ordered.log_density(x) == -np.inf


# -- invariance ------------------------------------------------------------------------------------------------------


def test_centring_the_predictors_leaves_the_posterior_of_the_coefficients():
    """Shifting x moves the reported intercept along; log density, slopes and the centred intercept stay."""
    one = rg.GLMM("y ~ x + z + (1 | g)", DATA, prior=rg.prior_normal()).posterior
    two = rg.GLMM("y ~ x + z + (1 | g)", DATA.assign(x=DATA.x + 30.0), prior=rg.prior_normal()).posterior
    x = somewhere(one)
    assert two.log_density(x) == pytest.approx(one.log_density(x), rel=1e-11)
    first, second = (dict(zip(p.names, p.reported(x[None])[0], strict=True)) for p in (one, two))
    assert second["Intercept"] == pytest.approx(first["Intercept"] - 30.0 * first["b[x]"], rel=1e-12)
    assert second["Intercept_c"] == first["Intercept_c"]
    np.testing.assert_allclose(one.beta(x[None]) @ one.original.X.T, two.beta(x[None]) @ two.original.X.T, rtol=1e-11)


def test_scaling_a_predictor_scales_its_coefficient():
    """Flat priors: the density of a slope in other units differs by the log of the unit."""
    one = rg.GLMM("y ~ x + (1 | g)", DATA).posterior
    two = rg.GLMM("y ~ x + (1 | g)", DATA.assign(x=10.0 * DATA.x)).posterior
    x = somewhere(one)
    y = x.copy()
    y[1] /= 10.0
    assert two.log_density(y) == pytest.approx(one.log_density(x), rel=1e-12)
