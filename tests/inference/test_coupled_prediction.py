"""Dynamic prediction and scores of two-part counts against sums over a dense grid of both random effects."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit

import refglmm as rg
from refglmm.errors import ArgumentError

#: Rows of a group that the fit did not know, without and with zeros, and rows to come.
SEEN = pd.DataFrame({"count": [0, 2, 3], "mined": ["no", "no", "no"], "site": "new"})
AHEAD = pd.DataFrame({"count": [1, 0], "mined": ["no", "yes"], "site": "new"}, index=["p", "q"])


@pytest.fixture(scope="module")
def tied():
    """Correlated random effects in both predictors of a zero-inflated Poisson model."""
    data = rg.datasets.load("Salamanders")
    data["mined"] = pd.Categorical(data["mined"], ["yes", "no"])
    return rg.glmer("count ~ mined + (1 | site)", data, "poisson", zi="~ mined + (1 | site)", tie=True)


def pmf(k, mu, zero):
    return (1 - zero) * stats.poisson.pmf(k, mu) + np.where(k == 0, zero, 0.0)


class Grid:
    """Both random effects of a group on a grid, with their mass given the rows seen."""

    def __init__(self, fit, seen):
        self.beta = np.array(fit.optimum.beta)
        T = np.linalg.cholesky(fit.varcorr["site"].cov)
        z = np.linspace(-8, 8, 161)
        u = np.stack(np.meshgrid(z, z, indexing="ij")).reshape(2, -1)
        self.b = T @ u
        mass = stats.norm.pdf(u).prod(axis=0)
        for count, mined in zip(seen["count"], seen["mined"], strict=True):
            mass = mass * pmf(count, *self.law(mined))
        self.mass = mass / mass.sum()

    def law(self, mined):
        """Poisson mean and share of zeros at each node."""
        x, beta = float(mined == "no"), self.beta
        return np.exp(beta[0] + beta[1] * x + self.b[0]), expit(beta[2] + beta[3] * x + self.b[1])

    def mean(self, f):
        return f @ self.mass


def test_the_mean_of_rows_to_come(tied):
    grid = Grid(tied, SEEN)
    for kind in ("response", "conditional", "zprob", "link"):
        found = tied.dynamic(SEEN, AHEAD, type=kind, n_points=25)
        for label, mined in AHEAD["mined"].items():
            mu, zero = grid.law(mined)
            value = {"response": (1 - zero) * mu, "conditional": mu, "zprob": zero, "link": np.log(mu)}[kind]
            assert found[label] == pytest.approx(grid.mean(value), rel=1e-6)


def test_a_group_without_zeros_and_one_of_zeros_only(tied):
    for counts in ([1, 2], [0, 0]):
        seen = pd.DataFrame({"count": counts, "mined": "no", "site": "new"})
        grid = Grid(tied, seen)
        mu, zero = grid.law("no")
        found = tied.dynamic(seen, AHEAD, n_points=25)["p"]
        assert found == pytest.approx(grid.mean((1 - zero) * mu), rel=1e-6)


def test_a_group_without_responses_has_the_mean_of_the_population(tied):
    other = AHEAD.assign(site="elsewhere")
    found = tied.dynamic(SEEN, other, n_points=41)
    np.testing.assert_allclose(found, tied.predict(other, type="response", marginal=True), rtol=1e-7)


def test_intervals_hold_the_mean_and_are_those_of_a_seed(tied):
    shown = tied.dynamic(SEEN, AHEAD, se=True, interval="confidence", draws=60, seed=4)
    assert ((shown["lower"] < shown["fit"]) & (shown["fit"] < shown["upper"])).all()
    again = tied.dynamic(SEEN, AHEAD, se=True, interval="confidence", draws=60, seed=4)
    pd.testing.assert_frame_equal(shown, again)
    count = tied.dynamic(SEEN, AHEAD, interval="prediction", draws=60, seed=4)
    assert (count["lower"] == 0).all()
    assert (count["upper"] == count["upper"].round()).all()
    with pytest.raises(ArgumentError, match="type='response'"):
        tied.dynamic(SEEN, AHEAD, type="zprob", interval="prediction")


def scores(p, y):
    return [np.log(p[y]), 2 * p[y] - np.sum(p**2), p[y] / np.sqrt(np.sum(p**2))]


def test_scores_integrated_over_the_effects(tied):
    grid, k = Grid(tied, SEEN), np.arange(50)
    found = tied.scoring_rules(SEEN, AHEAD, integrate=True, n_points=25)
    for label, row in AHEAD.iterrows():
        mu, zero = grid.law(row["mined"])
        p = np.array([grid.mean(pmf(count, mu, zero)) for count in k])
        np.testing.assert_allclose(found.loc[label], scores(p, row["count"]), rtol=1e-6)


def test_scores_at_the_modes(tied):
    mu, zero = tied.predict(type="conditional"), tied.predict(type="zprob")
    k, y = np.arange(200), np.asarray(tied.frame.y, dtype=int)
    wanted = [scores(pmf(k, m, p), i) for m, p, i in zip(mu[:40], zero[:40], y[:40], strict=True)]
    np.testing.assert_allclose(tied.scoring_rules().iloc[:40], wanted, rtol=1e-9)


@pytest.mark.slow
def test_hurdle_counts_have_scores_of_their_own_law():
    """P(0) = pi and (1 - pi) f(k)/(1 - f(0)): not the Poisson law with the mean of the mixture."""
    data = rg.datasets.load("Salamanders")
    fit = rg.glmer("count ~ mined + (1 | site)", data, "truncated_poisson", zi="~ mined")
    mu, zero = np.exp(fit.predict()), fit.predict(type="zprob")
    k, y = np.arange(200), np.asarray(fit.frame.y, dtype=int)
    wanted = []
    for m, p, i in zip(mu[:40], zero[:40], y[:40], strict=True):
        law = stats.poisson.pmf(k, m) / (1 - np.exp(-m))
        wanted.append(scores(np.where(k == 0, p, (1 - p) * law), i))
    np.testing.assert_allclose(fit.scoring_rules().iloc[:40], wanted, rtol=1e-9)
    np.testing.assert_allclose(fit.fitted, (1 - zero) * mu / (1 - np.exp(-mu)), rtol=1e-12)
    y = fit.simulate(300, seed=1, use_u=True).to_numpy()
    error = y.std(axis=1) / np.sqrt(300)
    assert np.abs((y.mean(axis=1) - fit.fitted) / error).max() < 6.0
