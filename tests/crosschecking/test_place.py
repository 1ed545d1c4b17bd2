"""Reported numbers among our parameters: every way to write the random effects gives the same x."""

from __future__ import annotations

import numpy as np
import pytest

import refglmm as rg
from refglmm.crosschecking.place import READINGS, correlation_root, place, same_group
from refglmm.crosschecking.reported import read_reported
from refglmm.errors import ArgumentError, DataError
from refglmm.inference.parameters import full_vector

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def sleep():
    return rg.lmer(FORMULA, rg.datasets.load("sleepstudy"))


@pytest.fixture(scope="module")
def cbpp():
    return rg.GLMM("cbind(incidence, size - incidence) ~ period + (1 | herd)", rg.datasets.load("cbpp"), "binomial")


def base(fit):
    return {"fixef": dict(fit.fixef), "sigma": fit.sigma}


def x_of(model, report):
    return place(model, read_reported(report)).x()


def test_deviations_matrix_and_theta_lie_at_the_same_place(sleep):
    term = sleep.varcorr["Subject"]
    expected = full_vector(sleep)
    forms = [
        {"theta": sleep.theta},
        {"theta": list(sleep.theta)},
        {"varcorr": sleep.varcorr.as_frame()},
        {"sd": {"Subject": dict(zip(term.columns, term.sd, strict=True))}, "corr": {"Subject": term.corr[1, 0]}},
        {"sd": {"Subject": list(term.sd)}, "corr": {"Subject": [term.corr[1, 0]]}},
        {"var": {"Subject": list(term.sd**2)}, "corr": [term.corr[1, 0]]},
        {"var": np.diag(term.cov), "corr": term.corr[1, 0]},
        {"D": {"names": list(term.columns), "values": term.cov}},
        {"D": {"names": list(term.columns)[::-1], "values": term.cov[::-1, ::-1]}},
        {"varcorr": {"Subject": {"names": list(term.columns), "values": term.cov}}},
    ]
    for form in forms:
        np.testing.assert_allclose(x_of(sleep.model, base(sleep) | form), expected, rtol=1e-9)


@pytest.mark.parametrize("structure", ["cs", "ar1"])
def test_one_correlation_is_enough_where_there_is_no_other(structure):
    data = rg.datasets.load("sleepstudy").assign(day=lambda d: (d["Days"] // 4).astype(str))
    fit = rg.lmer(f"Reaction ~ day + {structure}(0 + day | Subject)", data)
    table = fit.varcorr["Subject"]
    sd = dict(zip(table.columns, table.sd, strict=True))
    corr = {"day0, day1": table.corr[0, 1]}
    report = base(fit) | {"sd": {"Subject": sd}, "corr": {"Subject": corr}}
    np.testing.assert_allclose(x_of(fit.model, report), full_vector(fit), rtol=1e-7)


def test_lists_go_through_terms_and_lower_triangles_in_order():
    data = rg.datasets.load("sleepstudy").assign(Early=lambda d: (d["Days"] < 4).astype(float))
    us = rg.GLMM("Reaction ~ Days + (Days + Early | Subject)", data)
    sd, r = np.array([24.5, 5.5, 3.5]), [0.1, 0.2, 0.3]
    T = np.linalg.cholesky(np.array([[1.0, 0.1, 0.2], [0.1, 1.0, 0.3], [0.2, 0.3, 1.0]])) * sd[:, None]
    x = x_of(us, {"sd": list(sd), "corr": {"Subject": r}})
    np.testing.assert_allclose(x[:6], T[np.tril_indices(3)][[0, 1, 3, 2, 4, 5]])
    diag = rg.GLMM("Reaction ~ Days + (Days + Early || Subject)", data)
    np.testing.assert_allclose(x_of(diag, {"var": {"Subject": list(sd**2)}})[:3], sd)


def test_what_was_not_reported_is_nan(cbpp):
    x = x_of(cbpp, {"sd": {"herd": 0.64}})
    assert x[0] == 0.64
    assert np.all(np.isnan(x[1:]))


def test_dispersion_under_its_names():
    model = rg.GLMM("Reaction ~ Days + (1 | Subject)", rg.datasets.load("sleepstudy"), "gamma", link="log")
    for form in ({"phi": 0.01}, {"sigma": 0.1}, {"shape": 100.0}, {"phis": [np.log(100.0)]}):
        assert x_of(model, form)[-1] == pytest.approx(np.log(0.01))


def test_rounding_moves_x_by_half_a_unit(cbpp):
    placer = place(cbpp, read_reported({"fixef": [-1.40, -0.99, -1.13, -1.58], "sd": {"herd": 0.642}}))
    moves = placer.rounding()
    assert moves.shape == (5, 5)
    assert sorted(np.abs(moves).max(axis=1)) == pytest.approx([5e-4, 5e-3, 5e-3, 5e-3, 5e-3])


def test_readings_turn_a_variance_into_a_deviation(cbpp):
    placer = place(cbpp, read_reported({"sd": {"herd": 0.4125}}))
    read = {reading.name: placer.x(reading=reading)[0] for reading in READINGS}
    assert read["the reported standard deviations of the random effects are variances"] == pytest.approx(0.4125**0.5)


def test_a_singular_correlation_matrix_has_a_root():
    corr = np.array([[1.0, -1.0, 0.5], [-1.0, 1.0, -0.5], [0.5, -0.5, 1.0]])
    root = correlation_root(corr)
    np.testing.assert_allclose(root @ root.T, corr, atol=1e-12)
    with pytest.raises(ArgumentError, match="cannot belong together"):
        correlation_root(np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]]))


