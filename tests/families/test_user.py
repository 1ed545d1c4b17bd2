"""A family written by a user: compiled or plain, checked, refused."""

from __future__ import annotations

import numpy as np
import pytest
from families.instances import ONE_EACH, exponential, exponential_point
from scipy.special import gammaln

import refglmm as rg
from refglmm import families as fam
from refglmm.errors import ArgumentError, NotAvailableError, ResponseError
from refglmm.families.coupled import CoupledFamily
from refglmm.families.jet import add, constant, exp_of, log_gamma_of, log_of, multiply, shift, subtract, times
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
    with pytest.raises(ArgumentError, match="1 shape parameters but 0 values"):
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
    with pytest.raises(NotAvailableError, match="the exponential family has no shape parameter"):
        _ = family.observe_shape


def test_equality_is_by_parts():
    assert exponential() == exponential()
    assert exponential() != exponential(jit=False)
    assert hash(exponential()) == hash(exponential())


# --- from a density in jets -----------------------------------------------------------------------------------


def nb_density(y, a, eta, size, second, third):
    total = add(size, exp_of(eta))
    gammas = subtract(log_gamma_of(shift(size, y)), log_gamma_of(size))
    powers = subtract(multiply(size, log_of(size)), multiply(shift(size, y), log_of(total)))
    return times(a, add(add(gammas, powers), times(y, eta)))


def own_nb(**changes):
    arguments = {
        "density": nb_density,
        "link": "log",
        "shapes": {"size": "log"},
        "base_measure": lambda y: -gammaln(y + 1.0),
        "variance": lambda mu, phi: mu + mu**2 / phi[0],
        "simulate": lambda mu, a, phi, rng: rng.negative_binomial(phi[0], phi[0] / (phi[0] + mu)),
        "is_count": True,
        "valid_y": lambda y: y >= 0,
    }
    return fam.UserFamily("own_nb", **(arguments | changes))


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(12)
    g = np.repeat(np.arange(25), 8)
    x = rng.normal(size=200)
    mu = np.exp(0.9 + 0.4 * x + 0.5 * rng.normal(size=25)[g])
    y = rng.negative_binomial(1.7, 1.7 / (1.7 + mu))
    return {"y": np.where(rng.random(200) < 0.2, 0, y).astype(float), "x": x, "g": g}


@pytest.mark.parametrize("jit", [True, False], ids=["compiled", "plain"])
def test_ten_lines_give_the_negative_binomial(jit):
    y, eta, a, phi = np.array([0.0, 1.0, 7.0, 30.0]), np.array([-0.4, 0.3, 1.2, 2.9]), np.full(4, 2.0), np.array([1.7])
    own, built_in = own_nb(jit=jit), fam.NegativeBinomial("log")
    out, expected = np.zeros((6, 4)), np.zeros((6, 4))
    own.observe(y, eta, a, own.base_measure(y, a), phi, ALL, out)
    built_in.observe(y, eta, a, built_in.base_measure(y, a), phi, ALL, expected)
    observed = [0, 1, 2, 4]
    np.testing.assert_allclose(out[observed], expected[observed], rtol=1e-10, atol=1e-10)
    by_size, expected_by_size = np.zeros((4, 4)), np.zeros((4, 4))
    own.observe_shape(y, eta, a, phi, 0, by_size)
    built_in.observe_shape(y, eta, a, phi, 0, expected_by_size)
    np.testing.assert_allclose(by_size[:3], expected_by_size[:3], rtol=1e-9, atol=1e-10)
    assert own.check(y, eta, phi=phi).ok
    assert list(own.check(y, eta).errors)[4:] == ["dl/dsize", "ds/dsize", "dh/dsize", "dw/dsize"]


