"""Effects, marginal means, hypotheses and variance components from draws of a posterior."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from posterior_fits import fit_of_positions
from scipy.integrate import quad
from scipy.stats import norm

import refglmm as rg
from refglmm.bayes.effects import means as means_of
from refglmm.bayes.effects import row_numbers
from refglmm.bayes.variances import icc
from refglmm.effects.derivatives import row_derivatives
from refglmm.effects.grid import rows_at
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.plots import plot_conditional_effects, plot_contrasts, plot_lsmeans

mpl.use("Agg")


@pytest.fixture(scope="module")
def ml():
    return rg.glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", rg.datasets.load("cbpp"), "binomial")


def flat(fit, name):
    return fit.draws[name].ravel()


# -- linear quantities are linear in the draws ----------------------------------------------------------------------


def test_curve_of_a_linear_model(linear, made):
    table = rg.conditional_effects(linear, "x:f", resolution=3, prob=0.9).table
    mean = linear.fixef
    assert table.columns.tolist() == ["x", "f", "estimate", "se", "lower", "upper"]
    is_b = (table["f"] == "b").to_numpy()
    want = mean["(Intercept)"] + mean["x"] * table["x"] + (mean["fb"] + mean["x:fb"] * table["x"]) * is_b
    np.testing.assert_allclose(table["estimate"], want, atol=1e-12)
    x = table["x"].iloc[0]
    draws = flat(linear, "Intercept") + flat(linear, "b[x]") * x
    np.testing.assert_allclose(table.iloc[0][["lower", "upper"]].astype(float), np.quantile(draws, [0.05, 0.95]))
    assert table["se"].iloc[0] == pytest.approx(draws.std(ddof=1))


def test_effect_at_a_level(linear):
    table = rg.conditional_effects(linear, "f", at={"x": 0.5}, re={"g": "g07"}).table
    b = linear.parameters.effects[0][:, 7]
    draws = flat(linear, "Intercept") + 0.5 * flat(linear, "b[x]") + b[:, 0] + 0.5 * b[:, 1]
    assert table["estimate"].iloc[0] == pytest.approx(draws.mean(), abs=1e-12)
    with pytest.raises(ArgumentError, match="not a level of 'g'"):
        rg.conditional_effects(linear, "f", re={"g": "nobody"})


def test_simple_slopes(linear):
    found = rg.simple_effects(linear, "x:f")
    draws = flat(linear, "b[x]") + flat(linear, "b[x:fb]")
    row = found.table.iloc[1]
    assert found.table.columns.tolist() == ["moderator", "value", "term", "estimate", "se", "lower", "upper", "pd"]
    assert row["estimate"] == pytest.approx(draws.mean(), abs=1e-10)
    assert row["pd"] == pytest.approx(max(np.mean(draws > 0), np.mean(draws < 0)))
    difference = rg.simple_effects(linear, "f:x").table.iloc[0]
    draws = flat(linear, "b[fb]") + difference["value"] * flat(linear, "b[x:fb]")
    assert difference["estimate"] == pytest.approx(draws.mean(), abs=1e-10)


def test_johnson_neyman_is_where_the_interval_leaves_zero(linear):
    region = rg.johnson_neyman(linear, "f:x", prob=0.5)
    assert region.bounds
    for bound in region.bounds:
        draws = flat(linear, "b[fb]") + bound * flat(linear, "b[x:fb]")
        assert np.min(np.abs(np.quantile(draws, [0.25, 0.75]))) < 1e-8


def test_marginal_means_and_comparisons(linear, made):
    means = rg.lsmeans(linear, "f", pairwise=True)
    x = made["x"].mean()
    draws = flat(linear, "Intercept") + flat(linear, "b[x]") * x
    assert means.table["estimate"].iloc[0] == pytest.approx(draws.mean(), abs=1e-12)
    assert "df" not in means.table
    difference = -(flat(linear, "b[fb]") + flat(linear, "b[x:fb]") * x)
    row = means.comparisons.table.iloc[0]
    assert row["estimate"] == pytest.approx(difference.mean(), abs=1e-12)
    assert row[["lower.CL", "upper.CL"]].tolist() == pytest.approx(np.quantile(difference, [0.025, 0.975]).tolist())
    assert "p.value" not in means.comparisons.table
    assert "intervals from the posterior, each for itself" in str(means)
    assert "<td" in means._repr_html_()


# -- means of the response --------------------------------------------------------------------------------------------


def test_back_transformed_means_are_means_of_draws(cbpp):
    table = rg.lsmeans(cbpp, "period", type="response").table
    p = 1.0 / (1.0 + np.exp(-(flat(cbpp, "Intercept") + flat(cbpp, "b[period3]"))))
    assert table["estimate"].iloc[2] == pytest.approx(p.mean(), abs=1e-12)
    assert table["lower.CL"].between(0, 1).all()
    assert table["upper.CL"].between(0, 1).all()
    ratios = rg.lsmeans(cbpp, "period", type="response").contrasts("trt.vs.ctrl").table
    assert ratios["odds.ratio"].iloc[0] == pytest.approx(np.exp(flat(cbpp, "b[period2]")).mean(), rel=1e-10)
    differences = rg.lsmeans(cbpp, "period", type="response").contrasts("trt.vs.ctrl", differences=True).table
    first = 1.0 / (1.0 + np.exp(-flat(cbpp, "Intercept")))
    assert differences["estimate"].iloc[1] == pytest.approx((p - first).mean(), abs=1e-12)


def test_population_means_are_integrals(cbpp):
    some = slice(None, None, 80)
    eta = (flat(cbpp, "Intercept") + flat(cbpp, "b[period2]"))[some]
    want = [
        quad(lambda z, e=e, s=s: norm.pdf(z) / (1.0 + np.exp(-e - s * z)), -12, 12, epsabs=1e-12)[0]
        for e, s in zip(eta, flat(cbpp, "sd[herd:Int]")[some], strict=True)
    ]
    rows = rg.lsmeans(cbpp, "period").rows
    got = means_of(cbpp, cbpp.parameters.take(some), rows, "response", "integrate")[:, 1]
    np.testing.assert_allclose(got, want, atol=1e-10)


def test_slopes_of_the_population_mean(made):
    """With a random slope they are not the slope at zero; against differences of the means themselves."""
    data = made.assign(z=(made["y"] > 1.0).astype(float))
    model = rg.GLMM("z ~ x + (x | g)", data, family="binomial", prior=rg.prior_normal())
    positions = np.random.default_rng(1).normal(scale=0.5, size=(1, 3, model.posterior.dimension))
    fit = fit_of_positions(model, positions)
    there = data[["x"]].head(3)
    rows, along, h = rows_at(fit, there), row_derivatives(fit, there, "x"), 1e-4
    near = [means_of(fit, fit.parameters, rows_at(fit, there + k * h), "response", "integrate") for k in (-1, 1)]
    far = [means_of(fit, fit.parameters, rows_at(fit, there + k * h), "response", "integrate") for k in (-2, 2)]
    want = (8 * (near[1] - near[0]) - (far[1] - far[0])) / (12 * h)
    got = row_numbers(fit, rows, prob=0.95, type="response", re="integrate", along=along)
    np.testing.assert_allclose(got["estimate"], want.mean(axis=0), rtol=1e-7)
    zero = row_numbers(fit, rows, prob=0.95, type="response", along=along)["estimate"]
    p = 1.0 / (1.0 + np.exp(-(fit.parameters.beta @ rows.L.T)))
    np.testing.assert_allclose(zero, (p * (1 - p) * fit.parameters.beta[:, 1:]).mean(axis=0), rtol=1e-10)


def test_arguments_of_simple_effects(cbpp):
    with pytest.raises(ArgumentError, match="re must be"):
        rg.simple_effects(cbpp, "period", re="all")
    with pytest.raises(ArgumentError, match="two variables"):
        rg.simple_effects(cbpp, "period")


def test_a_flat_prior_gives_the_effects_of_maximum_likelihood(cbpp_mode, ml):
    for type in ("link", "response"):
        ours, theirs = (rg.lsmeans(fit, "period", type=type).table for fit in (cbpp_mode, ml))
        for column in ("estimate", "lower.CL", "upper.CL"):
            np.testing.assert_allclose(ours[column], theirs[column], atol=2e-4, err_msg=f"{type} {column}")
    ours, theirs = (rg.conditional_effects(fit, "period", re="integrate").table for fit in (cbpp_mode, ml))
    np.testing.assert_allclose(ours["estimate"], theirs["estimate"], atol=1e-4)
    np.testing.assert_allclose(ours["se"], theirs["se"], rtol=0.2)  # by the delta method there, by draws here
    ours, theirs = (rg.lsmeans(fit, "period").contrasts(adjust="none").table for fit in (cbpp_mode, ml))
    np.testing.assert_allclose(ours["SE"], theirs["SE"], rtol=1e-3)


def test_categories(ordinal):
    prob = rg.conditional_effects(ordinal, "x:f", type="prob", resolution=4)
    table = prob.table
    assert prob.moderators == ("f", "category")
    assert table.groupby(["x", "f"])["estimate"].sum().to_numpy() == pytest.approx(np.ones(8))
    assert table[["lower", "upper"]].stack().between(0, 1).all()
    score = rg.conditional_effects(ordinal, "x:f", type="score", resolution=4).table
    by_hand = table.assign(k=table["category"].astype(float) * table["estimate"]).groupby(["f", "x"])["k"].sum()
    np.testing.assert_allclose(score["estimate"], by_hand.to_numpy(), atol=1e-12)
    population = rg.conditional_effects(ordinal, "f", type="prob", re="integrate").table
    assert population.groupby("f")["estimate"].sum().to_numpy() == pytest.approx(np.ones(2))
    assert "scale: probability of each category" in str(prob)
    latent = rg.conditional_effects(ordinal, "x", resolution=3)
    assert "scale: latent" in str(latent)


def test_pictures(ordinal, cbpp, linear):
    plot_conditional_effects(rg.conditional_effects(ordinal, "x", type="prob", resolution=9))
    plot_conditional_effects(rg.conditional_effects(linear, "x:f", resolution=9))
    means = rg.lsmeans(cbpp, "period", type="response")
    plot_lsmeans(means)
    plot_contrasts(means.contrasts())
    mpl.pyplot.close("all")


def test_what_draws_do_not_have(linear, cbpp):
    means = rg.lsmeans(linear, "f")
    with pytest.raises(NotAvailableError, match="no joint test"):
        means.joint_test()
    with pytest.raises(NotAvailableError, match="which a posterior has not"):
        means.simple("f")
    with pytest.raises(ArgumentError, match="no degrees of freedom; leave ddf='satterthwaite' out"):
        rg.lsmeans(linear, "f", ddf="satterthwaite")
    with pytest.raises(ArgumentError, match="not adjusted"):
        means.confint(adjust="sidak")
    with pytest.raises(ArgumentError, match="the model has no variable 'q'"):
        rg.conditional_effects(linear, "q")
    with pytest.raises(ArgumentError, match="'link' or 'response', not 'prob'"):
        rg.conditional_effects(linear, "x", type="prob")


# -- hypotheses -----------------------------------------------------------------------------------------------------


def test_hypotheses(linear):
    found = linear.hypothesis(["b[x] > 0.2", "b[x:fb] < b[fb]", "exp(sd[Int]) / 2"], rope=(-0.1, 0.3), prob=0.5)
    table = found.table.set_index("hypothesis")
    d = flat(linear, "b[x]") - 0.2
    row = table.loc["b[x] > 0.2"]
    assert row["estimate"] == pytest.approx(d.mean())
    assert row["probability"] == np.mean(d > 0)
    assert row["evidence_ratio"] == pytest.approx(np.mean(d > 0) / np.mean(d <= 0))
    assert row["rope"] == np.mean((d > -0.1) & (d < 0.3))
    assert [row["lower"], row["upper"]] == pytest.approx(np.quantile(d, [0.25, 0.75]).tolist())
    e = flat(linear, "b[x:fb]") - flat(linear, "b[fb]")
    assert table["probability"].iloc[1] == np.mean(e < 0)
    assert table["estimate"].iloc[2] == pytest.approx(np.mean(np.exp(flat(linear, "sd[g:Int]")) / 2))
    assert np.isnan(table["probability"].iloc[2])
    np.testing.assert_allclose(found.samples["b[x] > 0.2"], d)
    assert "nonEst" not in str(found)
    assert "<td" in found._repr_html_()


def test_hypotheses_are_the_public_function_too(linear, linear_mode):
    table = rg.hypothesis(linear, {"slope": "-b[x] + 2 ** 2 < +tanh(sigma)"}).table
    d = -flat(linear, "b[x]") + 4.0 - np.tanh(flat(linear, "sigma"))
    assert table.loc[0, ["hypothesis", "estimate"]].tolist() == ["slope", pytest.approx(d.mean())]
    mode = rg.hypothesis(linear_mode, "b[x]").table.iloc[0]
    assert mode["se"] == pytest.approx(linear_mode.estimates.loc["b[x]", "Std. Error"], rel=1e-5)
    assert rg.hypothesis(linear, "sigma > 0").table["evidence_ratio"].iloc[0] == np.inf


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b[z] > 0", r"no quantity 'b\[z\]'; did you mean"),
        ("b[x] >", "cannot read the hypothesis"),
        ("1 > 0", "names no parameter"),
        ("0 < b[x] < 1", "one '<' or '>'"),
        ("b[x] == 0", "bayes_factor"),
        ("b[x] @ b[fb]", "has something else"),
        ("b[x].real", "no quantity|cannot read|has something else"),
        ("__import__('os')", "no quantity"),
        ("log(-sigma)", "not finite for 400 of 400 draws"),
        ("exp(b[x], sigma)", "has something else"),
    ],
)
def test_expressions_that_are_refused(linear, text, message):
    with pytest.raises(ArgumentError, match=message):
        linear.hypothesis(text)


def test_arguments_of_hypotheses(linear):
    with pytest.raises(ArgumentError, match="low < high"):
        linear.hypothesis("b[x]", rope=(1, 0))
    with pytest.raises(ArgumentError, match="two numbers"):
        linear.hypothesis("b[x]", rope=3)
    with pytest.raises(ArgumentError, match="prob must lie"):
        linear.hypothesis("b[x]", prob=1.0)
    with pytest.raises(ArgumentError, match="is text"):
        linear.hypothesis(3)
    with pytest.raises(ArgumentError, match="no hypothesis"):
        linear.hypothesis([])


# -- variance components --------------------------------------------------------------------------------------------


def test_variance_components(linear):
    found = linear.varcorr(prob=0.8)
    table = found.table
    sd = table[(table["kind"] == "sd") & (table["var1"] == "x")].iloc[0]
    draws = flat(linear, "sd[g:x]")
    assert sd["estimate"] == pytest.approx(draws.mean())
    assert [sd["lower"], sd["upper"]] == pytest.approx(np.quantile(draws, [0.1, 0.9]).tolist())
    variance = table[(table["kind"] == "var") & (table["grp"] == "Residual")].iloc[0]
    assert variance["estimate"] == pytest.approx(np.mean(flat(linear, "sigma") ** 2))
    corr = table[table["kind"] == "corr"].iloc[0]
    assert corr["estimate"] == pytest.approx(flat(linear, "corr[g:Int,x]").mean())
    text = str(found)
    assert text.splitlines()[0].split() == ["Groups", "Name", "Variance", "Std.Dev.", "10%", "90%", "Corr"]
    assert "<td" in found._repr_html_()


def test_mode_has_the_intervals_of_its_table(linear_mode):
    table = linear_mode.varcorr().table
    sd = table[(table["kind"] == "sd") & (table["var1"] == "(Intercept)")].iloc[0]
    want = linear_mode.estimates.loc["sd[g:Int]"]
    assert [sd["estimate"], sd["lower"], sd["upper"]] == pytest.approx(want.to_numpy()[[0, 2, 3]].tolist(), rel=1e-4)


def test_coefficients_of_levels(linear):
    coef = linear.coef()["g"]
    b = linear.ranef()["g"]["mean"].to_numpy().reshape(-1, 2)
    np.testing.assert_allclose(coef["x"], linear.fixef["x"] + b[:, 1])
    np.testing.assert_allclose(coef["fb"], linear.fixef["fb"])
    assert coef.index[3] == "g03"


def test_intraclass_correlation(cbpp, linear, made):
    sd = flat(cbpp, "sd[herd:Int]")
    draws = sd**2 / (sd**2 + np.pi**2 / 3.0)
    found = cbpp.icc(prob=0.5).loc["adjusted"]
    assert found["estimate"] == pytest.approx(draws.mean())
    assert [found["lower"], found["upper"]] == pytest.approx(np.quantile(draws, [0.25, 0.75]).tolist())
    Z = np.column_stack([np.ones(len(made)), made["x"]])
    T = linear.parameters.factors[0]
    between = np.mean(np.sum((Z @ T) ** 2, axis=2), axis=1)
    want = between / (between + flat(linear, "sigma") ** 2)
    assert linear.icc().loc["adjusted", "estimate"] == pytest.approx(want.mean())
    assert linear.icc().loc["unadjusted", "estimate"] < want.mean()


def test_intraclass_correlation_that_is_not_defined():
    data = pd.DataFrame({"k": [0, 1, 2, 3] * 5, "g": [*"aabbccddee"] * 2})
    model = rg.GLMM("k ~ 1 + (1 | g)", data, family="poisson", prior=rg.prior_normal())

    class Fit:
        design, family = model.design, model.family

    with pytest.raises(NotAvailableError, match="poisson family with link log depends on the mean"):
        icc(Fit())
