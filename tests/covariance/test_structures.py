"""Covariance structures against literal covariances, differences and the recursion of the literature."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refglmm.covariance import make_structure
from refglmm.covariance.scaled import EDGE
from refglmm.errors import ArgumentError

KINDS = [
    ("us", False),
    ("diag", False),
    ("diag", True),
    ("cs", False),
    ("cs", True),
    ("ar1", False),
    ("ar1", True),
]
CORRELATED = [kind for kind in KINDS if kind[0] in ("cs", "ar1")]
SIZES = [1, 2, 3, 5]

every_structure = pytest.mark.parametrize(
    "structure", [make_structure(n, k, h) for n, h in KINDS for k in SIZES], ids=str
)
correlated = pytest.mark.parametrize(
    "structure", [make_structure(n, k, h) for n, h in CORRELATED for k in (2, 3, 5)], ids=str
)


def literal_covariance(name, k, hom, par):
    """Return Sigma written down entry by entry."""
    Sigma = np.empty((k, k))
    if name == "us":
        T, position = np.zeros((k, k)), 0
        for j in range(k):
            for i in range(j, k):
                T[i, j] = par[position]
                position += 1
        return T @ T.T
    rho = par[-1] if name in ("cs", "ar1") and k > 1 else 0.0
    for i in range(k):
        for j in range(k):
            sd_i, sd_j = (par[0], par[0]) if hom else (par[i], par[j])
            if i == j:
                r = 1.0
            elif name == "diag":
                r = 0.0
            else:
                r = rho if name == "cs" else rho ** abs(i - j)
            Sigma[i, j] = sd_i * sd_j * r
    return Sigma


def recursion_cs(rho, k):
    """Cholesky factor of a compound-symmetric correlation matrix by the recursion for a_j."""
    R, a = np.zeros((k, k)), 0.0
    for j in range(k):
        root = np.sqrt(1 - rho**2 * a)
        R[j, j] = root
        R[j + 1 :, j] = (rho - rho**2 * a) / root
        a += (1 - rho * a) ** 2 / (1 - rho**2 * a)
    return R


def random_par(structure, seed, inside=0.9):
    rng = np.random.default_rng(seed)
    par = rng.uniform(0.2, 2.0, structure.n_par)
    if structure.name == "us":
        return par * np.where(structure.lower == 0.0, 1.0, rng.choice([-1.0, 1.0], structure.n_par))
    if structure.name in ("cs", "ar1") and structure.k > 1:
        low, high = structure.lower[-1], structure.upper[-1]
        middle, half = (low + high) / 2, (high - low) / 2
        par[-1] = middle + inside * half * rng.uniform(-1, 1)
    return par


def with_rho(structure, rho):
    par = random_par(structure, 3)
    par[-1] = rho
    return par


@every_structure
@pytest.mark.parametrize("seed", range(3))
def test_factor_is_a_root_of_the_literal_covariance(structure, seed):
    par = random_par(structure, seed)
    T = structure.factor(par)
    assert T.shape == (structure.k, structure.k)
    assert T.flags.c_contiguous
    assert T.dtype == np.float64
    assert np.array_equal(T, np.tril(T))
    np.testing.assert_allclose(
        T @ T.T, literal_covariance(structure.name, structure.k, structure.hom, par), rtol=1e-13, atol=1e-15
    )


@correlated
@pytest.mark.parametrize("end", ["lower", "upper"])
def test_factor_at_the_bounds_of_rho(structure, end):
    par = with_rho(structure, getattr(structure, end)[-1])
    T = structure.factor(par)
    Sigma = literal_covariance(structure.name, structure.k, structure.hom, par)
    np.testing.assert_allclose(T @ T.T, Sigma, rtol=1e-13, atol=1e-14)
    assert abs(T[-1, -1]) < 1e-7  # Sigma is singular there
    assert structure.is_singular(par)


@pytest.mark.parametrize("k", [2, 3, 6])
@pytest.mark.parametrize("fraction", [-0.95, -0.3, 0.0, 0.4, 0.99])
def test_compound_symmetry_closes_the_recursion(k, fraction):
    structure = make_structure("cs", k, True)
    rho = fraction if fraction > 0 else -fraction * structure.lower[1]
    np.testing.assert_allclose(structure.factor([1.0, rho]), recursion_cs(rho, k), rtol=1e-12, atol=1e-15)


@every_structure
def test_structures_of_the_same_size_are_shared_and_cannot_be_written_to(structure):
    assert make_structure(structure.name, structure.k, structure.hom) is make_structure(
        structure.name, structure.k, structure.hom
    )
    assert not structure._theta_rows.flags.writeable
    assert not structure._theta_columns.flags.writeable


@every_structure
def test_start_is_the_identity_inside_the_bounds(structure):
    np.testing.assert_array_equal(structure.factor(structure.start), np.eye(structure.k))
    assert np.all(structure.lower <= structure.start)
    assert np.all(structure.start <= structure.upper)
    assert len(structure.start) == structure.n_par == len(structure.lower) == len(structure.upper)


@pytest.mark.parametrize(
    ("name", "hom", "k", "n_par", "n_theta"),
    [
        ("us", False, 3, 6, 6),
        ("diag", False, 3, 3, 3),
        ("diag", True, 3, 1, 1),
        ("cs", False, 4, 5, 10),
        ("cs", True, 4, 2, 7),
        ("ar1", False, 4, 5, 10),
        ("ar1", True, 4, 2, 7),
        ("cs", True, 15, 2, 29),
        ("cs", False, 1, 1, 1),
        ("ar1", True, 1, 1, 1),
    ],
)
def test_lengths(name, hom, k, n_par, n_theta):
    structure = make_structure(name, k, hom)
    assert (structure.n_par, structure.n_theta) == (n_par, n_theta)
    assert structure.theta(structure.start).shape == (n_theta,)


@pytest.mark.parametrize(("name", "low"), [("cs", -1 / 3), ("ar1", -1.0)])
def test_bounds_of_rho(name, low):
    structure = make_structure(name, 4, False)
    np.testing.assert_array_equal(structure.lower, [0, 0, 0, 0, low])
    np.testing.assert_array_equal(structure.upper, [np.inf] * 4 + [1.0])


@every_structure
@pytest.mark.parametrize("seed", range(2))
def test_derivatives_against_five_point_differences(structure, seed):
    par, h = random_par(structure, seed, inside=0.8), 1e-3
    exact = structure.d_factor(par)
    assert exact.shape == (structure.n_par, structure.k, structure.k)
    for j in range(structure.n_par):
        step = h * np.eye(structure.n_par)[j]
        f1, f2 = structure.factor(par + step), structure.factor(par + 2 * step)
        b1, b2 = structure.factor(par - step), structure.factor(par - 2 * step)
        np.testing.assert_allclose(exact[j], (b2 - 8 * b1 + 8 * f1 - f2) / (12 * h), rtol=1e-8, atol=1e-9)


@correlated
@pytest.mark.parametrize("end", ["lower", "upper"])
def test_derivatives_are_finite_and_right_for_the_covariance_at_the_bounds(structure, end):
    par = with_rho(structure, getattr(structure, end)[-1])
    inside = structure.interior(par)
    assert abs(inside[-1] - par[-1]) == pytest.approx(EDGE, rel=1e-6)
    T, dT = structure.factor(inside), structure.d_factor(par)
    assert np.all(np.isfinite(dT))
    # Sigma is a polynomial in rho, so its slope has no singularity at the bound
    up, down = par.copy(), par.copy()
    up[-1] += 1e-3
    down[-1] -= 1e-3
    literal = [literal_covariance(structure.name, structure.k, structure.hom, p) for p in (down, up)]
    slope = dT[-1] @ T.T + T @ dT[-1].T
    np.testing.assert_allclose(slope, (literal[1] - literal[0]) / 2e-3, rtol=1e-4, atol=1e-6)


@every_structure
def test_interior_leaves_inner_points_alone(structure):
    par = random_par(structure, 5)
    np.testing.assert_array_equal(structure.interior(par), par)


@every_structure
@pytest.mark.parametrize("seed", range(3))
def test_par_theta_par_is_the_identity(structure, seed):
    par = random_par(structure, seed)
    theta = structure.theta(par)
    np.testing.assert_allclose(structure.par_from_theta(theta), par, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(structure.theta(structure.par_from_theta(theta)), theta, rtol=1e-13, atol=1e-14)


@correlated
@pytest.mark.parametrize("rho", ["lower", 0.0, "upper"])
def test_par_theta_par_at_special_rho(structure, rho):
    par = with_rho(structure, getattr(structure, rho)[-1] if isinstance(rho, str) else rho)
    np.testing.assert_allclose(structure.par_from_theta(structure.theta(par)), par, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", ["cs", "ar1"])
@pytest.mark.parametrize("rho", [-0.3, 0.6])
def test_rho_survives_a_zero_standard_deviation(name, rho):
    structure = make_structure(name, 3, False)
    par = np.array([0.7, 0.0, 1.3, rho])
    np.testing.assert_allclose(structure.par_from_theta(structure.theta(par)), par, rtol=1e-14)


@pytest.mark.parametrize("name", ["cs", "ar1"])
def test_rho_is_zero_when_theta_does_not_determine_it(name):
    structure = make_structure(name, 3, False)
    np.testing.assert_array_equal(structure.par_from_theta(structure.theta([2.0, 0.0, 0.0, 0.5])), [2.0, 0, 0, 0])


@given(st.data())
def test_random_round_trip(data):
    name, hom = data.draw(st.sampled_from(KINDS))
    structure = make_structure(name, data.draw(st.integers(1, 6)), hom)
    low = np.where(np.isinf(structure.lower), -10.0, structure.lower)
    high = np.where(np.isinf(structure.upper), 10.0, structure.upper)
    par = np.array([data.draw(st.floats(a, b, allow_subnormal=False)) for a, b in zip(low, high, strict=True)])
    sds = par[: structure.n_sd] if name in ("cs", "ar1") else par
    sds[np.abs(sds) < 1e-3] = 0.0
    theta = structure.theta(par)
    room = min(par[-1] - low[-1], high[-1] - par[-1]) if getattr(structure, "n_phi", 0) else 1.0
    # sqrt(1 - rho^2) magnifies the rounding of rho towards its bounds
    atol = 1e-9 + 10.0 * np.finfo(float).eps / np.sqrt(max(room, np.finfo(float).eps))
    np.testing.assert_allclose(structure.theta(structure.par_from_theta(theta)), theta, rtol=1e-9, atol=atol)
    T = structure.factor(par)
    np.testing.assert_allclose(T @ T.T, literal_covariance(name, structure.k, hom, par), rtol=1e-12, atol=1e-12)


def test_theta_entries_are_the_factor_by_columns():
    T = make_structure("us", 3, False).factor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    np.testing.assert_array_equal(T, [[1, 0, 0], [2, 4, 0], [3, 5, 6]])
    cs = make_structure("cs", 3, True)
    T = cs.factor([2.0, 0.3])
    np.testing.assert_array_equal(cs.theta([2.0, 0.3]), [T[0, 0], T[1, 0], T[1, 1], T[2, 1], T[2, 2]])
    assert T[2, 0] == T[1, 0]
    ar1 = make_structure("ar1", 3, True)
    T = ar1.factor([2.0, 0.3])
    np.testing.assert_array_equal(ar1.theta([2.0, 0.3]), [T[0, 0], T[1, 0], T[2, 0], T[1, 1], T[2, 1]])
    assert T[2, 2] == T[1, 1]


COLUMNS = ("(Intercept)", "Days")


@pytest.mark.parametrize(
    ("name", "hom", "par_names", "theta_names"),
    [
        (
            "us",
            False,
            ("S.(Intercept)", "S.Days.(Intercept)", "S.Days"),
            ("S.(Intercept)", "S.Days.(Intercept)", "S.Days"),
        ),
        ("diag", False, ("S.(Intercept)", "S.Days"), ("S.(Intercept)", "S.Days")),
        ("diag", True, ("S.sd",), ("S.(Intercept)",)),
        (
            "cs",
            False,
            ("S.sd.(Intercept)", "S.sd.Days", "S.rho"),
            ("S.(Intercept)", "S.Days.(Intercept)", "S.Days"),
        ),
        ("ar1", True, ("S.sd", "S.rho"), ("S.(Intercept)", "S.Days.(Intercept)", "S.Days")),
    ],
)
def test_names(name, hom, par_names, theta_names):
    structure = make_structure(name, 2, hom)
    assert structure.par_names("S", COLUMNS) == par_names
    assert structure.theta_names("S", COLUMNS) == theta_names


@every_structure
def test_names_match_lengths(structure):
    columns = [f"x{i}" for i in range(structure.k)]
    assert len(structure.par_names("g", columns)) == structure.n_par
    assert len(set(structure.theta_names("g", columns))) == structure.n_theta


@pytest.mark.parametrize(
    ("name", "hom", "par", "answer"),
    [
        ("us", False, [1.0, 5.0, 0.00009], True),
        ("us", False, [1.0, 0.0, 0.00011], False),
        ("us", False, [1.0, 5.0, -0.5], False),
        ("diag", False, [1.0, 0.0], True),
        ("diag", True, [0.1], False),
        ("cs", True, [0.00001, 0.2], True),
        ("cs", True, [1.0, 0.99995], True),
        ("cs", True, [1.0, -0.99995], True),
        ("cs", True, [1.0, -0.9998], False),
        ("ar1", False, [1.0, 1.0, -1.0], True),
        ("ar1", False, [1.0, 0.0, 0.5], True),
        ("ar1", False, [1.0, 1.0, 0.5], False),
    ],
)
def test_is_singular(name, hom, par, answer):
    assert make_structure(name, 2, hom).is_singular(par) is answer


def test_is_singular_uses_the_tolerance():
    structure = make_structure("diag", 1, False)
    assert structure.is_singular([0.01], tol=0.1)
    assert not structure.is_singular([0.01], tol=0.001)


@every_structure
def test_fold_keeps_the_covariance(structure):
    par = random_par(structure, 8)
    flipped = np.where(structure.sign_free, -par, par)
    folded = structure.fold(flipped)
    T, F = structure.factor(flipped), structure.factor(folded)
    np.testing.assert_allclose(F @ F.T, T @ T.T, rtol=1e-14)
    assert np.all(np.diagonal(F) >= 0.0)
    np.testing.assert_array_equal(structure.fold(folded), folded)


@pytest.mark.parametrize("name", ["cs", "ar1"])
def test_fold_of_separate_standard_deviations(name):
    structure = make_structure(name, 2, False)
    assert not structure.sign_free.any()
    np.testing.assert_array_equal(structure.fold([-1.0, -2.0, 0.5]), [1.0, 2.0, 0.5])
    with pytest.raises(ArgumentError, match=r"must not differ in sign: \[1.0, -2.0\]") as caught:
        structure.fold([1.0, -2.0, 0.5])
    assert caught.value.facts["sd"] == [1.0, -2.0]


@every_structure
def test_sd_and_correlation_rebuild_the_covariance(structure):
    par = random_par(structure, 11)
    sd, corr = structure.sd_corr(np.where(structure.sign_free, -par, par))
    T = structure.factor(np.where(structure.sign_free, -par, par))
    np.testing.assert_allclose(sd[:, None] * corr * sd, T @ T.T, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(np.diagonal(corr), 1.0)
    assert np.all(sd >= 0.0)


def test_correlation_is_undefined_where_an_unstructured_sd_is_zero():
    sd, corr = make_structure("us", 2, False).sd_corr([0.0, 0.0, 1.0])
    np.testing.assert_array_equal(sd, [0.0, 1.0])
    np.testing.assert_array_equal(corr, [[1.0, np.nan], [np.nan, 1.0]])


def test_two_columns_of_cs_and_ar1_are_the_same_model():
    par = [1.2, 0.7, -0.4]
    np.testing.assert_allclose(make_structure("cs", 2, False).factor(par), make_structure("ar1", 2, False).factor(par))


def test_mistakes_are_named():
    with pytest.raises(ArgumentError, match="unknown covariance structure 'arma'; known are us, diag, cs, ar1, toep"):
        make_structure("arma", 2, False)
    with pytest.raises(ArgumentError, match="at least one column, not 0"):
        make_structure("us", 0, False)
    with pytest.raises(ArgumentError, match="no homogeneous form"):
        make_structure("us", 2, True)
    with pytest.raises(ArgumentError, match="cs with 3 columns has 4 par values, not 3") as caught:
        make_structure("cs", 3, False).factor([1.0, 1.0, 1.0])
    assert caught.value.facts == {"expected": 4, "given": 3}
    with pytest.raises(ArgumentError, match="us with 2 columns has 3 theta values, not 2"):
        make_structure("us", 2, False).par_from_theta([1.0, 1.0])


@every_structure
def test_structures_are_frozen_and_hand_out_fresh_arrays(structure):
    with pytest.raises(AttributeError):
        structure.k = 9
    for make in (lambda: structure.start, lambda: structure.d_factor(structure.start)):
        make()[...] = 99.0
        assert not np.any(make() == 99.0)
    given_par = structure.start
    structure.theta(given_par)[...] = 99.0
    structure.fold(given_par)[...] = 99.0
    np.testing.assert_array_equal(given_par, structure.start)
