"""Residual correlation and residual SDs by cell in a posterior, against dense laws, nlme, and invariances."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import refglmm as rg
from refglmm.bayes.comparison import group_log_lik
from refglmm.bayes.laplace import marginal_of
from refglmm.errors import (
    ArgumentError,
    DataError,
    IdentificationWarning,
    NotAvailableError,
    ParetoWarning,
    SingularFitWarning,
    WeightsError,
)

TIMES = {"ar1": "t", "car1": "clock", "cs": None, "toep": "visit", "un": "visit"}


def make_data(seed=1, groups=8):
    """Blocks that miss different visits, uneven times, two cells, two crossed factors; rows shuffled."""
    rng = np.random.default_rng(seed)
    visits = np.array([0, 1, 2, 3])
    full = pd.DataFrame({"g": np.repeat(np.arange(groups), 4), "visit": np.tile(visits, groups)})
    full["t"] = np.array([0, 1, 3, 7])[full.visit]
    full["clock"] = np.array([0.0, 0.4, 1.0, 3.5])[full.visit]
    full["arm"] = np.where(full.g % 2 == 0, "a", "b")
    full["h"] = rng.integers(0, 3, len(full)).astype(str)
    full["x"] = rng.normal(size=len(full))
    full["w"] = rng.uniform(0.5, 2.0, len(full))
    full["y"] = 1.0 + 0.5 * full.x + rng.normal(size=groups)[full.g] + rng.normal(size=len(full))
    full["z"] = np.exp(0.3 * full.y)
    data = full.drop(full.index[[1, 6, 7, 8, 9, 11, 20]])
    return data.sample(frac=1.0, random_state=3).reset_index(drop=True)


DATA = make_data()


def model(formula="y ~ x + (1 | h)", data=DATA, kind="ar1", **arguments):
    settings = {"resid_corr": kind, "resid_group": "g", "resid_time": TIMES.get(kind), "prior": rg.prior_normal()}
    if kind is None:
        settings = {"prior": rg.prior_normal()}
    return rg.GLMM(formula, data, **(settings | arguments))


def correlation_of(kind, reported, time):
    """R of one block from reported numbers, literally."""
    gap = np.abs(time[:, None] - time[None, :])
    if kind is None:
        return np.eye(time.size)
    if kind in ("ar1", "car1"):
        return reported["rho_resid"] ** gap
    if kind == "cs":
        return np.where(gap == 0, 1.0, reported["rho_resid"])
    if kind == "toep":
        r = np.array([1.0, *(reported[f"rho_resid[{lag}]"] for lag in (1, 2, 3))])
        return r[gap.astype(int)]
    R = np.eye(4)
    for i in range(4):
        for j in range(i):
            R[i, j] = R[j, i] = reported[f"corr_resid[{j},{i}]"]
    at = time.astype(int)
    return R[np.ix_(at, at)]


def block_law(m, kind, data, reported, eta, response, sigma_by="arm"):
    """(Rows, V) of each block in the order of first appearance."""
    time_name = TIMES.get(kind)
    laws = []
    for g in range(data.g.max() + 1):
        rows = np.flatnonzero(data.g == g)
        time = data[time_name].to_numpy(float)[rows] if time_name else np.arange(rows.size, dtype=float)
        sd = np.array([reported[f"sigma[{c}]" if sigma_by else "sigma"] for c in data[sigma_by or "arm"].iloc[rows]])
        laws.append((rows, correlation_of(kind, reported, time) * np.outer(sd, sd)))
    return laws


def reported_of(posterior, position):
    return dict(zip(posterior.names, posterior.reported(position[None])[0], strict=True))


def somewhere(posterior, seed=4):
    return 0.4 * np.random.default_rng(seed).standard_normal(posterior.dimension)


# -- densities -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ar1", "car1", "cs", "toep", "un", None])
@pytest.mark.parametrize("family", ["gaussian", "lognormal_log", "student_t"])
def test_log_likelihood_is_that_of_the_dense_law(kind, family):
    formula = "z ~ x + (1 | h)" if family == "lognormal_log" else "y ~ x + (1 | h)"
    m = model(formula, kind=kind, family=family, sigma_by="arm")
    posterior, position = m.posterior, somewhere(m.posterior)
    reported, eta = reported_of(posterior, position), posterior.eta(position[None])[0]
    y = np.log(DATA.z) if family == "lognormal_log" else DATA.y
    expected = 0.0
    for rows, V in block_law(m, kind, DATA, reported, eta, y):
        if family != "student_t":
            expected += stats.multivariate_normal(eta[rows], V).logpdf(y.iloc[rows])
        elif kind is None:
            expected += stats.t(reported["nu"], eta[rows], np.sqrt(np.diag(V))).logpdf(y.iloc[rows]).sum()
        else:
            expected += stats.multivariate_t(eta[rows], V, df=reported["nu"]).logpdf(y.iloc[rows])
    expected -= y.sum() if family == "lognormal_log" else 0.0
    log_lik = posterior.log_lik(position[None])
    assert log_lik.shape == (1, len(DATA) if kind is None else DATA.g.nunique())
    np.testing.assert_allclose(log_lik.sum(), expected, rtol=1e-10)
    X = posterior.natural(position[None])[0][0]
    prior = sum(s.prior.log_density(x) for s, x in zip(posterior.scalars, X, strict=True))
    effects = stats.norm.logpdf(position[posterior.n_hyper :]).sum()
    jacobian = marginal_of(posterior).log_jacobian(position[: posterior.n_hyper])
    np.testing.assert_allclose(posterior.log_density(position), expected + prior + effects + jacobian, rtol=1e-10)


@pytest.mark.parametrize("kind", ["ar1", "un"])
def test_gradient_equals_differences(kind):
    posterior = model(kind=kind, family="student_t", sigma_by="arm").posterior
    x = somewhere(posterior)
    gradient = posterior.value_and_gradient(x)[1]
    slopes = np.empty(x.size)
    for j, e in enumerate(1e-2 * np.eye(x.size)):
        d = [posterior.log_density(x + k * e) - posterior.log_density(x - k * e) for k in (1, 2, 3)]
        slopes[j] = (45.0 * d[0] - 9.0 * d[1] + d[2]) / 0.6
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-7)


# -- random effects integrated out ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ar1", "toep"])
@pytest.mark.parametrize("jacobian", [True, False])
def test_marginal_of_normal_residuals_is_exact(kind, jacobian):
    m = model("y ~ x + (1 + x | h) + (1 | arm)", kind=kind, weights="w")
    posterior = m.posterior
    marginal = marginal_of(posterior, jacobian)
    hyper = somewhere(posterior)[: posterior.n_hyper]
    X, B, _, _ = (a[0] for a in posterior.natural(hyper[None]))
    reported = reported_of(posterior, np.concatenate([hyper, np.zeros(posterior.q)]))
    root = np.array([posterior.random_effects(np.concatenate([hyper, e])[None])[0] for e in np.eye(posterior.q)]).T
    Z = np.zeros((len(DATA), posterior.q))
    np.add.at(Z, (np.arange(len(DATA))[:, None], m.problem.layout.index), m.problem.layout.z)
    V = Z @ root @ root.T @ Z.T
    for rows, own in block_law(m, kind, DATA, reported, None, None, sigma_by=None):
        V[np.ix_(rows, rows)] += own / np.sqrt(np.outer(DATA.w.iloc[rows], DATA.w.iloc[rows]))
    expected = stats.multivariate_normal(posterior.problem.X @ B, V).logpdf(DATA.y)
    expected += sum(s.prior.log_density(x) for s, x in zip(posterior.scalars, X, strict=True))
    expected += marginal.log_jacobian(hyper) if jacobian else 0.0
    value, gradient = marginal.value_and_gradient(hyper)
    np.testing.assert_allclose(value, expected, rtol=1e-11)
    np.testing.assert_allclose(marginal.value(hyper), expected, rtol=1e-11)
    for j, e in enumerate(1e-2 * np.eye(hyper.size)):
        d = [marginal.value(hyper + k * e) - marginal.value(hyper - k * e) for k in (1, 2, 3)]
        np.testing.assert_allclose(gradient[j], (45.0 * d[0] - 9.0 * d[1] + d[2]) / 0.6, rtol=1e-6, atol=1e-6)


def test_marginal_of_t_residuals_is_laplaces():
    """At a mode found by scipy, with a Hessian by differences of the joint gradient."""
    from scipy.optimize import minimize

    posterior = model(family="student_t", kind="ar1").posterior
    hyper = somewhere(posterior)[: posterior.n_hyper]

    def negative(u):
        value, gradient = posterior.value_and_gradient(np.concatenate([hyper, u]))
        return -value, -gradient[posterior.n_hyper :]

    found = minimize(negative, np.zeros(posterior.q), jac=True, tol=1e-12)
    H = np.empty((posterior.q, posterior.q))
    for j, e in enumerate(1e-2 * np.eye(posterior.q)):
        d = [negative(found.x + k * e)[1] - negative(found.x - k * e)[1] for k in (1, 2, 3)]
        H[j] = (45.0 * d[0] - 9.0 * d[1] + d[2]) / 0.6
    expected = -found.fun + 0.5 * posterior.q * np.log(2.0 * np.pi) - 0.5 * np.linalg.slogdet(H)[1]
    marginal = marginal_of(posterior)
    value, gradient = marginal.value_and_gradient(hyper)
    np.testing.assert_allclose(value, expected, rtol=1e-9)
    for j, e in enumerate(1e-2 * np.eye(hyper.size)):
        d = [marginal.value(hyper + k * e) - marginal.value(hyper - k * e) for k in (1, 2, 3)]
        np.testing.assert_allclose(gradient[j], (45.0 * d[0] - 9.0 * d[1] + d[2]) / 0.6, rtol=1e-5, atol=1e-5)


def test_laplace_of_centred_effects_is_that_of_spherical_ones():
    posterior = model().posterior
    plain, other = posterior.laplace(), posterior.with_exponent([0.6]).laplace()
    np.testing.assert_allclose(other.hyper, plain.hyper, atol=1e-6)
    f = posterior.with_exponent([0.6]).centring(plain.hyper)
    np.testing.assert_allclose(other.u, f * plain.u, atol=1e-6)
    assert plain.converged


# -- nlme ------------------------------------------------------------------------------------------------------

#: nlme 3.1.162, R 4.2.2 (golden_residuals.R): log-likelihood, coefficients, and others as they are named here.
NLME = [
    ("ar1", "position", {}, -219.37461243, (16.9004157, 0.6521013), {"sigma": 2.55854131, "rho_resid": 0.7016301}),
    ("ar1", "t", {}, -219.37461243, (16.9004157, 0.6521013), {"sigma": 2.55854131, "rho_resid": 0.7016301}),
    ("car1", "age", {}, -219.37461243, (16.9004157, 0.6521013), {"sigma": 2.55854129, "rho_resid": 0.8376336}),
    ("cs", None, {}, -214.50274297, (16.8417386, 0.6543718), {"sigma": 2.54787466, "rho_resid": 0.6884950}),
    ("toep", "age", {}, -219.62902478, (16.7425119, 0.6658401), {"sigma": 2.54211669}),
    (
        "un",
        "age",
        {"sigma_by": "Sex"},
        -204.37174175,
        (17.0903806, 0.5693719),
        {
            "sigma[Female]": 1.85343991,
            "sigma[Male]": 1.85343991 * 1.8438540,
            "corr_resid[8,10]": 0.7538189,
            "corr_resid[8,12]": 0.7638471,
            "corr_resid[8,14]": 0.6967689,
            "corr_resid[10,12]": 0.7336536,
            "corr_resid[10,14]": 0.8015085,
            "corr_resid[12,14]": 0.8514855,
        },
    ),
]


def orthodont(complete=False):
    data = rg.datasets.load("Orthodont")
    data["position"] = (data.age - 6) // 2
    data["t"] = pd.Categorical(data.position)
    return data if complete else data.drop(data.index[[1, 6, 7, 20]])


@pytest.mark.golden
@pytest.mark.parametrize(("kind", "time", "more", "log_lik", "beta", "expected"), NLME)
def test_flat_priors_give_the_maximum_likelihood_of_nlme(kind, time, more, log_lik, beta, expected):
    data = orthodont(complete=kind == "toep")
    m = rg.GLMM("distance ~ age", data, resid_corr=kind, resid_time=time, resid_group="Subject", **more)
    mode = m.optimize()
    estimates = mode.estimates["Estimate"]
    np.testing.assert_allclose([estimates["Intercept"], estimates["b[age]"]], beta, rtol=2e-5)
    for name, value in expected.items():
        np.testing.assert_allclose(estimates[name], value, rtol=5e-5)
    np.testing.assert_allclose(m.posterior.log_lik(mode.mode.position[None]).sum(), log_lik, atol=1e-6)


@pytest.mark.golden
def test_flat_priors_give_the_mixed_model_of_nlme():
    """lme(distance ~ age, random = ~ 1 | Subject, corAR1(form = ~ position | Subject), method = "ML")."""
    m = rg.GLMM("distance ~ age + (1 | Subject)", orthodont(), resid_corr="ar1", resid_time="position")
    estimates = m.optimize().estimates["Estimate"]
    expected = {"Intercept": 16.8473215, "b[age]": 0.6540014, "sigma": 1.44027922, "sd[Subject:Int]": 2.1018200}
    np.testing.assert_allclose([estimates[name] for name in expected], list(expected.values()), rtol=1e-5)
    np.testing.assert_allclose(estimates["rho_resid"], 0.0484233, rtol=1e-3)
    log_lik = marginal_of(m.posterior, jacobian=False).value(m.optimize().mode.position[:5])
    constant = sum(s.prior.hyper[3] for s in m.posterior.scalars)  # of the uniform prior of rho
    np.testing.assert_allclose(log_lik - constant, -214.46341745, atol=1e-6)


# -- invariances -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["car1", "toep"])
def test_the_order_of_rows_does_not_matter(kind):
    ours, theirs = (
        model(data=data, kind=kind, sigma_by="arm").posterior for data in (DATA, DATA.sample(frac=1, random_state=9))
    )
    x = somewhere(ours)
    np.testing.assert_allclose(ours.log_density(x), theirs.log_density(x), rtol=1e-12)
    labelled = [dict(zip(p.residuals.blocks, p.log_lik(x[None])[0], strict=True)) for p in (ours, theirs)]
    for label, value in labelled[0].items():
        np.testing.assert_allclose(labelled[1][label], value, rtol=1e-10)


def test_the_unit_of_y_does_not_matter():
    with pytest.warns(SingularFitWarning, match=r"sd\[h:Int\] at zero"):
        plain, scaled = (
            model(data=data, kind="ar1", prior=None).optimize() for data in (DATA, DATA.assign(y=1e-3 * DATA.y))
        )
    a, b = plain.estimates["Estimate"], scaled.estimates["Estimate"]
    np.testing.assert_allclose(b["rho_resid"], a["rho_resid"], atol=1e-6)
    np.testing.assert_allclose(b["sigma"] * 1e3, a["sigma"], rtol=1e-6)


def test_gaps_are_the_real_ones():
    data = DATA.assign(month=np.array([0, 1, 6, 24])[DATA.visit])
    residuals = model(data=data, kind="ar1", resid_time="month").residuals
    starts = np.flatnonzero(np.diff(residuals.rows.block, prepend=-1))
    by_block = [set(times) for times in np.split(residuals.rows.time, starts[1:])]
    assert {0.0, 1.0, 6.0, 24.0} in by_block
    np.testing.assert_array_equal(residuals.rows.time, data.month.to_numpy()[residuals.order])
    assert residuals.times == ("0", "1", "6", "24")


@pytest.mark.parametrize(("kind", "factor"), [("ar1", 2), ("ar1", 3), ("ar1", 365), ("car1", 0.5), ("car1", 365)])
def test_the_unit_of_time_is_that_of_rho_alone(kind, factor):
    """rho^g has no slope at rho = 0 for whole g > 1: a search that started there would stay."""
    ours, scaled = (
        model(data=DATA.assign(t=unit * DATA.visit), kind=kind, resid_time="t").optimize() for unit in (1, factor)
    )
    assert scaled.converged
    rho = scaled.summary("rho_resid")["Estimate"].iloc[0]
    assert rho**factor == pytest.approx(ours.summary("rho_resid")["Estimate"].iloc[0], abs=1e-5)
    bounds = [fit.model.residuals.bounds for fit in (ours, scaled)]
    constant = np.log([high - low for low, high in bounds])  # of the uniform prior
    assert scaled.log_posterior + constant[1] == pytest.approx(ours.log_posterior + constant[0], abs=1e-6)


def test_blocks_of_the_same_times_follow_one_another():
    residuals = model(kind="un").residuals
    starts = np.flatnonzero(np.diff(residuals.rows.block, prepend=-1))
    patterns = [tuple(times) for times in np.split(residuals.rows.time, starts[1:])]
    changes = sum(a != b for a, b in itertools.pairwise(patterns))
    assert changes == len(set(patterns)) - 1
    assert len(set(patterns)) > 2


# -- names, priors, reporting ------------------------------------------------------------------------------------


def test_names_and_priors():
    m = model(kind="un", sigma_by=["arm", "h"], family="student_t")
    names, table = m.posterior.names, m.prior_summary()
    assert {"sigma[a:0]", "sigma[b:2]", "nu", "corr_resid[0,3]"} <= set(names)
    assert "sigma" not in names
    assert len([name for name in names if name.startswith("corr_resid")]) == 6
    assert table.loc["sigma[a:0]", "prior"] == "exponential(0.2)"
    assert table.loc["partial_resid[0,1]", "prior"] == "partial_correlation(2)"
    assert table.loc["partial_resid[2,3]", "prior"] == "partial_correlation(1)"
    assert m.posterior.is_proper
    assert "rho_resid[3]" in model(kind="toep").posterior.names
    assert model(kind="cs").prior_summary().loc["rho_resid", "prior"] == "uniform(-0.33333, 1)"
    assert model(kind="car1").prior_summary().loc["rho_resid", "support"] == "(0, 1)"


def test_sigma_by_all_is_every_factor_among_the_predictors():
    names = model("y ~ x + arm + (1 | h)", kind=None, sigma_by="all").posterior.names
    assert [name for name in names if name.startswith("sigma")] == ["sigma[a]", "sigma[b]"]


def test_a_known_shape_stays_known():
    posterior = model(family=rg.families.StudentT(df=4.0), kind="ar1").posterior
    position = somewhere(posterior)
    assert "nu" not in posterior.hyper_names
    assert reported_of(posterior, position)["nu"] == 4.0


def test_even_gaps_have_no_sign():
    even = DATA.assign(t=2 * DATA.visit)
    assert model(data=even).residuals.bounds == (0.0, 1.0)
    assert model(data=DATA).residuals.bounds == (-1.0, 1.0)


def test_default_group_and_time():
    with pytest.warns(IdentificationWarning):
        m = model("y ~ x + (1 | g)", kind="cs", resid_group=None)
    assert len(m.residuals.blocks) == DATA.g.nunique()
    by_row = model(kind="ar1", resid_time=None).residuals
    for b in range(3):
        assert np.all(np.diff(by_row.order[by_row.rows.block == b]) > 0)


def test_products_of_columns_are_blocks():
    m = model(kind="cs", resid_group="g:arm")
    assert set(m.residuals.blocks) == {f"{g}:{'a' if g % 2 == 0 else 'b'}" for g in DATA.g.unique()}


def test_updating_keeps_or_changes_the_arguments():
    m = model(kind="ar1", sigma_by="arm")
    assert m.updated(". ~ . - x").residuals.kind == "ar1"
    changed = m.updated(resid_corr="cs", resid_time=None, sigma_by=None)
    assert (changed.residuals.kind, changed.residuals.cells) == ("cs", ("",))
    other = m.with_response(2.0 * m.frame.y)
    np.testing.assert_allclose(other.residuals.rows.y, 2.0 * m.residuals.rows.y)
    assert other.posterior.target.rows.y[0] == other.residuals.rows.y[0]


def test_rows_missing_a_time_are_left_out():
    data = DATA.copy()
    data["t"] = data.t.astype(float)
    data.loc[[2, 5], "t"] = np.nan
    assert model(data=data).frame.n == len(DATA) - 2


def test_draws_have_the_moments_of_the_posterior():
    """Against importance sampling from a t around the Laplace mode; the draws' means have errors of 0.03 SDs."""
    m = model("y ~ x", kind="cs")
    fit = m.sample(chains=2, sampling=1000, warmup=300, seed=2, progress=False, parallel=False)
    posterior, mode = m.posterior, m.posterior.laplace()
    proposal = stats.multivariate_t(mode.hyper, 1.5 * mode.covariance, df=5, seed=1)
    x = proposal.rvs(20000)
    log_weight = posterior.log_densities(x) - proposal.logpdf(x)
    weight = np.exp(log_weight - log_weight.max())
    mean = np.average(x, axis=0, weights=weight)
    sd = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weight))
    draws = fit.draws.positions.reshape(-1, posterior.dimension)
    np.testing.assert_allclose((draws.mean(axis=0) - mean) / sd, 0.0, atol=0.15)
    np.testing.assert_allclose(draws.std(axis=0), sd, rtol=0.12)
    assert fit.log_lik.shape == (2, 1000, DATA.g.nunique())
    with pytest.warns(ParetoWarning, match="of 8 blocks have a Pareto k"):  # few blocks, each of much influence
        assert fit.loo().unit == "block"


