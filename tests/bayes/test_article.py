"""Calls of the article on rtmb_glmer() that must work as it writes them, and what they must say."""

from __future__ import annotations

import numpy as np
import pytest

import refglmm as rg
from refglmm.errors import ArgumentError, NotAvailableError, SamplingWarning

DEBATE = "sat ~ talk + perf + (1 | group)"
TRAINING = "cbind(t1, t2, t3) ~ time * cond + (1 | person)"
TIMES = {"time": ["t1", "t2", "t3"]}


@pytest.fixture(scope="module")
def debate():
    return rg.datasets.load("debate_like")


@pytest.fixture(scope="module")
def training():
    return rg.datasets.load("training_like")


@pytest.fixture(scope="module")
def draws(debate):
    """Two short chains of the article's model."""
    model = rg.GLMM(DEBATE, debate, prior=rg.prior_normal())
    with pytest.warns(SamplingWarning):  # 2 x 60 draws never please R-hat
        return model.sample(sampling=60, warmup=150, chains=2, seed=1, progress=False)


@pytest.fixture(scope="module")
def classic(training):
    return rg.GLMM(TRAINING, training, within=TIMES, factors=["cond"]).classic()


# -- priors that take the range of the response ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["prior_weak", "prior_rhs", "prior_ssp", "prior_jzs"])
def test_the_range_of_the_response_may_stand_in_the_prior_or_beside_it(debate, kind):
    make = getattr(rg, kind)
    inside = rg.GLMM(DEBATE, debate, prior=make(y_range=(1, 5)))
    beside = rg.GLMM(DEBATE, debate, prior=make(), y_range=(1, 5))
    position = np.random.default_rng(2).normal(0.0, 0.3, inside.posterior.dimension)
    assert inside.posterior.log_density(position) == beside.posterior.log_density(position)
    assert inside.prior_summary().equals(beside.prior_summary())


def test_the_weak_prior_has_the_units_of_the_scale(debate):
    scalars = {s.name: s.prior for s in rg.GLMM(DEBATE, debate, prior=rg.prior_weak(y_range=(1, 5))).posterior.scalars}
    assert (scalars["Intercept_c"].mean, scalars["Intercept_c"].sd) == (3.0, 2.0)
    for name in ("talk", "perf"):
        assert scalars[f"b[{name}]"].sd == pytest.approx(1.0 / debate[name].std(), rel=1e-12)
    assert scalars["sigma"].rate == scalars["sd[group:Int]"].rate == 1.0


# -- wide tables and centring ------------------------------------------------------------------------------------------


def test_labels_of_a_within_factor(training):
    model = rg.GLMM(TRAINING, training, within=TIMES, factors=["cond"])
    assert model.cells.to_dict("list") == {"column": ["t1", "t2", "t3"], "time": ["t1", "t2", "t3"]}
    np.testing.assert_array_equal(model.frame.y, training[["t1", "t2", "t3"]].to_numpy().ravel())
    flat = model.optimize()
    cells = training.groupby("cond")[["t1", "t2", "t3"]].mean()
    b = flat.summary("b")["Estimate"]
    assert flat.summary("Intercept").iloc[0, 0] == pytest.approx(cells.loc["control", "t1"], abs=1e-6)
    assert b["b[timet3]"] == pytest.approx(cells.loc["control", "t3"] - cells.loc["control", "t1"], abs=1e-6)
    interaction = (cells.loc["training"] - cells.loc["control"]).diff().cumsum()["t3"]
    assert b["b[timet3:condtraining]"] == pytest.approx(interaction, abs=1e-6)


def test_a_predictor_beside_its_deviation_from_the_cluster_mean(debate):
    centred = {"cwc": {"cluster": "group", "pars": ["talk"]}}
    both = rg.GLMM("sat ~ talk_cm + talk_cwc + (1 | group)", debate, **centred).optimize().summary("b")["Estimate"]
    raw = rg.GLMM("sat ~ talk + talk_cwc + (1 | group)", debate, **centred).optimize().summary("b")["Estimate"]
    assert raw["b[talk]"] == pytest.approx(both["b[talk_cm]"], abs=1e-7)
    assert raw["b[talk_cwc]"] == pytest.approx(both["b[talk_cwc]"] - both["b[talk_cm]"], abs=1e-7)


# -- the classical answer ----------------------------------------------------------------------------------------------


def test_the_chi_square_table_of_a_linear_mixed_model(classic, training):
    """Balanced data: the F tests are those of sums of squares, and chi-squares are their degrees of freedom times F."""
    table, tests = classic.anova(test="Chisq"), classic.anova()
    assert set(table.columns) == {"Df", "Chisq", "Pr(>Chisq)"}
    y = training[["t1", "t2", "t3"]].to_numpy()
    trained = (training["cond"] == "training").to_numpy()
    m, n = y.shape[1], len(y)
    cells = np.stack([y[~trained].mean(axis=0), y[trained].mean(axis=0)])
    persons = y.mean(axis=1)
    within = y - persons[:, None] - (cells - cells.mean(axis=1, keepdims=True))[trained.astype(int)]
    error = np.sum(within**2) / ((n - 2) * (m - 1))
    between = m * np.sum((persons - cells.mean(axis=1)[trained.astype(int)]) ** 2) / (n - 2)
    centred = cells - cells.mean()
    times, groups = centred.mean(axis=0), centred.mean(axis=1)
    interaction = centred - times - groups[:, None]
    expected = {
        "time": n * np.sum(times**2) / (m - 1) / error,
        "cond": n / 2 * m * np.sum(groups**2) / between,
        "time:cond": n / 2 * np.sum(interaction**2) / (m - 1) / error,
    }
    for name, F in expected.items():
        assert tests.loc[name, "F value"] == pytest.approx(F, rel=1e-5)
        assert table.loc[name, "Chisq"] == pytest.approx(F * table.loc[name, "Df"], rel=1e-5)


