"""Conditional effects, simple effects and the Johnson-Neyman region against closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import refglmm as rg
from refglmm.effects.conditional import conditional_effects, johnson_neyman, simple_effects
from refglmm.errors import ArgumentError, NotAvailableError


@pytest.fixture(scope="module")
def crossed(made):
    return rg.lmer("y ~ x * w + a + (1 | g)", made, reml=True)


# --- conditional effects ------------------------------------------------------------------------------------


def test_a_line_by_hand(crossed, made):
    result = conditional_effects(crossed, "x", ddf="inf", resolution=7, prob=0.9)
    table, b = result.table, crossed.fixef
    np.testing.assert_allclose(table["x"], np.linspace(made.x.min(), made.x.max(), 7))
    w = made.w.mean()  # a stands at p, its most frequent level and the baseline of the coding
    expected = b["(Intercept)"] + b["x"] * table["x"] + b["w"] * w + b["x:w"] * table["x"] * w
    np.testing.assert_allclose(table["estimate"], expected, rtol=1e-12)
    L = np.column_stack([np.ones(7), table["x"], np.full(7, w), np.zeros((7, 2)), table["x"] * w])
    assert list(b.index) == ["(Intercept)", "x", "w", "aq", "ar", "x:w"]
    se = np.sqrt(np.diag(L @ crossed.vcov().to_numpy() @ L.T))
    np.testing.assert_allclose(table["se"], se, rtol=1e-12)
    np.testing.assert_allclose(table["upper"] - table["estimate"], 1.6448536269514722 * se, rtol=1e-10)


def test_degrees_of_freedom_widen_the_ribbon(crossed):
    z, t = (conditional_effects(crossed, "x", ddf=ddf, resolution=3).table for ddf in ("inf", "auto"))
    np.testing.assert_array_equal(z["se"], t["se"])
    assert ((t["upper"] - t["lower"]) > (z["upper"] - z["lower"])).all()


def test_moderators_stand_at_unrounded_values(crossed, made):
    result = conditional_effects(crossed, "x:w", sd_multiplier=2)
    mean, sd = made.w.mean(), made.w.std()
    assert result.moderator_values == {"w": [mean - 2 * sd, mean, mean + 2 * sd]}
    assert len(result) == 300
    assert str(result).splitlines()[:4] == [
        "Conditional effects for: x:w",
        "focal variable: x",
        "moderator: w",
        "moderator values: mean - 2 SD, mean, mean + 2 SD",
    ]
    # A moderator with a tiny spread keeps three different values (rounding would merge them).
    tiny = rg.lmer("y ~ x * small + (1 | g)", made.assign(small=made.w * 1e-4 + 5), checks={"scale": "ignore"})
    values = conditional_effects(tiny, "x:small").moderator_values["small"]
    assert len(set(values)) == 3


def test_few_values_are_all_shown_and_the_caller_may_choose(made):
    data = made.assign(dose=np.arange(len(made)) % 4)
    fit = rg.lmer("y ~ x * dose + (1 | g)", data)
    assert conditional_effects(fit, "x:dose").moderator_values["dose"] == [0, 1, 2, 3]
    assert len(conditional_effects(fit, "x:dose", sd_slice=True).moderator_values["dose"]) == 3
    chosen = conditional_effects(fit, "x:dose", at={"dose": [0.5, 2], "x": [1, 2, 3]})
    assert chosen.moderator_values["dose"] == [0.5, 2.0]
    assert chosen.table["x"].tolist() == [1.0, 2.0, 3.0] * 2
    assert "moderator values: 0.5, 2" in str(chosen)


def test_three_variables_and_the_order_of_the_rows(made):
    fit = rg.lmer("y ~ a * c * x + (1 | g)", made)
    table = conditional_effects(fit, "a:c:x", sd_slice=False, at={"x": [1, 2]}, ddf="inf").table
    assert table.columns.tolist() == ["a", "c", "x", "estimate", "se", "lower", "upper"]
    assert table["a"].astype(str).tolist() == ["p", "q", "r"] * 4
    assert table["x"].tolist() == [1.0] * 6 + [2.0] * 6
    b = fit.fixef
    row = table[(table["a"] == "q") & (table["c"] == "v") & (table["x"] == 2.0)]
    names = ["(Intercept)", "aq", "cv", "aq:cv"]
    twice = ["x", "aq:x", "cv:x", "aq:cv:x"]
    assert row["estimate"].item() == pytest.approx(b[names].sum() + 2 * b[twice].sum(), rel=1e-12)


def test_intervals_stay_inside_the_range_of_the_mean():
    rng = np.random.default_rng(8)
    x = rng.normal(size=80)
    y = (rng.uniform(size=80) < 1 / (1 + np.exp(-4 * x))).astype(int)
    fit = rg.glmer("y ~ x + (1 | g)", {"y": y, "x": x, "g": np.arange(80) % 8}, "binomial", checks={})
    table = conditional_effects(fit, "x").table
    assert table["lower"].min() > 0
    assert table["upper"].max() < 1
    assert (table["estimate"] - 1.96 * table["se"]).min() < 0  # which is why


@pytest.mark.filterwarnings("ignore::refglmm.errors.SingularFitWarning")
@pytest.mark.parametrize(
    ("family", "link"), [("gamma", "inverse"), ("gamma", "identity"), ("gamma", "log"), ("poisson", "sqrt")]
)
def test_links_with_and_without_an_edge(made, family, link):
    fit = rg.glmer(f"{'s' if family == 'gamma' else 'k'} ~ c + (1 | g)", made, family, link=link)
    eta, mean = (conditional_effects(fit, "c", type=type).table for type in ("link", "response"))
    inverse = {"inverse": lambda e: 1 / e, "identity": lambda e: e, "log": np.exp, "sqrt": np.square}[link]
    np.testing.assert_allclose(mean["estimate"], inverse(eta["estimate"]), rtol=1e-12)
    ends = np.sort(inverse(eta[["lower", "upper"]].to_numpy()), axis=1)
    np.testing.assert_allclose(mean[["lower", "upper"]], ends, rtol=1e-12)
    if link in ("inverse", "sqrt"):
        with pytest.raises(NotAvailableError, match=f"cannot be integrated out under the {link} link"):
            conditional_effects(fit, "c", re="integrate")


def test_offsets_and_their_own_variable(counts, made):
    b = counts.fixef
    base = b["(Intercept)"] + b["x"] * made.x.mean()
    table = conditional_effects(counts, "a", type="link").table
    np.testing.assert_allclose(table["estimate"].iloc[0], base + np.log(made.w).mean(), rtol=1e-12)
    along = conditional_effects(counts, "a", at={"w": 1.7}, type="link").table
    np.testing.assert_allclose(along["estimate"].iloc[0], base + np.log(1.7), rtol=1e-12)


# --- random effects -----------------------------------------------------------------------------------------


def test_at_a_level_the_modes_are_added(sleepstudy):
    days = [0, 5.0]
    coefficients = sleepstudy.coef()["Subject"].loc["308"]
    table = conditional_effects(sleepstudy, "Days", re={"Subject": "308"}, at={"Days": days}).table
    np.testing.assert_allclose(
        table["estimate"], coefficients["(Intercept)"] + coefficients["Days"] * np.array(days), rtol=1e-10
    )
    joint = sleepstudy.vcov(full=True)
    names = ["(Intercept)", "Days", "Subject.(Intercept).308", "Subject.Days.308"]
    V = joint.loc[names, names].to_numpy()
    L = np.array([[1, d, 1, d] for d in days])
    np.testing.assert_allclose(table["se"], np.sqrt(np.diag(L @ V @ L.T)), rtol=1e-8)


def test_at_levels_of_crossed_factors():
    fit = rg.lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", rg.datasets.load("Penicillin"))
    modes = fit.ranef()
    data = rg.datasets.load("Penicillin").assign(one=np.arange(144.0))
    fit = rg.lmer("diameter ~ one + (1 | plate) + (1 | sample)", data)
    modes = fit.ranef()
    b = fit.fixef
    for re in ({"sample": "B"}, {"plate": "c", "sample": "F"}):
        table = conditional_effects(fit, "one", re=re, at={"one": [3.0]}, type="link").table
        added = sum(modes[group].loc[level, "(Intercept)"] for group, level in re.items())
        assert table["estimate"].item() == pytest.approx(b["(Intercept)"] + 3 * b["one"] + added, rel=1e-10)
        names = ["(Intercept)", "one", *(f"{group}.(Intercept).{level}" for group, level in re.items())]
        V = fit.vcov(full=True).loc[names, names].to_numpy()
        ell = np.array([1, 3.0, *(1 for _ in re)])
        assert table["se"].item() == pytest.approx(np.sqrt(ell @ V @ ell), rel=1e-7)


def test_integrated_means_follow_the_random_slope(slopes):
    table = conditional_effects(slopes, "x:arm", re="integrate", resolution=4).table
    cov = slopes.varcorr["g"].cov
    link = conditional_effects(slopes, "x:arm", type="link", resolution=4).table
    for i in range(len(table)):
        z = np.array([1.0, table["x"][i]])
        sd = np.sqrt(z @ cov @ z)
        exact, _ = integrate.quad(
            lambda b, e=link["estimate"][i], s=sd: stats.norm.pdf(b) / (1 + np.exp(-e - s * b)), -9, 9, epsabs=1e-13
        )
        assert table["estimate"][i] == pytest.approx(exact, rel=1e-9)


# --- simple effects -----------------------------------------------------------------------------------------


def test_simple_slopes_by_hand(crossed, made):
    result = simple_effects(crossed, "x:w", ddf="inf")
    table, b, V = result.table, crossed.fixef, crossed.vcov()
    m = made.w.mean() + np.array([-1, 0, 1]) * made.w.std()
    assert table["term"].tolist() == ["Slope of x"] * 3
    np.testing.assert_allclose(table["value"], m, rtol=1e-14)
    np.testing.assert_allclose(table["estimate"], b["x"] + b["x:w"] * m, rtol=1e-11)
    variance = V.loc["x", "x"] + 2 * m * V.loc["x", "x:w"] + m**2 * V.loc["x:w", "x:w"]
    np.testing.assert_allclose(table["se"], np.sqrt(variance), rtol=1e-10)
    z = table["estimate"] / table["se"]
    np.testing.assert_allclose(table["p"], 2 * stats.norm.sf(np.abs(z)), rtol=1e-8)
    assert str(result).startswith("--- Simple Effects Analysis ---\n moderator")


def test_differences_of_a_factor(linear, made):
    table = simple_effects(linear, "b:x", ddf="inf").table
    b, m = linear.fixef, made.x.mean() + np.array([-1, 0, 1]) * made.x.std()
    assert table["term"].tolist() == ["y - x", "z - x", "z - y"] * 3
    np.testing.assert_allclose(table["estimate"][0::3], b["by"] + m * b["by:x"], rtol=1e-10)
    np.testing.assert_allclose(table["estimate"][2::3], b["bz"] - b["by"] + m * (b["bz:x"] - b["by:x"]), rtol=1e-9)


def test_slopes_of_curves_are_taken_at_the_focal_mean(slopes, slopes_data):
    table = simple_effects(slopes, "x:arm").table
    b = slopes.fixef
    expected = [b["log(x)"] / slopes_data.x.mean() + b[f"x:arm{arm}"] for arm in ("new", "old")]
    np.testing.assert_allclose(table["estimate"], expected, rtol=1e-11)
    at_one = simple_effects(slopes, "x:arm", at={"x": 1.0}).table
    np.testing.assert_allclose(
        at_one["estimate"], [b["log(x)"] + b["x:armnew"], b["log(x)"] + b["x:armold"]], rtol=1e-11
    )


@pytest.mark.parametrize("re", ["zero", "integrate"])
def test_slopes_of_the_mean_are_derivatives_of_the_curve(slopes, re):
    h = 1e-3
    table = simple_effects(slopes, "x:arm", type="response", re=re, at={"x": 2.0}).table
    curve = conditional_effects(slopes, "x:arm", re=re, at={"x": [2 - 2 * h, 2 - h, 2 + h, 2 + 2 * h]}).table
    m = curve["estimate"].to_numpy().reshape(2, 4)
    expected = (m[:, 0] - 8 * m[:, 1] + 8 * m[:, 2] - m[:, 3]) / (12 * h)
    np.testing.assert_allclose(table["estimate"], expected, rtol=1e-8)


def test_differences_of_the_mean(slopes):
    table = simple_effects(slopes, "arm:x", type="response", re="integrate").table
    curve = conditional_effects(slopes, "arm:x", re="integrate").table
    np.testing.assert_allclose(table["estimate"], np.diff(curve["estimate"])[::2], rtol=1e-12)


# --- Johnson-Neyman -----------------------------------------------------------------------------------------


def jn_data(slope, interaction, seed=1):
    rng = np.random.default_rng(seed)
    x, m, g = rng.normal(size=300), rng.uniform(-3, 3, 300), np.arange(300) % 20
    y = slope * x + interaction * x * m + rng.normal(size=20)[g] + rng.normal(size=300)
    return {"y": y, "x": x, "m": m, "g": g}


def test_the_region_solves_a_quadratic():
    fit = rg.lmer("y ~ x * m + (1 | g)", jn_data(0.2, 0.2), reml=True)
    region = johnson_neyman(fit, "x:m", ddf="inf")
    b, V, c2 = fit.fixef, fit.vcov(), stats.norm.ppf(0.975) ** 2
    # (b1 + b3 m)^2 = c^2 (V11 + 2 m V13 + m^2 V33)
    i, j = "x", "x:m"
    roots = np.roots([b[j] ** 2 - c2 * V.loc[j, j], 2 * (b[i] * b[j] - c2 * V.loc[i, j]), b[i] ** 2 - c2 * V.loc[i, i]])
    np.testing.assert_allclose(region.bounds, np.sort(roots), rtol=1e-8)
    low, high = fit.frame.data["m"].min(), fit.frame.data["m"].max()
    (a1, a2), (b1, b2) = region.intervals
    np.testing.assert_allclose([a1, a2, b1, b2], [low, *np.sort(roots), high], rtol=1e-8)
    assert "Johnson-Neyman: Slope of x differs from 0 (level 0.05) for m in [" in str(simple_effects(fit, "x:m"))


def test_everywhere_and_nowhere():
    strong = johnson_neyman(rg.lmer("y ~ x * m + (1 | g)", jn_data(3.0, 0.1)), "x:m")
    assert strong.bounds == ()
    assert strong.intervals == ((strong.low, strong.high),)
    none = johnson_neyman(rg.lmer("y ~ x * m + (1 | g)", jn_data(0.0, 0.0, 4)), "x:m")
    assert none.intervals == ()
    assert "in nowhere" in str(none)


def test_a_factor_with_two_levels_has_a_region_too():
    data = jn_data(0.3, 0.2)
    data = pd.DataFrame(data).assign(f=lambda d: np.where(d.x > 0, "hi", "lo"))
    region = simple_effects(rg.lmer("y ~ f * m + (1 | g)", data), "f:m").region
    assert region is not None
    assert region.term == "lo - hi"
    with pytest.raises(ArgumentError, match="a Johnson-Neyman region needs 'focal:moderator' with a numeric moderator"):
        johnson_neyman(rg.lmer("y ~ f * m + (1 | g)", data), "m:f")


# --- nothing changed, failures ------------------------------------------------------------------------------


def test_html_and_an_untouched_fit(crossed):
    before = crossed.to_json()
    result = crossed.conditional_effects("x:w")
    html = result._repr_html_()
    assert "Conditional effects for: x:w" in html
    assert html.count("<tr>") <= 21
    simple = crossed.simple_effects("x:w")
    assert "Slope of x" in simple._repr_html_()
    assert repr(simple) == str(simple)
    table = simple.table
    table["estimate"] = 0.0
    assert (simple.table["estimate"] != 0).all()
    assert crossed.to_json() == before


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"effect": "z"}, "effect: the model has no variable 'z'"),
        ({"effect": "a:b:c:x"}, "has 4 variables; there can be 3"),
        ({"effect": "a", "prob": 1.2}, "prob must lie between 0 and 1, not 1.2"),
        ({"effect": "x", "resolution": 1}, "resolution must be a whole number of points, at least 2"),
        ({"effect": "a:x", "sd_multiplier": -1}, "sd_multiplier must be a positive number"),
        ({"effect": "a", "at": {"x": [1, 2]}}, "at: 'x' is not part of the effect and needs one value"),
        ({"effect": "a", "at": {"b": "w"}}, "'w' is not a level of 'b'"),
        ({"effect": "a", "re": "mean"}, "re must be 'zero', 'integrate' or a mapping group -> level, not 'mean'"),
        ({"effect": "a", "re": {"h": 1}}, "re: no grouping factor 'h'; there are: g"),
        ({"effect": "a", "re": {"g": 99}}, "re: 99 is not a level of 'g'"),
        ({"effect": "a", "type": "prob"}, "type must be 'link' or 'response'"),
    ],
)
def test_what_conditional_effects_refuse(linear, how, message):
    with pytest.raises(ArgumentError, match=message):
        conditional_effects(linear, **how)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"effect": "a"}, "simple_effects takes two variables, 'focal:moderator', not 'a'"),
        ({"effect": "a:b:c"}, "has 3 variables; there can be 2"),
        ({"effect": "x:b", "at": {"x": [1, 2]}}, "the slope of 'x' is taken at one value, not 2"),
        ({"effect": "x:b", "re": {"g": "1"}}, "re must be 'zero' or 'integrate'"),
    ],
)
def test_what_simple_effects_refuse(linear, how, message):
    with pytest.raises(ArgumentError, match=message):
        simple_effects(linear, **how)


def test_the_table_is_printed_all_of_it_or_every_so_many_rows(crossed):
    few = conditional_effects(crossed, "x", resolution=5)
    assert "one in" not in str(few)
    assert len([line for line in str(few).splitlines() if line.lstrip()[:1] in "-0123456789" and line.strip()]) == 5
    many = conditional_effects(crossed, "x:w", resolution=50)
    for shown in (str(many), many._repr_html_()):
        assert "150 rows, shown is one in 8; .table has all" in shown
