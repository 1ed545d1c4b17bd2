from __future__ import annotations

import numpy as np
import pytest

from refglmm.errors import ArgumentError
from refglmm.fit.varcorr import TermVarCorr, VarCorr


def term(label, structure, sd, corr, columns=("a", "b", "c")):
    sd, corr = np.array(sd), np.array(corr)
    columns = columns[: len(sd)]
    return TermVarCorr(label, label, columns, structure, corr * np.outer(sd, sd), sd, corr)


ONES = 0.25 * np.ones((3, 3)) + 0.75 * np.eye(3)


def test_linear_models_scale_by_sigma_squared(linear):
    case = linear(True)
    vc = case.fit.varcorr
    T = np.array([[0.9, 0.0], [0.4, 0.6]])
    np.testing.assert_allclose(vc["subject"].cov, case.fit.sigma**2 * T @ T.T, rtol=1e-14)
    np.testing.assert_allclose(vc["item"].sd, [case.fit.sigma * 0.7], rtol=1e-14)
    np.testing.assert_allclose(
        vc["subject"].cov, vc["subject"].corr * np.outer(vc["subject"].sd, vc["subject"].sd), rtol=1e-14
    )
    assert vc.residual_sd == case.fit.sigma
    assert list(vc) == ["subject", "item"]
    assert len(vc) == 2


def test_families_without_a_scale_have_no_residual_row(poisson):
    vc = poisson().fit.varcorr
    np.testing.assert_allclose(vc["g"].cov, [[0.64]], rtol=1e-14)
    assert vc.residual_sd is None
    assert list(vc.as_frame()["grp"]) == ["g"]


def test_long_form_has_variances_then_covariances(linear):
    case = linear(False)
    frame = case.fit.varcorr.as_frame()
    assert list(frame.columns) == ["grp", "var1", "var2", "vcov", "sdcor"]
    assert list(frame["grp"]) == ["subject", "subject", "subject", "item", "Residual"]
    assert frame["var2"].isna().tolist() == [True, True, False, True, True]
    assert frame.loc[2, ["var1", "var2"]].tolist() == ["(Intercept)", "x"]
    assert frame.loc[2, "sdcor"] == pytest.approx(0.4 / np.hypot(0.4, 0.6))
    assert frame.loc[4, "vcov"] == pytest.approx(case.fit.sigma**2)


def test_diagonal_structures_show_no_correlation():
    vc = VarCorr((term("g", "diag", [1.0, 2.0], np.eye(2)),), None)
    assert "Corr" not in str(vc)
    assert len(vc.as_frame()) == 2


def test_structures_with_one_correlation_print_one():
    for structure in ("cs", "ar1"):
        text = str(VarCorr((term("g", structure, [1.0, 2.0, 3.0], ONES),), None))
        assert text.count("0.25") == 1
        assert text.splitlines()[0].split() == ["Groups", "Name", "Std.Dev.", "Corr"]


def test_unstructured_prints_the_lower_triangle():
    text = str(VarCorr((term("g", "us", [1.0, 2.0, 3.0], ONES),), None))
    assert [line.count("0.25") for line in text.splitlines()] == [0, 0, 1, 2]


def test_correlations_of_both_signs_align():
    corr = np.array([[1.0, -0.5, 0.25], [-0.5, 1.0, -0.001], [0.25, -0.001, 1.0]])
    lines = str(VarCorr((term("g", "us", [1.0, 2.0, 3.0], corr),), None)).splitlines()
    assert [line[22:] for line in lines] == ["Corr", "", "-0.50", " 0.25  0.00"]


def test_an_undefined_correlation_prints_as_nan():
    corr = np.array([[1.0, np.nan], [np.nan, 1.0]])
    assert "NaN" in str(VarCorr((term("g", "us", [0.0, 2.0], corr),), 1.0))


def test_layout_is_that_of_lme4():
    """VarCorr(lmer(Reaction ~ Days + (Days || Subject), sleepstudy, REML = FALSE)), lme4 1.1-31."""
    one = np.eye(1)
    vc = VarCorr(
        (
            term("Subject", "us", [24.17160], one, ("(Intercept)",)),
            term("Subject.1", "us", [5.79940], one, ("Days",)),
        ),
        25.55614,
    )
    assert vc.to_string(("Variance",), digits=5).splitlines() == [
        " Groups    Name        Variance",
        " Subject   (Intercept) 584.266",
        " Subject.1 Days         33.633",
        " Residual              653.116",
    ]


def test_unknown_names_are_refused(linear):
    vc = linear(True).fit.varcorr
    with pytest.raises(ArgumentError, match="subject, item"):
        vc["nobody"]
    with pytest.raises(ArgumentError, match="'Sd'"):
        vc.to_string(("Sd",))


def test_arrays_are_read_only_and_html_is_a_table(linear):
    vc = linear(True).fit.varcorr
    with pytest.raises(ValueError, match="read-only"):
        vc["item"].cov[0, 0] = 1.0
    frame = vc["item"].frame()
    frame.iloc[0, 0] = -1.0
    assert vc["item"].cov[0, 0] > 0
    assert vc._repr_html_().count("<tr>") == 5


def test_it_reads_as_a_dict_of_terms(linear):
    found = linear(True).fit.varcorr
    assert list(found.keys()) == list(found)
    assert found.values() == found.terms
    assert dict(found) == dict(found.items())
