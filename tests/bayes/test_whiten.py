"""The change of coordinates against dense algebra."""

import numpy as np
import pytest

from refglmm.bayes import whiten
from refglmm.errors import ArgumentError, NotPositiveDefiniteError
from refglmm.likelihood.cholesky import make_cholesky

RNG = np.random.default_rng(20240601)
N_H, Q = 3, 6
D = N_H + Q


def spd(n):
    factor = RNG.normal(size=(n, n))
    return factor @ factor.T + n * np.eye(n)


def sparse_precision():
    """An arrow and a band, so that an ordering has something to do."""
    H = np.eye(Q) * 4.0
    H[0, :] = H[:, 0] = 0.7
    H[0, 0] = 6.0
    H[2, 3] = H[3, 2] = -0.5
    return H


H = sparse_precision()
CENTER, COVARIANCE_H, J = RNG.normal(size=D), spd(N_H), RNG.normal(size=(Q, N_H))


def sparse_factor(matrix):
    """Factor of the package's own Cholesky, with its permutation."""
    rows = [np.flatnonzero(matrix[j:, j]) + j for j in range(len(matrix))]
    indptr = np.append(0, np.cumsum([len(r) for r in rows]))
    factor = make_cholesky(indptr, np.concatenate(rows), len(matrix), engine="builtin")
    factor.refactor(np.concatenate([matrix[r, j] for j, r in enumerate(rows)]))
    L = factor.L()
    return L.indptr, L.indices, L.data, factor.perm


def laplace():
    return whiten.laplace(CENTER, np.linalg.cholesky(COVARIANCE_H), J, *sparse_factor(H))


def laplace_covariance():
    across = J @ COVARIANCE_H
    return np.block([[COVARIANCE_H, across.T], [across, across @ J.T + np.linalg.inv(H)]])


