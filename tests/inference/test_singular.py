"""Principal components of the random effects: lme4's numbers, closed forms, advice."""

from __future__ import annotations

import numpy as np
import pytest
from diagnostic_fits import sleepstudy

import refglmm as rg
from refglmm.errors import ArgumentError, SingularFitWarning
from refglmm.inference.singular import principal_components


@pytest.mark.golden
def test_rePCA_of_lme4():
    """rePCA(lmer(Reaction ~ Days + (Days | Subject), sleepstudy)), lme4 1.1-31; signs of axes are free."""
    part = sleepstudy("Reaction ~ Days + (Days | Subject)").re_pca()["Subject"]
    np.testing.assert_allclose(part.sd, [0.966867972252, 0.230879814201], rtol=1e-5)
    np.testing.assert_allclose(part.proportion, [0.94605, 0.05395], atol=5e-6)
    np.testing.assert_allclose(np.abs(part.loadings[0]), [0.9998615840507, 0.0166376903321], rtol=1e-3)


def test_axes_rebuild_the_covariance():
    fit = sleepstudy("Reaction ~ Days + (Days | Subject)")
    part = fit.re_pca()["Subject"]
    rebuilt = part.loadings @ np.diag(part.sd**2) @ part.loadings.T * fit.sigma**2
    np.testing.assert_allclose(rebuilt, fit.varcorr["Subject"].cov, rtol=1e-10)
    assert part.columns == ("(Intercept)", "Days")


def test_terms_of_one_factor_stand_side_by_side():
    fit = sleepstudy("Reaction ~ Days + (Days || Subject)")
    part = fit.re_pca()["Subject"]
    np.testing.assert_allclose(part.sd, sorted(np.abs(fit.theta), reverse=True), rtol=1e-12)
    np.testing.assert_array_equal(np.abs(part.loadings), np.eye(2))


def test_a_dimension_without_variance_is_named():
    T = np.array([[2.0, 0.0], [1.0, 0.0]])  # perfect correlation
    part = principal_components("school", ("(Intercept)", "x"), T)
    assert part.n_effective == 1
    assert part.advice.startswith("school: the random effects use 1 of 2 dimensions")
    np.testing.assert_allclose(part.sd, [np.sqrt(5.0), 0.0], atol=1e-15)
    with pytest.warns(SingularFitWarning):
        fit = rg.lmer("Yield ~ 1 + (1 | Batch)", rg.datasets.load("Dyestuff2"))
    assert "Batch: the random effects use 0 of 1 dimensions" in repr(fit.re_pca())


def test_showing_and_asking():
    result = sleepstudy("Reaction ~ Days + (Days | Subject)").re_pca()
    assert list(result) == ["Subject"]
    assert len(result) == 1
    frame = result["Subject"].as_frame()
    assert list(frame) == ["PC1", "PC2"]
    assert frame.loc["Cumulative Proportion", "PC2"] == pytest.approx(1.0)
    assert "Proportion of Variance" in repr(result)
    assert "<table" in result._repr_html_()
    with pytest.raises(ArgumentError, match="no grouping factor 'Item'; there are: Subject"):
        result["Item"]
    with pytest.raises(ValueError, match="read-only"):
        result["Subject"].sd[0] = 1.0


def test_the_components_of_one_factor_print_like_those_of_all():
    result = sleepstudy("Reaction ~ Days + (Days | Subject)").re_pca()
    assert repr(result["Subject"]) == repr(result)
    assert result["Subject"]._repr_html_() == result._repr_html_()
