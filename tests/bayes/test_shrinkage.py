"""Shrinkage and joint priors of slopes: a literal log posterior, gradients by differences, integrals, draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.integrate import dblquad, quad

import refglmm as rg
from refglmm.bayes.posterior import Posterior
from refglmm.bayes.priors import resolve, sample_prior
from refglmm.bayes.shrinkage import DIRECT, JZS, RHS, SSP, cauchy_log_constant

PRIORS = {
    "rhs": rg.prior_rhs(expected_vars=1, slab_scale=1.5, slab_df=5, y_range=(-4, 6)),
    "ssp": rg.prior_ssp(y_range=(-4, 6)),
    "jzs": rg.prior_jzs(r=0.6, sigma_rate=0.5, Intercept_sd=5, y_range=(-4, 6)),
}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(31)
    n, g = 40, np.repeat(np.arange(8), 5)
    x, z = rng.normal(2.0, 1.5, n), rng.normal(size=n)
    eta = 0.5 + 0.4 * x - 0.3 * z + rng.normal(0, 0.5, 8)[g]
    return pd.DataFrame(
        {
            "g": g.astype(str),
            "x": x,
            "z": z,
            "y": np.clip(eta + rng.normal(0, 0.8, n), -4, 6),
            "count": rng.poisson(np.exp(0.3 * eta)),
            "hit": (eta + rng.logistic(size=n) > 1).astype(int),
            "grade": np.clip(np.round(eta + rng.logistic(size=n)), 0, 2).astype(int) + 1,
        }
    )


def posterior(formula, data, prior, family="gaussian"):
    model = rg.GLMM(formula, data, family)
    return Posterior(model.problem, resolve(prior, model))


def differences(f, x, h=1e-3):
    out = np.empty_like(x)
    for j in range(x.size):
        e = np.zeros_like(x)
        e[j] = h
        near, middle, far = (f(x + k * e) - f(x - k * e) for k in (1, 2, 3))
        out[j] = (45 * near - 9 * middle + far) / (60 * h)
    return out


FAMILIES = [("y", "gaussian"), ("count", "poisson"), ("grade", "ordered")]
PAIRS = [(kind, *family) for kind in PRIORS for family in (FAMILIES if kind != "jzs" else FAMILIES[:1])]


@pytest.mark.parametrize(("kind", "response", "family"), PAIRS)
def test_gradients_of_the_log_posterior_by_differences(kind, response, family, data):
    frame = data.assign(grade=pd.Categorical(data.grade, ordered=True))
    P = posterior(f"{response} ~ x + z + (1 + x | g)", frame, PRIORS[kind], family)
    rng = np.random.default_rng(3)
    for scale in (0.3, 1.0):
        at = rng.normal(0, scale, P.dimension)
        value, gradient = P.value_and_gradient(at)
        assert np.isfinite(value)
        np.testing.assert_allclose(gradient, differences(P.log_density, at), rtol=1e-6, atol=1e-6 * abs(value))


# -- a literal log posterior of y ~ x + z + (1 | g), sharing nothing with the kernels ------------------------------


def literal(kind, data, at):
    """Hyper: intercept, two slopes, log sd, log sigma, then others on their own scales; last the effects."""
    X = data[["x", "z"]].to_numpy()
    sd_x, Xc, n = X.std(axis=0, ddof=1), X - X.mean(axis=0), len(X)
    c, raw, log_sd, log_sigma, rest, u = at[0], at[1:3], at[3], at[4], at[5:-8], at[-8:]
    sd, sigma, s = np.exp(log_sd), np.exp(log_sigma), 2.5
    log_p = np.sum(stats.norm.logpdf(u)) + stats.expon(scale=s).logpdf(sd) + log_sd
    if kind == "rhs":
        lam, tau, c2 = np.exp(rest[:2]), np.exp(rest[2]), np.exp(rest[3])
        v2 = (tau * sigma * lam) ** 2
        b = raw * np.sqrt(c2 * v2 / (c2 + v2)) / sd_x
        log_p += np.sum(stats.norm.logpdf(raw)) + np.sum(stats.halfcauchy.logpdf(lam)) + rest.sum()
        log_p += stats.halfcauchy(scale=1 / np.sqrt(n)).logpdf(tau)
        log_p += stats.invgamma(2.5, scale=2.5 * 1.5**2).logpdf(c2)
    elif kind == "ssp":
        p = 1 / (1 + np.exp(-rest[:2]))
        r, t = 0.001 + 0.998 * p, np.exp(rest[2:])
        b = raw * r * t
        logit_law = stats.norm(np.log(0.25 / 0.75), 3)
        mass = np.diff(logit_law.cdf(np.log([0.001 / 0.999, 0.999 / 0.001])))[0]
        log_p += np.sum(stats.laplace(0, 0.5).logpdf(raw)) + np.sum(stats.expon(scale=s / sd_x).logpdf(t) + rest[2:])
        log_p += np.sum(logit_law.logpdf(np.log(r / (1 - r))) - np.log(r * (1 - r)) - np.log(mass))
        log_p += np.sum(np.log(0.998 * p * (1 - p)))
    else:
        b = raw
        shape = (0.6 * sigma) ** 2 * np.linalg.inv(Xc.T @ Xc / n)
        log_p += stats.multivariate_t([0, 0], shape, df=1).logpdf(b)
    mean_sigma = 2.0 if kind == "jzs" else s
    log_p += stats.norm(1, 5).logpdf(c) + stats.expon(scale=mean_sigma).logpdf(sigma) + log_sigma
    eta = c + Xc @ b + sd * u[data.g.astype(int)]
    return log_p + np.sum(stats.norm(eta, sigma).logpdf(data.y))


@pytest.mark.parametrize("kind", ["rhs", "ssp", "jzs"])
def test_log_posterior_is_the_literal_one(kind, data):
    P = posterior("y ~ x + z + (1 | g)", data, PRIORS[kind])
    rng = np.random.default_rng(9)
    for _ in range(4):
        at = rng.normal(0, 0.7, P.dimension)
        assert P.log_density(at) == pytest.approx(literal(kind, data, at), rel=1e-11)


@pytest.mark.parametrize("K", [1, 2])
def test_the_joint_cauchy_integrates_to_one_and_is_scipys(K):
    M = np.array([[2.0, 0.6], [0.6, 0.5]])[:K, :K]
    constant, r = cauchy_log_constant(M, 0.7), 0.7

    def density(*b):
        b = np.array(b)
        return float(np.exp(constant - 0.5 * (1 + K) * np.log1p(b @ M @ b / r**2)))

    law = stats.multivariate_t(np.zeros(K), r**2 * np.linalg.inv(M), df=1)
    for b in ([0.0, 0.0], [0.3, -2.0], [40.0, 7.0]):
        assert density(*b[:K]) == pytest.approx(float(law.pdf(b[:K])), rel=1e-11)
    if K == 1:
        total = quad(density, -np.inf, np.inf)[0]
    else:  # b = tan(a): the half-planes are finite
        angles = (-np.pi / 2, np.pi / 2)
        total = dblquad(
            lambda p, q: density(np.tan(p), np.tan(q)) / (np.cos(p) * np.cos(q)) ** 2, *angles, *angles, epsabs=1e-7
        )[0]
    assert total == pytest.approx(1.0, abs=1e-6)


def test_one_slope_under_jzs_is_cauchy_in_units_of_its_sd(data):
    """sd(x)/sigma b ~ Cauchy(0, r), the SD with divisor n."""
    model = rg.GLMM("y ~ x + (1 | g)", data)
    draws = sample_prior(resolve(PRIORS["jzs"], model), np.random.default_rng(6), 4000)
    names = resolve(PRIORS["jzs"], model).names
    unit = draws[:, names.index("b[x]")] * data.x.std(ddof=0) / draws[:, names.index("sigma")]
    assert stats.kstest(unit, stats.cauchy(0, 0.6).cdf).pvalue > 0.01


def test_slopes_drawn_from_the_priors_follow_direct_simulation(data):
    """The kernels' slopes at prior draws against numpy's own generators."""
    model, rng = rg.GLMM("y ~ x + z + (1 | g)", data), np.random.default_rng(12)
    m, sd, n = 4000, data.x.std(ddof=1), len(data)
    direct = {}
    v = np.abs(rng.standard_cauchy(m)) / np.sqrt(n) * rng.exponential(2.5, m) * np.abs(rng.standard_cauchy(m))
    c2 = 1 / rng.gamma(2.5, 1 / (2.5 * 1.5**2), m)
    direct["rhs"] = rng.normal(size=m) * v * np.sqrt(c2 / (c2 + v**2)) / sd
    r = 1 / (1 + np.exp(-rng.normal(np.log(1 / 3), 3, 2 * m)))
    r = r[(r > 0.001) & (r < 0.999)][:m]
    direct["ssp"] = rng.laplace(0, 0.5, m) * r * rng.exponential(2.5 / sd, m)
    M = np.cov(data[["x", "z"]].T, bias=True)
    sigma = rng.exponential(2.0, m)
    cauchy = rng.multivariate_normal([0, 0], np.linalg.inv(M), m) / np.sqrt(rng.chisquare(1, m))[:, None]
    direct["jzs"] = 0.6 * sigma * cauchy[:, 0]
    for kind, expected in direct.items():
        priors = resolve(PRIORS[kind], model)
        P = Posterior(model.problem, priors)
        draws = sample_prior(priors, rng, m)
        B = P.natural(np.array([P.hyper(row) for row in draws]))[1]
        assert stats.ks_2samp(B[:, 1], expected).pvalue > 0.01, kind


# -- what resolve makes of them --------------------------------------------------------------------------------


def test_kinds_scales_and_names(data):
    model = rg.GLMM("y ~ x + z + (1 | g)", data)
    kinds = {"rhs": RHS, "ssp": SSP, "jzs": JZS}
    others = {"rhs": ("lambda[x]", "lambda[z]", "tau", "c2"), "ssp": ("r[x]", "r[z]", "t[x]", "t[z]"), "jzs": ()}
    first = {"rhs": "z[x]", "ssp": "w[x]", "jzs": "b[x]"}
    for kind, prior in PRIORS.items():
        priors = resolve(prior, model)
        assert priors.slope_kind == kinds[kind]
        assert list(priors.slope_columns) == [1, 2]
        assert priors.names[:2] == ("Intercept_c", first[kind])
        assert priors.names[5:] == others[kind]
        assert list(priors.counts) == [3, 1, 0, 1, len(others[kind])]
        assert priors.is_proper
    np.testing.assert_allclose(resolve(PRIORS["rhs"], model).slope_scale, data[["x", "z"]].std(ddof=1))
    assert resolve(rg.prior_normal(), model).slope_kind == DIRECT


@pytest.mark.parametrize(
    ("formula", "expected_vars", "ratio"),
    [("y ~ x + (1 | g)", 3, 1.0), ("y ~ x + z + (1 | g)", 3, 1.0), ("y ~ x + z + x:z + (1 | g)", 1.5, 1.0)],
)
def test_the_global_scale_is_guarded(formula, expected_vars, ratio, data):
    """p0/(K - p0): K = 1 counts as one; K = 2 takes p0 = 1; K = 3 and p0 = 1.5 is one again."""
    model = rg.GLMM(formula, data)
    priors = resolve(rg.prior_rhs(expected_vars=expected_vars, y_range=(-4, 6)), model)
    tau = next(s.prior for s in priors.scalars if s.name == "tau")
    assert tau.scale == pytest.approx(ratio / np.sqrt(len(data)), rel=1e-12)


def test_the_global_scale_has_the_latent_sd_where_there_is_no_sigma(data):
    priors = resolve(rg.prior_rhs(), rg.GLMM("hit ~ x + z + (1 | g)", data, "bernoulli"))
    tau = next(s.prior for s in priors.scalars if s.name == "tau")
    assert tau.scale == pytest.approx(np.pi / np.sqrt(3) / np.sqrt(len(data)), rel=1e-12)
    assert list(priors.slope_hyper) == [-1.0]


def test_a_known_sigma_is_the_unit_of_the_slopes(data):
    model = rg.GLMM("y ~ x + z + (1 | g)", data, rg.families.StudentT(scale=2.0, df=4.0))
    jzs, rhs = resolve(rg.prior_jzs(r=0.6), model), resolve(PRIORS["rhs"], model)
    M = np.cov(data[["x", "z"]].T, bias=True)
    np.testing.assert_allclose(jzs.slope_hyper, [-1.0, 1.2, cauchy_log_constant(M, 1.2)], rtol=1e-12)
    assert next(s.prior for s in rhs.scalars if s.name == "tau").scale == pytest.approx(2 / np.sqrt(40), rel=1e-12)
    assert jzs.scalars[1].prior.text == "cauchy_2(0, 1.2^2 (X'X/n)^-1)"


def test_a_slope_with_its_own_prior_stays_outside(data):
    model = rg.GLMM("y ~ x + z + (1 | g)", data)
    priors = resolve(rg.prior_rhs(y_range=(-4, 6), b={"x": rg.priors.Normal(0, 1)}), model)
    assert priors.names == ("Intercept_c", "b[x]", "z[z]", "sd[g:Int]", "sigma", "lambda[z]", "tau", "c2")
    assert list(priors.slope_columns) == [2]
    P = Posterior(model.problem, priors)
    at = np.random.default_rng(1).normal(0, 0.5, P.dimension)
    np.testing.assert_allclose(P.value_and_gradient(at)[1], differences(P.log_density, at), rtol=1e-6, atol=1e-5)


def test_without_slopes_nothing_is_shrunk(data):
    model = rg.GLMM("y ~ 1 + (1 | g)", data)
    for prior in PRIORS.values():
        priors = resolve(prior, model)
        assert priors.slope_kind == DIRECT
        assert priors.names == ("Intercept_c", "sd[g:Int]", "sigma")
