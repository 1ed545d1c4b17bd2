"""The criterion behind profiles: its Hessian in models whose parameters are correlations."""

import numpy as np
import pytest

import refglmm as rg
from refglmm.inference.criterion import criterion
from refglmm.inference.wald import linear_hessian


def test_hessian_of_a_correlation_is_that_of_the_optimum():
    """Differenced with steps in units of the correlation, not of the factor's slope at a correlation of one."""
    data = rg.datasets.load("Contraception")
    fit = rg.glmer("use ~ urban + cs(1 + urban | district)", data, "binomial")
    H, ours = criterion(fit).hessian, fit.optimum.hessian
    assert np.allclose(H, ours, rtol=1e-4, atol=1e-4 * np.sqrt(np.outer(np.diag(ours), np.diag(ours))))


def test_standard_error_of_a_correlation_is_the_same_from_both_parametrisations():
    """cs of two columns is us: the curvature in rho with the deviations held at their estimates is the same."""
    data = rg.datasets.load("sleepstudy")
    cs = rg.lmer("Reaction ~ Days + cs(1 + Days | Subject)", data)
    us = rg.lmer("Reaction ~ Days + (1 + Days | Subject)", data)
    (_, sd, rho), (a, b, c) = cs.par, us.par
    # us: T = [[a, 0], [b, c]] with b = sd rho, c = sd sqrt(1 - rho^2)
    assert [a, b, c] == pytest.approx([cs.par.iloc[0], sd * rho, sd * np.sqrt(1.0 - rho**2)], rel=1e-5)
    along = np.array([0.0, sd, -sd * rho / np.sqrt(1.0 - rho**2)])
    expected = along @ linear_hessian(us)[:3, :3] @ along
    assert linear_hessian(cs)[2, 2] == pytest.approx(expected, rel=1e-3)
