from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from refglmm.errors import ArgumentError
from refglmm.fit.ranef import coef, posterior_scale


def test_modes_are_the_best_linear_unbiased_predictions(linear):
    case = linear(True)
    Sigma = case.Lambda @ case.Lambda.T
    blup = Sigma @ case.Z.T @ case.Vinv @ case.r
    ranef = case.fit.ranef()
    np.testing.assert_allclose(ranef["subject"].to_numpy().ravel(), blup[:12], atol=1e-12)
    np.testing.assert_allclose(ranef["item"].to_numpy().ravel(), blup[12:], atol=1e-12)
    assert list(ranef["subject"].columns) == ["(Intercept)", "x"]
    assert list(ranef["item"].index) == ["i1", "i2", "i3", "i4"]


def test_conditional_covariances_are_those_of_the_normal_distribution(linear):
    """Var(b | y) = sigma^2 (Sigma - Sigma Z' V^-1 Z Sigma), dense."""
    case = linear(True)
    Sigma = case.Lambda @ case.Lambda.T
    full = case.fit.sigma**2 * (Sigma - Sigma @ case.Z.T @ case.Vinv @ case.Z @ Sigma)
    blocks = case.fit.ranef().cond_var
    for level in range(6):
        part = slice(2 * level, 2 * level + 2)
        np.testing.assert_allclose(blocks["subject"][level], full[part, part], atol=1e-12)
    np.testing.assert_allclose(blocks["item"][:, 0, 0], np.diag(full)[12:], atol=1e-12)


def test_long_form(linear):
    case = linear(True)
    ranef = case.fit.ranef()
    frame = ranef.as_frame()
    assert list(frame.columns) == ["grp", "term", "level", "condval", "condsd"]
    assert len(frame) == 16
    row = frame[(frame.grp == "subject") & (frame.term == "x") & (frame.level == "s3")].iloc[0]
    assert row.condval == ranef["subject"].loc["s3", "x"]
    assert row.condsd == pytest.approx(np.sqrt(ranef.cond_var["subject"][2, 1, 1]))


def test_without_conditional_variances_there_is_no_work_for_them(linear):
    case = linear(True)
    case.mode.factor.selected_inverse = None  # calling it would fail
    ranef = case.fit.ranef(cond_var=False)
    assert ranef.cond_var == {}
    assert "condsd" not in ranef.as_frame()


def test_scale_of_the_posterior(linear, poisson):
    case = linear(True)
    assert posterior_scale(case.fit) == case.fit.sigma**2
    assert posterior_scale(poisson().fit) == 1.0
    scale = SimpleNamespace(is_lmm=False, has_scale=True, sigma=3.0)
    assert posterior_scale(SimpleNamespace(**vars(scale), mode_name="lme4")) == 9.0
    assert posterior_scale(SimpleNamespace(**vars(scale), mode_name="exact")) == 1.0


def test_coefficients_add_both_sides(linear):
    case = linear(True)
    coefficients = case.fit.coef()
    np.testing.assert_allclose(coefficients["subject"], case.fit.ranef()["subject"] + case.beta, rtol=1e-14)
    np.testing.assert_allclose(coefficients["item"]["x"], case.beta[1], rtol=1e-15)
    np.testing.assert_allclose(
        coefficients["item"]["(Intercept)"],
        case.fit.ranef()["item"]["(Intercept)"] + case.beta[0],
        rtol=1e-14,
    )


def two_terms_on_one_factor(case):
    """The slope moves to a term of its own, on the same factor; its fixed effect is missing."""
    subject = case.terms[0]
    first = SimpleNamespace(**{**vars(subject), "columns": ("(Intercept)",)})
    second = SimpleNamespace(**{**vars(subject), "columns": ("z",), "label": "subject.1"})
    return SimpleNamespace(
        design=SimpleNamespace(terms=(first, second), names=("(Intercept)", "x")),
        optimum=case.optimum,
        conditional=case.mode,
    )


def test_terms_on_one_factor_stand_side_by_side_and_a_missing_side_counts_as_zero(linear):
    stand_in = two_terms_on_one_factor(linear(True))
    frame = coef(stand_in)["subject"]
    b = stand_in.conditional.b
    assert list(frame.columns) == ["(Intercept)", "x", "z"]
    np.testing.assert_allclose(frame["(Intercept)"], stand_in.optimum.beta[0] + b[:6])
    np.testing.assert_allclose(frame["x"], stand_in.optimum.beta[1])
    np.testing.assert_allclose(frame["z"], b[6:12])


def test_unknown_factors_are_refused_and_known_ones_listed(linear):
    ranef = linear(True).fit.ranef()
    with pytest.raises(ArgumentError, match="subject, item"):
        ranef["nobody"]
    assert list(ranef) == ["subject", "item"]
    assert "nobody" not in ranef
    assert len(ranef) == 2


def test_frames_are_copies(linear):
    fit = linear(True).fit
    ranef = fit.ranef()
    before = ranef["item"].copy()
    handed_out = ranef["item"]
    handed_out.iloc[:] = 99.0
    ranef.cond_var["item"][:] = 99.0
    long = ranef.as_frame()
    long.iloc[:, 3] = 99.0
    pd.testing.assert_frame_equal(fit.ranef()["item"], before)
    assert fit.ranef().cond_var["item"].max() < 99.0
    assert fit.ranef().as_frame()["condval"].max() < 99.0


def test_printing_and_html(linear):
    ranef = linear(True).fit.ranef()
    assert "$subject" in str(ranef)
    assert "s6" in repr(ranef)
    html = ranef._repr_html_()
    assert html.count("<table>") == 2
    assert "i4" in html
