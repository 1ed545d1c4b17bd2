"""Scales and univariate densities: against scipy.stats, by quadrature and by differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from refglmm.bayes import scalars
from refglmm.bayes.scalars import ABOVE, IDENTITY, INTERVAL, log_prior, to_natural, to_unbounded

SCALES = [(IDENTITY, -np.inf, np.inf), (ABOVE, 0.0, np.inf), (ABOVE, 1.0, np.inf), (INTERVAL, -1.0, 1.0)]
SCALES.append((INTERVAL, 0.001, 0.999))


def slope(f, x, h):
    """Central difference of sixth order."""
    return (45 * (f(x + h) - f(x - h)) - 9 * (f(x + 2 * h) - f(x - 2 * h)) + f(x + 3 * h) - f(x - 3 * h)) / (60 * h)


#: code, hyper[:3], frozen law of scipy, points inside its support
LAWS = [
    (scalars.NORMAL, (1.0, 2.0, 0.0), stats.norm(1, 2), (-3.0, 0.5, 6.0)),
    (scalars.EXPONENTIAL, (0.2, 0.0, 0.0), stats.expon(scale=5), (0.01, 1.0, 30.0)),
    (scalars.GAMMA, (2.0, 0.1, 0.0), stats.gamma(2, scale=10), (0.01, 5.0, 100.0)),
    (scalars.INVERSE_GAMMA, (2.0, 8.0, 0.0), stats.invgamma(2, scale=8), (0.5, 5.0, 100.0)),
    (scalars.INVERSE_ROOT_NORMAL, (0.7, 0.0, 0.0), stats.invgamma(0.5, scale=0.5 / 0.7**2), (0.05, 3.0, 1e4)),
    (scalars.STUDENT_T, (3.0, 1.0, 2.5), stats.t(3, 1, 2.5), (-20.0, 1.5, 9.0)),
    (scalars.LAPLACE, (0.5, 0.5, 0.0), stats.laplace(0.5, 0.5), (-3.0, 0.6, 2.0)),
    (scalars.LOGIT_NORMAL, (-1.1, 3.0, 0.0), None, (0.01, 0.4, 0.99)),
    (scalars.BETA, (2.0, 3.5, 0.0), stats.beta(2, 3.5), (0.01, 0.4, 0.99)),
    (scalars.LOGISTIC, (1.0, 2.0, 0.0), stats.logistic(1, 2), (-40.0, 0.9, 60.0)),
    (scalars.LOGNORMAL, (0.3, 1.2, 0.0), stats.lognorm(1.2, scale=np.exp(0.3)), (0.01, 1.0, 50.0)),
    (scalars.PARTIAL_CORRELATION, (1.5, 0.0, 0.0), stats.beta(1.5, 1.5, -1, 2), (-0.9, 0.1, 0.99)),
    (scalars.GUMBEL, (0.5, 2.0, 0.0), stats.gumbel_l(0.5, 2), (-9.0, 0.5, 4.0)),
    (scalars.LOG_LOGISTIC, (0.3, 0.5, 0.0), stats.fisk(2, scale=np.exp(0.3)), (1e-4, 1.2, 300.0)),
]
IDS = [str(law[0]) for law in LAWS]


@pytest.mark.parametrize(("code", "low", "high"), SCALES)
def test_a_scale_and_its_inverse_with_slopes_by_differences(code, low, high):
    for t in (-3.0, -0.2, 0.0, 0.7, 4.0):
        x, dx, log_dx, d_log_dx = to_natural(code, t, low, high)
        assert low <= x <= high
        assert to_unbounded(code, x, low, high) == pytest.approx(t, abs=1e-12)
        assert dx == pytest.approx(slope(lambda s: to_natural(code, s, low, high)[0], t, 1e-2), rel=1e-10)
        assert log_dx == pytest.approx(np.log(dx), abs=1e-12)
        assert d_log_dx == pytest.approx(slope(lambda s: to_natural(code, s, low, high)[2], t, 1e-2), abs=1e-10)


@pytest.mark.parametrize("t", [-800.0, -40.0, 40.0, 800.0])
def test_an_interval_keeps_log_slope_and_derivative_far_out(t):
    _, _, log_dx, d_log_dx = to_natural(INTERVAL, t, 0.0, 1.0)
    assert log_dx == pytest.approx(-abs(t), abs=1e-12)
    assert d_log_dx == pytest.approx(-np.sign(t), abs=1e-12)


@pytest.mark.parametrize(("code", "numbers", "law", "points"), LAWS, ids=IDS)
def test_differences_of_log_densities_are_scipys(code, numbers, law, points):
    """Constants are the business of ``distributions``; here they are zero and cancel."""
    hyper = np.array([*numbers, 0.0])
    values = np.array([log_prior(code, x, hyper)[0] for x in points])
    if law is None:  # logit-normal: change of variables by hand
        m, s, _ = numbers
        p = np.array(points)
        expected = stats.norm(m, s).logpdf(np.log(p / (1 - p))) - np.log(p * (1 - p))
    else:
        expected = law.logpdf(points)
    np.testing.assert_allclose(np.diff(values), np.diff(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("code", "numbers", "law", "points"), LAWS, ids=IDS)
def test_slopes_of_log_densities_by_differences(code, numbers, law, points):
    hyper = np.array([*numbers, 0.3])
    for x in points:
        h = 1e-3 * min(abs(x), 1 - abs(x) if abs(x) < 1 else np.inf, 1.0)
        expected = slope(lambda v: log_prior(code, v, hyper)[0], x, h)
        assert log_prior(code, x, hyper)[1] == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_the_constant_is_added_once_by_every_code():
    for code, numbers, _, points in LAWS:
        with_it, without = (log_prior(code, points[1], np.array([*numbers, c]))[0] for c in (1.25, 0.0))
        assert with_it - without == pytest.approx(1.25, abs=1e-12)


def test_flat_is_its_constant_and_the_reciprocal_integrates_to_the_log_ratio():
    assert log_prior(scalars.FLAT, 7.0, np.array([0.0, 0.0, 0.0, -0.5])) == (-0.5, 0.0)
    area = quad(lambda x: np.exp(log_prior(scalars.RECIPROCAL, x, np.zeros(4))[0]), 0.5, 8.0)[0]
    assert area == pytest.approx(np.log(16.0), rel=1e-10)
    assert log_prior(scalars.RECIPROCAL, 0.5, np.zeros(4))[1] == -2.0


def test_codes_are_distinct_and_named_once():
    codes = [getattr(scalars, name) for name in dir(scalars) if name.isupper()]
    numbers = sorted(code for code in codes if isinstance(code, int))
    assert numbers == sorted([*range(3), *range(16)])
