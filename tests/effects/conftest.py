"""Fits that the tests of effects share, each made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm.errors import RankDeficiencyWarning

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture(scope="session")
def made():
    """Three unbalanced factors (a x b has two empty cells), two numbers, 15 groups; the data of golden_emmeans.R."""
    return pd.read_csv(Path(__file__).with_name("golden_data.csv"))


@pytest.fixture(scope="session")
def linear(made):
    return rg.lmer("y ~ a + b * x + c + (1 | g)", made, reml=True)


@pytest.fixture(scope="session")
def curved(made):
    """A rank-deficient model: r x and r z have no data."""
    with pytest.warns(RankDeficiencyWarning):
        return rg.lmer("y ~ a * b + poly(x, 2) + (1 | g)", made, reml=True)


@pytest.fixture(scope="session")
def counts(made):
    return rg.glmer("k ~ a + x + offset(log(w)) + (1 | g)", made, "poisson")


@pytest.fixture(scope="session")
def cbpp():
    return rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial")


@pytest.fixture(scope="session")
def cake():
    return rg.lmer("angle ~ recipe * temperature + (1 | recipe:replicate)", rg.datasets.load("cake"), reml=True)


@pytest.fixture(scope="session")
def sleepstudy():
    return rg.lmer("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"), reml=True)


@pytest.fixture(scope="session")
def slopes_data():
    """Binary responses with a random slope of a number that the fixed part bends; 20 groups of 15."""
    rng = np.random.default_rng(11)
    group = np.repeat(np.arange(20), 15)
    x = rng.uniform(0.2, 4.0, group.size)
    arm = rng.choice(["old", "new"], group.size)
    b = rng.standard_normal((20, 2)) * [0.9, 0.4]
    eta = -0.4 + 0.8 * np.log(x) + 0.5 * (arm == "new") * x + b[group, 0] + b[group, 1] * x
    y = (rng.uniform(size=group.size) < 1 / (1 + np.exp(-eta))).astype(int)
    return pd.DataFrame({"y": y, "x": x, "arm": arm, "g": group})


@pytest.fixture(scope="session")
def slopes(slopes_data):
    return rg.glmer("y ~ log(x) + x:arm + (x | g)", slopes_data, "binomial")
