"""Simulated responses: moments in closed form, forms of the response, seeds, and what cannot be drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm import families as fam
from refglmm.errors import (
    ArgumentError,
    DataError,
    NotAvailableError,
    SimulationError,
    SimulationWarning,
    WeightsError,
)
from refglmm.fit.simulate import fit_source, simulated_responses

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
DRAWS = 4000


@pytest.fixture(scope="module")
def sleep():
    return rg.lmer("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"))


@pytest.fixture(scope="module")
def cbpp():
    return rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial")


def small(n_groups=8, n=10, seed=4):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(n_groups), n)
    x = rng.uniform(-1, 1, g.size)
    eta = 1.0 + 0.4 * x + 0.3 * rng.normal(size=n_groups)[g]
    w = np.tile([1.0, 2.0, 5.0, 8.0], g.size // 4)
    mu = np.exp(eta)
    return pd.DataFrame(
        {
            "x": x,
            "g": [f"g{j}" for j in g],
            "h": [f"h{j}" for j in rng.integers(0, 5, g.size)],
            "w": w,
            "normal": eta + rng.normal(size=g.size) / np.sqrt(w),
            "gamma": rng.gamma(w / 0.3, 0.3 * mu / w),
            "wald": rng.wald(mu, w / 0.1),
            "lognormal": mu + 0.5 * rng.normal(size=g.size) / np.sqrt(w),
            "count": rng.negative_binomial(3.0, 3.0 / (3.0 + mu)),
            "share": rng.binomial(w.astype(int), 1 / (1 + np.exp(-eta))) / w,
        }
    )


def moments_agree(y, mean, variance):
    """Means and variances of columns of draws, each column and all together, within Monte-Carlo error."""
    n = len(y)
    z = (y.mean(axis=0) - mean) / np.sqrt(variance / n)
    assert np.abs(z).max() < 4.5
    assert abs(z.mean()) < 4.5 / np.sqrt(z.size)
    ratio = (y - mean) ** 2 / variance
    error = ratio.std(axis=0) / np.sqrt(n)
    assert np.abs((ratio.mean(axis=0) - 1) / error).max() < 5.5
    assert abs(ratio.mean() - 1) < 4.5 * ratio.std() / np.sqrt(ratio.size)


# --- moments --------------------------------------------------------------------------------------------------

#: response, family, link -> variance of y given mu, phi and the weight
CASES = {
    "gaussian identity": ("normal", "gaussian", None, lambda mu, phi, w: phi / w),
    "gaussian log": ("lognormal", "gaussian", "log", lambda mu, phi, w: phi / w),
    "gamma": ("gamma", "gamma", "log", lambda mu, phi, w: phi * mu**2 / w),
    "inverse gaussian": ("wald", "inverse_gaussian", "log", lambda mu, phi, w: phi * mu**3 / w),
    "binomial": ("share", "binomial", None, lambda mu, phi, w: mu * (1 - mu) / w),
    "poisson": ("count", "poisson", None, lambda mu, phi, w: mu),
    "negative binomial": ("count", "negative_binomial", None, lambda mu, phi, w: mu + mu**2 / phi),
}


COUNTS = ("poisson", "negative binomial")  # weights have no part in these, nor has the mode


@pytest.mark.parametrize(
    ("case", "mode"), [(c, m) for c in CASES for m in ("exact", "lme4") if m == "exact" or c not in COUNTS]
)
def test_given_the_modes_means_and_variances_follow_the_weights(case, mode):
    response, family, link, variance = CASES[case]
    weights, data = None if case in COUNTS else "w", small()
    if case == "gaussian identity":
        fit = rg.lmer(f"{response} ~ x + (1 | g)", data, weights=weights, mode=mode)
    else:
        fit = rg.glmer(f"{response} ~ x + (1 | g)", data, family, link=link, weights=weights, mode=mode)
    source, rng = fit_source(fit, use_u=True), np.random.default_rng(1)
    y = np.array([source.response(rng) for _ in range(DRAWS)])
    phi = float(fit.phi.iloc[0]) if case == "negative binomial" else fit.sigma**2
    mu = fit.fitted.to_numpy()
    moments_agree(y, mu, variance(mu, phi, fit.weights().to_numpy()))


def test_random_effects_are_drawn_with_their_covariance_and_the_residuals_with_their_weights():
    """Var y = Z Sigma Z' + sigma^2 / w, entry by entry, for a linear mixed model."""
    data = rg.datasets.load("sleepstudy").head(80).assign(w=lambda d: 1.0 + d["Days"])
    fit = rg.lmer("Reaction ~ Days + (Days | Subject)", data, weights="w")
    rng = np.random.default_rng(2)
    y = np.array([simulated_responses(fit, rng) for _ in range(DRAWS)])
    Z = np.column_stack([np.ones(80), data["Days"]])
    group = np.asarray(data["Subject"])
    V = Z @ fit.varcorr["Subject"].cov @ Z.T * (group[:, None] == group) + np.diag(fit.sigma**2 / data.w)
    mean = fit.predict(re_form=False).to_numpy()
    moments_agree(y, mean, np.diag(V))
    S = (y - mean).T @ (y - mean) / DRAWS
    error = np.sqrt((V**2 + np.outer(np.diag(V), np.diag(V))) / DRAWS)
    assert np.abs((S - V) / error).max() < 5.0  # 3240 entries


