"""The certificate: both verdicts, the right name, invariance to units, singular against failed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refglmm.optimize.certificate import TOLERANCE, certify, unit_diagonal

NAMES = ("sd", "(Intercept)", "x")
H = np.array([[50.0, 2.0, 1.0], [2.0, 30.0, -4.0], [1.0, -4.0, 20.0]])
X = np.array([0.6, 1.0, -0.5])
FREE = np.full(3, np.inf)


def judge(gradient, hessian=H, x=X, lower=-FREE, upper=FREE, **more):
    settings = {"boundary": (), "pirls_residual": 1e-12} | more
    return certify(NAMES, x, gradient, hessian, lower, upper, **settings)


def test_an_optimum_is_certified():
    certificate = judge(np.full(3, 1e-6))
    assert certificate.converged
    assert not certificate.singular
    assert certificate.messages == ()
    assert certificate.gradient_norm == 1e-6
    assert certificate.newton_decrement == pytest.approx(0.5e-12 * np.ones(3) @ np.linalg.solve(H, np.ones(3)))
    assert certificate.newton_decrement < TOLERANCE
    np.testing.assert_allclose(certificate.eigenvalues, np.linalg.eigvalsh(unit_diagonal(H)[0]))
    assert str(certificate).startswith("converged\n")


@pytest.mark.parametrize("guilty", range(3))
def test_a_failure_names_its_parameter_with_the_numbers(guilty):
    gradient = np.full(3, 1e-7)
    gradient[guilty] = -0.02
    certificate = judge(gradient)
    assert not certificate.converged
    (message,) = certificate.messages
    assert f"gradient is that of {NAMES[guilty]} (-0.02)" in message
    assert "exceeds 1e-08" in message
    assert f"{certificate.newton_decrement:.3g}" in message
    assert str(certificate).startswith("NOT converged")
    assert message in str(certificate)


@given(st.lists(st.floats(-6, 6), min_size=3, max_size=3))
@settings(max_examples=60, deadline=None)
def test_the_verdict_does_not_depend_on_units(exponents):
    """Column j in other units: gradient and Hessian change by powers of ten, the certificate does not."""
    scale = 10.0 ** np.array(exponents)
    gradient = np.array([1e-4, 3e-4, -2e-4])
    plain = judge(gradient)
    other = judge(gradient * scale, H * np.outer(scale, scale), X / scale)
    assert other.newton_decrement == pytest.approx(plain.newton_decrement, rel=1e-9)
    np.testing.assert_allclose(other.eigenvalues, plain.eigenvalues, rtol=1e-9)
    assert other.converged == plain.converged
    assert [m.split(" (")[0] for m in other.messages] == [m.split(" (")[0] for m in plain.messages]


def test_a_raw_gradient_cut_would_be_wrong_both_ways():
    """1e-3 is nothing where the curvature is 1e6, and a failure where it is 1e-3."""
    steep, flat = np.diag([1e6, 1.0, 1.0]), np.diag([1e-3, 1.0, 1.0])
    gradient = np.array([1e-3, 0.0, 0.0])
    assert judge(gradient, steep).converged
    assert not judge(gradient, flat).converged


def test_singular_is_not_failed():
    certificate = judge(np.zeros(3), x=np.array([0.0, 1.0, 1.0]), boundary=("sd",))
    assert certificate.singular
    assert certificate.converged
    assert certificate.boundary == ("sd",)
    assert "singular fit (boundary: sd)" in str(certificate)


def test_failed_is_not_singular():
    certificate = judge(np.array([0.5, 0.0, 0.0]))
    assert not certificate.singular
    assert not certificate.converged


def test_a_parameter_held_by_its_bound_is_left_out():
    """Correlation at its upper bound with a gradient that pushes outwards: an optimum of the box."""
    gradient = np.array([-3.0, 1e-7, 1e-7])
    x, upper = np.array([1.0, 0.0, 0.0]), np.array([1.0, np.inf, np.inf])
    certificate = judge(gradient, x=x, upper=upper, boundary=("sd",))
    assert certificate.converged
    assert certificate.gradient_norm == 1e-7
    assert certificate.eigenvalues.size == 2
    # pushing inwards it is free, and not an optimum
    assert not judge(-gradient, x=x, upper=upper).converged


def test_negative_curvature_is_named():
    hessian = np.diag([-5.0, 1.0, 1.0])
    certificate = judge(np.zeros(3), hessian)
    assert not certificate.converged
    assert "no curvature in sd (second derivative -5)" in certificate.messages[0]
    # a saddle along a diagonal direction: all second derivatives are positive
    saddle = np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    certificate = judge(np.zeros(3), saddle)
    assert not certificate.converged
    assert "negative curvature in the direction of" in certificate.messages[0]
    assert "x (" not in certificate.messages[0]


def test_a_flat_direction_is_named():
    """Two columns that do the same: their difference is not determined."""
    hessian = np.array([[5.0, 0.0, 0.0], [0.0, 2.0, 2.0], [0.0, 2.0, 2.0]])
    certificate = judge(np.zeros(3), hessian)
    assert not certificate.converged
    assert "almost no curvature in the direction of" in certificate.messages[0]
    assert "not uniquely determined" in certificate.messages[0]
    assert "(Intercept)" in certificate.messages[0] or "direction of x" in certificate.messages[0]


def test_without_derivatives_nothing_is_claimed():
    certificate = judge(np.zeros(3), None)
    assert not certificate.converged
    assert np.isnan(certificate.newton_decrement)
    certificate = judge(None, None, notes=("bobyqa: maximum number of evaluations reached",))
    assert not certificate.converged
    assert certificate.messages == ("bobyqa: maximum number of evaluations reached",)
    assert np.isnan(certificate.gradient_norm)


def test_a_gradient_that_is_not_finite_is_a_failure():
    certificate = judge(np.array([np.nan, 0.0, 0.0]))
    assert not certificate.converged
    assert "gradient is not finite" in certificate.messages[0]


def test_a_hessian_that_is_not_finite_is_a_failure():
    """Where a difference step left the domain: a verdict in words, not an exception of LAPACK."""
    broken = H.copy()
    broken[0, 1] = broken[1, 0] = np.nan
    certificate = judge(np.zeros(3), broken)
    assert not certificate.converged
    assert "Hessian is not finite" in certificate.messages[0]


def test_a_model_without_free_parameters_is_converged():
    certificate = certify(
        (),
        np.empty(0),
        np.empty(0),
        np.empty((0, 0)),
        np.empty(0),
        np.empty(0),
        boundary=(),
        pirls_residual=0.0,
    )
    assert certificate.converged
    assert certificate.newton_decrement == 0.0
