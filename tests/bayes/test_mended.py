"""What once went wrong in the posterior layer, one test each."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm.errors import ArgumentError, ConvergenceWarning, NotAvailableError, ResponseError, SamplingWarning

SHORT = {"chains": 2, "sampling": 20, "warmup": 40, "seed": 1, "progress": False}


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(1)
    n, groups = 100, 10
    g, x = np.arange(n) % groups, rng.normal(size=n)
    eta = 0.3 + 0.5 * x + 0.5 * rng.normal(size=groups)[g]
    columns = {"x": x, "z": rng.normal(size=n), "g": [f"g{i}" for i in g], "y": eta + rng.normal(size=n)}
    return pd.DataFrame(columns).assign(yb=rng.binomial(1, 1.0 / (1.0 + np.exp(-eta))), noise=rng.normal(size=n))


@pytest.fixture(scope="module")
def binary(frame):
    return rg.GLMM("yb ~ x + (1 | g)", frame, "bernoulli", prior=rg.prior_weak())


# -- modes without curvature ---------------------------------------------------------------------------------------


def test_soft_spike_and_slab_has_a_smooth_laplace_approximation_but_no_mode(frame):
    model = rg.GLMM("yb ~ x + z + (1 | g)", frame, "bernoulli", prior=rg.prior_ssp())
    fit = model.posterior.laplace()
    assert fit.converged
    t = np.array([name.startswith("t[") for name in model.posterior.hyper_names])
    assert np.all(np.abs(fit.hyper[t]) < 3.0)  # it used to run to log t = -40
    assert np.all((np.sqrt(np.diag(fit.covariance))[t] > 0.2) & (np.sqrt(np.diag(fit.covariance))[t] < 3.0))
    with pytest.raises(NotAvailableError, match="no mode to speak of"):
        model.optimize()


def test_a_mode_with_singular_random_effects_says_so_without_nan_warnings(frame):
    model = rg.GLMM("noise ~ x + (1 + x | g)", frame, prior=rg.prior_normal())
    fit = model.optimize()  # warnings are errors here
    assert fit.converged
    at_edge = fit.mode.at_boundary
    assert at_edge
    assert set(at_edge) <= {"sd[g:Int]", "sd[g:x]", "corr[g:Int,x]"}
    assert np.isnan(fit.log_marginal)
    assert np.isnan(fit.estimates.loc[list(at_edge), "Std. Error"]).all()
    assert "not defined here" in str(fit)
    assert np.all(np.isfinite(fit.estimates.loc[["Intercept", "b[x]", "sigma"]]))


def test_a_coefficient_at_its_bound_or_kink_has_no_standard_error(frame):
    bounded = rg.prior_normal(b={"x": rg.priors.HalfNormal(1.0)})
    flipped = frame.assign(x=-frame["x"])
    fit = rg.GLMM("y ~ x + (1 | g)", flipped, prior=bounded).optimize()
    assert fit.mode.at_boundary == ("b[x]",)
    assert fit.estimates.loc["b[x]", "Estimate"] == pytest.approx(0.0, abs=1e-3)
    assert np.isnan(fit.estimates.loc["b[x]", "Std. Error"])
    lasso = rg.prior_normal(b={"z": rg.priors.Laplace(0.0, 0.02)})
    fit = rg.GLMM("y ~ x + z + (1 | g)", frame, prior=lasso).optimize()
    assert fit.mode.at_boundary == ("b[z]",)


def test_a_missing_mode_under_flat_priors_names_them(frame):
    separated = frame.assign(yb=(frame["x"] > 0).astype(int))
    model = rg.GLMM("yb ~ x + (1 | g)", separated, "bernoulli")
    with pytest.warns(ConvergenceWarning, match=r"b\[x\], sd\[g:Int\] have no prior that integrates to one"):
        model.optimize()


# -- geometry ---------------------------------------------------------------------------------------------------------


def test_a_term_that_may_have_no_variance_is_hardly_centred(frame):
    centred = rg.GLMM("noise ~ x + (1 | g)", frame, prior=rg.prior_normal()).posterior.good_exponent
    assert 0.0 <= centred[0] < 0.3
    sure = frame.assign(y=frame["y"] + 2.0 * (frame["g"].str[1:].astype(float) - 4.5))
    assert rg.GLMM("y ~ x + (1 | g)", sure, prior=rg.prior_normal()).posterior.good_exponent[0] > 0.9


# -- arguments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"chains": 2.0}, "chains must be a whole number of at least 1"),
        ({"sampling": 0}, "sampling must be a whole number of at least 1"),
        ({"parallel": "a"}, "parallel must be a whole number"),
        ({"parallel": -1}, "parallel must be a whole number"),
        ({"seed": -1}, "seed must be a whole number that is not negative"),
        ({"seed": "a"}, "seed must be a whole number"),
        ({"init": "a"}, "init must hold numbers"),
        ({"init": np.full(13, np.nan)}, "init is not finite: number 0 of position 0 is nan"),
        ({"parametrisation": 3}, "parametrisation must be"),
        ({"laplace": True, "parametrisation": "centred"}, "no init= and no parametrisation="),
    ],
)
def test_arguments_of_sample_are_refused_by_name(binary, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        binary.sample(**(SHORT | arguments))


def test_unknown_settings_are_refused_by_name(binary):
    with pytest.raises(ArgumentError, match=r"variational\(\) has no argument 'zzz'; known are"):
        binary.variational(zzz=1)
    with pytest.raises(ArgumentError, match=r"laplace_draws\(\) has no argument 'zzz'; known are"):
        binary.laplace_draws(zzz=1)
    with pytest.raises(ArgumentError, match="seed must be a non-negative integer"):
        binary.optimize(seed="a")


# -- what is told ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chains(binary):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        return binary.sample(**SHORT)


def test_a_median_of_one_quantity_is_a_series(chains):
    median = chains.estimate("b", "median")
    assert list(median.index) == ["b[x]"]
    assert median["b[x]"] == pytest.approx(np.median(chains.draws.select("b").values))


def test_too_few_draws_are_told(binary):
    with pytest.warns(SamplingWarning, match="too few to tell whether the chains have mixed"):
        binary.sample(**(SHORT | {"sampling": 1}))


def test_representations_are_short(chains, binary):
    assert repr(chains.chains) == "Chains(2 chains, 20 draws, 13 parameters)"
    assert repr(binary.posterior.laplace()) == "LaplaceFit(3 parameters, 10 random effects, converged)"
    assert len(repr(binary.posterior.priors)) < 200
    assert "-0" not in binary.prior_summary().loc["Intercept_c", "prior"].split(",")[0]


def test_a_run_without_a_seed_goes_on_from_its_checkpoint(binary, tmp_path):
    settings = {name: value for name, value in SHORT.items() if name != "seed"} | {"checkpoint": tmp_path}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        first, longer = binary.sample(**settings), binary.sample(**(settings | {"sampling": 30}))
    np.testing.assert_array_equal(longer.draws.positions[:, :20], first.draws.positions)


def test_a_prior_makes_something_of_a_constant_response(frame):
    constant = frame.assign(yb=0, y=2.0)
    fit = rg.GLMM("yb ~ x + (1 | g)", constant, "bernoulli", prior=rg.prior_weak()).optimize()
    assert fit.estimates.loc["Intercept", "Estimate"] < -2.0
    with pytest.raises(ResponseError, match="unless a prior says more"):
        rg.GLMM("yb ~ x + (1 | g)", constant, "bernoulli")
    with pytest.raises(ResponseError, match="Response is constant"):  # sigma would run to zero
        rg.GLMM("y ~ x + (1 | g)", constant, prior=rg.prior_normal())
