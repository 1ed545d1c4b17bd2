"""Functions inside formulas. Oracles: patsy's contrasts and B-splines, NumPy, the defining properties."""

from __future__ import annotations

import numpy as np
import patsy
import pytest

from refglmm.errors import DataError, FormulaError
from refglmm.formula.contrasts import contrast_matrix
from refglmm.formula.convert import to_table
from refglmm.formula.evaluate import Scope
from refglmm.formula.transforms import orthogonal_polynomials
from refglmm.formula.values import Factor, Logical

X = np.array([0.5, -1.0, 2.0, 0.0, 1.5, 3.0, np.nan])
DATA = {
    "x": X,
    "k": [1, 2, 3, 4, 5, 6, 7],
    "f": ["a", "b", "c", "a", None, "b", "c"],
    "b": [True, False, True, True, False, False, True],
}


def value(text, data=DATA, env=None, states=None):
    return Scope(to_table(data), env or {}, states).value(text)


def as_list(result):
    if isinstance(result, Factor):
        return result.labels().tolist()
    return np.asarray(result.values if isinstance(result, Logical) else result).tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("log(k, 2)", np.log2(DATA["k"])),
        ("log(k) / log10(k + 1) + log1p(k) - log2(k)",
         np.log(DATA["k"]) / np.log10(np.arange(2, 9)) + np.log1p(DATA["k"]) - np.log2(DATA["k"])),
        ("sqrt(abs(x)) + exp(-x) + sin(x) * cos(x) + round(x * 3.14159, 2)",
         np.sqrt(abs(X)) + np.exp(-X) + np.sin(X) * np.cos(X) + np.round(X * 3.14159, 2)),
        ("k^2 - k**2 + 7 %% k + 7 %/% k", 7 % np.arange(1, 8) + 7 // np.arange(1, 8)),
        ("ifelse(x > 0, k, -k)", [1, -2, 3, -4, 5, 6, np.nan]),
        ("x > 0 & f == 'a'", [1, 0, 0, 0, np.nan, 0, 0]),
        ("x > 0 | f == 'c'", [1, 0, 1, 0, 1, 1, 1]),
        ("!b", [0, 1, 0, 0, 1, 1, 0]),
        ("k %in% c(1, 3) | k %in% 6:7", [1, 0, 1, 0, 0, 1, 1]),
        ("f %in% c('a', 'c')", [1, 0, 1, 1, 0, 0, 1]),
        ("is.na(f) | is.na(x)", [0, 0, 0, 0, 1, 0, 1]),
        ("as.numeric(f) + as.integer(x) + b", [2, 1, 6, 2, np.nan, 5, np.nan]),
        ("pmin(k, 3) + pmax(k, 5)", [6, 7, 8, 8, 8, 9, 10]),
        ("k - mean(k) + median(k) + min(k) + max(k) * 0", np.arange(1, 8) + 1.0),
        ("x - mean(x, na.rm = TRUE)", X - 1.0),
        ("sum(k) + sd(k)", 28 + np.std(DATA["k"], ddof=1)),
        ("factor(k > 3, labels = c('low', 'high'))", ["low"] * 3 + ["high"] * 4),
        ("factor(k, levels = c(3, 1))", ["1", None, "3", None, None, None, None]),
        ("relevel(f, ref = 'c')", DATA["f"]),
        ("as.factor(x)", ["0.5", "-1", "2", "0", "1.5", "3", None]),
        ("plogis(qlogis(k / 10)) * 10", np.arange(1, 8)),
        ("cos(pi) + T + F", 0.0),
    ],
)  # fmt: skip
def test_values(text, expected):
    got = as_list(value(text))
    if isinstance(value(text), Factor):
        assert got == list(expected)
    else:
        np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-13)


