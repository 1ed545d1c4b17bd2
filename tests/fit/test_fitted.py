from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest

from refglmm.errors import ArgumentError

SERIES = ["fixef", "theta", "par", "phi", "se", "ngroups", "fitted"]
METHODS = ["residuals", "weights", "vcov", "model_matrix", "model_frame", "coefficients"]


def read(fit, name):
    value = getattr(fit, name)
    return value() if callable(value) else value


@pytest.mark.parametrize("name", SERIES + METHODS)
def test_changing_a_result_does_not_change_the_fit(name, linear):
    fit = linear(True).fit
    before = read(fit, name).copy()
    handed_out = read(fit, name)
    if handed_out.size:
        handed_out.iloc[...] = 5
    assert before.equals(read(fit, name))


def test_arrays_inside_the_fit_are_read_only(linear):
    fit = linear(True).fit
    for array in (
        fit.optimum.par,
        fit.optimum.beta,
        fit.conditional.u,
        fit.conditional.rx,
        fit.conditional.mu,
    ):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
    fit.beta[0] = 99.0
    assert fit.fixef.iloc[0] != 99.0
    with pytest.raises(FrozenInstanceError):
        fit.sigma = 2.0


def test_reading_everything_leaves_no_trace(linear):
    fit = linear(True).fit
    before = fit.to_json()
    for name in SERIES + METHODS:
        read(fit, name)
    fit.get_me("ALL")
    str(fit), str(fit.summary()), fit._repr_html_(), fit.vcov(full=True)
    assert fit.to_json() == before


def test_fixed_effects_and_dropped_columns(linear):
    case = linear(True)
    assert case.fit.fixef.to_dict() == dict(zip(("(Intercept)", "x"), case.beta, strict=True))
    full = case.fit.coefficients(add_dropped=True)
    assert list(full.index) == ["(Intercept)", "x", "x2"]
    assert np.isnan(full["x2"])
    assert case.fit.coefficients().equals(case.fit.fixef)


def test_shape_parameters(linear, poisson):
    assert len(linear(True).fit.phi) == 0
    assert poisson().fit.phi.dtype == float


def test_model_matrices(linear):
    case = linear(True)
    X = case.fit.model_matrix()
    assert list(X.index[:4]) == ["row0", "row1", "row2", "row4"]
    np.testing.assert_array_equal(X, case.X)
    np.testing.assert_array_equal(case.fit.model_matrix("random").toarray(), case.Z)
    with pytest.raises(ArgumentError, match="'fixed' or 'random'"):
        case.fit.model_matrix("both")


def test_kind_of_model(linear, poisson):
    fit = linear(True).fit
    assert (fit.is_lmm, fit.is_glmm, fit.is_reml, fit.has_scale) == (True, False, True, True)
    fit = poisson().fit
    assert (fit.is_lmm, fit.is_glmm, fit.is_reml, fit.has_scale) == (False, True, False, False)
    assert fit.convergence is fit.optimum.certificate


def test_singularity_follows_the_structures(linear):
    fit = linear(True).fit
    assert not fit.is_singular()
    assert fit.is_singular(tol=0.65)


def test_short_print_of_a_linear_model(linear):
    lines = str(linear(True).fit).splitlines()
    assert lines[:5] == [
        "Linear mixed model fit by REML",
        "Formula: y ~ x + (x | subject) + (1 | item)",
        "   Data: made_up",
        "REML criterion at convergence: 181.202",
        "Random effects:",
    ]
    assert lines[10:12] == ["Number of obs: 60, groups:  subject, 6; item, 4", "Fixed Effects:"]
    assert lines[-2].split() == ["(Intercept)", "x"]


def test_short_print_shows_trouble(poisson):
    fit = poisson(certificate_changes={"converged": False, "messages": ("gradient of x is 3",)}).fit
    assert "NOT converged" in repr(fit)
    assert "gradient of x is 3" in fit._repr_html_()
    assert "converged" not in str(poisson().fit)


def test_notebook_view_has_the_three_tables(poisson):
    html = poisson(data_name="<b>mine</b>").fit._repr_html_()
    assert html.count("<table>") == 3
    assert "&lt;b&gt;mine" in html


def test_results_are_computed_once(linear):
    fit = linear(True).fit
    assert fit.ranef() is fit.ranef()
    assert fit.varcorr is fit.varcorr
    assert fit.trace is fit.trace


def test_a_model_without_fixed_effects_prints(poisson):
    case = poisson()
    from dataclasses import replace
    from types import SimpleNamespace

    design = SimpleNamespace(**{**vars(case.design), "X": np.empty((60, 0)), "names": (), "all_names": ()})
    mode = replace(case.mode, rx=np.empty((0, 0)), rzx=np.empty((5, 0)))
    optimum = replace(case.optimum, beta=np.empty(0), names=case.optimum.names[:1], hessian=np.array([[2.0]]))
    fit = replace_fit(case.fit, design=design, conditional=mode, optimum=optimum)
    assert fit.df == 1
    assert fit.vcov().shape == (0, 0)
    assert fit.vcov(full=True).shape == (5, 5)
    assert "No fixed effects" in str(fit)
    assert "No fixed effects" in str(fit.summary())
    assert isinstance(fit.coef()["g"], pd.DataFrame)
    assert fit.to_dict()["fixed"] == []
    fit._repr_html_(), fit.summary()._repr_html_()


def replace_fit(fit, **changes):
    from dataclasses import replace

    return replace(fit, **changes)


def test_the_tolerance_of_singularity_is_a_number(linear):
    fit = linear(True).fit
    for tol in ("a", -1.0, True, float("nan")):
        with pytest.raises(ArgumentError, match="tol must be a number >= 0"):
            fit.is_singular(tol)