# -- refusals ----------------------------------------------------------------------------------------------------


def twice(data):
    return pd.concat([data, data.iloc[[0]]], ignore_index=True)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kind": "arma"}, ArgumentError, "resid_corr must be one of ar1, car1, cs, toep, un, not 'arma'"),
        ({"kind": None, "resid_time": "t"}, ArgumentError, "need resid_corr="),
        ({"resid_time": "nowhere"}, DataError, "resid_time: the data has no column 'nowhere'"),
        ({"resid_group": ["g", "gg"]}, DataError, "resid_group: the data has no column 'gg'"),
        ({"sigma_by": "colour"}, DataError, "sigma_by: the data has no column 'colour'"),
        ({"sigma_by": 3}, ArgumentError, "sigma_by must be the name of a column"),
        ({"sigma_by": "all"}, ArgumentError, "factors among the predictors, of which there is none"),
        ({"data": twice(DATA)}, DataError, rf"rows 0 and {len(DATA)} have the same 't' in block '{DATA.g[0]}' of g"),
        ({"resid_time": "clock"}, DataError, "'ar1' needs whole gaps between times; one is 2.5"),
        ({"kind": "car1", "resid_time": "arm"}, ArgumentError, "'car1' needs a numeric resid_time="),
        ({"kind": "toep", "resid_time": "t"}, DataError, "must be equally spaced; their gaps range from 1 to 4"),
        ({"kind": "cs", "data": DATA.drop_duplicates("g")}, DataError, "every block of g has one row"),
        ({"kind": "cs", "resid_group": None, "formula": "y ~ x"}, ArgumentError, "say with resid_group="),
        ({"weights": DATA.w * (DATA.index > 0)}, WeightsError, "weights must be positive"),
        ({"weights": "w", "family": "student_t"}, WeightsError, "weights of a student_t model count repetitions"),
        ({"formula": "z ~ x + (1 | h)", "family": "gamma"}, NotAvailableError, r"ar1\(0 \+ time \| g\)"),
        ({"family": "gaussian", "link": "log"}, NotAvailableError, "with identity link"),
    ],
)
def test_what_cannot_be_is_said(arguments, error, message):
    settings = {"formula": "y ~ x + (1 | h)"} | arguments
    data = settings.get("data", DATA)
    if settings.get("link") == "log":
        settings["data"] = data.assign(y=data.z)
    with pytest.raises(error, match=message):
        model(**settings)


