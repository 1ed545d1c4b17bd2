"""Log densities of large counts against the textbook formula in decimal arithmetic."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest

from refglmm import families as fam
from refglmm.families.special import LARGE

EPS = np.finfo(float).eps
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
#: Bernoulli numbers B2, B4, ...
BERNOULLI = [Fraction(*pair) for pair in ((1, 6), (-1, 30), (1, 42), (-1, 30), (5, 66), (-691, 2730), (7, 6))]

COUNTS = [10.0, LARGE - 1.0, LARGE, LARGE + 1.0, 12_345.5, 1e6, 1e9, 1e12]
#: Mean over count: exact, then a few standard deviations, around the switch to the far form, and hopeless.
FACTORS = [lambda y, f=f: f for f in (1.0, 0.79, 0.81, 1.19, 1.21, 0.01, 30.0)]
FACTORS += [lambda y, k=k: 1.0 + k / np.sqrt(y) for k in (-1.0, 1e-3, 2.5)]


@pytest.fixture(autouse=True)
def sixty_digits():
    with localcontext() as context:
        context.prec = 60
        yield


def log_gamma(k):
    """Log Gamma by the series of Stirling after a shift beyond 1000, where seven terms give 40 digits."""
    product = Decimal(1)
    while k < 1000:
        product *= k
        k += 1
    series = sum(
        Decimal(b.numerator) / b.denominator / (2 * n * (2 * n - 1) * k ** (2 * n - 1))
        for n, b in enumerate(BERNOULLI, 1)
    )
    return (k - Decimal("0.5")) * k.ln() - k + (2 * PI).ln() / 2 + series - product.ln()


MEANS = {"log": lambda eta: eta.exp(), "sqrt": lambda eta: eta * eta, "identity": lambda eta: eta}


def observed(family, y, eta, a, phi):
    y, eta, a = (np.array([x]) for x in (y, eta, a))
    out = np.empty((6, 1))
    return family.observe(y, eta, a, family.base_measure(y, a), np.array([phi]), 0, out)


def allowed(wanted, eta, slope, y, a):
    """Rounding of the value, of eta (whatever the formula), and below LARGE of terms the size of y log mu."""
    direct = 2.0 * EPS * a * y * (1.0 + np.log(y)) if y < LARGE else 0.0
    return 1e-13 + 8.0 * EPS * abs(float(wanted)) + 4.0 * EPS * (1.0 + abs(eta)) * abs(float(slope)) + direct


@pytest.mark.parametrize("y", COUNTS)
@pytest.mark.parametrize("link", ["log", "sqrt", "identity"])
def test_poisson(link, y):
    family, a = fam.Poisson(link), 2.5
    for factor in FACTORS:
        eta = float(family.link.link(y * factor(y)))
        mu, count = MEANS[link](Decimal(eta)), Decimal(y)
        wanted = Decimal(a) * (count * mu.ln() - mu - log_gamma(count + 1))
        error = Decimal(observed(family, y, eta, a, 1.0)) - wanted
        assert abs(error) <= allowed(wanted, np.log(float(mu)), Decimal(a) * (count - mu), y, a)


@pytest.mark.parametrize("y", COUNTS)
@pytest.mark.parametrize("link", ["log", "sqrt", "identity"])
@pytest.mark.parametrize("size", [0.5, 3.0, 1e4, 1e9])
def test_negative_binomial(link, size, y):
    family, a = fam.NegativeBinomial(link), 2.5
    for factor in FACTORS:
        eta = float(family.link.link(y * factor(y)))
        mu, count, theta = MEANS[link](Decimal(eta)), Decimal(y), Decimal(size)
        constant = log_gamma(count + theta) - log_gamma(theta) - log_gamma(count + 1)
        total = theta + mu
        wanted = Decimal(a) * (constant + theta * (theta / total).ln() + count * (mu / total).ln())
        error = Decimal(observed(family, y, eta, a, size)) - wanted
        slope = Decimal(a) * theta * (count - mu) / total
        assert abs(error) <= allowed(wanted, np.log(float(mu)), slope, y, a)


PROBABILITIES = {
    "logit": lambda eta: 1 / (1 + (-eta).exp()),
    "cloglog": lambda eta: 1 - (-eta.exp()).exp(),
    "log": lambda eta: eta.exp(),
}


@pytest.mark.parametrize("trials", [LARGE - 1.0, LARGE, 1e6, 2e9])
@pytest.mark.parametrize("link", list(PROBABILITIES))
def test_binomial(link, trials):
    family = fam.Binomial(link)
    for share in (0.5, 0.3, 0.96, 0.004):
        y = round(share * trials) / trials
        for factor in (1.0, 0.999, 1.0 + 1.0 / np.sqrt(trials), 0.79, 0.81, 0.2):
            eta = float(family.link.link(y * factor if y * factor < 1.0 else y))
            p, m = PROBABILITIES[link](Decimal(eta)), Decimal(trials)
            k = m * Decimal(y)
            coefficient = log_gamma(m + 1) - log_gamma(k + 1) - log_gamma(m - k + 1)
            wanted = coefficient + k * p.ln() + (m - k) * (1 - p).ln()
            error = Decimal(observed(family, y, eta, trials, 1.0)) - wanted
            # |d eta/dp| >= 1/p, so the rounding of p and of 1 - y counts like that of log p
            slope = (k - m * p) / (p * (1 - p))
            assert abs(error) <= allowed(wanted, eta, slope, trials, 1.0)


@pytest.mark.parametrize("family", [fam.Binomial("probit"), fam.Binomial("cauchit")], ids=repr)
def test_binomial_links_without_decimal_functions(family):
    # at the same p every link has the logit's log density
    trials, y = 2e9, 0.3
    for p in (0.3, 0.30001, 0.2, 0.5):
        eta = float(family.link.link(p))
        wanted = observed(fam.Binomial(), y, float(fam.Binomial().link.link(p)), trials, 1.0)
        slope = trials * (y - p) / (p * (1.0 - p))
        given = observed(family, y, eta, trials, 1.0)
        assert abs(given - wanted) <= 1e-13 + 8.0 * EPS * abs(wanted) + 8.0 * EPS * (1.0 + abs(eta)) * abs(slope)


def test_deviance_keeps_its_digits_where_it_is_small():
    # 2 {y log(y/mu) - (y - mu)} = y x^2 (1 - 2x/3 + ...), x = (mu - y)/y
    y, x = 2.0**30, 2.0**-20
    one, mu = np.ones(1), np.array([y * (1.0 + x)])
    wanted = y * x**2 * (1.0 - 2.0 * x / 3.0)
    assert fam.Poisson().unit_deviance(np.array([y]), mu, one)[0] == pytest.approx(wanted, rel=1e-11)
    size = fam.NegativeBinomial(size=1e300).unit_deviance(np.array([y]), mu, one)[0]
    assert size == pytest.approx(wanted, rel=1e-11)
    # binomial at one half: 4 d^2 (1 + 8 d^2/3 ...), d = p - y
    d = 2.0**-20
    given = fam.Binomial().unit_deviance(np.array([0.5]), np.array([0.5 + d]), one)[0]
    assert given == pytest.approx(4.0 * d**2, rel=1e-10)


def test_lme4s_bookkeeping_of_a_large_count():
    y = np.array([1e9, 3.0])
    wanted = [
        Decimal(float(k)) * Decimal(float(k)).ln() - Decimal(float(k)) - log_gamma(Decimal(float(k)) + 1) for k in y
    ]
    given = fam.Poisson().minus_two_log_density(y, y, np.ones(2), 0.0)
    assert given == pytest.approx(float(-2 * sum(wanted)), rel=1e-14)