def test_the_columns_of_marginal_means(classic, training):
    table = classic.lsmeans("time").table
    assert list(table.columns) == ["time", "estimate", "SE", "df", "lower.CL", "upper.CL"]
    means = training.groupby("cond")[["t1", "t2", "t3"]].mean().mean()
    np.testing.assert_allclose(table["estimate"], means, rtol=1e-10)


def test_averages_over_rows_are_not_for_posteriors(draws):
    for average in (rg.marginal_effects, rg.marginal_means):
        with pytest.raises(NotAvailableError, match="not for a posterior; conditional_effects"):
            average(draws, "talk")


# -- labels and tables -------------------------------------------------------------------------------------------------


def test_a_standard_deviation_goes_by_its_short_label_where_that_is_one(debate, draws):
    mode = rg.GLMM(DEBATE, debate, prior=rg.prior_normal()).optimize()
    assert list(mode.summary("sd[Int]").index) == ["sd[group:Int]"]
    np.testing.assert_array_equal(draws.draws["sd[Int]"], draws.draws["sd[group:Int]"])
    assert list(draws.summary(["sd[Int]", "sigma"]).index) == ["sd[group:Int]", "sigma"]
    given = rg.GLMM(DEBATE, debate, prior=rg.prior_normal(coefficients={"sd[Int]": rg.priors.Exponential(2.0)}))
    assert given.prior_summary().loc["sd[group:Int]", "prior"] == "exponential(2)"
    crossed = rg.GLMM("diameter ~ 1 + (1 | plate) + (1 | sample)", rg.datasets.load("Penicillin")).optimize()
    with pytest.raises(
        ArgumentError, match=r"no quantity 'sd\[Int\]'; did you mean sd\[plate:Int\] or sd\[sample:Int\]"
    ):
        crossed.summary("sd[Int]")


def test_what_is_fixed_may_go_by_its_short_label(debate):
    from refglmm.bayes.comparison import fixed_posterior

    posterior = rg.GLMM(DEBATE, debate, prior=rg.prior_normal()).posterior
    known = fixed_posterior(posterior, {"sd[Int]": 0.5})
    assert {s.name: s.fixed for s in known.scalars if s.fixed is not None} == {"sd[group:Int]": 0.5}


def test_the_tables_have_the_columns_of_the_article(debate, draws):
    columns = ["mean", "sd", "map", "q2.5", "q97.5", "ess_bulk", "ess_tail", "rhat"]
    assert list(draws.summary().columns) == columns
    assert list(draws.summary().index) == [
        "lp",
        "Intercept",
        "b[talk]",
        "b[perf]",
        "sigma",
        "sd[group:Int]",
        "Intercept_c",
    ]
    mode = rg.GLMM(DEBATE, debate, prior=rg.prior_normal()).optimize()
    assert list(mode.summary().columns) == ["Estimate", "Std. Error", "Lower 95%", "Upper 95%"]
    printed = str(mode)
    for line in (
        "Call:",
        "Negative Log-Posterior: 394.36",
        "Log Marginal Likelihood (Laplace): -404.87",
        "stored separately",
    ):
        assert line in printed


def test_the_article_s_lognormal_model_has_its_name_here():
    """eta is the mean of log y: the fit of a linear model of log y, less the sum of log y."""
    data = rg.datasets.load("sleepstudy")
    ours = rg.GLMM("Reaction ~ Days + (1 | Subject)", data, "lognormal_log").optimize()
    logs = rg.lmer("log(Reaction) ~ Days + (1 | Subject)", data, reml=False)
    assert -ours.negative_log_posterior == pytest.approx(logs.loglik - np.log(data["Reaction"]).sum(), abs=1e-6)
    assert ours.summary("b[Days]").iloc[0, 0] == pytest.approx(logs.fixef["Days"], abs=1e-8)


@pytest.mark.parametrize(
    "family", ["gaussian", "student_t", "gamma", "bernoulli", "poisson", "neg_binomial", "ordered"]
)
def test_defaults_are_proper(debate, family):
    formula = {"bernoulli": "agree ~ talk + (1 | group)", "gamma": "sat ~ talk + (talk | group)"}
    for prior in (rg.prior_normal(), rg.prior_weak(y_range=(1, 5)), rg.prior_rhs(y_range=(1, 5))):
        model = rg.GLMM(formula.get(family, "sat ~ talk + (1 | group)"), debate, family, prior=prior)
        assert model.posterior.is_proper
        assert model.prior_summary()["proper"].all()
