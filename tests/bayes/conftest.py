"""Fits that the tests of what is done after sampling share, each made once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from posterior_fits import normal_fit

import refglmm as rg

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture(scope="session")
def made():
    """20 groups of 8 rows: a number, a factor, and a random slope."""
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(20), 8)
    x, f = rng.normal(size=g.size), rng.choice(["a", "b"], g.size)
    b = rng.normal(size=(20, 2)) * [0.7, 0.4]
    eta = 1.0 + 0.5 * x - 0.4 * (f == "b") + b[g, 0] + b[g, 1] * x
    score = 1 + (eta[:, None] - 1.0 + 1.2 * b[g, :1] + rng.logistic(size=(g.size, 1)) > [-1.0, 0.3, 1.5]).sum(axis=1)
    names = [f"g{i:02d}" for i in g]
    return pd.DataFrame({"y": eta + rng.normal(size=g.size), "score": score, "x": x, "f": f, "g": names})


@pytest.fixture(scope="session")
def linear_mode(made):
    return rg.GLMM("y ~ x * f + (x | g)", made, prior=rg.prior_normal()).optimize()


@pytest.fixture(scope="session")
def linear(linear_mode):
    return normal_fit(linear_mode)


@pytest.fixture(scope="session")
def ordinal_mode(made):
    """With a flat prior: the mode is the maximum of the likelihood."""
    return rg.GLMM("score ~ x + f + (1 | g)", made, family="ordered").optimize()


@pytest.fixture(scope="session")
def ordinal(ordinal_mode):
    return normal_fit(ordinal_mode)


@pytest.fixture(scope="session")
def cbpp_mode():
    """With a flat prior: the mode is the maximum of the likelihood."""
    return rg.GLMM(CBPP, rg.datasets.load("cbpp"), family="binomial").optimize()


@pytest.fixture(scope="session")
def cbpp():
    """Draws from chains."""
    model = rg.GLMM(CBPP, rg.datasets.load("cbpp"), family="binomial", prior=rg.prior_normal())
    return model.sample(sampling=400, warmup=300, chains=2, seed=4, parallel=False)
