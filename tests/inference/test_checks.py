"""Overdispersion, zeros and quasi-likelihood."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from diagnostic_fits import cbpp, crossed, grouseticks, sleepstudy
from scipy import stats

import refglmm as rg
from refglmm.errors import NotAvailableError
from refglmm.inference.checks import zero_probabilities


@pytest.mark.golden
def test_overdispersion_of_the_glmm_faq():
    """overdisp_fun on lme4's cbpp fit; performance 0.10.2 has the same for cbpp and grouseticks.

    Two walks to lme4's loosely stopped optimum differ by 4e-6 in theta; the chi-square follows.
    """
    check = cbpp("lme4").overdispersion()
    assert check.numbers["chisq"] == pytest.approx(63.06743, rel=5e-6)
    assert check.numbers["df"] == 51
    assert check.statistic == pytest.approx(1.23662, rel=1e-5)
    assert check.p_value == pytest.approx(0.11966, rel=1e-4)
    assert check.ok
    ticks = grouseticks().overdispersion()
    assert ticks.numbers["chisq"] == pytest.approx(691.137146926, rel=1e-3)
    assert ticks.numbers["df"] == 397
    assert not ticks.ok
    assert "negative binomial" in ticks.verdict


def test_quasi_table_scales_the_standard_errors():
    fit = cbpp()
    table = fit.quasi_table()
    ratio = fit.overdispersion().statistic
    np.testing.assert_allclose(table["Std. Error"], fit.se * np.sqrt(ratio), rtol=1e-14)
    np.testing.assert_allclose(table["Pr(>|z|)"], 2 * stats.norm.sf(np.abs(table["z value"])), rtol=1e-14)
    assert table.attrs["dispersion"] == ratio


def test_zero_probabilities_are_those_of_scipy():
    poisson, binomial, negative = crossed("poisson"), crossed("probit"), crossed("negative binomial")
    np.testing.assert_allclose(zero_probabilities(poisson), stats.poisson.pmf(0, poisson.fitted), rtol=1e-12)
    trials = binomial.frame.weights
    np.testing.assert_allclose(zero_probabilities(binomial), stats.binom.pmf(0, trials, binomial.fitted), rtol=1e-10)
    size = float(negative.phi["size"])
    wanted = stats.nbinom.pmf(0, size, size / (size + negative.fitted))
    np.testing.assert_allclose(zero_probabilities(negative), wanted, rtol=1e-10)


def test_zeros_are_counted_against_their_expectation():
    check = grouseticks().zero_inflation()
    expected = stats.poisson.pmf(0, grouseticks().fitted)
    assert check.numbers["observed"] == 126
    assert check.numbers["expected"] == pytest.approx(expected.sum(), rel=1e-10)
    z = (126 - expected.sum()) / np.sqrt(np.sum(expected * (1 - expected)))
    assert check.numbers["z"] == pytest.approx(z, rel=1e-10)
    assert check.verdict.startswith("More zeros")


def test_a_surplus_of_zeros_is_found_and_its_absence_too():
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(20), 15)
    mean = np.exp(1.5 + 0.3 * rng.normal(size=20)[group])
    counts = rng.poisson(mean)
    data = {"g": [f"g{j}" for j in group], "y": counts, "inflated": np.where(rng.random(300) < 0.25, 0, counts)}
    assert rg.glmer("y ~ 1 + (1 | g)", data, "poisson").zero_inflation().ok
    assert not rg.glmer("inflated ~ 1 + (1 | g)", data, "poisson").zero_inflation().ok


def test_where_there_is_nothing_to_check_it_says_why():
    with pytest.raises(NotAvailableError, match="the dispersion of this gaussian model is estimated"):
        sleepstudy().overdispersion()
    with pytest.raises(NotAvailableError, match="the dispersion of this gamma model is estimated"):
        crossed("gamma").quasi_table()
    with pytest.raises(NotAvailableError, match="zeros of a gamma response"):
        crossed("gamma").zero_inflation()
    data = rg.datasets.load("toenail")
    binary = rg.glmer("outcome ~ time + (1 | patientID)", data, "binomial")
    with pytest.raises(NotAvailableError, match="binary responses cannot be overdispersed"):
        binary.overdispersion()


def test_a_check_prints_and_travels():
    check = cbpp().overdispersion()
    assert repr(check).startswith("Overdispersion: ratio = 1.23")
    assert "<table" in check._repr_html_()
    assert pickle.loads(pickle.dumps(check)) == check
    with pytest.raises(TypeError):
        check.numbers["ratio"] = 1.0


def test_fortify_puts_fits_and_residuals_beside_the_data():
    fit = sleepstudy()
    frame = fit.fortify()
    assert list(frame)[-3:] == [".fitted", ".resid", ".scresid"]
    np.testing.assert_array_equal(frame[".fitted"], fit.fitted)
    np.testing.assert_allclose(frame[".scresid"], fit.residuals("pearson", scaled=True), rtol=1e-15)
    frame[".fitted"] = 0.0
    assert fit.fitted.iloc[0] != 0.0
