"""Profiles: closed forms, golden numbers, independent constrained searches, and what happens at the edges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import chi2, norm

import refglmm as rg
from refglmm.errors import (
    ArgumentError,
    NotAvailableError,
    OptimizationError,
    ProfileWarning,
    SeparationWarning,
    SingularFitWarning,
)
from refglmm.inference.criterion import criterion
from refglmm.inference.held import hold, slope_in_x
from refglmm.inference.parameters import Parameter, parameters, values_at
from refglmm.inference.profile import extrapolated
from refglmm.inference.profile_result import Curve, Profile

Z = float(norm.ppf(0.975))

# 95 % intervals: confint(profile(fit)) of lme4 2.1-0 (cbpp: with its PIRLS run to convergence), and for the objective
# of lme4 itself those of lme4 1.1-31.
GOLDEN_CBPP = {
    "sd_(Intercept)|herd": (0.346092, 1.099954),
    "(Intercept)": (-1.901188, -0.947788),
    "period2": (-1.616767, -0.407780),
    "period3": (-1.801008, -0.511553),
    "period4": (-2.500759, -0.800757),
}
GOLDEN_CBPP_LME4 = {
    "sd_(Intercept)|herd": (0.3460732, 1.09997465),
    "(Intercept)": (-1.9012120, -0.94775401),
    "period2": (-1.6167833, -0.40776307),
    "period3": (-1.8010244, -0.51153607),
    "period4": (-2.5007506, -0.80075532),
}
GOLDEN_SLEEPSTUDY = {
    "sd_(Intercept)|Subject": (14.3815, 37.7160),
    "cor_Days.(Intercept)|Subject": (-0.4815, 0.6850),
    "sd_Days|Subject": (3.8012, 8.7534),
    "sigma": (22.8983, 28.8580),
    "(Intercept)": (237.6807, 265.1295),
    "Days": (7.3587, 13.5759),
}


def check_golden(frame, golden, rtol=1e-4):
    assert list(frame.index) == list(golden)
    assert list(frame.columns) == ["2.5 %", "97.5 %"]
    np.testing.assert_allclose(frame.to_numpy(), np.array(list(golden.values())), rtol=rtol)


def test_cbpp(cbpp):
    profile = cbpp.profile()
    check_golden(profile.confint(), GOLDEN_CBPP, rtol=3e-6)
    assert sum(curve.evaluations for curve in profile.curves) < 600


def test_cbpp_on_the_objective_of_lme4(cbpp_lme4):
    check_golden(cbpp_lme4.profile().confint(), GOLDEN_CBPP_LME4, rtol=1e-5)


def test_sleepstudy_is_refitted_by_ml(sleepstudy):
    profile = sleepstudy.profile()
    check_golden(profile.confint(), GOLDEN_SLEEPSTUDY)
    assert profile.notes == ("profile of the likelihood: the REML fit was refitted by maximum likelihood",)
    assert "refitted by maximum likelihood" in str(profile)
    assert profile.confint().equals(sleepstudy.refit_ml().profile().confint())


# -- the balanced one-way layout: everything in closed form --------------------------------------------------


class OneWay:
    """-2 log L of J groups of K: s is the residual SD, t that between groups, v = s^2 + K t^2."""

    def __init__(self, data, response, group):
        Y = np.array([part[response].to_numpy(dtype=float) for _, part in data.groupby(group, observed=True)])
        self.J, self.K = Y.shape
        means = Y.mean(axis=1)
        self.mean = means.mean()
        self.within = ((Y - means[:, None]) ** 2).sum()
        self.between = self.K * ((means - self.mean) ** 2).sum()

    def value(self, s2, v, beta=None):
        J, K = self.J, self.K
        between = self.between + (0.0 if beta is None else J * K * (self.mean - beta) ** 2)
        return J * K * np.log(2 * np.pi) + J * (K - 1) * np.log(s2) + J * np.log(v) + self.within / s2 + between / v

    @property
    def minimum(self):
        return self.value(self.within / (self.J * (self.K - 1)), self.between / self.J)

    def at_sigma(self, s):
        return self.value(s * s, max(self.between / self.J, s * s))

    def at_sd(self, t):
        def along(log_s2):
            return self.value(np.exp(log_s2), np.exp(log_s2) + self.K * t * t)

        return minimize_scalar(along, bounds=(2.0, 14.0), method="bounded", options={"xatol": 1e-11}).fun

    def at_beta(self, beta):
        between = self.between + self.J * self.K * (self.mean - beta) ** 2
        return self.value(self.within / (self.J * (self.K - 1)), between / self.J, beta)


@pytest.fixture(scope="module")
def one_way():
    return OneWay(rg.datasets.load("Dyestuff"), "Yield", "Batch")


@pytest.mark.parametrize(
    ("name", "function"), [("sd_(Intercept)|Batch", "at_sd"), ("sigma", "at_sigma"), ("(Intercept)", "at_beta")]
)
def test_zeta_of_the_one_way_layout_is_the_closed_form(dyestuff, one_way, name, function):
    curve = dyestuff.profile(name).curves[0]
    rise = np.array([getattr(one_way, function)(value) for value in curve.parameter.outer(curve.inner)])
    np.testing.assert_allclose(curve.zeta**2, rise - one_way.minimum, rtol=1e-6, atol=1e-8)


def test_slopes_of_zeta_are_exact(dyestuff, one_way):
    curve = dyestuff.profile("(Intercept)").curves[0]
    away = np.abs(curve.zeta) > 0.0
    off = curve.inner[away] - one_way.mean
    JK, between = one_way.J * one_way.K, one_way.between
    expected = one_way.J * 2.0 * JK * off / (between + JK * off**2) / (2.0 * curve.zeta[away])
    np.testing.assert_allclose(curve.slope[away], expected, rtol=1e-5)
    assert curve.slope[~away][0] == pytest.approx(np.sqrt(one_way.J * JK / between), rel=1e-5)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_ends_of_intervals_lie_where_the_closed_form_says(dyestuff, one_way, level):
    rows = {"sd_(Intercept)|Batch": one_way.at_sd, "sigma": one_way.at_sigma, "(Intercept)": one_way.at_beta}
    frame = dyestuff.profile().confint(level=level)
    quantile = chi2.ppf(level, 1)
    for name, function in rows.items():
        for end in frame.loc[name]:
            if end > 0.0:
                assert function(end) - one_way.minimum == pytest.approx(quantile, rel=2e-4)
            else:  # the 99 % interval of the standard deviation reaches zero
                assert (name, level) == ("sd_(Intercept)|Batch", 0.99)


# -- other structures and families, against searches of another kind -----------------------------------------


def free_search(fit, parameter, value):
    """min -2 log L with one parameter held, by SLSQP on (value, gradient) with the constraint as such."""
    found = criterion(fit)
    objective = found.objective()

    def constraint(x):
        return values_at(found.problem, [parameter], x)[0] - value

    result = minimize(
        objective.value_and_gradient,
        found.estimate,
        jac=True,
        method="SLSQP",
        constraints={"type": "eq", "fun": constraint},
        options={"ftol": 1e-13, "maxiter": 500},
    )
    assert abs(constraint(result.x)) < 1e-7
    return result.fun


@pytest.fixture(scope="module")
def poisson3(three_columns):
    data = three_columns.assign(
        k=np.random.default_rng(2).poisson(np.exp(0.4 + 0.25 * three_columns["y"])), g=three_columns["g"]
    )
    return rg.glmer("k ~ x + (x + z | g)", data, "poisson")


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_constrained_minimum_of_a_three_by_three_block(poisson3, number):
    curve = poisson3.profile(number).curves[0]
    for k in (curve.zeta.size // 4, 3 * curve.zeta.size // 4):
        rise = free_search(poisson3, curve.parameter, curve.inner[k]) - poisson3.minus_two_loglik
        assert curve.zeta[k] ** 2 == pytest.approx(rise, abs=2e-5)


def test_intervals_do_not_depend_on_the_order_of_the_columns(three_columns):
    one = rg.lmer("y ~ x + (x + z | g)", three_columns, reml=False)
    other = rg.lmer("y ~ x + (0 + z + x + one | g)", three_columns.assign(one=1.0), reml=False)
    names = {
        "sd_(Intercept)|g": "sd_one|g",
        "cor_z.x|g": "cor_x.z|g",
        "cor_x.(Intercept)|g": "cor_one.x|g",
        "sd_z|g": "sd_z|g",
    }
    here, there = one.confint(list(names)), other.confint(list(names.values()))
    np.testing.assert_allclose(here.to_numpy(), there.to_numpy(), rtol=2e-5, atol=2e-6)


def test_a_size_that_is_held_is_the_known_size_of_another_fit(ticks):
    low, high = ticks.confint("size").to_numpy()[0]
    for size in (low, high):
        family = rg.families.NegativeBinomial("log", size=float(size))
        held = rg.glmer("TICKS ~ 1 + (1 | BROOD)", rg.datasets.load("grouseticks"), family)
        assert held.minus_two_loglik - ticks.minus_two_loglik == pytest.approx(Z * Z, rel=1e-4)


def test_profiles_of_a_negative_binomial_against_glmmtmb(ticks):
    # glmmTMB 1.1.5, confint(method = "profile"); it profiles log(sd)
    frame = ticks.confint(["(Intercept)", "sd_(Intercept)|BROOD"])
    expected = [[0.24302290, 0.88961597], np.exp([0.26790319, 0.61345225])]
    np.testing.assert_allclose(frame.to_numpy(), expected, rtol=2e-4)


@pytest.mark.parametrize("n_agq", [1, 9])
def test_a_coefficient_that_is_held_is_an_offset_of_another_fit(three_columns, n_agq):
    fit = rg.glmer("k ~ x + (1 | g)", three_columns, "poisson", n_agq=n_agq)
    for end in fit.confint("x").to_numpy()[0]:
        data = three_columns.assign(held=end * three_columns["x"])
        held = rg.glmer("k ~ 1 + offset(held) + (1 | g)", data, "poisson", n_agq=n_agq)
        assert held.minus_two_loglik - fit.minus_two_loglik == pytest.approx(Z * Z, rel=1e-4)


def test_sigma_of_a_family_with_a_scale(three_columns):
    data = three_columns.assign(t=np.exp(0.3 * three_columns["y"]))
    fit = rg.glmer("t ~ x + (1 | g)", data, "gamma", link="log")
    assert [p.name for p in parameters(fit)] == ["sd_(Intercept)|g", "sigma", "(Intercept)", "x"]
    curve = fit.profile("sigma").curves[0]
    found = criterion(fit)
    k = curve.zeta.size // 4
    assert curve.values[k, 1] == pytest.approx(np.exp(0.5 * curve.inner[k]))
    rise = free_search(fit, curve.parameter, curve.values[k, 1]) - found.objective().value(found.estimate)
    assert curve.zeta[k] ** 2 == pytest.approx(rise, abs=1e-5)


@pytest.mark.parametrize("term", ["cs(x + z | g)", "ar1(x + z | g, hom=True)", "(x || g)"])
def test_every_structure_has_profiles_that_bracket_the_estimate(three_columns, term):
    fit = rg.lmer(f"y ~ x + {term}", three_columns, reml=False)
    profile = fit.profile("theta_")
    frame = profile.confint()
    estimate = profile.estimate[: len(frame)]
    assert np.all((frame["2.5 %"] < estimate) & (estimate < frame["97.5 %"]))
    assert all(curve.is_monotone for curve in profile.curves)


# -- at the edge ---------------------------------------------------------------------------------------------


def test_a_zero_variance_is_profiled_from_zero(dyestuff2):
    one_way = OneWay(rg.datasets.load("Dyestuff2"), "Yield", "Batch")
    profile = dyestuff2.profile()
    curve = profile.curves[0]
    assert (curve.inner[0], curve.zeta[0]) == (0.0, 0.0)
    at_zero = one_way.at_sd(0.0)
    low, high = profile.confint().loc["sd_(Intercept)|Batch"]
    assert low == 0.0
    assert one_way.at_sd(high) - at_zero == pytest.approx(Z * Z, rel=1e-3)


def test_a_correlation_of_one_is_profiled_from_there(three_columns):
    rng = np.random.default_rng(1)
    b = rng.normal(size=40)[three_columns["g"].str[1:].astype(int)]
    noise = rng.normal(size=len(b))
    data = three_columns.assign(y=three_columns["x"] + b * (1.0 + 0.5 * three_columns["x"]) + noise)
    with pytest.warns(SingularFitWarning):
        fit = rg.lmer("y ~ x + (x | g)", data, reml=False)
    curve = fit.profile("cor_x.(Intercept)|g").curves[0]
    assert (curve.inner[-1], curve.zeta[-1]) == (1.0, 0.0)
    low, high = curve.end(-Z), curve.end(Z)
    assert high == 1.0
    rise = free_search(fit, curve.parameter, low) - fit.minus_two_loglik
    assert rise == pytest.approx(Z * Z, rel=2e-3)


def test_a_correlation_with_a_zero_variance_may_be_anything(three_columns):
    rng = np.random.default_rng(3)
    with pytest.warns(SingularFitWarning):
        fit = rg.lmer("y ~ 1 + cs(x | g)", three_columns.assign(y=rng.normal(size=320)), reml=False)
    frame = fit.profile("theta_").confint()
    np.testing.assert_array_equal(frame.loc["rho|g"], [-1.0, 1.0])
    np.testing.assert_array_equal(frame.loc[["sd_(Intercept)|g", "sd_x|g"], "2.5 %"], [0.0, 0.0])


FOUND_LOWER = r"profile of .* found -2 log L = .* lower than at the fit: the fit is not at the minimum"


def test_a_lower_value_than_the_fits_leads_to_profiles_of_the_better_fit(cbpp):
    moved = replace(cbpp, optimum=replace(cbpp.optimum, beta=cbpp.beta + [0.3, 0, 0, 0]))
    with pytest.warns(ProfileWarning, match=FOUND_LOWER) as caught:
        profile = moved.profile("period2")
    assert profile.better_fit is caught[0].message.facts["better_fit"]
    assert profile.better_fit.loglik == pytest.approx(cbpp.loglik, abs=1e-8)
    assert profile.better_fit.settings == moved.settings
    assert profile.notes == (str(caught[0].message),)
    assert cbpp.profile("period2").better_fit is None
    np.testing.assert_allclose(profile.confint(), cbpp.profile("period2").confint(), rtol=1e-6)


def test_a_linear_start_is_relative_to_sigma(dyestuff):
    moved = replace(dyestuff, optimum=replace(dyestuff.optimum, beta=dyestuff.beta + 30.0))
    with pytest.warns(ProfileWarning, match=FOUND_LOWER):
        profile = moved.profile("sigma")
    assert profile.better_fit.loglik == pytest.approx(dyestuff.loglik, abs=1e-8)
    np.testing.assert_allclose(profile.confint(), dyestuff.profile("sigma").confint(), rtol=1e-6)


def test_the_error_about_a_lower_value_leads_to_it_where_no_restart_is_left(cbpp, monkeypatch):
    monkeypatch.setattr("refglmm.inference.profile.RESTARTS", 0)
    moved = replace(cbpp, optimum=replace(cbpp.optimum, beta=cbpp.beta + [0.3, 0, 0, 0]))
    with pytest.raises(OptimizationError, match=rf"{FOUND_LOWER}. Fit again from there: fit.update") as caught:
        moved.profile("period2")
    assert moved.update(start=caught.value.facts["start"]).loglik == pytest.approx(cbpp.loglik, abs=1e-8)


def test_the_second_minimum_of_culcita_without_a_row(monkeypatch):
    """Two minima of the Laplace surface; the first, where lme4 1.1-31 ends too, is not the lower one."""
    fit = rg.glmer("predation ~ ttt + (1 | block)", rg.datasets.load("culcita").drop(index=19), "binomial")
    assert fit.minus_two_loglik == pytest.approx(40.19677, abs=1e-5)
    with pytest.warns(ProfileWarning, match=FOUND_LOWER):
        profile = fit.profile("theta_")
    better = profile.better_fit
    assert better.minus_two_loglik < fit.minus_two_loglik - 0.5
    assert better.convergence.converged
    low, high = profile.confint().iloc[0]
    assert low < better.theta.iloc[0] < high
    monkeypatch.setattr("refglmm.inference.profile.RESTARTS", 0)
    with pytest.raises(OptimizationError, match=FOUND_LOWER) as caught:
        fit.profile("theta_")
    again = fit.update(start=caught.value.facts["start"])
    assert again.minus_two_loglik == pytest.approx(better.minus_two_loglik, abs=1e-8)


def test_what_has_no_profile():
    data = rg.datasets.load("cbpp")
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    with pytest.raises(NotAvailableError, match="refit with n_agq=1"):
        rg.glmer(formula, data, "binomial", n_agq=0).profile()
    ticks = rg.glmer_nb("TICKS ~ 1 + (1 | BROOD)", rg.datasets.load("grouseticks"), mode="lme4")
    with pytest.raises(NotAvailableError, match="negative_binomial family; fit in mode='exact'"):
        ticks.profile()


def test_arguments_are_checked(cbpp):
    with pytest.raises(ArgumentError, match=r"no parameter 'perriod2'; use a number from 0 to 4, .*period4"):
        cbpp.profile("perriod2")
    with pytest.raises(ArgumentError, match="no parameter 5"):
        cbpp.profile(5)
    with pytest.raises(ArgumentError, match="alpha must lie between 0 and 1"):
        cbpp.profile(alpha=1.0)
    with pytest.raises(ArgumentError, match="unknown scale 'sqrt'"):
        cbpp.profile(0).on_scale("sqrt")
    with pytest.raises(ArgumentError, match="'period3' was not profiled"):
        cbpp.profile(0).curve("period3")


# -- nothing else moves --------------------------------------------------------------------------------------


def everything(fit):
    frames = [fit.ranef().as_frame(), fit.fitted, fit.residuals(), fit.vcov(), fit.vcov(full=True), fit.se, fit.theta]
    arrays = [fit.conditional.u, fit.conditional.rx, fit.conditional.mu, fit.optimum.par]
    texts = [fit.to_json(), str(fit.summary()), str(fit.varcorr)]
    return texts + [frame.to_json(double_precision=15) for frame in frames] + [array.tobytes() for array in arrays]


@pytest.mark.parametrize("name", ["cbpp", "cbpp_lme4", "dyestuff"])
def test_a_fit_is_the_same_after_its_profile(name, request):
    fit = request.getfixturevalue(name)
    before = everything(fit)
    fit.profile()
    fit.confint(method="wald")
    assert everything(fit) == before


def test_workers_change_nothing(cbpp, processes):
    spread = cbpp.profile(executor=processes)
    assert spread.points.equals(cbpp.profile().points)


def test_a_profile_is_read_only(cbpp):
    profile = cbpp.profile(0)
    points = profile.points
    points.iloc[:, 0] = 7.0
    assert profile.points.iloc[0, 0] < 0.0
    with pytest.raises(ValueError, match="read-only"):
        profile.curves[0].zeta[0] = 1.0


# -- what is read from a profile -----------------------------------------------------------------------------


def test_points_hold_every_parameter(cbpp):
    points = cbpp.profile(["period2", 0]).points
    assert list(points.columns) == ["zeta", *GOLDEN_CBPP, "parameter"]
    assert list(points["parameter"].unique()) == ["period2", "sd_(Intercept)|herd"]
    held = points[points["parameter"] == "period2"]
    assert held["period2"].is_monotonic_increasing
    np.testing.assert_allclose(held[held["zeta"] == 0.0][list(cbpp.fixef.index)].to_numpy()[0], cbpp.beta)


def test_intervals_are_the_same_on_every_scale(sleepstudy):
    profile = sleepstudy.refit_ml().profile("theta_")
    plain = profile.confint()
    for scale, mapping in (("log", np.log), ("variance", np.square)):
        other = profile.on_scale(scale).confint()
        expected = plain.apply(mapping)
        expected.loc["cor_Days.(Intercept)|Subject"] = plain.loc["cor_Days.(Intercept)|Subject"]
        np.testing.assert_allclose(other.to_numpy(), expected.to_numpy(), rtol=1e-12)
    assert list(profile.on_scale("log").names)[:2] == ["log(sd_(Intercept)|Subject)", "cor_Days.(Intercept)|Subject"]


def test_a_density_holds_the_probability_between_its_ends(dyestuff):
    profile = dyestuff.profile()
    for curve in profile.curves:
        frame = profile.density(curve.parameter.name)
        area = np.trapezoid(frame["density"], frame["value"])
        assert area == pytest.approx(norm.cdf(curve.zeta[-1]) - norm.cdf(curve.zeta[0]), abs=2e-3)


def test_contours_of_a_pair_have_their_height(dyestuff, one_way):
    frame = dyestuff.profile().pairs("(Intercept)", "sigma", levels=(0.5, 0.8, 0.95))

    def minimum(beta, s):
        between = one_way.between + one_way.J * one_way.K * (one_way.mean - beta) ** 2
        return one_way.value(s * s, max(between / one_way.J, s * s), beta)

    for level, part in frame.groupby("level"):
        rise = np.array([minimum(b, s) for b, s in part[["x", "y"]].to_numpy()]) - one_way.minimum
        np.testing.assert_allclose(rise, chi2.ppf(level, 2), rtol=0.06)


def test_contours_that_the_profile_does_not_reach_are_nan(dyestuff):
    frame = dyestuff.profile().pairs("sd_(Intercept)|Batch", "sigma", levels=(0.99,))
    assert frame[["x", "y"]].isna().all(axis=None)


def curve_of(zeta, inner, kind="beta", lower=-np.inf, upper=np.inf, slope=None):
    parameter = Parameter("psi", kind, 0, None, (), lower, upper)
    zeta, inner = np.array(zeta, dtype=float), np.array(inner, dtype=float)
    slope = np.full(zeta.size, np.nan) if slope is None else np.array(slope, dtype=float)
    return Curve(parameter, inner, zeta, slope, np.zeros((zeta.size, 1)), 0)


def test_a_profile_with_two_humps_is_cut_where_it_is_crossed_first():
    curve = curve_of([-3, -1, 0, 1, 0.5, 3], [-3, -1, 0, 1, 2, 3])
    assert curve.falls
    assert not curve.is_monotone
    np.testing.assert_allclose(curve.at(np.array([-2.0, 0.75, 2.0])), [-2.0, 0.75, 2.6])
    profile = Profile((curve,), (curve.parameter,), np.zeros(1), 3.0)
    with pytest.warns(ProfileWarning, match="zeta is not monotone for psi"):
        frame = profile.confint()
    np.testing.assert_allclose(frame.to_numpy(), [[-1.0 - (Z - 1.0), 2.0 + (Z - 0.5) / 2.5]])


def test_a_side_that_is_not_reached_ends_at_the_bound_or_nowhere():
    reached = curve_of([-1, 0, 1], [0, 0.5, 1], kind="cor", lower=-1.0, upper=1.0)
    assert (np.isnan(reached.end(-Z)), reached.end(Z)) == (True, 1.0)
    assert np.isnan(curve_of([-1, 0, 1], [-1, 0, 1]).end(Z))
    assert curve_of([-3, 0, 1], [-1, 0, 50], kind="shape", lower=0.0).end(Z) == np.inf
    assert np.isnan(curve_of([], []).end(Z))


def test_the_curve_between_points_follows_known_slopes():
    x = np.linspace(0.0, 3.0, 7)
    curve = curve_of(x**2 - 4.0, x, slope=2.0 * x)  # flat at its lower end: cubic in psi, not in zeta
    zeta = np.linspace(-4.0, 5.0, 50)
    np.testing.assert_allclose(curve.at(zeta), np.sqrt(zeta + 4.0), atol=1e-7)
    below = np.sqrt(3.0 - x[:-1])
    root = curve_of(np.append(-below, 0.0), x, kind="cor", slope=np.append(0.5 / below, np.nan))
    zeta = np.linspace(-1.7, 0.0, 40)
    np.testing.assert_allclose(root.at(zeta), 3.0 - zeta**2, atol=2e-3)


# -- the pieces ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(6))
def test_points_of_a_chart_have_the_value_and_its_jacobian_is_right(poisson3, number):
    found, known = criterion(poisson3), parameters(poisson3)
    parameter = known[number]
    value = 0.8 * values_at(found.problem, [parameter], found.estimate)[0]
    held = hold(found, parameter, value, found.estimate)
    rng = np.random.default_rng(number)
    g = rng.normal(size=found.estimate.size)
    z = held.start + 0.05 * rng.normal(size=held.start.size)
    assert values_at(found.problem, [parameter], held.point(z))[0] == pytest.approx(value, rel=1e-12)
    differences = [g @ (held.point(z + 1e-6 * e) - held.point(z - 1e-6 * e)) / 2e-6 for e in np.eye(z.size)]
    np.testing.assert_allclose(held.gradient(z, g), differences, atol=1e-8)


@pytest.mark.parametrize("number", range(6))
def test_the_hessian_in_a_chart_is_that_of_the_composed_function(poisson3, number):
    found, known = criterion(poisson3), parameters(poisson3)
    x0, rng = found.estimate, np.random.default_rng(number)
    A = rng.normal(size=(x0.size, x0.size))
    H, g0 = A @ A.T, rng.normal(size=x0.size)
    held = hold(found, known[number], 1.1 * values_at(found.problem, [known[number]], x0)[0], x0)
    at = held.point(held.start)

    def gradient(z):  # of g0'(x - at) + (x - at)'H(x - at) / 2
        return held.gradient(z, g0 + H @ (held.point(z) - at))

    steps = 1e-5 * np.eye(held.start.size)
    expected = [(gradient(held.start + e) - gradient(held.start - e)) / 2e-5 for e in steps]
    np.testing.assert_allclose(held.hessian(H, g0), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("number", range(6))
def test_the_slope_of_a_parameter(poisson3, number):
    found, known = criterion(poisson3), parameters(poisson3)
    x, parameter = found.estimate, known[number]
    steps = 1e-6 * np.eye(x.size)
    expected = [
        (values_at(found.problem, [parameter], x + e)[0] - values_at(found.problem, [parameter], x - e)[0]) / 2e-6
        for e in steps
    ]
    np.testing.assert_allclose(slope_in_x(found, parameter, x), expected, atol=1e-8)


def test_the_criterion_of_a_linear_model_is_its_likelihood(sleepstudy):
    fit = sleepstudy.refit_ml()
    found = criterion(fit)
    value, gradient = found.objective().value_and_gradient(found.estimate)
    assert value == pytest.approx(fit.minus_two_loglik, abs=1e-8)
    np.testing.assert_allclose(gradient * found.scale, 0.0, atol=1e-5)


def test_extrapolation_is_exact_for_a_parabola():
    t = np.array([0.0, 1.0, 2.5])
    assert extrapolated(t, [np.array([1.0 + 2.0 * s - s * s]) for s in t], 4.0) == pytest.approx([-7.0])


def test_values_stand_in_lme4s_order_and_under_its_names(sleepstudy, three_columns):
    assert [p.name for p in parameters(sleepstudy)] == list(GOLDEN_SLEEPSTUDY)
    hom = rg.lmer("y ~ x + cs(x + z | g, hom=True)", three_columns)
    assert [p.name for p in parameters(hom)] == ["sd|g", "rho|g", "sigma", "(Intercept)", "x"]


def test_a_profile_prints_its_intervals(cbpp):
    profile = cbpp.profile(0)
    assert str(profile).splitlines()[0] == "Likelihood profile of 1 parameters"
    assert "0.3461" in repr(profile)
    assert "0.3461" in profile._repr_html_()
    assert isinstance(profile.points, pd.DataFrame)


def test_the_finite_side_of_a_separated_coefficient_is_where_the_likelihood_ratio_says():
    """All of f = "a" are successes: no upper end, and a lower one although the standard error is immense."""
    rng = np.random.default_rng(6)
    g = np.repeat(np.arange(10), 9)
    f = np.tile(["a", "b", "c"], 30)
    eta = 0.8 * rng.normal(size=10)[g]
    y = np.where(f == "a", 1.0, rng.binomial(1, 1.0 / (1.0 + np.exp(-eta))))
    data = pd.DataFrame({"y": y, "f": f, "a": 1.0 * (f == "a"), "g": [f"g{j}" for j in g]})
    with pytest.warns(SeparationWarning):
        fit = rg.glmer("y ~ a + (1 | g)", data, "binomial")
    low, high = fit.confint("a").to_numpy()[0]
    assert np.isnan(high)
    assert 0.0 < low < 5.0
    held = rg.glmer("y ~ 1 + (1 | g)", data, "binomial", offset=low * data["a"].to_numpy())
    assert held.minus_two_loglik - fit.minus_two_loglik == pytest.approx(Z**2, rel=1e-4)
