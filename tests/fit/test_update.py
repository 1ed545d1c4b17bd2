"""refit in every form of the response, refit_ml, and update from the columns that a fit keeps."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm.errors import (
    ArgumentError,
    DataError,
    FamilyError,
    FormulaError,
    NotAvailableError,
    ResponseError,
    WeightsError,
)
from refglmm.fit.response import read_response

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture(scope="module")
def cbpp():
    return rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial")


@pytest.fixture(scope="module")
def sleep():
    return rg.lmer("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"))


def same_fit(one, other, rtol=1e-5):
    assert one.loglik == pytest.approx(other.loglik, rel=1e-9)
    np.testing.assert_allclose(one.beta, other.beta, rtol=rtol)
    np.testing.assert_allclose(one.theta, other.theta, rtol=rtol)
    assert list(one.fixef.index) == list(other.fixef.index)


# --- refit ----------------------------------------------------------------------------------------------------


def test_a_refit_to_counts_is_the_fit_to_these_counts(cbpp):
    data = rg.datasets.load("cbpp")
    rng = np.random.default_rng(1)
    data["size"] = data["size"] + rng.integers(0, 5, len(data))
    data["incidence"] = rng.binomial(data["size"], 0.3 * cbpp.fitted / cbpp.fitted.max())
    wanted = rg.glmer(CBPP, data, "binomial")
    two = np.column_stack([data["incidence"], data["size"] - data["incidence"]])
    for form in (two, pd.DataFrame(two)):
        found = cbpp.refit(form)
        same_fit(found, wanted)
        np.testing.assert_array_equal(found.weights(), data["size"])
        np.testing.assert_array_equal(found.frame.trials, data["size"])
        sims = found.simulate(seed=1)["sim_1"]
        np.testing.assert_array_equal(sims.sum(axis=1), data["size"])
    same_fit(cbpp.refit(two[:, 0] / data["size"], weights=data["size"]), wanted)
    again = found.refit(np.asarray(cbpp.frame.y), weights=rg.datasets.load("cbpp")["size"])
    same_fit(again, cbpp)
    np.testing.assert_array_equal(again.frame.trials, cbpp.frame.trials)


def test_a_row_may_lose_its_trials_and_get_them_back(cbpp):
    counts = np.column_stack([cbpp.frame.y * cbpp.frame.trials, (1 - cbpp.frame.y) * cbpp.frame.trials])
    none = counts.copy()
    none[4] = 0.0
    without = cbpp.refit(none)
    assert without.weights().iloc[4] == 0.0
    same_fit(without.refit(counts), cbpp)


def test_a_refit_of_a_linear_model_starts_at_its_estimates(sleep):
    y = sleep.simulate(2, seed=4)
    data = rg.datasets.load("sleepstudy").assign(Reaction=y["sim_2"])
    wanted = rg.lmer("Reaction ~ Days + (Days | Subject)", data)
    for form in (y["sim_2"], y[["sim_2"]], y["sim_2"].to_numpy(), y["sim_2"].tolist(), y["sim_2"].sample(frac=1.0)):
        same_fit(sleep.refit(form), wanted)
    assert sleep.refit(y["sim_2"]).settings == sleep.settings


def test_a8_dyestuff2_in_place_of_dyestuff():
    fit = rg.lmer("Yield ~ 1 + (1 | Batch)", rg.datasets.load("Dyestuff"))
    with pytest.warns(rg.errors.SingularFitWarning):
        other = fit.refit(rg.datasets.load("Dyestuff2")["Yield"])
    assert other.beta[0] == pytest.approx(5.6656, rel=1e-5)
    assert other.varcorr["Batch"].cov[0, 0] == 0.0


def test_rows_that_the_fit_left_out_are_skipped():
    data = rg.datasets.load("sleepstudy")
    y = data["Reaction"] + 1.0
    data.loc[[0, 9], "Reaction"] = np.nan
    fit = rg.lmer("Reaction ~ Days + (1 | Subject)", data)
    for form in (y, y.to_numpy()):
        moved = fit.refit(form)
        np.testing.assert_allclose(moved.beta - fit.beta, [1.0, 0.0], atol=1e-6)
        assert moved.nobs == 178


def test_a_factor_is_read_by_its_labels():
    data = rg.datasets.load("sleepstudy").assign(slow=lambda d: np.where(d["Reaction"] > 300, "yes", "no"))
    fit = rg.glmer("slow ~ 1 + (1 | Subject)", data, "binomial")
    other = np.where(np.arange(180) % 3 == 0, data["slow"], np.where(data["slow"] == "yes", "no", "yes"))
    forms = (other, pd.Series(other), pd.Categorical(other, categories=["yes", "no"]), list(other))
    for form in forms:
        y, weights = read_response(fit.frame, form)
        np.testing.assert_array_equal(y, other == "yes")
        assert weights is None
    with pytest.raises(ResponseError, match="y has levels 'maybe'; the response of the fit has 'no', 'yes'"):
        fit.refit(np.where(other == "yes", "maybe", "no"))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda fit: fit.simulate(2, seed=1), ArgumentError, "several responses; refit takes one at a time"),
        (lambda fit: [fit.frame.y, fit.frame.y], ArgumentError, "several responses"),
        (lambda fit: np.ones((56, 3)), ArgumentError, "several responses"),
        (lambda fit: np.ones((2, 2, 2)), ArgumentError, "not an array of shape"),
        (lambda fit: pd.DataFrame(index=range(56)), ArgumentError, "y has no column"),
        (lambda fit: np.ones(55), ArgumentError, "one value for each of the 56 rows"),
        (lambda fit: "incidence", ArgumentError, "one response"),
        (lambda fit: np.full(56, 1.5), ResponseError, "0 <= y <= 1"),
        (lambda fit: np.full(56, np.nan), ResponseError, "missing or not finite at row 0"),
        (lambda fit: np.full((56, 2), -1), ResponseError, "negative count in y at row 0"),
        (lambda fit: ["a"] * 56, ResponseError, "y is a factor or text"),
    ],
)
def test_responses_that_cannot_be(cbpp, make, error, message):
    with pytest.raises(error, match=message):
        cbpp.refit(make(cbpp))


def test_a_numeric_response_has_one_column(sleep):
    with pytest.raises(ArgumentError, match="several responses"):
        sleep.refit(sleep.simulate(2, seed=1))
    with pytest.raises(WeightsError, match="must not be negative"):
        sleep.refit(sleep.frame.y, weights=-np.ones(180))


def test_the_model_frame_of_a_refit_has_its_response(cbpp, sleep):
    y = sleep.simulate(seed=1)["sim_1"]
    np.testing.assert_array_equal(sleep.refit(y).model_frame()["Reaction"], y)
    spaced = rg.lmer(
        "`re action` ~ Days + (1 | Subject)", sleep.model_frame().rename(columns={"Reaction": "re action"})
    )
    np.testing.assert_array_equal(spaced.refit(y).model_frame()["re action"], y)
    counts = cbpp.simulate(seed=1)["sim_1"]
    found = cbpp.refit(counts).model_frame()
    np.testing.assert_array_equal(found["incidence"], counts["incidence"])
    np.testing.assert_array_equal(found["size"], cbpp.model_frame()["size"])
    data = rg.datasets.load("sleepstudy").assign(slow=lambda d: np.where(d["Reaction"] > 300, "yes", "no"))
    fit = rg.glmer("slow ~ 1 + (1 | Subject)", data, "binomial")
    drawn = fit.simulate(seed=2)["sim_1"]
    assert fit.refit(drawn).model_frame()["slow"].tolist() == drawn.tolist()
    truth = rg.glmer("slow ~ 1 + (1 | Subject)", data.assign(slow=data["slow"] == "yes"), "binomial")
    assert truth.refit(drawn == "yes").model_frame()["slow"].tolist() == (drawn == "yes").tolist()


def test_a_refit_changes_nothing_of_its_fit(cbpp):
    before = (cbpp.beta, cbpp.frame.y.copy(), cbpp.conditional.b.copy(), cbpp.loglik, cbpp.frame.trials.copy())
    cbpp.refit(cbpp.simulate(seed=3))
    after = (cbpp.beta, cbpp.frame.y, cbpp.conditional.b, cbpp.loglik, cbpp.frame.trials)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


# --- refit_ml -------------------------------------------------------------------------------------------------


def test_refit_ml(sleep, cbpp):
    ml = sleep.refit_ml()
    assert not ml.is_reml
    assert ml.minus_two_loglik == pytest.approx(1751.939344, abs=1e-5)  # lme4's help page, sleepstudy by ML
    same_fit(ml, rg.lmer("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"), reml=False))
    assert ml.settings["reml"] is False
    assert ml.refit_ml() is ml
    assert cbpp.refit_ml() is cbpp
    assert sleep.is_reml


# --- update ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "formula"),
    [
        (". ~ . - Days", "Reaction ~ 1 + (Days | Subject)"),
        ("~ . + I(Days^2)", "Reaction ~ Days + I(Days^2) + (Days | Subject)"),
        (". ~ . - (Days | Subject) + (1 | Subject)", "Reaction ~ Days + (1 | Subject)"),
        ("log(Reaction) ~ .", "log(Reaction) ~ Days + (Days | Subject)"),
        ("Reaction ~ 1 + (1 | Subject)", "Reaction ~ 1 + (1 | Subject)"),
        (None, "Reaction ~ Days + (Days | Subject)"),
    ],
)
def test_update_fits_the_changed_formula(sleep, change, formula):
    found = sleep.update(change)
    wanted = rg.lmer(formula, rg.datasets.load("sleepstudy"))
    same_fit(found, wanted)
    assert found.call["formula"].replace(" 1 +", "").split("~")[0] == formula.split("~")[0]
    assert "Subject" in found.call["formula"]
    assert found.formula.expanded == formula
    assert found.data_name == sleep.data_name


def test_update_changes_arguments_and_keeps_the_others():
    data = rg.datasets.load("cbpp")
    data["share"] = data["incidence"] / data["size"]
    fit = rg.glmer(
        "share ~ period + (1 | herd)", data, "binomial", weights="size", contrasts={"period": "sum"}, n_agq=5
    )
    assert list(fit.update(". ~ . + (1 | size)", n_agq=1).design.names) == [
        "(Intercept)",
        "period1",
        "period2",
        "period3",
    ]
    smaller = fit.update(". ~ . - period", contrasts=None)
    assert smaller.n_agq == 5
    same_fit(smaller, rg.glmer("share ~ 1 + (1 | herd)", data, "binomial", weights="size", n_agq=5))
    probit = fit.update(link="probit")
    assert probit.family.link.name == "probit"
    same_fit(
        fit.update(subset="size > 10"),
        rg.glmer(
            "share ~ period + (1 | herd)",
            data,
            "binomial",
            weights="size",
            contrasts={"period": "sum"},
            n_agq=5,
            subset="size > 10",
        ),
    )
    rx = fit.update(se="rx", n_agq=1)
    assert (rx.se_type, rx.n_agq) == ("rx", 1)
    lme4 = fit.update(mode="lme4", n_agq=1)
    assert lme4.mode_name == "lme4"
    assert lme4.loglik == pytest.approx(fit.update(n_agq=1).loglik, abs=1e-2)


def test_update_between_linear_and_generalized(sleep):
    data = rg.datasets.load("sleepstudy")
    gamma = sleep.update(". ~ Days + (1 | Subject)", family="gamma", link="log")
    same_fit(gamma, rg.glmer("Reaction ~ Days + (1 | Subject)", data, "gamma", link="log"))
    back = gamma.update(family="gaussian", link="identity", reml=True)
    same_fit(back, rg.lmer("Reaction ~ Days + (1 | Subject)", data))
    assert not gamma.update(family="gaussian").is_reml


def test_a_fit_keeps_its_columns_whatever_becomes_of_the_data():
    data = rg.datasets.load("sleepstudy")
    w, rows = np.linspace(1, 2, 180), np.arange(180) % 7 > 0
    formula = "Reaction ~ scale(Days) + (1 | Subject)"
    wanted = rg.lmer("Reaction ~ scale(Days) + (scale(Days) | Subject)", data, weights=w.copy(), subset=rows.copy())
    fit = rg.lmer(formula, data, weights=w, subset=rows)
    data["Reaction"], data["Days"] = 0.0, -1.0
    w[:], rows[:] = 0.0, False
    same_fit(fit.update(". ~ . - (1 | Subject) + (scale(Days) | Subject)"), wanted)
    kept = pickle.loads(pickle.dumps(fit))
    same_fit(kept.update(". ~ . - (1 | Subject) + (scale(Days) | Subject)"), wanted)


def test_rows_come_back_with_the_variable_that_lost_them():
    data = rg.datasets.load("sleepstudy").assign(x=lambda d: np.where(d["Days"] == 3, np.nan, d["Days"] % 2.0))
    fit = rg.lmer("Reaction ~ Days + x + (1 | Subject)", data)
    assert fit.nobs == 162
    larger = fit.update(". ~ . - x")
    assert larger.nobs == 180
    same_fit(larger, rg.lmer("Reaction ~ Days + (1 | Subject)", data))
    same_fit(larger.update(". ~ . + x"), fit)  # the chain still knows x


def test_new_variables_and_other_data(sleep):
    data = rg.datasets.load("sleepstudy").assign(z=lambda d: np.sin(d["Days"] * 3))
    with pytest.raises(DataError, match=r"keeps the columns that it used \(.*\), not 'z'; pass data="):
        sleep.update(". ~ . + z")
    with pytest.raises(DataError, match="not 'v'; pass data="):
        sleep.update(weights="v")
    same_fit(sleep.update(". ~ . + z", data=data), rg.lmer("Reaction ~ Days + z + (Days | Subject)", data))
    half = data[data["Days"] < 5]
    same_fit(sleep.update(data=half), rg.lmer("Reaction ~ Days + (Days | Subject)", half))
    assert sleep.update(data=half).data_name == "half"
    assert [sleep.update(data=part).data_name for part in (half,)] == ["part"]
    assert sleep.update(". ~ . + I(pi * Days^2)").df == 7


def test_the_data_of_a_comprehension_have_their_name():
    script = {"rg": rg, "rows": rg.datasets.load("sleepstudy")}
    exec("names = [rg.GLMM(f, rows).data_name for f in ('Reaction ~ (1 | Subject)',)]", script)
    assert script["names"] == ["rows"]


def test_weights_in_an_array_fit_other_data_only_if_they_have_its_length():
    data = rg.datasets.load("sleepstudy")
    fit = rg.lmer("Reaction ~ Days + (1 | Subject)", data, weights=np.ones(180))
    with pytest.raises(WeightsError, match="has 180 rows, expected 90"):
        fit.update(data=data.head(90))
    assert fit.update(data=data.head(90), weights=None).nobs == 90


def test_update_of_a_refit_keeps_its_response(sleep):
    y = sleep.simulate(seed=1)["sim_1"]
    other = sleep.refit(y)
    wanted = rg.lmer("Reaction ~ Days + (1 | Subject)", rg.datasets.load("sleepstudy").assign(Reaction=y))
    same_fit(other.update(". ~ Days + (1 | Subject)"), wanted)
    for change in ({"formula": "log(Reaction) ~ ."}, {"subset": "Days > 2"}):
        with pytest.raises(NotAvailableError, match="refitted to another response"):
            other.update(**change)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"formula": ". ~ . - (1 | Days)"}, FormulaError, "cannot be subtracted"),
        ({"formula": "Days"}, FormulaError, "an update is a formula"),
        ({"formula": 3}, FormulaError, "an update is a formula"),
        ({"formula": ". ~ . - (Days | Subject)"}, FormulaError, "no random effects"),
        ({"wieghts": "Days"}, ArgumentError, "a model has no argument 'wieghts'; known are family"),
        ({"family": "quasipoisson"}, FamilyError, "no likelihood"),
    ],
)
def test_updates_that_cannot_be(sleep, arguments, error, message):
    with pytest.raises(error, match=message):
        sleep.update(**arguments)


def test_the_link_of_a_family_with_a_known_size_is_changed_with_the_family():
    data = rg.datasets.load("cbpp")
    fit = rg.glmer("incidence ~ 1 + (1 | herd)", data, rg.families.NegativeBinomial(size=2.0))
    with pytest.raises(FamilyError, match="has its link already; make it with link='sqrt'"):
        fit.update(link="sqrt")
    assert fit.update(family=rg.families.NegativeBinomial("log", size=3.0)).family.size == 3.0


def test_nothing_of_the_fit_changes(sleep):
    settings, arguments = dict(sleep.settings), dict(sleep.model.arguments)
    modes = sleep.conditional.b.copy()
    sleep.update(". ~ . - Days", reml=False, weights="Days + 1")
    assert sleep.settings == settings
    assert sleep.model.arguments == arguments
    np.testing.assert_array_equal(sleep.conditional.b, modes)


def test_a_linear_model_refuses_a_constant_response(sleep):
    with pytest.raises(ResponseError, match="the response is constant"):
        sleep.refit(np.ones(180))
