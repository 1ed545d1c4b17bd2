from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from refglmm.covariance import make_structure
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.families.negative_binomial import NegativeBinomial
from refglmm.fit.getme import PIECES, Lind


def dense(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


def test_the_factor_is_that_of_the_permuted_matrix(linear):
    case = linear(True)
    pieces = case.fit.get_me("L", "perm", "Lambda", "Zt", "A", "RZX", "RX", "X")
    A, W = dense(pieces["A"]), case.weights
    H = A @ (W[:, None] * A.T) + np.eye(16)
    L, perm = dense(pieces["L"]), pieces["perm"]
    np.testing.assert_allclose(L @ L.T, H[np.ix_(perm, perm)], atol=1e-12)
    X = dense(pieces["X"])
    np.testing.assert_allclose(L @ pieces["RZX"], (A @ (W[:, None] * X))[perm], atol=1e-12)
    np.testing.assert_allclose(
        pieces["RX"].T @ pieces["RX"], X.T @ (W[:, None] * X) - pieces["RZX"].T @ pieces["RZX"], atol=1e-12
    )
    np.testing.assert_allclose(dense(pieces["Lambda"]), case.Lambda)
    np.testing.assert_array_equal(dense(pieces["Zt"]), case.Z.T)


def test_modes_and_linear_predictor_agree(linear):
    pieces = linear(True).fit.get_me("u", "b", "Lambda", "X", "beta", "Z", "eta", "offset", "mu")
    np.testing.assert_allclose(pieces["b"], pieces["Lambda"] @ pieces["u"], atol=1e-14)
    eta = pieces["offset"] + dense(pieces["X"]) @ pieces["beta"] + pieces["Z"] @ pieces["b"]
    np.testing.assert_allclose(pieces["eta"], eta, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "hom", "par"),
    [
        ("us", False, [0.5, 0.2, -0.1, 0.7, 0.3, 0.9]),
        ("diag", False, [0.5, 0.6, 0.7]),
        ("diag", True, [0.5]),
        ("cs", False, [0.5, 0.6, 0.7, 0.2]),
        ("cs", True, [0.5, 0.2]),
        ("ar1", True, [0.5, 0.4]),
        ("ar1", False, [0.5, 0.6, 0.7, -0.4]),
    ],
)
def test_lind_puts_theta_into_lambda(name, hom, par):
    """theta[Lind], written into the stored entries of Lambda' by columns, is Lambda' for every structure."""
    structure = make_structure(name, 3, hom)
    par = np.array(par)
    terms = [SimpleNamespace(levels=["a", "b"], columns=("x", "y", "z"), structure=name, label="g")] * 2
    fit = SimpleNamespace(
        design=SimpleNamespace(terms=terms),
        structures=(structure, structure),
        optimum=SimpleNamespace(par=np.concatenate([par, 2 * par if name != "cs" else par])),
    )
    Lambdat = PIECES["Lambdat"](fit)
    Lambdat.sort_indices()
    theta = np.concatenate([structure.theta(p) for p in np.split(fit.optimum.par, 2)])
    np.testing.assert_allclose(theta[Lind(fit)], Lambdat.data, atol=1e-14)
    T = structure.factor(par)
    np.testing.assert_allclose(dense(Lambdat)[:3, :3], T.T, atol=1e-14)
    np.testing.assert_allclose(dense(Lambdat)[3:6, 3:6], T.T, atol=1e-14)
    assert not dense(Lambdat)[:3, 3:].any()


def test_st_multiplies_back_to_t(linear):
    case = linear(True)
    for label, ST in case.fit.get_me("ST").items():
        S, unit = np.diag(np.diag(ST)), np.tril(ST, -1) + np.eye(len(ST))
        np.testing.assert_allclose(unit @ S, case.fit.get_me("Tlist")[label], atol=1e-15)


def test_st_of_a_zero_column_is_finite(poisson):
    case = poisson()
    stand_in = SimpleNamespace(design=case.design, structures=case.structures, optimum=SimpleNamespace(par=np.zeros(1)))
    np.testing.assert_array_equal(PIECES["ST"](stand_in)["g"], [[0.0]])


