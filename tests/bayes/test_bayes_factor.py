"""Bayes factors, their words, and probabilities of several models."""

from __future__ import annotations

import numpy as np
import pytest
from oracles_bayes import ProbitIntercept, random_walk

from refglmm.bayes.bayes_factor import (
    BayesFactor,
    bf_table,
    evidence_label,
    format_bayes_factor,
    posterior_model_probabilities,
)
from refglmm.bayes.bridge import bridge_sampling
from refglmm.bayes.savage_dickey import SavageDickey
from refglmm.datasets import load
from refglmm.errors import ArgumentError, EvidenceWarning


@pytest.mark.parametrize(
    ("bf", "label"),
    [
        (101.0, "Decisive evidence for Model 1"),
        (99.0, "Strong evidence for Model 1"),
        (9.9, "Substantial evidence for Model 1"),
        (2.9, "Anecdotal evidence for Model 1"),
        (1.0, "No evidence for either model"),
        (1 / 2.9, "Anecdotal evidence for Model 2"),
        (1 / 9.9, "Substantial evidence for Model 2"),
        (1 / 99, "Strong evidence for Model 2"),
        (1 / 101, "Decisive evidence for Model 2"),
    ],
)
def test_words(bf, label):
    assert evidence_label(np.log(bf)) == label


def test_numbers_that_would_overflow_are_powers_of_ten():
    assert format_bayes_factor(np.log(537.91)) == "537.9"
    assert format_bayes_factor(2000.0) == "3.881e+868"
    assert format_bayes_factor(-2000.0) == "2.577e-869"
    assert BayesFactor(0.0, -2000.0, 0.0, 0.0).bf == np.inf


def test_print():
    check = SavageDickey(6.281, 0.021, "kernel density")
    result = BayesFactor.from_results(
        (-409.967, 0.012), (-416.255, 0.016), "Model 2 has b[talk] = 0", savage_dickey=check
    )
    assert repr(result).splitlines() == [
        "Bayes Factor (Bridge Sampling)",
        "",
        "Bayes Factor (BF12) : 538.1",
        "Log Bayes Factor    : 6.288",
        "Error (Log BF)      : 0.02",
        "Evidence            : Decisive evidence for Model 1",
        "Log ML, Model 1     : -409.967 (Error = 0.012)",
        "Log ML, Model 2     : -416.255 (Error = 0.016)",
        "Savage-Dickey       : 6.281 (Error = 0.021, kernel density)",
        "Comparison          : Model 2 has b[talk] = 0",
    ]
    html = result._repr_html_()
    assert "<td" in html
    assert "538.1" in html


def test_from_two_bridges():
    x = np.random.default_rng(1).standard_normal((2, 200, 2))

    def log_density(x):
        return -0.5 * np.sum(x**2, axis=-1)

    one, other = bridge_sampling(x, None, log_density), bridge_sampling(x, None, lambda x: log_density(x) - 3.0)
    result = BayesFactor.from_results(one, other)
    assert result.log_bf == pytest.approx(3.0, abs=1e-6)
    assert result.bf == pytest.approx(np.exp(3.0), rel=1e-6)
    assert result.error == pytest.approx(np.hypot(one.error, other.error))
    assert result.result2 is other


def test_large_errors_are_warned_about():
    with pytest.warns(EvidenceWarning, match=r"log BF = 1\.000 has an error of 0\.25, above 0\.2") as caught:
        BayesFactor.from_results((-1.0, 0.25), -2.0)
    assert caught[0].message.facts["error"] == 0.25
    BayesFactor.from_results((-1.0, 0.25), -2.0, error_threshold=0.3)


def test_probabilities_of_models():
    table = posterior_model_probabilities({"A": (-1000.0, 0.1), "B": -1001.0, "C": -5000.0}, {"B": 3, "A": 1, "C": 0})
    odds = 3.0 * np.exp(-1.0)
    assert table["posterior"].tolist() == pytest.approx([1 / (1 + odds), odds / (1 + odds), 0.0])
    assert table["prior"].tolist() == [0.25, 0.75, 0.0]
    assert table.index.tolist() == ["A", "B", "C"]
    p = table.loc["A", "posterior"]
    assert table.loc["A", "posterior_error"] == pytest.approx(0.1 * p * (1 - p))
    assert table.loc["B", "posterior_error"] == pytest.approx(0.1 * p * (1 - p))
    equal = posterior_model_probabilities({"A": 0.0, "B": 0.0})
    assert equal["posterior"].tolist() == [0.5, 0.5]


def test_table_of_bayes_factors():
    models = {"A": -10.0, "B": -12.0}
    assert bf_table(models).loc["A", "B"] == 2.0
    assert bf_table(models, log=False).loc["B", "A"] == pytest.approx(np.exp(-2.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({},), "give the models as a dictionary"),
        (({"A": "x"},), "cannot read a log marginal likelihood from str"),
        (({"A": (1.0, 2.0, 3.0)},), "cannot read a log marginal likelihood from tuple"),
        (({"A": np.nan},), "log marginal likelihood of nan"),
        (({"A": (0.0, -1.0)},), "with error -1.0 cannot be compared"),
        (({"A": 0.0}, {"B": 1.0}), "prior has weights for B; the models are A"),
        (({"A": 0.0}, [1.0, 2.0]), "one weight for each of the 1 models"),
        (({"A": 0.0}, [-1.0]), "at least 0 and not all 0"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        posterior_model_probabilities(*arguments)


def test_turtles_without_random_intercepts():
    """A probit regression in two dimensions: bridge sampling against quadrature."""
    data = load("turtles")
    model = ProbitIntercept(data["y"], data["x"], data["clutch"].cat.codes)
    exact = model.without_intercepts()
    assert exact == pytest.approx(-156.478590, abs=1e-5)

    def log_density(a):
        return model.log_likelihood(a, -np.inf, 1) + model.log_prior(a)

    covariance = [[0.49, -0.077], [-0.077, 0.0126]]
    x = random_walk(log_density, model.last_mode, covariance, 4, 800, np.random.default_rng(1), scale=1.5)
    result = bridge_sampling(x, None, log_density)
    assert abs(result.logml - exact) < 3.0 * result.error
    assert result.error < 0.05


@pytest.mark.slow
def test_turtles_by_quadrature():
    """BF01 = 1.273 in Sinharay and Stern (2005), table of "true" values; 1.27438 by bridge sampling in Gronau et al."""
    data = load("turtles")
    model = ProbitIntercept(data["y"], data["x"], data["clutch"].cat.codes)
    log_bf = model.without_intercepts() - model.log_marginal_likelihood()
    assert np.exp(log_bf) == pytest.approx(1.273, abs=5e-4)
    assert log_bf == pytest.approx(0.241143, abs=2e-5)
