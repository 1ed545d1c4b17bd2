"""Deletion against fits to the data without the rows, one step against dense formulas, both against lme4."""

from __future__ import annotations

import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from diagnostic_fits import CBPP, cbpp, crossed, crossed_data, dense_system, linear_data, sleepstudy

import refglmm as rg
from refglmm.errors import ArgumentError, DataError, InfluenceWarning, NotAvailableError, SingularFitWarning
from refglmm.inference.influence import component_names, row_changes

SLOPES = "Reaction ~ Days + (Days | Subject)"


@pytest.mark.golden
def test_deleting_subjects_is_influence_of_lme4():
    """influence(lmer(Reaction ~ Days + (Days | Subject), sleepstudy), "Subject") of lme4 1.1-31."""
    result = sleepstudy(SLOPES).influence("Subject")
    beta = [[251.829365775, 9.80273204991], [254.131584813, 10.94996245989], [254.223980107, 10.72330873440]]
    dfbetas = [[0.0587248822986, -0.448927438694], [0.4108749215917, 0.309896897997]]
    variances = [[694.130056676, 30.4747326754, 559.177351044], [510.611327725, 32.8912314376, 688.836996061]]
    np.testing.assert_allclose(result.beta[:3], beta, rtol=1e-6)
    np.testing.assert_allclose(result.dfbetas()[:2], dfbetas, rtol=1e-4)
    np.testing.assert_allclose(
        result.cooks_distance()[:4], [0.0821484050694, 0.1320207979578, 0.0982407442918, 0.0741465024409], rtol=1e-4
    )
    names = ["sd_(Intercept)|Subject", "sd_Days|Subject", "sigma"]
    np.testing.assert_allclose(result.components[names][:2] ** 2, variances, rtol=2e-4)
    assert list(result.beta.index[:3]) == ["308", "309", "310"]
    assert result.beta.index.name == "Subject"


@pytest.mark.golden
def test_deleting_herds_is_influence_of_lme4():
    """influence(glmer(...cbpp...), "herd") of lme4 1.1-31; herd 3's optimum is one that lme4 itself did not certify."""
    result = cbpp("lme4").influence("herd")
    np.testing.assert_allclose(result.cooks_distance()[:2], [0.256630561, 0.005258562], rtol=1e-2)
    np.testing.assert_allclose(
        result.beta.loc["1"], [-1.37479745570, -1.162073435961, -1.473720806856, -1.58275241804], rtol=1e-3
    )


REFITS = {
    "linear": lambda d: rg.lmer("y ~ x + (1 + x | g) + (1 | h)", d, weights="w", reml=True),
    "ml": lambda d: rg.lmer("y ~ x + (1 | g) + (1 | h)", d, weights="w"),
    "poisson": lambda d: rg.glmer("count ~ x + (1 | g) + (1 | h)", d, "poisson"),
    "gamma": lambda d: rg.glmer("positive ~ x + (1 | g)", d, "gamma", link="log"),
    "negative binomial": lambda d: rg.glmer_nb("over ~ x + (1 | g)", d),
    "probit": lambda d: rg.glmer("cbind(hits, size - hits) ~ x + (1 | g) + (1 | h)", d, "binomial", link="probit"),
}