@pytest.mark.slow
def test_fits_residuals_and_draws_are_those_of_the_built_in_family(counts):
    own = rg.glmer("y ~ x + (1 | g)", counts, own_nb(), n_agq=5)
    built_in = rg.glmer("y ~ x + (1 | g)", counts, "nbinom2", n_agq=5)
    assert own.loglik == pytest.approx(built_in.loglik, abs=1e-8)
    np.testing.assert_allclose(own.beta, built_in.beta, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(own.residuals("pearson"), built_in.residuals("pearson"), rtol=1e-5)
    same = {"newparams": {"beta": [1.0, 0.2], "theta": [0.4]}, "seed": 5}
    assert np.all(own.simulate(2, **same) >= 0)


@pytest.mark.slow
def test_parts_of_their_own_for_zeros_and_dispersion(counts):
    for arguments in ({"zi": "~ 1"}, {"dispersion": "~ x"}):
        own = rg.glmer("y ~ x + (1 | g)", counts, own_nb(), **arguments)
        built_in = rg.glmer("y ~ x + (1 | g)", counts, "nbinom2", **arguments)
        assert own.loglik == pytest.approx(built_in.loglik, abs=1e-7)
        np.testing.assert_allclose(own.beta, built_in.beta, atol=1e-5)


@pytest.mark.golden
@pytest.mark.slow
def test_the_peers_own_example(shared_data):
    """GLMMadaptive's custom negative binomial, 11 points: maximum by an independent evaluator (its fit: -9994.062)."""
    data = shared_data("gad_negbin")
    data[["f1", "f2"]] = data[["f1", "f2"]].astype(str)
    fit = rg.glmer("y ~ f1 * f2 + (1 | g)", data, own_nb(), n_agq=11)
    assert fit.loglik == pytest.approx(-9993.974978284354, abs=1e-6)
    assert np.log(fit.phi.iloc[0]) == pytest.approx(-0.6486422544251002, abs=1e-6)


@pytest.mark.slow
def test_what_a_density_family_does_not_know_is_said(counts):
    mute = own_nb(variance=None, simulate=None)
    fit = rg.glmer("y ~ x + (1 | g)", counts, mute)
    with pytest.raises(NotAvailableError, match="own_nb family was given no variance function"):
        fit.residuals("pearson")
    with pytest.raises(NotAvailableError, match="no simulate function"):
        fit.simulate(seed=1)
    with pytest.raises(NotAvailableError, match=r"depends on its estimated size; ask family.at\(phi\)"):
        own_nb().variance(np.ones(1))
    assert own_nb().at(np.array([2.0])).variance(np.array([2.0])).tolist() == [4.0]
    assert own_nb(shapes=None, fixed_shape=[2.0]).variance(np.array([2.0])).tolist() == [4.0]
    assert np.isnan(own_nb().unit_deviance(np.ones(1), np.ones(1), np.ones(1))).all()
    assert own_nb(mean=lambda mu, phi: mu / phi[0]).at(np.array([2.0])).mean(np.array([3.0])).tolist() == [1.5]


@pytest.mark.slow
def test_the_authors_mean_is_what_predictions_show(counts):
    fit = rg.glmer("y ~ x + (1 | g)", counts, own_nb(mean=lambda mu, phi: mu / phi[0]))
    np.testing.assert_allclose(fit.predict(type="response"), np.exp(fit.predict(type="link")) / fit.phi.iloc[0])


def test_the_authors_mean_has_a_slope_alone_and_beside_a_zero_part():
    family, eta = own_nb(mean=lambda mu, phi: mu**2 / phi[0]), np.array([-1.0, 0.3, 2.0])
    known = family.at(np.array([2.0]))
    assert own_nb().mean_is_inverse_link
    assert not known.mean_is_inverse_link
    np.testing.assert_allclose(known.fitted_mean(eta), np.exp(2.0 * eta) / 2.0, rtol=1e-14)
    np.testing.assert_allclose(known.fitted_slope(eta), np.exp(2.0 * eta), rtol=1e-10)
    coupled = CoupledFamily(family, True, False).at(np.array([2.0]))
    both = np.array([eta, [0.0, 0.5, -0.5]])
    share = 1.0 / (1.0 + np.exp(-both[1]))
    np.testing.assert_allclose(coupled.fitted_mean(both), (1.0 - share) * np.exp(2.0 * eta) / 2.0, rtol=1e-13)
    slopes = [(1.0 - share) * np.exp(2.0 * eta), -share * (1.0 - share) * np.exp(2.0 * eta) / 2.0]
    np.testing.assert_allclose(coupled.response_slopes(both), slopes, rtol=1e-10)
    with pytest.raises(NotAvailableError, match="written for the log link"):
        own_nb().with_link("sqrt")


def test_scales_and_starts_of_shape_parameters():
    family = own_nb(shapes={"a": "log", "b": "identity", "c": (1.0, 2.0)})
    assert [type(scale).__name__ for scale in family.shape_scales] == ["LogScale", "ShapeScale", "IntervalScale"]
    assert family.initial_shape(Y, Y, Y).tolist() == [1.0, 0.0, 1.5]
    assert own_nb(shape_start=[0.3]).initial_shape(Y, Y, Y).tolist() == [0.3]
    assert own_nb().initial_mu(np.array([0.0, 4.0]), np.array([3.0, 1.0])).tolist() == [0.5, 2.5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"point": exponential_point}, "needs point or density=: one of them"),
        ({"density": None}, "needs point or density=: one of them"),
        ({"link": None}, "needs a link="),
        ({"has_scale": True}, r"has_scale= does not go with density= \(the own_nb family\)"),
        ({"shapes": {"size": "logit"}}, r"shapes\['size'\] of the own_nb family must be 'log', 'identity' or \(low"),
        ({"shapes": {"size": (2.0, 1.0)}}, r"must be 'log', 'identity' or \(low, high\), not \(2.0, 1.0\)"),
        ({"shapes": dict.fromkeys("abcd", "log")}, "takes 3 shape parameters at most"),
        ({"shape_start": [-1.0]}, "shape_start of size must lie between 0 and inf, not -1.0"),
    ],
)
def test_settings_that_make_no_family(changes, message):
    with pytest.raises(ArgumentError, match=message):
        own_nb(**changes)


def test_shapes_go_with_a_density_only():
    with pytest.raises(ArgumentError, match="shapes= does not go with point="):
        fam.UserFamily("own", exponential_point, "log", shapes={"phi": "log"})


def half_density(y, a, eta, first, second, third):
    return times(a, subtract(eta, times(y, exp_of(eta)))) if y > 0.0 else constant(np.nan)


@pytest.mark.slow
def test_a_positive_law_of_ones_own_becomes_a_hurdle(counts):
    """Exponential by its rate, zeros apart: the zero part is a logistic regression, the rest an exponential one."""
    family = fam.UserFamily("rate", density=half_density, link="log", valid_y=lambda y: y > 0)
    rng, g = np.random.default_rng(4), counts["g"]
    y = rng.exponential(np.exp(-0.5 * counts["x"] + rng.normal(size=25)[g])) * (rng.random(200) < 0.8)
    fit = rg.glmer("y ~ x + (1 | g)", counts | {"y": y}, family, zi="~ 1")
    alone = rg.glmer("y ~ x + (1 | g)", {k: v[y > 0] for k, v in (counts | {"y": y}).items()}, family)
    zeros = np.mean(y == 0)
    expected = alone.loglik + y.size * (zeros * np.log(zeros) + (1 - zeros) * np.log1p(-zeros))
    assert fit.loglik == pytest.approx(expected, abs=1e-6)
