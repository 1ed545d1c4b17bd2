"""mixed_model(): the same models as glmer() in another spelling, and its refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm.errors import ArgumentError, FamilyError, NotAvailableError

FIXED = "cbind(incidence, size - incidence) ~ period"


@pytest.fixture(scope="module")
def cbpp():
    return rg.datasets.load("cbpp")


@pytest.fixture(scope="module")
def slopes():
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(15), 8)
    x = np.tile(np.linspace(-1.0, 1.0, 8), 15)
    f = np.tile(np.array(["a", "b", "c", "d"]), 30)
    b = rng.normal(size=(15, 2)) * [1.0, 0.7]
    y = rng.poisson(np.exp(0.5 + 0.4 * x + b[g, 0] + b[g, 1] * x)).astype(float)
    return pd.DataFrame({"g": g.astype(str), "x": x, "f": f, "y": y})


def test_it_is_glmer_in_another_spelling(cbpp):
    fit = rg.mixed_model(FIXED, "~ 1 | herd", cbpp, "binomial")
    other = rg.glmer(f"{FIXED} + (1 | herd)", cbpp, "binomial", n_agq=11)
    assert fit.n_agq == 11
    assert fit.loglik == other.loglik
    text = " ".join(str(fit).split())
    assert "nAGQ = 11" in text
    assert "Family: binomial ( logit )" in text


def test_points_by_default(slopes):
    with_three = rg.GLMM("y ~ x + diag(f | g)", slopes, "poisson")
    assert sum(s.k for s in with_three.structures) == 4
    fit = rg.mixed_model("y ~ x", "~ x | g", slopes, "poisson")
    assert fit.n_agq == 11
    assert fit.loglik == pytest.approx(rg.glmer("y ~ x + (x | g)", slopes, "poisson", n_agq=11).loglik, abs=1e-9)
    three = rg.mixed_model("y ~ 1", "~ x + I(x^2) || g", slopes, "poisson", initial_values={"D": [1.0, 0.5, 0.1]})
    assert three.n_agq == 7
    assert three.structures[0].name == "diag"


def test_two_bars_make_the_whole_covariance_diagonal(slopes):
    """lme4's || would leave the columns of a factor correlated."""
    fit = rg.mixed_model("y ~ x", "~ 0 + f || g", slopes, "poisson", n_agq=1)
    assert len(fit.structures) == 1
    assert fit.structures[0].n_par == 4


def test_gaussian_is_fitted_exactly_by_ml():
    sleepstudy = rg.datasets.load("sleepstudy")
    fit = rg.mixed_model("Reaction ~ Days", "~ Days | Subject", sleepstudy, "gaussian")
    assert fit.is_lmm
    assert not fit.reml
    assert fit.loglik == rg.lmer("Reaction ~ Days + (Days | Subject)", sleepstudy, reml=False).loglik
    with pytest.raises(ArgumentError, match="the gaussian likelihood is exact and needs no n_agq"):
        rg.mixed_model("Reaction ~ Days", "~ Days | Subject", sleepstudy, "gaussian", n_agq=5)


def test_initial_values_lead_to_the_same_maximum(slopes):
    means = slopes["y"] + 0.5
    data = slopes.assign(y=np.random.default_rng(6).negative_binomial(3.0, 3.0 / (3.0 + means)).astype(float))
    plain = rg.mixed_model("y ~ x", "~ x | g", data, "nbinom2", n_agq=5)
    values = {"betas": [0.4, 0.3], "D": [[0.8, 0.1], [0.1, 0.4]], "phis": [5.0]}
    fit = rg.mixed_model("y ~ x", "~ x | g", data, "nbinom2", n_agq=5, initial_values=values)
    assert fit.loglik == pytest.approx(plain.loglik, abs=1e-8)
    first = fit.trace.evaluations.iloc[0]
    assert first["x"] == 0.3
    assert list(values) == ["betas", "D", "phis"]