def test_maximum_likelihood_by_fit_is_refused():
    with pytest.raises(NotAvailableError, match="use optimize"):
        model().fit()
    with pytest.raises(NotAvailableError, match="use optimize"):
        rg.lmer("y ~ x + (1 | h)", DATA, sigma_by="arm")


def test_priors_in_units_of_sigma_need_one_sigma():
    with pytest.raises(
        NotAvailableError, match="prior_jzs measures slopes in units of sigma, of which sigma_by= makes 2"
    ):
        _ = model(kind="ar1", sigma_by="arm", prior=rg.prior_jzs()).posterior
    assert model(kind="ar1", prior=rg.prior_jzs()).posterior.n_hyper > 0


@pytest.mark.parametrize(("kind", "warns"), [("cs", True), ("un", True), ("toep", True), ("ar1", False)])
def test_an_intercept_of_the_blocks_beside_their_correlation(kind, warns):
    if not warns:
        model("y ~ x + (1 | g)", kind=kind)
        return
    with pytest.warns(IdentificationWarning, match=f"resid_corr='{kind}' within g and the random intercept"):
        model("y ~ x + (1 | g)", kind=kind)
    model("y ~ x + (0 + x | g)", kind=kind)


def test_leaving_out_groups_is_refused():
    with pytest.warns(SingularFitWarning):
        fit = model(kind="ar1").optimize()
    with pytest.raises(NotAvailableError, match="whole blocks of correlated rows"):
        group_log_lik(fit, "h")
