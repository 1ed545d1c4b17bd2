"""Kernels of correlated rows against literal dense laws of scipy, and their slopes against differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from refglmm.families.correlated_rows import (
    AUTOREGRESSIVE,
    EXCHANGEABLE,
    INDEPENDENT,
    TOEPLITZ,
    UNSTRUCTURED,
    block_densities,
    log_likelihood,
)
from refglmm.families.fused import Rows

KINDS = {
    "independent": INDEPENDENT,
    "ar1": AUTOREGRESSIVE,
    "car1": AUTOREGRESSIVE,
    "cs": EXCHANGEABLE,
    "toep": TOEPLITZ,
    "un": UNSTRUCTURED,
}
#: Times of each block: uneven gaps, blocks of size one, different times missing, a pattern twice in a row.
WHOLE = [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [2], [0, 4], [1, 2, 4], [1, 2, 4], [3], [0, 2, 3]]
GAPS = [[0, 1, 2, 6, 12, 24], [0, 6, 24], [12], [2, 6], [1, 12, 13]]
IRREGULAR = [[0.0, 0.3, 1.0, 1.1, 4.0], [2.0], [0.25, 3.5], [-1.0, 0.0, 0.5]]
PARAMETERS = {
    "independent": [()],
    "ar1": [(0.6,), (-0.7,), (0.0,), (0.9999,), (-0.999,)],
    "car1": [(0.4,), (0.05,), (0.9999,)],
    "cs": [(0.5,), (0.0,), (-0.2,), (0.9999,)],
    "toep": [(0.5, -0.3, 0.2, 0.6), (0.0, 0.0, 0.0, 0.0), (-0.9, 0.3, 0.95, -0.8)],
    "un": [(0.3, -0.2, 0.5, 0.7, -0.6, 0.1, 0.0, 0.9, -0.9, 0.4), (0.0,) * 10],
}
CASES = [(kind, rho) for kind, all_rho in PARAMETERS.items() for rho in all_rho]


def times_of(kind):
    return {"ar1": GAPS, "car1": IRREGULAR}.get(kind, WHOLE)


def make_rows(kind, seed=1, weighted=True, cells=2):
    rng = np.random.default_rng(seed)
    blocks = times_of(kind)
    time = np.concatenate([np.asarray(block, dtype=float) for block in blocks])
    block = np.repeat(np.arange(len(blocks)), [len(b) for b in blocks])
    if kind == "independent":
        block = np.arange(time.size)
    n = time.size
    weights = rng.uniform(0.5, 2.0, n) if weighted else np.ones(n)
    cell = np.arange(n) % cells
    rows = Rows(rng.normal(1.0, 1.0, n), weights, 0.5 * np.log(weights), time, block, cell, np.array([KINDS[kind]]))
    return rows, rng.normal(1.0, 0.5, n)


def value_and_slopes(kind, rows, eta, phi):
    s, d_phi = np.empty(eta.size), np.empty(phi.size)
    value = log_likelihood(rows, eta, phi, s, d_phi)
    return value, s, d_phi


# -- literal correlation matrices -------------------------------------------------------------------------


def partial_to_lags(alpha):
    """Autocorrelations by solving for the partial one: its definition, lag by lag."""
    r = [1.0]
    for j, a in enumerate(alpha, start=1):
        if j == 1:
            r.append(a)
            continue
        inner = np.array([[r[abs(i - k)] for k in range(j - 1)] for i in range(j - 1)])
        ahead, back = np.array(r[1:j]), np.array(r[1:j][::-1])
        solved = np.linalg.solve(inner, ahead)
        rest = 1.0 - ahead @ solved
        r.append(back @ solved + a * rest)
    return np.array(r)


def partial_to_matrix(partial, T):
    """Correlations from the partial ones given the columns before, each by its definition."""
    R, k = np.eye(T), 0
    for i in range(T):
        for j in range(i):
            z = partial[k]
            k += 1
            if j == 0:
                R[i, 0] = R[0, i] = z
                continue
            A = R[:j, :j]
            a, b = R[i, :j], R[j, :j]
            mean = a @ np.linalg.solve(A, b)
            variances = (1.0 - a @ np.linalg.solve(A, a)) * (1.0 - b @ np.linalg.solve(A, b))
            R[i, j] = R[j, i] = mean + z * np.sqrt(variances)
    return R


def correlation(kind, time, rho):
    gaps = np.abs(time[:, None] - time[None, :])
    if kind == "independent":
        return np.eye(time.size)
    if kind == "ar1":
        return rho[0] ** gaps.astype(int)
    if kind == "car1":
        return rho[0] ** gaps
    if kind == "cs":
        return np.where(gaps == 0, 1.0, rho[0])
    if kind == "toep":
        return partial_to_lags(rho)[gaps.astype(int)]
    at = time.astype(int)
    return partial_to_matrix(rho, 5)[np.ix_(at, at)]


def literal(kind, rows, eta, sds, rho, nu=None):
    total = []
    for b in range(rows.block[-1] + 1):
        own = rows.block == b
        s = np.asarray(sds)[rows.cell[own]] / np.sqrt(rows.weights[own])
        V = correlation(kind, rows.time[own], rho) * np.outer(s, s)
        if nu is None:
            total.append(stats.multivariate_normal(eta[own], V, allow_singular=False).logpdf(rows.y[own]))
        else:
            total.append(stats.multivariate_t(eta[own], V, df=nu).logpdf(rows.y[own]))
    return np.array(total)


@pytest.mark.parametrize(("kind", "rho"), CASES)
@pytest.mark.parametrize("nu", [None, 3.7])
def test_equals_the_dense_law(kind, rho, nu):
    rows, eta = make_rows(kind)
    sds = (0.8, 1.7)
    phi = np.array([*sds, *([] if nu is None else [nu]), *rho])
    expected = literal(kind, rows, eta, sds, rho, nu)
    # at rho = 0.9999 the oracle's own condition number is 1e5
    np.testing.assert_allclose(value_and_slopes(kind, rows, eta, phi)[0], expected.sum(), rtol=1e-9)
    values = np.zeros(expected.size)
    block_densities(rows, eta, phi, np.empty(eta.size), np.empty(phi.size), values)
    np.testing.assert_allclose(values, expected, rtol=1e-8, atol=1e-10)


def differences(function, x, step):
    """Sixth-order central differences."""
    slopes = np.empty(x.size)
    for j in range(x.size):
        e = np.zeros(x.size)
        e[j] = step[j]
        d = [function(x + k * e) - function(x - k * e) for k in (1, 2, 3)]
        slopes[j] = (45.0 * d[0] - 9.0 * d[1] + d[2]) / (60.0 * step[j])
    return slopes


@pytest.mark.parametrize(("kind", "rho"), CASES)
@pytest.mark.parametrize("nu", [None, 3.7])
def test_slopes_equal_differences(kind, rho, nu):
    rows, eta = make_rows(kind, seed=2)
    phi = np.array([0.8, 1.7, *([] if nu is None else [nu]), *rho])
    _, s, d_phi = value_and_slopes(kind, rows, eta, phi)
    by_eta = differences(lambda x: value_and_slopes(kind, rows, x, phi)[0], eta, np.full(eta.size, 3e-3))
    np.testing.assert_allclose(s, by_eta, rtol=1e-7, atol=1e-7 * np.abs(s).max())
    n_rho = len(rho)
    step = 3e-3 * np.abs(phi)
    step[phi.size - n_rho :] = 3e-3 * (1.0 - np.abs(rho))
    if kind in ("car1", "cs"):  # lower bounds 0 and -1/4
        step[-1] = 3e-3 * min(rho[0] + (0.25 if kind == "cs" else 0.0), 1.0 - rho[0])
    by_phi = differences(lambda x: value_and_slopes(kind, rows, eta, x)[0], phi, step)
    np.testing.assert_allclose(d_phi, by_phi, rtol=2e-7, atol=1e-8 * max(1.0, np.abs(d_phi).max()))


def test_gaps_are_gaps_and_not_ranks():
    rows, eta = make_rows("ar1")
    ranked = rows._replace(time=np.concatenate([np.arange(float(len(block))) for block in GAPS]))
    phi = np.array([1.0, 1.0, 0.5])
    given = value_and_slopes("ar1", rows, eta, phi)[0]
    np.testing.assert_allclose(given, literal("ar1", rows, eta, (1.0, 1.0), (0.5,)).sum(), rtol=1e-12)
    assert abs(given - value_and_slopes("ar1", ranked, eta, phi)[0]) > 0.1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "independent"])
def test_one_unit_of_y_is_like_another(kind):
    rows, eta = make_rows(kind)
    rho = PARAMETERS[kind][0]
    value, s, d_phi = value_and_slopes(kind, rows, eta, np.array([0.8, 1.7, *rho]))
    c = 1e-4
    scaled = value_and_slopes(kind, rows._replace(y=c * rows.y), c * eta, np.array([c * 0.8, c * 1.7, *rho]))
    np.testing.assert_allclose(scaled[0], value - eta.size * np.log(c), rtol=1e-12)
    np.testing.assert_allclose(scaled[1] * c, s, rtol=1e-9)
    np.testing.assert_allclose(scaled[2][2:], d_phi[2:], rtol=1e-9)


def test_no_correlation_of_normal_rows_is_independence():
    expected = None
    for kind in ("cs", "toep", "un"):
        rows, eta = make_rows(kind)
        value = value_and_slopes(kind, rows, eta, np.array([0.8, 1.7, *np.zeros(len(PARAMETERS[kind][0]))]))[0]
        expected = stats.norm.logpdf(rows.y, eta, np.array([0.8, 1.7])[rows.cell] / np.sqrt(rows.weights)).sum()
        np.testing.assert_allclose(value, expected, rtol=1e-13)


def test_many_degrees_of_freedom_are_the_normal():
    rows, eta = make_rows("toep")
    rho = PARAMETERS["toep"][0]
    normal = value_and_slopes("toep", rows, eta, np.array([0.8, 1.7, *rho]))
    for nu in (1e6, 1e8, 1e12):
        t = value_and_slopes("toep", rows, eta, np.array([0.8, 1.7, nu, *rho]))
        np.testing.assert_allclose(t[0], normal[0], atol=2e3 / nu + 1e-11)
        assert abs(t[2][2]) < 1e4 / nu**2 + 1e-13


def test_tiny_gaps_keep_their_digits():
    """1 - rho^(2 gap) for a gap of 1e-9 from its series, 2 gap |log rho|."""
    alike = np.zeros(2, dtype=int)
    time, ar = np.array([0.0, 1e-9]), np.array([AUTOREGRESSIVE])
    pair = Rows(np.array([0.0, 1e-5]), np.ones(2), np.zeros(2), time, alike, alike, ar)
    value = value_and_slopes("car1", pair, np.zeros(2), np.array([1.0, 0.5]))[0]
    variance = 2e-9 * np.log(2.0)
    expected = stats.norm.logpdf(0.0) + stats.norm.logpdf(1e-5, 0.0, np.sqrt(variance))
    np.testing.assert_allclose(value, expected, rtol=1e-8)


def test_not_positive_definite_is_no_number():
    rows, eta = make_rows("cs")
    value = value_and_slopes("cs", rows, eta, np.array([0.8, 1.7, -0.3]))[0]
    assert not np.isfinite(value)
