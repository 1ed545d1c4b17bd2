"""Average marginal effects and means against literal averages, quadrature and differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

import refglmm as rg
from refglmm.effects.marginal import marginal_effects, marginal_means
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.fit.population import parameter_covariance


def expit(eta):
    return 1 / (1 + np.exp(-eta))


def mean_of_slopes_model(beta, par, x, new):
    """Population means of the model of ``slopes``, written out: a literal trapezoid over the standardised effect."""
    T = np.array([[par[0], 0.0], [par[1], par[2]]])
    eta = beta[0] + beta[1] * np.log(x) + np.where(new, beta[2], beta[3]) * x
    z = np.column_stack([np.ones_like(x), x])
    s = np.linalg.norm(z @ T, axis=1)
    t = np.linspace(-9, 9, 721)
    return (expit(eta[:, None] + s[:, None] * t) * stats.norm.pdf(t)).sum(axis=1) * (t[1] - t[0])


def ame_x(beta, par, data, h=1e-4):
    new = (data.arm == "new").to_numpy()
    x = data.x.to_numpy()
    return np.mean(mean_of_slopes_model(beta, par, x + h, new) - mean_of_slopes_model(beta, par, x - h, new)) / (2 * h)


def ame_arm(beta, par, data):
    x = data.x.to_numpy()
    old, new = (mean_of_slopes_model(beta, par, x, np.full(len(x), flag)) for flag in (False, True))
    return np.mean(old - new)  # the first level is "new"


def gradient(f, beta, par, h=1e-5):
    psi = np.concatenate([par, beta])
    steps = np.eye(len(psi)) * h
    n = len(par)
    return np.array([(f(*_split(psi + e, n)) - f(*_split(psi - e, n))) / (2 * h) for e in steps])


def _split(psi, n):
    return psi[n:], psi[:n]


# --- closed forms -------------------------------------------------------------------------------------------


def test_a_log_link_has_closed_forms(counts, made):
    table = marginal_effects(counts, "x").table
    X = counts.model_matrix().to_numpy()
    mu = np.exp(X @ counts.beta + np.log(made.w.to_numpy()))
    b, V = counts.fixef["x"], counts.vcov().to_numpy()
    assert table["contrast"].tolist() == ["dY/dx"]
    assert table["estimate"].item() == pytest.approx(b * mu.mean(), rel=1e-12)
    e = np.array(counts.fixef.index == "x", dtype=float)
    J = b * (mu[:, None] * X).mean(axis=0) + mu.mean() * e
    assert table["SE"].item() == pytest.approx(np.sqrt(J @ V @ J), rel=1e-10)
    v = counts.varcorr["g"].cov[0, 0]
    population = marginal_effects(counts, "x", re="integrate").table["estimate"].item()
    assert population == pytest.approx(b * mu.mean() * np.exp(v / 2), rel=1e-10)


def test_the_variance_of_the_random_effects_is_uncertain_too(counts):
    # Under the log link m = exp(eta + par^2 / 2), so d m / d par = par m.
    result = marginal_means(counts)
    m, par = result.table["estimate"].item(), counts.par.iloc[0]
    assert result.jacobian[0, 0] == pytest.approx(par * m, rel=1e-9)
    C = parameter_covariance(counts).covariance
    assert result.table["SE"].item() == pytest.approx(np.sqrt(result.jacobian[0] @ C @ result.jacobian[0]), rel=1e-12)
    n = len(counts.par)
    np.testing.assert_allclose(C[n:, n:], counts.vcov(), rtol=1e-12)
    assert C[0, 0] > 0


def test_an_identity_link_gives_the_coefficients_back(linear, made):
    effects = marginal_effects(linear, ["a", "x", "c"]).table.set_index(["variable", "contrast"])
    b = linear.fixef
    assert effects.loc[("a", "r - p"), "estimate"] == pytest.approx(b["ar"], rel=1e-10)
    assert effects.loc[("c", "v - u"), "SE"] == pytest.approx(linear.se["cv"], rel=1e-9)
    share = made.b.value_counts(normalize=True)
    expected = b["x"] + share["y"] * b["by:x"] + share["z"] * b["bz:x"]
    assert effects.loc[("x", "dY/dx"), "estimate"] == pytest.approx(expected, rel=1e-10)
    assert np.isfinite(effects["df"]).all()
    assert "t.ratio" in effects
    integrated = marginal_effects(linear, ["a", "x", "c"], re="integrate").table
    np.testing.assert_allclose(integrated["estimate"], effects["estimate"], rtol=1e-12)


def test_kenward_roger_standard_errors(linear):
    kr = marginal_effects(linear, "c", ddf="kenward-roger").table
    direct = linear.lsmeans("c", ddf="kenward-roger").contrasts("revpairwise").table
    assert kr["SE"].item() == pytest.approx(direct["SE"].item(), rel=1e-10)
    assert kr["df"].item() == pytest.approx(direct["df"].item(), rel=1e-8)


# --- a literal population average ---------------------------------------------------------------------------


def test_population_effects_with_a_random_slope(slopes, slopes_data):
    beta, par = slopes.beta, slopes.par.to_numpy()
    assert list(slopes.fixef.index) == ["(Intercept)", "log(x)", "x:armnew", "x:armold"]
    result = marginal_effects(slopes, re="integrate")
    table = result.table.set_index("variable")
    C = parameter_covariance(slopes).covariance
    for name, f in (("x", ame_x), ("arm", ame_arm)):
        assert table.loc[name, "estimate"] == pytest.approx(f(beta, par, slopes_data), rel=1e-6)
        J = gradient(lambda b, p, f=f: f(b, p, slopes_data), beta, par)
        assert table.loc[name, "SE"] == pytest.approx(np.sqrt(J @ C @ J), rel=1e-4)


def test_effects_with_random_effects_zero(slopes, slopes_data):
    b, x = slopes.beta, slopes_data.x.to_numpy()
    slope = np.where(slopes_data.arm == "new", b[2], b[3])
    p = expit(b[0] + b[1] * np.log(x) + slope * x)
    table = marginal_effects(slopes, "x").table
    assert table["estimate"].item() == pytest.approx(np.mean(p * (1 - p) * (b[1] / x + slope)), rel=1e-11)
    link = marginal_effects(slopes, "x", type="link").table
    assert link["estimate"].item() == pytest.approx(np.mean(b[1] / x + slope), rel=1e-12)


@pytest.mark.parametrize("link", ["probit", "cloglog", "cauchit"])
def test_other_links(link):
    data = rg.datasets.load("cbpp")
    fit = rg.glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", data, "binomial", link=link)
    inverse, sd = fit.family.link.inverse, fit.varcorr["herd"].sd[0]
    table = marginal_means(fit, "period").table
    for eta, mean in zip(fit.lsmeans("period").table["estimate"], table["estimate"], strict=True):
        exact, _ = integrate.quad(
            lambda t, e=eta: stats.norm.pdf(t) * inverse(np.array(e + sd * t)), -9, 9, epsabs=1e-12
        )
        assert mean == pytest.approx(exact, rel=1e-7)
    assert ((table["lower.CL"] > 0) & (table["upper.CL"] < 1)).all()


def test_effects_under_a_link_with_an_edge(made):
    fit = rg.glmer("s ~ x + (1 | g)", made, "gamma", link="inverse")
    eta = fit.model_matrix().to_numpy() @ fit.beta
    table = marginal_effects(fit, "x").table
    assert table["estimate"].item() == pytest.approx(np.mean(-fit.beta[1] / eta**2), rel=1e-10)
    with pytest.raises(NotAvailableError, match="cannot be integrated out under the inverse link"):
        marginal_effects(fit, "x", re="integrate")


# --- which rows, which values -------------------------------------------------------------------------------


def test_at_and_by(counts, made):
    table = marginal_effects(counts, "x", at={"w": [1, 2]}, by="a").table
    assert table[["w", "a"]].to_numpy().tolist() == [[w, a] for w in (1.0, 2.0) for a in "pqr"]
    b = counts.fixef
    rows = made[made.a == "r"]
    expected = b["x"] * np.mean(np.exp(b["(Intercept)"] + b["ar"] + b["x"] * rows.x + np.log(2)))
    assert table["estimate"].iloc[5] == pytest.approx(expected, rel=1e-11)


def test_offsets_are_those_of_the_rows_unless_changed(counts, made):
    b = counts.fixef
    eta = b["(Intercept)"] + b["x"] * made.x + made.a.map({"p": 0, "q": b["aq"], "r": b["ar"]})
    mean = marginal_means(counts, re="zero").table["estimate"].item()
    assert mean == pytest.approx(np.mean(np.exp(eta) * made.w), rel=1e-11)
    one = marginal_means(counts, at={"w": 1.0}, re="zero").table["estimate"].item()
    assert one == pytest.approx(np.mean(np.exp(eta)), rel=1e-11)
    assert marginal_means(counts, offset=0, re="zero").table["estimate"].item() == pytest.approx(one, rel=1e-11)


def test_average_means_are_not_means_at_the_average(slopes, slopes_data):
    table = marginal_means(slopes, "arm").table
    x = slopes_data.x.to_numpy()
    par = slopes.par.to_numpy()
    expected = [np.mean(mean_of_slopes_model(slopes.beta, par, x, np.full(len(x), flag))) for flag in (True, False)]
    np.testing.assert_allclose(table["estimate"], expected, rtol=1e-8)
    assert table["arm"].tolist() == ["new", "old"]


def test_rows_of_weight_zero_take_no_part(made):
    weights = np.where(np.arange(len(made)) % 5 == 0, 0.0, 1.0)
    fit = rg.glmer("k ~ x + (1 | g)", made, "poisson", weights=weights)
    expected = fit.fixef["x"] * np.mean(np.exp(fit.model_matrix().to_numpy() @ fit.beta)[weights > 0])
    assert marginal_effects(fit, "x").table["estimate"].item() == pytest.approx(expected, rel=1e-11)
    assert f"averaged over {int(weights.sum())} rows" in str(marginal_effects(fit))


def test_a_fit_without_hessian_says_what_is_held(cbpp):
    data = rg.datasets.load("cbpp")
    fit = rg.glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", data, "binomial", n_agq=0)
    assert "standard errors hold the covariance parameters at their estimates" in str(marginal_means(fit, "period"))
    assert "hold" not in str(marginal_means(cbpp, "period"))


# --- printing, failures -------------------------------------------------------------------------------------


def test_printing_and_copies(cbpp):
    before = cbpp.to_json()
    result = cbpp.marginal_effects()
    assert str(result).startswith("Average marginal effects\n variable contrast")
    assert "<table>" in result._repr_html_()
    assert repr(result) == str(result)
    assert len(result) == 3
    table = result.table
    table["estimate"] = 0.0
    assert (result.table["estimate"] != 0).all()
    assert result.covariance.shape == (3, 3)
    assert cbpp.to_json() == before
    assert cbpp.marginal_means("period").title == "Average means"


@pytest.mark.parametrize(
    ("call", "how", "message"),
    [
        (marginal_effects, {"variables": "z"}, "variables: the model has no variable 'z'"),
        (marginal_effects, {"variables": "w"}, "variables: 'w' has no part in the fixed effects"),
        (marginal_effects, {"variables": "x", "at": {"x": 1}}, "every one of them is held by at="),
        (marginal_effects, {"by": "z"}, "by: the model has no variable 'z'"),
        (marginal_effects, {"re": {"g": "1"}}, "re must be 'zero' or 'integrate'"),
        (marginal_effects, {"type": "odds"}, "type must be 'link' or 'response'"),
        (marginal_means, {"specs": "x"}, r"specs: 'x' is numeric; name the values to take means at"),
        (marginal_means, {"specs": "a", "level": 2}, "level must lie between 0 and 1"),
        (marginal_means, {"specs": "a", "at": {"a": "s"}}, "'s' is not a level of 'a'"),
    ],
)
def test_what_cannot_be_meant(counts, call, how, message):
    with pytest.raises(ArgumentError, match=message):
        call(counts, **how)


def test_a_model_without_variables_has_no_effects_and_says_so():
    fit = rg.lmer("Yield ~ 1 + (1 | Batch)", rg.datasets.load("Dyestuff"))
    with pytest.raises(NotAvailableError, match="no variable has a part in the fixed effects"):
        marginal_effects(fit)