def test_the_mean_of_a_poisson_response_is_that_of_the_lognormal_mixture():
    fit = rg.glmer("count ~ x + (1 | g)", small(), "poisson")
    rng = np.random.default_rng(3)
    y = np.array([simulated_responses(fit, rng) for _ in range(DRAWS)])
    v = float(fit.varcorr["g"].cov[0, 0])
    m = np.exp(fit.predict(re_form=False).to_numpy() + 0.5 * v)
    moments_agree(y, m, m + m**2 * np.expm1(v))


def test_terms_that_are_named_keep_their_modes():
    fit = rg.glmer("count ~ x + (1 | g) + (1 | h)", small(), "poisson")
    data = fit.frame.data
    means = fit.simulate(3, seed=1, re_form="~ (1 | g)", cond_sim=False)
    left = np.log(means).sub(fit.predict(re_form="~ (1 | g)"), axis=0)
    assert left.groupby(data.h).std().max().max() < 1e-12
    assert left.groupby(data.h).first().std(axis=1).min() > 0.01
    kept = fit.simulate(2, seed=1, re_form=None, cond_sim=False)
    np.testing.assert_allclose(kept["sim_1"], fit.fitted, rtol=1e-13)
    np.testing.assert_array_equal(kept["sim_1"], kept["sim_2"])
    one, other = (fit.simulate(2, seed=9, **how) for how in ({"use_u": True}, {"re_form": None}))
    pd.testing.assert_frame_equal(one, other)


def test_other_parameters(sleep):
    y = sleep.simulate(200, seed=1, newparams={"theta": [0, 0, 0], "sigma": 0.5, "beta": [1.0, 2.0]})
    residual = y.sub(1.0 + 2.0 * sleep.frame.data["Days"], axis=0).to_numpy()
    assert residual.std() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(2 * residual.size))


def test_a_bernoulli_response_stays_zero_or_one_whatever_its_weights():
    data = small().assign(y=lambda d: (d["count"] > 2).astype(int))
    fit = rg.glmer("y ~ x + (1 | g)", data, "bernoulli", weights="w")
    with pytest.warns(SimulationWarning, match="weights repeat rows of the bernoulli likelihood"):
        y = fit.simulate(5, seed=1)
    assert set(np.unique(y)) == {0.0, 1.0}
    fit.refit(y["sim_1"])


def test_weights_of_counts_are_said_to_have_no_part_once():
    fit = rg.glmer("count ~ x + (1 | g)", small(), "poisson", weights="w")
    with pytest.warns(SimulationWarning, match="they are left out of the simulation") as caught:
        fit.simulate(10, seed=1)
    assert len(caught) == 1


# --- form of the response -------------------------------------------------------------------------------------


def test_counts_come_as_two_columns_and_go_back_into_a_refit(cbpp):
    sims = cbpp.simulate(2, seed=1)
    data = rg.datasets.load("cbpp")
    assert sims.columns.tolist() == [
        ("sim_1", "incidence"),
        ("sim_1", "size - incidence"),
        ("sim_2", "incidence"),
        ("sim_2", "size - incidence"),
    ]
    np.testing.assert_array_equal(sims["sim_1"].sum(axis=1), data["size"])
    assert list(sims.index) == list(data.index)
    y = simulated_responses(cbpp, np.random.default_rng(1))
    np.testing.assert_array_equal(sims["sim_1"]["incidence"], np.round(y * data["size"]))
    np.testing.assert_array_equal(cbpp.refit(sims["sim_1"]).beta, cbpp.refit(y).beta)