def test_factors_of_a_crossing_in_any_order():
    assert same_group("a:b", "b:a")
    assert same_group("a:b", "a/b")
    assert not same_group("a:b", "a")


@pytest.mark.parametrize(
    ("report", "error", "message"),
    [
        ({"fixef": [1.5, 2.5]}, ArgumentError, "has 2 numbers, but the model has 4 columns"),
        ({"fixef": {"(Intercept)": 1.5, "Period2": 2.5}}, ArgumentError, "'Period2', .*did you mean 'period2'"),
        ({"sd": {"cow": 0.5}}, ArgumentError, "random effect 'cow' is not in the model, which has herd"),
        ({"theta": [0.5, 0.5]}, ArgumentError, r"theta has 2 numbers, the model 1 \(herd.\(Intercept\)\)"),
        ({"sigma": 2.5}, ArgumentError, "sigma is 2.5, but this family has no sigma"),
        ({"zi": {"x": 0.5}}, ArgumentError, "the model has no zi part"),
        ({"loglik": -92.5, "nobs": 55}, DataError, "55 observations, but the model has 56 rows"),
        ({"loglik": -92.5, "ngroups": 14}, DataError, "14 groups, but the data have herd: 15"),
        ({"loglik": -92.5, "ngroups": {"herd": 14}}, DataError, "14 levels of herd, but the data have 15"),
        ({"loglik": -92.5, "ngroups": {"cow": 14}}, ArgumentError, "'cow', which is no grouping factor"),
    ],
)
def test_reports_about_something_else_are_refused(cbpp, report, error, message):
    with pytest.raises(error, match=message):
        place(cbpp, read_reported(report))


def test_rows_of_single_trials_are_the_same_data(cbpp):
    assert x_of(cbpp, {"sd": 0.5, "nobs": 842})[0] == 0.5


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"sd": {"Subject": {"(Intercept)": 24.5, "Days": 5.5}}}, "without their correlation; give 'corr'"),
        ({"sd": {"Subject": {"Days": 5.5}}}, r"lack '\(Intercept\)'"),
        (
            {"sd": [24.5, 5.5, 3.5]},
            r"sd of the random effects is a list of 3, but the model has 2 \(\(Intercept\), Days\)",
        ),
        ({"sd": {"subject": [24.5, 5.5]}}, "random effect 'subject' is not in the model, which has Subject"),
        (
            {"sd": [24.5, 5.5], "corr": [0.1, 0.2]},
            r"corr of .* is a list of 2, but the model has 1 \(\(Intercept\) and",
        ),
        ({"theta": [1.0, 0.5, 0.25]}, "relative to the residual standard deviation: report 'sigma'"),
        ({"sigma": -25.5}, "sigma is -25.5; it must be positive"),
    ],
)
def test_incomplete_random_effects_are_refused(sleep, report, message):
    with pytest.raises(ArgumentError, match=message):
        place(sleep.model, read_reported(report))


def test_a_shape_parameter_outside_its_range_is_refused():
    """A negative size, most likely a logarithm, is not silently left out."""
    data = rg.datasets.load("epil")
    model = rg.GLMM("y ~ trt + (1 | subject)", data, "negative_binomial")
    with pytest.raises(ArgumentError, match=r"reported size is -0\.12, which the family cannot have; if it is a log"):
        place(model, read_reported({"phi": {"size": -0.12}}))


def test_signs_turn_with_the_outcome_of_a_binary_response_only(cbpp):
    (turned,) = [reading for reading in READINGS if reading.turns]
    assert turned.suits(cbpp)
    assert not turned.suits(cbpp.updated(link="cloglog"))
    assert not turned.suits(rg.GLMM("y ~ trt + (1 | subject)", rg.datasets.load("epil"), "poisson"))
    assert all(reading.suits(cbpp) for reading in READINGS)


def test_random_effects_of_the_zero_part_in_a_table_as_glmmadaptive_has_them():
    data = rg.datasets.load("Salamanders")
    model = rg.GLMM("count ~ mined + (1 | site)", data, "poisson", zi="~ 1 + (1 | site)")
    rows = [
        {"group": "site", "name": "(Intercept)", "name2": None, "value": 0.5},
        {"group": "site", "name": "zi_(Intercept)", "name2": None, "value": 0.25},
    ]
    x = x_of(model, {"varcorr": rows})
    assert list(x[: model.problem.n_par]) == [0.5, 0.25]