SD = np.linspace(0.5, 2.0, D)
DENSE = spd(D)
HYBRID = np.zeros((D, D))
HYBRID[:N_H, :N_H] = COVARIANCE_H
HYBRID[N_H:, N_H:] = np.diag(SD[N_H:] ** 2)
KINDS = {
    "diagonal": (whiten.diagonal(CENTER, SD), np.diag(SD**2)),
    "dense": (whiten.dense(CENTER, DENSE), DENSE),
    "hybrid": (whiten.hybrid(CENTER, COVARIANCE_H, SD[N_H:]), HYBRID),
    "laplace": (laplace(), laplace_covariance()),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def jacobian(whitening):
    rows = np.empty((D, D))
    whiten.place_rows(whitening, np.eye(D), rows)
    return (rows - whitening.center).T


def test_covariance_is_the_one_asked_for(kind):
    whitening, covariance = kind
    np.testing.assert_allclose(jacobian(whitening) @ jacobian(whitening).T, covariance, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(whiten.covariance(whitening), covariance, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(whiten.standard_deviations(whitening), np.sqrt(np.diag(covariance)), rtol=1e-12)


def test_map_is_affine_and_zero_is_the_center(kind):
    whitening, _ = kind
    xi, positions = RNG.normal(size=(4, D)), np.empty((4, D))
    xi[0] = 0.0
    whiten.place_rows(whitening, xi, positions)
    np.testing.assert_array_equal(positions[0], CENTER)
    np.testing.assert_allclose(positions, CENTER + xi @ jacobian(whitening).T, rtol=1e-12, atol=1e-12)


def test_gradient_is_the_transposed_jacobian(kind):
    whitening, _ = kind
    gradient, pulled = RNG.normal(size=D), np.empty(D)
    before = gradient.copy()
    whiten.pull_back(whitening, gradient, pulled)
    np.testing.assert_allclose(pulled, jacobian(whitening).T @ gradient, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(gradient, before)


def test_standardise_is_the_inverse(kind):
    whitening, _ = kind
    xi, positions, back = RNG.normal(size=(5, D)), np.empty((5, D)), np.empty((5, D))
    whiten.place_rows(whitening, xi, positions)
    whiten.standardise_rows(whitening, positions, back)
    np.testing.assert_allclose(back, xi, rtol=1e-11, atol=1e-12)


def test_log_determinant(kind):
    whitening, covariance = kind
    assert whiten.log_determinant(whitening) == pytest.approx(0.5 * np.linalg.slogdet(covariance)[1], abs=1e-12)


@pytest.mark.parametrize("metric", ["diag", "dense", "hybrid", "laplace"])
def test_other_coordinates_keep_what_they_can(metric):
    whitening, covariance = KINDS["laplace"]
    kept = whiten.covariance(whiten.restricted(whitening, metric))
    expected = {"diag": np.diag(np.diag(covariance)), "dense": covariance, "laplace": covariance}
    if metric == "hybrid":
        expected["hybrid"] = np.diag(np.diag(covariance))
        expected["hybrid"][:N_H, :N_H] = COVARIANCE_H
    np.testing.assert_allclose(kept, expected[metric], rtol=1e-11, atol=1e-12)


def test_rescaled_makes_draws_with_these_variances_standard(kind):
    whitening, _ = kind
    variances = np.linspace(0.3, 2.0, D)
    A = jacobian(whitening)
    changed = whiten.rescaled(whitening, variances)
    np.testing.assert_allclose(whiten.covariance(changed), A * variances @ A.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["dense", "hybrid", "laplace"])
def test_rotated_takes_the_covariance_of_the_hyperparameters(name):
    whitening, _ = KINDS[name]
    n_h = len(whitening.C)
    whitening = whiten.rescaled(whitening, np.linspace(0.5, 1.5, D))
    spread = np.diag(np.linspace(0.3, 2.0, D))
    spread[:n_h, :n_h] = spd(n_h) / n_h
    A = jacobian(whitening)
    changed = whiten.rotated(whitening, spread[:n_h, :n_h], np.diag(spread))
    np.testing.assert_allclose(whiten.covariance(changed), A @ spread @ A.T, rtol=1e-12, atol=1e-12)
    assert np.array_equal(changed.C, np.tril(changed.C))


def test_what_the_caller_gave_is_copied():
    sd = np.ones(3)
    whitening = whiten.diagonal(np.zeros(3), sd)
    sd[:] = 7.0
    np.testing.assert_array_equal(whitening.scale, np.ones(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: whiten.diagonal(np.zeros(2), [1.0, 0.0]), "sd must be positive, not 0 at 1"),
        (lambda: whiten.diagonal(np.zeros(2), [1.0, np.nan]), r"sd is not finite at \(1,\): nan"),
        (lambda: whiten.diagonal(np.zeros(2), np.ones(3)), r"sd must have shape \(2,\), not \(3,\)"),
        (lambda: whiten.dense(np.zeros(3), np.eye(2)), r"center must have shape \(2,\), not \(3,\)"),
        (
            lambda: whiten.laplace(np.zeros(3), np.eye(1), np.zeros((2, 1)), [0, 1, 2], [0, 1], [1.0, 1.0], [0, 0]),
            "order must hold each of the numbers 0 to 1 once",
        ),
        (
            lambda: whiten.laplace(np.zeros(3), np.eye(1), np.zeros((2, 1)), [0, 1, 2], [0, 5], [1.0, 1.0], [0, 1]),
            "do not describe a lower triangle",
        ),
        (
            lambda: whiten.laplace(np.zeros(3), np.eye(1), np.zeros((2, 1)), [0, 1, 2], [0, 1], [1.0, -1.0], [0, 1]),
            "the diagonal of L must be positive, not -1 at 1",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_covariance_must_be_positive_definite():
    with pytest.raises(NotPositiveDefiniteError, match="smallest eigenvalue is -1"):
        whiten.dense(np.zeros(2), [[1.0, 2.0], [2.0, 1.0]])