def test_factors_truth_values_and_proportions_come_back_as_they_were():
    data = small().assign(yes=lambda d: d["count"] > 2, level=lambda d: np.where(d["count"] > 2, "b", "a"))
    data["level"] = pd.Categorical(data.level, categories=["b", "a"])
    truth = rg.glmer("yes ~ x + (1 | g)", data, "binomial")
    factor = rg.glmer("level ~ x + (1 | g)", data, "binomial")
    assert truth.simulate(seed=3)["sim_1"].dtype == bool
    drawn = factor.simulate(seed=3)["sim_1"]
    assert list(drawn.cat.categories) == ["b", "a"]
    y = simulated_responses(factor, np.random.default_rng(3))
    np.testing.assert_array_equal(drawn == "a", y == 1.0)
    np.testing.assert_allclose(factor.refit(drawn).beta, factor.refit(y).beta, rtol=1e-12)
    weighted = rg.glmer("level ~ x + (1 | g)", data, "binomial", weights="w")
    with pytest.warns(SimulationWarning):
        assert set(weighted.simulate(seed=1)["sim_1"]) == {"a", "b"}
    share = rg.glmer("share ~ x + (1 | g)", data, "binomial", weights="w")
    successes = share.simulate(seed=1)["sim_1"] * data.w
    np.testing.assert_allclose(successes, np.round(successes), atol=1e-9)


def test_excluded_rows_come_back_as_missing():
    data = rg.datasets.load("cbpp")
    data["incidence"] = data["incidence"].astype(float)
    data.loc[3, "incidence"] = np.nan
    fit = rg.glmer(CBPP, data, "binomial", na_action="exclude")
    sims = fit.simulate(seed=1)
    assert list(sims.index) == list(data.index)
    assert sims.loc[3].isna().all()
    assert sims.attrs["seed"] == 1
    assert fit.refit(sims).nobs == 55
    yes = small().assign(yes=lambda d: (d["count"] > 2).astype(object))
    yes.loc[5, "yes"] = None
    truth = rg.glmer("yes ~ x + (1 | g)", yes, "binomial", na_action="exclude")
    assert truth.simulate(seed=1)["sim_1"].isna().sum() == 1


# --- seeds ----------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_draws_and_is_noted(sleep):
    first, again = sleep.simulate(3, seed=7), sleep.simulate(3, seed=7)
    pd.testing.assert_frame_equal(first, again)
    assert first.attrs["seed"] == 7
    assert not first.equals(sleep.simulate(3, seed=8))
    unseeded = sleep.simulate(2)
    pd.testing.assert_frame_equal(sleep.simulate(2, seed=unseeded.attrs["seed"]), unseeded)
    rng = np.random.default_rng(5)
    one, two = sleep.simulate(1, seed=rng), sleep.simulate(1, seed=rng)
    assert not one.equals(two)
    rng.bit_generator.state = two.attrs["seed"]
    pd.testing.assert_frame_equal(sleep.simulate(1, seed=rng), two)
    np.random.seed(3)  # noqa: NPY002 (global state must have no part)
    pd.testing.assert_frame_equal(sleep.simulate(3, seed=7), first)


@pytest.mark.parametrize("seed", [-1, 1.5, "one", True])
def test_seeds_that_are_none(sleep, seed):
    with pytest.raises(ArgumentError, match="seed must be a whole number >= 0"):
        sleep.simulate(seed=seed)


@pytest.mark.parametrize("nsim", [0, -1, 2.0, "3", True, None])
def test_numbers_of_simulations_that_are_none(sleep, nsim):
    with pytest.raises(ArgumentError, match="nsim must be a whole number >= 1"):
        sleep.simulate(nsim)


# --- new data -------------------------------------------------------------------------------------------------


def test_new_data_of_the_same_rows_draws_the_same(sleep, cbpp):
    for fit, data in ((sleep, rg.datasets.load("sleepstudy")), (cbpp, rg.datasets.load("cbpp"))):
        for how in ({}, {"use_u": True}):
            same = fit.simulate(2, seed=1, newdata=data, **how)
            pd.testing.assert_frame_equal(fit.simulate(2, seed=1, **how), same, rtol=1e-12)


