"""toep, ou, exp, gau, mat, rr, propto and equalto against literal covariances and differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gamma, gammaln, kve, kvp
from structures import every_structure, known, positions, random_par, rows, slope

from refglmm.covariance import TermData, make_structure
from refglmm.covariance.kernels import NUGGET, log_matern
from refglmm.covariance.stationary import partial_autocorrelations
from refglmm.errors import ArgumentError, NotPositiveDefiniteError

each = pytest.mark.parametrize("structure", every_structure(), ids=lambda s: f"{s.name}-{s.k}-{s.hom}-{s.data.rank}")
KERNELS = ("ou", "exp", "gau", "mat")


def literal_rho(name, d, natural):
    """Correlation at one distance, entry by entry."""
    if d == 0.0:
        return 1.0
    if name == "ou":
        return np.exp(-natural[0] * d)
    x = d / natural[0]
    if name == "mat":
        nu = natural[1]
        return 2.0 ** (1.0 - nu) / gamma(nu) * x**nu * kve(nu, x) * np.exp(-x)
    return np.exp(-x) if name == "exp" else np.exp(-(x**2))


def literal_covariance(structure, par):
    """Sigma of a kernel or a known matrix, written down."""
    k, data = structure.k, structure.data
    if structure.name in ("propto", "equalto"):
        return np.array(data.matrix) * (par[0] ** 2 if structure.name == "propto" else 1.0)
    natural = np.exp(par[1:])
    Sigma = np.empty((k, k))
    for i in range(k):
        for j in range(k):
            d = np.linalg.norm(np.subtract(data.positions[i], data.positions[j]))
            Sigma[i, j] = par[0] ** 2 * literal_rho(structure.name, d, natural)
    return Sigma


# --- what every structure owes ------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("seed", range(3))
def test_factor_is_lower_triangular_and_has_the_rank_it_should(structure, seed):
    T = structure.factor(random_par(structure, seed))
    np.testing.assert_array_equal(T, np.tril(T))
    values = np.linalg.eigvalsh(T @ T.T)
    rank = structure.data.rank or structure.k
    assert np.sum(values > 1e-12 * values[-1]) == rank


@each
@pytest.mark.parametrize("seed", range(2))
def test_derivatives_against_differences_of_sixth_order(structure, seed):
    par = random_par(structure, seed)
    exact = structure.d_factor(par)
    assert exact.shape == (structure.n_par, structure.k, structure.k)
    for j in range(structure.n_par):
        # the nugget bounds the condition of the covariance of a smooth kernel, and with it what rounding does to T
        np.testing.assert_allclose(exact[j], slope(structure.factor, par, j), rtol=1e-8, atol=1e-8)


@each
def test_start_is_inside_and_its_rows_have_length_one(structure):
    assert structure.start.shape == structure.lower.shape == structure.upper.shape == (structure.n_par,)
    assert np.all((structure.lower <= structure.start) & (structure.start <= structure.upper))
    if not structure.data.matrix:
        np.testing.assert_allclose(np.sum(structure.factor(structure.start) ** 2, axis=1), 1.0, rtol=1e-12)


@each
@pytest.mark.parametrize("seed", range(2))
def test_standard_deviations_and_correlations_rebuild_the_covariance(structure, seed):
    par = random_par(structure, seed)
    sd, corr = structure.sd_corr(par)
    T = structure.factor(par)
    np.testing.assert_allclose(sd[:, None] * corr * sd, T @ T.T, rtol=1e-8, atol=2 * NUGGET * np.max(sd) ** 2)
    np.testing.assert_array_equal(np.diagonal(corr), 1.0)


@each
@pytest.mark.parametrize("seed", range(2))
def test_fold_keeps_the_covariance(structure, seed):
    par = random_par(structure, seed)
    flipped = np.where(structure.sign_free, -par, par)
    folded = structure.fold(flipped)
    T, F = structure.factor(flipped), structure.factor(folded)
    np.testing.assert_allclose(F @ F.T, T @ T.T, rtol=1e-13, atol=1e-15)
    assert np.all(np.diagonal(F) >= 0.0)
    np.testing.assert_array_equal(structure.fold(folded), folded)


@each
@pytest.mark.parametrize("seed", range(3))
def test_par_theta_par_is_the_identity(structure, seed):
    par = structure.fold(random_par(structure, seed))
    found = structure.par_from_theta(structure.theta(par))
    np.testing.assert_allclose(structure.theta(found), structure.theta(par), rtol=1e-7, atol=1e-8)
    if (structure.name, structure.k) != ("mat", 2):  # one distance does not tell range from smoothness
        np.testing.assert_allclose(found, par, rtol=1e-7, atol=1e-7)


@each
def test_only_standard_deviations_and_loadings_scale_the_factor(structure):
    par = random_par(structure, 4)
    larger = np.where(structure.in_sd_units, 3.0 * par, par)
    if structure.name != "equalto":
        np.testing.assert_allclose(structure.factor(larger), 3.0 * structure.factor(par), rtol=1e-12)


@each
def test_names_and_shapes_agree(structure):
    columns = [f"x{i}" for i in range(structure.k)]
    assert len(set(structure.par_names("g", columns))) == structure.n_par
    assert len(set(structure.theta_names("g", columns))) == structure.n_theta


def test_names_say_what_a_parameter_is():
    columns = ["a", "b", "c"]
    assert make_structure("toep", 3).par_names("g", columns) == ("g.sd.a", "g.sd.b", "g.sd.c", "g.pacf1", "g.pacf2")
    mat = make_structure("mat", 3, True, positions(3, 2))
    assert mat.par_names("g", columns) == ("g.sd", "g.log_range", "g.log_smoothness")
    assert list(mat.reported(mat.start)) == ["range", "smoothness"]
    ou = make_structure("ou", 3, True, positions(3, 1))
    assert ou.reported([1.0, np.log(0.25)]) == {"rate": pytest.approx(0.25)}
    rr = make_structure("rr", 3, False, TermData(rank=1))
    assert rr.par_names("g", columns) == ("g.a", "g.b.a", "g.c.a")


# --- toep ---------------------------------------------------------------------------------------------------


def test_autoregression_is_the_toeplitz_structure_with_one_partial_correlation():
    toep, ar1 = make_structure("toep", 5, True), make_structure("ar1", 5, True)
    np.testing.assert_allclose(toep.factor([1.3, 0.6, 0.0, 0.0, 0.0]), ar1.factor([1.3, 0.6]), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("seed", range(4))
def test_partial_correlation_of_a_lag_is_that_of_the_regression_on_what_lies_between(seed):
    """Literal: 1 - R^2-like ratio of the covariances of columns 0 and m given those between."""
    structure = make_structure("toep", 5, True)
    par = random_par(structure, seed)
    C = structure.correlation(par[1:])
    np.testing.assert_allclose(C, np.array([[C[0, abs(i - j)] for j in range(5)] for i in range(5)]), atol=1e-14)
    for m in range(1, 5):
        ends, between = [0, m], list(range(1, m))
        given = C[np.ix_(ends, ends)]
        if between:
            cross = C[np.ix_(ends, between)]
            given = given - cross @ np.linalg.solve(C[np.ix_(between, between)], cross.T)
        assert given[0, 1] / np.sqrt(given[0, 0] * given[1, 1]) == pytest.approx(par[m], abs=1e-12)
    np.testing.assert_allclose(partial_autocorrelations(C[1:, 0]), par[1:], atol=1e-12)


def test_toeplitz_at_the_bounds_is_singular_and_right():
    structure = make_structure("toep", 3, True)
    T = structure.factor([1.0, 1.0, 0.3])
    np.testing.assert_allclose(T @ T.T, np.ones((3, 3)), atol=1e-15)
    assert structure.is_singular([1.0, 1.0, 0.3])
    assert not structure.is_singular([1.0, 0.9, 0.3])
    assert np.all(np.isfinite(structure.d_factor([1.0, 1.0, -1.0])))
    np.testing.assert_array_equal(partial_autocorrelations(np.array([1.0, 1.0])), [1.0, 0.0])


def test_toeplitz_reports_each_lag():
    structure = make_structure("toep", 3)
    par = [1.0, 2.0, 3.0, 0.5, 0.2]
    # rho_2 = rho_1^2 + pi_2 (1 - rho_1^2)
    assert structure.reported(par) == {"lag 1": pytest.approx(0.5), "lag 2": pytest.approx(0.25 + 0.2 * 0.75)}


# --- kernels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*KERNELS, "propto", "equalto"])
@pytest.mark.parametrize("seed", range(3))
def test_covariance_is_the_literal_one(name, seed):
    data = known(5, seed) if name in ("propto", "equalto") else positions(5, 1 if name == "ou" else 3, seed)
    structure = make_structure(name, 5, True, data)
    par = random_par(structure, seed)
    T = structure.factor(par)
    scale = float(par[0] ** 2) if par.size else 1.0
    np.testing.assert_allclose(T @ T.T, literal_covariance(structure, par), rtol=1e-12, atol=2 * NUGGET * scale)


def test_ou_and_exp_are_one_model_and_so_is_matern_of_smoothness_one_half():
    data = positions(6, 1)
    ou, exp, mat = (make_structure(name, 6, True, data) for name in ("ou", "exp", "mat"))
    np.testing.assert_allclose(ou.factor([1.2, -0.4]), exp.factor([1.2, 0.4]), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(mat.factor([1.2, 0.4, np.log(0.5)]), exp.factor([1.2, 0.4]), rtol=1e-10, atol=1e-14)


def test_order_of_the_columns_does_not_matter():
    data = positions(5, 1)
    order = [3, 0, 4, 1, 2]
    shuffled = TermData(positions=tuple(data.positions[i] for i in order))
    T, S = (make_structure("ou", 5, True, d).factor([1.0, 0.3]) for d in (data, shuffled))
    np.testing.assert_allclose(S @ S.T, (T @ T.T)[np.ix_(order, order)], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("nu", [0.02, 0.3, 0.5, 1.0, 2.5, 12.0, 80.0])
def test_matern_against_the_bessel_function_of_scipy(nu):
    x = np.array([1e-6, 1e-3, 0.1, 0.7, 2.0, 8.0, 40.0])[0 if nu < 50.0 else 2 :]  # SciPy's K overflows

    def literal(order):
        order = float(order[0])
        return (1.0 - order) * np.log(2.0) - gammaln(order) + order * np.log(x) + np.log(kve(order, x)) - x

    log_rho, in_log_range, in_nu = log_matern(x, nu)
    np.testing.assert_allclose(log_rho, literal([nu]), rtol=1e-12, atol=2e-13 * max(1.0, nu))
    ratio = kvp(nu, x) / (kve(nu, x) * np.exp(-x))  # K' / K
    np.testing.assert_allclose(in_log_range, -(nu + x * ratio), rtol=1e-9, atol=1e-12 * max(1.0, nu))
    steps = slope(literal, np.array([nu]), 0, h=0.02 * nu)
    np.testing.assert_allclose(in_nu, steps, rtol=1e-8, atol=1e-9)


def test_matern_tends_to_the_squared_exponential():
    """With range r / (2 sqrt(nu)), rho tends to exp(-(d/r)^2); the difference is of order 1 / nu."""
    d = np.array([0.2, 0.8, 1.5])
    for nu in (100.0, 5000.0):
        log_rho, _, _ = log_matern(2.0 * np.sqrt(nu) * d, nu)
        np.testing.assert_allclose(log_rho, -(d**2), rtol=2.0 / nu)


@pytest.mark.parametrize("name", KERNELS)
def test_long_ranges_stay_positive_definite_and_count_as_singular(name):
    structure = make_structure(name, 6, True, positions(6, 1))
    sign = -1.0 if name == "ou" else 1.0
    par = np.append([1.0, sign * 12.0], [0.0] * (structure.n_phi - 1))
    T = structure.factor(par)
    assert np.all(np.isfinite(structure.d_factor(par)))
    np.testing.assert_allclose(T @ T.T, 1.0, atol=1e-4)
    assert structure.is_singular(par)
    assert not structure.is_singular(structure.start)
    assert structure.is_singular(np.append(0.0, structure.start[1:]))


@pytest.mark.parametrize("name", KERNELS)
def test_what_no_correlation_depends_on_is_undetermined(name):
    structure = make_structure(name, 4, True, positions(4, 1))
    sign = -1.0 if name == "ou" else 1.0
    short = np.append([1.0, -sign * 12.0], [0.0] * (structure.n_phi - 1))
    assert structure.undetermined(short, 1e-6).tolist() == [False] + [True] * structure.n_phi
    assert not structure.undetermined(structure.start, 1e-6).any()
    assert structure.undetermined(np.append(0.0, structure.start[1:]), 1e-6)[1:].all()


def test_a_covariance_that_rounding_makes_indefinite_is_our_error():
    structure = make_structure("gau", 3, True, positions(3, 1))
    with pytest.raises(NotPositiveDefiniteError, match="gau structure are not positive definite up to rounding"):
        structure._cholesky(np.full((3, 3), 1.1))


@pytest.mark.parametrize("name", ["exp", "propto"])
def test_theta_of_another_structure_is_refused(name):
    data = positions(3, 2) if name == "exp" else known(3)
    with pytest.raises(ArgumentError, match=f"theta is not the factor of (a|this) {name} structure"):
        make_structure(name, 3, True, data).par_from_theta([1.0, 0.5, -0.5, 1.0, 0.2, 1.0])


# --- reduced rank -------------------------------------------------------------------------------------------


def test_reduced_rank_of_full_rank_is_unstructured():
    rr, us = make_structure("rr", 3, False, TermData(rank=3)), make_structure("us", 3)
    par = [1.0, 0.2, -0.4, 0.8, 0.3, 0.5]
    np.testing.assert_array_equal(rr.factor(par), us.factor(par))


def test_reduced_rank_has_idle_columns():
    T = make_structure("rr", 4, False, TermData(rank=2)).factor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    np.testing.assert_array_equal(T, [[1, 0, 0, 0], [2, 5, 0, 0], [3, 6, 0, 0], [4, 7, 0, 0]])


def test_fold_of_a_reduced_rank_with_a_zero_on_the_diagonal():
    rr = make_structure("rr", 4, False, TermData(rank=2))
    par = np.array([0.0, 2.0, -3.0, 4.0, -5.0, 6.0, 7.0])
    T, F = rr.factor(par), rr.factor(rr.fold(par))
    np.testing.assert_allclose(F @ F.T, T @ T.T, atol=1e-13)
    assert not F[:, 2:].any()


def test_singular_reduced_rank_is_one_of_lower_rank():
    rr = make_structure("rr", 3, False, TermData(rank=2))
    assert rr.is_singular([1.0, 2.0, 3.0, 0.0, 0.0])
    assert not rr.is_singular([1.0, 2.0, 3.0, 0.0, 1.0])


@pytest.mark.parametrize("rank", [0, 4])
def test_impossible_ranks_are_refused(rank):
    with pytest.raises(ArgumentError, match=rf"rr\(\.\.\.\) with 3 columns needs a rank d from 1 to 3, not {rank}"):
        make_structure("rr", 3, False, TermData(rank=rank))
    with pytest.raises(ArgumentError, match=r"rr\(\.\.\.\) has no homogeneous form"):
        make_structure("rr", 3, True, TermData(rank=1))


def test_known_root_is_shared_not_given_away():
    structure = make_structure("propto", 2, True, TermData(matrix=rows([[2.0, 0.5], [0.5, 1.0]])))
    structure.factor([1.0])[...] = 9.0
    structure.d_factor([1.0])[...] = 9.0
    np.testing.assert_allclose(structure.factor([2.0]), 2.0 * np.linalg.cholesky([[2.0, 0.5], [0.5, 1.0]]))
