"""Scoring rules written out with scipy's distributions, at modes and averaged over the random effects."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from diagnostic_fits import CBPP, crossed, crossed_data
from scipy import optimize, stats

import refglmm as rg
from refglmm.errors import ArgumentError, NotAvailableError


@pytest.fixture(scope="module")
def herds():
    return rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial", n_agq=11)


def scores(pmf, y):
    """The three rules of one row, from all its probabilities."""
    return [np.log(pmf[y]), 2 * pmf[y] - np.sum(pmf**2), pmf[y] / np.sqrt(np.sum(pmf**2))]


def test_binomial_rows_at_the_modes(herds):
    data, table = rg.datasets.load("cbpp"), herds.scoring_rules()
    expected = [
        scores(stats.binom.pmf(np.arange(size + 1), size, p), y)
        for y, size, p in zip(data["incidence"], data["size"], herds.fitted, strict=True)
    ]
    np.testing.assert_allclose(table, expected, rtol=1e-9)
    assert list(table.columns) == ["logarithmic", "quadratic", "spherical"]
    assert table.index.equals(herds.frame.index)
    np.testing.assert_allclose(herds.scoring_rules(data), table, rtol=1e-9)


@pytest.mark.parametrize("kind", ["poisson", "negative binomial"])
def test_counts_at_the_modes(kind):
    fit = crossed(kind)
    mu, y = np.array(fit.fitted), np.array(fit.frame.y, dtype=int)
    k = np.arange(600)
    shape = fit.phi.iloc[0] if kind != "poisson" else np.inf
    pmf = [stats.poisson.pmf(k, m) if np.isinf(shape) else stats.nbinom.pmf(k, shape, shape / (shape + m)) for m in mu]
    np.testing.assert_allclose(fit.scoring_rules(), [scores(p, i) for p, i in zip(pmf, y, strict=True)], rtol=1e-8)


def test_rows_to_come_averaged_over_the_effects_of_their_group(herds):
    seen = pd.DataFrame({"incidence": [4, 1], "size": [10, 8], "period": ["1", "2"], "herd": ["new", "new"]})
    ahead = pd.DataFrame({"incidence": [2], "size": [7], "period": ["3"], "herd": ["new"]}, index=["later"])
    beta, sd = herds.beta, herds.par.iloc[0]
    eta = np.array([beta[0], beta[0] + beta[1]])

    b = np.linspace(-8, 8, 16001)  # sums over equidistant points of a smooth integrand are exact
    p, q = 1 / (1 + np.exp(-(eta[:, None] + b))), 1 / (1 + np.exp(-(beta[0] + beta[2] + b)))
    like = stats.binom.pmf(np.array([[4], [1]]), np.array([[10], [8]]), p).prod(axis=0) * stats.norm.pdf(b, 0, sd)
    mass = stats.binom.pmf(np.arange(8)[:, None], 7, q) @ like / like.sum()
    found = herds.scoring_rules(seen, ahead, integrate=True, n_points=25)
    np.testing.assert_allclose(found.loc["later"], scores(mass, 2), rtol=1e-7)
    at_mode = herds.scoring_rules(seen, ahead).loc["later"]

    def minus_log(b):
        p = 1 / (1 + np.exp(-(eta + b)))
        return -stats.binom.logpmf(seen["incidence"], seen["size"], p).sum() + 0.5 * (b / sd) ** 2

    p = 1 / (1 + np.exp(-(beta[0] + beta[2] + optimize.minimize_scalar(minus_log, tol=1e-12).x)))
    np.testing.assert_allclose(at_mode, scores(stats.binom.pmf(np.arange(8), 7, p), 2), rtol=1e-6)


def test_the_rows_of_the_fit_averaged_over_their_posterior(herds):
    own, handed_in = herds.scoring_rules(integrate=True), herds.scoring_rules(rg.datasets.load("cbpp"), integrate=True)
    np.testing.assert_allclose(own, handed_in, rtol=1e-9)
    assert (own - herds.scoring_rules()).abs().to_numpy().max() > 1e-3


def test_what_is_refused(herds):
    with pytest.raises(NotAvailableError, match="scoring rules are for counts; the gamma family has a density"):
        crossed("gamma").scoring_rules()
    with pytest.raises(ArgumentError, match="max_count must be a whole number >= 1, not 0"):
        herds.scoring_rules(max_count=0)
    with pytest.raises(ArgumentError, match="future= needs newdata="):
        herds.scoring_rules(future=rg.datasets.load("cbpp"))
    with pytest.raises(NotAvailableError, match="this needs one grouping factor"):
        crossed("poisson").scoring_rules(crossed_data())
    with pytest.raises(NotAvailableError, match=r"counts up to 2 have probability 0\.\d+ only at row 0"):
        crossed("poisson").scoring_rules(max_count=2)
