"""Derivatives of model rows against closed forms, and against differences of the rows themselves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm.effects.derivatives import row_derivatives
from refglmm.effects.grid import rows_at
from refglmm.errors import ArgumentError

# Only the design of these fits is used.
pytestmark = pytest.mark.filterwarnings("ignore::refglmm.errors.SingularFitWarning")

RNG = np.random.default_rng(3)
N = 60
DATA = pd.DataFrame(
    {
        "x": RNG.uniform(0.5, 3.0, N),
        "v": RNG.uniform(0.2, 0.8, N),
        "f": RNG.choice(["a", "b", "c"], N),
        "g": np.arange(N) % 6,
        "y": RNG.normal(size=N),
    }
)


def fit_of(fixed, random="(1 | g)", **more):
    data = DATA.assign(y=DATA.y + (np.arange(N) % 6) * 0.5)
    checks = {"scale": "ignore"}
    return rg.lmer(f"y ~ {fixed} + {random}", data, checks=checks, **more)


def derivative(fixed, name="x", **more):
    fit = fit_of(fixed, **more)
    return fit, row_derivatives(fit, fit.frame.data, name)


ELEMENTARY = {
    "I(x^3)": lambda x: 3 * x**2,
    "I(2^x)": lambda x: 2**x * np.log(2),
    "log(x)": lambda x: 1 / x,
    "log(x, 2)": lambda x: 1 / (x * np.log(2)),
    "log2(x)": lambda x: 1 / (x * np.log(2)),
    "log10(x)": lambda x: 1 / (x * np.log(10)),
    "log1p(x)": lambda x: 1 / (1 + x),
    "exp(-x)": lambda x: -np.exp(-x),
    "expm1(x)": np.exp,
    "sqrt(x)": lambda x: 0.5 / np.sqrt(x),
    "abs(x - 1)": lambda x: np.sign(x - 1),
    "sin(x)": np.cos,
    "cos(2 * x)": lambda x: -2 * np.sin(2 * x),
    "tan(x / 4)": lambda x: 0.25 / np.cos(x / 4) ** 2,
    "asin(x / 4)": lambda x: 0.25 / np.sqrt(1 - x**2 / 16),
    "acos(x / 4)": lambda x: -0.25 / np.sqrt(1 - x**2 / 16),
    "atan(x)": lambda x: 1 / (1 + x**2),
    "sinh(x)": np.cosh,
    "cosh(x)": np.sinh,
    "tanh(x)": lambda x: 1 - np.tanh(x) ** 2,
    "plogis(x)": lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2,
    "qlogis(x / 4)": lambda x: 4 / (x * (4 - x)),
    "I(1 / x)": lambda x: -1 / x**2,
    "I(x / (1 + x))": lambda x: 1 / (1 + x) ** 2,
    "I(exp(x) * log(x))": lambda x: np.exp(x) * (np.log(x) + 1 / x),
    "I(x^x)": lambda x: x**x * (1 + np.log(x)),
    "I((x - mean(x))^2)": lambda x: 2 * (x - DATA.x.mean()),
    "scale(x)": lambda x: np.full(N, 1 / DATA.x.std()),
    "scale(log(x))": lambda x: 1 / (x * np.log(DATA.x).std()),
    "center(x)": lambda x: np.ones(N),
    "as.numeric(x)": lambda x: np.ones(N),
}


@pytest.mark.parametrize("text", ELEMENTARY)
def test_functions_of_one_variable(text):
    _, rows = derivative(text)
    np.testing.assert_array_equal(rows.L[:, 0], 0.0)
    np.testing.assert_allclose(rows.L[:, 1], ELEMENTARY[text](DATA.x.to_numpy()), rtol=1e-12)


def by_difference(fit, name, step=1e-3):
    """Fourth-order difference of the rows of the model; shares nothing with the rules."""

    def at(shift):
        return rows_at(fit, fit.frame.data.assign(**{name: fit.frame.data[name] + shift}), named=(name,))

    one, two = (at(step), at(-step)), (at(2 * step), at(-2 * step))

    def difference(of):
        return (8 * (of(one[0]) - of(one[1])) - (of(two[0]) - of(two[1]))) / (12 * step)

    return difference(lambda r: r.L), difference(lambda r: r.Z[0]), difference(lambda r: r.offset)


@pytest.mark.parametrize(
    "fixed",
    [
        "poly(x, 3) * f",
        "poly(x, 2, raw = TRUE) + v",
        "bs(x, df = 6)",
        "bs(x, degree = 2, intercept = TRUE) - 1",
        "ns(x, df = 4) * v",
        "ns(log(x), df = 3) * f",
        "x * f * v + I(x^2 * v)",
        "f / x",
        "sqrt(x):log(v) + x",
        "f + offset(x^2 * v)",
    ],
)
def test_products_and_bases_agree_with_differences(fixed):
    fit, rows = derivative(fixed)
    L, _, offset = by_difference(fit, "x")
    np.testing.assert_allclose(rows.L, L, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(rows.offset, offset, rtol=1e-7, atol=1e-9)


def test_random_slopes_change_too():
    fit = fit_of("log(x)", "(log(x) + I(x^2) || g)")
    rows = row_derivatives(fit, fit.frame.data, "x")
    x = DATA.x.to_numpy()
    np.testing.assert_array_equal(rows.Z[0], np.zeros((N, 1)))
    np.testing.assert_allclose(rows.Z[1][:, 0], 1 / x, rtol=1e-13)
    np.testing.assert_allclose(rows.Z[2][:, 0], 2 * x, rtol=1e-13)


def test_steps_are_flat_and_other_variables_do_not_count():
    _, rows = derivative("I(floor(x)) + I(x > 1) + v + f")
    np.testing.assert_array_equal(rows.L, 0.0)


def test_a_function_of_ones_own_is_known_by_its_values():
    _, rows = derivative("bend(x, v)", env={"bend": lambda x, v: np.exp(0.3 * x) * v})
    np.testing.assert_allclose(rows.L[:, 1], 0.3 * np.exp(0.3 * DATA.x) * DATA.v, rtol=1e-11)


def test_whole_numbers_are_moved_as_numbers():
    data = DATA.assign(n=np.arange(N) % 7)
    fit = rg.lmer("y ~ I(n^2) + (1 | g)", data)
    np.testing.assert_array_equal(row_derivatives(fit, fit.frame.data, "n").L[:, 1], 2.0 * data.n)


def test_a_pole_is_named():
    data = DATA.assign(x=np.where(np.arange(N) == 4, 0.0, DATA.x))
    fit = rg.lmer("y ~ sqrt(x) + (1 | g)", data)
    with pytest.raises(ArgumentError, match="no finite derivative in 'x' at x = 0; ask for another place with at="):
        row_derivatives(fit, fit.frame.data, "x")
