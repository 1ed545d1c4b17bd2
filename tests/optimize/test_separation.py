"""Separation is named; large but well-determined coefficients are not."""

from __future__ import annotations

import numpy as np
import pytest
from problems import build

from refglmm.covariance import make_structure
from refglmm.families.registry import get_family
from refglmm.optimize.control import Control
from refglmm.optimize.separation import runaway_deviations, separated_columns
from refglmm.optimize.two_stage import fit_glmm


def fitted(family, X, y, codes, a=None):
    levels = int(codes.max()) + 1
    n = len(y)
    problem = build(
        get_family(*family), X, [(codes, np.ones((n, 1)), levels)], [make_structure("us", 1)], y,
        np.ones(n) if a is None else a,
    )  # fmt: skip
    optimum, mode = fit_glmm(problem, 1, Control())
    return separated_columns(problem, mode, optimum.beta), optimum


def grouped(n=60, seed=5):
    rng = np.random.default_rng(seed)
    return rng, np.repeat(np.arange(n // 6), 6)


def test_a_level_with_only_failures_is_named():
    rng, codes = grouped()
    treated = np.tile([0.0, 1.0], 30)
    y = np.where(treated == 1, 0.0, rng.binomial(1, 0.5, 60))
    found, optimum = fitted(("binomial",), np.column_stack([np.ones(60), treated]), y, codes)
    assert found == ("x1",)
    assert optimum.beta[1] < -10


def test_a_level_without_counts_is_named():
    rng, codes = grouped()
    treated = np.tile([0.0, 1.0], 30)
    y = np.where(treated == 1, 0.0, rng.poisson(2.0, 60)).astype(float)
    found, _ = fitted(("poisson",), np.column_stack([np.ones(60), treated]), y, codes)
    assert found == ("x1",)


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_a_covariate_that_splits_the_data_is_named(link):
    _, codes = grouped()
    x = np.tile(np.linspace(-1, 1, 6), 10)
    y = (x > 0).astype(float)
    found, _ = fitted(("binomial", link), np.column_stack([np.ones(60), x]), y, codes)
    assert "x1" in found


def test_ordinary_data_are_not_accused():
    rng, codes = grouped()
    x = rng.normal(size=60)
    y = rng.binomial(1, 1 / (1 + np.exp(-x))).astype(float)
    assert fitted(("binomial",), np.column_stack([np.ones(60), x]), y, codes)[0] == ()


def test_a_steep_but_determined_slope_is_not_accused():
    """Slope 12 over the range of x with thousands of trials: its standard error is small."""
    rng, codes = grouped()
    x = np.tile(np.linspace(-1, 1, 6), 10)
    a = np.full(60, 5000.0)
    y = rng.binomial(5000, 1 / (1 + np.exp(-6 * x))) / a
    found, optimum = fitted(("binomial",), np.column_stack([np.ones(60), x]), y, codes, a)
    assert optimum.beta[1] == pytest.approx(6.0, abs=0.3)
    assert found == ()


def test_units_do_not_matter():
    """The splitting covariate in millions, or in millionths."""
    _, codes = grouped()
    x = np.tile(np.linspace(-1, 1, 6), 10)
    y = (x > 0).astype(float)
    for unit in (1e-6, 1e6):
        found, _ = fitted(("binomial",), np.column_stack([np.ones(60), x * unit]), y, codes)
        assert "x1" in found


def test_an_identity_link_cannot_separate():
    """Means of 500 on the identity scale: large numbers, nothing runs away."""
    rng, codes = grouped()
    mean = 500.0 + 120.0 * rng.standard_normal(10)[codes]
    y = rng.poisson(mean).astype(float)
    found, optimum = fitted(("poisson", "identity"), np.ones((60, 1)), y, codes)
    assert optimum.beta[0] > 300
    assert found == ()


def test_families_with_a_scale_cannot_separate():
    rng, codes = grouped()
    y = rng.gamma(3.0, 500.0, 60)
    assert fitted(("gamma", "identity"), np.ones((60, 1)), y, codes)[0] == ()


def test_without_fixed_effects_nothing_can_separate():
    _, codes = grouped()
    assert fitted(("binomial",), np.empty((60, 0)), np.tile([0.0, 1.0], 30), codes)[0] == ()


def binary_groups(y, codes, sd):
    """A model y ~ x + (1 | group) at a standard deviation, without a fit."""
    n, levels = len(y), int(codes.max()) + 1
    x = np.tile(np.linspace(-1.0, 1.0, 6), n // 6)
    problem = build(
        get_family("binomial"), np.column_stack([np.ones(n), x]), [(codes, np.ones((n, 1)), levels)],
        [make_structure("us", 1)], y, np.ones(n),
    )  # fmt: skip
    return runaway_deviations(problem, np.array([sd]))


def test_a_variance_that_nothing_holds_is_named():
    """Groups that are all successes or all failures, and groups that a covariate splits each at its own threshold."""
    _, codes = grouped()
    assert binary_groups((codes % 2).astype(float), codes, 50.0) == ("g0.c0",)
    x = np.tile(np.linspace(-1.0, 1.0, 6), 10)
    threshold = np.linspace(-0.5, 0.5, 10)[codes]
    assert binary_groups((x > threshold).astype(float), codes, 50.0) == ("g0.c0",)


def test_one_mixed_group_holds_the_variance():
    _, codes = grouped()
    y = (codes % 2).astype(float)
    y[[0, 1, 2]] = [1.0, 0.0, 1.0]  # not to be split by x
    assert binary_groups(y, codes, 50.0) == ()


def test_an_ordinary_variance_is_not_looked_at(monkeypatch):
    _, codes = grouped()
    monkeypatch.setattr("scipy.optimize.linprog", None)
    assert binary_groups((codes % 2).astype(float), codes, 2.0) == ()