@pytest.mark.parametrize("kind", REFITS)
def test_weight_zero_is_the_fit_without_the_level(kind):
    data = crossed_data()
    fit = crossed(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        result = fit.influence(data["g"].where(data["g"].isin(["g0", "g4"]), "rest"))
        for level in ("g0", "g4"):
            alone = REFITS[kind](data[data["g"] != level])
            row = result.beta.index.get_loc(level)
            np.testing.assert_allclose(result.beta.loc[level], alone.fixef, rtol=2e-5, atol=1e-6)
            np.testing.assert_allclose(result.par.loc[level], alone.par, rtol=1e-4, atol=2e-5)
            np.testing.assert_allclose(result.covariances[row], alone.vcov(), rtol=5e-4, atol=1e-7)
            np.testing.assert_allclose(result.sigma[level], alone.sigma, rtol=1e-5)


def test_weight_zero_is_the_fit_without_the_row():
    data = rg.datasets.load("cbpp")
    result = cbpp().influence(np.where(data.index == 4, "this", np.where(data.index % 2, "odd", "even")))
    alone = rg.glmer(CBPP, data.drop(index=4), "binomial")
    np.testing.assert_allclose(result.beta.loc["this"], alone.fixef, rtol=1e-6)
    assert dict(zip(result.labels, result.sizes)) == {"even": 27, "odd": 28, "this": 1}


def dense_without(fit, rows):
    """Generalised least squares on the other rows, theta held: beta, its covariance and sigma."""
    M, X, w = dense_system(fit)
    keep = np.setdiff1d(np.flatnonzero(w > 0), rows)
    M, X, w, y = M[keep], X[keep], w[keep], (fit.frame.y - fit.frame.offset)[keep]
    inverse = np.linalg.inv(M @ M.T + np.diag(1.0 / w))
    precision = X.T @ inverse @ X
    beta = np.linalg.solve(precision, X.T @ inverse @ y)
    r = y - X @ beta
    sigma2 = r @ inverse @ r / (len(keep) - (X.shape[1] if fit.reml else 0))
    return beta, sigma2 * np.linalg.inv(precision), np.sqrt(sigma2)


@pytest.mark.parametrize("kind", ["linear", "ml"])
@pytest.mark.parametrize("group", ["g", "h", None])
def test_one_step_is_exact_for_a_linear_model_with_theta_held(kind, group):
    fit = crossed(kind)
    result = fit.influence(group, method="one-step")
    groups = fit.frame.index if group is None else fit.frame.data[group]
    for unit, label in list(enumerate(result.beta.index))[:9]:
        beta, covariance, sigma = dense_without(fit, np.flatnonzero(groups == label))
        np.testing.assert_allclose(result.beta.loc[label], beta, rtol=1e-9)
        np.testing.assert_allclose(result.covariances[unit], covariance, rtol=1e-8)
        np.testing.assert_allclose(result.sigma[label], sigma, rtol=1e-10)
        np.testing.assert_array_equal(result.par.loc[label], fit.optimum.par)


@pytest.mark.parametrize("kind", ["linear", "poisson", "gamma"])
def test_one_step_of_all_rows_at_once_is_that_of_each(kind):
    fit = crossed(kind)
    n = fit.nobs
    by_row = fit.influence(method="one-step")
    # the last two rows as one unit: then all go through the formula for blocks
    blocks = fit.influence(np.minimum(np.arange(n), n - 2), method="one-step")
    np.testing.assert_allclose(by_row.beta[: n - 2], blocks.beta[:-1], rtol=1e-9)
    np.testing.assert_allclose(by_row.covariances[: n - 2], blocks.covariances[:-1], rtol=1e-8)
    np.testing.assert_allclose(by_row.sigma[: n - 2], blocks.sigma[:-1], rtol=1e-12)
    np.testing.assert_allclose(row_changes(fit), by_row.dfbeta(), rtol=1e-9, atol=1e-15 * np.abs(fit.beta).max())


def test_one_step_comes_close_to_deletion_in_a_glmm():
    exact, step = cbpp().influence("herd"), cbpp().influence("herd", method="one-step")
    for name in exact.beta:
        a, b = exact.dfbeta()[name], step.dfbeta()[name]
        assert np.corrcoef(a, b)[0, 1] > 0.99
        assert 0.8 < b.abs().max() / a.abs().max() < 1.2


def test_without_group_variance_one_step_is_deletion_from_least_squares():
    data = linear_data()
    with pytest.warns(SingularFitWarning):
        fit = rg.lmer("y ~ x + z + (1 | g)", data, reml=True)
    result = fit.influence(method="one-step")
    X = np.column_stack([np.ones(len(data)), data["x"], data["z"]])
    n, p = X.shape
    full = np.linalg.lstsq(X, data["y"], rcond=None)[0]
    rss = np.sum((data["y"] - X @ full) ** 2)
    for i in (0, 11, 39):
        keep = np.arange(n) != i
        beta = np.linalg.lstsq(X[keep], data["y"][keep], rcond=None)[0]
        change = beta - full
        np.testing.assert_allclose(result.beta.loc[i], beta, rtol=1e-8)
        cook = change @ X.T @ X @ change / (p * rss / (n - p))
        np.testing.assert_allclose(result.cooks_distance()[i], cook * (n - p) / n, rtol=1e-8)


def test_covratio_and_changes_are_what_they_say():
    fit = crossed("ml")
    result = fit.influence("g", method="deletion")
    np.testing.assert_allclose(
        result.covratio().iloc[2], np.linalg.det(result.covariances[2]) / np.linalg.det(fit.vcov()), rtol=1e-12
    )
    change = result.component_change()
    np.testing.assert_allclose(change["sigma"], result.sigma - fit.sigma, rtol=1e-12)
    assert list(change) == ["sd_(Intercept)|g", "sd_(Intercept)|h", "sigma"]


def test_components_name_correlations_and_shapes():
    correlated = component_names(sleepstudy(SLOPES))
    assert sorted(correlated) == ["cor_Days.(Intercept)|Subject", "sd_(Intercept)|Subject", "sd_Days|Subject", "sigma"]
    assert component_names(crossed("negative binomial")) == ["sd_(Intercept)|g", "size"]
    assert component_names(crossed("gamma")) == ["sd_(Intercept)|g", "sigma"]


def test_units_without_which_coefficients_are_lost_are_listed():
    with pytest.warns(InfluenceWarning, match=r"no fit without 4 of 4 units of period; the first is 1: the other rows"):
        result = cbpp().influence("period")
    assert result.failures["3"] == "the other rows do not determine period3"
    assert result.beta.isna().all(axis=None)
    assert "no fit without 1" in repr(result)


def test_a_row_with_a_coefficient_of_its_own_is_listed():
    data = crossed_data().assign(alone=lambda d: (d.index == 5).astype(float))
    fit = rg.lmer("y ~ x + alone + (1 | g)", data)
    for method in ("deletion", "one-step"):
        with pytest.warns(InfluenceWarning, match="the first is 5: the other rows do not determine alone"):
            result = fit.influence(np.where(data.index == 5, 5, data.index % 4), method=method)
        assert result.beta.loc[5].isna().all()
        assert result.beta.drop(5).notna().all(axis=None)


def test_warnings_of_single_fits_are_kept_by_label_and_not_given():
    data = rg.datasets.load("Dyestuff")
    fit = rg.lmer("Yield ~ 1 + (1 | Batch)", data)
    # without the best and worst batches little variance is left between the others
    result = fit.influence(np.where(data["Batch"].isin(["C", "E", "F"]), "extremes", "others"))
    assert "singular" in result.messages["extremes"][0]
    assert "1 units gave warnings" in repr(result)


def test_workers_do_not_change_the_numbers():
    serial = cbpp().influence("herd")
    with ThreadPoolExecutor(2) as threads:
        pd.testing.assert_frame_equal(cbpp().influence("herd", executor=threads).beta, serial.beta)
    with ProcessPoolExecutor(2) as processes:
        spread = cbpp().influence("herd", executor=processes)
    pd.testing.assert_frame_equal(spread.beta, serial.beta)
    np.testing.assert_array_equal(spread.covariances, serial.covariances)


def test_a_fit_is_the_same_after_influence():
    fit = crossed("ml")
    before = fit.to_json()
    fit.influence("h")
    fit.influence(method="one-step")
    assert fit.to_json() == before


def test_shows_the_largest_first():
    result = cbpp().influence("herd")
    lines = repr(result).splitlines()
    assert lines[0] == "Influence of 15 units (herd), fitted again; the largest:"
    assert lines[2].split()[0] == result.cooks_distance().idxmax()
    assert "<table" in result._repr_html_()
    frame = result.as_frame()
    assert list(frame)[:4] == ["rows", "cook", "covratio", "sigma"]
    assert frame["rows"].sum() == 56


def test_bad_arguments_say_what_would_be_good():
    fit = cbpp()
    with pytest.raises(ArgumentError, match="unknown method 'jackknife'; use one of deletion, one-step"):
        fit.influence(method="jackknife")
    with pytest.raises(ArgumentError, match="no factor or variable 'farm' in this model; there are: herd"):
        fit.influence("farm")
    with pytest.raises(ArgumentError, match="one for each row used"):
        fit.influence(np.arange(5))
    with pytest.raises(ArgumentError, match="has only 1 level"):
        fit.influence(np.ones(56))
    with pytest.raises(DataError, match="2 missing values"):
        fit.influence(np.array(["a", "b", None, None] + ["a"] * 52, dtype=object))


def test_what_cannot_be_computed_says_so():
    step = cbpp().influence("herd", method="one-step")
    with pytest.raises(NotAvailableError, match="holds the covariance parameters"):
        step.component_change()
    few = cbpp().influence(np.arange(56) % 3, method="one-step")
    with pytest.raises(NotAvailableError, match="3 units of unit and 4 coefficients"):
        few.cooks_distance()
    assert "cook" not in few.as_frame()