def test_group_weights_reach_the_model(slopes):
    weighted = rg.mixed_model("y ~ x", "~ 1 | g", slopes.assign(w=2.0), "poisson", group_weights="w")
    plain = rg.mixed_model("y ~ x", "~ 1 | g", slopes, "poisson")
    assert weighted.loglik == pytest.approx(2.0 * plain.loglik, rel=1e-10)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beta": [1.0]}, "initial_values has no component 'beta'; known are betas, D, phis, gammas"),
        ({"betas": [1.0]}, r"initial_values\['betas'\] must have 2 numbers, not an array of shape \(1,\)"),
        ({"gammas": [1.0]}, r"initial_values\['gammas'\] must have 0 numbers"),
        ({"D": [[1.0, 2.0], [2.0, 1.0]]}, r"initial_values\['D'\] is not positive definite"),
        ({"D": [1.0]}, r"must be symmetric of shape \(2, 2\), or 2 variances"),
        ({"phis": "a"}, r"initial_values\['phis'\] must be numbers"),
    ],
)
def test_initial_values_are_checked(slopes, values, message):
    with pytest.raises(ArgumentError, match=message):
        rg.mixed_model("y ~ x", "~ x | g", slopes, "poisson", initial_values=values)


def test_what_it_refuses(slopes):
    with pytest.raises(FamilyError, match="mixed_model\\(\\) has no default family; choose one of binomial"):
        rg.mixed_model("y ~ x", "~ 1 | g", slopes)
    with pytest.raises(NotAvailableError, match=r"2 grouping factors \(g, f\)"):
        rg.mixed_model("y ~ x", "~ (1 | g) + (1 | f)", slopes, "poisson")
    with pytest.raises(ArgumentError, match="zi_random is given without zi_fixed"):
        rg.mixed_model("y ~ x", "~ 1 | g", slopes, "poisson", zi_random="~ 1 | g")
    with pytest.raises(ArgumentError, match="polish=False belongs to method='hybrid'"):
        rg.mixed_model("y ~ x", "~ 1 | g", slopes, "poisson", polish=False)
    with pytest.raises(ArgumentError, match=r"mixed_model\(\) has no argument 'nAGQ'"):
        rg.mixed_model("y ~ x", "~ 1 | g", slopes, "poisson", nAGQ=5)
    with pytest.raises(ArgumentError, match=r"rg\.teaching\.pql"):
        rg.mixed_model("y ~ x", "~ 1 | g", slopes, "poisson", method="pql")


def test_zero_part():
    """The same as glmer's zi= with tie=True; || makes independent, diagonal terms."""
    data = rg.datasets.load("Salamanders")
    arguments = {"zi_fixed": "~ mined", "zi_random": "~ 1 | site"}
    fit = rg.mixed_model("count ~ spp + mined", "~ 1 | site", data, "nbinom2", n_agq=1, **arguments)
    other = rg.glmer("count ~ spp + mined + (1 | site)", data, "nbinom2", zi="~ mined + (1 | site)", tie=True, n_agq=1)
    assert fit.loglik == pytest.approx(other.loglik, abs=1e-9)
    assert len(fit.structures) == 1
    with pytest.raises(ArgumentError, match="initial_values must give betas and gammas together"):
        rg.mixed_model(
            "count ~ spp + mined", "~ 1 | site", data, "poisson", zi_fixed="~ 1", initial_values={"gammas": [0.0]}
        )
    with pytest.raises(NotAvailableError, match="method='hybrid' is for one linear predictor"):
        rg.mixed_model("count ~ mined", "~ 1 | site", data, "poisson", zi_fixed="~ 1", method="hybrid")


def test_penalty_of_the_zero_part():
    data = rg.datasets.load("Salamanders")
    common = {"zi_fixed": "~ mined", "n_agq": 1}
    plain = rg.mixed_model("count ~ mined", "~ 1 | site", data, "poisson", **common)
    fit = rg.mixed_model("count ~ mined", "~ 1 | site", data, "poisson", penalized={"zi": {"scale": 0.2}}, **common)
    assert fit.convergence.converged
    zero = fit.problem.beta_names.index("zi~minedno")
    assert abs(fit.optimum.beta[zero]) < abs(plain.optimum.beta[zero])
    assert list(fit.penalty.free) == [True, False, True, False]
