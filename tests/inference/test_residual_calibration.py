"""Calibrated tests: the definition by hand, what they find, failures counted, workers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from diagnostic_fits import cbpp, crossed, sleepstudy

import refglmm as rg
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.inference import residual_calibration as module
from refglmm.inference.simulated_residuals import ks_distances
from refglmm.inference.tasks import seeds


def test_a_statistic_is_ranked_among_those_of_replicates():
    fit = cbpp()
    result = fit.calibrated_tests(19, 39, seed=3)
    first, *others = seeds(3, 20)
    own = fit.simulated_residuals(39, seed=np.random.default_rng(first)).tests()
    replicates = [module.replicate_statistics(fit, 39, False, seed) for seed in others]
    for test, p in zip(own, result.p_values, strict=True):
        above = (1 + sum(r[test.name] >= test.statistic for r in replicates)) / 20
        below = (1 + sum(r[test.name] <= test.statistic for r in replicates)) / 20
        one_sided = test.name in ("Uniformity (KS)", "Quantiles")
        assert p == (above if one_sided else min(1.0, 2 * min(above, below)))
    assert list(result.tests) == own
    assert result.n_replicates == 19


def test_fitted_data_lie_closer_to_the_model_than_simulated_ones():
    # the reason for the calibration: without it the distances of the simulations are the reference
    fit = sleepstudy()
    plain = ks_distances(fit.simulated_residuals(200, seed=1).scaled[1:]).mean()
    fitted = [module.replicate_statistics(fit, 39, False, seed)["Uniformity (KS)"] for seed in seeds(5, 25)]
    assert np.mean(fitted) < 0.8 * plain


def test_overdispersion_is_found_where_the_modes_are_kept():
    data = rg.datasets.load("grouseticks")
    fit = rg.glmer("TICKS ~ YEAR + (1 | BROOD)", data, "poisson")
    frame = fit.calibrated_tests(19, 39, seed=1, use_u=True).as_frame()
    assert frame.loc["Dispersion (simulated)", "p_calibrated"] == 2 / 20


def test_workers_do_not_change_the_numbers():
    fit = crossed("ml")
    with ThreadPoolExecutor(2) as threads:
        spread = fit.calibrated_tests(8, 19, seed=2, executor=threads)
    assert spread.p_values == fit.calibrated_tests(8, 19, seed=2).p_values


def test_failed_replicates_are_counted(monkeypatch):
    calls = iter(range(100))

    def sometimes(fit, rng, **options):
        if next(calls) % 2:
            raise ValueError("no luck")
        return np.array(fit.frame.y)

    monkeypatch.setattr(module, "simulated_responses", sometimes)
    result = cbpp().calibrated_tests(6, 9, seed=1)
    assert result.n_replicates == 3
    assert result.failures == ("ValueError: no luck",) * 3
    assert "3 more failed" in repr(result)
    assert "<table" in result._repr_html_()
    monkeypatch.setattr(module, "simulated_responses", lambda *_, **__: 1 / 0)
    with pytest.raises(NotAvailableError, match="all 2 replicates failed; the first: ZeroDivisionError"):
        cbpp().calibrated_tests(2, 9, seed=1)
    with pytest.raises(ArgumentError, match="whole number"):
        cbpp().calibrated_tests(0)
