"""Comparisons with Monte Carlo errors: what passes, what fails, what is absent."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from validation import posterior
from validation.compare import Broken, Comparison, Left
from validation.prepare import AbsentError


def estimates(bias=0.0, understated=1.0, n=50, seed=1):
    rng = np.random.default_rng(seed)
    values = posterior.LOG_ML + bias + 0.02 * rng.standard_normal(n)
    return [SimpleNamespace(logml=v, error=0.02 / understated) for v in values]


def verdicts(found):
    return {record.quantity: record.passed for record in posterior.calibrated("entry", found)}


def test_calibrated_estimates_pass():
    assert all(verdicts(estimates()).values())


def test_a_bias_fails():
    found = verdicts(estimates(bias=0.1))
    assert not found["mean over 50 seeds"]
    assert not found["share within 3 reported errors"]


@pytest.mark.parametrize("factor", [3.0, 1 / 3])
def test_a_wrong_error_fails(factor):
    found = verdicts(estimates(understated=factor))
    assert found["mean over 50 seeds"]
    assert not found["actual error / reported error"]


def test_what_is_absent_or_breaks_does_not_stop_the_rest(monkeypatch):
    def absent():
        raise AbsentError("not here")

    def broken():
        raise ZeroDivisionError("no")

    def fine():
        yield posterior._record("turtles", "x", "1.25", 1.2549, 0.0, "half a unit")

    for name in ("debate_mode", "debate_bridge", "bayesrtmb_draws"):
        monkeypatch.setattr(posterior, name, absent)
    monkeypatch.setattr(posterior, "debate_bayes_factor", broken)
    monkeypatch.setattr(posterior, "turtles", fine)
    left, _, failed, _, passed = posterior.compare_posterior()
    assert isinstance(left, Left)
    assert left.reason == "not here"
    assert isinstance(failed, Broken)
    assert failed.message == "ZeroDivisionError: no"
    assert isinstance(passed, Comparison)
    assert passed.passed


def test_the_mode_of_the_debate_data(shared_data, monkeypatch):
    data = shared_data("debate")
    monkeypatch.setattr(posterior, "beside", lambda name: {"debate": data}[name])
    posterior.debate_model.cache_clear()
    found = list(posterior.debate_mode())
    posterior.debate_model.cache_clear()
    assert [record.quantity for record in found] == list(posterior.MODE)
    assert all(record.passed for record in found)
