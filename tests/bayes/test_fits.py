"""Fits by sampling: what is read off the draws, problems, seeds and threads, parametrisations, marginal sampling."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import refglmm as rg
from refglmm.bayes.draws import Draws
from refglmm.bayes.fits import MCMCFit, parametrised
from refglmm.errors import ArgumentError, ParetoWarning, SamplingWarning

FORMULA = "count ~ x + (x || g)"


def make_data(seed=4, groups=12, rows=8):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"g": np.repeat([f"g{j:02d}" for j in range(groups)], rows)})
    code = np.repeat(np.arange(groups), rows)
    data["x"] = rng.normal(0.5, 1.0, len(data))
    b = rng.normal(0.0, [0.7, 0.3], (groups, 2))
    data["count"] = rng.poisson(np.exp(0.8 + 0.3 * data.x + b[code, 0] + b[code, 1] * data.x))
    return data


DATA = make_data()


@pytest.fixture(scope="module")
def model():
    return rg.GLMM(FORMULA, DATA, "poisson", prior=rg.prior_normal(tau_rate=1.0))


@pytest.fixture(scope="module")
def fit(model):
    return model.sample(chains=2, sampling=600, warmup=400, seed=3, progress=False)


# -- what is read off ------------------------------------------------------------------------------------------------


def test_shape_and_names(model, fit):
    d = model.posterior.dimension
    assert fit.draws.positions.shape == (2, 600, d)
    assert fit.draws.values.shape == (2, 600, 5)
    assert fit.names == model.posterior.names
    assert fit.log_lik.shape == (2, 600, len(DATA))
    assert fit.random_effects.shape == (2, 600, 24)
    assert fit.effect_names[:2] == [("g", "g00", "(Intercept)"), ("g", "g01", "(Intercept)")]
    np.testing.assert_allclose(
        fit.posterior.log_densities(fit.draws.positions[0]), fit.draws.stats["lp"][0], rtol=1e-10
    )


def test_summary(fit):
    table = fit.summary()
    assert table.index[0] == "lp"
    values = fit.draws.values.reshape(-1, 5)
    np.testing.assert_allclose(table["mean"].iloc[1:], values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(table["sd"].iloc[1:], values.std(axis=0, ddof=1), rtol=1e-3)
    assert {"rhat", "ess_bulk", "ess_tail"} <= set(table.columns)
    assert list(fit.summary("sd").index) == ["sd[g:Int]", "sd[g:x]"]
    own = fit.summary()
    own["mean"] = 0.0
    assert fit.summary()["mean"].abs().max() > 0.0


def test_point_estimates(fit):
    values, names = fit.draws.values, list(fit.names)
    flat = values.reshape(-1, 5)
    np.testing.assert_allclose(fit.estimate(), flat.mean(axis=0))
    np.testing.assert_allclose(fit.EAP("sd"), flat[:, [names.index("sd[g:Int]"), names.index("sd[g:x]")]].mean(axis=0))
    np.testing.assert_allclose(fit.estimate(type="median"), np.median(flat, axis=0), rtol=1e-12)
    best = np.unravel_index(np.argmax(fit.draws.stats["lp"]), (2, 600))
    np.testing.assert_array_equal(fit.MAP(), values[best])
    mode = fit.estimate("b", "marginal_map")
    assert list(mode.index) == ["b[x]"]
    assert abs(mode.iloc[0] - flat[:, 1].mean()) < flat[:, 1].std()
    with pytest.raises(ArgumentError, match="type must be mean, EAP, median, marginal_map or joint_map, not 'mode'"):
        fit.estimate(type="mode")


def test_random_effects(fit):
    frame = fit.ranef(prob=0.9)["g"]
    flat = fit.random_effects.reshape(-1, 24)
    np.testing.assert_allclose(frame["mean"], flat.mean(axis=0))
    np.testing.assert_allclose(frame["lower"], np.percentile(flat, 5.0, axis=0))
    assert frame.index[12] == ("g00", "x")
    with pytest.raises(ArgumentError, match="prob must lie between 0 and 1"):
        fit.ranef(prob=95)


def test_log_likelihood_of_the_rows(fit):
    code = pd.factorize(DATA.g)[0]
    b, beta = fit.random_effects[1, 7], fit.draws.values[1, 7, :2]
    eta = beta[0] + beta[1] * DATA.x + b[:12][code] + b[12:][code] * DATA.x
    np.testing.assert_allclose(fit.log_lik[1, 7], stats.poisson.logpmf(DATA["count"], np.exp(eta)), rtol=1e-9)


def test_arviz(fit):
    pytest.importorskip("arviz_base")
    tree = fit.to_arviz(log_lik=True)
    assert {"posterior", "sample_stats", "log_likelihood", "observed_data"} <= set(tree.children)
    np.testing.assert_array_equal(tree["observed_data"]["y"], DATA["count"])


# -- printing and problems -------------------------------------------------------------------------------------------


def test_print(fit):
    text = str(fit)
    assert f"MCMC (NUTS): {FORMULA}, family poisson ( log )" in text
    assert "2 chains of 400 + 600 iterations; divergences 0, trees at the limit 0" in text
    assert "sd[g:Int]" in text
    assert repr(fit) == text
    html = fit._repr_html_()
    assert "<table" in html
    assert "2 chains" in html


def stub(model, fit, seed=0, **stats_changed):
    """The fit with other statistics; the draws independent, so that R-hat is one."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((2, 600, 5))
    statistics = dict(fit.draws.stats) | {"lp": rng.standard_normal((2, 600)), "energy": rng.standard_normal((2, 600))}
    statistics |= {"divergent": np.zeros((2, 600), dtype=bool), "treedepth": np.full((2, 600), 3)} | stats_changed
    values = statistics.pop("values", values)
    about = {"warmup": 300, "max_treedepth": 10}
    return MCMCFit(model, fit.posterior, Draws(fit.draws.positions, values, fit.names, statistics, about))


