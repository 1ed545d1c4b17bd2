from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.linalg import LinAlgError

from refglmm.errors import ArgumentError, NotAvailableError, VcovWarning
from refglmm.fit import vcov as vcov_module
from refglmm.fit.vcov import invert_scaled


def test_linear_covariance_is_that_of_generalised_least_squares(linear):
    case = linear(True)
    expected = case.fit.sigma**2 * np.linalg.inv(case.precision)
    frame = case.fit.vcov()
    np.testing.assert_allclose(frame, expected, rtol=1e-11)
    assert list(frame.columns) == ["(Intercept)", "x"]
    assert frame.attrs == {"kind": "rx", "note": ""}
    np.testing.assert_allclose(case.fit.se, np.sqrt(np.diag(expected)), rtol=1e-11)


def test_joint_covariance_is_the_inverse_of_hendersons_equations(linear):
    case = linear(True)
    W = case.weights[:, None]
    Sigma_inv = np.linalg.inv(case.Lambda @ case.Lambda.T)
    top = np.hstack([case.X.T @ (W * case.X), case.X.T @ (W * case.Z)])
    bottom = np.hstack([case.Z.T @ (W * case.X), case.Z.T @ (W * case.Z) + Sigma_inv])
    expected = case.fit.sigma**2 * np.linalg.inv(np.vstack([top, bottom]))
    frame = case.fit.vcov(full=True)
    np.testing.assert_allclose(frame, expected, atol=1e-11)
    assert list(frame.index[:4]) == ["(Intercept)", "x", "subject.(Intercept).s1", "subject.x.s1"]


def test_the_joint_covariance_is_refused_when_it_would_be_huge(linear, monkeypatch):
    monkeypatch.setattr(vcov_module, "FULL_LIMIT", 10)
    with pytest.raises(NotAvailableError, match="p \\+ q = 18 > 10"):
        linear(True).fit.vcov(full=True)


def test_hessian_covariance(poisson):
    case = poisson()
    expected = 2 * np.linalg.inv(case.matrix)[1:, 1:]
    frame = case.fit.vcov()
    np.testing.assert_allclose(frame, expected, rtol=1e-12)
    assert frame.attrs["kind"] == "hessian"
    np.testing.assert_array_equal(case.fit.vcov("hessian"), frame)


def test_rx_covariance_of_a_generalized_model(poisson):
    """Inverse of X'WX - X'WM (I + M'WM)^-1 M'WX, dense; asking for it beside a Hessian warns."""
    case = poisson()
    W, M, X = np.diag(case.mode.w), case.M, case.X
    schur = X.T @ W @ X - X.T @ W @ M @ np.linalg.inv(np.eye(5) + M.T @ W @ M) @ M.T @ W @ X
    with pytest.warns(VcovWarning, match="differ by up to") as caught:
        frame = case.fit.vcov("rx")
    np.testing.assert_allclose(frame, np.linalg.inv(schur), rtol=1e-11)
    ratio = np.sqrt(np.diag(frame) / np.diag(case.fit.vcov())) - 1
    assert caught[0].message.facts["difference"] == pytest.approx(np.abs(ratio).max())
    assert caught[0].filename == __file__


def test_no_warning_when_the_fit_was_asked_for_rx_or_has_no_hessian(poisson):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert poisson(se_type="rx").fit.vcov().attrs["kind"] == "rx"
        assert poisson(hessian="none").fit.vcov("rx").attrs["kind"] == "rx"


def test_without_a_hessian_rx_stands_in_and_says_so(poisson):
    fit = poisson(hessian="none").fit
    frame = fit.vcov()
    assert frame.attrs["kind"] == "rx"
    assert "no Hessian was computed" in frame.attrs["note"]
    assert fit.summary().notes == (frame.attrs["note"],)


def test_a_hessian_that_is_not_positive_definite_warns_once(poisson):
    fit = poisson(hessian="bad", certificate_changes={"eigenvalues": np.array([-1.0, 2.0])}).fit
    with pytest.warns(VcovWarning, match="not positive definite \\(smallest scaled eigenvalue -1\\)"):
        frame = fit.vcov()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(fit.vcov(), frame)
    assert frame.attrs["kind"] == "rx"


def test_boundary_parameters_are_held_fixed(poisson):
    case = poisson(certificate_changes={"singular": True, "boundary": ("g.(Intercept)",)})
    frame = case.fit.vcov()
    np.testing.assert_allclose(frame, 2 * np.linalg.inv(case.matrix[1:, 1:]), rtol=1e-12)
    assert frame.attrs["note"].endswith("g.(Intercept)")


def test_profiled_objectives_have_no_hessian_for_beta(linear, poisson):
    for fit in (linear(True).fit, poisson(n_agq=0).fit):
        with pytest.raises(NotAvailableError, match="profiled out"):
            fit.vcov("hessian")
        assert fit.vcov().attrs["kind"] == "rx"
    with pytest.raises(ArgumentError, match="'hessian' or 'rx'"):
        poisson().fit.vcov("robust")


def test_inversion_is_scale_free_and_refuses_the_indefinite():
    good = np.array([[2.0, 0.3], [0.3, 1.0]])
    scale = np.diag([1e-9, 1e9])
    np.testing.assert_allclose(
        invert_scaled(scale @ good @ scale) * np.outer(np.diag(scale), np.diag(scale)), np.linalg.inv(good)
    )
    for bad in (np.diag([1.0, -1.0]), np.diag([1.0, np.nan]), np.array([[1.0, 2.0], [2.0, 1.0]])):
        with pytest.raises(LinAlgError):
            invert_scaled(bad)


def test_changing_what_was_handed_out_changes_nothing(poisson):
    fit = poisson().fit
    frame = fit.vcov()
    before = frame.to_numpy(copy=True)
    frame.iloc[:, :] = 0.0
    np.testing.assert_array_equal(fit.vcov(), before)
    with pytest.raises(ValueError, match="read-only"):
        fit.covariance.matrix[0, 0] = 0.0