def test_devcomp_of_a_linear_model(linear):
    for reml in (True, False):
        case = linear(reml)
        parts = case.fit.get_me("devcomp")
        cmp, dims = parts["cmp"], parts["dims"]
        assert cmp["pwrss"] == pytest.approx(float(case.r @ case.Vinv @ case.r))
        assert cmp["pwrss"] == cmp["wrss"] + cmp["ussq"]
        assert cmp["ldRX2"] == pytest.approx(np.linalg.slogdet(case.precision)[1])
        assert cmp["sigmaREML" if reml else "sigmaML"] == pytest.approx(case.fit.sigma)
        assert cmp["REML" if reml else "dev"] == case.value
        assert np.isnan(cmp["dev" if reml else "REML"])
        assert (dims["REML"], dims["q"], dims["nth"], dims["nmp"]) == (2 if reml else 0, 16, 4, 58)


def test_sizes(linear):
    fit = linear(True).fit
    sizes = fit.get_me("n", "N", "p", "q", "k", "m", "npar", "n_rtrms", "n_rfacs", "REML", "is_REML")
    assert sizes == {
        "n": 60, "N": 60, "p": 2, "q": 16, "k": 2, "m": 4, "npar": 4, "n_rtrms": 2, "n_rfacs": 2, "REML": 2,
        "is_REML": True,
    }  # fmt: skip
    assert fit.get_me("p_i").to_dict() == {"x | subject": 2, "1 | item": 1}
    assert fit.get_me("q_i").tolist() == [12, 4]
    assert fit.get_me("m_i").tolist() == [3, 1]
    assert fit.get_me("l_i").to_dict() == {"subject": 6, "item": 4}
    assert fit.get_me("Gp").tolist() == [0, 12, 16]
    assert fit.get_me("cnms") == {"subject": ["(Intercept)", "x"], "item": ["(Intercept)"]}


def test_theta_par_and_bounds_are_named(linear):
    fit = linear(True).fit
    names = ["subject.(Intercept)", "subject.x.(Intercept)", "subject.x", "item.(Intercept)"]
    assert list(fit.get_me("theta").index) == names
    assert fit.get_me("theta").tolist() == [0.9, 0.4, 0.6, 0.7]
    assert fit.get_me("lower").tolist() == [0.0, -np.inf, 0.0, 0.0]
    assert fit.get_me("par").tolist() == [0.9, 0.4, 0.6, 0.7]


def test_factors_have_their_labels(linear):
    case = linear(True)
    flist = case.fit.get_me("flist")
    assert list(flist.columns) == ["subject", "item"]
    assert flist["subject"].astype(str).tolist()[:7] == ["s1", "s2", "s3", "s4", "s5", "s6", "s1"]


def test_size_of_the_negative_binomial(poisson):
    fit = poisson().fit
    with pytest.raises(NotAvailableError, match="poisson has no size"):
        fit.get_me("glmer.nb.theta")
    optimum = SimpleNamespace(phi=np.array([2.5]))
    assert PIECES["glmer.nb.theta"](SimpleNamespace(family=NegativeBinomial(), optimum=optimum)) == 2.5
    known = SimpleNamespace(family=NegativeBinomial(size=4.0), optimum=SimpleNamespace(phi=np.empty(0)))
    assert PIECES["glmer.nb.theta"](known) == 4.0


def test_unknown_names_are_listed(linear):
    fit = linear(True).fit
    with pytest.raises(ArgumentError, match="unknown piece 'Ztlist2'; there are: X, Z, Zt"):
        fit.get_me("X", "Ztlist2")
    with pytest.raises(ArgumentError, match="at least one"):
        fit.get_me()
    everything = fit.get_me("ALL")
    assert set(everything) == set(PIECES) - {"glmer.nb.theta"}


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if sparse.issparse(a):
        return (a != b).nnz == 0
    if hasattr(a, "equals"):
        return a.equals(b)
    return np.array_equal(a, b, equal_nan=isinstance(a, float))


def spoil(value):
    """Overwrite whatever can be overwritten."""
    if isinstance(value, dict):
        for item in value.values():
            spoil(item)
        value.clear()
    elif sparse.issparse(value):
        value.data[:] = -7
    elif isinstance(value, np.ndarray):
        value[...] = -7
    elif isinstance(value, list):
        value.clear()
    elif isinstance(value, pd.Series):
        value.iloc[:] = -7
    elif isinstance(value, pd.DataFrame) and not any(isinstance(t, pd.CategoricalDtype) for t in value.dtypes):
        value.iloc[:, :] = -7


@pytest.mark.parametrize("name", sorted(set(PIECES) - {"glmer.nb.theta"}))
def test_every_piece_is_a_copy(name, linear):
    fit = linear(True).fit
    before = fit.get_me(name)
    spoil(fit.get_me(name))
    assert same(before, fit.get_me(name))
