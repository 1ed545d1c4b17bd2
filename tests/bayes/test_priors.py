"""What is said about priors, and the prior that every parameter of a model gets."""

from __future__ import annotations

import copy
import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.integrate import dblquad

import refglmm as rg
from refglmm.bayes.distributions import (
    LKJ,
    Beta,
    Cauchy,
    Exponential,
    Gamma,
    Gumbel,
    HalfNormal,
    Logistic,
    Normal,
    Uniform,
)
from refglmm.bayes.posterior import Posterior
from refglmm.bayes.prior_kinds import Prior
from refglmm.bayes.priors import prior_summary, resolve, sample_prior
from refglmm.bayes.scalars import ABOVE, IDENTITY, INTERVAL, log_prior
from refglmm.errors import ArgumentError, NotAvailableError, PriorWarning
from refglmm.families.registry import FAMILIES


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(4)
    n, g = 60, np.repeat(np.arange(12), 5)
    x, z = rng.normal(3.0, 2.0, n), rng.normal(size=n)
    eta = 0.1 * x + rng.normal(0, 0.3, 12)[g]
    grade = pd.Categorical(rng.choice(["low", "mid", "high"], n), ["low", "mid", "high"], ordered=True)
    return pd.DataFrame(
        {
            "g": g.astype(str),
            "h": rng.choice(list("pqr"), n),
            "x": x,
            "z": z,
            "rating": np.clip(np.round(3 + eta + rng.normal(size=n)), 1, 5),
            "positive": np.exp(eta + rng.normal(0, 0.3, n)),
            "count": rng.poisson(np.exp(eta)) + 0,
            "some": rng.poisson(np.exp(eta)) + 1,
            "hit": rng.integers(0, 2, n),
            "share": rng.uniform(0.05, 0.95, n),
            "trials": 8,
            "of8": rng.integers(0, 9, n),
            "grade": grade,
            "log_time": rng.normal(2.0, 0.3, n),
        }
    )


def prior_of(priors, name):
    return next(scalar.prior for scalar in priors.scalars if scalar.name == name)


def texts(priors):
    return {scalar.name: scalar.prior.text for scalar in priors.scalars}


# -- what is said ----------------------------------------------------------------------------------------------


def test_reprs_are_the_calls():
    assert repr(rg.prior_flat()) == "prior_flat()"
    assert repr(rg.prior_rhs(y_range=(1, 5))) == "prior_rhs(expected_vars=3, slab_scale=2, slab_df=4, y_range=(1, 5))"
    prior = rg.prior_normal(b_sd=None, nu_rate=0.1, coefficients={"Intercept": Normal(0, 2)})
    assert repr(prior) == (
        "prior_normal(Intercept_sd=10, b_sd=None, sigma_rate=0.2, tau_rate=0.2, nu_rate=0.1, "
        "coefficients={'Intercept': Normal(0, 2)})"
    )


def test_aliases_of_the_normal_prior():
    assert rg.prior_normal(mu_sd=3).settings["Intercept_sd"] == 3
    assert rg.prior_normal(sd_rate=2).settings["tau_rate"] == 2
    assert rg.prior_normal(mu_sd=None).settings["Intercept_sd"] is None
    with pytest.raises(ArgumentError, match="mu_sd is another name of Intercept_sd: give one of them"):
        rg.prior_normal(Intercept_sd=4, mu_sd=5)