def test_ordered_factors_compare_by_level():
    assert as_list(value("ordered(f, levels = c('c', 'b', 'a')) >= 'b'")) == pytest.approx(
        [1, 1, 0, 1, np.nan, 1, 0], nan_ok=True
    )
    assert list(value("relevel(f, ref = 'c')").levels) == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("log(f)", DataError, r"in log\(f\): log\(\) needs numbers, got a factor"),
        ("f + 1", DataError, "'f \\+ 1' needs numbers"),
        ("f < 'b'", DataError, "need an ordered factor"),
        ("f == x", DataError, "as.factor"),
        ("lgo(x)", FormulaError, r"unknown function lgo\(\) in lgo\(x\); did you mean log\(\)"),
        ("__import__('os')", FormulaError, "unknown function __import__"),
        ("eval('1')", FormulaError, "unknown function eval"),
        ("arma(x | f)", (FormulaError, DataError), "needs numbers|unknown function"),
        ("log(x, y = 2)", FormulaError, "could not be evaluated"),
        ("poly(x, 6)", DataError, "needs more than 6 distinct values, found 6"),
        ("poly(x, 0)", FormulaError, "whole number >= 1"),
        ("poly(x, k)", FormulaError, "whole number"),
        ("log(poly(x, 2) + 1)", DataError, "needs numbers, got several columns"),
        ("factor(poly(x, 2))", DataError, "several columns"),
        ("bs(x, df = 2)", DataError, "df of bs"),
        ("bs(x, df = 1e6)", DataError, "df of bs"),
        ("ns(x, df = 0)", FormulaError, "df of ns"),
        ("bs(x, Boundary.knots = c(3, 1))", DataError, "two increasing"),
        ("factor(k, labels = 'a')", DataError, "7|labels needed"),
        ("relevel(f, ref = 'z')", DataError, "'z' is not a level"),
        ("1:1e9", FormulaError, "short range"),
        ("x:k", FormulaError, "short range"),
        ("k %in% x", FormulaError, r"c\(1, 2\)"),
        ("c(x, 1)", FormulaError, "not columns"),
        ("a ~ b", FormulaError, "."),
    ],
)
def test_errors(text, error, message):
    with pytest.raises(error, match=message):
        value(text.replace("a ~ b", "k ~ k"))


@pytest.mark.parametrize("n", [2, 3, 4, 6, 9])
def test_contrasts_equal_patsy(n):
    levels = np.array([f"l{i}" for i in range(n)], dtype=object)
    patsys = {"treatment": patsy.Treatment, "sum": patsy.Sum, "helmert": None, "poly": patsy.Poly}
    for name, kind in patsys.items():
        matrix, names = contrast_matrix(name, levels, "f")
        assert len(names) == matrix.shape[1] == n - 1
        if kind is not None:
            theirs = kind().code_without_intercept(list(levels)).matrix
            np.testing.assert_allclose(matrix, theirs, atol=1e-13)
        if name in ("helmert", "poly"):
            gram = matrix.T @ matrix
            np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-12)
        if name != "treatment":
            np.testing.assert_allclose(matrix.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_array_equal(contrast_matrix("helmert", levels, "f")[0][-1], [0.0] * (n - 2) + [n - 1.0])


def test_orthogonal_polynomials_are_orthonormal_and_span_the_powers():
    x = np.array([3.0, 1.0, 4.0, 1.5, 9.0, 2.6, 5.0])
    P, _ = orthogonal_polynomials(x, 4)
    full = np.column_stack([np.full(7, 7**-0.5), P])
    np.testing.assert_allclose(full.T @ full, np.eye(5), atol=1e-12)
    powers = x[:, None] ** np.arange(5)
    np.testing.assert_allclose(full @ (full.T @ powers), powers, rtol=1e-9)
    assert all(P[np.argmax(x)] > 0)  # positive leading coefficients


@pytest.mark.parametrize("kwargs", [{"df": 5}, {"df": 6, "degree": 2}, {"df": 5, "include_intercept": True}])
def test_b_splines_equal_patsy(kwargs):
    x = np.linspace(-1, 3, 23) ** 3
    text = ", ".join(f"{k.replace('include_', '')} = {v}" for k, v in kwargs.items())
    ours = value(f"bs(x, {text})", {"x": x}).values
    theirs = np.asarray(patsy.dmatrix("bs(x, **kw) - 1", {"x": x, "kw": kwargs}))
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_natural_splines_are_linear_outside_and_smooth_inside():
    scope = Scope(to_table({"x": np.linspace(0, 1, 41)}), {})
    scope.value("ns(x, df = 4)")
    new = {"x": [1.0, 1.5, 2.0, 2.5, -0.5, -1.0, -1.5]}
    outside = value("ns(x, df = 4)", new, states=scope.states).values
    np.testing.assert_allclose(np.diff(outside[:4], n=2, axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.diff(outside[4:], n=2, axis=0), 0, atol=1e-12)


def test_states_come_from_the_fit():
    fit = Scope(to_table(DATA), {})
    texts = ["scale(x)", "scale(k, center = FALSE)", "center(k)", "poly(k, 2)", "scale(k, scale = 2)"]
    full = {t: fit.value(t) for t in texts}
    new = {name: [column[i] for i in (1, 5)] for name, column in DATA.items()}
    for text, before in full.items():
        before = before if isinstance(before, np.ndarray) else before.values
        after = value(text, new, states=fit.states)
        after = after if isinstance(after, np.ndarray) else after.values
        np.testing.assert_allclose(after, before[[1, 5]], rtol=1e-13)
    known = X[~np.isnan(X)]
    np.testing.assert_allclose(full["scale(x)"], (X - known.mean()) / known.std(ddof=1))
