"""Fits that intervals are computed of, each made once, and a few helpers."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm.errors import SingularFitWarning

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture(scope="session")
def processes():
    """Two processes, started once."""
    with ProcessPoolExecutor(2, get_context("forkserver")) as pool:
        yield pool


@pytest.fixture(scope="session")
def threads():
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture(scope="session")
def cbpp():
    return rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial")


@pytest.fixture(scope="session")
def cbpp_lme4():
    return rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial", mode="lme4")


@pytest.fixture(scope="session")
def sleepstudy():
    return rg.lmer("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"))


@pytest.fixture(scope="session")
def dyestuff():
    return rg.lmer("Yield ~ 1 + (1 | Batch)", rg.datasets.load("Dyestuff"), reml=False)


@pytest.fixture(scope="session")
def dyestuff2():
    with pytest.warns(SingularFitWarning):
        return rg.lmer("Yield ~ 1 + (1 | Batch)", rg.datasets.load("Dyestuff2"), reml=False)


@pytest.fixture(scope="session")
def ticks():
    return rg.glmer_nb("TICKS ~ 1 + (1 | BROOD)", rg.datasets.load("grouseticks"))


@pytest.fixture(scope="session")
def three_columns():
    """Forty groups of eight with three correlated random effects."""
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(40), 8)
    x, z = rng.normal(size=(2, group.size))
    Sigma = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, -0.3], [0.2, -0.3, 0.8]])
    b = rng.multivariate_normal(np.zeros(3), Sigma, size=40)[group]
    y = 1.0 + x + b[:, 0] + b[:, 1] * x + b[:, 2] * z + rng.normal(size=group.size)
    k = rng.poisson(np.exp(0.3 + 0.3 * x + 0.5 * b[:, 0]))
    return pd.DataFrame({"y": y, "x": x, "z": z, "k": k, "g": [f"g{j:02d}" for j in group]})
