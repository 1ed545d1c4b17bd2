"""Both lognormal families against scipy, differences, integrals, draws, a linear mixed model and quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from families.densities import (
    certified,
    check_derivatives,
    check_draws,
    check_moments,
    check_orders,
    line_rule,
    observe,
    positive_rule,
)
from scipy import stats

import refglmm as rg
from refglmm.errors import ResponseError
from refglmm.families.kernel import L
from refglmm.families.registry import get_family

FAMILIES = {
    ("lognormal", "log"): (-2.0, 0.4, 2.0),
    ("lognormal", "identity"): (0.8, 2.0),
    ("lognormal_log", "log"): (-2.0, 0.4, 2.0),
}
Y = np.array([0.01, 1.0, 30.0])
PHI = (0.7,)

each_family = pytest.mark.parametrize(("name", "link"), FAMILIES)


def law(name, mu, phi):
    """scipy's law of which mu is the mean or the median."""
    if name == "lognormal_log":
        return stats.lognorm(phi, scale=mu)
    v = np.log(1.0 + (phi / mu) ** 2)
    return stats.lognorm(np.sqrt(v), scale=mu * np.exp(-0.5 * v))


@each_family
def test_log_density_is_scipys(name, link):
    family = get_family(name, link)
    for eta in FAMILIES[name, link]:
        wanted = law(name, float(family.link.inverse(np.array([eta]))[0]), PHI[0]).logpdf(Y)
        np.testing.assert_allclose(observe(family, Y, eta, 2.0, PHI)[L], 2.0 * wanted, rtol=1e-12)


@each_family
def test_derivatives(name, link):
    check_derivatives(get_family(name, link), Y, FAMILIES[name, link], 1.5, PHI, step=5e-3)


@pytest.mark.parametrize("name", ["lognormal", "lognormal_log"])
def test_orders_moments_and_draws(name):
    family = get_family(name)
    check_orders(family, Y, 0.3, 2.0, PHI)
    check_moments(family, *positive_rule(-8.0, 12.0), 0.4, PHI)
    check_draws(family, 0.4, PHI)


def test_small_means_are_finite():
    assert np.all(np.isfinite(observe(get_family("lognormal"), Y, -700.0, 1.0, PHI)))


def test_refusals():
    for name in ("lognormal", "lognormal_log"):
        with pytest.raises(ResponseError, match=f"non-positive values are not allowed for the {name} family: row 1"):
            get_family(name).check_response(np.array([1.0, 0.0]), np.ones(2))


def test_a_linear_mixed_model_of_the_logarithm():
    """lme4 1.1-31: logLik(lmer(log(Reaction) ~ Days + (1 | Subject), REML = FALSE)) - sum(log(Reaction))."""
    fit = certified(rg.glmer("Reaction ~ Days + (1 | Subject)", rg.datasets.load("sleepstudy"), "lognormal_log"))
    assert fit.loglik == pytest.approx(-883.58840581, abs=1e-7)


def test_against_quadrature_over_the_random_effect():
    data = rg.datasets.load("sleepstudy")
    fit = certified(rg.GLMM("Reaction ~ Days + (1 | Subject)", data, "lognormal").fit(n_agq=15))
    (a, b), sd, phi = fit.optimum.beta, fit.optimum.par[0], fit.optimum.phi[0]
    u, w = line_rule(-0.6, 0.6, 300)
    total = 0.0
    for _, rows in data.groupby("Subject", observed=True):
        y, eta = rows["Reaction"].to_numpy(), a + b * rows["Days"].to_numpy()
        joint = law("lognormal", np.exp(eta + u[:, None]), phi).logpdf(y).sum(axis=1) + stats.norm(0.0, sd).logpdf(u)
        total += np.logaddexp.reduce(joint + np.log(w))
    assert fit.loglik == pytest.approx(total, abs=1e-6)


def test_identity_link_fits():
    certified(
        rg.glmer("Reaction ~ Days + (1 | Subject)", rg.datasets.load("sleepstudy"), get_family("lognormal", "identity"))
    )