def test_new_levels_are_drawn(sleep):
    """Two rows of a new subject: variance z'Sigma z + sigma^2 and the covariance between them."""
    new = {"Days": [0.0, 9.0, 9.0], "Subject": ["new", "new", "308"]}
    y = sleep.simulate(DRAWS, seed=4, newdata=new, re_form=None, allow_new_levels=True).to_numpy()
    Z = np.array([[1.0, 0.0], [1.0, 9.0]])
    V = Z @ sleep.varcorr["Subject"].cov @ Z.T + sleep.sigma**2 * np.eye(2)
    mean = sleep.predict(new, allow_new_levels=True).to_numpy()
    moments_agree(y.T, mean, np.array([V[0, 0], V[1, 1], sleep.sigma**2]))
    found = np.mean((y[0] - mean[0]) * (y[1] - mean[1]))
    assert found == pytest.approx(V[0, 1], abs=5 * np.sqrt((V[0, 1] ** 2 + V[0, 0] * V[1, 1]) / DRAWS))
    with pytest.raises(DataError, match="new levels of grouping factor 'Subject': 'new'"):
        sleep.simulate(newdata=new, use_u=True)
    assert sleep.simulate(newdata=new, seed=1).shape == (3, 1)


def test_rows_without_a_group_or_a_predictor(sleep):
    new = pd.DataFrame({"Days": [0.0, 1.0, np.nan], "Subject": [None, None, "308"]})
    with pytest.raises(DataError, match="grouping factor 'Subject' is missing at row 0"):
        sleep.simulate(newdata=new)
    y = sleep.simulate(500, seed=1, newdata=new, allow_new_levels=True)
    assert y.loc[2].isna().all()
    assert abs(np.corrcoef(y.loc[0], y.loc[1])[0, 1]) < 5 / np.sqrt(500)  # each a level of its own


def test_counts_are_drawn_with_the_trials_of_the_row_whatever_its_prior_weight(cbpp):
    """A weight of 3 makes three like rows of one, not three times its trials."""
    data = rg.datasets.load("cbpp").assign(w=np.tile([1.0, 2.0, 3.0, 0.0], 14))
    fit = rg.glmer(CBPP, data, "binomial", weights="w")
    with pytest.warns(SimulationWarning, match="prior weights repeat rows of the binomial likelihood") as caught:
        drawn = fit.simulate(3, seed=1)
    assert len(caught) == 1
    for name in ("sim_1", "sim_2", "sim_3"):
        counts = drawn[name]
        np.testing.assert_array_equal(counts, np.round(counts))
        np.testing.assert_array_equal(counts.sum(axis=1), data["size"])
    y = simulated_responses(fit, np.random.default_rng(1))
    np.testing.assert_array_equal(fit.refit(y).frame.weights, fit.frame.weights)
    np.testing.assert_array_equal(y * data["size"], drawn["sim_1"]["incidence"])
    assert fit.refit(drawn["sim_1"]).loglik == pytest.approx(fit.refit(y).loglik, abs=1e-9)
    many = np.array([simulated_responses(fit, np.random.default_rng(s), use_u=True) for s in range(800)])
    wanted = fit.fitted * (1 - fit.fitted) / data["size"]  # the variance of a proportion of the row's trials
    np.testing.assert_allclose(np.mean(many.var(axis=0) / wanted), 1.0, atol=0.03)


def test_trials_and_weights_of_new_data(cbpp):
    data = rg.datasets.load("cbpp").head(5)
    given = cbpp.simulate(seed=1, newdata=data[["period", "herd"]], weights=[100] * 5)
    np.testing.assert_array_equal(given["sim_1"].sum(axis=1), 100)
    with pytest.raises(DataError, match="pass weights= for them"):
        cbpp.simulate(newdata=data[["period", "herd"]])
    with pytest.raises(WeightsError, match=r"row 0 .* has 2.5 trials"):
        cbpp.simulate(newdata=data, weights=[2.5] * 5)
    with pytest.raises(DataError, match="weights must be 5 finite numbers >= 0"):
        cbpp.simulate(newdata=data, weights=[1, 2])
    by_array = rg.lmer("normal ~ x + (1 | g)", small(), weights=small().w)
    with pytest.raises(DataError, match="fitted with an array of weights; pass weights="):
        by_array.simulate(newdata=small())
    with pytest.raises(ArgumentError, match="offset= and weights= belong to newdata"):
        by_array.simulate(weights=np.ones(80))


