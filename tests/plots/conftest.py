"""Fits that the pictures are drawn of, each made once, and a matplotlib that needs no display."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import refglmm as rg

mpl.use("Agg")

from matplotlib import pyplot

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture(autouse=True)
def _figures_are_closed_and_never_shown(monkeypatch):
    def shown(*args, **kwargs):
        raise AssertionError("a plotting function must not call show")

    monkeypatch.setattr(pyplot, "show", shown)
    yield
    pyplot.close("all")


@pytest.fixture(scope="session")
def cbpp():
    return rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial")


@pytest.fixture(scope="session")
def toenail():
    return rg.glmer("outcome ~ time * treatment + (1 | patientID)", rg.datasets.load("toenail"), "binomial")


@pytest.fixture(scope="session")
def sleepstudy():
    return rg.lmer("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"))


@pytest.fixture(scope="session")
def count_data():
    """Counts with an offset and a random slope only; 12 groups of 6."""
    rng = np.random.default_rng(20)
    group = np.repeat(np.arange(12), 6)
    x = rng.uniform(0.2, 2.0, group.size)
    exposure = rng.uniform(0.5, 3.0, group.size)
    eta = 0.3 + 0.2 * x + 0.8 * rng.standard_normal(12)[group] * x + np.log(exposure)
    return pd.DataFrame({"y": rng.poisson(np.exp(eta)), "x": x, "exposure": exposure, "g": [f"g{j}" for j in group]})


@pytest.fixture(scope="session")
def counts(count_data):
    return rg.glmer("y ~ x + offset(log(exposure)) + (0 + x | g)", count_data, "poisson")


@pytest.fixture(scope="session")
def positive_data():
    """Positive responses of 15 groups of 5 with dispersion 1/4."""
    rng = np.random.default_rng(7)
    group = np.repeat(np.arange(15), 5)
    mean = np.exp(1.0 + 0.7 * rng.standard_normal(15)[group])
    return pd.DataFrame({"y": rng.gamma(4.0, mean / 4.0), "g": [f"g{j:02d}" for j in group]})


@pytest.fixture(scope="session")
def positive(positive_data):
    return rg.glmer("y ~ 1 + (1 | g)", positive_data, "gamma", link="log")
