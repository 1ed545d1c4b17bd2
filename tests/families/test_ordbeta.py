"""Ordered beta: three kinds of row, differences, integrals, draws, glmmTMB."""

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
from scipy.special import expit

import refglmm as rg
from refglmm.errors import NotAvailableError, ResponseError
from refglmm.families.kernel import L
from refglmm.families.registry import get_family

Y = np.array([0.0, 1.0, 1e-6, 0.1, 0.93])
ETAS = (-3.0, 0.4, 5.0)
PHI = (6.0, -1.2, 2.5)


def test_log_density_row_by_row():
    for eta in ETAS:
        mu, above, beyond = expit(eta), expit(eta - PHI[1]), expit(eta - PHI[1] - PHI[2])
        inner = np.log(above - beyond) + stats.beta(mu * PHI[0], (1.0 - mu) * PHI[0]).logpdf(Y[2:])
        wanted = np.r_[np.log(1.0 - above), np.log(beyond), inner]
        given = observe(get_family("ordbeta"), Y, eta, 2.0, PHI)[L]
        np.testing.assert_allclose(given, 2.0 * wanted, rtol=1e-11)


def test_derivatives():
    check_derivatives(get_family("ordbeta"), Y, ETAS, 1.5, PHI)


def test_orders_and_weight_zero():
    check_orders(get_family("ordbeta"), Y, 0.3, 2.0, PHI)


def test_moments_and_draws():
    y, w = line_rule(0.0, 1.0)
    check_moments(get_family("ordbeta"), np.r_[0.0, 1.0, y], np.r_[1.0, 1.0, w], 0.4, PHI)
    check_draws(get_family("ordbeta"), 0.4, PHI)


def test_zero_probability():
    known = get_family("ordbeta").at(np.array(PHI))
    wanted = np.exp(observe(known, 0.0, 0.4, 1.0, PHI)[L])
    np.testing.assert_allclose(known.zero_probability(expit(np.array([0.4]))), wanted, rtol=1e-14)


def test_far_tails_are_finite():
    for eta in (-700.0, 700.0):
        assert np.all(np.isfinite(observe(get_family("ordbeta"), Y, eta, 1.0, PHI)))


def test_cutpoints_need_their_values():
    family = get_family("ordbeta")
    assert family.cutpoints(np.array(PHI)) == pytest.approx((-1.2, 1.3))
    with pytest.raises(NotAvailableError, match="estimated phi, lower, width"):
        family.cutpoints()


def test_refusals():
    with pytest.raises(ResponseError, match="must be 0 <= y <= 1: row 1"):
        get_family("ordbeta").check_response(np.array([1.0, 1.1]), np.ones(2))


def test_glmmtmb():
    """glmmTMB 1.1.5: glmmTMB(o ~ Days + (1 | Subject), family = ordbeta), start psi = (-1, 1)."""
    data = rg.datasets.load("sleepstudy")
    data["o"] = np.clip((data["Reaction"] - 230.0) / 170.0, 0.0, 1.0)
    fit = certified(rg.glmer("o ~ Days + (1 | Subject)", data, "ordbeta"))
    assert fit.loglik == pytest.approx(15.0116662, abs=1e-6)
    cuts = expit(fit.model.family.cutpoints(fit.optimum.phi))
    given = [*fit.optimum.beta, fit.optimum.par[0], fit.optimum.phi[0], *cuts]
    np.testing.assert_allclose(given, [-1.909277, 0.273467, 1.304697, 8.347628, 0.017799, 0.958548], rtol=1e-3)
