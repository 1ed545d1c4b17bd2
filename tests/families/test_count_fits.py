"""Whole fits of count families against glmmTMB 1.1.5 (R 4.2.2), run on the data that ship with the package."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm.errors import ConvergenceWarning, SingularFitWarning

pytestmark = pytest.mark.golden

MODEL = "count ~ spp + mined + (1 | site)"


@pytest.fixture(scope="module")
def salamanders():
    return rg.datasets.load("Salamanders")


@pytest.mark.parametrize(
    ("family", "loglik", "phi", "intercept"),
    [
        ("nbinom1", -815.101547, 2.078967, -1.305579),
        ("genpois", -815.008354, 3.278172, -1.313252),
        ("compois", -826.248136, 84.87, -1.676275),
    ],
)
def test_salamanders(salamanders, family, loglik, phi, intercept):
    fit = rg.glmer(MODEL, salamanders, family)
    assert fit.loglik == pytest.approx(loglik, abs=1e-5)
    assert fit.optimum.phi[0] == pytest.approx(phi, rel=1e-3)
    assert fit.fixef["(Intercept)"] == pytest.approx(intercept, abs=1e-3)


@pytest.mark.parametrize(
    ("family", "loglik", "shape"),
    [
        ("truncated_poisson", -554.714742, None),
        ("truncated_nbinom1", -497.628440, 1.89261),
        ("truncated_nbinom2", -496.438872, 1.51334),
        ("truncated_genpois", -497.547169, 2.81336),
    ],
)
def test_salamanders_that_were_seen(salamanders, family, loglik, shape):
    fit = rg.glmer(MODEL, salamanders[salamanders["count"] > 0], family)
    assert fit.loglik == pytest.approx(loglik, abs=1e-5)
    assert shape is None or fit.optimum.phi[0] == pytest.approx(shape, rel=1e-3)


def test_cbpp_has_overdispersion_instead_of_herds():
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    with pytest.warns(SingularFitWarning):
        fit = rg.glmer(formula, rg.datasets.load("cbpp"), "betabinomial")
    assert fit.loglik == pytest.approx(-88.041647, abs=1e-5)
    assert fit.optimum.phi[0] == pytest.approx(10.842659, rel=1e-3)
    np.testing.assert_allclose(fit.fixef, [-1.318773, -0.968885, -1.250929, -1.472521], atol=1e-4)


def test_epilepsy_with_a_random_slope():
    data = rg.datasets.load("epil2")
    fit = rg.glmer("y ~ Base * trt + Age + Visit + (Visit | subject)", data, "nbinom1")
    assert fit.loglik == pytest.approx(-633.633103, abs=1e-5)
    assert fit.optimum.phi[0] == pytest.approx(1.085485, rel=1e-3)


def test_underdispersed_counts():
    rng = np.random.default_rng(6)
    g = np.repeat(np.arange(15), 12)
    y = rng.binomial(30, 0.5 * np.exp(-1.0 + 0.3 * rng.normal(size=15))[g])
    data = pd.DataFrame({"y": y, "g": g.astype(str)})
    poisson = rg.glmer("y ~ 1 + (1 | g)", data, "poisson")
    with pytest.warns(ConvergenceWarning, match=r"no curvature in log\(phi\)"):
        nbinom1 = rg.glmer("y ~ 1 + (1 | g)", data, "nbinom1")
    assert nbinom1.loglik == pytest.approx(poisson.loglik, abs=1e-4)
    for family in ("compois", "genpois"):
        fit = rg.glmer("y ~ 1 + (1 | g)", data, family)
        assert fit.loglik > poisson.loglik + 0.5
        assert 0.5 < fit.optimum.phi[0] < 1.0
