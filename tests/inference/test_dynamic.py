"""Dynamic predictions: exact in linear models, against integrals in others, and what is drawn for intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from diagnostic_fits import CBPP, crossed, sleepstudy
from scipy import stats

import refglmm as rg
from refglmm.errors import ArgumentError, DataError, NotAvailableError, ResponseError
from refglmm.inference import dynamic as module
from refglmm.inference.dynamic import dynamic, one_factor, points_for


@pytest.fixture(scope="module")
def herds():
    return rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial", n_agq=11)


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(30), 5)
    x = rng.normal(size=150)
    k = rng.poisson(np.exp(0.5 + 0.4 * x + 0.7 * rng.normal(size=30)[g]))
    return rg.glmer("k ~ x + (1 | g)", {"k": k, "x": x, "g": g}, "poisson", n_agq=11)


SEEN = pd.DataFrame({"incidence": [4, 1], "size": [10, 8], "period": ["1", "2"], "herd": ["new", "new"]})
AHEAD = pd.DataFrame({"period": ["3", "4", "1"], "herd": ["new", "new", "another"]}, index=["p", "q", "r"])


def logit_moments(beta, sd, seen=SEEN, k=2):
    """E and E of the square of the probability given the rows seen, a sum over 16001 points."""
    eta = beta[0] + np.where(seen["period"] == "2", beta[1], 0.0)

    b = np.linspace(-8, 8, 16001)
    p, mu = 1 / (1 + np.exp(-(eta[:, None] + b))), 1 / (1 + np.exp(-(beta[0] + beta[k] + b)))
    y, size = seen["incidence"].to_numpy()[:, None], seen["size"].to_numpy()[:, None]
    weight = stats.binom.pmf(y, size, p).prod(axis=0) * stats.norm.pdf(b, 0, sd)
    return np.average(mu, weights=weight), np.average(mu**2, weights=weight)


def test_linear_models_repeat_predict():
    fit = sleepstudy("Reaction ~ Days + (Days | Subject)")
    data = rg.datasets.load("sleepstudy")
    expected = fit.predict(data, se="unconditional")
    found = fit.dynamic(data, se=True)
    np.testing.assert_allclose(found["fit"], expected["fit"], rtol=1e-10)
    np.testing.assert_allclose(found["se"], expected["se"], rtol=1e-7)
    inside = fit.dynamic(data, interval="confidence", level=0.9)
    np.testing.assert_allclose(inside["upper"], found["fit"] + stats.norm.ppf(0.95) * found["se"], rtol=1e-9)
    ahead = fit.dynamic(data, interval="prediction", level=0.9)
    reach = stats.norm.ppf(0.95) * np.sqrt(found["se"] ** 2 + fit.sigma**2)
    np.testing.assert_allclose(ahead["lower"], found["fit"] - reach, rtol=1e-9)


def test_the_mean_of_a_new_group_is_an_integral(herds):
    m, second = logit_moments(herds.beta, herds.par.iloc[0])
    shown = herds.dynamic(SEEN, AHEAD, se=True)
    assert list(shown.index) == ["p", "q", "r"]
    assert shown["fit"].iloc[0] == pytest.approx(m, abs=1e-7)
    # J by differences of the integral; the covariance from the fit's Hessian.
    psi, h = np.array([herds.par.iloc[0], *herds.beta]), 1e-4
    J = [
        (logit_moments((psi + e)[1:], (psi + e)[0])[0] - logit_moments((psi - e)[1:], (psi - e)[0])[0]) / (2 * h)
        for e in h * np.eye(5)
    ]
    C = 2.0 * np.linalg.inv(herds.optimum.hessian)
    assert shown["se"].iloc[0] == pytest.approx(np.sqrt(second - m**2 + J @ C @ J), rel=1e-5)


def test_a_group_without_responses_has_the_mean_of_the_population(herds):
    found = herds.dynamic(SEEN, AHEAD, n_points=41).loc["r"]
    assert found == pytest.approx(herds.predict({"period": ["1"]}, type="response", marginal=True).item(), abs=1e-9)


def test_old_groups_count_by_the_responses_handed_in(herds):
    data = rg.datasets.load("cbpp")
    whole = herds.dynamic(data)
    one = data[data["herd"].astype(str) == "4"]
    np.testing.assert_allclose(herds.dynamic(one), whole[one.index], rtol=1e-10)
    link = herds.dynamic(one, type="link")
    assert ((1 / (1 + np.exp(-link)) - whole[one.index]).abs() > 1e-4).all()  # a mean of mu is not mu of a mean


def test_intervals_of_a_mean_with_known_parameters_are_those_of_its_posterior(counts, monkeypatch):
    monkeypatch.setattr(module, "_parameter_root", lambda fit: np.zeros((3, 0)))
    seen, ahead = {"k": [3, 5], "x": [0.0, 0.5], "g": [99, 99]}, {"x": [1.0], "g": [99]}
    shown = counts.dynamic(seen, ahead, interval="confidence", level=0.8, draws=800, seed=1)
    (sd,), (a, b) = counts.par, counts.beta
    u = np.linspace(-4, 4, 8001)
    log_p = stats.norm.logpdf(u, 0, sd) + sum(
        stats.poisson.logpmf(k, np.exp(a + b * x + u)) for k, x in zip(seen["k"], seen["x"], strict=True)
    )
    cdf = np.cumsum(np.exp(log_p))
    exact = np.exp(a + b + u[np.searchsorted(cdf / cdf[-1], [0.1, 0.9])])
    np.testing.assert_allclose(shown[["lower", "upper"]].iloc[0], exact, rtol=0.08)
    mu = np.exp(a + b + u)
    pmf = (stats.poisson.pmf(np.arange(60)[:, None], mu) * np.exp(log_p) / cdf[-1]).sum(axis=1)
    ends = np.searchsorted(np.cumsum(pmf), [0.1, 0.9])
    count = counts.dynamic(seen, ahead, interval="prediction", level=0.8, draws=800, seed=1)
    np.testing.assert_allclose(count[["lower", "upper"]].iloc[0], ends, atol=1)


def test_the_uncertainty_of_the_parameters_widens_intervals(counts, monkeypatch):
    seen, ahead = {"k": [300] * 8, "x": [0.0] * 8, "g": [99] * 8}, {"x": [4.0], "g": [99]}
    wide = counts.dynamic(seen, ahead, se=True, type="link", interval="confidence", draws=400, seed=2)
    half = (wide["upper"] - wide["lower"]).iloc[0] / 2
    # The group is known well here; what is left is the slope of x (seen at 0, predicted at 4).
    assert half == pytest.approx(stats.norm.ppf(0.975) * 4 * counts.se["x"], rel=0.15)
    assert half == pytest.approx(stats.norm.ppf(0.975) * wide["se"].iloc[0], rel=0.15)


def test_a_factor_is_read_with_the_levels_of_the_fit():
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(20), 6)
    y = rng.binomial(1, 1 / (1 + np.exp(-0.3 - rng.normal(size=20)[g])))
    words = np.array(["no", "yes"])[y]
    known = pd.DataFrame({"y": y, "w": pd.Categorical(words, categories=["no", "yes"]), "g": g})
    numbers, levels = (rg.glmer(f"{name} ~ 1 + (1 | g)", known, "binomial") for name in ("y", "w"))
    expected = numbers.dynamic({"y": [1, 1], "g": [99, 99]})
    np.testing.assert_allclose(levels.dynamic({"w": ["yes", "yes"], "g": [99, 99]}), expected, rtol=1e-10)
    with pytest.raises(ResponseError, match="'w' is missing or has an unknown level at row 1; the fit knows no, yes"):
        levels.dynamic({"w": ["yes", "perhaps"], "g": [99, 99]})


def test_weights_are_numbers_of_trials():
    data = rg.datasets.load("cbpp").assign(share=lambda d: d["incidence"] / d["size"])
    pair = rg.glmer(CBPP, data, "binomial")
    share = rg.glmer("share ~ period + (1 | herd)", data, "binomial", weights="size")
    seen = data.iloc[:4]
    np.testing.assert_allclose(pair.dynamic(seen), share.dynamic(seen), rtol=1e-7)
    ahead = share.dynamic(seen, seen.iloc[:2], interval="prediction", draws=100, seed=1)
    again = pair.dynamic(
        seen, seen.iloc[:2], interval="prediction", draws=100, seed=1, future_weights=seen["size"].iloc[:2]
    )
    np.testing.assert_allclose(ahead["upper"], again["upper"], rtol=1e-6)


def test_seeds(counts):
    seen = {"k": [3], "x": [0.0], "g": [99]}
    how = {"interval": "confidence", "draws": 20}
    first, again = (counts.dynamic(seen, seed=5, **how) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert first.attrs["seed"] == 5
    other = counts.dynamic(seen, seed=6, **how)
    assert (other["lower"] != first["lower"]).all()
    drawn = counts.dynamic(seen, **how)
    pd.testing.assert_frame_equal(drawn, counts.dynamic(seen, seed=drawn.attrs["seed"], **how))


def test_what_is_refused(herds, counts):
    with pytest.raises(NotAvailableError, match="this needs one grouping factor"):
        dynamic(crossed("poisson"), {"count": [1], "x": [0.0], "g": ["g1"], "h": ["h1"]})
    with pytest.raises(DataError, match="future has a missing value at row 0; fill it in or drop the row"):
        counts.dynamic({"k": [1], "x": [0.0], "g": [1]}, {"x": [np.nan], "g": [1]})
    with pytest.raises(DataError, match="newdata has a missing value at row 1"):
        counts.dynamic({"k": [1, 2], "x": [0.0, 1.0], "g": ["a", None]})
    with pytest.raises(DataError, match="newdata has no rows"):
        counts.dynamic({"k": [], "x": [], "g": []})
    with pytest.raises(ResponseError, match="NA/NaN/Inf in 'y'"):
        counts.dynamic({"k": [np.nan], "x": [0.0], "g": [1]})
    with pytest.raises(ResponseError, match="negative values are not allowed"):
        counts.dynamic({"k": [-1.0], "x": [0.0], "g": [1]})
    with pytest.raises(ArgumentError, match="use type='response'"):
        herds.dynamic(SEEN, interval="prediction", type="link")
    with pytest.raises(ArgumentError, match="type must be one of 'response', 'link', not 'mean'"):
        herds.dynamic(SEEN, type="mean")
    with pytest.raises(ArgumentError, match="level must lie between 0 and 1"):
        herds.dynamic(SEEN, level=95)
    lme4 = rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial", mode="lme4")
    with pytest.raises(NotAvailableError, match="leave se and interval out"):
        lme4.dynamic(SEEN, se=True)


def test_points_and_factors(herds):
    assert points_for(herds, 1) == 11
    assert points_for(herds, 3) == 11  # those of the fit
    assert points_for(herds, 2, 5) == 5
    with pytest.raises(NotAvailableError, match=r"11 points for each of 5 random effects are 11\^5 nodes"):
        points_for(herds, 5)
    with pytest.raises(NotAvailableError, match="the random effects of g, h do not fall apart"):
        one_factor(crossed("poisson"))