def test_priors_are_frozen_values():
    prior = rg.prior_weak((1, 5), b={"x": Normal(0, 1)})
    assert pickle.loads(pickle.dumps(prior)) == prior == copy.deepcopy(prior)
    with pytest.raises(TypeError):
        prior.settings["sd_ratio"] = 3
    with pytest.raises(AttributeError):
        prior.kind = "flat"
    given = {"b[x]": Normal(0, 1)}
    prior = rg.prior_normal(coefficients=given)
    given["b[z]"] = Normal(0, 2)
    assert set(prior.coefficients) == {"b[x]"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rg.prior_normal(b_ds=2), "prior_normal has no 'b_ds', did you mean 'b_sd'"),
        (lambda: rg.prior_weak(lkj=2), "prior_weak has no 'lkj', did you mean 'lkj_eta'"),
        (lambda: rg.prior_jzs(scale=2), r"prior_jzs has no 'scale'\. There are r, Intercept_sd, sigma_rate"),
        (
            lambda: rg.prior_normal(b_sd=0),
            "b_sd of prior_normal must be a positive number, or None for no prior, not 0",
        ),
        (lambda: rg.prior_weak(sd_ratio=None), "sd_ratio of prior_weak must be a positive number, not None"),
        (lambda: rg.prior_rhs(slab_df=np.inf), "slab_df of prior_rhs must be a positive number, not inf"),
        (lambda: rg.prior_ssp(ssp_ratio=1.0), "ssp_ratio of prior_ssp must lie between 0 and 1"),
        (lambda: rg.prior_jzs(r=True), "r of prior_jzs must be a positive number, not True"),
        (lambda: rg.prior_weak(y_range=(5, 1)), r"y_range must be the lowest and the highest value .* not \(5, 1\)"),
        (lambda: rg.prior_weak(y_range=3), "y_range must be the lowest and the highest value .* not 3"),
        (lambda: rg.prior_weak(y_range=(0, np.inf)), "y_range must be the lowest and the highest value"),
        (lambda: rg.prior_normal(b=3), "b must be a distribution or a dict from columns to distributions, not 3"),
        (lambda: rg.prior_normal(coefficients=[1]), "coefficients must be a dict from parameters to distributions"),
        (lambda: rg.prior_normal(coefficients={"x": 1}), "the prior of 'x' must be a distribution such as"),
        (lambda: rg.prior_normal(coefficients={"sigma": LKJ(2)}), "'sigma' cannot have the prior LKJ"),
        (lambda: rg.prior_normal(coefficients={"corr": Normal(0, 1)}), "'corr' cannot have the prior Normal"),
        (
            lambda: rg.prior_normal(coefficients={"b[x]": Normal(0, 1)}, b={"x": Normal(0, 2)}),
            r"'b\[x\]' has a prior in both coefficients= and b=",
        ),
    ],
)
def test_wrong_priors(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


# -- normal ----------------------------------------------------------------------------------------------------


def test_normal_names_blocks_scales_and_bounds(data):
    priors = resolve(rg.prior_normal(), rg.GLMM("rating ~ x + h + (1 + x | g) + (1 | h)", data))
    assert texts(priors) == {
        "Intercept_c": "normal(0, 10)",
        "b[x]": "normal(0, 10)",
        "b[hq]": "normal(0, 10)",
        "b[hr]": "normal(0, 10)",
        "sd[g:Int]": "exponential(0.2)",
        "sd[g:x]": "exponential(0.2)",
        "sd[h:Int]": "exponential(0.2)",
        "partial[g:Int,x]": "partial_correlation(1)",
        "sigma": "exponential(0.2)",
    }
    assert list(priors.counts) == [4, 3, 1, 1, 0]
    assert [s.scale for s in priors.scalars] == [IDENTITY] * 4 + [ABOVE] * 3 + [INTERVAL, ABOVE]
    assert priors.centre
    assert list(priors.shape_power) == [2.0]
    assert priors.is_proper
    assert priors.improper == ()


def test_none_drops_a_prior(data):
    prior = rg.prior_normal(b_sd=None, sigma_rate=None, lkj_eta=None, coefficients={"sd[g:x]": None})
    priors = resolve(prior, rg.GLMM("rating ~ x + (1 + x | g)", data))
    assert priors.improper == ("b[x]", "sd[g:x]", "partial[g:Int,x]", "sigma")
    assert not priors.is_proper


def test_priors_by_name(data):
    prior = rg.prior_normal(
        coefficients={
            "Intercept": Normal(1, 2),
            "sd": HalfNormal(3),
            "sd[g:Int]": HalfNormal(1),
            "corr[g]": LKJ(2),
            "sigma": Uniform(0, 10),
        },
        b={"x": Normal(0, 1), "z": Exponential(2)},
    )
    priors = resolve(prior, rg.GLMM("rating ~ x + z + (1 + x | g)", data))
    assert texts(priors) == {
        "Intercept_c": "normal(1, 2)",
        "b[x]": "normal(0, 1)",
        "b[z]": "exponential(2)",
        "sd[g:Int]": "half-normal(1)",
        "sd[g:x]": "half-normal(3)",
        "partial[g:Int,x]": "partial_correlation(2)",
        "sigma": "uniform(0, 10)",
    }
    scalars = {s.name: s for s in priors.scalars}
    assert (scalars["b[z]"].scale, scalars["b[z]"].low) == (ABOVE, 0.0)
    assert (scalars["sigma"].scale, scalars["sigma"].low, scalars["sigma"].high) == (INTERVAL, 0.0, 10.0)


def test_a_prior_on_the_line_is_truncated_where_the_parameter_is_positive(data):
    priors = resolve(rg.prior_normal(coefficients={"sd[Int]": Normal(0, 2)}), rg.GLMM("rating ~ x + (1 | g)", data))
    assert prior_of(priors, "sd[g:Int]").hyper == pytest.approx(HalfNormal(2).hyper, abs=1e-14)


@pytest.mark.parametrize(
    ("coefficients", "message"),
    [
        ({"b[w]": Normal(0, 1)}, r"no parameter 'b\[w\]' to give a prior, did you mean 'b\[z\]' or 'b\[x\]'\? There"),
        ({"Sigma": Exponential(1)}, "no parameter 'Sigma' to give a prior, did you mean 'sigma'"),
        ({"nu": Gamma(2, 1)}, r"no parameter 'nu' to give a prior.* There are Intercept, b\[x\], b\[z\], sd\[g:Int\]"),
        ({"corr[g]": LKJ(2)}, r"no parameter 'corr\[g\]'"),
        ({"sigma": Normal(0, 1).truncated(-2, -1)}, r"the prior of sigma: normal\(0, 1\) on \(-2, -1\) has no"),
        ({"b[x]": Normal(0, 1).truncated(-np.inf, 0)}, r"the prior of b\[x\], .* has an upper bound only"),
    ],
)
def test_priors_that_no_parameter_can_have(coefficients, message, data):
    model = rg.GLMM("rating ~ x + z + (1 | g)", data)
    with pytest.raises(ArgumentError, match=message):
        resolve(rg.prior_normal(coefficients=coefficients), model)


def test_a_misplaced_intercept_prior_is_told(data):
    model = rg.GLMM("y ~ x + (1 | g)", data.assign(y=500 + data.rating))
    with pytest.warns(PriorWarning, match=r"the mean response is 503.* three SDs away .* normal\(0, 10\)"):
        resolve(rg.prior_normal(), model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resolve(rg.prior_normal(Intercept_sd=300), model)
        resolve(rg.prior_normal(coefficients={"Intercept": Normal(0, 5)}), model)
        resolve(rg.prior_weak((501, 505)), model)


# -- flat ------------------------------------------------------------------------------------------------------


def test_flat_is_improper_in_everything(data):
    model = rg.GLMM("rating ~ x + (1 + x | g)", data)
    for prior in (None, rg.prior_flat()):
        priors = resolve(prior, model)
        assert priors.improper == priors.names
        assert set(texts(priors).values()) == {"flat"}
    message = r"nothing to draw from an improper prior: Intercept_c, b\[x\], sd\[g:Int\], .*, sigma have none"
    with pytest.raises(NotAvailableError, match=message):
        sample_prior(resolve(None, model), np.random.default_rng(1), 3)


def test_a_range_turns_flat_into_weak_and_says_so(data):
    model = rg.GLMM("rating ~ x + (1 | g)", data)
    with pytest.warns(PriorWarning, match=r"y_range=\(1.0, 5.0\) has no part in a flat prior: prior_weak"):
        priors = resolve(rg.prior_flat(b={"x": Normal(0, 7)}), model, y_range=(1, 5))
    assert priors.prior.kind == "weak"
    assert texts(priors)["b[x]"] == "normal(0, 7)"
    assert priors.is_proper
    with pytest.raises(ArgumentError, match=r"y_range must be the lowest and the highest value .* not 3"):
        resolve(None, model, y_range=3)


# -- weak ------------------------------------------------------------------------------------------------------


def test_weak_on_a_rating_scale(data):
    """half = 2, middle = 3, s = 1; the range inside the prior or beside it."""
    model = rg.GLMM("rating ~ x + z + (1 | g)", data)
    for priors in (resolve(rg.prior_weak((1, 5)), model), resolve(rg.prior_weak(), model, y_range=[1, 5])):
        assert prior_of(priors, "Intercept_c") == Normal(3, 2)
        assert prior_of(priors, "b[x]").sd == pytest.approx(1 / data.x.std(ddof=1), rel=1e-12)
        assert prior_of(priors, "b[z]").sd == pytest.approx(1 / data.z.std(ddof=1), rel=1e-12)
        assert prior_of(priors, "sd[g:Int]").rate == 1.0
        assert prior_of(priors, "sigma").rate == 1.0
    other = resolve(rg.prior_weak((1, 5), sd_ratio=0.25, max_beta=2, Intercept_sd=9, sd_rate=4), model)
    assert prior_of(other, "Intercept_c") == Normal(3, 9)
    assert prior_of(other, "b[x]").sd == pytest.approx(2 * 0.5 / data.x.std(ddof=1), rel=1e-12)
    assert prior_of(other, "sd[g:Int]").rate == 4.0
    assert prior_of(other, "sigma").rate == 2.0


def test_the_range_must_be_there_and_one(data):
    model = rg.GLMM("rating ~ x + (1 | g)", data)
    for make in (rg.prior_weak, rg.prior_rhs, rg.prior_ssp):
        with pytest.raises(ArgumentError, match=rf"{make.__name__} needs the theoretical range of the response"):
            resolve(make(), model)
    with pytest.raises(ArgumentError, match=r"two ranges of the response: y_range=\(0.0, 5.0\) and prior_weak"):
        resolve(rg.prior_weak((1, 5)), model, y_range=(0, 5))
    with pytest.warns(PriorWarning, match=r"the range that the response can take, but \d+ of 60 rows lie outside"):
        resolve(rg.prior_weak((3, 5)), model)
    # nothing is left that needs it
    priors = resolve(
        rg.prior_rhs(Intercept_sd=None, sigma_rate=1, sd_rate=1, coefficients={"Intercept": Normal(0, 5)}), model
    )
    assert priors.is_proper


@pytest.mark.parametrize(
    ("link", "s"), [("logit", np.pi / np.sqrt(3)), ("probit", 1.0), ("cloglog", np.pi / np.sqrt(6))]
)
def test_weak_for_binary_responses_has_the_latent_sd(link, s, data):
    priors = resolve(rg.prior_weak(), rg.GLMM("hit ~ x + (1 | g)", data, "bernoulli", link=link))
    assert prior_of(priors, "Intercept_c").sd == pytest.approx(s, rel=1e-12)
    assert prior_of(priors, "b[x]").sd == pytest.approx(s / data.x.std(ddof=1), rel=1e-12)
    assert prior_of(priors, "sd[g:Int]").rate == pytest.approx(1 / s, rel=1e-12)


def test_weak_for_counts_is_about_the_log_mean_less_the_offset(data):
    model = rg.GLMM("count ~ x + (1 | g)", data, "poisson")
    location = np.log(data["count"].mean() + 0.5)
    assert prior_of(resolve(rg.prior_weak(), model), "Intercept_c").mean == pytest.approx(location, rel=1e-12)
    assert prior_of(resolve(rg.prior_weak(), model), "Intercept_c").sd == 0.5
    assert prior_of(resolve(rg.prior_weak(), model), "sd[g:Int]").rate == 1.0
    model = rg.GLMM("count ~ x + offset(log_time) + (1 | g)", data, "poisson")
    expected = location - data.log_time.mean()
    assert prior_of(resolve(rg.prior_weak(), model), "Intercept_c").mean == pytest.approx(expected, rel=1e-12)


def test_weak_for_lognormal_responses_takes_the_log_of_the_range(data):
    model = rg.GLMM("positive ~ x + (1 | g)", data, "lognormal_log")
    priors = resolve(rg.prior_weak((0.01, 100)), model)
    half = np.log(100)
    assert prior_of(priors, "Intercept_c").mean == pytest.approx(0.0, abs=1e-12)
    assert prior_of(priors, "Intercept_c").sd == pytest.approx(half, rel=1e-12)
    assert prior_of(priors, "sigma").rate == pytest.approx(2 / half, rel=1e-12)
    of_y = resolve(rg.prior_weak((0.01, 100)), rg.GLMM("positive ~ x + (1 | g)", data, "lognormal"))
    assert prior_of(of_y, "Intercept_c").sd == pytest.approx(half, rel=1e-12)
    assert prior_of(of_y, "sigma").rate == pytest.approx(2 / (0.5 * 99.99), rel=1e-12)
    with pytest.raises(ArgumentError, match=r"y_range=\(0.0, 100.0\) must lie inside the domain of the link log"):
        resolve(rg.prior_weak((0, 100)), model)


def test_other_links_take_the_range_through_the_link(data):
    model = rg.GLMM("positive ~ x + (1 | g)", data, "gamma", link="inverse")
    priors = resolve(rg.prior_weak((0.1, 10)), model)
    assert prior_of(priors, "Intercept_c").mean == pytest.approx((0.1 + 10) / 2, rel=1e-12)
    assert prior_of(priors, "sd[g:Int]").rate == pytest.approx(1 / (0.5 * 0.5 * 9.9), rel=1e-12)


def test_a_residual_sd_under_another_link_has_the_unit_of_the_response(data):
    model = rg.GLMM("positive ~ x + (1 | g)", data, "gaussian", link="log")
    assert prior_of(resolve(rg.prior_weak((0.1, 10.1)), model), "sigma").rate == pytest.approx(1 / 2.5, rel=1e-12)
    with pytest.raises(ArgumentError, match="needs the theoretical range"):
        resolve(rg.prior_weak(), model)


# -- jzs -------------------------------------------------------------------------------------------------------


def test_jzs_is_improper_in_intercept_and_sigma_only(data):
    model = rg.GLMM("rating ~ x + z + (1 | g)", data)
    priors = resolve(rg.prior_jzs(), model)
    assert priors.improper == ("Intercept_c", "sigma")
    assert texts(priors)["b[x]"] == "cauchy_2(0, (0.707 sigma)^2 (X'X/n)^-1)"
    assert texts(priors)["sigma"] == "1/x"
    assert prior_of(priors, "sd[g:Int]").rate == pytest.approx(1 / data.rating.std(ddof=1), rel=1e-12)
    assert prior_of(resolve(rg.prior_jzs(y_range=(1, 5)), model), "sd[g:Int]").rate == 1.0


@pytest.mark.parametrize(
    ("formula", "family", "message"),
    [
        ("count ~ x + (1 | g)", "poisson", "prior_jzs measures slopes in units of the residual SD"),
        ("positive ~ x + (1 | g)", "lognormal", "prior_jzs measures slopes in units of the residual SD"),
        ("rating ~ 0 + x + (1 | g)", "gaussian", "prior_jzs is for models with an intercept"),
    ],
)
def test_jzs_is_not_for_all_models(formula, family, message, data):
    with pytest.raises(NotAvailableError, match=message):
        resolve(rg.prior_jzs(), rg.GLMM(formula, data, family))


# -- thresholds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("link", "law"),
    [("logit", Logistic(0, 1)), ("probit", Normal(0, 1)), ("cloglog", Gumbel(0, 1)), ("cauchit", Cauchy(0, 1))],
)
def test_ordered_thresholds_make_the_category_probabilities_uniform(link, law, data):
    model = rg.GLMM("grade ~ x + (1 | g)", data, "ordered", link=link)
    priors = resolve(rg.prior_normal(), model)
    first, second = (s for s in priors.scalars if s.block == "shape")
    assert (first.name, second.name) == ("cutpoints[low|mid]", "cutpoints[mid|high]")
    assert (first.scale, second.scale, second.low) == (IDENTITY, ABOVE, 0.0)
    assert first.prior.text == law.text
    assert priors.ordered
    assert priors.centre
    thresholds = sample_prior(priors, np.random.default_rng(2), 3000)[:, [-2, -1]]
    assert np.all(np.diff(thresholds) > 0)
    below = np.array([law._below(c) for c in thresholds.ravel()]).reshape(-1, 2)
    for share in (below[:, 0], below[:, 1] - below[:, 0], 1 - below[:, 1]):  # margins of Dirichlet(1, 1, 1)
        assert stats.kstest(share, stats.beta(1, 2).cdf).pvalue > 1e-3


def test_ordered_thresholds_integrate_to_one(data):
    """Over c1 < c2, both with their share of log 2!."""
    priors = resolve(rg.prior_normal(cutpoint_sd=1.5), rg.GLMM("grade ~ x + (1 | g)", data, "ordered"))
    hypers = [np.array(s.prior.hyper) for s in priors.scalars if s.block == "shape"]
    code = priors.scalars[-1].prior.code

    def density(gap, first):
        return math.exp(log_prior(code, first, hypers[0])[0] + log_prior(code, first + gap, hypers[1])[0])

    assert dblquad(density, -12, 12, 0, 24, epsabs=1e-9)[0] == pytest.approx(1.0, abs=1e-7)


def test_thresholds_of_other_ordinal_families_are_free(data):
    priors = resolve(
        rg.prior_normal(coefficients={"cutpoints[low|mid]": Normal(-1, 1)}),
        rg.GLMM("grade ~ x + (1 | g)", data, "sequential"),
    )
    assert not priors.ordered
    assert texts(priors)["cutpoints[low|mid]"] == "normal(-1, 1)"
    assert texts(priors)["cutpoints[mid|high]"] == "logistic(0, 1)"
    assert [s.scale for s in priors.scalars if s.block == "shape"] == [IDENTITY, IDENTITY]


def test_ordered_thresholds_share_one_prior(data):
    model = rg.GLMM("grade ~ x + (1 | g)", data, "ordered")
    priors = resolve(rg.prior_normal(coefficients={"cutpoints": Normal(0, 4)}), model)
    assert texts(priors)["cutpoints[low|mid]"] == "normal(0, 4)"
    with pytest.raises(ArgumentError, match=r"'cutpoints\[low\|mid\]' cannot have a prior of its own"):
        resolve(rg.prior_normal(coefficients={"cutpoints[low|mid]": Normal(0, 4)}), model)
    with pytest.raises(ArgumentError, match=r"the prior of thresholds must live on the whole line, not beta\(2, 2\)"):
        resolve(rg.prior_normal(coefficients={"cutpoints": Beta(2, 2)}), model)


# -- all families ------------------------------------------------------------------------------------------------

RESPONSE = {
    **dict.fromkeys(("gaussian", "student_t", "censored_normal"), "rating"),
    **dict.fromkeys(("gamma", "inverse_gaussian", "lognormal", "lognormal_log", "tweedie"), "positive"),
    **dict.fromkeys(("ordered", "sequential", "adjacent"), "grade"),
    **dict.fromkeys(("beta", "ordbeta", "unit_lindley"), "share"),
    **dict.fromkeys(("binomial", "betabinomial"), "cbind(of8, trials - of8)"),
    "bernoulli": "hit",
}
SHAPES = {
    "gaussian": {"sigma": 2.0},
    "student_t": {"sigma": 1.0, "nu": 1.0},
    "censored_normal": {"sigma": 1.0},
    "lognormal": {"sigma": 1.0},
    "lognormal_log": {"sigma": 1.0},
    "gamma": {"shape": -1.0},
    "inverse_gaussian": {"shape": -1.0},
    "tweedie": {"phi": 1.0, "p": 1.0},
    "ordbeta": {"phi": 1.0, "lower": 1.0, "width": 1.0},
    **{name: {"phi": 1.0} for name in ("negative_binomial", "nbinom1", "beta", "betabinomial", "genpois", "compois")},
    **{f"truncated_{name}": {"phi": 1.0} for name in ("nbinom1", "nbinom2", "genpois", "compois")},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["normal", "weak"])
def test_every_family_is_proper_by_default(family, kind, data):
    response = RESPONSE.get(family, "some")
    prior = rg.prior_normal() if kind == "normal" else rg.prior_weak((0.01, 20))
    model = rg.GLMM(f"{response} ~ x + (1 | g)", data, family)
    priors = resolve(prior, model)
    assert priors.is_proper, priors.improper
    draws = sample_prior(priors, np.random.default_rng(3), 200)
    for j, scalar in enumerate(priors.scalars):
        assert np.all((draws[:, j] >= scalar.prior.support[0]) & (draws[:, j] <= scalar.prior.support[1])), scalar.name
    if not model.family.is_ordinal:
        shapes = {s.name: p for s, p in zip(_block(priors, "shape"), priors.shape_power, strict=True)}
        assert shapes == SHAPES.get(family, {})


def _block(priors, name):
    return [scalar for scalar in priors.scalars if scalar.block == name]


@pytest.mark.parametrize(
    ("family", "natural", "kernel"),
    [("gaussian", (0.7,), (0.49,)), ("gamma", (4.0,), (0.25,)), ("student_t", (0.7, 5.0), (0.7, 5.0))],
)
def test_the_kernels_shapes_are_powers_of_the_scalars(family, natural, kernel, data):
    model = rg.GLMM("positive ~ x + (1 | g)", data, family)
    P = Posterior(model.problem, resolve(rg.prior_normal(), model))
    values = np.array([0.3, 0.1, 0.5, *natural])
    np.testing.assert_allclose(P.natural(P.hyper(values)[None])[3][0], kernel, rtol=1e-12)


def test_degrees_of_freedom_live_above_one(data):
    priors = resolve(rg.prior_normal(), rg.GLMM("rating ~ x + (1 | g)", data, "student_t"))
    nu = prior_of(priors, "nu")
    assert nu.text == "gamma(2, 0.1) on (1, inf)"
    assert nu.hyper[3] == pytest.approx(2 * np.log(0.1) - stats.gamma(2, scale=10).logsf(1), rel=1e-12)
    priors = resolve(rg.prior_normal(nu_rate=0.05), rg.GLMM("rating ~ x + (1 | g)", data, "student_t"))
    assert prior_of(priors, "nu").text == "exponential(0.05) on (1, inf)"


def test_rates_of_shapes_and_their_absence(data):
    counts, positive = (
        rg.GLMM(f"{y} ~ x + (1 | g)", data, f) for y, f in (("count", "nbinom2"), ("positive", "gamma"))
    )
    assert texts(resolve(rg.prior_normal(phi_rate=2), counts))["phi"] == "exponential(2)"
    assert resolve(rg.prior_normal(phi_rate=None), counts).improper == ("phi",)
    assert texts(resolve(rg.prior_normal(shape_rate=3), positive))["shape"] == "exponential(3)"
    assert texts(resolve(rg.prior_normal(), positive))["shape"] == "inverse_root_normal(1)"


def test_shapes_of_a_users_family_by_their_scale(data):
    from refglmm.bayes.shape_priors import shapes_of

    class Family:
        name, shape_names = "gaussian", ("a", "b", "c")  # the name of one of ours does not make it ours
        shape_scales = rg.families.registry.FAMILIES["tweedie"]().shape_scales
        shape_scales = (shape_scales[0], rg.families.shape_scales.ShapeScale(), shape_scales[1])

    found = shapes_of(Family)
    assert [shape.prior.text for shape in found] == ["half-student_t(3, 2.5)", "normal(0, 10)", "uniform(1, 2)"]
    assert [(shape.name, shape.power, shape.low) for shape in found] == [("a", 1, 0), ("b", 1, -np.inf), ("c", 1, 1)]


# -- random effects ------------------------------------------------------------------------------------------------


def test_three_columns_have_lkj_partials_by_rows(data):
    priors = resolve(rg.prior_normal(lkj_eta=2), rg.GLMM("rating ~ x + (1 + x + z | g)", data))
    partials = {s.name: s.prior.a for s in _block(priors, "corr")}
    assert partials == {"partial[g:Int,x]": 2.5, "partial[g:Int,z]": 2.5, "partial[g:x,z]": 2.0}


def test_terms_that_share_a_column_are_told_apart(data):
    priors = resolve(rg.prior_normal(), rg.GLMM("rating ~ x + (1 | g) + (1 + x | g)", data))
    assert [s.name for s in _block(priors, "sd")] == ["sd[g:Int]", "sd[g.1:Int]", "sd[g.1:x]"]
    priors = resolve(rg.prior_normal(), rg.GLMM("rating ~ x + (1 + x || g)", data))
    assert [s.name for s in _block(priors, "sd")] == ["sd[g:Int]", "sd[g:x]"]
    assert not _block(priors, "corr")


def test_models_without_priors(data):
    for formula, message in (
        ("rating ~ x + cs(1 + x | g)", "no prior for the covariance structure 'cs' of the term 'g'"),
        ("rating ~ x + homdiag(1 + x | g)", "no prior for the covariance structure 'homdiag'"),
    ):
        with pytest.raises(NotAvailableError, match=message):
            resolve(rg.prior_normal(), rg.GLMM(formula, data))
    with pytest.raises(NotAvailableError, match="one linear predictor"):
        resolve(rg.prior_normal(), rg.GLMM("count ~ x + (1 | g)", data, "poisson", zi="~1"))
    with pytest.raises(ArgumentError, match=r"prior must be made by prior_flat, prior_normal, .* not 'weak'"):
        resolve("weak", rg.GLMM("rating ~ x + (1 | g)", data))


def test_without_an_intercept_nothing_is_centred(data):
    priors = resolve(rg.prior_normal(), rg.GLMM("rating ~ 0 + x + (1 | g)", data))
    assert priors.names == ("b[x]", "sd[g:Int]", "sigma")
    assert not priors.centre


# -- tables and draws --------------------------------------------------------------------------------------------


def test_summary_is_a_table_of_exact_distributions(data):
    model = rg.GLMM("rating ~ x + (1 | g)", data)
    table = prior_summary(resolve(rg.prior_weak((1, 5), b={"x": Normal(0, 0.25)}), model))
    assert list(table.columns) == ["prior", "support", "proper", "source"]
    assert list(table.index) == ["Intercept_c", "b[x]", "sd[g:Int]", "sigma"]
    assert list(table.loc["b[x]"]) == ["normal(0, 0.25)", "(-inf, inf)", True, "given for b[x]"]
    assert list(table.loc["sigma"]) == ["exponential(1)", "(0, inf)", True, "mean unit of y = 1"]
    assert "normal(3, 2)" in table._repr_html_()
    ordinal = prior_summary(resolve(None, rg.GLMM("grade ~ x + (1 | g)", data, "ordered")))
    assert list(ordinal.loc["cutpoints[low|mid]"]) == ["flat", "increasing", False, "prior_flat"]


def test_draws_are_reproducible_and_follow_the_priors(data):
    priors = resolve(rg.prior_normal(lkj_eta=2), rg.GLMM("rating ~ x + (1 + x | g)", data))
    draws = sample_prior(priors, np.random.default_rng(7), 3000)
    np.testing.assert_array_equal(draws, sample_prior(priors, np.random.default_rng(7), 3000))
    laws = [stats.norm(0, 10)] * 2 + [stats.expon(scale=5)] * 2 + [stats.beta(2, 2, -1, 2), stats.expon(scale=5)]
    for j, law in enumerate(laws):
        assert stats.kstest(draws[:, j], law.cdf).pvalue > 1e-3
    with pytest.raises(ArgumentError, match="size must be a positive whole number, not 0"):
        sample_prior(priors, np.random.default_rng(7), 0)


def test_prior_holds_plain_values():
    assert Prior("normal", {"b_sd": 2.0}).settings == {"b_sd": 2.0}


def test_weak_posteriors_do_not_see_where_a_predictor_starts_nor_its_unit(data):
    """The density of the same curve: only the slope's own unit moves, with its Jacobian."""
    moved = data.assign(x=(data.x + 50.0) * 4.0)
    one, other = (rg.GLMM("rating ~ x + (1 | g)", frame) for frame in (data, moved))
    P, Q = (Posterior(model.problem, resolve(rg.prior_weak((1, 5)), model)) for model in (one, other))
    at = np.random.default_rng(5).normal(0, 0.4, P.dimension)
    there = at.copy()
    there[1] /= 4.0
    assert Q.log_density(there) - np.log(4.0) == pytest.approx(P.log_density(at), rel=1e-12)
