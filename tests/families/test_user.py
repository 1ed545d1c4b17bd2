"""A family written by a user: compiled or plain, checked, refused."""

from __future__ import annotations

import numpy as np
import pytest
from families.instances import ONE_EACH, exponential, exponential_point

from refglmm import families as fam
from refglmm.errors import ArgumentError, NotAvailableError, ResponseError
from refglmm.families.kernel import ALL
from refglmm.families.user import check_derivatives

Y, ETA = np.array([0.2, 1.0, 3.0]), np.array([-0.5, 0.1, 1.2])


def observe(family, order=ALL):
    out = np.zeros((6, Y.size))
    family.observe(Y, ETA, np.ones(3), np.zeros(3), family.fixed_shape, order, out)
    return out


def test_plain_python_gives_the_same_numbers():
    np.testing.assert_allclose(observe(exponential(jit=False)), observe(exponential()), rtol=1e-15)


def test_it_is_the_gamma_of_dispersion_one():
    gamma = np.zeros((6, Y.size))
    family = fam.Gamma("log")
    base = family.base_measure(Y, np.ones(3))
    family.observe(Y, ETA, np.ones(3), base, np.ones(1), 2, gamma)
    np.testing.assert_allclose(observe(exponential()), gamma, rtol=1e-12, atol=1e-14)


def test_check_passes_what_is_right():
    report = exponential().check(Y, ETA)
    assert report.ok
    assert list(report.errors) == ["s = dl", "h = -ds", "dh", "dw"]
    assert max(report.errors.values()) < 1e-10
    assert "wrong" not in str(report)


def wrong_point(y, eta, a, base, phi):
    l, s, h, w, dh, dw = exponential_point(y, eta, a, base, phi)  # noqa: E741
    return l, s, h + 0.01 * y, w, dh, dw


def test_check_names_what_is_wrong():
    family = fam.UserFamily("mistaken", wrong_point, "log", variance=np.square, unit_deviance=np.subtract, jit=False)
    report = family.check(Y, ETA, a=2.0)
    assert not report.ok
    wrong = [name for name, error in report.errors.items() if error > report.tolerance]
    assert wrong == ["h = -ds"]
    assert report.worst["h = -ds"] == (3.0, 1.2)
    assert "<-- wrong" in str(report)


def test_check_reports_a_nan_as_wrong():
    report = exponential().check([1.0, np.nan], 0.3)
    assert report.errors["s = dl"] == np.inf


@pytest.mark.parametrize("instance", ONE_EACH, ids=str)
def test_check_agrees_with_every_built_in_family(instance):
    eta = instance.eta[np.abs(instance.eta) > 0.1]
    y = 0.5 if instance.law == "binomial" else 1.0
    columns = (np.full(eta.size, y), np.ascontiguousarray(eta), np.full(eta.size, 2.0))
    report = check_derivatives(instance.family, *columns, instance.shape, 1e-7)
    assert report.ok, str(report)
    assert len(report.errors) == 4 + 4 * instance.family.n_shape


def gamma_by_hand_shape(y, eta, a, phi, j):
    r = y * np.exp(-eta)
    return a * (r - 1.0) / phi[0] ** 2, -(r - 1.0) * a / phi[0] ** 2, -a * r / phi[0] ** 2, -a / phi[0] ** 2


def quasi_point(y, eta, a, base, phi):
    l, s, h, w, dh, dw = exponential_point(y, eta, a, base, phi)  # noqa: E741
    return (l + a) / phi[0], s / phi[0], h / phi[0], w / phi[0], dh / phi[0], dw / phi[0]


def test_shape_parameters_are_checked_too():
    def make(**changes):
        arguments = {
            "shape_point": gamma_by_hand_shape,
            "shape_names": ("phi",),
            "shape_start": (2.0,),
            "has_scale": True,
            "jit": False,
        }
        return exponential_like(quasi_point, **(arguments | changes))

    report = make().check(Y, ETA)
    # l + a = -a (eta + r - 1): its derivative in phi is a (eta + r - 1)/phi^2, not the a (r - 1)/phi^2 given
    assert [name for name, error in report.errors.items() if error > 1e-7] == ["dl/dphi"]
    assert make().initial_shape(Y, Y, Y).tolist() == [2.0]
    with pytest.raises(NotAvailableError, match="mode='lme4' cannot estimate phi"):
        make().minus_two_log_density(Y, Y, np.ones(3), 0.0)
    with pytest.raises(ArgumentError, match="needs shape_point"):
        make(shape_point=None)
    with pytest.raises(ArgumentError, match="1 shape_names but 0 values"):
        make(shape_start=())


def exponential_like(point, **changes):
    arguments = {"variance": np.square, "unit_deviance": np.subtract}
    return fam.UserFamily("own", point, "log", **(arguments | changes))


def test_known_shape_reaches_the_point_function():
    family = exponential_like(quasi_point, fixed_shape=(4.0,), jit=False)
    np.testing.assert_allclose(observe(family)[1:], observe(exponential())[1:] / 4.0)
    assert family.n_shape == 0


def test_numpy_methods_are_the_authors():
    family = exponential(base_measure=np.log, initial_mu=lambda y: y + 1.0, valid_y=lambda y: y > 0, is_canonical=True)
    a = np.array([1.0, 0.0, 2.0])
    np.testing.assert_allclose(family.base_measure(Y, a), a * np.log(Y))
    np.testing.assert_array_equal(family.initial_mu(Y, a), Y + 1.0)
    np.testing.assert_array_equal(family.variance(Y), Y**2)
    assert family.is_canonical
    assert family.log_concave
    with pytest.raises(ResponseError, match="the exponential family does not allow: row 1"):
        family.check_response(np.array([1.0, -1.0]), a)
    assert repr(family) == "UserFamily('exponential', link='log')"


def test_minus_two_log_density_is_the_density():
    given = exponential().minus_two_log_density(Y, np.exp(ETA), np.ones(3), 0.0)
    assert given == pytest.approx(-2.0 * np.sum(-ETA - Y * np.exp(-ETA)), rel=1e-14)


def test_what_the_author_left_out_is_said():
    family = exponential(simulate=None)
    with pytest.raises(NotAvailableError, match="no simulate function"):
        family.simulate(Y, Y, np.empty(0), np.random.default_rng(1))
    with pytest.raises(NotAvailableError, match="no shape_point"):
        _ = family.observe_shape


def test_equality_is_by_parts():
    assert exponential() == exponential()
    assert exponential() != exponential(jit=False)
    assert hash(exponential()) == hash(exponential())