# --- what cannot be drawn -------------------------------------------------------------------------------------


def test_broken_numbers_of_trials():
    data = small().assign(w=lambda d: d.w + 0.5)
    with pytest.warns(rg.errors.NonIntegerWarning):
        fit = rg.glmer("share ~ x + (1 | g)", data, "binomial", weights="w")
    with pytest.raises(WeightsError, match=r"cannot draw binomial responses: row 0 .* has 1.5 trials"):
        fit.simulate()


def test_columns_of_one_term_stay_together(sleep):
    with pytest.raises(ArgumentError, match=r"some columns of \(\(Intercept\) \+ Days \| Subject\) and not the others"):
        sleep.simulate(re_form="~ (1 | Subject)")
    with pytest.raises(ArgumentError, match="use_u=True keeps all random effects"):
        sleep.simulate(use_u=True, re_form="~ (Days | Subject)")


def test_means_outside_the_family():
    fit = rg.glmer("gamma ~ x + (1 | g)", small(), "gamma", weights="w")
    with pytest.raises(SimulationError, match="leave the domain of the inverse link") as caught:
        fit.simulate(seed=1, newparams={"theta": [5.0]})
    assert caught.value.facts["value"] <= 0.0
    counts = rg.glmer("count ~ x + (1 | g)", small(), "poisson")
    with pytest.raises(SimulationError, match="poisson family cannot draw at means"):
        counts.simulate(seed=1, newparams={"beta": [60.0, 0.0]})


def test_a_family_of_ones_own_draws_if_it_can():
    def point(y, eta, a, base, phi):
        mu = np.exp(eta)
        return base + a * (y * eta - mu), a * (y - mu), a * mu, a * mu, a * mu, a * mu

    settings = {"variance": np.array, "unit_deviance": lambda y, mu: (y - mu) ** 2, "log_concave": True, "jit": False}
    mute = fam.UserFamily("counts", point, "log", **settings)
    with pytest.raises(NotAvailableError, match="the counts family was given no simulate function"):
        rg.glmer("count ~ x + (1 | g)", small(), mute).simulate()
    able = fam.UserFamily("counts", point, "log", simulate=lambda mu, a, phi, rng: rng.poisson(mu), **settings)
    fit = rg.glmer("count ~ x + (1 | g)", small(), able)
    built_in = rg.glmer("count ~ x + (1 | g)", small(), "poisson")
    same = {"newparams": {"beta": [1.0, 0.2], "theta": [0.4]}, "seed": 5}
    pd.testing.assert_frame_equal(fit.simulate(2, **same), built_in.simulate(2, **same))


# --- without a fit --------------------------------------------------------------------------------------------


def test_a_formula_with_the_estimates_of_a_fit_draws_what_the_fit_draws(sleep, cbpp):
    data = rg.datasets.load("sleepstudy")
    params = {"beta": sleep.fixef, "theta": sleep.theta, "sigma": sleep.sigma}
    for formula in ("~ Days + (Days | Subject)", "anything ~ Days + (Days | Subject)", str(sleep.formula)):
        y = rg.simulate(formula, data, newparams=params, nsim=2, seed=1)
        np.testing.assert_allclose(y, sleep.simulate(2, seed=1), rtol=1e-13)
    params = {"beta": cbpp.beta, "par": cbpp.par.to_dict()}
    known = rg.simulate(CBPP, rg.datasets.load("cbpp"), "binomial", newparams=params, seed=2)
    pd.testing.assert_frame_equal(known, cbpp.simulate(seed=2))
    blind = rg.datasets.load("cbpp").drop(columns="incidence")
    with pytest.raises(ArgumentError, match="The data has no 'incidence'; pass weights="):
        rg.simulate(CBPP, blind, "binomial", newparams=params)
    drawn = rg.simulate(CBPP, blind, "binomial", newparams=params, seed=2, weights="size")
    pd.testing.assert_frame_equal(drawn, known)


def test_what_was_drawn_without_a_fit_gives_its_parameters_back():
    rng = np.random.default_rng(12)
    data = pd.DataFrame({"x": rng.normal(size=6000), "g": np.repeat(np.arange(300), 20).astype(str)})
    params = {"beta": {"(Intercept)": 0.5, "x": -0.4}, "theta": [0.8, -0.2, 0.4], "phi": 2.0}
    data["y"] = rg.simulate("y ~ x + (x | g)", data, "negative_binomial", newparams=params, seed=1)["sim_1"]
    fit = rg.glmer_nb("y ~ x + (x | g)", data)
    np.testing.assert_allclose(fit.beta, [0.5, -0.4], atol=0.2)
    np.testing.assert_allclose(fit.theta, [0.8, -0.2, 0.4], atol=0.15)
    assert fit.phi["size"] == pytest.approx(2.0, rel=0.15)