def test_nothing_is_wrong_with_independent_draws(model, fit):
    made = stub(model, fit)
    assert made.problems == []
    assert "WARNING" not in str(made)


def test_problems_are_named(model, fit):
    some = np.zeros((2, 600), dtype=bool)
    some[0, :7] = True
    depth = np.full((2, 600), 3)
    depth[1, :9] = 10
    slow = np.cumsum(np.random.default_rng(1).standard_normal((2, 600)), axis=1)
    apart = np.random.default_rng(2).standard_normal((2, 600, 5))
    apart[1, :, 1] += 3.0
    cases = {
        "7 of 1200 transitions diverged: raise delta": {"divergent": some},
        "9 of 1200 trees reached the depth limit 10: raise max_treedepth": {"treedepth": depth},
        "the tails are explored slowly": {"energy": slow},
        "R-hat of b[x] is": {"values": apart},
    }
    for text, changed in cases.items():
        made = stub(model, fit, **changed)
        assert len(made.problems) == 1
        assert text in made.problems[0]
        assert f"WARNING: {made.problems[0]}" in str(made)


def test_sampling_warns_of_problems(model):
    with pytest.warns(SamplingWarning, match="trees reached the depth limit 1"):
        model.sample(chains=2, sampling=60, warmup=30, seed=1, max_treedepth=1, progress=False)


# -- seeds, threads, starts ------------------------------------------------------------------------------------------


def short(model, **arguments):
    settings = {"chains": 2, "sampling": 40, "warmup": 40, "seed": 5, "progress": False} | arguments
    with pytest.warns(SamplingWarning):  # R-hat of so few
        return model.sample(**settings)


def test_seeds_and_threads(model):
    one = short(model)
    for parallel in (False, 2):
        np.testing.assert_array_equal(short(model, parallel=parallel).draws.positions, one.draws.positions)
    assert not np.array_equal(short(model, seed=6).draws.positions, one.draws.positions)
    assert one.draws.metadata["seed"] == 5


def test_given_starts(model):
    start = np.zeros(model.posterior.dimension)
    one, both = (short(model, init=init).draws.positions for init in (start, np.array([start, start])))
    np.testing.assert_array_equal(one, both)
    with pytest.raises(ArgumentError, match=r"28 numbers for each of 2 chains, not an array of shape \(1, 3\)"):
        model.sample(chains=2, init=np.zeros((1, 3)))
    with pytest.raises(ArgumentError, match="chains must be a whole number of at least 1, not 0"):
        model.sample(chains=0)


# -- parametrisation -------------------------------------------------------------------------------------------------


