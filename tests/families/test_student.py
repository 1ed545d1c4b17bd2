"""Student's t against scipy, differences, integrals, draws, limits, glmmTMB."""

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
)
from scipy import stats

import refglmm as rg
from refglmm.errors import ArgumentError
from refglmm.families.kernel import H_PHI, L_PHI, S_PHI, L
from refglmm.families.registry import get_family

LINKS = {"identity": (-3.0, 0.4, 5.0), "log": (-3.0, 0.4, 2.0)}
Y = np.array([-3.0, 0.0, 0.5, 100.0])
PHI = (1.3, 3.5)

each_link = pytest.mark.parametrize("link", LINKS)


@each_link
@pytest.mark.parametrize("df", [0.3, 3.5, 400.0])
def test_log_density_is_scipys(link, df):
    family = get_family("student_t", link)
    for eta in LINKS[link]:
        mu = float(family.link.inverse(np.array([eta]))[0])
        given = observe(family, Y, eta, 2.0, (1.3, df))[L]
        np.testing.assert_allclose(given, 2.0 * stats.t(df, mu, 1.3).logpdf(Y), rtol=1e-12)


@each_link
def test_derivatives(link):
    check_derivatives(get_family("student_t", link), Y, LINKS[link], 1.5, PHI, step=1e-2)


def test_orders_and_weight_zero():
    check_orders(get_family("student_t"), Y, 0.3, 2.0, PHI)


def test_moments_and_draws():
    phi = (1.3, 12.0)
    y, w = line_rule(-6.0, 6.0, 1000)  # sinh reaches the tails
    check_moments(get_family("student_t"), np.sinh(y), w * np.cosh(y), 0.4, phi)
    check_draws(get_family("student_t"), 0.4, phi)


def test_variance_that_is_not_there():
    assert np.all(np.isinf(get_family("student_t").at(np.array([1.0, 2.0])).variance(np.zeros(3))))


def test_many_degrees_of_freedom_are_the_normal():
    family = get_family("student_t")
    near = np.array([-3.0, 0.0, 0.5, 4.0])
    for df in (1e9, 1e60):
        np.testing.assert_allclose(observe(family, near, 0.4, 1.0, (1.3, df))[L], stats.norm(0.4, 1.3).logpdf(near))
        out = np.empty((4, 4))
        family.observe_shape(near, np.full(4, 0.4), np.ones(4), np.array([1.3, df]), 1, out)
        assert np.all(np.abs(out[[L_PHI, S_PHI, H_PHI]]) < 1e-15)


def test_outliers_are_finite():
    for eta in (-1e60, 1e60):
        assert np.all(np.isfinite(observe(get_family("student_t"), Y, eta, 1.0, PHI)))


def test_known_degrees_of_freedom():
    family = get_family("students.t(df=4)")
    assert family == get_family("student_t(4)")
    assert family.shape_names == ("scale",)
    assert family.display == "student_t(4) ( identity )"
    with pytest.raises(ArgumentError, match="estimates its parameters in the order scale, df"):
        type(family)(scale=1.0)


def test_glmmtmb():
    """glmmTMB 1.1.5: glmmTMB(Reaction ~ Days + (Days | Subject), sleepstudy, t_family)."""
    fit = certified(rg.glmer("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"), "t_family"))
    assert fit.loglik == pytest.approx(-854.669416, abs=1e-6)
    np.testing.assert_allclose(fit.optimum.beta, [251.0972, 10.73383], rtol=1e-4)
    np.testing.assert_allclose(fit.optimum.phi, [14.49448, 2.898049], rtol=1e-4)


def test_known_degrees_of_freedom_are_the_section_of_the_likelihood():
    data = rg.datasets.load("sleepstudy")
    free = rg.glmer("Reaction ~ Days + (Days | Subject)", data, "student_t")
    family = type(free.model.family)(df=float(free.optimum.phi[1]))
    held = certified(rg.glmer("Reaction ~ Days + (Days | Subject)", data, family))
    assert held.loglik == pytest.approx(free.loglik, abs=1e-7)
    np.testing.assert_allclose(held.optimum.beta, free.optimum.beta, rtol=1e-5)


def test_log_link_fit():
    """With many degrees of freedom it is the gaussian with log link."""
    data, formula = rg.datasets.load("sleepstudy"), "Reaction ~ Days + (1 | Subject)"
    fit = certified(rg.glmer(formula, data, get_family("student_t(df=1e8)", "log")))
    normal = rg.glmer(formula, data, get_family("gaussian", "log"))
    assert fit.loglik == pytest.approx(normal.loglik, abs=1e-4)
