"""Objects of other packages: stand-ins with the attributes of real ones, and the real ones where they are installed."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import refglmm as rg
from refglmm.crosschecking.adapters import from_object, r_name, rows_of_covariance
from refglmm.errors import ArgumentError

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


class Logit:
    pass


class Binomial:
    link = Logit()


def bayes_results(cov_params):
    """What statsmodels 0.15.0 gives for cbpp by fit_vb (rounded), with the names that its formulas make."""
    model = SimpleNamespace(
        family=Binomial(),
        endog=np.zeros(842),
        fep_names=["Intercept", "C(period)[T.2]", "C(period)[T.3]", "C(period)[T.4]"],
        vcp_names=["herd"],
    )
    return SimpleNamespace(
        model=model,
        fe_mean=np.array([-1.4093, -0.9832, -1.1199, -1.5644]),
        fe_sd=np.array([0.112, 0.2529, 0.2759, 0.3745]),
        vcp_mean=np.array([np.log(0.69028)]),
        cov_params=lambda: cov_params,
    )


def linear_results(intercept="Group"):
    """What statsmodels 0.15.0 gives for sleepstudy, (Days | Subject) by ML; its name of the random intercept varies."""
    data = pd.DataFrame({"Reaction": np.zeros(4), "Subject": ["308", "308", "309", "309"]})
    model = SimpleNamespace(
        exog_names=["Intercept", "Days"],
        exog_vc=SimpleNamespace(names=["item"]),
        data=SimpleNamespace(frame=data),
        groups=np.array(data["Subject"]),
        n_groups=2,
        reml=False,
    )
    names = [intercept, "Days"]
    return SimpleNamespace(
        model=model,
        fe_params=pd.Series([251.405, 10.467], index=["Intercept", "Days"]),
        bse_fe=pd.Series([6.632, 1.502], index=["Intercept", "Days"]),
        cov_re=pd.DataFrame([[565.52, 11.056], [11.056, 32.683]], index=names, columns=names),
        vcomp=np.array([4.0]),
        scale=654.94,
        nobs=180.0,
        llf=-875.96967,
        aic=1763.9393,
        bic=1783.0971,
    )


def test_a_variational_fit_of_statsmodels():
    report = from_object(bayes_results(np.zeros(5)))
    assert (report["program"], report["kind"], report["family"], report["link"]) == (
        "statsmodels",
        "variational",
        "binomial",
        "logit",
    )
    assert report["fixef"] == {"(Intercept)": -1.4093, "period2": -0.9832, "period3": -1.1199, "period4": -1.5644}
    assert report["se"]["period4"] == 0.3745
    (row,) = report["varcorr"]
    assert (row["group"], row["name"], row["name2"]) == ("herd", "(Intercept)", None)
    assert row["value"] == pytest.approx(0.69028, rel=1e-12)


def test_a_joint_mode_of_statsmodels_is_told_from_a_variational_fit():
    assert from_object(bayes_results(np.eye(5)))["kind"] == "map"


@pytest.mark.parametrize("intercept", ["Group", "Subject"])
def test_a_linear_model_of_statsmodels(intercept):
    report = from_object(linear_results(intercept))
    assert report["fixef"] == {"(Intercept)": 251.405, "Days": 10.467}
    assert report["ngroups"] == {"Subject": 2}
    assert report["sigma"] == pytest.approx(np.sqrt(654.94))
    rows = {(row["group"], row["name"], row["name2"]): row["value"] for row in report["varcorr"]}
    assert rows[("Subject", "(Intercept)", None)] == pytest.approx(np.sqrt(565.52))
    assert rows[("Subject", "(Intercept)", "Days")] == pytest.approx(11.056 / np.sqrt(565.52 * 32.683))
    assert rows[("item", "(Intercept)", None)] == 2.0
    assert report["aic"] == 1763.9393


def test_groups_without_a_name_are_those_of_the_only_factor():
    results = linear_results()
    results.model.groups = np.array([1, 1, 2, 2])
    report = from_object(results)
    assert report["ngroups"] == 2
    assert report["varcorr"][0]["group"] is None


def test_reml_reports_no_aic_because_statsmodels_has_none():
    results = linear_results()
    results.model.reml = True
    report = from_object(results)
    assert report["reml"] is True
    assert "aic" not in report


def bambi_model(recent):
    """Recent versions keep the terms of the mean with its component, earlier ones with the response."""
    terms = SimpleNamespace(common_terms={"period": None})
    likelihood = SimpleNamespace(parent="p")
    if recent:
        family = SimpleNamespace(name="binomial", link={"p": SimpleNamespace(name="logit")}, likelihood=likelihood)
        return SimpleNamespace(
            formula=SimpleNamespace(main="y ~ period + (1 + x|herd)"),
            family=family,
            response_component=SimpleNamespace(),
            components={"p": terms},
        )
    family = SimpleNamespace(name="binomial", link="logit")
    return SimpleNamespace(formula="y ~ period + (1 + x|herd)", family=family, response_component=terms)


def bambi_draws():
    """Draws: two common terms, one of them a factor, and deviations of an intercept and a slope."""
    xr = pytest.importorskip("xarray")
    rng = np.random.default_rng(1)
    chains = {"chain": [0, 1], "draw": np.arange(50)}
    draws = xr.Dataset(
        {
            "Intercept": (("chain", "draw"), rng.normal(-1.4, 0.2, (2, 50))),
            "period": (("chain", "draw", "period_dim"), rng.normal(-1.0, 0.3, (2, 50, 2))),
            "1|herd": (("chain", "draw", "herd__factor_dim"), rng.normal(size=(2, 50, 3))),
            "1|herd_sigma": (("chain", "draw"), rng.uniform(0.5, 0.9, (2, 50))),
            "x|herd_sigma": (("chain", "draw"), rng.uniform(0.1, 0.2, (2, 50))),
        },
        coords=chains | {"period_dim": ["2", "3"], "herd__factor_dim": ["a", "b", "c"]},
    )
    return SimpleNamespace(posterior=draws)


@pytest.mark.parametrize("recent", [True, False])
def test_a_bambi_pair(recent):
    draws = bambi_draws()
    report = from_object((bambi_model(recent), draws))
    assert (report["kind"], report["link"]) == ("posterior", "logit")
    assert list(report["fixef"]) == ["(Intercept)", "period2", "period3"]
    assert report["fixef"]["period3"] == pytest.approx(draws.posterior["period"].to_numpy()[..., 1].mean())
    assert report["se"]["(Intercept)"] == pytest.approx(draws.posterior["Intercept"].to_numpy().std(ddof=1))
    assert [(row["group"], row["name"]) for row in report["varcorr"]] == [("herd", "(Intercept)"), ("herd", "x")]


def test_a_pair_of_something_else_is_refused():
    with pytest.raises(ArgumentError, match=r"bambi model and its draws .*not \(int, str\)"):
        from_object((1, "a"))


def test_an_unknown_object_is_refused_by_its_type():
    with pytest.raises(ArgumentError, match=r"cannot read estimates from an object of type builtins\.object"):
        from_object(object())


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Intercept", "(Intercept)"),
        ("period[T.2]", "period2"),
        ("C(period)[T.2]", "period2"),
        ("C(period, Treatment)[T.2]", "period2"),
        ("C(trt)[T.drug+]:time", "trtdrug+:time"),
        ("period[2]", "period2"),
        ("wk2[T.True]", "wk2TRUE"),
        ("a[T.x]:b[T.y:z]", "ax:by:z"),
        ("np.log(x)", "np.log(x)"),
    ],
)
def test_names_as_r_has_them(theirs, ours):
    assert r_name(theirs) == ours


def test_a_covariance_matrix_as_rows():
    rows = rows_of_covariance("g", ["Intercept", "x"], [[4.0, 1.0], [1.0, 1.0]])
    assert [row["value"] for row in rows] == [2.0, 1.0, 0.5]
    assert rows[2] == {"group": "g", "name": "(Intercept)", "name2": "x", "value": 0.5}


def test_our_own_fit_goes_through(cbpp_fit):
    check = rg.crosscheck(cbpp_fit, reported=cbpp_fit)
    assert check.code == "agrees"


@pytest.fixture(scope="module")
def cbpp_fit():
    return rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial")


def test_the_real_statsmodels():
    """cbpp as one row a trial, by variational Bayes: means near ML, standard errors far too small."""
    mixed = pytest.importorskip("statsmodels.genmod.bayes_mixed_glm")
    data = rg.datasets.load("cbpp")
    trials = data["size"].astype(int)
    rows = data.loc[data.index.repeat(trials)].reset_index(drop=True)
    rows["y"] = np.concatenate([np.arange(n) < k for n, k in zip(trials, data["incidence"], strict=True)]).astype(float)
    np.random.seed(1)  # noqa: NPY002 (statsmodels draws its start from the global state)
    model = mixed.BinomialBayesMixedGLM.from_formula("y ~ C(period)", {"herd": "0 + C(herd)"}, rows)
    report = from_object(model.fit_vb())
    assert report["kind"] == "variational"
    assert report["fixef"]["period4"] == pytest.approx(-1.564, abs=0.02)
    check = rg.crosscheck(CBPP, data, report, family="binomial")
    assert check.code != "agrees"