def test_parametrisations(model):
    posterior = model.posterior
    labels = [term.label for term in model.design.terms]
    good = posterior.good_exponent

    def exponent(wanted):
        return parametrised(model, posterior, wanted).exponent.tolist()

    assert exponent("noncentred") == [0.0, 0.0]
    assert exponent("centred") == [1.0, 1.0]
    assert exponent(0.25) == [0.25, 0.25]
    assert exponent({"g": 1}) == [1.0, 1.0]
    assert exponent("auto") == good.tolist()
    assert exponent({labels[1]: "centred"}) == [good[0], 1.0]
    assert np.all((good > 0.0) & (good < 1.0))


@pytest.mark.parametrize("wrong", ["cantred", 1.5, -0.1, True, None, {"g": "half"}, {"g": np.nan}])
def test_parametrisations_that_are_none(model, wrong):
    with pytest.raises(ArgumentError, match="parametrisation must be 'auto', 'noncentred', 'centred' or a number"):
        parametrised(model, model.posterior, wrong)


def test_terms_that_are_not_there(model):
    with pytest.raises(ArgumentError, match=r"parametrisation names 'h'; the terms are "):
        parametrised(model, model.posterior, {"h": "centred"})


def test_parametrisations_give_the_same_posterior(model, fit):
    other = model.sample(
        chains=2, sampling=1500, warmup=300, seed=2, parametrisation="noncentred", metric="diag", progress=False
    )
    assert_same_means(fit, other)


def assert_same_means(one, other, factor=4.0):
    """Means of every reported quantity and random effect agree within Monte Carlo errors."""
    from refglmm.bayes.diagnostics import summary_table

    for values in ((one.draws.values, other.draws.values), (one.random_effects, other.random_effects)):
        tables = [summary_table(v, [str(j) for j in range(v.shape[2])]) for v in values]
        error = np.hypot(*(t["sd"] / np.sqrt(t["ess_bulk"]) for t in tables))
        assert np.all(np.abs(tables[0]["mean"] - tables[1]["mean"]) < factor * error)


# -- random effects integrated out -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_sampling_with_the_random_effects_integrated_out():
    """Normal data, where Laplace's method is exact: means and spreads are those of the joint sampler."""
    rng = np.random.default_rng(8)
    data = pd.DataFrame({"g": np.repeat(np.arange(8), 5)})
    data["y"] = 1.0 + rng.normal(0, 1.5, 8)[data.g] + rng.normal(0, 0.8, 40)
    model = rg.GLMM("y ~ 1 + (1 | g)", data, prior=rg.prior_normal())
    arguments = {"chains": 4, "sampling": 400, "warmup": 200, "seed": 3, "progress": False}
    joint, marginal = model.sample(**arguments), model.sample(laplace=True, **arguments)
    assert marginal.draws.positions.shape == joint.draws.positions.shape
    assert_same_means(joint, marginal)
    np.testing.assert_allclose(marginal.draws.stats["log_weights"], 0.0, atol=1e-8)
    spread = [f.random_effects.reshape(-1, 8).std(axis=0) for f in (joint, marginal)]
    np.testing.assert_allclose(spread[1], spread[0], rtol=4 * np.sqrt(1.0 / 400))
    assert "integrated out" in marginal.draws.metadata["method"]


def test_what_has_no_part_in_marginal_sampling(model):
    for arguments in ({"init": np.zeros(4)}, {"parametrisation": "centred"}):
        with pytest.raises(ArgumentError, match="laplace=True integrates the random effects out"):
            model.sample(laplace=True, **arguments)


# -- draws without a chain -------------------------------------------------------------------------------------------


def test_independent_fits_have_no_chain_diagnostics(model):
    fit = model.laplace_draws(draws=400, seed=1)
    assert not {"rhat", "ess_bulk", "ess_tail"} & set(fit.summary().columns)
    assert fit.khat < 0.7
    assert "Draws without a chain" in str(fit)
    assert fit.MAP().index.tolist() == list(fit.names)
    best = np.argmax(fit.posterior.log_densities(fit.draws.positions[0]))
    np.testing.assert_array_equal(fit.MAP(), fit.draws.values[0, best])


def test_variational_fits(model):
    with pytest.warns(ParetoWarning, match="k-hat"):  # independent coordinates are not enough here
        fit = model.variational(seed=1)
    assert "Variational approximation" in str(fit)
    assert np.isfinite(fit.elbo)
    assert fit.draws.values.shape[2] == 5


def test_a_head_without_metadata(model, fit):
    bare = MCMCFit(model, fit.posterior, Draws(fit.draws.positions, fit.draws.values, fit.names, fit.draws.stats, {}))
    assert "2 chains of ? + 600 iterations" in str(bare)