def test_means_only_and_models_without_random_effects():
    data = small()
    mu = rg.simulate("~ x", data, "poisson", newparams={"beta": [0.1, 0.2]}, cond_sim=False)
    np.testing.assert_allclose(mu["sim_1"], np.exp(0.1 + 0.2 * data.x), rtol=1e-14)
    offset = rg.simulate("~ x + offset(w)", data, newparams={"beta": [0, 0], "sigma": 1}, cond_sim=False)
    np.testing.assert_array_equal(offset["sim_1"], data.w)


@pytest.mark.parametrize(
    ("family", "params", "message"),
    [
        ("gaussian", {"beta": [0, 0], "theta": [1]}, "the gaussian family needs sigma"),
        ("negative_binomial", {"beta": [0, 0], "theta": [1]}, r"needs phi \(size\)"),
        ("poisson", {"theta": [1]}, r"fixed effects are missing: give beta for \(Intercept\), x"),
        ("poisson", {"beta": [0, 0]}, r"covariance parameters are missing: give par \(g.\(Intercept\)\) or theta"),
        ("poisson", {"beta": [0, 0], "theta": [1], "sigma": 1}, "the poisson family has no sigma"),
        ("poisson", {"beta": [0], "theta": [1]}, "beta must have 2 values"),
        ("poisson", {"betas": [0]}, "unknown parameter 'betas'"),
        ("poisson", None, "parameters are a mapping"),
    ],
)
def test_parameters_that_are_missing_or_too_many(family, params, message):
    with pytest.raises(ArgumentError, match=message):
        rg.simulate("~ x + (1 | g)", small(), family, newparams=params)


def test_nothing_changes(cbpp):
    data = rg.datasets.load("cbpp")
    before, modes = data.copy(), cbpp.conditional.b.copy()
    y = cbpp.simulate(3, seed=1, newdata=data)
    y.iloc[:, :] = -1
    cbpp.simulate(use_u=True, newparams={"theta": [2.0]}, seed=1)
    pd.testing.assert_frame_equal(data, before)
    np.testing.assert_array_equal(cbpp.conditional.b, modes)
    assert cbpp.simulate(3, seed=1, newdata=data).min().min() >= 0.0


@pytest.mark.parametrize("sigma", [-1.0, 0.0, [1.0, 2.0]])
def test_sigma_is_one_positive_number(sleep, sigma):
    with pytest.raises(ArgumentError, match=r"sigma must be 1 positive number\(s\)"):
        sleep.simulate(1, seed=1, newparams={"sigma": sigma})


@pytest.mark.parametrize("family", ["poisson", "hurdle.poisson"])
def test_a_formula_with_a_zero_part_draws_what_its_fit_draws(family):
    rng = np.random.default_rng(4)
    data = {"x": rng.normal(size=400), "g": np.arange(400) % 20}
    beta = {"(Intercept)": 1.2, "x": 0.3, "zi~(Intercept)": -0.5, "zi~x": 1.0}
    params = {"beta": beta, "theta": [0.4]}
    y = rg.simulate("y ~ x + (1 | g)", data, family, zi="~ x", newparams=params, seed=1)["sim_1"]
    share = 1.0 / (1.0 + np.exp(-(-0.5 + data["x"])))
    expected = share.mean() if family.startswith("hurdle") else np.mean(share + (1.0 - share) * np.exp(-3.3))
    assert np.mean(y == 0) == pytest.approx(expected, abs=0.08)
    fit = rg.glmer("y ~ x + (1 | g)", data | {"y": y.to_numpy()}, family, zi="~ x")
    again = fit.simulate(newparams=params, seed=1)["sim_1"]
    np.testing.assert_array_equal(again, y)
    part = {k: v for k, v in beta.items() if k != "zi~x"}
    with pytest.raises(ArgumentError, match="missing: zi~x"):
        rg.simulate("y ~ x + (1 | g)", data, family, zi="~ x", newparams=params | {"beta": part})
