"""Jets: each derivative against differences of the one below it, values against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from refglmm._jit import kernel
from refglmm.families import jet
from refglmm.families.special import polygammas

POINT = (0.7, 1.3)
#: jet position -> (position of what it differentiates, variable)
CHAIN = {1: (0, 0), 2: (0, 1), 3: (1, 0), 4: (1, 1), 5: (2, 1), 6: (3, 0), 7: (3, 1), 8: (4, 1), 9: (5, 1)}


def both(x, y):
    """A jet in which no derivative is zero."""
    a, b = jet.first_variable(x), jet.second_variable(y)
    return jet.add(jet.multiply(jet.square(a), b), jet.divide(b, jet.shift(a, 0.5)))


FUNCTIONS = {
    "add": lambda f, g: jet.add(f, g),
    "subtract": lambda f, g: jet.subtract(f, g),
    "times": lambda f, g: jet.times(2.5, f),
    "multiply": lambda f, g: jet.multiply(f, jet.square(g)),
    "divide": lambda f, g: jet.divide(f, g),
    "reciprocal": lambda f, g: jet.reciprocal(f),
    "exp": lambda f, g: jet.exp_of(f),
    "log": lambda f, g: jet.log_of(f),
    "log1p": lambda f, g: jet.log1p_of(f),
    "square": lambda f, g: jet.square(f),
    "sqrt": lambda f, g: jet.sqrt_of(f),
    "logistic": lambda f, g: jet.logistic_of(jet.times(-0.5, f)),
    "softplus": lambda f, g: jet.softplus_of(jet.subtract(f, g)),
    "log_gamma": lambda f, g: jet.log_gamma_of(f),
}


def value_of(name, x, y):
    return np.array(FUNCTIONS[name](both(x, y), jet.second_variable(y)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_derivative_is_that_of_the_one_below(name):
    x, y = POINT
    given = value_of(name, x, y)
    weights, step = np.array([1.0, -8.0, 8.0, -1.0]) / 12.0, 1e-3
    for position, (below, variable) in CHAIN.items():
        at = [value_of(name, x + k * step * (variable == 0), y + k * step * (variable == 1)) for k in (-2, -1, 1, 2)]
        difference = weights @ np.array(at)[:, below] / step
        assert given[position] == pytest.approx(difference, rel=1e-9, abs=1e-9), position


def test_values():
    f = jet.first_variable(2.5)
    assert jet.log_gamma_of(f)[0] == pytest.approx(special.gammaln(2.5), rel=1e-15)
    assert jet.softplus_of(jet.constant(800.0))[0] == 800.0
    assert jet.logistic_of(jet.constant(-800.0))[0] == 0.0


@pytest.mark.parametrize("x", [1e-6, 1e-3, 0.5, 1.0, 7.3, 9.999, 10.0, 55.0, 1e6])
def test_polygammas_against_scipy(x):
    assert polygammas(x) == pytest.approx(tuple(float(special.polygamma(j, x)) for j in range(3)), rel=2e-14)


def test_polygammas_outside():
    with np.errstate(invalid="ignore"):
        assert all(np.isnan(polygammas(-0.5)))


def test_compiled_and_interpreted_agree():
    @kernel
    def compiled(x, y):
        a, b = jet.first_variable(x), jet.second_variable(y)
        return jet.multiply(jet.exp_of(jet.multiply(a, b)), jet.log_gamma_of(b))

    a, b = jet.first_variable(0.3), jet.second_variable(1.7)
    expected = jet.multiply(jet.exp_of(jet.multiply(a, b)), jet.log_gamma_of(b))
    assert compiled(0.3, 1.7) == pytest.approx(expected, rel=1e-13)
